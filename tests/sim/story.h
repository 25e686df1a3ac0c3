/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One simulated run from beginning to end: a cluster under load, faults, healing, the reckoning;
 * several times; then everything stops, starts afresh, and is read once more. A function of its
 * seed.
 *
 * What is judged, besides each answer (oracle.h): conflicting leases never coexist (I5); every
 * operation ends by its deadline; after healing the cluster is well within a bounded time, and
 * undisturbed clients get no errors; two clients read the same; the status says healthy within a
 * bounded time, and then every block of every inode is held, correct, by all its replicas, though
 * in half of the runs garbage is collected all the time, without a grace (redundancy.h); replaying
 * the journal gives byte-identical rows (I3).
 *
 * A violation ends the program (oracle_fail).
 */
#ifndef CAIRN_TESTS_SIM_STORY_H
#define CAIRN_TESTS_SIM_STORY_H

#include "fs/base/base.h"

struct story_verdict {
	uint64_t trace; /* equal for equal seeds and equal code */
	uint64_t virtual_ms, steps;
	uint64_t calls, doubts, faults, blurs;
	uint64_t collections; /* that began */
	uint64_t copies;      /* of blocks that were proved after healing */
};

void story_run(uint64_t seed, bool is_verbose, struct story_verdict *out);

#endif
