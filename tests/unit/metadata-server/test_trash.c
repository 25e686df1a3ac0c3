/* SPDX-License-Identifier: Apache-2.0 */
/* Trash: what goes in, where it came from, how it comes out, when it is over; whole trees told. */
#include "metadata-server/key.h"
#include "tests/ms_world.h"

#include "tests/check_main.h"

#define KEEP_MS 60000u

static struct world w;
static session_no s;
static inode_no tree, sub;

static struct ms_request change(enum ms_trash_action action, inode_no ino)
{
	return (struct ms_request){ .op = MSG_TRASH, .session = s, .action = action, .ino = ino,
				    .keep_ms = action == MS_TRASH_ENABLE ? KEEP_MS : 0 };
}

static int change_rc(enum ms_trash_action action, inode_no ino)
{
	return world_settled(&w, change(action, ino))->rc;
}

static void ticks(void)
{
	for (int i = 0; i < 20; i++)
		world_tick(&w, 100);
}

/* /tree with a trash, /tree/sub. */
static void begin(void)
{
	world_init(&w);
	s = world_session(&w);
	tree = world_made(&w, s, INODE_ROOT, "tree", S_IFDIR | 0755);
	ck_assert_int_eq(change_rc(MS_TRASH_ENABLE, tree), 0);
	sub = world_made(&w, s, tree, "sub", S_IFDIR | 0755);
	ticks();
}

static inode_no file_in(inode_no dir, const char *name, const char *text)
{
	inode_no ino = world_made(&w, s, dir, name, S_IFREG | 0644);

	ck_assert_int_eq(world_rc(&w, world_publish(s, ino, 1, text)), 0);
	return ino;
}

static void gone(inode_no dir, const char *name, bool is_dir)
{
	ck_assert_int_eq(world_rc(&w, world_unlink(s, dir, name, is_dir)), 0);
}

static const struct ms_reply *list(inode_no dir)
{
	return world_do(&w, (struct ms_request){ .op = MSG_TRASH_LIST, .session = s, .ino = dir });
}

static void assert_path(const struct ms_reply *reply, uint32_t i, const char *path)
{
	ck_assert_uint_gt(reply->entry_count, i);
	ck_assert_uint_eq(reply->entries[i].name.len, strlen(path));
	ck_assert_mem_eq(reply->entries[i].name.bytes, path, strlen(path));
}

static struct ms_request restore(const struct ms_reply *listed, uint32_t i, inode_no to,
				 const char *name)
{
	return (struct ms_request){ .op = MSG_TRASH, .session = s, .action = MS_TRASH_RESTORE,
				    .ino = listed->entries[i].ino, .tree = listed->attr.ino,
				    .time_ns = listed->entries[i].cookie, .parent = to,
				    .name = world_name(name) };
}

static struct ms_counts counts(void)
{
	struct ms_counts c;

	ms_state_counts(w.state, &c);
	return c;
}

START_TEST(what_is_deleted_is_kept_and_comes_back_as_it_was)
{
	struct ms_attr before, after;
	const struct ms_reply *reply;
	inode_no file;

	begin();
	file = file_in(sub, "file", "weights");
	before = world_do(&w, world_getattr(s, file))->attr;
	gone(sub, "file", false);
	ck_assert_uint_eq(counts().trash_entries, 1);
	ck_assert_uint_eq(counts().trash_bytes, 7);
	ck_assert_uint_eq(counts().files, 1);
	reply = list(sub);
	ck_assert_uint_eq(reply->trash_keep_ms, KEEP_MS);
	assert_path(reply, 0, "sub/file");
	ck_assert_int_eq(world_settled(&w, restore(reply, 0, tree, "again"))->rc, 0);
	after = world_do(&w, world_lookup(s, tree, "again"))->attr;
	ck_assert_uint_eq(after.ino, file);
	ck_assert_uint_eq(after.nlink, 1);
	ck_assert_int_eq(after.mtime_ns, before.mtime_ns);
	ck_assert_uint_eq(counts().trash_entries, 0);
	ck_assert_uint_eq(list(sub)->entry_count, 0);
	world_finish(&w);
}
END_TEST

