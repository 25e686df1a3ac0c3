/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two clients of one cluster, where what one knows, has asked for or was told could be trusted too
 * long: directories known whole, attributes that travel with content, opens given back late.
 */
#include "client/core/file.h"
#include "tests/client_pair.h"

static uint8_t bytes[200000];

/* --- directories ------------------------------------------------------------------------------ */

/* All of it, in one page; may the kernel keep what it had of it before? */
static bool list(struct client *c, inode_no dir)
{
	struct cl_op open = { .kind = CL_OPENDIR, .ino = dir };
	ck_assert_int_eq(cluster_op(&w, c, &open), 0);
	struct cl_op read = { .kind = CL_READDIR, .ino = dir, .handle = open.opened,
			      .want_attr = true };
	ck_assert_int_eq(cluster_op(&w, c, &read), 0);
	ck_assert(read.end);
	struct cl_op close = { .kind = CL_RELEASEDIR, .ino = dir, .handle = open.opened };
	ck_assert_int_eq(cluster_op(&w, c, &close), 0);
	return open.keep_cache;
}

/* The kernel compares times, which whoever changed the directory may have set back. */
START_TEST(pages_of_a_directory_that_another_node_changed_are_not_kept)
{
	inode_no dir = file_make(&w, b, INODE_ROOT, "d", S_IFDIR | 0755);
	struct cl_op look = { .kind = CL_GETATTR, .ino = dir };
	ck_assert_int_eq(cluster_op(&w, a, &look), 0);
	ck_assert(!list(a, dir));
	ck_assert(list(a, dir));
	file_make(&w, b, dir, "late", S_IFREG | 0644);
	struct cl_op again = { .kind = CL_GETATTR, .ino = dir };
	ck_assert_int_eq(cluster_op(&w, a, &again), 0);
	ck_assert(!list(a, dir));
}
END_TEST

/* The first answer was lost: another node may have used the directory before the second came. */
START_TEST(a_directory_is_not_empty_because_it_was_made_once)
{
	struct cl_op look = { .kind = CL_LOOKUP, .parent = INODE_ROOT, .name = "d" };
	inode_no dir = file_make(&w, b, INODE_ROOT, "d", S_IFDIR | 0755);
	file_make(&w, b, dir, "f", S_IFREG | 0644);
	ck_assert_int_eq(cluster_op(&w, a, &look), 0);
	struct cl_node *node = cl_node_find(a, dir);
	ck_assert_int_eq(node->lease, CL_LEASE_READ);

	struct cl_req req = { .client = a, .return_count = a->session.return_count,
			      .call.session = a->session.number };
	Wire__Lease lease = WIRE__LEASE__INIT, *leases = &lease;
	Wire__NodeReply reply = WIRE__NODE_REPLY__INIT;
	cl_node_dir_made(&req, &reply, node);
	ck_assert(!node->is_complete);
	lease.ino = dir;
	lease.mode = CL_LEASE_READ;
	reply.leases = &leases;
	reply.n_leases = 1;
	cl_node_dir_made(&req, &reply, node);
	ck_assert(node->is_complete);
	cl_node_dir_unknown(a, dir);
}
END_TEST

/* --- attributes ------------------------------------------------------------------------------- */

static mode_t mode_of(struct client *c, inode_no ino)
{
	struct cl_op op = { .kind = CL_GETATTR, .ino = ino };
	ck_assert_int_eq(cluster_op(&w, c, &op), 0);
	return op.attr.st.st_mode & 07777;
}

/* As an ordinary user writes: set-id bits go with it. */
static void write_as_user(struct cl_handle *h, uint64_t offset, uint32_t len)
{
	struct cl_op op = { .kind = CL_WRITE, .handle = h, .offset = offset, .bytes = bytes,
			    .bytes_len = len, .kill_priv = true };
	ck_assert_int_eq(cluster_op(&w, a, &op), 0);
}

