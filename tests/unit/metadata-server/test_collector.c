/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The collector on a whole cluster: garbage goes, what a file names stays, and whatever is in doubt
 * deletes nothing (I9).
 */
#include "fs/base/metrics.h"
#include "fs/net/rpc.h"
#include "metadata-server/collector.h"
#include "tests/client_cluster.h"

#define FILE_BYTES (20 * BLOCK_BYTES_MAX)

static struct cluster w;
static struct client *a;
static struct rpc *rpc;
static struct rpc_peer *mds;
static uint8_t bytes[FILE_BYTES], found[FILE_BYTES];

/* --- the world -------------------------------------------------------------------------------- */

static void connect_tool(void)
{
	struct rpc_options o = { .loop = w.loop, .net = w.net, .pool = w.pool, .role = RPC_TOOL,
				 .name = "test", .boot_id = 5, .hash = HASH_SHA256 };

	memcpy(o.cluster, cluster_id, sizeof o.cluster);
	ck_assert_int_eq(rpc_create(&o, &rpc), 0);
	ck_assert_int_eq(rpc_peer_create(rpc, w.mds_address, &mds), 0);
}

static void setup(void)
{
	cluster_start(&w, 1000);
	connect_tool();
	a = cluster_client(&w);
}

static void teardown(void)
{
	cluster_client_stop(&w, a);
	rpc_peer_destroy(mds);
	rpc_destroy(rpc);
	cluster_finish(&w);
}

/* --- asking the collector --------------------------------------------------------------------- */

static struct {
	uint64_t asked, served, cycles, failed, blocks, young, epoch;
	uint32_t phase, unwalkable_count;
	uint64_t unwalkable;
	int last_rc;
	char text[256], waits_for[256];
} gc;

static void told(struct rpc_call *call)
{
	ck_assert_int_eq(call->rc, 0);
	const Wire__GcStatus *s = ((const Wire__GcReply *)(const void *)call->reply)->status;

	gc.asked = s->asked;
	gc.served = s->served;
	gc.cycles = s->cycles;
	gc.failed = s->failed;
	gc.blocks = s->last_blocks;
	gc.young = s->last_young;
	gc.epoch = s->epoch;
	gc.phase = s->phase;
	gc.last_rc = s->last_rc;
	gc.unwalkable_count = (uint32_t)s->n_unwalkable;
	gc.unwalkable = s->n_unwalkable ? s->unwalkable[0] : 0;
	snprintf(gc.text, sizeof gc.text, "%s", s->last_text);
	snprintf(gc.waits_for, sizeof gc.waits_for, "%s", s->waits_for);
	loop_uv_stop(w.loop);
}

static void ask(uint32_t action)
{
	Wire__Gc msg = WIRE__GC__INIT;
	struct rpc_call call = { .type = MSG_GC, .request = &msg.base, .resend = true,
				 .deadline_ms = 5000, .done = told };

	msg.action = action;
	rpc_call(mds, &call);
	loop_uv_run(w.loop);
}

/* Run, and wait for the end. What went to trash, on all servers; or the error. */
static int64_t collect_by(uint32_t action)
{
	uint64_t number;

	ask(action);
	number = gc.asked;
	while (gc.served < number) {
		cluster_run_for(&w, 20);
		ask(MS_GC_TELL);
	}
	return gc.last_rc < 0 ? gc.last_rc : (int64_t)gc.blocks;
}

static int64_t collect(void)
{
	return collect_by(MS_GC_NOW);
}

/* --- files ------------------------------------------------------------------------------------ */

/* Of blocks that lie on the grid: nothing in them begins another. */
static void make_content(uint64_t seed)
{
	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = (uint8_t)(seed * 40 + i / BLOCK_BYTES_MAX);
}

static void write_file(const char *name, uint64_t seed)
{
	struct cl_handle *h = file_create(&w, a, name);

	make_content(seed);
	ck_assert_int_eq(file_write(&w, a, h, 0, bytes, sizeof bytes), 0);
	ck_assert_int_eq(file_close(&w, a, h), 0);
}

