/* SPDX-License-Identifier: Apache-2.0 */
/* Locks of this client; see locks.h. */
#include "client/core/locks_internal.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "fs/base/log.h"

#define LOG_MODULE "locks"

/* --- entries ---------------------------------------------------------------------------------- */

static struct lock_entry *entry_find(const struct client *c, inode_no ino, uint64_t owner,
				     uint64_t kind)
{
	struct lock_key key = { ino, owner, kind };
	struct lock_entry *e;

	HASH_FIND(hh, c->locks->entries, &key, sizeof key, e);
	return e;
}

static struct lock_entry *entry_of(const struct cl_op *op)
{
	return entry_find(op->client, op->ino, op->lock.owner,
			  op->lock.is_flock ? LOCK_KIND_FLOCK : LOCK_KIND_POSIX);
}

static struct lock_entry *entry_make(const struct cl_op *op)
{
	struct cl_locks *locks = op->client->locks;
	struct lock_entry *e = entry_of(op);

	if (e || !(e = calloc(1, sizeof *e)))
		return e;
	e->key = (struct lock_key){ op->ino, op->lock.owner,
				    op->lock.is_flock ? LOCK_KIND_FLOCK : LOCK_KIND_POSIX };
	HASH_ADD(hh, locks->entries, key, sizeof e->key, e);
	if (!e->hh.tbl) {
		free(e);
		return NULL;
	}
	if (!cl_locks_inode_join(op->client, e)) {
		HASH_DEL(locks->entries, e);
		free(e);
		return NULL;
	}
	locks->has_posix |= !op->lock.is_flock;
	return e;
}

static void handle_leave(struct lock_entry *e)
{
	if (e->handle)
		DL_DELETE(e->handle->locks, e);
	e->handle = NULL;
}

static void handle_join(struct lock_entry *e, struct cl_handle *h)
{
	if (e->handle == h)
		return;
	handle_leave(e);
	e->handle = h;
	if (h)
		DL_APPEND(h->locks, e);
}

void cl_locks_entry_settle(struct client *c, struct lock_entry *e)
{
	if (e->ranges.count || e->calls || e->is_dropping || e->waiters)
		return;
	handle_leave(e);
	HASH_DEL(c->locks->entries, e);
	cl_locks_inode_leave(c, e);
	free(e);
}

/* --- the end of what an owner has of a file --------------------------------------------------- */

static void drop(struct client *c, struct lock_entry *e)
{
	if (e->inode->is_local)
		cl_locks_local_clear(c, e);
	ranges_clear(&e->ranges);
	if (e->inode->is_local && !e->inode->pushes && !e->inode->has_failed)
		return;		/* the server knows nothing of it */
	e->is_dropping = true;
	e->is_drop_sent = !e->inode->is_local && cl_locks_send_drop(c, e);
	c->locks->has_unsent |= !e->is_drop_sent;
}

void cl_locks_entry_dropped(struct client *c, struct lock_entry *e, bool is_done)
{
	e->is_drop_sent = false;
	if (!is_done) {
		c->locks->has_unsent = true;
		return;
	}
	e->is_dropping = false;
	e->calls++;		/* it stays until all have been woken */
	cl_op_wake(&e->waiters);
	e->calls--;
	cl_locks_entry_settle(c, e);
}

void cl_locks_sweep(struct client *c)
{
	struct lock_entry *e, *next;
	struct lock_inode *i, *i_next;

	if (!c->locks->has_unsent)
		return;
	c->locks->has_unsent = false;
	HASH_ITER(hh, c->locks->inodes, i, i_next)
		if (i->has_failed && !i->pushes)
			cl_locks_send_held(c, i);
	HASH_ITER(hh, c->locks->entries, e, next)
		if (e->is_dropping && !e->is_drop_sent)
			drop(c, e);
}

static void flush_resumed(struct cl_op *op)
{
	int rc = op->wait_rc;

	op->wait_rc = 0;
	cl_op_finish(op, rc);
}

void cl_locks_flushed(struct cl_op *op, int rc)
{
	struct client *c = op->client;
	struct lock_entry *e = entry_find(c, op->ino, op->lock.owner, LOCK_KIND_POSIX);

	if (e && !e->is_dropping)
		drop(c, e);
	if (!e || !e->is_dropping || rpc_peer_is_away(c->mds)) {
		if (e)
			cl_locks_entry_settle(c, e);
		cl_op_finish(op, rc);
		return;
	}
	/* Others may lock when close() has returned. */
	op->wait_rc = rc;
	cl_op_wait(op, &e->waiters, "the release of locks", flush_resumed);
}

