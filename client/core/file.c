/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files in use: content loaded and refreshed, handles, errors that the next fsync or close reports.
 * See file.h.
 */
#include "client/core/atime.h"
#include "client/core/file.h"
#include "client/core/quota.h"
#include "client/core/draft.h"
#include "client/core/guess.h"
#include "client/core/locks.h"
#include "client/core/streamed.h"
#include "client/core/tiered.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "fs/base/log.h"

#define LOG_MODULE "file"

/* --- life ------------------------------------------------------------------------------------- */

struct cl_file *cl_file_get(struct client *c, struct cl_node *node)
{
	struct cl_file *file = node->file;
	if (!file) {
		file = calloc(1, sizeof *file);
		if (!file)
			return NULL;
		file->client = c;
		file->node = node;
		file->flush.seq = 0;
		blocks_marks_init(&file->marks);
		node->file = file;
		DL_APPEND(c->files, file);
	}
	file->refs++;
	return file;
}

static void content_drop(struct cl_file *file)
{
	cl_cache_cancel(file->client, &file->apply_fetch);
	cl_tiered_forget(file);
	cl_draft_forget(file);
	file->is_draft_refused = false;
	cl_streamed_end(file);
	cl_chunk_drop_all(file);
	manifest_destroy(file->manifest);
	file->manifest = NULL;
	cl_publish_forget(file);
	file->is_loaded = false;
	file->size = 0;
	file->kill_priv = 0;
	file->clean_seq = file->edit_seq;
	file->id_count = file->source_count = 0;
	file->new_bytes = 0;
	cl_session_settle(file->client, file->charged, 0);
	file->charged = file->charged_put = 0;
	cl_quota_drop(file);
	file->put_rc = 0;
	blocks_marks_init(&file->marks);
}

void cl_file_put(struct cl_file *file)
{
	struct client *c = file->client;
	ASSERT(file->refs > 0);
	if (--file->refs > 0 || cl_file_is_dirty(file))
		return;		/* dirty: the sweep publishes it and puts it again */
	ASSERT(file->flush.state == CL_FLUSH_IDLE && !file->edits && !file->load_waiters);
	file->refs++;
	content_drop(file);
	file->node->file = NULL;
	DL_DELETE(c->files, file);
	free(file->chunks);
	free(file->ids);
	free(file);
}

void cl_file_reset(struct cl_file *file)
{
	file->refs++;
	cl_publish_stop(file);
	content_drop(file);
	file->flush.ended_rc = 0;
	cl_publish_stopped(file);
	cl_file_put(file);
}

/* What the kernel has of it is lost content, too. */
static void pages_dropped(void *arg unused_arg)
{
}

static void kernel_forget(struct client *c, inode_no ino)
{
	if (c->options.on_inval_attr)
		c->options.on_inval_attr(c->options.arg, ino);
	if (c->options.on_inval_pages)
		c->options.on_inval_pages(c->options.arg, ino, pages_dropped, NULL);
}

void cl_file_fail(struct cl_file *file, int rc)
{
	log_error("content written to inode %llu is lost: %s", (unsigned long long)file->node->ino,
		  error_text(rc));
	file->error = rc;
	file->error_seq++;
	kernel_forget(file->client, file->node->ino);
	cl_file_reset(file);
}

void cl_file_told(struct cl_file *file, int rc)
{
	/* Somebody else's data, who hears of it; or it is tried again now. */
	if (file->node->writers > 0 || !cl_file_is_dirty(file) || file->is_alone ||
	    file->flush.state != CL_FLUSH_IDLE || file->edits)
		return;
	cl_file_fail(file, rc);
}

int cl_file_take_error(struct cl_handle *h)
{
	struct cl_file *file = h->file;
	if (!file || h->error_seen == file->error_seq)
		return 0;
	h->error_seen = file->error_seq;
	return file->error;
}

uint32_t cl_file_kill_of(const struct cl_op *op, const struct cl_attr *attr)
{
	bool is_doubtful = (attr->st.st_mode & (S_ISGID | S_IXGRP)) == S_ISGID;
	if (!op->kill_priv)
		return 0;
	if (is_doubtful && op->is_member && !op->is_member(op, attr->st.st_gid))
		return CL_KILL_PRIV | CL_KILL_SGID;
	return CL_KILL_PRIV;
}

mode_t cl_file_kill_mode(mode_t mode, uint32_t kill)
{
	mode_t gone = S_ISUID;
	if (mode & S_IXGRP || kill & CL_KILL_SGID)
		gone |= S_ISGID;
	return kill ? mode & ~gone : mode;
}

/* --- content ---------------------------------------------------------------------------------- */

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
	op->wait_rc = req->call.rc;
	if (op->wait_rc == 0)
		op->wait_rc = cl_node_take_reply(req, (const void *)req->call.reply, NULL);
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

