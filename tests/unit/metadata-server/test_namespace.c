/* SPDX-License-Identifier: Apache-2.0 */
/* Names: make, link, unlink, rename, listing, attributes, extended attributes, and their rules. */
#include "tests/ms_world.h"

#include "metadata-server/step_internal.h"
#include "tests/check_main.h"

static struct world w;
static session_no s;

static void begin(void)
{
	world_init(&w);
	s = world_session(&w);
}

START_TEST(a_made_file_is_found_with_its_attributes)
{
	struct ms_request req = world_make(s, INODE_ROOT, "model.bin", S_IFREG | 0640);
	const struct ms_reply *reply;
	struct ms_counts counts;
	inode_no ino;

	begin();
	req.session = s;
	req.caller = (struct ms_caller){ .uid = 1000, .gid = 100 };
	reply = world_do(&w, req);
	ck_assert_int_eq(reply->rc, 0);
	ino = reply->attr.ino;
	ck_assert_uint_eq(reply->parent.version, 2);
	reply = world_do(&w, world_lookup(s, INODE_ROOT, "model.bin"));
	ck_assert_int_eq(reply->rc, 0);
	ck_assert_uint_eq(reply->attr.ino, ino);
	ck_assert_uint_eq(reply->attr.mode, S_IFREG | 0640);
	ck_assert_uint_eq(reply->attr.uid, 1000);
	ck_assert_uint_eq(reply->attr.gid, 100);
	ck_assert_uint_eq(reply->attr.nlink, 1);
	ck_assert_int_eq(world_lease(reply, ino, false), MS_LEASE_READ);
	ck_assert_int_eq(world_lease(reply, INODE_ROOT, true), MS_LEASE_READ);
	ms_state_counts(w.state, &counts);
	ck_assert_uint_eq(counts.files, 1);
	world_finish(&w);
}
END_TEST

/* The journal stood still until all numbers were used up: nothing was done, nothing is recorded. */
START_TEST(a_create_without_a_number_is_done_when_it_comes_again)
{
	struct ms_request req;
	inode_no ino;

	begin();
	req = world_make(s, INODE_ROOT, "model.bin", S_IFREG | 0640);
	req.slot_seq = 1;
	w.state->next_ino = w.state->usable_limit;
	ck_assert_int_eq(world_rc(&w, req), -E_OVERLOADED);
	ck_assert_int_eq(world_rc(&w, req), -E_OVERLOADED);
	ck_assert(w.state->reserve_asked);
	world_step(&w, &(struct ms_event){ .kind = MS_EV_RESERVE });
	ck_assert_int_eq(world_rc(&w, req), -E_OVERLOADED);
	world_step(&w, &(struct ms_event){ .kind = MS_EV_RESERVE, .req.flags = 1 });
	ck_assert_int_eq(world_rc(&w, req), 0);
	ino = w.effects[0].reply.attr.ino;
	ck_assert_int_eq(world_rc(&w, req), 0);		/* once */
	ck_assert_uint_eq(w.effects[0].reply.attr.ino, ino);
	world_finish(&w);
}
END_TEST

START_TEST(an_absent_name_comes_with_a_lease)
{
	const struct ms_reply *reply;

	begin();
	reply = world_do(&w, world_lookup(s, INODE_ROOT, "nothing"));
	ck_assert_int_eq(reply->rc, -E_NOENT);
	ck_assert_int_eq(world_lease(reply, INODE_ROOT, true), MS_LEASE_READ);
	world_finish(&w);
}
END_TEST

