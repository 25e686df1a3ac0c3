/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mending the state: rows that contradict each other become a sound file system again. What has
 * content but lost its name gets one in /lost+found, "#" and the inode's number; what names nothing
 * goes; what can be counted is counted anew. Content is never made up: a file that lost bytes stays
 * as it is, and is named.
 *
 * Works in rounds on the scratch copy of the state: gather the facts (fsck_rows.c), mend what they
 * say is wrong, in the order rows, names, counts, until a round finds nothing. fsck_truth.c makes
 * the result durable.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "fs/hash/checksum.h"
#include "metadata-server/dir.h"
#include "tools/fsck_internal.h"

#define ROUNDS_MAX	 16u
#define LOST_FOUND	 "lost+found"
#define NUMBERS_FAR	 (1ull << 40) /* beyond any number that was ever given out */

struct mend {
	struct fsck *f;
	struct ms_txn *txn;
	inode_no lost_found; /* 0: not made yet */
	uint64_t round_changes;
};

/* --- small things --- */

static void changed(struct mend *m)
{
	m->round_changes++;
	m->f->rows_mended++;
}

static void told(struct mend *m, enum fsck_class c, inode_no ino, const char *text)
{
	char path[PATH_MAX];

	fsck_corrected(&m->f->report, c, fsck_rows_path(m->f, ino, path), "%s (inode %" PRIu64 ")",
		       text, ino);
	changed(m);
}

static void row_drop(struct mend *m, const struct row *row, const char *text)
{
	char subject[64];

	ms_txn_del(m->txn, row->key, row->key_len);
	(void)snprintf(subject, sizeof subject, "row of type 0x%02x, %" PRIu32 " bytes of key",
		       row->key[0], row->key_len);
	fsck_corrected(&m->f->report, FSCK_ROW, subject, "%s", text);
	changed(m);
}

static bool has_prefix(struct fsck *f, const struct ms_key *prefix)
{
	struct row row;

	return rows_next(f->state, prefix->bytes, prefix->len, &row) == 0 &&
	       row.key_len >= prefix->len && memcmp(row.key, prefix->bytes, prefix->len) == 0;
}

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static struct ms_inode inode_new(inode_no ino, uint32_t mode)
{
	int64_t now = now_ns();

	return (struct ms_inode){ .attr = { .ino = ino, .mode = mode,
					    .nlink = S_ISDIR(mode) ? 2 : 1, .version = 1,
					    .size = S_ISDIR(mode) ? MS_DIRECTORY_SIZE : 0,
					    .atime_ns = now, .mtime_ns = now, .ctime_ns = now,
					    .btime_ns = now },
					    .parent = S_ISDIR(mode) ? INODE_ROOT : 0 };
}

/* --- /lost+found --- */

static inode_no inode_number_new(struct mend *m)
{
	struct fsck_sums *s = &m->f->sums;

	/* Behind every range that was set aside: some client may hold a number of those. */
	s->inode_max = MAX_OF(s->inode_max, s->has_counters ? s->stored.inode_limit
							    : s->inode_max + NUMBERS_FAR) +
		       1;
	s->stored.inode_limit = MAX_OF(s->stored.inode_limit, s->inode_max + 1);
	return s->inode_max;
}

static int lost_found_make(struct mend *m, struct ms_dir_slot *slot)
{
	struct ms_inode dir = inode_new(inode_number_new(m), S_IFDIR | 0700);

	ms_inode_put(m->txn, &dir);
	slot->ino = dir.attr.ino;
	slot->type = S_IFDIR;
	ms_dir_put(m->txn, slot);
	m->lost_found = dir.attr.ino;
	fsck_corrected(&m->f->report, FSCK_NAME, "/" LOST_FOUND, "made");
	changed(m);
	return 0;
}

static int lost_found_get(struct mend *m)
{
	/* The second name is for who has a file of the first. */
	static const char *const names[] = { LOST_FOUND, LOST_FOUND ".fsck" };
	struct ms_dir_slot slot;

	for (size_t i = 0; i < ARRAY_COUNT(names) && !m->lost_found; i++) {
		struct ms_name name = { (const uint8_t *)names[i], (uint32_t)strlen(names[i]) };
		int rc = ms_dir_find(m->txn, m->f->super.name_key, INODE_ROOT, name, &slot);

		if (rc < 0)
			return rc;
		if (slot.ino == 0)
			return lost_found_make(m, &slot);
		if (slot.type == S_IFDIR && fsck_rows_find(m->f, slot.ino))
			m->lost_found = slot.ino;
	}
	return m->lost_found ? 0 : -E_EXIST;
}

