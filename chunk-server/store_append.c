/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Appending: verified records queue; up to 64 of them become one gather-write at the tail of the
 * active segment, then one commit of index rows, then the answers. A write that failed moves no
 * tail: the next one overwrites the place, and nothing was answered. Keeps I4 (with store_sync.c),
 * I11.
 */
#include "chunk-server/store_internal.h"

#include <utlist.h>

#include "fs/base/fault.h"
#include "fs/base/metrics.h"
#include "fs/base/log.h"

#define LOG_MODULE "store"

static const uint8_t padding[RECORD_ALIGN];

/* --- answers ---- */

static void put_answer(struct cs_put *put, int rc, bool was_there, uint64_t generation)
{
	struct cs_put *twins = put->twins;

	put->twins = NULL;
	buf_put(put->record);
	put->rc = rc;
	put->was_there = was_there;
	put->generation = generation;
	if (rc == 0 && was_there)
		METRIC_INC(block_puts_present);
	else if (rc == 0 && !put->is_replacement)
		METRIC_INC(block_puts);
	put->done(put);
	while (twins != NULL) {
		struct cs_put *twin = twins;
		DL_DELETE(twins, twin);
		put_answer(twin, rc, rc == 0, generation);
	}
}

static void put_task(struct loop_task *task)
{
	struct cs_put *put = container_of(task, struct cs_put, task);

	put->store->tasks--;
	DL_DELETE(put->store->answering, put);
	put_answer(put, put->rc, put->was_there, put->generation);
}

/* Answer, but never inside the call that asked. */
static void put_answer_later(struct cs_put *put, int rc, bool was_there, uint64_t generation)
{
	put->rc = rc;
	put->was_there = was_there;
	put->generation = generation;
	put->task.run = put_task;
	DL_APPEND(put->store->answering, put);
	put->store->tasks++;
	loop_post(put->store->options.loop, &put->task);
}

/* End the queued puts of kinds below `level`. */
static void queue_fail(struct cs_store *store, int rc, uint32_t level)
{
	struct cs_put *put, *next;

	DL_FOREACH_SAFE (store->queue, put, next) {
		if ((uint32_t)put->kind >= level)
			continue;
		DL_DELETE(store->queue, put);
		store->queue_count--;
		put_answer_later(put, rc, false, 0);
	}
}

static void put_drop(struct cs_put *put)
{
	struct cs_put *twin;

	buf_put(put->record);
	DL_FOREACH (put->twins, twin)
		buf_put(twin->record);
}

void cs_store_queue_drop(struct cs_store *store)
{
	struct cs_put *put;

	for (uint32_t i = 0; i < store->batch_count; i++)
		put_drop(store->batch[i]);
	DL_FOREACH (store->queue, put)
		put_drop(put);
	DL_FOREACH (store->answering, put)
		put_drop(put);
}

void cs_store_fail(struct cs_store *store, int rc)
{
	if (store->is_failed)
		return;
	store->is_failed = true;
	log_error("disk is given up until a restart: %s rc=%d", error_text(rc), rc);
	queue_fail(store, -E_IO, CS_PUT_MOVE + 1);
	cs_store_sync_fail(store, -E_IO);
	cs_store_compact_kick(store);
	if (store->options.on_failed != NULL)
		store->options.on_failed(store->options.arg, rc);
}

/* --- rolling to the next segment ---- */

/* Is there room for a segment? It takes no more of the reserve than there is need to. */
static int roll_room(struct store_roll *roll)
{
	int rc = -E_NOSPC;

	for (int kind = CS_PUT_ORDINARY; kind <= (int)roll->kind && rc == -E_NOSPC; kind++) {
		roll->level = (enum cs_put_kind)kind;
		rc = cs_store_room(&roll->store->options, roll->level);
	}
	return rc;
}

static void roll_run(struct loop_work *work)
{
	struct store_roll *roll = container_of(work, struct store_roll, work);
	struct cs_store *store = roll->store;

	/* Entries and options do not change while a roll runs. */
	if (roll->old != NULL) {
		roll->rc = cs_store_seal(roll->old, roll->number, roll->tail, &store->entries);
		if (roll->rc < 0)
			return;
		roll->is_sealed = true;
	}
	roll->rc = roll_room(roll);
	if (roll->rc == 0)
		roll->rc = cs_store_make_segment(&store->options, roll->made_number, &roll->made);
}

