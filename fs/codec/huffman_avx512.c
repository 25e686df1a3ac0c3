/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Encoding by AVX-512: codes of 64 bytes are looked up in registers, two bytes for each, and joined
 * by two, by four and mostly by eight, so that only these go one after the other.
 */
#include "fs/codec/huffman_stream.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define AVX512	__attribute__((target("bmi,bmi2,avx512f,avx512bw,avx512vbmi")))
#define INLINE	HUFFMAN_INLINE AVX512
#define STEP	64u			/* bytes that are looked up at once */
#define STEPS	4u			/* before their codes are written */
#define STEPS_OUT_MAX (STEPS * STEP * HUFFMAN_BITS_MAX / 8 + HUFFMAN_WORD)
#define GROUPS_MAX (STEPS * STEP / HUFFMAN_GROUP)
#define JOINED_MAX (64 - 7)		/* bits, behind those that are no whole byte */
#define TABLE	(HUFFMAN_SYMBOLS / STEP) /* registers of a table */
#define LEN_SHIFT 12u			/* of a code in two bytes: below is the code */

_Static_assert(HUFFMAN_BITS_MAX < LEN_SHIFT, "a code and its length are two bytes");
_Static_assert(HUFFMAN_GROUP == 4, "a group is two joined twice");

struct tables {
	__m512i low[TABLE], high[TABLE];	/* bytes of each code */
};

INLINE void tables_fill(struct tables *t, const struct huffman_codes *codes)
{
	uint16_t both[HUFFMAN_SYMBOLS];

	for (unsigned s = 0; s < HUFFMAN_SYMBOLS; s += 8) {
		__m512i code = _mm512_loadu_si512(&codes->of[s]);
		__m512i bits = _mm512_and_si512(code, _mm512_set1_epi64(0xff));
		__m512i behind = _mm512_sub_epi64(_mm512_set1_epi64(64), bits);
		/* A shift by 64, where there is no code, leaves nothing. */
		__m512i low = _mm512_srlv_epi64(code, behind);
		__m512i of = _mm512_or_si512(low, _mm512_slli_epi64(bits, LEN_SHIFT));

		_mm_storeu_si128((__m128i *)(void *)&both[s], _mm512_cvtepi64_epi16(of));
	}
	for (unsigned i = 0; i < 2 * TABLE; i++) {
		__m512i of = _mm512_loadu_si512(&both[STEP / 2 * i]);
		__m256i *low = (__m256i *)(void *)t->low, *high = (__m256i *)(void *)t->high;

		_mm256_storeu_si256(low + i, _mm512_cvtepi16_epi8(of));
		_mm256_storeu_si256(high + i, _mm512_cvtepi16_epi8(_mm512_srli_epi16(of, 8)));
	}
}

INLINE __m512i look_up(const __m512i table[TABLE], __m512i at)
{
	return _mm512_mask_blend_epi8(_mm512_movepi8_mask(at),
				      _mm512_permutex2var_epi8(table[0], at, table[1]),
				      _mm512_permutex2var_epi8(table[2], at, table[3]));
}

/* Codes of several bytes one behind the other, in the lowest of eight times 64 bits each. */
struct joined {
	__m512i bits, lens;
};

/* The codes of 32 bytes, by four. */
INLINE struct joined join4(__m512i codes)
{
	const __m512i low32 = _mm512_set1_epi64(UINT32_MAX);
	__m512i lens = _mm512_srli_epi16(codes, LEN_SHIFT);
	__m512i bits = _mm512_and_si512(codes, _mm512_set1_epi16((1 << LEN_SHIFT) - 1));
	/* By two: the first one times two to the length of the second one, and that. */
	__m512i powers = _mm512_sllv_epi16(_mm512_set1_epi16(1), lens);
	__m512i factors = _mm512_or_si512(_mm512_srli_epi32(powers, 16),
					  _mm512_set1_epi32(1 << 16));
	bits = _mm512_madd_epi16(bits, factors);
	lens = _mm512_madd_epi16(lens, _mm512_set1_epi16(1));
	__m512i second = _mm512_srli_epi64(lens, 32);
	bits = _mm512_or_si512(_mm512_sllv_epi64(_mm512_and_si512(bits, low32), second),
			       _mm512_srli_epi64(bits, 32));
	return (struct joined){bits, _mm512_add_epi64(_mm512_and_si512(lens, low32), second)};
}

