/* SPDX-License-Identifier: Apache-2.0 */
/* The states of placement groups: what degrades a row, what makes it clean, who may leave. */
#include "tests/heal_world.h"

#include "tests/check_main.h"

/* A fourth server takes its share: its groups have a new replica and a former holder. */
static void begin_with_a_newcomer(void)
{
	heal_world_init(3, 1000);
	join_new();
	pass(500);
	ck_assert_uint_gt(counts().pgs_healing, PG_COUNT / 2);
}

static uint32_t rows_named(server_no server)
{
	uint32_t n = 0;

	for (uint32_t pg = 0; pg < PG_COUNT; pg++)
		n += place_of(row_of(pg), server) != UINT32_MAX;
	return n;
}

START_TEST(a_group_is_clean_when_every_replica_merged_every_source)
{
	uint64_t epochs[PG_COUNT];

	begin_with_a_newcomer();
	for (server_no s = 1; s <= 3; s++)
		merge_all(s);
	pass(1000);
	ck_assert_uint_gt(counts().pgs_healing, PG_COUNT / 2); /* the newcomer has not said so */
	for (uint32_t pg = 0; pg < PG_COUNT; pg++)
		epochs[pg] = row_of(pg)->epoch + (row_of(pg)->state == PG_DEGRADED);
	merge_all(4);
	pass(1000);
	ck_assert_uint_eq(counts().pgs_clean, PG_COUNT);
	for (uint32_t pg = 0; pg < PG_COUNT; pg++) {
		ck_assert_uint_eq(row_of(pg)->former_count, 0);
		ck_assert_uint_eq(row_of(pg)->epoch, epochs[pg]);
	}
	world_finish(&w);
}
END_TEST

START_TEST(one_source_that_one_replica_did_not_merge_keeps_the_group_degraded)
{
	begin_with_a_newcomer();
	for (server_no s = 1; s <= 3; s++)
		merge_all(s);
	for (uint32_t pg = 0; pg < PG_COUNT; pg++)
		if (pg_row_has(row_of(pg), 4))
			tell_merged(
				4, pg,
				0xffff & ~(1u << row_of(pg)->replica_count)); /* not the former */
	pass(2000);
	for (uint32_t pg = 0; pg < PG_COUNT; pg++)
		ck_assert_int_eq(row_of(pg)->state == PG_DEGRADED, pg_row_has(row_of(pg), 4));
	world_finish(&w);
}
END_TEST

START_TEST(what_was_merged_under_another_epoch_does_not_count)
{
	begin_with_a_newcomer();
	for (server_no s = 1; s <= 3; s++)
		merge_all(s);
	merge_all(4);
	servers[2].content =
		77; /* it lost something meanwhile, and says so in the same heartbeat */
	pass(3000);
	for (uint32_t pg = 0; pg < PG_COUNT; pg++)
		if (place_of(row_of(pg), 2) != UINT32_MAX)
			ck_assert_int_eq(row_of(pg)->state, PG_DEGRADED);
	for (server_no s = 1; s <= 4; s++)
		merge_all(s);
	pass(1000);
	ck_assert_uint_eq(counts().pgs_clean, PG_COUNT);
	world_finish(&w);
}
END_TEST

START_TEST(another_content_degrades_the_groups_of_the_server_once)
{
	uint64_t version, epochs[PG_COUNT];

	heal_world_init(4, 1000);
	for (uint32_t pg = 0; pg < PG_COUNT; pg++)
		epochs[pg] = row_of(pg)->epoch + pg_row_has(row_of(pg), 3);
	servers[3].content = 77;
	pass(1000);
	for (uint32_t pg = 0; pg < PG_COUNT; pg++) {
		ck_assert_int_eq(row_of(pg)->state == PG_DEGRADED, pg_row_has(row_of(pg), 3));
		ck_assert_uint_eq(row_of(pg)->epoch, epochs[pg]);
	}
	version = map_version(ms_state_map(w.state));
	pass(2000);
	world_restart(&w); /* the number that was seen is a row */
	pass(2000);
	ck_assert_uint_eq(map_version(ms_state_map(w.state)), version);
	world_finish(&w);
}
END_TEST

static uint32_t rows_degraded(void)
{
	uint32_t count = 0;

	for (uint32_t pg = 0; pg < PG_COUNT; pg++)
		count += row_of(pg)->state == PG_DEGRADED;
	return count;
}

