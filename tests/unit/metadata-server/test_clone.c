/* SPDX-License-Identifier: Apache-2.0 */
/* Clones: what is copied, when, for whom; out of sight until shown; removed if nobody wants it. */
#include "tests/ms_world.h"

#include "tests/check_main.h"

#define TICKET 0xfeedu

static struct world w;
static session_no s, other;
static inode_no tree, file;

/* /tree: file ("weights", also as sub/linked), sub, link -> "file". */
static void begin(void)
{
	struct ms_request req;
	inode_no sub;

	world_init(&w);
	s = world_session(&w);
	other = world_session(&w);
	tree = world_made(&w, s, INODE_ROOT, "tree", S_IFDIR | 0755);
	sub = world_made(&w, s, tree, "sub", S_IFDIR | 01777);
	file = world_made(&w, s, tree, "file", S_IFREG | 04755);
	ck_assert_int_eq(world_rc(&w, world_publish(s, file, 1, "weights")), 0);
	req = (struct ms_request){ .op = MSG_LINK, .session = s, .ino = file, .parent = sub,
				   .name = world_name("linked") };
	ck_assert_int_eq(world_rc(&w, req), 0);
	req = world_make(s, tree, "link", S_IFLNK | 0777);
	req.target = world_name("file");
	ck_assert_int_eq(world_rc(&w, req), 0);
}

static struct ms_request clone_request(enum ms_clone_action action, inode_no ino)
{
	return (struct ms_request){ .op = MSG_CLONE, .session = s, .action = action, .ino = ino,
				    .parent = INODE_ROOT, .name = world_name("copy"),
				    .ticket = TICKET };
}

static int clone_rc(enum ms_clone_action action, inode_no ino)
{
	return world_settled(&w, clone_request(action, ino))->rc;
}

static inode_no begun(inode_no source)
{
	const struct ms_reply *reply = world_settled(&w, clone_request(MS_CLONE_BEGIN, source));

	ck_assert_msg(reply->rc == 0, "cannot begin: %s", error_name(reply->rc));
	return reply->attr.ino;
}

/* Steps until it is built; how many. */
static uint32_t built(inode_no clone)
{
	for (uint32_t steps = 1; steps < 1000; steps++) {
		const struct ms_reply *reply =
			world_settled(&w, clone_request(MS_CLONE_STEP, clone));

		ck_assert_msg(reply->rc == 0, "cannot go on: %s", error_name(reply->rc));
		if (reply->end)
			return steps;
	}
	ck_abort_msg("it is never built");
}

static inode_no cloned(inode_no source)
{
	inode_no clone = begun(source);

	(void)built(clone);
	ck_assert_int_eq(clone_rc(MS_CLONE_SHOW, clone), 0);
	return clone;
}

static struct ms_attr found(inode_no dir, const char *name)
{
	const struct ms_reply *reply = world_do(&w, world_lookup(other, dir, name));

	ck_assert_msg(reply && reply->rc == 0, "no '%s'", name);
	return reply->attr;
}

static void assert_text(const struct ms_attr *attr, const char *text)
{
	struct ms_request req = { .op = MSG_GET_INLINE, .session = other, .ino = attr->ino,
				  .base_version = attr->version };
	const struct ms_reply *reply = world_do(&w, req);

	ck_assert_int_eq(reply->rc, 0);
	ck_assert_uint_eq(reply->bulk_len, strlen(text));
	ck_assert_mem_eq(reply->bulk, text, strlen(text));
}

static uint64_t things(void)
{
	struct ms_counts counts;

	ms_state_counts(w.state, &counts);
	return counts.files * 1000000 + counts.directories * 1000 + counts.bytes_logical;
}

static void ticks(void)
{
	for (int i = 0; i < 50; i++)
		world_tick(&w, 10);
}

START_TEST(a_tree_is_cloned_with_what_ties_it)
{
	struct ms_attr source, copy, linked, sub;
	inode_no clone;

	begin();
	clone = cloned(tree);
	copy = found(INODE_ROOT, "copy");
	ck_assert_uint_eq(copy.ino, clone);
	ck_assert_uint_eq(copy.nlink, 3);
	source = found(tree, "file");
	copy = found(clone, "file");
	ck_assert_uint_ne(copy.ino, source.ino);
	ck_assert_uint_eq(copy.mode, S_IFREG | 04755);
	ck_assert_int_eq(copy.mtime_ns, source.mtime_ns);
	ck_assert_uint_eq(copy.nlink, 2);
	assert_text(&copy, "weights");
	sub = found(clone, "sub");
	ck_assert_uint_eq(sub.mode, S_IFDIR | 01777);
	linked = found(sub.ino, "linked");
	ck_assert_uint_eq(linked.ino, copy.ino);
	(void)found(clone, "link");
	ck_assert_str_eq(w.target, "file");
	world_finish(&w);
}
END_TEST

