/* SPDX-License-Identifier: Apache-2.0 */
/* Chunk servers and the map: joining, silence, placement with former holders, space. */
#include "tests/ms_world.h"

#include "tests/check_main.h"

static struct world w;

static struct ms_request join(uint8_t id)
{
	static const char *const hosts[] = { "h0", "h1", "h2", "h3", "h4", "h5" };
	struct ms_request req = { .op = MSG_JOIN, .address = "127.0.0.1:7001", .host = hosts[id],
				  .rack = "r", .disks = 1, .bytes_total = GiB(100), .boot_id = 1 };

	req.uuid[0] = id;
	return req;
}

static struct ms_request heartbeat(server_no server, uint64_t blocks)
{
	uint64_t version = map_version(ms_state_map(w.state));

	return (struct ms_request){ .op = MSG_HEARTBEAT, .server = server, .boot_id = 1,
				    .blocks = blocks, .disks = 1, .bytes_free = GiB(50),
				    .bytes_total = GiB(100),
				    .map_version = version };
}

static struct ms_counts counts(void)
{
	struct ms_counts c;

	ms_state_counts(w.state, &c);
	return c;
}

static void begin_with(uint8_t servers)
{
	world_init(&w);
	for (uint8_t i = 1; i <= servers; i++) {
		ck_assert_uint_eq(world_do(&w, join(i))->server, i);
		ck_assert_int_eq(world_rc(&w, heartbeat(i, 0)), 0);
	}
	for (uint32_t i = 0; i < PG_COUNT / 1024; i++)
		world_tick(&w, 1);
}

START_TEST(three_servers_make_a_clean_map)
{
	begin_with(3);
	ck_assert_uint_eq(counts().pgs_clean, PG_COUNT);
	for (uint32_t pg = 0; pg < PG_COUNT; pg++) {
		const struct pg_row *row = map_pg(ms_state_map(w.state), (pg_no)pg);

		ck_assert_uint_eq(row->replica_count, 3);
		ck_assert_uint_eq(row->former_count, 0);
		ck_assert_uint_eq(row->epoch, 1);
	}
	world_finish(&w);
}
END_TEST

START_TEST(a_server_that_comes_again_keeps_its_number)
{
	struct ms_request again = join(2);
	uint64_t version;

	begin_with(3);
	version = map_version(ms_state_map(w.state));
	ck_assert_uint_eq(world_do(&w, join(2))->server, 2);
	ck_assert_uint_eq(map_version(ms_state_map(w.state)), version);
	again.boot_id = 9;
	ck_assert_uint_eq(world_do(&w, again)->server, 2);
	ck_assert_uint_gt(map_version(ms_state_map(w.state)), version);
	ck_assert_int_eq(world_rc(&w, heartbeat(2, 0)), -E_NOENT);	/* of its former life */
	world_finish(&w);
}
END_TEST

START_TEST(fewer_servers_than_copies_make_a_degraded_map_in_the_end)
{
	begin_with(2);
	/* a third may be on its way */
	ck_assert_uint_eq(map_pg(ms_state_map(w.state), 0)->epoch, 0);
	for (uint32_t i = 0; i < 40; i++) {
		world_tick(&w, 100);
		ck_assert_int_eq(world_rc(&w, heartbeat(1, 0)), 0);
		ck_assert_int_eq(world_rc(&w, heartbeat(2, 0)), 0);
	}
	ck_assert_uint_eq(counts().pgs_degraded, PG_COUNT);
	ck_assert_uint_eq(map_pg(ms_state_map(w.state), 0)->replica_count, 2);
	ck_assert_uint_eq(world_do(&w, join(3))->server, 3);
	ck_assert_int_eq(world_rc(&w, heartbeat(3, 0)), 0);
	for (uint32_t i = 0; i < 8; i++)
		world_tick(&w, 1);
	ck_assert_uint_eq(counts().pgs_clean, PG_COUNT);	/* nobody holds data yet */
	ck_assert_uint_eq(map_pg(ms_state_map(w.state), 0)->epoch, 2);
	world_finish(&w);
}
END_TEST

