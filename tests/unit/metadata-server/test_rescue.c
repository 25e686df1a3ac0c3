/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A copy of the metadata: what is taken of it is one gapless history, whatever was torn, lost, or
 * of another one.
 */
#include "metadata-server/rescue.h"

#include <stdio.h>
#include <string.h>

#include "metadata-server/format.h"
#include "metadata-server/key.h"
#include "metadata-server/recover.h"
#include "metadata-server/snapshot.h"
#include "tests/check_main.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_loop.h"

#define VALUE_BYTES 40u

static const struct super SUPER = { .role = SUPER_METADATA, .hash = HASH_SHA256, .copies = 3,
				    .min_copies = 2, .cluster = { 5 }, .name_key = 77 };
static struct sim_world *world;
static struct sim_media *media;
static struct disk *disk;
static struct rows *rows;
static struct ms_rescue found;
static struct error err;
static uint8_t bytes[65536];
static uint32_t len;

static void begin(void)
{
	ck_assert_int_eq(sim_world_create(3, &world), 0);
	ck_assert_int_eq(sim_media_create(world, MiB(64), &media), 0);
	ck_assert_int_eq(sim_disk_create(media, &disk), 0);
	ck_assert_int_eq(rows_mem_create(&rows), 0);
	ck_assert_int_eq(disk_mkdir(disk, MS_RESCUE_DIR), 0);
	ck_assert_int_eq(disk_mkdir(disk, MS_SNAPSHOT_DIR), 0);
}

static void end(void)
{
	rows_destroy(rows);
	disk_destroy(disk);
	sim_media_destroy(media);
	sim_world_destroy(world);
}

/* --- copies ----------------------------------------------------------------------------------- */

/* Record `number` puts the row (0x80, number) to (term, number). */
static void add_record(uint64_t term, uint64_t number)
{
	uint8_t key[2] = {0x80, (uint8_t)number},
		value[VALUE_BYTES] = {(uint8_t)term, (uint8_t)number};
	struct row_change change = { .op = ROW_PUT, .key = key, .key_len = sizeof key,
				     .value = value, .value_len = sizeof value };
	struct journal_header h = {.term = term,
				   .number = number,
				   .wall_ns = 1000 + number,
				   .change_count = 1,
				   .payload_len =
					   JOURNAL_CHANGE_HEADER_BYTES + sizeof key + sizeof value};
	struct wr w = wr_init(bytes + len + JOURNAL_HEADER_BYTES, h.payload_len);

	journal_change_write(&w, &change);
	ck_assert(wr_ok(&w));
	journal_record_finish(bytes + len, &h);
	len += JOURNAL_HEADER_BYTES + h.payload_len;
}

static void put_file(const char *name)
{
	char path[80];

	snprintf(path, sizeof path, MS_RESCUE_DIR "/%s", name);
	ck_assert_int_eq(disk_replace_file(disk, path, bytes, len), 0);
}

/* A journal file begun in `term`, with the records of that term from `first` to `last`. */
static void put_journal(uint64_t term, uint64_t first, uint64_t last)
{
	struct journal_file_header h = { .cluster = { 5 }, .first_number = first, .term = term };
	char name[64];

	journal_file_header_encode(&h, bytes);
	len = JOURNAL_FILE_HEADER_BYTES;
	for (uint64_t n = first; n <= last; n++)
		add_record(term, n);
	snprintf(name, sizeof name, "%d-%d.journal", (int)term, (int)first);
	put_file(name);
}

/* A snapshot of the state after `number`, all of `term`. */
static void put_snapshot(uint64_t term, uint64_t number)
{
	struct snapshot_header h = ms_snapshot_header(&SUPER, term, number);
	struct rows_snapshot *s;
	struct rows *state;
	char name[64];
	uint64_t size;
	int rc;

	ck_assert_int_eq(rows_mem_create(&state), 0);
	for (uint64_t n = 1; n <= number; n++) {
		uint8_t key[2] = {0x80, (uint8_t)n},
			value[VALUE_BYTES] = {(uint8_t)term, (uint8_t)n};
		ck_assert_int_eq(rows_put(state, key, sizeof key, value, sizeof value), 0);
	}
	ck_assert_int_eq(rows_commit(state), 0);
	ck_assert_int_eq(rows_snapshot_open(state, &s), 0);
	ck_assert_int_eq(ms_snapshot_write(disk, s, &h, UINT64_MAX, &size), 0);
	rows_snapshot_close(s);
	rows_destroy(state);
	rc = disk_read_file(disk, MS_SNAPSHOT_DIR "/new", bytes, sizeof bytes);
	ck_assert_int_gt(rc, 0);
	len = (uint32_t)rc;
	snprintf(name, sizeof name, "%d-%d.snapshot", (int)term, (int)number);
	put_file(name);
}

