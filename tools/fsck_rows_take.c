/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state row by row: every row decodes, and agrees with those of other types that came before.
 *
 * Keys sort by type, inodes first, so a pass in key order gathers the facts about each inode and
 * compares all else with them.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/hash/checksum.h"
#include "metadata-server/dir.h"
#include "tools/fsck_internal.h"

static void row_fault(struct fsck *f, const struct row *row, const char *text)
{
	char subject[64];

	(void)snprintf(subject, sizeof subject, "row of type 0x%02x, %" PRIu32 " bytes of key",
		       row->key[0], row->key_len);
	fsck_fault(&f->report, FSCK_ROW, subject, "%s", text);
}

/* --- inodes and what belongs to one ----------------------------------------------------------- */

static int inode_add(struct fsck *f, const struct fsck_inode *inode)
{
	if (f->inode_count == f->inode_capacity) {
		uint64_t capacity = f->inode_capacity ? f->inode_capacity * 2 : 4096;
		struct fsck_inode *grown = realloc(f->inodes, capacity * sizeof *grown);

		if (!grown)
			return -E_NOMEM;
		f->inodes = grown;
		f->inode_capacity = capacity;
	}
	f->inodes[f->inode_count++] = *inode;
	return 0;
}

static bool is_moving(const struct root *root)
{
	return root->kind == ROOT_INLINE && root->length > INLINE_KEEP_BYTES_MAX;
}

static int take_inode(struct fsck *f, const struct row *row, struct rd *r)
{
	struct fsck_inode i = {.ino = rd_be64(r)};
	struct ms_inode inode;
	const struct ms_attr *a = &inode.attr;

	if (!rd_done(r) || i.ino == 0) {
		row_fault(f, row, "is no inode number");
		return 0;
	}
	/* Kept as a stranger, so that names to it are not called dangling as well. */
	if (ms_inode_decode(row->value, row->value_len, &inode) < 0)
		inode = (struct ms_inode){.attr.mode = 0};
	i.mode = (uint16_t)a->mode;
	i.nlink = a->nlink;
	i.parent = inode.parent;
	if (a->root.kind == ROOT_INLINE)
		i.bytes_wanted = (uint32_t)a->root.length;
	if (S_ISLNK(a->mode))
		i.bytes_wanted = a->size <= SYMLINK_BYTES_MAX ? (uint32_t)a->size : 0;
	i.flags = is_moving(&a->root) ? FSCK_INODE_MOVE : 0;
	i.flags |= a->flags & MS_INODE_FLAG_XATTRS ? FSCK_INODE_XATTRS : 0;
	i.flags |= a->flags & MS_INODE_FLAG_ACL ? FSCK_INODE_ACL : 0;
	i.flags |= inode.trash && a->nlink == 0 ? FSCK_INODE_IN_TRASH : 0;
	f->sums.found.directories += S_ISDIR(a->mode);
	f->sums.found.files += a->mode && !S_ISDIR(a->mode);
	f->sums.found.bytes_logical += S_ISREG(a->mode) ? a->size : 0;
	f->sums.inode_max = i.ino;
	int rc = fsck_quota_take_inode(f, &i, a);
	return rc < 0 ? rc : inode_add(f, &i);
}

static struct fsck_inode *owner_of(struct fsck *f, const struct row *row, inode_no ino,
				   const char *what)
{
	struct fsck_inode *i = fsck_rows_find(f, ino);
	char text[96];

	if (!i) {
		(void)snprintf(text, sizeof text, "%s of inode %" PRIu64 ", which does not exist",
			       what, ino);
		row_fault(f, row, text);
	}
	return i;
}

static void take_bytes(struct fsck *f, const struct row *row, struct rd *r)
{
	struct fsck_inode *i = owner_of(f, row, rd_be64(r), "inline content");

	if (!i)
		return;
	i->flags |= FSCK_INODE_HAS_BYTES;
	if (!rd_done(r) || i->bytes_wanted == 0 || i->bytes_wanted != row->value_len)
		i->flags |= FSCK_INODE_BAD_BYTES;
}

static void take_flag(struct fsck *f, const struct row *row, struct rd *r, uint8_t flag,
		      const char *what)
{
	struct fsck_inode *i = owner_of(f, row, rd_be64(r), what);

	if (i)
		i->flags |= flag;
	if (flag == FSCK_INODE_HAS_ORPHAN)
		(void)rd_be64(r); /* its session may have ended: the next start sweeps */
	if (!rd_done(r) || row->value_len != 0)
		row_fault(f, row, "is malformed");
}

