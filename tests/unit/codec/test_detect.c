/* SPDX-License-Identifier: Apache-2.0 */
/* The detector: what it says of weights of each kind and phase, of tables, text and noise. */
#include "fs/codec/detect.h"

#include <string.h>

#include "tests/check_main.h"

#define FRONT 16u /* room for phases and a bit more */

static uint8_t block[BLOCK_BYTES_MAX + FRONT];
static uint64_t seed;

static void setup(void)
{
	seed = 7;
}

static uint32_t draw(uint32_t below)
{
	seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return (uint32_t)((seed >> 33) % below);
}

/* About normal, as weights are. */
static float weight(void)
{
	float sum = 0;

	for (unsigned i = 0; i < 12; i++)
		sum += (float)draw(1u << 20) / (float)(1u << 20) - 0.5f;
	return sum * 0.04f;
}

static uint32_t bits_of(float value)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits;
}

/* Words of `bytes` from `phase` on, each the low bytes of what next() says. */
static void fill(unsigned phase, unsigned bytes, uint64_t (*next)(void))
{
	for (size_t i = 0; i < sizeof(block); i++)
		block[i] = (uint8_t)draw(256);
	for (size_t at = phase; at + bytes <= sizeof(block); at += bytes) {
		uint64_t word = next();

		for (unsigned i = 0; i < bytes; i++)
			block[at + i] = (uint8_t)(word >> 8 * i);
	}
}

static uint64_t next_fp32(void)
{
	return bits_of(weight());
}

static uint64_t next_bf16(void)
{
	return bits_of(weight()) >> 16;
}

static uint64_t next_fp16(void) /* normal numbers only, cut off */
{
	uint32_t bits = bits_of(weight());
	uint32_t exponent = MAX_OF(bits >> 23 & 0xff, 113u) - 112;

	return (bits >> 16 & 0x8000) | exponent << 10 | (bits >> 13 & 0x3ff);
}

static uint64_t next_fp64(void)
{
	double value = weight() * 1.0000001;
	uint64_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits | draw(1u << 24);
}

static uint64_t next_int8(void)
{
	return (uint8_t)(int)(weight() * 400);
}

static uint64_t next_index16(void)
{
	return (uint16_t)(draw(4000) - 2000);
}

static uint64_t next_index32(void)
{
	return draw(30000);
}

static uint64_t next_sparse(void)
{
	return draw(10) ? 0 : bits_of(weight());
}

static uint64_t next_zero(void)
{
	return 0;
}

static uint64_t next_noise(void)
{
	return draw(256);
}

static uint64_t next_row(void) /* noise that comes again */
{
	static uint32_t at;
	static uint8_t row[200];

	if (at == 0)
		for (size_t i = 0; i < sizeof(row); i++)
			row[i] = (uint8_t)draw(256);
	return row[at++ % sizeof(row)];
}

static void fill_text(void)
{
	static const char *const words[] = {"\"layers.", "weight\": ", "attention.", "0.1", "[",
					    "37", "], ", "bias\": ", "token", "\n\t", "{", "}, "};
	size_t at = 0;

	while (at < sizeof(block)) {
		const char *word = words[draw(ARRAY_COUNT(words))];
		size_t len = MIN_OF(strlen(word), sizeof(block) - at);

		memcpy(block + at, word, len);
		at += len;
		if (at < sizeof(block))
			block[at++] = (uint8_t)('0' + draw(40));
	}
}

static struct codec_plan plan_of(enum codec_aim aim, uint32_t len)
{
	const struct codec_bytes bytes = {block, len};
	struct codec_plan plan;

	memset(&plan, 0xee, sizeof(plan));
	codec_detect(aim, &bytes, NULL, &plan);
	return plan;
}

/* Rotated or not: for planes that is nearly the same. */
static void check_words(enum codec_aim aim, enum codec codec, uint8_t stride, uint8_t phase)
{
	struct codec_plan found = plan_of(aim, BLOCK_BYTES_MAX);

	ck_assert_str_eq(codec_name(found.codec), codec_name(codec));
	ck_assert_uint_eq(found.stride, stride);
	ck_assert_uint_eq(found.phase, phase);
}

static void check_plan(enum codec_aim aim, struct codec_plan want)
{
	struct codec_plan found = plan_of(aim, BLOCK_BYTES_MAX);

	ck_assert_str_eq(codec_name(found.codec), codec_name(want.codec));
	ck_assert_uint_eq(found.stride, want.stride);
	ck_assert_uint_eq(found.phase, want.phase);
	ck_assert_uint_eq(found.rotate, want.rotate);
	ck_assert_uint_eq(found.front, want.front);
}

