/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Edits of content: their queue, write, truncate. One at a time per file, in order, each in steps
 * that may wait for a node, a block or memory and are then repeated; a step changes nothing before
 * it waits, except what it has counted in op->progress.
 *
 * Under a write lease an edit ends in memory. Alone (without one) it starts from the newest
 * version, is published before it ends, and starts over when the server has a newer version (I13).
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <utlist.h>

#include "client/core/file.h"
#include "client/core/place.h"
#include "client/core/quota.h"
#include "client/core/streamed.h"
#include "client/core/tiered.h"

static void edit_step(struct cl_op *op);

/* --- the queue -------------------------------------------------------------------------------- */

bool cl_edit_is_running(const struct cl_file *file)
{
	return file->is_editing;
}

static void queue_leave(struct cl_op *op)
{
	struct cl_file *file = op->file;
	DL_DELETE2(file->edits, op, edit_prev, edit_next);
	op->is_queued = false;
	op->file = NULL;
}

static void edit_ended(struct cl_op *op, int rc)
{
	struct cl_file *file = op->file;
	struct cl_node *node = file->node;
	struct client *c = file->client;
	if (rc < 0 && file->is_alone)
		cl_file_reset(file);	/* half an edit is not kept; a later one begins afresh */
	else if (op->is_begun && file->is_loaded)
		cl_tiered_edited(op);
	file->is_editing = file->is_alone = false;
	if (rc < 0)
		cl_streamed_end(file);	/* it may have seen more than was taken */
	queue_leave(op);
	cl_op_wake(&file->alone_waiters);
	cl_pages_used(node, op->handle);
	op->out_len = (uint32_t)op->progress;
	if (rc < 0 && op->progress > 0 && op->kind == CL_WRITE && cl_node_can_write(c, node))
		rc = 0;		/* a short write: the next one tells the error */
	cl_node_show(c, node, &op->attr);
	if (rc == 0 && op->kind == CL_SETATTR)
		cl_names_setattr_rest(op);
	else
		cl_op_finish(op, rc);
	cl_edit_run(file);
	cl_file_put(file);
}

/* The deadline or an interrupt takes the operation out, wherever it stands. */
static void edit_cancel(struct cl_op *op)
{
	struct cl_file *file = op->file;
	struct client *c = file->client;
	bool was_head = file->is_editing && file->edits == op;
	if (was_head && op->is_begun && file->is_loaded && !file->is_alone)
		cl_tiered_edited(op);
	queue_leave(op);
	op->out_len = (uint32_t)op->progress;
	if (was_head) {
		cl_streamed_end(file);	/* it may have seen more than was taken */
		cl_cache_cancel(c, &file->edit_fetch);
		cl_publish_cancel(file, &file->edit_wait);
		if (file->is_alone)
			cl_file_reset(file);
		file->is_editing = file->is_alone = false;
		cl_op_wake(&file->alone_waiters);
		cl_edit_run(file);
	}
	cl_file_put(file);
}

/*
 * The running edit waits inside its place in the queue: undo the inner wait, then leave the queue.
 */
static void edit_wait_cancel(struct cl_op *op)
{
	void (*inner)(struct cl_op *) = op->waits_for;
	op->waits_for = NULL;
	if (inner)
		inner(op);
	edit_cancel(op);
}

static void edit_waits(struct cl_op *op)
{
	op->waits_for = op->cancel;
	op->cancel = edit_wait_cancel;
}

static void alone_published(struct cl_flush_wait *wait, int rc)
{
	struct cl_op *op = wait->arg;
	struct cl_file *file = op->file;
	op->cancel = NULL;
	if (rc != -E_STALE_VERSION) {
		edit_ended(op, rc);
		return;
	}
	/* I13: somebody was first. Begin again on what is there now. */
	cl_file_reset(file);
	op->progress = 0;
	op->is_begun = op->is_fresh = false;
	edit_step(op);
}

static int edit_one_step(struct cl_op *op)
{
	switch (op->kind) {
	case CL_WRITE: return cl_edit_write_step(op);
	case CL_SETATTR: return cl_edit_truncate_step(op);
	case CL_FALLOCATE: return cl_edit_allocate_step(op);
	default: return cl_copy_step(op);
	}
}

