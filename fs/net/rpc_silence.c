/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is a remote there? A hung process, or a cut cable, resets no connection: it only stays silent. So
 * an outgoing peer that leaves questions unanswered is pinged, which every server answers at once,
 * whatever it works on. No word for RPC_SILENCE_MS, and calls that others can answer end; for
 * RPC_DEAD_MS, and so does the connection. Until something is asked nothing is sent, so idle peers
 * cost nothing.
 *
 * A tick that comes late tells that we were the ones who slept: that time is not counted.
 */
#define LOG_MODULE "rpc"
#include "fs/base/log.h"
#include "fs/net/rpc_internal.h"

#define NS_PER_MS 1000000u
#define NS_PER_US 1000u

static uint64_t now_of(const struct rpc_peer *peer)
{
	return loop_now_ns(peer->rpc->options.loop);
}

static void tick_start(struct rpc_peer *peer)
{
	uint32_t ms = peer->is_silent ? RPC_SILENCE_MS : RPC_PING_MS;

	peer->tick_due_ns = now_of(peer) + (uint64_t)ms * NS_PER_MS;
	loop_timer_start(peer->rpc->options.loop, &peer->silence_timer, ms);
}

void rpc_silence_asked(struct rpc_peer *peer)
{
	if (peer->is_accepted || peer->asked_ns)
		return;
	peer->asked_ns = now_of(peer);
	if (!peer->silence_timer.is_active)
		tick_start(peer);
}

/* What else was asked is asked from now; the next tick sees whether there is any. */
void rpc_silence_heard(struct rpc_peer *peer)
{
	if (peer->is_silent)
		log_info("heard again peer=%s", peer->name);
	peer->is_silent = false;
	if (peer->asked_ns)
		peer->asked_ns = now_of(peer);
}

void rpc_silence_stop(struct rpc_peer *peer)
{
	loop_timer_stop(peer->rpc->options.loop, &peer->silence_timer);
	peer->asked_ns = peer->ping_id = 0;
	peer->is_silent = false;
}

static void ping_send(struct rpc_peer *peer)
{
	struct net_frame frame = {0};

	frame.header.type = MSG_PING;
	frame.header.request = peer->rpc->next_request++;
	frame.header.deadline_ms = RPC_DEAD_MS;
	rpc_frame_fill(&frame, NULL, 0, NULL, false);
	/* Else its queue is full, and what fills it is asked as well; or it is lost already. */
	if (peer->rpc->options.net->ops->send(peer->conn, &frame) == 0) {
		peer->ping_id = frame.header.request;
		peer->ping_sent_ns = now_of(peer);
	}
}

bool rpc_silence_take_pong(struct rpc_peer *peer, const struct net_frame *frame)
{
	if (frame->header.type != MSG_PING || !peer->ping_id ||
	    frame->header.request != peer->ping_id)
		return false;
	uint64_t us = (now_of(peer) - peer->ping_sent_ns) / NS_PER_US;
	/* Up at once, down slowly: who was busy a moment ago still is. */
	peer->ping_us = us > peer->ping_us ? us : peer->ping_us - (peer->ping_us - us) / 8;
	peer->ping_id = 0;
	return true;
}

static void silence_judge(struct rpc_peer *peer, uint64_t silent_us)
{
	uint64_t patience_us =
		MAX_OF(RPC_SILENCE_MS * UINT64_C(1000), RPC_SILENCE_PINGS * peer->ping_us);

	if (!peer->is_silent && silent_us >= patience_us) {
		log_info("silent for %llu ms, others are asked peer=%s",
			 (unsigned long long)silent_us / 1000, peer->name);
		peer->is_silent = true;
		rpc_call_end_replaceable(peer, -E_TIMEDOUT);
	}
	if (peer->state == RPC_PEER_UP && silent_us >= RPC_DEAD_MS * UINT64_C(1000)) {
		log_warn("silent for too long, closing peer=%s", peer->name);
		peer->fail_rc = -E_TIMEDOUT;
		peer->rpc->options.net->ops->close(peer->conn);
	}
}

static void tick(struct loop_timer *timer)
{
	struct rpc_peer *peer = container_of(timer, struct rpc_peer, silence_timer);
	uint64_t now_ns = now_of(peer);
	uint64_t late_ns = now_ns - MIN_OF(peer->tick_due_ns, now_ns);

	if (late_ns > RPC_PING_MS * NS_PER_MS)
		peer->asked_ns = MIN_OF(peer->asked_ns + late_ns, now_ns);
	if (!peer->sent_count && !peer->waiting_count && !peer->ping_id && !peer->is_silent) {
		peer->asked_ns = 0;
		return;
	}
	uint64_t silent_ns = now_ns - peer->asked_ns;
	if (peer->state == RPC_PEER_UP && !peer->ping_id && silent_ns >= RPC_PING_MS * NS_PER_MS)
		ping_send(peer);
	silence_judge(peer, silent_ns / NS_PER_US);
	tick_start(peer);
}

void rpc_silence_init(struct rpc_peer *peer)
{
	peer->silence_timer.fn = tick;
}

bool rpc_peer_is_away(const struct rpc_peer *peer)
{
	return peer->is_silent || (peer->has_failed && peer->state != RPC_PEER_UP);
}
