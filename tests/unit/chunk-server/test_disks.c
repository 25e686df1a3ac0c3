/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several disks behind one interface, and what is owed: blocks spread and are found on any disk, a
 * dead disk fails alone, one generation covers all; debts survive restarts, torn tails and long
 * histories.
 */
#include <string.h>

#include "chunk-server/disks.h"
#include "tests/check_main.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_loop.h"
#include "tests/trip_rows.h"

#define DISKS 3u

static struct sim_world *world;
static struct loop *loop;
static struct buf_pool *pool;
static struct codec_scratch *codec;
static struct sim_media *media[DISKS];
static struct disk *disk[DISKS];
static struct rows *rows[DISKS], *owed_rows;
static struct cs_store *stores[DISKS];
static struct cs_owed *owed;
static struct cs_disks *disks;

static void open_all(void)
{
	struct cs_disks_options options = {.loop = loop, .count = DISKS};
	struct error err = {0};

	for (uint32_t i = 0; i < DISKS; i++) {
		ck_assert_int_eq(sim_disk_create(media[i], &disk[i]), 0);
		ck_assert_int_eq(rows_mem_create(&rows[i]), 0);
		struct cs_store_options store = {
			.loop = loop,
			.disk = disk[i],
			.index = rows[i],
			.pool = pool,
			.hash = HASH_SHA256,
			.segment_bytes = MiB(1),
			.sync_ms = 100,
			.sync_bytes = MiB(1),
			.full_percent = 100,
		};
		ck_assert_int_eq(cs_store_open(&store, &stores[i], &err), 0);
		options.stores[i] = stores[i];
		memset(options.uuids[i], (int)i + 1, UUID_BYTES);
	}
	ck_assert_int_eq(rows_mem_create(&owed_rows), 0);
	ck_assert_int_eq(cs_owed_open(loop, disk[0], owed_rows, &owed, &err), 0);
	options.owed = owed;
	ck_assert_int_eq(cs_disks_create(&options, &disks), 0);
}

static bool is_idle(void *arg)
{
	(void)arg;
	return cs_disks_is_idle(disks);
}

static void close_all(void)
{
	ck_assert(sim_world_run_until(world, is_idle, NULL, 10 * SIM_S));
	cs_disks_destroy(disks);
	(void)cs_owed_close(owed);
	rows_destroy(owed_rows);
	for (uint32_t i = 0; i < DISKS; i++) {
		(void)cs_store_close(stores[i]);
		disk_destroy(disk[i]);
		rows_destroy(rows[i]);
	}
}

static void begin(void)
{
	ck_assert_int_eq(sim_world_create(1, &world), 0);
	ck_assert_int_eq(sim_loop_create(world, "cs", &loop), 0);
	pool = buf_pool_create(MiB(16));
	codec = codec_scratch_create();
	for (uint32_t i = 0; i < DISKS; i++)
		ck_assert_int_eq(sim_media_create(world, MiB(256), &media[i]), 0);
	open_all();
}

static void end(void)
{
	close_all();
	for (uint32_t i = 0; i < DISKS; i++)
		sim_media_destroy(media[i]);
	sim_loop_destroy(loop);
	sim_world_destroy(world);
	codec_scratch_destroy(codec);
	ck_assert_uint_eq(buf_pool_used_bytes(pool), 0);
	buf_pool_destroy(pool);
}

/* --- blocks ---- */

static bool is_done;

static bool done_flag(void *arg)
{
	(void)arg;
	return is_done;
}

static void wait(void)
{
	ck_assert(sim_world_run_until(world, done_flag, NULL, 10 * SIM_S));
}

static void put_done(struct cs_put *put)
{
	(void)put;
	is_done = true;
}

static struct block_id id_of(uint32_t number)
{
	struct block_id id;

	block_id_of(HASH_SHA256, &number, sizeof(number), &id);
	return id;
}

