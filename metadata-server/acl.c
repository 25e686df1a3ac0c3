/* SPDX-License-Identifier: Apache-2.0 */
/* ACLs of inodes; rules are those of setxattr(2), chmod(2) and open(2) on ext4. See acl.h. */
#include "metadata-server/acl.h"

#include <string.h>

#include "metadata-server/step_internal.h"

#define PERMISSIONS	    0777u
#define XATTR_FLAG_KILL_SGID 4u	/* of SETXATTR: the caller is not in the group of the file */

static const struct ms_name NAME_ACCESS = { (const uint8_t *)ACL_NAME_ACCESS,
					    sizeof ACL_NAME_ACCESS - 1 };
static const struct ms_name NAME_DEFAULT = { (const uint8_t *)ACL_NAME_DEFAULT,
					     sizeof ACL_NAME_DEFAULT - 1 };

static bool is_same(struct ms_name a, struct ms_name b)
{
	return a.len == b.len && memcmp(a.bytes, b.bytes, a.len) == 0;
}

bool ms_acl_is_name(struct ms_name name)
{
	return is_same(name, NAME_ACCESS) || is_same(name, NAME_DEFAULT);
}

/* --- rows ------------------------------------------------------------------------------------- */

/* -E_NOENT: it has none. */
static int load(struct ms_state *state, inode_no ino, struct ms_name name, struct acl *out)
{
	struct ms_key key = ms_key_xattr(ino, name);
	const void *value;
	uint32_t len;
	int rc = ms_txn_get(state->txn, key.bytes, key.len, &value, &len);

	if (rc < 0)
		return rc;
	return acl_decode(value, len, out) < 0 ? -E_CORRUPT : 0;
}

static void store(struct ms_state *state, inode_no ino, struct ms_name name, const struct acl *acl)
{
	struct ms_key key = ms_key_xattr(ino, name);
	uint8_t value[ACL_BYTES_MAX];

	ms_txn_put(state->txn, key.bytes, key.len, value, (uint32_t)acl_encode(acl, value));
}

static void drop(struct ms_state *state, inode_no ino, struct ms_name name)
{
	struct ms_key key = ms_key_xattr(ino, name);

	ms_txn_del(state->txn, key.bytes, key.len);
}

static void take_mode(struct ms_inode *inode, const struct acl *acl)
{
	inode->attr.mode = (inode->attr.mode & ~PERMISSIONS) | acl_mode(acl);
}

/* --- set and remove --------------------------------------------------------------------------- */

static int prepare(const struct ms_op *op, struct ms_inode *inode)
{
	int rc;

	if (!op->state->config.with_acl)
		return -E_OPNOTSUPP;
	rc = ms_inode_get(op->state->txn, op->req->ino, inode);
	if (rc < 0)
		return rc;
	if (S_ISLNK(inode->attr.mode))
		return -E_OPNOTSUPP;
	return op->req->caller.uid == 0 || op->req->caller.uid == inode->attr.uid ? 0 : -E_PERM;
}

static void set_access(struct ms_op *op, struct ms_inode *inode, const struct acl *acl)
{
	take_mode(inode, acl);
	if (op->req->flags & XATTR_FLAG_KILL_SGID)
		inode->attr.mode &= ~(uint32_t)S_ISGID;
	if (!acl_is_minimal(acl))
		store(op->state, inode->attr.ino, NAME_ACCESS, acl);
	else if (inode->attr.flags & MS_INODE_FLAG_ACL)
		drop(op->state, inode->attr.ino, NAME_ACCESS);
}

int ms_acl_set(struct ms_op *op)
{
	bool is_access = is_same(op->req->name, NAME_ACCESS);
	struct ms_inode inode;
	struct acl acl;
	int rc = prepare(op, &inode);

	if (rc == 0 && !is_access && !ms_inode_is_dir(&inode))
		rc = -E_ACCES;
	if (rc == 0)
		rc = acl_decode(op->req->bulk, op->req->bulk_len, &acl);
	if (rc < 0)
		return rc;
	ms_lease_want(op, inode.attr.ino, 0, MS_LEASE_WRITE);
	if (ms_lease_is_blocked(op))
		return MS_OP_PARKED;
	if (is_access)
		set_access(op, &inode, &acl);
	else
		store(op->state, inode.attr.ino, NAME_DEFAULT, &acl);
	ms_xattr_changed(op, &inode);
	return 0;
}

/* The mode stays as it is, the mask's bits for the group. One that is not there is no error. */
int ms_acl_remove(struct ms_op *op)
{
	struct ms_inode inode;
	struct acl acl;
	int rc = prepare(op, &inode);

	if (rc < 0)
		return rc;
	op->effect.reply.attr = inode.attr;
	if (load(op->state, inode.attr.ino, op->req->name, &acl) == -E_NOENT)
		return 0;
	ms_lease_want(op, inode.attr.ino, 0, MS_LEASE_WRITE);
	if (ms_lease_is_blocked(op))
		return MS_OP_PARKED;
	drop(op->state, inode.attr.ino, op->req->name);
	ms_xattr_changed(op, &inode);
	return 0;
}

/* --- what follows from other operations ------------------------------------------------------- */

void ms_acl_follow_mode(struct ms_state *state, const struct ms_inode *inode)
{
	struct acl acl;

	if (!(inode->attr.flags & MS_INODE_FLAG_ACL) ||
	    load(state, inode->attr.ino, NAME_ACCESS, &acl) < 0)
		return;		/* none; or damage, which fsck tells */
	acl_set_mode(&acl, inode->attr.mode);
	store(state, inode->attr.ino, NAME_ACCESS, &acl);
}

int ms_acl_of_parent(struct ms_op *op, const struct ms_inode *dir, struct acl *out)
{
	int rc;

	out->count = 0;
	if (!(dir->attr.flags & MS_INODE_FLAG_ACL) || S_ISLNK(op->req->mode))
		return 0;
	rc = load(op->state, dir->attr.ino, NAME_DEFAULT, out);
	if (rc == -E_NOENT)
		out->count = 0;
	return rc == -E_NOENT ? 0 : rc;
}

void ms_acl_inherit(struct ms_op *op, struct acl *acl, struct ms_inode *inode)
{
	if (acl->count == 0) {
		if (!S_ISLNK(inode->attr.mode))
			inode->attr.mode &= ~(op->req->umask & PERMISSIONS);
		return;
	}
	if (ms_inode_is_dir(inode)) {
		store(op->state, inode->attr.ino, NAME_DEFAULT, acl);
		inode->attr.flags |= MS_INODE_FLAG_ACL;
	}
	acl_inherit(acl, inode->attr.mode);
	take_mode(inode, acl);
	if (!acl_is_minimal(acl)) {
		store(op->state, inode->attr.ino, NAME_ACCESS, acl);
		inode->attr.flags |= MS_INODE_FLAG_ACL;
	}
}
