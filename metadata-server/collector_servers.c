/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the chunk servers of a cycle are asked in its phases: to begin, whether their marks are
 * complete, to sweep. All must answer; what passes by itself (silence, a full queue, a map that is
 * being fetched) is asked again until the phase is over, and that ends the cycle.
 */
#include <stdlib.h>

#include "fs/placement/map.h"
#include "metadata-server/collector_internal.h"

#define CALL_MS	 10000u
#define AGAIN_MS 200u

static void ask(struct collector_server *cs);

/* --- who takes part --------------------------------------------------------------------------- */

static bool takes_part(const struct server_row *row)
{
	return row->state != SERVER_OUT && row->state != SERVER_REMOVED;
}

static void again_fired(struct loop_timer *timer)
{
	struct collector_server *cs = container_of(timer, struct collector_server, again);

	if (cs->collector->phase == MS_GC_MARK)
		ms_collector_marks_send(cs);
	else
		ask(cs);
}

static int open_one(struct ms_collector *c, const struct server_row *row)
{
	struct collector_server *cs = &c->servers[c->server_count];

	*cs = (struct collector_server){ .collector = c,
					 .server = row->server, .again.fn = again_fired };
	cs->marks = malloc((size_t)COLLECTOR_MARKS_MAX * COLLECTOR_MARK_BYTES);
	if (!cs->marks)
		return -E_NOMEM;
	c->server_count++;
	return rpc_peer_create(c->server->rpc, row->address, &cs->peer);
}

int ms_collector_servers_open(struct ms_collector *c)
{
	const struct map *map = ms_state_map(c->server->state);
	uint32_t count = map_server_count(map);
	int rc = 0;

	c->servers = calloc(MAX_OF(count, 1u), sizeof(*c->servers));
	if (!c->servers)
		return -E_NOMEM;
	for (uint32_t i = 0; i < count && rc == 0; i++)
		if (takes_part(map_server_at(map, i)))
			rc = open_one(c, map_server_at(map, i));
	return rc;
}

void ms_collector_servers_close(struct ms_collector *c)
{
	for (uint32_t i = 0; i < c->server_count; i++) {
		struct collector_server *cs = &c->servers[i];

		loop_timer_stop(c->loop, &cs->again);
		if (cs->is_calling)
			rpc_cancel(&cs->call);
		if (cs->peer)
			rpc_peer_destroy(cs->peer);
		free(cs->marks);
	}
	free(c->servers);
	c->servers = NULL;
	c->server_count = 0;
}

struct collector_server *ms_collector_servers_find(struct ms_collector *c, server_no server)
{
	uint32_t low = 0, high = c->server_count;

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;
		if (c->servers[mid].server < server)
			low = mid + 1;
		else
			high = mid;
	}
	return low < c->server_count && c->servers[low].server == server ? &c->servers[low] : NULL;
}

/* --- answers ---------------------------------------------------------------------------------- */

bool ms_collector_servers_may_retry(struct collector_server *cs, int rc)
{
	bool passes = rc == -E_TIMEDOUT || rc == -E_NOTCONN || rc == -E_CONNREFUSED ||
		      rc == -E_OVERLOADED || rc == -E_RECOVERING;

	if (!passes || ms_collector_now_ms(cs->collector) >= cs->due_ms)
		return false;
	loop_timer_start(cs->collector->loop, &cs->again, AGAIN_MS);
	return true;
}

static void done(struct collector_server *cs)
{
	struct ms_collector *c = cs->collector;

	cs->is_done = true;
	for (uint32_t i = 0; i < c->server_count; i++)
		if (!c->servers[i].is_done)
			return;
	ms_collector_servers_are_done(c);
}

/* Other rows: one of us has news that the other will have soon. */
static void begun(struct collector_server *cs, const Wire__CollectBeginReply *reply)
{
	struct ms_collector *c = cs->collector;

	if (reply->epoch != c->epoch || reply->boot_id == 0) {
		ms_collector_fail(c, -E_OLD_COLLECTION, "server %u applies epoch %llu, not %llu",
				  cs->server, (unsigned long long)reply->epoch,
				  (unsigned long long)c->epoch);
		return;
	}
	if (reply->rows != c->rows_digest) {
		c->rows_changed = c->rows_digest != map_digest(ms_state_map(c->server->state));
		if (!c->rows_changed && !ms_collector_servers_may_retry(cs, -E_RECOVERING))
			ms_collector_fail(c, -E_STALE_EPOCH,
					  "server %u goes by other placement rows", cs->server);
		return;
	}
	cs->boot_id = reply->boot_id;
	done(cs);
}

