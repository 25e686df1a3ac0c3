/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a chunk server collects, and above all what it does not (I9): each test takes one condition
 * away and sees that nothing goes. A tool plays the collector, with epochs of its own; the metadata
 * server is there for the map.
 */
#include "fs/net/blocks.h"
#include "tests/client_cluster.h"

static struct cluster w;
static struct rpc *rpc;
static struct rpc_peer *mds, *peers[CLUSTER_SERVERS];
static struct blocks *blocks;
static uint64_t epoch;	/* of the last cycle */
static uint64_t cycle;
static uint64_t batch;

/* --- calls ------------------------------------------------------------------------------------ */

static struct {
	int rc;
	Wire__CollectSweepReply sweep;
	Wire__CollectBeginReply begin;
	uint32_t holders;
	bool is_held;
	uint64_t owed;
} got;

static void answered(struct rpc_call *call)
{
	got.rc = call->rc;
	if (call->rc == 0 && call->type == MSG_COLLECT_SWEEP)
		got.sweep = *(const Wire__CollectSweepReply *)(const void *)call->reply;
	if (call->rc == 0 && call->type == MSG_COLLECT_BEGIN)
		got.begin = *(const Wire__CollectBeginReply *)(const void *)call->reply;
	if (call->rc == 0 && call->type == MSG_HAVE)
		got.holders = (uint32_t)((const Wire__HaveReply *)(const void *)call->reply)
				      ->answers[0]
				      ->n_holders;
	if (call->rc == 0 && call->type == MSG_STATUS)
		got.owed = ((const Wire__StatusReply *)(const void *)call->reply)->owed;
	if (call->rc == 0 && call->type == MSG_WHERE)
		got.is_held = ((const Wire__WhereReply *)(const void *)call->reply)->held;
	loop_uv_stop(w.loop);
}

static int ask(struct rpc_peer *peer, uint16_t type, const ProtobufCMessage *msg, struct buf *bulk)
{
	struct rpc_call call = { .type = type, .request = msg, .bulk = bulk, .deadline_ms = 5000,
				 .done = answered };

	rpc_call(peer, &call);
	loop_uv_run(w.loop);
	return got.rc;
}

static int begin_cycle(uint32_t i, uint64_t of_epoch)
{
	Wire__CollectBegin msg = WIRE__COLLECT_BEGIN__INIT;

	msg.epoch = epoch = of_epoch;
	msg.cycle = ++cycle;
	batch = 0;
	return ask(peers[i], MSG_COLLECT_BEGIN, &msg.base, NULL);
}

static int mark_batch(uint32_t i, const struct block_id *id, uint64_t number)
{
	Wire__CollectMark msg = WIRE__COLLECT_MARK__INIT;
	struct buf *bulk = buf_get(w.pool, 16);
	int rc;

	memcpy(bulk->data, id->bytes, 16);
	bulk->len = 16;
	msg.cycle = cycle;
	msg.batch = number;
	rc = ask(peers[i], MSG_COLLECT_MARK, &msg.base, bulk);
	buf_put(bulk);
	return rc;
}

static int mark(uint32_t i, const struct block_id *id)
{
	return mark_batch(i, id, ++batch);
}

static int sweep_with(uint32_t i, Wire__CollectSweep msg)
{
	int rc;

	msg.cycle = cycle;
	do
		rc = ask(peers[i], MSG_COLLECT_SWEEP, &msg.base, NULL);
	while (rc == 0 && !got.sweep.done);
	return rc;
}

static int sweep(uint32_t i, uint64_t marks, uint64_t grace_ms)
{
	Wire__CollectSweep msg = WIRE__COLLECT_SWEEP__INIT;

	msg.marks = marks;
	msg.grace_ms = grace_ms;
	return sweep_with(i, msg);
}

