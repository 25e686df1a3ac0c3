/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows: one story per promise of rows.h, told to both backends; then random steps against a plain
 * array.
 */
#include "fs/io/rows.h"

#include <pthread.h>
#include <string.h>

#include "tests/check_main.h"
#include "tests/scratch.h"

enum backend { MEM, LMDB, BACKENDS };

static struct scratch scratch;
static struct rows *rows;

static void begin(int backend, uint64_t map_bytes)
{
	scratch_init(&scratch);
	ck_assert_int_eq(backend == MEM ? rows_mem_create(&rows)
					: rows_lmdb_create(scratch.path, map_bytes, &rows),
			 0);
}

static void end(void)
{
	rows_destroy(rows);
	scratch_finish(&scratch);
}

static void put(const char *key, const char *value)
{
	ck_assert_int_eq(rows_put(rows, key, (uint32_t)strlen(key), value, (uint32_t)strlen(value)),
			 0);
}

/* The value as a string, "-" if there is none. */
static const char *get(const char *key)
{
	static char text[64];
	const void *value;
	uint32_t len;
	int rc = rows_get(rows, key, (uint32_t)strlen(key), &value, &len);

	if (rc == -E_NOENT)
		return "-";
	ck_assert_int_eq(rc, 0);
	snprintf(text, sizeof text, "%.*s", (int)len, (const char *)value);
	return text;
}

/* All keys and values of a snapshot as "key=value ...". */
static const char *read_all(struct rows_snapshot *s)
{
	static char text[256];
	struct row row;
	int rc, at = 0;

	text[0] = '\0';
	while ((rc = rows_snapshot_next(s, &row)) == 1)
		at += snprintf(text + at, sizeof text - (size_t)at, "%.*s=%.*s ", (int)row.key_len,
			       (const char *)row.key, (int)row.value_len, (const char *)row.value);
	ck_assert_int_eq(rc, 0);
	return text;
}

static const char *committed(void)
{
	struct rows_snapshot *s;
	const char *text;

	ck_assert_int_eq(rows_snapshot_open(rows, &s), 0);
	text = read_all(s);
	rows_snapshot_close(s);
	return text;
}

START_TEST(changes_are_seen_at_once_and_kept_by_a_commit)
{
	begin(_i, MiB(1));
	ck_assert_str_eq(get("b"), "-");
	put("b", "1");
	put("a", "");
	put("b", "2");
	ck_assert_str_eq(get("b"), "2");
	ck_assert_str_eq(committed(), "");
	ck_assert_int_eq(rows_commit(rows), 0);
	ck_assert_str_eq(get("b"), "2");
	ck_assert_str_eq(committed(), "a= b=2 ");
	ck_assert_int_eq(rows_del(rows, "a", 1), 0);
	ck_assert_int_eq(rows_del(rows, "a", 1), -E_NOENT);
	ck_assert_str_eq(get("a"), "-");
	ck_assert_int_eq(rows_commit(rows), 0);
	ck_assert_int_eq(rows_commit(rows), 0);
	ck_assert_str_eq(committed(), "b=2 ");
	end();
}
END_TEST

START_TEST(an_abort_brings_back_the_last_commit)
{
	begin(_i, MiB(1));
	put("changed", "1");
	put("deleted", "1");
	ck_assert_int_eq(rows_commit(rows), 0);
	put("changed", "2");
	put("changed", "3");
	put("new", "1");
	ck_assert_int_eq(rows_del(rows, "deleted", 7), 0);
	put("deleted", "again");
	ck_assert_int_eq(rows_del(rows, "deleted", 7), 0);
	ck_assert_str_eq(committed(), "changed=1 deleted=1 ");
	rows_abort(rows);
	rows_abort(rows);
	ck_assert_str_eq(get("changed"), "1");
	ck_assert_str_eq(get("new"), "-");
	ck_assert_str_eq(get("deleted"), "1");
	ck_assert_str_eq(committed(), "changed=1 deleted=1 ");
	end();
}
END_TEST

START_TEST(next_walks_in_the_order_of_bytes)
{
	struct row row;

	begin(_i, MiB(1));
	ck_assert_int_eq(rows_next(rows, NULL, 0, &row), -E_NOENT);
	put("a", "1");
	put("a\xff", "2");
	put("ab", "3");
	put("b", "4");
	ck_assert_int_eq(rows_next(rows, NULL, 0, &row), 0);
	ck_assert_mem_eq(row.value, "1", 1);
	ck_assert_int_eq(rows_next(rows, "a\0", 2, &row), 0);
	ck_assert_mem_eq(row.value, "3", 1);
	ck_assert_int_eq(rows_commit(rows), 0);
	ck_assert_int_eq(rows_next(rows, "ac", 2, &row), 0);
	ck_assert_uint_eq(row.key_len, 2);
	ck_assert_mem_eq(row.key, "a\xff", 2);
	ck_assert_int_eq(rows_next(rows, "b", 1, &row), 0);
	ck_assert_mem_eq(row.value, "4", 1);
	ck_assert_int_eq(rows_next(rows, "b\0", 2, &row), -E_NOENT);
	end();
}
END_TEST

