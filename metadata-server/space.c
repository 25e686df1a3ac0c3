/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Space: credits and statfs. A session may write as much as it has credit for, plain bytes times
 * copies, out of what chunk servers report free; so ENOSPC comes from write(), not after close().
 *
 * A credit once given is not taken back: its bytes may be on their way. Volatile: after a restart
 * sessions ask anew.
 */
#include "metadata-server/step_internal.h"

/* The rest is for compaction, healing, and for what compression does not gain. */
#define SPACE_GRANTED_PERCENT	90u
#define SPACE_FILES_FREE	(UINT64_C(1) << 40)	/* inode numbers never run out; an honest large number */

static bool takes_data(const struct ms_state *state, server_no server)
{
	const struct server_row *row = map_server(state->map, server);

	return row && (row->state == SERVER_UP || row->state == SERVER_SUSPECT);
}

static void sum_servers(const struct ms_state *state, uint64_t *total, uint64_t *free_bytes)
{
	struct ms_member *m, *next;

	*total = *free_bytes = 0;
	HASH_ITER(hh, state->members, m, next) {
		if (!takes_data(state, m->server))
			continue;
		*total += m->stats.bytes_total;
		*free_bytes += m->stats.bytes_free;
	}
}

uint64_t ms_space_grant(struct ms_state *state, struct ms_session *session, uint64_t wanted)
{
	uint64_t total, free_bytes, pool, others = 0;
	struct ms_session *s, *next;

	if (wanted == 0)
		return session->credit_bytes;	/* says nothing about credit */
	if (wanted <= session->credit_bytes)
		return session->credit_bytes = wanted;
	HASH_ITER(hh, state->sessions, s, next)
		others += s == session ? 0 : s->credit_bytes;
	sum_servers(state, &total, &free_bytes);
	pool = free_bytes / 100 * SPACE_GRANTED_PERCENT;
	pool = pool > others ? pool - others : 0;
	session->credit_bytes = MAX_OF(session->credit_bytes, MIN_OF(wanted, pool));
	return session->credit_bytes;
}

void ms_space_settle(struct ms_session *session, uint64_t bytes)
{
	session->credit_bytes -= MIN_OF(session->credit_bytes, bytes);
}

int ms_space_statfs(struct ms_op *op)
{
	const struct ms_state *state = op->state;
	struct ms_reply *reply = &op->effect.reply;
	uint64_t total, free_bytes;

	sum_servers(state, &total, &free_bytes);
	reply->bytes_total = total / state->config.copies;
	reply->bytes_free = free_bytes / state->config.copies;
	reply->files_free = SPACE_FILES_FREE;
	reply->files = SPACE_FILES_FREE + state->counters.files + state->counters.directories;
	return 0;
}
