/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The index of a store: rows that lead from an id to a place, and one row that says what they
 * cover. A discardable view (I15): segments are the truth. Rows are written after the bytes they
 * name, in one commit per batch. Layout in store_internal.h. What comes from the rows is decoded,
 * not believed (I8).
 */
#include "chunk-server/store_internal.h"

#include <string.h>

#include "fs/base/bytes.h"

#define BLOCK_KEY_BYTES	  (1u + BLOCK_ID_BYTES)
#define BLOCK_VALUE_BYTES 14u
#define STATE_KEY	  "s"
#define STATE_VALUE_BYTES (6u * 8u + UUID_BYTES)
#define LENGTH_BITS	  24u

_Static_assert(RECORD_BYTES_MAX < 1u << LENGTH_BITS, "a length fits its field");

static void key_of(const struct block_id *id, uint8_t key[BLOCK_KEY_BYTES])
{
	key[0] = 'b';
	memcpy(key + 1, id->bytes, BLOCK_ID_BYTES);
}

static void place_encode(uint64_t number, const struct segment_entry *entry,
			 uint8_t out[BLOCK_VALUE_BYTES])
{
	struct wr w = wr_init(out, BLOCK_VALUE_BYTES);

	ASSERT(number <= UINT32_MAX && entry->offset % RECORD_ALIGN == 0);
	ASSERT(entry->plain_len >= 1 && entry->plain_len <= BLOCK_BYTES_MAX);
	wr_u32(&w, (uint32_t)number);
	wr_u32(&w, (uint32_t)(entry->offset / RECORD_ALIGN));
	wr_u32(&w, entry->length | (uint32_t)entry->codec << LENGTH_BITS);
	wr_u16(&w, (uint16_t)(entry->plain_len - 1));
	ASSERT(wr_ok(&w));
}