/* Load the newest content, once per try. */
static int edit_begin(struct cl_op *op)
{
	struct cl_file *file = op->file;
	int rc = cl_file_load(op, file, edit_step);
	if (rc == 0) {
		op->is_begun = true;
		op->is_fresh = false;	/* of this file; a copy asks for its source, too */
		file->is_alone = !cl_node_can_write(file->client, file->node);
	}
	return rc;
}

static void edit_step(struct cl_op *op)
{
	struct cl_file *file = op->file;
	struct client *c = file->client;
	op->cancel = NULL;
	if (!cl_session_is_valid(c)) {
		cl_op_wait(op, &c->session_waiters, "the metadata server", edit_step);
		edit_waits(op);
		cl_session_renew(c);
		return;
	}
	int rc = 0;
	if (op->is_begun && !file->is_loaded) {
		/*
		 * The content was given up while it waited (I6), and with it what this one began:
		 * from the start.
		 */
		op->progress = 0;
		op->wait_rc = 0;
		op->is_begun = op->is_fresh = false;
	}
	if (!op->is_begun) {
		rc = edit_begin(op);
	} else {
		rc = op->wait_rc;
		op->wait_rc = 0;
	}
	if (rc == 0)
		rc = edit_one_step(op);
	if (rc > 0) {
		edit_waits(op);
	} else if (rc == 0 && file->is_alone && cl_file_is_dirty(file)) {
		file->edit_wait.done = alone_published;
		file->edit_wait.arg = op;
		file->edit_wait.is_timed = true;
		op->cancel = edit_cancel;
		op->waiting_for = "its data to be published";
		cl_publish_start(file, &file->edit_wait);
	} else {
		edit_ended(op, rc);
	}
}

void cl_edit_again(struct cl_op *op)
{
	edit_step(op);
}

/* A recall that goes on may end, and run edits, and with the last of them the file ends. */
void cl_edit_run(struct cl_file *file)
{
	file->refs++;
	if (file->node->is_recalling && !file->is_editing)
		cl_lease_continue(file->client, file->node);
	if (file->edits && !file->is_editing && !file->node->is_recalling &&
	    !file->node->is_sealing) {
		file->is_editing = true;
		edit_step(file->edits);
	}
	cl_file_put(file);
}

void cl_edit_resume(struct cl_fetch *fetch)
{
	struct cl_file *file = fetch->arg;
	struct cl_op *op = file->edits;
	ASSERT(op && file->is_editing);
	op->wait_rc = fetch->rc;
	buf_put(fetch->buf);	/* it is in the cache now */
	fetch->buf = NULL;
	edit_step(op);
}

void cl_edit_start(struct cl_op *op)
{
	struct client *c = op->client;
	struct cl_handle *h = op->kind == CL_COPY_RANGE ? op->out_handle : op->handle;
	if (h && h->is_lock_lost) {
		cl_op_finish(op, -E_IO);
		return;
	}
	struct cl_node *node = cl_node_get(c, h ? h->ino : op->ino);
	struct cl_file *file = node ? cl_file_get(c, node) : NULL;
	if (!file) {
		cl_op_finish(op, -E_NOMEM);
		return;
	}
	op->file = file;
	op->progress = 0;
	op->is_begun = op->is_fresh = false;
	op->wait_rc = 0;
	op->is_queued = true;
	op->cancel = edit_cancel;
	op->waiting_for = "earlier edits of the file";
	file->edit_fetch.done = cl_edit_resume;
	file->edit_fetch.arg = file;
	DL_APPEND2(file->edits, op, edit_prev, edit_next);
	cl_edit_run(file);
}

/* --- helpers of steps ------------------------------------------------------------------------- */

void cl_edit_touch(struct cl_op *op)
{
	struct cl_file *file = op->file;
	struct client *c = file->client;
	if (!cl_file_is_dirty(file))
		file->dirty_since_ns = loop_now_ns(c->options.loop);
	file->edit_seq++;
	file->mtime_ns = (int64_t)loop_wall_ns(c->options.loop);
	file->kill_priv |= cl_file_kill_of(op, &file->node->attr);
}

