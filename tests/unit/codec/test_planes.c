/* SPDX-License-Identifier: Apache-2.0 */
/* Planes: words of every stride, phase and length come back; foreign bytes are refused. */
#include "fs/codec/planes.h"

#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "fs/codec/codec.h"
#include "fs/codec/planes_plane.h"
#include "fs/codec/planes_words.h"
#include "tests/check_main.h"

static uint8_t plain[BLOCK_BYTES_MAX], stored[BLOCK_BYTES_MAX], again[BLOCK_BYTES_MAX + 64];
static struct planes_scratch *scratch;
static ZSTD_CCtx *zstd_encoder;
static ZSTD_DCtx *zstd_decoder;
static uint64_t seed;

static const uint8_t strides[] = {1, 2, 4};

static uint32_t prng(uint32_t below)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)((seed >> 33) % below);
}

/* An assertion costs a system call: not one for each byte. */
static bool is_untouched(const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (bytes[i] != 0xee)
			return false;
	}
	return true;
}

static void setup(void)
{
	seed = 11;
	zstd_encoder = ZSTD_createCCtx();
	zstd_decoder = ZSTD_createDCtx();
	scratch = planes_scratch_create(zstd_encoder, zstd_decoder);
	ck_assert_ptr_nonnull(scratch);
}

static void teardown(void)
{
	planes_scratch_destroy(scratch);
	ZSTD_freeCCtx(zstd_encoder);
	ZSTD_freeDCtx(zstd_decoder);
}

/* About a normal distribution, as floats of four bytes, or their upper halves (bf16). */
static void fill_floats(uint32_t phase, uint32_t stride)
{
	memset(plain, 0xa5, phase);
	for (uint32_t at = phase; at + stride <= BLOCK_BYTES_MAX; at += stride) {
		float value = 0;
		uint32_t bits;

		for (unsigned i = 0; i < 6; i++)
			value += (float)prng(1000001) / 1e6f - 0.5f;
		value *= 0.05f;
		memcpy(&bits, &value, sizeof bits);
		bits = stride == 2 ? bits >> 16 : bits;
		for (uint32_t i = 0; i < stride; i++)
			plain[at + i] = (uint8_t)(bits >> 8 * i);
	}
}

static struct codec_plan plan_of(uint32_t stride, uint32_t phase, bool is_rotated)
{
	return (struct codec_plan){.codec = CODEC_PLANES, .stride = (uint8_t)stride,
				   .phase = (uint8_t)phase, .rotate = is_rotated};
}

static uint32_t encode(const struct codec_plan *plan, uint32_t len)
{
	memset(stored, 0xee, sizeof stored);
	uint32_t stored_len = planes_encode(scratch, plan, plain, len, stored, len);

	ck_assert_uint_le(stored_len, len);
	return stored_len;
}

static int64_t decode(uint32_t stored_len, uint32_t room)
{
	uint8_t *foreign = malloc(MAX_OF(stored_len, 1u));

	ck_assert_ptr_nonnull(foreign);
	memcpy(foreign, stored, stored_len);
	memset(again, 0xee, sizeof again);
	int64_t len = planes_decode(scratch, foreign, stored_len, again, room);
	free(foreign);
	ck_assert_int_le(len, room);
	ck_assert(is_untouched(again + room, sizeof again - room));
	return len;
}

/* The stored length; 0: it did not fit. */
static uint32_t round_trip(const struct codec_plan *plan, uint32_t len)
{
	uint32_t stored_len = encode(plan, len);

	if (stored_len == 0)
		return 0;
	ck_assert_int_eq(decode(stored_len, len), len);
	ck_assert_int_eq(memcmp(again, plain, len), 0);
	return stored_len;
}

START_TEST(floats_take_what_their_exponents_take)
{
	static const struct { uint32_t stride, percent_max; } rows[] = {{2, 70}, {4, 85}};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct codec_plan plan = plan_of(rows[i].stride, 0, true);

		fill_floats(0, rows[i].stride);
		uint32_t len = round_trip(&plan, BLOCK_BYTES_MAX);
		ck_assert_uint_gt(len, 0);
		ck_assert_uint_lt(len, BLOCK_BYTES_MAX / 100 * rows[i].percent_max);
	}
}
END_TEST

