/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cutting while writing: what is written from its begin to its end, as cp does, is cut by content
 * at once (fs/tree/cut.h), as sealing would do it later; so no byte is stored twice.
 *
 * The header of a model file comes before what it tells of, in safetensors, GGUF and .npy. Where it
 * does not (zip, ONNX) blocks begin at anchors only, and the file is cut again when it is sealed.
 *
 * Pure; one thread. Memory: the header while it is read, 16 MiB at most and within a budget that
 * all streams share, and its tensors. Where either is too small, the seal does the rest.
 */
#ifndef CAIRN_CLIENT_CORE_STREAM_H
#define CAIRN_CLIENT_CORE_STREAM_H

#include "fs/base/base.h"

struct cl_cutter;

struct cl_stream_budget {
	uint64_t used, max;		/* bytes of headers */
};

/* At the begin of a file. The budget outlives it. NULL: no memory. */
struct cl_cutter *cl_stream_create(struct cl_stream_budget *budget);
void cl_stream_destroy(struct cl_cutter *s);	/* may be NULL */

uint64_t cl_stream_at(const struct cl_cutter *s);	/* the next byte */
uint64_t cl_stream_block(const struct cl_cutter *s);	/* where the block under way begins */
/* Is what was fed cut as its content alone says, so that sealing would change nothing? */
bool cl_stream_is_final(const struct cl_cutter *s);

/*
 * The bytes from cl_stream_at() on: how many of them belong to the block under way, at least one.
 * Where *ends, it is whole with these; else all were taken.
 */
must_check uint32_t cl_stream_feed(struct cl_cutter *s, const void *bytes, uint32_t len,
				   bool *ends);

#endif
