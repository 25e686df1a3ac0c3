/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The transport over libuv's sockets: the table of operations, life, the turn.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "fs/net/net_uv_internal.h"

/* --- the net ---- */

int net_uv_error(int uv_rc)
{
	switch (uv_rc) {
	case UV_EOF:
	case UV_ECONNRESET:
	case UV_EPIPE:
	case UV_ECONNABORTED:
	case UV_EHOSTUNREACH:
	case UV_ENETUNREACH:
	case UV_EHOSTDOWN:
	case UV_ENETDOWN:
		return -E_NOTCONN;
	case UV_EAI_NONAME:
	case UV_EAI_NODATA:
	case UV_EAI_AGAIN:
	case UV_EAI_FAIL:
		return -E_NOENT;
	default:
		return error_from_errno(-uv_rc);
	}
}

struct net_uv *net_uv_of(struct net *net)
{
	return CHECKED_CAST(container_of(net, struct net_uv, base), struct net_uv, NET_UV_MAGIC);
}

void net_uv_ref(struct net_uv *net)
{
	net->refs++;
}

void net_uv_unref(struct net_uv *net)
{
	ASSERT(net->refs > 0);
	if (--net->refs > 0)
		return;
	while (net->spare) {
		struct net_out *out = net->spare;

		LL_DELETE(net->spare, out);
		free(out);
	}
	buf_pool_destroy(net->messages);
	net->magic = 0;
	free(net);
}

static void on_again(uv_idle_t *idle)
{
	uv_idle_stop(idle);
}

/*
 * Runs as the last before the poll, behind all tasks and timers: what was sent in this turn leaves,
 * what was paused goes on.
 */
static void on_turn(uv_prepare_t *turn)
{
	struct net_uv *net = CHECKED_CAST(turn->data, struct net_uv, NET_UV_MAGIC);
	struct net_conn *c, *tmp;

	uv_prepare_stop(turn);
	net->is_in_turn = true;
	/* A connection ends in a close callback of a later turn, so the list only grows in here. */
	DL_FOREACH_SAFE (net->conns, c, tmp)
		net_uv_conn_turn(c);
	net->is_in_turn = false;
}

void net_uv_want_turn(struct net_uv *net)
{
	if (net->is_destroyed)
		return;
	/* Neither can fail: the callbacks are not NULL. */
	(void)uv_prepare_start(&net->turn, on_turn);
	if (net->is_in_turn)
		(void)uv_idle_start(&net->again, on_again);
}

static void on_pool_free(void *arg)
{
	struct net_uv *net = arg;

	(void)uv_async_send(&net->freed); /* any thread; it fails only for a closed handle */
}

static void on_freed(uv_async_t *async)
{
	struct net_uv *net = CHECKED_CAST(async->data, struct net_uv, NET_UV_MAGIC);
	struct net_conn *c;

	DL_FOREACH (net->conns, c) {
		if (!c->is_starved)
			continue;
		c->is_starved = false;
		c->has_work = true;
	}
	net_uv_want_turn(net);
}

/* --- life ---- */

static void handle_closed(uv_handle_t *handle)
{
	net_uv_unref(CHECKED_CAST(handle->data, struct net_uv, NET_UV_MAGIC));
}

static void net_uv_destroy(struct net *base)
{
	struct net_uv *net = net_uv_of(base);
	struct net_conn *c, *tmp;

	buf_pool_on_free(base->pool, NULL, NULL);
	buf_pool_on_free(net->messages, NULL, NULL);
	net->is_destroyed = true;
	net_uv_connecting_cancel(net);
	net_uv_listeners_close(net);
	DL_FOREACH_SAFE (net->conns, c, tmp)
		net_uv_conn_fail(c, -E_CANCELED);
	uv_close((uv_handle_t *)&net->freed, handle_closed);
	uv_close((uv_handle_t *)&net->turn, handle_closed);
	uv_close((uv_handle_t *)&net->again, handle_closed);
}

static const struct net_ops NET_UV_OPS = {
	.listen = net_uv_listen,
	.listener_close = net_uv_listener_close,
	.listener_address = net_uv_listener_address,
	.connect = net_uv_connect,
	.conn_events = net_uv_conn_events,
	.send = net_uv_conn_send,
	.pause = net_uv_conn_pause,
	.close = net_uv_conn_close,
	.peer_name = net_uv_conn_name,
	.destroy = net_uv_destroy,
};

int net_uv_create(struct loop *loop, struct buf_pool *pool, const char *transport,
		  struct net **out)
{
	struct net_uv *net = calloc(1, sizeof(*net));

	if (!net)
		return -E_NOMEM;
	net->base = (struct net){.ops = &NET_UV_OPS, .loop = loop, .pool = pool};
	net->magic = NET_UV_MAGIC;
	signal(SIGPIPE, SIG_IGN); /* a peer that is gone is an error of the write */
	net->is_tcp_only = strcmp(transport, "tcp") == 0;
	net->uv = loop_uv_handle(loop);
	net->messages = buf_pool_create(NET_MESSAGE_POOL_BYTES);
	int rc = net->messages ? uv_async_init(net->uv, &net->freed, on_freed) : UV_ENOMEM;
	if (rc < 0) {
		buf_pool_destroy(net->messages);
		free(net);
		return net_uv_error(rc);
	}
	(void)uv_prepare_init(net->uv, &net->turn); /* cannot fail, nor the next */
	(void)uv_idle_init(net->uv, &net->again);
	net->freed.data = net;
	net->turn.data = net;
	net->again.data = net;
	net->refs = 3; /* the handles */
	buf_pool_on_free(pool, on_pool_free, net);
	buf_pool_on_free(net->messages, on_pool_free, net);
	*out = &net->base;
	return 0;
}
