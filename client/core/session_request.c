/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests to the metadata server that travel under the session.
 *
 * Keeps I7: a mutation holds a slot from its first sending to its answer. One that was never
 * answered is given up by the slot's next: the server then drops the older one if it waits there,
 * and refuses it should it still arrive.
 *
 * A session may end before the server has done a request; whoever asked need not know. What changes
 * nothing, and what certainly was not done, waits here for the next session and is sent under that.
 * What depends on something that went with the session (a publish, a lock, a release), and a change
 * that may have been made, comes to its asker as -E_NO_SESSION.
 */
#include <stdlib.h>
#include <utlist.h>

#include "client/core/core.h"
#include "client/core/node.h"
#include "client/core/session_internal.h"

#define SLOT_GRACE_MS 30000u	/* a mutation's call outlives its operation by this */

static void req_unlist(struct cl_req *req)
{
	DL_DELETE(req->client->requests, req);
	req->client->request_count--;
}

static void req_free(struct cl_req *req)
{
	buf_put(req->call.bulk);
	free(req->more);
	free(req);
}

void cl_session_drop_requests(struct client *c)
{
	while (c->requests) {
		struct cl_req *req = c->requests;
		DL_DELETE(c->requests, req);
		loop_timer_stop(c->options.loop, &req->retry);
		if (req->is_sent)
			rpc_cancel(&req->call);
		req_free(req);
	}
	c->slot_waiters = NULL;
}

static bool is_mutation(uint16_t type)
{
	switch (type) {
	case MSG_SETATTR:
	case MSG_MAKE:
	case MSG_LINK:
	case MSG_UNLINK:
	case MSG_RENAME:
	case MSG_OPEN:
	case MSG_RELEASE: case MSG_PUBLISH: case MSG_SETXATTR: case MSG_REMOVEXATTR:
	case MSG_CLONE: case MSG_TRASH: case MSG_LOCK:
		return true;
	default:
		return false;
	}
}

static void init_message(struct cl_req *req, uint16_t type)
{
	switch (type) {
	case MSG_LOOKUP:
		wire__lookup__init(&req->msg.lookup);
		req->msg.lookup.caller = &req->caller;
		break;
	case MSG_GETATTR:
		wire__get_attr__init(&req->msg.get_attr);
		req->msg.get_attr.caller = &req->caller;
		break;
	case MSG_SETATTR:
		wire__set_attr__init(&req->msg.set_attr);
		req->msg.set_attr.caller = &req->caller;
		break;
	case MSG_MAKE: wire__make__init(&req->msg.make); req->msg.make.caller = &req->caller; break;
	case MSG_LINK: wire__link__init(&req->msg.link); req->msg.link.caller = &req->caller; break;
	case MSG_UNLINK:
		wire__unlink__init(&req->msg.unlink);
		req->msg.unlink.caller = &req->caller;
		break;
	case MSG_RENAME:
		wire__rename__init(&req->msg.rename);
		req->msg.rename.caller = &req->caller;
		break;
	case MSG_READDIR:
		wire__read_dir__init(&req->msg.read_dir);
		req->msg.read_dir.caller = &req->caller;
		break;
	case MSG_OPEN: wire__open__init(&req->msg.open); req->msg.open.caller = &req->caller; break;
	case MSG_RELEASE: wire__release__init(&req->msg.release); break;
	case MSG_ATIMES: wire__atimes__init(&req->msg.atimes); break;
	case MSG_GET_INLINE: wire__get_inline__init(&req->msg.get_inline); break;
	case MSG_PUBLISH:
		wire__publish__init(&req->msg.publish);
		req->msg.publish.caller = &req->caller;
		break;
	case MSG_SETXATTR:
		wire__set_xattr__init(&req->msg.set_xattr);
		req->msg.set_xattr.caller = &req->caller;
		break;
	case MSG_GETXATTR:
		wire__get_xattr__init(&req->msg.get_xattr);
		req->msg.get_xattr.caller = &req->caller;
		break;
	case MSG_LISTXATTR:
		wire__list_xattr__init(&req->msg.list_xattr);
		req->msg.list_xattr.caller = &req->caller;
		break;
	case MSG_REMOVEXATTR:
		wire__remove_xattr__init(&req->msg.remove_xattr);
		req->msg.remove_xattr.caller = &req->caller;
		break;
	case MSG_STATFS:
		wire__stat_fs__init(&req->msg.stat_fs);
		req->msg.stat_fs.caller = &req->caller;
		break;
	case MSG_TRASH: wire__trash__init(&req->msg.trash); break;
	case MSG_TRASH_LIST: wire__trash_list__init(&req->msg.trash_list); break;
	case MSG_CLONE: wire__clone__init(&req->msg.clone); break;
	case MSG_FSYNC: wire__fsync__init(&req->msg.fsync); break;
	case MSG_LOCK: wire__lock__init(&req->msg.lock); break;
	case MSG_LOCK_TEST: wire__lock_test__init(&req->msg.lock_test); break;
	case MSG_QUOTA_RESERVE: wire__quota_reserve__init(&req->msg.quota_reserve); break;
	default: req->call.request = NULL; return;
	}
	req->call.request = &req->msg.base;
}

