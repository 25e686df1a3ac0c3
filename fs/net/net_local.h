/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unix sockets beside TCP, for peers on one host: the same bytes for less processor time.
 *
 * A listener on ADDRESS:PORT also listens on the abstract name "cairn@ADDRESS:PORT". Abstract names
 * belong to a network namespace as ports do, and vanish with their socket. Whoever connects to an
 * address of this host tries the names that a listener there could have; if there is none, TCP it
 * is. Nobody but root and the owner of this process is believed to be that listener: a port cannot
 * be taken from a server that listens on all addresses, but one of its names could be.
 *
 * All descriptors are non-blocking, and the caller's to close. Threads: any.
 */
#ifndef CAIRN_FS_NET_NET_LOCAL_H
#define CAIRN_FS_NET_NET_LOCAL_H

#include <sys/socket.h>

#include "fs/base/base.h"

/* A bound socket for what listens on `bound`, to be listened on. A descriptor or a negated code. */
must_check int net_local_bind(const struct sockaddr *bound);
/* A connected socket to who listens on `to`; -E_NOTCONN: not on this host, or nobody to believe. */
must_check int net_local_connect(const struct sockaddr *to);
/* Of a connected one: room for batches of records; and the process at the other end, 0: unknown. */
void net_local_tune(int fd);
int net_local_peer(int fd);

#endif
