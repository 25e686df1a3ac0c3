/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk that holds one file, the fuzzer's input, under whatever name it is opened; read only. Each
 * folder lists as one name.
 */
#ifndef CAIRN_TESTS_FUZZ_FUZZ_DISK_H
#define CAIRN_TESTS_FUZZ_FUZZ_DISK_H

#include <string.h>

#include "fs/io/disk.h"

struct fuzz_disk {
	struct disk base;	/* first */
	struct disk_file file;	/* open once at a time */
	const uint8_t *data;
	size_t size;
	const char *name;	/* what a folder lists */
};

static int fuzz_disk_open(struct disk *disk, const char *name, int flags, struct disk_file **out)
{
	struct fuzz_disk *d = (struct fuzz_disk *)disk;

	(void)flags;
	if (!strchr(name, '/'))
		return -E_NOENT;	/* marks beside the folders: there are none */
	d->file = (struct disk_file){ .disk = disk };
	*out = &d->file;
	return 0;
}

static void fuzz_disk_close(struct disk_file *file)
{
	(void)file;
}

static int fuzz_disk_read(struct disk_file *file, void *out, uint32_t len, uint64_t offset)
{
	struct fuzz_disk *d = (struct fuzz_disk *)file->disk;
	size_t n = offset < d->size ? d->size - (size_t)offset : 0;

	n = MIN_OF(n, len);
	memcpy(out, d->data + (n ? offset : 0), n);
	return (int)n;
}

static int fuzz_disk_size(struct disk_file *file, uint64_t *out)
{
	*out = ((struct fuzz_disk *)file->disk)->size;
	return 0;
}

static int fuzz_disk_list(struct disk *disk, const char *dir, void (*fn)(void *, const char *),
			  void *arg)
{
	(void)dir;
	fn(arg, ((struct fuzz_disk *)disk)->name);
	return 0;
}

static const struct disk_ops FUZZ_DISK_OPS = {
	.open = fuzz_disk_open, .close = fuzz_disk_close, .read = fuzz_disk_read,
	.size = fuzz_disk_size, .list = fuzz_disk_list,
};

#endif
