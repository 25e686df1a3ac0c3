/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What fsck.cairn --repair does, in the order in which one thing needs the other: superblocks and
 * headers of segments; the state (fsck_mend.c), made the truth (fsck_truth.c); torn tails and views
 * that differ (a server builds them again); new footers, and blocks for the disks that lack them,
 * in a new segment, from a good copy. Every step may be interrupted and repeated. Records that are
 * wrong are not overwritten: they stay where they are, as dead weight.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chunk-server/scan.h"
#include "fs/hash/checksum.h"
#include "metadata-server/journal.h"
#include "tools/fsck_internal.h"

#define SEGMENT_BYTES	   MiB(256) /* of a segment of ours */
#define ENTRIES_MAX	   65536u
#define JOURNAL_FILE_BYTES MiB(64)

/* --- metadata --------------------------------------------------------------------------------- */

static int repair_journal(struct fsck *f, struct error *err)
{
	struct disk *disks[FSCK_METADATA_DIRS_MAX];
	struct ms_journal_options o = {.disks = disks, .file_bytes_max = JOURNAL_FILE_BYTES};
	struct ms_journal *j;
	int rc;

	if (!f->journal_is_torn || f->has_bad_journal)
		return 0;
	for (uint32_t i = 0; i < f->options->metadata_dir_count; i++)
		if (f->metadata[i].is_good)
			disks[o.disk_count++] = f->metadata[i].disk;
	memcpy(o.cluster, f->super.cluster, sizeof o.cluster);
	rc = loop_uv_create(1, &o.loop);
	if (rc < 0)
		return error_set(err, rc, "cannot start");
	rc = ms_journal_open(&o, &j, err);
	if (rc == 0) {
		ms_journal_close(j);
		fsck_corrected(&f->report, FSCK_JOURNAL, f->metadata[0].path,
			       "torn tail cut, all directories made equal");
	}
	loop_uv_destroy(o.loop);
	return rc;
}

static int repair_view(struct fsck *f, struct error *err)
{
	int rc;

	if (!f->has_bad_view)
		return 0;
	rc = disk_unlink(f->metadata[0].disk, "rows/view"); /* what has no note is discarded */
	if (rc < 0)
		return error_set(err, rc, "cannot remove '%s/rows/view'", f->metadata[0].path);
	fsck_corrected(&f->report, FSCK_VIEW, f->metadata[0].path,
		       "view dropped: the next start builds it again");
	return 0;
}

/*
 * Does no directory alone hold a journal that can be read to its end, or do they not come together?
 */
static bool all_journals_are_bad(const struct fsck *f)
{
	for (uint32_t i = 0; i < f->options->metadata_dir_count; i++)
		if (f->metadata[i].is_good && !f->metadata[i].has_bad_journal)
			return f->journals_differ;
	return true;
}

/* --- segments --------------------------------------------------------------------------------- */

struct writer {
	struct fsck *f;
	uint32_t disk;
	struct disk_file *file; /* NULL: no segment begun */
	uint64_t number, tail;
	struct segment_entry *entries; /* ENTRIES_MAX */
	uint32_t count;
};

static char *segment_name(uint64_t number, char out[64])
{
	(void)snprintf(out, 64, "segments/seg-%016" PRIx64, number);
	return out;
}

/* The footer behind the records, and nothing behind the footer; synced. */
static int seal(struct disk_file *file, uint64_t number, uint64_t tail,
		const struct segment_entry *entries, uint32_t count)
{
	uint32_t len = count * SEGMENT_ENTRY_BYTES;
	uint8_t *bytes = malloc(len + SEGMENT_TRAILER_BYTES);
	struct segment_trailer t = {.number = number, .entries_offset = tail, .entry_count = count};
	int rc;

	if (!bytes)
		return -E_NOMEM;
	for (uint32_t i = 0; i < count; i++)
		segment_entry_encode(&entries[i], bytes + i * SEGMENT_ENTRY_BYTES);
	t.entries_checksum = checksum_of(bytes, len);
	segment_trailer_encode(&t, bytes + len);
	rc = disk_write(file, bytes, len + SEGMENT_TRAILER_BYTES, tail);
	free(bytes);
	if (rc == 0)
		rc = disk_truncate(file, tail + len + SEGMENT_TRAILER_BYTES);
	return rc == 0 ? disk_sync(file) : rc;
}

static int rescan_read(void *arg, void *out, uint32_t len, uint64_t offset)
{
	struct writer *w = arg;

	return disk_read(w->file, out, len, offset);
}

static int rescan_record(void *arg, const struct segment_entry *e)
{
	struct writer *w = arg;

	if (w->count == ENTRIES_MAX)
		return -E_TOOBIG;
	w->entries[w->count++] = *e;
	return 0;
}

