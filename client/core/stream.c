/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cutting while writing. Two readers of the same bytes: the walk of the header, which runs ahead
 * within what is fed at once and may go back, and the cutter behind it.
 */
#include "client/core/stream.h"

#include <stdlib.h>
#include <string.h>

#include "fs/tree/cut.h"
#include "fs/tree/tensors.h"

/* Headers of GGUF hold a vocabulary: some MiB. Those of longer ones are left to the seal. */
#define HEAD_BYTES_MAX (16u << 20)

struct cl_cutter {
	struct cut cut;
	uint64_t block;			/* where the block under way begins */
	struct cut_plan plan;
	bool has_plan;			/* the cutter goes by it: from where data begins */
	struct tensors *walk;		/* NULL: it has ended */
	bool is_final;
	uint8_t *head;			/* all bytes so far, while the walk goes on */
	uint32_t head_len, head_room;
	struct cl_stream_budget *budget;	/* head_room of it is used here */
};

/* --- the walk --------------------------------------------------------------------------------- */

static int stream_read(void *arg, uint64_t offset, uint32_t len, const void **bytes)
{
	const struct cl_cutter *s = arg;

	if (offset > s->head_len + MiB(1))
		return -E_RANGE;	/* what is told there comes too late */
	if (offset + len > s->head_len)
		return -E_NEED_BYTES;
	*bytes = s->head + offset;
	return 0;
}

static void head_free(struct cl_cutter *s)
{
	free(s->head);
	s->budget->used -= s->head_room;
	s->head = NULL;
	s->head_room = 0;
}

static bool head_grow(struct cl_cutter *s, uint32_t len)
{
	uint32_t room = MIN_OF(MAX_OF(2 * s->head_room, len), HEAD_BYTES_MAX);
	uint8_t *head;

	if (room - s->head_room > s->budget->max - MIN_OF(s->budget->used, s->budget->max))
		return false;
	head = realloc(s->head, room);
	if (!head)
		return false;
	s->budget->used += room - s->head_room;
	s->head = head;
	s->head_room = room;
	return true;
}

static bool head_add(struct cl_cutter *s, const uint8_t *bytes, uint32_t len)
{
	if (len > HEAD_BYTES_MAX - s->head_len)
		return false;
	if (len > s->head_room - s->head_len && !head_grow(s, s->head_len + len))
		return false;
	memcpy(s->head + s->head_len, bytes, len);
	s->head_len += len;
	return true;
}

/* May its tensors be known before their bytes come? */
static bool is_told_ahead(enum tensors_format format)
{
	return format == TENSORS_OF_NONE || format == TENSORS_OF_SAFETENSORS ||
	       format == TENSORS_OF_GGUF || format == TENSORS_OF_NPY;
}

static void walk_end(struct cl_cutter *s, int rc)
{
	uint64_t data_start = tensors_data_start(s->walk);

	s->is_final = rc == 0 && is_told_ahead(tensors_format(s->walk)) && !s->plan.is_short &&
		      (data_start > s->cut.offset || (data_start == 0 && s->plan.count == 0));
	cut_plan_seal(&s->plan, s->is_final ? data_start : 0);
	tensors_destroy(s->walk);
	s->walk = NULL;
	head_free(s);
}

static void walk_on(struct cl_cutter *s, const uint8_t *bytes, uint32_t len)
{
	uint64_t end = s->cut.offset + len;
	int rc = -E_RANGE;

	if (!s->walk || end <= s->head_len)
		return;
	uint32_t from = (uint32_t)(s->head_len - s->cut.offset);
	if (head_add(s, bytes + from, len - from)) {
		do {
			rc = tensors_walk(s->walk);
		} while (rc == -E_AGAIN);
	}
	if (rc != -E_NEED_BYTES)
		walk_end(s, rc);
}

/* --- the cut ---------------------------------------------------------------------------------- */

struct cl_cutter *cl_stream_create(struct cl_stream_budget *budget)
{
	struct cl_cutter *s = calloc(1, sizeof *s);
	/* Its end is not known yet, and tensors that end behind it do no harm. */
	struct tensors_source source = { .size = INT64_MAX, .read = stream_read, .arg = s };

	if (!s)
		return NULL;
	s->budget = budget;
	cut_plan_init(&s->plan);
	cut_init(&s->cut, NULL, 0);
	s->walk = tensors_create(&source, &(struct tensors_sink){ cut_plan_span, &s->plan });
	if (!s->walk) {
		cl_stream_destroy(s);
		return NULL;
	}
	return s;
}

void cl_stream_destroy(struct cl_cutter *s)
{
	if (!s)
		return;
	tensors_destroy(s->walk);
	cut_plan_finish(&s->plan);
	head_free(s);
	free(s);
}

uint64_t cl_stream_at(const struct cl_cutter *s)
{
	return s->cut.offset;
}

uint64_t cl_stream_block(const struct cl_cutter *s)
{
	return s->block;
}

bool cl_stream_is_final(const struct cl_cutter *s)
{
	return s->is_final;
}

/* Bytes left before data begins, where the plan takes over; 0: it has, or there is none. */
static uint64_t before_data(const struct cl_cutter *s)
{
	return s->is_final && !s->has_plan && s->plan.data_start > 0
		       ? s->plan.data_start - s->cut.offset
		       : 0;
}

uint32_t cl_stream_feed(struct cl_cutter *s, const void *bytes, uint32_t len, bool *ends)
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
