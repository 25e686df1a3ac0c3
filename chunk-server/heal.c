/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Healing: each replica of a group that is not clean brings itself, from every other replica and
 * former, what they hold and it lacks; when all have done so under one epoch, nothing is held by
 * only some of them.
 *
 * Here: which groups are due, what was merged under which epoch, and what the heartbeat tells of
 * it. A source counts as merged once all that it had listed is synced here (I4). Nothing of it is
 * kept over a restart: equal digests are told quickly. A new epoch of the row, or a disk of ours
 * that fails, begins the group anew.
 */
#include <stdlib.h>
#include <string.h>

#include "chunk-server/heal_internal.h"
#include "fs/base/log.h"

#define LOG_MODULE "heal"

#define TICK_MS 100u

static void fill(struct heal *heal);

/* --- what is due ---- */

static bool is_wanted(const struct cs_server *s, const struct pg_row *row)
{
	return s->number != 0 && row->epoch != 0 && row->state != PG_CLEAN &&
	       pg_row_has(row, s->number);
}

/* Bring the groups in line with the map. A merge under way sees for itself that its row is old. */
static void review(struct heal *heal)
{
	struct cs_server *s = heal->server;

	for (uint32_t pg = 0; pg < PG_COUNT; pg++) {
		struct heal_group *group = &heal->groups[pg];
		const struct pg_row *row = map_pg(s->map, (pg_no)pg);
		bool wanted = is_wanted(s, row);
		if (group->stage == HEAL_BUSY)
			continue;
		if (!wanted)
			*group = (struct heal_group){.stage = HEAL_NONE};
		else if (group->epoch != row->epoch)
			*group = (struct heal_group){.stage = HEAL_DUE, .epoch = row->epoch};
	}
}

/* Is there one to merge with that may answer now? A row without others is merged as it is. */
static bool has_source(struct heal *heal, const struct heal_group *group, const struct pg_row *row)
{
	uint32_t others = 0;

	for (uint32_t place = 0; place < pg_row_place_count(row); place++) {
		server_no server = pg_row_server_at(row, place);
		if (server == heal->server->number || (group->merged >> place & 1) != 0)
			continue;
		others++;
		if (cs_forward_source(heal->server, server) != NULL)
			return true;
	}
	return others == 0;
}

/* The next group to compare: first those of which nothing is known yet. PG_COUNT: none. */
static uint32_t next_due(struct heal *heal)
{
	uint64_t now = loop_now_ms(heal->server->options.loop);
	uint32_t second = PG_COUNT;

	for (uint32_t i = 0; i < PG_COUNT; i++) {
		uint32_t pg = (heal->cursor + i) % PG_COUNT;
		const struct heal_group *group = &heal->groups[pg];
		const struct pg_row *row = map_pg(heal->server->map, (pg_no)pg);
		if (group->stage != HEAL_DUE || group->due_ms > now || group->epoch != row->epoch)
			continue;
		if (group->is_known && (second < PG_COUNT || heal->bringing >= HEAL_BRINGING_MAX ||
					now < heal->full_until_ms))
			continue;
		if (!has_source(heal, group, row))
			continue;
		if (!group->is_known)
			return pg;
		second = pg;
	}
	return second;
}

/* --- sync, then tell ---- */

static void group_synced(struct heal *heal, uint32_t pg, int rc)
{
	struct heal_group *group = &heal->groups[pg];
	uint32_t all = (1u << pg_row_place_count(map_pg(heal->server->map, (pg_no)pg))) - 1;

	if (rc == 0)
		group->merged |= group->merging;
	group->merging = 0;
	if (group->merged == all) {
		group->stage = HEAL_DONE;
		group->lacking = 0;
		return;
	}
	group->stage = HEAL_DUE;
}

static void synced(struct cs_disks_sync *sync)
{
	struct heal *heal = container_of(sync, struct heal, sync);
	int rc = sync->rc;

	heal->is_syncing = false;
	/* What a disk lost meanwhile was forgotten with it. */
	if (heal->sync_after != heal->forgotten)
		rc = -E_IO;
	for (uint32_t pg = 0; pg < PG_COUNT; pg++) {
		struct heal_group *group = &heal->groups[pg];
		if (group->stage == HEAL_SYNCING && group->generation <= sync->generation)
			group_synced(heal, pg, rc);
	}
	review(heal);
	fill(heal);
}

