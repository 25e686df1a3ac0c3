/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HEAL_DIGEST, HEAL_LIST: what we hold of a placement group, for a replica that merges us.
 *
 * The epoch in the header is the row's under which it merges. We take that row first (I10), so that
 * no put under an older one begins here any more, and answer -E_RECOVERING while one that had begun
 * is in our hands: what it stored might be in no answer, and nobody's debt. A digest is made a few
 * rows at a time: gets go on in between.
 */
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "chunk-server/serve_internal.h"
#include "fs/wire/heal.h"

#define LIST_IDS_MAX  (BULK_BYTES_MAX / BLOCK_ID_BYTES)
#define ROWS_PER_TURN 1024u

struct heal_job {
	struct heal_job *next; /* free list */
	struct cs_server *server;
	struct rpc_request *req;
	pg_no pg;
	bool has_waited; /* for a newer map */
	struct map_wait wait;
	/* a digest */
	uint32_t bits;
	struct heal_range *ranges; /* 1 << bits */
	struct block_id at;	   /* it goes on here */
	struct loop_task turn;
};

static void job_end(struct heal_job *job, int rc, const ProtobufCMessage *reply, struct buf *bulk)
{
	struct cs_server *s = job->server;

	rpc_answer_epoch(job->req, rc, reply, bulk, map_version(s->map), false);
	buf_put(bulk);
	free(job->ranges);
	job->ranges = NULL;
	job->req = NULL;
	s->jobs--;
	LL_PREPEND(s->heals_free, job);
}

static void answer_stale(struct heal_job *job)
{
	Wire__HealDigestReply digest = WIRE__HEAL_DIGEST_REPLY__INIT;
	Wire__HealListReply list = WIRE__HEAL_LIST_REPLY__INIT;
	bool is_list = job->req->header.type == MSG_HEAL_LIST;
	uint8_t bytes[PG_ROW_BYTES_MAX];
	ProtobufCBinaryData row = {.data = bytes};

	row.len = pg_row_encode(map_pg(job->server->map, job->pg), bytes);
	digest.pg_row = row;
	list.pg_row = row;
	job_end(job, -E_STALE_EPOCH, is_list ? &list.base : &digest.base, NULL);
}

/* --- digests ---- */

static bool digest_row(void *arg, const struct block_id *id)
{
	struct heal_job *job = arg;

	heal_range_add(&job->ranges[heal_range_index(id, job->bits)], id);
	return true;
}

static void digest_end(struct heal_job *job)
{
	Wire__HealDigestReply reply = WIRE__HEAL_DIGEST_REPLY__INIT;
	uint32_t count = 1u << job->bits;
	struct buf *bulk = buf_get(job->server->options.pool, count * HEAL_RANGE_BYTES);

	if (bulk == NULL) {
		job_end(job, -E_OVERLOADED, NULL, NULL);
		return;
	}
	for (uint32_t i = 0; i < count; i++)
		heal_range_encode(&job->ranges[i], bulk->data + i * HEAL_RANGE_BYTES);
	bulk->len = count * HEAL_RANGE_BYTES;
	job_end(job, 0, &reply.base, bulk);
}

static void digest_turn(struct loop_task *task)
{
	struct heal_job *job = container_of(task, struct heal_job, turn);
	struct cs_disks_visitor visitor = {digest_row, job, ROWS_PER_TURN,
					   heal_lists_trash(job->req->header.epoch)};
	struct block_id from, to;

	heal_range_bounds(job->pg, 0, 0, &from, &to);
	int rc = cs_disks_visit(job->server->disks, &job->at, &to, &visitor);
	if (rc == 1)
		loop_post(job->server->options.loop, &job->turn);
	else if (rc == 0)
		digest_end(job);
	else
		job_end(job, rc, NULL, NULL);
}

static void digest_start(struct heal_job *job)
{
	struct block_id to;

	heal_range_bounds(job->pg, 0, 0, &job->at, &to);
	job->ranges = calloc(1u << job->bits, sizeof(*job->ranges));
	if (job->ranges == NULL) {
		job_end(job, -E_NOMEM, NULL, NULL);
		return;
	}
	job->turn.run = digest_turn;
	digest_turn(&job->turn);
}

/* --- lists ---- */

static bool list_row(void *arg, const struct block_id *id)
{
	struct buf *bulk = arg;

	if (bulk->len + BLOCK_ID_BYTES > LIST_IDS_MAX * BLOCK_ID_BYTES)
		return false;
	memcpy(bulk->data + bulk->len, id->bytes, BLOCK_ID_BYTES);
	bulk->len += BLOCK_ID_BYTES;
	return true;
}

