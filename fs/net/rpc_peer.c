/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Remotes. An accepted peer lives as long as its connection; an outgoing one connects at its first
 * call and again after each loss, with a backoff that doubles and is blurred, so that a restarted
 * server is not greeted by everyone in the same millisecond.
 *
 * A hello opens every connection: the asker says who it is, the answer who the server is. Both
 * compare the cluster id and the version; a server that gets it wrong is not asked anything else.
 */
#define LOG_MODULE "rpc"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "fs/base/log.h"
#include "fs/base/text.h"
#include "fs/net/rpc_internal.h"

#define CLUSTER_BYTES 16u

static const uint8_t CLUSTER_NONE[CLUSTER_BYTES];

static struct rpc_peer *peer_of(void *arg)
{
	return CHECKED_CAST(arg, struct rpc_peer, RPC_PEER_MAGIC);
}

static const struct net_ops *peer_ops(const struct rpc_peer *peer)
{
	return peer->rpc->options.net->ops;
}

static bool cluster_is_none(const uint8_t cluster[CLUSTER_BYTES])
{
	return memcmp(cluster, CLUSTER_NONE, CLUSTER_BYTES) == 0;
}

static bool error_is_final(int rc)
{
	return rc == -E_WRONG_CLUSTER || rc == -E_WRONG_VERSION;
}

/* --- a connection that nobody owns any more ---- */

static void orphan_frame(void *arg unused_arg, struct net_frame *frame)
{
	buf_put(frame->message);
	buf_put(frame->bulk);
}

static void orphan_close(void *arg unused_arg, int rc unused_arg)
{
}

static void orphan_drain(void *arg unused_arg)
{
}

static const struct net_conn_events ORPHAN_EVENTS = {orphan_frame, orphan_close, orphan_drain};

static void conn_abandon(const struct net_ops *ops, struct net_conn *conn)
{
	ops->conn_events(conn, &ORPHAN_EVENTS, NULL);
	ops->close(conn);
}

/* --- loss ---- */

static void backoff_start(struct rpc_peer *peer)
{
	struct loop *loop = peer->rpc->options.loop;
	uint32_t noise;

	loop_random(loop, &noise, sizeof(noise));
	peer->state = RPC_PEER_BACKOFF;
	loop_timer_start(loop, &peer->timer,
			 peer->backoff_ms / 2 + noise % (peer->backoff_ms / 2 + 1));
	peer->backoff_ms = MIN_OF(peer->backoff_ms * 2, RPC_BACKOFF_MS_MAX);
}

/* An outgoing peer lost its connection, or got none. */
static void peer_lost(struct rpc_peer *peer, int rc)
{
	peer->conn = NULL;
	peer->has_failed = true;
	rpc_silence_stop(peer);
	rpc_requests_orphan(peer);
	backoff_start(peer);
	rpc_call_lost(peer, error_is_final(rc) ? rc : -E_NOTCONN, error_is_final(rc));
	if (peer->on_down) /* last: it may destroy the peer */
		peer->on_down(peer->watch_arg, rc);
}

void rpc_peer_free(struct rpc_peer *peer, int rc)
{
	struct rpc *rpc = peer->rpc;

	peer->state = RPC_PEER_BACKOFF; /* nothing is sent any more, whatever on_lost() does */
	rpc_requests_orphan(peer);
	if (peer->is_accepted && peer->was_up && rpc->options.on_lost)
		rpc->options.on_lost(rpc->options.arg, peer);
	rpc_call_lost(peer, rc, true);
	rpc_silence_stop(peer);
	loop_timer_stop(rpc->options.loop, &peer->timer);
	if (peer->attempt)
		peer->attempt->peer = NULL;
	if (peer->conn)
		conn_abandon(peer_ops(peer), peer->conn);
	if (peer->is_accepted)
		rpc->accepted_count--;
	DL_DELETE(rpc->peers, peer);
	msg_free(peer->hello);
	peer->magic = 0;
	free(peer);
}

/* --- events of the connection ---- */

static void on_frame(void *arg, struct net_frame *frame)
{
	struct rpc_peer *peer = peer_of(arg);

	rpc_silence_heard(peer);
	if (frame->header.flags & FRAME_FLAG_REPLY)
		rpc_call_reply(peer, frame);
	else
		rpc_request_take(peer, frame);
}

