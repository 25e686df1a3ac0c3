/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state machine: takes an event, finds its handler, sends what it came to.
 *
 * One event may run several operations: its own, and parked ones that it wakes. All their changes
 * are one record, so a soft bound stops the waking and asks for another event (MS_FX_TICK).
 */
#include "metadata-server/step_internal.h"

#include <stdlib.h>
#include <string.h>

enum op_flags {
	OP_SESSION = 1,		/* of a session that exists */
	OP_CHANGES = 2,		/* a mutation: has a slot sequence, and its result is stored (I7) */
	OP_RECOVERY = 4,	/* also while sessions are still coming back */
};

struct op_row {
	int (*run)(struct ms_op *op);
	unsigned flags;
};

/* What serve answers from ms_state_map() and ms_state_counts(). */
static int no_change(struct ms_op *op)
{
	(void)op;
	return 0;
}

static int lease_return(struct ms_op *op)
{
	ms_lease_answer(op->state, op->session, op->req, 0);
	return 0;
}

#define TICK_MS	     100u
#define TICK_LATE_MS 1000u	/* after this it was us who slept */
#define SESSION_CHANGES (OP_SESSION | OP_CHANGES)
#define OPS_MAX 128u

static const struct op_row ops[OPS_MAX] = {
	[MS_OP_SESSION_OPEN] = { ms_session_open, OP_RECOVERY },
	[MS_OP_SESSION_RENEW] = { ms_session_renew, OP_SESSION | OP_RECOVERY },
	[MS_OP_SESSION_CLOSE] = { ms_session_close, OP_SESSION | OP_RECOVERY },
	[MS_OP_SESSION_RECLAIM] = { ms_session_reclaim, OP_SESSION | OP_RECOVERY },
	[MS_OP_LOOKUP] = { ms_attr_lookup, OP_SESSION },
	[MS_OP_GETATTR] = { ms_attr_get, OP_SESSION },
	[MS_OP_SETATTR] = { ms_attr_set, SESSION_CHANGES },
	[MS_OP_MAKE] = { ms_namespace_make, SESSION_CHANGES },
	[MS_OP_LINK] = { ms_namespace_link, SESSION_CHANGES },
	[MS_OP_UNLINK] = { ms_namespace_unlink, SESSION_CHANGES },
	[MS_OP_RENAME] = { ms_rename, SESSION_CHANGES },
	[MS_OP_READDIR] = { ms_listing_read, OP_SESSION },
	[MS_OP_OPEN] = { ms_open, OP_SESSION },
	[MS_OP_RELEASE] = { ms_open_release, OP_SESSION },
	[MS_OP_GET_INLINE] = { ms_publish_get_inline, OP_SESSION },
	[MS_OP_PUBLISH] = { ms_publish, SESSION_CHANGES },
	[MS_OP_SETXATTR] = { ms_xattr_set, SESSION_CHANGES },
	[MS_OP_GETXATTR] = { ms_xattr_get, OP_SESSION },
	[MS_OP_LISTXATTR] = { ms_xattr_list, OP_SESSION },
	[MS_OP_REMOVEXATTR] = { ms_xattr_remove, SESSION_CHANGES },
	[MS_OP_STATFS] = { ms_space_statfs, OP_RECOVERY },
	[MS_OP_FSYNC] = { ms_session_fsync, OP_RECOVERY },
	[MS_OP_CLONE] = { ms_clone, SESSION_CHANGES },
	[MS_OP_ATIMES] = { ms_attr_atimes, OP_SESSION },
	[MS_OP_TRASH] = { ms_trash_change, SESSION_CHANGES },
	[MS_OP_TRASH_LIST] = { ms_trash_list, OP_SESSION },
	[MS_OP_LEASE_RETURN] = { lease_return, OP_SESSION | OP_RECOVERY },
	[MS_OP_LOCK] = { ms_locking_set, OP_SESSION },
	[MS_OP_LOCK_TEST] = { ms_locking_test, OP_SESSION },
	[MS_OP_MAP_GET] = { no_change, OP_RECOVERY },
	[MS_OP_STATUS] = { no_change, OP_RECOVERY },
	[MS_OP_JOIN] = { ms_membership_join, OP_RECOVERY },
	[MS_OP_HEARTBEAT] = { ms_membership_heartbeat, OP_RECOVERY },
	[MS_OP_QUOTA_SET] = { ms_quota_set, 0 },
	[MS_OP_QUOTA_LIST] = { ms_quota_list, OP_RECOVERY },
	[MS_OP_QUOTA_RESERVE] = { ms_quota_reserve, OP_SESSION },
	[MS_OP_SERVER_SET] = { ms_membership_set, OP_RECOVERY },
};

