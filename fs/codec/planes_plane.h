/* SPDX-License-Identifier: Apache-2.0 */
/* Private to planes*.c: one plane to what is stored of it, and back. */
#ifndef CAIRN_FS_CODEC_PLANES_PLANE_H
#define CAIRN_FS_CODEC_PLANES_PLANE_H

#include "fs/codec/planes.h"
#include "fs/codec/planes_mix.h"
#include "fs/codec/planes_rows.h"

/*
 * On disk: for ever. MIXED: which class each chunk is of, kind and stored bytes of each class, then
 * these; a class is of one of the other kinds.
 */
enum planes_kind { PLANES_RAW, PLANES_CONSTANT, PLANES_HUFFMAN, PLANES_ZSTD, PLANES_MIXED };
#define PLANES_DIFFERENCES 8u		/* with the kind: to be added to the rows before */

struct planes_stored {
	uint8_t kind;
	uint16_t len;			/* bytes */
};

struct planes_extent {
	uint32_t words;
	uint32_t distance;		/* of differences; 0: there are none */
};

#define PLANES_CLASS_BITS  2u		/* of each chunk, in a mixed plane */
#define PLANES_CLASS_BYTES 3u		/* kind u8, stored bytes u16 */

struct planes_scratch {
	struct ZSTD_CCtx_s *zstd_encoder;
	struct ZSTD_DCtx_s *zstd_decoder;
	struct huffman_decoder *huffman;
	struct planes_mix mix;
	uint8_t planes[BLOCK_BYTES_MAX];	/* one behind the other */
	uint8_t classes[BLOCK_BYTES_MAX];	/* of one plane, one behind the other */
	uint8_t differences[BLOCK_BYTES_MAX];	/* of one plane */
};

/* What is known of a plane that is to be stored. */
struct planes_task {
	uint32_t words;
	uint32_t least;			/* bytes that what is slower to decode must save */
	bool is_mantissa;		/* in front of the exponents of floats */
	struct planes_rows rows;	/* of the last plane */
};

/* Behind what `w` has; false: no room. */
must_check bool planes_plane_store(struct planes_scratch *s, const uint8_t *plane,
				   const struct planes_task *task, struct planes_stored *out,
				   struct wr *w);
/*
 * Into `to`, with the distance of differences, if any; raw ones stay where they are. Where they are
 * then, NULL: malformed.
 */
const uint8_t *planes_plane_load(struct planes_scratch *s, const struct planes_stored *plane,
				 const uint8_t *stored, uint8_t *to,
				 const struct planes_extent *extent);

/* The bytes that say which class each chunk is of. */
uint32_t planes_plane_class_bytes(const struct planes_mix *mix);

#endif
