/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The truth of the metadata: superblocks, journal directories, snapshots, and the state that they
 * come to.
 *
 * Every journal directory is read alone first, so that a damaged one is named although the others
 * would do.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/io/view.h"
#include "metadata-server/recover.h"
#include "metadata-server/snapshot.h"
#include "tools/fsck_internal.h"

#define SNAPSHOTS_MAX 1024u
#define COMMIT_ROWS   65536u

/* --- superblocks ------------------------------------------------------------------------------ */

static int lock(const struct fsck_dir *dir, struct error *err)
{
	int rc = disk_lock(dir->disk);

	if (rc == -E_BUSY)
		return error_say(err, rc,
				 "'%s' is in use: stop its server first, or check with --live",
				 dir->path);
	if (rc == -E_ROFS)
		return 0; /* nobody can be writing there */
	return rc < 0 ? error_set(err, rc, "cannot lock '%s'", dir->path) : 0;
}

int fsck_open(struct fsck *f, struct fsck_dir *dir, fsck_super_fn read, struct error *err)
{
	struct error why = {0};
	int rc = disk_posix_create(dir->path, &dir->disk);

	if (rc < 0) {
		dir->disk = NULL;
		return error_set(err, rc, "cannot open '%s'", dir->path);
	}
	rc = lock(dir, err);
	if (rc < 0)
		return rc;
	if (read(dir->disk, &dir->super, &why) >= 0)
		return 1;
	dir->has_bad_super = true;
	fsck_fault(&f->report, FSCK_SUPERBLOCK, dir->path, "%s", why.text);
	return 0;
}

static int open_directory(struct fsck *f, struct fsck_dir *dir, struct error *err)
{
	int rc = fsck_open(f, dir, ms_recover_super, err);

	if (rc <= 0)
		return rc;
	if (!f->has_super) {
		f->super = dir->super;
		f->has_super = true;
	} else if (memcmp(dir->super.cluster, f->super.cluster, sizeof f->super.cluster) != 0) {
		fsck_fault(&f->report, FSCK_SUPERBLOCK, dir->path,
			   "belongs to another cluster than '%s'", f->metadata[0].path);
		return 0;
	}
	dir->is_good = true;
	return 0;
}

/* --- the journal ------------------------------------------------------------------------------ */

struct file_sum {
	struct disk *disk;
	uint64_t bytes;
	int rc;
};

static void sum_file(void *arg, const char *name)
{
	struct file_sum *s = arg;
	struct disk_file *file;
	char path[64];
	uint64_t bytes;

	if (strncmp(name, "J-", 2) != 0 || strlen(name) != 18)
		return;
	(void)snprintf(path, sizeof path, "journal/%s", name);
	s->rc = disk_open(s->disk, path, DISK_READ, &file);
	if (s->rc < 0)
		return;
	s->rc = disk_size(file, &bytes);
	s->bytes += s->rc < 0 ? 0 : bytes;
	disk_close(file);
}

static uint64_t journal_file_bytes(struct disk *disk)
{
	struct file_sum s = {.disk = disk};

	return disk_list(disk, "journal", sum_file, &s) < 0 || s.rc < 0 ? 0 : s.bytes;
}

static void check_journal_alone(struct fsck *f, struct fsck_dir *dir)
{
	struct ms_journal_options o = {.disks = &dir->disk, .disk_count = 1, .read_only = true};
	struct error why = {0};
	struct ms_journal *j;
	uint64_t torn;

	memcpy(o.cluster, f->super.cluster, sizeof o.cluster);
	if (ms_journal_open(&o, &j, &why) < 0) {
		fsck_fault(&f->report, FSCK_JOURNAL, dir->path, "%s", why.text);
		dir->has_bad_journal = f->has_bad_journal = true;
		return;
	}
	dir->journal_last = ms_journal_last(j);
	f->number_max = MAX_OF(f->number_max, dir->journal_last);
	f->term_max = MAX_OF(f->term_max, ms_journal_last_term(j));
	torn = journal_file_bytes(dir->disk);
	torn -= MIN_OF(torn, ms_journal_bytes(j));
	f->journal_is_torn |= torn > 0;
	if (torn)
		fsck_note(&f->report, dir->path,
			  "torn tail of %" PRIu64 " bytes behind journal record %" PRIu64
			  ": it was never called durable, the next start cuts it",
			  torn, ms_journal_last(j));
	ms_journal_close(j);
}

