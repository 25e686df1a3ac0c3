/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing a block: name it, ask who has it, encode it, send it to one replica, which forwards it.
 * Done when min_copies servers hold it (I2 needs that many to sync); fewer is no success, and the
 * next replica is asked until the deadline.
 *
 * Probing pays where blocks repeat and costs a round trip where they do not: how often it helped
 * decides whether it is done, beforehand, so that without it one visit at a worker names the block
 * and encodes it. A server that has a block already answers a PUT of it as it answers a HAVE.
 *
 * A reput is the same without the plain bytes: what HAVE does not find often enough is read from
 * whoever has it, and put again.
 */
#define LOG_MODULE "blocks"
#include <stdlib.h>
#include <utlist.h>

#include "fs/base/log.h"
#include "fs/net/blocks_internal.h"

#define HITS_ONE    1024u
#define HITS_WORTH  128u /* of 1,024: below, only one put of PROBE_EVERY probes */
#define PROBE_EVERY 16u

enum put_step { PUT_NAME, PUT_PROBE, PUT_FETCH, PUT_ENCODE, PUT_SEND };

struct put_state {
	struct blocks *b;
	struct blocks_put *put; /* NULL: ended, a worker still has the state */
	enum put_step step;
	struct blocks_route route;
	struct rpc_call call;
	bool is_calling;
	server_no asked;
	struct blocks_get get; /* of a reput */
	struct loop_timer timer;
	struct loop_timer deadline;
	struct blocks_marks marks; /* holders so far */
	server_no holders[BLOCKS_CANDIDATES_MAX];
	uint8_t holder_count;
	server_no unreachable[BLOCKS_CANDIDATES_MAX];
	uint8_t unreachable_count;
	server_no full[BLOCKS_CANDIDATES_MAX]; /* said -E_NOSPC in this round */
	uint8_t full_count;
	int last_rc; /* what the deadline says */
	uint64_t start_ns;

	bool has_id, has_record;
	bool wants_probe; /* ask before it is sent */
	struct block_id id;
	struct buf *plain;
	struct blocks_encode encode;
	struct blocks_probe probe;
	struct put_state *prev, *next;
};

static void put_step(struct put_state *p);

/* --- the end ---- */

static void put_release(struct put_state *p)
{
	blocks_encode_finish(&p->encode);
	buf_put(p->plain);
	free(p);
}

static void put_detach(struct put_state *p)
{
	struct blocks *b = p->b;

	if (p->is_calling)
		rpc_cancel(&p->call);
	blocks_get_cancel(b, &p->get);
	blocks_probe_cancel(b, &p->probe);
	blocks_encode_cancel(b, &p->encode);
	loop_timer_stop(b->o.loop, &p->timer);
	loop_timer_stop(b->o.loop, &p->deadline);
	DL_DELETE(b->puts, p);
	p->put->state = NULL;
	p->put = NULL;
	if (!p->encode.is_busy)
		put_release(p);
}

static void put_finish(struct put_state *p, int rc)
{
	struct blocks_put *put = p->put;

	blocks_marks_seal(&p->marks);
	if (rc == 0)
		blocks_route_tell_end(&p->route, "a write", p->start_ns);
	if (rc == 0 && put->marks)
		rc = blocks_marks_merge(put->marks, &p->marks);
	put->rc = rc;
	put_detach(p);
	put->done(put);
}

static void put_deadline(struct loop_timer *timer)
{
	struct put_state *p = container_of(timer, struct put_state, deadline);

	put_finish(p, p->last_rc == -E_NOSPC ? -E_NOSPC : -E_TIMEDOUT);
}

static void put_pause(struct put_state *p, uint32_t ms)
{
	loop_timer_start(p->b->o.loop, &p->timer, ms);
}

static void put_timer(struct loop_timer *timer)
{
	put_step(container_of(timer, struct put_state, timer));
}

/* --- names and encodings ---- */

static bool probes_are_worth(const struct blocks *b)
{
	return b->probe_hits >= HITS_WORTH;
}

/* Is asking first worth a round trip? */
static bool put_should_probe(struct blocks *b)
{
	if (probes_are_worth(b) || ++b->probe_skipped >= PROBE_EVERY) {
		b->probe_skipped = 0;
		return true;
	}
	return false;
}

static void put_named(struct put_state *p)
{
	p->put->id = p->id;
	p->put->has_id = true;
	blocks_route_init(&p->route, p->b, &p->id);
	/* Since it began, the first of its file may have turned out to be there. */
	bool probes = p->wants_probe || probes_are_worth(p->b);
	p->step = probes ? PUT_PROBE : p->has_record ? PUT_SEND : PUT_ENCODE;
	put_step(p);
}

static void put_encoded(struct blocks_encode *encode)
{
	struct put_state *p = container_of(encode, struct put_state, encode);

	if (!p->put) {
		put_release(p);
		return;
	}
	p->id = encode->id;
	p->has_record = encode->wants_record;
	if (p->step == PUT_NAME) {
		put_named(p);
	} else {
		p->step = PUT_SEND;
		put_step(p);
	}
}

