/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening and releasing. Opens are counted per session and inode in memory and reclaimed after a
 * restart; they matter to two questions: may an inode without names be freed, and may a writer have
 * it for itself.
 *
 * A writer gets a write lease if no other session has the inode open. Else all share: no write
 * lease, each write is published before it returns, and each publish recalls the readers.
 *
 * Clients release in batches, some time after the last close. A recall makes them do it at once; so
 * a writer first has all leases recalled, and only then is it seen who has the inode open.
 */
#include "metadata-server/step_internal.h"

int ms_open_inode(struct ms_op *op, struct ms_inode *inode, bool write)
{
	inode_no ino = inode->attr.ino;
	bool alone;
	int rc;

	ms_lease_want(op, ino, 0, write ? MS_LEASE_WRITE : MS_LEASE_READ);
	if (ms_lease_is_blocked(op))
		return MS_OP_PARKED;
	alone = write && !ms_lease_is_open_elsewhere(op->state, op->session, ino);
	rc = ms_attr_reply(op, inode);
	if (rc < 0)
		return rc;
	if (!ms_lease_open(op->state, op->session, ino, write))
		return -E_NOMEM;
	if (inode->attr.nlink == 0 && !inode->trash)	/* else once its trash lets it go */
		ms_orphan_opened(op->state, op->session, ino);
	ms_lease_grant_reply(op, ino, 0, alone ? MS_LEASE_WRITE : MS_LEASE_READ);
	return 0;
}

/* Content so small that it costs less than to be asked for. */
static void add_content(struct ms_op *op, const struct ms_inode *inode)
{
	struct ms_key key = ms_key_number(MS_KEY_BYTES, inode->attr.ino);
	const struct root *root = &inode->attr.root;
	const void *value;
	uint32_t len;

	if (root->kind != ROOT_INLINE || root->length > INLINE_KEEP_BYTES_MAX ||
	    ms_txn_get(op->state->txn, key.bytes, key.len, &value, &len) < 0)
		return;
	op->effect.reply.bulk = value;
	op->effect.reply.bulk_len = len;
}

int ms_open(struct ms_op *op)
{
	struct ms_inode inode;
	int rc = ms_inode_get(op->state->txn, op->req->ino, &inode);

	if (rc < 0)
		return rc;
	if (op->req->write && ms_inode_is_dir(&inode))
		return -E_ISDIR;
	rc = ms_open_inode(op, &inode, op->req->write);
	if (rc == 0)
		add_content(op, &inode);
	return rc;
}

int ms_open_release(struct ms_op *op)
{
	struct ms_state *state = op->state;

	for (uint32_t i = 0; i < op->req->open_count; i++) {
		inode_no ino = op->req->opens[i];

		if (!ms_lease_close(state, op->session, ino))
			continue;
		if (ms_txn_event_bytes(state->txn) <= MS_EVENT_BYTES_SOFT)
			ms_orphan_closed(state, op->session, ino);
		else
			state->sweep = true;	/* ticks free what is left */
	}
	return 0;
}
