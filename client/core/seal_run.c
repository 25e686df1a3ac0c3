/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The run of one file: its steps, and how it ends. A turn looks first whether it is wanted at all;
 * then it begins what comes next, which ends by cl_seal_run_back().
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "client/core/publish_internal.h"
#include "client/core/seal_internal.h"

#define HEADER_AHEAD  (uint32_t)KiB(256)	/* read behind it, where it goes forward */
#define HEADER_NEAR   KiB(64)		/* so far behind the window it still goes forward */
#define HEADER_READ_MAX(length) MAX_OF(MiB(64), (length) / 16)
#define PUBLISH_TRIES 8u
#define PUBLISH_AGAIN_MS 100u
#define PAUSES_MAX    25u		/* for others, before a piece */
#define NS_PER_MS     UINT64_C(1000000)

/* --- is it wanted ----------------------------------------------------------------------------- */

/* 0; or why it ends now. */
static int run_judge(const struct seal_run *run)
{
	const struct client *c = run->client;
	const struct cl_node *node = cl_node_find(run->client, run->ino);
	const struct cl_file *file = node ? node->file : NULL;

	if (c->life != CL_RUNNING || c->session.number == 0)
		return -E_CANCELED;
	if (!node || !node->has_attr)
		return 0;		/* the metadata server says */
	if (node->attr.st.st_nlink == 0)
		return -E_CANCELED;
	if (node->attr.version != run->version && !root_equal(&node->attr.root, &run->root))
		return -E_STALE_VERSION;
	if (node->writers > 0 || node->is_recalling ||
	    (file && (cl_file_is_dirty(file) || file->edits ||
		      file->flush.state != CL_FLUSH_IDLE)))
		return -E_BUSY;
	return 0;
}

/* Readers and writers go first; but not for ever. */
static bool run_pauses(struct seal_run *run)
{
	const struct client *c = run->client;
	bool is_wanted = c->cache.wanted != NULL || c->puts.queue != NULL;
	bool is_used = run->seen_reads != c->stats.reads || run->seen_puts != c->stats.blocks_put;

	run->seen_reads = c->stats.reads;
	run->seen_puts = c->stats.blocks_put;
	if ((!is_wanted && (run->is_asked || !is_used)) || ++run->pauses > PAUSES_MAX) {
		run->pauses = 0;
		return false;
	}
	cl_seal_run_later(run, SEAL_PAUSE_MS);
	return true;
}

/* --- steps ------------------------------------------------------------------------------------ */

static int header_bytes(void *arg, uint64_t offset, uint32_t len, const void **bytes)
{
	struct seal_run *run = arg;

	if (offset < run->start || offset + len > run->start + run->len) {
		run->need_offset = offset;
		run->need_len = len;
		return -E_NEED_BYTES;
	}
	*bytes = run->bytes + (offset - run->start);
	return 0;
}

static void header_end(struct seal_run *run)
{
	cut_plan_seal(&run->plan, run->tensors ? tensors_data_start(run->tensors) : 0);
	tensors_destroy(run->tensors);
	run->tensors = NULL;
	cut_init(&run->cut, &run->plan, 0);
	run->step = SEAL_READ;
	run->start = run->len = run->carry = 0;
	cl_seal_run_later(run, 0);
}

/*
 * Read what the walk asks for. Not where it asks again for what was just read, as where blocks are
 * so small that no window holds it; nor where it would read much of the file (I11).
 */
static int header_read(struct seal_run *run)
{
	uint64_t at = run->need_offset, end = run->start + run->len;
	bool is_forward = at >= run->start && at <= end + HEADER_NEAR;

	if ((run->asked_len == run->need_len && run->asked_offset == at) ||
	    run->header_bytes > HEADER_READ_MAX(run->root.length)) {
		header_end(run);
		return 0;
	}
	run->asked_offset = at;
	run->asked_len = run->need_len;
	return cl_seal_read(run, at, run->need_len + (is_forward ? HEADER_AHEAD : 0));
}

/* Whatever is wrong with a header costs cuts at its tensors, and no more. */
static int step_header(struct seal_run *run)
{
	if (run_pauses(run))
		return 0;
	int rc = run->tensors ? tensors_walk(run->tensors) : 0;
	if (rc == -E_NEED_BYTES)
		return header_read(run);
	if (rc == -E_AGAIN)
		cl_seal_run_later(run, 0);
	else
		header_end(run);
	return 0;
}

