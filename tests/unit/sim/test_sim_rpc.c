/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The real remote calls over the simulated network and loop: a client and a server through bad
 * weather, a partition, a crash and a restart. It shows that the twins carry the real code, how a
 * node dies, and that a run is a function of its seed.
 */
#include <stdio.h>
#include <string.h>

#include "fs/net/rpc.h"
#include "tests/check_main.h"
#include "tests/sim/sim_net.h"

#define CALLS 50

struct node {
	struct loop *loop;
	struct buf_pool *pool;
	struct net *net;
	struct rpc *rpc;
	uint64_t answered;
};

static struct sim_world *world;
static struct sim_switch *sw;
static struct node server, client;
static struct rpc_peer *peer;
static struct rpc_call calls[CALLS];
static uint32_t done_count, good_count;
static bool is_replaceable; /* what call_all() says of its calls */

static void on_request(void *arg, struct rpc_request *req)
{
	struct node *n = arg;
	Wire__NodeReply reply = WIRE__NODE_REPLY__INIT;
	Wire__Attr attr = WIRE__ATTR__INIT;

	attr.ino = ((const Wire__Lookup *)req->msg)->parent + 1;
	reply.attr = &attr;
	n->answered++;
	rpc_answer(req, 0, &reply.base, NULL);
}

static void node_start(struct node *n, const char *host, enum rpc_role role)
{
	struct rpc_options o = { .role = role, .name = host, .boot_id = 1, .copies = 1,
				 .min_copies = 1, .on_request = on_request, .arg = n };

	*n = (struct node){ .answered = 0 };
	ck_assert_int_eq(sim_loop_create(world, host, &n->loop), 0);
	n->pool = buf_pool_create(MiB(4));
	ck_assert_ptr_nonnull(n->pool);
	ck_assert_int_eq(sim_net_create(sw, n->loop, n->pool, host, &n->net), 0);
	o.loop = n->loop;
	o.net = n->net;
	o.pool = n->pool;
	memset(o.cluster, 7, sizeof o.cluster);
	ck_assert_int_eq(rpc_create(&o, &n->rpc), 0);
}

static void server_start(void)
{
	node_start(&server, "server", RPC_METADATA_SERVER);
	ck_assert_int_eq(rpc_listen(server.rpc, "server:700", NULL), 0);
}

static void node_free(struct node *n)
{
	rpc_destroy(n->rpc);
	n->net->ops->destroy(n->net);
	sim_loop_destroy(n->loop);
	buf_pool_destroy(n->pool);
}

static void node_crash(struct node *n, bool is_power_cut)
{
	sim_loop_kill(n->loop);
	sim_net_kill(n->net, is_power_cut);
	node_free(n);
}

static void set_up(uint64_t seed)
{
	done_count = good_count = 0;
	is_replaceable = false;
	ck_assert_int_eq(sim_world_create(seed, &world), 0);
	ck_assert_int_eq(sim_switch_create(world, &sw), 0);
	server_start();
	node_start(&client, "client", RPC_CLIENT);
	ck_assert_int_eq(rpc_peer_create(client.rpc, "server:700", &peer), 0);
}

static void tear_down(void)
{
	rpc_peer_destroy(peer);
	node_free(&client);
	node_free(&server);
	sim_switch_destroy(sw);
	sim_world_destroy(world);
}

static void call_done(struct rpc_call *call)
{
	const Wire__NodeReply *reply = (const Wire__NodeReply *)call->reply;
	uint64_t number = (uint64_t)(call - calls);

	done_count++;
	if (call->rc == 0) {
		ck_assert_uint_eq(reply->attr->ino, number + 1);
		good_count++;
	}
}

static void call_all(uint32_t deadline_ms)
{
	Wire__Lookup lookup = WIRE__LOOKUP__INIT;
	uint8_t name[] = "name";

	lookup.name = (ProtobufCBinaryData){ 4, name };
	for (uint32_t i = 0; i < CALLS; i++) {
		lookup.parent = i;
		calls[i] = (struct rpc_call){ .type = MSG_LOOKUP, .request = &lookup.base,
					      .resend = !is_replaceable,
					      .is_replaceable = is_replaceable,
					      .deadline_ms = deadline_ms,
					      .done = call_done };
		rpc_call(peer, &calls[i]);
	}
}

static bool all_done(void *arg unused_arg)
{
	return done_count == CALLS;
}

static void ck_all_good(void)
{
	ck_assert(sim_world_run_until(world, all_done, NULL, 60 * SIM_S));
	ck_assert_uint_eq(good_count, CALLS);
}

START_TEST(calls_are_answered)
{
	set_up(1);
	call_all(1000);
	ck_all_good();
	tear_down();
}
END_TEST

