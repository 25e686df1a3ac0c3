/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store: what is put comes back, what is synced survives, what is torn or damaged is cut or
 * stepped over and never answered, and the index is only ever as believable as the segments (I4,
 * I8, I15).
 */
#include "fs/base/fault.h"
#include "tests/check_main.h"
#include "tests/store_fixture.h"

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

START_TEST(a_block_comes_back)
{
	ck_assert_int_eq(store_put(&f, 1, 1), 0);
	ck_assert_int_eq(store_put(&f, 2, BLOCK_BYTES_MAX), 0);
	ck_assert_int_eq(store_get(&f, 1, 1), 0);
	ck_assert_int_eq(store_get(&f, 2, BLOCK_BYTES_MAX), 0);
	ck_assert_int_eq(store_get(&f, 3, 100), -E_NO_BLOCK);
	struct cs_store_stats stats = store_stats(&f);
	ck_assert_uint_eq(stats.blocks, 2);
	ck_assert_uint_eq(stats.bytes_plain, 1 + BLOCK_BYTES_MAX);
	ck_assert_uint_eq(stats.bytes_stored, 1 + BLOCK_BYTES_MAX + 2 * RECORD_HEADER_BYTES);
}
END_TEST

#define TOGETHER 40u

static bool are_done(void *arg)
{
	const struct store_get *gets = arg;

	for (uint32_t i = 0; i < TOGETHER; i++) {
		if (!gets[i].is_done)
			return false;
	}
	return true;
}

/* Length of block i: most records need padding. */
static uint32_t length_of(uint32_t i)
{
	return 500 + 13 * i;
}

START_TEST(neighbours_are_read_at_once_and_judged_alone)
{
	static struct store_get gets[TOGETHER];
	const uint32_t wrong = 7, absent = 23;

	for (uint32_t i = 0; i < TOGETHER; i++) {
		if (i != absent)
			ck_assert_int_eq(store_put(&f, i, length_of(i)), 0);
	}
	struct cs_place place = store_place(&f, wrong, length_of(wrong));
	store_flip(&f, place.segment, place.offset + RECORD_HEADER_BYTES);
	memset(gets, 0, sizeof(gets));
	for (uint32_t n = 0; n < TOGETHER; n++) {
		uint32_t i = n * 11 % TOGETHER; /* in any order */

		gets[i].get.id = store_id(&f, i, length_of(i));
		gets[i].get.done = store_get_done;
		cs_store_get(f.store, &gets[i].get);
		ck_assert(!gets[i].is_done);
	}
	ck_assert(!cs_store_is_idle(f.store));
	ck_assert(sim_world_run_until(f.world, are_done, gets, 10 * SIM_S));
	for (uint32_t i = 0; i < TOGETHER; i++) {
		struct block_id id;
		struct buf *record = store_record(&f, i, length_of(i), &id);
		int want = i == wrong ? -E_CORRUPT : i == absent ? -E_NO_BLOCK : 0;

		ck_assert_int_eq(gets[i].get.rc, want);
		if (want == 0)
			ck_assert_mem_eq(gets[i].get.record->data, record->data, record->len);
		buf_put(gets[i].get.record);
		buf_put(record);
	}
	ck_assert_uint_eq(gets[0].get.run_count, STORE_RUN_MAX);
	ck_assert_uint_eq(gets[STORE_RUN_MAX].get.run_count, STORE_RUN_MAX); /* over the gap */
}
END_TEST

START_TEST(a_second_put_writes_nothing)
{
	struct store_put first, twin, later;

	store_put_start(&f, 1, 1000, &first);
	store_put_start(&f, 1, 1000, &twin);
	ck_assert(sim_world_run_until(f.world, store_flag, &twin.is_done, SIM_S));
	ck_assert(first.is_done && !first.put.was_there && twin.put.was_there);
	store_put_start(&f, 1, 1000, &later);
	ck_assert(!later.is_done); /* never inside the call */
	ck_assert(sim_world_run_until(f.world, store_flag, &later.is_done, SIM_S));
	ck_assert(later.put.rc == 0 && later.put.was_there);
	ck_assert_uint_eq(store_stats(&f).blocks, 1);
	ck_assert_uint_eq(store_stats(&f).bytes_stored, 1000 + RECORD_HEADER_BYTES);
}
END_TEST