static void put_encode(struct put_state *p)
{
	p->encode = (struct blocks_encode){
		.plain = p->plain,
		.id = p->id,
		.has_id = p->step == PUT_ENCODE,
		.wants_record = p->step == PUT_ENCODE || !p->wants_probe ||
				blocks_encode_is_cheap(p->b),
		.done = put_encoded,
	};
	if (blocks_encode_start(p->b, &p->encode) < 0)
		put_pause(p, BLOCKS_PAUSE_MS_MIN);
}

/* --- holders ---- */

static bool server_is_among(const server_no *list, uint8_t count, server_no server)
{
	for (uint8_t i = 0; i < count; i++) {
		if (list[i] == server)
			return true;
	}
	return false;
}

/* Answers of several replicas add up: a server counts once. */
static int put_add_holders(struct put_state *p, Wire__Holder **holders, size_t count,
			   uint64_t collection)
{
	int rc = 0;

	for (size_t i = 0; i < count && rc == 0; i++) {
		struct blocks_mark mark = {holders[i]->server, holders[i]->boot_id,
					   holders[i]->generation};

		rc = blocks_marks_add(&p->marks, &mark);
		if (!server_is_among(p->holders, p->holder_count, mark.server) &&
		    p->holder_count < BLOCKS_CANDIDATES_MAX)
			p->holders[p->holder_count++] = mark.server;
	}
	if (count)
		p->marks.collection = MIN_OF(p->marks.collection, collection);
	return rc;
}

static bool put_has_enough(const struct put_state *p)
{
	return p->holder_count >= p->b->o.min_copies;
}

/* --- asking ---- */

/* Have so many replicas no space that the others are too few? Waiting would not help. */
static bool put_is_hopeless(struct put_state *p)
{
	const struct pg_row *row = blocks_route_row(&p->route);
	uint8_t full = 0;

	for (uint8_t i = 0; row && i < row->replica_count; i++)
		full += server_is_among(p->full, p->full_count, row->replicas[i]);
	return full > 0 && full + p->b->o.min_copies > row->replica_count;
}

static void put_failed_at(struct put_state *p, int rc, const ProtobufCBinaryData *pg_row)
{
	p->last_rc = rc;
	if (rc == -E_NOSPC && p->full_count < BLOCKS_CANDIDATES_MAX &&
	    !server_is_among(p->full, p->full_count, p->asked))
		p->full[p->full_count++] = p->asked;
	if (put_is_hopeless(p)) {
		put_finish(p, -E_NOSPC);
		return;
	}
	if (rc == -E_STALE_EPOCH && pg_row)
		blocks_route_learn(&p->route, pg_row);
	if ((rc == -E_NOTCONN || rc == -E_TIMEDOUT) &&
	    p->unreachable_count < BLOCKS_CANDIDATES_MAX &&
	    !server_is_among(p->unreachable, p->unreachable_count, p->asked))
		p->unreachable[p->unreachable_count++] = p->asked;
	if (rc == -E_OVERLOADED) { /* this one, again, a little later */
		blocks_route_forget(&p->route, p->asked);
		put_pause(p, BLOCKS_PAUSE_MS_MIN);
		return;
	}
	put_step(p);
}

static void probe_count(struct blocks *b, bool is_hit)
{
	/* One hit says more than one miss: content that is there already comes in files. */
	if (is_hit)
		b->probe_hits += (HITS_ONE - b->probe_hits) / 4;
	else
		b->probe_hits -= b->probe_hits / 16;
}

static void put_probed(struct blocks_probe *probe, int rc, const Wire__HaveAnswer *answer,
		       uint64_t collection)
{
	struct put_state *p = container_of(probe, struct put_state, probe);

	if (rc == 0)
		rc = put_add_holders(p, answer->holders, answer->n_holders, collection);
	if (rc < 0) {
		put_failed_at(p, rc, NULL);
		return;
	}
	bool is_hit = put_has_enough(p);
	probe_count(p->b, is_hit);
	if (is_hit) {
		put_finish(p, 0);
		return;
	}
	p->step = p->has_record ? PUT_SEND : p->plain ? PUT_ENCODE : PUT_FETCH;
	p->route.tried_count = 0; /* the same one may be sent it */
	put_step(p);
}

static void put_probe(struct put_state *p, server_no server)
{
	p->asked = server;
	p->probe = (struct blocks_probe){
		.server = server,
		.id = p->id,
		.deadline_ms = blocks_call_ms(p->b, p->put->deadline_ns),
		.done = put_probed,
	};
	blocks_probe_start(p->b, &p->probe);
}

