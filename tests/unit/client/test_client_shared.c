/* SPDX-License-Identifier: Apache-2.0 */
/* Several clients of one cluster: who sees what, and what becomes of writers that meet. */
#include "client/core/file.h"
#include "tests/client_pair.h"

static uint8_t bytes[300000], found[300000];

START_TEST(the_size_of_a_file_being_written_is_seen)
{
	struct cl_handle *h = file_create(&w, a, "growing");
	file_pattern(bytes, sizeof bytes, 1);
	for (uint32_t size = 1000; size <= 201000; size += 40000) {
		ck_assert_int_eq(file_write(&w, a, h, size - 1000, bytes, 1000), 0);
		ck_assert_uint_eq(file_size(&w, b, file_lookup(&w, b, "growing")), size);
	}
	ck_assert_int_eq(file_close(&w, a, h), 0);
}
END_TEST

/* A look of others makes the writer publish, and changes nothing that he has shown. */
START_TEST(the_times_of_a_file_being_written_are_the_same_for_all)
{
	struct cl_handle *h = file_create(&w, a, "written");
	struct cl_op first = { .kind = CL_GETATTR, .ino = file_lookup(&w, a, "written") };
	struct cl_op there = first, again = first;
	ck_assert_int_eq(file_write(&w, a, h, 0, "x", 1), 0);
	ck_assert_int_eq(cluster_op(&w, a, &first), 0);
	ck_assert_int_eq(cluster_op(&w, b, &there), 0);
	ck_assert_int_eq(cluster_op(&w, a, &again), 0);
	ck_assert_mem_eq(&first.attr.st, &there.attr.st, sizeof first.attr.st);
	ck_assert_mem_eq(&first.attr.st, &again.attr.st, sizeof first.attr.st);
	ck_assert_int_eq(file_close(&w, a, h), 0);
}
END_TEST

/* What is left of its last block is all that is in memory of it, and shorter than it is now. */
START_TEST(a_large_file_that_was_cut_to_little_and_grew_again_is_published)
{
	struct cl_handle *h = file_create(&w, a, "cut");
	file_pattern(bytes, 60000, 3);
	ck_assert_int_eq(file_write(&w, a, h, 0, bytes, 20000), 0);
	ck_assert_int_eq(file_truncate(&w, a, file_lookup(&w, a, "cut"), 100000), 0);
	ck_assert_int_eq(file_close(&w, a, h), 0);
	h = file_open(&w, a, "cut", O_RDWR);
	struct cl_op op = { .kind = CL_SETATTR, .ino = file_lookup(&w, a, "cut"), .handle = h,
			    .set_mask = CL_SET_SIZE, .size = 5000 };
	ck_assert_int_eq(cluster_op(&w, a, &op), 0);
	op.size = 50000;
	ck_assert_int_eq(cluster_op(&w, a, &op), 0);
	ck_assert_int_eq(file_close(&w, a, h), 0);
	h = file_open(&w, b, "cut", O_RDONLY);
	memset(bytes + 5000, 0, 45000);
	ck_assert_int_eq(file_read(&w, b, h, 0, found, sizeof found), 50000);
	ck_assert_mem_eq(found, bytes, 50000);
	ck_assert_int_eq(file_close(&w, b, h), 0);
}
END_TEST

START_TEST(writers_that_share_see_each_write)
{
	struct cl_handle *ha = file_create(&w, a, "shared"),
			 *hb = file_open(&w, b, "shared", O_RDWR);
	for (uint32_t i = 0; i < 20; i++) {
		file_pattern(bytes, 9000, i);
		ck_assert_int_eq(file_write(&w, i % 2 ? a : b, i % 2 ? ha : hb, i * UINT64_C(9000),
					    bytes, 9000),
				 0);
		ck_assert_int_eq(file_read(&w, i % 2 ? b : a, i % 2 ? hb : ha, i * UINT64_C(9000),
					   found, 9000),
				 9000);
		ck_assert_mem_eq(found, bytes, 9000);
	}
	ck_assert_int_eq(file_close(&w, a, ha), 0);
	ck_assert_int_eq(file_close(&w, b, hb), 0);
}
END_TEST

struct pending {
	struct cl_op op;
	uint8_t line[100];
	uint32_t *left;
};

static void pending_done(struct cl_op *op)
{
	struct pending *p = op->user;
	ck_assert_int_eq(op->rc, 0);
	if (--*p->left == 0)
		loop_uv_stop(w.loop);
}

