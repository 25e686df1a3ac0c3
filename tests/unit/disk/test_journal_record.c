/* SPDX-License-Identifier: Apache-2.0 */
/* Journal records: changes come back in order, a torn or damaged record never does (I3). */
#include "fs/disk/journal_record.h"

#include <string.h>

#include "fs/disk/sealed.h"
#include "fs/hash/checksum.h"
#include "tests/check_main.h"

static uint8_t record[JOURNAL_RECORD_BYTES_MAX];

static struct row_change put(const char *key, const char *value)
{
	return (struct row_change){
		.op = ROW_PUT,
		.key = (const uint8_t *)key,
		.key_len = (uint16_t)strlen(key),
		.value = (const uint8_t *)value,
		.value_len = (uint32_t)strlen(value),
	};
}

/* A record of two changes: put "k1" = "one", delete "k2". Returns its length. */
static int build(uint32_t change_count)
{
	struct wr w = wr_init(record + JOURNAL_HEADER_BYTES, 100);
	struct row_change first = put("k1", "one"), second = put("k2", "");

	second.op = ROW_DELETE;
	journal_change_write(&w, &first);
	journal_change_write(&w, &second);
	ck_assert(wr_ok(&w));
	struct journal_header h = {.term = 3, .number = 17, .wall_ns = 1234567890, .event_kind = 5,
				   .lag = 513, .payload_len = (uint32_t)wr_len(&w),
				   .change_count = change_count};
	journal_record_finish(record, &h);
	return (int)(JOURNAL_HEADER_BYTES + h.payload_len);
}

static int decode(size_t len)
{
	struct journal_header h;
	const uint8_t *payload;

	return journal_record_decode(record, len, &h, &payload);
}

START_TEST(a_record_comes_back_change_by_change)
{
	int len = build(2);
	struct journal_header h;
	const uint8_t *payload;
	struct row_change c;

	ck_assert_int_eq(journal_record_decode(record, sizeof(record), &h, &payload), len);
	ck_assert_uint_eq(h.term, 3);
	ck_assert_uint_eq(h.number, 17);
	ck_assert_uint_eq(h.wall_ns, 1234567890);
	ck_assert_uint_eq(h.event_kind, 5);
	ck_assert_uint_eq(h.lag, 513);
	ck_assert_uint_eq(h.change_count, 2);

	struct rd r = rd_init(payload, h.payload_len);
	ck_assert_int_eq(journal_change_read(&r, &c), 1);
	ck_assert_int_eq(c.op, ROW_PUT);
	ck_assert_mem_eq(c.key, "k1", c.key_len);
	ck_assert_uint_eq(c.value_len, 3);
	ck_assert_mem_eq(c.value, "one", 3);
	ck_assert_int_eq(journal_change_read(&r, &c), 1);
	ck_assert_int_eq(c.op, ROW_DELETE);
	ck_assert_mem_eq(c.key, "k2", c.key_len);
	ck_assert_ptr_null(c.value);
	ck_assert_int_eq(journal_change_read(&r, &c), 0);
	ck_assert_int_eq(journal_change_read(&r, &c), 0);
}
END_TEST

START_TEST(an_empty_record_is_a_record)
{
	struct journal_header h = {.term = 1, .number = 1};

	journal_record_finish(record, &h);
	ck_assert_int_eq(decode(JOURNAL_HEADER_BYTES), (int)JOURNAL_HEADER_BYTES);
}
END_TEST

START_TEST(every_damaged_byte_is_noticed)
{
	int len = build(2);

	for (int i = 0; i < len; i++) {
		record[i] ^= 1;
		ck_assert_int_lt(decode((size_t)len), 0);
		record[i] ^= 1;
	}
	ck_assert_int_eq(decode((size_t)len), len);
}
END_TEST

START_TEST(every_torn_length_is_noticed)
{
	int len = build(2);

	for (int i = 0; i < len; i++)
		ck_assert_int_eq(decode((size_t)i), i < 4 ? -E_BAD_MAGIC : -E_MALFORMED);
}
END_TEST

START_TEST(zeros_behind_the_last_record_are_no_record)
{
	memset(record, 0, 4096);
	ck_assert_int_eq(decode(4096), -E_BAD_MAGIC);
}
END_TEST

START_TEST(a_wrong_count_of_changes_is_malformed)
{
	ck_assert_int_eq(decode((size_t)build(1)), -E_MALFORMED);
	ck_assert_int_eq(decode((size_t)build(3)), -E_MALFORMED);
}
END_TEST

