/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Placement: weighted rendezvous hashing in integer arithmetic, the same on every machine.
 *
 * Each server draws, for each PG, a number u in (0, 1] from a hash of (server, PG), and its score
 * is -log2(u) / weight: the lowest wins, with a probability in proportion to its weight, and a
 * server that comes or goes changes nobody else's score. Scores d1 / w1 and d2 / w2 are compared
 * as d1 * w2 and d2 * w1 in 128 bits.
 *
 * Replicas are chosen one by one; each time the servers count first whose rack holds the fewest
 * replicas so far, among them those whose host does, among them the lowest score.
 */
#include <string.h>

#include "fs/base/bytes.h"
#include "fs/hash/checksum.h"
#include "fs/placement/map.h"

#define LOG2_FRACTION_BITS 40u

__extension__ typedef unsigned __int128 wide;

/*
 * log2(x) for x >= 1, as fixed point with LOG2_FRACTION_BITS: the integer part is the highest bit;
 * squaring the mantissa then yields one bit of the fraction at a time (Knuth, TAOCP 1.2.2).
 */
static uint64_t log2_fixed(uint64_t x)
{
	unsigned highest = 63u - (unsigned)__builtin_clzll(x);
	uint64_t mantissa = x << (63u - highest);	/* 1.0 is 2^63 */
	uint64_t result = highest;

	for (unsigned bit = 0; bit < LOG2_FRACTION_BITS; bit++) {
		wide square = (wide)mantissa * mantissa;
		bool is_two_or_more = square >> 127;

		mantissa = (uint64_t)(square >> (is_two_or_more ? 64 : 63));
		result = result << 1 | is_two_or_more;
	}
	return result;
}

/* -log2(u) for the u that `server` draws for `pg`: less than 2^47. */
static uint64_t draw(server_no server, pg_no pg)
{
	uint8_t key[8];
	struct wr w = wr_init(key, sizeof key);

	wr_u32(&w, server);
	wr_u32(&w, pg);
	ASSERT(wr_ok(&w));
	uint64_t hash = checksum_of(key, sizeof key);
	return ((uint64_t)64 << LOG2_FRACTION_BITS) - log2_fixed(hash ? hash : 1);
}

static bool is_eligible(const struct server_row *row)
{
	return row->weight_bytes > 0 && (row->state == SERVER_UP || row->state == SERVER_SUSPECT ||
					 row->state == SERVER_DOWN);
}

/* A server that could take the next replica. */
struct candidate {
	const struct server_row *row;
	uint64_t draw;
	uint32_t rack_used;	/* replicas chosen so far in its rack, */
	uint32_t host_used;	/* on its host */
	bool is_chosen;
};

static bool is_better(const struct candidate *a, const struct candidate *b)
{
	if (a->rack_used != b->rack_used)
		return a->rack_used < b->rack_used;
	if (a->host_used != b->host_used)
		return a->host_used < b->host_used;
	wide x = (wide)a->draw * b->row->weight_bytes;
	wide y = (wide)b->draw * a->row->weight_bytes;
	if (x != y)
		return x < y;
	return a->row->server < b->row->server;
}

static struct candidate *choose(struct candidate *candidates, uint32_t count)
{
	struct candidate *best = NULL;

	for (uint32_t i = 0; i < count; i++) {
		struct candidate *c = &candidates[i];

		if (!c->is_chosen && (best == NULL || is_better(c, best)))
			best = c;
	}
	return best;
}

static void count_use(struct candidate *candidates, uint32_t count, const struct server_row *chosen)
{
	for (uint32_t i = 0; i < count; i++) {
		const struct server_row *row = candidates[i].row;
		bool same_rack = strcmp(row->rack, chosen->rack) == 0;

		candidates[i].rack_used += same_rack;
		candidates[i].host_used += same_rack && strcmp(row->host, chosen->host) == 0;
	}
}

uint32_t map_place(const struct map *map, pg_no pg, uint32_t copies, server_no out[COPIES_MAX])
{
	struct candidate candidates[SERVERS_MAX];	/* 32 KiB of stack, bounded */
	uint32_t count = 0, found = 0;

	ASSERT(copies <= COPIES_MAX && pg < PG_COUNT);
	for (uint32_t i = 0; i < map_server_count(map); i++) {
		const struct server_row *row = map_server_at(map, i);

		if (is_eligible(row))
			candidates[count++] = (struct candidate){
				.row = row, .draw = draw(row->server, pg)
			};
	}
	for (; found < copies; found++) {
		struct candidate *best = choose(candidates, count);

		if (best == NULL)
			break;
		best->is_chosen = true;
		out[found] = best->row->server;
		count_use(candidates, count, best->row);
	}
	return found;
}
