/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Trash: what is deleted below a directory that has one stays, as it is and without a name, for as
 * long as its rows say. It is listed, restored, emptied, and goes by itself when its time is over.
 *
 * Every directory row says in which trash its names end (0: in none), so that whoever removes one
 * knows without a search, and who uses none pays nothing. mkdir passes that on, rename and enabling
 * hand it down in the background (trash_walk.c). Directories of a tree have a row with their name,
 * so that the path of what is deleted is known as well.
 *
 * An inode without links lies in a trash exactly if its own row names one. It keeps its number,
 * content and attributes: the list of roots has it, and so do quotas. Opens of it are not orphans
 * while it is there.
 */
#include "metadata-server/trash.h"

#include <string.h>

#include "metadata-server/step_internal.h"

#define TREES_PER_TICK	64u
#define LOOKED_AT_ONCE	4096u	/* entries of others are passed */
#define LOOK_EVERY_MS	1000u
#define DEPTH_MAX	2048u

/* --- rows ------------------------------------------------------------------------------------- */

int ms_trash_get(struct ms_txn *txn, inode_no tree, struct ms_trash *out)
{
	struct ms_key key = ms_key_trash(MS_TRASH_TREE, tree);
	const void *value;
	uint32_t len;
	int rc = ms_txn_get(txn, key.bytes, key.len, &value, &len);

	return rc < 0 ? rc : ms_key_trash_decode(value, len, out);
}

static void trash_put(struct ms_state *state, inode_no tree, const struct ms_trash *trash)
{
	struct ms_key key = ms_key_trash(MS_TRASH_TREE, tree);
	uint8_t value[MS_TRASH_BYTES];

	if (!trash->is_on && trash->entries == 0) {
		ms_txn_del(state->txn, key.bytes, key.len);
		return;
	}
	ms_key_trash_encode(trash, value);
	ms_txn_put(state->txn, key.bytes, key.len, value, sizeof value);
}

/* The first entry at or behind (time, ino); its path is borrowed. -E_NOENT: none. */
static int entry_next(struct ms_state *state, inode_no tree, uint64_t time_ns, inode_no ino,
		      struct ms_trash_entry *out)
{
	struct ms_key key = ms_key_trash_entry(tree, time_ns, ino);
	struct row row;
	struct rd r;
	int rc = ms_txn_next(state->txn, key.bytes, key.len, &row);

	if (rc < 0)
		return rc;
	if (!ms_key_is(&row, MS_KEY_TRASH, &r) || rd_u8(&r) != MS_TRASH_ENTRY ||
	    rd_be64(&r) != tree)
		return -E_NOENT;
	return ms_key_trash_entry_decode(&r, row.value, row.value_len, out);
}

static void totals(struct ms_state *state, struct ms_trash *trash, int64_t entries, int64_t bytes)
{
	trash->entries += (uint64_t)entries;
	trash->bytes += (uint64_t)bytes;
	state->trash_entries += (uint64_t)entries;
	state->trash_bytes += (uint64_t)bytes;
}

int ms_trash_load(struct ms_state *state)
{
	struct ms_trash trash;
	struct row row;
	struct rd r;
	inode_no tree = 0;
	int rc;

	for (;;) {
		struct ms_key key = ms_key_trash(MS_TRASH_TREE, tree);

		rc = ms_txn_next(state->txn, key.bytes, key.len, &row);
		if (rc < 0)
			return rc == -E_NOENT ? 0 : rc;
		if (!ms_key_is(&row, MS_KEY_TRASH, &r) || rd_u8(&r) != MS_TRASH_TREE)
			return 0;
		tree = rd_be64(&r) + 1;
		rc = ms_key_trash_decode(row.value, row.value_len, &trash);
		if (rc < 0)
			return rc;
		totals(state, &(struct ms_trash){ 0 }, (int64_t)trash.entries,
		       (int64_t)trash.bytes);
	}
}

/* --- what goes in ----------------------------------------------------------------------------- */

/* The name of `dir` goes in front of what is there. How long it is then, or < 0. */
static int prepend(uint8_t path[MS_TRASH_PATH_MAX], uint32_t *start, struct ms_name name)
{
	if (name.len + 1 > *start)
		return -E_NAMETOOLONG;
	*start -= name.len;
	memcpy(path + *start, name.bytes, name.len);
	path[--*start] = '/';
	return 0;
}

