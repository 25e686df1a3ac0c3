/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cutting by content: where the blocks of a file that is sealed begin and end, so that what two
 * files share becomes the same blocks wherever it lies in them.
 *
 * A run begins at offset 0, where data begins behind a header, at both ends of each tensor of
 * CUT_TENSOR_BYTES_MIN and more, and at each anchor. Blocks are a grid of BLOCK_BYTES_MAX that is
 * restarted at each run. An anchor is a place, at least CUT_ANCHOR_BYTES_MIN into a run, whose
 * CUT_WINDOW_BYTES before it say so: about every CUT_ANCHOR_BYTES_MEAN. So the blocks of a tensor
 * depend on its own bytes alone, and behind an insertion they are the old ones from the next
 * anchor on. A run has no greatest length: a cut at a multiple of the grid would change no block.
 *
 * First the plan, from a walk of the headers (tensors.h), then the bytes, in pieces of any length;
 * the blocks are the same however the bytes were fed:
 *
 *	cut_plan_init(&plan);
 *	tensors = tensors_create(&source, &(struct tensors_sink){cut_plan_span, &plan});
 *	... tensors_walk() ...
 *	cut_plan_seal(&plan, tensors_data_start(tensors));
 *	cut_init(&cut, &plan, 0);
 *	while there are bytes:
 *		n = cut_feed(&cut, bytes, len, &ends);	the block under way has n bytes more
 *		if (ends) it is whole, the next byte begins another
 *
 * The end of the file ends the last block. Pure, deterministic; one thread for each cut.
 */
#ifndef CAIRN_FS_TREE_CUT_H
#define CAIRN_FS_TREE_CUT_H

#include "fs/base/base.h"

/*
 * Goes up whenever the same content would be cut elsewhere: a root of another version may be cut
 * anew, and until then shares less. 0 says: not cut by content.
 */
#define CUT_VERSION		1u

#define CUT_TENSOR_BYTES_MIN	4096u	/* less would cost more than what is shared by it */
#define CUT_ANCHOR_BYTES_MIN	32768u
/*
 * Of a tensor anchors are a 64th of it apart, within these bounds, in powers of two: an edit costs
 * a share of it, and the blocks of a large one are nearly full. Those of a longer one are among
 * those of a shorter one.
 */
#define CUT_ANCHOR_BYTES_LEAST	131072u
#define CUT_ANCHOR_BYTES_MOST	1048576u
#define CUT_ANCHOR_BYTES_MEAN	524288u	/* where no tensor is known */
#define CUT_WINDOW_BYTES	64u
#define CUT_TENSORS_MAX		262144u	/* kept of a file, 16 bytes each; others are as any bytes */

struct tensors_span;

/* Where runs must begin. */
struct cut_plan {
	struct cut_extent {
		uint64_t start, end;
	} *extents;			/* in any order until it is sealed, then apart and rising */
	uint32_t count, room;
	uint64_t data_start;
	bool is_sealed, is_short;	/* short: memory was lacking, or it holds its maximum */
};

void cut_plan_init(struct cut_plan *plan);
void cut_plan_finish(struct cut_plan *plan);	/* a zeroed one, too */
/* The sink of a walk; `plan` is the plan. Spans that are too short are left out. */
void cut_plan_span(void *plan, const struct tensors_span *span);
/* No more spans: of those that overlap, the first stays. `data_start`: 0 for none. */
void cut_plan_seal(struct cut_plan *plan, uint64_t data_start);

struct cut {
	const struct cut_plan *plan;	/* not owned; NULL: none */
	uint32_t (*scan)(const uint8_t *at, uint32_t count); /* cut_scan.h: the best one here */
	uint32_t extent_index;		/* the first that does not end before `offset` */
	uint64_t offset;		/* of the next byte */
	uint64_t anchor_below;		/* checksums of anchors are, here */
	uint64_t run_bytes;		/* since the last cut that began a run */
	uint8_t window[CUT_WINDOW_BYTES]; /* the bytes before `offset`, as far as the run has any */
};

/* A run begins at `offset`. `plan` is sealed, or NULL; it outlives the cut. */
void cut_init(struct cut *cut, const struct cut_plan *plan, uint64_t offset);
/*
 * The bytes that follow; how many of them belong to the block under way, at least one. Where
 * `*ends` it ends with these. Else all were taken.
 */
must_check uint32_t cut_feed(struct cut *cut, const void *bytes, uint32_t len, bool *ends);
/* What was fed ends here, and a run begins at `offset`, not before: behind a hole. */
void cut_restart(struct cut *cut, uint64_t offset);

#endif
