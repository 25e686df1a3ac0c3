/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading a block (I12): the replica of its run, or the least loaded one, first; hedged to the next
 * when it takes longer than most gets do, former holders last. An answer is proved, on a worker
 * where that is dear, before anyone sees it; a wrong one counts as no answer, and is asked
 * elsewhere; who gave it is asked to check itself.
 */
#define LOG_MODULE "blocks"
#include <stdlib.h>
#include <utlist.h>

#include "fs/base/log.h"
#include "fs/net/blocks_internal.h"

#define TRIES	  2u /* at once: the asked one and its hedge */
#define NS_PER_US 1000u
#define US_PER_MS 1000u

struct get_try {
	struct rpc_call call;
	struct get_state *state;
	server_no server; /* 0: idle */
	uint64_t start_ns;
};

struct get_state {
	struct blocks *b;
	struct blocks_get *get; /* NULL: cancelled, a worker still has it */
	struct blocks_route route;
	struct get_try tries[TRIES];
	struct loop_timer timer; /* the hedge, or a pause */
	struct loop_timer deadline;
	bool saw_unreachable, saw_absent; /* in this round */
	bool saw_corrupt;
	int deadline_rc;       /* what the deadline will say */
	uint64_t start_ns;
	bool is_second_round;  /* every replica said no; */
	uint64_t fresh_rounds; /* once the map is so fresh, a second no is believed */

	struct loop_work work;
	struct blocks_scratch *scratch;
	bool is_working;
	struct buf *record, *plain; /* what is being proved */
	server_no record_server;
	struct block_id id; /* copies for the worker, which may outlive the get */
	uint32_t plain_len;
	bool verify_id;
	uint32_t part_from, part_len;
	bool is_part; /* what came is the part that was asked for, checked by its frame */
	int work_rc;
	struct get_state *prev, *next;
};

static void get_step(struct get_state *g, bool is_hedge);

static void get_pause(struct get_state *g, uint32_t ms)
{
	loop_timer_start(g->b->o.loop, &g->timer, ms);
}

/* --- the end ---- */

static void get_release(struct get_state *g)
{
	buf_put(g->record);
	buf_put(g->plain);
	free(g);
}

/* Detach from the get; the state stays while a worker has it. */
static void get_detach(struct get_state *g)
{
	struct blocks *b = g->b;

	for (unsigned i = 0; i < TRIES; i++) {
		if (g->tries[i].server)
			rpc_cancel(&g->tries[i].call);
	}
	loop_timer_stop(b->o.loop, &g->timer);
	loop_timer_stop(b->o.loop, &g->deadline);
	DL_DELETE(b->gets, g);
	g->get->state = NULL;
	g->get = NULL;
	if (!g->is_working)
		get_release(g);
}

static void get_finish(struct get_state *g, int rc)
{
	struct blocks_get *get = g->get;

	if (rc == 0)
		blocks_route_tell_end(&g->route, "a read", g->start_ns);
	get->rc = rc;
	get->plain = NULL;
	if (rc == 0) {
		get->plain = g->plain;
		g->plain = NULL;
	}
	get_detach(g);
	get->done(get);
}

static void get_deadline(struct loop_timer *timer)
{
	struct get_state *g = container_of(timer, struct get_state, deadline);

	get_finish(g, g->saw_corrupt ? -E_CORRUPT : g->deadline_rc);
}

/* --- telling who was wrong ---- */

static void check_answered(struct rpc_call *call)
{
	struct blocks_check *check = container_of(call, struct blocks_check, call);

	check->is_asking = false;
	if (call->rc < 0)
		log_info("a server did not check a block server=%u: %s", check->server,
			 error_text(call->rc));
}

/* The entry for this block and server, else the oldest one that is not in use. */
static struct blocks_check *check_slot(struct blocks *b, const struct block_id *id,
				       server_no server)
{
	struct blocks_check *oldest = NULL;

	for (uint32_t i = 0; i < BLOCKS_CHECKS_MAX; i++) {
		struct blocks_check *c = &b->checks[i];

		if (c->server == server && block_id_equal(&c->id, id))
			return c;
		if (!c->is_asking && (!oldest || c->asked_ns < oldest->asked_ns))
			oldest = c;
	}
	return oldest;
}