START_TEST(names_that_cannot_be_are_refused)
{
	char longest[NAME_BYTES_MAX + 2];

	begin();
	memset(longest, 'x', sizeof longest);
	longest[NAME_BYTES_MAX + 1] = '\0';
	ck_assert_int_eq(world_rc(&w, world_make(s, INODE_ROOT, longest, S_IFREG)), -E_NAMETOOLONG);
	longest[NAME_BYTES_MAX] = '\0';
	ck_assert_int_eq(world_rc(&w, world_make(s, INODE_ROOT, longest, S_IFREG)), 0);
	ck_assert_int_eq(world_rc(&w, world_make(s, INODE_ROOT, "..", S_IFREG)), -E_INVAL);
	ck_assert_int_eq(world_rc(&w, world_make(s, INODE_ROOT, "a/b", S_IFREG)), -E_INVAL);
	ck_assert_int_eq(world_rc(&w, world_make(s, INODE_ROOT, "", S_IFREG)), -E_INVAL);
	world_finish(&w);
}
END_TEST

START_TEST(create_is_exclusive_or_opens_what_is_there)
{
	struct ms_request req;
	inode_no ino;

	begin();
	ino = world_made(&w, s, INODE_ROOT, "f", S_IFREG | 0644);
	world_made(&w, s, INODE_ROOT, "d", S_IFDIR | 0755);
	req = world_make(s, INODE_ROOT, "f", S_IFREG | 0644);
	ck_assert_int_eq(world_rc(&w, req), -E_EXIST);
	req.exclusive = false;
	req.open = true;
	ck_assert_uint_eq(world_do(&w, req)->attr.ino, ino);
	req.name = world_name("d");
	ck_assert_int_eq(world_rc(&w, req), -E_ISDIR);
	world_finish(&w);
}
END_TEST

START_TEST(setgid_directories_hand_on_their_group)
{
	struct ms_request req;
	inode_no dir;

	begin();
	req = world_make(s, INODE_ROOT, "shared", S_IFDIR | 02775);
	req.caller.gid = 7;
	dir = world_do(&w, req)->attr.ino;
	req = world_make(s, dir, "sub", S_IFDIR | 0755);
	req.caller.gid = 9;
	ck_assert_uint_eq(world_do(&w, req)->attr.gid, 7);
	ck_assert_uint_eq(world_do(&w, world_lookup(s, dir, "sub"))->attr.mode, S_IFDIR | 02755);
	world_finish(&w);
}
END_TEST

START_TEST(sticky_directories_protect_others_files)
{
	struct ms_request req;
	inode_no tmp;

	begin();
	tmp = world_made(&w, s, INODE_ROOT, "tmp", S_IFDIR | 01777);
	req = world_make(s, tmp, "mine", S_IFREG | 0666);
	req.caller.uid = 1;
	ck_assert_int_eq(world_rc(&w, req), 0);
	req = world_unlink(s, tmp, "mine", false);
	req.caller.uid = 2;
	ck_assert_int_eq(world_rc(&w, req), -E_PERM);
	req = world_rename(s, tmp, "mine", INODE_ROOT, "theirs");
	req.caller.uid = 2;
	ck_assert_int_eq(world_rc(&w, req), -E_PERM);
	req = world_unlink(s, tmp, "mine", false);
	req.caller.uid = 1;
	ck_assert_int_eq(world_rc(&w, req), 0);
	world_finish(&w);
}
END_TEST

START_TEST(directories_count_their_subdirectories)
{
	inode_no a, b;

	begin();
	a = world_made(&w, s, INODE_ROOT, "a", S_IFDIR | 0755);
	b = world_made(&w, s, a, "b", S_IFDIR | 0755);
	ck_assert_uint_eq(world_do(&w, world_getattr(s, a))->attr.nlink, 3);
	ck_assert_int_eq(world_rc(&w, world_unlink(s, INODE_ROOT, "a", true)), -E_NOTEMPTY);
	ck_assert_int_eq(world_rc(&w, world_unlink(s, INODE_ROOT, "a", false)), -E_ISDIR);
	ck_assert_int_eq(world_rc(&w, world_rename(s, a, "b", INODE_ROOT, "b")), 0);
	ck_assert_uint_eq(world_do(&w, world_getattr(s, a))->attr.nlink, 2);
	ck_assert_uint_eq(world_do(&w, world_getattr(s, INODE_ROOT))->attr.nlink, 4);
	ck_assert_int_eq(world_rc(&w, world_unlink(s, INODE_ROOT, "a", true)), 0);
	ck_assert_int_eq(world_rc(&w, world_make(s, a, "late", S_IFREG)), -E_NOENT);
	ck_assert_uint_eq(world_do(&w, world_lookup(s, b, ".."))->attr.ino, INODE_ROOT);
	world_finish(&w);
}
END_TEST

