/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET, SYNC, WHERE, SIZES: one block out, one generation made durable, one place told, the lengths
 * of many. A record that turns out wrong goes to damage.c.
 */
#include "chunk-server/serve_internal.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

struct get_job {
	struct get_job *next;
	struct cs_server *server;
	struct rpc_request *req;
	struct cs_get get;
	uint32_t part_from, part_len; /* of the plain bytes; 0: the record */
};

#define BACKGROUND_MAX 128u /* gets of the background that wait for their turn */

struct sync_job {
	struct sync_job *next;
	struct cs_server *server;
	struct rpc_request *req;
	uint64_t boot_id;
	struct cs_disks_sync sync;
};

/* --- GET ---- */

/* Of an encoded record: decoded here, since 64 KiB less on the wire are worth more. */
static struct buf *get_decoded_part(const struct get_job *job, const struct record *r)
{
	struct cs_server *s = job->server;
	struct buf *part = buf_get(s->options.pool, job->part_len);

	if (part == NULL)
		return NULL;
	if (codec_decode(s->part_codec, r->codec, job->get.record->data + RECORD_HEADER_BYTES,
			 r->stored_len, s->part_plain, r->plain_len) < 0) {
		buf_put(part);
		return NULL; /* the one who gets the record finds out, and has it looked at */
	}
	memcpy(part->data, s->part_plain + job->part_from, job->part_len);
	part->len = job->part_len;
	return part;
}

/*
 * The part that was asked for, of a record that was checked: by its header, since the index has no
 * checksum. NULL: it lacks that part, is no longer than it, or memory lacks; then the whole one
 * must do.
 */
static struct buf *get_part(const struct get_job *job)
{
	const struct buf *record = job->get.record;
	struct record r;

	if (job->get.rc < 0 || job->part_len == 0 || job->part_len >= record->len ||
	    record_decode_header(record->data, &r) < 0 ||
	    (uint64_t)job->part_from + job->part_len > r.plain_len)
		return NULL;
	if (r.codec != CODEC_RAW)
		return get_decoded_part(job, &r);
	return buf_slice(job->get.record, RECORD_HEADER_BYTES + job->part_from, job->part_len);
}

static void get_end(struct get_job *job)
{
	struct cs_server *s = job->server;
	Wire__GetReply reply = WIRE__GET_REPLY__INIT;
	uint8_t row[PG_ROW_BYTES_MAX];
	int rc = job->get.rc;
	const struct pg_row *known = map_pg(s->map, block_id_pg(&job->get.id));

	/* Who asked here in vain may have an old row (I10). */
	if (rc < 0 && known->epoch > job->req->header.epoch) {
		reply.pg_row.len = pg_row_encode(known, row);
		reply.pg_row.data = row;
	}
	struct buf *part = get_part(job);
	reply.is_part = part != NULL;
	rpc_answer_epoch(job->req, rc, &reply.base, part != NULL ? part : job->get.record,
			 map_version(s->map), rc == 0 && part == NULL);
	buf_put(part);
	buf_put(job->get.record);
	job->get.record = NULL;
	job->req = NULL;
	s->jobs--;
	LL_PREPEND(s->gets_free, job);
}

static void got(struct cs_get *get)
{
	struct get_job *job = container_of(get, struct get_job, get);

	/* If it cannot be noted now, the next reader or the scrub finds it again. */
	if (get->rc == -E_CORRUPT)
		(void)cs_damage_report(job->server, get->store, &get->id, &get->place);
	if (get->rc == 0)
		cs_tiers_used(job->server, get);
	get_end(job);
}

/* --- the background waits for its turn ---- */

static void parked_run(struct cs_server *s)
{
	struct get_job *job;

	while ((job = s->parked) != NULL &&
	       cs_share_take(&s->share, loop_now_ms(s->options.loop))) {
		LL_DELETE(s->parked, job);
		s->parked_count--;
		cs_disks_get(s->disks, &job->get);
	}
	if (s->parked != NULL && !s->is_stopping)
		loop_timer_start(s->options.loop, &s->parked_timer, CS_SHARE_WAIT_MS);
}

static void parked_fired(struct loop_timer *timer)
{
	parked_run(container_of(timer, struct cs_server, parked_timer));
}

static void park(struct get_job *job)
{
	struct cs_server *s = job->server;

	LL_APPEND(s->parked, job);
	s->parked_count++;
	if (!s->parked_timer.is_active)
		parked_run(s);
}

void cs_serve_get_stop(struct cs_server *s)
{
	struct get_job *job;

	loop_timer_stop(s->options.loop, &s->parked_timer);
	while ((job = s->parked) != NULL) {
		LL_DELETE(s->parked, job);
		job->get.rc = -E_SHUTDOWN;
		get_end(job);
	}
}

void cs_serve_get(struct cs_server *s, struct rpc_request *req)
{
	const Wire__Get *msg = (const Wire__Get *)req->msg;
	struct get_job *job = s->gets_free;

	if (!msg->background)
		cs_share_client(&s->share, loop_now_ms(s->options.loop));
	if (job == NULL || (msg->background && s->parked_count >= BACKGROUND_MAX)) {
		rpc_answer(req, -E_OVERLOADED, NULL, NULL);
		return;
	}
	LL_DELETE(s->gets_free, job);
	s->jobs++;
	job->server = s;
	job->req = req;
	job->get = (struct cs_get){.done = got};
	ASSERT(msg->id.len == BLOCK_ID_BYTES);
	memcpy(job->get.id.bytes, msg->id.data, BLOCK_ID_BYTES);
	job->part_from = msg->from;
	job->part_len = msg->length;
	if (msg->background) {
		park(job);
		return;
	}
	cs_heat_note(s->heat, &job->get.id, loop_now_ms(s->options.loop));
	cs_disks_get(s->disks, &job->get);
}

