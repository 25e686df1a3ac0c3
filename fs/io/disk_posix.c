/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk that is a directory of the operating system. Every name is opened relative to the
 * descriptor of that directory, so that a renamed or covered path cannot lead two calls to two
 * places.
 *
 * Calls are complete: interrupted and short transfers are continued here, so that callers see a
 * whole transfer, the end of the file, or an error.
 */
#include "fs/io/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOCK_NAME "lock"

struct posix_disk {
	struct disk base;	/* first */
	int fd;			/* of the directory */
	int lock_fd;		/* -1: not locked */
};

struct posix_file {
	struct disk_file base;	/* first */
	int fd;
	bool is_direct;
	/* meant to be direct where that cannot be: what is cached goes before each read */
	bool drops_cache;
};

static struct posix_disk *disk_of(struct disk *d)
{
	return container_of(d, struct posix_disk, base);
}

static int fd_of(struct disk_file *f)
{
	return container_of(f, struct posix_file, base)->fd;
}

static int errno_result(int rc)
{
	return rc < 0 ? error_from_errno(errno) : 0;
}

/* --- files ------------------------------------------------------------------------------------ */

static int posix_open(struct disk *d, const char *name, int flags, struct disk_file **out)
{
	struct posix_file *f = calloc(1, sizeof *f);
	int oflags = O_CLOEXEC | ((flags & DISK_WRITE) ? O_RDWR : O_RDONLY) |
		     ((flags & DISK_CREATE) ? O_CREAT : 0) |
		     ((flags & DISK_EXCLUSIVE) ? O_EXCL : 0);
	int rc;

	if (f == NULL)
		return -E_NOMEM;
	f->base.disk = d;
	f->is_direct = (flags & DISK_DIRECT) != 0;
	f->fd = openat(disk_of(d)->fd, name, oflags | (f->is_direct ? O_DIRECT : 0), 0640);
	if (f->fd < 0 && errno == EINVAL && f->is_direct) {
		f->is_direct = false;
		f->drops_cache = true;
		f->fd = openat(disk_of(d)->fd, name, oflags, 0640);
	}
	if (f->fd < 0) {
		rc = error_from_errno(errno);
		free(f);
		return rc;
	}
	if (flags & DISK_RANDOM)
		(void)posix_fadvise(f->fd, 0, 0, POSIX_FADV_RANDOM);
	*out = &f->base;
	return 0;
}

static void posix_close(struct disk_file *file)
{
	struct posix_file *f = container_of(file, struct posix_file, base);

	/* What had to be durable was synced; close() has nothing to add (I4). */
	close(f->fd);
	free(f);
}

static int posix_read(struct disk_file *file, void *out, uint32_t len, uint64_t offset)
{
	const struct posix_file *f = container_of(file, struct posix_file, base);
	uint8_t *at = out;
	uint32_t done = 0;

	if (f->drops_cache)
		(void)posix_fadvise(f->fd, (off_t)offset, len, POSIX_FADV_DONTNEED);
	while (done < len) {
		ssize_t n = pread(f->fd, at + done, len - done, (off_t)(offset + done));

		if (n == 0)
			break;
		if (n < 0 && errno != EINTR)
			return error_from_errno(errno);
		if (n > 0)
			done += (uint32_t)n;
		/* The end of the file; going on behind it would not be aligned. */
		if (f->is_direct && done % DISK_ALIGN != 0)
			break;
	}
	return (int)done;
}

