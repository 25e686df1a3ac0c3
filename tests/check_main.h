/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main() of a Check test program: TEST_MAIN("manifest", tcase_add_test(tc, a_name); ...)
 * CK_FORK=no is honoured (sanitizers); the exit status is 1 if a test failed. What tries seeds
 * tries check_seeds(n) of them: half of n, and ten times n in `make check-long`.
 */
#ifndef CAIRN_TESTS_CHECK_MAIN_H
#define CAIRN_TESTS_CHECK_MAIN_H

#include <check.h>
#include <stdlib.h>

static inline int check_seeds(int count)
{
	return getenv("CAIRN_LONG") ? 10 * count : (count + 1) / 2;
}

#define TEST_MAIN(suite_name, ...)                                                                 \
	int main(void)                                                                             \
	{                                                                                          \
		Suite *suite = suite_create(suite_name);                                           \
		TCase *tc = tcase_create(suite_name);                                              \
		tcase_set_timeout(tc, 120);                                                        \
		__VA_ARGS__;                                                                       \
		suite_add_tcase(suite, tc);                                                        \
		SRunner *runner = srunner_create(suite);                                           \
		srunner_run_all(runner, CK_ENV);                                                   \
		int failed = srunner_ntests_failed(runner);                                        \
		srunner_free(runner);                                                              \
		return failed ? EXIT_FAILURE : EXIT_SUCCESS;                                       \
	}

#endif
