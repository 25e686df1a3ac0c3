/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a clone is made of: a step takes a directory that is left to do, and copies its names one by
 * one, each with its inode, until the record is full, a writer is in the way, or something cannot
 * be read. Where it stops it leaves where to go on; an error is answered by the step that begins
 * with it, so that none changes anything and fails.
 *
 * Inodes of several names are copied once, and their copies linked alike. Directories are copied
 * where they were met first: one that is moved meanwhile is not followed.
 */
#include "metadata-server/step_internal.h"

#include <string.h>

#define LOOKED_MAX	2048u	/* names of one event */
#define RECALLS_AHEAD	128u	/* files behind the one that is waited for */

/* --- work rows -------------------------------------------------------------------------------- */

void ms_clone_work_put(struct ms_clone *c, const struct ms_clone_work *work)
{
	struct ms_key key = ms_key_clone_work(c->ino, work->kind, work->ino);
	uint8_t value[MS_CLONE_WORK_BYTES_MAX];
	size_t len = ms_key_clone_work_encode(work, value);

	ms_txn_put(c->state->txn, key.bytes, key.len, value, (uint32_t)len);
	c->has_changed = true;
}

void ms_clone_work_del(struct ms_clone *c, const struct ms_clone_work *work)
{
	struct ms_key key = ms_key_clone_work(c->ino, work->kind, work->ino);

	ms_txn_del(c->state->txn, key.bytes, key.len);
	c->has_changed = true;
}

int ms_clone_work_next(struct ms_clone *c, enum ms_clone_kind kind, inode_no ino,
		       struct ms_clone_work *out)
{
	struct ms_key key = ms_key_clone_work(c->ino, kind, ino);
	struct row row;
	struct rd r;
	int rc = ms_txn_next(c->state->txn, key.bytes, key.len, &row);

	if (rc < 0)
		return rc;
	if (!ms_key_is(&row, MS_KEY_CLONE_WORK, &r) || rd_be64(&r) != c->ino)
		return -E_NOENT;
	return ms_key_clone_work_decode(&r, row.value, row.value_len, out);
}

/* Where `ino` was copied to; 0: it was not. */
static int copied_to(struct ms_clone *c, inode_no ino, inode_no *out)
{
	struct ms_clone_work work;
	int rc = ms_clone_work_next(c, MS_CLONE_COPIED, ino, &work);

	*out = 0;
	if (rc < 0)
		return rc == -E_NOENT ? 0 : rc;
	if (work.kind == MS_CLONE_COPIED && work.ino == ino)
		*out = work.target;
	return 0;
}

static void remember(struct ms_clone *c, enum ms_clone_kind kind, inode_no ino, inode_no target)
{
	ms_clone_work_put(c, &(struct ms_clone_work){.kind = kind, .ino = ino, .target = target});
}

/* --- one inode -------------------------------------------------------------------------------- */

/* Who is not root owns what he copied, with set-id bits only where the id stayed. */
static void set_owner(const struct ms_caller *caller, struct ms_attr *a)
{
	uint32_t uid = a->uid, gid = a->gid;

	if (caller->uid == 0)
		return;
	a->uid = caller->uid;
	if (!ms_access_has_group(caller, gid))
		a->gid = caller->gid;
	if (a->uid != uid)
		a->mode &= ~(uint32_t)S_ISUID;
	if (a->gid != gid || (a->uid != uid && !S_ISDIR(a->mode)))
		a->mode &= ~(uint32_t)S_ISGID;
}

static unsigned access_wanted(const struct ms_inode *source)
{
	if (ms_inode_is_dir(source))
		return MS_ACCESS_READ | MS_ACCESS_EXEC;
	return S_ISLNK(source->attr.mode) ? 0 : MS_ACCESS_READ;
}

/* May it be copied, and now? MS_OP_PARKED: somebody writes it. */
static int check_source(struct ms_clone *c, const struct ms_inode *source)
{
	const struct ms_caller *caller = &c->op->req->caller;
	bool is_device = S_ISCHR(source->attr.mode) || S_ISBLK(source->attr.mode);
	int rc = ms_access(c->state, caller, source, access_wanted(source));

	if (rc < 0)
		return rc;
	if (is_device && caller->uid != 0)
		return -E_PERM;
	if (!ms_inode_is_file(source))
		return 0;
	c->op->want_count = 0;
	ms_lease_want(c->op, source->attr.ino, 0, MS_LEASE_READ);
	return ms_lease_is_blocked_by_all(c->op) ? MS_OP_PARKED : 0;
}

