/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The slots of a session (fs/wire/frame.h): who may send a mutation now, and under which sequence
 * (I7). Sequences of a slot only rise; the server refuses what comes late.
 *
 * Pure; one thread.
 */
#ifndef CAIRN_CLIENT_CORE_SLOTS_H
#define CAIRN_CLIENT_CORE_SLOTS_H

#include "fs/base/base.h"

struct cl_slots {
	uint64_t seq[SESSION_SLOTS];	/* of the last mutation sent */
	uint64_t busy;			/* bit per slot */
};

_Static_assert(SESSION_SLOTS <= 64, "slots fit one mask");

void cl_slots_init(struct cl_slots *s);		/* of a new session */
/* Take a free slot and its next sequence. -E_AGAIN: all are in use. */
must_check int cl_slots_take(struct cl_slots *s, uint32_t *slot, uint64_t *seq);
bool cl_slots_has_free(const struct cl_slots *s);
void cl_slots_give(struct cl_slots *s, uint32_t slot);		/* answered, or given up */

#endif
