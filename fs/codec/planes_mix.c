/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Classes are found as by k-means, where the distance of a chunk from a class is what it would take
 * in the code of that class: four codes are priced at once, with one look for each byte. There are
 * two turns, as more find little more: one over one chunk in SEEN, and if these gain one over all.
 */
#include "fs/codec/planes_mix.h"

#include <string.h>

#define SEEN	   4u
#define SEEN_MAX   (PLANES_MIX_CHUNKS_MAX / SEEN)
#define PRICED_SHARE 2u
#define PRICED	   (PLANES_MIX_CHUNK / PRICED_SHARE)	/* bytes of a chunk */
#define CHUNKS_MIN 64u		/* for fewer it pays nothing */
#define FAR_OFF	   24
#define SUM_SHIFT  2u		/* sums of places are told apart by their higher bits only */
#define SUMS	   ((2u * FAR_OFF * PRICED >> SUM_SHIFT) + 1)
#define FLATTERY	   256u		/* bytes, and for each that occurs */
#define FLATTERY_EACH 3u
#define LANES	   4u		/* counters side by side, as in huffman_count() */
#define COST_UNIT  16u		/* a bit */
#define COST_MAX   (15u * COST_UNIT)	/* of a byte that does not occur */
#define LANE_BITS  16u		/* of each class's cost in a word */

_Static_assert(PLANES_MIX_CLASSES * LANE_BITS == 64, "a word has the costs of all classes");
_Static_assert(PRICED * (COST_MAX + 2 * COST_UNIT) < 1u << LANE_BITS,
	       "a lane has what a chunk costs");

/* How much more chunks vary than bytes that know nothing of each other, in cost and in place. */
#define COSTS_PERCENT  300u
#define PLACES_PERCENT 400u

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

/*
 * Of the bytes that are priced: eight of sixteen, which tell as much of their neighbours. Two sums
 * side by side: an addition need not wait for the one before.
 */
