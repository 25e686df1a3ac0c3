/* SPDX-License-Identifier: Apache-2.0 */
/* Leases: who may have what beside whom, what a conflict waits for, and what ends the wait. */
#include "tests/ms_world.h"

#include "tests/check_main.h"

static struct world w;
static session_no a, b, c;
static inode_no file;

static void begin(void)
{
	world_init(&w);
	a = world_session(&w);
	b = world_session(&w);
	c = world_session(&w);
	file = world_made(&w, a, INODE_ROOT, "file", S_IFREG | 0644);
}

static struct ms_lease recalled(void)
{
	const struct ms_effect *fx = world_find(&w, MS_FX_RECALL);

	ck_assert_ptr_nonnull(fx);
	return fx->leases[0];
}

START_TEST(readers_share)
{
	begin();
	ck_assert_int_eq(world_lease(world_do(&w, world_getattr(a, file)), file, false),
			 MS_LEASE_READ);
	ck_assert_int_eq(world_lease(world_do(&w, world_getattr(b, file)), file, false),
			 MS_LEASE_READ);
	ck_assert_ptr_null(world_find(&w, MS_FX_RECALL));
	world_finish(&w);
}
END_TEST

/* The only entry of the root. */
static struct ms_dir_entry listed(session_no session, bool unleased)
{
	struct ms_request list = { .op = MSG_READDIR, .session = session, .ino = INODE_ROOT,
				   .attributes = true, .unleased = unleased };
	const struct ms_reply *reply = world_do(&w, list);

	ck_assert_ptr_nonnull(reply);
	ck_assert_int_eq(reply->rc, 0);
	ck_assert_uint_eq(reply->entry_count, 1);
	return reply->entries[0];
}

START_TEST(who_lists_without_leases_is_in_nobodys_way)
{
	struct ms_dir_entry entry;
	struct ms_request open;

	begin();
	entry = listed(b, true);
	ck_assert_uint_eq(entry.attr.ino, file);
	ck_assert_int_eq(entry.lease.mode, MS_LEASE_NONE);
	ck_assert_int_eq(entry.name_lease.mode, MS_LEASE_NONE);
	open = world_open(a, file, true);
	ck_assert_int_eq(world_lease(world_do(&w, open), file, false), MS_LEASE_WRITE);
	ck_assert_ptr_null(world_find(&w, MS_FX_RECALL));
	/* What is being written tells who asks for it. */
	ck_assert_uint_eq(listed(b, true).attr.ino, 0);
	/* The other kind of list does hold something. */
	entry = listed(a, false);
	ck_assert_uint_eq(entry.attr.ino, file);
	ck_assert_int_eq(entry.name_lease.mode, MS_LEASE_READ);
	world_finish(&w);
}
END_TEST

START_TEST(a_writer_alone_gets_the_write_lease_after_readers_gave_back)
{
	struct ms_request open = world_open(b, file, true);
	const struct ms_reply *reply;

	begin();
	open.session = b;
	open.ino = file;
	/* a has a read lease since it made the file */
	ck_assert_ptr_null(world_do(&w, open));
	ck_assert_uint_eq(world_find(&w, MS_FX_RECALL)->session, a);
	ck_assert_int_eq(recalled().mode, MS_LEASE_NONE);
	world_answer(&w, *world_find(&w, MS_FX_RECALL), MS_LEASE_NONE);
	reply = world_reply(&w, w.token);
	ck_assert_ptr_nonnull(reply);
	ck_assert_int_eq(world_lease(reply, file, false), MS_LEASE_WRITE);
	world_finish(&w);
}
END_TEST

