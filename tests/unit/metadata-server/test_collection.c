/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The collection epoch: when it rises, what may be published under it, and where copies come from
 * (I9).
 */
#include "tests/ms_world.h"

#include "tests/check_main.h"

static struct world w;
static session_no s;
static inode_no file;

static void begin(void)
{
	world_init(&w);
	s = world_session(&w);
	file = world_made(&w, s, INODE_ROOT, "file", S_IFREG | 0644);
}

static bool raise_epoch(void)
{
	uint64_t before = ms_collection_epoch(w.state);

	world_step(&w, &(struct ms_event){ .kind = MS_EV_COLLECT });
	return ms_collection_epoch(w.state) == before + 1;
}

static void renew(session_no session, uint64_t seen, uint64_t oldest)
{
	ck_assert_int_eq(world_rc(&w, (struct ms_request){.op = MSG_SESSION_RENEW,
							  .session = session,
							  .seen_collection = seen,
							  .collection = oldest}),
			 0);
}

static void renewed_and_raised(void)
{
	renew(s, ms_collection_epoch(w.state), 0);
	ck_assert(raise_epoch());
}

static struct ms_request publish(inode_no ino, uint64_t base, uint8_t content, uint64_t epoch)
{
	return (struct ms_request){ .op = MSG_PUBLISH, .session = s, .ino = ino,
				    .base_version = base, .collection = epoch,
				    .root = { .kind = ROOT_BLOCK, .length = 70000 / 2,
				    .id = { { content } } } };
}

static void join(uint8_t n, uint64_t epoch)
{
	struct ms_request req = { .op = MSG_JOIN, .uuid = { n }, .address = "h:1", .host = "h",
				  .disks = 1, .bytes_total = GiB(1), .boot_id = n };
	const struct ms_reply *reply = world_do(&w, req);

	ck_assert_int_eq(reply->rc, 0);
	req = (struct ms_request){ .op = MSG_HEARTBEAT, .server = reply->server, .boot_id = n,
				   .collection = epoch };
	ck_assert_int_eq(world_rc(&w, req), 0);
}

START_TEST(the_epoch_begins_at_one_and_is_kept)
{
	begin();
	ck_assert_uint_eq(ms_collection_epoch(w.state), 1);
	ck_assert(raise_epoch());
	ck_assert_uint_eq(ms_collection_epoch(w.state), 2);
	world_restart(&w);
	ck_assert_uint_eq(ms_collection_epoch(w.state), 2);
	world_finish(&w);
}
END_TEST

START_TEST(it_does_not_rise_before_a_session_has_heard_of_it)
{
	struct ms_collection_wait why;

	begin();
	ck_assert(raise_epoch());		/* the session opened in epoch 1 */
	ck_assert(!raise_epoch());
	ck_assert(!ms_collection_may_rise(w.state, &why));
	ck_assert_uint_eq(why.session, s);
	renew(s, 1, 0);				/* sent before it knew */
	ck_assert(!raise_epoch());
	renew(s, 2, 0);
	ck_assert(raise_epoch());
	world_finish(&w);
}
END_TEST

START_TEST(it_does_not_rise_while_a_session_has_an_older_block)
{
	begin();
	ck_assert(raise_epoch());
	renew(s, 2, 1);
	ck_assert(!raise_epoch());
	renew(s, 2, 2);
	ck_assert(raise_epoch());
	world_finish(&w);
}
END_TEST

START_TEST(a_session_that_ended_holds_nothing_up)
{
	begin();
	ck_assert(raise_epoch());
	ck_assert(!raise_epoch());
	world_tick(&w, WORLD_LEASE_MS + 1);
	ck_assert(raise_epoch());
	world_finish(&w);
}
END_TEST

START_TEST(it_does_not_rise_before_every_chunk_server_applies_it)
{
	struct ms_collection_wait why;

	begin();
	join(1, 1);
	join(2, 0);
	ck_assert(!ms_collection_may_rise(w.state, &why));
	ck_assert_uint_eq(why.server, 2);
	ck_assert(!raise_epoch());
	join(2, 1);
	ck_assert(raise_epoch());
	world_finish(&w);
}
END_TEST

START_TEST(it_does_not_rise_while_sessions_come_back)
{
	begin();
	world_restart(&w);
	ck_assert(!raise_epoch());
	world_finish(&w);
}
END_TEST

START_TEST(a_publish_may_be_one_epoch_old_and_no_more)
{
	begin();
	renewed_and_raised();
	renewed_and_raised();
	ck_assert_int_eq(world_rc(&w, publish(file, 1, 1, 1)), -E_OLD_COLLECTION);
	ck_assert_int_eq(world_rc(&w, publish(file, 1, 1, 2)), 0);
	ck_assert_int_eq(world_rc(&w, publish(file, 2, 2, 3)), 0);
	world_finish(&w);
}
END_TEST

