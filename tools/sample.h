/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A uniform sample of the distinct blocks that are met, in bounded memory.
 *
 * A block counts if and only if the key of its id falls below a threshold; keys are uniform, since
 * ids are digests. When the table is full the threshold halves, and what does not fall below it
 * any more is forgotten. So the sample depends on which blocks there are, and neither on the order
 * nor on how often they are met; two walks of equal content sample the same blocks.
 *
 * A sum over the sample divided by its rate estimates the sum over all distinct blocks without
 * bias: halving keeps its expectation whatever was kept before, and whether to halve is decided by
 * what was kept before only (a martingale that is stopped). While nothing was halved it is exact.
 *
 * Pure; threads: one.
 */
#ifndef CAIRN_TOOLS_SAMPLE_H
#define CAIRN_TOOLS_SAMPLE_H

#include <uthash.h>

#include "tools/tree_reader.h"

#define SAMPLE_BLOCKS_MIN     16u
#define SAMPLE_BLOCKS_MAX     (1u << 22)
#define SAMPLE_BLOCKS_DEFAULT (1u << 18) /* 16 GiB of distinct blocks are counted exactly */
#define SAMPLE_GROUPS	      256u

struct sample_block {
	struct block_id id;
	uint32_t length;		     /* plain */
	uint32_t what_if;		     /* its record otherwise; 0: was not tried */
	bool is_node;			     /* of a manifest */
	uint64_t met;			     /* bytes, as often as it was met */
	uint64_t groups[SAMPLE_GROUPS / 64]; /* a bit for each group that has it */
	uint64_t mark;			     /* its user's; zero at first */
	struct tree_copies copies;	     /* all zero while nobody was asked */
	UT_hash_handle hh;
};

struct sample;

/* Another seed, another sample. NULL: out of memory. */
struct sample *sample_create(uint32_t blocks_max, uint64_t seed);
void sample_destroy(struct sample *s); /* NULL is allowed */

/*
 * A block is met. 1 and *out, zeroed but for its id: it is new; 0 and *out: it was met before; 0
 * and NULL: it is not of the sample. *out holds until the next call. -E_NOMEM
 */
must_check int sample_meet(struct sample *s, const struct block_id *id, struct sample_block **out);
struct sample_block *sample_find(const struct sample *s, const struct block_id *id); /* or NULL */
/* The next one behind `block`, NULL: the first; no order that means anything. NULL at the end. */
struct sample_block *sample_next(const struct sample *s, const struct sample_block *block);
uint32_t sample_count(const struct sample *s);
double sample_rate(const struct sample *s); /* 1, 1/2, 1/4 .. */
/*
 * The largest rate, this one or a half of it and so on, at which at most `blocks_max` are left;
 * those are the blocks for which sample_is_below(). For what is dear to find out of each.
 */
double sample_rate_for(const struct sample *s, uint32_t blocks_max);
bool sample_is_below(const struct sample *s, const struct sample_block *block, double rate);

#endif
