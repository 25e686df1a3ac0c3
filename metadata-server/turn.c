/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The turn to encode blocks anew: one chunk server at a time has it, so that a mistake of a codec
 * or a bad machine never reaches all copies at once. It is given with the answer to a heartbeat,
 * until its holder would be suspect of being gone; each further heartbeat extends that. It goes to
 * the one who waits longest when its holder is done, is silent, or had it long enough. While a
 * group lacks a copy nobody has it.
 *
 * All this is memory. Who had it before a restart of ours may believe so for one term more: as
 * long the first one waits.
 */
#include "metadata-server/step_internal.h"

#define STAY_MS	 300000u /* in one go, while others wait */
#define LOOK_MS	 1000u	 /* at all groups, at most so often */

server_no ms_state_reencode_server(const struct ms_state *state)
{
	return state->turn.until_ms > state->now_ms ? state->turn.server : 0;
}

void ms_turn_forget(struct ms_state *state)
{
	state->turn = (struct ms_turn){.until_ms = state->now_ms + state->config.suspect_ms};
}

static bool are_groups_well(struct ms_state *state)
{
	struct ms_turn *turn = &state->turn;
	struct ms_counts counts = {0};

	if (turn->looked_ms != 0 && state->now_ms < turn->looked_ms + LOOK_MS)
		return turn->are_groups_well;
	ms_health_counts(state, &counts);
	turn->looked_ms = MAX_OF(state->now_ms, 1u);
	turn->are_groups_well = counts.pgs_clean == PG_COUNT && !state->is_recovering;
	return turn->are_groups_well;
}

/* Does it wait, heard of late? */
static bool waits(const struct ms_state *state, const struct ms_member *m)
{
	return m->stats.reencode.wants &&
	       state->now_ms < m->stats.heard_ms + state->config.suspect_ms;
}

/* Is there somebody who waits for longer? */
static bool is_other_first(const struct ms_state *state, const struct ms_member *m)
{
	const struct ms_member *other, *next;

	HASH_ITER(hh, state->members, other, next) {
		bool is_older = other->turn_ended_ms < m->turn_ended_ms ||
				(other->turn_ended_ms == m->turn_ended_ms &&
				 other->server < m->server);

		if (other != m && is_older && waits(state, other))
			return true;
	}
	return false;
}

static bool does_other_wait(const struct ms_state *state, const struct ms_member *m)
{
	const struct ms_member *other, *next;

	HASH_ITER(hh, state->members, other, next)
		if (other != m && waits(state, other))
			return true;
	return false;
}

/* It is done, or shall be: what it may still do ends with the term that it was told last. */
static void give_back(struct ms_state *state, struct ms_member *m)
{
	m->turn_ended_ms = state->now_ms;
	state->turn.server = 0;
	if (!m->stats.reencode.turn)
		state->turn.until_ms = state->now_ms;
}

uint32_t ms_turn_take(struct ms_state *state, struct ms_member *m)
{
	struct ms_turn *turn = &state->turn;
	bool wants = m->stats.reencode.wants && are_groups_well(state);

	if (turn->server == m->server && turn->until_ms > state->now_ms) {
		if (!wants ||
		    (state->now_ms >= turn->began_ms + STAY_MS && does_other_wait(state, m))) {
			give_back(state, m);
			return 0;
		}
	} else {
		if (!wants || turn->until_ms > state->now_ms || is_other_first(state, m))
			return 0;
		turn->server = m->server;
		turn->began_ms = state->now_ms;
		m->turn_ended_ms = state->now_ms; /* also if it is never heard again */
	}
	turn->until_ms = state->now_ms + state->config.suspect_ms;
	return (uint32_t)state->config.suspect_ms;
}
