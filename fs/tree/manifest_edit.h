/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private to manifest_edit.c and manifest_replace.c: one edit of the tree, as paths to both ends of
 * what goes and the entries that come. manifest_replace.c finds the paths (the only part that may
 * need nodes); manifest_edit.c plans and applies, the same for every kind of edit.
 */
#ifndef CAIRN_FS_TREE_MANIFEST_EDIT_H
#define CAIRN_FS_TREE_MANIFEST_EDIT_H

#include "fs/tree/manifest_internal.h"

/* For each level of the tree, from 0: a node, and an index among its entries. */
struct path {
	struct node *node[MANIFEST_DEPTH_MAX];
	uint32_t index[MANIFEST_DEPTH_MAX];
};

struct edit {
	struct manifest *m;
	struct path left;	/* index: first entry that goes, or holds what goes */
	struct path right;	/* index: first entry behind it that stays */
	bool at_end;		/* of the file: split full-left */
	struct entry *items;	/* what comes between, at the level being worked on */
	uint32_t item_count;
	uint32_t item_capacity;
	struct entry *sequence;	/* room for the longest sequence that is spread over nodes anew */
	struct node *spares;
};

/*
 * Put e->items between the paths at `level`. -E_NOMEM and -E_FBIG (too deep) change nothing. Frees
 * what the edit holds, whatever it returns.
 */
must_check int manifest_edit_run(struct edit *e, uint8_t level);
void manifest_edit_release(struct edit *e);
/* A node's entries become these; it has room for them. */
void manifest_node_fill(struct node *node, const struct entry *entries, uint32_t count);
/* The entry that names a dirty node in its parent. */
struct entry manifest_node_entry(struct node *node);

#endif
