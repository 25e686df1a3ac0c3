/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages: pack, unpack, and the bounds of every field.
 *
 * A message is unpacked into an arena of its own, whose first chunk begins with the message itself:
 * one or two allocations whatever the message, freed at once, and never more than ARENA_BYTES_MAX
 * however a hostile sender nests and repeats (I11). Bounds are rules by field name, applied by one
 * walk over protobuf-c's descriptors, so that a new field is bounded (by the defaults) before
 * anyone thinks of it.
 */
#include "fs/wire/msg.h"

#include <stdlib.h>
#include <string.h>

#include "fs/placement/map.h"
#include "fs/tree/root.h"
#include "fs/wire/heal.h"

/* --- types ---- */

struct msg_entry {
	const char *name;
	const ProtobufCMessageDescriptor *request, *reply;
};

#define TYPE_END 128u /* numbers of messages.def are below */

static const struct msg_entry ENTRIES[TYPE_END] = {
#define X(type, number, req, rep, who)                                                             \
	[number] = {#type, &wire__##req##__descriptor, &wire__##rep##__descriptor},
#include "fs/wire/messages.def"
#undef X
};

bool msg_type_is_known(unsigned type)
{
	return type < TYPE_END && ENTRIES[type].name;
}

const char *msg_type_name(unsigned type)
{
	return msg_type_is_known(type) ? ENTRIES[type].name : "?";
}

/* --- bounds ---- */

#define TEXT_DEFAULT_MAX   255u	 /* host names, addresses, keys */
#define REPEAT_DEFAULT_MAX 4096u /* leases, entries, PG rows: as many as fill a message */

enum rule_kind {
	RULE_BYTES,    /* length of bytes or text: min .. max */
	RULE_OPTIONAL, /* absent, or exactly max bytes */
	RULE_NAME,     /* one component of a path */
	RULE_ROOT,     /* a root descriptor that decodes; absent where min is 0 */
	RULE_COUNT,    /* how often the field may be repeated: at most max */
};

struct rule {
	const char *message; /* short name, or NULL: in any message */
	const char *field;
	enum rule_kind kind;
	uint32_t min, max;
};

/* The first rule of a kind that fits a field holds; what there is most of stands in front. */
static const struct rule RULES[] = {
	{NULL, "cluster", RULE_OPTIONAL, 0, 16},
	{NULL, "nonce", RULE_BYTES, 16, 16},
	{NULL, "uuid", RULE_BYTES, 16, 16},
	{NULL, "id", RULE_BYTES, BLOCK_ID_BYTES, BLOCK_ID_BYTES},
	{NULL, "ids", RULE_BYTES, BLOCK_ID_BYTES, BLOCK_ID_BYTES},
	{"Attr", "root", RULE_ROOT, 0, ROOT_BYTES},
	{"Attr", "recut_of", RULE_ROOT, 0, ROOT_BYTES},
	{"Make", "name", RULE_NAME, 0, NAME_BYTES_MAX}, /* none: an unnamed file */
	{"DirEntry", "name", RULE_NAME, 1, NAME_BYTES_MAX},
	{"Lookup", "name", RULE_NAME, 1, NAME_BYTES_MAX},
	{"Publish", "root", RULE_ROOT, ROOT_BYTES, ROOT_BYTES},
	{"Publish", "recut_of", RULE_ROOT, 0, ROOT_BYTES},
	{"Source", "root", RULE_ROOT, ROOT_BYTES, ROOT_BYTES},
	{"SetXattr", "name", RULE_BYTES, 1, XATTR_NAME_BYTES_MAX},
	{"GetXattr", "name", RULE_BYTES, 1, XATTR_NAME_BYTES_MAX},
	{"RemoveXattr", "name", RULE_BYTES, 1, XATTR_NAME_BYTES_MAX},
	{"Link", "name", RULE_NAME, 1, NAME_BYTES_MAX},
	{"Unlink", "name", RULE_NAME, 1, NAME_BYTES_MAX},
	{"Rename", "name", RULE_NAME, 1, NAME_BYTES_MAX},
	{"Rename", "new_name", RULE_NAME, 1, NAME_BYTES_MAX},
	{"Trash", "name", RULE_NAME, 0, NAME_BYTES_MAX},
	{"TrashEntry", "path", RULE_BYTES, 1, 4096},
	{"Clone", "name", RULE_NAME, 0, NAME_BYTES_MAX},
	{"CloneReply", "name", RULE_NAME, 0, NAME_BYTES_MAX},
	{NULL, "target", RULE_BYTES, 0, SYMLINK_BYTES_MAX},
	{NULL, "capability", RULE_BYTES, 0, 256},
	{NULL, "pg_row", RULE_BYTES, 0, PG_ROW_BYTES_MAX},
	{"MapReply", "pgs", RULE_BYTES, 2, 2 + PG_ROW_BYTES_MAX},
	{"MapReply", "servers", RULE_BYTES, 1, SERVER_ROW_BYTES_MAX},
	{"Join", "address", RULE_BYTES, 1, SERVER_ADDRESS_BYTES_MAX - 1},
	{"Join", "host", RULE_BYTES, 0, SERVER_DOMAIN_BYTES_MAX - 1},
	{"Join", "rack", RULE_BYTES, 0, SERVER_DOMAIN_BYTES_MAX - 1},
	{"Warning", "text", RULE_BYTES, 0, 1024},
	{"SizesReply", "codecs", RULE_BYTES, 0, SIZES_IDS_MAX},
	{"HealList", "from", RULE_OPTIONAL, 0, BLOCK_ID_BYTES},
	{"HealList", "to", RULE_OPTIONAL, 0, BLOCK_ID_BYTES},
	{"Heartbeat", "merged", RULE_BYTES, 0, HEAL_MERGED_BYTES * PG_COUNT},
	{NULL, "media", RULE_BYTES, 0, MEDIA_STATUS_BYTES_MAX},

	{"MapReply", "servers", RULE_COUNT, 0, SERVERS_MAX},
	{"StatusReply", "servers", RULE_COUNT, 0, SERVERS_MAX},
	{"GcStatus", "last_text", RULE_BYTES, 0, 256},
	{"GcStatus", "waits_for", RULE_BYTES, 0, 256},
	{"GcStatus", "unwalkable", RULE_COUNT, 0, 64},
	{"Publish", "sources", RULE_COUNT, 0, 8},
	{"TrashListReply", "list", RULE_COUNT, 0, 32},
	{"Caller", "groups", RULE_COUNT, 0, 1024},
	{"LockListReply", "locks", RULE_COUNT, 0, 1024},
	{"SessionReclaim", "opens", RULE_COUNT, 0, 8192},
	{"Sizes", "ids", RULE_COUNT, 0, SIZES_IDS_MAX},
	{"SizesReply", "stored", RULE_COUNT, 0, SIZES_IDS_MAX},
	{NULL, "holders", RULE_COUNT, 0, COPIES_MAX + FORMERS_MAX},
};

/* The first letter tells most names apart without a call. */
static bool is_same(const char *a, const char *b)
{
	return *a == *b && strcmp(a, b) == 0;
}

static const struct rule *rule_find(const ProtobufCMessageDescriptor *desc, const char *field,
				    bool is_count)
{
	for (size_t i = 0; i < ARRAY_COUNT(RULES); i++) {
		const struct rule *rule = &RULES[i];

		if ((rule->kind == RULE_COUNT) == is_count && is_same(rule->field, field) &&
		    (!rule->message || is_same(rule->message, desc->short_name)))
			return rule;
	}
	return NULL;
}

static bool name_is_valid(const uint8_t *bytes, size_t len)
{
	return !memchr(bytes, '/', len) && !memchr(bytes, '\0', len);
}

static bool root_is_valid(const uint8_t *bytes)
{
	struct root root;

	return root_decode(bytes, &root) == 0;
}

static bool bytes_are_valid(const struct rule *rule, const uint8_t *bytes, size_t len)
{
	if (!rule)
		return len <= TEXT_DEFAULT_MAX;
	if (len == 0 && (rule->kind == RULE_OPTIONAL || rule->min == 0))
		return true;
	if (rule->kind == RULE_OPTIONAL || rule->kind == RULE_ROOT)
		return len == rule->max && (rule->kind != RULE_ROOT || root_is_valid(bytes));
	if (len < rule->min || len > rule->max)
		return false;
	return rule->kind != RULE_NAME || name_is_valid(bytes, len);
}

static bool message_is_valid(const ProtobufCMessage *msg);

/* One value of a field: `at` points to where the message struct, or its array, keeps it. */
static bool value_is_valid(const ProtobufCFieldDescriptor *field, const struct rule *rule,
			   const void *at)
{
	if (field->type == PROTOBUF_C_TYPE_BYTES) {
		const ProtobufCBinaryData *b = at;
		return bytes_are_valid(rule, b->data, b->len);
	}
	if (field->type == PROTOBUF_C_TYPE_STRING) {
		const char *s = *(const char *const *)at;
		return bytes_are_valid(rule, (const uint8_t *)s, s ? strlen(s) : 0);
	}
	if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
		const ProtobufCMessage *m = *(const ProtobufCMessage *const *)at;
		return !m || message_is_valid(m);
	}
	return true; /* numbers: their users range-check them */
}