static int attach(struct mend *m, struct fsck_inode *i)
{
	char text[32];
	struct ms_inode inode;
	struct ms_dir_slot slot;
	int rc = lost_found_get(m);

	(void)snprintf(text, sizeof text, "#%" PRIu64, i->ino);
	if (rc == 0)
		rc = ms_dir_find(m->txn, m->f->super.name_key, m->lost_found,
				 (struct ms_name){(const uint8_t *)text, (uint32_t)strlen(text)},
				 &slot);
	if (rc == 0)
		rc = ms_inode_get(m->txn, i->ino, &inode);
	if (rc < 0)
		return rc;
	slot.ino = i->ino;
	slot.type = i->mode & S_IFMT;
	ms_dir_put(m->txn, &slot);
	if (S_ISDIR(i->mode))
		inode.parent = m->lost_found;
	else
		inode.attr.nlink = MAX_OF(inode.attr.nlink, 1u);
	inode.attr.ino = i->ino;
	inode.attr.flags &= ~MS_INODE_FLAG_LINKABLE;
	inode.trash = 0;
	ms_inode_put(m->txn, &inode);
	i->dir = m->lost_found;
	told(m, FSCK_LINKS, i->ino, "had no name");
	return 0;
}

/* --- rows, one by one --- */

/* What can be known of an inode whose row cannot be read. */
static void mend_inode(struct mend *m, const struct row *row, struct rd *r)
{
	inode_no ino = rd_be64(r);
	const struct fsck_inode *i = fsck_rows_find(m->f, ino);
	struct ms_key names = ms_key_number(MS_KEY_NAME, ino),
		      bytes = ms_key_number(MS_KEY_BYTES, ino);
	struct ms_inode made;
	const void *value;
	uint32_t len;

	if (!rd_done(r) || ino == 0) {
		row_drop(m, row, "inode row without a number removed");
		return;
	}
	if (!i || i->mode)
		return;
	if (ino == INODE_ROOT || has_prefix(m->f, &names)) {
		made = inode_new(ino, S_IFDIR | (ino == INODE_ROOT ? 0755 : 0700));
		made.parent = i->dir ? i->dir : INODE_ROOT;
		ms_inode_put(m->txn, &made);
		told(m, FSCK_ROW, ino, "directory made anew: owner and times are lost");
	} else if (rows_get(m->f->state, bytes.bytes, bytes.len, &value, &len) == 0 && len > 0 &&
		   len <= INLINE_BYTES_MAX) {
		made = inode_new(ino, S_IFREG | 0600);
		made.attr.size = len;
		made.attr.root = (struct root){ .kind = ROOT_INLINE, .length = len };
		ms_inode_put(m->txn, &made);
		told(m, FSCK_ROW, ino,
		     "file made anew from its inline content: owner and times are lost");
	} else {
		told(m, FSCK_ROW, ino, "inode that cannot be read removed: its content is lost");
		ms_txn_del(m->txn, row->key, row->key_len);
	}
}

/* The mode is what everybody saw: the ACL follows it. */
static void mend_acl(struct mend *m, const struct fsck_inode *i, const struct row *row,
		     struct rd *r)
{
	struct ms_name name = { .len = (uint32_t)rd_left(r) };
	uint8_t value[ACL_BYTES_MAX];
	enum fsck_acl worth;
	struct acl acl;

	name.bytes = rd_view(r, name.len);
	if (!ms_acl_is_name(name))
		return;
	worth = fsck_rows_acl(m->f, i, name, row, &acl);
	if (worth == FSCK_ACL_BAD) {
		row_drop(m, row, "ACL that cannot be removed: the mode of its inode counts");
	} else if (worth == FSCK_ACL_MODE) {
		acl_set_mode(&acl, i->mode);
		ms_txn_put(m->txn, row->key, row->key_len, value,
			   (uint32_t)acl_encode(&acl, value));
		told(m, FSCK_ROW, i->ino, "ACL set to what the mode says");
	}
}