/* --- shared by the parts ---------------------------------------------------------------------- */

void ms_step_emit(struct ms_state *state, const struct ms_effect *effect)
{
	state->fn(state->fn_arg, effect);
}

void ms_step_reply(struct ms_state *state, uint64_t token, int rc)
{
	ms_step_emit(state,
		     &(struct ms_effect){.kind = MS_FX_REPLY, .token = token, .reply.rc = rc});
}

void ms_step_counters_put(struct ms_state *state)
{
	struct ms_key key = ms_key_one(MS_KEY_COUNTERS);
	uint8_t value[MS_COUNTERS_BYTES];

	ms_key_counters_encode(&state->counters, value);
	ms_txn_put(state->txn, key.bytes, key.len, value, sizeof value);
}

/* --- requests --------------------------------------------------------------------------------- */

/* Everything before the handler; 0: run it. Else as the handler's answer, or 2: nothing to say. */
static int admit(struct ms_op *op, const struct op_row *row)
{
	const struct ms_request *req = op->req;
	int rc = 0;

	if (!row->run)
		return -E_NOSYS;
	op->session = ms_session_find(op->state, req->session);
	if (row->flags & OP_SESSION && !op->session)
		return -E_NO_SESSION;
	if (row->flags & OP_CHANGES && op->state->is_frozen)
		return -E_ROFS;
	if (row->flags & OP_CHANGES && req->slot_seq == 0)
		return -E_INVAL;
	if (op->session && req->slot_seq)
		rc = ms_session_slot_check(op);
	if (rc != 0)
		return rc == 1 ? op->effect.reply.rc : rc;
	if (op->state->is_recovering && !(row->flags & OP_RECOVERY))
		return MS_OP_PARKED;
	return 0;
}

static const struct op_row *op_find(uint16_t number)
{
	return &ops[number < OPS_MAX ? number : 0];	/* 0 is no operation */
}

static void run_request(struct ms_state *state, const struct ms_request *req, uint64_t token,
			struct ms_parked *parked)
{
	const struct op_row *row = op_find(req->op);
	struct ms_op op = { .state = state, .req = req, .parked = parked };
	struct ms_reply *reply = &op.effect.reply;
	int rc;

	op.effect.kind = MS_FX_REPLY;
	op.effect.token = token;
	rc = admit(&op, row);
	if (rc == 2)
		return;
	if (rc == 0 && !reply->resent) {
		rc = row->run(&op);
		if (rc == MS_OP_PARKED)
			op.effect.reply = (struct ms_reply){ 0 };
		else if (op.session && req->slot_seq && rc != -E_OVERLOADED) /* that comes again */
			ms_session_slot_store(&op, rc, rc == 0 && row->flags & OP_CHANGES);
	}
	if (rc == MS_OP_PARKED) {
		rc = ms_park(&op);
		if (rc == 0)
			return;
	}
	reply->rc = rc;
	ms_step_emit(state, &op.effect);
	if (op.parked)
		ms_park_end(state, op.parked);
}

static void run_ready(struct ms_state *state)
{
	struct ms_parked *p;

	while (ms_txn_event_bytes(state->txn) <= MS_EVENT_BYTES_SOFT &&
	       (p = ms_park_take_ready(state)) != NULL)
		run_request(state, &p->req, p->token, p);
	if (state->ready)
		ms_step_emit(state, &(struct ms_effect){ .kind = MS_FX_TICK });
}