static size_t value_bytes(const ProtobufCFieldDescriptor *field)
{
	if (field->type == PROTOBUF_C_TYPE_BYTES)
		return sizeof(ProtobufCBinaryData);
	if (field->type == PROTOBUF_C_TYPE_STRING || field->type == PROTOBUF_C_TYPE_MESSAGE)
		return sizeof(void *);
	return 0; /* numbers are not walked */
}

static bool has_rule(const ProtobufCFieldDescriptor *field)
{
	return field->type == PROTOBUF_C_TYPE_BYTES || field->type == PROTOBUF_C_TYPE_STRING;
}

static bool field_is_valid(const ProtobufCMessage *msg, const ProtobufCFieldDescriptor *field)
{
	const uint8_t *base = (const uint8_t *)msg;
	const struct rule *rule = NULL;

	/* Most fields are single numbers: no name of them need be looked for. */
	if (field->label != PROTOBUF_C_LABEL_REPEATED && value_bytes(field) == 0)
		return true;
	if (has_rule(field))
		rule = rule_find(msg->descriptor, field->name, false);
	if (field->label != PROTOBUF_C_LABEL_REPEATED)
		return value_is_valid(field, rule, base + field->offset);

	const struct rule *count_rule = rule_find(msg->descriptor, field->name, true);
	size_t count = *(const size_t *)(const void *)(base + field->quantifier_offset);
	const uint8_t *array = *(uint8_t *const *)(const void *)(base + field->offset);

	if (count > (count_rule ? count_rule->max : REPEAT_DEFAULT_MAX))
		return false;
	for (size_t i = 0; value_bytes(field) && i < count; i++) {
		if (!value_is_valid(field, rule, array + i * value_bytes(field)))
			return false;
	}
	return true;
}

