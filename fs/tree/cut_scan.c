/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The filter in plain C, written so that compilers make vectors of it: 32 places of one parity at a
 * time, without a branch until one of them passes.
 */
#include "fs/tree/cut_scan.h"

#include <endian.h>
#include <string.h>

#define FACTOR_A  0x9e3bu
#define FACTOR_B  0x6a2du
#define UPPER	  0xff80u	/* CUT_SCAN_ODDS to one */
#define PATTERN	  0x5a80u
#define LANES	  32u		/* of two bytes: 64 places are two of these */

_Static_assert(65536u - UPPER == 65536u / CUT_SCAN_ODDS, "the mask keeps the odds");

/* The number of the two bytes that begin `n` before each of every other place. */
struct lanes {
	uint16_t of[LANES];
};

static bool passes(const uint8_t *at)
{
	uint16_t w2, w4, w6, w8;

	memcpy(&w2, at - 2, sizeof w2);
	memcpy(&w4, at - 4, sizeof w4);
	memcpy(&w6, at - 6, sizeof w6);
	memcpy(&w8, at - 8, sizeof w8);
	uint32_t a = (uint32_t)le16toh(w2) - le16toh(w6);
	uint32_t b = (uint32_t)le16toh(w4) - le16toh(w8);

	return ((a * FACTOR_A + b * FACTOR_B) & UPPER) == PATTERN;
}

/* Whether any of LANES places passes, two apart. */
static bool any_passes(const uint8_t *at)
{
	struct lanes w2, w4, w6, w8;
	uint16_t hits = 0;

	memcpy(&w2, at - 2, sizeof w2);
	memcpy(&w4, at - 4, sizeof w4);
	memcpy(&w6, at - 6, sizeof w6);
	memcpy(&w8, at - 8, sizeof w8);
	for (uint32_t i = 0; i < LANES; i++) {
		uint16_t a = (uint16_t)(le16toh(w2.of[i]) - le16toh(w6.of[i]));
		uint16_t b = (uint16_t)(le16toh(w4.of[i]) - le16toh(w8.of[i]));
		uint16_t f = (uint16_t)(a * FACTOR_A + b * FACTOR_B);

		hits |= (uint16_t)-((f & UPPER) == PATTERN);
	}
	return hits != 0;
}

uint32_t cut_scan_plain(const uint8_t *at, uint32_t count)
{
	uint32_t i = 0;

	for (; count - i >= 2 * LANES; i += 2 * LANES)
		if (any_passes(at + i) || any_passes(at + i + 1))
			break;
	while (i < count && !passes(at + i))
		i++;
	return i;
}

uint32_t cut_scan(const uint8_t *at, uint32_t count)
{
	return cut_scan_plain(at, count);
}
