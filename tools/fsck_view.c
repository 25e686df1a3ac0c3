/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The views that servers would keep (I15) against the truth: the metadata server's rows against
 * snapshot and journal, a chunk server's index against its segments.
 *
 * Compared in child processes, which open the scratch tables for themselves: no LMDB environment
 * crosses a fork.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "chunk-server/store.h"
#include "fs/base/bytes.h"
#include "fs/io/view.h"
#include "metadata-server/snapshot.h"
#include "tools/fsck_internal.h"

enum comparison { SAME, DIFFERS, BEHIND, AHEAD, UNREADABLE, FAILED };

typedef enum comparison (*compare_fn)(const struct fsck *f, uint32_t disk, const char *view_dir);

/* Both in key order; the view's own row is left out. */
static enum comparison compare_rows(struct rows_snapshot *truth, struct rows_snapshot *view)
{
	struct row a, b;

	for (;;) {
		int rc_a = rows_snapshot_next(truth, &a), rc_b = rows_snapshot_next(view, &b);

		if (rc_b == 1 && b.key_len == MS_APPLIED_KEY_BYTES &&
		    memcmp(b.key, MS_APPLIED_KEY, b.key_len) == 0)
			rc_b = rows_snapshot_next(view, &b);
		if (rc_a < 0 || rc_b < 0)
			return rc_a < 0 ? FAILED : UNREADABLE;
		if (rc_a != rc_b)
			return DIFFERS;
		if (rc_a == 0)
			return SAME;
		if (a.key_len != b.key_len || a.value_len != b.value_len ||
		    memcmp(a.key, b.key, a.key_len) != 0 ||
		    memcmp(a.value, b.value, a.value_len) != 0)
			return DIFFERS;
	}
}

static enum comparison compare_state(const struct fsck *f, uint32_t disk, const char *view_dir)
{
	char state_dir[PATH_MAX + 16];
	struct rows *truth, *view;
	struct rows_snapshot *a, *b;
	uint64_t term, number;

	(void)disk;
	(void)snprintf(state_dir, sizeof state_dir, "%s/state", f->scratch);

	if (rows_lmdb_create(view_dir, MiB(1), &view) < 0 ||
	    ms_snapshot_applied(view, &term, &number) < 0)
		return UNREADABLE;
	if (number != f->number)
		return number < f->number ? BEHIND : AHEAD;
	if (rows_lmdb_create(state_dir, FSCK_ROWS_BYTES_MAX, &truth) < 0 ||
	    rows_snapshot_open(truth, &a) < 0)
		return FAILED;
	return rows_snapshot_open(view, &b) < 0 ? UNREADABLE : compare_rows(a, b);
}

/* What a child tells of a row of an index: its block, and where the index says it is. */
#define TOLD_BYTES (BLOCK_ID_BYTES + 16u)

static int take_told(struct fsck *f, uint32_t disk, int fd)
{
	FILE *in = fdopen(fd, "r");
	uint8_t told[TOLD_BYTES];
	int rc = in ? 0 : -E_NOMEM;

	if (!in)
		close(fd);
	while (rc == 0 && fread(told, 1, sizeof told, in) == sizeof told) {
		struct rd r = rd_init(told, sizeof told);
		struct fsck_copy c = {.disk = disk};

		rd_bytes(&r, c.id.bytes, sizeof c.id.bytes);
		c.segment = rd_u64(&r);
		c.offset = rd_u64(&r);
		f->disks[disk].indexed_segment = MAX_OF(f->disks[disk].indexed_segment, c.segment);
		rc = fsck_index_known(f, &c);
	}
	if (in)
		fclose(in);
	return rc;
}

/*
 * In a process of its own: LMDB trusts its file, and a damaged one may take us with it. `told`:
 * what the child writes to its output is taken down as rows of the index of this disk.
 */
static enum comparison apart(struct fsck *f, compare_fn compare, uint32_t disk,
			     const char *view_dir, bool told)
{
	int status, pipes[2], rc = 0;
	pid_t pid;

	fflush(NULL);
	if (pipe2(pipes, O_CLOEXEC) < 0)
		return FAILED;
	pid = fork();
	if (pid == 0) {
		close(pipes[0]);
		f->told = fdopen(pipes[1], "w");
		status = f->told ? (int)compare(f, disk, view_dir) : FAILED;
		_exit(f->told && fclose(f->told) == 0 ? status : FAILED);
	}
	close(pipes[1]);
	if (pid > 0 && told)
		rc = take_told(f, disk, pipes[0]);
	else
		close(pipes[0]);
	if (pid < 0)
		return FAILED;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return FAILED;
	if (rc < 0)
		return FAILED;
	return WIFEXITED(status) ? (enum comparison)WEXITSTATUS(status) : UNREADABLE;
}

/* --- a view that has seen more than the journal ----------------------------------------------- */

