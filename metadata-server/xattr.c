/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Extended attributes: a row each. Names of one inode, with their NULs, are at most 64 KiB
 * together: more the kernel could not list (XATTR_LIST_MAX), and it bounds what freeing an inode
 * has to delete.
 */
#include "metadata-server/step_internal.h"

#include <string.h>

#include "fs/wire/xattr.h"

#define XATTR_FLAG_CREATE	1u
#define XATTR_FLAG_REPLACE	2u
#define XATTR_LIST_BYTES_MAX	65536u
#define XATTR_CAPABILITY	"security.capability"

_Static_assert(XATTR_LIST_BYTES_MAX <= ROW_VALUE_BYTES_MAX, "a listing fits the reply's bytes");

/* The next attribute after `at` (its key, advanced); -E_NOENT at the end. */
static int next_name(struct ms_txn *txn, inode_no ino, struct ms_key *at, struct ms_name *out)
{
	struct row row;
	struct rd r;
	int rc = ms_txn_next(txn, at->bytes, at->len, &row);

	if (rc < 0)
		return rc;
	if (!ms_key_is(&row, MS_KEY_XATTR, &r) || rd_be64(&r) != ino)
		return -E_NOENT;
	out->len = (uint32_t)rd_left(&r);
	out->bytes = rd_view(&r, out->len);
	if (!rd_ok(&r) || out->len == 0 || out->len > XATTR_NAME_BYTES_MAX)
		return -E_CORRUPT;
	*at = ms_key_xattr(ino, *out);
	at->bytes[at->len++] = 0;
	return 0;
}

/* All names, NUL-terminated, into `out` (or only counted, if NULL). Returns their bytes. */
static int list_names(struct ms_txn *txn, inode_no ino, uint8_t *out, uint32_t *count)
{
	struct ms_key at = ms_key_xattr(ino, (struct ms_name){ (const uint8_t *)"", 0 });
	struct ms_name name;
	uint32_t len = 0;
	int rc;

	*count = 0;
	while ((rc = next_name(txn, ino, &at, &name)) == 0) {
		if (len + name.len + 1 > XATTR_LIST_BYTES_MAX)
			return -E_CORRUPT;
		if (out) {
			memcpy(out + len, name.bytes, name.len);
			out[len + name.len] = 0;
		}
		len += name.len + 1;
		(*count)++;
	}
	return rc == -E_NOENT ? (int)len : rc;
}

static int may_change(const struct ms_op *op, const struct ms_inode *inode)
{
	/* Namespaces are the kernel's to guard; user.* of special files would be anybody's. */
	if (op->req->name.len >= 5 && memcmp(op->req->name.bytes, "user.", 5) == 0 &&
	    !ms_inode_is_file(inode) && !ms_inode_is_dir(inode))
		return -E_PERM;
	return 0;
}

/* Common part of set and remove: may it be, and is the attribute there? */
static int prepare(struct ms_op *op, struct ms_inode *inode, bool *exists)
{
	struct ms_key key;
	const void *value;
	uint32_t len;
	int rc = xattr_name_check(op->req->name.bytes, op->req->name.len);

	if (rc == 0)
		rc = ms_inode_get(op->state->txn, op->req->ino, inode);
	if (rc == 0)
		rc = may_change(op, inode);
	if (rc < 0)
		return rc;
	key = ms_key_xattr(op->req->ino, op->req->name);
	rc = ms_txn_get(op->state->txn, key.bytes, key.len, &value, &len);
	*exists = rc == 0;
	return rc == -E_NOENT ? 0 : rc;
}

static bool has_acl(struct ms_txn *txn, inode_no ino)
{
	struct ms_name prefix = { (const uint8_t *)ACL_NAME_PREFIX, sizeof ACL_NAME_PREFIX - 1 };
	struct ms_key at = ms_key_xattr(ino, prefix);
	struct ms_name name;

	return next_name(txn, ino, &at, &name) == 0 && ms_acl_is_name(name);
}

/* Set the inode's flags to what its rows now are. */
static int store_flags(struct ms_state *state, struct ms_inode *inode)
{
	struct ms_key at = ms_key_xattr(inode->attr.ino, (struct ms_name){(const uint8_t *)"", 0});
	struct ms_name name;
	int rc;

	do
		rc = next_name(state->txn, inode->attr.ino, &at, &name);
	while (rc == 0 && ms_acl_is_name(name));
	inode->attr.flags &= ~(MS_INODE_FLAG_XATTRS | MS_INODE_FLAG_ACL);
	if (rc == 0)
		inode->attr.flags |= MS_INODE_FLAG_XATTRS;
	if (state->config.with_acl && has_acl(state->txn, inode->attr.ino))
		inode->attr.flags |= MS_INODE_FLAG_ACL;
	return rc == -E_NOENT ? 0 : rc;
}

void ms_xattr_changed(struct ms_op *op, struct ms_inode *inode)
{
	(void)store_flags(op->state, inode);	/* an unreadable row is told by the next list */
	ms_inode_touch(inode, op->state->wall_ns, false);
	ms_inode_put(op->state->txn, inode);
	op->effect.reply.attr = inode->attr;
}

static int check_room(struct ms_op *op)
{
	uint32_t count;
	int len = list_names(op->state->txn, op->req->ino, NULL, &count);

	if (len < 0)
		return len;
	if (count >= XATTRS_MAX || (uint32_t)len + op->req->name.len + 1 > XATTR_LIST_BYTES_MAX)
		return -E_NOSPC;
	return 0;
}

