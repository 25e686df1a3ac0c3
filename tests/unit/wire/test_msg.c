/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages: every type of messages.def comes back as it was, with each field filled; every field
 * has a bound and holds to it; a message that would unpack to too much memory is refused.
 */
#include <stdlib.h>
#include <string.h>

#include "fs/tree/root.h"
#include "fs/wire/msg.h"
#include "tests/check_main.h"

struct type {
	unsigned number;
	const ProtobufCMessageDescriptor *request, *reply;
};

static const struct type TYPES[] = {
#define X(name, number, req, rep, who)                                                             \
	{number, &wire__##req##__descriptor, &wire__##rep##__descriptor},
#include "fs/wire/messages.def"
#undef X
};

/* --- messages with every field filled, from the descriptors ---- */

static void *filled(const ProtobufCMessageDescriptor *desc);

static uint32_t fitting_bytes(const char *name)
{
	if (strcmp(name, "id") == 0 || strcmp(name, "ids") == 0 || strcmp(name, "from") == 0 ||
	    strcmp(name, "to") == 0)
		return BLOCK_ID_BYTES;
	if (strcmp(name, "root") == 0 || strcmp(name, "recut_of") == 0)
		return ROOT_BYTES;
	if (strcmp(name, "cluster") == 0 || strcmp(name, "nonce") == 0 || strcmp(name, "uuid") == 0)
		return 16;
	return 20;
}

static void fill_value(const ProtobufCFieldDescriptor *f, void *at)
{
	ProtobufCBinaryData *bytes = at;

	switch (f->type) {
	case PROTOBUF_C_TYPE_BYTES:
		bytes->len = fitting_bytes(f->name);
		bytes->data = malloc(bytes->len);
		memset(bytes->data, 'n', bytes->len);
		if (bytes->len == ROOT_BYTES) {
			struct root root = {.kind = ROOT_BLOCK, .length = 70, .id = {.bytes = {1}}};
			root_encode(&root, bytes->data);
		}
		break;
	case PROTOBUF_C_TYPE_STRING:
		*(char **)at = strdup("text");
		break;
	case PROTOBUF_C_TYPE_MESSAGE:
		*(void **)at = filled(f->descriptor);
		break;
	case PROTOBUF_C_TYPE_BOOL:
		*(protobuf_c_boolean *)at = 1;
		break;
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
	case PROTOBUF_C_TYPE_SFIXED64:
		*(uint64_t *)at = 0x8000000000000007;
		break;
	default:
		*(uint32_t *)at = 0x80000005;
	}
}

/* Two of each repeated field. */
static void fill_repeated(const ProtobufCFieldDescriptor *f, uint8_t *base)
{
	size_t bytes = f->type == PROTOBUF_C_TYPE_BYTES	   ? sizeof(ProtobufCBinaryData)
		       : f->type == PROTOBUF_C_TYPE_UINT32 ? 4
							   : 8;
	uint8_t *array = calloc(2, bytes);

	fill_value(f, array);
	fill_value(f, array + bytes);
	*(void **)(void *)(base + f->offset) = array;
	*(size_t *)(void *)(base + f->quantifier_offset) = 2;
}

static void *filled(const ProtobufCMessageDescriptor *desc)
{
	uint8_t *msg = malloc(desc->sizeof_message);

	protobuf_c_message_init(desc, msg);
	for (unsigned i = 0; i < desc->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &desc->fields[i];

		if (f->label == PROTOBUF_C_LABEL_REPEATED)
			fill_repeated(f, msg);
		else
			fill_value(f, msg + f->offset);
	}
	return msg;
}

static uint8_t *packed(const ProtobufCMessage *msg, size_t *len)
{
	*len = msg_packed_bytes(msg);
	uint8_t *bytes = malloc(*len + 1);
	msg_pack(msg, bytes);
	return bytes;
}

static void check_round_trip(unsigned type, bool is_reply, const ProtobufCMessageDescriptor *desc)
{
	ProtobufCMessage *msg = filled(desc), *back = NULL;
	size_t len, back_len;
	uint8_t *bytes = packed(msg, &len);

	ck_assert_msg(msg_unpack(type, is_reply, bytes, len, &back) == 0, "type %u %s", type,
		      desc->name);
	uint8_t *again = packed(back, &back_len);
	ck_assert_uint_eq(back_len, len);
	ck_assert_mem_eq(again, bytes, len);
	msg_free(back);
	/* Cut short anywhere it is refused, or is another message; it never reads beyond its end.
	 */
	for (size_t cut = 0; cut < len; cut++) {
		uint8_t *exact = malloc(cut ? cut : 1);
		memcpy(exact, bytes, cut);
		if (msg_unpack(type, is_reply, exact, cut, &back) == 0)
			msg_free(back);
		free(exact);
	}
	free(again);
	free(bytes);
	protobuf_c_message_free_unpacked(msg, NULL);
}

START_TEST(every_message_comes_back)
{
	for (size_t i = 0; i < ARRAY_COUNT(TYPES); i++) {
		ck_assert(msg_type_is_known(TYPES[i].number));
		check_round_trip(TYPES[i].number, false, TYPES[i].request);
		check_round_trip(TYPES[i].number, true, TYPES[i].reply);
	}
}
END_TEST

START_TEST(unknown_types_are_refused)
{
	ProtobufCMessage *msg;

	ck_assert(!msg_type_is_known(0));
	ck_assert(!msg_type_is_known(127));
	ck_assert(!msg_type_is_known(1u << 20));
	ck_assert_str_eq(msg_type_name(9999), "?");
	ck_assert_str_eq(msg_type_name(MSG_MAP_GET), "MAP_GET");
	ck_assert_int_eq(msg_unpack(9, false, NULL, 0, &msg), -E_MALFORMED);
}
END_TEST

/* --- bounds ---- */

static int unpack_rc(unsigned type, bool is_reply, const ProtobufCMessage *msg)
{
	ProtobufCMessage *back;
	size_t len;
	uint8_t *bytes = packed(msg, &len);
	int rc = msg_unpack(type, is_reply, bytes, len, &back);

	if (rc == 0)
		msg_free(back);
	free(bytes);
	return rc;
}

static int lookup_rc(const char *name, size_t len)
{
	Wire__Lookup lookup = WIRE__LOOKUP__INIT;

	lookup.name = (ProtobufCBinaryData){len, (uint8_t *)name};
	return unpack_rc(MSG_LOOKUP, false, &lookup.base);
}

START_TEST(a_name_is_one_component_of_a_path)
{
	char longest[NAME_BYTES_MAX + 1];

	memset(longest, 'a', sizeof(longest));
	ck_assert_int_eq(lookup_rc("a", 1), 0);
	ck_assert_int_eq(lookup_rc(longest, NAME_BYTES_MAX), 0);
	ck_assert_int_eq(lookup_rc(longest, NAME_BYTES_MAX + 1), -E_MALFORMED);
	ck_assert_int_eq(lookup_rc("", 0), -E_MALFORMED);
	ck_assert_int_eq(lookup_rc("a/b", 3), -E_MALFORMED);
	ck_assert_int_eq(lookup_rc("a\0b", 3), -E_MALFORMED);
}
END_TEST

START_TEST(a_block_id_has_32_bytes)
{
	static const size_t LENS[] = {0, 31, 33, 32};
	uint8_t bytes[64] = {1};

	for (size_t i = 0; i < ARRAY_COUNT(LENS); i++) {
		Wire__Get get = WIRE__GET__INIT;
		ProtobufCBinaryData ids[2] = {{32, bytes}, {LENS[i], bytes}};
		Wire__Have have = WIRE__HAVE__INIT;

		get.id = ids[1];
		have.ids = ids;
		have.n_ids = 2;
		ck_assert_int_eq(unpack_rc(MSG_GET, false, &get.base),
				 LENS[i] == 32 ? 0 : -E_MALFORMED);
		ck_assert_int_eq(unpack_rc(MSG_HAVE, false, &have.base),
				 LENS[i] == 32 ? 0 : -E_MALFORMED);
	}
}
END_TEST

START_TEST(a_root_must_decode)
{
	struct root root = {.kind = ROOT_BLOCK, .length = 5, .id = {.bytes = {9}}};
	uint8_t bytes[ROOT_BYTES];
	Wire__Publish publish = WIRE__PUBLISH__INIT;

	root_encode(&root, bytes);
	ck_assert_int_eq(unpack_rc(MSG_PUBLISH, false, &publish.base), -E_MALFORMED);
	publish.root = (ProtobufCBinaryData){ROOT_BYTES, bytes};
	ck_assert_int_eq(unpack_rc(MSG_PUBLISH, false, &publish.base), 0);
	bytes[0] = 77;
	ck_assert_int_eq(unpack_rc(MSG_PUBLISH, false, &publish.base), -E_MALFORMED);
}
END_TEST

START_TEST(a_root_inside_a_reply_must_decode_too)
{
	Wire__NodeReply reply = WIRE__NODE_REPLY__INIT;
	Wire__Attr attr = WIRE__ATTR__INIT;
	uint8_t bytes[ROOT_BYTES] = {77};

	reply.attr = &attr;
	ck_assert_int_eq(unpack_rc(MSG_GETATTR, true, &reply.base), 0); /* a directory has none */
	attr.root = (ProtobufCBinaryData){ROOT_BYTES, bytes};
	ck_assert_int_eq(unpack_rc(MSG_GETATTR, true, &reply.base), -E_MALFORMED);
}
END_TEST

START_TEST(repeated_fields_are_bounded)
{
	static uint64_t opens[8193];
	Wire__SessionReclaim reclaim = WIRE__SESSION_RECLAIM__INIT;

	reclaim.opens = opens;
	reclaim.n_opens = 8192;
	ck_assert_int_eq(unpack_rc(MSG_SESSION_RECLAIM, false, &reclaim.base), 0);
	reclaim.n_opens = 8193;
	ck_assert_int_eq(unpack_rc(MSG_SESSION_RECLAIM, false, &reclaim.base), -E_MALFORMED);
}
END_TEST

START_TEST(a_small_message_cannot_unpack_to_much_memory)
{
	static uint8_t bytes[MESSAGE_BYTES_MAX];
	ProtobufCMessage *msg;

	for (size_t i = 0; i < sizeof(bytes); i += 2)
		bytes[i] = 2 << 3 | 2; /* READDIR reply: an entry of no bytes, 32,768 times */
	ck_assert_int_eq(msg_unpack(MSG_READDIR, true, bytes, sizeof(bytes), &msg), -E_MALFORMED);
	ck_assert_int_eq(msg_unpack(MSG_READDIR, true, bytes, sizeof(bytes) + 1, &msg),
			 -E_MALFORMED);
}
END_TEST

START_TEST(a_full_listing_fits)
{
	enum { ENTRIES = 3000 };
	static Wire__DirEntry entries[ENTRIES], *list[ENTRIES];
	Wire__ReadDirReply reply = WIRE__READ_DIR_REPLY__INIT;

	for (int i = 0; i < ENTRIES; i++) {
		wire__dir_entry__init(&entries[i]);
		entries[i].name = (ProtobufCBinaryData){5, (uint8_t *)"12345"};
		entries[i].ino = (uint64_t)i + 1;
		entries[i].type = 0100000;
		list[i] = &entries[i];
	}
	reply.entries = list;
	reply.n_entries = ENTRIES;
	ck_assert_uint_lt(msg_packed_bytes(&reply.base), MESSAGE_BYTES_MAX);
	ck_assert_int_eq(unpack_rc(MSG_READDIR, true, &reply.base), 0);
}
END_TEST

TEST_MAIN("msg", tcase_add_test(tc, every_message_comes_back);
	  tcase_add_test(tc, unknown_types_are_refused);
	  tcase_add_test(tc, a_name_is_one_component_of_a_path);
	  tcase_add_test(tc, a_block_id_has_32_bytes); tcase_add_test(tc, a_root_must_decode);
	  tcase_add_test(tc, a_root_inside_a_reply_must_decode_too);
	  tcase_add_test(tc, repeated_fields_are_bounded);
	  tcase_add_test(tc, a_small_message_cannot_unpack_to_much_memory);
	  tcase_add_test(tc, a_full_listing_fits))
