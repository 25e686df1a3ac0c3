/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is stored of a plane: the least that is worth its decoding. Noise is told by a sample, as
 * most planes are.
 */
#include <string.h>
#include <zstd.h>

#include "fs/base/bytes.h"
#include "fs/codec/planes_plane.h"

/*
 * Coding bytes must save one in so many: it costs every reader. If mantissas shrink it is by
 * little, and that takes longer than all the rest.
 */
#define SAVING_SHARE	      50u
#define SAVING_SHARE_MANTISSA 3u
/* Most of such planes would be raw, which decodes ten times as fast: they must save a half. */
#define DIFFERENCES_SAVE  2u
#define QUARTER		  4u
/* Where so many of eight strings come again, zstd is smaller and faster than differences. */
#define COPIED_SAME	  6u

/* A plane is looked at by some pieces first; this often are bytes of noise equal. */
#define SAMPLE_PIECES	 32u
#define SAMPLE_PIECE	 64u
#define SAMPLE_WORDS_MIN (4u * SAMPLE_PIECES * SAMPLE_PIECE)
#define NOISE_PERCENT	 112u		/* of 1/256: 2^0.16 */

#define ZSTD_LEVEL 1

static bool is_constant(const uint8_t *plane, uint32_t words)
{
	return words == 1 || memcmp(plane, plane + 1, words - 1) == 0;
}

/*
 * May a code save one byte in `share`? Two bytes of the plane are equal with a probability of at
 * least 2^-H where H is its entropy in bits, so a plane in which that is next to 1/256 is noise.
 * Where much is to be saved a code of the sample tells: it fits that better than one of all will.
 */
static bool sample_shrinks(const uint8_t *plane, uint32_t words, uint32_t share)
{
	const uint32_t seen = SAMPLE_PIECES * SAMPLE_PIECE;
	uint32_t counts[HUFFMAN_SYMBOLS];
	uint8_t sample[SAMPLE_PIECES * SAMPLE_PIECE];
	struct huffman_lengths code;
	uint64_t equal = 0, bits = 0;

	if (words < SAMPLE_WORDS_MIN)
		return true;
	for (uint32_t i = 0; i < SAMPLE_PIECES; i++)
		memcpy(sample + i * SAMPLE_PIECE, plane + words / SAMPLE_PIECES * i, SAMPLE_PIECE);
	huffman_count(sample, seen, counts);
	for (unsigned s = 0; s < HUFFMAN_SYMBOLS; s++)
		equal += (uint64_t)counts[s] * (counts[s] - 1u) * (counts[s] > 0);
	if (equal * HUFFMAN_SYMBOLS * 100 <= (uint64_t)seen * (seen - 1) * NOISE_PERCENT)
		return false;
	if (share == SAVING_SHARE || is_constant(sample, seen))
		return true;
	huffman_lengths_of(counts, &code);
	for (unsigned s = 0; s < HUFFMAN_SYMBOLS; s++)
		bits += (uint64_t)counts[s] * code.of[s];
	return bits <= 8ull * (seen - seen / share);
}

/* How bytes are to be stored, and at most how many that takes. */
struct store_plan {
	enum planes_kind kind;		/* RAW, CONSTANT or HUFFMAN */
	uint32_t counts[HUFFMAN_SYMBOLS];
	struct huffman_lengths code;
	uint32_t bound;
};