START_TEST(calls_survive_breaking_connections)
{
	struct sim_weather weather = { SIM_US, 2 * SIM_MS, .break_per_million = 20000,
				       .refuse_per_million = 200000 };

	for (uint64_t seed = 1; seed <= 10; seed++) {
		set_up(seed);
		sim_switch_set_weather(sw, &weather);
		call_all(30000);
		ck_all_good();
		tear_down();
	}
}
END_TEST

START_TEST(a_partition_delays_calls_up_to_their_deadline)
{
	set_up(3);
	sim_switch_isolate(sw, "server");
	call_all(500);
	ck_assert(sim_world_run_until(world, all_done, NULL, SIM_S));
	ck_assert_uint_eq(good_count, 0);
	sim_switch_heal(sw);
	done_count = 0;
	call_all(30000);
	ck_all_good();
	tear_down();
}
END_TEST

START_TEST(a_server_that_crashes_and_returns_is_found_again)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		set_up(seed);
		call_all(50000);
		sim_world_run_for(world, sim_world_below(world, 5 * SIM_MS));
		node_crash(&server, seed % 2);
		sim_world_run_for(world, sim_world_below(world, 5 * SIM_S));
		server_start();
		ck_all_good();
		tear_down();
	}
}
END_TEST

START_TEST(a_silent_server_does_not_keep_who_can_ask_another)
{
	set_up(7);
	call_all(1000);
	ck_all_good();
	is_replaceable = true;
	sim_loop_hang(server.loop, 10 * SIM_S);
	done_count = 0;
	call_all(30000);
	ck_assert(sim_world_run_until(world, all_done, NULL, 200 * SIM_MS));
	ck_assert_int_eq(calls[0].rc, -E_TIMEDOUT);
	ck_assert(rpc_peer_is_away(peer));
	done_count = 0;
	call_all(30000);		/* and now at once */
	ck_assert(sim_world_run_until(world, all_done, NULL, SIM_MS));
	sim_world_run_for(world, 12 * SIM_S);
	ck_assert(!rpc_peer_is_away(peer));
	done_count = good_count = 0;
	call_all(1000);
	ck_all_good();
	tear_down();
}
END_TEST

START_TEST(a_server_that_works_long_is_there)
{
	struct sim_weather far = { 60 * SIM_MS, 70 * SIM_MS, 0, 0 };

	set_up(8);
	call_all(1000);
	ck_all_good();
	/* round trips of 130 ms: the first tries end, then it is known */
	sim_switch_set_weather(sw, &far);
	is_replaceable = true;
	for (int i = 0; i < 20 && good_count < CALLS; i++) {
		done_count = good_count = 0;
		call_all(5000);
		ck_assert(sim_world_run_until(world, all_done, NULL, 6 * SIM_S));
		sim_world_run_for(world, 300 * SIM_MS);
	}
	ck_assert_uint_eq(good_count, CALLS);
	tear_down();
}
END_TEST

START_TEST(a_cut_that_heals_is_noticed_within_seconds)
{
	for (int way = 0; way < 3; way++) {
		set_up(9);
		call_all(1000);
		ck_all_good();
		if (way != 1)
			sim_switch_cut(sw, "client", "server");
		if (way != 0)
			sim_switch_cut(sw, "server", "client");
		is_replaceable = true;
		done_count = 0;
		call_all(30000);
		ck_assert(sim_world_run_until(world, all_done, NULL, 200 * SIM_MS));
		sim_world_run_for(world, 8 * SIM_S);
		ck_assert(rpc_peer_is_away(peer));
		sim_switch_heal(sw);
		sim_world_run_for(world, 5 * SIM_S);
		ck_assert(!rpc_peer_is_away(peer));
		tear_down();
	}
}
END_TEST

static uint64_t trace_of(uint64_t seed)
{
	set_up(seed);
	call_all(1000);
	ck_all_good();
	uint64_t trace = sim_world_trace(world);
	tear_down();
	return trace;
}

START_TEST(equal_seeds_give_equal_runs)
{
	ck_assert_uint_eq(trace_of(5), trace_of(5));
	ck_assert_uint_ne(trace_of(5), trace_of(6));
}
END_TEST

TEST_MAIN("sim_rpc", tcase_add_test(tc, calls_are_answered);
	  tcase_add_test(tc, calls_survive_breaking_connections);
	  tcase_add_test(tc, a_partition_delays_calls_up_to_their_deadline);
	  tcase_add_test(tc, a_server_that_crashes_and_returns_is_found_again);
	  tcase_add_test(tc, a_silent_server_does_not_keep_who_can_ask_another);
	  tcase_add_test(tc, a_server_that_works_long_is_there);
	  tcase_add_test(tc, a_cut_that_heals_is_noticed_within_seconds);
	  tcase_add_test(tc, equal_seeds_give_equal_runs))
