/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What sums over a sample (sample.h) tell of all blocks, and how far they may be off. Pure;
 * threads: any.
 */
#ifndef CAIRN_TOOLS_ESTIMATE_H
#define CAIRN_TOOLS_ESTIMATE_H

#include "fs/base/base.h"

/* A sum over all blocks, from those of a sample at `rate` (Horvitz-Thompson). */
struct estimate {
	double sum, squares; /* of the values in the sample */
};
void estimate_add(struct estimate *e, double value);
double estimate_total(const struct estimate *e, double rate);
/* Of the total: 95 times of 100 it is off by less. Two standard errors. */
double estimate_bound(const struct estimate *e, double rate);

/* The ratio of two sums. */
struct estimate_ratio {
	double above, below, above2, below2, both; /* sums, of squares, of products */
	uint32_t count;
};
void estimate_ratio_add(struct estimate_ratio *e, double above, double below);
double estimate_ratio_value(const struct estimate_ratio *e); /* 1 where nothing is known */
double estimate_ratio_bound(const struct estimate_ratio *e, double rate);

#endif
