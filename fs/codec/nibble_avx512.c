/* SPDX-License-Identifier: Apache-2.0 */
/* Nibble by AVX-512 (VBMI: permutations of single bytes): groups of 64 words. */
#include "fs/codec/nibble_internal.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define AVX512_TARGET \
	__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2")))
#define KERNEL static inline __attribute__((always_inline)) AVX512_TARGET

KERNEL __m512i load(const uint8_t *at)
{
	return _mm512_loadu_si512(at);
}

/* Which symbols 64 words have, in order. */
KERNEL __m512i halves_load(const uint8_t *halves)
{
	__m512i pairs = _mm512_cvtepu8_epi16(
		_mm256_loadu_si256((const __m256i *)(const void *)halves));
	__m512i split = _mm512_or_si512(pairs, _mm512_slli_epi16(pairs, 4));

	return _mm512_and_si512(split, _mm512_set1_epi8(15));
}

/* Put the next escapes to where `at` says; false: there are too few. */
KERNEL bool escapes_take(struct nibble_parts *p, __mmask64 at, __m512i *symbols)
{
	uint64_t left = (uint64_t)(p->escapes_end - p->escapes);
	uint64_t count = (uint64_t)__builtin_popcountll(at);

	if (count > left)
		return false;
	__m512i next = _mm512_maskz_loadu_epi8(~UINT64_C(0) >> (64 - count), p->escapes);
	*symbols = _mm512_mask_expand_epi8(*symbols, at, next);
	p->escapes += count;
	return true;
}

/* --- decoding: 64 words ---- */

/* For permutex2var of (rest, symbols): what goes to each byte of the words. */
struct join {
	__m512i from[4];
};

KERNEL void join_fill(struct join *join, const unsigned stride)
{
	uint8_t from[4][64];

	for (unsigned part = 0; part < stride; part++) {
		for (unsigned i = 0; i < 64; i++) {
			unsigned word = i / stride, at = i % stride;
			unsigned first = stride == 2 ? part * 32 : 0; /* rest: 48 bytes a part */

			from[part][i] = (uint8_t)(at == stride - 1
							  ? 64 + part * (64 / stride) + word
							  : (first + word) * (stride - 1) + at);
		}
		join->from[part] = load(from[part]);
	}
}

KERNEL uint32_t decode(const struct nibble_form *form, struct nibble_parts *p,
		       const unsigned stride, const bool rotate)
{
	const __m512i table = _mm512_broadcast_i32x4(
		_mm_loadu_si128((const __m128i *)(const void *)form->symbols));
	uint32_t words = p->words - p->words % NIBBLE_GROUP;
	/* No half byte is 16. */
	const __m512i escape = _mm512_set1_epi8(form->has_escapes ? NIBBLE_ESCAPE : 16);
	struct join join;

	join_fill(&join, stride);
	for (uint32_t i = 0; i < words; i += NIBBLE_GROUP) {
		__m512i halves = halves_load(p->halves + i / 2);
		__m512i symbols = _mm512_shuffle_epi8(table, halves);
		__mmask64 escapes = _mm512_cmpeq_epi8_mask(halves, escape);
		const uint8_t *rest = p->rest + (size_t)i * (stride - 1);
		uint8_t *out = p->plain + (size_t)i * stride;

		nibble_prefetch(p, i, stride);
		if (escapes && !escapes_take(p, escapes, &symbols))
			return i;
		if (stride == 1)
			_mm512_storeu_si512(out, symbols);
#pragma GCC unroll 4
		for (unsigned part = 0; stride > 1 && part < stride; part++) {
			/* Of words of four, each part has its 48 bytes, and reads 16 more. */
			__m512i low = load(rest + (stride == 4 ? 48 * part : 0));
			__m512i v = _mm512_permutex2var_epi8(low, join.from[part], symbols);

			if (rotate)
				v = stride == 2 ? _mm512_shrdi_epi16(v, v, 1)
						: _mm512_ror_epi32(v, 1);
			_mm512_storeu_si512(out + 64 * part, v);
		}
	}
	return words;
}

AVX512_TARGET uint32_t nibble_avx512_decode(const struct nibble_form *form,
					    struct nibble_parts *parts)
{
	return NIBBLE_BY_FORM(form, decode, form, parts);
}

/* --- encoding: 64 words ---- */

