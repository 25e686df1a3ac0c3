/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The journal: what was durable is there again, the rest is an ordered prefix, damage is refused or
 * repaired.
 */
#include "metadata-server/journal.h"

#include <string.h>
#include <sys/stat.h>

#include "fs/base/fault.h"
#include "tests/check_main.h"
#include "tests/scratch.h"
#include "tests/sim/sim_loop.h"

#define PAYLOAD 100u

static struct scratch scratch;
static struct sim_world *world;
static struct loop *loop;
static struct disk *disks[2];
static uint32_t disk_count;
static struct ms_journal *journal;
static struct error err;
static uint64_t file_bytes_max;
static int last_told;

static void on_durable(void *arg, int rc)
{
	(void)arg;
	last_told = rc;
}

static int open_journal(void)
{
	struct ms_journal_options o = { .loop = loop, .disks = disks, .disk_count = disk_count,
					.cluster = { 1, 2, 3 }, .file_bytes_max = file_bytes_max };
	int rc;

	memset(&err, 0, sizeof err);
	rc = ms_journal_open(&o, &journal, &err);
	if (rc < 0)
		journal = NULL;
	else
		ms_journal_watch(journal, on_durable, NULL);
	return rc;
}

static void begin(void)
{
	static const char *const names[] = { "one", "two" };

	scratch_init(&scratch);
	ck_assert_int_eq(sim_world_create(1, &world), 0);
	ck_assert_int_eq(sim_loop_create(world, "journal", &loop), 0);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(mkdir(scratch_path(&scratch, names[i]), 0700), 0);
		ck_assert_int_eq(disk_posix_create(scratch_path(&scratch, names[i]), &disks[i]), 0);
		ck_assert_int_eq(disk_mkdir(disks[i], "journal"), 0);
	}
	disk_count = 1;
	file_bytes_max = MiB(1);
	journal = NULL;
	last_told = 1;
}

static void close_journal(void)
{
	ms_journal_close(journal);
	journal = NULL;
	sim_world_run_for(world, SIM_S);	/* workers come back */
}

static void end(void)
{
	fault_disarm_all();
	if (journal)
		close_journal();
	for (int i = 0; i < 2; i++)
		disk_destroy(disks[i]);
	sim_loop_destroy(loop);
	sim_world_destroy(world);
	scratch_finish(&scratch);
}

/* Record `number`, its value made of its number. */
static int append_one(uint64_t number)
{
	uint8_t record[JOURNAL_HEADER_BYTES + PAYLOAD];
	uint64_t lag = number - ms_journal_durable(journal);
	struct journal_header h = { .term = 1, .number = number, .payload_len = PAYLOAD,
				    .change_count = 1, .lag = (uint16_t)lag };
	uint8_t value[PAYLOAD - JOURNAL_CHANGE_HEADER_BYTES - 3];
	struct row_change change = { .op = ROW_PUT, .key = (const uint8_t *)"key", .key_len = 3,
				     .value = value, .value_len = sizeof value };
	struct wr w = wr_init(record + JOURNAL_HEADER_BYTES, PAYLOAD);

	memset(value, (int)number, sizeof value);
	journal_change_write(&w, &change);
	journal_record_finish(record, &h);
	return ms_journal_append(journal, record, sizeof record, number, 1);
}

static void append(uint64_t from, uint64_t to)
{
	for (uint64_t n = from; n <= to; n++)
		ck_assert_int_eq(append_one(n), 0);
}

static bool all_is_durable(void *arg)
{
	(void)arg;
	return ms_journal_durable(journal) == ms_journal_last(journal);
}

static void sync_all(void)
{
	ms_journal_sync(journal);
	ck_assert(sim_world_run_until(world, all_is_durable, NULL, SIM_S));
}

static int replay_one(void *arg, const struct journal_header *h, const uint8_t *payload)
{
	uint64_t *next = arg;

	ck_assert_uint_eq(h->number, *next);
	ck_assert_uint_eq(h->payload_len, PAYLOAD);
	ck_assert_uint_eq(payload[PAYLOAD - 1], (uint8_t)h->number);
	(*next)++;
	return 0;
}

static void holds(uint64_t from, uint64_t to)
{
	uint64_t next = from;

	ck_assert_uint_eq(ms_journal_last(journal), to);
	ck_assert_int_eq(ms_journal_replay(journal, from - 1, replay_one, &next, &err), 0);
	ck_assert_uint_eq(next, to + 1);
}

/* The bytes of a journal file, to be damaged. */
static uint8_t image[4096], whole[4096];

static uint32_t load_file(int disk, const char *name)
{
	int rc = disk_read_file(disks[disk], name, image, sizeof image);

	ck_assert_int_gt(rc, 0);
	return (uint32_t)rc;
}