/* I13: appends of two clients at the same time all arrive, each whole. */
START_TEST(appends_of_two_clients_lose_nothing)
{
	enum { LINES = 60 };
	static struct pending pending[LINES];
	struct cl_handle *ha = file_create(&w, a, "log"), *hb;
	bool seen[LINES] = { false };
	uint32_t left = LINES;
	ck_assert_int_eq(file_close(&w, a, ha), 0);
	ha = file_open(&w, a, "log", O_WRONLY | O_APPEND);
	hb = file_open(&w, b, "log", O_WRONLY | O_APPEND);
	for (uint32_t i = 0; i < LINES; i++) {
		struct pending *p = &pending[i];
		memset(p, 0, sizeof *p);
		memset(p->line, 'A' + (int)i, sizeof p->line);
		p->left = &left;
		p->op = (struct cl_op){ .kind = CL_WRITE, .handle = i % 2 ? ha : hb,
					.flags = O_APPEND, .bytes = p->line,
					.bytes_len = sizeof p->line, .done = pending_done,
					.user = p };
		client_submit(i % 2 ? a : b, &p->op);
	}
	loop_uv_run(w.loop);
	ck_assert_int_eq(file_close(&w, a, ha), 0);
	ck_assert_int_eq(file_close(&w, b, hb), 0);
	hb = file_open(&w, b, "log", O_RDONLY);
	ck_assert_int_eq(file_read(&w, b, hb, 0, found, sizeof found), LINES * 100);
	for (uint32_t i = 0; i < LINES; i++) {
		uint32_t line = (uint32_t)(found[i * 100] - 'A');
		ck_assert_uint_lt(line, LINES);
		ck_assert(!seen[line]);
		seen[line] = true;
		for (uint32_t at = 1; at < 100; at++)
			ck_assert_uint_eq(found[i * 100 + at], found[i * 100]);
	}
	ck_assert_int_eq(file_close(&w, b, hb), 0);
}
END_TEST

START_TEST(truncation_elsewhere_is_seen_by_an_open_file)
{
	struct cl_handle *h = file_create(&w, a, "cut");
	file_pattern(bytes, sizeof bytes, 4);
	ck_assert_int_eq(file_write(&w, a, h, 0, bytes, sizeof bytes), 0);
	ck_assert_int_eq(file_truncate(&w, b, file_lookup(&w, b, "cut"), 1000), 0);
	ck_assert_int_eq(file_read(&w, a, h, 0, found, sizeof found), 1000);
	ck_assert_mem_eq(found, bytes, 1000);
	ck_assert_int_eq(file_close(&w, a, h), 0);
}
END_TEST

START_TEST(times_set_by_the_user_survive_the_close)
{
	struct cl_handle *h = file_create(&w, a, "dated");
	ck_assert_int_eq(file_write(&w, a, h, 0, "x", 1), 0);
	struct cl_op utime = { .kind = CL_SETATTR, .ino = file_lookup(&w, a, "dated"), .handle = h,
			       .set_mask = CL_SET_MTIME, .mtime_ns = 1000000007 };
	ck_assert_int_eq(cluster_op(&w, a, &utime), 0);
	ck_assert_int_eq(file_close(&w, a, h), 0);
	struct cl_op attr = { .kind = CL_GETATTR, .ino = utime.ino };
	ck_assert_int_eq(cluster_op(&w, b, &attr), 0);
	ck_assert_int_eq(attr.attr.st.st_mtim.tv_sec, 1);
	ck_assert_int_eq(attr.attr.st.st_mtim.tv_nsec, 7);
}
END_TEST

START_TEST(small_content_comes_with_the_open)
{
	struct cl_handle *h = file_create(&w, a, "small");
	file_pattern(bytes, 4096, 3);
	ck_assert_int_eq(file_write(&w, a, h, 0, bytes, 4096), 0);
	ck_assert_int_eq(file_close(&w, a, h), 0);
	h = file_open(&w, b, "small", O_RDONLY);
	cluster_mds_stop(&w);
	ck_assert_int_eq(file_read(&w, b, h, 0, found, sizeof found), 4096);
	ck_assert_mem_eq(found, bytes, 4096);
	cluster_mds_start(&w);
	ck_assert_int_eq(file_close(&w, b, h), 0);
}
END_TEST

static void set(inode_no ino, uint32_t mask, mode_t mode)
{
	struct cl_op op = { .kind = CL_SETATTR, .ino = ino, .set_mask = mask, .mode = mode,
			    .mtime_ns = 1000000007, .atime_ns = 2000000009 };
	ck_assert_int_eq(cluster_op(&w, a, &op), 0);
}

