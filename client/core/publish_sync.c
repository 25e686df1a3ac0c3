/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks and nodes of a publish become durable (I2), and are young enough for the collector (I9).
 *
 * When a server restarted before its sync, or a collection passed, the blocks are asked for again.
 * What was copied by reference and may have been collected since is touched whole, node by node.
 */
#include <stdlib.h>
#include <string.h>

#include "client/core/publish_internal.h"
#include "fs/base/log.h"
#include "fs/net/blocks_walk.h"

#define LOG_MODULE "publish"

#define AGAIN_PAUSE_MS 50u

static void sync_done(struct blocks_sync *sync)
{
	struct cl_file *file = sync->user;
	struct cl_flush *flush = &file->flush;
	int rc = sync->rc;
	bool is_ours = flush->state == CL_FLUSH_SYNC && flush->round == flush->sync_round;
	flush->is_syncing = false;
	if (is_ours) {
		if (rc == -E_STALE_GENERATION)
			cl_publish_sync_again(file, rc);
		else if (rc < 0)
			cl_publish_end(file, rc);
		else
			cl_publish_send(file);
	} else if (flush->state == CL_FLUSH_SYNC) {
		cl_publish_post(file);
	}
	cl_file_put(file);
}

void cl_publish_sync_start(struct cl_file *file)
{
	struct cl_flush *flush = &file->flush;
	flush->state = CL_FLUSH_SYNC;
	if (flush->is_syncing)
		return;		/* one that was given up still runs: its end starts ours */
	if (flush->marks.count == 0) {
		cl_publish_send(file);
		return;
	}
	flush->is_syncing = true;
	flush->sync_round = flush->round;
	flush->sync_marks = flush->marks;
	flush->sync = (struct blocks_sync){ .marks = &flush->sync_marks, .done = sync_done,
					    .user = file,
					    .deadline_ns = cl_publish_deadline_ns(file->client) };
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
	cl_publish_end(file, rc);
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
			cl_publish_sync_start(file);
		}
	}
	cl_file_put(file);
	free(r);
}

/* See that every block that this publish put is held, marked anew. */
static void reput_start(struct cl_file *file)
{
	struct cl_flush *flush = &file->flush;
	struct reput *r = calloc(1, sizeof *r + flush->ids_taken * sizeof r->ids[0]);
	if (!r) {
		cl_publish_end(file, -E_NOMEM);
		return;
	}
	flush->state = CL_FLUSH_REPUT;
	memcpy(r->ids, file->ids, flush->ids_taken * sizeof r->ids[0]);
	r->file = file;
	r->round = flush->round;
	blocks_marks_init(&r->marks);
	r->reput = (struct blocks_reput){ .ids = r->ids, .count = flush->ids_taken,
					  .marks = &r->marks, .done = reput_done,
					  .deadline_ns = cl_publish_deadline_ns(file->client),
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
			cl_publish_sync_start(file);
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
					  .deadline_ns = cl_publish_deadline_ns(t->file->client) };
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
		t->ids[t->count] = node_view_entry(view, i).id;
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
void cl_publish_sync_stop(struct cl_touch *t)
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
		cl_publish_end(file, -E_NOMEM);
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

/* --- asking again ----------------------------------------------------------------------------- */

static void again_fired(struct loop_timer *timer)
{
	struct cl_file *file = container_of(timer, struct cl_file, flush.again);
	struct cl_flush *flush = &file->flush;

	if (flush->state != CL_FLUSH_REPUT)
		return;
	if (flush->touches_all)
		touch_start(file);
	else
		reput_start(file);
}

/*
 * At once the first time. A disk that goes on failing its syncs is given time to be left out of the
 * map; servers that have not heard of the collection epoch, time to hear of it: after a rescue it
 * is far ahead of what they knew.
 */
void cl_publish_sync_again(struct cl_file *file, int why)
{
	struct cl_flush *flush = &file->flush;
	struct loop *loop = file->client->options.loop;
	bool is_first = flush->again_until_ns == 0;

	if (is_first)
		flush->again_until_ns = cl_publish_deadline_ns(file->client);
	if (loop_now_ns(loop) >= flush->again_until_ns) {
		cl_publish_end(file, why == -E_OLD_COLLECTION ? -E_TIMEDOUT : why);
		return;
	}
	if (why == -E_OLD_COLLECTION && flush->sources_taken > 0)
		flush->touches_all = true;
	flush->state = CL_FLUSH_REPUT;
	flush->again.fn = again_fired;
	loop_timer_start(loop, &flush->again, is_first ? 0 : AGAIN_PAUSE_MS);
}
