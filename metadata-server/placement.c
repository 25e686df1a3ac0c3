/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which servers a placement group is on. The rows are computed once enough servers are known, and
 * again when one joins, goes out, is drained or removed, comes back, or may lack what it had: a
 * sweep through all rows, a piece per tick so that a journal record stays bounded.
 *
 * A row keeps its replicas as long as the set is the same. Who leaves a row becomes a former holder
 * as long as data may exist: readers ask it last, and replicas merge what it holds. A row is CLEAN
 * when all its replicas have merged all that any replica or former holder had which is not gone; it
 * is DEGRADED, under a new epoch, whenever that may have ceased to be so:
 *   - a replica is new;
 *   - a former holder is there (one that is gone stays named in a clean row until it is back, or
 * removed);
 *   - one of its servers has another content than the row was merged with.
 * Fewer replicas than wanted do not make a row degraded: nothing could mend that but another
 * server.
 *
 * Keeps: I10 (a row changes only with a higher epoch).
 */
#include "metadata-server/step_internal.h"

/* The first placement waits so long for servers that are still starting, if there are fewer than
 * copies. */
#define FIRST_PLACEMENT_MS 3000u
/* Rows times servers looked at in one event: some ten milliseconds of hashing. */
#define SWEEP_DRAWS_MAX (64u * PG_COUNT)

void ms_placement_again(struct ms_state *state)
{
	state->sweep_until = state->swept + PG_COUNT;
}

void ms_placement_store(struct ms_state *state, pg_no pg, const struct pg_row *row)
{
	struct ms_key key = ms_key_pg(pg);
	uint8_t value[PG_ROW_BYTES_MAX];

	ASSERT(map_put_pg(state->map, pg, row));
	ms_txn_put(state->txn, key.bytes, key.len, value, (uint32_t)pg_row_encode(row, value));
}

static bool may_hold_data(const struct ms_state *state)
{
	struct ms_member *m, *next;

	if (state->counters.flags & MS_COUNTERS_PUBLISHED || state->session_count)
		return true; /* a session may have put blocks that are not published yet */
	HASH_ITER (hh, state->members, m, next)
		if (m->stats.blocks)
			return true;
	return false;
}

/* --- former holders ---- */

static bool is_removed(const struct ms_state *state, server_no server)
{
	const struct server_row *row = map_server(state->map, server);

	return row && row->state == SERVER_REMOVED;
}

static bool add_former(const struct ms_state *state, struct pg_row *row, server_no server)
{
	if (pg_row_names(row, server) || is_removed(state, server))
		return true;
	if (row->former_count == FORMERS_MAX)
		return false;
	row->formers[row->former_count++] = server;
	return true;
}

/*
 * Who held data under the old row and does not under the new; false: more than a row can name. If
 * it is tight, former holders that every replica has merged make room.
 */
static bool carry_formers(const struct ms_state *state, pg_no pg, struct pg_row *row, bool is_tight)
{
	const struct pg_row *old = map_pg(state->map, pg);

	row->former_count = 0;
	for (uint32_t i = 0; i < old->former_count; i++) {
		if (is_tight && ms_heal_is_merged(state, pg, old->replica_count + i))
			continue;
		if (!add_former(state, row, old->formers[i]))
			return false;
	}
	for (uint32_t i = 0; i < old->replica_count; i++)
		if (!add_former(state, row, old->replicas[i]))
			return false;
	return true;
}

/* --- one row ---- */

static bool has_all(const struct pg_row *row, const struct pg_row *of)
{
	for (uint32_t i = 0; i < of->replica_count; i++)
		if (!pg_row_has(row, of->replicas[i]))
			return false;
	return true;
}

/* One of its servers told another content, and this sweep has not come by here since. */
static bool lacks(const struct ms_state *state, const struct pg_row *row)
{
	for (uint32_t i = 0; i < (uint32_t)row->replica_count + row->former_count; i++) {
		const struct ms_member *m = ms_membership_find(state, pg_row_server_at(row, i));

		if (m && ms_membership_lacks(m) && state->swept - m->content_from < PG_COUNT)
			return true;
	}
	return false;
}

static bool has_live_former(const struct ms_state *state, const struct pg_row *row)
{
	for (uint32_t i = 0; i < row->former_count; i++)
		if (!ms_membership_is_gone(state, row->formers[i]))
			return true;
	return false;
}

/* Replicas and former holders as they should be now; the old ones if there is no other way. */
static void compute_servers(const struct ms_state *state, pg_no pg, bool data, struct pg_row *row)
{
	const struct pg_row *old = map_pg(state->map, pg);

	row->replica_count =
		(uint8_t)map_place(state->map, pg, state->config.copies, row->replicas);
	if (row->replica_count > 0 &&
	    (!data || carry_formers(state, pg, row, false) || carry_formers(state, pg, row, true)))
		return;
	*row = *old;
}

/* The row of a group as it should be now; false: leave it as it is. */
static bool compute_row(const struct ms_state *state, pg_no pg, bool data, struct pg_row *row)
{
	const struct pg_row *old = map_pg(state->map, pg);
	bool is_other = false, is_new = old->epoch == 0;

	*row = (struct pg_row){0};
	compute_servers(state, pg, data, row);
	if (row->replica_count == 0)
		return false;
	row->epoch = old->epoch + 1;
	row->state = PG_CLEAN;
	if (data && !is_new) {
		is_other = lacks(state, row);
		if (is_other || old->state != PG_CLEAN || !has_all(old, row) ||
		    has_live_former(state, row))
			row->state = PG_DEGRADED;
	}
	return is_new || is_other || old->replica_count != row->replica_count ||
	       !has_all(old, row) || old->state != row->state ||
	       old->former_count != row->former_count;
}

/* --- all rows ---- */

static bool may_place(const struct ms_state *state)
{
	uint32_t usable = 0;

	if (map_pg(state->map, 0)->epoch)
		return true;
	for (uint32_t i = 0; i < map_server_count(state->map); i++)
		usable += map_server_at(state->map, i)->state <= SERVER_DOWN;
	return usable >= state->config.copies ||
	       (usable >= state->config.min_copies &&
		state->now_ms - state->first_join_ms >= FIRST_PLACEMENT_MS);
}

bool ms_placement_is_sweeping(const struct ms_state *state)
{
	return state->swept < state->sweep_until && may_place(state);
}

uint32_t ms_placement_sweep(struct ms_state *state, uint32_t rows_max)
{
	uint32_t looks = SWEEP_DRAWS_MAX / MAX_OF(map_server_count(state->map), 1u), changed = 0;
	bool data = may_hold_data(state);

	if (!may_place(state))
		return 0;
	for (; state->swept < state->sweep_until && changed < rows_max && looks > 0;
	     state->swept++, looks--) {
		pg_no pg = (pg_no)(state->swept % PG_COUNT);
		struct pg_row row;

		if (!compute_row(state, pg, data, &row))
			continue;
		ms_placement_store(state, pg, &row);
		changed++;
	}
	return changed;
}