void cl_locks_released(struct cl_handle *h)
{
	while (h->locks) {
		struct lock_entry *e = h->locks;

		handle_leave(e);
		if (!e->is_dropping && (e->ranges.count || e->calls))
			drop(h->client, e);
		cl_locks_entry_settle(h->client, e);
	}
}

/* --- requests --------------------------------------------------------------------------------- */

void cl_locks_call_free(struct lock_call *call)
{
	struct client *c = call->client;
	struct lock_entry *e = call->entry;

	DL_DELETE(c->locks->calls, call);
	free(call);
	e->calls--;
	cl_locks_entry_settle(c, e);
}

/* What the server did. */
int cl_locks_call_apply(struct lock_call *call)
{
	return ranges_set(&call->entry->ranges, call->start, call->end, call->mode);
}

/* flock(2) gives up what it has before it waits or fails. */
static void not_converted(struct lock_call *call)
{
	if (call->entry->key.kind == LOCK_KIND_FLOCK)
		ranges_clear(&call->entry->ranges);
}

static void call_finish(struct lock_call *call, int rc)
{
	struct cl_op *op = call->op;

	op->is_unbounded = false;
	op->cancel = NULL;
	op->waiting_for = NULL;
	cl_locks_call_free(call);
	cl_op_finish(op, rc);
}

/* It has the lock. Without memory to remember it by it must not. */
static void call_is_granted(struct lock_call *call)
{
	int rc = cl_locks_call_apply(call);

	if (rc < 0) {
		cl_locks_send_unlock(call->client, call->entry, call->start, call->end);
		rc = -E_NOLCK;
	}
	call_finish(call, rc);
}

static void wait_cancel(struct cl_op *op)
{
	struct lock_call *call = op->state;

	op->state = NULL;
	op->is_unbounded = false;
	if (op->client->session.number)
		cl_locks_send_cancel(op->client, call);
	cl_locks_call_free(call);
}

static void call_waits(struct lock_call *call)
{
	struct cl_op *op = call->op;

	call->is_waiting = true;
	op->state = call;
	op->is_unbounded = true;
	op->cancel = wait_cancel;
	op->waiting_for = "a lock that another holds";
}

/* In the next session, or not at all. */
static void call_again(struct lock_call *call)
{
	struct cl_op *op = call->op;

	op->is_unbounded = false;
	op->cancel = NULL;
	op->waiting_for = NULL;
	cl_locks_call_free(call);
	cl_op_dispatch(op);
}

/* Nobody can say whether the server did it: what nobody knows to be held shall not be. */
static void call_is_doubtful(struct lock_call *call)
{
	struct lock_entry *e = call->entry;

	if (e->calls == 1 && e->ranges.count == 0 && !e->is_dropping)
		drop(call->client, e);
}

static bool is_decided(int rc)
{
	return rc == 0 || rc == -E_AGAIN || rc == -E_DEADLK || rc == -E_NOLCK || rc == -E_NOMEM ||
	       rc == -E_INVAL || rc == -E_NO_SESSION;
}

void cl_locks_call_end(struct lock_call *call, int rc, bool is_queued)
{
	if (!is_decided(rc))
		call_is_doubtful(call);

	if (rc == -E_NO_SESSION) {
		call_again(call);
		return;
	}
	if (is_queued || rc == -E_AGAIN)
		not_converted(call);
	if (rc < 0) {
		call_finish(call, rc);
	} else if (!is_queued || call->is_granted) {
		call_is_granted(call);
	} else {
		call_waits(call);
	}
}

/*
 * A lock that nobody knows of. It is given back, and who asks again waits for that; unless its
 * owner has something there, or asks for it: then it ends with that.
 */
static void give_back(struct lock_call *call)
{
	struct lock_entry *e = call->entry;

	/* without memory less is claimed than held */
	if (ranges_find(&e->ranges, call->start, call->end))
		(void)!cl_locks_call_apply(call);
	else if (e->calls > 1 || e->is_dropping)
		return;
	else if (e->ranges.count == 0)
		drop(call->client, e);
	else
		cl_locks_send_unlock(call->client, e, call->start, call->end);
}

/* Its operation gave up before the answer. */
void cl_locks_call_orphaned(struct lock_call *call, int rc, bool is_queued)
{
	call->op = NULL;
	if (!is_decided(rc) && rc != -E_CANCELED) {	/* that was never sent */
		call_is_doubtful(call);
	} else if (rc == 0 && call->mode == RANGE_NONE) {
		/* without memory more is claimed than held */
		(void)!cl_locks_call_apply(call);
	} else if (rc == 0) {
		if (is_queued)
			not_converted(call);
		if (is_queued && !call->is_granted)
			cl_locks_send_cancel(call->client, call);
		else
			give_back(call);
	}
	cl_locks_call_free(call);
}

