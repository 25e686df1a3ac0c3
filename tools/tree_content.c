/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/tree_content.h"

#include <stdlib.h>
#include <string.h>

struct kept { /* the one that was read last at its level */
	struct block_id id;
	uint8_t *plain; /* BLOCK_BYTES_MAX; NULL: none yet */
	uint32_t len;
};

struct tree_content {
	struct tree_reader *reader;
	struct root root;
	struct kept nodes[MANIFEST_DEPTH_MAX];
	struct kept block;
	uint8_t bytes[TENSORS_READ_MAX];
};

struct tree_content *tree_content_create(struct tree_reader *r, const struct root *root)
{
	struct tree_content *c = calloc(1, sizeof *c);

	if (c) {
		c->reader = r;
		c->root = *root;
	}
	return c;
}

void tree_content_destroy(struct tree_content *c)
{
	if (!c)
		return;
	for (uint32_t i = 0; i < ARRAY_COUNT(c->nodes); i++)
		free(c->nodes[i].plain);
	free(c->block.plain);
	free(c);
}

static int fetch(struct tree_content *c, struct kept *kept, const struct block_id *id)
{
	struct error ignored = {0};
	int rc;

	if (kept->plain && block_id_equal(&kept->id, id))
		return 0;
	if (!kept->plain)
		kept->plain = malloc(BLOCK_BYTES_MAX);
	if (!kept->plain)
		return -E_NOMEM;
	kept->id = (struct block_id){.bytes = {0}};
	rc = tree_reader_get(c->reader, id, kept->plain, &kept->len, &ignored);
	if (rc == 0)
		kept->id = *id;
	return rc;
}

/* The entry of a leaf that holds `offset`, and where it begins. */
static int find_entry(struct tree_content *c, uint64_t offset, struct node_entry *entry,
		      uint64_t *start)
{
	*entry = (struct node_entry){
		.length = c->root.length, .data = root_data_bytes(&c->root), .id = c->root.id};
	*start = 0;
	for (uint8_t depth = c->root.kind == ROOT_NODE ? c->root.depth : 0; depth > 0; depth--) {
		struct kept *kept = &c->nodes[depth - 1];
		struct node_view v;
		uint32_t i = 0;
		int rc = fetch(c, kept, &entry->id);

		if (rc == 0)
			rc = node_view_init(&v, kept->plain, kept->len, (uint8_t)(depth - 1),
					    entry);
		if (rc < 0)
			return rc;
		while (i + 1 < v.entry_count && offset - *start >= node_view_entry(&v, i).length)
			*start += node_view_entry(&v, i++).length;
		*entry = node_view_entry(&v, i);
	}
	return 0;
}

int tree_content_read(void *content, uint64_t offset, uint32_t len, const void **bytes)
{
	struct tree_content *c = content;
	uint32_t done = 0;

	while (done < len) {
		struct node_entry entry;
		uint64_t start = 0, skip;
		uint32_t part;
		int rc = find_entry(c, offset + done, &entry, &start);

		if (rc < 0)
			return rc;
		skip = offset + done - start;
		if (skip >= entry.length)
			return -E_MALFORMED;
		part = (uint32_t)MIN_OF((uint64_t)(len - done), entry.length - skip);
		if (block_id_is_zero(&entry.id)) {
			memset(c->bytes + done, 0, part);
		} else {
			rc = fetch(c, &c->block, &entry.id);
			if (rc < 0 || c->block.len != entry.length)
				return rc < 0 ? rc : -E_MALFORMED;
			memcpy(c->bytes + done, c->block.plain + skip, part);
		}
		done += part;
	}
	*bytes = c->bytes;
	return 0;
}
