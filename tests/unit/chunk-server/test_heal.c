/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Healing between chunk servers: whoever is a replica of a group that is not clean brings itself
 * what any other replica or former holds, says so only when it is synced, and only under the epoch
 * that it is true of.
 */
#include "chunk-server/serve_internal.h"
#include "tests/chunk_world.h"

#define BLOCKS 300u

static bool holds_all(uint32_t number, uint32_t from, uint32_t to)
{
	for (uint32_t i = from; i < to; i++) {
		if (get(number, i) != 0)
			return false;
	}
	return true;
}

static uint32_t count_held(uint32_t number, uint32_t from, uint32_t to)
{
	uint32_t count = 0;

	for (uint32_t i = from; i < to; i++)
		count += get(number, i) == 0;
	return count;
}

/*
 * Does every group of `number` tell, under the newest epoch, that it is merged with these places?
 */
static bool has_merged(uint32_t number, uint16_t sources)
{
	for (uint32_t pg = 0; pg < PG_COUNT; pg++) {
		const struct heal_merged *m = &world.nodes[number].merged[pg];
		if (m->epoch != world.row.epoch || (m->sources & sources) != sources)
			return false;
	}
	return true;
}

static struct {
	uint32_t number;
	uint16_t sources;
} awaited;

static bool awaited_has_merged(void *arg)
{
	(void)arg;
	return has_merged(awaited.number, awaited.sources);
}

static void await_merged(uint32_t number, uint16_t sources)
{
	awaited.number = number;
	awaited.sources = sources;
	ck_assert(sim_world_run_until(world.sim, awaited_has_merged, NULL, WORLD_WAIT_NS));
}

static void put_all(uint32_t number, uint32_t from, uint32_t to, bool forward)
{
	for (uint32_t i = from; i < to; i++)
		ck_assert_int_eq(put(number, i, forward), 0);
}

START_TEST(replicas_bring_each_other_what_only_one_holds)
{
	put_all(1, 0, BLOCKS, true);
	put_all(1, 1000, 1000 + BLOCKS, false);
	put_all(2, 2000, 2000 + BLOCKS, false);
	put_all(3, 3000, 3010, false);
	world_set_row(PG_DEGRADED, "123", "");
	for (uint32_t i = 1; i <= 3; i++)
		await_merged(i, 7);
	for (uint32_t i = 1; i <= 3; i++) {
		ck_assert(holds_all(i, 0, BLOCKS));
		ck_assert(holds_all(i, 1000, 1000 + BLOCKS));
		ck_assert(holds_all(i, 2000, 2000 + BLOCKS));
		ck_assert(holds_all(i, 3000, 3010));
		ck_assert_uint_eq(world.nodes[i].pending, 0);
	}
	ck_assert_uint_gt(world.nodes[3].bytes, 2 * BLOCKS * 64);
}
END_TEST

/* A block whose group is `pg`: one in 4,096, so tests that need many make their own names. */
static uint32_t next_in_group(uint32_t block, pg_no pg)
{
	struct block_id id;

	for (;; block++) {
		id_of(block, &id);
		if (block_id_pg(&id) == pg)
			return block;
	}
}

/* Ranges: of a large group in which little differs, little is listed. */
START_TEST(a_few_missing_blocks_of_a_large_group_are_found)
{
	enum { COUNT = 140 };
	uint32_t blocks[COUNT], block = 0;
	uint32_t missing[] = {0, 77, 100, 101, 139};

	for (uint32_t i = 0; i < COUNT; i++) {
		blocks[i] = block = next_in_group(block, 9);
		block++;
		bool is_missing = false;
		for (uint32_t k = 0; k < ARRAY_COUNT(missing); k++)
			is_missing = is_missing || missing[k] == i;
		ck_assert_int_eq(put(1, blocks[i], !is_missing), 0);
	}
	world_set_row(PG_DEGRADED, "123", "");
	await_merged(2, 7);
	await_merged(3, 7);
	for (uint32_t k = 0; k < ARRAY_COUNT(missing); k++) {
		ck_assert_int_eq(get(2, blocks[missing[k]]), 0);
		ck_assert_int_eq(get(3, blocks[missing[k]]), 0);
	}
	ck_assert_uint_eq(world.nodes[2].blocks, COUNT);
}
END_TEST

