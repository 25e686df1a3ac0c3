/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hot pure paths, each called a fixed number of times in a function of its own, so that
 * callgrind counts its instructions: tests/bench/instructions runs this and divides. Everything is
 * seeded; the counts are the same in each run of the same programs.
 *
 * Prints "NAME COUNT" for each, in the order of the table below.
 */
#include <stdio.h>
#include <stdlib.h>

#include "fs/disk/record.h"
#include "fs/hash/checksum.h"
#include "fs/placement/map.h"
#include "fs/tree/manifest.h"
#include "tests/bench/metadata_requests.h"

#define FILE_BLOCKS  16384u	/* a file of 1 GiB: two levels */
#define REPLACE_STEP 7919u	/* a prime: places that lie far from each other */
#define SERVERS	     12u

struct counted {
	uint8_t plain[BLOCK_BYTES_MAX], decoded[BLOCK_BYTES_MAX];
	uint8_t noise_record[RECORD_BYTES_MAX], text_record[RECORD_BYTES_MAX];
	uint32_t noise_len, text_len;
	uint8_t frame[FRAME_HEADER_BYTES];
	uint8_t message[256];
	size_t message_len;
	struct codec_scratch *codec;
	struct manifest *manifest;
	struct map *map;
	struct rows *rows;
	struct ms_txn *txn;
	struct ms_config config;
	struct ms_state *state;
	struct requests requests;
	uint64_t wall_ns, done, failed;
	bool reserve;
};

/* --- what they work on ------------------------------------------------------------------------ */

static void fill_noise(uint8_t *bytes, size_t len)
{
	uint64_t state = UINT64_C(0x9e3779b97f4a7c15);

	for (size_t i = 0; i < len; i++) {
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		bytes[i] = (uint8_t)state;
	}
}

static void make_records(struct counted *c)
{
	c->codec = codec_scratch_create();
	ASSERT(c->codec);
	for (uint32_t i = 0; i < BLOCK_BYTES_MAX; i++)
		c->plain[i] = (uint8_t)"block manifest segment journal "[i % 31 + i / 4096 % 2];
	c->text_len = record_build(c->codec, HASH_SHA256, CODEC_AIM_LZ4, c->plain, BLOCK_BYTES_MAX,
				   c->text_record);
	fill_noise(c->plain, sizeof c->plain);
	c->noise_len = record_build(c->codec, HASH_SHA256, CODEC_AIM_LZ4, c->plain, BLOCK_BYTES_MAX,
				    c->noise_record);
}

static struct extent extent_of(uint64_t index, uint8_t version)
{
	struct extent e = { .offset = index * BLOCK_BYTES_MAX, .length = BLOCK_BYTES_MAX };

	e.id.bytes[0] = 1 + version;
	memcpy(e.id.bytes + 8, &index, sizeof index);
	return e;
}

static int discard_node(void *arg, const struct block_id *id, const void *bytes, uint32_t len)
{
	(void)arg, (void)id, (void)bytes, (void)len;
	return 0;
}

static void make_manifest(struct counted *c)
{
	const struct root empty = { .kind = ROOT_EMPTY };
	struct root root;

	ASSERT(manifest_create(&empty, HASH_SHA256, 1024, &c->manifest) == 0);
	for (uint64_t i = 0; i < FILE_BLOCKS; i++) {
		struct extent e = extent_of(i, 0);

		ASSERT(manifest_replace(c->manifest, e.offset, 0, &e, 1) == 0);
	}
	ASSERT(manifest_seal(c->manifest, discard_node, NULL, &root) == 0);
}

static void make_map(struct counted *c)
{
	ASSERT(map_create(&c->map) == 0);
	for (uint32_t i = 1; i <= SERVERS; i++) {
		struct server_row row = { .server = i, .state = SERVER_UP, .disk_count = 1,
					  .weight_bytes = GiB(100) + i * GiB(7) };

		snprintf(row.host, sizeof row.host, "host%u", i / 2);
		snprintf(row.rack, sizeof row.rack, "rack%u", i / 4);
		ASSERT(map_put_server(c->map, &row) == 0);
	}
}

