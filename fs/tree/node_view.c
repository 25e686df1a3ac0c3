/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A manifest node's plain bytes as foreign data (I8): checked once by node_view_init(), then read
 * without further checks. The format is in manifest.h.
 */
#include "fs/base/bytes.h"
#include "fs/tree/manifest_internal.h"

static bool entry_is_sound(uint8_t level, uint64_t length, const struct block_id *id)
{
	if (length == 0)
		return false;
	if (block_id_is_zero(id))
		return level == 0;	/* only a leaf has holes */
	return level > 0 || length <= BLOCK_BYTES_MAX;
}

/* Lengths add up to what the header says, without overflow on the way. */
static bool entries_are_sound(const struct node_view *v)
{
	uint64_t left = v->length;

	for (uint32_t i = 0; i < v->entry_count; i++) {
		struct block_id id;
		uint64_t length;

		node_view_entry(v, i, &length, &id);
		if (length > left || !entry_is_sound(v->level, length, &id))
			return false;
		left -= length;
	}
	return left == 0;
}

int node_view_init(struct node_view *v, const void *bytes, uint32_t len, uint8_t level_expected,
		   uint64_t length_expected)
{
	struct rd r = rd_init(bytes, len);
	uint32_t magic = rd_u32(&r);
	uint8_t version = rd_u8(&r);

	*v = (struct node_view){ .bytes = bytes, .level = rd_u8(&r) };
	rd_zeros(&r, 2);
	v->entry_count = rd_u32(&r);
	rd_zeros(&r, 4);
	v->length = rd_u64(&r);
	if (!rd_ok(&r) || magic != NODE_MAGIC || version != NODE_VERSION)
		return -E_MALFORMED;
	if (v->level != level_expected || v->length != length_expected ||
	    v->length > FILE_BYTES_MAX)
		return -E_MALFORMED;
	if (v->entry_count < 1 || v->entry_count > NODE_ENTRIES_MAX ||
	    len != NODE_HEADER_BYTES + v->entry_count * NODE_ENTRY_BYTES)
		return -E_MALFORMED;
	return entries_are_sound(v) ? 0 : -E_MALFORMED;
}

void node_view_entry(const struct node_view *v, uint32_t index, uint64_t *length,
		     struct block_id *id)
{
	ASSERT(index < v->entry_count);
	struct rd r = rd_init(v->bytes + NODE_HEADER_BYTES + index * NODE_ENTRY_BYTES,
			      NODE_ENTRY_BYTES);

	*length = rd_u64(&r);
	rd_bytes(&r, id->bytes, sizeof id->bytes);
}
