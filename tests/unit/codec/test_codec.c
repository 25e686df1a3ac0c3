/* SPDX-License-Identifier: Apache-2.0 */
/* Every codec gives back what it was given, never grows, and rejects what is not its own (I8). */
#include "fs/codec/codec.h"

#include <string.h>

#include "tests/check_main.h"

static uint8_t plain[BLOCK_BYTES_MAX];
static uint8_t stored[BLOCK_BYTES_MAX];
static uint8_t again[BLOCK_BYTES_MAX];
static struct codec_scratch *scratch;

static void setup(void)
{
	scratch = codec_scratch_create();
	ck_assert_ptr_nonnull(scratch);
}

static void teardown(void)
{
	codec_scratch_destroy(scratch);
}

static void fill_text(void)
{
	for (size_t i = 0; i < sizeof(plain); i++)
		plain[i] = (uint8_t)("layers.0.weight "[i % 16] + (char)(i / 4096));
}

static void fill_noise(void)
{
	uint64_t x = 42;

	for (size_t i = 0; i < sizeof(plain); i++) {
		x = x * UINT64_C(6364136223846793005) + 1442695040888963407u;
		plain[i] = (uint8_t)(x >> 56);
	}
}

/* What encoding came to. */
struct result {
	enum codec codec; /* CODEC_RAW when the asked one did not shrink the block */
	uint32_t len;
};

/* The first len bytes as the detector would have them, at a level of zstd. */
static struct result encode_at(enum codec want, uint8_t level, uint32_t len)
{
	const struct codec_bytes bytes = {plain, len};
	struct codec_plan plan;

	codec_detect(codec_aim_of(want), &bytes, NULL, &plan);
	ck_assert(plan.codec == want || plan.codec == CODEC_RAW);
	if (plan.codec == CODEC_ZSTD)
		plan.param = level;
	uint32_t stored_len = codec_shrink(scratch, &plan, &bytes, stored);
	if (stored_len)
		return (struct result){plan.codec, stored_len};
	memcpy(stored, plain, len);
	return (struct result){CODEC_RAW, len};
}

static struct result round_trip(enum codec want, uint32_t len)
{
	struct result result = encode_at(want, 0, len);

	memset(again, 0xee, sizeof(again));
	ck_assert_uint_ge(result.len, 1);
	ck_assert_uint_le(result.len, len);
	ck_assert_int_eq(codec_decode(scratch, result.codec, stored, result.len, again, len), 0);
	ck_assert_mem_eq(plain, again, len);
	return result;
}

START_TEST(what_shrinks_is_stored_shrunk)
{
	fill_text();
	for (enum codec want = CODEC_LZ4; want <= CODEC_ZSTD; want++) {
		struct result result = round_trip(want, BLOCK_BYTES_MAX);
		ck_assert_int_eq(result.codec, want);
		ck_assert_uint_lt(result.len, BLOCK_BYTES_MAX / 4);
	}
	ck_assert_int_eq(round_trip(CODEC_RAW, BLOCK_BYTES_MAX).codec, CODEC_RAW);
}
END_TEST

START_TEST(what_does_not_shrink_is_stored_raw)
{
	fill_noise();
	for (enum codec want = CODEC_RAW; want <= CODEC_ZSTD; want++) {
		struct result result = round_trip(want, BLOCK_BYTES_MAX);
		ck_assert_int_eq(result.codec, CODEC_RAW);
		ck_assert_uint_eq(result.len, BLOCK_BYTES_MAX);
	}
}
END_TEST

START_TEST(every_small_length_comes_back)
{
	fill_text();
	for (enum codec want = CODEC_RAW; want <= CODEC_ZSTD; want++)
		for (uint32_t len = 1; len <= 300; len++)
			(void)round_trip(want, len);
}
END_TEST

START_TEST(a_saving_below_a_sixteenth_is_not_taken)
{
	/* Noise with zeros at the end: about 4,000 bytes to save is less than 65,536 / 16. */
	fill_noise();
	memset(plain + BLOCK_BYTES_MAX - 4000, 0, 4000);
	ck_assert_int_eq(round_trip(CODEC_LZ4, BLOCK_BYTES_MAX).codec, CODEC_RAW);
	memset(plain + BLOCK_BYTES_MAX - 5000, 0, 5000);
	ck_assert_int_eq(round_trip(CODEC_LZ4, BLOCK_BYTES_MAX).codec, CODEC_LZ4);
}
END_TEST