START_TEST(a_restart_amid_the_sweep_begins_it_anew)
{
	heal_world_init(3, 1000);
	servers[3].content = 77;
	ck_assert_int_eq(beat(3), 0);
	world_tick(&w, 1); /* the first piece of it */
	ck_assert_uint_gt(rows_degraded(), 0);
	ck_assert_uint_lt(rows_degraded(), PG_COUNT);
	ck_assert_uint_eq(counts().pgs_healing, PG_COUNT); /* the others have doubts, too */
	world_restart(&w);
	pass(1000);
	ck_assert_uint_eq(rows_degraded(), PG_COUNT);
	world_finish(&w);
}
END_TEST

START_TEST(nothing_is_clean_while_the_content_of_a_source_is_in_doubt)
{
	begin_with_a_newcomer();
	for (server_no s = 1; s <= 4; s++)
		merge_all(s);
	servers[2].content = 77;
	ck_assert_int_eq(beat(2), 0); /* known, and no group degraded for it yet */
	for (server_no s = 1; s <= 4; s++)
		ck_assert_int_eq(beat(s), 0);
	world_tick(&w, 1000);
	for (uint32_t pg = 0; pg < PG_COUNT; pg++)
		if (row_of(pg)->state == PG_CLEAN && row_of(pg)->epoch > 2)
			ck_assert_uint_eq(place_of(row_of(pg), 2), UINT32_MAX);
	world_finish(&w);
}
END_TEST

START_TEST(after_a_restart_reports_come_again_and_silent_sources_are_waited_for)
{
	begin_with_a_newcomer();
	for (server_no s = 1; s <= 4; s++)
		merge_all(s);
	for (server_no s = 1; s <= 4; s++)
		ck_assert_int_eq(beat(s), 0);
	world_restart(&w);
	servers[1].is_silent = true;
	pass(2000);
	for (uint32_t pg = 0; pg < PG_COUNT; pg++)
		if (place_of(row_of(pg), 1) != UINT32_MAX && pg_row_has(row_of(pg), 4))
			ck_assert_int_eq(row_of(pg)->state, PG_DEGRADED);
	servers[1].is_silent = false;
	pass(1000);
	ck_assert_uint_eq(counts().pgs_clean, PG_COUNT);
	world_finish(&w);
}
END_TEST

/* The rows say clean all the while; but what replicas owe, or have lost, only they know. */
START_TEST(nothing_counts_as_whole_before_its_servers_were_heard)
{
	heal_world_init(4, 1000);
	world_restart(&w);
	ck_assert_uint_eq(rows_degraded(), 0);
	ck_assert_uint_eq(counts().pgs_clean, 0);
	ck_assert_uint_eq(counts().pgs_healing, PG_COUNT); /* who waits for it goes on waiting */
	for (server_no s = 1; s <= 3; s++)
		ck_assert_int_eq(beat(s), 0);
	for (uint32_t pg = 0; pg < PG_COUNT; pg++)
		ck_assert_int_eq(row_of(pg)->state, PG_CLEAN);
	ck_assert_uint_eq(counts().pgs_clean, PG_COUNT - rows_named(4));
	ck_assert_int_eq(beat(4), 0);
	ck_assert_uint_eq(counts().pgs_clean, PG_COUNT);
	servers[2].content = 77; /* its groups follow in the next ticks */
	ck_assert_int_eq(beat(2), 0);
	ck_assert_uint_eq(counts().pgs_clean, PG_COUNT - rows_named(2));
	world_finish(&w);
}
END_TEST

START_TEST(thousands_of_groups_become_clean_in_few_records)
{
	uint32_t records;
	uint64_t version;

	begin_with_a_newcomer();
	for (server_no s = 1; s <= 4; s++)
		merge_all(s);
	records = w.record_count;
	version = map_version(ms_state_map(w.state));
	pass(1000);
	ck_assert_uint_eq(counts().pgs_clean, PG_COUNT);
	ck_assert_uint_le(w.record_count - records, 4);
	ck_assert_uint_le(map_version(ms_state_map(w.state)) - version, 4);
	world_finish(&w);
}
END_TEST

