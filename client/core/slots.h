/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The slots of a session (fs/wire/frame.h): who may send a mutation now, and under which sequence (I7).
 * A slot whose answer never came is broken: nobody knows what the server did, so it is not used again
 * in this session.
 *
 * Pure; one thread.
 */
#ifndef CAIRN_CLIENT_CORE_SLOTS_H
#define CAIRN_CLIENT_CORE_SLOTS_H

#include "fs/base/base.h"

struct cl_slots {
	uint64_t seq[SESSION_SLOTS];	/* of the last mutation sent */
	uint64_t busy;			/* bit per slot */
	uint64_t broken;
};

_Static_assert(SESSION_SLOTS <= 64, "slots fit one mask");

void cl_slots_init(struct cl_slots *s);		/* of a new session */
/* Take a free slot and its next sequence. -E_AGAIN: all are in use. */
must_check int cl_slots_take(struct cl_slots *s, uint32_t *slot, uint64_t *seq);
bool cl_slots_has_free(const struct cl_slots *s);
void cl_slots_give(struct cl_slots *s, uint32_t slot);		/* answered */
void cl_slots_break(struct cl_slots *s, uint32_t slot);		/* never answered */
uint32_t cl_slots_usable(const struct cl_slots *s);		/* not broken */

#endif
