/* SPDX-License-Identifier: Apache-2.0 */
/*
 * statx: what getattr tells, and the time of birth. The kernel asks so only who wants that time.
 */
#include "client/fuse/front_internal.h"

#include <sys/sysmacros.h>

static struct statx_timestamp stamp_of(struct timespec t)
{
	return (struct statx_timestamp){ .tv_sec = t.tv_sec, .tv_nsec = (uint32_t)t.tv_nsec };
}

static void fill(const struct cl_attr *attr, struct statx *out)
{
	const struct stat *st = &attr->st;

	*out = (struct statx){
		.stx_mask = STATX_BASIC_STATS | STATX_BTIME,
		.stx_blksize = (uint32_t)st->st_blksize,
		.stx_nlink = (uint32_t)st->st_nlink,
		.stx_uid = st->st_uid,
		.stx_gid = st->st_gid,
		.stx_mode = (uint16_t)st->st_mode,
		.stx_ino = st->st_ino,
		.stx_size = (uint64_t)st->st_size,
		.stx_blocks = (uint64_t)st->st_blocks,
		.stx_atime = stamp_of(st->st_atim),
		.stx_mtime = stamp_of(st->st_mtim),
		.stx_ctime = stamp_of(st->st_ctim),
		.stx_btime = stamp_of(cl_node_time_of_ns(attr->btime_ns)),
		.stx_rdev_major = major(st->st_rdev),
		.stx_rdev_minor = minor(st->st_rdev),
	};
}

static void reply_statx(struct front_op *fop)
{
	struct statx out;

	if (front_op_failed(fop))
		return;
	passthrough_is(fop->front->pass, &fop->op.attr);
	fill(&fop->op.attr, &out);
	fuse_reply_statx(fop->req, 0, &out, front_attr_seconds(fop->front, &fop->op.attr));
}

static void op_statx(fuse_req_t req, fuse_ino_t ino, int flags unused_arg, int mask unused_arg,
		     struct fuse_file_info *fi)
{
	struct front_op *fop = front_op_create(req, CL_GETATTR, reply_statx, 0);

	if (!fop)
		return;
	fop->op.ino = ino;
	if (fi)
		fop->op.handle = (struct cl_handle *)(uintptr_t)fi->fh;
	front_op_submit(fop);
}

void front_statx_fill(struct fuse_lowlevel_ops *ops)
{
	ops->statx = op_statx;
}
