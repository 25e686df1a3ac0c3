/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making marks durable, and mending them after a server restarted.
 *
 * A server that restarted, failed its sync (I4: never believed) or stays silent does not count.
 * While the others suffice, each block being synced on min_copies of its holders, nobody is waited
 * for any longer than a moment; when they cannot, the sync says -E_STALE_GENERATION: which blocks
 * have how many holders is then known only by asking again, which is what a reput does.
 */
#define LOG_MODULE "blocks"
#include <stdlib.h>
#include <utlist.h>

#include "fs/base/log.h"
#include "fs/net/blocks_internal.h"

#define SYNC_TRIES     3u /* of one server that is not connected */
#define SYNC_PAUSE_MS  50u
/* for those that are not needed: their copies should be durable as well */
#define SYNC_GRACE_MS  250u
#define REPUT_PARALLEL 16u

struct sync_one {
	struct rpc_call call;
	struct sync_state *sync;
	struct blocks_mark mark;
	struct loop_timer timer;
	uint8_t tries;
	bool is_calling;
};

struct sync_state {
	struct blocks *b;
	struct blocks_sync *sync;
	struct loop_timer timer; /* the deadline; or the end of a sync of nothing */
	struct loop_timer grace;
	uint32_t count, left;
	bool is_synced[BLOCKS_MARKS_MAX], is_failed[BLOCKS_MARKS_MAX]; /* by mark */
	struct sync_state *prev, *next;
	struct sync_one ones[];
};

struct reput_one {
	struct blocks_put put;
	struct reput_state *reput;
	struct buf *plain; /* of a block that is nowhere any more */
	bool is_busy;
};

struct reput_state {
	struct blocks *b;
	struct blocks_reput *reput;
	struct loop_timer timer; /* ends a reput of nothing */
	uint32_t next_index, busy;
	int rc;
	struct reput_one ones[REPUT_PARALLEL];
	struct reput_state *prev, *next;
};

/* --- sync ---- */

static void sync_finish(struct sync_state *s, int rc)
{
	struct blocks *b = s->b;
	struct blocks_sync *sync = s->sync;

	for (uint32_t i = 0; i < s->count; i++) {
		if (s->ones[i].is_calling)
			rpc_cancel(&s->ones[i].call);
		loop_timer_stop(b->o.loop, &s->ones[i].timer);
	}
	loop_timer_stop(b->o.loop, &s->timer);
	loop_timer_stop(b->o.loop, &s->grace);
	DL_DELETE(b->syncs, s);
	free(s);
	sync->state = NULL;
	sync->rc = rc;
	sync->done(sync);
}

static bool sync_suffices(const struct sync_state *s, const bool *is_good)
{
	return blocks_marks_suffice(s->sync->marks, is_good, s->b->o.min_copies);
}

static void sync_timer(struct loop_timer *timer)
{
	struct sync_state *s = container_of(timer, struct sync_state, timer);

	sync_finish(s, s->left && !sync_suffices(s, s->is_synced) ? -E_TIMEDOUT : 0);
}

static void sync_grace(struct loop_timer *timer)
{
	sync_finish(container_of(timer, struct sync_state, grace), 0);
}

/* One server has synced, or never will. */
static void sync_one_ended(struct sync_one *one, bool is_synced)
{
	struct sync_state *s = one->sync;
	bool can_be[BLOCKS_MARKS_MAX];
	uint32_t at = (uint32_t)(one - s->ones);

	s->is_synced[at] = is_synced;
	s->is_failed[at] = !is_synced;
	s->left--;
	for (uint32_t i = 0; i < s->count; i++)
		can_be[i] = !s->is_failed[i];
	if (!is_synced && !sync_suffices(s, can_be))
		sync_finish(s, -E_STALE_GENERATION);
	else if (s->left == 0)
		sync_finish(s, 0);
	else if (!s->grace.is_active && sync_suffices(s, s->is_synced))
		loop_timer_start(s->b->o.loop, &s->grace, SYNC_GRACE_MS);
}

static void sync_answered(struct rpc_call *call)
{
	struct sync_one *one = container_of(call, struct sync_one, call);
	struct sync_state *s = one->sync;
	const Wire__SyncReply *reply = (const Wire__SyncReply *)call->reply;

	one->is_calling = false;
	if (call->rc == 0 && reply->generation >= one->mark.generation) {
		sync_one_ended(one, true);
		return;
	}
	if ((call->rc == -E_NOTCONN || call->rc == -E_OVERLOADED) && ++one->tries < SYNC_TRIES) {
		loop_timer_start(s->b->o.loop, &one->timer, SYNC_PAUSE_MS);
		return;
	}
	log_info("cannot sync server=%u: %s", one->mark.server, error_text(call->rc));
	sync_one_ended(one, false);
}

