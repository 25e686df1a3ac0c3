/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The root descriptor: what an inode's content is. 56 bytes on disk and wire, for ever:
 *
 *   offset size
 *      0    1   kind: 0 empty, 1 inline, 2 block, 3 node
 *      1    1   depth: 0 for empty, inline, block; levels of nodes for a node (1: a leaf)
 *      2    1   cutter: version of the rules by which a node's content was cut (cut.h); 0: on the
 *               grid, or unknown, as after any edit
 *      3    5   zero
 *      8    8   length of the content in bytes
 *     16    8   data bytes of a node: the length less its holes; zero for the others
 *     24   32   id of the block or node; zero for empty and inline
 *
 * It says what it names, so user data that looks like a node is still data. "inline" means the
 * bytes lie beside the inode in the metadata server. Pure; threads: any.
 */
#ifndef CAIRN_FS_TREE_ROOT_H
#define CAIRN_FS_TREE_ROOT_H

#include "fs/hash/block_id.h"

#define ROOT_BYTES 56u

enum root_kind { ROOT_EMPTY = 0, ROOT_INLINE = 1, ROOT_BLOCK = 2, ROOT_NODE = 3 };

struct root {
	enum root_kind kind;
	uint8_t depth;
	uint8_t cutter;		/* of a node only */
	uint64_t length;
	uint64_t data;		/* of a node only; root_data_bytes() tells it of any */
	struct block_id id;
};

void root_encode(const struct root *root, uint8_t out[ROOT_BYTES]);
/* -E_MALFORMED unless kind, depth, length and id agree with each other (table above). */
must_check int root_decode(const uint8_t in[ROOT_BYTES], struct root *out);
bool root_equal(const struct root *a, const struct root *b);
/*
 * May `again` be the same bytes as `root`, cut at other places? As far as the descriptors tell:
 * both are nodes, of one length, with as many bytes of data.
 */
bool root_is_recut(const struct root *root, const struct root *again);
/* Does it name blocks? Inline and empty content has none. */
static inline bool root_has_blocks(const struct root *root)
{
	return root->kind == ROOT_BLOCK || root->kind == ROOT_NODE;
}
/* How many bytes of the content are data: what st_blocks tells, and quotas charge. */
static inline uint64_t root_data_bytes(const struct root *root)
{
	return root->kind == ROOT_NODE ? root->data : root->length;
}

#endif