/* As tar does it: what is set while content is to be published goes with it, in one change. */
START_TEST(attributes_travel_with_the_content)
{
	struct cl_handle *h = file_create(&w, a, "f");
	inode_no ino = file_lookup(&w, a, "f");
	const struct cl_node *node = cl_node_find(a, ino);
	ck_assert_int_eq(file_write(&w, a, h, 0, "x", 1), 0);
	set(ino, CL_SET_MTIME | CL_SET_ATIME, 0);
	ck_assert_uint_eq(node->attr.version, 2);
	set(ino, CL_SET_UID | CL_SET_GID | CL_SET_MODE, 0644);	/* as it is */
	ck_assert_uint_eq(node->attr.version, 2);
	set(ino, CL_SET_MODE, 0600);
	ck_assert_uint_eq(node->attr.version, 3);
	ck_assert_int_eq(file_write(&w, a, h, 1, "y", 1), 0);
	set(ino, CL_SET_MODE, 0640);
	ck_assert_uint_eq(node->attr.version, 4);
	set(ino, CL_SET_MTIME, 0);
	ck_assert_int_eq(file_close(&w, a, h), 0);
	ck_assert_uint_eq(node->attr.version, 5);
	struct cl_op attr = { .kind = CL_GETATTR, .ino = ino };
	ck_assert_int_eq(cluster_op(&w, b, &attr), 0);
	ck_assert_int_eq(attr.attr.st.st_size, 2);
	ck_assert_uint_eq(attr.attr.st.st_mode, S_IFREG | 0640);
	ck_assert_int_eq(attr.attr.st.st_mtim.tv_nsec, 7);
	ck_assert_int_eq(attr.attr.st.st_atim.tv_nsec, 9);
}
END_TEST

/* Of a file that was not written by whoever holds it open, its ctime tells that somebody set it. */
START_TEST(a_mode_that_is_there_already_moves_the_ctime)
{
	struct cl_handle *h = file_create(&w, a, "f");
	inode_no ino = file_lookup(&w, a, "f");
	set(ino, CL_SET_MODE, 0644);
	ck_assert_uint_eq(cl_node_find(a, ino)->attr.version, 2);
	ck_assert_int_eq(file_write(&w, a, h, 0, "x", 1), 0);
	ck_assert_int_eq(file_close(&w, a, h), 0);
	set(ino, CL_SET_MODE, 0644);
	ck_assert_uint_eq(cl_node_find(a, ino)->attr.version, 4);
}
END_TEST

START_TEST(a_restart_of_the_metadata_server_is_survived)
{
	struct cl_handle *h = file_create(&w, a, "across");
	file_pattern(bytes, sizeof bytes, 5);
	ck_assert_int_eq(file_write(&w, a, h, 0, bytes, 200000), 0);
	cluster_mds_stop(&w);
	cluster_mds_start(&w);
	ck_assert_int_eq(file_write(&w, a, h, 200000, bytes + 200000, sizeof bytes - 200000), 0);
	ck_assert_int_eq(file_close(&w, a, h), 0);
	h = file_open(&w, b, "across", O_RDONLY);
	ck_assert_int_eq(file_read(&w, b, h, 0, found, sizeof found), sizeof found);
	ck_assert_mem_eq(found, bytes, sizeof bytes);
	ck_assert_int_eq(file_close(&w, b, h), 0);
}
END_TEST

START_TEST(a_chunk_server_that_restarts_before_the_sync_costs_nothing)
{
	struct cl_handle *h = file_create(&w, a, "resynced");
	file_pattern(bytes, sizeof bytes, 6);
	ck_assert_int_eq(file_write(&w, a, h, 0, bytes, 262144), 0);
	cluster_cs_stop(&w, 1);
	cluster_cs_start(&w, 1, 77);
	ck_assert_int_eq(file_write(&w, a, h, 262144, bytes + 262144, sizeof bytes - 262144), 0);
	ck_assert_int_eq(file_close(&w, a, h), 0);
	h = file_open(&w, b, "resynced", O_RDONLY);
	ck_assert_int_eq(file_read(&w, b, h, 0, found, sizeof found), sizeof found);
	ck_assert_mem_eq(found, bytes, sizeof bytes);
	ck_assert_int_eq(file_close(&w, b, h), 0);
}
END_TEST

