/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions: exactly once, the recovery window, reclaim, what a power loss took, and orphans'
 * owners.
 */
#include "tests/ms_world.h"

#include "tests/check_main.h"

static struct world w;
static session_no a, b;

static void begin(void)
{
	world_init(&w);
	a = world_session(&w);
	b = world_session(&w);
}

static struct ms_request reclaim(session_no s, const struct ms_lease *leases, uint32_t count)
{
	return (struct ms_request){ .op = MSG_SESSION_RECLAIM, .session = s, .leases = leases,
				    .lease_count = count };
}

START_TEST(a_resent_mutation_takes_effect_once)
{
	struct ms_request make;
	const struct ms_reply *reply;
	uint64_t version;
	inode_no ino;

	begin();
	make = world_make(a, INODE_ROOT, "once", S_IFREG | 0644);
	make.slot_seq = 1;
	ino = world_do(&w, make)->attr.ino;
	reply = world_do(&w, make);
	ck_assert_int_eq(reply->rc, 0);
	ck_assert(reply->resent);
	ck_assert_uint_eq(reply->attr.ino, ino);
	version = reply->parent.version;
	w.seqs[0] = 1;
	ck_assert_int_eq(world_rc(&w, world_publish(a, ino, 1, "x")), 0);
	ck_assert_uint_eq(world_do(&w, world_getattr(a, INODE_ROOT))->attr.version, version);
	ck_assert_int_eq(world_rc(&w, make), -E_INVAL);		/* older than the slot's last */
	make.slot_seq = 0;
	make.slot = 1;
	w.sessions[0] = 0;					/* send it without a sequence */
	ck_assert_int_eq(world_rc(&w, make), -E_INVAL);
	world_finish(&w);
}
END_TEST

START_TEST(a_refusal_is_remembered_too)
{
	struct ms_request make;

	begin();
	world_made(&w, a, INODE_ROOT, "taken", S_IFREG | 0644);
	make = world_make(b, INODE_ROOT, "taken", S_IFREG | 0644);
	make.slot_seq = 1;
	ck_assert_int_eq(world_rc(&w, make), -E_EXIST);
	ck_assert_int_eq(world_rc(&w, world_unlink(a, INODE_ROOT, "taken", false)), 0);
	ck_assert_int_eq(world_rc(&w, make), -E_EXIST);		/* a late copy changes nothing */
	world_finish(&w);
}
END_TEST

START_TEST(a_result_survives_a_restart)
{
	struct ms_request make;
	inode_no ino;

	begin();
	make = world_make(a, INODE_ROOT, "f", S_IFREG | 0644);
	make.slot_seq = 1;
	ino = world_do(&w, make)->attr.ino;
	world_restart(&w);
	ck_assert_uint_eq(world_do(&w, make)->attr.ino, ino);	/* even before all are back */
	world_finish(&w);
}
END_TEST

START_TEST(a_create_that_was_answered_by_nobody_is_open_after_a_restart)
{
	struct ms_request make;
	inode_no ino;

	begin();
	make = world_make(a, INODE_ROOT, "f", S_IFREG | 0644);
	make.slot_seq = 1;
	make.open = true;
	ino = world_do(&w, make)->attr.ino;
	world_restart(&w);
	ck_assert_uint_eq(world_do(&w, make)->attr.ino, ino);
	ck_assert_uint_eq(world_do(&w, make)->attr.ino, ino);
	ck_assert_int_eq(world_rc(&w, reclaim(a, NULL, 0)), 0);
	ck_assert_int_eq(world_rc(&w, reclaim(b, NULL, 0)), 0);
	w.seqs[0] = 1;
	ck_assert_int_eq(world_rc(&w, world_unlink(a, INODE_ROOT, "f", false)), 0);
	ck_assert_int_eq(world_rc(&w, world_getattr(a, ino)), 0);
	ck_assert_int_eq(world_rc(&w, world_release(a, ino)), 0);
	ck_assert_int_eq(world_rc(&w, world_getattr(a, ino)), -E_STALE);
	world_finish(&w);
}
END_TEST

