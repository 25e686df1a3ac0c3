/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chunk servers together: puts reach every replica, epochs are kept (I10), what is wrong is refused
 * (I1, I8), boot ids and generations mean what they say (I4), and what a replica missed reaches it.
 */
#include "tests/unit/chunk-server/serve_world.h"

START_TEST(a_part_is_answered_however_it_is_stored)
{
	for (int codec_asked = CODEC_RAW; codec_asked <= CODEC_LZ4; codec_asked++) {
		uint8_t plain[1000];
		struct block_id id;
		struct buf *record = record_with((enum codec)codec_asked, &id, plain);
		Wire__Put msg = WIRE__PUT__INIT;

		ck_assert_int_eq(ask(0, MSG_PUT, &msg.base, record, mds.epoch), 0);
		ck_assert_int_eq(get_part(&id, 300, 50), 0);
		ck_assert(got.is_part);
		ck_assert_uint_eq(got.bulk_len, 50);
		ck_assert_mem_eq(got.bulk, plain + 300, 50);
		ck_assert_int_eq(get_part(&id, 999, 1), 0);
		ck_assert(got.is_part);
		ck_assert_mem_eq(got.bulk, plain + 999, 1);
		/* Where there is no such part, the whole shows it. */
		ck_assert_int_eq(get_part(&id, 999, 2), 0);
		ck_assert(!got.is_part);
		ck_assert_int_eq(get_part(&id, UINT32_MAX, UINT32_MAX), 0);
		ck_assert(!got.is_part);
		/* As it does where it is no longer. */
		ck_assert_int_eq(get_part(&id, 0, record->len), 0);
		ck_assert(!got.is_part);
		ck_assert_int_eq(get_part(&id, 0, 0), 0);
		ck_assert(!got.is_part);
		ck_assert_uint_eq(got.bulk_len, record->len);
		ck_assert_mem_eq(got.bulk, record->data, record->len);
		buf_put(record);
	}
}
END_TEST

START_TEST(a_put_reaches_every_replica_and_is_synced)
{
	ck_assert_int_eq(put(0, 1, 5), 0);
	ck_assert_uint_eq(got.holder_count, 3);
	uint64_t boot_ids[4], generations[4];
	for (uint32_t i = 0; i < 3; i++) {
		ck_assert_uint_eq(got.boot_ids[i], mds.boot_ids[got.holders[i]]);
		boot_ids[got.holders[i]] = got.boot_ids[i];
		generations[got.holders[i]] = got.generations[i];
	}
	for (uint32_t i = 0; i < 3; i++) {
		ck_assert_int_eq(get(i, 1), 0);
		ck_assert_int_eq(sync_with(i, boot_ids[i + 1], generations[i + 1]), 0);
		ck_assert_int_eq(sync_with(i, boot_ids[i + 1] + 1, 1), -E_STALE_GENERATION);
	}
	ck_assert_int_eq(get(0, 2), -E_NO_BLOCK);
}
END_TEST

START_TEST(sizes_of_many_blocks_are_told_at_once)
{
	Wire__Sizes msg = WIRE__SIZES__INIT;
	struct block_id ids[3];
	ProtobufCBinaryData wanted[3];
	uint32_t lengths[3];

	for (uint32_t i = 0; i < 3; i++) {
		struct buf *record = record_of(i, &ids[i]);

		lengths[i] = record->len;
		buf_put(record);
		wanted[i] = (ProtobufCBinaryData){BLOCK_ID_BYTES, ids[i].bytes};
	}
	ck_assert_int_eq(put(0, 0, 5), 0);
	ck_assert_int_eq(put(0, 2, 5), 0);
	msg.n_ids = 3;
	msg.ids = wanted;
	ck_assert_int_eq(ask(1, MSG_SIZES, &msg.base, NULL, 0), 0);
	ck_assert_uint_eq(got.sizes, 3);
	ck_assert_uint_eq(got.stored[0], lengths[0]);
	ck_assert_uint_eq(got.stored[1], 0);
	ck_assert_uint_eq(got.stored[2], lengths[2]);
	ck_assert_uint_eq(got.codecs[0], CODEC_LZ4);
	msg.n_ids = 0;
	ck_assert_int_eq(ask(1, MSG_SIZES, &msg.base, NULL, 0), 0);
	ck_assert_uint_eq(got.sizes, 0);
}
END_TEST

