/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Encoding. The streams are pieces of the bytes one behind the other, cut where each has about the
 * same number of bits, so that a decoder comes to their ends at the same time.
 */
#include "fs/codec/huffman.h"

#include <string.h>

#include "fs/base/bytes.h"

#define PIECE	   256u		/* streams are cut at multiples */
#define PIECE_SEEN 32u		/* bytes of each that are looked at for that */
#define PIECES_MAX (HUFFMAN_BYTES_MAX / PIECE)
#define GROUP	   4u		/* codes that are stored at once */
#define WORD	   8u
#define STREAM_LENS_BYTES (4u * (HUFFMAN_STREAMS - 1))

_Static_assert(GROUP * HUFFMAN_BITS_MAX + 7 <= 52, "a word holds a group above the lengths");

/*
 * A code in the highest bits, its length in the lowest: so one value is both what is shifted and
 * what is added to the number of bits there are, which counts in its lowest six bits.
 */
struct codes {
	uint64_t of[HUFFMAN_SYMBOLS];
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

		out->of[s] = bits ? (uint64_t)next[bits]++ << (64 - bits) | bits : 0;
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
	return 2 + DIV_CEIL(last - first + 1, 2) + STREAM_LENS_BYTES + DIV_CEIL(bits, 8) +
	       HUFFMAN_STREAMS;
}

/* Of the bytes that are looked at. */
static uint32_t piece_bits(const struct huffman_lengths *code, const uint8_t *bytes, uint32_t len)
{
	uint32_t bits = 0;

	for (uint32_t i = 0; i < MIN_OF(len, PIECE_SEEN); i++)
		bits += code->of[bytes[i]];
	return bits;
}

/* Stream s has the bytes from starts[s] to starts[s + 1]. */
static void streams_cut(const struct huffman_lengths *code, const uint8_t *bytes, uint32_t len,
			uint32_t starts[HUFFMAN_STREAMS + 1])
{
	uint32_t bits[PIECES_MAX], pieces = DIV_CEIL(len, PIECE), total = 0, before = 0, at = 0;

	for (uint32_t i = 0; i < pieces; i++) {
		bits[i] = piece_bits(code, bytes + i * PIECE, len - i * PIECE);
		total += bits[i];
	}
	for (uint32_t s = 0; s < HUFFMAN_STREAMS; s++) {
		starts[s] = MIN_OF(at * PIECE, len);
		while (at < pieces && before + bits[at] / 2 <= total * (s + 1) / HUFFMAN_STREAMS)
			before += bits[at++];
	}
	starts[HUFFMAN_STREAMS] = len;
}

#define INLINE static inline __attribute__((always_inline))

INLINE void word_store(uint8_t *out, uint64_t word)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	word = __builtin_bswap64(word);
#endif
	memcpy(out, &word, sizeof word);
}

/*
 * Its end. Whole words are written where there is room for them before `end`, even if what follows
 * is not used yet: streams are written in order.
 */
INLINE uint8_t *stream_write(const struct codes *codes, const uint8_t *bytes, uint32_t len,
			     uint8_t *out, const uint8_t *end)
{
	uint64_t word = 0, used = 0;
	uint32_t at = 0;

	for (; at + GROUP <= len && end - out >= (ptrdiff_t)WORD; at += GROUP) {
#pragma GCC unroll 4
		for (unsigned i = 0; i < GROUP; i++) {
			uint64_t code = codes->of[bytes[at + i]];

			word |= code >> (used & 63);
			used += code;
		}
		word_store(out, word);
		out += (used & 63) / 8;
		/* The bits of a byte that is not full; below stood lengths. */
		word = word << (used & 56) & 0xffull << 56;
		used &= 7;
	}
	for (; at < len; at++) {
		uint64_t code = codes->of[bytes[at]];

		word |= (code & ~0xffull) >> used;
		used += code & 0xff;
		for (; used >= 8; used -= 8, word <<= 8)
			*out++ = (uint8_t)(word >> 56);
	}
	if (used > 0)
		*out++ = (uint8_t)(word >> 56);
	ASSERT(out <= end);
	return out;
}

static uint8_t *stream_write_plain(const struct codes *codes, const uint8_t *bytes, uint32_t len,
				   uint8_t *out, const uint8_t *end)
{
	return stream_write(codes, bytes, len, out, end);
}

#if defined(__x86_64__)
__attribute__((target("bmi,bmi2"))) static uint8_t *
stream_write_bmi(const struct codes *codes, const uint8_t *bytes, uint32_t len, uint8_t *out,
		 const uint8_t *end)
{
	return stream_write(codes, bytes, len, out, end);
}
#else
#define stream_write_bmi stream_write_plain
#endif

void huffman_encode(enum cpu_level level, const struct huffman_lengths *code, const uint8_t *bytes,
		    uint32_t len, struct wr *w)
{
	uint32_t starts[HUFFMAN_STREAMS + 1];
	struct codes codes;

	ASSERT(len >= 1 && len <= HUFFMAN_BYTES_MAX);
	header_write(code, w);
	struct wr lens = *w;		/* of the streams, which are known behind each */
	wr_zeros(w, STREAM_LENS_BYTES);
	ASSERT(wr_ok(w));
	codes_of(code, &codes);
	streams_cut(code, bytes, len, starts);
	for (uint32_t s = 0; s < HUFFMAN_STREAMS; s++) {
		uint32_t own = starts[s + 1] - starts[s];

		uint8_t *at = level >= CPU_AVX2
			? stream_write_bmi(&codes, bytes + starts[s], own, w->at, w->end)
			: stream_write_plain(&codes, bytes + starts[s], own, w->at, w->end);
		if (s < HUFFMAN_STREAMS - 1) {
			wr_u16(&lens, (uint16_t)own);
			wr_u16(&lens, (uint16_t)(at - w->at));
		}
		w->at = at;
	}
}
