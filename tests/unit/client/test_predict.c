/* SPDX-License-Identifier: Apache-2.0 */
#include "client/core/predict.h"

#include <stdlib.h>
#include <string.h>

#include "tests/check_main.h"

#define MINUTE_MS 60000u

static struct predictor *fresh(void)
{
	struct predictor *p;

	ck_assert_int_eq(predictor_create(&p), 0);
	return p;
}

/* Use a model two minutes after the last one, at noon. */
static void use(struct predictor *p, uint64_t model, uint64_t *now_ms)
{
	*now_ms += 2 * MINUTE_MS;
	ck_assert_int_eq(predictor_use(p, model, model * 10, *now_ms, 12), 0);
}

static uint64_t best(const struct predictor *p, unsigned hour)
{
	struct predict_guess guess;

	return predictor_guess(p, hour, &guess, 1) ? guess.model : 0;
}

START_TEST(what_alternates_is_expected)
{
	struct predictor *p = fresh();
	uint64_t now_ms = 0;

	ck_assert_uint_eq(best(p, 12), 0);
	for (unsigned i = 0; i < 3; i++) {
		use(p, 1, &now_ms);
		use(p, 2, &now_ms);
	}
	ck_assert_uint_eq(best(p, 12), 1);
	use(p, 1, &now_ms);
	ck_assert_uint_eq(best(p, 12), 2);
	predictor_destroy(p);
}
END_TEST

START_TEST(one_use_says_nothing)
{
	struct predictor *p = fresh();
	uint64_t now_ms = 0;

	use(p, 1, &now_ms);
	use(p, 2, &now_ms);
	use(p, 1, &now_ms);
	ck_assert_uint_eq(best(p, 12), 0);
	predictor_destroy(p);
}
END_TEST

START_TEST(shards_opened_together_are_one_use)
{
	struct predictor *p = fresh();
	struct predict_guess guess;
	struct predict_stats stats;
	uint64_t now_ms = 0;

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
	predictor_destroy(p);
}
END_TEST

START_TEST(a_model_used_again_later_follows_nobody)
{
	struct predictor *p = fresh();
	uint64_t now_ms = 0;

	use(p, 7, &now_ms);
	for (unsigned i = 0; i < 5; i++)
		use(p, 1, &now_ms);
	use(p, 7, &now_ms);
	ck_assert_uint_eq(best(p, 12), 0);
	predictor_destroy(p);
}
END_TEST

START_TEST(the_hour_decides_between_equals)
{
	struct predictor *p = fresh();
	uint64_t now_ms = 0;

	for (unsigned day = 0; day < 8; day++) {
		now_ms += 1000 * MINUTE_MS;
		ck_assert_int_eq(predictor_use(p, 1, 10, now_ms, 8), 0);
		ck_assert_int_eq(predictor_use(p, day % 2 ? 2 : 3, 20, now_ms + 2 * MINUTE_MS,
					       day % 2 ? 9 : 20),
				 0);
	}
	use(p, 1, &now_ms);
	ck_assert_uint_eq(best(p, 9), 2);
	ck_assert_uint_eq(best(p, 20), 3);
	predictor_destroy(p);
}
END_TEST

START_TEST(new_habits_replace_old_ones)
{
	struct predictor *p = fresh();
	uint64_t now_ms = 0;
	unsigned rounds = 0;

	for (unsigned i = 0; i < 100; i++) {
		use(p, 1, &now_ms);
		use(p, 2, &now_ms);
	}
	do {
		use(p, 1, &now_ms);
		use(p, 3, &now_ms);
		use(p, 1, &now_ms);
		ck_assert_uint_lt(++rounds, 100);
	} while (best(p, 12) != 3);
	predictor_destroy(p);
}
END_TEST

START_TEST(guesses_are_judged)
{
	struct predictor *p = fresh();
	struct predict_stats stats;
	uint64_t now_ms = 0;

	for (unsigned i = 0; i < 2; i++)
		for (uint64_t model = 1; model <= 5; model++)
			use(p, model, &now_ms);
	predictor_warmed(p, 1);
	use(p, 1, &now_ms);
	predictor_warmed(p, 5);
	use(p, 2, &now_ms);
	use(p, 3, &now_ms);
	use(p, 4, &now_ms);
	use(p, 5, &now_ms);
	predictor_stats(p, &stats);
	ck_assert_uint_eq(stats.warmed, 2);
	ck_assert_uint_eq(stats.hits, 1);
	ck_assert_uint_eq(stats.misses, 1);
	predictor_destroy(p);
}
END_TEST

START_TEST(models_are_bounded)
{
	struct predictor *p = fresh();
	struct predict_stats stats;
	uint64_t now_ms = 0;

	for (uint64_t model = 1; model <= 3 * PREDICT_MODELS_MAX; model++)
		use(p, model, &now_ms);
	predictor_stats(p, &stats);
	ck_assert_uint_eq(stats.models, PREDICT_MODELS_MAX);
	predictor_destroy(p);
}
END_TEST

START_TEST(what_is_saved_comes_back)
{
	struct predictor *p = fresh(), *copy = fresh();
	struct text text, again;
	uint64_t now_ms = 0;

	for (unsigned i = 0; i < 40; i++)
		use(p, 1 + (i * i) % 7 + (i % 3 == 0 ? UINT64_C(1) << 63 : 0), &now_ms);
	text_init(&text, PREDICT_TEXT_BYTES_MAX);
	text_init(&again, PREDICT_TEXT_BYTES_MAX);
	ck_assert_int_eq(predictor_save(p, &text), 0);
	ck_assert_int_eq(predictor_load(copy, text.chars, text.len), 0);
	ck_assert_int_eq(predictor_save(copy, &again), 0);
	ck_assert_str_eq(text_chars(&text), text_chars(&again));
	for (unsigned hour = 0; hour < PREDICT_HOURS; hour++)
		ck_assert_uint_eq(best(p, hour), best(copy, hour));
	text_finish(&text);
	text_finish(&again);
	predictor_destroy(p);
	predictor_destroy(copy);
}
END_TEST

/* Any damage to the text is refused, and leaves nothing behind. */
START_TEST(damaged_text_is_refused)
{
	struct predictor *p = fresh(), *copy = fresh();
	struct predict_stats stats;
	struct text text;
	uint64_t now_ms = 0;
	unsigned refused = 0;

	for (unsigned i = 0; i < 20; i++)
		use(p, 1 + i % 3, &now_ms);
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
	predictor_destroy(p);
	predictor_destroy(copy);
}
END_TEST

TEST_MAIN("predictor", tcase_add_test(tc, what_alternates_is_expected);
	  tcase_add_test(tc, one_use_says_nothing);
	  tcase_add_test(tc, shards_opened_together_are_one_use);
	  tcase_add_test(tc, a_model_used_again_later_follows_nobody);
	  tcase_add_test(tc, the_hour_decides_between_equals);
	  tcase_add_test(tc, new_habits_replace_old_ones); tcase_add_test(tc, guesses_are_judged);
	  tcase_add_test(tc, models_are_bounded); tcase_add_test(tc, what_is_saved_comes_back);
	  tcase_add_test(tc, damaged_text_is_refused))
