/* SPDX-License-Identifier: Apache-2.0 */
/* Words to planes and back by AVX2, 32 bytes of a plane at once. */
#include "fs/codec/planes_words_plain.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define AVX2	__attribute__((target("avx2")))
#define INLINE	static inline __attribute__((always_inline)) AVX2
#define STEP	32u	/* words */

INLINE __m256i load(const uint8_t *at)
{
	return _mm256_loadu_si256((const __m256i *)(const void *)at);
}

INLINE void store(uint8_t *at, __m256i v)
{
	_mm256_storeu_si256((__m256i *)(void *)at, v);
}

INLINE __m256i rotate16_left(__m256i v)
{
	return _mm256_or_si256(_mm256_add_epi16(v, v), _mm256_srli_epi16(v, 15));
}

INLINE __m256i rotate16_right(__m256i v)
{
	return _mm256_or_si256(_mm256_srli_epi16(v, 1), _mm256_slli_epi16(v, 15));
}

INLINE __m256i rotate32_left(__m256i v)
{
	return _mm256_or_si256(_mm256_add_epi32(v, v), _mm256_srli_epi32(v, 31));
}

INLINE __m256i rotate32_right(__m256i v)
{
	return _mm256_or_si256(_mm256_srli_epi32(v, 1), _mm256_slli_epi32(v, 31));
}

/* The low bytes of 32 words of two bytes each, in order. */
INLINE __m256i low_bytes(__m256i a, __m256i b)
{
	const __m256i mask = _mm256_set1_epi16(0xff);
	__m256i packed = _mm256_packus_epi16(_mm256_and_si256(a, mask), _mm256_and_si256(b, mask));

	return _mm256_permute4x64_epi64(packed, 0xd8);
}

INLINE __m256i high_bytes(__m256i a, __m256i b)
{
	__m256i packed = _mm256_packus_epi16(_mm256_srli_epi16(a, 8), _mm256_srli_epi16(b, 8));

	return _mm256_permute4x64_epi64(packed, 0xd8);
}

/* The low halves of 16 words of four bytes each, in order. */
INLINE __m256i low_halves(__m256i a, __m256i b)
{
	__m256i packed = _mm256_packus_epi32(_mm256_blend_epi16(a, _mm256_setzero_si256(), 0xaa),
					     _mm256_blend_epi16(b, _mm256_setzero_si256(), 0xaa));

	return _mm256_permute4x64_epi64(packed, 0xd8);
}

INLINE __m256i high_halves(__m256i a, __m256i b)
{
	__m256i packed = _mm256_packus_epi32(_mm256_srli_epi32(a, 16), _mm256_srli_epi32(b, 16));

	return _mm256_permute4x64_epi64(packed, 0xd8);
}

AVX2 static void split2(const uint8_t *in, uint8_t *const *planes, uint32_t words, bool is_rotated)
{
	uint32_t i = 0;

	for (; i + STEP <= words; i += STEP) {
		__m256i a = load(in + 2 * i), b = load(in + 2 * i + 32);

		if (is_rotated) {
			a = rotate16_left(a);
			b = rotate16_left(b);
		}
		store(planes[0] + i, low_bytes(a, b));
		store(planes[1] + i, high_bytes(a, b));
	}
	planes_plain_split2(in, planes, i, words, is_rotated);
}

AVX2 static void split4(const uint8_t *in, uint8_t *const *planes, uint32_t words, bool is_rotated)
{
	uint32_t i = 0;

	for (; i + STEP <= words; i += STEP) {
		__m256i w[4];

#pragma GCC unroll 4
		for (unsigned k = 0; k < 4; k++) {
			w[k] = load(in + 4 * i + 32 * k);
			if (is_rotated)
				w[k] = rotate32_left(w[k]);
		}
		__m256i low_a = low_halves(w[0], w[1]), low_b = low_halves(w[2], w[3]);
		__m256i high_a = high_halves(w[0], w[1]), high_b = high_halves(w[2], w[3]);

		store(planes[0] + i, low_bytes(low_a, low_b));
		store(planes[1] + i, high_bytes(low_a, low_b));
		store(planes[2] + i, low_bytes(high_a, high_b));
		store(planes[3] + i, high_bytes(high_a, high_b));
	}
	planes_plain_split4(in, planes, i, words, is_rotated);
}

/* In memory order: bytes of two planes by turns. */
INLINE void zip_bytes(__m256i low, __m256i high, __m256i out[2])
{
	__m256i a = _mm256_unpacklo_epi8(low, high), b = _mm256_unpackhi_epi8(low, high);

	out[0] = _mm256_permute2x128_si256(a, b, 0x20);
	out[1] = _mm256_permute2x128_si256(a, b, 0x31);
}

INLINE void zip_halves(__m256i low, __m256i high, __m256i out[2])
{
	__m256i a = _mm256_unpacklo_epi16(low, high), b = _mm256_unpackhi_epi16(low, high);

	out[0] = _mm256_permute2x128_si256(a, b, 0x20);
	out[1] = _mm256_permute2x128_si256(a, b, 0x31);
}

AVX2 static void merge2(const uint8_t *const *planes, uint8_t *out, uint32_t words,
			bool is_rotated)
{
	uint32_t i = 0;

	for (; i + STEP <= words; i += STEP) {
		__m256i w[2];

		zip_bytes(load(planes[0] + i), load(planes[1] + i), w);
		store(out + 2 * i, is_rotated ? rotate16_right(w[0]) : w[0]);
		store(out + 2 * i + 32, is_rotated ? rotate16_right(w[1]) : w[1]);
	}
	planes_plain_merge2(planes, out, i, words, is_rotated);
}

AVX2 static void merge4(const uint8_t *const *planes, uint8_t *out, uint32_t words,
			bool is_rotated)
{
	uint32_t i = 0;

	for (; i + STEP <= words; i += STEP) {
		__m256i low[2], high[2], w[4];

		zip_bytes(load(planes[0] + i), load(planes[1] + i), low);
		zip_bytes(load(planes[2] + i), load(planes[3] + i), high);
		zip_halves(low[0], high[0], w);
		zip_halves(low[1], high[1], w + 2);
#pragma GCC unroll 4
		for (unsigned k = 0; k < 4; k++)
			store(out + 4 * i + 32 * k, is_rotated ? rotate32_right(w[k]) : w[k]);
	}
	planes_plain_merge4(planes, out, i, words, is_rotated);
}

const struct planes_kernels planes_words_avx2 = {split2, split4, merge2, merge4};

#endif