static void touch(struct cl_req *req, inode_no ino)
{
	if (ino && req->touched_count < ARRAY_COUNT(req->touched))
		req->touched[req->touched_count++] = ino;
}

/* What the request may change, for when it has: its operation will be gone by then. */
static void touch_all(struct cl_req *req, const struct cl_op *op)
{
	inode_no named;
	touch(req, op->ino);
	touch(req, op->parent);
	touch(req, op->new_parent);
	if (op->name && cl_node_name_find(req->client, op->parent, op->name, &named))
		touch(req, named);
	if (op->new_name && cl_node_name_find(req->client, op->new_parent, op->new_name, &named))
		touch(req, named);
}

/*
 * A change of ours that nobody waited for: the server recalls nothing from us for it (I14), so what
 * we hold of it is asked again. It is rare, so of names all.
 */
static void changed_unseen(struct cl_req *req)
{
	struct client *c = req->client;
	if (req->call.session != c->session.number)
		return;
	cl_node_drop_names(c);
	for (uint32_t i = 0; i < req->touched_count; i++) {
		cl_node_outdate(c, req->touched[i]);
		if (c->options.on_inval_attr)
			c->options.on_inval_attr(c->options.arg, req->touched[i]);
	}
}

/* The operation gives up: a request that was sent goes on, one that was not is forgotten. */
static void req_cancel(struct cl_op *op)
{
	struct cl_req *req = op->req;
	struct client *c = req->client;
	op->req = NULL;
	req->op = NULL;
	if (req->is_ending || (req->is_sent && req->has_slot)) {
		req->is_abandoned = true;	/* its slot stays taken until the answer comes */
		touch_all(req, op);
		return;
	}
	loop_timer_stop(c->options.loop, &req->retry);
	if (req->is_sent)
		rpc_cancel(&req->call);
	if (req->is_waiting)
		LL_DELETE2(c->slot_waiters, req, waiting_next);
	else if (req->has_slot && c->session.number == req->call.session)
		/* it was refused and would have been sent again */
		cl_slots_give(&c->slots, req->call.slot);
	req->call.rc = -E_CANCELED;
	req_unlist(req);
	if (req->orphaned)
		req->orphaned(req);
	req_free(req);
}

/*
 * Nobody wants the answer. One that was not sent yet never will be: it may be of a session that is
 * lost (I6).
 */
void cl_session_forget(struct cl_req *req)
{
	struct client *c = req->client;
	ASSERT(!req->op);
	req->arg = NULL;
	if (req->is_sent || req->is_ending)
		return;
	loop_timer_stop(c->options.loop, &req->retry);
	if (req->is_waiting)
		LL_DELETE2(c->slot_waiters, req, waiting_next);
	else if (req->has_slot && c->session.number == req->call.session)
		/* it was refused and would have been sent again */
		cl_slots_give(&c->slots, req->call.slot);
	req_unlist(req);
	req_free(req);
}

