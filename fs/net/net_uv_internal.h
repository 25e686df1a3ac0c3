/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the transport over libuv share: net_uv.c (the table, life), net_uv_listen.c
 * (listening), net_uv_connect.c (connecting) and net_uv_conn.c (one connection: frames in, frames
 * out).
 *
 * Every uv handle holds one reference on the net; destroy() closes them all, and the last close
 * callback frees the net. Everything runs on the loop's thread but buf_pool's waiter, which sends
 * an async.
 */
#ifndef CAIRN_FS_NET_NET_UV_INTERNAL_H
#define CAIRN_FS_NET_NET_UV_INTERNAL_H

#include <uv.h>

#include "fs/net/net.h"
#include "fs/net/net_address.h"

#define NET_UV_MAGIC	   0x6e657474u
#define NET_CONN_MAGIC	   0x636f6e6eu
#define NET_SEND_BYTES_MAX MiB(8)  /* queued per connection: credits x a record */
#define NET_STAGING_BYTES  KiB(64) /* one read of small frames */
#define NET_STAGING_BYTES_LARGE                                                                    \
	KiB(4) /* the same while large ones come: the rest goes into their buffer */
#define NET_MESSAGE_POOL_BYTES MiB(64)
#define NET_BATCH_FRAMES       32u /* of one write */

/* A frame in the send queue. */
struct net_out {
	uint8_t header[FRAME_HEADER_BYTES];
	struct buf *message, *bulk;
	uint32_t bytes;
	struct net_out *prev, *next;
};

struct net_connecting;

struct net_uv {
	struct net base; /* first */
	uint32_t magic;
	uv_loop_t *uv;
	uv_prepare_t turn; /* active while a connection has something to do before the next poll */
	uv_idle_t again;   /* active while the turn has left something: the poll must not wait */
	uv_async_t freed; /* a pool has buffers again */
	struct buf_pool *messages; /* for messages: they pass where bulk has to wait */
	uint32_t refs;
	bool is_tcp_only; /* no unix sockets for peers on this host */
	bool is_destroyed;
	bool is_in_turn;
	struct net_conn *conns;
	struct net_listener *listeners;
	struct net_connecting *connecting;
	struct net_out *spare; /* send entries kept for reuse */
	uint32_t spare_count;
	uint8_t staging[NET_STAGING_BYTES]; /* used within one read callback only */
};

struct net_conn {
	uint32_t magic;
	struct net_uv *net;
	union {
		uv_handle_t handle;
		uv_stream_t stream;
		uv_tcp_t tcp;
		uv_pipe_t local;
	} uv;
	bool is_local; /* a unix socket */
	const struct net_conn_events *events;
	void *arg;
	bool is_started; /* reading and sending: false while connecting */
	bool is_reading, is_paused, is_starved, is_closing;
	bool has_work; /* looked at in the next turn: stash to deliver, queue to send */
	int close_rc;

	/* the frame that is coming in */
	uint8_t header_bytes[FRAME_HEADER_BYTES];
	uint32_t header_got, message_got, bulk_got;
	struct net_frame
		in; /* header valid when header_got is complete; buffers when has_buffers */
	bool has_buffers;
	bool last_was_large;
	uint8_t *stash; /* read, but not parsed when reading was paused; NULL: nothing */
	uint32_t stash_at, stash_len;

	/* what goes out */
	struct net_out *queue, *writing;
	uint32_t queued_bytes; /* of both */
	bool is_writing, wants_drain;
	uv_write_t write;

	char name[NET_NAME_BYTES];
	struct net_conn *prev, *next;
};

/* net_uv.c */
struct net_uv *net_uv_of(struct net *net);
void net_uv_ref(struct net_uv *net);
void net_uv_unref(struct net_uv *net);
void net_uv_want_turn(struct net_uv *net);
int net_uv_error(int uv_rc); /* what libuv says, as one of our codes */

/* net_uv_listen.c */
must_check int net_uv_listen(struct net *base, const char *address,
			     void (*on_accept)(void *, struct net_conn *), void *arg,
			     struct net_listener **out);
void net_uv_listener_close(struct net_listener *l);
const char *net_uv_listener_address(const struct net_listener *l);
void net_uv_listeners_close(struct net_uv *net); /* all of them, at the end */

/* net_uv_connect.c */
must_check int net_uv_connect(struct net *base, const char *address, uint32_t timeout_ms,
			      void (*on_connect)(void *, struct net_conn *, int), void *arg);
void net_uv_connecting_cancel(struct net_uv *net); /* all of them, at the end */

/* net_uv_conn.c */
must_check int net_uv_conn_create(struct net_uv *net, bool is_local, struct net_conn **out);
void net_uv_conn_set_name(struct net_conn *c); /* once connected: ADDRESS or unix:PROCESS */
void net_uv_conn_start(struct net_conn *c); /* connected or accepted: read and send from now on */
void net_uv_conn_fail(struct net_conn *c, int rc); /* close; on_close(rc) follows */
void net_uv_conn_turn(struct net_conn *c);
void net_uv_conn_events(struct net_conn *c, const struct net_conn_events *events, void *arg);
int net_uv_conn_send(struct net_conn *c, struct net_frame *frame);
void net_uv_conn_pause(struct net_conn *c, bool paused);
void net_uv_conn_close(struct net_conn *c);
const char *net_uv_conn_name(struct net_conn *c);

#endif
