/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The filter with AVX2: 64 places at a time, those of even and of odd parity from vectors that lie
 * a byte apart. What is left at the end, less than 64, plain C does. Memory is the limit: AVX-512
 * was no faster.
 */
#include "fs/tree/cut_scan.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define PLACES	    64u
#define AVX2_INLINE static inline __attribute__((always_inline, target("avx2,bmi")))

AVX2_INLINE __m256i load_256(const uint8_t *at)
{
	return _mm256_loadu_si256((const __m256i *)(const void *)at);
}

/* All ones in the lanes of those 16 places, two apart, that pass. */
AVX2_INLINE __m256i hits_256(const uint8_t *at)
{
	__m256i a = _mm256_sub_epi16(load_256(at - 2), load_256(at - 6));
	__m256i b = _mm256_sub_epi16(load_256(at - 4), load_256(at - 8));
	__m256i f = _mm256_add_epi16(_mm256_mullo_epi16(a, _mm256_set1_epi16((short)CUT_SCAN_A)),
				     _mm256_mullo_epi16(b, _mm256_set1_epi16((short)CUT_SCAN_B)));

	return _mm256_cmpeq_epi16(_mm256_and_si256(f, _mm256_set1_epi16((short)CUT_SCAN_MASK)),
				  _mm256_set1_epi16((short)CUT_SCAN_HIT));
}

/* A bit for each of 32 places: a lane's lower byte stands for the even one, the upper for odd. */
AVX2_INLINE uint32_t hits_of_32(const uint8_t *at)
{
	__m256i both = _mm256_blendv_epi8(hits_256(at), hits_256(at + 1),
					  _mm256_set1_epi16((short)0xff00));

	return (uint32_t)_mm256_movemask_epi8(both);
}

__attribute__((target("avx2,bmi"))) uint32_t cut_scan_avx2(const uint8_t *at, uint32_t count)
{
	uint32_t i = 0;

	for (; count - i >= PLACES; i += PLACES) {
		uint64_t hits = hits_of_32(at + i) | (uint64_t)hits_of_32(at + i + 32) << 32;

		if (hits)
			return i + (uint32_t)_tzcnt_u64(hits);
	}
	return i + cut_scan_plain(at + i, count - i);
}

#endif
