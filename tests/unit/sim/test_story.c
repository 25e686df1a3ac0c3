/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A whole simulated run is a function of its seed.
 */
#include "tests/check_main.h"
#include "tests/sim/story.h"

START_TEST(equal_seeds_tell_equal_stories)
{
	struct story_verdict first, second;

	story_run(7, false, &first);
	story_run(7, false, &second);
	ck_assert_uint_eq(first.trace, second.trace);
	ck_assert_uint_eq(first.steps, second.steps);
	ck_assert_uint_gt(first.calls, 100);
	ck_assert_uint_gt(first.faults, 0);
}
END_TEST

START_TEST(other_seeds_tell_other_stories)
{
	struct story_verdict first, second;

	story_run(7, false, &first);
	story_run(8, false, &second);
	ck_assert_uint_ne(first.trace, second.trace);
}
END_TEST

TEST_MAIN("story", {
	tcase_add_test(tc, equal_seeds_tell_equal_stories);
	tcase_add_test(tc, other_seeds_tell_other_stories);
})
