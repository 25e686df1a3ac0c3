/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The truth made sound: superblocks that can be known are written again, and the state that was
 * salvaged or mended becomes the newest snapshot, with an empty journal behind it, in every
 * metadata directory.
 *
 * Where records are lost all numbers jump far ahead, as in mkfs.cairn --recover: epochs, inodes,
 * terms. Any step may be the last. Until the new journal file is there the old ones count, and the
 * next repair begins again; from then on they are behind it. They are kept in the folder
 * "replaced": nothing that was wrong is overwritten.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fs/base/bytes.h"
#include "metadata-server/journal_internal.h"
#include "metadata-server/rescue.h"
#include "metadata-server/snapshot.h"
#include "tools/fsck_internal.h"

#define SUPER_USED_BYTES 104u /* behind them, up to the checksum, all is zero (fs/disk/super.h) */
#define CHECKSUM_BYTES	 8u

/* --- superblocks --- */

/*
 * One damaged byte among those that mean something, any number among those that are zero: what fits
 * a checksum of 64 bits again is what was there.
 */
static int super_correct(uint8_t bytes[SUPER_BYTES], struct super *out)
{
	memset(bytes + SUPER_USED_BYTES, 0, SUPER_BYTES - CHECKSUM_BYTES - SUPER_USED_BYTES);
	if (super_decode(bytes, out) == 0)
		return 0;
	for (uint32_t at = 0; at < SUPER_BYTES; at++) {
		uint8_t was = bytes[at];

		if (at == SUPER_USED_BYTES)
			at = SUPER_BYTES - CHECKSUM_BYTES, was = bytes[at];
		for (uint32_t v = 0; v < 256; v++) {
			bytes[at] = (uint8_t)v;
			if (super_decode(bytes, out) == 0)
				return 0;
		}
		bytes[at] = was;
	}
	return -E_CORRUPT;
}

/* The directories of one format differ in their number only (metadata-server/format.c). */
static bool super_of_sibling(const struct fsck *f, uint32_t index, struct super *out)
{
	for (uint32_t i = 0; i < f->options->metadata_dir_count; i++) {
		if (!f->metadata[i].is_good)
			continue;
		*out = f->metadata[i].super;
		out->directory[15] = (uint8_t)(out->directory[15] + index - i);
		return true;
	}
	return false;
}

/* A whole snapshot of this directory carries all that a superblock says but its own UUID. */
static bool super_of_snapshot(const struct fsck *f, const struct fsck_dir *dir, struct super *out)
{
	uint64_t numbers[MS_SNAPSHOTS_KEPT + 64];
	struct snapshot_header h;
	int count = ms_snapshot_list(dir->disk, numbers, ARRAY_COUNT(numbers));

	for (int i = 0; i < count; i++) {
		if (ms_snapshot_read(dir->disk, numbers[i], &h, NULL, NULL) < 0 || h.copies == 0 ||
		    (f->has_super && memcmp(h.cluster, f->super.cluster, sizeof h.cluster) != 0))
			continue;
		*out = (struct super){ .role = SUPER_METADATA, .hash = (enum hash_kind)h.hash,
				       .copies = h.copies, .min_copies = h.min_copies,
				       .incompat = h.incompat, .name_key = h.name_key };
		memcpy(out->cluster, h.cluster, sizeof out->cluster);
		return getentropy(out->directory, sizeof out->directory) == 0;
	}
	return false;
}

struct first_header {
	struct disk *disk;
	struct segment_header header;
	bool is_known;
};

static void take_header(void *arg, const char *name)
{
	struct first_header *h = arg;
	uint8_t bytes[SEGMENT_HEADER_BYTES];
	struct disk_file *file;
	char path[PATH_MAX];

	(void)snprintf(path, sizeof path, "segments/%s", name);
	if (h->is_known || strncmp(name, "seg-", 4) != 0 ||
	    disk_open(h->disk, path, DISK_READ, &file) < 0)
		return;
	h->is_known = disk_read(file, bytes, sizeof bytes, 0) == (int)sizeof bytes &&
		      segment_header_decode(bytes, &h->header) == 0;
	disk_close(file);
}

/* The one server of the map of which no disk is here. */
static const struct server_row *server_without_disk(const struct fsck *f)
{
	const struct server_row *found = NULL;

	for (uint32_t i = 0; f->map && i < map_server_count(f->map); i++) {
		const struct server_row *row = map_server_at(f->map, i);
		bool has_disk = row->state == SERVER_REMOVED;

		for (uint32_t k = 0; k < f->options->disk_count; k++)
			has_disk |= f->disks[k].is_good && f->disks[k].server == row->server;
		if (!has_disk && found)
			return NULL;
		found = has_disk ? found : row;
	}
	return found;
}

