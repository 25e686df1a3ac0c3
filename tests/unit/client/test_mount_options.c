/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of mount.cairn: what mount(8) passes, what people type, what is refused. */
#include "client/fuse/mount_options.h"

#include <string.h>

#include "tests/check_main.h"

static struct mount_options parsed;
static struct error why;

static int parse(const char *options)
{
	char *argv[] = { (char *)"mount.cairn", (char *)"node1:/", (char *)"/tmp", (char *)"-o",
			 (char *)options, NULL };

	why = (struct error){ 0 };
	return mount_options_parse(5, argv, &parsed, &why);
}

START_TEST(a_source_names_a_host_and_maybe_a_port)
{
	char out[64];

	ck_assert_int_eq(mount_options_address("node1:/", out, sizeof out), 0);
	ck_assert_str_eq(out, "node1:7800");
	ck_assert_int_eq(mount_options_address("node1:99:/", out, sizeof out), 0);
	ck_assert_str_eq(out, "node1:99");
	ck_assert_int_eq(mount_options_address("[::1]:/", out, sizeof out), 0);
	ck_assert_str_eq(out, "[::1]:7800");
	ck_assert_int_eq(mount_options_address("[::1]:99:/", out, sizeof out), 0);
	ck_assert_str_eq(out, "[::1]:99");
	ck_assert_int_eq(mount_options_address("node1", out, sizeof out), -E_INVAL);
	ck_assert_int_eq(mount_options_address(":/", out, sizeof out), -E_INVAL);
	ck_assert_int_eq(mount_options_address("node1:/sub", out, sizeof out), -E_INVAL);
	ck_assert_int_eq(mount_options_address("", out, sizeof out), -E_INVAL);
	ck_assert_int_eq(mount_options_address("a-name-that-does-not-fit:/", out, 8), -E_INVAL);
}
END_TEST

START_TEST(options_of_all_parties_are_sorted_out)
{
	ck_assert_int_eq(
		parse("rw,noatime,_netdev,x-systemd.automount,hard,timeo=5,memory=32M,dev"), 0);
	ck_assert_str_eq(parsed.kernel_options, "rw,noatime,dev");
	ck_assert(parsed.is_hard);
	ck_assert_uint_eq(parsed.config.client_timeout_ms, 5000);
	ck_assert_uint_eq(parsed.config.client_memory_bytes, MiB(32));
	ck_assert_str_eq(parsed.mds_address, "node1:7800");
	ck_assert_str_eq(parsed.config.client_cache_dir, "/var/cache/cairn/tmp");
	ck_assert_int_eq(parse("hard,soft"), 0);
	ck_assert(!parsed.is_hard);
}
END_TEST

START_TEST(tiers_add_up)
{
	ck_assert_int_eq(parse("ro"), 0);
	ck_assert_uint_eq(parsed.config.client_tier.count, 1);
	ck_assert_str_eq(parsed.config.client_tier.path[0], "auto");
	ck_assert_int_eq(parse("tier=/dev/shm/models:1G,ro,tier=/nvme:100G:5G"), 0);
	ck_assert_uint_eq(parsed.config.client_tier.count, 2);
	ck_assert_str_eq(parsed.config.client_tier.path[0], "/dev/shm/models:1G");
	ck_assert_str_eq(parsed.config.client_tier.path[1], "/nvme:100G:5G");
	ck_assert_int_eq(parse("tier=none"), 0);
	ck_assert_uint_eq(parsed.config.client_tier.count, 1);
	ck_assert_int_eq(parse("tier"), -E_INVAL);
}
END_TEST

START_TEST(a_wrong_option_is_named)
{
	ck_assert_int_eq(parse("ro,colour=blue"), -E_INVAL);
	ck_assert_ptr_nonnull(strstr(why.text, "'colour'"));
	ck_assert_int_eq(parse("timeo=0"), -E_RANGE);
	ck_assert_ptr_nonnull(strstr(why.text, "timeo"));
	ck_assert_int_eq(parse("timeo"), -E_INVAL);
	ck_assert_int_eq(parse("hard=1"), -E_INVAL);
	ck_assert_int_eq(parse("memory=1"), -E_RANGE);
	ck_assert_int_eq(parse("workers=1e3"), -E_INVAL);
}
END_TEST

START_TEST(source_and_directory_are_needed)
{
	char *argv[] = { (char *)"mount.cairn", (char *)"node1:/", NULL };

	ck_assert_int_eq(mount_options_parse(2, argv, &parsed, &why), -E_INVAL);
	char *absent[] = {(char *)"mount.cairn", (char *)"node1:/", (char *)"/no/such/folder",
			  NULL};
	ck_assert_int_eq(mount_options_parse(3, absent, &parsed, &why), -E_NOENT);
	ck_assert_ptr_nonnull(strstr(why.text, "/no/such/folder"));
}
END_TEST

TEST_MAIN("mount_options", tcase_add_test(tc, a_source_names_a_host_and_maybe_a_port);
	  tcase_add_test(tc, options_of_all_parties_are_sorted_out);
	  tcase_add_test(tc, tiers_add_up);
	  tcase_add_test(tc, a_wrong_option_is_named);
	  tcase_add_test(tc, source_and_directory_are_needed))