/* A row of an inode: inline content, a mark, an attribute, an orphan. */
static void mend_belonging(struct mend *m, const struct row *row, struct rd *r,
			   enum ms_key_type type)
{
	const struct fsck_inode *i = fsck_rows_find(m->f, rd_be64(r));

	if (!rd_ok(r) || !i)
		row_drop(m, row, "row of an inode that does not exist removed");
	else if (type == MS_KEY_BYTES && i->mode && !i->bytes_wanted)
		row_drop(m, row, "inline content of an inode that has none removed");
	else if (type == MS_KEY_XATTR && (rd_left(r) == 0 || rd_left(r) > XATTR_NAME_BYTES_MAX ||
					  row->value_len > XATTR_VALUE_BYTES_MAX))
		row_drop(m, row, "malformed extended attribute removed");
	else if (type == MS_KEY_XATTR)
		mend_acl(m, i, row, r);
	else if ((type == MS_KEY_MOVE && (rd_left(r) || row->value_len)) ||
		 (type == MS_KEY_ORPHAN && (rd_left(r) != 8 || row->value_len)))
		row_drop(m, row, "malformed row removed");
}

static void name_change(struct mend *m, const struct row *row, const struct ms_dir_slot *slot,
			const char *text)
{
	char path[PATH_MAX], subject[PATH_MAX + NAME_BYTES_MAX + 2];

	fsck_rows_path(m->f, slot->dir, path);
	(void)snprintf(subject, sizeof subject, "%s%s%.*s", path,
		       slot->dir == INODE_ROOT ? "" : "/", (int)slot->name.len,
		       (const char *)slot->name.bytes);
	ms_txn_del(m->txn, row->key, row->key_len);
	fsck_corrected(&m->f->report, FSCK_NAME, subject, "%s", text);
	changed(m);
}

/* File it where it is looked for; who has that place already stays. */
static void name_refile(struct mend *m, const struct row *row, struct ms_dir_slot *slot,
			bool is_elsewhere)
{
	struct ms_dir_slot there;

	name_change(m, row, slot,
		    is_elsewhere ? "filed under its right hash" : "type set to that of its inode");
	if (ms_dir_find(m->txn, m->f->super.name_key, slot->dir, slot->name, &there) == 0 &&
	    there.ino == 0) {
		slot->hash = there.hash;
		ms_dir_put(m->txn, slot);
	}
}

/* Is this the one name that a directory keeps? */
static bool is_kept(struct fsck_inode *target, inode_no dir)
{
	if (target->dir != dir || (target->flags & FSCK_INODE_NAME_SEEN))
		return false;
	target->flags |= FSCK_INODE_NAME_SEEN;
	return true;
}

static void mend_name(struct mend *m, const struct row *row, struct rd *r)
{
	struct ms_dir_slot slot = { .dir = rd_be64(r), .hash = rd_be64(r) };
	struct ms_name_value v = { 0 };
	struct fsck_inode *dir, *target;

	slot.name.len = (uint32_t)rd_left(r);
	slot.name.bytes = rd_view(r, slot.name.len);
	if (!rd_ok(r) || ms_dir_check_name(slot.name) < 0 ||
	    ms_key_name_decode(row->value, row->value_len, &v) < 0) {
		row_drop(m, row, "malformed name removed");
		return;
	}
	dir = fsck_rows_find(m->f, slot.dir);
	target = fsck_rows_find(m->f, v.ino);
	slot.ino = v.ino;
	slot.type = v.type;
	if (!dir || (dir->mode && !S_ISDIR(dir->mode))) {
		row_drop(m, row, "name in what is no directory removed");
	} else if (!target || target->ino == INODE_ROOT) {
		name_change(m, row, &slot,
			    target ? "name of the root removed" : "removed: it named nothing");
	} else if (S_ISDIR(target->mode) && !is_kept(target, slot.dir)) {
		name_change(m, row, &slot, "second name of a directory removed");
	} else if (target->mode && (target->mode & S_IFMT) != v.type) {
		slot.type = target->mode & S_IFMT;
		name_refile(m, row, &slot, false);
	} else if (slot.hash !=
		   checksum_name(m->f->super.name_key, slot.name.bytes, slot.name.len)) {
		name_refile(m, row, &slot, true);
	}
}