/* The view's rows as a snapshot in the scratch folder. */
static enum comparison export_state(const struct fsck *f, uint32_t index, const char *view_dir)
{
	struct snapshot_header h = {.number = 0};
	struct rows_snapshot *s;
	struct rows *view;
	struct disk *disk;
	uint64_t bytes;

	(void)index;
	memcpy(h.cluster, f->super.cluster, sizeof h.cluster);
	if (rows_lmdb_create(view_dir, MiB(1), &view) < 0 ||
	    ms_snapshot_applied(view, &h.term, &h.number) < 0 || rows_snapshot_open(view, &s) < 0)
		return UNREADABLE;
	if (disk_posix_create(f->scratch, &disk) < 0 || disk_mkdir(disk, MS_SNAPSHOT_DIR) < 0 ||
	    ms_snapshot_write(disk, s, &h, UINT64_MAX, &bytes) < 0 ||
	    ms_snapshot_publish(disk, &h) < 0)
		return UNREADABLE;
	return SAME;
}

static int take_exported(void *arg, const struct row *row)
{
	struct fsck *f = arg;

	return rows_put(f->state, row->key, row->key_len, row->value, row->value_len);
}

/*
 * What the journal lost, the view may still have: it becomes the state, and is checked like any
 * other.
 */
static int adopt_view(struct fsck *f, const char *view_dir, struct error *err)
{
	struct snapshot_header h;
	struct disk *disk;
	uint64_t number;
	int rc;

	if (apart(f, export_state, 0, view_dir, false) != SAME)
		return 0; /* the fault stays */
	rc = disk_posix_create(f->scratch, &disk);
	if (rc < 0)
		return error_set(err, rc, "cannot use '%s'", f->scratch);
	rc = rows_clear(f->state);
	if (rc == 0 && ms_snapshot_list(disk, &number, 1) == 1)
		rc = ms_snapshot_read(disk, number, &h, take_exported, f);
	if (rc == 0)
		rc = rows_commit(f->state);
	disk_destroy(disk);
	if (rc < 0)
		return error_set(err, rc, "cannot take over '%s'", view_dir);
	f->term = h.term;
	f->number = h.number;
	f->term_max = MAX_OF(f->term_max, h.term);
	f->number_max = MAX_OF(f->number_max, h.number);
	f->has_bad_journal = f->journals_differ = f->is_salvaged = true;
	return 0;
}

/* --- a view that is behind the journal, as a crash leaves it ---------------------------------- */

/* Where it stands, by way of a file. */
static enum comparison export_position(const struct fsck *f, uint32_t index, const char *view_dir)
{
	uint64_t term, number;
	struct rows *view;
	struct disk *disk;

	(void)index;
	if (rows_lmdb_create(view_dir, MiB(1), &view) < 0 ||
	    ms_snapshot_applied(view, &term, &number) < 0)
		return UNREADABLE;
	if (disk_posix_create(f->scratch, &disk) < 0 ||
	    disk_replace_file(disk, "applied", &number, sizeof number) < 0)
		return FAILED;
	return SAME;
}

void fsck_view_find(struct fsck *f)
{
	char view_dir[PATH_MAX + 16];
	struct view_state view;
	struct disk *disk;

	(void)snprintf(view_dir, sizeof view_dir, "%s/rows", f->metadata[0].path);
	if (view_peek(view_dir, &view) < 0 || !view.is_trusted || view.was_closed ||
	    apart(f, export_position, 0, view_dir, false) != SAME ||
	    disk_posix_create(f->scratch, &disk) < 0)
		return;
	if (disk_read_file(disk, "applied", &f->view_number, sizeof f->view_number) !=
	    (int)sizeof f->view_number)
		f->view_number = 0;
	disk_destroy(disk);
}

void fsck_view_compare_here(struct fsck *f)
{
	char view_dir[PATH_MAX + 16];

	(void)snprintf(view_dir, sizeof view_dir, "%s/rows", f->metadata[0].path);
	f->view_was_compared = true;
	f->view_differs = apart(f, compare_state, 0, view_dir, false) != SAME;
}

/* --- of the metadata -------------------------------------------------------------------------- */

