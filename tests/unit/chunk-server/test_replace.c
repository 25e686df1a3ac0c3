/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rounds of records that take the place of others: found once they are synced and not before,
 * counted by codec, not where the block went meanwhile, never compacted before they are found; what
 * the index keeps in mind of a block.
 */
#include "fs/disk/record.h"
#include "tests/check_main.h"
#include "tests/store_fixture.h"

#define LEN 60000u /* eight of them fill a segment */

static struct store_fixture f;

struct waiter {
	struct cs_round round;
	bool is_done;
};

static void begin(void)
{
	store_begin(&f);
}

static void end(void)
{
	store_end(&f);
}

static struct cs_place place_of(uint32_t number)
{
	return store_place(&f, number, LEN);
}

struct anew {
	struct store_put put;
	struct cs_round *round;
	struct cs_place from;
};

static void appended(struct cs_put *put)
{
	struct anew *a = container_of(put, struct anew, put.put);

	ck_assert_int_eq(put->rc, 0);
	cs_round_add(a->round, put, &a->from);
	a->put.is_done = true;
}

/* The same block by zstd, appended, and part of the round. */
static void encode_anew_on(struct store_fixture *on, struct waiter *w, uint32_t number)
{
	struct anew a = {.put.put = {.kind = CS_PUT_HEALING, .done = appended},
			 .round = &w->round,
			 .from = store_place(on, number, LEN)};
	struct buf *old = store_record(on, number, LEN, &a.put.put.id);
	struct buf *record = buf_get(on->pool, RECORD_BYTES_MAX);

	record->len = record_build_named(on->codec, &a.put.put.id, CODEC_AIM_ZSTD,
					 old->data + RECORD_HEADER_BYTES, LEN, record->data);
	ck_assert_uint_lt(record->len, old->len);
	a.put.put.record = record;
	a.put.put.plain_len = LEN;
	cs_store_append(on->store, &a.put.put);
	ck_assert(sim_world_run_until(on->world, store_flag, &a.put.is_done, 10 * SIM_S));
	buf_put(record);
	buf_put(old);
}

static void encode_anew(struct waiter *w, uint32_t number)
{
	encode_anew_on(&f, w, number);
}

static void ended(struct cs_round *round)
{
	container_of(round, struct waiter, round)->is_done = true;
}

static struct waiter round_begin(void)
{
	return (struct waiter){.round = {.store = f.store, .done = ended}};
}

static void round_end_on(struct store_fixture *on, struct waiter *w)
{
	w->is_done = false;
	cs_round_end(&w->round);
	ck_assert(sim_world_run_until(on->world, store_flag, &w->is_done, 10 * SIM_S));
	ck_assert_int_eq(w->round.rc, 0);
}

static void round_end(struct waiter *w)
{
	round_end_on(&f, w);
}

/* The block is what it was, however it is stored. */
static void expect_block(uint32_t number)
{
	static uint8_t plain[BLOCK_BYTES_MAX];
	struct store_get g = {.get = {.done = store_get_done}};
	struct buf *old = store_record(&f, number, LEN, &g.get.id);
	struct record record;

	cs_store_get(f.store, &g.get);
	ck_assert(sim_world_run_until(f.world, store_flag, &g.is_done, 10 * SIM_S));
	ck_assert_int_eq(g.get.rc, 0);
	ck_assert_int_eq(record_open(f.codec, HASH_SHA256, g.get.record->data, g.get.record->len,
				     true, &record, plain),
			 0);
	ck_assert_mem_eq(plain, old->data + RECORD_HEADER_BYTES, LEN);
	buf_put(g.get.record);
	buf_put(old);
}

static struct cs_store_stats stats(void)
{
	struct cs_store_stats s;

	cs_store_stats(f.store, &s);
	return s;
}