START_TEST(who_leaves_a_row_with_data_becomes_a_former_holder)
{
	uint32_t moved = 0;

	begin_with(3);
	ck_assert_int_eq(world_rc(&w, heartbeat(1, 1000)), 0);
	ck_assert_uint_eq(world_do(&w, join(4))->server, 4);
	ck_assert_int_eq(world_rc(&w, heartbeat(4, 0)), 0);
	for (uint32_t i = 0; i < 8; i++)
		world_tick(&w, 1);
	for (uint32_t pg = 0; pg < PG_COUNT; pg++) {
		const struct pg_row *row = map_pg(ms_state_map(w.state), (pg_no)pg);

		if (!pg_row_has(row, 4))
			continue;
		moved++;
		ck_assert_uint_eq(row->former_count, 1);
		ck_assert_uint_eq(row->epoch, 2);
		ck_assert_int_eq(row->state, PG_DEGRADED);
	}
	ck_assert_uint_gt(moved, PG_COUNT / 2);
	ck_assert_uint_lt(moved, PG_COUNT);
	ck_assert_uint_eq(counts().pgs_degraded, moved);
	world_finish(&w);
}
END_TEST

static enum server_state state_of(server_no server)
{
	return map_server(ms_state_map(w.state), server)->state;
}

static void pass(uint64_t ms, server_no silent)
{
	for (uint64_t at = 0; at < ms; at += 500) {
		world_tick(&w, 500);
		for (server_no s = 1; s <= 3; s++)
			if (s != silent)
				ck_assert_int_eq(world_rc(&w, heartbeat(s, 1)), 0);
	}
}

START_TEST(silence_is_suspect_then_down_then_out)
{
	begin_with(3);
	pass(3500, 2);
	ck_assert_int_eq(state_of(2), SERVER_SUSPECT);
	pass(3000, 2);
	ck_assert_int_eq(state_of(2), SERVER_DOWN);
	ck_assert_uint_eq(counts().pgs_degraded, PG_COUNT);
	ck_assert_int_eq(world_rc(&w, heartbeat(2, 1)), 0);
	ck_assert_int_eq(state_of(2), SERVER_UP);
	pass(500, 0);
	ck_assert_uint_eq(counts().pgs_clean, PG_COUNT);
	pass(21000, 2);
	ck_assert_int_eq(state_of(2), SERVER_OUT);
	ck_assert_uint_eq(map_pg(ms_state_map(w.state), 7)->replica_count, 2);
	ck_assert_uint_eq(map_pg(ms_state_map(w.state), 7)->formers[0], 2);
	world_finish(&w);
}
END_TEST

START_TEST(owed_blocks_degrade_their_group)
{
	struct ms_request req;
	uint32_t owed[] = { 17, 4000 };

	begin_with(3);
	req = heartbeat(1, 5);
	req.owed_pgs = owed;
	req.owed_pg_count = 2;
	ck_assert_int_eq(world_rc(&w, req), 0);
	ck_assert_uint_eq(counts().pgs_degraded, 2);
	ck_assert_int_eq(world_rc(&w, heartbeat(1, 5)), 0);
	ck_assert_uint_eq(counts().pgs_degraded, 0);
	world_finish(&w);
}
END_TEST

/* Heartbeats on their way when it came back may be older than puts that it missed. */
START_TEST(a_server_that_is_back_is_owed_nothing_once_all_others_said_so)
{
	struct ms_request before;
	uint32_t owed[] = { 17 };

	begin_with(3);
	pass(3500, 2);
	ck_assert_int_eq(state_of(2), SERVER_SUSPECT);
	before = heartbeat(1, 5);
	ck_assert_int_eq(world_rc(&w, heartbeat(2, 5)), 0);
	ck_assert_int_eq(state_of(2), SERVER_UP);
	ck_assert_uint_eq(counts().pgs_degraded, PG_COUNT);
	ck_assert_int_eq(world_rc(&w, heartbeat(2, 5)), 0);
	ck_assert_int_eq(world_rc(&w, heartbeat(3, 5)), 0);
	ck_assert_int_eq(world_rc(&w, before), 0);
	ck_assert_uint_eq(counts().pgs_degraded, PG_COUNT);
	before = heartbeat(1, 5);
	before.owed_pgs = owed;
	before.owed_pg_count = 1;
	ck_assert_int_eq(world_rc(&w, before), 0);
	ck_assert_uint_eq(counts().pgs_degraded, 1);
	ck_assert_int_eq(world_rc(&w, heartbeat(1, 5)), 0);
	ck_assert_uint_eq(counts().pgs_degraded, 0);
	world_finish(&w);
}
END_TEST

START_TEST(a_server_that_was_started_again_is_owed_nothing_once_all_said_so)
{
	struct ms_request again = join(2), beat;

	begin_with(3);
	again.boot_id = 9;
	ck_assert_uint_eq(world_do(&w, again)->server, 2);
	ck_assert_uint_eq(counts().pgs_degraded, PG_COUNT);
	beat = heartbeat(2, 5);
	beat.boot_id = 9;
	ck_assert_int_eq(world_rc(&w, beat), 0);
	ck_assert_int_eq(world_rc(&w, heartbeat(1, 5)), 0);
	ck_assert_uint_eq(counts().pgs_degraded, PG_COUNT);
	ck_assert_int_eq(world_rc(&w, heartbeat(3, 5)), 0);
	ck_assert_uint_eq(counts().pgs_degraded, 0);
	world_finish(&w);
}
END_TEST

