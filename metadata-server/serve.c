/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a metadata server and of its batches.
 *
 * Keeps: I4 (an answer that promises durability waits for it), I11 (answers outstanding are bounded
 * by the credits of rpc and by what step parks), and the order of step.h: what leaves for a session
 * leaves in the order it came, after the journal has what it tells of.
 *
 * When the journal or the rows refuse, nothing changes any more (is_failed): what step has decided
 * and could not be kept is answered with an error, further changes are refused, reads go on.
 */
#include "metadata-server/serve_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "fs/base/log.h"
#include "fs/base/metrics.h"
#include "metadata-server/snapshot.h"

#define LOG_MODULE "serve"

/* --- answers ---------------------------------------------------------------------------------- */

static void pending_free(struct ms_server *s, struct ms_pending *p)
{
	DL_DELETE(s->pendings, p);
	if (p->wait_durable && p->is_answered)
		s->waiting--;
	buf_put(p->bulk);
	free(p->storage);
	free(p);
}

static void pending_send(struct ms_server *s, struct ms_pending *p)
{
	if (p->stamp) {
		p->stamp->term = s->term;
		p->stamp->number = p->number;
		p->stamp->durable = ms_journal_durable(s->journal);
		p->stamp->collection = ms_collection_epoch(s->state);
	}
	rpc_answer_epoch(p->req, p->rc, p->message, p->bulk, map_version(ms_state_map(s->state)),
			 false);
	pending_free(s, p);
}

/* An answer without a message, whatever was built before. */
static void pending_refuse(struct ms_server *s, struct ms_pending *p, int rc)
{
	p->rc = rc;
	p->message = NULL;
	p->stamp = NULL;
	buf_put(p->bulk);
	p->bulk = NULL;
	pending_send(s, p);
}

/* --- failure ---------------------------------------------------------------------------------- */

static void server_fail(struct ms_server *s, int rc, const char *what)
{
	if (s->is_failed)
		return;
	s->is_failed = true;
	ms_state_freeze(s->state);
	log_error("%s: %s; changes are refused from now on, reads go on; mend it and restart", what,
		  error_text(rc));
}

/* What waits for durability will not get it. */
static void fail_waiting(struct ms_server *s)
{
	struct ms_pending *p, *next;

	DL_FOREACH_SAFE(s->pendings, p, next)
		if (p->is_answered && p->wait_durable && p->out.kind == 0)
			pending_refuse(s, p, -E_IO);
}

/* --- space ------------------------------------------------------------------------------------ */

/* 5 % of the disk, within reason, stay free for what frees. */
static uint64_t disk_reserve_bytes(const struct disk_space *space)
{
	return MAX_OF(MIN_OF(space->bytes_total / 20, GiB(1)), SERVE_RESERVE_BYTES_MIN);
}

static bool is_disk_nearly_full(struct ms_server *s)
{
	struct disk *disks[MS_JOURNAL_DIRS_MAX];
	uint32_t count = ms_journal_disks(s->journal, disks);
	struct disk_space space;
	bool is_nearly = false, is_full = false;

	for (uint32_t i = 0; i < count; i++) {
		if (disk_space(disks[i], &space) < 0)
			continue;
		is_nearly |= space.bytes_free < disk_reserve_bytes(&space);
		is_full |= space.bytes_free < SERVE_LAST_BYTES &&
			   !ms_journal_has_reserve(s->journal, disks[i]);
	}
	s->is_disk_full = is_full;
	return is_nearly;
}

uint64_t ms_server_room_bytes(struct ms_server *s)
{
	struct disk *disks[MS_JOURNAL_DIRS_MAX];
	uint32_t count = ms_journal_disks(s->journal, disks);
	uint64_t room = UINT64_MAX;

	for (uint32_t i = 0; i < count; i++) {
		struct disk_space space;
		uint64_t reserve;

		if (disk_space(disks[i], &space) < 0)
			continue;	/* the write itself will tell */
		reserve = disk_reserve_bytes(&space) / 2;
		room = MIN_OF(room, space.bytes_free > reserve ? space.bytes_free - reserve : 0);
	}
	return room;
}

