/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What answers allow: a register that operations set, and what readers may see of it. An oracle
 * that could not find a contradiction would be worth nothing, so each story has its wrong end, too.
 */
#include "tests/check_main.h"
#include "tests/sim/possible.h"

static struct possible reg;
static uint64_t now_ns;

static bool set(const struct possible_op *op, uint16_t *values)
{
	values[0] = op->args[0];
	return true;
}

static bool is_value(void *arg, const uint16_t *values)
{
	return values[0] == *(const uint16_t *)arg;
}

static void begin(void)
{
	now_ns = 0;
	possible_init(&reg, set);
}

static uint32_t set_begin(uint16_t value)
{
	const uint16_t args[6] = {value};

	return possible_begin(&reg, args);
}

static void set_now(uint16_t value)
{
	uint32_t op = set_begin(value);

	reg.ops[op].begun_ns = now_ns;
	reg.ops[op].acked_ns = ++now_ns;
	ck_assert(possible_happened(&reg, op, now_ns));
}

static bool sees(uint32_t born, uint16_t value)
{
	return possible_observed(&reg, born, is_value, &value, ++now_ns);
}

static bool sees_now(uint16_t value)
{
	return sees(possible_moment(&reg), value);
}

START_TEST(what_was_acknowledged_is_seen)
{
	begin();
	set_now(1);
	ck_assert(sees_now(1));
	ck_assert(!sees_now(0));
	possible_finish(&reg);
}
END_TEST

START_TEST(what_is_under_way_may_be_seen_but_not_unseen)
{
	begin();
	uint32_t op = set_begin(1);
	ck_assert(sees_now(0));
	ck_assert(sees_now(1));
	ck_assert(!sees_now(0));
	ck_assert(possible_happened(&reg, op, ++now_ns));
	possible_finish(&reg);
}
END_TEST

START_TEST(a_read_beside_a_write_may_see_either)
{
	begin();
	uint32_t born = possible_moment(&reg);
	set_now(1);
	ck_assert(sees(born, 0));
	ck_assert(sees(born, 1));
	ck_assert(!sees(born, 2));
	possible_finish(&reg);
}
END_TEST

START_TEST(two_writes_at_once_end_in_one_of_them)
{
	begin();
	uint32_t a = set_begin(1), b = set_begin(2);
	ck_assert(possible_happened(&reg, a, ++now_ns));
	ck_assert(possible_happened(&reg, b, ++now_ns));
	ck_assert(!sees_now(0));
	ck_assert(sees_now(2));
	ck_assert(!sees_now(1));
	possible_finish(&reg);
}
END_TEST

START_TEST(an_unknown_end_may_come_later)
{
	begin();
	possible_unknown(&reg, set_begin(1));
	set_now(2);
	ck_assert(sees_now(2));
	ck_assert(sees_now(1));
	ck_assert(!sees_now(2));
	possible_finish(&reg);
}
END_TEST

START_TEST(a_roll_back_keeps_what_is_pinned)
{
	begin();
	set_now(1);
	set_now(2);
	ck_assert_uint_gt(possible_pin(&reg, 0, now_ns), 0);
	set_now(3);
	set_now(4);
	possible_roll_back(&reg, 0, ++now_ns);
	uint16_t values[POSSIBLE_VALUES] = {1};
	ck_assert(!possible_allows(&reg, values));
	for (values[0] = 2; values[0] <= 4; values[0]++)
		ck_assert(possible_allows(&reg, values));
	possible_finish(&reg);
}
END_TEST

START_TEST(settling_forgets_the_past)
{
	begin();
	possible_unknown(&reg, set_begin(1));
	uint16_t values[POSSIBLE_VALUES] = {0};
	ck_assert(possible_allows(&reg, values));
	possible_settle(&reg, values);
	ck_assert(!sees_now(1));
	possible_finish(&reg);
}
END_TEST

TEST_MAIN("possible", {
	tcase_add_test(tc, what_was_acknowledged_is_seen);
	tcase_add_test(tc, what_is_under_way_may_be_seen_but_not_unseen);
	tcase_add_test(tc, a_read_beside_a_write_may_see_either);
	tcase_add_test(tc, two_writes_at_once_end_in_one_of_them);
	tcase_add_test(tc, an_unknown_end_may_come_later);
	tcase_add_test(tc, a_roll_back_keeps_what_is_pinned);
	tcase_add_test(tc, settling_forgets_the_past);
})
