/* SPDX-License-Identifier: Apache-2.0 */
/* Private to planes_words*.c: words `from` to `to`, one by one. Words are little-endian. */
#ifndef CAIRN_FS_CODEC_PLANES_WORDS_PLAIN_H
#define CAIRN_FS_CODEC_PLANES_WORDS_PLAIN_H

#include "fs/codec/planes_words.h"

static inline void planes_plain_split2(const uint8_t *in, uint8_t *const *planes, uint32_t from,
				       uint32_t to, bool is_rotated)
{
	uint8_t *low = planes[0], *high = planes[1];

	for (uint32_t i = from; i < to; i++) {
		uint32_t word = in[2 * i] | (uint32_t)in[2 * i + 1] << 8;

		if (is_rotated)
			word = word << 1 | word >> 15;
		low[i] = (uint8_t)word;
		high[i] = (uint8_t)(word >> 8);
	}
}

static inline void planes_plain_split4(const uint8_t *in, uint8_t *const *planes, uint32_t from,
				       uint32_t to, bool is_rotated)
{
	for (uint32_t i = from; i < to; i++) {
		uint32_t word = in[4 * i] | (uint32_t)in[4 * i + 1] << 8 |
				(uint32_t)in[4 * i + 2] << 16 | (uint32_t)in[4 * i + 3] << 24;

		if (is_rotated)
			word = word << 1 | word >> 31;
		planes[0][i] = (uint8_t)word;
		planes[1][i] = (uint8_t)(word >> 8);
		planes[2][i] = (uint8_t)(word >> 16);
		planes[3][i] = (uint8_t)(word >> 24);
	}
}

static inline void planes_plain_merge2(const uint8_t *const *planes, uint8_t *out, uint32_t from,
				       uint32_t to, bool is_rotated)
{
	const uint8_t *low = planes[0], *high = planes[1];

	for (uint32_t i = from; i < to; i++) {
		uint32_t word = low[i] | (uint32_t)high[i] << 8;

		if (is_rotated)
			word = word >> 1 | word << 15;
		out[2 * i] = (uint8_t)word;
		out[2 * i + 1] = (uint8_t)(word >> 8);
	}
}

static inline void planes_plain_merge4(const uint8_t *const *planes, uint8_t *out, uint32_t from,
				       uint32_t to, bool is_rotated)
{
	for (uint32_t i = from; i < to; i++) {
		uint32_t word = planes[0][i] | (uint32_t)planes[1][i] << 8 |
				(uint32_t)planes[2][i] << 16 | (uint32_t)planes[3][i] << 24;

		if (is_rotated)
			word = word >> 1 | word << 31;
		out[4 * i] = (uint8_t)word;
		out[4 * i + 1] = (uint8_t)(word >> 8);
		out[4 * i + 2] = (uint8_t)(word >> 16);
		out[4 * i + 3] = (uint8_t)(word >> 24);
	}
}

#endif
