/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions: who the clients are, what each mutation of theirs came to (I7), and when they have
 * ended.
 *
 * Durable: a row per session, a row per used slot, a row per term. In memory: when the session was
 * last renewed, its leases and opens, and the results of refused mutations, which changed nothing:
 * they only stop a late copy of the request, and no copy outlives the connections of this process.
 *
 * After a restart all sessions of the state have one lease period to reclaim what they held; until
 * all are back nobody else's operation is decided, for it might conflict with a lease not yet
 * reclaimed.
 */
#include "metadata-server/step_internal.h"

#include <stdlib.h>
#include <string.h>

#include "fs/base/text.h"

#define FENCES_PER_TICK 32u	/* each deletes up to 65 rows: together they fit one record */

/* What a new session may write before it first says how much it wants. */
#define FIRST_CREDIT_BYTES MiB(16)

struct ms_session *ms_session_find(struct ms_state *state, session_no number)
{
	struct ms_session *s;

	HASH_FIND(hh, state->sessions, &number, sizeof number, s);
	return s;
}

static struct ms_session *session_add(struct ms_state *state, session_no number,
				      const uint8_t nonce[16])
{
	struct ms_session *s = calloc(1, sizeof *s);

	if (!s)
		return NULL;
	s->number = number;
	memcpy(s->nonce, nonce, sizeof s->nonce);
	HASH_ADD(hh, state->sessions, number, sizeof s->number, s);
	if (!s->hh.tbl) {
		free(s);
		return NULL;
	}
	state->session_count++;
	return s;
}

/* --- loading ---------------------------------------------------------------------------------- */

static int load_session(struct ms_state *state, const struct row *row, struct rd *key)
{
	struct ms_session_value v;
	session_no number = rd_be64(key);
	int rc = ms_key_session_decode(row->value, row->value_len, &v);

	if (rc < 0 || !rd_done(key) || number == 0)
		return -E_CORRUPT;
	return session_add(state, number, v.nonce) ? 0 : -E_NOMEM;
}

static int load_slot(struct ms_state *state, const struct row *row, struct rd *key)
{
	struct ms_session *s = ms_session_find(state, rd_be64(key));
	uint32_t slot = rd_be16(key);

	if (!rd_done(key) || !s || slot >= SESSION_SLOTS)
		return -E_CORRUPT;
	s->slots_stored |= UINT64_C(1) << slot;
	s->slots_loaded |= UINT64_C(1) << slot;
	return ms_key_slot_decode(row->value, row->value_len, &s->slots[slot]);
}

int ms_session_load(struct ms_state *state)
{
	struct ms_key key = ms_key_one(MS_KEY_SESSION);
	uint8_t at[ROW_KEY_BYTES_MAX];
	uint32_t at_len = key.len;
	struct row row;
	int rc;

	memcpy(at, key.bytes, key.len);
	while ((rc = ms_txn_next(state->txn, at, at_len, &row)) == 0) {
		struct rd r;

		if (ms_key_is(&row, MS_KEY_SESSION, &r))
			rc = load_session(state, &row, &r);
		else if (ms_key_is(&row, MS_KEY_SLOT, &r))
			rc = load_slot(state, &row, &r);
		else
			break;
		if (rc < 0)
			return rc;
		memcpy(at, row.key, row.key_len);	/* session and slot keys are short */
		at[row.key_len] = 0;
		at_len = row.key_len + 1;
	}
	return rc == -E_NOENT ? 0 : rc;
}

/* --- terms ------------------------------------------------------------------------------------ */

void ms_session_term(struct ms_state *state, const struct ms_request *req)
{
	struct ms_key key = ms_key_number(MS_KEY_TERM, req->term);
	struct ms_session *s, *next;
	uint8_t value[8];
	struct wr w = wr_init(value, sizeof value);

	state->term = req->term;
	state->term_base = req->number;
	wr_u64(&w, req->number);
	ms_txn_put(state->txn, key.bytes, key.len, value, sizeof value);
	if (req->term > MS_TERMS_KEPT) {
		key = ms_key_number(MS_KEY_TERM, req->term - MS_TERMS_KEPT);
		ms_txn_del(state->txn, key.bytes, key.len);
	}
	state->is_recovering = state->session_count > 0;
	state->recovery_ends_ms = state->now_ms + state->config.lease_ms;
	HASH_ITER(hh, state->sessions, s, next)
		s->expires_ms = state->recovery_ends_ms;
	state->sweep = !state->is_recovering;
}

