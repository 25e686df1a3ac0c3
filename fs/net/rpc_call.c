/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Outgoing calls: each completes exactly once. What may be outstanding at a peer is bounded by its
 * credits, what waits by RPC_QUEUE_MAX (I11). One timer looks after all deadlines.
 *
 * Nothing here touches a peer or a call after its done() ran: it may destroy both.
 */
#define LOG_MODULE "rpc"
#include <utlist.h>

#include "fs/base/log.h"
#include "fs/base/metrics.h"
#include "fs/net/rpc_internal.h"

#define NS_PER_MS 1000000u
#define NS_PER_US 1000u

/* --- ending ---- */

static void call_release(struct rpc_call *call)
{
	buf_put(call->packed);
	buf_put(call->bulk);
	call->packed = NULL;
}

/* Take the call out of the list that it is in. */
static void call_unlink(struct rpc_call *call)
{
	struct rpc_peer *peer = call->peer;

	switch (call->state) {
	case RPC_CALL_WAITING:
		DL_DELETE(peer->waiting, call);
		peer->waiting_count--;
		break;
	case RPC_CALL_SENT:
		DL_DELETE(peer->sent, call);
		peer->sent_count--;
		break;
	case RPC_CALL_FINISHED:
		DL_DELETE(call->rpc->finished, call);
		call->rpc->finished_count--;
		break;
	}
}

/* Its done() will run in the next turn. */
static void call_finish(struct rpc_call *call, int rc)
{
	struct rpc *rpc = call->rpc;

	call_unlink(call);
	call_release(call);
	call->rc = rc;
	call->peer = NULL;
	call->state = RPC_CALL_FINISHED;
	DL_APPEND(rpc->finished, call);
	rpc->finished_count++;
	if (!rpc->finish_timer.is_active)
		loop_timer_start(rpc->options.loop, &rpc->finish_timer, 0);
}

void rpc_call_run_finished(struct rpc *rpc)
{
	/* What ends meanwhile waits for the next turn, so that a turn ends. */
	for (uint32_t left = rpc->finished_count; left > 0 && rpc->finished; left--) {
		struct rpc_call *call = rpc->finished;

		call_unlink(call);
		call->state = RPC_CALL_DONE;
		call->done(call);
	}
}

void rpc_call_on_finish(struct loop_timer *timer)
{
	struct rpc *rpc = container_of(timer, struct rpc, finish_timer);

	rpc_call_run_finished(rpc);
	if (rpc->finished && !timer->is_active)
		loop_timer_start(rpc->options.loop, timer, 0);
}

void rpc_call_lost(struct rpc_peer *peer, int rc, bool is_final)
{
	struct rpc_call *call, *tmp;

	/* From the last sent to the first, each to the front: they are sent again in their old
	 * order. */
	while (peer->sent) {
		call = peer->sent->prev;
		if (is_final || !call->resend) {
			call_finish(call, rc);
			continue;
		}
		call_unlink(call);
		call->state = RPC_CALL_WAITING;
		DL_PREPEND(peer->waiting, call);
		peer->waiting_count++;
	}
	DL_FOREACH_SAFE (peer->waiting, call, tmp) {
		if (is_final || !call->resend)
			call_finish(call, rc);
	}
}

void rpc_call_end_replaceable(struct rpc_peer *peer, int rc)
{
	struct rpc_call *call, *tmp;

	DL_FOREACH_SAFE (peer->sent, call, tmp) {
		if (call->is_replaceable)
			call_finish(call, rc);
	}
	DL_FOREACH_SAFE (peer->waiting, call, tmp) {
		if (call->is_replaceable)
			call_finish(call, rc);
	}
}

/* --- deadlines ---- */

static void latency_sample(struct rpc_peer *peer, uint64_t ns)
{
	uint64_t us = ns / NS_PER_US;

	/* An eighth of the newest, as TCP smooths its round trips (RFC 6298). */
	peer->latency_us =
		peer->latency_us == 0 ? us : peer->latency_us - peer->latency_us / 8 + us / 8;
}

static void sweep_at(struct rpc *rpc, uint64_t due_ns)
{
	uint64_t now_ns = loop_now_ns(rpc->options.loop);

	if (due_ns >= rpc->sweep_due_ns)
		return;
	rpc->sweep_due_ns = due_ns;
	loop_timer_start(rpc->options.loop, &rpc->sweep_timer,
			 due_ns > now_ns ? DIV_CEIL(due_ns - now_ns, NS_PER_MS) : 0);
}

