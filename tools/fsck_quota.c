/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Quotas: what is charged to each is counted anew, and every directory must be charged to the quota
 * of the one above, unless the metadata server has yet to go through a tree
 * (metadata-server/quota.c).
 *
 * Memory: one entry for each quota that an inode or a row names.
 */
#define HASH_NONFATAL_OOM 1 /* an add that failed leaves hh.tbl NULL */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <uthash.h>

#include "tools/fsck_internal.h"

#define CHAIN_MAX 64u /* longer than any that can be set: a ring */

struct fsck_quota {
	inode_no dir;
	struct ms_quota stored;
	bool has_row;
	uint64_t bytes, files;	     /* counted, of inodes that name it */
	uint64_t bytes_all, files_all; /* and of those below it */
	uint16_t index;
	UT_hash_handle hh;
};

struct fsck_quotas {
	struct fsck_quota *table;
	struct fsck_quota *by_index[FSCK_QUOTAS_MAX + 1];
	uint16_t count;
	bool is_walking; /* a tree is to be gone through: tags of its inodes say nothing */
};

void fsck_quota_forget(struct fsck *f)
{
	struct fsck_quota *q, *next;

	if (!f->quotas)
		return;
	HASH_ITER (hh, f->quotas->table, q, next) {
		HASH_DEL(f->quotas->table, q);
		free(q);
	}
	free(f->quotas);
	f->quotas = NULL;
}

/* NULL: out of memory, or more than there can be. */
static struct fsck_quota *get(struct fsck *f, inode_no dir)
{
	struct fsck_quota *q = NULL;

	if (!f->quotas)
		f->quotas = calloc(1, sizeof *f->quotas);
	if (!f->quotas)
		return NULL;
	HASH_FIND(hh, f->quotas->table, &dir, sizeof dir, q);
	if (q || f->quotas->count == FSCK_QUOTAS_MAX)
		return q;
	q = calloc(1, sizeof *q);
	if (!q)
		return NULL;
	q->dir = dir;
	HASH_ADD(hh, f->quotas->table, dir, sizeof q->dir, q);
	if (!q->hh.tbl) {
		free(q);
		return NULL;
	}
	q->index = ++f->quotas->count;
	f->quotas->by_index[q->index] = q;
	return q;
}

static struct fsck_quota *find(struct fsck *f, inode_no dir)
{
	struct fsck_quota *q = NULL;

	if (f->quotas && dir)
		HASH_FIND(hh, f->quotas->table, &dir, sizeof dir, q);
	return q;
}

int fsck_quota_take_inode(struct fsck *f, struct fsck_inode *i, const struct ms_attr *attr)
{
	struct fsck_quota *q;

	if (!attr->quota)
		return 0;
	q = get(f, attr->quota);
	if (!q)
		return -E_NOMEM;
	q->files++;
	q->bytes += S_ISREG(attr->mode) ? root_data_bytes(&attr->root) : 0;
	i->quota = q->index;
	return 0;
}

/* False: malformed. */
bool fsck_quota_take_row(struct fsck *f, const struct row *row, struct rd *r)
{
	inode_no dir = rd_be64(r);
	struct ms_quota stored;
	struct fsck_quota *q;

	if (!rd_done(r) || !dir || ms_key_quota_decode(row->value, row->value_len, &stored) < 0)
		return false;
	q = get(f, dir);
	if (!q)
		return false;
	q->stored = stored;
	q->has_row = true;
	return true;
}

bool fsck_quota_take_walk(struct fsck *f, const struct row *row, struct rd *r)
{
	uint64_t hash;

	(void)rd_be64(r);
	if (!rd_done(r) || ms_key_quota_walk_decode(row->value, row->value_len, &hash) < 0)
		return false;
	if (!f->quotas)
		f->quotas = calloc(1, sizeof *f->quotas);
	if (f->quotas)
		f->quotas->is_walking = true;
	return true;
}

/* --- over the whole --------------------------------------------------------------------------- */

/* Does the way up from it end? */
static bool is_chain(struct fsck *f, const struct fsck_quota *q)
{
	uint32_t length = 0;

	while (q->stored.parent && length++ < CHAIN_MAX) {
		q = find(f, q->stored.parent);
		if (!q || !q->has_row)
			return false;
	}
	return length < CHAIN_MAX;
}

static void add_up(struct fsck *f)
{
	for (uint16_t i = 1; i <= f->quotas->count; i++) {
		const struct fsck_quota *q = f->quotas->by_index[i];
		struct fsck_quota *at = f->quotas->by_index[i];

		for (uint32_t n = 0; at && n < CHAIN_MAX; n++) {
			at->bytes_all += q->bytes;
			at->files_all += q->files;
			at = at->has_row ? find(f, at->stored.parent) : NULL;
		}
	}
}

static bool has_dir(struct fsck *f, const struct fsck_quota *q)
{
	const struct fsck_inode *dir = fsck_rows_find(f, q->dir);

	return q->stored.is_ending || (dir && S_ISDIR(dir->mode));
}

static bool is_counted(const struct fsck_quota *q)
{
	return q->stored.bytes == q->bytes_all && q->stored.files == q->files_all;
}

static void check_one(struct fsck *f, const struct fsck_quota *q)
{
	char path[PATH_MAX];

	fsck_rows_path(f, q->dir, path);
	if (!q->has_row)
		fsck_fault(&f->report, FSCK_COUNTERS, path,
			   "%" PRIu64 " inodes are charged to a quota that does not exist",
			   q->files);
	else if (!has_dir(f, q))
		fsck_fault(&f->report, FSCK_COUNTERS, path, "quota of what is no directory");
	else if (!is_chain(f, q))
		fsck_fault(&f->report, FSCK_COUNTERS, path,
			   "quota says wrongly which one is above it");
	else if (!is_counted(q))
		fsck_fault(&f->report, FSCK_COUNTERS, path,
			   "quota says %" PRIu64 " bytes and %" PRIu64 " files, counted %" PRIu64
			   " and %" PRIu64,
			   q->stored.bytes, q->stored.files, q->bytes_all, q->files_all);
}

