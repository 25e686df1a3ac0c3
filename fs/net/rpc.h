/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Remote calls over frames, both ways on one connection (a metadata server recalls leases on the
 * connection that the client made). Every call has a deadline and completes exactly once; what is
 * outstanding is bounded by credits (I11); a Hello with the cluster id opens every connection, and
 * a server of another cluster is refused.
 *
 * A peer that leaves questions unanswered is pinged; one that answers nothing for a tenth of a
 * second is *away*, as is one whose connection was lost. Calls that another server can answer end
 * then, at once, and those made meanwhile do: nobody waits for a server that others can replace.
 * One that stays silent for five seconds loses its connection.
 *
 * Exactly once: mutations carry (session, slot, slot_seq) in the header; `resend` calls are sent
 * again on each new connection of the peer until their deadline. Retries live here and in session
 * code only.
 *
 * Everything runs on the loop's thread.
 */
#ifndef CAIRN_FS_NET_RPC_H
#define CAIRN_FS_NET_RPC_H

#include "fs/net/net.h"
#include "fs/wire/msg.h"

struct rpc;		/* one endpoint: a process (or one in the simulation) */
struct rpc_peer;	/* one remote: outgoing and reconnecting, or an accepted connection */

enum rpc_role { RPC_CLIENT = 1, RPC_CHUNK_SERVER = 2, RPC_METADATA_SERVER = 3, RPC_TOOL = 4 };

/* A request that came in. Answer it exactly once with rpc_answer(), now or later. */
struct rpc_request {
	/* NULL once the connection is gone: answering is still required */
	struct rpc_peer *peer;
	struct frame_header header;
	const ProtobufCMessage *msg;	/* valid until answered */
	struct buf *bulk;		/* valid until answered; buf_ref() to keep it */
	uint64_t received_ns;
	void *user;			/* of the handler */
};

struct rpc_options {
	struct loop *loop;
	struct net *net;
	struct buf_pool *pool;
	enum rpc_role role;
	/* zero: accept any, and learn it (tools, clients before their first hello) */
	uint8_t cluster[16];
	const char *name;
	server_no server;
	uint64_t boot_id;
	uint32_t hash, copies, min_copies;	/* told in hello replies by servers */
	uint64_t incompat;
	void (*on_request)(void *arg, struct rpc_request *req);	/* NULL: answers -E_NOSYS to all */
	/* An accepted peer's hello was taken; and its connection ended. May be NULL. */
	void (*on_accept)(void *arg, struct rpc_peer *peer, const Wire__Hello *hello);
	void (*on_lost)(void *arg, struct rpc_peer *peer);	/* peer is freed after */
	void *arg;
};

must_check int rpc_create(const struct rpc_options *options, struct rpc **out);
/*
 * Calls complete with -E_CANCELED inside, accepted peers are told by on_lost, outgoing peers that
 * were not destroyed are. Requests may still be answered. Not from a callback of this rpc.
 */
void rpc_destroy(struct rpc *rpc);
must_check int rpc_listen(struct rpc *rpc, const char *address, struct error *err);
const char *rpc_listen_address(const struct rpc *rpc);	/* with the real port; NULL before */
void rpc_set_server(struct rpc *rpc, server_no server);	/* after a join */
const uint8_t *rpc_cluster(const struct rpc *rpc);	/* 16 bytes, zero while unknown */

/*
 * `req` is gone after; of `bulk` a reference is taken. A reply message may go with an error, too.
 */
void rpc_answer(struct rpc_request *req, int rc, const ProtobufCMessage *reply, struct buf *bulk);
/*
 * The same with the reply header's epoch (map version) and whether the bulk is a self-checking
 * record.
 */
void rpc_answer_epoch(struct rpc_request *req, int rc, const ProtobufCMessage *reply,
		      struct buf *bulk, uint64_t epoch, bool bulk_is_record);

/*
 * An outgoing peer: connects at the first call and again after a loss, with backoff (10 ms .. 1 s).
 */
must_check int rpc_peer_create(struct rpc *rpc, const char *address, struct rpc_peer **out);
/* outgoing ones only; its calls end with -E_CANCELED */
void rpc_peer_destroy(struct rpc_peer *peer);
bool rpc_peer_is_connected(const struct rpc_peer *peer);
const Wire__HelloReply *rpc_peer_hello(const struct rpc_peer *peer);	/* NULL before the first */
/*
 * on_up(arg): each time a hello completed; on_down(arg, rc): each time the connection is lost or
 * refused.
 */
/* Lost, refused, or silent since RPC_SILENCE_MS although asked; until it is heard again. */
bool rpc_peer_is_away(const struct rpc_peer *peer);
void rpc_peer_watch(struct rpc_peer *peer, void (*on_up)(void *), void (*on_down)(void *, int),
		    void *arg);
void rpc_peer_set_user(struct rpc_peer *peer, void *user);
void *rpc_peer_user(const struct rpc_peer *peer);
const char *rpc_peer_name(const struct rpc_peer *peer);		/* for logs */
void rpc_peer_drop(struct rpc_peer *peer);			/* close its connection now */
/* Smoothed response time of the peer in us, and calls outstanding: to choose the least loaded. */
uint64_t rpc_peer_latency_us(const struct rpc_peer *peer);
uint32_t rpc_peer_outstanding(const struct rpc_peer *peer);

/*
 * Zero it (each time), fill the first part, keep it until done(). The request message is packed at
 * once.
 */
struct rpc_call {
	uint16_t type;
	const ProtobufCMessage *request;
	struct buf *bulk;		/* a reference is taken */
	bool bulk_is_record;
	/*
	 * RECORD_HEADER_BYTES that go before the bulk, copied at once; NULL: they are in it. So the
	 * bytes of a block are sent from where they are. With bulk_is_record.
	 */
	const uint8_t *record_head;
	bool resend;			/* again on a new connection, until the deadline */
	/* others can answer: -E_NOTCONN, -E_TIMEDOUT once the peer is away */
	bool is_replaceable;
	uint32_t deadline_ms;		/* > 0 */
	uint64_t session, epoch, slot_seq;
	uint32_t slot;
	uint64_t request_id;		/* 0: the rpc chooses one */
	void (*done)(struct rpc_call *call);

	/*
	 * 0, -E_TIMEDOUT, -E_NOTCONN, -E_CANCELED, -E_OVERLOADED (the peer's queue is full), or
	 * what the remote said
	 */
	int rc;
	/* in done() only; also with an error if the remote sent one */
	const ProtobufCMessage *reply;
	struct buf *reply_bulk;		/* in done() only, else buf_ref() it */
	uint64_t reply_epoch;
	/*
	 * How often it left, in all calls since it was zeroed: if once, an answer is that of the
	 * only copy there is.
	 */
	uint32_t send_count;

	struct rpc_peer *peer;		/* private from here */
	uint64_t due_ns, sent_ns;
	struct buf *packed;		/* the request, and behind it head_len bytes of the bulk */
	uint32_t head_len;
	struct rpc *rpc;
	int state;
	struct rpc_call *prev, *next;
	void *user;			/* the caller's own */
};
void rpc_call(struct rpc_peer *peer, struct rpc_call *call);
void rpc_cancel(struct rpc_call *call);		/* done() will not run; a no-op after it ran */

#endif