START_TEST(every_stride_phase_and_rotation_comes_back)
{
	for (size_t i = 0; i < ARRAY_COUNT(strides); i++) {
		for (uint32_t phase = 0; phase < strides[i]; phase++) {
			struct codec_plan plain_plan = plan_of(strides[i], phase, false);
			struct codec_plan plan = plan_of(strides[i], phase, true);

			fill_floats(phase, strides[i]);
			uint32_t straight = round_trip(&plain_plan, BLOCK_BYTES_MAX);
			uint32_t rotated = round_trip(&plan, BLOCK_BYTES_MAX);
			if (strides[i] == 1)
				continue;
			/* Mantissas that shrink by a hundredth are left alone. */
			ck_assert_uint_gt(rotated, 0);
			ck_assert_uint_lt(rotated, straight + straight / 100);
		}
	}
}
END_TEST

START_TEST(every_length_comes_back)
{
	for (uint32_t len = 1; len <= BLOCK_BYTES_MAX; len += len < 400 ? 1 : 4099) {
		uint32_t stride = strides[len % 3], phase = prng(stride);
		struct codec_plan plan = plan_of(stride, phase, prng(2) == 0);

		fill_floats(phase, stride);
		(void)round_trip(&plan, len);
		/* Constant but for the edges. */
		memset(plain + phase, 0x3c, len - MIN_OF(phase, len));
		uint32_t stored_len = round_trip(&plan, len);
		ck_assert(len < 40 || (stored_len > 0 && stored_len < 40));
	}
}
END_TEST

#define HEAD_BYTES 5u		/* in front of the kinds of planes */

/* What a plane is stored as. */
static unsigned kind_of_plane(uint32_t plane)
{
	return stored[HEAD_BYTES + 3 * plane];
}

START_TEST(mantissas_are_coded_if_that_saves_a_third)
{
	/* Of 256 values so many occur: 7 bits each, or 5 and less. */
	static const struct { uint32_t values; unsigned kind; } rows[] = {
		{128, PLANES_RAW}, {64, PLANES_RAW}, {32, PLANES_HUFFMAN}, {1, PLANES_CONSTANT}};
	struct codec_plan plan = plan_of(2, 0, true);

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		for (uint32_t at = 0; at < BLOCK_BYTES_MAX; at += 2) {
			/* Rotated right by one bit, as the codec rotates left. */
			uint32_t mantissa = prng(rows[i].values), exponent = 100 + prng(4);
			uint32_t word = exponent << 8 | mantissa;

			word = (word >> 1 | word << 15) & 0xffff;
			plain[at] = (uint8_t)word;
			plain[at + 1] = (uint8_t)(word >> 8);
		}
		ck_assert_uint_gt(round_trip(&plan, BLOCK_BYTES_MAX), 0);
		ck_assert_uint_eq(kind_of_plane(0), rows[i].kind);
		ck_assert_uint_eq(kind_of_plane(1), PLANES_HUFFMAN);
	}
}
END_TEST

START_TEST(each_plane_is_stored_as_suits_it)
{
	struct codec_plan plan = plan_of(4, 0, false);
	uint8_t words[8][40];

	for (uint32_t i = 0; i < sizeof words; i++)
		words[i / 40][i % 40] = (uint8_t)(1 + prng(255));
	for (uint32_t i = 0; i < BLOCK_BYTES_MAX; i += 4) {
		static uint32_t word;

		word = i % 160 ? word : prng(8);	/* come again at no one distance */
		plain[i] = (uint8_t)prng(256);
		plain[i + 1] = 0x77;
		plain[i + 2] = (uint8_t)prng(16);
		plain[i + 3] = words[word][i / 4 % 40];
	}
	ck_assert_uint_gt(round_trip(&plan, BLOCK_BYTES_MAX), 0);
	ck_assert_uint_eq(kind_of_plane(0), PLANES_RAW);
	ck_assert_uint_eq(kind_of_plane(1), PLANES_CONSTANT);
	ck_assert_uint_eq(kind_of_plane(2), PLANES_HUFFMAN);
	ck_assert_uint_eq(kind_of_plane(3), PLANES_ZSTD);
}
END_TEST

