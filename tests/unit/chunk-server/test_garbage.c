/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Trash, touched epochs and freeing in one store (I9): what the collector is told of, what takes a
 * block out of trash, and what survives which end of a process.
 */
#include "fs/base/fault.h"
#include "tests/check_main.h"
#include "tests/store_fixture.h"
#include "tests/trip_rows.h"

#define LEN 500u

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

static int touch(uint32_t number)
{
	struct block_id id = store_id(&f, number, LEN);

	return cs_store_touch(f.store, &id);
}

static int trash(uint32_t number, uint64_t wall_ms)
{
	struct block_id id = store_id(&f, number, LEN);

	return cs_store_trash(f.store, &id, wall_ms);
}

static int free_block(uint32_t number)
{
	struct block_id id = store_id(&f, number, LEN);

	return cs_store_free(f.store, &id);
}

static void put_many(uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		ck_assert_int_eq(store_put(&f, i, LEN), 0);
}

START_TEST(what_was_there_counts_as_touched_in_the_first_epoch)
{
	put_many(1);
	ck_assert_uint_eq(store_place(&f, 0, LEN).touched, 0);
	cs_store_set_collection(f.store, 7);
	ck_assert_uint_eq(store_place(&f, 0, LEN).touched, 7);
	cs_store_set_collection(f.store, 9);
	ck_assert_uint_eq(store_place(&f, 0, LEN).touched, 7);
	cs_store_set_collection(f.store, 8); /* epochs only rise */
	ck_assert_int_eq(store_put(&f, 1, LEN), 0);
	ck_assert_uint_eq(store_place(&f, 1, LEN).touched, 9);
	ck_assert_int_eq(touch(0), 0);
	ck_assert_uint_eq(store_place(&f, 0, LEN).touched, 9);
	ck_assert_int_eq(touch(5), -E_NO_BLOCK);
	/* A new life knows nothing of what happened since: all is touched now. */
	store_reopen(&f, true);
	cs_store_set_collection(f.store, 12);
	ck_assert_uint_eq(store_place(&f, 0, LEN).touched, 12);
	ck_assert_uint_eq(store_place(&f, 1, LEN).touched, 12);
}
END_TEST

START_TEST(a_second_put_touches)
{
	put_many(1);
	cs_store_set_collection(f.store, 1);
	cs_store_set_collection(f.store, 2);
	ck_assert_uint_eq(store_place(&f, 0, LEN).touched, 1);
	ck_assert_int_eq(store_put(&f, 0, LEN), 0);
	ck_assert_uint_eq(store_place(&f, 0, LEN).touched, 2);
}
END_TEST

START_TEST(trash_is_read_but_not_counted)
{
	put_many(3);
	struct cs_store_stats before = store_stats(&f);
	ck_assert_int_eq(trash(1, 1000), 0);
	ck_assert_int_eq(trash(1, 2000), 0);
	ck_assert_uint_eq(store_place(&f, 1, LEN).trashed_ms, 1000);
	ck_assert_int_eq(store_get(&f, 1, LEN), 0);
	struct cs_store_stats after = store_stats(&f);
	ck_assert_uint_eq(after.blocks, 2);
	ck_assert_uint_eq(after.blocks_trash, 1);
	ck_assert_uint_eq(after.bytes_stored + after.bytes_trash, before.bytes_stored);
	ck_assert_uint_eq(after.bytes_dead, 0);
	ck_assert_int_eq(trash(9, 1000), -E_NO_BLOCK);
}
END_TEST

