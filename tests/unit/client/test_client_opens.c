/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opens of two clients, as the server counts them: how long a file without a name lives, and what
 * is given back when.
 */
#include "client/core/file.h"
#include "tests/client_pair.h"

static uint8_t bytes[300000], found[300000];

START_TEST(an_unlinked_file_lives_until_it_is_closed)
{
	struct cl_handle *h = file_create(&w, a, "gone"), *hb;
	file_pattern(bytes, sizeof bytes, 3);
	ck_assert_int_eq(file_write(&w, a, h, 0, bytes, sizeof bytes), 0);
	hb = file_open(&w, b, "gone", O_RDONLY);
	struct cl_op unlink = { .kind = CL_UNLINK, .parent = INODE_ROOT, .name = "gone" };
	ck_assert_int_eq(cluster_op(&w, b, &unlink), 0);
	ck_assert_int_eq(file_close(&w, a, h), 0);
	ck_assert_int_eq(file_read(&w, b, hb, 0, found, sizeof found), sizeof found);
	ck_assert_mem_eq(found, bytes, sizeof bytes);
	ck_assert_int_eq(file_close(&w, b, hb), 0);
}
END_TEST

/*
 * I5: the server asks again while the first answer waits for the data; the second must wait as
 * well.
 */
START_TEST(a_recall_that_is_asked_again_waits_for_the_first)
{
	struct cl_handle *h = file_create(&w, a, "slow");
	inode_no ino = file_lookup(&w, a, "slow");
	cluster_cs_stop(&w, 1);
	cluster_cs_stop(&w, 2);
	file_pattern(bytes, sizeof bytes, 9);
	ck_assert_int_eq(file_write(&w, a, h, 0, bytes, sizeof bytes), 0);
	struct cl_op op = { .kind = CL_GETATTR, .ino = ino, .done = cluster_op_done, .user = &w };
	client_submit(b, &op);
	cluster_run_for(&w, 1500);	/* a third of the lease is 1,000 ms */
	ck_assert(!op.is_finished);
	cluster_cs_start(&w, 1, 78);
	cluster_cs_start(&w, 2, 79);
	while (!op.is_finished)
		loop_uv_run(w.loop);
	ck_assert_int_eq(op.rc, 0);
	ck_assert_int_eq(op.attr.st.st_size, sizeof bytes);
	ck_assert_int_eq(file_close(&w, a, h), 0);
}
END_TEST

/* Pages that the kernel of `a` was told to drop, and did not yet. */
static struct {
	uint32_t count;
	void (*done[8])(void *arg);
	void *arg[8];
} dropping;

static void drop_later(void *arg, inode_no ino, void (*done)(void *done_arg), void *done_arg)
{
	(void)arg, (void)ino;
	ck_assert_uint_lt(dropping.count, ARRAY_COUNT(dropping.done));
	dropping.done[dropping.count] = done;
	dropping.arg[dropping.count++] = done_arg;
	loop_uv_stop(w.loop);
}

static void pages_are_dropped_later(struct cluster *cluster, struct cl_options *options)
{
	(void)cluster;
	options->on_inval_pages = drop_later;
}

/*
 * While a recall waits for the kernel's pages an open ends, so that there may be more of them; an
 * edit that comes then ends the wait. The kernel's answers may come as late as they
 * like.
 */
START_TEST(a_recall_that_did_not_wait_for_pages_is_not_ended_again)
{
	dropping.count = 0;
	cluster_client_stop(&w, a);
	cluster_client_hook = pages_are_dropped_later;
	a = cluster_client(&w);
	cluster_client_hook = NULL;
	struct cl_handle *ha = file_create(&w, a, "pages");
	ck_assert_int_eq(file_write(&w, a, ha, 0, "a", 1), 0);
	struct cl_handle *again = file_open(&w, a, "pages", O_RDONLY);
	struct cl_op theirs = { .kind = CL_SETATTR, .ino = again->file->node->ino,
				.set_mask = CL_SET_SIZE, .size = 5, .done = cluster_op_done,
				.user = &w };
	client_submit(b, &theirs);
	while (dropping.count == 0)
		loop_uv_run(w.loop);
	again->file->node->has_pages = true;	/* an open that was on its way */
	ck_assert_int_eq(file_write(&w, a, ha, 1, "a", 1), 0);
	while (!theirs.is_finished)
		loop_uv_run(w.loop);
	ck_assert_int_eq(theirs.rc, 0);
	for (uint32_t i = 0; i < dropping.count; i++)
		dropping.done[i](dropping.arg[i]);
	cluster_run_for(&w, 20);
	ck_assert_int_eq(file_read(&w, a, again, 0, found, 8), 5);
	ck_assert_mem_eq(found, "aa\0\0", 5);
	ck_assert_int_eq(file_close(&w, a, again), 0);
	ck_assert_int_eq(file_close(&w, a, ha), 0);
}
END_TEST