START_TEST(hard_links_are_one_inode)
{
	struct ms_request link = { .op = MSG_LINK, .parent = INODE_ROOT };
	inode_no ino, dir;

	begin();
	ino = world_made(&w, s, INODE_ROOT, "one", S_IFREG | 0644);
	dir = world_made(&w, s, INODE_ROOT, "dir", S_IFDIR | 0755);
	link.session = s;
	link.ino = ino;
	link.name = world_name("two");
	ck_assert_uint_eq(world_do(&w, link)->attr.nlink, 2);
	ck_assert_int_eq(world_rc(&w, link), -E_EXIST);
	link.ino = dir;
	link.name = world_name("no");
	ck_assert_int_eq(world_rc(&w, link), -E_PERM);
	ck_assert_int_eq(world_rc(&w, world_rename(s, INODE_ROOT, "one", INODE_ROOT, "two")), 0);
	ck_assert_int_eq(world_rc(&w, world_lookup(s, INODE_ROOT, "one")), 0);
	ck_assert_int_eq(world_rc(&w, world_unlink(s, INODE_ROOT, "one", false)), 0);
	ck_assert_uint_eq(world_do(&w, world_getattr(s, ino))->attr.nlink, 1);
	world_finish(&w);
}
END_TEST

START_TEST(rename_keeps_the_rules)
{
	struct ms_request req;
	inode_no a, b, f;

	begin();
	a = world_made(&w, s, INODE_ROOT, "a", S_IFDIR | 0755);
	b = world_made(&w, s, a, "b", S_IFDIR | 0755);
	f = world_made(&w, s, b, "f", S_IFREG | 0644);
	world_made(&w, s, INODE_ROOT, "g", S_IFREG | 0644);
	ck_assert_int_eq(world_rc(&w, world_rename(s, INODE_ROOT, "a", b, "a")), -E_INVAL);
	ck_assert_int_eq(world_rc(&w, world_rename(s, INODE_ROOT, "a", a, "self")), -E_INVAL);
	ck_assert_int_eq(world_rc(&w, world_rename(s, INODE_ROOT, "none", a, "x")), -E_NOENT);
	ck_assert_int_eq(world_rc(&w, world_rename(s, INODE_ROOT, "a", INODE_ROOT, "g")),
			 -E_NOTDIR);
	ck_assert_int_eq(world_rc(&w, world_rename(s, INODE_ROOT, "g", INODE_ROOT, "a")), -E_ISDIR);
	ck_assert_int_eq(world_rc(&w, world_rename(s, a, "b", INODE_ROOT, "a")), -E_NOTEMPTY);
	req = world_rename(s, INODE_ROOT, "g", b, "f");
	req.flags = 1;
	ck_assert_int_eq(world_rc(&w, req), -E_EXIST);
	req.flags = 3;
	ck_assert_int_eq(world_rc(&w, req), -E_INVAL);
	req.flags = 0;
	ck_assert_int_eq(world_rc(&w, req), 0);
	ck_assert_int_eq(world_rc(&w, world_getattr(s, f)), -E_STALE);
	world_finish(&w);
}
END_TEST