/* 0: told so; 1: a HAVE; 2: a put. */
START_TEST(what_is_wanted_again_leaves_the_trash)
{
	put_many(2);
	ck_assert_int_eq(trash(0, 1000), 0);
	if (_i == 0)
		ck_assert_int_eq(trash(0, 0), 0);
	else if (_i == 1)
		ck_assert_int_eq(touch(0), 0);
	else
		ck_assert_int_eq(store_put(&f, 0, LEN), 0);
	ck_assert_uint_eq(store_place(&f, 0, LEN).trashed_ms, 0);
	ck_assert_int_eq(free_block(0), -E_BUSY);
	/* It was answered, so a crash right now does not take it back. */
	store_crash(&f);
	store_reopen(&f, true);
	ck_assert_uint_eq(store_place(&f, 0, LEN).trashed_ms, 0);
	ck_assert_uint_eq(store_stats(&f).blocks, 2);
}
END_TEST

START_TEST(only_trash_is_freed)
{
	put_many(3);
	ck_assert_int_eq(free_block(1), -E_BUSY);
	ck_assert_int_eq(trash(1, 1000), 0);
	ck_assert_int_eq(free_block(1), 0);
	ck_assert_int_eq(free_block(1), -E_NO_BLOCK);
	ck_assert_int_eq(store_get(&f, 1, LEN), -E_NO_BLOCK);
	struct cs_store_stats stats = store_stats(&f);
	ck_assert_uint_eq(stats.blocks, 2);
	ck_assert_uint_eq(stats.blocks_trash + stats.bytes_trash, 0);
	sim_world_run_for(f.world, SIM_MS);
	ck_assert_uint_eq(store_stats(&f).bytes_dead, 568); /* 564 padded */
	ck_assert_int_eq(store_put(&f, 1, LEN), 0);
	ck_assert_int_eq(store_get(&f, 1, LEN), 0);
}
END_TEST

/* Even rounds end in order, odd ones do not; the last builds the index anew. */
START_TEST(trash_and_counts_survive_a_restart_as_long_as_the_index_does)
{
	put_many(40);
	for (uint32_t i = 0; i < 20; i++)
		ck_assert_int_eq(trash(i, 1000 + i), 0);
	for (uint32_t i = 0; i < 10; i++)
		ck_assert_int_eq(free_block(i), 0);
	sim_world_run_for(f.world, SIM_MS);
	struct cs_store_stats before = store_stats(&f);
	for (int round = 0; round < 4; round++) {
		if (round % 2 == 1)
			store_crash(&f);
		store_reopen(&f, true);
		struct cs_store_stats after = store_stats(&f);
		ck_assert_uint_eq(after.blocks, 20);
		ck_assert_uint_eq(after.blocks_trash, 10);
		ck_assert_uint_eq(after.bytes_trash, before.bytes_trash);
		ck_assert_uint_eq(after.bytes_dead, before.bytes_dead);
		ck_assert(!after.was_rebuilt);
		ck_assert_uint_eq(store_place(&f, 15, LEN).trashed_ms, 1015);
		ck_assert_int_eq(store_get(&f, 5, LEN), -E_NO_BLOCK);
	}
	/* A new index knows records only: garbage lives, until it is collected again. */
	store_reopen(&f, false);
	struct cs_store_stats after = store_stats(&f);
	ck_assert(after.was_rebuilt);
	ck_assert_uint_eq(after.blocks, 40);
	ck_assert_uint_eq(after.blocks_trash + after.bytes_dead, 0);
}
END_TEST

struct visit {
	uint32_t count, trashed;
	bool free_trash;
};

static bool visited(void *arg, const struct block_id *id, const struct cs_place *place)
{
	struct visit *v = arg;

	v->count++;
	v->trashed += place->trashed_ms != 0;
	if (v->free_trash && place->trashed_ms != 0)
		ck_assert_int_eq(cs_store_free(f.store, id), 0);
	return true;
}

START_TEST(a_scan_may_free_what_it_visits)
{
	struct block_id from = {{0}};
	struct visit v = {.free_trash = true}, again = {0};

	put_many(30);
	for (uint32_t i = 0; i < 30; i += 3)
		ck_assert_int_eq(trash(i, 1), 0);
	ck_assert_int_eq(cs_store_scan(f.store, &from, visited, &v), 0);
	ck_assert(v.count == 30 && v.trashed == 10);
	ck_assert_int_eq(cs_store_scan(f.store, &from, visited, &again), 0);
	ck_assert(again.count == 20 && again.trashed == 0);
}
END_TEST

