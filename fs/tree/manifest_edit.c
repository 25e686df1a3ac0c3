/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Editing, copy-on-write: what lies between two paths becomes other entries.
 *
 * Plan: from the counts along the two paths follows, level by level, how many nodes there will be;
 * all memory is taken. Apply, from the leaves up, cannot fail: at each level the entries left of
 * the range, the new ones and those right of it form one sequence, which is spread over the nodes
 * of the two paths and new ones.
 *
 * Splits at the end of the file fill the left node, so that streaming writes make full nodes; other
 * splits share evenly. A node below a quarter is poured into a neighbour that is in memory; a
 * neighbour is never fetched for that.
 */
#include "fs/tree/manifest_edit.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

/* A node is poured into its neighbour if it has fewer entries, and both together have no more. */
static uint32_t entries_low(uint8_t level)
{
	return node_entries_max(level) / 4;
}

static uint32_t entries_high(uint8_t level)
{
	return node_entries_max(level) / 4 * 3;
}

static uint32_t left_count(const struct edit *e, uint8_t level)
{
	return e->left.node[level] ? e->left.index[level] : 0;
}

static uint32_t right_count(const struct edit *e, uint8_t level)
{
	const struct node *right = e->right.node[level];

	return right ? right->count - e->right.index[level] : 0;
}

static uint32_t nodes_for(uint32_t entry_count, uint8_t level)
{
	return DIV_CEIL(entry_count, node_entries_max(level));
}

/* Does the level's sequence fit the one node that both paths go through? */
static bool is_in_place(const struct edit *e, uint8_t level, uint32_t total)
{
	return e->left.node[level] != NULL && e->left.node[level] == e->right.node[level] &&
	       total >= 1 && total <= node_entries_max(level);
}

/* Is there work at this level, with so many entries coming up from below? */
static bool has_level(const struct manifest *m, uint8_t level, uint32_t item_count)
{
	return level < m->depth || item_count > (level == 0 ? 0u : 1u);
}

/* ---- plan ------------------------------------------------------------------------------------ */

/* The one or two nodes of the paths at this level; none above the top. Returns how many. */
static uint32_t path_nodes(const struct edit *e, uint8_t level, struct node *out[2])
{
	struct node *left = e->left.node[level], *right = e->right.node[level];
	uint32_t count = 0;

	if (left != NULL)
		out[count++] = left;
	if (right != NULL && right != left)
		out[count++] = right;
	return count;
}

static int plan_nodes(struct edit *e, uint8_t level, uint32_t total)
{
	struct node *have[2];
	uint32_t have_count = path_nodes(e, level, have);
	uint32_t room = MIN_OF(total, node_entries_max(level));

	for (uint32_t i = 0; i < have_count; i++)
		if (!manifest_node_reserve(have[i], room))
			return -E_NOMEM;
	for (uint32_t i = have_count; i < nodes_for(total, level); i++) {
		struct node *node = manifest_node_create(level, room);
		if (node == NULL)
			return -E_NOMEM;
		DL_APPEND(e->spares, node);
	}
	return 0;
}

void manifest_edit_release(struct edit *e)
{
	struct node *node, *next;

	DL_FOREACH_SAFE(e->spares, node, next)
		manifest_node_free(e->m, node);
	e->spares = NULL;
	free(e->sequence);
	free(e->items);
}

/* Take all memory that applying needs. On failure nothing has changed. */
static int edit_plan(struct edit *e, uint8_t level)
{
	uint32_t items = e->item_count, items_max = 0, sequence_max = 0;

	for (; has_level(e->m, level, items); level++) {
		if (level >= MANIFEST_DEPTH_MAX)
			return -E_FBIG;
		uint32_t total = left_count(e, level) + items + right_count(e, level);
		int rc = plan_nodes(e, level, total);
		if (rc < 0)
			return rc;
		if (!is_in_place(e, level, total))
			sequence_max = MAX_OF(sequence_max, total);
		items = nodes_for(total, level);
		items_max = MAX_OF(items_max, items);
	}
	if (items_max > e->item_capacity) {
		struct entry *grown = realloc(e->items, items_max * sizeof *grown);
		if (grown == NULL)
			return -E_NOMEM;
		e->items = grown;
		e->item_capacity = items_max;
	}
	if (sequence_max > 0) {
		e->sequence = malloc(sequence_max * sizeof *e->sequence);
		if (e->sequence == NULL)
			return -E_NOMEM;
	}
	return 0;
}

/* ---- apply ----------------------------------------------------------------------------------- */

static void node_adopt(struct node *node, uint32_t from, uint32_t to)
{
	for (uint32_t i = from; node->level > 0 && i < to; i++)
		if (node->entries[i].child != NULL)
			node->entries[i].child->parent = node;
}

/* Replace node's entries [from, to) by items, in place. */
static void node_splice(struct node *node, uint32_t from, uint32_t to, const struct entry *items,
			uint32_t item_count)
{
	ASSERT(node->count - (to - from) + item_count <= node->capacity);
	for (uint32_t i = from; i < to; i++) {
		node->bytes -= node->entries[i].length;
		node->data -= node->entries[i].data;
	}
	memmove(node->entries + from + item_count, node->entries + to,
		(node->count - to) * sizeof *node->entries);
	memcpy(node->entries + from, items, item_count * sizeof *items);
	node->count = node->count - (to - from) + item_count;
	for (uint32_t i = from; i < from + item_count; i++) {
		node->bytes += node->entries[i].length;
		node->data += node->entries[i].data;
	}
	node_adopt(node, from, from + item_count);
}

