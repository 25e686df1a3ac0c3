/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client whose session ends, and whose metadata server goes and comes back: what was under way is
 * done all the same, unless it depends on what went with the session.
 */
#include "client/core/file.h"
#include "tests/client_pair.h"

#define UNKNOWN UINT64_C(0x7e57)	/* the session that the server does not know */

/* From now on the server does not know it; the next answer tells. */
static void lose_session(struct client *c)
{
	c->session.number = UNKNOWN;
}

static inode_no made(const char *name, mode_t mode, const char *target)
{
	struct cl_op op = { .kind = CL_MAKE, .parent = INODE_ROOT, .name = name, .mode = mode,
			    .target = target };
	ck_assert_int_eq(cluster_op(&w, b, &op), 0);
	return op.attr.st.st_ino;
}

static void set_xattr(struct client *c, inode_no ino, const char *name)
{
	struct cl_op op = { .kind = CL_SETXATTR, .ino = ino, .name = name, .bytes = "value",
			    .bytes_len = 5 };
	ck_assert_int_eq(cluster_op(&w, c, &op), 0);
}

/* --- who asks does not notice ----------------------------------------------------------------- */

static void try_without_session(const char *what, struct cl_op op)
{
	cl_node_drop_leases(a);		/* nothing is answered from memory */
	lose_session(a);
	int rc = cluster_op(&w, a, &op);
	ck_assert_msg(rc == 0, "%s: %s", what, error_text(rc));
	ck_assert_uint_ne(client_session(a), UNKNOWN);
	ck_assert_uint_ne(client_session(a), 0);
}

START_TEST(a_question_outlives_the_session_it_was_asked_in)
{
	char out[64];
	inode_no file = made("file", S_IFREG | 0644, NULL);
	inode_no link = made("link", S_IFLNK | 0777, "to");
	inode_no dir = made("dir", S_IFDIR | 0755, NULL);
	set_xattr(b, file, "user.x");
	struct cl_op open = { .kind = CL_OPENDIR, .ino = dir };
	ck_assert_int_eq(cluster_op(&w, a, &open), 0);

	try_without_session("lookup", (struct cl_op){ .kind = CL_LOOKUP, .parent = INODE_ROOT,
						      .name = "file" });
	try_without_session("getattr", (struct cl_op){ .kind = CL_GETATTR, .ino = file });
	try_without_session("readlink", (struct cl_op){ .kind = CL_READLINK, .ino = link,
							.out = out, .out_capacity = sizeof out });
	try_without_session("readdir", (struct cl_op){ .kind = CL_READDIR, .ino = dir,
						       .handle = open.opened });
	try_without_session("getxattr",
			    (struct cl_op){ .kind = CL_GETXATTR, .ino = file, .name = "user.x",
					    .out = out, .out_capacity = sizeof out });
	try_without_session("listxattr",
			    (struct cl_op){ .kind = CL_LISTXATTR, .ino = file, .out = out,
					    .out_capacity = sizeof out });
	try_without_session("getlk", (struct cl_op){ .kind = CL_GETLK, .ino = file,
						     .lock = { .owner = 1, .end = RANGE_END,
							       .mode = RANGE_WRITE } });
	struct cl_op close = { .kind = CL_RELEASEDIR, .ino = dir, .handle = open.opened };
	ck_assert_int_eq(cluster_op(&w, a, &close), 0);
}
END_TEST

/* The server says that it did not do it. */
START_TEST(a_change_that_was_not_made_is_made_in_the_next_session)
{
	inode_no file = made("file", S_IFREG | 0644, NULL);
	struct cl_op look = { .kind = CL_LOOKUP, .parent = INODE_ROOT, .name = "linked" };

	try_without_session("make", (struct cl_op){ .kind = CL_MAKE, .parent = INODE_ROOT,
						    .name = "new", .mode = S_IFREG | 0644,
						    .exclusive = true });
	try_without_session("link", (struct cl_op){ .kind = CL_LINK, .ino = file,
						    .parent = INODE_ROOT, .name = "linked" });
	ck_assert_int_eq(cluster_op(&w, b, &look), 0);
	ck_assert_uint_eq(look.attr.st.st_nlink, 2);
	try_without_session("setattr", (struct cl_op){ .kind = CL_SETATTR, .ino = file,
						       .set_mask = CL_SET_MODE, .mode = 0600 });
	try_without_session("setxattr",
			    (struct cl_op){ .kind = CL_SETXATTR, .ino = file, .name = "user.y",
					    .bytes = "1", .bytes_len = 1 });
	try_without_session("removexattr",
			    (struct cl_op){ .kind = CL_REMOVEXATTR, .ino = file,
					    .name = "user.y" });
	try_without_session("rename",
			    (struct cl_op){ .kind = CL_RENAME, .parent = INODE_ROOT, .name = "new",
					    .new_parent = INODE_ROOT, .new_name = "renamed" });
	try_without_session("unlink", (struct cl_op){ .kind = CL_UNLINK, .parent = INODE_ROOT,
						      .name = "renamed" });
	ck_assert_uint_eq(file_lookup(&w, b, "renamed"), 0);
}
END_TEST

