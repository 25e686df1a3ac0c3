/* SPDX-License-Identifier: Apache-2.0 */
/* Header, entries and trailer of segments. */
#include "fs/disk/segment.h"

#include <string.h>

#include "fs/disk/sealed.h"
#include "tests/check_main.h"

static const struct segment_header header = {
	.number = UINT64_C(0x1122334455667788), .cluster = "cluster-cluster",
	.disk = "disk-disk-disk-"};
static const struct segment_entry entry = {.id = {{9}}, .offset = 64, .length = 65,
					   .plain_len = 1, .codec = CODEC_RAW};
static const struct segment_trailer trailer = {
	.number = 7, .entries_offset = 64 + 72, .entry_count = 1, .entries_checksum = 99};
#define SEALED_BYTES (64u + 72u + 48u + 64u)

START_TEST(a_header_comes_back)
{
	uint8_t bytes[SEGMENT_HEADER_BYTES];
	struct segment_header found;

	segment_header_encode(&header, bytes);
	ck_assert_mem_eq(bytes, "CRNS\x01\0\0\0\x88\x77\x66\x55\x44\x33\x22\x11" "cluster-", 24);
	ck_assert_int_eq(segment_header_decode(bytes, &found), 0);
	ck_assert_uint_eq(found.number, header.number);
	ck_assert_mem_eq(found.cluster, header.cluster, UUID_BYTES);
	ck_assert_mem_eq(found.disk, header.disk, UUID_BYTES);
}
END_TEST

START_TEST(every_damaged_byte_of_header_and_trailer_is_noticed)
{
	uint8_t h[SEGMENT_HEADER_BYTES], t[SEGMENT_TRAILER_BYTES];
	struct segment_header found_header;
	struct segment_trailer found_trailer;

	segment_header_encode(&header, h);
	segment_trailer_encode(&trailer, t);
	for (size_t i = 0; i < 64; i++) {
		h[i] ^= 1;
		t[i] ^= 1;
		int rc = i < 4 ? -E_BAD_MAGIC : -E_CORRUPT;
		ck_assert_int_eq(segment_header_decode(h, &found_header), rc);
		ck_assert_int_eq(segment_trailer_decode(t, SEALED_BYTES, &found_trailer), rc);
		h[i] ^= 1;
		t[i] ^= 1;
	}
}
END_TEST

START_TEST(another_version_or_a_reserved_byte_is_refused)
{
	uint8_t bytes[SEGMENT_HEADER_BYTES];
	struct segment_header found;

	segment_header_encode(&header, bytes);
	bytes[50] = 1;
	sealed_finish(bytes, sizeof(bytes));
	ck_assert_int_eq(segment_header_decode(bytes, &found), -E_MALFORMED);
	bytes[4] = 2;
	sealed_finish(bytes, sizeof(bytes));
	ck_assert_int_eq(segment_header_decode(bytes, &found), -E_WRONG_VERSION);
}
END_TEST

static struct segment_entry decoded_entry(const uint8_t bytes[SEGMENT_ENTRY_BYTES])
{
	struct segment_entry found;

	ck_assert_int_eq(segment_entry_decode(bytes, &found), 0);
	return found;
}

/* The code that an entry gets whose byte at `offset` is `value`. */
static int entry_with(size_t offset, uint8_t value)
{
	struct segment_entry largest = entry, found;
	uint8_t bytes[SEGMENT_ENTRY_BYTES];

	largest.plain_len = BLOCK_BYTES_MAX;
	largest.length = RECORD_BYTES_MAX;
	segment_entry_encode(&largest, bytes);
	bytes[offset] = value;
	return segment_entry_decode(bytes, &found);
}

