/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Merging one group: our own digest, then each source's. The first question is one count and one
 * sum, which settles nearly all; where they differ, finer ranges; of those that differ, the ids; of
 * these, what we lack is pulled. Sources begin at a different place with each group, so that all
 * are busy.
 *
 * Own digests are taken before the source's: what is put at both in between looks like a
 * difference, and is found not to be one. Work is done a few hundred rows or ids at a time.
 */
#include "chunk-server/heal_internal.h"

#include <string.h>

#include "fs/base/log.h"

#define LOG_MODULE "heal"

#define ROWS_PER_TURN 1024u
#define IDS_PER_TURN  256u
#define RANGE_IDS     64u	      /* wanted in a range: as much to list as to count */
#define LIST_ALL      (2 * RANGE_IDS) /* groups up to this size are listed as a whole */

static void source_next(struct heal_merge *m);
static void list_next(struct heal_merge *m);
static void ids_walk(struct heal_merge *m);
static void digest_ask(struct heal_merge *m, uint32_t bits);

static struct heal_group *group_of(struct heal_merge *m)
{
	return &m->heal->groups[m->pg];
}

/* The row is another by now, or all ends: nothing new is begun. */
static bool is_over(const struct heal_merge *m)
{
	const struct heal_group *group = &m->heal->groups[m->pg];

	return m->heal->is_stopped || group->epoch != m->row.epoch ||
	       map_pg(m->heal->server->map, m->pg)->epoch != m->row.epoch;
}

/* --- our own digest ---- */

static bool own_row(void *arg, const struct block_id *id)
{
	struct heal_merge *m = arg;

	heal_range_add(&m->own[heal_range_index(id, m->own_bits)], id);
	return true;
}

static void own_turn(struct loop_task *task)
{
	struct heal_merge *m = container_of(task, struct heal_merge, turn);
	struct cs_server *s = m->heal->server;
	struct cs_disks_visitor visitor = {own_row, m, ROWS_PER_TURN,
					   heal_lists_trash(m->row.epoch)};
	struct block_id from, to;
	int rc = -E_CANCELED;

	heal_range_bounds(m->pg, 0, 0, &from, &to);
	if (!is_over(m))
		rc = cs_disks_visit(s->disks, &m->from, &to, &visitor);
	if (rc == 1)
		loop_post(s->options.loop, &m->turn);
	else if (rc < 0)
		cs_heal_merge_over(m);
	else if (m->own_bits > 0)
		digest_ask(m, m->own_bits);
	else
		source_next(m);
}

/* Coarse: then to the next source. Finer: then this source is asked as finely. */
static void own_start(struct heal_merge *m, uint32_t bits)
{
	memset(m->own, 0, sizeof(*m->own) << bits);
	m->own_bits = bits;
	heal_range_bounds(m->pg, 0, 0, &m->from, &m->to);
	m->turn.run = own_turn;
	loop_post(m->heal->server->options.loop, &m->turn);
}

/* --- lists ---- */

static void source_end(struct heal_merge *m)
{
	if (!m->has_failed)
		m->merged |= (uint16_t)(1u << m->place);
	m->has_lacked = m->has_lacked || m->has_failed;
	m->has_failed = false;
	/* What we hold has changed. */
	own_start(m, 0);
}

/* Nothing more is asked of this source: what is being pulled is all that is left. */
static void pulls_wait(struct heal_merge *m)
{
	m->waits = m->pulls > 0 ? HEAL_WAITS_PULLS : HEAL_WAITS_NOT;
	if (m->pulls == 0)
		source_end(m);
}

/* The source cannot be merged now. */
static void source_failed(struct heal_merge *m)
{
	m->has_failed = true;
	pulls_wait(m);
}

/* A refusal that tells of a newer row ends the merge, by way of is_over(). */
static void take_row(struct heal_merge *m, int rc, const ProtobufCBinaryData *row)
{
	if (rc == -E_STALE_EPOCH && row != NULL && row->len > 0 &&
	    cs_heartbeat_take_row(m->heal->server, m->pg, row) < 0)
		log_warn("server %u told a malformed row",
			 pg_row_server_at(&m->row, m->place));
}

/* Foreign: ascending, within what was asked for, or nothing is taken. */
static bool ids_take(struct heal_merge *m, const struct buf *bulk)
{
	uint32_t bytes = bulk != NULL ? bulk->len : 0;

	if (bytes % BLOCK_ID_BYTES != 0 || bytes / BLOCK_ID_BYTES > HEAL_IDS_MAX)
		return false;
	m->id_count = bytes / BLOCK_ID_BYTES;
	m->id_index = 0;
	for (uint32_t i = 0; i < m->id_count; i++) {
		memcpy(m->ids[i].bytes, bulk->data + i * BLOCK_ID_BYTES, BLOCK_ID_BYTES);
		if (block_id_compare(&m->ids[i], i == 0 ? &m->from : &m->ids[i - 1]) <
			    (i == 0 ? 0 : 1) ||
		    block_id_compare(&m->ids[i], &m->to) > 0)
			return false;
	}
	return true;
}

