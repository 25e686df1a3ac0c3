/* SPDX-License-Identifier: Apache-2.0 */
/* Nibble in plain C: what the kernels must do. */
#include "fs/codec/nibble_internal.h"

#define KERNEL static inline __attribute__((always_inline))

/* A word of `stride` bytes, little-endian. */
KERNEL uint32_t word_get(const uint8_t *at, const unsigned stride)
{
	uint32_t word = at[0];

	if (stride >= 2)
		word |= (uint32_t)at[1] << 8;
	if (stride == 4)
		word |= (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
	return word;
}

KERNEL void word_put(uint8_t *at, uint32_t word, const unsigned stride)
{
	at[0] = (uint8_t)word;
	if (stride >= 2)
		at[1] = (uint8_t)(word >> 8);
	if (stride == 4) {
		at[2] = (uint8_t)(word >> 16);
		at[3] = (uint8_t)(word >> 24);
	}
}

KERNEL uint32_t word_rotate(uint32_t word, const unsigned stride)
{
	return word << 1 | word >> (8 * stride - 1);
}

KERNEL uint32_t word_rotate_back(uint32_t word, const unsigned stride)
{
	return word >> 1 | word << (8 * stride - 1);
}

/* --- decoding ---- */

KERNEL void word_decode(const struct nibble_parts *p, uint32_t at, uint8_t symbol,
			const unsigned stride, const bool rotate)
{
	const uint8_t *rest = p->rest + (size_t)at * (stride - 1);
	uint32_t word = (uint32_t)symbol << (8 * (stride - 1));

	if (stride >= 2)
		word |= rest[0];
	if (stride == 4)
		word |= (uint32_t)rest[1] << 8 | (uint32_t)rest[2] << 16;
	if (rotate)
		word = word_rotate_back(word, stride);
	word_put(p->plain + (size_t)at * stride, word, stride);
}

/* The symbol that a half byte names; false: an escape, and there is none left. */
KERNEL bool half_decode(const struct nibble_form *form, struct nibble_parts *p, unsigned half,
			uint8_t *symbol)
{
	*symbol = form->symbols[half];
	if (half != NIBBLE_ESCAPE || !form->has_escapes)
		return true;
	if (p->escapes == p->escapes_end)
		return false;
	*symbol = *p->escapes++;
	return true;
}

KERNEL bool words_decode(const struct nibble_form *form, struct nibble_parts *p, uint32_t from,
			 const unsigned stride, const bool rotate)
{
	for (uint32_t i = from; i < p->words; i++) {
		uint8_t symbol;

		if (!half_decode(form, p, p->halves[i / 2] >> 4 * (i % 2) & 15, &symbol))
			return false;
		word_decode(p, i, symbol, stride, rotate);
	}
	return true;
}

bool nibble_plain_decode(const struct nibble_form *form, struct nibble_parts *parts, uint32_t from)
{
	return NIBBLE_BY_FORM(form, words_decode, form, parts, from);
}

/* --- encoding ---- */

/* Everything of a word but its symbol, which is returned. */
KERNEL uint8_t word_split(const struct nibble_parts *p, uint32_t at, const unsigned stride,
			  const bool rotate)
{
	uint8_t *rest = p->rest + (size_t)at * (stride - 1);
	uint32_t word = word_get(p->plain + (size_t)at * stride, stride);

	if (rotate)
		word = word_rotate(word, stride);
	if (stride >= 2)
		rest[0] = (uint8_t)word;
	if (stride == 4) {
		rest[1] = (uint8_t)(word >> 8);
		rest[2] = (uint8_t)(word >> 16);
	}
	return (uint8_t)(word >> (8 * (stride - 1)));
}

KERNEL bool words_encode(const struct nibble_form *form, struct nibble_parts *p, uint32_t from,
			 const unsigned stride, const bool rotate)
{
	for (uint32_t i = from; i < p->words; i++) {
		uint8_t symbol = word_split(p, i, stride, rotate);
		uint8_t half = form->index[symbol];

		if (half & NIBBLE_MISSING) {
			if (p->escapes == p->escapes_end)
				return false;
			*p->escapes++ = symbol;
			half = NIBBLE_ESCAPE;
		}
		if (i % 2 == 0)
			p->halves[i / 2] = half;
		else
			p->halves[i / 2] |= (uint8_t)(half << 4);
	}
	return true;
}

bool nibble_plain_encode(const struct nibble_form *form, struct nibble_parts *parts, uint32_t from)
{
	return NIBBLE_BY_FORM(form, words_encode, form, parts, from);
}

KERNEL void words_count(const struct nibble_parts *p, uint32_t from, uint32_t to,
			uint16_t counts[NIBBLE_LANES][256], const unsigned stride,
			const bool rotate)
{
	for (uint32_t i = from; i < to; i++) {
		uint32_t word = word_get(p->plain + (size_t)i * stride, stride);

		if (rotate)
			word = word_rotate(word, stride);
		counts[i % NIBBLE_LANES][word >> (8 * (stride - 1)) & 0xff]++;
	}
}

void nibble_plain_count(const struct nibble_form *form, const struct nibble_parts *parts,
			uint32_t from, uint32_t to, uint16_t counts[NIBBLE_LANES][256])
{
	NIBBLE_BY_FORM(form, words_count, parts, from, to, counts);
}