START_TEST(appenders_take_turns_while_both_have_it_open)
{
	struct ms_request turn;
	const struct ms_reply *reply;

	begin();
	ck_assert_int_eq(world_rc(&w, world_open(a, file, true)), 0);
	ck_assert_ptr_null(world_do(&w, world_open(b, file, true)));
	world_answer(&w, *world_find(&w, MS_FX_RECALL), MS_LEASE_NONE);
	ck_assert_int_ne(world_lease(world_reply(&w, w.token), file, false), MS_LEASE_WRITE);
	turn = world_getattr(a, file);
	turn.write = true;
	ck_assert_ptr_null(world_do(&w, turn));		/* b reads it under a lease */
	world_answer(&w, *world_find(&w, MS_FX_RECALL), MS_LEASE_NONE);
	ck_assert_int_eq(world_lease(world_reply(&w, w.token), file, false), MS_LEASE_WRITE);
	turn.session = b;
	ck_assert_ptr_null(world_do(&w, turn));
	ck_assert_uint_eq(world_find(&w, MS_FX_RECALL)->session, a);
	world_answer(&w, *world_find(&w, MS_FX_RECALL), MS_LEASE_NONE);
	reply = world_reply(&w, w.token);
	ck_assert_int_eq(world_lease(reply, file, false), MS_LEASE_WRITE);
	turn.ino = INODE_ROOT;
	ck_assert_int_eq(world_rc(&w, turn), -E_INVAL);
	world_finish(&w);
}
END_TEST

START_TEST(getattr_asks_the_writer_to_publish_first)
{
	const struct ms_reply *reply;
	struct ms_effect recall;
	uint64_t token;

	begin();
	ck_assert_int_eq(world_lease(world_do(&w, world_open(a, file, true)), file, false),
			 MS_LEASE_WRITE);
	ck_assert_ptr_null(world_do(&w, world_getattr(b, file)));
	token = w.token;
	recall = *world_find(&w, MS_FX_RECALL);
	ck_assert_int_eq(recall.leases[0].mode, MS_LEASE_READ);
	/* I14: the publish that the recall asks for is not stopped by that recall. */
	ck_assert_int_eq(world_rc(&w, world_publish(a, file, 1, "dirty")), 0);
	world_answer(&w, recall, MS_LEASE_READ);
	reply = world_reply(&w, token);
	ck_assert_ptr_nonnull(reply);
	ck_assert_uint_eq(reply->attr.size, 5);
	ck_assert_int_eq(world_lease(reply, file, false), MS_LEASE_READ);
	world_finish(&w);
}
END_TEST

START_TEST(while_a_recall_is_pending_nobody_gets_a_new_lease)
{
	struct ms_request chmod = { .op = MSG_SETATTR, .mask = MS_SET_MODE, .mode = 0600 };
	const struct ms_reply *reply;

	begin();
	chmod.session = b;
	chmod.ino = file;
	ck_assert_ptr_null(world_do(&w, chmod));
	reply = world_do(&w, world_getattr(c, file));
	ck_assert_int_eq(reply->rc, 0);
	ck_assert_int_eq(world_lease(reply, file, false), MS_LEASE_NONE);
	world_finish(&w);
}
END_TEST

START_TEST(a_change_in_a_directory_recalls_its_attributes_and_the_name)
{
	uint32_t recalls = 0;

	begin();
	world_do(&w, world_getattr(a, INODE_ROOT));
	ck_assert_int_eq(world_rc(&w, world_lookup(a, INODE_ROOT, "new")), -E_NOENT);
	ck_assert_ptr_null(world_do(&w, world_make(b, INODE_ROOT, "new", S_IFREG | 0644)));
	for (uint32_t i = 0; i < w.effect_count; i++)
		recalls += w.effects[i].kind == MS_FX_RECALL &&
			   w.effects[i].leases[0].ino == INODE_ROOT;
	ck_assert_uint_eq(recalls, 2);
	world_answer_all(&w);
	ck_assert_ptr_nonnull(world_reply(&w, w.token));
	/* An own lease is never in the way. */
	world_do(&w, world_getattr(b, INODE_ROOT));
	ck_assert_int_eq(world_rc(&w, world_make(b, INODE_ROOT, "newer", S_IFREG | 0644)), 0);
	world_finish(&w);
}
END_TEST

