/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Locks that need no server: of an inode whose write lease is ours. Nobody else has it open, so
 * only our own processes can be in each other's way. Before the lease is given back the server is
 * told of them all (cl_locks_keep_lease), and decides from then on.
 *
 * Keeps I6: decided here only while the session is valid; a lock that was decided here is lost with
 * the session as any other.
 */
#include <stdlib.h>
#include <utlist.h>

#include "client/core/locks_internal.h"

/* --- inodes ----------------------------------------------------------------------------------- */

static struct lock_inode *inode_find(const struct client *c, inode_no ino)
{
	struct lock_inode *i;

	HASH_FIND(hh, c->locks->inodes, &ino, sizeof ino, i);
	return i;
}

/* A turn to append is none to lock: others have it open, and may ask the server for locks. */
static bool has_lease(struct client *c, inode_no ino)
{
	const struct cl_node *node = cl_node_find(c, ino);

	return node && cl_node_can_write(c, node) && !node->is_open_elsewhere &&
	       !node->is_recalling;
}

bool cl_locks_inode_join(struct client *c, struct lock_entry *e)
{
	struct lock_inode *i = inode_find(c, e->key.ino);

	if (!i) {
		i = calloc(1, sizeof *i);
		if (!i)
			return false;
		i->ino = e->key.ino;
		HASH_ADD(hh, c->locks->inodes, ino, sizeof i->ino, i);
		if (!i->hh.tbl) {
			free(i);
			return false;
		}
		i->is_local = has_lease(c, i->ino);
	}
	e->inode = i;
	DL_APPEND2(i->entries, e, inode_prev, inode_next);
	return true;
}

static void inode_settle(struct client *c, struct lock_inode *i)
{
	if (i->entries || i->pushes || i->has_failed || i->waiters)
		return;
	HASH_DEL(c->locks->inodes, i);
	free(i);
}

void cl_locks_local_clear(struct client *c, struct lock_entry *e)
{
	c->locks->local_ranges -= MIN_OF(c->locks->local_ranges, e->ranges.count);
	ranges_clear(&e->ranges);
}

void cl_locks_inode_leave(struct client *c, struct lock_entry *e)
{
	struct lock_inode *i = e->inode;

	DL_DELETE2(i->entries, e, inode_prev, inode_next);
	e->inode = NULL;
	inode_settle(c, i);
}

/* --- telling the server ---------------------------------------------------------------------- */

void cl_locks_inode_told(struct client *c, struct lock_inode *i, bool is_done)
{
	struct cl_node *node;
	struct lock_entry *e;

	i->has_failed |= !is_done;
	if (--i->pushes > 0)
		return;
	if (i->has_failed) {
		c->locks->has_unsent = true;
		return;
	}
	i->is_local = false;
	DL_FOREACH2(i->entries, e, inode_next)
		c->locks->local_ranges -= MIN_OF(c->locks->local_ranges, e->ranges.count);
	node = cl_node_find(c, i->ino);
	i->pushes++;		/* it stays until all have been woken */
	cl_op_wake(&i->waiters);
	i->pushes--;
	inode_settle(c, i);
	if (node)
		cl_lease_continue(c, node);
}

bool cl_locks_keep_lease(struct client *c, inode_no ino)
{
	struct lock_inode *i = inode_find(c, ino);

	if (!i || !i->is_local)
		return false;
	if (!i->pushes && !i->has_failed)
		cl_locks_send_held(c, i);
	return true;
}

/* --- deciding -------------------------------------------------------------------------------- */

static const struct lock_entry *blocker(const struct lock_inode *i, uint64_t owner, uint64_t kind,
					const struct cl_lock *lock, const struct range **at)
{
	const struct lock_entry *e;

	DL_FOREACH2(i->entries, e, inode_next) {
		if (e->key.owner == owner || e->key.kind != kind)
			continue;
		*at = ranges_conflict(&e->ranges, lock->start, lock->end, lock->mode);
		if (*at)
			return e;
	}
	return NULL;
}

/* flock(2) gives up a lock of another mode before it asks for the new one. */
static void convert(struct client *c, struct lock_entry *e, const struct cl_lock *lock)
{
	if (lock->is_flock && e->ranges.first && e->ranges.first->mode != lock->mode)
		cl_locks_local_clear(c, e);
}

/* As many as the server will take when it is told, beside those that it has. */
static int set(struct client *c, struct lock_entry *e, const struct cl_lock *lock)
{
	uint32_t before = e->ranges.count;
	int rc;

	if (c->locks->local_ranges + 2 > LOCKS_OF_SESSION_MAX &&
	    (lock->mode != RANGE_NONE ||
	     ranges_would_split(&e->ranges, lock->start, lock->end)))
		return -E_NOLCK;
	rc = ranges_set(&e->ranges, lock->start, lock->end, lock->mode);
	c->locks->local_ranges += e->ranges.count;
	c->locks->local_ranges -= MIN_OF(c->locks->local_ranges, before);
	return rc;
}

bool cl_locks_local_set(struct cl_op *op, struct lock_entry *e)
{
	struct client *c = op->client;
	struct lock_inode *i = e->inode;
	const struct range *at;
	int rc;

	if (!i->is_local)
		return false;
	if (i->pushes || i->has_failed || !has_lease(c, i->ino)) {
		cl_op_wait(op, &i->waiters, "the metadata server to know of locks", cl_op_dispatch);
		(void)cl_locks_keep_lease(c, i->ino);
		return true;
	}
	convert(c, e, &op->lock);
	if (!blocker(i, e->key.owner, e->key.kind, &op->lock, &at)) {
		rc = set(c, e, &op->lock);
	} else if (op->lock.waits) {
		cl_op_wait(op, &i->waiters, "the metadata server to know of locks", cl_op_dispatch);
		cl_locks_send_held(c, i);
		return true;
	} else {
		rc = -E_AGAIN;
	}
	cl_locks_entry_settle(c, e);
	cl_op_finish(op, rc);
	return true;
}

/* Of any inode and kind: to be taken for one that holds something harms nobody. */
bool cl_locks_owner_has_local(const struct client *c, const struct lock_entry *owner)
{
	const struct lock_entry *e, *next;

	HASH_ITER(hh, c->locks->entries, e, next)
		if ((e->key.owner == owner->key.owner || e->pid == owner->pid) &&
		    e->inode->is_local && e->ranges.count)
			return true;
	return false;
}

bool cl_locks_get_local(struct cl_op *op)
{
	struct lock_inode *i = inode_find(op->client, op->ino);
	const struct lock_entry *found;
	const struct range *at;

	if (i ? !i->is_local || i->pushes || i->has_failed : false)
		return false;
	if (!has_lease(op->client, op->ino))
		return false;
	found = i ? blocker(i, op->lock.owner, LOCK_KIND_POSIX, &op->lock, &at) : NULL;
	if (found) {
		op->lock.start = at->start;
		op->lock.end = at->end;
		op->lock.pid = found->pid;
	}
	op->lock.mode = found ? at->mode : RANGE_NONE;
	cl_op_finish(op, 0);
	return true;
}