/* The rest is stored, the symbols are returned in order. */
KERNEL __m512i split2(const uint8_t *in, uint8_t *rest, __m512i lows, const bool rotate)
{
	__m512i a = load(in), b = load(in + 64);

	if (rotate) {
		a = _mm512_shldi_epi16(a, a, 1);
		b = _mm512_shldi_epi16(b, b, 1);
	}
	_mm512_storeu_si512(rest, _mm512_permutex2var_epi8(a, lows, b));
	return _mm512_permutex2var_epi8(a, _mm512_add_epi8(lows, _mm512_set1_epi8(1)), b);
}

/* Sixteen words: the rest to 48 bytes, the symbols behind it. */
KERNEL __m512i split4_part(const uint8_t *in, uint8_t *rest, __m512i order, const bool rotate)
{
	__m512i words = load(in);

	if (rotate)
		words = _mm512_rol_epi32(words, 1);
	words = _mm512_permutexvar_epi8(order, words);
	_mm256_storeu_si256((__m256i *)(void *)rest, _mm512_castsi512_si256(words));
	_mm_storeu_si128((__m128i *)(void *)(rest + 32), _mm512_extracti32x4_epi32(words, 2));
	return words;
}

KERNEL __m512i split4(const uint8_t *in, uint8_t *rest, __m512i order, const bool rotate)
{
	__m128i tops[4];

#pragma GCC unroll 4
	for (unsigned part = 0; part < 4; part++)
		tops[part] = _mm512_extracti32x4_epi32(
			split4_part(in + 64 * part, rest + 48 * part, order, rotate), 3);
	__m512i all = _mm512_castsi128_si512(tops[0]);
	all = _mm512_inserti32x4(all, tops[1], 1);
	all = _mm512_inserti32x4(all, tops[2], 2);
	return _mm512_inserti32x4(all, tops[3], 3);
}

/* index[] in registers. */
struct index {
	__m512i part[4];
};

/* Which symbol each byte is; those that are none have NIBBLE_MISSING. */
KERNEL __m512i halves_of(__m512i bytes, const struct index *t)
{
	__m512i low = _mm512_permutex2var_epi8(t->part[0], bytes, t->part[1]);
	__m512i high = _mm512_permutex2var_epi8(t->part[2], bytes, t->part[3]);

	return _mm512_mask_blend_epi8(_mm512_movepi8_mask(bytes), low, high);
}

/* For two-byte words: the even bytes of two registers; for four: three of each four, then the
 * fourths. */
KERNEL __m512i split_order(const unsigned stride)
{
	uint8_t from[64];

	for (unsigned i = 0; i < 64; i++)
		from[i] = (uint8_t)(stride == 2 ? 2 * i
				    : i < 48	? i / 3 * 4 + i % 3
						: (i - 48) * 4 + 3);
	return load(from);
}

KERNEL uint32_t encode(const struct nibble_form *form, struct nibble_parts *p,
		       const unsigned stride, const bool rotate)
{
	uint32_t words = p->words - p->words % NIBBLE_GROUP;
	const __m512i order = split_order(stride);
	struct index index;

	for (unsigned i = 0; i < 4; i++)
		index.part[i] = load(form->index + 64 * i);
	for (uint32_t i = 0; i < words; i += NIBBLE_GROUP) {
		const uint8_t *in = p->plain + (size_t)i * stride;
		uint8_t *rest = p->rest + (size_t)i * (stride - 1);
		__m512i tops;

		tops = stride == 1   ? load(in)
		       : stride == 2 ? split2(in, rest, order, rotate)
				     : split4(in, rest, order, rotate);
		__m512i halves = halves_of(tops, &index);
		__mmask64 missing = _mm512_movepi8_mask(halves);
		if (missing) {
			if (p->escapes_end - p->escapes < (ptrdiff_t)NIBBLE_GROUP)
				return i;
			_mm512_storeu_si512(p->escapes, _mm512_maskz_compress_epi8(missing, tops));
			p->escapes += __builtin_popcountll(missing);
		}
		halves = _mm512_and_si512(halves, _mm512_set1_epi8(15));
		/* Pairs of bytes to one: low + 16 * high. */
		halves = _mm512_maddubs_epi16(halves, _mm512_set1_epi16(0x1001));
		_mm256_storeu_si256((__m256i *)(void *)(p->halves + i / 2),
				    _mm512_cvtepi16_epi8(halves));
	}
	return words;
}

AVX512_TARGET uint32_t nibble_avx512_encode(const struct nibble_form *form,
					    struct nibble_parts *parts)
{
	return NIBBLE_BY_FORM(form, encode, form, parts);
}

#endif
