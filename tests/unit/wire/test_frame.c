/* SPDX-License-Identifier: Apache-2.0 */
/* The frame header: what is encoded is decoded, every damaged bit is found, bounds hold. */
#include <string.h>

#include "fs/hash/checksum.h"
#include "fs/wire/msg.h"
#include "tests/check_main.h"

static const struct frame_header FULL = {
	.flags = FRAME_FLAG_REPLY,
	.type = MSG_PUBLISH,
	.request = 0x1122334455667788,
	.message_len = MESSAGE_BYTES_MAX,
	.bulk_len = BULK_BYTES_MAX,
	.deadline_ms = 70,
	.slot = 63,
	.session = 0x99aabbccddeeff00,
	.epoch = 5,
	.slot_seq = 6,
	.bulk_checksum = 7,
	.message_checksum = 8,
};

static void seal(uint8_t bytes[FRAME_HEADER_BYTES])
{
	uint64_t checksum = checksum_of(bytes, FRAME_HEADER_BYTES - 8);

	memcpy(bytes + FRAME_HEADER_BYTES - 8, &checksum, sizeof(checksum));
}

START_TEST(a_header_comes_back_as_it_was)
{
	uint8_t bytes[FRAME_HEADER_BYTES];
	struct frame_header h = {0};

	frame_header_encode(&FULL, bytes);
	ck_assert_int_eq(frame_header_decode(bytes, &h), 0);
	ck_assert_uint_eq(h.flags, FULL.flags);
	ck_assert_uint_eq(h.type, FULL.type);
	ck_assert_uint_eq(h.request, FULL.request);
	ck_assert_uint_eq(h.message_len, FULL.message_len);
	ck_assert_uint_eq(h.bulk_len, FULL.bulk_len);
	ck_assert_uint_eq(h.deadline_ms, FULL.deadline_ms);
	ck_assert_uint_eq(h.slot, FULL.slot);
	ck_assert_uint_eq(h.session, FULL.session);
	ck_assert_uint_eq(h.epoch, FULL.epoch);
	ck_assert_uint_eq(h.slot_seq, FULL.slot_seq);
	ck_assert_uint_eq(h.bulk_checksum, FULL.bulk_checksum);
	ck_assert_uint_eq(h.message_checksum, FULL.message_checksum);
}
END_TEST

START_TEST(the_layout_is_for_ever)
{
	static const uint8_t START[] = {'C',  'R',  'N',  'F',	1,    1, 21, 0, 0x88, 0x77, 0x66,
					0x55, 0x44, 0x33, 0x22, 0x11, 0, 0,  1, 0,    0x40, 0,
					1,    0,    70,	  0,	0,    0, 63, 0, 0,    0};
	uint8_t bytes[FRAME_HEADER_BYTES];

	frame_header_encode(&FULL, bytes);
	ck_assert_mem_eq(bytes, START, sizeof(START));
}
END_TEST

START_TEST(every_flipped_bit_is_found)
{
	uint8_t bytes[FRAME_HEADER_BYTES];
	struct frame_header h;

	frame_header_encode(&FULL, bytes);
	for (unsigned bit = 0; bit < 8 * FRAME_HEADER_BYTES; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		ck_assert_int_lt(frame_header_decode(bytes, &h), 0);
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	ck_assert_int_eq(frame_header_decode(bytes, &h), 0);
}
END_TEST

START_TEST(each_fault_has_its_code)
{
	/* offset, value, code: the checksum is made good again, so that the field itself is judged
	 */
	static const struct {
		unsigned at;
		uint8_t value;
		int rc;
	} CASES[] = {
		{0, 'X', -E_BAD_MAGIC}, {4, 2, -E_WRONG_VERSION}, {4, 0, -E_WRONG_VERSION},
		{5, 3, -E_MALFORMED},	{6, 99, -E_MALFORMED},	  {7, 1, -E_MALFORMED},
		{16, 1, -E_MALFORMED},	{20, 0x41, -E_MALFORMED},
	};

	for (size_t i = 0; i < ARRAY_COUNT(CASES); i++) {
		uint8_t bytes[FRAME_HEADER_BYTES];
		struct frame_header h;

		frame_header_encode(&FULL, bytes);
		bytes[CASES[i].at] = CASES[i].value;
		seal(bytes);
		ck_assert_int_eq(frame_header_decode(bytes, &h), CASES[i].rc);
	}
}
END_TEST

TEST_MAIN("frame", tcase_add_test(tc, a_header_comes_back_as_it_was);
	  tcase_add_test(tc, the_layout_is_for_ever);
	  tcase_add_test(tc, every_flipped_bit_is_found);
	  tcase_add_test(tc, each_fault_has_its_code))