static int step_read(struct seal_run *run)
{
	uint64_t at = run->start + run->len;

	if (at == run->root.length) {
		run->step = SEAL_NODES;
		cl_seal_run_later(run, 0);
		return 0;
	}
	return run_pauses(run) ? 0 : cl_seal_read(run, at, run->capacity);
}

/* What was read is a hole: it is skipped. */
static int put_hole(struct seal_run *run)
{
	struct extent e;
	int rc = manifest_lookup(run->old, run->start, &e);

	if (rc < 0)
		return rc == -E_NEED_NODE ? -E_AGAIN : rc;
	rc = cl_seal_put_hole(run, e.offset + e.length - run->start);
	if (rc != 0)
		return rc;
	run->start = e.offset + e.length;
	cut_restart(&run->cut, run->start);
	return 0;
}

static int step_put(struct seal_run *run)
{
	bool is_hole = run->part_count == 0;
	int rc = is_hole ? put_hole(run) : cl_seal_put_blocks(run);

	if (rc < 0)
		return rc;
	if (is_hole ? rc > 0 : rc == 0)
		return 0;
	if (!is_hole) {
		uint32_t done = run->len - run->tail;
		memmove(run->bytes, run->bytes + done, run->tail);
		run->start += done;
		run->len = run->carry = run->tail;
	}
	run->info.done_bytes = run->start;
	run->step = SEAL_READ;
	cl_seal_run_later(run, 0);
	return 0;
}

static void sync_done(struct blocks_sync *sync)
{
	struct seal_run *run = sync->user;

	if (!cl_seal_run_unbusy(run))
		return;
	run->step = SEAL_PUBLISH;
	cl_seal_run_back(run, sync->rc);
}

static int step_nodes(struct seal_run *run)
{
	int rc = cl_seal_put_nodes(run);

	if (rc <= 0)
		return rc;
	run->step = run->marks.count > 0 ? SEAL_SYNC : SEAL_PUBLISH;
	cl_seal_run_later(run, 0);
	return 0;
}

static int step_sync(struct seal_run *run)
{
	run->sync = (struct blocks_sync){ .marks = &run->marks, .done = sync_done, .user = run,
					  .deadline_ns = cl_publish_deadline_ns(run->client) };
	run->busy++;
	blocks_sync_start(run->client->blocks, &run->sync);
	return 0;
}

/* --- publish ---------------------------------------------------------------------------------- */

static void edits_go_on(struct client *c, inode_no ino)
{
	struct cl_node *node = cl_node_find(c, ino);

	if (!node)
		return;
	node->is_sealing = false;
	if (node->file)
		cl_edit_run(node->file);
}

static void publish_done(struct cl_req *req)
{
	struct client *c = req->client;
	struct seal_run *run = req->arg;
	const Wire__PublishReply *reply = (const void *)req->call.reply;
	int rc = req->call.rc;

	if (reply)
		cl_session_stamp(c, reply->stamp);
	if (!run)
		return;
	run->req = NULL;
	if (reply && reply->attr && (rc == 0 || rc == -E_STALE_VERSION)) {
		int taken = cl_node_take_attr(c, reply->attr, NULL);
		rc = taken < 0 ? taken : rc;
	} else if (rc == 0) {
		rc = -E_MALFORMED;
	}
	if (rc == 0) {
		cl_session_settle(c, run->charged, run->stored);
		run->charged = 0;
	}
	edits_go_on(c, run->ino);
	/* Who has closed it may not have told yet. */
	if (rc == -E_BUSY && ++run->publish_tries < PUBLISH_TRIES) {
		cl_seal_run_later(run, PUBLISH_AGAIN_MS);
		return;
	}
	run->info.done_bytes = run->info.bytes;
	cl_seal_ended(run, rc);
}

struct recut { uint8_t of[ROOT_BYTES]; };

static int step_publish(struct seal_run *run)
{
	struct client *c = run->client;
	struct cl_node *node = cl_node_find(c, run->ino);
	struct cl_req *req = cl_session_req(c, NULL, MSG_PUBLISH, publish_done);
	struct recut *recut = req ? calloc(1, sizeof *recut) : NULL;

	if (!recut) {
		if (req)
			cl_session_forget(req);
		return -E_NOMEM;
	}
	req->more = recut;
	root_encode(&run->root, recut->of);
	root_encode(&run->fresh_root, req->root);
	Wire__Publish *msg = &req->msg.publish;
	msg->ino = run->ino;
	msg->base_version = node && node->has_attr ? node->attr.version : run->version;
	msg->root = (ProtobufCBinaryData){ .data = req->root, .len = ROOT_BYTES };
	msg->recut_of = (ProtobufCBinaryData){ .data = recut->of, .len = ROOT_BYTES };
	msg->collection = run->marks.collection;
	msg->new_bytes = run->stored * c->copies;
	req->arg = run;
	run->req = req;
	if (node)
		node->is_sealing = true;
	cl_session_send(req);
	return 0;
}

