/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Remote calls over real TCP on loopback: both directions, deadlines, credits, reconnects, resends,
 * clusters that differ, and bytes that are no hello.
 */
#include <stdio.h>
#include <string.h>

#include "fs/base/text.h"
#include "fs/net/rpc.h"
#include "tests/loop_until.h"

#define CALLS_MAX 1024

/* One endpoint. */
struct end {
	struct rpc *rpc;
	struct rpc_peer *accepted; /* at a server: the client */
	uint32_t accept_count, lost_count;
	uint32_t request_count;
	uint32_t held_count, held_max;
	struct rpc_request *held[CALLS_MAX];
	bool hold; /* requests are kept, not answered */
	int answer_rc;
};

struct world {
	struct loop *loop;
	struct buf_pool *pool;
	struct net *net;
	struct end server, client;
	struct rpc_peer *peer; /* the server, seen by the client */
	struct loop_timer guard;
	char address[64];
	uint32_t up_count, down_count;
	int down_rc;
};

static struct world w;

/* An answer that tells what was asked: a LOOKUP of parent p is answered with inode p + 1, bulk
 * echoed. */
static void answer(struct end *e, struct rpc_request *req)
{
	Wire__NodeReply reply = WIRE__NODE_REPLY__INIT;
	Wire__Attr attr = WIRE__ATTR__INIT;

	if (req->header.type == MSG_LOOKUP)
		attr.ino = ((const Wire__Lookup *)req->msg)->parent + 1;
	reply.attr = &attr;
	if (req->header.type == MSG_LOOKUP)
		rpc_answer_epoch(req, e->answer_rc, &reply.base, req->bulk, 77, false);
	else
		rpc_answer(req, 0, NULL, NULL);
}

static void on_request(void *arg, struct rpc_request *req)
{
	struct end *e = arg;

	e->request_count++;
	if (!e->hold) {
		answer(e, req);
		return;
	}
	ck_assert_uint_lt(e->held_count, CALLS_MAX);
	e->held[e->held_count++] = req;
	e->held_max = MAX_OF(e->held_max, e->held_count);
}

static void answer_held(struct end *e)
{
	uint32_t n = e->held_count;

	e->held_count = 0;
	for (uint32_t i = 0; i < n; i++)
		answer(e, e->held[i]);
}

static void on_accept(void *arg, struct rpc_peer *peer, const Wire__Hello *hello)
{
	struct end *e = arg;

	ck_assert_str_eq(hello->name, "client");
	e->accepted = peer;
	e->accept_count++;
}

static void on_lost(void *arg, struct rpc_peer *peer)
{
	struct end *e = arg;

	if (e->accepted == peer)
		e->accepted = NULL;
	e->lost_count++;
}

static void on_up(void *arg unused_arg)
{
	w.up_count++;
}

static void on_down(void *arg unused_arg, int rc)
{
	w.down_count++;
	w.down_rc = rc;
}

static void end_start(struct end *e, const char *name, uint8_t cluster)
{
	struct rpc_options o = {
		.loop = w.loop,
		.net = w.net,
		.pool = w.pool,
		.name = name,
		.boot_id = 5,
		.role = e == &w.server ? RPC_METADATA_SERVER : RPC_CLIENT,
		.copies = 3,
		.min_copies = 2,
		.on_request = on_request,
		.on_accept = on_accept,
		.on_lost = on_lost,
		.arg = e,
	};

	memset(o.cluster, cluster, sizeof(o.cluster));
	ck_assert_int_eq(rpc_create(&o, &e->rpc), 0);
}

static void server_start(const char *address)
{
	struct error err = {0};

	end_start(&w.server, "server", 1);
	ck_assert_msg(rpc_listen(w.server.rpc, address, &err) == 0, "%s", err.text);
	ck_assert(text_copy(w.address, sizeof w.address, rpc_listen_address(w.server.rpc)));
}

static void server_stop(void)
{
	rpc_destroy(w.server.rpc);
	w.server.rpc = NULL;
	w.server.accepted = NULL;
}

static void world_start_cluster(uint8_t client_cluster)
{
	memset(&w, 0, sizeof(w));
	ck_assert_int_eq(loop_uv_create(1, &w.loop), 0);
	w.pool = buf_pool_create(MiB(32));
	ck_assert_int_eq(net_uv_create(w.loop, w.pool, "auto", &w.net), 0);
	server_start("127.0.0.1:0");
	end_start(&w.client, "client", client_cluster);
	ck_assert_int_eq(rpc_peer_create(w.client.rpc, w.address, &w.peer), 0);
	loop_until_guard(w.loop, &w.guard, 20000);
}

