/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Editing: a range between two entry boundaries becomes other entries, copy-on-write.
 *
 * Three phases. First find: load what is needed and widen the range over holes that are cut or
 * merged; -E_NEED_NODE can only come from here. Then plan: from the counts along the two paths
 * follows, level by level, how many nodes there will be; all memory is taken. Then apply, from
 * the leaves up, which cannot fail: at each level the entries left of the range, the new ones and
 * those right of it form one sequence, which is spread over the nodes of the two paths and new ones.
 *
 * Splits at the end of the file fill the left node, so that streaming writes make full nodes; other
 * splits share evenly. A node below a quarter is poured into a neighbour that is in memory; a
 * neighbour is never fetched for that.
 */
#include "fs/tree/manifest_internal.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define NODE_ENTRIES_LOW  (NODE_ENTRIES_MAX / 4)
#define NODE_ENTRIES_HIGH (NODE_ENTRIES_MAX / 4 * 3)

/* For each level of the tree, from 0: a node, and an index among its entries. */
struct path {
	struct node *node[MANIFEST_DEPTH_MAX];
	uint32_t index[MANIFEST_DEPTH_MAX];
};

struct edit {
	struct manifest *m;
	struct path left;	/* index: first entry that goes, or holds what goes */
	struct path right;	/* index: first entry behind it that stays */
	bool at_end;		/* of the file: split full-left */
	struct entry *items;	/* what comes between, at the level being worked on */
	uint32_t item_count;
	uint32_t item_capacity;
	struct entry *sequence;	/* room for the longest sequence that is spread over nodes anew */
	struct node *spares;
};

static uint32_t left_count(const struct edit *e, uint8_t level)
{
	return e->left.node[level] ? e->left.index[level] : 0;
}

static uint32_t right_count(const struct edit *e, uint8_t level)
{
	const struct node *right = e->right.node[level];

	return right ? right->count - e->right.index[level] : 0;
}

static uint32_t nodes_for(uint32_t entry_count)
{
	return DIV_CEIL(entry_count, NODE_ENTRIES_MAX);
}

/* Does the level's sequence fit the one node that both paths go through? */
static bool is_in_place(const struct edit *e, uint8_t level, uint32_t total)
{
	return e->left.node[level] != NULL && e->left.node[level] == e->right.node[level] &&
	       total >= 1 && total <= NODE_ENTRIES_MAX;
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
	uint32_t room = MIN_OF(total, NODE_ENTRIES_MAX);

	for (uint32_t i = 0; i < have_count; i++)
		if (!manifest_node_reserve(have[i], room))
			return -E_NOMEM;
	for (uint32_t i = have_count; i < nodes_for(total); i++) {
		struct node *node = manifest_node_create(level, room);
		if (node == NULL)
			return -E_NOMEM;
		DL_APPEND(e->spares, node);
	}
	return 0;
}

static void edit_release(struct edit *e)
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
		items = nodes_for(total);
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
	for (uint32_t i = from; i < to; i++)
		node->bytes -= node->entries[i].length;
	memmove(node->entries + from + item_count, node->entries + to,
		(node->count - to) * sizeof *node->entries);
	memcpy(node->entries + from, items, item_count * sizeof *items);
	node->count = node->count - (to - from) + item_count;
	for (uint32_t i = from; i < from + item_count; i++)
		node->bytes += node->entries[i].length;
	node_adopt(node, from, from + item_count);
}

static struct entry entry_for(struct node *node)
{
	return (struct entry){ .length = node->bytes, .child = node };
}

static struct node *spare_take(struct edit *e)
{
	struct node *node = e->spares;

	ASSERT(node != NULL);
	DL_DELETE(e->spares, node);
	return node;
}