START_TEST(exchange_swaps_a_directory_and_a_file)
{
	struct ms_request req;
	inode_no a, d, f;

	begin();
	a = world_made(&w, s, INODE_ROOT, "a", S_IFDIR | 0755);
	d = world_made(&w, s, a, "d", S_IFDIR | 0755);
	f = world_made(&w, s, INODE_ROOT, "f", S_IFREG | 0644);
	req = world_rename(s, a, "d", INODE_ROOT, "f");
	req.flags = 2;
	ck_assert_int_eq(world_rc(&w, req), 0);
	ck_assert_uint_eq(world_do(&w, world_lookup(s, a, "d"))->attr.ino, f);
	ck_assert_uint_eq(world_do(&w, world_lookup(s, INODE_ROOT, "f"))->attr.ino, d);
	ck_assert_uint_eq(world_do(&w, world_lookup(s, d, ".."))->attr.ino, INODE_ROOT);
	ck_assert_uint_eq(world_do(&w, world_getattr(s, a))->attr.nlink, 2);
	ck_assert_uint_eq(world_do(&w, world_getattr(s, INODE_ROOT))->attr.nlink, 4);
	req = world_rename(s, INODE_ROOT, "a", INODE_ROOT, "absent");
	req.flags = 2;
	ck_assert_int_eq(world_rc(&w, req), -E_NOENT);
	world_finish(&w);
}
END_TEST

START_TEST(a_whiteout_takes_the_old_name)
{
	struct ms_request req;
	const struct ms_reply *reply;
	struct ms_counts counts;
	inode_no d, f;

	begin();
	f = world_made(&w, s, INODE_ROOT, "f", S_IFREG | 0644);
	d = world_made(&w, s, INODE_ROOT, "d", S_IFDIR | 0755);
	req = world_rename(s, INODE_ROOT, "f", d, "f");
	req.flags = 4 | 2;
	ck_assert_int_eq(world_rc(&w, req), -E_INVAL);
	req.flags = 4 | 1;
	ck_assert_uint_eq(world_do(&w, req)->attr.ino, f);
	reply = world_do(&w, world_lookup(s, INODE_ROOT, "f"));
	ck_assert_int_eq(reply->rc, 0);
	ck_assert_uint_eq(reply->attr.mode, S_IFCHR);
	ck_assert_uint_eq(reply->attr.rdev, 0);
	ck_assert_uint_eq(reply->attr.nlink, 1);
	req = world_rename(s, INODE_ROOT, "d", INODE_ROOT, "moved");
	req.flags = 4;
	ck_assert_int_eq(world_rc(&w, req), 0);
	ck_assert_uint_eq(world_do(&w, world_getattr(s, INODE_ROOT))->attr.nlink, 3);
	ms_state_counts(w.state, &counts);
	ck_assert_uint_eq(counts.files, 3);
	world_finish(&w);
}
END_TEST

static struct ms_request unnamed(bool exclusive)
{
	struct ms_request req = world_make(s, INODE_ROOT, "", S_IFREG | 0600);

	req.unnamed = req.open = true;
	req.exclusive = exclusive;
	return req;
}

static struct ms_request release(inode_no *ino)
{
	return (struct ms_request){ .op = MSG_RELEASE, .session = s, .opens = ino,
				    .open_count = 1 };
}

static struct ms_request linked(inode_no ino, const char *name)
{
	return (struct ms_request){ .op = MSG_LINK, .session = s, .parent = INODE_ROOT, .ino = ino,
				    .name = world_name(name) };
}

START_TEST(an_unnamed_file_gets_a_name_once)
{
	const struct ms_reply *reply;
	struct ms_counts counts;
	inode_no ino;

	begin();
	reply = world_do(&w, unnamed(false));
	ino = reply->attr.ino;
	ck_assert_uint_eq(reply->attr.nlink, 0);
	ck_assert_int_eq(world_lease(reply, ino, false), MS_LEASE_WRITE);
	ck_assert_uint_eq(world_do(&w, world_getattr(s, INODE_ROOT))->attr.version, 1);
	ck_assert_uint_eq(world_do(&w, linked(ino, "named"))->attr.nlink, 1);
	ck_assert_int_eq(world_rc(&w, release(&ino)), 0);
	ck_assert_uint_eq(world_do(&w, world_lookup(s, INODE_ROOT, "named"))->attr.ino, ino);
	ck_assert_int_eq(world_rc(&w, (struct ms_request){ .op = MSG_OPEN, .session = s,
							   .ino = ino }), 0);
	ck_assert_int_eq(world_rc(&w, world_unlink(s, INODE_ROOT, "named", false)), 0);
	ck_assert_int_eq(world_rc(&w, linked(ino, "again")), -E_NOENT);
	ck_assert_int_eq(world_rc(&w, release(&ino)), 0);
	ms_state_counts(w.state, &counts);
	ck_assert_uint_eq(counts.files, 0);
	world_finish(&w);
}
END_TEST

