/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The segments of a store, in memory: for each how many bytes of records it has and how many of
 * them the index leads to. Sorted by number; numbers only rise, so adding is appending but for a
 * start. Changes reach the index's rows with the commit of what caused them.
 */
#include "chunk-server/store_internal.h"

#include <stdlib.h>
#include <string.h>

/* The first segment of at least this number. */
static uint32_t position_of(const struct cs_store *store, uint64_t number)
{
	uint32_t low = 0, high = store->segment_count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (store->segments[middle].number < number)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct store_segment *cs_store_segment_find(struct cs_store *store, uint64_t number)
{
	uint32_t at = position_of(store, number);

	return at < store->segment_count && store->segments[at].number == number
		       ? &store->segments[at]
		       : NULL;
}

bool cs_store_segment_next(const struct cs_store *store, uint64_t *number, uint64_t *live)
{
	uint32_t at = position_of(store, *number);

	if (at < store->segment_count && store->active != NULL &&
	    store->segments[at].number == store->active->number)
		at++;
	if (at >= store->segment_count)
		return false;
	*number = store->segments[at].number;
	*live = store->segments[at].live;
	return true;
}

struct store_segment *cs_store_segment_add(struct cs_store *store, uint64_t number)
{
	uint32_t at = position_of(store, number);

	if (at < store->segment_count && store->segments[at].number == number)
		return &store->segments[at];
	if (store->segment_count == store->segment_capacity) {
		uint32_t capacity = MAX_OF(64u, store->segment_capacity * 2);
		struct store_segment *segments =
			realloc(store->segments, capacity * sizeof(*segments));
		if (segments == NULL)
			return NULL;
		store->segments = segments;
		store->segment_capacity = capacity;
	}
	memmove(&store->segments[at + 1], &store->segments[at],
		(store->segment_count - at) * sizeof(*store->segments));
	store->segments[at] = (struct store_segment){.number = number};
	store->segment_count++;
	return &store->segments[at];
}

void cs_store_segment_remove(struct cs_store *store, uint64_t number)
{
	uint32_t at = position_of(store, number);

	ASSERT(at < store->segment_count && store->segments[at].number == number);
	store->segment_count--;
	memmove(&store->segments[at], &store->segments[at + 1],
		(store->segment_count - at) * sizeof(*store->segments));
}

void cs_store_segments_forget(struct cs_store *store)
{
	free(store->segments);
	store->segments = NULL;
	store->segment_count = store->segment_capacity = 0;
	store->dirty_count = 0;
}

void cs_store_segment_changed(struct cs_store *store, struct store_segment *segment)
{
	if (segment->is_dirty)
		return;
	segment->is_dirty = true;
	if (store->dirty_count < STORE_DIRTY_MAX)
		store->dirty[store->dirty_count] = segment->number;
	store->dirty_count++; /* more than fit: they are looked for */
}

void cs_store_segment_lives(struct cs_store *store, uint64_t number, int64_t more)
{
	struct store_segment *segment = cs_store_segment_find(store, number);

	/* A row may name what is no segment of ours: a view is not believed (I8). */
	if (segment == NULL)
		return;
	if (more < 0)
		segment->live -= MIN_OF(segment->live, (uint64_t)-more);
	else
		segment->live += (uint64_t)more;
	cs_store_segment_changed(store, segment);
	if (more < 0)
		cs_store_compact_consider(store, segment);
}

static int flush_one(struct cs_store *store, struct store_segment *segment)
{
	if (segment == NULL || !segment->is_dirty)
		return 0; /* gone, and its row with it */
	segment->is_dirty = false;
	return cs_store_index_put_segment(store, segment);
}

int cs_store_segments_flush(struct cs_store *store)
{
	struct store_segment *active =
		store->active != NULL ? cs_store_segment_find(store, store->active->number) : NULL;
	int rc = 0;

	if (active != NULL && active->bytes != store->tail - SEGMENT_HEADER_BYTES) {
		active->bytes = store->tail - SEGMENT_HEADER_BYTES;
		cs_store_segment_changed(store, active);
	}
	if (store->dirty_count > STORE_DIRTY_MAX) {
		for (uint32_t i = 0; i < store->segment_count && rc == 0; i++)
			rc = flush_one(store, &store->segments[i]);
	} else {
		for (uint32_t i = 0; i < store->dirty_count && rc == 0; i++)
			rc = flush_one(store, cs_store_segment_find(store, store->dirty[i]));
	}
	store->dirty_count = 0;
	return rc;
}

uint64_t cs_store_segments_dead(const struct cs_store *store)
{
	uint64_t dead = 0;

	for (uint32_t i = 0; i < store->segment_count; i++)
		dead += store_segment_dead(&store->segments[i]);
	return dead;
}