START_TEST(a_request_sent_again_while_it_waits_answers_the_newer_asker)
{
	struct ms_request unlink;
	uint64_t first;

	begin();
	world_made(&w, a, INODE_ROOT, "f", S_IFREG | 0644);
	unlink = world_unlink(b, INODE_ROOT, "f", false);
	unlink.slot_seq = 1;
	ck_assert_ptr_null(world_do(&w, unlink));
	first = w.token;
	struct ms_effect recalls[8];
	uint32_t count = 0;
	for (uint32_t i = 0; i < w.effect_count; i++)
		if (w.effects[i].kind == MS_FX_RECALL)
			recalls[count++] = w.effects[i];
	ck_assert_ptr_null(world_do(&w, unlink));
	ck_assert_ptr_nonnull(world_reply(&w, first));
	/* nobody reads it; it must not be kept for ever */
	ck_assert_int_eq(world_reply(&w, first)->rc, -E_CANCELED);
	for (uint32_t i = 0; i < count; i++)
		world_answer(&w, recalls[i], MS_LEASE_NONE);
	ck_assert_ptr_nonnull(world_reply(&w, w.token));
	ck_assert_ptr_null(world_reply(&w, first));
	world_finish(&w);
}
END_TEST

START_TEST(an_open_sent_again_finds_its_session)
{
	struct ms_request open = { .op = MSG_SESSION_OPEN, .new_session = 77, .uuid = { 9 } };
	const struct ms_reply *reply;

	begin();
	reply = world_do(&w, open);
	ck_assert_uint_eq(reply->session, 77);
	ck_assert(reply->wait_durable);
	open.new_session = 78;
	reply = world_do(&w, open);
	ck_assert_uint_eq(reply->session, 77);
	ck_assert(reply->wait_durable && reply->resent);	/* for what the first one wrote */
	open.uuid[0] = 10;
	open.old_session = 77;
	ck_assert_uint_eq(world_do(&w, open)->session, 78);
	ck_assert_int_eq(world_rc(&w, world_getattr(77, INODE_ROOT)), -E_NO_SESSION);
	world_finish(&w);
}
END_TEST

/* The answer to its open was lost with the server: it can have nothing to claim. */
START_TEST(an_open_sent_again_to_the_next_server_is_back_at_once)
{
	struct ms_request open = { .op = MSG_SESSION_OPEN, .new_session = 77, .uuid = { 9 } };
	struct ms_counts counts;

	begin();
	ck_assert_uint_eq(world_do(&w, open)->session, 77);
	world_restart(&w);
	ck_assert_int_eq(world_rc(&w, reclaim(a, NULL, 0)), 0);
	ck_assert_int_eq(world_rc(&w, reclaim(b, NULL, 0)), 0);
	ms_state_counts(w.state, &counts);
	ck_assert(counts.recovering);
	ck_assert_uint_eq(world_do(&w, open)->session, 77);
	ms_state_counts(w.state, &counts);
	ck_assert(!counts.recovering);
	world_finish(&w);
}
END_TEST

START_TEST(after_a_restart_new_operations_wait_until_all_are_back)
{
	struct ms_lease lease;
	uint64_t token;
	inode_no ino;

	begin();
	ino = world_made(&w, a, INODE_ROOT, "f", S_IFREG | 0644);
	lease = (struct ms_lease){ .ino = ino, .mode = MS_LEASE_WRITE };
	world_restart(&w);
	ck_assert_int_eq(world_rc(&w, reclaim(b, NULL, 0)), 0);
	ck_assert_ptr_null(world_do(&w, world_getattr(b, ino)));
	token = w.token;
	ck_assert_int_eq(world_rc(&w, reclaim(a, &lease, 1)), 0);
	/* it runs, and meets a's write lease */
	ck_assert_ptr_null(world_reply(&w, token));
	ck_assert_uint_eq(world_find(&w, MS_FX_RECALL)->session, a);
	world_answer(&w, *world_find(&w, MS_FX_RECALL), MS_LEASE_READ);
	ck_assert_int_eq(world_reply(&w, token)->rc, 0);
	world_finish(&w);
}
END_TEST

/* Only b came back, and goes on renewing: what it reads waits for a, and no longer than a lease. */
static void check_a_read_waits_until_a_is_fenced(void)
{
	uint64_t token;

	ck_assert_ptr_null(world_do(&w, world_getattr(b, INODE_ROOT)));
	token = w.token;
	world_tick(&w, WORLD_LEASE_MS - 1);
	ck_assert_int_eq(world_rc(&w, (struct ms_request){.op = MSG_SESSION_RENEW, .session = b}),
			 0);
	world_tick(&w, 1);
	ck_assert_uint_eq(world_find(&w, MS_FX_FENCED)->session, a);
	ck_assert_int_eq(world_reply(&w, token)->rc, 0);
}

