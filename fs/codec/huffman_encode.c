/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Encoding. The streams are pieces of the bytes one behind the other, cut where each has about the
 * same number of bits, so that a decoder comes to their ends at the same time.
 */
#include "fs/codec/huffman_stream.h"

#include "fs/base/bytes.h"

#define PIECE	   256u		/* streams are cut at multiples */
#define PIECE_SEEN 32u		/* bytes of each that are looked at for that */
#define PIECES_MAX (HUFFMAN_BYTES_MAX / PIECE)
#define STREAM_LENS_BYTES (4u * (HUFFMAN_STREAMS - 1))

/* Canonical: shorter codes are smaller numbers, those of one length ascend with the symbols. */
static void codes_of(const struct huffman_lengths *code, struct huffman_codes *out)
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
	uint32_t bits = 0, other = 0;

	if (len < PIECE_SEEN) {
		for (uint32_t i = 0; i < len; i++)
			bits += code->of[bytes[i]];
		return bits;
	}
#pragma GCC unroll 16
	for (uint32_t i = 0; i < PIECE_SEEN; i += 2) {
		bits += code->of[bytes[i]];
		other += code->of[bytes[i + 1]];
	}
	return bits + other;
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

static uint8_t *stream_write_plain(const struct huffman_codes *codes, const uint8_t *bytes,
				   uint32_t len, uint8_t *out, const uint8_t *end)
{
	struct huffman_bits b = {.out = out};

	return huffman_stream_end(codes, bytes, len, &b, end);
}

#if defined(__x86_64__)
__attribute__((target("bmi,bmi2"))) static uint8_t *
stream_write_bmi(const struct huffman_codes *codes, const uint8_t *bytes, uint32_t len,
		 uint8_t *out, const uint8_t *end)
{
	struct huffman_bits b = {.out = out};

	return huffman_stream_end(codes, bytes, len, &b, end);
}
#endif

static huffman_stream_fn *stream_write_of(enum cpu_level level)
{
#if defined(__x86_64__)
	if (level == CPU_AVX512)
		return huffman_stream_avx512;
	if (level == CPU_AVX2)
		return stream_write_bmi;
#else
	(void)level;
#endif
	return stream_write_plain;
}

void huffman_encode(enum cpu_level level, const struct huffman_lengths *code, const uint8_t *bytes,
		    uint32_t len, struct wr *w)
{
	uint32_t starts[HUFFMAN_STREAMS + 1];
	huffman_stream_fn *stream_write = stream_write_of(level);
	struct huffman_codes codes;

	ASSERT(len >= 1 && len <= HUFFMAN_BYTES_MAX);
	header_write(code, w);
	struct wr lens = *w;		/* of the streams, which are known behind each */
	wr_zeros(w, STREAM_LENS_BYTES);
	ASSERT(wr_ok(w));
	codes_of(code, &codes);
	streams_cut(code, bytes, len, starts);
	for (uint32_t s = 0; s < HUFFMAN_STREAMS; s++) {
		uint32_t own = starts[s + 1] - starts[s];

		uint8_t *at = stream_write(&codes, bytes + starts[s], own, w->at, w->end);

		if (s < HUFFMAN_STREAMS - 1) {
			wr_u16(&lens, (uint16_t)own);
			wr_u16(&lens, (uint16_t)(at - w->at));
		}
		w->at = at;
	}
}
