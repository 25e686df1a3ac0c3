/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks against three chunk servers and a metadata server of a few lines each, over real TCP: what
 * is put can be got while one replica is absent, wrong, slow or out of date, and a restart is
 * mended.
 */
#include <stdio.h>
#include <string.h>
#include <uv.h>

#include "fs/base/bytes.h"
#include "fs/base/text.h"
#include "fs/disk/record.h"
#include "fs/net/blocks.h"
#include "tests/check_main.h"

#define SERVERS	    3
#define RECORDS_MAX 128
#define MANY	    13u
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

static void guard_fired(struct loop_timer *timer unused_arg)
{
	ck_abort_msg("the test waits for something that does not come");
}

/*
 * NOWAIT: a turn of UV_RUN_ONCE runs timers and then still waits, even if one of them made the
 * condition true.
 */
#define RUN_UNTIL(condition)                                                                       \
	do {                                                                                       \
		while (!(condition))                                                               \
			uv_run(loop_uv_handle(w.loop), UV_RUN_NOWAIT);                             \
	} while (0)

/* --- the fakes ---- */

static struct buf *fake_find(struct fake *f, const uint8_t *id)
{
	for (uint32_t i = 0; i < f->record_count; i++) {
		if (memcmp(f->records[i].id.bytes, id, BLOCK_ID_BYTES) == 0)
			return f->records[i].record;
	}
	return NULL;
}

static void fake_store(struct fake *f, const struct block_id *id, struct buf *record)
{
	if (fake_find(f, id->bytes))
		return;
	ck_assert_uint_lt(f->record_count, RECORDS_MAX);
	f->records[f->record_count].id = *id;
	f->records[f->record_count++].record = buf_ref(record);
	f->generation++;
}

static size_t row_encode(uint8_t out[PG_ROW_BYTES_MAX])
{
	struct pg_row row = {.epoch = w.epoch, .state = PG_CLEAN, .replica_count = SERVERS};

	for (unsigned i = 0; i < SERVERS; i++)
		row.replicas[i] = i + 1;
	return pg_row_encode(&row, out);
}

/* The holders of an id among the servers that run, as messages that live for some calls more. */
static size_t holders_of(const uint8_t *id, Wire__Holder **out)
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

static void fake_put(struct fake *f, struct rpc_request *req)
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

static void fake_have(struct fake *f, struct rpc_request *req)
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

static void fake_get_part(struct fake *f, struct rpc_request *req, struct buf *record)
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

static void fake_get(struct fake *f, struct rpc_request *req)
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

static void fake_sync(struct fake *f, struct rpc_request *req)
{
	const Wire__Sync *msg = (const Wire__Sync *)req->msg;
	Wire__SyncReply reply = WIRE__SYNC_REPLY__INIT;

	f->syncs++;
	f->durable = reply.generation = f->generation;
	rpc_answer(req, msg->boot_id == f->boot_id ? 0 : -E_STALE_GENERATION, &reply.base, NULL);
}

static void fake_stale(struct rpc_request *req)
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

static void fake_check(struct fake *f, struct rpc_request *req)
{
	Wire__CheckReply reply = WIRE__CHECK_REPLY__INIT;

	checks[f - w.at]++;
	reply.held = reply.was_wrong = true;
	rpc_answer(req, 0, &reply.base, NULL);
}

static void fake_request(void *arg, struct rpc_request *req)
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

static void mds_request(void *arg unused_arg, struct rpc_request *req)
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

/* --- the world ---- */

static struct rpc *endpoint(enum rpc_role role, void (*on_request)(void *, struct rpc_request *),
			    void *arg)
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

static void fake_start(unsigned i)
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

static void fake_stop(unsigned i)
{
	rpc_destroy(w.at[i].rpc);
	w.at[i].rpc = NULL;
}

static void fake_forget(struct fake *f)
{
	while (f->record_count)
		buf_put(f->records[--f->record_count].record);
}

static void world_start(void)
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
	w.guard.fn = guard_fired;
	loop_timer_start(w.loop, &w.guard, 30000);
}

static void world_stop(void)
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

/* --- operations, run to their end ---- */