/* By a client that has nothing in memory. */
static void expect_file(const char *name, uint64_t seed)
{
	struct client *fresh = cluster_client(&w);
	struct cl_handle *h = file_open(&w, fresh, name, O_RDONLY);

	make_content(seed);
	ck_assert_int_eq(file_read(&w, fresh, h, 0, found, sizeof found), sizeof found);
	ck_assert_mem_eq(found, bytes, sizeof bytes);
	ck_assert_int_eq(file_close(&w, fresh, h), 0);
	cluster_client_stop(&w, fresh);
}

static void delete_file(const char *name)
{
	struct cl_op op = { .kind = CL_UNLINK, .parent = INODE_ROOT, .name = name };

	ck_assert_int_eq(cluster_op(&w, a, &op), 0);
}

/* --- tests ------------------------------------------------------------------------------------ */

START_TEST(what_no_file_names_goes_and_the_rest_is_exact)
{
	write_file("kept", 1);
	write_file("deleted", 2);
	ck_assert_int_eq(collect(), 0);
	delete_file("deleted");
	ck_assert_int_eq(collect(), 3 * 21);	/* blocks and a node, three copies */
	expect_file("kept", 1);
	ck_assert_int_eq(collect(), 0);
}
END_TEST

START_TEST(a_dry_run_deletes_nothing)
{
	write_file("deleted", 2);
	delete_file("deleted");
	ck_assert_int_eq(collect_by(MS_GC_DRY_RUN), 0);
	ck_assert_uint_eq(gc.young, 3 * 21);
	ck_assert_int_eq(collect(), 3 * 21);
}
END_TEST

START_TEST(one_server_silent_deletes_nothing)
{
	write_file("deleted", 2);
	delete_file("deleted");
	cluster_cs_stop(&w, 2);
	ask(MS_GC_NOW);
	cluster_run_for(&w, 3000);
	ask(MS_GC_TELL);
	ck_assert_int_eq(strncmp(gc.waits_for, "server 3", 8), 0);
	ask(MS_GC_STOP);
	ask(MS_GC_TELL);
	ck_assert_uint_ne(gc.phase, MS_GC_SWEEP);
	cluster_cs_start(&w, 2, 88);
	cluster_run_for(&w, 500);
	ck_assert_int_eq(collect(), 3 * 21);	/* still there, all of it */
}
END_TEST

/* Nobody is left who could hold the cycle up, or answer: it ends, and says why. */
START_TEST(with_all_servers_out_it_fails_and_says_so)
{
	teardown();
	cluster_out_ms = 1500;
	setup();
	write_file("deleted", 2);
	delete_file("deleted");
	for (uint32_t i = 0; i < CLUSTER_SERVERS; i++)
		cluster_cs_stop(&w, i);
	cluster_run_for(&w, 3000);
	ck_assert_int_eq(collect(), -E_NOTCONN);
	ck_assert_str_eq(gc.text, "all chunk servers are out");
	for (uint32_t i = 0; i < CLUSTER_SERVERS; i++)
		cluster_cs_start(&w, i, 88 + i);
	/* They come back one by one, and a cycle takes those that are there. */
	for (int64_t count = 0, found_now = -1; count < 3 * 21 || found_now != 0;) {
		cluster_run_for(&w, 100);
		found_now = collect();
		count += MAX_OF(found_now, 0);
	}
	cluster_out_ms = 60000;
}
END_TEST

START_TEST(a_file_that_is_open_without_a_name_stays)
{
	struct cl_handle *h;

	write_file("open", 3);
	h = file_open(&w, a, "open", O_RDONLY);
	delete_file("open");
	ck_assert_int_eq(collect(), 0);
	ck_assert_int_eq(file_read(&w, a, h, 0, found, sizeof found), sizeof found);
	make_content(3);
	ck_assert_mem_eq(found, bytes, sizeof bytes);
	ck_assert_int_eq(file_close(&w, a, h), 0);
	ck_assert_int_eq(collect(), 3 * 21);
}
END_TEST