/* Closed in order they are equal. After a crash one may have what the others were about to get. */
static void compare_journals(struct fsck *f)
{
	char view_dir[PATH_MAX + 16];
	struct view_state view;

	(void)snprintf(view_dir, sizeof view_dir, "%s/rows", f->metadata[0].path);
	if (view_peek(view_dir, &view) < 0 || !view.was_closed)
		return;
	for (uint32_t i = 0; i < f->options->metadata_dir_count; i++) {
		const struct fsck_dir *dir = &f->metadata[i];

		if (!dir->is_good || dir->has_bad_journal || dir->journal_last == f->number_max)
			continue;
		f->journal_is_torn = true;
		fsck_fault(&f->report, FSCK_JOURNAL, dir->path,
			   "its journal ends at record %" PRIu64
			   ", that of another directory at %" PRIu64,
			   dir->journal_last, f->number_max);
	}
}

static int open_journal(struct fsck *f, struct ms_journal **out, struct error *err)
{
	struct disk *good[FSCK_METADATA_DIRS_MAX];
	struct ms_journal_options o = {.disks = good, .read_only = true};
	struct error why = {0};
	int rc;

	for (uint32_t i = 0; i < f->options->metadata_dir_count; i++)
		if (f->metadata[i].is_good && !f->metadata[i].has_bad_journal)
			good[o.disk_count++] = f->metadata[i].disk;
	*out = NULL;
	if (o.disk_count == 0)
		return 0;
	memcpy(o.cluster, f->super.cluster, sizeof o.cluster);
	rc = ms_journal_open(&o, out, &why);
	if (rc == -E_NOMEM)
		return error_set(err, rc, "cannot read the journal");
	if (rc < 0) {
		*out = NULL;
		f->has_bad_journal = f->journals_differ = true;
		fsck_fault(&f->report, FSCK_JOURNAL, f->metadata[0].path, "%s", why.text);
	}
	return 0;
}

/* --- the state -------------------------------------------------------------------------------- */

struct snapshot_place {
	struct fsck_dir *dir;
	uint64_t number;
};

struct load {
	struct fsck *f;
	struct ms_txn *txn;
	struct error *err;
	uint64_t uncommitted, all, records; /* that the journal is to give; 0: not known */
	int rc; /* of our own rows; the rest is the file's fault */
};

static int load_row(void *arg, const struct row *row)
{
	struct load *l = arg;

	l->rc = rows_put(l->f->state, row->key, row->key_len, row->value, row->value_len);
	if (l->rc == 0 && ++l->uncommitted >= COMMIT_ROWS) {
		l->uncommitted = 0;
		l->rc = rows_commit(l->f->state);
	}
	fsck_progress(&l->f->report, "snapshot", ++l->all, 0);
	return l->rc;
}

static int snapshot_into_state(struct fsck *f, const struct snapshot_place *at,
			       struct snapshot_header *h, struct error *err)
{
	struct load l = {.f = f};
	int rc = rows_clear(f->state);

	if (rc == 0)
		rc = rows_commit(f->state);
	if (rc < 0)
		return error_set(err, rc, "cannot write to '%s'", f->scratch);
	rc = ms_snapshot_read(at->dir->disk, at->number, h, load_row, &l);
	if (rc == 0)
		rc = l.rc = rows_commit(f->state);
	return l.rc < 0 ? error_set(err, l.rc, "cannot write to '%s'", f->scratch) : rc;
}