/* Begin, mark this block if there is one, sweep; what went to trash. */
static uint64_t collect(uint32_t i, uint64_t of_epoch, const struct block_id *live,
			uint64_t grace_ms)
{
	ck_assert_int_eq(begin_cycle(i, of_epoch), 0);
	if (live)
		ck_assert_int_eq(mark(i, live), 0);
	ck_assert_int_eq(sweep(i, live != NULL, grace_ms), 0);
	return got.sweep.blocks;
}

static bool is_here(uint32_t i, const struct block_id *id)
{
	Wire__Where msg = WIRE__WHERE__INIT;

	msg.id = (ProtobufCBinaryData){ BLOCK_ID_BYTES, (uint8_t *)(uintptr_t)id->bytes };
	ck_assert_int_eq(ask(peers[i], MSG_WHERE, &msg.base, NULL), 0);
	return got.is_held;
}

static void have(uint32_t i, const struct block_id *id)
{
	Wire__Have msg = WIRE__HAVE__INIT;
	ProtobufCBinaryData ids = { BLOCK_ID_BYTES, (uint8_t *)(uintptr_t)id->bytes };

	msg.ids = &ids;
	msg.n_ids = 1;
	msg.forward = true;
	ck_assert_int_eq(ask(peers[i], MSG_HAVE, &msg.base, NULL), 0);
}

static void put_done(struct blocks_put *put)
{
	(void)put;
	loop_uv_stop(w.loop);
}

static struct block_id put(uint8_t content)
{
	struct buf *plain = buf_get(w.pool, 5000);
	struct blocks_put p = { .plain = plain, .done = put_done,
				.deadline_ns = loop_now_ns(w.loop) + UINT64_C(5000000000) };

	memset(plain->data, content, 5000);
	plain->len = 5000;
	blocks_put_start(blocks, &p);
	loop_uv_run(w.loop);
	ck_assert_int_eq(p.rc, 0);
	buf_put(plain);
	cluster_run_for(&w, 50);	/* also the forwarded copies */
	return p.id;
}

/* --- the world -------------------------------------------------------------------------------- */

static void connect_all(void)
{
	struct rpc_options o = { .loop = w.loop, .net = w.net, .pool = w.pool, .role = RPC_TOOL,
				 .name = "test", .boot_id = 5, .hash = HASH_SHA256 };

	memcpy(o.cluster, cluster_id, sizeof o.cluster);
	ck_assert_int_eq(rpc_create(&o, &rpc), 0);
	ck_assert_int_eq(rpc_peer_create(rpc, w.mds_address, &mds), 0);
	for (uint32_t i = 0; i < CLUSTER_SERVERS; i++)
		ck_assert_int_eq(rpc_peer_create(rpc, w.cs[i].address, &peers[i]), 0);
	struct blocks_options b = { .rpc = rpc, .mds = mds, .loop = w.loop, .pool = w.pool,
				    .hash = HASH_SHA256, .min_copies = 2, .aim = CODEC_AIM_RAW,
				    .call_ms = 2000 };
	ck_assert_int_eq(blocks_create(&b, &blocks), 0);
}

static void setup(void)
{
	cluster_start(&w, 10000);
	connect_all();
	cycle = 100;
}

static void teardown(void)
{
	blocks_destroy(blocks);
	for (uint32_t i = 0; i < CLUSTER_SERVERS; i++)
		rpc_peer_destroy(peers[i]);
	rpc_peer_destroy(mds);
	rpc_destroy(rpc);
	cluster_finish(&w);
}

/* --- what goes -------------------------------------------------------------------------------- */

START_TEST(what_is_old_and_not_marked_goes)
{
	struct block_id live = put(1), dead = put(2);

	ck_assert_uint_eq(collect(0, 5, &live, 0), 1);
	ck_assert(is_here(0, &live));
	ck_assert(!is_here(0, &dead));
}
END_TEST

START_TEST(trash_is_read_until_its_grace_has_passed)
{
	struct block_id dead = put(2);

	ck_assert_uint_eq(collect(0, 5, NULL, 300), 1);
	ck_assert(is_here(0, &dead));
	cluster_run_for(&w, 1500);
	ck_assert(!is_here(0, &dead));
}
END_TEST

