/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Open files: read, write, flush, fsync, release, fallocate, lseek, copy_file_range.
 */
#include "client/fuse/front_internal.h"
#include "client/fuse/task.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

static struct cl_handle *handle_of(const struct fuse_file_info *fi)
{
	return (struct cl_handle *)(uintptr_t)fi->fh;
}

/* --- release --------------------------------------------------------------------------------- */

/* An op on an open handle; offset and length where the kind has them. */
static struct front_op *handle_op(fuse_req_t req, enum cl_op_kind kind,
				  void (*reply)(struct front_op *), fuse_ino_t ino,
				  const struct fuse_file_info *fi)
{
	struct front_op *fop = front_op_create(req, kind, reply, 0);

	if (!fop)
		return NULL;
	fop->op.ino = ino;
	fop->op.handle = handle_of(fi);
	return fop;
}

/*
 * A process that is past its exit() closes its files where no signal reaches it. It would wait for
 * servers that may never return, and nobody could end it.
 */
static bool flush_is_abandoned(const struct cl_op *op)
{
	const struct front_op *fop = container_of((void *)(uintptr_t)op, struct front_op, op);

	return (task_flags(fuse_req_ctx(fop->req)->pid) & TASK_EXITING) != 0;
}

/* Of a handle that wrote nothing, by one who locked nothing: most closes. */
static bool is_flushed(const struct front *f, fuse_ino_t ino, const struct fuse_file_info *fi)
{
	return client_handle_is_reader(handle_of(fi)) &&
	       !client_may_have_lock(f->client, knode_ino(ino), fi->lock_owner);
}

static void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct front *f = CHECKED_CAST(fuse_req_userdata(req), struct front, FRONT_MAGIC);
	struct front_op *fop;

	if (is_flushed(f, ino, fi)) {
		fuse_reply_err(req, 0);
		return;
	}
	fop = handle_op(req, CL_FLUSH, front_reply_status, ino, fi);
	if (!fop)
		return;
	fop->op.lock.owner = fi->lock_owner;
	fop->op.is_abandoned = flush_is_abandoned;
	front_op_submit(fop);
}

static void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct front_op *fop = handle_op(req, CL_RELEASE, front_reply_status, ino, fi);

	if (!fop)
		return;
	passthrough_release(fop->front->pass, ino);
	front_op_submit(fop);
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi)
{
	struct front_op *fop = handle_op(req, CL_FSYNC, front_reply_status, ino, fi);

	if (!fop)
		return;
	fop->op.data_only = data_only != 0;
	front_op_submit(fop);
}

/* --- read and write --------------------------------------------------------------------------- */

/* A reply of more pieces than writev(2) takes is first gathered. */
static void reply_gathered(struct front_op *fop)
{
	char *all = malloc(fop->op.out_len);
	size_t at = 0;

	if (!all) {
		fuse_reply_err(fop->req, ENOMEM);
		return;
	}
	for (uint32_t i = 0; i < fop->op.iov_count; i++) {
		memcpy(all + at, fop->op.iov[i].iov_base, fop->op.iov[i].iov_len);
		at += fop->op.iov[i].iov_len;
	}
	fuse_reply_buf(fop->req, all, at);
	free(all);
}

static void reply_read(struct front_op *fop)
{
	if (front_op_failed(fop))
		return;
	if (fop->op.iov_count == 0)
		fuse_reply_buf(fop->req, NULL, 0);
	else if (fop->op.iov_count >= IOV_MAX - 1)
		reply_gathered(fop);
	else
		fuse_reply_iov(fop->req, fop->op.iov, (int)fop->op.iov_count);
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
		    struct fuse_file_info *fi)
{
	struct front_op *fop = handle_op(req, CL_READ, reply_read, ino, fi);

	if (!fop)
		return;
	fop->op.offset = (uint64_t)offset;
	fop->op.length = size;
	front_op_submit(fop);
}

static void reply_write(struct front_op *fop)
{
	if (!front_op_failed(fop))
		fuse_reply_write(fop->req, fop->op.out_len);
}

static void write_is_synced(struct front_op *fop)
{
	fop->is_parked = false;
	if (!front_op_failed(fop))
		fuse_reply_write(fop->req, fop->size);
}

/* D2: behind a write through its pages the kernel asks for a sync itself, if one is wanted. */
static void reply_write_durable(struct front_op *fop)
{
	struct cl_handle *h = fop->op.handle;
	inode_no ino = fop->op.ino;

	if (fop->op.rc < 0 || !client_handle_is_direct(h)) {
		reply_write(fop);
		return;
	}
	fop->size = fop->op.out_len;
	fop->op = (struct cl_op){ .kind = CL_FSYNC, .handle = h, .ino = ino, .data_only = true,
				  .uid = fop->op.uid, .gid = fop->op.gid };
	fop->reply = write_is_synced;
	fop->is_parked = true;
	front_op_resubmit(fop);
}

