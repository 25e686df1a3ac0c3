/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is stored of a plane: the least that is worth its decoding. Noise is told by a sample, as
 * most planes are.
 */
#include <string.h>
#include <zstd.h>

#include "fs/base/bytes.h"
#include "fs/codec/planes_plane.h"

/* Coding bytes must save one in SAVING_SHARE: it costs every reader. */
#define SAVING_SHARE 50u
/* Classes, and zstd, must save one byte in MORE_SHARE more than one code does. */
#define MORE_SHARE   100u

/* A plane is looked at by one piece in SAMPLE_SHARE first; this often are bytes of noise equal. */
#define SAMPLE_SHARE	 8u
#define SAMPLE_PIECE	 128u
#define SAMPLE_WORDS_MIN 8192u
#define NOISE_PERCENT	 112u		/* of 1/256: 2^0.16 */

/* zstd is for planes where this share of the bytes of a sample begin what has been there before. */
#define REPEATS_SEEN  2048u
#define REPEATS_SHARE 8u
#define REPEATS_SLOTS 1024u
#define ZSTD_LEVEL    1

static bool is_constant(const uint8_t *plane, uint32_t words)
{
	return words == 1 || memcmp(plane, plane + 1, words - 1) == 0;
}

/*
 * May a code save anything? Two bytes of the plane are equal with a probability of at least 2^-H
 * where H is its entropy in bits, so a plane in which that is next to 1/256 is noise.
 */
static bool sample_shrinks(const uint8_t *plane, uint32_t words)
{
	uint32_t counts[HUFFMAN_SYMBOLS], seen = 0;
	uint8_t sample[BLOCK_BYTES_MAX / SAMPLE_SHARE];
	uint64_t equal = 0;

	if (words < SAMPLE_WORDS_MIN)
		return true;
	for (uint32_t at = 0; at + SAMPLE_PIECE <= words; at += SAMPLE_SHARE * SAMPLE_PIECE) {
		memcpy(sample + seen, plane + at, SAMPLE_PIECE);
		seen += SAMPLE_PIECE;
	}
	huffman_count(sample, seen, counts);
	for (unsigned s = 0; s < HUFFMAN_SYMBOLS; s++)
		equal += (uint64_t)counts[s] * (counts[s] - 1u) * (counts[s] > 0);
	return equal * HUFFMAN_SYMBOLS * 100 > (uint64_t)seen * (seen - 1) * NOISE_PERCENT;
}

/* How bytes are to be stored, and at most how many that takes. */
struct store_plan {
	enum planes_kind kind;		/* RAW, CONSTANT or HUFFMAN */
	uint32_t counts[HUFFMAN_SYMBOLS];
	struct huffman_lengths code;
	uint32_t bound;
};

static void store_plan_of(const uint8_t *bytes, uint32_t len, struct store_plan *out)
{
	out->kind = PLANES_RAW;
	out->bound = len;
	if (len == 0)
		return;
	if (is_constant(bytes, len)) {
		out->kind = PLANES_CONSTANT;
		out->bound = 1;
		return;
	}
	huffman_count(bytes, len, out->counts);
	huffman_lengths_of(out->counts, &out->code);
	uint32_t bound = huffman_bound(out->counts, &out->code);

	if (bound > len - len / SAVING_SHARE)
		return;
	out->kind = PLANES_HUFFMAN;
	out->bound = bound;
}

/* False: no room. */
static bool bytes_store(const uint8_t *bytes, uint32_t len, const struct store_plan *plan,
			struct planes_stored *out, struct wr *w)
{
	const uint8_t *start = w->at;

	if (plan->bound > (size_t)(w->end - w->at))
		return false;
	if (plan->kind == PLANES_HUFFMAN)
		huffman_encode(cpu_level(), &plan->code, bytes, len, w);
	else
		wr_bytes(w, bytes, plan->bound);
	*out = (struct planes_stored){(uint8_t)plan->kind, (uint16_t)(w->at - start)};
	return wr_ok(w) && w->at - start <= UINT16_MAX;
}

static void classes_write(const struct planes_mix *mix, struct wr *w)
{
	for (uint32_t c = 0; c < mix->chunks; c += 8 / PLANES_CLASS_BITS) {
		unsigned byte = 0;

		for (uint32_t i = 0; i < 8 / PLANES_CLASS_BITS && c + i < mix->chunks; i++)
			byte |= (unsigned)mix->of[c + i] << PLANES_CLASS_BITS * i;
		wr_u8(w, (uint8_t)byte);
	}
}