START_TEST(a_server_that_is_out_is_remembered_until_it_is_back_and_merged)
{
	heal_world_init(3, 1000);
	servers[2].is_silent = true;
	pass(21000);
	ck_assert_int_eq(state_of(2), SERVER_OUT);
	for (uint32_t pg = 0; pg < PG_COUNT; pg++) {
		ck_assert_int_eq(row_of(pg)->state, PG_CLEAN); /* two replicas that lack nothing */
		ck_assert_uint_eq(row_of(pg)->replica_count, 2);
		ck_assert_uint_eq(row_of(pg)->formers[0], 2);
	}
	ck_assert_uint_eq(counts().pgs_degraded, PG_COUNT); /* one copy less than wanted */
	ck_assert_uint_eq(counts().pgs_healing, 0);
	servers[2].is_silent = false;
	pass(1000);
	ck_assert_uint_eq(counts().pgs_healing, PG_COUNT);
	for (server_no s = 1; s <= 3; s++)
		merge_all(s);
	pass(1000);
	ck_assert_uint_eq(counts().pgs_clean, PG_COUNT);
	ck_assert_uint_eq(row_of(7)->replica_count, 3);
	world_finish(&w);
}
END_TEST

START_TEST(healing_waits_for_a_former_holder_that_is_down_but_not_for_one_that_is_out)
{
	begin_with_a_newcomer();
	servers[1].is_silent = true;
	for (server_no s = 2; s <= 4; s++)
		merge_all_but(s, 1);
	pass(7000);
	ck_assert_int_eq(state_of(1), SERVER_DOWN);
	for (uint32_t pg = 0; pg < PG_COUNT; pg++)
		if (place_of(row_of(pg), 1) >= row_of(pg)->replica_count &&
		    place_of(row_of(pg), 1) < 16)
			ck_assert(ms_health_pg_waits(w.state, (pg_no)pg, place_of(row_of(pg), 1)));
	ck_assert_uint_gt(counts().pgs_waiting, 0);
	pass(14000);
	ck_assert_int_eq(state_of(1), SERVER_OUT);
	for (server_no s = 2; s <= 4; s++)
		merge_all_but(s, 1);
	pass(1000);
	ck_assert_uint_eq(counts().pgs_healing, 0);
	ck_assert_uint_eq(counts().pgs_clean, PG_COUNT); /* three copies on the other three */
	ck_assert_uint_eq(rows_named(1), PG_COUNT);	 /* what only it has is not forgotten */
	world_finish(&w);
}
END_TEST

START_TEST(a_drained_server_leaves_when_the_others_have_merged_it)
{
	heal_world_init(4, 1000);
	ck_assert_int_eq(set_state(4, SERVER_REMOVED, false), -E_BUSY);
	ck_assert_int_eq(set_state(4, SERVER_REMOVED, true), -E_BUSY); /* it is there: drain it */
	ck_assert_int_eq(set_state(4, SERVER_DRAINED, false), 0);
	pass(1000);
	ck_assert_int_eq(set_state(4, SERVER_REMOVED, false), -E_BUSY);
	for (uint32_t pg = 0; pg < PG_COUNT; pg++)
		ck_assert(!pg_row_has(row_of(pg), 4));
	ck_assert_uint_gt(rows_named(4), PG_COUNT / 2);
	for (server_no s = 1; s <= 3; s++)
		merge_all(s);
	pass(1000);
	ck_assert_uint_eq(rows_named(4), 0);
	ck_assert_int_eq(set_state(4, SERVER_REMOVED, false), 0);
	ck_assert_int_eq(set_state(4, SERVER_UP, false), -E_PERM);
	ck_assert_int_eq(join(4), -E_PERM);
	world_finish(&w);
}
END_TEST

START_TEST(a_drain_can_be_taken_back)
{
	heal_world_init(4, 1000);
	ck_assert_int_eq(set_state(4, SERVER_UP, false), 0); /* as it is */
	ck_assert_int_eq(set_state(4, SERVER_DRAINED, false), 0);
	pass(1000);
	ck_assert_int_eq(state_of(4), SERVER_DRAINED); /* hearing it does not end that */
	ck_assert_int_eq(set_state(4, SERVER_UP, false), 0);
	pass(1000);
	for (server_no s = 1; s <= 4; s++)
		merge_all(s);
	pass(1000);
	ck_assert_uint_eq(counts().pgs_clean, PG_COUNT);
	ck_assert_uint_gt(rows_named(4), PG_COUNT / 2);
	world_finish(&w);
}
END_TEST

START_TEST(a_drain_that_leaves_too_few_servers_needs_force)
{
	heal_world_init(3, 1000);
	ck_assert_int_eq(set_state(3, SERVER_DRAINED, false),
			 0); /* two are left for min_copies 2 */
	ck_assert_int_eq(set_state(2, SERVER_DRAINED, false), -E_BUSY);
	ck_assert_int_eq(set_state(2, SERVER_DRAINED, true), 0);
	world_finish(&w);
}
END_TEST

