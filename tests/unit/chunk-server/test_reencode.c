/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One chunk server alone, in virtual time: what is cold becomes small, what is hot fast, what does
 * not shrink is tried once, what is damaged, in trash or not our turn is left alone, and every
 * block stays what it is.
 */
#include <stdio.h>
#include <string.h>

#include "chunk-server/format.h"
#include "chunk-server/serve_internal.h"
#include "fs/base/fault.h"
#include "fs/base/metrics.h"
#include "tests/check_main.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_net.h"

#define BLOCKS	48u /* 16 fill a segment */
#define COLD_MS 4000u

static struct sim_world *world;
static struct sim_switch *wires;
static struct sim_media *media;
static struct loop *loop;
static struct net *net;
static struct disk *disk;
static struct rows *rows, *owed;
static struct buf_pool *pool;
static struct codec_scratch *codec;
static struct cs_server *server;
static uint64_t bytes_per_s;
static uint32_t full_percent;

/* --- the server ---- */

static void start(void)
{
	struct error err = {0};

	ck_assert_int_eq(sim_loop_create(world, "cs", &loop), 0);
	pool = buf_pool_create(MiB(64));
	ck_assert_int_eq(sim_net_create(wires, loop, pool, "cs", &net), 0);
	ck_assert_int_eq(sim_disk_create(media, &disk), 0);
	ck_assert_int_eq(rows_mem_create(&rows), 0);
	ck_assert_int_eq(rows_mem_create(&owed), 0);
	struct cs_server_options options = {
		.loop = loop,
		.net = net,
		.pool = pool,
		.disk_count = 1,
		.disks[0] = {.disk = disk, .index = rows},
		.owed = owed,
		.listen = "cs:7801",
		.mds = "nobody:7800",
		.name = "cs",
		.host = "cs",
		.boot_id = 1,
		.segment_bytes = MiB(1),
		.sync_ms = 100,
		.sync_bytes = MiB(1),
		.full_percent = full_percent,
		.cold_after_ms = COLD_MS,
		.reencode = true,
		.reencode_bytes_per_s = bytes_per_s,
	};
	int rc = cs_server_create(&options, &server, &err);
	ck_assert_msg(rc == 0, "%s", err.text);
	server->number = 1; /* as if it had joined: damage is owed to a number */
	cs_disks_set_collection(server->disks, 1);
}

static void kill_server(void)
{
	sim_loop_kill(loop);
	sim_net_kill(net, false);
	sim_media_crash(media);
	cs_server_destroy(server);
	net->ops->destroy(net);
	disk_destroy(disk);
	rows_destroy(rows);
	rows_destroy(owed);
	sim_loop_destroy(loop);
	ck_assert_uint_eq(buf_pool_used_bytes(pool), 0);
	buf_pool_destroy(pool);
}

static void begin(void)
{
	struct super super = {.role = SUPER_CHUNK, .hash = HASH_SHA256, .copies = 1,
			      .min_copies = 1};
	struct error err = {0};

	bytes_per_s = 0;
	full_percent = 100;
	memset(super.cluster, 7, sizeof(super.cluster));
	memset(super.server, 1, sizeof(super.server));
	memset(super.directory, 2, sizeof(super.directory));
	codec = codec_scratch_create();
	ck_assert_int_eq(sim_world_create(1, &world), 0);
	ck_assert_int_eq(sim_switch_create(world, &wires), 0);
	ck_assert_int_eq(sim_media_create(world, MiB(64), &media), 0);
	ck_assert_int_eq(sim_disk_create(media, &disk), 0);
	ck_assert_int_eq(cs_format(disk, &super, &err), 0);
	disk_destroy(disk);
	start();
}

static void end(void)
{
	fault_disarm_all();
	kill_server();
	sim_media_destroy(media);
	sim_switch_destroy(wires);
	sim_world_destroy(world);
	codec_scratch_destroy(codec);
}

