/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Three chunk servers and a metadata server of a few lines each, over real TCP, and the client's
 * side of fs/net/blocks.h: operations that are run to their end. One world, `w`, from world_start()
 * to world_stop().
 */
#ifndef CAIRN_TESTS_UNIT_NET_BLOCKS_WORLD_H
#define CAIRN_TESTS_UNIT_NET_BLOCKS_WORLD_H

#include <stdio.h>
#include <string.h>

#include "fs/base/bytes.h"
#include "fs/base/text.h"
#include "fs/disk/record.h"
#include "fs/net/blocks.h"
#include "tests/loop_until.h"

#define SERVERS	    3
#define RECORDS_MAX 128
#define HAVES_MAX   64u

struct fake {
	server_no number;
	struct rpc *rpc;
	char address[64];
	uint64_t boot_id, generation, durable;
	struct {
		struct block_id id;
		struct buf *record;
	} records[RECORDS_MAX];
	uint32_t record_count;
	uint32_t gets, puts, haves, have_ids, syncs;
	bool is_silent, is_full, does_not_forward, gives_parts, gives_short_parts;
	uint32_t parts;
};

struct world {
	struct loop *loop;
	struct buf_pool *pool;
	struct net *net;
	struct rpc *mds, *client;
	char mds_address[64];
	struct rpc_peer *mds_peer;
	struct blocks *blocks;
	struct fake at[SERVERS];
	uint64_t epoch, map_version;
	struct loop_timer guard;
};

static struct world w;

/* --- the fakes -------------------------------------------------------------------------------- */

static inline struct buf *fake_find(struct fake *f, const uint8_t *id)
{
	for (uint32_t i = 0; i < f->record_count; i++) {
		if (memcmp(f->records[i].id.bytes, id, BLOCK_ID_BYTES) == 0)
			return f->records[i].record;
	}
	return NULL;
}

static inline void fake_store(struct fake *f, const struct block_id *id, struct buf *record)
{
	if (fake_find(f, id->bytes))
		return;
	ck_assert_uint_lt(f->record_count, RECORDS_MAX);
	f->records[f->record_count].id = *id;
	f->records[f->record_count++].record = buf_ref(record);
	f->generation++;
}

static inline size_t row_encode(uint8_t out[PG_ROW_BYTES_MAX])
{
	struct pg_row row = {.epoch = w.epoch, .state = PG_CLEAN, .replica_count = SERVERS};

	for (unsigned i = 0; i < SERVERS; i++)
		row.replicas[i] = i + 1;
	return pg_row_encode(&row, out);
}

/* The holders of an id among the servers that run, as messages that live for some calls more. */
static inline size_t holders_of(const uint8_t *id, Wire__Holder **out)
{
	static Wire__Holder all[HAVES_MAX][SERVERS];
	static unsigned next;
	Wire__Holder *holders = all[next++ % HAVES_MAX];
	size_t n = 0;

	for (unsigned i = 0; i < SERVERS; i++) {
		if (!w.at[i].rpc || !fake_find(&w.at[i], id))
			continue;
		wire__holder__init(&holders[n]);
		holders[n].server = w.at[i].number;
		holders[n].boot_id = w.at[i].boot_id;
		holders[n].generation = w.at[i].generation;
		out[n] = &holders[n];
		n++;
	}
	return n;
}

static inline void fake_put(struct fake *f, struct rpc_request *req)
{
	const Wire__Put *msg = (const Wire__Put *)req->msg;
	Wire__PutReply reply = WIRE__PUT_REPLY__INIT;
	Wire__Holder *holders[SERVERS];
	struct record record;

	f->puts++;
	ck_assert_ptr_nonnull(req->bulk);
	ck_assert_int_eq(record_check(req->bulk->data, req->bulk->len, &record), 0);
	if (f->is_full) {
		rpc_answer(req, -E_NOSPC, NULL, NULL);
		return;
	}
	fake_store(f, &record.id, req->bulk);
	for (unsigned i = 0; msg->forward && !f->does_not_forward && i < SERVERS; i++) {
		if (w.at[i].rpc && !w.at[i].is_full)
			fake_store(&w.at[i], &record.id, req->bulk);
	}
	reply.holders = holders;
	reply.n_holders = f->does_not_forward ? 1 : holders_of(record.id.bytes, holders);
	if (f->does_not_forward) {
		Wire__Holder *all[SERVERS];
		size_t n = holders_of(record.id.bytes, all);
		for (size_t i = 0; i < n; i++)
			if (all[i]->server == f->number)
				holders[0] = all[i];
	}
	reply.collection = 9;
	rpc_answer(req, 0, &reply.base, NULL);
}

