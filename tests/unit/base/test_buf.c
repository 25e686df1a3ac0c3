/* SPDX-License-Identifier: Apache-2.0 */
/* The pool never lends or keeps more than its bound, and wakes who waits (I11). */
#include "fs/base/buf.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/base/fault.h"
#include "tests/check_main.h"

START_TEST(a_buffer_has_at_least_what_was_asked)
{
	struct buf_pool *pool = buf_pool_create(MiB(2));
	static const uint32_t asks[] = {0, 1, BUF_SMALL_BYTES, BUF_SMALL_BYTES + 1,
					BUF_LARGE_BYTES, BUF_LARGE_BYTES + 1, BUF_HUGE_BYTES};

	for (size_t i = 0; i < ARRAY_COUNT(asks); i++) {
		struct buf *buf = buf_get(pool, asks[i]);
		ck_assert_uint_ge(buf->capacity, asks[i]);
		ck_assert_uint_eq(buf->len, 0);
		unsigned align = asks[i] > BUF_LARGE_BYTES ? 4096 : 64;
		ck_assert_uint_eq((uintptr_t)buf->data % align, 0);
		memset(buf->data, 0xab, buf->capacity);
		buf_put(buf);
	}
	ck_assert_uint_eq(buf_pool_used_bytes(pool), 0);
	buf_pool_destroy(pool);
}
END_TEST

START_TEST(a_slice_keeps_the_whole_from_the_pool)
{
	struct buf_pool *pool = buf_pool_create(BUF_LARGE_BYTES);
	struct buf *whole = buf_get(pool, BUF_LARGE_BYTES);

	memcpy(whole->data, "headtext", 8);
	struct buf *slice = buf_slice(whole, 4, 4);
	struct buf *part = buf_slice(slice, 2, 2);
	ck_assert_uint_eq(slice->len, 4);
	ck_assert_mem_eq(slice->data, "text", 4);
	ck_assert_mem_eq(part->data, "xt", 2);
	buf_put(whole);
	buf_put(buf_ref(slice));
	buf_put(slice);
	ck_assert_uint_eq(buf_pool_used_bytes(pool), BUF_LARGE_BYTES);
	ck_assert_mem_eq(part->data, "xt", 2);
	buf_put(part);
	ck_assert_uint_eq(buf_pool_used_bytes(pool), 0);
	buf_pool_destroy(pool);
}
END_TEST

START_TEST(a_pool_without_room_gives_nothing)
{
	struct buf_pool *pool = buf_pool_create(2 * BUF_LARGE_BYTES);
	struct buf *first = buf_get(pool, BUF_LARGE_BYTES);
	struct buf *second = buf_get(pool, BUF_LARGE_BYTES);

	ck_assert(first && second);
	ck_assert_uint_eq(buf_pool_used_bytes(pool), 2 * BUF_LARGE_BYTES);
	ck_assert_ptr_null(buf_get(pool, 1));
	buf_put(first);
	struct buf *third = buf_get(pool, 1);
	ck_assert_ptr_nonnull(third);
	ck_assert_ptr_null(buf_get(pool, BUF_LARGE_BYTES));
	buf_put(second);
	buf_put(third);
	buf_pool_destroy(pool);
}
END_TEST

START_TEST(free_buffers_of_one_size_give_way_to_the_other)
{
	struct buf_pool *pool = buf_pool_create(BUF_LARGE_BYTES);
	struct buf *small[4];

	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < ARRAY_COUNT(small); i++)
			ck_assert_ptr_nonnull(small[i] = buf_get(pool, 10));
		for (size_t i = 0; i < ARRAY_COUNT(small); i++)
			buf_put(small[i]);
		struct buf *large = buf_get(pool, BUF_LARGE_BYTES);
		ck_assert_ptr_nonnull(large);
		buf_put(large);
	}
	buf_pool_destroy(pool);
}
END_TEST

