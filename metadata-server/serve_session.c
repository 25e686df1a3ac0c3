/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions and the connections they were last heard on; recalls and locks on their way to them.
 *
 * A recall that cannot be delivered, or is not answered, is forgotten here: step asks again, and
 * fences whoever never answers (I5).
 */
#define HASH_NONFATAL_OOM 1
#include "metadata-server/serve_internal.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "fs/base/log.h"
#include "fs/base/metrics.h"

#define LOG_MODULE "session"

static struct ms_binding *binding_find(struct ms_server *s, session_no session)
{
	struct ms_binding *b;

	HASH_FIND(hh, s->bindings, &session, sizeof(session), b);
	return b;
}

static void binding_free(struct ms_server *s, struct ms_binding *b)
{
	HASH_DEL(s->bindings, b);
	free(b);
}

/* Out of memory: the session is as good as not connected, and step will fence it if it matters. */
void ms_serve_session_bind(struct ms_server *s, session_no session, struct rpc_peer *peer)
{
	struct ms_binding *b = binding_find(s, session);

	if (!b && peer) {
		b = calloc(1, sizeof(*b));
		if (!b)
			return;
		b->session = session;
		HASH_ADD(hh, s->bindings, session, sizeof(session), b);
		if (!b->hh.tbl) {
			free(b);
			return;
		}
	}
	if (peer)
		b->peer = peer;
}

void ms_serve_session_lost(struct ms_server *s, struct rpc_peer *peer)
{
	struct ms_binding *b, *next;

	HASH_ITER(hh, s->bindings, b, next)
		if (b->peer == peer)
			binding_free(s, b);
}

void ms_serve_session_end(struct ms_server *s, session_no session, bool is_fenced)
{
	struct ms_binding *b = binding_find(s, session);
	struct rpc_peer *peer = b ? b->peer : NULL;

	if (!b)
		return;
	binding_free(s, b);
	if (is_fenced)
		rpc_peer_drop(peer);
}

/* --- recalls ---------------------------------------------------------------------------------- */

static void recall_free(struct ms_recall *recall)
{
	DL_DELETE(recall->server->recalls, recall);
	recall->server->recall_count--;
	free(recall);
}

struct ms_recall *ms_serve_session_recall(struct ms_server *s, const struct ms_effect *effect)
{
	struct ms_recall *recall =
		s->recall_count < SERVE_RECALLS_MAX ? calloc(1, sizeof(*recall)) : NULL;

	ASSERT(effect->lease_count <= MS_REPLY_LEASES_MAX);
	if (!recall) {
		log_warn("cannot recall a lease now: too many recalls are under way");
		return NULL;
	}
	METRIC_INC(recalls);
	recall->server = s;
	recall->session = effect->session;
	recall->token = effect->token;
	recall->lease_count = effect->lease_count;
	memcpy(recall->leases, effect->leases, effect->lease_count * sizeof(*recall->leases));
	DL_APPEND(s->recalls, recall);
	s->recall_count++;
	return recall;
}

/* What the client said it keeps of what we asked for, never more than we left it. */
static void take_kept(struct ms_recall *recall, const Wire__RecallReply *reply)
{
	for (uint32_t i = 0; i < recall->lease_count; i++) {
		struct ms_lease *lease = &recall->leases[i];
		uint32_t kept = MS_LEASE_NONE;
		for (size_t k = 0; k < reply->n_kept; k++)
			if (reply->kept[k]->ino == lease->ino &&
			    reply->kept[k]->name_hash == lease->name_hash)
				kept = reply->kept[k]->mode;
		lease->mode = (enum ms_lease_mode)MIN_OF(kept, (uint32_t)lease->mode);
	}
}

static void recall_done(struct rpc_call *call)
{
	struct ms_recall *recall = container_of(call, struct ms_recall, call);
	struct ms_event event = { .kind = MS_EV_RECALL_ANSWER, .token = recall->token };

	if (call->rc == 0) {
		take_kept(recall, (const Wire__RecallReply *)(const void *)call->reply);
		event.req.session = recall->session;
		event.req.leases = recall->leases;
		event.req.lease_count = recall->lease_count;
		ms_serve_event(recall->server, &event);
	}
	recall_free(recall);
}

