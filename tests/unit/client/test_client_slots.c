/* SPDX-License-Identifier: Apache-2.0 */
#include "client/core/slots.h"

#include "tests/check_main.h"

START_TEST(each_slot_carries_one_mutation)
{
	struct cl_slots s;
	uint64_t seen = 0, seq;
	uint32_t slot;
	cl_slots_init(&s);
	for (uint32_t i = 0; i < SESSION_SLOTS; i++) {
		ck_assert_int_eq(cl_slots_take(&s, &slot, &seq), 0);
		ck_assert_uint_eq(seq, 1);
		ck_assert_uint_eq(seen >> slot & 1, 0);
		seen |= UINT64_C(1) << slot;
	}
	ck_assert(!cl_slots_has_free(&s));
	ck_assert_int_eq(cl_slots_take(&s, &slot, &seq), -E_AGAIN);
}
END_TEST

START_TEST(sequences_of_a_slot_rise)
{
	struct cl_slots s;
	uint64_t seq;
	uint32_t slot;
	cl_slots_init(&s);
	for (uint64_t i = 1; i <= 100; i++) {
		ck_assert_int_eq(cl_slots_take(&s, &slot, &seq), 0);
		ck_assert_uint_eq(slot, 0);
		ck_assert_uint_eq(seq, i);
		cl_slots_give(&s, slot);
	}
}
END_TEST

TEST_MAIN("client slots", tcase_add_test(tc, each_slot_carries_one_mutation);
	  tcase_add_test(tc, sequences_of_a_slot_rise))