START_TEST(floats_are_seen_at_every_phase)
{
	for (uint8_t phase = 0; phase < 4; phase++) {
		fill(phase, 4, next_fp32);
		check_plan(CODEC_AIM_FAST, (struct codec_plan){CODEC_NIBBLE, 0, 4, phase, 1, 0});
		check_plan(CODEC_AIM_NIBBLE, (struct codec_plan){CODEC_NIBBLE, 0, 4, phase, 1, 0});
		check_words(CODEC_AIM_SMALL, CODEC_PLANES, 4, phase);
		check_words(CODEC_AIM_PLANES, CODEC_PLANES, 4, phase);
	}
	for (uint8_t phase = 0; phase < 2; phase++) {
		fill(phase, 2, next_bf16);
		check_plan(CODEC_AIM_FAST, (struct codec_plan){CODEC_NIBBLE, 0, 2, phase, 1, 0});
		check_words(CODEC_AIM_SMALL, CODEC_PLANES, 2, phase);
	}
}
END_TEST

START_TEST(fp16_and_int8_have_no_nibble_but_planes)
{
	fill(0, 2, next_fp16);
	ck_assert_int_eq(plan_of(CODEC_AIM_FAST, BLOCK_BYTES_MAX).codec, CODEC_RAW);
	ck_assert_int_eq(plan_of(CODEC_AIM_SMALL, BLOCK_BYTES_MAX).codec, CODEC_PLANES);
	ck_assert_uint_eq(plan_of(CODEC_AIM_SMALL, BLOCK_BYTES_MAX).stride, 2);
	fill(0, 1, next_int8);
	ck_assert_int_eq(plan_of(CODEC_AIM_FAST, BLOCK_BYTES_MAX).codec, CODEC_RAW);
	check_plan(CODEC_AIM_SMALL, (struct codec_plan){CODEC_PLANES, 0, 1, 0, 0, 0});
}
END_TEST

START_TEST(tables_of_numbers_are_seen)
{
	fill(0, 2, next_index16); /* their last byte is one of sixteen unless it is rotated */
	ck_assert_int_eq(plan_of(CODEC_AIM_SMALL, BLOCK_BYTES_MAX).codec, CODEC_PLANES);
	fill(0, 4, next_index32);
	ck_assert_int_eq(plan_of(CODEC_AIM_FAST, BLOCK_BYTES_MAX).codec, CODEC_NIBBLE);
	ck_assert_int_eq(plan_of(CODEC_AIM_SMALL, BLOCK_BYTES_MAX).codec, CODEC_PLANES);
	fill(0, 8, next_fp64);
	ck_assert_int_eq(plan_of(CODEC_AIM_SMALL, BLOCK_BYTES_MAX).codec, CODEC_PLANES);
	ck_assert_int_eq(plan_of(CODEC_AIM_FAST, BLOCK_BYTES_MAX).codec, CODEC_RAW);
}
END_TEST

START_TEST(what_comes_again_is_for_lz4_and_zstd)
{
	fill_text();
	ck_assert_int_eq(plan_of(CODEC_AIM_FAST, BLOCK_BYTES_MAX).codec, CODEC_LZ4);
	ck_assert_int_eq(plan_of(CODEC_AIM_SMALL, BLOCK_BYTES_MAX).codec, CODEC_ZSTD);
	fill(0, 1, next_row);
	ck_assert_int_eq(plan_of(CODEC_AIM_FAST, BLOCK_BYTES_MAX).codec, CODEC_LZ4);
	ck_assert_int_eq(plan_of(CODEC_AIM_SMALL, BLOCK_BYTES_MAX).codec, CODEC_ZSTD);
	fill(0, 4, next_sparse);
	ck_assert_int_eq(plan_of(CODEC_AIM_FAST, BLOCK_BYTES_MAX).codec, CODEC_LZ4);
	fill(0, 4, next_zero);
	ck_assert_int_eq(plan_of(CODEC_AIM_FAST, BLOCK_BYTES_MAX).codec, CODEC_LZ4);
	ck_assert_int_ne(plan_of(CODEC_AIM_SMALL, BLOCK_BYTES_MAX).codec, CODEC_RAW);
}
END_TEST

/* As a file of weights begins: a length, a header in text, tensors. */
static void fill_model(uint32_t front, unsigned bytes, uint64_t (*next)(void))
{
	static uint8_t words[sizeof(block)];

	fill(front % bytes, bytes, next);
	memcpy(words, block, sizeof(block));
	fill_text();
	memset(block, 0x80, 8);
	memcpy(block + front, words + front, sizeof(block) - front);
	block[front] = 0x80; /* no text */
}

START_TEST(words_are_seen_behind_text)
{
	for (uint32_t front = 300; front < 60000; front += front / 2) {
		struct codec_plan want = {CODEC_NIBBLE, 0, 2, front % 2, 1,
					  (uint16_t)(front / 4 * 4)};

		fill_model(front, 2, next_bf16);
		check_plan(CODEC_AIM_FAST, want);
		check_plan(CODEC_AIM_NIBBLE, want);
		want.stride = 4;
		want.phase = front % 4;
		fill_model(front, 4, next_fp32);
		check_plan(CODEC_AIM_FAST, want);
		fill_model(front, 4, next_zero);
		check_plan(CODEC_AIM_FAST, (struct codec_plan){.codec = CODEC_LZ4});
	}
}
END_TEST

