/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leases: who may cache or write an inode or a name, in one table with who has it open.
 *
 * A lease has no time of its own: it is valid while its session is renewed (I6). Read leases are
 * shared, a write lease stands alone (I5); a session's own leases are never in its way (I14). While
 * a recall or a waiting operation is on a node nobody gets a new lease on it, so waiters cannot
 * starve.
 *
 * A recall answered late must not take away a lease that was given again meanwhile: claims remember
 * the number of their first recall, and older answers are not about them.
 */
#include "metadata-server/step_internal.h"

#include <stdlib.h>

struct ms_node *ms_lease_node(struct ms_state *state, inode_no ino, uint64_t name_hash)
{
	struct ms_lease_key key = { ino, name_hash };
	struct ms_node *node;

	HASH_FIND(hh, state->nodes, &key, sizeof key, node);
	return node;
}

static struct ms_node *node_add(struct ms_state *state, inode_no ino, uint64_t name_hash)
{
	struct ms_node *node = calloc(1, sizeof *node);

	if (!node)
		return NULL;
	node->key = (struct ms_lease_key){ ino, name_hash };
	HASH_ADD(hh, state->nodes, key, sizeof node->key, node);
	if (!node->hh.tbl) {
		free(node);
		return NULL;
	}
	return node;
}

struct ms_node *ms_lease_node_make(struct ms_state *state, inode_no ino, uint64_t name_hash)
{
	struct ms_node *node = ms_lease_node(state, ino, name_hash);

	return node ? node : node_add(state, ino, name_hash);
}

void ms_lease_node_release(struct ms_state *state, struct ms_node *node)
{
	if (node->claims || node->waits)
		return;
	HASH_DEL(state->nodes, node);
	free(node);
}

static struct ms_claim *node_claim(const struct ms_node *node, const struct ms_session *session)
{
	struct ms_claim *c;

	DL_FOREACH(node->claims, c)
		if (c->session == session)
			return c;
	return NULL;
}

struct ms_claim *ms_lease_find(struct ms_state *state, const struct ms_session *session,
			       inode_no ino, uint64_t name_hash)
{
	struct ms_node *node = ms_lease_node(state, ino, name_hash);

	return node ? node_claim(node, session) : NULL;
}

static struct ms_claim *claim_add(struct ms_state *state, struct ms_session *session,
				  struct ms_node *node)
{
	struct ms_claim *claim = calloc(1, sizeof *claim);

	if (!claim) {
		ms_lease_node_release(state, node);
		return NULL;
	}
	claim->node = node;
	claim->session = session;
	DL_APPEND(node->claims, claim);
	DL_APPEND2(session->claims, claim, session_prev, session_next);
	return claim;
}

static struct ms_claim *claim_make(struct ms_state *state, struct ms_session *session, inode_no ino,
				   uint64_t name_hash)
{
	struct ms_node *node = ms_lease_node_make(state, ino, name_hash);
	struct ms_claim *claim = node ? node_claim(node, session) : NULL;

	return claim || !node ? claim : claim_add(state, session, node);
}

static void claim_set_mode(struct ms_state *state, struct ms_claim *claim, enum ms_lease_mode mode)
{
	int change = (mode != MS_LEASE_NONE) - (claim->mode != MS_LEASE_NONE);

	claim->mode = mode;
	claim->session->lease_count += (uint32_t)change;
	state->lease_count += (uint64_t)change;
}

static void recall_end(struct ms_state *state, struct ms_claim *claim)
{
	if (!claim->is_recalled)
		return;
	claim->is_recalled = claim->recall_owner = false;
	claim->node->recalled--;
	DL_DELETE2(state->recalls, claim, recall_prev, recall_next);
}

/* Drop the claim if it holds nothing; wake who waits once nothing is asked back any more. */
static void claim_settle(struct ms_state *state, struct ms_claim *claim)
{
	struct ms_node *node = claim->node;

	if (claim->is_recalled && claim->mode <= claim->recall_to)
		recall_end(state, claim);
	if (claim->mode == MS_LEASE_NONE && claim->opens == 0) {
		DL_DELETE(node->claims, claim);
		DL_DELETE2(claim->session->claims, claim, session_prev, session_next);
		free(claim);
	}
	if (node->recalled == 0 && node->waits)
		ms_park_wake_node(state, node);
	ms_lease_node_release(state, node);
}