static void node_fill(struct node *node, const struct entry *entries, uint32_t count)
{
	node->count = 0;
	node->bytes = 0;
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
	uint32_t reuse_count = path_nodes(e, level, reuse), count = nodes_for(total), at = 0;

	if (total > 0)
		gather_sequence(e, level);
	for (uint32_t i = 0; i < count; i++) {
		struct node *node = i < reuse_count ? reuse[i] : spare_take(e);
		uint32_t share = e->at_end ? MIN_OF(total - at, NODE_ENTRIES_MAX)
					   : (total - at) / (count - i);

		node->level = level;
		node_fill(node, e->sequence + at, share);
		manifest_node_dirty(e->m, node);
		e->items[i] = entry_for(node);
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

	if (to == NULL || to->count + from->count > NODE_ENTRIES_HIGH ||
	    !manifest_node_reserve(to, to->count + from->count))
		return false;
	uint32_t at = behind ? to->count : 0;
	node_splice(to, at, at, from->entries, from->count);
	manifest_node_dirty(e->m, to);
	manifest_node_free(e->m, from);
	e->items[0] = entry_for(to);
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

	if (e->item_count != 1 || e->items[0].child->count >= NODE_ENTRIES_LOW)
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
		e->items[0] = entry_for(node);
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
static int edit_run(struct edit *e, uint8_t level)
{
	int rc = edit_plan(e, level);

	if (rc == 0)
		edit_apply(e, level);
	edit_release(e);
	return rc;
}

/* ---- find ------------------------------------------------------------------------------------ */

/* Which entry of node holds the byte at `at` (relative)? Moves *at to be relative to the entry. */
static uint32_t index_of(const struct node *node, uint64_t *at)
{
	uint32_t index = 0;
	const struct entry *last = &node->entries[node->count - 1];

	if (*at >= node->bytes - last->length) {	/* appending writers are always here */
		*at -= node->bytes - last->length;
		return node->count - 1;
	}
	for (; *at >= node->entries[index].length; index++)
		*at -= node->entries[index].length;
	return index;
}

/* The path to the entry that holds `offset`, down to `floor`. */
static int path_find(struct manifest *m, uint64_t offset, uint8_t floor, struct path *out)
{
	struct node *node = NULL;
	uint32_t index = 0;

	ASSERT(offset < m->top.length);
	for (uint8_t level = m->depth; level-- > floor;) {
		int rc = manifest_load(m, node, index, &node);
		if (rc < 0)
			return rc;
		index = index_of(node, &offset);
		out->node[level] = node;
		out->index[level] = index;
	}
	manifest_touch(m, node);
	return 0;
}

static void path_step(struct path *path, uint8_t from_level, uint8_t depth)
{
	for (uint8_t level = from_level; level < depth; level++)
		path->index[level]++;
}

/* Paths around [start, end), whose ends are entry boundaries. */
static int edit_find(struct edit *e, uint64_t start, uint64_t end)
{
	struct manifest *m = e->m;
	bool is_insert = start == end;
	int rc;

	if (is_insert && start > 0) {
		/* Behind the entry before: an append goes to the last leaf. */
		rc = path_find(m, start - 1, 0, &e->left);
		e->left.index[0]++;
		e->right = e->left;
		path_step(&e->right, 1, m->depth);
		return rc;
	}
	rc = path_find(m, start, 0, &e->left);
	if (rc < 0)
		return rc;
	if (is_insert) {
		e->right = e->left;
		path_step(&e->right, 1, m->depth);
		return 0;
	}
	rc = path_find(m, end - 1, 0, &e->right);
	path_step(&e->right, 0, m->depth);
	return rc;
}

/* The range that is really replaced, and the parts of holes at its ends that stay. */
struct range {
	uint64_t start, end;
	uint64_t head, tail;
};

static bool extent_is_hole(const struct extent *x)
{
	return block_id_is_zero(&x->id);
}

static int range_start(struct manifest *m, bool may_merge, struct range *r, struct extent *x)
{
	int rc;

	if (r->start < m->top.length) {
		rc = manifest_find(m, r->start, x);
		if (rc < 0)
			return rc;
		if (x->offset < r->start) {
			if (!extent_is_hole(x))
				return -E_INVAL;
			r->head = r->start - x->offset;
			r->start = x->offset;
			return 0;
		}
	}
	if (!may_merge || r->start == 0)
		return 0;
	struct extent before;
	rc = manifest_find(m, r->start - 1, &before);
	if (rc == 0 && extent_is_hole(&before)) {
		r->head = before.length;
		r->start = before.offset;
	}
	return rc;
}

/* `first` is the entry at the range's start: if it ends where the range does, that is a boundary. */
static int range_end(struct manifest *m, bool may_merge, const struct extent *first, struct range *r)
{
	struct extent x;

	if (r->end == m->top.length)
		return 0;
	if (!may_merge && first->length > 0 && r->end == first->offset + first->length)
		return 0;
	int rc = manifest_find(m, r->end, &x);
	if (rc < 0)
		return rc;
	if (x.offset < r->end && !extent_is_hole(&x))
		return -E_INVAL;
	if (x.offset < r->end || (may_merge && extent_is_hole(&x))) {
		r->tail = x.offset + x.length - r->end;
		r->end = x.offset + x.length;
	}
	return 0;
}

/* Widen the range over the holes that it cuts, or that meet holes among the new entries. */
static int range_widen(struct manifest *m, const struct extent *entries, uint32_t count,
		       struct range *r)
{
	struct extent first = { .length = 0 };
	bool to_the_end = r->end == m->top.length;
	bool hole_first = count ? extent_is_hole(&entries[0]) : !to_the_end;

	if (r->start == 0 && to_the_end)
		return 0;
	int rc = range_start(m, hole_first, r, &first);
	if (rc < 0)
		return rc;
	bool hole_last = count ? extent_is_hole(&entries[count - 1]) : r->head > 0;
	return range_end(m, hole_last, &first, r);
}

static void item_add(struct edit *e, uint64_t length, const struct block_id *id)
{
	struct entry *last = e->item_count ? &e->items[e->item_count - 1] : NULL;

	if (length == 0)
		return;
	if (last != NULL && block_id_is_zero(id) && block_id_is_zero(&last->id))
		last->length += length;
	else
		e->items[e->item_count++] = (struct entry){ .length = length, .id = *id };
}

/* The new entries with what stays of the holes around them, neighbouring holes merged. */
static int edit_items(struct edit *e, const struct extent *entries, uint32_t count,
		      const struct range *r)
{
	static const struct block_id hole;

	e->item_capacity = count + 2;
	e->items = malloc(e->item_capacity * sizeof *e->items);
	if (e->items == NULL)
		return -E_NOMEM;
	item_add(e, r->head, &hole);
	for (uint32_t i = 0; i < count; i++)
		item_add(e, entries[i].length, &entries[i].id);
	item_add(e, r->tail, &hole);
	return 0;
}

static int check_entries(const struct manifest *m, uint64_t length, const struct extent *entries,
			 uint32_t count)
{
	uint64_t left = FILE_BYTES_MAX - (m->top.length - length);

	for (uint32_t i = 0; i < count; i++) {
		const struct extent *x = &entries[i];

		if (x->length == 0 || (x->length > BLOCK_BYTES_MAX && !extent_is_hole(x)))
			return -E_INVAL;
		if (x->length > left)
			return -E_FBIG;
		left -= x->length;
	}
	return 0;
}

/* All of the content is replaced: the old tree need not be loaded, and goes when nothing can fail. */
static int replace_all(struct edit *e)
{
	struct manifest *m = e->m;
	struct entry top = m->top;
	uint8_t depth = m->depth;

	m->top = (struct entry){ .length = 0 };
	m->depth = 0;
	int rc = edit_run(e, 0);
	if (rc < 0) {
		m->top = top;
		m->depth = depth;
		return rc;
	}
	manifest_entry_drop(m, &top);
	return 0;
}

static int replace(struct manifest *m, uint64_t offset, uint64_t length,
		   const struct extent *entries, uint32_t count)
{
	struct edit e = { .m = m };
	struct range r = { .start = offset, .end = offset + length };
	int rc = range_widen(m, entries, count, &r);

	if (rc < 0)
		return rc;
	bool is_all = r.start == 0 && r.end == m->top.length;
	if (!is_all) {
		rc = edit_find(&e, r.start, r.end);
		if (rc < 0)
			return rc;
	}
	rc = edit_items(&e, entries, count, &r);
	if (rc < 0)
		return rc;
	e.at_end = r.end == m->top.length;
	return is_all ? replace_all(&e) : edit_run(&e, 0);
}

int manifest_replace(struct manifest *m, uint64_t offset, uint64_t length,
		     const struct extent *entries, uint32_t count)
{
	if (offset > m->top.length || length > m->top.length - offset)
		return -E_INVAL;
	int rc = check_entries(m, length, entries, count);
	if (rc < 0)
		return rc;
	if (length == 0 && count == 0)
		return 0;
	return manifest_end(m, replace(m, offset, length, entries, count));
}

/* ---- append_root ----------------------------------------------------------------------------- */

/* Raise the tree to `depth` levels by tops of one entry. */
static int raise_top(struct manifest *m, uint8_t depth)
{
	/* The leaf of a root that names a block has no id of its own yet: it must be emitted now. */
	if (m->top.child != NULL && !m->top.child->is_cached)
		manifest_node_dirty(m, m->top.child);
	while (m->depth < depth) {
		struct node *node = manifest_node_create(m->depth, 1);
		if (node == NULL)
			return -E_NOMEM;
		node_fill(node, &m->top, 1);
		manifest_node_dirty(m, node);
		m->top = entry_for(node);
		m->depth++;
	}
	return 0;
}

/* The other tree is at least as deep: both become children of a new top. */
static int append_beside(struct manifest *m, const struct root *root, struct edit *e)
{
	if (root->depth >= MANIFEST_DEPTH_MAX)
		return -E_FBIG;
	int rc = raise_top(m, root->depth);
	if (rc < 0)
		return rc;
	e->items[1] = e->items[0];
	e->items[0] = m->top;
	e->item_count = 2;
	return 0;
}

/* The other tree is flatter: it becomes the last child of the node of its level. */
static int append_below(struct manifest *m, const struct root *root, struct edit *e)
{
	int rc = path_find(m, m->top.length - 1, root->depth, &e->left);

	if (rc < 0)
		return rc;
	e->left.index[root->depth]++;
	e->right = e->left;
	path_step(&e->right, (uint8_t)(root->depth + 1), m->depth);
	return 0;
}

static int append_node(struct manifest *m, const struct root *root)
{
	struct edit e = { .m = m, .at_end = true, .item_capacity = 2 };
	int rc;

	if (m->depth == 0) {
		m->top = (struct entry){ .length = root->length, .id = root->id };
		m->depth = root->depth;
		m->is_dirty = true;
		return 0;
	}
	e.items = malloc(e.item_capacity * sizeof *e.items);
	if (e.items == NULL)
		return -E_NOMEM;
	e.items[0] = (struct entry){ .length = root->length, .id = root->id };
	e.item_count = 1;
	rc = root->depth < m->depth ? append_below(m, root, &e) : append_beside(m, root, &e);
	if (rc == 0)
		rc = edit_run(&e, root->depth);
	else
		edit_release(&e);
	if (rc < 0 && rc != -E_NEED_NODE)
		manifest_collapse(m);	/* what raise_top made */
	return rc;
}

int manifest_append_root(struct manifest *m, const struct root *root)
{
	struct extent block = { .length = root->length, .id = root->id };

	switch (root->kind) {
	case ROOT_EMPTY:
		return 0;
	case ROOT_BLOCK:
		return manifest_replace(m, m->top.length, 0, &block, 1);
	case ROOT_NODE:
		if (root->length > FILE_BYTES_MAX - m->top.length)
			return -E_FBIG;
		return manifest_end(m, append_node(m, root));
	default:
		return -E_INVAL;
	}
}
