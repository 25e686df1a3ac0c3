/* SPDX-License-Identifier: Apache-2.0 */
/* What was marked is had; the rest rarely, and not again in the next cycle. */
#include "chunk-server/mark_filter.h"

#include "tests/check_main.h"

#define BLOCKS 8192u

static struct block_id id_of(uint32_t number)
{
	struct block_id id;

	block_id_of(HASH_SHA256, &number, sizeof(number), &id);
	return id;
}

/* Mark the even ones of 2 * BLOCKS. */
static void mark_even_ones(struct cs_mark_filter *f, uint64_t room, uint64_t salt)
{
	ck_assert_int_eq(cs_mark_filter_init(f, room, salt), 0);
	for (uint32_t i = 0; i < 2 * BLOCKS; i += 2)
		cs_mark_filter_add(f, id_of(i).bytes);
}

static uint32_t mistakes(const struct cs_mark_filter *f)
{
	uint32_t count = 0;

	for (uint32_t i = 1; i < 2 * BLOCKS; i += 2) {
		struct block_id id = id_of(i);
		count += cs_mark_filter_has(f, &id);
	}
	return count;
}

START_TEST(what_was_marked_is_had)
{
	static const uint64_t rooms[] = {0, 1, BLOCKS, 100 * BLOCKS};

	for (size_t room = 0; room < ARRAY_COUNT(rooms); room++) {
		struct cs_mark_filter f = {0};

		mark_even_ones(&f, rooms[room], 7);
		for (uint32_t i = 0; i < 2 * BLOCKS; i += 2) {
			struct block_id id = id_of(i);
			ck_assert(cs_mark_filter_has(&f, &id));
		}
		cs_mark_filter_finish(&f);
	}
}
END_TEST

START_TEST(of_the_rest_hardly_any_is)
{
	struct cs_mark_filter f = {0};

	mark_even_ones(&f, BLOCKS, 7);
	ck_assert_uint_lt(mistakes(&f), 4); /* 0.5 are to be expected */
	cs_mark_filter_finish(&f);
}
END_TEST

/* More marks than there is room for, so that there are mistakes at all. */
START_TEST(another_cycle_makes_other_mistakes)
{
	struct cs_mark_filter one = {0}, other = {0};
	uint32_t both = 0;

	mark_even_ones(&one, 0, 7);
	mark_even_ones(&other, 0, 8);
	ck_assert_uint_gt(mistakes(&one), 30);
	for (uint32_t i = 1; i < 2 * BLOCKS; i += 2) {
		struct block_id id = id_of(i);
		both += cs_mark_filter_has(&one, &id) && cs_mark_filter_has(&other, &id);
	}
	ck_assert_uint_lt(both, mistakes(&one) / 4);
	cs_mark_filter_finish(&one);
	cs_mark_filter_finish(&other);
}
END_TEST

START_TEST(memory_is_bounded)
{
	struct cs_mark_filter f = {0};
	struct block_id id = id_of(1);

	ck_assert_int_eq(cs_mark_filter_init(&f, MiB(512), 7), 0); /* 4 bits each */
	ck_assert(!cs_mark_filter_has(&f, &id));
	ck_assert_int_eq(cs_mark_filter_init(&f, MiB(512) + 1, 7), -E_NOMEM);
	ck_assert_ptr_null(f.words);
	cs_mark_filter_finish(&f);
}
END_TEST

TEST_MAIN("mark_filter", tcase_add_test(tc, what_was_marked_is_had);
	  tcase_add_test(tc, of_the_rest_hardly_any_is);
	  tcase_add_test(tc, another_cycle_makes_other_mistakes);
	  tcase_add_test(tc, memory_is_bounded))
