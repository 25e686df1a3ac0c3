/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/codec/zstd_frame.h"

#include <string.h>

int64_t zstd_frame_decode(ZSTD_DCtx *decoder, const void *stored, uint32_t stored_len, void *out,
			  uint32_t room)
{
	static const uint8_t magic[] = {0x28, 0xb5, 0x2f, 0xfd};

	if (stored_len < sizeof(magic) || memcmp(stored, magic, sizeof(magic)) != 0 ||
	    ZSTD_findFrameCompressedSize(stored, stored_len) != stored_len)
		return -1;
	size_t len = ZSTD_decompressDCtx(decoder, out, room, stored, stored_len);

	return ZSTD_isError(len) ? -1 : (int64_t)len;
}
