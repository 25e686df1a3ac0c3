/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making, linking and unlinking names. Rename has a file of its own.
 *
 * The kernel checks the mode bits of each directory (default_permissions), and it alone knows the
 * caller's groups; what it checks only for local knowledge is checked here again: the sticky bit.
 */
#include "metadata-server/step_internal.h"

#include <string.h>

/*
 * A directory in which names may come and go: it exists and was not removed. Who has a removed one
 * open finds no name in it, as POSIX has it; and nothing that it could still be asked for remains.
 */
int ms_namespace_dir(struct ms_op *op, inode_no ino, struct ms_inode *out)
{
	int rc = ms_inode_get(op->state->txn, ino, out);

	if (rc < 0)
		return rc == -E_STALE ? -E_NOENT : rc;
	if (!ms_inode_is_dir(out))
		return -E_NOTDIR;
	return out->attr.nlink == 0 ? -E_NOENT : 0;
}

int ms_namespace_may_remove(const struct ms_op *op, const struct ms_inode *dir,
			    const struct ms_inode *victim)
{
	uint32_t uid = op->req->caller.uid;

	if (!(dir->attr.mode & S_ISVTX) || uid == 0)
		return 0;
	return uid == victim->attr.uid || uid == dir->attr.uid ? 0 : -E_PERM;
}

static int find_place(struct ms_op *op, struct ms_inode *dir, struct ms_dir_slot *slot)
{
	int rc = ms_dir_check_name(op->req->name);

	if (rc == 0)
		rc = ms_namespace_dir(op, op->req->parent, dir);
	if (rc == 0)
		rc = ms_dir_find(op->state->txn, op->state->config.name_key, op->req->parent,
				 op->req->name, slot);
	return rc;
}

static bool is_blocked_by_name(struct ms_op *op, const struct ms_dir_slot *slot)
{
	ms_lease_want(op, slot->dir, slot->hash, MS_LEASE_WRITE);
	ms_lease_want(op, slot->dir, 0, MS_LEASE_WRITE);
	return ms_lease_is_blocked(op);
}

static void store_dir(struct ms_op *op, struct ms_inode *dir)
{
	ms_inode_touch(dir, op->state->wall_ns, true);
	ms_inode_put(op->state->txn, dir);
	op->effect.reply.parent = dir->attr;
}

/* --- make ------------------------------------------------------------------------------------- */

static int check_make(const struct ms_request *req)
{
	switch (req->mode & S_IFMT) {
	case S_IFLNK:
		if (req->target.len > SYMLINK_BYTES_MAX)
			return -E_NAMETOOLONG;
		return req->target.len && !memchr(req->target.bytes, 0, req->target.len) ? 0
											 : -E_INVAL;
	case S_IFREG:
	case S_IFDIR:
	case S_IFIFO:
	case S_IFSOCK:
	case S_IFCHR:
	case S_IFBLK:
		return 0;
	}
	return -E_INVAL;
}

/*
 * Ask for more numbers in good time. They can only run out while the journal stands still: then the
 * client sends its request again.
 */
int ms_namespace_number(struct ms_state *state, inode_no *out)
{
	if (!state->reserve_asked && state->next_ino + MS_INODE_RANGE / 2 >= state->usable_limit) {
		state->reserve_asked = true;
		ms_step_emit(state, &(struct ms_effect){ .kind = MS_FX_RESERVE });
	}
	if (state->next_ino >= state->usable_limit)
		return -E_OVERLOADED;
	*out = state->next_ino++;
	return 0;
}

int ms_namespace_new(struct ms_op *op, const struct ms_inode *dir, uint32_t mode,
		     struct ms_inode *out)
{
	const struct ms_request *req = op->req;
	struct ms_attr *a = &out->attr;
	bool is_dir = S_ISDIR(mode);
	int rc = ms_quota_check(op->state, op->session, dir->attr.quota,
				(struct ms_usage){ .files = 1 });

	if (rc < 0)
		return rc;
	*out = (struct ms_inode){ 0 };
	a->mode = mode & (S_IFMT | 07777);
	a->uid = req->caller.uid;
	a->gid = req->caller.gid;
	if (dir->attr.mode & S_ISGID) {
		a->gid = dir->attr.gid;
		a->mode |= is_dir ? S_ISGID : 0;
	}
	a->nlink = is_dir ? 2 : 1;
	a->version = 1;
	a->atime_ns = a->mtime_ns = a->ctime_ns = a->btime_ns = (int64_t)op->state->wall_ns;
	a->size = is_dir ? MS_DIRECTORY_SIZE : S_ISLNK(mode) ? req->target.len : 0;
	a->rdev = S_ISCHR(mode) || S_ISBLK(mode) ? req->rdev : 0;
	out->parent = is_dir ? dir->attr.ino : 0;
	a->quota = dir->attr.quota;
	return ms_namespace_number(op->state, &a->ino);
}