/* I2: blocks that all servers lost before their sync are put again, from memory. */
START_TEST(what_all_servers_lost_is_put_again)
{
	struct client *c = cluster_client_of(&w, NULL, 2000);
	struct cl_handle *h = file_create(&w, c, "lost");
	inode_no ino = file_lookup(&w, c, "lost");
	file_pattern(bytes, sizeof bytes, 10);
	ck_assert_int_eq(file_write(&w, c, h, 0, bytes, 3 * BLOCK_BYTES_MAX), 0);
	cluster_run_for(&w, 100);	/* put, not yet published */
	for (uint32_t i = 0; i < CLUSTER_SERVERS; i++)
		cluster_cs_lose(&w, i, 80 + i);
	struct cl_op sync = { .kind = CL_FSYNC, .handle = h };
	ck_assert_int_eq(cluster_op(&w, c, &sync), 0);
	ck_assert_uint_eq(file_size(&w, b, ino), 3 * BLOCK_BYTES_MAX);
	ck_assert_int_eq(file_read(&w, c, h, 0, found, 3 * BLOCK_BYTES_MAX), 3 * BLOCK_BYTES_MAX);
	ck_assert_mem_eq(found, bytes, 3 * BLOCK_BYTES_MAX);
	cluster_client_stop(&w, c);
}
END_TEST

/* I2: a manifest node that could not be stored is stored by the next publish. */
START_TEST(a_node_that_was_not_stored_is_stored_later)
{
	struct client *c = cluster_client_of(&w, NULL, 2000);
	struct cl_handle *h = file_create(&w, c, "nodes");
	struct cl_op sync = { .kind = CL_FSYNC, .handle = h };
	file_pattern(bytes, sizeof bytes, 11);
	ck_assert_int_eq(file_write(&w, c, h, 0, bytes, 2 * BLOCK_BYTES_MAX), 0);
	ck_assert_int_eq(cluster_op(&w, c, &sync), 0);
	ck_assert_int_eq(file_write(&w, c, h, 2 * BLOCK_BYTES_MAX, bytes + 2 * BLOCK_BYTES_MAX,
				    BLOCK_BYTES_MAX),
			 0);
	cluster_run_for(&w, 150);	/* the block is stored */
	cluster_cs_stop(&w, 1);
	cluster_cs_stop(&w, 2);
	sync = (struct cl_op){ .kind = CL_FSYNC, .handle = h };
	ck_assert_int_lt(cluster_op(&w, c, &sync), 0);
	cluster_cs_lose(&w, 0, 90);	/* the only one that the node came to */
	cluster_cs_start(&w, 1, 91);
	cluster_cs_start(&w, 2, 92);
	cluster_run_for(&w, 300);
	sync = (struct cl_op){ .kind = CL_FSYNC, .handle = h };
	ck_assert_int_eq(cluster_op(&w, c, &sync), 0);
	ck_assert_int_eq(file_close(&w, c, h), 0);
	h = file_open(&w, b, "nodes", O_RDONLY);
	ck_assert_int_eq(file_read(&w, b, h, 0, found, 3 * BLOCK_BYTES_MAX), 3 * BLOCK_BYTES_MAX);
	ck_assert_mem_eq(found, bytes, 3 * BLOCK_BYTES_MAX);
	ck_assert_int_eq(file_close(&w, b, h), 0);
	cluster_client_stop(&w, c);
}
END_TEST

/* I6: a client whose session was ended fails what it had not published, once, and starts clean. */
START_TEST(a_fenced_client_fails_its_unpublished_files)
{
	struct cl_handle *h = file_create(&w, a, "kept");
	file_pattern(bytes, sizeof bytes, 8);
	ck_assert_int_eq(file_write(&w, a, h, 0, bytes, 1000), 0);
	struct cl_op sync = { .kind = CL_FSYNC, .handle = h };
	ck_assert_int_eq(cluster_op(&w, a, &sync), 0);
	ck_assert_int_eq(file_write(&w, a, h, 1000, bytes, 1000), 0);
	session_no before = client_session(a);
	struct client *successor = cluster_fence(&w, a);
	ck_assert_int_eq(file_close(&w, a, h), -E_FENCED);
	ck_assert_uint_ne(client_session(a), before);
	inode_no ino = file_lookup(&w, a, "kept");
	ck_assert_uint_eq(file_size(&w, a, ino), 1000);
	ck_assert_uint_eq(file_size(&w, b, ino), 1000);
	h = file_open(&w, a, "kept", O_RDWR);
	ck_assert_int_eq(file_write(&w, a, h, 0, bytes, 5000), 0);
	ck_assert_int_eq(file_close(&w, a, h), 0);
	ck_assert_uint_eq(file_size(&w, successor, ino), 5000);
	cluster_client_stop(&w, successor);
}
END_TEST