START_TEST(an_unnamed_file_ends_with_its_last_close)
{
	struct ms_request req;
	inode_no ino;

	begin();
	ino = world_do(&w, unnamed(true))->attr.ino;
	ck_assert_int_eq(world_rc(&w, linked(ino, "no")), -E_NOENT);
	ck_assert_int_eq(world_rc(&w, release(&ino)), 0);
	ck_assert_int_eq(world_rc(&w, world_getattr(s, ino)), -E_STALE);
	req = unnamed(false);
	req.open = false;		/* nobody would ever free it */
	ck_assert_int_eq(world_rc(&w, req), -E_INVAL);
	req = unnamed(false);
	req.mode = S_IFDIR | 0755;
	ck_assert_int_eq(world_rc(&w, req), -E_INVAL);
	world_finish(&w);
}
END_TEST

START_TEST(a_symbolic_link_tells_its_target)
{
	struct ms_request req;
	const struct ms_reply *reply;

	begin();
	req = world_make(s, INODE_ROOT, "latest", S_IFLNK | 0777);
	ck_assert_int_eq(world_rc(&w, req), -E_INVAL);
	req.target = world_name("models/v2");
	ck_assert_int_eq(world_rc(&w, req), 0);
	reply = world_do(&w, world_lookup(s, INODE_ROOT, "latest"));
	ck_assert_str_eq(w.target, "models/v2");
	ck_assert_uint_eq(reply->attr.size, 9);
	ck_assert_int_eq(world_rc(&w, world_unlink(s, INODE_ROOT, "latest", false)), 0);
	world_finish(&w);
}
END_TEST

static struct ms_request setattr(inode_no ino, uint32_t mask)
{
	return (struct ms_request){ .op = MSG_SETATTR, .session = s, .ino = ino, .mask = mask };
}

START_TEST(attributes_change_by_the_rules_of_setattr)
{
	struct ms_request req;
	const struct ms_reply *reply;
	inode_no ino;

	begin();
	req = world_make(s, INODE_ROOT, "f", S_IFREG | 06755);
	req.caller.uid = 5;
	ino = world_do(&w, req)->attr.ino;
	req = setattr(ino, MS_SET_MODE);
	req.caller.uid = 6;
	req.mode = 0777;
	ck_assert_int_eq(world_rc(&w, req), -E_PERM);
	req = setattr(ino, MS_SET_GID);
	req.caller.uid = 5;
	req.gid = 77;
	reply = world_do(&w, req);
	/* set-id bits went with the change */
	ck_assert_uint_eq(reply->attr.mode, S_IFREG | 0755);
	req = setattr(ino, MS_SET_UID);
	req.caller.uid = 5;
	req.uid = 6;
	ck_assert_int_eq(world_rc(&w, req), -E_PERM);
	req = setattr(ino, MS_SET_MTIME);
	req.mtime_ns = 12345;
	reply = world_do(&w, req);
	ck_assert_int_eq(reply->attr.mtime_ns, 12345);
	ck_assert_int_eq(reply->attr.ctime_ns, (int64_t)w.wall_ns);
	world_finish(&w);
}
END_TEST

