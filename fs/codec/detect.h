/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The detector: a look at a sample of a block that says how to encode it. It sees how alike bytes
 * at equal places of words are, for words of 1, 2 and 4 bytes, rotated and not, and how often four
 * bytes come again; it costs about two microseconds and reads 2 KiB.
 *
 * Nothing depends on it but size and speed: any plan encodes any block, or leaves it raw.
 * Pure; threads: any.
 */
#ifndef CAIRN_FS_CODEC_DETECT_H
#define CAIRN_FS_CODEC_DETECT_H

#include "fs/codec/codec.h"

/* What codec_detect() does, for 1 .. BLOCK_BYTES_MAX bytes. */
void detect_plan(enum codec_aim aim, const struct codec_bytes *plain,
		 const struct codec_plan *previous, struct codec_plan *out);

#endif
