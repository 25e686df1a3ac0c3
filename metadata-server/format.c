/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Formatting a metadata directory. Every step may be repeated, and the superblock comes last, so
 * what a crash interrupts is formatted again from the start.
 */
#include "metadata-server/format.h"

#include <string.h>

#include "fs/io/rows.h"
#include "metadata-server/snapshot.h"
#include "metadata-server/txn.h"

int ms_format_refuse(struct disk *disk, struct error *err)
{
	struct disk_file *file;
	int rc = disk_open(disk, SUPER_FILE, DISK_READ, &file);

	if (rc == -E_NOENT)
		return 0;
	if (rc < 0)
		return error_set(err, rc, "cannot look for '%s'", SUPER_FILE);
	disk_close(file);
	return error_say(err, -E_NOT_EMPTY, "it is formatted already");
}

/* The empty file system as rows, then as the first snapshot. */
static int write_first_snapshot(struct disk *disk, struct rows *rows,
				const struct ms_format_options *o)
{
	struct snapshot_header h = ms_snapshot_header(&o->super, 0, 0);
	struct rows_snapshot *snapshot;
	struct ms_txn *txn;
	uint64_t bytes;
	int rc = ms_txn_create(rows, &txn);

	if (rc < 0)
		return rc;
	ms_txn_event_begin(txn);
	rc = ms_state_format(&o->config, txn, o->wall_ns, o->root_uid, o->root_gid);
	if (rc >= 0)
		rc = ms_txn_flush(txn);
	if (rc >= 0)
		rc = rows_commit(rows);
	ms_txn_destroy(txn);
	if (rc >= 0)
		rc = rows_snapshot_open(rows, &snapshot);
	if (rc < 0)
		return rc;
	rc = ms_snapshot_write(disk, snapshot, &h, UINT64_MAX, &bytes);
	rows_snapshot_close(snapshot);
	return rc < 0 ? rc : ms_snapshot_publish(disk, &h);
}

static int format_snapshot(struct disk *disk, const struct ms_format_options *o, struct error *err)
{
	struct rows *rows;
	int rc = disk_mkdir(disk, MS_SNAPSHOT_DIR);

	if (rc < 0)
		return error_set(err, rc, "cannot make its folders");
	rc = rows_mem_create(&rows);
	if (rc >= 0) {
		rc = write_first_snapshot(disk, rows, o);
		rows_destroy(rows);
	}
	return rc < 0 ? error_set(err, rc, "cannot write the first snapshot") : 0;
}

static int format_one(struct disk *disk, uint32_t index, const struct ms_format_options *o,
		      struct error *err)
{
	uint8_t bytes[SUPER_BYTES];
	struct super super = o->super;
	int rc = disk_mkdir(disk, "journal");

	if (rc < 0)
		return error_set(err, rc, "cannot make 'journal'");
	rc = format_snapshot(disk, o, err);
	if (rc >= 0 && index == 0)
		rc = disk_mkdir(disk, "rows");
	if (rc < 0)
		return rc;
	super.role = SUPER_METADATA;
	super.directory[15] = (uint8_t)(super.directory[15] + index);
	super_encode(&super, bytes);
	rc = disk_replace_file(disk, SUPER_FILE, bytes, sizeof(bytes));
	return rc < 0 ? error_set(err, rc, "cannot write '%s'", SUPER_FILE) : 0;
}

int ms_format(struct disk **disks, uint32_t disk_count, const struct ms_format_options *options,
	      struct error *err)
{
	int rc = 0;

	for (uint32_t i = 0; i < disk_count && rc >= 0; i++)
		rc = ms_format_refuse(disks[i], err);
	for (uint32_t i = disk_count; i-- > 0 && rc >= 0;)	/* the metadata directory last */
		rc = format_one(disks[i], i, options, err);
	return rc;
}
