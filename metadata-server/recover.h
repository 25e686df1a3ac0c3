/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Start-up of a metadata directory: lock it, check its superblock, open the journal, bring the rows
 * to the journal's end.
 *
 * The rows are a discardable view (I15). fs/io/view.h has emptied them unless they were closed
 * cleanly or written under this boot of the system; here they are kept only if the journal goes on
 * where they stand. Else they are cleared, loaded from the newest good snapshot, and everything
 * after it is replayed. Replay applies, it never decides (I3).
 *
 * A metadata directory holds: super, lock, journal/, snapshots/. Further journal directories hold
 * the same, so any of them is enough; rows/ (LMDB and its view file) lies beside the first that can
 * be used. One that was away, or is empty, is brought up again here; one that refuses is done
 * without, and told of.
 */
#ifndef CAIRN_METADATA_SERVER_RECOVER_H
#define CAIRN_METADATA_SERVER_RECOVER_H

#include "fs/disk/super.h"
#include "metadata-server/journal.h"
#include "metadata-server/txn.h"

struct ms_recover_options {
	struct loop *loop;
	/* [0] the metadata directory, then further journal directories */
	struct disk **disks;
	uint32_t disk_count;
	struct rows *rows;
	uint64_t journal_file_bytes_max;
	bool is_locked;			/* the caller did ms_recover_lock() */
};

struct ms_recovery {
	struct super super;
	struct ms_journal *journal;
	struct disk *disk;		/* of the directory whose snapshots count */
	struct ms_txn *txn;		/* over the rows; nothing in it */
	uint64_t term, number;		/* newest applied; the journal's last */
	uint64_t snapshot_number;	/* of the newest snapshot */
	uint64_t replayed;		/* records */
	bool rebuilt;			/* the rows were not kept */
};

/* -E_BUSY: another process has it; -E_NOENT: not formatted; and what journal and snapshot say. */
must_check int ms_recover(const struct ms_recover_options *options, struct ms_recovery *out,
			  struct error *err);
/* Close journal (it syncs) and txn; zeroed is allowed. */
void ms_recover_close(struct ms_recovery *r);

/*
 * Superblocks and locks of all directories, before anything in them is touched (the rows' view is
 * one such thing). *super is that of the first that has one. A lock that is held is waited for up
 * to wait_ms, asleep: a killed process may take a moment to be gone. A directory that cannot be
 * read or locked, or has no superblock, is an error only if no other can.
 */
must_check int ms_recover_lock(struct disk **disks, uint32_t disk_count, uint32_t wait_ms,
			       struct super *super, struct error *err);
/* Read and check the superblock of a metadata directory. */
must_check int ms_recover_super(struct disk *disk, struct super *out, struct error *err);

#endif