START_TEST(a_round_leads_to_new_records_once_they_are_synced)
{
	struct waiter w = round_begin();

	for (uint32_t i = 0; i < 8; i++)
		ck_assert_int_eq(store_put(&f, i, LEN), 0);
	struct cs_store_stats before = stats();
	for (uint32_t i = 0; i < 4; i++)
		encode_anew(&w, i);
	ck_assert_int_eq(place_of(0).codec, CODEC_RAW);
	round_end(&w);
	ck_assert_uint_eq(w.round.blocks, 4);
	ck_assert_uint_eq(w.round.count, 0);
	struct cs_store_stats after = stats();
	ck_assert_uint_eq(before.bytes_codec[CODEC_RAW], before.bytes_stored);
	ck_assert_uint_eq(after.bytes_codec[CODEC_RAW], before.bytes_stored / 2);
	ck_assert_uint_eq(after.bytes_codec[CODEC_RAW] + after.bytes_codec[CODEC_ZSTD],
			  after.bytes_stored);
	ck_assert_uint_lt(after.bytes_stored, before.bytes_stored);
	for (int trusted = 1; trusted >= 0; trusted--) {
		store_reopen(&f, trusted == 1);
		ck_assert_int_eq(place_of(3).codec, CODEC_ZSTD);
		ck_assert_int_eq(place_of(4).codec, CODEC_RAW);
		ck_assert_uint_eq(stats().bytes_stored, after.bytes_stored);
		ck_assert_uint_eq(stats().bytes_codec[CODEC_ZSTD], after.bytes_codec[CODEC_ZSTD]);
		for (uint32_t i = 0; i < 8; i++)
			expect_block(i);
	}
}
END_TEST

START_TEST(a_round_that_was_not_ended_changes_nothing)
{
	struct waiter w = round_begin();

	ck_assert_int_eq(store_put(&f, 1, LEN), 0);
	encode_anew(&w, 1);
	store_crash(&f);
	store_reopen(&f, true);
	expect_block(1);
	ck_assert_uint_eq(stats().blocks, 1);
	store_crash(&f);
	store_reopen(&f, false); /* both are found, either is right */
	expect_block(1);
	ck_assert_uint_eq(stats().blocks, 1);
}
END_TEST

START_TEST(what_went_meanwhile_is_left_alone)
{
	struct block_id freed = store_id(&f, 1, LEN), again = store_id(&f, 2, LEN);
	struct waiter w = round_begin();

	for (uint32_t i = 0; i < 4; i++)
		ck_assert_int_eq(store_put(&f, i, LEN), 0);
	for (uint32_t i = 1; i < 4; i++)
		encode_anew(&w, i);
	ck_assert_int_eq(cs_store_trash(f.store, &freed, 7), 0);
	ck_assert_int_eq(cs_store_free(f.store, &freed), 0);
	struct cs_place wrong = place_of(2);
	cs_store_quarantine(f.store, &again, &wrong);
	ck_assert_int_eq(store_put(&f, 2, LEN), 0);
	round_end(&w);
	ck_assert_uint_eq(w.round.blocks, 1);
	ck_assert_int_eq(store_get(&f, 1, LEN), -E_NO_BLOCK);
	ck_assert_int_eq(place_of(2).codec, CODEC_RAW);
	ck_assert_int_eq(place_of(3).codec, CODEC_ZSTD);
}
END_TEST

START_TEST(trash_and_epochs_stay)
{
	struct waiter w = round_begin();
	struct block_id id = store_id(&f, 1, LEN);

	cs_store_set_collection(f.store, 5);
	ck_assert_int_eq(store_put(&f, 1, LEN), 0);
	encode_anew(&w, 1);
	cs_store_set_collection(f.store, 6);
	ck_assert_int_eq(cs_store_trash(f.store, &id, 1234), 0);
	round_end(&w);
	ck_assert_int_eq(place_of(1).codec, CODEC_ZSTD);
	ck_assert_uint_eq(place_of(1).touched, 5);
	ck_assert_uint_eq(place_of(1).trashed_ms, 1234);
	ck_assert_uint_eq(stats().bytes_stored, 0);
	ck_assert_uint_eq(stats().bytes_codec[CODEC_ZSTD], 0);
	ck_assert_uint_eq(stats().bytes_trash, place_of(1).length);
}
END_TEST

START_TEST(that_a_block_is_dense_is_kept_until_it_is_encoded_anew)
{
	struct waiter w = round_begin();

	for (uint32_t i = 0; i < 9; i++)
		ck_assert_int_eq(store_put(&f, i, LEN), 0);
	for (uint32_t i = 0; i < 2; i++) {
		struct block_id id = store_id(&f, i, LEN);
		struct cs_place place = place_of(i);
		ck_assert_int_eq(cs_store_set_dense(f.store, &id, &place), 0);
	}
	cs_store_compact(f.store, 0);
	store_reopen(&f, true);
	ck_assert(place_of(0).is_dense && place_of(1).is_dense && !place_of(2).is_dense);
	w.round.store = f.store;
	encode_anew(&w, 1);
	round_end(&w);
	ck_assert(place_of(0).is_dense && !place_of(1).is_dense);
	store_reopen(&f, false);
	ck_assert(!place_of(0).is_dense);
}
END_TEST

