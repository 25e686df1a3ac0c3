/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Publishing: what was written becomes the inode's content for everybody.
 *
 *   puts: dirty chunks are stored and put into the manifest -> nodes: the manifest is sealed, its
 *   nodes are stored -> sync: every server that holds a mark made it durable (I2) -> send: PUBLISH
 *   names the version it was built from (I13).
 *
 * Content that fits travels inside PUBLISH alone. Edits go on meanwhile: what they change is dirty
 * again and belongs to the next round. A server that restarted before its sync has the blocks put
 * again. Under the write lease nobody else can have changed the content (I5): a refusal then only
 * means that the version rose for another reason (a chmod, inline bytes moved to blocks), and the
 * same content is sent again.
 */
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "client/core/draft.h"
#include "client/core/file.h"
#include "fs/base/log.h"
#include "fs/base/metrics.h"
#include "fs/net/blocks_walk.h"

#define LOG_MODULE "publish"

#define TRIES_MAX 16u
#define STALE_PAUSE_MS 50u

struct cl_node_put {
	struct blocks_put put;
	struct blocks_marks marks;
	struct cl_file *file;
	uint64_t round;
	struct cl_node_put *next;	/* file->unstored */
};

static void flush_run(struct cl_file *file);

static uint64_t deadline_ns(const struct client *c)
{
	return loop_now_ns(c->options.loop) + c->options.timeout_ms * UINT64_C(1000000);
}

/* --- begin and end ---------------------------------------------------------------------------- */

static void flush_turn(struct loop_timer *timer)
{
	struct cl_flush *flush = container_of(timer, struct cl_flush, turn);
	struct cl_file *file = container_of(flush, struct cl_file, flush);
	if (flush->state != CL_FLUSH_IDLE && flush->awaited == 0)
		flush_run(file);
	cl_file_put(file);
}

/* Go on from a turn of its own: whoever stored something may be in the middle of it. */
static void flush_post(struct cl_file *file)
{
	struct cl_flush *flush = &file->flush;
	if (flush->turn.is_active)
		return;
	flush->turn.fn = flush_turn;
	file->refs++;
	loop_timer_start(file->client->options.loop, &flush->turn, 0);
}

static void flush_again(struct loop_timer *timer)
{
	struct cl_flush *flush = container_of(timer, struct cl_flush, again);
	flush_post(container_of(flush, struct cl_file, flush));
}

void cl_publish_stored(struct cl_file *file, int rc)
{
	struct cl_flush *flush = &file->flush;
	ASSERT(flush->awaited > 0);
	if (rc < 0 && flush->rc == 0)
		flush->rc = rc;
	if (--flush->awaited == 0)
		flush_post(file);
}

static void flush_begin(struct cl_file *file)
{
	struct cl_flush *flush = &file->flush;
	struct cl_chunk *first = cl_chunk_find(file, 0);
	flush->state = CL_FLUSH_PUTS;
	flush->rc = 0;
	flush->tries = flush->stale_syncs = 0;
	flush->due_ns = deadline_ns(file->client);
	flush->awaited = 0;
	flush->seq = file->edit_seq;
	flush->collection = file->client->session.collection;
	flush->is_unfinished = false;
	flush->is_inline = file->size <= INLINE_BYTES_MAX &&
			   (!file->manifest || manifest_bytes(file->manifest) == 0) &&
			   file->chunk_count == (first ? 1u : 0u) &&
			   (!first || first->put_state == CL_PUT_NONE);
	file->put_rc = 0;
	file->refs++;
	if (!flush->is_inline) {
		/* What was inline becomes a block. */
		if (first && first->put_state == CL_PUT_NONE &&
		    (!file->manifest || manifest_bytes(file->manifest) == 0))
			first->is_dirty = true;
		for (uint32_t i = 0; i < file->chunk_count; i++) {
			struct cl_chunk *chunk = file->chunks[i];
			/*
			 * One whose put began before its last write is awaited for that put; the
			 * rest is dirty.
			 */
			if (!chunk->is_dirty && chunk->put_state == CL_PUT_NONE)
				continue;
			chunk->is_awaited = true;
			chunk->is_owed = chunk->is_dirty;
			flush->awaited++;
		}
		cl_chunk_put_all(file);
	}
	if (flush->awaited == 0)
		flush_post(file);
}

static void waits_tell(struct cl_flush_wait **ended, int rc)
{
	struct cl_flush_wait *wait;
	while ((wait = *ended) != NULL) {
		DL_DELETE(*ended, wait);
		wait->list = NULL;
		wait->done(wait, rc);
	}
}