/* --- other events ----------------------------------------------------------------------------- */

/* Numbers of the last range are not used up: some may be told of and lost (D3). */
static void term_begins(struct ms_state *state, const struct ms_request *req)
{
	state->ticked_ms = state->now_ms;
	ms_session_term(state, req);
	ms_membership_term(state);
	state->next_ino = state->counters.inode_limit;
	state->counters.inode_limit += MS_INODE_RANGE;
	state->usable_limit = state->counters.inode_limit;
	ms_step_counters_put(state);
	ms_turn_forget(state);
}

static void reserve(struct ms_state *state, bool is_durable)
{
	if (is_durable) {
		state->usable_limit = state->counters.inode_limit;
		state->reserve_asked = false;
		return;
	}
	state->counters.inode_limit += MS_INODE_RANGE;
	ms_step_counters_put(state);
}

static void recall_answered(struct ms_state *state, const struct ms_event *event)
{
	struct ms_session *session = ms_session_find(state, event->req.session);

	if (session)
		ms_lease_answer(state, session, &event->req, event->token);
}

static void lock_answered(struct ms_state *state, const struct ms_event *event)
{
	struct ms_session *session = ms_session_find(state, event->req.session);

	if (session)
		ms_locking_answered(state, session, event->token, event->req.flags & 1);
}

/*
 * The host was suspended, the process stopped, or its start took long: whoever seems silent since
 * then may only not have been heard. None of that time counts against anybody, but one tick, so
 * that somebody who is gone is gone some day, however late our ticks are.
 */
static void forgive_own_silence(struct ms_state *state)
{
	uint64_t passed_ms = state->now_ms - MIN_OF(state->ticked_ms, state->now_ms);

	state->ticked_ms = state->now_ms;
	if (passed_ms <= TICK_LATE_MS)
		return;
	ms_session_slept(state, passed_ms - TICK_MS);
	ms_lease_slept(state, passed_ms - TICK_MS);
	ms_membership_slept(state, passed_ms - TICK_MS);
}

static void tick(struct ms_state *state)
{
	forgive_own_silence(state);
	ms_session_tick(state);
	ms_lease_tick(state);
	if (state->is_frozen)
		return;		/* what follows is recorded */
	ms_membership_tick(state);
	ms_orphan_tick(state);
	ms_publish_tick(state);
	ms_clone_tick(state);
	ms_quota_tick(state);
	ms_trash_tick(state);
}

void ms_step(struct ms_state *state, const struct ms_event *event, ms_effect_fn fn, void *arg)
{
	state->now_ms = event->now_ms;
	state->wall_ns = event->wall_ns;
	state->fn = fn;
	state->fn_arg = arg;
	ms_txn_event_begin(state->txn);
	switch (event->kind) {
	case MS_EV_REQUEST:
		run_request(state, &event->req, event->token, NULL);
		break;
	case MS_EV_RECALL_ANSWER:
		recall_answered(state, event);
		break;
	case MS_EV_LOCK_ANSWER:
		lock_answered(state, event);
		break;
	case MS_EV_TICK:
		tick(state);
		break;
	case MS_EV_TERM:
		term_begins(state, &event->req);
		break;
	case MS_EV_MOVED:
		ms_publish_moved(state, &event->req);
		break;
	case MS_EV_RESERVE:
		reserve(state, event->req.flags & 1);
		break;
	case MS_EV_COLLECT:
		ms_collection_raise(state);
		break;
	}
	run_ready(state);
	state->fn = NULL;
}

/* --- the state -------------------------------------------------------------------------------- */

static int load_counters(struct ms_state *state)
{
	struct ms_key key = ms_key_one(MS_KEY_COUNTERS);
	const void *value;
	uint32_t len;
	int rc = ms_txn_get(state->txn, key.bytes, key.len, &value, &len);

	if (rc < 0)
		return rc == -E_NOENT ? -E_CORRUPT : rc;
	return ms_key_counters_decode(value, len, &state->counters);
}

