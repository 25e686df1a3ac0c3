/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Garbage, as far as this server decides (I9): COLLECT_BEGIN, _MARK, _SWEEP, _END of the metadata
 * server.
 *
 * A cycle begins with an epoch that we apply from then on, and with the epochs of all rows of the
 * map, of which a digest is told: the collector goes on only if it goes by the same rows, for it
 * sends marks by them. Marks fill a filter (mark_filter.h): what it takes for marked by mistake
 * stays until another cycle, and nothing is ever taken for unmarked that was marked.
 *
 * A sweep is refused unless this process has seen the whole cycle and counted every mark. It moves
 * to trash what is not marked and was last touched before the epoch before this one; of a group
 * whose row changed since the begin, nothing. A group that is whole without us is surplus: the
 * same, without marks.
 *
 * Trash is freed after the grace, if it was in trash, untouched and under the same row of its group
 * since the last whole sweep of this process. After a restart that takes two more epochs. And only
 * while the metadata server answers and knows no newer epoch: if its disk is lost, what comes back
 * is an older state, as old as the copies were on that day, and what that names stays however long
 * it takes. What a mark finds in trash was on its way out everywhere, and healing did not see it:
 * the other replicas are owed it.
 *
 * The grace is measured by a clock that nobody sets while we run.
 *
 * Debts of what is garbage go with it: nobody will ever repay them. A block that is not here, and
 * was neither marked now nor when its debt was seen two epochs ago, is none that anybody can still
 * publish.
 *
 * Everything runs in bounded pieces with pauses (I11): foreground work goes first.
 */
#include <stdlib.h>
#include <string.h>

#include "chunk-server/mark_filter.h"
#include "chunk-server/serve_internal.h"
#include "fs/base/log.h"
#include "fs/base/metrics.h"

#define LOG_MODULE "collect"

#define PIECE_BLOCKS	  512u /* looked at in one turn of the loop, */
#define PIECE_PAUSE_MS	  1u   /* and then others have theirs */
#define FREE_PAUSE_MS_MIN 1000u
/* looked at in one sweep; others have their turn when these are settled */
#define DEBTS_MAX	  1024u
#define FORGET_MS	  3600000u /* a mark that nobody asks for any more */
/* "give it back now": segments with so much dead are rewritten */
#define COMPACT_PERCENT	  5u

/* A debt of a block that is neither here nor marked. */
struct old_debt {
	struct block_id id;
	uint64_t epoch; /* of the sweep that saw it first */
};

enum sweep_state { SWEEP_NONE, SWEEP_RUNS, SWEEP_DONE, SWEEP_FAILED };

struct collect {
	struct cs_server *server;
	uint64_t wall_ms_begin, now_ms_begin; /* of this process; from there the loop counts */
	/* the mark */
	uint64_t cycle; /* 0: none */
	uint64_t epoch, boot_id;
	uint64_t batches, marks;
	struct cs_mark_filter filter;
	uint64_t row_epochs[PG_COUNT]; /* when it began; 0: not known */
	struct loop_timer forget;
	/* a COLLECT_BEGIN that waits for a newer map */
	struct rpc_request *begin;
	struct map_wait wait;
	/* the sweep */
	enum sweep_state sweep;
	bool is_dry;
	struct block_id at; /* where the next piece begins */
	uint32_t piece;	    /* looked at in this one */
	uint64_t blocks, bytes, kept_young, kept_moving;
	struct loop_timer turn;
	struct old_debt debts[DEBTS_MAX]; /* by rising id within a server, as the log tells them */
	uint32_t debt_count;
	/* freeing */
	uint64_t swept_epoch;		 /* of the last whole sweep; 0: none in this process */
	uint64_t swept_rows[PG_COUNT];	 /* rows then; 0: the group was not swept */
	uint64_t grace_ms;
	/* of the pass: when the next one is due; UINT64_MAX: never */
	uint64_t free_next_ms;
	bool is_freeing;
	struct block_id free_at;
	uint64_t freed;
	struct loop_timer free_turn;
};

static uint64_t wall_ms(const struct collect *c)
{
	return c->wall_ms_begin + (loop_now_ms(c->server->options.loop) - c->now_ms_begin);
}

/* --- the mark ---- */

static void mark_forget(struct collect *c)
{
	struct loop *loop = c->server->options.loop;

	loop_timer_stop(loop, &c->forget);
	loop_timer_stop(loop, &c->turn);
	cs_mark_filter_finish(&c->filter);
	c->cycle = 0;
	c->sweep = SWEEP_NONE;
}