/* Bytes that lie beside the inode: inline content, the target of a link. */
static int copy_bytes(struct ms_clone *c, const struct ms_inode *source, struct ms_inode *copy)
{
	struct ms_key key = ms_key_number(MS_KEY_BYTES, source->attr.ino);
	const struct root *root = &source->attr.root;
	const void *value = NULL;
	uint32_t len = 0;
	int rc = 0;

	if (S_ISLNK(source->attr.mode) || root->kind == ROOT_INLINE)
		rc = ms_txn_get(c->state->txn, key.bytes, key.len, &value, &len);
	if (rc < 0 || (root->kind == ROOT_INLINE && len != root->length))
		return rc < 0 && rc != -E_NOENT ? rc : -E_CORRUPT;
	if (S_ISLNK(source->attr.mode)) {
		key = ms_key_number(MS_KEY_BYTES, copy->attr.ino);
		ms_txn_put(c->state->txn, key.bytes, key.len, value, len);
	} else if (ms_inode_is_file(source)) {
		ms_publish_content(c->state, copy, root, value);
		copy->attr.size = source->attr.size;	/* a hole may follow the root */
	}
	return 0;
}

static void count(struct ms_clone *c, const struct ms_inode *copy)
{
	struct ms_counters *counters = &c->state->counters;

	if (ms_inode_is_dir(copy))
		counters->directories++;
	else
		counters->files++;
	if (ms_inode_is_file(copy)) {
		counters->bytes_logical += copy->attr.size;
		c->value.bytes += copy->attr.size;
	}
	ms_step_counters_put(c->state);
	ms_quota_charge(c->state, copy->attr.quota, (struct ms_usage){ .files = 1 });
}

/* Attributes from `at` on; what the event has no room for is left to do. */
static int copy_xattrs(struct ms_clone *c, struct ms_inode *copy, struct ms_clone_work *at)
{
	int rc = ms_xattr_copy(c->state, at->ino, copy, c->op->req->caller.uid == 0, at);

	if (rc < 0)
		return rc;
	if (rc == 0)
		ms_clone_work_put(c, at);
	ms_inode_put(c->state->txn, copy);
	c->has_changed = true;
	return rc;
}

/* A copy of `source`, which may be copied, below `parent`; its names come later. */
static int make_copy(struct ms_clone *c, const struct ms_inode *source, inode_no parent,
		     struct ms_inode *out)
{
	struct ms_attr *a = &out->attr;
	struct ms_clone_work at;
	struct ms_inode dir;
	inode_no ino;
	int rc = ms_inode_get(c->state->txn, parent, &dir);

	if (rc == 0)
		rc = ms_quota_check(c->state, c->op->session, dir.attr.quota,
				    ms_quota_usage(source));
	if (rc == 0)
		rc = ms_namespace_number(c->state, &ino);
	if (rc < 0)
		return rc;
	*out = *source;
	a->quota = dir.attr.quota;
	out->parent = ms_inode_is_dir(source) ? parent : 0;
	out->trash = 0;			/* it gets the one of its place when it is shown */
	a->ino = ino;
	a->nlink = ms_inode_is_dir(source) ? 2 : 1;
	a->version = 1;
	a->flags = 0;
	a->ctime_ns = a->btime_ns = (int64_t)c->state->wall_ns;
	a->root = (struct root){ .kind = ROOT_EMPTY };
	set_owner(&c->op->req->caller, a);
	rc = copy_bytes(c, source, out);
	if (rc < 0)
		return rc;
	ms_inode_put(c->state->txn, out);
	c->has_changed = true;
	count(c, out);
	if (!(source->attr.flags & (MS_INODE_FLAG_XATTRS | MS_INODE_FLAG_ACL)))
		return 0;
	at = (struct ms_clone_work){ .kind = MS_CLONE_XATTRS, .ino = source->attr.ino,
				     .target = ino };
	if (copy_xattrs(c, out, &at) < 0)
		ms_clone_work_put(c, &at);	/* told by the step that begins with it */
	return 0;
}

int ms_clone_copy_root(struct ms_clone *c, const struct ms_inode *source)
{
	struct ms_inode copy;
	int rc = check_source(c, source);

	if (rc == 0) {
		/* Its rows bear its number, which make_copy() takes. */
		c->ino = c->state->next_ino;
		rc = make_copy(c, source, c->value.parent, &copy);
	}
	if (rc != 0)
		return rc;
	ASSERT(copy.attr.ino == c->ino);
	c->value.names = 1;
	if (!ms_inode_is_dir(source))
		return 0;
	remember(c, MS_CLONE_COPIED, source->attr.ino, c->ino);
	remember(c, MS_CLONE_LIST, source->attr.ino, c->ino);
	return 0;
}

