/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The transport over libuv's sockets: the table of operations, listening, connecting. Connections
 * themselves are in net_uv_conn.c.
 */
#define LOG_MODULE "net"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "fs/base/log.h"
#include "fs/base/metrics.h"
#include "fs/base/text.h"
#include "fs/net/net_uv_internal.h"

#define LISTENER_MAGIC	 0x6c73746eu
#define CONNECTING_MAGIC 0x636e6374u
#define BACKLOG		 511
#define ADDRESSES_MAX	 4u /* of one name, tried in turn */
#define HOST_BYTES_MAX	 254u
#define PORT_BYTES_MAX	 6u

struct net_listener {
	uint32_t magic;
	struct net_uv *net;
	uv_tcp_t tcp;
	void (*on_accept)(void *arg, struct net_conn *conn);
	void *arg;
	char address[NET_NAME_BYTES];
	struct net_listener *prev, *next;
};

/* A connect on its way. Freed when nothing of libuv refers to it any more. */
struct net_connecting {
	uint32_t magic;
	struct net_uv *net;
	struct loop_timer timer; /* the deadline, or a failure to be told in the next turn */
	void (*on_connect)(void *arg, struct net_conn *conn, int rc); /* NULL: told */
	void *arg;
	int rc; /* told when the timer fires */
	uv_getaddrinfo_t resolve;
	uv_connect_t connect;
	bool is_pending;       /* libuv owes us a callback of resolve or connect */
	struct net_conn *conn; /* being connected */
	struct sockaddr_storage addresses[ADDRESSES_MAX];
	unsigned address_count, address_index;
	struct net_connecting *prev, *next;
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

static struct net_uv *uv_of(struct net *net)
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

/* --- addresses ---- */

struct host_port {
	char host[HOST_BYTES_MAX];
	char port[PORT_BYTES_MAX];
};

static int address_split(const char *address, struct host_port *out)
{
	const char *host = address, *host_end, *port;
	uint64_t number;

	if (*address == '[') {
		host++;
		host_end = strchr(host, ']');
		if (!host_end || host_end[1] != ':')
			return -E_INVAL;
		port = host_end + 2;
	} else {
		host_end = strrchr(address, ':');
		if (!host_end || memchr(address, ':', (size_t)(host_end - address)))
			return -E_INVAL;
		port = host_end + 1;
	}
	size_t len = (size_t)(host_end - host);
	if (len == 0 || len >= sizeof(out->host) ||
	    !text_copy(out->port, sizeof(out->port), port) || text_parse_u64(port, &number) < 0 ||
	    number > UINT16_MAX)
		return -E_INVAL;
	memcpy(out->host, host, len);
	out->host[len] = '\0';
	return 0;
}

/* A numeric address needs no resolver. */
static bool address_parse(const struct host_port *hp, struct sockaddr_storage *out)
{
	uint64_t port = 0;

	if (text_parse_u64(hp->port, &port) < 0)
		return false;
	return uv_ip4_addr(hp->host, (int)port, (struct sockaddr_in *)out) == 0 ||
	       uv_ip6_addr(hp->host, (int)port, (struct sockaddr_in6 *)out) == 0;
}

static void address_print(const struct sockaddr_storage *a, char out[NET_NAME_BYTES])
{
	char host[INET6_ADDRSTRLEN] = "?";
	bool is_v6 = a->ss_family == AF_INET6;
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)a;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)a;

	(void)uv_ip_name((const struct sockaddr *)a, host, sizeof(host)); /* "?" will do */
	(void)snprintf(out, NET_NAME_BYTES, is_v6 ? "[%s]:%u" : "%s:%u", host,
		       (unsigned)ntohs(is_v6 ? v6->sin6_port : v4->sin_port));
}

static void conn_set_name(struct net_conn *c)
{
	struct sockaddr_storage a = {0};
	int len = sizeof(a);

	(void)uv_tcp_getpeername(&c->tcp, (struct sockaddr *)&a, &len); /* gone already: "?" */
	address_print(&a, c->name);
}

/* --- listening ---- */

static void listener_closed(uv_handle_t *handle)
{
	struct net_listener *l = CHECKED_CAST(handle->data, struct net_listener, LISTENER_MAGIC);
	struct net_uv *net = l->net;

	l->magic = 0;
	free(l);
	net_uv_unref(net);
}