static int put(uint32_t number)
{
	struct buf *record = buf_get(pool, RECORD_BYTES_MAX);
	struct cs_put p = {.record = record, .id = id_of(number), .plain_len = 4, .done = put_done};

	record->len = record_build(codec, HASH_SHA256, CODEC_AIM_RAW, &number, sizeof(number),
				   record->data);
	is_done = false;
	cs_disks_put(disks, &p);
	buf_put(record);
	wait();
	return p.rc;
}

static void get_done(struct cs_get *get)
{
	(void)get;
	is_done = true;
}

static int get(uint32_t number)
{
	struct cs_get g = {.id = id_of(number), .done = get_done};

	is_done = false;
	cs_disks_get(disks, &g);
	wait();
	buf_put(g.record);
	return g.rc;
}

static void sync_done(struct cs_disks_sync *sync)
{
	(void)sync;
	is_done = true;
}

static int sync_to(uint64_t generation)
{
	struct cs_disks_sync s = {.generation = generation, .done = sync_done};

	is_done = false;
	cs_disks_sync(disks, &s);
	wait();
	return s.rc;
}

START_TEST(blocks_spread_over_the_disks)
{
	uint32_t on[DISKS] = {0};

	for (uint32_t i = 0; i < 90; i++) {
		struct block_id id = id_of(i);
		struct cs_place place;
		uint32_t index;
		ck_assert_int_eq(put(i), 0);
		ck_assert_int_eq(cs_disks_find(disks, &id, &place, &index), 0);
		on[index]++;
		ck_assert_int_eq(get(i), 0);
	}
	for (uint32_t i = 0; i < DISKS; i++)
		ck_assert_uint_gt(on[i], 10);
	struct cs_store_stats stats;
	cs_disks_stats(disks, &stats);
	ck_assert_uint_eq(stats.blocks, 90);
	ck_assert_int_eq(get(1000), -E_NO_BLOCK);
}
END_TEST

START_TEST(a_dead_disk_fails_alone)
{
	uint32_t lost = 0;

	for (uint32_t i = 0; i < 60; i++)
		ck_assert_int_eq(put(i), 0);
	ck_assert_int_eq(sync_to(cs_disks_generation(disks)), 0);
	sim_media_set_dead(media[1], true);
	/* The first put that meets it fails; from then on others take its share. */
	for (uint32_t i = 60; i < 120; i++)
		lost += put(i) < 0;
	ck_assert_uint_eq(lost, 1);
	ck_assert_uint_eq(cs_disks_failed_count(disks), 1);
	ck_assert_int_eq(sync_to(cs_disks_generation(disks)), 0);
	sim_media_set_dead(media[1], false);
}
END_TEST

/* Who asks whether we have a block counts on a yes, and on the sync behind it (I2, I4). */
START_TEST(what_only_a_failed_disk_holds_is_not_had)
{
	struct sim_media_faults faults = {.sync_eio = SIM_MILLION}, none = {0};
	uint32_t gone = 0;

	for (uint32_t i = 0; i < 60; i++)
		ck_assert_int_eq(put(i), 0);
	ck_assert_int_eq(sync_to(cs_disks_generation(disks)), 0);
	sim_media_set_faults(media[1], &faults);
	for (uint32_t i = 60; i < 120; i++)
		(void)!put(i);
	ck_assert_int_lt(sync_to(cs_disks_generation(disks)), 0);
	sim_media_set_faults(media[1], &none);
	ck_assert_uint_eq(cs_disks_failed_count(disks), 1);
	for (uint32_t i = 0; i < 60; i++) {
		struct block_id id = id_of(i);
		struct cs_place place;
		int rc = cs_disks_find(disks, &id, &place, NULL);
		ck_assert_int_eq(cs_disks_touch(disks, &id), rc);
		gone += rc == -E_NO_BLOCK;
	}
	ck_assert_uint_gt(gone, 5);
	for (uint32_t i = 0; i < DISKS; i++)
		sim_media_set_faults(media[i], &faults);
	for (uint32_t i = 120; i < 180; i++)
		(void)!put(i);
	(void)!sync_to(cs_disks_generation(disks));
	for (uint32_t i = 0; i < DISKS; i++)
		sim_media_set_faults(media[i], &none);
	ck_assert_uint_eq(cs_disks_failed_count(disks), DISKS);
	ck_assert_int_lt(sync_to(cs_disks_generation(disks)), 0);
}
END_TEST