static void mend_session_row(struct mend *m, const struct row *row, struct rd *r,
			     enum ms_key_type type)
{
	session_no session = rd_be64(r);
	struct ms_key key = ms_key_number(MS_KEY_SESSION, session);
	struct ms_session_value v;
	struct ms_slot_value slot;
	const void *value;
	uint32_t len;
	bool is_good;

	if (type == MS_KEY_SESSION)
		is_good = rd_done(r) && session &&
			  ms_key_session_decode(row->value, row->value_len, &v) == 0;
	else
		is_good = rd_be16(r) < SESSION_SLOTS && rd_done(r) &&
			  ms_key_slot_decode(row->value, row->value_len, &slot) == 0 &&
			  rows_get(m->f->state, key.bytes, key.len, &value, &len) == 0;
	if (!is_good)
		row_drop(m, row, "malformed row of a session removed: that client is fenced");
}

static void mend_small(struct mend *m, const struct row *row, struct rd *r)
{
	uint64_t content;

	if (row->key[0] == MS_KEY_TERM) {
		(void)rd_be64(r);
		if (!rd_done(r) || row->value_len != 8)
			row_drop(m, row, "malformed term removed");
	} else if (row->key[0] == MS_KEY_CONTENT) {
		(void)rd_be32(r);
		if (!rd_done(r) || ms_key_content_decode(row->value, row->value_len, &content) < 0)
			row_drop(m, row,
				 "malformed content number removed: its groups will be compared");
	} else if (row->key[0] == MS_KEY_QUOTA) {
		if (!fsck_quota_take_row(m->f, row, r))
			row_drop(m, row, "malformed quota removed: set it again");
	} else if (!fsck_quota_take_walk(m->f, row, r)) {
		row_drop(m, row, "malformed mark of a quota removed");
	}
}

/* Without its row what was copied so far has no name, and gets one in /lost+found. */
static void mend_clone(struct mend *m, const struct row *row, struct rd *r)
{
	inode_no clone = rd_be64(r);
	struct ms_key key = ms_key_number(MS_KEY_CLONE, clone);
	struct ms_clone_value v;
	struct ms_clone_work work;
	const void *value;
	uint32_t len;

	if (row->key[0] == MS_KEY_CLONE) {
		if (!rd_done(r) || ms_key_clone_decode(row->value, row->value_len, &v) < 0 ||
		    (v.state != MS_CLONE_GOING && !fsck_rows_find(m->f, clone)))
			row_drop(m, row, "malformed clone removed");
		return;
	}
	if (ms_key_clone_work_decode(r, row->value, row->value_len, &work) < 0 ||
	    rows_get(m->f->state, key.bytes, key.len, &value, &len) < 0 ||
	    !fsck_rows_find(m->f, work.kind == MS_CLONE_EMPTY ? work.ino : work.target))
		row_drop(m, row, "work of a clone that does not exist removed");
}

static void mend_trash(struct mend *m, const struct row *row, struct rd *r)
{
	const char *text = fsck_trash_fault(m->f, row, r);

	if (!text)
		return;
	if (!fsck_trash_count(m->f, m->txn, row)) {
		row_drop(m, row, "row of a trash that is wrong removed");
		return;
	}
	fsck_corrected(&m->f->report, FSCK_ROW, "trash", "its entries counted anew");
	changed(m);
}

