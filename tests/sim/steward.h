/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The steward of a simulated cluster: its administrator and his tools, on a host of their own,
 * "steward", which no fault ever strikes. He drains servers and takes them back, asks for garbage
 * collection, and reads the status.
 *
 * Orders are sent and forgotten: what came of them is seen in the status. Threads: one.
 */
#ifndef CAIRN_TESTS_SIM_STEWARD_H
#define CAIRN_TESTS_SIM_STEWARD_H

#include "fs/placement/map.h"
#include "tests/sim/cluster.h"

#define STEWARD_SERVERS 16u

struct steward;

void steward_create(struct cluster *c);
void steward_destroy(struct cluster *c); /* NULL steward is allowed */

/* Let a server be UP, DRAINED or REMOVED. */
void steward_set(struct cluster *c, server_no server, enum server_state state);
/* 1 run now, 2 dry run, 3 stop (message GC). */
void steward_gc(struct cluster *c, uint32_t action);
/* The root directory gets a quota that nobody fills, or has none any more: all is counted anew. */
void steward_quota(struct cluster *c, bool on);

/* What `cairn status` says of health. */
struct steward_status {
	bool is_known;	 /* the metadata server answered */
	bool is_healthy; /* every group clean, nothing owed, nothing to heal */
	uint32_t pgs_clean, pgs_degraded, pgs_lost;
	uint64_t owed, heal_pending, trash_blocks;
	uint64_t gc_cycles, gc_failed;
	uint64_t collection; /* epoch: so many cycles have begun */
	bool gc_runs;
	enum server_state states[STEWARD_SERVERS]; /* by number; 0: unknown */
	char gc_text[160], servers[160];	   /* for people */
};
/* Ask, and wait for the answer in virtual time. */
void steward_ask(struct cluster *c, struct steward_status *out);

#endif
