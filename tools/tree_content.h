/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pieces of a file of a running cluster by offset, without a mount: for who reads headers. Keeps
 * the nodes and the block that it read last. Threads: one.
 */
#ifndef CAIRN_TOOLS_TREE_CONTENT_H
#define CAIRN_TOOLS_TREE_CONTENT_H

#include "fs/tree/tensors.h"
#include "tools/tree_reader.h"

struct tree_content;

/* Of a root that names blocks. NULL: out of memory. */
struct tree_content *tree_content_create(struct tree_reader *r, const struct root *root);
void tree_content_destroy(struct tree_content *c); /* NULL is allowed */
/* A source of tensors_walk(): 0, or why the bytes cannot be had. Holes are zeros. */
must_check int tree_content_read(void *content, uint64_t offset, uint32_t len, const void **bytes);

#endif