int fsck_view(struct fsck *f, struct error *err)
{
	char view_dir[PATH_MAX + 16];
	struct view_state view;
	int rc;

	if (!f->state)
		return 0;
	(void)snprintf(view_dir, sizeof view_dir, "%s/rows", f->metadata[0].path);
	rc = view_peek(view_dir, &view);
	if (rc == -E_NOENT || (rc == 0 && !view.is_trusted)) {
		fsck_note(&f->report, view_dir,
			  "not a view that a server would keep: it will be built again");
		return 0;
	}
	if (rc < 0)
		return error_set(err, rc, "cannot look at '%s'", view_dir);
	switch (apart(f, compare_state, 0, view_dir, false)) {
	case SAME:
		return 0;
	case BEHIND:
		if (!view.was_closed && !f->view_was_compared)
			fsck_note(&f->report, view_dir, "is older than the snapshot; not compared");
		if (view.was_closed || f->view_differs)
			fsck_fault(&f->report, FSCK_VIEW, view_dir,
				   view.was_closed ? "was closed cleanly, but is behind the journal"
						   : "differs from snapshot and journal up to "
						     "where it stands");
		f->has_bad_view = view.was_closed || f->view_differs;
		return 0;
	case AHEAD:
		fsck_fault(&f->report, FSCK_JOURNAL, f->metadata[0].path,
			   "ends at record %" PRIu64 ", but the view in '%s' has seen later ones: "
			   "the end of the journal is lost; checked is the view",
			   f->number, view_dir);
		return adopt_view(f, view_dir, err);
	case DIFFERS:
		fsck_fault(&f->report, FSCK_VIEW, view_dir, "differs from snapshot and journal");
		f->has_bad_view = true;
		return 0;
	case UNREADABLE:
		fsck_fault(&f->report, FSCK_VIEW, view_dir, "cannot be read");
		f->has_bad_view = true;
		return 0;
	case FAILED:
		break;
	}
	return error_set(err, -E_IO, "cannot compare '%s'", view_dir);
}

/* --- of chunk servers ------------------------------------------------------------------------- */

static void tell_row(FILE *out, const struct fsck_copy *c)
{
	uint8_t told[TOLD_BYTES];
	struct wr w = wr_init(told, sizeof told);

	wr_bytes(&w, c->id.bytes, sizeof c->id.bytes);
	wr_u64(&w, c->segment);
	wr_u64(&w, c->offset);
	ASSERT(wr_ok(&w));
	(void)fwrite(told, 1, sizeof told, out); /* fclose() tells */
}

/* 1: a block's row, and its record is there; 0: another row; -E_MALFORMED, -E_NOENT. */
static int compare_block(const struct row *row, struct rows *truth, uint32_t disk, uint64_t *length,
			 FILE *told)
{
	struct fsck_copy copy = {.disk = disk};
	struct cs_place place;
	int rc = cs_store_index_read(row, &copy.id, &place);

	if (rc <= 0)
		return rc;
	copy.segment = place.segment;
	copy.offset = place.offset;
	tell_row(told, &copy);
	*length = DIV_CEIL((uint64_t)place.length, RECORD_ALIGN) * RECORD_ALIGN;
	rc = fsck_index_find(truth, &copy);
	return rc < 0 ? rc : 1;
}

/*
 * Every row names a record that is there, and the rows of segments agree with the rows of blocks on
 * what lives. (A record without a row is what garbage collection leaves for compaction.)
 */
static enum comparison compare_index(const struct fsck *f, uint32_t disk, const char *view_dir)
{
	char index_dir[PATH_MAX + 16];
	struct rows *truth, *view;
	struct rows_snapshot *s;
	uint64_t found = 0, live = 0;
	struct row row;
	int rc;

	(void)snprintf(index_dir, sizeof index_dir, "%s/index", f->scratch);
	if (rows_lmdb_create(view_dir, MiB(1), &view) < 0 || rows_snapshot_open(view, &s) < 0)
		return UNREADABLE;
	if (rows_lmdb_create(index_dir, FSCK_ROWS_BYTES_MAX, &truth) < 0)
		return FAILED;
	while ((rc = rows_snapshot_next(s, &row)) == 1) {
		struct cs_store_segment_row segment;
		uint64_t length = 0;

		rc = compare_block(&row, truth, disk, &length, f->told);
		if (rc < 0)
			return DIFFERS;
		found += length;
		rc = cs_store_index_read_segment(&row, &segment);
		if (rc < 0)
			return DIFFERS;
		live += rc == 1 ? segment.live : 0;
	}
	if (rc < 0)
		return UNREADABLE;
	return found == live ? SAME : DIFFERS;
}

int fsck_view_indexes(struct fsck *f, struct error *err)
{
	int rc = rows_commit(f->index);

	if (rc < 0)
		return error_set(err, rc, "cannot write to '%s'", f->scratch);
	for (uint32_t i = 0; i < f->options->disk_count; i++) {
		char view_dir[PATH_MAX + 16];
		struct view_state view;
		enum comparison c;

		(void)snprintf(view_dir, sizeof view_dir, "%s/index", f->disks[i].path);
		if (!f->disks[i].is_good || view_peek(view_dir, &view) < 0 || !view.is_trusted)
			continue;
		c = apart(f, compare_index, i, view_dir, true);
		if (c == FAILED)
			return error_set(err, -E_IO, "cannot compare '%s'", view_dir);
		/*
		 * After a crash a server reads the tail again: only a clean one claims to be
		 * complete.
		 */
		f->disks[i].has_index = c == SAME;
		if (view.was_closed)
			f->disks[i].indexed_segment = UINT64_MAX;
		if (c == SAME)
			continue;
		fsck_fault(
			&f->report, FSCK_VIEW, view_dir,
			c == UNREADABLE
				? "cannot be read"
				: "differs from the segments: blocks that are there are not found");
		f->disks[i].is_mended = f->disks[i].has_bad_index = true;
	}
	return 0;
}
