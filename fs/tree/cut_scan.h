/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first half of finding an anchor (cut.h): a filter over every place of the bytes, made for
 * vectors, that lets about one place in CUT_SCAN_ODDS pass. What passes is looked at again.
 *
 * A place is between two bytes. With w(n) the little-endian number of the two bytes that begin n
 * before it, the filter is (w(2) - w(6)) * A + (w(4) - w(8)) * B in 16 bits, of which the upper
 * nine must be a certain pattern, not zero. So no place of constant data passes, nor of data that
 * repeats after 2 or 4 bytes, as equal numbers do; all else is spread by the products.
 *
 * Kernels agree in every result. Pure; threads: any.
 */
#ifndef CAIRN_FS_TREE_CUT_SCAN_H
#define CAIRN_FS_TREE_CUT_SCAN_H

#include "fs/base/cpu.h"

#define CUT_SCAN_BYTES	8u		/* before a place, that it looks at */
#define CUT_SCAN_ODDS	512u

#define CUT_SCAN_A	0x9e3bu		/* the factors, */
#define CUT_SCAN_B	0x6a2du
#define CUT_SCAN_MASK	0xff80u		/* and what must come out */
#define CUT_SCAN_HIT	0x5a80u

_Static_assert(65536u - CUT_SCAN_MASK == 65536u / CUT_SCAN_ODDS, "the mask keeps the odds");

/*
 * The first place that passes among `at`, at + 1, ... at + count - 1, or `count`. The bytes from
 * CUT_SCAN_BYTES before `at` up to at + count - 1, that one not included, are there.
 */
typedef uint32_t cut_scan_fn(const uint8_t *at, uint32_t count);

/* Plain C, and one for each level that is built; such as this processor has no right to, crash. */
extern cut_scan_fn *const cut_scan_kernels[CPU_LEVEL_COUNT];

cut_scan_fn cut_scan_plain, cut_scan_avx2;

#endif