static bool is_done;

static uint64_t in_ms(uint64_t ms)
{
	return loop_now_ns(w.loop) + ms * 1000000;
}

static struct buf *plain_of(uint8_t seed, uint32_t len)
{
	struct buf *plain = buf_get(w.pool, len);

	for (uint32_t i = 0; i < len; i++)
		plain->data[i] = (uint8_t)(i * i * 31 + seed * 7 + i / 251);
	plain->len = len;
	return plain;
}

static void put_done(struct blocks_put *put unused_arg)
{
	is_done = true;
}

static struct blocks_put put_within(uint8_t seed, struct blocks_marks *marks, uint64_t ms)
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

static struct blocks_put put(uint8_t seed, struct blocks_marks *marks)
{
	struct blocks_put p = put_within(seed, marks, 10000);

	ck_assert_int_eq(p.rc, 0);
	return p;
}

static void get_done(struct blocks_get *get unused_arg)
{
	is_done = true;
}

static int get_of_run(const struct block_id *id, uint8_t seed, uint64_t run)
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

static int get(const struct block_id *id, uint8_t seed)
{
	return get_of_run(id, seed, 0);
}

static void sync_done(struct blocks_sync *sync unused_arg)
{
	is_done = true;
}

static int sync_marks(const struct blocks_marks *marks)
{
	struct blocks_sync s = {.marks = marks, .deadline_ns = in_ms(10000), .done = sync_done};

	is_done = false;
	blocks_sync_start(w.blocks, &s);
	RUN_UNTIL(is_done);
	return s.rc;
}

static void reput_done(struct blocks_reput *reput unused_arg)
{
	is_done = true;
}

static int reput(const struct block_id *ids, uint32_t count, struct blocks_marks *marks)
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

/* --- stories ---- */

START_TEST(what_is_put_can_be_got_and_synced)
{
	struct blocks_marks marks;

	world_start();
	blocks_marks_init(&marks);
	struct blocks_put p = put(1, &marks);
	ck_assert_uint_gt(p.sent_bytes, 0);
	ck_assert_uint_eq(marks.count, SERVERS);
	ck_assert_uint_eq(marks.collection, 9);
	ck_assert_int_eq(get(&p.id, 1), 0);
	ck_assert_int_eq(sync_marks(&marks), 0);
	for (unsigned i = 0; i < SERVERS; i++)
		ck_assert_uint_eq(w.at[i].durable, 1);
	world_stop();
}
END_TEST

START_TEST(a_block_that_is_there_is_not_sent)
{
	struct blocks_marks marks;

	world_start();
	blocks_marks_init(&marks);
	(void)put(1, NULL);
	ck_assert_uint_eq(put(1, &marks).sent_bytes, 0);
	ck_assert_uint_eq(marks.count, SERVERS);
	ck_assert_uint_eq(w.at[0].puts + w.at[1].puts + w.at[2].puts, 1);
	world_stop();
}
END_TEST

static uint32_t many_done;

static void many_put_done(struct blocks_put *put unused_arg)
{
	many_done++;
}

/* Half of them shrink, half do not: these are sent from where their bytes are. */
static struct buf *many_plain(uint32_t number)
{
	struct buf *plain = plain_of((uint8_t)number, 50000);
	uint64_t state = number + 1;

	for (uint32_t i = 0; number % 2 && i < plain->len; i++) {
		state = state * UINT64_C(6364136223846793005) + 1;
		plain->data[i] = (uint8_t)(state >> 56);
	}
	return plain;
}

static void many_start(struct blocks_put *puts, uint32_t count)
{
	many_done = 0;
	for (uint32_t i = 0; i < count; i++) {
		puts[i] = (struct blocks_put){.plain = many_plain(i),
					      .deadline_ns = in_ms(10000),
					      .done = many_put_done};
		blocks_put_start(w.blocks, &puts[i]);
	}
}

static void many_free(struct blocks_put *puts, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		buf_put(puts[i].plain);
}

