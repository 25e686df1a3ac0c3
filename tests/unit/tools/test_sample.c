/* SPDX-License-Identifier: Apache-2.0 */
/* Samples of blocks: which are in, and what sums over them are worth. All seeded. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/bytes.h"
#include "tests/check_main.h"
#include "tools/estimate.h"
#include "tools/sample.h"

#define ROUNDS 400u

static struct block_id id_of(uint64_t number)
{
	uint8_t bytes[8];
	struct wr w = wr_init(bytes, sizeof bytes);
	struct block_id id;

	wr_u64(&w, number);
	block_id_of(HASH_SHA256, bytes, sizeof bytes, &id);
	return id;
}

/* Lengths that differ by up to 64 times, as those of a file that was cut by content. */
static uint32_t length_of(uint64_t number)
{
	return 1024u << number % 7;
}

static void meet(struct sample *s, uint64_t number)
{
	struct block_id id = id_of(number);
	struct sample_block *block;

	ck_assert_int_ge(sample_meet(s, &id, &block), 0);
	if (block)
		block->length = length_of(number);
}

static struct estimate sum_of(const struct sample *s)
{
	struct estimate e = {0};

	for (struct sample_block *b = sample_next(s, NULL); b; b = sample_next(s, b))
		estimate_add(&e, b->length);
	return e;
}

START_TEST(what_fits_is_counted_exactly)
{
	struct sample *s = sample_create(1000, 1);
	struct estimate e;
	uint64_t sum = 0;

	for (uint64_t i = 0; i < 1000; i++) {
		meet(s, i);
		meet(s, i / 2);
		sum += length_of(i);
	}
	e = sum_of(s);
	ck_assert_uint_eq(sample_count(s), 1000);
	ck_assert(sample_rate(s) == 1.0);
	ck_assert(estimate_total(&e, 1.0) == (double)sum);
	ck_assert(estimate_bound(&e, 1.0) == 0);
	sample_destroy(s);
}
END_TEST

START_TEST(it_is_bounded_and_does_not_depend_on_the_order)
{
	struct sample *up = sample_create(256, 7), *down = sample_create(256, 7);

	for (uint64_t i = 0; i < 10000; i++) {
		meet(up, i);
		meet(down, 9999 - i);
		meet(down, 9999); /* again and again */
		ck_assert_uint_le(sample_count(up), 256);
	}
	ck_assert_uint_eq(sample_count(up), sample_count(down));
	ck_assert(sample_rate(up) == sample_rate(down) && sample_rate(up) < 1.0 / 32);
	for (struct sample_block *b = sample_next(up, NULL); b; b = sample_next(up, b))
		ck_assert_ptr_nonnull(sample_find(down, &b->id));
	sample_destroy(up);
	sample_destroy(down);
}
END_TEST

/*
 * Over many seeds the mean comes near the truth, as near as the mean of so many can, and nearly
 * each estimate lies within the bound that it states.
 */
START_TEST(estimates_have_no_bias_and_keep_their_bounds)
{
	const uint64_t blocks = 3000;
	double mean = 0, truth = 0, spread = 0;
	uint32_t kept = 0;

	for (uint64_t i = 0; i < blocks; i++)
		truth += length_of(i);
	for (uint32_t seed = 0; seed < ROUNDS; seed++) {
		struct sample *s = sample_create(300, seed);
		struct estimate e;
		double total;

		for (uint64_t i = 0; i < blocks; i++)
			meet(s, i);
		e = sum_of(s);
		total = estimate_total(&e, sample_rate(s));
		mean += total / ROUNDS;
		spread += (total - truth) * (total - truth) / ROUNDS;
		kept += fabs(total - truth) <= estimate_bound(&e, sample_rate(s));
		sample_destroy(s);
	}
	ck_assert_double_lt(fabs(mean - truth), 3 * sqrt(spread / ROUNDS));
	ck_assert_double_lt(sqrt(spread), 0.15 * truth); /* it does tell something */
	ck_assert_uint_ge(kept, ROUNDS * 91 / 100);
	ck_assert_uint_le(kept, ROUNDS * 99 / 100); /* and does not hide behind a wide bound */
}
END_TEST

START_TEST(a_ratio_keeps_its_bound)
{
	const uint64_t blocks = 3000;
	double above = 0, below = 0;
	uint32_t kept = 0;

	for (uint64_t i = 0; i < blocks; i++) {
		above += length_of(i) / (1.0 + (double)(i % 3));
		below += length_of(i);
	}
	for (uint32_t seed = 0; seed < ROUNDS; seed++) {
		struct sample *s = sample_create(4096, seed);
		struct estimate_ratio r = {0};
		double rate;

		for (uint64_t i = 0; i < blocks; i++)
			meet(s, i);
		rate = sample_rate_for(s, 300);
		for (uint64_t i = 0; i < blocks; i++) {
			struct block_id id = id_of(i);

			if (sample_is_below(s, sample_find(s, &id), rate))
				estimate_ratio_add(&r, length_of(i) / (1.0 + (double)(i % 3)),
						   length_of(i));
		}
		ck_assert_uint_le(r.count, 300);
		kept += fabs(estimate_ratio_value(&r) - above / below) <=
			estimate_ratio_bound(&r, rate);
		sample_destroy(s);
	}
	ck_assert_uint_ge(kept, ROUNDS * 91 / 100);
	ck_assert_uint_le(kept, ROUNDS * 99 / 100);
}
END_TEST

TEST_MAIN("sample", tcase_add_test(tc, what_fits_is_counted_exactly);
	  tcase_add_test(tc, it_is_bounded_and_does_not_depend_on_the_order);
	  tcase_add_test(tc, estimates_have_no_bias_and_keep_their_bounds);
	  tcase_add_test(tc, a_ratio_keeps_its_bound))
