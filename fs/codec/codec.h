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

enum codec { CODEC_RAW = 0, CODEC_LZ4 = 1, CODEC_ZSTD = 2 };	/* on disk: for ever */
#define CODEC_COUNT 3

struct codec_scratch;
struct codec_scratch *codec_scratch_create(void);	/* NULL: out of memory */
void codec_scratch_destroy(struct codec_scratch *s);

const char *codec_name(enum codec codec);		/* "raw", "lz4", "zstd" */
must_check int codec_parse(const char *name, enum codec *out);
bool codec_is_known(unsigned number);

struct codec_bytes {
	const void *bytes;
	uint32_t len;
};

/* What encoding came to. */
struct codec_result {
	enum codec codec;	/* CODEC_RAW when the asked one did not shrink the block */
	uint8_t param;		/* zstd: level; else 0 */
	uint32_t len;		/* stored bytes, 1 .. plain_len */
};

/*
 * Encode as codec_encode() does, but 0 and nothing useful in out if the block is to be stored raw:
 * the plain bytes are then the stored ones, wherever they are. *param is settled.
 */
must_check uint32_t codec_shrink(struct codec_scratch *s, enum codec want, uint8_t *param,
				 const struct codec_bytes *plain, void *out);
/*
 * Encode plain_len (1 .. BLOCK_BYTES_MAX) bytes into out (capacity >= plain_len) with `want`,
 * or raw if that would not save at least 1/16. Never fails, never grows.
 */
void codec_encode(struct codec_scratch *s, enum codec want, uint8_t param, const void *plain,
		  uint32_t plain_len, void *out, struct codec_result *result);

/*
 * Decode exactly plain_len bytes into out. -E_MALFORMED if the stored bytes are not the encoding
 * of plain_len bytes, or the codec is unknown (foreign bytes: I8).
 */
must_check int codec_decode(struct codec_scratch *s, unsigned codec, const void *stored,
			    uint32_t stored_len, void *out, uint32_t plain_len);

#endif