static void forget_fired(struct loop_timer *timer)
{
	struct collect *c = container_of(timer, struct collect, forget);

	log_info("a mark was abandoned marks=%llu", (unsigned long long)c->marks);
	mark_forget(c);
}

static int mark_begin(struct collect *c, const Wire__CollectBegin *msg)
{
	struct cs_server *s = c->server;
	struct cs_store_stats stats;
	int rc;

	mark_forget(c);
	cs_disks_stats(s->disks, &stats);
	rc = cs_mark_filter_init(&c->filter, stats.blocks + stats.blocks_trash, msg->cycle);
	if (rc < 0) {
		log_error("cannot collect garbage: no memory for the marks of %llu blocks",
			  (unsigned long long)(stats.blocks + stats.blocks_trash));
		return rc;
	}
	c->cycle = msg->cycle;
	c->epoch = msg->epoch;
	c->boot_id = s->boot_id;
	c->batches = c->marks = 0;
	for (uint32_t pg = 0; pg < PG_COUNT; pg++)
		c->row_epochs[pg] = map_pg(s->map, (pg_no)pg)->epoch;
	loop_timer_start(s->options.loop, &c->forget, FORGET_MS);
	return 0;
}

static void begin_answer(struct collect *c, struct rpc_request *req, int rc)
{
	struct cs_server *s = c->server;
	const Wire__CollectBegin *msg = (const Wire__CollectBegin *)req->msg;
	Wire__CollectBeginReply reply = WIRE__COLLECT_BEGIN_REPLY__INIT;

	if (rc == 0 && map_version(s->map) < msg->map_version)
		rc = -E_RECOVERING;
	if (rc == 0 && msg->epoch < s->collection)
		rc = -E_OLD_COLLECTION;
	if (rc == 0) {
		cs_collect_epoch(s, msg->epoch);
		rc = mark_begin(c, msg);
	}
	reply.boot_id = s->boot_id;
	reply.epoch = s->collection;
	reply.rows = map_digest(s->map);
	rpc_answer(req, rc, rc == 0 ? &reply.base : NULL, NULL);
}

static void map_came(struct map_wait *wait, int rc)
{
	struct collect *c = container_of(wait, struct collect, wait);
	struct rpc_request *req = c->begin;

	c->begin = NULL;
	begin_answer(c, req, rc < 0 ? -E_RECOVERING : 0);
}

static void serve_begin(struct collect *c, struct rpc_request *req)
{
	const Wire__CollectBegin *msg = (const Wire__CollectBegin *)req->msg;

	if (msg->cycle == 0 || msg->epoch == 0) {
		rpc_answer(req, -E_INVAL, NULL, NULL);
		return;
	}
	if (map_version(c->server->map) >= msg->map_version) {
		begin_answer(c, req, 0);
		return;
	}
	if (c->begin != NULL) { /* it was sent again: the older asker is gone */
		rpc_answer(req, -E_OVERLOADED, NULL, NULL);
		return;
	}
	c->begin = req;
	c->wait.done = map_came;
	cs_heartbeat_map_wait(c->server, &c->wait);
}

static bool is_cycle(const struct collect *c, uint64_t cycle)
{
	return cycle != 0 && c->cycle == cycle && c->boot_id == c->server->boot_id &&
	       c->epoch == c->server->collection;
}

static void serve_mark(struct collect *c, struct rpc_request *req)
{
	const Wire__CollectMark *msg = (const Wire__CollectMark *)req->msg;
	Wire__CollectMarkReply reply = WIRE__COLLECT_MARK_REPLY__INIT;
	uint32_t len = req->bulk != NULL ? req->bulk->len : 0;

	if (!is_cycle(c, msg->cycle) || c->sweep != SWEEP_NONE || len == 0 ||
	    len % CS_MARK_BYTES != 0 || msg->batch == 0 || msg->batch > c->batches + 1) {
		mark_forget(c);
		rpc_answer(req, -E_INVAL, NULL, NULL);
		return;
	}
	if (msg->batch == c->batches + 1) {
		for (uint32_t at = 0; at < len; at += CS_MARK_BYTES)
			cs_mark_filter_add(&c->filter, req->bulk->data + at);
		c->marks += len / CS_MARK_BYTES;
		c->batches++;
	}
	loop_timer_start(c->server->options.loop, &c->forget, FORGET_MS);
	reply.marks = c->marks;
	rpc_answer(req, 0, &reply.base, NULL);
}

/* --- freeing ---- */

static void free_start(struct collect *c)
{
	c->is_freeing = true;
	c->freed = 0;
	c->free_next_ms = UINT64_MAX;
	memset(&c->free_at, 0, sizeof(c->free_at));
	loop_timer_start(c->server->options.loop, &c->free_turn, 0);
}