static int load(void)
{
	memset(&err, 0, sizeof err);
	return ms_rescue_load(disk, SUPER.cluster, rows, &found, &err);
}

/* The rows are those of exactly `number` records; those from `since` on are of `term`. */
static void stands_at(uint64_t number, uint64_t since, uint64_t term)
{
	const void *value;
	uint32_t value_len;

	ck_assert_uint_eq(found.number, number);
	for (uint64_t n = 1; n <= number + 2; n++) {
		uint8_t key[2] = { 0x80, (uint8_t)n };
		int rc = rows_get(rows, key, sizeof key, &value, &value_len);

		ck_assert_msg(rc == (n <= number ? 0 : -E_NOENT), "row %d", (int)n);
		if (rc == 0 && n >= since)
			ck_assert_uint_eq(*(const uint8_t *)value, term);
	}
}

/* --- stories ---------------------------------------------------------------------------------- */

START_TEST(snapshot_and_journals_make_the_newest_state)
{
	put_snapshot(1, 5);
	put_journal(1, 3, 8);	/* reaches back before the snapshot */
	put_journal(2, 9, 12);
	ck_assert_msg(load() == 0, "%s", err.text);
	stands_at(12, 9, 2);
	ck_assert(!found.is_cut);
	ck_assert_uint_eq(found.wall_ns, 1012);
	ck_assert_uint_eq(found.snapshot_number, 5);
	ck_assert_uint_eq(found.super.name_key, 77);
	ck_assert_uint_eq(found.super.copies, 3);
}
END_TEST

START_TEST(a_tail_torn_at_any_byte_costs_its_last_record)
{
	uint32_t whole, record;

	put_snapshot(1, 2);
	put_journal(1, 3, 5);
	whole = len;
	record = (whole - JOURNAL_FILE_HEADER_BYTES) / 3;
	for (uint32_t cut = 1; cut < record; cut++) {
		len = whole - cut;
		put_file("1-3.journal");
		ck_assert_int_eq(load(), 0);
		stands_at(4, 1, 1);
		ck_assert(!found.is_cut);
	}
}
END_TEST

START_TEST(nothing_is_taken_from_behind_a_gap_or_damage)
{
	put_snapshot(1, 2);
	put_journal(1, 5, 8);
	ck_assert_int_eq(load(), 0);
	stands_at(2, 1, 1);
	ck_assert(found.is_cut);
	put_journal(1, 3, 4);
	ck_assert_int_eq(load(), 0);
	stands_at(8, 1, 1);
	put_journal(1, 3, 3);	/* its end was lost */
	ck_assert_int_eq(load(), 0);
	stands_at(3, 1, 1);
	ck_assert(found.is_cut);
	put_journal(1, 3, 4);
	put_journal(1, 5, 8);
	bytes[JOURNAL_FILE_HEADER_BYTES + 60] ^= 1;
	put_file("1-5.journal");
	ck_assert_int_eq(load(), 0);
	stands_at(4, 1, 1);
	ck_assert(found.is_cut);
	ck_assert_ptr_nonnull(strstr(found.why, "1-5.journal"));
}
END_TEST

START_TEST(a_later_term_counts_from_its_first_record_on)
{
	put_snapshot(1, 2);
	/* 7 to 9 were lost by a power failure of the server, and came here before */
	put_journal(1, 3, 9);
	put_journal(2, 7, 8);
	ck_assert_int_eq(load(), 0);
	stands_at(8, 7, 2);
}
END_TEST

START_TEST(records_of_an_abandoned_history_do_not_follow_a_snapshot_of_the_new_one)
{
	put_journal(1, 3, 9);
	put_snapshot(9, 5);	/* of a rescue that knew of 5 records */
	ck_assert_int_eq(load(), 0);
	stands_at(5, 1, 9);
}
END_TEST

START_TEST(a_bad_snapshot_gives_way_to_the_older_one)
{
	put_snapshot(1, 2);
	put_journal(1, 1, 8);
	put_snapshot(1, 6);
	bytes[len / 2] ^= 1;
	put_file("1-6.snapshot");
	ck_assert_int_eq(load(), 0);
	ck_assert_uint_eq(found.snapshot_number, 2);
	stands_at(8, 1, 1);
	ck_assert_int_eq(ms_rescue_load(disk, (uint8_t[16]){6}, rows, &found, &err),
			 -E_WRONG_CLUSTER);
}
END_TEST

START_TEST(without_a_snapshot_there_is_nothing)
{
	put_journal(1, 1, 8);
	ck_assert_int_eq(load(), -E_NOENT);
}
END_TEST