static int reseal(struct writer *w, const struct fsck_reseal *r)
{
	struct cs_scan scan = {.read = rescan_read, .on_record = rescan_record, .arg = w};
	char name[64];
	int rc = disk_open(w->f->disks[r->disk].disk, segment_name(r->segment, name), DISK_WRITE,
			   &w->file);

	if (rc < 0)
		return rc;
	w->count = 0;
	rc = disk_size(w->file, &scan.end);
	if (rc == 0)
		rc = cs_scan_run(&scan);
	if (rc == 0)
		rc = seal(w->file, r->segment, scan.tail, w->entries, w->count);
	disk_close(w->file);
	w->file = NULL;
	if (rc == 0) {
		w->f->disks[r->disk].is_mended = true;
		fsck_corrected(&w->f->report, FSCK_SEGMENT, w->f->disks[r->disk].path,
			       "new footer for '%s', %" PRIu32 " records", name, w->count);
	}
	return rc;
}

static int segment_end(struct writer *w)
{
	int rc;

	if (!w->file)
		return 0;
	rc = seal(w->file, w->number, w->tail, w->entries, w->count);
	disk_close(w->file);
	w->file = NULL;
	if (rc == 0)
		rc = disk_sync_dir(w->f->disks[w->disk].disk, "segments");
	if (rc == 0)
		fsck_corrected(&w->f->report, FSCK_COPIES, w->f->disks[w->disk].path,
			       "%" PRIu32 " blocks restored in segment %" PRIu64, w->count,
			       w->number);
	return rc;
}

static int segment_begin(struct writer *w, uint32_t disk)
{
	struct fsck_dir *dir = &w->f->disks[disk];
	struct segment_header h = {.number = dir->last_segment + 1};
	uint8_t bytes[SEGMENT_HEADER_BYTES];
	char name[64];
	int rc = 0;

	/* All but the last have a footer. */
	if (dir->last_is_open)
		rc = reseal(w, &(struct fsck_reseal){.disk = disk, .segment = dir->last_segment});
	else if (dir->last_is_empty)
		rc = disk_unlink(dir->disk, segment_name(dir->last_segment, name));
	if (rc < 0)
		return rc;
	dir->last_is_open = dir->last_is_empty = false;
	memcpy(h.cluster, dir->super.cluster, UUID_BYTES);
	memcpy(h.disk, dir->super.directory, UUID_BYTES);
	segment_header_encode(&h, bytes);
	rc = disk_open(dir->disk, segment_name(h.number, name),
		       DISK_WRITE | DISK_CREATE | DISK_EXCLUSIVE, &w->file);
	if (rc < 0)
		return rc;
	w->disk = disk;
	w->number = h.number;
	w->tail = SEGMENT_HEADER_BYTES;
	w->count = 0;
	dir->last_segment = h.number;
	dir->is_mended = true;
	return disk_write(w->file, bytes, sizeof bytes, 0);
}

static int restore(struct writer *w, uint32_t disk, const struct block_id *id)
{
	static const uint8_t zeros[RECORD_ALIGN];
	struct record record;
	uint32_t bytes, padding;
	int rc = fsck_index_read(w->f, id, &record, &bytes);

	if (rc < 0)
		return rc == -E_NO_BLOCK ? 0 : rc; /* no good copy: a fault of its own */
	if (w->file && (w->disk != disk || w->tail > SEGMENT_BYTES || w->count == ENTRIES_MAX))
		rc = segment_end(w);
	if (rc == 0 && !w->file)
		rc = segment_begin(w, disk);
	if (rc == 0)
		rc = disk_write(w->file, w->f->record, bytes, w->tail);
	padding = (RECORD_ALIGN - bytes % RECORD_ALIGN) % RECORD_ALIGN;
	if (rc == 0 && padding)
		rc = disk_write(w->file, zeros, padding, w->tail + bytes);
	if (rc < 0)
		return rc;
	w->entries[w->count++] = (struct segment_entry){.id = *id,
							.offset = w->tail,
							.length = bytes,
							.plain_len = record.plain_len,
							.codec = record.codec};
	w->tail += bytes + padding;
	return 0;
}

static int restore_all(struct writer *w)
{
	struct block_id id = {{0}};
	uint32_t disk = 0;
	int rc;

	while ((rc = fsck_index_next_wanted(w->f, &disk, &id)) == 0) {
		rc = restore(w, disk, &id);
		if (rc < 0)
			return rc;
		for (int i = BLOCK_ID_BYTES - 1; i >= 0 && ++id.bytes[i] == 0; i--)
			; /* the next id */
	}
	return rc == -E_NOENT ? segment_end(w) : rc;
}

static int index_drop(const struct fsck_dir *dir)
{
	int rc = disk_unlink(dir->disk, "index/view");

	return rc == -E_NOENT ? 0 : rc;
}

