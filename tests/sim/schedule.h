/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The schedule: what goes wrong in a simulated cluster, when, and for how long, by the seed; and
 * telling the oracle what that may excuse.
 *
 * What is told: a client cut off from the metadata server, or either of them hanging, may lose its
 * session; a power cut of the metadata server takes what is not durable; while a disk refuses
 * writes or is full, changes and publishing may fail. All else (processes killed, chunk servers
 * cut, hung or without power, disks that cannot be read, slow and breaking connections, clocks that
 * drift or jump) excuses nothing: the clients must not notice but for the time it takes. Threads:
 * one.
 */
#ifndef CAIRN_TESTS_SIM_SCHEDULE_H
#define CAIRN_TESTS_SIM_SCHEDULE_H

#include "tests/sim/client_load.h"
#include "tests/sim/cluster.h"
#include "tests/sim/oracle.h"

#define SCHEDULE_FAULTS	     8u		 /* at the same time */
#define SCHEDULE_HANG_NS_MAX (8 * SIM_S) /* how late a process may be because it hung */

enum fault_kind {
	FAULT_NONE,
	FAULT_KILL,
	FAULT_POWER,
	FAULT_POWER_ALL,
	FAULT_CUT,
	FAULT_PARTITION,
	FAULT_ISOLATE,
	FAULT_BREAK,
	FAULT_HANG,
	FAULT_WEATHER,
	FAULT_DRIFT,
	FAULT_CLOCK,
	FAULT_DISK,
	FAULT_FULL,
	FAULT_LOSS,
	FAULT_DEAD,
	FAULT_ROT,
	FAULT_DRAIN,
	FAULT_GC,
	FAULT_KINDS,
};

struct fault {
	enum fault_kind kind;	    /* NONE: free */
	struct cluster_node *node;  /* whom it strikes; CUT: from */
	struct cluster_node *other; /* CUT: to */
	uint32_t disk;		    /* DISK, FULL, LOSS, DEAD, ROT */
	uint32_t side;		    /* PARTITION: bit i, node i is on this side */
	uint64_t end_ns;
};

struct schedule {
	struct cluster *cluster;
	struct oracle *oracle;
	struct client_load *loads; /* of each client */
	struct fault faults[SCHEDULE_FAULTS];
	uint64_t hang_begun_ns, hang_ends_ns; /* the last of the metadata server; 0: none */
	uint64_t next_ns;		      /* when the next fault begins */
	uint32_t calm_ms;		      /* between two, at most */
	uint64_t count;			      /* of faults so far */
	uint32_t losses; /* disks since all was whole: content, not only time */
	bool has_rot;	 /* since then */
	bool has_quota;	 /* the root, as asked for last */
};

void schedule_init(struct schedule *s, struct cluster *cluster, struct oracle *oracle,
		   struct client_load *loads);
/* Begin and end faults. Call it every few virtual ms, outside of all callbacks. */
void schedule_tick(struct schedule *s);
/* End all faults, start all that is down. */
void schedule_heal(struct schedule *s);
/* Every block has all its copies: another disk may be lost. */
void schedule_is_whole(struct schedule *s);
/* Replace disks of copies - 1 servers by empty ones. Only when all is whole and nobody writes. */
void schedule_lose(struct schedule *s);
/* Servers that are neither absent nor removed. */
uint32_t schedule_servers(const struct schedule *s);
/* A server that was not there so far joins; NULL: there is none. */
struct cluster_node *schedule_newcomer(struct schedule *s);
/* It was removed from the cluster, and is switched off for good. */
void schedule_remove(struct schedule *s, struct cluster_node *n);
/* Take the power from all machines at once, and give it back. */
void schedule_power_cycle(struct schedule *s);
#endif
