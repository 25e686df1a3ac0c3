/* SPDX-License-Identifier: Apache-2.0 */
/* What is cold, warm and hot: never colder than the truth, and rarely hotter. */
#include "chunk-server/heat.h"

#include <string.h>

#include "tests/check_main.h"

#define START  1000000u
#define PERIOD 8000u

static struct cs_heat *heat_with(uint64_t bytes, uint32_t hot_uses)
{
	struct cs_heat_options options = {PERIOD, bytes, hot_uses};
	struct cs_heat *heat;

	ck_assert_int_eq(cs_heat_create(&options, START, &heat), 0);
	return heat;
}

static struct block_id id_of(uint64_t number)
{
	struct block_id id;

	block_id_of(HASH_SHA256, &number, sizeof(number), &id);
	return id;
}

START_TEST(nothing_is_cold_before_a_period_has_passed)
{
	struct cs_heat *heat = heat_with(0, 4);
	struct block_id id = id_of(1);

	ck_assert_int_eq(cs_heat_of(heat, &id, START), CS_WARM);
	ck_assert_int_eq(cs_heat_of(heat, &id, START + PERIOD - 1), CS_WARM);
	ck_assert(!cs_heat_knows(heat, START + PERIOD - 1));
	ck_assert(cs_heat_knows(heat, START + PERIOD));
	ck_assert_int_eq(cs_heat_of(heat, &id, START + PERIOD), CS_COLD);
	cs_heat_destroy(heat);
}
END_TEST

/* Whatever the moment of the use: not cold within a period, cold an eighth behind it. */
START_TEST(a_use_keeps_a_block_warm_for_a_period)
{
	struct block_id id = id_of(1);

	for (uint64_t used = START; used < START + 3 * PERIOD; used += 77) {
		struct cs_heat *heat = heat_with(0, 4);
		cs_heat_note(heat, &id, used);
		ck_assert_int_eq(cs_heat_of(heat, &id, used + PERIOD), CS_WARM);
		ck_assert_int_eq(cs_heat_of(heat, &id, used + PERIOD + PERIOD / 8), CS_COLD);
		cs_heat_destroy(heat);
	}
}
END_TEST

START_TEST(uses_make_it_hot_and_fade)
{
	struct cs_heat *heat = heat_with(0, 4);
	struct block_id id = id_of(1);

	for (uint32_t i = 0; i < 3; i++)
		cs_heat_note(heat, &id, START);
	ck_assert_int_eq(cs_heat_of(heat, &id, START), CS_WARM);
	cs_heat_note(heat, &id, START);
	ck_assert_int_eq(cs_heat_of(heat, &id, START), CS_HOT);
	ck_assert_int_eq(cs_heat_of(heat, &id, START + PERIOD / 8), CS_WARM);
	for (uint32_t i = 0; i < 1000; i++)
		cs_heat_note(heat, &id, START + PERIOD / 8);
	ck_assert_int_eq(cs_heat_of(heat, &id, START + PERIOD / 8), CS_HOT);
	ck_assert_int_eq(cs_heat_of(heat, &id, START + PERIOD), CS_WARM);
	cs_heat_destroy(heat);
}
END_TEST

START_TEST(what_was_long_ago_does_not_come_back)
{
	struct block_id id = id_of(1);

	for (uint64_t later = 9; later < 64; later++) {
		struct cs_heat *heat = heat_with(0, 1);
		cs_heat_note(heat, &id, START);
		ck_assert_int_eq(cs_heat_of(heat, &id, START + later * PERIOD / 8), CS_COLD);
		cs_heat_destroy(heat);
	}
}
END_TEST

START_TEST(used_ones_are_never_cold_and_most_others_are)
{
	struct cs_heat *heat = heat_with(CS_HEAT_BYTES_MIN, 4);
	uint32_t cold = 0;

	for (uint64_t i = 0; i < 10000; i++) {
		struct block_id id = id_of(i);
		cs_heat_note(heat, &id, START + PERIOD + i / 10);
	}
	for (uint64_t i = 0; i < 20000; i++) {
		struct block_id id = id_of(i);
		bool is_cold = cs_heat_of(heat, &id, START + 2 * PERIOD) == CS_COLD;
		ck_assert(!is_cold || i >= 10000);
		cold += is_cold;
	}
	ck_assert_uint_gt(cold, 9000);
	cs_heat_destroy(heat);
}
END_TEST

START_TEST(memory_is_bounded_and_a_full_table_is_warm)
{
	struct cs_heat *heat = heat_with(CS_HEAT_BYTES_MIN, 15);
	uint32_t cold = 0;

	for (uint64_t i = 0; i < 500000; i++) {
		struct block_id id = id_of(i);
		cs_heat_note(heat, &id, START + PERIOD);
	}
	for (uint64_t i = 0; i < 1000; i++) {
		struct block_id id = id_of(1000000 + i);
		cold += cs_heat_of(heat, &id, START + PERIOD) == CS_COLD;
	}
	ck_assert_uint_lt(cold, 10);
	cs_heat_destroy(heat);
}
END_TEST

TEST_MAIN("heat", tcase_add_test(tc, nothing_is_cold_before_a_period_has_passed);
	  tcase_add_test(tc, a_use_keeps_a_block_warm_for_a_period);
	  tcase_add_test(tc, uses_make_it_hot_and_fade);
	  tcase_add_test(tc, what_was_long_ago_does_not_come_back);
	  tcase_add_test(tc, used_ones_are_never_cold_and_most_others_are);
	  tcase_add_test(tc, memory_is_bounded_and_a_full_table_is_warm))
