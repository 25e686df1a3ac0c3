/* SPDX-License-Identifier: Apache-2.0 */
/* What a cache tier writes comes back as it was, and any changed byte is noticed. */
#include <string.h>

#include "fs/disk/tier_format.h"
#include "tests/check_main.h"

static const struct root root = { ROOT_NODE, 2, 0, MiB(3) + 1, 0, { { 1, 2, 3, 0xfe } } };

START_TEST(the_state_is_read_as_written)
{
	const struct tier_format_state state = { .is_clean = true, .boot_id = 0x123456789abcdef };
	uint8_t bytes[TIER_FORMAT_STATE_BYTES];
	struct tier_format_state found;

	tier_format_state_encode(&state, bytes);
	ck_assert_int_eq(tier_format_state_decode(bytes, &found), 0);
	ck_assert(found.is_clean && found.boot_id == state.boot_id);
	for (uint32_t i = 0; i < sizeof bytes; i++) {
		bytes[i] ^= 4;
		ck_assert_int_lt(tier_format_state_decode(bytes, &found), 0);
		bytes[i] ^= 4;
	}
}
END_TEST

START_TEST(a_name_says_which_content_it_is)
{
	char name[TIER_FORMAT_NAME_BYTES + 1];
	struct root found, inlined = { ROOT_INLINE, 0, 0, 9, 0, { { 0 } } };

	tier_format_name(&root, name);
	ck_assert_int_eq(tier_format_parse_name(name, &found), 0);
	ck_assert(root_equal(&found, &root));
	name[3] = 'G';
	ck_assert_int_eq(tier_format_parse_name(name, &found), -E_MALFORMED);
	name[3] = '\0';
	ck_assert_int_eq(tier_format_parse_name(name, &found), -E_MALFORMED);
	tier_format_name(&root, name);
	memcpy(name + TIER_FORMAT_NAME_BYTES - 1, "0", 2);
	ck_assert_int_eq(tier_format_parse_name(name, &found), -E_MALFORMED);
	tier_format_name(&inlined, name);
	ck_assert_int_eq(tier_format_parse_name(name, &found), -E_MALFORMED);
}
END_TEST

START_TEST(sums_are_of_one_content)
{
	const uint64_t sums[] = { 1, UINT64_MAX, 3, 4 };
	uint64_t found[4];
	struct root other = root;
	uint8_t bytes[128];

	ck_assert_uint_eq(tier_format_pieces(&root), 4);
	ck_assert_uint_eq(tier_format_sums_bytes(&root), 72 + 4 * 8 + 8);
	tier_format_sums_encode(&root, sums, bytes);
	ck_assert_int_eq(tier_format_sums_decode(bytes, 112, &root, found), 0);
	ck_assert_mem_eq(found, sums, sizeof sums);
	ck_assert_int_eq(tier_format_sums_decode(bytes, 111, &root, found), -E_MALFORMED);
	other.id.bytes[0]++;
	ck_assert_int_eq(tier_format_sums_decode(bytes, 112, &other, found), -E_MALFORMED);
	for (uint32_t i = 0; i < 112; i++) {
		bytes[i] ^= 32;
		ck_assert_int_lt(tier_format_sums_decode(bytes, 112, &root, found), 0);
		bytes[i] ^= 32;
	}
}
END_TEST

static void next_use(void *arg, struct tier_format_use *out)
{
	uint64_t *n = arg;

	*out = (struct tier_format_use){ .root = root, .uses = ++*n, .used_wall_ns = 1000 * *n };
}

static void add_use(void *arg, const struct tier_format_use *use)
{
	uint64_t *sum = arg;

	ck_assert(root_equal(&use->root, &root));
	ck_assert_uint_eq(use->used_wall_ns, 1000 * use->uses);
	*sum += use->uses;
}

START_TEST(uses_are_told_all_or_none)
{
	uint64_t n = 0, sum = 0;
	uint8_t bytes[512];
	size_t len = tier_format_index_bytes(5);

	tier_format_index_encode(5, next_use, &n, bytes);
	ck_assert_int_eq(tier_format_index_decode(bytes, len, add_use, &sum), 0);
	ck_assert_uint_eq(sum, 15);
	for (uint32_t i = 0; i < len; i++) {
		bytes[i] ^= 1;
		ck_assert_int_lt(tier_format_index_decode(bytes, len, add_use, &sum), 0);
		bytes[i] ^= 1;
	}
	ck_assert_int_lt(tier_format_index_decode(bytes, len - 1, add_use, &sum), 0);
	ck_assert_int_lt(tier_format_index_decode(bytes, 0, add_use, &sum), 0);
	ck_assert_uint_eq(sum, 15);
}
END_TEST

TEST_MAIN("tier_format", tcase_add_test(tc, the_state_is_read_as_written);
	  tcase_add_test(tc, a_name_says_which_content_it_is);
	  tcase_add_test(tc, sums_are_of_one_content);
	  tcase_add_test(tc, uses_are_told_all_or_none))