/* Time passes while the metadata server gives us the turn, as often as we want. */
static void pass_time(uint64_t ms)
{
	for (uint64_t at = 0; at < ms; at += 100) {
		cs_reencode_turn(server, loop_now_ms(loop), 1000);
		sim_world_run_for(world, 100 * SIM_MS);
	}
}

static Wire__ReencodeStatus told(void)
{
	Wire__ReencodeStatus status;

	cs_reencode_tell(server, &status);
	return status;
}

/* --- blocks ---- */

/* Sixteen letters in no order, which can be halved. Noise: which cannot. */
static void plain_of(uint32_t number, bool is_noise, uint8_t plain[BLOCK_BYTES_MAX])
{
	uint64_t x = number * 2654435761u + 1;

	for (uint32_t i = 0; i < BLOCK_BYTES_MAX; i++) {
		x = x * 6364136223846793005u + 1442695040888963407u;
		plain[i] = is_noise ? (uint8_t)(x >> 56) : (uint8_t)('a' + (x >> 60));
	}
}

static struct block_id id_of(uint32_t number, bool is_noise)
{
	static uint8_t plain[BLOCK_BYTES_MAX];
	struct block_id id;

	plain_of(number, is_noise, plain);
	block_id_of(HASH_SHA256, plain, sizeof(plain), &id);
	return id;
}

static void flag(struct cs_put *put)
{
	*(bool *)put->user = true;
}

static bool is_set(void *arg)
{
	return *(bool *)arg;
}

static void put(uint32_t number, bool is_noise, enum codec_aim aim)
{
	static uint8_t plain[BLOCK_BYTES_MAX];
	bool is_done = false;
	struct cs_put p = {.done = flag, .user = &is_done, .plain_len = BLOCK_BYTES_MAX};

	plain_of(number, is_noise, plain);
	p.record = buf_get(pool, RECORD_BYTES_MAX);
	p.record->len = record_build(codec, HASH_SHA256, aim, plain, BLOCK_BYTES_MAX,
				     p.record->data);
	p.id = id_of(number, is_noise);
	struct buf *record = p.record;
	cs_store_put(server->stores[0], &p);
	ck_assert(sim_world_run_until(world, is_set, &is_done, 10 * SIM_S));
	ck_assert_int_eq(p.rc, 0);
	buf_put(record);
}

static void put_all(bool is_noise, enum codec_aim aim)
{
	for (uint32_t i = 0; i < BLOCKS; i++)
		put(i, is_noise, aim);
}

struct getter {
	struct cs_get get;
	bool is_done;
};

static void got(struct cs_get *get)
{
	container_of(get, struct getter, get)->is_done = true;
}

/* How a block is stored; what is read is what was put. */
static enum codec codec_of(uint32_t number, bool is_noise)
{
	static uint8_t plain[BLOCK_BYTES_MAX], found[BLOCK_BYTES_MAX];
	struct getter g = {.get = {.id = id_of(number, is_noise), .done = got}};
	struct record record;

	cs_store_get(server->stores[0], &g.get);
	ck_assert(sim_world_run_until(world, is_set, &g.is_done, 10 * SIM_S));
	ck_assert_int_eq(g.get.rc, 0);
	ck_assert_int_eq(record_open(codec, HASH_SHA256, g.get.record->data, g.get.record->len,
				     true, &record, found),
			 0);
	plain_of(number, is_noise, plain);
	ck_assert_mem_eq(found, plain, BLOCK_BYTES_MAX);
	ck_assert_uint_eq(record.codec, g.get.place.codec);
	buf_put(g.get.record);
	return (enum codec)record.codec;
}

static bool is_small(enum codec kind)
{
	return kind == CODEC_ZSTD || kind == CODEC_PLANES;
}

/* Of the blocks in sealed segments: the active one is not looked at. */
static uint32_t small_count(void)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < BLOCKS; i++)
		count += is_small(codec_of(i, false));
	return count;
}

