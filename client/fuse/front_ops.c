/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names, attributes, extended attributes: decode, submit, reply.
 */
#include "client/fuse/front_internal.h"
#include "client/fuse/task.h"

#include <errno.h>
#include <linux/limits.h>
#include <stdlib.h>
#include <string.h>

#include "fs/disk/acl.h"

/* --- replies ---------------------------------------------------------------------------------- */

/* Of several nodes of an inode the kernel would change one and believe the others. */
double front_attr_seconds(const struct front *f, const struct cl_attr *attr)
{
	return passthrough_is_shown_twice(f->pass, attr->st.st_ino) ? 0 :
								      front_seconds(attr->valid_ms);
}

/* A kernel that cannot be told to forget names has to ask for each. */
static double entry_seconds(const struct front *f, uint64_t valid_ms)
{
	return f->has_epoch ? front_seconds(valid_ms) : 0;
}

void front_entry_param(const struct front *f, const struct cl_attr *attr, uint64_t entry_valid_ms,
		       struct fuse_entry_param *out)
{
	memset(out, 0, sizeof *out);
	out->ino = attr->st.st_ino;
	out->attr = attr->st;
	out->attr_timeout = front_attr_seconds(f, attr);
	out->entry_timeout = entry_seconds(f, entry_valid_ms);
}

/* The node that is told: 0, or a code. */
static int entry_node(struct front_op *fop, struct fuse_entry_param *e)
{
	struct passthrough *pt = fop->front->pass;
	int rc = 0;

	if (fop->node) {		/* by a file handle */
		rc = passthrough_lookup_node(pt, fop->node);
		e->ino = fop->node;
	} else if (fop->op.kind == CL_LOOKUP) {
		e->ino = passthrough_lookup(pt, e->ino, fuse_req_ctx(fop->req)->pid);
	}
	if (knode_is_aside(e->ino)) {
		e->attr_timeout = 0;
		front_notify_node(fop->front, fop->op.attr.st.st_ino);
	}
	return rc;
}

void front_reply_entry(struct front_op *fop)
{
	struct fuse_entry_param e;

	if (fop->op.rc == -E_NOENT && fop->op.kind == CL_LOOKUP && fop->op.entry_valid_ms > 0) {
		memset(&e, 0, sizeof e);	/* a name known to be absent, under lease */
		e.entry_timeout = entry_seconds(fop->front, fop->op.entry_valid_ms);
		fuse_reply_entry(fop->req, &e);
		return;
	}
	if (front_op_failed(fop))
		return;
	passthrough_is(fop->front->pass, &fop->op.attr);
	if (fop->op.kind == CL_LOOKUP && !fop->node && front_open_hold(fop))
		return;
	front_entry_param(fop->front, &fop->op.attr, fop->op.entry_valid_ms, &e);
	fop->op.rc = entry_node(fop, &e);
	if (fop->op.rc < 0) {
		front_forget(fop->front, e.attr.st_ino, 1);
		(void)front_op_failed(fop);
		return;
	}
	/* A reply that found no asker (interrupted) gives its lookup back. */
	if (fuse_reply_entry(fop->req, &e) == -ENOENT)
		front_forget(fop->front, e.ino, 1);
}

void front_reply_status(struct front_op *fop)
{
	if (!front_op_failed(fop))
		fuse_reply_err(fop->req, 0);
}

static void reply_attr(struct front_op *fop)
{
	if (front_op_failed(fop))
		return;
	passthrough_is(fop->front->pass, &fop->op.attr);
	fuse_reply_attr(fop->req, &fop->op.attr.st, front_attr_seconds(fop->front, &fop->op.attr));
}

static void reply_target(struct front_op *fop)
{
	if (front_op_failed(fop))
		return;
	((char *)fop->data)[MIN_OF(fop->op.out_len, SYMLINK_BYTES_MAX)] = '\0';
	fuse_reply_readlink(fop->req, fop->data);
}

static void reply_sized(struct front_op *fop)
{
	if (front_op_failed(fop))
		return;
	if (fop->size == 0)
		fuse_reply_xattr(fop->req, fop->op.out_len);
	else
		fuse_reply_buf(fop->req, fop->data, fop->op.out_len);
}

