/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The session with the metadata server: opened, renewed at a third of the lease, lost, opened
 * again; and every request that travels under it.
 *
 * Keeps I6: leases are trusted until the send time of the last successful renewal plus the lease,
 * minus a margin; operations that need them wait beyond that. When the server no longer knows the
 * session, what was not published fails with EIO and a new session starts clean. Keeps I7: a
 * mutation holds a slot from its first sending to its answer. One that was never answered is given
 * up by the slot's next: the server then drops the older one if it waits there, and refuses it
 * should it still arrive.
 */
#include "client/core/file.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <utlist.h>

#include "fs/base/log.h"
#include "fs/base/text.h"

#define LOG_MODULE "session"

#define RECLAIM_MAX	   1200u	/* leases in one message */
#define CLAIM_OPENS_MAX	   2400u
#define CREDIT_IDLE_BYTES  MiB(4)
#define CREDIT_PACE_MS	   50u		/* between renewals that ask for credit */
#define CREDIT_PATIENCE_MS 1200u	/* longer than heartbeats take to tell what was settled */
/* as much more a restarted server needs to hear of chunk servers */
#define CREDIT_TERM_MS	   2500u
#define SLOT_GRACE_MS	   30000u	/* a mutation's call outlives its operation by this */
#define BEHIND_RETRY_MS	   2000u

static void renew_done(struct rpc_call *call);
static void open_done(struct rpc_call *call);
static void slots_pump(struct client *c);

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

/* --- validity --------------------------------------------------------------------------------- */

bool cl_session_is_valid(const struct client *c)
{
	return c->session.number != 0 && !c->session.is_reclaiming &&
	       loop_now_ns(c->options.loop) < c->session.valid_ns;
}

uint64_t cl_session_valid_ms(const struct client *c)
{
	if (!cl_session_is_valid(c))
		return 0;
	return (c->session.valid_ns - loop_now_ns(c->options.loop)) / 1000000;
}

static void renewed(struct client *c)
{
	struct cl_session *s = &c->session;
	uint32_t margin_ms = MIN_OF(LEASE_MARGIN_MS, s->lease_ms / 4);
	s->valid_ns = s->renew_sent_ns + (s->lease_ms - margin_ms) * UINT64_C(1000000);
	s->is_hurried = false;
	loop_timer_start(c->options.loop, &s->timer, MAX_OF(s->lease_ms / 3, 10u));
	if (cl_session_is_valid(c))
		cl_op_wake(&c->session_waiters);
	cl_op_wake(&c->memory_waiters);		/* some may wait for credit */
}

/* The term of the session: that of its opening, or of a renewal. */
static void take_term(struct client *c, const Wire__Stamp *stamp)
{
	struct cl_session *s = &c->session;
	if (!stamp)
		return;
	s->term = stamp->term;
	if (s->next_term == s->term)
		s->last_number = MAX_OF(s->last_number, s->next_number);
	s->next_term = 0;
	cl_session_stamp(c, stamp);
}

void cl_session_stamp(struct client *c, const Wire__Stamp *stamp)
{
	struct cl_session *s = &c->session;
	if (!stamp)
		return;
	s->collection = MAX_OF(s->collection, stamp->collection);
	if (stamp->term == s->term) {
		s->last_number = MAX_OF(s->last_number, stamp->number);
	} else if (stamp->term > s->term) {
		/*
		 * A restarted server answered what was sent again before a renewal told us what it
		 * lost.
		 */
		s->next_number = stamp->term == s->next_term ? MAX_OF(s->next_number, stamp->number)
							     : stamp->number;
		s->next_term = stamp->term;
		cl_session_renew(c);
	}
}

/*
 * How much a renewal asks for beyond what is on its way: while it writes, what memory may gather
 * twice; else enough to begin with, so that idle clients hold little of a cluster that is nearly
 * full.
 */
static uint64_t credit_target(const struct client *c)
{
	uint64_t most = 2 * c->dirty_bytes_max;
	return (c->session.is_writing ? most : MIN_OF(most, CREDIT_IDLE_BYTES)) *
	       MAX_OF(c->copies, 1u);
}