/* A chunk disk's: its segments say which disk it is, the map which server lacks one. */
static bool super_of_disk(const struct fsck *f, const struct fsck_dir *dir, struct super *out)
{
	struct first_header h = { .disk = dir->disk };
	const struct server_row *server = server_without_disk(f);

	if (!f->has_super || !server || disk_list(dir->disk, "segments", take_header, &h) < 0 ||
	    !h.is_known || memcmp(h.header.cluster, f->super.cluster, UUID_BYTES) != 0)
		return false;
	*out = (struct super){ .role = SUPER_CHUNK, .hash = f->super.hash,
			       .copies = f->super.copies, .min_copies = f->super.min_copies,
			       .incompat = f->super.incompat, .compat = f->super.compat,
			       .ro_compat = f->super.ro_compat, .made_ns = f->super.made_ns };
	memcpy(out->cluster, f->super.cluster, UUID_BYTES);
	memcpy(out->directory, h.header.disk, UUID_BYTES);
	memcpy(out->server, server->uuid, UUID_BYTES);
	return true;
}

static int super_write(struct fsck *f, struct fsck_dir *dir, const struct super *super,
		       const char *how)
{
	uint8_t bytes[SUPER_BYTES];
	int rc;

	super_encode(super, bytes);
	rc = disk_replace_file(dir->disk, SUPER_FILE, bytes, sizeof bytes);
	if (rc == 0)
		fsck_corrected(&f->report, FSCK_SUPERBLOCK, dir->path,
			       "superblock written again, %s", how);
	return rc;
}

static int super_mend(struct fsck *f, struct fsck_dir *dir, bool is_metadata, uint32_t index)
{
	uint8_t bytes[SUPER_BYTES] = { 0 };
	struct super super;
	int rc = disk_read_file(dir->disk, SUPER_FILE, bytes, sizeof bytes);

	if (rc >= 0 && super_correct(bytes, &super) == 0 &&
	    super.role == (is_metadata ? SUPER_METADATA : SUPER_CHUNK) &&
	    (!f->has_super || memcmp(super.cluster, f->super.cluster, sizeof super.cluster) == 0))
		return super_write(f, dir, &super, "one byte corrected by its checksum");
	if (is_metadata && super_of_sibling(f, index, &super))
		return super_write(f, dir, &super, "from another metadata directory");
	if (is_metadata && super_of_snapshot(f, dir, &super))
		return super_write(f, dir, &super, "from a snapshot");
	if (!is_metadata && super_of_disk(f, dir, &super))
		return super_write(f, dir, &super, "from the map and its segments");
	return 0; /* the fault stays */
}

int fsck_supers(struct fsck *f, struct error *err)
{
	int rc = 0;

	for (uint32_t i = 0; i < f->options->metadata_dir_count && rc == 0; i++)
		if (f->metadata[i].has_bad_super)
			rc = super_mend(f, &f->metadata[i], true, i);
	for (uint32_t i = 0; i < f->options->disk_count && rc == 0; i++)
		if (f->disks[i].has_bad_super)
			rc = super_mend(f, &f->disks[i], false, i);
	return rc < 0 ? error_set(err, rc, "cannot write a superblock") : 0;
}

/* --- snapshot and journal --- */

/*
 * What a client was told of numbers that are gone, it learns by the new term
 * (metadata-server/session.c).
 */
static int state_begin_term(struct fsck *f, uint64_t term, uint64_t number)
{
	struct ms_key key = ms_key_number(MS_KEY_TERM, term);
	uint8_t value[8];
	struct wr w = wr_init(value, sizeof value);
	int rc;

	wr_u64(&w, number);
	rc = rows_put(f->state, key.bytes, key.len, value, sizeof value);
	return rc == 0 ? rows_commit(f->state) : rc;
}

static int snapshot_write(struct fsck *f, struct fsck_dir *dir, const struct snapshot_header *h)
{
	struct rows_snapshot *rows;
	uint64_t bytes;
	int rc = disk_mkdir(dir->disk, MS_SNAPSHOT_DIR);

	if (rc == 0)
		rc = rows_snapshot_open(f->state, &rows);
	if (rc < 0)
		return rc;
	rc = ms_snapshot_write(dir->disk, rows, h, UINT64_MAX, &bytes);
	rows_snapshot_close(rows);
	return rc == 0 ? ms_snapshot_publish(dir->disk, h) : rc;
}

