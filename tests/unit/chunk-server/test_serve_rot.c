/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records that rot or are another's, under a chunk server: a scrub and a check find them, and they
 * come back from the other replicas.
 */
#include "tests/unit/chunk-server/serve_world.h"

#define ROT_SEGMENT "segments/seg-0000000000000001"

/* Where node `node` has the block, in its first segment. */
static uint64_t place_of(uint32_t node, const struct block_id *id)
{
	Wire__Where msg = WIRE__WHERE__INIT;

	msg.id = (ProtobufCBinaryData){BLOCK_ID_BYTES, (uint8_t *)(uintptr_t)id->bytes};
	ck_assert_int_eq(ask(node, MSG_WHERE, &msg.base, NULL, 0), 0);
	return got.where.held ? got.where.offset : 0;
}

static void rot(uint32_t node, uint32_t number)
{
	struct block_id id;

	buf_put(record_of(number, &id));
	ck_assert_int_eq(sim_media_rot(nodes[node].media, ROT_SEGMENT, place_of(node, &id) + 70, 1),
			 0);
}

/* Record `number` now holds, under its own name and with good checksums, another one's bytes. */
static void swap_content(uint32_t node, uint32_t number)
{
	uint8_t plain[1000] = {42}, bytes[RECORD_BYTES_MAX];
	struct block_id id;
	struct buf *record = record_of(number, &id);
	struct disk_file *file;
	struct disk *disk;
	uint32_t len = record_build_named(codec, &id, CODEC_AIM_LZ4, plain, sizeof(plain), bytes);

	/* Its header says how long it is: pad by taking another length of the content. */
	for (uint32_t i = 1; len != record->len && i < sizeof(plain); i++) {
		plain[i] = (uint8_t)(i * 31 + i * i * 7);
		len = record_build_named(codec, &id, CODEC_AIM_LZ4, plain, sizeof(plain), bytes);
	}
	ck_assert_uint_eq(len, record->len);
	ck_assert_int_eq(sim_disk_create(nodes[node].media, &disk), 0);
	ck_assert_int_eq(disk_open(disk, ROT_SEGMENT, DISK_WRITE, &file), 0);
	ck_assert_int_eq(disk_write(file, bytes, len, place_of(node, &id)), 0);
	disk_close(file);
	disk_destroy(disk);
	buf_put(record);
}

static bool has_scrubbed(void *arg)
{
	Wire__Scrub msg = WIRE__SCRUB__INIT;

	ck_assert_int_eq(ask(*(uint32_t *)arg, MSG_SCRUB, &msg.base, NULL, 0), 0);
	return !got.scrub.running;
}

static void scrub(uint32_t node, bool is_deep)
{
	Wire__Scrub msg = WIRE__SCRUB__INIT;

	msg.action = 1;
	msg.deep = is_deep;
	ck_assert_int_eq(ask(node, MSG_SCRUB, &msg.base, NULL, 0), 0);
	ck_assert(got.scrub.running);
	while (!has_scrubbed(&node))
		sim_world_run_for(world, 20 * SIM_MS);
}

static uint32_t held(uint32_t node, uint32_t blocks)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < blocks; i++)
		count += get(node, i) == 0;
	return count;
}

/*
 * A read that failed once reports what the next read finds good: that must not settle the debt too
 * early.
 */
START_TEST(a_record_that_reads_well_again_is_not_lost)
{
	struct cs_server *s = nodes[0].server;

	for (uint32_t i = 0; i < 200; i++)
		ck_assert_int_eq(put(0, i, 5), 0);
	/* Reads of repaying and syncs of debts overtake each other. */
	sim_loop_set_work(nodes[0].loop, 30 * SIM_MS, SIM_MS);
	for (uint32_t i = 0; i < 200; i++) {
		struct cs_place place;
		struct block_id id;
		buf_put(record_of(i, &id));
		ck_assert_int_eq(cs_store_find(s->stores[0], &id, &place), 0);
		ck_assert_int_eq(cs_damage_report(s, s->stores[0], &id, &place), 0);
		sim_world_run_for(world, 10 * SIM_MS);
	}
	sim_world_run_for(world, 20 * SIM_S);
	ck_assert_uint_eq(held(0, 200), 200);
}
END_TEST