START_TEST(puts_of_one_turn_are_asked_for_and_named_together)
{
	struct blocks_put puts[MANY];
	uint32_t haves = 0, ids = 0;

	world_start();
	(void)put(100, NULL); /* now the map is known */
	for (unsigned i = 0; i < SERVERS; i++)
		w.at[i].haves = w.at[i].have_ids = 0;
	many_start(puts, MANY);
	RUN_UNTIL(many_done == MANY);
	for (unsigned i = 0; i < SERVERS; i++) {
		haves += w.at[i].haves;
		ids += w.at[i].have_ids;
	}
	ck_assert_uint_eq(ids, MANY);
	ck_assert_uint_le(haves, MANY / 2); /* as many as batches that a worker named */
	for (uint32_t i = 0; i < MANY; i++) {
		struct block_id id;
		struct blocks_get g = {.id = puts[i].id,
				       .verify_id = true,
				       .deadline_ns = in_ms(10000),
				       .done = get_done};

		block_id_of(HASH_SHA256, puts[i].plain->data, puts[i].plain->len, &id);
		ck_assert(block_id_equal(&id, &puts[i].id));
		ck_assert_int_eq(puts[i].rc, 0);
		ck_assert(i % 2 ? puts[i].sent_bytes == puts[i].plain->len
				: puts[i].sent_bytes < puts[i].plain->len);
		is_done = false;
		blocks_get_start(w.blocks, &g);
		RUN_UNTIL(is_done);
		ck_assert_int_eq(g.rc, 0);
		ck_assert_int_eq(memcmp(g.plain->data, puts[i].plain->data, g.plain->len), 0);
		buf_put(g.plain);
	}
	many_free(puts, MANY);
	world_stop();
}
END_TEST

static void last_run(struct loop_work *work unused_arg)
{
}

static void last_done(struct loop_work *work unused_arg)
{
	is_done = true;
}

static uint32_t all_puts(void)
{
	return w.at[0].puts + w.at[1].puts + w.at[2].puts;
}

static uint32_t all_have_ids(void)
{
	return w.at[0].have_ids + w.at[1].have_ids + w.at[2].have_ids;
}

START_TEST(asking_first_is_learned_and_forgotten)
{
	world_start();
	for (uint8_t i = 0; i < 64; i++) /* all new: asking is found to be in vain */
		(void)put(i, NULL);
	ck_assert_uint_eq(all_puts(), 64);
	ck_assert_uint_lt(all_have_ids(), 40);
	uint32_t asked = all_have_ids();
	for (uint8_t i = 64; i < 96; i++)
		(void)put(i, NULL);
	ck_assert_uint_le(all_have_ids(), asked + 3);
	uint32_t sent = all_puts();
	for (uint8_t i = 0; i < 64; i++) /* all there: one of sixteen finds that out */
		(void)put(i, NULL);
	ck_assert_uint_le(all_puts(), sent + 16);
	world_stop();
}
END_TEST

/* Whatever stage they are in when it is taken away: each ends once, and nothing is left behind. */
START_TEST(a_destroy_ends_puts_at_every_stage)
{
	for (uint32_t turns = 0; turns < 12; turns++) {
		struct blocks_put puts[MANY];

		world_start();
		(void)put(100, NULL);
		many_start(puts, MANY);
		for (uint32_t i = 0; i < turns; i++)
			uv_run(loop_uv_handle(w.loop), UV_RUN_NOWAIT);
		blocks_destroy(w.blocks);
		w.blocks = NULL;
		ck_assert_uint_eq(many_done, MANY);
		many_free(puts, MANY);
		/* The one worker does what it got in order: behind this one it has nothing left. */
		struct loop_work last = {.run = last_run, .done = last_done};
		is_done = false;
		loop_work(w.loop, &last);
		RUN_UNTIL(is_done);
		world_stop();
	}
}
END_TEST

START_TEST(an_absent_server_costs_a_retry)
{
	world_start();
	struct blocks_put p = put(1, NULL);
	fake_stop(0);
	ck_assert_int_eq(get(&p.id, 1), 0);
	struct blocks_marks marks;
	blocks_marks_init(&marks);
	(void)put(2, &marks);
	ck_assert_uint_eq(marks.count, 2);
	world_stop();
}
END_TEST

