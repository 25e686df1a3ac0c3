/* SPDX-License-Identifier: Apache-2.0 */
/* Byte ranges with a mode, beside an array that has a mode for each byte. */
#include "fs/base/ranges.h"

#include <stdlib.h>
#include <string.h>

#include "tests/check_main.h"

#define BYTES 48u

static uint64_t next_random(uint64_t *seed)
{
	*seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return *seed >> 33;
}

/* Sorted, apart, and no two neighbours of one mode; the same as the array says. */
static void assert_same(const struct ranges *set, const uint8_t model[BYTES])
{
	uint8_t seen[BYTES] = { 0 };
	const struct range *r, *last = NULL;
	uint32_t count = 0;

	for (r = set->first; r; r = r->next) {
		ck_assert(!last || last->end < r->start);
		ck_assert(!last || last->end + 1 < r->start || last->mode != r->mode);
		ck_assert_uint_le(r->end, BYTES - 1);
		memset(seen + r->start, (int)r->mode, r->end - r->start + 1);
		last = r;
		count++;
	}
	ck_assert_uint_eq(count, set->count);
	ck_assert_mem_eq(seen, model, BYTES);
}

static uint32_t pieces(const uint8_t model[BYTES])
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < BYTES; i++)
		count += model[i] && (i == 0 || model[i - 1] != model[i]);
	return count;
}

START_TEST(any_sequence_is_what_an_array_of_bytes_says)
{
	struct ranges set = { 0 };
	uint8_t model[BYTES] = { 0 };
	uint64_t seed = 7;

	for (int i = 0; i < 20000; i++) {
		uint64_t start = next_random(&seed) % BYTES;
		uint64_t end = start + next_random(&seed) % (BYTES - start);
		enum range_mode mode = (enum range_mode)(next_random(&seed) % 3);
		uint8_t without[BYTES];

		memcpy(without, model, BYTES);
		memset(without + start, 0, end - start + 1);
		ck_assert(ranges_would_split(&set, start, end) ==
			  (pieces(without) > pieces(model)));
		ck_assert_int_eq(ranges_set(&set, start, end, mode), 0);
		memset(model + start, (int)mode, end - start + 1);
		assert_same(&set, model);
	}
	ranges_clear(&set);
	ck_assert_uint_eq(set.count, 0);
}
END_TEST

START_TEST(conflicts_are_found_where_a_byte_is_shared)
{
	struct ranges set = { 0 };

	ck_assert_int_eq(ranges_set(&set, 10, 19, RANGE_READ), 0);
	ck_assert_int_eq(ranges_set(&set, 30, RANGE_END, RANGE_WRITE), 0);
	ck_assert(!ranges_conflict(&set, 0, 9, RANGE_WRITE));
	ck_assert(ranges_conflict(&set, 0, 10, RANGE_WRITE));
	ck_assert(!ranges_conflict(&set, 0, 29, RANGE_READ));
	ck_assert(ranges_conflict(&set, 0, 30, RANGE_READ)->start == 30);
	ck_assert(ranges_conflict(&set, RANGE_END, RANGE_END, RANGE_READ));
	ck_assert(!ranges_conflict(&set, 0, RANGE_END, RANGE_NONE));
	ranges_clear(&set);
}
END_TEST

START_TEST(the_end_of_all_files_does_not_overflow)
{
	struct ranges set = { 0 };

	ck_assert_int_eq(ranges_set(&set, 0, RANGE_END, RANGE_WRITE), 0);
	ck_assert_int_eq(ranges_set(&set, 5, RANGE_END, RANGE_NONE), 0);
	ck_assert_int_eq(ranges_set(&set, RANGE_END, RANGE_END, RANGE_WRITE), 0);
	ck_assert_int_eq(ranges_set(&set, 0, RANGE_END - 1, RANGE_WRITE), 0);
	ck_assert_uint_eq(set.count, 1);
	ck_assert(set.first->end == RANGE_END);
	ck_assert(!range_is_valid(1, 0));
	ck_assert(!range_is_valid(0, RANGE_END + 1));
	ranges_clear(&set);
}
END_TEST

TEST_MAIN("ranges",
	  tcase_add_test(tc, any_sequence_is_what_an_array_of_bytes_says);
	  tcase_add_test(tc, conflicts_are_found_where_a_byte_is_shared);
	  tcase_add_test(tc, the_end_of_all_files_does_not_overflow))