/* Soon, but at a pace: a full cluster is not asked more often because there is no space. */
static void renew_soon(struct client *c, bool is_urgent)
{
	struct cl_session *s = &c->session;
	uint64_t due_ns = s->renew_sent_ns + CREDIT_PACE_MS * UINT64_C(1000000);
	if (s->is_hurried || s->is_renewing)
		return;
	if (loop_now_ns(c->options.loop) >= due_ns) {
		cl_session_renew(c);
	} else if (is_urgent && s->number) {
		s->is_hurried = true;
		loop_timer_start(c->options.loop, &s->timer, CREDIT_PACE_MS);
	}
}

int cl_session_reserve(struct client *c, uint64_t bytes)
{
	struct cl_session *s = &c->session;
	uint64_t want = bytes * MAX_OF(c->copies, 1u);
	uint64_t left = s->credit_bytes > s->charged_bytes ? s->credit_bytes - s->charged_bytes : 0;
	uint64_t now_ns = loop_now_ns(c->options.loop);
	s->is_writing = true;
	if (left < want + credit_target(c) / 2)
		renew_soon(c, left < want);	/* in time, so that writers rarely wait for it */
	if (left >= want) {
		s->charged_bytes += want;
		s->short_since_ns = 0;
		return 0;
	}
	if (s->short_since_ns == 0)
		s->short_since_ns = now_ns;
	uint64_t since_ns = MAX_OF(s->short_since_ns, s->progress_ns);
	return now_ns < since_ns + CREDIT_PATIENCE_MS * UINT64_C(1000000) ? -E_AGAIN : -E_NOSPC;
}

void cl_session_settle(struct client *c, uint64_t charged, uint64_t stored)
{
	struct cl_session *s = &c->session;
	uint64_t copies = MAX_OF(c->copies, 1u);
	if (charged)
		s->progress_ns = MAX_OF(s->progress_ns, loop_now_ns(c->options.loop));
	s->charged_bytes -= MIN_OF(s->charged_bytes, charged * copies);
	s->credit_bytes -= MIN_OF(s->credit_bytes, stored * copies);
}

/* --- the number on disk ----------------------------------------------------------------------- */

