/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chunks: what was written and is not in the manifest yet (file.h tells their life). Puts are
 * bounded in number (I11); the buffers of all chunks are bounded in bytes, and who needs one waits.
 *
 * The array of a file is sorted by start and disjoint.
 */
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "client/core/draft.h"
#include "client/core/file.h"
#include "fs/base/log.h"

#define LOG_MODULE "chunk"

/* --- the array -------------------------------------------------------------------------------- */

/* Index of the first chunk with start > pos. */
static uint32_t index_after(const struct cl_file *file, uint64_t pos)
{
	uint32_t low = 0, high = file->chunk_count;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (file->chunks[middle]->start <= pos)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct cl_chunk *cl_chunk_before(struct cl_file *file, uint64_t pos)
{
	uint32_t after = index_after(file, pos);
	return after == 0 ? NULL : file->chunks[after - 1];
}

struct cl_chunk *cl_chunk_find(struct cl_file *file, uint64_t pos)
{
	struct cl_chunk *chunk = cl_chunk_before(file, pos);
	return chunk && pos - chunk->start < chunk->cap ? chunk : NULL;
}

struct cl_chunk *cl_chunk_next(struct cl_file *file, uint64_t pos)
{
	uint32_t index = pos == 0 ? 0 : index_after(file, pos - 1);
	return index < file->chunk_count ? file->chunks[index] : NULL;
}

static int array_grow(struct cl_file *file)
{
	if (file->chunk_count < file->chunk_capacity)
		return 0;
	uint32_t capacity = file->chunk_capacity ? file->chunk_capacity * 2 : 4;
	struct cl_chunk **chunks = realloc(file->chunks, capacity * sizeof *chunks);
	if (!chunks)
		return -E_NOMEM;
	file->chunks = chunks;
	file->chunk_capacity = capacity;
	return 0;
}

static void array_remove(struct cl_chunk *chunk)
{
	struct cl_file *file = chunk->file;
	uint32_t index = index_after(file, chunk->start) - 1;
	ASSERT(file->chunks[index] == chunk);
	file->chunk_count--;
	memmove(&file->chunks[index], &file->chunks[index + 1],
		(file->chunk_count - index) * sizeof file->chunks[0]);
}

int cl_chunk_make(struct cl_file *file, uint64_t start, uint32_t cap, struct cl_chunk **out)
{
	int rc = array_grow(file);
	if (rc < 0)
		return rc;
	struct cl_chunk *chunk = calloc(1, sizeof *chunk);
	if (!chunk)
		return -E_NOMEM;
	ASSERT(cap > 0 && cap <= BLOCK_BYTES_MAX);
	*chunk = (struct cl_chunk){ .file = file, .client = file->client, .start = start,
				    .cap = cap };
	uint32_t index = index_after(file, start);
	memmove(&file->chunks[index + 1], &file->chunks[index],
		(file->chunk_count - index) * sizeof file->chunks[0]);
	file->chunks[index] = chunk;
	file->chunk_count++;
	*out = chunk;
	return 0;
}

/* --- one chunk -------------------------------------------------------------------------------- */

static void buf_replace(struct cl_chunk *chunk, struct buf *buf)
{
	struct client *c = chunk->client;
	if (chunk->buf)
		c->dirty_bytes -= chunk->buf->capacity;
	buf_put(chunk->buf);
	chunk->buf = buf;
	if (buf)
		c->dirty_bytes += buf->capacity;
}

/*
 * What a put needs to begin may go beyond the bound by the puts that may fly: they give memory
 * back.
 */
static struct buf *chunk_buf(struct client *c, uint32_t len, bool is_put)
{
	uint64_t bound =
		c->dirty_bytes_max + (is_put ? (uint64_t)c->puts.flying_max * CL_BUF_BYTES : 0);
	if (c->dirty_bytes + CL_BUF_BYTES > bound)
		return NULL;
	uint32_t capacity = len <= BUF_SMALL_BYTES ? BUF_SMALL_BYTES : CL_BUF_BYTES;
	struct buf *buf = buf_get(c->options.pool, capacity);
	if (buf)
		return buf;
	cl_cache_shrink(c, MiB(1));
	return buf_get(c->options.pool, capacity);
}

static int chunk_reserve(struct cl_chunk *chunk, uint32_t from, uint32_t to, bool is_put)
{
	ASSERT(from <= to && to <= chunk->cap);
	if (!chunk->buf || chunk->is_lent || chunk->buf->capacity < to) {
		struct buf *buf = chunk_buf(chunk->client, MAX_OF(to, chunk->len), is_put);
		if (!buf)
			return -E_AGAIN;
		if (chunk->buf)
			memcpy(buf->data, chunk->buf->data, chunk->len);
		buf_replace(chunk, buf);
		chunk->is_lent = false;
	}
	if (from > chunk->len) {
		memset(chunk->buf->data + chunk->len, 0, from - chunk->len);
		chunk->len = from;
	}
	return 0;
}

bool cl_chunk_is_ready(const struct cl_chunk *chunk, uint32_t len)
{
	/* The length of a lent buffer is not ours to set. */
	return chunk->buf && chunk->len >= len && (!chunk->is_lent || chunk->buf->len == len);
}

int cl_chunk_reserve(struct cl_chunk *chunk, uint32_t from, uint32_t to)
{
	return chunk_reserve(chunk, from, to, false);
}

uint32_t cl_chunk_bytes(const struct cl_chunk *chunk)
{
	return cl_chunk_bytes_of(chunk, chunk->file->size);
}

uint32_t cl_chunk_bytes_of(const struct cl_chunk *chunk, uint64_t size)
{
	return size <= chunk->start ? 0 : (uint32_t)MIN_OF(size - chunk->start, chunk->cap);
}

void cl_chunk_dirty(struct cl_chunk *chunk)
{
	chunk->is_dirty = true;
}

static void chunk_free(struct cl_chunk *chunk)
{
	buf_replace(chunk, NULL);
	free(chunk);
}

void cl_chunk_fill(struct cl_chunk *chunk, struct buf *buf, uint32_t len)
{
	ASSERT(!chunk->buf && len <= chunk->cap);
	buf_replace(chunk, buf);
	chunk->len = len;
	chunk->is_lent = true;
}

static void put_settle(struct cl_chunk *chunk, int rc)
{
	if (!chunk->is_awaited)
		return;
	chunk->is_awaited = chunk->is_owed = false;
	cl_publish_stored(chunk->file, rc);
}

/* What a put on its way brings is not wanted any more. */
static void put_forget(struct cl_chunk *chunk)
{
	struct client *c = chunk->client;
	if (chunk->put_state == CL_PUT_QUEUED)
		DL_DELETE(c->puts.queue, chunk);
	if (chunk->put_state == CL_PUT_READY)
		DL_DELETE(chunk->file->ready, chunk);
	if (chunk->put_state != CL_PUT_FLYING)
		chunk->put_state = CL_PUT_NONE;
}

/* Its bytes are stored, or not wanted any more. */
static void chunk_uncharge(struct cl_chunk *chunk)
{
	if (chunk->is_charged)
		chunk->file->charged_put += chunk->cap;
	chunk->is_charged = false;
}

void cl_chunk_drop(struct cl_chunk *chunk)
{
	chunk_uncharge(chunk);
	put_forget(chunk);
	put_settle(chunk, 0);
	array_remove(chunk);
	chunk->file = NULL;
	if (chunk->put_state != CL_PUT_FLYING)
		chunk_free(chunk);	/* else its put frees it */
}

void cl_chunk_drop_all(struct cl_file *file)
{
	while (file->chunk_count > 0)
		cl_chunk_drop(file->chunks[file->chunk_count - 1]);
}

void cl_chunk_end(struct cl_chunk *chunk, uint32_t cap)
{
	ASSERT(cap <= chunk->cap && cap >= chunk->hides);
	if (chunk->is_charged)
		chunk->file->charged_put += chunk->cap - cap;
	chunk->cap = cap;
}

int cl_chunk_cut(struct cl_chunk *chunk, uint32_t len)
{
	struct cl_file *file = chunk->file;
	if (chunk->put_state == CL_PUT_FLYING) {
		struct cl_chunk *copy = calloc(1, sizeof *copy);
		if (!copy)
			return -E_NOMEM;
		*copy = (struct cl_chunk){ .file = file, .client = chunk->client,
					   .start = chunk->start, .cap = chunk->cap,
					   .len = chunk->len, .is_lent = true };
		buf_replace(copy, buf_ref(chunk->buf));
		file->chunks[index_after(file, chunk->start) - 1] = copy;
		put_settle(chunk, 0);
		chunk->file = NULL;
		chunk = copy;
	}
	put_forget(chunk);
	put_settle(chunk, 0);
	chunk->hides = 0;	/* that was cut away as a whole */
	chunk->len = MIN_OF(chunk->len, len);
	chunk->is_dirty = true;
	return 0;
}

/* --- into the manifest ------------------------------------------------------------------------ */

int cl_chunk_manifest(struct cl_file *file)
{
	if (file->manifest)
		return 0;
	struct root empty = { .kind = ROOT_EMPTY };
	int rc = manifest_create(&empty, file->client->hash, CL_MANIFEST_NODES, &file->manifest);
	if (rc < 0)
		return rc;
	/* Inline content becomes a block like any other. */
	struct cl_chunk *first = cl_chunk_find(file, 0);
	if (first && file->edit_seq != file->clean_seq)
		first->is_dirty = true;
	return 0;
}

static void apply_resume(struct cl_fetch *fetch)
{
	struct cl_file *file = fetch->arg;
	if (fetch->rc < 0) {
		log_warn("cannot read a manifest node of inode %llu: %s",
			 (unsigned long long)file->node->ino, error_text(fetch->rc));
		cl_file_fail(file, fetch->rc);
		return;
	}
	buf_put(fetch->buf);		/* it is in the cache now */
	cl_chunk_apply(file);
}

/* 0, 1 (a node is on its way), or an error. */
static int apply_one(struct cl_chunk *chunk)
{
	struct cl_file *file = chunk->file;
	int rc = cl_chunk_manifest(file);
	if (rc < 0)
		return rc;
	rc = cl_file_append_hole(file, chunk->start, &file->apply_fetch);
	if (rc != 0)
		return rc;
	struct extent extent = { .length = chunk->put_len, .id = chunk->put.id };
	uint64_t end = MIN_OF(chunk->start + chunk->put_len, manifest_bytes(file->manifest));
	return cl_file_replace(file, chunk->start, end, &extent, &file->apply_fetch);
}

static void chunk_applied(struct cl_chunk *chunk)
{
	struct cl_file *file = chunk->file;
	bool is_awaited = chunk->is_awaited;
	chunk->put_state = CL_PUT_NONE;
	DL_DELETE(file->ready, chunk);
	if (chunk->is_owed) {		/* what the flush wants was written after this put began */
		cl_chunk_put(chunk);
		return;
	}
	chunk->is_awaited = false;
	chunk->hides = chunk->put_len;
	if (!chunk->is_dirty) {
		cl_cache_add(chunk->client, &chunk->put.id, chunk->buf);
		array_remove(chunk);
		chunk_free(chunk);
	}
	if (is_awaited)
		cl_publish_stored(file, 0);
}

void cl_chunk_apply(struct cl_file *file)
{
	if (file->apply_fetch.list)
		return;
	file->apply_fetch.done = apply_resume;
	file->apply_fetch.arg = file;
	file->refs++;
	while (file->ready) {
		int rc = apply_one(file->ready);
		if (rc < 0)
			cl_file_fail(file, rc);
		if (rc != 0)
			break;
		chunk_applied(file->ready);
	}
	cl_file_put(file);
}

/* --- puts ------------------------------------------------------------------------------------- */

int cl_chunk_record(struct cl_file *file, const struct blocks_put *put,
		    const struct blocks_marks *marks)
{
	if (file->id_count == file->id_capacity) {
		uint32_t capacity = file->id_capacity ? file->id_capacity * 2 : 16;
		struct block_id *ids = realloc(file->ids, capacity * sizeof *ids);
		if (!ids)
			return -E_NOMEM;
		file->ids = ids;
		file->id_capacity = capacity;
	}
	int rc = blocks_marks_merge(&file->marks, marks);
	if (rc == 0)
		file->ids[file->id_count++] = put->id;
	return rc;
}

static void put_done(struct blocks_put *put)
{
	struct cl_chunk *chunk = put->user;
	struct client *c = chunk->client;
	struct cl_file *file = chunk->file;
	int put_rc = put->rc;		/* it may be gone below */
	c->puts.flying--;
	if (file && put_rc == 0)	/* what nobody would sync is as good as not put (I2) */
		put_rc = cl_chunk_record(file, put, &chunk->put_marks);
	if (file && put_rc == 0)
		cl_publish_is_late(file, chunk->put_marks.collection);
	if (!file) {
		chunk_free(chunk);
	} else if (put_rc < 0) {
		chunk->put_state = CL_PUT_NONE;
		chunk->is_dirty = true;
		/* else who waits for memory has a deadline of its own */
		if (!cl_is_unavailable(put_rc))
			file->put_rc = put_rc;
		put_settle(chunk, put_rc);
	} else {
		chunk->put_state = CL_PUT_READY;
		DL_APPEND(file->ready, chunk);
		chunk_uncharge(chunk);
		file->new_bytes += chunk->put_len;
		c->stats.blocks_put++;
		c->stats.blocks_present += put->sent_bytes == 0;
		/* else it was written meanwhile, into a copy */
		if (chunk->buf == put->plain)
			cl_draft_put(file, chunk->start, &put->id, chunk->buf, chunk->put_len);
		cl_chunk_apply(file);
	}
	cl_chunk_pump(c);
	/* Who would find no memory yet need not look: the puts that still fly wake it. */
	if (put_rc < 0 || c->puts.flying == 0 ||
	    c->dirty_bytes + CL_BUF_BYTES <= c->dirty_bytes_max)
		cl_op_wake(&c->memory_waiters);
}

static void put_start(struct cl_chunk *chunk)
{
	struct client *c = chunk->client;
	chunk->put_state = CL_PUT_FLYING;
	chunk->is_dirty = chunk->is_owed = false;
	chunk->is_lent = true;
	chunk->buf->len = chunk->put_len;
	blocks_marks_init(&chunk->put_marks);
	chunk->put_collection = c->session.collection;
	chunk->put = (struct blocks_put){
		.plain = chunk->buf,
		.marks = &chunk->put_marks,
		.done = put_done,
		.user = chunk,
		.deadline_ns =
			loop_now_ns(c->options.loop) + c->options.timeout_ms * UINT64_C(1000000),
	};
	c->puts.flying++;
	blocks_put_start(c->blocks, &chunk->put);
}

void cl_chunk_pump(struct client *c)
{
	while (c->blocks && c->puts.queue && c->puts.flying < c->puts.flying_max) {
		struct cl_chunk *chunk = c->puts.queue;
		uint32_t len = cl_chunk_bytes(chunk);
		if (len == 0) {
			cl_chunk_drop(chunk);
			continue;
		}
		/* Zeros up to where the file now ends. */
		if (!cl_chunk_is_ready(chunk, len) && chunk_reserve(chunk, len, len, true) < 0)
			return;
		DL_DELETE(c->puts.queue, chunk);
		chunk->put_len = len;
		put_start(chunk);
	}
}

void cl_chunk_put(struct cl_chunk *chunk)
{
	if (!chunk->is_dirty || chunk->put_state != CL_PUT_NONE)
		return;
	chunk->put_state = CL_PUT_QUEUED;
	DL_APPEND(chunk->client->puts.queue, chunk);
	cl_chunk_pump(chunk->client);
}

void cl_chunk_put_all(struct cl_file *file)
{
	for (uint32_t i = 0; i < file->chunk_count;) {
		uint32_t count = file->chunk_count;
		cl_chunk_put(file->chunks[i]);
		if (file->chunk_count == count)
			i++;
	}
}
