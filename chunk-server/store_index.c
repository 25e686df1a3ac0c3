/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The index of a store: rows that lead from an id to a place, a row per segment that says how much
 * of it they cover and how much of it lives, and one row of counts. A discardable view (I15):
 * segments are the truth. Rows are written after the bytes they name; what belongs together is
 * committed together, so counts and live bytes are exact after any crash. Layout in
 * store_internal.h. What comes from the rows is decoded, not believed (I8).
 */
#include "chunk-server/store_internal.h"

#include <string.h>

#include "fs/base/bytes.h"

#define BLOCK_KEY_BYTES	    (1u + BLOCK_ID_BYTES)
#define BLOCK_VALUE_BYTES   22u
#define TRASH_VALUE_BYTES   (BLOCK_VALUE_BYTES + 8u)
#define SEGMENT_KEY_BYTES   5u
#define SEGMENT_VALUE_BYTES 16u
#define STATE_KEY	    "s"
#define STATE_VERSION	    3u
#define STATE_VALUE_BYTES   (4u + 5u * 8u + CS_CODECS_MAX * 8u + UUID_BYTES)
#define LENGTH_BITS	    24u
#define CODEC_BITS	    7u
#define DENSE		    (1u << (LENGTH_BITS + CODEC_BITS))

_Static_assert(RECORD_BYTES_MAX < 1u << LENGTH_BITS, "a length fits its field");

/* --- rows ---- */

static void key_of(const struct block_id *id, uint8_t key[BLOCK_KEY_BYTES])
{
	key[0] = 'b';
	memcpy(key + 1, id->bytes, BLOCK_ID_BYTES);
}

static uint32_t place_encode(const struct cs_place *place, uint8_t out[TRASH_VALUE_BYTES])
{
	struct wr w = wr_init(out, TRASH_VALUE_BYTES);

	ASSERT(place->segment <= UINT32_MAX && place->offset % RECORD_ALIGN == 0);
	ASSERT(place->plain_len >= 1 && place->plain_len <= BLOCK_BYTES_MAX);
	wr_u32(&w, (uint32_t)place->segment);
	wr_u32(&w, (uint32_t)(place->offset / RECORD_ALIGN));
	ASSERT(place->codec < CS_CODECS_MAX);
	wr_u32(&w, place->length | (uint32_t)place->codec << LENGTH_BITS |
			   (place->is_dense ? DENSE : 0));
	wr_u16(&w, (uint16_t)(place->plain_len - 1));
	wr_u64(&w, place->touched);
	if (place->trashed_ms != 0)
		wr_u64(&w, place->trashed_ms);
	ASSERT(wr_ok(&w));
	return (uint32_t)wr_len(&w);
}

static int place_decode(const void *value, uint32_t len, struct cs_place *out)
{
	struct rd r = rd_init(value, len);

	out->segment = rd_u32(&r);
	out->offset = (uint64_t)rd_u32(&r) * RECORD_ALIGN;
	uint32_t packed = rd_u32(&r);
	out->length = packed & ((1u << LENGTH_BITS) - 1);
	out->codec = (uint8_t)(packed >> LENGTH_BITS & ((1u << CODEC_BITS) - 1));
	out->is_dense = packed & DENSE;
	out->plain_len = (uint32_t)rd_u16(&r) + 1;
	out->touched = rd_u64(&r);
	out->trashed_ms = len > BLOCK_VALUE_BYTES ? rd_u64(&r) : 0;
	out->generation = 0;
	if (!rd_done(&r) || out->length <= RECORD_HEADER_BYTES || out->length > RECORD_BYTES_MAX ||
	    out->codec >= CS_CODECS_MAX)
		return -E_MALFORMED;
	return 0;
}

int cs_store_index_read(const struct row *row, struct block_id *id, struct cs_place *out)
{
	if (row->key_len != BLOCK_KEY_BYTES || row->key[0] != 'b')
		return 0;
	memcpy(id->bytes, row->key + 1, BLOCK_ID_BYTES);
	int rc = place_decode(row->value, row->value_len, out);
	return rc < 0 ? rc : 1;
}

static void segment_key_of(uint64_t number, uint8_t key[SEGMENT_KEY_BYTES])
{
	struct wr w = wr_init(key, SEGMENT_KEY_BYTES);

	wr_u8(&w, 'g');
	wr_be32(&w, (uint32_t)number);
	ASSERT(wr_ok(&w));
}

int cs_store_index_read_segment(const struct row *row, struct cs_store_segment_row *out)
{
	if (row->key_len != SEGMENT_KEY_BYTES || row->key[0] != 'g')
		return 0;
	struct rd k = rd_init(row->key + 1, row->key_len - 1);
	struct rd r = rd_init(row->value, row->value_len);
	out->number = rd_be32(&k);
	out->bytes = rd_u64(&r);
	out->live = rd_u64(&r);
	return rd_done(&k) && rd_done(&r) && out->live <= out->bytes ? 1 : -E_MALFORMED;
}

