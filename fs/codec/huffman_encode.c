/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Encoding. The streams are pieces of the bytes one behind the other, cut where each has about the
 * same number of bits, so that a decoder comes to their ends at the same time.
 */
#include "fs/codec/huffman.h"

#include <string.h>

#include "fs/base/bytes.h"

#define PIECE	      256u	/* streams are cut at multiples */
#define PIECES_MAX    (HUFFMAN_BYTES_MAX / PIECE)
#define CODE_SHIFT    8u	/* a code stands above its length */
#define GROUP	      5u	/* codes that fit a word beside the seven bits before them */

_Static_assert(GROUP * HUFFMAN_BITS_MAX + 7 < 64, "a group of codes fits a word");

struct codes {
	uint32_t of[HUFFMAN_SYMBOLS];
};

/* Bytes start .. end, and what they take. */
struct stream {
	uint32_t start, end;
	uint32_t stored;
};

/* Canonical: shorter codes are smaller numbers, those of one length ascend with the symbols. */
static void codes_of(const struct huffman_lengths *code, struct codes *out)
{
	uint32_t next[HUFFMAN_BITS_MAX + 2] = {0}, counts[HUFFMAN_BITS_MAX + 1] = {0};

	for (unsigned s = 0; s < HUFFMAN_SYMBOLS; s++)
		counts[code->of[s]]++;
	counts[0] = 0;
	for (unsigned bits = 1; bits <= HUFFMAN_BITS_MAX; bits++)
		next[bits + 1] = (next[bits] + counts[bits]) << 1;
	for (unsigned s = 0; s < HUFFMAN_SYMBOLS; s++) {
		unsigned bits = code->of[s];

		out->of[s] = bits ? next[bits]++ << CODE_SHIFT | bits : 0;
	}
}

static void symbols_range(const struct huffman_lengths *code, unsigned *first, unsigned *last)
{
	for (*first = 0; code->of[*first] == 0; ++*first)
		ASSERT(*first < HUFFMAN_SYMBOLS - 1);
	for (*last = HUFFMAN_SYMBOLS - 1; code->of[*last] == 0; --*last)
		;
}

static void header_write(const struct huffman_lengths *code, struct wr *w)
{
	unsigned first, last;

	symbols_range(code, &first, &last);
	wr_u8(w, (uint8_t)first);
	wr_u8(w, (uint8_t)last);
	for (unsigned s = first; s <= last; s += 2) {
		unsigned high = s < last ? code->of[s + 1] : 0;

		wr_u8(w, (uint8_t)(code->of[s] | high << 4));
	}
}

uint32_t huffman_bound(const uint32_t counts[HUFFMAN_SYMBOLS], const struct huffman_lengths *code)
{
	unsigned first, last;
	uint32_t bits = 0;

	symbols_range(code, &first, &last);
	for (unsigned s = first; s <= last; s++)
		bits += counts[s] * code->of[s];
	return 2 + DIV_CEIL(last - first + 1, 2) + 4 * (HUFFMAN_STREAMS - 1) + DIV_CEIL(bits, 8) +
	       HUFFMAN_STREAMS;
}

static uint32_t piece_bits(const struct huffman_lengths *code, const uint8_t *bytes, uint32_t len)
{
	uint32_t bits = 0;

	for (uint32_t i = 0; i < len; i++)
		bits += code->of[bytes[i]];
	return bits;
}

static void streams_cut(const struct huffman_lengths *code, const uint8_t *bytes, uint32_t len,
			struct stream streams[HUFFMAN_STREAMS])
{
	uint32_t bits[PIECES_MAX], pieces = DIV_CEIL(len, PIECE), total = 0, before = 0, at = 0;

	for (uint32_t i = 0; i < pieces; i++) {
		bits[i] = piece_bits(code, bytes + i * PIECE, MIN_OF(PIECE, len - i * PIECE));
		total += bits[i];
	}
	for (uint32_t s = 0; s < HUFFMAN_STREAMS; s++) {
		uint32_t share = (uint32_t)((uint64_t)total * (s + 1) / HUFFMAN_STREAMS);
		uint32_t own = 0;

		streams[s].start = MIN_OF(at * PIECE, len);
		while (at < pieces && before + own + bits[at] / 2 <= share)
			own += bits[at++];
		before += own;
		streams[s].end = MIN_OF(at * PIECE, len);
		streams[s].stored = DIV_CEIL(own, 8);
	}
	ASSERT(at == pieces);
}

/* As many bits as are in `bits` below `used`, from the highest bit of each byte on. */
static void bits_store(uint8_t *out, uint64_t bits, unsigned used)
{
	uint64_t word = bits << (64 - used);

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	word = __builtin_bswap64(word);
#endif
	memcpy(out, &word, sizeof word);
}

static inline __attribute__((always_inline)) void
code_add(uint64_t *bits, unsigned *used, uint32_t code)
{
	unsigned len = code & 0xff;

	*bits = *bits << len | code >> CODE_SHIFT;
	*used += len;
}

/* Writes whole words where there is room for them, and nothing from `end` on. */
static void stream_write(const struct codes *codes, const uint8_t *bytes, uint32_t len,
			 uint8_t *out, const uint8_t *end)
{
	uint64_t bits = 0;
	unsigned used = 0;
	uint32_t at = 0;

	for (; at + GROUP <= len && end - out >= 8; at += GROUP) {
		for (unsigned i = 0; i < GROUP; i++)
			code_add(&bits, &used, codes->of[bytes[at + i]]);
		bits_store(out, bits, used);
		out += used / 8;
		used %= 8;
	}
	for (; at < len; at++) {
		code_add(&bits, &used, codes->of[bytes[at]]);
		for (; used >= 8; used -= 8)
			*out++ = (uint8_t)(bits >> (used - 8));
	}
	if (used > 0)
		*out++ = (uint8_t)(bits << (8 - used));
	ASSERT(out <= end);
}

uint32_t huffman_encode(const struct huffman_lengths *code, const uint8_t *bytes, uint32_t len,
			uint8_t *out, uint32_t room)
{
	struct stream streams[HUFFMAN_STREAMS];
	struct wr w = wr_init(out, room);
	struct codes codes;
	uint32_t stored = 0;

	ASSERT(len >= 1 && len <= HUFFMAN_BYTES_MAX);
	streams_cut(code, bytes, len, streams);
	header_write(code, &w);
	for (uint32_t s = 0; s < HUFFMAN_STREAMS; s++) {
		stored += streams[s].stored;
		if (s == HUFFMAN_STREAMS - 1)
			break;
		wr_u16(&w, (uint16_t)(streams[s].end - streams[s].start));
		wr_u16(&w, (uint16_t)streams[s].stored);
	}
	if (!wr_ok(&w) || stored > room - wr_len(&w))
		return 0;
	codes_of(code, &codes);
	uint8_t *at = w.at;
	for (uint32_t s = 0; s < HUFFMAN_STREAMS; s++) {
		stream_write(&codes, bytes + streams[s].start, streams[s].end - streams[s].start,
			     at, at + streams[s].stored);
		at += streams[s].stored;
	}
	return (uint32_t)(at - out);
}
