/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The nibble codec: every kernel writes and reads what plain C does, for all words, phases and
 * lengths; rare symbols and text in front come back; malformed bytes are refused (I8); nothing is
 * written outside.
 */
#include "fs/codec/nibble_internal.h"

#include <stdlib.h>
#include <string.h>

#include "tests/check_main.h"

#define HEAD	 21u /* of an encoding, and where in it: */
#define HEAD_TOP 16u /* the last symbol */
#define HEAD_F	 17u /* plain bytes in front of the words */
#define HEAD_S	 19u /* and how many they are stored as */

static uint8_t plain[BLOCK_BYTES_MAX];
static uint8_t stored[BLOCK_BYTES_MAX];
static uint64_t seed;

static uint32_t draw(uint32_t below)
{
	seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return (uint32_t)((seed >> 33) % below);
}

/* Bytes whose last of each word, once rotated, is one of `few`, but for one in `rare`. */
static void fill_words_of(const struct codec_plan *plan, uint32_t few, uint32_t rare)
{
	for (uint32_t i = 0; i < sizeof(plain); i++)
		plain[i] = (uint8_t)draw(256);
	for (uint32_t at = plan->phase; at + plan->stride <= sizeof(plain); at += plan->stride) {
		uint8_t *last = plain + at + plan->stride - 1;
		uint8_t symbol = (uint8_t)(draw(rare) == 0 ? draw(256) : 110 + draw(few));

		*last = symbol;
		if (plan->rotate) { /* the sign is on top, the lowest bit in the byte below */
			*last = (uint8_t)(symbol >> 1 | draw(2) << 7);
			last[-1] = (uint8_t)((last[-1] & 0x7f) | (symbol & 1) << 7);
		}
	}
}

static void fill_words(const struct codec_plan *plan, uint32_t rare)
{
	fill_words_of(plan, 14, rare);
}

static const struct codec_plan plans[] = {
	{CODEC_NIBBLE, 0, 1, 0, 0, 0}, {CODEC_NIBBLE, 0, 2, 0, 0, 0}, {CODEC_NIBBLE, 0, 2, 1, 0, 0},
	{CODEC_NIBBLE, 0, 2, 0, 1, 0}, {CODEC_NIBBLE, 0, 2, 1, 1, 0}, {CODEC_NIBBLE, 0, 4, 0, 0, 0},
	{CODEC_NIBBLE, 0, 4, 3, 0, 0}, {CODEC_NIBBLE, 0, 4, 0, 1, 0}, {CODEC_NIBBLE, 0, 4, 1, 1, 0},
	{CODEC_NIBBLE, 0, 4, 2, 1, 0}, {CODEC_NIBBLE, 0, 4, 3, 1, 0},
};

/*
 * Encode and decode the first len bytes in buffers of just their lengths, so that a sanitizer sees
 * a byte beyond; every level must do the same. The stored length.
 */
static uint32_t round_trip(const struct codec_plan *plan, uint32_t len, uint32_t room)
{
	uint8_t *in = malloc(MAX_OF(len, 1u)), *out = malloc(MAX_OF(room, 1u));
	uint8_t *again = malloc(len + 1);
	const struct codec_bytes bytes = {in, len};
	uint32_t stored_len =
		nibble_encode_at(CPU_PLAIN, plan, &(struct codec_bytes){plain, len}, stored, room);

	memcpy(in, plain, len);
	ck_assert_uint_le(stored_len, room);
	for (enum cpu_level level = CPU_PLAIN; level <= cpu_level(); level++) {
		ck_assert_uint_eq(nibble_encode_at(level, plan, &bytes, out, room), stored_len);
		if (stored_len == 0)
			continue;
		uint8_t *exact = malloc(stored_len);
		const struct codec_bytes encoded = {exact, stored_len};

		ck_assert_mem_eq(out, stored, stored_len);
		memcpy(exact, stored, stored_len);
		memset(again, 0xee, len + 1);
		ck_assert_int_eq(nibble_decode_at(level, &encoded, again, len), 0);
		ck_assert_mem_eq(again, plain, len);
		ck_assert_uint_eq(again[len], 0xee);
		free(exact);
	}
	free(in);
	free(out);
	free(again);
	return stored_len;
}

START_TEST(weights_take_half_a_byte_less_a_word)
{
	struct codec_plan plan = plans[_i];

	fill_words(&plan, 4096);
	uint32_t len = round_trip(&plan, BLOCK_BYTES_MAX, BLOCK_BYTES_MAX);
	uint32_t words = (BLOCK_BYTES_MAX - plan.phase) / plan.stride;
	ck_assert_uint_ge(len, BLOCK_BYTES_MAX - words / 2 + HEAD);
	ck_assert_uint_le(len, BLOCK_BYTES_MAX - words / 2 + HEAD + words / 2048 + 16);
}
END_TEST