START_TEST(names_that_are_not_ours_are_no_files)
{
	static const char *const bad[] = {"",
					  "-",
					  "1-2",
					  "1-2.journal.part",
					  "-2.journal",
					  "1-.journal",
					  "x-2.journal",
					  "1-2.Journal",
					  "1-2.snapshotx",
					  "99999999999999999999-1.journal",
					  "111111111111111111111111111111-1.journal",
					  "1-2-3.journal"};
	struct ms_rescue_file file;

	for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
		ck_assert_msg(!ms_rescue_parse(bad[i], &file), "%s", bad[i]);
	ck_assert(ms_rescue_parse("12-0345.journal", &file));
	ck_assert(file.term == 12 && file.number == 345 && !file.is_snapshot);
}
END_TEST

/* From a real format to a directory that a server starts on. */
START_TEST(the_new_directory_is_far_ahead_and_can_be_opened)
{
	struct ms_format_options format = { .super = SUPER, .config = { .lease_ms = 10000,
				.copies = 3, .min_copies = 2,
				.inline_bytes_max = INLINE_BYTES_MAX }, .wall_ns = 1 };
	struct ms_key key = ms_key_one(MS_KEY_COUNTERS);
	struct ms_counters before, after;
	struct ms_recovery recovery;
	struct sim_media *other;
	struct disk *target;
	struct loop *loop;
	const void *value;

	ck_assert_int_eq(sim_media_create(world, MiB(64), &other), 0);
	ck_assert_int_eq(sim_disk_create(other, &target), 0);
	ck_assert_int_eq(ms_format(&target, 1, &format, &err), 0);
	len = (uint32_t)disk_read_file(target, "snapshots/S-0000000000000000", bytes, sizeof bytes);
	put_file("0-0.snapshot");
	put_journal(1, 1, 3);
	ck_assert_msg(load() == 0, "%s", err.text);
	ck_assert_int_eq(rows_get(rows, key.bytes, key.len, &value, &len), 0);
	ck_assert_int_eq(ms_key_counters_decode(value, len, &before), 0);
	ck_assert_int_eq(ms_rescue_jump(rows, &found, &err), 0);
	ck_assert_uint_gt(found.term, 1000000);
	ck_assert_int_eq(ms_rescue_write(&target, 1, rows, &found, &err), -E_NOT_EMPTY);
	disk_destroy(target);
	sim_media_destroy(other);

	ck_assert_int_eq(sim_media_create(world, MiB(64), &other), 0);
	ck_assert_int_eq(sim_disk_create(other, &target), 0);
	ck_assert_msg(ms_rescue_write(&target, 1, rows, &found, &err) == 0, "%s", err.text);
	ck_assert_int_eq(sim_loop_create(world, "mds", &loop), 0);
	ck_assert_int_eq(rows_clear(rows), 0);
	struct ms_recover_options o = { .loop = loop, .disks = &target, .disk_count = 1,
					.rows = rows, .journal_file_bytes_max = MiB(1) };
	ck_assert_msg(ms_recover(&o, &recovery, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(recovery.number, 3);
	ck_assert_uint_eq(recovery.term, found.term);
	ck_assert_int_eq(rows_get(rows, key.bytes, key.len, &value, &len), 0);
	ck_assert_int_eq(ms_key_counters_decode(value, len, &after), 0);
	ck_assert_uint_gt(after.inode_limit, before.inode_limit + UINT32_MAX);
	ms_recover_close(&recovery);
	sim_world_run_for(world, SIM_S);
	disk_destroy(target);
	sim_media_destroy(other);
	sim_loop_destroy(loop);
}
END_TEST

/* The server that the first made has lived for a while, when its directory is lost as well. */
START_TEST(two_rescues_of_one_copy_are_far_from_each_other)
{
	uint64_t terms[2];

	put_snapshot(0, 0);
	put_journal(1, 1, 3);
	for (uint64_t i = 0; i < 2; i++) {
		ck_assert_int_eq(load(), 0);
		found.now_ns = UINT64_C(1800000000000000000) + i * 60000000000u;
		ck_assert_int_eq(ms_rescue_jump(rows, &found, &err), 0);
		terms[i] = found.term;
	}
	ck_assert_uint_gt(terms[1], terms[0] + 1000000);
}
END_TEST

TEST_MAIN("rescue",
	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_test(tc, snapshot_and_journals_make_the_newest_state);
	tcase_add_test(tc, a_tail_torn_at_any_byte_costs_its_last_record);
	tcase_add_test(tc, nothing_is_taken_from_behind_a_gap_or_damage);
	tcase_add_test(tc, a_later_term_counts_from_its_first_record_on);
	tcase_add_test(tc, records_of_an_abandoned_history_do_not_follow_a_snapshot_of_the_new_one);
	tcase_add_test(tc, a_bad_snapshot_gives_way_to_the_older_one);
	tcase_add_test(tc, without_a_snapshot_there_is_nothing);
	tcase_add_test(tc, names_that_are_not_ours_are_no_files);
	tcase_add_test(tc, two_rescues_of_one_copy_are_far_from_each_other);
	tcase_add_test(tc, the_new_directory_is_far_ahead_and_can_be_opened))
