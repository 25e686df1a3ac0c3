/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk that stumbles at one chosen call: it wraps another and counts the calls of some kinds; the
 * n-th fails, once or from then on for ever (as a machine whose power went). A write that fails has
 * written its first half. So a test can run the same story once for each call that it makes.
 */
#ifndef CAIRN_TESTS_TRIP_DISK_H
#define CAIRN_TESTS_TRIP_DISK_H

#include <stdlib.h>
#include <string.h>

#include "fs/io/disk.h"

enum trip_kind {
	TRIP_OPEN = 1,
	TRIP_READ = 2,
	TRIP_WRITE = 4,
	TRIP_SYNC = 8, /* of files and directories */
	TRIP_TRUNCATE = 16,
	TRIP_ALLOCATE = 32,
	TRIP_UNLINK = 64,
	TRIP_RENAME = 128,
	TRIP_CHANGES =
		TRIP_WRITE | TRIP_SYNC | TRIP_TRUNCATE | TRIP_ALLOCATE | TRIP_UNLINK | TRIP_RENAME,
};

struct trip_disk {
	struct disk base;
	struct disk *inner; /* not owned */
	uint32_t kinds;
	uint64_t at; /* the call that fails, from 1; 0: none */
	int rc;
	bool for_ever;
	uint64_t calls; /* of these kinds so far */
	bool has_tripped;
};

struct trip_file {
	struct disk_file base;
	struct disk_file *inner;
};

static inline struct trip_disk *trip_of(struct disk *disk)
{
	return container_of(disk, struct trip_disk, base);
}

static inline struct disk_file *trip_inner(struct disk_file *file)
{
	return container_of(file, struct trip_file, base)->inner;
}

/* Does this call fail, and how? */
static inline int trip(struct disk *disk, enum trip_kind kind)
{
	struct trip_disk *t = trip_of(disk);

	if (t->has_tripped && t->for_ever)
		return -E_IO;
	if (!(t->kinds & kind) || t->at == 0 || ++t->calls != t->at)
		return 0;
	t->has_tripped = true;
	return t->rc;
}

static inline int trip_open(struct disk *disk, const char *name, int flags, struct disk_file **out)
{
	struct trip_file *file;
	int rc = trip(disk, TRIP_OPEN);

	if (rc < 0)
		return rc;
	file = calloc(1, sizeof(*file));
	ASSERT(file != NULL);
	rc = disk_open(trip_of(disk)->inner, name, flags, &file->inner);
	if (rc < 0) {
		free(file);
		return rc;
	}
	file->base.disk = disk;
	*out = &file->base;
	return rc;
}

static inline void trip_close(struct disk_file *file)
{
	disk_close(trip_inner(file));
	free(container_of(file, struct trip_file, base));
}

static inline int trip_read(struct disk_file *file, void *out, uint32_t len, uint64_t offset)
{
	int rc = trip(file->disk, TRIP_READ);

	return rc < 0 ? rc : disk_read(trip_inner(file), out, len, offset);
}

static inline int trip_readv(struct disk_file *file, const struct iovec *iov, int iov_count,
			     uint64_t offset)
{
	int rc = trip(file->disk, TRIP_READ);

	return rc < 0 ? rc : disk_readv(trip_inner(file), iov, iov_count, offset);
}

static inline int trip_readv_cached(struct disk_file *file, const struct iovec *iov, int iov_count,
				    uint64_t offset)
{
	int rc = trip(file->disk, TRIP_READ);

	return rc < 0 ? rc : disk_readv_cached(trip_inner(file), iov, iov_count, offset);
}

static inline int trip_cached(struct disk_file *file, uint32_t len, uint64_t offset)
{
	return disk_cached(trip_inner(file), len, offset);
}

static inline int trip_writev(struct disk_file *file, const struct iovec *iov, int iov_count,
			      uint64_t offset)
{
	int rc = trip(file->disk, TRIP_WRITE);

	if (rc == 0)
		return disk_writev(trip_inner(file), iov, iov_count, offset);
	if (iov_count > 1)
		(void)!disk_writev(trip_inner(file), iov, iov_count / 2, offset);
	else
		(void)!disk_write(trip_inner(file), iov->iov_base, (uint32_t)iov->iov_len / 2,
				  offset);
	return rc;
}

static inline int trip_sync(struct disk_file *file)
{
	int rc = trip(file->disk, TRIP_SYNC);

	return rc < 0 ? rc : disk_sync(trip_inner(file));
}

static inline int trip_size(struct disk_file *file, uint64_t *out)
{
	return disk_size(trip_inner(file), out);
}

static inline int trip_truncate(struct disk_file *file, uint64_t bytes)
{
	int rc = trip(file->disk, TRIP_TRUNCATE);

	return rc < 0 ? rc : disk_truncate(trip_inner(file), bytes);
}

static inline int trip_allocate(struct disk_file *file, uint64_t bytes)
{
	int rc = trip(file->disk, TRIP_ALLOCATE);

	return rc < 0 ? rc : disk_allocate(trip_inner(file), bytes);
}

static inline int trip_unlink(struct disk *disk, const char *name)
{
	int rc = trip(disk, TRIP_UNLINK);

	return rc < 0 ? rc : disk_unlink(trip_of(disk)->inner, name);
}

static inline int trip_rename(struct disk *disk, const char *from, const char *to)
{
	int rc = trip(disk, TRIP_RENAME);

	return rc < 0 ? rc : disk_rename(trip_of(disk)->inner, from, to);
}

static inline int trip_mkdir(struct disk *disk, const char *name)
{
	return disk_mkdir(trip_of(disk)->inner, name);
}

static inline int trip_sync_dir(struct disk *disk, const char *name)
{
	int rc = trip(disk, TRIP_SYNC);

	return rc < 0 ? rc : disk_sync_dir(trip_of(disk)->inner, name);
}

static inline int trip_list(struct disk *disk, const char *dir,
			    void (*fn)(void *arg, const char *name), void *arg)
{
	return disk_list(trip_of(disk)->inner, dir, fn, arg);
}

static inline int trip_space(struct disk *disk, struct disk_space *out)
{
	return disk_space(trip_of(disk)->inner, out);
}

static inline int trip_lock(struct disk *disk)
{
	return disk_lock(trip_of(disk)->inner);
}

static inline void trip_destroy(struct disk *disk)
{
	(void)disk; /* the caller's memory */
}

static const struct disk_ops TRIP_DISK_OPS = {
	.open = trip_open,
	.close = trip_close,
	.read = trip_read,
	.readv = trip_readv,
	.readv_cached = trip_readv_cached,
	.cached = trip_cached,
	.writev = trip_writev,
	.sync = trip_sync,
	.size = trip_size,
	.truncate = trip_truncate,
	.allocate = trip_allocate,
	.unlink = trip_unlink,
	.rename = trip_rename,
	.mkdir = trip_mkdir,
	.sync_dir = trip_sync_dir,
	.list = trip_list,
	.space = trip_space,
	.lock = trip_lock,
	.destroy = trip_destroy,
};

static inline void trip_disk_init(struct trip_disk *t, struct disk *inner)
{
	memset(t, 0, sizeof(*t));
	t->base.ops = &TRIP_DISK_OPS;
	t->inner = inner;
}

/* The n-th call of these kinds fails with rc. */
static inline void trip_disk_arm(struct trip_disk *t, uint32_t kinds, uint64_t at, int rc)
{
	t->kinds = kinds;
	t->at = at;
	t->rc = rc;
	t->calls = 0;
	t->has_tripped = false;
}

#endif
