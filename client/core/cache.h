/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decoded blocks by id: bounded, least recently used go first, one fetch per block however many
 * wait. Blocks are immutable (I1), so nothing here ever expires. Loop's thread.
 */
#ifndef CAIRN_CLIENT_CORE_CACHE_H
#define CAIRN_CLIENT_CORE_CACHE_H

#include "client/core/core.h"

/* One who waits for a block. Zero it, fill done and arg. */
struct cl_fetch {
	void (*done)(struct cl_fetch *fetch);
	void *arg;
	int rc;
	struct buf *buf;		/* a reference for the waiter */
	uint64_t run;			/* as of a blocks_get; cl_cache_run() */
	/* nobody needs the block after this one: give it up, unless others wait for it as well */
	bool is_last;
	bool is_patient;		/* behind everyone who is not */
	/* it waits for a mount's deadline at least; servers may come back */
	uint64_t since_ns;
	uint32_t len;			/* private; what it expects, 0: any */
	struct cl_block *block;		/* private */
	struct cl_fetch **list;		/* where it waits; NULL: it does not */
	struct cl_fetch *prev, *next;
};

/* The block if it is here (a reference), else NULL. */
struct buf *cl_cache_find(struct client *c, const struct block_id *id);
/*
 * 1: it is here, fetch->buf is set; 0: fetch->done() will run; -E_NOMEM. len 0: any length (nodes).
 */
must_check int cl_cache_fetch(struct client *c, const struct block_id *id, uint32_t len,
			      struct cl_fetch *fetch);
/* Is it here, or on its way? */
bool cl_cache_knows(struct client *c, const struct block_id *id);
void cl_cache_cancel(struct client *c, struct cl_fetch *fetch);
/* read-ahead, if there is room */
void cl_cache_hint(struct client *c, const struct block_id *id, uint32_t len, uint64_t run);
/*
 * The run to which a place in a file belongs. Writers keep several mebibytes in flight, in any
 * order: what lies together on a server is found together if runs are longer than that.
 */
#define CL_RUN_BYTES MiB(4)
static inline uint64_t cl_cache_run(inode_no ino, uint64_t offset)
{
	return 1 + ino + offset / CL_RUN_BYTES;
}
/* just written */
void cl_cache_add(struct client *c, const struct block_id *id, struct buf *buf);
void cl_cache_shrink(struct client *c, uint64_t bytes);		/* give memory to a writer */
void cl_cache_finish(struct client *c);

#endif
