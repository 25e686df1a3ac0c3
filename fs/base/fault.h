/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Named fault points at every boundary: `if (FAULT(journal_sync)) return -E_IO;`.
 * Points are rows of fault.def. Tests arm them; release builds without CAIRN_FAULTS pay nothing.
 * Threads: arm before threads start; firing is counted atomically.
 */
#ifndef CAIRN_FS_BASE_FAULT_H
#define CAIRN_FS_BASE_FAULT_H

#include "fs/base/base.h"

enum fault_point {
#define X(name, text) FAULT_##name,
#include "fs/base/fault.def"
#undef X
	FAULT_COUNT
};

#ifdef CAIRN_FAULTS
#define FAULT(name) fault_fires(FAULT_##name)
#else
#define FAULT(name) false
#endif

bool fault_fires(enum fault_point point);
/* Let the point fire at its `first`-th passing (1 = next) and the `count - 1` after it. */
void fault_arm(enum fault_point point, uint64_t first, uint64_t count);
void fault_disarm_all(void);
uint64_t fault_hits(enum fault_point point);	/* how often it fired since armed */
/* Arm from text: "journal_sync:3:1,store_append:1"; -E_INVAL for an unknown name. */
must_check int fault_arm_text(const char *text);

#endif