START_TEST(a_generation_covers_every_disk_and_every_debt)
{
	struct block_id id = id_of(7);

	for (uint32_t i = 0; i < 30; i++)
		ck_assert_int_eq(put(i), 0);
	ck_assert_int_eq(cs_owed_add(owed, &id, 9), 0);
	uint64_t generation = cs_disks_generation(disks);
	ck_assert_int_eq(sync_to(generation), 0);
	for (uint32_t i = 0; i < DISKS; i++)
		ck_assert(sim_media_is_clean(media[i]));
	ck_assert_uint_gt(cs_disks_generation(disks), generation);
	ck_assert_int_eq(sync_to(generation), 0);
	ck_assert_int_eq(sync_to(cs_disks_generation(disks) + 1), -E_INVAL);
}
END_TEST

struct visit {
	struct block_id last;
	uint32_t count, trashed;
};

static bool visited(void *arg, const struct block_id *id, const struct cs_place *place)
{
	struct visit *v = arg;

	ck_assert_int_lt(block_id_compare(&v->last, id), 0);
	v->last = *id;
	v->count++;
	v->trashed += place->trashed_ms != 0;
	return v->count < 100;
}

START_TEST(a_scan_goes_through_all_disks_in_order)
{
	struct block_id from = {{0}};
	struct visit v = {0}, rest = {0};

	for (uint32_t i = 0; i < 150; i++)
		ck_assert_int_eq(put(i), 0);
	ck_assert_int_eq(cs_disks_scan(disks, &from, visited, &v), 0);
	ck_assert_uint_eq(v.count, 100);
	from = v.last;
	ck_assert_int_eq(cs_disks_scan(disks, &from, visited, &rest), 0);
	ck_assert_uint_eq(rest.count, 51);
}
END_TEST

START_TEST(garbage_is_found_on_whichever_disk)
{
	struct block_id from = {{0}}, unknown = id_of(1000);
	struct visit v = {0};
	struct cs_store_stats stats;

	cs_disks_set_collection(disks, 3);
	for (uint32_t i = 0; i < 60; i++)
		ck_assert_int_eq(put(i), 0);
	for (uint32_t i = 0; i < 30; i++) {
		struct block_id id = id_of(i);
		ck_assert_int_eq(cs_disks_free(disks, &id), -E_BUSY);
		ck_assert_int_eq(cs_disks_trash(disks, &id, 77), 0);
		if (i < 10)
			ck_assert_int_eq(cs_disks_free(disks, &id), 0);
		else if (i < 20)
			ck_assert_int_eq(cs_disks_touch(disks, &id), 0);
	}
	ck_assert_int_eq(cs_disks_touch(disks, &unknown), -E_NO_BLOCK);
	ck_assert_int_eq(cs_disks_trash(disks, &unknown, 1), -E_NO_BLOCK);
	ck_assert_int_eq(cs_disks_scan(disks, &from, visited, &v), 0);
	ck_assert(v.count == 50 && v.trashed == 10);
	cs_disks_stats(disks, &stats);
	ck_assert(stats.blocks == 40 && stats.blocks_trash == 10 && stats.bytes_dead > 0);
}
END_TEST

/* --- debts ---- */

START_TEST(debts_are_kept_in_order_and_repaid_once)
{
	struct block_id a = id_of(1), b = id_of(2), at = {{0}};
	server_no server = 1;

	ck_assert_int_eq(cs_owed_next_server(owed, &server), -E_NOENT);
	ck_assert_int_eq(cs_owed_add(owed, &a, 5), 0);
	ck_assert_int_eq(cs_owed_add(owed, &a, 5), 0);
	ck_assert_int_eq(cs_owed_add(owed, &b, 7), 0);
	ck_assert_uint_eq(cs_owed_count(owed), 2);
	server = 1;
	ck_assert_int_eq(cs_owed_next_server(owed, &server), 0);
	ck_assert_uint_eq(server, 5);
	ck_assert_int_eq(cs_owed_next(owed, 5, &at), 0);
	ck_assert(block_id_equal(&at, &a));
	ck_assert(cs_owed_has_pg(owed, block_id_pg(&a)));
	ck_assert_int_eq(cs_owed_remove(owed, &a, 5), 0);
	ck_assert_int_eq(cs_owed_remove(owed, &a, 5), 0);
	ck_assert_uint_eq(cs_owed_count(owed), 1);
	ck_assert(!cs_owed_has_pg(owed, block_id_pg(&a)));
	ck_assert_int_eq(cs_owed_next(owed, 5, &at), -E_NOENT);
}
END_TEST