START_TEST(a_pool_smaller_than_a_buffer_gives_none)
{
	struct buf_pool *pool = buf_pool_create(BUF_SMALL_BYTES - 1);

	ck_assert_ptr_null(buf_get(pool, 1));
	buf_pool_destroy(pool);
	buf_pool_destroy(NULL);
}
END_TEST

START_TEST(the_last_put_frees)
{
	struct buf_pool *pool = buf_pool_create(MiB(1));
	struct buf *buf = buf_get(pool, 1);

	ck_assert_ptr_eq(buf_ref(buf), buf);
	buf_put(buf);
	ck_assert_uint_eq(buf_pool_used_bytes(pool), BUF_SMALL_BYTES);
	buf_put(buf);
	ck_assert_uint_eq(buf_pool_used_bytes(pool), 0);
	buf_put(NULL);
	buf_pool_destroy(pool);
}
END_TEST

static void count(void *arg)
{
	++*(int *)arg;
}

START_TEST(a_waiter_is_called_once_per_shortage)
{
	struct buf_pool *pool = buf_pool_create(2 * BUF_SMALL_BYTES);
	int calls = 0;

	buf_pool_on_free(pool, count, &calls);
	for (int round = 1; round <= 2; round++) {
		struct buf *first = buf_get(pool, 1);
		struct buf *second = buf_get(pool, 1);
		ck_assert_ptr_null(buf_get(pool, 1));
		ck_assert_ptr_null(buf_get(pool, 1));
		buf_put(first);
		buf_put(second);
		ck_assert_int_eq(calls, round);
	}
	buf_put(buf_get(pool, 1)); /* no shortage, no call */
	ck_assert_int_eq(calls, 2);
	buf_pool_destroy(pool);
}
END_TEST

static void *get_and_put(void *arg)
{
	struct buf_pool *pool = arg;

	for (int i = 0; i < 2000; i++) {
		struct buf *buf = buf_get(pool, i % 2 ? 1 : BUF_LARGE_BYTES);
		if (!buf)
			continue;
		buf->data[0] = (uint8_t)i;
		buf_put(buf_ref(buf));
		buf_put(buf);
	}
	return NULL;
}

START_TEST(threads_share_a_pool)
{
	struct buf_pool *pool = buf_pool_create(3 * BUF_LARGE_BYTES);
	pthread_t threads[4];

	for (size_t i = 0; i < ARRAY_COUNT(threads); i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, get_and_put, pool), 0);
	for (size_t i = 0; i < ARRAY_COUNT(threads); i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(buf_pool_used_bytes(pool), 0);
	buf_pool_destroy(pool);
}
END_TEST

/* The pool must not hide such a bug from the sanitizer by keeping the memory. */
START_TEST(a_use_after_the_last_put_is_found)
{
#ifdef __SANITIZE_ADDRESS__
	struct buf_pool *pool = buf_pool_create(MiB(1));
	struct buf *buf = buf_get(pool, 1);
	uint8_t *data = buf->data;
	int status;

	pid_t child = fork();
	if (child == 0) {
		close(STDERR_FILENO); /* its report is not ours */
		buf_put(buf);
		*(volatile uint8_t *)data = 1;
		_exit(0);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_ne(status, 0);
	buf_put(buf);
	buf_pool_destroy(pool);
#else
	puts("SKIP: needs SAN=address");
#endif
}
END_TEST

TEST_MAIN("buf",
	  tcase_add_test(tc, a_buffer_has_at_least_what_was_asked);
	  tcase_add_test(tc, a_slice_keeps_the_whole_from_the_pool);
	  tcase_add_test(tc, a_pool_without_room_gives_nothing);
	  tcase_add_test(tc, free_buffers_of_one_size_give_way_to_the_other);
	  tcase_add_test(tc, a_pool_smaller_than_a_buffer_gives_none);
	  tcase_add_test(tc, the_last_put_frees);
	  tcase_add_test(tc, a_waiter_is_called_once_per_shortage);
	  tcase_add_test(tc, threads_share_a_pool);
	  tcase_add_test(tc, a_use_after_the_last_put_is_found))
