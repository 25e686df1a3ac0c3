/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Locks of this client: what its processes hold, for the server's next start and for their end, and
 * who waits. The server decides, and each lock and unlock is a request, unless the write lease of
 * the inode is ours: then nobody else can have it open, and what is decided here costs nothing.
 *
 * A blocked request is an operation that waits without a deadline as long as the server answers,
 * and ends at once when it is interrupted: should its lock be set aside for it just then, that is
 * given back.
 *
 * A lock ends when its process unlocks it, when the process closes any descriptor of the file
 * (POSIX; the kernel's FLUSH names the owner), when the open file ends (flock, OFD; RELEASE). The
 * server is asked until it has answered; nobody waits for a server that is away. What is given up
 * so is not claimed from a restarted server.
 *
 * I6: with the session all locks are lost. Who had one may have written what others must not see
 * half: his handle fails with EIO from then on, until it is closed, as NFS does. Loop's thread.
 */
#ifndef CAIRN_CLIENT_CORE_LOCKS_H
#define CAIRN_CLIENT_CORE_LOCKS_H

#include "client/core/core.h"

struct cl_locks;
struct cl_handle;
struct rpc_request;

struct cl_locks *cl_locks_create(void);		/* NULL: out of memory */
void cl_locks_destroy(struct cl_locks *locks);

void cl_locks_set(struct cl_op *op);		/* CL_SETLK */
void cl_locks_get(struct cl_op *op);		/* CL_GETLK */
/*
 * A write lease is to be given back. True: not yet, the server is being told of the locks that were
 * decided under it; cl_lease_continue() follows.
 */
bool cl_locks_keep_lease(struct client *c, inode_no ino);
/* Behind a flush that came to rc: its owner's locks of the file end, then the op. */
void cl_locks_flushed(struct cl_op *op, int rc);
void cl_locks_released(struct cl_handle *h);	/* it goes away */

void cl_locks_granted(struct client *c, struct rpc_request *req);	/* the server says so */
void cl_locks_fence(struct client *c);		/* the session is lost */
void cl_locks_sweep(struct client *c);		/* ask again what was not answered */

/* A restarted server is to be told what is held. */
void cl_locks_reclaim(struct client *c);
bool cl_locks_are_held(const struct client *c);
/* As much as fits a message; cl_locks_claimed() frees it. -E_NOMEM. True: there is more. */
must_check int cl_locks_claim(struct client *c, Wire__SessionReclaim *msg, bool *more);
void cl_locks_claimed(Wire__SessionReclaim *msg);
void cl_locks_again(struct client *c);		/* it has all: who waited waits there again */

#endif
