/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Repaying what is owed, in the background: a block that another replica missed is sent to it when
 * it is back; one that we lack ourselves is fetched from another replica or former. Bounded to a
 * few blocks in flight, and to the background's share.
 *
 * A round goes through all entries, by server, then id. What fails stays owed and is tried in the
 * next. A server is asked first which of its entries it holds: many do not know who reached it,
 * healing may have brought others.
 */
#include "chunk-server/serve_internal.h"

#include <stdlib.h>
#include <string.h>

#include "fs/base/log.h"

#define LOG_MODULE "repay"

#define REPAY_SLOTS    16u
#define REPAY_BATCH    128u /* entries that a server is asked about at once */
#define REPAY_WAIT_MS  10u  /* while clients go first */
#define REPAY_PAUSE_MS 1000u
#define REPAY_CALL_MS  5000u
#define REPAY_STEPS    256u /* entries looked at in one turn of the loop */

struct repay_slot {
	struct repay *repay;
	bool is_busy;
	struct block_id id;
	server_no server; /* that lacks the block */
	uint32_t source;  /* pull: which replica is asked */
	struct cs_get get;
	struct rpc_call call;
	struct cs_verify verify;
	struct buf *record;
	struct cs_put put;
};

/* Entries of one other server: asked about, then sent. */
struct repay_batch {
	server_no server;
	struct block_id ids[REPAY_BATCH];
	ProtobufCBinaryData wire[REPAY_BATCH];
	uint32_t count, index; /* from index on they are to be sent */
	bool is_asking;
	struct rpc_call call;
};

struct repay {
	struct cs_server *server;
	struct repay_batch batch;
	struct repay_slot slots[REPAY_SLOTS];
	uint32_t busy;
	server_no at_server; /* where the round goes on; 0: a new one */
	struct block_id at_id;
	bool is_at_end;	 /* only what is in flight is left of the round */
	uint64_t repaid; /* in this round */
	uint64_t bytes;	 /* brought or sent since the start */
	struct loop_timer timer;
	bool is_stopped;
	bool is_filling;
};

static void fill(struct repay *repay);

static void own_read(struct cs_get *get);

/*
 * Is the block ours again, at this moment? Not while a record of it is on its way to quarantine:
 * that rests on the debt. Nor if the record that was read is no longer the one that counts.
 */
static bool is_ours(struct repay_slot *slot)
{
	struct cs_server *s = slot->repay->server;
	struct cs_place place, *read = &slot->get.place;

	if (cs_damage_is_reported(s, &slot->id) ||
	    cs_disks_find(s->disks, &slot->id, &place, NULL) < 0)
		return false;
	return slot->get.done != own_read ||
	       cs_place_is_at(&place, read->segment, read->offset);
}

static void slot_end(struct repay_slot *slot, bool is_repaid)
{
	struct repay *repay = slot->repay;

	if (slot->server == repay->server->number)
		is_repaid = is_repaid && is_ours(slot);
	if (is_repaid && slot->record != NULL)
		repay->bytes += slot->record->len;
	buf_put(slot->record);
	slot->record = NULL;
	slot->is_busy = false;
	repay->busy--;
	if (is_repaid) {
		repay->repaid++;
		/* If it cannot be noted, it is repaid once more: no harm. */
		(void)!cs_owed_remove(repay->server->owed, &slot->id, slot->server);
	}
	if (!repay->is_filling)
		fill(repay);
}

/* --- to another server ---- */

static void sent(struct rpc_call *call)
{
	struct repay_slot *slot = container_of(call, struct repay_slot, call);

	cs_forward_note(slot->repay->server, slot->server, call->rc);
	slot_end(slot, call->rc == 0);
}

static void send_start(struct repay_slot *slot)
{
	struct cs_server *s = slot->repay->server;
	struct rpc_peer *peer = cs_forward_peer(s, slot->server);
	Wire__Put msg = WIRE__PUT__INIT;

	if (peer == NULL) {
		slot_end(slot, false);
		return;
	}
	slot->call = (struct rpc_call){
		.type = MSG_PUT,
		.request = &msg.base,
		.bulk = slot->record,
		.bulk_is_record = true,
		.deadline_ms = REPAY_CALL_MS,
		.epoch = map_pg(s->map, block_id_pg(&slot->id))->epoch,
		.done = sent,
	};
	rpc_call(peer, &slot->call);
}

