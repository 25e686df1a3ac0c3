/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/estimate.h"

#include <math.h>

#define STANDARD_ERRORS 2.0 /* the bound that is told */

void estimate_add(struct estimate *e, double value)
{
	e->sum += value;
	e->squares += value * value;
}

double estimate_total(const struct estimate *e, double rate)
{
	return e->sum / rate;
}

/* Each block is in the sample or not by itself: Poisson sampling. */
double estimate_bound(const struct estimate *e, double rate)
{
	return STANDARD_ERRORS * sqrt((1 - rate) * e->squares) / rate;
}

void estimate_ratio_add(struct estimate_ratio *e, double above, double below)
{
	e->above += above;
	e->below += below;
	e->above2 += above * above;
	e->below2 += below * below;
	e->both += above * below;
	e->count++;
}

double estimate_ratio_value(const struct estimate_ratio *e)
{
	return e->below > 0 ? e->above / e->below : 1;
}

/* To the first order: the ratio is off by the sum of (above - ratio * below), over below. */
double estimate_ratio_bound(const struct estimate_ratio *e, double rate)
{
	double ratio = estimate_ratio_value(e);
	double left = e->above2 - 2 * ratio * e->both + ratio * ratio * e->below2;

	return e->below > 0 ? STANDARD_ERRORS * sqrt((1 - rate) * MAX_OF(left, 0.0)) / e->below : 0;
}