/* The bytes of a write, beyond the call: small ones are copied, large ones keep their buffer. */
static bool write_keep(struct front_op *fop, const struct fuse_buf *in)
{
	fop->data_is_spare = in->size >= FRONT_KEEP_BYTES;
	fop->data = fop->data_is_spare ? front_device_take(fop->front) :
					 malloc(in->size ? in->size : 1);
	if (!fop->data)
		return false;
	fop->op.bytes = fop->data_is_spare ? in->mem : memcpy(fop->data, in->mem, in->size);
	fop->op.bytes_len = (uint32_t)in->size;
	return true;
}

static void op_write_buf(fuse_req_t req, fuse_ino_t ino, struct fuse_bufvec *in, off_t offset,
			 struct fuse_file_info *fi)
{
	struct front_op *fop = handle_op(req, CL_WRITE, reply_write, ino, fi);

	if (!fop)
		return;
	/* Without splicing libfuse passes the one buffer that the request was read into. */
	ASSERT(in->count == 1 && !(in->buf[0].flags & FUSE_BUF_IS_FD));
	if (!write_keep(fop, &in->buf[0])) {
		front_op_refuse(fop, ENOMEM);
		return;
	}
	fop->op.offset = (uint64_t)offset;
	fop->op.flags = (uint32_t)fi->flags;
	if (fi->flags & O_DSYNC)
		fop->reply = reply_write_durable;
	fop->op.kill_priv = fi->kill_suidgid;
	front_op_submit(fop);
}

/* --- the rest --------------------------------------------------------------------------------- */

static void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
			 struct fuse_file_info *fi)
{
	struct front_op *fop = handle_op(req, CL_FALLOCATE, front_reply_status, ino, fi);

	if (!fop)
		return;
	fop->op.flags = (uint32_t)mode;
	fop->op.offset = (uint64_t)offset;
	fop->op.length = (uint64_t)length;
	/* this request has no flag for it */
	fop->op.kill_priv = fuse_req_ctx(req)->uid != 0;
	front_op_submit(fop);
}

static void reply_lseek(struct front_op *fop)
{
	if (!front_op_failed(fop))
		fuse_reply_lseek(fop->req, (off_t)fop->op.out_offset_found);
}

static void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence,
		     struct fuse_file_info *fi)
{
	struct front_op *fop = handle_op(req, CL_LSEEK, reply_lseek, ino, fi);

	if (!fop)
		return;
	fop->op.offset = (uint64_t)offset;
	fop->op.whence = whence;
	front_op_submit(fop);
}

static void copy_shows(struct passthrough_wait *wait)
{
	struct front_op *fop = container_of(wait, struct front_op, wait);

	reply_write(fop);
	front_op_destroy(fop);
}

/* Not before readers by passthrough see it. */
static void reply_copy(struct front_op *fop)
{
	fop->wait.done = copy_shows;
	fop->is_parked = fop->op.rc >= 0 &&
			 passthrough_is_behind(fop->front->pass, knode_ino(fop->node), &fop->wait);
	if (!fop->is_parked)
		reply_write(fop);
}

static void op_copy_file_range(fuse_req_t req, fuse_ino_t ino, off_t offset,
			       struct fuse_file_info *fi, fuse_ino_t out_ino, off_t out_offset,
			       struct fuse_file_info *out_fi, size_t length, int flags)
{
	struct front_op *fop = handle_op(req, CL_COPY_RANGE, reply_copy, ino, fi);

	if (!fop)
		return;
	fop->node = out_ino;
	fop->op.offset = (uint64_t)offset;
	fop->op.out_handle = handle_of(out_fi);
	fop->op.out_offset = (uint64_t)out_offset;
	fop->op.length = length;
	fop->op.flags = (uint32_t)flags;
	fop->op.kill_priv = fuse_req_ctx(req)->uid != 0;
	front_op_submit(fop);
}

void front_data_fill(struct fuse_lowlevel_ops *ops)
{
	ops->read = op_read;
	ops->write_buf = op_write_buf;
	ops->flush = op_flush;
	ops->release = op_release;
	ops->fsync = op_fsync;
	ops->fallocate = op_fallocate;
	ops->lseek = op_lseek;
	ops->copy_file_range = op_copy_file_range;
}