static void read_for_send(struct cs_get *get)
{
	struct repay_slot *slot = container_of(get, struct repay_slot, get);
	struct cs_server *s = slot->repay->server;

	slot->record = get->record;
	if (get->rc == 0) {
		send_start(slot);
		return;
	}
	if (get->rc == -E_CORRUPT)
		(void)cs_damage_report(s, get->store, &slot->id, &get->place);
	slot_end(slot, false);
}

/* --- to ourselves ---- */

static void ask_next(struct repay_slot *slot);

static void stored(struct cs_put *put)
{
	struct repay_slot *slot = container_of(put, struct repay_slot, put);

	slot_end(slot, put->rc == 0);
}

static void verified(struct cs_verify *verify)
{
	struct repay_slot *slot = container_of(verify, struct repay_slot, verify);

	if (verify->rc < 0 || !block_id_equal(&verify->found.id, &slot->id)) {
		buf_put(slot->record);
		slot->record = NULL;
		ask_next(slot);
		return;
	}
	slot->put = (struct cs_put){
		.record = slot->record,
		.id = slot->id,
		.plain_len = verify->found.plain_len,
		.kind = CS_PUT_HEALING,
		.done = stored,
	};
	cs_disks_put(slot->repay->server->disks, &slot->put);
}

static void fetched(struct rpc_call *call)
{
	struct repay_slot *slot = container_of(call, struct repay_slot, call);

	if (call->rc < 0 || call->reply_bulk == NULL) {
		ask_next(slot);
		return;
	}
	slot->record = buf_ref(call->reply_bulk);
	slot->verify = (struct cs_verify){.record = slot->record, .done = verified};
	cs_verify_start(slot->repay->server->verifier, &slot->verify);
}

static void ask_next(struct repay_slot *slot)
{
	struct cs_server *s = slot->repay->server;
	const struct pg_row *row = map_pg(s->map, block_id_pg(&slot->id));
	Wire__Get msg = WIRE__GET__INIT;
	struct rpc_peer *peer = NULL;

	for (; peer == NULL && slot->source < pg_row_place_count(row); slot->source++)
		peer = cs_forward_source(s, pg_row_server_at(row, slot->source));
	if (peer == NULL) {
		slot_end(slot, false);
		return;
	}
	msg.id.data = slot->id.bytes;
	msg.id.len = BLOCK_ID_BYTES;
	slot->call = (struct rpc_call){
		.type = MSG_GET,
		.request = &msg.base,
		.deadline_ms = REPAY_CALL_MS,
		.epoch = row->epoch,
		.done = fetched,
	};
	rpc_call(peer, &slot->call);
}

/* --- what we have after all ---- */

static void own_verified(struct cs_verify *verify)
{
	struct repay_slot *slot = container_of(verify, struct repay_slot, verify);

	if (verify->rc < 0)
		(void)cs_damage_report(slot->repay->server, slot->get.store, &slot->id,
				       &slot->get.place);
	slot_end(slot, verify->rc == 0);
}

/*
 * A record that was found wrong may be known again after a crash: only a good one settles the debt.
 */
static void own_read(struct cs_get *get)
{
	struct repay_slot *slot = container_of(get, struct repay_slot, get);
	struct cs_server *s = slot->repay->server;

	slot->record = get->record;
	if (get->rc < 0) {
		if (get->rc == -E_CORRUPT)
			(void)cs_damage_report(s, get->store, &slot->id, &get->place);
		slot_end(slot, false);
		return;
	}
	slot->verify = (struct cs_verify){.record = slot->record, .done = own_verified};
	cs_verify_start(s->verifier, &slot->verify);
}

/* --- the round ---- */

