/* SPDX-License-Identifier: Apache-2.0 */
/* The line that says how far a command is: not at once, not too often, and gone at the end. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/check_main.h"
#include "tools/progress_bar.h"
#include "tools/progress_line.h"

/* What `write` says on stderr. */
static const char *said(void (*write_it)(struct progress_line *line), struct progress_line *line)
{
	static char text[256];
	int was = dup(STDERR_FILENO), ends[2];
	ssize_t len;

	ck_assert_int_eq(pipe(ends), 0);
	fflush(stderr);
	dup2(ends[1], STDERR_FILENO);
	close(ends[1]);
	write_it(line);
	fflush(stderr);
	dup2(was, STDERR_FILENO);	/* closes the writing end */
	close(was);
	len = read(ends[0], text, sizeof text - 1);
	close(ends[0]);
	ck_assert_int_ge(len, 0);
	text[len] = '\0';
	return text;
}

static void show_three(struct progress_line *line)
{
	for (int i = 1; i <= 3; i++)
		if (progress_line_is_due(line))
			progress_line_write(line, "block %d of %d", i, 3);
}

START_TEST(a_line_comes_after_two_seconds_and_goes_at_the_end)
{
	struct progress_line line = {.is_wanted = true, .begun_ms = progress_bar_now_ms()};

	ck_assert_str_eq(said(show_three, &line), "");
	ck_assert_str_eq(said(progress_line_wipe, &line), "");
	line.begun_ms -= 2000;
	ck_assert_str_eq(said(show_three, &line), "\rblock 1 of 3\033[K");
	ck_assert_str_eq(said(progress_line_wipe, &line), "\r\033[K");
	ck_assert_str_eq(said(progress_line_wipe, &line), "");
}
END_TEST

START_TEST(who_writes_into_a_file_gets_no_line)
{
	struct progress_line line = {.begun_ms = 0};

	ck_assert_str_eq(said(show_three, &line), "");
	said(progress_line_begin, &line);	/* stderr is a pipe */
	ck_assert(!line.is_wanted);
}
END_TEST

TEST_MAIN("progress_line", tcase_add_test(tc, a_line_comes_after_two_seconds_and_goes_at_the_end);
	  tcase_add_test(tc, who_writes_into_a_file_gets_no_line))