struct entry manifest_node_entry(struct node *node)
{
	return (struct entry){ .length = node->bytes, .data = node->data, .child = node };
}

static struct node *spare_take(struct edit *e)
{
	struct node *node = e->spares;

	ASSERT(node != NULL);
	DL_DELETE(e->spares, node);
	return node;
}

void manifest_node_fill(struct node *node, const struct entry *entries, uint32_t count)
{
	node->count = 0;
	node->bytes = node->data = 0;
	node_splice(node, 0, 0, entries, count);
}

/* Forget subtrees strictly between the paths at this level; those on them are items by now. */
static void drop_between(struct edit *e, uint8_t level)
{
	struct node *left = e->left.node[level], *right = e->right.node[level];
	uint32_t from = e->left.index[level] + 1, to = e->right.index[level];

	if (left == right) {
		for (uint32_t i = from; i + 1 < to; i++)
			manifest_entry_drop(e->m, &left->entries[i]);
		return;
	}
	for (uint32_t i = from; i < left->count; i++)
		manifest_entry_drop(e->m, &left->entries[i]);
	for (uint32_t i = 0; i + 1 < to; i++)
		manifest_entry_drop(e->m, &right->entries[i]);
}

/* What stays on the left, the items, what stays on the right. */
static void gather_sequence(struct edit *e, uint8_t level)
{
	struct node *left = e->left.node[level], *right = e->right.node[level];
	uint32_t before = left_count(e, level), behind = right_count(e, level);
	struct entry *at = e->sequence;

	if (before > 0)
		memcpy(at, left->entries, before * sizeof *at);
	at += before;
	if (e->item_count > 0)
		memcpy(at, e->items, e->item_count * sizeof *at);
	at += e->item_count;
	if (behind > 0)
		memcpy(at, right->entries + right->count - behind, behind * sizeof *at);
}

/* Spread the level's sequence over the paths' nodes and spares; these are the items above. */
static void apply_spread(struct edit *e, uint8_t level, uint32_t total)
{
	struct node *reuse[2];
	uint32_t reuse_count = path_nodes(e, level, reuse), count = nodes_for(total, level), at = 0;

	if (total > 0)
		gather_sequence(e, level);
	for (uint32_t i = 0; i < count; i++) {
		struct node *node = i < reuse_count ? reuse[i] : spare_take(e);
		uint32_t share = e->at_end ? MIN_OF(total - at, node_entries_max(level))
					   : (total - at) / (count - i);

		node->level = level;
		manifest_node_fill(node, e->sequence + at, share);
		manifest_node_dirty(e->m, node);
		e->items[i] = manifest_node_entry(node);
		at += share;
	}
	for (uint32_t i = count; i < reuse_count; i++)
		manifest_node_free(e->m, reuse[i]);
	e->item_count = count;
}

/* Pour the only item into the neighbour `to`, in front or behind, if it is here and has room. */
static bool pour(struct edit *e, struct node *to, bool behind)
{
	struct node *from = e->items[0].child;

	if (to == NULL || to->count + from->count > entries_high(to->level) ||
	    !manifest_node_reserve(to, to->count + from->count))
		return false;
	uint32_t at = behind ? to->count : 0;
	node_splice(to, at, at, from->entries, from->count);
	manifest_node_dirty(e->m, to);
	manifest_node_free(e->m, from);
	e->items[0] = manifest_node_entry(to);
	return true;
}

/*
 * If the level below came to one small node, pour it into a neighbour under the nodes of this
 * level, and widen the range here by that neighbour.
 */
static void apply_pour(struct edit *e, uint8_t level)
{
	const struct node *left = e->left.node[level], *right = e->right.node[level];
	uint32_t *from = &e->left.index[level], *to = &e->right.index[level];

	if (e->item_count != 1 || e->items[0].child->count >= entries_low((uint8_t)(level - 1)))
		return;
	if (*from > 0 && pour(e, left->entries[*from - 1].child, true))
		*from -= 1;
	else if (*to < right->count && pour(e, right->entries[*to].child, false))
		*to += 1;
}

static void apply_level(struct edit *e, uint8_t level)
{
	uint32_t total = left_count(e, level) + e->item_count + right_count(e, level);
	struct node *node = e->left.node[level];

	if (is_in_place(e, level, total)) {
		node_splice(node, e->left.index[level], e->right.index[level], e->items,
			    e->item_count);
		manifest_node_dirty(e->m, node);
		e->items[0] = manifest_node_entry(node);
		e->item_count = 1;
	} else {
		apply_spread(e, level, total);
	}
}

/* Put the items between the paths, from `level` up. Memory was planned: this cannot fail. */
static void edit_apply(struct edit *e, uint8_t level)
{
	struct manifest *m = e->m;
	uint8_t bottom = level;

	for (; has_level(m, level, e->item_count); level++) {
		if (level > bottom && level < m->depth) {
			drop_between(e, level);
			apply_pour(e, level);
		}
		apply_level(e, level);
	}
	m->top = e->item_count ? e->items[0] : (struct entry){ .length = 0 };
	m->depth = e->item_count ? level : 0;
	if (m->top.child != NULL)
		m->top.child->parent = NULL;
	manifest_collapse(m);
	m->is_dirty = true;
	m->is_needing = false;	/* the place that wanted a node may be gone */
	m->need_parent = NULL;
}

/* Plan and apply at `level`; the paths and items are set. */
int manifest_edit_run(struct edit *e, uint8_t level)
{
	int rc = edit_plan(e, level);

	if (rc == 0)
		edit_apply(e, level);
	manifest_edit_release(e);
	return rc;
}