START_TEST(the_largest_row_fits_and_one_more_byte_is_rejected)
{
	static uint8_t key[ROW_KEY_BYTES_MAX], value[ROW_VALUE_BYTES_MAX];
	static uint8_t payload[ROW_KEY_BYTES_MAX + ROW_VALUE_BYTES_MAX + 9];
	struct row_change c = {.op = ROW_PUT, .key = key, .key_len = sizeof(key), .value = value,
			       .value_len = sizeof(value)};
	struct row_change found;
	struct wr w = wr_init(payload, sizeof(payload));

	journal_change_write(&w, &c);
	ck_assert(wr_ok(&w));
	struct rd r = rd_init(payload, wr_len(&w));
	ck_assert_int_eq(journal_change_read(&r, &found), 1);
	ck_assert_uint_eq(found.value_len, sizeof(value));

	payload[4]++; /* value bytes + 1, and there is one more byte */
	r = rd_init(payload, wr_len(&w) + 1);
	ck_assert_int_eq(journal_change_read(&r, &found), -E_MALFORMED);
	ck_assert_int_eq(journal_change_read(&r, &found), -E_MALFORMED);
}
END_TEST

START_TEST(changes_that_make_no_sense_are_malformed)
{
	static const uint8_t bad[][9] = {
		{0, 0, 1, 0, 0, 0, 0, 0, 'k'},		/* no operation */
		{3, 0, 1, 0, 0, 0, 0, 0, 'k'},		/* unknown operation */
		{1, 1, 1, 0, 0, 0, 0, 0, 'k'},		/* reserved byte */
		{1, 0, 0, 0, 1, 0, 0, 0, 'v'},		/* no key */
		{1, 0, 2, 0, 0, 0, 0, 0, 'k'},		/* key beyond the end */
		{1, 0, 1, 0, 1, 0, 0, 0, 'k'},		/* value beyond the end */
		{2, 0, 0, 0, 0, 0, 0, 0, 'k'},		/* delete without a key */
	};
	struct row_change c;

	for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
		struct rd r = rd_init(bad[i], sizeof(bad[i]));
		ck_assert_int_eq(journal_change_read(&r, &c), -E_MALFORMED);
	}
}
END_TEST

START_TEST(file_headers_come_back_and_are_told_apart)
{
	struct journal_file_header j = {"cluster-cluster", 100, 4}, found_j;
	struct snapshot_header s = {"cluster-cluster", 4, 100, 55, 1, 1, 3, 2}, found_s;
	uint8_t bytes[64];

	journal_file_header_encode(&j, bytes);
	ck_assert_int_eq(journal_file_header_decode(bytes, &found_j), 0);
	ck_assert_mem_eq(&found_j, &j, sizeof(j));
	ck_assert_int_eq(snapshot_header_decode(bytes, &found_s), -E_BAD_MAGIC);

	snapshot_header_encode(&s, bytes);
	ck_assert_int_eq(snapshot_header_decode(bytes, &found_s), 0);
	ck_assert_mem_eq(&found_s, &s, sizeof(s));
	bytes[30] ^= 1;
	ck_assert_int_eq(snapshot_header_decode(bytes, &found_s), -E_CORRUPT);
	bytes[30] ^= 1;
	bytes[4] = 2;
	sealed_finish(bytes, sizeof(bytes));
	ck_assert_int_eq(snapshot_header_decode(bytes, &found_s), -E_WRONG_VERSION);
}
END_TEST

START_TEST(a_snapshot_trailer_comes_back)
{
	struct snapshot_trailer t = {.row_count = 12345, .checksum = 678}, found;
	uint8_t bytes[SNAPSHOT_TRAILER_BYTES];

	snapshot_trailer_encode(&t, bytes);
	ck_assert_mem_eq(bytes, "CRNE\0\0\0\0\x39\x30", 10);
	ck_assert_int_eq(snapshot_trailer_decode(bytes, &found), 0);
	ck_assert_mem_eq(&found, &t, sizeof(t));
	bytes[5] = 1;
	ck_assert_int_eq(snapshot_trailer_decode(bytes, &found), -E_CORRUPT);
	sealed_finish(bytes, sizeof(bytes));
	ck_assert_int_eq(snapshot_trailer_decode(bytes, &found), -E_MALFORMED);
}
END_TEST

TEST_MAIN("journal_record",
	  tcase_add_test(tc, a_record_comes_back_change_by_change);
	  tcase_add_test(tc, an_empty_record_is_a_record);
	  tcase_add_test(tc, every_damaged_byte_is_noticed);
	  tcase_add_test(tc, every_torn_length_is_noticed);
	  tcase_add_test(tc, zeros_behind_the_last_record_are_no_record);
	  tcase_add_test(tc, a_wrong_count_of_changes_is_malformed);
	  tcase_add_test(tc, the_largest_row_fits_and_one_more_byte_is_rejected);
	  tcase_add_test(tc, changes_that_make_no_sense_are_malformed);
	  tcase_add_test(tc, file_headers_come_back_and_are_told_apart);
	  tcase_add_test(tc, a_snapshot_trailer_comes_back))
