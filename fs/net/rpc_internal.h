/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of rpc share: rpc.c (the endpoint, requests and answers), rpc_peer.c (remotes:
 * connections, hellos, backoff), rpc_silence.c (is a remote there?) and rpc_call.c (outgoing
 * calls).
 *
 * A call is in exactly one place: waiting or sent at its peer, or finished at the rpc, from where a
 * timer completes it, so that done() never runs inside rpc_call().
 */
#ifndef CAIRN_FS_NET_RPC_INTERNAL_H
#define CAIRN_FS_NET_RPC_INTERNAL_H

#include "fs/net/rpc.h"
#include "fs/placement/map.h"

#define RPC_PEER_MAGIC	  0x70656572u
#define RPC_REQUEST_MAGIC 0x72657175u
#define RPC_CREDITS	  128u	/* requests that we let one peer have outstanding */
#define RPC_CREDITS_MAX	  1024u /* that we use, whatever a server offers */
#define RPC_RESERVED_PART 8u	/* of the credits, an eighth is for urgent calls */
#define RPC_REQUESTS_MAX                                                                           \
	(2 * RPC_CREDITS)	 /* beyond: refused; the surplus is for calls that timed out */
#define RPC_QUEUE_MAX	   4096u /* calls that wait for credits or a connection, per peer */
#define RPC_ACCEPTED_MAX   (SESSIONS_MAX + SERVERS_MAX + 1024u)
#define RPC_CONNECT_MS	   3000u
#define RPC_HELLO_MS	   5000u
#define RPC_BACKOFF_MS_MIN 10u
#define RPC_BACKOFF_MS_MAX 1000u
#define RPC_NAME_BYTES	   160u
#define RPC_PING_MS	   25u	 /* unanswered for so long: is it there? */
#define RPC_SILENCE_MS	   100u	 /* and gone for those who can ask another */
/* but a far or busy one is given so many of its usual round trips */
#define RPC_SILENCE_PINGS  3u
#define RPC_DEAD_MS	   5000u /* the connection is given up */

enum rpc_call_state {
	RPC_CALL_NEW,
	RPC_CALL_WAITING,
	RPC_CALL_SENT,
	RPC_CALL_FINISHED,
	RPC_CALL_DONE
};

enum rpc_peer_state {
	RPC_PEER_IDLE, /* nobody has called yet */
	RPC_PEER_CONNECTING,
	RPC_PEER_HELLO, /* connected; the hello is on its way */
	RPC_PEER_UP,
	RPC_PEER_BACKOFF, /* lost or refused; tried again when the timer fires */
};

/* A request that came in, and later its answer. */
struct rpc_incoming {
	struct rpc_request request; /* first */
	uint32_t magic;
	struct net_frame answer; /* while it waits in peer->answers */
	struct rpc_incoming *prev, *next;
};

/* One attempt to connect: outlives a peer that is destroyed meanwhile. */
struct rpc_attempt {
	struct rpc_peer *peer;
	const struct net *net;
};

struct rpc_peer {
	uint32_t magic;
	struct rpc *rpc;
	bool is_accepted;
	enum rpc_peer_state state;
	struct net_conn *conn;
	struct rpc_attempt *attempt;
	struct loop_timer timer; /* of the state: hello, backoff, or fail_rc to be told */
	int fail_rc;
	uint32_t backoff_ms;
	bool was_up;
	uint64_t hello_id;
	ProtobufCMessage *hello; /* the last HelloReply, of an outgoing peer */
	char address[SERVER_ADDRESS_BYTES_MAX];
	char name[RPC_NAME_BYTES];
	void (*on_up)(void *arg);
	void (*on_down)(void *arg, int rc);
	void *watch_arg;
	void *user;

	struct rpc_call *waiting, *sent; /* sent: in the order of sending */
	uint32_t waiting_count, sent_count, credits;
	uint64_t latency_us;

	/* Of an outgoing peer: is it there? */
	bool has_failed;	/* lost or refused since it was up last */
	bool is_silent;
	/* asked then and nothing was heard since; 0: nothing is unanswered */
	uint64_t asked_ns;
	uint64_t tick_due_ns;
	uint64_t ping_id;	/* 0: none is on its way */
	uint64_t ping_sent_ns, ping_us;	/* and how long they took, smoothed */
	struct loop_timer silence_timer;

	struct rpc_incoming *requests; /* not answered yet */
	uint32_t request_count;	       /* these and the answers that wait */
	struct rpc_incoming *answers;  /* wait for room in the send queue */
	struct rpc_peer *prev, *next;
};

struct rpc {
	struct rpc_options options;
	char name[64];
	struct net_listener *listener;
	struct rpc_peer *peers;
	uint32_t accepted_count;
	uint64_t next_request;
	struct rpc_call *finished;
	uint32_t finished_count;
	struct loop_timer finish_timer;
	struct loop_timer sweep_timer; /* the earliest deadline of a call */
	uint64_t sweep_due_ns;	       /* ~0: not running */
};

/* rpc.c */
/* Packed; NULL and 0: an empty one. What bulk begins with, if `head` is not NULL, follows it. */
struct buf *rpc_message_buf(const ProtobufCMessage *msg, const uint8_t *head, int *rc);
/* head_len: bytes of the bulk that stand behind the message, as rpc_message_buf() put them there */
void rpc_frame_fill(struct net_frame *frame, struct buf *message, uint32_t head_len,
		    struct buf *bulk, bool bulk_is_record);
void rpc_on_accept(void *arg, struct net_conn *conn);
void rpc_request_take(struct rpc_peer *peer, struct net_frame *frame);
void rpc_answers_send(struct rpc_peer *peer);
void rpc_requests_orphan(struct rpc_peer *peer);

/* rpc_peer.c */
must_check int rpc_peer_accept(struct rpc *rpc, struct net_conn *conn);
void rpc_peer_connect(struct rpc_peer *peer);
/* At a server: the request. */
void rpc_peer_take_hello(struct rpc_peer *peer, struct rpc_request *req);
/* At an asker: was it the answer to our hello? */
bool rpc_peer_take_hello_reply(struct rpc_peer *peer, const struct net_frame *frame);
void rpc_peer_free(struct rpc_peer *peer, int rc);

/* rpc_silence.c */
void rpc_silence_init(struct rpc_peer *peer);
void rpc_silence_stop(struct rpc_peer *peer); /* the connection is gone, or the peer */
void rpc_silence_asked(struct rpc_peer *peer);
void rpc_silence_heard(struct rpc_peer *peer);
bool rpc_silence_take_pong(struct rpc_peer *peer, const struct net_frame *frame);

/* rpc_call.c */
void rpc_call_pump(struct rpc_peer *peer);
void rpc_call_reply(struct rpc_peer *peer, struct net_frame *frame);
void rpc_call_lost(struct rpc_peer *peer, int rc, bool is_final); /* rc for those that end */
void rpc_call_end_replaceable(struct rpc_peer *peer, int rc);
void rpc_call_on_finish(struct loop_timer *timer);
void rpc_call_on_sweep(struct loop_timer *timer);
void rpc_call_run_finished(struct rpc *rpc);

#endif