static inline void fake_have(struct fake *f, struct rpc_request *req)
{
	const Wire__Have *msg = (const Wire__Have *)req->msg;
	Wire__HaveReply reply = WIRE__HAVE_REPLY__INIT;
	Wire__HaveAnswer answer[HAVES_MAX], *answers[HAVES_MAX];
	Wire__Holder *holders[HAVES_MAX][SERVERS];

	f->haves++;
	f->have_ids += (uint32_t)msg->n_ids;
	ck_assert_uint_le(msg->n_ids, HAVES_MAX);
	for (size_t i = 0; i < msg->n_ids; i++) {
		wire__have_answer__init(&answer[i]);
		answer[i].holders = holders[i];
		answer[i].n_holders = holders_of(msg->ids[i].data, holders[i]);
		answers[i] = &answer[i];
	}
	reply.answers = answers;
	reply.n_answers = msg->n_ids;
	reply.collection = 9;
	rpc_answer(req, 0, &reply.base, NULL);
}

static inline void fake_get_part(struct fake *f, struct rpc_request *req, struct buf *record)
{
	const Wire__Get *msg = (const Wire__Get *)req->msg;
	Wire__GetReply reply = WIRE__GET_REPLY__INIT;
	struct codec_scratch *scratch = codec_scratch_create();
	struct buf *plain = buf_get(w.pool, BLOCK_BYTES_MAX);
	struct record found;

	f->parts++;
	ck_assert_int_eq(record_open(scratch, HASH_SHA256, record->data, record->len, false, &found,
				     plain->data),
			 0);
	struct buf *part = buf_slice(plain, msg->from, msg->length - f->gives_short_parts);
	reply.is_part = true;
	rpc_answer(req, 0, &reply.base, part);
	buf_put(part);
	buf_put(plain);
	codec_scratch_destroy(scratch);
}

static inline void fake_get(struct fake *f, struct rpc_request *req)
{
	const Wire__Get *msg = (const Wire__Get *)req->msg;
	Wire__GetReply reply = WIRE__GET_REPLY__INIT;
	struct buf *record = fake_find(f, msg->id.data);

	f->gets++;
	if (record && msg->length && f->gives_parts) {
		fake_get_part(f, req, record);
		return;
	}
	rpc_answer_epoch(req, record ? 0 : -E_NO_BLOCK, &reply.base, record, 0, true);
}

static inline void fake_sync(struct fake *f, struct rpc_request *req)
{
	const Wire__Sync *msg = (const Wire__Sync *)req->msg;
	Wire__SyncReply reply = WIRE__SYNC_REPLY__INIT;

	f->syncs++;
	f->durable = reply.generation = f->generation;
	rpc_answer(req, msg->boot_id == f->boot_id ? 0 : -E_STALE_GENERATION, &reply.base, NULL);
}

static inline void fake_stale(struct rpc_request *req)
{
	Wire__GetReply get = WIRE__GET_REPLY__INIT;
	Wire__PutReply put = WIRE__PUT_REPLY__INIT;
	Wire__HaveReply have = WIRE__HAVE_REPLY__INIT;
	uint8_t row[PG_ROW_BYTES_MAX];
	ProtobufCBinaryData bytes = {row_encode(row), row};

	get.pg_row = put.pg_row = have.pg_row = bytes;
	rpc_answer(req, -E_STALE_EPOCH,
		   req->header.type == MSG_GET	 ? &get.base
		   : req->header.type == MSG_PUT ? &put.base
						 : &have.base,
		   NULL);
}

static struct rpc_request *silent[64];
static uint32_t silent_count;

static uint32_t checks[SERVERS];

static inline void fake_check(struct fake *f, struct rpc_request *req)
{
	Wire__CheckReply reply = WIRE__CHECK_REPLY__INIT;

	checks[f - w.at]++;
	reply.held = reply.was_wrong = true;
	rpc_answer(req, 0, &reply.base, NULL);
}

static inline void fake_request(void *arg, struct rpc_request *req)
{
	struct fake *f = arg;

	if (f->is_silent) {
		ck_assert_uint_lt(silent_count, ARRAY_COUNT(silent));
		silent[silent_count++] = req;
	} else if (req->header.type == MSG_CHECK) {
		fake_check(f, req);
	} else if (req->header.type != MSG_SYNC && req->header.type != MSG_HAVE &&
		   req->header.epoch < w.epoch) {
		fake_stale(req);
	} else if (req->header.type == MSG_PUT) {
		fake_put(f, req);
	} else if (req->header.type == MSG_HAVE) {
		fake_have(f, req);
	} else if (req->header.type == MSG_GET) {
		fake_get(f, req);
	} else {
		fake_sync(f, req);
	}
}

