/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opens: create, open, and what happens between an open that was answered ESTALE and its second
 * try. The kernel looks the path up once more and gives up if that open is ESTALE too: so what was
 * opened stays open for it, and if by then the name is another inode's, that is opened before the
 * lookup is answered. So a file that is replaced meanwhile is no reason to fail.
 */
#include "client/fuse/front_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

/* Each time another node or process must have replaced the file in between. */
#define HOLD_TRIES 16u

/* --- what is open ---------------------------------------------------------------------------- */

/*
 * Who only writes needs no pages: without them a write is copied once instead of twice, and the
 * kernel does not ask for security.capability before the first. Of an inode with such an attribute
 * it must ask, for a write takes it away. Who appends must have none: the kernel would put the
 * bytes where it believes the end to be, and another node may have moved it.
 */
static bool writes_past_pages(const struct front_op *fop)
{
	int access = fop->fi.flags & O_ACCMODE;

	return (access == O_WRONLY && !fop->op.attr.has_xattrs) ||
	       (access != O_RDONLY && (fop->fi.flags & O_APPEND));
}

static void fill_opened(struct front_op *fop)
{
	fop->fi.fh = (uintptr_t)fop->op.opened;
	fop->fi.keep_cache = fop->op.keep_cache;
	fop->fi.direct_io = fop->op.direct_io || (fop->fi.flags & O_DIRECT) != 0 ||
			    writes_past_pages(fop);
	client_handle_set_direct(fop->op.opened, fop->fi.direct_io);
	fop->fi.parallel_direct_writes = 1;
	/*
	 * The close of a handle that wrote nothing has nothing to wait for; but POSIX locks end
	 * with any descriptor of the file, and only a FLUSH tells whose. Where nobody locks nobody
	 * pays for that. What was opened before the first lock of the mount and had locks itself
	 * gives them up with its RELEASE.
	 */
	fop->fi.noflush = (fop->fi.flags & O_ACCMODE) == O_RDONLY &&
			  !client_uses_posix_locks(fop->front->client);
}

static void unclaimed_done(struct cl_op *op)
{
	free(op);
}

/* Nobody else will close what was opened: the asker went away before our reply, or asked anew. */
static void release_unclaimed(struct front_op *fop)
{
	struct cl_op *op = fop->op.opened ? calloc(1, sizeof *op) : NULL;

	if (!op)
		return;		/* out of memory: the handle stays until the unmount */
	op->kind = CL_RELEASE;
	op->ino = fop->op.ino;
	op->handle = fop->op.opened;
	op->done = unclaimed_done;
	fop->op.opened = NULL;
	client_submit(fop->front->client, op);
}

/* --- second tries ---------------------------------------------------------------------------- */

/* What is open here has not met the kernel's pages yet. */
static void forget_pages(struct front_op *fop)
{
	fop->op.keep_cache = false;
	client_pages_unknown(fop->front->client, fop->op.ino);
}

/* For the open that follows ESTALE; else nothing of it is needed any more. */
static void keep(struct front_op *fop, int tid)
{
	forget_pages(fop);
	fop->is_parked = fop->op.kind == CL_OPEN && passthrough_keep(fop->front->pass, tid, fop);
	if (!fop->is_parked)
		release_unclaimed(fop);
}

void front_open_lapse(void *arg, void *kept)
{
	struct front *f = arg;
	struct front_op *fop = kept;

	if (fop->held_for && f->watch) {
		fop->is_given_up = true;	/* held() follows */
		return;
	}
	if (f->watch)		/* else the client is gone, with all its handles */
		release_unclaimed(fop);
	front_op_destroy(fop);
}

/* The name is another's now: look up again. */
static void look_again(struct front_op *lookup)
{
	struct cl_op op = { .kind = CL_LOOKUP, .uid = lookup->op.uid, .gid = lookup->op.gid,
			    .parent = lookup->op.parent, .name = lookup->op.name };

	front_forget(lookup->front, lookup->op.attr.st.st_ino, 1);
	lookup->op = op;
	lookup->is_parked = false;
	front_op_resubmit(lookup);
}