START_TEST(a_dry_run_counts_and_leaves_all)
{
	struct block_id dead = put(2);
	Wire__CollectSweep msg = WIRE__COLLECT_SWEEP__INIT;

	ck_assert_int_eq(begin_cycle(0, 5), 0);
	msg.dry_run = true;
	ck_assert_int_eq(sweep_with(0, msg), 0);
	ck_assert_uint_eq(got.sweep.blocks, 1);
	ck_assert_uint_gt(got.sweep.bytes, 5000);
	ck_assert(is_here(0, &dead));
	ck_assert_uint_eq(collect(0, 6, NULL, 0), 1);	/* it was not in trash */
}
END_TEST

/* --- what stays ------------------------------------------------------------------------------- */

START_TEST(a_young_block_stays)
{
	struct block_id id;

	ck_assert_int_eq(begin_cycle(0, 5), 0);
	id = put(3);		/* in epoch 5 */
	ck_assert_uint_eq(collect(0, 5, NULL, 0), 0);
	ck_assert_uint_eq(collect(0, 6, NULL, 0), 0);
	ck_assert_uint_eq(got.sweep.kept_young, 1);
	ck_assert(is_here(0, &id));
	ck_assert_uint_eq(collect(0, 7, NULL, 0), 1);
	ck_assert(!is_here(0, &id));
}
END_TEST

START_TEST(a_have_makes_it_young_again)
{
	struct block_id id = put(3);

	ck_assert_int_eq(begin_cycle(0, 5), 0);
	have(1, &id);		/* through another replica */
	ck_assert_uint_eq(collect(0, 6, NULL, 0), 0);
	ck_assert(is_here(0, &id));
}
END_TEST

START_TEST(a_wrong_count_of_marks_deletes_nothing)
{
	struct block_id live = put(1), other = put(2);

	ck_assert_int_eq(begin_cycle(0, 5), 0);
	ck_assert_int_eq(mark(0, &live), 0);
	ck_assert_int_eq(sweep(0, 2, 0), -E_INVAL);
	ck_assert_int_eq(sweep(0, 1, 0), -E_INVAL);	/* nor when asked again */
	ck_assert(is_here(0, &live) && is_here(0, &other));
}
END_TEST

START_TEST(a_gap_in_the_batches_deletes_nothing)
{
	struct block_id live = put(1);

	ck_assert_int_eq(begin_cycle(0, 5), 0);
	ck_assert_int_eq(mark_batch(0, &live, 2), -E_INVAL);
	ck_assert_int_eq(sweep(0, 0, 0), -E_INVAL);
	ck_assert(is_here(0, &live));
}
END_TEST

START_TEST(a_batch_that_comes_twice_counts_once)
{
	struct block_id live = put(1);

	ck_assert_int_eq(begin_cycle(0, 5), 0);
	ck_assert_int_eq(mark_batch(0, &live, 1), 0);
	ck_assert_int_eq(mark_batch(0, &live, 1), 0);
	ck_assert_int_eq(sweep(0, 1, 0), 0);
	ck_assert(is_here(0, &live));
}
END_TEST

START_TEST(another_cycle_deletes_nothing)
{
	struct block_id id = put(1);

	ck_assert_int_eq(begin_cycle(0, 5), 0);
	cycle++;
	ck_assert_int_eq(sweep(0, 0, 0), -E_INVAL);
	ck_assert(is_here(0, &id));
}
END_TEST

START_TEST(an_older_epoch_is_refused)
{
	ck_assert_int_eq(begin_cycle(0, 5), 0);
	ck_assert_int_eq(begin_cycle(0, 4), -E_OLD_COLLECTION);
}
END_TEST