void ms_lease_lower(struct ms_state *state, struct ms_claim *claim, enum ms_lease_mode mode)
{
	if (mode < claim->mode)
		claim_set_mode(state, claim, mode);
	claim_settle(state, claim);
}

/* --- recalls ---------------------------------------------------------------------------------- */

static void recall_emit(struct ms_state *state, struct ms_claim *claim)
{
	struct ms_effect fx = { .kind = MS_FX_RECALL, .token = ++state->recall_number,
				.session = claim->session->number, .lease_count = 1 };

	fx.leases[0] = (struct ms_lease){ .ino = claim->node->key.ino,
					  .name_hash = claim->node->key.name_hash,
					  .mode = claim->recall_to,
					  .owner = claim->recall_owner };
	claim->recall_sent_ms = state->now_ms;
	ms_step_emit(state, &fx);
}

static void recall(struct ms_op *op, struct ms_claim *claim, enum ms_lease_mode to)
{
	struct ms_state *state = op->state;

	if (claim->is_recalled && claim->recall_to <= to &&
	    (claim->recall_owner || !op->changes_owner))
		return;
	claim->recall_to = claim->is_recalled ? MIN_OF(claim->recall_to, to) : to;
	claim->recall_owner |= op->changes_owner;
	if (!claim->is_recalled) {
		claim->is_recalled = true;
		claim->recall_first = state->recall_number + 1;
		claim->recall_begun_ms = state->now_ms;
		claim->node->recalled++;
		DL_APPEND2(state->recalls, claim, recall_prev, recall_next);
	}
	recall_emit(state, claim);
}

/* A recall down to what they have: nothing is waited for. */
void ms_lease_outdate(struct ms_state *state, const struct ms_session *session, inode_no ino)
{
	const struct ms_node *node = ms_lease_node(state, ino, 0);
	const struct ms_claim *claim;

	if (!node)
		return;
	DL_FOREACH(node->claims, claim) {
		struct ms_effect fx = { .kind = MS_FX_RECALL, .session = claim->session->number,
					.lease_count = 1 };

		if (claim->session == session || claim->mode != MS_LEASE_READ || claim->is_recalled)
			continue;
		fx.token = ++state->recall_number;
		fx.leases[0] = (struct ms_lease){ .ino = ino, .mode = MS_LEASE_READ };
		ms_step_emit(state, &fx);
	}
}

void ms_lease_want(struct ms_op *op, inode_no ino, uint64_t name_hash, enum ms_lease_mode mode)
{
	ASSERT(op->want_count < MS_WANTS_MAX);
	op->wants[op->want_count++] = (struct ms_want){ ino, name_hash, mode };
}

static bool want_is_blocked(struct ms_op *op, const struct ms_want *want)
{
	enum ms_lease_mode may_keep = want->mode == MS_LEASE_READ ? MS_LEASE_READ : MS_LEASE_NONE;
	struct ms_node *node = ms_lease_node(op->state, want->ino, want->name_hash);
	struct ms_claim *claim;
	bool blocked = false;

	if (!node)
		return false;
	DL_FOREACH(node->claims, claim) {
		if (claim->session == op->session || claim->mode <= may_keep)
			continue;
		recall(op, claim, may_keep);
		blocked = true;
	}
	return blocked;
}

bool ms_lease_is_blocked(struct ms_op *op)
{
	bool blocked = false;

	for (uint32_t i = 0; i < op->want_count; i++)
		blocked |= want_is_blocked(op, &op->wants[i]);
	return blocked;
}

bool ms_lease_is_blocked_by_all(struct ms_op *op)
{
	struct ms_session *session = op->session;
	bool blocked;

	op->session = NULL;
	blocked = ms_lease_is_blocked(op);
	op->session = session;
	return blocked;
}

