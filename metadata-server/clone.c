/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clones: a file or a whole tree copied by reference, in O(names).
 *
 * A clone is begun by a session and grows out of sight, step by step, below an inode that has no
 * name: each step is one request and one record. When all is copied it is shown, by one name that
 * is put in place. So nobody sees half of it, and after a crash it goes on with the next step. If
 * it is dropped, if its session ends, or nobody goes on with it, ticks remove it again, in bounded
 * pieces. What it is and what is left of it are rows (key.h).
 *
 * Consistency: a name and the inode that it names are copied in one event, each file as it was
 * published last, once nobody writes it under a lease: what is dirty is recalled first, from the
 * session that clones as well. Directories are read in the order of their hashes, each copied once:
 * what has its name all the while is there once, whatever is renamed around it, and a name that is
 * replaced by rename is never missing. A tree that fits one step is as it was at one moment.
 *
 * I9: root and row are copied in one event. Whatever list of roots is made later has the source's
 * or the copy's; one made before had the source's, or the source was published since, with blocks
 * too young to be collected.
 *
 * The client proves that its caller may reach the source and the place where it is shown, by an
 * open file of each; what lies below is checked here.
 */
#include "metadata-server/step_internal.h"

/* --- rows ------------------------------------------------------------------------------------- */

static void clone_put(struct ms_clone *c)
{
	struct ms_key key = ms_key_number(MS_KEY_CLONE, c->ino);
	uint8_t value[MS_CLONE_VALUE_BYTES];

	ms_key_clone_encode(&c->value, value);
	ms_txn_put(c->state->txn, key.bytes, key.len, value, sizeof value);
	c->has_changed = true;
}

/* The first at or behind this number; -E_NOENT: no more. */
static int clone_next(struct ms_state *state, inode_no from, struct ms_clone *out)
{
	struct ms_key key = ms_key_number(MS_KEY_CLONE, from);
	struct row row;
	struct rd r;
	int rc = ms_txn_next(state->txn, key.bytes, key.len, &row);

	*out = (struct ms_clone){ .state = state };
	if (rc < 0)
		return rc;
	if (!ms_key_is(&row, MS_KEY_CLONE, &r))
		return -E_NOENT;
	out->ino = rd_be64(&r);
	return rd_done(&r) ? ms_key_clone_decode(row.value, row.value_len, &out->value)
			   : -E_CORRUPT;
}

static int clone_get(struct ms_op *op, struct ms_clone *out)
{
	const struct ms_request *req = op->req;
	int rc = clone_next(op->state, req->ino, out);

	if (rc < 0)
		return rc;
	out->op = op;
	if (out->ino != req->ino || out->value.ticket != req->ticket ||
	    out->value.session != req->session || out->value.state == MS_CLONE_GOING)
		return -E_NOENT;
	return out->value.uid == req->caller.uid ? 0 : -E_PERM;
}

/* --- who goes on with it: volatile ------------------------------------------------------------ */

static struct ms_clone_heard *heard_of(struct ms_state *state, inode_no ino)
{
	struct ms_clone_heard *oldest = &state->clones[0];

	for (uint32_t i = 0; i < MS_CLONES_MAX; i++) {
		if (state->clones[i].ino == ino)
			return &state->clones[i];
		if (state->clones[i].heard_ms < oldest->heard_ms)
			oldest = &state->clones[i];
	}
	*oldest = (struct ms_clone_heard){ ino, state->now_ms };
	return oldest;
}

static int check_room(struct ms_state *state)
{
	struct ms_clone c = { .ino = 0 };
	uint32_t count = 0;
	int rc;

	while ((rc = clone_next(state, c.ino + 1, &c)) == 0)
		count++;
	if (rc != -E_NOENT)
		return rc;
	return count < MS_CLONES_MAX ? 0 : -E_BUSY;
}

/* --- requests --------------------------------------------------------------------------------- */

static void reply_progress(const struct ms_clone *c)
{
	struct ms_reply *reply = &c->op->effect.reply;

	reply->attr = (struct ms_attr){ .ino = c->ino };
	reply->end = c->value.state == MS_CLONE_BUILT;
	reply->clone_names = c->value.names;
	reply->clone_bytes = c->value.bytes;
}

static int begin(struct ms_op *op)
{
	const struct ms_request *req = op->req;
	struct ms_clone c = { .op = op, .state = op->state };
	struct ms_inode source, parent;
	int rc = ms_inode_get(op->state->txn, req->ino, &source);

	if (rc == 0)
		rc = ms_namespace_dir(op, req->parent, &parent);
	if (rc == 0)	/* where it is charged, and at its end shown */
		rc = ms_access(op->state, &req->caller, &parent, MS_ACCESS_WRITE | MS_ACCESS_EXEC);
	if (rc < 0)
		return rc;
	if (!ms_inode_is_dir(&source) && !ms_inode_is_file(&source))
		return -E_INVAL;
	if (source.attr.nlink == 0)
		return -E_NOENT;
	rc = check_room(op->state);
	if (rc < 0)
		return rc;
	c.value = (struct ms_clone_value){
		.source = req->ino, .parent = req->parent, .session = req->session,
		.ticket = req->ticket, .uid = req->caller.uid, .state = MS_CLONE_BUILDING };
	rc = ms_clone_copy_root(&c, &source);
	if (rc != 0)
		return rc;
	clone_put(&c);
	heard_of(op->state, c.ino)->heard_ms = op->state->now_ms;
	reply_progress(&c);
	return 0;
}

