/* SPDX-License-Identifier: Apache-2.0 */
/* A plane from its stored bytes, which are foreign (I8). */
#include <string.h>
#include <zstd.h>

#include "fs/base/bytes.h"
#include "fs/codec/planes_plane.h"
#include "fs/codec/zstd_frame.h"

uint32_t planes_plane_class_bytes(const struct planes_mix *mix)
{
	return DIV_CEIL(mix->chunks * PLANES_CLASS_BITS, 8u);
}

/*
 * Bytes from their stored ones, into `to`; raw ones stay where they are. Where they are then, NULL:
 * malformed.
 */
static const uint8_t *bytes_decode(struct planes_scratch *s, const struct planes_stored *plane,
				   const uint8_t *stored, uint8_t *to, uint32_t len)
{
	struct rd r = rd_init(stored, plane->len);

	switch (plane->kind) {
	case PLANES_RAW:
		return plane->len == len ? stored : NULL;
	case PLANES_CONSTANT:
		if (plane->len != 1)
			return NULL;
		memset(to, stored[0], len);
		return to;
	case PLANES_HUFFMAN:
		if (len == 0 || huffman_decode(cpu_level(), s->huffman, &r, to, len) < 0)
			return NULL;
		return to;
	case PLANES_ZSTD:
		return zstd_frame_decode(s->zstd_decoder, stored, plane->len, to, len) == len
			       ? to : NULL;
	default:
		return NULL;
	}
}

static bool classes_read(struct planes_mix *mix, struct rd *r, uint32_t words)
{
	mix->words = words;
	mix->chunks = DIV_CEIL(words, PLANES_MIX_CHUNK);
	const uint8_t *bits = rd_view(r, planes_plane_class_bytes(mix));

	if (!bits)
		return false;
	for (uint32_t c = 0; c < mix->chunks; c++)
		mix->of[c] = bits[c * PLANES_CLASS_BITS / 8] >> c * PLANES_CLASS_BITS % 8 & 3;
	planes_mix_settle(mix);
	return true;
}

static bool mixed_decode(struct planes_scratch *s, struct rd *r, uint8_t *to, uint32_t words)
{
	const uint8_t *classes[PLANES_MIX_CLASSES];
	struct planes_stored heads[PLANES_MIX_CLASSES];
	uint8_t *out = s->classes;

	if (!classes_read(&s->mix, r, words))
		return false;
	for (unsigned k = 0; k < PLANES_MIX_CLASSES; k++) {
		heads[k].kind = rd_u8(r);
		heads[k].len = rd_u16(r);
	}
	for (unsigned k = 0; k < PLANES_MIX_CLASSES; k++) {
		const uint8_t *stored = rd_view(r, heads[k].len);

		classes[k] = stored ? bytes_decode(s, &heads[k], stored, out, s->mix.bytes[k])
				    : NULL;
		if (!classes[k])
			return false;
		out += s->mix.bytes[k];
	}
	if (!rd_done(r))
		return false;
	planes_mix_scatter(&s->mix, classes, to);
	return true;
}

const uint8_t *planes_plane_load(struct planes_scratch *s, const struct planes_stored *plane,
				 const uint8_t *stored, uint8_t *to,
				 const struct planes_extent *extent)
{
	bool differs = plane->kind & PLANES_DIFFERENCES;
	struct planes_stored own = {plane->kind & (uint8_t)~PLANES_DIFFERENCES, plane->len};
	struct rd r = rd_init(stored, own.len);
	const uint8_t *bytes = to;

	if (differs && extent->distance == 0)
		return NULL;
	if (own.kind != PLANES_MIXED)
		bytes = bytes_decode(s, &own, stored, to, extent->words);
	else if (!mixed_decode(s, &r, to, extent->words))
		return NULL;
	if (!bytes || !differs)
		return bytes;
	if (bytes != to)
		memcpy(to, bytes, extent->words);
	planes_rows_add(to, extent->words, extent->distance);
	return to;
}
