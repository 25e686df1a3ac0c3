/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of codecs: how each encodes and decodes one block. A row's encoder answers 0 when the
 * result would not fit, and the caller then stores the block raw.
 */
#include "fs/codec/codec.h"

#include <lz4.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "fs/codec/detect.h"
#include "fs/codec/nibble.h"
#include "fs/codec/planes.h"
#include "fs/codec/zstd_frame.h"

/*
 * Level 0 is asked by callers that do not care: zstd's fastest ordinary level, as models shrink
 * little.
 */
#define ZSTD_LEVEL_DEFAULT 1

struct codec_scratch {
	ZSTD_CCtx *zstd_encoder;
	ZSTD_DCtx *zstd_decoder;
	void *lz4_state;
	struct planes_scratch *planes;
};

struct codec_row {
	const char *name;
	/* Encode into at most `room` bytes; the length, or 0: does not fit. */
	uint32_t (*encode)(struct codec_scratch *s, const struct codec_plan *plan,
			   const struct codec_bytes *plain, void *out, uint32_t room);
	/* Decode into at most `room` bytes; the length, or negative: not an encoding. */
	int64_t (*decode)(struct codec_scratch *s, const void *stored, uint32_t stored_len,
			  void *out, uint32_t room);
};

static uint32_t raw_encode(struct codec_scratch *s, const struct codec_plan *plan,
			   const struct codec_bytes *plain, void *out, uint32_t room)
{
	(void)s, (void)plan, (void)plain, (void)out, (void)room;
	return 0; /* saves nothing */
}

static int64_t raw_decode(struct codec_scratch *s, const void *stored, uint32_t stored_len,
			  void *out, uint32_t room)
{
	(void)s;
	if (stored_len > room)
		return -1;
	memcpy(out, stored, stored_len);
	return stored_len;
}

static uint32_t lz4_encode(struct codec_scratch *s, const struct codec_plan *plan unused_arg,
			   const struct codec_bytes *plain, void *out, uint32_t room)
{
	return (uint32_t)LZ4_compress_fast_extState(s->lz4_state, plain->bytes, out,
						    (int)plain->len, (int)room, 1);
}

static int64_t lz4_decode(struct codec_scratch *s, const void *stored, uint32_t stored_len,
			  void *out, uint32_t room)
{
	(void)s;
	return LZ4_decompress_safe(stored, out, (int)stored_len, (int)room);
}

static uint32_t zstd_encode(struct codec_scratch *s, const struct codec_plan *plan,
			    const struct codec_bytes *plain, void *out, uint32_t room)
{
	int level = plan->param ? plan->param : ZSTD_LEVEL_DEFAULT;
	size_t len = ZSTD_compressCCtx(s->zstd_encoder, out, room, plain->bytes, plain->len, level);

	return ZSTD_isError(len) ? 0 : (uint32_t)len;
}

static int64_t zstd_decode(struct codec_scratch *s, const void *stored, uint32_t stored_len,
			   void *out, uint32_t room)
{
	return zstd_frame_decode(s->zstd_decoder, stored, stored_len, out, room);
}

static uint32_t nibble_row_encode(struct codec_scratch *s unused_arg,
				  const struct codec_plan *plan, const struct codec_bytes *plain,
				  void *out, uint32_t room)
{
	return nibble_encode(plan, plain, out, room);
}

static int64_t nibble_row_decode(struct codec_scratch *s unused_arg, const void *stored,
				 uint32_t stored_len, void *out, uint32_t room)
{
	const struct codec_bytes bytes = {stored, stored_len};
	int rc = nibble_decode(&bytes, out, room);

	return rc < 0 ? rc : (int64_t)room;
}

static uint32_t planes_row_encode(struct codec_scratch *s, const struct codec_plan *plan,
				  const struct codec_bytes *plain, void *out, uint32_t room)
{
	return planes_encode(s->planes, plan, plain->bytes, plain->len, out, room);
}

static int64_t planes_row_decode(struct codec_scratch *s, const void *stored, uint32_t stored_len,
				 void *out, uint32_t room)
{
	return planes_decode(s->planes, stored, stored_len, out, room);
}

