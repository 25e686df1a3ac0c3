/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks that move between the disks of a server: new ones are on the fast disk, cold ones go to
 * the slow one, hot ones come back; and whatever crashes in between, over seeds, what was synced is
 * found, is right, and ends on one disk.
 */
#include "chunk-server/serve_internal.h"
#include "tests/chunk_world.h"

#define FAST   0u
#define SLOW   1u
#define BLOCKS 200u
#define STEPS  60u

static void begin(void)
{
	world_has_tiers = true;
	world_begin();
}

static void end(void)
{
	world_end();
	world_has_tiers = false;
}

static bool is_on(uint32_t disk, uint32_t block)
{
	struct block_id id;
	struct cs_place place;

	id_of(block, &id);
	return cs_store_find(world.nodes[1].server->stores[disk], &id, &place) == 0 &&
	       place.trashed_ms == 0;
}

static uint32_t count_on(uint32_t disk, uint32_t from, uint32_t to)
{
	uint32_t count = 0;

	for (uint32_t i = from; i < to; i++)
		count += is_on(disk, i);
	return count;
}

static void put_range(uint32_t from, uint32_t to)
{
	for (uint32_t i = from; i < to; i++)
		ck_assert_int_eq(put(1, i, false), 0);
}

static int sync_all(void)
{
	Wire__Sync msg = WIRE__SYNC__INIT;
	const struct cs_server *s = world.nodes[1].server;

	msg.boot_id = s->boot_id;
	msg.generation = cs_disks_generation(s->disks);
	return ask(1, MSG_SYNC, &msg.base, NULL, 0);
}

static bool all_are_slow(void *arg)
{
	const uint32_t *range = arg;

	return count_on(SLOW, range[0], range[1]) == range[1] - range[0] &&
	       count_on(FAST, range[0], range[1]) == 0;
}

static bool await_slow(uint32_t from, uint32_t to)
{
	uint32_t range[2] = {from, to};

	return sim_world_run_until(world.sim, all_are_slow, range, WORLD_WAIT_NS);
}

START_TEST(new_ones_are_fast_cold_ones_slow)
{
	put_range(0, BLOCKS);
	ck_assert_uint_eq(count_on(FAST, 0, BLOCKS), BLOCKS);
	ck_assert(await_slow(0, BLOCKS));
	struct cs_tier_stats stats;
	cs_tiers_stats(world.nodes[1].server, &stats);
	ck_assert_uint_eq(stats.blocks_down, BLOCKS);
	ck_assert(stats.bytes_down > 0 && stats.blocks_up == 0);
	put_range(BLOCKS, 2 * BLOCKS);
	ck_assert_uint_eq(count_on(FAST, BLOCKS, 2 * BLOCKS), BLOCKS);
	for (uint32_t i = 0; i < BLOCKS; i++)
		ck_assert_int_eq(get(1, i), 0);
}
END_TEST

START_TEST(hot_ones_come_back)
{
	put_range(0, BLOCKS);
	ck_assert(await_slow(0, BLOCKS));
	for (uint32_t n = 0; n < 40 && !is_on(FAST, 7); n++)
		ck_assert_int_eq(get(1, 7), 0);
	ck_assert(is_on(FAST, 7) && !is_on(SLOW, 7));
	ck_assert_uint_eq(count_on(SLOW, 0, BLOCKS), BLOCKS - 1);
	ck_assert_int_eq(get(1, 7), 0);
}
END_TEST

START_TEST(what_is_full_passes_on)
{
	struct cs_server *s = world.nodes[1].server;

	cs_disks_set_full(s->disks, FAST, true);
	put_range(0, 3);
	ck_assert_uint_eq(count_on(SLOW, 0, 3), 3);
	cs_disks_set_full(s->disks, SLOW, true);
	put_range(3, 6);
	ck_assert_uint_eq(count_on(FAST, 3, 6), 3);
}
END_TEST

