/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listings: "." and "..", then what the client says, packed into the kernel's buffer. Cookies 0, 1
 * and 2 are the start, behind "." and behind ".."; all others are the entries' own, stable under
 * any change.
 */
#include "client/fuse/front_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define COOKIE_DOT    1
#define COOKIE_DOTDOT 2

static void reply_opendir(struct front_op *fop)
{
	if (front_op_failed(fop))
		return;
	fop->fi.fh = (uintptr_t)fop->op.opened;
	/* the kernel looks itself whether the directory has changed: by its mtime */
	fop->fi.cache_readdir = 1;
	fop->fi.keep_cache = fop->op.keep_cache;
	fuse_reply_open(fop->req, &fop->fi);
}

static void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct front_op *fop = front_op_create(req, CL_OPENDIR, reply_opendir, 0);

	if (!fop)
		return;
	fop->fi = *fi;
	fop->op.ino = ino;
	front_op_submit(fop);
}

/* The kernel's buffer while it is being filled. */
struct listing {
	struct front_op *fop;
	char *out;
	size_t len, capacity;
	bool is_plus;
};

/* False: no room. An entry without attributes has node 0, so the kernel looks it up itself. */
static bool listing_add(struct listing *l, const char *name, const struct fuse_entry_param *e,
			uint64_t cookie)
{
	fuse_req_t req = l->fop->req;
	char *at = l->out + l->len;
	size_t left = l->capacity - l->len;
	size_t need = l->is_plus ? fuse_add_direntry_plus(req, at, left, name, e, (off_t)cookie) :
				   fuse_add_direntry(req, at, left, name, &e->attr, (off_t)cookie);

	if (need > left)
		return false;
	l->len += need;
	return true;
}

static bool listing_add_dot(struct listing *l, const char *name, inode_no ino, uint64_t cookie)
{
	struct fuse_entry_param e = { .attr = { .st_ino = ino, .st_mode = S_IFDIR } };

	return listing_add(l, name, &e, cookie);
}

static bool listing_add_entry(struct listing *l, const struct cl_entry *entry)
{
	struct fuse_entry_param e;

	if (l->is_plus && entry->has_attr) {
		front_entry_param(l->fop->front, &entry->attr, entry->entry_valid_ms, &e);
	} else {
		memset(&e, 0, sizeof e);
		e.attr.st_ino = entry->ino;
		e.attr.st_mode = entry->type;
	}
	return listing_add(l, entry->name, &e, entry->cookie);
}

static void listing_fill(struct listing *l, uint64_t from)
{
	const struct cl_op *op = &l->fop->op;
	uint32_t i = 0;

	if (from < COOKIE_DOT && !listing_add_dot(l, ".", op->ino, COOKIE_DOT))
		return;
	if (from < COOKIE_DOTDOT && !listing_add_dot(l, "..", op->parent, COOKIE_DOTDOT))
		return;
	while (i < op->entry_count && listing_add_entry(l, &op->entries[i]))
		i++;
	/*
	 * The client counted a lookup for every entry with attributes: give back those that did not
	 * fit.
	 */
	for (; l->is_plus && i < op->entry_count; i++)
		if (op->entries[i].has_attr)
			front_forget(l->fop->front, op->entries[i].ino, 1);
}

static void reply_listing(struct front_op *fop, bool is_plus)
{
	struct listing l = { .fop = fop, .capacity = fop->size, .is_plus = is_plus };

	if (front_op_failed(fop))
		return;
	l.out = malloc(fop->size);
	if (!l.out) {
		fuse_reply_err(fop->req, ENOMEM);
		return;
	}
	listing_fill(&l, fop->fi.fh);	/* readdir keeps the asked cookie there */
	fuse_reply_buf(fop->req, l.out, l.len);
	free(l.out);
}

static void reply_readdir(struct front_op *fop)
{
	reply_listing(fop, false);
}

static void reply_readdirplus(struct front_op *fop)
{
	reply_listing(fop, true);
}

static void list(fuse_req_t req, fuse_ino_t ino, size_t size, off_t cookie,
		 const struct fuse_file_info *fi, bool is_plus)
{
	struct front_op *fop =
		front_op_create(req, CL_READDIR, is_plus ? reply_readdirplus : reply_readdir, 0);

	if (!fop)
		return;
	fop->size = size;
	fop->op.ino = ino;
	fop->op.handle = (struct cl_handle *)(uintptr_t)fi->fh;
	fop->op.offset = cookie <= COOKIE_DOTDOT ? 0 : (uint64_t)cookie;
	fop->op.length = size;
	fop->op.want_attr = is_plus;
	fop->fi.fh = (uint64_t)cookie;
	front_op_submit(fop);
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t cookie,
		       struct fuse_file_info *fi)
{
	list(req, ino, size, cookie, fi, false);
}

static void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t cookie,
			   struct fuse_file_info *fi)
{
	list(req, ino, size, cookie, fi, true);
}

static void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct front_op *fop = front_op_create(req, CL_RELEASEDIR, front_reply_status, 0);

	if (!fop)
		return;
	fop->op.ino = ino;
	fop->op.handle = (struct cl_handle *)(uintptr_t)fi->fh;
	front_op_submit(fop);
}

static void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi)
{
	struct front_op *fop = front_op_create(req, CL_SYNCFS, front_reply_status, 0);

	(void)data_only;
	if (!fop)
		return;
	fop->op.ino = ino;
	fop->op.handle = (struct cl_handle *)(uintptr_t)fi->fh;
	front_op_submit(fop);
}

void front_dir_fill(struct fuse_lowlevel_ops *ops)
{
	ops->opendir = op_opendir;
	ops->readdir = op_readdir;
	ops->readdirplus = op_readdirplus;
	ops->releasedir = op_releasedir;
	ops->fsyncdir = op_fsyncdir;
}