/*
 * The path of a name below its tree, at the end of `path`; as much of its end as is known, should a
 * row be missing.
 */
static struct ms_name path_of(struct ms_state *state, struct ms_inode dir, struct ms_name name,
			      uint8_t path[MS_TRASH_PATH_MAX])
{
	uint32_t start = MS_TRASH_PATH_MAX;
	inode_no tree = dir.trash;
	int rc = prepend(path, &start, name);

	for (uint32_t depth = 0; rc == 0 && dir.attr.ino != tree && depth < DEPTH_MAX; depth++) {
		struct ms_key key = ms_key_trash(MS_TRASH_NAME, dir.attr.ino);
		const void *value;
		uint32_t len;

		rc = ms_txn_get(state->txn, key.bytes, key.len, &value, &len);
		if (rc == 0)
			rc = prepend(path, &start, (struct ms_name){ value, len });
		if (rc == 0)
			rc = ms_inode_get(state->txn, dir.parent, &dir);
	}
	return (struct ms_name){ path + start + 1, MS_TRASH_PATH_MAX - start - 1 };
}

static bool is_taken(struct ms_state *state, const struct ms_inode *dir,
		     const struct ms_inode *victim, struct ms_trash *out)
{
	if (!dir->trash || (!ms_inode_is_dir(victim) && victim->attr.nlink > 1))
		return false;
	return ms_trash_get(state->txn, dir->trash, out) == 0 && out->is_on;
}

/* A directory that goes: with it the trash of its own, whose entries then end in their time. */
static void leave_tree(struct ms_state *state, struct ms_inode *victim)
{
	struct ms_trash own;

	if (!victim->trash)
		return;
	ms_trash_name_drop(state, victim->attr.ino);
	if (victim->trash == victim->attr.ino &&
	    ms_trash_get(state->txn, victim->trash, &own) == 0) {
		own.is_on = false;
		trash_put(state, victim->trash, &own);
	}
	victim->trash = 0;
}

void ms_trash_unlinked(struct ms_op *op, const struct ms_inode *dir, struct ms_name name,
		       struct ms_inode *victim)
{
	struct ms_state *state = op->state;
	uint8_t path[MS_TRASH_PATH_MAX];
	struct ms_trash_entry entry;
	struct ms_trash trash;

	leave_tree(state, victim);
	if (!is_taken(state, dir, victim, &trash)) {
		ms_orphan_unlinked(state, victim);
		return;
	}
	entry = (struct ms_trash_entry){
		.ino = victim->attr.ino, .time_ns = state->wall_ns, .uid = op->req->caller.uid,
		.bytes = ms_inode_is_file(victim) ? victim->attr.size : 0,
		.path = path_of(state, *dir, name, path) };
	ms_trash_entry_put(state, dir->trash, &entry);
	if (ms_inode_is_dir(victim))
		ms_quota_dir_gone(state, victim);
	victim->attr.nlink = 0;
	victim->trash = dir->trash;
	ms_inode_put(state->txn, victim);
	totals(state, &trash, 1, (int64_t)entry.bytes);
	trash_put(state, dir->trash, &trash);
}

/* --- what comes out --------------------------------------------------------------------------- */

static void entry_del(struct ms_state *state, inode_no tree, struct ms_trash *trash,
		      const struct ms_trash_entry *entry)
{
	struct ms_key key = ms_key_trash_entry(tree, entry->time_ns, entry->ino);

	ms_txn_del(state->txn, key.bytes, key.len);
	totals(state, trash, -1, -(int64_t)entry->bytes);
}

/* It is deleted for good: freed, or open without a name. */
static void purge(struct ms_state *state, inode_no tree, struct ms_trash *trash,
		  const struct ms_trash_entry *entry)
{
	struct ms_inode inode;

	entry_del(state, tree, trash, entry);
	if (ms_inode_get(state->txn, entry->ino, &inode) < 0 || inode.attr.nlink != 0)
		return;
	inode.trash = 0;
	ms_orphan_end(state, &inode);
}

static bool is_full(const struct ms_state *state)
{
	return ms_txn_event_bytes(state->txn) > MS_EVENT_BYTES_SOFT;
}

