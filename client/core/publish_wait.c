/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who waits for content to be published: close, fsync, syncfs, and attributes that travel with it.
 */
#include <stdlib.h>
#include <utlist.h>

#include "client/core/file.h"
#include "client/core/locks.h"

struct flush_op {
	struct cl_flush_wait wait;
	struct cl_op *op;
	struct cl_file *file;
};

static void flush_op_free(struct cl_op *op)
{
	struct flush_op *f = op->state;
	op->state = NULL;
	op->cancel = NULL;
	if (f->file->setting == op)
		f->file->setting = NULL;
	cl_file_put(f->file);
	free(f);
}

static void flush_op_cancel(struct cl_op *op)
{
	struct flush_op *f = op->state;
	cl_publish_cancel(f->file, &f->wait);
	flush_op_free(op);
}

/* Of what was written before, which close and fsync tell: once, so nobody else takes it. */
static int earlier_error(const struct cl_op *op)
{
	bool is_told = op->kind == CL_FLUSH || op->kind == CL_FSYNC;
	return is_told && op->handle ? cl_file_take_error(op->handle) : 0;
}

static void flush_op_done(struct cl_flush_wait *wait, int rc)
{
	struct cl_op *op = wait->arg;
	flush_op_free(op);
	int earlier = earlier_error(op);
	op->resume_rc(op, rc < 0 ? rc : earlier);
}

/*
 * Is there anything to publish for those who ask? What an edit without a lease changes is its own
 * until it ends: it publishes, and starts over when somebody was first.
 */
static bool is_pending(const struct cl_file *file)
{
	return cl_file_is_dirty(file) && !file->is_alone;
}

/*
 * Only with a publish that begins now and cannot be refused for it. Modes and owners do not make a
 * large file be stored before its time.
 */
bool cl_publish_takes(const struct cl_op *op, const struct cl_file *file)
{
	const uint32_t times = CL_SET_ATIME | CL_SET_MTIME | CL_SET_ATIME_NOW | CL_SET_MTIME_NOW;
	const struct cl_node *node = file->node;
	if (op->set_mask & CL_SET_SIZE ||
	    (op->set_mask & ~times && (file->size > INLINE_BYTES_MAX || file->manifest)))
		return false;
	return is_pending(file) && file->flush.state == CL_FLUSH_IDLE && !file->setting &&
	       cl_node_can_write(file->client, node) &&
	       (op->uid == 0 || op->uid == node->attr.st.st_uid);
}

/* Publish what the file has; then(op, rc), perhaps at once. */
static void flush_file(struct cl_op *op, struct cl_file *file,
		       void (*then)(struct cl_op *op, int rc))
{
	if (!file || !is_pending(file)) {
		then(op, earlier_error(op));
		return;
	}
	struct flush_op *f = calloc(1, sizeof *f);
	if (!f) {
		then(op, -E_NOMEM);
		return;
	}
	f->op = op;
	f->file = file;
	f->wait.done = flush_op_done;
	f->wait.arg = op;
	f->wait.is_timed = true;
	file->refs++;
	op->state = f;
	op->resume_rc = then;
	op->cancel = flush_op_cancel;
	op->waiting_for = "its data to be published";
	op->is_set = false;
	if (op->kind == CL_SETATTR && cl_publish_takes(op, file))
		file->setting = op;
	cl_publish_start(file, &f->wait);
}

void cl_publish_file(struct cl_op *op, struct cl_file *file, void (*then)(struct cl_op *op, int rc))
{
	flush_file(op, file, then);
}

void cl_publish_flush(struct cl_op *op)
{
	flush_file(op, op->handle->file, cl_locks_flushed);
}

/* `op->out_handle`: of a directory (cl_publish_syncfs). */
static struct cl_handle *fsync_handle(const struct cl_op *op)
{
	return op->handle ? op->handle : op->out_handle;
}

static void fsync_end(struct cl_op *op, int rc)
{
	struct cl_handle *h = fsync_handle(op);
	if (rc == 0 || rc == -E_OTHER_TERM) {
		int lost = cl_changes_error(op->client, h ? h->ino : op->ino, h);
		rc = rc < 0 ? rc : lost;
	}
	cl_op_finish(op, rc);
}

static void durable_done(struct cl_req *req)
{
	const Wire__StampReply *reply = (const void *)req->call.reply;
	if (reply)
		cl_session_stamp(req->client, reply->stamp);
	if (req->call.rc == -E_OTHER_TERM)
		cl_changes_told(req->client, fsync_handle(req->op), req->msg.fsync.term);
	fsync_end(req->op, req->call.rc);
}

/* D2: names and small content, too, survive power loss. */
static void wait_durable(struct cl_op *op, int rc)
{
	struct client *c = op->client;
	struct cl_req *req;
	if (rc < 0 || c->session.last_number == 0) {
		fsync_end(op, rc);
		return;
	}
	req = cl_session_req(c, op, MSG_FSYNC, durable_done);
	if (!req) {
		cl_op_finish(op, -E_NOMEM);
		return;
	}
	req->msg.fsync.term = c->session.term;
	req->msg.fsync.number = c->session.last_number;
	cl_session_send(req);
}

void cl_publish_fsync(struct cl_op *op)
{
	flush_file(op, op->handle ? op->handle->file : NULL, wait_durable);
}

/*
 * One dirty file after the other. Those written meanwhile may go on for ever, so each is looked at
 * once.
 */
static void syncfs_next(struct cl_op *op, int rc)
{
	struct client *c = op->client;
	struct cl_file *file, *chosen = NULL;
	if (rc < 0) {
		cl_op_finish(op, rc);
		return;
	}
	DL_FOREACH(c->files, file)
		if (is_pending(file) && file->sync_round != op->progress) {
			chosen = file;
			break;
		}
	if (!chosen) {
		wait_durable(op, 0);
		return;
	}
	chosen->sync_round = op->progress;
	flush_file(op, chosen, syncfs_next);
}

void cl_publish_syncfs(struct cl_op *op)
{
	static uint64_t rounds;
	op->progress = ++rounds;
	op->out_handle = op->handle;	/* it is no file's: whose error it hears */
	op->handle = NULL;
	syncfs_next(op, 0);
}
