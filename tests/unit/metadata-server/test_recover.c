/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Recovery: wherever the rows were left, they end where the journal ends, and always the same (I3,
 * I15).
 */
#include "metadata-server/recover.h"

#include <string.h>

#include "metadata-server/format.h"
#include "metadata-server/snapshot.h"
#include "tests/check_main.h"
#include "tests/scratch.h"
#include "tests/sim/sim_loop.h"

#define RECORDS 12u

static struct scratch scratch;
static struct sim_world *world;
static struct loop *loop;
static struct disk *disk;
static struct rows *rows;
static struct ms_recovery recovery;
static struct error err;

static const struct ms_format_options FORMAT = {
	.super = { .role = SUPER_METADATA, .hash = HASH_SHA256, .copies = 1, .min_copies = 1,
	.cluster = { 3 }, .directory = { 4 } }, .config = { .lease_ms = 10000, .copies = 1,
	.min_copies = 1, .inline_bytes_max = INLINE_BYTES_MAX }, .wall_ns = 1,
};

static int recover(void)
{
	struct ms_recover_options o = { .loop = loop, .disks = &disk, .disk_count = 1, .rows = rows,
					.journal_file_bytes_max = 300 };

	memset(&err, 0, sizeof err);
	return ms_recover(&o, &recovery, &err);
}

/* End the process: the journal is closed, the directory unlocked. The rows stay as they are. */
static void leave(void)
{
	ms_recover_close(&recovery);
	sim_world_run_for(world, SIM_S);
	disk_destroy(disk);
	ck_assert_int_eq(disk_posix_create(scratch.path, &disk), 0);
}

/* Record n puts the rows "n" and "last", and deletes the row n - 3. */
static void change(struct ms_txn *txn, uint64_t n)
{
	uint8_t key = (uint8_t)(0x80 + n), gone = (uint8_t)(0x80 + n - 3);

	ms_txn_event_begin(txn);
	ms_txn_put(txn, &key, 1, &n, sizeof n);
	ms_txn_put(txn, "last", 4, &n, sizeof n);
	if (n > 3)
		ms_txn_del(txn, &gone, 1);
}

static void append(uint64_t n, uint64_t term)
{
	static uint8_t record[4096];
	struct journal_header h = { .term = term, .number = n, .lag = 1 };
	int rc;

	change(recovery.txn, n);
	rc = ms_txn_event_encode(recovery.txn, record, sizeof record, &h.change_count);
	ck_assert_int_gt(rc, 0);
	h.payload_len = (uint32_t)rc;
	journal_record_finish(record, &h);
	ck_assert_int_eq(ms_journal_append(recovery.journal, record,
					   JOURNAL_HEADER_BYTES + h.payload_len, n, term),
			 0);
	ms_journal_sync(recovery.journal);
	sim_world_run_for(world, SIM_S);	/* the next file begins here, if it is time */
	ck_assert_uint_eq(ms_journal_durable(recovery.journal), n);
}

/* Fill the journal; the rows stay at the snapshot. */
static void fill_journal(void)
{
	ck_assert_int_eq(recover(), 0);
	for (uint64_t n = 1; n <= RECORDS; n++)
		append(n, 1);
	leave();
}

/* Make the rows what a process leaves that was at `number`. */
static void set_rows(uint64_t number, uint64_t term)
{
	struct snapshot_header h;
	struct ms_txn *txn;

	ck_assert_int_eq(ms_snapshot_load(disk, FORMAT.super.cluster, rows, &h, &err), 0);
	ck_assert_int_eq(ms_txn_create(rows, &txn), 0);
	for (uint64_t n = 1; n <= number; n++)
		change(txn, n);
	ck_assert_int_eq(ms_txn_flush(txn), 0);
	ms_txn_destroy(txn);
	ck_assert_int_eq(ms_snapshot_set_applied(rows, term, number), 0);
	ck_assert_int_eq(rows_commit(rows), 0);
}

static void stands_at(uint64_t number)
{
	const void *value;
	uint32_t len;
	uint8_t key;

	ck_assert_uint_eq(recovery.number, number);
	for (uint64_t n = 1; n <= RECORDS + 3; n++) {
		bool should = n <= number && n + 3 > number;
		key = (uint8_t)(0x80 + n);
		ck_assert_int_eq(rows_get(rows, &key, 1, &value, &len), should ? 0 : -E_NOENT);
	}
	ck_assert_int_eq(rows_get(rows, "last", 4, &value, &len), 0);
	ck_assert_int_eq(memcmp(value, &number, sizeof number), 0);
}

static void begin(void)
{
	scratch_init(&scratch);
	ck_assert_int_eq(sim_world_create(2, &world), 0);
	ck_assert_int_eq(sim_loop_create(world, "mds", &loop), 0);
	ck_assert_int_eq(rows_mem_create(&rows), 0);
	ck_assert_int_eq(disk_posix_create(scratch.path, &disk), 0);
	ck_assert_int_eq(ms_format(&disk, 1, &FORMAT, &err), 0);
}

static void end(void)
{
	rows_destroy(rows);
	disk_destroy(disk);
	sim_loop_destroy(loop);
	sim_world_destroy(world);
	scratch_finish(&scratch);
}