/* --- what is done ---- */

START_TEST(what_is_cold_becomes_small_and_stays_what_it_is)
{
	struct cs_store_stats before, after;

	put_all(false, CODEC_AIM_RAW);
	cs_store_stats(server->stores[0], &before);
	pass_time(COLD_MS / 2);
	ck_assert_uint_eq(told().blocks, 0); /* nothing is cold yet */
	pass_time(4 * COLD_MS);
	ck_assert_uint_ge(small_count(), BLOCKS - 20);
	cs_store_stats(server->stores[0], &after);
	ck_assert_uint_lt(after.bytes_stored, before.bytes_stored * 3 / 4);
	ck_assert_uint_eq(after.bytes_plain, before.bytes_plain);
	ck_assert_uint_eq(after.blocks, BLOCKS);
	/* Segments died whole, and are given back. */
	ck_assert_uint_lt(after.bytes_dead, MiB(1));
	kill_server();
	start();
	ck_assert_uint_ge(small_count(), BLOCKS - 20);
}
END_TEST

START_TEST(who_has_no_turn_does_nothing)
{
	put_all(false, CODEC_AIM_RAW);
	sim_world_run_for(world, 4ull * COLD_MS * SIM_MS);
	ck_assert(told().wants);
	ck_assert_uint_eq(told().pass, 0);
	ck_assert_uint_eq(small_count(), 0);
}
END_TEST

START_TEST(what_does_not_shrink_is_tried_once)
{
	uint64_t dense = METRIC_GET(reencode_dense);

	put_all(true, CODEC_AIM_RAW);
	pass_time(3 * COLD_MS);
	dense = METRIC_GET(reencode_dense) - dense;
	ck_assert_uint_ge(dense, BLOCKS - 20);
	ck_assert_uint_le(dense, BLOCKS);
	uint64_t passes = told().pass, again = METRIC_GET(reencode_dense);
	pass_time(2 * COLD_MS);
	ck_assert_uint_gt(told().pass, passes);
	ck_assert_uint_eq(METRIC_GET(reencode_dense), again);
	ck_assert_int_eq(codec_of(0, true), CODEC_RAW);
}
END_TEST

START_TEST(what_is_hot_becomes_fast)
{
	struct block_id hot = id_of(3, false);

	put_all(false, CODEC_AIM_SMALL);
	ck_assert(is_small(codec_of(3, false)));
	for (uint32_t i = 0; i < 30; i++) {
		pass_time(COLD_MS / 20);
		cs_heat_note(server->heat, &hot, loop_now_ms(loop));
	}
	ck_assert(!is_small(codec_of(3, false)));
	ck_assert(is_small(codec_of(4, false)));
}
END_TEST

/* Time passes in which all are used. */
static void pass_hot_time(uint64_t ms)
{
	for (uint64_t at = 0; at < ms; at += COLD_MS / 20) {
		for (uint32_t i = 0; i < BLOCKS; i++) {
			struct block_id id = id_of(i, false);
			cs_heat_note(server->heat, &id, loop_now_ms(loop));
		}
		pass_time(COLD_MS / 20);
	}
}

START_TEST(what_is_hot_stays_small_on_a_full_disk)
{
	put_all(false, CODEC_AIM_SMALL);
	kill_server();
	full_percent = 1;
	start();
	pass_hot_time(2 * COLD_MS);
	ck_assert_uint_gt(small_count(), BLOCKS / 2); /* one segment was filled */
	for (uint32_t i = 0; i < 3; i++) {
		struct block_id id = id_of(i, false);
		ck_assert_int_eq(cs_store_trash(server->stores[0], &id, 1), 0);
		ck_assert_int_eq(cs_store_free(server->stores[0], &id), 0);
	}
	uint64_t compacted = METRIC_GET(segments_compacted), pass = told().pass;
	pass_hot_time(2 * COLD_MS);
	ck_assert_uint_gt(told().pass, pass);
	ck_assert_uint_eq(METRIC_GET(segments_compacted), compacted);
}
END_TEST

