/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compaction of one store: what is dead goes, what lives moves and is read all the while, what is
 * wrong does not come along, and nothing is lost whenever it is interrupted.
 */
#include "fs/base/fault.h"
#include "tests/check_main.h"
#include "tests/store_fixture.h"
#include "tests/trip_rows.h"

#define LEN 60000u /* eight of them fill a segment */

static struct store_fixture f;

static void begin(void)
{
	fault_disarm_all();
	store_begin(&f);
}

static void end(void)
{
	fault_disarm_all();
	store_end(&f);
}

static void put_range(uint32_t first, uint32_t last)
{
	for (uint32_t i = first; i < last; i++)
		ck_assert_int_eq(store_put(&f, i, LEN), 0);
}

static void free_block(uint32_t number)
{
	struct block_id id = store_id(&f, number, LEN);

	ck_assert_int_eq(cs_store_trash(f.store, &id, 1), 0);
	ck_assert_int_eq(cs_store_free(f.store, &id), 0);
}

static bool rests(void *arg)
{
	(void)arg;
	return !cs_store_is_compacting(f.store);
}

static void compact(uint32_t percent)
{
	cs_store_compact(f.store, percent);
	ck_assert(sim_world_run_until(f.world, rests, NULL, 100 * SIM_S));
}

static bool has_segment(uint64_t number)
{
	char name[64];

	snprintf(name, sizeof(name), "segments/seg-%016llx", (unsigned long long)number);
	return access(scratch_path(&f.scratch, name), F_OK) == 0;
}

static void expect_there(uint32_t first, uint32_t last, uint32_t step)
{
	for (uint32_t i = first; i < last; i += step)
		ck_assert_int_eq(store_get(&f, i, LEN), 0);
}

START_TEST(what_is_all_dead_goes_by_itself)
{
	put_range(0, 20);
	ck_assert(has_segment(1));
	for (uint32_t i = 0; i < 8; i++)
		free_block(i);
	sim_world_run_for(f.world, 3 * SIM_S);
	ck_assert(!has_segment(1) && has_segment(2));
	ck_assert_uint_eq(store_stats(&f).bytes_dead, 0);
	expect_there(8, 20, 1);
	store_reopen(&f, true);
	ck_assert(!store_stats(&f).was_rebuilt);
	expect_there(8, 20, 1);
	store_reopen(&f, false);
	expect_there(8, 20, 1);
	ck_assert_uint_eq(store_stats(&f).blocks, 12);
}
END_TEST

START_TEST(what_died_before_it_was_sealed_goes_then)
{
	put_range(0, 7);
	for (uint32_t i = 0; i < 6; i++)
		free_block(i);
	sim_world_run_for(f.world, 3 * SIM_S);
	ck_assert(has_segment(1));
	put_range(7, 10);
	ck_assert(has_segment(2));
	sim_world_run_for(f.world, 3 * SIM_S);
	ck_assert(!has_segment(1));
	expect_there(6, 10, 1);
}
END_TEST

START_TEST(a_little_garbage_stays_until_asked_for)
{
	put_range(0, 20);
	for (uint32_t i = 0; i < 3; i++)
		free_block(i);
	sim_world_run_for(f.world, 3 * SIM_S);
	ck_assert(has_segment(1));
	ck_assert_uint_gt(store_stats(&f).bytes_dead, 0);
	compact(50);
	ck_assert(has_segment(1));
	compact(20);
	ck_assert(!has_segment(1));
	ck_assert_uint_eq(store_stats(&f).bytes_dead, 0);
	expect_there(3, 20, 1);
}
END_TEST

START_TEST(the_active_segment_goes_too_when_asked)
{
	put_range(0, 4);
	free_block(1);
	compact(0);
	ck_assert(!has_segment(1) && has_segment(2));
	ck_assert_uint_eq(store_stats(&f).bytes_dead, 0);
	expect_there(0, 4, 2);
	ck_assert_int_eq(store_get(&f, 1, LEN), -E_NO_BLOCK);
	put_range(10, 14);
	store_reopen(&f, false);
	expect_there(10, 14, 1);
}
END_TEST