START_TEST(blocks_put_again_while_they_are_garbage_stay)
{
	write_file("first", 4);
	delete_file("first");
	ck_assert_int_eq(collect_by(MS_GC_DRY_RUN), 0);
	write_file("second", 4);
	ck_assert_int_eq(collect(), 0);
	expect_file("second", 4);
}
END_TEST

START_TEST(it_goes_on_while_somebody_writes)
{
	char name[16];

	for (uint32_t i = 0; i < 10; i++) {
		snprintf(name, sizeof name, "live%u", i);
		ask(MS_GC_NOW);
		write_file(name, 10 + i);
		if (i % 2)
			delete_file(name);
	}
	ck_assert_int_ge(collect(), 0);
	for (uint32_t i = 0; i < 10; i += 2) {
		snprintf(name, sizeof name, "live%u", i);
		expect_file(name, 10 + i);
	}
}
END_TEST

/*
 * A copy touches no block: its source loses its root before the copy is published, and a collection
 * begins. The publish is refused, all that the copy names is touched, and it is published then.
 */
START_TEST(a_copy_whose_source_is_overwritten_keeps_its_blocks)
{
	struct client *b = cluster_client(&w);
	struct cl_handle *from, *to;
	struct cl_op copy = { .kind = CL_COPY_RANGE, .length = UINT32_MAX };
	uint64_t touched = METRIC_GET(publishes_touched);

	write_file("source", 5);
	from = file_open(&w, a, "source", O_RDONLY);
	to = file_create(&w, a, "copy");
	copy.handle = from;
	copy.out_handle = to;
	ck_assert_int_eq(cluster_op(&w, a, &copy), 0);
	ck_assert_uint_eq(copy.out_len, sizeof bytes);
	ck_assert_int_eq(file_truncate(&w, b, file_lookup(&w, b, "source"), 0), 0);
	ask(MS_GC_NOW);
	ck_assert_int_eq(file_close(&w, a, to), 0);
	ck_assert_uint_eq(METRIC_GET(publishes_touched), touched + 1);
	ck_assert_int_eq(file_close(&w, a, from), 0);
	ck_assert_int_ge(collect(), 0);
	expect_file("copy", 5);
	cluster_client_stop(&w, b);
}
END_TEST

/* Whatever the collector is about when the metadata server or a chunk server restarts. */
START_TEST(a_restart_in_the_midst_deletes_nothing_that_lives)
{
	write_file("kept", 1);
	write_file("deleted", 2);
	delete_file("deleted");
	for (uint32_t i = 0; i < 6; i++) {
		ask(MS_GC_NOW);
		cluster_run_for(&w, 150 + 170 * i);
		if (i % 2) {
			cluster_cs_stop(&w, i / 2);
			cluster_cs_start(&w, i / 2, 90 + i);
		} else {
			cluster_mds_stop(&w);
			cluster_mds_start(&w);
		}
		cluster_run_for(&w, 300);
	}
	while (collect() < 0)
		cluster_run_for(&w, 100);
	expect_file("kept", 1);
	ck_assert_int_ge(collect(), 0);
	ck_assert_int_eq(collect_by(MS_GC_DRY_RUN), 0);
	ck_assert_uint_eq(gc.young, 0);
}
END_TEST

TEST_MAIN("collector", tcase_add_checked_fixture(tc, setup, teardown);
	  tcase_add_test(tc, what_no_file_names_goes_and_the_rest_is_exact);
	  tcase_add_test(tc, a_dry_run_deletes_nothing);
	  tcase_add_test(tc, one_server_silent_deletes_nothing);
	  tcase_add_test(tc, with_all_servers_out_it_fails_and_says_so);
	  tcase_add_test(tc, a_file_that_is_open_without_a_name_stays);
	  tcase_add_test(tc, blocks_put_again_while_they_are_garbage_stay);
	  tcase_add_test(tc, it_goes_on_while_somebody_writes);
	  tcase_add_test(tc, a_copy_whose_source_is_overwritten_keeps_its_blocks);
	  tcase_add_test(tc, a_restart_in_the_midst_deletes_nothing_that_lives))
