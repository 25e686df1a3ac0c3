/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A cluster that becomes full says so at the write that does not fit: what was taken before is
 * kept, close succeeds, and deleting works; what was refused is seen nowhere. The disks are folders
 * that count what they hold against a bound.
 */
#include <dirent.h>

#include "tests/client_cluster.h"

#define DISK_BYTES  MiB(96)
#define WRITE_BYTES KiB(256)

static struct disk_ops ops[CLUSTER_SERVERS];
static struct disk *disks[CLUSTER_SERVERS];
static char folders[CLUSTER_SERVERS][512];

/* Called by workers as well, whose checks would get in the way of the test's: so it asserts. */
static uint64_t used_bytes(const char *folder)
{
	uint64_t bytes = 0;
	char path[4096];
	struct dirent *e;
	struct stat st;
	DIR *dir = opendir(folder);
	ASSERT(dir);
	while ((e = readdir(dir)) != NULL) {
		if (e->d_name[0] == '.')
			continue;
		int len = snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
		ASSERT(len < (int)sizeof path);
		if (lstat(path, &st) == 0)
			bytes += S_ISDIR(st.st_mode) ? used_bytes(path)
						     : (uint64_t)st.st_blocks * 512;
	}
	closedir(dir);
	return bytes;
}

static int bounded_space(struct disk *disk, struct disk_space *out)
{
	for (uint32_t i = 0; i < CLUSTER_SERVERS; i++) {
		if (disks[i] != disk)
			continue;
		uint64_t used = used_bytes(folders[i]);
		out->bytes_total = DISK_BYTES;
		out->bytes_free = DISK_BYTES - MIN_OF(used, DISK_BYTES);
		return 0;
	}
	return -E_INVAL;
}

static void bound_disk(struct cluster *w, uint32_t i, struct disk *disk)
{
	char name[8];
	snprintf(name, sizeof name, "cs%u", i + 1);
	snprintf(folders[i], sizeof folders[i], "%s", scratch_path(&w->scratch, name));
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

static bool is_mds_full;

static int mds_space(struct disk *disk, struct disk_space *out)
{
	(void)disk;
	*out = (struct disk_space){ .bytes_total = GiB(1),
				    .bytes_free = is_mds_full ? 0 : GiB(1) };
	return 0;
}

/* The metadata server notices it by and by. */
static void set_mds_full(struct cluster *w, struct client *c, bool is_full)
{
	struct cl_op make = { .kind = CL_MAKE, .parent = INODE_ROOT, .name = "probe",
			      .mode = S_IFDIR | 0755 };
	struct cl_op rmdir = { .kind = CL_UNLINK, .parent = INODE_ROOT, .name = "probe",
			       .is_directory = true };
	is_mds_full = is_full;
	for (;;) {
		make.attr = rmdir.attr = (struct cl_attr){ 0 };
		int rc = cluster_op(w, c, &make);
		if (rc == (is_full ? -E_NOSPC : 0))
			break;
		if (rc == 0)
			ck_assert_int_eq(cluster_op(w, c, &rmdir), 0);
		cluster_run_for(w, 20);
	}
	if (!is_full)
		ck_assert_int_eq(cluster_op(w, c, &rmdir), 0);
}

static int read_all(struct cluster *w, struct client *c, const char *name)
{
	uint8_t bytes[4096];
	struct cl_handle *h = file_open(w, c, name, O_RDONLY);
	int count = file_read(w, c, h, 0, bytes, sizeof bytes);
	ck_assert_int_eq(file_close(w, c, h), 0);
	return count;
}

/* No reader sees a size that was refused: neither its own node, nor, as before, any other. */
START_TEST(a_truncate_that_is_refused_has_not_happened)
{
	struct cluster w;
	struct disk_ops mds_ops;
	cluster_disk_hook = NULL;
	cluster_start(&w, 2000);
	mds_ops = *w.mds_disk->ops;
	mds_ops.space = mds_space;
	w.mds_disk->ops = &mds_ops;
	struct client *a = cluster_client(&w), *b = cluster_client(&w);
	struct cl_handle *h = file_create(&w, a, "file");
	ck_assert_int_eq(file_write(&w, a, h, 0, "ten bytes.", 10), 0);
	ck_assert_int_eq(file_close(&w, a, h), 0);
	inode_no ino = file_lookup(&w, a, "file");
	set_mds_full(&w, a, true);
	ck_assert_int_eq(file_truncate(&w, a, ino, 1000), -E_NOSPC);
	ck_assert_uint_eq(file_size(&w, a, ino), 10);
	ck_assert_int_eq(read_all(&w, a, "file"), 10);
	ck_assert_int_eq(read_all(&w, b, "file"), 10);
	set_mds_full(&w, a, false);
	ck_assert_int_eq(file_truncate(&w, a, ino, 1000), 0);
	ck_assert_int_eq(read_all(&w, b, "file"), 1000);
	cluster_client_stop(&w, a);
	cluster_client_stop(&w, b);
	cluster_finish(&w);
}
END_TEST

TEST_MAIN("client_space",
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, a_full_cluster_says_so_at_the_write);
	tcase_add_test(tc, a_truncate_that_is_refused_has_not_happened);
)