START_TEST(writers_share_without_a_lease_and_publishes_recall_readers)
{
	const struct ms_reply *reply;

	begin();
	ck_assert_int_eq(world_rc(&w, world_open(b, file, false)), 0);
	ck_assert_ptr_null(world_do(&w, world_open(a, file, true)));
	world_answer_all(&w);
	reply = world_reply(&w, w.token);
	ck_assert_int_eq(reply->rc, 0);
	ck_assert_int_ne(world_lease(reply, file, false), MS_LEASE_WRITE);
	world_do(&w, world_getattr(b, file));
	ck_assert_ptr_null(world_do(&w, world_publish(a, file, 1, "one")));
	ck_assert_uint_eq(world_find(&w, MS_FX_RECALL)->session, b);
	world_answer_all(&w);
	ck_assert_int_eq(world_reply(&w, w.token)->rc, 0);
	world_finish(&w);
}
END_TEST

START_TEST(who_gives_an_open_back_when_asked_leaves_a_writer_alone)
{
	struct ms_request release;
	inode_no twice[2] = { 0, 0 };

	begin();
	twice[0] = twice[1] = file;
	ck_assert_int_eq(world_rc(&w, world_open(b, file, false)), 0);
	ck_assert_int_eq(world_rc(&w, world_open(b, file, false)), 0);
	ck_assert_ptr_null(world_do(&w, world_open(a, file, true)));
	ck_assert_int_eq(recalled().mode, MS_LEASE_NONE);
	struct ms_effect recall = *world_find(&w, MS_FX_RECALL);
	uint64_t open = w.token;
	release = world_release(b, 0);
	release.opens = twice;
	release.open_count = 2;
	ck_assert_int_eq(world_rc(&w, release), 0);
	world_answer(&w, recall, MS_LEASE_NONE);
	ck_assert_int_eq(world_lease(world_reply(&w, open), file, false), MS_LEASE_WRITE);
	world_finish(&w);
}
END_TEST

START_TEST(an_old_answer_does_not_take_a_newer_lease)
{
	struct ms_request chmod = { .op = MSG_SETATTR, .mask = MS_SET_MODE, .mode = 0600 };
	struct ms_request give_back = { .op = MSG_LEASE_RETURN, .lease_count = 1 };
	struct ms_lease lease;
	struct ms_effect recall;
	struct ms_counts counts;

	begin();
	chmod.session = b;
	chmod.ino = file;
	ck_assert_ptr_null(world_do(&w, chmod));
	recall = *world_find(&w, MS_FX_RECALL);
	lease = (struct ms_lease){ .ino = file };
	give_back.session = a;
	give_back.leases = &lease;
	ck_assert_int_eq(world_rc(&w, give_back), 0);	/* crossed the recall; the chmod runs */
	ck_assert_int_eq(world_rc(&w, (struct ms_request){.op = MSG_SESSION_CLOSE, .session = b}),
			 0);
	ck_assert_int_eq(world_lease(world_do(&w, world_getattr(a, file)), file, false),
			 MS_LEASE_READ);
	ms_state_counts(w.state, &counts);
	world_answer(&w, recall, MS_LEASE_NONE);
	ck_assert_ptr_null(world_do(&w, (struct ms_request){.op = MSG_SETATTR,
							    .session = c,
							    .ino = file,
							    .mask = MS_SET_MODE,
							    .mode = 0640}));
	world_finish(&w);
}
END_TEST

