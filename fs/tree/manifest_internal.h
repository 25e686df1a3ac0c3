/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private to manifest*.c and node_view.c: nodes in memory.
 *
 * Invariants, between public calls:
 *  - every node at level L > 0 has only children of level L - 1; entry.length and entry.data are
 *    the sums below;
 *  - a dirty node's ancestors are dirty; an entry's id is right unless its child is dirty;
 *  - clean nodes that can be fetched again are on the LRU list, a parent always behind (used later
 *    than) its children, so the first of the list never has a child in memory;
 *  - nodes have 1 .. node_entries_max(level) entries.
 */
#ifndef CAIRN_FS_TREE_MANIFEST_INTERNAL_H
#define CAIRN_FS_TREE_MANIFEST_INTERNAL_H

#include "fs/tree/manifest.h"

#define NODE_MAGIC   0x4d4e5243u	/* "CRNM" */
#define NODE_VERSION 1u

struct node;

struct entry {
	uint64_t length;
	uint64_t data;		/* of it, what is no hole */
	struct block_id id;
	struct node *child;	/* NULL: not in memory, or the entry of a leaf */
};

struct node {
	struct node *prev, *next;	/* LRU, or a list of spares */
	struct node *parent;		/* NULL: the top */
	struct entry *entries;
	uint32_t count;
	uint32_t capacity;
	uint64_t bytes, data;		/* sums of the entries */
	uint64_t serial;		/* of the operation that used it last */
	uint8_t level;
	bool is_dirty;
	bool is_cached;			/* clean and on the LRU list */
};

struct manifest {
	enum hash_kind hash;
	uint32_t nodes_max;
	struct root root;		/* as opened or sealed; stale while is_dirty */
	struct entry top;
	uint8_t depth;			/* levels; 0: no content */
	bool is_dirty;
	bool is_needing;		/* need_*: what the last -E_NEED_NODE asked for */
	struct node *need_parent;	/* NULL: the top itself */
	uint32_t need_index;
	struct block_id need_id;
	struct node *lru;		/* least recently used first */
	uint32_t clean_count;		/* nodes on the LRU list */
	uint32_t dirty_count;
	/* one up when an operation ends other than by -E_NEED_NODE */
	uint64_t serial;
};

static inline uint32_t node_entries_max(uint8_t level)
{
	return level == 0 ? NODE_ENTRIES_MAX : NODE_CHILDREN_MAX;
}

static inline bool entry_is_hole(const struct entry *e)
{
	return e->child == NULL && block_id_is_zero(&e->id);
}

/* A clean, empty node with room for `capacity` entries; NULL: out of memory. */
struct node *manifest_node_create(uint8_t level, uint32_t capacity);
must_check bool manifest_node_reserve(struct node *node, uint32_t capacity);
/* Forget one node, wherever it is listed; its children are not followed. NULL is allowed. */
void manifest_node_free(struct manifest *m, struct node *node);
/* Forget an entry's child and all below it. */
void manifest_entry_drop(struct manifest *m, struct entry *entry);
void manifest_node_dirty(struct manifest *m, struct node *node);
void manifest_node_clean(struct manifest *m, struct node *node);	/* most recently used */
/* Neither dirty nor evictable: the one leaf of a root that names a block is no block itself. */
void manifest_node_keep(struct manifest *m, struct node *node);
/* The child of parent's entry, or the top (parent NULL). -E_NEED_NODE. */
must_check int manifest_load(struct manifest *m, struct node *parent, uint32_t index,
			     struct node **out);
/* A node was used: it and its ancestors become the most recent ones. */
void manifest_touch(struct manifest *m, struct node *node);
/* End of a public operation: evict down to nodes_max, unless it will be tried again. Returns rc. */
int manifest_end(struct manifest *m, int rc);
/* lookup without the end of the operation, for operations that look first. */
must_check int manifest_find(struct manifest *m, uint64_t offset, struct extent *out);
/* While the top is an inner node with one child, that child is the top. */
void manifest_collapse(struct manifest *m);

#endif