static bool is_full(struct ms_server *s)
{
	uint64_t rows_max = s->options.rows_bytes_max;

	/* The disk is always looked at: it tells two things. */
	return is_disk_nearly_full(s) || s->is_rows_full ||
	       (rows_max > 0 && rows_bytes(s->options.rows) > rows_max / 20 * 19);
}

/* Before the reserve is used up: growth is measured, not only time. */
static void space_check(struct ms_server *s)
{
	bool full = is_full(s);

	if (!full)
		ms_journal_reserve(s->journal);
	s->unmeasured_bytes = 0;
	if (full != s->is_nearly_full)
		log_warn(full ? "metadata space is nearly used up: only what frees is admitted"
				 : "metadata space is free again");
	s->is_nearly_full = full;
}

/* --- the rows --------------------------------------------------------------------------------- */

/*
 * A full disk is no end: the overlay has all, and only what frees is admitted until there is room.
 * What the overlay can grow to is bounded by the room of the journal.
 */
static int rows_refused(struct ms_server *s, int rc)
{
	rows_abort(s->options.rows);
	if (rc != -E_NOSPC) {
		server_fail(s, rc, "cannot keep the rows");
		return rc;
	}
	if (!s->is_nearly_full)
		log_warn("no room for the rows: only what frees is admitted");
	s->is_nearly_full = s->is_rows_full = true;
	ms_journal_reserve_take(s->journal);
	loop_timer_start(s->options.loop, &s->rows_timer, SERVE_ROWS_MS);
	return rc;
}

/*
 * The journal is the truth, and whoever reads looks into the overlay first. So many batches share
 * one transaction of the rows; what a crash takes from the overlay, the next start replays.
 */
int ms_server_rows_keep(struct ms_server *s)
{
	int rc;

	loop_timer_stop(s->options.loop, &s->rows_timer);
	if (s->unkept_bytes == 0 || s->is_failed)
		return s->is_failed ? -E_IO : 0;
	rc = ms_txn_write(s->txn);
	if (rc >= 0)
		rc = ms_snapshot_set_applied(s->options.rows, s->term, s->number);
	if (rc >= 0)
		rc = rows_commit(s->options.rows);
	if (rc < 0)
		return rows_refused(s, rc);
	ms_txn_forget(s->txn);
	s->unkept_bytes = 0;
	s->is_rows_full = false;
	return 0;
}

static void rows_due(struct loop_timer *timer)
{
	struct ms_server *s = container_of(timer, struct ms_server, rows_timer);

	/*
	 * Records of a batch under way are not in the journal yet: its end comes here in this turn.
	 */
	if (s->records_len > 0)
		loop_timer_start(s->options.loop, timer, SERVE_ROWS_MS);
	else
		ms_server_rows_keep(s);	/* says why by itself */
}

/* --- the batch -------------------------------------------------------------------------------- */

static int batch_keep(struct ms_server *s)
{
	int rc = ms_journal_append(s->journal, s->records, s->records_len, s->number, s->term);

	if (rc < 0) {
		server_fail(s, rc, "cannot write the journal");
		return rc;
	}
	s->snapshotter.journal_bytes += s->records_len;
	s->unmeasured_bytes += s->records_len;
	if (s->unmeasured_bytes >= (s->is_nearly_full ? SERVE_LAST_BYTES / 8 : SERVE_BATCH_BYTES))
		space_check(s);
	s->unkept_bytes += s->records_len;
	if (s->unkept_bytes >= SERVE_ROWS_BYTES) {
		rc = ms_server_rows_keep(s);
		return rc == -E_NOSPC ? 0 : rc;	/* the journal has it */
	}
	if (!s->rows_timer.is_active)
		loop_timer_start(s->options.loop, &s->rows_timer, SERVE_ROWS_MS);
	return 0;
}