static void roll_sealed(struct cs_store *store)
{
	uint64_t number = store->active->number;

	METRIC_INC(segments_sealed);
	store->durable = store->roll.generation;
	store->entries.count = 0;
	store->is_foul = false;
	cs_store_file_put(store, store->active);
	store->active = NULL;
	cs_store_compact_consider(store, cs_store_segment_find(store, number));
	cs_store_sync_settle(store);
}

static void roll_made(struct cs_store *store)
{
	struct store_roll *roll = &store->roll;

	if (cs_store_segment_add(store, roll->made_number) != NULL)
		store->active = cs_store_file_add(store, roll->made_number, roll->made);
	if (store->active == NULL) {
		disk_close(roll->made);
		cs_store_fail(store, -E_NOMEM);
		return;
	}
	store->tail = SEGMENT_HEADER_BYTES;
	store->durable_tail = SEGMENT_HEADER_BYTES;
	store->level = roll->level;
}

/* No room for another segment, or for the footer of the old one. */
static void roll_refused(struct cs_store *store)
{
	struct store_roll *roll = &store->roll;

	if (store->level == CS_PUT_ORDINARY)
		log_warn("disk is full: puts are refused until space is given back");
	store->level = roll->kind + 1;
	queue_fail(store, -E_NOSPC, store->level);
	/* The segment goes on without a footer; what the roll would have synced is still to be. */
	if (roll->old != NULL && !roll->is_sealed)
		cs_store_sync_wrote(store, 1);
}

static void roll_done(struct loop_work *work)
{
	struct store_roll *roll = container_of(work, struct store_roll, work);
	struct cs_store *store = roll->store;

	store->is_rolling = false;
	if (roll->is_sealed)
		roll_sealed(store);
	if (roll->rc == 0)
		roll_made(store);
	else if (roll->rc == -E_NOSPC)
		roll_refused(store);
	else
		cs_store_fail(store, roll->rc);
	cs_store_compact_kick(store);
	cs_store_pump(store);
}

static void roll_start(struct cs_store *store, enum cs_put_kind kind)
{
	ASSERT(!store->is_rolling && !store->is_writing && !store->is_syncing);
	store->is_rolling = true;
	store->is_roll_wanted = false;
	store->roll = (struct store_roll){
		.store = store,
		.made_number = store->next_number++,
		.generation = store->generation,
		.kind = kind,
	};
	store->roll.work.run = roll_run;
	store->roll.work.done = roll_done;
	if (store->active != NULL) {
		store->roll.old = store->active->file;
		store->roll.number = store->active->number;
		store->roll.tail = store->tail;
		/* Sealing syncs all that was written: what is answered later is in the next
		 * generation. */
		store->generation++;
		store->dirty_bytes = 0;
		store->is_sync_due = false;
		loop_timer_stop(store->options.loop, &store->sync_timer);
	}
	loop_work(store->options.loop, &store->roll.work);
}

/* --- the gather-write ---- */

/* Does the active segment take `length` more, `count` records being planned, with its footer? */
static bool segment_takes(const struct cs_store *store, uint64_t tail, uint32_t count,
			  uint32_t length)
{
	uint64_t entries = (uint64_t)store->entries.count + count + 1;

	return store->active != NULL && !store->is_foul && entries <= STORE_ENTRIES_MAX &&
	       tail + store_padded(length) + entries * SEGMENT_ENTRY_BYTES +
			       SEGMENT_TRAILER_BYTES <=
		       store->options.segment_bytes;
}

/* Index the batch: 0, or why its records cannot be answered. */
static int batch_index(struct cs_store *store)
{
	uint32_t first = store->entries.count - store->batch_count;
	int rc = 0;

	for (uint32_t i = 0; i < store->batch_count && rc == 0; i++) {
		/* What replaces another record is indexed once it is synced. */
		if (!store->batch[i]->is_replacement)
			rc = cs_store_index_add(store, store->active->number,
						&store->entries.at[first + i]);
	}
	if (rc == 0)
		return cs_store_index_commit(store);
	cs_store_index_undo(store);
	return rc;
}

