/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cutting: where the blocks of newly written bytes begin and end. Today a fixed grid of
 * BLOCK_BYTES_MAX from the file's start; a manifest allows cuts anywhere, so cutting at tensor
 * starts can come here without touching a format. Pure; threads: any.
 *
 * To cut [offset, end):
 *	for (at = offset; at < end; at = next)
 *		next = cut_next(at, end);	the block is [at, next)
 * A write into a block that exists reads, changes and replaces [cut_start(at), cut_next(at, end)).
 */
#ifndef CAIRN_FS_TREE_CUT_H
#define CAIRN_FS_TREE_CUT_H

#include "fs/base/base.h"

/* Start of the grid block that covers `offset`. */
uint64_t cut_start(uint64_t offset);
/* End of the grid block that covers `offset`, but at most `end` (> offset). */
uint64_t cut_next(uint64_t offset, uint64_t end);
/* How many blocks [offset, end) is cut into; 0 if it is empty. */
uint64_t cut_count(uint64_t offset, uint64_t end);

#endif
