/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Buffers: reference-counted byte arrays from a bounded pool (I11).
 *
 * A pool has a hard limit in bytes, set at start. buf_get() answers NULL when it is reached:
 * that is back-pressure for the caller (stop reading the socket, park the request), never a
 * reason to allocate elsewhere. Freed buffers are kept for reuse.
 *
 * Threads: get, ref and put from any thread; the bytes belong to whoever the owner says.
 */
#ifndef CAIRN_FS_BASE_BUF_H
#define CAIRN_FS_BASE_BUF_H

#include "fs/base/base.h"

struct buf_pool;

struct buf {
	/* `capacity` bytes, aligned to 64, of a huge one to 4,096; a slice lies anywhere */
	uint8_t *data;
	uint32_t len;		/* bytes in use, kept by the owner */
	uint32_t capacity;
	struct buf_pool *pool;
	struct buf *next;	/* free list of the pool, or any list of the one owner */
	struct buf *whole;	/* private: of a slice */
	int refs;		/* private */
};

#define BUF_SMALL_BYTES	4096u			/* messages */
#define BUF_LARGE_BYTES	(RECORD_BYTES_MAX + 4096u)	/* one record, or the largest message */
/* sixteen records that lie side by side, from page to page; only who reads such asks for it */
#define BUF_HUGE_BYTES	(259u * 4096u)

/* A pool that holds at most `bytes_max` of buffers; NULL when out of memory. */
struct buf_pool *buf_pool_create(uint64_t bytes_max);
void buf_pool_destroy(struct buf_pool *pool);	/* every buffer must have been put */
uint64_t buf_pool_used_bytes(const struct buf_pool *pool);
uint64_t buf_pool_bytes_max(const struct buf_pool *pool);
/*
 * After a get failed, call fn(arg) once, from the thread that puts, when memory is free again.
 * Stays registered: the next failing get arms it anew. Set it before the first get, or a free in
 * between is missed. One waiter slot per pool; NULL clears it.
 */
void buf_pool_on_free(struct buf_pool *pool, void (*fn)(void *arg), void *arg);

/*
 * A buffer of at least `capacity` bytes (<= BUF_HUGE_BYTES), one reference, len 0; NULL: pool
 * empty.
 */
must_check struct buf *buf_get(struct buf_pool *pool, uint32_t capacity);
/*
 * A part of a buffer as one of its own, for who may only read it: len is `len`, and it holds a
 * reference on the whole, whose memory it keeps from the pool. NULL: out of memory.
 */
must_check struct buf *buf_slice(struct buf *of, uint32_t from, uint32_t len);
struct buf *buf_ref(struct buf *buf);
void buf_put(struct buf *buf);			/* NULL is allowed */

#endif