START_TEST(who_does_not_come_back_is_fenced)
{
	struct ms_counts counts;

	begin();
	world_restart(&w);
	ck_assert_int_eq(world_rc(&w, reclaim(b, NULL, 0)), 0);
	check_a_read_waits_until_a_is_fenced();
	ms_state_counts(w.state, &counts);
	ck_assert_uint_eq(counts.sessions, 1);
	ck_assert(!counts.recovering);
	world_finish(&w);
}
END_TEST

/* What it did not hear while it slept, or before it began to listen, counts against nobody. */
START_TEST(a_server_that_slept_ends_no_session)
{
	struct ms_request renew = { .op = MSG_SESSION_RENEW };

	begin();
	renew.session = a;
	world_sleep(&w, 3600000);
	ck_assert_int_eq(world_rc(&w, renew), 0);
	world_tick(&w, WORLD_LEASE_MS);
	ck_assert_uint_eq(world_find(&w, MS_FX_FENCED)->session, a);
	world_restart(&w);
	world_sleep(&w, 2 * WORLD_LEASE_MS);	/* a start that takes long */
	ck_assert_ptr_null(world_find(&w, MS_FX_FENCED));
	world_finish(&w);
}
END_TEST

/* What came meanwhile is read before the first tick: its lease begins then, and is no longer. */
START_TEST(who_was_heard_before_the_tick_after_a_sleep_is_not_kept_for_as_long)
{
	struct ms_counts counts;

	begin();
	w.now_ms += 3600000;
	ck_assert_int_eq(world_rc(&w, (struct ms_request){.op = MSG_SESSION_RENEW, .session = a}),
			 0);
	world_sleep(&w, 0);
	world_tick(&w, WORLD_LEASE_MS - 1000);
	ms_state_counts(w.state, &counts);
	ck_assert_uint_eq(counts.sessions, 2);
	world_tick(&w, 1000);
	ms_state_counts(w.state, &counts);
	ck_assert_uint_eq(counts.sessions, 0);
	world_finish(&w);
}
END_TEST

/* However late each tick is: who is gone is gone some day. */
START_TEST(ticks_that_are_always_late_still_end_who_is_gone)
{
	uint32_t ticks = 0;

	begin();
	do
		world_sleep(&w, 2 * WORLD_TICK_MS_MAX);
	while (!world_find(&w, MS_FX_FENCED) && ++ticks < 200);
	ck_assert_uint_lt(ticks, 200);
	world_finish(&w);
}
END_TEST

/* Its disk has failed while sessions are still coming back: who reads must not wait for them. */
START_TEST(reads_go_on_without_who_does_not_come_back_though_nothing_can_be_recorded)
{
	uint32_t records;

	begin();
	world_restart(&w);
	ck_assert_int_eq(world_rc(&w, reclaim(b, NULL, 0)), 0);
	records = w.record_count;
	ms_state_freeze(w.state);
	check_a_read_waits_until_a_is_fenced();
	ck_assert_int_eq(world_rc(&w, world_make(b, INODE_ROOT, "f", S_IFREG | 0644)), -E_ROFS);
	ck_assert_uint_eq(w.record_count, records);
	world_finish(&w);
}
END_TEST

/* The same of who holds a lease that a reader needs, and is gone. */
START_TEST(reads_go_on_without_a_writer_who_is_gone_though_nothing_can_be_recorded)
{
	struct ms_request renew = { .op = MSG_SESSION_RENEW };
	uint64_t token;
	inode_no ino;

	begin();
	renew.session = b;
	ino = world_made(&w, a, INODE_ROOT, "f", S_IFREG | 0644);
	ck_assert_int_eq(world_rc(&w, world_open(a, ino, true)), 0);
	ms_state_freeze(w.state);
	ck_assert_ptr_null(world_do(&w, world_getattr(b, ino)));
	token = w.token;
	world_tick(&w, WORLD_LEASE_MS - 1);
	ck_assert_int_eq(world_rc(&w, renew), 0);
	world_tick(&w, 1);
	ck_assert_int_eq(world_reply(&w, token)->rc, 0);
	world_finish(&w);
}
END_TEST