/* What the metadata server has on disk now is what a power loss will leave. */
static void power_keeps(void)
{
	char command[2048];
	snprintf(command, sizeof command, "rm -rf %s/left && cp -r %s/mds %s/left", w.scratch.path,
		 w.scratch.path, w.scratch.path);
	ck_assert_int_eq(system(command), 0);
}

/* The metadata server, which was stopped, comes with what its power loss left. */
static void power_is_back(void)
{
	char command[2048];
	rows_destroy(w.mds_rows);
	ck_assert_int_eq(rows_mem_create(&w.mds_rows), 0);
	snprintf(command, sizeof command, "rm -r %s/mds && mv %s/left %s/mds", w.scratch.path,
		 w.scratch.path, w.scratch.path);
	ck_assert_int_eq(system(command), 0);
	cluster_mds_start(&w);
}

static void power_is_lost(void)
{
	cluster_mds_stop(&w);
	power_is_back();
	cluster_run_for(&w, 1500);
}

/*
 * D3: after a power loss of the metadata server clients see what is left, not what they were told.
 */
START_TEST(what_a_power_loss_took_is_gone_for_clients_too)
{
	struct cl_handle *h = file_create(&w, a, "shrunk");
	ck_assert_int_eq(file_write(&w, a, h, 0, "0123456789", 10), 0);
	ck_assert_int_eq(file_close(&w, a, h), 0);
	inode_no ino = file_lookup(&w, a, "shrunk");
	power_keeps();
	h = file_open(&w, a, "shrunk", O_RDWR);
	ck_assert_int_eq(file_write(&w, a, h, 10, "0123456789", 10), 0);
	ck_assert_int_eq(file_close(&w, a, h), 0);
	ck_assert_uint_eq(file_size(&w, a, ino), 20);
	ck_assert_uint_eq(file_size(&w, b, ino), 20);
	power_is_lost();
	ck_assert_uint_eq(file_size(&w, a, ino), 10);
	ck_assert_uint_eq(file_size(&w, b, ino), 10);
	h = file_open(&w, a, "shrunk", O_RDONLY);
	ck_assert_int_eq(file_read(&w, a, h, 0, found, sizeof found), 10);
	ck_assert_int_eq(file_close(&w, a, h), 0);
}
END_TEST

static struct cl_handle *folder_open(struct client *c, inode_no ino)
{
	struct cl_op op = { .kind = CL_OPENDIR, .ino = ino };
	ck_assert_int_eq(cluster_op(&w, c, &op), 0);
	return op.opened;
}

static int folder_sync(struct client *c, struct cl_handle *h, inode_no ino)
{
	struct cl_op op = { .kind = CL_SYNCFS, .ino = ino, .handle = h };
	return cluster_op(&w, c, &op);
}

static void folder_close(struct client *c, struct cl_handle *h, inode_no ino)
{
	struct cl_op op = { .kind = CL_RELEASEDIR, .ino = ino, .handle = h };
	ck_assert_int_eq(cluster_op(&w, c, &op), 0);
}

static int sync_by_new_handle(struct client *c, inode_no ino)
{
	struct cl_handle *h = folder_open(c, ino);
	int rc = folder_sync(c, h, ino);
	folder_close(c, h, ino);
	return rc;
}

