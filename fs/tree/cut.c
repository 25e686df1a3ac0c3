/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cut itself. Only `run_bytes`, the window and the plan decide, so pieces of any length cut
 * alike. In the first CUT_ANCHOR_BYTES_MIN of a run nothing is looked at, behind them each place by
 * the filter (cut_scan.h), and by a checksum of its window where that lets it pass.
 */
#include "fs/tree/cut.h"

#include <string.h>

#include "fs/hash/checksum.h"
#include "fs/tree/cut_plan.h"
#include "fs/tree/cut_scan.h"

#define TENSOR_ANCHORS 64u	/* about, in a tensor */

_Static_assert(CUT_SCAN_BYTES <= CUT_WINDOW_BYTES && CUT_WINDOW_BYTES <= CUT_ANCHOR_BYTES_MIN,
	       "a place that may be an anchor has its window in its run");

void cut_init(struct cut *cut, const struct cut_plan *plan, uint64_t offset)
{
	*cut = (struct cut){.plan = plan, .scan = cut_scan_kernels[cpu_level()], .offset = offset};
}

void cut_restart(struct cut *cut, uint64_t offset)
{
	ASSERT(offset >= cut->offset);
	cut->offset = offset;
	cut->run_bytes = 0;
}

/* How far apart anchors are at the offset, for which the plan was asked. */
static uint32_t anchor_mean(const struct cut *cut)
{
	const struct cut_extent *e = cut->plan && cut->extent_index < cut->plan->count
					     ? &cut->plan->extents[cut->extent_index]
					     : NULL;
	uint32_t mean = CUT_ANCHOR_BYTES_LEAST;

	if (!e || e->start > cut->offset)
		return CUT_ANCHOR_BYTES_MEAN;
	while (mean < CUT_ANCHOR_BYTES_MOST && (e->end - e->start) / TENSOR_ANCHORS >= 2 * mean)
		mean *= 2;
	return mean;
}

/* Of the places that pass the filter, so many are anchors. */
static uint64_t anchor_below(uint32_t mean)
{
	return UINT64_MAX / ((mean - CUT_ANCHOR_BYTES_MIN) / CUT_SCAN_ODDS);
}

/* `at` is a place behind CUT_WINDOW_BYTES at least. */
static bool is_anchor(const struct cut *cut, const uint8_t *at)
{
	return checksum_of(at - CUT_WINDOW_BYTES, CUT_WINDOW_BYTES) < cut->anchor_below;
}

/* The first anchor among `count` places from `at` on, or `count`. */
static uint32_t anchor_find(const struct cut *cut, const uint8_t *at, uint32_t count)
{
	uint32_t i = 0;

	for (; i < count; i++) {
		i += cut->scan(at + i, count - i);
		if (i == count || is_anchor(cut, at + i))
			break;
	}
	return i;
}

/* The same for the places behind 1, 2 ... `len` bytes of the piece: bytes up to it, or 0. */
static uint32_t anchor_in(const struct cut *cut, const uint8_t *bytes, uint32_t len)
{
	uint8_t seam[2 * CUT_WINDOW_BYTES];
	uint32_t place = 1, at_seam = MIN_OF(len, CUT_WINDOW_BYTES - 1);

	if (cut->run_bytes + len < CUT_ANCHOR_BYTES_MIN)
		return 0;
	if (cut->run_bytes + place < CUT_ANCHOR_BYTES_MIN)
		place = (uint32_t)(CUT_ANCHOR_BYTES_MIN - cut->run_bytes);
	if (place <= at_seam) {
		memcpy(seam, cut->window, CUT_WINDOW_BYTES);
		memcpy(seam + CUT_WINDOW_BYTES, bytes, at_seam);
		uint32_t count = at_seam + 1 - place;
		uint32_t found = anchor_find(cut, seam + CUT_WINDOW_BYTES + place, count);

		if (found < count)
			return place + found;
		place += count;
	}
	if (place > len)
		return 0;
	uint32_t found = anchor_find(cut, bytes + place, len + 1 - place);
	return place + found <= len ? place + found : 0;
}

/* What the next window needs of the bytes that are gone. */
static void keep_window(struct cut *cut, const uint8_t *bytes, uint32_t len)
{
	uint32_t kept = len < CUT_WINDOW_BYTES ? CUT_WINDOW_BYTES - len : 0;

	memmove(cut->window, cut->window + CUT_WINDOW_BYTES - kept, kept);
	memcpy(cut->window + kept, bytes + len - (CUT_WINDOW_BYTES - kept),
	       CUT_WINDOW_BYTES - kept);
}

uint32_t cut_feed(struct cut *cut, const void *bytes, uint32_t len, bool *ends)
{
	uint64_t edge = cut_plan_next(cut->plan, &cut->extent_index, cut->offset);
	uint32_t room = BLOCK_BYTES_MAX - (uint32_t)(cut->run_bytes % BLOCK_BYTES_MAX);
	uint32_t took = MIN_OF(len, room);

	ASSERT(len > 0);
	took = (uint32_t)MIN_OF(took, edge - cut->offset);
	cut->anchor_below = anchor_below(anchor_mean(cut));
	uint32_t anchor = anchor_in(cut, bytes, took);
	if (anchor > 0)
		took = anchor;
	keep_window(cut, bytes, took);
	cut->offset += took;
	cut->run_bytes += took;
	*ends = took == room;
	if (anchor > 0 || cut->offset == edge) {
		*ends = true;
		cut->run_bytes = 0;
	}
	return took;
}