START_TEST(an_old_epoch_is_refused_with_the_newer_row)
{
	ck_assert_int_eq(put(0, 1, 4), -E_STALE_EPOCH);
	ck_assert(got.has_row);
	ck_assert_uint_eq(got.row.epoch, 5);
	ck_assert_int_eq(get(0, 1), -E_NO_BLOCK);
}
END_TEST

START_TEST(a_newer_epoch_makes_the_server_fetch_the_map)
{
	mds.epoch = 6; /* nobody was told */
	ck_assert_int_eq(put(0, 1, 6), 0);
	ck_assert_uint_eq(got.holder_count, 3);
	ck_assert_int_eq(put(0, 2, 7), -E_RECOVERING);
}
END_TEST

START_TEST(a_block_under_a_wrong_name_is_refused)
{
	Wire__Put msg = WIRE__PUT__INIT;
	struct block_id id;
	struct record r;
	struct buf *record = record_of(1, &id);

	ck_assert_int_eq(record_decode_header(record->data, &r), 0);
	r.id.bytes[31] ^= 1;
	record_encode_header(&r, record->data);
	msg.forward = true;
	ck_assert_int_eq(ask(0, MSG_PUT, &msg.base, record, 5), -E_CORRUPT);
	buf_put(record);
	ck_assert_int_eq(ask(0, MSG_PUT, &msg.base, NULL, 5), -E_MALFORMED);
}
END_TEST

START_TEST(what_a_replica_missed_reaches_it_when_it_is_back)
{
	node_kill(2);
	sim_world_run_for(world, SIM_S);
	for (uint32_t i = 0; i < 20; i++) {
		ck_assert_int_eq(put(0, i, 5), 0);
		ck_assert_uint_eq(got.holder_count, 2);
	}
	sim_world_run_for(world, SIM_S);
	ck_assert_uint_gt(mds.owed[1], 0);
	/* The debt survives its keeper. */
	node_kill(0);
	node_start(0);
	node_start(2);
	sim_world_run_for(world, 10 * SIM_S);
	for (uint32_t i = 0; i < 20; i++)
		ck_assert_int_eq(get(2, i), 0);
	ck_assert_uint_eq(mds.owed[1], 0);
	ck_assert_uint_eq(mds.blocks[3], 20);
}
END_TEST

START_TEST(fewer_than_min_copies_are_not_enough)
{
	node_kill(1);
	node_kill(2);
	ck_assert_int_eq(put(0, 1, 5), -E_NO_REPLICA);
	ck_assert_uint_eq(got.holder_count, 1);
}
END_TEST

/*
 * A client adds up what several replicas answer: the last replica must not be forgotten for that.
 */
START_TEST(two_answers_of_one_holder_each_owe_it_to_the_third)
{
	node_kill(2);
	sim_switch_cut(wires, "cs1", "cs2");
	sim_switch_cut(wires, "cs2", "cs1");
	ck_assert_int_eq(put(0, 1, 5), -E_NO_REPLICA);
	ck_assert_uint_eq(got.holder_count, 1);
	ck_assert_int_eq(put(1, 1, 5), -E_NO_REPLICA);
	ck_assert_uint_eq(got.holder_count, 1);
	sim_switch_heal(wires);
	node_start(2);
	sim_world_run_for(world, 10 * SIM_S);
	ck_assert_int_eq(get(2, 1), 0);
}
END_TEST

static void fill_disk(uint32_t node)
{
	struct disk_space space;
	struct disk_file *ballast;

	ck_assert_int_eq(disk_space(nodes[node].disk, &space), 0);
	ck_assert_int_eq(disk_open(nodes[node].disk, "ballast", DISK_CREATE | DISK_WRITE, &ballast),
			 0);
	ck_assert_int_eq(disk_allocate(ballast, space.bytes_free - MiB(2)), 0);
	disk_close(ballast);
}

START_TEST(one_full_replica_is_owed_its_block)
{
	fill_disk(1);
	ck_assert_int_eq(put(0, 1, 5), 0);
	ck_assert_uint_eq(got.holder_count, 2);
	ck_assert_int_eq(put(1, 2, 5), 0); /* though it cannot keep it itself */
	ck_assert_uint_eq(got.holder_count, 2);
}
END_TEST

START_TEST(too_few_replicas_that_are_not_full_are_no_space)
{
	fill_disk(1);
	fill_disk(2);
	ck_assert_int_eq(put(0, 1, 5), -E_NOSPC); /* though it has space itself */
	ck_assert_int_eq(put(1, 1, 5), -E_NOSPC);
}
END_TEST

