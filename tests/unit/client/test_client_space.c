/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A cluster that becomes full says so at the write that does not fit: what was taken before is
 * kept, close succeeds, and deleting works. The disks are folders that count what they hold against
 * a bound.
 */
#include <dirent.h>

#include "tests/client_cluster.h"

#define DISK_BYTES  MiB(96)
#define WRITE_BYTES KiB(256)

static struct disk_ops ops[CLUSTER_SERVERS];
static struct disk *disks[CLUSTER_SERVERS];

static uint64_t used_bytes(const char *folder)
{
	uint64_t bytes = 0;
	char path[4096];
	struct dirent *e;
	struct stat st;
	DIR *dir = opendir(folder);
	ck_assert_ptr_nonnull(dir);
	while ((e = readdir(dir)) != NULL) {
		if (e->d_name[0] == '.')
			continue;
		ck_assert_int_lt(snprintf(path, sizeof path, "%s/%s", folder, e->d_name),
				 (int)sizeof path);
		if (lstat(path, &st) == 0)
			bytes += S_ISDIR(st.st_mode) ? used_bytes(path)
						     : (uint64_t)st.st_blocks * 512;
	}
	closedir(dir);
	return bytes;
}

static struct cluster *the_cluster;

static int bounded_space(struct disk *disk, struct disk_space *out)
{
	char name[8];
	for (uint32_t i = 0; i < CLUSTER_SERVERS; i++) {
		if (disks[i] != disk)
			continue;
		snprintf(name, sizeof name, "cs%u", i + 1);
		uint64_t used = used_bytes(scratch_path(&the_cluster->scratch, name));
		out->bytes_total = DISK_BYTES;
		out->bytes_free = DISK_BYTES - MIN_OF(used, DISK_BYTES);
		return 0;
	}
	return -E_INVAL;
}

static void bound_disk(struct cluster *w, uint32_t i, struct disk *disk)
{
	the_cluster = w;
	disks[i] = disk;
	ops[i] = *disk->ops;
	ops[i].space = bounded_space;
	disk->ops = &ops[i];
}

/* Write until it fails; how much was taken. */
static uint64_t fill(struct cluster *w, struct client *c, struct cl_handle *h, uint64_t seed)
{
	static uint8_t bytes[WRITE_BYTES];
	uint64_t at = 0;
	for (;;) {
		struct cl_op op = { .kind = CL_WRITE, .handle = h, .offset = at, .bytes = bytes,
				    .bytes_len = sizeof bytes };
		uint64_t begun_ns = loop_now_ns(w->loop);
		file_pattern(bytes, sizeof bytes, seed + at);
		int rc = cluster_op(w, c, &op);
		if (rc < 0) {
			ck_assert_int_eq(rc, -E_NOSPC);
			/* Well before the deadline of a put, 10 s. */
			ck_assert_uint_lt(loop_now_ns(w->loop) - begun_ns, UINT64_C(7000000000));
			return at;
		}
		at += op.out_len;
		ck_assert_uint_lt(at, DISK_BYTES);
	}
}

START_TEST(a_full_cluster_says_so_at_the_write)
{
	static uint8_t expected[WRITE_BYTES], got[WRITE_BYTES];
	struct cluster w;
	cluster_disk_hook = bound_disk;
	cluster_start(&w, 2000);
	struct client *c = cluster_client(&w);
	struct cl_handle *h = file_create(&w, c, "large");
	uint64_t size = fill(&w, c, h, 1);
	ck_assert_uint_gt(size, DISK_BYTES / 2);
	ck_assert_int_eq(file_close(&w, c, h), 0);

	h = file_open(&w, c, "large", O_RDONLY);
	for (uint64_t at = 0; at + WRITE_BYTES <= size; at += WRITE_BYTES) {
		file_pattern(expected, sizeof expected, 1 + at);
		ck_assert_int_eq(file_read(&w, c, h, at, got, sizeof got), sizeof got);
		ck_assert_mem_eq(got, expected, sizeof got);
	}
	ck_assert_int_eq(file_close(&w, c, h), 0);

	h = file_create(&w, c, "another");
	ck_assert_uint_le(fill(&w, c, h, 7777), INLINE_BYTES_MAX);
	ck_assert_int_eq(file_close(&w, c, h), 0);
	struct cl_op unlink = { .kind = CL_UNLINK, .parent = INODE_ROOT, .name = "large" };
	ck_assert_int_eq(cluster_op(&w, c, &unlink), 0);
	h = file_create(&w, c, "small");
	ck_assert_int_eq(file_write(&w, c, h, 0, "names and small files go on", 27), 0);
	ck_assert_int_eq(file_close(&w, c, h), 0);
	cluster_client_stop(&w, c);
	cluster_finish(&w);
}
END_TEST

TEST_MAIN("client_space",
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, a_full_cluster_says_so_at_the_write);
)
