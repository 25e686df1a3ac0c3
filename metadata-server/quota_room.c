/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reservations: bytes of a quota that a session may write before it publishes them, so that EDQUOT
 * comes from write(), and two clients that write into one tree do not take the same room twice.
 *
 * A session asks for what it needs now and some ahead; near the limit less ahead is given, a
 * quarter of what is left. It gives back what it does not use. What is reserved counts against
 * every quota above, too. Whatever is said here, a publish is admitted only if it fits the limits
 * beside what others have reserved (ms_quota_check), so no limit is ever passed. Volatile: after a
 * restart sessions ask anew; until then what they accepted counts for nothing, and may be refused
 * when it is published.
 */
#include "metadata-server/step_internal.h"

#include <stdlib.h>

struct ms_quota_room {		/* what all sessions reserved of a quota and those below it */
	inode_no quota;
	uint64_t bytes;
	UT_hash_handle hh;
};

static struct ms_reservation *find(const struct ms_session *session, inode_no quota)
{
	struct ms_reservation *r;

	DL_FOREACH(session->reservations, r)
		if (r->quota == quota)
			return r;
	return NULL;
}

static struct ms_quota_room *room_of(struct ms_state *state, inode_no quota, bool make)
{
	struct ms_quota_room *room;

	HASH_FIND(hh, state->quota_rooms, &quota, sizeof quota, room);
	if (room || !make)
		return room;
	room = calloc(1, sizeof *room);
	if (!room)
		return NULL;
	room->quota = quota;
	HASH_ADD(hh, state->quota_rooms, quota, sizeof room->quota, room);
	if (room->hh.tbl == NULL) {
		free(room);
		return NULL;
	}
	return room;
}

/* Up the chain. Without memory less is known to be reserved, and publishes tell. */
static void reserve_above(struct ms_state *state, inode_no quota, uint64_t from, uint64_t to)
{
	struct ms_quota q;

	for (uint32_t depth = 0; quota && depth < MS_QUOTA_DEPTH_MAX; depth++) {
		struct ms_quota_room *room = room_of(state, quota, to > from);

		if (room) {
			uint64_t more = to > from ? to - from : 0;

			room->bytes += MIN_OF(more, UINT64_MAX - room->bytes);
			room->bytes -= from > to ? MIN_OF(room->bytes, from - to) : 0;
		}
		if (room && room->bytes == 0) {
			HASH_DEL(state->quota_rooms, room);
			free(room);
		}
		if (ms_quota_get(state->txn, quota, &q) < 0)
			return;
		quota = q.parent;
	}
}

uint64_t ms_quota_reserved(struct ms_state *state, inode_no quota)
{
	const struct ms_quota_room *room = room_of(state, quota, false);

	return room ? room->bytes : 0;
}

uint64_t ms_quota_room(struct ms_state *state, const struct ms_session *session, inode_no quota)
{
	const struct ms_reservation *own = session ? find(session, quota) : NULL;
	uint64_t least = MS_QUOTA_CLAIM_MAX;
	struct ms_quota q;

	for (uint32_t depth = 0; quota && depth < MS_QUOTA_DEPTH_MAX; depth++, quota = q.parent) {
		uint64_t taken = ms_quota_reserved(state, quota);

		if (ms_quota_get(state->txn, quota, &q) < 0)
			break;
		if (!q.bytes_max || q.is_ending)
			continue;
		taken -= own ? MIN_OF(taken, own->bytes) : 0;
		taken += q.bytes;
		least = MIN_OF(least, q.bytes_max - MIN_OF(q.bytes_max, taken));
	}
	return least;
}

static void own_set(struct ms_state *state, struct ms_session *session,
		    struct ms_reservation *own, uint64_t bytes)
{
	reserve_above(state, own->quota, own->bytes, bytes);
	own->bytes = bytes;
	if (bytes > 0)
		return;
	DL_DELETE(session->reservations, own);
	session->reservation_count--;
	free(own);
}

static struct ms_reservation *own_make(struct ms_session *session, inode_no quota)
{
	struct ms_reservation *own = NULL;

	if (session->reservation_count < MS_RESERVATIONS_MAX)
		own = calloc(1, sizeof *own);
	if (!own)
		return NULL;
	own->quota = quota;
	DL_APPEND(session->reservations, own);
	session->reservation_count++;
	return own;
}

/*
 * `credit_used` is what the session has accepted and not published, `new_bytes` what it needs for
 * one write more, `credit_wanted` what it would like to have in all.
 */
static uint64_t grant(const struct ms_request *req, uint64_t room)
{
	uint64_t used = MIN_OF(req->credit_used, MS_QUOTA_CLAIM_MAX);
	uint64_t need = MIN_OF(req->new_bytes, MS_QUOTA_CLAIM_MAX);
	uint64_t left = room - MIN_OF(room, used);

	if (need > left)
		return used;
	return MAX_OF(used + need, MIN_OF(req->credit_wanted, used + left / 4));
}

int ms_quota_reserve(struct ms_op *op)
{
	const struct ms_request *req = op->req;
	struct ms_reply *reply = &op->effect.reply;
	struct ms_state *state = op->state;
	struct ms_reservation *own = find(op->session, req->ino);
	struct ms_quota q;
	int rc = ms_quota_get(state->txn, req->ino, &q);

	if (rc == -E_NOENT) {
		if (own)
			own_set(state, op->session, own, 0);
		reply->credit_bytes = MS_QUOTA_CLAIM_MAX;	/* its limits went with it */
		return 0;
	}
	if (rc < 0)
		return rc;
	if (!own)
		own = own_make(op->session, req->ino);
	if (!own)
		return -E_NOMEM;
	reply->credit_bytes = grant(req, ms_quota_room(state, op->session, req->ino));
	own_set(state, op->session, own, reply->credit_bytes);
	own = find(op->session, req->ino);
	reply->space_unknown = ms_quota_reserved(state, req->ino) > (own ? own->bytes : 0);
	return 0;
}

void ms_quota_settle(struct ms_state *state, struct ms_session *session, inode_no quota,
		     uint64_t bytes)
{
	struct ms_reservation *own = session && quota ? find(session, quota) : NULL;

	if (own)
		own_set(state, session, own, own->bytes - MIN_OF(own->bytes, bytes));
}

void ms_quota_drop_session(struct ms_state *state, struct ms_session *session)
{
	struct ms_reservation *own, *next;

	DL_FOREACH_SAFE(session->reservations, own, next)
		own_set(state, session, own, 0);
}

static void rooms_drop(struct ms_state *state)
{
	struct ms_quota_room *room, *next;

	HASH_ITER(hh, state->quota_rooms, room, next) {
		HASH_DEL(state->quota_rooms, room);
		free(room);
	}
}

/* Which quota is above which has changed: count all reservations again. */
void ms_quota_rooms_again(struct ms_state *state)
{
	struct ms_session *s, *next;
	struct ms_reservation *own;

	rooms_drop(state);
	HASH_ITER(hh, state->sessions, s, next)
		DL_FOREACH(s->reservations, own)
			reserve_above(state, own->quota, 0, own->bytes);
}

void ms_quota_finish(struct ms_state *state)
{
	struct ms_session *s, *next;
	struct ms_reservation *own, *own_next;

	HASH_ITER(hh, state->sessions, s, next)
		DL_FOREACH_SAFE(s->reservations, own, own_next) {
			DL_DELETE(s->reservations, own);
			free(own);
		}
	rooms_drop(state);
}
