/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lengths of codes: Huffman's, then those above the limit are cut, and the code made complete
 * again at the cost of its rarest symbols. That is at most a little worse than the best, and for
 * what is near uniform or near geometric the same.
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

/* Two queues: the leaves, and the joined ones, which come about in ascending order. */
static void join(struct leaf *leaves, uint32_t count)
{
	uint32_t weights[2 * HUFFMAN_SYMBOLS];
	uint16_t parents[2 * HUFFMAN_SYMBOLS];
	uint8_t depths[2 * HUFFMAN_SYMBOLS];
	uint32_t leaf = 0, joined = count, root = 2 * count - 2;

	for (uint32_t i = 0; i < count; i++)
		weights[i] = leaves[i].count;
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
}

/* Codes of at most HUFFMAN_BITS_MAX bits that fill the room there is exactly. */
static void limit(struct leaf *leaves, uint32_t count)
{
	uint32_t room = 1u << HUFFMAN_BITS_MAX, used = 0;

	for (uint32_t i = 0; i < count; i++) {
		leaves[i].bits = MIN_OF(leaves[i].bits, (uint8_t)HUFFMAN_BITS_MAX);
		used += room >> leaves[i].bits;
	}
	/* The longest that may still grow give least, and are the rarest: they come first. */
	for (uint32_t i = 0; used > room; i = i + 1 < count ? i + 1 : 0) {
		if (leaves[i].bits == HUFFMAN_BITS_MAX)
			continue;
		leaves[i].bits++;
		used -= room >> leaves[i].bits;
	}
	/* What that freed too much goes to the most frequent that it suffices for. */
	for (uint32_t i = count; used < room; i = i > 1 ? i - 1 : count) {
		if (room >> leaves[i - 1].bits > room - used)
			continue;
		used += room >> leaves[i - 1].bits;
		leaves[i - 1].bits--;
	}
}

void huffman_lengths_of(const uint32_t counts[HUFFMAN_SYMBOLS], struct huffman_lengths *out)
{
	struct leaf leaves[HUFFMAN_SYMBOLS];
	uint32_t count = 0;

	for (unsigned s = 0; s < HUFFMAN_SYMBOLS; s++) {
		if (counts[s] > 0)
			leaves[count++] = (struct leaf){counts[s], (uint8_t)s, 0};
	}
	ASSERT(count >= 2);
	sort(leaves, count);
	join(leaves, count);
	limit(leaves, count);
	memset(out, 0, sizeof *out);
	for (uint32_t i = 0; i < count; i++)
		out->of[leaves[i].symbol] = leaves[i].bits;
}