/* Rows that are about what the row before them is, as floats of four bytes or their halves. */
static void fill_rows(uint32_t stride, uint32_t words)
{
	static float row[BLOCK_BYTES_MAX];
	uint32_t bits;

	for (uint32_t i = 0; i < words; i++)
		row[i] = (float)prng(1000001) / 1e6f - 0.5f;
	for (uint32_t at = 0; at + stride <= BLOCK_BYTES_MAX; at += stride) {
		float *value = &row[at / stride % words];

		*value *= 1 + ((float)prng(1000001) / 1e6f - 0.5f) * 0.004f;
		memcpy(&bits, value, sizeof bits);
		bits = stride == 2 ? bits >> 16 : bits;
		for (uint32_t i = 0; i < stride; i++)
			plain[at + i] = (uint8_t)(bits >> 8 * i);
	}
}

START_TEST(rows_alike_are_stored_as_differences)
{
	static const struct { uint32_t stride, percent_max; } rows[] = {{2, 35}, {4, 70}};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		for (uint32_t words = 60; words < 900; words += 111) {
			struct codec_plan plan = plan_of(rows[i].stride, 0, true);
			fill_rows(plan.stride, words);
			uint32_t len = round_trip(&plan, BLOCK_BYTES_MAX);

			/* Those of mantissas; exponents are copied. */
			ck_assert(kind_of_plane(plan.stride - 2u) & PLANES_DIFFERENCES);
			ck_assert_uint_eq(stored[3] | stored[4] << 8, words);
			ck_assert_uint_lt(len, BLOCK_BYTES_MAX / 100 * rows[i].percent_max);
		}
	}
}
END_TEST

START_TEST(differences_need_a_distance)
{
	struct codec_plan plan = plan_of(2, 0, true);

	fill_rows(2, 300);
	uint32_t len = round_trip(&plan, BLOCK_BYTES_MAX);

	for (uint32_t distance = 0; distance <= UINT16_MAX; distance++) {
		stored[3] = (uint8_t)distance;
		stored[4] = (uint8_t)(distance >> 8);
		if (distance >= PLANES_ROWS_MIN && distance < BLOCK_BYTES_MAX / 2) {
			distance += 1000;	/* legal, but other bytes */
			continue;
		}
		ck_assert_int_eq(decode(len, BLOCK_BYTES_MAX), -E_MALFORMED);
		if (distance >= BLOCK_BYTES_MAX / 2)
			distance += 1000;
	}
	stored[3] = PLANES_ROWS_MIN;
	stored[4] = 0;
	ck_assert_int_eq(decode(len, BLOCK_BYTES_MAX), BLOCK_BYTES_MAX);
}
END_TEST

START_TEST(chunks_that_differ_are_coded_apart)
{
	struct codec_plan plan = plan_of(1, 0, false);

	for (uint32_t len = BLOCK_BYTES_MAX - 100; len <= BLOCK_BYTES_MAX; len += 25) {
		for (uint32_t i = 0; i < len; i++) {
			uint32_t row = i / 256 * 2654435761u >> 30;

			plain[i] = (uint8_t)(6 * row + prng(row == 3 ? 60 : 8));
		}
		uint32_t stored_len = round_trip(&plan, len);

		ck_assert_uint_eq(kind_of_plane(0), PLANES_MIXED);
		/* 3 bits a byte, in a quarter 6; with one code it is nearer to 5. */
		ck_assert_uint_lt(stored_len, len / 2);
	}
}
END_TEST

START_TEST(empty_rows_take_next_to_nothing)
{
	struct codec_plan plan = plan_of(1, 0, false);

	for (uint32_t i = 0; i < BLOCK_BYTES_MAX; i++)
		plain[i] = i / 256 * 2654435761u >> 31 ? (uint8_t)(1 + prng(64)) : 0;
	uint32_t stored_len = round_trip(&plan, BLOCK_BYTES_MAX);

	/* Six bits in half of the rows. */
	ck_assert_uint_gt(stored_len, 0);
	ck_assert_uint_lt(stored_len, BLOCK_BYTES_MAX / 2 / 100 * 80);
}
END_TEST

