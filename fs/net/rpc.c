/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The endpoint: life, listening, requests that come in and their answers.
 *
 * Messages have a pool of their own, one per process: bulk data can use up a pool, but never keeps
 * a lease from being renewed or an answer from leaving. It outlives every endpoint, since frames in
 * flight hold references.
 */
#define LOG_MODULE "rpc"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "fs/base/log.h"
#include "fs/base/metrics.h"
#include "fs/base/text.h"
#include "fs/hash/checksum.h"
#include "fs/net/rpc_internal.h"

#define MESSAGE_POOL_BYTES MiB(64)

static struct buf_pool *message_pool;
static pthread_once_t message_pool_once = PTHREAD_ONCE_INIT;

static void message_pool_create(void)
{
	message_pool = buf_pool_create(MESSAGE_POOL_BYTES);
}

/* --- frames ---- */

struct buf *rpc_message_buf(const ProtobufCMessage *msg, const uint8_t *head, int *rc)
{
	size_t len = msg ? msg_packed_bytes(msg) : 0;
	uint32_t head_len = head ? RECORD_HEADER_BYTES : 0;

	*rc = len > MESSAGE_BYTES_MAX ? -E_TOOBIG : 0;
	if (len + head_len == 0 || *rc < 0)
		return NULL;
	struct buf *buf = buf_get(message_pool, (uint32_t)len + head_len);
	if (!buf) {
		*rc = -E_OVERLOADED;
		return NULL;
	}
	if (len)
		msg_pack(msg, buf->data);
	if (head)
		memcpy(buf->data + len, head, head_len);
	buf->len = (uint32_t)len + head_len;
	return buf;
}

void rpc_frame_fill(struct net_frame *frame, struct buf *message, uint32_t head_len,
		    struct buf *bulk, bool bulk_is_record)
{
	struct frame_header *h = &frame->header;

	ASSERT(head_len == 0 || (bulk_is_record && message && message->len >= head_len));
	if (bulk && bulk->len == 0)
		bulk = NULL; /* empty is absent */
	frame->message = message;
	frame->bulk = bulk ? buf_ref(bulk) : NULL;
	h->message_len = message ? message->len - head_len : 0;
	h->bulk_len = head_len + (bulk ? bulk->len : 0);
	h->message_checksum = h->message_len ? checksum_of(message->data, h->message_len) : 0;
	h->bulk_checksum = bulk && !bulk_is_record ? checksum_of(bulk->data, bulk->len) : 0;
}

static void frame_drop(struct net_frame *frame)
{
	buf_put(frame->message);
	buf_put(frame->bulk);
	frame->message = frame->bulk = NULL;
}

/* --- answers ---- */

static void incoming_free(struct rpc_incoming *in)
{
	struct rpc_peer *peer = in->request.peer;

	if (peer) {
		ASSERT(peer->request_count > 0);
		peer->request_count--;
	}
	frame_drop(&in->answer);
	in->magic = 0;
	free(in);
}

void rpc_answers_send(struct rpc_peer *peer)
{
	const struct net_ops *ops = peer->rpc->options.net->ops;

	while (peer->answers) {
		struct rpc_incoming *in = peer->answers;
		int rc = ops->send(peer->conn, &in->answer);

		if (rc == -E_OVERLOADED)
			return; /* on_drain comes back here */
		if (rc == 0)
			in->answer.message = in->answer.bulk = NULL;
		DL_DELETE(peer->answers, in);
		incoming_free(in);
	}
}

void rpc_answer_epoch(struct rpc_request *req, int rc, const ProtobufCMessage *reply,
		      struct buf *bulk, uint64_t epoch, bool bulk_is_record)
{
	struct rpc_incoming *in = CHECKED_CAST(req, struct rpc_incoming, RPC_REQUEST_MAGIC);
	struct rpc_peer *peer = req->peer;
	int pack_rc = 0;

