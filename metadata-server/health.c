/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the placement groups are, for who looks: what their rows say, and beside it what is true at
 * this moment without being written into rows: silence, and blocks that replicas owe each other.
 */
#include "metadata-server/step_internal.h"

static bool is_owed(const struct ms_state *state, const struct pg_row *row, uint32_t pg)
{
	for (uint32_t i = 0; i < row->replica_count; i++) {
		const struct ms_member *m = ms_membership_find(state, row->replicas[i]);

		if (m && m->owed[pg / 8] >> pg % 8 & 1)
			return true;
	}
	return false;
}

/*
 * Did all replicas tell what they owe since the last of them came back? Who did not know that in
 * its heartbeat may have noted debts after it, as long as it took that one for away.
 */
static bool are_debts_told(const struct ms_state *state, const struct pg_row *row)
{
	uint64_t told = UINT64_MAX, back = 0;

	for (uint32_t i = 0; i < row->replica_count; i++) {
		const struct ms_member *m = ms_membership_find(state, row->replicas[i]);

		told = MIN_OF(told, m ? m->map_version : 0);
		back = MAX_OF(back, m ? m->back_version : 0);
	}
	return told >= back;
}

static uint32_t count_alive(const struct ms_state *state, const server_no *servers, uint32_t count)
{
	uint32_t alive = 0;

	for (uint32_t i = 0; i < count; i++)
		alive += ms_membership_is_alive(state, servers[i]);
	return alive;
}

/* All are up, were heard since our start, and lost nothing that their rows do not tell yet. */
static bool are_all_well(const struct ms_state *state, const struct pg_row *row)
{
	for (uint32_t i = 0; i < row->replica_count; i++) {
		const struct server_row *server = map_server(state->map, row->replicas[i]);

		if (!server || server->state != SERVER_UP ||
		    !ms_heal_is_certain(state, row->replicas[i]))
			return false;
	}
	return true;
}

/*
 * All its servers are there, but one of them has just come back and not all have said yet what they
 * owe it: that is heard within a heartbeat, and nobody may take it for healed before.
 */
static bool is_unsettled(const struct ms_state *state, const struct pg_row *row)
{
	for (uint32_t i = 0; i < row->replica_count; i++) {
		const struct server_row *server = map_server(state->map, row->replicas[i]);

		if (!server || server->state != SERVER_UP)
			return false;
	}
	return !are_debts_told(state, row) || !are_all_well(state, row);
}

static enum pg_state judge(const struct ms_state *state, uint32_t pg)
{
	const struct pg_row *row = map_pg(state->map, (pg_no)pg);

	if (row->epoch == 0)
		return PG_DEGRADED; /* no servers yet: nothing is lost, nothing can be put */
	if (count_alive(state, row->replicas, row->replica_count) +
		    count_alive(state, row->formers, row->former_count) ==
	    0)
		return PG_LOST;
	if (row->state != PG_CLEAN || row->replica_count < state->config.copies ||
	    is_owed(state, row, pg) || !are_debts_told(state, row) || !are_all_well(state, row))
		return PG_DEGRADED;
	return PG_CLEAN;
}

bool ms_health_pg_waits(const struct ms_state *state, pg_no pg, uint32_t place)
{
	const struct pg_row *row = map_pg(state->map, pg);
	server_no server = pg_row_server_at(row, place);

	if (row->state != PG_DEGRADED || ms_membership_is_alive(state, server))
		return false;
	return place < row->replica_count ||
	       (!ms_membership_is_gone(state, server) && !ms_heal_is_merged(state, pg, place));
}

static bool waits(const struct ms_state *state, pg_no pg)
{
	const struct pg_row *row = map_pg(state->map, pg);

	for (uint32_t i = 0; i < (uint32_t)row->replica_count + row->former_count; i++)
		if (ms_health_pg_waits(state, pg, i))
			return true;
	return false;
}

static bool is_crowded(const struct ms_state *state, const struct pg_row *row)
{
	if (row->former_count < FORMERS_MAX)
		return false;
	for (uint32_t i = 0; i < row->replica_count; i++)
		if (ms_membership_is_gone(state, row->replicas[i]))
			return true;
	return false;
}

void ms_health_counts(const struct ms_state *state, struct ms_counts *out)
{
	for (uint32_t pg = 0; pg < PG_COUNT; pg++) {
		const struct pg_row *row = map_pg(state->map, (pg_no)pg);
		enum pg_state s = judge(state, pg);

		out->pgs_clean += s == PG_CLEAN;
		out->pgs_degraded += s == PG_DEGRADED;
		out->pgs_lost += s == PG_LOST;
		out->pgs_healing += row->state == PG_DEGRADED || is_unsettled(state, row);
		out->pgs_waiting += waits(state, (pg_no)pg);
		out->pgs_crowded += is_crowded(state, row);
		out->pgs_few += count_alive(state, row->replicas, row->replica_count) <
				state->config.min_copies;
	}
}