START_TEST(the_map_survives_a_restart)
{
	uint64_t version;

	begin_with(3);
	version = map_version(ms_state_map(w.state));
	world_restart(&w);
	ck_assert_uint_eq(map_version(ms_state_map(w.state)), version);
	ck_assert_uint_eq(map_server_count(ms_state_map(w.state)), 3);
	for (server_no n = 1; n <= 3; n++)
		ck_assert_int_eq(world_rc(&w, heartbeat(n, 0)), 0);
	ck_assert_uint_eq(counts().pgs_clean, PG_COUNT);
	for (uint32_t i = 0; i < 8; i++)
		world_tick(&w, 1);
	ck_assert_uint_eq(map_version(ms_state_map(w.state)), version);	/* nothing to change */
	world_finish(&w);
}
END_TEST

static uint64_t renew(session_no session, uint64_t used, uint64_t wanted)
{
	struct ms_request req = { .op = MSG_SESSION_RENEW, .session = session, .credit_used = used,
				  .credit_wanted = wanted };

	return world_do(&w, req)->credit_bytes;
}

START_TEST(credit_is_what_servers_have_free)
{
	const struct ms_reply *reply;
	session_no s, other;

	begin_with(3);
	s = world_session(&w);
	ck_assert_uint_gt(renew(s, 0, GiB(1000)), GiB(130));
	ck_assert_uint_lt(renew(s, 0, GiB(1000)), GiB(136));	/* 90 % of 150 GiB */
	other = world_session(&w);
	ck_assert_uint_lt(renew(other, 0, GiB(1000)), GiB(1));	/* all is given away */
	ck_assert_uint_eq(renew(s, 0, GiB(10)), GiB(10));
	ck_assert_uint_gt(renew(other, 0, GiB(1000)), GiB(120));
	reply = world_do(&w, (struct ms_request){ .op = MSG_STATFS });
	ck_assert_uint_eq(reply->bytes_free, GiB(50));
	ck_assert_uint_eq(reply->bytes_total, GiB(100));
	world_finish(&w);
}
END_TEST

START_TEST(credit_ends_with_the_fullest_server_and_shrinks_with_it)
{
	struct ms_request beat;
	session_no s;

	begin_with(3);
	beat = heartbeat(2, 0);
	s = world_session(&w);
	(void)renew(s, 0, GiB(1000));
	beat.bytes_free = GiB(10);
	ck_assert_int_eq(world_rc(&w, beat), 0);
	ck_assert_uint_gt(renew(s, 0, GiB(1000)), GiB(26));
	ck_assert_uint_le(renew(s, 0, GiB(1000)), GiB(27));	/* 3 copies of 90 % of 10 GiB */
	ck_assert_uint_eq(world_do(&w, (struct ms_request){.op = MSG_STATFS})->bytes_free, GiB(10));
	beat.bytes_free = 0;
	ck_assert_int_eq(world_rc(&w, beat), 0);
	/* what is charged is not taken back */
	ck_assert_uint_eq(renew(s, GiB(5), GiB(1000)), GiB(5));
	ck_assert_uint_eq(renew(s, 0, GiB(1000)), 0);
	world_finish(&w);
}
END_TEST

static bool space_is_unknown(session_no s)
{
	return world_do(&w, (struct ms_request){.op = MSG_SESSION_RENEW,
						.session = s,
						.credit_wanted = GiB(1)})
		->space_unknown;
}

START_TEST(what_fits_is_not_known_while_too_few_servers_tell)
{
	struct ms_request beat;
	session_no s;

	begin_with(3);
	s = world_session(&w);
	ck_assert(!space_is_unknown(s));
	beat = heartbeat(1, 0);
	beat.disks = 0;						/* its only disk failed */
	beat.bytes_free = beat.bytes_total = 0;
	ck_assert_int_eq(world_rc(&w, beat), 0);
	ck_assert(!space_is_unknown(s));			/* two are enough, and they tell */
	ck_assert_uint_gt(renew(s, 0, GiB(1)), 0);
	beat.server = 2;
	ck_assert_int_eq(world_rc(&w, beat), 0);
	ck_assert(space_is_unknown(s));
	ck_assert_int_eq(world_rc(&w, heartbeat(2, 0)), 0);
	ck_assert(!space_is_unknown(s));
	beat = heartbeat(1, 0);
	/* one that is dying is silent, not full */
	beat.bytes_free = beat.bytes_total = 0;
	ck_assert_int_eq(world_rc(&w, beat), 0);
	ck_assert_uint_gt(renew(s, 0, GiB(1)), 0);
	beat = heartbeat(2, 0);
	beat.bytes_free = 0;					/* full is known */
	ck_assert_int_eq(world_rc(&w, beat), 0);
	ck_assert(!space_is_unknown(s));
	ck_assert_uint_eq(renew(s, 0, GiB(1)), 0);
	world_finish(&w);
}
END_TEST