static void free_end(struct collect *c)
{
	uint64_t now = wall_ms(c);
	uint64_t wait = c->free_next_ms > now ? c->free_next_ms - now : 0;

	c->is_freeing = false;
	if (c->freed > 0)
		log_info("freed %llu blocks of trash", (unsigned long long)c->freed);
	if (c->free_next_ms != UINT64_MAX)
		loop_timer_start(c->server->options.loop, &c->free_turn,
				 MIN_OF(MAX_OF(wait, FREE_PAUSE_MS_MIN), (uint64_t)FORGET_MS));
}

/* Is it as the last sweep left it? */
static bool may_free(const struct collect *c, const struct block_id *id,
		     const struct cs_place *place)
{
	pg_no pg = block_id_pg(id);

	return place->trashed_ms != 0 && c->server->collection == c->swept_epoch &&
	       place->touched + 1 < c->swept_epoch && c->swept_rows[pg] != 0 &&
	       c->swept_rows[pg] == map_pg(c->server->map, pg)->epoch;
}

/* Nobody can send what is gone, and nobody needs it. */
static void forget_debts(struct collect *c, const struct block_id *id)
{
	const struct pg_row *row = map_pg(c->server->map, block_id_pg(id));

	for (uint32_t i = 0; i < row->replica_count; i++) {
		/* If it cannot be noted now, repaying finds it out. */
		(void)!cs_owed_remove(c->server->owed, id, row->replicas[i]);
	}
}

static bool free_one(void *arg, const struct block_id *id, const struct cs_place *place)
{
	struct collect *c = arg;

	c->free_at = *id;
	if (c->piece++ == PIECE_BLOCKS)
		return false;
	if (!may_free(c, id, place))
		return true;
	if (!cs_heartbeat_is_heard(c->server)) {
		c->free_next_ms = wall_ms(c) + FREE_PAUSE_MS_MIN;
		return false;
	}
	/* Without a grace at once, also what a clock put into trash that went back since. */
	if (c->grace_ms > 0 && wall_ms(c) < place->trashed_ms + c->grace_ms) {
		c->free_next_ms = MIN_OF(c->free_next_ms, place->trashed_ms + c->grace_ms);
	} else if (cs_disks_free(c->server->disks, id) == 0) {
		forget_debts(c, id);
		c->freed++;
	}
	return true;
}

static void free_piece(struct loop_timer *timer)
{
	struct collect *c = container_of(timer, struct collect, free_turn);

	if (!c->is_freeing) { /* the grace of some has passed */
		free_start(c);
		return;
	}
	c->piece = 0;
	int rc = cs_disks_scan(c->server->disks, &c->free_at, free_one, c);
	if (rc == 0 && c->piece > PIECE_BLOCKS)
		loop_timer_start(c->server->options.loop, &c->free_turn, PIECE_PAUSE_MS);
	else
		free_end(c);
}

/* --- the sweep ---- */

enum verdict { LIVE, YOUNG, MOVING, GARBAGE };

static enum verdict judge(const struct collect *c, const struct block_id *id,
			  const struct cs_place *place)
{
	pg_no pg = block_id_pg(id);
	const struct pg_row *row = map_pg(c->server->map, pg);

	if (row->epoch == 0 || row->epoch != c->row_epochs[pg])
		return MOVING;
	if (pg_row_names(row, c->server->number)) {
		if (cs_mark_filter_has(&c->filter, id))
			return LIVE;
	} else if (row->state != PG_CLEAN) {
		return MOVING;
	}
	return place->touched + 1 < c->epoch ? GARBAGE : YOUNG;
}

/* It lives after all: so that every replica has it outside trash. */
static int restore(struct collect *c, const struct block_id *id)
{
	struct cs_server *s = c->server;
	const struct pg_row *row = map_pg(s->map, block_id_pg(id));
	int rc = cs_disks_trash(s->disks, id, 0);

	for (uint32_t i = 0; i < row->replica_count && rc == 0; i++) {
		if (row->replicas[i] != s->number &&
		    cs_owed_add(s->owed, id, row->replicas[i]) < 0)
			rc = cs_serve_lost(s, "cannot note what is owed");
	}
	return rc;
}

static int trash_again(struct collect *c, const struct block_id *id)
{
	int rc = cs_disks_trash(c->server->disks, id, 0);

	return rc < 0 ? rc : cs_disks_trash(c->server->disks, id, wall_ms(c));
}

