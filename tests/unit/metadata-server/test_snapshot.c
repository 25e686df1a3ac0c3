/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots: what is loaded is what was written, and nothing else is loaded. */
#include "metadata-server/snapshot.h"

#include <stdlib.h>
#include <string.h>

#include "tests/check_main.h"
#include "tests/scratch.h"

static struct scratch scratch;
static struct disk *disk;
static struct rows *rows;
static const uint8_t CLUSTER[16] = { 4, 5, 6 };

static void begin(void)
{
	scratch_init(&scratch);
	ck_assert_int_eq(disk_posix_create(scratch.path, &disk), 0);
	ck_assert_int_eq(disk_mkdir(disk, MS_SNAPSHOT_DIR), 0);
	ck_assert_int_eq(rows_mem_create(&rows), 0);
}

static void end(void)
{
	rows_destroy(rows);
	disk_destroy(disk);
	scratch_finish(&scratch);
}

static void put(const char *key, const void *value, uint32_t len)
{
	ck_assert_int_eq(rows_put(rows, key, (uint32_t)strlen(key), value, len), 0);
}

/* Snapshot of the rows as they are, at `number`. */
static int write_snapshot(uint64_t number)
{
	struct snapshot_header h = { .term = 3, .number = number };
	struct rows_snapshot *s;
	uint64_t bytes;
	int rc;

	memcpy(h.cluster, CLUSTER, sizeof h.cluster);
	ck_assert_int_eq(rows_commit(rows), 0);
	ck_assert_int_eq(rows_snapshot_open(rows, &s), 0);
	rc = ms_snapshot_write(disk, s, &h, UINT64_MAX, &bytes);
	rows_snapshot_close(s);
	return rc < 0 ? rc : ms_snapshot_publish(disk, &h);
}

static int load(struct snapshot_header *h)
{
	struct error err = { 0 };

	return ms_snapshot_load(disk, CLUSTER, rows, h, &err);
}

static bool has(const char *key)
{
	const void *value;
	uint32_t len;

	return rows_get(rows, key, (uint32_t)strlen(key), &value, &len) == 0;
}

static const char *file_name(uint64_t number)
{
	static char name[64];

	snprintf(name, sizeof name, "snapshots/S-%016llx", (unsigned long long)number);
	return name;
}

START_TEST(rows_come_back_and_the_applied_row_says_where_they_stand)
{
	struct snapshot_header h;
	uint64_t term, number;

	put("a", "1", 1);
	put("b", "", 0);
	ck_assert_int_eq(ms_snapshot_set_applied(rows, 3, 9), 0);
	ck_assert_int_eq(write_snapshot(9), 0);
	put("later", "x", 1);
	ck_assert_int_eq(load(&h), 0);
	ck_assert(has("a") && has("b") && !has("later"));
	ck_assert_uint_eq(h.number, 9);
	ck_assert_int_eq(ms_snapshot_applied(rows, &term, &number), 0);
	ck_assert_uint_eq(term, 3);
	ck_assert_uint_eq(number, 9);
}
END_TEST

START_TEST(an_empty_one_and_one_of_the_largest_rows_come_back)
{
	uint8_t *value = malloc(ROW_VALUE_BYTES_MAX);
	struct snapshot_header h;
	char key[16];

	ck_assert_int_eq(write_snapshot(1), 0);
	ck_assert_int_eq(load(&h), 0);
	memset(value, 7, ROW_VALUE_BYTES_MAX);
	for (int i = 0; i < 20; i++) {		/* several buffers full */
		snprintf(key, sizeof key, "key%02d", i);
		put(key, value, ROW_VALUE_BYTES_MAX - (uint32_t)i);
	}
	ck_assert_int_eq(write_snapshot(2), 0);
	ck_assert_int_eq(rows_clear(rows), 0);
	ck_assert_int_eq(load(&h), 0);
	ck_assert_uint_eq(h.number, 2);
	ck_assert(has("key00") && has("key19"));
	free(value);
}
END_TEST

START_TEST(every_flipped_byte_is_found_and_the_older_snapshot_serves)
{
	static uint8_t image[1024];
	struct snapshot_header h;
	int len;

	put("old", "1", 1);
	ck_assert_int_eq(write_snapshot(5), 0);
	put("new", "2", 1);
	ck_assert_int_eq(write_snapshot(6), 0);
	len = disk_read_file(disk, file_name(6), image, sizeof image);
	ck_assert_int_gt(len, 0);
	for (int i = 0; i < len; i++) {
		image[i] ^= 0x10;
		ck_assert_int_eq(disk_replace_file(disk, file_name(6), image, (uint32_t)len), 0);
		image[i] ^= 0x10;
		ck_assert_int_eq(load(&h), 0);
		ck_assert_msg(h.number == 5, "byte %d", i);
		ck_assert(has("old") && !has("new"));
	}
}
END_TEST

START_TEST(a_snapshot_cut_anywhere_is_refused)
{
	static uint8_t image[1024];
	struct snapshot_header h;
	int len;

	put("a", "1", 1);
	ck_assert_int_eq(write_snapshot(6), 0);
	len = disk_read_file(disk, file_name(6), image, sizeof image);
	for (int cut = 0; cut < len; cut++) {
		ck_assert_int_eq(disk_replace_file(disk, file_name(6), image, (uint32_t)cut), 0);
		ck_assert_int_lt(ms_snapshot_read(disk, 6, &h, NULL, NULL), 0);
	}
	ck_assert_int_eq(disk_replace_file(disk, file_name(6), image, (uint32_t)len + 1), 0);
	ck_assert_int_lt(ms_snapshot_read(disk, 6, &h, NULL, NULL), 0);
}
END_TEST

START_TEST(the_last_two_are_kept_and_another_clusters_is_refused)
{
	static const uint8_t OTHER[16] = { 1 };
	uint64_t numbers[8] = { 0 };
	struct snapshot_header h;
	struct error err = { 0 };

	for (uint64_t n = 1; n <= 5; n++)
		ck_assert_int_eq(write_snapshot(n), 0);
	ck_assert_int_eq(ms_snapshot_list(disk, numbers, 8), 2);
	ck_assert_uint_eq(numbers[0], 5);
	ck_assert_uint_eq(numbers[1], 4);
	ck_assert_int_eq(ms_snapshot_load(disk, OTHER, rows, &h, &err), -E_WRONG_CLUSTER);
}
END_TEST

START_TEST(no_snapshot_is_said_so)
{
	struct snapshot_header h;

	ck_assert_int_eq(load(&h), -E_NOENT);
}
END_TEST

TEST_MAIN("snapshot",
	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_test(tc, rows_come_back_and_the_applied_row_says_where_they_stand);
	tcase_add_test(tc, an_empty_one_and_one_of_the_largest_rows_come_back);
	tcase_add_test(tc, every_flipped_byte_is_found_and_the_older_snapshot_serves);
	tcase_add_test(tc, a_snapshot_cut_anywhere_is_refused);
	tcase_add_test(tc, the_last_two_are_kept_and_another_clusters_is_refused);
	tcase_add_test(tc, no_snapshot_is_said_so))
