/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A manifest node's plain bytes as foreign data (I8): checked once by node_view_init(), then read
 * without further checks. The format is in manifest.h.
 */
#include "fs/base/bytes.h"
#include "fs/tree/manifest_internal.h"

static uint32_t entry_bytes(uint8_t level)
{
	return level == 0 ? NODE_ENTRY_BYTES : NODE_CHILD_BYTES;
}

static bool entry_is_sound(uint8_t level, const struct node_entry *e)
{
	if (e->length == 0 || e->data > e->length)
		return false;
	if (block_id_is_zero(&e->id))
		return level == 0;	/* only a leaf has holes */
	return level > 0 || e->length <= BLOCK_BYTES_MAX;
}

/* Lengths and data bytes add up to what the header says, without overflow on the way. */
static bool entries_are_sound(const struct node_view *v)
{
	uint64_t left = v->length, data_left = v->data;

	for (uint32_t i = 0; i < v->entry_count; i++) {
		struct node_entry e = node_view_entry(v, i);

		if (e.length > left || e.data > data_left || !entry_is_sound(v->level, &e))
			return false;
		left -= e.length;
		data_left -= e.data;
	}
	return left == 0 && data_left == 0;
}

int node_view_init(struct node_view *v, const void *bytes, uint32_t len, uint8_t level,
		   const struct node_entry *expected)
{
	struct rd r = rd_init(bytes, len);
	uint32_t magic = rd_u32(&r);
	uint8_t version = rd_u8(&r);

	*v = (struct node_view){ .bytes = bytes, .level = rd_u8(&r) };
	rd_zeros(&r, 2);
	v->entry_count = rd_u32(&r);
	rd_zeros(&r, 4);
	v->length = rd_u64(&r);
	v->data = rd_u64(&r);
	if (!rd_ok(&r) || magic != NODE_MAGIC || version != NODE_VERSION)
		return -E_MALFORMED;
	if (v->level != level || v->length != expected->length || v->data != expected->data ||
	    v->length > FILE_BYTES_MAX)
		return -E_MALFORMED;
	if (v->entry_count < 1 || v->entry_count > node_entries_max(level) ||
	    len != NODE_HEADER_BYTES + v->entry_count * entry_bytes(level))
		return -E_MALFORMED;
	return entries_are_sound(v) ? 0 : -E_MALFORMED;
}

struct node_entry node_view_entry(const struct node_view *v, uint32_t index)
{
	uint32_t size = entry_bytes(v->level);
	struct node_entry e;

	ASSERT(index < v->entry_count);
	struct rd r = rd_init(v->bytes + NODE_HEADER_BYTES + index * size, size);
	e.length = rd_u64(&r);
	e.data = v->level > 0 ? rd_u64(&r) : 0;
	rd_bytes(&r, e.id.bytes, sizeof e.id.bytes);
	if (v->level == 0 && !block_id_is_zero(&e.id))
		e.data = e.length;
	return e;
}
