/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compaction: the deadest sealed segment gives its live records away and goes. What lives, trash
 * too, is read, checked, and appended to the active segment; rounds of them replace the old records
 * (store_replace.c). When the index leads into the segment no more, its row and then its file are
 * removed.
 *
 * A record that does not check is quarantined, as for any reader. A record that cannot be read, or
 * rows that name what the segment does not list, leave the segment where it is. Keeps I4, I8, I11:
 * few records are in flight, fewer beside a queue of puts.
 */
#include "chunk-server/store_internal.h"

#include <stdlib.h>

#include "fs/base/log.h"
#include "fs/base/metrics.h"

#define LOG_MODULE "compact"

#define COMPACT_PERCENT	 50u   /* of a segment dead: it is rewritten without being asked */
#define CONSIDER_MS	 1000u /* what is freed together is compacted together */
#define RETRY_MS	 10000u
#define RETRIES_DOUBLED	 6u   /* up to about ten minutes */
#define WAIT_MS		 10u /* for a buffer */
#define ENTRIES_PER_TURN 512u
#define BUSY_QUEUE	 32u /* puts that wait: one record in flight is enough */

static void compact_pump(struct cs_store *store);
static void compact_next(struct cs_store *store);

/* --- which segment ---- */

static bool is_worth_it(const struct cs_store *store, const struct store_segment *segment)
{
	uint64_t dead = store_segment_dead(segment);

	if (segment->is_stuck || segment->awaited > 0)
		return false;
	return segment->bytes == 0 ||
	       (dead > 0 && dead * 100 >= segment->bytes * store->compact.percent);
}

static bool is_active(const struct cs_store *store, const struct store_segment *segment)
{
	return store->active != NULL && store->active->number == segment->number;
}

/* Is more of a dead than of b? */
static bool is_deader(const struct store_segment *a, const struct store_segment *b)
{
	return store_segment_dead(a) * MAX_OF(b->bytes, 1u) >
	       store_segment_dead(b) * MAX_OF(a->bytes, 1u);
}

static struct store_segment *pick(struct cs_store *store)
{
	struct store_segment *best = NULL;

	for (uint32_t i = 0; i < store->segment_count; i++) {
		struct store_segment *segment = &store->segments[i];
		if (is_active(store, segment) || !is_worth_it(store, segment))
			continue;
		if (segment->bytes == 0)
			return segment;
		if (best == NULL || is_deader(segment, best))
			best = segment;
	}
	return best;
}

/* Asked for, the active segment is worth a look as well: it must be sealed first. */
static bool wants_roll(struct cs_store *store)
{
	if (store->compact.percent >= COMPACT_PERCENT || store->active == NULL)
		return false;
	struct store_segment *segment = cs_store_segment_find(store, store->active->number);
	return segment->bytes > 0 && is_worth_it(store, segment);
}

/* --- between segments ---- */

static void come_back(struct cs_store *store, uint64_t after_ms)
{
	store->compact.state = COMPACT_RESTS;
	if (!store->compact.is_quiet && !store->is_failed)
		loop_timer_start(store->options.loop, &store->compact.timer, after_ms);
}

static void pass_end(struct cs_store *store)
{
	struct store_compact *c = &store->compact;

	if (c->segments_back > 0)
		log_info("compaction is done: %u segments given back bytes=%llu",
			 (unsigned)c->segments_back, (unsigned long long)c->bytes_back);
	c->state = COMPACT_RESTS;
	c->percent = COMPACT_PERCENT;
	c->segments_back = 0;
	c->bytes_back = 0;
	free(c->entries.at);
	c->entries = (struct store_entries){0};
}

/* This segment cannot go now. */
static void give_up(struct cs_store *store, int rc)
{
	struct store_compact *c = &store->compact;
	struct store_segment *segment = cs_store_segment_find(store, c->number);

	if (store->is_failed || c->is_quiet) {
		pass_end(store);
		return;
	}
	c->rc = rc;
	if (rc == -E_NOSPC || rc == -E_NOMEM || rc == -E_OVERLOADED) {
		log_warn("cannot compact a segment now: %s seg=%llu", error_text(rc),
			 (unsigned long long)c->number);
		/* What was copied in vain takes room until it is compacted itself. */
		uint32_t doubled = c->vain_count > 0 ? c->vain_count - 1 : 0;
		come_back(store, (uint64_t)RETRY_MS << MIN_OF(doubled, RETRIES_DOUBLED));
		return;
	}
	log_error("cannot compact a segment, leaving it alone: %s seg=%llu", error_text(rc),
		  (unsigned long long)c->number);
	if (segment != NULL)
		segment->is_stuck = true;
	come_back(store, 0);
}