static void waits_end(struct cl_file *file, uint64_t seq, int rc)
{
	struct cl_flush_wait *wait, *next, *ended = NULL;
	DL_FOREACH_SAFE(file->flush.waits, wait, next)
		if (rc < 0 || wait->seq <= seq) {
			DL_DELETE(file->flush.waits, wait);
			wait->list = &ended;
			DL_APPEND(ended, wait);
		}
	waits_tell(&ended, rc);
}

/*
 * Servers that are needed are not there. Operations wait for them until their own deadlines, on a
 * hard mount for ever; and what nobody waits for is tried again on a hard mount.
 */
static bool flush_goes_on(const struct cl_file *file, int rc)
{
	const struct client *c = file->client;
	const struct cl_flush_wait *wait;
	if (!cl_is_unavailable(rc) || c->life != CL_RUNNING || c->session.number == 0)
		return false;
	DL_FOREACH(file->flush.waits, wait)
		if (wait->is_timed)
			return true;
	return c->options.is_hard;
}

static void waits_end_untimed(struct cl_file *file, int rc)
{
	struct cl_flush_wait *wait, *next, *ended = NULL;
	DL_FOREACH_SAFE(file->flush.waits, wait, next)
		if (!wait->is_timed) {
			DL_DELETE(file->flush.waits, wait);
			wait->list = &ended;
			DL_APPEND(ended, wait);
		}
	waits_tell(&ended, rc);
}

static void flush_end(struct cl_file *file, int rc)
{
	struct cl_flush *flush = &file->flush;
	struct client *c = file->client;
	bool was_taken = flush->state > CL_FLUSH_NODES && !flush->is_inline;
	flush->state = CL_FLUSH_IDLE;
	flush->ended_rc = rc;
	file->kill_priv |= rc < 0 && flush->kill_priv;
	flush->kill_priv = false;
	buf_put(flush->bytes);
	flush->bytes = NULL;
	/* Not synced, or nobody knows. No room for that: all of it is put again (I2). */
	if (rc < 0 && was_taken && blocks_marks_merge(&file->marks, &flush->marks) < 0)
		blocks_marks_doubt(&file->marks);
	if (flush_goes_on(file, rc)) {
		if (!c->options.is_hard)
			waits_end_untimed(file, rc);
		if (flush->state == CL_FLUSH_IDLE && cl_file_is_dirty(file))
			flush_begin(file);
		else if (flush->state == CL_FLUSH_IDLE)
			waits_end(file, 0, rc);		/* one of them has given the content up */
		cl_file_put(file);
		return;
	}
	if (rc == 0) {
		file->clean_seq = flush->seq;
		file->dirty_since_ns = loop_now_ns(c->options.loop);
		cl_draft_settle(file);
	} else if (!file->is_alone) {
		/*
		 * The data stays, to be tried again; fsync and close hear of it (once per handle).
		 * Of servers that are not there they hear when they have waited for them.
		 */
		log_warn("cannot publish inode %llu: %s", (unsigned long long)file->node->ino,
			 error_text(rc));
		if (!cl_is_unavailable(rc)) {
			file->error = rc;
			file->error_seq++;
		}
		file->dirty_since_ns = loop_now_ns(c->options.loop);
		if (file->node->readers + file->node->writers == 0 && !flush->waits &&
		    !file->node->is_recalling)
			cl_file_fail(file, rc);
	}
	waits_end(file, flush->seq, rc);
	if (rc == 0 && flush->waits && flush->state == CL_FLUSH_IDLE && cl_file_is_dirty(file))
		flush_begin(file);
	cl_op_wake(&c->memory_waiters);
	cl_file_put(file);
}

void cl_publish_start(struct cl_file *file, struct cl_flush_wait *wait)
{
	if (wait) {
		wait->seq = file->edit_seq;
		wait->list = &file->flush.waits;
		DL_APPEND(file->flush.waits, wait);
	}
	if (file->flush.state == CL_FLUSH_IDLE)
		flush_begin(file);
}

void cl_publish_cancel(struct cl_file *file, struct cl_flush_wait *wait)
{
	(void)file;
	if (!wait->list)
		return;
	DL_DELETE(*wait->list, wait);
	wait->list = NULL;
}

static void touch_stop(struct cl_touch *t);