static void net_uv_listener_close(struct net_listener *l)
{
	DL_DELETE(l->net->listeners, l);
	uv_close((uv_handle_t *)&l->tcp, listener_closed);
}

static void on_connection(uv_stream_t *stream, int status)
{
	struct net_listener *l = CHECKED_CAST(stream->data, struct net_listener, LISTENER_MAGIC);
	struct net_conn *c;
	int rc = status < 0 ? net_uv_error(status) : net_uv_conn_create(l->net, &c);

	if (rc < 0) {
		log_warn("cannot accept on %s: %s", l->address, error_text(rc));
		return;
	}
	rc = uv_accept(stream, (uv_stream_t *)&c->tcp);
	if (rc < 0) {
		net_uv_conn_fail(c, net_uv_error(rc));
		return;
	}
	METRIC_INC(connections_in);
	conn_set_name(c);
	l->on_accept(l->arg, c);
	net_uv_conn_start(c);
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
	address_print(&bound, l->address);
	return 0;
}

static void addresses_take(const struct addrinfo *list, struct sockaddr_storage *out,
			   unsigned *count)
{
	*count = 0;
	for (; list && *count < ADDRESSES_MAX; list = list->ai_next) {
		if (list->ai_addrlen <= sizeof(*out))
			memcpy(&out[(*count)++], list->ai_addr, list->ai_addrlen);
	}
}

static const struct addrinfo RESOLVE_HINTS = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};

/* Start-up may wait for the resolver. */
static int address_resolve(struct net_uv *net, const char *address, struct sockaddr_storage *out)
{
	struct sockaddr_storage all[ADDRESSES_MAX] = {0};
	uv_getaddrinfo_t resolve;
	struct host_port hp;
	unsigned count;
	int rc = address_split(address, &hp);

	if (rc < 0)
		return rc;
	if (address_parse(&hp, out))
		return 0;
	rc = uv_getaddrinfo(net->uv, &resolve, NULL, hp.host, hp.port, &RESOLVE_HINTS);
	if (rc < 0)
		return net_uv_error(rc);
	addresses_take(resolve.addrinfo, all, &count);
	uv_freeaddrinfo(resolve.addrinfo);
	*out = all[0];
	return count ? 0 : -E_NOENT;
}

