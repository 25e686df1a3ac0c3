/* SPDX-License-Identifier: Apache-2.0 */
/* Clients go first, and the background still gets on. */
#include "chunk-server/share.h"
#include "tests/check_main.h"

/*
 * Turns that somebody who wants as many as he can get has in a second, beside so many requests of
 * clients.
 */
static uint32_t turns_beside(uint32_t requests)
{
	struct cs_share share = {0};
	uint32_t turns = 0, asked = 0;

	for (uint64_t ms = 1000; ms < 2000; ms++) {
		for (; asked < requests * (ms - 999) / 1000; asked++)
			cs_share_client(&share, ms);
		for (uint32_t i = 0; ms % CS_SHARE_WAIT_MS == 0 && i < 1000; i++)
			turns += cs_share_take(&share, ms);
	}
	return turns;
}

START_TEST(all_of_it_without_clients)
{
	struct cs_share share = {0};

	for (uint32_t i = 0; i < 100000; i++)
		ck_assert(cs_share_take(&share, 1000));
	cs_share_client(&share, 1000);
	while (cs_share_take(&share, 1000))
		;
	ck_assert(!cs_share_take(&share, 1001));
	ck_assert(cs_share_take(&share, 1000 + 1000)); /* they have gone */
}
END_TEST

START_TEST(less_than_clients_get_while_they_are_busy)
{
	ck_assert_uint_lt(turns_beside(1000), 800);
	ck_assert_uint_lt(turns_beside(5000), 3500);
	ck_assert_uint_gt(turns_beside(5000), 1000);
}
END_TEST

START_TEST(a_trickle_beside_a_slow_client)
{
	ck_assert_uint_gt(turns_beside(20), 50);
}
END_TEST

START_TEST(nothing_is_saved_up_for_a_burst)
{
	struct cs_share share = {0};
	uint32_t burst = 0;

	for (uint64_t ms = 1000; ms < 60000; ms += 10)
		cs_share_client(&share, ms);
	while (cs_share_take(&share, 60000))
		burst++;
	ck_assert_uint_le(burst, 64);
}
END_TEST

TEST_MAIN("share", tcase_add_test(tc, all_of_it_without_clients);
	  tcase_add_test(tc, less_than_clients_get_while_they_are_busy);
	  tcase_add_test(tc, a_trickle_beside_a_slow_client);
	  tcase_add_test(tc, nothing_is_saved_up_for_a_burst))