void ms_serve_session_send(struct ms_server *s, struct ms_recall *recall)
{
	struct ms_binding *b = binding_find(s, recall->session);
	Wire__Lease leases[MS_REPLY_LEASES_MAX], *list[MS_REPLY_LEASES_MAX];
	Wire__Recall m = WIRE__RECALL__INIT;

	recall->out.kind = 0;
	if (!b) {
		recall_free(recall);
		return;
	}
	for (uint32_t i = 0; i < recall->lease_count; i++) {
		wire__lease__init(&leases[i]);
		leases[i].ino = recall->leases[i].ino;
		leases[i].name_hash = recall->leases[i].name_hash;
		leases[i].mode = recall->leases[i].mode;
		leases[i].owner = recall->leases[i].owner;
		list[i] = &leases[i];
	}
	m.n_leases = recall->lease_count;
	m.leases = list;
	recall->call.type = MSG_RECALL;
	recall->call.request = &m.base;
	recall->call.deadline_ms = (uint32_t)s->config.lease_ms;
	recall->call.session = recall->session;
	recall->call.done = recall_done;
	recall->is_sent = true;
	rpc_call(b->peer, &recall->call);
}

/* --- locks that were waited for --------------------------------------------------------------- */

static void grant_free(struct ms_grant *grant)
{
	DL_DELETE(grant->server->grants, grant);
	grant->server->grant_count--;
	free(grant);
}

struct ms_grant *ms_serve_session_grant(struct ms_server *s, const struct ms_effect *effect)
{
	struct ms_grant *grant =
		s->grant_count < SERVE_RECALLS_MAX ? calloc(1, sizeof(*grant)) : NULL;

	if (!grant)
		return NULL;
	grant->server = s;
	grant->session = effect->session;
	grant->wait = effect->token;
	DL_APPEND(s->grants, grant);
	s->grant_count++;
	return grant;
}

static void grant_done(struct rpc_call *call)
{
	struct ms_grant *grant = container_of(call, struct ms_grant, call);
	struct ms_event event = { .kind = MS_EV_LOCK_ANSWER, .token = grant->wait };

	if (call->rc == 0) {
		event.req.session = grant->session;
		event.req.flags =
			((const Wire__LockGrantedReply *)(const void *)call->reply)->taken;
		ms_serve_event(grant->server, &event);
	}
	grant_free(grant);
}

void ms_serve_session_send_grant(struct ms_server *s, struct ms_grant *grant)
{
	struct ms_binding *b = binding_find(s, grant->session);
	Wire__LockGranted m = WIRE__LOCK_GRANTED__INIT;

	grant->out.kind = 0;
	if (!b) {
		grant_free(grant);
		return;
	}
	m.wait = grant->wait;
	grant->call.type = MSG_LOCK_GRANTED;
	grant->call.request = &m.base;
	grant->call.deadline_ms = (uint32_t)s->config.lease_ms;
	grant->call.session = grant->session;
	grant->call.done = grant_done;
	grant->is_sent = true;
	rpc_call(b->peer, &grant->call);
}

void ms_serve_session_finish(struct ms_server *s)
{
	struct ms_binding *b, *b_next;
	struct ms_recall *recall, *next;
	struct ms_grant *grant, *grant_next;

	DL_FOREACH_SAFE(s->grants, grant, grant_next) {
		if (grant->is_sent)
			rpc_cancel(&grant->call);
		grant_free(grant);
	}
	DL_FOREACH_SAFE(s->recalls, recall, next) {
		if (recall->is_sent)
			rpc_cancel(&recall->call);
		recall_free(recall);
	}
	HASH_ITER(hh, s->bindings, b, b_next)
		binding_free(s, b);
}