static int step(struct ms_op *op)
{
	struct ms_clone c;
	int rc = clone_get(op, &c);

	if (rc == 0 && c.value.state == MS_CLONE_BUILDING) {
		heard_of(op->state, c.ino)->heard_ms = op->state->now_ms;
		rc = ms_clone_copy(&c);
	}
	if (rc != 0)
		return rc;
	clone_put(&c);
	reply_progress(&c);
	return 0;
}

/* The name, and what only who has one is told: where the parent is, and since when. */
static void show_store(struct ms_clone *c, struct ms_inode *dir, struct ms_dir_slot *slot,
		       struct ms_inode *head)
{
	struct ms_state *state = c->state;
	struct ms_key key = ms_key_number(MS_KEY_CLONE, c->ino);

	slot->ino = c->ino;
	slot->type = head->attr.mode & S_IFMT;
	ms_dir_put(state->txn, slot);
	dir->attr.nlink += ms_inode_is_dir(head);
	ms_inode_touch(dir, state->wall_ns, true);
	ms_inode_put(state->txn, dir);
	/* a quota may have come above it meanwhile */
	(void)ms_quota_follow(state, head, dir->attr.quota);
	ms_trash_follow(state, head, dir, slot->name);
	ms_inode_touch(head, state->wall_ns, false);
	ms_inode_put(state->txn, head);
	ms_txn_del(state->txn, key.bytes, key.len);
	reply_progress(c);
}

static int show(struct ms_op *op)
{
	const struct ms_request *req = op->req;
	struct ms_inode dir, head;
	struct ms_dir_slot slot;
	struct ms_clone c;
	int rc = clone_get(op, &c);

	if (rc < 0)
		return rc;
	if (c.value.state != MS_CLONE_BUILT || c.value.parent != req->parent)
		return -E_INVAL;
	rc = ms_dir_check_name(req->name);
	if (rc == 0)
		rc = ms_namespace_dir(op, req->parent, &dir);
	if (rc == 0)
		rc = ms_access(op->state, &req->caller, &dir, MS_ACCESS_WRITE | MS_ACCESS_EXEC);
	if (rc == 0)
		rc = ms_dir_find(op->state->txn, op->state->config.name_key, req->parent, req->name,
				 &slot);
	if (rc == 0 && slot.ino)
		rc = -E_EXIST;
	if (rc == 0)
		rc = ms_inode_get(op->state->txn, c.ino, &head);
	if (rc < 0)
		return rc == -E_STALE ? -E_NOENT : rc;
	ms_lease_want(op, slot.dir, slot.hash, MS_LEASE_WRITE);
	ms_lease_want(op, slot.dir, 0, MS_LEASE_WRITE);
	if (ms_lease_is_blocked_by_all(op))
		return MS_OP_PARKED;
	show_store(&c, &dir, &slot, &head);
	return 0;
}

static int drop(struct ms_op *op)
{
	struct ms_clone c;
	int rc = clone_get(op, &c);

	if (rc < 0)
		return rc;
	ms_clone_drop(&c);
	clone_put(&c);
	reply_progress(&c);
	ms_step_emit(op->state, &(struct ms_effect){ .kind = MS_FX_TICK });
	return 0;
}

int ms_clone(struct ms_op *op)
{
	switch (op->req->action) {
	case MS_CLONE_BEGIN:
		return begin(op);
	case MS_CLONE_STEP:
		return step(op);
	case MS_CLONE_SHOW:
		return show(op);
	case MS_CLONE_DROP:
		return drop(op);
	}
	return -E_INVAL;
}

/* --- in the background ------------------------------------------------------------------------ */

static bool is_left(struct ms_state *state, const struct ms_clone *c)
{
	return !ms_session_find(state, c->value.session) ||
	       state->now_ms - heard_of(state, c->ino)->heard_ms > MS_CLONE_IDLE_MS;
}

static void tick_one(struct ms_clone *c)
{
	struct ms_key key = ms_key_number(MS_KEY_CLONE, c->ino);
	int rc = 0;

	if (c->value.state != MS_CLONE_GOING) {
		if (!is_left(c->state, c))
			return;
		ms_clone_drop(c);
		clone_put(c);
	}
	rc = ms_clone_drop_piece(c);
	if (rc == 1)
		ms_txn_del(c->state->txn, key.bytes, key.len);
	else if (rc == 0)
		ms_step_emit(c->state, &(struct ms_effect){ .kind = MS_FX_TICK });
	/* else rows that cannot be read: fsck's; tried again with the next tick */
}

void ms_clone_tick(struct ms_state *state)
{
	struct ms_clone c = { .ino = 0 };

	if (state->is_recovering)
		return;
	while (ms_txn_event_bytes(state->txn) <= MS_EVENT_BYTES_SOFT &&
	       clone_next(state, c.ino + 1, &c) == 0)
		tick_one(&c);
}
