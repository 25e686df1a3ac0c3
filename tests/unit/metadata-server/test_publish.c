/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Publishing: the version it was built from, inline content and its move into blocks, set-id bits.
 */
#include "tests/ms_world.h"

#include "tests/check_main.h"

static struct world w;
static session_no s;
static inode_no file;
static char large[INLINE_KEEP_BYTES_MAX + 2];

static void begin(void)
{
	world_init(&w);
	s = world_session(&w);
	file = world_made(&w, s, INODE_ROOT, "file", S_IFREG | 06755);
	memset(large, 'x', sizeof large - 1);
}

static struct ms_request get_inline(uint64_t version)
{
	return (struct ms_request){ .op = MSG_GET_INLINE, .session = s, .ino = file,
				    .base_version = version };
}

START_TEST(inline_content_comes_back)
{
	const struct ms_reply *reply;
	struct ms_counts counts;

	begin();
	reply = world_do(&w, world_publish(s, file, 1, "weights"));
	ck_assert_int_eq(reply->rc, 0);
	ck_assert_uint_eq(reply->attr.version, 2);
	ck_assert_uint_eq(reply->attr.size, 7);
	reply = world_do(&w, get_inline(2));
	ck_assert_mem_eq(reply->bulk, "weights", 7);
	ck_assert_ptr_null(world_find(&w, MS_FX_MOVE_INLINE));
	ms_state_counts(w.state, &counts);
	ck_assert_uint_eq(counts.bytes_logical, 7);
	world_finish(&w);
}
END_TEST

START_TEST(another_base_version_is_refused_with_the_present_root)
{
	const struct ms_reply *reply;

	begin();
	ck_assert_int_eq(world_rc(&w, world_publish(s, file, 1, "first")), 0);
	reply = world_do(&w, world_publish(s, file, 1, "second"));
	ck_assert_int_eq(reply->rc, -E_STALE_VERSION);
	ck_assert_uint_eq(reply->attr.version, 2);
	ck_assert_uint_eq(reply->attr.root.length, 5);
	world_finish(&w);
}
END_TEST

START_TEST(a_publish_sent_again_after_others_changed_the_file_tells_its_own_version)
{
	struct ms_request publish;
	const struct ms_reply *reply;
	session_no other;

	begin();
	other = world_session(&w);
	publish = world_publish(s, file, 1, "mine");
	publish.slot_seq = ++w.seqs[0];
	ck_assert_int_eq(world_rc(&w, publish), 0);
	(void)world_do(&w, world_publish(other, file, 2, "theirs"));
	world_answer_all(&w);
	reply = world_do(&w, publish);
	ck_assert_int_eq(reply->rc, 0);
	ck_assert_uint_eq(reply->attr.version, 2);
	ck_assert_int_eq(world_rc(&w, world_publish(s, file, 2, "lost update")), -E_STALE_VERSION);
	world_finish(&w);
}
END_TEST

START_TEST(a_write_by_a_stranger_takes_set_id_bits)
{
	struct ms_request req;

	begin();
	req = world_publish(s, file, 1, "x");
	req.kill_priv = MS_KILL_PRIV;
	ck_assert_uint_eq(world_do(&w, req)->attr.mode, S_IFREG | 0755);
	world_finish(&w);
}
END_TEST

START_TEST(roots_that_cannot_be_are_refused)
{
	struct ms_request req;

	begin();
	req = world_publish(s, file, 1, "abc");
	req.root.length = 4;
	ck_assert_int_eq(world_rc(&w, req), -E_INVAL);
	req = world_publish(s, file, 1, "abc");
	req.root.kind = ROOT_BLOCK;		/* without an id */
	ck_assert_int_eq(world_rc(&w, req), -E_INVAL);
	req = world_publish(s, INODE_ROOT, 1, "abc");
	ck_assert_int_eq(world_rc(&w, req), -E_ISDIR);
	world_finish(&w);
}
END_TEST

