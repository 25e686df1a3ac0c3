/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the servers of a quiet cluster hold, against what its rows name: the walk goes from every
 * inode row (files without a name that somebody has open are rows, too) through its manifest to its
 * blocks.
 *
 *  - Whole: every such block is held, outside of trash, by all replicas of its group's row, and
 * each of these copies proves its id. Only a row that is not clean excuses anything, and there is
 * none.
 *  - No garbage: after collection no store holds, outside of trash, what nothing names.
 *
 * It looks into the simulated processes, and reads as they do: the world runs on meanwhile. All
 * must be up. Threads: one.
 */
#ifndef CAIRN_TESTS_SIM_REDUNDANCY_H
#define CAIRN_TESTS_SIM_REDUNDANCY_H

#include "tests/sim/cluster.h"

struct redundancy {
	uint64_t inodes, blocks, copies; /* walked; copies that were proved */
	uint64_t garbage, trash;	 /* blocks in stores that nothing names */
	char why[300];			 /* "": whole */
};

void redundancy_check(struct cluster *c, struct redundancy *out);

#endif
