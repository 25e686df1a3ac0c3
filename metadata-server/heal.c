/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When a degraded group is whole. Its replicas pull what they lack from every other replica and
 * former holder, and tell which of these they have merged under the row's epoch (fs/wire/heal.h).
 * When each replica has merged each source that is not gone, the row becomes CLEAN, under a new
 * epoch and without the former holders that were merged.
 *
 * What was told is volatile and comes again with every heartbeat; so after a restart no row becomes
 * clean on the word of a server that was not heard since, nor while the content of one of its
 * servers is in doubt: what a source lost before it was merged would be forgotten with it.
 *
 * Rows become clean in batches: each piece is one record and one version of the map. Every server
 * fetches every version, so the more there are, the longer a batch is waited for.
 */
#include "metadata-server/step_internal.h"

#include "fs/wire/heal.h"

#define HEAL_BATCH_MS	   500u
#define HEAL_BATCH_MS_MAX  10000u
#define HEAL_BATCH_SERVERS 16u /* for so many more it takes as long again */

_Static_assert(COPIES_MAX + FORMERS_MAX <= 16, "sources of a group fit their mask");

/* --- what replicas tell ---- */

static void take_report(struct ms_state *state, server_no server, const struct heal_merged *told)
{
	const struct pg_row *row = map_pg(state->map, told->pg);
	struct ms_merge *m = &state->merges[told->pg];

	if (told->epoch != row->epoch || row->state != PG_DEGRADED)
		return; /* of another row: it will see that */
	if (m->epoch != row->epoch)
		*m = (struct ms_merge){.epoch = row->epoch};
	for (uint32_t i = 0; i < row->replica_count; i++)
		if (row->replicas[i] == server)
			m->sources[i] = (uint16_t)(told->sources | 1u << i);
}

void ms_heal_take(struct ms_state *state, const struct ms_request *req)
{
	for (uint32_t i = 0; i < req->merged_count; i++) {
		struct heal_merged told;

		if (heal_merged_decode(req->merged + (size_t)i * HEAL_MERGED_BYTES, &told) == 0)
			take_report(state, req->server, &told);
	}
}

/* --- what that comes to ---- */

bool ms_heal_is_certain(const struct ms_state *state, server_no server)
{
	const struct ms_member *m = ms_membership_find(state, server);

	return m && m->is_heard && !ms_membership_lacks(m);
}

bool ms_heal_is_merged(const struct ms_state *state, pg_no pg, uint32_t place)
{
	const struct pg_row *row = map_pg(state->map, pg);
	const struct ms_merge *m = &state->merges[pg];
	uint32_t by = 0;

	if (row->state != PG_DEGRADED || m->epoch != row->epoch ||
	    !ms_heal_is_certain(state, pg_row_server_at(row, place)))
		return false;
	for (uint32_t i = 0; i < row->replica_count; i++) {
		if (ms_membership_is_gone(state, row->replicas[i]))
			continue;
		if (!(m->sources[i] >> place & 1) || !ms_heal_is_certain(state, row->replicas[i]))
			return false;
		by++;
	}
	return by > 0;
}

/* All replicas are there and told, and all sources that are there are merged. */
static bool is_whole(const struct ms_state *state, pg_no pg)
{
	const struct pg_row *row = map_pg(state->map, pg);

	for (uint32_t place = 0; place < pg_row_place_count(row); place++) {
		bool is_gone = ms_membership_is_gone(state, pg_row_server_at(row, place));

		if (is_gone ? place < row->replica_count : !ms_heal_is_merged(state, pg, place))
			return false;
	}
	return true;
}

static void make_clean(struct ms_state *state, pg_no pg)
{
	const struct pg_row *old = map_pg(state->map, pg);
	struct pg_row row = *old;

	row.epoch++;
	row.state = PG_CLEAN;
	row.former_count = 0;
	for (uint32_t i = 0; i < old->former_count; i++)
		if (!ms_heal_is_merged(state, pg, old->replica_count + i))
			row.formers[row.former_count++] = old->formers[i];
	for (uint32_t i = row.former_count; i < FORMERS_MAX; i++)
		row.formers[i] = 0;
	ms_placement_store(state, pg, &row);
}

/* A row that could name no more former holders, and now has one that all have merged: place it
 * again. */
static bool has_room_again(const struct ms_state *state, pg_no pg)
{
	const struct pg_row *row = map_pg(state->map, pg);

	if (row->former_count < FORMERS_MAX)
		return false;
	for (uint32_t i = 0; i < row->former_count; i++)
		if (ms_heal_is_merged(state, pg, row->replica_count + i))
			return true;
	return false;
}

static uint64_t batch_ms(const struct ms_state *state)
{
	uint64_t ms = HEAL_BATCH_MS * (1 + map_server_count(state->map) / HEAL_BATCH_SERVERS);

	return MIN_OF(ms, HEAL_BATCH_MS_MAX);
}

uint32_t ms_heal_tick(struct ms_state *state, uint32_t rows_max)
{
	uint32_t changed = 0;

	if (state->now_ms < state->heal_next_ms)
		return 0;
	for (uint32_t pg = 0; pg < PG_COUNT && changed < rows_max; pg++) {
		if (map_pg(state->map, (pg_no)pg)->state != PG_DEGRADED)
			continue;
		if (has_room_again(state, (pg_no)pg))
			ms_placement_again(state);
		if (!is_whole(state, (pg_no)pg))
			continue;
		make_clean(state, (pg_no)pg);
		changed++;
	}
	if (changed < rows_max)
		state->heal_next_ms = state->now_ms + batch_ms(state);
	return changed;
}
