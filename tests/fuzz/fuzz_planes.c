/* SPDX-License-Identifier: Apache-2.0 */
/* Planes: any bytes decode within bounds or are refused; words of any shape come back. */
#include "fs/codec/planes.h"

#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "fs/codec/codec.h"
#include "tests/fuzz/fuzz.h"

#define ROUND_TRIP 0x80u		/* in the first byte, beside the shape of words */

static void decode(struct planes_scratch *s, const uint8_t *data, uint32_t len)
{
	uint32_t room = data[0] | (uint32_t)data[1] << 8;
	uint8_t *out = malloc(MAX_OF(room, 1u));	/* ends where the room does */

	ASSERT(out);
	int64_t plain_len = planes_decode(s, data + 2, len - 2, out, room);
	ASSERT(plain_len == -E_MALFORMED || (plain_len > 0 && plain_len <= room));
	free(out);
}

static void round_trip(struct planes_scratch *s, unsigned shape, const uint8_t *data, uint32_t len)
{
	static uint8_t stored[BLOCK_BYTES_MAX], out[BLOCK_BYTES_MAX];
	const uint8_t stride = (uint8_t)(1u << (shape & 3) % 3);
	const struct codec_plan plan = {.codec = CODEC_PLANES, .stride = stride,
					.phase = (uint8_t)((shape >> 2 & 3) % stride),
					.rotate = shape >> 4 & 1};
	uint32_t stored_len = planes_encode(s, &plan, data, len, stored, len);

	ASSERT(stored_len <= len);
	if (stored_len == 0)
		return;
	ASSERT(planes_decode(s, stored, stored_len, out, len) == len);
	ASSERT(memcmp(out, data, len) == 0);
}

/* shape u8; then plain bytes, or room u16 and stored bytes */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct planes_scratch *scratch;

	if (!scratch)
		scratch = planes_scratch_create(ZSTD_createCCtx(), ZSTD_createDCtx());
	ASSERT(scratch);
	if (size < 4 || size > BLOCK_BYTES_MAX)
		return 0;
	if (data[0] & ROUND_TRIP)
		round_trip(scratch, data[0], data + 1, (uint32_t)size - 1);
	else
		decode(scratch, data + 1, (uint32_t)size - 1);
	return 0;
}
