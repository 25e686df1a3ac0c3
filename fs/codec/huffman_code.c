/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lengths of codes: Huffman's. If some are above the limit, the rarest symbols count for more,
 * until none is: that comes within a ten-thousandth of the best limited code (package-merge,
 * Larmore and Hirschberg 1990), mostly with the second tree.
 */
#include "fs/codec/huffman.h"

#include <string.h>

#define LANES 8u	/* counters side by side: the same byte twice need not wait for itself */

struct leaf {
	uint32_t count;
	uint8_t symbol;
	uint8_t bits;
};

void huffman_count(const uint8_t *bytes, uint32_t len, uint32_t counts[HUFFMAN_SYMBOLS])
{
	uint32_t lanes[LANES][HUFFMAN_SYMBOLS];
	uint32_t at = 0;

	memset(lanes, 0, sizeof lanes);
	for (; at + LANES <= len; at += LANES) {
		uint64_t word;

		memcpy(&word, bytes + at, sizeof word);
#pragma GCC unroll 8
		for (unsigned i = 0; i < LANES; i++)
			lanes[i][word >> (8 * i) & 0xff]++;
	}
	for (; at < len; at++)
		lanes[0][bytes[at]]++;
	memcpy(counts, lanes[0], sizeof lanes[0]);
	for (unsigned l = 1; l < LANES; l++) {
		for (unsigned s = 0; s < HUFFMAN_SYMBOLS; s++)
			counts[s] += lanes[l][s];
	}
}

/*
 * Rarest first, equal ones by symbol: so the code depends on the counts alone. By the low byte of
 * the count, then by the next one; counts that are larger than these two bytes are a tie at most.
 */
static void sort(struct leaf *leaves, uint32_t count)
{
	struct leaf sorted[HUFFMAN_SYMBOLS], *from = leaves, *to = sorted;

	for (unsigned shift = 0; shift < 16; shift += 8) {
		uint32_t places[257] = {0};

		for (uint32_t i = 0; i < count; i++)
			places[(MIN_OF(from[i].count, UINT16_MAX) >> shift & 0xff) + 1]++;
		for (unsigned v = 0; v < 256; v++)
			places[v + 1] += places[v];
		for (uint32_t i = 0; i < count; i++)
			to[places[MIN_OF(from[i].count, UINT16_MAX) >> shift & 0xff]++] = from[i];
		struct leaf *other = from;
		from = to;
		to = other;
	}
}

/*
 * Two queues: the leaves, and the joined ones, which come about in ascending order. Leaves count
 * for at least `floor`. The bits of the longest code.
 */
static unsigned join(struct leaf *leaves, uint32_t count, uint32_t floor)
{
	uint32_t weights[2 * HUFFMAN_SYMBOLS];
	uint16_t parents[2 * HUFFMAN_SYMBOLS];
	uint8_t depths[2 * HUFFMAN_SYMBOLS];
	uint32_t leaf = 0, joined = count, root = 2 * count - 2;

	for (uint32_t i = 0; i < count; i++)
		weights[i] = MAX_OF(leaves[i].count, floor);
	for (uint32_t node = count; node <= root; node++) {
		weights[node] = 0;
		for (unsigned child = 0; child < 2; child++) {
			bool is_leaf = leaf < count &&
				       (joined == node || weights[leaf] <= weights[joined]);
			uint32_t least = is_leaf ? leaf++ : joined++;

			weights[node] += weights[least];
			parents[least] = (uint16_t)node;
		}
	}
	depths[root] = 0;
	for (uint32_t node = root; node-- > 0;)
		depths[node] = (uint8_t)(depths[parents[node]] + 1);
	for (uint32_t i = 0; i < count; i++)
		leaves[i].bits = depths[i];
	return depths[0];
}

void huffman_lengths_of(const uint32_t counts[HUFFMAN_SYMBOLS], struct huffman_lengths *out)
{
	struct leaf leaves[HUFFMAN_SYMBOLS];
	uint32_t count = 0, total = 0;

	for (unsigned s = 0; s < HUFFMAN_SYMBOLS; s++) {
		if (counts[s] > 0)
			leaves[count++] = (struct leaf){counts[s], (uint8_t)s, 0};
		total += counts[s];
	}
	ASSERT(count >= 2);
	sort(leaves, count);
	/* When all count the same, none is longer than eight bits. */
	for (uint32_t floor = total >> HUFFMAN_BITS_MAX, least = 0;
	     join(leaves, count, least) > HUFFMAN_BITS_MAX; floor += floor / 8 + 1)
		least = floor;
	memset(out, 0, sizeof *out);
	for (uint32_t i = 0; i < count; i++)
		out->of[leaves[i].symbol] = leaves[i].bits;
}
