/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Content of files in use: loaded, refreshed where there is no lease, inline or by a manifest whose
 * nodes come as they are needed. See file.h.
 *
 * Loading changes nothing that was edited: what is dirty is newer than what the server has.
 */
#include <string.h>
#include <utlist.h>

#include "client/core/file.h"
#include "client/core/streamed.h"

/* --- loading ---------------------------------------------------------------------------------- */

static bool is_same_content(const struct cl_file *file, const struct cl_attr *attr)
{
	if (file->version == attr->version)
		return true;
	/* An inline root does not name its bytes. */
	return attr->root.kind != ROOT_INLINE && root_equal(&file->root, &attr->root);
}

static void load_ended(struct cl_file *file, int rc)
{
	struct cl_op *op;
	file->is_loading = false;
	DL_FOREACH2(file->load_waiters, op, wait_next)
		op->wait_rc = rc;
	file->refs++;
	cl_op_wake(&file->load_waiters);
	cl_file_put(file);
}

static int take_inline(struct cl_file *file, const struct buf *bulk)
{
	struct cl_chunk *chunk;
	uint32_t len = bulk ? bulk->len : 0;
	if (len != file->node->attr.root.length || len > INLINE_BYTES_MAX)
		return -E_STALE_VERSION;
	if (len == 0)
		return 0;
	int rc = cl_chunk_make(file, 0, BLOCK_BYTES_MAX, &chunk);
	if (rc < 0)
		return rc;
	rc = cl_chunk_reserve(chunk, 0, len);
	if (rc < 0) {
		cl_chunk_drop(chunk);
		return rc;
	}
	memcpy(chunk->buf->data, bulk->data, len);
	chunk->len = len;
	return 0;
}

bool cl_file_fits_inline(const struct cl_file *file)
{
	if (file->size > INLINE_BYTES_MAX || (file->manifest && manifest_bytes(file->manifest) > 0))
		return false;
	if (file->chunk_count == 0)
		return true;
	const struct cl_chunk *first = file->chunks[0];
	/* what is left of a file that was cut may be shorter than what it has grown to since */
	return file->chunk_count == 1 && first->start == 0 && first->put_state == CL_PUT_NONE &&
	       file->size <= first->cap;
}

uint64_t cl_file_data_bytes(const struct cl_file *file, uint64_t size)
{
	if (size <= INLINE_BYTES_MAX && cl_file_fits_inline(file))
		return size;
	uint64_t data = file->manifest ? manifest_data_bytes(file->manifest) : 0;
	for (uint32_t i = 0; i < file->chunk_count; i++) {
		const struct cl_chunk *chunk = file->chunks[i];
		uint32_t bytes = cl_chunk_bytes_of(chunk, size);
		data += bytes - MIN_OF(chunk->hides, bytes);
	}
	return data;
}

static void content_is(struct cl_file *file)
{
	const struct cl_attr *attr = &file->node->attr;
	file->is_loaded = true;
	file->version = attr->version;
	file->root = attr->root;
	file->size = (uint64_t)attr->st.st_size;
	file->mtime_ns = cl_node_ns_of_time(&attr->st.st_mtim);
}

void cl_file_supply(struct cl_file *file, uint64_t version, const struct buf *bulk)
{
	const struct cl_attr *attr = &file->node->attr;
	bool is_wanted = !file->is_loaded && !file->is_loading && !file->chunk_count &&
			 attr->root.kind == ROOT_INLINE && attr->version == version;
	if (bulk && is_wanted && take_inline(file, bulk) == 0)
		content_is(file);
}

/* Cut at other places (seal.h), and nothing else: readers and tiers go on. */
static bool is_recut(const struct cl_file *file, const struct cl_attr *attr)
{
	return file->version != attr->version && file->manifest && file->chunk_count == 0 &&
	       attr->recut_of.kind != ROOT_EMPTY && root_equal(&file->root, &attr->recut_of) &&
	       file->size == (uint64_t)attr->st.st_size;
}

static int content_recut(struct cl_file *file)
{
	struct manifest *manifest;
	int rc = manifest_create(&file->node->attr.root, file->client->hash, CL_MANIFEST_NODES,
				 &manifest);
	if (rc < 0)
		return rc;
	cl_streamed_end(file);	/* its block under way may be cut otherwise now */
	manifest_destroy(file->manifest);
	file->manifest = manifest;
	content_is(file);
	return 0;
}

static void inline_done(struct cl_req *req)
{
	struct cl_file *file = req->arg;
	const Wire__InlineReply *reply = (const void *)req->call.reply;
	int rc = req->call.rc;
	if (rc == 0 && (!reply || reply->version != file->node->attr.version))
		rc = -E_STALE_VERSION;
	if (rc == 0)
		rc = take_inline(file, req->call.reply_bulk);
	if (rc == 0)
		content_is(file);
	if (rc == -E_STALE_VERSION) {
		/* It changed between the two answers: ask for the attributes again. */
		file->node->has_attr = false;
		struct cl_op *op;
		DL_FOREACH2(file->load_waiters, op, wait_next)
			op->is_fresh = false;
		rc = 0;
	}
	load_ended(file, rc);
	cl_file_put(file);
}

