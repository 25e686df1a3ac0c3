/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The layout of the stored bytes, and what each plane is stored as:
 *
 *   shape u8 (bits 0-1: log2 of the stride, 2-3: phase, 4: rotated), plain bytes - 1 u16,
 *   for each plane: kind u8, stored bytes u16,
 *   the plain bytes before the first word and behind the last, the stored bytes of each plane.
 */
#include "fs/codec/planes.h"

#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "fs/base/bytes.h"
#include "fs/codec/codec.h"
#include "fs/codec/huffman.h"
#include "fs/codec/planes_words.h"

#define SHAPE_PHASE    2u		/* bits to shift */
#define SHAPE_ROTATED  4u
#define WORDS_MAX      BLOCK_BYTES_MAX

/* Coding a plane must save one byte in SAVING_SHARE: it costs every reader. */
#define SAVING_SHARE 50u
/* A plane is looked at by one piece in SAMPLE_SHARE first; this often are bytes of noise equal. */
#define SAMPLE_SHARE	 8u
#define SAMPLE_PIECE	 128u
#define SAMPLE_WORDS_MIN 8192u
#define NOISE_PERCENT	 112u		/* of 1/256: 2^0.16 */

enum plane_kind { PLANE_RAW = 0, PLANE_CONSTANT = 1, PLANE_HUFFMAN = 2, PLANE_ZSTD = 3 };

struct plane {
	uint8_t kind;
	uint16_t stored_len;
};

/* What the first bytes say. */
struct head {
	uint32_t stride, phase, words, edge;	/* edge: bytes that belong to no word */
	uint32_t plain_len;
	bool is_rotated;
	struct plane planes[PLANES_STRIDE_MAX];
};

struct planes_scratch {
	ZSTD_CCtx *zstd_encoder;
	ZSTD_DCtx *zstd_decoder;
	struct huffman_decoder *huffman;
	uint8_t planes[BLOCK_BYTES_MAX];	/* one behind the other */
};

struct planes_scratch *planes_scratch_create(ZSTD_CCtx *encoder, ZSTD_DCtx *decoder)
{
	struct planes_scratch *s = calloc(1, sizeof *s);

	if (!s)
		return NULL;
	s->zstd_encoder = encoder;
	s->zstd_decoder = decoder;
	s->huffman = huffman_decoder_create();
	if (s->huffman)
		return s;
	planes_scratch_destroy(s);
	return NULL;
}

void planes_scratch_destroy(struct planes_scratch *s)
{
	if (!s)
		return;
	huffman_decoder_destroy(s->huffman);
	free(s);
}

/* The lengths that follow from the others; false: there is no whole word. */
static bool head_settle(struct head *head)
{
	if (head->plain_len < head->phase + head->stride)
		return false;
	head->words = (head->plain_len - head->phase) / head->stride;
	head->edge = head->plain_len - head->words * head->stride;
	return true;
}

static uint32_t head_bytes(const struct head *head)
{
	return 3 + 3 * head->stride;
}

/* --- encoding --------------------------------------------------------------------------------- */

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

/* False: nothing is saved, or there is no room. */
static bool plane_huffman(const uint8_t *plane, uint32_t words, struct wr *w)
{
	uint32_t counts[HUFFMAN_SYMBOLS];
	struct huffman_lengths code;

	if (!sample_shrinks(plane, words))
		return false;
	huffman_count(plane, words, counts);
	huffman_lengths_of(counts, &code);
	uint32_t bound = huffman_bound(counts, &code);

	if (bound > words - words / SAVING_SHARE || bound > (size_t)(w->end - w->at))
		return false;
	huffman_encode(cpu_level(), &code, plane, words, w);
	return true;
}

/* False: no room. */
static bool plane_encode(const uint8_t *plane, uint32_t words, struct plane *out, struct wr *w)
{
	const uint8_t *start = w->at;

	if (is_constant(plane, words)) {
		wr_u8(w, plane[0]);
		out->kind = PLANE_CONSTANT;
	} else if (plane_huffman(plane, words, w)) {
		out->kind = PLANE_HUFFMAN;
	} else {
		wr_bytes(w, plane, words);
		out->kind = PLANE_RAW;
	}
	out->stored_len = (uint16_t)(w->at - start);
	return wr_ok(w) && w->at - start <= UINT16_MAX;
}

/* Where each plane is: bytes alone are their own. */
static void split(struct planes_scratch *s, const struct head *head, const uint8_t *in,
		  const uint8_t *planes[PLANES_STRIDE_MAX])
{
	const struct planes_kernels *kernels = planes_kernels_of(cpu_level());
	uint8_t *to[PLANES_STRIDE_MAX];

	if (head->stride == 1) {
		planes[0] = in;
		return;
	}
	for (uint32_t p = 0; p < head->stride; p++)
		planes[p] = to[p] = s->planes + p * head->words;
	if (head->stride == 2)
		kernels->split2(in, to, head->words, head->is_rotated);
	else
		kernels->split4(in, to, head->words, head->is_rotated);
}

static void head_write(const struct head *head, uint8_t *out)
{
	struct wr w = wr_init(out, head_bytes(head));

	wr_u8(&w, (uint8_t)((head->stride >> 1) | head->phase << SHAPE_PHASE |
			    (uint32_t)head->is_rotated << SHAPE_ROTATED));
	wr_u16(&w, (uint16_t)(head->plain_len - 1));
	for (uint32_t p = 0; p < head->stride; p++) {
		wr_u8(&w, head->planes[p].kind);
		wr_u16(&w, head->planes[p].stored_len);
	}
	ASSERT(wr_ok(&w));
}