START_TEST(opens_reads_and_locks_go_on_in_the_next_session)
{
	char out[8];
	struct cl_handle *h = file_create(&w, b, "small");
	ck_assert_int_eq(file_write(&w, b, h, 0, "content", 7), 0);
	ck_assert_int_eq(file_close(&w, b, h), 0);
	inode_no ino = file_lookup(&w, a, "small");

	struct cl_op open = { .kind = CL_OPEN, .ino = ino, .flags = O_RDONLY };
	lose_session(a);
	ck_assert_int_eq(cluster_op(&w, a, &open), 0);
	lose_session(a);
	ck_assert_int_eq(file_read(&w, a, open.opened, 0, out, sizeof out), 7);
	ck_assert_mem_eq(out, "content", 7);
	try_without_session("setlk", (struct cl_op){ .kind = CL_SETLK, .ino = ino,
						     .handle = open.opened,
						     .lock = { .owner = 1, .end = RANGE_END,
							       .mode = RANGE_READ } });
	ck_assert_int_eq(file_close(&w, a, open.opened), 0);
}
END_TEST

/* Who reads a file has it open in the new session, too, though another open was under way. */
START_TEST(what_is_open_stays_open_while_an_open_moves_to_the_next_session)
{
	struct cl_handle *h = file_create(&w, b, "file"), *reader;
	inode_no ino = file_lookup(&w, b, "file");
	ck_assert_int_eq(file_close(&w, b, h), 0);
	reader = file_open(&w, a, "file", O_RDONLY);
	lose_session(a);
	struct cl_op open = { .kind = CL_OPEN, .ino = ino, .flags = O_WRONLY };
	ck_assert_int_eq(cluster_op(&w, a, &open), 0);
	ck_assert_int_eq(file_close(&w, a, open.opened), 0);
	struct cl_op unlink = { .kind = CL_UNLINK, .parent = INODE_ROOT, .name = "file" };
	ck_assert_int_eq(cluster_op(&w, b, &unlink), 0);
	cluster_run_for(&w, 1500);	/* what is open nowhere is freed by now */
	struct cl_op look = { .kind = CL_GETATTR, .ino = ino, .handle = reader };
	ck_assert_int_eq(cluster_op(&w, a, &look), 0);
	ck_assert_int_eq(file_close(&w, a, reader), 0);
}
END_TEST

/* --- who asks is told ------------------------------------------------------------------------- */

static struct cl_req *request_of(const struct client *c, const struct cl_op *op)
{
	while (!op->req)
		cluster_run_for(&w, 1);
	ck_assert_ptr_eq(op->req->client, c);
	return op->req;
}

/* A first copy left, nobody knows whether it arrived; then the server does not know the session. */
START_TEST(a_change_that_may_have_been_made_is_not_made_again)
{
	struct cl_op make = { .kind = CL_MAKE, .parent = INODE_ROOT, .name = "once",
			      .mode = S_IFREG | 0644, .done = cluster_op_done, .user = &w };
	cluster_mds_stop(&w);
	client_submit(a, &make);
	struct cl_req *req = request_of(a, &make);
	req->call.send_count++;
	lose_session(a);
	req->call.session = UNKNOWN;
	cluster_mds_start(&w);
	while (!make.is_finished)
		loop_uv_run(w.loop);
	ck_assert_int_eq(make.rc, -E_NO_SESSION);
	ck_assert_uint_eq(file_lookup(&w, b, "once"), 0);
}
END_TEST

START_TEST(a_lock_that_went_with_the_session_is_told)
{
	struct cl_handle *h = file_create(&w, a, "locked");
	inode_no ino = file_lookup(&w, a, "locked");
	struct cl_op lock = { .kind = CL_SETLK, .ino = ino, .handle = h,
			      .lock = { .owner = 1, .end = RANGE_END, .mode = RANGE_WRITE } };
	char out[4];
	ck_assert_int_eq(cluster_op(&w, a, &lock), 0);
	lose_session(a);
	struct cl_op look = { .kind = CL_LOOKUP, .parent = INODE_ROOT, .name = "other" };
	ck_assert_int_eq(cluster_op(&w, a, &look), -E_NOENT);
	ck_assert_int_eq(file_read(&w, a, h, 0, out, sizeof out), -E_IO);
	(void)file_close(&w, a, h);
}
END_TEST

/* --- a server that goes and comes back -------------------------------------------------------- */

static void wait_for(struct cl_op *op)
{
	while (!op->is_finished)
		loop_uv_run(w.loop);
}

