/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Publishing: what was written becomes the inode's content for everybody.
 *
 *   puts: dirty chunks are stored and put into the manifest -> nodes: the manifest is sealed, its
 *   nodes are stored -> sync: every server that holds a mark made it durable (I2) -> send: PUBLISH
 *   names the version it was built from (I13).
 *
 * This file has a round's begin and end, the puts and the nodes; publish_sync.c and publish_send.c
 * the rest of it, publish_wait.c those who wait for it.
 *
 * Content that fits travels inside PUBLISH alone. Edits go on meanwhile: what they change is dirty
 * again and belongs to the next round.
 */
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "client/core/draft.h"
#include "client/core/publish_internal.h"
#include "client/core/seal.h"
#include "client/core/streamed.h"
#include "fs/base/log.h"
#include "fs/tree/cut.h"

#define LOG_MODULE "publish"

struct cl_node_put {
	struct blocks_put put;
	struct blocks_marks marks;
	struct cl_file *file;
	uint64_t round;
	struct cl_node_put *next;	/* file->unstored */
};

uint64_t cl_publish_deadline_ns(const struct client *c)
{
	return loop_now_ns(c->options.loop) + c->options.timeout_ms * UINT64_C(1000000);
}

/* --- begin and end ---------------------------------------------------------------------------- */

static void flush_turn(struct loop_timer *timer)
{
	struct cl_flush *flush = container_of(timer, struct cl_flush, turn);
	struct cl_file *file = container_of(flush, struct cl_file, flush);
	if (flush->state != CL_FLUSH_IDLE && flush->awaited == 0)
		cl_publish_run(file);
	cl_file_put(file);
}

/* Go on from a turn of its own: whoever stored something may be in the middle of it. */
void cl_publish_post(struct cl_file *file)
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
	cl_publish_post(container_of(flush, struct cl_file, flush));
}

void cl_publish_stored(struct cl_file *file, int rc)
{
	struct cl_flush *flush = &file->flush;
	ASSERT(flush->awaited > 0);
	if (rc < 0 && flush->rc == 0)
		flush->rc = rc;
	if (--flush->awaited == 0)
		cl_publish_post(file);
}

static void flush_begin(struct cl_file *file)
{
	struct cl_flush *flush = &file->flush;
	struct cl_chunk *first = cl_chunk_find(file, 0);
	flush->state = CL_FLUSH_PUTS;
	flush->rc = 0;
	flush->tries = 0;
	flush->again_until_ns = 0;
	flush->awaited = 0;
	flush->seq = file->edit_seq;
	flush->collection = file->client->session.collection;
	flush->is_unfinished = false;
	flush->is_inline = cl_file_fits_inline(file);
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
		cl_publish_post(file);
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

void cl_publish_end(struct cl_file *file, int rc)
{
	struct cl_flush *flush = &file->flush;
	struct client *c = file->client;
	bool was_taken = flush->state > CL_FLUSH_NODES && !flush->is_inline;
	flush->state = CL_FLUSH_IDLE;
	flush->ended_rc = rc;
	file->kill_priv |= rc < 0 ? flush->kill_priv : 0;
	flush->kill_priv = 0;
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
	flush->kill_priv = 0;
	flush->round++;
	cl_publish_sync_stop(flush->touch);
	for (uint32_t i = 0; i < file->chunk_count; i++)
		file->chunks[i]->is_awaited = file->chunks[i]->is_owed = false;
	buf_put(flush->bytes);
	flush->bytes = NULL;
	cl_file_put(file);
}

void cl_publish_stopped(struct cl_file *file)
{
	/* What nobody can see any more need not be anywhere: its sync is done. */
	bool is_gone = file->node->attr.st.st_nlink == 0;
	waits_end(file, UINT64_MAX, file->error ? file->error : is_gone ? 0 : -E_IO);
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
	if (!cl_file_fits_inline(file)) {
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
		cl_publish_end(file, rc);
	else
		cl_publish_send(file);
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
				       .deadline_ns = cl_publish_deadline_ns(c) };
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
		cl_publish_end(file, fetch->rc);
	else
		cl_publish_run(file);
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

/* A copy of a whole file, and nothing else, is cut as its source is. */
static void root_is_copied(struct cl_file *file)
{
	struct root *root = &file->flush.root;

	for (uint32_t i = 0; i < file->source_count; i++) {
		const struct root *source = &file->sources[i].root;
		if (root_is_recut(source, root) && block_id_equal(&source->id, &root->id))
			root->cutter = source->cutter;
	}
}

/* All that was dirty is in the manifest: seal it. */
static void run_seal(struct cl_file *file)
{
	struct cl_flush *flush = &file->flush;
	flush->fetch.done = hole_node_came;
	flush->fetch.arg = file;
	int rc = cl_chunk_manifest(file);
	if (rc == 0 && !flush->is_unfinished)
		rc = cl_file_append_hole(file, stored_size(file), &flush->fetch);
	if (rc > 0)
		return;
	if (rc == 0) {
		unstored_start(file);
		flush->mtime_ns = file->mtime_ns;
		rc = manifest_seal(file->manifest, node_emit, file, &flush->root);
		if (rc == 0 && flush->root.kind == ROOT_NODE &&
		    cl_streamed_is_whole(file, flush->root.length))
			flush->root.cutter = CUT_VERSION;
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
			cl_publish_end(file, rc);
		return;
	}
	root_is_copied(file);
	sealed(file);
	if (flush->awaited == 0)
		cl_publish_run(file);
}

/* Blocks and nodes are stored: take what must be synced. */
static void run_stored(struct cl_file *file)
{
	struct cl_flush *flush = &file->flush;
	flush->marks = file->marks;
	blocks_marks_init(&file->marks);
	file->marks.collection = flush->late_collection;
	flush->ids_taken = file->id_count;
	flush->touches_all = false;
	flush->new_bytes = file->new_bytes;
	flush->charged = file->charged_put;
	cl_publish_sync_start(file);
}

void cl_publish_run(struct cl_file *file)
{
	struct cl_flush *flush = &file->flush;
	if (flush->rc < 0) {
		cl_publish_end(file, flush->rc);
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
		cl_publish_sync_start(file);
		break;
	case CL_FLUSH_SEND:
		cl_publish_send(file);
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
	uint64_t oldest = cl_seal_oldest(c);
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