START_TEST(attributes_are_set_with_the_content_or_nothing_is)
{
	const struct ms_reply *reply;
	struct ms_request req;

	begin();
	req = world_publish(s, file, 1, "x");
	req.mask = MS_SET_MODE | MS_SET_UID | MS_SET_MTIME | MS_SET_ATIME;
	req.mode = 04711;
	req.uid = 7;
	req.mtime_ns = 5;
	req.atime_ns = 6;
	reply = world_do(&w, req);
	ck_assert_int_eq(reply->rc, 0);
	ck_assert_uint_eq(reply->attr.version, 2);
	ck_assert_uint_eq(reply->attr.mode, S_IFREG | 04711);
	ck_assert_uint_eq(reply->attr.uid, 7);
	ck_assert_int_eq(reply->attr.mtime_ns, 5);
	ck_assert_int_eq(reply->attr.atime_ns, 6);
	ck_assert_int_eq(reply->attr.ctime_ns, (int64_t)w.wall_ns);
	req.base_version = 2;
	req.caller.uid = 8;
	ck_assert_int_eq(world_rc(&w, req), -E_PERM);
	ck_assert_uint_eq(world_do(&w, world_getattr(s, file))->attr.version, 2);
	world_finish(&w);
}
END_TEST

START_TEST(larger_inline_content_is_moved_into_a_block)
{
	struct ms_event moved = { .kind = MS_EV_MOVED };
	const struct ms_effect *fx;
	const struct ms_reply *reply;
	struct ms_attr before;

	begin();
	before = world_do(&w, world_publish(s, file, 1, large))->attr;
	fx = world_find(&w, MS_FX_MOVE_INLINE);
	ck_assert_ptr_nonnull(fx);
	ck_assert_uint_eq(fx->version, 2);
	world_tick(&w, 5000);
	ck_assert_ptr_nonnull(world_find(&w, MS_FX_MOVE_INLINE));	/* named until it is done */
	moved.req.ino = file;
	moved.req.base_version = 2;
	moved.req.root = (struct root){ .kind = ROOT_BLOCK, .length = sizeof large - 1,
					.id = { { 1 } } };
	world_step(&w, &moved);
	reply = world_do(&w, world_getattr(s, file));
	ck_assert_int_eq(reply->attr.root.kind, ROOT_BLOCK);
	ck_assert_uint_eq(reply->attr.version, before.version);
	ck_assert_int_eq(reply->attr.ctime_ns, before.ctime_ns);
	ck_assert_int_eq(world_rc(&w, get_inline(2)), -E_STALE_VERSION);
	world_tick(&w, 5000);
	ck_assert_ptr_null(world_find(&w, MS_FX_MOVE_INLINE));
	world_finish(&w);
}
END_TEST

START_TEST(a_move_of_what_was_changed_meanwhile_is_dropped)
{
	struct ms_event moved = { .kind = MS_EV_MOVED };

	begin();
	ck_assert_int_eq(world_rc(&w, world_publish(s, file, 1, large)), 0);
	ck_assert_int_eq(world_rc(&w, world_publish(s, file, 2, "new")), 0);
	moved.req.ino = file;
	moved.req.base_version = 2;
	moved.req.root = (struct root){ .kind = ROOT_BLOCK, .length = sizeof large - 1,
					.id = { { 1 } } };
	world_step(&w, &moved);
	ck_assert_uint_eq(world_do(&w, world_getattr(s, file))->attr.size, 3);
	world_finish(&w);
}
END_TEST

TEST_MAIN("publish", tcase_add_test(tc, inline_content_comes_back);
	  tcase_add_test(tc, another_base_version_is_refused_with_the_present_root);
	  tcase_add_test(tc,
			 a_publish_sent_again_after_others_changed_the_file_tells_its_own_version);
	  tcase_add_test(tc, a_write_by_a_stranger_takes_set_id_bits);
	  tcase_add_test(tc, roots_that_cannot_be_are_refused);
	  tcase_add_test(tc, attributes_are_set_with_the_content_or_nothing_is);
	  tcase_add_test(tc, larger_inline_content_is_moved_into_a_block);
	  tcase_add_test(tc, a_move_of_what_was_changed_meanwhile_is_dropped))