static int place_decode(const void *value, uint32_t len, struct cs_place *out)
{
	struct rd r = rd_init(value, len);

	out->segment = rd_u32(&r);
	out->offset = (uint64_t)rd_u32(&r) * RECORD_ALIGN;
	uint32_t packed = rd_u32(&r);
	out->length = packed & ((1u << LENGTH_BITS) - 1);
	out->codec = (uint8_t)(packed >> LENGTH_BITS);
	out->plain_len = (uint32_t)rd_u16(&r) + 1;
	out->generation = 0;
	if (!rd_done(&r) || out->length <= RECORD_HEADER_BYTES || out->length > RECORD_BYTES_MAX)
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

int cs_store_index_get(struct cs_store *store, const struct block_id *id, struct cs_place *out)
{
	uint8_t key[BLOCK_KEY_BYTES];
	const void *value;
	uint32_t len;

	key_of(id, key);
	int rc = rows_get(store->options.index, key, sizeof(key), &value, &len);
	if (rc < 0)
		return rc == -E_NOENT ? -E_NO_BLOCK : rc;
	return place_decode(value, len, out);
}

static void counts_add(struct store_counts *counts, uint32_t length, uint32_t plain_len)
{
	counts->blocks++;
	counts->bytes_stored += length;
	counts->bytes_plain += plain_len;
}

/* Counts come from a view that may be wrong: they stop at zero. */
static void counts_remove(struct store_counts *counts, const struct cs_place *place)
{
	counts->blocks -= MIN_OF(counts->blocks, 1u);
	counts->bytes_stored -= MIN_OF(counts->bytes_stored, place->length);
	counts->bytes_plain -= MIN_OF(counts->bytes_plain, place->plain_len);
}

int cs_store_index_add(struct cs_store *store, uint64_t number, const struct segment_entry *entry)
{
	uint8_t key[BLOCK_KEY_BYTES], value[BLOCK_VALUE_BYTES];
	struct cs_place old;
	int rc = cs_store_index_get(store, &entry->id, &old);
	bool was_there = rc == 0;

	if (rc < 0 && rc != -E_NO_BLOCK && rc != -E_MALFORMED)
		return rc;
	if (was_there &&
	    (old.segment > number || (old.segment == number && old.offset >= entry->offset)))
		return 0;
	key_of(&entry->id, key);
	place_encode(number, entry, value);
	rc = rows_put(store->options.index, key, sizeof(key), value, sizeof(value));
	if (rc < 0)
		return rc;
	if (was_there)
		counts_remove(&store->counts, &old);
	counts_add(&store->counts, entry->length, entry->plain_len);
	return 0;
}

int cs_store_index_remove(struct cs_store *store, const struct block_id *id,
			  const struct cs_place *place)
{
	uint8_t key[BLOCK_KEY_BYTES];

	key_of(id, key);
	int rc = rows_del(store->options.index, key, sizeof(key));
	if (rc == 0)
		counts_remove(&store->counts, place);
	return rc;
}

int cs_store_index_commit(struct cs_store *store, const struct store_covered *covered)
{
	uint8_t value[STATE_VALUE_BYTES];
	struct wr w = wr_init(value, sizeof(value));

	wr_u64(&w, covered->number);
	wr_u64(&w, covered->tail);
	wr_u64(&w, covered->sealed_count);
	wr_u64(&w, store->counts.blocks);
	wr_u64(&w, store->counts.bytes_stored);
	wr_u64(&w, store->counts.bytes_plain);
	wr_bytes(&w, store->options.disk_uuid, UUID_BYTES);
	ASSERT(wr_ok(&w));
	int rc = rows_put(store->options.index, STATE_KEY, sizeof(STATE_KEY) - 1, value,
			  sizeof(value));
	if (rc == 0)
		rc = rows_commit(store->options.index);
	if (rc < 0)
		rows_abort(store->options.index);
	return rc;
}

int cs_store_index_state(struct cs_store *store, struct store_covered *out)
{
	const void *value;
	uint32_t len;
	uint8_t uuid[UUID_BYTES];
	struct store_counts counts;
	int rc = rows_get(store->options.index, STATE_KEY, sizeof(STATE_KEY) - 1, &value, &len);

	if (rc < 0)
		return rc;
	struct rd r = rd_init(value, len);
	out->number = rd_u64(&r);
	out->tail = rd_u64(&r);
	out->sealed_count = rd_u64(&r);
	counts.blocks = rd_u64(&r);
	counts.bytes_stored = rd_u64(&r);
	counts.bytes_plain = rd_u64(&r);
	counts.damaged = store->counts.damaged;
	rd_bytes(&r, uuid, sizeof(uuid));
	if (!rd_done(&r) || memcmp(uuid, store->options.disk_uuid, UUID_BYTES) != 0)
		return -E_MALFORMED;
	store->counts = counts;
	return 0;
}

int cs_store_scan(struct cs_store *store, const struct block_id *from,
		  bool (*fn)(void *arg, const struct block_id *id, const struct cs_place *place),
		  void *arg)
{
	uint8_t key[BLOCK_KEY_BYTES + 1];
	uint32_t key_len = BLOCK_KEY_BYTES;

	key_of(from, key);
	for (;;) {
		struct row row;
		struct block_id id;
		struct cs_place place;
		int rc = rows_next(store->options.index, key, key_len, &row);
		if (rc == -E_NOENT)
			return 0;
		if (rc < 0)
			return rc;
		if (row.key_len != BLOCK_KEY_BYTES || row.key[0] != 'b')
			return 0;
		memcpy(id.bytes, row.key + 1, BLOCK_ID_BYTES);
		rc = place_decode(row.value, row.value_len, &place);
		if (rc < 0)
			return rc;
		if (!fn(arg, &id, &place))
			return 0;
		/* The smallest key behind this one. */
		key_of(&id, key);
		key[BLOCK_KEY_BYTES] = 0;
		key_len = BLOCK_KEY_BYTES + 1;
	}
}