START_TEST(zstd_takes_its_level_from_the_plan)
{
	fill_text();
	uint32_t fast = encode_at(CODEC_ZSTD, 1, BLOCK_BYTES_MAX).len;
	ck_assert_uint_eq(encode_at(CODEC_ZSTD, 0, BLOCK_BYTES_MAX).len, fast);
	ck_assert_uint_lt(encode_at(CODEC_ZSTD, 19, BLOCK_BYTES_MAX).len, fast);
}
END_TEST

START_TEST(an_encoding_of_another_length_is_malformed)
{
	fill_text();
	for (enum codec want = CODEC_RAW; want <= CODEC_ZSTD; want++) {
		struct result r = encode_at(want, 0, 4096);
		ck_assert_int_eq(codec_decode(scratch, r.codec, stored, r.len, again, 4095),
				 -E_MALFORMED);
		ck_assert_int_eq(codec_decode(scratch, r.codec, stored, r.len, again, 4097),
				 -E_MALFORMED);
		ck_assert_int_eq(codec_decode(scratch, r.codec, stored, r.len - 1, again, 4096),
				 -E_MALFORMED);
	}
}
END_TEST

START_TEST(lengths_and_codecs_out_of_bounds_are_malformed)
{
	ck_assert_int_eq(codec_decode(scratch, CODEC_COUNT, stored, 1, again, 1), -E_MALFORMED);
	ck_assert_int_eq(codec_decode(scratch, CODEC_RAW, stored, 0, again, 0), -E_MALFORMED);
	ck_assert_int_eq(codec_decode(scratch, CODEC_RAW, stored, 0, again, 1), -E_MALFORMED);
	ck_assert_int_eq(codec_decode(scratch, CODEC_RAW, stored, 2, again, 1), -E_MALFORMED);
	ck_assert_int_eq(codec_decode(scratch, CODEC_LZ4, stored, 9, again, BLOCK_BYTES_MAX + 1),
			 -E_MALFORMED);
}
END_TEST

START_TEST(names_and_numbers_agree)
{
	enum codec codec;

	for (enum codec want = CODEC_RAW; want < CODEC_COUNT; want++) {
		ck_assert(codec_is_known(want));
		ck_assert_int_eq(codec_parse(codec_name(want), &codec), 0);
		ck_assert_int_eq(codec, want);
	}
	ck_assert(!codec_is_known(CODEC_COUNT));
	ck_assert_int_eq(codec_parse("gzip", &codec), -E_INVAL);
}
END_TEST

START_TEST(aims_have_names_and_each_codec_has_one)
{
	enum codec_aim aim;

	for (enum codec_aim want = CODEC_AIM_RAW; want < CODEC_AIM_COUNT; want++) {
		ck_assert_int_eq(codec_aim_parse(codec_aim_name(want), &aim), 0);
		ck_assert_int_eq(aim, want);
	}
	ck_assert_int_eq(codec_aim_parse("fast", &aim), -E_INVAL);
	for (enum codec want = CODEC_RAW; want < CODEC_COUNT; want++)
		ck_assert_str_eq(codec_aim_name(codec_aim_of(want)), codec_name(want));
}
END_TEST

TEST_MAIN("codec",
	  tcase_add_checked_fixture(tc, setup, teardown);
	  tcase_add_test(tc, what_shrinks_is_stored_shrunk);
	  tcase_add_test(tc, what_does_not_shrink_is_stored_raw);
	  tcase_add_test(tc, every_small_length_comes_back);
	  tcase_add_test(tc, a_saving_below_a_sixteenth_is_not_taken);
	  tcase_add_test(tc, zstd_takes_its_level_from_the_plan);
	  tcase_add_test(tc, an_encoding_of_another_length_is_malformed);
	  tcase_add_test(tc, lengths_and_codecs_out_of_bounds_are_malformed);
	  tcase_add_test(tc, names_and_numbers_agree);
	  tcase_add_test(tc, aims_have_names_and_each_codec_has_one))
