/* SPDX-License-Identifier: Apache-2.0 */
/* Errors, faults, counters, log and panic. */
#include "fs/base/base.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOG_MODULE "test"
#include "fs/base/fault.h"
#include "fs/base/log.h"
#include "fs/base/metrics.h"
#include "tests/check_main.h"

START_TEST(errors_have_text_name_and_errno)
{
	ck_assert_str_eq(error_text(-E_CORRUPT), "data does not match its digest or checksum");
	ck_assert_str_eq(error_text(E_CORRUPT), error_text(-E_CORRUPT));
	ck_assert_str_eq(error_name(-E_NOENT), "NOENT");
	ck_assert_str_eq(error_text(-9999), "unknown error");
	ck_assert_str_eq(error_name(0), "UNKNOWN");
	ck_assert_int_eq(error_to_errno(-E_NO_BLOCK), EIO);
	ck_assert_int_eq(error_to_errno(-9999), EIO);
	ck_assert(error_is_known(E_SHUTDOWN));
	ck_assert(!error_is_known(0));
	ck_assert(!error_is_known(63));
}
END_TEST

START_TEST(ordinary_errnos_come_back)
{
	static const int ordinary[] = {EPERM,  ENOENT, EIO,    EAGAIN,
				       EEXIST, ENOSPC, ESTALE, ENOTEMPTY};

	for (size_t i = 0; i < ARRAY_COUNT(ordinary); i++) {
		ck_assert_int_lt(error_from_errno(ordinary[i]), 0);
		ck_assert_int_gt(error_from_errno(ordinary[i]), -64);
		ck_assert_int_eq(error_to_errno(error_from_errno(ordinary[i])), ordinary[i]);
	}
	ck_assert_int_eq(error_from_errno(EIO), -E_IO);
	ck_assert_int_eq(error_from_errno(EMULTIHOP), -E_IO);
}
END_TEST

/* What opening, locking and listening are refused with: "input/output error" would mislead. */
START_TEST(errnos_of_a_start_have_codes_of_their_own)
{
	static const int met[] = {EPERM,  ENOENT, EACCES, EBUSY,  EEXIST,       ENODEV,
				  ENOTDIR, EISDIR, EINVAL, ENFILE, EMFILE,      ENOSPC,
				  EROFS,  ELOOP,  ENOMEM, EDQUOT, ENAMETOOLONG, ENOTCONN,
				  ENOLCK, ENOBUFS, ESTALE, EOPNOTSUPP, EADDRINUSE,
				  EADDRNOTAVAIL, EAFNOSUPPORT, ETIMEDOUT};

	for (size_t i = 0; i < ARRAY_COUNT(met); i++)
		ck_assert_msg(error_from_errno(met[i]) != -E_IO, "%s", strerror(met[i]));
	ck_assert_int_eq(error_from_errno(EMFILE), -E_NFILE);
	ck_assert_int_eq(error_from_errno(ENOBUFS), -E_NOMEM);
}
END_TEST

START_TEST(sentences_are_built_and_wrapped)
{
	struct error err = {0};

	ck_assert_int_eq(error_set(&err, -E_NOENT, "cannot open '%s'", "x"), -E_NOENT);
	ck_assert_str_eq(err.text, "cannot open 'x': no such file or directory");
	ck_assert_int_eq(error_wrap(&err, "cannot format '%s'", "/d"), -E_NOENT);
	ck_assert_str_eq(err.text,
			 "cannot format '/d': cannot open 'x': no such file or directory");
	ck_assert_int_eq(error_say(&err, E_INVAL, "no: %s", err.text), -E_INVAL);
	ck_assert_int_eq(strncmp(err.text, "no: cannot format", 17), 0);
	ck_assert_int_eq(error_set(NULL, -E_IO, "x"), -E_IO);
}
END_TEST

START_TEST(too_long_a_sentence_is_cut)
{
	struct error err = {0};
	char name[1000];

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	error_set(&err, -E_IO, "%s", name);
	ck_assert_uint_eq(strlen(err.text), ERROR_TEXT_BYTES - 1);
	error_wrap(&err, "w");
	ck_assert_int_eq(strncmp(err.text, "w: nnn", 6), 0);
	ck_assert_uint_eq(strlen(err.text), ERROR_TEXT_BYTES - 1);
}
END_TEST

START_TEST(an_armed_fault_fires_at_its_passing)
{
	fault_arm(FAULT_disk_sync, 3, 2);
	ck_assert(!fault_fires(FAULT_disk_sync));
	ck_assert(!fault_fires(FAULT_disk_read));
	ck_assert(!fault_fires(FAULT_disk_sync));
	ck_assert(fault_fires(FAULT_disk_sync));
	ck_assert(fault_fires(FAULT_disk_sync));
	ck_assert(!fault_fires(FAULT_disk_sync));
	ck_assert_uint_eq(fault_hits(FAULT_disk_sync), 2);
	ck_assert_uint_eq(fault_hits(FAULT_disk_read), 0);

	fault_arm(FAULT_disk_sync, 1, 1);
	fault_disarm_all();
	ck_assert(!fault_fires(FAULT_disk_sync));
}
END_TEST

START_TEST(faults_are_armed_by_text)
{
	ck_assert_int_eq(fault_arm_text("journal_sync:2:1,disk_open"), 0);
	ck_assert(fault_fires(FAULT_disk_open));
	ck_assert(!fault_fires(FAULT_journal_sync));
	ck_assert(fault_fires(FAULT_journal_sync));
	fault_disarm_all();
	ck_assert_int_eq(fault_arm_text(""), 0);
	ck_assert_int_eq(fault_arm_text("no_such_point"), -E_INVAL);
	ck_assert_int_eq(fault_arm_text("disk_open:0"), -E_INVAL);
	ck_assert_int_eq(fault_arm_text("disk_open:1:x"), -E_INVAL);
	ck_assert_int_eq(fault_arm_text("disk_open:1:1:1"), -E_INVAL);
	fault_disarm_all();
}
END_TEST

