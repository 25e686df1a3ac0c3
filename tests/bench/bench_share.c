/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What files share once they are cut by content:
 *
 *   bench_share [-g] FIRST... -- SECOND...     -g: by the 64 KiB grid instead
 *
 * The share of the SECOND files' bytes that lies in blocks which the FIRST ones have as well, or
 * an earlier block of theirs, 0 to 1, on one line.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "fs/base/base.h"
#include "fs/tree/cut.h"
#include "fs/tree/tensors.h"

struct file {
	const uint8_t *bytes;
	size_t len;
};

struct block {
	XXH128_hash_t id;
	uint32_t len;
};

struct blocks {
	struct block *list;
	size_t count, room;
};

static _Noreturn void die(const char *what, const char *path)
{
	fprintf(stderr, "bench_share: cannot %s '%s'\n", what, path);
	exit(1);
}

static int compare_blocks(const void *a, const void *b)
{
	return XXH128_cmp(a, b);
}

static void add(struct blocks *b, const uint8_t *bytes, uint32_t len)
{
	if (b->count == b->room) {
		b->room = b->room ? 2 * b->room : 1024;
		b->list = realloc(b->list, b->room * sizeof *b->list);
		if (!b->list)
			die("allocate", "a list of blocks");
	}
	b->list[b->count++] = (struct block){ XXH3_128bits(bytes, len), len };
}

static int read_at(void *arg, uint64_t offset, uint32_t len, const void **bytes)
{
	const struct file *f = arg;

	(void)len;
	*bytes = f->bytes + offset;
	return 0;
}

static void plan_of(struct file *f, struct cut_plan *plan)
{
	struct tensors_source source = { .size = f->len, .read = read_at, .arg = f };
	struct tensors *tensors = tensors_create(&source,
						 &(struct tensors_sink){ cut_plan_span, plan });
	int rc;

	if (!tensors)
		die("allocate", "a walk");
	do
		rc = tensors_walk(tensors);
	while (rc == -E_AGAIN);
	cut_plan_seal(plan, tensors_data_start(tensors));
	tensors_destroy(tensors);
}

static void cut_by_content(struct file *f, struct blocks *out)
{
	struct cut_plan plan;
	struct cut cut;
	size_t at = 0, start = 0;

	cut_plan_init(&plan);
	plan_of(f, &plan);
	cut_init(&cut, &plan, 0);
	while (at < f->len) {
		bool ends;

		at += cut_feed(&cut, f->bytes + at,
			       (uint32_t)MIN_OF(f->len - at, (size_t)BLOCK_BYTES_MAX), &ends);
		if (ends || at == f->len) {
			add(out, f->bytes + start, (uint32_t)(at - start));
			start = at;
		}
	}
	cut_plan_finish(&plan);
}

static void cut_file(const char *path, bool by_grid, struct blocks *out)
{
	struct stat st;
	struct file f;
	int fd = open(path, O_RDONLY);

	if (fd < 0 || fstat(fd, &st) != 0 || st.st_size == 0)
		die("open", path);
	f.len = (size_t)st.st_size;
	f.bytes = mmap(NULL, f.len, PROT_READ, MAP_PRIVATE, fd, 0);
	if (f.bytes == MAP_FAILED)
		die("map", path);
	close(fd);
	if (!by_grid)
		cut_by_content(&f, out);
	for (size_t at = 0; by_grid && at < f.len; at += BLOCK_BYTES_MAX)
		add(out, f.bytes + at,
		    (uint32_t)MIN_OF(f.len - at, (size_t)BLOCK_BYTES_MAX));
	munmap((void *)f.bytes, f.len);
}

/* Of the second's blocks, in the order of their ids: equal ones stand together. */
static double share_of(struct blocks *first, struct blocks *second)
{
	uint64_t total = 0, shared = 0;

	qsort(first->list, first->count, sizeof *first->list, compare_blocks);
	qsort(second->list, second->count, sizeof *second->list, compare_blocks);
	for (size_t i = 0; i < second->count; i++) {
		const struct block *b = &second->list[i];
		bool again = i > 0 && compare_blocks(b, b - 1) == 0;

		total += b->len;
		if (again || bsearch(b, first->list, first->count, sizeof *b, compare_blocks))
			shared += b->len;
	}
	return (double)shared / (double)total;
}

int main(int argc, char **argv)
{
	struct blocks sides[2] = { 0 };
	bool by_grid = argc > 1 && strcmp(argv[1], "-g") == 0;
	unsigned side = 0;

	for (int i = by_grid ? 2 : 1; i < argc; i++) {
		if (strcmp(argv[i], "--") == 0 && side == 0)
			side = 1;
		else
			cut_file(argv[i], by_grid, &sides[side]);
	}
	if (sides[0].count == 0 || sides[1].count == 0) {
		fprintf(stderr, "usage: bench_share [-g] FIRST... -- SECOND...\n");
		return 2;
	}
	printf("%.4f\n", share_of(&sides[0], &sides[1]));
	free(sides[0].list);
	free(sides[1].list);
	return 0;
}