START_TEST(half_of_everything_comes_back)
{
	put_range(0, 80);
	struct cs_store_stats before = store_stats(&f);
	for (uint32_t i = 0; i < 80; i += 2)
		free_block(i);
	compact(0);
	struct cs_store_stats after = store_stats(&f);
	ck_assert_uint_le(after.segments, before.segments / 2 + 1);
	ck_assert_uint_eq(after.bytes_dead, 0);
	ck_assert_uint_eq(after.blocks, 40);
	for (int trusted = 1; trusted >= 0; trusted--) {
		store_reopen(&f, trusted == 1);
		ck_assert_uint_eq(store_stats(&f).blocks, 40);
		ck_assert_uint_eq(store_stats(&f).damaged, 0);
		ck_assert_uint_eq(store_stats(&f).bytes_dead, 0);
		expect_there(1, 80, 2);
	}
}
END_TEST

START_TEST(trash_and_epochs_come_along)
{
	put_range(0, 20);
	cs_store_set_collection(f.store, 5);
	cs_store_set_collection(f.store, 6);
	struct block_id id = store_id(&f, 1, LEN), touched = store_id(&f, 2, LEN);
	ck_assert_int_eq(cs_store_trash(f.store, &id, 1234), 0);
	ck_assert_int_eq(cs_store_touch(f.store, &touched), 0);
	free_block(0);
	compact(0);
	ck_assert(!has_segment(1));
	ck_assert_uint_eq(store_place(&f, 1, LEN).trashed_ms, 1234);
	ck_assert_uint_eq(store_place(&f, 1, LEN).touched, 5);
	ck_assert_uint_eq(store_place(&f, 2, LEN).touched, 6);
	ck_assert_int_eq(store_get(&f, 1, LEN), 0);
	ck_assert_uint_eq(store_stats(&f).blocks_trash, 1);
}
END_TEST

static bool is_index_full;
static uint32_t refusals;

static int put_if_there_is_room(struct rows *rows, const void *key, uint32_t key_len,
				const void *value, uint32_t value_len)
{
	struct rows *inner = trip_rows_inner(rows);

	if (!is_index_full || key_len < BLOCK_ID_BYTES)
		return rows_put(inner, key, key_len, value, value_len);
	refusals++;
	rows_abort(inner);
	return -E_NOSPC;
}

/* Copies that the index does not take are in vain: they must not fill the disk. */
START_TEST(an_index_without_room_is_not_asked_all_the_time)
{
	struct rows_ops ops = TRIP_ROWS_OPS;
	struct trip_rows full;
	struct rows *inner = f.index;

	trip_rows_init(&full, inner);
	ops.put = put_if_there_is_room;
	full.base.ops = &ops;
	f.index = &full.base;
	store_reopen(&f, true);
	put_range(0, 16);
	for (uint32_t i = 0; i < 5; i++)
		free_block(i);
	is_index_full = true;
	sim_world_run_for(f.world, 300 * SIM_S);
	ck_assert_uint_ge(refusals, 3);
	ck_assert_uint_le(refusals, 6);
	expect_there(5, 16, 1);
	is_index_full = false;
	compact(0);
	ck_assert(!has_segment(1));
	ck_assert_uint_eq(store_stats(&f).bytes_dead, 0);
	expect_there(5, 16, 1);
	f.index = inner;
	store_reopen(&f, true);
	expect_there(5, 16, 1);
}
END_TEST

START_TEST(a_wrong_record_does_not_come_along)
{
	put_range(0, 20);
	struct cs_place place = store_place(&f, 5, LEN);
	store_flip(&f, place.segment, place.offset + RECORD_HEADER_BYTES + 7);
	free_block(0);
	compact(0);
	ck_assert(!has_segment(1));
	ck_assert_uint_eq(f.damaged, 2);
	ck_assert_uint_eq(store_stats(&f).damaged, 1);
	ck_assert_int_eq(store_get(&f, 5, LEN), -E_NO_BLOCK);
	ck_assert_int_eq(store_put(&f, 5, LEN), 0);
	expect_there(1, 20, 1);
}
END_TEST

START_TEST(a_bad_footer_is_no_hindrance)
{
	put_range(0, 20);
	int fd = store_segment_fd(&f, 1);
	off_t bytes = lseek(fd, 0, SEEK_END);
	close(fd);
	/* The trailer, or an entry. */
	store_flip(&f, 1, (uint64_t)bytes - (_i == 0 ? 1 : SEGMENT_TRAILER_BYTES + 10));
	free_block(0);
	compact(0);
	ck_assert(!has_segment(1));
	expect_there(1, 20, 1);
}
END_TEST

