/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PUT: epoch, then at once the other replicas, and verification and the append here, then the
 * answer: who holds the block, under which boot id and generation (I2 rests on these: SYNC asks for
 * them). The others need not wait until we have verified it, since they do so as well.
 *
 * The steps of a job: check (parked while a newer map is fetched, I10) -> forward, and beside it
 * verify -> store -> answer. A replica that did not get the block is owed it, durably, before the
 * put is answered for sync.
 */
#include "chunk-server/serve_internal.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "fs/base/log.h"
#include "fs/base/metrics.h"

#define LOG_MODULE "put"

struct put_forward {
	struct rpc_call call;
	struct put_job *job;
	server_no server;
};

struct put_job {
	struct put_job *next; /* free list */
	struct cs_server *server;
	struct rpc_request *req;
	const Wire__Put *msg;
	struct block_id id;
	pg_no pg;
	struct pg_row row;
	bool is_client;	 /* asks us to forward */
	bool has_waited; /* for a newer map */
	struct map_wait wait;
	struct cs_verify verify;
	struct cs_put put;
	struct put_forward forwards[COPIES_MAX];
	uint32_t pending; /* of our own copy and forwards */
	int verify_rc;
	int local_rc;
	uint32_t full_count; /* replicas that said -E_NOSPC */
	bool is_stale; /* a replica knows a newer row */
	Wire__Holder holders[COPIES_MAX + 1];
	uint32_t holder_count;
	uint64_t collection;
	struct cs_owed_sync debts;
};

/* --- the answer ---- */

static void job_end(struct put_job *job, int rc, Wire__PutReply *reply)
{
	struct cs_server *s = job->server;

	if (rc < 0)
		METRIC_INC(put_refusals);
	rpc_answer_epoch(job->req, rc, reply != NULL ? &reply->base : NULL, NULL,
			 map_version(s->map), false);
	job->req = NULL;
	s->jobs--;
	s->client_puts -= job->is_client;
	LL_PREPEND(s->puts_free, job);
}

static void answer_stale(struct put_job *job)
{
	Wire__PutReply reply = WIRE__PUT_REPLY__INIT;
	uint8_t bytes[PG_ROW_BYTES_MAX];

	reply.pg_row.len = pg_row_encode(map_pg(job->server->map, job->pg), bytes);
	reply.pg_row.data = bytes;
	job_end(job, -E_STALE_EPOCH, &reply);
}

static bool holds(const struct put_job *job, server_no server)
{
	for (uint32_t i = 0; i < job->holder_count; i++) {
		if (job->holders[i].server == server)
			return true;
	}
	return false;
}

/* The writer syncs us, if we hold the block: up to a generation that has the debts, too. */
static bool debts_join_generation(struct put_job *job)
{
	for (uint32_t i = 0; i < job->holder_count; i++) {
		if (job->holders[i].server != job->server->number)
			continue;
		job->holders[i].generation = cs_disks_generation(job->server->disks);
		return true;
	}
	return false;
}

/*
 * Who lacks it is owed it. Our own failure is ours to repay as well. 1: the answer must wait until
 * the debts are durable: with more than min_copies holders, or if we are none of them, the writer
 * may do without our sync, which would see to it.
 */
static int note_owed(struct put_job *job)
{
	for (uint32_t i = 0; i < job->row.replica_count; i++) {
		if (holds(job, job->row.replicas[i]))
			continue;
		int rc = cs_owed_add(job->server->owed, &job->id, job->row.replicas[i]);
		/* The put is as good as any: but who lacks it must be found by a comparison. */
		if (rc < 0)
			return cs_serve_lost(job->server, "cannot note what is owed");
	}
	bool is_synced = debts_join_generation(job);
	/* Too few is answered as that, at once. */
	return job->holder_count >= job->server->min_copies &&
	       (!is_synced || job->holder_count > job->server->min_copies);
}

/* Why min_copies were not reached. -E_NOSPC tells the client not to wait for better times. */
static int too_few(const struct put_job *job)
{
	if (job->full_count > 0 &&
	    job->full_count + job->server->min_copies > job->row.replica_count)
		return -E_NOSPC;
	return job->local_rc < 0 ? job->local_rc : -E_NO_REPLICA;
}

static void answer_holders(struct put_job *job, int rc)
{
	Wire__PutReply reply = WIRE__PUT_REPLY__INIT;
	Wire__Holder *holders[COPIES_MAX + 1];

	for (uint32_t i = 0; i < job->holder_count; i++)
		holders[i] = &job->holders[i];
	reply.holders = holders;
	reply.n_holders = job->holder_count;
	reply.collection = job->collection;
	job_end(job, rc, &reply);
}