void cl_publish_stop(struct cl_file *file)
{
	struct cl_flush *flush = &file->flush;
	if (flush->state == CL_FLUSH_IDLE)
		return;
	loop_timer_stop(file->client->options.loop, &flush->again);
	cl_cache_cancel(file->client, &flush->fetch);
	if (flush->req)
		cl_session_forget(flush->req);
	flush->req = NULL;
	flush->state = CL_FLUSH_IDLE;
	flush->awaited = 0;
	flush->kill_priv = false;
	flush->round++;
	touch_stop(flush->touch);
	for (uint32_t i = 0; i < file->chunk_count; i++)
		file->chunks[i]->is_awaited = file->chunks[i]->is_owed = false;
	buf_put(flush->bytes);
	flush->bytes = NULL;
	cl_file_put(file);
}

void cl_publish_stopped(struct cl_file *file)
{
	waits_end(file, 0, file->error ? file->error : -E_IO);
}

/* --- send ------------------------------------------------------------------------------------- */

static void sent_well(struct cl_file *file, const struct cl_node *node)
{
	struct cl_flush *flush = &file->flush;
	struct cl_node *own = file->node;
	bool same_pages =
		own->pages_version == file->version || root_equal(&own->pages_root, &file->root);
	file->version = node->attr.version;
	file->root = node->attr.root;
	if (same_pages) {		/* the kernel wrote its pages, too */
		own->pages_root = file->root;
		own->pages_version = file->version;
	}
	if (flush->is_inline) {
		struct cl_chunk *first = cl_chunk_find(file, 0);
		if (first && file->edit_seq == flush->seq)
			first->is_dirty = false;
		if (first)
			first->is_charged = false;
	} else {
		file->id_count -= flush->ids_sealed;
		if (file->id_count > 0)
			memmove(file->ids, file->ids + flush->ids_sealed,
				file->id_count * sizeof file->ids[0]);
		file->source_count -= flush->sources_taken;
		memmove(file->sources, file->sources + flush->sources_taken,
			file->source_count * sizeof file->sources[0]);
	}
	file->new_bytes -= MIN_OF(file->new_bytes, flush->new_bytes);
	file->charged -= MIN_OF(file->charged, flush->charged);
	file->charged_put -= MIN_OF(file->charged_put, flush->charged);
	cl_session_settle(file->client, flush->charged, flush->new_bytes);
}

static void reput_start(struct cl_file *file);
static void touch_start(struct cl_file *file);

static void publish_done(struct cl_req *req)
{
	struct client *c = req->client;
	struct cl_file *file = req->arg;
	const Wire__PublishReply *reply = (const void *)req->call.reply;
	struct cl_node *node = NULL;
	int rc = req->call.rc;
	if (reply)
		cl_session_stamp(c, reply->stamp);
	if (!file)
		return;
	file->flush.req = NULL;
	if (reply && reply->attr && (rc == 0 || rc == -E_STALE_VERSION)) {
		int taken = cl_node_take_attr(c, reply->attr, &node);
		if (taken < 0 || node != file->node)
			rc = taken < 0 ? taken : -E_MALFORMED;
	} else if (rc == 0) {
		rc = -E_MALFORMED;
	}
	if (rc == -E_STALE_VERSION && node && cl_node_can_write(c, node) &&
	    ++file->flush.tries < TRIES_MAX) {
		file->version = node->attr.version;
		flush_run(file);
		return;
	}
	if (rc == -E_PERM && req->msg.publish.set) {
		/* Who may not set them is told by a request of his own; the content is well. */
		file->setting = NULL;
		flush_run(file);
		return;
	}
	if (rc == -E_OLD_COLLECTION && !file->flush.is_inline && ++file->flush.tries < TRIES_MAX) {
		METRIC_INC(publishes_touched);
		if (file->flush.sources_taken > 0 && !file->flush.is_touched)
			touch_start(file);
		else
			reput_start(file);
		return;
	}
	if (rc == 0)
		sent_well(file, node);
	if (rc == 0 && file->setting)
		file->setting->is_set = true;
	flush_end(file, rc);
}

struct sources {
	Wire__Source msg[CL_SOURCES_MAX], *list[CL_SOURCES_MAX];
	uint8_t roots[CL_SOURCES_MAX][ROOT_BYTES];
};

/* What the message of a publish points to beside what each request has. */
struct publish_more {
	Wire__Caller caller;
	Wire__SetAttr set;
	struct sources sources;
};