START_TEST(debts_survive_a_restart_and_a_torn_tail)
{
	struct disk_file *file;
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < 10; i++) {
		struct block_id id = id_of(i);
		ck_assert_int_eq(cs_owed_add(owed, &id, 5), 0);
	}
	close_all();
	open_all();
	ck_assert_uint_eq(cs_owed_count(owed), 10);
	ck_assert_int_eq(disk_open(disk[0], "owed", DISK_WRITE, &file), 0);
	ck_assert_int_eq(disk_size(file, &bytes), 0);
	ck_assert_uint_eq(bytes, 480);
	ck_assert_int_eq(disk_truncate(file, 479), 0);	   /* the last is torn */
	ck_assert_int_eq(disk_write(file, "?", 1, 50), 0); /* the second is damaged */
	disk_close(file);
	close_all();
	open_all();
	ck_assert_uint_eq(cs_owed_count(owed), 8);
}
END_TEST

START_TEST(a_long_history_of_repaid_debts_is_forgotten)
{
	struct disk_file *file;
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < 6000; i++) {
		struct block_id id = id_of(i);
		ck_assert_int_eq(cs_owed_add(owed, &id, 5), 0);
		if (i > 0)
			ck_assert_int_eq(cs_owed_remove(owed, &id, 5), 0);
	}
	close_all();
	open_all();
	ck_assert_uint_eq(cs_owed_count(owed), 1);
	ck_assert_int_eq(disk_open(disk[0], "owed", DISK_READ, &file), 0);
	ck_assert_int_eq(disk_size(file, &bytes), 0);
	disk_close(file);
	ck_assert_uint_eq(bytes, 48);
}
END_TEST

static bool owed_is_idle(void *arg)
{
	(void)arg;
	return cs_owed_is_idle(owed);
}

/*
 * Somebody fills the disk for a while: the debts are compared then (content.h), later ones are
 * noted again.
 */
START_TEST(a_log_that_failed_is_begun_anew)
{
	struct block_id id = {{1}};

	ck_assert_int_eq(cs_owed_add(owed, &id, 5), 0);
	sim_media_leave(media[0], 0);
	sim_world_run_for(world, SIM_S); /* the log cannot grow */
	id.bytes[0]++;
	ck_assert_int_eq(cs_owed_add(owed, &id, 5), -E_IO);
	cs_owed_restart(owed);
	ck_assert_uint_eq(cs_owed_count(owed), 0);
	sim_media_leave(media[0], UINT64_MAX);
	sim_world_run_for(world, 3 * SIM_S);
	ck_assert_int_eq(cs_owed_add(owed, &id, 7), 0);
	sim_world_run_for(world, SIM_S);
	ck_assert(sim_world_run_until(world, owed_is_idle, NULL, SIM_S));
	close_all();
	open_all();
	ck_assert_uint_eq(cs_owed_count(owed), 1);
	ck_assert(cs_owed_was_whole(owed));
}
END_TEST

