/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Trash of directory trees: see trash.c. Pure: rows through the overlay. One thread.
 */
#ifndef CAIRN_METADATA_SERVER_TRASH_H
#define CAIRN_METADATA_SERVER_TRASH_H

#include "metadata-server/inode.h"

struct ms_op;
struct ms_state;

#define MS_TRASH_PAGE	32u	/* entries of an answer; their paths share MS_TRASH_PATH_MAX */

/* -E_NOENT: this directory has none. */
must_check int ms_trash_get(struct ms_txn *txn, inode_no tree, struct ms_trash *out);
must_check int ms_trash_load(struct ms_state *state);
void ms_trash_tick(struct ms_state *state);

/*
 * A name of `dir` went, which `victim` had: it ends in the trash, or as ms_orphan_unlinked() has
 * it.
 */
void ms_trash_unlinked(struct ms_op *op, const struct ms_inode *dir, struct ms_name name,
		       struct ms_inode *victim);

/* TRASH and TRASH_LIST: handlers (step_internal.h). */
int ms_trash_change(struct ms_op *op);
int ms_trash_list(struct ms_op *op);

/* trash_walk.c */
/*
 * This directory lies in `trash` (0: in none) from now on, under `name` (NULL: what it had, or the
 * tree itself); what is below follows by ticks. The caller stores it.
 */
void ms_trash_hand_down(struct ms_state *state, struct ms_inode *dir, inode_no trash,
			const struct ms_name *name);
/* The same for a directory that is made, moved or shown in `parent`. One with a trash keeps it. */
void ms_trash_follow(struct ms_state *state, struct ms_inode *dir, const struct ms_inode *parent,
		     struct ms_name name);
void ms_trash_walk_add(struct ms_state *state, inode_no dir);
void ms_trash_walk_tick(struct ms_state *state);
void ms_trash_name_drop(struct ms_state *state, inode_no dir);
void ms_trash_entry_put(struct ms_state *state, inode_no tree, const struct ms_trash_entry *entry);

#endif