/* What was deleted may be named again once older metadata was brought back; else it is garbage. */
START_TEST(trash_is_healed_only_after_a_rescue)
{
	struct block_id id;

	put_all(1, 0, 50, false);
	for (uint32_t i = 0; i < 50; i++) {
		buf_put(record_of(i, &id));
		ck_assert_int_eq(cs_disks_trash(world.nodes[1].server->disks, &id, 1000), 0);
	}
	world.row.epoch += _i ? HEAL_RESCUE_JUMP : 0;
	world_set_row(PG_DEGRADED, "123", "");
	await_merged(2, 7);
	ck_assert_uint_eq(count_held(2, 0, 50), _i ? 50 : 0);
}
END_TEST

START_TEST(nothing_is_compared_in_a_clean_group)
{
	put_all(1, 0, 50, false);
	world_set_row(PG_CLEAN, "123", "");
	sim_world_run_for(world.sim, 5 * SIM_S);
	ck_assert_uint_eq(count_held(2, 0, 50), 0);
	ck_assert_uint_eq(world.nodes[1].merged[0].epoch, 0);
}
END_TEST

START_TEST(a_new_replica_is_filled_also_from_a_former)
{
	put_all(1, 0, BLOCKS, true);
	put_all(3, 1000, 1100, false); /* only the former has these */
	world_set_row(PG_DEGRADED, "124", "3");
	for (uint32_t i = 1; i <= 4; i++) {
		if (i != 3)
			await_merged(i, 15);
	}
	ck_assert(holds_all(4, 0, BLOCKS));
	ck_assert(holds_all(4, 1000, 1100));
	ck_assert(holds_all(1, 1000, 1100));
	ck_assert_uint_eq(world.nodes[3].merged[0].epoch, 0); /* it is none any more */
}
END_TEST

START_TEST(an_emptied_server_is_filled_again)
{
	uint64_t content = world.nodes[3].content;

	put_all(1, 0, BLOCKS, true);
	node_kill(3);
	for (uint32_t d = 0; d < WORLD_DISKS; d++)
		world_format(&world.nodes[3], 3, d);
	node_start(3);
	sim_world_run_for(world.sim, 2 * SIM_S);
	ck_assert_uint_ne(world.nodes[3].content, content);
	world_set_row(PG_DEGRADED, "123", "");
	await_merged(3, 7);
	ck_assert(holds_all(3, 0, BLOCKS));
	ck_assert_uint_eq(world.nodes[3].blocks, BLOCKS);
}
END_TEST

START_TEST(one_lost_disk_of_two_is_filled_again)
{
	uint64_t content = world.nodes[3].content;

	put_all(1, 0, BLOCKS, true);
	node_kill(3);
	node_start(3);
	sim_world_run_for(world.sim, 2 * SIM_S);
	ck_assert_uint_eq(world.nodes[3].content, content); /* a crash loses nothing */
	node_kill(3);
	world_format(&world.nodes[3], 3, 0);
	node_start(3);
	sim_world_run_for(world.sim, 2 * SIM_S);
	ck_assert_uint_ne(world.nodes[3].content, content);
	ck_assert_uint_lt(world.nodes[3].blocks, BLOCKS);
	world_set_row(PG_DEGRADED, "123", "");
	await_merged(3, 7);
	ck_assert(holds_all(3, 0, BLOCKS));
}
END_TEST

START_TEST(a_disk_that_fails_is_made_up_for_by_the_other)
{
	put_all(1, 0, BLOCKS, true);
	uint64_t content = world.nodes[3].content;
	/* Also the one with the owed log and meta. */
	sim_media_set_dead(world.nodes[3].media[0], true);
	put_all(1, BLOCKS, BLOCKS + 20, true);
	sim_world_run_for(world.sim, 3 * SIM_S);
	ck_assert_uint_ne(world.nodes[3].content, content);
	world_set_row(PG_DEGRADED, "123", "");
	await_merged(3, 7);
	ck_assert(holds_all(3, 0, BLOCKS + 20));
}
END_TEST