/* --- one name --------------------------------------------------------------------------------- */

static void put_name(struct ms_clone *c, struct ms_dir_slot slot, struct ms_inode *dir,
		     const struct ms_inode *copy)
{
	slot.dir = dir->attr.ino;
	slot.ino = copy->attr.ino;
	ms_dir_put(c->state->txn, &slot);
	dir->attr.nlink += ms_inode_is_dir(copy);
	c->value.names++;
	c->has_changed = true;
}

/* A name more of what was copied already; a directory was moved here since. */
static int link_copy(struct ms_clone *c, const struct ms_dir_slot *slot, struct ms_inode *dir,
		     inode_no target)
{
	struct ms_inode copy;
	int rc;

	if (S_ISDIR(slot->type)) {
		c->has_changed = true;		/* it was passed: so many go on in the next step */
		return 0;
	}
	rc = ms_inode_get(c->state->txn, target, &copy);
	if (rc < 0)
		return rc;
	copy.attr.nlink++;
	ms_inode_put(c->state->txn, &copy);
	put_name(c, *slot, dir, &copy);
	return 0;
}

static int copy_name(struct ms_clone *c, const struct ms_dir_slot *slot, struct ms_inode *dir)
{
	struct ms_inode source, copy;
	inode_no target = 0;
	int rc = ms_inode_get(c->state->txn, slot->ino, &source);

	if (rc < 0)
		return rc == -E_STALE ? -E_CORRUPT : rc;
	if (ms_inode_is_dir(&source) || source.attr.nlink > 1)
		rc = copied_to(c, slot->ino, &target);
	if (rc == 0 && target)
		return link_copy(c, slot, dir, target);
	if (rc == 0)
		rc = check_source(c, &source);
	if (rc == 0)
		rc = make_copy(c, &source, dir->attr.ino, &copy);
	if (rc != 0)
		return rc;
	put_name(c, *slot, dir, &copy);
	if (ms_inode_is_dir(&source) || source.attr.nlink > 1)
		remember(c, MS_CLONE_COPIED, slot->ino, copy.attr.ino);
	if (ms_inode_is_dir(&source))
		remember(c, MS_CLONE_LIST, slot->ino, copy.attr.ino);
	return 0;
}

/* --- one directory ---------------------------------------------------------------------------- */

static bool is_enough(struct ms_clone *c)
{
	return c->looked >= LOOKED_MAX || ms_txn_event_bytes(c->state->txn) > MS_EVENT_BYTES_SOFT;
}

/* The next name of the source, its bytes in `bytes`. */
static int next_name(struct ms_clone *c, const struct ms_clone_work *at, struct ms_dir_slot *slot,
		     uint8_t bytes[NAME_BYTES_MAX + 1])
{
	int rc = ms_dir_next(c->state->txn, at->ino, at->hash,
			     (struct ms_name){ at->name, at->name_len }, slot);

	if (rc < 0)
		return rc;
	memcpy(bytes, slot->name.bytes, slot->name.len);
	slot->name.bytes = bytes;
	c->looked++;
	return 0;
}

/* Go on behind this name: the smallest key after it has a zero byte more. */
static void move_on(struct ms_clone_work *at, const struct ms_dir_slot *slot)
{
	at->hash = slot->hash;
	memcpy(at->name, slot->name.bytes, slot->name.len);
	at->name[slot->name.len] = 0;
	at->name_len = slot->name.len + 1;
}

/* While one writer is waited for, those that come next are asked as well. */
static void recall_ahead(struct ms_clone *c, struct ms_clone_work at)
{
	uint8_t bytes[NAME_BYTES_MAX + 1];
	uint32_t waits = c->op->want_count;
	struct ms_dir_slot slot;

	for (uint32_t i = 0; i < RECALLS_AHEAD && next_name(c, &at, &slot, bytes) == 0; i++) {
		move_on(&at, &slot);
		if (!ms_lease_is_written(c->state, NULL, slot.ino))
			continue;
		ms_lease_want(c->op, slot.ino, 0, MS_LEASE_READ);
		(void)!ms_lease_is_blocked_by_all(c->op);
		c->op->want_count = waits;
	}
}

