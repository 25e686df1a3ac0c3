/* SPDX-License-Identifier: Apache-2.0 */
/* Recuts: the same bytes under another root. Nothing else changes, and every writer goes first. */
#include "tests/ms_world.h"

#include "tests/check_main.h"

static struct world w;
static session_no s, other;
static inode_no file;

static struct root node(uint8_t name)
{
	return (struct root){ .kind = ROOT_NODE, .depth = 1, .length = MiB(2), .data = MiB(1),
			      .id = { .bytes = { name } } };
}

static struct ms_request publish(session_no session, uint64_t base, struct root root)
{
	struct ms_request req = world_publish(session, file, base, "");

	req.root = root;
	req.bulk_len = 0;
	req.collection = UINT64_MAX;
	req.mtime_ns = 77;
	return req;
}

static struct ms_request recut(uint64_t base, struct root of, struct root root)
{
	struct ms_request req = publish(s, base, root);

	req.recut_of = of;
	req.root.cutter = 1;
	return req;
}

static void begin(void)
{
	world_init(&w);
	s = world_session(&w);
	other = world_session(&w);
	file = world_made(&w, s, INODE_ROOT, "file", S_IFREG | 0644);
	ck_assert_int_eq(world_rc(&w, publish(s, 1, node(1))), 0);
}

START_TEST(nothing_changes_but_root_and_version)
{
	const struct ms_reply *reply;
	struct ms_attr before;
	struct root cut = node(2);

	begin();
	before = world_do(&w, world_getattr(s, file))->attr;
	reply = world_do(&w, recut(before.version, node(1), cut));
	ck_assert_int_eq(reply->rc, 0);
	cut.cutter = 1;
	ck_assert(root_equal(&reply->attr.root, &cut));
	before.root = cut;
	before.recut_of = node(1);
	before.version++;
	ck_assert_mem_eq(&reply->attr, &before, sizeof before);
	reply = world_do(&w, world_getattr(other, file));
	ck_assert_mem_eq(&reply->attr, &before, sizeof before);
	world_finish(&w);
}
END_TEST

START_TEST(new_content_is_a_recut_of_nothing)
{
	begin();
	ck_assert_int_eq(world_rc(&w, recut(2, node(1), node(2))), 0);
	ck_assert_int_eq(world_do(&w, publish(s, 3, node(3)))->attr.recut_of.kind, ROOT_EMPTY);
	world_finish(&w);
}
END_TEST

START_TEST(what_cannot_be_the_same_bytes_is_refused)
{
	struct root longer = node(2), sparser = node(2);
	struct ms_request with_mode;

	begin();
	longer.length++;
	sparser.data--;
	ck_assert_int_eq(world_rc(&w, recut(2, node(1), longer)), -E_INVAL);
	ck_assert_int_eq(world_rc(&w, recut(2, node(1), sparser)), -E_INVAL);
	with_mode = recut(2, node(1), node(2));
	with_mode.mask = MS_SET_MODE;
	ck_assert_int_eq(world_rc(&w, with_mode), -E_INVAL);
	world_finish(&w);
}
END_TEST

START_TEST(a_version_that_changed_wins)
{
	const struct ms_reply *reply;

	begin();
	ck_assert_int_eq(world_rc(&w, publish(s, 2, node(3))), 0);
	reply = world_do(&w, recut(2, node(1), node(2)));
	ck_assert_int_eq(reply->rc, -E_STALE_VERSION);
	ck_assert(reply->attr.root.id.bytes[0] == 3);
	/* the version is right, but what was cut is not what is there */
	ck_assert_int_eq(world_rc(&w, recut(3, node(1), node(2))), -E_STALE_VERSION);
	world_finish(&w);
}
END_TEST

START_TEST(who_writes_elsewhere_is_not_disturbed)
{
	begin();
	ck_assert_int_eq(world_rc(&w, world_release(s, file)), 0);
	(void)world_do(&w, world_open(other, file, true));
	world_answer_all(&w);
	ck_assert_int_eq(world_rc(&w, recut(2, node(1), node(2))), -E_BUSY);
	ck_assert_ptr_null(world_find(&w, MS_FX_RECALL));
	ck_assert_int_eq(world_rc(&w, publish(other, 2, node(3))), 0);
	/* closed, its lease still holds what it may write */
	ck_assert_int_eq(world_rc(&w, world_release(other, file)), 0);
	ck_assert_int_eq(world_rc(&w, recut(3, node(3), node(2))), -E_BUSY);
	world_finish(&w);
}
END_TEST

START_TEST(writers_that_share_are_not_disturbed)
{
	begin();
	ck_assert_int_eq(world_rc(&w, world_open(s, file, true)), 0);
	(void)world_do(&w, world_open(other, file, true));
	world_answer_all(&w);		/* nobody has a lease now */
	ck_assert_int_eq(world_rc(&w, recut(2, node(1), node(2))), -E_BUSY);
	ck_assert_int_eq(world_rc(&w, world_release(other, file)), 0);
	ck_assert_int_eq(world_rc(&w, recut(2, node(1), node(2))), 0);
	world_finish(&w);
}
END_TEST

START_TEST(readers_keep_their_leases_and_are_told)
{
	const struct ms_reply *reply;
	const struct ms_effect *recall;

	begin();
	(void)world_do(&w, world_open(other, file, false));
	world_answer_all(&w);
	reply = world_do(&w, world_getattr(other, file));
	ck_assert_int_eq(world_lease(reply, file, 0), MS_LEASE_READ);
	ck_assert_int_eq(world_rc(&w, recut(2, node(1), node(2))), 0);
	recall = world_find(&w, MS_FX_RECALL);
	ck_assert_ptr_nonnull(recall);
	ck_assert_uint_eq(recall->session, other);
	ck_assert_int_eq(recall->leases[0].mode, MS_LEASE_READ);
	world_answer(&w, *recall, MS_LEASE_READ);
	/* the lease still stands in a writer's way */
	ck_assert_ptr_null(world_do(&w, publish(s, 3, node(3))));
	world_answer_all(&w);
	world_finish(&w);
}
END_TEST

START_TEST(a_recut_sent_again_counts_once)
{
	struct ms_request req;
	const struct ms_reply *reply;

	begin();
	req = recut(2, node(1), node(2));
	req.slot_seq = ++w.seqs[0];
	ck_assert_int_eq(world_rc(&w, req), 0);
	reply = world_do(&w, req);
	ck_assert_int_eq(reply->rc, 0);
	ck_assert_uint_eq(reply->attr.version, 3);
	world_finish(&w);
}
END_TEST

TEST_MAIN("recut",
	tcase_add_test(tc, nothing_changes_but_root_and_version);
	tcase_add_test(tc, new_content_is_a_recut_of_nothing);
	tcase_add_test(tc, what_cannot_be_the_same_bytes_is_refused);
	tcase_add_test(tc, a_version_that_changed_wins);
	tcase_add_test(tc, who_writes_elsewhere_is_not_disturbed);
	tcase_add_test(tc, writers_that_share_are_not_disturbed);
	tcase_add_test(tc, readers_keep_their_leases_and_are_told);
	tcase_add_test(tc, a_recut_sent_again_counts_once))
