/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a seal stores: new blocks of its window, a bounded number at a time, like any that a writer
 * puts (which asks first once what it writes is found to be there); then their entries in the new
 * manifest, whose nodes follow when there are many, and at the end.
 */
#include <stdlib.h>
#include <string.h>

#include "client/core/publish_internal.h"
#include "client/core/seal_internal.h"

#define WAIT_MS	 50u			/* for room or memory */
#define ROOM_MS	 60000u			/* in all */

/* --- puts ------------------------------------------------------------------------------------- */

static void put_done(struct blocks_put *put)
{
	struct seal_put *sp = put->user;
	struct seal_run *run = sp->run;
	int rc = put->rc;

	sp->is_flying = false;
	run->flying--;
	if (!cl_seal_run_unbusy(run))
		return;			/* with what it holds */
	buf_put(sp->buf);
	sp->buf = NULL;
	if (rc == 0)
		rc = blocks_marks_merge(&run->marks, &sp->marks);
	if (rc == 0 && sp->len > 0) {
		bool is_there = put->sent_bytes == 0;
		run->info.new_blocks++;
		run->info.new_bytes += sp->len;
		run->info.shared_blocks += is_there;
		run->info.shared_bytes += is_there ? sp->len : 0;
		run->stored += is_there ? 0 : sp->len;
	}
	if (rc < 0 || run->flying == 0 || run->step == SEAL_PUT)
		cl_seal_run_back(run, rc);
}

static struct seal_put *put_free(struct seal_run *run)
{
	for (uint32_t i = 0; i < SEAL_PUTS_MAX; i++)
		if (!run->puts[i].is_flying)
			return &run->puts[i];
	return NULL;
}

/* 1: it is on its way; 0: there is no memory, or too many are. */
static int put_start(struct seal_run *run, const struct block_id *id, const void *bytes,
		     uint32_t len, bool is_node)
{
	struct client *c = run->client;
	struct seal_put *sp = put_free(run);
	struct buf *buf = sp ? buf_get(c->options.pool, CL_BUF_BYTES) : NULL;

	if (!buf)
		return 0;
	memcpy(buf->data, bytes, len);
	buf->len = len;
	sp->buf = buf;
	sp->run = run;
	sp->len = is_node ? 0 : len;
	sp->is_flying = true;
	if (is_node)
		cl_cache_add(c, id, buf);
	blocks_marks_init(&sp->marks);
	sp->put = (struct blocks_put){ .plain = buf, .id = *id, .has_id = true,
				       .marks = &sp->marks, .done = put_done, .user = sp,
				       .deadline_ns = cl_publish_deadline_ns(c) };
	run->collection = MIN_OF(run->collection, c->session.collection);
	run->flying++;
	run->busy++;
	blocks_put_start(c->blocks, &sp->put);
	return 1;
}

/* Room in the cluster for a block. 1, 0 (wait), -E_NOSPC. */
static int put_reserve(struct seal_run *run, uint32_t len)
{
	struct client *c = run->client;
	uint64_t now_ns = loop_now_ns(c->options.loop);
	int rc = cl_session_reserve(c, len);

	if (rc == 0) {
		run->charged += len;
		run->retry_ns = 0;
		return 1;
	}
	if (run->retry_ns == 0)
		run->retry_ns = now_ns + ROOM_MS * UINT64_C(1000000);
	return rc == -E_AGAIN && now_ns < run->retry_ns ? 0 : -E_NOSPC;
}

/* The next new block. 1: it is on its way; 0: later; or an error. */
static int put_next(struct seal_run *run, const struct seal_block *block)
{
	int rc = 1;

	if (!put_free(run))
		return 0;		/* one comes back */
	if (!run->is_reserved)
		rc = put_reserve(run, block->len);
	run->is_reserved = rc > 0;
	if (rc > 0)
		rc = put_start(run, &block->id, run->bytes + block->from, block->len,
			       false);
	if (rc == 0)
		cl_seal_run_later(run, WAIT_MS);
	run->is_reserved &= rc <= 0;
	return rc;
}

/* 1: all are stored; 0: later; or an error. */
static int put_window(struct seal_run *run)
{
	for (; run->next_block < run->block_count; run->next_block++) {
		const struct seal_block *block = &run->blocks[run->next_block];
		int rc = block->is_old ? 1 : put_next(run, block);
		if (rc <= 0)
			return rc;
		run->is_changed |= !block->is_old;
	}
	return run->flying == 0;
}

