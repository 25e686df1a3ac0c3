/* SPDX-License-Identifier: Apache-2.0 */
/*
 * After a restart of the metadata server: it is told the leases and opens that this client has, in
 * messages of bounded size. Until it has taken all of them nothing that we hold is used.
 */
#include <stdlib.h>
#include <utlist.h>

#include "client/core/file.h"
#include "client/core/locks.h"
#include "client/core/session_internal.h"

#define RECLAIM_MAX	1200u	/* leases in one message */
#define CLAIM_OPENS_MAX 2400u

static void reclaim_next(struct client *c);

static void reclaim_done(struct cl_req *req)
{
	struct client *c = req->client;
	bool more = req->arg != NULL;
	int rc = req->call.rc;
	c->session.is_claim_sent = false;
	if (c->session.number != req->call.session || req->call.rc == -E_NO_SESSION)
		return;		/* the session is lost already */
	if (rc == -E_NOTCONN || rc == -E_TIMEDOUT || rc == -E_OVERLOADED)
		return;		/* the next renewal begins again, maybe with another term */
	if (rc < 0) {
		cl_session_lost(c);
	} else if (more) {
		reclaim_next(c);
	} else {
		c->session.is_reclaiming = false;
		cl_opens_all_again(c);	/* if the server lost changes, none was claimed */
		cl_locks_again(c);
		cl_op_wake(&c->session_waiters);
	}
}

struct claims {
	Wire__Lease leases[RECLAIM_MAX];
	Wire__Lease *lease_at[RECLAIM_MAX];
	uint64_t opens[CLAIM_OPENS_MAX];
};

/*
 * A node's lease and opens, in the message; the inode is named as often as it is registered as
 * open.
 */
static void claim(struct claims *claims, Wire__SessionReclaim *msg, const struct cl_node *node)
{
	if (node->has_open_read)
		claims->opens[msg->n_opens++] = node->ino;
	if (node->has_open_write)
		claims->opens[msg->n_opens++] = node->ino;
	/* releases are sent again, and take as many back */
	for (uint32_t i = 0; i < node->extra_opens + (uint32_t)node->releasing; i++)
		claims->opens[msg->n_opens++] = node->ino;
	if (node->lease == CL_LEASE_NONE)
		return;
	Wire__Lease *lease = &claims->leases[msg->n_leases];
	wire__lease__init(lease);
	lease->ino = node->ino;
	lease->mode = node->lease;
	claims->lease_at[msg->n_leases++] = lease;
}

/* Locks go in messages of their own, behind the others. */
static int claim_locks(struct client *c, Wire__SessionReclaim *msg)
{
	bool more = true;
	int rc = 0;
	if (!msg->more && msg->n_leases + msg->n_opens == 0)
		rc = cl_locks_claim(c, msg, &more);
	else if (!msg->more)
		more = cl_locks_are_held(c);
	msg->more = more;
	return rc;
}

/* Tell a restarted server what we hold, a message at a time. */
static void reclaim_next(struct client *c)
{
	struct claims *claims = malloc(sizeof *claims);
	struct cl_req *req =
		claims ? cl_session_req(c, NULL, MSG_SESSION_RECLAIM, reclaim_done) : NULL;
	Wire__SessionReclaim msg = WIRE__SESSION_RECLAIM__INIT;
	struct cl_node *node;
	if (!req) {
		free(claims);
		cl_session_lost(c);
		return;
	}
	msg.leases = claims->lease_at;
	msg.opens = claims->opens;
	DL_FOREACH(c->node_lru, node) {
		if (node->reclaim_round == c->session.reclaim_round)
			continue;
		if (msg.n_leases == RECLAIM_MAX ||
		    msg.n_opens + node->extra_opens + node->releasing + 2 > CLAIM_OPENS_MAX) {
			msg.more = true;
			break;
		}
		node->reclaim_round = c->session.reclaim_round;
		claim(claims, &msg, node);
	}
	if (claim_locks(c, &msg) < 0) {
		cl_session_forget(req);
		free(claims);
		cl_session_lost(c);
		return;
	}
	req->arg = msg.more ? req : NULL;
	req->call.request = &msg.base;
	c->session.is_claim_sent = true;
	cl_session_send(req);
	cl_locks_claimed(&msg);
	free(claims);
}

/* Names are asked again; inodes are reclaimed. Until then nothing that we hold is used. */
void cl_session_reclaim(struct client *c)
{
	c->session.is_reclaiming = true;
	c->session.reclaim_round++;
	cl_node_drop_names(c);
	cl_locks_reclaim(c);
	reclaim_next(c);
}
