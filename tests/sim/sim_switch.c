/* SPDX-License-Identifier: Apache-2.0 */
/* The switch of a simulated network: which direction between which hosts is cut. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "tests/sim/sim_switch_internal.h"

int sim_switch_create(struct sim_world *world, struct sim_switch **out)
{
	struct sim_switch *sw = calloc(1, sizeof *sw);

	if (sw == NULL)
		return -E_NOMEM;
	sw->world = world;
	sw->weather.delay_ns_min = 50 * SIM_US;
	sw->weather.delay_ns_max = 500 * SIM_US;
	*out = sw;
	return 0;
}

static void cut_remove(struct sim_switch *sw, struct sim_cut *cut)
{
	DL_DELETE(sw->cuts, cut);
	free(cut);
}

void sim_switch_destroy(struct sim_switch *sw)
{
	if (sw == NULL)
		return;
	ASSERT(sw->nets == NULL);
	while (sw->cuts != NULL)
		cut_remove(sw, sw->cuts);
	free(sw);
}

void sim_switch_set_weather(struct sim_switch *sw, const struct sim_weather *weather)
{
	sw->weather = *weather;
}

static struct sim_cut *cut_find(struct sim_switch *sw, const char *from, const char *to,
				bool is_power)
{
	struct sim_cut *cut;

	DL_FOREACH(sw->cuts, cut)
		if (cut->is_power == is_power && strcmp(cut->from, from) == 0 &&
		    strcmp(cut->to, to) == 0)
			return cut;
	return NULL;
}

static void cut_add(struct sim_switch *sw, const char *from, const char *to, bool is_power)
{
	if (cut_find(sw, from, to, is_power) != NULL)
		return;
	struct sim_cut *cut = calloc(1, sizeof *cut);
	ASSERT(cut != NULL);	/* a simulation without memory is over */
	snprintf(cut->from, sizeof cut->from, "%s", from);
	snprintf(cut->to, sizeof cut->to, "%s", to);
	cut->is_power = is_power;
	DL_APPEND(sw->cuts, cut);
}

static void cut_undo(struct sim_switch *sw, const char *from, const char *to, bool is_power)
{
	struct sim_cut *cut = cut_find(sw, from, to, is_power);

	if (cut != NULL)
		cut_remove(sw, cut);
}

void sim_switch_cut(struct sim_switch *sw, const char *from, const char *to)
{
	cut_add(sw, from, to, false);
}

void sim_switch_uncut(struct sim_switch *sw, const char *from, const char *to)
{
	cut_undo(sw, from, to, false);
}

void sim_switch_isolate(struct sim_switch *sw, const char *host)
{
	cut_add(sw, host, "*", false);
	cut_add(sw, "*", host, false);
}

void sim_switch_heal(struct sim_switch *sw)
{
	struct sim_cut *cut, *next;

	DL_FOREACH_SAFE(sw->cuts, cut, next)
		if (!cut->is_power)
			cut_remove(sw, cut);
}

void sim_switch_power(struct sim_switch *sw, const char *host, bool is_on)
{
	if (is_on) {
		cut_undo(sw, host, "*", true);
		cut_undo(sw, "*", host, true);
	} else {
		cut_add(sw, host, "*", true);
		cut_add(sw, "*", host, true);
	}
}

static bool matches(const char *pattern, const char *host)
{
	return strcmp(pattern, "*") == 0 || strcmp(pattern, host) == 0;
}

bool sim_switch_is_cut(const struct sim_switch *sw, const char *from, const char *to)
{
	const struct sim_cut *cut;

	if (strcmp(from, to) == 0)
		return false;	/* within one host nothing is cut */
	DL_FOREACH(sw->cuts, cut)
		if (matches(cut->from, from) && matches(cut->to, to))
			return true;
	return false;
}