static void put_sent(struct rpc_call *call)
{
	struct put_state *p = container_of(call, struct put_state, call);
	const Wire__PutReply *reply = (const Wire__PutReply *)call->reply;
	int rc = call->rc;

	p->is_calling = false;
	if (reply && (rc == 0 || reply->n_holders)) {
		int add_rc =
			put_add_holders(p, reply->holders, reply->n_holders, reply->collection);
		if (rc == 0)
			rc = add_rc;
	}
	if (put_has_enough(p) && rc != -E_OVERLOADED) {
		p->put->sent_bytes = p->call.bulk->len;
		put_finish(p, 0);
		return;
	}
	put_failed_at(p, rc == 0 ? -E_NO_REPLICA : rc, reply ? &reply->pg_row : NULL);
}

/* Replicas, by their place in the row, that need not be tried by whom we send to. */
static uint32_t put_excluded_mask(struct put_state *p)
{
	const struct pg_row *row = blocks_route_row(&p->route);
	uint32_t mask = 0;

	for (uint8_t i = 0; row && i < row->replica_count; i++) {
		if (server_is_among(p->unreachable, p->unreachable_count, row->replicas[i]))
			mask |= 1u << i;
	}
	return mask;
}

static void put_send(struct put_state *p, struct blocks_server *s)
{
	Wire__Put put = WIRE__PUT__INIT;

	put.forward = true;
	put.excluded_mask = put_excluded_mask(p);
	p->is_calling = true;
	p->asked = s->server;
	p->call = (struct rpc_call){
		.type = MSG_PUT,
		.request = &put.base,
		.bulk = p->encode.stored ? p->encode.stored : p->plain,
		.bulk_is_record = true,
		.record_head = p->encode.head,
		.is_replaceable = true,
		.deadline_ms = blocks_call_ms(p->b, p->put->deadline_ns),
		.epoch = p->route.epoch,
		.done = put_sent,
	};
	rpc_call(s->peer, &p->call);
}

static void put_ask(struct put_state *p)
{
	struct blocks_server *s = blocks_route_next(&p->route, false);

	if (!s) { /* a round over all replicas without success */
		p->unreachable_count = p->full_count = 0;
		blocks_route_tell(&p->route, "a write", p->start_ns);
		put_pause(p, blocks_route_pause(&p->route));
		return;
	}
	if (p->step == PUT_PROBE)
		put_probe(p, s->server);
	else
		put_send(p, s);
}

static void put_fetched(struct blocks_get *get)
{
	struct put_state *p = container_of(get, struct put_state, get);

	if (get->rc < 0) {
		put_finish(p, get->rc);
		return;
	}
	p->plain = get->plain;
	get->plain = NULL;
	p->step = PUT_ENCODE;
	put_step(p);
}

static void put_fetch(struct put_state *p)
{
	p->get = (struct blocks_get){
		.id = p->id,
		.verify_id = true,
		.deadline_ns = p->put->deadline_ns,
		.done = put_fetched,
	};
	blocks_get_start(p->b, &p->get);
}

static void put_step(struct put_state *p)
{
	switch (p->step) {
	case PUT_NAME:
		if (p->has_id)
			put_named(p);
		else
			put_encode(p);
		break;
	case PUT_PROBE:
	case PUT_SEND:
		put_ask(p);
		break;
	case PUT_FETCH:
		put_fetch(p);
		break;
	case PUT_ENCODE:
		put_encode(p);
		break;
	}
}

/* --- public ---- */

static struct put_state *put_new(struct blocks *b, struct blocks_put *put)
{
	struct put_state *p = blocks_state_new(sizeof(*p));

	ASSERT(put->done);
	p->b = b;
	p->put = put;
	p->has_id = put->has_id;
	p->start_ns = loop_now_ns(b->o.loop);
	p->id = put->id;
	p->timer.fn = put_timer;
	p->deadline.fn = put_deadline;
	blocks_marks_init(&p->marks);
	put->state = p;
	put->sent_bytes = 0;
	DL_APPEND(b->puts, p);
	loop_timer_start(b->o.loop, &p->deadline, blocks_left_ms(b, put->deadline_ns));
	return p;
}

void blocks_put_start(struct blocks *b, struct blocks_put *put)
{
	ASSERT(put->plain && put->plain->len > 0 && put->plain->len <= BLOCK_BYTES_MAX);
	struct put_state *p = put_new(b, put);
	p->plain = buf_ref(put->plain);
	p->wants_probe = put_should_probe(b);
	put_step(p); /* a work, a call or a pause: nothing that could end in here */
}

void blocks_put_start_reput(struct blocks *b, struct blocks_put *put)
{
	ASSERT(put->has_id && !put->plain);
	struct put_state *p = put_new(b, put);
	p->wants_probe = true;
	put_step(p);
}

void blocks_put_abandon(struct blocks_put *put)
{
	if (put->state)
		put_detach(put->state);
}

void blocks_put_end_all(struct blocks *b)
{
	while (b->puts)
		put_finish(b->puts, -E_CANCELED);
}