START_TEST(scarce_space_is_divided_fairly)
{
	session_no s[3];
	uint64_t sum = 0;

	begin_with(3);
	for (uint32_t i = 0; i < 3; i++)
		s[i] = world_session(&w);
	for (uint32_t round = 0; round < 2; round++)
		for (uint32_t i = 0; i < 3; i++)
			(void)renew(s[i], 0, i == 2 ? GiB(3) : GiB(1000));
	for (uint32_t i = 0; i < 3; i++) {
		uint64_t got = renew(s[i], 0, i == 2 ? GiB(3) : GiB(1000));

		sum += got;
		if (i == 2) {
			ck_assert_uint_eq(got, GiB(3));		/* little is never refused */
		} else {
			ck_assert_uint_gt(got, GiB(65));
			ck_assert_uint_lt(got, GiB(67));	/* half of the rest */
		}
	}
	ck_assert_uint_le(sum, GiB(135));
	world_finish(&w);
}
END_TEST

START_TEST(what_was_published_since_a_heartbeat_is_not_granted_again)
{
	struct ms_request publish;
	session_no s;

	begin_with(3);
	s = world_session(&w);
	(void)renew(s, 0, GiB(1000));
	publish = world_publish(s, world_made(&w, s, INODE_ROOT, "f", S_IFREG | 0600), 1, "");
	publish.root = (struct root){ .kind = ROOT_BLOCK, .length = 1000,
				      .id = { .bytes = { 1 } } };
	publish.new_bytes = GiB(90);
	ck_assert_int_eq(world_rc(&w, publish), 0);
	ck_assert_uint_lt(renew(s, 0, GiB(1000)), GiB(55));	/* 90 % of 3 x 20 GiB */
	for (server_no i = 1; i <= 3; i++)
		/* they say what is free now */
		ck_assert_int_eq(world_rc(&w, heartbeat(i, 0)), 0);
	ck_assert_uint_gt(renew(s, 0, GiB(1000)), GiB(130));
	world_finish(&w);
}
END_TEST

START_TEST(a_drained_server_loses_its_share)
{
	struct ms_request set = { .op = MSG_SERVER_SET, .server = 3, .state = SERVER_DRAINED };

	begin_with(3);
	ck_assert_int_eq(world_rc(&w, set), 0);
	for (uint32_t i = 0; i < 8; i++)
		world_tick(&w, 1);
	ck_assert(!pg_row_has(map_pg(ms_state_map(w.state), 0), 3));
	set.server = 99;
	ck_assert_int_eq(world_rc(&w, set), -E_NOENT);
	set.state = 0;
	ck_assert_int_eq(world_rc(&w, set), -E_INVAL);
	world_finish(&w);
}
END_TEST

TEST_MAIN("membership",
	tcase_add_test(tc, three_servers_make_a_clean_map);
	tcase_add_test(tc, a_server_that_comes_again_keeps_its_number);
	tcase_add_test(tc, fewer_servers_than_copies_make_a_degraded_map_in_the_end);
	tcase_add_test(tc, who_leaves_a_row_with_data_becomes_a_former_holder);
	tcase_add_test(tc, silence_is_suspect_then_down_then_out);
	tcase_add_test(tc, owed_blocks_degrade_their_group);
	tcase_add_test(tc, a_server_that_is_back_is_owed_nothing_once_all_others_said_so);
	tcase_add_test(tc, a_server_that_was_started_again_is_owed_nothing_once_all_said_so);
	tcase_add_test(tc, the_map_survives_a_restart);
	tcase_add_test(tc, credit_is_what_servers_have_free);
	tcase_add_test(tc, credit_ends_with_the_fullest_server_and_shrinks_with_it);
	tcase_add_test(tc, what_fits_is_not_known_while_too_few_servers_tell);
	tcase_add_test(tc, scarce_space_is_divided_fairly);
	tcase_add_test(tc, what_was_published_since_a_heartbeat_is_not_granted_again);
	tcase_add_test(tc, a_drained_server_loses_its_share))