static void out_reply(struct ms_server *s, struct ms_pending *p, int kept)
{
	p->out.kind = 0;	/* it is in no batch any more */
	if (p->is_change && kept < 0) {
		/*
		 * Not what the disk said: "no space" would say that nothing has changed, and reads
		 * show the change.
		 */
		pending_refuse(s, p, -E_IO);
		return;
	}
	if (p->wait_durable && p->number > ms_journal_durable(s->journal)) {
		if (s->is_failed)
			pending_refuse(s, p, -E_IO);
		return;
	}
	pending_send(s, p);
}

static void batch_send(struct ms_server *s, int kept)
{
	struct ms_out *out, *next, *batch = s->batch;

	s->batch = NULL;
	DL_FOREACH_SAFE(batch, out, next) {
		switch (out->kind) {
		case MS_OUT_REPLY:
			out_reply(s, container_of(out, struct ms_pending, out), kept);
			break;
		case MS_OUT_RECALL:
			ms_serve_session_send(s, container_of(out, struct ms_recall, out));
			break;
		case MS_OUT_GRANT:
			ms_serve_session_send_grant(s, container_of(out, struct ms_grant, out));
			break;
		case MS_OUT_FENCE:
			ms_serve_session_end(s, container_of(out, struct ms_fence, out)->session,
					     true);
			free(container_of(out, struct ms_fence, out));
			break;
		}
	}
}

static void batch_end(struct ms_server *s)
{
	int kept = 0;

	if (s->records_len > 0)
		kept = s->is_failed ? -E_IO : batch_keep(s);
	s->records_len = 0;
	batch_send(s, kept);
	if (s->waiting > 0 || s->reserve_number > 0 || s->snapshotter.is_written)
		ms_journal_sync(s->journal);
	if (s->is_failed)
		fail_waiting(s);
}

static void batch_task_run(struct loop_task *task)
{
	struct ms_server *s = container_of(task, struct ms_server, batch_task);

	s->is_batch_posted = false;
	if (s->is_dead) {
		ms_server_free(s);
		return;
	}
	batch_end(s);
	ms_server_stop_check(s);
}

static void batch_post(struct ms_server *s)
{
	if (s->is_batch_posted)
		return;
	s->is_batch_posted = true;
	s->batch_task.run = batch_task_run;
	loop_post(s->options.loop, &s->batch_task);
}

static void batch_add(struct ms_server *s, struct ms_out *out, enum ms_out_kind kind)
{
	out->kind = kind;
	DL_APPEND(s->batch, out);
	batch_post(s);
}

/* --- events ----------------------------------------------------------------------------------- */

static void effect_reply(struct ms_server *s, const struct ms_effect *effect)
{
	struct ms_pending *p = (void *)(uintptr_t)effect->token;
	const struct ms_reply *reply = &effect->reply;

	if (!p)
		return;		/* an event of our own */
	ASSERT(p->server == s && !p->is_answered);
	p->is_answered = true;
	if (!p->req) {		/* refused when the server began to stop */
		pending_free(s, p);
		return;
	}
	p->rc = reply->rc;
	p->wait_durable = reply->wait_durable;
	s->waiting += p->wait_durable;
	p->number =
		reply->resent && reply->number == 0 ? s->number : MIN_OF(reply->number, s->number);
	ms_serve_reply(s, p, reply);
	if (reply->rc == 0 && (p->op == MSG_SESSION_OPEN || p->op == MSG_SESSION_RENEW))
		ms_serve_session_bind(s, reply->session ? reply->session : p->req->header.session,
				      p->req->peer);
	else if (reply->rc == 0 && p->op == MSG_SESSION_CLOSE)
		ms_serve_session_end(s, p->req->header.session, false);
	s->event_replies++;
	batch_add(s, &p->out, MS_OUT_REPLY);
}

