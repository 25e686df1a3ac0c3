/* SPDX-License-Identifier: Apache-2.0 */
/* Nibble by AVX2: groups of 64 words. The steps are those of nibble_plain.c. */
#include "fs/codec/nibble_internal.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define AVX2_TARGET __attribute__((target("avx2,bmi,bmi2")))
#define KERNEL	    static inline __attribute__((always_inline)) AVX2_TARGET

KERNEL __m256i load(const uint8_t *at)
{
	return _mm256_loadu_si256((const __m256i *)(const void *)at);
}

KERNEL __m128i load_half(const uint8_t *at)
{
	return _mm_loadu_si128((const __m128i *)(const void *)at);
}

KERNEL void store(uint8_t *at, __m256i v)
{
	_mm256_storeu_si256((__m256i *)(void *)at, v);
}

/* Which symbols 32 words have, in order. */
KERNEL __m256i halves_load(const uint8_t *halves)
{
	__m256i pairs = _mm256_cvtepu8_epi16(load_half(halves));
	__m256i split = _mm256_or_si256(pairs, _mm256_slli_epi16(pairs, 4));

	return _mm256_and_si256(split, _mm256_set1_epi8(15));
}

/* Put the next escapes to where `at` says; false: there are too few. */
KERNEL bool escapes_take(struct nibble_parts *p, uint32_t at, __m256i *symbols)
{
	uint8_t line[32];

	if (p->escapes_end - p->escapes < (ptrdiff_t)__builtin_popcount(at))
		return false;
	store(line, *symbols);
	for (; at; at &= at - 1)
		line[__builtin_ctz(at)] = *p->escapes++;
	*symbols = load(line);
	return true;
}

static void escapes_put(struct nibble_parts *p, uint32_t at, const uint8_t *symbols)
{
	for (; at; at &= at - 1)
		*p->escapes++ = symbols[__builtin_ctz(at)];
}

/* --- decoding: 32 words ---- */

KERNEL void decode2(const uint8_t *rest, __m256i symbols, uint8_t *out, const bool rotate)
{
	__m256i low = load(rest);
	__m256i a = _mm256_unpacklo_epi8(low, symbols), b = _mm256_unpackhi_epi8(low, symbols);
	__m256i first = _mm256_permute2x128_si256(a, b, 0x20);
	__m256i second = _mm256_permute2x128_si256(a, b, 0x31);

	if (rotate) {
		first = _mm256_or_si256(_mm256_srli_epi16(first, 1), _mm256_slli_epi16(first, 15));
		second = _mm256_or_si256(_mm256_srli_epi16(second, 1),
					 _mm256_slli_epi16(second, 15));
	}
	store(out, first);
	store(out + 32, second);
}

/* Eight words: 24 bytes of rest, of which 28 are read, and eight symbols. */
KERNEL void decode4_part(const uint8_t *rest, __m128i symbols, uint8_t *out, const bool rotate)
{
	const __m256i spread = _mm256_setr_epi8(0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11,
						-1, 0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10,
						11, -1);
	__m256i bytes = _mm256_inserti128_si256(_mm256_castsi128_si256(load_half(rest)),
						load_half(rest + 12), 1);
	__m256i tops = _mm256_slli_epi32(_mm256_cvtepu8_epi32(symbols), 24);
	__m256i words = _mm256_or_si256(_mm256_shuffle_epi8(bytes, spread), tops);

	if (rotate)
		words = _mm256_or_si256(_mm256_srli_epi32(words, 1), _mm256_slli_epi32(words, 31));
	store(out, words);
}

KERNEL void decode4(const uint8_t *rest, __m256i symbols, uint8_t *out, const bool rotate)
{
	__m128i low = _mm256_castsi256_si128(symbols);
	__m128i high = _mm256_extracti128_si256(symbols, 1);

	decode4_part(rest, low, out, rotate);
	decode4_part(rest + 24, _mm_srli_si128(low, 8), out + 32, rotate);
	decode4_part(rest + 48, high, out + 64, rotate);
	decode4_part(rest + 72, _mm_srli_si128(high, 8), out + 96, rotate);
}

KERNEL uint32_t decode(const struct nibble_form *form, struct nibble_parts *p,
		       const unsigned stride, const bool rotate)
{
	const __m256i table = _mm256_broadcastsi128_si256(load_half(form->symbols));
	/* No half byte is 16. */
	const __m256i escape = _mm256_set1_epi8(form->has_escapes ? NIBBLE_ESCAPE : 16);
	uint32_t words = p->words - p->words % NIBBLE_GROUP;

	for (uint32_t i = 0; i < words; i += 32) {
		__m256i halves = halves_load(p->halves + i / 2);
		__m256i symbols = _mm256_shuffle_epi8(table, halves);
		uint32_t escapes =
			(uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(halves, escape));
		const uint8_t *rest = p->rest + (size_t)i * (stride - 1);
		uint8_t *out = p->plain + (size_t)i * stride;

		if (i % NIBBLE_GROUP == 0)
			nibble_prefetch(p, i, stride);
		if (escapes && !escapes_take(p, escapes, &symbols))
			return i;
		if (stride == 1)
			store(out, symbols);
		else if (stride == 2)
			decode2(rest, symbols, out, rotate);
		else
			decode4(rest, symbols, out, rotate);
	}
	return words;
}

AVX2_TARGET uint32_t nibble_avx2_decode(const struct nibble_form *form,
					struct nibble_parts *parts)
{
	return NIBBLE_BY_FORM(form, decode, form, parts);
}

/* --- encoding: 32 words ---- */