void ms_namespace_store(struct ms_op *op, const struct ms_inode *inode)
{
	struct ms_state *state = op->state;
	struct ms_key key = ms_key_number(MS_KEY_BYTES, inode->attr.ino);

	ms_inode_put(state->txn, inode);
	if (S_ISLNK(inode->attr.mode))
		ms_txn_put(state->txn, key.bytes, key.len, op->req->target.bytes,
			   op->req->target.len);
	if (ms_inode_is_dir(inode))
		state->counters.directories++;
	else
		state->counters.files++;
	ms_step_counters_put(state);
	ms_quota_charge(state, inode->attr.quota, ms_quota_usage(inode));
}

static void store_new(struct ms_op *op, struct ms_inode *dir, const struct ms_inode *inode,
		      struct ms_dir_slot *slot)
{
	ms_namespace_store(op, inode);
	slot->ino = inode->attr.ino;
	slot->type = inode->attr.mode & S_IFMT;
	ms_dir_put(op->state->txn, slot);
	if (ms_inode_is_dir(inode))
		dir->attr.nlink++;
	store_dir(op, dir);
}

/* The name is taken: a create that is not exclusive opens the regular file that has it. */
static int make_existing(struct ms_op *op, const struct ms_inode *dir,
			 const struct ms_dir_slot *slot)
{
	struct ms_inode inode;
	int rc;

	if (op->req->exclusive || !S_ISREG(op->req->mode))
		return -E_EXIST;
	if (S_ISDIR(slot->type))
		return -E_ISDIR;
	if (!S_ISREG(slot->type))
		return -E_EXIST;
	rc = ms_inode_get(op->state->txn, slot->ino, &inode);
	if (rc < 0)
		return rc == -E_STALE ? -E_CORRUPT : rc;
	if (op->req->open) {
		rc = ms_open_inode(op, &inode, true);
	} else {
		ms_lease_want(op, slot->ino, 0, MS_LEASE_READ);
		rc = ms_lease_is_blocked(op) ? MS_OP_PARKED : ms_attr_reply(op, &inode);
		if (rc == 0)
			ms_lease_grant_reply(op, slot->ino, 0, MS_LEASE_READ);
	}
	if (rc != 0)
		return rc;
	op->effect.reply.parent = dir->attr;
	ms_lease_grant_reply(op, slot->dir, slot->hash, MS_LEASE_READ);
	return 0;
}

/*
 * O_TMPFILE: the file of who opens it, an orphan from its first day. It takes no name and changes
 * no directory, so nothing is recalled.
 */
static int make_unnamed(struct ms_op *op)
{
	struct ms_inode dir, inode;
	struct acl acl;
	int rc = S_ISREG(op->req->mode) && op->req->open ? 0 : -E_INVAL;

	if (rc == 0)
		rc = ms_namespace_dir(op, op->req->parent, &dir);
	if (rc == 0)
		rc = ms_acl_of_parent(op, &dir, &acl);
	if (rc == 0)
		rc = ms_namespace_new(op, &dir, op->req->mode, &inode);
	if (rc < 0)
		return rc;
	inode.attr.nlink = 0;
	inode.attr.flags = op->req->exclusive ? 0 : MS_INODE_FLAG_LINKABLE;
	if (!ms_lease_open(op->state, op->session, inode.attr.ino, true))
		return -E_NOMEM;
	ms_orphan_opened(op->state, op->session, inode.attr.ino);
	ms_acl_inherit(op, &acl, &inode);
	ms_namespace_store(op, &inode);
	ms_lease_grant_reply(op, inode.attr.ino, 0, MS_LEASE_WRITE);
	op->effect.reply.attr = inode.attr;
	return 0;
}

int ms_namespace_make(struct ms_op *op)
{
	struct ms_inode dir, inode;
	struct ms_dir_slot slot;
	struct acl acl;
	int rc = check_make(op->req);

	if (rc == 0 && op->req->unnamed)
		return make_unnamed(op);
	if (rc == 0)
		rc = find_place(op, &dir, &slot);
	if (rc < 0)
		return rc;
	if (slot.ino)
		return make_existing(op, &dir, &slot);
	if (is_blocked_by_name(op, &slot))
		return MS_OP_PARKED;
	rc = ms_acl_of_parent(op, &dir, &acl);
	if (rc == 0)
		rc = ms_namespace_new(op, &dir, op->req->mode, &inode);
	if (rc < 0)
		return rc;
	if (op->req->open && ms_inode_is_file(&inode) &&
	    !ms_lease_open(op->state, op->session, inode.attr.ino, true))
		return -E_NOMEM;
	ms_acl_inherit(op, &acl, &inode);
	inode.trash = ms_inode_is_dir(&inode) ? dir.trash : 0;
	ms_trash_follow(op->state, &inode, &dir, slot.name);
	store_new(op, &dir, &inode, &slot);
	ms_lease_grant_reply(op, inode.attr.ino, 0, op->req->open ? MS_LEASE_WRITE : MS_LEASE_READ);
	ms_lease_grant_reply(op, slot.dir, slot.hash, MS_LEASE_READ);
	op->effect.reply.attr = inode.attr;
	op->effect.reply.target = op->req->target;
	return 0;
}

