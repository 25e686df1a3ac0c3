/* SPDX-License-Identifier: Apache-2.0 */
/* Latencies of single calls, and what they are printed as. */
#include "tests/bench/files/files.h"

#include <stdio.h>
#include <stdlib.h>

void latencies_init(struct latencies *l, size_t count_max)
{
	l->seconds = calloc(count_max, sizeof *l->seconds);
	if (!l->seconds)
		files_die("allocate", "latencies");
}

void latencies_add(struct latencies *l, double seconds)
{
	l->seconds[l->count++] = seconds;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Nearest rank: the smallest latency that `percent` of them do not pass. */
static double percentile_us(const struct latencies *l, size_t percent)
{
	size_t rank = (l->count * percent + 99) / 100;

	return l->seconds[rank ? rank - 1 : 0] * 1e6;
}

void latencies_print(struct latencies *l, const char *what)
{
	qsort(l->seconds, l->count, sizeof *l->seconds, compare);
	printf(" %s_p50_us=%.1f %s_p99_us=%.1f", what, percentile_us(l, 50), what,
	       percentile_us(l, 99));
	free(l->seconds);
}
