/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The overlay: what is seen before a flush, dropped by an abort, written by a flush, replayed by
 * apply.
 */
#include "metadata-server/txn.h"

#include <string.h>

#include "tests/check_main.h"

static struct rows *rows;
static struct ms_txn *txn;

static void begin(void)
{
	ck_assert_int_eq(rows_mem_create(&rows), 0);
	ck_assert_int_eq(ms_txn_create(rows, &txn), 0);
	ms_txn_event_begin(txn);
}

static void end(void)
{
	ms_txn_destroy(txn);
	rows_destroy(rows);
}

static void put(const char *key, const char *value)
{
	ms_txn_put(txn, key, (uint32_t)strlen(key), value, (uint32_t)strlen(value));
}

static void del(const char *key)
{
	ms_txn_del(txn, key, (uint32_t)strlen(key));
}

static void assert_get(const char *key, const char *want)
{
	const void *value;
	uint32_t len;
	int rc = ms_txn_get(txn, key, (uint32_t)strlen(key), &value, &len);

	ck_assert_int_eq(rc, want ? 0 : -E_NOENT);
	if (want) {
		ck_assert_uint_eq(len, strlen(want));
		ck_assert(len == 0 || memcmp(value, want, len) == 0);
	}
}

/* All keys from `from` on, joined. */
static void assert_scan(const char *from, const char *want)
{
	char keys[256] = "", at[64];
	uint32_t at_len = (uint32_t)strlen(from);
	struct row row;

	memcpy(at, from, at_len);
	while (ms_txn_next(txn, at, at_len, &row) == 0) {
		strncat(keys, (const char *)row.key, row.key_len);
		memcpy(at, row.key, row.key_len);
		at[row.key_len] = 0;
		at_len = row.key_len + 1;
	}
	ck_assert_str_eq(keys, want);
}

START_TEST(changes_are_seen_before_and_after_a_flush)
{
	begin();
	put("a", "1");
	put("a", "2");
	assert_get("a", "2");
	ck_assert_uint_eq(ms_txn_event_changes(txn), 1);
	ck_assert_int_eq(ms_txn_flush(txn), 0);
	assert_get("a", "2");
	del("a");
	assert_get("a", NULL);
	ck_assert_int_eq(ms_txn_flush(txn), 0);
	assert_get("a", NULL);
	end();
}
END_TEST

START_TEST(scan_merges_overlay_and_rows)
{
	begin();
	put("b", "");
	put("d", "");
	put("f", "");
	ck_assert_int_eq(ms_txn_flush(txn), 0);
	put("a", "");
	put("c", "");
	del("d");
	put("f", "new");
	put("g", "");
	assert_scan("a", "abcfg");
	assert_scan("b", "bcfg");
	del("b");
	del("g");
	assert_scan("a", "acf");
	end();
}
END_TEST

START_TEST(an_aborted_event_leaves_no_trace)
{
	begin();
	put("old", "1");
	ck_assert_int_eq(ms_txn_flush(txn), 0);
	ms_txn_event_begin(txn);
	put("earlier", "kept");
	put("old", "2");
	ms_txn_event_begin(txn);
	put("earlier", "dropped");
	del("old");
	put("new", "x");
	ms_txn_event_abort(txn);
	assert_get("earlier", "kept");
	assert_get("old", "2");
	assert_get("new", NULL);
	assert_scan("a", "earlierold");
	ck_assert_uint_eq(ms_txn_event_changes(txn), 0);
	ck_assert_int_eq(ms_txn_flush(txn), 0);
	assert_get("old", "2");
	assert_get("new", NULL);
	end();
}
END_TEST

START_TEST(a_record_replays_to_the_same_rows)
{
	uint8_t record[4096];
	uint32_t count;
	int len;

	begin();
	put("gone", "1");
	ck_assert_int_eq(ms_txn_flush(txn), 0);
	ms_txn_event_begin(txn);
	put("k", "v");
	put("empty", "");
	del("gone");
	len = ms_txn_event_encode(txn, record, sizeof record, &count);
	ck_assert_int_gt(len, 0);
	ck_assert_uint_eq(len, ms_txn_event_bytes(txn));
	ck_assert_uint_eq(count, 3);
	ms_txn_event_abort(txn);
	ck_assert_int_eq(ms_txn_apply(txn, record + JOURNAL_HEADER_BYTES, (uint32_t)len), 0);
	assert_get("k", "v");
	assert_get("empty", "");
	assert_get("gone", NULL);
	end();
}
END_TEST

START_TEST(a_malformed_record_is_applied_not_at_all)
{
	uint8_t record[4096];
	uint32_t count;
	int len;

	begin();
	put("first", "1");
	put("second", "2");
	len = ms_txn_event_encode(txn, record, sizeof record, &count);
	ms_txn_event_abort(txn);
	ck_assert_int_eq(ms_txn_apply(txn, record + JOURNAL_HEADER_BYTES, (uint32_t)len - 1),
			 -E_MALFORMED);
	assert_get("first", NULL);
	end();
}
END_TEST

START_TEST(an_event_that_does_not_fit_says_so)
{
	uint8_t record[JOURNAL_HEADER_BYTES + 10];
	uint32_t count;

	begin();
	put("k", "v");		/* 8 + 1 + 1 bytes */
	ck_assert_int_eq(ms_txn_event_encode(txn, record, sizeof record - 1, &count), -E_TOOBIG);
	ck_assert_int_eq(ms_txn_event_encode(txn, record, sizeof record, &count), 10);
	end();
}
END_TEST

TEST_MAIN("txn",
	tcase_add_test(tc, changes_are_seen_before_and_after_a_flush);
	tcase_add_test(tc, scan_merges_overlay_and_rows);
	tcase_add_test(tc, an_aborted_event_leaves_no_trace);
	tcase_add_test(tc, a_record_replays_to_the_same_rows);
	tcase_add_test(tc, a_malformed_record_is_applied_not_at_all);
	tcase_add_test(tc, an_event_that_does_not_fit_says_so))