static void mend_row(struct mend *m, const struct row *row)
{
	struct rd r = rd_init(row->key, row->key_len);
	enum ms_key_type type = (enum ms_key_type)rd_u8(&r);

	switch (type) {
	case MS_KEY_INODE:
		mend_inode(m, row, &r);
		break;
	case MS_KEY_BYTES:
	case MS_KEY_MOVE:
	case MS_KEY_XATTR:
	case MS_KEY_ORPHAN:
		mend_belonging(m, row, &r, type);
		break;
	case MS_KEY_NAME:
		mend_name(m, row, &r);
		break;
	case MS_KEY_SESSION:
	case MS_KEY_SLOT:
		mend_session_row(m, row, &r, type);
		break;
	case MS_KEY_TERM:
	case MS_KEY_CONTENT:
	case MS_KEY_QUOTA:
	case MS_KEY_QUOTA_WALK:
		mend_small(m, row, &r);
		break;
	case MS_KEY_TRASH:
		mend_trash(m, row, &r);
		break;
	case MS_KEY_CLONE:
	case MS_KEY_CLONE_WORK:
		mend_clone(m, row, &r);
		break;
	case MS_KEY_COUNTERS:
	case MS_KEY_PG:
	case MS_KEY_SERVER:
	case MS_KEY_MAP:
	case MS_KEY_COLLECTION:
		break; /* as a whole, below */
	}
}

static int mend_rows(struct mend *m)
{
	struct rows_snapshot *s;
	struct row row;
	int rc = rows_snapshot_open(m->f->state, &s);

	if (rc < 0)
		return rc;
	while ((rc = rows_snapshot_next(s, &row)) == 1)
		mend_row(m, &row);
	rows_snapshot_close(s);
	return rc;
}

/* --- names --- */

static int root_make(struct mend *m)
{
	struct ms_inode root = inode_new(INODE_ROOT, S_IFDIR | 0755);

	ms_inode_put(m->txn, &root);
	fsck_corrected(&m->f->report, FSCK_ROW, "/", "root directory made anew");
	changed(m);
	return 0;
}

/* `from` lies on a ring of directories: cut it there, so that the others hang below it. */
static int ring_cut(struct mend *m, struct fsck_inode *from)
{
	struct ms_key key = ms_key_number(MS_KEY_NAME, from->dir);
	struct ms_name_value v;
	struct row row;
	struct rd r;
	int rc;

	for (rc = rows_next(m->f->state, key.bytes, key.len, &row); rc == 0;
	     rc = rows_next(m->f->state, key.bytes, key.len, &row)) {
		if (!ms_key_is(&row, MS_KEY_NAME, &r) || rd_be64(&r) != from->dir ||
		    row.key_len >= MS_KEY_BYTES_MAX)
			break;
		if (ms_key_name_decode(row.value, row.value_len, &v) == 0 && v.ino == from->ino)
			ms_txn_del(m->txn, row.key, row.key_len);
		memcpy(key.bytes, row.key, row.key_len);
		key.bytes[row.key_len] = 0; /* just behind it */
		key.len = row.key_len + 1;
	}
	return rc < 0 && rc != -E_NOENT ? rc : attach(m, from);
}

/* Is `from` on a ring itself? All of the ring then counts as reached. */
static bool is_on_ring(struct fsck *f, struct fsck_inode *from)
{
	struct fsck_inode *at = from;
	uint64_t steps = 0;

	do
		at = at && at->dir && at->ino != INODE_ROOT ? fsck_rows_find(f, at->dir) : NULL;
	while (at && at != from && ++steps <= f->inode_count);
	if (at != from)
		return false;
	do {
		at->walk = 2;
		at = fsck_rows_find(f, at->dir);
	} while (at != from);
	return true;
}

static int mend_names(struct mend *m)
{
	struct fsck *f = m->f;
	const struct fsck_inode *root = fsck_rows_find(f, INODE_ROOT);
	int rc = 0;

	if (!root)
		return root_make(m);
	for (uint64_t k = 0; k < f->inode_count && rc == 0; k++) {
		struct fsck_inode *i = &f->inodes[k];

		if (!i->mode || i->ino == INODE_ROOT)
			continue;
		if (S_ISDIR(i->mode) && i->walk == 3 && is_on_ring(f, i))
			rc = ring_cut(m, i);
		else if (i->names == 0 && !(i->flags & FSCK_INODE_HIDDEN) &&
			 (i->nlink > 0 ||
			  !(i->flags & (FSCK_INODE_HAS_ORPHAN | FSCK_INODE_HAS_TRASH))))
			rc = attach(m, i);
	}
	return rc;
}

/* --- counts --- */