/* Its kernel may wait for a read that waits for chunk servers: that is no reason to fence it. */
START_TEST(a_kernel_that_does_not_drop_its_pages_holds_nobody_up_for_long)
{
	dropping.count = 0;
	cluster_client_stop(&w, a);
	cluster_client_hook = pages_are_dropped_later;
	a = cluster_client(&w);
	cluster_client_hook = NULL;
	session_no session = client_session(a);
	struct cl_handle *h = file_create(&w, a, "pages");
	ck_assert_int_eq(file_write(&w, a, h, 0, "a", 1), 0);
	struct cl_node *node = h->file->node;
	struct cl_op theirs = { .kind = CL_SETATTR, .ino = node->ino, .set_mask = CL_SET_SIZE,
				.size = 5 };
	ck_assert_int_eq(cluster_op(&w, b, &theirs), 0);
	ck_assert_uint_eq(dropping.count, 1);
	ck_assert_uint_eq(client_session(a), session);
	ck_assert(node->has_loose_pages);	/* who reads next sees to it that they go */
	dropping.done[0](dropping.arg[0]);
	cluster_run_for(&w, 20);
	ck_assert_int_eq(file_read(&w, a, h, 0, found, 8), 5);
	ck_assert_int_eq(file_close(&w, a, h), 0);
}
END_TEST

/*
 * A release that is sent again to a restarted server must not take away another open of the same
 * file.
 */
START_TEST(a_release_across_a_restart_leaves_the_other_open)
{
	ck_assert_int_eq(file_close(&w, a, file_create(&w, a, "two")), 0);
	struct cl_handle *hr = file_open(&w, a, "two", O_RDONLY),
			 *hw = file_open(&w, a, "two", O_RDWR);
	inode_no ino = file_lookup(&w, b, "two");
	struct cl_op unlink = { .kind = CL_UNLINK, .parent = INODE_ROOT, .name = "two" };
	ck_assert_int_eq(cluster_op(&w, b, &unlink), 0);
	cluster_mds_stop(&w);
	ck_assert_int_eq(file_close(&w, a, hw), 0);
	cluster_mds_start(&w);
	struct cl_op attr = { .kind = CL_GETATTR, .ino = ino };
	ck_assert_int_eq(cluster_op(&w, b, &attr), 0);
	cluster_run_for(&w, 500);
	attr = (struct cl_op){ .kind = CL_SETATTR, .ino = ino, .set_mask = CL_SET_MODE,
			       .mode = 0600 };
	ck_assert_int_eq(cluster_op(&w, b, &attr), 0);
	ck_assert_int_eq(file_close(&w, a, hr), 0);
}
END_TEST

/*
 * Without a lease an open asks for the attributes first. Meanwhile the handle that had the inode
 * registered is closed: the open must register it anew, or the file dies with its name.
 */
START_TEST(an_open_beside_the_last_close_keeps_the_file)
{
	struct cl_handle *ha = file_create(&w, a, "beside"),
			 *hb = file_open(&w, b, "beside", O_RDWR);
	struct cl_op open = { .kind = CL_OPEN, .ino = file_lookup(&w, a, "beside"),
			      .flags = O_RDWR, .done = cluster_op_done, .user = &w };
	struct cl_op close = { .kind = CL_RELEASE, .handle = ha };
	struct cl_op unlink = { .kind = CL_UNLINK, .parent = INODE_ROOT, .name = "beside" };
	ck_assert_int_eq(file_write(&w, b, hb, 0, "x", 1), 0);
	client_submit(a, &open);
	ck_assert_int_eq(cluster_op(&w, a, &close), 0);
	while (!open.is_finished)
		loop_uv_run(w.loop);
	ck_assert_int_eq(open.rc, 0);
	ck_assert_int_eq(cluster_op(&w, b, &unlink), 0);
	ck_assert_int_eq(file_close(&w, b, hb), 0);
	cluster_run_for(&w, 700);
	ck_assert_int_eq(file_write(&w, a, open.opened, 1, "y", 1), 0);
	ck_assert_int_eq(file_read(&w, a, open.opened, 0, found, 2), 2);
	ck_assert_mem_eq(found, "xy", 2);
	ck_assert_int_eq(file_close(&w, a, open.opened), 0);
}
END_TEST

