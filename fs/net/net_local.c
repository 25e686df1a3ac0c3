/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unix sockets beside TCP: names, and who may be behind them.
 */
#include "fs/net/net_local.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

/* A batch of records leaves in one call, and the other end sleeps less. */
#define LOCAL_BUFFER_BYTES MiB(1)

/* --- addresses -------------------------------------------------------------------------------- */

static const void *host_of(const struct sockaddr *a, size_t *len)
{
	if (a->sa_family == AF_INET) {
		*len = sizeof(struct in_addr);
		return &((const struct sockaddr_in *)(const void *)a)->sin_addr;
	}
	*len = sizeof(struct in6_addr);
	return &((const struct sockaddr_in6 *)(const void *)a)->sin6_addr;
}

static uint16_t port_of(const struct sockaddr *a)
{
	return ntohs(a->sa_family == AF_INET ?
			     ((const struct sockaddr_in *)(const void *)a)->sin_port :
			     ((const struct sockaddr_in6 *)(const void *)a)->sin6_port);
}

static bool is_loopback(const struct sockaddr *a)
{
	size_t len;
	const void *host = host_of(a, &len);

	if (a->sa_family == AF_INET)
		return *(const uint8_t *)host == 127;
	return memcmp(host, &in6addr_loopback, len) == 0;
}

static bool is_of_this_host(const struct sockaddr *a)
{
	struct ifaddrs *all, *at;
	size_t len, other_len;
	const void *host = host_of(a, &len);

	if (is_loopback(a))
		return true;
	if (getifaddrs(&all) != 0)
		return false;
	for (at = all; at; at = at->ifa_next)
		if (at->ifa_addr && at->ifa_addr->sa_family == a->sa_family &&
		    memcmp(host_of(at->ifa_addr, &other_len), host, len) == 0)
			break;
	freeifaddrs(all);
	return at != NULL;
}

/* --- sockets ---------------------------------------------------------------------------------- */

/* The name of who listens on `host` (text) and port. */
static socklen_t name_of(const char *host, uint16_t port, struct sockaddr_un *out)
{
	int n;

	*out = (struct sockaddr_un){ .sun_family = AF_UNIX };
	n = snprintf(out->sun_path + 1, sizeof out->sun_path - 1, "cairn@%s:%u", host,
		     (unsigned)port);
	ASSERT(n > 0 && (size_t)n < sizeof out->sun_path - 1);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
}

static void host_print(const struct sockaddr *a, char out[INET6_ADDRSTRLEN])
{
	size_t len;

	ASSERT(inet_ntop(a->sa_family, host_of(a, &len), out, INET6_ADDRSTRLEN) != NULL);
}

static bool is_internet(const struct sockaddr *a)
{
	return a->sa_family == AF_INET || a->sa_family == AF_INET6;
}

static int socket_create(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	return fd < 0 ? error_from_errno(errno) : fd;
}

int net_local_bind(const struct sockaddr *bound)
{
	char host[INET6_ADDRSTRLEN];
	struct sockaddr_un name;
	int fd, rc;

	if (!is_internet(bound))
		return -E_INVAL;
	host_print(bound, host);
	socklen_t len = name_of(host, port_of(bound), &name);

	fd = socket_create();
	if (fd < 0)
		return fd;
	if (bind(fd, (const struct sockaddr *)&name, len) != 0) {
		rc = error_from_errno(errno);
		close(fd);
		return rc;
	}
	return fd;
}

static bool is_believed(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof peer;

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 &&
	       (peer.uid == 0 || peer.uid == geteuid());
}

void net_local_tune(int fd)
{
	int bytes = LOCAL_BUFFER_BYTES;

	/* Beyond the system's limit only root may; less is slower. */
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes) != 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
}

int net_local_peer(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof peer;

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 ? peer.pid : 0;
}

/* Connecting to a unix socket never waits: it is done, or it is refused. */
static int connect_to(const char *host, uint16_t port)
{
	struct sockaddr_un name;
	socklen_t len = name_of(host, port, &name);
	int fd = socket_create();

	if (fd < 0)
		return fd;
	if (connect(fd, (const struct sockaddr *)&name, len) == 0 && is_believed(fd))
		return fd;
	close(fd);
	return -E_NOTCONN;
}

int net_local_connect(const struct sockaddr *to)
{
	/* A listener on all addresses of both families is bound to the last. */
	static const char *const all[] = { "0.0.0.0", "::" };
	char host[INET6_ADDRSTRLEN];
	int fd;

	if (!is_internet(to) || !is_of_this_host(to))
		return -E_NOTCONN;
	host_print(to, host);
	fd = connect_to(host, port_of(to));
	for (size_t i = to->sa_family == AF_INET ? 0 : 1; fd < 0 && i < ARRAY_COUNT(all); i++)
		fd = connect_to(all[i], port_of(to));
	return fd;
}
