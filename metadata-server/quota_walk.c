/* SPDX-License-Identifier: Apache-2.0 */
/*
 * After a quota came or went: every inode gets the tag of its directory, and its charge moves.
 *
 * A row names a directory whose entries are still to be looked at, and how far that came. The tag
 * of a directory changes before its row is put, so what is made in it meanwhile is right already; a
 * directory that gets another tag gets a row of its own. So any crash goes on where it was, and a
 * piece done twice changes nothing. Meanwhile renames and links take the tag of where they go
 * (ms_quota_follow), which keeps what was moved behind the walk from being missed.
 */
#include "metadata-server/step_internal.h"

#include <string.h>

#define ENTRIES_PER_TICK 256u

void ms_quota_walk_add(struct ms_state *state, inode_no dir)
{
	struct ms_key key = ms_key_number(MS_KEY_QUOTA_WALK, dir);
	uint8_t value[MS_QUOTA_WALK_BYTES];

	ms_key_quota_walk_encode(0, value);
	ms_txn_put(state->txn, key.bytes, key.len, value, sizeof value);
	state->quota_walks = true;
}

void ms_quota_hang(struct ms_state *state, inode_no dir, inode_no quota)
{
	struct ms_quota q;

	if (ms_quota_get(state->txn, dir, &q) < 0 || q.parent == quota)
		return;
	struct ms_usage all = { .bytes = (int64_t)q.bytes, .files = (int64_t)q.files };
	inode_no from = q.parent;
	q.parent = quota;
	ms_quota_put(state, dir, &q);
	ms_quota_move(state, from, quota, all);
	ms_quota_rooms_again(state);
}

bool ms_quota_follow(struct ms_state *state, struct ms_inode *inode, inode_no quota)
{
	if (inode->attr.quota && inode->attr.quota == inode->attr.ino) {
		ms_quota_dir_back(state, inode);
		ms_quota_hang(state, inode->attr.ino, quota);
		return false;
	}
	if (inode->attr.quota == quota)
		return false;
	ms_quota_move(state, inode->attr.quota, quota, ms_quota_usage(inode));
	inode->attr.quota = quota;
	if (ms_inode_is_dir(inode))
		ms_quota_walk_add(state, inode->attr.ino);
	return true;
}

/* Some entries of `dir` from *hash on; true: it has no more. */
static bool walk_entries(struct ms_state *state, const struct ms_inode *dir, uint64_t *hash,
			 uint32_t *left)
{
	uint8_t at_bytes[NAME_BYTES_MAX + 1];
	struct ms_name at = { at_bytes, 0 };
	struct ms_dir_slot slot;

	while (ms_dir_next(state->txn, dir->attr.ino, *hash, at, &slot) == 0) {
		struct ms_inode inode;

		/* names of one hash are looked at together, so that the hash is place enough */
		if (slot.hash != *hash && (*left == 0 || ms_txn_event_bytes(state->txn) >
								 MS_EVENT_BYTES_SOFT)) {
			*hash = slot.hash;
			return false;
		}
		*left -= MIN_OF(*left, 1u);
		*hash = slot.hash;
		memcpy(at_bytes, slot.name.bytes, slot.name.len);
		at_bytes[slot.name.len] = 0;	/* the smallest name behind it */
		at.len = slot.name.len + 1;
		if (ms_inode_get(state->txn, slot.ino, &inode) == 0 &&
		    ms_quota_follow(state, &inode, dir->attr.quota))
			ms_inode_put(state->txn, &inode);
	}
	return true;
}

/* One piece of the first directory; false: there is none. */
static bool walk_one(struct ms_state *state, uint32_t *left)
{
	struct ms_key key = ms_key_number(MS_KEY_QUOTA_WALK, 0);
	uint8_t value[MS_QUOTA_WALK_BYTES];
	struct ms_inode dir;
	uint64_t hash;
	struct row row;
	struct rd r;

	if (ms_txn_next(state->txn, key.bytes, key.len, &row) < 0 ||
	    !ms_key_is(&row, MS_KEY_QUOTA_WALK, &r))
		return false;
	inode_no ino = rd_be64(&r);
	if (ms_key_quota_walk_decode(row.value, row.value_len, &hash) < 0)
		hash = 0;
	key = ms_key_number(MS_KEY_QUOTA_WALK, ino);
	if (ms_inode_get(state->txn, ino, &dir) < 0 || walk_entries(state, &dir, &hash, left)) {
		ms_txn_del(state->txn, key.bytes, key.len);
		return true;
	}
	ms_key_quota_walk_encode(hash, value);
	ms_txn_put(state->txn, key.bytes, key.len, value, sizeof value);
	return true;
}

void ms_quota_load(struct ms_state *state)
{
	state->quota_walks = true;	/* the first tick knows better */
}

void ms_quota_tick(struct ms_state *state)
{
	uint32_t left = ENTRIES_PER_TICK;

	if (!state->quota_walks || state->is_recovering)
		return;
	while (left > 0 && ms_txn_event_bytes(state->txn) <= MS_EVENT_BYTES_SOFT) {
		if (!walk_one(state, &left)) {
			state->quota_walks = false;
			return;
		}
		left -= MIN_OF(left, 1u);
	}
	ms_step_emit(state, &(struct ms_effect){ .kind = MS_FX_TICK });
}