static int compare_places(const void *a, const void *b)
{
	const struct snapshot_place *x = a, *y = b;

	if (x->number != y->number)
		return x->number > y->number ? -1 : 1;
	return x->dir < y->dir ? -1 : x->dir > y->dir;
}

/* The snapshots of all directories, newest first. Further ones need not have any. */
static uint32_t list_snapshots(struct fsck *f, struct snapshot_place out[SNAPSHOTS_MAX])
{
	uint64_t numbers[SNAPSHOTS_MAX];
	uint32_t total = 0;

	for (uint32_t i = 0; i < f->options->metadata_dir_count; i++) {
		struct fsck_dir *dir = &f->metadata[i];
		int count = dir->is_good ? ms_snapshot_list(dir->disk, numbers, SNAPSHOTS_MAX) : 0;

		if (i == 0 && dir->is_good && count <= 0) {
			fsck_fault(&f->report, FSCK_SNAPSHOT, dir->path, "%s",
				   count < 0 ? error_text(count) : "there is no snapshot");
			f->has_bad_snapshot = true;
		}
		for (int k = 0; k < count && total < SNAPSHOTS_MAX; k++)
			out[total++] = (struct snapshot_place){dir, numbers[k]};
	}
	if (total > 1)
		qsort(out, total, sizeof(*out), compare_places);
	return total;
}

/* Every snapshot is read to its end; the newest good one becomes the state. 1: there is one. */
static int check_snapshots(struct fsck *f, struct snapshot_header *h, struct error *err)
{
	struct snapshot_place places[SNAPSHOTS_MAX];
	uint32_t count = list_snapshots(f, places);
	int have = 0;

	for (uint32_t i = 0; i < count; i++) {
		struct snapshot_header one;
		char name[PATH_MAX + 64];
		int rc = have ? ms_snapshot_read(places[i].dir->disk, places[i].number, &one, NULL,
						 NULL)
			      : snapshot_into_state(f, &places[i], &one, err);

		if (err->code)
			return err->code;
		if (rc == 0 && memcmp(one.cluster, f->super.cluster, sizeof one.cluster) != 0)
			rc = -E_WRONG_CLUSTER;
		if (rc == 0 && !have)
			*h = one;
		have |= rc == 0;
		f->number_max = MAX_OF(f->number_max, places[i].number);
		f->term_max = MAX_OF(f->term_max, rc == 0 ? one.term : 0);
		(void)snprintf(name, sizeof name, "%s/snapshots/S-%016" PRIx64, places[i].dir->path,
			       places[i].number);
		if (rc < 0)
			fsck_fault(&f->report, FSCK_SNAPSHOT, name, "%s", error_text(rc));
		f->has_bad_snapshot |= rc < 0;
	}
	return have;
}

static int compare_view_here(struct fsck *f, struct ms_txn *txn)
{
	int rc = ms_txn_flush(txn);

	if (rc == 0)
		rc = rows_commit(f->state);
	if (rc == 0)
		fsck_view_compare_here(f);
	return rc;
}

static int replay_record(void *arg, const struct journal_header *h, const uint8_t *payload)
{
	struct load *l = arg;
	struct fsck *f = l->f;
	int rc;

	if (h->number != f->number + 1)
		return error_say(l->err, -E_BAD_MIDDLE,
				 "records %" PRIu64 " to %" PRIu64 " are missing", f->number + 1,
				 h->number - 1);
	rc = ms_txn_apply(l->txn, payload, h->payload_len);
	if (rc < 0)
		return error_set(l->err, rc, "cannot apply record %" PRIu64, h->number);
	f->number = h->number;
	f->term = h->term;
	fsck_progress(&f->report, "journal", ++l->all, l->records);
	return f->number == f->view_number ? compare_view_here(f, l->txn) : 0;
}

