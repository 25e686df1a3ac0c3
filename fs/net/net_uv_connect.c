/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connecting: each address of a name in turn, by the unix socket of a listener on this host if
 * there is one, else by TCP.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <utlist.h>

#include "fs/net/net_local.h"
#include "fs/net/net_uv_internal.h"

#define CONNECTING_MAGIC 0x636e6374u

/* A connect on its way. Freed when nothing of libuv refers to it any more. */
struct net_connecting {
	uint32_t magic;
	struct net_uv *net;
	struct loop_timer timer; /* the deadline, or something to be told in the next turn */
	void (*on_connect)(void *arg, struct net_conn *conn, int rc); /* NULL: told */
	void *arg;
	int rc; /* told when the timer fires */
	uv_getaddrinfo_t resolve;
	uv_connect_t connect;
	bool is_pending;       /* libuv owes us a callback of resolve or connect */
	struct net_conn *conn; /* being connected */
	struct sockaddr_storage addresses[NET_ADDRESSES_MAX];
	unsigned address_count, address_index;
	struct net_connecting *prev, *next;
};

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
		net_uv_conn_set_name(c);
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
static void connecting_tell_later(struct net_connecting *k, int rc)
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

/* Over a unix socket, which is connected at once or not at all. */
static bool connecting_local(struct net_connecting *k, const struct sockaddr *a)
{
	int fd = k->net->is_tcp_only ? -E_NOTCONN : net_local_connect(a);

	if (fd < 0)
		return false;
	if (net_uv_conn_create(k->net, true, &k->conn) < 0) {
		close(fd);
		return false;
	}
	if (uv_pipe_open(&k->conn->uv.local, fd) < 0) {
		close(fd);
		net_uv_conn_fail(k->conn, -E_NOTCONN);
		k->conn = NULL;
		return false;
	}
	connecting_tell_later(k, 0);
	return true;
}

/* Try the next address. */
static void connecting_next(struct net_connecting *k)
{
	const struct sockaddr *a = (const struct sockaddr *)&k->addresses[k->address_index++];

	if (connecting_local(k, a))
		return;
	int rc = net_uv_conn_create(k->net, false, &k->conn);

	if (rc < 0) {
		connecting_tell_later(k, rc);
		return;
	}
	k->connect.data = k;
	rc = uv_tcp_connect(&k->connect, &k->conn->uv.tcp, a, on_connected);
	if (rc < 0)
		connecting_tell_later(k, net_uv_error(rc));
	else
		k->is_pending = true;
}

static void on_resolved(uv_getaddrinfo_t *resolve, int status, struct addrinfo *list)
{
	struct net_connecting *k =
		CHECKED_CAST(resolve->data, struct net_connecting, CONNECTING_MAGIC);

	k->is_pending = false;
	if (status == 0)
		k->address_count = net_address_take(list, k->addresses);
	uv_freeaddrinfo(list);
	if (!k->on_connect)
		connecting_free_if_over(k);
	else if (k->address_count == 0)
		connecting_tell_later(k, status < 0 ? net_uv_error(status) : -E_NOENT);
	else
		connecting_next(k);
}

static void connecting_start(struct net_connecting *k, const struct net_host_port *hp)
{
	if (net_address_parse(hp, &k->addresses[0])) {
		k->address_count = 1;
		connecting_next(k);
		return;
	}
	k->resolve.data = k;
	int rc = uv_getaddrinfo(k->net->uv, &k->resolve, on_resolved, hp->host, hp->port,
				&net_address_hints);
	if (rc < 0)
		connecting_tell_later(k, net_uv_error(rc));
	else
		k->is_pending = true;
}

int net_uv_connect(struct net *base, const char *address, uint32_t timeout_ms,
		   void (*on_connect)(void *, struct net_conn *, int), void *arg)
{
	struct net_uv *net = net_uv_of(base);
	struct net_host_port hp;
	int rc = net_address_split(address, &hp);

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

void net_uv_connecting_cancel(struct net_uv *net)
{
	struct net_connecting *k, *tmp;

	DL_FOREACH_SAFE (net->connecting, k, tmp) {
		if (k->is_pending && !k->conn)
			/* too late: its callback comes anyway */
			(void)uv_cancel((uv_req_t *)&k->resolve);
		if (k->on_connect)
			connecting_finish(k, -E_CANCELED);
		connecting_free_if_over(k);
	}
}