static inline void mds_request(void *arg unused_arg, struct rpc_request *req)
{
	const Wire__MapGet *msg = (const Wire__MapGet *)req->msg;
	Wire__MapReply reply = WIRE__MAP_REPLY__INIT;
	static uint8_t server_rows[SERVERS][SERVER_ROW_BYTES_MAX],
		pg_rows[1024][2 + PG_ROW_BYTES_MAX];
	static ProtobufCBinaryData servers[SERVERS], pgs[1024];

	ck_assert_uint_eq(req->header.type, MSG_MAP_GET);
	for (unsigned i = 0; i < SERVERS; i++) {
		struct server_row row = {.server = i + 1,
					 .state = SERVER_UP,
					 .disk_count = 1,
					 .weight_bytes = 1,
					 .boot_id = w.at[i].boot_id};

		row.uuid[0] = (uint8_t)(i + 1);
		ck_assert(text_copy(row.address, sizeof row.address, w.at[i].address));
		ck_assert(text_copy(row.host, sizeof row.host, "h"));
		ck_assert(text_copy(row.rack, sizeof row.rack, "r"));
		servers[i] = (ProtobufCBinaryData){server_row_encode(&row, server_rows[i]),
						   server_rows[i]};
	}
	for (unsigned i = 0; i < 1024; i++) {
		struct wr wr = wr_init(pg_rows[i], 2);

		wr_u16(&wr, (uint16_t)(msg->first_pg + i));
		pgs[i] = (ProtobufCBinaryData){2 + row_encode(pg_rows[i] + 2), pg_rows[i]};
	}
	reply.version = w.map_version;
	reply.n_servers = msg->first_pg == 0 ? SERVERS : 0;
	reply.servers = servers;
	reply.n_pgs = msg->since < w.map_version ? 1024 : 0;
	reply.pgs = pgs;
	reply.next_pg = reply.n_pgs ? msg->first_pg + 1024 : PG_COUNT;
	rpc_answer(req, 0, &reply.base, NULL);
}

/* --- the world -------------------------------------------------------------------------------- */

static inline struct rpc *endpoint(enum rpc_role role,
				   void (*on_request)(void *, struct rpc_request *), void *arg)
{
	struct rpc_options o = {.loop = w.loop,
				.net = w.net,
				.pool = w.pool,
				.role = role,
				.name = "test",
				.cluster = {1},
				.boot_id = 1,
				.on_request = on_request,
				.arg = arg};
	struct rpc *rpc;

	ck_assert_int_eq(rpc_create(&o, &rpc), 0);
	return rpc;
}

static inline void fake_start(unsigned i)
{
	struct fake *f = &w.at[i];
	struct error err = {0};

	f->number = i + 1;
	f->boot_id += 100 + i;
	f->rpc = endpoint(RPC_CHUNK_SERVER, fake_request, f);
	ck_assert_msg(rpc_listen(f->rpc, f->address[0] ? f->address : "127.0.0.1:0", &err) == 0,
		      "%s", err.text);
	ck_assert(text_copy(f->address, sizeof f->address, rpc_listen_address(f->rpc)));
}

static inline void fake_stop(unsigned i)
{
	rpc_destroy(w.at[i].rpc);
	w.at[i].rpc = NULL;
}

static inline void fake_forget(struct fake *f)
{
	while (f->record_count)
		buf_put(f->records[--f->record_count].record);
}

static inline void world_start(void)
{
	struct error err = {0};

	memset(&w, 0, sizeof(w));
	silent_count = 0;
	w.epoch = 3;
	w.map_version = 5;
	ck_assert_int_eq(loop_uv_create(1, &w.loop), 0);
	w.pool = buf_pool_create(MiB(64));
	ck_assert_int_eq(net_uv_create(w.loop, w.pool, "auto", &w.net), 0);
	for (unsigned i = 0; i < SERVERS; i++)
		fake_start(i);
	w.mds = endpoint(RPC_METADATA_SERVER, mds_request, NULL);
	ck_assert_int_eq(rpc_listen(w.mds, "127.0.0.1:0", &err), 0);
	w.client = endpoint(RPC_CLIENT, NULL, NULL);
	ck_assert_int_eq(rpc_peer_create(w.client, rpc_listen_address(w.mds), &w.mds_peer), 0);

	struct blocks_options o = {.rpc = w.client,
				   .mds = w.mds_peer,
				   .loop = w.loop,
				   .pool = w.pool,
				   .hash = HASH_SHA256,
				   .min_copies = 2,
				   .aim = CODEC_AIM_LZ4,
				   .call_ms = 2000};
	ck_assert_int_eq(blocks_create(&o, &w.blocks), 0);
	loop_until_guard(w.loop, &w.guard, 30000);
}