/* The attributes that the user sets meanwhile. */
static void set_fill(const struct cl_op *op, struct cl_req *req)
{
	struct publish_more *more = req->more;
	Wire__SetAttr *set = &more->set;
	wire__caller__init(&more->caller);
	more->caller.uid = op->uid;
	more->caller.gid = op->gid;
	wire__set_attr__init(set);
	set->caller = &more->caller;
	set->mask = op->set_mask;
	set->mode = op->mode;
	set->uid = op->new_uid;
	set->gid = op->new_gid;
	set->atime_ns = op->atime_ns;
	set->mtime_ns = op->mtime_ns;
	req->msg.publish.set = set;
}

static void sources_fill(struct cl_file *file, struct cl_req *req)
{
	struct cl_flush *flush = &file->flush;
	struct publish_more *more = req->more;
	struct sources *s = &more->sources;
	for (uint32_t i = 0; i < flush->sources_taken; i++) {
		wire__source__init(&s->msg[i]);
		s->msg[i].ino = file->sources[i].ino;
		s->msg[i].root.data = s->roots[i];
		s->msg[i].root.len = ROOT_BYTES;
		root_encode(&file->sources[i].root, s->roots[i]);
		s->list[i] = &s->msg[i];
	}
	req->msg.publish.sources = s->list;
	req->msg.publish.n_sources = flush->sources_taken;
}

static bool more_fill(struct cl_file *file, struct cl_req *req)
{
	const struct cl_flush *flush = &file->flush;
	bool has_sources = !flush->is_inline && !flush->is_touched && flush->sources_taken > 0;
	if (!has_sources && !file->setting)
		return true;
	req->more = calloc(1, sizeof(struct publish_more));
	if (!req->more)
		return false;
	if (has_sources)
		sources_fill(file, req);
	if (file->setting)
		set_fill(file->setting, req);
	return true;
}

static void flush_send(struct cl_file *file)
{
	struct cl_flush *flush = &file->flush;
	struct client *c = file->client;
	struct cl_req *req = cl_session_req(c, NULL, MSG_PUBLISH, publish_done);
	ASSERT(file->is_loaded);	/* else its size is no size */
	if (!req || !more_fill(file, req)) {
		if (req)
			cl_session_forget(req);
		flush_end(file, -E_NOMEM);
		return;
	}
	flush->state = CL_FLUSH_SEND;
	root_encode(&flush->root, req->root);
	Wire__Publish *msg = &req->msg.publish;
	msg->ino = file->node->ino;
	msg->base_version = file->version;
	msg->root.data = req->root;
	msg->root.len = ROOT_BYTES;
	msg->mtime_ns = flush->mtime_ns;
	/* all ones: nothing was put */
	msg->collection = flush->is_inline ? UINT64_MAX : flush->marks.collection;
	msg->new_bytes = flush->new_bytes * c->copies;
	flush->kill_priv |= file->kill_priv;
	file->kill_priv = false;
	msg->kill_priv = flush->kill_priv;
	req->caller.uid = file->node->attr.st.st_uid;
	req->caller.gid = file->node->attr.st.st_gid;
	if (flush->bytes)
		req->call.bulk = buf_ref(flush->bytes);
	req->arg = file;
	flush->req = req;
	cl_session_send(req);
}

/* --- inline ----------------------------------------------------------------------------------- */

static int inline_take(struct cl_file *file)
{
	struct cl_flush *flush = &file->flush;
	struct cl_chunk *chunk = cl_chunk_find(file, 0);
	uint32_t size = (uint32_t)file->size;
	flush->root = (struct root){ .kind = size ? ROOT_INLINE : ROOT_EMPTY, .length = size };
	buf_put(flush->bytes);
	flush->bytes = NULL;
	if (size == 0)
		return 0;
	if (!chunk) {
		int rc = cl_chunk_make(file, 0, BLOCK_BYTES_MAX, &chunk);
		if (rc < 0)
			return rc;
	}
	if (!cl_chunk_is_ready(chunk, size)) {
		int rc = cl_chunk_reserve(chunk, size, size);
		if (rc < 0)
			return rc;
	}
	chunk->is_lent = true;
	chunk->buf->len = size;
	flush->bytes = buf_ref(chunk->buf);
	return 0;
}

