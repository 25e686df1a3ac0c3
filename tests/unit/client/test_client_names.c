/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names and listings of two clients: who sees what of a directory that the other changes, and what
 * a client knows without asking.
 */
#include "client/core/file.h"
#include "tests/client_pair.h"

START_TEST(names_are_seen_at_once)
{
	ck_assert_uint_eq(file_lookup(&w, b, "new"), 0);
	ck_assert_int_eq(file_close(&w, a, file_create(&w, a, "new")), 0);
	inode_no ino = file_lookup(&w, b, "new");
	ck_assert_uint_ne(ino, 0);
	struct cl_op rename = { .kind = CL_RENAME, .parent = INODE_ROOT, .name = "new",
				.new_parent = INODE_ROOT, .new_name = "newer" };
	ck_assert_int_eq(cluster_op(&w, b, &rename), 0);
	ck_assert_uint_eq(file_lookup(&w, a, "new"), 0);
	ck_assert_uint_eq(file_lookup(&w, a, "newer"), ino);
	struct cl_op unlink = { .kind = CL_UNLINK, .parent = INODE_ROOT, .name = "newer" };
	ck_assert_int_eq(cluster_op(&w, a, &unlink), 0);
	ck_assert_uint_eq(file_lookup(&w, b, "newer"), 0);
}
END_TEST

static int lookup_rc(struct client *c, inode_no parent, const char *name)
{
	struct cl_op op = { .kind = CL_LOOKUP, .parent = parent, .name = name };
	return cluster_op(&w, c, &op);
}

/* The whole directory, `length` bytes at a time; how many entries it has. */
static uint32_t list(struct client *c, inode_no dir, uint64_t length)
{
	struct cl_op open = { .kind = CL_OPENDIR, .ino = dir };
	uint32_t count = 0;
	uint64_t cookie = 0;
	ck_assert_int_eq(cluster_op(&w, c, &open), 0);
	for (bool end = false; !end;) {
		struct cl_op op = { .kind = CL_READDIR, .ino = dir, .handle = open.opened,
				    .offset = cookie, .length = length, .want_attr = true };
		ck_assert_int_eq(cluster_op(&w, c, &op), 0);
		count += op.entry_count;
		end = op.end;
		cookie = open.opened->listed_to;
	}
	struct cl_op close = { .kind = CL_RELEASEDIR, .ino = dir, .handle = open.opened };
	ck_assert_int_eq(cluster_op(&w, c, &close), 0);
	return count;
}

static bool is_complete(struct client *c, inode_no dir)
{
	return cl_node_find(c, dir)->is_complete;
}

START_TEST(absent_names_of_a_directory_made_here_need_no_server)
{
	inode_no dir = file_make(&w, a, INODE_ROOT, "d", S_IFDIR | 0755);
	file_make(&w, a, dir, "x", S_IFREG | 0644);
	cluster_mds_stop(&w);
	ck_assert_int_eq(lookup_rc(a, dir, "x"), 0);
	ck_assert_int_eq(lookup_rc(a, dir, "y"), -E_NOENT);
	cluster_mds_start(&w);
	/* Whoever changes a name has the directory recalled first. */
	file_make(&w, b, dir, "y", S_IFREG | 0644);
	ck_assert(!is_complete(a, dir));
	ck_assert_int_eq(lookup_rc(a, dir, "y"), 0);
}
END_TEST

START_TEST(a_directory_that_was_listed_is_known_whole)
{
	inode_no dir = file_make(&w, b, INODE_ROOT, "d", S_IFDIR | 0755);
	char name[8];
	for (uint32_t i = 0; i < 100; i++) {
		snprintf(name, sizeof name, "n%u", i);
		file_make(&w, b, dir, name, S_IFREG | 0644);
	}
	ck_assert_int_eq(lookup_rc(a, INODE_ROOT, "d"), 0);
	ck_assert_int_eq(lookup_rc(a, dir, "absent"), -E_NOENT);
	ck_assert(!is_complete(a, dir));
	ck_assert_uint_eq(list(a, dir, 1000), 100);
	ck_assert(is_complete(a, dir));
	/* What we change ourselves is known. */
	struct cl_op rename = { .kind = CL_RENAME, .parent = dir, .name = "n1", .new_parent = dir,
				.new_name = "m1" };
	struct cl_op unlink = { .kind = CL_UNLINK, .parent = dir, .name = "n2" };
	ck_assert_int_eq(cluster_op(&w, a, &rename), 0);
	ck_assert_int_eq(cluster_op(&w, a, &unlink), 0);
	ck_assert(is_complete(a, dir));
	cluster_mds_stop(&w);
	ck_assert_int_eq(lookup_rc(a, dir, "n1"), -E_NOENT);
	ck_assert_int_eq(lookup_rc(a, dir, "n2"), -E_NOENT);
	ck_assert_int_eq(lookup_rc(a, dir, "m1"), 0);
	cluster_mds_start(&w);
	struct cl_op back = { .kind = CL_RENAME, .parent = dir, .name = "m1", .new_parent = dir,
			      .new_name = "n1" };
	ck_assert_int_eq(cluster_op(&w, b, &back), 0);
	ck_assert_int_eq(lookup_rc(a, dir, "n1"), 0);
	ck_assert_int_eq(lookup_rc(a, dir, "m1"), -E_NOENT);
}
END_TEST