void cl_edit_grow(struct cl_file *file, uint64_t size)
{
	uint64_t before = file->size;
	if (size <= before)
		return;
	file->size = size;
	if (before > INLINE_BYTES_MAX || size <= INLINE_BYTES_MAX)
		return;
	if (cl_place_manifest_end(file) > 0)
		return;
	/* Too large to travel inside a publish: what was inline becomes blocks. */
	for (uint32_t i = 0; i < file->chunk_count; i++) {
		struct cl_chunk *chunk = file->chunks[i];
		if (chunk->start > 0 && chunk->start + chunk->cap > before)
			break;
		cl_chunk_dirty(chunk);
		cl_chunk_put(chunk);
	}
}

/* Send what is gathered, give up what can be read again. */
static void free_memory(struct client *c, const struct cl_file *edited)
{
	struct cl_file *file, *next;
	DL_FOREACH_SAFE(c->files, file, next) {
		if (file->size > INLINE_BYTES_MAX)
			cl_chunk_put_all(file);
		else if (cl_file_is_dirty(file) && file != edited)
			cl_publish_start(file, NULL);
		else if (file->chunk_count && !cl_file_is_dirty(file) && !file->is_editing &&
			 !file->is_loading)
			cl_file_reset(file);
	}
}

int cl_edit_wait_memory(struct cl_op *op)
{
	struct cl_file *edited = op->file;
	struct client *c = edited->client;
	if (edited->put_rc < 0) {
		int rc = edited->put_rc;
		edited->put_rc = 0;
		return rc;
	}
	/* While puts fly they give memory back: what else could is looked for when none does. */
	if (c->puts.flying == 0)
		free_memory(c, edited);
	cl_op_wait(op, &c->memory_waiters, "memory for written data", edit_step);
	return 1;
}

/*
 * What was inline and becomes blocks by the write to `written` needs room, too: how much, or with
 * `takes` it is reserved now.
 */
static uint64_t charge_inline(struct cl_file *file, const struct cl_chunk *written, bool takes)
{
	uint64_t bytes = 0;
	for (uint32_t i = 0; cl_place_manifest_end(file) == 0 && i < file->chunk_count; i++) {
		struct cl_chunk *chunk = file->chunks[i];
		if (chunk == written || chunk->is_charged || chunk->start >= INLINE_BYTES_MAX)
			continue;
		bytes += chunk->cap;
		chunk->is_charged = takes;
	}
	return bytes;
}

int cl_edit_charge(struct cl_op *op, struct cl_chunk *chunk, uint64_t size)
{
	struct cl_file *file = op->file;
	struct client *c = file->client;
	if (chunk->is_charged || size <= INLINE_BYTES_MAX)
		return 0;
	if (file->flush.ended_rc == -E_NOSPC)
		return -E_NOSPC;	/* not even what was taken before found space */
	uint64_t bytes = chunk->cap + charge_inline(file, chunk, false);
	int rc = cl_session_reserve(c, bytes);
	if (rc == 0) {
		chunk->is_charged = true;
		(void)charge_inline(file, chunk, true);
		file->charged += bytes;
		return 0;
	}
	if (rc == -E_NOSPC && file->flush.state == CL_FLUSH_IDLE)
		return rc;
	if (cl_file_is_dirty(file) && !file->is_alone)
		cl_publish_start(file, NULL);	/* what was reserved too much comes back */
	cl_op_wait(op, &c->memory_waiters, "space in the cluster", edit_step);
	return 1;
}

/* --- write ------------------------------------------------------------------------------------ */

int cl_edit_bytes(struct cl_op *op, uint64_t pos, const void *bytes, uint64_t len,
		  uint32_t *out_len)
{
	struct cl_file *file = op->file;
	struct cl_chunk *chunk;
	uint32_t count;
	cl_streamed_at(file, pos);
	int rc = cl_place_chunk(op, pos, len, &chunk, &count);
	if (rc != 0)
		return rc;
	uint32_t from = (uint32_t)(pos - chunk->start);
	rc = cl_edit_charge(op, chunk, MAX_OF(file->size, pos + count));
	if (rc == 0)
		rc = cl_quota_take(op, MAX_OF(file->size, pos + count), 0);
	if (rc != 0) {
		if (!chunk->buf)
			cl_chunk_drop(chunk);
		return rc;
	}
	rc = cl_chunk_reserve(chunk, from, from + count);
	if (rc < 0) {
		if (!chunk->buf)
			cl_chunk_drop(chunk);
		return rc == -E_AGAIN ? cl_edit_wait_memory(op) : rc;
	}
	if (bytes)
		memcpy(chunk->buf->data + from, bytes, count);
	else
		memset(chunk->buf->data + from, 0, count);
	count = cl_streamed_feed(chunk, from, count);
	chunk->len = MAX_OF(chunk->len, from + count);
	cl_chunk_dirty(chunk);
	cl_edit_touch(op);
	cl_edit_grow(file, pos + count);
	if (from + count == chunk->cap && file->size > INLINE_BYTES_MAX)
		cl_chunk_put(chunk);
	*out_len = count;
	return 0;
}

