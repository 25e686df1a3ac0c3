/* SPDX-License-Identifier: Apache-2.0 */
/* Codecs: any bytes decode within bounds or are refused; whatever is encoded decodes to itself. */
#include "fs/codec/codec.h"

#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

static uint8_t stored[BLOCK_BYTES_MAX];
static uint8_t out[BLOCK_BYTES_MAX];

/* By the plan for it, which comes after plan_io, and is left there. */
static void round_trip(struct codec_scratch *scratch, enum codec_aim aim,
		       const struct codec_bytes *plain, struct codec_plan *plan_io)
{
	struct codec_plan previous = *plan_io;

	codec_detect(aim, plain, &previous, plan_io);
	uint32_t stored_len = codec_shrink(scratch, plan_io, plain, stored);
	ASSERT(stored_len < plain->len);
	if (stored_len == 0)
		return;
	int rc = codec_decode(scratch, plan_io->codec, stored, stored_len, out, plain->len);
	ASSERT(rc == 0 && memcmp(out, plain->bytes, plain->len) == 0);
}

/* codec u8, plain bytes u16 (0: 65536), then the stored bytes */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct codec_scratch *scratch;

	if (!scratch)
		scratch = codec_scratch_create();
	ASSERT(scratch);
	if (size < 4 || size > BLOCK_BYTES_MAX)
		return 0;
	uint32_t plain_len = data[1] | (uint32_t)data[2] << 8;
	if (plain_len == 0)
		plain_len = BLOCK_BYTES_MAX;
	uint8_t *exact = malloc(plain_len);
	ASSERT(exact);
	int rc = codec_decode(scratch, data[0], data + 3, (uint32_t)size - 3, exact, plain_len);
	ASSERT(rc == 0 || rc == -E_MALFORMED);
	free(exact);
	const struct codec_bytes plain = {data, (uint32_t)size};
	struct codec_plan plan = {.codec = CODEC_RAW};
	for (enum codec_aim aim = CODEC_AIM_RAW; aim < CODEC_AIM_COUNT; aim++)
		round_trip(scratch, aim, &plain, &plan);
	return 0;
}