/* What is done about it; an error of the store. */
static int execute(struct collect *c, const struct block_id *id, const struct cs_place *place,
		   enum verdict verdict)
{
	switch (verdict) {
	case LIVE:
		return place->trashed_ms == 0 || c->is_dry ? 0 : restore(c, id);
	case YOUNG:
		c->kept_young++;
		return 0;
	case MOVING:
		c->kept_moving++;
		return 0;
	case GARBAGE:
		break;
	}
	if (place->trashed_ms != 0) /* if the clock was ahead then: its grace begins now */
		return place->trashed_ms <= wall_ms(c) || c->is_dry ? 0 : trash_again(c, id);
	c->blocks++;
	c->bytes += place->length;
	if (c->is_dry)
		return 0;
	METRIC_INC(blocks_trashed);
	return cs_disks_trash(c->server->disks, id, wall_ms(c));
}

static bool sweep_one(void *arg, const struct block_id *id, const struct cs_place *place)
{
	struct collect *c = arg;
	int rc;

	c->at = *id;
	if (c->piece++ == PIECE_BLOCKS)
		return false;
	rc = execute(c, id, place, judge(c, id, place));
	if (rc == 0)
		return true;
	log_warn("cannot sweep: %s", error_text(rc));
	c->sweep = SWEEP_FAILED;
	return false;
}

/* --- debts ---- */

static bool is_garbage_debt(const struct collect *c, const struct block_id *id)
{
	pg_no pg = block_id_pg(id);
	const struct pg_row *row = map_pg(c->server->map, pg);
	struct cs_place place;

	return row->epoch != 0 && row->epoch == c->row_epochs[pg] &&
	       pg_row_names(row, c->server->number) && !cs_mark_filter_has(&c->filter, id) &&
	       cs_disks_find(c->server->disks, id, &place, NULL) == -E_NO_BLOCK;
}

/* The epoch in which this debt was seen first. */
static uint64_t debt_since(const struct collect *c, const struct old_debt *before, uint32_t count,
			   const struct block_id *id)
{
	for (uint32_t i = 0; i < count; i++) {
		if (block_id_equal(&before[i].id, id))
			return before[i].epoch;
	}
	return c->epoch;
}

static void settle_debt(struct collect *c, const struct old_debt *before, uint32_t count,
			const struct block_id *id, server_no server)
{
	struct old_debt debt = {.id = *id, .epoch = debt_since(c, before, count, id)};

	if (debt.epoch + 2 <= c->epoch)
		(void)!cs_owed_remove(c->server->owed, id, server); /* else at the next sweep */
	if (c->debt_count < DEBTS_MAX)
		c->debts[c->debt_count++] = debt;
}

static void settle_debts(struct collect *c)
{
	struct cs_owed *owed = c->server->owed;
	struct old_debt *before = c->debt_count > 0 ? malloc(sizeof(c->debts)) : NULL;
	uint32_t count = before != NULL ? c->debt_count : 0, looked = 0;
	server_no server = 1;

	if (count > 0)
		memcpy(before, c->debts, sizeof(c->debts));
	c->debt_count = 0;
	for (; looked < DEBTS_MAX && cs_owed_next_server(owed, &server) == 0; server++) {
		struct block_id id = {0};
		for (; looked < DEBTS_MAX && cs_owed_next(owed, server, &id) == 0; looked++) {
			if (is_garbage_debt(c, &id))
				settle_debt(c, before, count, &id, server);
			if (!block_id_next(&id))
				break;
		}
	}
	free(before);
}

static void sweep_end(struct collect *c)
{
	struct cs_server *s = c->server;

	c->sweep = SWEEP_DONE;
	if (c->is_dry)
		return;
	log_info("swept epoch=%llu trashed=%llu bytes=%llu young=%llu moving=%llu",
		 (unsigned long long)c->epoch, (unsigned long long)c->blocks,
		 (unsigned long long)c->bytes, (unsigned long long)c->kept_young,
		 (unsigned long long)c->kept_moving);
	settle_debts(c);
	c->swept_epoch = c->epoch;
	for (uint32_t pg = 0; pg < PG_COUNT; pg++) {
		bool is_same = c->row_epochs[pg] == map_pg(s->map, (pg_no)pg)->epoch;
		c->swept_rows[pg] = is_same ? c->row_epochs[pg] : 0;
	}
	free_start(c);
}

