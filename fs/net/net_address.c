/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses of peers, as text and as sockets want them.
 */
#include "fs/net/net_address.h"

#include <stdio.h>
#include <string.h>
#include <uv.h>

#include "fs/base/text.h"

const struct addrinfo net_address_hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};

int net_address_split(const char *address, struct net_host_port *out)
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

bool net_address_parse(const struct net_host_port *hp, struct sockaddr_storage *out)
{
	uint64_t port = 0;

	if (text_parse_u64(hp->port, &port) < 0)
		return false;
	return uv_ip4_addr(hp->host, (int)port, (struct sockaddr_in *)out) == 0 ||
	       uv_ip6_addr(hp->host, (int)port, (struct sockaddr_in6 *)out) == 0;
}

void net_address_print(const struct sockaddr_storage *a, char out[NET_NAME_BYTES])
{
	char host[INET6_ADDRSTRLEN] = "?";
	bool is_v6 = a->ss_family == AF_INET6;
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)a;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)a;

	(void)uv_ip_name((const struct sockaddr *)a, host, sizeof(host)); /* "?" will do */
	(void)snprintf(out, NET_NAME_BYTES, is_v6 ? "[%s]:%u" : "%s:%u", host,
		       (unsigned)ntohs(is_v6 ? v6->sin6_port : v4->sin_port));
}

unsigned net_address_take(const struct addrinfo *list,
			  struct sockaddr_storage out[NET_ADDRESSES_MAX])
{
	unsigned count = 0;

	for (; list && count < NET_ADDRESSES_MAX; list = list->ai_next)
		if (list->ai_addrlen <= sizeof(out[0]))
			memcpy(&out[count++], list->ai_addr, list->ai_addrlen);
	return count;
}