/* False, and nothing of it is written: it saves too little beside `one`, the code of all. */
static bool plane_mixed(struct planes_scratch *s, const uint8_t *plane, uint32_t words,
			const struct store_plan *one, struct wr *w)
{
	struct store_plan of[PLANES_MIX_CLASSES];
	struct planes_mix *mix = &s->mix;

	if (!planes_mix_find(mix, plane, words, one->counts, words / MORE_SHARE))
		return false;
	planes_mix_gather(mix, plane, s->classes);
	const uint8_t *bytes = s->classes;
	uint32_t all = planes_plane_class_bytes(mix) + PLANES_MIX_CLASSES * PLANES_CLASS_BYTES;

	for (unsigned k = 0; k < PLANES_MIX_CLASSES; k++) {
		store_plan_of(bytes, mix->bytes[k], &of[k]);
		all += of[k].bound;
		bytes += mix->bytes[k];
	}
	if (all + words / MORE_SHARE > one->bound || all > (size_t)(w->end - w->at))
		return false;
	classes_write(mix, w);
	struct wr heads = *w;

	wr_zeros(w, PLANES_MIX_CLASSES * PLANES_CLASS_BYTES);
	bytes = s->classes;
	for (unsigned k = 0; k < PLANES_MIX_CLASSES; k++) {
		struct planes_stored class;

		if (!bytes_store(bytes, mix->bytes[k], &of[k], &class, w))
			ASSERT(!"there was room for all");
		wr_u8(&heads, class.kind);
		wr_u16(&heads, class.len);
		bytes += mix->bytes[k];
	}
	return true;
}

/* More than half of these bytes? */
static bool has_zeros(uint64_t bytes)
{
	unsigned zeros = 0;

	for (unsigned i = 0; i < 8; i++)
		zeros += (bytes >> 8 * i & 0xff) == 0;
	return zeros >= 4;
}

/* Do eight bytes often occur again? One table of where each was seen last, by a hash. */
static bool has_repeats(const uint8_t *plane, uint32_t words)
{
	uint32_t seen = MIN_OF(words, REPEATS_SEEN), repeats = 0;
	const uint8_t *sample = plane + (words - seen) / 2;
	uint16_t last[REPEATS_SLOTS] = {0};
	uint64_t here, there;

	for (uint32_t at = 1; at + sizeof here <= seen; at++) {
		memcpy(&here, sample + at, sizeof here);
		uint32_t slot = (uint32_t)(here * 0x9e3779b97f4a7c15u >> 54) % REPEATS_SLOTS;

		memcpy(&there, sample + last[slot], sizeof there);
		repeats += here == there && !has_zeros(here);
		last[slot] = (uint16_t)at;
	}
	return repeats > seen / REPEATS_SHARE;
}

/* False, and nothing is written: it does not save enough beside `best` bytes. */
static bool plane_zstd(struct planes_scratch *s, const uint8_t *plane, uint32_t words,
		       uint32_t best, struct wr *w)
{
	uint32_t spare = words / MORE_SHARE;
	size_t room = MIN_OF(best > spare ? best - spare : 0, (size_t)(w->end - w->at));

	if (!has_repeats(plane, words))
		return false;
	size_t len = ZSTD_compressCCtx(s->zstd_encoder, w->at, room, plane, words, ZSTD_LEVEL);

	if (ZSTD_isError(len))
		return false;
	w->at += len;
	return true;
}

bool planes_plane_store(struct planes_scratch *s, const uint8_t *plane, uint32_t words,
			struct planes_stored *out, struct wr *w)
{
	struct store_plan one = {.kind = PLANES_RAW, .bound = words};
	const uint8_t *start = w->at;

	if (is_constant(plane, words) || sample_shrinks(plane, words))
		store_plan_of(plane, words, &one);
	if (one.kind != PLANES_CONSTANT && plane_zstd(s, plane, words, one.bound, w))
		out->kind = PLANES_ZSTD;
	else if (one.kind == PLANES_HUFFMAN && plane_mixed(s, plane, words, &one, w))
		out->kind = PLANES_MIXED;
	else
		return bytes_store(plane, words, &one, out, w);
	out->len = (uint16_t)(w->at - start);
	return true;
}
