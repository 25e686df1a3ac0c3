/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests about locks: what the table (lock.h) is to the state machine. No row changes, so an
 * answer of the slot (I7) is kept in memory only, as that of an open: a restarted server decides
 * anew, once all have claimed what they had.
 */
#include "metadata-server/step_internal.h"

static void granted(void *arg, session_no session, uint64_t wait)
{
	ms_step_emit(arg, &(struct ms_effect){ .kind = MS_FX_LOCK_GRANTED, .session = session,
					       .token = wait });
}

int ms_locking_create(struct ms_state *state)
{
	const struct ms_lock_limits limits = { .session_max = LOCKS_OF_SESSION_MAX,
					       .all_max = LOCKS_MAX };

	return ms_locks_create(&limits, granted, state, &state->locks);
}

static struct ms_lock_request request_of(const struct ms_op *op, const struct ms_lock_claim *c)
{
	return (struct ms_lock_request){
		.key = { op->session->number, c->owner, c->kind }, .ino = c->ino,
		.start = c->start, .end = c->end, .mode = (enum range_mode)c->mode, .pid = c->pid,
		.wait = c->wait, .may_cycle = c->may_cycle, .holds = c->holds };
}

static bool is_valid(const struct ms_lock_claim *c)
{
	return c->mode <= RANGE_WRITE && range_is_valid(c->start, c->end) && c->ino &&
	       (c->kind == MS_LOCK_POSIX || c->kind == MS_LOCK_FLOCK);
}

/* What it says it takes it has: without memory for that the two would disagree for ever. */
static int take(struct ms_op *op, uint64_t wait)
{
	struct ms_state *state = op->state;

	if (ms_locks_take(state->locks, op->session->number, wait) == 0)
		return 0;
	ms_session_fence(state, op->session);
	op->session = NULL;
	return -E_FENCED;
}

int ms_locking_set(struct ms_op *op)
{
	const struct ms_request *req = op->req;
	const struct ms_lock_claim *c = req->locks;
	int rc = 0;

	for (uint32_t i = 0; i < req->open_count && rc == 0; i++)
		rc = take(op, req->opens[i]);
	if (rc < 0)
		return rc;
	if (req->flags & MS_LOCK_CANCEL) {
		ms_locks_cancel(op->state->locks, op->session->number, c->wait);
		return 0;
	}
	if (req->flags & MS_LOCK_HELD)
		return ms_locking_claim(op);
	if (!is_valid(c))
		return -E_INVAL;
	const struct ms_lock_request r = request_of(op, c);

	rc = ms_locks_set(op->state->locks, &r);
	op->effect.reply.is_queued = rc == MS_LOCK_QUEUED;
	return rc == MS_LOCK_QUEUED ? 0 : rc;
}

/* The number of a process means something on its own node only. */
int ms_locking_test(struct ms_op *op)
{
	const struct ms_lock_claim *c = op->req->locks;
	struct ms_reply *reply = &op->effect.reply;
	struct ms_lock_info info;

	if (!is_valid(c))
		return -E_INVAL;
	const struct ms_lock_request r = request_of(op, c);

	if (ms_locks_test(op->state->locks, &r, &info))
		reply->lock = (struct ms_lock_claim){
			.ino = c->ino, .start = info.start, .end = info.end, .mode = info.mode,
			.pid = info.key.session == op->session->number ? info.pid : 0 };
	return 0;
}

void ms_locking_answered(struct ms_state *state, struct ms_session *session, uint64_t wait,
			 bool is_taken)
{
	if (!is_taken)
		ms_locks_cancel(state->locks, session->number, wait);
	else if (ms_locks_take(state->locks, session->number, wait) < 0)
		ms_session_fence(state, session);
}

int ms_locking_claim(struct ms_op *op)
{
	int rc = 0;

	for (uint32_t i = 0; i < op->req->lock_count && rc == 0; i++) {
		const struct ms_lock_request r = request_of(op, &op->req->locks[i]);

		rc = is_valid(&op->req->locks[i]) ? ms_locks_claim(op->state->locks, &r) :
						    -E_INVAL;
	}
	return rc;
}

struct listing {
	const struct ms_state *state;
	void (*fn)(void *arg, const struct ms_lock_info *info, const char *node);
	void *arg;
	uint32_t left;
};

static bool list_one(void *arg, const struct ms_lock_info *info)
{
	struct listing *l = arg;
	struct ms_key key = ms_key_number(MS_KEY_SESSION, info->key.session);
	struct ms_session_value v = { .node = "" };
	const void *value;
	uint32_t len;

	if (l->left == 0)
		return false;
	l->left--;
	if (ms_txn_get(l->state->txn, key.bytes, key.len, &value, &len) < 0 ||
	    ms_key_session_decode(value, len, &v) < 0)
		v.node[0] = '\0';
	l->fn(l->arg, info, v.node);
	return true;
}

void ms_state_locks(const struct ms_state *state, inode_no ino, uint32_t count_max,
		    void (*fn)(void *arg, const struct ms_lock_info *info, const char *node),
		    void *arg)
{
	struct listing l = { .state = state, .fn = fn, .arg = arg, .left = count_max };

	ms_locks_list(state->locks, ino, list_one, &l);
}