START_TEST(text_in_front_is_not_the_next_ones)
{
	const struct codec_bytes bytes = {block, BLOCK_BYTES_MAX};
	struct codec_plan previous = {CODEC_NIBBLE, 0, 2, 1, 1, 4000}, plan;

	fill(1, 2, next_bf16);
	codec_detect(CODEC_AIM_FAST, &bytes, &previous, &plan);
	ck_assert_uint_eq(plan.phase, 1);
	ck_assert_uint_eq(plan.front, 0);
}
END_TEST

START_TEST(noise_is_left_raw)
{
	for (unsigned i = 0; i < 200; i++) {
		fill(0, 1, next_noise);
		ck_assert_int_eq(plan_of(CODEC_AIM_FAST, BLOCK_BYTES_MAX).codec, CODEC_RAW);
		ck_assert_int_eq(plan_of(CODEC_AIM_SMALL, BLOCK_BYTES_MAX).codec, CODEC_RAW);
		ck_assert_int_eq(plan_of(CODEC_AIM_NIBBLE, BLOCK_BYTES_MAX).codec, CODEC_RAW);
		ck_assert_int_eq(plan_of(CODEC_AIM_PLANES, BLOCK_BYTES_MAX).codec, CODEC_RAW);
	}
}
END_TEST

START_TEST(a_fixed_aim_is_followed)
{
	fill(0, 1, next_noise);
	check_plan(CODEC_AIM_RAW, (struct codec_plan){.codec = CODEC_RAW});
	check_plan(CODEC_AIM_LZ4, (struct codec_plan){.codec = CODEC_LZ4});
	check_plan(CODEC_AIM_ZSTD, (struct codec_plan){.codec = CODEC_ZSTD});
}
END_TEST

START_TEST(another_plan_before_does_not_mislead)
{
	const struct codec_bytes bytes = {block, BLOCK_BYTES_MAX};
	struct codec_plan previous = {CODEC_NIBBLE, 0, 4, 3, 1, 0}, plan;

	fill(0, 2, next_bf16);
	codec_detect(CODEC_AIM_FAST, &bytes, &previous, &plan);
	ck_assert_uint_eq(plan.stride, 2);
	fill(1, 4, next_fp32);
	previous = plan;
	codec_detect(CODEC_AIM_FAST, &bytes, &previous, &plan);
	ck_assert_uint_eq(plan.stride, 4);
	ck_assert_uint_eq(plan.phase, 1);
	fill(0, 1, next_noise);
	previous = plan;
	codec_detect(CODEC_AIM_FAST, &bytes, &previous, &plan);
	ck_assert_int_eq(plan.codec, CODEC_RAW);
}
END_TEST

/* Whatever it says: it is never larger, and what is not raw comes back. */
START_TEST(every_plan_of_every_length_works)
{
	static uint64_t (*const kinds[])(void) = {next_fp32, next_bf16, next_int8, next_noise,
						  next_zero, next_sparse};
	static uint8_t stored[BLOCK_BYTES_MAX], again[BLOCK_BYTES_MAX];
	struct codec_scratch *scratch = codec_scratch_create();

	ck_assert_ptr_nonnull(scratch);
	for (size_t kind = 0; kind < ARRAY_COUNT(kinds); kind++) {
		fill(kind == 1 ? 1 : 2, kind == 1 ? 2 : 4, kinds[kind]);
		for (uint32_t len = 1; len < 4000; len += 1 + len / 9) {
			const struct codec_bytes bytes = {block, len};

			for (enum codec_aim aim = 0; aim < CODEC_AIM_COUNT; aim++) {
				struct codec_plan plan = plan_of(aim, len);
				uint32_t stored_len = codec_shrink(scratch, &plan, &bytes, stored);

				ck_assert_uint_lt(stored_len, len);
				if (stored_len == 0)
					continue;
				ck_assert_int_eq(codec_decode(scratch, plan.codec, stored,
							      stored_len, again, len), 0);
				ck_assert_mem_eq(again, block, len);
			}
		}
	}
	codec_scratch_destroy(scratch);
}
END_TEST

TEST_MAIN("detect",
	  tcase_add_checked_fixture(tc, setup, NULL);
	  tcase_add_test(tc, floats_are_seen_at_every_phase);
	  tcase_add_test(tc, fp16_and_int8_have_no_nibble_but_planes);
	  tcase_add_test(tc, tables_of_numbers_are_seen);
	  tcase_add_test(tc, what_comes_again_is_for_lz4_and_zstd);
	  tcase_add_test(tc, words_are_seen_behind_text);
	  tcase_add_test(tc, text_in_front_is_not_the_next_ones);
	  tcase_add_test(tc, noise_is_left_raw);
	  tcase_add_test(tc, a_fixed_aim_is_followed);
	  tcase_add_test(tc, another_plan_before_does_not_mislead);
	  tcase_add_test(tc, every_plan_of_every_length_works))
