/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this processor (and the system on it) can: the one place that asks. A kernel for a level
 * stands beside plain C that gives the same result, and is chosen at run time.
 *
 * Threads: any; the answer never changes.
 */
#ifndef CAIRN_FS_BASE_CPU_H
#define CAIRN_FS_BASE_CPU_H

#include "fs/base/base.h"

/* Each level has all that is below it. */
enum cpu_level {
	CPU_PLAIN,	/* what the compiler takes for granted */
	CPU_AVX2,	/* AVX2, BMI, BMI2 */
	CPU_AVX512,	/* AVX-512 F, BW, DQ, VL, VBMI and VBMI2 */
};

#define CPU_LEVEL_COUNT 3u

enum cpu_level cpu_level(void);
bool cpu_has_sha(void);	/* the instructions of SHA-256, apart from the levels */
const char *cpu_level_name(enum cpu_level level);	/* "plain", "avx2", "avx512" */

#endif
