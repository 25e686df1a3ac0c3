/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshots: all rows in key order at one sequence, in "snapshots/S-<number>" (format: fs/disk/
 * journal_record.h). With the journal since, a snapshot is the truth (I3); LMDB's file never is.
 *
 * Written under a temporary name, synced, then published by a rename: a name that is there is
 * whole. The last two are kept, so that one bad snapshot falls back to the older and a longer
 * replay.
 *
 * The row MS_APPLIED_KEY holds the sequence up to which the rows have come. It belongs to the view,
 * not to the state: snapshots carry it in their header and leave the row out.
 *
 * Synchronous: call write and publish on a worker thread.
 */
#ifndef CAIRN_METADATA_SERVER_SNAPSHOT_H
#define CAIRN_METADATA_SERVER_SNAPSHOT_H

#include "fs/disk/journal_record.h"
#include "fs/disk/super.h"
#include "fs/io/disk.h"
#include "fs/io/rows.h"

#define MS_APPLIED_KEY		"\0applied"
#define MS_APPLIED_KEY_BYTES	8u
#define MS_SNAPSHOT_DIR		"snapshots"
#define MS_SNAPSHOTS_KEPT	2u

/* The sequence that the rows are at. -E_NOENT: not a view of anything; -E_MALFORMED. */
must_check int ms_snapshot_applied(struct rows *rows, uint64_t *term, uint64_t *number);
must_check int ms_snapshot_set_applied(struct rows *rows, uint64_t term, uint64_t number);

/* The header of a snapshot of this cluster. */
struct snapshot_header ms_snapshot_header(const struct super *super, uint64_t term,
					  uint64_t number);

/*
 * Write the rows under a temporary name and sync it. -E_NOSPC also if it would be longer than
 * bytes_max.
 */
must_check int ms_snapshot_write(struct disk *disk, struct rows_snapshot *rows,
				 const struct snapshot_header *h, uint64_t bytes_max,
				 uint64_t *bytes);
/* The same from the one that lies, written, in another directory. */
must_check int ms_snapshot_copy(struct disk *from, struct disk *to);
/* Give it its name, durably, and drop all but the newest MS_SNAPSHOTS_KEPT. */
must_check int ms_snapshot_publish(struct disk *disk, const struct snapshot_header *h);

/*
 * Give `to` the newest snapshots of `from` that it lacks, and drop what is beyond number `last`: a
 * directory that was away is brought up again.
 */
must_check int ms_snapshot_bring_up(struct disk *from, struct disk *to, uint64_t last);

/* Remove all but the newest `kept`. What cannot be removed is logged. */
void ms_snapshot_drop(struct disk *disk, uint32_t kept);

/* Numbers of the snapshots that are there, newest first; returns how many, at most `capacity`. */
must_check int ms_snapshot_list(struct disk *disk, uint64_t *numbers, uint32_t capacity);

#define MS_SNAPSHOT_NAME_BYTES	40u
char *ms_snapshot_name(uint64_t number, char out[MS_SNAPSHOT_NAME_BYTES]);

struct ms_snapshot_info {
	uint64_t term, number;
	uint64_t bytes;			/* of the file; 0: there is none */
};
/* From its header and size, without reading it. */
must_check int ms_snapshot_info(struct disk *disk, uint64_t number, struct ms_snapshot_info *out);

/* fn gets each row in order; a negative return stops with that code. May be NULL: verify only. */
typedef int (*ms_snapshot_row_fn)(void *arg, const struct row *row);
/*
 * Read one, checking everything: -E_NOENT, -E_CORRUPT, -E_MALFORMED, -E_BAD_MAGIC. fn may have run.
 */
must_check int ms_snapshot_read(struct disk *disk, uint64_t number, struct snapshot_header *out,
				ms_snapshot_row_fn fn, void *arg);

/* The same by the name of the file: whatever number it has. */
must_check int ms_snapshot_read_file(struct disk *disk, const char *name,
				     struct snapshot_header *out, ms_snapshot_row_fn fn, void *arg);
/* Replace all rows by this one, commit, and set the applied row. */
must_check int ms_snapshot_load_file(struct disk *disk, const char *name, const uint8_t cluster[16],
				     struct rows *rows, struct snapshot_header *out);

/*
 * Replace all rows by the newest snapshot that is good, commit, and set the applied row to its
 * sequence. -E_NOENT: there is none; else as ms_snapshot_read() of the last one tried. err says
 * more.
 */
must_check int ms_snapshot_load(struct disk *disk, const uint8_t cluster[16], struct rows *rows,
				struct snapshot_header *out, struct error *err);

#endif