static void effect_fenced(struct ms_server *s, session_no session)
{
	struct ms_fence *fence = calloc(1, sizeof(*fence));

	if (!fence) {
		ms_serve_session_end(s, session, true);
		return;
	}
	fence->session = session;
	batch_add(s, &fence->out, MS_OUT_FENCE);
}

static void take_effect(void *arg, const struct ms_effect *effect)
{
	struct ms_server *s = arg;
	struct ms_recall *recall;
	struct ms_grant *grant;

	switch (effect->kind) {
	case MS_FX_REPLY:
		effect_reply(s, effect);
		break;
	case MS_FX_RECALL:
		recall = ms_serve_session_recall(s, effect);
		if (recall)
			batch_add(s, &recall->out, MS_OUT_RECALL);
		break;
	case MS_FX_LOCK_GRANTED:
		grant = ms_serve_session_grant(s, effect);
		if (grant)
			batch_add(s, &grant->out, MS_OUT_GRANT);
		break;
	case MS_FX_FENCED:
		effect_fenced(s, effect->session);
		break;
	case MS_FX_MAP:
		s->map_number = s->number + 1;	/* of this event's record */
		ms_mover_map_changed(s->mover);
		ms_collector_map_changed(s->collector);
		break;
	case MS_FX_MOVE_INLINE:
		ms_mover_add(s->mover, effect->ino, effect->version);
		break;
	case MS_FX_RESERVE:
		s->wants_reserve = true;
		break;
	case MS_FX_TICK:
		loop_timer_start(s->options.loop, &s->tick, 0);
		break;
	}
}

/* The event's changes become a record of the batch; its number, or an error. */
static int event_encode(struct ms_server *s, const struct ms_event *event)
{
	uint64_t lag = s->number + 1 - ms_journal_durable(s->journal);
	uint8_t *record = s->records + s->records_len;
	struct journal_header h = {
		.term = s->term, .number = s->number + 1, .wall_ns = event->wall_ns,
		.event_kind = (uint16_t)((unsigned)event->kind << 8 | (event->req.op & 0xffu)),
		.lag = lag <= UINT16_MAX ? (uint16_t)lag : 0,
	};
	int rc = ms_txn_event_encode(s->txn, record, (uint32_t)JOURNAL_RECORD_BYTES_MAX,
				     &h.change_count);

	if (rc < 0)
		return rc;
	h.payload_len = (uint32_t)rc;
	journal_record_finish(record, &h);
	s->records_len += JOURNAL_HEADER_BYTES + h.payload_len;
	s->number++;
	return 0;
}

/* The replies of this event stand at the batch's end: tell them what became of its changes. */
static void event_stamp(struct ms_server *s, int rc)
{
	struct ms_out *out = s->batch ? s->batch->prev : NULL;

	while (s->event_replies > 0) {
		struct ms_pending *p;
		ASSERT(out);
		if (out->kind == MS_OUT_REPLY) {
			p = container_of(out, struct ms_pending, out);
			p->is_change = true;
			if (rc < 0) {
				p->rc = rc;
				p->message = NULL;
				p->stamp = NULL;
			} else if (p->number == 0) {
				p->number = s->number;
			}
			s->event_replies--;
		}
		out = out->prev;
	}
}

static bool shows_state(uint16_t op)
{
	return op != MSG_SESSION_RENEW && op != MSG_FSYNC && op != MSG_JOIN && op != MSG_HEARTBEAT;
}

/*
 * The event changed nothing, but its replies show what others changed, maybe not durable yet: who
 * was told of that must be told as well if a power failure takes it (D3).
 */
static void event_seen(struct ms_server *s)
{
	struct ms_out *out = s->batch ? s->batch->prev : NULL;

	while (s->event_replies > 0) {
		struct ms_pending *p;
		ASSERT(out);
		if (out->kind == MS_OUT_REPLY) {
			p = container_of(out, struct ms_pending, out);
			if (p->number == 0 && shows_state(p->op))
				p->number = s->number;
			s->event_replies--;
		}
		out = out->prev;
	}
}