static void store_file(int disk, const char *name, uint32_t len)
{
	ck_assert_int_eq(disk_replace_file(disks[disk], name, image, len), 0);
}

#define FIRST_FILE "journal/J-0000000000000001"
#define RECORD	   (JOURNAL_HEADER_BYTES + PAYLOAD)

/* Flip bits of a byte of the first file; how long that file is. */
static uint32_t flip(int disk, uint32_t at, uint8_t bits)
{
	uint32_t len = load_file(disk, FIRST_FILE);

	image[at] ^= bits;
	store_file(disk, FIRST_FILE, len);
	return len;
}

/* A journal of four records, closed; the last came after a sync. */
static void write_four(void)
{
	ck_assert_int_eq(open_journal(), 0);
	append(1, 3);
	sync_all();
	append(4, 4);
	close_journal();
}

START_TEST(an_empty_journal_opens_and_takes_its_first_record)
{
	ck_assert_int_eq(open_journal(), 0);
	ck_assert_uint_eq(ms_journal_last(journal), 0);
	append(1, 3);
	close_journal();
	ck_assert_int_eq(open_journal(), 0);
	holds(1, 3);
	ck_assert_uint_eq(ms_journal_last_term(journal), 1);
}
END_TEST

START_TEST(what_is_written_becomes_durable_by_itself)
{
	ck_assert_int_eq(open_journal(), 0);
	append(1, 5);
	ck_assert_uint_eq(ms_journal_durable(journal), 0);
	ck_assert(
		sim_world_run_until(world, all_is_durable, NULL, 2 * JOURNAL_SYNC_MS_MAX * SIM_MS));
	ck_assert_int_eq(last_told, 0);
}
END_TEST

START_TEST(a_torn_tail_is_cut_at_every_byte)
{
	uint32_t len;

	ck_assert_int_eq(open_journal(), 0);
	append(1, 2);
	sync_all();
	append(3, 3);
	close_journal();
	len = load_file(0, FIRST_FILE);
	for (uint32_t cut = 0; cut < RECORD; cut++) {
		store_file(0, FIRST_FILE, len - RECORD + cut);
		ck_assert_int_eq(open_journal(), 0);
		holds(1, 2);
		append(3, 4);
		close_journal();
		ck_assert_int_eq(open_journal(), 0);
		holds(1, 4);
		close_journal();
	}
}
END_TEST

START_TEST(unsynced_records_that_reached_the_disk_out_of_order_are_cut)
{
	uint32_t len;

	ck_assert_int_eq(open_journal(), 0);
	append(1, 2);
	sync_all();
	append(3, 6);		/* none of them synced when the power went */
	close_journal();
	len = load_file(0, FIRST_FILE);
	/* 3 never came out, 4 to 6 did */
	memset(image + JOURNAL_FILE_HEADER_BYTES + 2 * RECORD, 0, RECORD);
	store_file(0, FIRST_FILE, len);
	ck_assert_int_eq(open_journal(), 0);
	holds(1, 2);
}
END_TEST

START_TEST(a_flipped_byte_in_what_was_durable_is_refused)
{
	write_four();
	flip(0, JOURNAL_FILE_HEADER_BYTES + RECORD + 60, 1);
	ck_assert_int_eq(open_journal(), -E_BAD_MIDDLE);
	ck_assert_ptr_nonnull(strstr(err.text, FIRST_FILE));
	ck_assert_ptr_nonnull(strstr(err.text, "restore"));
}
END_TEST

START_TEST(files_rotate_and_are_trimmed_up_to_a_number)
{
	file_bytes_max = 3 * RECORD;
	ck_assert_int_eq(open_journal(), 0);
	for (uint64_t n = 1; n <= 20; n++) {
		append(n, n);
		sync_all();
	}
	ms_journal_trim(journal, 10);
	ck_assert_uint_gt(ms_journal_first(journal), 1);
	ck_assert_uint_le(ms_journal_first(journal), 11);
	holds(11, 20);
	close_journal();
	ck_assert_int_eq(open_journal(), 0);
	holds(11, 20);
}
END_TEST

START_TEST(an_older_file_that_lost_its_end_is_refused)
{
	uint32_t len;

	file_bytes_max = 3 * RECORD;
	ck_assert_int_eq(open_journal(), 0);
	for (uint64_t n = 1; n <= 8; n++) {
		append(n, n);
		sync_all();
	}
	close_journal();
	len = load_file(0, FIRST_FILE);
	store_file(0, FIRST_FILE, len - 1);
	ck_assert_int_eq(open_journal(), -E_BAD_MIDDLE);
}
END_TEST