int cs_store_index_get(struct cs_store *store, const struct block_id *id, struct cs_place *out)
{
	uint8_t key[BLOCK_KEY_BYTES];
	const void *value;
	uint32_t len;

	key_of(id, key);
	int rc = rows_get(store->options.index, key, sizeof(key), &value, &len);
	if (rc < 0)
		return rc == -E_NOENT ? -E_NO_BLOCK : rc;
	rc = place_decode(value, len, out);
	out->touched = MAX_OF(out->touched, store->touched_floor);
	return rc;
}

int cs_store_index_next(struct cs_store *store, struct block_id *id, bool is_behind,
			struct cs_place *out)
{
	uint8_t key[BLOCK_KEY_BYTES + 1];
	struct row row;

	key_of(id, key);
	key[BLOCK_KEY_BYTES] = 0; /* with it: the smallest key behind this one */
	int rc = rows_next(store->options.index, key, BLOCK_KEY_BYTES + is_behind, &row);
	if (rc < 0)
		return rc == -E_NOENT ? -E_NO_BLOCK : rc;
	rc = cs_store_index_read(&row, id, out);
	if (rc <= 0)
		return rc == 0 ? -E_NO_BLOCK : rc;
	out->touched = MAX_OF(out->touched, store->touched_floor);
	return 0;
}

/* --- counts and live bytes ---- */

/* They come from a view that may be wrong: they stop at zero. */
static void take(uint64_t *count, uint64_t less)
{
	*count -= MIN_OF(*count, less);
}

static void account_add(struct cs_store *store, const struct cs_place *place)
{
	struct store_counts *counts = &store->counts;

	if (place->trashed_ms != 0) {
		counts->blocks_trash++;
		counts->bytes_trash += place->length;
	} else {
		counts->blocks++;
		counts->bytes_stored += place->length;
		counts->bytes_plain += place->plain_len;
		counts->bytes_codec[place->codec] += place->length;
	}
	cs_store_segment_lives(store, place->segment, (int64_t)store_padded(place->length));
}

static void account_remove(struct cs_store *store, const struct cs_place *place)
{
	struct store_counts *counts = &store->counts;

	if (place->trashed_ms != 0) {
		take(&counts->blocks_trash, 1);
		take(&counts->bytes_trash, place->length);
	} else {
		take(&counts->blocks, 1);
		take(&counts->bytes_stored, place->length);
		take(&counts->bytes_plain, place->plain_len);
		take(&counts->bytes_codec[place->codec], place->length);
	}
	cs_store_segment_lives(store, place->segment, -(int64_t)store_padded(place->length));
}

/* --- changing ---- */

int cs_store_index_set(struct cs_store *store, const struct block_id *id,
		       const struct cs_place *old, const struct cs_place *place)
{
	uint8_t key[BLOCK_KEY_BYTES], value[TRASH_VALUE_BYTES];
	int rc;

	key_of(id, key);
	if (place != NULL)
		rc = rows_put(store->options.index, key, sizeof(key), value,
			      place_encode(place, value));
	else
		rc = rows_del(store->options.index, key, sizeof(key));
	if (rc < 0)
		return rc;
	if (old != NULL)
		account_remove(store, old);
	if (place != NULL)
		account_add(store, place);
	return 0;
}

int cs_store_index_add(struct cs_store *store, uint64_t number, const struct segment_entry *entry)
{
	struct cs_place old, place = {
				     .segment = number,
				     .offset = entry->offset,
				     .length = entry->length,
				     .plain_len = entry->plain_len,
				     .codec = entry->codec,
				     .touched = store->collection,
			     };
	int rc = cs_store_index_get(store, &entry->id, &old);
	bool was_there = rc == 0;

	if (rc < 0 && rc != -E_NO_BLOCK && rc != -E_MALFORMED)
		return rc;
	if (was_there &&
	    (old.segment > number || (old.segment == number && old.offset >= entry->offset)))
		return 0;
	if (was_there) {
		place.touched = old.touched;
		place.trashed_ms = old.trashed_ms;
	}
	return cs_store_index_set(store, &entry->id, was_there ? &old : NULL, &place);
}

int cs_store_index_put_segment(struct cs_store *store, const struct store_segment *segment)
{
	uint8_t key[SEGMENT_KEY_BYTES], value[SEGMENT_VALUE_BYTES];
	struct wr w = wr_init(value, sizeof(value));

	segment_key_of(segment->number, key);
	wr_u64(&w, segment->bytes);
	wr_u64(&w, MIN_OF(segment->live, segment->bytes));
	ASSERT(wr_ok(&w));
	return rows_put(store->options.index, key, sizeof(key), value, sizeof(value));
}

int cs_store_index_del_segment(struct cs_store *store, uint64_t number)
{
	uint8_t key[SEGMENT_KEY_BYTES];

	segment_key_of(number, key);
	int rc = rows_del(store->options.index, key, sizeof(key));
	return rc == -E_NOENT ? 0 : rc;
}

