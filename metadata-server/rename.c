/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rename: plain, without replacement, exchange, and leaving a whiteout (what overlayfs wants);
 * rules of rename(2) on ext4.
 *
 * The two directories may be one. Then `to_dir` is not stored: all that happens to either happens
 * to `from_dir`.
 */
#include "metadata-server/step_internal.h"

#define RENAME_FLAG_NOREPLACE	1u
#define RENAME_FLAG_EXCHANGE	2u
#define RENAME_FLAG_WHITEOUT	4u
#define RENAME_FLAGS_ALL	7u
/* more ancestors than that are a loop: damage, not a tree */
#define TREE_DEPTH_MAX		100000u

struct rename {
	struct ms_op *op;
	struct ms_inode from_dir, to_dir;
	struct ms_dir_slot from, to;
	struct ms_inode moved, target;	/* target: if to.ino */
	struct ms_inode whiteout;	/* if it has a number */
	bool same_dir, exchange;
};

static int find_both(struct rename *r)
{
	const struct ms_request *req = r->op->req;
	struct ms_state *state = r->op->state;
	int rc = ms_dir_check_name(req->name);

	if (rc == 0)
		rc = ms_dir_check_name(req->new_name);
	if (rc == 0)
		rc = ms_namespace_dir(r->op, req->parent, &r->from_dir);
	if (rc == 0)
		rc = ms_namespace_dir(r->op, req->new_parent, &r->to_dir);
	if (rc == 0)
		rc = ms_dir_find(state->txn, state->config.name_key, req->parent, req->name,
				 &r->from);
	if (rc == 0)
		rc = ms_dir_find(state->txn, state->config.name_key, req->new_parent, req->new_name,
				 &r->to);
	if (rc < 0)
		return rc;
	if (!r->from.ino || (r->exchange && !r->to.ino))
		return -E_NOENT;
	if (r->to.ino && req->flags & RENAME_FLAG_NOREPLACE)
		return -E_EXIST;
	rc = ms_inode_get(state->txn, r->from.ino, &r->moved);
	if (rc == 0 && r->to.ino)
		rc = ms_inode_get(state->txn, r->to.ino, &r->target);
	return rc == -E_STALE ? -E_CORRUPT : rc;
}

/* 1: `dir` is `ancestor` or lies below it. */
static int is_within(struct ms_txn *txn, struct ms_inode dir, inode_no ancestor)
{
	for (uint32_t depth = 0; depth < TREE_DEPTH_MAX; depth++) {
		int rc;

		if (dir.attr.ino == ancestor)
			return 1;
		if (dir.attr.ino == INODE_ROOT)
			return 0;
		rc = ms_inode_get(txn, dir.parent, &dir);
		if (rc < 0)
			return rc == -E_STALE ? -E_CORRUPT : rc;
	}
	return -E_CORRUPT;
}

/* A directory must not become its own ancestor. */
static int check_loop(struct rename *r)
{
	struct ms_txn *txn = r->op->state->txn;
	int rc = 0;

	if (r->same_dir)
		return 0;
	if (ms_inode_is_dir(&r->moved))
		rc = is_within(txn, r->to_dir, r->moved.attr.ino);
	if (rc == 0 && r->exchange && ms_inode_is_dir(&r->target))
		rc = is_within(txn, r->from_dir, r->target.attr.ino);
	return rc == 1 ? -E_INVAL : rc;
}

static int check_replace(struct rename *r)
{
	int rc;

	if (ms_inode_is_dir(&r->moved) && !ms_inode_is_dir(&r->target))
		return -E_NOTDIR;
	if (!ms_inode_is_dir(&r->moved) && ms_inode_is_dir(&r->target))
		return -E_ISDIR;
	if (!ms_inode_is_dir(&r->target))
		return 0;
	rc = ms_dir_is_empty(r->op->state->txn, r->target.attr.ino);
	return rc == 0 ? -E_NOTEMPTY : rc < 0 ? rc : 0;
}

/*
 * From one quota tree to another: who moves it copies it then, and is charged there. While a tree
 * is being counted its directories still differ, and what moves takes the quota of where it goes.
 */
static int check_quota(struct rename *r)
{
	inode_no to = r->to_dir.attr.quota;

	if (r->from_dir.attr.quota == to)
		return 0;
	if (!r->op->state->quota_walks)
		return -E_XDEV;
	return ms_quota_check(r->op->state, r->op->session, to, ms_quota_usage(&r->moved));
}

static int check(struct rename *r)
{
	int rc = ms_namespace_may_remove(r->op, &r->from_dir, &r->moved);

	if (rc == 0)
		rc = check_quota(r);
	if (rc == 0)
		rc = check_loop(r);
	if (rc < 0 || !r->to.ino)
		return rc;
	rc = ms_namespace_may_remove(r->op, &r->to_dir, &r->target);
	return rc < 0 || r->exchange ? rc : check_replace(r);
}