static void call_begin(struct cl_op *op, struct lock_entry *e)
{
	struct cl_locks *locks = op->client->locks;
	struct lock_call *call = calloc(1, sizeof *call);

	if (!call) {
		cl_locks_entry_settle(op->client, e);
		cl_op_finish(op, -E_NOMEM);
		return;
	}
	*call = (struct lock_call){ .client = op->client, .op = op, .entry = e,
				    .start = op->lock.start, .end = op->lock.end,
				    .mode = op->lock.mode };
	if (op->lock.waits && call->mode != RANGE_NONE)
		call->wait = ++locks->wait_number;
	DL_APPEND(locks->calls, call);
	e->calls++;
	if (cl_locks_send(call) < 0)
		call_finish(call, -E_NOMEM);
}

void cl_locks_set(struct cl_op *op)
{
	bool is_unlock = op->lock.mode == RANGE_NONE;
	struct lock_entry *e = entry_of(op);
	struct cl_handle *h = op->handle;

	if (!range_is_valid(op->lock.start, op->lock.end)) {
		cl_op_finish(op, -E_INVAL);
	} else if ((is_unlock && !e) || (h && h->is_lock_lost)) {
		cl_op_finish(op, is_unlock ? 0 : -E_IO);
	} else if (e && e->is_dropping) {
		cl_op_wait(op, &e->waiters, "the release of locks", cl_op_dispatch);
	} else if ((e = entry_make(op)) == NULL) {
		cl_op_finish(op, -E_NOMEM);
	} else {
		e->pid = op->lock.pid ? op->lock.pid : e->pid;
		handle_join(e, h);
		if (!cl_locks_local_set(op, e))
			call_begin(op, e);
	}
}

void cl_locks_granted(struct client *c, struct rpc_request *req)
{
	uint64_t wait = ((const Wire__LockGranted *)(const void *)req->msg)->wait;
	Wire__LockGrantedReply reply = WIRE__LOCK_GRANTED_REPLY__INIT;
	struct lock_call *call;

	reply.taken = cl_locks_is_taken(c->locks, wait);
	DL_FOREACH(c->locks->calls, call)
		if (call->wait == wait && wait)
			break;
	if (call && call->op && !reply.taken)
		reply.taken = req->header.session == c->session.number &&
			      cl_locks_taken_add(c->locks, wait) == 0;
	rpc_answer(req, 0, &reply.base, NULL);
	if (!call || !reply.taken)
		return;
	if (call->is_waiting)
		call_is_granted(call);
	else
		call->is_granted = true;
}

/* --- whose is it? ----------------------------------------------------------------------------- */

static void test_done(struct cl_req *req)
{
	const Wire__LockTestReply *reply = (const void *)req->call.reply;
	struct cl_op *op = req->op;

	if (req->call.rc == 0 && reply)
		cl_session_stamp(req->client, reply->stamp);
	op->lock.mode = RANGE_NONE;
	if (req->call.rc == 0 && reply && reply->lock) {
		op->lock.mode = reply->lock->mode == RANGE_WRITE ? RANGE_WRITE : RANGE_READ;
		op->lock.start = reply->lock->start;
		op->lock.end = MIN_OF(reply->lock->end, RANGE_END);
		op->lock.pid = reply->lock->pid;
	}
	cl_op_finish(op, req->call.rc);
}

void cl_locks_get(struct cl_op *op)
{
	if (cl_locks_get_local(op))
		return;
	Wire__LockClaim *claim = malloc(sizeof *claim);
	struct cl_req *req =
		claim ? cl_session_req(op->client, op, MSG_LOCK_TEST, test_done) : NULL;

	if (!req) {
		free(claim);
		cl_op_finish(op, -E_NOMEM);
		return;
	}
	wire__lock_claim__init(claim);
	claim->ino = op->ino;
	claim->owner = op->lock.owner;
	claim->kind = LOCK_KIND_POSIX;
	claim->start = op->lock.start;
	claim->end = op->lock.end;
	claim->mode = op->lock.mode;
	req->more = claim;
	req->msg.lock_test.lock = claim;
	cl_session_send(req);
}

bool client_uses_posix_locks(const struct client *c)
{
	return c->locks->has_posix;
}

bool client_may_have_lock(const struct client *c, inode_no ino, uint64_t owner)
{
	return c->locks->entries && entry_find(c, ino, owner, LOCK_KIND_POSIX) != NULL;
}

