/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Filling the tiers: whole files come in pieces of TIER_PIECE_BYTES through the block cache, one
 * fetch each however many want it. What readers wait for goes first, then fills in order of why,
 * then of age; bytes and pieces in flight are bounded (I11), and few fills have begun at a time,
 * since each has its room in a tier from its begin. A fill goes by root and length: it needs no
 * open file.
 *
 * Blocks are proved by SHA-256 before they enter a tier. A file is sealed when readers who miss
 * have been quiet for a moment, for its sync competes with them; at once if somebody waits for it.
 *
 * Loop's thread. No done() runs inside the call that caused it.
 */
#ifndef CAIRN_CLIENT_CORE_FILL_H
#define CAIRN_CLIENT_CORE_FILL_H

#include "client/core/core.h"
#include "client/tier/tier.h"

/* In order of urgency. */
enum cl_fill_why {
	CL_FILL_TOUCH = 1,	/* readers asked for more than CL_FILL_TOUCH_BYTES of it */
	CL_FILL_WARM,		/* `cairn warm`, pins, the policy of its directory */
	CL_FILL_WISH,		/* `cairn warm` of who is neither root nor the owner */
	CL_FILL_SIBLING,	/* another shard of a model that was touched */
	CL_FILL_GUESS,		/* the predictor, when the node is idle */
};
#define CL_FILL_TOUCH_BYTES MiB(2)
#define CL_FILLS_MAX	    4096u	/* on their way, begun or not */
#define CL_FILLS_KEPT	    1024u	/* of these, for readers and their siblings */

struct cl_fill;

/* Who waits for the end of a fill. Zero it, fill done and arg. */
struct cl_fill_wait {
	/* 0: sealed; -E_NOSPC, -E_NODEV: no tier takes it; -E_CANCELED; or why it cannot be read */
	void (*done)(struct cl_fill_wait *wait, int rc);
	void *arg;
	struct cl_fill_wait **list;		/* where it waits; NULL: it does not */
	struct cl_fill_wait *prev, *next;
};

/*
 * Fill `root` (of a regular file, kind block or node), unless it is here or on its way; `wait` may
 * be NULL. A more urgent `why` raises one that is under way. 0; 1: it is sealed already (wait is
 * not told); -E_NODEV: no tiers; -E_OVERLOADED: too many; -E_INVAL: such a root has no blocks;
 * -E_NOMEM.
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
/* Can this content be in a tier: does it name blocks, and is it large enough? */
bool cl_fill_may(const struct client *c, const struct root *root);
/* All fills, most urgent first; fn returns false to stop. */
void cl_fill_list(const struct client *c, bool (*fn)(void *arg, const struct cl_fill_info *info),
		  void *arg);
/* The fill of this content; false: there is none. */
bool cl_fill_find(const struct client *c, const struct root *root, struct cl_fill_info *out);

/* Why its last fill failed, if that is not long ago; 0: it did not. */
int cl_fill_failed(const struct client *c, const struct root *root);

/* --- for client/core -------------------------------------------------------------------------- */

must_check int cl_fill_init(struct client *c);
/* Nothing begins any more; who waits is told -E_CANCELED. */
void cl_fill_stop(struct client *c);
void cl_fill_finish(struct client *c);
/* A reader found [offset, offset + len) of it missing in the tiers. */
void cl_fill_missed(struct client *c, const struct root *root, uint64_t offset, uint64_t len);
/* Of this why, and nobody waits: it may end early. */
bool cl_fill_is_of(const struct client *c, const struct root *root, enum cl_fill_why why);
/* The file in which it fills, without a reference; NULL: it does not, or has not begun. */
struct tier_file *cl_fill_file(const struct client *c, const struct root *root);
/* Content has another root now; its file in a tier knows it already (tiers_recut). */
void cl_fill_recut(struct client *c, const struct root *of, const struct root *root);
/* Go on with an adopted draft, whose reference is taken; what it lacks is fetched. */
void cl_fill_adopt(struct client *c, struct tier_file *file);

#endif