static void reply_statfs(struct front_op *fop)
{
	const struct cl_op *op = &fop->op;
	struct statvfs st = { .f_bsize = BLOCK_BYTES_MAX, .f_frsize = 4096,
			      .f_namemax = NAME_BYTES_MAX };

	if (front_op_failed(fop))
		return;
	st.f_blocks = op->fs_bytes_total / st.f_frsize;
	st.f_bfree = st.f_bavail = op->fs_bytes_free / st.f_frsize;
	st.f_files = op->fs_files;
	st.f_ffree = st.f_favail = op->fs_files_free;
	fuse_reply_statfs(fop->req, &st);
}

/* --- requests --------------------------------------------------------------------------------- */

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct front_op *fop = front_op_named(req, CL_LOOKUP, front_reply_entry, name, NULL);

	if (!fop)
		return;
	fop->op.parent = knode_ino(parent);
	if (strcmp(name, ".") == 0)
		fop->node = parent;
	front_op_submit(fop);
}

static void forget_done(struct cl_op *op)
{
	free(op);
}

void front_forget(struct front *f, uint64_t node, uint64_t count)
{
	struct cl_op *op = calloc(1, sizeof *op);

	passthrough_forget(f->pass, node, count);
	if (!op)
		return;		/* the client only keeps the inode cached for longer */
	op->kind = CL_FORGET;
	op->ino = knode_ino(node);
	op->lookups = count;
	op->done = forget_done;
	client_submit(f->client, op);
}

static void forgotten(struct cl_op *op unused_arg)
{
}

/* Many come at a time, and none of them waits. */
static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	struct front *f = CHECKED_CAST(fuse_req_userdata(req), struct front, FRONT_MAGIC);

	for (size_t i = 0; i < count; i++) {
		struct cl_op op = { .kind = CL_FORGET, .ino = knode_ino(forgets[i].ino),
				    .lookups = forgets[i].nlookup, .done = forgotten };

		passthrough_forget(f->pass, forgets[i].ino, forgets[i].nlookup);
		client_run(f->client, &op);
	}
	fuse_reply_none(req);
}

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count)
{
	struct fuse_forget_data one = { .ino = ino, .nlookup = count };

	op_forget_multi(req, 1, &one);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct front_op *fop = front_op_create(req, CL_GETATTR, reply_attr, 0);

	if (!fop)
		return;
	fop->op.ino = ino;
	if (fi)
		fop->op.handle = (struct cl_handle *)(uintptr_t)fi->fh;
	front_op_submit(fop);
}

/* The kernel's bits are not the protocol's. */
static uint32_t set_mask_of(int to_set)
{
	static const struct { int kernel; uint32_t ours; } bits[] = {
		{ FUSE_SET_ATTR_MODE, CL_SET_MODE },
		{ FUSE_SET_ATTR_UID, CL_SET_UID },
		{ FUSE_SET_ATTR_GID, CL_SET_GID },
		{ FUSE_SET_ATTR_SIZE, CL_SET_SIZE },
		{ FUSE_SET_ATTR_ATIME, CL_SET_ATIME },
		{ FUSE_SET_ATTR_MTIME, CL_SET_MTIME },
		{ FUSE_SET_ATTR_ATIME_NOW, CL_SET_ATIME_NOW },
		{ FUSE_SET_ATTR_MTIME_NOW, CL_SET_MTIME_NOW },
		{ FUSE_SET_ATTR_KILL_SUID, CL_SET_KILL_PRIV },
		{ FUSE_SET_ATTR_KILL_SGID, CL_SET_KILL_PRIV },
		{ FUSE_SET_ATTR_KILL_PRIV, CL_SET_KILL_PRIV },
	};
	uint32_t mask = 0;

	for (size_t i = 0; i < ARRAY_COUNT(bits); i++)
		if (to_set & bits[i].kernel)
			mask |= bits[i].ours;
	return mask;
}

static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int to_set,
		       struct fuse_file_info *fi)
{
	struct front_op *fop = front_op_create(req, CL_SETATTR, reply_attr, 0);