static session_no old_session_read(const struct client *c)
{
	uint64_t number = 0;
	char text[32] = "";
	if (!c->options.session_file)
		return 0;
	int fd = open(c->options.session_file, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	ssize_t got = read(fd, text, sizeof text - 1);
	close(fd);
	if (got <= 0)
		return 0;
	text[got] = '\0';
	text[strcspn(text, "\n")] = '\0';
	/* A damaged file only costs the wait for the old session's expiry. */
	return text_parse_u64(text, &number) < 0 ? 0 : number;
}

static void session_write(const struct client *c)
{
	char text[32], temporary[4096];
	if (!c->options.session_file)
		return;
	int len = snprintf(text, sizeof text, "%llu\n", (unsigned long long)c->session.number);
	if (snprintf(temporary, sizeof temporary, "%s.new", c->options.session_file) >=
	    (int)sizeof temporary)
		return;
	int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	bool ok = fd >= 0 && write(fd, text, (size_t)len) == len;
	if (fd >= 0 && close(fd) < 0)
		ok = false;
	if (!ok || rename(temporary, c->options.session_file) < 0)
		log_warn("cannot keep the session number in '%s'", c->options.session_file);
}

/* --- open ------------------------------------------------------------------------------------- */

/* It first has to hear from its chunk servers: what it grants until then proves nothing. */
static void term_began(struct client *c)
{
	c->session.progress_ns = loop_now_ns(c->options.loop) + CREDIT_TERM_MS * UINT64_C(1000000);
}

static void session_open(struct client *c)
{
	struct cl_session *s = &c->session;
	static const uint8_t none[16];
	if (s->is_opening || s->is_renewing || s->number)
		return;
	if (memcmp(s->nonce, none, sizeof none) == 0)
		loop_random(c->options.loop, s->nonce, sizeof s->nonce);
	Wire__SessionOpen open = WIRE__SESSION_OPEN__INIT;
	open.node = (char *)(uintptr_t)(c->options.node_name ? c->options.node_name : "client");
	open.old_session = s->fenced_count == 0 ? old_session_read(c) : 0;
	open.nonce.data = s->nonce;
	open.nonce.len = sizeof s->nonce;
	open.acknowledged = s->last_number;
	open.acknowledged_term = s->term;
	s->is_opening = true;
	s->renew_sent_ns = loop_now_ns(c->options.loop);
	s->call = (struct rpc_call){ .type = MSG_SESSION_OPEN, .request = &open.base,
				     .resend = true, .deadline_ms = 10000, .done = open_done,
				     .user = c };
	rpc_call(c->mds, &s->call);
}

/* The server lost what it told us in a power failure: nothing of ours is what it was. */
static void changes_lost(struct client *c, uint64_t from)
{
	struct cl_session *s = &c->session;
	if (from == 0 || s->last_number < from)
		return;
	log_error("metadata server lost changes %llu to %llu in a power failure: files in use fail "
		  "with ESTALE",
		  (unsigned long long)from, (unsigned long long)s->last_number);
	s->last_number = from - 1;
	cl_file_fence(c, -E_OTHER_TERM);
	cl_node_drop_leases(c);
}

/* Terms only rise: one that is behind was replaced by mkfs.cairn --recover, or is an old backup. */
static bool is_behind(const struct client *c, const Wire__Stamp *stamp)
{
	if (!stamp || stamp->term >= c->session.term)
		return false;
	log_error("the metadata server is of term %llu, but one of term %llu was here: not used",
		  (unsigned long long)stamp->term, (unsigned long long)c->session.term);
	return true;
}

static void open_done(struct rpc_call *call)
{
	struct client *c = call->user;
	struct cl_session *s = &c->session;
	const Wire__SessionReply *reply = (const void *)call->reply;
	s->is_opening = false;
	if (call->rc < 0 || !reply || reply->session == 0 || reply->lease_ms == 0) {
		loop_timer_start(c->options.loop, &s->timer,
				 call->rc == -E_RECOVERING ? CL_RETRY_MS : 200);
		return;
	}
	if (is_behind(c, reply->stamp)) {
		loop_timer_start(c->options.loop, &s->timer, BEHIND_RETRY_MS);
		return;
	}
	s->number = reply->session;
	s->lease_ms = reply->lease_ms;
	s->name_key = reply->name_key;
	memset(s->nonce, 0, sizeof s->nonce);
	changes_lost(c, reply->lost_from);
	cl_slots_init(&c->slots);
	take_term(c, reply->stamp);
	s->credit_bytes = reply->credit_bytes;
	term_began(c);
	session_write(c);
	if (c->blocks)
		blocks_map_refresh(c->blocks);
	cl_opens_all_again(c);
	slots_pump(c);
	renewed(c);
}

/* --- renew ------------------------------------------------------------------------------------ */

static void renew(struct client *c)
{
	struct cl_session *s = &c->session;
	if (s->number == 0) {
		session_open(c);
		return;
	}
	if (s->is_renewing || s->is_opening)
		return;
	Wire__SessionRenew msg = WIRE__SESSION_RENEW__INIT;
	msg.credit_used = s->charged_bytes;
	msg.credit_wanted = s->charged_bytes + credit_target(c);
	s->is_writing = s->is_hurried = false;
	msg.acknowledged = s->last_number;
	msg.acknowledged_term = s->term;
	msg.seen_collection = s->collection;
	msg.oldest_collection = cl_publish_oldest(c);
	s->is_renewing = true;
	s->renew_sent_ns = loop_now_ns(c->options.loop);
	/*
	 * No resend: a renewal that waited for a connection would prove nothing about its send time
	 * (I6).
	 */
	s->call = (struct rpc_call){ .type = MSG_SESSION_RENEW, .request = &msg.base,
				     .session = s->number,
				     .deadline_ms = MAX_OF(s->lease_ms / 3, 100u),
				     .done = renew_done, .user = c };
	rpc_call(c->mds, &s->call);
}

void cl_session_renew(struct client *c)
{
	if (!c->session.is_reclaiming)		/* else its end wakes who waits */
		renew(c);
}

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
	req->arg = msg.more ? req : NULL;
	req->call.request = &msg.base;
	c->session.is_claim_sent = true;
	cl_session_send(req);
	free(claims);
}

/* Names are asked again; inodes are reclaimed. Until then nothing that we hold is used. */
static void reclaim(struct client *c)
{
	c->session.is_reclaiming = true;
	c->session.reclaim_round++;
	cl_node_drop_names(c);
	reclaim_next(c);
}