START_TEST(a_drained_server_that_is_silent_is_not_waited_for_until_it_is_back)
{
	heal_world_init(4, 1000);
	ck_assert_int_eq(set_state(4, SERVER_DRAINED, false), 0);
	servers[4].is_silent = true;
	pass(1000);
	for (server_no s = 1; s <= 3; s++)
		merge_all_but(s, 4);
	pass(10000);
	ck_assert_uint_gt(counts().pgs_waiting, 0);
	pass(12000);
	ck_assert_uint_eq(counts().pgs_healing, 0);
	ck_assert_uint_gt(rows_named(4), PG_COUNT / 2);
	servers[4].is_silent = false;
	pass(1000);
	ck_assert_uint_eq(counts().pgs_healing, rows_named(4));
	for (server_no s = 1; s <= 3; s++)
		merge_all(s);
	pass(1000);
	ck_assert_uint_eq(rows_named(4), 0);
	world_finish(&w);
}
END_TEST

START_TEST(a_server_that_is_gone_for_good_is_removed_by_force)
{
	heal_world_init(4, 1000);
	servers[4].is_silent = true;
	pass(21000);
	ck_assert_int_eq(set_state(4, SERVER_REMOVED, false), -E_BUSY);
	ck_assert_int_eq(set_state(4, SERVER_REMOVED, true), 0);
	pass(1000);
	ck_assert_uint_eq(rows_named(4), 0);
	for (server_no s = 1; s <= 3; s++)
		merge_all(s);
	pass(1000);
	ck_assert_uint_eq(counts().pgs_clean, PG_COUNT);
	world_finish(&w);
}
END_TEST

START_TEST(only_what_makes_sense_may_be_set)
{
	heal_world_init(3, 0);
	ck_assert_int_eq(set_state(99, SERVER_DRAINED, false), -E_NOENT);
	ck_assert_int_eq(set_state(1, 0, false), -E_INVAL);
	ck_assert_int_eq(set_state(1, SERVER_REMOVED + 1, false), -E_INVAL);
	ck_assert_int_eq(set_state(1, SERVER_SUSPECT, false), -E_INVAL);
	ck_assert_int_eq(set_state(1, SERVER_DOWN, true), -E_INVAL);
	ck_assert_int_eq(set_state(1, SERVER_OUT, true), -E_INVAL);
	world_finish(&w);
}
END_TEST

/* One after the other goes out and another one joins, so that rows collect former holders. */
START_TEST(a_row_that_can_name_no_more_former_holders_stays_until_one_is_merged)
{
	server_no back;

	heal_world_init(3, 1000);
	for (uint32_t i = 0; i < FORMERS_MAX + 2; i++) {
		servers[server_count].is_silent = true;
		pass(21000);
		join_new();
		servers[server_count].blocks = 1;
		pass(500);
	}
	ck_assert_uint_gt(counts().pgs_crowded, 0);
	for (uint32_t pg = 0; pg < PG_COUNT; pg++)
		ck_assert_uint_le(row_of(pg)->former_count, FORMERS_MAX);
	back = 3;
	servers[back].is_silent = false;
	pass(1000);
	for (uint32_t i = 0; i < 4; i++) {
		for (server_no s = 1; s <= server_count; s++)
			if (!servers[s].is_silent)
				merge_all(s);
		pass(1500);
	}
	ck_assert_uint_eq(counts().pgs_crowded, 0);
	world_finish(&w);
}
END_TEST

START_TEST(a_metadata_server_that_slept_holds_no_silence_against_anybody)
{
	heal_world_init(3, 1000);
	world_sleep(&w, 3600000); /* the host was suspended */
	for (server_no s = 1; s <= 3; s++)
		ck_assert_int_eq(state_of(s), SERVER_UP);
	servers[2].is_silent = true;
	pass(7000);
	ck_assert_int_eq(state_of(2), SERVER_DOWN);
	world_finish(&w);
}
END_TEST

