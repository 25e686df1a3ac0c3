/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of an inode. When its last name goes while sessions have it open, orphan rows name them;
 * the last close, or the end of the last such session, frees it.
 *
 * A session that ends may leave many orphans: the tick finds them, a bounded piece at a time.
 */
#include "metadata-server/step_internal.h"

#define SWEEP_ROWS_PER_TICK 256u

static void free_inode(struct ms_state *state, const struct ms_inode *inode)
{
	inode_no ino = inode->attr.ino;
	struct ms_key key = ms_key_number(MS_KEY_INODE, ino);

	ms_txn_del(state->txn, key.bytes, key.len);
	key = ms_key_number(MS_KEY_BYTES, ino);
	if (inode->attr.root.kind == ROOT_INLINE || S_ISLNK(inode->attr.mode))
		ms_txn_del(state->txn, key.bytes, key.len);
	key = ms_key_number(MS_KEY_MOVE, ino);
	if (inode->attr.root.kind == ROOT_INLINE && inode->attr.root.length > INLINE_KEEP_BYTES_MAX)
		ms_txn_del(state->txn, key.bytes, key.len);
	if (inode->attr.flags & MS_INODE_FLAG_XATTRS)
		ms_xattr_drop_all(state, ino);
	if (ms_inode_is_dir(inode))
		state->counters.directories--;
	else
		state->counters.files--;
	if (ms_inode_is_file(inode))
		state->counters.bytes_logical -= inode->attr.size;
	ms_step_counters_put(state);
	struct ms_usage held = ms_quota_usage(inode);
	ms_quota_charge(state, inode->attr.quota, (struct ms_usage){ -held.bytes, -held.files });
}

void ms_orphan_opened(struct ms_state *state, const struct ms_session *session, inode_no ino)
{
	struct ms_key key = ms_key_orphan(ino, session->number);

	ms_txn_put(state->txn, key.bytes, key.len, "", 0);
}

void ms_orphan_end(struct ms_state *state, struct ms_inode *inode)
{
	const struct ms_node *node = ms_lease_node(state, inode->attr.ino, 0);
	const struct ms_claim *claim;
	bool is_open = false;

	if (node) {
		DL_FOREACH(node->claims, claim) {
			if (!claim->opens)
				continue;
			ms_orphan_opened(state, claim->session, inode->attr.ino);
			is_open = true;
		}
	}
	if (is_open)
		ms_inode_put(state->txn, inode);
	else
		free_inode(state, inode);
}

/* One name less. An empty directory loses "." with its name. Stores the inode, or frees it. */
void ms_orphan_unlinked(struct ms_state *state, struct ms_inode *inode)
{
	inode->attr.nlink = ms_inode_is_dir(inode) ? 0 : inode->attr.nlink - 1;
	if (ms_inode_is_dir(inode))
		ms_quota_dir_gone(state, inode);
	if (inode->attr.nlink)
		ms_inode_put(state->txn, inode);
	else
		ms_orphan_end(state, inode);
}

/* Free the inode if no orphan row names it any more. */
static void free_if_last(struct ms_state *state, inode_no ino)
{
	struct ms_key from = ms_key_orphan(ino, 0);
	struct ms_inode inode;
	struct row row;
	struct rd r;

	if (ms_txn_next(state->txn, from.bytes, from.len, &row) == 0 &&
	    ms_key_is(&row, MS_KEY_ORPHAN, &r) && rd_be64(&r) == ino)
		return;
	if (ms_inode_get(state->txn, ino, &inode) == 0 && inode.attr.nlink == 0 && !inode.trash)
		free_inode(state, &inode);
}

void ms_orphan_closed(struct ms_state *state, const struct ms_session *session, inode_no ino)
{
	struct ms_key key = ms_key_orphan(ino, session->number);
	const void *value;
	uint32_t len;

	if (ms_txn_get(state->txn, key.bytes, key.len, &value, &len) < 0)
		return;
	ms_txn_del(state->txn, key.bytes, key.len);
	free_if_last(state, ino);
}

void ms_orphan_linked(struct ms_state *state, inode_no ino)
{
	struct ms_key key = ms_key_orphan(ino, 0);
	struct row row;
	struct rd r;

	while (ms_txn_next(state->txn, key.bytes, key.len, &row) == 0 &&
	       ms_key_is(&row, MS_KEY_ORPHAN, &r) && rd_be64(&r) == ino) {
		key = ms_key_orphan(ino, rd_be64(&r));
		ms_txn_del(state->txn, key.bytes, key.len);
	}
}

static bool is_still_open(struct ms_state *state, inode_no ino, session_no number)
{
	const struct ms_session *session = ms_session_find(state, number);
	const struct ms_claim *claim = session ? ms_lease_find(state, session, ino, 0) : NULL;

	return claim && claim->opens;
}

static bool is_enough(const struct ms_state *state, uint32_t seen)
{
	return seen == SWEEP_ROWS_PER_TICK || ms_txn_event_bytes(state->txn) > MS_EVENT_BYTES_SOFT;
}

/*
 * Drop the orphan rows whose session has gone or forgot; state->sweep stays set until all were
 * seen.
 */
void ms_orphan_tick(struct ms_state *state)
{
	struct row row;
	struct rd r;

	if (!state->sweep || state->is_recovering)
		return;
	for (uint32_t seen = 0;; seen++) {
		struct ms_key key = ms_key_orphan(state->sweep_ino, state->sweep_session);

		if (ms_txn_next(state->txn, key.bytes, key.len, &row) < 0 ||
		    !ms_key_is(&row, MS_KEY_ORPHAN, &r))
			break;
		if (is_enough(state, seen)) {
			ms_step_emit(state, &(struct ms_effect){ .kind = MS_FX_TICK });
			return;
		}
		state->sweep_ino = rd_be64(&r);
		state->sweep_session = rd_be64(&r);
		if (!is_still_open(state, state->sweep_ino, state->sweep_session)) {
			key = ms_key_orphan(state->sweep_ino, state->sweep_session);
			ms_txn_del(state->txn, key.bytes, key.len);
			free_if_last(state, state->sweep_ino);
		}
		if (++state->sweep_session == 0)
			state->sweep_ino++;
	}
	state->sweep = false;
	state->sweep_ino = 0;
	state->sweep_session = 0;
}