static int posix_readv(struct disk_file *file, const struct iovec *iov, int iov_count,
		       uint64_t offset)
{
	uint64_t done = 0;
	ssize_t n;

	if (iov_count == 1)
		return posix_read(file, iov->iov_base, (uint32_t)iov->iov_len, offset);
	do {
		n = preadv(fd_of(file), iov, iov_count, (off_t)offset);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return error_from_errno(errno);
	/* Nearly always all of it. The rest of a short one is read piece by piece. */
	for (size_t left = (size_t)n; iov_count > 0; iov++, iov_count--) {
		size_t skip = MIN_OF(left, iov->iov_len);
		uint32_t rest = (uint32_t)(iov->iov_len - skip);
		int rc = rest == 0 ? 0
				   : posix_read(file, (uint8_t *)iov->iov_base + skip, rest,
						offset + done + skip);

		if (rc < 0)
			return rc;
		left -= skip;
		done += skip + (uint32_t)rc;
		if ((uint32_t)rc < rest)
			break;
	}
	return (int)done;
}

static int posix_readv_cached(struct disk_file *file, const struct iovec *iov, int iov_count,
			      uint64_t offset)
{
	ssize_t n;

	do {
		n = preadv2(fd_of(file), iov, iov_count, (off_t)offset, RWF_NOWAIT);
	} while (n < 0 && errno == EINTR);
	/* A file system that cannot tell whether it would wait: assume that it would. */
	if (n < 0)
		return errno == EOPNOTSUPP ? -E_AGAIN : error_from_errno(errno);
	return (int)n;
}

/* cachestat(2), of Linux 6.5; the C library and its headers are older. */
#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif

static int posix_cached(struct disk_file *file, uint32_t len, uint64_t offset)
{
	struct { uint64_t offset, length; } range = { offset, len };
	struct { uint64_t cache, dirty, writeback, evicted, recently_evicted; } pages = { 0 };

	if (syscall(SYS_cachestat, fd_of(file), &range, &pages, 0) < 0)
		return -E_NOSYS;
	return (int)MIN_OF(pages.cache * (uint64_t)sysconf(_SC_PAGESIZE), len);
}

static int write_all(int fd, const uint8_t *bytes, size_t len, uint64_t offset)
{
	while (len > 0) {
		ssize_t n = pwrite(fd, bytes, len, (off_t)offset);

		if (n == 0)
			return -E_IO;
		if (n < 0 && errno != EINTR)
			return error_from_errno(errno);
		if (n > 0) {
			bytes += n;
			len -= (size_t)n;
			offset += (uint64_t)n;
		}
	}
	return 0;
}

static int posix_writev(struct disk_file *file, const struct iovec *iov, int iov_count,
			uint64_t offset)
{
	int fd = fd_of(file);
	ssize_t n;

	do {
		n = pwritev(fd, iov, iov_count, (off_t)offset);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return error_from_errno(errno);
	/* Nearly always all of it. The rest of a short one goes piece by piece. */
	for (size_t written = (size_t)n; iov_count > 0; iov++, iov_count--) {
		size_t skip = MIN_OF(written, iov->iov_len);
		int rc = write_all(fd, (const uint8_t *)iov->iov_base + skip, iov->iov_len - skip,
				   offset + skip);

		if (rc < 0)
			return rc;
		written -= skip;
		offset += iov->iov_len;
	}
	return 0;
}

static int posix_sync(struct disk_file *file)
{
	/* Never repeated, not even after EINTR (I4). */
	return errno_result(fdatasync(fd_of(file)));
}

static int posix_size(struct disk_file *file, uint64_t *out)
{
	struct stat st;

	if (fstat(fd_of(file), &st) < 0)
		return error_from_errno(errno);
	*out = (uint64_t)st.st_size;
	return 0;
}

static int posix_truncate(struct disk_file *file, uint64_t bytes)
{
	int rc;

	do {
		rc = ftruncate(fd_of(file), (off_t)bytes);
	} while (rc < 0 && errno == EINTR);
	return errno_result(rc);
}

static int posix_allocate(struct disk_file *file, uint64_t bytes)
{
	int rc;

	do {
		rc = fallocate(fd_of(file), 0, 0, (off_t)bytes);
	} while (rc < 0 && errno == EINTR);
	/*
	 * Where nothing can be reserved the size is still set; a full disk is then met by the
	 * write.
	 */
	if (rc < 0 && errno == EOPNOTSUPP)
		return posix_truncate(file, bytes);
	return errno_result(rc);
}

/* --- names ------------------------------------------------------------------------------------ */

static int posix_unlink(struct disk *d, const char *name)
{
	return errno_result(unlinkat(disk_of(d)->fd, name, 0));
}

static int posix_rename(struct disk *d, const char *from, const char *to)
{
	return errno_result(renameat(disk_of(d)->fd, from, disk_of(d)->fd, to));
}

static int posix_mkdir(struct disk *d, const char *name)
{
	int rc = mkdirat(disk_of(d)->fd, name, 0750);

	return rc < 0 && errno == EEXIST ? 0 : errno_result(rc);
}

/* A descriptor of its own for a directory of the disk, "" the root; or a negated code. */
static int open_dir(struct disk *d, const char *name)
{
	int fd = openat(disk_of(d)->fd, name[0] != '\0' ? name : ".",
			O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? error_from_errno(errno) : fd;
}

static int posix_sync_dir(struct disk *d, const char *name)
{
	int fd = open_dir(d, name);
	int rc;

	if (fd < 0)
		return fd;
	rc = errno_result(fsync(fd));
	close(fd);
	return rc;
}

static int posix_list(struct disk *d, const char *dir, void (*fn)(void *arg, const char *name),
		      void *arg)
{
	int fd = open_dir(d, dir);
	struct dirent *entry;
	DIR *stream;
	int rc;

	if (fd < 0)
		return fd;
	stream = fdopendir(fd);
	if (stream == NULL) {
		rc = error_from_errno(errno);
		close(fd);
		return rc;
	}
	while (errno = 0, (entry = readdir(stream)) != NULL) {
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			fn(arg, entry->d_name);
	}
	rc = errno != 0 ? error_from_errno(errno) : 0;
	closedir(stream);
	return rc;
}

static int posix_space(struct disk *d, struct disk_space *out)
{
	struct statvfs st;

	if (fstatvfs(disk_of(d)->fd, &st) < 0)
		return error_from_errno(errno);
	out->bytes_total = (uint64_t)st.f_blocks * st.f_frsize;
	out->bytes_free = (uint64_t)st.f_bavail * st.f_frsize;
	return 0;
}

static int posix_lock(struct disk *disk)
{
	struct posix_disk *d = disk_of(disk);
	int fd, rc;

	ASSERT(d->lock_fd < 0);
	fd = openat(d->fd, LOCK_NAME, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
	if (fd < 0)
		return error_from_errno(errno);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		rc = errno == EWOULDBLOCK ? -E_BUSY : error_from_errno(errno);
		close(fd);
		return rc;
	}
	d->lock_fd = fd;
	return 0;
}

static void posix_destroy(struct disk *disk)
{
	struct posix_disk *d = disk_of(disk);

	if (d->lock_fd >= 0)
		close(d->lock_fd);
	close(d->fd);
	free(d);
}

static const struct disk_ops DISK_POSIX_OPS = {
	.open = posix_open,
	.close = posix_close,
	.read = posix_read,
	.readv = posix_readv,
	.readv_cached = posix_readv_cached,
	.cached = posix_cached,
	.writev = posix_writev,
	.sync = posix_sync,
	.size = posix_size,
	.truncate = posix_truncate,
	.allocate = posix_allocate,
	.unlink = posix_unlink,
	.rename = posix_rename,
	.mkdir = posix_mkdir,
	.sync_dir = posix_sync_dir,
	.list = posix_list,
	.space = posix_space,
	.lock = posix_lock,
	.destroy = posix_destroy,
};

int disk_posix_create(const char *directory, struct disk **out)
{
	struct posix_disk *d = calloc(1, sizeof *d);
	int rc;

	if (d == NULL)
		return -E_NOMEM;
	d->base.ops = &DISK_POSIX_OPS;
	d->lock_fd = -1;
	d->fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (d->fd < 0) {
		rc = error_from_errno(errno);
		free(d);
		return rc;
	}
	*out = &d->base;
	return 0;
}