static void debts_durable(struct cs_owed_sync *sync)
{
	struct put_job *job = container_of(sync, struct put_job, debts);

	answer_holders(job,
		       sync->rc < 0 ? cs_serve_lost(job->server, "cannot note what is owed") : 0);
}

static void answer_put(struct put_job *job)
{
	int rc = 0;

	if (job->verify_rc < 0) {
		job_end(job, job->verify_rc, NULL);
		return;
	}
	if (job->is_stale) {
		answer_stale(job);
		return;
	}
	if (!job->msg->forward)
		rc = job->local_rc;
	/*
	 * Too few here, too: with those of another replica's answer they may be enough for the
	 * client.
	 */
	else if (job->holder_count > 0 && job->holder_count < job->row.replica_count)
		rc = note_owed(job);
	if (rc == 1) {
		job->debts.done = debts_durable;
		cs_owed_sync(job->server->owed, &job->debts);
		return;
	}
	if (rc == 0 && job->msg->forward && job->holder_count < job->server->min_copies)
		rc = too_few(job);
	answer_holders(job, rc);
}

static void part_done(struct put_job *job)
{
	ASSERT(job->pending > 0);
	if (--job->pending == 0)
		answer_put(job);
}

static void add_holder(struct put_job *job, server_no server, uint64_t boot_id, uint64_t generation)
{
	if (holds(job, server) || job->holder_count >= ARRAY_COUNT(job->holders))
		return;
	Wire__Holder *holder = &job->holders[job->holder_count++];
	wire__holder__init(holder);
	holder->server = server;
	holder->boot_id = boot_id;
	holder->generation = generation;
}

/* --- the other replicas ---- */

static void forward_done(struct rpc_call *call)
{
	struct put_forward *forward = container_of(call, struct put_forward, call);
	struct put_job *job = forward->job;
	const Wire__PutReply *reply = (const Wire__PutReply *)call->reply;

	cs_forward_note(job->server, forward->server, call->rc);
	if (call->rc == 0 && reply != NULL && reply->n_holders == 1) {
		const Wire__Holder *h = reply->holders[0];
		add_holder(job, forward->server, h->boot_id, h->generation);
		job->collection = MIN_OF(job->collection, reply->collection);
	} else if (call->rc == -E_STALE_EPOCH && reply != NULL) {
		/* It knows better: the client gets the newer row and asks whom that names. */
		if (cs_heartbeat_take_row(job->server, job->pg, &reply->pg_row) == 0 &&
		    map_pg(job->server->map, job->pg)->epoch > job->row.epoch)
			job->is_stale = true;
	}
	job->full_count += call->rc == -E_NOSPC;
	part_done(job);
}

static void forward_start(struct put_job *job, struct put_forward *forward, struct rpc_peer *peer)
{
	Wire__Put msg = WIRE__PUT__INIT;
	uint32_t left = job->req->header.deadline_ms;

	forward->job = job;
	forward->call = (struct rpc_call){
		.type = MSG_PUT,
		.request = &msg.base,
		.bulk = job->req->bulk,
		.bulk_is_record = true,
		.is_replaceable = true,
		/* Room for our own answer before the asker gives up. */
		.deadline_ms =
			left == 0 ? FORWARD_MS : MAX_OF(1u, MIN_OF(FORWARD_MS, left / 4 * 3)),
		.epoch = job->row.epoch,
		.request_id = job->req->header.request,
		.done = forward_done,
	};
	job->pending++;
	METRIC_INC(put_forwards);
	rpc_call(peer, &forward->call);
}

static void forward_all(struct put_job *job)
{
	for (uint32_t i = 0; i < job->row.replica_count; i++) {
		server_no server = job->row.replicas[i];
		if (server == job->server->number || (job->msg->excluded_mask >> i & 1) != 0)
			continue;
		struct rpc_peer *peer = cs_forward_peer(job->server, server);
		if (peer == NULL)
			continue;
		job->forwards[i].server = server;
		forward_start(job, &job->forwards[i], peer);
	}
}

/* --- our own copy ---- */

static void stored(struct cs_put *put)
{
	struct put_job *job = container_of(put, struct put_job, put);
	struct cs_server *s = job->server;

	job->local_rc = put->rc;
	job->full_count += put->rc == -E_NOSPC;
	/* Now, not when we answer: a disk that fails in between changes the boot id (I4). */
	if (put->rc == 0)
		add_holder(job, s->number, s->boot_id, cs_disks_generation(s->disks));
	cs_heat_note(s->heat, &job->id, loop_now_ms(s->options.loop));
	part_done(job);
}

