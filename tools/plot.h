/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What files would cost, along each file from its begin to its end: how much of it is left when it
 * is encoded, by which codec, and how much is shared. Threads: one.
 */
#ifndef CAIRN_TOOLS_PLOT_H
#define CAIRN_TOOLS_PLOT_H

#include <stdio.h>

#include "tools/analyze.h"

#define PLOT_FILES_MAX 64u /* bands of a picture */

/* Bars of text, at most `width` columns of them. */
void plot_text(const struct analysis *a, uint32_t width, FILE *out);

struct plot_file {
	const char *name;
	struct analyze_sums total;
	uint32_t column_count;
	struct analyze_column *columns; /* not owned */
};
/* A PNG with a legend and a band for each file, below each other. */
must_check int plot_png(const struct plot_file *files, uint32_t count, const char *path,
			struct error *err);

#endif