static void world_start(void)
{
	world_start_cluster(1);
}

static void world_stop(void)
{
	loop_timer_stop(w.loop, &w.guard);
	rpc_peer_destroy(w.peer);
	rpc_destroy(w.client.rpc);
	rpc_destroy(w.server.rpc);
	w.net->ops->destroy(w.net);
	loop_uv_destroy(w.loop);
	buf_pool_destroy(w.pool);
}

struct ask {
	struct rpc_call call;
	bool is_done;
	uint64_t ino, epoch;
	uint32_t bulk_len;
	bool has_reply;
};

static void ask_done(struct rpc_call *call)
{
	struct ask *a = container_of(call, struct ask, call);

	ck_assert(!a->is_done);
	a->is_done = true;
	a->has_reply = call->reply;
	if (call->reply && call->type == MSG_LOOKUP && ((const Wire__NodeReply *)call->reply)->attr)
		a->ino = ((const Wire__NodeReply *)call->reply)->attr->ino;
	a->epoch = call->reply_epoch;
	a->bulk_len = call->reply_bulk ? call->reply_bulk->len : 0;
}

static void ask_lookup(struct rpc_peer *peer, struct ask *a, uint64_t parent, struct buf *bulk)
{
	Wire__Lookup lookup = WIRE__LOOKUP__INIT;

	lookup.parent = parent;
	lookup.name = (ProtobufCBinaryData){1, (uint8_t *)"x"};
	a->call.type = MSG_LOOKUP;
	a->call.request = &lookup.base;
	a->call.bulk = bulk;
	if (!a->call.deadline_ms)
		a->call.deadline_ms = 10000;
	a->call.done = ask_done;
	rpc_call(peer, &a->call);
	ck_assert(!a->is_done);
}

static void ask_until_done(struct ask *a)
{
	RUN_UNTIL(a->is_done);
}

START_TEST(a_call_is_answered)
{
	struct ask a = {0};

	world_start();
	struct buf *bulk = buf_get(w.pool, 50000);
	memset(bulk->data, 3, 50000);
	bulk->len = 50000;
	ask_lookup(w.peer, &a, 41, bulk);
	buf_put(bulk);
	ask_until_done(&a);
	ck_assert_int_eq(a.call.rc, 0);
	ck_assert_uint_eq(a.ino, 42);
	ck_assert_uint_eq(a.epoch, 77);
	ck_assert_uint_eq(a.bulk_len, 50000);
	ck_assert_uint_eq(rpc_peer_hello(w.peer)->min_copies, 2);
	ck_assert_uint_eq(rpc_peer_outstanding(w.peer), 0);
	world_stop();
}
END_TEST

START_TEST(an_error_may_carry_a_reply)
{
	struct ask a = {0};

	world_start();
	w.server.answer_rc = -E_STALE_EPOCH;
	ask_lookup(w.peer, &a, 1, NULL);
	ask_until_done(&a);
	ck_assert_int_eq(a.call.rc, -E_STALE_EPOCH);
	ck_assert_uint_eq(a.ino, 2);
	world_stop();
}
END_TEST

START_TEST(a_server_calls_its_client)
{
	struct ask up = {0}, down = {0};

	world_start();
	ask_lookup(w.peer, &up, 1, NULL);
	ask_until_done(&up);
	ask_lookup(w.server.accepted, &down, 8, NULL);
	ask_until_done(&down);
	ck_assert_int_eq(down.call.rc, 0);
	ck_assert_uint_eq(down.ino, 9);
	ck_assert_uint_eq(w.client.request_count, 1);
	world_stop();
}
END_TEST

START_TEST(a_deadline_ends_a_call)
{
	struct ask first = {0}, a = {.call = {.deadline_ms = 20}}, b = {0};

	world_start();
	ask_lookup(w.peer, &first, 1, NULL); /* 20 ms need not be enough to connect */
	ask_until_done(&first);
	ck_assert_int_eq(first.call.rc, 0);
	w.server.hold = true;
	ask_lookup(w.peer, &a, 1, NULL);
	ask_until_done(&a);
	ck_assert_int_eq(a.call.rc, -E_TIMEDOUT);
	w.server.hold = false;
	answer_held(&w.server); /* nobody waits for it any more */
	ask_lookup(w.peer, &b, 1, NULL);
	ask_until_done(&b);
	ck_assert_int_eq(b.call.rc, 0);
	world_stop();
}
END_TEST