START_TEST(what_is_replaced_is_kept_and_directories_are)
{
	const struct ms_reply *reply;

	begin();
	(void)file_in(tree, "a", "old");
	(void)file_in(tree, "b", "new");
	ck_assert_int_eq(world_rc(&w, world_rename(s, tree, "b", tree, "a")), 0);
	gone(tree, "sub", true);
	reply = list(tree);
	ck_assert_uint_eq(reply->entry_count, 2);
	assert_path(reply, 0, "a");
	assert_path(reply, 1, "sub");
	ck_assert_int_eq(world_settled(&w, restore(reply, 0, tree, "a"))->rc, -E_EXIST);
	reply = list(tree);
	ck_assert_int_eq(world_settled(&w, restore(reply, 1, tree, "sub"))->rc, 0);
	ck_assert_uint_eq(world_do(&w, world_getattr(s, tree))->attr.nlink, 3);
	(void)file_in(sub, "x", "in what came back");
	gone(sub, "x", false);
	assert_path(list(tree), 1, "sub/x");
	world_finish(&w);
}
END_TEST

START_TEST(its_time_ends)
{
	begin();
	for (int i = 0; i < 3; i++) {
		(void)file_in(sub, "x", "x");
		gone(sub, "x", false);
	}
	ck_assert_uint_eq(counts().files, 3);
	w.wall_ns += (KEEP_MS - 1000) * UINT64_C(1000000);
	ticks();
	ck_assert_uint_eq(counts().files, 3);
	w.wall_ns += 2000 * UINT64_C(1000000);
	ticks();
	ck_assert_uint_eq(counts().files, 0);
	ck_assert_uint_eq(counts().trash_entries, 0);
	ck_assert_uint_eq(counts().bytes_logical, 0);
	world_finish(&w);
}
END_TEST

START_TEST(an_open_file_outlives_its_trash)
{
	inode_no file;

	begin();
	file = file_in(sub, "x", "x");
	ck_assert_int_eq(world_rc(&w, world_open(s, file, true)), 0);
	gone(sub, "x", false);
	ck_assert_int_eq(change_rc(MS_TRASH_EMPTY, tree), 0);
	ck_assert_uint_eq(counts().files, 1);
	ck_assert_int_eq(world_rc(&w, world_release(s, file)), 0);
	ck_assert_uint_eq(counts().files, 0);

	file = file_in(sub, "y", "y");
	ck_assert_int_eq(world_rc(&w, world_open(s, file, true)), 0);
	gone(sub, "y", false);
	ck_assert_int_eq(world_rc(&w, world_release(s, file)), 0);
	ck_assert_uint_eq(counts().files, 1);
	/* opened by its handle, while it has no name */
	ck_assert_int_eq(world_rc(&w, world_open(s, file, false)), 0);
	ck_assert_int_eq(world_rc(&w, world_release(s, file)), 0);
	ck_assert_uint_eq(counts().files, 1);
	ck_assert_int_eq(world_settled(&w, restore(list(tree), 0, tree, "y"))->rc, 0);
	world_finish(&w);
}
END_TEST

