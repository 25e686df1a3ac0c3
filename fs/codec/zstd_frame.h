/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A zstd frame as foreign bytes: exactly one (RFC 8878). The library alone would also take legacy
 * formats, which other decoders of it read, and any number of empty frames, which cost time.
 */
#ifndef CAIRN_FS_CODEC_ZSTD_FRAME_H
#define CAIRN_FS_CODEC_ZSTD_FRAME_H

#include <zstd.h>

#include "fs/base/base.h"

/* Into `room` bytes: how many it has, or -1: not one frame, or of more bytes. Threads: one for each
 * context. */
must_check int64_t zstd_frame_decode(ZSTD_DCtx *decoder, const void *stored, uint32_t stored_len,
				     void *out, uint32_t room);

#endif
