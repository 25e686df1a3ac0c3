/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sealing: dirty nodes become blocks, children before parents, so that a root never names what was
 * not emitted. Each node is clean as soon as it was emitted: a seal that failed goes on where it
 * was.
 */
#include "fs/base/bytes.h"
#include "fs/tree/manifest_internal.h"

#include <stdlib.h>

struct seal {
	struct manifest *m;
	manifest_emit_fn emit;
	void *arg;
	uint8_t *bytes;		/* of the node being emitted */
};

static uint32_t node_encode(const struct node *node, uint8_t *out)
{
	struct wr w = wr_init(out, BLOCK_BYTES_MAX);

	wr_u32(&w, NODE_MAGIC);
	wr_u8(&w, NODE_VERSION);
	wr_u8(&w, node->level);
	wr_zeros(&w, 2);
	wr_u32(&w, node->count);
	wr_zeros(&w, 4);
	wr_u64(&w, node->bytes);
	wr_u64(&w, node->data);
	for (uint32_t i = 0; i < node->count; i++) {
		wr_u64(&w, node->entries[i].length);
		if (node->level > 0)
			wr_u64(&w, node->entries[i].data);
		wr_bytes(&w, node->entries[i].id.bytes, BLOCK_ID_BYTES);
	}
	ASSERT(wr_ok(&w));
	return (uint32_t)wr_len(&w);
}

/* At most MANIFEST_DEPTH_MAX deep. */
static int seal_entry(struct seal *s, struct entry *entry)
{
	struct node *node = entry->child;

	if (node == NULL || !node->is_dirty)
		return 0;
	for (uint32_t i = 0; node->level > 0 && i < node->count; i++) {
		int rc = seal_entry(s, &node->entries[i]);
		if (rc < 0)
			return rc;
	}
	uint32_t len = node_encode(node, s->bytes);
	struct node_entry said = { .length = entry->length, .data = entry->data };
	struct node_view view;
	ASSERT_SLOW(node_view_init(&view, s->bytes, len, node->level, &said) == 0);
	(void)view;	/* only the slow assertion looks at them */
	(void)said;
	struct block_id id;
	block_id_of(s->m->hash, s->bytes, len, &id);
	int rc = s->emit(s->arg, &id, s->bytes, len);
	if (rc < 0)
		return rc;
	entry->id = id;
	manifest_node_clean(s->m, node);
	return 0;
}

static bool is_one_block(const struct manifest *m)
{
	const struct node *top = m->top.child;

	return m->depth == 1 && top != NULL && top->count == 1 && !entry_is_hole(&top->entries[0]);
}

static int seal_node(struct manifest *m, manifest_emit_fn emit, void *arg, struct root *out)
{
	struct seal s = { .m = m, .emit = emit, .arg = arg, .bytes = malloc(BLOCK_BYTES_MAX) };

	if (s.bytes == NULL)
		return -E_NOMEM;
	int rc = seal_entry(&s, &m->top);
	free(s.bytes);
	*out = (struct root){
		.kind = ROOT_NODE, .depth = m->depth, .length = m->top.length,
		.data = m->top.data, .id = m->top.id
	};
	return rc;
}

int manifest_seal(struct manifest *m, manifest_emit_fn emit, void *arg, struct root *out)
{
	int rc = 0;

	if (!m->is_dirty) {
		*out = m->root;
		return 0;
	}
	manifest_collapse(m);
	if (m->depth == 0) {
		*out = (struct root){ .kind = ROOT_EMPTY };
	} else if (is_one_block(m)) {
		*out = (struct root){ .kind = ROOT_BLOCK, .length = m->top.length,
				      .id = m->top.child->entries[0].id };
		manifest_node_keep(m, m->top.child);
	} else {
		rc = seal_node(m, emit, arg, out);
	}
	if (rc < 0)
		return rc;
	m->root = *out;
	m->is_dirty = false;
	return manifest_end(m, 0);
}
