/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Words to planes and back by AVX-512: bytes go anywhere within two registers in one permutation
 * (VBMI), and a rotation is one instruction (VBMI2 has it for words of two bytes).
 */
#include "fs/codec/planes_words_plain.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define AVX512	__attribute__((target("avx512f,avx512bw,avx512vbmi,avx512vbmi2")))
#define INLINE	static inline __attribute__((always_inline)) AVX512
#define STEP	64u	/* words */

INLINE __m512i load(const uint8_t *at)
{
	return _mm512_loadu_si512((const void *)at);
}

INLINE void store(uint8_t *at, __m512i v)
{
	_mm512_storeu_si512((void *)at, v);
}

INLINE __m512i rotate16_left(__m512i v)
{
	return _mm512_shldi_epi16(v, v, 1);
}

INLINE __m512i rotate16_right(__m512i v)
{
	return _mm512_shldi_epi16(v, v, 15);
}

/* Byte i of it: `first` + `step` * i, of the two registers that a permutation takes. */
INLINE __m512i places(unsigned first, unsigned step)
{
	uint8_t at[64] __attribute__((aligned(64)));

#pragma GCC unroll 64
	for (unsigned i = 0; i < 64; i++)
		at[i] = (uint8_t)(first + step * i);
	return _mm512_load_si512((const void *)at);
}

/* Bytes of two registers by turns, from byte `first` of each on. */
INLINE __m512i places_zipped(unsigned first)
{
	uint8_t at[64] __attribute__((aligned(64)));

#pragma GCC unroll 64
	for (unsigned i = 0; i < 64; i++)
		at[i] = (uint8_t)(first + i / 2 + (i % 2 ? 64 : 0));
	return _mm512_load_si512((const void *)at);
}

INLINE __m512i places_zipped16(unsigned first)
{
	uint16_t at[32] __attribute__((aligned(64)));

#pragma GCC unroll 32
	for (unsigned i = 0; i < 32; i++)
		at[i] = (uint16_t)(first + i / 2 + (i % 2 ? 32 : 0));
	return _mm512_load_si512((const void *)at);
}

AVX512 static void split2(const uint8_t *in, uint8_t *const *planes, uint32_t words,
			  bool is_rotated)
{
	const __m512i even = places(0, 2), odd = places(1, 2);
	uint32_t i = 0;

	for (; i + STEP <= words; i += STEP) {
		__m512i a = load(in + 2 * i), b = load(in + 2 * i + 64);

		if (is_rotated) {
			a = rotate16_left(a);
			b = rotate16_left(b);
		}
		store(planes[0] + i, _mm512_permutex2var_epi8(a, even, b));
		store(planes[1] + i, _mm512_permutex2var_epi8(a, odd, b));
	}
	planes_plain_split2(in, planes, i, words, is_rotated);
}

AVX512 static void split4(const uint8_t *in, uint8_t *const *planes, uint32_t words,
			  bool is_rotated)
{
	const __m512i even = places(0, 2), odd = places(1, 2);
	uint32_t i = 0;

	for (; i + STEP <= words; i += STEP) {
		__m512i w[4], bytes[4];

#pragma GCC unroll 4
		for (unsigned k = 0; k < 4; k++) {
			w[k] = load(in + 4 * i + 64 * k);
			if (is_rotated)
				w[k] = _mm512_rol_epi32(w[k], 1);
		}
		/* Bytes 0 and 2 of the words, and 1 and 3. */
#pragma GCC unroll 2
		for (unsigned k = 0; k < 2; k++) {
			bytes[k] = _mm512_permutex2var_epi8(w[2 * k], even, w[2 * k + 1]);
			bytes[2 + k] = _mm512_permutex2var_epi8(w[2 * k], odd, w[2 * k + 1]);
		}
		store(planes[0] + i, _mm512_permutex2var_epi8(bytes[0], even, bytes[1]));
		store(planes[1] + i, _mm512_permutex2var_epi8(bytes[2], even, bytes[3]));
		store(planes[2] + i, _mm512_permutex2var_epi8(bytes[0], odd, bytes[1]));
		store(planes[3] + i, _mm512_permutex2var_epi8(bytes[2], odd, bytes[3]));
	}
	planes_plain_split4(in, planes, i, words, is_rotated);
}

AVX512 static void merge2(const uint8_t *const *planes, uint8_t *out, uint32_t words,
			  bool is_rotated)
{
	const __m512i front = places_zipped(0), back = places_zipped(32);
	uint32_t i = 0;

	for (; i + STEP <= words; i += STEP) {
		__m512i low = load(planes[0] + i), high = load(planes[1] + i);
		__m512i a = _mm512_permutex2var_epi8(low, front, high);
		__m512i b = _mm512_permutex2var_epi8(low, back, high);

		store(out + 2 * i, is_rotated ? rotate16_right(a) : a);
		store(out + 2 * i + 64, is_rotated ? rotate16_right(b) : b);
	}
	planes_plain_merge2(planes, out, i, words, is_rotated);
}

AVX512 static void merge4(const uint8_t *const *planes, uint8_t *out, uint32_t words,
			  bool is_rotated)
{
	const __m512i front = places_zipped(0), back = places_zipped(32);
	const __m512i front16 = places_zipped16(0), back16 = places_zipped16(16);
	uint32_t i = 0;

	for (; i + STEP <= words; i += STEP) {
		__m512i p0 = load(planes[0] + i), p1 = load(planes[1] + i);
		__m512i p2 = load(planes[2] + i), p3 = load(planes[3] + i);

#pragma GCC unroll 2
		for (unsigned k = 0; k < 2; k++) {
			__m512i half = k ? back : front;
			__m512i low = _mm512_permutex2var_epi8(p0, half, p1);
			__m512i high = _mm512_permutex2var_epi8(p2, half, p3);
			__m512i a = _mm512_permutex2var_epi16(low, front16, high);
			__m512i b = _mm512_permutex2var_epi16(low, back16, high);

			store(out + 4 * i + 128 * k, is_rotated ? _mm512_ror_epi32(a, 1) : a);
			store(out + 4 * i + 128 * k + 64, is_rotated ? _mm512_ror_epi32(b, 1) : b);
		}
	}
	planes_plain_merge4(planes, out, i, words, is_rotated);
}

const struct planes_kernels planes_words_avx512 = {split2, split4, merge2, merge4};

#endif
