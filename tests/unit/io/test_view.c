/* SPDX-License-Identifier: Apache-2.0 */
/*
 * I15: a view is kept after a clean close and after a crash of its process, never after one of the
 * system.
 */
#include "fs/io/view.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/io/disk.h"
#include "fs/io/rows.h"
#include "tests/check_main.h"
#include "tests/scratch.h"

static struct scratch scratch;
static char directory[512];
static struct view_state state;
static const struct view_position HERE = { 3, 77 };

static void begin(void)
{
	scratch_init(&scratch);
	snprintf(directory, sizeof directory, "%s", scratch_path(&scratch, "index"));
}

static void end(void)
{
	scratch_finish(&scratch);
}

static bool has_row(void)
{
	struct rows *rows;
	const void *value;
	uint32_t len;
	int rc;

	ck_assert_int_eq(rows_lmdb_create(directory, MiB(1), &rows), 0);
	rc = rows_get(rows, "key", 3, &value, &len);
	rows_destroy(rows);
	return rc == 0;
}

/* What an owner does after opening a view: build it if it must, use it. */
static void use(void)
{
	struct rows *rows;

	ck_assert_int_eq(rows_lmdb_create(directory, MiB(1), &rows), 0);
	ck_assert_int_eq(rows_put(rows, "key", 3, "value", 5), 0);
	ck_assert_int_eq(rows_commit(rows), 0);
	rows_destroy(rows);
	if (!state.is_trusted)
		ck_assert_int_eq(view_built(directory), 0);
}

static bool open_is_trusted(void)
{
	ck_assert_int_eq(view_open(directory, &state), 0);
	return state.is_trusted;
}

/* Rewrite the note: all of it, or (NULL) its boot id, as if the system had restarted since. */
static void note_edit(const char *whole)
{
	struct disk *disk;
	char text[300];
	int len;

	ck_assert_int_eq(disk_posix_create(directory, &disk), 0);
	len = disk_read_file(disk, "view", text, sizeof text - 1);
	ck_assert_int_gt(len, 0);
	text[len] = '\0';
	if (whole != NULL) {
		len = snprintf(text, sizeof text, "%s", whole);
	} else {
		char *at = strstr(text, "boot ");

		ck_assert_ptr_nonnull(at);
		at[5] = at[5] == '0' ? '1' : '0';
	}
	ck_assert_int_eq(disk_replace_file(disk, "view", text, (uint32_t)len), 0);
	disk_destroy(disk);
}

START_TEST(a_new_view_is_to_be_built)
{
	begin();
	ck_assert(!open_is_trusted());
	ck_assert(!has_row());
	end();
}
END_TEST

START_TEST(a_clean_close_is_trusted_and_remembers_its_position)
{
	begin();
	ck_assert(!open_is_trusted());
	use();
	ck_assert_int_eq(view_close_clean(directory, HERE), 0);
	note_edit(NULL);
	ck_assert(open_is_trusted());
	ck_assert(state.was_closed);
	ck_assert_mem_eq(&state.position, &HERE, sizeof HERE);
	ck_assert(has_row());
	end();
}
END_TEST

START_TEST(a_crash_of_the_process_keeps_the_view)
{
	begin();
	ck_assert(!open_is_trusted());
	use();
	ck_assert(open_is_trusted());
	ck_assert(!state.was_closed);
	ck_assert(has_row());
	end();
}
END_TEST

START_TEST(a_crash_while_building_discards_the_view)
{
	begin();
	ck_assert(!open_is_trusted());
	state.is_trusted = true;	/* so that it is never called built */
	use();
	ck_assert(!open_is_trusted());
	ck_assert(!has_row());
	end();
}
END_TEST

START_TEST(a_crash_of_the_system_discards_the_view)
{
	begin();
	ck_assert(!open_is_trusted());
	use();
	note_edit(NULL);
	ck_assert(!open_is_trusted());
	ck_assert(!has_row());
	end();
}
END_TEST

START_TEST(a_note_that_is_damaged_is_not_trusted)
{
	static const char *const damaged[] = {
		"",
		"x",
		"cairn view 2\nstate clean\n",
		"cairn view 1\nstate clean\nboot x\nposition 1\n",
		"cairn view 1\nstate clean\nboot x\nposition 1 2",
		"cairn view 1\nstate clean\nboot x\nposition 01 2\n",
		"cairn view 1\nstate clean\nboot x\nposition 1 2\nmore\n",
		"cairn view 1\nstate sound\nboot x\nposition 1 2\n",
	};

	begin();
	ck_assert(!open_is_trusted());
	use();
	note_edit(damaged[_i]);
	ck_assert(!open_is_trusted());
	ck_assert(!has_row());
	end();
}
END_TEST

START_TEST(a_clean_close_needs_a_view)
{
	begin();
	ck_assert_int_eq(view_close_clean(directory, HERE), -E_NOENT);
	ck_assert(!open_is_trusted());
	ck_assert_int_eq(view_close_clean(directory, HERE), -E_NOENT);
	end();
}
END_TEST

/* A page that cannot be read is SIGBUS, also that of a file that became shorter. */
START_TEST(a_page_that_cannot_be_read_ends_the_process_and_the_view)
{
	struct rows *rows;
	const void *value;
	uint32_t len;
	int status;

	begin();
	ck_assert_int_eq(view_open(directory, &state), 0);
	ck_assert_int_eq(rows_lmdb_create(directory, MiB(1), &rows), 0);
	ck_assert_int_eq(rows_put(rows, "key", 3, "value", 5), 0);
	ck_assert_int_eq(rows_commit(rows), 0);
	rows_destroy(rows);
	ck_assert_int_eq(view_built(directory), 0);
	pid_t child = fork();
	if (child == 0) {
		char path[600];
		snprintf(path, sizeof path, "%s/data.mdb", directory);
		if (view_open(directory, &state) < 0 || !state.is_trusted ||
		    rows_lmdb_create(directory, MiB(1), &rows) < 0 || truncate(path, 0) < 0)
			_exit(77);
		_exit(rows_get(rows, "key", 3, &value, &len) == 0 ? 78 : 79);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), EXIT_FAILURE);
	ck_assert_int_eq(view_open(directory, &state), 0);
	ck_assert(!state.is_trusted);
	end();
}
END_TEST

TEST_MAIN("view",
	tcase_add_test(tc, a_new_view_is_to_be_built);
	tcase_add_test(tc, a_clean_close_is_trusted_and_remembers_its_position);
	tcase_add_test(tc, a_crash_of_the_process_keeps_the_view);
	tcase_add_test(tc, a_crash_while_building_discards_the_view);
	tcase_add_test(tc, a_crash_of_the_system_discards_the_view);
	tcase_add_loop_test(tc, a_note_that_is_damaged_is_not_trusted, 0, 8);
	tcase_add_test(tc, a_clean_close_needs_a_view);
	tcase_add_test(tc, a_page_that_cannot_be_read_ends_the_process_and_the_view))