static bool is_rolled(void *arg)
{
	(void)arg;
	return !cs_store_is_rolling(f.store);
}

static bool is_compacted(void *arg)
{
	(void)arg;
	return !cs_store_is_compacting(f.store);
}

static void compact(void)
{
	cs_store_compact(f.store, 0);
	ck_assert(sim_world_run_until(f.world, is_compacted, NULL, 100 * SIM_S));
}

/* Eight blocks, four of them anew, in a segment that is sealed and that nothing leads to yet. */
static void await_round(struct waiter *w)
{
	for (uint32_t i = 0; i < 8; i++)
		ck_assert_int_eq(store_put(&f, i, LEN), 0);
	for (uint32_t i = 0; i < 4; i++)
		encode_anew(w, i);
	cs_store_roll(f.store);
	ck_assert(sim_world_run_until(f.world, is_rolled, NULL, 10 * SIM_S));
	compact();
}

START_TEST(what_a_round_will_lead_to_is_not_compacted)
{
	struct waiter w = round_begin();

	await_round(&w);
	round_end(&w);
	ck_assert_uint_eq(w.round.blocks, 4);
	compact();
	for (int trusted = 1; trusted >= 0; trusted--) {
		for (uint32_t i = 0; i < 8; i++)
			expect_block(i);
		ck_assert_int_eq(place_of(3).codec, CODEC_ZSTD);
		ck_assert_uint_eq(stats().bytes_dead, 0);
		store_reopen(&f, trusted == 1);
	}
}
END_TEST

START_TEST(what_a_round_is_dropped_with_is_given_back)
{
	struct waiter w = round_begin();

	await_round(&w);
	ck_assert_uint_gt(stats().bytes_dead, 0);
	cs_round_drop(&w.round);
	compact();
	ck_assert_uint_eq(stats().bytes_dead, 0);
	for (uint32_t i = 0; i < 8; i++)
		expect_block(i);
	ck_assert_int_eq(place_of(0).codec, CODEC_RAW);
}
END_TEST

/* As who encodes one disk after the other does. */
START_TEST(a_round_may_be_of_another_store_than_the_last)
{
	static struct store_fixture other;
	struct waiter w = round_begin();

	store_begin(&other);
	ck_assert_int_eq(store_put(&other, 1, LEN), 0);
	for (uint32_t i = 0; i < 9; i++) {
		ck_assert_int_eq(store_put(&f, i, LEN), 0);
		ck_assert_int_eq(store_sync(&f, cs_store_generation(f.store)), 0);
	}
	encode_anew(&w, 1);
	round_end(&w);
	w.round.store = other.store;
	encode_anew_on(&other, &w, 1);
	round_end_on(&other, &w);
	ck_assert_int_eq(store_place(&other, 1, LEN).codec, CODEC_ZSTD);
	store_end(&other);
}
END_TEST

START_TEST(a_segment_is_sealed_when_asked)
{
	uint64_t number = 0, live;

	cs_store_roll(f.store); /* there is none */
	ck_assert(!cs_store_segment_next(f.store, &number, &live));
	ck_assert_int_eq(store_put(&f, 1, LEN), 0);
	ck_assert(!cs_store_segment_next(f.store, &number, &live));
	cs_store_roll(f.store);
	ck_assert(sim_world_run_until(f.world, is_rolled, NULL, 10 * SIM_S));
	ck_assert(cs_store_segment_next(f.store, &number, &live));
	ck_assert_uint_eq(number, 1);
	ck_assert_uint_ge(live, LEN);
	number++;
	ck_assert(!cs_store_segment_next(f.store, &number, &live));
	expect_block(1);
}
END_TEST

TEST_MAIN("replace", tcase_add_checked_fixture(tc, begin, end);
	  tcase_add_test(tc, a_round_leads_to_new_records_once_they_are_synced);
	  tcase_add_test(tc, a_round_that_was_not_ended_changes_nothing);
	  tcase_add_test(tc, what_went_meanwhile_is_left_alone);
	  tcase_add_test(tc, trash_and_epochs_stay);
	  tcase_add_test(tc, that_a_block_is_dense_is_kept_until_it_is_encoded_anew);
	  tcase_add_test(tc, a_segment_is_sealed_when_asked);
	  tcase_add_test(tc, what_a_round_will_lead_to_is_not_compacted);
	  tcase_add_test(tc, what_a_round_is_dropped_with_is_given_back);
	  tcase_add_test(tc, a_round_may_be_of_another_store_than_the_last))
