/* SPDX-License-Identifier: Apache-2.0 */
/* Block records: what is built opens again, and no single damaged byte passes. */
#include "fs/disk/record.h"

#include <string.h>

#include "fs/disk/sealed.h"
#include "fs/hash/checksum.h"
#include "tests/check_main.h"

static struct codec_scratch *scratch;
static uint8_t bytes[RECORD_BYTES_MAX];
static uint8_t plain[BLOCK_BYTES_MAX];

static void setup(void)
{
	scratch = codec_scratch_create();
	ck_assert_ptr_nonnull(scratch);
	for (size_t i = 0; i < sizeof(plain); i++)
		plain[i] = (uint8_t)(i / 100);
}

static void teardown(void)
{
	codec_scratch_destroy(scratch);
}

static uint32_t build(enum codec codec, uint32_t plain_len)
{
	return record_build(scratch, HASH_SHA256, codec_aim_of(codec), plain, plain_len, bytes);
}

static int open_record(size_t len)
{
	static uint8_t found[BLOCK_BYTES_MAX];
	struct record r;
	int rc = record_open(scratch, HASH_SHA256, bytes, len, true, &r, found);

	if (rc == 0)
		ck_assert_mem_eq(found, plain, r.plain_len);
	ck_assert_int_eq(record_prove(scratch, HASH_SHA256, bytes, len, &r, found), rc);
	return rc;
}

/* Change a header field and seal the header again, as a careful enemy would. */
static int open_with(size_t offset, uint8_t value)
{
	uint32_t len = build(CODEC_ZSTD, 1000);

	bytes[offset] = value;
	sealed_finish(bytes, RECORD_HEADER_BYTES);
	return open_record(len);
}

START_TEST(records_of_every_codec_and_length_open_again)
{
	static const uint32_t lens[] = {1, 2, 4095, 4096, BLOCK_BYTES_MAX - 1, BLOCK_BYTES_MAX};

	for (enum codec codec = CODEC_RAW; codec < CODEC_COUNT; codec++)
		for (size_t i = 0; i < ARRAY_COUNT(lens); i++)
			ck_assert_int_eq(open_record(build(codec, lens[i])), 0);
}
END_TEST

START_TEST(a_record_in_two_pieces_is_the_same_record)
{
	static uint8_t stored[BLOCK_BYTES_MAX];
	uint8_t head[RECORD_HEADER_BYTES];

	for (enum codec codec = CODEC_RAW; codec < CODEC_COUNT; codec++) {
		for (uint32_t len = 1; len <= BLOCK_BYTES_MAX; len *= 4) {
			const struct codec_bytes content = {plain, len};
			struct record_plan plan = {.plain = plain, .plain_len = len};
			uint32_t whole = build(codec, len);

			block_id_of(HASH_SHA256, plain, len, &plan.id);
			codec_detect(codec_aim_of(codec), &content, NULL, &plan.codec);
			uint32_t stored_len = record_split(scratch, &plan, head, stored);
			ck_assert_mem_eq(head, bytes, RECORD_HEADER_BYTES);
			ck_assert_uint_eq(RECORD_HEADER_BYTES + (stored_len ? stored_len : len),
					  whole);
			ck_assert_mem_eq(stored_len ? stored : plain, bytes + RECORD_HEADER_BYTES,
					 whole - RECORD_HEADER_BYTES);
		}
	}
}
END_TEST

START_TEST(raw_bytes_are_found_where_they_are)
{
	static uint8_t room[BLOCK_BYTES_MAX];
	const void *found;
	struct record r;

	uint32_t len = build(CODEC_RAW, 5000);
	ck_assert_int_eq(record_plain(scratch, bytes, len, &r, room, &found), 0);
	ck_assert_ptr_eq(found, bytes + RECORD_HEADER_BYTES);
	len = build(CODEC_LZ4, 5000);
	ck_assert_int_eq(record_plain(scratch, bytes, len, &r, room, &found), 0);
	ck_assert_ptr_eq(found, room);
	ck_assert_mem_eq(room, plain, 5000);
	bytes[len - 1] ^= 1;
	ck_assert_int_eq(record_plain(scratch, bytes, len, &r, room, &found), -E_CORRUPT);
}
END_TEST

