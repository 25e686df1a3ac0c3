/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listing a directory, in batches. The cookie of an entry is the hash of its name, so names of
 * equal hash are never split over two batches. "." and ".." are the client's: the reply names the
 * parent.
 *
 * With attributes, each entry comes with leases on its name and inode, as far as they may be
 * granted, but for one who walks a tree and keeps nothing of it. An entry that another session is
 * writing comes without attributes: who wants them asks for that one.
 */
#include "metadata-server/step_internal.h"

#include <string.h>

/* Estimates of a packed entry without its name: the reply has to fit a message. */
#define ENTRY_BYTES		32u
#define ENTRY_ATTR_BYTES	230u
#define LISTING_NAMES_BYTES	ROW_VALUE_BYTES_MAX
/* Entries of a batch that tell what their root is a recut of; others do when they are opened. */
#define LISTING_RECUTS_MAX	32u
#define FIRST_COOKIE		3u	/* below: the start, "." and ".." */

_Static_assert(MS_LISTING_BYTES_MAX / ENTRY_BYTES >= MS_LISTING_ENTRIES_MAX, "entries suffice");
_Static_assert(MS_LISTING_BYTES_MAX + NAME_BYTES_MAX <= LISTING_NAMES_BYTES, "the names fit");

struct listing {
	struct ms_op *op;
	uint32_t count, budget, used, names_len, recuts;
};

static uint32_t entry_cost(const struct ms_op *op, uint32_t name_len)
{
	return name_len + (op->req->attributes ? ENTRY_ATTR_BYTES : ENTRY_BYTES);
}

static void add_entry(struct listing *l, const struct ms_dir_slot *slot)
{
	struct ms_state *state = l->op->state;
	uint8_t *name = state->reply_bytes + l->names_len;

	memcpy(name, slot->name.bytes, slot->name.len);
	state->entries[l->count++] = (struct ms_dir_entry){
		.name = { name, slot->name.len }, .ino = slot->ino, .type = slot->type,
		.cookie = slot->hash };
	l->names_len += slot->name.len;
	l->used += entry_cost(l->op, slot->name.len);
}

/*
 * A batch takes at least one hash, however many names have it; beyond the hard bounds nobody can
 * help.
 */
static bool must_stop(const struct listing *l, const struct ms_dir_slot *slot)
{
	const struct ms_dir_entry *entries = l->op->state->entries;

	if (l->count == MS_LISTING_ENTRIES_MAX ||
	    l->names_len + slot->name.len > LISTING_NAMES_BYTES)
		return true;
	if (l->count == 0 || entries[0].cookie == slot->hash)
		return false;
	return l->used + entry_cost(l->op, slot->name.len) > l->budget;
}

/* Drop the entries of a hash that did not fit whole; the next batch begins with them. */
static void drop_split_hash(struct listing *l, uint64_t hash)
{
	while (l->count && l->op->state->entries[l->count - 1].cookie == hash)
		l->count--;
}

/* 0: the batch is full; 1: the directory ends; or an error. */
static int collect(struct listing *l, uint64_t from)
{
	struct ms_op *op = l->op;
	uint8_t name_bytes[NAME_BYTES_MAX + 1];
	struct ms_name name = { name_bytes, 0 };
	struct ms_dir_slot slot;
	int rc;

	while ((rc = ms_dir_next(op->state->txn, op->req->ino, from, name, &slot)) == 0) {
		if (must_stop(l, &slot)) {
			drop_split_hash(l, slot.hash);
			return 0;
		}
		add_entry(l, &slot);
		/* Go on behind this name: the smallest key after it has a zero byte more. */
		memcpy(name_bytes, slot.name.bytes, slot.name.len);
		name_bytes[slot.name.len] = 0;
		name.len = slot.name.len + 1;
		from = slot.hash;
	}
	return rc == -E_NOENT ? 1 : rc;
}

static int add_attributes(struct listing *l, struct ms_dir_entry *e, uint64_t dir)
{
	struct ms_op *op = l->op;
	struct ms_inode inode;
	int rc;

	if (!op->req->unleased)
		ms_lease_grant(op, dir, e->cookie, MS_LEASE_READ, &e->name_lease);
	if (ms_lease_is_written(op->state, op->session, e->ino))
		return 0;
	rc = ms_inode_get(op->state->txn, e->ino, &inode);
	if (rc < 0)
		return rc == -E_STALE ? -E_CORRUPT : rc;
	e->attr = inode.attr;
	if (e->attr.recut_of.kind != ROOT_EMPTY && l->recuts++ >= LISTING_RECUTS_MAX)
		e->attr.recut_of = (struct root){ .kind = ROOT_EMPTY };
	if (!op->req->unleased)
		ms_lease_grant(op, e->ino, 0, MS_LEASE_READ, &e->lease);
	return 0;
}

int ms_listing_read(struct ms_op *op)
{
	const struct ms_request *req = op->req;
	struct ms_state *state = op->state;
	struct ms_reply *reply = &op->effect.reply;
	struct listing l = { .op = op, .budget = MS_LISTING_BYTES_MAX };
	struct ms_inode dir;
	int rc = ms_inode_get(state->txn, req->ino, &dir);

	if (rc < 0)
		return rc == -E_STALE ? -E_NOENT : rc;	/* as getdents(2) of a removed one */
	if (!ms_inode_is_dir(&dir))
		return -E_NOTDIR;
	if (req->bytes_max && req->bytes_max < l.budget)
		l.budget = req->bytes_max;
	rc = collect(&l, req->cookie < FIRST_COOKIE ? 0 : req->cookie + 1);
	if (rc < 0)
		return rc;
	reply->end = rc == 1;
	for (uint32_t i = 0; i < l.count && req->attributes; i++) {
		rc = add_attributes(&l, &state->entries[i], req->ino);
		if (rc < 0)
			return rc;
	}
	reply->entries = state->entries;
	reply->entry_count = l.count;
	reply->parent_ino = dir.parent;
	reply->attr = dir.attr;
	return 0;
}