	if (!fop)
		return;
	fop->op.ino = ino;
	fop->op.set_mask = set_mask_of(to_set);
	fop->op.mode = st->st_mode;
	fop->op.new_uid = st->st_uid;
	fop->op.new_gid = st->st_gid;
	fop->op.size = (uint64_t)st->st_size;
	fop->op.atime_ns = cl_node_ns_of_time(&st->st_atim);
	fop->op.mtime_ns = cl_node_ns_of_time(&st->st_mtim);
	fop->op.kill_priv = (fop->op.set_mask & CL_SET_KILL_PRIV) != 0;
	if (fi)
		fop->op.handle = (struct cl_handle *)(uintptr_t)fi->fh;
	front_op_submit(fop);
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct front_op *fop = front_op_create(req, CL_READLINK, reply_target, 0);

	if (!fop)
		return;
	fop->data = malloc(SYMLINK_BYTES_MAX + 1);
	if (!fop->data) {
		front_op_refuse(fop, ENOMEM);
		return;
	}
	fop->op.ino = ino;
	fop->op.out = fop->data;
	fop->op.out_capacity = SYMLINK_BYTES_MAX;
	front_op_submit(fop);
}

uint32_t front_umask(const struct front_op *fop)
{
	return fop->front->has_acl ? fuse_req_ctx(fop->req)->umask & 0777 : 0;
}

static void make(fuse_req_t req, fuse_ino_t parent, const char *name, uint32_t mode, dev_t rdev)
{
	struct front_op *fop = front_op_named(req, CL_MAKE, front_reply_entry, name, NULL);

	if (!fop)
		return;
	fop->op.parent = parent;
	fop->op.mode = mode;
	fop->op.umask = front_umask(fop);
	fop->op.rdev = (uint32_t)rdev;
	fop->op.exclusive = true;
	front_op_submit(fop);
}

static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	make(req, parent, name, mode & S_IFMT ? mode : mode | S_IFREG, rdev);
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	make(req, parent, name, (mode & ~(mode_t)S_IFMT) | S_IFDIR, 0);
}

static void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	struct front_op *fop = front_op_named(req, CL_MAKE, front_reply_entry, name, target);

	if (!fop)
		return;
	fop->op.parent = parent;
	fop->op.mode = S_IFLNK | 0777;
	fop->op.target = front_op_second(fop);
	fop->op.exclusive = true;
	front_op_submit(fop);
}

static void unlink_name(fuse_req_t req, fuse_ino_t parent, const char *name, bool is_directory)
{
	struct front_op *fop = front_op_named(req, CL_UNLINK, front_reply_status, name, NULL);

	if (!fop)
		return;
	fop->op.parent = parent;
	fop->op.is_directory = is_directory;
	front_op_submit(fop);
}

static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	unlink_name(req, parent, name, false);
}

static void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	unlink_name(req, parent, name, true);
}

static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
		      const char *new_name, unsigned int flags)
{
	struct front_op *fop = front_op_named(req, CL_RENAME, front_reply_status, name, new_name);

	if (!fop)
		return;
	fop->op.parent = parent;
	fop->op.new_parent = new_parent;
	fop->op.new_name = front_op_second(fop);
	fop->op.flags = flags;
	front_op_submit(fop);
}

static void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t new_parent, const char *new_name)
{
	struct front_op *fop = front_op_named(req, CL_LINK, front_reply_entry, new_name, NULL);

	if (!fop)
		return;
	fop->op.ino = ino;
	fop->op.parent = new_parent;
	front_op_submit(fop);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct front_op *fop = front_op_create(req, CL_STATFS, reply_statfs, 0);

	if (!fop)
		return;
	fop->op.ino = ino;
	front_op_submit(fop);
}

/* --- extended attributes ---------------------------------------------------------------------- */

/*
 * ACLs are a property of the file system: where there are none, "not supported" makes ls stop
 * asking after its first question, and ENOSYS would switch off every getxattr of the mount for
 * ever. security.selinux likewise.
 */
static bool name_is_refused(fuse_req_t req, const char *name)
{
	const struct front *f = CHECKED_CAST(fuse_req_userdata(req), struct front, FRONT_MAGIC);
	bool is_acl = strncmp(name, ACL_NAME_PREFIX, sizeof ACL_NAME_PREFIX - 1) == 0;

	return (is_acl && !f->has_acl) || strcmp(name, "security.selinux") == 0;
}

