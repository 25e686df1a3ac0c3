/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Places of chunks: which bytes of a file an edit at some byte has to take into memory.
 * Private to the edits of client/core. Loop's thread.
 */
#ifndef CAIRN_CLIENT_CORE_PLACE_H
#define CAIRN_CLIENT_CORE_PLACE_H

#include "client/core/file.h"

struct cl_place {
	uint64_t start;
	uint32_t cap;
	uint32_t block_len;		/* of the block that it replaces; 0: none */
	struct block_id id;
};

/* Where the manifest ends; 0 without one. */
uint64_t cl_place_manifest_end(const struct cl_file *file);
/* By manifest and grid, whatever chunks there are. 0, 1 (waits), or an error. */
must_check int cl_place_find(struct cl_file *file, uint64_t pos, struct cl_place *out);
/* The bytes that a chunk begins with; a reference. 0, 1 (waits), or an error. */
must_check int cl_place_block(struct cl_file *file, const struct cl_place *place,
			      struct buf **out);
/*
 * For steps: the chunk that an edit of [pos, pos + len) needs, with what it held unless the edit
 * covers it whole; *out_len is how much of the edit it takes. 0, 1 (waits), or an error.
 */
must_check int cl_place_chunk(struct cl_op *op, uint64_t pos, uint64_t len,
			      struct cl_chunk **out, uint32_t *out_len);

#endif
