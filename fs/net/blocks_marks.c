/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Marks: who must sync up to what before a publish may name the blocks that were put (I2), and
 * which of them hold each block, so that a sync need not wait for a server that others replace.
 *
 * Blocks of one group have equal holders: not blocks are remembered but the distinct sets of
 * holders. When there are too many, all marks must be synced.
 */
#include <string.h>

#include "fs/net/blocks_internal.h"

void blocks_marks_init(struct blocks_marks *marks)
{
	memset(marks, 0, sizeof(*marks));
	marks->collection = UINT64_MAX;
}

/* The place of a mark, made if need be. -E_OVERLOADED. */
static int mark_at(struct blocks_marks *marks, const struct blocks_mark *mark)
{
	/* Two boots of one server are two marks: the sync of the older one must fail (I2). */
	for (uint32_t i = 0; i < marks->count; i++) {
		struct blocks_mark *have = &marks->at[i];

		if (have->server != mark->server || have->boot_id != mark->boot_id)
			continue;
		have->generation = MAX_OF(have->generation, mark->generation);
		return (int)i;
	}
	if (marks->count == BLOCKS_MARKS_MAX)
		return -E_OVERLOADED;
	marks->at[marks->count] = *mark;
	return (int)marks->count++;
}

int blocks_marks_add(struct blocks_marks *marks, const struct blocks_mark *mark)
{
	int at = mark_at(marks, mark);

	return at < 0 ? at : 0;
}

static void set_add(struct blocks_marks *marks, const struct blocks_set *set)
{
	for (uint32_t i = 0; i < marks->set_count; i++) {
		if (marks->sets[i].count == set->count &&
		    memcmp(marks->sets[i].at, set->at, set->count) == 0)
			return;
	}
	if (marks->set_count == BLOCKS_SETS_MAX || set->count == 0)
		marks->needs_all = true;
	else
		marks->sets[marks->set_count++] = *set;
}

/* Ascending, so that equal sets are equal bytes. */
static void set_insert(struct blocks_set *set, uint8_t mark)
{
	uint8_t i = set->count++;

	for (; i > 0 && set->at[i - 1] > mark; i--)
		set->at[i] = set->at[i - 1];
	set->at[i] = mark;
}

void blocks_marks_seal(struct blocks_marks *marks)
{
	struct blocks_set set = {0};

	/* Of two boots of one server the newer counts, which was told last. */
	for (uint32_t i = marks->count; i > 0 && set.count < COPIES_MAX; i--) {
		bool is_newer = false;

		for (uint32_t j = i; j < marks->count; j++)
			is_newer |= marks->at[j].server == marks->at[i - 1].server;
		if (!is_newer)
			set_insert(&set, (uint8_t)(i - 1));
	}
	set_add(marks, &set);
}

int blocks_marks_merge(struct blocks_marks *into, const struct blocks_marks *from)
{
	uint8_t map[BLOCKS_MARKS_MAX];

	into->collection = MIN_OF(into->collection, from->collection);
	into->needs_all |= from->needs_all;
	for (uint32_t i = 0; i < from->count; i++) {
		int at = mark_at(into, &from->at[i]);

		if (at < 0) { /* what is in now names too few holders of some block */
			into->needs_all = true;
			return at;
		}
		map[i] = (uint8_t)at;
	}
	for (uint32_t i = 0; i < from->set_count; i++) {
		struct blocks_set set = {0};

		for (uint8_t j = 0; j < from->sets[i].count; j++)
			set_insert(&set, map[from->sets[i].at[j]]);
		set_add(into, &set);
	}
	return 0;
}

void blocks_marks_doubt(struct blocks_marks *marks)
{
	marks->needs_all = true;
	if (marks->count > 0)
		marks->at[0].boot_id = 0;
}

bool blocks_marks_suffice(const struct blocks_marks *marks, const bool *is_good, uint8_t min_copies)
{
	bool all = true;

	for (uint32_t i = 0; i < marks->count; i++)
		all &= is_good[i];
	if (all || marks->needs_all || marks->set_count == 0)
		return all;
	for (uint32_t i = 0; i < marks->set_count; i++) {
		uint8_t good = 0;

		for (uint8_t j = 0; j < marks->sets[i].count; j++)
			good += is_good[marks->sets[i].at[j]];
		if (good < min_copies)
			return false;
	}
	return true;
}