void cl_file_fence(struct client *c, int rc)
{
	struct cl_file *file, *next;
	cl_opens_fence(c);
	DL_FOREACH_SAFE(c->files, file, next) {
		if (cl_file_is_dirty(file) || rc == -E_OTHER_TERM)
			cl_file_fail(file, rc);
		else if (!file->is_loading)
			cl_file_reset(file);
	}
}

/* --- handles ---------------------------------------------------------------------------------- */

static bool is_writer(uint32_t flags)
{
	return (flags & O_ACCMODE) != O_RDONLY;
}

static struct cl_handle *handle_make(struct client *c, inode_no ino)
{
	struct cl_handle *h = calloc(1, sizeof *h);
	if (!h)
		return NULL;
	h->client = c;
	h->ino = ino;
	DL_APPEND(c->handles, h);
	return h;
}

void client_handle_set_direct(struct cl_handle *h, bool is_direct)
{
	h->is_direct = is_direct;
}

bool client_handle_is_direct(const struct cl_handle *h)
{
	return h->is_direct;
}

bool client_handle_is_reader(const struct cl_handle *h)
{
	return !is_writer(h->flags);
}

static void handle_drop(struct cl_handle *h)
{
	DL_DELETE(h->client->handles, h);
	free(h);
}

int cl_file_handle(struct client *c, struct cl_node *node, uint32_t flags, struct cl_handle **out)
{
	struct cl_handle *h = handle_make(c, node->ino);
	if (!h)
		return -E_NOMEM;
	h->flags = flags;
	h->file = cl_file_get(c, node);
	if (!h->file) {
		handle_drop(h);
		return -E_NOMEM;
	}
	h->error_seen = h->file->error_seq;
	if (is_writer(flags))
		node->writers++;
	else
		node->readers++;
	*out = h;
	return 0;
}

/* What the kernel holds of the content, if anything, is still right. */
static bool pages_are_right(const struct cl_node *node)
{
	if (!node->has_pages || node->lease == CL_LEASE_NONE)
		return false;
	if (node->attr.root.kind == ROOT_INLINE)
		return node->pages_version == node->attr.version;
	return root_equal(&node->pages_root, &node->attr.root);
}

static bool reads(uint32_t flags)
{
	return (flags & O_ACCMODE) != O_WRONLY && !(flags & O_NOATIME);
}

/*
 * A read of pages that the kernel kept does not come to us. Of small files it drops them when an
 * access time is due, so that it must; who opens a large one is taken to read it.
 */
static void read_unseen(struct client *c, struct cl_node *node, struct cl_op *op)
{
	if (node->attr.st.st_size <= (off_t)MiB(1))
		op->keep_cache = false;
	else
		client_was_read(c, node->ino);
}

void cl_file_opened(struct client *c, struct cl_node *node, struct cl_op *op)
{
	bool is_unknown = node->pages_version == UINT64_MAX;
	op->keep_cache = pages_are_right(node) ||
			 (node->file && cl_file_is_dirty(node->file) && !is_unknown);
	op->direct_io = node->lease == CL_LEASE_NONE;
	if (op->keep_cache && reads(op->flags) && cl_atime_is_due(c, node))
		read_unseen(c, node, op);
	node->has_pages = true;
	node->pages_root = node->attr.root;
	node->pages_version = node->attr.version;
	cl_node_show(c, node, &op->attr);
}

static void open_finish(struct cl_op *op, struct cl_node *node)
{
	int rc = S_ISDIR(node->attr.st.st_mode) ? -E_ISDIR : 0;
	if (rc == 0)
		rc = cl_file_handle(op->client, node, op->flags, &op->opened);
	if (rc == 0)
		cl_file_opened(op->client, node, op);
	if (rc == 0 && !is_writer(op->flags) && cl_tiered_root(op->client, node)) {
		cl_policy_want(node->file);
		if (op->client->guess)
			cl_guess_used(op->client->guess, node);
	}
	cl_opens_settle(op->client, node);
	cl_op_finish(op, rc);
}

/* Content so small comes with the answer. Without memory for it, it is asked for. */
static void open_supply(struct cl_req *req, struct cl_file *file)
{
	const Wire__NodeReply *reply = (const void *)req->call.reply;
	const struct cl_attr *attr = &file->node->attr;
	bool is_wanted = !file->is_loaded && !file->is_loading && !file->chunk_count &&
			 attr->root.kind == ROOT_INLINE && attr->version == reply->attr->version;
	if (req->call.reply_bulk && is_wanted && take_inline(file, req->call.reply_bulk) == 0)
		content_is(file);
}

