/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a metadata server: what begins and ends with it, requests as they come in, the tick.
 *
 * Keeps: I11 (answers outstanding are bounded by the credits of rpc and by what step parks).
 */
#include "metadata-server/serve_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

/* --- requests --------------------------------------------------------------------------------- */

static int admit(struct ms_server *s, uint16_t op)
{
	if (s->is_stopping)
		return -E_SHUTDOWN;
	if (s->is_failed && ms_serve_request_changes(op))
		return -E_ROFS;
	if (s->is_nearly_full && ms_serve_request_grows(op))
		return -E_NOSPC;
	if (s->is_disk_full && ms_serve_request_changes(op))
		return -E_NOSPC;	/* what is left is for the server's own records */
	return 0;
}

static struct ms_pending *pending_create(struct ms_server *s, struct rpc_request *req, uint16_t op)
{
	struct ms_pending *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->server = s;
	p->req = req;
	p->op = op;
	DL_APPEND(s->pendings, p);
	return p;
}

/*
 * What step has no part in. A row of the map that a power failure takes back would come again with
 * the same epoch and other servers (I10), so rows are told when they are durable.
 */
static void answer_view(struct ms_server *s, struct ms_pending *p)
{
	p->is_answered = true;
	if (p->op == MSG_MAP_GET) {
		ms_serve_reply_map(s, p, (const Wire__MapGet *)(const void *)p->req->msg);
		p->number = s->map_number;
		p->wait_durable = true;
		s->waiting++;
	} else if (p->op == MSG_LOCK_LIST) {
		ms_serve_reply_locks(s, p, (const Wire__LockList *)(const void *)p->req->msg);
	} else if (p->op == MSG_GC) {
		ms_serve_reply_gc(s, p, (const Wire__Gc *)(const void *)p->req->msg);
	} else {
		ms_serve_reply_status(s, p);
	}
	ms_serve_batch_add(s, &p->out, MS_OUT_REPLY);
}

/* A chunk server has heard a later term: mkfs.cairn --recover made another in our place. */
static bool is_replaced(struct ms_server *s, const struct rpc_request *req)
{
	const Wire__Join *join = (const Wire__Join *)(const void *)req->msg;

	if (req->header.type != MSG_JOIN || join->term <= s->term)
		return false;
	ms_serve_fail(s, -E_FENCED,
		    "a newer metadata server of this cluster was recovered elsewhere, or this is "
		    "an old backup; stop this one");
	return true;
}

static void on_request(void *arg, struct rpc_request *req)
{
	struct ms_server *s = arg;
	struct ms_event event = { .kind = MS_EV_REQUEST };
	struct ms_pending *p;
	int refused = is_replaced(s, req) ? -E_FENCED : admit(s, req->header.type), rc = refused;

	if (refused >= 0 || refused == -E_NOSPC)
		rc = ms_serve_request(s, req, &event.req);
	if (refused == -E_NOSPC && rc >= 0 && !ms_state_has_heard(s->state, &event.req))
		rc = refused;
	p = rc >= 0 ? pending_create(s, req, req->header.type) : NULL;
	if (!p) {
		rpc_answer(req, rc < 0 ? rc : -E_NOMEM, NULL, NULL);
		return;
	}
	if (p->op == MSG_MAP_GET || p->op == MSG_STATUS || p->op == MSG_GC ||
	    p->op == MSG_LOCK_LIST) {
		answer_view(s, p);
		return;
	}
	event.token = (uint64_t)(uintptr_t)p;
	ms_serve_own_event(s, &event);
}

static void on_lost(void *arg, struct rpc_peer *peer)
{
	ms_serve_session_lost(arg, peer);
}

static void on_durable(void *arg, int rc)
{
	struct ms_server *s = arg;

	ms_serve_batch_durable(s, rc);
	ms_serve_snapshot_durable(s);
	ms_server_stop_check(s);
}

/* --- the tick --------------------------------------------------------------------------------- */

static void tick(struct loop_timer *timer)
{
	struct ms_server *s = container_of(timer, struct ms_server, tick);

	loop_timer_start(s->options.loop, timer, SERVE_TICK_MS);
	ms_serve_space_check(s);
	ms_serve_own_event(s, &(struct ms_event){ .kind = MS_EV_TICK });
	ms_serve_snapshot_tick(s);
	ms_copies_tick(s->copies);
	ms_collector_tick(s->collector);
}

/* --- life ------------------------------------------------------------------------------------- */

/* The first record of the term, durable before anything else of the term is said. */
static int term_begin(struct ms_server *s, struct error *err)
{
	struct ms_event event = {.kind = MS_EV_TERM, .req.term = s->term, .req.number = s->number};
	int rc;

	s->is_batch_posted = true;	/* it ends here, not in the loop */
	ms_serve_own_event(s, &event);
	ms_serve_batch_end(s);
	s->is_batch_posted = false;
	rc = s->is_failed ? -E_IO : ms_journal_sync_now(s->journal);
	return rc < 0 ? error_set(err, rc, "cannot begin term %" PRIu64 " in the journal", s->term)
		      : 0;
}