/* The server that was asked for block `number`, which all have, in this run. */
static unsigned asked_in_run(const struct block_id *id, uint64_t run)
{
	uint32_t before[SERVERS];
	unsigned asked = SERVERS;

	for (unsigned i = 0; i < SERVERS; i++)
		before[i] = w.at[i].gets;
	ck_assert_int_eq(get_of_run(id, 1, run), 0);
	for (unsigned i = 0; i < SERVERS; i++) {
		if (w.at[i].gets != before[i])
			asked = i;
	}
	return asked;
}

START_TEST(a_run_stays_at_a_server_and_the_next_goes_on)
{
	world_start();
	struct blocks_put p = put(1, NULL);
	bool was_asked[SERVERS] = {false};

	for (uint64_t run = 1; run <= SERVERS; run++) {
		unsigned first = asked_in_run(&p.id, run);

		ck_assert_uint_lt(first, SERVERS);
		was_asked[first] = true;
		for (unsigned i = 0; i < 5; i++)
			ck_assert_uint_eq(asked_in_run(&p.id, run), first);
	}
	for (unsigned i = 0; i < SERVERS; i++)
		ck_assert(was_asked[i]);
	fake_stop(0);
	for (uint64_t run = 1; run <= SERVERS; run++)
		ck_assert_int_eq(get_of_run(&p.id, 1, run), 0);
	world_stop();
}
END_TEST

static int get_part(const struct block_id *id, uint8_t seed, uint32_t from, uint32_t len)
{
	struct blocks_get g = {.id = *id,
			       .plain_len = 50000,
			       .part_from = from,
			       .part_len = len,
			       .deadline_ns = in_ms(10000),
			       .done = get_done};

	is_done = false;
	blocks_get_start(w.blocks, &g);
	RUN_UNTIL(is_done);
	if (g.rc == 0) {
		struct buf *want = plain_of(seed, 50000);
		ck_assert_uint_eq(g.plain->len, len);
		ck_assert(memcmp(g.plain->data, want->data + from, len) == 0);
		buf_put(want);
		buf_put(g.plain);
	}
	return g.rc;
}

/* Whether servers answer with the part or with the whole, and raw or encoded. */
START_TEST(a_part_of_a_block_is_enough)
{
	world_start();
	struct blocks_put p = put(1, NULL);
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < SERVERS; i++)
			w.at[i].gives_parts = round == 1;
		ck_assert_int_eq(get_part(&p.id, 1, 0, 1), 0);
		ck_assert_int_eq(get_part(&p.id, 1, 4096, 4096), 0);
		ck_assert_int_eq(get_part(&p.id, 1, 0, 50000), 0);
		ck_assert_int_eq(get_part(&p.id, 1, 49999, 1), 0);
	}
	ck_assert_uint_eq(w.at[0].parts + w.at[1].parts + w.at[2].parts, 4);
	for (unsigned i = 0; i < SERVERS; i++)
		w.at[i].gives_short_parts = true;
	ck_assert_int_eq(get_part(&p.id, 1, 100, 1000), -E_CORRUPT);
	w.at[2].gives_parts = false;
	for (unsigned i = 0; i < SERVERS; i++)
		ck_assert_int_eq(get_part(&p.id, 1, 100, 1000), 0);
	ck_assert_int_eq(get_part(&p.id, 1, 49999, 2), -E_CORRUPT); /* it has no such part */
	world_stop();
}
END_TEST

START_TEST(a_silent_server_is_hedged)
{
	world_start();
	struct blocks_put p = put(1, NULL);
	for (unsigned i = 0; i < SERVERS; i++) {
		w.at[i].is_silent = true;
		uint64_t start_ns = loop_now_ns(w.loop);
		ck_assert_int_eq(get(&p.id, 1), 0);
		ck_assert_uint_lt(loop_now_ns(w.loop) - start_ns, UINT64_C(1500000000));
		w.at[i].is_silent = false;
	}
	world_stop();
}
END_TEST

