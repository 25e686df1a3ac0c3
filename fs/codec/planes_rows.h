/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private to planes*.c: rows of a matrix that are nearly what a row before them is (embeddings of
 * what is alike, positions, filters). Of such a plane the differences of bytes at one distance are
 * stored: most are zero.
 *
 * Pure; threads: any.
 */
#ifndef CAIRN_FS_CODEC_PLANES_ROWS_H
#define CAIRN_FS_CODEC_PLANES_ROWS_H

#include "fs/base/base.h"

#define PLANES_ROWS_MIN 16u		/* the least distance */

/* What a look at one plane tells. */
struct planes_rows {
	bool repeats;			/* strings of it come again */
	uint32_t distance;		/* where most of them do so; 0: here and there */
	uint32_t same;			/* so many of eight do so there */
};

void planes_rows_look(const uint8_t *plane, uint32_t words, struct planes_rows *out);
/* May differences take half of what the bytes do? A glance. */
bool planes_rows_alike(const uint8_t *plane, uint32_t words, uint32_t distance);
/* Bytes less those `distance` (at least PLANES_ROWS_MIN) before them; the first ones stay. */
void planes_rows_subtract(const uint8_t *plane, uint32_t words, uint32_t distance, uint8_t *out);
/* And back, in place. */
void planes_rows_add(uint8_t *plane, uint32_t words, uint32_t distance);

#endif