static void make_message(struct counted *c)
{
	Wire__Make make = WIRE__MAKE__INIT;
	Wire__Caller caller = WIRE__CALLER__INIT;
	struct frame_header h = { .type = MSG_MAKE, .request = 7, .deadline_ms = 1000,
				  .session = REQUESTS_SESSION, .slot_seq = 1 };

	caller.uid = caller.gid = 1000;
	make.caller = &caller;
	make.parent = INODE_ROOT;
	make.mode = S_IFREG | 0644;
	make.name = (ProtobufCBinaryData){ 20, (uint8_t *)"model-00000000000001" };
	c->message_len = msg_packed_bytes(&make.base);
	ASSERT(c->message_len <= sizeof c->message);
	msg_pack(&make.base, c->message);
	h.message_len = (uint32_t)c->message_len;
	h.message_checksum = checksum_of(c->message, c->message_len);
	frame_header_encode(&h, c->frame);
}

static void on_effect(void *arg, const struct ms_effect *effect)
{
	struct counted *c = arg;

	if (effect->kind == MS_FX_RESERVE)
		c->reserve = true;
	if (effect->kind != MS_FX_REPLY)
		return;
	c->done++;
	c->failed += effect->reply.rc != 0;
}

/* As the server does it: one event, then its record for the journal. */
static void step(struct counted *c, struct ms_event event)
{
	static uint8_t record[JOURNAL_RECORD_BYTES_MAX];
	uint32_t changes;

	event.now_ms = 1000;
	event.wall_ns = c->wall_ns += 1000;
	ms_step(c->state, &event, on_effect, c);
	if (ms_txn_event_changes(c->txn))
		ASSERT(ms_txn_event_encode(c->txn, record, sizeof record, &changes) > 0);
	if (!c->reserve)
		return;
	c->reserve = false;
	step(c, (struct ms_event){ .kind = MS_EV_RESERVE });
	step(c, (struct ms_event){ .kind = MS_EV_RESERVE, .req.flags = 1 });
}

static void make_state(struct counted *c)
{
	c->config = requests_config();
	c->wall_ns = UINT64_C(1700000000000000000);
	ASSERT(rows_mem_create(&c->rows) == 0 && ms_txn_create(c->rows, &c->txn) == 0);
	ASSERT(ms_state_format(&c->config, c->txn, c->wall_ns, 0, 0) == 0);
	ASSERT(ms_txn_flush(c->txn) == 0 && rows_commit(c->rows) == 0);
	ASSERT(ms_state_create(&c->config, c->txn, &c->state) == 0);
	step(c, (struct ms_event){ .kind = MS_EV_TERM, .req.term = 1 });
	step(c, requests_session());
}

/* --- what is counted -------------------------------------------------------------------------- */

#define COUNTED(name) \
	static __attribute__((noinline)) void name(struct counted *c, uint32_t count)

COUNTED(op_sha256_of_block)
{
	struct block_id id;

	for (uint32_t i = 0; i < count; i++)
		block_id_of(HASH_SHA256, c->plain, sizeof c->plain, &id);
}

COUNTED(op_xxh3_of_block)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < count; i++)
		sum += checksum_of(c->plain, sizeof c->plain);
	ASSERT(sum != 1);
}

COUNTED(op_record_build_noise)
{
	static uint8_t out[RECORD_BYTES_MAX];
	struct block_id id = { { 1 } };

	for (uint32_t i = 0; i < count; i++)
		ASSERT(record_build_named(c->codec, &id, CODEC_AIM_LZ4, c->plain, BLOCK_BYTES_MAX,
					  out) > 0);
}

COUNTED(op_record_check)
{
	struct record r;

	for (uint32_t i = 0; i < count; i++)
		ASSERT(record_check(c->noise_record, c->noise_len, &r) == 0);
}

COUNTED(op_record_open_raw)
{
	struct record r;

	for (uint32_t i = 0; i < count; i++)
		ASSERT(record_open(c->codec, HASH_SHA256, c->noise_record, c->noise_len, false, &r,
				   c->decoded) == 0);
}

COUNTED(op_record_open_lz4)
{
	struct record r;

	for (uint32_t i = 0; i < count; i++)
		ASSERT(record_open(c->codec, HASH_SHA256, c->text_record, c->text_len, false, &r,
				   c->decoded) == 0);
}