START_TEST(the_longer_of_two_directories_wins_and_the_other_is_made_equal)
{
	uint32_t len;

	disk_count = 2;
	ck_assert_int_eq(open_journal(), 0);
	append(1, 6);
	close_journal();
	len = load_file(0, FIRST_FILE);
	store_file(0, FIRST_FILE, len - 2 * RECORD - 7);
	ck_assert_int_eq(open_journal(), 0);
	holds(1, 6);
	ck_assert_uint_eq(ms_journal_copies(journal), 2);
	close_journal();
	ck_assert_uint_eq(load_file(0, FIRST_FILE), len);
}
END_TEST

START_TEST(a_bad_middle_is_repaired_from_the_other_directory)
{
	uint32_t len;

	disk_count = 2;
	write_four();
	len = flip(1, JOURNAL_FILE_HEADER_BYTES + 70, 0x80);
	ck_assert_int_eq(open_journal(), 0);
	holds(1, 4);
	close_journal();
	ck_assert_uint_eq(load_file(0, FIRST_FILE), len);
	memcpy(whole, image, len);
	ck_assert_uint_eq(load_file(1, FIRST_FILE), len);
	ck_assert_mem_eq(image, whole, len);
}
END_TEST

START_TEST(an_empty_second_directory_never_wins_over_a_damaged_first)
{
	write_four();
	flip(0, JOURNAL_FILE_HEADER_BYTES + 70, 0x80);
	disk_count = 2;
	ck_assert_int_eq(open_journal(), -E_BAD_MIDDLE);
}
END_TEST

START_TEST(another_clusters_journal_is_refused)
{
	struct ms_journal_options o = { .loop = loop, .disks = disks, .disk_count = 1,
					.cluster = { 9 }, .file_bytes_max = MiB(1) };

	ck_assert_int_eq(open_journal(), 0);
	append(1, 1);
	close_journal();
	ck_assert_int_eq(ms_journal_open(&o, &journal, &err), -E_WRONG_CLUSTER);
	journal = NULL;
}
END_TEST

#ifdef CAIRN_FAULTS
START_TEST(a_directory_whose_sync_fails_is_dropped_and_the_other_goes_on)
{
	disk_count = 2;
	ck_assert_int_eq(open_journal(), 0);
	append(1, 1);
	fault_arm(FAULT_journal_sync, 1, 1);
	sync_all();
	ck_assert_uint_eq(ms_journal_copies(journal), 1);
	append(2, 2);
	sync_all();
	ck_assert_uint_eq(ms_journal_durable(journal), 2);
}
END_TEST

static bool was_told_of_failure(void *arg)
{
	(void)arg;
	return last_told < 0;
}

START_TEST(with_no_directory_left_nothing_is_called_durable)
{
	ck_assert_int_eq(open_journal(), 0);
	append(1, 1);
	fault_arm(FAULT_journal_sync, 1, 1);
	ms_journal_sync(journal);
	ck_assert(sim_world_run_until(world, was_told_of_failure, NULL, SIM_S));
	ck_assert_uint_eq(ms_journal_durable(journal), 0);
	ck_assert_int_eq(append_one(2), -E_IO);
}
END_TEST

START_TEST(a_failed_write_drops_the_directory)
{
	disk_count = 2;
	ck_assert_int_eq(open_journal(), 0);
	append(1, 1);
	fault_arm(FAULT_journal_append, 1, 1);
	append(2, 2);
	ck_assert_uint_eq(ms_journal_copies(journal), 1);
	close_journal();
	ck_assert_int_eq(open_journal(), 0);
	holds(1, 2);
	ck_assert_uint_eq(ms_journal_copies(journal), 2);
}
END_TEST
#endif

#ifdef CAIRN_FAULTS
#define FAULT_TESTS                                                                                \
	tcase_add_test(tc, a_directory_whose_sync_fails_is_dropped_and_the_other_goes_on);         \
	tcase_add_test(tc, with_no_directory_left_nothing_is_called_durable);                      \
	tcase_add_test(tc, a_failed_write_drops_the_directory)
#else
#define FAULT_TESTS (void)0
#endif

TEST_MAIN("journal",
	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_test(tc, an_empty_journal_opens_and_takes_its_first_record);
	tcase_add_test(tc, what_is_written_becomes_durable_by_itself);
	tcase_add_test(tc, a_torn_tail_is_cut_at_every_byte);
	tcase_add_test(tc, unsynced_records_that_reached_the_disk_out_of_order_are_cut);
	tcase_add_test(tc, a_flipped_byte_in_what_was_durable_is_refused);
	tcase_add_test(tc, files_rotate_and_are_trimmed_up_to_a_number);
	tcase_add_test(tc, an_older_file_that_lost_its_end_is_refused);
	tcase_add_test(tc, the_longer_of_two_directories_wins_and_the_other_is_made_equal);
	tcase_add_test(tc, a_bad_middle_is_repaired_from_the_other_directory);
	tcase_add_test(tc, an_empty_second_directory_never_wins_over_a_damaged_first);
	tcase_add_test(tc, another_clusters_journal_is_refused);
	FAULT_TESTS)
