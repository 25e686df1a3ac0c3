/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The collection epoch, and who may still publish what (I9).
 *
 * The epoch is a row. A block that was put or touched in epoch c may be published while the epoch
 * is at most c + 1; the collector of epoch e trashes what was last touched before e - 1. So nothing
 * that may still be published is trashed: whoever publishes during e names blocks of e - 1 or
 * later, and what was published before e began is in the list of roots, which is made later.
 *
 * A root that is copied names blocks that nobody touched. They live as long as the source names
 * them: so a publish names the sources of what it copied, and is refused if one of them has another
 * root by now.
 *
 * The epoch rises only when no honest writer would be refused for it: every session has told,
 * knowing the present epoch, that it has no unpublished block of an older one, and every chunk
 * server applies it.
 */
#include "metadata-server/step_internal.h"

int ms_collection_load(struct ms_state *state)
{
	struct ms_key key = ms_key_one(MS_KEY_COLLECTION);
	const void *value;
	uint32_t len;
	int rc = ms_txn_get(state->txn, key.bytes, key.len, &value, &len);

	if (rc < 0)
		return rc == -E_NOENT ? -E_CORRUPT : rc;
	return ms_key_collection_decode(value, len, &state->collection);
}

static void collection_put(struct ms_state *state)
{
	struct ms_key key = ms_key_one(MS_KEY_COLLECTION);
	uint8_t value[MS_COLLECTION_VALUE_BYTES];

	ms_key_collection_encode(state->collection, value);
	ms_txn_put(state->txn, key.bytes, key.len, value, sizeof value);
}

void ms_collection_format(struct ms_state *state)
{
	state->collection = 1;
	collection_put(state);
}

uint64_t ms_collection_epoch(const struct ms_state *state)
{
	return state->collection;
}

/* --- publishing ------------------------------------------------------------------------------- */

bool ms_collection_is_old(const struct ms_state *state, const struct root *root, uint64_t epoch)
{
	return root_has_blocks(root) && epoch < state->collection - 1;
}

static bool is_source_alive(struct ms_state *state, const struct ms_source *source)
{
	struct ms_inode inode;

	return ms_inode_get(state->txn, source->ino, &inode) == 0 &&
	       root_equal(&inode.attr.root, &source->root);
}

int ms_collection_check(struct ms_op *op)
{
	const struct ms_request *req = op->req;

	if (ms_collection_is_old(op->state, &req->root, req->collection))
		return -E_OLD_COLLECTION;
	for (uint32_t i = 0; i < req->source_count; i++)
		if (!is_source_alive(op->state, &req->sources[i]))
			return -E_OLD_COLLECTION;
	return 0;
}

/* --- raising ---------------------------------------------------------------------------------- */

void ms_collection_opened(struct ms_state *state, struct ms_session *session)
{
	/* it has no block yet that could be older */
	session->collection_seen = state->collection;
	session->collection_oldest = 0;
}

void ms_collection_renewed(struct ms_session *session, const struct ms_request *req)
{
	session->collection_seen = req->seen_collection;
	session->collection_oldest = req->collection;
}

static bool holds_up(const struct ms_state *state, const struct ms_session *session)
{
	return session->collection_seen < state->collection ||
	       (session->collection_oldest != 0 && session->collection_oldest < state->collection);
}

bool ms_collection_may_rise(const struct ms_state *state, struct ms_collection_wait *why)
{
	const struct ms_session *session, *next;

	*why = (struct ms_collection_wait){ .is_recovering = state->is_recovering };
	if (state->is_recovering)
		return false;
	for (uint32_t i = 0; i < map_server_count(state->map); i++) {
		const struct server_row *row = map_server_at(state->map, i);
		const struct ms_member *m = ms_membership_find(state, row->server);

		if (row->state == SERVER_OUT || row->state == SERVER_REMOVED)
			continue;
		if (!m || m->stats.collection < state->collection) {
			why->server = row->server;
			return false;
		}
	}
	HASH_ITER(hh, state->sessions, session, next) {
		if (!holds_up(state, session))
			continue;
		why->session = session->number;
		return false;
	}
	return true;
}

void ms_collection_raise(struct ms_state *state)
{
	struct ms_collection_wait why;

	if (!ms_collection_may_rise(state, &why))
		return;
	state->collection++;
	collection_put(state);
}