/* Best effort: who finds no slot leaves it to the next reader, and to the server's scrub. */
static void check_ask(struct blocks *b, const struct block_id *id, server_no server)
{
	struct blocks_check *c = check_slot(b, id, server);
	struct blocks_server *s = blocks_server_of(b, server);
	uint64_t now_ns = loop_now_ns(b->o.loop);
	Wire__Check msg = WIRE__CHECK__INIT;

	if (!c || !s || c->is_asking)
		return;
	if (c->server == server && block_id_equal(&c->id, id) &&
	    now_ns < c->asked_ns + BLOCKS_CHECK_PAUSE_NS)
		return;
	*c = (struct blocks_check){.id = *id, .server = server, .asked_ns = now_ns,
				   .is_asking = true};
	msg.id = (ProtobufCBinaryData){BLOCK_ID_BYTES, c->id.bytes};
	c->call = (struct rpc_call){
		.type = MSG_CHECK,
		.request = &msg.base,
		.deadline_ms = b->o.call_ms,
		.done = check_answered,
	};
	rpc_call(s->peer, &c->call);
}

void blocks_check_end_all(struct blocks *b)
{
	for (uint32_t i = 0; i < BLOCKS_CHECKS_MAX; i++) {
		if (b->checks[i].is_asking)
			rpc_cancel(&b->checks[i].call);
		b->checks[i].is_asking = false;
	}
}

/* --- proving what came ---- */

/* The server proved the record that it is a part of, the frame's checksum that it is whole. */
static void get_prove_part(struct get_state *g)
{
	g->work_rc = g->record->len == g->part_len ? 0 : -E_CORRUPT;
	if (g->work_rc == 0)
		g->plain = buf_ref(g->record);
}

/* Stored as it is: the plain bytes are a part of the record. */
static bool get_is_raw(const struct get_state *g)
{
	struct record record;

	return g->record->len >= RECORD_HEADER_BYTES &&
	       record_decode_header(g->record->data, &record) == 0 && record.codec == CODEC_RAW;
}

static int get_open(const struct get_state *g, struct codec_scratch *scratch, struct record *out)
{
	const struct buf *bulk = g->record;
	enum hash_kind hash = g->b->o.hash;

	if (g->plain)
		return record_open(scratch, hash, bulk->data, bulk->len, g->verify_id, out,
				   g->plain->data);
	return g->verify_id ? record_prove(scratch, hash, bulk->data, bulk->len, out, NULL)
			    : record_check(bulk->data, bulk->len, out);
}

/* The plain bytes are `len` bytes of a buffer that we hold. */
static void get_slice(struct get_state *g, struct buf *of, uint32_t from, uint32_t len)
{
	struct buf *slice = buf_slice(of, from, len);

	buf_put(g->plain);
	g->plain = slice;
	if (!slice)
		g->work_rc = -E_NOMEM;
}

static void get_prove(struct get_state *g, struct codec_scratch *scratch)
{
	struct record record;

	g->work_rc = get_open(g, scratch, &record);
	if (g->work_rc == 0 && (!block_id_equal(&record.id, &g->id) ||
				(g->plain_len && record.plain_len != g->plain_len)))
		g->work_rc = -E_CORRUPT;
	if (g->work_rc < 0)
		return;
	if ((uint64_t)g->part_from + g->part_len > record.plain_len) {
		g->work_rc = -E_CORRUPT;
		return;
	}
	uint32_t len = g->part_len ? g->part_len : record.plain_len;
	if (g->plain)
		g->plain->len = record.plain_len;
	else
		get_slice(g, g->record, RECORD_HEADER_BYTES + g->part_from, len);
	if (g->work_rc == 0 && g->plain->len != len)
		get_slice(g, g->plain, g->part_from, len);
}

static void get_proved(struct get_state *g)
{
	if (g->work_rc == 0) {
		get_finish(g, 0);
		return;
	}
	if (g->work_rc == -E_NOMEM) { /* of ours: prove it again */
		get_pause(g, BLOCKS_PAUSE_MS_MIN);
		return;
	}
	char hex[BLOCK_ID_HEX_BYTES];
	log_warn("a replica is wrong, asking another server=%u block=%s: %s", g->record_server,
		 block_id_hex(&g->id, hex), error_text(g->work_rc));
	check_ask(g->b, &g->id, g->record_server);
	buf_put(g->record);
	buf_put(g->plain);
	g->record = g->plain = NULL;
	g->saw_corrupt = true;
	get_step(g, false);
}