/* Also the one with the owed log and meta; and it comes back as it was. */
START_TEST(a_server_starts_without_a_disk_that_is_dead)
{
	struct world_node *n = &world.nodes[3];
	uint32_t dead = (uint32_t)_i;

	put_all(1, 0, BLOCKS, true);
	uint64_t content = n->content;
	node_kill(3);
	sim_media_set_dead(n->media[dead], true);
	node_start(3);
	sim_world_run_for(world.sim, 2 * SIM_S);
	ck_assert_uint_eq(n->disks_used, 1);
	ck_assert_uint_eq(n->disks_failed, 1);
	ck_assert_uint_ne(n->content, content);
	ck_assert_uint_lt(n->blocks, BLOCKS);
	put_all(1, BLOCKS, BLOCKS + 20, true);
	world_set_row(PG_DEGRADED, "123", "");
	await_merged(3, 7);
	ck_assert(holds_all(3, 0, BLOCKS + 20));

	/* The same again is nothing new. */
	content = n->content;
	node_kill(3);
	node_start(3);
	sim_world_run_for(world.sim, 2 * SIM_S);
	ck_assert_uint_eq(n->content, content);
	ck_assert_uint_eq(n->disks_failed, 1);

	/* Back with its old blocks: another content, and each block is one. */
	node_kill(3);
	sim_media_set_dead(n->media[dead], false);
	node_start(3);
	sim_world_run_for(world.sim, 2 * SIM_S);
	ck_assert_uint_ne(n->content, content);
	ck_assert_uint_eq(n->disks_used, 2);
	ck_assert_uint_eq(n->disks_failed, 0);
	world_set_row(PG_DEGRADED, "123", "");
	await_merged(3, 7);
	ck_assert(holds_all(3, 0, BLOCKS + 20));
}
END_TEST

static int try_start(uint32_t number, struct error *err)
{
	struct world_node *n = &world.nodes[number];
	int rc = node_try_start(number, err);

	ck_assert_int_lt(rc, 0);
	node_free(n);
	return rc;
}

START_TEST(a_server_without_a_usable_disk_or_with_a_stranger_s_is_refused)
{
	struct world_node *n = &world.nodes[3];
	struct error err = {0};

	node_kill(3);
	sim_media_set_dead(n->media[0], true);
	sim_media_set_dead(n->media[1], true);
	ck_assert_int_eq(try_start(3, &err), -E_IO);
	sim_media_set_dead(n->media[0], false);
	world_format(n, 4, 1);
	ck_assert_int_eq(try_start(3, &err), -E_INVAL);
	ck_assert_str_eq(err.text, "disks are of several chunk servers");
	world_format(n, 3, 1);
	node_start(3);
}
END_TEST

START_TEST(a_power_cut_is_told_and_what_it_took_comes_back)
{
	uint64_t content = world.nodes[2].content;

	put_all(1, 0, 100, true); /* nobody asked for a sync */
	node_end(2, true);
	node_start(2);
	sim_world_run_for(world.sim, 3 * SIM_S);
	ck_assert_uint_ne(world.nodes[2].content, content);
	world_set_row(PG_DEGRADED, "123", "");
	await_merged(2, 7);
	ck_assert(holds_all(2, 0, 100));
}
END_TEST

START_TEST(who_is_away_is_merged_when_it_is_back)
{
	put_all(1, 0, BLOCKS, true);
	put_all(2, 1000, 1050, false);
	node_kill(2);
	world_set_row(PG_DEGRADED, "134", "2");
	await_merged(4, 7); /* without the former */
	ck_assert(holds_all(4, 0, BLOCKS));
	ck_assert(!has_merged(4, 15));
	ck_assert_uint_eq(count_held(4, 1000, 1050), 0);
	node_start(2);
	await_merged(4, 15);
	await_merged(1, 15);
	ck_assert(holds_all(4, 1000, 1050));
	ck_assert(holds_all(1, 1000, 1050));
}
END_TEST

