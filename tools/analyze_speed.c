/* SPDX-License-Identifier: Apache-2.0 */
/* Encoding and decoding, timed by the processor time of this thread: others may be busy. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tools/analyze.h"

#define ROUND_NS_MIN 50000000u /* repeat until it took so long */
#define NS_PER_S     1e9

int analyze_speed_offer(struct speed_blocks *s, const void *plain, uint32_t len)
{
	uint64_t place = s->seen++;

	if (!s->bytes)
		s->bytes = malloc((size_t)SPEED_BLOCKS_MAX * BLOCK_BYTES_MAX);
	if (!s->bytes)
		return -E_NOMEM;
	if (s->count == SPEED_BLOCKS_MAX) {
		/* PCG's multiplier and increment; the same blocks in each run */
		s->random = s->random * 6364136223846793005u + 1442695040888963407u;
		place = (s->random >> 16) % s->seen;
		if (place >= SPEED_BLOCKS_MAX)
			return 0;
	} else {
		s->count++;
	}
	memcpy(s->bytes + place * BLOCK_BYTES_MAX, plain, len);
	s->lengths[place] = len;
	return 0;
}

void analyze_speed_finish(struct speed_blocks *s)
{
	free(s->bytes);
	s->bytes = NULL;
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

struct coded {
	uint8_t *bytes; /* BLOCK_BYTES_MAX for each block */
	uint32_t lengths[SPEED_BLOCKS_MAX];
	uint8_t codecs[SPEED_BLOCKS_MAX];
};

static void encode_all(const struct speed_blocks *s, enum codec_aim aim,
		       struct codec_scratch *codec, struct coded *out)
{
	struct codec_plan plan, before;

	for (uint32_t i = 0; i < s->count; i++) {
		struct codec_bytes plain = {s->bytes + (size_t)i * BLOCK_BYTES_MAX, s->lengths[i]};

		codec_detect(aim, &plain, i ? &before : NULL, &plan);
		before = plan;
		out->lengths[i] = codec_shrink(codec, &plan, &plain,
					       out->bytes + (size_t)i * BLOCK_BYTES_MAX);
		out->codecs[i] = (uint8_t)plan.codec;
		if (out->lengths[i] == 0) { /* raw is sent from where it is */
			out->lengths[i] = plain.len;
			out->codecs[i] = CODEC_RAW;
		}
	}
}

/* Raw is a copy: what a reader does with it as well. 0, or what a codec said of its own bytes. */
static int decode_all(const struct speed_blocks *s, struct codec_scratch *codec,
		      const struct coded *coded, uint8_t *out)
{
	for (uint32_t i = 0; i < s->count; i++) {
		bool is_raw = coded->codecs[i] == CODEC_RAW;
		const uint8_t *from =
			(is_raw ? s->bytes : coded->bytes) + (size_t)i * BLOCK_BYTES_MAX;
		int rc = codec_decode(codec, coded->codecs[i], from, coded->lengths[i], out,
				      s->lengths[i]);

		if (rc < 0)
			return rc;
	}
	return 0;
}

static int measure(const struct speed_blocks *s, enum codec_aim aim, struct codec_scratch *codec,
		   struct coded *coded, struct analyze_speed *out)
{
	uint8_t plain[BLOCK_BYTES_MAX];
	uint64_t begin = now_ns(), rounds = 0, ns;
	int rc = 0;

	for (uint32_t i = 0; i < s->count; i++)
		out->plain += s->lengths[i];
	do {
		encode_all(s, aim, codec, coded);
		rounds++;
	} while ((ns = now_ns() - begin) < ROUND_NS_MIN);
	out->encode_bytes_per_s = (double)(out->plain * rounds) / (double)ns * NS_PER_S;
	for (uint32_t i = 0; i < s->count; i++)
		out->encoded += RECORD_HEADER_BYTES + coded->lengths[i];
	begin = now_ns();
	rounds = 0;
	do {
		rc = decode_all(s, codec, coded, plain);
		rounds++;
	} while (rc == 0 && (ns = now_ns() - begin) < ROUND_NS_MIN);
	out->decode_bytes_per_s = (double)(out->plain * rounds) / (double)ns * NS_PER_S;
	return rc;
}

int analyze_speed(const struct speed_blocks *s, enum codec_aim aim, struct analyze_speed *out)
{
	struct codec_scratch *codec = codec_scratch_create();
	struct coded *coded = calloc(1, sizeof *coded);
	int rc = -E_NOMEM;

	*out = (struct analyze_speed){.plain = 0};
	if (coded)
		coded->bytes = malloc((size_t)SPEED_BLOCKS_MAX * BLOCK_BYTES_MAX);
	if (codec && coded && coded->bytes)
		rc = s->count ? measure(s, aim, codec, coded, out) : 0;
	codec_scratch_destroy(codec);
	if (coded)
		free(coded->bytes);
	free(coded);
	return rc;
}