static void swept(struct collector_server *cs, const Wire__CollectSweepReply *reply)
{
	struct ms_collector *c = cs->collector;

	if (reply->boot_id != cs->boot_id) {
		ms_collector_fail(c, -E_STALE_GENERATION, "server %u restarted", cs->server);
		return;
	}
	if (!reply->done) {
		cs->due_ms = ms_collector_now_ms(c) + COLLECTOR_SILENT_MS;
		loop_timer_start(c->loop, &cs->again, AGAIN_MS);
		return;
	}
	cs->blocks = reply->blocks;
	cs->bytes = reply->bytes;
	cs->young = reply->kept_young;
	cs->moving = reply->kept_moving;
	done(cs);
}

static void answered(struct rpc_call *call)
{
	struct collector_server *cs = container_of(call, struct collector_server, call);
	struct ms_collector *c = cs->collector;

	cs->is_calling = false;
	if (c->phase == MS_GC_END) {
		done(cs);
	} else if (call->rc < 0) {
		if (!ms_collector_servers_may_retry(cs, call->rc))
			ms_collector_fail(c, call->rc, "server %u does not take part: %s",
					  cs->server, error_text(call->rc));
	} else if (c->phase == MS_GC_BEGIN) {
		begun(cs, (const void *)call->reply);
	} else {
		swept(cs, (const void *)call->reply);
	}
}

/* --- asking ----------------------------------------------------------------------------------- */

static void call(struct collector_server *cs, uint16_t type, const ProtobufCMessage *msg)
{
	cs->is_calling = true;
	cs->call = (struct rpc_call){ .type = type, .request = msg, .deadline_ms = CALL_MS,
				      .done = answered };
	rpc_call(cs->peer, &cs->call);
}

static void ask_begin(struct collector_server *cs)
{
	Wire__CollectBegin msg = WIRE__COLLECT_BEGIN__INIT;

	do
		loop_random(cs->collector->loop, &cs->cycle, sizeof(cs->cycle));
	while (cs->cycle == 0);
	msg.epoch = cs->collector->epoch;
	msg.map_version = cs->collector->map_version;
	msg.cycle = cs->cycle;
	call(cs, MSG_COLLECT_BEGIN, &msg.base);
}

static void ask_sweep(struct collector_server *cs)
{
	const struct ms_collector *c = cs->collector;
	Wire__CollectSweep msg = WIRE__COLLECT_SWEEP__INIT;

	msg.cycle = cs->cycle;
	msg.marks = cs->marks_sent;
	msg.grace_ms = c->is_now ? 0 : c->grace_ms;
	msg.dry_run = c->is_dry;
	msg.check = c->phase == MS_GC_CHECK;
	call(cs, MSG_COLLECT_SWEEP, &msg.base);
}

static void ask(struct collector_server *cs)
{
	if (cs->collector->phase == MS_GC_BEGIN)
		ask_begin(cs);
	else
		ask_sweep(cs);
}

void ms_collector_servers_ask(struct ms_collector *c, uint32_t ms)
{
	c->phase_due_ms = ms_collector_now_ms(c) + ms;
	for (uint32_t i = 0; i < c->server_count; i++)
		c->servers[i].is_done = false;
	for (uint32_t i = 0; i < c->server_count; i++) {
		c->servers[i].due_ms = c->phase_due_ms;
		ask(&c->servers[i]);
	}
}

/* --- the end ---------------------------------------------------------------------------------- */

/* So that they need not keep their marks; whether it arrives or not. */
void ms_collector_servers_end(struct ms_collector *c, bool compact)
{
	Wire__CollectEnd msg = WIRE__COLLECT_END__INIT;

	msg.compact = compact;
	for (uint32_t i = 0; i < c->server_count; i++) {
		struct collector_server *cs = &c->servers[i];

		msg.cycle = cs->cycle;
		loop_timer_stop(c->loop, &cs->again);
		if (cs->is_calling)
			rpc_cancel(&cs->call);
		cs->is_done = false;
		call(cs, MSG_COLLECT_END, &msg.base);
	}
}