static bool is_blocked(struct rename *r)
{
	struct ms_op *op = r->op;

	ms_lease_want(op, r->from.dir, r->from.hash, MS_LEASE_WRITE);
	ms_lease_want(op, r->to.dir, r->to.hash, MS_LEASE_WRITE);
	ms_lease_want(op, r->from.dir, 0, MS_LEASE_WRITE);
	ms_lease_want(op, r->to.dir, 0, MS_LEASE_WRITE);
	ms_lease_want(op, r->from.ino, 0, MS_LEASE_WRITE);
	if (r->to.ino)
		ms_lease_want(op, r->to.ino, 0, MS_LEASE_WRITE);
	return ms_lease_is_blocked(op);
}

/* `inode` leaves one directory for the other: a directory takes its ".." with it. */
static void change_parent(struct ms_inode *inode, struct ms_inode *from, struct ms_inode *to)
{
	if (!ms_inode_is_dir(inode) || from == to)
		return;
	from->attr.nlink--;
	to->attr.nlink++;
	inode->parent = to->attr.ino;
}

static void store_names(struct rename *r)
{
	struct ms_txn *txn = r->op->state->txn;
	struct ms_dir_slot from = r->from, to = r->to;

	to.ino = r->from.ino;
	to.type = r->from.type;
	ms_dir_put(txn, &to);
	if (r->whiteout.attr.ino) {
		ms_namespace_store(r->op, &r->whiteout);
		from.ino = r->whiteout.attr.ino;
		from.type = S_IFCHR;
		ms_dir_put(txn, &from);
	} else if (r->exchange) {
		from.ino = r->to.ino;
		from.type = r->to.type;
		ms_dir_put(txn, &from);
	} else {
		ms_dir_del(txn, &from);
	}
}

static void store(struct rename *r)
{
	struct ms_state *state = r->op->state;
	struct ms_inode *to_dir = r->same_dir ? &r->from_dir : &r->to_dir;

	store_names(r);
	change_parent(&r->moved, &r->from_dir, to_dir);
	if (r->exchange)
		change_parent(&r->target, to_dir, &r->from_dir);
	ms_trash_follow(state, &r->moved, to_dir, r->to.name);
	if (r->exchange)
		ms_trash_follow(state, &r->target, &r->from_dir, r->from.name);
	else if (r->to.ino && ms_inode_is_dir(&r->target))
		to_dir->attr.nlink--;

	/* else only while a tree is being counted */
	(void)ms_quota_follow(state, &r->moved, to_dir->attr.quota);
	if (r->exchange)
		(void)ms_quota_follow(state, &r->target, r->from_dir.attr.quota);
	ms_inode_touch(&r->moved, state->wall_ns, false);
	ms_inode_put(state->txn, &r->moved);
	if (r->to.ino) {
		ms_inode_touch(&r->target, state->wall_ns, false);
		if (r->exchange)
			ms_inode_put(state->txn, &r->target);
		else
			ms_trash_unlinked(r->op, to_dir, r->to.name, &r->target);
	}
	ms_inode_touch(&r->from_dir, state->wall_ns, true);
	ms_inode_put(state->txn, &r->from_dir);
	if (!r->same_dir) {
		ms_inode_touch(&r->to_dir, state->wall_ns, true);
		ms_inode_put(state->txn, &r->to_dir);
	}
	r->op->effect.reply.attr = r->moved.attr;
	r->op->effect.reply.parent = to_dir->attr;
}

int ms_rename(struct ms_op *op)
{
	const struct ms_request *req = op->req;
	struct rename r = { .op = op, .same_dir = req->parent == req->new_parent,
			    .exchange = req->flags & RENAME_FLAG_EXCHANGE };
	int rc;

	if (req->flags & ~RENAME_FLAGS_ALL || (r.exchange && req->flags != RENAME_FLAG_EXCHANGE))
		return -E_INVAL;
	rc = find_both(&r);
	if (rc < 0)
		return rc;
	if (r.from.ino == r.to.ino) {
		/* Two names of one inode: rename(2) then does nothing at all. */
		op->effect.reply.parent = r.to_dir.attr;
		return ms_attr_reply(op, &r.moved);
	}
	rc = check(&r);
	if (rc < 0)
		return rc;
	if (is_blocked(&r))
		return MS_OP_PARKED;
	rc = ms_attr_reply(op, &r.moved);
	if (rc == 0 && req->flags & RENAME_FLAG_WHITEOUT)
		rc = ms_namespace_new(op, &r.from_dir, S_IFCHR, &r.whiteout);
	if (rc < 0)
		return rc;
	store(&r);
	ms_lease_grant_reply(op, r.from.dir, r.from.hash, MS_LEASE_READ);
	ms_lease_grant_reply(op, r.to.dir, r.to.hash, MS_LEASE_READ);
	ms_lease_grant_reply(op, r.from.ino, 0, MS_LEASE_READ);
	return 0;
}