START_TEST(a_full_queue_says_so)
{
	static struct store_put puts[700];
	uint32_t refused = 0;

	for (uint32_t i = 0; i < ARRAY_COUNT(puts); i++)
		store_put_start(&f, i, 10, &puts[i]);
	sim_world_run_for(f.world, SIM_S);
	for (uint32_t i = 0; i < ARRAY_COUNT(puts); i++) {
		ck_assert(puts[i].is_done);
		ck_assert(puts[i].put.rc == 0 || puts[i].put.rc == -E_OVERLOADED);
		refused += puts[i].put.rc < 0;
	}
	ck_assert_uint_gt(refused, 0);
	ck_assert_uint_eq(store_stats(&f).blocks, ARRAY_COUNT(puts) - refused);
}
END_TEST

static void put_many(uint32_t count, uint32_t len)
{
	for (uint32_t i = 0; i < count; i++)
		ck_assert_int_eq(store_put(&f, i, len), 0);
}

static void all_are_there(uint32_t count, uint32_t len)
{
	for (uint32_t i = 0; i < count; i++)
		ck_assert_int_eq(store_get(&f, i, len), 0);
}

START_TEST(full_segments_roll_and_survive_every_kind_of_reopening)
{
	put_many(40, 60000);
	struct cs_store_stats before = store_stats(&f);
	ck_assert_uint_ge(before.segments, 5);
	for (int round = 0; round < 4; round++) {
		if (round >= 2)
			store_crash(&f);
		store_reopen(&f, round % 2 == 0);
		all_are_there(40, 60000);
		struct cs_store_stats after = store_stats(&f);
		ck_assert_uint_eq(after.blocks, before.blocks);
		ck_assert_uint_eq(after.bytes_stored, before.bytes_stored);
		ck_assert_uint_eq(after.segments, before.segments);
		ck_assert_uint_eq(after.damaged, 0);
	}
}
END_TEST

START_TEST(a_damaged_footer_costs_a_scan_and_no_block)
{
	put_many(20, 60000);
	int fd = store_segment_fd(&f, 1);
	off_t bytes = lseek(fd, 0, SEEK_END);
	close(fd);
	ck_assert_int_eq(store_close(&f), 0);
	store_flip(&f, 1, (uint64_t)bytes - 1);				 /* the trailer */
	store_flip(&f, 2, (uint64_t)bytes - SEGMENT_TRAILER_BYTES - 10); /* an entry */
	store_reopen(&f, false);
	all_are_there(20, 60000);
	ck_assert_uint_eq(store_stats(&f).blocks, 20);
	/* The first was sealed again: it costs nothing any more. */
	store_reopen(&f, false);
	ck_assert_uint_eq(store_stats(&f).damaged, 1);
}
END_TEST

/* Cut block 2 at byte `at` of its record: the rest is zeros, or the end of the file. */
static void tear(const struct cs_place *place, uint32_t at, bool by_truncation)
{
	static const uint8_t zeros[4096];

	if (by_truncation) {
		int fd = store_segment_fd(&f, place->segment);
		ck_assert_int_eq(ftruncate(fd, (off_t)(place->offset + at)), 0);
		close(fd);
	} else {
		store_overwrite(&f, place->segment, place->offset + at, zeros, place->length - at);
	}
}

START_TEST(a_torn_tail_is_cut_wherever_it_is_torn)
{
	ck_assert_int_eq(store_put(&f, 1, 77), 0);
	ck_assert_int_eq(store_put(&f, 2, 100), 0);
	struct cs_place place = store_place(&f, 2, 100);
	for (uint32_t at = 0; at < place.length; at++) {
		ck_assert_int_eq(store_close(&f), 0);
		tear(&place, at, _i == 1);
		store_reopen(&f, at % 2 == 0);
		ck_assert_int_eq(store_get(&f, 1, 77), 0);
		ck_assert_int_eq(store_get(&f, 2, 100), -E_NO_BLOCK);
		ck_assert_uint_eq(store_stats(&f).blocks, 1);
		ck_assert_uint_eq(store_stats(&f).damaged, 0);
		/* The place is free again, and holds. */
		ck_assert_int_eq(store_put(&f, 2, 100), 0);
		ck_assert_uint_eq(store_place(&f, 2, 100).offset, place.offset);
	}
}
END_TEST