START_TEST(rows_left_at_any_record_come_to_the_journals_end)
{
	fill_journal();
	for (uint64_t at = 0; at <= RECORDS; at++) {
		set_rows(at, at ? 1 : 0);
		ck_assert_int_eq(recover(), 0);
		ck_assert_msg(!recovery.rebuilt, "rows at %d", (int)at);
		ck_assert_uint_eq(recovery.replayed, RECORDS - at);
		stands_at(RECORDS);
		leave();
	}
}
END_TEST

START_TEST(rows_that_are_lost_or_of_nobody_are_rebuilt)
{
	fill_journal();
	ck_assert_int_eq(rows_clear(rows), 0);
	ck_assert_int_eq(rows_put(rows, "half a snapshot", 15, "x", 1), 0);
	ck_assert_int_eq(recover(), 0);
	ck_assert(recovery.rebuilt);
	stands_at(RECORDS);
	ck_assert_int_eq(rows_get(rows, "half a snapshot", 15, &(const void *){0}, &(uint32_t){0}),
			 -E_NOENT);
	leave();
}
END_TEST

START_TEST(rows_beyond_the_journal_or_of_another_history_are_rebuilt)
{
	fill_journal();
	set_rows(RECORDS + 2, 1);
	ck_assert_int_eq(recover(), 0);
	ck_assert(recovery.rebuilt);
	stands_at(RECORDS);
	leave();
	set_rows(RECORDS - 2, 9);
	ck_assert_int_eq(recover(), 0);
	ck_assert(recovery.rebuilt);
	stands_at(RECORDS);
	leave();
}
END_TEST

static void snapshot_at(uint64_t number)
{
	struct snapshot_header h = { .cluster = { 3 }, .term = 1, .number = number };
	struct rows_snapshot *s;
	uint64_t bytes;

	set_rows(number, 1);
	ck_assert_int_eq(rows_snapshot_open(rows, &s), 0);
	ck_assert_int_eq(ms_snapshot_write(disk, s, &h, UINT64_MAX, &bytes), 0);
	rows_snapshot_close(s);
	ck_assert_int_eq(ms_snapshot_publish(disk, &h), 0);
}

START_TEST(a_trimmed_journal_and_its_snapshot_are_enough)
{
	fill_journal();
	snapshot_at(8);
	ck_assert_int_eq(recover(), 0);
	ms_journal_trim(recovery.journal, 8);
	ck_assert_uint_gt(ms_journal_first(recovery.journal), 1);
	leave();
	ck_assert_int_eq(rows_clear(rows), 0);
	ck_assert_int_eq(recover(), 0);
	ck_assert(recovery.rebuilt);
	stands_at(RECORDS);
	leave();
}
END_TEST

START_TEST(a_gap_between_snapshot_and_journal_is_refused)
{
	fill_journal();
	ck_assert_int_eq(recover(), 0);
	ms_journal_trim(recovery.journal, 8);
	leave();
	ck_assert_int_eq(rows_clear(rows), 0);
	ck_assert_int_eq(recover(), -E_BAD_MIDDLE);
	ck_assert_ptr_nonnull(strstr(err.text, "the journal begins at record"));
}
END_TEST

static void unlink_journal_file(void *arg, const char *name)
{
	char path[64];

	(void)arg;
	snprintf(path, sizeof path, "journal/%s", name);
	ck_assert_int_eq(disk_unlink(disk, path), 0);
}

START_TEST(a_journal_that_was_lost_is_refused)
{
	fill_journal();
	snapshot_at(RECORDS);
	ck_assert_int_eq(disk_list(disk, "journal", unlink_journal_file, NULL), 0);
	ck_assert_int_eq(rows_clear(rows), 0);
	ck_assert_int_eq(recover(), -E_BAD_MIDDLE);
	ck_assert_ptr_nonnull(strstr(err.text, "the journal ends at record 0"));
}
END_TEST

START_TEST(what_is_not_formatted_or_in_use_is_said_so)
{
	struct super super;
	struct disk *second;

	ck_assert_int_eq(recover(), 0);
	ck_assert_int_eq(disk_posix_create(scratch.path, &second), 0);
	ck_assert_int_eq(ms_recover_lock(&second, 1, 0, &super, &err), -E_BUSY);
	disk_destroy(second);
	leave();
	ck_assert_int_eq(ms_format(&disk, 1, &FORMAT, &err), -E_NOT_EMPTY);
	ck_assert_int_eq(disk_unlink(disk, SUPER_FILE), 0);
	ck_assert_int_eq(recover(), -E_NOENT);
	ck_assert_ptr_nonnull(strstr(err.text, "mkfs.cairn"));
}
END_TEST

TEST_MAIN("recover",
	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_test(tc, rows_left_at_any_record_come_to_the_journals_end);
	tcase_add_test(tc, rows_that_are_lost_or_of_nobody_are_rebuilt);
	tcase_add_test(tc, rows_beyond_the_journal_or_of_another_history_are_rebuilt);
	tcase_add_test(tc, a_trimmed_journal_and_its_snapshot_are_enough);
	tcase_add_test(tc, a_gap_between_snapshot_and_journal_is_refused);
	tcase_add_test(tc, a_journal_that_was_lost_is_refused);
	tcase_add_test(tc, what_is_not_formatted_or_in_use_is_said_so))
