/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listening: by TCP, and by a unix socket beside it for peers on this host.
 *
 * Connections are accepted here rather than by uv_listen(): where descriptors or memory are short
 * libuv drops who asks, or calls back about the same failure in an endless loop. Here the backlog
 * keeps them, and accepting is tried again in a while.
 */
#define LOG_MODULE "net"
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>

#include "fs/base/log.h"
#include "fs/base/metrics.h"
#include "fs/net/net_local.h"
#include "fs/net/net_uv_internal.h"

#define LISTENER_MAGIC	 0x6c73746eu
#define BACKLOG		 511
#define ACCEPTS_PER_TURN 32u
#define ACCEPT_RETRY_MS	 500u

/* A socket that is listened on; fd is -1 while it is not. */
struct accepting {
	struct net_listener *listener;
	uv_poll_t poll;
	int fd;
	bool is_local;
};

struct net_listener {
	uint32_t magic;
	struct net_uv *net;
	struct accepting tcp, local;
	unsigned open_count;	 /* handles that libuv has to close */
	struct loop_timer retry; /* active: nothing is accepted until it fires */
	bool is_short;		 /* of descriptors or memory, and it was told */
	void (*on_accept)(void *arg, struct net_conn *conn);
	void *arg;
	char address[NET_NAME_BYTES];
	struct net_listener *prev, *next;
};

/* --- the end ---------------------------------------------------------------------------------- */

static void listener_free(struct net_listener *l)
{
	l->magic = 0;
	free(l);
}

static void accepting_closed(uv_handle_t *handle)
{
	struct accepting *a = handle->data;
	struct net_listener *l = a->listener;

	ASSERT(l->magic == LISTENER_MAGIC);
	net_uv_unref(l->net);
	if (--l->open_count == 0)
		listener_free(l);
}

static void accepting_close(struct accepting *a)
{
	if (a->fd < 0)
		return;
	uv_close((uv_handle_t *)&a->poll, accepting_closed);
	close(a->fd);
	a->fd = -1;
}

void net_uv_listener_close(struct net_listener *l)
{
	DL_DELETE(l->net->listeners, l);
	loop_timer_stop(l->net->base.loop, &l->retry);
	accepting_close(&l->local);
	accepting_close(&l->tcp);
	if (l->open_count == 0)
		listener_free(l);
}

/* --- accepting -------------------------------------------------------------------------------- */

/* The connection of an accepted socket; takes the descriptor. */
static int connection_begin(struct net_listener *l, bool is_local, int fd)
{
	struct net_conn *c;
	int rc = net_uv_conn_create(l->net, is_local, &c);

	if (rc < 0) {
		close(fd);
		return rc;
	}
	rc = is_local ? uv_pipe_open(&c->uv.local, fd) : uv_tcp_open(&c->uv.tcp, fd);
	if (rc < 0) {
		close(fd);
		net_uv_conn_fail(c, net_uv_error(rc));
		return net_uv_error(rc);
	}
	METRIC_INC(connections_in);
	net_uv_conn_set_name(c);
	l->on_accept(l->arg, c);
	net_uv_conn_start(c);
	return 0;
}