static void tell_name(struct ms_clone *c, const struct ms_dir_slot *slot)
{
	memcpy(c->state->reply_bytes, slot->name.bytes, slot->name.len);
	c->op->effect.reply.target =
		(struct ms_name){ c->state->reply_bytes, slot->name.len };
}

/* 1: all its names were copied; 0: the event is full, or *parked: a writer is in the way. */
static int copy_names(struct ms_clone *c, struct ms_clone_work *at, struct ms_inode *dir,
		      bool *parked)
{
	uint8_t bytes[NAME_BYTES_MAX + 1];
	struct ms_dir_slot slot;
	int rc;

	while (!is_enough(c)) {
		rc = next_name(c, at, &slot, bytes);
		if (rc < 0)
			return rc == -E_NOENT ? 1 : rc;
		rc = copy_name(c, &slot, dir);
		if (rc < 0) {
			tell_name(c, &slot);
			return rc;
		}
		if (rc == MS_OP_PARKED) {
			recall_ahead(c, *at);
			*parked = true;
			return 0;
		}
		move_on(at, &slot);
	}
	return 0;
}

static int copy_directory(struct ms_clone *c, struct ms_clone_work *at)
{
	struct ms_inode source, dir;
	bool parked = false, had_changed = c->has_changed;
	int rc = ms_inode_get(c->state->txn, at->ino, &source);

	if (rc == -E_STALE) {		/* removed since: so it is empty */
		ms_clone_work_del(c, at);
		return 0;
	}
	if (rc == 0)
		rc = ms_access(c->state, &c->op->req->caller, &source,
			       MS_ACCESS_READ | MS_ACCESS_EXEC);
	if (rc == 0)
		rc = ms_inode_get(c->state->txn, at->target, &dir);
	if (rc < 0)
		return rc == -E_STALE ? -E_CORRUPT : rc;
	c->has_changed = false;
	rc = copy_names(c, at, &dir, &parked);
	if (rc == 1)
		ms_clone_work_del(c, at);
	else if (c->has_changed)
		ms_clone_work_put(c, at);
	if (c->has_changed)
		ms_inode_put(c->state->txn, &dir);
	c->has_changed |= had_changed;
	if (rc < 0)
		return rc;
	return parked ? MS_OP_PARKED : 0;
}

/* --- one step --------------------------------------------------------------------------------- */

static int go_on_with_xattrs(struct ms_clone *c, struct ms_clone_work *at)
{
	struct ms_inode copy;
	int rc = ms_inode_get(c->state->txn, at->target, &copy);

	if (rc == 0)
		rc = copy_xattrs(c, &copy, at);
	if (rc == 1)
		ms_clone_work_del(c, at);
	return rc < 0 ? rc : 0;
}

static int do_work(struct ms_clone *c, struct ms_clone_work *work)
{
	switch (work->kind) {
	case MS_CLONE_XATTRS:
		return go_on_with_xattrs(c, work);
	case MS_CLONE_LIST:
		return copy_directory(c, work);
	case MS_CLONE_COPIED:
	case MS_CLONE_EMPTY:
		break;
	}
	ms_clone_work_del(c, work);	/* all is copied: it is not looked for again */
	c->looked++;
	return 0;
}

/*
 * The next work: behind the last one, then from the start again, so that rows which this event has
 * deleted are passed once and not each time.
 */
static int next_work(struct ms_clone *c, struct ms_clone_work *at, struct ms_clone_work *out)
{
	int rc = ms_clone_work_next(c, at->kind, at->ino, out);

	if (at->kind <= MS_CLONE_LIST && (rc == -E_NOENT || (rc == 0 && out->kind > MS_CLONE_LIST)))
		rc = ms_clone_work_next(c, MS_CLONE_XATTRS, 0, out);
	if (rc < 0)
		return rc;
	at->kind = out->kind;
	at->ino = out->ino + (out->kind != MS_CLONE_XATTRS);
	return 0;
}

int ms_clone_copy(struct ms_clone *c)
{
	struct ms_clone_work at = { .kind = MS_CLONE_XATTRS }, work;
	int rc = 0;

	while (rc == 0 && !is_enough(c)) {
		rc = next_work(c, &at, &work);
		if (rc == -E_NOENT) {
			c->value.state = MS_CLONE_BUILT;
			return 0;
		}
		if (rc == 0)
			rc = do_work(c, &work);
	}
	if (rc == 0 || !c->has_changed)
		return rc;
	c->op->effect.reply.target = (struct ms_name){ 0 };
	return 0;		/* the next step begins with what stopped this one */
}
