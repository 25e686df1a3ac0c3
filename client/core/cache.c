/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks by id. A block is in one of three places: the LRU list (loaded), flying (asked for), or
 * one of two queues, of which that of waiting readers goes first. Keeps I11: bytes and fetches in
 * flight are bounded; hints that find no room are dropped.
 */
#include "client/core/cache.h"

#include <stdlib.h>
#include <utlist.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define HINTS_MAX  256u
#define FETCH_MS_MAX 60000u

enum block_state { BLOCK_LOADED, BLOCK_WANTED, BLOCK_HINTED, BLOCK_FLYING };

struct cl_block {
	struct block_id id;
	uint32_t len;			/* expected; 0: any */
	uint64_t run;
	enum block_state state;
	struct buf *buf;
	struct client *client;
	struct cl_fetch *waiters;
	struct blocks_get get;
	UT_hash_handle hh;
	struct cl_block *prev, *next;
};

static struct cl_block **list_of(struct cl_cache *cache, enum block_state state)
{
	switch (state) {
	case BLOCK_LOADED: return &cache->lru;
	case BLOCK_WANTED: return &cache->wanted;
	case BLOCK_HINTED: return &cache->hinted;
	default: return NULL;
	}
}

static void block_move(struct cl_cache *cache, struct cl_block *block, enum block_state state)
{
	struct cl_block **from = list_of(cache, block->state);
	if (from)
		DL_DELETE(*from, block);
	block->state = state;
	struct cl_block **to = list_of(cache, state);
	if (to)
		DL_APPEND(*to, block);
}

static void block_free(struct cl_cache *cache, struct cl_block *block)
{
	ASSERT(!block->waiters && block->state != BLOCK_FLYING);
	DL_DELETE(*list_of(cache, block->state), block);
	HASH_DEL(cache->by_id, block);
	if (block->buf)
		cache->bytes -= block->buf->capacity;
	buf_put(block->buf);
	free(block);
}

static struct cl_block *block_find(struct cl_cache *cache, const struct block_id *id)
{
	struct cl_block *block;
	HASH_FIND(hh, cache->by_id, id, sizeof *id, block);
	return block;
}

static struct cl_block *block_make(struct client *c, const struct block_id *id, uint32_t len)
{
	struct cl_block *block = calloc(1, sizeof *block);
	if (!block)
		return NULL;
	block->id = *id;
	block->len = len;
	block->client = c;
	block->state = BLOCK_FLYING;
	HASH_ADD(hh, c->cache.by_id, id, sizeof block->id, block);
	if (!block->hh.tbl) {
		free(block);
		return NULL;
	}
	return block;
}

static void cache_trim(struct cl_cache *cache, uint64_t bytes_max)
{
	while (cache->lru && cache->bytes > bytes_max)
		block_free(cache, cache->lru);
}

static void cache_pump(struct client *c);
static void block_loaded(struct blocks_get *get);

static void block_ask(struct client *c, struct cl_block *block)
{
	block->get = (struct blocks_get){
		.id = block->id, .plain_len = block->len, .run = block->run,
		.done = block_loaded, .user = block,
		.deadline_ns = loop_now_ns(c->options.loop) +
			       MIN_OF(c->options.timeout_ms, FETCH_MS_MAX) * UINT64_C(1000000),
	};
	blocks_get_start(c->blocks, &block->get);
}

/* Servers that have it are not there: does somebody still have time? */
static bool block_goes_on(const struct cl_block *block, int rc)
{
	const struct client *c = block->client;
	uint64_t before_ns =
		loop_now_ns(c->options.loop) - c->options.timeout_ms * UINT64_C(1000000);
	const struct cl_fetch *fetch;
	if (!cl_is_unavailable(rc) || c->life != CL_RUNNING || !block->waiters)
		return false;
	DL_FOREACH(block->waiters, fetch)
		if (fetch->since_ns > before_ns)
			return true;
	return c->options.is_hard;
}

/* Who came later may expect another length: their manifests disagree (I8). */
static void fetch_answer(struct cl_fetch *fetch, const struct cl_block *block, int rc)
{
	if (rc == 0 && fetch->len != 0 && fetch->len != block->buf->len)
		rc = -E_CORRUPT;
	fetch->rc = rc;
	fetch->buf = rc == 0 ? buf_ref(block->buf) : NULL;
}

static void block_loaded(struct blocks_get *get)
{
	struct cl_block *block = get->user;
	struct client *c = block->client;
	struct cl_cache *cache = &c->cache;
	struct cl_fetch *waiters = block->waiters;
	struct cl_fetch *fetch;
	bool is_kept = !waiters;		/* read-ahead */
	if (block_goes_on(block, get->rc)) {
		block_ask(c, block);
		return;
	}
	block->waiters = NULL;
	cache->flying--;
	c->stats.blocks_got += get->rc == 0;
	block->buf = get->rc == 0 ? get->plain : NULL;
	DL_FOREACH(waiters, fetch) {
		fetch_answer(fetch, block, get->rc);
		fetch->list = &waiters;		/* so that one done() may cancel another */
		is_kept = is_kept || !fetch->is_last;
	}
	block_move(cache, block, BLOCK_LOADED);
	if (block->buf)
		cache->bytes += block->buf->capacity;
	if (block->buf && is_kept)
		cache_trim(cache, cache->bytes_max);
	else
		block_free(cache, block);
	cache_pump(c);
	while ((fetch = waiters) != NULL) {
		DL_DELETE(waiters, fetch);
		fetch->list = NULL;
		fetch->done(fetch);
	}
}