START_TEST(entries_of_the_smallest_and_largest_record_come_back)
{
	struct segment_entry e = entry, found;
	uint8_t bytes[SEGMENT_ENTRY_BYTES];

	segment_entry_encode(&e, bytes);
	found = decoded_entry(bytes);
	ck_assert_uint_eq(found.offset, 64);
	ck_assert_uint_eq(found.length, 65);
	ck_assert_uint_eq(found.plain_len, 1);

	e.offset = GiB(5000);
	e.length = RECORD_BYTES_MAX;
	e.plain_len = BLOCK_BYTES_MAX;
	e.codec = CODEC_ZSTD;
	segment_entry_encode(&e, bytes);
	ck_assert_mem_eq(bytes + 44, "\xff\xff\x02", 4);
	found = decoded_entry(bytes);
	ck_assert_uint_eq(found.offset, GiB(5000));
	ck_assert_uint_eq(found.length, RECORD_BYTES_MAX);
	ck_assert_uint_eq(found.plain_len, BLOCK_BYTES_MAX);
	ck_assert_uint_eq(found.codec, CODEC_ZSTD);
	ck_assert(block_id_equal(&found.id, &e.id));
}
END_TEST

START_TEST(entries_out_of_bounds_are_malformed)
{
	ck_assert_int_eq(entry_with(32, 72), 0);
	ck_assert_int_eq(entry_with(0, 0), -E_MALFORMED);	/* zero id */
	ck_assert_int_eq(entry_with(32, 56), -E_MALFORMED);	/* inside the header */
	ck_assert_int_eq(entry_with(32, 65), -E_MALFORMED);	/* not aligned */
	ck_assert_int_eq(entry_with(40, 65), -E_MALFORMED);	/* longer than a record */
	ck_assert_int_eq(entry_with(42, 0), -E_MALFORMED);	/* 64: a header alone */
	ck_assert_int_eq(entry_with(45, 0), -E_MALFORMED);	/* more stored than plain */
	ck_assert_int_eq(entry_with(46, CODEC_COUNT), -E_MALFORMED);
	ck_assert_int_eq(entry_with(47, 1), -E_MALFORMED);	/* reserved */
}
END_TEST

static int trailer_of(uint64_t entries_offset, uint32_t count, uint64_t file_bytes)
{
	struct segment_trailer t = trailer, found;
	uint8_t bytes[SEGMENT_TRAILER_BYTES];

	t.entries_offset = entries_offset;
	t.entry_count = count;
	segment_trailer_encode(&t, bytes);
	int rc = segment_trailer_decode(bytes, file_bytes, &found);
	if (rc == 0)
		ck_assert(found.number == t.number && found.entry_count == count &&
			  found.entries_offset == entries_offset &&
			  found.entries_checksum == t.entries_checksum);
	return rc;
}

START_TEST(a_trailer_must_end_exactly_its_file)
{
	ck_assert_int_eq(trailer_of(136, 1, SEALED_BYTES), 0);
	ck_assert_int_eq(trailer_of(64, 0, 128), 0);
	ck_assert_int_eq(trailer_of(136, 1, SEALED_BYTES - 1), -E_MALFORMED);
	ck_assert_int_eq(trailer_of(136, 1, SEALED_BYTES + 1), -E_MALFORMED);
	ck_assert_int_eq(trailer_of(136, 2, SEALED_BYTES), -E_MALFORMED);
	ck_assert_int_eq(trailer_of(56, 0, 120), -E_MALFORMED);
	ck_assert_int_eq(trailer_of(130, 1, SEALED_BYTES - 6), -E_MALFORMED);
	ck_assert_int_eq(trailer_of(UINT64_MAX - 7, UINT32_MAX, SEALED_BYTES), -E_MALFORMED);
	ck_assert_int_eq(trailer_of(136, 1, 0), -E_MALFORMED);
}
END_TEST

TEST_MAIN("segment",
	  tcase_add_test(tc, a_header_comes_back);
	  tcase_add_test(tc, every_damaged_byte_of_header_and_trailer_is_noticed);
	  tcase_add_test(tc, another_version_or_a_reserved_byte_is_refused);
	  tcase_add_test(tc, entries_of_the_smallest_and_largest_record_come_back);
	  tcase_add_test(tc, entries_out_of_bounds_are_malformed);
	  tcase_add_test(tc, a_trailer_must_end_exactly_its_file))
