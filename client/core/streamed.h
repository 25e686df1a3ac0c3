/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file that is written from its begin to its end is cut by content at once (stream.h). Any other
 * edit ends that, and the rest lies on the grid until the file is sealed. Loop's thread.
 */
#ifndef CAIRN_CLIENT_CORE_STREAMED_H
#define CAIRN_CLIENT_CORE_STREAMED_H

#include "client/core/file.h"
#include "client/core/stream.h"

/*
 * A write at `pos` is next. What is too small to be cut is only known behind INLINE_BYTES_MAX:
 * there the cutter begins, with what was gathered.
 */
void cl_streamed_at(struct cl_file *file, uint64_t pos);
/* The `count` bytes of the chunk from `from` on were written: how many of them it keeps. */
uint32_t cl_streamed_feed(struct cl_chunk *chunk, uint32_t from, uint32_t count);
/* No further: something else was edited, or given up. */
void cl_streamed_end(struct cl_file *file);
/* Are the first `length` bytes all, and cut as content says? */
bool cl_streamed_is_whole(const struct cl_file *file, uint64_t length);

#endif
