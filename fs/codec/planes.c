/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The layout of the stored bytes, and what each plane is stored as:
 *
 *   shape u8 (bits 0-1: log2 of the stride, 2-3: phase, 4: rotated), plain bytes - 1 u16,
 *   distance of differences in words u16 (0: there are none),
 *   for each plane: kind u8, stored bytes u16,
 *   the plain bytes before the first word and behind the last, the stored bytes of each plane.
 */
#include "fs/codec/planes.h"

#include <stdlib.h>
#include <string.h>

#include "fs/base/bytes.h"
#include "fs/codec/codec.h"
#include "fs/codec/planes_plane.h"
#include "fs/codec/planes_words.h"

#define SHAPE_PHASE    2u		/* bits to shift */
#define SHAPE_ROTATED  4u

/*
 * A plane of several classes, or zstd's, must save one byte of the block in this many. One plane
 * alone takes long to decode anyway, so there it is worth it sooner.
 */
#define LEAST_SHARE	  64u
#define LEAST_SHARE_ALONE 192u

/* What the first bytes say. */
struct head {
	uint32_t stride, phase, words, edge;	/* edge: bytes that belong to no word */
	uint32_t plain_len, distance;
	bool is_rotated;
	struct planes_stored planes[PLANES_STRIDE_MAX];
};

struct planes_scratch *planes_scratch_create(struct ZSTD_CCtx_s *encoder,
					     struct ZSTD_DCtx_s *decoder)
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
	return 5 + 3 * head->stride;
}

/* --- encoding --------------------------------------------------------------------------------- */

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
	wr_u16(&w, (uint16_t)head->distance);
	for (uint32_t p = 0; p < head->stride; p++) {
		wr_u8(&w, head->planes[p].kind);
		wr_u16(&w, head->planes[p].len);
	}
	ASSERT(wr_ok(&w));
}

uint32_t planes_encode(struct planes_scratch *s, const struct codec_plan *plan, const void *plain,
		       uint32_t len, void *out, uint32_t room)
{
	struct head head = {.stride = plan->stride, .phase = plan->phase, .plain_len = len,
			    .is_rotated = plan->rotate && plan->stride > 1};
	const uint8_t *in = plain, *planes[PLANES_STRIDE_MAX];
	struct planes_task task;
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
	task = (struct planes_task){.words = head.words};
	task.least = len / (head.stride > 1 ? LEAST_SHARE : LEAST_SHARE_ALONE);
	planes_rows_look(planes[head.stride - 1], head.words, &task.rows);
	head.distance = task.rows.distance;
	for (uint32_t p = 0; p < head.stride; p++) {
		task.is_mantissa = head.is_rotated && p < head.stride - 1;
		if (!planes_plane_store(s, planes[p], &task, &head.planes[p], &w))
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
	head->distance = rd_u16(r);
	if (!rd_ok(r) || shape >> (SHAPE_ROTATED + 1) != 0 || head->stride > PLANES_STRIDE_MAX ||
	    head->phase >= head->stride || (head->stride == 1 && head->is_rotated) ||
	    !head_settle(head) ||
	    (head->distance > 0 &&
	     (head->distance < PLANES_ROWS_MIN || head->distance >= head->words)))
		return false;
	for (uint32_t p = 0; p < head->stride; p++) {
		head->planes[p].kind = rd_u8(r);
		head->planes[p].len = rd_u16(r);
	}
	return rd_ok(r);
}

/* All planes; false: malformed. Bytes alone go where they belong at once. */
static bool planes_read(struct planes_scratch *s, const struct head *head, struct rd *r,
			uint8_t *out, const uint8_t *planes[PLANES_STRIDE_MAX])
{
	const struct planes_extent extent = {head->words, head->distance};

	for (uint32_t p = 0; p < head->stride; p++) {
		const uint8_t *stored = rd_view(r, head->planes[p].len);
		uint8_t *to = head->stride == 1 ? out : s->planes + p * head->words;

		if (!stored)
			return false;
		planes[p] = planes_plane_load(s, &head->planes[p], stored, to, &extent);
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