static void held(struct cl_op *op)
{
	struct front_op *fop = container_of(op, struct front_op, op), *lookup = fop->held_for;
	bool is_gone = op->rc == -E_STALE && lookup->tries < HOLD_TRIES;

	fop->held_for = NULL;
	forget_pages(fop);
	if (fop->is_given_up)
		front_open_lapse(fop->front, fop);
	if (is_gone) {
		look_again(lookup);
		return;
	}
	lookup->tries = HOLD_TRIES;
	front_reply_entry(lookup);
	front_op_destroy(lookup);
}

bool front_open_hold(struct front_op *lookup)
{
	struct front_op *fop = passthrough_peek(lookup->front->pass,
						fuse_req_ctx(lookup->req)->pid);
	inode_no ino = lookup->op.attr.st.st_ino;
	struct cl_op op = { .kind = CL_OPEN, .uid = lookup->op.uid, .gid = lookup->op.gid,
			    .ino = ino, .done = held };

	if (!fop || fop->held_for || lookup->tries >= HOLD_TRIES ||
	    !S_ISREG(lookup->op.attr.st.st_mode) || (fop->op.opened && fop->op.ino == ino))
		return false;
	release_unclaimed(fop);
	op.flags = fop->op.flags;
	op.kill_priv = fop->op.kill_priv;
	fop->op = op;
	fop->held_for = lookup;
	lookup->tries++;
	lookup->is_parked = true;
	client_submit(lookup->front->client, &fop->op);
	return true;
}

/* --- replies --------------------------------------------------------------------------------- */

/*
 * How the kernel is to use it; false: an error was replied. The client takes the kernel's pages for
 * those of this open: not so, if it is not opened, or opened aside.
 */
static bool pass_opened(struct front_op *fop)
{
	struct passthrough *pt = fop->front->pass;
	struct passthrough_open open = { fop->node, fuse_req_ctx(fop->req)->pid, &fop->fi };
	int rc;

	passthrough_is(pt, &fop->op.attr);
	rc = passthrough_open(pt, &open);
	/* The kernel reads the tier's file, and does not tell. */
	if (rc == 0 && fop->fi.backing_id && !(fop->fi.flags & O_NOATIME))
		client_was_read(fop->front->client, fop->op.attr.st.st_ino);
	if (rc < 0 || knode_is_aside(fop->node))
		client_pages_unknown(fop->front->client, fop->op.attr.st.st_ino);
	if (rc == 0)
		return true;
	if (rc == -ESTALE)
		keep(fop, open.tid);
	else
		release_unclaimed(fop);
	fuse_reply_err(fop->req, -rc);
	return false;
}

static void reply_open(struct front_op *fop)
{
	int tid = fuse_req_ctx(fop->req)->pid;

	if (front_op_failed(fop)) {
		if (fop->op.rc == -E_STALE)
			keep(fop, tid);
		return;
	}
	fill_opened(fop);
	if (pass_opened(fop) && fuse_reply_open(fop->req, &fop->fi) == -ENOENT) {
		client_pages_unknown(fop->front->client, fop->op.ino);
		passthrough_release(fop->front->pass, fop->node);
		release_unclaimed(fop);
	}
}

/* For the open that follows: what the kernel now finds is opened before its lookup is answered. */
static void keep_for_open(struct front_op *fop)
{
	fop->fi.flags &= ~(O_CREAT | O_EXCL | O_NOCTTY);
	fop->op = (struct cl_op){ .kind = CL_OPEN, .uid = fop->op.uid, .gid = fop->op.gid,
				  .flags = (uint32_t)fop->fi.flags,
				  .kill_priv = fop->op.kill_priv };
	keep(fop, fuse_req_ctx(fop->req)->pid);
}

/*
 * The name was absent when the kernel looked, so it asked for no permission on the file and will
 * not cut it; another node has made one since. Told ESTALE it looks again, and opens that as what
 * it is. Who was told so already is given the file, if nothing of this matters.
 */
static bool create_again(struct front_op *fop)
{
	struct cl_op op = { .kind = CL_MAKE, .uid = fop->op.uid, .gid = fop->op.gid,
			    .parent = fop->op.parent, .name = fop->op.name, .mode = fop->op.mode,
			    .umask = fop->op.umask,
			    .flags = fop->op.flags, .want_open = true,
			    .kill_priv = fop->op.kill_priv };

	if (fop->op.rc != -E_EXIST || !fop->op.exclusive || (fop->fi.flags & O_EXCL))
		return false;
	if (passthrough_stale(fop->front->pass, fuse_req_ctx(fop->req)->pid, 0)) {
		keep_for_open(fop);
		fuse_reply_err(fop->req, ESTALE);
		return true;
	}
	fop->op = op;
	fop->is_parked = true;
	front_op_resubmit(fop);
	return true;
}

