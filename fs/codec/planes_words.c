/* SPDX-License-Identifier: Apache-2.0 */
/* Words to planes and back in plain C, which is also what the kernels leave of the last words. */
#include "fs/codec/planes_words.h"

#include "fs/codec/planes_words_plain.h"

static void split2(const uint8_t *in, uint8_t *const *planes, uint32_t words, bool is_rotated)
{
	planes_plain_split2(in, planes, 0, words, is_rotated);
}

static void split4(const uint8_t *in, uint8_t *const *planes, uint32_t words, bool is_rotated)
{
	planes_plain_split4(in, planes, 0, words, is_rotated);
}

static void merge2(const uint8_t *const *planes, uint8_t *out, uint32_t words, bool is_rotated)
{
	planes_plain_merge2(planes, out, 0, words, is_rotated);
}

static void merge4(const uint8_t *const *planes, uint8_t *out, uint32_t words, bool is_rotated)
{
	planes_plain_merge4(planes, out, 0, words, is_rotated);
}

const struct planes_kernels *planes_kernels_of(enum cpu_level level)
{
	static const struct planes_kernels plain = {split2, split4, merge2, merge4};

#if defined(__x86_64__)
	if (level == CPU_AVX512)
		return &planes_words_avx512;
	if (level == CPU_AVX2)
		return &planes_words_avx2;
#else
	(void)level;
#endif
	return &plain;
}
