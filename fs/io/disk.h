/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk: one directory tree and its files. An interface: disk_posix.c is the real one,
 * tests/sim/sim_disk.c keeps, drops or tears what was not synced.
 *
 * Names are relative to the disk's directory, at most one '/' deep. Synchronous calls are for
 * start-up, tools and worker threads; on a loop use disk_submit(), which runs the same call on a
 * worker (in the simulation: later, in virtual time). Results: reads answer bytes, all others 0;
 * else a negated code.
 *
 * I4: a sync that failed is never retried and believed. The file is then poisoned: every later
 * write and sync of it returns -E_IO until it is closed.
 */
#ifndef CAIRN_FS_IO_DISK_H
#define CAIRN_FS_IO_DISK_H

#include <sys/types.h>
#include <sys/uio.h>

#include "fs/io/loop.h"

struct disk;
struct disk_file;

enum disk_open_flags {
	DISK_READ = 0,
	DISK_WRITE = 1,		/* read and write */
	DISK_CREATE = 2,	/* create if absent */
	DISK_EXCLUSIVE = 4,	/* with CREATE: -E_EXIST if present */
	/*
	 * Read past caches, where the file system can, from the medium itself: offset, length and
	 * address of each disk_read() are then multiples of DISK_ALIGN. For reading only.
	 */
	DISK_DIRECT = 8,
	/* Each read says all that it needs: the system reads nothing ahead. */
	DISK_RANDOM = 16,
};
#define DISK_ALIGN 4096u

struct disk_space { uint64_t bytes_total, bytes_free; };

struct disk_ops {
	int (*open)(struct disk *disk, const char *name, int flags, struct disk_file **out);
	void (*close)(struct disk_file *file);
	/* Full reads and writes: a read is short only at the end of the file, a write never. */
	int (*read)(struct disk_file *file, void *out, uint32_t len, uint64_t offset);
	int (*readv)(struct disk_file *file, const struct iovec *iov, int iov_count,
		     uint64_t offset);
	/* as far as it need not wait; -E_AGAIN if that is nothing */
	int (*readv_cached)(struct disk_file *file, const struct iovec *iov, int iov_count,
			    uint64_t offset);
	/* bytes of it that memory holds; -E_NOSYS: nobody can tell */
	int (*cached)(struct disk_file *file, uint32_t len, uint64_t offset);
	int (*writev)(struct disk_file *file, const struct iovec *iov, int iov_count,
		      uint64_t offset);
	/* data, and what is needed to find it (fdatasync) */
	int (*sync)(struct disk_file *file);
	int (*size)(struct disk_file *file, uint64_t *out);
	int (*truncate)(struct disk_file *file, uint64_t bytes);
	/* reserve, size becomes `bytes` */
	int (*allocate)(struct disk_file *file, uint64_t bytes);
	int (*unlink)(struct disk *disk, const char *name);
	int (*rename)(struct disk *disk, const char *from, const char *to);
	int (*mkdir)(struct disk *disk, const char *name);	/* 0 also if it exists */
	/* "" is the root: names are durable after */
	int (*sync_dir)(struct disk *disk, const char *name);
	int (*list)(struct disk *disk, const char *dir, void (*fn)(void *arg, const char *name),
		    void *arg);
	int (*space)(struct disk *disk, struct disk_space *out);
	/* one owner at a time: -E_BUSY; released by close and by death */
	int (*lock)(struct disk *disk);
	void (*destroy)(struct disk *disk);
};

struct disk { const struct disk_ops *ops; };
struct disk_file {
	struct disk *disk;
	/* set and asked by disk.c alone (I4); backends start it false */
	_Atomic bool is_poisoned;
};

/* The directory must exist. -E_NOENT, -E_NOTDIR, -E_ACCES ... */
must_check int disk_posix_create(const char *directory, struct disk **out);

/* Thin calls (disk.c), with the fault points disk_open, disk_read, disk_write, disk_sync. */
must_check int disk_open(struct disk *d, const char *name, int flags, struct disk_file **out);
void disk_close(struct disk_file *f);			/* NULL is allowed */
must_check int disk_read(struct disk_file *f, void *out, uint32_t len, uint64_t offset);
must_check int disk_readv(struct disk_file *f, const struct iovec *iov, int iov_count,
			  uint64_t offset);
/*
 * What memory holds of it, from its beginning on: fewer bytes than asked if it would wait for the
 * rest, or the file ends there; -E_AGAIN if it would wait for the first.
 */
must_check int disk_readv_cached(struct disk_file *f, const struct iovec *iov, int iov_count,
				 uint64_t offset);
must_check int disk_cached(struct disk_file *f, uint32_t len, uint64_t offset);
must_check int disk_write(struct disk_file *f, const void *bytes, uint32_t len, uint64_t offset);
must_check int disk_writev(struct disk_file *f, const struct iovec *iov, int iov_count,
			   uint64_t offset);
must_check int disk_sync(struct disk_file *f);
must_check int disk_size(struct disk_file *f, uint64_t *out);
must_check int disk_truncate(struct disk_file *f, uint64_t bytes);
must_check int disk_allocate(struct disk_file *f, uint64_t bytes);
must_check int disk_unlink(struct disk *d, const char *name);
must_check int disk_rename(struct disk *d, const char *from, const char *to);
must_check int disk_mkdir(struct disk *d, const char *name);
must_check int disk_sync_dir(struct disk *d, const char *name);
must_check int disk_list(struct disk *d, const char *dir, void (*fn)(void *, const char *),
			 void *arg);
must_check int disk_space(struct disk *d, struct disk_space *out);
must_check int disk_lock(struct disk *d);
void disk_destroy(struct disk *d);
/* Whole small file: read at most `capacity` (bytes read), or write + sync + rename + sync_dir. */
must_check int disk_read_file(struct disk *d, const char *name, void *out, uint32_t capacity);
must_check int disk_replace_file(struct disk *d, const char *name, const void *bytes, uint32_t len);

/* An asynchronous call. Fill kind .. done, zero the rest; the op and its memory live until done. */
enum disk_op_kind { DISK_OP_READ = 1, DISK_OP_READV, DISK_OP_WRITEV, DISK_OP_SYNC };
struct disk_op {
	struct loop_work work;		/* private; first */
	enum disk_op_kind kind;
	struct disk_file *file;
	void *data; uint32_t len;			/* READ */
	const struct iovec *iov; int iov_count;		/* READV, WRITEV */
	uint64_t offset;
	int rc;					/* the result, in done() */
	void (*done)(struct disk_op *op);
};
void disk_submit(struct loop *loop, struct disk_op *op);

#endif
