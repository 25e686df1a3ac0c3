/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Content of inodes that lies in the tiers: who may use it, reads from there, what makes it fill,
 * and who must hear that an inode of this node changes. Content is named by its root, so what a
 * tier holds never is stale; which root an inode has now is known under its lease, or at a read
 * that asked for it.
 *
 * A file in use keeps a reference to its content in a tier, so that it is not evicted meanwhile.
 * Loop's thread.
 */
#ifndef CAIRN_CLIENT_CORE_TIERED_H
#define CAIRN_CLIENT_CORE_TIERED_H

#include "client/core/file.h"
#include "client/tier/tier.h"

/* The root that this inode's content has now, if it can be in a tier; NULL. */
const struct root *cl_tiered_root(struct client *c, const struct cl_node *node);

/*
 * The metadata server says that the content of this inode, which had the root `of`, has another
 * since, with the same bytes: whatever this node holds of it goes by that name from now on.
 */
void cl_tiered_recut(struct client *c, struct cl_node *node, const struct root *of,
		     const struct root *root);

/* --- reads ------------------------------------------------------------------------------------ */

#define CL_TIERED_READ_BYTES MiB(1)
#define CL_TIERED_BUFS	     (CL_TIERED_READ_BYTES / BLOCK_BYTES_MAX)

/* One read on its way; it lives by itself, since a worker may have it when nobody wants it. */
struct cl_tiered_read {
	/* NULL: given up. 0, or an error: ask the cluster. Freed by cl_tiered_read_end(). */
	void (*done)(struct cl_tiered_read *tr, int rc);
	void *arg;
	struct client *client;
	struct tier_io io;
	struct iovec iov[CL_TIERED_BUFS];
	struct buf *bufs[CL_TIERED_BUFS];	/* the bytes, iov[i].iov_len in each */
	uint32_t buf_count;
	bool is_away;
};
/*
 * Read from a tier what loaded content has at [offset, offset + len): begun, done() will run; NULL:
 * it is not there, or no memory is; the cluster has it. Also notes that it was asked for.
 */
struct cl_tiered_read *cl_tiered_read_start(struct cl_file *file, uint64_t offset, uint64_t len);
/* After done(), or to give it up. */
void cl_tiered_read_end(struct cl_tiered_read *tr);

/* --- the life of a file in use ---------------------------------------------------------------- */

/* Its content is another now, or nobody uses it any more. */
void cl_tiered_forget(struct cl_file *file);
/* What its folders say about caching is known. */
void cl_tiered_policy(struct cl_file *file);
/* The last handle was closed. */
void cl_tiered_closed(struct cl_file *file);
/* An edit ended, or was given up halfway: op->progress of it is in the content. */
void cl_tiered_edited(const struct cl_op *op);

#endif