static void renew_done(struct rpc_call *call)
{
	struct client *c = call->user;
	struct cl_session *s = &c->session;
	const Wire__SessionReply *reply = (const void *)call->reply;
	s->is_renewing = false;
	if (call->rc == -E_NO_SESSION || call->rc == -E_FENCED) {
		cl_session_lost(c);
		return;
	}
	if (call->rc < 0 || !reply) {
		loop_timer_start(c->options.loop, &s->timer, 100);
		return;
	}
	bool restarted = reply->stamp && reply->stamp->term > s->term && s->term != 0;
	changes_lost(c, reply->lost_from);
	take_term(c, reply->stamp);
	if (reply->credit_bytes > s->credit_bytes || reply->space_unknown)
		s->short_since_ns = 0;		/* it is not known to be full */
	s->credit_bytes = reply->credit_bytes;
	if (c->blocks && reply->map_version > map_version(blocks_map(c->blocks)))
		blocks_map_refresh(c->blocks);
	if (restarted)
		term_began(c);
	if (restarted || (s->is_reclaiming && !s->is_claim_sent))
		reclaim(c);
	renewed(c);
}

static void timer_fired(struct loop_timer *timer)
{
	renew(container_of(timer, struct client, session.timer));
}

/* A connection stands: the first, or again after a loss. */
void cl_session_start(struct client *c)
{
	c->session.timer.fn = timer_fired;
	renew(c);
}

/* --- lost ------------------------------------------------------------------------------------- */

void cl_session_lost(struct client *c)
{
	struct cl_session *s = &c->session;
	if (s->number == 0)
		return;
	log_error("session was ended by the metadata server: unpublished files fail with EIO");
	s->number = 0;
	s->valid_ns = 0;
	s->is_reclaiming = false;
	s->fenced_count++;
	cl_file_fence(c, -E_FENCED);
	cl_node_drop_leases(c);
	if (c->life == CL_RUNNING || c->life == CL_STARTING)
		session_open(c);
}

static void close_done(struct cl_req *req)
{
	req->client->session_closed(req->client);
}

void cl_session_close(struct client *c, void (*done)(struct client *c))
{
	struct cl_session *s = &c->session;
	struct cl_req *req = s->number && rpc_peer_is_connected(c->mds)
				     ? cl_session_req(c, NULL, MSG_SESSION_CLOSE, close_done)
				     : NULL;
	if (!req) {
		done(c);
		return;
	}
	c->session_closed = done;
	req->call.deadline_ms = 2000;
	cl_session_send(req);
}

void cl_session_finish(struct client *c)
{
	struct cl_session *s = &c->session;
	cl_listing_stop(c);
	loop_timer_stop(c->options.loop, &s->timer);
	if (s->is_opening || s->is_renewing)
		rpc_cancel(&s->call);
	s->is_opening = s->is_renewing = false;
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

/* --- requests --------------------------------------------------------------------------------- */

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
	case MSG_FSYNC: wire__fsync__init(&req->msg.fsync); break;
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

static void slots_pump(struct client *c)
{
	while (c->slot_waiters && cl_slots_has_free(&c->slots)) {
		struct cl_req *req = c->slot_waiters;
		LL_DELETE2(c->slot_waiters, req, waiting_next);
		req->is_waiting = false;
		cl_session_send(req);
	}
}

static bool is_retried(const struct cl_req *req, int rc)
{
	if (req->is_abandoned || req->call.type == MSG_SESSION_RECLAIM)
		return false;
	if (rc == -E_RECOVERING || rc == -E_OVERLOADED || rc == -E_NOTCONN || rc == -E_CONNREFUSED)
		return req->op || req->tries < 100;
	return rc == -E_TIMEDOUT && req->op && req->client->options.is_hard;
}

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
	slots_pump(c);
}

/* A change of which nobody can say whether it was made. */
static bool is_doubtful(const struct cl_req *req)
{
	int rc = req->call.rc;

	return req->has_slot && req->call.type != MSG_OPEN && (rc == -E_IO || rc == -E_TIMEDOUT);
}

static void req_done(struct rpc_call *call)
{
	struct cl_req *req = call->user;
	struct client *c = req->client;
	req->is_sent = false;
	if (is_retried(req, call->rc) && c->session.number == call->session) {
		req->tries++;
		req->retry.fn = retry_fired;
		loop_timer_start(c->options.loop, &req->retry, CL_RETRY_MS);
		return;
	}
	req->is_ending = true;	/* it is ours, whoever gives it up now */
	if (call->rc == -E_NO_SESSION && c->session.number == call->session)
		cl_session_lost(c);
	struct cl_op *op = req->op;
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
	if (req->is_abandoned && call->type != MSG_OPEN)
		changed_unseen(req);
	req_free(req);
}

void cl_session_send(struct cl_req *req)
{
	struct client *c = req->client;
	struct rpc_call *call = &req->call;
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
