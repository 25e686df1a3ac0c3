/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asking who holds blocks: HAVE, one call a server for all that is asked of it in one turn. Who
 * asked may leave at any time; a call that nobody waits for any more is taken back.
 */
#include <stdlib.h>
#include <utlist.h>

#include "fs/net/blocks_internal.h"

struct probe_call {
	struct rpc_call call;
	struct blocks_probe *at[BLOCKS_PROBE_IDS_MAX]; /* NULL: it has left */
	uint32_t count, left;
	bool is_ending;
};

static void call_free(struct probe_call *c)
{
	rpc_cancel(&c->call);
	free(c);
}

static void probe_end(struct blocks_probe *probe, int rc, const Wire__HaveAnswer *answer,
		      uint64_t collection)
{
	probe->call = NULL;
	probe->done(probe, rc, answer, collection);
}

static void answered(struct rpc_call *call)
{
	struct probe_call *c = container_of(call, struct probe_call, call);
	const Wire__HaveReply *reply = (const Wire__HaveReply *)call->reply;
	int rc = call->rc == 0 && reply->n_answers != c->count ? -E_MALFORMED : call->rc;

	c->is_ending = true;
	for (uint32_t i = 0; i < c->count; i++) {
		struct blocks_probe *probe = c->at[i];

		c->at[i] = NULL;
		if (probe)
			probe_end(probe, rc, rc == 0 ? reply->answers[i] : NULL,
				  rc == 0 ? reply->collection : 0);
	}
	call_free(c);
}

/* All that waits for the same server as the first, as many as one call takes. */
static void call_fill(struct blocks *b, struct probe_call *c)
{
	server_no server = b->probes->server;
	struct blocks_probe *probe, *next;

	DL_FOREACH_SAFE (b->probes, probe, next) {
		if (probe->server != server || c->count == BLOCKS_PROBE_IDS_MAX)
			continue;
		DL_DELETE(b->probes, probe);
		probe->is_waiting = false;
		probe->call = c;
		c->at[c->count++] = probe;
	}
	c->left = c->count;
}

static void call_start(struct blocks *b)
{
	struct probe_call *c = blocks_state_new(sizeof(*c));
	struct blocks_server *server = blocks_server_of(b, b->probes->server);
	ProtobufCBinaryData ids[BLOCKS_PROBE_IDS_MAX];
	Wire__Have have = WIRE__HAVE__INIT;
	uint32_t deadline_ms = 1;

	call_fill(b, c);
	if (!server) { /* gone since it was chosen */
		c->is_ending = true;
		for (uint32_t i = 0; i < c->count; i++) {
			if (c->at[i])
				probe_end(c->at[i], -E_NOTCONN, NULL, 0);
		}
		free(c);
		return;
	}
	for (uint32_t i = 0; i < c->count; i++) {
		ids[i] = (ProtobufCBinaryData){BLOCK_ID_BYTES, c->at[i]->id.bytes};
		deadline_ms = MAX_OF(deadline_ms, c->at[i]->deadline_ms);
	}
	have.n_ids = c->count;
	have.ids = ids;
	have.forward = true;
	c->call = (struct rpc_call){
		.type = MSG_HAVE,
		.request = &have.base,
		.is_replaceable = true,
		.deadline_ms = deadline_ms,
		.done = answered,
	};
	rpc_call(server->peer, &c->call);
}

void blocks_probe_turn(struct loop_timer *timer)
{
	struct blocks *b = container_of(timer, struct blocks, probe_timer);

	while (b->probes)
		call_start(b);
}

void blocks_probe_start(struct blocks *b, struct blocks_probe *probe)
{
	ASSERT(!probe->is_waiting && !probe->call && probe->done);
	probe->is_waiting = true;
	DL_APPEND(b->probes, probe);
	if (!b->probe_timer.is_active)
		loop_timer_start(b->o.loop, &b->probe_timer, 0);
}

static void call_leave(struct probe_call *c, const struct blocks_probe *probe)
{
	for (uint32_t i = 0; i < c->count; i++) {
		if (c->at[i] == probe) {
			c->at[i] = NULL;
			c->left--;
		}
	}
	if (c->left == 0 && !c->is_ending)
		call_free(c);
}

void blocks_probe_cancel(struct blocks *b, struct blocks_probe *probe)
{
	if (probe->is_waiting)
		DL_DELETE(b->probes, probe);
	else if (probe->call)
		call_leave(probe->call, probe);
	probe->is_waiting = false;
	probe->call = NULL;
}