static void verified(struct cs_verify *verify)
{
	struct put_job *job = container_of(verify, struct put_job, verify);

	if (verify->rc < 0) {
		log_warn("refusing a record: %s req=%llu", error_text(verify->rc),
			 (unsigned long long)job->req->header.request);
		job->verify_rc = verify->rc;
		part_done(job);
		return;
	}
	job->put = (struct cs_put){
		.record = job->req->bulk,
		.id = job->id,
		.plain_len = verify->found.plain_len,
		.done = stored,
	};
	cs_disks_put(job->server->disks, &job->put);
}

/* --- epochs ---- */

static void check(struct put_job *job);

static void map_came(struct map_wait *wait, int rc)
{
	struct put_job *job = container_of(wait, struct put_job, wait);

	if (rc < 0)
		job_end(job, -E_RECOVERING, NULL);
	else
		check(job);
}

static void check(struct put_job *job)
{
	struct cs_server *s = job->server;
	const struct pg_row *row = map_pg(s->map, job->pg);
	uint64_t epoch = job->req->header.epoch;

	if (epoch > row->epoch || (row->epoch == 0 && job->msg->forward)) {
		/* I10: who meets a newer epoch fetches the row first. */
		if (job->has_waited) {
			job_end(job, -E_RECOVERING, NULL);
			return;
		}
		job->has_waited = true;
		job->wait.done = map_came;
		cs_heartbeat_map_wait(s, &job->wait);
		return;
	}
	if (epoch < row->epoch || (job->msg->forward && !pg_row_has(row, s->number))) {
		answer_stale(job);
		return;
	}
	job->row = *row;
	job->pending = 1;
	if (job->msg->forward)
		forward_all(job);
	job->verify = (struct cs_verify){.record = job->req->bulk, .done = verified};
	cs_verify_start(s->verifier, &job->verify);
}

/*
 * Puts of clients wait for other servers, and theirs for us: if they took every job and all memory,
 * no forward would find room and servers would wait for each other until deadlines.
 */
static bool is_too_busy(const struct cs_server *s, bool is_client)
{
	return s->puts_free == NULL || (is_client && s->client_puts >= s->client_puts_max);
}

void cs_serve_put(struct cs_server *s, struct rpc_request *req)
{
	bool is_client = ((const Wire__Put *)req->msg)->forward;
	struct record record;
	struct put_job *job = s->puts_free;

	if (req->bulk == NULL || req->bulk->len <= RECORD_HEADER_BYTES ||
	    record_decode_header(req->bulk->data, &record) < 0) {
		rpc_answer(req, -E_MALFORMED, NULL, NULL);
		return;
	}
	if (is_too_busy(s, is_client) || s->collection == 0 || s->number == 0) {
		rpc_answer(req,
			   s->number == 0 || s->collection == 0 ? -E_RECOVERING : -E_OVERLOADED,
			   NULL, NULL);
		return;
	}
	LL_DELETE(s->puts_free, job);
	s->jobs++;
	s->client_puts += is_client;
	if (is_client)
		cs_share_client(&s->share, loop_now_ms(s->options.loop));
	memset(job, 0, sizeof(*job));
	job->is_client = is_client;
	job->server = s;
	job->req = req;
	job->msg = (const Wire__Put *)req->msg;
	job->id = record.id;
	job->pg = block_id_pg(&record.id);
	job->collection = s->collection;
	check(job);
}

bool cs_serve_put_is_older(const struct cs_server *s, pg_no pg, uint64_t epoch)
{
	for (uint32_t i = 0; i < SERVE_PUTS_MAX; i++) {
		const struct put_job *job = &s->puts[i];
		/* One without a row waits for the map: it begins under a new one or not at all. */
		if (job->req != NULL && job->pg == pg && job->row.epoch != 0 &&
		    job->row.epoch < epoch)
			return true;
	}
	return false;
}

int cs_serve_put_init(struct cs_server *s)
{
	s->puts = calloc(SERVE_PUTS_MAX, sizeof(*s->puts));
	if (s->puts == NULL)
		return -E_NOMEM;
	s->client_puts_max = (uint32_t)MIN_OF(
		SERVE_PUTS_MAX / 2, buf_pool_bytes_max(s->options.pool) / 2 / BUF_LARGE_BYTES);
	s->client_puts_max = MAX_OF(s->client_puts_max, 1u);
	for (uint32_t i = 0; i < SERVE_PUTS_MAX; i++)
		LL_PREPEND(s->puts_free, &s->puts[i]);
	return 0;
}

void cs_serve_put_finish(struct cs_server *s)
{
	for (uint32_t i = 0; s->puts != NULL && i < SERVE_PUTS_MAX; i++) {
		if (s->puts[i].req != NULL)
			rpc_answer(s->puts[i].req, -E_SHUTDOWN, NULL, NULL);
	}
	free(s->puts);
	s->puts = NULL;
}