/* Room for `bytes`, and what the kernel asked for; size 0 only asks how much there is. */
static void submit_sized(struct front_op *fop, fuse_ino_t ino, size_t bytes, size_t size)
{
	fop->op.ino = ino;
	fop->size = size;
	if (bytes) {
		fop->data = malloc(bytes);
		if (!fop->data) {
			front_op_refuse(fop, ENOMEM);
			return;
		}
	}
	fop->op.out = fop->data;
	fop->op.out_capacity = (uint32_t)bytes;
	front_op_submit(fop);
}

static void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	struct front_op *fop;

	if (name_is_refused(req, name)) {
		fuse_reply_err(req, EOPNOTSUPP);
		return;
	}
	fop = front_op_named(req, CL_GETXATTR, reply_sized, name, NULL);
	if (fop)
		submit_sized(fop, ino, size, size);
}

static bool is_trusted(const char *name)
{
	return strncmp(name, "trusted.", sizeof "trusted." - 1) == 0;
}

/* Names that only who administrates the system may see; the kernel leaves hiding them to us. */
static void names_hide(struct front_op *fop)
{
	char *names = fop->data;
	size_t len = 0, all = fop->op.out_len;
	bool is_known = false, is_admin = false;

	for (size_t at = 0, bytes; at < all; at += bytes) {
		bytes = strnlen(names + at, all - at - 1) + 1;
		if (is_trusted(names + at) && !is_known) {
			is_admin = task_is_admin(fuse_req_ctx(fop->req)->pid);
			is_known = true;
		}
		if (is_trusted(names + at) && !is_admin)
			continue;
		memmove(names + len, names + at, bytes);
		len += bytes;
	}
	fop->op.out_len = (uint32_t)len;
}

static void reply_names(struct front_op *fop)
{
	if (front_op_failed(fop))
		return;
	names_hide(fop);
	if (fop->size == 0)
		fuse_reply_xattr(fop->req, fop->op.out_len);
	else if (fop->op.out_len > fop->size)
		fuse_reply_err(fop->req, ERANGE);
	else
		fuse_reply_buf(fop->req, fop->data, fop->op.out_len);
}

/* All of them, since their length is of what may be seen. */
static void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	struct front_op *fop = front_op_create(req, CL_LISTXATTR, reply_names, 0);

	if (!fop)
		return;
	submit_sized(fop, ino, XATTR_LIST_MAX, size);
}

static void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value,
			size_t size, int flags)
{
	struct front_op *fop;

	if (name_is_refused(req, name)) {
		fuse_reply_err(req, EOPNOTSUPP);
		return;
	}
	fop = front_op_named(req, CL_SETXATTR, front_reply_status, name, NULL);
	if (!fop)
		return;
	fop->data = malloc(size ? size : 1);
	if (!fop->data) {
		front_op_refuse(fop, ENOMEM);
		return;
	}
	memcpy(fop->data, value, size);
	fop->op.ino = ino;
	fop->op.bytes = fop->data;
	fop->op.bytes_len = (uint32_t)size;
	fop->op.flags = (uint32_t)flags;
	if (front_device_kills_sgid(fop->front))
		fop->op.flags |= CL_XATTR_KILL_SGID;
	front_op_submit(fop);
}

static void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	struct front_op *fop;

	if (name_is_refused(req, name)) {
		fuse_reply_err(req, EOPNOTSUPP);
		return;
	}
	fop = front_op_named(req, CL_REMOVEXATTR, front_reply_status, name, NULL);
	if (!fop)
		return;
	fop->op.ino = ino;
	front_op_submit(fop);
}

void front_ops_fill(struct fuse_lowlevel_ops *ops)
{
	ops->lookup = op_lookup;
	ops->forget = op_forget;
	ops->forget_multi = op_forget_multi;
	ops->getattr = op_getattr;
	ops->setattr = op_setattr;
	ops->readlink = op_readlink;
	ops->mknod = op_mknod;
	ops->mkdir = op_mkdir;
	ops->symlink = op_symlink;
	ops->unlink = op_unlink;
	ops->rmdir = op_rmdir;
	ops->rename = op_rename;
	ops->link = op_link;
	ops->statfs = op_statfs;
	ops->getxattr = op_getxattr;
	ops->listxattr = op_listxattr;
	ops->setxattr = op_setxattr;
	ops->removexattr = op_removexattr;
}