enum fsck_acl fsck_rows_acl(const struct fsck *f, const struct fsck_inode *i, struct ms_name name,
			    const struct row *row, struct acl *out)
{
	bool is_access = name.len == sizeof ACL_NAME_ACCESS - 1;

	if (!(f->super.incompat & SUPER_INCOMPAT_ACL) ||
	    acl_decode(row->value, row->value_len, out) < 0)
		return FSCK_ACL_BAD;
	if (S_ISLNK(i->mode) || (is_access ? acl_is_minimal(out) : i->mode && !S_ISDIR(i->mode)))
		return FSCK_ACL_BAD;
	return is_access && i->mode && acl_mode(out) != (i->mode & 0777u) ? FSCK_ACL_MODE
									  : FSCK_ACL_GOOD;
}

static void take_acl(struct fsck *f, struct fsck_inode *i, struct ms_name name,
		     const struct row *row)
{
	struct acl acl;
	enum fsck_acl worth = fsck_rows_acl(f, i, name, row, &acl);

	i->acls++;
	if (worth == FSCK_ACL_BAD)
		fsck_inode_fault(f, FSCK_ROW, i->ino, "has an ACL that cannot be");
	else if (worth == FSCK_ACL_MODE)
		fsck_inode_fault(f, FSCK_ROW, i->ino, "ACL and mode differ");
}

static void take_xattr(struct fsck *f, const struct row *row, struct rd *r)
{
	struct fsck_inode *i = owner_of(f, row, rd_be64(r), "extended attribute");
	size_t len = rd_left(r);
	const uint8_t *name = rd_view(r, len);

	if (!rd_ok(r) || len == 0 || len > XATTR_NAME_BYTES_MAX ||
	    row->value_len > XATTR_VALUE_BYTES_MAX)
		row_fault(f, row, "is a malformed extended attribute");
	else if (i && ms_acl_is_name((struct ms_name){name, (uint32_t)len}))
		take_acl(f, i, (struct ms_name){name, (uint32_t)len}, row);
	else if (i && i->xattrs <= XATTRS_MAX)
		i->xattrs++;
}

/* --- names ------------------------------------------------------------------------------------ */

static void name_fault(struct fsck *f, inode_no dir, const void *name, size_t len, const char *text)
{
	char path[PATH_MAX + NAME_BYTES_MAX + 2], dir_path[PATH_MAX];

	fsck_rows_path(f, dir, dir_path);
	(void)snprintf(path, sizeof path, "%s%s%.*s", dir_path, dir == INODE_ROOT ? "" : "/",
		       (int)len, (const char *)name);
	fsck_fault(&f->report, FSCK_NAME, path, "%s", text);
}

static void link_up(struct fsck *f, struct fsck_inode *dir, struct fsck_inode *target,
		    const void *name, size_t len)
{
	target->names++;
	if (!target->dir || (S_ISDIR(target->mode) && target->parent == dir->ino))
		target->dir = dir->ino;
	if (!S_ISDIR(target->mode))
		return;
	dir->subdirs++;
	if (target->ino == INODE_ROOT)
		name_fault(f, dir->ino, name, len, "names the root directory");
	else if (target->names > 1)
		name_fault(f, dir->ino, name, len, "is a second name of a directory");
	else if (target->parent != dir->ino)
		name_fault(f, dir->ino, name, len, "is a directory that says it is elsewhere");
}

static void take_name(struct fsck *f, const struct row *row, struct rd *r)
{
	inode_no dir_ino = rd_be64(r);
	uint64_t hash = rd_be64(r);
	size_t len = rd_left(r);
	const uint8_t *name = rd_view(r, len);
	struct fsck_inode *dir, *target;
	struct ms_name_value v = {0};

	if (!rd_ok(r) || ms_dir_check_name((struct ms_name){name, (uint32_t)len}) < 0 ||
	    ms_key_name_decode(row->value, row->value_len, &v) < 0) {
		row_fault(f, row, "is a malformed name");
		return;
	}
	dir = owner_of(f, row, dir_ino, "name");
	target = fsck_rows_find(f, v.ino);
	if (!dir)
		return;
	if (!S_ISDIR(dir->mode) && dir->mode)
		name_fault(f, dir_ino, name, len, "lies in what is no directory");
	if (hash != checksum_name(f->super.name_key, name, len))
		name_fault(f, dir_ino, name, len, "is filed under a wrong hash: nobody finds it");
	if (!target)
		name_fault(f, dir_ino, name, len, "names an inode that does not exist");
	else if (target->mode && (target->mode & S_IFMT) != v.type)
		name_fault(f, dir_ino, name, len, "says another type than its inode");
	if (target)
		link_up(f, dir, target, name, len);
	f->report.result->names++;
}