START_TEST(a_restarted_server_knows_no_mark_of_before)
{
	struct block_id id = put(1);

	ck_assert_int_eq(begin_cycle(0, 5), 0);
	cluster_cs_stop(&w, 0);
	cluster_cs_start(&w, 0, 77);
	cluster_run_for(&w, 500);
	ck_assert_int_eq(sweep(0, 0, 0), -E_INVAL);	/* the mark is gone with the process */
	/* it had learned of epoch 1, from the metadata server */
	ck_assert_uint_eq(collect(0, 6, NULL, 0), 1);
	ck_assert(!is_here(0, &id));
}
END_TEST

START_TEST(a_group_whose_row_changed_keeps_all)
{
	Wire__ServerSet set = WIRE__SERVER_SET__INIT;
	struct block_id id = put(1);

	ck_assert_int_eq(begin_cycle(0, 5), 0);
	uint64_t rows = got.begin.rows;
	set.server = 3;
	set.state = SERVER_DRAINED;
	set.force = true;
	ck_assert_int_eq(ask(mds, MSG_SERVER_SET, &set.base, NULL), 0);
	cluster_run_for(&w, 500);
	ck_assert_int_eq(sweep(0, 0, 0), 0);
	ck_assert_uint_eq(got.sweep.blocks, 0);
	ck_assert_uint_eq(got.sweep.kept_moving, 1);
	ck_assert(is_here(0, &id));
	ck_assert_int_eq(begin_cycle(0, 6), 0);
	ck_assert_uint_ne(got.begin.rows, rows);	/* and it is told by which rows it goes */
}
END_TEST

/* Who was a replica has the block as surplus: that is no reason not to put it again. */
START_TEST(a_have_counts_replicas_alone)
{
	Wire__ServerSet set = WIRE__SERVER_SET__INIT;
	struct block_id id = put(1);

	set.server = 3;
	set.state = SERVER_DRAINED;
	set.force = true;
	ck_assert_int_eq(ask(mds, MSG_SERVER_SET, &set.base, NULL), 0);
	cluster_run_for(&w, 500);
	have(2, &id);
	ck_assert_uint_eq(got.holders, 0);
	have(0, &id);
	ck_assert_uint_eq(got.holders, 2);
	ck_assert(is_here(2, &id));
}
END_TEST

/* If it lost its disk it comes back as it was earlier, and may name what is in trash. */
START_TEST(nothing_is_freed_while_the_metadata_server_is_silent)
{
	struct block_id dead = put(2);

	ck_assert_uint_eq(collect(0, 5, NULL, 2500), 1);
	cluster_mds_stop(&w);
	cluster_run_for(&w, 3500);
	ck_assert(is_here(0, &dead));
	cluster_mds_start(&w);
	while (is_here(0, &dead))
		cluster_run_for(&w, 100);
}
END_TEST

START_TEST(nothing_is_freed_once_a_newer_epoch_is_known)
{
	struct block_id dead = put(2);

	ck_assert_uint_eq(collect(0, 5, NULL, 300), 1);
	ck_assert_int_eq(begin_cycle(0, 6), 0);
	cluster_run_for(&w, 1500);
	ck_assert(is_here(0, &dead));
	ck_assert_int_eq(sweep(0, 0, 300), 0);
	while (is_here(0, &dead))
		cluster_run_for(&w, 100);
}
END_TEST

/* A replica that was away is owed the block; then nobody names it any more. */
START_TEST(the_debt_of_what_is_garbage_goes_with_it)
{
	struct block_id id;

	ck_assert_int_eq(begin_cycle(0, 5), 0);
	cluster_cs_stop(&w, 2);
	id = put(1);
	ck_assert_uint_eq(collect(0, 7, NULL, 0), 1);
	ck_assert(!is_here(0, &id));
	ck_assert_uint_eq(collect(1, 7, NULL, 0), 1);
	cluster_cs_start(&w, 2, 79);
	cluster_run_for(&w, 2500);	/* two rounds of repaying */
	ck_assert(!is_here(2, &id));
	collect(0, 9, NULL, 0);
	collect(1, 9, NULL, 0);
	collect(0, 11, NULL, 0);
	collect(1, 11, NULL, 0);
	cluster_run_for(&w, 200);	/* a heartbeat */
	Wire__Status status = WIRE__STATUS__INIT;
	ck_assert_int_eq(ask(mds, MSG_STATUS, &status.base, NULL), 0);
	ck_assert_uint_eq(got.owed, 0);
}
END_TEST