/* Makes that find the file there open it, too: as many releases follow, of each kind. */
START_TEST(opens_are_given_back_as_often_as_they_were_taken)
{
	struct cl_handle *h[] = {file_create(&w, a, "thrice"), file_create(&w, a, "thrice"),
				 file_create(&w, a, "thrice"),
				 file_open(&w, a, "thrice", O_RDONLY)};
	inode_no ino = file_lookup(&w, b, "thrice");
	struct cl_op unlink = { .kind = CL_UNLINK, .parent = INODE_ROOT, .name = "thrice" };
	struct cl_op change = { .kind = CL_SETATTR, .ino = ino, .set_mask = CL_SET_MODE,
				.mode = 0600 };
	ck_assert_int_eq(cluster_op(&w, b, &unlink), 0);
	ck_assert_int_eq(cluster_op(&w, b, &change), 0);	/* it lives, being open */
	for (size_t i = 0; i < ARRAY_COUNT(h); i++)
		ck_assert_int_eq(file_close(&w, a, h[i]), 0);
	cluster_run_for(&w, 300);
	change = (struct cl_op){ .kind = CL_SETATTR, .ino = ino, .set_mask = CL_SET_MODE,
				 .mode = 0640 };
	ck_assert_int_eq(cluster_op(&w, b, &change), -E_STALE);
}
END_TEST

START_TEST(a_file_that_was_closed_is_somebody_elses_to_write_at_once)
{
	ck_assert_int_eq(file_close(&w, a, file_create(&w, a, "f")), 0);
	struct cl_handle *h = file_open(&w, b, "f", O_RDWR);
	ck_assert_int_eq(cl_node_find(b, file_lookup(&w, b, "f"))->lease, CL_LEASE_WRITE);
	ck_assert_int_eq(file_close(&w, b, h), 0);
	/* Opened and closed here, it is only readable. */
	ck_assert_int_eq(file_close(&w, a, file_open(&w, a, "f", O_RDONLY)), 0);
	h = file_open(&w, b, "f", O_RDWR);
	ck_assert_int_eq(cl_node_find(b, file_lookup(&w, b, "f"))->lease, CL_LEASE_WRITE);
	ck_assert_int_eq(file_close(&w, b, h), 0);
}
END_TEST

START_TEST(what_was_closed_is_given_back_in_time)
{
	inode_no ino = 0;
	for (uint32_t i = 0; i < 300; i++) {
		char name[16];
		snprintf(name, sizeof name, "f%u", i);
		ck_assert_int_eq(file_close(&w, a, file_create(&w, a, name)), 0);
		ino = file_lookup(&w, a, name);
	}
	ck_assert(cl_node_find(a, ino)->has_open_write);
	cluster_run_for(&w, 1000);
	ck_assert(!cl_node_find(a, ino)->has_open_write);
	ck_assert_uint_eq(cl_node_find(a, ino)->releasing, 0);
	ck_assert_ptr_null(a->idle_opens);
}
END_TEST

TEST_MAIN("opens of clients", tcase_add_checked_fixture(tc, pair_begin, pair_end);
	  tcase_add_test(tc, an_unlinked_file_lives_until_it_is_closed);
	  tcase_add_test(tc, a_recall_that_is_asked_again_waits_for_the_first);
	  tcase_add_test(tc, a_kernel_that_does_not_drop_its_pages_holds_nobody_up_for_long);
	  tcase_add_test(tc, a_recall_that_did_not_wait_for_pages_is_not_ended_again);
	  tcase_add_test(tc, a_release_across_a_restart_leaves_the_other_open);
	  tcase_add_test(tc, an_open_beside_the_last_close_keeps_the_file);
	  tcase_add_test(tc, opens_are_given_back_as_often_as_they_were_taken);
	  tcase_add_test(tc, a_file_that_was_closed_is_somebody_elses_to_write_at_once);
	  tcase_add_test(tc, what_was_closed_is_given_back_in_time))