static void sweep_list(struct rpc_call *list, uint64_t now_ns, uint64_t *next_ns)
{
	struct rpc_call *call, *tmp;

	DL_FOREACH_SAFE (list, call, tmp) {
		if (call->due_ns > now_ns) {
			*next_ns = MIN_OF(*next_ns, call->due_ns);
			continue;
		}
		if (call->state == RPC_CALL_SENT) /* so slow at least */
			latency_sample(call->peer, now_ns - call->sent_ns);
		METRIC_INC(rpc_timeouts);
		call_finish(call, -E_TIMEDOUT);
	}
}

void rpc_call_on_sweep(struct loop_timer *timer)
{
	struct rpc *rpc = container_of(timer, struct rpc, sweep_timer);
	uint64_t now_ns = loop_now_ns(rpc->options.loop), next_ns = UINT64_MAX;
	struct rpc_peer *peer;

	rpc->sweep_due_ns = UINT64_MAX;
	DL_FOREACH (rpc->peers, peer) {
		sweep_list(peer->waiting, now_ns, &next_ns);
		sweep_list(peer->sent, now_ns, &next_ns);
		rpc_call_pump(peer);
	}
	if (next_ns != UINT64_MAX)
		sweep_at(rpc, next_ns);
}

/* --- sending ---- */

static int call_send(struct rpc_peer *peer, struct rpc_call *call)
{
	uint64_t now_ns = loop_now_ns(peer->rpc->options.loop);
	uint64_t left_ns = call->due_ns > now_ns ? call->due_ns - now_ns : 1;
	struct net_frame frame = {.header = {
					  .type = call->type,
					  .request = call->request_id,
					  .deadline_ms = (uint32_t)DIV_CEIL(left_ns, NS_PER_MS),
					  .slot = call->slot,
					  .session = call->session,
					  .epoch = call->epoch,
					  .slot_seq = call->slot_seq,
				  }};

	/* References of its own: the call may end, or be sent again, while this frame still leaves.
	 */
	rpc_frame_fill(&frame, call->packed ? buf_ref(call->packed) : NULL, call->head_len,
		       call->bulk, call->bulk_is_record);
	int rc = peer->rpc->options.net->ops->send(peer->conn, &frame);
	if (rc < 0) {
		buf_put(frame.message);
		buf_put(frame.bulk);
		return rc;
	}
	call->sent_ns = now_ns;
	call->send_count++;
	return 0;
}

/*
 * What others wait for has credits of its own, and goes first: a hundred lookups that wait for a
 * recall must not keep the publish from leaving that the recall asks for.
 */
static bool call_is_urgent(const struct rpc_call *call)
{
	switch (call->type) {
	case MSG_PUBLISH:
	case MSG_LEASE_RETURN:
	case MSG_SESSION_RENEW:
	case MSG_SESSION_RECLAIM:
	case MSG_HEARTBEAT:
		return true;
	default:
		return false;
	}
}

static bool call_has_credit(const struct rpc_peer *peer, const struct rpc_call *call)
{
	uint32_t reserved = call_is_urgent(call) ? 0 : peer->credits / RPC_RESERVED_PART;

	return peer->sent_count < peer->credits - reserved;
}

void rpc_call_pump(struct rpc_peer *peer)
{
	/*
	 * Answers that wait for room go first: a recall must not overtake the grant that it is
	 * about.
	 */
	while (peer->state == RPC_PEER_UP && peer->waiting && !peer->answers &&
	       call_has_credit(peer, peer->waiting)) {
		struct rpc_call *call = peer->waiting;

		/* Queue full: on_drain comes back here. Not connected: its on_close is on the way.
		 */
		if (call_send(peer, call) < 0)
			return;
		call_unlink(call);
		call->state = RPC_CALL_SENT;
		DL_APPEND(peer->sent, call);
		peer->sent_count++;
		rpc_silence_asked(peer);
	}
}

static int call_pack(struct rpc_call *call)
{
	int rc;

	call->head_len = call->record_head ? RECORD_HEADER_BYTES : 0;
	call->packed = rpc_message_buf(call->request, call->record_head, &rc);
	return rc;
}

