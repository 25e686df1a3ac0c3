/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The filter in plain C, written so that compilers make vectors of it: 32 places of one parity at a
 * time, without a branch until one of them passes.
 */
#include "fs/tree/cut_scan.h"

#include <endian.h>
#include <string.h>

#define LANES 32u /* of two bytes: 64 places are two of these */

/* The numbers of the two bytes that begin some bytes before each of every other place. */
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

	return ((a * CUT_SCAN_A + b * CUT_SCAN_B) & CUT_SCAN_MASK) == CUT_SCAN_HIT;
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
		uint16_t f = (uint16_t)(a * CUT_SCAN_A + b * CUT_SCAN_B);

		hits |= (uint16_t)-((f & CUT_SCAN_MASK) == CUT_SCAN_HIT);
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

#if defined(__x86_64__)
cut_scan_fn *const cut_scan_kernels[CPU_LEVEL_COUNT] = {cut_scan_plain, cut_scan_avx2,
							cut_scan_avx2};
#else
cut_scan_fn *const cut_scan_kernels[CPU_LEVEL_COUNT] = {cut_scan_plain, cut_scan_plain,
							cut_scan_plain};
#endif