START_TEST(what_is_damaged_is_set_aside_and_not_encoded)
{
	struct block_id id = id_of(2, false);
	struct cs_place place;
	char name[STORE_NAME_BYTES];

	put_all(false, CODEC_AIM_RAW);
	ck_assert_int_eq(cs_store_find(server->stores[0], &id, &place), 0);
	ck_assert_int_eq(sim_media_rot(media, cs_store_segment_name(place.segment, name),
				       place.offset + 1000, 1),
			 0);
	pass_time(3 * COLD_MS);
	ck_assert_int_eq(cs_store_find(server->stores[0], &id, &place), -E_NO_BLOCK);
	ck_assert_uint_eq(cs_owed_count(server->owed), 1);
	ck_assert(!told().wrong);
	ck_assert(is_small(codec_of(1, false)) && is_small(codec_of(4, false)));
}
END_TEST

START_TEST(trash_is_left_alone)
{
	struct block_id id = id_of(5, false);

	put_all(false, CODEC_AIM_RAW);
	ck_assert_int_eq(cs_store_trash(server->stores[0], &id, 7), 0);
	pass_time(3 * COLD_MS);
	struct cs_place place;
	ck_assert_int_eq(cs_store_find(server->stores[0], &id, &place), 0);
	ck_assert_uint_eq(place.trashed_ms, 7);
	ck_assert(!is_small((enum codec)place.codec));
	ck_assert(is_small(codec_of(6, false)));
}
END_TEST

START_TEST(it_is_no_faster_than_it_may_be_and_goes_on_after_a_crash)
{
	bytes_per_s = KiB(512);
	kill_server();
	start();
	put_all(false, CODEC_AIM_RAW);
	pass_time(COLD_MS + 2000);
	Wire__ReencodeStatus before = told();
	ck_assert_uint_gt(before.blocks, 0);
	ck_assert_uint_le(before.blocks, 2 * 8 + 2 * 16); /* 8 a second, one batch ahead */
	while (told().bytes_done == 0)
		pass_time(100);
	before = told();
	kill_server();
	start();
	ck_assert(told().running);
	ck_assert_uint_eq(told().pass, before.pass);
	pass_time(8000);
	ck_assert_uint_ge(small_count(), BLOCKS - 20);
}
END_TEST

#ifdef CAIRN_FAULTS
START_TEST(a_wrong_encoding_is_not_used_and_ends_it)
{
	put_all(false, CODEC_AIM_RAW);
	fault_arm(FAULT_reencode, 5, 1);
	pass_time(3 * COLD_MS);
	ck_assert(told().wrong && !told().wants);
	ck_assert_uint_lt(small_count(), 20);
}
END_TEST
#define FAULT_TESTS(tc) tcase_add_test(tc, a_wrong_encoding_is_not_used_and_ends_it)
#else
#define FAULT_TESTS(tc) puts("SKIP: fault points are compiled into sanitizer builds only")
#endif

static void add_tests(TCase *tc)
{
	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_test(tc, what_is_cold_becomes_small_and_stays_what_it_is);
	tcase_add_test(tc, who_has_no_turn_does_nothing);
	tcase_add_test(tc, what_does_not_shrink_is_tried_once);
	tcase_add_test(tc, what_is_hot_becomes_fast);
	tcase_add_test(tc, what_is_hot_stays_small_on_a_full_disk);
	tcase_add_test(tc, what_is_damaged_is_set_aside_and_not_encoded);
	tcase_add_test(tc, trash_is_left_alone);
	tcase_add_test(tc, it_is_no_faster_than_it_may_be_and_goes_on_after_a_crash);
	FAULT_TESTS(tc);
}

TEST_MAIN("reencode", add_tests(tc))
