/* SPDX-License-Identifier: Apache-2.0 */
/* Several stores as one. One server-wide sync runs at a time; who comes meanwhile waits for the
 * next. */
#include "chunk-server/disks.h"

#include <stdlib.h>
#include <utlist.h>

#include "fs/hash/checksum.h"

struct store_sync {
	struct cs_sync sync;
	struct cs_disks *disks;
};

struct cs_disks {
	struct cs_disks_options options;
	uint64_t seeds[DISKS_MAX];
	bool is_full[DISKS_MAX];
	bool has_tiers;
	uint64_t generation, durable;
	/* the sync in flight */
	struct store_sync syncs[DISKS_MAX];
	struct cs_owed_sync owed_sync;
	uint32_t owed_told; /* failures of the log that were told */
	uint32_t pending;
	uint64_t syncing; /* generation that it ends; 0: none in flight */
	int sync_rc;
	uint32_t tasks;
	struct cs_disks_sync *waiters;
};

int cs_disks_create(const struct cs_disks_options *options, struct cs_disks **out)
{
	struct cs_disks *disks = calloc(1, sizeof(*disks));

	if (disks == NULL)
		return -E_NOMEM;
	ASSERT(options->count >= 1 && options->count <= DISKS_MAX);
	disks->options = *options;
	disks->generation = 1;
	for (uint32_t i = 0; i < options->count; i++) {
		disks->seeds[i] = checksum_of(options->uuids[i], UUID_BYTES);
		disks->syncs[i].disks = disks;
		disks->has_tiers =
			disks->has_tiers || options->tiers[i] != options->tiers[0];
	}
	*out = disks;
	return 0;
}

void cs_disks_destroy(struct cs_disks *disks)
{
	free(disks);
}

uint32_t cs_disks_count(const struct cs_disks *disks)
{
	return disks->options.count;
}

uint32_t cs_disks_failed_count(const struct cs_disks *disks)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < disks->options.count; i++)
		count += cs_store_is_failed(disks->options.stores[i]);
	return count;
}

void cs_disks_stats(const struct cs_disks *disks, struct cs_store_stats *out)
{
	*out = (struct cs_store_stats){.is_failed = true};
	for (uint32_t i = 0; i < disks->options.count; i++) {
		struct cs_store_stats one;
		cs_store_stats(disks->options.stores[i], &one);
		out->blocks += one.blocks;
		out->bytes_stored += one.bytes_stored;
		out->bytes_plain += one.bytes_plain;
		out->bytes_free += one.bytes_free;
		out->bytes_total += one.bytes_total;
		out->segments += one.segments;
		out->blocks_trash += one.blocks_trash;
		out->bytes_trash += one.bytes_trash;
		out->bytes_dead += one.bytes_dead;
		out->damaged += one.damaged;
		for (uint32_t c = 0; c < CS_CODECS_MAX; c++)
			out->bytes_codec[c] += one.bytes_codec[c];
		out->was_rebuilt = out->was_rebuilt || one.was_rebuilt;
		out->is_failed = out->is_failed && one.is_failed;
	}
}

bool cs_disks_is_idle(const struct cs_disks *disks)
{
	for (uint32_t i = 0; i < disks->options.count; i++) {
		if (!cs_store_is_idle(disks->options.stores[i]))
			return false;
	}
	return disks->pending == 0 && disks->tasks == 0 &&
	       (disks->options.owed == NULL || cs_owed_is_idle(disks->options.owed));
}

/* --- blocks ---- */

static uint64_t score(const struct cs_disks *disks, uint32_t index, const struct block_id *id)
{
	return checksum_seeded(id->bytes, BLOCK_ID_BYTES, disks->seeds[index]);
}

/* Where a new block goes: the lower, the better. */
static uint32_t put_order(struct cs_disks *disks, uint32_t index)
{
	uint32_t tier = disks->options.tiers[index];

	if (!cs_store_takes_puts(disks->options.stores[index]))
		return UINT32_MAX;
	if (!disks->has_tiers)
		return 0;
	return disks->is_full[index] ? UINT32_MAX / 2 + tier : tier;
}

/* The best disk that takes puts; the best at all if none does, so that its error is told. */
static struct cs_store *store_for_put(struct cs_disks *disks, const struct block_id *id)
{
	uint32_t best = 0, best_order = 0;
	uint64_t best_score = 0;