	ASSERT(rc <= 0);
	struct buf *message = peer ? rpc_message_buf(reply, NULL, &pack_rc) : NULL;
	ASSERT(pack_rc != -E_TOOBIG); /* who builds a reply bounds it */
	if (peer) {
		in->answer.header = (struct frame_header){
			.flags = FRAME_FLAG_REPLY,
			.type = req->header.type,
			.request = req->header.request,
			.deadline_ms = (uint32_t)(pack_rc < 0 ? -pack_rc : -rc),
			.epoch = epoch,
		};
		rpc_frame_fill(&in->answer, message, 0, pack_rc < 0 ? NULL : bulk, bulk_is_record);
	}
	/* Only now: message and bulk of the request may be what the answer was made of. */
	msg_free((ProtobufCMessage *)req->msg);
	buf_put(req->bulk);
	req->msg = NULL;
	req->bulk = NULL;
	if (!peer) {
		incoming_free(in);
		return;
	}
	DL_DELETE(peer->requests, in);
	DL_APPEND(peer->answers, in);
	rpc_answers_send(peer);
}

void rpc_answer(struct rpc_request *req, int rc, const ProtobufCMessage *reply, struct buf *bulk)
{
	rpc_answer_epoch(req, rc, reply, bulk, 0, false);
}

/* --- requests ---- */

/* The connection is gone: who still answers, answers to nobody. */
void rpc_requests_orphan(struct rpc_peer *peer)
{
	while (peer->requests) {
		struct rpc_incoming *in = peer->requests;

		DL_DELETE(peer->requests, in);
		in->request.peer = NULL;
	}
	while (peer->answers) {
		struct rpc_incoming *in = peer->answers;

		DL_DELETE(peer->answers, in);
		incoming_free(in);
	}
	peer->request_count = 0;
}

/* Counters are the process's, so no program need know of this request. */
static void metric_take(void *arg, const struct metrics_row *row)
{
	Wire__MetricsReply *reply = arg;
	Wire__Metric *metric = reply->metrics[reply->n_metrics++];

	wire__metric__init(metric);
	metric->name = (char *)row->name;
	metric->unit = (char *)row->unit;
	metric->text = (char *)row->text;
	metric->help = (char *)row->help;
	metric->value = row->value;
}

static void metrics_answer(struct rpc_request *req)
{
	Wire__MetricsReply reply = WIRE__METRICS_REPLY__INIT;
	Wire__Metric metrics[METRICS_COUNT];
	Wire__Metric *pointers[METRICS_COUNT];

	for (size_t i = 0; i < METRICS_COUNT; i++)
		pointers[i] = &metrics[i];
	reply.metrics = pointers;
	metrics_visit(metric_take, &reply);
	rpc_answer(req, 0, &reply.base, NULL);
}

static void request_dispatch(struct rpc_peer *peer, struct rpc_incoming *in, int unpack_rc)
{
	const struct rpc_options *o = &peer->rpc->options;
	struct rpc_request *req = &in->request;

	if (unpack_rc < 0) {
		log_warn("cannot take a %s peer=%s: %s", msg_type_name(req->header.type),
			 peer->name, error_text(unpack_rc));
		rpc_answer(req, unpack_rc, NULL, NULL);
	} else if (req->header.type == MSG_HELLO) {
		rpc_peer_take_hello(peer, req);
	} else if (req->header.type == MSG_PING) {
		rpc_answer(req, 0, NULL, NULL);
	} else if (peer->request_count > RPC_REQUESTS_MAX) {
		rpc_answer(req, -E_OVERLOADED, NULL, NULL);
	} else if (req->header.type == MSG_METRICS) {
		metrics_answer(req);
	} else if (!o->on_request) {
		rpc_answer(req, -E_NOSYS, NULL, NULL);
	} else {
		o->on_request(o->arg, req);
	}
}