/* A name that is lost between two pages of a listing is in neither. */
START_TEST(a_listing_that_others_change_meanwhile_is_not_the_whole)
{
	inode_no dir = file_make(&w, b, INODE_ROOT, "d", S_IFDIR | 0755);
	struct cl_op open = { .kind = CL_OPENDIR, .ino = dir };
	file_make(&w, b, dir, "one", S_IFREG | 0644);
	file_make(&w, b, dir, "two", S_IFREG | 0644);
	ck_assert_int_eq(lookup_rc(a, INODE_ROOT, "d"), 0);
	ck_assert_int_eq(cluster_op(&w, a, &open), 0);
	struct cl_op first = { .kind = CL_READDIR, .ino = dir, .handle = open.opened,
			       .length = 200, .want_attr = true };
	ck_assert_int_eq(cluster_op(&w, a, &first), 0);
	ck_assert(!first.end);
	file_make(&w, b, dir, "three", S_IFREG | 0644);
	ck_assert_int_eq(lookup_rc(a, INODE_ROOT, "d"), 0);
	struct cl_op rest = { .kind = CL_READDIR, .ino = dir, .handle = open.opened,
			      .offset = open.opened->listed_to, .length = 4000,
			      .want_attr = true };
	ck_assert_int_eq(cluster_op(&w, a, &rest), 0);
	ck_assert(rest.end);
	ck_assert(!is_complete(a, dir));
	ck_assert_int_eq(lookup_rc(a, dir, "three"), 0);
	struct cl_op close = { .kind = CL_RELEASEDIR, .ino = dir, .handle = open.opened };
	ck_assert_int_eq(cluster_op(&w, a, &close), 0);
}
END_TEST

/* But for a change of somebody else, who takes the lease first. */
START_TEST(the_next_page_of_a_listing_is_there_before_it_is_asked_for)
{
	inode_no dir = file_make(&w, a, INODE_ROOT, "d", S_IFDIR | 0755);
	struct cl_op open = { .kind = CL_OPENDIR, .ino = dir };
	for (uint32_t i = 0; i < 12; i++) {
		char name[8];
		snprintf(name, sizeof name, "n%u", i);
		file_make(&w, a, dir, name, S_IFREG | 0644);
	}
	ck_assert_int_eq(cluster_op(&w, a, &open), 0);
	struct cl_op page = { .kind = CL_READDIR, .ino = dir, .handle = open.opened, .length = 700,
			      .want_attr = true };
	ck_assert_int_eq(cluster_op(&w, a, &page), 0);
	ck_assert_uint_gt(page.entry_count, 0);
	cluster_run_for(&w, 20);
	cluster_mds_stop(&w);
	page.offset = open.opened->listed_to;
	ck_assert_int_eq(cluster_op(&w, a, &page), 0);
	ck_assert_uint_gt(page.entry_count, 0);
	cluster_mds_start(&w);
	cluster_run_for(&w, 200);
	file_make(&w, b, dir, "late", S_IFREG | 0644);
	page.offset = open.opened->listed_to;
	ck_assert_int_eq(cluster_op(&w, a, &page), 0);
	ck_assert(!is_complete(a, dir));
	struct cl_op close = { .kind = CL_RELEASEDIR, .ino = dir, .handle = open.opened };
	ck_assert_int_eq(cluster_op(&w, a, &close), 0);
}
END_TEST

TEST_MAIN("names of clients", tcase_add_checked_fixture(tc, pair_begin, pair_end);
	  tcase_add_test(tc, names_are_seen_at_once);
	  tcase_add_test(tc, absent_names_of_a_directory_made_here_need_no_server);
	  tcase_add_test(tc, a_directory_that_was_listed_is_known_whole);
	  tcase_add_test(tc, a_listing_that_others_change_meanwhile_is_not_the_whole);
	  tcase_add_test(tc, the_next_page_of_a_listing_is_there_before_it_is_asked_for))
