/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transports: connections that carry whole frames. An interface: net_uv.c over libuv now; TLS and
 * RDMA later behind the same table; tests/sim/sim_net.c delays, breaks and partitions.
 * Nothing above this line knows sockets.
 *
 * Everything runs on the loop's thread. Callbacks never run inside the call that caused them.
 */
#ifndef CAIRN_FS_NET_NET_H
#define CAIRN_FS_NET_NET_H

#include "fs/base/buf.h"
#include "fs/io/loop.h"
#include "fs/wire/frame.h"

struct net;
struct net_conn;
struct net_listener;

/*
 * A frame on its way. Message and bulk are references, NULL when empty. Of one that is sent, bulk
 * may begin behind the message: header.message_len says where it does.
 */
struct net_frame {
	struct frame_header header;
	struct buf *message;
	struct buf *bulk;
};

struct net_conn_events {
	/* The frame's references become the receiver's. Header and checksums have been checked. */
	void (*on_frame)(void *arg, struct net_frame *frame);
	/*
	 * Once, at the end of the connection, whoever ended it; rc tells why. The conn is gone
	 * after.
	 */
	void (*on_close)(void *arg, int rc);
	/* What was queued has drained below half of the bound: sending may go on. */
	void (*on_drain)(void *arg);
};

struct net_ops {
	int (*listen)(struct net *net, const char *address,
		      void (*on_accept)(void *arg, struct net_conn *conn), void *arg,
		      struct net_listener **out);
	void (*listener_close)(struct net_listener *l);
	/* as bound, with the real port */
	const char *(*listener_address)(const struct net_listener *l);
	/* on_connect(arg, conn, rc): exactly once; conn NULL unless rc is 0. */
	int (*connect)(struct net *net, const char *address, uint32_t timeout_ms,
		       void (*on_connect)(void *arg, struct net_conn *conn, int rc), void *arg);
	void (*conn_events)(struct net_conn *conn, const struct net_conn_events *events, void *arg);
	/*
	 * Takes the references. 0; -E_OVERLOADED: queue full (nothing taken), wait for on_drain;
	 * -E_NOTCONN.
	 */
	int (*send)(struct net_conn *conn, struct net_frame *frame);
	/* stop, resume reading: back-pressure */
	void (*pause)(struct net_conn *conn, bool paused);
	void (*close)(struct net_conn *conn);			/* on_close follows */
	const char *(*peer_name)(struct net_conn *conn);	/* for logs */
	void (*destroy)(struct net *net);
};
struct net { const struct net_ops *ops; struct loop *loop; struct buf_pool *pool; };

/*
 * Sockets over the libuv loop. `transport` is the setting cluster.transport: "auto" is unix sockets
 * between peers on one host (net_local.h) and TCP else, "tcp" is TCP only. Owns the waiter slot of
 * the pool (buf_pool_on_free), which holds bulk; messages have a pool inside, so that answers and
 * renewals pass where bulk has to wait. Addresses are "HOST:PORT", "[V6]:PORT"; port 0 asks for a
 * free one. destroy() ends what is open; the rest happens in loop_uv_destroy.
 */
must_check int net_uv_create(struct loop *loop, struct buf_pool *pool, const char *transport,
			     struct net **out);

#endif