static uint64_t chunk_costs(const struct costs *costs, const uint8_t *chunk, uint32_t len)
{
	uint64_t sum = 0, other = 0, bytes;

	for (uint32_t i = 0; i + sizeof bytes <= len; i += PRICED_SHARE * sizeof bytes) {
		memcpy(&bytes, chunk + i, sizeof bytes);
#pragma GCC unroll 4
		for (unsigned b = 0; b < 8; b += 2) {
			sum += costs->of[bytes >> 8 * b & 0xff];
			other += costs->of[bytes >> (8 * b + 8) & 0xff];
		}
	}
	return sum + other;
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
static void places_add(struct costs *costs, unsigned lane, const uint32_t counts[HUFFMAN_SYMBOLS])
{
	unsigned most = 0;

	for (unsigned s = 1; s < HUFFMAN_SYMBOLS; s++)
		most = counts[s] > counts[most] ? s : most;
	for (unsigned s = 0; s < HUFFMAN_SYMBOLS; s++) {
		int above = (int8_t)(s - most);

		above = MAX_OF(MIN_OF(above, FAR_OFF), -FAR_OFF);
		costs->of[s] |= (uint64_t)(FAR_OFF + above) << lane * LANE_BITS;
	}
}

/* What is seen of chunks before there are classes. */
struct look {
	uint16_t places[SEEN_MAX];	/* of each one's bytes together */
	uint32_t seen;
	uint64_t cost, cost_squares;	/* in the code of the whole plane, of all that are seen */
	uint64_t place, place_squares;
};

static void look_take(const struct planes_mix *mix, const uint8_t *plane,
		      const struct costs *of, struct look *out)
{
	memset(out, 0, sizeof *out);
	out->seen = mix->chunks / SEEN;
	for (uint32_t i = 0; i < out->seen; i++) {
		const uint8_t *chunk = plane + i * SEEN * PLANES_MIX_CHUNK;
		uint64_t both = chunk_costs(of, chunk, PLANES_MIX_CHUNK);
		uint64_t cost = cost_in(both, 0), place = cost_in(both, 1);

		out->places[i] = (uint16_t)place;
		out->cost += cost;
		out->cost_squares += cost * cost;
		out->place += place;
		out->place_squares += place * place;
	}
}

/* How much more do sums over chunks vary than if bytes knew nothing of each other? In percent. */
static uint64_t spread_of(const struct costs *of, unsigned lane,
			  const uint32_t counts[HUFFMAN_SYMBOLS], const uint64_t chunks[3])
{
	uint64_t sum = 0, squares = 0, words = 0;

	for (unsigned s = 0; s < HUFFMAN_SYMBOLS; s++) {
		uint64_t value = cost_in(of->of[s], lane);

		words += counts[s];
		sum += counts[s] * value;
		squares += counts[s] * value * value;
	}
	uint64_t by_chance = (squares - sum * sum / words) / words * PRICED;
	uint64_t found = (chunks[2] - chunks[1] * chunks[1] / chunks[0]) / chunks[0];

	return found * 100 / MAX_OF(by_chance, (uint64_t)1);
}

/* Classes to begin with: as many chunks in each, by the mean of their bytes. */
static void classes_begin(struct planes_mix *mix, const struct look *look)
{
	uint32_t found[SUMS] = {0}, bounds[PLANES_MIX_CLASSES - 1], below = 0, class = 0;

	for (uint32_t i = 0; i < look->seen; i++)
		found[look->places[i] >> SUM_SHIFT]++;
	for (uint32_t m = 0; class < PLANES_MIX_CLASSES - 1; m++) {
		below += found[m];
		while (class < PLANES_MIX_CLASSES - 1 &&
		       below * PLANES_MIX_CLASSES >= look->seen * (class + 1))
			bounds[class++] = m;
	}
	for (uint32_t i = 0; i < look->seen; i++) {
		uint8_t k = 0;

		while (k < PLANES_MIX_CLASSES - 1 && look->places[i] >> SUM_SHIFT > bounds[k])
			k++;
		mix->of[i * SEEN] = k;
	}
}

/* The codes of the classes as they are, by the chunks that are seen. */
static void classes_price(const struct planes_mix *mix, const uint8_t *plane, struct costs *costs)
{
	uint16_t lanes[PLANES_MIX_CLASSES][LANES][HUFFMAN_SYMBOLS];

	_Static_assert(SEEN_MAX * PLANES_MIX_CHUNK / LANES <= UINT16_MAX, "as often at most");
	memset(lanes, 0, sizeof lanes);
	for (uint32_t c = 0; c + SEEN <= mix->chunks; c += SEEN) {
		const uint8_t *chunk = plane + c * PLANES_MIX_CHUNK;
		uint16_t(*own)[HUFFMAN_SYMBOLS] = lanes[mix->of[c]];

		for (uint32_t i = 0; i < PLANES_MIX_CHUNK; i += LANES) {
#pragma GCC unroll 4
			for (unsigned l = 0; l < LANES; l++)
				own[l][chunk[i + l]]++;
		}
	}
	memset(costs, 0, sizeof *costs);
	for (unsigned k = 0; k < PLANES_MIX_CLASSES; k++) {
		uint32_t counts[HUFFMAN_SYMBOLS];

		for (unsigned s = 0; s < HUFFMAN_SYMBOLS; s++)
			counts[s] = 0u + lanes[k][0][s] + lanes[k][1][s] + lanes[k][2][s] +
				    lanes[k][3][s];
		costs_add(costs, k, counts);
	}
}

/* One chunk in `step` to the class where it costs least; what these cost then. */
static uint64_t classes_turn(struct planes_mix *mix, const uint8_t *plane, uint32_t step)
{
	struct costs costs;
	uint64_t sum = 0;

	classes_price(mix, plane, &costs);
	for (uint32_t c = 0; c + step <= mix->chunks; c += step) {
		uint64_t each = chunk_costs(&costs, plane + c * PLANES_MIX_CHUNK,
					    chunk_len(mix, c));

		mix->of[c] = cheapest(each);
		sum += cost_in(each, mix->of[c]);
	}
	return sum;
}

/*
 * The bytes by which chunks that are seen promise too much: codes made of them alone fit them too
 * well, and each code is stored.
 */
static uint32_t flattery_of(const uint32_t counts[HUFFMAN_SYMBOLS])
{
	uint32_t symbols = 0;

	for (unsigned s = 0; s < HUFFMAN_SYMBOLS; s++)
		symbols += counts[s] > 0;
	return FLATTERY + symbols * FLATTERY_EACH;
}

bool planes_mix_find(struct planes_mix *mix, const uint8_t *plane, uint32_t words,
		     const uint32_t counts[HUFFMAN_SYMBOLS], uint32_t least)
{
	struct costs of;
	struct look look;
	uint64_t cost;

	mix->words = words;
	mix->chunks = DIV_CEIL(words, PLANES_MIX_CHUNK);
	if (mix->chunks < CHUNKS_MIN)
		return false;
	memset(&of, 0, sizeof of);
	costs_add(&of, 0, counts);
	places_add(&of, 1, counts);
	look_take(mix, plane, &of, &look);
	if (spread_of(&of, 0, counts,
		      (uint64_t[]){look.seen, look.cost, look.cost_squares}) <= COSTS_PERCENT &&
	    spread_of(&of, 1, counts,
		      (uint64_t[]){look.seen, look.place, look.place_squares}) <= PLACES_PERCENT)
		return false;
	classes_begin(mix, &look);
	cost = classes_turn(mix, plane, SEEN);
	uint64_t bytes = least + flattery_of(counts);

	if (look.cost < cost + bytes * 8 * COST_UNIT / (SEEN * PRICED_SHARE))
		return false;
	(void)classes_turn(mix, plane, 1);
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
