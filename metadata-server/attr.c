/* SPDX-License-Identifier: Apache-2.0 */
/* Looking up, reading and setting attributes. Rules of setting are those of setattr on ext4. */
#include "metadata-server/step_internal.h"

int ms_attr_reply(struct ms_op *op, const struct ms_inode *inode)
{
	struct ms_reply *reply = &op->effect.reply;
	struct ms_key key = ms_key_number(MS_KEY_BYTES, inode->attr.ino);
	const void *value;
	uint32_t len;
	int rc;

	reply->attr = inode->attr;
	if (!S_ISLNK(inode->attr.mode))
		return 0;
	rc = ms_txn_get(op->state->txn, key.bytes, key.len, &value, &len);
	if (rc < 0)
		return rc == -E_NOENT ? -E_CORRUPT : rc;
	reply->target = (struct ms_name){ value, len };
	return 0;
}

/*
 * Answer with an inode under a read lease, once nobody else's write lease hides newer attributes.
 */
static int reply_inode(struct ms_op *op, inode_no ino, bool lease)
{
	struct ms_inode inode;
	int rc;

	ms_lease_want(op, ino, 0, MS_LEASE_READ);
	if (ms_lease_is_blocked(op))
		return MS_OP_PARKED;
	rc = ms_inode_get(op->state->txn, ino, &inode);
	if (rc < 0)
		return rc;
	if (lease)
		ms_lease_grant_reply(op, ino, 0, MS_LEASE_READ);
	return ms_attr_reply(op, &inode);
}

/*
 * "." and "..", asked for by who exports the file system by handle: "." of a file too, since a
 * handle names no directory.
 */
static int lookup_dots(struct ms_op *op)
{
	struct ms_inode inode;
	int rc = ms_inode_get(op->state->txn, op->req->parent, &inode);

	if (rc < 0)
		return rc;
	if (op->req->name.len == 1)
		return reply_inode(op, inode.attr.ino, true);
	return ms_inode_is_dir(&inode) ? reply_inode(op, inode.parent, true) : -E_NOTDIR;
}

static bool is_dots(struct ms_name n)
{
	return (n.len == 1 || n.len == 2) && n.bytes[0] == '.' && n.bytes[n.len - 1] == '.';
}

int ms_attr_lookup(struct ms_op *op)
{
	struct ms_dir_slot slot;
	struct ms_inode dir;
	int rc;

	if (is_dots(op->req->name))
		return lookup_dots(op);
	rc = ms_dir_check_name(op->req->name);
	if (rc == 0)
		rc = ms_dir_find(op->state->txn, op->state->config.name_key, op->req->parent,
				 op->req->name, &slot);
	if (rc < 0)
		return rc;
	if (slot.ino) {
		rc = reply_inode(op, slot.ino, true);
		if (rc == 0)
			ms_lease_grant_reply(op, slot.dir, slot.hash, MS_LEASE_READ);
		return rc;
	}
	rc = ms_inode_get(op->state->txn, op->req->parent, &dir);
	if (rc == 0 && !ms_inode_is_dir(&dir))
		rc = -E_NOTDIR;
	if (rc < 0)
		return rc == -E_STALE ? -E_NOENT : rc;	/* removed: no name is in it */
	/* absence may be cached too */
	ms_lease_grant_reply(op, slot.dir, slot.hash, MS_LEASE_READ);
	return -E_NOENT;
}

/*
 * Who appends beside others takes turns with them: each has the write lease until it is recalled,
 * and so appends much with one publish. Merely having the file open does not stand against it.
 */
static int take_turn(struct ms_op *op)
{
	struct ms_inode inode;
	int rc = ms_inode_get(op->state->txn, op->req->ino, &inode);

	if (rc < 0)
		return rc;
	if (!ms_inode_is_file(&inode))
		return -E_INVAL;
	ms_lease_want(op, op->req->ino, 0, MS_LEASE_WRITE);
	if (ms_lease_is_blocked(op))
		return MS_OP_PARKED;
	op->is_beside_opens = true;
	ms_lease_grant_reply(op, op->req->ino, 0, MS_LEASE_WRITE);
	return ms_attr_reply(op, &inode);
}

int ms_attr_get(struct ms_op *op)
{
	if (op->req->write)
		return take_turn(op);
	return reply_inode(op, op->req->ino, op->req->lease);
}

/* --- setting ---------------------------------------------------------------------------------- */

/* A time that is not now: only the owner may tell a file's past. */
static bool gives_a_time(uint32_t mask)
{
	return (mask & (MS_SET_ATIME | MS_SET_ATIME_NOW)) == MS_SET_ATIME ||
	       (mask & (MS_SET_MTIME | MS_SET_MTIME_NOW)) == MS_SET_MTIME;
}

int ms_attr_may_set(const struct ms_request *req, const struct ms_inode *inode)
{
	const struct ms_attr *a = &inode->attr;

	if (req->caller.uid == 0)
		return 0;
	if (req->mask & MS_SET_UID && req->uid != a->uid)
		return -E_PERM;
	/*
	 * Groups, and write permission for "now", are the kernel's to check: it knows the groups.
	 */
	if (req->mask & (MS_SET_MODE | MS_SET_UID | MS_SET_GID) && req->caller.uid != a->uid)
		return -E_PERM;
	if (gives_a_time(req->mask) && req->caller.uid != a->uid)
		return -E_PERM;
	return 0;
}

