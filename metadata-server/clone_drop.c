/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of a clone that is not to be: what was made for it goes, a bounded piece with each tick.
 * A directory that is being emptied has a row, so that it is known however deep it hung: first the
 * rows of the copying go, then directory after directory.
 */
#include "metadata-server/step_internal.h"

#include <string.h>

#define PIECE_ROWS 256u

void ms_clone_drop(struct ms_clone *c)
{
	struct ms_inode head;

	c->value.state = MS_CLONE_GOING;
	if (ms_inode_get(c->state->txn, c->ino, &head) < 0)
		return;
	if (ms_inode_is_dir(&head))
		ms_clone_work_put(c, &(struct ms_clone_work){ .kind = MS_CLONE_EMPTY,
							      .ino = c->ino });
	else
		ms_orphan_unlinked(c->state, &head);
}

static bool is_enough(struct ms_clone *c)
{
	return ++c->looked > PIECE_ROWS || ms_txn_event_bytes(c->state->txn) > MS_EVENT_BYTES_SOFT;
}

/* One name less. A directory then hangs from its row. */
static int remove_name(struct ms_clone *c, struct ms_inode *dir, const struct ms_dir_slot *slot)
{
	struct ms_inode inode;
	int rc = ms_inode_get(c->state->txn, slot->ino, &inode);

	if (rc < 0)
		return rc;
	ms_dir_del(c->state->txn, slot);
	if (ms_inode_is_dir(&inode)) {
		dir->attr.nlink--;
		ms_clone_work_put(c, &(struct ms_clone_work){ .kind = MS_CLONE_EMPTY,
							      .ino = slot->ino });
	} else {
		ms_orphan_unlinked(c->state, &inode);
	}
	return 0;
}

/* 1: it is empty and gone; 0: the piece is done. */
static int empty_directory(struct ms_clone *c, inode_no ino)
{
	uint8_t bytes[NAME_BYTES_MAX];
	struct ms_dir_slot slot = { .hash = 0 };
	struct ms_name none = { bytes, 0 };
	struct ms_inode dir;
	int rc = ms_inode_get(c->state->txn, ino, &dir);

	if (rc < 0)
		return rc == -E_STALE ? 1 : rc;
	while (!is_enough(c)) {
		/* Behind the last name; of one hash there may be more. */
		rc = ms_dir_next(c->state->txn, ino, slot.hash, none, &slot);
		if (rc == -E_NOENT) {
			ms_orphan_unlinked(c->state, &dir);
			return 1;
		}
		if (rc == 0) {
			memcpy(bytes, slot.name.bytes, slot.name.len);
			slot.name.bytes = bytes;
			rc = remove_name(c, &dir, &slot);
		}
		if (rc < 0)
			return rc;
	}
	ms_inode_put(c->state->txn, &dir);
	return 0;
}

int ms_clone_drop_piece(struct ms_clone *c)
{
	struct ms_clone_work at = { .kind = MS_CLONE_XATTRS }, work;

	while (!is_enough(c)) {
		int rc = ms_clone_work_next(c, at.kind, at.ino, &work);

		if (rc == -E_NOENT && at.ino != 0 && at.kind == MS_CLONE_EMPTY) {
			at = (struct ms_clone_work){ .kind = MS_CLONE_EMPTY };	/* from the start */
			continue;
		}
		if (rc < 0)
			return rc == -E_NOENT ? 1 : rc;
		rc = work.kind == MS_CLONE_EMPTY ? empty_directory(c, work.ino) : 1;
		if (rc != 1)
			return rc;
		ms_clone_work_del(c, &work);
		at.kind = work.kind;
		at.ino = work.ino + 1;
	}
	return 0;
}