void ms_server_event(struct ms_server *s, struct ms_event *event)
{
	int rc;

	event->now_ms = loop_now_ms(s->options.loop);
	event->wall_ns = loop_wall_ns(s->options.loop);
	s->event_replies = 0;
	METRIC_INC(events);
	ms_step(s->state, event, take_effect, s);
	if (ms_txn_event_changes(s->txn) > 0) {
		rc = s->is_failed ? -E_IO : event_encode(s, event);
		if (rc < 0) {
			ms_txn_event_abort(s->txn);
			server_fail(s, rc, "cannot encode a journal record");
		}
		event_stamp(s, rc);
		batch_post(s);
	} else {
		event_seen(s);
	}
	if (s->records_len >= SERVE_BATCH_BYTES)
		batch_end(s);
}

static void own_event(struct ms_server *s, struct ms_event *event)
{
	ms_server_event(s, event);
	if (!s->wants_reserve || s->is_failed || s->reserve_number > 0)
		return;
	s->wants_reserve = false;
	ms_server_event(s, &(struct ms_event){ .kind = MS_EV_RESERVE });
	s->reserve_number = s->number;
}

/* The range of inode numbers is durable: use it. */
static void reserve_durable(struct ms_server *s)
{
	if (s->reserve_number == 0 || s->reserve_number > ms_journal_durable(s->journal))
		return;
	s->reserve_number = 0;
	own_event(s, &(struct ms_event){ .kind = MS_EV_RESERVE, .req.flags = 1 });
}

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
	batch_add(s, &p->out, MS_OUT_REPLY);
}

/* A chunk server has heard a later term: mkfs.cairn --recover made another in our place. */
static bool is_replaced(struct ms_server *s, const struct rpc_request *req)
{
	const Wire__Join *join = (const Wire__Join *)(const void *)req->msg;

	if (req->header.type != MSG_JOIN || join->term <= s->term)
		return false;
	server_fail(s, -E_FENCED,
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
	own_event(s, &event);
}

static void on_lost(void *arg, struct rpc_peer *peer)
{
	ms_serve_session_lost(arg, peer);
}

static void on_durable(void *arg, int rc)
{
	struct ms_server *s = arg;
	struct ms_pending *p, *next;

	if (rc < 0) {
		server_fail(s, rc, "no journal directory is left");
		fail_waiting(s);
	}
	DL_FOREACH_SAFE(s->pendings, p, next)
		if (p->wait_durable && p->is_answered && p->out.kind == 0 &&
		    p->number <= ms_journal_durable(s->journal))
			pending_send(s, p);
	reserve_durable(s);
	ms_serve_snapshot_durable(s);
	ms_server_stop_check(s);
}

/* --- the tick --------------------------------------------------------------------------------- */

static void tick(struct loop_timer *timer)
{
	struct ms_server *s = container_of(timer, struct ms_server, tick);

	loop_timer_start(s->options.loop, timer, SERVE_TICK_MS);
	space_check(s);
	own_event(s, &(struct ms_event){ .kind = MS_EV_TICK });
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
	own_event(s, &event);
	batch_end(s);
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
	s->rows_timer.fn = rows_due;
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
	ms_server_rows_keep(s);	/* else the next start replays */
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
	batch_post(s);		/* stopped() never runs inside this call */
}

/* A task that was posted, or a worker, may still come back to us. */
void ms_server_free(struct ms_server *s)
{
	if (!s->is_batch_posted && !s->snapshotter.is_running)
		free(s);
}

static void drop_batch(struct ms_server *s)
{
	struct ms_out *out, *next;

	DL_FOREACH_SAFE(s->batch, out, next) {
		if (out->kind == MS_OUT_FENCE)
			free(container_of(out, struct ms_fence, out));
	}
	s->batch = NULL;
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
	drop_batch(s);
	DL_FOREACH_SAFE(s->pendings, p, next) {
		if (p->req)
			rpc_answer(p->req, -E_SHUTDOWN, NULL, NULL);
		pending_free(s, p);
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