	for (uint32_t i = 0; i < disks->options.count; i++) {
		uint32_t order = put_order(disks, i);
		uint64_t s = score(disks, i, id);
		if (i == 0 || order < best_order || (order == best_order && s > best_score)) {
			best = i;
			best_order = order;
			best_score = s;
		}
	}
	return disks->options.stores[best];
}

bool cs_disks_has_tiers(const struct cs_disks *disks)
{
	return disks->has_tiers;
}

uint32_t cs_disks_tier(const struct cs_disks *disks, uint32_t disk)
{
	return disks->options.tiers[disk];
}

void cs_disks_set_full(struct cs_disks *disks, uint32_t disk, bool is_full)
{
	disks->is_full[disk] = is_full;
}

int cs_disks_pick(struct cs_disks *disks, const struct block_id *id, uint32_t tier, uint32_t *disk)
{
	uint64_t best_score = 0;
	int rc = -E_NOSPC;

	for (uint32_t i = 0; i < disks->options.count; i++) {
		uint64_t s = score(disks, i, id);
		if (put_order(disks, i) != tier || (rc == 0 && s <= best_score))
			continue;
		*disk = i;
		best_score = s;
		rc = 0;
	}
	return rc;
}

/*
 * A disk that was away, or from which a block was just moved, may still have in trash what was put
 * again elsewhere. Of copies the one that lives counts, then the one that went to trash last.
 */
static bool counts_before(const struct cs_place *a, const struct cs_place *b)
{
	return b->trashed_ms != 0 && (a->trashed_ms == 0 || a->trashed_ms > b->trashed_ms);
}

static int find_on(struct cs_disks *disks, const struct block_id *id, struct cs_place *out,
		   uint32_t *disk, bool failed_ones)
{
	int result = -E_NO_BLOCK;

	for (uint32_t i = 0; i < disks->options.count; i++) {
		struct cs_place place;
		if (cs_store_is_failed(disks->options.stores[i]) != failed_ones)
			continue;
		int rc = cs_store_find(disks->options.stores[i], id, &place);
		if (rc == 0 && (result < 0 || counts_before(&place, out))) {
			*out = place;
			if (disk != NULL)
				*disk = i;
		}
		if (rc == 0 && place.trashed_ms == 0)
			return 0;
		if (rc == 0 || (rc != -E_NO_BLOCK && result < 0))
			result = rc;
	}
	return result;
}

int cs_disks_find(struct cs_disks *disks, const struct block_id *id, struct cs_place *out,
		  uint32_t *disk)
{
	return find_on(disks, id, out, disk, false);
}

void cs_disks_put(struct cs_disks *disks, struct cs_put *put)
{
	struct cs_place place;
	uint32_t disk = 0;

	if (cs_disks_find(disks, &put->id, &place, &disk) == 0)
		cs_store_put(disks->options.stores[disk], put);
	else
		cs_store_put(store_for_put(disks, &put->id), put);
}

/* Not found: the first store says so, in its own time. A failed disk may still be readable. */
static void get_start(struct cs_disks *disks, struct cs_get *get)
{
	struct cs_place place;
	uint32_t disk = 0;

	if (disks->options.count > 1 && find_on(disks, &get->id, &place, &disk, false) < 0 &&
	    find_on(disks, &get->id, &place, &disk, true) < 0)
		disk = 0;
	cs_store_get(disks->options.stores[disk], get);
}

/* It moved to another disk while it was asked for on this one. */
static void get_again(struct cs_get *get)
{
	struct cs_disks *disks = get->disks;
	struct cs_place place;

	get->done = get->told;
	if (get->rc == -E_NO_BLOCK && cs_disks_find(disks, &get->id, &place, NULL) == 0)
		get_start(disks, get);
	else
		get->done(get);
}

void cs_disks_get(struct cs_disks *disks, struct cs_get *get)
{
	if (disks->has_tiers) {
		get->disks = disks;
		get->told = get->done;
		get->done = get_again;
	}
	get_start(disks, get);
}

/* --- garbage ---- */

void cs_disks_set_collection(struct cs_disks *disks, uint64_t epoch)
{
	for (uint32_t i = 0; i < disks->options.count; i++)
		cs_store_set_collection(disks->options.stores[i], epoch);
}