/* --- removing ---- */

static void remove_run(struct loop_work *work)
{
	struct store_compact *c = container_of(work, struct store_compact, work);
	struct cs_store *store = container_of(c, struct cs_store, compact);
	char name[STORE_NAME_BYTES];

	c->rc = disk_unlink(store->options.disk, cs_store_segment_name(c->number, name));
	if (c->rc == 0)
		c->rc = disk_sync_dir(store->options.disk, STORE_DIR);
}

static void remove_done(struct loop_work *work)
{
	struct store_compact *c = container_of(work, struct store_compact, work);
	struct cs_store *store = container_of(c, struct cs_store, compact);

	if (c->rc < 0) {
		log_error("cannot remove a compacted segment: %s seg=%llu", error_text(c->rc),
			  (unsigned long long)c->number);
		c->state = COMPACT_RESTS;
		cs_store_fail(store, c->rc);
		return;
	}
	METRIC_INC(segments_compacted);
	METRIC_ADD(compact_bytes_back, c->bytes_freed);
	log_info("compacted a segment, given back seg=%llu bytes=%llu",
		 (unsigned long long)c->number, (unsigned long long)c->bytes_freed);
	c->segments_back++;
	c->bytes_back += c->bytes_freed;
	cs_store_level_check(store);
	come_back(store, 0);
}

/* The index leads to nothing in it: its row goes first, then its file. */
static void remove_start(struct cs_store *store)
{
	struct store_compact *c = &store->compact;
	struct store_segment *segment = cs_store_segment_find(store, c->number);
	int rc = cs_store_changes_commit(store);

	ASSERT(segment->live == 0);
	if (rc == 0) {
		segment->is_dirty = false; /* or the commit would write the row again */
		rc = cs_store_index_del_segment(store, c->number);
		if (rc == 0)
			rc = cs_store_index_commit(store);
		else
			cs_store_index_undo(store);
		if (rc < 0 && rc != -E_NOSPC)
			cs_store_fail(store, rc);
	}
	if (rc < 0) {
		give_up(store, rc);
		return;
	}
	c->bytes_freed = segment->bytes - MIN_OF(segment->bytes, c->bytes_moved);
	cs_store_segment_remove(store, c->number);
	cs_store_file_forget(store, c->number);
	c->state = COMPACT_REMOVES;
	c->work = (struct loop_work){.run = remove_run, .done = remove_done};
	loop_work(store->options.loop, &c->work);
}

/* --- moving ---- */

static void segment_end(struct cs_store *store)
{
	struct store_compact *c = &store->compact;
	struct store_segment *segment = cs_store_segment_find(store, c->number);

	cs_store_file_put(store, c->file);
	c->file = NULL;
	if (c->rc == 0 && segment->live > 0 && c->has_damage && !c->is_quiet) {
		come_back(store, CONSIDER_MS); /* once it is quarantined */
		return;
	}
	if (c->rc == 0 && segment->live > 0 && !c->is_quiet)
		c->rc = -E_CORRUPT; /* rows lead to what it does not list */
	if (c->rc < 0 || c->is_quiet || store->is_failed)
		give_up(store, c->rc);
	else
		remove_start(store);
}

static void round_ended(struct cs_round *round)
{
	struct store_compact *c = container_of(round, struct store_compact, round);
	struct cs_store *store = container_of(c, struct cs_store, compact);

	c->bytes_moved += round->bytes_after;
	c->vain_count = round->rc < 0 ? c->vain_count + 1 : 0;
	if (round->rc < 0)
		c->rc = round->rc;
	c->state = COMPACT_MOVES;
	compact_pump(store);
}

static void round_end(struct store_compact *c)
{
	c->state = COMPACT_SYNCS;
	cs_round_end(&c->round);
}

static void move_end(struct store_move *move, int rc)
{
	struct store_compact *c = &move->store->compact;

	buf_put(move->record);
	move->record = NULL;
	move->next = c->free_moves;
	c->free_moves = move;
	c->busy--;
	if (rc < 0)
		c->rc = rc;
	compact_pump(move->store);
}

static void move_appended(struct cs_put *put)
{
	struct store_move *move = container_of(put, struct store_move, put);
	struct store_compact *c = &move->store->compact;

	if (put->rc == 0) {
		cs_round_add(&c->round, put, &move->from);
		METRIC_ADD(compact_bytes_moved, move->from.length);
	}
	move_end(move, put->rc);
}

