/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulated network: order, back-pressure, partitions, and the deaths of processes and hosts.
 */
#include <stdio.h>
#include <string.h>

#include "fs/hash/checksum.h"
#include "fs/wire/msg.h"
#include "tests/check_main.h"
#include "tests/sim/sim_net.h"

/* A process that remembers what came to it. */
struct node {
	struct loop *loop;
	struct buf_pool *pool;
	struct net *net;
	struct net_listener *listener;
	struct net_conn *conn;		/* the newest */
	uint32_t frames, drains, closes;
	uint64_t last;			/* request id of the last frame */
	bool is_in_order;
	int connect_rc, close_rc;
};

static struct sim_world *world;
static struct sim_switch *sw;
static struct node a, b;

static void on_frame(void *arg, struct net_frame *frame)
{
	struct node *n = arg;

	n->is_in_order = n->is_in_order && frame->header.request > n->last;
	n->last = frame->header.request;
	n->frames++;
	if (frame->bulk != NULL)
		ck_assert_uint_eq(frame->bulk->data[frame->bulk->len - 1], (uint8_t)n->last);
	buf_put(frame->message);
	buf_put(frame->bulk);
}

static void on_close(void *arg, int rc)
{
	struct node *n = arg;

	n->conn = NULL;
	n->closes++;
	n->close_rc = rc;
}

static void on_drain(void *arg)
{
	((struct node *)arg)->drains++;
}

static const struct net_conn_events EVENTS = { on_frame, on_close, on_drain };

static void take_conn(void *arg, struct net_conn *conn)
{
	struct node *n = arg;

	n->conn = conn;
	n->net->ops->conn_events(conn, &EVENTS, n);
}

static void on_connect(void *arg, struct net_conn *conn, int rc)
{
	((struct node *)arg)->connect_rc = rc;
	if (rc == 0)
		take_conn(arg, conn);
}

static void node_start(struct node *n, const char *host)
{
	*n = (struct node){ .is_in_order = true, .connect_rc = 1 };
	ck_assert_int_eq(sim_loop_create(world, host, &n->loop), 0);
	n->pool = buf_pool_create(MiB(8));
	ck_assert_ptr_nonnull(n->pool);
	ck_assert_int_eq(sim_net_create(sw, n->loop, n->pool, host, &n->net), 0);
}

static void node_stop(struct node *n)
{
	n->net->ops->destroy(n->net);
	sim_loop_destroy(n->loop);
	buf_pool_destroy(n->pool);
}

static void node_listen(struct node *n)
{
	ck_assert_int_eq(n->net->ops->listen(n->net, "0.0.0.0:700", take_conn, n, &n->listener), 0);
}

static void node_connect(struct node *n, uint32_t timeout_ms)
{
	n->connect_rc = 1;
	ck_assert_int_eq(n->net->ops->connect(n->net, "b:700", timeout_ms, on_connect, n), 0);
}

static void set_up(uint64_t seed)
{
	ck_assert_int_eq(sim_world_create(seed, &world), 0);
	ck_assert_int_eq(sim_switch_create(world, &sw), 0);
	node_start(&a, "a");
	node_start(&b, "b");
	node_listen(&b);
	node_connect(&a, 1000);
	sim_world_run_for(world, 10 * SIM_MS);
	ck_assert_int_eq(a.connect_rc, 0);
	ck_assert_ptr_nonnull(b.conn);
}

static void tear_down(void)
{
	node_stop(&a);
	node_stop(&b);
	sim_switch_destroy(sw);
	sim_world_destroy(world);
}

static int node_send(struct node *n, uint64_t request, uint32_t bulk_len)
{
	struct net_frame frame = { .header = { .type = MSG_GETATTR, .request = request } };

	if (bulk_len > 0) {
		frame.bulk = buf_get(n->pool, bulk_len);
		ck_assert_ptr_nonnull(frame.bulk);
		memset(frame.bulk->data, (int)(uint8_t)request, bulk_len);
		frame.bulk->len = frame.header.bulk_len = bulk_len;
		frame.header.bulk_checksum = checksum_of(frame.bulk->data, bulk_len);
	}
	frame.header.message_checksum = checksum_of("", 0);
	int rc = n->net->ops->send(n->conn, &frame);
	if (rc < 0)
		buf_put(frame.bulk);
	return rc;
}

START_TEST(frames_arrive_once_and_in_order)
{
	set_up(1);
	for (uint64_t i = 1; i <= 100; i++) {
		ck_assert_int_eq(node_send(&a, i, 1 + (uint32_t)i * 7), 0);
		ck_assert_int_eq(node_send(&b, i, 0), 0);
	}
	ck_assert_uint_eq(b.frames, 0);
	sim_world_run_for(world, SIM_S);
	ck_assert_uint_eq(b.frames, 100);
	ck_assert_uint_eq(a.frames, 100);
	ck_assert(a.is_in_order && b.is_in_order);
	tear_down();
}
END_TEST

START_TEST(a_full_queue_refuses_and_drains)
{
	uint64_t sent = 0;

	set_up(2);
	b.net->ops->pause(b.conn, true);
	while (node_send(&a, sent + 1, 60000) == 0)
		sent++;
	ck_assert_int_eq(node_send(&a, sent + 1, 60000), -E_OVERLOADED);
	sim_world_run_for(world, SIM_S);
	ck_assert_uint_eq(b.frames, 0);
	b.net->ops->pause(b.conn, false);
	sim_world_run_for(world, SIM_S);
	ck_assert_uint_eq(b.frames, sent);
	ck_assert_uint_eq(a.drains, 1);
	tear_down();
}
END_TEST