/* msg_check: the schema has no recursive message, so this ends after a few levels. */
static bool message_is_valid(const ProtobufCMessage *msg)
{
	for (unsigned i = 0; i < msg->descriptor->n_fields; i++) {
		if (!field_is_valid(msg, &msg->descriptor->fields[i]))
			return false;
	}
	return true;
}

/* --- the arena ---- */

/* 64 KiB of listing unpacks to about 500 KiB; whatever needs more is not a message of ours. */
#define ARENA_BYTES_MAX	  MiB(2)
#define ARENA_CHUNK_BYTES KiB(16)

struct arena_chunk {
	struct arena_chunk *next;
	size_t used, capacity; /* of bytes[] */
	_Alignas(16) uint8_t bytes[];
};

struct arena {
	struct arena_chunk *first, *last;
	size_t bytes_total;
	size_t first_capacity;
	bool is_full; /* the bound, not the machine's memory, refused */
};

static struct arena_chunk *arena_grow(struct arena *a, size_t bytes)
{
	size_t capacity = a->first ? MAX_OF((size_t)ARENA_CHUNK_BYTES, bytes)
				   : MAX_OF(a->first_capacity, bytes);

	a->is_full = a->bytes_total + capacity > ARENA_BYTES_MAX;
	if (a->is_full)
		return NULL;
	struct arena_chunk *chunk = malloc(sizeof(*chunk) + capacity);
	if (!chunk)
		return NULL;
	chunk->next = NULL;
	chunk->used = 0;
	chunk->capacity = capacity;
	a->bytes_total += capacity;
	if (a->last)
		a->last->next = chunk;
	else
		a->first = chunk;
	a->last = chunk;
	return chunk;
}

static void *arena_alloc(void *allocator_data, size_t size)
{
	struct arena *a = allocator_data;
	size_t bytes = (size + 15) & ~(size_t)15;

	if (bytes < size || bytes > ARENA_BYTES_MAX) {
		a->is_full = true;
		return NULL;
	}
	struct arena_chunk *chunk = a->last;
	if (!chunk || chunk->capacity - chunk->used < bytes)
		chunk = arena_grow(a, bytes);
	if (!chunk)
		return NULL;
	void *at = chunk->bytes + chunk->used;
	chunk->used += bytes;
	return at;
}

/* Everything is freed with the arena. */
static void arena_free_nothing(void *allocator_data unused_arg, void *pointer unused_arg)
{
}

static void arena_finish(struct arena_chunk *chunk)
{
	while (chunk) {
		struct arena_chunk *next = chunk->next;

		free(chunk);
		chunk = next;
	}
}

/* --- the door ---- */

size_t msg_packed_bytes(const ProtobufCMessage *msg)
{
	return protobuf_c_message_get_packed_size(msg);
}

void msg_pack(const ProtobufCMessage *msg, uint8_t *out)
{
	(void)protobuf_c_message_pack(msg, out); /* its length is msg_packed_bytes() */
}

int msg_unpack(unsigned type, bool is_reply, const uint8_t *bytes, size_t len,
	       ProtobufCMessage **out)
{
	if (!msg_type_is_known(type) || len > MESSAGE_BYTES_MAX)
		return -E_MALFORMED;
	const ProtobufCMessageDescriptor *desc =
		is_reply ? ENTRIES[type].reply : ENTRIES[type].request;
	struct arena arena = {.first_capacity = 512 + 4 * len};
	ProtobufCAllocator allocator = {arena_alloc, arena_free_nothing, &arena};

	ProtobufCMessage *msg = protobuf_c_message_unpack(desc, &allocator, len, bytes);
	if (msg && message_is_valid(msg)) {
		ASSERT((uint8_t *)msg == arena.first->bytes); /* msg_free() finds the arena by it */
		*out = msg;
		return 0;
	}
	/* protobuf-c does not tell bad bytes from lack of memory; a NULL chunk before any does. */
	bool is_out_of_memory = !msg && !arena.first && !arena.is_full;
	arena_finish(arena.first);
	return is_out_of_memory ? -E_NOMEM : -E_MALFORMED;
}

void msg_free(ProtobufCMessage *msg)
{
	if (msg)
		arena_finish(container_of(msg, struct arena_chunk, bytes));
}