START_TEST(a_tree_that_was_there_is_told_in_pieces)
{
	inode_no top, dir, at;
	char name[16];

	begin();
	top = world_made(&w, s, INODE_ROOT, "top", S_IFDIR | 0755);
	for (int i = 0; i < 1500; i++) {
		(void)snprintf(name, sizeof name, "d%d", i);
		dir = world_made(&w, s, top, name, S_IFDIR | 0755);
	}
	at = world_made(&w, s, dir, "below", S_IFDIR | 0755);
	ck_assert_int_eq(list(at)->rc, -E_NOENT);
	ck_assert_int_eq(change_rc(MS_TRASH_ENABLE, top), 0);
	world_tick(&w, 10);
	world_restart(&w);
	ck_assert_int_eq(world_rc(&w, (struct ms_request){ .op = MSG_SESSION_RECLAIM,
							    .session = s }), 0);
	ticks();
	ck_assert_int_eq(list(at)->rc, 0);
	(void)file_in(at, "x", "x");
	gone(at, "x", false);
	assert_path(list(top), 0, "d1499/below/x");

	/* It moves to another tree, and out of all. */
	ck_assert_int_eq(world_rc(&w, world_rename(s, top, "d1499", tree, "moved")), 0);
	ticks();
	(void)file_in(at, "y", "y");
	gone(at, "y", false);
	assert_path(list(tree), 0, "moved/below/y");
	ck_assert_int_eq(world_rc(&w, world_rename(s, tree, "moved", INODE_ROOT, "out")), 0);
	ticks();
	ck_assert_int_eq(list(at)->rc, -E_NOENT);
	ck_assert_int_eq(change_rc(MS_TRASH_DISABLE, top), 0);
	ticks();
	ck_assert_int_eq(list(top)->rc, -E_NOENT);
	ck_assert_uint_eq(counts().trash_entries, 2);
	w.wall_ns += 2 * KEEP_MS * UINT64_C(1000000);
	ticks();
	ck_assert_uint_eq(counts().trash_entries, 0);
	world_finish(&w);
}
END_TEST

START_TEST(each_sees_and_empties_his_own)
{
	struct ms_request req;
	const struct ms_reply *reply;

	begin();
	req = (struct ms_request){ .op = MSG_SETATTR, .session = s, .ino = sub,
				   .mask = MS_SET_MODE, .mode = 0777 };
	ck_assert_int_eq(world_settled(&w, req)->rc, 0);
	for (uint32_t uid = 1; uid <= 2; uid++) {
		(void)file_in(sub, "x", "x");
		req = world_unlink(s, sub, "x", false);
		req.caller.uid = uid;
		ck_assert_int_eq(world_rc(&w, req), 0);
	}
	req = (struct ms_request){ .op = MSG_TRASH_LIST, .session = s, .ino = sub };
	req.caller.uid = 1;
	reply = world_do(&w, req);
	ck_assert_uint_eq(reply->entry_count, 1);
	ck_assert_uint_eq(reply->entries[0].attr.uid, 1);
	req = restore(list(sub), 1, sub, "x");
	req.caller.uid = 1;
	ck_assert_int_eq(world_settled(&w, req)->rc, -E_PERM);
	req = change(MS_TRASH_EMPTY, sub);
	req.caller.uid = 1;
	reply = world_settled(&w, req);
	ck_assert_int_eq(reply->rc, 0);
	ck_assert(reply->end);
	ck_assert_uint_eq(list(sub)->entry_count, 1);
	req = change(MS_TRASH_DISABLE, tree);
	req.caller.uid = 1;
	ck_assert_int_eq(world_settled(&w, req)->rc, -E_PERM);
	world_finish(&w);
}
END_TEST

START_TEST(other_names_and_other_trees_are_not_kept)
{
	struct ms_request link = { .op = MSG_LINK, .parent = INODE_ROOT };
	inode_no file;

	begin();
	file = file_in(sub, "x", "x");
	link.session = s;
	link.ino = file;
	link.name = world_name("outside");
	ck_assert_int_eq(world_rc(&w, link), 0);
	gone(sub, "x", false);
	ck_assert_uint_eq(counts().trash_entries, 0);
	gone(INODE_ROOT, "outside", false);
	ck_assert_uint_eq(counts().files, 0);
	/* The tree itself goes: what is in it ends in its time. */
	(void)file_in(sub, "y", "y");
	gone(sub, "y", false);
	gone(tree, "sub", true);
	gone(INODE_ROOT, "tree", true);
	ck_assert_uint_eq(counts().trash_entries, 2);
	w.wall_ns += 2 * KEEP_MS * UINT64_C(1000000);
	ticks();
	ck_assert_uint_eq(counts().trash_entries, 0);
	ck_assert_uint_eq(counts().directories, 1);
	world_finish(&w);
}
END_TEST