static int listen_begin(struct ms_server *s, struct error *err)
{
	const struct ms_server_options *o = &s->options;
	const struct super *super = &s->recovery.super;
	struct rpc_options rpc = {
		.loop = o->loop, .net = o->net, .pool = o->pool, .role = RPC_METADATA_SERVER,
		.name = o->name, .boot_id = o->boot_id, .hash = super->hash,
		.copies = super->copies, .min_copies = super->min_copies,
		.incompat = super->incompat, .on_request = on_request, .on_lost = on_lost, .arg = s,
	};
	int rc;

	memcpy(rpc.cluster, super->cluster, sizeof(rpc.cluster));
	rc = rpc_create(&rpc, &s->rpc);
	if (rc < 0)
		return error_set(err, rc, "cannot begin to serve");
	rc = rpc_listen(s->rpc, o->listen, err);
	if (rc < 0)
		return rc;
	rc = ms_mover_create(s, &s->mover);
	if (rc < 0)
		return error_set(err, rc, "cannot begin to move inline content");
	rc = ms_copies_create(s, o->metadata_copies, &s->copies);
	if (rc < 0)
		return error_set(err, rc, "cannot begin to copy the metadata");
	rc = ms_collector_create(s, o->gc_ms, o->gc_grace_ms, &s->collector);
	return rc < 0 ? error_set(err, rc, "cannot begin to collect garbage") : 0;
}

static int server_begin(struct ms_server *s, struct error *err)
{
	const struct ms_recover_options recover = {
		.loop = s->options.loop, .disks = s->options.disks,
		.disk_count = s->options.disk_count, .rows = s->options.rows,
		.journal_file_bytes_max = s->options.journal_file_bytes_max,
		.is_locked = s->options.is_locked,
	};
	int rc = ms_recover(&recover, &s->recovery, err);

	if (rc < 0)
		return rc;
	s->journal = s->recovery.journal;
	s->txn = s->recovery.txn;
	s->term = s->recovery.term + 1;
	s->number = s->recovery.number;
	s->config.copies = s->recovery.super.copies;
	s->config.min_copies = s->recovery.super.min_copies;
	s->config.name_key = s->recovery.super.name_key;
	s->config.with_acl = (s->recovery.super.incompat & SUPER_INCOMPAT_ACL) != 0;
	s->records = malloc(SERVE_BATCH_BYTES + JOURNAL_RECORD_BYTES_MAX);
	s->leases = calloc(SERVE_LEASES_MAX, sizeof(*s->leases));
	s->locks = calloc(SERVE_CLAIMS_MAX, sizeof(*s->locks));
	if (!s->records || !s->leases || !s->locks)
		return error_set(err, -E_NOMEM, "cannot begin to serve");
	rc = ms_state_create(&s->config, s->txn, &s->state);
	if (rc < 0)
		return error_set(err, rc, "cannot read the state");
	rc = ms_journal_begin_term(s->journal, s->term);
	if (rc < 0)
		return error_set(err, rc, "cannot begin a journal file");
	rc = term_begin(s, err);
	if (rc < 0)
		return rc;
	ms_serve_snapshot_init(s);
	ms_journal_watch(s->journal, on_durable, s);
	return listen_begin(s, err);
}

int ms_server_create(const struct ms_server_options *options, struct ms_server **out,
		     struct error *err)
{
	struct ms_server *s = calloc(1, sizeof(*s));
	int rc;

	if (!s)
		return error_set(err, -E_NOMEM, "cannot begin to serve");
	s->options = *options;
	s->config = options->config;
	s->tick.fn = tick;
	ms_serve_space_init(s);
	rc = server_begin(s, err);
	if (rc < 0) {
		ms_server_destroy(s);
		return rc;
	}
	loop_timer_start(s->options.loop, &s->tick, SERVE_TICK_MS);
	*out = s;
	return 0;
}

const char *ms_server_address(const struct ms_server *s)
{
	return rpc_listen_address(s->rpc);
}

void ms_server_stop_check(struct ms_server *s)
{
	void (*stopped)(void *arg) = s->stopped;

	if (!stopped || s->is_batch_posted || s->snapshotter.is_running ||
	    !ms_copies_is_idle(s->copies) || !ms_collector_is_idle(s->collector))
		return;
	if (!s->is_failed && ms_journal_durable(s->journal) < ms_journal_last(s->journal)) {
		ms_journal_sync(s->journal);
		return;
	}
	ms_serve_rows_keep(s);	/* else the next start replays */
	s->stopped = NULL;
	stopped(s->stopped_arg);
}

void ms_server_stop(struct ms_server *s, void (*stopped)(void *arg), void *arg)
{
	struct ms_pending *p, *next;

	ASSERT(!s->is_stopping);
	s->is_stopping = true;
	loop_timer_stop(s->options.loop, &s->tick);
	/* what step holds; what it answered leaves as ever */
	DL_FOREACH_SAFE(s->pendings, p, next)
		if (!p->is_answered && p->req) {
			rpc_answer(p->req, -E_SHUTDOWN, NULL, NULL);
			p->req = NULL;
		}
	s->stopped = stopped;
	s->stopped_arg = arg;
	ms_serve_batch_post(s);		/* stopped() never runs inside this call */
}

/* A task that was posted, or a worker, may still come back to us. */
void ms_server_free(struct ms_server *s)
{
	if (!s->is_batch_posted && !s->snapshotter.is_running)
		free(s);
}

void ms_server_destroy(struct ms_server *s)
{
	struct ms_pending *p, *next;

	if (!s)
		return;
	s->is_dead = true;
	loop_timer_stop(s->options.loop, &s->tick);
	loop_timer_stop(s->options.loop, &s->rows_timer);
	if (s->journal)
		ms_journal_watch(s->journal, NULL, NULL);
	ms_serve_batch_drop(s);
	DL_FOREACH_SAFE(s->pendings, p, next) {
		if (p->req)
			rpc_answer(p->req, -E_SHUTDOWN, NULL, NULL);
		ms_serve_pending_free(s, p);
	}
	ms_mover_destroy(s->mover);
	ms_collector_destroy(s->collector);
	ms_copies_destroy(s->copies);
	ms_serve_session_finish(s);
	rpc_destroy(s->rpc);
	ms_state_destroy(s->state);
	ms_recover_close(&s->recovery);
	free(s->records);
	free(s->leases);
	free(s->locks);
	ms_server_free(s);
}
