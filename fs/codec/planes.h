/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The strong codec for weights: a block taken as words of 1, 2 or 4 bytes, whose bytes of equal
 * place make a plane each, so that the exponents of numbers stand together (alone in their byte if
 * words are rotated left by one bit first). Each plane is raw, one byte, Huffman coded, with a code
 * for each of several classes of its chunks, or zstd; of rows that are alike it has differences.
 * The stored bytes tell all that a decoder needs; their layout stands in cairn-format(5).
 *
 * Pure; threads: any, each with its own scratch.
 */
#ifndef CAIRN_FS_CODEC_PLANES_H
#define CAIRN_FS_CODEC_PLANES_H

#include "fs/base/base.h"

#define PLANES_STRIDE_MAX 4u

struct codec_plan;			/* fs/codec/codec.h */
struct ZSTD_CCtx_s;
struct ZSTD_DCtx_s;

/* Borrows zstd's contexts, which outlive it. */
struct planes_scratch;
struct planes_scratch *planes_scratch_create(struct ZSTD_CCtx_s *encoder,
					     struct ZSTD_DCtx_s *decoder);	/* NULL: memory */
void planes_scratch_destroy(struct planes_scratch *s);

/*
 * Encode `len` bytes (1 .. BLOCK_BYTES_MAX) as words of plan->stride bytes, the first whole one at
 * plan->phase (below the stride), rotated if plan->rotate. The length, at most `room` (itself at
 * most BLOCK_BYTES_MAX), or 0: does not fit.
 */
must_check uint32_t planes_encode(struct planes_scratch *s, const struct codec_plan *plan,
				  const void *plain, uint32_t len, void *out, uint32_t room);
/* The length, at most `room`; -E_MALFORMED: not an encoding, or of more bytes. */
must_check int64_t planes_decode(struct planes_scratch *s, const void *stored, uint32_t stored_len,
				 void *out, uint32_t room);

#endif
