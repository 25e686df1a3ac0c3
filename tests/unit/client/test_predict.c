/* SPDX-License-Identifier: Apache-2.0 */
#include "client/core/predict.h"

#include <stdlib.h>
#include <string.h>

#include "tests/check_main.h"

#define MINUTE_MS 60000u

static struct predictor *p, *copy;
static uint64_t now_ms;

static void begin(void)
{
	ck_assert_int_eq(predictor_create(&p), 0);
	ck_assert_int_eq(predictor_create(&copy), 0);
	now_ms = 0;
}

static void end(void)
{
	predictor_destroy(p);
	predictor_destroy(copy);
}

/* Use a model two minutes after the last one, at noon. */
static void use(uint64_t model)
{
	now_ms += 2 * MINUTE_MS;
	ck_assert_int_eq(predictor_use(p, model, model * 10, now_ms, 12), 0);
}

static uint64_t best_of(const struct predictor *which, unsigned hour)
{
	struct predict_guess guess;

	return predictor_guess(which, hour, &guess, 1) ? guess.model : 0;
}

static uint64_t best(unsigned hour)
{
	return best_of(p, hour);
}

START_TEST(what_alternates_is_expected)
{
	ck_assert_uint_eq(best(12), 0);
	for (unsigned i = 0; i < 3; i++) {
		use(1);
		use(2);
	}
	ck_assert_uint_eq(best(12), 1);
	use(1);
	ck_assert_uint_eq(best(12), 2);
}
END_TEST

START_TEST(one_use_says_nothing)
{
	use(1);
	use(2);
	use(1);
	ck_assert_uint_eq(best(12), 0);
}
END_TEST

START_TEST(shards_opened_together_are_one_use)
{
	struct predict_guess guess;
	struct predict_stats stats;

	for (unsigned round = 0; round < 3; round++)
		for (uint64_t model = 1; model <= 2; model++) {
			now_ms += 2 * MINUTE_MS;
			for (inode_no shard = 0; shard < 4; shard++)
				ck_assert_int_eq(predictor_use(p, model, model * 10 + shard,
							       now_ms + shard, 12),
						 0);
		}
	predictor_stats(p, &stats);
	ck_assert_uint_eq(stats.uses, 6);
	ck_assert_uint_eq(predictor_guess(p, 12, &guess, 1), 1);
	ck_assert_uint_eq(guess.model, 1);
	ck_assert_uint_eq(guess.file_count, 4);
}
END_TEST

START_TEST(a_model_used_again_later_follows_nobody)
{
	use(7);
	for (unsigned i = 0; i < 5; i++)
		use(1);
	use(7);
	ck_assert_uint_eq(best(12), 0);
}
END_TEST

START_TEST(the_hour_decides_between_equals)
{
	for (unsigned day = 0; day < 8; day++) {
		now_ms += 1000 * MINUTE_MS;
		ck_assert_int_eq(predictor_use(p, 1, 10, now_ms, 8), 0);
		ck_assert_int_eq(predictor_use(p, day % 2 ? 2 : 3, 20, now_ms + 2 * MINUTE_MS,
					       day % 2 ? 9 : 20),
				 0);
	}
	use(1);
	ck_assert_uint_eq(best(9), 2);
	ck_assert_uint_eq(best(20), 3);
}
END_TEST

START_TEST(new_habits_replace_old_ones)
{
	unsigned rounds = 0;

	for (unsigned i = 0; i < 100; i++) {
		use(1);
		use(2);
	}
	do {
		use(1);
		use(3);
		use(1);
		ck_assert_uint_lt(++rounds, 100);
	} while (best(12) != 3);
}
END_TEST

START_TEST(guesses_are_judged)
{
	struct predict_stats stats;

	for (unsigned i = 0; i < 2; i++)
		for (uint64_t model = 1; model <= 5; model++)
			use(model);
	predictor_warmed(p, 1);
	use(1);
	predictor_warmed(p, 5);
	use(2);
	use(3);
	use(4);
	use(5);
	predictor_stats(p, &stats);
	ck_assert_uint_eq(stats.warmed, 2);
	ck_assert_uint_eq(stats.hits, 1);
	ck_assert_uint_eq(stats.misses, 1);
}
END_TEST

START_TEST(models_are_bounded)
{
	struct predict_stats stats;

	for (uint64_t model = 1; model <= 3 * PREDICT_MODELS_MAX; model++)
		use(model);
	predictor_stats(p, &stats);
	ck_assert_uint_eq(stats.models, PREDICT_MODELS_MAX);
}
END_TEST

START_TEST(what_is_saved_comes_back)
{
	struct text text, again;

	for (unsigned i = 0; i < 40; i++)
		use(1 + (i * i) % 7 + (i % 3 == 0 ? UINT64_C(1) << 63 : 0));
	text_init(&text, PREDICT_TEXT_BYTES_MAX);
	text_init(&again, PREDICT_TEXT_BYTES_MAX);
	ck_assert_int_eq(predictor_save(p, &text), 0);
	ck_assert_int_eq(predictor_load(copy, text.chars, text.len), 0);
	ck_assert_int_eq(predictor_save(copy, &again), 0);
	ck_assert_str_eq(text_chars(&text), text_chars(&again));
	for (unsigned hour = 0; hour < PREDICT_HOURS; hour++)
		ck_assert_uint_eq(best(hour), best_of(copy, hour));
	text_finish(&text);
	text_finish(&again);
}
END_TEST

/* Any damage to the text is refused, and leaves nothing behind. */
START_TEST(damaged_text_is_refused)
{
	struct predict_stats stats;
	struct text text;
	unsigned refused = 0;

	for (unsigned i = 0; i < 20; i++)
		use(1 + i % 3);
	text_init(&text, PREDICT_TEXT_BYTES_MAX);
	ck_assert_int_eq(predictor_save(p, &text), 0);
	for (size_t i = 0; i < text.len; i++) {
		char was = text.chars[i];

		text.chars[i] = (char)(was ^ 0x15);
		if (predictor_load(copy, text.chars, text.len) < 0) {
			refused++;
			predictor_stats(copy, &stats);
			ck_assert_uint_eq(stats.models, 0);
			ck_assert_uint_eq(stats.uses, 0);
		}
		text.chars[i] = was;
	}
	ck_assert_uint_gt(refused, text.len / 4);
	for (size_t len = 0; len < text.len; len++)
		ck_assert_int_eq(predictor_load(copy, text.chars, len), -E_MALFORMED);
	text_finish(&text);
}
END_TEST

TEST_MAIN("predictor", tcase_add_checked_fixture(tc, begin, end);
	  tcase_add_test(tc, what_alternates_is_expected);
	  tcase_add_test(tc, one_use_says_nothing);
	  tcase_add_test(tc, shards_opened_together_are_one_use);
	  tcase_add_test(tc, a_model_used_again_later_follows_nobody);
	  tcase_add_test(tc, the_hour_decides_between_equals);
	  tcase_add_test(tc, new_habits_replace_old_ones); tcase_add_test(tc, guesses_are_judged);
	  tcase_add_test(tc, models_are_bounded); tcase_add_test(tc, what_is_saved_comes_back);
	  tcase_add_test(tc, damaged_text_is_refused))