START_TEST(a_new_epoch_begins_anew)
{
	put_all(1, 0, 100, false);
	world_set_row(PG_DEGRADED, "123", "");
	await_merged(2, 7);
	put_all(1, 100, 200, false);
	sim_world_run_for(world.sim, 2 * SIM_S);
	ck_assert_uint_eq(count_held(2, 100, 200), 0); /* it was merged before these came */
	world_set_row(PG_DEGRADED, "123", "");
	await_merged(2, 7);
	ck_assert(holds_all(2, 0, 200));
}
END_TEST

START_TEST(a_restart_in_the_middle_only_compares_again)
{
	put_all(1, 0, BLOCKS, false);
	world_set_row(PG_DEGRADED, "123", "");
	sim_world_run_for(world.sim, SIM_S / 2);
	node_kill(2);
	node_start(2);
	await_merged(2, 7);
	ck_assert(holds_all(2, 0, BLOCKS));
	ck_assert_uint_eq(world.nodes[2].blocks, BLOCKS);
}
END_TEST

START_TEST(a_rotten_source_is_passed_over)
{
	put_all(1, 0, 50, false);
	put_all(2, 0, 50, false);
	sim_world_run_for(world.sim, SIM_S);
	for (uint32_t d = 0; d < WORLD_DISKS; d++)
		(void)!sim_media_rot(world.nodes[1].media[d], "segments/seg-0000000000000001",
				     64 + 70, 3000);
	world_set_row(PG_DEGRADED, "123", "");
	await_merged(3, 7);
	ck_assert(holds_all(3, 0, 50));
	ck_assert_uint_lt(count_held(1, 0, 50), 50); /* found by who did not read them yet */
	sim_world_run_for(world.sim, 10 * SIM_S);
	ck_assert(holds_all(1, 0, 50)); /* it owed them to itself */
}
END_TEST

/* --- debts ---- */

START_TEST(a_server_that_comes_back_only_catches_up)
{
	put_all(1, 0, BLOCKS, true);
	uint64_t content = world.nodes[3].content;
	node_kill(3);
	sim_world_run_for(world.sim, 2 * SIM_S);
	put_all(1, 1000, 1100, true);
	put_all(2, 1100, 1200, true);
	node_start(3);
	sim_world_run_for(world.sim, 10 * SIM_S);
	ck_assert(holds_all(3, 1000, 1200));
	ck_assert_uint_eq(world.nodes[3].content, content);
	ck_assert_uint_eq(world.nodes[1].owed_pgs + world.nodes[2].owed_pgs, 0);
}
END_TEST

START_TEST(a_debt_that_turns_out_to_be_none_is_not_sent)
{
	put_all(1, 0, 50, true);
	node_kill(3);
	sim_world_run_for(world.sim, 2 * SIM_S);
	for (uint32_t i = 0; i < 50; i++) {
		ck_assert_int_eq(have(1, i), 0);
		ck_assert_uint_eq(world.holder_count, 2);
	}
	sim_world_run_for(world.sim, SIM_S);
	ck_assert_uint_gt(world.nodes[1].owed_pgs, 0); /* nobody can know */
	node_start(3);
	sim_world_run_for(world.sim, 10 * SIM_S);
	ck_assert_uint_eq(world.nodes[1].owed_pgs, 0);
	ck_assert_uint_eq(world.nodes[1].bytes, 0);
}
END_TEST

/*
 * With three holders the writer needs the syncs of two: perhaps not of the one that noted the debt.
 */
START_TEST(a_debt_outlives_its_keeper_even_if_nobody_syncs_it)
{
	world_set_row(PG_CLEAN, "1234", "");
	sim_world_run_for(world.sim, SIM_S);
	node_kill(4);
	for (uint32_t i = 0; i < 20; i++) {
		ck_assert_int_eq(i % 2 == 0 ? put(1, i, true) : put(2, i, false), 0);
		if (i % 2 == 1) {
			ck_assert_int_eq(put(1, i, false), 0);
			ck_assert_int_eq(put(3, i, false), 0);
			ck_assert_int_eq(have(1, i), 0);
		}
		ck_assert_uint_eq(world.holder_count, 3);
		node_kill(1); /* at once */
		node_start(1);
		ck_assert(sim_world_run_until(world.sim, world_all_joined, NULL, WORLD_WAIT_NS));
		sim_world_run_for(world.sim, SIM_S);
	}
	node_start(4);
	sim_world_run_for(world.sim, 10 * SIM_S);
	ck_assert(holds_all(4, 0, 20));
}
END_TEST