static struct rpc_call crowd[100];
static uint32_t crowd_refused, crowd_left;

static void crowd_done(struct rpc_call *call)
{
	crowd_refused += call->rc == -E_OVERLOADED;
	crowd_left--;
}

static bool crowd_is_over(void *arg)
{
	(void)arg;
	return crowd_left == 0;
}

/* Two servers full of puts that wait for each other would wait until deadlines. */
START_TEST(puts_of_clients_leave_room_for_those_of_servers)
{
	Wire__Put msg = WIRE__PUT__INIT;
	struct buf *records[ARRAY_COUNT(crowd)];
	struct block_id id;

	node_kill(0);
	node_pool_bytes = MiB(8);
	node_start(0);
	ck_assert(sim_world_run_until(world, all_joined, NULL, WAIT_NS));
	ck_assert_int_eq(put(0, 1000, 5), 0); /* it knows the map, and is connected */
	sim_switch_cut(wires, "cs1", "cs2");
	sim_switch_cut(wires, "cs1", "cs3");
	crowd_refused = 0;
	crowd_left = ARRAY_COUNT(crowd);
	msg.forward = true;
	for (uint32_t i = 0; i < ARRAY_COUNT(crowd); i++) {
		records[i] = record_of(i, &id);
		crowd[i] = (struct rpc_call){.type = MSG_PUT,
					     .request = &msg.base,
					     .bulk = records[i],
					     .bulk_is_record = true,
					     .deadline_ms = 5000,
					     .epoch = 5,
					     .done = crowd_done};
		rpc_call(peers[0], &crowd[i]);
	}
	sim_world_run_for(world, SIM_S / 10);
	msg.forward = false;
	struct buf *record = record_of(1001, &id);
	ck_assert_int_eq(ask(0, MSG_PUT, &msg.base, record, 5), 0);
	buf_put(record);
	ck_assert_uint_gt(crowd_left, 20); /* taken, and waiting */
	ck_assert_uint_gt(crowd_refused, 20);
	ck_assert(sim_world_run_until(world, crowd_is_over, NULL, WAIT_NS));
	for (uint32_t i = 0; i < ARRAY_COUNT(crowd); i++)
		buf_put(records[i]);
	node_pool_bytes = MiB(64);
}
END_TEST

/* Whatever its work waits for at that moment: verification, the disk, other servers, the map. */
START_TEST(a_crash_with_work_in_flight_leaves_nothing_behind)
{
	Wire__Put msg = WIRE__PUT__INIT;
	struct buf *records[20];
	struct block_id id;

	msg.forward = true;
	for (uint32_t round = 0; round < 40; round++) {
		ck_assert_int_eq(put(0, 1000 + round, 5), 0);
		crowd_left = ARRAY_COUNT(records);
		for (uint32_t i = 0; i < ARRAY_COUNT(records); i++) {
			records[i] = record_of(100 * round + i, &id);
			crowd[i] = (struct rpc_call){.type = MSG_PUT,
						     .request = &msg.base,
						     .bulk = records[i],
						     .bulk_is_record = true,
						     .deadline_ms = 1000,
						     /* Some wait for a map that never comes. */
						     .epoch = i % 4 == 0 ? 6 : 5,
						     .done = crowd_done};
			rpc_call(peers[0], &crowd[i]);
		}
		sim_world_run_for(world, round * SIM_S / 20000);
		node_kill(0);
		node_start(0);
		ck_assert(sim_world_run_until(world, crowd_is_over, NULL, WAIT_NS));
		for (uint32_t i = 0; i < ARRAY_COUNT(records); i++)
			buf_put(records[i]);
		ck_assert(sim_world_run_until(world, all_joined, NULL, WAIT_NS));
		sim_world_run_for(world, SIM_S);
	}
}
END_TEST