/* The rest is stored, the symbols are returned in order. */
KERNEL __m256i split2(const uint8_t *in, uint8_t *rest, const bool rotate)
{
	const __m256i low_mask = _mm256_set1_epi16(0xff);
	__m256i a = load(in), b = load(in + 32);

	if (rotate) {
		a = _mm256_or_si256(_mm256_slli_epi16(a, 1), _mm256_srli_epi16(a, 15));
		b = _mm256_or_si256(_mm256_slli_epi16(b, 1), _mm256_srli_epi16(b, 15));
	}
	__m256i lows = _mm256_packus_epi16(_mm256_and_si256(a, low_mask),
					   _mm256_and_si256(b, low_mask));
	__m256i highs = _mm256_packus_epi16(_mm256_srli_epi16(a, 8), _mm256_srli_epi16(b, 8));
	store(rest, _mm256_permute4x64_epi64(lows, 0xd8));
	return _mm256_permute4x64_epi64(highs, 0xd8);
}

/* Eight words: 24 bytes of rest; the symbols in the low four bytes of each half. */
KERNEL __m256i split4_part(const uint8_t *in, uint8_t *rest, const bool rotate)
{
	const __m256i gather = _mm256_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 3, 7, 11,
						15, 0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 3, 7,
						11, 15);
	const __m256i close = _mm256_setr_epi32(0, 1, 2, 4, 5, 6, 3, 7);
	__m256i words = load(in);

	if (rotate)
		words = _mm256_or_si256(_mm256_slli_epi32(words, 1), _mm256_srli_epi32(words, 31));
	words = _mm256_shuffle_epi8(words, gather);
	__m256i closed = _mm256_permutevar8x32_epi32(words, close);
	_mm_storeu_si128((__m128i *)(void *)rest, _mm256_castsi256_si128(closed));
	_mm_storel_epi64((__m128i *)(void *)(rest + 16), _mm256_extracti128_si256(closed, 1));
	return _mm256_srli_si256(words, 12);
}

KERNEL __m256i split4(const uint8_t *in, uint8_t *rest, const bool rotate)
{
	const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
	__m256i a = split4_part(in, rest, rotate);
	__m256i b = split4_part(in + 32, rest + 24, rotate);
	__m256i c = split4_part(in + 64, rest + 48, rotate);
	__m256i d = split4_part(in + 96, rest + 72, rotate);
	__m256i all = _mm256_unpacklo_epi64(_mm256_unpacklo_epi32(a, b),
					    _mm256_unpacklo_epi32(c, d));

	/* a and b have words 0-3 and 8-11 in the low half, 4-7 and 12-15 in the high one. */
	return _mm256_permutevar8x32_epi32(all, order);
}

/* What to compare with; a symbol that the table has not is the first one once more. */
struct table {
	__m256i symbols[NIBBLE_SYMBOLS], halves[NIBBLE_SYMBOLS];
};

KERNEL void table_fill(struct table *t, const struct nibble_form *form)
{
	for (uint32_t i = 0; i < NIBBLE_SYMBOLS; i++) {
		uint32_t at = i < form->symbol_count ? i : 0;

		t->symbols[i] = _mm256_set1_epi8((char)form->symbols[at]);
		t->halves[i] = _mm256_set1_epi8((char)at);
	}
}

/* Which symbol each byte is, or NIBBLE_ESCAPE; in *missing a bit for each that is none. */
KERNEL __m256i halves_of(__m256i bytes, const struct table *t, uint32_t *missing)
{
	__m256i halves = _mm256_setzero_si256(), hits = _mm256_setzero_si256();

#pragma GCC unroll 16
	for (unsigned i = 0; i < NIBBLE_SYMBOLS; i++) {
		__m256i hit = _mm256_cmpeq_epi8(bytes, t->symbols[i]);

		hits = _mm256_or_si256(hits, hit);
		halves = _mm256_or_si256(halves, _mm256_and_si256(hit, t->halves[i]));
	}
	*missing = ~(uint32_t)_mm256_movemask_epi8(hits);
	return _mm256_or_si256(halves,
			       _mm256_andnot_si256(hits, _mm256_set1_epi8(NIBBLE_ESCAPE)));
}

KERNEL uint32_t encode(const struct nibble_form *form, struct nibble_parts *p,
		       const unsigned stride, const bool rotate)
{
	uint32_t words = p->words - p->words % NIBBLE_GROUP;
	struct table table;

	table_fill(&table, form);
	for (uint32_t i = 0; i < words; i += 32) {
		const uint8_t *in = p->plain + (size_t)i * stride;
		uint8_t *rest = p->rest + (size_t)i * (stride - 1);
		uint8_t line[32];
		uint32_t missing;
		__m256i tops;

		tops = stride == 1   ? load(in)
		       : stride == 2 ? split2(in, rest, rotate)
				     : split4(in, rest, rotate);
		__m256i halves = halves_of(tops, &table, &missing);
		if (missing) {
			if (p->escapes_end - p->escapes < (ptrdiff_t)sizeof(line))
				return i;
			store(line, tops);
			escapes_put(p, missing, line);
		}
		/* Pairs of bytes to one: low + 16 * high. */
		halves = _mm256_maddubs_epi16(halves, _mm256_set1_epi16(0x1001));
		halves = _mm256_permute4x64_epi64(_mm256_packus_epi16(halves, halves), 0xd8);
		_mm_storeu_si128((__m128i *)(void *)(p->halves + i / 2),
				 _mm256_castsi256_si128(halves));
	}
	return words;
}

AVX2_TARGET uint32_t nibble_avx2_encode(const struct nibble_form *form, struct nibble_parts *parts)
{
	return NIBBLE_BY_FORM(form, encode, form, parts);
}

#endif
