/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mending the state, names: what has content but lost its name gets one in /lost+found, "#" and the
 * inode's number; a ring of directories is cut and hung there. What is unlinked and open, in a
 * trash, or a clone that is not shown has no name by right.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "metadata-server/dir.h"
#include "tools/fsck_mend.h"

#define LOST_FOUND "lost+found"

/* --- /lost+found --- */

static inode_no inode_number_new(struct fsck_mend *m)
{
	struct fsck_sums *s = &m->f->sums;

	/* Behind every range that was set aside: some client may hold a number of those. */
	s->inode_max = MAX_OF(s->inode_max, s->has_counters ? s->stored.inode_limit
							    : s->inode_max + FSCK_NUMBERS_FAR) +
		       1;
	s->stored.inode_limit = MAX_OF(s->stored.inode_limit, s->inode_max + 1);
	return s->inode_max;
}

static int lost_found_make(struct fsck_mend *m, struct ms_dir_slot *slot)
{
	struct ms_inode dir = fsck_mend_inode(inode_number_new(m), S_IFDIR | 0700);

	ms_inode_put(m->txn, &dir);
	slot->ino = dir.attr.ino;
	slot->type = S_IFDIR;
	ms_dir_put(m->txn, slot);
	m->lost_found = dir.attr.ino;
	fsck_corrected(&m->f->report, FSCK_NAME, "/" LOST_FOUND, "made");
	fsck_mend_changed(m);
	return 0;
}

static int lost_found_get(struct fsck_mend *m)
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

static int attach(struct fsck_mend *m, struct fsck_inode *i)
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
	fsck_mend_told(m, FSCK_LINKS, i->ino, "had no name");
	return 0;
}

/* --- the tree --- */

static int root_make(struct fsck_mend *m)
{
	struct ms_inode root = fsck_mend_inode(INODE_ROOT, S_IFDIR | 0755);

	ms_inode_put(m->txn, &root);
	fsck_corrected(&m->f->report, FSCK_ROW, "/", "root directory made anew");
	fsck_mend_changed(m);
	return 0;
}

/* `from` lies on a ring of directories: cut it there, so that the others hang below it. */
static int ring_cut(struct fsck_mend *m, struct fsck_inode *from)
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

int fsck_mend_names(struct fsck_mend *m)
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
