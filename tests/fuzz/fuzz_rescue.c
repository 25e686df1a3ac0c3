/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A copy of the metadata of any bytes is taken or refused; what is taken is a history without a gap
 * (I8). Input: length of the snapshot u16, the snapshot, then a journal that begins at record 6.
 */
#include <stdlib.h>
#include <string.h>

#include "metadata-server/rescue.h"
#include "tests/fuzz/fuzz_disk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Two files in one folder, told apart by their suffix. */
struct copy {
	struct disk base;	/* first */
	struct fuzz_disk snapshot, journal;
};

struct copy_file {
	struct disk_file base;	/* first */
	struct disk_file *real;
};

static int copy_open(struct disk *disk, const char *name, int flags, struct disk_file **out)
{
	struct copy *c = (struct copy *)disk;
	struct copy_file *f = calloc(1, sizeof(*f));

	if (!f)
		return -E_NOMEM;
	f->base.disk = disk;
	*out = &f->base;
	return fuzz_disk_open(strstr(name, ".snapshot") ? &c->snapshot.base : &c->journal.base,
			      name, flags, &f->real);
}

static void copy_close(struct disk_file *file)
{
	free(file);
}

static int copy_read(struct disk_file *file, void *out, uint32_t len, uint64_t offset)
{
	return fuzz_disk_read(((struct copy_file *)file)->real, out, len, offset);
}

static int copy_size(struct disk_file *file, uint64_t *out)
{
	return fuzz_disk_size(((struct copy_file *)file)->real, out);
}

static int copy_list(struct disk *disk, const char *dir, void (*fn)(void *, const char *),
		     void *arg)
{
	struct copy *c = (struct copy *)disk;

	(void)dir;
	fn(arg, c->journal.name);
	fn(arg, c->snapshot.name);
	return 0;
}

static const struct disk_ops COPY_OPS = {
	.open = copy_open, .close = copy_close, .read = copy_read, .size = copy_size,
	.list = copy_list,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct copy c = { .base = { .ops = &COPY_OPS } };
	struct ms_rescue_file file;
	struct ms_rescue found;
	struct error err = { 0 };
	struct rows *rows;
	char name[64] = { 0 };
	size_t split;

	memcpy(name, data, MIN_OF(size, sizeof(name) - 1));
	if (ms_rescue_parse(name, &file))
		ASSERT(strlen(name) > strlen("1-1.journal") - 1);
	if (size < 2 || rows_mem_create(&rows) < 0)
		return 0;
	split = MIN_OF((size_t)data[0] | (size_t)data[1] << 8, size - 2);
	c.snapshot = (struct fuzz_disk){ .base = { .ops = &FUZZ_DISK_OPS }, .data = data + 2,
					 .size = split, .name = "1-5.snapshot" };
	c.journal = (struct fuzz_disk){ .base = { .ops = &FUZZ_DISK_OPS }, .data = data + 2 + split,
					.size = size - 2 - split, .name = "1-6.journal" };
	if (ms_rescue_load(&c.base, (const uint8_t *)"\5\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", rows,
			   &found, &err) == 0) {
		ASSERT(found.number >= 5 && found.snapshot_number == 5);
		(void)!ms_rescue_jump(rows, &found, &err);
	}
	rows_destroy(rows);
	return 0;
}