/* What is said of a block while it moves is true of it afterwards (I9). */
START_TEST(touched_and_trashed_go_along)
{
	struct cs_server *s = world.nodes[1].server;
	struct block_id touched, trashed;
	struct cs_place place;

	put_range(0, BLOCKS);
	id_of(3, &touched);
	id_of(4, &trashed);
	/* As a crash leaves it: on both disks. */
	while (!is_on(SLOW, 3) || !is_on(SLOW, 4))
		sim_world_run_for(world.sim, SIM_MS);
	cs_disks_set_collection(s->disks, 9);
	ck_assert_int_eq(cs_disks_touch(s->disks, &touched), 0);
	ck_assert_int_eq(cs_disks_trash(s->disks, &trashed, 5), 0);
	sim_world_run_for(world.sim, 5 * SIM_S);
	ck_assert_int_eq(cs_disks_find(s->disks, &touched, &place, NULL), 0);
	ck_assert(place.touched == 9 && place.trashed_ms == 0);
	ck_assert_int_eq(cs_disks_find(s->disks, &trashed, &place, NULL), 0);
	ck_assert(place.trashed_ms == 5);
}
END_TEST

/* --- two copies ---- */

static void put_flag(struct cs_put *put)
{
	*(bool *)put->user = true;
}

static bool is_set(void *arg)
{
	return *(bool *)arg;
}

/* Beside the copy that it has on the slow disk. */
static void put_twin(uint32_t block)
{
	bool is_done = false;
	struct cs_put p = {.plain_len = WORLD_PLAIN_BYTES, .done = put_flag, .user = &is_done};
	struct buf *record = record_of(block, &p.id);

	p.record = record;
	cs_store_put(world.nodes[1].server->stores[FAST], &p);
	ck_assert(sim_world_run_until(world.sim, is_set, &is_done, 10 * SIM_S));
	ck_assert_int_eq(p.rc, 0);
	buf_put(record);
	ck_assert(is_on(FAST, block) && is_on(SLOW, block));
}

/* Block 0, on both disks. */
static void put_both(struct block_id *id)
{
	put_range(0, 1);
	ck_assert(await_slow(0, 1));
	put_twin(0);
	id_of(0, id);
}

START_TEST(the_copy_that_stays_was_read)
{
	struct block_id id;
	struct cs_place place;
	char name[STORE_NAME_BYTES];

	put_range(0, 2);
	ck_assert(await_slow(0, 2));
	id_of(0, &id);
	ck_assert_int_eq(cs_store_find(world.nodes[1].server->stores[SLOW], &id, &place), 0);
	ck_assert_int_eq(sim_media_rot(world.nodes[1].media[SLOW],
				       cs_store_segment_name(place.segment, name),
				       place.offset + place.length - 1, 1),
			 0);
	put_twin(0);
	put_twin(1);
	sim_world_run_for(world.sim, 5 * SIM_S);
	ck_assert(!is_on(FAST, 1) && is_on(SLOW, 1));
	ck_assert_int_eq(get(1, 0), 0);
	ck_assert_int_eq(get(1, 1), 0);
}
END_TEST

/* A sweep met it while it moved. */
START_TEST(of_two_the_one_in_trash_goes)
{
	struct cs_server *s = world.nodes[1].server;
	struct block_id id;
	struct cs_place place;

	put_both(&id);
	ck_assert_int_eq(cs_store_trash(s->stores[FAST], &id, 5), 0);
	sim_world_run_for(world.sim, 5 * SIM_S);
	ck_assert_int_eq(cs_store_find(s->stores[FAST], &id, &place), -E_NO_BLOCK);
	ck_assert(is_on(SLOW, 0));
}
END_TEST

START_TEST(of_two_in_trash_the_later_counts)
{
	struct cs_server *s = world.nodes[1].server;
	struct block_id id;
	struct cs_place place;

	put_both(&id);
	for (uint64_t fast_ms = 5; fast_ms <= 9; fast_ms += 4) {
		ck_assert_int_eq(cs_disks_touch(s->disks, &id), 0);
		ck_assert_int_eq(cs_store_trash(s->stores[FAST], &id, fast_ms), 0);
		ck_assert_int_eq(cs_store_trash(s->stores[SLOW], &id, 14 - fast_ms), 0);
		ck_assert_int_eq(cs_disks_find(s->disks, &id, &place, NULL), 0);
		ck_assert_uint_eq(place.trashed_ms, 9);
	}
	sim_world_run_for(world.sim, 5 * SIM_S);
	ck_assert_int_eq(cs_disks_find(s->disks, &id, &place, NULL), 0);
	ck_assert_uint_eq(place.trashed_ms, 9);
}
END_TEST

/* --- crashes, over seeds ---- */

enum known { NEVER, PUT, DURABLE };

