/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The session with the metadata server: opened, renewed at a third of the lease, lost, opened
 * again.
 *
 * Keeps I6: leases are trusted until the send time of the last successful renewal plus the lease,
 * minus a margin; operations that need them wait beyond that. When the server no longer knows the
 * session, what was not published fails with EIO and a new session starts clean.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/core/file.h"
#include "client/core/locks.h"
#include "client/core/quota.h"
#include "client/core/session_internal.h"
#include "fs/base/log.h"
#include "fs/base/text.h"

#define LOG_MODULE "session"

/* a restarted server needs so long to hear of its chunk servers */
#define CREDIT_TERM_MS	2500u
#define BEHIND_RETRY_MS 2000u

static void renew_done(struct rpc_call *call);
static void open_done(struct rpc_call *call);

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
	cl_changes_durable(c, stamp->term, stamp->durable);
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

static bool is_alive(const struct client *c)
{
	return c->life == CL_RUNNING || c->life == CL_STARTING;
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

/* What was acknowledged in the term that was known until now is durable, or lost. */
static void term_ends(struct client *c, const Wire__SessionReply *reply)
{
	if (reply->stamp && reply->stamp->term > c->session.term)
		cl_changes_term(c, &(struct cl_term_end){ .term = c->session.term,
							  .lost_from = reply->lost_from,
							  .next = reply->stamp->term });
	changes_lost(c, reply->lost_from);
	take_term(c, reply->stamp);
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
	term_ends(c, reply);
	cl_slots_init(&c->slots);
	s->credit_bytes = reply->credit_bytes;
	term_began(c);
	session_write(c);
	if (c->blocks)
		blocks_map_refresh(c->blocks);
	cl_opens_all_again(c);
	cl_session_repeat(c);
	cl_session_pump(c);
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
	msg.credit_wanted = s->charged_bytes + cl_session_credit_target(c);
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

static void renew_done(struct rpc_call *call)
{
	struct client *c = call->user;
	struct cl_session *s = &c->session;
	const Wire__SessionReply *reply = (const void *)call->reply;
	s->is_renewing = false;
	if (call->rc == -E_NO_SESSION || call->rc == -E_FENCED)
		cl_session_lost(c);
	if (s->number == 0) {	/* lost, maybe while this was under way: nobody asks for another */
		if (is_alive(c))
			session_open(c);
		return;
	}
	if (call->rc < 0 || !reply) {
		loop_timer_start(c->options.loop, &s->timer, 100);
		return;
	}
	bool restarted = reply->stamp && reply->stamp->term > s->term && s->term != 0;
	term_ends(c, reply);
	if (reply->credit_bytes > s->credit_bytes || reply->space_unknown)
		s->short_since_ns = 0;		/* it is not known to be full */
	s->credit_bytes = reply->credit_bytes;
	if (c->blocks && reply->map_version > map_version(blocks_map(c->blocks)))
		blocks_map_refresh(c->blocks);
	if (restarted)
		term_began(c);
	if (restarted || (s->is_reclaiming && !s->is_claim_sent))
		cl_session_reclaim(c);
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
	cl_quota_lost(c);
	cl_node_drop_leases(c);
	cl_locks_fence(c);
	if (is_alive(c))
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
	cl_session_drop_requests(c);
}