static int64_t atime_after(inode_no ino, int64_t when_ns)
{
	struct ms_request req = { .op = MSG_ATIMES, .session = s, .opens = &ino, .times = &when_ns,
				  .open_count = 1 };

	ck_assert_int_eq(world_rc(&w, req), 0);
	return world_do(&w, world_getattr(s, ino))->attr.atime_ns;
}

START_TEST(an_access_time_is_told_late_and_changes_nothing_else)
{
	struct ms_attr before;
	struct ms_request req;
	int64_t late;

	begin();
	before = world_do(&w, world_make(s, INODE_ROOT, "f", S_IFREG | 0644))->attr;
	ck_assert_int_eq(atime_after(before.ino, before.ctime_ns + 5), before.ctime_ns + 5);
	ck_assert_int_eq(atime_after(before.ino, before.ctime_ns + 4), before.ctime_ns + 5);
	ck_assert_uint_eq(world_do(&w, world_getattr(s, before.ino))->attr.version, before.version);
	late = (int64_t)w.wall_ns;
	req = setattr(before.ino, MS_SET_ATIME);	/* who read before that is told after it */
	req.atime_ns = 77;
	ck_assert_int_eq(world_do(&w, req)->attr.atime_ns, 77);
	ck_assert_int_eq(atime_after(before.ino, late), 77);
	ck_assert_int_gt(atime_after(before.ino, (int64_t)w.wall_ns + 1), late);
	ck_assert_int_eq(world_rc(&w, world_unlink(s, INODE_ROOT, "f", false)), 0);
	req = (struct ms_request){ .op = MSG_ATIMES, .session = s, .opens = &before.ino,
				   .times = &late, .open_count = 1 };
	ck_assert_int_eq(world_rc(&w, req), 0);
	world_finish(&w);
}
END_TEST

START_TEST(sizes_that_need_no_data_are_set)
{
	struct ms_request req;
	const struct ms_reply *reply;
	struct ms_counts counts;
	inode_no ino;

	begin();
	ino = world_made(&w, s, INODE_ROOT, "f", S_IFREG | 0644);
	ck_assert_int_eq(world_rc(&w, world_publish(s, ino, 1, "hello world")), 0);
	req = setattr(ino, MS_SET_SIZE);
	req.size = 1000;
	reply = world_do(&w, req);
	ck_assert_uint_eq(reply->attr.size, 1000);
	ck_assert_uint_eq(reply->attr.root.length, 11);		/* the rest is a hole */
	req.size = 5;
	ck_assert_uint_eq(world_do(&w, req)->attr.root.length, 5);
	reply = world_do(&w, (struct ms_request){ .op = MSG_GET_INLINE, .session = s, .ino = ino,
						  .base_version = reply->attr.version });
	ck_assert_int_eq(reply->rc, 0);
	ck_assert_uint_eq(reply->bulk_len, 5);
	ck_assert_mem_eq(reply->bulk, "hello", 5);
	req.size = 0;
	ck_assert_int_eq(world_do(&w, req)->attr.root.kind, ROOT_EMPTY);
	ms_state_counts(w.state, &counts);
	ck_assert_uint_eq(counts.bytes_logical, 0);
	world_finish(&w);
}
END_TEST

START_TEST(a_listing_comes_in_batches_without_gaps)
{
	struct ms_request req = { .op = MSG_READDIR, .ino = INODE_ROOT, .bytes_max = 400 };
	uint32_t seen = 0;
	uint64_t last = 0;

	begin();
	req.session = s;
	for (uint32_t i = 0; i < 200; i++) {
		char name[16];

		snprintf(name, sizeof name, "file%u", i);
		world_made(&w, s, INODE_ROOT, name, S_IFREG | 0644);
	}
	for (;;) {
		const struct ms_reply *reply = world_do(&w, req);

		ck_assert_int_eq(reply->rc, 0);
		for (uint32_t i = 0; i < reply->entry_count; i++, seen++) {
			ck_assert_uint_gt(reply->entries[i].cookie, last);
			last = reply->entries[i].cookie;
		}
		if (reply->end)
			break;
		ck_assert_uint_gt(reply->entry_count, 0);
		req.cookie = last;
		req.attributes = !req.attributes;
	}
	ck_assert_uint_eq(seen, 200);
	world_finish(&w);
}
END_TEST