void rpc_request_take(struct rpc_peer *peer, struct net_frame *frame)
{
	struct rpc *rpc = peer->rpc;
	bool is_hello = frame->header.type == MSG_HELLO;
	bool is_in_turn = is_hello ? peer->is_accepted && peer->state == RPC_PEER_HELLO
				   : peer->state == RPC_PEER_UP;
	struct rpc_incoming *in = is_in_turn ? calloc(1, sizeof(*in)) : NULL;

	if (!in) { /* a hello opens every connection, once */
		log_warn("cannot take a %s before the hello, closing peer=%s",
			 msg_type_name(frame->header.type), peer->name);
		frame_drop(frame);
		rpc->options.net->ops->close(peer->conn);
		return;
	}
	in->magic = RPC_REQUEST_MAGIC;
	in->request = (struct rpc_request){
		.peer = peer,
		.header = frame->header,
		.bulk = frame->bulk,
		.received_ns = loop_now_ns(rpc->options.loop),
	};
	DL_APPEND(peer->requests, in);
	peer->request_count++;

	ProtobufCMessage *msg = NULL;
	int rc = msg_unpack(frame->header.type, false, frame->message ? frame->message->data : NULL,
			    frame->header.message_len, &msg);
	buf_put(frame->message);
	in->request.msg = msg;
	request_dispatch(peer, in, rc);
}

/* --- life ---- */

int rpc_create(const struct rpc_options *options, struct rpc **out)
{
	ASSERT(pthread_once(&message_pool_once, message_pool_create) == 0);
	struct rpc *rpc = message_pool ? calloc(1, sizeof(*rpc)) : NULL;

	if (!rpc)
		return -E_NOMEM;
	rpc->options = *options;
	(void)text_copy(rpc->name, sizeof(rpc->name), options->name ? options->name : "");
	rpc->options.name = rpc->name; /* a long host name may be cut: it is for people */
	loop_random(options->loop, &rpc->next_request, sizeof(rpc->next_request));
	rpc->finish_timer.fn = rpc_call_on_finish;
	rpc->sweep_timer.fn = rpc_call_on_sweep;
	rpc->sweep_due_ns = UINT64_MAX;
	*out = rpc;
	return 0;
}

void rpc_destroy(struct rpc *rpc)
{
	if (!rpc)
		return;
	if (rpc->listener)
		rpc->options.net->ops->listener_close(rpc->listener);
	while (rpc->peers)
		rpc_peer_free(rpc->peers, -E_CANCELED);
	while (rpc->finished)
		rpc_call_run_finished(rpc);
	loop_timer_stop(rpc->options.loop, &rpc->finish_timer);
	loop_timer_stop(rpc->options.loop, &rpc->sweep_timer);
	free(rpc);
}

void rpc_on_accept(void *arg, struct net_conn *conn)
{
	struct rpc *rpc = arg;
	int rc =
		rpc->accepted_count < RPC_ACCEPTED_MAX ? rpc_peer_accept(rpc, conn) : -E_OVERLOADED;

	if (rc < 0) {
		log_warn("cannot accept peer=%s: %s", rpc->options.net->ops->peer_name(conn),
			 error_text(rc));
		rpc->options.net->ops->close(conn);
	}
}

/* Why, and what to do about it: who reads it has just started a server. */
static const char *listen_problem(int rc)
{
	switch (rc) {
	case -E_ADDRNOTAVAIL:
		return "address is not of this host; name one that is, or 0.0.0.0 for all of them";
	case -E_ADDRINUSE:
		return "port is in use; `ss -ltnp` tells by whom: end that, or choose another port";
	case -E_ACCES:
		return "permission denied; ports below 1024 are root's: choose a higher one";
	case -E_AFNOSUPPORT:
		return "this host does not support that kind of address; is IPv6 switched off?";
	case -E_NOENT:
		return "host name is not known; write an address of this host";
	case -E_INVAL:
		return "not an address to listen on; write HOST:PORT, [V6]:PORT or "
		       "[V6%INTERFACE]:PORT";
	default:
		return error_text(rc);
	}
}

int rpc_listen(struct rpc *rpc, const char *address, struct error *err)
{
	struct net *net = rpc->options.net;
	int rc = net->ops->listen(net, address, rpc_on_accept, rpc, &rpc->listener);

	return rc < 0 ? error_say(err, rc, "cannot listen on '%s': %s", address, listen_problem(rc))
		      : 0;
}

const char *rpc_listen_address(const struct rpc *rpc)
{
	return rpc->listener ? rpc->options.net->ops->listener_address(rpc->listener) : NULL;
}

void rpc_set_server(struct rpc *rpc, server_no server)
{
	rpc->options.server = server;
}

const uint8_t *rpc_cluster(const struct rpc *rpc)
{
	return rpc->options.cluster;
}
