/* SPDX-License-Identifier: Apache-2.0 */
/* Byte ranges with a mode; see ranges.h. */
#include "fs/base/ranges.h"

#include <stdlib.h>
#include <utlist.h>

static bool overlaps(const struct range *r, uint64_t start, uint64_t end)
{
	return r->start <= end && r->end >= start;
}

/* Neighbours count; RANGE_END + 1 does not overflow. */
static bool touches(const struct range *r, uint64_t start, uint64_t end)
{
	return r->start <= end + 1 && r->end + 1 >= start;
}

static void drop(struct ranges *set, struct range *r)
{
	DL_DELETE(set->first, r);
	set->count--;
	free(r);
}

/* Before the first that begins later. */
static void insert(struct ranges *set, struct range *r)
{
	struct range *after = set->first;

	while (after && after->start < r->start)
		after = after->next;
	if (after)
		DL_PREPEND_ELEM(set->first, after, r);
	else
		DL_APPEND(set->first, r);
	set->count++;
}

/* Take [start, end] out of one range; of one that is split, `tail` becomes the second part. */
static bool cut(struct ranges *set, struct range *r, const struct range *out, struct range *tail)
{
	if (r->start < out->start && r->end > out->end) {
		*tail = (struct range){ .start = out->end + 1, .end = r->end, .mode = r->mode };
		r->end = out->start - 1;
		insert(set, tail);
		return true;
	}
	if (r->start < out->start)
		r->end = out->start - 1;
	else if (r->end > out->end)
		r->start = out->end + 1;
	else
		drop(set, r);
	return false;
}

bool ranges_would_split(const struct ranges *set, uint64_t start, uint64_t end)
{
	const struct range *r = ranges_find(set, start, end);

	return r && r->start < start && r->end > end;
}

int ranges_set(struct ranges *set, uint64_t start, uint64_t end, enum range_mode mode)
{
	struct range *fresh = mode != RANGE_NONE ? malloc(sizeof *fresh) : NULL;
	struct range *tail = ranges_would_split(set, start, end) ? malloc(sizeof *tail) : NULL;
	struct range *r, *next, out = { .start = start, .end = end, .mode = mode };

	if ((mode != RANGE_NONE && !fresh) || (ranges_would_split(set, start, end) && !tail)) {
		free(fresh);
		free(tail);
		return -E_NOMEM;
	}
	DL_FOREACH_SAFE(set->first, r, next) {
		if (r->mode == mode && touches(r, out.start, out.end)) {
			out.start = MIN_OF(out.start, r->start);
			out.end = MAX_OF(out.end, r->end);
			drop(set, r);
		} else if (overlaps(r, out.start, out.end) && cut(set, r, &out, tail)) {
			tail = NULL;
			break;		/* no other has a byte of it */
		}
	}
	free(tail);
	if (fresh) {
		*fresh = out;
		insert(set, fresh);
	}
	return 0;
}

const struct range *ranges_find(const struct ranges *set, uint64_t start, uint64_t end)
{
	const struct range *r;

	DL_FOREACH(set->first, r)
		if (overlaps(r, start, end))
			return r;
	return NULL;
}

const struct range *ranges_conflict(const struct ranges *set, uint64_t start, uint64_t end,
				    enum range_mode mode)
{
	const struct range *r;

	DL_FOREACH(set->first, r)
		if (overlaps(r, start, end) && range_modes_conflict(r->mode, mode))
			return r;
	return NULL;
}

void ranges_clear(struct ranges *set)
{
	while (set->first)
		drop(set, set->first);
}