/* --- sessions, placement ---------------------------------------------------------------------- */

static void take_session(struct fsck *f, const struct row *row, struct rd *r)
{
	struct ms_session_value v;
	session_no session = rd_be64(r);

	if (!rd_done(r) || session == 0 ||
	    ms_key_session_decode(row->value, row->value_len, &v) < 0)
		row_fault(f, row, "is a malformed session");
}

static void take_slot(struct fsck *f, const struct row *row, struct rd *r)
{
	struct ms_slot_value v;
	struct ms_key key;
	const void *value;
	uint32_t len;
	session_no session = rd_be64(r);

	if (rd_be16(r) >= SESSION_SLOTS || !rd_done(r) ||
	    ms_key_slot_decode(row->value, row->value_len, &v) < 0) {
		row_fault(f, row, "is a malformed slot");
		return;
	}
	key = ms_key_number(MS_KEY_SESSION, session);
	if (rows_get(f->state, key.bytes, key.len, &value, &len) < 0)
		row_fault(f, row, "is a slot of a session that does not exist");
}

static void take_pg(struct fsck *f, const struct row *row, struct rd *r)
{
	uint16_t pg = rd_be16(r);
	struct pg_row v;

	if (!rd_done(r) || pg >= PG_COUNT || pg_row_decode(row->value, row->value_len, &v) < 0) {
		fsck_fault(&f->report, FSCK_PLACEMENT, "placement",
			   "row of group %u is malformed", pg);
		f->sums.pgs_bad++;
		return;
	}
	f->sums.pgs++;
	f->sums.epoch_max = MAX_OF(f->sums.epoch_max, v.epoch);
	(void)map_put_pg(f->map, pg, &v);
	if (v.replica_count > f->super.copies)
		fsck_fault(&f->report, FSCK_PLACEMENT, "placement",
			   "group %u has %u replicas, at most %u are wanted", pg, v.replica_count,
			   f->super.copies);
}

static int take_server(struct fsck *f, const struct row *row, struct rd *r)
{
	server_no number = rd_be32(r);
	struct server_row v;

	if (!rd_done(r) || server_row_decode(row->value, row->value_len, &v) < 0 ||
	    v.server != number) {
		fsck_fault(&f->report, FSCK_PLACEMENT, "placement",
			   "row of server %" PRIu32 " is malformed", number);
		return 0;
	}
	f->sums.last_server = MAX_OF(f->sums.last_server, number);
	return map_put_server(f->map, &v);
}

static void take_content(struct fsck *f, const struct row *row, struct rd *r)
{
	server_no number = rd_be32(r);
	uint64_t content;

	if (!rd_done(r) || ms_key_content_decode(row->value, row->value_len, &content) < 0)
		fsck_fault(&f->report, FSCK_PLACEMENT, "placement",
			   "content number of server %" PRIu32 " is malformed", number);
}

/* --- clones, trash ---------------------------------------------------------------------------- */

/* A row stands for the name that the inode has not. */
static void hide(struct fsck *f, const struct row *row, inode_no ino, const char *what)
{
	struct fsck_inode *i = owner_of(f, row, ino, what);

	if (i)
		i->flags |= FSCK_INODE_HIDDEN;
}

static void take_clone(struct fsck *f, const struct row *row, struct rd *r)
{
	inode_no ino = rd_be64(r);
	struct ms_clone_value v;

	if (!rd_done(r) || ms_key_clone_decode(row->value, row->value_len, &v) < 0)
		row_fault(f, row, "is a malformed clone");
	else if (v.state != MS_CLONE_GOING)	/* else its head may have gone already */
		hide(f, row, ino, "clone");
}

