/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files in use: their life, handles, opens, errors that the next fsync or close reports. See
 * file.h.
 */
#include "client/core/file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <utlist.h>

#include "client/core/atime.h"
#include "client/core/draft.h"
#include "client/core/guess.h"
#include "client/core/locks.h"
#include "client/core/quota.h"
#include "client/core/streamed.h"
#include "client/core/tiered.h"
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
	h->loss_seen = cl_changes_seen(c, ino);
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

/* The session was lost while the open was under way: what was open before it is opened again. */
static void opens_beside(const struct cl_req *req, struct cl_node *node)
{
	if (req->has_moved || (!node->has_open_read && !node->has_open_write))
		cl_opens_again(req->client, node);
}

static void open_done(struct cl_req *req)
{
	struct client *c = req->client;
	struct cl_op *op = req->op;
	struct cl_node *node = req->arg;
	if (req->call.rc == 0)
		cl_opens_registered(node, req->msg.open.write);
	int rc = cl_node_take_reply(req, NULL);
	if (rc == 0 && !node->has_attr)
		rc = -E_MALFORMED;
	node->is_opening = false;
	if (rc < 0) {
		cl_op_finish(op, rc);
	} else {
		const Wire__NodeReply *reply = (const void *)req->call.reply;
		struct cl_file *file = cl_file_get(c, node);
		if (file && reply->attr)
			cl_file_supply(file, reply->attr->version, req->call.reply_bulk);
		open_finish(op, node);
		if (file)
			cl_file_put(file);
	}
	opens_beside(req, node);
	cl_opens_settle(c, node);
	cl_op_wake(&node->open_waiters);
}

static void open_orphaned(struct cl_req *req)
{
	struct cl_node *node = req->arg;
	if (req->call.rc == 0)
		cl_opens_registered(node, req->msg.open.write);
	node->is_opening = false;
	opens_beside(req, node);
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
	int rc = cl_node_take_reply(req, &node);
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