/* Of what the disks say: one that has it counts, an error more than "no such block". */
static int worse(int result, int rc)
{
	if (rc == -E_NO_BLOCK)
		return result;
	return result == -E_NO_BLOCK || result == 0 ? rc : result;
}

int cs_disks_touch(struct cs_disks *disks, const struct block_id *id)
{
	int result = -E_NO_BLOCK;

	for (uint32_t i = 0; i < disks->options.count; i++) {
		/* Nobody may count on what a failed disk still has. */
		if (!cs_store_is_failed(disks->options.stores[i]))
			result = worse(result, cs_store_touch(disks->options.stores[i], id));
	}
	return result;
}

int cs_disks_trash(struct cs_disks *disks, const struct block_id *id, uint64_t wall_ms)
{
	int result = -E_NO_BLOCK;

	for (uint32_t i = 0; i < disks->options.count; i++)
		result = worse(result, cs_store_trash(disks->options.stores[i], id, wall_ms));
	return result;
}

int cs_disks_free(struct cs_disks *disks, const struct block_id *id)
{
	int result = -E_NO_BLOCK;

	for (uint32_t i = 0; i < disks->options.count; i++)
		result = worse(result, cs_store_free(disks->options.stores[i], id));
	return result;
}

void cs_disks_compact(struct cs_disks *disks, uint32_t dead_percent)
{
	for (uint32_t i = 0; i < disks->options.count; i++)
		cs_store_compact(disks->options.stores[i], dead_percent);
}

bool cs_disks_is_compacting(const struct cs_disks *disks)
{
	for (uint32_t i = 0; i < disks->options.count; i++) {
		if (cs_store_is_compacting(disks->options.stores[i]))
			return true;
	}
	return false;
}

void cs_disks_quiet(struct cs_disks *disks)
{
	for (uint32_t i = 0; i < disks->options.count; i++)
		cs_store_quiet(disks->options.stores[i]);
}

/* The next block of each disk, for a scan in the order of all. */
struct head {
	struct block_id id;
	struct cs_place place;
	int rc; /* -E_NO_BLOCK: the disk has no more */
};

/* The head of the least id that find_on() would tell; NULL: none has more. */
static struct head *head_least(struct head *heads, uint32_t count)
{
	struct head *least = NULL;

	for (uint32_t i = 0; i < count; i++) {
		if (heads[i].rc < 0)
			continue;
		int order = least != NULL ? block_id_compare(&heads[i].id, &least->id) : -1;
		if (order < 0 || (order == 0 && counts_before(&heads[i].place, &least->place)))
			least = &heads[i];
	}
	return least;
}

int cs_disks_scan(struct cs_disks *disks, const struct block_id *from,
		  bool (*fn)(void *arg, const struct block_id *id, const struct cs_place *place),
		  void *arg)
{
	struct head heads[DISKS_MAX], *least;
	uint32_t count = disks->options.count;

	for (uint32_t i = 0; i < count; i++) {
		struct cs_store *store = disks->options.stores[i];
		heads[i].id = *from;
		heads[i].rc = cs_store_is_failed(store)
				      ? -E_NO_BLOCK
				      : cs_store_next(store, &heads[i].id, false, &heads[i].place);
	}
	while ((least = head_least(heads, count)) != NULL) {
		struct block_id id = least->id;
		if (!fn(arg, &id, &least->place))
			return 0;
		for (uint32_t i = 0; i < count; i++) {
			if (heads[i].rc == 0 && block_id_equal(&heads[i].id, &id))
				heads[i].rc = cs_store_next(disks->options.stores[i], &heads[i].id,
							    true, &heads[i].place);
		}
	}
	for (uint32_t i = 0; i < count; i++) {
		if (heads[i].rc != -E_NO_BLOCK)
			return heads[i].rc;
	}
	return 0;
}

struct visit {
	const struct cs_disks_visitor *visitor;
	struct block_id *from;
	const struct block_id *to;
	uint32_t rows;
	bool is_cut;
};

static bool visit_row(void *arg, const struct block_id *id, const struct cs_place *place)
{
	struct visit *visit = arg;

	if (block_id_compare(id, visit->to) > 0)
		return false;
	bool is_told = visit->rows++ < visit->visitor->rows_max &&
		       ((place->trashed_ms != 0 && !visit->visitor->with_trash) ||
			visit->visitor->fn(visit->visitor->arg, id));
	if (!is_told) {
		visit->is_cut = true;
		*visit->from = *id;
	}
	return is_told;
}