/* With each tick, for all that ended since the last: a group is small. */
static void sync_groups(struct heal *heal)
{
	struct cs_server *s = heal->server;
	bool is_needed = false;

	for (uint32_t pg = 0; pg < PG_COUNT && !is_needed; pg++)
		is_needed = heal->groups[pg].stage == HEAL_SYNCING;
	if (!is_needed || heal->is_syncing || heal->is_stopped)
		return;
	heal->is_syncing = true;
	heal->sync_after = heal->forgotten;
	heal->sync = (struct cs_disks_sync){
		.generation = cs_disks_generation(s->disks), .done = synced};
	cs_disks_sync(s->disks, &heal->sync);
}

void cs_heal_merge_over(struct heal_merge *merge)
{
	struct heal *heal = merge->heal;
	struct heal_group *group = &heal->groups[merge->pg];
	const struct pg_row *row = map_pg(heal->server->map, merge->pg);

	heal->merge_count--;
	heal->bringing -= merge->is_bringing;
	merge->is_busy = false;
	if (row->epoch != merge->row.epoch || group->epoch != merge->row.epoch) {
		group->stage = HEAL_NONE;
		group->epoch = 0;
		review(heal);
	} else {
		/* What only needs its turn to bring is due at once. */
		group->due_ms = merge->is_put_off ? 0
						  : loop_now_ms(heal->server->options.loop) +
							    HEAL_RETRY_MS;
		group->stage = (merge->merged & ~group->merged) != 0 ? HEAL_SYNCING : HEAL_DUE;
		group->merging = merge->merged;
		group->generation = cs_disks_generation(heal->server->disks);
	}
	fill(heal);
}

/* --- the round ---- */

static struct heal_merge *free_merge(struct heal *heal)
{
	for (uint32_t i = 0; i < HEAL_MERGES_MAX; i++) {
		if (!heal->merges[i].is_busy)
			return &heal->merges[i];
	}
	return NULL;
}

static void fill(struct heal *heal)
{
	struct heal_merge *merge;
	uint32_t pg;

	while (!heal->is_stopped && (merge = free_merge(heal)) != NULL &&
	       (pg = next_due(heal)) < PG_COUNT) {
		heal->cursor = (pg_no)((pg + 1) % PG_COUNT);
		heal->groups[pg].stage = HEAL_BUSY;
		heal->merge_count++;
		cs_heal_merge_start(merge, (pg_no)pg);
	}
}

static bool is_working(const struct heal *heal)
{
	for (uint32_t pg = 0; pg < PG_COUNT; pg++) {
		if (heal->groups[pg].stage == HEAL_SYNCING)
			return true;
	}
	return heal->merge_count > 0;
}

/* The end of it is told at once, not with the next heartbeat. */
static void tell_end(struct heal *heal)
{
	bool was_working = heal->was_working;

	heal->was_working = is_working(heal);
	if (!was_working || heal->was_working)
		return;
	cs_heartbeat_soon(heal->server);
	if (heal->blocks > heal->told_blocks)
		log_info("healed: blocks=%llu bytes=%llu since the start, still lacking=%llu",
			 (unsigned long long)heal->blocks, (unsigned long long)heal->bytes,
			 (unsigned long long)cs_heal_pending(heal->server));
	heal->told_blocks = heal->blocks;
}

void cs_heal_soon(struct heal *heal)
{
	if (!heal->is_stopped)
		loop_timer_start(heal->server->options.loop, &heal->soon_timer, CS_SHARE_WAIT_MS);
}

static void resume_merges(struct heal *heal)
{
	for (uint32_t i = 0; i < HEAL_MERGES_MAX; i++)
		cs_heal_merge_resume(&heal->merges[i]);
}

static void soon(struct loop_timer *timer)
{
	resume_merges(container_of(timer, struct heal, soon_timer));
}

static void tick(struct loop_timer *timer)
{
	struct heal *heal = container_of(timer, struct heal, timer);

	review(heal);
	resume_merges(heal);
	sync_groups(heal);
	fill(heal);
	tell_end(heal);
	loop_timer_start(heal->server->options.loop, &heal->timer, TICK_MS);
}

/* --- what the heartbeat tells ---- */