START_TEST(every_length_comes_back)
{
	struct codec_plan plan = plans[_i];

	fill_words(&plan, 40);
	for (uint32_t len = 1; len <= 700; len++)
		(void)round_trip(&plan, len, len + 200);
	for (uint32_t len = BLOCK_BYTES_MAX - 9; len <= BLOCK_BYTES_MAX; len++)
		ck_assert_uint_gt(round_trip(&plan, len, BLOCK_BYTES_MAX), 0);
}
END_TEST

START_TEST(what_has_no_room_is_not_encoded)
{
	struct codec_plan plan = plans[_i];

	fill_words(&plan, 50);
	uint32_t len = round_trip(&plan, 9000, sizeof(stored));
	ck_assert_uint_eq(round_trip(&plan, 9000, len), len);
	for (uint32_t room = len - 1; room + 300 > len; room -= 7)
		ck_assert_uint_eq(round_trip(&plan, 9000, room), 0);
	fill_words(&plan, 1); /* all symbols alike frequent */
	ck_assert_uint_eq(round_trip(&plan, BLOCK_BYTES_MAX, BLOCK_BYTES_MAX), 0);
}
END_TEST

START_TEST(few_symbols_and_all_zeros_come_back)
{
	struct codec_plan plan = plans[_i];

	memset(plain, 0, sizeof(plain));
	(void)round_trip(&plan, BLOCK_BYTES_MAX, BLOCK_BYTES_MAX);
	for (uint32_t i = 0; i < sizeof(plain); i++)
		plain[i] = (uint8_t)(0xfe + draw(2));
	(void)round_trip(&plan, 5001, BLOCK_BYTES_MAX);
}
END_TEST

START_TEST(sixteen_symbols_need_no_escape)
{
	struct codec_plan plan = plans[_i];
	uint32_t words = 20000 / plan.stride, phase = plan.phase;

	fill_words_of(&plan, 16, UINT32_MAX);
	uint32_t len = round_trip(&plan, 20000 + phase, BLOCK_BYTES_MAX);
	ck_assert_uint_eq(len, 20000 + phase - words / 2 + HEAD);
	/* One more symbol, where the sample may not see it. */
	for (uint32_t i = 0; i < 400; i++) {
		uint32_t at = phase + (draw(words) + 1) * plan.stride - 1;
		uint8_t was = plain[at];

		plain[at] = 0x7e;
		uint32_t with = round_trip(&plan, 20000 + phase, BLOCK_BYTES_MAX);
		ck_assert_uint_gt(with, len);
		ck_assert_uint_lt(with, len + words / 10);
		plain[at] = was;
	}
}
END_TEST

static int decode_as(uint32_t stored_len, uint32_t len)
{
	/* Of their own lengths, so that a sanitizer sees what lies beyond. */
	uint8_t *copy = malloc(MAX_OF(stored_len, 1u)), *out = malloc(MAX_OF(len, 1u));
	const struct codec_bytes bytes = {copy, stored_len};

	memcpy(copy, stored, stored_len);
	int rc = nibble_decode_at(CPU_PLAIN, &bytes, out, len);
	for (enum cpu_level level = CPU_AVX2; level <= cpu_level(); level++)
		ck_assert_int_eq(nibble_decode_at(level, &bytes, out, len), rc);
	free(copy);
	free(out);
	return rc;
}

START_TEST(malformed_bytes_are_refused)
{
	const struct codec_plan plan = {CODEC_NIBBLE, 0, 2, 1, 1, 0};

	fill_words(&plan, 100);
	uint32_t len = round_trip(&plan, 4000, sizeof(stored));
	ck_assert_int_eq(decode_as(len, 4000), 0);
	ck_assert_int_eq(decode_as(len - 1, 4000), -E_MALFORMED); /* an escape less, one more */
	ck_assert_int_eq(decode_as(len + 1, 4000), -E_MALFORMED);
	for (uint32_t short_len = 0; short_len < HEAD + 4; short_len++)
		ck_assert_int_eq(decode_as(short_len, 4000), -E_MALFORMED);
	ck_assert_int_eq(decode_as(len, 3998), -E_MALFORMED);
	for (unsigned form = 0; form < 256; form++) {
		stored[0] = (uint8_t)form;
		if ((form & 3) == 3 || form >= 0x10 || (form & 7) == 4)
			ck_assert_int_eq(decode_as(len, 4000), -E_MALFORMED);
	}
	stored[0] = 1 | 4;
	ck_assert_int_eq(decode_as(len, 4000), 0);
	stored[HEAD_TOP] = 1; /* a sixteenth symbol, and escapes */
	ck_assert_int_eq(decode_as(len, 4000), -E_MALFORMED);
	stored[0] |= 8; /* sixteen symbols, and something behind */
	ck_assert_int_eq(decode_as(len, 4000), -E_MALFORMED);
	ck_assert_int_eq(decode_as(HEAD + 2 + 1999 + 1000, 4000), 0);
	stored[HEAD_S] = 2; /* more than there are */
	ck_assert_int_eq(decode_as(HEAD + 3 + 1999 + 1000, 4000), -E_MALFORMED);
}
END_TEST

