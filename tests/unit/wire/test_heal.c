/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What travels while a placement group is healed: it comes back as it was, and ranges tile their
 * group.
 */
#include <string.h>

#include "fs/wire/heal.h"
#include "tests/check_main.h"

static struct block_id id_of(uint32_t n)
{
	struct block_id id;

	block_id_of(HASH_SHA256, &n, sizeof n, &id);
	return id;
}

START_TEST(merged_survives_its_codec)
{
	struct heal_merged m = { .pg = PG_COUNT - 1, .sources = 0x1234, .epoch = 1ull << 63 }, out;
	uint8_t bytes[HEAL_MERGED_BYTES];

	heal_merged_encode(&m, bytes);
	ck_assert_int_eq(heal_merged_decode(bytes, &out), 0);
	ck_assert_uint_eq(out.pg, m.pg);
	ck_assert_uint_eq(out.sources, m.sources);
	ck_assert_uint_eq(out.epoch, m.epoch);
}
END_TEST

START_TEST(a_group_that_is_none_is_refused)
{
	uint8_t bytes[HEAL_MERGED_BYTES];
	struct heal_merged out;

	memset(bytes, 0xff, sizeof bytes);
	ck_assert_int_eq(heal_merged_decode(bytes, &out), -E_MALFORMED);
}
END_TEST

START_TEST(an_id_lies_within_the_bounds_of_its_range)
{
	for (uint32_t bits = 0; bits <= HEAL_BITS_MAX; bits += 4) {
		for (uint32_t n = 0; n < 1000; n++) {
			struct block_id id = id_of(n), from, to;

			heal_range_bounds(block_id_pg(&id), bits, heal_range_index(&id, bits),
					  &from, &to);
			ck_assert_int_le(block_id_compare(&from, &id), 0);
			ck_assert_int_ge(block_id_compare(&to, &id), 0);
			ck_assert_uint_eq(heal_range_index(&from, bits),
					  heal_range_index(&id, bits));
			ck_assert_uint_eq(heal_range_index(&to, bits), heal_range_index(&id, bits));
		}
	}
}
END_TEST

START_TEST(ranges_of_a_group_follow_each_other)
{
	struct block_id from, to, last;

	heal_range_bounds(5, HEAL_BITS_MAX, 0, &from, &last);
	for (uint32_t i = 1; i < 1u << HEAL_BITS_MAX; i++) {
		heal_range_bounds(5, HEAL_BITS_MAX, i, &from, &to);
		ck_assert_int_gt(block_id_compare(&from, &last), 0);
		last = to;
	}
	heal_range_bounds(6, HEAL_BITS_MAX, 0, &from, &to);
	ck_assert_int_gt(block_id_compare(&from, &last), 0);
}
END_TEST

START_TEST(a_digest_ignores_order_and_sees_one_block)
{
	struct heal_range up = { 0 }, down = { 0 }, less = { 0 }, out;
	uint8_t bytes[HEAL_RANGE_BYTES];

	for (uint32_t n = 0; n < 50; n++) {
		struct block_id a = id_of(n), b = id_of(49 - n);

		heal_range_add(&up, &a);
		heal_range_add(&down, &b);
		if (n != 20)
			heal_range_add(&less, &a);
	}
	ck_assert_uint_eq(up.digest, down.digest);
	ck_assert_uint_ne(up.digest, less.digest);
	heal_range_encode(&up, bytes);
	heal_range_decode(bytes, &out);
	ck_assert(out.count == 50 && out.digest == up.digest);
}
END_TEST

TEST_MAIN("heal",
	  tcase_add_test(tc, merged_survives_its_codec);
	  tcase_add_test(tc, a_group_that_is_none_is_refused);
	  tcase_add_test(tc, an_id_lies_within_the_bounds_of_its_range);
	  tcase_add_test(tc, ranges_of_a_group_follow_each_other);
	  tcase_add_test(tc, a_digest_ignores_order_and_sees_one_block))
