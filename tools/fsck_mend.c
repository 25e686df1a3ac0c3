/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mending the state: rows that contradict each other become a sound file system again. What has
 * content but lost its name gets one in /lost+found, "#" and the inode's number; what names nothing
 * goes; what can be counted is counted anew. Content is never made up: a file that lost bytes stays
 * as it is, and is named.
 *
 * Works in rounds on the scratch copy of the state: gather the facts (fsck_rows.c), mend what they
 * say is wrong, in the order rows (fsck_mend_rows.c), names (fsck_mend_names.c), counts and
 * placement (here), until a round finds nothing. fsck_truth.c makes the result durable.
 */
#include <inttypes.h>
#include <sys/stat.h>
#include <time.h>

#include "tools/fsck_mend.h"

#define ROUNDS_MAX 16u

/* --- what all parts need --- */

void fsck_mend_changed(struct fsck_mend *m)
{
	m->round_changes++;
	m->f->rows_mended++;
}

void fsck_mend_told(struct fsck_mend *m, enum fsck_class c, inode_no ino, const char *text)
{
	char path[PATH_MAX];

	fsck_corrected(&m->f->report, c, fsck_rows_path(m->f, ino, path), "%s (inode %" PRIu64 ")",
		       text, ino);
	fsck_mend_changed(m);
}

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

struct ms_inode fsck_mend_inode(inode_no ino, uint32_t mode)
{
	int64_t now = now_ns();

	return (struct ms_inode){ .attr = { .ino = ino, .mode = mode,
					    .nlink = S_ISDIR(mode) ? 2 : 1, .version = 1,
					    .size = S_ISDIR(mode) ? MS_DIRECTORY_SIZE : 0,
					    .atime_ns = now, .mtime_ns = now, .ctime_ns = now,
					    .btime_ns = now },
					    .parent = S_ISDIR(mode) ? INODE_ROOT : 0 };
}

/* --- counts --- */

static int mend_count(struct fsck_mend *m, const struct fsck_inode *i)
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
		fsck_mend_told(m, FSCK_ROW, i->ino, "mark to be moved into blocks set right");
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
	fsck_mend_told(m, FSCK_LINKS, i->ino, "links and parent set to what was counted");
	return 0;
}

static void put_small(struct fsck_mend *m, enum ms_key_type type, const void *value, uint32_t len,
		      const char *text)
{
	struct ms_key key = ms_key_one(type);

	ms_txn_put(m->txn, key.bytes, key.len, value, len);
	fsck_corrected(&m->f->report, type == MS_KEY_MAP ? FSCK_PLACEMENT : FSCK_COUNTERS,
		       "counters", "%s", text);
	fsck_mend_changed(m);
}

static void mend_counters(struct fsck_mend *m)
{
	struct fsck_sums *s = &m->f->sums;
	struct ms_counters c = s->stored;
	uint8_t bytes[MS_COUNTERS_BYTES];

	if (!s->has_collection) {
		ms_key_collection_encode(FSCK_NUMBERS_FAR, bytes);
		put_small(m, MS_KEY_COLLECTION, bytes, MS_COLLECTION_VALUE_BYTES,
			  "collection epoch set far ahead");
	}
	if (!s->has_map) {
		ms_key_map_encode(&(struct ms_map_value){FSCK_NUMBERS_FAR, s->last_server},
				  bytes);
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
	if (!s->has_counters) {
		inode_no limit = MAX_OF(c.inode_limit, s->inode_max + FSCK_NUMBERS_FAR);

		c = (struct ms_counters){.flags = MS_COUNTERS_PUBLISHED, .inode_limit = limit};
	}
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
static void mend_group(struct fsck_mend *m, pg_no pg)
{
	struct fsck *f = m->f;
	const struct pg_row *old = map_pg(f->map, pg);
	struct pg_row row = { .epoch = MAX_OF(old->epoch, f->sums.epoch_max) + FSCK_NUMBERS_FAR,
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
	fsck_mend_changed(m);
}

static void mend_placement(struct fsck_mend *m)
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
static int mend_round(struct fsck_mend *m)
{
	struct fsck *f = m->f;
	int rc = fsck_mend_rows(m);

	if (rc == 0 && !m->round_changes)
		rc = fsck_mend_names(m);
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
	struct fsck_mend m = { .f = f };
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