static void move_read(struct disk_op *op)
{
	struct store_move *move = container_of(op, struct store_move, read);
	struct cs_store *store = move->store;
	int rc = cs_store_record_judge(move->record, op->rc, &move->id, &move->from);

	if (rc == 0 && !store->is_failed) {
		move->put = (struct cs_put){
			.record = move->record,
			.id = move->id,
			.plain_len = move->from.plain_len,
			.kind = CS_PUT_MOVE,
			.done = move_appended,
		};
		cs_store_append(store, &move->put);
		return;
	}
	if (rc == -E_CORRUPT) {
		char hex[BLOCK_ID_HEX_BYTES];
		log_error("a record is damaged, compacting without it block=%s seg=%llu off=%llu",
			  block_id_hex(&move->id, hex), (unsigned long long)move->from.segment,
			  (unsigned long long)move->from.offset);
		store->compact.has_damage = true;
		if (store->options.on_damaged != NULL)
			store->options.on_damaged(store->options.arg, store, &move->id,
						  &move->from);
		else
			cs_store_quarantine(store, &move->id, &move->from);
		rc = 0;
	}
	move_end(move, rc);
}

/* 1: begun; 0: it does not live; -E_OVERLOADED: no buffer for it now; or an error. */
static int move_start(struct cs_store *store, const struct segment_entry *entry)
{
	struct store_compact *c = &store->compact;
	struct store_move *move = c->free_moves;
	struct cs_place place;
	int rc = cs_store_index_get(store, &entry->id, &place);

	if (rc == -E_NO_BLOCK || (rc == 0 && !cs_place_is_at(&place, c->number, entry->offset)))
		return 0;
	if (rc < 0)
		return rc;
	struct buf *record = buf_get(store->options.pool, place.length);
	if (record == NULL)
		return -E_OVERLOADED;
	record->len = place.length;
	c->free_moves = move->next;
	c->busy++;
	move->record = record;
	move->id = entry->id;
	move->from = place;
	move->read = (struct disk_op){
		.kind = DISK_OP_READ,
		.file = c->file->file,
		.data = record->data,
		.len = place.length,
		.offset = place.offset,
		.done = move_read,
	};
	disk_submit(store->options.loop, &move->read);
	return 1;
}

static bool may_move(const struct cs_store *store)
{
	const struct store_compact *c = &store->compact;
	uint32_t most = MIN_OF(STORE_MOVES_MAX, store->media->queue_depth);

	if (store->queue_count > BUSY_QUEUE)
		most = 1;
	return c->rc == 0 && !store->is_failed && !c->is_quiet &&
	       c->next_entry < c->entries.count && c->busy < most &&
	       c->round.count + c->busy < CS_ROUND_MAX;
}

static void turn_task(struct loop_task *task)
{
	struct store_compact *c = container_of(task, struct store_compact, task);
	struct cs_store *store = container_of(c, struct cs_store, compact);

	store->tasks--;
	c->is_task_posted = false;
	if (c->state == COMPACT_MOVES)
		compact_pump(store);
}

static void compact_pump(struct cs_store *store)
{
	struct store_compact *c = &store->compact;
	uint32_t budget = ENTRIES_PER_TURN;
	bool has_buffer = true;

	while (has_buffer && budget-- > 0 && may_move(store)) {
		int rc = move_start(store, &c->entries.at[c->next_entry]);
		has_buffer = rc != -E_OVERLOADED;
		if (rc < 0 && has_buffer)
			c->rc = rc;
		if (rc >= 0)
			c->next_entry++;
	}
	if (c->busy > 0)
		return;
	if (c->round.count > 0) {
		round_end(c);
	} else if (!may_move(store)) {
		segment_end(store);
	} else if (!has_buffer) {
		loop_timer_start(store->options.loop, &c->timer, WAIT_MS);
	} else if (!c->is_task_posted) {
		c->is_task_posted = true;
		store->tasks++;
		c->task.run = turn_task;
		loop_post(store->options.loop, &c->task);
	}
}

/* --- listing ---- */

static void list_run(struct loop_work *work)
{
	struct store_compact *c = container_of(work, struct store_compact, work);

	c->rc = cs_store_list(c->file->file, c->number, &c->entries);
}

