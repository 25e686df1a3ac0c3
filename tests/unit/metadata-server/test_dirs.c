/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several metadata directories: each is enough alone, and what was away is brought up again or not
 * believed.
 */
#include <string.h>

#include "metadata-server/format.h"
#include "metadata-server/recover.h"
#include "metadata-server/snapshot.h"
#include "tests/check_main.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_loop.h"

#define DIRS 2u

static struct sim_world *world;
static struct loop *loop;
static struct sim_media *media[DIRS];
static struct disk *disks[DIRS];
static struct rows *rows;
static struct ms_recovery recovery;
static struct error err;

static const struct ms_format_options FORMAT = {
	.super = { .role = SUPER_METADATA, .hash = HASH_SHA256, .copies = 1, .min_copies = 1,
	.cluster = { 3 }, .directory = { 4 } }, .config = { .lease_ms = 10000, .copies = 1,
	.min_copies = 1, .inline_bytes_max = INLINE_BYTES_MAX }, .wall_ns = 1,
};

/* Open the directories of this bit mask, as a process that starts. */
static int recover(uint32_t which)
{
	struct disk *given[DIRS];
	struct ms_recover_options o = { .loop = loop, .disks = given, .rows = rows,
					.journal_file_bytes_max = 300 };

	for (uint32_t i = 0; i < DIRS; i++) {
		if (!(which >> i & 1))
			continue;
		ck_assert_int_eq(sim_disk_create(media[i], &disks[i]), 0);
		given[o.disk_count++] = disks[i];
	}
	ck_assert_int_eq(rows_clear(rows), 0);
	ck_assert_int_eq(rows_commit(rows), 0);
	memset(&err, 0, sizeof err);
	return ms_recover(&o, &recovery, &err);
}

static void leave(bool is_power_cut)
{
	ms_recover_close(&recovery);
	sim_world_run_for(world, SIM_S);
	for (uint32_t i = 0; i < DIRS; i++) {
		if (!disks[i])
			continue;
		if (is_power_cut)
			sim_media_power_cut(media[i]);
		else
			sim_media_crash(media[i]);
		disk_destroy(disks[i]);
		disks[i] = NULL;
	}
}

static void append(uint64_t n)
{
	static uint8_t record[4096];
	struct journal_header h = { .term = 1, .number = n,
				    .lag = (uint16_t)(n - ms_journal_durable(recovery.journal)) };
	int rc;

	ms_txn_event_begin(recovery.txn);
	ms_txn_put(recovery.txn, &n, sizeof n, &n, sizeof n);
	rc = ms_txn_event_encode(recovery.txn, record, sizeof record, &h.change_count);
	ck_assert_int_gt(rc, 0);
	h.payload_len = (uint32_t)rc;
	journal_record_finish(record, &h);
	ck_assert_int_eq(ms_journal_append(recovery.journal, record,
					   JOURNAL_HEADER_BYTES + h.payload_len, n, 1),
			 0);
}

static void append_synced(uint64_t from, uint64_t to)
{
	for (uint64_t n = from; n <= to; n++) {
		append(n);
		ms_journal_sync(recovery.journal);
		sim_world_run_for(world, SIM_S);
		ck_assert_uint_eq(ms_journal_durable(recovery.journal), n);
	}
}

/* A snapshot of what there is, in all directories, and the journal before it gone. */
static void snapshot_and_trim(void)
{
	struct disk *good[MS_JOURNAL_DIRS_MAX];
	uint32_t count = ms_journal_disks(recovery.journal, good);
	struct snapshot_header h = { .cluster = { 3 }, .term = 1,
				     .number = ms_journal_last(recovery.journal) };
	struct rows_snapshot *s;
	uint64_t bytes;

	ck_assert_int_eq(ms_txn_flush(recovery.txn), 0);
	ck_assert_int_eq(rows_commit(rows), 0);
	ck_assert_int_eq(rows_snapshot_open(rows, &s), 0);
	ck_assert_int_eq(ms_snapshot_write(good[0], s, &h, UINT64_MAX, &bytes), 0);
	rows_snapshot_close(s);
	for (uint32_t i = 1; i < count; i++)
		ck_assert_int_eq(ms_snapshot_copy(good[0], good[i]), 0);
	for (uint32_t i = 0; i < count; i++)
		ck_assert_int_eq(ms_snapshot_publish(good[i], &h), 0);
	ms_journal_trim(recovery.journal, h.number);
	ck_assert_uint_gt(ms_journal_first(recovery.journal), 1);
}

static void holds(uint64_t last)
{
	const void *value;
	uint32_t len;

	ck_assert_uint_eq(recovery.number, last);
	for (uint64_t n = 1; n <= last; n++)
		ck_assert_int_eq(rows_get(rows, &n, sizeof n, &value, &len), 0);
}

static void renew_medium(uint32_t i)
{
	sim_media_destroy(media[i]);
	ck_assert_int_eq(sim_media_create(world, MiB(64), &media[i]), 0);
}

static void begin(void)
{
	ck_assert_int_eq(sim_world_create(2, &world), 0);
	ck_assert_int_eq(sim_loop_create(world, "mds", &loop), 0);
	ck_assert_int_eq(rows_mem_create(&rows), 0);
	for (uint32_t i = 0; i < DIRS; i++) {
		ck_assert_int_eq(sim_media_create(world, MiB(64), &media[i]), 0);
		ck_assert_int_eq(sim_disk_create(media[i], &disks[i]), 0);
	}
	ck_assert_int_eq(ms_format(disks, DIRS, &FORMAT, &err), 0);
	for (uint32_t i = 0; i < DIRS; i++) {
		disk_destroy(disks[i]);
		disks[i] = NULL;
	}
}

