/* SPDX-License-Identifier: Apache-2.0 */
/* The position of encoding anew comes back as it was written, and any changed byte is noticed. */
#include <string.h>

#include "fs/disk/reencode_state.h"
#include "tests/check_main.h"

static const struct reencode_state state = {
	.is_running = true,
	.is_all = true,
	.pass = 8,
	.segment = 77,
	.began_ns = 1000000000123,
	.ended_ns = 900000000456,
	.bytes = 1ull << 40,
	.blocks = 12345678,
	.bytes_before = 9,
	.bytes_after = 10,
};

START_TEST(what_is_written_is_read)
{
	uint8_t bytes[REENCODE_STATE_BYTES];
	struct reencode_state found;

	reencode_state_encode(&state, bytes);
	ck_assert_int_eq(reencode_state_decode(bytes, &found), 0);
	ck_assert(found.is_running && found.is_all);
	ck_assert_uint_eq(found.pass, state.pass);
	ck_assert_uint_eq(found.segment, state.segment);
	ck_assert_uint_eq(found.began_ns, state.began_ns);
	ck_assert_uint_eq(found.ended_ns, state.ended_ns);
	ck_assert_uint_eq(found.bytes, state.bytes);
	ck_assert_uint_eq(found.blocks, state.blocks);
	ck_assert_uint_eq(found.bytes_before, state.bytes_before);
	ck_assert_uint_eq(found.bytes_after, state.bytes_after);
}
END_TEST

START_TEST(any_changed_byte_is_noticed)
{
	uint8_t bytes[REENCODE_STATE_BYTES];
	struct reencode_state found;

	reencode_state_encode(&state, bytes);
	for (uint32_t i = 0; i < sizeof(bytes); i++) {
		bytes[i] ^= 4;
		ck_assert_int_lt(reencode_state_decode(bytes, &found), 0);
		bytes[i] ^= 4;
	}
	ck_assert_int_eq(reencode_state_decode(bytes, &found), 0);
}
END_TEST

TEST_MAIN("reencode_state", tcase_add_test(tc, what_is_written_is_read);
	  tcase_add_test(tc, any_changed_byte_is_noticed))