START_TEST(a_clear_is_a_change_like_others)
{
	begin(_i, MiB(1));
	put("a", "1");
	put("b", "2");
	ck_assert_int_eq(rows_commit(rows), 0);
	put("c", "3");
	ck_assert_int_eq(rows_clear(rows), 0);
	ck_assert_str_eq(get("a"), "-");
	put("d", "4");
	rows_abort(rows);
	ck_assert_str_eq(committed(), "a=1 b=2 ");
	ck_assert_int_eq(rows_clear(rows), 0);
	put("d", "4");
	ck_assert_int_eq(rows_commit(rows), 0);
	ck_assert_str_eq(committed(), "d=4 ");
	end();
}
END_TEST

START_TEST(the_largest_row_fits)
{
	static uint8_t key[ROW_KEY_BYTES_MAX], value[ROW_VALUE_BYTES_MAX];
	const void *back;
	uint32_t len;

	begin(_i, MiB(4));
	memset(key, 0xff, sizeof key);
	memset(value, 7, sizeof value);
	ck_assert_int_eq(rows_put(rows, key, sizeof key, value, sizeof value), 0);
	ck_assert_int_eq(rows_commit(rows), 0);
	ck_assert_int_eq(rows_get(rows, key, sizeof key, &back, &len), 0);
	ck_assert_uint_eq(len, sizeof value);
	ck_assert_mem_eq(back, value, len);
	ck_assert_uint_ge(rows_bytes(rows), sizeof key + sizeof value);
	ck_assert_uint_lt(rows_bytes(rows), MiB(1));
	end();
}
END_TEST

static void *read_elsewhere(void *arg)
{
	struct rows_snapshot *s = arg;
	const char *text = read_all(s);

	rows_snapshot_close(s);
	return (void *)(uintptr_t)text;
}

START_TEST(a_snapshot_stands_still_and_may_be_read_on_another_thread)
{
	struct rows_snapshot *s;
	pthread_t thread;
	void *text;

	begin(_i, MiB(1));
	put("a", "1");
	put("b", "1");
	ck_assert_int_eq(rows_commit(rows), 0);
	put("a", "2");
	ck_assert_int_eq(rows_snapshot_open(rows, &s), 0);
	put("c", "2");
	ck_assert_int_eq(rows_commit(rows), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, read_elsewhere, s), 0);
	put("d", "3");
	ck_assert_int_eq(rows_del(rows, "b", 1), 0);
	ck_assert_int_eq(rows_commit(rows), 0);
	pthread_join(thread, &text);
	ck_assert_str_eq(text, "a=1 b=1 ");
	ck_assert_str_eq(committed(), "a=2 c=2 d=3 ");
	end();
}
END_TEST

/* --- random steps against a plain array: key n is the byte pair of n -------------------------- */

#define MODEL_KEYS 300

struct model {
	int value[MODEL_KEYS];	/* 0: absent */
};

static uint64_t random_state;

static unsigned random_below(unsigned bound)
{
	random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
	return (unsigned)(random_state >> 33) % bound;
}

static void model_key(unsigned n, uint8_t key[2])
{
	key[0] = (uint8_t)(n >> 8);
	key[1] = (uint8_t)n;
}

static void model_step(struct model *now, struct model *kept)
{
	unsigned n = random_below(MODEL_KEYS), choice = random_below(100);
	uint8_t key[2];
	int value = 1 + (int)random_below(1000000);

	model_key(n, key);
	if (choice < 55) {
		ck_assert_int_eq(rows_put(rows, key, 2, &value, sizeof value), 0);
		now->value[n] = value;
	} else if (choice < 90) {
		ck_assert_int_eq(rows_del(rows, key, 2), now->value[n] != 0 ? 0 : -E_NOENT);
		now->value[n] = 0;
	} else if (choice < 96) {
		ck_assert_int_eq(rows_commit(rows), 0);
		*kept = *now;
	} else if (choice < 99) {
		rows_abort(rows);
		*now = *kept;
	} else {
		ck_assert_int_eq(rows_clear(rows), 0);
		*now = (struct model){ { 0 } };
	}
}