static void block_start(struct client *c, struct cl_block *block)
{
	block_move(&c->cache, block, BLOCK_FLYING);
	c->cache.flying++;
	block_ask(c, block);
}

static void cache_pump(struct client *c)
{
	struct cl_cache *cache = &c->cache;
	if (!c->blocks)
		return;
	while (cache->flying < cache->flying_max && cache->wanted)
		block_start(c, cache->wanted);
	while (cache->flying < cache->flying_max && cache->hinted)
		block_start(c, cache->hinted);
}

bool cl_cache_knows(struct client *c, const struct block_id *id)
{
	return block_find(&c->cache, id) != NULL;
}

struct buf *cl_cache_find(struct client *c, const struct block_id *id)
{
	struct cl_block *block = block_find(&c->cache, id);
	if (!block || block->state != BLOCK_LOADED)
		return NULL;
	block_move(&c->cache, block, BLOCK_LOADED);
	return buf_ref(block->buf);
}

int cl_cache_fetch(struct client *c, const struct block_id *id, uint32_t len,
		   struct cl_fetch *fetch)
{
	struct cl_block *block = block_find(&c->cache, id);
	ASSERT(!fetch->list);
	if (block && block->state == BLOCK_LOADED) {
		if (len != 0 && block->buf->len != len)
			return -E_CORRUPT;	/* the manifest and the block disagree */
		fetch->rc = 0;
		fetch->buf = buf_ref(block->buf);
		if (fetch->is_last)
			block_free(&c->cache, block);
		else
			block_move(&c->cache, block, BLOCK_LOADED);
		return 1;
	}
	if (!block) {
		block = block_make(c, id, len);
		if (!block)
			return -E_NOMEM;
		block->run = fetch->run;
		block_move(&c->cache, block, fetch->is_patient ? BLOCK_HINTED : BLOCK_WANTED);
	} else if (block->state == BLOCK_HINTED && !fetch->is_patient) {
		block_move(&c->cache, block, BLOCK_WANTED);
	}
	fetch->block = block;
	fetch->list = &block->waiters;
	fetch->since_ns = loop_now_ns(c->options.loop);
	fetch->len = len;
	fetch->buf = NULL;
	DL_APPEND(block->waiters, fetch);
	cache_pump(c);
	return 0;
}

void cl_cache_cancel(struct client *c, struct cl_fetch *fetch)
{
	struct cl_block *block = fetch->block;
	if (!fetch->list)
		return;
	bool is_loaded = fetch->list != &block->waiters;
	DL_DELETE(*fetch->list, fetch);
	fetch->list = NULL;
	buf_put(fetch->buf);
	fetch->buf = NULL;
	if (!is_loaded && !block->waiters &&
	    (block->state == BLOCK_WANTED || block->state == BLOCK_HINTED))
		block_free(&c->cache, block);
}

void cl_cache_hint(struct client *c, const struct block_id *id, uint32_t len, uint64_t run)
{
	struct cl_cache *cache = &c->cache;
	if (cache->flying >= HINTS_MAX || block_find(cache, id))
		return;
	struct cl_block *block = block_make(c, id, len);
	if (!block)
		return;
	block->run = run;
	block_move(cache, block, BLOCK_HINTED);
	cache_pump(c);
}

void cl_cache_add(struct client *c, const struct block_id *id, struct buf *buf)
{
	struct cl_cache *cache = &c->cache;
	if (block_find(cache, id))
		return;
	struct cl_block *block = block_make(c, id, buf->len);
	if (!block)
		return;
	block->buf = buf_ref(buf);
	block_move(cache, block, BLOCK_LOADED);
	cache->bytes += buf->capacity;
	cache_trim(cache, cache->bytes_max);
}

void cl_cache_shrink(struct client *c, uint64_t bytes)
{
	cache_trim(&c->cache, c->cache.bytes > bytes ? c->cache.bytes - bytes : 0);
}

void cl_cache_finish(struct client *c)
{
	struct cl_cache *cache = &c->cache;
	struct cl_block *block, *next;
	HASH_ITER(hh, cache->by_id, block, next) {
		block->waiters = NULL;
		/* canceled with the blocks: nobody answers */
		if (block->state == BLOCK_FLYING)
			block_move(cache, block, BLOCK_LOADED);
		block_free(cache, block);
	}
	cache->flying = 0;
}