START_TEST(a_wrong_replica_is_asked_elsewhere)
{
	world_start();
	struct blocks_put p = put(1, NULL);
	/* The put was probed at the first and sent to the second: the third is asked first now. */
	for (unsigned i = 1; i < 3; i++) {
		struct buf *wrong = buf_get(w.pool, RECORD_BYTES_MAX);
		struct buf *right = w.at[i].records[0].record;
		memcpy(wrong->data, right->data, right->len);
		wrong->len = right->len;
		wrong->data[wrong->len - 1] ^= 1;
		buf_put(right);
		w.at[i].records[0].record = wrong;
	}
	memset(checks, 0, sizeof(checks));
	for (unsigned i = 0; i < 20; i++)
		ck_assert_int_eq(get(&p.id, 1), 0);
	/* Who was wrong is asked to check itself, once in a while; who was right is not. */
	RUN_UNTIL(checks[1] + checks[2] > 0);
	ck_assert_uint_eq(checks[0], 0);
	ck_assert_uint_le(checks[1], 1);
	ck_assert_uint_le(checks[2], 1);
	world_stop();
}
END_TEST

START_TEST(a_block_that_nobody_has_is_told)
{
	struct block_id id = {.bytes = {1, 2, 3}};

	world_start();
	ck_assert_int_eq(get(&id, 1), -E_NO_BLOCK);
	world_stop();
}
END_TEST

START_TEST(a_newer_row_is_learned)
{
	world_start();
	struct blocks_put p = put(1, NULL);
	w.epoch = 4;
	w.map_version = 6;
	ck_assert_int_eq(get(&p.id, 1), 0);
	ck_assert_uint_eq(map_pg(blocks_map(w.blocks), block_id_pg(&p.id))->epoch, 4);
	w.epoch = 5;
	(void)put(2, NULL);
	world_stop();
}
END_TEST

START_TEST(fewer_holders_than_min_copies_is_no_success)
{
	struct blocks_marks marks;

	world_start();
	blocks_marks_init(&marks);
	for (unsigned i = 0; i < SERVERS; i++)
		w.at[i].does_not_forward = true;
	(void)put(1, &marks);
	ck_assert_uint_eq(marks.count, 2); /* of two answers */
	fake_stop(1);
	fake_stop(2);
	ck_assert_int_eq(put_within(3, &marks, 300).rc, -E_TIMEDOUT);
	world_stop();
}
END_TEST

START_TEST(a_full_cluster_says_so)
{
	world_start();
	for (unsigned i = 0; i < SERVERS; i++)
		w.at[i].is_full = true;
	ck_assert_int_eq(put_within(1, NULL, 10000).rc, -E_NOSPC);
	world_stop();
}
END_TEST

START_TEST(too_many_full_servers_say_so_though_one_is_silent)
{
	struct blocks_marks marks;

	world_start();
	blocks_marks_init(&marks);
	w.at[1].is_full = true;
	ck_assert_int_eq(put(1, &marks).rc, 0); /* two of three took it */
	ck_assert_uint_eq(marks.count, 2);
	w.at[0].is_full = true;
	fake_stop(2);
	uint64_t start_ns = loop_now_ns(w.loop);
	ck_assert_int_eq(put_within(2, NULL, 60000).rc, -E_NOSPC);
	ck_assert_uint_lt(loop_now_ns(w.loop) - start_ns, UINT64_C(30000000000));
	world_stop();
}
END_TEST

START_TEST(a_restart_is_mended_by_a_reput)
{
	struct blocks_marks marks;
	struct block_id ids[20];

	world_start();
	blocks_marks_init(&marks);
	for (uint8_t i = 0; i < ARRAY_COUNT(ids); i++)
		ids[i] = put(i, &marks).id;
	fake_stop(0);
	fake_stop(1);
	fake_forget(&w.at[0]);
	fake_forget(&w.at[1]);
	fake_start(0);
	fake_start(1);
	ck_assert_int_eq(sync_marks(&marks), -E_STALE_GENERATION);
	ck_assert_int_eq(reput(ids, ARRAY_COUNT(ids), &marks), 0);
	ck_assert_int_eq(sync_marks(&marks), 0);
	for (unsigned i = 0; i < SERVERS; i++)
		ck_assert_uint_eq(w.at[i].record_count, ARRAY_COUNT(ids));
	for (unsigned i = 0; i < SERVERS; i++)
		fake_forget(&w.at[i]);
	ck_assert_int_eq(reput(ids, 1, &marks), -E_NO_BLOCK);
	world_stop();
}
END_TEST