static void run_inline(struct cl_file *file)
{
	struct cl_flush *flush = &file->flush;
	if (file->size > INLINE_BYTES_MAX ||
	    (file->manifest && manifest_bytes(file->manifest) > 0)) {
		/* An edit made it larger before we came here. */
		cl_file_put(file);
		flush_begin(file);
		return;
	}
	flush->seq = file->edit_seq;
	flush->mtime_ns = file->mtime_ns;
	flush->new_bytes = 0;
	flush->charged = file->charged;
	int rc = inline_take(file);
	if (rc == -E_AGAIN) {
		flush->again.fn = flush_again;
		loop_timer_start(file->client->options.loop, &flush->again, 10);
		return;
	}
	if (rc < 0)
		flush_end(file, rc);
	else
		flush_send(file);
}

/* --- blocks ----------------------------------------------------------------------------------- */

static void node_put_free(struct cl_node_put *np)
{
	buf_put(np->put.plain);
	free(np);
}

void cl_publish_forget(struct cl_file *file)
{
	struct cl_node_put *np, *next;
	LL_FOREACH_SAFE(file->unstored, np, next)
		node_put_free(np);
	file->unstored = NULL;
}

/* The manifest emits a node once: one that could not be stored is kept for the next round (I2). */
static void node_put_done(struct blocks_put *put)
{
	struct cl_node_put *np = put->user;
	struct cl_file *file = np->file;
	if (np->round != file->flush.round) {
		node_put_free(np);
	} else {
		int rc = put->rc < 0 ? put->rc : cl_chunk_record(file, &np->put, &np->marks);
		if (rc < 0)
			LL_PREPEND(file->unstored, np);
		else
			node_put_free(np);
		cl_publish_stored(file, rc);
	}
	cl_file_put(file);
}

static void node_put_start(struct cl_node_put *np)
{
	struct cl_file *file = np->file;
	struct client *c = file->client;
	blocks_marks_init(&np->marks);
	np->round = file->flush.round;
	np->put = (struct blocks_put){ .plain = np->put.plain, .id = np->put.id, .has_id = true,
				       .marks = &np->marks, .done = node_put_done, .user = np,
				       .deadline_ns = deadline_ns(c) };
	file->refs++;
	file->flush.awaited++;
	blocks_put_start(c->blocks, &np->put);
}

/* Nodes of an earlier round: before any new ones, so never more than may fly. */
static void unstored_start(struct cl_file *file)
{
	struct cl_node_put *np, *next, *again = file->unstored;
	file->unstored = NULL;
	LL_FOREACH_SAFE(again, np, next)
		node_put_start(np);
}

static int node_emit(void *arg, const struct block_id *id, const void *bytes, uint32_t len)
{
	struct cl_file *file = arg;
	struct client *c = file->client;
	struct buf *buf = file->flush.awaited < c->puts.flying_max
				  ? buf_get(c->options.pool, CL_BUF_BYTES)
				  : NULL;
	struct cl_node_put *np = buf ? calloc(1, sizeof *np) : NULL;
	if (!np) {
		buf_put(buf);
		cl_cache_shrink(c, MiB(1));
		return -E_AGAIN;
	}
	memcpy(buf->data, bytes, len);
	buf->len = len;
	np->file = file;
	np->put.plain = buf;
	np->put.id = *id;
	cl_cache_add(c, id, buf);
	node_put_start(np);
	return 0;
}

/* How much of the file this round may show: not beyond bytes that are not stored yet. */
static uint64_t stored_size(const struct cl_file *file)
{
	uint64_t end = file->manifest ? manifest_bytes(file->manifest) : 0, size = file->size;
	for (uint32_t i = 0; i < file->chunk_count; i++) {
		const struct cl_chunk *chunk = file->chunks[i];
		if (chunk->start + cl_chunk_bytes(chunk) > end)
			size = MIN_OF(size, MAX_OF(end, chunk->start));
	}
	return size;
}

static void hole_node_came(struct cl_fetch *fetch)
{
	struct cl_file *file = fetch->arg;
	buf_put(fetch->buf);
	fetch->buf = NULL;
	if (fetch->rc < 0)
		flush_end(file, fetch->rc);
	else
		flush_run(file);
}

/*
 * The root names what is in the manifest now. What was put and is not, or is put while the nodes
 * are stored, is synced with this round, but only the next one names it: until then its age is told
 * (I9).
 */
static void sealed(struct cl_file *file)
{
	struct cl_flush *flush = &file->flush;
	bool is_all_in = file->ready == NULL;

	flush->is_unfinished = false;
	flush->state = CL_FLUSH_NODES;
	flush->ids_sealed = is_all_in ? file->id_count : 0;
	flush->sources_taken = file->source_count;
	flush->late_collection = is_all_in ? UINT64_MAX : file->marks.collection;
}

