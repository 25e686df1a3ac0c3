/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The transport over libuv's sockets: the table of operations, life, listening.
 */
#define LOG_MODULE "net"
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <utlist.h>

#include "fs/base/log.h"
#include "fs/base/metrics.h"
#include "fs/net/net_local.h"
#include "fs/net/net_uv_internal.h"

#define LISTENER_MAGIC 0x6c73746eu
#define BACKLOG	       511

struct net_listener {
	uint32_t magic;
	struct net_uv *net;
	uv_tcp_t tcp;
	uv_pipe_t local;     /* beside it; open if open_count is 2 */
	unsigned open_count; /* handles that libuv has to close */
	void (*on_accept)(void *arg, struct net_conn *conn);
	void *arg;
	char address[NET_NAME_BYTES];
	struct net_listener *prev, *next;
};

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

/* --- listening ---- */

static void listener_closed(uv_handle_t *handle)
{
	struct net_listener *l = CHECKED_CAST(handle->data, struct net_listener, LISTENER_MAGIC);

	net_uv_unref(l->net);
	if (--l->open_count > 0)
		return;
	l->magic = 0;
	free(l);
}

static void net_uv_listener_close(struct net_listener *l)
{
	DL_DELETE(l->net->listeners, l);
	if (l->open_count > 1)
		uv_close((uv_handle_t *)&l->local, listener_closed);
	uv_close((uv_handle_t *)&l->tcp, listener_closed);
}

static void on_connection(uv_stream_t *stream, int status)
{
	struct net_listener *l = CHECKED_CAST(stream->data, struct net_listener, LISTENER_MAGIC);
	struct net_conn *c;
	bool is_local = stream == (uv_stream_t *)&l->local;
	int rc = status < 0 ? net_uv_error(status) : net_uv_conn_create(l->net, is_local, &c);

	if (rc < 0) {
		log_warn("cannot accept on %s: %s", l->address, error_text(rc));
		return;
	}
	rc = uv_accept(stream, &c->uv.stream);
	if (rc < 0) {
		net_uv_conn_fail(c, net_uv_error(rc));
		return;
	}
	METRIC_INC(connections_in);
	net_uv_conn_set_name(c);
	l->on_accept(l->arg, c);
	net_uv_conn_start(c);
}

/* The same over a unix socket. Without one peers of this host use TCP as well. */
static void listener_bind_local(struct net_listener *l, const struct sockaddr *bound)
{
	int fd = net_local_bind(bound);
	int rc = fd;

	if (fd >= 0) {
		(void)uv_pipe_init(l->net->uv, &l->local, 0); /* cannot fail */
		l->local.data = l;
		l->open_count++;
		net_uv_ref(l->net);
		rc = uv_pipe_open(&l->local, fd);
		if (rc < 0)
			close(fd);
		else
			rc = uv_listen((uv_stream_t *)&l->local, BACKLOG, on_connection);
		rc = rc < 0 ? net_uv_error(rc) : 0;
	}
	if (rc < 0)
		log_warn("cannot listen beside %s for peers on this host: %s", l->address,
			 error_text(rc));
}

static int listener_bind(struct net_listener *l, const struct sockaddr_storage *a)
{
	struct sockaddr_storage bound = {0};
	int len = sizeof(bound);
	int rc = uv_tcp_bind(&l->tcp, (const struct sockaddr *)a, 0);

	if (rc == 0)
		rc = uv_listen((uv_stream_t *)&l->tcp, BACKLOG, on_connection);
	if (rc == 0)
		rc = uv_tcp_getsockname(&l->tcp, (struct sockaddr *)&bound, &len);
	if (rc < 0)
		return net_uv_error(rc);
	net_address_print(&bound, l->address);
	if (!l->net->is_tcp_only)
		listener_bind_local(l, (const struct sockaddr *)&bound);
	return 0;
}

/* Start-up may wait for the resolver. */
static int address_resolve(struct net_uv *net, const char *address, struct sockaddr_storage *out)
{
	struct sockaddr_storage all[NET_ADDRESSES_MAX] = {0};
	uv_getaddrinfo_t resolve;
	struct net_host_port hp;
	unsigned count;
	int rc = net_address_split(address, &hp);

	if (rc < 0)
		return rc;
	if (net_address_parse(&hp, out))
		return 0;
	rc = uv_getaddrinfo(net->uv, &resolve, NULL, hp.host, hp.port, &net_address_hints);
	if (rc < 0)
		return net_uv_error(rc);
	count = net_address_take(resolve.addrinfo, all);
	uv_freeaddrinfo(resolve.addrinfo);
	*out = all[0];
	return count ? 0 : -E_NOENT;
}

static int net_uv_listen(struct net *base, const char *address,
			 void (*on_accept)(void *, struct net_conn *), void *arg,
			 struct net_listener **out)
{
	struct net_uv *net = net_uv_of(base);
	struct sockaddr_storage a = {0};
	int rc = address_resolve(net, address, &a);

	if (rc < 0)
		return rc;
	struct net_listener *l = calloc(1, sizeof(*l));
	if (!l)
		return -E_NOMEM;
	l->magic = LISTENER_MAGIC;
	l->net = net;
	l->on_accept = on_accept;
	l->arg = arg;
	rc = uv_tcp_init(net->uv, &l->tcp);
	if (rc < 0) {
		free(l);
		return net_uv_error(rc);
	}
	l->tcp.data = l;
	l->open_count = 1;
	net_uv_ref(net);
	DL_APPEND(net->listeners, l);
	rc = listener_bind(l, &a);
	if (rc < 0)
		net_uv_listener_close(l);
	else
		*out = l;
	return rc;
}

static const char *net_uv_listener_address(const struct net_listener *l)
{
	return l->address;
}

/* --- life ---- */

static void handle_closed(uv_handle_t *handle)
{
	net_uv_unref(CHECKED_CAST(handle->data, struct net_uv, NET_UV_MAGIC));
}

static void net_uv_destroy(struct net *base)
{
	struct net_uv *net = net_uv_of(base);
	struct net_listener *l, *l_tmp;
	struct net_conn *c, *c_tmp;

	buf_pool_on_free(base->pool, NULL, NULL);
	buf_pool_on_free(net->messages, NULL, NULL);
	net->is_destroyed = true;
	net_uv_connecting_cancel(net);
	DL_FOREACH_SAFE (net->listeners, l, l_tmp)
		net_uv_listener_close(l);
	DL_FOREACH_SAFE (net->conns, c, c_tmp)
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
