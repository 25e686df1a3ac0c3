/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses of peers: "HOST:PORT" and "[V6]:PORT" as text, and as sockets want them. A numeric host
 * needs no resolver; asking one is the caller's. Pure; threads: any.
 */
#ifndef CAIRN_FS_NET_NET_ADDRESS_H
#define CAIRN_FS_NET_NET_ADDRESS_H

#include <netdb.h>
#include <sys/socket.h>

#include "fs/base/base.h"

#define NET_NAME_BYTES	  80u	/* "[V6]:PORT", what may stand before it, and its NUL */
#define NET_ADDRESSES_MAX 4u	/* of one name, tried in turn */

struct net_host_port {
	char host[254];
	char port[6];
};

/* -E_INVAL: no host, no port, or none that can be. */
must_check int net_address_split(const char *address, struct net_host_port *out);
/* False: the host is a name. */
must_check bool net_address_parse(const struct net_host_port *hp, struct sockaddr_storage *out);
void net_address_print(const struct sockaddr_storage *a, char out[NET_NAME_BYTES]);
/* What a resolver is asked for, and the first of what it said; returns how many. */
extern const struct addrinfo net_address_hints;
unsigned net_address_take(const struct addrinfo *list,
			  struct sockaddr_storage out[NET_ADDRESSES_MAX]);

#endif
