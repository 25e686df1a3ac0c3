/* SPDX-License-Identifier: Apache-2.0 */
/* Roots: what was encoded is decoded, and only roots that agree with themselves are. */
#include <string.h>

#include "fs/tree/root.h"
#include "tests/check_main.h"

static const struct block_id some_id = { .bytes = { 1, 2, 3 } };

static int round_trip(struct root root)
{
	uint8_t bytes[ROOT_BYTES];
	struct root out;

	root_encode(&root, bytes);
	int rc = root_decode(bytes, &out);
	if (rc == 0)
		ck_assert(root_equal(&root, &out));
	return rc;
}

START_TEST(sound_roots_survive)
{
	ck_assert_int_eq(round_trip((struct root){ .kind = ROOT_EMPTY }), 0);
	ck_assert_int_eq(round_trip((struct root){ .kind = ROOT_INLINE, .length = 5 }), 0);
	ck_assert_int_eq(round_trip((struct root){ .kind = ROOT_BLOCK, .length = BLOCK_BYTES_MAX,
						   .id = some_id }), 0);
	ck_assert_int_eq(round_trip((struct root){ .kind = ROOT_NODE, .depth = MANIFEST_DEPTH_MAX,
						   .length = FILE_BYTES_MAX, .id = some_id }), 0);
	ck_assert_int_eq(round_trip((struct root){ .kind = ROOT_NODE, .depth = 1, .length = 9,
						   .data = 9, .id = some_id }), 0);
	ck_assert_int_eq(round_trip((struct root){ .kind = ROOT_NODE, .depth = 1, .cutter = 255,
						   .length = 9, .id = some_id }), 0);
}
END_TEST

START_TEST(roots_that_disagree_are_refused)
{
	static const struct root wrong[] = {
		{ .kind = ROOT_EMPTY, .length = 1 },
		{ .kind = ROOT_EMPTY, .id = { .bytes = { 1 } } },
		{ .kind = ROOT_INLINE },
		{ .kind = ROOT_INLINE, .length = INLINE_BYTES_MAX + 1 },
		{ .kind = ROOT_INLINE, .length = 1, .id = { .bytes = { 1 } } },
		{ .kind = ROOT_BLOCK, .length = 1 },
		{ .kind = ROOT_BLOCK, .length = BLOCK_BYTES_MAX + 1, .id = { .bytes = { 1 } } },
		{ .kind = ROOT_BLOCK, .length = 1, .depth = 1, .id = { .bytes = { 1 } } },
		{ .kind = ROOT_NODE, .length = 1, .depth = 0, .id = { .bytes = { 1 } } },
		{ .kind = ROOT_NODE, .length = 1, .depth = 7, .id = { .bytes = { 1 } } },
		{ .kind = ROOT_NODE, .length = FILE_BYTES_MAX + 1, .depth = 1,
		  .id = { .bytes = { 1 } } },
		{ .kind = ROOT_NODE, .length = 5, .data = 6, .depth = 1, .id = { .bytes = { 1 } } },
		{ .kind = ROOT_BLOCK, .length = 5, .data = 5, .id = { .bytes = { 1 } } },
		{ .kind = ROOT_INLINE, .length = 5, .data = 5 },
		{ .kind = ROOT_INLINE, .length = 5, .cutter = 1 },
		{ .kind = ROOT_BLOCK, .length = 5, .cutter = 1, .id = { .bytes = { 1 } } },
		{ .kind = (enum root_kind)4, .length = 1, .id = { .bytes = { 1 } } },
	};

	for (size_t i = 0; i < ARRAY_COUNT(wrong); i++)
		ck_assert_msg(round_trip(wrong[i]) == -E_MALFORMED, "root %zu was taken", i);
}
END_TEST

START_TEST(reserved_bytes_are_checked)
{
	uint8_t bytes[ROOT_BYTES] = { ROOT_EMPTY };
	struct root out;

	ck_assert_int_eq(root_decode(bytes, &out), 0);
	for (int i = 2; i < 8; i++)	/* the cutter too: nothing was cut */ {
		bytes[i] = 1;
		ck_assert_int_eq(root_decode(bytes, &out), -E_MALFORMED);
		bytes[i] = 0;
	}
}
END_TEST

START_TEST(a_recut_has_the_length_and_the_data)
{
	struct root a = { .kind = ROOT_NODE, .depth = 1, .length = 9, .data = 8, .id = some_id };
	struct root b = a;

	b.cutter = 1;
	b.depth = 2;
	b.id.bytes[9] = 9;
	ck_assert(!root_equal(&a, &b));
	ck_assert(root_is_recut(&a, &b));
	b.data = 9;
	ck_assert(!root_is_recut(&a, &b));
	b = a;
	b.length = 10;
	ck_assert(!root_is_recut(&a, &b));
	ck_assert(!root_is_recut(&(struct root){ .kind = ROOT_EMPTY }, &a));
}
END_TEST

TEST_MAIN("root", tcase_add_test(tc, sound_roots_survive);
	  tcase_add_test(tc, roots_that_disagree_are_refused);
	  tcase_add_test(tc, reserved_bytes_are_checked);
	  tcase_add_test(tc, a_recut_has_the_length_and_the_data))