START_TEST(a_vanished_holder_delays_others_by_one_lease)
{
	struct ms_request renew = { .op = MSG_SESSION_RENEW };

	begin();
	ck_assert_ptr_null(world_do(&w, world_unlink(b, INODE_ROOT, "file", false)));
	renew.session = b;
	for (uint32_t i = 0; i < 4; i++) {
		world_tick(&w, WORLD_LEASE_MS / 4 - 1);
		ck_assert_ptr_null(world_find(&w, MS_FX_FENCED));
		w.effect_count = 0;
		world_step(&w,
			   &(struct ms_event){.kind = MS_EV_REQUEST, .token = 9999, .req = renew});
	}
	world_tick(&w, 10);
	ck_assert_ptr_nonnull(world_find(&w, MS_FX_FENCED));
	ck_assert_ptr_nonnull(world_reply(&w, w.token));
	ck_assert_int_eq(world_rc(&w, world_getattr(a, INODE_ROOT)), -E_NO_SESSION);
	world_finish(&w);
}
END_TEST

START_TEST(a_recall_is_repeated_and_in_the_end_costs_the_session)
{
	bool fenced = false;
	uint32_t repeats = 0;

	begin();
	ck_assert_ptr_null(world_do(&w, world_unlink(b, INODE_ROOT, "file", false)));
	for (uint32_t i = 0; i < 100 && !fenced; i++) {
		world_tick(&w, 1000);
		repeats += world_find(&w, MS_FX_RECALL) != NULL;
		fenced = world_find(&w, MS_FX_FENCED) != NULL;
		for (uint32_t s = 0; s < 3 && !fenced; s++)
			world_step(&w, &(struct ms_event){ .kind = MS_EV_REQUEST, .token = 9999,
				.req = { .op = MSG_SESSION_RENEW, .session = w.sessions[s] } });
	}
	ck_assert(fenced);
	ck_assert_uint_ge(repeats, 10);
	ck_assert_ptr_nonnull(world_reply(&w, w.token));
	world_finish(&w);
}
END_TEST

START_TEST(beyond_its_share_a_session_gets_no_lease)
{
	begin();
	w.config.leases_max_per_session = 3;
	world_restart(&w);
	world_tick(&w, WORLD_LEASE_MS);
	a = world_session(&w);
	for (uint32_t i = 0; i < 3; i++) {
		char name[8] = { (char)('a' + i) };

		ck_assert_int_eq(world_rc(&w, world_lookup(a, INODE_ROOT, name)), -E_NOENT);
	}
	ck_assert_int_eq(world_lease(world_do(&w, world_getattr(a, file)), file, false),
			 MS_LEASE_NONE);
	world_finish(&w);
}
END_TEST

START_TEST(parked_requests_are_bounded)
{
	begin();
	for (uint32_t i = 0; i < w.config.parked_max; i++)
		ck_assert_ptr_null(world_do(&w, (struct ms_request){ .op = MSG_OPEN, .session = b,
								     .ino = file, .write = true }));
	ck_assert_int_eq(world_rc(&w, world_open(c, file, true)), -E_OVERLOADED);
	world_finish(&w);
}
END_TEST

TEST_MAIN("lease",
	tcase_add_test(tc, readers_share);
	tcase_add_test(tc, who_lists_without_leases_is_in_nobodys_way);
	tcase_add_test(tc, a_writer_alone_gets_the_write_lease_after_readers_gave_back);
	tcase_add_test(tc, appenders_take_turns_while_both_have_it_open);
	tcase_add_test(tc, getattr_asks_the_writer_to_publish_first);
	tcase_add_test(tc, while_a_recall_is_pending_nobody_gets_a_new_lease);
	tcase_add_test(tc, a_change_in_a_directory_recalls_its_attributes_and_the_name);
	tcase_add_test(tc, writers_share_without_a_lease_and_publishes_recall_readers);
	tcase_add_test(tc, who_gives_an_open_back_when_asked_leaves_a_writer_alone);
	  tcase_add_test(tc, an_old_answer_does_not_take_a_newer_lease);
	tcase_add_test(tc, a_vanished_holder_delays_others_by_one_lease);
	tcase_add_test(tc, a_recall_is_repeated_and_in_the_end_costs_the_session);
	tcase_add_test(tc, beyond_its_share_a_session_gets_no_lease);
	tcase_add_test(tc, parked_requests_are_bounded))
