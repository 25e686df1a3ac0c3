/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A recut: the same bytes under another root, cut at other places (client/core/seal.h). The version
 * rises, so that whoever builds on the old root is refused (I13); times, size, set-id bits and
 * charges stay. The row keeps the old root until new content comes: who has something under that
 * name learns that it is the same.
 *
 * It loses to every writer: where another client writes, or waits, it is refused, and recalls
 * nobody. Readers keep their leases, since what they read is what it was; they are told that their
 * attributes are old, and ask again. One who was not reached goes on by the old root, asks again
 * when a block of it was collected, and finds the new one.
 */
#include "metadata-server/step_internal.h"

static int check(struct ms_op *op, const struct ms_inode *inode)
{
	const struct ms_request *req = op->req;

	if (req->mask || req->kill_priv || req->bulk_len ||
	    !root_is_recut(&req->recut_of, &req->root))
		return -E_INVAL;
	if (ms_lease_is_contended(op->state, op->session, inode->attr.ino))
		return -E_BUSY;
	if (inode->attr.version != req->base_version ||
	    !root_equal(&inode->attr.root, &req->recut_of))
		return -E_STALE_VERSION;
	return ms_collection_check(op);
}

int ms_recut(struct ms_op *op, struct ms_inode *inode)
{
	struct ms_state *state = op->state;
	struct ms_attr *attr = &inode->attr;
	uint64_t size = attr->size;	/* may be larger than the root: a hole at the end */
	int rc = check(op, inode);

	op->effect.reply.attr = *attr;
	if (rc < 0)
		return rc;
	ms_publish_content(state, inode, &op->req->root, NULL);
	attr->size = size;
	attr->recut_of = op->req->recut_of;
	attr->version++;
	ms_inode_put(state->txn, inode);
	state->counters.flags |= MS_COUNTERS_PUBLISHED;
	ms_step_counters_put(state);
	ms_space_settle(state, op->session, op->req->new_bytes);
	ms_lease_outdate(state, op->session, attr->ino);
	op->effect.reply.attr = *attr;
	return 0;
}
