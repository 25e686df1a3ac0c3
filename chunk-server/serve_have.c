/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HAVE: who holds these blocks? We look here, and for the asker (forward) at the other replicas of
 * each block's PG, one call per server. An answer counts like a put's: who is asked and holds the
 * block touches it, out of trash if it was there (I9), and the answer tells holders with boot id
 * and generation, and the lowest collection epoch of their touches.
 *
 * And like a put's it leaves no replica without the block that nobody knows of: once it is a yes,
 * every replica that did not say that it holds the block is owed it, also one that could not be
 * asked. The debt is as durable as our own copy, so a yes needs our own copy; and where the asker
 * may do without our sync, having more than min_copies holders, the debts are made durable first.
 */
#include "chunk-server/serve_internal.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define HAVE_ASKS_MAX                                                                              \
	16u /* servers asked for one request: what others hold is put again, no harm */

struct have_answer {
	Wire__HaveAnswer wire;
	Wire__Holder holders[COPIES_MAX + 1];
	Wire__Holder *list[COPIES_MAX + 1];
	bool is_here;
};

struct have_ask {
	struct rpc_call call;
	struct have_job *job;
	server_no server;
	ProtobufCBinaryData *ids; /* borrowed bytes */
	uint32_t *indexes;	  /* which of the request's ids these are */
	uint32_t count;
};

struct have_job {
	struct have_job *next;
	struct cs_server *server;
	struct rpc_request *req;
	const Wire__Have *msg;
	struct have_answer *answers; /* one per id */
	struct have_ask asks[HAVE_ASKS_MAX];
	uint32_t ask_count;
	uint32_t pending;
	uint64_t collection;
	struct cs_owed_sync debts;
};

static struct block_id id_at(const struct have_job *job, uint32_t index)
{
	struct block_id id;

	ASSERT(job->msg->ids[index].len == BLOCK_ID_BYTES);
	memcpy(id.bytes, job->msg->ids[index].data, BLOCK_ID_BYTES);
	return id;
}

static void add_holder(struct have_answer *answer, server_no server, uint64_t boot_id,
		       uint64_t generation)
{
	if (answer->wire.n_holders >= ARRAY_COUNT(answer->holders))
		return;
	Wire__Holder *holder = &answer->holders[answer->wire.n_holders];
	wire__holder__init(holder);
	holder->server = server;
	holder->boot_id = boot_id;
	holder->generation = generation;
	answer->list[answer->wire.n_holders++] = holder;
}

static bool holds(const struct have_answer *answer, server_no server)
{
	for (size_t i = 0; i < answer->wire.n_holders; i++) {
		if (answer->holders[i].server == server)
			return true;
	}
	return false;
}

/*
 * The answer is complete: who may lack the block is owed it. 1: debts that must be durable first.
 */
static int settle_debts(struct have_job *job, uint32_t index)
{
	struct cs_server *s = job->server;
	struct have_answer *answer = &job->answers[index];
	struct block_id id = id_at(job, index);
	const struct pg_row *row = map_pg(s->map, block_id_pg(&id));
	bool are_new = false;

	if (!answer->is_here)
		answer->wire.n_holders = 0;
	if (answer->wire.n_holders < s->min_copies)
		return 0;
	for (uint32_t i = 0; i < row->replica_count; i++) {
		if (holds(answer, row->replicas[i]))
			continue;
		if (cs_owed_add(s->owed, &id, row->replicas[i]) < 0)
			return cs_serve_lost(s, "cannot note what is owed");
		are_new = true;
	}
	return are_new && answer->wire.n_holders > s->min_copies;
}

