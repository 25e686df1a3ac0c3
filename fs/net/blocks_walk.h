/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Walk the nodes of a manifest by its root, depth first, one fetch at a time: who must know every
 * block of a file (the collector's marks, a client that touches what it names) and has no manifest
 * in memory.
 *
 * Every node is proved by its id and checked against its parent (level, length, data bytes);
 * what does not fit ends the walk with -E_MALFORMED. Memory: one node per level, at most
 * MANIFEST_DEPTH_MAX. Threads: the loop's.
 */
#ifndef CAIRN_FS_NET_BLOCKS_WALK_H
#define CAIRN_FS_NET_BLOCKS_WALK_H

#include "fs/net/blocks.h"
#include "fs/tree/manifest.h"

struct blocks_walk_frame {	/* private */
	struct buf *plain;
	struct node_view view;
	struct block_id id;
	uint32_t next;		/* entry to go on with */
};

/* Zero it, fill root .. user; it lives until done(), or blocks_walk_cancel(). */
struct blocks_walk {
	struct root root;	/* of kind ROOT_NODE */
	uint32_t node_ms;	/* deadline of each fetch */
	/* Is this subtree to be walked? NULL: all are. */
	bool (*wants)(struct blocks_walk *walk, const struct block_id *id);
	/*
	 * A node, before what is below it. 0: go on; 1: blocks_walk_resume() will be called, not
	 * from in here; an error ends the walk with it.
	 */
	int (*node)(struct blocks_walk *walk, const struct block_id *id,
		    const struct node_view *view);
	/* all below it was walked; or NULL */
	void (*left)(struct blocks_walk *walk, const struct block_id *id);
	void (*done)(struct blocks_walk *walk);
	int rc;			/* 0; as of a get; -E_MALFORMED; or what node() said */
	void *user;

	struct blocks *blocks;	/* private from here */
	struct loop *loop;
	struct blocks_get get;
	struct loop_timer turn;
	struct blocks_walk_frame frames[MANIFEST_DEPTH_MAX];
	uint32_t depth;		/* frames in use */
	struct node_entry want;
	uint8_t want_level;
};

/* Begins in a later turn of the loop. */
void blocks_walk_start(struct blocks *b, struct loop *loop, struct blocks_walk *walk);
void blocks_walk_resume(struct blocks_walk *walk);
void blocks_walk_cancel(struct blocks_walk *walk);	/* no done(); zeroed or ended is allowed */

#endif