/* 1: one was accepted; 0: nobody waits, or who did has gone; or why it cannot be done now. */
static int accept_one(struct accepting *a)
{
	int fd = accept4(a->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	int rc;

	if (fd < 0)
		return errno == EAGAIN || errno == ECONNABORTED || errno == EINTR
			       ? 0
			       : error_from_errno(errno);
	rc = connection_begin(a->listener, a->is_local, fd);
	return rc < 0 ? rc : 1;
}

static void on_acceptable(uv_poll_t *poll, int status, int events);

/* Neither can fail: the handles are open. */
static void accepting_set(struct accepting *a, bool is_on)
{
	if (a->fd >= 0 && is_on)
		(void)uv_poll_start(&a->poll, UV_READABLE, on_acceptable);
	else if (a->fd >= 0)
		(void)uv_poll_stop(&a->poll);
}

static void on_retry(struct loop_timer *timer)
{
	struct net_listener *l = container_of(timer, struct net_listener, retry);

	accepting_set(&l->tcp, true);
	accepting_set(&l->local, true);
}

static void pause_accepting(struct net_listener *l, int rc)
{
	if (!l->is_short)
		log_warn("cannot accept on %s, will try again: %s", l->address, error_text(rc));
	l->is_short = true;
	accepting_set(&l->tcp, false);
	accepting_set(&l->local, false);
	loop_timer_start(l->net->base.loop, &l->retry, ACCEPT_RETRY_MS);
}

/* The rest of those who wait is seen in the next turn. */
static void on_acceptable(uv_poll_t *poll, int status unused_arg, int events unused_arg)
{
	struct accepting *a = poll->data;
	struct net_listener *l = a->listener;
	int rc = 1;

	ASSERT(l->magic == LISTENER_MAGIC);
	for (uint32_t i = 0; rc > 0 && a->fd >= 0 && i < ACCEPTS_PER_TURN; i++) {
		rc = accept_one(a);
		if (rc > 0)
			l->is_short = false;
	}
	if (rc < 0)
		pause_accepting(l, rc);
}

/* --- listening -------------------------------------------------------------------------------- */

/* Takes the descriptor of a bound socket. */
static int accepting_open(struct accepting *a, int fd)
{
	struct net_listener *l = a->listener;
	int rc = listen(fd, BACKLOG) < 0 ? -errno : uv_poll_init(l->net->uv, &a->poll, fd);

	if (rc < 0) {
		close(fd);
		return net_uv_error(rc);
	}
	a->poll.data = a;
	a->fd = fd;
	l->open_count++;
	net_uv_ref(l->net);
	accepting_set(a, true);
	return 0;
}

/* The same over a unix socket. Without one peers of this host use TCP as well. */
static void listen_local(struct net_listener *l, const struct sockaddr *bound)
{
	int rc = net_local_bind(bound);

	if (rc >= 0)
		rc = accepting_open(&l->local, rc);
	if (rc < 0)
		log_warn("cannot listen beside %s for peers on this host: %s", l->address,
			 error_text(rc));
}

static socklen_t address_bytes(const struct sockaddr_storage *a)
{
	return a->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
}

/* A bound socket, or why there is none. */
static int tcp_bind(const struct sockaddr_storage *a)
{
	int fd = socket(a->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int on = 1, off = 0, rc;

	if (fd < 0)
		return error_from_errno(errno);
	/*
	 * Connections that the process before us left are not in the way. [::] is all addresses,
	 * whatever the host's default is; the call fails, and does not matter, for others.
	 */
	(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
	    bind(fd, (const struct sockaddr *)a, address_bytes(a)) == 0)
		return fd;
	rc = error_from_errno(errno);
	close(fd);
	return rc;
}

static int listener_open(struct net_listener *l, const struct sockaddr_storage *a)
{
	struct sockaddr_storage bound = {0};
	socklen_t len = sizeof(bound);
	int rc = tcp_bind(a);

	if (rc >= 0)
		rc = accepting_open(&l->tcp, rc);
	if (rc < 0)
		return rc;
	if (getsockname(l->tcp.fd, (struct sockaddr *)&bound, &len) < 0)
		return error_from_errno(errno);
	net_address_print(&bound, l->address);
	if (!l->net->is_tcp_only)
		listen_local(l, (const struct sockaddr *)&bound);
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

int net_uv_listen(struct net *base, const char *address,
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
	l->tcp = (struct accepting){.listener = l, .fd = -1};
	l->local = (struct accepting){.listener = l, .fd = -1, .is_local = true};
	l->retry.fn = on_retry;
	l->on_accept = on_accept;
	l->arg = arg;
	DL_APPEND(net->listeners, l);
	rc = listener_open(l, &a);
	if (rc < 0)
		net_uv_listener_close(l);
	else
		*out = l;
	return rc;
}

const char *net_uv_listener_address(const struct net_listener *l)
{
	return l->address;
}

void net_uv_listeners_close(struct net_uv *net)
{
	struct net_listener *l, *tmp;

	DL_FOREACH_SAFE (net->listeners, l, tmp)
		net_uv_listener_close(l);
}
