/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Filling the tiers: whole files come in pieces of TIER_PIECE_BYTES through the block cache, one
 * fetch each however many want it. What readers wait for goes first, then fills in order of why;
 * bytes and pieces in flight are bounded (I11). A fill goes by root and length: it needs no open
 * file, and content that a later version replaced is still filled to the end if somebody has it
 * open, else dropped.
 *
 * Blocks are proved by SHA-256 before they enter a tier.
 */
#ifndef CAIRN_CLIENT_CORE_FILL_H
#define CAIRN_CLIENT_CORE_FILL_H

#include "client/core/core.h"
#include "client/tier/tier.h"

/* In order of urgency. */
enum cl_fill_why {
	CL_FILL_TOUCH = 1,	/* readers asked for more than CL_FILL_TOUCH_BYTES of it */
	CL_FILL_WARM,		/* `cairn warm`, pins, the policy of its directory */
	CL_FILL_SIBLING,	/* another shard of a model that was touched */
	CL_FILL_GUESS,		/* the predictor, when the node is idle */
};
#define CL_FILL_TOUCH_BYTES MiB(2)

struct cl_fill;

/* Who waits for the end of a fill. Zero it, fill done and arg. */
struct cl_fill_wait {
	/* 0: sealed; -E_NOSPC, -E_NODEV: no tier takes it; -E_CANCELED; or why it cannot be read */
	void (*done)(struct cl_fill_wait *wait, int rc);
	void *arg;
	struct cl_fill *fill;			/* private */
	struct cl_fill_wait *prev, *next;
};

/*
 * Fill `root` (of a regular file, kind block or node, of at least tier_min_bytes), unless it is
 * here or on its way; `wait` may be NULL. A more urgent `why` raises one that is under way. 0;
 * 1: it is sealed already (wait is not told); or an error.
 */
must_check int cl_fill_start(struct client *c, const struct root *root, enum cl_fill_why why,
			     struct cl_fill_wait *wait);
void cl_fill_cancel_wait(struct cl_fill_wait *wait);
/* Stop one that nobody waits for; readers go on from the cluster. */
void cl_fill_cancel(struct client *c, const struct root *root);

struct cl_fill_info {
	struct root root;
	enum cl_fill_why why;
	uint64_t bytes, done_bytes;
};
/* All fills, most urgent first; fn returns false to stop. */
void cl_fill_list(const struct client *c, bool (*fn)(void *arg, const struct cl_fill_info *info),
		  void *arg);
void cl_fill_finish(struct client *c);

#endif