void ms_lease_answer(struct ms_state *state, struct ms_session *session,
		     const struct ms_request *req, uint64_t recall_number)
{
	for (uint32_t i = 0; i < req->lease_count; i++) {
		const struct ms_lease *l = &req->leases[i];
		struct ms_claim *claim = ms_lease_find(state, session, l->ino, l->name_hash);

		if (!claim)
			continue;
		if (recall_number && (!claim->is_recalled || recall_number < claim->recall_first))
			continue;
		ms_lease_lower(state, claim, l->mode);
	}
}

void ms_lease_slept(struct ms_state *state, uint64_t slept_ms)
{
	struct ms_claim *claim;

	DL_FOREACH2(state->recalls, claim, recall_next)
		claim->recall_begun_ms = MIN_OF(claim->recall_begun_ms + slept_ms, state->now_ms);
}

void ms_lease_tick(struct ms_state *state)
{
	uint64_t patience_ms = MS_RECALL_LEASES_MAX * state->config.lease_ms;
	struct ms_claim *claim;

	/* One in a tick: what each leaves behind has to fit the record. */
	if (state->recalls && state->now_ms - state->recalls->recall_begun_ms > patience_ms)
		ms_session_fence(state, state->recalls->session);
	DL_FOREACH2(state->recalls, claim, recall_next)
		if (state->now_ms - claim->recall_sent_ms >= state->config.lease_ms / 3)
			recall_emit(state, claim);	/* the connection may have broken */
}

/* --- grants ----------------------------------------------------------------------------------- */

static bool others_forbid(const struct ms_op *op, const struct ms_node *node,
			  enum ms_lease_mode mode)
{
	const struct ms_claim *c;

	DL_FOREACH(node->claims, c) {
		if (c->session == op->session)
			continue;
		if (c->mode == MS_LEASE_NONE && op->is_beside_opens)
			continue;
		if (c->mode == MS_LEASE_WRITE || mode == MS_LEASE_WRITE)
			/* also when it is merely open elsewhere: writers then share */
			return true;
	}
	return false;
}

static bool may_grant(const struct ms_op *op, const struct ms_node *node, enum ms_lease_mode mode)
{
	if (op->session->lease_count >= op->state->config.leases_max_per_session)
		return false;
	return !node ||
	       (!node->recalled && !node->waits && !others_forbid(op, node, mode));
}

/* Has a session other than this one the inode of the node open? */
static bool is_open_elsewhere(const struct ms_node *node, const struct ms_session *session)
{
	const struct ms_claim *c;

	DL_FOREACH(node->claims, c)
		if (c->session != session && c->opens)
			return true;
	return false;
}

enum ms_lease_mode ms_lease_grant(struct ms_op *op, inode_no ino, uint64_t name_hash,
				  enum ms_lease_mode mode, struct ms_lease *out)
{
	struct ms_node *node = ms_lease_node(op->state, ino, name_hash);
	struct ms_claim *claim = node && op->session ? node_claim(node, op->session) : NULL;

	*out = (struct ms_lease){ 0 };
	if (!op->session)
		return MS_LEASE_NONE;
	if (!claim || claim->mode < mode) {
		if (mode == MS_LEASE_WRITE && !may_grant(op, node, mode))
			mode = MS_LEASE_READ;	/* better than none */
		if (!may_grant(op, node, mode) && (!claim || claim->mode < mode))
			return MS_LEASE_NONE;
		if (!node)
			node = node_add(op->state, ino, name_hash);
		if (node && !claim)
			claim = claim_add(op->state, op->session, node);
		if (!claim)
			return MS_LEASE_NONE;
		if (claim->mode < mode)
			claim_set_mode(op->state, claim, mode);
	}
	if (claim->is_recalled)
		return MS_LEASE_NONE;	/* it is on its way back: not to be said again */
	*out = (struct ms_lease){ .ino = ino, .name_hash = name_hash, .mode = claim->mode };
	out->open_elsewhere = claim->mode == MS_LEASE_WRITE && name_hash == 0 &&
			      is_open_elsewhere(node, op->session);
	return claim->mode;
}