static void get_work_run(struct loop_work *work)
{
	struct get_state *g = container_of(work, struct get_state, work);

	get_prove(g, g->scratch->codec);
}

static void get_work_done(struct loop_work *work)
{
	struct get_state *g = container_of(work, struct get_state, work);
	struct blocks *b = g->b;
	struct blocks_scratch *scratch = g->scratch;

	g->is_working = false;
	if (g->get)
		get_proved(g);
	else
		get_release(g);
	blocks_work_end(b, scratch);
}

/*
 * There is a record: prove it as soon as there is a buffer for its plain bytes, if they need one.
 * A checksum alone costs less than a visit at a worker.
 */
static void get_start_proof(struct get_state *g)
{
	bool is_raw = !g->is_part && get_is_raw(g);

	if (g->is_part) {
		get_prove_part(g);
		get_proved(g);
		return;
	}
	if (is_raw && !g->verify_id) {
		get_prove(g, NULL);
		get_proved(g);
		return;
	}
	if (!is_raw && !g->plain)
		g->plain = buf_get(g->b->o.pool, BLOCK_BYTES_MAX);
	if ((!is_raw && !g->plain) || blocks_work_begin(g->b, &g->scratch) < 0) {
		get_pause(g, BLOCKS_PAUSE_MS_MIN);
		return;
	}
	g->is_working = true;
	g->work.is_owned = true;
	g->work.run = get_work_run;
	g->work.done = get_work_done;
	loop_work(g->b->o.loop, &g->work);
}

/* --- asking ---- */

/*
 * The p95 by stochastic approximation (Robbins & Monro 1951): up by 19 parts when a sample is
 * above, down by one when below, rests where one of twenty is above.
 */
static void hedge_learn(struct blocks *b, uint64_t us)
{
	uint32_t step = MAX_OF(b->hedge_us / 256, 1u);

	if (us > b->hedge_us)
		b->hedge_us = MIN_OF(b->hedge_us + 19 * step, BLOCKS_HEDGE_US_MAX);
	else
		b->hedge_us = MAX_OF(b->hedge_us - MIN_OF(step, b->hedge_us), BLOCKS_HEDGE_US_MIN);
}

static bool get_is_asking(const struct get_state *g)
{
	for (unsigned i = 0; i < TRIES; i++) {
		if (g->tries[i].server)
			return true;
	}
	return false;
}

/* The first answer wins; the other, if there is one, may be asked again should this one prove
 * wrong. */
static void get_take_record(struct get_state *g, struct get_try *won, struct buf *bulk)
{
	for (unsigned i = 0; i < TRIES; i++) {
		struct get_try *t = &g->tries[i];

		if (t == won || !t->server)
			continue;
		rpc_cancel(&t->call);
		blocks_route_forget(&g->route, t->server);
		t->server = 0;
	}
	loop_timer_stop(g->b->o.loop, &g->timer);
	g->record = buf_ref(bulk);
	g->record_server = won->server;
	won->server = 0;
	get_start_proof(g);
}

static void get_answered(struct rpc_call *call)
{
	struct get_try *t = container_of(call, struct get_try, call);
	struct get_state *g = t->state;
	const Wire__GetReply *reply = (const Wire__GetReply *)call->reply;

	if (call->rc == 0 && call->reply_bulk) {
		hedge_learn(g->b, (loop_now_ns(g->b->o.loop) - t->start_ns) / NS_PER_US);
		g->is_part = g->part_len && reply && reply->is_part;
		get_take_record(g, t, call->reply_bulk);
		return;
	}
	if (call->rc == -E_STALE_EPOCH && reply) {
		blocks_route_learn(&g->route, &reply->pg_row);
	} else if (call->rc == -E_NO_BLOCK) {
		g->saw_absent = true;
	} else if (call->rc == -E_CORRUPT) {
		g->saw_corrupt = true;
	} else {
		g->saw_unreachable = true;
		g->deadline_rc = -E_NO_REPLICA;
	}
	t->server = 0;
	get_step(g, false);
}

