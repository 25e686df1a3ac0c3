/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A metadata directory from the copies that chunk servers keep (copies.h), for mkfs.cairn
 * --recover.
 *
 * Load takes the newest good snapshot of a copy and applies the journal behind it as far as it goes
 * on without a gap, checking everything. Jump then makes the state one that nobody can confuse with
 * what the lost server said in its last seconds: term, map version, epochs and inode numbers are
 * far ahead of what it can have given out, sessions have ended, and every placement group is to be
 * healed. Write puts it into fresh directories.
 *
 * Synchronous; threads: one.
 */
#ifndef CAIRN_METADATA_SERVER_RESCUE_H
#define CAIRN_METADATA_SERVER_RESCUE_H

#include "fs/disk/super.h"
#include "fs/io/disk.h"
#include "fs/io/rows.h"

#define MS_RESCUE_DIR	"meta"
#define MS_RESCUE_FILES_MAX 1024u
#define MS_RESCUE_NAME_BYTES 64u

/* One file of a copy, by its name. */
struct ms_rescue_file {
	uint64_t term, number;		/* a journal: the number of its first record */
	uint64_t bytes;
	bool is_snapshot;
};
/* "TERM-NUMBER.snapshot" or "TERM-NUMBER.journal", in decimal; anything else is no such file. */
must_check bool ms_rescue_parse(const char *name, struct ms_rescue_file *out);
/* In order of term, then number; then by length: what a longer journal claims is newer. */
int ms_rescue_compare(const struct ms_rescue_file *a, const struct ms_rescue_file *b);

struct ms_rescue {
	/* of the new directories: the cluster's, made from the snapshot */
	struct super super;
	uint64_t snapshot_number;
	uint64_t term, number;		/* of the newest record, or the snapshot's */
	/* when that record was decided; 0: no record behind the snapshot */
	uint64_t wall_ns;
	/* there was more, damaged or behind a gap; `why` says what */
	uint64_t now_ns; /* for the jump: the wall clock; 0: not known */
	bool is_cut;
	char why[ERROR_TEXT_BYTES];
};

/*
 * From "meta/" of a disk into rows. -E_NOENT: there is no good snapshot; err says what was tried.
 */
must_check int ms_rescue_load(struct disk *disk, const uint8_t cluster[16], struct rows *rows,
			      struct ms_rescue *out, struct error *err);
/* Changes rows, and r->term to what the snapshot gets. */
must_check int ms_rescue_jump(struct rows *rows, struct ms_rescue *r, struct error *err);
/*
 * -E_NOT_EMPTY: one is formatted already. The superblock comes last: until then it may be done
 * again.
 */
must_check int ms_rescue_write(struct disk **disks, uint32_t disk_count, struct rows *rows,
			       const struct ms_rescue *r, struct error *err);

#endif
