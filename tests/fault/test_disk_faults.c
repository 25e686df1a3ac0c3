/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disk calls under injected faults: a replaced file is the old one or the new one, whatever fails;
 * a file whose sync failed stays poisoned (I4). Fault points exist in sanitizer builds only.
 */
#include <string.h>

#include "fs/base/fault.h"
#include "fs/io/disk.h"
#include "fs/io/rows.h"
#include "tests/check_main.h"
#include "tests/scratch.h"

#ifdef CAIRN_FAULTS
#define HAS_FAULTS true
#else
#define HAS_FAULTS false
#endif

static bool has_faults(void)
{
	if (!HAS_FAULTS)
		puts("SKIP: fault points are compiled into sanitizer builds only");
	return HAS_FAULTS;
}

static struct scratch scratch;
static struct disk *disk;

static void begin(void)
{
	fault_disarm_all();
	scratch_init(&scratch);
	ck_assert_int_eq(disk_posix_create(scratch.path, &disk), 0);
}

static void end(void)
{
	fault_disarm_all();
	disk_destroy(disk);
	scratch_finish(&scratch);
}

/*
 * Fail the 1st, 2nd ... passing of one point until the replacement passes clean; how often it
 * failed.
 */
static int replace_under(enum fault_point point)
{
	for (uint64_t passing = 1;; passing++) {
		char back[8];
		int rc;

		fault_disarm_all();
		ck_assert_int_eq(disk_replace_file(disk, "note", "old", 3), 0);
		fault_arm(point, passing, 1);
		rc = disk_replace_file(disk, "note", "new", 3);
		ck_assert_int_eq(rc, fault_hits(point) > 0 ? -E_IO : 0);
		fault_disarm_all();
		ck_assert_int_eq(disk_read_file(disk, "note", back, sizeof back), 3);
		ck_assert(memcmp(back, "new", 3) == 0 || (rc < 0 && memcmp(back, "old", 3) == 0));
		if (rc == 0)
			return (int)passing - 1;
	}
}

START_TEST(a_replaced_file_is_old_or_new_whatever_fails)
{
	begin();
	ck_assert_int_eq(replace_under(FAULT_disk_open), HAS_FAULTS ? 1 : 0);
	/* truncate, write, rename */
	ck_assert_int_eq(replace_under(FAULT_disk_write), HAS_FAULTS ? 3 : 0);
	/* the file, its directory */
	ck_assert_int_eq(replace_under(FAULT_disk_sync), HAS_FAULTS ? 2 : 0);
	end();
}
END_TEST

START_TEST(a_failed_sync_poisons_the_file_until_it_is_closed)
{
	struct disk_file *f;

	if (!has_faults())
		return;
	begin();
	ck_assert_int_eq(disk_open(disk, "file", DISK_WRITE | DISK_CREATE, &f), 0);
	ck_assert_int_eq(disk_write(f, "kept", 4, 0), 0);
	fault_arm(FAULT_disk_sync, 1, 1);
	ck_assert_int_eq(disk_sync(f), -E_IO);
	ck_assert_int_eq(disk_sync(f), -E_IO);
	ck_assert_int_eq(disk_write(f, "more", 4, 4), -E_IO);
	ck_assert_int_eq(disk_truncate(f, 0), -E_IO);
	ck_assert_int_eq(disk_allocate(f, 9), -E_IO);
	ck_assert_uint_eq(fault_hits(FAULT_disk_sync), 1);
	disk_close(f);
	ck_assert_int_eq(disk_open(disk, "file", DISK_WRITE, &f), 0);
	ck_assert_int_eq(disk_write(f, "more", 4, 4), 0);
	ck_assert_int_eq(disk_sync(f), 0);
	disk_close(f);
	end();
}
END_TEST

START_TEST(a_failed_commit_drops_what_was_not_committed)
{
	struct rows *rows;
	const void *value;
	uint32_t len;

	if (!has_faults())
		return;
	begin();
	ck_assert_int_eq(_i == 0 ? rows_mem_create(&rows)
				 : rows_lmdb_create(scratch.path, MiB(1), &rows),
			 0);
	ck_assert_int_eq(rows_put(rows, "key", 3, "value", 5), 0);
	fault_arm(FAULT_rows_commit, 1, 1);
	ck_assert_int_eq(rows_commit(rows), -E_IO);
	ck_assert_int_eq(rows_get(rows, "key", 3, &value, &len), -E_NOENT);
	ck_assert_int_eq(rows_put(rows, "key", 3, "value", 5), 0);
	ck_assert_int_eq(rows_commit(rows), 0);
	ck_assert_int_eq(rows_get(rows, "key", 3, &value, &len), 0);
	rows_destroy(rows);
	end();
}
END_TEST

TEST_MAIN("disk_faults",
	tcase_add_test(tc, a_replaced_file_is_old_or_new_whatever_fails);
	tcase_add_test(tc, a_failed_sync_poisons_the_file_until_it_is_closed);
	tcase_add_loop_test(tc, a_failed_commit_drops_what_was_not_committed, 0, 2))
