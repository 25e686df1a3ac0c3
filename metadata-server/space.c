/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Space: credits and statfs. A session may have as much unpublished as it has credit for, plain
 * bytes times copies, out of what chunk servers report free; so ENOSPC comes from write(), not
 * after close().
 *
 * Placement is fixed, so the cluster is full when the first server is that a placement group needs:
 * what all can take is what the least of them can. That is divided fairly: no session gets more
 * than its share while others want more than is left. A renewal may lower a credit, but never below
 * what the session says it has charged, for those bytes may be on their way. Volatile: after a
 * restart sessions ask anew.
 */
#include "metadata-server/step_internal.h"

/*
 * The rest is for manifests, record headers, ends of segments, and what a renewal in flight
 * overtakes.
 */
#define SPACE_GRANTED_PERCENT	90u
/*
 * Plain bytes: less is not granted, or a writer would wait for ever smaller rests, a heartbeat for
 * each.
 */
#define SPACE_GRANTED_MIN	MiB(8)
/* inode numbers never run out; an honest large number */
#define SPACE_FILES_FREE	(UINT64_C(1) << 40)
/* whatever a session says: sums of it cannot overflow */
#define SPACE_CLAIM_BYTES_MAX	(UINT64_C(1) << 48)
#define FAIR_ROUNDS		8u

/*
 * It is there, has told what it has since we began, and has a disk that works. One that dies just
 * now may still count as a disk and yet not say how large it is: it is silent, not full.
 */
static bool takes_data(const struct ms_state *state, const struct ms_member *m)
{
	const struct server_row *row = map_server(state->map, m->server);

	return row && (row->state == SERVER_UP || row->state == SERVER_SUSPECT) &&
	       m->stats.heard_ms && m->stats.disks > 0 && m->stats.bytes_total > 0;
}

/* In how many placement groups each server is: its share of what is written. */
static void count_groups(struct ms_state *state)
{
	struct ms_member *m, *next;

	if (state->groups_version == map_version(state->map))
		return;
	state->groups_version = map_version(state->map);
	HASH_ITER(hh, state->members, m, next)
		m->groups = 0;
	for (uint32_t pg = 0; pg < PG_COUNT; pg++) {
		const struct pg_row *row = map_pg(state->map, (pg_no)pg);

		for (uint32_t i = 0; row->epoch && i < row->replica_count; i++) {
			m = ms_membership_find(state, row->replicas[i]);
			if (m)
				m->groups++;
		}
	}
}

/* Plain bytes that the cluster can still take. */
static uint64_t capacity(struct ms_state *state)
{
	uint64_t least = UINT64_MAX;
	struct ms_member *m, *next;

	count_groups(state);
	HASH_ITER(hh, state->members, m, next) {
		uint64_t room;

		if (m->groups == 0 || !takes_data(state, m))
			continue;
		room = m->stats.bytes_free / m->groups;
		room = room > SPACE_CLAIM_BYTES_MAX / PG_COUNT ? SPACE_CLAIM_BYTES_MAX
							       : room * PG_COUNT;
		least = MIN_OF(least, room - MIN_OF(room, m->settled_bytes));
	}
	return least == UINT64_MAX ? 0 : least;
}

static bool group_is_short(struct ms_state *state, const struct pg_row *row)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < row->replica_count; i++) {
		const struct ms_member *m = ms_membership_find(state, row->replicas[i]);

		count += m && takes_data(state, m);
	}
	return count < state->config.min_copies;
}

/*
 * Nobody can say what fits while a placement group has too few servers to take a write: they may be
 * starting, away, or with a disk that fails just now. Writes wait then, as they do for the servers.
 */
bool ms_space_is_unknown(struct ms_state *state)
{
	struct ms_member *m, *next;
	uint32_t missing = 0;

	count_groups(state);
	HASH_ITER(hh, state->members, m, next)
		missing += m->groups > 0 && !takes_data(state, m);
	if (missing == 0)
		return HASH_COUNT(state->members) == 0;
	for (uint32_t pg = 0; pg < PG_COUNT; pg++) {
		const struct pg_row *row = map_pg(state->map, (pg_no)pg);

		if (row->epoch && group_is_short(state, row))
			return true;
	}
	return false;
}

/*
 * The level at which a pool is divided fairly: who wants less than it gets what it wants, all
 * others get the level. It only rises from round to round, so that few rounds are safe, too.
 */
static uint64_t fair_level(const struct ms_state *state, uint64_t pool)
{
	uint64_t level = 0;

	for (uint32_t round = 0; round < FAIR_ROUNDS; round++) {
		uint64_t satisfied = 0, count = 0, was = level;
		struct ms_session *s, *next;

		HASH_ITER(hh, state->sessions, s, next) {
			if (s->credit_wanted <= level)
				satisfied += s->credit_wanted;
			else
				count++;
		}
		if (count == 0)
			return UINT64_MAX;
		level = pool > satisfied ? (pool - satisfied) / count : 0;
		if (level <= was)
			return was;
	}
	return level;
}

uint64_t ms_space_grant(struct ms_state *state, struct ms_session *session, uint64_t used,
			uint64_t wanted)
{
	uint64_t pool, others = 0;
	struct ms_session *s, *next;

	if (wanted == 0)
		return session->credit_bytes;	/* says nothing about credit */
	used = MIN_OF(used, SPACE_CLAIM_BYTES_MAX);
	session->credit_wanted = MIN_OF(wanted, SPACE_CLAIM_BYTES_MAX);
	pool = capacity(state);
	pool = pool < SPACE_GRANTED_MIN ? 0
					: pool / 100 * SPACE_GRANTED_PERCENT * state->config.copies;
	HASH_ITER(hh, state->sessions, s, next)
		others += s == session ? 0 : s->credit_bytes;
	wanted = MIN_OF(session->credit_wanted, fair_level(state, pool));
	session->credit_bytes = MAX_OF(used, MIN_OF(wanted, pool - MIN_OF(pool, others)));
	return session->credit_bytes;
}

/* Each server's last heartbeat may be older than these bytes; its next one counts them. */
void ms_space_settle(struct ms_state *state, struct ms_session *session, uint64_t bytes)
{
	uint64_t plain = MIN_OF(bytes, SPACE_CLAIM_BYTES_MAX) / state->config.copies;
	struct ms_member *m, *next;

	session->credit_bytes -= MIN_OF(session->credit_bytes, bytes);
	HASH_ITER(hh, state->members, m, next)
		m->settled_bytes = MIN_OF(m->settled_bytes + plain, SPACE_CLAIM_BYTES_MAX);
}

static uint64_t total_bytes(const struct ms_state *state)
{
	uint64_t total = 0;
	struct ms_member *m, *next;

	HASH_ITER(hh, state->members, m, next)
		if (takes_data(state, m))
			total += m->stats.bytes_total;
	return total;
}

int ms_space_statfs(struct ms_op *op)
{
	struct ms_state *state = op->state;
	struct ms_reply *reply = &op->effect.reply;
	struct ms_inode inode;

	reply->bytes_total = total_bytes(state) / state->config.copies;
	reply->bytes_free = MIN_OF(capacity(state), reply->bytes_total);
	reply->files_free = SPACE_FILES_FREE;
	reply->files = SPACE_FILES_FREE + state->counters.files + state->counters.directories;
	if (op->req->ino && ms_inode_get(state->txn, op->req->ino, &inode) == 0 && inode.attr.quota)
		return ms_quota_statfs(state, inode.attr.quota, reply);
	return 0;
}
