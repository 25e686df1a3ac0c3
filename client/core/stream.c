/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cutting while writing. Two readers of the same bytes: the walk of the header, which runs ahead
 * within what is fed at once, and the cutter behind it. The walk goes forward, so of the past only
 * the range that it asked for last is kept.
 */
#include "client/core/stream.h"

#include <stdlib.h>
#include <string.h>

#include "fs/tree/cut.h"
#include "fs/tree/tensors.h"

struct cl_stream {
	struct cut cut;
	uint64_t block;			/* where the block under way begins */
	struct cut_plan plan;
	bool has_plan;			/* the cutter goes by it: from where data begins */
	struct tensors *walk;		/* NULL: it has ended */
	bool is_final;
	/* what the walk sees: the input, and of what came before, the range that it asked for */
	const uint8_t *input;
	uint64_t input_at;
	uint32_t input_len;
	uint64_t seen;			/* bytes that it was shown */
	uint64_t window_at;
	uint32_t window_len;
	uint8_t window[TENSORS_READ_MAX];
};

/* --- the walk --------------------------------------------------------------------------------- */

/* Of the input, what continues the window, up to `len` bytes of it. */
static void window_extend(struct cl_stream *s, uint32_t len)
{
	uint64_t end = s->window_at + s->window_len;

	if (s->window_len >= len || end < s->input_at || end - s->input_at >= s->input_len)
		return;
	uint32_t from = (uint32_t)(end - s->input_at);
	uint32_t count = MIN_OF(len - s->window_len, s->input_len - from);
	memcpy(s->window + s->window_len, s->input + from, count);
	s->window_len += count;
}

/* The window begins at `offset`: with what it has from there on. False: that is gone. */
static bool window_move(struct cl_stream *s, uint64_t offset)
{
	uint64_t end = s->window_at + s->window_len;

	if (offset < s->window_at || (offset < s->input_at && offset > end))
		return false;
	uint32_t gone = (uint32_t)MIN_OF(offset - s->window_at, s->window_len);
	memmove(s->window, s->window + gone, s->window_len - gone);
	s->window_len -= gone;
	s->window_at = offset;
	return true;
}

static int stream_read(void *arg, uint64_t offset, uint32_t len, const void **bytes)
{
	struct cl_stream *s = arg;

	ASSERT(len <= sizeof s->window);
	if (offset != s->window_at && !window_move(s, offset))
		return -E_IO;
	window_extend(s, len);
	*bytes = s->window;
	return s->window_len >= len ? 0 : -E_NEED_BYTES;
}

/* May its tensors be known before their bytes come? */
static bool is_told_ahead(enum tensors_format format)
{
	return format == TENSORS_OF_NONE || format == TENSORS_OF_SAFETENSORS ||
	       format == TENSORS_OF_GGUF || format == TENSORS_OF_NPY;
}

static void walk_end(struct cl_stream *s, int rc)
{
	uint64_t data_start = tensors_data_start(s->walk);

	s->is_final = rc == 0 && is_told_ahead(tensors_format(s->walk)) && !s->plan.is_short &&
		      (data_start > s->cut.offset || (data_start == 0 && s->plan.count == 0));
	cut_plan_seal(&s->plan, s->is_final ? data_start : 0);
	tensors_destroy(s->walk);
	s->walk = NULL;
}

static void walk_on(struct cl_stream *s, const uint8_t *bytes, uint32_t len)
{
	uint64_t end = s->cut.offset + len;
	int rc;

	if (!s->walk || end <= s->seen)
		return;
	s->input = bytes + (s->seen - s->cut.offset);
	s->input_at = s->seen;
	s->input_len = (uint32_t)(end - s->seen);
	s->seen = end;
	/* What it waits for may lie ahead: of all before that nothing is kept. */
	window_extend(s, sizeof s->window);
	do {
		rc = tensors_walk(s->walk);
	} while (rc == -E_AGAIN);
	if (rc != -E_NEED_BYTES)
		walk_end(s, rc);
	s->input_len = 0;
}

/* --- the cut ---------------------------------------------------------------------------------- */

struct cl_stream *cl_stream_create(void)
{
	struct cl_stream *s = calloc(1, sizeof *s);
	/* Its end is not known yet, and tensors that end behind it do no harm. */
	struct tensors_source source = { .size = INT64_MAX, .read = stream_read, .arg = s };

	if (!s)
		return NULL;
	cut_plan_init(&s->plan);
	cut_init(&s->cut, NULL, 0);
	s->walk = tensors_create(&source, &(struct tensors_sink){ cut_plan_span, &s->plan });
	if (!s->walk) {
		cl_stream_destroy(s);
		return NULL;
	}
	return s;
}

void cl_stream_destroy(struct cl_stream *s)
{
	if (!s)
		return;
	tensors_destroy(s->walk);
	cut_plan_finish(&s->plan);
	free(s);
}

uint64_t cl_stream_at(const struct cl_stream *s)
{
	return s->cut.offset;
}

uint64_t cl_stream_block(const struct cl_stream *s)
{
	return s->block;
}

bool cl_stream_is_final(const struct cl_stream *s)
{
	return s->is_final;
}

/* Bytes left before data begins, where the plan takes over; 0: it has, or there is none. */
static uint64_t before_data(const struct cl_stream *s)
{
	return s->is_final && !s->has_plan && s->plan.data_start > 0
		       ? s->plan.data_start - s->cut.offset
		       : 0;
}

uint32_t cl_stream_feed(struct cl_stream *s, const void *bytes, uint32_t len, bool *ends)
{
	walk_on(s, bytes, len);
	uint64_t left = before_data(s);
	uint32_t count = cut_feed(&s->cut, bytes, left ? (uint32_t)MIN_OF(len, left) : len, ends);

	if (left && count == left) {
		*ends = true;
		s->has_plan = true;
		cut_init(&s->cut, &s->plan, s->plan.data_start);
	}
	if (*ends)
		s->block = s->cut.offset;
	return count;
}
