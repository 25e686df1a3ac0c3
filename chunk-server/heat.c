/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A byte of the table: in the high four bits the slice (an eighth of the period) of the last use,
 * 1 .. 15 in turns, 0: unused within the period; in the low four the uses, halved per slice. What
 * falls out of the period is cleared when a slice begins, so that no number of a slice is met
 * twice.
 */
#include "chunk-server/heat.h"

#include <stdlib.h>
#include <string.h>

#include "fs/base/bytes.h"

#define SLICES	  8u /* of a period */
#define NUMBERS	  15u
#define USES_BITS 4u
#define USES_MAX  ((1u << USES_BITS) - 1)
#define CELLS	  2u /* of a block */

_Static_assert(SLICES + 1 < NUMBERS, "what is older than a period is told from what is new");

struct cs_heat {
	uint64_t slice_ms, started_ms, period_ms;
	uint64_t slice; /* now: ms / slice_ms */
	uint64_t cells;
	uint32_t hot_uses;
	uint8_t table[];
};

int cs_heat_create(const struct cs_heat_options *options, uint64_t now_ms, struct cs_heat **out)
{
	uint64_t cells = MAX_OF(MIN_OF(options->bytes, CS_HEAT_BYTES_MAX), CS_HEAT_BYTES_MIN);
	struct cs_heat *heat = calloc(1, sizeof(*heat) + cells);

	if (heat == NULL)
		return -E_NOMEM;
	ASSERT(options->period_ms >= SLICES);
	ASSERT(options->hot_uses >= 1 && options->hot_uses <= USES_MAX);
	heat->period_ms = options->period_ms;
	heat->slice_ms = DIV_CEIL(options->period_ms, SLICES);
	heat->started_ms = now_ms;
	heat->slice = now_ms / heat->slice_ms;
	heat->cells = cells;
	heat->hot_uses = options->hot_uses;
	*out = heat;
	return 0;
}

void cs_heat_destroy(struct cs_heat *heat)
{
	free(heat);
}

static uint8_t number_of(uint64_t slice)
{
	return (uint8_t)(slice % NUMBERS + 1);
}

/* Slices since the last use; the byte is not 0. */
static uint32_t age_of(const struct cs_heat *heat, uint8_t cell)
{
	return (number_of(heat->slice) + NUMBERS - (cell >> USES_BITS)) % NUMBERS;
}

/* The next slice has begun: what was last used before the period is forgotten. */
static void slice_begin(struct cs_heat *heat)
{
	heat->slice++;
	for (uint64_t i = 0; i < heat->cells; i++) {
		if (heat->table[i] != 0 && age_of(heat, heat->table[i]) > SLICES)
			heat->table[i] = 0;
	}
}

static void advance(struct cs_heat *heat, uint64_t now_ms)
{
	uint64_t slice = now_ms / heat->slice_ms;

	if (slice > heat->slice + SLICES) {
		memset(heat->table, 0, heat->cells);
		heat->slice = slice;
	}
	while (heat->slice < slice)
		slice_begin(heat);
}

/* An id is a digest: its words are as good as hashes of it. The first ones choose the group. */
static uint8_t *cell_of(struct cs_heat *heat, const struct block_id *id, uint32_t which)
{
	uint64_t word;

	memcpy(&word, id->bytes + 8 + which * sizeof(word), sizeof(word));
	return &heat->table[word % heat->cells];
}

static uint32_t uses_of(const struct cs_heat *heat, uint8_t cell)
{
	return cell == 0 ? 0 : (uint32_t)(cell & USES_MAX) >> age_of(heat, cell);
}

void cs_heat_note(struct cs_heat *heat, const struct block_id *id, uint64_t now_ms)
{
	advance(heat, now_ms);
	for (uint32_t i = 0; i < CELLS; i++) {
		uint8_t *cell = cell_of(heat, id, i);
		uint32_t uses = MIN_OF(uses_of(heat, *cell) + 1, USES_MAX);
		*cell = (uint8_t)(number_of(heat->slice) << USES_BITS | uses);
	}
}

uint64_t cs_heat_period_ms(const struct cs_heat *heat)
{
	return heat->period_ms;
}

bool cs_heat_knows(const struct cs_heat *heat, uint64_t now_ms)
{
	return now_ms >= heat->started_ms + heat->period_ms;
}

enum cs_heat_kind cs_heat_of(struct cs_heat *heat, const struct block_id *id, uint64_t now_ms)
{
	uint32_t uses = USES_MAX;
	bool is_used = true;

	advance(heat, now_ms);
	for (uint32_t i = 0; i < CELLS; i++) {
		uint8_t cell = *cell_of(heat, id, i);
		is_used = is_used && cell != 0;
		uses = MIN_OF(uses, uses_of(heat, cell));
	}
	if (!is_used)
		return cs_heat_knows(heat, now_ms) ? CS_COLD : CS_WARM;
	return uses >= heat->hot_uses ? CS_HOT : CS_WARM;
}
