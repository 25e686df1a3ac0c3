/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The slots of a session: one mask of those in use. Keeps I7 on the client's side.
 */
#include "client/core/slots.h"

#include <string.h>

#define ALL_SLOTS (SESSION_SLOTS == 64 ? ~UINT64_C(0) : (UINT64_C(1) << SESSION_SLOTS) - 1)

void cl_slots_init(struct cl_slots *s)
{
	memset(s, 0, sizeof *s);
}

int cl_slots_take(struct cl_slots *s, uint32_t *slot, uint64_t *seq)
{
	uint64_t open = ALL_SLOTS & ~s->busy;
	if (open == 0)
		return -E_AGAIN;
	*slot = (uint32_t)__builtin_ctzll(open);
	s->busy |= UINT64_C(1) << *slot;
	*seq = ++s->seq[*slot];
	return 0;
}

bool cl_slots_has_free(const struct cl_slots *s)
{
	return (ALL_SLOTS & ~s->busy) != 0;
}

void cl_slots_give(struct cl_slots *s, uint32_t slot)
{
	ASSERT(slot < SESSION_SLOTS && (s->busy >> slot & 1));
	s->busy &= ~(UINT64_C(1) << slot);
}
