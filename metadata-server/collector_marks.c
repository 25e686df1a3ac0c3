/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Marks: the first bytes of every id that lives, in numbered batches, to every replica and former
 * holder of its group that takes part. A server that falls behind holds the walks up (I11).
 */
#include <string.h>

#include "metadata-server/collector_internal.h"

#define CALL_MS	     10000u
#define PATIENCE_MS  30000u	/* of one batch, resent */
#define NO_BUFFER_MS 10u

bool ms_collector_marks_have_room(const struct ms_collector *c)
{
	for (uint32_t i = 0; i < c->server_count; i++)
		if (c->servers[i].mark_count + NODE_ENTRIES_MAX + 1 > COLLECTOR_MARKS_MAX)
			return false;
	return true;
}

static void add(struct ms_collector *c, server_no server, const struct block_id *id)
{
	struct collector_server *cs = ms_collector_servers_find(c, server);

	if (!cs)
		return;		/* out or removed: it deletes nothing either */
	ASSERT(cs->mark_count < COLLECTOR_MARKS_MAX);
	memcpy(cs->marks + (size_t)cs->mark_count * COLLECTOR_MARK_BYTES, id->bytes,
	       COLLECTOR_MARK_BYTES);
	cs->mark_count++;
	if (cs->mark_count >= COLLECTOR_BATCH_MARKS && !cs->is_calling && !cs->again.is_active)
		ms_collector_marks_send(cs);
}

void ms_collector_marks_add(struct ms_collector *c, const struct block_id *id)
{
	const struct pg_row *row = &c->rows[block_id_pg(id)];

	c->marks++;
	for (uint32_t i = 0; i < row->replica_count; i++)
		add(c, row->replicas[i], id);
	for (uint32_t i = 0; i < row->former_count; i++)
		add(c, row->formers[i], id);
}

/* --- batches ---------------------------------------------------------------------------------- */

static void batch_done(struct rpc_call *call)
{
	struct collector_server *cs = container_of(call, struct collector_server, call);
	struct ms_collector *c = cs->collector;
	const Wire__CollectMarkReply *reply = (const void *)call->reply;

	cs->is_calling = false;
	if (call->rc < 0) {
		if (!ms_collector_servers_may_retry(cs, call->rc))
			ms_collector_fail(c, call->rc, "server %u does not take marks: %s",
					  cs->server, error_text(call->rc));
		return;
	}
	if (!reply || reply->marks != cs->marks_sent + cs->sending) {
		ms_collector_fail(c, -E_MALFORMED, "server %u counts other marks than were sent",
				  cs->server);
		return;
	}
	cs->marks_sent += cs->sending;
	cs->batches++;
	cs->mark_count -= cs->sending;
	memmove(cs->marks, cs->marks + (size_t)cs->sending * COLLECTOR_MARK_BYTES,
		(size_t)cs->mark_count * COLLECTOR_MARK_BYTES);
	cs->sending = 0;
	if (cs->mark_count >= COLLECTOR_BATCH_MARKS || (c->is_flushing && cs->mark_count > 0))
		ms_collector_marks_send(cs);
	if (!c->is_flushing)
		ms_collector_walk_pump(c);
	else if (ms_collector_marks_are_sent(c))
		ms_collector_marked(c);
}

/* The next batch, or the same one again. */
void ms_collector_marks_send(struct collector_server *cs)
{
	struct ms_collector *c = cs->collector;
	Wire__CollectMark msg = WIRE__COLLECT_MARK__INIT;
	uint32_t count = cs->sending ? cs->sending : MIN_OF(cs->mark_count, COLLECTOR_BATCH_MARKS);
	struct buf *bulk = buf_get(c->server->options.pool, count * COLLECTOR_MARK_BYTES);

	if (cs->sending == 0)
		cs->due_ms = ms_collector_now_ms(c) + PATIENCE_MS;
	if (!bulk) {
		loop_timer_start(c->loop, &cs->again, NO_BUFFER_MS);
		return;
	}
	cs->sending = count;
	bulk->len = count * COLLECTOR_MARK_BYTES;
	memcpy(bulk->data, cs->marks, bulk->len);
	msg.cycle = cs->cycle;
	msg.batch = cs->batches + 1;
	cs->is_calling = true;
	cs->call = (struct rpc_call){ .type = MSG_COLLECT_MARK, .request = &msg.base, .bulk = bulk,
				      .deadline_ms = CALL_MS, .done = batch_done };
	rpc_call(cs->peer, &cs->call);
	buf_put(bulk);
}

void ms_collector_marks_flush(struct ms_collector *c)
{
	c->is_flushing = true;
	for (uint32_t i = 0; i < c->server_count; i++) {
		struct collector_server *cs = &c->servers[i];

		if (cs->mark_count > 0 && !cs->is_calling && !cs->again.is_active)
			ms_collector_marks_send(cs);
	}
	if (ms_collector_marks_are_sent(c))
		ms_collector_marked(c);
}

bool ms_collector_marks_are_sent(const struct ms_collector *c)
{
	for (uint32_t i = 0; i < c->server_count; i++)
		if (c->servers[i].mark_count > 0)
			return false;
	return true;
}