static void restart(enum known known[BLOCKS])
{
	bool is_power_cut = sim_world_random(world.sim) % 2 == 0;

	node_end(1, is_power_cut);
	for (uint32_t i = 0; is_power_cut && i < BLOCKS; i++) {
		if (known[i] == PUT)
			known[i] = NEVER; /* perhaps */
	}
	node_start(1);
	ck_assert(sim_world_run_until(world.sim, world_all_joined, NULL, WORLD_WAIT_NS));
	sim_world_run_for(world.sim, 300 * SIM_MS);
}

static void check_all(const enum known known[BLOCKS])
{
	for (uint32_t i = 0; i < BLOCKS; i++) {
		int rc = get(1, i);
		ck_assert_msg(rc == 0 || (rc == -E_NO_BLOCK && known[i] == NEVER),
			      "block %u: %s", i, error_text(rc));
	}
}

/* Until a segment goes, what was forgotten in it is found again: let it go as soon as it can. */
static void compact_fast(void)
{
	cs_store_compact(world.nodes[1].server->stores[FAST], 1);
	sim_world_run_for(world.sim, sim_world_random(world.sim) % 60 * SIM_MS);
}

/* All that was synced moves away, and its old place with it: the new one must be durable. */
START_TEST(a_power_cut_behind_a_move_loses_nothing)
{
	enum known known[BLOCKS];

	for (int i = 0; i < _i; i++)
		(void)sim_world_random(world.sim); /* the seed */
	put_range(0, BLOCKS);
	ck_assert_int_eq(sync_all(), 0);
	for (uint32_t i = 0; i < BLOCKS; i++)
		known[i] = DURABLE;
	while (count_on(FAST, 0, BLOCKS) > 0)
		sim_world_run_for(world.sim, SIM_MS);
	compact_fast();
	node_end(1, true);
	node_start(1);
	ck_assert(sim_world_run_until(world.sim, world_all_joined, NULL, WORLD_WAIT_NS));
	sim_world_run_for(world.sim, 300 * SIM_MS);
	check_all(known);
}
END_TEST

START_TEST(nothing_is_lost_in_a_crash)
{
	enum known known[BLOCKS] = {NEVER};

	for (int i = 0; i < _i; i++)
		(void)sim_world_random(world.sim); /* the seed */
	for (uint32_t step = 0; step < STEPS; step++) {
		uint32_t block = (uint32_t)(sim_world_random(world.sim) % BLOCKS);
		uint32_t what = (uint32_t)(sim_world_random(world.sim) % 20);
		if (what < 8) {
			for (uint32_t i = block; i < MIN_OF(block + 10, BLOCKS); i++) {
				ck_assert_int_eq(put(1, i, false), 0);
				known[i] = MAX_OF(known[i], PUT);
			}
		} else if (what < 12) {
			for (uint32_t i = 0; i < 5 && known[block] != NEVER; i++)
				ck_assert_int_eq(get(1, block), 0);
		} else if (what < 14) {
			ck_assert_int_eq(sync_all(), 0);
			for (uint32_t i = 0; i < BLOCKS; i++)
				known[i] = known[i] == PUT ? DURABLE : known[i];
		} else if (what < 18) {
			sim_world_run_for(world.sim,
					  sim_world_random(world.sim) % 2000 * SIM_MS);
		} else {
			compact_fast();
			restart(known);
			check_all(known);
		}
	}
	check_all(known);
	sim_world_run_for(world.sim, 20 * SIM_S);
	for (uint32_t i = 0; i < BLOCKS; i++)
		ck_assert(!is_on(FAST, i) || !is_on(SLOW, i));
	check_all(known);
}
END_TEST

TEST_MAIN("tiers", tcase_add_checked_fixture(tc, begin, end); tcase_set_timeout(tc, 60);
	  tcase_add_test(tc, new_ones_are_fast_cold_ones_slow);
	  tcase_add_test(tc, hot_ones_come_back); tcase_add_test(tc, what_is_full_passes_on);
	  tcase_add_test(tc, touched_and_trashed_go_along);
	  tcase_add_test(tc, the_copy_that_stays_was_read);
	  tcase_add_test(tc, of_two_the_one_in_trash_goes);
	  tcase_add_test(tc, of_two_in_trash_the_later_counts);
	  tcase_add_loop_test(tc, a_power_cut_behind_a_move_loses_nothing, 0,
			      check_seeds(20));
	  tcase_add_loop_test(tc, nothing_is_lost_in_a_crash, 0, check_seeds(20)))