/* Placing is costly with many servers: an event does a piece of it, and asks for another one. */
START_TEST(many_servers_are_placed_in_pieces)
{
	struct ms_request req = {.op = MSG_JOIN,
				 .address = "127.0.0.1:7001",
				 .rack = "r",
				 .disks = 1,
				 .bytes_total = GiB(100),
				 .boot_id = 1};
	uint32_t ticks = 0, placed = 0;

	heal_world_init(3, 0);
	for (uint32_t n = 0; n < 160; n++) { /* each join looks at a piece as well */
		memcpy(req.uuid + 4, &n, sizeof n);
		ck_assert_int_eq(world_rc(&w, req), 0);
	}
	while (ticks < 100) {
		world_tick(&w, 1);
		ticks++;
		if (!world_find(&w, MS_FX_TICK))
			break;
	}
	ck_assert_uint_ge(ticks, 2);
	ck_assert_uint_lt(ticks, 10);
	for (uint32_t pg = 0; pg < PG_COUNT; pg++)
		placed += row_of(pg)->replicas[0] > 3 || row_of(pg)->replicas[1] > 3;
	ck_assert_uint_gt(placed, PG_COUNT * 9 / 10);
	world_finish(&w);
}
END_TEST

START_TEST(the_speed_of_healing_is_smoothed)
{
	struct ms_request req = {.op = MSG_HEARTBEAT,
				 .server = 1,
				 .boot_id = 1,
				 .bytes_total = GiB(100),
				 .heal_bytes = GiB(7)};
	struct ms_server_stats stats;

	heal_world_init(3, 0);
	ck_assert_int_eq(world_rc(&w, req), 0);
	world_restart(&w);
	for (uint32_t i = 0; i < 30; i++) {
		req.heal_bytes += MiB(50);
		w.now_ms += 500;
		ck_assert_int_eq(world_rc(&w, req), 0);
		ms_state_server_stats(w.state, 1, &stats);
		ck_assert_uint_le(stats.heal_bytes_per_s,
				  MiB(100)); /* 7 GiB were brought long ago */
	}
	ck_assert_uint_gt(stats.heal_bytes_per_s, MiB(99));
	world_finish(&w);
}
END_TEST

START_TEST(fewer_live_replicas_than_min_copies_are_counted)
{
	heal_world_init(3, 1000);
	servers[1].is_silent = true;
	pass(7000);
	ck_assert_uint_eq(counts().pgs_few, 0);
	servers[2].is_silent = true;
	pass(7000);
	ck_assert_uint_eq(counts().pgs_few, PG_COUNT);
	ck_assert_uint_eq(counts().pgs_lost, 0);
	world_finish(&w);
}
END_TEST

TEST_MAIN("heal", tcase_add_test(tc, a_group_is_clean_when_every_replica_merged_every_source);
	  tcase_add_test(tc, one_source_that_one_replica_did_not_merge_keeps_the_group_degraded);
	  tcase_add_test(tc, what_was_merged_under_another_epoch_does_not_count);
	  tcase_add_test(tc, another_content_degrades_the_groups_of_the_server_once);
	  tcase_add_test(tc, a_restart_amid_the_sweep_begins_it_anew);
	  tcase_add_test(tc, nothing_is_clean_while_the_content_of_a_source_is_in_doubt);
	  tcase_add_test(tc, nothing_counts_as_whole_before_its_servers_were_heard);
	  tcase_add_test(tc, after_a_restart_reports_come_again_and_silent_sources_are_waited_for);
	  tcase_add_test(tc, thousands_of_groups_become_clean_in_few_records);
	  tcase_add_test(tc, a_server_that_is_out_is_remembered_until_it_is_back_and_merged);
	  tcase_add_test(
		  tc, healing_waits_for_a_former_holder_that_is_down_but_not_for_one_that_is_out);
	  tcase_add_test(tc, a_drained_server_leaves_when_the_others_have_merged_it);
	  tcase_add_test(tc, a_drain_can_be_taken_back);
	  tcase_add_test(tc, a_drain_that_leaves_too_few_servers_needs_force);
	  tcase_add_test(tc, a_drained_server_that_is_silent_is_not_waited_for_until_it_is_back);
	  tcase_add_test(tc, a_server_that_is_gone_for_good_is_removed_by_force);
	  tcase_add_test(tc, only_what_makes_sense_may_be_set);
	  tcase_add_test(tc, a_row_that_can_name_no_more_former_holders_stays_until_one_is_merged);
	  tcase_add_test(tc, a_metadata_server_that_slept_holds_no_silence_against_anybody);
	  tcase_add_test(tc, many_servers_are_placed_in_pieces);
	  tcase_add_test(tc, the_speed_of_healing_is_smoothed);
	  tcase_add_test(tc, fewer_live_replicas_than_min_copies_are_counted))