uint32_t planes_encode(struct planes_scratch *s, const struct codec_plan *plan, const void *plain,
		       uint32_t len, void *out, uint32_t room)
{
	struct head head = {.stride = plan->stride, .phase = plan->phase, .plain_len = len,
			    .is_rotated = plan->rotate && plan->stride > 1};
	const uint8_t *in = plain, *planes[PLANES_STRIDE_MAX];
	struct wr w = wr_init(out, room);

	ASSERT(len >= 1 && len <= BLOCK_BYTES_MAX && room <= BLOCK_BYTES_MAX);
	ASSERT(plan->stride == 1 || plan->stride == 2 || plan->stride == 4);
	ASSERT(plan->phase < plan->stride && plan->rotate <= 1);
	if (!head_settle(&head))
		return 0;
	wr_zeros(&w, head_bytes(&head));	/* written at the end */
	wr_bytes(&w, in, head.phase);
	in += head.phase;
	wr_bytes(&w, in + head.words * head.stride, head.edge - head.phase);
	if (!wr_ok(&w))
		return 0;
	split(s, &head, in, planes);
	for (uint32_t p = 0; p < head.stride; p++) {
		if (!plane_encode(planes[p], head.words, &head.planes[p], &w))
			return 0;
	}
	head_write(&head, out);
	return (uint32_t)wr_len(&w);
}

/* --- decoding --------------------------------------------------------------------------------- */

/* False: no head of ours. */
static bool head_read(struct rd *r, struct head *head)
{
	uint32_t shape = rd_u8(r);

	*head = (struct head){.stride = 1u << (shape & 3), .phase = shape >> SHAPE_PHASE & 3,
			      .is_rotated = (shape >> SHAPE_ROTATED & 1) != 0,
			      .plain_len = rd_u16(r) + 1u};
	if (!rd_ok(r) || shape >> (SHAPE_ROTATED + 1) != 0 || head->stride > PLANES_STRIDE_MAX ||
	    head->phase >= head->stride || (head->stride == 1 && head->is_rotated) ||
	    !head_settle(head))
		return false;
	for (uint32_t p = 0; p < head->stride; p++) {
		head->planes[p].kind = rd_u8(r);
		head->planes[p].stored_len = rd_u16(r);
	}
	return rd_ok(r);
}

/*
 * A plane from its stored bytes, into `to`; raw ones stay where they are. Where it is then, NULL:
 * malformed.
 */
static const uint8_t *plane_decode(struct planes_scratch *s, const struct plane *plane,
				   const uint8_t *stored, uint8_t *to, uint32_t words)
{
	struct rd r = rd_init(stored, plane->stored_len);

	switch (plane->kind) {
	case PLANE_RAW:
		return plane->stored_len == words ? stored : NULL;
	case PLANE_CONSTANT:
		if (plane->stored_len != 1)
			return NULL;
		memset(to, stored[0], words);
		return to;
	case PLANE_HUFFMAN:
		return huffman_decode(cpu_level(), s->huffman, &r, to, words) == 0 ? to : NULL;
	case PLANE_ZSTD:
		return ZSTD_decompressDCtx(s->zstd_decoder, to, words, stored,
					   plane->stored_len) == words ? to : NULL;
	default:
		return NULL;
	}
}

/* All planes; false: malformed. Bytes alone go where they belong at once. */
static bool planes_read(struct planes_scratch *s, const struct head *head, struct rd *r,
			uint8_t *out, const uint8_t *planes[PLANES_STRIDE_MAX])
{
	for (uint32_t p = 0; p < head->stride; p++) {
		const uint8_t *stored = rd_view(r, head->planes[p].stored_len);
		uint8_t *to = head->stride == 1 ? out : s->planes + p * head->words;

		if (!stored)
			return false;
		planes[p] = plane_decode(s, &head->planes[p], stored, to, head->words);
		if (!planes[p])
			return false;
	}
	return rd_done(r);
}

static void merge(const struct head *head, const uint8_t *const *planes, uint8_t *out)
{
	const struct planes_kernels *kernels = planes_kernels_of(cpu_level());

	if (head->stride == 4)
		kernels->merge4(planes, out, head->words, head->is_rotated);
	else if (head->stride == 2)
		kernels->merge2(planes, out, head->words, head->is_rotated);
	else if (planes[0] != out)
		memcpy(out, planes[0], head->words);
}

int64_t planes_decode(struct planes_scratch *s, const void *stored, uint32_t stored_len, void *out,
		      uint32_t room)
{
	struct rd r = rd_init(stored, stored_len);
	const uint8_t *planes[PLANES_STRIDE_MAX];
	uint8_t *to = out;
	struct head head;

	if (!head_read(&r, &head) || head.plain_len > room)
		return -E_MALFORMED;
	const uint8_t *edge = rd_view(&r, head.edge);

	if (!edge || !planes_read(s, &head, &r, to + head.phase, planes))
		return -E_MALFORMED;
	memcpy(to, edge, head.phase);
	to += head.phase;
	merge(&head, planes, to);
	memcpy(to + head.words * head.stride, edge + head.phase, head.edge - head.phase);
	return head.plain_len;
}
