/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events, and the batches that what they say leaves in: a turn's records go into the journal at
 * once, then its answers, recalls and fences leave.
 *
 * Keeps: I4 (an answer that promises durability waits for it), and the order of step.h: what leaves
 * for a session leaves in the order it came, after the journal has what it tells of.
 *
 * When the journal or the rows refuse, nothing changes any more (is_failed): what step has decided
 * and could not be kept is answered with an error, further changes are refused, reads go on.
 */
#include "metadata-server/serve_internal.h"

#include <stdlib.h>
#include <utlist.h>

#include "fs/base/log.h"
#include "fs/base/metrics.h"

#define LOG_MODULE "serve"

/* --- answers ---------------------------------------------------------------------------------- */

void ms_serve_pending_free(struct ms_server *s, struct ms_pending *p)
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
	ms_serve_pending_free(s, p);
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

void ms_serve_fail(struct ms_server *s, int rc, const char *what)
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

/* --- the batch -------------------------------------------------------------------------------- */

static int batch_keep(struct ms_server *s)
{
	int rc = ms_journal_append(s->journal, s->records, s->records_len, s->number, s->term);

	if (rc < 0) {
		ms_serve_fail(s, rc, "cannot write the journal");
		return rc;
	}
	s->snapshotter.journal_bytes += s->records_len;
	s->unmeasured_bytes += s->records_len;
	if (s->unmeasured_bytes >= (s->is_nearly_full ? SERVE_LAST_BYTES / 8 : SERVE_BATCH_BYTES))
		ms_serve_space_check(s);
	s->unkept_bytes += s->records_len;
	if (s->unkept_bytes >= SERVE_ROWS_BYTES) {
		rc = ms_serve_rows_keep(s);
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

void ms_serve_batch_end(struct ms_server *s)
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
	ms_serve_batch_end(s);
	ms_server_stop_check(s);
}

void ms_serve_batch_post(struct ms_server *s)
{
	if (s->is_batch_posted)
		return;
	s->is_batch_posted = true;
	s->batch_task.run = batch_task_run;
	loop_post(s->options.loop, &s->batch_task);
}

void ms_serve_batch_add(struct ms_server *s, struct ms_out *out, enum ms_out_kind kind)
{
	out->kind = kind;
	DL_APPEND(s->batch, out);
	ms_serve_batch_post(s);
}

void ms_serve_batch_drop(struct ms_server *s)
{
	struct ms_out *out, *next;

	DL_FOREACH_SAFE(s->batch, out, next) {
		if (out->kind == MS_OUT_FENCE)
			free(container_of(out, struct ms_fence, out));
	}
	s->batch = NULL;
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
		ms_serve_pending_free(s, p);
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
	ms_serve_batch_add(s, &p->out, MS_OUT_REPLY);
}

static void effect_fenced(struct ms_server *s, session_no session)
{
	struct ms_fence *fence = calloc(1, sizeof(*fence));

	if (!fence) {
		ms_serve_session_end(s, session, true);
		return;
	}
	fence->session = session;
	ms_serve_batch_add(s, &fence->out, MS_OUT_FENCE);
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
			ms_serve_batch_add(s, &recall->out, MS_OUT_RECALL);
		break;
	case MS_FX_LOCK_GRANTED:
		grant = ms_serve_session_grant(s, effect);
		if (grant)
			ms_serve_batch_add(s, &grant->out, MS_OUT_GRANT);
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

/*
 * The replies of this event stand at the batch's end: the last that was not taken yet, NULL after
 * all of them. `at`: the batch at first, then the one that was taken last.
 */
static struct ms_pending *event_reply_take(struct ms_server *s, struct ms_out **at)
{
	if (s->event_replies == 0)
		return NULL;
	s->event_replies--;
	do {
		ASSERT(*at);
		*at = (*at)->prev;
	} while ((*at)->kind != MS_OUT_REPLY);
	return container_of(*at, struct ms_pending, out);
}

/* Tell the replies of this event what became of its changes. */
static void event_stamp(struct ms_server *s, int rc)
{
	struct ms_out *at = s->batch;
	struct ms_pending *p;

	while ((p = event_reply_take(s, &at))) {
		p->is_change = true;
		if (rc < 0) {
			p->rc = rc;
			p->message = NULL;
			p->stamp = NULL;
		} else if (p->number == 0) {
			p->number = s->number;
		}
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
	struct ms_out *at = s->batch;
	struct ms_pending *p;

	while ((p = event_reply_take(s, &at)))
		if (p->number == 0 && shows_state(p->op))
			p->number = s->number;
}

void ms_serve_event(struct ms_server *s, struct ms_event *event)
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
			ms_serve_fail(s, rc, "cannot encode a journal record");
		}
		event_stamp(s, rc);
		ms_serve_batch_post(s);
	} else {
		event_seen(s);
	}
	if (s->records_len >= SERVE_BATCH_BYTES)
		ms_serve_batch_end(s);
}

void ms_serve_own_event(struct ms_server *s, struct ms_event *event)
{
	ms_serve_event(s, event);
	if (!s->wants_reserve || s->is_failed || s->reserve_number > 0)
		return;
	s->wants_reserve = false;
	ms_serve_event(s, &(struct ms_event){ .kind = MS_EV_RESERVE });
	s->reserve_number = s->number;
}

/* --- durability ------------------------------------------------------------------------------- */

/* The range of inode numbers is durable: use it. */
static void reserve_durable(struct ms_server *s)
{
	if (s->reserve_number == 0 || s->reserve_number > ms_journal_durable(s->journal))
		return;
	s->reserve_number = 0;
	ms_serve_own_event(s, &(struct ms_event){ .kind = MS_EV_RESERVE, .req.flags = 1 });
}

void ms_serve_batch_durable(struct ms_server *s, int rc)
{
	struct ms_pending *p, *next;

	if (rc < 0) {
		ms_serve_fail(s, rc, "no journal directory is left");
		fail_waiting(s);
	}
	DL_FOREACH_SAFE(s->pendings, p, next)
		if (p->wait_durable && p->is_answered && p->out.kind == 0 &&
		    p->number <= ms_journal_durable(s->journal))
			pending_send(s, p);
	reserve_durable(s);
}