/* 1: the state is that of the journal's end; 0: it cannot be, which was told. */
static int replay(struct fsck *f, struct ms_journal *j, struct error *err)
{
	struct error why = {0};
	struct load l = {.f = f, .err = &why};
	const char *path = f->metadata[0].path;
	int rc;

	if (f->number > ms_journal_last(j) || f->number + 1 < ms_journal_first(j)) {
		fsck_fault(&f->report, FSCK_JOURNAL, path,
			   "holds records %" PRIu64 " to %" PRIu64
			   ", the snapshot ends at %" PRIu64,
			   ms_journal_first(j), ms_journal_last(j), f->number);
		return 0;
	}
	l.records = ms_journal_last(j) - f->number;
	rc = ms_txn_create(f->state, &l.txn);
	if (rc < 0)
		return error_set(err, rc, "cannot replay the journal");
	if (f->number == f->view_number && f->number > 0)
		rc = compare_view_here(f, l.txn);
	if (rc == 0)
		rc = ms_journal_replay(j, f->number, replay_record, &l, &why);
	if (rc < 0) {
		fsck_fault(&f->report, FSCK_JOURNAL, path, "%s", why.text);
	} else {
		rc = ms_txn_flush(l.txn);
		if (rc == 0)
			rc = rows_commit(f->state);
		if (rc < 0)
			(void)error_set(err, rc, "cannot write to '%s'", f->scratch);
	}
	ms_txn_destroy(l.txn);
	return err->code ? err->code : rc == 0;
}

/* What can be read of a state whose snapshot and journal do not come together. */
static int salvage(struct fsck *f, bool has_snapshot, const struct snapshot_header *h,
		   struct error *err)
{
	int rc = 0;

	if (!has_snapshot) {
		rc = rows_clear(f->state);
		if (rc == 0)
			rc = rows_commit(f->state);
	}
	if (rc < 0)
		return error_set(err, rc, "cannot write to '%s'", f->scratch);
	f->term = h->term;
	f->number = h->number;
	rc = fsck_salvage(f, has_snapshot, err);
	if (rc != 0)
		return rc < 0 ? rc : 0;
	rows_destroy(f->state);
	f->state = NULL;
	fsck_fault(&f->report, FSCK_ROW, f->metadata[0].path,
		   "the state cannot be read, so names, placement and content were not "
		   "checked; see mkfs.cairn --recover");
	return 0;
}

static int build_state(struct fsck *f, struct ms_journal *j, struct error *err)
{
	struct snapshot_header h = {.number = 0};
	int rc = check_snapshots(f, &h, err);
	bool has_snapshot = rc > 0;

	fsck_view_find(f);
	if (rc > 0 && j) {
		f->term = h.term;
		f->number = h.number;
		rc = replay(f, j, err);
	} else if (rc > 0) {
		rc = 0;
	}
	return rc == 0 ? salvage(f, has_snapshot, &h, err) : MIN_OF(rc, 0);
}

int fsck_metadata(struct fsck *f, struct error *err)
{
	struct ms_journal *j = NULL;
	char path[PATH_MAX + 16];
	int rc = 0;

	for (uint32_t i = 0; i < f->options->metadata_dir_count && rc == 0; i++) {
		f->metadata[i].path = f->options->metadata_dirs[i];
		rc = open_directory(f, &f->metadata[i], err);
	}
	if (rc < 0 || !f->has_super)
		return rc;
	for (uint32_t i = 0; i < f->options->metadata_dir_count; i++)
		if (f->metadata[i].is_good)
			check_journal_alone(f, &f->metadata[i]);
	compare_journals(f);
	(void)snprintf(path, sizeof path, "%s/state", f->scratch);
	rc = mkdir(path, 0700) < 0 ? error_from_errno(errno)
				   : rows_lmdb_create(path, FSCK_ROWS_BYTES_MAX, &f->state);
	if (rc < 0)
		return error_set(err, rc, "cannot use '%s'", path);
	rc = open_journal(f, &j, err);
	if (rc == 0)
		rc = build_state(f, j, err);
	ms_journal_close(j);
	return rc;
}