/* Where servers are out a row may name fewer than must hold a block: that is no lack of space. */
START_TEST(a_row_of_one_replica_waits_for_others)
{
	world_set_row(PG_DEGRADED, "1", "23");
	ck_assert_int_eq(put(1, 1, true), -E_NO_REPLICA);
}
END_TEST

/* --- the source's side ---- */

static int digest(uint32_t number, uint32_t pg, uint32_t bits, uint64_t epoch)
{
	Wire__HealDigest msg = WIRE__HEAL_DIGEST__INIT;

	msg.pg = pg;
	msg.bits = bits;
	return ask(number, MSG_HEAL_DIGEST, &msg.base, NULL, epoch);
}

START_TEST(digests_and_lists_tell_what_is_there)
{
	struct heal_range range, sum = {0};
	Wire__HealList list = WIRE__HEAL_LIST__INIT;
	struct block_id id;

	id_of(1, &id);
	put_all(1, 0, 100, false);
	ck_assert_int_eq(digest(1, block_id_pg(&id), 4, world.row.epoch), 0);
	ck_assert_uint_eq(world.bulk_len, 16 * HEAL_RANGE_BYTES);
	for (uint32_t i = 0; i < 16; i++) {
		heal_range_decode(world.bulk + i * HEAL_RANGE_BYTES, &range);
		sum.count += range.count;
		sum.digest += range.digest;
	}
	ck_assert_uint_ge(sum.count, 1);
	ck_assert_int_eq(digest(1, block_id_pg(&id), 0, world.row.epoch), 0);
	heal_range_decode(world.bulk, &range);
	ck_assert(range.count == sum.count && range.digest == sum.digest);
	list.pg = block_id_pg(&id);
	ck_assert_int_eq(ask(1, MSG_HEAL_LIST, &list.base, NULL, world.row.epoch), 0);
	ck_assert_uint_eq(world.bulk_len, range.count * BLOCK_ID_BYTES);
	ck_assert(world.is_end);
	list.from = (ProtobufCBinaryData){BLOCK_ID_BYTES, id.bytes};
	list.to = list.from;
	ck_assert_int_eq(ask(1, MSG_HEAL_LIST, &list.base, NULL, world.row.epoch), 0);
	ck_assert_uint_eq(world.bulk_len, BLOCK_ID_BYTES);
	ck_assert_mem_eq(world.bulk, id.bytes, BLOCK_ID_BYTES);
	list.pg = (block_id_pg(&id) + 1) % PG_COUNT;
	ck_assert_int_eq(ask(1, MSG_HEAL_LIST, &list.base, NULL, world.row.epoch), -E_INVAL);
	ck_assert_int_eq(digest(1, PG_COUNT, 0, world.row.epoch), -E_MALFORMED);
	ck_assert_int_eq(digest(1, 0, HEAL_BITS_MAX + 1, world.row.epoch), -E_MALFORMED);
}
END_TEST

START_TEST(a_source_takes_the_newer_row_before_it_answers)
{
	uint64_t old = world.row.epoch;

	world_set_row(PG_DEGRADED, "123", "");
	ck_assert_int_eq(digest(1, 0, 0, world.row.epoch), 0);
	ck_assert_int_eq(digest(1, 0, 0, old), -E_STALE_EPOCH);
	ck_assert_uint_eq(world.told.epoch, world.row.epoch);
	ck_assert_int_eq(digest(1, 0, 0, world.row.epoch + 1), -E_RECOVERING);
}
END_TEST

