/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Generations: what was answered before a sync starts is durable when it ends (I4). A sync starts
 * when somebody waits, sync_ms after the first write, or after sync_bytes. One runs at a time; who
 * comes while it runs and wants more waits for the next.
 *
 * A sync that failed is not tried again: the segment is cut back to what is known to be durable, so
 * that no later start takes pages that never reached the disk for records.
 */
#include "chunk-server/store_internal.h"

#include <utlist.h>

#include "fs/base/log.h"
#include "fs/base/metrics.h"

#define LOG_MODULE "store"

static void waiter_task(struct loop_task *task)
{
	struct cs_sync *waiter = container_of(task, struct cs_sync, task);

	waiter->store->tasks--;
	waiter->done(waiter);
}

static void waiter_answer_later(struct cs_sync *waiter, int rc)
{
	waiter->rc = rc;
	waiter->task.run = waiter_task;
	waiter->store->tasks++;
	loop_post(waiter->store->options.loop, &waiter->task);
}

void cs_store_sync_settle(struct cs_store *store)
{
	struct cs_sync *waiter, *next;

	DL_FOREACH_SAFE (store->waiters, waiter, next) {
		if (waiter->generation <= store->durable) {
			DL_DELETE(store->waiters, waiter);
			waiter_answer_later(waiter, 0);
		}
	}
}

static void cut_run(struct loop_work *work)
{
	struct store_cut *cut = container_of(work, struct store_cut, work);
	struct cs_store *store = cut->store;
	char name[STORE_NAME_BYTES];
	struct disk_file *file;

	/* A new descriptor: the old one is poisoned. Nothing more can be done if this fails as
	 * well. */
	int rc = disk_open(store->options.disk, cs_store_segment_name(store->active->number, name),
			   DISK_WRITE, &file);
	if (rc == 0) {
		rc = disk_truncate(file, cut->bytes);
		disk_close(file);
	}
	if (rc < 0)
		log_error("cannot cut '%s' back to its durable part: %s", name, error_text(rc));
}

static void cut_done(struct loop_work *work)
{
	struct store_cut *cut = container_of(work, struct store_cut, work);

	cut->store->is_cutting = false;
}

void cs_store_sync_fail(struct cs_store *store, int rc)
{
	struct cs_sync *waiter, *next;

	loop_timer_stop(store->options.loop, &store->sync_timer);
	DL_FOREACH_SAFE (store->waiters, waiter, next) {
		DL_DELETE(store->waiters, waiter);
		waiter_answer_later(waiter, rc);
	}
	if (store->active == NULL || store->is_cutting)
		return;
	store->is_cutting = true;
	store->cut = (struct store_cut){.store = store, .bytes = store->durable_tail};
	store->cut.work.run = cut_run;
	store->cut.work.done = cut_done;
	loop_work(store->options.loop, &store->cut.work);
}

static void sync_done(struct disk_op *op)
{
	struct cs_store *store = container_of(op, struct cs_store, sync);

	store->is_syncing = false;
	if (op->rc < 0) {
		cs_store_fail(store, op->rc);
		return;
	}
	METRIC_INC(store_syncs);
	if (store->is_failed)
		return;
	store->durable = store->generation - 1;
	store->durable_tail = store->syncing_tail;
	cs_store_sync_settle(store);
	cs_store_pump(store);
}

static void sync_start(struct cs_store *store)
{
	store->is_syncing = true;
	store->is_sync_due = false;
	store->dirty_bytes = 0;
	store->syncing_tail = store->tail;
	store->generation++;
	loop_timer_stop(store->options.loop, &store->sync_timer);
	store->sync = (struct disk_op){
		.kind = DISK_OP_SYNC,
		.file = store->active->file,
		.done = sync_done,
	};
	disk_submit(store->options.loop, &store->sync);
}

/* Nothing was written since the last sync began: the open generation is empty, hence durable. */
static void settle_clean(struct cs_store *store)
{
	if (store->waiters == NULL || store->dirty_bytes > 0 || store->is_syncing)
		return;
	store->durable = store->generation++;
	cs_store_sync_settle(store);
}

void cs_store_sync_start_if_due(struct cs_store *store)
{
	if (store->is_failed || store->is_syncing || store->is_rolling)
		return;
	settle_clean(store);
	if (store->dirty_bytes == 0)
		return;
	if (store->waiters != NULL || store->is_sync_due ||
	    store->dirty_bytes >= store->options.sync_bytes)
		sync_start(store);
}

static void timer_fired(struct loop_timer *timer)
{
	struct cs_store *store = container_of(timer, struct cs_store, sync_timer);

	store->is_sync_due = true;
	cs_store_pump(store);
}

void cs_store_sync_wrote(struct cs_store *store, uint64_t bytes)
{
	if (store->dirty_bytes == 0 && !store->is_failed) {
		store->sync_timer.fn = timer_fired;
		loop_timer_start(store->options.loop, &store->sync_timer, store->options.sync_ms);
	}
	store->dirty_bytes += bytes;
}

void cs_store_sync(struct cs_store *store, struct cs_sync *sync)
{
	sync->store = store;
	if (sync->generation <= store->durable) {
		waiter_answer_later(sync, 0);
		return;
	}
	if (store->is_failed || sync->generation > store->generation) {
		waiter_answer_later(sync, store->is_failed ? -E_IO : -E_INVAL);
		return;
	}
	DL_APPEND(store->waiters, sync);
	cs_store_pump(store);
}

uint64_t cs_store_durable(const struct cs_store *store)
{
	return store->durable;
}

uint64_t cs_store_generation(const struct cs_store *store)
{
	return store->generation;
}