static int net_uv_listen(struct net *base, const char *address,
			 void (*on_accept)(void *, struct net_conn *), void *arg,
			 struct net_listener **out)
{
	struct net_uv *net = uv_of(base);
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

/* --- connecting ---- */

static void connecting_free_if_over(struct net_connecting *k)
{
	if (k->on_connect || k->is_pending)
		return;
	DL_DELETE(k->net->connecting, k);
	k->magic = 0;
	net_uv_unref(k->net);
	free(k);
}

/* Tell the asker, once. What libuv still owes us comes later and finds on_connect NULL. */
static void connecting_finish(struct net_connecting *k, int rc)
{
	void (*on_connect)(void *, struct net_conn *, int) = k->on_connect;
	struct net_conn *c = k->conn;

	ASSERT(on_connect);
	loop_timer_stop(k->net->base.loop, &k->timer);
	k->on_connect = NULL;
	k->conn = NULL;
	if (rc < 0 && c)
		net_uv_conn_fail(c, rc);
	if (rc == 0)
		conn_set_name(c);
	on_connect(k->arg, rc == 0 ? c : NULL, rc);
	if (rc == 0)
		net_uv_conn_start(c);
}

static void connecting_timer(struct loop_timer *timer)
{
	struct net_connecting *k = container_of(timer, struct net_connecting, timer);

	if (k->is_pending && !k->conn)
		(void)uv_cancel((uv_req_t *)&k->resolve); /* too late: its callback comes anyway */
	connecting_finish(k, k->rc);
	connecting_free_if_over(k);
}

/* Not inside net_uv_connect(): in the next turn. */
static void connecting_fail_later(struct net_connecting *k, int rc)
{
	k->rc = rc;
	loop_timer_start(k->net->base.loop, &k->timer, 0);
}

static void connecting_next(struct net_connecting *k);

static void on_connected(uv_connect_t *connect, int status)
{
	struct net_connecting *k =
		CHECKED_CAST(connect->data, struct net_connecting, CONNECTING_MAGIC);

	k->is_pending = false;
	if (!k->on_connect) {
		connecting_free_if_over(k);
		return;
	}
	if (status < 0 && k->address_index < k->address_count) {
		net_uv_conn_fail(k->conn, net_uv_error(status));
		k->conn = NULL;
		connecting_next(k);
		return;
	}
	connecting_finish(k, status < 0 ? net_uv_error(status) : 0);
	connecting_free_if_over(k);
}

/* Try the next address. */
static void connecting_next(struct net_connecting *k)
{
	const struct sockaddr *a = (const struct sockaddr *)&k->addresses[k->address_index++];
	int rc = net_uv_conn_create(k->net, &k->conn);

	if (rc < 0) {
		connecting_fail_later(k, rc);
		return;
	}
	k->connect.data = k;
	rc = uv_tcp_connect(&k->connect, &k->conn->tcp, a, on_connected);
	if (rc < 0)
		connecting_fail_later(k, net_uv_error(rc));
	else
		k->is_pending = true;
}

static void on_resolved(uv_getaddrinfo_t *resolve, int status, struct addrinfo *list)
{
	struct net_connecting *k =
		CHECKED_CAST(resolve->data, struct net_connecting, CONNECTING_MAGIC);

	k->is_pending = false;
	if (status == 0)
		addresses_take(list, k->addresses, &k->address_count);
	uv_freeaddrinfo(list);
	if (!k->on_connect)
		connecting_free_if_over(k);
	else if (k->address_count == 0)
		connecting_fail_later(k, status < 0 ? net_uv_error(status) : -E_NOENT);
	else
		connecting_next(k);
}

static void connecting_start(struct net_connecting *k, const struct host_port *hp)
{
	if (address_parse(hp, &k->addresses[0])) {
		k->address_count = 1;
		connecting_next(k);
		return;
	}
	k->resolve.data = k;
	int rc = uv_getaddrinfo(k->net->uv, &k->resolve, on_resolved, hp->host, hp->port,
				&RESOLVE_HINTS);
	if (rc < 0)
		connecting_fail_later(k, net_uv_error(rc));
	else
		k->is_pending = true;
}

static int net_uv_connect(struct net *base, const char *address, uint32_t timeout_ms,
			  void (*on_connect)(void *, struct net_conn *, int), void *arg)
{
	struct net_uv *net = uv_of(base);
	struct host_port hp;
	int rc = address_split(address, &hp);

	if (rc < 0)
		return rc;
	struct net_connecting *k = calloc(1, sizeof(*k));
	if (!k)
		return -E_NOMEM;
	k->magic = CONNECTING_MAGIC;
	k->net = net;
	k->on_connect = on_connect;
	k->arg = arg;
	k->rc = -E_TIMEDOUT;
	k->timer.fn = connecting_timer;
	net_uv_ref(net);
	DL_APPEND(net->connecting, k);
	loop_timer_start(base->loop, &k->timer, timeout_ms);
	connecting_start(k, &hp);
	return 0;
}

/* --- life ---- */

static void handle_closed(uv_handle_t *handle)
{
	net_uv_unref(CHECKED_CAST(handle->data, struct net_uv, NET_UV_MAGIC));
}

static void net_uv_destroy(struct net *base)
{
	struct net_uv *net = uv_of(base);
	struct net_connecting *k, *k_tmp;
	struct net_listener *l, *l_tmp;
	struct net_conn *c, *c_tmp;

	buf_pool_on_free(base->pool, NULL, NULL);
	buf_pool_on_free(net->messages, NULL, NULL);
	net->is_destroyed = true;
	DL_FOREACH_SAFE (net->connecting, k, k_tmp) {
		if (k->is_pending && !k->conn)
			(void)uv_cancel(
				(uv_req_t *)&k->resolve); /* else its callback comes anyway */
		if (k->on_connect)
			connecting_finish(k, -E_CANCELED);
		connecting_free_if_over(k);
	}
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

int net_uv_create(struct loop *loop, struct buf_pool *pool, struct net **out)
{
	struct net_uv *net = calloc(1, sizeof(*net));

	if (!net)
		return -E_NOMEM;
	net->base = (struct net){.ops = &NET_UV_OPS, .loop = loop, .pool = pool};
	net->magic = NET_UV_MAGIC;
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
