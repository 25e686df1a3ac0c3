/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Codecs: how the plain bytes of a block are stored. The codec is a property of a stored record,
 * never of the block's name, so replicas may differ and a block may be re-encoded at any time.
 *
 * Pure; threads: any, each with its own struct codec_scratch (working memory of zstd and lz4).
 */
#ifndef CAIRN_FS_CODEC_CODEC_H
#define CAIRN_FS_CODEC_CODEC_H

#include "fs/base/base.h"

/* On disk: for ever. */
enum codec { CODEC_RAW = 0, CODEC_LZ4 = 1, CODEC_ZSTD = 2, CODEC_NIBBLE = 3, CODEC_PLANES = 4 };
#define CODEC_COUNT 5

/*
 * What is wanted of an encoding. FAST: what is written, and hot data: decodes at the speed of
 * memory (nibble, lz4, raw). SMALL: cold data (planes, zstd, raw). The others ask for one codec.
 */
enum codec_aim {
	CODEC_AIM_RAW,
	CODEC_AIM_FAST,
	CODEC_AIM_SMALL,
	CODEC_AIM_LZ4,
	CODEC_AIM_ZSTD,
	CODEC_AIM_NIBBLE,
	CODEC_AIM_PLANES,
};
#define CODEC_AIM_COUNT 7

struct codec_scratch;
struct codec_scratch *codec_scratch_create(void);	/* NULL: out of memory */
void codec_scratch_destroy(struct codec_scratch *s);

const char *codec_name(enum codec codec);		/* "raw", "lz4", "zstd" */
must_check int codec_parse(const char *name, enum codec *out);
bool codec_is_known(unsigned number);
/* "raw", "auto", "small", and for those that ask for one codec its name: what the option takes. */
const char *codec_aim_name(enum codec_aim aim);
must_check int codec_aim_parse(const char *name, enum codec_aim *out);
/* The aim that asks for just this codec. */
enum codec_aim codec_aim_of(enum codec codec);

struct codec_bytes {
	const void *bytes;
	uint32_t len;
};

/*
 * How a block is to be encoded. NIBBLE and PLANES see words of `stride` bytes (1, 2, 4) behind
 * `phase` bytes (0 .. stride - 1), rotated left by one bit if `rotate`, so that the exponent of a
 * float stands alone in the last byte. These stand in the stored bytes as well. NIBBLE leaves
 * `front` bytes of text in front of the words out of them; the phase counts from the block's begin.
 */
struct codec_plan {
	enum codec codec;
	uint8_t param;		/* zstd: level, 0: the default; else 0 */
	uint8_t stride, phase, rotate;	/* 0 with other codecs */
	uint16_t front;			/* NIBBLE; below the length of the block */
};
/*
 * Look at a sample of the block and say how to encode it; CODEC_RAW: nothing will come of it.
 * `previous`: the plan of the block before it in the same stream, tried first; may be NULL.
 */
void codec_detect(enum codec_aim aim, const struct codec_bytes *plain,
		  const struct codec_plan *previous, struct codec_plan *out);

/*
 * Encode 1 .. BLOCK_BYTES_MAX bytes into out (capacity: as many) by the plan; the length, or 0 and
 * nothing useful in out if that would not save at least 1/16: the block is then stored raw, the
 * plain bytes are the stored ones, wherever they are. Never fails, never grows.
 */
must_check uint32_t codec_shrink(struct codec_scratch *s, const struct codec_plan *plan,
				 const struct codec_bytes *plain, void *out);

/*
 * Decode exactly plain_len bytes into out. -E_MALFORMED if the stored bytes are not the encoding
 * of plain_len bytes, or the codec is unknown (foreign bytes: I8).
 */
must_check int codec_decode(struct codec_scratch *s, unsigned codec, const void *stored,
			    uint32_t stored_len, void *out, uint32_t plain_len);

#endif