START_TEST(a_mixed_plane_is_checked)
{
	struct codec_plan plan = plan_of(1, 0, false);
	uint32_t len = 8000, kinds = HEAD_BYTES + 3;
	uint32_t heads = kinds + DIV_CEIL(DIV_CEIL(len, 64u), 4u);

	for (uint32_t i = 0; i < len; i++)
		plain[i] = (uint8_t)(i / 256 % 4 * 9 + prng(8));
	uint32_t stored_len = round_trip(&plan, len);

	ck_assert_uint_eq(kind_of_plane(0), PLANES_MIXED);
	for (uint32_t at = kinds; at < heads + 12; at++) {
		uint8_t right = stored[at];

		for (unsigned bit = 0; bit < 8; bit++) {
			stored[at] = (uint8_t)(right ^ 1u << bit);
			/* The bits behind the last chunk mean nothing. */
			if (at != heads - 1 || bit < len / 64 % 4 * 2)
				ck_assert_int_eq(decode(stored_len, len), -E_MALFORMED);
		}
		stored[at] = right;
	}
	stored[heads] = PLANES_MIXED;
	ck_assert_int_eq(decode(stored_len, len), -E_MALFORMED);
}
END_TEST

START_TEST(noise_does_not_fit)
{
	for (uint32_t i = 0; i < BLOCK_BYTES_MAX; i++)
		plain[i] = (uint8_t)prng(256);
	for (size_t i = 0; i < ARRAY_COUNT(strides); i++) {
		struct codec_plan plan = plan_of(strides[i], 0, true);

		ck_assert_uint_eq(encode(&plan, BLOCK_BYTES_MAX), 0);
	}
}
END_TEST

START_TEST(nothing_is_written_behind_the_room)
{
	for (size_t i = 0; i < ARRAY_COUNT(strides); i++) {
		struct codec_plan plan = plan_of(strides[i], 0, true);

		fill_floats(0, 2);
		uint32_t len = encode(&plan, BLOCK_BYTES_MAX);
		ck_assert_uint_gt(len, 0);
		for (uint32_t room = len > 300 ? len - 300 : 0; room < len + 30; room++) {
			memset(stored, 0xee, sizeof stored);
			uint32_t fits = planes_encode(scratch, &plan, plain, BLOCK_BYTES_MAX,
						      stored, room);

			ck_assert(fits == 0 || (fits == len && room >= len));
			ck_assert(is_untouched(stored + room, sizeof stored - room));
		}
	}
}
END_TEST

START_TEST(kernels_do_what_plain_c_does)
{
	static uint8_t split[2][4][BLOCK_BYTES_MAX], merged[2][BLOCK_BYTES_MAX + 64];
	const struct planes_kernels *plain_c = planes_kernels_of(CPU_PLAIN);

	for (uint32_t i = 0; i < BLOCK_BYTES_MAX; i++)
		plain[i] = (uint8_t)prng(256);
	for (uint32_t turn = 0; turn < 400; turn++) {
		uint32_t stride = turn % 2 ? 2 : 4, shift = prng(4), words = prng(600);
		bool is_rotated = turn / 2 % 2 == 1;
		enum cpu_level level = (enum cpu_level)prng(cpu_level() + 1u);
		const struct planes_kernels *kernels = planes_kernels_of(level);
		uint8_t *planes[2][4];

		memset(merged, 0xee, sizeof merged);
		for (uint32_t k = 0; k < 2; k++) {
			for (uint32_t p = 0; p < 4; p++) {
				planes[k][p] = split[k][p];
				memset(planes[k][p], 0xee, 700);
			}
		}
		if (stride == 2) {
			plain_c->split2(plain + shift, planes[0], words, is_rotated);
			kernels->split2(plain + shift, planes[1], words, is_rotated);
		} else {
			plain_c->split4(plain + shift, planes[0], words, is_rotated);
			kernels->split4(plain + shift, planes[1], words, is_rotated);
		}
		for (uint32_t p = 0; p < stride; p++)
			ck_assert_int_eq(memcmp(planes[0][p], planes[1][p], 700), 0);
		const uint8_t *const *from = (const uint8_t *const *)planes[1];
		if (stride == 2) {
			plain_c->merge2(from, merged[0] + shift, words, is_rotated);
			kernels->merge2(from, merged[1] + shift, words, is_rotated);
		} else {
			plain_c->merge4(from, merged[0] + shift, words, is_rotated);
			kernels->merge4(from, merged[1] + shift, words, is_rotated);
		}
		ck_assert_int_eq(memcmp(merged[0], merged[1], sizeof merged[0]), 0);
		ck_assert_int_eq(memcmp(merged[1] + shift, plain + shift, words * stride), 0);
	}
}
END_TEST