static int load_inline(struct cl_op *op, struct cl_file *file, void (*resume)(struct cl_op *op))
{
	if (!file->is_loading) {
		struct cl_req *req =
			cl_session_req(file->client, NULL, MSG_GET_INLINE, inline_done);
		if (!req)
			return -E_NOMEM;
		req->msg.get_inline.ino = file->node->ino;
		req->msg.get_inline.version = file->node->attr.version;
		req->arg = file;
		file->refs++;
		file->is_loading = true;
		cl_session_send(req);
	}
	cl_op_wait(op, &file->load_waiters, "small content from the metadata server", resume);
	return 1;
}

static void fresh_done(struct cl_req *req)
{
	struct cl_op *op = req->op;
	op->wait_rc = cl_node_take_reply(req, NULL);
	op->is_fresh = op->wait_rc == 0;
	if (op->is_fresh && req->msg.get_attr.write)
		cl_lease_turn_begun(op->file);
	op->resume(op);
}

static int load_attr(struct cl_op *op, struct cl_file *file, void (*resume)(struct cl_op *op))
{
	struct cl_req *req = cl_session_req(file->client, op, MSG_GETATTR, fresh_done);
	if (!req)
		return -E_NOMEM;
	req->msg.get_attr.ino = file->node->ino;
	req->msg.get_attr.lease = true;
	req->msg.get_attr.write = cl_lease_wants_turn(op, file->node);
	op->resume = resume;
	cl_session_send(req);
	return 1;
}

static int load_root(struct cl_op *op, struct cl_file *file, void (*resume)(struct cl_op *op))
{
	const struct cl_attr *attr = &file->node->attr;
	if (!S_ISREG(attr->st.st_mode))
		return S_ISDIR(attr->st.st_mode) ? -E_ISDIR : -E_INVAL;
	if (attr->root.kind == ROOT_INLINE)
		return load_inline(op, file, resume);
	if (attr->root.kind != ROOT_EMPTY) {
		int rc = manifest_create(&attr->root, file->client->hash, CL_MANIFEST_NODES,
					 &file->manifest);
		if (rc < 0)
			return rc;
	}
	content_is(file);
	return 0;
}

int cl_file_load(struct cl_op *op, struct cl_file *file, void (*resume)(struct cl_op *op))
{
	struct client *c = file->client;
	struct cl_node *node = file->node;
	int rc = op->wait_rc;
	op->wait_rc = 0;
	if (rc < 0)
		return rc;
	/* What is edited alone may be refused, and nobody else has seen it. Edits wait in line. */
	if (file->is_alone && !op->is_queued) {
		cl_op_wait(op, &file->alone_waiters, "a write that is being published", resume);
		return 1;
	}
	/*
	 * Edits in memory are newer than what the server has, and only this client may have made
	 * them.
	 */
	bool is_busy = file->is_loaded && (cl_file_is_dirty(file) ||
					   (file->is_editing && file->edits != op &&
					    file->edits->is_begun));
	if (is_busy)
		return 0;
	bool is_fresh = cl_node_is_fresh(c, node) && !cl_lease_wants_turn(op, node);
	if (!node->has_attr || (!is_fresh && !op->is_fresh))
		return load_attr(op, file, resume);
	if (file->is_loaded && file->flush.state == CL_FLUSH_IDLE) {
		if (is_recut(file, &node->attr)) {
			rc = content_recut(file);
			if (rc < 0)
				return rc;
		} else if (!is_same_content(file, &node->attr)) {
			cl_file_reset(file);
		} else {
			file->version = node->attr.version;
		}
	}
	return file->is_loaded ? 0 : load_root(op, file, resume);
}

/* --- the manifest ----------------------------------------------------------------------------- */

int cl_file_node(struct cl_file *file, struct cl_fetch *fetch)
{
	struct client *c = file->client;
	struct block_id id = *manifest_needed(file->manifest);
	int rc = cl_cache_fetch(c, &id, 0, fetch);
	if (rc <= 0)
		return rc == 0 ? 1 : rc;
	rc = manifest_supply(file->manifest, fetch->buf->data, fetch->buf->len);
	buf_put(fetch->buf);
	fetch->buf = NULL;
	return rc;
}

int cl_file_lookup(struct cl_file *file, uint64_t pos, struct cl_fetch *fetch, struct extent *out)
{
	for (;;) {
		int rc = manifest_lookup(file->manifest, pos, out);
		if (rc != -E_NEED_NODE)
			return rc;
		rc = cl_file_node(file, fetch);
		if (rc != 0)
			return rc;
	}
}

int cl_file_replace(struct cl_file *file, uint64_t from, uint64_t to, const struct extent *with,
		    struct cl_fetch *fetch)
{
	for (;;) {
		int rc = manifest_replace(file->manifest, from, to - from, with, with ? 1 : 0);
		if (rc != -E_NEED_NODE)
			return rc;
		rc = cl_file_node(file, fetch);
		if (rc != 0)
			return rc;
	}
}

int cl_file_append_hole(struct cl_file *file, uint64_t size, struct cl_fetch *fetch)
{
	uint64_t bytes = manifest_bytes(file->manifest);
	if (bytes >= size)
		return 0;
	struct extent hole = { .length = size - bytes };
	return cl_file_replace(file, bytes, bytes, &hole, fetch);
}