START_TEST(neither_shows_changes_of_the_other)
{
	inode_no clone;
	struct ms_attr copy;

	begin();
	clone = cloned(file);
	copy = found(INODE_ROOT, "copy");
	ck_assert_uint_eq(copy.nlink, 1);
	ck_assert_int_eq(world_settled(&w, world_publish(s, clone, copy.version, "other"))->rc, 0);
	copy = found(tree, "file");
	assert_text(&copy, "weights");
	world_finish(&w);
}
END_TEST

START_TEST(what_a_session_writes_is_published_first)
{
	struct ms_effect recall = { 0 };
	const struct ms_reply *reply;
	struct ms_attr copy;
	inode_no clone, fresh;
	struct ms_request req;
	uint64_t step;

	begin();
	req = world_make(s, tree, "fresh", S_IFREG | 0644);
	req.open = true;	/* by the session that clones: it may have written as well */
	fresh = world_do(&w, req)->attr.ino;
	clone = begun(tree);
	/* What is before it may be copied in a step of its own. */
	do {
		reply = world_do(&w, clone_request(MS_CLONE_STEP, clone));
		ck_assert(!reply || !reply->end);
		if (world_find(&w, MS_FX_RECALL))
			recall = *world_find(&w, MS_FX_RECALL);
	} while (reply);
	step = w.token;
	ck_assert_uint_eq(recall.session, s);
	ck_assert_uint_eq(recall.leases[0].ino, fresh);
	req = world_publish(s, fresh, 1, "written");
	req.slot = 1;		/* that of the step is taken */
	req.slot_seq = 1;
	ck_assert_int_eq(world_rc(&w, req), 0);
	world_answer(&w, recall, MS_LEASE_READ);
	ck_assert_int_eq(world_reply(&w, step)->rc, 0);
	(void)built(clone);
	ck_assert_int_eq(clone_rc(MS_CLONE_SHOW, clone), 0);
	copy = found(clone, "fresh");
	assert_text(&copy, "written");
	world_finish(&w);
}
END_TEST

static void make_many(inode_no dir, uint32_t count)
{
	char name[16];

	for (uint32_t i = 0; i < count; i++) {
		(void)snprintf(name, sizeof name, "n%u", i);
		(void)world_made(&w, s, dir, name, i % 10 ? S_IFREG | 0644 : S_IFDIR | 0755);
	}
}

START_TEST(a_large_tree_takes_steps_and_survives_restarts)
{
	struct ms_request list = { .op = MSG_READDIR };
	uint64_t before;
	inode_no clone;

	begin();
	make_many(tree, 1500);
	before = things();
	clone = begun(tree);
	ck_assert_int_eq(clone_rc(MS_CLONE_STEP, clone), 0);
	world_restart(&w);
	ck_assert_int_eq(world_rc(&w, (struct ms_request){ .op = MSG_SESSION_RECLAIM,
							    .session = s }), 0);
	ck_assert_int_eq(world_rc(&w, (struct ms_request){ .op = MSG_SESSION_RECLAIM,
							    .session = other }), 0);
	world_tick(&w, 100);
	ck_assert_int_eq(world_rc(&w, world_lookup(s, INODE_ROOT, "copy")), -E_NOENT);
	ck_assert_uint_gt(built(clone), 1);
	ck_assert_int_eq(clone_rc(MS_CLONE_SHOW, clone), 0);
	list.session = s;
	list.ino = clone;
	ck_assert_uint_eq(world_do(&w, list)->entry_count, 1503);
	/* as much again, but the root */
	ck_assert_uint_eq(things(), 2 * before - 1000);
	world_finish(&w);
}
END_TEST