static bool may_have(const struct front_op *fop)
{
	const struct stat *st = &fop->op.attr.st;
	bool was_made = fop->op.exclusive || fop->op.unnamed;
	bool is_free = fop->op.uid == 0 || fop->op.uid == st->st_uid;

	return was_made || (is_free && !((fop->fi.flags & O_TRUNC) && st->st_size > 0));
}

static void reply_create(struct front_op *fop)
{
	struct fuse_entry_param e;

	fop->is_parked = false;
	if (create_again(fop) || front_op_failed(fop))
		return;
	if (!may_have(fop)) {
		release_unclaimed(fop);
		front_forget(fop->front, fop->op.attr.st.st_ino, 1);
		fuse_reply_err(fop->req, ESTALE);
		return;
	}
	fill_opened(fop);
	front_entry_param(fop->front, &fop->op.attr, fop->op.entry_valid_ms, &e);
	fop->node = e.ino;
	if (!pass_opened(fop)) {
		front_forget(fop->front, e.ino, 1);
		return;
	}
	if (fuse_reply_create(fop->req, &e, &fop->fi) == -ENOENT) {
		passthrough_release(fop->front->pass, fop->node);
		release_unclaimed(fop);
		front_forget(fop->front, e.ino, 1);
	}
}

static void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
		      struct fuse_file_info *fi)
{
	struct front_op *fop = front_op_named(req, CL_MAKE, reply_create, name, NULL);

	if (!fop)
		return;
	fop->fi = *fi;
	fop->op.parent = parent;
	fop->op.mode = (mode & ~(mode_t)S_IFMT) | S_IFREG;
	fop->op.umask = front_umask(fop);
	fop->op.flags = (uint32_t)fi->flags;
	fop->op.exclusive = true;
	fop->op.want_open = true;
	fop->op.kill_priv = fi->kill_suidgid;
	front_op_submit(fop);
}

/* O_TMPFILE */
static void op_tmpfile(fuse_req_t req, fuse_ino_t parent, mode_t mode, struct fuse_file_info *fi)
{
	struct front_op *fop = front_op_create(req, CL_MAKE, reply_create, 0);

	if (!fop)
		return;
	fop->fi = *fi;
	fop->op.parent = knode_ino(parent);
	fop->op.mode = (mode & ~(mode_t)S_IFMT) | S_IFREG;
	fop->op.umask = front_umask(fop);
	fop->op.flags = (uint32_t)fi->flags;
	fop->op.exclusive = (fi->flags & O_EXCL) != 0;
	fop->op.unnamed = fop->op.want_open = true;
	front_op_submit(fop);
}

/* What is open already for this thread's second try; false: it is not. */
static bool reopened(fuse_req_t req, fuse_ino_t node, const struct fuse_file_info *fi)
{
	struct front *f = CHECKED_CAST(fuse_req_userdata(req), struct front, FRONT_MAGIC);
	struct front_op *fop = passthrough_kept(f->pass, fuse_req_ctx(req)->pid);

	if (!fop)
		return false;
	if (fop->held_for || !fop->op.opened || fop->op.ino != knode_ino(node) ||
	    fop->fi.flags != fi->flags) {
		front_open_lapse(f, fop);
		return false;
	}
	fop->req = req;
	fop->node = node;
	fop->fi = *fi;
	fop->is_parked = false;
	reply_open(fop);
	front_op_destroy(fop);
	return true;
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct front_op *fop;

	if (reopened(req, ino, fi))
		return;
	fop = front_op_create(req, CL_OPEN, reply_open, 0);
	if (!fop)
		return;
	fop->fi = *fi;
	fop->node = ino;
	fop->op.ino = ino;
	fop->op.flags = (uint32_t)fi->flags;
	fop->op.kill_priv = fi->kill_suidgid;
	front_op_submit(fop);
}

void front_open_fill(struct fuse_lowlevel_ops *ops)
{
	ops->create = op_create;
	ops->tmpfile = op_tmpfile;
	ops->open = op_open;
}
