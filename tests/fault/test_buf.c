/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every buffer that a chain of three needs is refused in turn: what was taken before is given back,
 * the waiter is told, and the pool is whole at the end (I11).
 */
#include "fs/base/buf.h"

#include <stdio.h>
#include <utlist.h>

#include "fs/base/fault.h"
#include "tests/check_main.h"

#define CHAIN 3

/* All or nothing, as a request that needs several buffers does. */
static int take_chain(struct buf_pool *pool, struct buf **chain)
{
	for (int i = 0; i < CHAIN; i++) {
		struct buf *buf = buf_get(pool, 100);
		if (!buf)
			return -E_AGAIN;
		LL_PREPEND(*chain, buf);
	}
	return 0;
}

static void put_chain(struct buf *chain)
{
	struct buf *buf, *next;

	LL_FOREACH_SAFE(chain, buf, next)
		buf_put(buf);
}

static void count(void *arg)
{
	++*(int *)arg;
}

START_TEST(each_refusal_leaves_the_pool_whole)
{
#ifdef CAIRN_FAULTS
	struct buf_pool *pool = buf_pool_create(MiB(1));
	int wakes = 0;

	buf_pool_on_free(pool, count, &wakes);
	for (uint64_t n = 1; n <= CHAIN + 1; n++) {
		struct buf *chain = NULL;
		fault_arm(FAULT_buf_get, n, 1);
		int rc = take_chain(pool, &chain);
		ck_assert_int_eq(rc, n <= CHAIN ? -E_AGAIN : 0);
		ck_assert_uint_eq(fault_hits(FAULT_buf_get), n <= CHAIN);
		put_chain(chain);
		ck_assert_uint_eq(buf_pool_used_bytes(pool), 0);
		fault_disarm_all();
		/* The first refusal had nothing to give back, so the next put tells of it. */
		ck_assert_int_eq(wakes, n == 1 ? 0 : (int)(n <= CHAIN ? n - 1 : CHAIN - 1));
	}
	buf_pool_destroy(pool);
#else
	(void)count, (void)take_chain, (void)put_chain;
	puts("SKIP: fault points are built with SAN= only");
#endif
}
END_TEST

TEST_MAIN("buf", tcase_add_test(tc, each_refusal_leaves_the_pool_whole))