/* D2: an fsync that succeeds means that what was done before it is there, whoever asks and how. */
START_TEST(an_fsync_after_a_power_loss_tells_what_it_took)
{
	inode_no changed = file_make(&w, a, INODE_ROOT, "changed", S_IFDIR | 0755);
	inode_no other = file_make(&w, a, INODE_ROOT, "other", S_IFDIR | 0755);
	inode_no file = file_make(&w, a, INODE_ROOT, "file", S_IFREG | 0644);
	struct cl_handle *old = folder_open(a, changed);
	ck_assert_int_eq(sync_by_new_handle(a, INODE_ROOT), 0);
	power_keeps();
	struct cl_op rename = { .kind = CL_RENAME, .parent = INODE_ROOT, .name = "file",
				.new_parent = changed, .new_name = "moved" };
	ck_assert_int_eq(cluster_op(&w, a, &rename), 0);
	struct cl_op mode = { .kind = CL_SETATTR, .ino = file, .set_mask = CL_SET_MODE,
			      .mode = S_IFREG | 0600 };
	ck_assert_int_eq(cluster_op(&w, a, &mode), 0);
	power_is_lost();
	ck_assert_uint_eq(file_lookup(&w, a, "file"), file);
	struct cl_handle *h = file_open(&w, a, "file", O_RDWR);
	struct cl_op sync = { .kind = CL_FSYNC, .handle = h };
	ck_assert_int_eq(cluster_op(&w, a, &sync), -E_OTHER_TERM);
	sync = (struct cl_op){ .kind = CL_FSYNC, .handle = h };
	ck_assert_int_eq(cluster_op(&w, a, &sync), 0);
	ck_assert_int_eq(file_close(&w, a, h), 0);
	ck_assert_int_eq(sync_by_new_handle(a, other), 0);
	ck_assert_int_eq(sync_by_new_handle(b, changed), 0);
	ck_assert_int_eq(sync_by_new_handle(a, changed), -E_OTHER_TERM);
	ck_assert_int_eq(sync_by_new_handle(a, changed), 0);
	ck_assert_int_eq(folder_sync(a, old, changed), -E_OTHER_TERM);
	ck_assert_int_eq(folder_sync(a, old, changed), 0);
	folder_close(a, old, changed);
	ck_assert_int_eq(folder_sync(a, NULL, 0), -E_OTHER_TERM);	/* of the root */
	ck_assert_int_eq(folder_sync(a, NULL, 0), 0);
	/* What was durable is not told. */
	file_make(&w, a, changed, "kept", S_IFREG | 0644);
	ck_assert_int_eq(sync_by_new_handle(a, changed), 0);
	power_keeps();
	power_is_lost();
	ck_assert_int_eq(sync_by_new_handle(a, changed), 0);
}
END_TEST

/* It hears of it by the answer, before the renewal tells the client what was lost: not twice. */
START_TEST(a_sync_under_way_at_a_power_loss_hears_of_it_once)
{
	inode_no folder = file_make(&w, a, INODE_ROOT, "folder", S_IFDIR | 0755);
	struct cl_handle *h = folder_open(a, folder);
	struct cl_op sync = { .kind = CL_SYNCFS, .ino = folder, .handle = h,
			      .done = cluster_op_done, .user = &w };
	ck_assert_int_eq(folder_sync(a, h, folder), 0);
	power_keeps();
	file_make(&w, a, folder, "lost", S_IFREG | 0644);
	cluster_mds_stop(&w);
	client_submit(a, &sync);
	cluster_run_for(&w, 50);
	ck_assert(!sync.is_finished);
	power_is_back();
	while (!sync.is_finished)
		loop_uv_run(w.loop);
	ck_assert_int_eq(sync.rc, -E_OTHER_TERM);
	cluster_run_for(&w, 1500);
	ck_assert_int_eq(folder_sync(a, h, folder), 0);
	ck_assert_int_eq(sync_by_new_handle(a, folder), -E_OTHER_TERM);
	ck_assert_int_eq(sync_by_new_handle(a, folder), 0);
	folder_close(a, h, folder);
}
END_TEST

/* What an interrupted operation did after all is seen, whatever was cached before. */
START_TEST(an_interrupted_rename_that_happens_is_seen)
{
	struct cl_handle *h = file_create(&w, b, "before");
	inode_no ino = file_lookup(&w, b, "before");
	ck_assert_uint_eq(file_lookup(&w, a, "after"), 0);
	cluster_cs_stop(&w, 1);
	cluster_cs_stop(&w, 2);
	file_pattern(bytes, sizeof bytes, 13);
	ck_assert_int_eq(file_write(&w, b, h, 0, bytes, sizeof bytes), 0);
	struct cl_op rename = { .kind = CL_RENAME, .parent = INODE_ROOT, .name = "before",
				.new_parent = INODE_ROOT, .new_name = "after",
				.done = cluster_op_done, .user = &w };
	client_submit(a, &rename);
	cluster_run_for(&w, 100);
	ck_assert(!rename.is_finished);		/* the lease of the other is on its way back */
	client_interrupt(a, &rename);
	while (!rename.is_finished)
		loop_uv_run(w.loop);
	ck_assert_int_eq(rename.rc, -E_INTR);
	ck_assert_uint_eq(file_lookup(&w, a, "after"), 0);
	cluster_cs_start(&w, 1, 71);
	cluster_cs_start(&w, 2, 72);
	ck_assert_int_eq(file_close(&w, b, h), 0);
	cluster_run_for(&w, 200);
	ck_assert_uint_eq(file_lookup(&w, b, "after"), ino);
	ck_assert_uint_eq(file_lookup(&w, a, "after"), ino);
	ck_assert_uint_eq(file_lookup(&w, a, "before"), 0);
}
END_TEST