/* What cp -p and tar do to a program: content first, then its mode, then the close. */
START_TEST(set_id_bits_set_after_the_content_stay)
{
	static const uint32_t sizes[] = { 100, sizeof bytes };
	static const char *const names[] = { "small", "large" };
	for (unsigned i = 0; i < 2; i++) {
		struct cl_handle *h = file_create(&w, a, names[i]);
		inode_no ino = file_lookup(&w, a, names[i]);
		write_as_user(h, 0, sizes[i]);
		struct cl_op chmod = { .kind = CL_SETATTR, .ino = ino, .handle = h,
				       .set_mask = CL_SET_MODE, .mode = 04755 };
		ck_assert_int_eq(cluster_op(&w, a, &chmod), 0);
		ck_assert_uint_eq(mode_of(a, ino), 04755);
		struct cl_op sync = { .kind = CL_FSYNC, .handle = h };
		ck_assert_int_eq(cluster_op(&w, a, &sync), 0);
		ck_assert_uint_eq(mode_of(b, ino), 04755);
		write_as_user(h, 0, sizes[i]);		/* later: they go */
		ck_assert_uint_eq(mode_of(a, ino), 0755);
		ck_assert_int_eq(file_close(&w, a, h), 0);
		ck_assert_uint_eq(mode_of(b, ino), 0755);
	}
}
END_TEST

/* Refused is what may not be set, not the content that it would have travelled with. */
START_TEST(what_may_not_be_set_does_not_spoil_the_content)
{
	struct cl_op make = { .kind = CL_MAKE, .parent = INODE_ROOT, .name = "mine",
			      .mode = S_IFREG | 0644, .flags = O_RDWR, .want_open = true,
			      .uid = 1000, .gid = 1000 };
	ck_assert_int_eq(cluster_op(&w, a, &make), 0);
	struct cl_handle *h = make.opened;
	ck_assert_int_eq(file_write(&w, a, h, 0, "x", 1), 0);
	struct cl_op chown = { .kind = CL_SETATTR, .ino = make.attr.st.st_ino, .handle = h,
			       .set_mask = CL_SET_UID, .new_uid = 2000, .uid = 1000, .gid = 1000 };
	ck_assert_int_eq(cluster_op(&w, a, &chown), -E_PERM);
	ck_assert_int_eq(file_close(&w, a, h), 0);
	struct cl_op look = { .kind = CL_LOOKUP, .parent = INODE_ROOT, .name = "mine" };
	ck_assert_int_eq(cluster_op(&w, b, &look), 0);
	ck_assert_uint_eq(look.attr.st.st_uid, 1000);
	ck_assert_int_eq(look.attr.st.st_size, 1);
}
END_TEST

/* Data that is lost is told by close, whatever was set before it. */
START_TEST(setting_times_does_not_hide_lost_data_from_close)
{
	struct cl_handle *h = file_create(&w, a, "lost");
	inode_no ino = file_lookup(&w, a, "lost");
	ck_assert_int_eq(file_write(&w, a, h, 0, "x", 1), 0);
	struct client *successor = cluster_fence(&w, a);
	cluster_run_for(&w, 1000);
	struct cl_op utime = { .kind = CL_SETATTR, .ino = ino, .handle = h,
			       .set_mask = CL_SET_MTIME, .mtime_ns = 1000000007 };
	ck_assert_int_eq(cluster_op(&w, a, &utime), 0);
	ck_assert_int_eq(file_close(&w, a, h), -E_FENCED);
	cluster_client_stop(&w, successor);
}
END_TEST

/* Its last name and its last handle go while somebody waits for all to be stored. */
START_TEST(what_nobody_can_see_any_more_fails_no_sync)
{
	struct cl_handle *h = file_create(&w, a, "gone");
	struct cl_op sync = { .kind = CL_SYNCFS, .done = cluster_op_done, .user = &w };
	struct cl_op unlink = { .kind = CL_UNLINK, .parent = INODE_ROOT, .name = "gone" };
	struct cl_op release = { .kind = CL_RELEASE, .handle = h };
	for (uint32_t i = 0; i < CLUSTER_SERVERS; i++)
		cluster_cs_stop(&w, i);
	ck_assert_int_eq(file_write(&w, a, h, 0, bytes, sizeof bytes), 0);
	client_submit(a, &sync);
	cluster_run_for(&w, 100);
	ck_assert(!sync.is_finished);
	ck_assert_int_eq(cluster_op(&w, a, &unlink), 0);
	ck_assert_int_eq(cluster_op(&w, a, &release), 0);
	while (!sync.is_finished)
		loop_uv_run(w.loop);
	ck_assert_int_eq(sync.rc, 0);
	for (uint32_t i = 0; i < CLUSTER_SERVERS; i++)
		cluster_cs_start(&w, i, 60 + i);
}
END_TEST

/* --- opens ------------------------------------------------------------------------------------ */