/* --- link ------------------------------------------------------------------------------------- */

/* One that lost its last name has no way back; one that never had a name has. */
static bool is_gone(const struct ms_inode *inode)
{
	return inode->attr.nlink == 0 &&
	       (inode->trash || !(inode->attr.flags & MS_INODE_FLAG_LINKABLE));
}

static void add_link(struct ms_op *op, struct ms_inode *inode)
{
	if (inode->attr.nlink++ == 0)
		ms_orphan_linked(op->state, inode->attr.ino);
	inode->attr.flags &= ~MS_INODE_FLAG_LINKABLE;
	ms_inode_touch(inode, op->state->wall_ns, false);
	ms_inode_put(op->state->txn, inode);
}

/* While a tree is being counted anew, a file of it may still be charged elsewhere. */
static int may_link(struct ms_op *op, const struct ms_inode *inode, const struct ms_inode *dir)
{
	if (inode->attr.quota == dir->attr.quota)
		return 0;
	if (!op->state->quota_walks)
		return -E_XDEV;
	return ms_quota_check(op->state, op->session, dir->attr.quota, ms_quota_usage(inode));
}

int ms_namespace_link(struct ms_op *op)
{
	struct ms_inode dir, inode;
	struct ms_dir_slot slot;
	int rc = find_place(op, &dir, &slot);

	if (rc == 0)
		rc = ms_inode_get(op->state->txn, op->req->ino, &inode);
	if (rc < 0)
		return rc;
	if (ms_inode_is_dir(&inode))
		return -E_PERM;
	if (slot.ino)
		return -E_EXIST;
	if (is_gone(&inode))
		return -E_NOENT;
	if (inode.attr.nlink >= LINKS_MAX)
		return -E_MLINK;
	rc = may_link(op, &inode, &dir);
	if (rc < 0)
		return rc;
	ms_lease_want(op, inode.attr.ino, 0, MS_LEASE_WRITE);
	if (is_blocked_by_name(op, &slot))
		return MS_OP_PARKED;
	rc = ms_attr_reply(op, &inode);
	if (rc < 0)
		return rc;
	(void)ms_quota_follow(op->state, &inode, dir.attr.quota);
	add_link(op, &inode);
	slot.ino = inode.attr.ino;
	slot.type = inode.attr.mode & S_IFMT;
	ms_dir_put(op->state->txn, &slot);
	store_dir(op, &dir);
	op->effect.reply.attr = inode.attr;
	ms_lease_grant_reply(op, inode.attr.ino, 0, MS_LEASE_READ);
	ms_lease_grant_reply(op, slot.dir, slot.hash, MS_LEASE_READ);
	return 0;
}

/* --- unlink, rmdir ---------------------------------------------------------------------------- */

static int check_victim(struct ms_op *op, const struct ms_inode *dir, const struct ms_inode *victim)
{
	int rc = ms_namespace_may_remove(op, dir, victim);

	if (rc < 0)
		return rc;
	if (!op->req->directory)
		return ms_inode_is_dir(victim) ? -E_ISDIR : 0;
	if (!ms_inode_is_dir(victim))
		return -E_NOTDIR;
	rc = ms_dir_is_empty(op->state->txn, victim->attr.ino);
	return rc == 0 ? -E_NOTEMPTY : rc < 0 ? rc : 0;
}

int ms_namespace_unlink(struct ms_op *op)
{
	struct ms_inode dir, victim;
	struct ms_dir_slot slot;
	int rc = find_place(op, &dir, &slot);

	if (rc < 0)
		return rc;
	if (!slot.ino)
		return -E_NOENT;
	rc = ms_inode_get(op->state->txn, slot.ino, &victim);
	if (rc == 0)
		rc = check_victim(op, &dir, &victim);
	if (rc < 0)
		return rc;
	ms_lease_want(op, slot.ino, 0, MS_LEASE_WRITE);
	if (is_blocked_by_name(op, &slot))
		return MS_OP_PARKED;
	ms_dir_del(op->state->txn, &slot);
	if (ms_inode_is_dir(&victim))
		dir.attr.nlink--;
	store_dir(op, &dir);
	ms_inode_touch(&victim, op->state->wall_ns, false);
	ms_trash_unlinked(op, &dir, op->req->name, &victim);
	op->effect.reply.attr = victim.attr;
	ms_lease_grant_reply(op, slot.dir, slot.hash, MS_LEASE_READ);
	return 0;
}
