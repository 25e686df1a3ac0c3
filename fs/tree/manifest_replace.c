/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replacing ranges and appending whole contents: everything is looked at first, which is where
 * -E_NEED_NODE can come from; the range is widened over holes that are cut or merged; then the edit
 * runs.
 */
#include "fs/tree/manifest_edit.h"

#include <stdlib.h>

/* ---- paths ----------------------------------------------------------------------------------- */

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

/*
 * `first` is the entry at the range's start: if it ends where the range does, that is a boundary.
 */
static int range_end(struct manifest *m, bool may_merge, const struct extent *first,
		     struct range *r)
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
		e->items[e->item_count++] = (struct entry){
			.length = length, .data = block_id_is_zero(id) ? 0 : length, .id = *id
		};
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

/*
 * All of the content is replaced: the old tree need not be loaded, and goes when nothing can fail.
 */
static int replace_all(struct edit *e)
{
	struct manifest *m = e->m;
	struct entry top = m->top;
	uint8_t depth = m->depth;

	m->top = (struct entry){ .length = 0 };
	m->depth = 0;
	int rc = manifest_edit_run(e, 0);
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
	return is_all ? replace_all(&e) : manifest_edit_run(&e, 0);
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
	/*
	 * The leaf of a root that names a block has no id of its own yet: it must be emitted now.
	 */
	if (m->top.child != NULL && !m->top.child->is_cached)
		manifest_node_dirty(m, m->top.child);
	while (m->depth < depth) {
		struct node *node = manifest_node_create(m->depth, 1);
		if (node == NULL)
			return -E_NOMEM;
		manifest_node_fill(node, &m->top, 1);
		manifest_node_dirty(m, node);
		m->top = manifest_node_entry(node);
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
		m->top = (struct entry){ .length = root->length, .data = root->data,
					 .id = root->id };
		m->depth = root->depth;
		m->is_dirty = true;
		return 0;
	}
	e.items = malloc(e.item_capacity * sizeof *e.items);
	if (e.items == NULL)
		return -E_NOMEM;
	e.items[0] = (struct entry){ .length = root->length, .data = root->data, .id = root->id };
	e.item_count = 1;
	rc = root->depth < m->depth ? append_below(m, root, &e) : append_beside(m, root, &e);
	if (rc == 0)
		rc = manifest_edit_run(&e, root->depth);
	else
		manifest_edit_release(&e);
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