START_TEST(every_field_of_the_head_is_checked)
{
	struct codec_plan plan = plan_of(4, 1, true);

	fill_floats(1, 4);
	uint32_t len = encode(&plan, 30000);
	ck_assert_int_eq(decode(len, 30000), 30000);
	ck_assert_int_eq(decode(len, BLOCK_BYTES_MAX), 30000);
	ck_assert_int_eq(decode(len, 29999), -E_MALFORMED);
	ck_assert_int_eq(decode(len - 1, 30000), -E_MALFORMED);
	for (uint32_t at = 0; at < HEAD_BYTES + 3 * 4; at++) {
		uint8_t right = stored[at];

		for (unsigned value = 0; value < 256; value++) {
			/* Another rotation, a phase with as many words, a distance of nothing. */
			bool is_legal = value == right ||
					(at == 0 && value < 32 && value % 4 == 2) ||
					(at == 3 && value >= PLANES_ROWS_MIN) ||
					(at == 4 && value * 256u < 29999 / 4);

			stored[at] = (uint8_t)value;
			if (!is_legal)
				ck_assert_int_eq(decode(len, 30000), -E_MALFORMED);
			else
				(void)decode(len, 30000);
		}
		stored[at] = right;
	}
	for (uint32_t cut = 0; cut < 200; cut++)
		ck_assert_int_eq(decode(cut, 30000), -E_MALFORMED);
}
END_TEST

START_TEST(changed_bytes_stay_in_bounds)
{
	for (unsigned turn = 0; turn < 600; turn++) {
		uint32_t stride = strides[turn % 3], len = 64 + prng(5000);
		struct codec_plan plan = plan_of(stride, prng(stride), prng(2) == 0);

		fill_floats(plan.phase, 4);
		uint32_t stored_len = encode(&plan, len);

		if (stored_len == 0)
			continue;
		for (unsigned i = 0; i < 1 + turn % 3; i++) {
			uint32_t at = prng(turn % 2 ? MIN_OF(stored_len, 24u) : stored_len);

			stored[at] = (uint8_t)(stored[at] ^ 1u << prng(8));
		}
		int64_t rc = decode(stored_len, len);
		ck_assert(rc == -E_MALFORMED || rc > 0);
	}
}
END_TEST

TEST_MAIN("planes",
	  tcase_add_checked_fixture(tc, setup, teardown);
	  tcase_add_test(tc, floats_take_what_their_exponents_take);
	  tcase_add_test(tc, every_stride_phase_and_rotation_comes_back);
	  tcase_add_test(tc, every_length_comes_back);
	  tcase_add_test(tc, mantissas_are_coded_if_that_saves_a_third);
	  tcase_add_test(tc, each_plane_is_stored_as_suits_it);
	  tcase_add_test(tc, rows_alike_are_stored_as_differences);
	  tcase_add_test(tc, differences_need_a_distance);
	  tcase_add_test(tc, chunks_that_differ_are_coded_apart);
	  tcase_add_test(tc, empty_rows_take_next_to_nothing);
	  tcase_add_test(tc, a_mixed_plane_is_checked);
	  tcase_add_test(tc, noise_does_not_fit);
	  tcase_add_test(tc, nothing_is_written_behind_the_room);
	  tcase_add_test(tc, kernels_do_what_plain_c_does);
	  tcase_add_test(tc, every_field_of_the_head_is_checked);
	  tcase_add_test(tc, changed_bytes_stay_in_bounds))