/* Text in front of the words, and in front of it its length. */
static void put_front(uint32_t bytes)
{
	static const char text[] = "\"model.layers.17.self_attn.weight\":{\"dtype\":\"BF16\"}, ";

	for (uint32_t i = 0; i < bytes; i++)
		plain[i] = (uint8_t)text[i % (sizeof(text) - 1)];
	memset(plain, 0, MIN_OF(bytes, 8u));
}

START_TEST(text_in_front_of_the_words_takes_few_bytes)
{
	struct codec_plan plan = plans[_i];
	uint32_t last = 0;

	for (plan.front = 1; plan.front < 30000; plan.front = (uint16_t)(3 * plan.front + 1)) {
		fill_words(&plan, 4096);
		put_front(plan.front);
		uint32_t len = round_trip(&plan, 40000, BLOCK_BYTES_MAX);
		uint32_t words = (40000u - plan.front) / plan.stride;
		ck_assert_uint_le(len, HEAD + 300 + 40000 - plan.front - words / 2 + words / 1000);
		last = len;
	}
	/* Noise is kept as it is. */
	for (uint32_t i = 0; i < sizeof(plain); i++)
		plain[i] = (uint8_t)draw(i < plan.front ? 256 : 4);
	ck_assert_uint_gt(round_trip(&plan, 40000, BLOCK_BYTES_MAX), last);
	/* Nothing but text: there is no word. */
	put_front(40000);
	plan.front = 40000;
	plan.phase = 0;
	ck_assert_uint_lt(round_trip(&plan, 40000, BLOCK_BYTES_MAX), 600);
	for (uint32_t room = 1; room < 600; room++)
		(void)round_trip(&plan, 40000, room);
}
END_TEST

START_TEST(a_malformed_front_is_refused)
{
	struct codec_plan plan = {CODEC_NIBBLE, 0, 2, 0, 1, 1000};

	fill_words(&plan, 4096);
	put_front(1000);
	uint32_t len = round_trip(&plan, 4000, sizeof(stored));
	ck_assert_int_eq(decode_as(len, 4000), 0);
	ck_assert_int_eq(decode_as(len, 998), -E_MALFORMED); /* less than what is in front */
	stored[HEAD_F] ^= 1;				     /* lz4 says another length */
	ck_assert_int_eq(decode_as(len, 4000), -E_MALFORMED);
	stored[HEAD_F] ^= 1;
	stored[HEAD_S] ^= 1;
	ck_assert_int_eq(decode_as(len, 4000), -E_MALFORMED);
	stored[HEAD_S] ^= 1;
	stored[HEAD] ^= 0xff; /* an lz4 token */
	ck_assert_int_eq(decode_as(len, 4000), -E_MALFORMED);
}
END_TEST

START_TEST(any_bytes_are_decoded_within_bounds_or_refused)
{
	const struct codec_plan plan = {CODEC_NIBBLE, 0, 4, 2, 1, 300};

	fill_words(&plan, 100);
	put_front(plan.front);
	uint32_t len = round_trip(&plan, 3000, sizeof(stored));
	for (unsigned i = 0; i < 20000; i++) {
		uint32_t at = draw(len);
		uint8_t was = stored[at];

		stored[at] ^= (uint8_t)(1u << draw(8));
		int rc = decode_as(draw(20) ? len : draw(len), draw(20) ? 3000 : draw(6000));
		ck_assert(rc == 0 || rc == -E_MALFORMED);
		stored[at] = was;
	}
}
END_TEST

TEST_MAIN("nibble",
	  tcase_add_loop_test(tc, weights_take_half_a_byte_less_a_word, 0, ARRAY_COUNT(plans));
	  tcase_add_loop_test(tc, every_length_comes_back, 0, ARRAY_COUNT(plans));
	  tcase_add_loop_test(tc, what_has_no_room_is_not_encoded, 0, ARRAY_COUNT(plans));
	  tcase_add_loop_test(tc, few_symbols_and_all_zeros_come_back, 0, ARRAY_COUNT(plans));
	  tcase_add_loop_test(tc, sixteen_symbols_need_no_escape, 0, ARRAY_COUNT(plans));
	  tcase_add_loop_test(tc, text_in_front_of_the_words_takes_few_bytes, 0,
			      ARRAY_COUNT(plans));
	  tcase_add_test(tc, malformed_bytes_are_refused);
	  tcase_add_test(tc, a_malformed_front_is_refused);
	  tcase_add_test(tc, any_bytes_are_decoded_within_bounds_or_refused))