START_TEST(a_sync_does_without_a_server_that_others_replace)
{
	struct blocks_marks marks;

	world_start();
	blocks_marks_init(&marks);
	for (uint8_t i = 0; i < 20; i++)
		(void)put(i, &marks);
	fake_stop(1);
	(void)put(20, &marks); /* two holders are all it has */
	ck_assert_int_eq(sync_marks(&marks), 0);
	ck_assert_uint_gt(w.at[0].durable, 0);
	ck_assert_uint_gt(w.at[2].durable, 0);
	fake_stop(2);
	ck_assert_int_eq(sync_marks(&marks), -E_STALE_GENERATION);
	world_stop();
}
END_TEST

START_TEST(marks_that_cannot_be_synced_are_never_enough)
{
	struct blocks_marks marks;

	world_start();
	blocks_marks_init(&marks);
	(void)put(1, &marks);
	blocks_marks_doubt(&marks);
	ck_assert_int_eq(sync_marks(&marks), -E_STALE_GENERATION);
	world_stop();
}
END_TEST

START_TEST(a_cancelled_get_and_a_destroy_leave_nothing_behind)
{
	struct blocks_get g[3] = {0};
	struct blocks_put p = {0};

	world_start();
	struct block_id id = put(1, NULL).id;
	for (int i = 0; i < 3; i++) {
		g[i] = (struct blocks_get){.id = id, .deadline_ns = in_ms(5000), .done = get_done};
		blocks_get_start(w.blocks, &g[i]);
	}
	is_done = false;
	blocks_get_cancel(w.blocks, &g[0]);
	blocks_get_cancel(w.blocks, &g[0]);
	p = (struct blocks_put){
		.plain = plain_of(9, 50000), .deadline_ns = in_ms(5000), .done = put_done};
	blocks_put_start(w.blocks, &p);
	uv_run(loop_uv_handle(w.loop), UV_RUN_NOWAIT);
	blocks_destroy(w.blocks);
	w.blocks = NULL;
	ck_assert_int_eq(p.rc, -E_CANCELED);
	ck_assert_int_eq(g[2].rc, -E_CANCELED);
	buf_put(p.plain);
	/* What workers still had is given back; the servers share the one record. */
	RUN_UNTIL(buf_pool_used_bytes(w.pool) <= BUF_LARGE_BYTES);
	world_stop();
}
END_TEST

TEST_MAIN("blocks", tcase_add_test(tc, what_is_put_can_be_got_and_synced);
	  tcase_add_test(tc, a_block_that_is_there_is_not_sent);
	  tcase_add_test(tc, puts_of_one_turn_are_asked_for_and_named_together);
	  tcase_add_test(tc, asking_first_is_learned_and_forgotten);
	  tcase_add_test(tc, a_destroy_ends_puts_at_every_stage);
	  tcase_add_test(tc, an_absent_server_costs_a_retry);
	  tcase_add_test(tc, a_run_stays_at_a_server_and_the_next_goes_on);
	  tcase_add_test(tc, a_part_of_a_block_is_enough);
	  tcase_add_test(tc, a_silent_server_is_hedged);
	  tcase_add_test(tc, a_wrong_replica_is_asked_elsewhere);
	  tcase_add_test(tc, a_block_that_nobody_has_is_told);
	  tcase_add_test(tc, a_newer_row_is_learned);
	  tcase_add_test(tc, fewer_holders_than_min_copies_is_no_success);
	  tcase_add_test(tc, a_full_cluster_says_so);
	  tcase_add_test(tc, too_many_full_servers_say_so_though_one_is_silent);
	  tcase_add_test(tc, a_restart_is_mended_by_a_reput);
	  tcase_add_test(tc, a_sync_does_without_a_server_that_others_replace);
	  tcase_add_test(tc, marks_that_cannot_be_synced_are_never_enough);
	  tcase_add_test(tc, a_cancelled_get_and_a_destroy_leave_nothing_behind))