static void batch_written(struct cs_store *store)
{
	uint64_t at = store->tail;

	for (uint32_t i = 0; i < store->batch_count; i++) {
		struct cs_put *put = store->batch[i];
		struct record record;
		/* Verified before the put: what does not decode now is a bug of ours. */
		int rc = record_decode_header(put->record->data, &record);
		ASSERT(rc == 0 && block_id_equal(&record.id, &put->id));
		store->entries.at[store->entries.count++] = (struct segment_entry){
			.id = put->id,
			.offset = at,
			.length = put->record->len,
			.plain_len = record.plain_len,
			.codec = record.codec,
		};
		put->segment = store->active->number;
		put->offset = at;
		put->length = put->record->len;
		put->codec = record.codec;
		at += store_padded(put->record->len);
	}
	ASSERT(at == store->batch_tail);
	cs_store_sync_wrote(store, at - store->tail);
	store->tail = at;
}

static void write_done(struct disk_op *op)
{
	struct cs_store *store = container_of(op, struct cs_store, write);
	struct cs_put *batch[STORE_BATCH_MAX];
	uint32_t count = store->batch_count;
	int rc = op->rc;

	store->is_writing = false;
	/* What gathered is not to be undone with this batch, should that fail. */
	if (rc == 0)
		rc = cs_store_changes_commit(store);
	if (rc == 0) {
		batch_written(store);
		/* Written but not indexed: the next start finds the records by their tail. */
		rc = batch_index(store);
	} else if (rc == -E_NOSPC) {
		/* A part may be there, and more than the next batch covers: begin elsewhere. */
		store->is_foul = true;
	}
	for (uint32_t i = 0; i < count; i++)
		batch[i] = store->batch[i];
	store->batch_count = 0;
	uint64_t generation = store->generation;
	if (store->is_failed && rc == 0)
		rc = -E_IO; /* a sync failed meanwhile: these bytes are given up with the others */
	if (rc < 0 && rc != -E_NOSPC)
		cs_store_fail(store, rc);
	for (uint32_t i = 0; i < count; i++)
		put_answer(batch[i], rc == 0 || rc == -E_NOSPC ? rc : -E_IO, false, generation);
	cs_store_pump(store);
}

/* Move as much of the queue as one write takes into the batch. */
static void batch_fill(struct cs_store *store)
{
	uint64_t tail = store->tail;
	uint32_t count = 0;

	while (store->queue != NULL && count < STORE_BATCH_MAX &&
	       segment_takes(store, tail, count, store->queue->record->len)) {
		struct cs_put *put = store->queue;
		uint32_t length = put->record->len;
		DL_DELETE(store->queue, put);
		store->queue_count--;
		store->batch[count] = put;
		store->iov[2 * count] = (struct iovec){put->record->data, length};
		store->iov[2 * count + 1] =
			(struct iovec){(void *)(uintptr_t)padding, store_padded(length) - length};
		tail += store_padded(length);
		count++;
	}
	store->batch_count = count;
	store->batch_tail = tail;
}

static void write_start(struct cs_store *store)
{
	int rc = cs_store_entries_reserve(&store->entries, STORE_BATCH_MAX);

	if (FAULT(store_append))
		rc = -E_IO;
	if (rc == -E_NOMEM) {
		queue_fail(store, rc, CS_PUT_MOVE + 1);
		return;
	}
	if (rc < 0) {
		cs_store_fail(store, rc);
		return;
	}
	batch_fill(store);
	ASSERT(store->batch_count > 0);
	store->is_writing = true;
	store->write = (struct disk_op){
		.kind = DISK_OP_WRITEV,
		.file = store->active->file,
		.iov = store->iov,
		.iov_count = (int)(2 * store->batch_count),
		.offset = store->tail,
		.done = write_done,
	};
	disk_submit(store->options.loop, &store->write);
}