static void list_came(struct rpc_call *call)
{
	struct heal_merge *m = container_of(call, struct heal_merge, call);
	const Wire__HealListReply *reply = (const Wire__HealListReply *)call->reply;

	cs_forward_note(m->heal->server, pg_row_server_at(&m->row, m->place), call->rc);
	take_row(m, call->rc, reply != NULL ? &reply->pg_row : NULL);
	m->id_count = 0;
	if (call->rc < 0 || reply == NULL || !ids_take(m, call->reply_bulk) ||
	    (m->id_count == 0 && !reply->end)) {
		source_failed(m);
		return;
	}
	m->is_list_end = reply->end;
	ids_walk(m);
}

static void list_ask(struct heal_merge *m)
{
	struct cs_server *s = m->heal->server;
	struct rpc_peer *peer = cs_forward_source(s, pg_row_server_at(&m->row, m->place));
	Wire__HealList msg = WIRE__HEAL_LIST__INIT;

	if (peer == NULL || is_over(m)) {
		source_failed(m);
		return;
	}
	msg.pg = m->pg;
	msg.from.data = m->from.bytes;
	msg.from.len = BLOCK_ID_BYTES;
	msg.to.data = m->to.bytes;
	msg.to.len = BLOCK_ID_BYTES;
	m->call = (struct rpc_call){
		.type = MSG_HEAL_LIST,
		.request = &msg.base,
		.deadline_ms = HEAL_CALL_MS,
		.epoch = m->row.epoch,
		.done = list_came,
	};
	rpc_call(peer, &m->call);
}

/* The next run of ranges that differ. */
static void list_next(struct heal_merge *m)
{
	uint32_t count = 1u << m->bits, first = m->range;
	struct block_id ignored;

	while (first < count && !m->differs[first])
		first++;
	if (first == count) {
		pulls_wait(m);
		return;
	}
	uint32_t last = first;
	while (last + 1 < count && m->differs[last + 1])
		last++;
	m->range = last + 1;
	heal_range_bounds(m->pg, m->bits, first, &m->from, &ignored);
	heal_range_bounds(m->pg, m->bits, last, &ignored, &m->to);
	list_ask(m);
}

/* Found in trash is lacking, too: a put takes it out. */
static bool is_lacking(struct heal_merge *m, const struct block_id *id)
{
	struct cs_place place;

	return cs_disks_find(m->heal->server->disks, id, &place, NULL) < 0 || place.trashed_ms != 0;
}

static void ids_turn(struct loop_task *task)
{
	ids_walk(container_of(task, struct heal_merge, turn));
}

static void ids_walk(struct heal_merge *m)
{
	uint32_t end = MIN_OF(m->id_count, m->id_index + IDS_PER_TURN);

	if (is_over(m)) {
		source_failed(m);
		return;
	}
	for (; m->id_index < end; m->id_index++) {
		const struct block_id *id = &m->ids[m->id_index];
		if (is_lacking(m, id) && !cs_heal_pull_start(m, id)) {
			m->waits = HEAL_WAITS_ROOM;
			return;
		}
	}
	if (m->id_index < m->id_count) {
		m->turn.run = ids_turn;
		loop_post(m->heal->server->options.loop, &m->turn);
		return;
	}
	if (m->is_list_end) {
		list_next(m);
		return;
	}
	m->from = m->ids[m->id_count - 1];
	if (block_id_next(&m->from) && block_id_compare(&m->from, &m->to) <= 0)
		list_ask(m);
	else
		list_next(m);
}

void cs_heal_merge_resume(struct heal_merge *m)
{
	enum heal_wait waits = m->is_busy ? m->waits : HEAL_WAITS_NOT;

	if (waits == HEAL_WAITS_ROOM) {
		m->waits = HEAL_WAITS_NOT;
		ids_walk(m);
	} else if (waits == HEAL_WAITS_PULLS && m->pulls == 0) {
		m->waits = HEAL_WAITS_NOT;
		source_end(m);
	}
}

/* --- the source's digest ---- */

/* How finely to ask, once they differ: so that little that is equal is listed. 0: list all. */
static uint32_t finer_bits(uint64_t ours, uint64_t theirs)
{
	uint64_t most = MAX_OF(ours, theirs);
	uint32_t bits = 0;

	if (ours == 0 || most <= LIST_ALL)
		return 0;
	while (bits < HEAL_BITS_MAX && most >> bits > RANGE_IDS)
		bits++;
	return bits;
}