START_TEST(credits_bound_what_is_outstanding)
{
	static struct ask asks[300];

	memset(asks, 0, sizeof(asks));
	world_start();
	w.server.hold = true;
	for (uint32_t i = 0; i < ARRAY_COUNT(asks); i++)
		ask_lookup(w.peer, &asks[i], i, NULL);
	ck_assert_uint_eq(rpc_peer_outstanding(w.peer), ARRAY_COUNT(asks));
	for (uint32_t answered = 0; answered < ARRAY_COUNT(asks); answered += w.server.held_max) {
		RUN_UNTIL(w.server.held_count == MIN_OF(112u, ARRAY_COUNT(asks) - answered));
		w.server.held_max = w.server.held_count;
		answer_held(&w.server);
	}
	for (uint32_t i = 0; i < ARRAY_COUNT(asks); i++) {
		ask_until_done(&asks[i]);
		ck_assert_int_eq(asks[i].call.rc, 0);
		ck_assert_uint_eq(asks[i].ino, i + 1);
	}
	world_stop();
}
END_TEST

START_TEST(an_urgent_call_passes_those_that_wait)
{
	static struct ask asks[200];
	struct ask urgent = {0};
	Wire__LeaseReturn give_back = WIRE__LEASE_RETURN__INIT;

	memset(asks, 0, sizeof(asks));
	world_start();
	w.server.hold = true;
	for (uint32_t i = 0; i < ARRAY_COUNT(asks); i++)
		ask_lookup(w.peer, &asks[i], i, NULL);
	RUN_UNTIL(w.server.held_count == 112);
	w.server.hold = false;
	urgent.call = (struct rpc_call){.type = MSG_LEASE_RETURN,
					.request = &give_back.base,
					.deadline_ms = 5000,
					.done = ask_done};
	rpc_call(w.peer, &urgent.call);
	ask_until_done(&urgent);
	ck_assert_int_eq(urgent.call.rc, 0);
	ck_assert_uint_eq(w.server.held_count, 112);
	answer_held(&w.server);
	world_stop();
}
END_TEST

START_TEST(an_absent_server_is_told_at_once)
{
	struct ask a = {0}, b = {0};

	world_start();
	server_stop();
	ask_lookup(w.peer, &a, 1, NULL);
	ask_until_done(&a);
	ck_assert_int_eq(a.call.rc, -E_NOTCONN);
	ask_lookup(w.peer, &b, 1, NULL);
	ask_until_done(&b);
	ck_assert_int_eq(b.call.rc, -E_NOTCONN);
	world_stop();
}
END_TEST

START_TEST(a_lost_connection_ends_calls_but_not_those_to_resend)
{
	struct ask once = {0}, again = {.call = {.resend = true}};

	world_start();
	rpc_peer_watch(w.peer, on_up, on_down, NULL);
	w.server.hold = true;
	ask_lookup(w.peer, &once, 1, NULL);
	ask_lookup(w.peer, &again, 5, NULL);
	RUN_UNTIL(w.server.held_count == 2);
	w.server.hold = false;
	rpc_peer_drop(w.server.accepted);
	ask_until_done(&once);
	ck_assert_int_eq(once.call.rc, -E_NOTCONN);
	ask_until_done(&again);
	ck_assert_int_eq(again.call.rc, 0);
	ck_assert_uint_eq(again.ino, 6);
	ck_assert_uint_eq(w.up_count, 2);
	ck_assert_uint_eq(w.down_count, 1);
	ck_assert_uint_eq(w.server.lost_count, 1);
	answer_held(&w.server); /* still required; goes nowhere */
	world_stop();
}
END_TEST

START_TEST(a_restarted_server_gets_what_waits)
{
	struct ask a = {.call = {.resend = true}};

	world_start();
	server_stop();
	ask_lookup(w.peer, &a, 1, NULL);
	rpc_peer_watch(w.peer, on_up, on_down, NULL);
	RUN_UNTIL(w.down_count == 2);
	server_start(w.address);
	ask_until_done(&a);
	ck_assert_int_eq(a.call.rc, 0);
	world_stop();
}
END_TEST

START_TEST(another_cluster_is_refused)
{
	struct ask a = {.call = {.resend = true}};

	world_start_cluster(2);
	rpc_peer_watch(w.peer, on_up, on_down, NULL);
	ask_lookup(w.peer, &a, 1, NULL);
	ask_until_done(&a);
	ck_assert_int_eq(a.call.rc, -E_WRONG_CLUSTER);
	ck_assert_int_eq(w.down_rc, -E_WRONG_CLUSTER);
	ck_assert_uint_eq(w.server.accept_count, 0);
	ck_assert_uint_eq(w.up_count, 0);
	world_stop();
}
END_TEST