START_TEST(closing_delivers_what_was_sent_before)
{
	set_up(3);
	ck_assert_int_eq(node_send(&a, 1, 100), 0);
	a.net->ops->close(a.conn);
	ck_assert_uint_eq(a.closes, 0);
	sim_world_run_for(world, SIM_S);
	ck_assert_uint_eq(b.frames, 1);
	ck_assert_uint_eq(a.closes, 1);
	ck_assert_uint_eq(b.closes, 1);
	tear_down();
}
END_TEST

START_TEST(a_one_way_partition_holds_frames_until_it_heals)
{
	set_up(4);
	sim_switch_cut(sw, "a", "b");
	ck_assert_int_eq(node_send(&a, 1, 0), 0);
	ck_assert_int_eq(node_send(&b, 1, 0), 0);
	sim_world_run_for(world, SIM_S);
	ck_assert_uint_eq(b.frames, 0);
	ck_assert_uint_eq(a.frames, 1);
	sim_switch_heal(sw);
	sim_world_run_for(world, SIM_S);
	ck_assert_uint_eq(b.frames, 1);
	tear_down();
}
END_TEST

START_TEST(a_long_partition_breaks_the_connection_and_connects_time_out)
{
	set_up(5);
	sim_switch_isolate(sw, "b");
	ck_assert_int_eq(node_send(&a, 1, 0), 0);
	node_connect(&a, 500);
	sim_world_run_for(world, SIM_S);
	ck_assert_int_eq(a.connect_rc, -E_TIMEDOUT);
	ck_assert_uint_eq(a.closes, 0);
	sim_world_run_for(world, 2 * SIM_NET_STALL_NS);
	ck_assert_uint_eq(a.closes, 1);
	ck_assert_uint_eq(b.closes, 1);
	tear_down();
}
END_TEST

START_TEST(a_killed_process_ends_its_connections_and_hears_nothing)
{
	set_up(6);
	ck_assert_int_eq(node_send(&a, 1, 0), 0);
	sim_loop_kill(b.loop);
	sim_net_kill(b.net, false);
	sim_world_run_for(world, SIM_S);
	ck_assert_uint_eq(a.closes, 1);
	ck_assert_uint_eq(b.frames, 0);
	ck_assert_uint_eq(b.closes, 0);
	node_connect(&a, 500);
	sim_world_run_for(world, SIM_S);
	ck_assert_int_eq(a.connect_rc, -E_CONNREFUSED);
	tear_down();
	ck_assert_uint_eq(b.closes, 1);
	ck_assert_int_eq(b.close_rc, -E_CANCELED);
}
END_TEST

START_TEST(a_host_without_power_is_silent_until_it_is_back)
{
	struct node again;

	set_up(7);
	ck_assert_int_eq(node_send(&b, 1, 0), 0);
	sim_loop_kill(b.loop);
	sim_net_kill(b.net, true);
	ck_assert_int_eq(node_send(&a, 1, 0), 0);
	node_connect(&a, 500);
	sim_switch_heal(sw);
	sim_world_run_for(world, SIM_S);
	ck_assert_uint_eq(a.closes, 0);
	ck_assert_uint_eq(a.frames, 0);
	ck_assert_int_eq(a.connect_rc, -E_TIMEDOUT);
	node_start(&again, "b");
	node_listen(&again);
	sim_world_run_for(world, SIM_S);
	ck_assert_uint_eq(a.closes, 1);
	node_connect(&a, 500);
	sim_world_run_for(world, SIM_S);
	ck_assert_int_eq(a.connect_rc, 0);
	node_stop(&again);
	tear_down();
}
END_TEST

START_TEST(bad_weather_breaks_connections_in_both_ends)
{
	struct sim_weather weather = { 1, SIM_MS, .break_per_million = SIM_MILLION / 10 };
	uint64_t sent = 0;

	set_up(8);
	sim_switch_set_weather(sw, &weather);
	while (node_send(&a, sent + 1, 0) == 0)
		sent++;
	sim_world_run_for(world, SIM_S);
	ck_assert_uint_eq(a.closes, 1);
	ck_assert_uint_eq(b.closes, 1);
	ck_assert_uint_le(b.frames, sent);
	ck_assert(b.is_in_order);
	tear_down();
}
END_TEST

START_TEST(an_empty_pool_holds_frames_back)
{
	struct buf *all[200];
	uint32_t count = 0;

	set_up(9);
	while ((all[count] = buf_get(b.pool, BLOCK_BYTES_MAX)) != NULL)
		ck_assert_uint_lt(++count, ARRAY_COUNT(all));
	ck_assert_int_eq(node_send(&a, 1, BLOCK_BYTES_MAX), 0);
	sim_world_run_for(world, SIM_S);
	ck_assert_uint_eq(b.frames, 0);
	while (count > 0)
		buf_put(all[--count]);
	sim_world_run_for(world, SIM_S);
	ck_assert_uint_eq(b.frames, 1);
	tear_down();
}
END_TEST

TEST_MAIN("sim_net", tcase_add_test(tc, frames_arrive_once_and_in_order);
	  tcase_add_test(tc, a_full_queue_refuses_and_drains);
	  tcase_add_test(tc, closing_delivers_what_was_sent_before);
	  tcase_add_test(tc, a_one_way_partition_holds_frames_until_it_heals);
	  tcase_add_test(tc, a_long_partition_breaks_the_connection_and_connects_time_out);
	  tcase_add_test(tc, a_killed_process_ends_its_connections_and_hears_nothing);
	  tcase_add_test(tc, a_host_without_power_is_silent_until_it_is_back);
	  tcase_add_test(tc, bad_weather_breaks_connections_in_both_ends);
	  tcase_add_test(tc, an_empty_pool_holds_frames_back))
