/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The manifest in memory: its nodes, which of them stay, and how an offset finds its entry. Edits
 * are in manifest_replace.c and manifest_edit.c, sealing in manifest_seal.c.
 *
 * Eviction takes the least recently used clean node, but never one that the operation now being
 * retried has used: else two nodes that one operation needs could push each other out for ever.
 */
#include "fs/tree/manifest_internal.h"

#include <stdlib.h>
#include <utlist.h>

struct node *manifest_node_create(uint8_t level, uint32_t capacity)
{
	struct node *node = calloc(1, sizeof *node);

	if (node == NULL)
		return NULL;
	node->level = level;
	if (!manifest_node_reserve(node, capacity)) {
		free(node);
		return NULL;
	}
	return node;
}

bool manifest_node_reserve(struct node *node, uint32_t capacity)
{
	ASSERT(capacity <= node_entries_max(node->level));
	if (capacity <= node->capacity)
		return true;
	uint32_t grown = MIN_OF(MAX_OF(capacity, MAX_OF(4u, node->capacity * 2)),
				node_entries_max(node->level));
	struct entry *entries = realloc(node->entries, grown * sizeof *entries);

	if (entries == NULL)
		return false;
	node->entries = entries;
	node->capacity = grown;
	return true;
}

static void node_unlist(struct manifest *m, struct node *node)
{
	if (node->is_cached) {
		DL_DELETE(m->lru, node);
		node->is_cached = false;
		m->clean_count--;
	}
	if (node->is_dirty) {
		node->is_dirty = false;
		m->dirty_count--;
	}
}

void manifest_node_free(struct manifest *m, struct node *node)
{
	if (node == NULL)
		return;
	node_unlist(m, node);
	if (m->need_parent == node) {
		m->is_needing = false;
		m->need_parent = NULL;
	}
	free(node->entries);
	free(node);
}

void manifest_entry_drop(struct manifest *m, struct entry *entry)
{
	struct node *node = entry->child;

	if (node == NULL)
		return;
	for (uint32_t i = 0; node->level > 0 && i < node->count; i++)
		manifest_entry_drop(m, &node->entries[i]);
	manifest_node_free(m, node);
	entry->child = NULL;
}

void manifest_node_dirty(struct manifest *m, struct node *node)
{
	if (node->is_dirty)
		return;
	node_unlist(m, node);
	node->is_dirty = true;
	m->dirty_count++;
}

void manifest_node_clean(struct manifest *m, struct node *node)
{
	node_unlist(m, node);
	DL_APPEND(m->lru, node);
	node->is_cached = true;
	m->clean_count++;
}

void manifest_node_keep(struct manifest *m, struct node *node)
{
	node_unlist(m, node);
}

void manifest_touch(struct manifest *m, struct node *node)
{
	for (; node != NULL; node = node->parent) {
		node->serial = m->serial;
		if (node->is_cached && node->next != NULL) {
			DL_DELETE(m->lru, node);
			DL_APPEND(m->lru, node);
		}
	}
}

static struct entry *entry_of(struct manifest *m, struct node *node)
{
	struct node *parent = node->parent;

	if (parent == NULL)
		return &m->top;
	for (uint32_t i = 0; i < parent->count; i++)
		if (parent->entries[i].child == node)
			return &parent->entries[i];
	base_panic(__FILE__, __LINE__, "a manifest node is not among its parent's children");
}

static bool has_child_in_memory(const struct node *node)
{
	for (uint32_t i = 0; node->level > 0 && i < node->count; i++)
		if (node->entries[i].child != NULL)
			return true;
	return false;
}

static void evict(struct manifest *m)
{
	uint32_t keep = MAX_OF(m->nodes_max, m->depth);	/* one path at least */

	while (m->clean_count > keep && m->lru->serial != m->serial) {
		/* it might be dirty: an edit would be lost */
		ASSERT(!has_child_in_memory(m->lru));
		manifest_entry_drop(m, entry_of(m, m->lru));
	}
}

int manifest_end(struct manifest *m, int rc)
{
	if (rc == -E_NEED_NODE)
		return rc;
	m->serial++;
	evict(m);
	return rc;
}

int manifest_load(struct manifest *m, struct node *parent, uint32_t index, struct node **out)
{
	struct entry *entry = parent ? &parent->entries[index] : &m->top;

	if (entry->child != NULL) {
		*out = entry->child;
		return 0;
	}
	if (parent != NULL)
		manifest_touch(m, parent);
	m->is_needing = true;
	m->need_parent = parent;
	m->need_index = index;
	m->need_id = entry->id;
	return -E_NEED_NODE;
}

const struct block_id *manifest_needed(const struct manifest *m)
{
	return &m->need_id;
}

static struct node *node_from_view(const struct node_view *v)
{
	struct node *node = manifest_node_create(v->level, v->entry_count);