int ms_xattr_set(struct ms_op *op)
{
	const struct ms_request *req = op->req;
	struct ms_inode inode;
	struct ms_key key;
	bool exists;
	int rc;

	if (ms_acl_is_name(req->name))
		return ms_acl_set(op);
	rc = prepare(op, &inode, &exists);
	if (rc < 0)
		return rc;
	if (req->flags & ~(XATTR_FLAG_CREATE | XATTR_FLAG_REPLACE))
		return -E_INVAL;
	if (req->bulk_len > XATTR_VALUE_BYTES_MAX)
		return -E_TOOBIG;
	if (exists && req->flags & XATTR_FLAG_CREATE)
		return -E_EXIST;
	if (!exists && req->flags & XATTR_FLAG_REPLACE)
		return -E_NODATA;
	rc = exists ? 0 : check_room(op);
	if (rc < 0)
		return rc;
	ms_lease_want(op, req->ino, 0, MS_LEASE_WRITE);
	if (ms_lease_is_blocked(op))
		return MS_OP_PARKED;
	key = ms_key_xattr(req->ino, req->name);
	ms_txn_put(op->state->txn, key.bytes, key.len,
		   req->bulk_len ? req->bulk : (const uint8_t *)"", req->bulk_len);
	ms_xattr_changed(op, &inode);
	return 0;
}

int ms_xattr_remove(struct ms_op *op)
{
	struct ms_inode inode;
	struct ms_key key;
	bool exists;
	int rc;

	if (ms_acl_is_name(op->req->name))
		return ms_acl_remove(op);
	rc = prepare(op, &inode, &exists);
	if (rc < 0)
		return rc;
	if (!exists)
		return -E_NODATA;
	ms_lease_want(op, op->req->ino, 0, MS_LEASE_WRITE);
	if (ms_lease_is_blocked(op))
		return MS_OP_PARKED;
	key = ms_key_xattr(op->req->ino, op->req->name);
	ms_txn_del(op->state->txn, key.bytes, key.len);
	ms_xattr_changed(op, &inode);
	return 0;
}

int ms_xattr_get(struct ms_op *op)
{
	struct ms_key key;
	const void *value;
	uint32_t len;
	int rc = xattr_name_check(op->req->name.bytes, op->req->name.len);

	if (rc < 0)
		return rc;
	key = ms_key_xattr(op->req->ino, op->req->name);
	rc = ms_txn_get(op->state->txn, key.bytes, key.len, &value, &len);
	if (rc < 0)
		return rc == -E_NOENT ? -E_NODATA : rc;
	op->effect.reply.bulk = value;
	op->effect.reply.bulk_len = len;
	return 0;
}

int ms_xattr_list(struct ms_op *op)
{
	uint32_t count;
	int len = list_names(op->state->txn, op->req->ino, op->state->reply_bytes, &count);

	if (len < 0)
		return len;
	op->effect.reply.bulk = op->state->reply_bytes;
	op->effect.reply.bulk_len = (uint32_t)len;
	return 0;
}

/* A write or a change of owner takes away file capabilities, like the set-user-id bit. */
void ms_xattr_drop_capability(struct ms_state *state, struct ms_inode *inode)
{
	struct ms_name name = { (const uint8_t *)XATTR_CAPABILITY, sizeof XATTR_CAPABILITY - 1 };
	struct ms_key key;
	const void *value;
	uint32_t len;

	if (!(inode->attr.flags & MS_INODE_FLAG_XATTRS))
		return;
	key = ms_key_xattr(inode->attr.ino, name);
	if (ms_txn_get(state->txn, key.bytes, key.len, &value, &len) < 0)
		return;
	ms_txn_del(state->txn, key.bytes, key.len);
	(void)store_flags(state, inode);	/* as in ms_xattr_changed() */
}

void ms_xattr_drop_all(struct ms_state *state, inode_no ino)
{
	struct ms_key at = ms_key_xattr(ino, (struct ms_name){ (const uint8_t *)"", 0 });
	struct ms_name name;

	while (next_name(state->txn, ino, &at, &name) == 0)
		ms_txn_del(state->txn, at.bytes, at.len - 1);
}

static bool is_users(struct ms_name name)
{
	return ms_acl_is_name(name) || (name.len >= 5 && memcmp(name.bytes, "user.", 5) == 0);
}

static int copy_one(struct ms_txn *txn, inode_no from, inode_no to, struct ms_name name)
{
	struct ms_key key = ms_key_xattr(from, name), copy = ms_key_xattr(to, name);
	const void *value;
	uint32_t len;
	int rc = ms_txn_get(txn, key.bytes, key.len, &value, &len);

	if (rc == 0)
		ms_txn_put(txn, copy.bytes, copy.len, len ? value : "", len);
	return rc;
}

int ms_xattr_copy(struct ms_state *state, inode_no from, struct ms_inode *to, bool all,
		  struct ms_clone_work *at)
{
	while (ms_txn_event_bytes(state->txn) <= MS_EVENT_BYTES_SOFT) {
		struct ms_key key = ms_key_xattr(from, (struct ms_name){ at->name, at->name_len });
		struct ms_name name;
		int rc = next_name(state->txn, from, &key, &name);

		if (rc == -E_NOENT) {
			rc = store_flags(state, to);
			return rc < 0 ? rc : 1;
		}
		if (rc < 0)
			return rc;
		memcpy(at->name, name.bytes, name.len);		/* borrowed from the rows */
		at->name[name.len] = 0;
		at->name_len = name.len + 1;
		name.bytes = at->name;
		rc = all || is_users(name) ? copy_one(state->txn, from, to->attr.ino, name) : 0;
		if (rc < 0)
			return rc;
	}
	return 0;
}