/* The quota that it should be charged to is that of its directory. */
static bool is_tagged(struct fsck *f, const struct fsck_inode *i)
{
	const struct fsck_inode *dir = i->dir ? fsck_rows_find(f, i->dir) : NULL;
	const struct fsck_quota *own = S_ISDIR(i->mode) ? find(f, i->ino) : NULL;

	if (own && own->has_row && !own->stored.is_ending)
		return i->quota == own->index;
	/* a file that had names in two trees is charged to the one that was counted last */
	return !dir || !S_ISDIR(i->mode) || i->quota == dir->quota;
}

static bool tags_matter(const struct fsck *f)
{
	return f->quotas && f->quotas->count > 0 && !f->quotas->is_walking;
}

void fsck_quota_check(struct fsck *f)
{
	char path[PATH_MAX];

	if (!f->quotas)
		return;
	add_up(f);
	for (uint16_t i = 1; i <= f->quotas->count; i++)
		check_one(f, f->quotas->by_index[i]);
	for (uint64_t i = 0; tags_matter(f) && i < f->inode_count; i++)
		if (!is_tagged(f, &f->inodes[i]))
			fsck_fault(&f->report, FSCK_COUNTERS,
				   fsck_rows_path(f, f->inodes[i].ino, path),
				   "is not charged to the quota of its directory (inode %" PRIu64
				   ")",
				   f->inodes[i].ino);
}

/* --- mending ---------------------------------------------------------------------------------- */

static uint32_t told(struct fsck *f, inode_no ino, const char *text)
{
	char path[PATH_MAX];

	fsck_corrected(&f->report, FSCK_COUNTERS, fsck_rows_path(f, ino, path), "%s", text);
	return 1;
}

/* The metadata server goes through that directory once more. */
static void walk_add(struct ms_txn *txn, inode_no dir)
{
	struct ms_key key = ms_key_number(MS_KEY_QUOTA_WALK, dir);
	uint8_t value[MS_QUOTA_WALK_BYTES];

	ms_key_quota_walk_encode(0, value);
	ms_txn_put(txn, key.bytes, key.len, value, sizeof value);
}

static uint32_t mend_quota(struct fsck *f, struct ms_txn *txn, const struct fsck_quota *q)
{
	struct ms_key key = ms_key_number(MS_KEY_QUOTA, q->dir);
	const struct fsck_inode *dir = fsck_rows_find(f, q->dir), *above;
	struct ms_quota fixed = q->stored;
	uint8_t value[MS_QUOTA_BYTES];
	const char *text = "usage of the quota set to what was counted";

	if (!q->has_row || (has_dir(f, q) && is_chain(f, q) && is_counted(q)))
		return 0;
	if (!has_dir(f, q)) {
		fixed.is_ending = true;
		text = "quota of what is no directory ends";
	} else if (!is_chain(f, q)) {
		above = dir ? fsck_rows_find(f, dir->parent) : NULL;
		above = above && above->quota && above->ino != q->dir ? above : NULL;
		fixed.parent = above && f->quotas->by_index[above->quota]->has_row
				       ? f->quotas->by_index[above->quota]->dir
				       : 0;
		fixed.parent = fixed.parent == q->stored.parent ? 0 : fixed.parent;
		text = "quota is below that of the directory above";
	} else {
		fixed.bytes = q->bytes_all;
		fixed.files = q->files_all;
	}
	ms_key_quota_encode(&fixed, value);
	if (fixed.is_ending && q->files_all == 0)
		ms_txn_del(txn, key.bytes, key.len);
	else
		ms_txn_put(txn, key.bytes, key.len, value, sizeof value);
	return told(f, q->dir, text);
}

static uint32_t mend_tag(struct fsck *f, struct ms_txn *txn, const struct fsck_inode *i)
{
	struct ms_inode inode;

	if (i->quota && !f->quotas->by_index[i->quota]->has_row) {
		if (ms_inode_get(txn, i->ino, &inode) < 0)
			return 0;
		inode.attr.quota = 0;
		ms_inode_put(txn, &inode);
		if (i->dir)
			walk_add(txn, i->dir);
		return told(f, i->ino, "is charged to the quota of its directory again");
	}
	if (!tags_matter(f) || is_tagged(f, i))
		return 0;
	const struct fsck_quota *own = find(f, i->ino);
	if (own && own->has_row && !own->stored.is_ending) {
		if (ms_inode_get(txn, i->ino, &inode) < 0)
			return 0;
		inode.attr.quota = i->ino;
		ms_inode_put(txn, &inode);
		walk_add(txn, i->ino);
	} else {
		walk_add(txn, i->dir);
	}
	return told(f, i->ino, "the metadata server will charge it to the quota of its directory");
}

uint32_t fsck_quota_mend(struct fsck *f, struct ms_txn *txn)
{
	uint32_t changes = 0;

	if (!f->quotas)
		return 0;
	for (uint16_t i = 1; i <= f->quotas->count; i++)
		changes += mend_quota(f, txn, f->quotas->by_index[i]);
	for (uint64_t i = 0; i < f->inode_count; i++)
		changes += f->inodes[i].mode ? mend_tag(f, txn, &f->inodes[i]) : 0;
	return changes;
}