size_t cs_heal_merged(struct cs_server *s, uint8_t *out)
{
	size_t bytes = 0;

	for (uint32_t pg = 0; pg < PG_COUNT; pg++) {
		const struct heal_group *group = &s->heal->groups[pg];
		const struct pg_row *row = map_pg(s->map, (pg_no)pg);
		struct heal_merged merged = {
			.pg = (pg_no)pg, .epoch = group->epoch, .sources = group->merged};
		if (group->merged == 0 || group->epoch != row->epoch || !is_wanted(s, row))
			continue;
		heal_merged_encode(&merged, out + bytes);
		bytes += HEAL_MERGED_BYTES;
	}
	return bytes;
}

uint64_t cs_heal_pending(const struct cs_server *s)
{
	uint64_t count = 0;

	for (uint32_t pg = 0; pg < PG_COUNT; pg++)
		count += s->heal->groups[pg].lacking;
	return count;
}

uint64_t cs_heal_bytes(const struct cs_server *s)
{
	return s->heal->bytes;
}

void cs_heal_forget(struct cs_server *s)
{
	struct heal *heal = s->heal;

	heal->forgotten++;
	for (uint32_t pg = 0; pg < PG_COUNT; pg++) {
		struct heal_group *group = &heal->groups[pg];
		/*
		 * Also of one that is busy: its merge ends with an epoch that is not the group's.
		 */
		group->epoch = 0;
		group->merged = 0;
		if (group->stage != HEAL_BUSY)
			group->stage = HEAL_NONE;
	}
}

/* --- life ---- */

void cs_heal_stop(struct cs_server *s)
{
	struct heal *heal = s->heal;

	heal->is_stopped = true;
	loop_timer_stop(s->options.loop, &heal->timer);
	loop_timer_stop(s->options.loop, &heal->soon_timer);
	for (uint32_t i = 0; i < HEAL_PULLS_MAX; i++)
		cs_heal_pull_stop(&heal->pulls[i]);
	resume_merges(heal);
}

bool cs_heal_is_idle(const struct cs_server *s)
{
	return s->heal->merge_count == 0 && s->heal->pull_count == 0 && !s->heal->is_syncing;
}

void cs_heal_destroy(struct cs_server *s)
{
	struct heal *heal = s->heal;

	if (heal == NULL)
		return;
	if (!heal->is_stopped)
		cs_heal_stop(s);
	for (uint32_t i = 0; i < HEAL_PULLS_MAX; i++) {
		loop_timer_stop(s->options.loop, &heal->pulls[i].timer);
		buf_put(heal->pulls[i].record);
	}
	for (uint32_t i = 0; i < HEAL_MERGES_MAX; i++) {
		free(heal->merges[i].own);
		free(heal->merges[i].differs);
		free(heal->merges[i].ids);
	}
	free(heal);
	s->heal = NULL;
}

int cs_heal_create(struct cs_server *s)
{
	struct heal *heal = calloc(1, sizeof(*heal));
	bool is_short = false;

	if (heal == NULL)
		return -E_NOMEM;
	s->heal = heal;
	heal->server = s;
	/* An eighth of the memory for requests. */
	heal->pulls_max = (uint32_t)MAX_OF(
		1u, MIN_OF(HEAL_PULLS_MAX,
			   buf_pool_bytes_max(s->options.pool) / 8 / BUF_LARGE_BYTES));
	for (uint32_t i = 0; i < HEAL_PULLS_MAX; i++)
		heal->pulls[i].heal = heal;
	for (uint32_t i = 0; i < HEAL_MERGES_MAX; i++) {
		struct heal_merge *merge = &heal->merges[i];
		merge->heal = heal;
		merge->own = calloc(1u << HEAL_BITS_MAX, sizeof(*merge->own));
		merge->differs = calloc(1u << HEAL_BITS_MAX, 1);
		merge->ids = calloc(HEAL_IDS_MAX, sizeof(*merge->ids));
		is_short = is_short || merge->own == NULL || merge->differs == NULL ||
			   merge->ids == NULL;
	}
	if (is_short)
		return -E_NOMEM; /* cs_server_destroy() frees what there is */
	heal->timer.fn = tick;
	heal->soon_timer.fn = soon;
	loop_timer_start(s->options.loop, &heal->timer, TICK_MS);
	return 0;
}