/* All that was dirty is in the manifest: seal it. */
static void run_seal(struct cl_file *file)
{
	struct cl_flush *flush = &file->flush;
	flush->fetch.done = hole_node_came;
	flush->fetch.arg = file;
	int rc = cl_chunk_manifest(file);
	if (rc == 0 && !flush->is_unfinished)
		rc = cl_edit_append_hole(file, stored_size(file), &flush->fetch);
	if (rc > 0)
		return;
	if (rc == 0) {
		unstored_start(file);
		flush->mtime_ns = file->mtime_ns;
		rc = manifest_seal(file->manifest, node_emit, file, &flush->root);
	}
	if (rc == -E_AGAIN) {
		flush->is_unfinished = true;
		if (flush->awaited == 0) {
			flush->again.fn = flush_again;
			loop_timer_start(file->client->options.loop, &flush->again, 10);
		}
		return;
	}
	if (rc < 0) {
		flush->rc = rc;
		if (flush->awaited == 0)
			flush_end(file, rc);
		return;
	}
	sealed(file);
	if (flush->awaited == 0)
		flush_run(file);
}

static void reput_again(struct loop_timer *timer)
{
	struct cl_file *file = container_of(timer, struct cl_file, flush.again);

	if (file->flush.state == CL_FLUSH_REPUT)
		reput_start(file);
}

/*
 * At once the first time; a disk that goes on failing its syncs is given time to be left out of the
 * map.
 */
static void reput_later(struct cl_file *file)
{
	struct cl_flush *flush = &file->flush;

	flush->state = CL_FLUSH_REPUT;
	flush->again.fn = reput_again;
	loop_timer_start(file->client->options.loop, &flush->again,
			 flush->stale_syncs++ == 0 ? 0 : STALE_PAUSE_MS);
}

static void sync_done(struct blocks_sync *sync)
{
	struct cl_file *file = sync->user;
	struct cl_flush *flush = &file->flush;
	int rc = sync->rc;
	bool is_ours = flush->state == CL_FLUSH_SYNC && flush->round == flush->sync_round;
	flush->is_syncing = false;
	if (is_ours) {
		if (rc == -E_STALE_GENERATION &&
		    loop_now_ns(file->client->options.loop) < flush->due_ns)
			reput_later(file);
		else if (rc < 0)
			flush_end(file, rc);
		else
			flush_send(file);
	} else if (flush->state == CL_FLUSH_SYNC) {
		flush_post(file);
	}
	cl_file_put(file);
}

static void sync_start(struct cl_file *file)
{
	struct cl_flush *flush = &file->flush;
	flush->state = CL_FLUSH_SYNC;
	if (flush->is_syncing)
		return;		/* one that was given up still runs: its end starts ours */
	if (flush->marks.count == 0) {
		flush_send(file);
		return;
	}
	flush->is_syncing = true;
	flush->sync_round = flush->round;
	flush->sync_marks = flush->marks;
	flush->sync = (struct blocks_sync){ .marks = &flush->sync_marks, .done = sync_done,
					    .user = file,
					    .deadline_ns = deadline_ns(file->client) };
	file->refs++;
	blocks_sync_start(file->client->blocks, &flush->sync);
}

struct reput {
	struct blocks_reput reput;
	struct cl_file *file;
	struct blocks_marks marks;
	uint64_t round;
	struct block_id ids[];
};

/* A block that is gone from the cluster: perhaps we have read or written it lately. */
static struct buf *reput_plain(void *user, const struct block_id *id)
{
	struct cl_file *file = user;
	return cl_cache_find(file->client, id);
}

static void reput_failed(struct cl_file *file, int rc)
{
	if (rc == -E_NO_BLOCK)
		log_error("inode %llu cannot be published: a block of it was collected as garbage "
			  "before that",
			  (unsigned long long)file->node->ino);
	flush_end(file, rc);
}

static void reput_done(struct blocks_reput *reput)
{
	struct reput *r = container_of(reput, struct reput, reput);
	struct cl_file *file = r->file;
	if (r->round == file->flush.round && file->flush.state == CL_FLUSH_REPUT) {
		if (reput->rc < 0) {	/* with the old marks: the next round comes here again */
			reput_failed(file, reput->rc);
		} else {
			file->flush.marks = r->marks;
			sync_start(file);
		}
	}
	cl_file_put(file);
	free(r);
}

/*
 * A server restarted, or a collection passed: see that every block of this publish is held, marked
 * anew.
 */