START_TEST(a_bad_middle_is_stepped_over)
{
	put_many(3, 500);
	struct cs_place place = store_place(&f, 1, 500);
	ck_assert_int_eq(store_close(&f), 0);
	store_flip(&f, place.segment, place.offset + (_i == 0 ? 3 : RECORD_HEADER_BYTES + 9));
	store_reopen(&f, false);
	ck_assert_int_eq(store_get(&f, 0, 500), 0);
	ck_assert_int_eq(store_get(&f, 1, 500), -E_NO_BLOCK);
	ck_assert_int_eq(store_get(&f, 2, 500), 0);
	ck_assert_uint_eq(store_stats(&f).damaged, 1);
	ck_assert_int_eq(store_put(&f, 1, 500), 0);
	store_reopen(&f, false);
	all_are_there(3, 500);
}
END_TEST

START_TEST(a_wrong_record_is_never_answered_and_can_be_replaced)
{
	put_many(2, 500);
	struct block_id id = store_id(&f, 0, 500);
	struct cs_place place = store_place(&f, 0, 500);
	store_flip(&f, place.segment, place.offset + RECORD_HEADER_BYTES);
	ck_assert_int_eq(store_get(&f, 0, 500), -E_CORRUPT);
	cs_store_quarantine(f.store, &id, &place);
	ck_assert_int_eq(store_get(&f, 0, 500), -E_NO_BLOCK);
	ck_assert_uint_eq(store_stats(&f).damaged, 1);
	ck_assert_int_eq(store_put(&f, 0, 500), 0);
	store_reopen(&f, false);
	all_are_there(2, 500);
	ck_assert_uint_eq(store_stats(&f).blocks, 2);
}
END_TEST

START_TEST(an_index_beyond_the_segments_is_not_believed)
{
	put_many(2, 500);
	struct cs_place place = store_place(&f, 1, 500);
	ck_assert_int_eq(store_close(&f), 0);
	tear(&place, 0, true);
	store_reopen(&f, true);
	ck_assert_int_eq(store_get(&f, 1, 500), -E_NO_BLOCK);
	ck_assert_uint_eq(store_stats(&f).blocks, 1);
}
END_TEST

START_TEST(a_segment_of_another_disk_is_left_alone)
{
	struct segment_header header = {.number = 1}; /* zero ids: not ours */
	uint8_t bytes[SEGMENT_HEADER_BYTES];

	ck_assert_int_eq(store_put(&f, 1, 500), 0);
	ck_assert_int_eq(store_close(&f), 0);
	segment_header_encode(&header, bytes);
	store_overwrite(&f, 1, 0, bytes, sizeof(bytes));
	store_reopen(&f, true);
	ck_assert_int_eq(store_get(&f, 1, 500), -E_NO_BLOCK);
	ck_assert_uint_ge(store_stats(&f).damaged, 1);
	ck_assert_int_eq(store_put(&f, 1, 500), 0);
	ck_assert_uint_eq(store_place(&f, 1, 500).segment, 2);
}
END_TEST

START_TEST(a_sync_makes_a_generation_durable)
{
	struct store_put p;

	store_put_start(&f, 1, 500, &p);
	ck_assert(sim_world_run_until(f.world, store_flag, &p.is_done, SIM_S));
	uint64_t generation = p.put.generation;
	ck_assert_uint_lt(cs_store_durable(f.store), generation);
	ck_assert_uint_eq(store_place(&f, 1, 500).generation, generation);
	ck_assert_int_eq(store_sync(&f, generation), 0);
	ck_assert_uint_ge(cs_store_durable(f.store), generation);
	/* What comes after is in a later one; one that was never begun is nobody's. */
	ck_assert_uint_gt(cs_store_generation(f.store), generation);
	ck_assert_int_eq(store_sync(&f, cs_store_generation(f.store)), 0);
	ck_assert_int_eq(store_sync(&f, cs_store_generation(f.store) + 1), -E_INVAL);
}
END_TEST

START_TEST(the_store_syncs_by_itself)
{
	struct store_put p;

	store_put_start(&f, 1, 500, &p);
	sim_world_run_for(f.world, 50 * SIM_MS);
	ck_assert(p.is_done);
	ck_assert_uint_lt(cs_store_durable(f.store), p.put.generation);
	sim_world_run_for(f.world, 60 * SIM_MS);
	ck_assert_uint_ge(cs_store_durable(f.store), p.put.generation);
}
END_TEST

struct visit {
	uint32_t count;
	struct block_id last;
};

static bool visited(void *arg, const struct block_id *id, const struct cs_place *place)
{
	struct visit *v = arg;

	ck_assert_uint_eq(place->plain_len, 300);
	ck_assert_int_lt(block_id_compare(&v->last, id), 0);
	v->last = *id;
	v->count++;
	return true;
}