static uint64_t before_ns(const struct ms_state *state, uint64_t age_ms)
{
	uint64_t age_ns = age_ms * 1000000u;	/* below MS_TRASH_KEEP_MS_MAX: it fits */

	return age_ns < state->wall_ns ? state->wall_ns - age_ns : 0;
}

/*
 * Entries from *from_ns on and before `end_ns`, of `uid` (0: of all). 1: no such are left; 0: there
 * may be more, from *from_ns on.
 */
static int purge_before(struct ms_state *state, inode_no tree, uint64_t *from_ns, uint64_t end_ns,
			uint32_t uid)
{
	struct ms_trash_entry entry = { .time_ns = *from_ns };
	struct ms_trash trash;
	uint32_t looked = 0;
	uint64_t entries;
	int rc = ms_trash_get(state->txn, tree, &trash);

	if (rc < 0)
		return rc == -E_NOENT ? 1 : rc;
	entries = trash.entries;
	for (;;) {
		rc = entry_next(state, tree, entry.time_ns, entry.ino + 1, &entry);
		/* those of one moment are looked at together, so that the time is place enough */
		if (rc < 0 || entry.time_ns >= end_ns || is_full(state) ||
		    (looked++ >= LOOKED_AT_ONCE && entry.time_ns != *from_ns))
			break;
		*from_ns = entry.time_ns;
		if (uid == 0 || entry.uid == uid)
			purge(state, tree, &trash, &entry);
	}
	if (trash.entries != entries)
		trash_put(state, tree, &trash);
	if (rc < 0)
		return rc == -E_NOENT ? 1 : rc;
	return entry.time_ns >= end_ns;
}

/* --- requests --------------------------------------------------------------------------------- */

/* Root, and who owns the directory. */
static int dir_of(struct ms_op *op, struct ms_inode *dir)
{
	uint32_t uid = op->req->caller.uid;
	int rc = ms_namespace_dir(op, op->req->ino, dir);

	if (rc < 0)
		return rc;
	return uid == 0 || uid == dir->attr.uid ? 0 : -E_PERM;
}

static int enable(struct ms_op *op)
{
	struct ms_state *state = op->state;
	struct ms_trash trash = { .entries = 0 };
	struct ms_inode dir;
	int rc = dir_of(op, &dir);

	if (rc == 0)
		rc = ms_trash_get(state->txn, op->req->ino, &trash);
	if (rc < 0 && rc != -E_NOENT)
		return rc;
	if (op->req->keep_ms == 0 || op->req->keep_ms > MS_TRASH_KEEP_MS_MAX)
		return -E_INVAL;
	trash.is_on = true;
	trash.keep_ms = op->req->keep_ms;
	trash_put(state, op->req->ino, &trash);
	ms_trash_hand_down(state, &dir, op->req->ino, NULL);
	ms_inode_put(state->txn, &dir);
	op->effect.reply.attr = (struct ms_attr){ .ino = op->req->ino };
	return 0;
}

static int disable(struct ms_op *op)
{
	struct ms_state *state = op->state;
	struct ms_inode dir, parent;
	struct ms_trash trash;
	inode_no above = 0;
	int rc = dir_of(op, &dir);

	if (rc == 0)
		rc = ms_trash_get(state->txn, op->req->ino, &trash);
	if (rc == 0 && !trash.is_on)
		rc = -E_NOENT;
	if (rc == 0 && dir.attr.ino != INODE_ROOT)
		rc = ms_inode_get(state->txn, dir.parent, &parent);
	if (rc < 0)
		return rc;
	if (dir.attr.ino != INODE_ROOT)
		above = parent.trash;
	trash.is_on = false;
	trash_put(state, op->req->ino, &trash);
	/* Its own name is not known here: of a tree above, the walk of its parent writes it. */
	ms_trash_hand_down(state, &dir, above, NULL);
	ms_inode_put(state->txn, &dir);
	if (above)
		ms_trash_walk_add(state, parent.attr.ino);
	op->effect.reply.attr = (struct ms_attr){ .ino = op->req->ino };
	return 0;
}

