/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state row by row: every row decodes, and rows of different types agree with each other.
 *
 * Keys sort by type, inodes first, so one pass in key order gathers the facts about each inode and
 * compares all else with them. Then names, parents and counts are closed over the whole.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/hash/checksum.h"
#include "metadata-server/dir.h"
#include "tools/fsck_internal.h"

#define PATH_DEPTH_MAX 2048u

struct pass {
	struct fsck *f;
	struct fsck_sums *sums;
	session_no session; /* of the last session row */
	uint64_t rows;
};

/* --- inodes in memory ------------------------------------------------------------------------- */

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

struct fsck_inode *fsck_rows_find(struct fsck *f, inode_no ino)
{
	uint64_t low = 0, high = f->inode_count;

	while (low < high) {
		uint64_t middle = low + (high - low) / 2;

		if (f->inodes[middle].ino < ino)
			low = middle + 1;
		else
			high = middle;
	}
	return low < f->inode_count && f->inodes[low].ino == ino ? &f->inodes[low] : NULL;
}

/* --- paths, for messages only ----------------------------------------------------------------- */

/* The first name that `dir` has for `ino`. */
static bool name_in(struct fsck *f, inode_no dir, inode_no ino, uint8_t out[NAME_BYTES_MAX],
		    size_t *len)
{
	struct ms_key key = ms_key_number(MS_KEY_NAME, dir);
	struct ms_name_value v;
	struct row row;
	struct rd r;

	for (int rc = rows_next(f->state, key.bytes, key.len, &row); rc == 0;
	     rc = rows_next(f->state, key.bytes, key.len, &row)) {
		if (!ms_key_is(&row, MS_KEY_NAME, &r) || rd_be64(&r) != dir ||
		    row.key_len >= MS_KEY_BYTES_MAX)
			return false;
		if (ms_key_name_decode(row.value, row.value_len, &v) == 0 && v.ino == ino &&
		    row.key_len > 17 && row.key_len - 17 <= NAME_BYTES_MAX) {
			*len = row.key_len - 17;
			memcpy(out, row.key + 17, *len);
			return true;
		}
		memcpy(key.bytes, row.key, row.key_len);
		key.bytes[row.key_len] = 0; /* just behind it */
		key.len = row.key_len + 1;
	}
	return false;
}

char *fsck_rows_path(struct fsck *f, inode_no ino, char out[PATH_MAX])
{
	char built[PATH_MAX];
	size_t start = sizeof built - 1;
	uint8_t name[NAME_BYTES_MAX];
	size_t len;
	inode_no at = ino;

	built[start] = '\0';
	for (unsigned depth = 0; at != INODE_ROOT; depth++) {
		const struct fsck_inode *inode = fsck_rows_find(f, at);

		if (!inode || !inode->dir || depth == PATH_DEPTH_MAX ||
		    !name_in(f, inode->dir, at, name, &len) || len + 1 > start) {
			(void)snprintf(out, PATH_MAX, "inode %" PRIu64, ino);
			return out;
		}
		for (size_t i = 0; i < len; i++)
			name[i] = name[i] ? name[i] : '?';
		start -= len;
		memcpy(built + start, name, len);
		built[--start] = '/';
		at = inode->dir;
	}
	(void)snprintf(out, PATH_MAX, "%s", built[start] ? built + start : "/");
	return out;
}

static void inode_fault(struct fsck *f, enum fsck_class c, inode_no ino, const char *text)
{
	char path[PATH_MAX];

	fsck_fault(&f->report, c, fsck_rows_path(f, ino, path), "%s (inode %" PRIu64 ")", text,
		   ino);
}

static void row_fault(struct fsck *f, const struct row *row, const char *text)
{
	char subject[64];

	(void)snprintf(subject, sizeof subject, "row of type 0x%02x, %" PRIu32 " bytes of key",
		       row->key[0], row->key_len);
	fsck_fault(&f->report, FSCK_ROW, subject, "%s", text);
}

/* --- inodes and what belongs to one ----------------------------------------------------------- */

static bool is_moving(const struct root *root)
{
	return root->kind == ROOT_INLINE && root->length > INLINE_KEEP_BYTES_MAX;
}

