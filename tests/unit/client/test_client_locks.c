/* SPDX-License-Identifier: Apache-2.0 */
/* Locks of clients that have a file open together: whatever their leases, one holder at a time. */
#include <fcntl.h>

#include "tests/client_cluster.h"

#include "client/core/file.h"

static struct cluster w;
static struct client *a, *b;

static void setup(void)
{
	cluster_start(&w, 3000);
	a = cluster_client(&w);
	b = cluster_client(&w);
}

static void teardown(void)
{
	cluster_client_stop(&w, a);
	cluster_client_stop(&w, b);
	cluster_finish(&w);
}

static struct cl_op lock_op(struct cl_handle *h, enum range_mode mode, bool waits)
{
	return (struct cl_op){ .kind = CL_SETLK, .ino = h->ino, .handle = h,
			       .lock = { .owner = (uintptr_t)h, .end = RANGE_END, .mode = mode,
					 .is_flock = true, .waits = waits } };
}

static int lock(struct client *c, struct cl_handle *h, enum range_mode mode)
{
	struct cl_op op = lock_op(h, mode, false);

	return cluster_op(&w, c, &op);
}

static int append(struct client *c, struct cl_handle *h)
{
	struct cl_op op = { .kind = CL_WRITE, .handle = h, .ino = h->ino, .flags = O_APPEND,
			    .bytes = "line", .bytes_len = 4 };

	return cluster_op(&w, c, &op);
}

/*
 * Who appends beside others has the write lease for his turn; the others still have the file open.
 */
START_TEST(a_turn_to_append_is_none_to_lock)
{
	struct cl_handle *ha, *hb;

	ck_assert_int_eq(file_close(&w, a, file_create(&w, a, "log")), 0);
	ha = file_open(&w, a, "log", O_WRONLY | O_APPEND);
	hb = file_open(&w, b, "log", O_WRONLY | O_APPEND);
	ck_assert_int_eq(append(a, ha), 0);
	ck_assert_int_eq(ha->file->node->lease, CL_LEASE_WRITE);
	ck_assert_int_eq(lock(a, ha, RANGE_WRITE), 0);
	ck_assert_int_eq(lock(b, hb, RANGE_WRITE), -E_AGAIN);
	ck_assert_int_eq(lock(a, ha, RANGE_NONE), 0);
	ck_assert_int_eq(lock(b, hb, RANGE_WRITE), 0);
	ck_assert_int_eq(append(a, ha), 0);
	ck_assert_int_eq(lock(a, ha, RANGE_WRITE), -E_AGAIN);
	ck_assert_int_eq(file_close(&w, b, hb), 0);
	ck_assert_int_eq(lock(a, ha, RANGE_WRITE), 0);
	ck_assert_int_eq(file_close(&w, a, ha), 0);
}
END_TEST

TEST_MAIN("locks of clients", tcase_add_checked_fixture(tc, setup, teardown);
	  tcase_add_test(tc, a_turn_to_append_is_none_to_lock))
