/* SPDX-License-Identifier: Apache-2.0 */
/* The counters of this process. */
#include "fs/base/metrics.h"

struct metrics metrics_process;

static const struct {
	struct metrics_row row;
	uint64_t *counter;
} counters[] = {
#define X(name, unit, text, help) {{#name, unit, text, help, 0}, &metrics_process.name},
#include "fs/base/metrics.def"
#undef X
};

void metrics_visit(void (*fn)(void *arg, const struct metrics_row *row), void *arg)
{
	for (size_t i = 0; i < ARRAY_COUNT(counters); i++) {
		struct metrics_row row = counters[i].row;
		row.value = __atomic_load_n(counters[i].counter, __ATOMIC_RELAXED);
		fn(arg, &row);
	}
}

void metrics_reset(void)
{
	for (size_t i = 0; i < ARRAY_COUNT(counters); i++)
		__atomic_store_n(counters[i].counter, 0, __ATOMIC_RELAXED);
}
