/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The calls of a disk, whatever the backend: fault points, poison (I4), asynchronous operations,
 * and small files read and replaced whole.
 */
#include "fs/io/disk.h"

#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "fs/base/fault.h"
#include "fs/base/log.h"

#define LOG_MODULE "disk"
#define REPLACE_SUFFIX ".new"

int disk_open(struct disk *d, const char *name, int flags, struct disk_file **out)
{
	int rc;

	ASSERT((flags & DISK_CREATE) == 0 || (flags & DISK_WRITE) != 0);
	if (FAULT(disk_open))
		return -E_IO;
	rc = d->ops->open(d, name, flags, out);
	ASSERT(rc < 0 || (*out)->disk == d);
	return rc;
}

void disk_close(struct disk_file *f)
{
	if (f != NULL)
		f->disk->ops->close(f);
}

int disk_read(struct disk_file *f, void *out, uint32_t len, uint64_t offset)
{
	ASSERT(len <= INT_MAX);
	if (FAULT(disk_read))
		return -E_IO;
	return f->disk->ops->read(f, out, len, offset);
}

int disk_readv(struct disk_file *f, const struct iovec *iov, int iov_count, uint64_t offset)
{
	ASSERT(iov_count >= 1 && iov_count <= IOV_MAX);
	if (FAULT(disk_read))
		return -E_IO;
	return f->disk->ops->readv(f, iov, iov_count, offset);
}

int disk_readv_cached(struct disk_file *f, const struct iovec *iov, int iov_count, uint64_t offset)
{
	ASSERT(iov_count >= 1 && iov_count <= IOV_MAX);
	if (FAULT(disk_read))
		return -E_IO;
	return f->disk->ops->readv_cached(f, iov, iov_count, offset);
}

int disk_cached(struct disk_file *f, uint32_t len, uint64_t offset)
{
	ASSERT(len <= INT_MAX);
	return f->disk->ops->cached(f, len, offset);
}

/* May the file be changed? */
static int may_write(struct disk_file *f)
{
	return atomic_load(&f->is_poisoned) || FAULT(disk_write) ? -E_IO : 0;
}

int disk_write(struct disk_file *f, const void *bytes, uint32_t len, uint64_t offset)
{
	struct iovec iov = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = len };

	return disk_writev(f, &iov, 1, offset);
}

int disk_writev(struct disk_file *f, const struct iovec *iov, int iov_count, uint64_t offset)
{
	int rc = may_write(f);

	ASSERT(iov_count >= 1 && iov_count <= IOV_MAX);
	return rc < 0 ? rc : f->disk->ops->writev(f, iov, iov_count, offset);
}

int disk_sync(struct disk_file *f)
{
	int rc;

	if (atomic_load(&f->is_poisoned))
		return -E_IO;
	rc = FAULT(disk_sync) ? -E_IO : f->disk->ops->sync(f);
	/*
	 * I4: the kernel may have dropped the pages and will say "synced" next time. Never believe
	 * it.
	 */
	if (rc < 0)
		atomic_store(&f->is_poisoned, true);
	return rc;
}

int disk_size(struct disk_file *f, uint64_t *out)
{
	return f->disk->ops->size(f, out);
}

int disk_truncate(struct disk_file *f, uint64_t bytes)
{
	int rc = may_write(f);

	return rc < 0 ? rc : f->disk->ops->truncate(f, bytes);
}

int disk_allocate(struct disk_file *f, uint64_t bytes)
{
	int rc = may_write(f);

	return rc < 0 ? rc : f->disk->ops->allocate(f, bytes);
}

int disk_unlink(struct disk *d, const char *name)
{
	return d->ops->unlink(d, name);
}

int disk_rename(struct disk *d, const char *from, const char *to)
{
	if (FAULT(disk_write))
		return -E_IO;
	return d->ops->rename(d, from, to);
}

int disk_mkdir(struct disk *d, const char *name)
{
	return d->ops->mkdir(d, name);
}

int disk_sync_dir(struct disk *d, const char *name)
{
	if (FAULT(disk_sync))
		return -E_IO;
	return d->ops->sync_dir(d, name);
}

int disk_list(struct disk *d, const char *dir, void (*fn)(void *, const char *), void *arg)
{
	return d->ops->list(d, dir, fn, arg);
}

int disk_space(struct disk *d, struct disk_space *out)
{
	return d->ops->space(d, out);
}

int disk_lock(struct disk *d)
{
	return d->ops->lock(d);
}

void disk_destroy(struct disk *d)
{
	if (d != NULL)
		d->ops->destroy(d);
}

/* --- whole small files ------------------------------------------------------------------------ */

int disk_read_file(struct disk *d, const char *name, void *out, uint32_t capacity)
{
	struct disk_file *f;
	int rc = disk_open(d, name, DISK_READ, &f);

	if (rc < 0)
		return rc;
	rc = disk_read(f, out, capacity, 0);
	disk_close(f);
	return rc;
}

static int write_new(struct disk *d, const char *name, const void *bytes, uint32_t len)
{
	struct disk_file *f;
	int rc = disk_open(d, name, DISK_WRITE | DISK_CREATE, &f);

	if (rc < 0)
		return rc;
	/* One left by a crash may be longer. */
	rc = disk_truncate(f, 0);
	if (rc == 0 && len > 0)
		rc = disk_write(f, bytes, len, 0);
	if (rc == 0)
		rc = disk_sync(f);
	disk_close(f);
	return rc;
}

int disk_replace_file(struct disk *d, const char *name, const void *bytes, uint32_t len)
{
	char new_name[NAME_BYTES_MAX + 1], dir[NAME_BYTES_MAX + 1];
	const char *slash = strchr(name, '/');
	int rc;

	ASSERT(strlen(name) + sizeof REPLACE_SUFFIX <= sizeof new_name);
	snprintf(new_name, sizeof new_name, "%s" REPLACE_SUFFIX, name);
	snprintf(dir, sizeof dir, "%.*s", slash != NULL ? (int)(slash - name) : 0, name);
	rc = write_new(d, new_name, bytes, len);
	if (rc == 0)
		rc = disk_rename(d, new_name, name);
	if (rc < 0) {
		/* The first error is the one to tell; what is left is overwritten next time. */
		if (disk_unlink(d, new_name) < 0)
			log_debug("cannot remove '%s'", new_name);
		return rc;
	}
	return disk_sync_dir(d, dir);
}

/* --- asynchronous ----------------------------------------------------------------------------- */

static void op_run(struct loop_work *work)
{
	struct disk_op *op = container_of(work, struct disk_op, work);

	switch (op->kind) {
	case DISK_OP_READ:
		op->rc = disk_read(op->file, op->data, op->len, op->offset);
		break;
	case DISK_OP_READV:
		op->rc = disk_readv(op->file, op->iov, op->iov_count, op->offset);
		break;
	case DISK_OP_WRITEV:
		op->rc = disk_writev(op->file, op->iov, op->iov_count, op->offset);
		break;
	case DISK_OP_SYNC:
		op->rc = disk_sync(op->file);
		break;
	}
}

static void op_done(struct loop_work *work)
{
	struct disk_op *op = container_of(work, struct disk_op, work);

	op->done(op);
}

void disk_submit(struct loop *loop, struct disk_op *op)
{
	ASSERT(op->kind >= DISK_OP_READ && op->kind <= DISK_OP_SYNC && op->done != NULL);
	op->work.run = op_run;
	op->work.done = op_done;
	loop_work(loop, &op->work);
}
