/* SPDX-License-Identifier: Apache-2.0 */
/* Cursors: what is written is read, nothing passes the end, failure sticks (I8). */
#include "fs/base/bytes.h"

#include <string.h>

#include "tests/check_main.h"

START_TEST(what_is_written_is_read)
{
	uint8_t bytes[64];
	struct wr w = wr_init(bytes, sizeof(bytes));

	wr_u8(&w, 0x12);
	wr_u16(&w, 0x1234);
	wr_u32(&w, 0x12345678);
	wr_u64(&w, UINT64_C(0x123456789abcdef0));
	wr_be16(&w, 0x1234);
	wr_be32(&w, 0x12345678);
	wr_be64(&w, UINT64_C(0x123456789abcdef0));
	wr_bytes(&w, "xyz", 3);
	wr_zeros(&w, 2);
	ck_assert(wr_ok(&w));
	ck_assert_uint_eq(wr_len(&w), 1 + 2 + 4 + 8 + 2 + 4 + 8 + 3 + 2);

	struct rd r = rd_init(bytes, wr_len(&w));
	char xyz[3];
	ck_assert_uint_eq(rd_u8(&r), 0x12);
	ck_assert_uint_eq(rd_u16(&r), 0x1234);
	ck_assert_uint_eq(rd_u32(&r), 0x12345678);
	ck_assert_uint_eq(rd_u64(&r), UINT64_C(0x123456789abcdef0));
	ck_assert_uint_eq(rd_be16(&r), 0x1234);
	ck_assert_uint_eq(rd_be32(&r), 0x12345678);
	ck_assert_uint_eq(rd_be64(&r), UINT64_C(0x123456789abcdef0));
	rd_bytes(&r, xyz, 3);
	ck_assert_mem_eq(xyz, "xyz", 3);
	ck_assert(!rd_done(&r));
	rd_zeros(&r, 2);
	ck_assert(rd_done(&r));
}
END_TEST

START_TEST(order_in_memory_is_little_or_big_endian_as_named)
{
	uint8_t bytes[12];
	struct wr w = wr_init(bytes, sizeof(bytes));

	wr_u32(&w, 0x01020304);
	wr_be64(&w, 0x0102030405060708);
	ck_assert_mem_eq(bytes, "\4\3\2\1\1\2\3\4\5\6\7\10", 12);
}
END_TEST

START_TEST(an_overrun_sticks_and_reads_zero)
{
	const uint8_t bytes[3] = {1, 2, 3};
	struct rd r = rd_init(bytes, 3);
	uint8_t out[4] = {9, 9, 9, 9};

	ck_assert_uint_eq(rd_u32(&r), 0);
	ck_assert(!rd_ok(&r));
	ck_assert_uint_eq(rd_u8(&r), 0); /* there would be room, but it failed */
	rd_bytes(&r, out, 4);
	ck_assert_mem_eq(out, "\0\0\0\0", 4);
	ck_assert_ptr_null(rd_view(&r, 0));
	ck_assert_uint_eq(rd_left(&r), 0);
	ck_assert(!rd_done(&r));
}
END_TEST

START_TEST(a_write_beyond_the_end_goes_nowhere)
{
	uint8_t bytes[4] = {7, 7, 7, 7};
	struct wr w = wr_init(bytes, 3);

	wr_u16(&w, 0x0101);
	wr_u16(&w, 0x0202);
	wr_u8(&w, 3);
	ck_assert(!wr_ok(&w));
	ck_assert_uint_eq(wr_len(&w), 2);
	ck_assert_mem_eq(bytes, "\1\1\7\7", 4);
}
END_TEST

START_TEST(lengths_near_the_largest_do_not_wrap)
{
	const uint8_t bytes[8] = {0};
	struct rd r = rd_init(bytes, sizeof(bytes));

	(void)rd_u32(&r);
	ck_assert_ptr_null(rd_view(&r, SIZE_MAX));
	ck_assert(!rd_ok(&r));
}
END_TEST

START_TEST(a_reserved_byte_that_is_not_zero_fails)
{
	const uint8_t bytes[3] = {0, 0, 1};
	struct rd r = rd_init(bytes, 3);

	rd_zeros(&r, 2);
	ck_assert(rd_ok(&r));
	rd_zeros(&r, 1);
	ck_assert(!rd_ok(&r));
}
END_TEST

START_TEST(no_bytes_at_all_are_allowed)
{
	struct rd r = rd_init(NULL, 0);
	struct wr w = wr_init(NULL, 0);

	ck_assert_ptr_nonnull(rd_view(&r, 0));
	rd_bytes(&r, NULL, 0);
	ck_assert(rd_done(&r));
	wr_bytes(&w, NULL, 0);
	ck_assert(wr_ok(&w));
	wr_u8(&w, 1);
	ck_assert(!wr_ok(&w));
}
END_TEST

TEST_MAIN("bytes",
	  tcase_add_test(tc, what_is_written_is_read);
	  tcase_add_test(tc, order_in_memory_is_little_or_big_endian_as_named);
	  tcase_add_test(tc, an_overrun_sticks_and_reads_zero);
	  tcase_add_test(tc, a_write_beyond_the_end_goes_nowhere);
	  tcase_add_test(tc, lengths_near_the_largest_do_not_wrap);
	  tcase_add_test(tc, a_reserved_byte_that_is_not_zero_fails);
	  tcase_add_test(tc, no_bytes_at_all_are_allowed))
