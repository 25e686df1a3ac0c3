/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The buffer pool: three sizes, one free list each, one mutex. What is lent and what lies on the
 * free lists together never exceed bytes_max (I11); a get of one size may release free buffers of
 * the others, so that a burst of messages cannot starve records for ever.
 *
 * Under AddressSanitizer nothing is kept: a put really frees, so a use after it is found.
 */
#include "fs/base/buf.h"

#include <pthread.h>
#include <stdlib.h>
#include <utlist.h>

#include "fs/base/fault.h"
#include "fs/base/metrics.h"

#if defined(__SANITIZE_ADDRESS__)
#define KEEP_FREED false
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define KEEP_FREED false
#endif
#endif
#ifndef KEEP_FREED
#define KEEP_FREED true
#endif

enum size_class { SMALL, LARGE, HUGE, CLASS_COUNT };

static const struct {
	uint32_t bytes;
	uint32_t align; /* and where the bytes begin, behind the header */
} classes[CLASS_COUNT] = {
	{BUF_SMALL_BYTES, 64},
	{BUF_LARGE_BYTES, 64},
	{BUF_HUGE_BYTES, 4096},
};

_Static_assert(sizeof(struct buf) <= 64, "the header lies in front of the aligned bytes");
_Static_assert(BUF_SMALL_BYTES % 64 == 0 && BUF_LARGE_BYTES % 64 == 0 && BUF_HUGE_BYTES % 4096 == 0,
	       "sizes that aligned_alloc takes");

struct buf_pool {
	pthread_mutex_t mutex;
	struct buf *free[CLASS_COUNT];
	uint64_t bytes_max;
	uint64_t used_bytes;		/* lent */
	uint64_t free_bytes;		/* on the free lists */
	void (*on_free)(void *arg);
	void *on_free_arg;
	bool starved;			/* a get failed since on_free was called last */
};

struct buf_pool *buf_pool_create(uint64_t bytes_max)
{
	struct buf_pool *pool = calloc(1, sizeof(*pool));

	if (!pool)
		return NULL;
	if (pthread_mutex_init(&pool->mutex, NULL) != 0) {
		free(pool);
		return NULL;
	}
	pool->bytes_max = bytes_max;
	return pool;
}

static void release_free(struct buf_pool *pool, enum size_class class)
{
	struct buf *buf = pool->free[class];

	LL_DELETE(pool->free[class], buf);
	pool->free_bytes -= buf->capacity;
	free(buf);
}

void buf_pool_destroy(struct buf_pool *pool)
{
	if (!pool)
		return;
	ASSERT(pool->used_bytes == 0);
	for (enum size_class class = SMALL; class < CLASS_COUNT; class++)
		while (pool->free[class])
			release_free(pool, class);
	ASSERT(pool->free_bytes == 0);
	pthread_mutex_destroy(&pool->mutex);
	free(pool);
}

uint64_t buf_pool_used_bytes(const struct buf_pool *pool)
{
	return __atomic_load_n(&pool->used_bytes, __ATOMIC_RELAXED);
}

uint64_t buf_pool_bytes_max(const struct buf_pool *pool)
{
	return pool->bytes_max;
}

void buf_pool_on_free(struct buf_pool *pool, void (*fn)(void *arg), void *arg)
{
	pthread_mutex_lock(&pool->mutex);
	pool->on_free = fn;
	pool->on_free_arg = arg;
	pthread_mutex_unlock(&pool->mutex);
}

static enum size_class class_of(uint32_t capacity)
{
	return capacity <= BUF_SMALL_BYTES ? SMALL : capacity <= BUF_LARGE_BYTES ? LARGE : HUGE;
}

static struct buf *get_new(struct buf_pool *pool, enum size_class class)
{
	uint32_t bytes = classes[class].bytes, align = classes[class].align;

	if (bytes > pool->bytes_max || pool->used_bytes > pool->bytes_max - bytes)
		return NULL;
	for (enum size_class other = SMALL; other < CLASS_COUNT; other++) {
		while (pool->free[other] &&
		       pool->used_bytes + pool->free_bytes + bytes > pool->bytes_max)
			release_free(pool, other);
	}

	struct buf *buf = aligned_alloc(align, align + bytes);
	if (!buf)
		return NULL;
	*buf = (struct buf){.data = (uint8_t *)buf + align, .capacity = bytes, .pool = pool};
	return buf;
}

static struct buf *get_locked(struct buf_pool *pool, enum size_class class)
{
	struct buf *buf = pool->free[class];

	if (buf) {
		LL_DELETE(pool->free[class], buf);
		pool->free_bytes -= buf->capacity;
	} else {
		buf = get_new(pool, class);
		if (!buf)
			return NULL;
	}
	__atomic_add_fetch(&pool->used_bytes, buf->capacity, __ATOMIC_RELAXED);
	ASSERT(pool->used_bytes + pool->free_bytes <= pool->bytes_max);
	return buf;
}

struct buf *buf_get(struct buf_pool *pool, uint32_t capacity)
{
	struct buf *buf = NULL;
	bool refused = FAULT(buf_get);

	ASSERT(capacity <= BUF_HUGE_BYTES);
	pthread_mutex_lock(&pool->mutex);
	if (!refused)
		buf = get_locked(pool, class_of(capacity));
	if (!buf)
		pool->starved = true;
	pthread_mutex_unlock(&pool->mutex);
	if (!buf) {
		METRIC_INC(buffers_exhausted);
		return NULL;
	}

	buf->len = 0;
	buf->next = NULL;
	buf->refs = 1;
	return buf;
}

struct buf *buf_slice(struct buf *of, uint32_t from, uint32_t len)
{
	ASSERT(from <= of->capacity && len <= of->capacity - from);
	struct buf *slice = FAULT(buf_get) ? NULL : malloc(sizeof(*slice));

	if (!slice)
		return NULL;
	*slice = (struct buf){
		.data = of->data + from,
		.len = len,
		.capacity = of->capacity - from,
		.pool = of->pool,
		.whole = buf_ref(of->whole ? of->whole : of),
		.refs = 1,
	};
	return slice;
}

struct buf *buf_ref(struct buf *buf)
{
	int before = __atomic_fetch_add(&buf->refs, 1, __ATOMIC_RELAXED);

	ASSERT(before > 0);
	return buf;
}

void buf_put(struct buf *buf)
{
	if (!buf)
		return;
	int before = __atomic_fetch_sub(&buf->refs, 1, __ATOMIC_ACQ_REL);
	ASSERT(before > 0);
	if (before > 1)
		return;
	if (buf->whole) {
		struct buf *whole = buf->whole;

		free(buf);
		buf_put(whole);
		return;
	}

	struct buf_pool *pool = buf->pool;
	void (*wake)(void *arg) = NULL;
	void *arg = NULL;

	pthread_mutex_lock(&pool->mutex);
	__atomic_sub_fetch(&pool->used_bytes, buf->capacity, __ATOMIC_RELAXED);
	if (KEEP_FREED) {
		LL_PREPEND(pool->free[class_of(buf->capacity)], buf);
		pool->free_bytes += buf->capacity;
	} else {
		free(buf);
	}
	if (pool->starved && pool->on_free) {
		wake = pool->on_free;
		arg = pool->on_free_arg;
		pool->starved = false;
	}
	pthread_mutex_unlock(&pool->mutex);
	/* Outside the lock: the waiter will want to get. */
	if (wake)
		wake(arg);
}