/* I6: an edit that was waiting when its session ended begins again with what the file has then. */
START_TEST(an_edit_that_outlives_its_session_begins_again)
{
	struct cl_handle *h = file_create(&w, a, "torn");
	file_pattern(bytes, sizeof bytes, 12);
	ck_assert_int_eq(file_write(&w, a, h, 0, bytes, sizeof bytes), 0);
	ck_assert_int_eq(file_close(&w, a, h), 0);
	h = file_open(&w, b, "torn", O_RDWR);
	for (uint32_t i = 0; i < CLUSTER_SERVERS; i++)
		cluster_cs_stop(&w, i);
	struct cl_op op = { .kind = CL_WRITE, .handle = h, .offset = 70000, .bytes = "patch",
			    .bytes_len = 5, .done = cluster_op_done, .user = &w };
	client_submit(b, &op);
	cluster_run_for(&w, 100);
	ck_assert(!op.is_finished);	/* it needs the block that it changes */
	struct client *successor = cluster_fence(&w, b);
	cluster_run_for(&w, 1500);
	for (uint32_t i = 0; i < CLUSTER_SERVERS; i++)
		cluster_cs_start(&w, i, 60 + i);
	while (!op.is_finished)
		loop_uv_run(w.loop);
	ck_assert_int_eq(op.rc, 0);
	ck_assert_int_eq(file_close(&w, b, h), 0);
	memcpy(bytes + 70000, "patch", 5);
	h = file_open(&w, a, "torn", O_RDONLY);
	ck_assert_int_eq(file_read(&w, a, h, 0, found, sizeof found), sizeof found);
	ck_assert_mem_eq(found, bytes, sizeof bytes);
	ck_assert_int_eq(file_close(&w, a, h), 0);
	cluster_client_stop(&w, successor);
}
END_TEST

/*
 * An answer of the new term that comes before the renewal must not hide the restart: leases are
 * reclaimed.
 */
START_TEST(an_fsync_across_a_restart_does_not_hide_it)
{
	struct cl_handle *h = file_create(&w, a, "kept"), *other = file_create(&w, a, "other");
	struct cl_op sync = { .kind = CL_FSYNC, .handle = other, .done = cluster_op_done,
			      .user = &w };
	session_no before = client_session(a);
	ck_assert_int_eq(file_write(&w, a, h, 0, "x", 1), 0);
	cluster_mds_stop(&w);
	client_submit(a, &sync);
	cluster_run_for(&w, 50);
	ck_assert(!sync.is_finished);
	cluster_mds_start(&w);
	while (!sync.is_finished)
		loop_uv_run(w.loop);
	cluster_run_for(&w, 3500);	/* who did not come back is fenced by now */
	ck_assert_uint_eq(client_session(a), before);
	ck_assert_int_eq(file_close(&w, a, h), 0);
	ck_assert_int_eq(file_close(&w, a, other), 0);
	ck_assert_uint_eq(file_size(&w, b, file_lookup(&w, b, "kept")), 1);
}
END_TEST

START_TEST(an_interrupted_operation_ends)
{
	struct cl_handle *h = file_create(&w, a, "stuck");
	ck_assert_int_eq(file_close(&w, a, h), 0);
	cluster_mds_stop(&w);
	struct cl_op op = { .kind = CL_LOOKUP, .parent = INODE_ROOT, .name = "absent",
			    .done = cluster_op_done, .user = &w };
	client_submit(b, &op);
	cluster_run_for(&w, 50);
	ck_assert(!op.is_finished);
	client_interrupt(b, &op);
	while (!op.is_finished)
		loop_uv_run(w.loop);
	ck_assert_int_eq(op.rc, -E_INTR);
	cluster_mds_start(&w);
}
END_TEST

static enum cl_signal signal_now;

static enum cl_signal tell_signal(const struct cl_op *op)
{
	(void)op;
	return signal_now;
}