enum ms_lease_mode ms_lease_grant_reply(struct ms_op *op, inode_no ino, uint64_t name_hash,
					enum ms_lease_mode mode)
{
	struct ms_reply *reply = &op->effect.reply;
	struct ms_lease lease;
	enum ms_lease_mode got = ms_lease_grant(op, ino, name_hash, mode, &lease);

	if (got == MS_LEASE_NONE)
		return got;
	ASSERT(reply->lease_count < MS_REPLY_LEASES_MAX);
	reply->leases[reply->lease_count++] = lease;
	return got;
}

bool ms_lease_is_written(struct ms_state *state, const struct ms_session *session, inode_no ino)
{
	const struct ms_node *node = ms_lease_node(state, ino, 0);
	const struct ms_claim *c;

	if (!node)
		return false;
	DL_FOREACH(node->claims, c)
		if (c->session != session && c->mode == MS_LEASE_WRITE)
			return true;
	return false;
}

bool ms_lease_is_contended(struct ms_state *state, const struct ms_session *session, inode_no ino)
{
	const struct ms_node *node = ms_lease_node(state, ino, 0);
	const struct ms_claim *c;

	if (!node)
		return false;
	if (node->waits || node->recalled)
		return true;
	DL_FOREACH(node->claims, c)
		if (c->session != session && (c->mode == MS_LEASE_WRITE || c->is_writer))
			return true;
	return false;
}

/* --- opens ------------------------------------------------------------------------------------ */

bool ms_lease_is_open_elsewhere(struct ms_state *state, const struct ms_session *session,
				inode_no ino)
{
	const struct ms_node *node = ms_lease_node(state, ino, 0);

	return node && is_open_elsewhere(node, session);
}

struct ms_claim *ms_lease_open(struct ms_state *state, struct ms_session *session, inode_no ino,
			       bool write)
{
	struct ms_claim *claim = claim_make(state, session, ino, 0);

	if (claim) {
		claim->opens++;
		claim->is_writer |= write;
	}
	return claim;
}

bool ms_lease_close(struct ms_state *state, struct ms_session *session, inode_no ino)
{
	struct ms_claim *claim = ms_lease_find(state, session, ino, 0);
	bool last;

	if (!claim || claim->opens == 0)
		return false;
	last = --claim->opens == 0;
	claim->is_writer &= !last;
	claim_settle(state, claim);
	return last;
}

/* --- after a restart, and at a session's end -------------------------------------------------- */

int ms_lease_reclaim(struct ms_state *state, struct ms_session *session,
		     const struct ms_lease *lease)
{
	struct ms_node *node = ms_lease_node(state, lease->ino, lease->name_hash);
	struct ms_claim *claim, *c;

	if (lease->mode == MS_LEASE_NONE)
		return 0;
	if (node)
		DL_FOREACH(node->claims, c)
			if (c->session != session && c->mode &&
			    (c->mode == MS_LEASE_WRITE || lease->mode == MS_LEASE_WRITE))
				return -E_NO_LEASE;
	if (session->lease_count >= state->config.leases_max_per_session)
		return -E_NO_LEASE;
	claim = claim_make(state, session, lease->ino, lease->name_hash);
	if (!claim)
		return -E_NOMEM;
	if (lease->mode > claim->mode)
		claim_set_mode(state, claim, lease->mode);
	return 0;
}

/* An inode is named as often as it is open; a message that comes twice counts once. */
int ms_lease_reclaim_open(struct ms_state *state, struct ms_session *session, inode_no ino)
{
	struct ms_claim *claim = claim_make(state, session, ino, 0);

	if (!claim)
		return -E_NOMEM;
	if (claim->reclaim_mark != state->reclaim_mark) {
		claim->reclaim_mark = state->reclaim_mark;
		claim->reclaim_opens = 0;
	}
	claim->reclaim_opens++;
	claim->opens = MAX_OF(claim->opens, claim->reclaim_opens);
	return 0;
}

void ms_lease_drop_session(struct ms_state *state, struct ms_session *session)
{
	while (session->claims) {
		struct ms_claim *claim = session->claims;

		claim->opens = 0;
		ms_lease_lower(state, claim, MS_LEASE_NONE);
	}
}