/* The next entry of the round into *server and *id; false at its end. */
static bool next_entry(struct repay *repay, server_no *server, struct block_id *id)
{
	struct cs_owed *owed = repay->server->owed;

	while (!repay->is_at_end) {
		*id = repay->at_id;
		*server = repay->at_server;
		if (*server != 0 && cs_owed_next(owed, *server, id) == 0)
			break;
		*server = repay->at_server + 1;
		memset(&repay->at_id, 0, sizeof(repay->at_id));
		repay->is_at_end = cs_owed_next_server(owed, server) < 0;
		repay->at_server = *server;
	}
	if (repay->is_at_end)
		return false;
	repay->at_id = *id;
	(void)block_id_next(&repay->at_id);
	return true;
}

static void skip_server(struct repay *repay)
{
	memset(&repay->at_id, 0xff, sizeof(repay->at_id));
}

static void slot_start(struct repay_slot *slot, server_no server, const struct block_id *id)
{
	struct repay *repay = slot->repay;
	struct cs_server *s = repay->server;
	struct cs_place place;

	slot->is_busy = true;
	slot->server = server;
	slot->id = *id;
	slot->source = 0;
	slot->get = (struct cs_get){.id = *id, .done = read_for_send};
	repay->busy++;
	if (server != s->number) {
		cs_disks_get(s->disks, &slot->get);
	} else if (cs_disks_find(s->disks, id, &place, NULL) == 0) {
		slot->get.done = own_read;
		cs_disks_get(s->disks, &slot->get);
	} else {
		ask_next(slot);
	}
}

/* May this entry be worked on now? One that no longer counts is dropped. */
static bool is_due(struct repay *repay, server_no server, const struct block_id *id)
{
	struct cs_server *s = repay->server;
	const struct pg_row *row = map_pg(s->map, block_id_pg(id));

	if (row->epoch == 0) {
		skip_server(repay); /* the map is still to come */
		return false;
	}
	if (!pg_row_has(row, server)) {
		/* Another has its place: bringing that one up to date is healing. */
		(void)!cs_owed_remove(s->owed, id, server);
		return false;
	}
	if (server != s->number && cs_forward_peer(s, server) == NULL) {
		skip_server(repay);
		return false;
	}
	return true;
}

static struct repay_slot *free_slot(struct repay *repay)
{
	for (uint32_t i = 0; i < REPAY_SLOTS; i++) {
		if (!repay->slots[i].is_busy)
			return &repay->slots[i];
	}
	return NULL;
}

static void round_end(struct repay *repay)
{
	if (repay->repaid > 0)
		log_info("repaid %llu blocks, %llu are owed", (unsigned long long)repay->repaid,
			 (unsigned long long)cs_owed_count(repay->server->owed));
	repay->repaid = 0;
	repay->at_server = 0;
	repay->is_at_end = false;
}

/* --- who has what after all ---- */

/* Drop the entries that the server holds by now; keep the others to be sent. */
static void batch_take(struct repay_batch *batch, const Wire__HaveReply *reply,
		       struct cs_owed *owed)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < batch->count; i++) {
		if (reply->answers[i]->n_holders == 0)
			batch->ids[kept++] = batch->ids[i];
		else
			(void)!cs_owed_remove(owed, &batch->ids[i], batch->server);
	}
	batch->count = kept;
}

static void batch_asked(struct rpc_call *call)
{
	struct repay_batch *batch = container_of(call, struct repay_batch, call);
	struct repay *repay = container_of(batch, struct repay, batch);
	const Wire__HaveReply *reply = (const Wire__HaveReply *)call->reply;

	batch->is_asking = false;
	cs_forward_note(repay->server, batch->server, call->rc);
	if (call->rc == 0 && reply != NULL && reply->n_answers == batch->count)
		batch_take(batch, reply, repay->server->owed);
	else if (call->rc != -E_OVERLOADED)
		batch->count = 0; /* in the next round */
	fill(repay);
}