#define STUCK SESSION_SLOTS

/*
 * A release that waits while every slot is taken is of the session that it was made in: the next
 * one registers what is still open, and nothing takes that back.
 */
START_TEST(a_release_does_not_outlive_its_session)
{
	static struct cl_op stuck[STUCK];
	struct cl_handle *busy = file_create(&w, b, "busy");
	inode_no ino = file_lookup(&w, b, "busy"), kept;
	ck_assert_int_eq(file_close(&w, a, file_create(&w, a, "kept")), 0);
	kept = file_lookup(&w, a, "kept");
	cluster_run_for(&w, 1000);
	struct cl_handle *reader = file_open(&w, a, "kept", O_RDONLY);
	struct cl_handle *writer = file_open(&w, a, "kept", O_WRONLY);

	for (uint32_t i = 0; i < CLUSTER_SERVERS; i++)
		cluster_cs_stop(&w, i);
	ck_assert_int_eq(file_write(&w, b, busy, 0, bytes, sizeof bytes), 0);
	for (uint32_t i = 0; i < STUCK; i++) {	/* each waits for what cannot be published */
		stuck[i] = (struct cl_op){ .kind = CL_SETATTR, .ino = ino, .set_mask = CL_SET_MODE,
					   .mode = 0600, .done = cluster_op_done, .user = &w };
		client_submit(a, &stuck[i]);
	}
	ck_assert_int_eq(file_close(&w, a, writer), 0);
	cluster_run_for(&w, 1000);
	ck_assert(!stuck[0].is_finished);
	session_no before = client_session(a);
	struct client *successor = cluster_fence(&w, a);
	while (client_session(a) == before || client_session(a) == 0)
		cluster_run_for(&w, 20);
	cluster_run_for(&w, 200);
	struct cl_op unlink = { .kind = CL_UNLINK, .parent = INODE_ROOT, .name = "kept" };
	ck_assert_int_eq(cluster_op(&w, b, &unlink), 0);
	struct cl_op look = { .kind = CL_GETATTR, .ino = kept };
	ck_assert_int_eq(cluster_op(&w, a, &look), 0);
	ck_assert_uint_eq(look.attr.st.st_nlink, 0);
	ck_assert_int_eq(file_close(&w, a, reader), 0);

	for (uint32_t i = 0; i < CLUSTER_SERVERS; i++)
		cluster_cs_start(&w, i, 60 + i);
	for (uint32_t i = 0; i < STUCK; i++)
		while (!stuck[i].is_finished)
			loop_uv_run(w.loop);
	ck_assert_int_eq(file_close(&w, b, busy), 0);
	cluster_client_stop(&w, successor);
}
END_TEST

/* --- sessions --------------------------------------------------------------------------------- */

/* The server no longer knows us, and says so to a request before it says so to a renewal. */
START_TEST(a_session_lost_while_it_is_renewed_is_opened_again)
{
	struct cl_op look = { .kind = CL_LOOKUP, .parent = INODE_ROOT, .name = "none",
			      .done = cluster_op_done, .user = &w };
	a->session.number ^= UINT64_C(1) << 40;
	client_run(a, &look);
	loop_timer_stop(w.loop, &a->session.timer);	/* as if it had fired */
	cl_session_renew(a);
	ck_assert(a->session.is_renewing);
	while (!look.is_finished)
		loop_uv_run(w.loop);
	for (int turn = 0; turn < 100 && !cl_session_is_valid(a); turn++)
		cluster_run_for(&w, 10);	/* nobody asks anything */
	ck_assert(cl_session_is_valid(a));
}
END_TEST

TEST_MAIN("clients in doubt", tcase_add_checked_fixture(tc, pair_begin, pair_end);
	  tcase_add_test(tc, pages_of_a_directory_that_another_node_changed_are_not_kept);
	  tcase_add_test(tc, a_directory_is_not_empty_because_it_was_made_once);
	  tcase_add_test(tc, set_id_bits_set_after_the_content_stay);
	  tcase_add_test(tc, what_may_not_be_set_does_not_spoil_the_content);
	  tcase_add_test(tc, setting_times_does_not_hide_lost_data_from_close);
	  tcase_add_test(tc, what_nobody_can_see_any_more_fails_no_sync);
	  tcase_add_test(tc, a_release_does_not_outlive_its_session);
	  tcase_add_test(tc, a_session_lost_while_it_is_renewed_is_opened_again))
