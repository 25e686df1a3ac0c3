/* SPDX-License-Identifier: Apache-2.0 */
/* The position of a pass comes back as it was written, and any changed byte is noticed. */
#include <string.h>

#include "fs/disk/pass_state.h"
#include "tests/check_main.h"

static const struct pass_kind *const kinds[] = {&pass_state_scrub, &pass_state_reencode};

static const struct pass_state state = {
	.is_running = true,
	.has_flag = true,
	.pass = 8,
	.segment = 77,
	.began_ns = 1000000000123,
	.ended_ns = 900000000456,
	.bytes = 1ull << 40,
	.counts = {12345678, 9, 10},
};

START_TEST(what_is_written_is_read)
{
	uint8_t bytes[PASS_STATE_BYTES_MAX];
	struct pass_state found;

	pass_state_encode(kinds[_i], &state, bytes);
	ck_assert_int_eq(pass_state_decode(kinds[_i], bytes, &found), 0);
	ck_assert(found.is_running && found.has_flag);
	ck_assert_uint_eq(found.pass, state.pass);
	ck_assert_uint_eq(found.segment, state.segment);
	ck_assert_uint_eq(found.began_ns, state.began_ns);
	ck_assert_uint_eq(found.ended_ns, state.ended_ns);
	ck_assert_uint_eq(found.bytes, state.bytes);
	ck_assert_mem_eq(found.counts, state.counts, sizeof(state.counts));
}
END_TEST

START_TEST(any_changed_byte_is_noticed)
{
	uint8_t bytes[PASS_STATE_BYTES_MAX];
	struct pass_state found;

	pass_state_encode(kinds[_i], &state, bytes);
	for (uint32_t i = 0; i < kinds[_i]->bytes; i++) {
		bytes[i] ^= 4;
		ck_assert_int_lt(pass_state_decode(kinds[_i], bytes, &found), 0);
		bytes[i] ^= 4;
	}
	ck_assert_int_eq(pass_state_decode(kinds[_i], bytes, &found), 0);
}
END_TEST

START_TEST(a_file_of_one_kind_is_none_of_the_other)
{
	uint8_t bytes[PASS_STATE_BYTES_MAX];
	struct pass_state found;

	pass_state_encode(kinds[_i], &state, bytes);
	ck_assert_int_eq(pass_state_decode(kinds[1 - _i], bytes, &found), -E_BAD_MAGIC);
}
END_TEST

TEST_MAIN("pass_state", tcase_add_loop_test(tc, what_is_written_is_read, 0, ARRAY_COUNT(kinds));
	  tcase_add_loop_test(tc, any_changed_byte_is_noticed, 0, ARRAY_COUNT(kinds));
	  tcase_add_loop_test(tc, a_file_of_one_kind_is_none_of_the_other, 0, ARRAY_COUNT(kinds)))