static void open_done(struct cl_req *req)
{
	struct client *c = req->client;
	struct cl_op *op = req->op;
	struct cl_node *node = req->arg;
	int rc = req->call.rc;
	if (rc == 0) {
		cl_opens_registered(node, req->msg.open.write);
		rc = cl_node_take_reply(req, (const void *)req->call.reply, NULL);
		if (rc == 0 && !node->has_attr)
			rc = -E_MALFORMED;
	}
	node->is_opening = false;
	if (rc < 0) {
		cl_op_finish(op, rc);
	} else {
		struct cl_file *file = cl_file_get(c, node);
		if (file && ((const Wire__NodeReply *)(const void *)req->call.reply)->attr)
			open_supply(req, file);
		open_finish(op, node);
		if (file)
			cl_file_put(file);
	}
	cl_opens_settle(c, node);
	cl_op_wake(&node->open_waiters);
}

static void open_orphaned(struct cl_req *req)
{
	struct cl_node *node = req->arg;
	if (req->call.rc == 0)
		cl_opens_registered(node, req->msg.open.write);
	node->is_opening = false;
	cl_opens_settle(req->client, node);
	cl_op_wake(&node->open_waiters);
}

/* The first writer asks for the write lease, even if an open is still registered. */
static bool is_registered(struct client *c, const struct cl_node *node, bool write)
{
	return write ? node->has_open_write && (node->writers > 0 || cl_node_can_write(c, node)) :
		       node->has_open_read || node->has_open_write;
}

static void open_refreshed(struct cl_req *req)
{
	struct cl_op *op = req->op;
	struct cl_node *node = NULL;
	int rc = req->call.rc;
	if (rc == 0)
		rc = cl_node_take_reply(req, (const void *)req->call.reply, &node);
	if (rc < 0)
		cl_op_finish(op, rc);
	else if (is_registered(op->client, node, is_writer(op->flags)))
		open_finish(op, node);
	else
		cl_file_open(op);	/* who had it registered has closed it meanwhile */
}

void cl_file_open(struct cl_op *op)
{
	struct client *c = op->client;
	struct cl_node *node = cl_node_get(c, op->ino);
	struct cl_req *req;
	bool write = is_writer(op->flags);
	if (!node) {
		cl_op_finish(op, -E_NOMEM);
		return;
	}
	if (node->is_opening) {
		cl_op_wait(op, &node->open_waiters, "another open of the file", cl_file_open);
		return;
	}
	if (is_registered(c, node, write)) {
		if (cl_node_is_fresh(c, node)) {
			open_finish(op, node);
			return;
		}
		req = cl_session_req(c, op, MSG_GETATTR, open_refreshed);
		if (req) {
			req->msg.get_attr.ino = op->ino;
			req->msg.get_attr.lease = true;
			cl_session_send(req);
			return;
		}
	} else if ((req = cl_session_req(c, op, MSG_OPEN, open_done)) != NULL) {
		req->arg = node;
		req->orphaned = open_orphaned;
		req->msg.open.ino = op->ino;
		req->msg.open.write = write;
		node->is_opening = true;
		cl_session_send(req);
		return;
	}
	cl_op_finish(op, -E_NOMEM);
}

void cl_file_handle_free(struct cl_handle *h)
{
	struct client *c = h->client;
	struct cl_file *file = h->file;
	cl_locks_released(h);
	if (!file) {
		cl_listing_drop(h);
		handle_drop(h);
		return;
	}
	struct cl_node *node = file->node;
	if (is_writer(h->flags))
		node->writers--;
	else
		node->readers--;
	bool is_last = node->readers + node->writers == 0;
	if (is_last)
		cl_tiered_closed(file);
	cl_draft_settle(file);
	if (is_last && cl_file_is_dirty(file)) {
		if (node->attr.st.st_nlink == 0)
			cl_file_reset(file);	/* nobody can see it any more */
		else if (file->flush.state == CL_FLUSH_IDLE && file->flush.ended_rc < 0)
			cl_file_fail(file, file->flush.ended_rc);	/* its writer was told */
		else
			cl_publish_start(file, NULL);
	}
	cl_file_put(file);
	cl_opens_settle(c, node);
	handle_drop(h);
}

struct cl_handle *cl_file_handle_dir(struct client *c, inode_no ino)
{
	struct cl_handle *h = handle_make(c, ino);
	if (h)
		h->is_dir = true;
	return h;
}

/* --- the end ---------------------------------------------------------------------------------- */

void cl_file_stop(struct client *c)
{
	struct cl_file *file;
	DL_FOREACH(c->files, file) {
		file->refs++;		/* cl_file_finish() takes them all */
		cl_publish_stop(file);
		cl_publish_stopped(file);
	}
}

void cl_file_finish(struct client *c)
{
	struct cl_handle *h, *next;
	while (c->files) {
		struct cl_file *file = c->files;
		loop_timer_stop(c->options.loop, &file->flush.turn);
		file->refs = 1;
		cl_file_reset(file);
		cl_file_put(file);
	}
	DL_FOREACH_SAFE(c->handles, h, next)
		handle_drop(h);		/* a front that crashed did not close them */
}

void cl_file_release(struct cl_op *op)
{
	cl_file_handle_free(op->handle);
	cl_op_finish(op, 0);
}