static int mend_count(struct mend *m, const struct fsck_inode *i)
{
	uint32_t links = S_ISDIR(i->mode) ? 2 + i->subdirs : i->names;
	inode_no parent = i->ino == INODE_ROOT ? INODE_ROOT : i->dir;
	bool says_xattrs = i->flags & FSCK_INODE_XATTRS, says_acl = i->flags & FSCK_INODE_ACL;
	struct ms_key move = ms_key_number(MS_KEY_MOVE, i->ino);
	struct ms_inode inode;
	int rc;

	if (!(i->flags & FSCK_INODE_MOVE) != !(i->flags & FSCK_INODE_HAS_MOVE)) {
		if (i->flags & FSCK_INODE_MOVE)
			ms_txn_put(m->txn, move.bytes, move.len, "", 0);
		else
			ms_txn_del(m->txn, move.bytes, move.len);
		told(m, FSCK_ROW, i->ino, "mark to be moved into blocks set right");
	}
	if (i->nlink == links && (!S_ISDIR(i->mode) || i->parent == parent) &&
	    says_xattrs == (i->xattrs > 0) && says_acl == (i->acls > 0))
		return 0;
	if (i->ino != INODE_ROOT && i->names == 0) /* open without a name, or told already */
		return 0;
	rc = ms_inode_get(m->txn, i->ino, &inode);
	if (rc < 0)
		return rc;
	inode.attr.ino = i->ino;
	inode.attr.nlink = links;
	inode.parent = S_ISDIR(i->mode) ? parent : 0;
	inode.attr.flags &= ~(MS_INODE_FLAG_XATTRS | MS_INODE_FLAG_ACL);
	inode.attr.flags |= i->xattrs ? MS_INODE_FLAG_XATTRS : 0;
	inode.attr.flags |= i->acls ? MS_INODE_FLAG_ACL : 0;
	ms_inode_put(m->txn, &inode);
	told(m, FSCK_LINKS, i->ino, "links and parent set to what was counted");
	return 0;
}

static void put_small(struct mend *m, enum ms_key_type type, const void *value, uint32_t len,
		      const char *text)
{
	struct ms_key key = ms_key_one(type);

	ms_txn_put(m->txn, key.bytes, key.len, value, len);
	fsck_corrected(&m->f->report, type == MS_KEY_MAP ? FSCK_PLACEMENT : FSCK_COUNTERS,
		       "counters", "%s", text);
	changed(m);
}

static void mend_counters(struct mend *m)
{
	struct fsck_sums *s = &m->f->sums;
	struct ms_counters c = s->stored;
	uint8_t bytes[MS_COUNTERS_BYTES];

	if (!s->has_collection) {
		ms_key_collection_encode(NUMBERS_FAR, bytes);
		put_small(m, MS_KEY_COLLECTION, bytes, MS_COLLECTION_VALUE_BYTES,
			  "collection epoch set far ahead");
	}
	if (!s->has_map) {
		ms_key_map_encode(&(struct ms_map_value){ NUMBERS_FAR, s->last_server }, bytes);
		put_small(m, MS_KEY_MAP, bytes, MS_MAP_VALUE_BYTES,
			  "version of the map set far ahead");
	} else if (s->map_value.last_server < s->last_server) {
		ms_key_map_encode(&(struct ms_map_value){s->map_value.version + 1, s->last_server},
				  bytes);
		put_small(m, MS_KEY_MAP, bytes, MS_MAP_VALUE_BYTES,
			  "last server number set to what is there");
	}
	if (s->has_counters && c.files == s->found.files && c.directories == s->found.directories &&
	    c.bytes_logical == s->found.bytes_logical && c.inode_limit > s->inode_max)
		return;
	if (!s->has_counters)
		c = (struct ms_counters){.flags = MS_COUNTERS_PUBLISHED,
					 .inode_limit =
						 MAX_OF(c.inode_limit, s->inode_max + NUMBERS_FAR)};
	c.files = s->found.files;
	c.directories = s->found.directories;
	c.bytes_logical = s->found.bytes_logical;
	c.inode_limit = MAX_OF(c.inode_limit, s->inode_max + 1);
	ms_key_counters_encode(&c, bytes);
	put_small(m, MS_KEY_COUNTERS, bytes, sizeof bytes, "set to what was counted");
}

/* --- placement --- */