static int take_inode(struct pass *p, const struct row *row, struct rd *r)
{
	struct fsck_inode i = {.ino = rd_be64(r)};
	struct ms_inode inode;
	const struct ms_attr *a = &inode.attr;

	if (!rd_done(r) || i.ino == 0) {
		row_fault(p->f, row, "is no inode number");
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
	p->sums->found.directories += S_ISDIR(a->mode);
	p->sums->found.files += a->mode && !S_ISDIR(a->mode);
	p->sums->found.bytes_logical += S_ISREG(a->mode) ? a->size : 0;
	p->sums->inode_max = i.ino;
	int rc = fsck_quota_take_inode(p->f, &i, a);
	return rc < 0 ? rc : inode_add(p->f, &i);
}

static struct fsck_inode *owner_of(struct pass *p, const struct row *row, inode_no ino,
				   const char *what)
{
	struct fsck_inode *i = fsck_rows_find(p->f, ino);
	char text[96];

	if (!i) {
		(void)snprintf(text, sizeof text, "%s of inode %" PRIu64 ", which does not exist",
			       what, ino);
		row_fault(p->f, row, text);
	}
	return i;
}

static void take_bytes(struct pass *p, const struct row *row, struct rd *r)
{
	struct fsck_inode *i = owner_of(p, row, rd_be64(r), "inline content");

	if (!i)
		return;
	i->flags |= FSCK_INODE_HAS_BYTES;
	if (!rd_done(r) || i->bytes_wanted == 0 || i->bytes_wanted != row->value_len)
		i->flags |= FSCK_INODE_BAD_BYTES;
}

static void take_flag(struct pass *p, const struct row *row, struct rd *r, uint8_t flag,
		      const char *what)
{
	struct fsck_inode *i = owner_of(p, row, rd_be64(r), what);

	if (i)
		i->flags |= flag;
	if (flag == FSCK_INODE_HAS_ORPHAN)
		(void)rd_be64(r); /* its session may have ended: the next start sweeps */
	if (!rd_done(r) || row->value_len != 0)
		row_fault(p->f, row, "is malformed");
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

static void take_acl(struct pass *p, struct fsck_inode *i, struct ms_name name,
		     const struct row *row)
{
	struct acl acl;
	enum fsck_acl worth = fsck_rows_acl(p->f, i, name, row, &acl);

	i->acls++;
	if (worth == FSCK_ACL_BAD)
		inode_fault(p->f, FSCK_ROW, i->ino, "has an ACL that cannot be");
	else if (worth == FSCK_ACL_MODE)
		inode_fault(p->f, FSCK_ROW, i->ino, "ACL and mode differ");
}

static void take_xattr(struct pass *p, const struct row *row, struct rd *r)
{
	struct fsck_inode *i = owner_of(p, row, rd_be64(r), "extended attribute");
	size_t len = rd_left(r);
	const uint8_t *name = rd_view(r, len);

	if (!rd_ok(r) || len == 0 || len > XATTR_NAME_BYTES_MAX ||
	    row->value_len > XATTR_VALUE_BYTES_MAX)
		row_fault(p->f, row, "is a malformed extended attribute");
	else if (i && ms_acl_is_name((struct ms_name){name, (uint32_t)len}))
		take_acl(p, i, (struct ms_name){name, (uint32_t)len}, row);
	else if (i && i->xattrs <= XATTRS_MAX)
		i->xattrs++;
}

/* --- names ------------------------------------------------------------------------------------ */

static void name_fault(struct pass *p, inode_no dir, const void *name, size_t len, const char *text)
{
	char path[PATH_MAX + NAME_BYTES_MAX + 2], dir_path[PATH_MAX];

	fsck_rows_path(p->f, dir, dir_path);
	(void)snprintf(path, sizeof path, "%s%s%.*s", dir_path, dir == INODE_ROOT ? "" : "/",
		       (int)len, (const char *)name);
	fsck_fault(&p->f->report, FSCK_NAME, path, "%s", text);
}

static void link_up(struct pass *p, struct fsck_inode *dir, struct fsck_inode *target,
		    const void *name, size_t len)
{
	target->names++;
	if (!target->dir || (S_ISDIR(target->mode) && target->parent == dir->ino))
		target->dir = dir->ino;
	if (!S_ISDIR(target->mode))
		return;
	dir->subdirs++;
	if (target->ino == INODE_ROOT)
		name_fault(p, dir->ino, name, len, "names the root directory");
	else if (target->names > 1)
		name_fault(p, dir->ino, name, len, "is a second name of a directory");
	else if (target->parent != dir->ino)
		name_fault(p, dir->ino, name, len, "is a directory that says it is elsewhere");
}

static void take_name(struct pass *p, const struct row *row, struct rd *r)
{
	inode_no dir_ino = rd_be64(r);
	uint64_t hash = rd_be64(r);
	size_t len = rd_left(r);
	const uint8_t *name = rd_view(r, len);
	struct fsck_inode *dir, *target;
	struct ms_name_value v = {0};

	if (!rd_ok(r) || ms_dir_check_name((struct ms_name){name, (uint32_t)len}) < 0 ||
	    ms_key_name_decode(row->value, row->value_len, &v) < 0) {
		row_fault(p->f, row, "is a malformed name");
		return;
	}
	dir = owner_of(p, row, dir_ino, "name");
	target = fsck_rows_find(p->f, v.ino);
	if (!dir)
		return;
	if (!S_ISDIR(dir->mode) && dir->mode)
		name_fault(p, dir_ino, name, len, "lies in what is no directory");
	if (hash != checksum_name(p->f->super.name_key, name, len))
		name_fault(p, dir_ino, name, len, "is filed under a wrong hash: nobody finds it");
	if (!target)
		name_fault(p, dir_ino, name, len, "names an inode that does not exist");
	else if (target->mode && (target->mode & S_IFMT) != v.type)
		name_fault(p, dir_ino, name, len, "says another type than its inode");
	if (target)
		link_up(p, dir, target, name, len);
	p->f->report.result->names++;
}

/* --- sessions, placement ---------------------------------------------------------------------- */

static void take_session(struct pass *p, const struct row *row, struct rd *r)
{
	struct ms_session_value v;

	p->session = rd_be64(r);
	if (!rd_done(r) || p->session == 0 ||
	    ms_key_session_decode(row->value, row->value_len, &v) < 0)
		row_fault(p->f, row, "is a malformed session");
}

static void take_slot(struct pass *p, const struct row *row, struct rd *r)
{
	struct ms_slot_value v;
	struct ms_key key;
	const void *value;
	uint32_t len;
	session_no session = rd_be64(r);

	if (rd_be16(r) >= SESSION_SLOTS || !rd_done(r) ||
	    ms_key_slot_decode(row->value, row->value_len, &v) < 0) {
		row_fault(p->f, row, "is a malformed slot");
		return;
	}
	key = ms_key_number(MS_KEY_SESSION, session);
	if (rows_get(p->f->state, key.bytes, key.len, &value, &len) < 0)
		row_fault(p->f, row, "is a slot of a session that does not exist");
}

static void take_pg(struct pass *p, const struct row *row, struct rd *r)
{
	uint16_t pg = rd_be16(r);
	struct pg_row v;

	if (!rd_done(r) || pg >= PG_COUNT || pg_row_decode(row->value, row->value_len, &v) < 0) {
		fsck_fault(&p->f->report, FSCK_PLACEMENT, "placement",
			   "row of group %u is malformed", pg);
		p->sums->pgs_bad++;
		return;
	}
	p->sums->pgs++;
	p->sums->epoch_max = MAX_OF(p->sums->epoch_max, v.epoch);
	(void)map_put_pg(p->f->map, pg, &v);
	if (v.replica_count > p->f->super.copies)
		fsck_fault(&p->f->report, FSCK_PLACEMENT, "placement",
			   "group %u has %u replicas, at most %u are "
			   "wanted",
			   pg, v.replica_count, p->f->super.copies);
}

static int take_server(struct pass *p, const struct row *row, struct rd *r)
{
	server_no number = rd_be32(r);
	struct server_row v;

	if (!rd_done(r) || server_row_decode(row->value, row->value_len, &v) < 0 ||
	    v.server != number) {
		fsck_fault(&p->f->report, FSCK_PLACEMENT, "placement",
			   "row of server %" PRIu32 " is malformed", number);
		return 0;
	}
	p->sums->last_server = MAX_OF(p->sums->last_server, number);
	return map_put_server(p->f->map, &v);
}

static void take_content(struct pass *p, const struct row *row, struct rd *r)
{
	server_no number = rd_be32(r);
	uint64_t content;

	if (!rd_done(r) || ms_key_content_decode(row->value, row->value_len, &content) < 0)
		fsck_fault(&p->f->report, FSCK_PLACEMENT, "placement",
			   "content number of server %" PRIu32 " is malformed", number);
}

/* --- clones ----------------------------------------------------------------------------------- */

/* A row stands for the name that the inode has not. */
static void hide(struct pass *p, const struct row *row, inode_no ino, const char *what)
{
	struct fsck_inode *i = owner_of(p, row, ino, what);

	if (i)
		i->flags |= FSCK_INODE_HIDDEN;
}

static void take_clone(struct pass *p, const struct row *row, struct rd *r)
{
	inode_no ino = rd_be64(r);
	struct ms_clone_value v;

	if (!rd_done(r) || ms_key_clone_decode(row->value, row->value_len, &v) < 0)
		row_fault(p->f, row, "is a malformed clone");
	else if (v.state != MS_CLONE_GOING)	/* else its head may have gone already */
		hide(p, row, ino, "clone");
}

static void take_clone_work(struct pass *p, const struct row *row, struct rd *r)
{
	inode_no clone = rd_be64(r);
	struct ms_key key = ms_key_number(MS_KEY_CLONE, clone);
	struct ms_clone_work work;
	const void *value;
	uint32_t len;

	if (ms_key_clone_work_decode(r, row->value, row->value_len, &work) < 0)
		row_fault(p->f, row, "is malformed work of a clone");
	else if (rows_get(p->f->state, key.bytes, key.len, &value, &len) < 0)
		row_fault(p->f, row, "is work of a clone that does not exist");
	else if (work.kind == MS_CLONE_EMPTY)
		hide(p, row, work.ino, "emptying");
	else
		(void)owner_of(p, row, work.target, "work of a clone");
}

static void take_trash(struct pass *p, const struct row *row, struct rd *r)
{
	const char *text = fsck_trash_fault(p->f, row, r);

	if (text)
		row_fault(p->f, row, text);
}

static int take_row(struct pass *p, const struct row *row)
{
	struct rd r = rd_init(row->key, row->key_len);
	uint64_t epoch;

	switch (rd_u8(&r)) {
	case MS_KEY_COUNTERS:
		p->sums->has_counters =
			rd_done(&r) &&
			ms_key_counters_decode(row->value, row->value_len, &p->sums->stored) == 0;
		return 0;
	case MS_KEY_TERM:
		(void)rd_be64(&r);
		if (!rd_done(&r) || row->value_len != 8)
			row_fault(p->f, row, "is a malformed term");
		return 0;
	case MS_KEY_INODE:
		return take_inode(p, row, &r);
	case MS_KEY_BYTES:
		take_bytes(p, row, &r);
		return 0;
	case MS_KEY_MOVE:
		take_flag(p, row, &r, FSCK_INODE_HAS_MOVE, "mark to be moved");
		return 0;
	case MS_KEY_XATTR:
		take_xattr(p, row, &r);
		return 0;
	case MS_KEY_ORPHAN:
		take_flag(p, row, &r, FSCK_INODE_HAS_ORPHAN, "open without a name");
		return 0;
	case MS_KEY_NAME:
		take_name(p, row, &r);
		return 0;
	case MS_KEY_SESSION:
		take_session(p, row, &r);
		return 0;
	case MS_KEY_SLOT:
		take_slot(p, row, &r);
		return 0;
	case MS_KEY_PG:
		take_pg(p, row, &r);
		return 0;
	case MS_KEY_SERVER:
		return take_server(p, row, &r);
	case MS_KEY_MAP:
		p->sums->has_map = rd_done(&r) && ms_key_map_decode(row->value, row->value_len,
								    &p->sums->map_value) == 0;
		if (!p->sums->has_map)
			fsck_fault(&p->f->report, FSCK_PLACEMENT, "placement",
				   "its version row is malformed");
		return 0;
	case MS_KEY_CONTENT:
		take_content(p, row, &r);
		return 0;
	case MS_KEY_COLLECTION:
		p->sums->has_collection =
			rd_done(&r) &&
			ms_key_collection_decode(row->value, row->value_len, &epoch) == 0;
		return 0;
	case MS_KEY_CLONE:
		take_clone(p, row, &r);
		return 0;
	case MS_KEY_CLONE_WORK:
		take_clone_work(p, row, &r);
		return 0;
	case MS_KEY_QUOTA:
		if (!fsck_quota_take_row(p->f, row, &r))
			row_fault(p->f, row, "is a malformed quota");
		return 0;
	case MS_KEY_QUOTA_WALK:
		if (!fsck_quota_take_walk(p->f, row, &r))
			row_fault(p->f, row, "is a malformed mark of a quota");
		return 0;
	case MS_KEY_TRASH:
		take_trash(p, row, &r);
		return 0;
	case 0:
		return 0; /* the view's */
	default:
		row_fault(p->f, row, "is of an unknown type");
		return 0;
	}
}

/* --- over the whole --------------------------------------------------------------------------- */

static void check_links(struct fsck *f, const struct fsck_inode *i)
{
	char text[96];
	uint32_t wanted = S_ISDIR(i->mode) ? 2 + i->subdirs : i->names;

	if (i->ino != INODE_ROOT && i->names == 0 && i->nlink == 0) {
		if (!(i->flags & (FSCK_INODE_HAS_ORPHAN | FSCK_INODE_HAS_TRASH)))
			inode_fault(f, FSCK_LINKS, i->ino, "has no name and nobody has it open");
		return;
	}
	if (i->flags & FSCK_INODE_HIDDEN && !S_ISDIR(i->mode))
		wanted++;
	if (i->ino != INODE_ROOT && i->names == 0 && !(i->flags & FSCK_INODE_HIDDEN))
		inode_fault(f, FSCK_LINKS, i->ino, "has no name");
	if (i->nlink == wanted)
		return;
	(void)snprintf(text, sizeof text, "says %" PRIu32 " links, has %" PRIu32, i->nlink, wanted);
	inode_fault(f, FSCK_LINKS, i->ino, text);
}

static void check_belongings(struct fsck *f, const struct fsck_inode *i)
{
	if (S_ISLNK(i->mode) && i->bytes_wanted == 0)
		inode_fault(f, FSCK_ROW, i->ino, "symbolic link has an impossible length");
	if (i->flags & FSCK_INODE_BAD_BYTES)
		inode_fault(f, FSCK_CONTENT, i->ino, "inline content has a wrong length");
	if (i->xattrs > XATTRS_MAX)
		inode_fault(f, FSCK_ROW, i->ino, "has too many extended attributes");
	if (i->bytes_wanted && !(i->flags & FSCK_INODE_HAS_BYTES))
		inode_fault(f, FSCK_CONTENT, i->ino, "inline content is missing");
	if (!(i->flags & FSCK_INODE_MOVE) != !(i->flags & FSCK_INODE_HAS_MOVE))
		inode_fault(f, FSCK_ROW, i->ino, "mark to be moved into blocks is wrong");
	if (!(i->flags & FSCK_INODE_XATTRS) != !i->xattrs)
		inode_fault(f, FSCK_ROW, i->ino, "says wrongly whether it has extended attributes");
	if (!(i->flags & FSCK_INODE_ACL) != !i->acls)
		inode_fault(f, FSCK_ROW, i->ino, "says wrongly whether it has an ACL");
}

/* Every directory with a name leads to the root. Each is walked once: who meets a walked one ends
 * there. */
static void check_reachable(struct fsck *f, struct fsck_inode *from)
{
	struct fsck_inode *at = from;
	uint8_t end = 0;

	while (at && !end) {
		if (at->walk > 1) {
			end = at->walk;
		} else if (at->ino == INODE_ROOT || at->flags & FSCK_INODE_HIDDEN) {
			end = 2;
		} else if (at->walk == 1 || !at->dir) {
			end = 3; /* a ring, or it has no name, which is told elsewhere */
		} else {
			at->walk = 1;
			at = fsck_rows_find(f, at->dir);
		}
	}
	if (!at)
		end = 3;
	if (end == 3 && from->dir && from->walk == 1)
		inode_fault(f, FSCK_NAME, from->ino, "directory cannot be reached from the root");
	for (at = from; at && at->walk <= 1 && at->walk != end;
	     at = at->dir ? fsck_rows_find(f, at->dir) : NULL)
		at->walk = end;
}

static void check_counter(struct fsck *f, const char *name, uint64_t stored, uint64_t found)
{
	if (stored != found)
		fsck_fault(&f->report, FSCK_COUNTERS, name,
			   "stored as %" PRIu64 ", counted %" PRIu64, stored, found);
}

static void check_counters(struct pass *p)
{
	struct fsck *f = p->f;

	f->report.result->files = p->sums->found.files;
	f->report.result->directories = p->sums->found.directories;
	if (!p->sums->has_collection)
		fsck_fault(&f->report, FSCK_COUNTERS, "collection epoch",
			   "row is missing or malformed");
	if (!p->sums->has_counters) {
		fsck_fault(&f->report, FSCK_COUNTERS, "counters", "row is missing or malformed");
		return;
	}
	check_counter(f, "files", p->sums->stored.files, p->sums->found.files);
	check_counter(f, "directories", p->sums->stored.directories, p->sums->found.directories);
	check_counter(f, "bytes_logical", p->sums->stored.bytes_logical,
		      p->sums->found.bytes_logical);
	if (p->sums->inode_max >= p->sums->stored.inode_limit)
		fsck_fault(&f->report, FSCK_COUNTERS, "inode numbers",
			   "inode %" PRIu64 " exists, but numbers below %" PRIu64
			   " only are set aside",
			   p->sums->inode_max, p->sums->stored.inode_limit);
}

static void check_servers_of(struct fsck *f, pg_no pg, const server_no *servers, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		if (!map_server(f->map, servers[i]))
			fsck_fault(&f->report, FSCK_PLACEMENT, "placement",
				   "group %u names server %" PRIu32 ", which does not exist", pg,
				   servers[i]);
		for (uint32_t k = 0; k < i; k++)
			if (servers[k] == servers[i])
				fsck_fault(&f->report, FSCK_PLACEMENT, "placement",
					   "group %u names server %" PRIu32 " twice", pg,
					   servers[i]);
	}
}

static void check_placement(struct pass *p)
{
	struct fsck *f = p->f;

	if (p->sums->pgs != 0 && p->sums->pgs != PG_COUNT)
		fsck_fault(&f->report, FSCK_PLACEMENT, "placement",
			   "%" PRIu32 " of %u groups have a row", p->sums->pgs, PG_COUNT);
	for (uint32_t i = 0; i < map_server_count(f->map); i++)
		if (map_server_at(f->map, i)->server > p->sums->map_value.last_server)
			fsck_fault(&f->report, FSCK_PLACEMENT, "placement",
				   "server %" PRIu32 " is beyond the last "
				   "number given",
				   map_server_at(f->map, i)->server);
	for (uint32_t pg = 0; pg < PG_COUNT; pg++) {
		const struct pg_row *row = map_pg(f->map, (pg_no)pg);

		check_servers_of(f, (pg_no)pg, row->replicas, row->replica_count);
		check_servers_of(f, (pg_no)pg, row->formers, row->former_count);
	}
}

static int scan(struct pass *p)
{
	struct rows_snapshot *s;
	struct row row;
	int rc = rows_snapshot_open(p->f->state, &s);

	if (rc < 0)
		return rc;
	while ((rc = rows_snapshot_next(s, &row)) == 1) {
		rc = take_row(p, &row);
		if (rc < 0)
			break;
		fsck_progress(&p->f->report, "rows", ++p->rows, 0);
	}
	rows_snapshot_close(s);
	return rc;
}

/* The facts of an earlier time are forgotten. */
static int facts_begin(struct fsck *f)
{
	map_destroy(f->map);
	f->map = NULL;
	fsck_quota_forget(f);
	f->inode_count = 0;
	f->sums = (struct fsck_sums){.pgs = 0};
	f->report.result->names = 0;
	return map_create(&f->map);
}

int fsck_rows(struct fsck *f, struct error *err)
{
	struct pass p = {.f = f, .sums = &f->sums};
	struct fsck_inode *root;
	int rc = facts_begin(f);

	if (rc == 0 && f->state)
		rc = scan(&p);
	if (rc < 0)
		return error_set(err, rc, "cannot go through the rows");
	if (!f->state)
		return 0;
	root = fsck_rows_find(f, INODE_ROOT);
	if (!root || !S_ISDIR(root->mode) || root->parent != INODE_ROOT)
		fsck_fault(&f->report, FSCK_ROW, "/", "the root directory is missing or wrong");
	for (uint64_t i = 0; i < f->inode_count; i++) {
		if (!f->inodes[i].mode) {
			inode_fault(f, FSCK_ROW, f->inodes[i].ino, "inode row is malformed");
			continue;
		}
		check_links(f, &f->inodes[i]);
		check_belongings(f, &f->inodes[i]);
		if (S_ISDIR(f->inodes[i].mode))
			check_reachable(f, &f->inodes[i]);
	}
	check_counters(&p);
	fsck_quota_check(f);
	check_placement(&p);
	return 0;
}

int fsck_rows_again(struct fsck *f, struct error *err)
{
	int rc;

	f->report.quiet = true;
	rc = fsck_rows(f, err);
	f->report.quiet = false;
	return rc;
}