static void job_end(struct have_job *job, int rc)
{
	struct cs_server *s = job->server;
	Wire__HaveReply reply = WIRE__HAVE_REPLY__INIT;
	Wire__HaveAnswer **list = calloc(MAX_OF(job->msg->n_ids, 1u), sizeof(Wire__HaveAnswer *));

	if (list == NULL || job->answers == NULL)
		rc = -E_NOMEM;
	for (uint32_t i = 0; rc == 0 && i < job->msg->n_ids; i++) {
		job->answers[i].wire.holders = job->answers[i].list;
		list[i] = &job->answers[i].wire;
	}
	if (rc == 0) {
		reply.answers = list;
		reply.n_answers = job->msg->n_ids;
		reply.collection = job->collection;
	}
	/* Too long a list of ids for one reply: the asker may split it. */
	if (rc == 0 && msg_packed_bytes(&reply.base) > MESSAGE_BYTES_MAX)
		rc = -E_TOOBIG;
	rpc_answer_epoch(job->req, rc, rc == 0 ? &reply.base : NULL, NULL, map_version(s->map),
			 false);
	for (uint32_t i = 0; i < job->ask_count; i++) {
		free(job->asks[i].ids);
		free(job->asks[i].indexes);
	}
	free(list);
	free(job->answers);
	job->answers = NULL;
	job->ask_count = 0;
	job->req = NULL;
	s->jobs--;
	LL_PREPEND(s->haves_free, job);
}

static void debts_durable(struct cs_owed_sync *sync)
{
	struct have_job *job = container_of(sync, struct have_job, debts);

	job_end(job, sync->rc < 0 ? cs_serve_lost(job->server, "cannot note what is owed") : 0);
}

/* Everybody who was asked has answered, or will not. */
static void asked_all(struct have_job *job)
{
	bool must_sync = false;
	int rc = 0;

	for (uint32_t i = 0; rc >= 0 && job->msg->forward && i < job->msg->n_ids; i++) {
		rc = settle_debts(job, i);
		must_sync = must_sync || rc == 1;
	}
	if (rc < 0 || !must_sync) {
		job_end(job, MIN_OF(rc, 0));
		return;
	}
	job->debts = (struct cs_owed_sync){.done = debts_durable};
	cs_owed_sync(job->server->owed, &job->debts);
}

/* --- the other replicas ---- */

static void take_answer(struct have_ask *ask, uint32_t i, const Wire__HaveAnswer *wire)
{
	struct have_job *job = ask->job;
	struct have_answer *answer = &job->answers[ask->indexes[i]];

	if (wire->n_holders > 0) {
		add_holder(answer, ask->server, wire->holders[0]->boot_id,
			   wire->holders[0]->generation);
		return;
	}
	if (answer->is_here) {
		struct block_id id = id_at(job, ask->indexes[i]);
		/* If it cannot be noted now, the next HAVE finds it again. */
		(void)!cs_owed_add(job->server->owed, &id, ask->server);
	}
}

static void asked(struct rpc_call *call)
{
	struct have_ask *ask = container_of(call, struct have_ask, call);
	struct have_job *job = ask->job;
	const Wire__HaveReply *reply = (const Wire__HaveReply *)call->reply;

	cs_forward_note(job->server, ask->server, call->rc);
	if (call->rc == 0 && reply != NULL && reply->n_answers == ask->count) {
		for (uint32_t i = 0; i < ask->count; i++)
			take_answer(ask, i, reply->answers[i]);
		job->collection = MIN_OF(job->collection, reply->collection);
	}
	if (--job->pending == 0)
		asked_all(job);
}

static struct have_ask *ask_for(struct have_job *job, server_no server)
{
	for (uint32_t i = 0; i < job->ask_count; i++) {
		if (job->asks[i].server == server)
			return &job->asks[i];
	}
	if (job->ask_count == HAVE_ASKS_MAX)
		return NULL;
	struct have_ask *ask = &job->asks[job->ask_count];
	memset(ask, 0, sizeof(*ask));
	ask->job = job;
	ask->server = server;
	ask->ids = calloc(job->msg->n_ids, sizeof(*ask->ids));
	ask->indexes = calloc(job->msg->n_ids, sizeof(*ask->indexes));
	job->ask_count++; /* also without memory, so that what there is gets freed */
	return ask;
}

