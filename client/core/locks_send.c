/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LOCK requests, as locks.c wants them. Each tells which waits were taken: of an answer to
 * LOCK_GRANTED nobody knows whether it arrived, and the server must not think that the lock is
 * still to be had when its unlock comes.
 */
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "client/core/locks_internal.h"

/* --- what was taken --------------------------------------------------------------------------- */

int cl_locks_taken_add(struct cl_locks *locks, uint64_t wait)
{
	if (locks->taken_count == locks->taken_capacity) {
		uint32_t capacity = locks->taken_capacity ? 2 * locks->taken_capacity : 8;
		uint64_t *more = realloc(locks->taken, capacity * sizeof *more);

		if (!more)
			return -E_NOMEM;
		locks->taken = more;
		locks->taken_capacity = capacity;
	}
	locks->taken[locks->taken_count++] = wait;
	return 0;
}

bool cl_locks_is_taken(const struct cl_locks *locks, uint64_t wait)
{
	for (uint32_t i = 0; i < locks->taken_count; i++)
		if (locks->taken[i] == wait)
			return true;
	return false;
}

/* The server has heard of these. */
static void taken_told(struct cl_locks *locks, const Wire__Lock *msg)
{
	for (size_t k = 0; k < msg->n_taken; k++)
		for (uint32_t i = 0; i < locks->taken_count; i++)
			if (locks->taken[i] == msg->taken[k])
				locks->taken[i--] = locks->taken[--locks->taken_count];
}

/* --- requests --------------------------------------------------------------------------------- */

struct lock_more { Wire__LockClaim claim; uint64_t taken[]; };

/* A request and what it points to; NULL: out of memory. */
static struct cl_req *request(struct client *c, struct cl_op *op, const struct lock_entry *entry,
			      void (*done)(struct cl_req *req))
{
	size_t taken_bytes = c->locks->taken_count * sizeof c->locks->taken[0];
	struct lock_more *more = malloc(sizeof *more + taken_bytes);
	struct cl_req *req = more ? cl_session_req(c, op, MSG_LOCK, done) : NULL;

	if (!req) {
		free(more);
		return NULL;
	}
	wire__lock_claim__init(&more->claim);
	more->claim.ino = entry->key.ino;
	more->claim.owner = entry->key.owner;
	more->claim.kind = (uint32_t)entry->key.kind;
	more->claim.pid = entry->pid;
	more->claim.end = RANGE_END;
	if (taken_bytes)
		memcpy(more->taken, c->locks->taken, taken_bytes);
	req->more = more;
	req->msg.lock.lock = &more->claim;
	req->msg.lock.taken = more->taken;
	req->msg.lock.n_taken = c->locks->taken_count;
	return req;
}

static void of_range(struct cl_req *req, uint64_t start, uint64_t end)
{
	req->msg.lock.lock->start = start;
	req->msg.lock.lock->end = end;
}

/* What every answer tells; false: it is of a session that is gone. */
static bool take_answer(struct cl_req *req, bool *is_queued)
{
	struct client *c = req->client;
	const Wire__LockReply *reply = (const void *)req->call.reply;

	*is_queued = false;
	if (c->session.number == 0 || req->call.session != c->session.number)
		return false;
	if (req->call.rc == 0 && reply) {
		*is_queued = reply->queued;
		cl_session_stamp(c, reply->stamp);
		taken_told(c->locks, &req->msg.lock);
	}
	return true;
}

static void lock_done(struct cl_req *req)
{
	bool is_queued, is_ours = take_answer(req, &is_queued);

	cl_locks_call_end(req->arg, is_ours ? req->call.rc : -E_NO_SESSION, is_queued);
}

static void lock_orphaned(struct cl_req *req)
{
	bool is_queued, is_ours = take_answer(req, &is_queued);

	cl_locks_call_orphaned(req->arg, is_ours ? req->call.rc : -E_NO_SESSION, is_queued);
}