static void list_done(struct loop_work *work)
{
	struct store_compact *c = container_of(work, struct store_compact, work);
	struct cs_store *store = container_of(c, struct cs_store, compact);

	c->state = COMPACT_MOVES;
	compact_pump(store);
}

static void segment_begin(struct cs_store *store, const struct store_segment *segment)
{
	struct store_compact *c = &store->compact;

	c->number = segment->number;
	c->rc = 0;
	c->next_entry = c->entries.count = 0;
	c->bytes_moved = 0;
	c->has_damage = false;
	if (segment->live == 0) {
		remove_start(store);
		return;
	}
	int rc = cs_store_file_get(store, c->number, &c->file);
	if (rc < 0) {
		give_up(store, rc);
		return;
	}
	c->state = COMPACT_LISTS;
	c->work = (struct loop_work){.run = list_run, .done = list_done};
	loop_work(store->options.loop, &c->work);
}

static void compact_next(struct cs_store *store)
{
	struct store_compact *c = &store->compact;

	if (store->is_failed || c->is_quiet) {
		pass_end(store);
		return;
	}
	struct store_segment *segment = pick(store);
	if (segment != NULL) {
		segment_begin(store, segment);
	} else if (wants_roll(store)) {
		c->state = COMPACT_ROLLS;
		store->is_roll_wanted = true;
		cs_store_pump(store);
	} else {
		pass_end(store);
	}
}

/* --- from outside ---- */

static void timer_fired(struct loop_timer *timer)
{
	struct store_compact *c = container_of(timer, struct store_compact, timer);
	struct cs_store *store = container_of(c, struct cs_store, compact);

	if (c->state == COMPACT_RESTS)
		compact_next(store);
	else if (c->state == COMPACT_MOVES)
		compact_pump(store);
}

void cs_store_compact_kick(struct cs_store *store)
{
	struct store_compact *c = &store->compact;

	if (c->state != COMPACT_ROLLS || store->is_rolling ||
	    (store->is_roll_wanted && !store->is_failed))
		return;
	store->is_roll_wanted = false;
	/* Rolled, or there was no room: the old segment is sealed or stays as it is. */
	if (store->level > CS_PUT_MOVE)
		give_up(store, -E_NOSPC);
	else
		come_back(store, 0);
}

void cs_store_compact_consider(struct cs_store *store, const struct store_segment *segment)
{
	struct store_compact *c = &store->compact;

	if (store->is_open && c->state == COMPACT_RESTS && !c->timer.is_active &&
	    !is_active(store, segment) && is_worth_it(store, segment))
		come_back(store, CONSIDER_MS);
}

void cs_store_compact(struct cs_store *store, uint32_t dead_percent)
{
	struct store_compact *c = &store->compact;

	c->percent = MIN_OF(c->percent, dead_percent);
	c->rc = 0;
	for (uint32_t i = 0; i < store->segment_count; i++)
		store->segments[i].is_stuck = false;
	if (c->state == COMPACT_RESTS)
		come_back(store, 0);
}

bool cs_store_is_compacting(const struct cs_store *store)
{
	const struct store_compact *c = &store->compact;

	/* After an error it only waits to try again. */
	return c->state != COMPACT_RESTS || (c->timer.is_active && c->rc == 0);
}

void cs_store_quiet(struct cs_store *store)
{
	struct store_compact *c = &store->compact;

	c->is_quiet = true;
	loop_timer_stop(store->options.loop, &c->timer);
	if (c->state == COMPACT_ROLLS && !store->is_rolling) {
		store->is_roll_wanted = false;
		pass_end(store);
	} else if (c->state == COMPACT_MOVES) {
		compact_pump(store);
	}
}

void cs_store_compact_init(struct cs_store *store)
{
	struct store_compact *c = &store->compact;

	c->percent = COMPACT_PERCENT;
	c->timer.fn = timer_fired;
	c->round.store = store;
	c->round.done = round_ended;
	for (uint32_t i = 0; i < STORE_MOVES_MAX; i++) {
		c->moves[i].store = store;
		c->moves[i].next = c->free_moves;
		c->free_moves = &c->moves[i];
	}
	if (pick(store) != NULL)
		come_back(store, CONSIDER_MS);
}

void cs_store_compact_finish(struct cs_store *store)
{
	struct store_compact *c = &store->compact;

	loop_timer_stop(store->options.loop, &c->timer);
	for (uint32_t i = 0; i < STORE_MOVES_MAX; i++)
		buf_put(c->moves[i].record);
	free(c->entries.at);
}
