/* SPDX-License-Identifier: Apache-2.0 */
/* Settings: every source ends in the same parser and range, and says where it is wrong. */
#include "fs/base/config.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fs/base/config_argp.h"
#include "tests/check_main.h"

static struct config config;
static struct error err;

static void setup(void)
{
	config_init(&config);
	memset(&err, 0, sizeof(err));
}

static void refuse_file(const char *text, const char *sentence)
{
	config_init(&config);
	ck_assert_int_lt(config_read_text(&config, "f.conf", text, &err), 0);
	ck_assert_str_eq(err.text, sentence);
}

static void refuse(const char *assignment, const char *sentence)
{
	ck_assert_int_lt(config_assign(&config, assignment, &err), 0);
	ck_assert_str_eq(err.text, sentence);
}

START_TEST(defaults_are_sane)
{
	ck_assert_str_eq(config.cluster_mds, "127.0.0.1:7800");
	ck_assert_uint_eq(config.cluster_copies, 3);
	ck_assert_uint_eq(config.lease_ms, LEASE_MS);
	ck_assert_uint_eq(config.cs_sync_bytes, MiB(64));
	ck_assert_uint_eq(config.cs_dirs.count, 1);
	ck_assert_uint_eq(config.journal_dirs.count, 0);
	ck_assert_str_eq(config.client_codec, "auto");
	ck_assert_int_eq(config_check(&config, &err), 0);
}
END_TEST

START_TEST(a_file_changes_what_it_names)
{
	ck_assert_int_eq(config_read_text(&config, "f.conf",
					  "# ours\n[cluster]\nmds = ram:7900 ; there\n\n"
					  "[cs]\ndirs = /a, /b\n\t/c\nsync_ms = 2s\n"
					  "segment_bytes=1.5G\n",
					  &err), 0);
	ck_assert_str_eq(config.cluster_mds, "ram:7900");
	ck_assert_uint_eq(config.cs_dirs.count, 3);
	ck_assert_str_eq(config.cs_dirs.path[0], "/a");
	ck_assert_str_eq(config.cs_dirs.path[1], "/b");
	ck_assert_str_eq(config.cs_dirs.path[2], "/c");
	ck_assert_uint_eq(config.cs_sync_ms, 2000);
	ck_assert_uint_eq(config.cs_segment_bytes, GiB(3) / 2);
}
END_TEST

START_TEST(what_is_wrong_in_a_file_is_named_with_its_line)
{
	refuse_file("[cs]\n\nsync = 5\n", "f.conf:3: unknown setting 'cs.sync'");
	refuse_file("[cs]\n[chunks]\n", "f.conf:2: unknown section");
	refuse_file("[cs]\nnonsense\n", "f.conf:2: neither [section] nor key = value");
	refuse_file("[cs\n", "f.conf:1: neither [section] nor key = value");
	refuse_file("sync_ms = 5\n", "f.conf:1: unknown setting '.sync_ms'");
	refuse_file("[cs]\nsync_ms = 5\nsync_ms = 6\n", "f.conf:3: cs.sync_ms is set twice");
	refuse_file("[cs]\nsync_ms = 0\n",
		    "f.conf:2: cs.sync_ms: '0' is not within 1 ms .. 60000 ms");
}
END_TEST

START_TEST(too_long_a_line_is_not_taken_for_two)
{
	char text[4096];

	memset(text, 'x', sizeof(text));
	memcpy(text, "[cs]\ndirs=", 10);
	text[sizeof(text) - 1] = '\0';
	refuse_file(text, "f.conf:2: line is too long");
}
END_TEST

START_TEST(numbers_end_at_their_range)
{
	ck_assert_int_eq(config_assign(&config, "cluster.copies=1", &err), 0);
	ck_assert_int_eq(config_assign(&config, "cluster.copies=5", &err), 0);
	refuse("cluster.copies=0", "cluster.copies: '0' is not within 1 .. 5");
	refuse("cluster.copies=6", "cluster.copies: '6' is not within 1 .. 5");
	refuse("cs.segment_bytes=99999999999999999999",
	       "cs.segment_bytes: '99999999999999999999' is not within 1.0 MiB .. 4.0 GiB");
	refuse("cs.sync_ms=soon", "cs.sync_ms: 'soon' is not a time, such as 500ms or 10s");
	refuse("cs.sync_bytes=1X", "cs.sync_bytes: '1X' is not a number of bytes, such as 64M");
	refuse("cs.workers=-1", "cs.workers: '-1' is not a number");
	ck_assert_uint_eq(config.cluster_copies, 5);
}
END_TEST

