/* SPDX-License-Identifier: Apache-2.0 */
/* Locks of clients that have a file open together: whatever their leases, one holder at a time. */
#include <fcntl.h>

#include "client/core/file.h"
#include "tests/client_pair.h"

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

static uint8_t bytes[300000];

static struct cl_op begun(struct cl_handle *h, enum cl_op_kind kind)
{
	return (struct cl_op){ .kind = kind, .ino = h->ino, .handle = h,
			       .done = cluster_op_done, .user = &w };
}

static void finish(struct cl_op *op, int rc)
{
	while (!op->is_finished)
		loop_uv_run(w.loop);
	ck_assert_int_eq(op->rc, rc);
}

/*
 * A recall waits for a write; when that is interrupted the recall ends, and runs the next edit,
 * which ends at once: nothing of it is left to be run by whoever looked at the recall.
 */
START_TEST(an_edit_that_ends_with_a_recall_is_not_run_again)
{
	struct cl_handle *h = file_create(&w, a, "f");

	file_pattern(bytes, sizeof bytes, 1);
	ck_assert_int_eq(file_write(&w, a, h, 0, bytes, sizeof bytes), 0);
	ck_assert_int_eq(file_close(&w, a, h), 0);
	cluster_client_stop(&w, a);	/* with what it has in memory */
	a = cluster_client(&w);
	h = file_open(&w, a, "f", O_RDWR);
	ck_assert_int_eq(h->file->node->lease, CL_LEASE_WRITE);
	struct cl_op slow = begun(h, CL_WRITE), nothing = begun(h, CL_FALLOCATE);
	struct cl_op look = begun(h, CL_GETATTR);

	slow.bytes = "x";
	slow.bytes_len = 1;
	slow.offset = 1000;
	look.handle = NULL;
	for (uint32_t i = 0; i < 3; i++)
		cluster_cs_stop(&w, i);
	client_submit(a, &slow);
	cluster_run_for(&w, 20);
	client_submit(b, &look);
	cluster_run_for(&w, 50);
	ck_assert(!slow.is_finished && !look.is_finished && h->file->node->is_recalling);
	client_submit(a, &nothing);
	cluster_run_for(&w, 20);
	client_interrupt(a, &slow);
	finish(&slow, -E_INTR);
	finish(&nothing, -E_INVAL);
	finish(&look, 0);
	for (uint32_t i = 0; i < 3; i++)
		cluster_cs_start(&w, i, 77 + i);
	ck_assert_int_eq(file_close(&w, a, h), 0);
}
END_TEST

TEST_MAIN("locks of clients", tcase_add_checked_fixture(tc, pair_begin, pair_end);
	  tcase_add_test(tc, a_turn_to_append_is_none_to_lock);
	  tcase_add_test(tc, an_edit_that_ends_with_a_recall_is_not_run_again))