COUNTED(op_record_header_decode)
{
	struct record r;

	for (uint32_t i = 0; i < count; i++)
		ASSERT(record_decode_header(c->noise_record, &r) == 0);
}

COUNTED(op_frame_header_encode)
{
	struct frame_header h = { .type = MSG_MAKE, .request = 7, .message_len = 40 };

	for (uint32_t i = 0; i < count; i++)
		frame_header_encode(&h, c->frame);
}

COUNTED(op_frame_header_decode)
{
	struct frame_header h;

	for (uint32_t i = 0; i < count; i++)
		ASSERT(frame_header_decode(c->frame, &h) == 0);
}

COUNTED(op_message_unpack_make)
{
	ProtobufCMessage *msg;

	for (uint32_t i = 0; i < count; i++) {
		ASSERT(msg_unpack(MSG_MAKE, false, c->message, c->message_len, &msg) == 0);
		msg_free(msg);
	}
}

COUNTED(op_manifest_lookup)
{
	struct extent e;

	for (uint64_t i = 0; i < count; i++)
		ASSERT(manifest_lookup(c->manifest,
				       i * REPLACE_STEP % FILE_BLOCKS * BLOCK_BYTES_MAX, &e) == 0);
}

COUNTED(op_manifest_replace)
{
	for (uint64_t i = 0; i < count; i++) {
		struct extent e = extent_of(i * REPLACE_STEP % FILE_BLOCKS, 1);

		ASSERT(manifest_replace(c->manifest, e.offset, e.length, &e, 1) == 0);
	}
}

/* One block of a file of 1 GiB is new: what an overwrite publishes. */
COUNTED(op_manifest_seal_one)
{
	struct root root;

	for (uint64_t i = 0; i < count; i++) {
		struct extent e = extent_of(i * REPLACE_STEP % FILE_BLOCKS, 2);

		ASSERT(manifest_replace(c->manifest, e.offset, e.length, &e, 1) == 0);
		ASSERT(manifest_seal(c->manifest, discard_node, NULL, &root) == 0);
	}
}

COUNTED(op_map_place)
{
	server_no servers[COPIES_MAX];

	for (uint32_t i = 0; i < count; i++)
		ASSERT(map_place(c->map, (pg_no)(i % 4096), 3, servers) == 3);
}

COUNTED(op_metadata_create)
{
	for (uint32_t i = 0; i < count; i++)
		step(c, requests_make(&c->requests, i));
}

COUNTED(op_metadata_publish)
{
	for (uint32_t i = 0; i < count; i++)
		step(c, requests_publish(&c->requests, i, INODE_ROOT + 1 + i));
}

COUNTED(op_metadata_lookup)
{
	for (uint32_t i = 0; i < count; i++)
		step(c, requests_lookup(&c->requests, i));
}

#define OP(name, count) { #name, op_##name, count }

static const struct {
	const char *name;
	void (*run)(struct counted *c, uint32_t count);
	uint32_t count;
} ops[] = {
	OP(sha256_of_block, 16),      OP(xxh3_of_block, 64),
	OP(record_build_noise, 16),   OP(record_check, 64),
	OP(record_open_raw, 64),      OP(record_open_lz4, 16),
	OP(record_header_decode, 1000), OP(frame_header_encode, 1000),
	OP(frame_header_decode, 1000), OP(message_unpack_make, 1000),
	OP(manifest_lookup, 1000),    OP(manifest_replace, 1000),
	OP(manifest_seal_one, 16),    OP(map_place, 1000),
	OP(metadata_create, 2000),    OP(metadata_publish, 2000),
	OP(metadata_lookup, 2000),
};

int main(void)
{
	static struct counted c;

	make_records(&c);
	make_manifest(&c);
	make_map(&c);
	make_message(&c);
	make_state(&c);
	for (size_t i = 0; i < ARRAY_COUNT(ops); i++) {
		ops[i].run(&c, ops[i].count);
		printf("%s %u\n", ops[i].name, ops[i].count);
	}
	ASSERT(c.failed == 0);
	ms_state_destroy(c.state);
	ms_txn_destroy(c.txn);
	rows_destroy(c.rows);
	map_destroy(c.map);
	manifest_destroy(c.manifest);
	codec_scratch_destroy(c.codec);
	return 0;
}