static void get_ask(struct get_state *g, struct get_try *t, const struct blocks_server *s)
{
	Wire__Get get = WIRE__GET__INIT;

	get.id = (ProtobufCBinaryData){BLOCK_ID_BYTES, g->id.bytes};
	get.from = g->part_from;
	get.length = g->part_len;
	t->state = g;
	t->server = s->server;
	t->start_ns = loop_now_ns(g->b->o.loop);
	t->call = (struct rpc_call){
		.type = MSG_GET,
		.request = &get.base,
		.is_replaceable = true,
		.deadline_ms = blocks_call_ms(g->b, g->get->deadline_ns),
		.epoch = g->route.epoch,
		.done = get_answered,
	};
	rpc_call(s->peer, &t->call);
	get_pause(g, DIV_CEIL(g->b->hedge_us, US_PER_MS));
}

/*
 * A block is missing only when all replicas and formers of the newest row said so: after a first
 * round of no the map is fetched, and the round repeated.
 */
static bool get_is_missing(struct get_state *g)
{
	if (!g->saw_absent || g->saw_unreachable)
		return false;
	if (!g->is_second_round) {
		g->is_second_round = true;
		g->fresh_rounds = blocks_map_fresh_rounds(g->b);
	}
	return g->b->map_rounds >= g->fresh_rounds;
}

static void get_round_ended(struct get_state *g)
{
	if (get_is_missing(g)) {
		get_finish(g, g->saw_corrupt ? -E_CORRUPT : -E_NO_BLOCK);
		return;
	}
	if (g->saw_corrupt && !g->saw_unreachable && !g->saw_absent) {
		get_finish(g, -E_CORRUPT);
		return;
	}
	g->saw_absent = g->saw_unreachable = false;
	blocks_route_tell(&g->route, "a read", g->start_ns);
	get_pause(g, blocks_route_pause(&g->route));
}

static void get_step(struct get_state *g, bool is_hedge)
{
	struct get_try *idle = NULL;

	if (g->record) { /* proving, or waiting for a buffer to do so */
		if (!g->is_working)
			get_start_proof(g);
		return;
	}
	for (unsigned i = 0; i < TRIES; i++) {
		if (!g->tries[i].server)
			idle = &g->tries[i];
	}
	if (!idle || (get_is_asking(g) && !is_hedge))
		return;
	bool was_asking = get_is_asking(g);
	struct blocks_server *s = blocks_route_next(&g->route, true);
	if (s)
		get_ask(g, idle, s);
	else if (!was_asking)
		get_round_ended(g);
}

static void get_timer(struct loop_timer *timer)
{
	get_step(container_of(timer, struct get_state, timer), true);
}

/* --- public ---- */

void blocks_get_start(struct blocks *b, struct blocks_get *get)
{
	struct get_state *g = blocks_state_new(sizeof(*g));

	ASSERT(get->done && !(get->part_len && get->verify_id));
	g->b = b;
	g->get = get;
	g->id = get->id;
	g->plain_len = get->plain_len;
	g->verify_id = get->verify_id;
	g->part_from = get->part_from;
	g->part_len = get->part_len;
	g->deadline_rc = -E_TIMEDOUT;
	g->start_ns = loop_now_ns(b->o.loop);
	g->timer.fn = get_timer;
	g->deadline.fn = get_deadline;
	get->state = g;
	get->plain = NULL;
	blocks_route_init(&g->route, b, &get->id);
	g->route.run = get->run;
	g->route.is_part = get->part_len > 0;
	DL_APPEND(b->gets, g);
	loop_timer_start(b->o.loop, &g->deadline, blocks_left_ms(b, get->deadline_ns));
	loop_timer_start(b->o.loop, &g->timer, 0); /* so that nothing can end in here */
	struct blocks_server *s = blocks_route_next(&g->route, true);
	if (s)
		get_ask(g, &g->tries[0], s);
}

void blocks_get_cancel(struct blocks *b unused_arg, struct blocks_get *get)
{
	if (get->state)
		get_detach(get->state);
}

void blocks_get_end_all(struct blocks *b)
{
	while (b->gets)
		get_finish(b->gets, -E_CANCELED);
}