/* --- out of trash ----------------------------------------------------------------------------- */

static struct block_id trashed(void)
{
	struct block_id id = put(1);

	ck_assert_uint_eq(collect(0, 5, NULL, 3600000), 1);
	return id;
}

START_TEST(a_mark_takes_it_out_of_trash)
{
	struct block_id id = trashed();

	ck_assert_uint_eq(collect(0, 6, &id, 3600000), 0);
	ck_assert_uint_eq(collect(0, 7, NULL, 0), 1);	/* else it would not go there again */
}
END_TEST

/* Healing does not see trash: a replica that came meanwhile has it from whoever finds the mark. */
START_TEST(a_mark_brings_it_back_to_every_replica)
{
	struct block_id id = put(1);

	for (uint32_t i = 0; i < CLUSTER_SERVERS; i++)
		ck_assert_uint_eq(collect(i, 5, NULL, 3600000), 1);
	cluster_cs_lose(&w, 2, 80);
	cluster_run_for(&w, 2000);
	ck_assert(!is_here(2, &id));
	ck_assert_uint_eq(collect(0, 6, &id, 3600000), 0);
	while (!is_here(2, &id))
		cluster_run_for(&w, 100);
}
END_TEST

START_TEST(a_have_takes_it_out_of_trash_on_every_replica)
{
	struct block_id id = trashed();

	have(1, &id);
	ck_assert_uint_eq(got.holders, 3);
	ck_assert_uint_eq(collect(0, 6, NULL, 0), 0);
	ck_assert(is_here(0, &id));
}
END_TEST

START_TEST(a_put_takes_it_out_of_trash)
{
	struct block_id id = trashed();

	put(1);
	ck_assert_uint_eq(collect(0, 6, NULL, 0), 0);
	ck_assert(is_here(0, &id));
}
END_TEST

TEST_MAIN("collect", tcase_add_checked_fixture(tc, setup, teardown);
	  tcase_add_test(tc, what_is_old_and_not_marked_goes);
	  tcase_add_test(tc, trash_is_read_until_its_grace_has_passed);
	  tcase_add_test(tc, a_dry_run_counts_and_leaves_all);
	  tcase_add_test(tc, a_young_block_stays);
	  tcase_add_test(tc, a_have_makes_it_young_again);
	  tcase_add_test(tc, a_wrong_count_of_marks_deletes_nothing);
	  tcase_add_test(tc, a_gap_in_the_batches_deletes_nothing);
	  tcase_add_test(tc, a_batch_that_comes_twice_counts_once);
	  tcase_add_test(tc, another_cycle_deletes_nothing);
	  tcase_add_test(tc, an_older_epoch_is_refused);
	  tcase_add_test(tc, a_restarted_server_knows_no_mark_of_before);
	  tcase_add_test(tc, a_group_whose_row_changed_keeps_all);
	  tcase_add_test(tc, a_have_counts_replicas_alone);
	  tcase_add_test(tc, nothing_is_freed_while_the_metadata_server_is_silent);
	  tcase_add_test(tc, nothing_is_freed_once_a_newer_epoch_is_known);
	  tcase_add_test(tc, the_debt_of_what_is_garbage_goes_with_it);
	  tcase_add_test(tc, a_mark_takes_it_out_of_trash);
	  tcase_add_test(tc, a_mark_brings_it_back_to_every_replica);
	  tcase_add_test(tc, a_have_takes_it_out_of_trash_on_every_replica);
	  tcase_add_test(tc, a_put_takes_it_out_of_trash))
