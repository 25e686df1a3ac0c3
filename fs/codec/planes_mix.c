/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Classes are found as by k-means, where the distance of a chunk from a class is what it would take
 * in the code of that class: four codes are priced at once, with one look for each byte. All turns
 * but the last look at one chunk in SEEN only.
 */
#include "fs/codec/planes_mix.h"

#include <string.h>

#define SEEN	   4u
#define CHUNKS_MIN 64u		/* for fewer it pays nothing */
#define FAR_OFF	   24
#define SUMS	   (2u * FAR_OFF * PLANES_MIX_CHUNK + 1)
#define TURNS	   3u		/* the last of which takes all chunks */
#define COST_UNIT  16u		/* a bit */
#define COST_MAX   (15u * COST_UNIT)	/* of a byte that does not occur */
#define LANE_BITS  16u		/* of each class's cost in a word */

_Static_assert(PLANES_MIX_CLASSES * LANE_BITS == 64, "a word has the costs of all classes");
_Static_assert(PLANES_MIX_CHUNK * (COST_MAX + 2 * COST_UNIT) < 1u << LANE_BITS,
	       "a lane has what a chunk costs");

/* How much more chunks vary than bytes that know nothing of each other, in cost and in place. */
#define COSTS_PERCENT  140u
#define PLACES_PERCENT 300u

/* A number for each byte, or one for each class: what it costs there. */
struct costs {
	uint64_t of[HUFFMAN_SYMBOLS];
};

/* About log2, in units of a bit; 0 for 0 as for 1. */
static uint32_t log2_of(uint32_t n)
{
	if (n < 2)
		return 0;
	unsigned whole = 31u - (unsigned)__builtin_clz(n);

	return whole * COST_UNIT + (uint32_t)(((uint64_t)n * COST_UNIT >> whole) - COST_UNIT);
}

/* What each byte takes in a code made for these counts; one that does not occur is dear. */
static void costs_add(struct costs *costs, unsigned class, const uint32_t counts[HUFFMAN_SYMBOLS])
{
	uint32_t total = 0;

	for (unsigned s = 0; s < HUFFMAN_SYMBOLS; s++)
		total += counts[s];
	uint32_t dearest = total ? MIN_OF(log2_of(total) + COST_UNIT, COST_MAX) : COST_MAX;

	for (unsigned s = 0; s < HUFFMAN_SYMBOLS; s++) {
		uint32_t cost = counts[s] ? log2_of(total) - log2_of(counts[s]) : dearest;

		costs->of[s] |= (uint64_t)cost << class * LANE_BITS;
	}
}

static uint64_t chunk_costs(const struct costs *costs, const uint8_t *chunk, uint32_t len)
{
	uint64_t sum = 0;

	uint32_t i = 0;

	for (; i + 8 <= len; i += 8) {
		uint64_t bytes;

		memcpy(&bytes, chunk + i, sizeof bytes);
#pragma GCC unroll 8
		for (unsigned b = 0; b < 8; b++)
			sum += costs->of[bytes >> 8 * b & 0xff];
	}
	for (; i < len; i++)
		sum += costs->of[chunk[i]];
	return sum;
}

static uint32_t cost_in(uint64_t costs, unsigned class)
{
	return costs >> class * LANE_BITS & ((1u << LANE_BITS) - 1);
}

static uint8_t cheapest(uint64_t costs)
{
	uint8_t best = 0;

	for (uint8_t k = 1; k < PLANES_MIX_CLASSES; k++)
		best = cost_in(costs, k) < cost_in(costs, best) ? k : best;
	return best;
}

static uint32_t chunk_len(const struct planes_mix *mix, uint32_t chunk)
{
	return MIN_OF(PLANES_MIX_CHUNK, mix->words - chunk * PLANES_MIX_CHUNK);
}

/* How far each byte is above the most frequent one; what is far off must not decide alone. */
static void places_of(struct costs *places, const uint32_t counts[HUFFMAN_SYMBOLS])
{
	unsigned most = 0;

	for (unsigned s = 1; s < HUFFMAN_SYMBOLS; s++)
		most = counts[s] > counts[most] ? s : most;
	for (unsigned s = 0; s < HUFFMAN_SYMBOLS; s++) {
		int above = (int8_t)(s - most);

		above = MAX_OF(MIN_OF(above, FAR_OFF), -FAR_OFF);
		places->of[s] = (unsigned)(FAR_OFF + above);
	}
}

/* Do whole chunks differ in what their bytes cost, or where they are, by more than chance? */
static bool chunks_differ(const struct costs *of, const uint32_t counts[HUFFMAN_SYMBOLS],
			  const uint8_t *plane, uint32_t words, uint32_t percent)
{
	uint64_t sum = 0, squares = 0, chunk_sum = 0, chunk_squares = 0, chunks = 0;

	for (unsigned s = 0; s < HUFFMAN_SYMBOLS; s++) {
		sum += counts[s] * of->of[s];
		squares += counts[s] * of->of[s] * of->of[s];
	}
	for (uint32_t at = 0; at + PLANES_MIX_CHUNK <= words; at += SEEN * PLANES_MIX_CHUNK) {
		uint64_t cost = chunk_costs(of, plane + at, PLANES_MIX_CHUNK);

		chunk_sum += cost;
		chunk_squares += cost * cost;
		chunks++;
	}
	uint64_t by_chance = (squares - sum * sum / words) / words * PLANES_MIX_CHUNK;
	uint64_t found = (chunk_squares - chunk_sum * chunk_sum / chunks) / chunks;

	return found * 100 > by_chance * percent;
}

