/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Locks: fcntl(2) of both kinds, and flock(2). The kernel keeps none of them for us; whoever waits
 * is an operation that waits, and no thread.
 */
#include "client/fuse/front_internal.h"
#include "client/fuse/task.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>

static enum range_mode mode_of(const struct flock *lock)
{
	if (lock->l_type == F_UNLCK)
		return RANGE_NONE;
	return lock->l_type == F_WRLCK ? RANGE_WRITE : RANGE_READ;
}

static void take_range(struct cl_lock *out, const struct flock *lock)
{
	out->start = (uint64_t)lock->l_start;
	out->end = lock->l_len == 0 ? RANGE_END : out->start + (uint64_t)lock->l_len - 1;
	out->mode = mode_of(lock);
	out->pid = (uint32_t)lock->l_pid;
}

static struct front_op *lock_op(fuse_req_t req, enum cl_op_kind kind, fuse_ino_t ino,
				const struct fuse_file_info *fi, void (*reply)(struct front_op *))
{
	struct front_op *fop = front_op_create(req, kind, reply, 0);

	if (!fop)
		return NULL;
	fop->op.ino = ino;
	fop->op.handle = (struct cl_handle *)(uintptr_t)fi->fh;
	fop->op.lock.owner = fi->lock_owner;
	return fop;
}

/*
 * The kernel does not say whether an owner is a process or an open file, and finds no deadlocks of
 * open files: another thread may unlock. Who asks is in his system call still.
 */
static void reply_lock(struct front_op *fop)
{
	struct cl_op *op = &fop->op;

	if (op->rc == -E_DEADLK && !op->lock.may_cycle &&
	    task_is_in_fcntl(fuse_req_ctx(fop->req)->pid, F_OFD_SETLKW)) {
		struct cl_op again = { .kind = CL_SETLK, .uid = op->uid, .gid = op->gid,
				       .ino = op->ino, .handle = op->handle, .lock = op->lock };

		again.lock.may_cycle = true;
		fop->op = again;
		fop->is_parked = true;
		front_op_resubmit(fop);
		return;
	}
	fop->is_parked = false;
	front_reply_status(fop);
}

static void op_setlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock,
		     int waits)
{
	struct front_op *fop = lock_op(req, CL_SETLK, ino, fi, reply_lock);

	if (!fop)
		return;
	take_range(&fop->op.lock, lock);
	fop->op.lock.waits = waits != 0;
	front_op_submit(fop);
}

static void op_flock(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, int op)
{
	struct front_op *fop = lock_op(req, CL_SETLK, ino, fi, reply_lock);
	struct cl_lock *lock = fop ? &fop->op.lock : NULL;

	if (!fop)
		return;
	lock->is_flock = true;
	lock->end = RANGE_END;
	lock->mode = op & LOCK_EX ? RANGE_WRITE : op & LOCK_SH ? RANGE_READ : RANGE_NONE;
	lock->waits = !(op & LOCK_NB);
	lock->pid = (uint32_t)fuse_req_ctx(req)->pid;
	front_op_submit(fop);
}

static void reply_getlk(struct front_op *fop)
{
	const struct cl_lock *found = &fop->op.lock;
	struct flock lock = { .l_type = F_UNLCK, .l_whence = SEEK_SET };

	if (front_op_failed(fop))
		return;
	if (found->mode != RANGE_NONE) {
		lock.l_type = found->mode == RANGE_WRITE ? F_WRLCK : F_RDLCK;
		lock.l_start = (off_t)found->start;
		lock.l_len = found->end == RANGE_END ? 0 : (off_t)(found->end - found->start + 1);
		lock.l_pid = (pid_t)found->pid;
	}
	fuse_reply_lock(fop->req, &lock);
}

static void op_getlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock)
{
	struct front_op *fop = lock_op(req, CL_GETLK, ino, fi, reply_getlk);

	if (!fop)
		return;
	take_range(&fop->op.lock, lock);
	front_op_submit(fop);
}

void front_lock_fill(struct fuse_lowlevel_ops *ops)
{
	ops->setlk = op_setlk;
	ops->getlk = op_getlk;
	ops->flock = op_flock;
}