/* The index of a disk that we added to knows nothing of it: a server builds it again. */
static int drop_indexes(struct fsck *f)
{
	for (uint32_t i = 0; i < f->options->disk_count; i++) {
		int rc = f->disks[i].is_mended ? index_drop(&f->disks[i]) : 0;

		if (rc < 0)
			return rc;
		if (!f->disks[i].has_bad_index)
			continue;
		fsck_corrected(&f->report, FSCK_VIEW, f->disks[i].path,
			       "index dropped: the next start builds it again");
	}
	return 0;
}

/* A segment's header says nothing that its name and its folder do not. */
static int header_write(struct fsck_dir *dir, uint64_t segment)
{
	struct segment_header h = {.number = segment};
	uint8_t bytes[SEGMENT_HEADER_BYTES];
	struct disk_file *file;
	char name[64];
	int rc = disk_open(dir->disk, segment_name(segment, name), DISK_WRITE, &file);

	if (rc < 0)
		return rc;
	memcpy(h.cluster, dir->super.cluster, UUID_BYTES);
	memcpy(h.disk, dir->super.directory, UUID_BYTES);
	segment_header_encode(&h, bytes);
	rc = disk_write(file, bytes, sizeof bytes, 0);
	if (rc == 0)
		rc = disk_sync(file);
	disk_close(file);
	return rc;
}

static int segment_away(struct fsck_dir *dir, uint64_t segment)
{
	char name[64], to[64];
	int rc = disk_mkdir(dir->disk, FSCK_REPLACED_DIR);

	(void)snprintf(to, sizeof to, FSCK_REPLACED_DIR "/seg-%016" PRIx64, segment);
	if (rc == 0)
		rc = disk_rename(dir->disk, segment_name(segment, name), to);
	if (rc == 0)
		rc = disk_sync_dir(dir->disk, FSCK_REPLACED_DIR);
	return rc == 0 ? disk_sync_dir(dir->disk, "segments") : rc;
}

static int repair_headers(struct fsck *f, struct error *err)
{
	int rc = 0;

	for (uint32_t i = 0; i < f->rehead_count && rc == 0; i++) {
		const struct fsck_reseal *r = &f->reheads[i];
		struct fsck_dir *dir = &f->disks[r->disk];

		rc = r->is_foreign ? segment_away(dir, r->segment) : header_write(dir, r->segment);
		if (rc == 0)
			rc = index_drop(dir);
		if (rc == 0)
			fsck_corrected(&f->report, FSCK_SEGMENT, dir->path,
				       r->is_foreign ? "segment %" PRIu64
						       " moved to '" FSCK_REPLACED_DIR "'"
						     : "new header for segment %" PRIu64,
				       r->segment);
	}
	for (uint32_t i = 0; i < f->options->disk_count && rc == 0; i++) {
		if (!f->disks[i].has_no_segments)
			continue;
		rc = disk_mkdir(f->disks[i].disk, "segments");
		if (rc == 0)
			fsck_corrected(&f->report, FSCK_SEGMENT, f->disks[i].path,
				       "folder 'segments' made");
	}
	return rc < 0 ? error_set(err, rc, "cannot mend segments") : 0;
}

static int repair_segments(struct fsck *f, struct error *err)
{
	struct writer w = {.f = f, .entries = calloc(ENTRIES_MAX, sizeof *w.entries)};
	int rc = w.entries ? 0 : -E_NOMEM;

	for (uint32_t i = 0; i < f->reseal_count && rc == 0; i++)
		rc = reseal(&w, &f->reseals[i]);
	if (rc == 0)
		rc = restore_all(&w);
	disk_close(w.file);
	free(w.entries);
	if (rc == 0)
		rc = drop_indexes(f);
	if (rc < 0)
		return error_set(err, rc, "cannot repair segments");
	return 0;
}

/* The metadata's own: what needs a new truth, and what is only in the way. */
static int repair_metadata(struct fsck *f, struct error *err)
{
	bool is_known =
		f->state && (!f->has_bad_journal || f->is_salvaged || !all_journals_are_bad(f));
	int rc = 0;

	if (is_known) {
		rc = fsck_mend(f, err);
		if (rc == 0 && (f->rows_mended || f->has_bad_snapshot || f->has_bad_journal))
			return fsck_truth_write(f, err);
	}
	if (rc == 0)
		rc = repair_journal(f, err);
	return rc == 0 ? repair_view(f, err) : rc;
}

/* Each round mends what the next ones build on; what is left is looked at anew. */
int fsck_repair(struct fsck *f, struct error *err)
{
	uint64_t before = f->report.result->corrected_count;
	int rc = fsck_supers(f, err);

	if (rc == 0)
		rc = repair_headers(f, err);
	if (rc == 0 && f->report.result->corrected_count == before)
		rc = repair_metadata(f, err);
	if (rc == 0 && f->report.result->corrected_count == before)
		rc = repair_segments(f, err);
	return rc;
}
