/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One story told to the real disk and to its simulated twin: both must answer alike. What only the
 * simulation can do (power cuts, faults) is in tests/unit/sim/test_sim_disk.c.
 */
#include <string.h>

#include "tests/check_main.h"
#include "tests/scratch.h"
#include "tests/sim/sim_disk.h"

enum backend { POSIX, SIMULATED, BACKEND_COUNT };

static struct scratch scratch;
static struct sim_world *world;
static struct sim_media *media;
static struct disk *disk;

static struct disk *open_again(enum backend backend)
{
	struct disk *d;

	if (backend == POSIX)
		ck_assert_int_eq(disk_posix_create(scratch.path, &d), 0);
	else
		ck_assert_int_eq(sim_disk_create(media, &d), 0);
	return d;
}

static void set_up(enum backend backend)
{
	scratch_init(&scratch);
	ck_assert_int_eq(sim_world_create(1, &world), 0);
	ck_assert_int_eq(sim_media_create(world, MiB(64), &media), 0);
	disk = open_again(backend);
}

static void tear_down(void)
{
	disk_destroy(disk);
	sim_media_destroy(media);
	sim_world_destroy(world);
	scratch_finish(&scratch);
}

static struct disk_file *make(const char *name, const char *content)
{
	struct disk_file *f;

	ck_assert_int_eq(disk_open(disk, name, DISK_WRITE | DISK_CREATE, &f), 0);
	if (content[0])
		ck_assert_int_eq(disk_write(f, content, (uint32_t)strlen(content), 0), 0);
	return f;
}

static void ck_content(struct disk_file *f, const char *want)
{
	char got[64];
	int len = disk_read(f, got, sizeof got, 0);
	uint64_t size;

	ck_assert_int_eq(len, (int)strlen(want));
	ck_assert_mem_eq(got, want, (size_t)len);
	ck_assert_int_eq(disk_size(f, &size), 0);
	ck_assert_uint_eq(size, (uint64_t)len);
}

START_TEST(files_are_created_opened_and_removed)
{
	struct disk_file *f, *g;

	set_up((enum backend)_i);
	ck_assert_int_eq(disk_open(disk, "a", DISK_READ, &f), -E_NOENT);
	ck_assert_int_eq(disk_open(disk, "a", DISK_WRITE, &f), -E_NOENT);
	ck_assert_int_eq(disk_open(disk, "no/a", DISK_WRITE | DISK_CREATE, &f), -E_NOENT);
	f = make("a", "hello");
	ck_assert_int_eq(disk_open(disk, "a", DISK_WRITE | DISK_CREATE | DISK_EXCLUSIVE, &g),
			 -E_EXIST);
	ck_assert_int_eq(disk_open(disk, "a", DISK_READ, &g), 0);
	ck_content(g, "hello");
	ck_assert_int_eq(disk_write(g, "x", 1, 0), -E_BADF);
	ck_assert_int_eq(disk_unlink(disk, "a"), 0);
	ck_assert_int_eq(disk_unlink(disk, "a"), -E_NOENT);
	ck_content(f, "hello");	/* an open file keeps its content */
	disk_close(f);
	disk_close(g);
	tear_down();
}
END_TEST

START_TEST(writes_past_the_end_leave_zeros)
{
	char got[8];

	set_up((enum backend)_i);
	struct disk_file *f = make("a", "ab");
	ck_assert_int_eq(disk_write(f, "z", 1, 5), 0);
	ck_assert_int_eq(disk_read(f, got, 8, 0), 6);
	ck_assert_mem_eq(got, "ab\0\0\0z", 6);
	ck_assert_int_eq(disk_read(f, got, 8, 4), 2);
	ck_assert_int_eq(disk_read(f, got, 8, 6), 0);
	ck_assert_int_eq(disk_read(f, got, 8, 1000), 0);
	struct iovec iov[] = {{got, 1}, {got + 1, 7}};
	int rc = disk_readv_cached(f, iov, 2, 4);
	ck_assert(rc == 2 || rc == 1 || rc == -E_AGAIN);
	ck_assert_int_eq(disk_readv(f, iov, 2, 0), 6);
	ck_assert_mem_eq(got, "ab\0\0\0z", 6);
	ck_assert_int_eq(disk_readv(f, iov, 2, 4), 2);
	ck_assert_int_eq(disk_readv(f, iov, 2, 6), 0);
	disk_close(f);
	tear_down();
}
END_TEST

START_TEST(truncation_forgets_and_shows_zeros_when_it_grows)
{
	char got[8];

	set_up((enum backend)_i);
	struct disk_file *f = make("a", "abcdef");
	ck_assert_int_eq(disk_truncate(f, 2), 0);
	ck_content(f, "ab");
	ck_assert_int_eq(disk_truncate(f, 4), 0);
	ck_assert_int_eq(disk_read(f, got, 8, 0), 4);
	ck_assert_mem_eq(got, "ab\0\0", 4);
	ck_assert_int_eq(disk_allocate(f, 6), 0);
	ck_assert_int_eq(disk_read(f, got, 8, 0), 6);
	ck_assert_int_eq(disk_allocate(f, 3), 0);
	ck_assert_int_eq(disk_read(f, got, 8, 0), 6);
	ck_assert_int_eq(disk_sync(f), 0);
	disk_close(f);
	tear_down();
}
END_TEST