START_TEST(have_asks_the_other_replicas)
{
	Wire__Have msg = WIRE__HAVE__INIT;
	Wire__Put alone = WIRE__PUT__INIT;
	struct block_id id;
	struct buf *record = record_of(1, &id);
	ProtobufCBinaryData ids = {BLOCK_ID_BYTES, id.bytes};

	ck_assert_int_eq(ask(1, MSG_PUT, &alone.base, record, 5), 0);
	buf_put(record);
	msg.ids = &ids;
	msg.n_ids = 1;
	ck_assert_int_eq(ask(0, MSG_HAVE, &msg.base, NULL, 0), 0);
	ck_assert_uint_eq(got.holder_count, 0);
	msg.forward = true;
	/*
	 * Who lacks it answers for nobody: it could not keep in mind who lacks it as durably as a
	 * copy.
	 */
	ck_assert_int_eq(ask(0, MSG_HAVE, &msg.base, NULL, 0), 0);
	ck_assert_uint_eq(got.holder_count, 0);
	/* The holder itself notes who lacks it, and they get it. */
	ck_assert_int_eq(ask(1, MSG_HAVE, &msg.base, NULL, 0), 0);
	ck_assert_uint_eq(got.holder_count, 1);
	ck_assert_uint_eq(got.holders[0], 2);
	sim_world_run_for(world, 5 * SIM_S);
	ck_assert_int_eq(get(0, 1), 0);
	ck_assert_int_eq(get(2, 1), 0);
}
END_TEST

/*
 * The debt of the put may be lost with the process that noted it; the yes that made the block count
 * is not.
 */
START_TEST(a_yes_without_a_replica_is_a_debt)
{
	Wire__Put alone = WIRE__PUT__INIT;
	Wire__Have msg = WIRE__HAVE__INIT;
	struct block_id id;
	struct buf *record = record_of(1, &id);
	ProtobufCBinaryData ids = {BLOCK_ID_BYTES, id.bytes};

	ck_assert_int_eq(ask(0, MSG_PUT, &alone.base, record, 5), 0);
	ck_assert_int_eq(ask(1, MSG_PUT, &alone.base, record, 5), 0);
	buf_put(record);
	sim_switch_isolate(wires, "cs3");
	msg.ids = &ids;
	msg.n_ids = 1;
	msg.forward = true;
	ck_assert_int_eq(ask(0, MSG_HAVE, &msg.base, NULL, 0), 0);
	ck_assert_uint_eq(got.holder_count, 2);
	sim_switch_heal(wires);
	sim_world_run_for(world, 40 * SIM_S);
	ck_assert_int_eq(get(2, 1), 0);
}
END_TEST

START_TEST(a_rotten_record_is_not_served_and_comes_back_from_another)
{
	ck_assert_int_eq(put(0, 1, 5), 0);
	sim_world_run_for(world, SIM_S);
	ck_assert_int_eq(sim_media_rot(nodes[0].media, "segments/seg-0000000000000001", 64 + 70, 1),
			 0);
	ck_assert_int_eq(get(0, 1), -E_CORRUPT);
	sim_world_run_for(world, 5 * SIM_S);
	ck_assert_int_eq(get(0, 1), 0);
}
END_TEST

START_TEST(a_failed_disk_takes_a_new_boot_id)
{
	struct sim_media_faults faults = {.sync_eio = SIM_MILLION};

	ck_assert_int_eq(put(0, 1, 5), 0);
	uint64_t boot_id = mds.boot_ids[1];
	sim_media_set_faults(nodes[0].media, &faults);
	ck_assert_int_eq(sync_with(0, boot_id, 1), -E_STALE_GENERATION);
	sim_world_run_for(world, 2 * SIM_S);
	ck_assert_uint_ne(mds.boot_ids[1], boot_id);
	ck_assert_int_eq(sync_with(0, boot_id, 1), -E_STALE_GENERATION);
	/* The others hold it; this one does not pretend to. */
	ck_assert_int_eq(get(0, 1), -E_NO_BLOCK);
	ck_assert_int_eq(get(1, 1), 0);
}
END_TEST

static int meta_put(const char *name, uint64_t offset, const char *bytes, bool last)
{
	Wire__MetaPut msg = WIRE__META_PUT__INIT;
	struct buf *bulk = buf_get(mds.pool, 100);

	bulk->len = (uint32_t)strlen(bytes);
	memcpy(bulk->data, bytes, bulk->len);
	msg.name = (char *)(uintptr_t)name;
	msg.offset = offset;
	msg.last = last;
	int rc = ask(0, MSG_META_PUT, &msg.base, bulk, 0);
	buf_put(bulk);
	return rc;
}

static int meta_get(const char *name, uint64_t offset)
{
	Wire__MetaGet msg = WIRE__META_GET__INIT;

	msg.name = (char *)(uintptr_t)name;
	msg.offset = offset;
	return ask(0, MSG_META_GET, &msg.base, NULL, 0);
}