START_TEST(many_changes_in_one_turn_are_all_kept)
{
	put_many(1500);
	for (uint32_t i = 0; i < 1500; i++)
		ck_assert_int_eq(trash(i, 1), 0);
	sim_world_run_for(f.world, SIM_MS);
	store_crash(&f);
	store_reopen(&f, true);
	ck_assert_uint_eq(store_stats(&f).blocks_trash, 1500);
}
END_TEST

/* A touch is not committed yet when another change is refused, and takes it along. */
START_TEST(a_touch_that_was_answered_is_never_taken_back)
{
	static struct trip_rows trip;
	struct rows *inner = f.index;

	trip_rows_init(&trip, inner);
	f.index = &trip.base;
	store_reopen(&f, true);
	put_many(2);
	cs_store_set_collection(f.store, 1);
	cs_store_set_collection(f.store, 5);
	ck_assert_int_eq(touch(0), 0);
	trip_rows_arm(&trip, 1, -E_NOSPC);
	ck_assert_int_eq(trash(1, 1000), -E_NOSPC);
	ck_assert_uint_eq(f.failures, 0);
	ck_assert_uint_eq(store_place(&f, 0, LEN).touched, 5);
	f.index = inner;
}
END_TEST

#ifdef CAIRN_FAULTS
START_TEST(a_commit_that_fails_gives_the_disk_up_and_changes_nothing)
{
	put_many(2);
	ck_assert_int_eq(store_sync(&f, cs_store_generation(f.store)), 0);
	ck_assert_int_eq(trash(0, 1000), 0);
	sim_world_run_for(f.world, SIM_MS);
	struct cs_store_stats before = store_stats(&f);
	ck_assert_int_eq(trash(1, 1000), 0);
	fault_arm(FAULT_rows_commit, 1, 1);
	ck_assert_int_eq(touch(0), -E_IO);
	ck_assert_uint_eq(fault_hits(FAULT_rows_commit), 1);
	ck_assert_uint_eq(f.failures, 1);
	struct cs_store_stats after = store_stats(&f);
	ck_assert_uint_eq(after.blocks, before.blocks);
	ck_assert_uint_eq(after.blocks_trash, before.blocks_trash);
	store_reopen(&f, true);
	ck_assert_uint_eq(store_place(&f, 0, LEN).trashed_ms, 1000);
	ck_assert_uint_eq(store_place(&f, 1, LEN).trashed_ms, 0);
}
END_TEST

#define GARBAGE_FAULT_TESTS(tc)                                                                    \
	tcase_add_test(tc, a_commit_that_fails_gives_the_disk_up_and_changes_nothing)
#else
/* Fault points are compiled into sanitizer builds only. */
#define GARBAGE_FAULT_TESTS(tc) puts("SKIP: fault points are compiled into sanitizer builds only")
#endif

TEST_MAIN("garbage", tcase_add_checked_fixture(tc, begin, end);
	  tcase_add_test(tc, what_was_there_counts_as_touched_in_the_first_epoch);
	  tcase_add_test(tc, a_second_put_touches);
	  tcase_add_test(tc, trash_is_read_but_not_counted);
	  tcase_add_loop_test(tc, what_is_wanted_again_leaves_the_trash, 0, 3);
	  tcase_add_test(tc, only_trash_is_freed);
	  tcase_add_test(tc, trash_and_counts_survive_a_restart_as_long_as_the_index_does);
	  tcase_add_test(tc, a_scan_may_free_what_it_visits);
	  tcase_add_test(tc, many_changes_in_one_turn_are_all_kept);
	  tcase_add_test(tc, a_touch_that_was_answered_is_never_taken_back);
	  GARBAGE_FAULT_TESTS(tc))