static struct ms_request xattr(uint16_t op, inode_no ino, const char *name, const char *value)
{
	return (struct ms_request){ .op = op, .session = s, .ino = ino, .name = world_name(name),
				    .bulk = (const uint8_t *)value,
				    .bulk_len = (uint32_t)strlen(value) };
}

START_TEST(extended_attributes_are_set_listed_and_removed)
{
	struct ms_request req;
	const struct ms_reply *reply;
	inode_no ino;

	begin();
	ino = world_made(&w, s, INODE_ROOT, "f", S_IFREG | 0644);
	ck_assert_uint_eq(world_do(&w, xattr(MSG_SETXATTR, ino, "user.b", "2"))->attr.flags, 2);
	ck_assert_int_eq(world_rc(&w, xattr(MSG_SETXATTR, ino, "user.a", "")), 0);
	req = xattr(MSG_SETXATTR, ino, "user.a", "1");
	req.flags = 1;
	ck_assert_int_eq(world_rc(&w, req), -E_EXIST);
	req.flags = 2;
	ck_assert_int_eq(world_rc(&w, req), 0);
	req.name = world_name("user.c");
	ck_assert_int_eq(world_rc(&w, req), -E_NODATA);
	reply = world_do(&w, xattr(MSG_GETXATTR, ino, "user.a", ""));
	ck_assert_uint_eq(reply->bulk_len, 1);
	reply = world_do(&w, xattr(MSG_LISTXATTR, ino, "", ""));
	ck_assert_uint_eq(reply->bulk_len, 14);
	ck_assert_mem_eq(reply->bulk, "user.a\0user.b", 14);
	ck_assert_int_eq(world_rc(&w, xattr(MSG_REMOVEXATTR, ino, "user.a", "")), 0);
	ck_assert_int_eq(world_rc(&w, xattr(MSG_REMOVEXATTR, ino, "user.a", "")), -E_NODATA);
	ck_assert_uint_eq(world_do(&w, xattr(MSG_REMOVEXATTR, ino, "user.b", ""))->attr.flags, 0);
	world_finish(&w);
}
END_TEST

TEST_MAIN("namespace",
	tcase_add_test(tc, a_made_file_is_found_with_its_attributes);
	tcase_add_test(tc, a_create_without_a_number_is_done_when_it_comes_again);
	tcase_add_test(tc, an_absent_name_comes_with_a_lease);
	tcase_add_test(tc, names_that_cannot_be_are_refused);
	tcase_add_test(tc, create_is_exclusive_or_opens_what_is_there);
	tcase_add_test(tc, setgid_directories_hand_on_their_group);
	tcase_add_test(tc, sticky_directories_protect_others_files);
	tcase_add_test(tc, directories_count_their_subdirectories);
	tcase_add_test(tc, hard_links_are_one_inode);
	tcase_add_test(tc, rename_keeps_the_rules);
	tcase_add_test(tc, exchange_swaps_a_directory_and_a_file);
	tcase_add_test(tc, a_whiteout_takes_the_old_name);
	tcase_add_test(tc, an_unnamed_file_gets_a_name_once);
	tcase_add_test(tc, an_unnamed_file_ends_with_its_last_close);
	tcase_add_test(tc, a_symbolic_link_tells_its_target);
	tcase_add_test(tc, attributes_change_by_the_rules_of_setattr);
	tcase_add_test(tc, an_access_time_is_told_late_and_changes_nothing_else);
	tcase_add_test(tc, sizes_that_need_no_data_are_set);
	tcase_add_test(tc, a_listing_comes_in_batches_without_gaps);
	tcase_add_test(tc, extended_attributes_are_set_listed_and_removed))
