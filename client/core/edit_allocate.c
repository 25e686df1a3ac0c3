/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fallocate: room behind the end, zeros, holes. A step of an edit (edit.c): it changes nothing
 * before it waits, except what it has counted in op->progress.
 *
 * A hole of a page and more is one in the manifest, too, wherever it lies; what is left of the
 * blocks at its ends becomes blocks of its own.
 */
#include <linux/falloc.h>
#include <string.h>

#include "client/core/file.h"
#include "client/core/place.h"
#include "client/core/streamed.h"

/* A shorter hole is written over with zeros. */
#define HOLE_BYTES_MIN 4096u

/* The manifest's part of [from, to) becomes a hole. 0, 1 (waits), or an error. */
static int manifest_punch(struct cl_file *file, uint64_t from, uint64_t to)
{
	to = MIN_OF(to, cl_place_manifest_end(file));
	if (from >= to)
		return 0;
	struct extent hole = { .length = to - from };
	return cl_file_replace(file, from, to, &hole, &file->edit_fetch);
}

/* The bytes [from, to) of the file, of the block of `e`, in a chunk. 0, 1 (waits), or an error. */
static int keep(struct cl_op *op, const struct extent *e, const struct buf *bytes,
		const uint64_t range[2], struct cl_chunk **out)
{
	struct cl_file *file = op->file;
	uint32_t len = (uint32_t)(range[1] - range[0]);
	if (len == 0)
		return 0;
	int rc = cl_chunk_make(file, range[0], len, out);
	if (rc == 0)
		rc = cl_edit_charge(op, *out, file->size);
	if (rc == 0)
		rc = cl_chunk_reserve(*out, 0, len);
	if (rc != 0)
		return rc == -E_AGAIN ? cl_edit_wait_memory(op) : rc;
	memcpy((*out)->buf->data, bytes->data + (range[0] - e->offset), len);
	(*out)->len = len;
	return 0;
}

/*
 * A hole within the block of `e`: what lies before and behind it become blocks of their own.
 * Nothing has changed unless 0 is returned; 1 (waits), or an error.
 */
static int punch_inside(struct cl_op *op, const struct extent *e, uint64_t pos, uint64_t stop)
{
	struct cl_file *file = op->file;
	uint64_t end = e->offset + e->length;
	const struct cl_place block = { .start = e->offset, .block_len = (uint32_t)e->length,
					.id = e->id };
	struct cl_chunk *kept[2] = { NULL, NULL };
	struct buf *bytes;
	int rc = cl_place_block(file, &block, &bytes);
	if (rc != 0)
		return rc;
	rc = keep(op, e, bytes, (uint64_t[]){ e->offset, pos }, &kept[0]);
	if (rc == 0)
		rc = keep(op, e, bytes, (uint64_t[]){ stop, end }, &kept[1]);
	if (rc == 0)
		rc = manifest_punch(file, e->offset, end);
	for (unsigned i = 0; i < ARRAY_COUNT(kept); i++) {
		if (kept[i] && rc == 0)
			cl_chunk_dirty(kept[i]);
		else if (kept[i])
			cl_chunk_drop(kept[i]);
	}
	buf_put(bytes);
	return rc;
}

/* Does a chunk have bytes of this entry? `pos` lies in the entry and in no chunk. */
static bool is_below_chunks(struct cl_file *file, const struct extent *e, uint64_t pos)
{
	const struct cl_chunk *before = cl_chunk_before(file, pos);
	const struct cl_chunk *next = cl_chunk_next(file, pos);
	return (before && before->start + before->cap > e->offset) ||
	       (next && next->start < e->offset + e->length);
}

/*
 * Punch as much of [pos, end) as lies in one chunk or entry. 0 with *done bytes, 1 (waits), or an
 * error.
 */
static int punch_one(struct cl_op *op, uint64_t pos, uint64_t end, uint64_t *done)
{
	struct cl_file *file = op->file;
	struct cl_chunk *chunk = cl_chunk_find(file, pos);
	struct extent e;
	uint32_t count;
	int rc;
	if (chunk) {
		uint64_t stop = MIN_OF(chunk->start + chunk->cap, file->size);
		*done = MIN_OF(end, stop) - pos;
		if (pos == chunk->start && pos + *done == stop && file->manifest) {
			rc = manifest_punch(file, chunk->start, stop);
			if (rc == 0)
				cl_chunk_drop(chunk);
			return rc;
		}
		rc = cl_edit_bytes(op, pos, NULL, *done, &count);
		return rc;
	}
	if (pos >= cl_place_manifest_end(file)) {
		*done = end - pos;
		struct cl_chunk *next = cl_chunk_next(file, pos);
		if (next && next->start < end)
			*done = next->start - pos;
		return 0;
	}
	rc = cl_file_lookup(file, pos, &file->edit_fetch, &e);
	if (rc != 0)
		return rc;
	uint64_t e_end = e.offset + e.length;
	struct cl_chunk *next = cl_chunk_next(file, pos);
	if (next)
		e_end = MIN_OF(e_end, MAX_OF(next->start, pos + 1));
	*done = MIN_OF(end, e_end) - pos;
	if (block_id_is_zero(&e.id))
		return 0;
	if (pos == e.offset && pos + *done == e.offset + e.length)
		return manifest_punch(file, pos, pos + *done);
	if (op->length >= HOLE_BYTES_MIN && !is_below_chunks(file, &e, pos))
		return punch_inside(op, &e, pos, pos + *done);
	rc = cl_edit_bytes(op, pos, NULL, *done, &count);
	*done = rc == 0 ? count : 0;
	return rc;
}

int cl_edit_allocate_step(struct cl_op *op)
{
	struct cl_file *file = op->file;
	const uint32_t known = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE;
	if (op->flags & ~known)
		return -E_OPNOTSUPP;
	if (op->length == 0)
		return -E_INVAL;
	if (op->offset > FILE_BYTES_MAX || op->length > FILE_BYTES_MAX - op->offset)
		return -E_FBIG;
	uint64_t end = op->offset + op->length;
	cl_streamed_end(file);
	if (op->flags & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) {
		uint64_t stop = MIN_OF(end, file->size);
		while (op->offset + op->progress < stop) {
			uint64_t done;
			int rc = punch_one(op, op->offset + op->progress, stop, &done);
			if (rc != 0)
				return rc;
			op->progress += done;
		}
	}
	if (!(op->flags & FALLOC_FL_KEEP_SIZE) && end > file->size)
		cl_edit_grow(file, end);
	cl_edit_touch(op);	/* a change of times and set-id bits, if of nothing else */
	return 0;
}