START_TEST(readers_of_the_old_file_keep_reading)
{
	struct store_get g[7] = {0};

	put_range(0, 20);
	free_block(0);
	store_reopen(&f, true);
	/* Reads that were begun before are answered whatever happens to the file. */
	for (uint32_t i = 0; i < ARRAY_COUNT(g); i++) {
		g[i].get = (struct cs_get){.id = store_id(&f, i + 1, LEN), .done = store_get_done};
		cs_store_get(f.store, &g[i].get);
	}
	compact(0);
	ck_assert(!has_segment(1));
	for (uint32_t i = 0; i < ARRAY_COUNT(g); i++) {
		ck_assert(g[i].is_done && g[i].get.rc == 0);
		buf_put(g[i].get.record);
	}
	expect_there(1, 20, 1);
}
END_TEST

START_TEST(a_block_freed_on_its_way_stays_free)
{
	put_range(0, 20);
	for (uint32_t i = 0; i < 3; i++)
		free_block(i);
	cs_store_compact(f.store, 0);
	/* Somewhere between its reading and its new row. */
	sim_world_run_for(f.world, (uint64_t)_i * SIM_MS / 4);
	free_block(5);
	ck_assert_int_eq(store_get(&f, 5, LEN), -E_NO_BLOCK);
	ck_assert_int_eq(store_put(&f, 5, LEN), 0);
	free_block(6);
	ck_assert(sim_world_run_until(f.world, rests, NULL, 100 * SIM_S));
	ck_assert(!has_segment(1));
	ck_assert_int_eq(store_get(&f, 5, LEN), 0);
	ck_assert_int_eq(store_get(&f, 6, LEN), -E_NO_BLOCK);
	ck_assert_uint_eq(store_stats(&f).blocks, 16);
	compact(0);
	store_reopen(&f, false);
	ck_assert_uint_eq(store_stats(&f).blocks, 16);
}
END_TEST

START_TEST(a_store_that_ends_does_not_wait_for_it)
{
	put_range(0, 80);
	for (uint32_t i = 0; i < 80; i += 2)
		free_block(i);
	cs_store_compact(f.store, 0);
	sim_world_run_for(f.world, (uint64_t)_i * SIM_MS);
	cs_store_quiet(f.store);
	ck_assert(sim_world_run_until(f.world, store_is_idle, &f, SIM_S));
	ck_assert_int_eq(store_close(&f), 0);
	store_reopen(&f, true);
	ck_assert(!store_stats(&f).was_rebuilt);
	ck_assert_uint_eq(store_stats(&f).blocks, 40);
	expect_there(1, 80, 2);
}
END_TEST

START_TEST(a_crash_at_any_moment_is_harmless)
{
	put_range(0, 40);
	for (uint32_t i = 0; i < 40; i += 2)
		free_block(i);
	sim_world_run_for(f.world, SIM_MS);
	cs_store_compact(f.store, 0);
	sim_world_run_for(f.world, (uint64_t)_i * SIM_MS / 2);
	store_crash(&f);
	store_reopen(&f, _i % 2 == 0);
	expect_there(1, 40, 2);
	compact(0);
	expect_there(1, 40, 2);
	ck_assert_uint_eq(store_stats(&f).bytes_dead, 0);
	ck_assert_uint_ge(store_stats(&f).blocks, 20);
}
END_TEST

TEST_MAIN("compact", tcase_add_checked_fixture(tc, begin, end);
	  tcase_add_test(tc, what_is_all_dead_goes_by_itself);
	  tcase_add_test(tc, what_died_before_it_was_sealed_goes_then);
	  tcase_add_test(tc, a_little_garbage_stays_until_asked_for);
	  tcase_add_test(tc, the_active_segment_goes_too_when_asked);
	  tcase_add_test(tc, half_of_everything_comes_back);
	  tcase_add_test(tc, trash_and_epochs_come_along);
	  tcase_add_test(tc, an_index_without_room_is_not_asked_all_the_time);
	  tcase_add_test(tc, a_wrong_record_does_not_come_along);
	  tcase_add_loop_test(tc, a_bad_footer_is_no_hindrance, 0, 2);
	  tcase_add_test(tc, readers_of_the_old_file_keep_reading);
	  tcase_add_loop_test(tc, a_block_freed_on_its_way_stays_free, 0, 24);
	  tcase_add_loop_test(tc, a_store_that_ends_does_not_wait_for_it, 0, 20);
	  tcase_add_loop_test(tc, a_crash_at_any_moment_is_harmless, 0, 40))
