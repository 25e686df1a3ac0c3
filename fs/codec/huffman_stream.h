/* SPDX-License-Identifier: Apache-2.0 */
/* Private to huffman_*.c: the bits of one stream, a few codes at a time. */
#ifndef CAIRN_FS_CODEC_HUFFMAN_STREAM_H
#define CAIRN_FS_CODEC_HUFFMAN_STREAM_H

#include <string.h>

#include "fs/codec/huffman.h"

#define HUFFMAN_GROUP 4u	/* codes that are stored at once */
#define HUFFMAN_WORD  8u

_Static_assert(HUFFMAN_GROUP * HUFFMAN_BITS_MAX + 7 <= 52,
	       "a word holds a group above the lengths");

/*
 * A code in the highest bits, its length in the lowest: so one value is both what is shifted and
 * what is added to the number of bits there are, which counts in its lowest six bits.
 */
struct huffman_codes {
	uint64_t of[HUFFMAN_SYMBOLS];
};

/* Bits that are no whole byte yet: the highest `used` (below 8) of `word`; the others are zero. */
struct huffman_bits {
	uint64_t word, used;
	uint8_t *out;
};

/*
 * All bytes, from `out` on; their end. Whole words are written where there is room for them before
 * `end`, even if what follows is not used yet: streams are written in order.
 */
typedef uint8_t *huffman_stream_fn(const struct huffman_codes *codes, const uint8_t *bytes,
				   uint32_t len, uint8_t *out, const uint8_t *end);

huffman_stream_fn huffman_stream_avx512;

#define HUFFMAN_INLINE static inline __attribute__((always_inline))

HUFFMAN_INLINE void huffman_word_store(uint8_t *out, uint64_t word)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	word = __builtin_bswap64(word);
#endif
	memcpy(out, &word, sizeof word);
}

/* Whole bytes go out of `word`, which has a group; `used` counts in its lowest six bits. */
HUFFMAN_INLINE void huffman_bits_flush(struct huffman_bits *b, uint64_t word, uint64_t used)
{
	huffman_word_store(b->out, word);
	b->out += (used & 63) / 8;
	/* The bits of a byte that is not full; below stood lengths. */
	b->word = word << (used & 56) & 0xffull << 56;
	b->used = used & 7;
}

/* The rest of a stream, or all of it. */
HUFFMAN_INLINE uint8_t *huffman_stream_end(const struct huffman_codes *codes, const uint8_t *bytes,
					   uint32_t len, struct huffman_bits *b,
					   const uint8_t *end)
{
	uint32_t at = 0;

	for (; at + HUFFMAN_GROUP <= len && end - b->out >= (ptrdiff_t)HUFFMAN_WORD;
	     at += HUFFMAN_GROUP) {
		uint64_t word = b->word, used = b->used;

#pragma GCC unroll 4
		for (unsigned i = 0; i < HUFFMAN_GROUP; i++) {
			uint64_t code = codes->of[bytes[at + i]];

			word |= code >> (used & 63);
			used += code;
		}
		huffman_bits_flush(b, word, used);
	}
	for (; at < len; at++) {
		uint64_t code = codes->of[bytes[at]];

		b->word |= (code & ~0xffull) >> b->used;
		b->used += code & 0xff;
		for (; b->used >= 8; b->used -= 8, b->word <<= 8)
			*b->out++ = (uint8_t)(b->word >> 56);
	}
	if (b->used > 0)
		*b->out++ = (uint8_t)(b->word >> 56);
	ASSERT(b->out <= end);
	return b->out;
}

#endif
