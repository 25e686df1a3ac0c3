/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Modes of files, as far as they are certain: what was set and acknowledged, while nobody else was
 * setting it, is what everybody sees who asks later. Beside the oracle, whose states would multiply
 * with them. Whatever leaves a doubt (an error, a client that died, a power cut of the metadata
 * server) ends what is known; a doubt about an inode stays.
 */
#ifndef CAIRN_TESTS_SIM_MODES_H
#define CAIRN_TESTS_SIM_MODES_H

#include <stdbool.h>
#include <sys/stat.h>

#include "fs/base/base.h"
#include "fs/base/limits.h"

#define MODES_FILES 512u	/* a new one takes the place of another */

struct mode_of_file {
	inode_no ino;
	uint32_t under_way;
	uint64_t changed;	/* moment of the last call that may have changed it */
	mode_t mode;
	bool is_known, is_doubtful, is_shared;
};

struct modes {
	uint64_t moment;
	struct mode_of_file files[MODES_FILES];
};

void modes_set_begin(struct modes *m, inode_no ino);
void modes_set_end(struct modes *m, inode_no ino, mode_t mode, int rc);
/* What is seen by a call that began at `begun` (m->moment then) is right, or nobody can say. */
bool modes_allow(const struct modes *m, uint64_t begun, inode_no ino, mode_t seen);
void modes_forget(struct modes *m);

#endif