static void reput_start(struct cl_file *file)
{
	struct cl_flush *flush = &file->flush;
	struct reput *r = calloc(1, sizeof *r + flush->ids_taken * sizeof r->ids[0]);
	if (!r) {
		flush_end(file, -E_NOMEM);
		return;
	}
	flush->state = CL_FLUSH_REPUT;
	memcpy(r->ids, file->ids, flush->ids_taken * sizeof r->ids[0]);
	r->file = file;
	r->round = flush->round;
	blocks_marks_init(&r->marks);
	r->reput = (struct blocks_reput){ .ids = r->ids, .count = flush->ids_taken,
					  .marks = &r->marks, .done = reput_done,
					  .deadline_ns = deadline_ns(file->client),
					  .plain_of = reput_plain, .user = file };
	file->refs++;
	blocks_reput_start(file->client->blocks, &r->reput);
}

/*
 * Touching all that a root names: for copies whose source has changed since. Node by node: its
 * entries are asked for as in a reput, then the walk goes on.
 */
struct cl_touch {
	struct blocks_walk walk;
	struct blocks_reput reput;
	struct cl_file *file;
	struct blocks_marks marks, all;
	uint64_t round;
	bool is_walked, is_asking;	/* the reput is under way */
	uint32_t count;
	struct block_id ids[NODE_ENTRIES_MAX];
};

static bool touch_is_wanted(const struct cl_touch *t)
{
	return t->round == t->file->flush.round && t->file->flush.state == CL_FLUSH_REPUT;
}

static void touch_end(struct cl_touch *t, int rc)
{
	struct cl_file *file = t->file;
	bool is_wanted = touch_is_wanted(t);
	blocks_walk_cancel(&t->walk);
	if (file->flush.touch == t)
		file->flush.touch = NULL;
	if (is_wanted) {
		if (rc < 0) {
			reput_failed(file, rc);
		} else {
			file->flush.marks = t->all;
			file->flush.is_touched = true;
			sync_start(file);
		}
	}
	cl_file_put(file);
	free(t);
}

static void touch_done(struct blocks_reput *reput)
{
	struct cl_touch *t = container_of(reput, struct cl_touch, reput);
	int rc = reput->rc;
	t->is_asking = false;
	if (rc == 0)
		rc = blocks_marks_merge(&t->all, &t->marks);
	if (rc < 0 || !touch_is_wanted(t) || t->is_walked)
		touch_end(t, rc);
	else
		blocks_walk_resume(&t->walk);
}

static void touch_ids(struct cl_touch *t)
{
	t->reput = (struct blocks_reput){ .ids = t->ids, .count = t->count, .marks = &t->marks,
					  .done = touch_done, .plain_of = reput_plain,
					  .user = t->file,
					  .deadline_ns = deadline_ns(t->file->client) };
	t->is_asking = true;
	blocks_reput_start(t->file->client->blocks, &t->reput);
}

static int touch_node(struct blocks_walk *walk, const struct block_id *id,
		      const struct node_view *view)
{
	struct cl_touch *t = walk->user;
	(void)id;			/* it is an entry of its parent */
	t->count = 0;
	for (uint32_t i = 0; i < view->entry_count; i++) {
		uint64_t length;
		node_view_entry(view, i, &length, &t->ids[t->count]);
		t->count += !block_id_is_zero(&t->ids[t->count]);
	}
	touch_ids(t);
	return 1;
}

/* Last the root itself. */
static void touch_walked(struct blocks_walk *walk)
{
	struct cl_touch *t = walk->user;
	if (walk->rc < 0 || !touch_is_wanted(t)) {
		touch_end(t, walk->rc);
		return;
	}
	t->is_walked = true;
	t->ids[0] = walk->root.id;
	t->count = 1;
	touch_ids(t);
}

/* Nobody wants it any more. While it asks, the answer ends it. */
static void touch_stop(struct cl_touch *t)
{
	if (t && !t->is_asking)
		touch_end(t, -E_CANCELED);
}

static void touch_start(struct cl_file *file)
{
	struct cl_flush *flush = &file->flush;
	struct client *c = file->client;
	struct cl_touch *t = calloc(1, sizeof *t);
	if (!t) {
		flush_end(file, -E_NOMEM);
		return;
	}
	flush->state = CL_FLUSH_REPUT;
	t->file = file;
	t->round = flush->round;
	flush->touch = t;
	blocks_marks_init(&t->all);
	t->walk = (struct blocks_walk){ .root = flush->root, .node_ms = c->options.timeout_ms,
					.node = touch_node, .done = touch_walked, .user = t };
	file->refs++;
	if (flush->root.kind == ROOT_NODE)
		blocks_walk_start(c->blocks, c->options.loop, &t->walk);
	else
		touch_walked(&t->walk);
}