void cs_store_pump(struct cs_store *store)
{
	if (store->is_failed || store->is_rolling)
		return;
	if (store->queue != NULL && !store->is_writing) {
		if (segment_takes(store, store->tail, 0, store->queue->record->len)) {
			write_start(store);
		} else if (!store->is_syncing) {
			roll_start(store, store->queue->kind);
			return;
		}
	} else if (store->is_roll_wanted && !store->is_writing && !store->is_syncing) {
		roll_start(store, CS_PUT_MOVE);
		return;
	}
	cs_store_sync_start_if_due(store);
}

/* --- puts ---- */

/* A put of the same id that is queued or being written. */
static struct cs_put *put_in_flight(struct cs_store *store, const struct block_id *id)
{
	struct cs_put *put;

	for (uint32_t i = 0; i < store->batch_count; i++) {
		put = store->batch[i];
		if (!put->is_replacement && block_id_equal(&put->id, id))
			return put;
	}
	DL_FOREACH (store->queue, put) {
		if (!put->is_replacement && block_id_equal(&put->id, id))
			return put;
	}
	return NULL;
}

/* Is the disk too full for this kind? Asked anew as long as it is. */
static bool is_full_for(struct cs_store *store, enum cs_put_kind kind)
{
	if ((uint32_t)kind >= store->level)
		return false;
	if (cs_store_room(&store->options, kind) < 0)
		return true;
	if (kind == CS_PUT_ORDINARY)
		log_info("disk has room again: puts are taken");
	store->level = kind;
	return false;
}

void cs_store_level_check(struct cs_store *store)
{
	(void)is_full_for(store, CS_PUT_ORDINARY);
}

bool cs_store_takes_puts(struct cs_store *store)
{
	return !store->is_failed && !is_full_for(store, CS_PUT_ORDINARY);
}

/* Into the queue, or the reason why not. */
static int enqueue(struct cs_store *store, struct cs_put *put)
{
	if (store->is_failed)
		return -E_IO;
	if (store->queue_count >= STORE_QUEUE_MAX)
		return -E_OVERLOADED;
	if (is_full_for(store, put->kind))
		return -E_NOSPC;
	DL_APPEND(store->queue, put);
	store->queue_count++;
	return 0;
}

void cs_store_append(struct cs_store *store, struct cs_put *put)
{
	put->store = store;
	put->twins = NULL;
	put->is_replacement = true;
	put->record = buf_ref(put->record);
	int rc = enqueue(store, put);
	if (rc < 0)
		put_answer_later(put, rc, false, 0);
	else
		cs_store_pump(store);
}

void cs_store_turn_ended(struct loop_timer *timer)
{
	cs_store_pump(container_of(timer, struct cs_store, pump_timer));
}

void cs_store_put(struct cs_store *store, struct cs_put *put)
{
	struct cs_place place;

	ASSERT(put->record->len > RECORD_HEADER_BYTES && put->record->len <= RECORD_BYTES_MAX);
	put->store = store;
	put->twins = NULL;
	put->is_replacement = false;
	put->record = buf_ref(put->record);
	if (cs_store_find(store, &put->id, &place) == 0) {
		int rc = cs_store_touch(store, &put->id);
		put_answer_later(put, rc, rc == 0, place.generation);
		return;
	}
	struct cs_put *first = put_in_flight(store, &put->id);
	if (first != NULL) {
		DL_APPEND(first->twins, put);
		return;
	}
	int rc = enqueue(store, put);
	/* Puts come in batches: those of this turn are one write, and one commit of the index. */
	if (rc < 0)
		put_answer_later(put, rc, false, 0);
	else if (!store->pump_timer.is_active)
		loop_timer_start(store->options.loop, &store->pump_timer, 0);
}

/* --- rolling when asked ---- */

void cs_store_roll(struct cs_store *store)
{
	if (store->active == NULL || store->is_failed || store->is_rolling ||
	    store->tail == SEGMENT_HEADER_BYTES)
		return;
	store->is_roll_wanted = true;
	cs_store_pump(store);
}

bool cs_store_is_rolling(const struct cs_store *store)
{
	return !store->is_failed && (store->is_rolling || store->is_roll_wanted);
}