/* `share`: one byte in so many must be saved. */
static void store_plan_of(const uint8_t *bytes, uint32_t len, uint32_t share,
			  struct store_plan *out)
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

	if (bound > len - len / share)
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
static bool plane_mixed(struct planes_scratch *s, const uint8_t *plane,
			const struct planes_task *task, const struct store_plan *one, struct wr *w)
{
	struct store_plan of[PLANES_MIX_CLASSES];
	struct planes_mix *mix = &s->mix;

	if (!planes_mix_find(mix, plane, task->words, one->counts, task->least))
		return false;
	planes_mix_gather(mix, plane, s->classes);
	const uint8_t *bytes = s->classes;
	uint32_t all = planes_plane_class_bytes(mix) + PLANES_MIX_CLASSES * PLANES_CLASS_BYTES;

	for (unsigned k = 0; k < PLANES_MIX_CLASSES; k++) {
		store_plan_of(bytes, mix->bytes[k], SAVING_SHARE, &of[k]);
		all += of[k].bound;
		bytes += mix->bytes[k];
	}
	if (all + task->least > one->bound || all > (size_t)(w->end - w->at))
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

/* False, and nothing is written: it does not save enough beside `best` bytes. */
static bool plane_zstd(struct planes_scratch *s, const uint8_t *plane,
		       const struct planes_task *task, uint32_t best, struct wr *w)
{
	uint32_t most = best > task->least ? best - task->least : 0;
	size_t room = MIN_OF(most, (size_t)(w->end - w->at));

	size_t len = ZSTD_compressCCtx(s->zstd_encoder, w->at, room, plane, task->words,
				       ZSTD_LEVEL);

	if (ZSTD_isError(len))
		return false;
	w->at += len;
	return true;
}

/* These bytes, as they are. */
static bool plane_best(struct planes_scratch *s, const uint8_t *plane,
		       const struct planes_task *task, struct planes_stored *out, struct wr *w)
{
	const uint32_t share = task->is_mantissa ? SAVING_SHARE_MANTISSA : SAVING_SHARE;
	struct store_plan one = {.kind = PLANES_RAW, .bound = task->words};
	const uint8_t *start = w->at;

	if (is_constant(plane, task->words) || sample_shrinks(plane, task->words, share))
		store_plan_of(plane, task->words, share, &one);
	if (task->rows.repeats && one.kind != PLANES_CONSTANT &&
	    plane_zstd(s, plane, task, one.bound, w))
		out->kind = PLANES_ZSTD;
	else if (one.kind == PLANES_HUFFMAN && plane_mixed(s, plane, task, &one, w))
		out->kind = PLANES_MIXED;
	else
		return bytes_store(plane, task->words, &one, out, w);
	out->len = (uint16_t)(w->at - start);
	return true;
}

/* About what differences take, if that is so much less than what the bytes do, else `words`. */
static uint32_t differences_take(const uint8_t *plane, const uint8_t *differences, uint32_t words)
{
	struct store_plan as_is, differing;
	uint32_t at = words / 2, seen = DIV_CEIL(words, QUARTER);	/* tell of all */

	store_plan_of(plane + at, seen, SAVING_SHARE, &as_is);
	store_plan_of(differences + at, seen, SAVING_SHARE, &differing);
	return differing.bound * DIFFERENCES_SAVE <= as_is.bound
		       ? MIN_OF(differing.bound * QUARTER, words) : words;
}

/* False: they are not worth it, or it does not fit, and nothing is written. */
static bool plane_differences(struct planes_scratch *s, const uint8_t *plane,
			      const struct planes_task *task, struct planes_stored *out,
			      struct wr *w)
{
	const uint8_t *start = w->at;
	struct store_plan one;

	if (!planes_rows_alike(plane, task->words, task->rows.distance))
		return false;
	planes_rows_subtract(plane, task->words, task->rows.distance, s->differences);
	uint32_t take = differences_take(plane, s->differences, task->words);

	if (take >= task->words)
		return false;
	/* Long strings are copied faster than their differences are decoded, which are zeros. */
	if (task->rows.same >= COPIED_SAME && plane_zstd(s, plane, task, take, w)) {
		*out = (struct planes_stored){PLANES_ZSTD, (uint16_t)(w->at - start)};
		return true;
	}
	store_plan_of(s->differences, task->words, SAVING_SHARE, &one);
	if (!bytes_store(s->differences, task->words, &one, out, w))
		return false;
	out->kind |= PLANES_DIFFERENCES;
	return true;
}

bool planes_plane_store(struct planes_scratch *s, const uint8_t *plane,
			const struct planes_task *task, struct planes_stored *out, struct wr *w)
{
	struct planes_task own = *task;
	struct planes_rows rows;

	if (task->rows.repeats) {
		planes_rows_look(plane, task->words, &rows);
		own.rows.repeats = rows.repeats;
		own.rows.same = rows.distance == task->rows.distance ? rows.same : 0;
	}
	if (own.rows.distance > 0 && plane_differences(s, plane, &own, out, w))
		return true;
	return plane_best(s, plane, &own, out, w);
}