/*
 * The first number that was lost of what a client was told up to `number` in `term`; 0: nothing.
 * Every term since then began somewhere, and what was told beyond that is gone.
 */
static uint64_t lost_from(struct ms_state *state, uint64_t term, uint64_t number)
{
	struct ms_key key = ms_key_number(MS_KEY_TERM, term + 1);
	uint64_t lost = 0;
	struct row row;

	while (term < state->term && ms_txn_next(state->txn, key.bytes, key.len, &row) == 0) {
		struct rd k, v = rd_init(row.value, row.value_len);
		uint64_t base = rd_u64(&v);

		if (!ms_key_is(&row, MS_KEY_TERM, &k))
			break;
		term = rd_be64(&k);
		if (number > base && (!lost || base + 1 < lost))
			lost = base + 1;
		key = ms_key_number(MS_KEY_TERM, term + 1);
	}
	return lost;
}

static void recovery_end_if_all_back(struct ms_state *state)
{
	struct ms_session *s, *next;

	if (!state->is_recovering)
		return;
	HASH_ITER(hh, state->sessions, s, next)
		if (!s->is_back)
			return;
	state->is_recovering = false;
	state->sweep = true;
	ms_park_wake_all(state);
}

/* --- the end of a session --------------------------------------------------------------------- */

static void rows_delete(struct ms_state *state, const struct ms_session *s)
{
	struct ms_key key = ms_key_number(MS_KEY_SESSION, s->number);

	ms_txn_del(state->txn, key.bytes, key.len);
	for (uint32_t slot = 0; slot < SESSION_SLOTS; slot++) {
		if (!(s->slots_stored >> slot & 1))
			continue;
		key = ms_key_slot(s->number, slot);
		ms_txn_del(state->txn, key.bytes, key.len);
	}
}

/* Of a frozen state only in memory: nobody waits for it, and the next process has it again. */
static void session_end(struct ms_state *state, struct ms_session *s)
{
	if (!state->is_frozen)
		rows_delete(state, s);
	ms_park_drop_session(state, s);
	ms_lease_drop_session(state, s);
	ms_locks_drop_session(state->locks, s->number);
	ms_quota_drop_session(state, s);
	HASH_DEL(state->sessions, s);
	state->session_count--;
	state->sweep = true;
	/* its rows may lie behind a sweep under way */
	state->sweep_ino = state->sweep_session = 0;
	free(s);
	recovery_end_if_all_back(state);
}

void ms_session_fence(struct ms_state *state, struct ms_session *session)
{
	ms_step_emit(state, &(struct ms_effect){.kind = MS_FX_FENCED, .session = session->number});
	session_end(state, session);
}

/* A session that was heard since has its lease from then on, and no more. */
void ms_session_slept(struct ms_state *state, uint64_t slept_ms)
{
	uint64_t latest_ms = state->now_ms + state->config.lease_ms;
	struct ms_session *s, *next;

	state->recovery_ends_ms = MIN_OF(state->recovery_ends_ms + slept_ms, latest_ms);
	HASH_ITER(hh, state->sessions, s, next)
		s->expires_ms = MIN_OF(s->expires_ms + slept_ms, latest_ms);
}

void ms_session_tick(struct ms_state *state)
{
	struct ms_session *s, *next;
	uint32_t fenced = 0;

	HASH_ITER(hh, state->sessions, s, next) {
		bool late = state->is_recovering && !s->is_back &&
			    state->now_ms >= state->recovery_ends_ms;

		if (!late && state->now_ms < s->expires_ms)
			continue;
		if (fenced++ == FENCES_PER_TICK) {
			ms_step_emit(state, &(struct ms_effect){ .kind = MS_FX_TICK });
			return;
		}
		ms_session_fence(state, s);
	}
	recovery_end_if_all_back(state);
}

/* --- requests --------------------------------------------------------------------------------- */

static void fill_reply(struct ms_op *op, struct ms_session *s)
{
	struct ms_reply *reply = &op->effect.reply;

	reply->session = s->number;
	reply->lease_ms = (uint32_t)op->state->config.lease_ms;
	reply->map_version = map_version(op->state->map);
	reply->name_key = op->state->config.name_key;
	reply->credit_bytes = s->credit_bytes;
	reply->space_unknown = ms_space_is_unknown(op->state);
}