START_TEST(metadata_files_grow_in_pieces_and_old_ones_go)
{
	Wire__MetaList list = WIRE__META_LIST__INIT;

	ck_assert_int_eq(meta_put("1-9.snapshot", 0, "hel", false), 0);
	ck_assert_int_eq(meta_get("1-9.snapshot", 0), -E_NOENT);
	ck_assert_int_eq(meta_put("1-9.snapshot", 0, "hel", false), 0); /* sent again */
	ck_assert_int_eq(meta_put("1-9.snapshot", 7, "late", true), -E_INVAL);
	ck_assert_int_eq(meta_put("1-9.snapshot", 3, "lo", true), 0);
	ck_assert_int_eq(meta_put("1-9.snapshot", 3, "lo", true), 0);
	ck_assert_int_eq(meta_get("1-9.snapshot", 1), 0);
	ck_assert_uint_eq(got.bulk_len, 4);
	ck_assert_mem_eq(got.bulk, "ello", 4);
	ck_assert_int_eq(meta_put("1-10.journal", 0, "a", true), 0);
	ck_assert_int_eq(meta_put("1-10.journal", 1, "b", true), 0); /* news at its end */
	ck_assert_int_eq(meta_put("1-10.journal", 0, "a", true), 0); /* a late copy cuts nothing */
	ck_assert_int_eq(meta_get("1-10.journal", 0), 0);
	ck_assert_uint_eq(got.bulk_len, 2);
	ck_assert_int_eq(meta_put("1-10.journal", 3, "d", true), -E_INVAL); /* never a hole */
	ck_assert_int_eq(meta_put("1-20.journal", 0, "c", true), 0);
	ck_assert_int_eq(meta_put("1-20.snapshot", 0, "d", true), 0);
	ck_assert_int_eq(meta_put("2-100.snapshot", 0, "e", true), 0);
	ck_assert_int_eq(ask(0, MSG_META_LIST, &list.base, NULL, 0), 0);
	ck_assert_uint_eq(got.files, 3); /* two snapshots, and the journal since the older */
	ck_assert_uint_eq(got.complete, 3);
	ck_assert_int_eq(meta_get("1-9.snapshot", 0), -E_NOENT);
	ck_assert_int_lt(meta_put("../super", 0, "x", true), 0);
	ck_assert_int_lt(meta_put(".hidden", 0, "x", true), 0);
	ck_assert_int_lt(meta_put("1-2.snapshot.part", 0, "x", true), 0);
	ck_assert_int_lt(meta_put("1-2.super", 0, "x", true), 0);
	ck_assert_int_lt(meta_put("1-.journal", 0, "x", true), 0);
}
END_TEST

static uint32_t answered;

static void piece_done(struct rpc_call *call)
{
	(void)call;
	answered++;
}

static bool all_answered(void *arg)
{
	return answered == *(uint32_t *)arg;
}

/* One letter each, at these offsets, all of them sent before one is answered. */
static void meta_put_together(const char *name, const uint64_t offsets[], int rc[], uint32_t count)
{
	struct rpc_call calls[8] = {0};

	answered = 0;
	for (uint32_t i = 0; i < count; i++) {
		Wire__MetaPut msg = WIRE__META_PUT__INIT;
		struct buf *bulk = buf_get(mds.pool, 1);

		bulk->data[0] = (uint8_t)('a' + i);
		bulk->len = 1;
		msg.name = (char *)(uintptr_t)name;
		msg.offset = offsets[i];
		calls[i] = (struct rpc_call){.type = MSG_META_PUT,
					     .request = &msg.base,
					     .bulk = bulk,
					     .deadline_ms = 5000,
					     .done = piece_done};
		rpc_call(peers[0], &calls[i]);
		buf_put(bulk);
	}
	ck_assert(sim_world_run_until(world, all_answered, &count, WAIT_NS));
	for (uint32_t i = 0; i < count; i++)
		rc[i] = calls[i].rc;
}

START_TEST(pieces_of_a_journal_that_come_together_are_kept_or_refused)
{
	static const uint64_t offsets[] = {0, 1, 2, 9, 3};
	struct sim_media_faults faults = {.sync_eio = SIM_MILLION};
	int rc[5];

	meta_put_together("1-10.journal", offsets, rc, 5);
	for (uint32_t i = 0; i < 5; i++)
		ck_assert_int_eq(rc[i], i == 3 ? -E_INVAL : 0); /* never a hole */
	ck_assert_int_eq(meta_get("1-10.journal", 0), 0);
	ck_assert_uint_eq(got.bulk_len, 4);
	ck_assert_mem_eq(got.bulk, "abce", 4);
	/* What follows no piece of its own journal is by itself. */
	meta_put_together("1-9.snapshot", offsets, rc, 3);
	for (uint32_t i = 0; i < 3; i++)
		ck_assert_int_eq(rc[i], 0);
	sim_media_set_faults(nodes[0].media, &faults);
	meta_put_together("1-20.journal", offsets, rc, 3);
	for (uint32_t i = 0; i < 3; i++)
		ck_assert_int_lt(rc[i], 0);
	faults.sync_eio = 0;
	sim_media_set_faults(nodes[0].media, &faults);
	ck_assert_int_eq(meta_get("1-20.journal", 0), -E_NOENT); /* none of it is believed */
}
END_TEST