/* Its block may be in nobody's digest, and its debt noted for a row that is gone. */
START_TEST(a_source_waits_for_the_end_of_older_puts)
{
	Wire__Put msg = WIRE__PUT__INIT;
	struct rpc_call call = {.type = MSG_PUT, .request = &msg.base, .bulk_is_record = true,
				.deadline_ms = 5000, .epoch = world.row.epoch, .done = world_done};
	struct block_id id;

	ck_assert_int_eq(put(1, 0, true), 0);
	sim_switch_cut(world.wires, "cs1", "cs2"); /* the put waits for its forward */
	call.bulk = record_of(1, &id);
	msg.forward = true;
	rpc_call(world.peers[1], &call);
	sim_world_run_for(world.sim, SIM_S / 10);
	world_set_row(PG_DEGRADED, "123", "");
	ck_assert_int_eq(digest(1, block_id_pg(&id), 0, world.row.epoch), -E_RECOVERING);
	ck_assert_int_eq(digest(1, (block_id_pg(&id) + 1) % PG_COUNT, 0, world.row.epoch), 0);
	sim_world_run_for(world.sim, 2 * SIM_S);
	ck_assert_int_eq(digest(1, block_id_pg(&id), 0, world.row.epoch), 0);
	sim_switch_heal(world.wires);
	for (uint32_t i = 1; i <= 3; i++)
		await_merged(i, 7);
	ck_assert_int_eq(get(2, 1), 0);
	buf_put(call.bulk);
}
END_TEST

/* Whatever its work waits for at that moment. */
START_TEST(a_crash_in_mid_heal_leaves_nothing_behind)
{
	uint32_t rounds = (uint32_t)check_seeds(10);

	put_all(1, 0, BLOCKS, false);
	for (uint32_t round = 0; round < rounds; round++) {
		node_kill(2);
		world_format(&world.nodes[2], 2, round % WORLD_DISKS);
		node_start(2);
		world_set_row(PG_DEGRADED, "123", "");
		sim_world_run_for(world.sim, SIM_S / 2 + round * (SIM_S / 2) / rounds);
	}
	await_merged(2, 7);
	ck_assert(holds_all(2, 0, BLOCKS));
}
END_TEST

TEST_MAIN("heal", tcase_add_checked_fixture(tc, world_begin, world_end);
	  tcase_set_timeout(tc, 120);
	  tcase_add_test(tc, replicas_bring_each_other_what_only_one_holds);
	  tcase_add_test(tc, a_few_missing_blocks_of_a_large_group_are_found);
	  tcase_add_loop_test(tc, trash_is_healed_only_after_a_rescue, 0, 2);
	  tcase_add_test(tc, nothing_is_compared_in_a_clean_group);
	  tcase_add_test(tc, a_new_replica_is_filled_also_from_a_former);
	  tcase_add_test(tc, an_emptied_server_is_filled_again);
	  tcase_add_test(tc, one_lost_disk_of_two_is_filled_again);
	  tcase_add_test(tc, a_disk_that_fails_is_made_up_for_by_the_other);
	  tcase_add_loop_test(tc, a_server_starts_without_a_disk_that_is_dead, 0, WORLD_DISKS);
	  tcase_add_test(tc, a_server_without_a_usable_disk_or_with_a_stranger_s_is_refused);
	  tcase_add_test(tc, a_power_cut_is_told_and_what_it_took_comes_back);
	  tcase_add_test(tc, who_is_away_is_merged_when_it_is_back);
	  tcase_add_test(tc, a_new_epoch_begins_anew);
	  tcase_add_test(tc, a_restart_in_the_middle_only_compares_again);
	  tcase_add_test(tc, a_rotten_source_is_passed_over);
	  tcase_add_test(tc, a_server_that_comes_back_only_catches_up);
	  tcase_add_test(tc, a_debt_that_turns_out_to_be_none_is_not_sent);
	  tcase_add_test(tc, a_debt_outlives_its_keeper_even_if_nobody_syncs_it);
	  tcase_add_test(tc, a_row_of_one_replica_waits_for_others);
	  tcase_add_test(tc, digests_and_lists_tell_what_is_there);
	  tcase_add_test(tc, a_source_takes_the_newer_row_before_it_answers);
	  tcase_add_test(tc, a_source_waits_for_the_end_of_older_puts);
	  tcase_add_test(tc, a_crash_in_mid_heal_leaves_nothing_behind))
