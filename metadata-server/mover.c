/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Moving inline content into blocks. One inode at a time: copy its bytes, put the block, sync it,
 * tell step. Whatever goes wrong ends this attempt; step names the inode again.
 */
#include "metadata-server/mover.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "fs/base/log.h"
#include "fs/net/blocks.h"
#include "metadata-server/serve_internal.h"

#define LOG_MODULE "mover"

#define QUEUE_MAX	1024u	/* a ring; what does not fit comes again */
#define PAUSE_MS	5u	/* between two blocks */
#define PAUSE_FAILED_MS	1000u	/* after a failure: the cluster has other worries */
#define ATTEMPT_MS	30000u
#define CALL_MS		5000u

struct item { inode_no ino; uint64_t version; };

struct ms_mover {
	struct ms_server *server;
	/* our own address: blocks asks the metadata server for map rows */
	struct rpc_peer *self;
	struct blocks *blocks;
	struct item queue[QUEUE_MAX];
	uint32_t head, count;
	struct item now;		/* in work; ino 0: none */
	struct loop_timer timer;
	struct buf *plain;
	struct blocks_put put;
	struct blocks_sync sync;
	struct blocks_marks marks;
};

static void mover_next(struct ms_mover *m, uint64_t after_ms)
{
	m->now.ino = 0;
	buf_put(m->plain);
	m->plain = NULL;
	if (m->count > 0)
		loop_timer_start(m->server->options.loop, &m->timer, after_ms);
}

static void mover_failed(struct ms_mover *m, int rc)
{
	log_debug("cannot move inline content inode=%llu: %s", (unsigned long long)m->now.ino,
		  error_text(rc));
	mover_next(m, PAUSE_FAILED_MS);
}

static void sync_done(struct blocks_sync *sync)
{
	struct ms_mover *m = sync->user;
	struct ms_event event = { .kind = MS_EV_MOVED };

	if (sync->rc < 0) {
		mover_failed(m, sync->rc);
		return;
	}
	event.req.ino = m->now.ino;
	event.req.base_version = m->now.version;
	event.req.root = (struct root){ .kind = ROOT_BLOCK, .length = m->plain->len,
					.id = m->put.id };
	event.req.collection = m->marks.collection;
	if (!m->server->is_failed && !m->server->is_stopping)
		ms_serve_event(m->server, &event);
	mover_next(m, PAUSE_MS);
}

static uint64_t deadline_ns(struct ms_mover *m)
{
	return loop_now_ns(m->server->options.loop) + ATTEMPT_MS * 1000000ull;
}

static void put_done(struct blocks_put *put)
{
	struct ms_mover *m = put->user;

	if (put->rc < 0) {
		mover_failed(m, put->rc);
		return;
	}
	memset(&m->sync, 0, sizeof(m->sync));
	m->sync.marks = &m->marks;
	m->sync.deadline_ns = deadline_ns(m);
	m->sync.done = sync_done;
	m->sync.user = m;
	blocks_sync_start(m->blocks, &m->sync);
}

static void put_start(struct ms_mover *m)
{
	memset(&m->put, 0, sizeof(m->put));
	blocks_marks_init(&m->marks);
	m->put.plain = m->plain;
	m->put.deadline_ns = deadline_ns(m);
	m->put.marks = &m->marks;
	m->put.done = put_done;
	m->put.user = m;
	blocks_put_start(m->blocks, &m->put);
}

/* A copy of the published bytes. -E_STALE_VERSION, -E_NOENT: it changed, or is gone. */
static int take_bytes(struct ms_mover *m)
{
	const void *bytes;
	struct ms_attr attr;
	uint32_t len;
	int rc = ms_publish_inline(m->server->state, m->now.ino, m->now.version, &attr, &bytes,
				   &len);

	if (rc < 0)
		return rc;
	if (len == 0 || len > BLOCK_BYTES_MAX)
		return -E_STALE_VERSION;	/* nothing that a block could hold */
	m->plain = buf_get(m->server->options.pool, len);
	if (!m->plain)
		return -E_OVERLOADED;
	memcpy(m->plain->data, bytes, len);
	m->plain->len = len;
	return 0;
}

static void timer_fired(struct loop_timer *timer)
{
	struct ms_mover *m = container_of(timer, struct ms_mover, timer);
	struct ms_server *s = m->server;
	int rc;

	if (m->count == 0 || s->is_stopping || s->is_failed)
		return;
	m->now = m->queue[m->head];
	m->head = (m->head + 1) % QUEUE_MAX;
	m->count--;
	rc = take_bytes(m);
	if (rc == 0)
		put_start(m);
	else if (rc == -E_OVERLOADED)
		mover_failed(m, rc);
	else
		mover_next(m, PAUSE_MS);
}

void ms_mover_add(struct ms_mover *m, inode_no ino, uint64_t version)
{
	if (!m || m->count == QUEUE_MAX)
		return;
	if (m->now.ino == ino && m->now.version == version)
		return;
	for (uint32_t i = 0; i < m->count; i++) {
		struct item *item = &m->queue[(m->head + i) % QUEUE_MAX];
		if (item->ino == ino) {
			item->version = version;
			return;
		}
	}
	m->queue[(m->head + m->count++) % QUEUE_MAX] = (struct item){ ino, version };
	if (m->now.ino == 0 && !m->timer.is_active)
		loop_timer_start(m->server->options.loop, &m->timer, PAUSE_MS);
}

void ms_mover_map_changed(struct ms_mover *m)
{
	if (m)
		blocks_map_refresh(m->blocks);
}

int ms_mover_create(struct ms_server *s, struct ms_mover **out)
{
	const struct super *super = &s->recovery.super;
	struct ms_mover *m = calloc(1, sizeof(*m));
	struct blocks_options o = {
		.rpc = s->rpc, .loop = s->options.loop, .pool = s->options.pool,
		.hash = super->hash, .min_copies = super->min_copies, .aim = s->options.aim,
		.call_ms = CALL_MS,
	};
	int rc;

	if (!m)
		return -E_NOMEM;
	m->server = s;
	m->timer.fn = timer_fired;
	rc = rpc_peer_create(s->rpc, ms_server_address(s), &m->self);
	if (rc >= 0) {
		o.mds = m->self;
		rc = blocks_create(&o, &m->blocks);
	}
	if (rc < 0) {
		ms_mover_destroy(m);
		return rc;
	}
	*out = m;
	return 0;
}

void ms_mover_destroy(struct ms_mover *m)
{
	if (!m)
		return;
	if (m->server->mover == m)
		m->server->mover = NULL;	/* operations that end now come back to nobody */
	loop_timer_stop(m->server->options.loop, &m->timer);
	if (m->blocks)
		blocks_destroy(m->blocks);
	if (m->self)
		rpc_peer_destroy(m->self);
	loop_timer_stop(m->server->options.loop, &m->timer);
	buf_put(m->plain);
	free(m);
}