int cl_edit_write_step(struct cl_op *op)
{
	struct cl_file *file = op->file;
	struct client *c = file->client;
	if (op->progress == 0 && (op->flags & O_APPEND))
		op->offset = file->size;
	if (op->offset > FILE_BYTES_MAX || op->bytes_len > FILE_BYTES_MAX - op->offset)
		return -E_FBIG;
	while (op->progress < op->bytes_len) {
		uint32_t count;
		bool is_much =
			file->id_count >= CL_IDS_MAX || file->marks.count > BLOCKS_MARKS_MAX / 2;
		if (is_much && file->flush.state == CL_FLUSH_IDLE)
			cl_publish_start(file, NULL);
		int rc = cl_edit_bytes(op, op->offset + op->progress,
				       (const uint8_t *)op->bytes + op->progress,
				       op->bytes_len - op->progress, &count);
		if (rc != 0)
			return rc;
		op->progress += count;
	}
	if (op->flags & O_APPEND)
		file->appended_ns = loop_now_ns(c->options.loop);
	c->stats.writes++;
	c->stats.write_bytes += op->bytes_len;
	return 0;
}

/* --- truncate --------------------------------------------------------------------------------- */

/* Remove the manifest's part from `from` on. 0, 1 (waits), or an error. */
static int manifest_cut(struct cl_file *file, uint64_t from)
{
	uint64_t end = cl_place_manifest_end(file);
	return from < end ? cl_file_replace(file, from, end, NULL, &file->edit_fetch) : 0;
}

static int shrink(struct cl_op *op, uint64_t size)
{
	struct cl_file *file = op->file;
	struct cl_chunk *chunk = cl_chunk_find(file, size);
	uint64_t cut = chunk && chunk->start < size ? chunk->start : size;
	struct cl_place place = { .block_len = 0 };
	struct buf *filled = NULL;
	int rc;
	if (cut == size && size < cl_place_manifest_end(file)) {
		rc = cl_place_find(file, size, &place);
		if (rc != 0)
			return rc;
		if (place.block_len > 0 && place.start < size) {
			rc = cl_place_block(file, &place, &filled);
			if (rc != 0)
				return rc;
			cut = place.start;
		}
	}
	rc = manifest_cut(file, cut);
	if (rc == 0 && filled)
		rc = cl_chunk_make(file, place.start, place.cap, &chunk);
	if (rc != 0) {
		buf_put(filled);
		return rc;
	}
	if (filled)
		cl_chunk_fill(chunk, filled, place.block_len);
	struct cl_chunk *behind;
	while ((behind = cl_chunk_next(file, size)) != NULL)
		cl_chunk_drop(behind);
	file->size = size;
	return chunk && chunk->start < size ? cl_chunk_cut(chunk, (uint32_t)(size - chunk->start))
					    : 0;
}

int cl_edit_truncate_step(struct cl_op *op)
{
	struct cl_file *file = op->file;
	if (op->size > FILE_BYTES_MAX)
		return -E_FBIG;
	if (op->size != file->size)
		cl_streamed_end(file);
	if (op->size == 0) {
		cl_chunk_drop_all(file);
		manifest_destroy(file->manifest);
		cl_cache_cancel(file->client, &file->apply_fetch);
		file->manifest = NULL;
		file->size = 0;
	} else if (op->size < file->size) {
		int rc = shrink(op, op->size);
		if (rc != 0)
			return rc;
	} else {
		cl_edit_grow(file, op->size);
	}
	cl_edit_touch(op);
	return 0;
}
