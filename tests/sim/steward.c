/* SPDX-License-Identifier: Apache-2.0 */
/* A tool's endpoint, and a few calls at a time. */
#include "tests/sim/steward.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/text.h"
#include "fs/net/rpc.h"

#define HOST	    "steward"
#define MDS_ADDRESS "mds:7800"
#define ORDERS	    16u /* under way; more are dropped */
#define ORDER_MS    20000u
#define STATUS_MS   5000u

struct steward {
	struct loop *loop;
	struct buf_pool *pool;
	struct net *net;
	struct rpc *rpc;
	struct rpc_peer *mds;
	struct order {
		struct rpc_call call;
		bool is_busy;
	} orders[ORDERS];
};

void steward_create(struct cluster *c)
{
	struct steward *o = calloc(1, sizeof(*o));

	ASSERT(o != NULL);
	ASSERT(sim_loop_create(c->world, HOST, &o->loop) == 0);
	o->pool = buf_pool_create(MiB(4));
	ASSERT(o->pool != NULL);
	ASSERT(sim_net_create(c->sw, o->loop, o->pool, HOST, &o->net) == 0);
	struct rpc_options options = {
		.loop = o->loop,
		.net = o->net,
		.pool = o->pool,
		.role = RPC_TOOL,
		.name = HOST,
		.boot_id = 1,
	};
	ASSERT(rpc_create(&options, &o->rpc) == 0);
	ASSERT(rpc_peer_create(o->rpc, MDS_ADDRESS, &o->mds) == 0);
	c->steward = o;
}

void steward_destroy(struct cluster *c)
{
	struct steward *o = c->steward;

	if (o == NULL)
		return;
	sim_net_kill(o->net, false);
	sim_loop_kill(o->loop);
	rpc_peer_destroy(o->mds);
	rpc_destroy(o->rpc);
	o->net->ops->destroy(o->net);
	sim_loop_destroy(o->loop);
	buf_pool_destroy(o->pool);
	free(o);
	c->steward = NULL;
}

/* --- orders ----------------------------------------------------------------------------------- */

static void order_done(struct rpc_call *call)
{
	container_of(call, struct order, call)->is_busy = false;
}

static void order(struct cluster *c, uint16_t type, const ProtobufCMessage *request)
{
	struct steward *o = c->steward;
	uint32_t i = 0;

	while (i < ORDERS && o->orders[i].is_busy)
		i++;
	if (i == ORDERS)
		return;
	o->orders[i] = (struct order){
		.is_busy = true,
		.call = {.type = type,
			 .request = request,
			 .resend = true,
			 .deadline_ms = ORDER_MS,
			 .done = order_done},
	};
	rpc_call(o->mds, &o->orders[i].call);
}

void steward_set(struct cluster *c, server_no server, enum server_state state)
{
	Wire__ServerSet ask;

	wire__server_set__init(&ask);
	ask.server = server;
	ask.state = (uint32_t)state;
	sim_world_note(c->world, "steward: server %u shall be %s", server,
		       server_state_name(state));
	order(c, MSG_SERVER_SET, &ask.base);
}

void steward_gc(struct cluster *c, uint32_t action)
{
	Wire__Gc ask;

	wire__gc__init(&ask);
	ask.action = action;
	sim_world_note(c->world, "steward: gc %u", action);
	order(c, MSG_GC, &ask.base);
}

void steward_quota(struct cluster *c, bool on)
{
	Wire__QuotaSet ask;

	wire__quota_set__init(&ask);
	ask.ino = INODE_ROOT;
	ask.mask = on ? 3 : 4;	/* both limits; none any more */
	ask.bytes = ask.files = UINT64_C(1) << 50;
	sim_world_note(c->world, "steward: quota %s", on ? "set" : "cleared");
	order(c, MSG_QUOTA_SET, &ask.base);
}

/* --- status ----------------------------------------------------------------------------------- */

struct question {
	struct rpc_call call;
	struct steward_status *out;
	bool is_done;
};

static void note_servers(const Wire__StatusReply *m, struct steward_status *out)
{
	size_t at = 0;

	for (size_t i = 0; i < m->n_servers && at < sizeof(out->servers); i++) {
		const Wire__ServerStatus *s = m->servers[i];
		if (s->server < STEWARD_SERVERS)
			out->states[s->server] = (enum server_state)s->state;
		at += (size_t)snprintf(out->servers + at, sizeof(out->servers) - at,
				       " %u:%s,pgs=%u,disks=%u-%u,lacks=%llu", s->server,
				       server_state_name((enum server_state)s->state), s->pgs,
				       s->disks, s->disks_failed,
				       (unsigned long long)s->heal_pending_blocks);
	}
}

static void question_done(struct rpc_call *call)
{
	struct question *q = container_of(call, struct question, call);
	struct steward_status *out = q->out;

	q->is_done = true;
	if (call->rc < 0 || call->reply == NULL)
		return;
	const Wire__StatusReply *m = (const Wire__StatusReply *)call->reply;
	out->is_known = true;
	out->pgs_clean = m->pgs_clean;
	out->pgs_degraded = m->pgs_degraded;
	out->pgs_lost = m->pgs_lost;
	out->owed = m->owed;
	out->heal_pending = m->heal_pending_blocks;
	out->trash_blocks = m->blocks_trash;
	out->collection = m->collection;
	out->is_healthy = !m->recovering && m->pgs_clean == m->pgs_total && m->owed == 0 &&
			  m->heal_pending_blocks == 0;
	if (m->gc != NULL) {
		out->gc_cycles = m->gc->cycles;
		out->gc_failed = m->gc->failed;
		out->gc_runs = m->gc->running;
		(void)text_copy(out->gc_text, sizeof(out->gc_text),
				m->gc->waits_for[0] ? m->gc->waits_for : m->gc->last_text);
	}
	note_servers(m, out);
}

static bool is_answered(void *arg)
{
	return ((const struct question *)arg)->is_done;
}

void steward_ask(struct cluster *c, struct steward_status *out)
{
	struct question q = {.out = out};
	Wire__Status ask;

	memset(out, 0, sizeof(*out));
	wire__status__init(&ask);
	q.call = (struct rpc_call){.type = MSG_STATUS,
				   .request = &ask.base,
				   .deadline_ms = STATUS_MS,
				   .done = question_done};
	rpc_call(c->steward->mds, &q.call);
	/* Its deadline ends it in any case. */
	ASSERT(sim_world_run_until(c->world, is_answered, &q, 2 * STATUS_MS * SIM_MS));
}
