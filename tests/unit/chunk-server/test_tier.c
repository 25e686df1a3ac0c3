/* SPDX-License-Identifier: Apache-2.0 */
/* The rules of tiers: which disk is of which, what goes where, and how fast. */
#include "chunk-server/tier.h"

#include <string.h>

#include "tests/check_main.h"

static struct config config;
static struct error err;

static int set(const char *text)
{
	config_init(&config);
	ck_assert_int_eq(config_set(&config, "cs.dirs", "/a,/b", &err), 0);
	ck_assert_int_eq(config_set(&config, "cs.tiers", text, &err), 0);
	return cs_tier_check(&config.cs_tiers, &config.cs_dirs, &err);
}

static uint32_t tier(const char *directory, enum media_kind kind)
{
	uint32_t tier = 99;

	ck_assert_int_eq(cs_tier_of(&config.cs_tiers, directory, kind, &tier, &err), 0);
	return tier;
}

START_TEST(by_itself_the_faster_medium_is_the_faster_tier)
{
	static const enum media_kind order[] = {MEDIA_MEMORY, MEDIA_NVME,     MEDIA_SSD,
						MEDIA_EMMC,   MEDIA_ROTATING, MEDIA_SD};

	ck_assert_int_eq(set("auto"), 0);
	for (size_t i = 1; i < ARRAY_COUNT(order); i++)
		ck_assert_uint_lt(tier("/a", order[i - 1]), tier("/a", order[i]));
	/* Of which nobody knows better. */
	ck_assert_uint_eq(tier("/a", MEDIA_SSD), tier("/b", MEDIA_VIRTUAL));
	ck_assert_uint_eq(tier("/a", MEDIA_SSD), tier("/b", MEDIA_OTHER));
}
END_TEST

START_TEST(rules_are_the_admins)
{
	ck_assert_int_eq(set("none"), 0);
	ck_assert_uint_eq(tier("/a", MEDIA_NVME), tier("/b", MEDIA_SD));
	ck_assert_int_eq(set("/a=3,/b/=0"), 0);
	ck_assert_uint_eq(tier("/a/", MEDIA_NVME), 3);
	ck_assert_uint_eq(tier("/b", MEDIA_SD), 0);
	ck_assert_int_eq(set("none,/b=auto"), 0);
	ck_assert_uint_eq(tier("/b", MEDIA_SD), media_profile(MEDIA_SD)->rank);
}
END_TEST

START_TEST(mistakes_are_told)
{
	static const char *const wrong[] = {"fast", "7", "/c=1", "/a=x", "/a=", "/a=99", "/a=none"};

	for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) {
		ck_assert_int_eq(set(wrong[i]), -E_INVAL);
		ck_assert_ptr_nonnull(strstr(err.text, "cs.tiers"));
	}
}
END_TEST

START_TEST(fill_is_of_what_lives_and_of_what_is_taken)
{
	struct cs_tier_room room = {.bytes_total = 1000, .low_percent = 50, .high_percent = 85};

	ck_assert_int_eq(cs_tier_fill(&room), CS_TIER_ROOMY);
	room.bytes_live = 499;
	room.bytes_taken = 849;
	ck_assert_int_eq(cs_tier_fill(&room), CS_TIER_ROOMY);
	room.bytes_live = 500;
	ck_assert_int_eq(cs_tier_fill(&room), CS_TIER_USED);
	room.bytes_taken = 850;
	ck_assert_int_eq(cs_tier_fill(&room), CS_TIER_FULL);
	room = (struct cs_tier_room){.low_percent = 50, .high_percent = 85};
	ck_assert_int_eq(cs_tier_fill(&room), CS_TIER_ROOMY);
}
END_TEST

START_TEST(cold_goes_down_hot_comes_up)
{
	ck_assert_int_eq(cs_tier_wish(CS_COLD, CS_TIER_ROOMY), CS_TIER_STAYS);
	ck_assert_int_eq(cs_tier_wish(CS_COLD, CS_TIER_USED), CS_TIER_DOWN);
	ck_assert_int_eq(cs_tier_wish(CS_WARM, CS_TIER_USED), CS_TIER_STAYS);
	ck_assert_int_eq(cs_tier_wish(CS_WARM, CS_TIER_FULL), CS_TIER_DOWN);
	for (int fill = CS_TIER_ROOMY; fill <= CS_TIER_FULL; fill++)
		ck_assert_int_eq(cs_tier_wish(CS_HOT, (enum cs_tier_fill)fill), CS_TIER_UP);
}
END_TEST

/* Whoever asks however often, and for whatever sizes. */
START_TEST(the_rate_holds)
{
	static const uint32_t steps[] = {1, 7, 100, 1700};

	for (size_t i = 0; i < ARRAY_COUNT(steps); i++) {
		struct cs_tier_rate rate = {0};
		uint64_t moved = 0;
		for (uint64_t ms = 5000; ms < 65000; ms += steps[i]) {
			for (uint32_t n = 0; n < 100; n++) {
				if (cs_tier_rate_take(&rate, 200000, 30000, ms))
					moved += 30000;
			}
		}
		ck_assert_uint_le(moved, 61 * 200000);
		ck_assert_uint_ge(moved, 30 * 200000);
	}
}
END_TEST

START_TEST(a_low_rate_moves_something)
{
	struct cs_tier_rate rate = {0};
	uint32_t blocks = 0;

	for (uint64_t ms = 1000; ms < 101000; ms++)
		blocks += cs_tier_rate_take(&rate, 100, 65600, ms);
	ck_assert_uint_gt(blocks, 0);
	ck_assert(cs_tier_rate_take(&rate, 0, 65600, 101000));
}
END_TEST

TEST_MAIN("tier", tcase_add_test(tc, by_itself_the_faster_medium_is_the_faster_tier);
	  tcase_add_test(tc, rules_are_the_admins); tcase_add_test(tc, mistakes_are_told);
	  tcase_add_test(tc, fill_is_of_what_lives_and_of_what_is_taken);
	  tcase_add_test(tc, cold_goes_down_hot_comes_up); tcase_add_test(tc, the_rate_holds);
	  tcase_add_test(tc, a_low_rate_moves_something))
