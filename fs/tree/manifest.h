/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A manifest: the content of a file as a B+tree of (length, id) entries, whose nodes are blocks.
 *
 * A leaf entry is a block (1 .. BLOCK_BYTES_MAX bytes) or a hole (zero id, any length > 0). Cut
 * points may fall anywhere. An inner entry is (bytes below, data bytes below, id of the node): what
 * of the content is data, and no hole, is known without looking at it, after any edit. Editing is
 * copy-on-write: the manifest in memory is the published tree plus dirty nodes; manifest_seal()
 * emits the dirty nodes, children first, and yields the new root.
 *
 * Node format (plain bytes of a block):
 *   0 4  magic "CRNM"     4 1  version 1     5 1  level (0 leaf)     6 2  zero
 *   8 4  entry count   12 4  zero   16 8  bytes below (sum of lengths)   24 8  data bytes below
 *   32   leaf: 1 .. NODE_ENTRIES_MAX entries of 40 bytes: length u64, id 32
 *        else: 1 .. NODE_CHILDREN_MAX entries of 48 bytes: length u64, data bytes u64, id 32
 * Readers check level, length and data bytes against the parent and never guess from content.
 *
 * Pure: no I/O. A call that needs a node that is not in memory returns -E_NEED_NODE and
 * manifest_needed() names it; the caller fetches that block, gives it to manifest_supply(), and
 * calls again. Calls that return -E_NEED_NODE have changed nothing.
 * Where several operations wait for nodes, one may have edited or asked meanwhile. So when bytes
 * arrive: repeat the call, and supply them only if it asks for that id.
 * Memory: clean nodes are kept up to `nodes_max` (or one path, if that is more) and dropped least
 * recently used; dirty nodes are counted by manifest_dirty_count(), and the owner seals when there
 * are too many (I11).
 * Ownership: the manifest owns its nodes. Threads: one at a time.
 */
#ifndef CAIRN_FS_TREE_MANIFEST_H
#define CAIRN_FS_TREE_MANIFEST_H

#include "fs/tree/root.h"

struct manifest;

/* One leaf entry with its place in the file. */
struct extent {
	uint64_t offset;	/* of its first byte in the file */
	uint64_t length;	/* > 0; <= BLOCK_BYTES_MAX unless a hole */
	struct block_id id;	/* zero: a hole */
};

/* Open on a root of kind empty, block or node (inline content has no manifest: -E_INVAL). */
must_check int manifest_create(const struct root *root, enum hash_kind hash, uint32_t nodes_max,
			       struct manifest **out);
void manifest_destroy(struct manifest *m);	/* NULL is allowed; dirty nodes are dropped */

uint64_t manifest_bytes(const struct manifest *m);	/* length of the file as edited */
uint64_t manifest_data_bytes(const struct manifest *m);	/* of them, those that are no holes */
bool manifest_is_dirty(const struct manifest *m);
/* nodes that seal would emit, about */
uint32_t manifest_dirty_count(const struct manifest *m);

/*
 * The node that the last -E_NEED_NODE asked for: its id, and the plain length is at most a block.
 */
const struct block_id *manifest_needed(const struct manifest *m);
/*
 * Give the plain bytes of that node. -E_CORRUPT: not of that id; -E_MALFORMED: not what the parent
 * says; -E_NOMEM. If nothing is needed any more (an edit came between), 0 and nothing is done.
 */
must_check int manifest_supply(struct manifest *m, const void *bytes, uint32_t len);

/* The entry that covers `offset` (< manifest_bytes). 0, -E_NEED_NODE, -E_RANGE past the end. */
must_check int manifest_lookup(struct manifest *m, uint64_t offset, struct extent *out);

/*
 * Replace [offset, offset + length) by `count` entries (offsets in them are ignored). The range
 * must begin and end at entry boundaries, inside a hole, or at the end of the file; else -E_INVAL,
 * with nothing changed: read-modify-write of a partly covered block is the caller's. offset ==
 * bytes appends; count == 0 removes the range and moves the rest up (truncate: a range up to the
 * end). Neighbouring holes are merged. -E_NEED_NODE, -E_FBIG (size or depth), -E_NOMEM.
 */
must_check int manifest_replace(struct manifest *m, uint64_t offset, uint64_t length,
				const struct extent *entries, uint32_t count);

/*
 * Append the whole content of another root (not inline: -E_INVAL) by reference: concatenation.
 * Holes that meet at the seam stay two entries. -E_NEED_NODE, -E_FBIG (size or depth), -E_NOMEM.
 */
must_check int manifest_append_root(struct manifest *m, const struct root *root);

/*
 * Emit every dirty node, children before parents: fn(arg, id, plain bytes, len) must keep or store
 * the node; if it returns < 0 sealing stops with that code and may be called again. At the end
 * *out is the new root and all nodes are clean. A tree that became small is emitted in its
 * canonical form: no content is ROOT_EMPTY, exactly one block is ROOT_BLOCK, an inner node with
 * one child is replaced by the child. After an edit its cutter is 0: who cut it by content says so
 * in the root himself.
 */
typedef int (*manifest_emit_fn)(void *arg, const struct block_id *id, const void *bytes,
				uint32_t len);
must_check int manifest_seal(struct manifest *m, manifest_emit_fn emit, void *arg,
			     struct root *out);

/*
 * Check and walk a node's plain bytes as foreign data, without a manifest: for marks, fsck, dump.
 * -E_MALFORMED unless level, length and data bytes are as expected (from parent or root; the id of
 * `expected` is not looked at) and all is in bounds.
 */
struct node_entry {
	uint64_t length;
	uint64_t data;		/* of the length, what is no hole */
	struct block_id id;	/* zero: a hole */
};
struct node_view {
	const uint8_t *bytes;
	uint8_t level;
	uint32_t entry_count;
	uint64_t length;
	uint64_t data;
};
must_check int node_view_init(struct node_view *v, const void *bytes, uint32_t len, uint8_t level,
			      const struct node_entry *expected);
struct node_entry node_view_entry(const struct node_view *v, uint32_t index);
/* What a root of kind block or node says, as if it were an entry. */
static inline struct node_entry node_entry_of_root(const struct root *root)
{
	return (struct node_entry){ .length = root->length, .data = root_data_bytes(root),
				    .id = root->id };
}

#endif