static void on_close(void *arg, int rc)
{
	struct rpc_peer *peer = peer_of(arg);

	log_debug("connection ended peer=%s: %s", peer->name, error_text(rc));
	peer->conn = NULL;
	if (peer->is_accepted)
		rpc_peer_free(peer, -E_NOTCONN);
	else
		peer_lost(peer, peer->fail_rc < 0 ? peer->fail_rc : rc);
}

static void on_drain(void *arg)
{
	struct rpc_peer *peer = peer_of(arg);

	rpc_answers_send(peer);
	rpc_call_pump(peer);
}

static const struct net_conn_events PEER_EVENTS = {on_frame, on_close, on_drain};

/* --- hello ---- */

static void hello_send(struct rpc_peer *peer)
{
	const struct rpc_options *o = &peer->rpc->options;
	Wire__Hello hello = WIRE__HELLO__INIT;
	struct net_frame frame = {0};
	int rc;

	if (!cluster_is_none(o->cluster))
		hello.cluster = (ProtobufCBinaryData){CLUSTER_BYTES, (uint8_t *)o->cluster};
	hello.version = FRAME_VERSION;
	hello.version_min = FRAME_VERSION;
	hello.role = o->role;
	hello.name = (char *)o->name;
	hello.boot_id = o->boot_id;
	hello.server = o->server;

	peer->hello_id = peer->rpc->next_request++;
	frame.header.type = MSG_HELLO;
	frame.header.request = peer->hello_id;
	frame.header.deadline_ms = RPC_HELLO_MS;
	struct buf *message = rpc_message_buf(&hello.base, NULL, &rc);
	if (message) {
		rpc_frame_fill(&frame, message, 0, NULL, false);
		rc = peer_ops(peer)->send(peer->conn, &frame);
	}
	if (rc < 0) {
		buf_put(message);
		peer_ops(peer)->close(peer->conn); /* tried again after the backoff */
	}
}

static int hello_reply_check(const struct rpc_peer *peer, const Wire__HelloReply *reply)
{
	const uint8_t *ours = peer->rpc->options.cluster;

	if (reply->cluster.len != 0 && !cluster_is_none(ours) &&
	    memcmp(reply->cluster.data, ours, CLUSTER_BYTES))
		return -E_WRONG_CLUSTER;
	return reply->version == FRAME_VERSION ? 0 : -E_WRONG_VERSION;
}

static void hello_refused(struct rpc_peer *peer, int rc)
{
	log_warn("cannot talk to peer=%s: %s", peer->name, error_text(rc));
	peer->fail_rc = rc; /* told with the end of the connection */
	peer_ops(peer)->close(peer->conn);
}

/* The answer to our hello. */
static void hello_take_reply(struct rpc_peer *peer, const struct net_frame *frame)
{
	struct rpc *rpc = peer->rpc;
	ProtobufCMessage *msg = NULL;
	int rc = -(int)MIN_OF(frame->header.deadline_ms, (uint32_t)INT16_MAX);

	if (rc == 0)
		rc = msg_unpack(MSG_HELLO, true, frame->message ? frame->message->data : NULL,
				frame->header.message_len, &msg);
	if (rc == 0)
		rc = hello_reply_check(peer, (const Wire__HelloReply *)msg);
	if (rc < 0) {
		msg_free(msg);
		hello_refused(peer, rc);
		return;
	}
	const Wire__HelloReply *reply = (const Wire__HelloReply *)msg;
	msg_free(peer->hello);
	peer->hello = msg;
	if (cluster_is_none(rpc->options.cluster) && reply->cluster.len == CLUSTER_BYTES)
		memcpy(rpc->options.cluster, reply->cluster.data, CLUSTER_BYTES);
	peer->credits = MIN_OF(MAX_OF(reply->credits, 1u), RPC_CREDITS_MAX);
	peer->state = RPC_PEER_UP;
	peer->was_up = true;
	peer->has_failed = false;
	peer->backoff_ms = RPC_BACKOFF_MS_MIN;
	loop_timer_stop(rpc->options.loop, &peer->timer);
	rpc_call_pump(peer);
	if (peer->on_up) /* last: it may destroy the peer */
		peer->on_up(peer->watch_arg);
}

