/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters: one table (metrics.def), one set per process. METRIC_ADD(bytes_in, len) counts from
 * any thread; relaxed atomics, since workers count too and a lost add would be a lie, while one
 * such add costs less than a hundredth of the smallest thing that is counted.
 */
#ifndef CAIRN_FS_BASE_METRICS_H
#define CAIRN_FS_BASE_METRICS_H

#include "fs/base/base.h"

struct metrics {
#define X(name, unit, text, help) uint64_t name;
#include "fs/base/metrics.def"
#undef X
};

#define METRICS_COUNT (sizeof(struct metrics) / sizeof(uint64_t))

extern struct metrics metrics_process;	/* through the macros only */

#define METRIC_ADD(name, n) \
	((void)__atomic_fetch_add(&metrics_process.name, (uint64_t)(n), __ATOMIC_RELAXED))
#define METRIC_INC(name) METRIC_ADD(name, 1)
#define METRIC_GET(name) __atomic_load_n(&metrics_process.name, __ATOMIC_RELAXED)

struct metrics_row {
	const char *name;
	const char *unit;
	const char *text;	/* what is counted */
	const char *help;	/* what it tells an operator; may be "" */
	uint64_t value;		/* now */
};

/* Call fn for each counter, in the order of the table. */
void metrics_visit(void (*fn)(void *arg, const struct metrics_row *row), void *arg);
void metrics_reset(void);	/* for tests */

#endif