static const struct codec_row rows[CODEC_COUNT] = {
	[CODEC_RAW] = {"raw", raw_encode, raw_decode},
	[CODEC_LZ4] = {"lz4", lz4_encode, lz4_decode},
	[CODEC_ZSTD] = {"zstd", zstd_encode, zstd_decode},
	[CODEC_NIBBLE] = {"nibble", nibble_row_encode, nibble_row_decode},
	[CODEC_PLANES] = {"planes", planes_row_encode, planes_row_decode},
};

static const char *const aims[CODEC_AIM_COUNT] = {
	[CODEC_AIM_RAW] = "raw",       [CODEC_AIM_FAST] = "auto",     [CODEC_AIM_SMALL] = "small",
	[CODEC_AIM_LZ4] = "lz4",       [CODEC_AIM_ZSTD] = "zstd",     [CODEC_AIM_NIBBLE] = "nibble",
	[CODEC_AIM_PLANES] = "planes",
};

struct codec_scratch *codec_scratch_create(void)
{
	struct codec_scratch *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->zstd_encoder = ZSTD_createCCtx();
	s->zstd_decoder = ZSTD_createDCtx();
	s->lz4_state = malloc((size_t)LZ4_sizeofState());
	s->planes = planes_scratch_create(s->zstd_encoder, s->zstd_decoder);
	if (s->zstd_encoder && s->zstd_decoder && s->lz4_state && s->planes)
		return s;
	codec_scratch_destroy(s);
	return NULL;
}

void codec_scratch_destroy(struct codec_scratch *s)
{
	if (!s)
		return;
	planes_scratch_destroy(s->planes);
	ZSTD_freeCCtx(s->zstd_encoder);
	ZSTD_freeDCtx(s->zstd_decoder);
	free(s->lz4_state);
	free(s);
}

const char *codec_name(enum codec codec)
{
	return codec_is_known(codec) ? rows[codec].name : "unknown";
}

int codec_parse(const char *name, enum codec *out)
{
	for (size_t i = 0; i < CODEC_COUNT; i++) {
		if (strcmp(rows[i].name, name) != 0)
			continue;
		*out = (enum codec)i;
		return 0;
	}
	return -E_INVAL;
}

bool codec_is_known(unsigned number)
{
	return number < CODEC_COUNT;
}

const char *codec_aim_name(enum codec_aim aim)
{
	ASSERT(aim < CODEC_AIM_COUNT);
	return aims[aim];
}

int codec_aim_parse(const char *name, enum codec_aim *out)
{
	for (size_t i = 0; i < CODEC_AIM_COUNT; i++) {
		if (strcmp(aims[i], name) != 0)
			continue;
		*out = (enum codec_aim)i;
		return 0;
	}
	return -E_INVAL;
}

enum codec_aim codec_aim_of(enum codec codec)
{
	static const enum codec_aim of[] = {
		[CODEC_RAW] = CODEC_AIM_RAW,	   [CODEC_LZ4] = CODEC_AIM_LZ4,
		[CODEC_ZSTD] = CODEC_AIM_ZSTD,	   [CODEC_NIBBLE] = CODEC_AIM_NIBBLE,
		[CODEC_PLANES] = CODEC_AIM_PLANES,
	};

	ASSERT(codec_is_known(codec));
	return of[codec];
}

void codec_detect(enum codec_aim aim, const struct codec_bytes *plain,
		  const struct codec_plan *previous, struct codec_plan *out)
{
	detect_plan(aim, plain, previous, out);
}

uint32_t codec_shrink(struct codec_scratch *s, const struct codec_plan *plan,
		      const struct codec_bytes *plain, void *out)
{
	ASSERT(codec_is_known(plan->codec));
	ASSERT(plain->len >= 1 && plain->len <= BLOCK_BYTES_MAX);

	/* Decoding costs every reader: it must be worth a sixteenth of the block. */
	uint32_t room = plain->len - DIV_CEIL(plain->len, 16u);
	return room ? rows[plan->codec].encode(s, plan, plain, out, room) : 0;
}

int codec_decode(struct codec_scratch *s, unsigned codec, const void *stored, uint32_t stored_len,
		 void *out, uint32_t plain_len)
{
	if (!codec_is_known(codec) || plain_len == 0 || plain_len > BLOCK_BYTES_MAX ||
	    stored_len == 0 || stored_len > plain_len)
		return -E_MALFORMED;
	int64_t len = rows[codec].decode(s, stored, stored_len, out, plain_len);
	return len == plain_len ? 0 : -E_MALFORMED;
}