static inline void world_stop(void)
{
	loop_timer_stop(w.loop, &w.guard);
	blocks_destroy(w.blocks);
	rpc_peer_destroy(w.mds_peer);
	rpc_destroy(w.client);
	rpc_destroy(w.mds);
	for (unsigned i = 0; i < SERVERS; i++) {
		fake_stop(i);
		fake_forget(&w.at[i]);
	}
	while (silent_count)
		rpc_answer(silent[--silent_count], -E_SHUTDOWN, NULL, NULL);
	w.net->ops->destroy(w.net);
	loop_uv_destroy(w.loop);
	buf_pool_destroy(w.pool);
}

/* --- operations, run to their end ------------------------------------------------------------- */

static bool is_done;

static inline uint64_t in_ms(uint64_t ms)
{
	return loop_now_ns(w.loop) + ms * 1000000;
}

static inline struct buf *plain_of(uint8_t seed, uint32_t len)
{
	struct buf *plain = buf_get(w.pool, len);

	for (uint32_t i = 0; i < len; i++)
		plain->data[i] = (uint8_t)(i * i * 31 + seed * 7 + i / 251);
	plain->len = len;
	return plain;
}

static inline void put_done(struct blocks_put *put unused_arg)
{
	is_done = true;
}

static inline struct blocks_put put_within(uint8_t seed, struct blocks_marks *marks, uint64_t ms)
{
	struct blocks_put put = {.plain = plain_of(seed, 50000),
				 .deadline_ns = in_ms(ms),
				 .marks = marks,
				 .done = put_done};

	is_done = false;
	blocks_put_start(w.blocks, &put);
	ck_assert(!is_done);
	RUN_UNTIL(is_done);
	buf_put(put.plain);
	return put;
}

static inline struct blocks_put put(uint8_t seed, struct blocks_marks *marks)
{
	struct blocks_put p = put_within(seed, marks, 10000);

	ck_assert_int_eq(p.rc, 0);
	return p;
}

static inline void get_done(struct blocks_get *get unused_arg)
{
	is_done = true;
}

static inline int get_of_run(const struct block_id *id, uint8_t seed, uint64_t run)
{
	struct blocks_get g = {.id = *id,
			       .verify_id = run == 0, /* else in place, without a worker */
			       .run = run,
			       .deadline_ns = in_ms(10000),
			       .done = get_done};

	is_done = false;
	blocks_get_start(w.blocks, &g);
	ck_assert(!is_done);
	RUN_UNTIL(is_done);
	if (g.rc == 0) {
		struct buf *want = plain_of(seed, 50000);
		ck_assert_uint_eq(g.plain->len, want->len);
		ck_assert(memcmp(g.plain->data, want->data, want->len) == 0);
		buf_put(want);
		buf_put(g.plain);
	}
	return g.rc;
}

static inline int get(const struct block_id *id, uint8_t seed)
{
	return get_of_run(id, seed, 0);
}

static inline void sync_done(struct blocks_sync *sync unused_arg)
{
	is_done = true;
}

static inline int sync_marks(const struct blocks_marks *marks)
{
	struct blocks_sync s = {.marks = marks, .deadline_ns = in_ms(10000), .done = sync_done};

	is_done = false;
	blocks_sync_start(w.blocks, &s);
	RUN_UNTIL(is_done);
	return s.rc;
}

static inline void reput_done(struct blocks_reput *reput unused_arg)
{
	is_done = true;
}

static inline int reput(const struct block_id *ids, uint32_t count, struct blocks_marks *marks)
{
	struct blocks_reput r = {.ids = ids,
				 .count = count,
				 .marks = marks,
				 .deadline_ns = in_ms(10000),
				 .done = reput_done};

	is_done = false;
	blocks_reput_start(w.blocks, &r);
	RUN_UNTIL(is_done);
	return r.rc;
}

#endif