static void take_clone_work(struct fsck *f, const struct row *row, struct rd *r)
{
	inode_no clone = rd_be64(r);
	struct ms_key key = ms_key_number(MS_KEY_CLONE, clone);
	struct ms_clone_work work;
	const void *value;
	uint32_t len;

	if (ms_key_clone_work_decode(r, row->value, row->value_len, &work) < 0)
		row_fault(f, row, "is malformed work of a clone");
	else if (rows_get(f->state, key.bytes, key.len, &value, &len) < 0)
		row_fault(f, row, "is work of a clone that does not exist");
	else if (work.kind == MS_CLONE_EMPTY)
		hide(f, row, work.ino, "emptying");
	else
		(void)owner_of(f, row, work.target, "work of a clone");
}

static void take_trash(struct fsck *f, const struct row *row, struct rd *r)
{
	const char *text = fsck_trash_fault(f, row, r);

	if (text)
		row_fault(f, row, text);
}

/* --- single rows ------------------------------------------------------------------------------ */

static void take_counters(struct fsck *f, const struct row *row, struct rd *r)
{
	f->sums.has_counters = rd_done(r) && ms_key_counters_decode(row->value, row->value_len,
								    &f->sums.stored) == 0;
}

static void take_term(struct fsck *f, const struct row *row, struct rd *r)
{
	(void)rd_be64(r);
	if (!rd_done(r) || row->value_len != 8)
		row_fault(f, row, "is a malformed term");
}

static void take_map(struct fsck *f, const struct row *row, struct rd *r)
{
	f->sums.has_map = rd_done(r) && ms_key_map_decode(row->value, row->value_len,
							  &f->sums.map_value) == 0;
	if (!f->sums.has_map)
		fsck_fault(&f->report, FSCK_PLACEMENT, "placement",
			   "its version row is malformed");
}

static void take_collection(struct fsck *f, const struct row *row, struct rd *r)
{
	uint64_t epoch;

	f->sums.has_collection =
		rd_done(r) && ms_key_collection_decode(row->value, row->value_len, &epoch) == 0;
}

static void take_quota(struct fsck *f, const struct row *row, struct rd *r)
{
	if (!fsck_quota_take_row(f, row, r))
		row_fault(f, row, "is a malformed quota");
}

static void take_quota_walk(struct fsck *f, const struct row *row, struct rd *r)
{
	if (!fsck_quota_take_walk(f, row, r))
		row_fault(f, row, "is a malformed mark of a quota");
}

int fsck_rows_take(struct fsck *f, const struct row *row)
{
	struct rd r = rd_init(row->key, row->key_len);

	switch (rd_u8(&r)) {
	case 0: break; /* the view's */
	case MS_KEY_COUNTERS: take_counters(f, row, &r); break;
	case MS_KEY_TERM: take_term(f, row, &r); break;
	case MS_KEY_INODE: return take_inode(f, row, &r);
	case MS_KEY_BYTES: take_bytes(f, row, &r); break;
	case MS_KEY_MOVE:
		take_flag(f, row, &r, FSCK_INODE_HAS_MOVE, "mark to be moved");
		break;
	case MS_KEY_XATTR: take_xattr(f, row, &r); break;
	case MS_KEY_ORPHAN:
		take_flag(f, row, &r, FSCK_INODE_HAS_ORPHAN, "open without a name");
		break;
	case MS_KEY_NAME: take_name(f, row, &r); break;
	case MS_KEY_SESSION: take_session(f, row, &r); break;
	case MS_KEY_SLOT: take_slot(f, row, &r); break;
	case MS_KEY_PG: take_pg(f, row, &r); break;
	case MS_KEY_SERVER: return take_server(f, row, &r);
	case MS_KEY_MAP: take_map(f, row, &r); break;
	case MS_KEY_CONTENT: take_content(f, row, &r); break;
	case MS_KEY_COLLECTION: take_collection(f, row, &r); break;
	case MS_KEY_CLONE: take_clone(f, row, &r); break;
	case MS_KEY_CLONE_WORK: take_clone_work(f, row, &r); break;
	case MS_KEY_QUOTA: take_quota(f, row, &r); break;
	case MS_KEY_QUOTA_WALK: take_quota_walk(f, row, &r); break;
	case MS_KEY_TRASH: take_trash(f, row, &r); break;
	default: row_fault(f, row, "is of an unknown type"); break;
	}
	return 0;
}