START_TEST(a_caught_signal_ends_an_operation_only_in_a_while)
{
	cluster_mds_stop(&w);
	struct cl_op op = { .kind = CL_LOOKUP, .parent = INODE_ROOT, .name = "absent",
			    .signal = tell_signal, .done = cluster_op_done, .user = &w };
	signal_now = CL_SIGNAL_NONE;
	client_interrupt(b, &op);
	client_run(b, &op);
	cluster_run_for(&w, CL_INTERRUPT_MS + 3 * CL_SWEEP_MS);
	ck_assert(!op.is_finished);
	signal_now = CL_SIGNAL_CAUGHT;		/* it has waited long enough */
	cluster_run_for(&w, 3 * CL_SWEEP_MS);
	ck_assert(op.is_finished);
	ck_assert_int_eq(op.rc, -E_INTR);
	struct cl_op next = { .kind = CL_LOOKUP, .parent = INODE_ROOT, .name = "absent",
			      .signal = tell_signal, .done = cluster_op_done, .user = &w };
	client_run(b, &next);
	client_interrupt(b, &next);
	cluster_run_for(&w, CL_INTERRUPT_MS / 4);
	ck_assert(!next.is_finished);
	signal_now = CL_SIGNAL_FATAL;
	while (!next.is_finished)
		loop_uv_run(w.loop);
	ck_assert_int_eq(next.rc, -E_INTR);
	cluster_mds_start(&w);
}
END_TEST

static bool nobody_is_there(const struct cl_op *op)
{
	(void)op;
	return true;
}

/* A process that was killed closes its files beyond the reach of signals; its data is not lost. */
START_TEST(a_close_that_nobody_can_interrupt_does_not_wait_for_servers_that_are_gone)
{
	struct cl_handle *h = file_create(&w, a, "left");
	file_pattern(bytes, sizeof bytes, 2);
	ck_assert_int_eq(file_write(&w, a, h, 0, bytes, sizeof bytes), 0);
	cluster_cs_stop(&w, 1);
	cluster_cs_stop(&w, 2);
	uint64_t began_ns = loop_now_ns(w.loop);
	struct cl_op flush = { .kind = CL_FLUSH, .handle = h, .is_abandoned = nobody_is_there };
	ck_assert_int_eq(cluster_op(&w, a, &flush), -E_TIMEDOUT);
	ck_assert_uint_ge(loop_now_ns(w.loop) - began_ns, 1900 * UINT64_C(1000000));
	struct cl_op release = { .kind = CL_RELEASE, .handle = h };
	ck_assert_int_eq(cluster_op(&w, a, &release), 0);
	cluster_cs_start(&w, 1, 78);
	cluster_cs_start(&w, 2, 79);
	h = file_open(&w, b, "left", O_RDONLY);
	ck_assert_int_eq(file_read(&w, b, h, 0, found, sizeof found), sizeof found);
	ck_assert_mem_eq(found, bytes, sizeof bytes);
	ck_assert_int_eq(file_close(&w, b, h), 0);
}
END_TEST

TEST_MAIN("clients together", tcase_add_checked_fixture(tc, pair_begin, pair_end);
	  tcase_add_test(tc, the_size_of_a_file_being_written_is_seen);
	  tcase_add_test(tc, the_times_of_a_file_being_written_are_the_same_for_all);
	  tcase_add_test(tc, a_large_file_that_was_cut_to_little_and_grew_again_is_published);
	  tcase_add_test(tc, writers_that_share_see_each_write);
	  tcase_add_test(tc, appends_of_two_clients_lose_nothing);
	  tcase_add_test(tc, truncation_elsewhere_is_seen_by_an_open_file);
	  tcase_add_test(tc, times_set_by_the_user_survive_the_close);
	  tcase_add_test(tc, small_content_comes_with_the_open);
	  tcase_add_test(tc, attributes_travel_with_the_content);
	  tcase_add_test(tc, a_mode_that_is_there_already_moves_the_ctime);
	  tcase_add_test(tc, a_restart_of_the_metadata_server_is_survived);
	  tcase_add_test(tc, a_chunk_server_that_restarts_before_the_sync_costs_nothing);
	  tcase_add_test(tc, what_all_servers_lost_is_put_again);
	  tcase_add_test(tc, a_node_that_was_not_stored_is_stored_later);
	  tcase_add_test(tc, a_fenced_client_fails_its_unpublished_files);
	  tcase_add_test(tc, what_a_power_loss_took_is_gone_for_clients_too);
	  tcase_add_test(tc, an_fsync_after_a_power_loss_tells_what_it_took);
	  tcase_add_test(tc, a_sync_under_way_at_a_power_loss_hears_of_it_once);
	  tcase_add_test(tc, an_interrupted_rename_that_happens_is_seen);
	  tcase_add_test(tc, an_edit_that_outlives_its_session_begins_again);
	  tcase_add_test(tc, an_fsync_across_a_restart_does_not_hide_it);
	  tcase_add_test(tc,
			 a_close_that_nobody_can_interrupt_does_not_wait_for_servers_that_are_gone);
	  tcase_add_test(tc, an_interrupted_operation_ends);
	  tcase_add_test(tc, a_caught_signal_ends_an_operation_only_in_a_while))