/* The message they came in is gone when they run. */
START_TEST(access_times_that_wait_are_kept)
{
	int64_t *when = malloc(sizeof *when);
	struct ms_request req = { .op = MSG_ATIMES, .open_count = 1 };
	int64_t read_at;
	inode_no ino;

	begin();
	ino = world_made(&w, a, INODE_ROOT, "f", S_IFREG | 0644);
	world_restart(&w);
	ck_assert_int_eq(world_rc(&w, reclaim(b, NULL, 0)), 0);
	*when = read_at = (int64_t)w.wall_ns;
	req.session = b;
	req.opens = &ino;
	req.times = when;
	ck_assert_ptr_null(world_do(&w, req));
	*when = 0;
	free(when);
	ck_assert_int_eq(world_rc(&w, reclaim(a, NULL, 0)), 0);
	ck_assert_int_eq(world_do(&w, world_getattr(b, ino))->attr.atime_ns, read_at);
	world_finish(&w);
}
END_TEST

START_TEST(contradicting_claims_cost_the_later_claimant)
{
	struct ms_lease lease = { .ino = INODE_ROOT, .name_hash = 5, .mode = MS_LEASE_WRITE };

	begin();
	world_restart(&w);
	ck_assert_int_eq(world_rc(&w, reclaim(a, &lease, 1)), 0);
	ck_assert_int_eq(world_rc(&w, reclaim(b, &lease, 1)), -E_FENCED);
	ck_assert_uint_eq(world_find(&w, MS_FX_FENCED)->session, b);
	world_finish(&w);
}
END_TEST

START_TEST(what_was_lost_is_told_also_to_whom_the_session_was_lost)
{
	struct ms_request open = { .op = MSG_SESSION_OPEN, .new_session = 77, .uuid = { 9 } };

	begin();
	open.term = w.term;
	world_restart(&w);
	open.number = 1000;
	ck_assert_uint_gt(world_do(&w, open)->lost_from, 0);
	open.new_session = 78;
	open.uuid[0] = 10;
	open.number = 1;
	ck_assert_uint_eq(world_do(&w, open)->lost_from, 0);
	open.new_session = 79;
	open.uuid[0] = 11;
	open.term = open.number = 0;	/* a new client */
	ck_assert_uint_eq(world_do(&w, open)->lost_from, 0);
	world_finish(&w);
}
END_TEST

START_TEST(what_a_power_loss_took_is_told)
{
	struct ms_request renew = { .op = MSG_SESSION_RENEW };
	struct ms_request fsync = { .op = MSG_FSYNC };

	begin();
	world_restart(&w);
	renew.session = fsync.session = a;
	renew.term = fsync.term = w.term - 1;
	renew.number = fsync.number = 2;
	ck_assert_uint_eq(world_do(&w, renew)->lost_from, 0);
	ck_assert(!world_do(&w, fsync)->wait_durable);
	/* it was told of more than the new term began with */
	renew.number = fsync.number = 1000;
	ck_assert_uint_gt(world_do(&w, renew)->lost_from, 0);
	ck_assert_int_eq(world_rc(&w, fsync), -E_OTHER_TERM);
	fsync.term = w.term;
	ck_assert(world_do(&w, fsync)->wait_durable);
	world_finish(&w);
}
END_TEST

START_TEST(inode_numbers_are_not_used_again_after_a_restart)
{
	inode_no before;

	begin();
	before = world_made(&w, a, INODE_ROOT, "f", S_IFREG | 0644);
	world_restart(&w);
	world_tick(&w, WORLD_LEASE_MS);
	a = world_session(&w);
	ck_assert_uint_ge(world_made(&w, a, INODE_ROOT, "g", S_IFREG | 0644), before + (1u << 19));
	world_finish(&w);
}
END_TEST

START_TEST(an_unlinked_open_file_lives_until_its_last_close)
{
	struct ms_counts counts;
	inode_no ino;

	begin();
	ino = world_made(&w, a, INODE_ROOT, "f", S_IFREG | 0644);
	ck_assert_int_eq(world_rc(&w, world_publish(a, ino, 1, "kept")), 0);
	ck_assert_int_eq(world_rc(&w, world_open(a, ino, false)), 0);
	ck_assert_int_eq(world_rc(&w, world_open(a, ino, false)), 0);
	ck_assert_uint_eq(world_do(&w, world_unlink(a, INODE_ROOT, "f", false))->attr.nlink, 0);
	ck_assert_int_eq(world_rc(&w, world_release(a, ino)), 0);
	ck_assert_uint_eq(world_do(&w, world_getattr(a, ino))->attr.size, 4);
	ck_assert_int_eq(world_rc(&w, world_release(a, ino)), 0);
	ck_assert_int_eq(world_rc(&w, world_getattr(a, ino)), -E_STALE);
	ms_state_counts(w.state, &counts);
	ck_assert_uint_eq(counts.files, 0);
	ck_assert_uint_eq(counts.bytes_logical, 0);
	world_finish(&w);
}
END_TEST