/* On a full disk an entry is refused, no more; on a dead one no debt may seem to last for ever. */
START_TEST(an_index_of_the_log_that_failed_is_begun_anew)
{
	struct block_id a = {{1}}, b = {{2}};
	struct trip_rows trip;
	struct cs_owed *other;
	struct rows *inner;
	struct error err = {0};
	server_no server = 0;

	ck_assert_int_eq(rows_mem_create(&inner), 0);
	trip_rows_init(&trip, inner);
	ck_assert_int_eq(cs_owed_open(loop, disk[1], &trip.base, &other, &err), 0);
	ck_assert_int_eq(cs_owed_add(other, &a, 5), 0);
	for (uint64_t at = 1; at <= 2; at++) { /* the row, the commit */
		trip_rows_arm(&trip, at, -E_NOSPC);
		ck_assert_int_eq(cs_owed_add(other, &b, 5), -E_NOSPC);
		ck_assert_uint_eq(cs_owed_count(other), 1);
		ck_assert(!cs_owed_has_pg(other, block_id_pg(&b)));
	}
	ck_assert_uint_eq(cs_owed_failures(other), 0);
	trip_rows_arm(&trip, 2, -E_IO);
	ck_assert_int_eq(cs_owed_remove(other, &a, 5), -E_IO);
	ck_assert_uint_eq(cs_owed_failures(other), 1);
	ck_assert_int_eq(cs_owed_next_server(other, &server), -E_NOENT);
	ck_assert_int_eq(cs_owed_add(other, &b, 5), -E_IO);
	trip_rows_arm(&trip, 1, -E_IO); /* it cannot be emptied at once */
	cs_owed_restart(other);
	ck_assert_uint_eq(cs_owed_count(other), 0);
	sim_world_run_for(world, 3 * SIM_S);
	ck_assert_int_eq(cs_owed_add(other, &b, 5), 0);
	ck_assert_uint_eq(cs_owed_count(other), 1);
	sim_world_run_for(world, SIM_S);
	ck_assert_int_eq(cs_owed_close(other), 0);
	rows_destroy(inner);
}
END_TEST

START_TEST(a_log_that_is_all_history_does_not_grow)
{
	struct disk_file *file;
	uint64_t bytes = 0, most = 0;
	struct block_id kept = id_of(1u << 30);

	ck_assert_int_eq(cs_owed_add(owed, &kept, 7), 0);
	for (uint32_t i = 0; i < 40000; i++) {
		struct block_id id = id_of(i);
		ck_assert_int_eq(cs_owed_add(owed, &id, 5), 0);
		ck_assert_int_eq(cs_owed_remove(owed, &id, 5), 0);
		if (i % 1000 != 0)
			continue;
		ck_assert_int_eq(sync_to(cs_disks_generation(disks)), 0);
		ck_assert_int_eq(disk_open(disk[0], "owed", DISK_READ, &file), 0);
		ck_assert_int_eq(disk_size(file, &bytes), 0);
		disk_close(file);
		most = MAX_OF(most, bytes);
	}
	ck_assert_uint_gt(most, MiB(1) / 2);
	ck_assert_uint_lt(most, MiB(1) + 3000 * 48);
	struct block_id last = id_of(50000);
	ck_assert_int_eq(cs_owed_add(owed, &last, 5), 0);
	close_all();
	open_all();
	ck_assert_uint_eq(cs_owed_count(owed), 2);
	server_no server = 6;
	ck_assert_int_eq(cs_owed_next_server(owed, &server), 0);
	ck_assert_uint_eq(server, 7);
}
END_TEST

TEST_MAIN("disks", tcase_add_checked_fixture(tc, begin, end);
	  tcase_add_test(tc, blocks_spread_over_the_disks);
	  tcase_add_test(tc, a_dead_disk_fails_alone);
	  tcase_add_test(tc, what_only_a_failed_disk_holds_is_not_had);
	  tcase_add_test(tc, a_generation_covers_every_disk_and_every_debt);
	  tcase_add_test(tc, a_scan_goes_through_all_disks_in_order);
	  tcase_add_test(tc, garbage_is_found_on_whichever_disk);
	  tcase_add_test(tc, debts_are_kept_in_order_and_repaid_once);
	  tcase_add_test(tc, debts_survive_a_restart_and_a_torn_tail);
	  tcase_add_test(tc, an_index_of_the_log_that_failed_is_begun_anew);
	  tcase_add_test(tc, a_log_that_is_all_history_does_not_grow);
	  tcase_add_test(tc, a_long_history_of_repaid_debts_is_forgotten);
	  tcase_add_test(tc, a_log_that_failed_is_begun_anew))