START_TEST(a_client_without_a_cluster_learns_it)
{
	struct ask a = {0};

	world_start_cluster(0);
	ask_lookup(w.peer, &a, 1, NULL);
	ask_until_done(&a);
	ck_assert_int_eq(a.call.rc, 0);
	ck_assert_uint_eq(rpc_cluster(w.client.rpc)[15], 1);
	world_stop();
}
END_TEST

START_TEST(a_cancelled_call_is_silent)
{
	struct ask waiting = {0}, sent = {0}, finished = {0};

	world_start();
	w.server.hold = true;
	ask_lookup(w.peer, &waiting, 1, NULL);
	rpc_cancel(&waiting.call);
	ask_lookup(w.peer, &sent, 2, NULL);
	RUN_UNTIL(w.server.held_count == 1);
	rpc_cancel(&sent.call);
	server_stop();
	RUN_UNTIL(!rpc_peer_is_connected(w.peer));
	ask_lookup(w.peer, &finished, 3, NULL);
	rpc_cancel(&finished.call);
	rpc_cancel(&finished.call);
	for (int i = 0; i < 10; i++)
		uv_run(loop_uv_handle(w.loop), UV_RUN_NOWAIT);
	ck_assert(!waiting.is_done && !sent.is_done && !finished.is_done);
	answer_held(&w.server);
	world_stop();
}
END_TEST

START_TEST(destroying_a_peer_cancels_its_calls)
{
	struct ask a = {.call = {.resend = true}};

	world_start();
	w.server.hold = true;
	ask_lookup(w.peer, &a, 1, NULL);
	RUN_UNTIL(w.server.held_count == 1);
	rpc_peer_destroy(w.peer);
	w.peer = NULL;
	ck_assert(!a.is_done);
	ask_until_done(&a);
	ck_assert_int_eq(a.call.rc, -E_CANCELED);
	RUN_UNTIL(w.server.lost_count == 1);
	answer_held(&w.server);
	world_stop();
}
END_TEST

START_TEST(destroying_the_rpc_completes_calls)
{
	struct ask a = {0};

	world_start();
	ask_lookup(w.peer, &a, 1, NULL);
	rpc_destroy(w.client.rpc);
	ck_assert_int_eq(a.call.rc, -E_CANCELED);
	ck_assert(a.is_done);
	w.client.rpc = NULL;
	w.peer = NULL;
	world_stop();
}
END_TEST

START_TEST(a_message_beyond_its_bounds_is_answered_malformed)
{
	struct ask a = {0};
	Wire__Lookup lookup = WIRE__LOOKUP__INIT;
	uint8_t name[NAME_BYTES_MAX + 1] = {1};

	world_start();
	lookup.name = (ProtobufCBinaryData){sizeof(name), name};
	a.call = (struct rpc_call){
		.type = MSG_LOOKUP, .request = &lookup.base, .deadline_ms = 5000, .done = ask_done};
	rpc_call(w.peer, &a.call);
	ask_until_done(&a);
	ck_assert_int_eq(a.call.rc, -E_MALFORMED);
	ck_assert(!a.has_reply);
	ck_assert_uint_eq(w.server.request_count, 0);
	world_stop();
}
END_TEST

START_TEST(a_message_too_large_to_send_is_refused)
{
	struct ask a = {0};
	Wire__Lookup lookup = WIRE__LOOKUP__INIT;
	static uint8_t name[MESSAGE_BYTES_MAX];

	world_start();
	lookup.name = (ProtobufCBinaryData){sizeof(name), name};
	a.call = (struct rpc_call){
		.type = MSG_LOOKUP, .request = &lookup.base, .deadline_ms = 5000, .done = ask_done};
	rpc_call(w.peer, &a.call);
	ck_assert(!a.is_done);
	ask_until_done(&a);
	ck_assert_int_eq(a.call.rc, -E_TOOBIG);
	world_stop();
}
END_TEST

/* --- a connection that does not begin with a hello ---- */

static struct {
	bool is_closed;
	struct net_conn *conn;
} stranger;

static void stranger_frame(void *arg unused_arg, struct net_frame *frame)
{
	buf_put(frame->message);
	buf_put(frame->bulk);
}

static void stranger_closed(void *arg unused_arg, int rc unused_arg)
{
	stranger.is_closed = true;
}

static void stranger_drained(void *arg unused_arg)
{
}

static const struct net_conn_events STRANGER = {stranger_frame, stranger_closed, stranger_drained};