static int empty(struct ms_op *op)
{
	const struct ms_request *req = op->req;
	uint64_t from_ns = req->time_ns;
	struct ms_inode dir;
	int rc = ms_inode_get(op->state->txn, req->ino, &dir);

	if (rc < 0)
		return rc;
	if (!dir.trash || req->keep_ms > MS_TRASH_KEEP_MS_MAX)
		return dir.trash ? -E_INVAL : -E_NOENT;
	rc = purge_before(op->state, dir.trash, &from_ns, before_ns(op->state, req->keep_ms),
			  req->caller.uid);
	if (rc < 0)
		return rc;
	op->effect.reply.list_time_ns = from_ns;
	op->effect.reply.end = rc == 1;
	op->effect.reply.attr = (struct ms_attr){ .ino = dir.trash };
	return 0;
}

struct restore {
	struct ms_inode dir, inode;
	struct ms_dir_slot slot;
	struct ms_trash trash;
	struct ms_trash_entry entry;
};

static int restore_find(struct ms_op *op, struct restore *r)
{
	const struct ms_request *req = op->req;
	struct ms_state *state = op->state;
	int rc = ms_dir_check_name(req->name);

	if (rc == 0)
		rc = ms_trash_get(state->txn, req->tree, &r->trash);
	if (rc == 0)
		rc = entry_next(state, req->tree, req->time_ns, req->ino, &r->entry);
	if (rc == 0 && (r->entry.ino != req->ino || r->entry.time_ns != req->time_ns))
		rc = -E_NOENT;
	if (rc == 0 && req->caller.uid != 0 && req->caller.uid != r->entry.uid)
		rc = -E_PERM;
	if (rc == 0)
		rc = ms_inode_get(state->txn, req->ino, &r->inode);
	if (rc == 0)
		rc = ms_namespace_dir(op, req->parent, &r->dir);
	if (rc == 0)
		rc = ms_access(state, &req->caller, &r->dir, MS_ACCESS_WRITE | MS_ACCESS_EXEC);
	if (rc == 0)
		rc = ms_dir_find(state->txn, state->config.name_key, req->parent, req->name,
				 &r->slot);
	if (rc == 0 && r->slot.ino)
		rc = -E_EXIST;
	if (rc == 0 && r->inode.attr.quota != r->dir.attr.quota)
		rc = ms_quota_check(state, op->session, r->dir.attr.quota,
				    ms_quota_usage(&r->inode));
	return rc;
}

static int restore(struct ms_op *op)
{
	struct ms_state *state = op->state;
	struct restore r;
	int rc = restore_find(op, &r);
	bool is_dir;

	if (rc < 0)
		return rc;
	ms_lease_want(op, r.inode.attr.ino, 0, MS_LEASE_WRITE);
	ms_lease_want(op, r.slot.dir, r.slot.hash, MS_LEASE_WRITE);
	ms_lease_want(op, r.slot.dir, 0, MS_LEASE_WRITE);
	if (ms_lease_is_blocked_by_all(op))
		return MS_OP_PARKED;
	is_dir = ms_inode_is_dir(&r.inode);
	entry_del(state, op->req->tree, &r.trash, &r.entry);
	trash_put(state, op->req->tree, &r.trash);
	r.inode.attr.nlink = is_dir ? 2 : 1;
	r.inode.parent = is_dir ? r.dir.attr.ino : 0;
	r.inode.trash = 0;
	if (is_dir)
		ms_trash_hand_down(state, &r.inode, r.dir.trash, &op->req->name);
	(void)ms_quota_follow(state, &r.inode, r.dir.attr.quota);
	ms_inode_touch(&r.inode, state->wall_ns, false);
	ms_inode_put(state->txn, &r.inode);
	r.slot.ino = r.inode.attr.ino;
	r.slot.type = r.inode.attr.mode & S_IFMT;
	ms_dir_put(state->txn, &r.slot);
	r.dir.attr.nlink += is_dir;
	ms_inode_touch(&r.dir, state->wall_ns, true);
	ms_inode_put(state->txn, &r.dir);
	op->effect.reply.attr = r.inode.attr;
	return 0;
}

int ms_trash_change(struct ms_op *op)
{
	switch (op->req->action) {
	case MS_TRASH_ENABLE:
		return enable(op);
	case MS_TRASH_DISABLE:
		return disable(op);
	case MS_TRASH_RESTORE:
		return restore(op);
	case MS_TRASH_EMPTY:
		return empty(op);
	}
	return -E_INVAL;
}

