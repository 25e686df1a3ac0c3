/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Byte ranges with a mode: what one owner has locked of one file. Ranges of a set are disjoint and
 * sorted; neighbours of one mode are one range, as fcntl(2) has it.
 *
 * Bounds are inclusive, and at most RANGE_END. Pure; one thread.
 */
#ifndef CAIRN_FS_BASE_RANGES_H
#define CAIRN_FS_BASE_RANGES_H

#include "fs/base/base.h"

#define RANGE_END ((uint64_t)INT64_MAX)		/* the end of every file */

enum range_mode { RANGE_NONE = 0, RANGE_READ = 1, RANGE_WRITE = 2 };

struct range {
	uint64_t start, end;
	enum range_mode mode;
	struct range *prev, *next;
};

struct ranges {
	struct range *first;
	uint32_t count;
};

static inline bool range_is_valid(uint64_t start, uint64_t end)
{
	return start <= end && end <= RANGE_END;
}

/* Would two owners, one with each mode, exclude each other? */
static inline bool range_modes_conflict(enum range_mode a, enum range_mode b)
{
	return a != RANGE_NONE && b != RANGE_NONE && (a == RANGE_WRITE || b == RANGE_WRITE);
}

/* [start, end] has this mode from now on; RANGE_NONE: none. -E_NOMEM: nothing was changed. */
must_check int ranges_set(struct ranges *r, uint64_t start, uint64_t end, enum range_mode mode);
/* Would ranges_set(r, start, end, RANGE_NONE) leave one range more than there is now? */
bool ranges_would_split(const struct ranges *r, uint64_t start, uint64_t end);
/* The first range that another owner of this mode would meet; NULL: none. */
const struct range *ranges_conflict(const struct ranges *r, uint64_t start, uint64_t end,
				    enum range_mode mode);
/* The first range that has a byte of [start, end]; NULL: none. */
const struct range *ranges_find(const struct ranges *r, uint64_t start, uint64_t end);
void ranges_clear(struct ranges *r);

#endif