START_TEST(vectors_are_written_in_order)
{
	struct iovec iov[3] = { { "one ", 4 }, { "", 0 }, { "two", 3 } };

	set_up((enum backend)_i);
	struct disk_file *f = make("a", "");
	ck_assert_int_eq(disk_writev(f, iov, 3, 0), 0);
	ck_content(f, "one two");
	disk_close(f);
	tear_down();
}
END_TEST

START_TEST(renames_replace)
{
	struct disk_file *f;

	set_up((enum backend)_i);
	disk_close(make("a", "new"));
	disk_close(make("b", "old"));
	ck_assert_int_eq(disk_rename(disk, "a", "b"), 0);
	ck_assert_int_eq(disk_rename(disk, "a", "b"), -E_NOENT);
	ck_assert_int_eq(disk_rename(disk, "b", "no/b"), -E_NOENT);
	ck_assert_int_eq(disk_open(disk, "b", DISK_READ, &f), 0);
	ck_content(f, "new");
	disk_close(f);
	ck_assert_int_eq(disk_replace_file(disk, "b", "newer", 5), 0);
	char got[8];
	ck_assert_int_eq(disk_read_file(disk, "b", got, 8), 5);
	ck_assert_mem_eq(got, "newer", 5);
	tear_down();
}
END_TEST

/* Names of one letter, one after the other. */
static void fold(void *arg, const char *name)
{
	char *end = strchr(arg, '\0');

	end[0] = name[1] == '\0' ? name[0] : '?';
	end[1] = '\0';
}

static bool is_both(const char *got, const char *a, const char *b)
{
	return strcmp(got, a) == 0 || strcmp(got, b) == 0;
}

START_TEST(directories_list_their_own_names)
{
	char got[16] = "";

	set_up((enum backend)_i);
	ck_assert_int_eq(disk_list(disk, "d", fold, got), -E_NOENT);
	ck_assert_int_eq(disk_sync_dir(disk, "d"), -E_NOENT);
	ck_assert_int_eq(disk_mkdir(disk, "d"), 0);
	ck_assert_int_eq(disk_mkdir(disk, "d"), 0);
	disk_close(make("d/x", ""));
	disk_close(make("y", ""));
	ck_assert_int_eq(disk_list(disk, "d", fold, got), 0);
	ck_assert_str_eq(got, "x");
	got[0] = '\0';
	ck_assert_int_eq(disk_list(disk, "", fold, got), 0);
	ck_assert(is_both(got, "dy", "yd"));
	ck_assert_int_eq(disk_rename(disk, "d/x", "x"), 0);
	got[0] = '\0';
	ck_assert_int_eq(disk_list(disk, "d", fold, got), 0);
	ck_assert_str_eq(got, "");
	ck_assert_int_eq(disk_sync_dir(disk, "d"), 0);
	ck_assert_int_eq(disk_sync_dir(disk, ""), 0);
	tear_down();
}
END_TEST

START_TEST(one_owner_at_a_time)
{
	set_up((enum backend)_i);
	struct disk *other = open_again((enum backend)_i);
	ck_assert_int_eq(disk_lock(disk), 0);
	ck_assert_int_eq(disk_lock(other), -E_BUSY);
	disk_destroy(disk);
	disk = other;
	ck_assert_int_eq(disk_lock(disk), 0);
	tear_down();
}
END_TEST

START_TEST(there_is_space)
{
	struct disk_space space;

	set_up((enum backend)_i);
	ck_assert_int_eq(disk_space(disk, &space), 0);
	ck_assert_uint_gt(space.bytes_free, 0);
	ck_assert_uint_le(space.bytes_free, space.bytes_total);
	tear_down();
}
END_TEST

TEST_MAIN("disk_conformance",
	  tcase_add_loop_test(tc, files_are_created_opened_and_removed, 0, BACKEND_COUNT);
	  tcase_add_loop_test(tc, writes_past_the_end_leave_zeros, 0, BACKEND_COUNT);
	  tcase_add_loop_test(tc, truncation_forgets_and_shows_zeros_when_it_grows, 0,
			      BACKEND_COUNT);
	  tcase_add_loop_test(tc, vectors_are_written_in_order, 0, BACKEND_COUNT);
	  tcase_add_loop_test(tc, renames_replace, 0, BACKEND_COUNT);
	  tcase_add_loop_test(tc, directories_list_their_own_names, 0, BACKEND_COUNT);
	  tcase_add_loop_test(tc, one_owner_at_a_time, 0, BACKEND_COUNT);
	  tcase_add_loop_test(tc, there_is_space, 0, BACKEND_COUNT))