START_TEST(orphans_survive_a_restart_if_they_are_reclaimed)
{
	struct ms_request back = { .op = MSG_SESSION_RECLAIM, .open_count = 1 };
	inode_no kept, dropped;

	begin();
	kept = world_made(&w, a, INODE_ROOT, "kept", S_IFREG | 0644);
	dropped = world_made(&w, a, INODE_ROOT, "dropped", S_IFREG | 0644);
	ck_assert_int_eq(world_rc(&w, world_open(a, kept, false)), 0);
	ck_assert_int_eq(world_rc(&w, world_open(a, dropped, false)), 0);
	ck_assert_int_eq(world_rc(&w, world_unlink(a, INODE_ROOT, "kept", false)), 0);
	ck_assert_int_eq(world_rc(&w, world_unlink(a, INODE_ROOT, "dropped", false)), 0);
	world_restart(&w);
	back.session = a;
	back.opens = &kept;
	ck_assert_int_eq(world_rc(&w, back), 0);
	ck_assert_int_eq(world_rc(&w, reclaim(b, NULL, 0)), 0);
	world_tick(&w, 1);
	ck_assert_int_eq(world_rc(&w, world_getattr(a, kept)), 0);
	ck_assert_int_eq(world_rc(&w, world_getattr(a, dropped)), -E_STALE);
	world_finish(&w);
}
END_TEST

START_TEST(orphans_of_a_fenced_session_are_freed)
{
	struct ms_counts counts;

	begin();
	for (uint32_t i = 0; i < 600; i++) {	/* more than one tick sees */
		char name[8];
		inode_no ino;

		snprintf(name, sizeof name, "f%u", i);
		ino = world_made(&w, a, INODE_ROOT, name, S_IFREG | 0644);
		ck_assert_int_eq(world_rc(&w, world_open(a, ino, true)), 0);
		ck_assert_int_eq(world_rc(&w, world_unlink(a, INODE_ROOT, name, false)), 0);
	}
	ms_state_counts(w.state, &counts);
	ck_assert_uint_eq(counts.files, 600);
	ck_assert_int_eq(world_rc(&w, (struct ms_request){.op = MSG_SESSION_CLOSE, .session = a}),
			 0);
	do
		world_tick(&w, 1);
	while (world_find(&w, MS_FX_TICK));
	ms_state_counts(w.state, &counts);
	ck_assert_uint_eq(counts.files, 0);
	world_finish(&w);
}
END_TEST

TEST_MAIN("session",
	tcase_add_test(tc, a_resent_mutation_takes_effect_once);
	tcase_add_test(tc, a_refusal_is_remembered_too);
	tcase_add_test(tc, a_result_survives_a_restart);
	tcase_add_test(tc, a_create_that_was_answered_by_nobody_is_open_after_a_restart);
	tcase_add_test(tc, a_request_sent_again_while_it_waits_answers_the_newer_asker);
	tcase_add_test(tc, an_open_sent_again_finds_its_session);
	tcase_add_test(tc, an_open_sent_again_to_the_next_server_is_back_at_once);
	tcase_add_test(tc, after_a_restart_new_operations_wait_until_all_are_back);
	tcase_add_test(tc, who_does_not_come_back_is_fenced);
	tcase_add_test(tc, a_server_that_slept_ends_no_session);
	tcase_add_test(tc, who_was_heard_before_the_tick_after_a_sleep_is_not_kept_for_as_long);
	tcase_add_test(tc, ticks_that_are_always_late_still_end_who_is_gone);
	tcase_add_test(tc,
		       reads_go_on_without_who_does_not_come_back_though_nothing_can_be_recorded);
	tcase_add_test(tc,
		       reads_go_on_without_a_writer_who_is_gone_though_nothing_can_be_recorded);
	tcase_add_test(tc, contradicting_claims_cost_the_later_claimant);
	  tcase_add_test(tc, access_times_that_wait_are_kept);
	tcase_add_test(tc, what_was_lost_is_told_also_to_whom_the_session_was_lost);
	tcase_add_test(tc, what_a_power_loss_took_is_told);
	tcase_add_test(tc, inode_numbers_are_not_used_again_after_a_restart);
	tcase_add_test(tc, an_unlinked_open_file_lives_until_its_last_close);
	tcase_add_test(tc, orphans_survive_a_restart_if_they_are_reclaimed);
	tcase_add_test(tc, orphans_of_a_fenced_session_are_freed))