START_TEST(words_addresses_and_paths_are_checked)
{
	ck_assert_int_eq(config_assign(&config, "client.codec=zstd", &err), 0);
	ck_assert_int_eq(config_assign(&config, "cs.advertise=", &err), 0);
	ck_assert_int_eq(config_assign(&config, "cs.listen=[::1]:0", &err), 0);
	refuse("client.codec=zst", "client.codec: 'zst' is not one of "
	       "auto|small|raw|lz4|zstd|nibble|planes");
	refuse("client.codec=", "client.codec: '' is not one of "
	       "auto|small|raw|lz4|zstd|nibble|planes");
	refuse("cs.listen=", "cs.listen: '' is not HOST:PORT");
	refuse("cs.listen=host", "cs.listen: 'host' is not HOST:PORT");
	refuse("cs.listen=host:65536", "cs.listen: 'host:65536' is not HOST:PORT");
	refuse("cs.dirs= , ", "cs.dirs: ' , ' names no path");
	refuse("cs.dirs=/a,#b", "cs.dirs: '/a,#b' has a path that begins with # or [");
	refuse("journal.dirs=a,b,c,d,e", "journal.dirs: 'a,b,c,d,e' is a path too many");
	refuse("mds.dir=", "mds.dir: '' must not be empty");
	refuse("mds.dir=a\nb", "mds.dir: 'a\nb' holds a control character or ';'");
}
END_TEST

START_TEST(names_that_are_none_are_refused)
{
	refuse("cs", "'cs' is not SECTION.KEY=VALUE");
	refuse("cs=1", "unknown setting 'cs'");
	refuse("cs.=1", "unknown setting 'cs.'");
	refuse("c.sync_ms=1", "unknown setting 'c.sync_ms'");
	refuse("=", "unknown setting ''");
}
END_TEST

START_TEST(relations_between_settings_hold)
{
	config.cluster_min_copies = 4;
	ck_assert_int_eq(config_check(&config, &err), -E_INVAL);
	ck_assert_str_eq(err.text, "cluster.min_copies is above cluster.copies");
	config_init(&config);
	config.server_down_ms = config.server_out_ms + 1;
	ck_assert_int_eq(config_check(&config, &err), -E_INVAL);
	config_init(&config);
	config.server_heartbeat_ms = config.server_suspect_ms;
	ck_assert_int_eq(config_check(&config, &err), -E_INVAL);
}
END_TEST

START_TEST(a_dump_read_back_is_the_same)
{
	struct text first, second;

	text_init(&first, CONFIG_FILE_BYTES_MAX);
	text_init(&second, CONFIG_FILE_BYTES_MAX);
	ck_assert_int_eq(config_assign(&config, "cs.dirs=/a,/b", &err), 0);
	ck_assert_int_eq(config_assign(&config, "cs.sync_bytes=3000000", &err), 0);
	config_dump(&config, &first);
	ck_assert(!first.failed);
	config_init(&config);
	ck_assert_int_eq(config_read_text(&config, "dump", text_chars(&first), &err), 0);
	config_dump(&config, &second);
	ck_assert_str_eq(text_chars(&first), text_chars(&second));
	text_finish(&first);
	text_finish(&second);
}
END_TEST

START_TEST(every_row_has_help_that_fits_a_line)
{
	for (size_t i = 0; i < config_row_count(); i++)
		ck_assert_uint_lt(strlen(config_row_at(i)->help), 70);
}
END_TEST

START_TEST(a_file_that_is_not_there_is_said_so)
{
	ck_assert_int_eq(config_read_file(&config, "/nowhere/x.conf", &err), -E_NOENT);
	ck_assert_str_eq(err.text, "cannot open '/nowhere/x.conf': no such file or directory");
}
END_TEST

START_TEST(the_command_line_is_stronger_than_the_file)
{
	static struct config_argp a;
	char path[] = "/tmp/cairn-config-XXXXXX";
	int fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	FILE *file = fdopen(fd, "w");
	fputs("[cs]\nsync_ms=7\nworkers=3\n[log]\nlevel=warn\n", file);
	fclose(file);

	char *argv[] = {"cairn-cs", "--cs-sync-ms=9", "--config", path, "--set",
			"log.level=debug", NULL};
	const struct argp *argp = config_argp("cs log");
	ck_assert_ptr_nonnull(argp);
	int rc = argp_parse(argp, 6, argv, ARGP_NO_EXIT, NULL, &a);
	unlink(path);
	ck_assert_int_eq(rc, 0);
	ck_assert_uint_eq(a.config.cs_sync_ms, 9);
	ck_assert_uint_eq(a.config.cs_workers, 3);
	ck_assert_str_eq(a.config.log_level, "debug");
}
END_TEST

TEST_MAIN("config",
	  tcase_add_checked_fixture(tc, setup, NULL);
	  tcase_add_test(tc, defaults_are_sane);
	  tcase_add_test(tc, a_file_changes_what_it_names);
	  tcase_add_test(tc, what_is_wrong_in_a_file_is_named_with_its_line);
	  tcase_add_test(tc, too_long_a_line_is_not_taken_for_two);
	  tcase_add_test(tc, numbers_end_at_their_range);
	  tcase_add_test(tc, words_addresses_and_paths_are_checked);
	  tcase_add_test(tc, names_that_are_none_are_refused);
	  tcase_add_test(tc, relations_between_settings_hold);
	  tcase_add_test(tc, a_dump_read_back_is_the_same);
	  tcase_add_test(tc, every_row_has_help_that_fits_a_line);
	  tcase_add_test(tc, a_file_that_is_not_there_is_said_so);
	  tcase_add_test(tc, the_command_line_is_stronger_than_the_file))