START_TEST(the_header_is_the_table_of_the_manual)
{
	uint32_t len = build(CODEC_RAW, 258);
	struct block_id id;

	block_id_of(HASH_SHA256, plain, 258, &id);
	ck_assert_uint_eq(len, 64 + 258);
	ck_assert_mem_eq(bytes, "CRNR\x02\x01\0\0", 8);
	ck_assert_mem_eq(bytes + 8, id.bytes, 32);
	ck_assert_mem_eq(bytes + 40, "\x02\x01\0\0\0\0\0\0", 8);
	uint64_t sum = checksum_of(plain, 258);
	for (unsigned i = 0; i < 8; i++)
		ck_assert_uint_eq(bytes[48 + i], (uint8_t)(sum >> 8 * i));
	sum = checksum_of(bytes, 56);
	for (unsigned i = 0; i < 8; i++)
		ck_assert_uint_eq(bytes[56 + i], (uint8_t)(sum >> 8 * i));
}
END_TEST

START_TEST(every_damaged_byte_is_noticed)
{
	uint32_t len = build(CODEC_ZSTD, 1000);

	for (uint32_t i = 0; i < len; i++) {
		bytes[i] ^= 0x40;
		ck_assert_int_eq(open_record(len), i < 4 ? -E_BAD_MAGIC : -E_CORRUPT);
		bytes[i] ^= 0x40;
	}
	ck_assert_int_eq(open_record(len), 0);
}
END_TEST

START_TEST(another_length_than_the_header_says_is_malformed)
{
	uint32_t len = build(CODEC_LZ4, 1000);

	ck_assert_int_eq(open_record(len - 1), -E_MALFORMED);
	ck_assert_int_eq(open_record(len + 1), -E_MALFORMED);
	ck_assert_int_eq(open_record(RECORD_HEADER_BYTES), -E_MALFORMED);
	ck_assert_int_eq(open_record(RECORD_HEADER_BYTES - 1), -E_MALFORMED);
	ck_assert_int_eq(open_record(0), -E_MALFORMED);
}
END_TEST

START_TEST(fields_out_of_bounds_are_malformed)
{
	ck_assert_int_eq(open_with(45, 1), 0);			/* another zstd level */
	ck_assert_int_eq(open_with(44, CODEC_COUNT), -E_MALFORMED);
	ck_assert_int_eq(open_with(44, CODEC_RAW), -E_MALFORMED);	/* but it shrank */
	ck_assert_int_eq(open_with(44, CODEC_LZ4), -E_MALFORMED);	/* no parameter there */
	ck_assert_int_eq(open_with(46, 1), -E_MALFORMED);	/* reserved */
	ck_assert_int_eq(open_with(42, 1), -E_MALFORMED);	/* plain bytes + 65,536 */
	ck_assert_int_eq(open_with(5, 0xff), -E_MALFORMED);	/* stored more than plain */
}
END_TEST

START_TEST(a_zero_id_names_no_record)
{
	uint32_t len = build(CODEC_RAW, 10);

	memset(bytes + 8, 0, BLOCK_ID_BYTES);
	sealed_finish(bytes, RECORD_HEADER_BYTES);
	ck_assert_int_eq(open_record(len), -E_MALFORMED);
}
END_TEST

START_TEST(a_wrong_name_is_found_only_when_the_digest_is_asked_for)
{
	struct block_id other = {{1}};
	struct record r;
	uint32_t len = record_build_named(scratch, &other, CODEC_AIM_RAW, plain, 100, bytes);
	static uint8_t found[BLOCK_BYTES_MAX];

	ck_assert_int_eq(record_check(bytes, len, &r), 0);
	ck_assert_int_eq(record_open(scratch, HASH_SHA256, bytes, len, false, &r, found), 0);
	ck_assert_int_eq(record_open(scratch, HASH_SHA256, bytes, len, true, &r, found),
			 -E_CORRUPT);
}
END_TEST

TEST_MAIN("record",
	  tcase_add_checked_fixture(tc, setup, teardown);
	  tcase_add_test(tc, records_of_every_codec_and_length_open_again);
	  tcase_add_test(tc, a_record_in_two_pieces_is_the_same_record);
	  tcase_add_test(tc, raw_bytes_are_found_where_they_are);
	  tcase_add_test(tc, the_header_is_the_table_of_the_manual);
	  tcase_add_test(tc, every_damaged_byte_is_noticed);
	  tcase_add_test(tc, another_length_than_the_header_says_is_malformed);
	  tcase_add_test(tc, fields_out_of_bounds_are_malformed);
	  tcase_add_test(tc, a_zero_id_names_no_record);
	  tcase_add_test(tc, a_wrong_name_is_found_only_when_the_digest_is_asked_for))