static void end(void)
{
	leave(false);
	for (uint32_t i = 0; i < DIRS; i++)
		sim_media_destroy(media[i]);
	rows_destroy(rows);
	sim_loop_destroy(loop);
	sim_world_destroy(world);
}

/* Ten records, a snapshot at the eighth, the journal trimmed. */
static void make_history(void)
{
	ck_assert_int_eq(recover(3), 0);
	append_synced(1, 8);
	snapshot_and_trim();
	append_synced(9, 10);
	leave(false);
}

START_TEST(either_directory_is_enough)
{
	make_history();
	for (uint32_t which = 1; which <= 2; which++) {
		ck_assert_msg(recover(which) == 0, "%s", err.text);
		holds(10);
		leave(false);
	}
}
END_TEST

START_TEST(a_replaced_disk_gets_all_again)
{
	make_history();
	renew_medium(0);
	ck_assert_msg(recover(3) == 0, "%s", err.text);
	ck_assert_uint_eq(ms_journal_copies(recovery.journal), 2);
	holds(10);
	append_synced(11, 12);
	leave(true);
	ck_assert_msg(recover(1) == 0, "%s", err.text);
	holds(12);
}
END_TEST

START_TEST(a_directory_that_was_away_is_brought_up_again)
{
	make_history();
	ck_assert_int_eq(recover(1), 0);	/* it is not told of what the other does */
	append_synced(11, 20);
	snapshot_and_trim();
	leave(false);
	ck_assert_int_eq(recover(3), 0);
	holds(20);
	leave(true);
	ck_assert_int_eq(recover(2), 0);
	holds(20);
}
END_TEST

static bool one_is_left(void *arg)
{
	(void)arg;
	return ms_journal_copies(recovery.journal) == 1;
}

START_TEST(a_directory_that_was_dropped_is_not_believed_alone)
{
	struct sim_media_faults faults = { .sync_eio = SIM_MILLION }, none = { 0 };

	make_history();
	ck_assert_int_eq(recover(3), 0);
	sim_media_set_faults(media[0], &faults);
	append(11);
	ms_journal_sync(recovery.journal);
	ck_assert(sim_world_run_until(world, one_is_left, NULL, SIM_S));
	sim_media_set_faults(media[0], &none);	/* it takes the mark */
	sim_world_run_for(world, SIM_S);
	ck_assert_uint_eq(ms_journal_copies(recovery.journal), 1);
	leave(false);
	if (recover(1) == 0)
		ck_abort_msg("a directory was believed that had been dropped");
	ck_assert_int_eq(err.code, -E_BAD_MIDDLE);
	ck_assert_ptr_nonnull(strstr(err.text, "out of service"));
	leave(false);
	ck_assert_int_eq(recover(3), 0);
	ck_assert_uint_eq(ms_journal_copies(recovery.journal), 2);
	leave(false);
	ck_assert_int_eq(recover(1), 0);
}
END_TEST

START_TEST(an_unreadable_directory_is_done_without)
{
	struct sim_media_faults faults = { .read_eio = SIM_MILLION };

	make_history();
	sim_media_set_faults(media[0], &faults);
	ck_assert_msg(recover(3) == 0, "%s", err.text);
	ck_assert_uint_eq(ms_journal_copies(recovery.journal), 1);
	holds(10);
}
END_TEST

/*
 * I4: the page cache shows what the failed sync did not write; what is believed must be on the
 * disk.
 */
START_TEST(what_a_failed_sync_left_in_memory_is_written_before_it_is_believed)
{
	struct sim_media_faults faults = { .sync_drops = SIM_MILLION }, none = { 0 };

	for (uint32_t which = 1; which <= 3; which += 2) {
		uint64_t last;

		ck_assert_int_eq(recover(which), 0);
		last = recovery.number;
		append_synced(last + 1, last + 2);
		for (uint32_t i = 0; i < DIRS; i++)
			sim_media_set_faults(media[i], &faults);
		append(last + 3);
		append(last + 4);
		ms_journal_sync(recovery.journal);
		sim_world_run_for(world, SIM_S);
		ck_assert_uint_eq(ms_journal_copies(recovery.journal), 0);
		ck_assert_uint_eq(ms_journal_durable(recovery.journal), last + 2);
		for (uint32_t i = 0; i < DIRS; i++)
			sim_media_set_faults(media[i], &none);
		leave(false);
		ck_assert_msg(recover(which) == 0, "%s", err.text);
		ck_assert_uint_eq(recovery.number, last + 4);
		leave(true);
		ck_assert_msg(recover(which) == 0, "%s", err.text);
		ck_assert_uint_eq(recovery.number, last + 4);
		leave(false);
	}
}
END_TEST

TEST_MAIN("dirs",
	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_test(tc, either_directory_is_enough);
	tcase_add_test(tc, a_replaced_disk_gets_all_again);
	tcase_add_test(tc, a_directory_that_was_away_is_brought_up_again);
	tcase_add_test(tc, a_directory_that_was_dropped_is_not_believed_alone);
	tcase_add_test(tc, an_unreadable_directory_is_done_without);
	tcase_add_test(tc, what_a_failed_sync_left_in_memory_is_written_before_it_is_believed))