struct cl_req *cl_session_req(struct client *c, struct cl_op *op, uint16_t type,
			      void (*done)(struct cl_req *req))
{
	struct cl_req *req = calloc(1, sizeof *req);
	if (!req)
		return NULL;
	req->client = c;
	req->op = op;
	req->done = done;
	wire__caller__init(&req->caller);
	if (op) {
		ASSERT(!op->req);
		req->caller.uid = op->uid;
		req->caller.gid = op->gid;
		req->caller.groups = op->groups;
		req->caller.n_groups = op->group_count;
		op->req = req;
		op->cancel = req_cancel;
		op->waiting_for = "the metadata server";
	}
	req->call.type = type;
	init_message(req, type);
	DL_APPEND2(c->requests, req, prev, next);
	c->request_count++;
	return req;
}

void cl_session_pump(struct client *c)
{
	while (c->slot_waiters && cl_slots_has_free(&c->slots)) {
		struct cl_req *req = c->slot_waiters;
		LL_DELETE2(c->slot_waiters, req, waiting_next);
		req->is_waiting = false;
		cl_session_send(req);
	}
}

/* Of operations, each with a deadline of its own, though the request names none of them. */
static bool serves_operations(uint16_t type)
{
	return type == MSG_OPEN || type == MSG_GET_INLINE || type == MSG_QUOTA_RESERVE;
}

static bool is_retried(const struct cl_req *req, int rc)
{
	bool is_wanted = req->op || serves_operations(req->call.type);
	if (req->is_abandoned || req->call.type == MSG_SESSION_RECLAIM)
		return false;
	if (rc == -E_RECOVERING || rc == -E_OVERLOADED || rc == -E_NOTCONN || rc == -E_CONNREFUSED)
		return is_wanted || req->tries < 100;
	return rc == -E_TIMEDOUT && (req->op ? req->client->options.is_hard : is_wanted);
}

/* --- under the next session ------------------------------------------------------------------- */

/* May it be sent under another session than the one that it was meant for? */
static bool is_free_of_session(const struct cl_req *req)
{
	switch (req->call.type) {
	case MSG_LOOKUP:
	case MSG_GETATTR:
	case MSG_READDIR:
	case MSG_GET_INLINE:
	case MSG_GETXATTR:
	case MSG_LISTXATTR:
	case MSG_LOCK_TEST:
	case MSG_TRASH_LIST:
	case MSG_QUOTA_RESERVE:
	case MSG_OPEN:		/* an open that the server counted ended with the session */
		return req->op || serves_operations(req->call.type);
	case MSG_SETATTR:
	case MSG_MAKE:
	case MSG_LINK:
	case MSG_UNLINK:
	case MSG_RENAME:
	case MSG_SETXATTR:
	case MSG_REMOVEXATTR:
	case MSG_CLONE:
	case MSG_TRASH:
		/* A copy that was not answered may have been done. */
		return req->op && req->call.send_count <= (req->call.rc == -E_NO_SESSION);
	default:
		return false;
	}
}

static bool is_repeated(const struct cl_req *req)
{
	enum cl_life life = req->client->life;
	return !req->is_abandoned && is_free_of_session(req) &&
	       (life == CL_RUNNING || life == CL_STARTING);
}

/* Its slot, if it had one, was the lost session's. */
static void session_await(struct cl_req *req)
{
	req->is_ending = req->has_slot = false;
	req->call.session = req->call.slot_seq = 0;
	req->call.slot = 0;
	req->tries++;
	req->wants_session = req->has_moved = true;
	if (req->client->session.number)	/* there is one already */
		cl_session_send(req);
}