START_TEST(a_scrub_finds_every_rotten_record_and_they_come_back)
{
	/*
	 * More than one slice of the index, and more than one batch of records in a segment that is
	 * filled.
	 */
	for (uint32_t i = 0; i < 600; i++)
		ck_assert_int_eq(put(0, i, 5), 0);
	scrub(0, false);
	ck_assert_uint_eq(got.scrub.records, 600);
	ck_assert_uint_eq(got.scrub.wrong, 0);
	for (uint32_t i = 3; i < 600; i += 10)
		rot(0, i);
	scrub(0, false);
	ck_assert_uint_eq(got.scrub.records, 600);
	ck_assert_uint_eq(got.scrub.wrong, 60);
	sim_world_run_for(world, 3 * SIM_S);
	ck_assert_uint_eq(held(0, 600), 600);
	scrub(0, true);
	ck_assert_uint_eq(got.scrub.records, 600);
	ck_assert_uint_eq(got.scrub.wrong, 0);
	ck_assert_uint_eq(got.scrub.wrong_last, 0);
}
END_TEST

START_TEST(what_a_scrub_found_is_not_forgotten_by_a_crash)
{
	for (uint32_t i = 0; i < 20; i++)
		ck_assert_int_eq(put(0, i, 5), 0);
	sim_world_run_for(world, SIM_S);
	node_kill(1);
	node_kill(2);
	rot(0, 7);
	scrub(0, false);
	ck_assert_uint_eq(got.scrub.wrong, 1);
	node_kill(0);
	for (uint32_t i = 0; i < SERVERS; i++)
		node_start(i);
	sim_world_run_for(world, 5 * SIM_S);
	ck_assert_uint_eq(held(0, 20), 20);
}
END_TEST

START_TEST(a_deep_scrub_proves_ids)
{
	for (uint32_t i = 0; i < 10; i++)
		ck_assert_int_eq(put(0, i, 5), 0);
	swap_content(0, 4);
	scrub(0, false);
	ck_assert_uint_eq(got.scrub.wrong, 0);
	scrub(0, true);
	ck_assert_uint_eq(got.scrub.wrong, 1);
	sim_world_run_for(world, 3 * SIM_S);
	ck_assert_uint_eq(held(0, 10), 10);
}
END_TEST

START_TEST(a_check_proves_a_block_and_brings_it_back)
{
	Wire__Check msg = WIRE__CHECK__INIT;
	struct block_id id;

	ck_assert_int_eq(put(0, 1, 5), 0);
	buf_put(record_of(1, &id));
	msg.id = (ProtobufCBinaryData){BLOCK_ID_BYTES, id.bytes};
	ck_assert_int_eq(ask(0, MSG_CHECK, &msg.base, NULL, 0), 0);
	ck_assert(got.check.held && !got.check.was_wrong);
	swap_content(0, 1);
	ck_assert_int_eq(ask(0, MSG_CHECK, &msg.base, NULL, 0), 0);
	ck_assert(got.check.held && got.check.was_wrong);
	sim_world_run_for(world, 3 * SIM_S);
	ck_assert_int_eq(get(0, 1), 0);
	ck_assert_int_eq(ask(0, MSG_CHECK, &msg.base, NULL, 0), 0);
	ck_assert(got.check.held && !got.check.was_wrong);
}
END_TEST

TEST_MAIN("serve rot", tcase_add_checked_fixture(tc, begin, end);
	  tcase_add_test(tc, a_record_that_reads_well_again_is_not_lost);
	  tcase_add_test(tc, a_scrub_finds_every_rotten_record_and_they_come_back);
	  tcase_add_test(tc, what_a_scrub_found_is_not_forgotten_by_a_crash);
	  tcase_add_test(tc, a_deep_scrub_proves_ids);
	  tcase_add_test(tc, a_check_proves_a_block_and_brings_it_back))
