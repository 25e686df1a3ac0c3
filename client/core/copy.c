/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copying a range between files of this client: whole blocks by reference, so that nothing is read
 * or sent; what does not lie on block boundaries of both files is read and written. A whole file
 * into an empty one is its root: no node of the manifest is looked at. An edit of the destination;
 * the source is published first, so that its blocks have names.
 */
#include <string.h>

#include <fcntl.h>

#include "client/core/file.h"
#include "client/core/quota.h"
#include "client/core/streamed.h"

#define COPY_BYTES_MAX 0x7fff0000u	/* of one call: its result is 32 bits */

static void source_published(struct cl_flush_wait *wait, int rc)
{
	struct cl_op *op = wait->arg;
	op->wait_rc = rc;
	cl_edit_again(op);
}

/* The source: loaded, and all its blocks durable (I2). 0, 1 (waits), or an error. */
static int source_ready(struct cl_op *op, struct cl_file *source)
{
	struct cl_file *file = op->file;
	if (source == file)
		return 0;
	int rc = cl_file_load(op, source, cl_edit_again);
	if (rc != 0 || !cl_file_is_dirty(source))
		return rc;
	file->edit_wait.done = source_published;
	file->edit_wait.arg = op;
	file->edit_wait.is_timed = true;
	cl_publish_start(source, &file->edit_wait);
	return 1;
}

/*
 * A publish names where its copies are from: their blocks live as long as the source has that root
 * (I9). Those of the round under way are forgotten with it: the next one names its own. False: it
 * cannot name more.
 */
static bool source_note(struct cl_file *file, const struct cl_file *source)
{
	struct cl_source note = { source->node->ino, source->root };
	for (uint32_t i = cl_publish_sources(file); i < file->source_count; i++)
		if (file->sources[i].ino == note.ino &&
		    root_equal(&file->sources[i].root, &note.root))
			return true;
	if (file->source_count == CL_SOURCES_MAX)
		return false;
	file->sources[file->source_count++] = note;
	return true;
}

/*
 * By reference. 0 (done, *out_len copied), 1 (waits), -E_INVAL (not on boundaries of both), or an
 * error.
 */
static int copy_block(struct cl_op *op, const struct extent *e, uint64_t to)
{
	struct cl_file *file = op->file;
	struct cl_chunk *next = cl_chunk_next(file, to);
	if (cl_chunk_find(file, to) || (next && next->start < to + e->length))
		return -E_INVAL;
	cl_streamed_end(file);
	int rc = cl_quota_take(op, MAX_OF(file->size, to),
			       block_id_is_zero(&e->id) ? 0 : e->length);
	if (rc == 0)
		rc = cl_chunk_manifest(file);
	if (rc != 0)
		return rc;
	if (file->chunk_count > 0 && file->size <= INLINE_BYTES_MAX)
		cl_chunk_dirty(file->chunks[0]);	/* no longer inline */
	rc = cl_file_append_hole(file, to, &file->edit_fetch);
	if (rc != 0)
		return rc;
	uint64_t end = MIN_OF(to + e->length, manifest_bytes(file->manifest));
	rc = cl_file_replace(file, to, end, e, &file->edit_fetch);
	if (rc != 0)
		return rc;
	cl_edit_grow(file, to + e->length);
	cl_edit_touch(op);
	return 0;
}

static int copy_bytes(struct cl_op *op, const struct extent *e, uint64_t from, uint64_t len,
		      uint32_t *out_len)
{
	struct cl_file *file = op->file;
	uint64_t to = op->out_offset + op->progress;
	if (block_id_is_zero(&e->id))
		return cl_edit_bytes(op, to, NULL, len, out_len);
	int rc = cl_cache_fetch(file->client, &e->id, (uint32_t)e->length, &file->edit_fetch);
	if (rc <= 0)
		return rc == 0 ? 1 : rc;
	struct buf *buf = file->edit_fetch.buf;
	file->edit_fetch.buf = NULL;
	rc = cl_edit_bytes(op, to, buf->data + (from - e->offset), len, out_len);
	buf_put(buf);
	return rc;
}

