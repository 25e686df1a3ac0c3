/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records that take the place of others: a sync makes the round durable, then one commit of the
 * index leads to all of them. What the index leads elsewhere meanwhile is left alone, its new
 * record is dead. So at any moment either the old place or a synced new one is found, by the index
 * and by a start that reads segments alone (the later place wins, both are the block). Until then
 * nothing leads to the new ones: their segments are awaited, or compaction took them for dead and
 * removed them. I1, I4.
 */
#include "chunk-server/store_internal.h"

static int switch_one(struct cs_round *round, const struct cs_replaced *r)
{
	struct cs_store *store = round->store;
	struct cs_place old;
	int rc = cs_store_index_get(store, &r->id, &old);

	if (rc == -E_NO_BLOCK ||
	    (rc == 0 && !cs_place_is_at(&old, r->from_segment, r->from_offset)))
		return 0;
	if (rc < 0)
		return rc;
	if (cs_store_segment_find(store, r->segment) == NULL)
		return 0; /* added too late, and gone: the old one stays */
	struct cs_place place = old; /* touched and trash stay what they are */
	place.segment = r->segment;
	place.offset = r->offset;
	place.is_dense = old.is_dense && old.codec == r->codec;
	place.length = r->length;
	place.codec = r->codec;
	round->blocks++;
	round->bytes_before += store_padded(old.length);
	round->bytes_after += store_padded(place.length);
	return cs_store_index_set(store, &r->id, &old, &place);
}

static int switch_all(struct cs_round *round)
{
	struct cs_store *store = round->store;
	int rc = cs_store_changes_commit(store);

	if (rc < 0)
		return rc;
	for (uint32_t i = 0; i < round->count && rc == 0; i++)
		rc = switch_one(round, &round->replaced[i]);
	if (rc == 0)
		rc = cs_store_index_commit(store);
	else
		cs_store_index_undo(store);
	if (rc < 0 && rc != -E_NOSPC)
		cs_store_fail(store, rc);
	return rc;
}

/* What is dead of them now is dead for good. */
static void release_all(struct cs_round *round)
{
	for (uint32_t i = 0; i < round->count; i++) {
		struct store_segment *segment =
			cs_store_segment_find(round->store, round->replaced[i].segment);
		if (segment != NULL && segment->awaited > 0 && --segment->awaited == 0)
			cs_store_compact_consider(round->store, segment);
	}
	round->count = 0;
	round->generation = 0; /* the next round may be of another store */
}

static void synced(struct cs_sync *sync)
{
	struct cs_round *round = container_of(sync, struct cs_round, sync);

	round->rc = round->store->is_failed ? -E_IO : sync->rc;
	round->blocks = round->bytes_before = round->bytes_after = 0;
	if (round->rc == 0)
		round->rc = switch_all(round);
	if (round->rc < 0)
		round->blocks = round->bytes_before = round->bytes_after = 0;
	release_all(round);
	round->done(round);
}

void cs_round_add(struct cs_round *round, const struct cs_put *put, const struct cs_place *from)
{
	struct store_segment *segment = cs_store_segment_find(put->store, put->segment);

	ASSERT(round->count < CS_ROUND_MAX && put->rc == 0 && put->is_replacement);
	ASSERT(put->store == round->store);
	if (segment != NULL)
		segment->awaited++;
	round->replaced[round->count++] = (struct cs_replaced){
		.id = put->id,
		.from_segment = from->segment,
		.from_offset = from->offset,
		.segment = put->segment,
		.offset = put->offset,
		.length = put->length,
		.codec = put->codec,
	};
	round->generation = MAX_OF(round->generation, put->generation);
}

void cs_round_end(struct cs_round *round)
{
	round->sync = (struct cs_sync){.generation = round->generation, .done = synced};
	cs_store_sync(round->store, &round->sync);
}

void cs_round_drop(struct cs_round *round)
{
	release_all(round);
}