/* --- a session that is lost, a server that began anew --------------------------------------- */

void cl_locks_fence(struct client *c)
{
	struct cl_locks *locks = c->locks;
	struct lock_entry *e, *next;
	uint32_t lost = 0;

	locks->taken_count = 0;
	HASH_ITER(hh, locks->entries, e, next) {
		lost += e->ranges.count;
		if (e->ranges.count && e->handle)
			e->handle->is_lock_lost = true;
		cl_locks_local_clear(c, e);
		cl_locks_entry_settle(c, e);
	}
	locks->local_ranges = 0;
	if (lost)
		log_error("%u locks are lost with the session: what was opened for them fails "
			  "with EIO until it is closed",
			  lost);
	/* Who waits goes on to wait for the next session: behind the calls that are left here. */
	for (struct lock_call *call = locks->calls, *after; call; call = after) {
		after = call->next;
		call->is_granted = false;
		if (call->is_waiting)
			call_again(call);
	}
}

void cl_locks_reclaim(struct client *c)
{
	struct lock_call *call;

	c->locks->taken_count = 0;
	DL_FOREACH(c->locks->calls, call)
		call->is_granted = false;
}

bool cl_locks_are_held(const struct client *c)
{
	return c->locks->entries != NULL;
}

void cl_locks_claim_entry(struct lock_entry *e, struct lock_claims *out)
{
	const struct range *r;

	DL_FOREACH(e->ranges.first, r) {
		Wire__LockClaim *claim = &out->claims[out->count];

		if (r->start < e->reclaim_from)
			continue;
		if (out->count == LOCK_CLAIMS_MAX)
			return;
		wire__lock_claim__init(claim);
		claim->ino = e->key.ino;
		claim->owner = e->key.owner;
		claim->kind = (uint32_t)e->key.kind;
		claim->pid = e->pid;
		claim->start = r->start;
		claim->end = r->end;
		claim->mode = r->mode;
		out->list[out->count++] = claim;
		e->reclaim_from = r->end + 1;
	}
}

/* Under a write lease that is claimed as well it is told when that goes. */
static bool is_to_claim(struct client *c, struct lock_entry *e)
{
	const struct cl_node *node = cl_node_find(c, e->key.ino);

	if (e->inode->is_local && node && node->lease == CL_LEASE_WRITE)
		return false;
	e->inode->is_local = false;
	return true;
}

int cl_locks_claim(struct client *c, Wire__SessionReclaim *msg, bool *more)
{
	struct lock_claims *claims;
	struct lock_entry *e, *next;

	*more = false;
	if (!c->locks->entries)
		return 0;
	claims = calloc(1, sizeof *claims);
	if (!claims)
		return -E_NOMEM;
	HASH_ITER(hh, c->locks->entries, e, next) {
		if (e->reclaim_round != c->session.reclaim_round)
			e->reclaim_from = 0;
		e->reclaim_round = c->session.reclaim_round;
		if (is_to_claim(c, e))
			cl_locks_claim_entry(e, claims);
	}
	msg->locks = claims->list;
	msg->n_locks = claims->count;
	*more = claims->count == LOCK_CLAIMS_MAX;
	return 0;
}

void cl_locks_claimed(Wire__SessionReclaim *msg)
{
	if (msg->locks)
		free(container_of(msg->locks, struct lock_claims, list));
}

void cl_locks_again(struct client *c)
{
	struct lock_call *call, *next;

	DL_FOREACH_SAFE(c->locks->calls, call, next) {
		if (!call->is_waiting)
			continue;
		call->is_waiting = false;
		call->op->cancel = NULL;
		call->op->is_unbounded = false;
		if (cl_locks_send(call) < 0)
			call_finish(call, -E_NOMEM);
	}
}

/* --- life ------------------------------------------------------------------------------------- */

struct cl_locks *cl_locks_create(void)
{
	return calloc(1, sizeof(struct cl_locks));
}

/* At the end of the client: no operation is left, and what was on its way is gone. */
void cl_locks_destroy(struct cl_locks *locks)
{
	struct lock_entry *e, *next;
	struct lock_call *call, *call_next;
	struct lock_inode *i, *i_next;

	if (!locks)
		return;
	DL_FOREACH_SAFE(locks->calls, call, call_next)
		free(call);
	HASH_ITER(hh, locks->entries, e, next) {
		handle_leave(e);
		ranges_clear(&e->ranges);
		HASH_DEL(locks->entries, e);
		free(e);
	}
	HASH_ITER(hh, locks->inodes, i, i_next) {
		HASH_DEL(locks->inodes, i);
		free(i);
	}
	free(locks->taken);
	free(locks);
}