/* --- turns ------------------------------------------------------------------------------------ */

static int run_step(struct seal_run *run)
{
	switch (run->step) {
	case SEAL_HEADER: return step_header(run);
	case SEAL_READ: return step_read(run);
	case SEAL_PUT: return step_put(run);
	case SEAL_NODES: return step_nodes(run);
	case SEAL_SYNC: return step_sync(run);
	case SEAL_PUBLISH: return step_publish(run);
	}
	return -E_INVAL;
}

static void run_turn(struct loop_timer *timer)
{
	struct seal_run *run = container_of(timer, struct seal_run, turn);
	int rc = run->rc;

	if (rc == 0)
		rc = run_judge(run);
	if (rc == 0)
		rc = run_step(run);
	if (rc < 0)
		cl_seal_ended(run, rc);
}

void cl_seal_run_later(struct seal_run *run, uint64_t ms)
{
	loop_timer_start(run->client->options.loop, &run->turn, ms);
}

void cl_seal_run_back(struct seal_run *run, int rc)
{
	run->rc = run->rc < 0 ? run->rc : MIN_OF(rc, 0);
	cl_seal_run_later(run, 0);
}

/* --- life ------------------------------------------------------------------------------------- */

static void run_free(struct seal_run *run)
{
	for (uint32_t i = 0; i < SEAL_PUTS_MAX; i++)
		buf_put(run->puts[i].buf);
	tensors_destroy(run->tensors);
	cut_plan_finish(&run->plan);
	manifest_destroy(run->old);
	manifest_destroy(run->fresh);
	free(run->bytes);
	free(run);
}

bool cl_seal_run_unbusy(struct seal_run *run)
{
	run->busy--;
	if (run->client)
		return true;
	if (run->busy == 0)
		run_free(run);
	return false;
}

void cl_seal_run_drop(struct seal_run *run)
{
	struct client *c = run->client;

	loop_timer_stop(c->options.loop, &run->turn);
	cl_seal_read_cancel(run);
	if (run->req) {
		cl_session_forget(run->req);
		edits_go_on(c, run->ino);
	}
	cl_session_settle(c, run->charged, 0);
	run->client = NULL;
	if (run->busy == 0)
		run_free(run);
}

int cl_seal_run_start(struct client *c, const struct cl_node *node, bool is_asked,
		      struct seal_run **out)
{
	struct seal_run *run = calloc(1, sizeof *run);
	const struct root empty = { .kind = ROOT_EMPTY };
	int rc = -E_NOMEM;

	if (!run)
		return -E_NOMEM;
	run->client = c;
	run->ino = node->ino;
	run->version = node->attr.version;
	run->root = node->attr.root;
	run->is_asked = is_asked;
	run->hash = c->hash;
	run->step = SEAL_HEADER;
	run->turn.fn = run_turn;
	run->collection = UINT64_MAX;
	run->info = (struct cl_seal_info){ .state = CL_SEAL_RUNNING, .bytes = run->root.length };
	blocks_marks_init(&run->marks);
	cut_plan_init(&run->plan);
	run->capacity = (uint32_t)MIN_OF(MAX_OF(c->options.memory_bytes / 32, SEAL_BYTES_MIN),
					 SEAL_BYTES_MAX) + BLOCK_BYTES_MAX;
	run->bytes = malloc(run->capacity);
	if (run->bytes)
		rc = manifest_create(&run->root, c->hash, CL_MANIFEST_NODES, &run->old);
	if (rc == 0)
		rc = manifest_create(&empty, c->hash, CL_MANIFEST_NODES, &run->fresh);
	if (rc < 0) {
		run_free(run);
		return rc;
	}
	struct tensors_source source = { .size = run->root.length, .read = header_bytes,
					 .arg = run };
	struct tensors_sink sink = { .span = cut_plan_span, .arg = &run->plan };
	run->tensors = tensors_create(&source, &sink);	/* without: anchors alone */
	cl_seal_run_later(run, 0);
	*out = run;
	return 0;
}
