/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mending the state, row by row: malformed rows, and rows that belong to nothing, go; an inode that
 * cannot be read is made anew where its names or its inline content say what it was. Content is
 * never made up.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/hash/checksum.h"
#include "metadata-server/dir.h"
#include "tools/fsck_mend.h"

static void row_drop(struct fsck_mend *m, const struct row *row, const char *text)
{
	char subject[64];

	ms_txn_del(m->txn, row->key, row->key_len);
	(void)snprintf(subject, sizeof subject, "row of type 0x%02x, %" PRIu32 " bytes of key",
		       row->key[0], row->key_len);
	fsck_corrected(&m->f->report, FSCK_ROW, subject, "%s", text);
	fsck_mend_changed(m);
}

static bool has_prefix(struct fsck *f, const struct ms_key *prefix)
{
	struct row row;

	return rows_next(f->state, prefix->bytes, prefix->len, &row) == 0 &&
	       row.key_len >= prefix->len && memcmp(row.key, prefix->bytes, prefix->len) == 0;
}

/* What can be known of an inode whose row cannot be read. */
static void mend_inode(struct fsck_mend *m, const struct row *row, struct rd *r)
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
		made = fsck_mend_inode(ino, S_IFDIR | (ino == INODE_ROOT ? 0755 : 0700));
		made.parent = i->dir ? i->dir : INODE_ROOT;
		ms_inode_put(m->txn, &made);
		fsck_mend_told(m, FSCK_ROW, ino, "directory made anew: owner and times are lost");
	} else if (rows_get(m->f->state, bytes.bytes, bytes.len, &value, &len) == 0 && len > 0 &&
		   len <= INLINE_BYTES_MAX) {
		made = fsck_mend_inode(ino, S_IFREG | 0600);
		made.attr.size = len;
		made.attr.root = (struct root){ .kind = ROOT_INLINE, .length = len };
		ms_inode_put(m->txn, &made);
		fsck_mend_told(m, FSCK_ROW, ino,
			       "file made anew from its inline content: owner and times are lost");
	} else {
		fsck_mend_told(m, FSCK_ROW, ino,
			       "inode that cannot be read removed: its content is lost");
		ms_txn_del(m->txn, row->key, row->key_len);
	}
}

/* The mode is what everybody saw: the ACL follows it. */
static void mend_acl(struct fsck_mend *m, const struct fsck_inode *i, const struct row *row,
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
		fsck_mend_told(m, FSCK_ROW, i->ino, "ACL set to what the mode says");
	}
}

/* A row of an inode: inline content, a mark, an attribute, an orphan. */
static void mend_belonging(struct fsck_mend *m, const struct row *row, struct rd *r,
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

static void name_change(struct fsck_mend *m, const struct row *row, const struct ms_dir_slot *slot,
			const char *text)
{
	char path[PATH_MAX], subject[PATH_MAX + NAME_BYTES_MAX + 2];

	fsck_rows_path(m->f, slot->dir, path);
	(void)snprintf(subject, sizeof subject, "%s%s%.*s", path,
		       slot->dir == INODE_ROOT ? "" : "/", (int)slot->name.len,
		       (const char *)slot->name.bytes);
	ms_txn_del(m->txn, row->key, row->key_len);
	fsck_corrected(&m->f->report, FSCK_NAME, subject, "%s", text);
	fsck_mend_changed(m);
}

/* File it where it is looked for; who has that place already stays. */
static void name_refile(struct fsck_mend *m, const struct row *row, struct ms_dir_slot *slot,
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

static void mend_name(struct fsck_mend *m, const struct row *row, struct rd *r)
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

static void mend_session_row(struct fsck_mend *m, const struct row *row, struct rd *r,
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

static void mend_small(struct fsck_mend *m, const struct row *row, struct rd *r)
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
static void mend_clone(struct fsck_mend *m, const struct row *row, struct rd *r)
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

static void mend_trash(struct fsck_mend *m, const struct row *row, struct rd *r)
{
	const char *text = fsck_trash_fault(m->f, row, r);

	if (!text)
		return;
	if (!fsck_trash_count(m->f, m->txn, row)) {
		row_drop(m, row, "row of a trash that is wrong removed");
		return;
	}
	fsck_corrected(&m->f->report, FSCK_ROW, "trash", "its entries counted anew");
	fsck_mend_changed(m);
}

static void mend_row(struct fsck_mend *m, const struct row *row)
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
		break; /* as a whole: fsck_mend.c */
	}
}

int fsck_mend_rows(struct fsck_mend *m)
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
