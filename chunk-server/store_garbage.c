/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Garbage, as far as the store goes: epochs in which blocks were touched, what is in trash, what is
 * forgotten (I9: collect.c decides). All of it is rows of the index.
 *
 * What makes a block more alive than it was is committed before it is answered. Other changes
 * gather and are committed with the next batch of puts, at the latest at the end of the loop's
 * turn: lost in a crash, they leave garbage, nothing else.
 */
#include "chunk-server/store_internal.h"

#include "fs/base/metrics.h"

#define GATHERED_MAX 1024u

static void commit_task(struct loop_task *task)
{
	struct cs_store *store = container_of(task, struct cs_store, commit_task);

	store->tasks--;
	store->is_commit_posted = false;
	(void)!cs_store_changes_commit(store); /* the disk is given up if it must be */
}

/* What the index refused is undone by now; only a lack of room may pass. */
static int refused(struct cs_store *store, int rc)
{
	if (rc != -E_NOSPC)
		cs_store_fail(store, rc);
	return rc;
}

int cs_store_changes_commit(struct cs_store *store)
{
	int rc = store->uncommitted > 0 ? cs_store_index_commit(store) : 0;

	return rc < 0 ? refused(store, rc) : 0;
}

int cs_store_change(struct cs_store *store, const struct block_id *id, const struct cs_place *old,
		    const struct cs_place *place, bool at_once)
{
	int rc = cs_store_index_set(store, id, old, place);

	if (rc < 0) {
		cs_store_index_undo(store);
		return refused(store, rc);
	}
	store->uncommitted++;
	if (at_once || store->uncommitted >= GATHERED_MAX)
		return cs_store_changes_commit(store);
	if (!store->is_commit_posted) {
		store->is_commit_posted = true;
		store->tasks++;
		store->commit_task.run = commit_task;
		loop_post(store->options.loop, &store->commit_task);
	}
	return 0;
}

void cs_store_set_collection(struct cs_store *store, uint64_t epoch)
{
	if (epoch <= store->collection)
		return;
	if (store->touched_floor == 0)
		store->touched_floor = epoch;
	store->collection = epoch;
}

int cs_store_touch(struct cs_store *store, const struct block_id *id)
{
	struct cs_place old;
	int rc = cs_store_find(store, id, &old);

	if (rc < 0)
		return rc;
	struct cs_place place = old;
	place.touched = store->collection;
	place.trashed_ms = 0;
	if (place.touched == old.touched && old.trashed_ms == 0)
		return 0;
	return cs_store_change(store, id, &old, &place, old.trashed_ms != 0);
}

int cs_store_trash(struct cs_store *store, const struct block_id *id, uint64_t wall_ms)
{
	struct cs_place old;
	int rc = cs_store_find(store, id, &old);

	if (rc < 0 || (old.trashed_ms != 0) == (wall_ms != 0))
		return rc;
	struct cs_place place = old;
	place.trashed_ms = wall_ms;
	return cs_store_change(store, id, &old, &place, wall_ms == 0);
}

int cs_store_free(struct cs_store *store, const struct block_id *id)
{
	struct cs_place old;
	int rc = cs_store_find(store, id, &old);

	if (rc < 0)
		return rc;
	if (old.trashed_ms == 0)
		return -E_BUSY;
	METRIC_INC(blocks_freed);
	return cs_store_change(store, id, &old, NULL, false);
}

int cs_store_set_dense(struct cs_store *store, const struct block_id *id,
		       const struct cs_place *at)
{
	struct cs_place old;
	int rc = cs_store_find(store, id, &old);

	if (rc < 0 || !cs_place_is_at(&old, at->segment, at->offset) || old.is_dense)
		return rc;
	struct cs_place place = old;
	place.is_dense = true;
	return cs_store_change(store, id, &old, &place, false);
}

int cs_store_forget(struct cs_store *store, const struct block_id *id, const struct cs_place *place)
{
	struct cs_place old;
	int rc = cs_store_find(store, id, &old);

	if (rc < 0)
		return rc;
	if (!cs_place_is_at(&old, place->segment, place->offset))
		return -E_NO_BLOCK;
	return cs_store_change(store, id, &old, NULL, false);
}

int cs_store_next(struct cs_store *store, struct block_id *id, bool is_behind, struct cs_place *out)
{
	int rc;

	do {
		rc = cs_store_index_next(store, id, is_behind, out);
		if (rc < 0)
			return rc;
		is_behind = true;
	} while (cs_store_settle(store, out) < 0);
	return 0;
}

int cs_store_scan(struct cs_store *store, const struct block_id *from,
		  bool (*fn)(void *arg, const struct block_id *id, const struct cs_place *place),
		  void *arg)
{
	struct block_id id = *from;
	struct cs_place place;
	int rc = cs_store_next(store, &id, false, &place);

	while (rc == 0 && fn(arg, &id, &place))
		rc = cs_store_next(store, &id, true, &place);
	return rc == -E_NO_BLOCK ? 0 : rc;
}