int cl_locks_send(struct lock_call *call)
{
	struct cl_req *req = request(call->client, call->op, call->entry, lock_done);

	if (!req)
		return -E_NOMEM;
	req->arg = call;
	req->orphaned = lock_orphaned;
	of_range(req, call->start, call->end);
	req->msg.lock.lock->mode = call->mode;
	req->msg.lock.wait = call->wait;
	req->msg.lock.may_cycle = call->op->lock.may_cycle;
	req->msg.lock.holds =
		call->wait && cl_locks_owner_has_local(call->client, call->entry);
	cl_session_send(req);
	return 0;
}

static void answered(struct cl_req *req)
{
	bool is_queued;

	(void)take_answer(req, &is_queued);
}

/* Without memory for it: when its lock is granted nobody takes it. */
void cl_locks_send_cancel(struct client *c, const struct lock_call *call)
{
	struct cl_req *req = request(c, NULL, call->entry, answered);

	if (!req)
		return;
	req->msg.lock.wait = call->wait;
	req->msg.lock.cancel = true;
	cl_session_send(req);
}

/* Without memory for it the lock ends with its owner's others. */
void cl_locks_send_unlock(struct client *c, const struct lock_entry *entry, uint64_t start,
		      uint64_t end)
{
	struct cl_req *req = request(c, NULL, entry, answered);

	if (!req)
		return;
	of_range(req, start, end);
	cl_session_send(req);
}

static void drop_done(struct cl_req *req)
{
	struct lock_entry *entry = req->arg;
	bool is_queued, is_ours = take_answer(req, &is_queued);

	cl_locks_entry_dropped(req->client, entry, !is_ours || req->call.rc == 0);
}

bool cl_locks_send_drop(struct client *c, struct lock_entry *entry)
{
	struct cl_req *req = request(c, NULL, entry, drop_done);

	if (!req)
		return false;
	req->arg = entry;
	cl_session_send(req);
	return true;
}

static void held_done(struct cl_req *req)
{
	bool is_queued, is_ours = take_answer(req, &is_queued);

	/* Nobody else could have one: the server and we do not agree what we have. */
	if (is_ours && (req->call.rc == -E_NO_LEASE || req->call.rc == -E_NOLCK))
		cl_session_lost(req->client);
	cl_locks_inode_told(req->client, req->arg, !is_ours || req->call.rc == 0);
}

static bool send_claims(struct client *c, struct lock_inode *inode, struct lock_claims *claims)
{
	struct cl_req *req = cl_session_req(c, NULL, MSG_LOCK, held_done);

	if (!req) {
		free(claims);
		return false;
	}
	req->arg = inode;
	req->more = claims;
	req->msg.lock.held = claims->list;
	req->msg.lock.n_held = claims->count;
	inode->pushes++;
	cl_session_send(req);
	return true;
}

/* Fills one message after the other; false: out of memory. */
static bool send_all(struct client *c, struct lock_inode *inode)
{
	struct lock_claims *claims = NULL;
	struct lock_entry *e = inode->entries;
	bool is_sent = true;

	while (e && is_sent) {
		if (!claims && !(claims = calloc(1, sizeof *claims)))
			return false;
		cl_locks_claim_entry(e, claims);
		if (claims->count < LOCK_CLAIMS_MAX) {
			e = e->inode_next;
			continue;
		}
		is_sent = send_claims(c, inode, claims);
		claims = NULL;
	}
	if (claims && claims->count)
		return is_sent && send_claims(c, inode, claims);
	free(claims);
	return is_sent;
}

void cl_locks_send_held(struct client *c, struct lock_inode *inode)
{
	struct lock_entry *e;

	DL_FOREACH2(inode->entries, e, inode_next)
		e->reclaim_from = 0;
	inode->pushes++;		/* ours, until all were sent */
	inode->has_failed = false;
	bool is_done = send_all(c, inode);

	cl_locks_inode_told(c, inode, is_done);
}
