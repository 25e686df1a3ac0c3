/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the chunk lies that an edit at some byte needs: on an entry of the manifest, on the grid
 * where there is none, or where the cutter of a file that is written from its begin says so.
 */
#include "client/core/place.h"

#include "client/core/streamed.h"

#define GRID(pos) ((pos) / BLOCK_BYTES_MAX * BLOCK_BYTES_MAX)

uint64_t cl_place_manifest_end(const struct cl_file *file)
{
	return file->manifest ? manifest_bytes(file->manifest) : 0;
}

/* Behind the end of the manifest: on the grid, joined to a short last block. */
static int place_behind(struct cl_file *file, uint64_t pos, uint64_t end, struct cl_place *out)
{
	struct extent last;
	uint64_t start = GRID(pos), grid_end = start + BLOCK_BYTES_MAX;
	*out = (struct cl_place){ .start = start, .cap = BLOCK_BYTES_MAX };
	if (end <= start)
		return 0;
	int rc = cl_file_lookup(file, end - 1, &file->edit_fetch, &last);
	if (rc != 0)
		return rc;
	out->start = block_id_is_zero(&last.id) ? MAX_OF(start, last.offset) : end;
	if (!block_id_is_zero(&last.id) && last.offset >= start) {
		out->start = last.offset;
		out->block_len = (uint32_t)last.length;
		out->id = last.id;
	}
	out->cap = (uint32_t)(grid_end - out->start);
	return 0;
}

int cl_place_find(struct cl_file *file, uint64_t pos, struct cl_place *out)
{
	uint64_t end = cl_place_manifest_end(file);
	struct extent e;
	if (pos >= end)
		return place_behind(file, pos, end, out);
	int rc = cl_file_lookup(file, pos, &file->edit_fetch, &e);
	if (rc != 0)
		return rc;
	uint64_t e_end = e.offset + e.length;
	if (block_id_is_zero(&e.id)) {
		uint64_t start = MAX_OF(GRID(pos), e.offset);
		uint64_t stop = GRID(pos) + BLOCK_BYTES_MAX;
		*out = (struct cl_place){ .start = start };
		out->cap = (uint32_t)((e_end == end ? stop : MIN_OF(stop, e_end)) - start);
		return 0;
	}
	*out = (struct cl_place){ .start = e.offset, .cap = (uint32_t)e.length,
			       .block_len = (uint32_t)e.length, .id = e.id };
	if (e_end == end && e_end % BLOCK_BYTES_MAX != 0)
		out->cap = (uint32_t)MIN_OF(GRID(e_end - 1) + BLOCK_BYTES_MAX - e.offset,
					    BLOCK_BYTES_MAX);
	return 0;
}

/*
 * A chunk that was the last when the file was cut may end off the grid; once the file grew again,
 * what lies behind it is a place of its own, and nothing of the manifest shows there.
 */
static void place_behind_chunk(struct cl_file *file, uint64_t pos, struct cl_place *place)
{
	struct cl_chunk *before = cl_chunk_before(file, pos);
	uint64_t end = before ? before->start + before->cap : 0;
	if (end <= place->start)
		return;
	ASSERT(end <= pos && end >= place->start + place->block_len);
	place->cap -= (uint32_t)(end - place->start);
	place->start = end;
	place->block_len = 0;
}

/* The block under way of the cutter: 0; 1 (waits), or an error; -E_RANGE: it is not there. */
static int place_streamed(struct cl_file *file, uint64_t pos, struct cl_place *out)
{
	struct extent e;
	*out = (struct cl_place){ .start = cl_stream_block(file->stream), .cap = BLOCK_BYTES_MAX };
	if (out->start == pos)
		return 0;
	if (cl_place_manifest_end(file) != pos)
		return -E_RANGE;
	int rc = cl_file_lookup(file, out->start, &file->edit_fetch, &e);
	if (rc != 0)
		return rc;
	if (e.offset != out->start || e.offset + e.length != pos || block_id_is_zero(&e.id))
		return -E_RANGE;
	out->block_len = (uint32_t)e.length;
	out->id = e.id;
	return 0;
}

/* Where a chunk is to be made for `pos`. */
static int place_new(struct cl_file *file, uint64_t pos, struct cl_place *out)
{
	int rc;
	if (file->stream && pos == cl_stream_at(file->stream)) {
		rc = place_streamed(file, pos, out);
		if (rc != -E_RANGE)
			return rc;
		cl_streamed_end(file);
	}
	rc = cl_place_find(file, pos, out);
	if (rc == 0)
		place_behind_chunk(file, pos, out);
	return rc;
}

int cl_place_block(struct cl_file *file, const struct cl_place *place, struct buf **out)
{
	int rc = cl_cache_fetch(file->client, &place->id, place->block_len, &file->edit_fetch);
	if (rc < 0)
		return rc;
	if (rc == 0)
		return 1;
	*out = file->edit_fetch.buf;
	file->edit_fetch.buf = NULL;
	return 0;
}

int cl_place_chunk(struct cl_op *op, uint64_t pos, uint64_t len, struct cl_chunk **out,
		  uint32_t *out_len)
{
	struct cl_file *file = op->file;
	struct cl_chunk *chunk = cl_chunk_find(file, pos);
	struct cl_place place;
	struct buf *filled = NULL;
	if (!chunk) {
		int rc = place_new(file, pos, &place);
		if (rc != 0)
			return rc;
		struct cl_chunk *next = cl_chunk_next(file, place.start);
		if (next)
			place.cap = (uint32_t)MIN_OF(place.cap, next->start - place.start);
		bool is_covered = pos <= place.start && pos + len >= place.start + place.block_len;
		if (place.block_len > 0 && !is_covered) {
			rc = cl_place_block(file, &place, &filled);
			if (rc != 0)
				return rc;
		}
		rc = cl_chunk_make(file, place.start, place.cap, &chunk);
		if (rc < 0) {
			buf_put(filled);
			return rc;
		}
		chunk->hides = MIN_OF(place.block_len, chunk->cap);
		if (filled)
			cl_chunk_fill(chunk, filled, place.block_len);
	}
	*out = chunk;
	*out_len = (uint32_t)MIN_OF(len, chunk->start + chunk->cap - pos);
	return 0;
}

