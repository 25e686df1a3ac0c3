/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shared by schedule.c, which chooses faults and keeps their time, and schedule_faults.c, which
 * makes them happen.
 */
#ifndef CAIRN_TESTS_SIM_SCHEDULE_INTERNAL_H
#define CAIRN_TESTS_SIM_SCHEDULE_INTERNAL_H

#include "tests/sim/schedule.h"

static inline struct sim_world *schedule_world(const struct schedule *s)
{
	return s->cluster->world;
}

/* f->kind, whom it strikes and f->end_ns were chosen. */
void schedule_fault_begin(struct schedule *s, struct fault *f);
/* Undo it; *f is free then. */
void schedule_fault_end(struct schedule *s, struct fault *f);

void schedule_process_start(struct schedule *s, struct cluster_node *n); /* unless it is up */
void schedule_process_start_all(struct schedule *s);
void schedule_process_end(struct schedule *s, struct cluster_node *n, bool is_power_cut);
/* Until `end_ns` clients may notice. */
void schedule_power_cut_all(struct schedule *s, uint64_t end_ns);
/* The server ends, and this disk of it is an empty one. */
void schedule_disk_lose(struct schedule *s, struct cluster_node *n, uint32_t disk, uint64_t end_ns);

#endif