static int snapshots_drop_bad(struct disk *disk)
{
	uint64_t numbers[MS_SNAPSHOTS_KEPT + 64];
	struct snapshot_header one;
	char name[MS_SNAPSHOT_NAME_BYTES];
	int count = ms_snapshot_list(disk, numbers, ARRAY_COUNT(numbers)), rc = 0;

	for (int i = 0; i < count && rc == 0; i++)
		if (ms_snapshot_read(disk, numbers[i], &one, NULL, NULL) < 0)
			rc = disk_unlink(disk, ms_snapshot_name(numbers[i], name));
	return count < 0 ? count : rc;
}

static int journal_begin(struct fsck *f, struct disk *disk, uint64_t term, uint64_t first)
{
	struct journal_file_header h = { .first_number = first, .term = term };
	uint8_t bytes[JOURNAL_FILE_HEADER_BYTES];
	char name[JOURNAL_NAME_BYTES];
	int rc = disk_mkdir(disk, JOURNAL_DIR);

	memcpy(h.cluster, f->super.cluster, sizeof h.cluster);
	journal_file_header_encode(&h, bytes);
	if (rc == 0)
		rc = disk_replace_file(disk, ms_journal_name(first, name), bytes, sizeof bytes);
	return rc == 0 ? disk_sync_dir(disk, JOURNAL_DIR) : rc;
}

/* All but the new one, oldest first, so that what is left ends where it did. */
static int journal_replace(struct disk *disk, uint64_t first)
{
	char name[JOURNAL_NAME_BYTES], to[JOURNAL_NAME_BYTES + sizeof FSCK_REPLACED_DIR];
	uint64_t *firsts;
	uint32_t count;
	int rc = disk_mkdir(disk, FSCK_REPLACED_DIR);

	if (rc == 0)
		rc = ms_journal_scan_list(disk, &firsts, &count);
	if (rc < 0)
		return rc;
	for (uint32_t i = 0; i < count && rc == 0; i++) {
		if (firsts[i] == first)
			continue;
		ms_journal_name(firsts[i], name);
		(void)snprintf(to, sizeof to, FSCK_REPLACED_DIR "/%s",
			       name + strlen(JOURNAL_DIR "/"));
		rc = disk_rename(disk, name, to);
	}
	free(firsts);
	if (rc == 0)
		rc = disk_sync_dir(disk, FSCK_REPLACED_DIR);
	return rc == 0 ? disk_sync_dir(disk, JOURNAL_DIR) : rc;
}

/* What has no note is discarded. */
static int view_drop(struct disk *disk)
{
	int rc = disk_unlink(disk, "rows/view");

	return rc == -E_NOENT || rc == -E_NOTDIR ? 0 : rc;
}

int fsck_truth_write(struct fsck *f, struct error *err)
{
	struct ms_rescue far = { .super = f->super, .term = f->term_max + 1 };
	struct snapshot_header h;
	struct timespec now;
	int rc;

	clock_gettime(CLOCK_REALTIME, &now);
	far.now_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	rc = f->has_holes ? ms_rescue_jump(f->state, &far, err) : 0;
	h = ms_snapshot_header(&f->super, far.term, f->number_max + 1);
	if (rc == 0)
		rc = state_begin_term(f, h.term, f->number_max);
	if (rc == 0)
		rc = view_drop(f->metadata[0].disk);
	for (uint32_t i = 0; i < f->options->metadata_dir_count && rc == 0; i++)
		if (f->metadata[i].is_good)
			rc = snapshot_write(f, &f->metadata[i], &h);
	for (uint32_t i = 0; i < f->options->metadata_dir_count && rc == 0; i++)
		if (f->metadata[i].is_good)
			rc = journal_begin(f, f->metadata[i].disk, h.term, h.number + 1);
	for (uint32_t i = 0; i < f->options->metadata_dir_count && rc == 0; i++) {
		struct disk *disk = f->metadata[i].disk;

		if (!f->metadata[i].is_good)
			continue;
		rc = journal_replace(disk, h.number + 1);
		if (rc == 0 && disk_unlink(disk, MS_JOURNAL_DROPPED) == 0) /* it is whole again */
			rc = disk_sync_dir(disk, "");
		if (rc == 0)
			rc = snapshots_drop_bad(disk);
	}
	if (rc < 0)
		return error_set(err, rc, "cannot write the mended state");
	fsck_corrected(&f->report, FSCK_JOURNAL, f->metadata[0].path,
		       "new snapshot at record %" PRIu64
		       ", the journal begins behind it; the old files are in '" FSCK_REPLACED_DIR
		       "'",
		       h.number);
	return 0;
}