static void sync_ask(struct sync_one *one)
{
	struct sync_state *s = one->sync;
	struct blocks_server *server = blocks_server_of(s->b, one->mark.server);
	Wire__Sync msg = WIRE__SYNC__INIT;

	if (!server) {
		sync_one_ended(one, false);
		return;
	}
	msg.boot_id = one->mark.boot_id;
	msg.generation = one->mark.generation;
	one->is_calling = true;
	one->call = (struct rpc_call){
		.type = MSG_SYNC,
		.request = &msg.base,
		.is_replaceable = true, /* others hold the blocks, too: a reput finds out */
		.deadline_ms = blocks_call_ms(s->b, s->sync->deadline_ns),
		.done = sync_answered,
	};
	rpc_call(server->peer, &one->call);
}

static void sync_one_timer(struct loop_timer *timer)
{
	sync_ask(container_of(timer, struct sync_one, timer));
}

void blocks_sync_start(struct blocks *b, struct blocks_sync *sync)
{
	uint32_t count = sync->marks->count;
	struct sync_state *s = blocks_state_new(sizeof(*s) + count * sizeof(s->ones[0]));

	ASSERT(sync->done && count <= BLOCKS_MARKS_MAX);
	s->b = b;
	s->sync = sync;
	s->count = s->left = count;
	s->timer.fn = sync_timer;
	s->grace.fn = sync_grace;
	sync->state = s;
	DL_APPEND(b->syncs, s);
	loop_timer_start(b->o.loop, &s->timer, count ? blocks_left_ms(b, sync->deadline_ns) : 0);
	for (uint32_t i = 0; i < count; i++) {
		struct sync_one *one = &s->ones[i];

		one->sync = s;
		one->mark = sync->marks->at[i];
		one->timer.fn = sync_one_timer;
		if (blocks_server_of(b, one->mark.server))
			sync_ask(one);
		else
			loop_timer_start(b->o.loop, &one->timer, 0); /* it fails, but not in here */
	}
}

/* --- reput ---- */

static void reput_fill(struct reput_state *r);

static void reput_finish(struct reput_state *r, int rc)
{
	struct blocks *b = r->b;
	struct blocks_reput *reput = r->reput;

	for (uint32_t i = 0; i < REPUT_PARALLEL; i++) {
		blocks_put_abandon(&r->ones[i].put);
		buf_put(r->ones[i].plain);
	}
	loop_timer_stop(b->o.loop, &r->timer);
	DL_DELETE(b->reputs, r);
	free(r);
	reput->state = NULL;
	reput->rc = rc;
	reput->done(reput);
}

static void reput_one_done(struct blocks_put *put);

/* No server has it: perhaps the asker still does. */
static bool reput_plain(struct reput_one *one)
{
	struct reput_state *r = one->reput;

	if (one->plain || !r->reput->plain_of)
		return false;
	one->plain = r->reput->plain_of(r->reput->user, &one->put.id);
	if (!one->plain)
		return false;
	one->put = (struct blocks_put){
		.plain = one->plain,
		.id = one->put.id,
		.has_id = true,
		.deadline_ns = r->reput->deadline_ns,
		.marks = r->reput->marks,
		.done = reput_one_done,
	};
	blocks_put_start(r->b, &one->put);
	return true;
}

static void reput_one_done(struct blocks_put *put)
{
	struct reput_one *one = container_of(put, struct reput_one, put);
	struct reput_state *r = one->reput;

	if (put->rc == -E_NO_BLOCK && reput_plain(one))
		return;
	buf_put(one->plain);
	one->plain = NULL;
	one->is_busy = false;
	r->busy--;
	if (put->rc < 0)
		reput_finish(r, put->rc);
	else
		reput_fill(r);
}

static void reput_fill(struct reput_state *r)
{
	for (uint32_t i = 0; i < REPUT_PARALLEL && r->next_index < r->reput->count; i++) {
		struct reput_one *one = &r->ones[i];

		if (one->is_busy)
			continue;
		one->is_busy = true;
		one->reput = r;
		one->put = (struct blocks_put){
			.id = r->reput->ids[r->next_index++],
			.has_id = true,
			.deadline_ns = r->reput->deadline_ns,
			.marks = r->reput->marks,
			.done = reput_one_done,
		};
		r->busy++;
		blocks_put_start_reput(r->b, &one->put);
	}
	if (r->busy == 0)
		reput_finish(r, 0);
}

static void reput_timer(struct loop_timer *timer)
{
	reput_fill(container_of(timer, struct reput_state, timer));
}

void blocks_reput_start(struct blocks *b, struct blocks_reput *reput)
{
	struct reput_state *r = blocks_state_new(sizeof(*r));

	ASSERT(reput->done && reput->marks);
	r->b = b;
	r->reput = reput;
	r->timer.fn = reput_timer;
	reput->state = r;
	blocks_marks_init(reput->marks);
	DL_APPEND(b->reputs, r);
	if (reput->count)
		reput_fill(r);
	else
		loop_timer_start(b->o.loop, &r->timer, 0); /* it ends, but not in here */
}

void blocks_sync_end_all(struct blocks *b)
{
	while (b->reputs)
		reput_finish(b->reputs, -E_CANCELED);
	while (b->syncs)
		sync_finish(b->syncs, -E_CANCELED);
}