START_TEST(what_is_dropped_goes)
{
	uint64_t before;
	inode_no clone;

	begin();
	make_many(tree, 800);
	before = things();
	clone = begun(tree);
	ck_assert_int_eq(clone_rc(MS_CLONE_STEP, clone), 0);
	ck_assert_uint_ne(things(), before);
	ck_assert_int_eq(clone_rc(MS_CLONE_DROP, clone), 0);
	ticks();
	ck_assert_uint_eq(things(), before);
	ck_assert_int_eq(clone_rc(MS_CLONE_STEP, clone), -E_NOENT);
	clone = begun(file);
	ck_assert_int_eq(clone_rc(MS_CLONE_DROP, clone), 0);
	ticks();
	ck_assert_uint_eq(things(), before);
	world_finish(&w);
}
END_TEST

START_TEST(it_goes_with_its_session)
{
	uint64_t before;
	inode_no clone;

	begin();
	before = things();
	clone = begun(tree);
	(void)built(clone);
	ck_assert_int_eq(world_rc(&w, (struct ms_request){ .op = MSG_SESSION_CLOSE,
							    .session = s }), 0);
	ticks();
	ck_assert_uint_eq(things(), before);
	world_finish(&w);
}
END_TEST

START_TEST(nobody_goes_on_with_it)
{
	uint64_t before;

	begin();
	before = things();
	(void)begun(tree);
	for (uint64_t ms = 0; ms <= 310000; ms += WORLD_LEASE_MS / 2) {
		struct ms_request renew = { .op = MSG_SESSION_RENEW, .session = s };

		ck_assert_int_eq(world_rc(&w, renew), 0);
		renew.session = other;
		ck_assert_int_eq(world_rc(&w, renew), 0);
		world_tick(&w, WORLD_LEASE_MS / 2);
	}
	ck_assert_uint_eq(things(), before);
	world_finish(&w);
}
END_TEST

static int root_mode_rc(uint32_t mode)
{
	struct ms_request req = { .op = MSG_SETATTR, .session = s, .ino = INODE_ROOT,
				  .mask = MS_SET_MODE, .mode = mode };

	return world_settled(&w, req)->rc;
}

START_TEST(only_who_may_read_clones)
{
	const uint32_t groups[] = { 7, 70 };
	struct ms_request req, chmod = { .op = MSG_SETATTR, .mask = MS_SET_MODE | MS_SET_GID,
					 .mode = 0640, .gid = 70 };
	const struct ms_reply *reply;
	struct ms_attr copy;
	inode_no clone;

	begin();
	chmod.session = s;
	chmod.ino = file;
	ck_assert_int_eq(world_rc(&w, chmod), 0);
	req = clone_request(MS_CLONE_BEGIN, tree);
	req.caller = (struct ms_caller){ .uid = 1000, .gid = 1000 };
	ck_assert_int_eq(world_rc(&w, req), -E_ACCES);		/* / is root's */
	ck_assert_int_eq(root_mode_rc(0777), 0);
	clone = world_do(&w, req)->attr.ino;
	ck_assert_int_eq(clone_rc(MS_CLONE_STEP, clone), -E_PERM);	/* root is not who began */
	req.action = MS_CLONE_STEP;
	req.ino = clone;
	do
		reply = world_do(&w, req);
	while (reply->rc == 0 && !reply->end);
	ck_assert_int_eq(reply->rc, -E_ACCES);
	ck_assert_mem_eq(w.target, reply->target.len == 4 ? "file" : "linked", 4);
	req.caller.groups = groups;
	req.caller.group_count = 2;
	do
		reply = world_do(&w, req);
	while (reply->rc == 0 && !reply->end);
	ck_assert_int_eq(reply->rc, 0);
	req.action = MS_CLONE_SHOW;
	ck_assert_int_eq(root_mode_rc(0755), 0);
	ck_assert_int_eq(world_rc(&w, req), -E_ACCES);
	ck_assert_int_eq(root_mode_rc(0777), 0);
	ck_assert_int_eq(world_settled(&w, req)->rc, 0);
	copy = found(clone, "file");
	ck_assert_uint_eq(copy.uid, 1000);
	ck_assert_uint_eq(copy.gid, 70);
	ck_assert_uint_eq(copy.mode, S_IFREG | 0640);
	world_finish(&w);
}
END_TEST

static void set_xattr(inode_no ino, const char *name, const void *value, uint32_t len)
{
	ck_assert_int_eq(world_rc(&w, (struct ms_request){
		.op = MSG_SETXATTR, .session = s, .ino = ino, .name = world_name(name),
		.bulk = value, .bulk_len = len }), 0);
}

