/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private to planes*.c: a plane of several kinds of bytes (rows of a matrix that differ in scale,
 * two tensors in one block) is cut into chunks, and chunks that are alike are coded together.
 *
 * Pure; threads: any, each with its own struct planes_mix.
 */
#ifndef CAIRN_FS_CODEC_PLANES_MIX_H
#define CAIRN_FS_CODEC_PLANES_MIX_H

#include "fs/codec/huffman.h"

#define PLANES_MIX_CHUNK      64u	/* bytes */
#define PLANES_MIX_CHUNKS_MAX (BLOCK_BYTES_MAX / PLANES_MIX_CHUNK)
#define PLANES_MIX_CLASSES    4u

/* The class of each chunk, by its place; only the last chunk may be shorter. */
struct planes_mix {
	uint32_t words, chunks;
	uint8_t of[PLANES_MIX_CHUNKS_MAX];
	uint32_t bytes[PLANES_MIX_CLASSES];	/* of all chunks of a class */
};

/*
 * Find classes. False: chunks are all alike, or codes of classes would save less than `least` bytes
 * beside the one of all, as far as a look at some of them tells.
 */
bool planes_mix_find(struct planes_mix *mix, const uint8_t *plane, uint32_t words,
		     const uint32_t counts[HUFFMAN_SYMBOLS], uint32_t least);
/* From mix->of the rest is settled: the bytes of each class. */
void planes_mix_settle(struct planes_mix *mix);
/* The chunks of each class, one behind the other, by class. */
void planes_mix_gather(const struct planes_mix *mix, const uint8_t *plane, uint8_t *out);
/* And back. */
void planes_mix_scatter(const struct planes_mix *mix,
			const uint8_t *const classes[PLANES_MIX_CLASSES], uint8_t *plane);

#endif