static bool group_is_sound(const struct fsck *f, const struct pg_row *row)
{
	server_no all[COPIES_MAX + FORMERS_MAX];
	uint32_t count = 0;

	if (row->epoch == 0 || row->replica_count == 0 || row->replica_count > f->super.copies)
		return false;
	for (uint32_t i = 0; i < row->replica_count; i++)
		all[count++] = row->replicas[i];
	for (uint32_t i = 0; i < row->former_count; i++)
		all[count++] = row->formers[i];
	for (uint32_t i = 0; i < count; i++) {
		if (!map_server(f->map, all[i]))
			return false;
		for (uint32_t k = 0; k < (i < row->replica_count ? i : 0); k++)
			if (all[k] == all[i])
				return false;
	}
	return true;
}

/*
 * Placed anew, with every other server as one that may hold something: healing compares them all.
 */
static void mend_group(struct mend *m, pg_no pg)
{
	struct fsck *f = m->f;
	const struct pg_row *old = map_pg(f->map, pg);
	struct pg_row row = { .epoch = MAX_OF(old->epoch, f->sums.epoch_max) + NUMBERS_FAR,
			      .state = PG_DEGRADED };
	uint8_t bytes[PG_ROW_BYTES_MAX];
	struct ms_key key = ms_key_pg(pg);

	row.replica_count = (uint8_t)map_place(f->map, pg, f->super.copies, row.replicas);
	if (row.replica_count == 0)
		return; /* no server: nothing can be said */
	for (uint32_t i = 0; i < map_server_count(f->map) && row.former_count < FORMERS_MAX; i++) {
		const struct server_row *s = map_server_at(f->map, i);

		if (!pg_row_has(&row, s->server) && s->state != SERVER_REMOVED)
			row.formers[row.former_count++] = s->server;
	}
	ms_txn_put(m->txn, key.bytes, key.len, bytes, (uint32_t)pg_row_encode(&row, bytes));
	fsck_corrected(&f->report, FSCK_PLACEMENT, "placement",
		       "group %u placed anew, to be healed", pg);
	changed(m);
}

static void mend_placement(struct mend *m)
{
	struct fsck *f = m->f;

	if (f->sums.pgs == 0 && f->sums.pgs_bad == 0)
		return; /* no server has joined yet */
	for (uint32_t pg = 0; pg < PG_COUNT; pg++)
		if (!group_is_sound(f, map_pg(f->map, (pg_no)pg)))
			mend_group(m, (pg_no)pg);
}

/* --- rounds --- */

/* Each kind of fault is mended on facts that no other kind has blurred. */
static int mend_round(struct mend *m)
{
	struct fsck *f = m->f;
	int rc = mend_rows(m);

	if (rc == 0 && !m->round_changes)
		rc = mend_names(m);
	for (uint64_t k = 0; k < f->inode_count && rc == 0 && !m->round_changes; k++)
		for (; k < f->inode_count && rc == 0; k++)
			rc = f->inodes[k].mode ? mend_count(m, &f->inodes[k]) : 0;
	if (rc == 0 && !m->round_changes) {
		uint32_t quota_rows = fsck_quota_mend(f, m->txn);

		m->round_changes += quota_rows;
		f->rows_mended += quota_rows;
		mend_counters(m);
		mend_placement(m);
	}
	return rc;
}

int fsck_mend(struct fsck *f, struct error *err)
{
	struct mend m = { .f = f };
	uint32_t round = 0;
	int rc = 0;

	if (!f->state)
		return 0;
	do {
		m.round_changes = 0;
		m.lost_found = 0;
		rc = ms_txn_create(f->state, &m.txn);
		if (rc < 0)
			break;
		ms_txn_event_begin(m.txn);
		rc = mend_round(&m);
		if (rc == 0)
			rc = ms_txn_flush(m.txn);
		if (rc == 0)
			rc = rows_commit(f->state);
		ms_txn_destroy(m.txn);
		if (rc == 0 && m.round_changes)
			rc = fsck_rows_again(f, err);
	} while (rc == 0 && m.round_changes && ++round < ROUNDS_MAX);
	return rc < 0 && !err->code ? error_set(err, rc, "cannot mend the names") : rc;
}