/* Blocks and nodes are stored: take what must be synced. */
static void run_stored(struct cl_file *file)
{
	struct cl_flush *flush = &file->flush;
	flush->marks = file->marks;
	blocks_marks_init(&file->marks);
	file->marks.collection = flush->late_collection;
	flush->ids_taken = file->id_count;
	flush->is_touched = false;
	flush->new_bytes = file->new_bytes;
	flush->charged = file->charged_put;
	sync_start(file);
}

static void flush_run(struct cl_file *file)
{
	struct cl_flush *flush = &file->flush;
	if (flush->rc < 0) {
		flush_end(file, flush->rc);
		return;
	}
	switch (flush->state) {
	case CL_FLUSH_IDLE:
	case CL_FLUSH_REPUT:
		break;
	case CL_FLUSH_PUTS:
		if (flush->is_inline)
			run_inline(file);
		else
			run_seal(file);
		break;
	case CL_FLUSH_NODES:
		run_stored(file);
		break;
	case CL_FLUSH_SYNC:
		sync_start(file);
		break;
	case CL_FLUSH_SEND:
		flush_send(file);
		break;
	}
}

/* --- collection epochs (I9) ------------------------------------------------------------------- */

void cl_publish_is_late(struct cl_file *file, uint64_t collection)
{
	struct cl_flush *flush = &file->flush;
	if (flush->state == CL_FLUSH_NODES)
		flush->late_collection = MIN_OF(flush->late_collection, collection);
}

uint32_t cl_publish_sources(const struct cl_file *file)
{
	const struct cl_flush *flush = &file->flush;
	return flush->state >= CL_FLUSH_NODES && !flush->is_inline ? flush->sources_taken : 0;
}

static uint64_t oldest_of(const struct cl_file *file)
{
	const struct cl_flush *flush = &file->flush;
	uint64_t oldest = file->marks.collection;
	if (!flush->is_inline && (flush->state == CL_FLUSH_PUTS || flush->state == CL_FLUSH_NODES))
		oldest = MIN_OF(oldest, flush->awaited ? flush->collection : oldest);
	else if (!flush->is_inline && flush->state != CL_FLUSH_IDLE)
		oldest = MIN_OF(oldest, flush->marks.collection);
	for (uint32_t i = 0; i < file->chunk_count; i++)
		if (file->chunks[i]->put_state == CL_PUT_FLYING)
			oldest = MIN_OF(oldest, file->chunks[i]->put_collection);
	return oldest;
}

uint64_t cl_publish_oldest(const struct client *c)
{
	const struct cl_file *file;
	uint64_t oldest = UINT64_MAX;
	DL_FOREACH(c->files, file)
		oldest = MIN_OF(oldest, oldest_of(file));
	return oldest == UINT64_MAX ? 0 : oldest;
}

/* --- gathered long enough --------------------------------------------------------------------- */

void cl_publish_sweep(struct client *c)
{
	uint64_t now_ns = loop_now_ns(c->options.loop);
	uint64_t after_ns = c->options.flush_ms * UINT64_C(1000000);
	struct cl_file *file, *next;
	if (!cl_session_is_valid(c))
		return;
	DL_FOREACH_SAFE(c->files, file, next) {
		if (!cl_file_is_dirty(file) || file->flush.state != CL_FLUSH_IDLE || file->is_alone)
			continue;
		if (now_ns - file->dirty_since_ns >= after_ns || c->life != CL_RUNNING)
			cl_publish_start(file, NULL);
	}
}

/* --- flush, fsync, syncfs --------------------------------------------------------------------- */

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
	flush_file(op, op->handle->file, cl_op_finish);
}

static void durable_done(struct cl_req *req)
{
	const Wire__StampReply *reply = (const void *)req->call.reply;
	if (reply)
		cl_session_stamp(req->client, reply->stamp);
	cl_op_finish(req->op, req->call.rc);
}

/* D2: names and small content, too, survive power loss. */
static void wait_durable(struct cl_op *op, int rc)
{
	struct client *c = op->client;
	struct cl_req *req;
	if (rc < 0 || c->session.last_number == 0) {
		cl_op_finish(op, rc);
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
	op->handle = NULL;
	syncfs_next(op, 0);
}