static int get_xattr(inode_no ino, const char *name)
{
	return world_rc(&w, (struct ms_request){ .op = MSG_GETXATTR, .session = s, .ino = ino,
						 .name = world_name(name) });
}

START_TEST(extended_attributes_come_along)
{
	static uint8_t value[XATTR_VALUE_BYTES_MAX];
	struct ms_request req;
	char name[16];
	inode_no clone;

	begin();
	set_xattr(file, "trusted.secret", "x", 1);
	for (int i = 0; i < 8; i++) {
		(void)snprintf(name, sizeof name, "user.%d", i);
		set_xattr(file, name, value, sizeof value);
	}
	clone = begun(file);
	ck_assert_uint_gt(built(clone), 2);
	for (int i = 0; i < 8; i++) {
		(void)snprintf(name, sizeof name, "user.%d", i);
		ck_assert_int_eq(get_xattr(clone, name), 0);
		ck_assert_uint_eq(world_find(&w, MS_FX_REPLY)->reply.bulk_len, sizeof value);
	}
	ck_assert_int_eq(get_xattr(clone, "trusted.secret"), 0);
	ck_assert_int_eq(clone_rc(MS_CLONE_DROP, clone), 0);
	ticks();

	ck_assert_int_eq(root_mode_rc(0777), 0);
	req = clone_request(MS_CLONE_BEGIN, file);
	req.caller = (struct ms_caller){ .uid = 1000, .gid = 1000 };
	req.ino = clone = world_do(&w, req)->attr.ino;
	req.action = MS_CLONE_STEP;
	while (!world_do(&w, req)->end)
		continue;
	ck_assert_int_eq(get_xattr(clone, "user.7"), 0);
	ck_assert_int_eq(get_xattr(clone, "trusted.secret"), -E_NODATA);
	world_finish(&w);
}
END_TEST

START_TEST(it_is_shown_once_where_it_was_to_be)
{
	struct ms_request req;
	inode_no clone;

	begin();
	clone = begun(tree);
	ck_assert_int_eq(clone_rc(MS_CLONE_SHOW, clone), -E_INVAL);	/* not built */
	(void)built(clone);
	req = clone_request(MS_CLONE_SHOW, clone);
	req.ticket++;
	ck_assert_int_eq(world_rc(&w, req), -E_NOENT);
	req = clone_request(MS_CLONE_SHOW, clone);
	req.parent = tree;
	ck_assert_int_eq(world_rc(&w, req), -E_INVAL);
	req.parent = INODE_ROOT;
	req.name = world_name("tree");
	ck_assert_int_eq(world_rc(&w, req), -E_EXIST);
	ck_assert_int_eq(clone_rc(MS_CLONE_SHOW, clone), 0);
	ck_assert_int_eq(clone_rc(MS_CLONE_SHOW, clone), -E_NOENT);
	world_finish(&w);
}
END_TEST

START_TEST(a_tree_may_be_cloned_into_itself)
{
	struct ms_request req;
	inode_no clone;

	begin();
	req = clone_request(MS_CLONE_BEGIN, tree);
	req.parent = tree;
	clone = world_do(&w, req)->attr.ino;
	(void)built(clone);
	req = clone_request(MS_CLONE_SHOW, clone);
	req.parent = tree;
	ck_assert_int_eq(world_settled(&w, req)->rc, 0);
	ck_assert_int_eq(world_rc(&w, world_lookup(s, clone, "copy")), -E_NOENT);
	(void)found(tree, "copy");
	world_finish(&w);
}
END_TEST

TEST_MAIN("clone", tcase_add_test(tc, a_tree_is_cloned_with_what_ties_it);
	  tcase_add_test(tc, neither_shows_changes_of_the_other);
	  tcase_add_test(tc, what_a_session_writes_is_published_first);
	  tcase_add_test(tc, a_large_tree_takes_steps_and_survives_restarts);
	  tcase_add_test(tc, what_is_dropped_goes);
	  tcase_add_test(tc, it_goes_with_its_session);
	  tcase_add_test(tc, nobody_goes_on_with_it);
	  tcase_add_test(tc, only_who_may_read_clones);
	  tcase_add_test(tc, extended_attributes_come_along);
	  tcase_add_test(tc, it_is_shown_once_where_it_was_to_be);
	  tcase_add_test(tc, a_tree_may_be_cloned_into_itself))