/* Classes to begin with: as many chunks in each, by the mean of their bytes. */
static void classes_begin(struct planes_mix *mix, const uint8_t *plane,
			  const struct costs *places)
{
	uint32_t found[SUMS] = {0}, bounds[PLANES_MIX_CLASSES - 1], below = 0, class = 0;
	uint16_t sums[PLANES_MIX_CHUNKS_MAX / SEEN];
	uint32_t seen = mix->chunks / SEEN;

	for (uint32_t i = 0; i < seen; i++) {
		const uint8_t *chunk = plane + i * SEEN * PLANES_MIX_CHUNK;

		sums[i] = (uint16_t)(chunk_costs(places, chunk, PLANES_MIX_CHUNK));
		found[sums[i]]++;
	}
	for (uint32_t m = 0; class < PLANES_MIX_CLASSES - 1; m++) {
		below += found[m];
		while (class < PLANES_MIX_CLASSES - 1 &&
		       below * PLANES_MIX_CLASSES >= seen * (class + 1))
			bounds[class++] = m;
	}
	for (uint32_t i = 0; i < seen; i++) {
		uint8_t k = 0;

		while (k < PLANES_MIX_CLASSES - 1 && sums[i] > bounds[k])
			k++;
		mix->of[i * SEEN] = k;
	}
}

/* The codes of the classes as they are, by one chunk in `step`. */
static void classes_price(const struct planes_mix *mix, const uint8_t *plane, uint32_t step,
			  struct costs *costs)
{
	uint32_t counts[PLANES_MIX_CLASSES][HUFFMAN_SYMBOLS];

	memset(counts, 0, sizeof counts);
	for (uint32_t c = 0; c + step <= mix->chunks; c += step) {
		const uint8_t *chunk = plane + c * PLANES_MIX_CHUNK;
		uint32_t *own = counts[mix->of[c]], len = chunk_len(mix, c);

		for (uint32_t i = 0; i < len; i++)
			own[chunk[i]]++;
	}
	memset(costs, 0, sizeof *costs);
	for (unsigned k = 0; k < PLANES_MIX_CLASSES; k++)
		costs_add(costs, k, counts[k]);
}

bool planes_mix_find(struct planes_mix *mix, const uint8_t *plane, uint32_t words,
		     const uint32_t counts[HUFFMAN_SYMBOLS])
{
	struct costs costs, places;

	mix->words = words;
	mix->chunks = DIV_CEIL(words, PLANES_MIX_CHUNK);
	if (mix->chunks < CHUNKS_MIN)
		return false;
	memset(&costs, 0, sizeof costs);
	costs_add(&costs, 0, counts);
	places_of(&places, counts);
	if (!chunks_differ(&costs, counts, plane, words, COSTS_PERCENT) &&
	    !chunks_differ(&places, counts, plane, words, PLACES_PERCENT))
		return false;
	classes_begin(mix, plane, &places);
	for (unsigned turn = 0; turn < TURNS; turn++) {
		uint32_t step = turn == TURNS - 1 ? 1 : SEEN;

		classes_price(mix, plane, SEEN, &costs);
		for (uint32_t c = 0; c + step <= mix->chunks; c += step)
			mix->of[c] = cheapest(chunk_costs(&costs, plane + c * PLANES_MIX_CHUNK,
							  chunk_len(mix, c)));
	}
	planes_mix_settle(mix);
	return true;
}

void planes_mix_settle(struct planes_mix *mix)
{
	memset(mix->bytes, 0, sizeof mix->bytes);
	for (uint32_t c = 0; c < mix->chunks; c++)
		mix->bytes[mix->of[c]] += chunk_len(mix, c);
}

void planes_mix_gather(const struct planes_mix *mix, const uint8_t *plane, uint8_t *out)
{
	uint8_t *to[PLANES_MIX_CLASSES];

	for (unsigned k = 0; k < PLANES_MIX_CLASSES; k++) {
		to[k] = out;
		out += mix->bytes[k];
	}
	for (uint32_t c = 0; c < mix->chunks; c++) {
		uint32_t len = chunk_len(mix, c);

		memcpy(to[mix->of[c]], plane + c * PLANES_MIX_CHUNK, len);
		to[mix->of[c]] += len;
	}
}

void planes_mix_scatter(const struct planes_mix *mix,
			const uint8_t *const classes[PLANES_MIX_CLASSES], uint8_t *plane)
{
	const uint8_t *from[PLANES_MIX_CLASSES];
	uint32_t whole = mix->words / PLANES_MIX_CHUNK;

	memcpy(from, classes, sizeof from);
	for (uint32_t c = 0; c < whole; c++) {
		memcpy(plane + c * PLANES_MIX_CHUNK, from[mix->of[c]], PLANES_MIX_CHUNK);
		from[mix->of[c]] += PLANES_MIX_CHUNK;
	}
	if (whole < mix->chunks)
		memcpy(plane + whole * PLANES_MIX_CHUNK, from[mix->of[whole]],
		       mix->words % PLANES_MIX_CHUNK);
}