/* --- the manifest ----------------------------------------------------------------------------- */

static void fresh_node_came(struct cl_fetch *fetch)
{
	struct seal_run *run = fetch->arg;
	int rc = fetch->rc;

	if (rc == 0)
		rc = manifest_supply(run->fresh, fetch->buf->data, fetch->buf->len);
	buf_put(fetch->buf);
	fetch->buf = NULL;
	cl_seal_run_back(run, rc);
}

/* Of a node that was sealed and forgotten. 0: again; 1: it is on its way; or an error. */
static int fresh_node(struct seal_run *run)
{
	struct block_id id = *manifest_needed(run->fresh);

	run->node_fetch = (struct cl_fetch){ .done = fresh_node_came, .arg = run };
	int rc = cl_cache_fetch(run->client, &id, 0, &run->node_fetch);
	if (rc <= 0)
		return rc == 0 ? 1 : rc;
	struct buf *buf = run->node_fetch.buf;
	run->node_fetch.buf = NULL;
	rc = manifest_supply(run->fresh, buf->data, buf->len);
	buf_put(buf);
	return rc;
}

/* 0; 1: a node is on its way; or an error. */
static int append(struct seal_run *run, const struct extent *extents, uint32_t count)
{
	for (;;) {
		int rc = manifest_replace(run->fresh, manifest_bytes(run->fresh), 0, extents,
					  count);
		if (rc != -E_NEED_NODE)
			return rc;
		rc = fresh_node(run);
		if (rc != 0)
			return rc;
	}
}

static int append_window(struct seal_run *run)
{
	struct extent *extents = calloc(run->block_count + 1, sizeof *extents);

	if (!extents)
		return -E_NOMEM;
	for (uint32_t i = 0; i < run->block_count; i++) {
		extents[i].length = run->blocks[i].len;
		extents[i].id = run->blocks[i].id;
	}
	int rc = append(run, extents, run->block_count);
	free(extents);
	if (rc == 0) {
		run->info.blocks_after += run->block_count;
		run->block_count = run->next_block = 0;
	}
	return rc;
}

static int node_emit(void *arg, const struct block_id *id, const void *bytes, uint32_t len)
{
	struct seal_run *run = arg;

	return put_start(run, id, bytes, len, true) > 0 ? 0 : -E_AGAIN;
}

/* 1: all its nodes are stored; 0: later; or an error. */
static int seal_nodes(struct seal_run *run)
{
	if (!run->is_emitted) {
		int rc = manifest_seal(run->fresh, node_emit, run, &run->fresh_root);
		if (rc < 0 && rc != -E_AGAIN)
			return rc;
		run->is_emitted = rc == 0;
		if (rc < 0 && run->flying == 0)
			cl_seal_run_later(run, WAIT_MS);
	}
	if (!run->is_emitted || run->flying > 0)
		return 0;
	run->is_emitted = false;
	return 1;
}

int cl_seal_put_blocks(struct seal_run *run)
{
	int rc = 1;

	if (run->block_count > 0)
		rc = put_window(run);
	if (rc > 0 && run->block_count > 0) {
		rc = append_window(run);
		if (rc != 0)
			return MIN_OF(rc, 0);
		run->is_flushing = manifest_dirty_count(run->fresh) > SEAL_NODES_MAX;
		rc = 1;
	}
	if (rc > 0 && run->is_flushing) {
		rc = seal_nodes(run);
		run->is_flushing = rc == 0;
	}
	return rc;
}

int cl_seal_put_nodes(struct seal_run *run)
{
	int rc = 1;

	if (run->is_changed)
		rc = seal_nodes(run);
	else
		run->fresh_root = run->root;
	if (rc <= 0)
		return rc;
	/* Of as many bytes, or something went wrong that nobody foresaw: nothing is published. */
	if (!root_is_recut(&run->root, &run->fresh_root))
		return -E_CORRUPT;
	run->fresh_root.cutter = CUT_VERSION;
	return 1;
}

int cl_seal_put_hole(struct seal_run *run, uint64_t len)
{
	const struct extent hole = { .length = len };

	return append(run, &hole, 1);
}