static struct ms_session *find_nonce(struct ms_state *state, const uint8_t nonce[16])
{
	struct ms_session *s, *next;

	HASH_ITER(hh, state->sessions, s, next)
		if (memcmp(s->nonce, nonce, sizeof s->nonce) == 0)
			return s;
	return NULL;
}

static void session_store(struct ms_op *op, const struct ms_session *s)
{
	struct ms_session_value v = { .opened_wall_ns = op->state->wall_ns };
	struct ms_key key = ms_key_number(MS_KEY_SESSION, s->number);
	uint8_t value[MS_SESSION_VALUE_BYTES_MAX];

	memcpy(v.nonce, s->nonce, sizeof v.nonce);
	/* A name for people: longer ones are cut. */
	(void)text_copy(v.node, sizeof v.node, op->req->node ? op->req->node : "");
	ms_txn_put(op->state->txn, key.bytes, key.len, value,
		   (uint32_t)ms_key_session_encode(&v, value));
}

int ms_session_open(struct ms_op *op)
{
	struct ms_state *state = op->state;
	const struct ms_request *req = op->req;
	struct ms_session *old = ms_session_find(state, req->old_session);
	struct ms_session *s = find_nonce(state, req->uuid);
	bool is_new = !s;

	if (is_new) {
		if (req->new_session == 0 || ms_session_find(state, req->new_session))
			return -E_INVAL;
		if (state->session_count >= state->config.sessions_max && !old)
			return -E_OVERLOADED;
		s = session_add(state, req->new_session, req->uuid);
		if (!s)
			return -E_NOMEM;
		ms_collection_opened(state, s);
		session_store(op, s);
		(void)ms_space_grant(state, s, 0, FIRST_CREDIT_BYTES);
	}
	s->is_back = true;	/* who never heard of it, and asks again, has nothing to claim */
	s->expires_ms = state->now_ms + state->config.lease_ms;
	if (old && old != s)
		ms_session_fence(state, old);
	recovery_end_if_all_back(state);
	fill_reply(op, s);
	/* Its session may be gone with what it was told: after a rescue all are (rescue.h). */
	op->effect.reply.lost_from = lost_from(state, req->term, req->number);
	op->effect.reply.resent = !is_new;	/* its record is an older one */
	op->effect.reply.wait_durable = true;	/* a session that is used has its row */
	return 0;
}

int ms_session_renew(struct ms_op *op)
{
	struct ms_state *state = op->state;

	op->session->expires_ms = state->now_ms + state->config.lease_ms;
	(void)ms_space_grant(state, op->session, op->req->credit_used, op->req->credit_wanted);
	ms_collection_renewed(op->session, op->req);
	ms_locks_tell(state->locks, op->session->number);
	fill_reply(op, op->session);
	op->effect.reply.lost_from = lost_from(state, op->req->term, op->req->number);
	return 0;
}

int ms_session_close(struct ms_op *op)
{
	session_end(op->state, op->session);
	op->session = NULL;
	return 0;
}

int ms_session_reclaim(struct ms_op *op)
{
	struct ms_state *state = op->state;
	const struct ms_request *req = op->req;
	int rc = 0;

	op->session->expires_ms = state->now_ms + state->config.lease_ms;
	if (op->session->is_back)
		return 0;	/* it came twice */
	state->reclaim_mark++;
	for (uint32_t i = 0; i < req->lease_count && rc == 0; i++)
		rc = ms_lease_reclaim(state, op->session, &req->leases[i]);
	for (uint32_t i = 0; i < req->open_count && rc == 0; i++)
		rc = ms_lease_reclaim_open(state, op->session, req->opens[i]);
	if (rc == 0)
		rc = ms_locking_claim(op);
	if (rc < 0) {
		/*
		 * It claims what another holds: one of the two is wrong, and this one came later.
		 */
		ms_session_fence(state, op->session);
		op->session = NULL;
		return -E_FENCED;
	}
	op->session->is_back = !req->more;
	recovery_end_if_all_back(state);
	return 0;
}

int ms_session_fsync(struct ms_op *op)
{
	if (lost_from(op->state, op->req->term, op->req->number))
		return -E_OTHER_TERM;
	op->effect.reply.number = op->req->number;
	/* Of an older term, and not lost: it was durable before this term began. */
	op->effect.reply.wait_durable = op->req->term >= op->state->term && op->req->number;
	return 0;
}