/* However much others have deleted before him. */
START_TEST(who_empties_is_not_stopped_by_what_others_deleted)
{
	struct ms_request req;
	const struct ms_reply *reply;
	uint32_t requests = 0;

	begin();
	for (uint32_t i = 0; i < 5000; i++) {
		(void)world_made(&w, s, sub, "x", S_IFIFO | 0644);
		gone(sub, "x", false);
	}
	(void)world_made(&w, s, sub, "x", S_IFIFO | 0644);
	req = world_unlink(s, sub, "x", false);
	req.caller.uid = 1;
	ck_assert_int_eq(world_rc(&w, req), 0);
	req = change(MS_TRASH_EMPTY, sub);
	req.caller.uid = 1;
	do {
		reply = world_settled(&w, req);
		ck_assert_int_eq(reply->rc, 0);
		req.time_ns = reply->list_time_ns;
		ck_assert_uint_lt(++requests, 5);
	} while (!reply->end);
	ck_assert_uint_eq(counts().trash_entries, 5000);
	world_finish(&w);
}
END_TEST

static struct ms_quota quota_of(inode_no dir)
{
	struct ms_key key = ms_key_number(MS_KEY_QUOTA, dir);
	struct ms_quota q;
	const void *value;
	uint32_t len;

	ck_assert_int_eq(ms_txn_get(w.txn, key.bytes, key.len, &value, &len), 0);
	ck_assert_int_eq(ms_key_quota_decode(value, len, &q), 0);
	return q;
}

START_TEST(a_quota_comes_back_with_its_directory)
{
	begin();
	ck_assert_int_eq(world_rc(&w, (struct ms_request){ .op = MSG_QUOTA_SET, .ino = sub,
							    .quota_mask = MS_QUOTA_FILES_MAX,
							    .quota_files = 2 }), 0);
	ticks();
	gone(tree, "sub", true);
	ck_assert(quota_of(sub).is_ending);
	ck_assert_int_eq(world_settled(&w, restore(list(tree), 0, INODE_ROOT, "back"))->rc, 0);
	ck_assert(!quota_of(sub).is_ending);
	ck_assert_uint_eq(quota_of(sub).files, 1);
	(void)world_made(&w, s, sub, "x", S_IFREG | 0644);
	ck_assert_int_eq(world_rc(&w, world_make(s, sub, "y", S_IFREG | 0644)), -E_DQUOT);
	world_finish(&w);
}
END_TEST

/* By its number, as who exports the file system by handle does. */
START_TEST(what_is_opened_in_a_trash_is_no_orphan)
{
	struct ms_key key;
	struct row row;
	struct rd r;
	inode_no file;

	begin();
	file = file_in(sub, "x", "x");
	gone(sub, "x", false);
	ck_assert_int_eq(world_settled(&w, world_open(s, file, false))->rc, 0);
	ck_assert_int_eq(world_settled(&w, restore(list(tree), 0, tree, "x"))->rc, 0);
	key = ms_key_orphan(file, 0);
	ck_assert(ms_txn_next(w.txn, key.bytes, key.len, &row) < 0 ||
		  !ms_key_is(&row, MS_KEY_ORPHAN, &r));
	ck_assert_int_eq(world_rc(&w, world_release(s, file)), 0);
	ck_assert_uint_eq(counts().files, 1);
	world_finish(&w);
}
END_TEST

TEST_MAIN("trash", tcase_add_test(tc, what_is_deleted_is_kept_and_comes_back_as_it_was);
	  tcase_add_test(tc, what_is_replaced_is_kept_and_directories_are);
	  tcase_add_test(tc, its_time_ends);
	  tcase_add_test(tc, an_open_file_outlives_its_trash);
	  tcase_add_test(tc, a_tree_that_was_there_is_told_in_pieces);
	  tcase_add_test(tc, each_sees_and_empties_his_own);
	  tcase_add_test(tc, other_names_and_other_trees_are_not_kept);
	  tcase_add_test(tc, who_empties_is_not_stopped_by_what_others_deleted);
	  tcase_add_test(tc, a_quota_comes_back_with_its_directory);
	  tcase_add_test(tc, what_is_opened_in_a_trash_is_no_orphan))