int cs_disks_visit(struct cs_disks *disks, struct block_id *from, const struct block_id *to,
		   const struct cs_disks_visitor *visitor)
{
	struct visit visit = {.visitor = visitor, .from = from, .to = to};
	struct block_id begin = *from;
	int rc = cs_disks_scan(disks, &begin, visit_row, &visit);

	return rc < 0 ? rc : visit.is_cut;
}

/* --- generations ---- */

uint64_t cs_disks_generation(const struct cs_disks *disks)
{
	return disks->generation;
}

static void waiter_task(struct loop_task *task)
{
	struct cs_disks_sync *sync = container_of(task, struct cs_disks_sync, task);

	sync->disks->tasks--;
	sync->done(sync);
}

static void answer_later(struct cs_disks_sync *sync, int rc)
{
	sync->rc = rc;
	sync->task.run = waiter_task;
	sync->disks->tasks++;
	loop_post(sync->disks->options.loop, &sync->task);
}

static void sync_start(struct cs_disks *disks);

static void sync_part_done(struct cs_disks *disks, int rc)
{
	struct cs_disks_sync *sync, *next;
	uint64_t syncing = disks->syncing;

	if (rc < 0)
		disks->sync_rc = rc;
	ASSERT(disks->pending > 0);
	if (--disks->pending > 0)
		return;
	disks->syncing = 0;
	if (disks->sync_rc == 0)
		disks->durable = syncing;
	DL_FOREACH_SAFE (disks->waiters, sync, next) {
		if (sync->generation > syncing)
			continue;
		DL_DELETE(disks->waiters, sync);
		answer_later(sync, disks->sync_rc);
	}
	if (disks->waiters != NULL)
		sync_start(disks);
}

static void store_sync_done(struct cs_sync *sync)
{
	struct store_sync *part = container_of(sync, struct store_sync, sync);

	sync_part_done(part->disks, sync->rc);
}

/* Is nothing lost with the log, because what it held is compared instead? */
static bool is_owed_covered(const struct cs_disks *disks)
{
	return disks->owed_told == cs_owed_failures(disks->options.owed);
}

void cs_disks_check_owed(struct cs_disks *disks)
{
	uint32_t failures = cs_owed_failures(disks->options.owed);

	if (!is_owed_covered(disks) && disks->options.on_owed_failed != NULL &&
	    disks->options.on_owed_failed(disks->options.arg) == 0)
		disks->owed_told = failures;
}

static void owed_sync_done(struct cs_owed_sync *sync)
{
	struct cs_disks *disks = container_of(sync, struct cs_disks, owed_sync);

	cs_disks_check_owed(disks);
	sync_part_done(disks, is_owed_covered(disks) ? 0 : sync->rc);
}

static void sync_start(struct cs_disks *disks)
{
	disks->syncing = disks->generation++;
	disks->sync_rc = cs_disks_failed_count(disks) == disks->options.count ? -E_IO : 0;
	for (uint32_t i = 0; i < disks->options.count; i++) {
		struct cs_store *store = disks->options.stores[i];
		/* What a failed disk held is told by a new boot id, not by generations. */
		if (cs_store_is_failed(store))
			continue;
		disks->pending++;
		disks->syncs[i].sync = (struct cs_sync){
			.generation = cs_store_generation(store),
			.done = store_sync_done,
		};
		cs_store_sync(store, &disks->syncs[i].sync);
	}
	/* Always part of it, so that a sync has at least one. */
	disks->pending++;
	disks->owed_sync = (struct cs_owed_sync){.done = owed_sync_done};
	if (disks->options.owed != NULL)
		cs_owed_sync(disks->options.owed, &disks->owed_sync);
	else
		sync_part_done(disks, 0);
}

void cs_disks_sync(struct cs_disks *disks, struct cs_disks_sync *sync)
{
	sync->disks = disks;
	if (sync->generation <= disks->durable) {
		answer_later(sync, 0);
		return;
	}
	if (sync->generation > disks->generation) {
		answer_later(sync, -E_INVAL);
		return;
	}
	DL_APPEND(disks->waiters, sync);
	if (disks->syncing == 0)
		sync_start(disks);
}