static void sweep_piece(struct loop_timer *timer)
{
	struct collect *c = container_of(timer, struct collect, turn);

	if (!is_cycle(c, c->cycle)) { /* a disk failed, or a newer epoch is known */
		mark_forget(c);
		return;
	}
	c->piece = 0;
	int rc = cs_disks_scan(c->server->disks, &c->at, sweep_one, c);
	if (rc < 0 || c->sweep == SWEEP_FAILED)
		c->sweep = SWEEP_FAILED;
	else if (c->piece > PIECE_BLOCKS)
		loop_timer_start(c->server->options.loop, &c->turn, PIECE_PAUSE_MS);
	else
		sweep_end(c);
}

static void sweep_start(struct collect *c, const Wire__CollectSweep *msg)
{
	c->sweep = SWEEP_RUNS;
	c->is_dry = msg->dry_run;
	c->blocks = c->bytes = c->kept_young = c->kept_moving = 0;
	memset(&c->at, 0, sizeof(c->at));
	if (!c->is_dry) {
		c->grace_ms = msg->grace_ms;
		c->is_freeing = false; /* it begins anew, by what this sweep finds */
		c->swept_epoch = 0;
		loop_timer_stop(c->server->options.loop, &c->free_turn);
	}
	loop_timer_start(c->server->options.loop, &c->turn, 0);
}

static void serve_sweep(struct collect *c, struct rpc_request *req)
{
	const Wire__CollectSweep *msg = (const Wire__CollectSweep *)req->msg;
	Wire__CollectSweepReply reply = WIRE__COLLECT_SWEEP_REPLY__INIT;

	if (!is_cycle(c, msg->cycle) || msg->marks != c->marks || c->sweep == SWEEP_FAILED ||
	    (c->sweep != SWEEP_NONE && (msg->check || msg->dry_run != c->is_dry))) {
		mark_forget(c);
		rpc_answer(req, -E_INVAL, NULL, NULL);
		return;
	}
	loop_timer_start(c->server->options.loop, &c->forget, FORGET_MS);
	if (!msg->check && c->sweep == SWEEP_NONE)
		sweep_start(c, msg);
	reply.boot_id = c->server->boot_id;
	reply.blocks = c->blocks;
	reply.bytes = c->bytes;
	reply.kept_young = c->kept_young;
	reply.kept_moving = c->kept_moving;
	/* Without a grace it is done when the space may be given back. */
	reply.done = msg->check ||
		     (c->sweep == SWEEP_DONE && !(c->is_freeing && c->grace_ms == 0 && !c->is_dry));
	rpc_answer(req, 0, &reply.base, NULL);
}

static void serve_end(struct collect *c, struct rpc_request *req)
{
	const Wire__CollectEnd *msg = (const Wire__CollectEnd *)req->msg;

	if (msg->cycle != 0 && msg->cycle == c->cycle)
		mark_forget(c);
	if (msg->compact)
		cs_disks_compact(c->server->disks, COMPACT_PERCENT);
	static const Wire__Empty empty = WIRE__EMPTY__INIT;
	rpc_answer(req, 0, &empty.base, NULL);
}

/* --- public ---- */

void cs_collect_epoch(struct cs_server *s, uint64_t epoch)
{
	s->collection = MAX_OF(s->collection, epoch);
	cs_disks_set_collection(s->disks, s->collection);
}

void cs_collect_serve(struct cs_server *s, struct rpc_request *req)
{
	struct collect *c = s->collect;

	if (s->number == 0) {
		rpc_answer(req, -E_RECOVERING, NULL, NULL);
		return;
	}
	switch (req->header.type) {
	case MSG_COLLECT_BEGIN:
		serve_begin(c, req);
		break;
	case MSG_COLLECT_MARK:
		serve_mark(c, req);
		break;
	case MSG_COLLECT_SWEEP:
		serve_sweep(c, req);
		break;
	default:
		serve_end(c, req);
	}
}

int cs_collect_create(struct cs_server *s)
{
	struct collect *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return -E_NOMEM;
	c->server = s;
	c->wall_ms_begin = loop_wall_ns(s->options.loop) / 1000000;
	c->now_ms_begin = loop_now_ms(s->options.loop);
	c->forget.fn = forget_fired;
	c->turn.fn = sweep_piece;
	c->free_turn.fn = free_piece;
	s->collect = c;
	return 0;
}

void cs_collect_stop(struct cs_server *s)
{
	struct collect *c = s->collect;

	mark_forget(c);
	loop_timer_stop(s->options.loop, &c->free_turn);
}

void cs_collect_destroy(struct cs_server *s)
{
	if (s->collect == NULL)
		return;
	cs_collect_stop(s);
	if (s->collect->begin != NULL)
		rpc_answer(s->collect->begin, -E_SHUTDOWN, NULL, NULL);
	free(s->collect);
	s->collect = NULL;
}