void cl_session_repeat(struct client *c)
{
	struct cl_req *req;
	DL_FOREACH(c->requests, req)
		if (req->wants_session)
			cl_session_send(req);
}

/* --- the end of a request --------------------------------------------------------------------- */

static void retry_fired(struct loop_timer *timer)
{
	cl_session_send(container_of(timer, struct cl_req, retry));
}

static void slot_settle(struct cl_req *req)
{
	struct client *c = req->client;
	if (!req->has_slot || c->session.number != req->call.session)
		return;
	cl_slots_give(&c->slots, req->call.slot);
	cl_session_pump(c);
}

/* What has a slot and changes nothing that we cache. */
static bool is_harmless(const struct cl_req *req)
{
	return req->call.type == MSG_OPEN || req->call.type == MSG_LOCK;
}

/* A change of which nobody can say whether it was made. */
static bool is_doubtful(const struct cl_req *req)
{
	int rc = req->call.rc;

	return req->has_slot && !is_harmless(req) && (rc == -E_IO || rc == -E_TIMEDOUT);
}

static void req_done(struct rpc_call *call)
{
	struct cl_req *req = call->user;
	struct client *c = req->client;
	req->is_sent = false;
	/* The server goes: it is as good as gone. A session that ends waits for no other. */
	if (call->rc == -E_SHUTDOWN && call->type != MSG_SESSION_CLOSE)
		call->rc = -E_NOTCONN;
	bool is_retry = is_retried(req, call->rc);
	if (is_retry && c->session.number == call->session) {
		req->tries++;
		req->retry.fn = retry_fired;
		loop_timer_start(c->options.loop, &req->retry, CL_RETRY_MS);
		return;
	}
	req->is_ending = true;	/* it is ours, whoever gives it up now */
	if (call->rc == -E_NO_SESSION && c->session.number == call->session)
		cl_session_lost(c);
	if ((is_retry || call->rc == -E_NO_SESSION) && is_repeated(req)) {
		session_await(req);
		return;
	}
	struct cl_op *op = req->op;
	if (call->rc == 0 && call->reply)
		cl_changes_note(req);
	slot_settle(req);
	req_unlist(req);	/* what done() ends must not find it */
	if (op && is_doubtful(req)) {
		touch_all(req, op);
		changed_unseen(req);
	}
	if (op) {
		op->req = NULL;
		op->cancel = NULL;
		op->waiting_for = NULL;
	}
	if (!req->is_abandoned)
		req->done(req);
	else if (req->orphaned)
		req->orphaned(req);
	if (req->is_abandoned && !is_harmless(req))
		changed_unseen(req);
	req_free(req);
}

void cl_session_send(struct cl_req *req)
{
	struct client *c = req->client;
	struct rpc_call *call = &req->call;
	req->wants_session = call->session == 0 && c->session.number == 0 && is_repeated(req);
	if (req->wants_session)
		return;
	if (call->session == 0)
		req->has_slot = false;	/* it was taken when there was no session: of none */
	if (is_mutation(call->type) && !req->has_slot) {
		if (cl_slots_take(&c->slots, &call->slot, &call->slot_seq) < 0) {
			req->is_waiting = true;
			LL_APPEND2(c->slot_waiters, req, waiting_next);
			return;
		}
		req->has_slot = true;
	}
	if (call->session == 0)
		call->session = c->session.number;
	if (call->deadline_ms == 0 || req->tries > 0) {
		uint32_t left = req->op ? cl_op_left_ms(req->op) : c->options.timeout_ms;
		call->deadline_ms = req->has_slot ? left + SLOT_GRACE_MS : left;
	}
	/* Claims are for one term: to the next server they would say that all were made. */
	call->resend = call->type != MSG_SESSION_RECLAIM;
	call->done = req_done;
	call->user = req;
	req->return_count = c->session.return_count;
	req->is_sent = true;
	static const Wire__Empty empty = WIRE__EMPTY__INIT;
	if (!call->request)
		call->request = &empty.base;
	rpc_call(c->mds, call);
}
