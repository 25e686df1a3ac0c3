/* SPDX-License-Identifier: Apache-2.0 */
#define HASH_NONFATAL_OOM 1 /* an add that failed leaves hh.tbl NULL */
#include "tools/sample.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fs/hash/checksum.h"

struct sample {
	struct sample_block *blocks; /* by id */
	uint64_t seed;
	uint32_t count, max;
	uint32_t halvings;
};

struct sample *sample_create(uint32_t blocks_max, uint64_t seed)
{
	struct sample *s = calloc(1, sizeof *s);

	if (s) {
		s->max = blocks_max;
		s->seed = seed;
	}
	return s;
}

void sample_destroy(struct sample *s)
{
	struct sample_block *block, *next;

	if (!s)
		return;
	HASH_ITER (hh, s->blocks, block, next) {
		HASH_DEL(s->blocks, block);
		free(block);
	}
	free(s);
}

static uint64_t key_of(const struct sample *s, const struct block_id *id)
{
	struct {
		struct block_id id;
		uint64_t seed;
	} key = {*id, s->seed};

	return checksum_of(&key, sizeof key);
}

/* Below a threshold of 2^64 that was halved so often? */
static bool is_below(uint64_t key, uint32_t halvings)
{
	return halvings == 0 || (halvings < 64 && key >> (64 - halvings) == 0);
}

static void halve(struct sample *s)
{
	struct sample_block *block, *next;

	s->halvings++;
	HASH_ITER (hh, s->blocks, block, next) {
		if (is_below(key_of(s, &block->id), s->halvings))
			continue;
		HASH_DEL(s->blocks, block);
		free(block);
		s->count--;
	}
}

struct sample_block *sample_find(const struct sample *s, const struct block_id *id)
{
	struct sample_block *block;

	HASH_FIND(hh, s->blocks, id, sizeof *id, block);
	return block;
}

int sample_meet(struct sample *s, const struct block_id *id, struct sample_block **out)
{
	struct sample_block *block;
	uint64_t key = key_of(s, id);

	*out = NULL;
	if (!is_below(key, s->halvings))
		return 0;
	*out = sample_find(s, id);
	if (*out)
		return 0;
	while (s->count == s->max)
		halve(s);
	if (!is_below(key, s->halvings))
		return 0;
	block = calloc(1, sizeof *block);
	if (!block)
		return -E_NOMEM;
	block->id = *id;
	HASH_ADD(hh, s->blocks, id, sizeof block->id, block);
	if (!block->hh.tbl) {
		free(block);
		return -E_NOMEM;
	}
	s->count++;
	*out = block;
	return 1;
}

struct sample_block *sample_next(const struct sample *s, const struct sample_block *block)
{
	return block ? block->hh.next : s->blocks;
}

uint32_t sample_count(const struct sample *s)
{
	return s->count;
}

double sample_rate(const struct sample *s)
{
	return ldexp(1.0, -(int)s->halvings);
}

bool sample_is_below(const struct sample *s, const struct sample_block *block, double rate)
{
	return is_below(key_of(s, &block->id), (uint32_t)-ilogb(rate));
}

double sample_rate_for(const struct sample *s, uint32_t blocks_max)
{
	uint32_t count[65] = {0}, left = s->count, halvings = s->halvings;

	/* count[h]: of those that survive h halvings and not one more */
	for (const struct sample_block *b = s->blocks; b; b = b->hh.next) {
		uint64_t key = key_of(s, &b->id);

		count[key ? (uint32_t)__builtin_clzll(key) : 64]++;
	}
	while (left > blocks_max && halvings < 64)
		left -= count[halvings++];
	return ldexp(1.0, -(int)halvings);
}