/* What waits at it for somebody's lease is told that it goes. */
START_TEST(a_server_that_shuts_down_is_waited_for)
{
	static uint8_t bytes[200000];
	struct cl_handle *h = file_create(&w, a, "written");
	struct cl_op look = { .kind = CL_LOOKUP, .parent = INODE_ROOT, .name = "written",
			      .done = cluster_op_done, .user = &w };
	for (uint32_t i = 0; i < CLUSTER_SERVERS; i++)
		cluster_cs_stop(&w, i);
	ck_assert_int_eq(file_write(&w, a, h, 0, bytes, sizeof bytes), 0);
	client_submit(b, &look);
	cluster_run_for(&w, 200);
	ck_assert(!look.is_finished);
	cluster_mds_stop(&w);
	cluster_run_for(&w, 100);
	ck_assert(!look.is_finished);
	cluster_mds_start(&w);
	for (uint32_t i = 0; i < CLUSTER_SERVERS; i++)
		cluster_cs_start(&w, i, 60 + i);
	wait_for(&look);
	ck_assert_int_eq(look.rc, 0);
	ck_assert_int_eq(file_close(&w, a, h), 0);
}
END_TEST

static uint32_t ended;

static void count_end(struct cl_req *req)
{
	ck_assert_int_eq(req->call.rc, 0);
	ended++;
}

/* It is refused by a server that goes, and its turn comes again once the next session is open. */
START_TEST(what_was_first_sent_without_a_session_has_a_slot_of_the_next)
{
	struct cl_req *req = cl_session_req(a, NULL, MSG_RELEASE, count_end);
	ended = 0;
	ms_server_stop(w.mds, cluster_mds_stopped, &w);
	loop_uv_run(w.loop);
	cl_session_lost(a);
	cl_session_send(req);
	while (!req->retry.is_active)
		cluster_run_for(&w, 1);
	loop_timer_stop(w.loop, &req->retry);
	ms_server_destroy(w.mds);
	disk_destroy(w.mds_disk);
	w.mds_disk = NULL;
	cluster_mds_start(&w);
	while (client_session(a) == 0)
		cluster_run_for(&w, 1);
	loop_timer_start(w.loop, &req->retry, 0);
	while (!ended)
		cluster_run_for(&w, 1);
	ck_assert_uint_eq(a->slots.busy, 0);
}
END_TEST

/* Both of a host end at once: the client leaves the server in peace. */
START_TEST(an_unmount_does_not_wait_for_a_server_that_shuts_down)
{
	struct client *c = cluster_client(&w);
	ms_server_stop(w.mds, cluster_mds_stopped, &w);
	loop_uv_run(w.loop);
	uint64_t begun_ms = loop_now_ms(w.loop);
	cluster_client_stop(&w, c);
	ck_assert_uint_lt(loop_now_ms(w.loop) - begun_ms, 4000);
	ms_server_destroy(w.mds);
	disk_destroy(w.mds_disk);
	w.mds_disk = NULL;
	cluster_mds_start(&w);
}
END_TEST

static void hook_hard(struct cluster *cluster unused_arg, struct cl_options *options)
{
	options->is_hard = true;
}

/* Small content is asked for on behalf of all who read it: nobody's deadline but theirs counts. */
START_TEST(a_hard_mount_waits_for_small_content_as_for_anything_else)
{
	char out[8];
	struct cl_handle *h = file_create(&w, b, "small");
	ck_assert_int_eq(file_write(&w, b, h, 0, "content", 7), 0);
	ck_assert_int_eq(file_close(&w, b, h), 0);
	cluster_client_hook = hook_hard;
	struct client *hard = cluster_client_of(&w, NULL, 300);
	cluster_client_hook = NULL;
	h = file_open(&w, hard, "small", O_RDONLY);
	cl_file_reset(cl_node_find(hard, file_lookup(&w, hard, "small"))->file);
	struct cl_op read = { .kind = CL_READ, .handle = h, .length = sizeof out, .out = out,
			      .done = cluster_op_done, .user = &w };
	cluster_mds_stop(&w);
	client_submit(hard, &read);
	cluster_run_for(&w, 1000);
	ck_assert(!read.is_finished);
	cluster_mds_start(&w);
	wait_for(&read);
	ck_assert_int_eq(read.rc, 0);
	ck_assert_mem_eq(out, "content", 7);
	ck_assert_int_eq(file_close(&w, hard, h), 0);
	cluster_client_stop(&w, hard);
}
END_TEST

TEST_MAIN("client session", tcase_set_timeout(tc, 120);
	  tcase_add_checked_fixture(tc, pair_begin, pair_end);
	  tcase_add_test(tc, a_question_outlives_the_session_it_was_asked_in);
	  tcase_add_test(tc, a_change_that_was_not_made_is_made_in_the_next_session);
	  tcase_add_test(tc, opens_reads_and_locks_go_on_in_the_next_session);
	  tcase_add_test(tc, what_is_open_stays_open_while_an_open_moves_to_the_next_session);
	  tcase_add_test(tc, a_change_that_may_have_been_made_is_not_made_again);
	  tcase_add_test(tc, a_lock_that_went_with_the_session_is_told);
	  tcase_add_test(tc, a_server_that_shuts_down_is_waited_for);
	  tcase_add_test(tc, what_was_first_sent_without_a_session_has_a_slot_of_the_next);
	  tcase_add_test(tc, an_unmount_does_not_wait_for_a_server_that_shuts_down);
	  tcase_add_test(tc, a_hard_mount_waits_for_small_content_as_for_anything_else))