START_TEST(inline_content_has_no_age)
{
	begin();
	renewed_and_raised();
	renewed_and_raised();
	ck_assert_int_eq(world_rc(&w, world_publish(s, file, 1, "x")), 0);
	world_finish(&w);
}
END_TEST

START_TEST(a_publish_that_waited_for_a_lease_is_judged_when_it_is_done)
{
	struct ms_request req;
	session_no other;

	begin();
	other = world_session(&w);
	/* a read lease in the way */
	ck_assert_int_eq(world_rc(&w, world_getattr(other, file)), 0);
	req = publish(file, 1, 1, 1);
	req.sources = &(struct ms_source){ .ino = file, .root = { .kind = ROOT_EMPTY } };
	req.source_count = 1;
	ck_assert_ptr_null(world_do(&w, req));
	uint64_t token = w.token;
	struct ms_effect recall = *world_find(&w, MS_FX_RECALL);
	for (uint64_t epoch = 1; epoch < 3; epoch++) {
		renew(s, epoch, 0);
		renew(other, epoch, 0);
		ck_assert(raise_epoch());
	}
	world_answer(&w, recall, MS_LEASE_NONE);
	ck_assert_int_eq(world_reply(&w, token)->rc, -E_OLD_COLLECTION);
	world_finish(&w);
}
END_TEST

START_TEST(a_move_of_old_blocks_is_dropped)
{
	struct ms_event moved = { .kind = MS_EV_MOVED };
	static char large[INLINE_KEEP_BYTES_MAX + 2];

	begin();
	memset(large, 'x', sizeof large - 1);
	ck_assert_int_eq(world_rc(&w, world_publish(s, file, 1, large)), 0);
	renewed_and_raised();
	renewed_and_raised();
	moved.req = (struct ms_request){ .ino = file, .base_version = 2, .collection = 1,
		.root = { .kind = ROOT_BLOCK, .length = sizeof large - 1, .id = { { 1 } } } };
	world_step(&w, &moved);
	ck_assert_int_eq(world_do(&w, world_getattr(s, file))->attr.root.kind, ROOT_INLINE);
	moved.req.collection = 2;
	world_step(&w, &moved);
	ck_assert_int_eq(world_do(&w, world_getattr(s, file))->attr.root.kind, ROOT_BLOCK);
	world_finish(&w);
}
END_TEST

START_TEST(a_copy_is_refused_once_its_source_has_another_root)
{
	struct ms_request copy;
	struct ms_source source;
	inode_no to;

	begin();
	to = world_made(&w, s, INODE_ROOT, "copy", S_IFREG | 0644);
	ck_assert_int_eq(world_rc(&w, publish(file, 1, 7, 1)), 0);
	copy = publish(to, 1, 7, UINT64_MAX);
	source = (struct ms_source){ .ino = file, .root = copy.root };
	copy.sources = &source;
	copy.source_count = 1;
	ck_assert_int_eq(world_rc(&w, copy), 0);
	ck_assert_int_eq(world_rc(&w, publish(file, 2, 8, 1)), 0);
	copy.base_version = 2;
	ck_assert_int_eq(world_rc(&w, copy), -E_OLD_COLLECTION);
	ck_assert_int_eq(world_rc(&w, world_unlink(s, INODE_ROOT, "file", false)), 0);
	ck_assert_int_eq(world_rc(&w, copy), -E_OLD_COLLECTION);
	world_finish(&w);
}
END_TEST

TEST_MAIN("collection",
	tcase_add_test(tc, the_epoch_begins_at_one_and_is_kept);
	tcase_add_test(tc, it_does_not_rise_before_a_session_has_heard_of_it);
	tcase_add_test(tc, it_does_not_rise_while_a_session_has_an_older_block);
	tcase_add_test(tc, a_session_that_ended_holds_nothing_up);
	tcase_add_test(tc, it_does_not_rise_before_every_chunk_server_applies_it);
	tcase_add_test(tc, it_does_not_rise_while_sessions_come_back);
	tcase_add_test(tc, a_publish_may_be_one_epoch_old_and_no_more);
	tcase_add_test(tc, inline_content_has_no_age);
	tcase_add_test(tc, a_publish_that_waited_for_a_lease_is_judged_when_it_is_done);
	tcase_add_test(tc, a_move_of_old_blocks_is_dropped);
	tcase_add_test(tc, a_copy_is_refused_once_its_source_has_another_root))
