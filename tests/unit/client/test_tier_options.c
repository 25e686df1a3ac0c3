/* SPDX-License-Identifier: Apache-2.0 */
/* The setting client.tier: what it may say, and what is refused with a sentence. */
#include "client/tier/tier_options.h"

#include <stdio.h>
#include <string.h>

#include "tests/check_main.h"

static struct tier_option option;
static struct error why;

static int parse(const char *text)
{
	why = (struct error){ 0 };
	return tier_option_parse(text, &option, &why);
}

START_TEST(a_tier_is_a_folder_and_its_limit)
{
	ck_assert_int_eq(parse("/nvme/models:100G"), 0);
	ck_assert_str_eq(option.directory, "/nvme/models");
	ck_assert_uint_eq(option.bytes_max, GiB(100));
	ck_assert(!option.has_keep_free);
	ck_assert_int_eq(parse("/nvme:1.5T:20G"), 0);
	ck_assert_str_eq(option.directory, "/nvme");
	ck_assert_uint_eq(option.bytes_max, GiB(1536));
	ck_assert(option.has_keep_free);
	ck_assert_uint_eq(option.keep_free, GiB(20));
	ck_assert_int_eq(parse("/nvme:1G:0"), 0);
	ck_assert(option.has_keep_free && option.keep_free == 0);
}
END_TEST

START_TEST(a_folder_may_hold_colons)
{
	ck_assert_int_eq(parse("/a:b:1G"), 0);
	ck_assert_str_eq(option.directory, "/a:b");
	ck_assert_int_eq(parse("/a:b:1G:2G"), 0);
	ck_assert_str_eq(option.directory, "/a:b");
	ck_assert_uint_eq(option.keep_free, GiB(2));
}
END_TEST

START_TEST(the_folder_of_the_mount_may_have_a_size)
{
	ck_assert_int_eq(parse("auto:4M"), 0);
	ck_assert_str_eq(option.directory, "");
	ck_assert_uint_eq(option.bytes_max, MiB(4));
	ck_assert_int_eq(parse("auto:4M:1G"), 0);
	ck_assert_str_eq(option.directory, "");
	ck_assert_uint_eq(option.keep_free, GiB(1));
}
END_TEST

START_TEST(what_is_no_tier_is_refused_with_a_sentence)
{
	static const struct { const char *text; int rc; const char *says; } bad[] = {
		{ "", -E_INVAL, "DIR:BYTES" },	      { "/nvme", -E_INVAL, "DIR:BYTES" },
		{ "/nvme:", -E_INVAL, "DIR:BYTES" },  { "/nvme:lots", -E_INVAL, "DIR:BYTES" },
		{ "nvme:1G", -E_INVAL, "absolute" },  { ":1G", -E_INVAL, "absolute" },
		{ "/nvme:1023K", -E_RANGE, "smaller" }, { "none", -E_INVAL, "DIR:BYTES" },
	};
	for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
		ck_assert_msg(parse(bad[i].text) == bad[i].rc, "'%s'", bad[i].text);
		ck_assert_msg(strstr(why.text, bad[i].says) != NULL, "'%s': %s", bad[i].text,
			      why.text);
	}
}
END_TEST

static int parse_list(const char *const *texts, uint32_t count, struct tier_option *out)
{
	static struct config_paths list;
	list.count = count;
	for (uint32_t i = 0; i < count; i++)
		snprintf(list.path[i], sizeof list.path[i], "%s", texts[i]);
	why = (struct error){ 0 };
	return tier_options_parse(&list, out, &why);
}

START_TEST(tiers_stand_in_order_and_once)
{
	static struct tier_option out[TIER_PLACES_MAX];
	static const char *const nothing[] = { "none" }, *const few[] = { "/ram:1G", "auto" };
	static const char *const mixed[] = { "/ram:1G", "none" };
	static const char *const twice[] = { "/ram:1G", "/ram:2G" };
	ck_assert_int_eq(parse_list(nothing, 1, out), 0);
	ck_assert_int_eq(parse_list(few, 2, out), 2);
	ck_assert_str_eq(out[0].directory, "/ram");
	ck_assert_str_eq(out[1].directory, "");
	ck_assert_int_eq(parse_list(mixed, 2, out), -E_INVAL);
	ck_assert_int_eq(parse_list(twice, 2, out), -E_INVAL);
	ck_assert_ptr_nonnull(strstr(why.text, "twice"));
}
END_TEST

START_TEST(what_is_left_open_follows_the_file_system)
{
	struct disk_space space = { .bytes_total = GiB(1000), .bytes_free = GiB(700) };
	ck_assert_int_eq(parse("auto"), 0);
	ck_assert_int_eq(tier_option_resolve(&option, &space), 0);
	ck_assert_uint_eq(option.bytes_max, GiB(100));
	ck_assert_uint_eq(option.keep_free, GiB(50));
	space.bytes_free = GiB(60);
	ck_assert_int_eq(parse("auto"), 0);
	ck_assert_int_eq(tier_option_resolve(&option, &space), 0);
	ck_assert_uint_eq(option.bytes_max, GiB(5));
	space.bytes_free = GiB(40);
	ck_assert_int_eq(parse("auto"), 0);
	ck_assert_int_eq(tier_option_resolve(&option, &space), -E_NOSPC);
	ck_assert_int_eq(parse("/nvme:1G"), 0);
	ck_assert_int_eq(tier_option_resolve(&option, &space), 0);
	ck_assert_uint_eq(option.bytes_max, GiB(1));
	ck_assert_uint_eq(option.keep_free, GiB(50));
}
END_TEST

TEST_MAIN("tier_options", tcase_add_test(tc, a_tier_is_a_folder_and_its_limit);
	  tcase_add_test(tc, a_folder_may_hold_colons);
	  tcase_add_test(tc, the_folder_of_the_mount_may_have_a_size);
	  tcase_add_test(tc, what_is_no_tier_is_refused_with_a_sentence);
	  tcase_add_test(tc, tiers_stand_in_order_and_once);
	  tcase_add_test(tc, what_is_left_open_follows_the_file_system))