/* Those of 64 bytes by eight, which is only right if a word holds each. */
INLINE struct joined join8(const struct joined *a, const struct joined *b)
{
	const __m512i even = _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14);
	const __m512i odd = _mm512_setr_epi64(1, 3, 5, 7, 9, 11, 13, 15);
	__m512i first = _mm512_permutex2var_epi64(a->bits, even, b->bits);
	__m512i first_lens = _mm512_permutex2var_epi64(a->lens, even, b->lens);
	__m512i second = _mm512_permutex2var_epi64(a->bits, odd, b->bits);
	__m512i second_lens = _mm512_permutex2var_epi64(a->lens, odd, b->lens);

	return (struct joined){_mm512_or_si512(_mm512_sllv_epi64(first, second_lens), second),
			       _mm512_add_epi64(first_lens, second_lens)};
}

/* One behind the other, as they are written. */
struct groups {
	uint32_t count;			/* a multiple of eight */
	uint64_t bits[GROUPS_MAX], lens[GROUPS_MAX];
};

INLINE void groups_add(struct groups *groups, const struct joined *j)
{
	_mm512_storeu_si512(groups->bits + groups->count, j->bits);
	_mm512_storeu_si512(groups->lens + groups->count, j->lens);
	groups->count += 8;
}

/* The codes of STEP bytes. */
INLINE void step_take(const struct tables *t, const uint8_t *bytes, struct groups *groups)
{
	/* Halves of registers are unpacked: so they come out in order. */
	const __m512i order = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
	__m512i in = _mm512_permutexvar_epi64(order, _mm512_loadu_si512(bytes));
	__m512i low = look_up(t->low, in), high = look_up(t->high, in);
	struct joined front = join4(_mm512_unpacklo_epi8(low, high));
	struct joined back = join4(_mm512_unpackhi_epi8(low, high));
	struct joined all = join8(&front, &back);

	if (_mm512_cmpgt_epi64_mask(all.lens, _mm512_set1_epi64(JOINED_MAX)) == 0) {
		groups_add(groups, &all);
		return;
	}
	groups_add(groups, &front);
	groups_add(groups, &back);
}

/* What is stored of a stream; the last `used` (below 8) of `bits` are still to go. */
struct stored {
	uint64_t bits, used;
	uint8_t *out;
};

INLINE void groups_write(struct stored *s, const struct groups *groups)
{
	struct stored now = *s;

	for (uint32_t g = 0; g < groups->count; g += 8) {
#pragma GCC unroll 8
		for (unsigned i = 0; i < 8; i++) {
			uint64_t len = groups->lens[g + i];

			now.bits = now.bits << len | groups->bits[g + i];
			now.used += len;
			huffman_word_store(now.out, now.bits << (-now.used & 63));
			now.out += now.used / 8;
			now.used %= 8;
		}
	}
	*s = now;
}

AVX512 uint8_t *huffman_stream_avx512(const struct huffman_codes *codes, const uint8_t *bytes,
				      uint32_t len, uint8_t *out, const uint8_t *end)
{
	struct stored s = {.out = out};
	struct tables t;
	uint32_t at = 0;

	if (len >= STEPS * STEP)
		tables_fill(&t, codes);
	for (; at + STEPS * STEP <= len && end - s.out >= (ptrdiff_t)STEPS_OUT_MAX;
	     at += STEPS * STEP) {
		struct groups groups;

		groups.count = 0;
		for (unsigned i = 0; i < STEPS; i++)
			step_take(&t, bytes + at + i * STEP, &groups);
		groups_write(&s, &groups);
	}
	struct huffman_bits b = {s.used ? s.bits << (64 - s.used) : 0, s.used, s.out};
	return huffman_stream_end(codes, bytes + at, len - at, &b, end);
}

#endif
