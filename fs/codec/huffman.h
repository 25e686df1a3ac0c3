/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes by how often they occur: canonical Huffman codes of at most HUFFMAN_BITS_MAX bits, in
 * HUFFMAN_STREAMS streams that are decoded side by side, several symbols with one look into a
 * table. The encoding holds its own code lengths; a decoder keeps the tables of the last few, as
 * the blocks of one tensor have much in common.
 *
 * The layout stands in cairn-format(5). Ideas from: zstd's huff0 (four streams, length limits, the
 * bit that marks what was consumed; RFC 8878, 4.2), F. Giesen, "Entropy coding in Oodle Data:
 * Huffman coding" (2021), Y. Collet, "Huffman revisited" (2015: several symbols at once).
 *
 * Pure; threads: any, each with its own tables.
 */
#ifndef CAIRN_FS_CODEC_HUFFMAN_H
#define CAIRN_FS_CODEC_HUFFMAN_H

#include "fs/base/cpu.h"

struct rd;
struct wr;

#define HUFFMAN_BITS_MAX  11u
#define HUFFMAN_STREAMS	  4u
#define HUFFMAN_SYMBOLS	  256u
#define HUFFMAN_BYTES_MAX BLOCK_BYTES_MAX	/* that are encoded at once */

/* --- encoding --------------------------------------------------------------------------------- */

/* Bits of the code of each byte; 0: does not occur. */
struct huffman_lengths {
	uint8_t of[HUFFMAN_SYMBOLS];
};

void huffman_count(const uint8_t *bytes, uint32_t len, uint32_t counts[HUFFMAN_SYMBOLS]);
/* The best code for these counts, at least two of which are not zero. */
void huffman_lengths_of(const uint32_t counts[HUFFMAN_SYMBOLS], struct huffman_lengths *out);
/* What an encoding takes at most: some bytes more than it does. */
uint32_t huffman_bound(const uint32_t counts[HUFFMAN_SYMBOLS], const struct huffman_lengths *code);
/*
 * Encode 1 .. HUFFMAN_BYTES_MAX bytes, all of which have a code; there is room for huffman_bound().
 * The kernels of every level (which the processor must have) write the same.
 */
void huffman_encode(enum cpu_level level, const struct huffman_lengths *code, const uint8_t *bytes,
		    uint32_t len, struct wr *w);

/* --- decoding --------------------------------------------------------------------------------- */

struct huffman_decoder;				/* the tables of the last few codes */
struct huffman_decoder *huffman_decoder_create(void);	/* NULL: out of memory */
void huffman_decoder_destroy(struct huffman_decoder *d);

/* Exactly `len` bytes (1 .. HUFFMAN_BYTES_MAX) from all the stored ones, else -E_MALFORMED. */
must_check int huffman_decode(enum cpu_level level, struct huffman_decoder *d, struct rd *stored,
			      uint8_t *out, uint32_t len);

#endif
