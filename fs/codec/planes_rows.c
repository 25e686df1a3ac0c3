/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The look: a table of where each string of eight bytes was seen last, by a hash, and how often
 * strings came again at each distance.
 */
#include "fs/codec/planes_rows.h"

#include <string.h>

#define SEEN	   2048u	/* bytes in the middle of the plane */
#define SHARE	   8u		/* one string in so many must come again */
#define SLOT_BITS  12u
#define ZEROS	   4u		/* of eight bytes: no string, sparse matrices are full of them */

#define ALIKE_SEEN  512u
#define ALIKE_SHARE 16u		/* one in so many is the same where four bits tell a difference */

/* Several bytes at once, whatever the processor has for that. */
typedef uint8_t vector __attribute__((vector_size(PLANES_ROWS_MIN)));

static uint64_t eight_at(const uint8_t *at)
{
	uint64_t eight;

	memcpy(&eight, at, sizeof eight);
	return eight;
}

static bool is_sparse(uint64_t eight)
{
	unsigned zeros = 0;

	for (unsigned i = 0; i < sizeof eight; i++)
		zeros += (eight >> 8 * i & 0xff) == 0;
	return zeros >= ZEROS;
}

void planes_rows_look(const uint8_t *plane, uint32_t words, struct planes_rows *out)
{
	uint32_t seen = MIN_OF(words, SEEN), repeats = 0, best = 0;
	const uint8_t *sample = plane + (words - seen) / 2;
	uint16_t last[1u << SLOT_BITS] = {0}, at_distance[SEEN] = {0};

	for (uint32_t at = 1; at + sizeof(uint64_t) <= seen; at++) {
		uint64_t here = eight_at(sample + at);
		uint16_t *slot = &last[here * 0x9e3779b97f4a7c15u >> (64 - SLOT_BITS)];

		if (eight_at(sample + *slot) == here && !is_sparse(here)) {
			repeats++;
			at_distance[at - *slot]++;
		}
		*slot = (uint16_t)at;
	}
	*out = (struct planes_rows){.repeats = repeats > seen / SHARE};
	for (uint32_t d = PLANES_ROWS_MIN; d < seen && out->repeats; d++)
		best = at_distance[d] > at_distance[best] ? d : best;
	if (best < PLANES_ROWS_MIN || at_distance[best] <= repeats / 2)
		return;
	out->distance = best;
	out->same = at_distance[best] * 8u / (seen - best);
}

bool planes_rows_alike(const uint8_t *plane, uint32_t words, uint32_t distance)
{
	uint32_t from = (words + distance) / 2, to = MIN_OF(from + ALIKE_SEEN, words), same = 0;

	for (uint32_t at = from; at < to; at++)
		same += plane[at] == plane[at - distance];
	return same * ALIKE_SHARE > to - from;
}

void planes_rows_subtract(const uint8_t *plane, uint32_t words, uint32_t distance, uint8_t *out)
{
	uint32_t at = distance;

	ASSERT(distance >= PLANES_ROWS_MIN && distance < words);
	memcpy(out, plane, distance);
	for (; at + sizeof(vector) <= words; at += sizeof(vector)) {
		vector here, before;

		memcpy(&here, plane + at, sizeof here);
		memcpy(&before, plane + at - distance, sizeof before);
		here -= before;
		memcpy(out + at, &here, sizeof here);
	}
	for (; at < words; at++)
		out[at] = (uint8_t)(plane[at] - plane[at - distance]);
}

void planes_rows_add(uint8_t *plane, uint32_t words, uint32_t distance)
{
	uint32_t at = distance;

	ASSERT(distance >= PLANES_ROWS_MIN && distance < words);
	for (; at + sizeof(vector) <= words; at += sizeof(vector)) {
		vector here, before;

		memcpy(&here, plane + at, sizeof here);
		memcpy(&before, plane + at - distance, sizeof before);
		here += before;
		memcpy(plane + at, &here, sizeof here);
	}
	for (; at < words; at++)
		plane[at] = (uint8_t)(plane[at] + plane[at - distance]);
}