static void list(struct heal_job *job)
{
	const Wire__HealList *msg = (const Wire__HealList *)job->req->msg;
	Wire__HealListReply reply = WIRE__HEAL_LIST_REPLY__INIT;
	struct block_id from, to;
	struct buf *bulk = buf_get(job->server->options.pool, LIST_IDS_MAX * BLOCK_ID_BYTES);

	if (bulk == NULL) {
		job_end(job, -E_OVERLOADED, NULL, NULL);
		return;
	}
	heal_range_bounds(job->pg, 0, 0, &from, &to);
	if (msg->from.len == BLOCK_ID_BYTES)
		memcpy(from.bytes, msg->from.data, BLOCK_ID_BYTES);
	if (msg->to.len == BLOCK_ID_BYTES)
		memcpy(to.bytes, msg->to.data, BLOCK_ID_BYTES);
	/*
	 * Without a bound of rows: trash that is passed over is few, and an answer without ids
	 * leads nowhere.
	 */
	struct cs_disks_visitor visitor = {list_row, bulk, UINT32_MAX,
					   heal_lists_trash(job->req->header.epoch)};
	int rc = block_id_pg(&from) == job->pg && block_id_pg(&to) == job->pg ? 0 : -E_INVAL;
	if (rc == 0)
		rc = cs_disks_visit(job->server->disks, &from, &to, &visitor);
	reply.end = rc == 0;
	if (rc < 0) {
		buf_put(bulk);
		job_end(job, rc, NULL, NULL);
		return;
	}
	job_end(job, 0, &reply.base, bulk);
}

/* --- epochs ---- */

static void check(struct heal_job *job);

static void map_came(struct map_wait *wait, int rc)
{
	struct heal_job *job = container_of(wait, struct heal_job, wait);

	if (rc < 0)
		job_end(job, -E_RECOVERING, NULL, NULL);
	else
		check(job);
}

static void check(struct heal_job *job)
{
	struct cs_server *s = job->server;
	uint64_t epoch = job->req->header.epoch, known = map_pg(s->map, job->pg)->epoch;

	if (epoch > known && !job->has_waited) {
		job->has_waited = true;
		job->wait.done = map_came;
		cs_heartbeat_map_wait(s, &job->wait);
	} else if (epoch > known || cs_serve_put_is_older(s, job->pg, epoch)) {
		job_end(job, -E_RECOVERING, NULL, NULL);
	} else if (epoch < known) {
		answer_stale(job);
	} else if (job->req->header.type == MSG_HEAL_LIST) {
		list(job);
	} else {
		digest_start(job);
	}
}

void cs_serve_heal(struct cs_server *s, struct rpc_request *req)
{
	struct heal_job *job = s->heals_free;
	uint32_t pg, bits = 0;

	if (req->header.type == MSG_HEAL_LIST) {
		pg = ((const Wire__HealList *)req->msg)->pg;
	} else {
		pg = ((const Wire__HealDigest *)req->msg)->pg;
		bits = ((const Wire__HealDigest *)req->msg)->bits;
	}
	if (pg >= PG_COUNT || bits > HEAL_BITS_MAX) {
		rpc_answer(req, -E_MALFORMED, NULL, NULL);
		return;
	}
	/*
	 * What is left of a loss is merged only once the metadata server knows of the loss
	 * (fs/wire/heal.h).
	 */
	if (job == NULL || s->number == 0 || s->content_heard != s->content.number) {
		rpc_answer(req, job == NULL ? -E_OVERLOADED : -E_RECOVERING, NULL, NULL);
		return;
	}
	LL_DELETE(s->heals_free, job);
	s->jobs++;
	*job = (struct heal_job){.server = s, .req = req, .pg = (pg_no)pg, .bits = bits};
	check(job);
}

int cs_serve_heal_init(struct cs_server *s)
{
	s->heals = calloc(SERVE_HEALS_MAX, sizeof(*s->heals));
	if (s->heals == NULL)
		return -E_NOMEM;
	for (uint32_t i = 0; i < SERVE_HEALS_MAX; i++)
		LL_PREPEND(s->heals_free, &s->heals[i]);
	return 0;
}

void cs_serve_heal_finish(struct cs_server *s)
{
	for (uint32_t i = 0; s->heals != NULL && i < SERVE_HEALS_MAX; i++) {
		if (s->heals[i].req != NULL)
			rpc_answer(s->heals[i].req, -E_SHUTDOWN, NULL, NULL);
		free(s->heals[i].ranges);
	}
	free(s->heals);
	s->heals = NULL;
}