START_TEST(a_scan_goes_through_all_in_order)
{
	struct visit v = {0};
	struct block_id from = {{0}};

	put_many(50, 300);
	ck_assert_int_eq(cs_store_scan(f.store, &from, visited, &v), 0);
	ck_assert_uint_eq(v.count, 50);
}
END_TEST

#ifdef CAIRN_FAULTS
START_TEST(a_failed_sync_gives_the_disk_up)
{
	ck_assert_int_eq(store_put(&f, 1, 500), 0);
	ck_assert_int_eq(store_sync(&f, cs_store_generation(f.store)), 0);
	ck_assert_int_eq(store_put(&f, 2, 500), 0);
	fault_arm(FAULT_disk_sync, 1, 1);
	ck_assert_int_eq(store_sync(&f, cs_store_generation(f.store)), -E_IO);
	ck_assert_uint_eq(fault_hits(FAULT_disk_sync), 1);
	ck_assert_uint_eq(f.failures, 1);
	ck_assert(store_stats(&f).is_failed);
	ck_assert_int_eq(store_put(&f, 3, 500), -E_IO);
	ck_assert_int_eq(store_get(&f, 1, 500), 0);
	ck_assert_int_eq(store_get(&f, 2, 500), -E_NO_BLOCK);
	ck_assert_int_eq(store_close(&f), -E_IO);
	store_reopen(&f, true);
	ck_assert_int_eq(store_get(&f, 1, 500), 0);
	ck_assert_int_eq(store_get(&f, 2, 500), -E_NO_BLOCK);
	ck_assert_int_eq(store_put(&f, 2, 500), 0);
}
END_TEST

START_TEST(a_failed_write_answers_no_put)
{
	ck_assert_int_eq(store_put(&f, 1, 500), 0);
	fault_arm(_i == 0 ? FAULT_store_append : FAULT_disk_write, 1, 1);
	ck_assert_int_eq(store_put(&f, 2, 500), -E_IO);
	ck_assert_uint_eq(f.failures, 1);
	fault_disarm_all();
	store_reopen(&f, true);
	ck_assert_int_eq(store_get(&f, 2, 500), -E_NO_BLOCK);
	ck_assert_int_eq(store_put(&f, 2, 500), 0);
}
END_TEST

START_TEST(an_index_that_fails_answers_no_put)
{
	ck_assert_int_eq(store_put(&f, 1, 500), 0);
	fault_arm(FAULT_rows_commit, 1, 1);
	ck_assert_int_eq(store_put(&f, 2, 500), -E_IO);
	ck_assert_uint_eq(f.failures, 1);
	fault_disarm_all();
	store_reopen(&f, true);
	ck_assert_int_eq(store_put(&f, 2, 500), 0);
	ck_assert_int_eq(store_get(&f, 2, 500), 0);
}
END_TEST

#define STORE_FAULT_TESTS(tc)                                                                      \
	tcase_add_test(tc, a_failed_sync_gives_the_disk_up);                                       \
	tcase_add_loop_test(tc, a_failed_write_answers_no_put, 0, 2);                              \
	tcase_add_test(tc, an_index_that_fails_answers_no_put)
#else
/* Fault points are compiled into sanitizer builds only. */
#define STORE_FAULT_TESTS(tc) puts("SKIP: fault points are compiled into sanitizer builds only")
#endif

TEST_MAIN("store", tcase_add_checked_fixture(tc, begin, end);
	  tcase_add_test(tc, a_block_comes_back); tcase_add_test(tc, a_second_put_writes_nothing);
	  tcase_add_test(tc, neighbours_are_read_at_once_and_judged_alone);
	  tcase_add_test(tc, a_full_queue_says_so);
	  tcase_add_test(tc, full_segments_roll_and_survive_every_kind_of_reopening);
	  tcase_add_test(tc, a_damaged_footer_costs_a_scan_and_no_block);
	  tcase_add_loop_test(tc, a_torn_tail_is_cut_wherever_it_is_torn, 0, 2);
	  tcase_add_loop_test(tc, a_bad_middle_is_stepped_over, 0, 2);
	  tcase_add_test(tc, a_wrong_record_is_never_answered_and_can_be_replaced);
	  tcase_add_test(tc, an_index_beyond_the_segments_is_not_believed);
	  tcase_add_test(tc, a_segment_of_another_disk_is_left_alone);
	  tcase_add_test(tc, a_sync_makes_a_generation_durable);
	  tcase_add_test(tc, the_store_syncs_by_itself);
	  tcase_add_test(tc, a_scan_goes_through_all_in_order); STORE_FAULT_TESTS(tc))