static void stranger_connected(void *arg unused_arg, struct net_conn *conn, int rc)
{
	struct net_frame f = {.header = {.type = MSG_STATUS, .request = 1, .deadline_ms = 100}};

	ck_assert_int_eq(rc, 0);
	w.net->ops->conn_events(conn, &STRANGER, NULL);
	ck_assert_int_eq(w.net->ops->send(conn, &f), 0);
}

START_TEST(a_request_before_the_hello_ends_the_connection)
{
	world_start();
	stranger.is_closed = false;
	ck_assert_int_eq(w.net->ops->connect(w.net, w.address, 1000, stranger_connected, NULL), 0);
	RUN_UNTIL(stranger.is_closed);
	ck_assert_uint_eq(w.server.request_count, 0);
	ck_assert_uint_eq(w.server.lost_count, 0);
	world_stop();
}
END_TEST

static int refusal;

static int refuse_to_listen(struct net *net unused_arg, const char *address unused_arg,
			    void (*accept)(void *, struct net_conn *) unused_arg,
			    void *arg unused_arg, struct net_listener **out unused_arg)
{
	return refusal;
}

/* What a listener that is refused says. */
static const char *refused(int rc, const char *address)
{
	static const struct net_ops OPS = {.listen = refuse_to_listen};
	static struct error err;
	struct net net = {.ops = &OPS, .loop = w.loop, .pool = w.pool};
	struct rpc_options o = {.loop = w.loop, .net = &net, .pool = w.pool, .name = "refused"};
	struct rpc *rpc;

	refusal = rc;
	ck_assert_int_eq(rpc_create(&o, &rpc), 0);
	ck_assert_int_eq(rpc_listen(rpc, address, &err), rc);
	ck_assert_ptr_null(rpc_listen_address(rpc));
	rpc_destroy(rpc);
	return err.text;
}

START_TEST(who_cannot_listen_is_told_why_and_what_to_do)
{
	world_start();
	ck_assert_ptr_nonnull(strstr(refused(-E_ACCES, "h:80"), "'h:80': permission denied; ports "
								 "below 1024 are root's"));
	ck_assert_ptr_nonnull(strstr(refused(-E_AFNOSUPPORT, "[::]:1"), "is IPv6 switched off?"));
	ck_assert_ptr_nonnull(strstr(refused(-E_NFILE, "h:80"), "'h:80': too many open files"));
	world_stop();
}
END_TEST

/* What the transport says when the system refuses. */
static const char *refused_really(const char *address)
{
	static struct error err;

	ck_assert_int_lt(rpc_listen(w.client.rpc, address, &err), 0);
	return err.text;
}

START_TEST(an_address_that_cannot_be_had_is_named_with_its_reason)
{
	world_start();
	ck_assert_ptr_nonnull(strstr(refused_really(w.address), "': port is in use; "));
	/* an address for documentation: nobody's */
	ck_assert_ptr_nonnull(strstr(refused_really("192.0.2.1:7800"),
				     "'192.0.2.1:7800': address is not of this host; "));
	ck_assert_ptr_nonnull(strstr(refused_really("nonsense"), "write HOST:PORT"));
	world_stop();
}
END_TEST

TEST_MAIN("rpc", tcase_add_test(tc, a_call_is_answered);
	  tcase_add_test(tc, an_error_may_carry_a_reply);
	  tcase_add_test(tc, a_server_calls_its_client); tcase_add_test(tc, a_deadline_ends_a_call);
	  tcase_add_test(tc, credits_bound_what_is_outstanding);
	  tcase_add_test(tc, an_urgent_call_passes_those_that_wait);
	  tcase_add_test(tc, an_absent_server_is_told_at_once);
	  tcase_add_test(tc, a_lost_connection_ends_calls_but_not_those_to_resend);
	  tcase_add_test(tc, a_restarted_server_gets_what_waits);
	  tcase_add_test(tc, another_cluster_is_refused);
	  tcase_add_test(tc, a_client_without_a_cluster_learns_it);
	  tcase_add_test(tc, a_cancelled_call_is_silent);
	  tcase_add_test(tc, destroying_a_peer_cancels_its_calls);
	  tcase_add_test(tc, destroying_the_rpc_completes_calls);
	  tcase_add_test(tc, a_message_beyond_its_bounds_is_answered_malformed);
	  tcase_add_test(tc, a_message_too_large_to_send_is_refused);
	  tcase_add_test(tc, a_request_before_the_hello_ends_the_connection);
	  tcase_add_test(tc, who_cannot_listen_is_told_why_and_what_to_do);
	  tcase_add_test(tc, an_address_that_cannot_be_had_is_named_with_its_reason))
