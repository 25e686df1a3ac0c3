/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows of trashes (metadata-server/trash.c): entries and inodes name each other, and each tree
 * counts its entries. A row that is wrong is dropped by repair, a count is made anew; what then has
 * neither name nor entry gets a name in /lost+found.
 */
#include "tools/fsck_internal.h"

static int count_entries(struct fsck *f, inode_no tree, struct ms_trash *out)
{
	struct ms_key key = ms_key_trash_entry(tree, 0, 0);
	struct ms_trash_entry entry = { .ino = 0 };
	struct row row;
	struct rd r;
	int rc;

	out->entries = out->bytes = 0;
	while ((rc = rows_next(f->state, key.bytes, key.len, &row)) == 0) {
		if (!ms_key_is(&row, MS_KEY_TRASH, &r) || rd_u8(&r) != MS_TRASH_ENTRY ||
		    rd_be64(&r) != tree)
			return 0;
		if (row.key_len != key.len ||
		    ms_key_trash_entry_decode(&r, row.value, row.value_len, &entry) < 0)
			return -E_CORRUPT;
		out->entries++;
		out->bytes += entry.bytes;
		key = ms_key_trash_entry(tree, entry.time_ns, entry.ino + 1);
	}
	return rc == -E_NOENT ? 0 : rc;
}

static const char *tree_fault(struct fsck *f, const struct row *row, struct rd *r)
{
	inode_no tree = rd_be64(r);
	struct ms_trash stored, found = { .entries = 0 };

	if (!rd_done(r) || ms_key_trash_decode(row->value, row->value_len, &stored) < 0)
		return "is a malformed trash";
	if (count_entries(f, tree, &found) == 0 &&
	    (found.entries != stored.entries || found.bytes != stored.bytes))
		return "is a trash that counts its entries wrongly";
	return NULL;
}

static const char *entry_fault(struct fsck *f, const struct row *row, struct rd *r)
{
	inode_no tree = rd_be64(r);
	struct ms_key key = ms_key_trash(MS_TRASH_TREE, tree);
	struct ms_trash_entry entry;
	struct fsck_inode *i;
	const void *value;
	uint32_t len;

	if (ms_key_trash_entry_decode(r, row->value, row->value_len, &entry) < 0)
		return "is a malformed entry of a trash";
	if (rows_get(f->state, key.bytes, key.len, &value, &len) < 0)
		return "is an entry of a trash that does not exist";
	i = fsck_rows_find(f, entry.ino);
	if (!i || !(i->flags & FSCK_INODE_IN_TRASH))
		return "is an entry of a trash for what does not lie there";
	i->flags |= FSCK_INODE_HAS_TRASH;
	return NULL;
}

const char *fsck_trash_fault(struct fsck *f, const struct row *row, struct rd *r)
{
	uint64_t hash;
	inode_no dir;

	switch (rd_u8(r)) {
	case MS_TRASH_TREE:
		return tree_fault(f, row, r);
	case MS_TRASH_ENTRY:
		return entry_fault(f, row, r);
	case MS_TRASH_NAME:
		dir = rd_be64(r);
		if (!rd_done(r) || row->value_len == 0 || row->value_len > NAME_BYTES_MAX ||
		    !fsck_rows_find(f, dir))
			return "is no name of a directory for its trash";
		return NULL;
	case MS_TRASH_WALK:
		(void)rd_be64(r);
		if (!rd_done(r) || ms_key_trash_walk_decode(row->value, row->value_len, &hash) < 0)
			return "is malformed work for a trash";
		return NULL;
	}
	return "is of no kind that a trash has";
}

bool fsck_trash_count(struct fsck *f, struct ms_txn *txn, const struct row *row)
{
	struct ms_trash trash, found = { .entries = 0 };
	uint8_t value[MS_TRASH_BYTES];
	struct rd r;

	if (!ms_key_is(row, MS_KEY_TRASH, &r) || rd_u8(&r) != MS_TRASH_TREE ||
	    ms_key_trash_decode(row->value, row->value_len, &trash) < 0 ||
	    count_entries(f, rd_be64(&r), &found) < 0)
		return false;
	trash.entries = found.entries;
	trash.bytes = found.bytes;
	ms_key_trash_encode(&trash, value);
	ms_txn_put(txn, row->key, row->key_len, value, sizeof value);
	return true;
}