static int copy_chunk(struct cl_op *op, struct cl_chunk *chunk, uint64_t from, uint64_t len,
		      uint32_t *out_len)
{
	uint32_t at = (uint32_t)(from - chunk->start);
	len = MIN_OF(len, chunk->cap - at);
	if (at >= chunk->len)
		return cl_edit_bytes(op, op->out_offset + op->progress, NULL, len, out_len);
	len = MIN_OF(len, chunk->len - at);
	struct buf *buf = buf_ref(chunk->buf);	/* source and destination may be one file */
	int rc = cl_edit_bytes(op, op->out_offset + op->progress, buf->data + at, len, out_len);
	buf_put(buf);
	return rc;
}

static int copy_one(struct cl_op *op, struct cl_file *source, uint64_t left, uint64_t *done)
{
	uint64_t from = op->offset + op->progress, to = op->out_offset + op->progress;
	struct cl_chunk *chunk = cl_chunk_find(source, from);
	struct cl_chunk *next = cl_chunk_next(source, from);
	uint64_t end = source->manifest ? manifest_bytes(source->manifest) : 0;
	struct extent e = { .offset = from, .length = left };
	uint32_t count = 0;
	int rc = 0;
	if (chunk) {
		rc = copy_chunk(op, chunk, from, left, &count);
		*done = count;
		return rc;
	}
	if (from < end)
		rc = cl_file_lookup(source, from, &op->file->edit_fetch, &e);
	if (rc != 0)
		return rc;
	uint64_t len = MIN_OF(e.offset + e.length - from, left);
	if (next)
		len = MIN_OF(len, next->start - from);
	struct extent whole = { .offset = to, .length = len, .id = e.id };
	bool is_whole = e.offset == from && len == e.length;
	if (block_id_is_zero(&e.id) ||
	    (is_whole && (source == op->file || source_note(op->file, source)))) {
		rc = copy_block(op, &whole, to);
		*done = len;
		if (rc != -E_INVAL)
			return rc;
	}
	rc = copy_bytes(op, &e, from, len, &count);
	*done = count;
	return rc;
}

/* Nothing is stored or on its way, and all of it is named by its root. */
static bool is_root(const struct cl_file *source)
{
	return source->chunk_count == 0 && !cl_file_is_dirty(source) &&
	       root_has_blocks(&source->root);
}

static bool is_empty(const struct cl_file *file)
{
	return file->size == 0 && file->chunk_count == 0 && file->flush.state == CL_FLUSH_IDLE &&
	       (!file->manifest || manifest_bytes(file->manifest) == 0);
}

static int copy_root(struct cl_op *op, const struct cl_file *source)
{
	struct cl_file *file = op->file;
	struct manifest *manifest;
	cl_streamed_end(file);
	int rc = cl_quota_take(op, 0, root_data_bytes(&source->root));
	if (rc != 0)
		return rc;
	rc = manifest_create(&source->root, file->client->hash, CL_MANIFEST_NODES, &manifest);
	if (rc < 0)
		return rc;
	manifest_destroy(file->manifest);
	file->manifest = manifest;
	cl_edit_grow(file, source->size);
	cl_edit_touch(op);
	op->progress = source->size;
	return 0;
}

int cl_copy_step(struct cl_op *op)
{
	struct cl_file *source = op->handle->file;
	if (op->flags != 0)
		return -E_INVAL;
	if (op->out_offset > FILE_BYTES_MAX || op->length > FILE_BYTES_MAX - op->out_offset)
		return -E_FBIG;
	int rc = source_ready(op, source);
	if (rc != 0)
		return rc;
	if (!(op->handle->flags & O_NOATIME))
		client_was_read(op->client, op->handle->ino);	/* the kernel does not see it */
	uint64_t size = source->size;
	uint64_t length = op->offset >= size
				  ? 0
				  : MIN_OF(MIN_OF(op->length, size - op->offset), COPY_BYTES_MAX);
	if (source == op->file && op->offset < op->out_offset + length &&
	    op->out_offset < op->offset + length)
		return -E_INVAL;
	if (op->offset == 0 && op->out_offset == 0 && length == size && source != op->file &&
	    op->progress == 0 && is_root(source) && is_empty(op->file) &&
	    source_note(op->file, source))
		return copy_root(op, source);
	while (op->progress < length) {
		uint64_t done = 0;
		rc = copy_one(op, source, length - op->progress, &done);
		if (rc != 0)
			return rc;
		op->progress += done;
	}
	return 0;
}