static void check_row(const struct row *row, const struct model *m, unsigned *n)
{
	uint8_t key[2];

	while (*n < MODEL_KEYS && m->value[*n] == 0)
		(*n)++;
	ck_assert_uint_lt(*n, MODEL_KEYS);
	model_key(*n, key);
	ck_assert_mem_eq(row->key, key, 2);
	ck_assert_uint_eq(row->value_len, sizeof m->value[*n]);
	ck_assert_mem_eq(row->value, &m->value[*n], row->value_len);
	(*n)++;
}

static void check_end(const struct model *m, unsigned n)
{
	for (; n < MODEL_KEYS; n++)
		ck_assert_int_eq(m->value[n], 0);
}

static void check_all(const struct model *now, const struct model *kept)
{
	struct rows_snapshot *s;
	struct row row;
	uint8_t key[2];
	unsigned n = 0;

	for (model_key(n, key); n < MODEL_KEYS && rows_next(rows, key, 2, &row) == 0;
	     model_key(n, key))
		check_row(&row, now, &n);
	check_end(now, n);
	ck_assert_int_eq(rows_snapshot_open(rows, &s), 0);
	for (n = 0; rows_snapshot_next(s, &row) == 1;)
		check_row(&row, kept, &n);
	check_end(kept, n);
	rows_snapshot_close(s);
}

START_TEST(random_steps_agree_with_an_array)
{
	struct model now = { { 0 } }, kept = { { 0 } };
	int backend = _i % BACKENDS;

	random_state = 1 + (uint64_t)(_i / BACKENDS);	/* the seed */
	begin(backend, MiB(8));
	for (int step = 0; step < 3000; step++) {
		model_step(&now, &kept);
		if (step % 50 == 0)
			check_all(&now, &kept);
	}
	check_all(&now, &kept);
	end();
}
END_TEST

/* --- what only a store on disk can do --------------------------------------------------------- */

START_TEST(lmdb_rows_outlive_their_process)
{
	begin(LMDB, MiB(1));
	put("a", "1");
	ck_assert_int_eq(rows_commit(rows), 0);
	put("b", "not committed");
	rows_destroy(rows);
	ck_assert_int_eq(rows_lmdb_create(scratch.path, MiB(1), &rows), 0);
	ck_assert_str_eq(committed(), "a=1 ");
	end();
}
END_TEST

START_TEST(a_full_map_says_so_and_keeps_the_last_commit)
{
	static const uint8_t value[4096];
	uint32_t n;
	int rc = 0;

	begin(LMDB, KiB(256));
	put("a", "1");
	ck_assert_int_eq(rows_commit(rows), 0);
	for (n = 0; rc == 0 && n < 1000; n++)
		rc = rows_put(rows, &n, sizeof n, value, sizeof value);
	ck_assert_int_eq(rc, -E_NOSPC);
	ck_assert_int_lt(rows_put(rows, "b", 1, "2", 1), 0);
	rows_abort(rows);
	put("b", "2");
	ck_assert_int_eq(rows_commit(rows), 0);
	ck_assert_str_eq(committed(), "a=1 b=2 ");
	end();
}
END_TEST

START_TEST(a_file_that_is_no_store_is_refused)
{
	char noise[8192];
	FILE *file;

	begin(LMDB, MiB(1));
	rows_destroy(rows);
	memset(noise, 'x', sizeof noise);
	file = fopen(scratch_path(&scratch, "data.mdb"), "w");
	ck_assert_uint_eq(fwrite(noise, 1, sizeof noise, file), sizeof noise);
	fclose(file);
	ck_assert_int_eq(rows_lmdb_create(scratch.path, MiB(1), &rows), -E_CORRUPT);
	ck_assert_int_eq(rows_lmdb_create(scratch_path(&scratch, "absent"), MiB(1), &rows),
			 -E_NOENT);
	rows = NULL;
	end();
}
END_TEST

TEST_MAIN("rows",
	  tcase_add_loop_test(tc, changes_are_seen_at_once_and_kept_by_a_commit, 0, BACKENDS);
	  tcase_add_loop_test(tc, an_abort_brings_back_the_last_commit, 0, BACKENDS);
	  tcase_add_loop_test(tc, next_walks_in_the_order_of_bytes, 0, BACKENDS);
	  tcase_add_loop_test(tc, a_clear_is_a_change_like_others, 0, BACKENDS);
	  tcase_add_loop_test(tc, the_largest_row_fits, 0, BACKENDS);
	  tcase_add_loop_test(tc, a_snapshot_stands_still_and_may_be_read_on_another_thread, 0,
			      BACKENDS);
	  tcase_add_loop_test(tc, random_steps_agree_with_an_array, 0, 5 * BACKENDS);
	  tcase_add_test(tc, lmdb_rows_outlive_their_process);
	  tcase_add_test(tc, a_full_map_says_so_and_keeps_the_last_commit);
	  tcase_add_test(tc, a_file_that_is_no_store_is_refused))
