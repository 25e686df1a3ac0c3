/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which trash a directory belongs to, handed down a tree: a directory whose own row changed has a
 * row here until its directories were told, each of which gets one in turn. Restarts go on where
 * they were. What happens to names meanwhile is right by itself: mkdir and rename go by the parent,
 * whose row was changed before it was walked.
 */
#include <string.h>

#include "metadata-server/step_internal.h"
#include "metadata-server/trash.h"

#define NAMES_PER_TICK 1024u

void ms_trash_name_drop(struct ms_state *state, inode_no dir)
{
	struct ms_key key = ms_key_trash(MS_TRASH_NAME, dir);

	ms_txn_del(state->txn, key.bytes, key.len);
}

static void name_put(struct ms_state *state, inode_no dir, struct ms_name name)
{
	struct ms_key key = ms_key_trash(MS_TRASH_NAME, dir);

	ms_txn_put(state->txn, key.bytes, key.len, name.bytes, name.len);
}

static void walk_put(struct ms_state *state, inode_no dir, uint64_t hash)
{
	struct ms_key key = ms_key_trash(MS_TRASH_WALK, dir);
	uint8_t value[MS_TRASH_WALK_BYTES];

	ms_key_trash_walk_encode(hash, value);
	ms_txn_put(state->txn, key.bytes, key.len, value, sizeof value);
}

void ms_trash_walk_add(struct ms_state *state, inode_no dir)
{
	walk_put(state, dir, 0);
}

void ms_trash_entry_put(struct ms_state *state, inode_no tree, const struct ms_trash_entry *entry)
{
	struct ms_key key = ms_key_trash_entry(tree, entry->time_ns, entry->ino);
	uint8_t value[MS_TRASH_ENTRY_BYTES_MAX];
	size_t len = ms_key_trash_entry_encode(entry, value);

	ms_txn_put(state->txn, key.bytes, key.len, value, (uint32_t)len);
}

void ms_trash_hand_down(struct ms_state *state, struct ms_inode *dir, inode_no trash,
			const struct ms_name *name)
{
	if (trash != dir->trash)
		ms_trash_walk_add(state, dir->attr.ino);
	if (trash == 0 || trash == dir->attr.ino)
		ms_trash_name_drop(state, dir->attr.ino);
	else if (name)
		name_put(state, dir->attr.ino, *name);
	dir->trash = trash;
}

void ms_trash_follow(struct ms_state *state, struct ms_inode *dir, const struct ms_inode *parent,
		     struct ms_name name)
{
	if (!ms_inode_is_dir(dir) || dir->trash == dir->attr.ino || !(dir->trash || parent->trash))
		return;
	ms_trash_hand_down(state, dir, parent->trash, &name);
}

static int tell_child(struct ms_state *state, const struct ms_inode *dir,
		      const struct ms_dir_slot *slot)
{
	struct ms_inode child;
	int rc;

	if (!S_ISDIR(slot->type))
		return 0;
	rc = ms_inode_get(state->txn, slot->ino, &child);
	if (rc < 0 || child.trash == child.attr.ino)
		return rc == -E_STALE ? 0 : rc;
	ms_trash_hand_down(state, &child, dir->trash, &slot->name);
	ms_inode_put(state->txn, &child);
	return 0;
}

/* 1: all below it know; 0: the tick has done its part. */
static int walk_directory(struct ms_state *state, const struct ms_inode *dir, uint64_t hash,
			  uint32_t *looked)
{
	uint8_t bytes[NAME_BYTES_MAX + 1];
	struct ms_name from = { bytes, 0 };
	struct ms_dir_slot slot;
	int rc;

	while ((rc = ms_dir_next(state->txn, dir->attr.ino, hash, from, &slot)) == 0) {
		/* Names of one hash stay together: the row can only name a hash. */
		if (slot.hash != hash && (++*looked > NAMES_PER_TICK ||
					  ms_txn_event_bytes(state->txn) > MS_EVENT_BYTES_SOFT)) {
			walk_put(state, dir->attr.ino, slot.hash);
			return 0;
		}
		memcpy(bytes, slot.name.bytes, slot.name.len);
		bytes[slot.name.len] = 0;
		slot.name.bytes = bytes;
		hash = slot.hash;
		from.len = slot.name.len + 1;
		rc = tell_child(state, dir, &slot);
		if (rc < 0)
			return rc;
	}
	return rc == -E_NOENT ? 1 : rc;
}

void ms_trash_walk_tick(struct ms_state *state)
{
	uint32_t looked = 0;

	for (;;) {
		struct ms_key key = ms_key_trash(MS_TRASH_WALK, 0);
		struct ms_inode dir;
		struct row row;
		struct rd r;
		inode_no ino;
		uint64_t hash;
		int rc = ms_txn_next(state->txn, key.bytes, key.len, &row);

		if (rc < 0 || !ms_key_is(&row, MS_KEY_TRASH, &r) || rd_u8(&r) != MS_TRASH_WALK)
			return;
		if (++looked > NAMES_PER_TICK ||
		    ms_txn_event_bytes(state->txn) > MS_EVENT_BYTES_SOFT)
			break;
		ino = rd_be64(&r);
		if (ms_key_trash_walk_decode(row.value, row.value_len, &hash) < 0)
			return;			/* fsck's */
		rc = ms_inode_get(state->txn, ino, &dir);
		rc = rc < 0 || !ms_inode_is_dir(&dir) ? 1
						      : walk_directory(state, &dir, hash, &looked);
		if (rc < 0)
			return;
		if (rc == 0)
			break;
		key = ms_key_trash(MS_TRASH_WALK, ino);
		ms_txn_del(state->txn, key.bytes, key.len);
	}
	ms_step_emit(state, &(struct ms_effect){ .kind = MS_FX_TICK });
}