/* Only sizes that need no data: the rest is a publish of the client's. */
static int may_resize(const struct ms_inode *inode, uint64_t size)
{
	if (ms_inode_is_dir(inode))
		return -E_ISDIR;
	if (!ms_inode_is_file(inode))
		return -E_INVAL;
	if (size > FILE_BYTES_MAX)
		return -E_FBIG;
	if (size != 0 && size < inode->attr.root.length && inode->attr.root.kind != ROOT_INLINE)
		return -E_INVAL;
	return 0;
}

static int resize(struct ms_op *op, struct ms_inode *inode)
{
	struct ms_state *state = op->state;
	struct ms_key key = ms_key_number(MS_KEY_BYTES, inode->attr.ino);
	uint64_t size = op->req->size, old_size = inode->attr.size;
	struct root root = inode->attr.root;
	const void *value = NULL;
	uint32_t len = 0;
	int rc;

	if (size < root.length) {
		if (size == 0) {
			root = (struct root){ .kind = ROOT_EMPTY };
		} else {
			rc = ms_txn_get(state->txn, key.bytes, key.len, &value, &len);
			if (rc < 0 || len != root.length)
				return rc < 0 && rc != -E_NOENT ? rc : -E_CORRUPT;
			root.length = size;
		}
		ms_publish_content(state, inode, &root, value);
	}
	inode->attr.size = size;
	state->counters.bytes_logical += size - old_size;
	ms_step_counters_put(state);
	return 0;
}

static void set_times(struct ms_op *op, struct ms_inode *inode)
{
	const struct ms_request *req = op->req;
	int64_t wall = (int64_t)op->state->wall_ns;

	if (req->mask & (MS_SET_ATIME | MS_SET_ATIME_NOW))
		inode->attr.atime_ns = req->mask & MS_SET_ATIME_NOW ? wall : req->atime_ns;
	if (req->mask & (MS_SET_MTIME | MS_SET_MTIME_NOW))
		inode->attr.mtime_ns = req->mask & MS_SET_MTIME_NOW ? wall : req->mtime_ns;
}

static void set_owner(struct ms_op *op, struct ms_inode *inode)
{
	const struct ms_request *req = op->req;

	if (req->mask & MS_SET_UID)
		inode->attr.uid = req->uid;
	if (req->mask & MS_SET_GID)
		inode->attr.gid = req->gid;
	if (req->mask & MS_SET_KILL_PRIV ||
	    (req->mask & (MS_SET_UID | MS_SET_GID) && !ms_inode_is_dir(inode))) {
		ms_inode_kill_priv(inode, req->mask & MS_SET_KILL_SGID ? MS_KILL_SGID : 0);
		ms_xattr_drop_capability(op->state, inode);
	}
	if (!(req->mask & MS_SET_MODE))
		return;
	inode->attr.mode = (inode->attr.mode & S_IFMT) | (req->mode & 07777);
	ms_acl_follow_mode(op->state, inode);
}

void ms_attr_change(struct ms_op *op, struct ms_inode *inode)
{
	set_owner(op, inode);
	set_times(op, inode);
}

int ms_attr_set(struct ms_op *op)
{
	const struct ms_request *req = op->req;
	struct ms_inode inode;
	int rc = ms_inode_get(op->state->txn, req->ino, &inode);

	if (rc == 0)
		rc = ms_attr_may_set(req, &inode);
	if (rc == 0 && req->mask & MS_SET_SIZE)
		rc = may_resize(&inode, req->size);
	if (rc < 0)
		return rc;
	op->changes_owner = (req->mask & (MS_SET_UID | MS_SET_GID)) != 0;
	ms_lease_want(op, req->ino, 0, MS_LEASE_WRITE);
	if (ms_lease_is_blocked(op))
		return MS_OP_PARKED;
	if (req->mask & MS_SET_SIZE) {
		rc = resize(op, &inode);
		if (rc < 0)
			return rc;
	}
	ms_inode_touch(&inode, op->state->wall_ns, req->mask & MS_SET_SIZE);
	ms_attr_change(op, &inode);
	ms_inode_put(op->state->txn, &inode);
	ms_lease_grant_reply(op, req->ino, 0, MS_LEASE_READ);
	return ms_attr_reply(op, &inode);
}

/* --- access times ----------------------------------------------------------------------------- */

#define DAY_NS	(INT64_C(86400) * 1000000000)

/*
 * Told some time after the read: a change that came in between, utimensat() above all, has the last
 * word. Of many nodes that read a file for the first time, one moves its time.
 */
static bool atime_moves(const struct ms_attr *a, int64_t when_ns, bool is_strict)
{
	if (when_ns <= a->atime_ns || when_ns <= a->ctime_ns)
		return false;
	return is_strict || a->atime_ns <= a->ctime_ns || a->atime_ns <= a->mtime_ns ||
	       a->atime_ns <= when_ns - DAY_NS;
}

/*
 * No version, no lease: nobody builds on an access time, and whoever caches the inode keeps what he
 * has of its content. No slot (I7): told twice is told once.
 */
int ms_attr_atimes(struct ms_op *op)
{
	const struct ms_request *req = op->req;
	struct ms_inode inode;

	for (uint32_t i = 0; i < req->open_count; i++) {
		if (ms_txn_event_bytes(op->state->txn) > MS_EVENT_BYTES_SOFT)
			break;		/* the rest was not promised */
		if (ms_inode_get(op->state->txn, req->opens[i], &inode) < 0 ||
		    !atime_moves(&inode.attr, req->times[i], req->force))
			continue;
		inode.attr.atime_ns = req->times[i];
		ms_inode_put(op->state->txn, &inode);
		ms_lease_outdate(op->state, op->session, inode.attr.ino);
	}
	return 0;
}