static void plan_asks(struct have_job *job, uint32_t index)
{
	struct block_id id = id_at(job, index);
	const struct pg_row *row = map_pg(job->server->map, block_id_pg(&id));

	for (uint32_t i = 0; i < row->replica_count; i++) {
		if (row->replicas[i] == job->server->number)
			continue;
		struct have_ask *ask = ask_for(job, row->replicas[i]);
		if (ask == NULL || ask->ids == NULL || ask->indexes == NULL)
			continue;
		ask->ids[ask->count] = job->msg->ids[index];
		ask->indexes[ask->count++] = index;
	}
}

static void ask_start(struct have_job *job, struct have_ask *ask)
{
	Wire__Have msg = WIRE__HAVE__INIT;
	struct rpc_peer *peer = cs_forward_peer(job->server, ask->server);
	uint32_t left = job->req->header.deadline_ms;

	if (peer == NULL || ask->count == 0)
		return;
	msg.ids = ask->ids;
	msg.n_ids = ask->count;
	ask->call = (struct rpc_call){
		.type = MSG_HAVE,
		.request = &msg.base,
		.is_replaceable = true,
		.done = asked,
		.deadline_ms =
			left == 0 ? FORWARD_MS : MAX_OF(1u, MIN_OF(FORWARD_MS, left / 4 * 3)),
		.request_id = job->req->header.request,
	};
	job->pending++;
	rpc_call(peer, &ask->call);
}

/* --- here ---- */

/*
 * Are we a replica, by the newest row that we know (I10)? Who was one may have the block as
 * surplus, and nobody who matters has it.
 */
static bool is_ours(const struct cs_server *s, const struct block_id *id)
{
	return pg_row_has(map_pg(s->map, block_id_pg(id)), s->number);
}

static void look_here(struct have_job *job)
{
	struct cs_server *s = job->server;

	for (uint32_t i = 0; i < job->msg->n_ids; i++) {
		struct have_answer *answer = &job->answers[i];
		struct block_id id = id_at(job, i);
		wire__have_answer__init(&answer->wire);
		answer->is_here = cs_disks_touch(s->disks, &id) == 0 && is_ours(s, &id);
		if (answer->is_here)
			add_holder(answer, s->number, s->boot_id, cs_disks_generation(s->disks));
		if (job->msg->forward)
			plan_asks(job, i);
	}
}

void cs_serve_have(struct cs_server *s, struct rpc_request *req)
{
	struct have_job *job = s->haves_free;

	if (job == NULL || s->number == 0 || s->collection == 0) {
		rpc_answer(req, job == NULL ? -E_OVERLOADED : -E_RECOVERING, NULL, NULL);
		return;
	}
	LL_DELETE(s->haves_free, job);
	s->jobs++;
	memset(job, 0, sizeof(*job));
	job->server = s;
	job->req = req;
	job->msg = (const Wire__Have *)req->msg;
	job->collection = s->collection;
	job->answers = calloc(MAX_OF(job->msg->n_ids, 1u), sizeof(*job->answers));
	if (job->answers == NULL) {
		job_end(job, -E_NOMEM);
		return;
	}
	look_here(job);
	for (uint32_t i = 0; i < job->ask_count; i++)
		ask_start(job, &job->asks[i]);
	if (job->pending == 0)
		asked_all(job);
}

int cs_serve_have_init(struct cs_server *s)
{
	s->haves = calloc(SERVE_HAVES_MAX, sizeof(*s->haves));
	if (s->haves == NULL)
		return -E_NOMEM;
	for (uint32_t i = 0; i < SERVE_HAVES_MAX; i++)
		LL_PREPEND(s->haves_free, &s->haves[i]);
	return 0;
}

void cs_serve_have_finish(struct cs_server *s)
{
	/*
	 * Those that asked others have answered by now; after a crash some still wait for a sync.
	 */
	for (uint32_t i = 0; s->haves != NULL && i < SERVE_HAVES_MAX; i++) {
		if (s->haves[i].req != NULL)
			job_end(&s->haves[i], -E_SHUTDOWN);
	}
	free(s->haves);
	s->haves = NULL;
}