/* Ask about this entry and those that follow for the same server. */
static void batch_start(struct repay *repay, server_no server, const struct block_id *first)
{
	struct cs_server *s = repay->server;
	struct repay_batch *batch = &repay->batch;
	Wire__Have msg = WIRE__HAVE__INIT;
	struct block_id id = *first;

	batch->server = server;
	batch->count = batch->index = 0;
	do {
		repay->at_id = id;
		(void)block_id_next(&repay->at_id);
		if (is_due(repay, server, &id))
			batch->ids[batch->count++] = id;
		id = repay->at_id;
	} while (batch->count < REPAY_BATCH && cs_owed_next(s->owed, server, &id) == 0);
	struct rpc_peer *peer = cs_forward_peer(s, server);
	if (peer == NULL || batch->count == 0) {
		batch->count = 0;
		return;
	}
	for (uint32_t i = 0; i < batch->count; i++)
		batch->wire[i] = (ProtobufCBinaryData){BLOCK_ID_BYTES, batch->ids[i].bytes};
	msg.ids = batch->wire;
	msg.n_ids = batch->count;
	batch->is_asking = true;
	batch->call = (struct rpc_call){
		.type = MSG_HAVE,
		.request = &msg.base,
		.deadline_ms = REPAY_CALL_MS,
		.done = batch_asked,
	};
	rpc_call(peer, &batch->call);
}

/* --- filling ---- */

/* Start what fits; the pause in ms until it goes on if nothing is in flight. */
static uint64_t fill_slots(struct repay *repay)
{
	struct cs_server *s = repay->server;
	struct repay_batch *batch = &repay->batch;
	struct repay_slot *slot;
	server_no server;
	struct block_id id;

	for (uint32_t step = 0; step < REPAY_STEPS && !batch->is_asking; step++) {
		slot = free_slot(repay);
		if (slot == NULL)
			break;
		if (batch->index < batch->count) {
			if (!cs_share_take(&s->share, loop_now_ms(s->options.loop)))
				return REPAY_WAIT_MS;
			slot_start(slot, batch->server, &batch->ids[batch->index++]);
		} else if (!next_entry(repay, &server, &id)) {
			return REPAY_PAUSE_MS;
		} else if (!is_due(repay, server, &id)) {
			continue;
		} else if (server == s->number) {
			slot_start(slot, server, &id);
		} else {
			batch_start(repay, server, &id);
		}
	}
	return 1;
}

static void fill(struct repay *repay)
{
	if (repay->is_stopped)
		return;
	repay->is_filling = true;
	uint64_t pause_ms = fill_slots(repay);
	repay->is_filling = false;
	if (repay->busy > 0 || repay->batch.is_asking)
		return; /* goes on when one of them ends */
	if (pause_ms == REPAY_PAUSE_MS)
		round_end(repay);
	loop_timer_start(repay->server->options.loop, &repay->timer, pause_ms);
}

static void timer_fired(struct loop_timer *timer)
{
	fill(container_of(timer, struct repay, timer));
}

int cs_repay_create(struct cs_server *s)
{
	struct repay *repay = calloc(1, sizeof(*repay));

	if (repay == NULL)
		return -E_NOMEM;
	repay->server = s;
	for (uint32_t i = 0; i < REPAY_SLOTS; i++)
		repay->slots[i].repay = repay;
	repay->timer.fn = timer_fired;
	s->repay = repay;
	loop_timer_start(s->options.loop, &repay->timer, REPAY_PAUSE_MS);
	return 0;
}

void cs_repay_stop(struct cs_server *s)
{
	s->repay->is_stopped = true;
	loop_timer_stop(s->options.loop, &s->repay->timer);
}

bool cs_repay_is_idle(const struct cs_server *s)
{
	return s->repay->busy == 0 && !s->repay->batch.is_asking;
}

uint64_t cs_repay_bytes(const struct cs_server *s)
{
	return s->repay->bytes;
}

void cs_repay_destroy(struct cs_server *s)
{
	if (s->repay == NULL)
		return;
	cs_repay_stop(s);
	for (uint32_t i = 0; i < REPAY_SLOTS; i++) {
		struct repay_slot *slot = &s->repay->slots[i];
		buf_put(slot->record);
		if (slot->is_busy && slot->record == NULL)
			buf_put(slot->get.record);
	}
	free(s->repay);
	s->repay = NULL;
}