bool rpc_peer_take_hello_reply(struct rpc_peer *peer, const struct net_frame *frame)
{
	if (peer->is_accepted || peer->state != RPC_PEER_HELLO ||
	    frame->header.request != peer->hello_id || frame->header.type != MSG_HELLO)
		return false;
	hello_take_reply(peer, frame);
	return true;
}

static int hello_check(const struct rpc *rpc, const Wire__Hello *hello)
{
	const uint8_t *ours = rpc->options.cluster;

	if (hello->cluster.len != 0 && !cluster_is_none(ours) &&
	    memcmp(hello->cluster.data, ours, CLUSTER_BYTES))
		return -E_WRONG_CLUSTER;
	if (hello->version < FRAME_VERSION || hello->version_min > FRAME_VERSION)
		return -E_WRONG_VERSION;
	return 0;
}

static void hello_answer(struct rpc_request *req, int rc)
{
	const struct rpc_options *o = &req->peer->rpc->options;
	Wire__HelloReply reply = WIRE__HELLO_REPLY__INIT;

	if (!cluster_is_none(o->cluster))
		reply.cluster = (ProtobufCBinaryData){CLUSTER_BYTES, (uint8_t *)o->cluster};
	reply.version = FRAME_VERSION;
	reply.role = o->role;
	reply.name = (char *)o->name;
	reply.boot_id = o->boot_id;
	reply.wall_ns = loop_wall_ns(o->loop);
	reply.hash = o->hash;
	reply.copies = o->copies;
	reply.min_copies = o->min_copies;
	reply.incompat = o->incompat;
	reply.credits = RPC_CREDITS;
	reply.server = o->server;
	rpc_answer(req, rc, &reply.base, NULL);
}

void rpc_peer_take_hello(struct rpc_peer *peer, struct rpc_request *req)
{
	struct rpc *rpc = peer->rpc;
	/* It must outlive the answer, for on_accept. */
	ProtobufCMessage *msg = (ProtobufCMessage *)req->msg;
	const Wire__Hello *hello = (const Wire__Hello *)msg;
	int rc = hello_check(rpc, hello);

	req->msg = NULL;
	if (rc < 0)
		log_warn("refused a hello peer=%s: %s", peer->name, error_text(rc));
	hello_answer(req, rc);
	if (rc == 0) { /* else it hangs up, or the timer does */
		peer->state = RPC_PEER_UP;
		peer->was_up = true;
		loop_timer_stop(rpc->options.loop, &peer->timer);
		(void)snprintf(peer->name, sizeof(peer->name), "%.60s(%.80s)", hello->name,
			       peer_ops(peer)->peer_name(peer->conn));
		if (rpc->options.on_accept)
			rpc->options.on_accept(rpc->options.arg, peer, hello);
	}
	msg_free(msg);
}

/* --- connecting ---- */

static void on_connect(void *arg, struct net_conn *conn, int rc)
{
	struct rpc_attempt *attempt = arg;
	struct rpc_peer *peer = attempt->peer;

	if (!peer) {
		if (conn)
			conn_abandon(attempt->net->ops, conn);
		free(attempt);
		return;
	}
	free(attempt);
	peer->attempt = NULL;
	if (rc < 0) {
		log_debug("cannot connect peer=%s: %s", peer->name, error_text(rc));
		peer_lost(peer, rc);
		return;
	}
	peer->conn = conn;
	peer->fail_rc = 0;
	peer->state = RPC_PEER_HELLO;
	peer_ops(peer)->conn_events(conn, &PEER_EVENTS, peer);
	loop_timer_start(peer->rpc->options.loop, &peer->timer, RPC_HELLO_MS);
	hello_send(peer);
}

void rpc_peer_connect(struct rpc_peer *peer)
{
	struct net *net = peer->rpc->options.net;
	struct rpc_attempt *attempt = malloc(sizeof(*attempt));
	int rc = -E_NOMEM;

	peer->state = RPC_PEER_CONNECTING;
	if (attempt) {
		*attempt = (struct rpc_attempt){peer, net};
		rc = net->ops->connect(net, peer->address, RPC_CONNECT_MS, on_connect, attempt);
	}
	if (rc < 0) { /* not now: we may be inside rpc_call() */
		free(attempt);
		peer->fail_rc = rc;
		loop_timer_start(peer->rpc->options.loop, &peer->timer, 0);
		return;
	}
	peer->attempt = attempt;
}