static void note_lacking(struct heal_merge *m, uint64_t ours, uint64_t theirs)
{
	uint64_t lacking = theirs > ours ? theirs - ours : 1;

	group_of(m)->lacking = (uint32_t)MAX_OF((uint64_t)group_of(m)->lacking,
						 MIN_OF(lacking, (uint64_t)UINT32_MAX));
}

/* They differ as a whole. */
static void differs_begin(struct heal_merge *m, const struct heal_range *theirs)
{
	uint64_t ours = m->own[0].count;

	note_lacking(m, ours, theirs->count);
	if (!m->is_bringing && m->heal->bringing >= HEAL_BRINGING_MAX) {
		m->is_put_off = true;
		source_next(m);
		return;
	}
	m->heal->bringing += !m->is_bringing;
	m->is_bringing = true;
	uint32_t bits = finer_bits(ours, theirs->count);
	if (bits > 0) {
		own_start(m, bits);
		return;
	}
	m->range = 0;
	list_next(m);
}

static void digests_compare(struct heal_merge *m, const uint8_t *bytes)
{
	uint32_t count = 1u << m->bits, different = 0;
	struct heal_range theirs = {0};

	for (uint32_t i = 0; i < count; i++) {
		const struct heal_range *ours = &m->own[i];
		heal_range_decode(bytes + i * HEAL_RANGE_BYTES, &theirs);
		/* Without any of theirs there is nothing to list. */
		m->differs[i] = theirs.count > 0 &&
				(ours->count != theirs.count || ours->digest != theirs.digest);
		different += m->differs[i];
	}
	m->range = 0;
	if (different == 0) {
		m->merged |= (uint16_t)(1u << m->place);
		source_next(m);
	} else if (m->bits == 0) {
		differs_begin(m, &theirs);
	} else {
		list_next(m);
	}
}

static void digest_came(struct rpc_call *call)
{
	struct heal_merge *m = container_of(call, struct heal_merge, call);
	const Wire__HealDigestReply *reply = (const Wire__HealDigestReply *)call->reply;
	const struct buf *bulk = call->reply_bulk;

	cs_forward_note(m->heal->server, pg_row_server_at(&m->row, m->place), call->rc);
	take_row(m, call->rc, reply != NULL ? &reply->pg_row : NULL);
	if (call->rc == 0 && bulk != NULL && bulk->len == HEAL_RANGE_BYTES << m->bits &&
	    !is_over(m))
		digests_compare(m, bulk->data);
	else
		source_next(m); /* this one later */
}

static void digest_ask(struct heal_merge *m, uint32_t bits)
{
	struct cs_server *s = m->heal->server;
	struct rpc_peer *peer = cs_forward_source(s, pg_row_server_at(&m->row, m->place));
	Wire__HealDigest msg = WIRE__HEAL_DIGEST__INIT;

	if (peer == NULL) {
		source_next(m);
		return;
	}
	m->bits = bits;
	msg.pg = m->pg;
	msg.bits = bits;
	m->call = (struct rpc_call){
		.type = MSG_HEAL_DIGEST,
		.request = &msg.base,
		.deadline_ms = HEAL_CALL_MS,
		.epoch = m->row.epoch,
		.done = digest_came,
	};
	rpc_call(peer, &m->call);
}

/* --- one source after the other ---- */

/* All were asked. */
static void merge_end(struct heal_merge *m)
{
	struct heal_group *group = group_of(m);

	if (!is_over(m)) {
		group->is_known = true;
		if (!m->is_put_off)
			group->lacking = m->has_lacked ? MAX_OF(group->lacking, 1u) : 0;
	}
	cs_heal_merge_over(m);
}

static void source_next(struct heal_merge *m)
{
	uint32_t count = pg_row_place_count(&m->row);

	if (m->own_bits > 0 && !is_over(m)) {
		own_start(m, 0);
		return;
	}
	for (uint32_t i = 0; i < count && !is_over(m); i++) {
		uint32_t place = (m->start + i) % count;
		server_no server = pg_row_server_at(&m->row, place);
		if ((m->tried >> place & 1) != 0)
			continue;
		m->tried |= (uint16_t)(1u << place);
		if (server == m->heal->server->number)
			m->merged |= (uint16_t)(1u << place);
		else if (cs_forward_source(m->heal->server, server) != NULL) {
			m->place = place;
			digest_ask(m, 0);
			return;
		}
	}
	merge_end(m);
}

void cs_heal_merge_start(struct heal_merge *m, pg_no pg)
{
	const struct pg_row *row = map_pg(m->heal->server->map, pg);

	m->is_busy = true;
	m->is_bringing = false;
	m->is_put_off = false;
	m->pg = pg;
	m->row = *row;
	m->start = pg % pg_row_place_count(row);
	m->merged = m->heal->groups[pg].merged;
	m->tried = m->merged;
	m->has_failed = false;
	m->has_lacked = false;
	m->waits = HEAL_WAITS_NOT;
	m->pulls = 0;
	own_start(m, 0);
}