static void find_bytes_in(void *arg, const struct metrics_row *row)
{
	if (strcmp(row->name, "bytes_in") == 0)
		*(uint64_t *)arg = row->value;
	ck_assert_uint_gt(strlen(row->unit), 0);
	ck_assert_uint_gt(strlen(row->text), 0);
}

START_TEST(counters_are_visited_with_their_values)
{
	uint64_t found = 0;

	metrics_reset();
	METRIC_ADD(bytes_in, 40);
	METRIC_INC(bytes_in);
	metrics_visit(find_bytes_in, &found);
	ck_assert_uint_eq(found, 41);
	ck_assert_uint_eq(METRIC_GET(bytes_in), 41);
	ck_assert_uint_eq(METRIC_GET(bytes_out), 0);
}
END_TEST

/* Run fn with stderr in a pipe; what it wrote is in out, and how it ended is returned. */
static int run_captured(void (*fn)(void), char *out, size_t out_bytes)
{
	int ends[2], status;
	size_t len = 0;
	ssize_t n;

	ck_assert_int_eq(pipe(ends), 0);
	fflush(NULL);
	pid_t child = fork();
	if (child == 0) {
		dup2(ends[1], STDERR_FILENO);
		signal(SIGABRT, SIG_DFL);
		fn();
		_exit(0);
	}
	close(ends[1]);
	while (len < out_bytes - 1 && (n = read(ends[0], out + len, out_bytes - 1 - len)) > 0)
		len += (size_t)n;
	out[len] = '\0';
	close(ends[0]);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	return status;
}

static void log_two_lines(void)
{
	log_init("cairn-test", LOG_LEVEL_WARN);
	log_info("not to be seen");
	log_warn("cannot sync 'J-1': %s rc=%d", error_text(-E_IO), -E_IO);
}

START_TEST(a_line_has_level_program_and_module)
{
	char out[4096];

	ck_assert_int_eq(run_captured(log_two_lines, out, sizeof(out)), 0);
	const char *rest = strchr(out, ' ');
	ck_assert_ptr_nonnull(rest);
	ck_assert_str_eq(rest,
			 " warn cairn-test.test cannot sync 'J-1': input/output error rc=-4\n");
}
END_TEST

static void log_a_storm(void)
{
	log_init("cairn-test", LOG_LEVEL_INFO);
	for (int i = 0; i < 1000; i++)
		log_info("storm");
}

START_TEST(a_storm_is_limited)
{
	char out[65536];
	int lines = 0;

	run_captured(log_a_storm, out, sizeof(out));
	for (const char *at = out; (at = strchr(at, '\n')); at++)
		lines++;
	ck_assert_int_ge(lines, 10);
	ck_assert_int_le(lines, 30); /* it may straddle seconds */
}
END_TEST

START_TEST(levels_are_parsed)
{
	enum log_level level;

	ck_assert_int_eq(log_level_parse("debug", &level), 0);
	ck_assert_int_eq(level, LOG_LEVEL_DEBUG);
	ck_assert_int_eq(log_level_parse("loud", &level), -E_INVAL);
}
END_TEST

static void tell(void)
{
	ssize_t n = write(STDERR_FILENO, "the trace\n", 10);
	(void)n;
}

static void assert_a_lie(void)
{
	base_set_panic_hook(tell);
	ASSERT(1 + 1 == 3);
}

struct cookie {
	int other;
	uint32_t magic;
};

static void cast_a_stranger(void)
{
	struct cookie cookie = {.magic = 7};
	void *ptr = &cookie;

	if (CHECKED_CAST(ptr, struct cookie, 7) != &cookie)
		_exit(1);
	(void)CHECKED_CAST(ptr, struct cookie, 8);
}

START_TEST(a_bug_ends_the_process_with_a_report)
{
	char out[65536];
	int status = run_captured(assert_a_lie, out, sizeof(out));

	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	ck_assert_ptr_nonnull(strstr(out, "panic: "));
	ck_assert_ptr_nonnull(strstr(out, "1 + 1 == 3"));
	ck_assert_ptr_nonnull(strstr(out, "the trace"));
}
END_TEST

START_TEST(a_wrong_cookie_ends_the_process)
{
	char out[65536];
	int status = run_captured(cast_a_stranger, out, sizeof(out));

	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	ck_assert_ptr_nonnull(strstr(out, "wrong magic"));
}
END_TEST

TEST_MAIN("base",
	  tcase_add_test(tc, errors_have_text_name_and_errno);
	  tcase_add_test(tc, ordinary_errnos_come_back);
	  tcase_add_test(tc, errnos_of_a_start_have_codes_of_their_own);
	  tcase_add_test(tc, sentences_are_built_and_wrapped);
	  tcase_add_test(tc, too_long_a_sentence_is_cut);
	  tcase_add_test(tc, an_armed_fault_fires_at_its_passing);
	  tcase_add_test(tc, faults_are_armed_by_text);
	  tcase_add_test(tc, counters_are_visited_with_their_values);
	  tcase_add_test(tc, a_line_has_level_program_and_module);
	  tcase_add_test(tc, a_storm_is_limited);
	  tcase_add_test(tc, levels_are_parsed);
	  tcase_add_test(tc, a_bug_ends_the_process_with_a_report);
	  tcase_add_test(tc, a_wrong_cookie_ends_the_process))