int ms_state_create(const struct ms_config *config, struct ms_txn *txn, struct ms_state **out)
{
	struct ms_state *state = calloc(1, sizeof *state);
	int rc = -E_NOMEM;

	ASSERT(config->copies >= 1 && config->copies <= COPIES_MAX);
	if (!state)
		return rc;
	state->config = *config;
	state->txn = txn;
	state->reply_bytes = malloc(ROW_VALUE_BYTES_MAX);
	state->entries = malloc(MS_LISTING_ENTRIES_MAX * sizeof *state->entries);
	if (state->reply_bytes && state->entries)
		rc = load_counters(state);
	if (rc == 0)
		rc = ms_locking_create(state);
	if (rc == 0)
		rc = ms_session_load(state);
	if (rc == 0)
		rc = ms_membership_load(state);
	if (rc == 0)
		rc = ms_collection_load(state);
	if (rc == 0)
		rc = ms_trash_load(state);
	if (rc < 0) {
		ms_state_destroy(state);
		return rc;
	}
	ms_quota_load(state);
	*out = state;
	return 0;
}

void ms_state_destroy(struct ms_state *state)
{
	struct ms_session *s, *next;

	if (!state)
		return;
	ms_park_drop_session(state, NULL);
	ms_quota_finish(state);
	HASH_ITER(hh, state->sessions, s, next) {
		ms_lease_drop_session(state, s);
		HASH_DEL(state->sessions, s);
		free(s);
	}
	ms_locks_destroy(state->locks);
	ms_membership_finish(state);
	free(state->reply_bytes);
	free(state->entries);
	free(state);
}

int ms_state_format(const struct ms_config *config, struct ms_txn *txn, uint64_t wall_ns,
		    uint32_t root_uid, uint32_t root_gid)
{
	struct ms_state state = { .config = *config, .txn = txn };
	struct ms_inode root = { .parent = INODE_ROOT };
	struct ms_attr *a = &root.attr;

	a->ino = INODE_ROOT;
	a->mode = S_IFDIR | 0755;
	a->uid = root_uid;
	a->gid = root_gid;
	a->nlink = 2;
	a->size = MS_DIRECTORY_SIZE;
	a->version = 1;
	a->atime_ns = a->mtime_ns = a->ctime_ns = a->btime_ns = (int64_t)wall_ns;
	ms_inode_put(txn, &root);
	state.counters = (struct ms_counters){ .directories = 1, .inode_limit = INODE_ROOT + 1 };
	ms_step_counters_put(&state);
	ms_collection_format(&state);
	return 0;
}

void ms_state_freeze(struct ms_state *state)
{
	state->is_frozen = true;
}

struct map *ms_state_map(struct ms_state *state)
{
	return state->map;
}

void ms_state_counts(const struct ms_state *state, struct ms_counts *out)
{
	struct ms_lock_counts locks;

	ms_locks_counts(state->locks, &locks);
	*out = (struct ms_counts){
		.locks = locks.held, .lock_waits = locks.waiting,
		.files = state->counters.files, .directories = state->counters.directories,
		.bytes_logical = state->counters.bytes_logical,
		.trash_entries = state->trash_entries, .trash_bytes = state->trash_bytes,
		.leases = state->lease_count,
		.parked = state->parked_count, .sessions = state->session_count,
		.recovering = state->is_recovering };
	ms_health_counts(state, out);
}

void ms_state_server_stats(const struct ms_state *state, server_no server,
			   struct ms_server_stats *out)
{
	const struct ms_member *m = ms_membership_find(state, server);

	*out = m ? m->stats : (struct ms_server_stats){ 0 };
}

const uint8_t *ms_state_server_media(const struct ms_state *state, server_no server,
				     uint32_t *bytes)
{
	const struct ms_member *m = ms_membership_find(state, server);

	*bytes = m ? m->media_bytes : 0;
	return m ? m->media : NULL;
}