/* --- listing ---------------------------------------------------------------------------------- */

static bool list_add(struct ms_op *op, const struct ms_trash_entry *e, uint32_t *used)
{
	struct ms_state *state = op->state;
	struct ms_reply *reply = &op->effect.reply;
	struct ms_dir_entry *out = &state->entries[reply->entry_count];
	uint8_t *path = state->reply_bytes + *used;
	struct ms_inode inode;

	if (reply->entry_count == MS_TRASH_PAGE ||
	    (*used && *used + e->path.len > MS_TRASH_PATH_MAX))
		return false;
	memcpy(path, e->path.bytes, e->path.len);	/* borrowed from the rows */
	*out = (struct ms_dir_entry){ .name = { path, e->path.len }, .ino = e->ino,
				      .cookie = e->time_ns };
	*used += e->path.len;
	if (ms_inode_get(state->txn, e->ino, &inode) == 0)
		out->attr = inode.attr;
	out->attr.uid = e->uid;		/* who deleted it */
	reply->entry_count++;
	reply->target = (struct ms_name){ state->reply_bytes, *used };
	return true;
}

int ms_trash_list(struct ms_op *op)
{
	const struct ms_request *req = op->req;
	struct ms_reply *reply = &op->effect.reply;
	struct ms_trash_entry entry = { .time_ns = req->time_ns, .ino = req->cookie };
	uint32_t used = 0, looked = 0;
	struct ms_trash trash;
	struct ms_inode dir;
	int rc = ms_inode_get(op->state->txn, req->ino, &dir);

	if (rc == 0)
		rc = dir.trash ? ms_trash_get(op->state->txn, dir.trash, &trash) : -E_NOENT;
	if (rc < 0)
		return rc;
	reply->trash_keep_ms = trash.keep_ms;
	reply->trash_entries = trash.entries;
	reply->trash_bytes = trash.bytes;
	reply->trash_is_on = trash.is_on;
	reply->attr = (struct ms_attr){ .ino = dir.trash };
	reply->entries = op->state->entries;
	do {
		rc = entry_next(op->state, dir.trash, entry.time_ns, entry.ino + 1, &entry);
		reply->end = rc == -E_NOENT;
		if (rc < 0)
			return reply->end ? 0 : rc;
		if (req->caller.uid != 0 && req->caller.uid != entry.uid) {
			reply->list_time_ns = entry.time_ns;
			reply->list_ino = entry.ino;
			continue;
		}
		if (!list_add(op, &entry, &used))
			return 0;
		reply->list_time_ns = entry.time_ns;
		reply->list_ino = entry.ino;
	} while (++looked < MS_LISTING_ENTRIES_MAX);
	return 0;
}

/* --- in the background ------------------------------------------------------------------------ */

/* Expire what is over its time; of trees that were disabled, the rows go with the last entry. */
static void expire(struct ms_state *state)
{
	uint32_t looked = 0;

	while (looked++ < TREES_PER_TICK && !is_full(state)) {
		struct ms_key key = ms_key_trash(MS_TRASH_TREE, state->trash_from);
		struct ms_trash trash;
		struct row row;
		struct rd r;
		inode_no tree;
		uint64_t from_ns = 0;

		if (ms_txn_next(state->txn, key.bytes, key.len, &row) < 0 ||
		    !ms_key_is(&row, MS_KEY_TRASH, &r) || rd_u8(&r) != MS_TRASH_TREE) {
			state->trash_from = 0;
			state->trash_next_ms = state->now_ms + LOOK_EVERY_MS;
			return;
		}
		tree = rd_be64(&r);
		if (ms_key_trash_decode(row.value, row.value_len, &trash) == 0 && trash.entries &&
		    purge_before(state, tree, &from_ns, before_ns(state, trash.keep_ms), 0) == 0)
			return;		/* more of this one with the next tick */
		state->trash_from = tree + 1;
	}
}

void ms_trash_tick(struct ms_state *state)
{
	if (state->is_recovering)
		return;
	if (state->trash_from || state->now_ms >= state->trash_next_ms)
		expire(state);
	ms_trash_walk_tick(state);
}
