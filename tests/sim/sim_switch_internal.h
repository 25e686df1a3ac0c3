/* SPDX-License-Identifier: Apache-2.0 */
/* Private to sim_net.c and sim_switch.c: the switch, its weather, its cuts. */
#ifndef CAIRN_TESTS_SIM_SIM_SWITCH_INTERNAL_H
#define CAIRN_TESTS_SIM_SIM_SWITCH_INTERNAL_H

#include "tests/sim/sim_net.h"

#define SIM_HOST_BYTES 64

struct sim_net;

struct sim_cut {
	char from[SIM_HOST_BYTES], to[SIM_HOST_BYTES];	/* "*": any */
	bool is_power;		/* the host is off: not healed by sim_switch_heal */
	struct sim_cut *prev, *next;
};

struct sim_switch {
	struct sim_world *world;
	struct sim_weather weather;
	struct sim_cut *cuts;
	struct sim_net *nets;
};

bool sim_switch_is_cut(const struct sim_switch *sw, const char *from, const char *to);
void sim_switch_power(struct sim_switch *sw, const char *host, bool is_on);
/* The live net of that host that listens on the port, or NULL. */
struct sim_net *sim_switch_find(struct sim_switch *sw, const char *host, uint16_t port);

#endif