static void peer_timer(struct loop_timer *timer)
{
	struct rpc_peer *peer = container_of(timer, struct rpc_peer, timer);

	switch (peer->state) {
	case RPC_PEER_CONNECTING:
		peer_lost(peer, peer->fail_rc);
		break;
	case RPC_PEER_HELLO:
		log_warn("no hello in time, closing peer=%s", peer->name);
		peer_ops(peer)->close(peer->conn);
		break;
	case RPC_PEER_BACKOFF:
		/* Who was never there is asked again only when somebody wants something of it. */
		if (peer->waiting || peer->was_up || peer->on_up)
			rpc_peer_connect(peer);
		else
			peer->state = RPC_PEER_IDLE;
		break;
	case RPC_PEER_IDLE:
	case RPC_PEER_UP:
		break;
	}
}

/* --- public ---- */

static struct rpc_peer *peer_create(struct rpc *rpc)
{
	struct rpc_peer *peer = calloc(1, sizeof(*peer));

	if (!peer)
		return NULL;
	peer->magic = RPC_PEER_MAGIC;
	peer->rpc = rpc;
	peer->timer.fn = peer_timer;
	peer->backoff_ms = RPC_BACKOFF_MS_MIN;
	peer->credits = RPC_CREDITS;
	rpc_silence_init(peer);
	DL_APPEND(rpc->peers, peer);
	return peer;
}

int rpc_peer_accept(struct rpc *rpc, struct net_conn *conn)
{
	struct rpc_peer *peer = peer_create(rpc);

	if (!peer)
		return -E_NOMEM;
	rpc->accepted_count++;
	peer->is_accepted = true;
	peer->state = RPC_PEER_HELLO;
	peer->conn = conn;
	(void)text_copy(peer->name, sizeof(peer->name),
			peer_ops(peer)->peer_name(conn)); /* for logs */
	peer_ops(peer)->conn_events(conn, &PEER_EVENTS, peer);
	loop_timer_start(rpc->options.loop, &peer->timer, RPC_HELLO_MS);
	return 0;
}

int rpc_peer_create(struct rpc *rpc, const char *address, struct rpc_peer **out)
{
	struct rpc_peer *peer = peer_create(rpc);

	if (!peer)
		return -E_NOMEM;
	if (!text_copy(peer->address, sizeof(peer->address), address)) {
		rpc_peer_free(peer, -E_CANCELED);
		return -E_NAMETOOLONG;
	}
	(void)text_copy(peer->name, sizeof(peer->name), address); /* fits */
	*out = peer;
	return 0;
}

void rpc_peer_destroy(struct rpc_peer *peer)
{
	if (!peer)
		return;
	ASSERT(!peer_of(peer)->is_accepted);
	rpc_peer_free(peer, -E_CANCELED);
}

bool rpc_peer_is_connected(const struct rpc_peer *peer)
{
	return peer->state == RPC_PEER_UP;
}

const Wire__HelloReply *rpc_peer_hello(const struct rpc_peer *peer)
{
	return (const Wire__HelloReply *)peer->hello;
}

void rpc_peer_watch(struct rpc_peer *peer, void (*on_up)(void *), void (*on_down)(void *, int),
		    void *arg)
{
	peer->on_up = on_up;
	peer->on_down = on_down;
	peer->watch_arg = arg;
}

void rpc_peer_set_user(struct rpc_peer *peer, void *user)
{
	peer->user = user;
}

void *rpc_peer_user(const struct rpc_peer *peer)
{
	return peer->user;
}

const char *rpc_peer_name(const struct rpc_peer *peer)
{
	return peer->name;
}

void rpc_peer_drop(struct rpc_peer *peer)
{
	if (peer->conn)
		peer_ops(peer)->close(peer->conn);
}

uint64_t rpc_peer_latency_us(const struct rpc_peer *peer)
{
	return peer->latency_us;
}

uint32_t rpc_peer_outstanding(const struct rpc_peer *peer)
{
	return peer->sent_count + peer->waiting_count;
}
