/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was used of late, by block id: in bounded memory, whatever the number of blocks.
 *
 * A table of bytes. A block has two of them, chosen by its id; each says in which eighth of the
 * period it was used last, and how often, halved with every eighth that passes. Blocks share bytes,
 * so what is told is never colder than the truth: an unused block may be called warm, a used one is
 * never called cold. About one byte a block that is used within a period keeps such mistakes rare.
 *
 * Nothing is kept across restarts: until a whole period has passed nothing is cold.
 *
 * Pure: time comes with each call, and never runs backwards. Threads: one.
 */
#ifndef CAIRN_CHUNK_SERVER_HEAT_H
#define CAIRN_CHUNK_SERVER_HEAT_H

#include "fs/hash/block_id.h"

struct cs_heat;

enum cs_heat_kind {
	CS_COLD, /* nobody used it for a whole period */
	CS_WARM,
	CS_HOT, /* used often in the last part of the period */
};

#define CS_HEAT_BYTES_MIN KiB(64)
#define CS_HEAT_BYTES_MAX MiB(32)

struct cs_heat_options {
	uint64_t period_ms; /* what was not used for so long is cold; >= 8 */
	uint64_t bytes;	    /* of the table: clipped to the bounds above */
	uint32_t hot_uses;  /* 1 .. 15: hot from so many on */
};
/* -E_NOMEM. */
must_check int cs_heat_create(const struct cs_heat_options *options, uint64_t now_ms,
			      struct cs_heat **out);
void cs_heat_destroy(struct cs_heat *heat); /* NULL is allowed */

/* The block was read or put. */
void cs_heat_note(struct cs_heat *heat, const struct block_id *id, uint64_t now_ms);
must_check enum cs_heat_kind cs_heat_of(struct cs_heat *heat, const struct block_id *id,
					uint64_t now_ms);
uint64_t cs_heat_period_ms(const struct cs_heat *heat);
/* May anything be cold yet? A walk that looks for it can wait until then. */
bool cs_heat_knows(const struct cs_heat *heat, uint64_t now_ms);

#endif
