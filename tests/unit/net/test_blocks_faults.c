/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks while one replica is absent, wrong, slow, full or out of date, and what mends a restart.
 */
#include "tests/unit/net/blocks_world.h"

START_TEST(an_absent_server_costs_a_retry)
{
	world_start();
	struct blocks_put p = put(1, NULL);
	fake_stop(0);
	ck_assert_int_eq(get(&p.id, 1), 0);
	struct blocks_marks marks;
	blocks_marks_init(&marks);
	(void)put(2, &marks);
	ck_assert_uint_eq(marks.count, 2);
	world_stop();
}
END_TEST

START_TEST(a_silent_server_is_hedged)
{
	world_start();
	struct blocks_put p = put(1, NULL);
	for (unsigned i = 0; i < SERVERS; i++) {
		w.at[i].is_silent = true;
		uint64_t start_ns = loop_now_ns(w.loop);
		ck_assert_int_eq(get(&p.id, 1), 0);
		ck_assert_uint_lt(loop_now_ns(w.loop) - start_ns, UINT64_C(1500000000));
		w.at[i].is_silent = false;
	}
	world_stop();
}
END_TEST

START_TEST(a_wrong_replica_is_asked_elsewhere)
{
	world_start();
	struct blocks_put p = put(1, NULL);
	/* The put was probed at the first and sent to the second: the third is asked first now. */
	for (unsigned i = 1; i < 3; i++) {
		struct buf *wrong = buf_get(w.pool, RECORD_BYTES_MAX);
		struct buf *right = w.at[i].records[0].record;
		memcpy(wrong->data, right->data, right->len);
		wrong->len = right->len;
		wrong->data[wrong->len - 1] ^= 1;
		buf_put(right);
		w.at[i].records[0].record = wrong;
	}
	memset(checks, 0, sizeof(checks));
	for (unsigned i = 0; i < 20; i++)
		ck_assert_int_eq(get(&p.id, 1), 0);
	/* Who was wrong is asked to check itself, once in a while; who was right is not. */
	RUN_UNTIL(checks[1] + checks[2] > 0);
	ck_assert_uint_eq(checks[0], 0);
	ck_assert_uint_le(checks[1], 1);
	ck_assert_uint_le(checks[2], 1);
	world_stop();
}
END_TEST

START_TEST(a_block_that_nobody_has_is_told)
{
	struct block_id id = {.bytes = {1, 2, 3}};

	world_start();
	ck_assert_int_eq(get(&id, 1), -E_NO_BLOCK);
	world_stop();
}
END_TEST

START_TEST(a_newer_row_is_learned)
{
	world_start();
	struct blocks_put p = put(1, NULL);
	w.epoch = 4;
	w.map_version = 6;
	ck_assert_int_eq(get(&p.id, 1), 0);
	ck_assert_uint_eq(map_pg(blocks_map(w.blocks), block_id_pg(&p.id))->epoch, 4);
	w.epoch = 5;
	(void)put(2, NULL);
	world_stop();
}
END_TEST

START_TEST(fewer_holders_than_min_copies_is_no_success)
{
	struct blocks_marks marks;

	world_start();
	blocks_marks_init(&marks);
	for (unsigned i = 0; i < SERVERS; i++)
		w.at[i].does_not_forward = true;
	(void)put(1, &marks);
	ck_assert_uint_eq(marks.count, 2); /* of two answers */
	fake_stop(1);
	fake_stop(2);
	ck_assert_int_eq(put_within(3, &marks, 300).rc, -E_TIMEDOUT);
	world_stop();
}
END_TEST

START_TEST(a_full_cluster_says_so)
{
	world_start();
	for (unsigned i = 0; i < SERVERS; i++)
		w.at[i].is_full = true;
	ck_assert_int_eq(put_within(1, NULL, 10000).rc, -E_NOSPC);
	world_stop();
}
END_TEST

START_TEST(too_many_full_servers_say_so_though_one_is_silent)
{
	struct blocks_marks marks;

	world_start();
	blocks_marks_init(&marks);
	w.at[1].is_full = true;
	ck_assert_int_eq(put(1, &marks).rc, 0); /* two of three took it */
	ck_assert_uint_eq(marks.count, 2);
	w.at[0].is_full = true;
	fake_stop(2);
	uint64_t start_ns = loop_now_ns(w.loop);
	ck_assert_int_eq(put_within(2, NULL, 60000).rc, -E_NOSPC);
	ck_assert_uint_lt(loop_now_ns(w.loop) - start_ns, UINT64_C(30000000000));
	world_stop();
}
END_TEST

START_TEST(a_restart_is_mended_by_a_reput)
{
	struct blocks_marks marks;
	struct block_id ids[20];

	world_start();
	blocks_marks_init(&marks);
	for (uint8_t i = 0; i < ARRAY_COUNT(ids); i++)
		ids[i] = put(i, &marks).id;
	fake_stop(0);
	fake_stop(1);
	fake_forget(&w.at[0]);
	fake_forget(&w.at[1]);
	fake_start(0);
	fake_start(1);
	ck_assert_int_eq(sync_marks(&marks), -E_STALE_GENERATION);
	ck_assert_int_eq(reput(ids, ARRAY_COUNT(ids), &marks), 0);
	ck_assert_int_eq(sync_marks(&marks), 0);
	for (unsigned i = 0; i < SERVERS; i++)
		ck_assert_uint_eq(w.at[i].record_count, ARRAY_COUNT(ids));
	for (unsigned i = 0; i < SERVERS; i++)
		fake_forget(&w.at[i]);
	ck_assert_int_eq(reput(ids, 1, &marks), -E_NO_BLOCK);
	world_stop();
}
END_TEST

START_TEST(a_sync_does_without_a_server_that_others_replace)
{
	struct blocks_marks marks;

	world_start();
	blocks_marks_init(&marks);
	for (uint8_t i = 0; i < 20; i++)
		(void)put(i, &marks);
	fake_stop(1);
	(void)put(20, &marks); /* two holders are all it has */
	ck_assert_int_eq(sync_marks(&marks), 0);
	ck_assert_uint_gt(w.at[0].durable, 0);
	ck_assert_uint_gt(w.at[2].durable, 0);
	fake_stop(2);
	ck_assert_int_eq(sync_marks(&marks), -E_STALE_GENERATION);
	world_stop();
}
END_TEST

START_TEST(marks_that_cannot_be_synced_are_never_enough)
{
	struct blocks_marks marks;

	world_start();
	blocks_marks_init(&marks);
	(void)put(1, &marks);
	blocks_marks_doubt(&marks);
	ck_assert_int_eq(sync_marks(&marks), -E_STALE_GENERATION);
	world_stop();
}
END_TEST

TEST_MAIN("blocks and faults", tcase_add_test(tc, an_absent_server_costs_a_retry);
	  tcase_add_test(tc, a_silent_server_is_hedged);
	  tcase_add_test(tc, a_wrong_replica_is_asked_elsewhere);
	  tcase_add_test(tc, a_block_that_nobody_has_is_told);
	  tcase_add_test(tc, a_newer_row_is_learned);
	  tcase_add_test(tc, fewer_holders_than_min_copies_is_no_success);
	  tcase_add_test(tc, a_full_cluster_says_so);
	  tcase_add_test(tc, too_many_full_servers_say_so_though_one_is_silent);
	  tcase_add_test(tc, a_restart_is_mended_by_a_reput);
	  tcase_add_test(tc, a_sync_does_without_a_server_that_others_replace);
	  tcase_add_test(tc, marks_that_cannot_be_synced_are_never_enough))