	if (node == NULL)
		return NULL;
	for (uint32_t i = 0; i < v->entry_count; i++) {
		struct node_entry e = node_view_entry(v, i);

		node->entries[i] =
			(struct entry){ .length = e.length, .data = e.data, .id = e.id };
	}
	node->count = v->entry_count;
	node->bytes = v->length;
	node->data = v->data;
	return node;
}

int manifest_supply(struct manifest *m, const void *bytes, uint32_t len)
{
	if (!m->is_needing)
		return 0;	/* what was asked for has been edited away since */
	struct node *parent = m->need_parent;
	struct entry *entry = parent ? &parent->entries[m->need_index] : &m->top;
	uint8_t level = parent ? (uint8_t)(parent->level - 1) : (uint8_t)(m->depth - 1);
	struct node_entry said = { .length = entry->length, .data = entry->data };
	struct block_id id;
	struct node_view view;

	if (len > BLOCK_BYTES_MAX)
		return -E_MALFORMED;
	block_id_of(m->hash, bytes, len, &id);
	if (!block_id_equal(&id, &entry->id))
		return -E_CORRUPT;
	int rc = node_view_init(&view, bytes, len, level, &said);
	if (rc < 0)
		return rc;
	struct node *node = node_from_view(&view);
	if (node == NULL)
		return -E_NOMEM;
	node->parent = parent;
	entry->child = node;
	manifest_node_clean(m, node);
	manifest_touch(m, node);
	m->is_needing = false;
	evict(m);
	return 0;
}

/* A root that names one block is a leaf of one entry that no block holds: never evicted. */
static int open_block(struct manifest *m, const struct root *root)
{
	struct node *leaf = manifest_node_create(0, 1);

	if (leaf == NULL)
		return -E_NOMEM;
	leaf->entries[0] = (struct entry){ .length = root->length, .data = root->length,
					   .id = root->id };
	leaf->count = 1;
	leaf->bytes = leaf->data = root->length;
	m->top = (struct entry){ .length = root->length, .data = root->length, .child = leaf };
	m->depth = 1;
	return 0;
}

int manifest_create(const struct root *root, enum hash_kind hash, uint32_t nodes_max,
		    struct manifest **out)
{
	if (root->kind == ROOT_INLINE)
		return -E_INVAL;
	if (root->kind == ROOT_NODE && (root->depth < 1 || root->depth > MANIFEST_DEPTH_MAX))
		return -E_INVAL;
	struct manifest *m = calloc(1, sizeof *m);
	if (m == NULL)
		return -E_NOMEM;
	m->hash = hash;
	m->nodes_max = nodes_max;
	m->root = *root;
	if (root->kind == ROOT_NODE) {
		m->top = (struct entry){ .length = root->length, .data = root->data,
					 .id = root->id };
		m->depth = root->depth;
	} else if (root->kind == ROOT_BLOCK && open_block(m, root) < 0) {
		free(m);
		return -E_NOMEM;
	}
	*out = m;
	return 0;
}

void manifest_destroy(struct manifest *m)
{
	if (m == NULL)
		return;
	manifest_entry_drop(m, &m->top);
	ASSERT(m->clean_count == 0 && m->dirty_count == 0);
	free(m);
}

uint64_t manifest_bytes(const struct manifest *m)
{
	return m->top.length;
}

uint64_t manifest_data_bytes(const struct manifest *m)
{
	return m->top.data;
}

bool manifest_is_dirty(const struct manifest *m)
{
	return m->is_dirty;
}

uint32_t manifest_dirty_count(const struct manifest *m)
{
	return m->dirty_count;
}

int manifest_find(struct manifest *m, uint64_t offset, struct extent *out)
{
	struct node *node = NULL;
	uint32_t index = 0;
	uint64_t start = 0;

	if (offset >= m->top.length)
		return -E_RANGE;
	for (uint8_t level = m->depth; level-- > 0;) {
		int rc = manifest_load(m, node, index, &node);
		if (rc < 0)
			return rc;
		for (index = 0; offset - start >= node->entries[index].length; index++)
			start += node->entries[index].length;
	}
	manifest_touch(m, node);
	*out = (struct extent){ .offset = start,
				.length = node->entries[index].length,
				.id = node->entries[index].id };
	return 0;
}

int manifest_lookup(struct manifest *m, uint64_t offset, struct extent *out)
{
	return manifest_end(m, manifest_find(m, offset, out));
}

void manifest_collapse(struct manifest *m)
{
	while (m->depth > 1 && m->top.child != NULL && m->top.child->count == 1) {
		struct node *old = m->top.child;

		m->top = old->entries[0];
		if (m->top.child != NULL)
			m->top.child->parent = NULL;
		manifest_node_free(m, old);
		m->depth--;
	}
}
