/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plan of a cut: extents of tensors. They come from headers that may say anything (I8); those
 * that stay are long and apart, so a hostile header adds at most two short blocks for each
 * CUT_TENSOR_BYTES_MIN of the file.
 */
#include "fs/tree/cut_plan.h"

#include <stdlib.h>

#include "fs/tree/tensors.h"

#define EXTENTS_FIRST 64u

void cut_plan_init(struct cut_plan *plan)
{
	*plan = (struct cut_plan){0};
}

void cut_plan_finish(struct cut_plan *plan)
{
	free(plan->extents);
	*plan = (struct cut_plan){0};
}

static bool grow(struct cut_plan *plan)
{
	uint32_t room = plan->room ? 2 * plan->room : EXTENTS_FIRST;

	if (plan->room >= CUT_TENSORS_MAX)
		return false;
	struct cut_extent *extents = realloc(plan->extents, room * sizeof *extents);
	if (!extents)
		return false;
	plan->extents = extents;
	plan->room = room;
	return true;
}

void cut_plan_span(void *arg, const struct tensors_span *span)
{
	struct cut_plan *plan = arg;

	ASSERT(!plan->is_sealed);
	if (span->length < CUT_TENSOR_BYTES_MIN)
		return;
	if (plan->count == plan->room && !grow(plan)) {
		plan->is_short = true;
		return;
	}
	plan->extents[plan->count++] =
		(struct cut_extent){.start = span->offset, .end = span->offset + span->length};
}

/* By start, then the longer first. */
static int extent_order(const void *left, const void *right)
{
	const struct cut_extent *a = left, *b = right;

	if (a->start != b->start)
		return a->start < b->start ? -1 : 1;
	if (a->end != b->end)
		return a->end > b->end ? -1 : 1;
	return 0;
}

void cut_plan_seal(struct cut_plan *plan, uint64_t data_start)
{
	uint32_t kept = 0;
	uint64_t end = 0;

	ASSERT(!plan->is_sealed);
	if (plan->count > 0)
		qsort(plan->extents, plan->count, sizeof *plan->extents, extent_order);
	for (uint32_t i = 0; i < plan->count; i++) {
		if (plan->extents[i].start < end)
			continue;
		end = plan->extents[i].end;
		plan->extents[kept++] = plan->extents[i];
	}
	plan->count = kept;
	plan->data_start = data_start;
	plan->is_sealed = true;
}

uint64_t cut_plan_next(const struct cut_plan *plan, uint32_t *index, uint64_t offset)
{
	uint64_t edge = UINT64_MAX;

	if (!plan)
		return edge;
	ASSERT(plan->is_sealed);
	while (*index < plan->count && plan->extents[*index].end <= offset)
		(*index)++;
	if (*index < plan->count) {
		const struct cut_extent *next = &plan->extents[*index];

		edge = next->start > offset ? next->start : next->end;
	}
	return plan->data_start > offset ? MIN_OF(edge, plan->data_start) : edge;
}
