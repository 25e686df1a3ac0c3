/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the cutter's words to chunks.
 */
#include "client/core/streamed.h"

#include <string.h>

#define PIECES_MAX 16u	/* of the first bytes; where there would be more, none are made */

void cl_streamed_end(struct cl_file *file)
{
	cl_stream_destroy(file->stream);
	file->stream = NULL;
}

bool cl_streamed_is_whole(const struct cl_file *file, uint64_t length)
{
	return file->stream && cl_stream_is_final(file->stream) &&
	       cl_stream_at(file->stream) == length;
}

/* The bytes of the chunk from `at` on become one of their own. */
static int split(struct cl_chunk *chunk, uint32_t at)
{
	struct cl_chunk *behind;
	uint32_t len = chunk->len - at;
	int rc = cl_chunk_make(chunk->file, chunk->start + at, len, &behind);
	if (rc < 0)
		return rc;
	rc = cl_chunk_reserve(behind, 0, len);
	if (rc < 0) {
		cl_chunk_drop(behind);
		return rc;
	}
	memcpy(behind->buf->data, chunk->buf->data + at, len);
	behind->len = len;
	cl_chunk_dirty(behind);
	chunk->len = at;
	cl_chunk_end(chunk, at);
	return 0;
}

/* Cut what was gathered; the last piece goes on. */
static int cut_first(struct cl_file *file, struct cl_chunk *first)
{
	uint32_t at[PIECES_MAX], count = 0;
	for (uint32_t pos = 0; pos < first->len;) {
		bool ends;
		pos += cl_stream_feed(file->stream, first->buf->data + pos, first->len - pos,
				      &ends);
		if (ends && pos < first->len && count == PIECES_MAX)
			return -E_RANGE;
		if (ends && pos < first->len)
			at[count++] = pos;
	}
	for (uint32_t i = count; i > 0; i--) {
		int rc = split(first, at[i - 1]);
		if (rc < 0)
			return rc;
	}
	struct cl_chunk *last = file->chunks[file->chunk_count - 1];
	if (cl_stream_block(file->stream) == last->start)
		last->cap = BLOCK_BYTES_MAX;
	return 0;
}

/* Nothing but the first bytes, in memory, and nobody else may write behind them. */
static struct cl_chunk *first_of(struct cl_file *file)
{
	struct cl_chunk *first = file->chunk_count == 1 ? file->chunks[0] : NULL;
	bool is_alone = first && first->start == 0 && first->len == INLINE_BYTES_MAX &&
			file->size == INLINE_BYTES_MAX && !file->is_alone &&
			first->put_state == CL_PUT_NONE;
	return is_alone && (!file->manifest || manifest_bytes(file->manifest) == 0) ? first : NULL;
}

void cl_streamed_at(struct cl_file *file, uint64_t pos)
{
	struct cl_chunk *first;
	if (file->stream && pos != cl_stream_at(file->stream))
		cl_streamed_end(file);
	if (file->stream || pos != INLINE_BYTES_MAX || (first = first_of(file)) == NULL)
		return;
	file->stream = cl_stream_create(&file->client->stream_heads);
	if (file->stream && cut_first(file, first) < 0)
		cl_streamed_end(file);	/* memory is short: what is cut so far does no harm */
}

uint32_t cl_streamed_feed(struct cl_chunk *chunk, uint32_t from, uint32_t count)
{
	struct cl_file *file = chunk->file;
	bool ends;
	if (!file->stream)
		return count;
	uint32_t taken = cl_stream_feed(file->stream, chunk->buf->data + from, count, &ends);
	if (ends)
		cl_chunk_end(chunk, from + taken);
	return taken;
}
