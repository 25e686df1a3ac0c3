/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The marks of one cycle of garbage collection: a Bloom filter over the beginnings of block ids.
 *
 * What was added is always had (I9). Of what was not, some is had by mistake: with the bits that a
 * block gets one of 15,000, where memory is short one of 7 at the most. The salt is the cycle, so a
 * mistake of one cycle is none of the next.
 *
 * Memory is bounded (I11), and nothing of it is durable. Threads: one.
 */
#ifndef CAIRN_CHUNK_SERVER_MARK_FILTER_H
#define CAIRN_CHUNK_SERVER_MARK_FILTER_H

#include "fs/hash/block_id.h"

#define CS_MARK_BYTES 16u /* of a block's id, as the metadata server sends it */

struct cs_mark_filter { /* zero it */
	uint64_t *words;
	uint64_t bit_count;
	uint64_t salt;
	uint32_t probes;
};

/* Empty, for the marks of so many blocks. -E_NOMEM: too many, or no memory; it is as finished. */
must_check int cs_mark_filter_init(struct cs_mark_filter *f, uint64_t blocks, uint64_t salt);
void cs_mark_filter_finish(struct cs_mark_filter *f); /* zeroed memory is allowed */

/* Only between init and finish: */
void cs_mark_filter_add(struct cs_mark_filter *f, const uint8_t mark[CS_MARK_BYTES]);
bool cs_mark_filter_has(const struct cs_mark_filter *f, const struct block_id *id);

#endif