/* --- SYNC ---- */

static void synced(struct cs_disks_sync *sync)
{
	struct sync_job *job = container_of(sync, struct sync_job, sync);
	struct cs_server *s = job->server;
	Wire__SyncReply reply = WIRE__SYNC_REPLY__INIT;
	int rc = sync->rc;

	/* I4: what a disk lost while it was synced is told like a restart: ask HAVE, put again. */
	if (rc == -E_IO || s->boot_id != job->boot_id)
		rc = -E_STALE_GENERATION;
	reply.generation = sync->generation;
	rpc_answer(job->req, rc, &reply.base, NULL);
	job->req = NULL;
	s->jobs--;
	LL_PREPEND(s->syncs_free, job);
}

void cs_serve_sync(struct cs_server *s, struct rpc_request *req)
{
	const Wire__Sync *msg = (const Wire__Sync *)req->msg;
	struct sync_job *job = s->syncs_free;

	if (msg->boot_id != s->boot_id || msg->generation > cs_disks_generation(s->disks)) {
		rpc_answer(req, -E_STALE_GENERATION, NULL, NULL);
		return;
	}
	if (job == NULL) {
		rpc_answer(req, -E_OVERLOADED, NULL, NULL);
		return;
	}
	LL_DELETE(s->syncs_free, job);
	s->jobs++;
	job->server = s;
	job->req = req;
	job->boot_id = s->boot_id;
	job->sync = (struct cs_disks_sync){.generation = msg->generation, .done = synced};
	cs_disks_sync(s->disks, &job->sync);
}

/* --- WHERE, SIZES ---- */

void cs_serve_where(struct cs_server *s, struct rpc_request *req)
{
	const Wire__Where *msg = (const Wire__Where *)req->msg;
	Wire__WhereReply reply = WIRE__WHERE_REPLY__INIT;
	struct block_id id;
	struct cs_place place;

	ASSERT(msg->id.len == BLOCK_ID_BYTES);
	memcpy(id.bytes, msg->id.data, BLOCK_ID_BYTES);
	int rc = cs_disks_find(s->disks, &id, &place, &reply.disk);
	if (rc == 0) {
		reply.held = true;
		reply.segment = place.segment;
		reply.offset = place.offset;
		reply.stored_len = place.length;
		reply.plain_len = place.plain_len;
		reply.codec = place.codec;
	}
	rpc_answer(req, rc == -E_NO_BLOCK ? 0 : rc, &reply.base, NULL);
}

/* Answered within the turn: a thousand lookups are a millisecond. */
void cs_serve_sizes(struct cs_server *s, struct rpc_request *req)
{
	const Wire__Sizes *msg = (const Wire__Sizes *)req->msg;
	Wire__SizesReply reply = WIRE__SIZES_REPLY__INIT;
	uint32_t stored[SIZES_IDS_MAX];
	uint8_t codecs[SIZES_IDS_MAX];
	struct block_id id;
	struct cs_place place;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < msg->n_ids; i++) {
		ASSERT(msg->ids[i].len == BLOCK_ID_BYTES);
		memcpy(id.bytes, msg->ids[i].data, BLOCK_ID_BYTES);
		rc = cs_disks_find(s->disks, &id, &place, NULL);
		stored[i] = rc == 0 ? place.length : 0;
		codecs[i] = rc == 0 ? place.codec : 0;
		if (rc == -E_NO_BLOCK)
			rc = 0;
	}
	reply.n_stored = msg->n_ids;
	reply.stored = stored;
	reply.codecs = (ProtobufCBinaryData){msg->n_ids, codecs};
	rpc_answer(req, rc, &reply.base, NULL);
}

int cs_serve_get_init(struct cs_server *s)
{
	s->gets = calloc(SERVE_GETS_MAX, sizeof(*s->gets));
	s->parked_timer.fn = parked_fired;
	s->syncs = calloc(SERVE_SYNCS_MAX, sizeof(*s->syncs));
	s->part_codec = codec_scratch_create();
	s->part_plain = malloc(BLOCK_BYTES_MAX);
	if (!s->gets || !s->syncs || !s->part_codec || !s->part_plain)
		return -E_NOMEM;
	for (uint32_t i = 0; i < SERVE_GETS_MAX; i++)
		LL_PREPEND(s->gets_free, &s->gets[i]);
	for (uint32_t i = 0; i < SERVE_SYNCS_MAX; i++)
		LL_PREPEND(s->syncs_free, &s->syncs[i]);
	return 0;
}

void cs_serve_get_finish(struct cs_server *s)
{
	loop_timer_stop(s->options.loop, &s->parked_timer);
	for (uint32_t i = 0; s->gets != NULL && i < SERVE_GETS_MAX; i++) {
		buf_put(s->gets[i].get.record);
		if (s->gets[i].req != NULL)
			rpc_answer(s->gets[i].req, -E_SHUTDOWN, NULL, NULL);
	}
	for (uint32_t i = 0; s->syncs != NULL && i < SERVE_SYNCS_MAX; i++) {
		if (s->syncs[i].req != NULL)
			rpc_answer(s->syncs[i].req, -E_SHUTDOWN, NULL, NULL);
	}
	codec_scratch_destroy(s->part_codec);
	free(s->part_plain);
	s->part_codec = NULL;
	s->part_plain = NULL;
	free(s->gets);
	free(s->syncs);
	s->gets = NULL;
	s->syncs = NULL;
}
