/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private to planes*.c: words to planes and back. Plane p holds byte p, the lowest first, of each
 * word after its rotation. No kernel reads or writes a byte beyond `words` of them.
 */
#ifndef CAIRN_FS_CODEC_PLANES_WORDS_H
#define CAIRN_FS_CODEC_PLANES_WORDS_H

#include "fs/base/cpu.h"
#include "fs/codec/planes.h"

typedef void planes_split_fn(const uint8_t *in, uint8_t *const *planes, uint32_t words,
			     bool is_rotated);
typedef void planes_merge_fn(const uint8_t *const *planes, uint8_t *out, uint32_t words,
			     bool is_rotated);

struct planes_kernels {
	planes_split_fn *split2, *split4;
	planes_merge_fn *merge2, *merge4;
};

/* A kernel that a level has none of its own for is that of the level below. */
const struct planes_kernels *planes_kernels_of(enum cpu_level level);
extern const struct planes_kernels planes_words_avx2, planes_words_avx512;

#endif