static int stopped_rc;
static bool is_stopped;

static void stopped(void *arg, int rc)
{
	(void)arg;
	stopped_rc = rc;
	is_stopped = true;
}

static bool stop_flag(void *arg)
{
	(void)arg;
	return is_stopped;
}

/* Who was given up, and replaced by mkfs.cairn --recover, knows nothing of what came after. */
START_TEST(a_metadata_server_that_was_replaced_is_not_joined)
{
	node_kill(0);
	mds.term = 5 + (UINT64_C(1) << 32);
	node_start(0);
	ck_assert(sim_world_run_until(world, all_joined, NULL, WAIT_NS));
	node_kill(0);
	mds.term = 7; /* it is back, and was restarted a few times */
	node_start(0);
	sim_world_run_for(world, 10 * SIM_S);
	ck_assert_uint_eq(cs_server_number(nodes[0].server), 0);
	ck_assert_uint_eq(mds.joined_with, 5 + (UINT64_C(1) << 32)); /* which tells it to stop */
	mds.term = 6 + (UINT64_C(1) << 32);
	sim_world_run_for(world, 10 * SIM_S);
	ck_assert_uint_eq(cs_server_number(nodes[0].server), 1);
}
END_TEST

START_TEST(a_server_that_ends_in_order_keeps_everything)
{
	is_stopped = false;
	ck_assert_int_eq(put(0, 1, 5), 0);
	cs_server_stop(nodes[0].server, stopped, NULL);
	ck_assert(sim_world_run_until(world, stop_flag, NULL, WAIT_NS));
	ck_assert_int_eq(stopped_rc, 0);
	ck_assert(sim_media_is_clean(nodes[0].media));
	ck_assert_int_eq(get(0, 1), -E_SHUTDOWN);
	node_kill(0);
	node_start(0);
	sim_world_run_for(world, 2 * SIM_S);
	ck_assert_int_eq(get(0, 1), 0);
}
END_TEST

TEST_MAIN("serve", tcase_add_checked_fixture(tc, begin, end);
	  tcase_add_test(tc, a_part_is_answered_however_it_is_stored);
	  tcase_add_test(tc, a_put_reaches_every_replica_and_is_synced);
	  tcase_add_test(tc, sizes_of_many_blocks_are_told_at_once);
	  tcase_add_test(tc, an_old_epoch_is_refused_with_the_newer_row);
	  tcase_add_test(tc, a_newer_epoch_makes_the_server_fetch_the_map);
	  tcase_add_test(tc, a_block_under_a_wrong_name_is_refused);
	  tcase_add_test(tc, what_a_replica_missed_reaches_it_when_it_is_back);
	  tcase_add_test(tc, fewer_than_min_copies_are_not_enough);
	  tcase_add_test(tc, two_answers_of_one_holder_each_owe_it_to_the_third);
	  tcase_add_test(tc, one_full_replica_is_owed_its_block);
	  tcase_add_test(tc, too_few_replicas_that_are_not_full_are_no_space);
	  tcase_add_test(tc, puts_of_clients_leave_room_for_those_of_servers);
	  tcase_add_test(tc, a_crash_with_work_in_flight_leaves_nothing_behind);
	  tcase_add_test(tc, have_asks_the_other_replicas);
	  tcase_add_test(tc, a_yes_without_a_replica_is_a_debt);
	  tcase_add_test(tc, a_rotten_record_is_not_served_and_comes_back_from_another);
	  tcase_add_test(tc, a_failed_disk_takes_a_new_boot_id);
	  tcase_add_test(tc, metadata_files_grow_in_pieces_and_old_ones_go);
	  tcase_add_test(tc, pieces_of_a_journal_that_come_together_are_kept_or_refused);
	  tcase_add_test(tc, a_metadata_server_that_was_replaced_is_not_joined);
	  tcase_add_test(tc, a_server_that_ends_in_order_keeps_everything))