void rpc_call(struct rpc_peer *peer, struct rpc_call *call)
{
	struct rpc *rpc = peer->rpc;

	ASSERT(peer->magic == RPC_PEER_MAGIC && call->deadline_ms > 0 && call->done);
	ASSERT(call->state == RPC_CALL_NEW || call->state == RPC_CALL_DONE);
	METRIC_INC(rpc_calls);
	call->rpc = rpc;
	call->peer = peer;
	call->state = RPC_CALL_NEW;
	call->rc = 0;
	call->reply = NULL;
	call->reply_bulk = NULL;
	call->reply_epoch = 0;
	call->due_ns = loop_now_ns(rpc->options.loop) + (uint64_t)call->deadline_ms * NS_PER_MS;
	if (call->request_id == 0)
		call->request_id = rpc->next_request++;
	if (call->bulk)
		buf_ref(call->bulk);

	int rc = call_pack(call);
	if (rc == 0 && peer->waiting_count >= RPC_QUEUE_MAX)
		rc = -E_OVERLOADED;
	if (rc == 0 && peer->state == RPC_PEER_BACKOFF && !call->resend)
		rc = -E_NOTCONN; /* it was not there a moment ago: do not wait for it */
	if (rc == 0 && call->is_replaceable && rpc_peer_is_away(peer))
		rc = peer->is_silent ? -E_TIMEDOUT : -E_NOTCONN;
	if (rc < 0) {
		if (peer->state == RPC_PEER_IDLE && peer->has_failed) /* see whether it is back */
			rpc_peer_connect(peer);
		call_finish(call, rc);
		return;
	}
	call->state = RPC_CALL_WAITING;
	if (call_is_urgent(call))
		DL_PREPEND(peer->waiting, call);
	else
		DL_APPEND(peer->waiting, call);
	peer->waiting_count++;
	rpc_silence_asked(peer);
	sweep_at(rpc, call->due_ns);
	if (peer->state == RPC_PEER_IDLE)
		rpc_peer_connect(peer);
	else
		rpc_call_pump(peer);
}

void rpc_cancel(struct rpc_call *call)
{
	if (call->state == RPC_CALL_NEW || call->state == RPC_CALL_DONE)
		return;
	struct rpc_peer *peer = call->state == RPC_CALL_SENT ? call->peer : NULL;

	call_unlink(call);
	if (call->state != RPC_CALL_FINISHED) /* call_finish() has released it */
		call_release(call);
	call->state = RPC_CALL_DONE;
	if (peer)
		rpc_call_pump(peer); /* a credit is free */
}

/* --- replies ---- */

static struct rpc_call *call_find(const struct rpc_peer *peer, uint64_t request)
{
	struct rpc_call *call;

	DL_FOREACH (peer->sent, call) {
		if (call->request_id == request)
			return call;
	}
	return NULL;
}

/* The number is foreign: one that we do not know is an I/O error. */
static int reply_error(const struct net_frame *frame)
{
	uint32_t number = frame->header.deadline_ms;

	if (number == 0)
		return 0;
	return number <= INT16_MAX && error_is_known((int)number) ? -(int)number : -E_IO;
}

static void reply_take(struct rpc_peer *peer, struct rpc_call *call, struct net_frame *frame)
{
	ProtobufCMessage *msg = NULL;
	int error = reply_error(frame), rc = 0;

	if (error == 0 || frame->message) /* an error may come without a message */
		rc = msg_unpack(call->type, true, frame->message ? frame->message->data : NULL,
				frame->header.message_len, &msg);
	latency_sample(peer, loop_now_ns(peer->rpc->options.loop) - call->sent_ns);
	call_unlink(call);
	call_release(call);
	call->state = RPC_CALL_DONE;
	call->rc = rc < 0 ? rc : error;
	call->reply = msg;
	call->reply_bulk = frame->bulk;
	call->reply_epoch = frame->header.epoch;
	rpc_call_pump(peer);
	call->done(call);
	msg_free(msg);
}

void rpc_call_reply(struct rpc_peer *peer, struct net_frame *frame)
{
	/* Held here, since done() may end peer and call. */
	struct buf *message = frame->message, *bulk = frame->bulk;

	if (!rpc_peer_take_hello_reply(peer, frame) && !rpc_silence_take_pong(peer, frame)) {
		struct rpc_call *call = call_find(peer, frame->header.request);

		if (call && call->type == frame->header.type)
			reply_take(peer, call, frame);
		else
			log_debug("nobody waits for a %s reply peer=%s",
				  msg_type_name(frame->header.type), peer->name);
	}
	buf_put(message);
	buf_put(bulk);
}
