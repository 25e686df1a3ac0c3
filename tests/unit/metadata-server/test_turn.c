/* SPDX-License-Identifier: Apache-2.0 */
/* The turn to encode anew: one server at a time, all in the end, none while a copy is missing. */
#include "tests/ms_world.h"

#include "tests/check_main.h"

#define SERVERS 3u

static struct world w;
static bool wants[SERVERS + 1], works[SERVERS + 1];

/* How long the server may work, as the answer to its heartbeat says. */
static uint32_t beat(server_no server)
{
	struct ms_request req = {.op = MSG_HEARTBEAT,
				 .server = server,
				 .boot_id = 1,
				 .disks = 1,
				 .bytes_free = GiB(50),
				 .bytes_total = GiB(100),
				 .map_version = map_version(ms_state_map(w.state)),
				 .reencode = {.wants = wants[server], .turn = works[server]}};
	uint32_t turn_ms = world_do(&w, req)->reencode_ms;

	works[server] = turn_ms > 0;
	return turn_ms;
}

/* All beat once, a tenth of a second later; how many have the turn. */
static uint32_t round_of_beats(void)
{
	uint32_t count = 0;

	world_tick(&w, 100);
	for (server_no i = 1; i <= SERVERS; i++)
		count += beat(i) > 0;
	return count;
}

static void join(server_no server)
{
	struct ms_request req = {.op = MSG_JOIN, .address = "127.0.0.1:7001", .host = "h",
				 .rack = "r", .disks = 1, .bytes_total = GiB(100), .boot_id = 1};

	req.uuid[0] = (uint8_t)server;
	ck_assert_uint_eq(world_do(&w, req)->server, server);
}

static void begin(void)
{
	memset(wants, 0, sizeof wants);
	memset(works, 0, sizeof works);
	world_init(&w);
	for (server_no i = 1; i <= SERVERS; i++)
		join(i);
	for (uint32_t i = 0; i < 100; i++)
		ck_assert_uint_eq(round_of_beats(), 0);
}

START_TEST(one_at_a_time_has_it_until_it_is_done)
{
	begin();
	for (server_no i = 1; i <= SERVERS; i++)
		wants[i] = true;
	for (server_no i = 1; i <= SERVERS; i++) {
		for (uint32_t n = 0; n < 20; n++)
			ck_assert_uint_le(round_of_beats(), 1);
		ck_assert(works[i]);
		ck_assert_uint_eq(ms_state_reencode_server(w.state), i);
		wants[i] = false; /* done: the next one has it at once */
		works[i] = false;
		ck_assert_uint_le(round_of_beats(), 1);
	}
	ck_assert_uint_eq(round_of_beats(), 0);
	ck_assert_uint_eq(ms_state_reencode_server(w.state), 0);
	world_finish(&w);
}
END_TEST

START_TEST(who_is_silent_may_work_no_longer_than_it_was_told)
{
	begin();
	wants[1] = wants[2] = true;
	ck_assert_uint_eq(round_of_beats(), 1);
	uint32_t term_ms = beat(1);
	for (uint32_t waited = 0; waited < term_ms; waited += 100) {
		ck_assert_uint_eq(beat(2), 0);
		ck_assert_uint_eq(beat(3), 0);
		world_tick(&w, 100);
	}
	/* It is suspect now, so its groups lack a copy: nobody, until it is back. */
	ck_assert_uint_eq(ms_state_reencode_server(w.state), 0);
	ck_assert_uint_eq(beat(2), 0);
	wants[1] = works[1] = false;
	for (uint32_t n = 0; n < 100 && !works[2]; n++)
		(void)round_of_beats();
	ck_assert(works[2]);
	world_finish(&w);
}
END_TEST

START_TEST(it_moves_on_while_others_wait)
{
	bool had[SERVERS + 1] = {false};

	begin();
	for (server_no i = 1; i <= SERVERS; i++)
		wants[i] = true;
	for (uint32_t n = 0; n < 12000; n++) {
		ck_assert_uint_le(round_of_beats(), 1);
		for (server_no i = 1; i <= SERVERS; i++)
			had[i] = had[i] || works[i];
	}
	ck_assert(had[1] && had[2] && had[3]);
	world_finish(&w);
}
END_TEST

START_TEST(nobody_has_it_while_a_group_lacks_a_copy)
{
	begin();
	wants[1] = true;
	ck_assert_uint_eq(round_of_beats(), 1);
	for (uint32_t n = 0; n < 100; n++) { /* server 3 is away */
		world_tick(&w, 100);
		(void)beat(1);
		(void)beat(2);
	}
	ck_assert_uint_eq(beat(1), 0);
	ck_assert_uint_eq(ms_state_reencode_server(w.state), 0);
	for (uint32_t n = 0; n < 100 && round_of_beats() == 0; n++)
		;
	ck_assert(works[1]);
	world_finish(&w);
}
END_TEST

TEST_MAIN("turn", tcase_add_test(tc, one_at_a_time_has_it_until_it_is_done);
	  tcase_add_test(tc, who_is_silent_may_work_no_longer_than_it_was_told);
	  tcase_add_test(tc, it_moves_on_while_others_wait);
	  tcase_add_test(tc, nobody_has_it_while_a_group_lacks_a_copy))