static int put_state(struct cs_store *store)
{
	uint8_t value[STATE_VALUE_BYTES];
	struct wr w = wr_init(value, sizeof(value));

	wr_u32(&w, STATE_VERSION);
	wr_u64(&w, store->counts.blocks);
	wr_u64(&w, store->counts.bytes_stored);
	wr_u64(&w, store->counts.bytes_plain);
	wr_u64(&w, store->counts.blocks_trash);
	wr_u64(&w, store->counts.bytes_trash);
	for (uint32_t i = 0; i < CS_CODECS_MAX; i++)
		wr_u64(&w, store->counts.bytes_codec[i]);
	wr_bytes(&w, store->options.disk_uuid, UUID_BYTES);
	ASSERT(wr_ok(&w));
	return rows_put(store->options.index, STATE_KEY, sizeof(STATE_KEY) - 1, value,
			sizeof(value));
}

int cs_store_index_commit(struct cs_store *store)
{
	int rc = cs_store_segments_flush(store);

	if (rc == 0)
		rc = put_state(store);
	if (rc == 0)
		rc = rows_commit(store->options.index);
	if (rc < 0)
		cs_store_index_undo(store);
	else
		store->uncommitted = 0;
	return rc;
}

/* --- reading all again ---- */

static int load_state(struct cs_store *store)
{
	const void *value;
	uint32_t len;
	uint8_t uuid[UUID_BYTES];
	struct store_counts counts = {.damaged = store->counts.damaged};
	int rc = rows_get(store->options.index, STATE_KEY, sizeof(STATE_KEY) - 1, &value, &len);

	if (rc < 0)
		return rc;
	struct rd r = rd_init(value, len);
	uint32_t version = rd_u32(&r);
	counts.blocks = rd_u64(&r);
	counts.bytes_stored = rd_u64(&r);
	counts.bytes_plain = rd_u64(&r);
	counts.blocks_trash = rd_u64(&r);
	counts.bytes_trash = rd_u64(&r);
	for (uint32_t i = 0; i < CS_CODECS_MAX; i++)
		counts.bytes_codec[i] = rd_u64(&r);
	rd_bytes(&r, uuid, sizeof(uuid));
	if (!rd_done(&r) || version != STATE_VERSION ||
	    memcmp(uuid, store->options.disk_uuid, UUID_BYTES) != 0)
		return -E_MALFORMED;
	store->counts = counts;
	return 0;
}

int cs_store_index_load(struct cs_store *store)
{
	uint8_t key[SEGMENT_KEY_BYTES + 1] = {'g'};
	uint32_t key_len = 1;
	int rc = load_state(store);

	while (rc == 0) {
		struct cs_store_segment_row found;
		struct row row;
		rc = rows_next(store->options.index, key, key_len, &row);
		if (rc < 0)
			return rc == -E_NOENT ? 0 : rc;
		rc = cs_store_index_read_segment(&row, &found);
		if (rc <= 0)
			return rc; /* 0: the rows of another kind follow */
		struct store_segment *segment = cs_store_segment_add(store, found.number);
		if (segment == NULL)
			return -E_NOMEM;
		segment->bytes = found.bytes;
		segment->live = found.live;
		/* The smallest key behind this one. */
		segment_key_of(found.number, key);
		key[SEGMENT_KEY_BYTES] = 0;
		key_len = SEGMENT_KEY_BYTES + 1;
		rc = 0;
	}
	return rc;
}

/* What the rows say of a segment; a new one may have no row yet. */
static int reload_segment(struct cs_store *store, struct store_segment *segment)
{
	uint8_t key[SEGMENT_KEY_BYTES];
	struct row row = {.key = key, .key_len = sizeof(key)};
	struct cs_store_segment_row found = {0};
	const void *value;

	segment_key_of(segment->number, key);
	int rc = rows_get(store->options.index, key, sizeof(key), &value, &row.value_len);
	row.value = value;
	if (rc == 0)
		rc = cs_store_index_read_segment(&row, &found);
	if (rc < 0 && rc != -E_NOENT)
		return rc;
	segment->bytes = found.bytes;
	segment->live = found.live;
	segment->is_dirty = false;
	return 0;
}

void cs_store_index_undo(struct cs_store *store)
{
	int rc;

	rows_abort(store->options.index);
	/* Touches may be taken back that were answered for: all counts as touched now (I9). */
	if (store->uncommitted > 0)
		store->touched_floor = store->collection;
	store->uncommitted = 0;
	store->dirty_count = 0;
	if (!store->is_open)
		return; /* the start fails, whatever was counted */
	rc = load_state(store);
	for (uint32_t i = 0; i < store->segment_count && rc == 0; i++)
		rc = reload_segment(store, &store->segments[i]);
	if (rc < 0)
		cs_store_fail(store, rc);
}