/* --- slots (I7) ------------------------------------------------------------------------------- */

/*
 * A result of an earlier term is told now for the first time, maybe: what it did to the opens was
 * memory and is gone, and the client could not reclaim an open that it never heard of.
 */
static void redo_opens(struct ms_op *op, const struct ms_slot_value *slot)
{
	const struct ms_request *req = op->req;
	uint64_t bit = UINT64_C(1) << req->slot;

	if (!(op->session->slots_loaded & bit) || slot->error)
		return;
	op->session->slots_loaded &= ~bit;
	if (req->op == MS_OP_MAKE && req->open && S_ISREG(req->mode))
		/*
		 * Without memory for it the open is not counted: as if it had not been reclaimed.
		 */
		(void)!ms_lease_open(op->state, op->session, slot->ino, true);
}

static void answer_from_slot(struct ms_op *op, const struct ms_slot_value *slot)
{
	struct ms_reply *reply = &op->effect.reply;
	struct ms_inode inode;

	reply->rc = -(int)slot->error;
	reply->resent = true;
	reply->is_queued = slot->is_queued;
	if (slot->parent && ms_inode_get(op->state->txn, slot->parent, &inode) == 0)
		reply->parent = inode.attr;
	if (!slot->ino)
		return;
	if (ms_inode_get(op->state->txn, slot->ino, &inode) < 0 || ms_attr_reply(op, &inode) < 0)
		reply->attr = (struct ms_attr){ .ino = slot->ino };	/* gone since */
	/*
	 * The version that it came to then: if others changed the inode since, the next publish
	 * built on this answer is refused as stale, as it must be (I13).
	 */
	reply->attr.version = slot->version;
}

bool ms_state_has_heard(const struct ms_state *state, const struct ms_request *req)
{
	const struct ms_session *s = ms_session_find((struct ms_state *)state, req->session);
	const struct ms_parked *parked;

	if (!s || req->slot_seq == 0 || req->slot >= SESSION_SLOTS)
		return false;
	parked = s->slot_parked[req->slot];
	return req->slot_seq <= s->slots[req->slot].seq ||
	       (parked && req->slot_seq == parked->req.slot_seq);
}

int ms_session_slot_check(struct ms_op *op)
{
	const struct ms_request *req = op->req;
	struct ms_slot_value *slot;
	struct ms_parked *parked;

	if (req->slot >= SESSION_SLOTS)
		return -E_INVAL;
	slot = &op->session->slots[req->slot];
	parked = op->session->slot_parked[req->slot];
	if (req->slot_seq < slot->seq || (req->slot_seq == slot->seq && req->op != slot->op))
		return -E_INVAL;
	if (req->slot_seq == slot->seq) {
		redo_opens(op, slot);
		answer_from_slot(op, slot);
		return 1;
	}
	if (!parked || parked == op->parked)
		return 0;
	if (parked->req.slot_seq > req->slot_seq)
		return -E_INVAL;
	if (parked->req.slot_seq < req->slot_seq) {
		ms_park_cancel(op->state, parked, -E_CANCELED);	/* its sender has given it up */
		return 0;
	}
	/* Sent again while it waits: answer the newer asker, and let the older go. */
	ms_step_reply(op->state, parked->token, -E_CANCELED);
	parked->token = op->effect.token;
	return 2;
}

void ms_session_slot_store(struct ms_op *op, int rc, bool durable)
{
	const struct ms_request *req = op->req;
	struct ms_slot_value *slot = &op->session->slots[req->slot];
	const struct ms_reply *reply = &op->effect.reply;
	struct ms_key key = ms_key_slot(op->session->number, req->slot);
	uint8_t value[MS_SLOT_VALUE_BYTES];

	*slot = (struct ms_slot_value){
		.seq = req->slot_seq, .op = req->op, .error = (uint32_t)-rc, .ino = reply->attr.ino,
		.parent = reply->parent.ino, .version = reply->attr.version,
		.is_queued = reply->is_queued };
	op->session->slots_loaded &= ~(UINT64_C(1) << req->slot);
	if (!durable)
		return;
	ms_key_slot_encode(slot, value);
	ms_txn_put(op->state->txn, key.bytes, key.len, value, sizeof value);
	op->session->slots_stored |= UINT64_C(1) << req->slot;
}
