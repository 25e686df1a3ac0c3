/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The journal: makes decided events durable, in order (I3, I4). An interface; journal_file.c keeps
 * it in files of every directory of journal.dirs ("journal/J-<first number>"), later etcd.
 *
 * append() writes (not synced) to every directory; a group-committed sync runs on a worker whenever
 * something waits, and at least every JOURNAL_SYNC_MS_MAX. A directory that fails to write or sync
 * is dropped (I4), logged and counted; with none left the journal is failed and every call says so.
 * A dropped one is marked, if it still takes that (MS_JOURNAL_DROPPED): the others went on without
 * it, so alone it is not believed. Opening finds the end: a torn tail is cut, a bad middle is
 * -E_BAD_MIDDLE with a message (the lag of fs/disk/journal_record.h tells them apart). With several
 * directories the longest good one wins and the others are made equal to it. A file is synced
 * before the next is begun. What was read at opening but is not proved to be on the disk, by a
 * later record that calls it durable, is written again and synced before it is believed: after a
 * failed sync the page cache tells what the disk does not have (I4).
 *
 * Threads: the loop's.
 */
#ifndef CAIRN_METADATA_SERVER_JOURNAL_H
#define CAIRN_METADATA_SERVER_JOURNAL_H

#include "fs/disk/journal_record.h"
#include "fs/io/disk.h"

#define MS_JOURNAL_DIRS_MAX 8u
/* file; removed by whoever has made the directory whole again */
#define MS_JOURNAL_DROPPED  "dropped"

struct ms_journal;

struct ms_journal_options {
	struct loop *loop;
	struct disk **disks;		/* one per directory; owned by the caller */
	uint32_t disk_count;
	uint8_t cluster[16];
	uint64_t file_bytes_max;	/* start a new file after this many bytes */
	/* replay only (fsck): nothing is cut, repaired or synced; no loop */
	bool read_only;
};

/* fn gets each record after `after`, in order; a negative return stops replay with that code. */
typedef int (*ms_journal_replay_fn)(void *arg, const struct journal_header *h,
				    const uint8_t *payload);

/*
 * -E_WRONG_CLUSTER, -E_BAD_MIDDLE, or what the disks say, if none can be read. A directory that
 * cannot be read is done without if another can, and was not dropped before.
 */
must_check int ms_journal_open(const struct ms_journal_options *options, struct ms_journal **out,
			       struct error *err);
/* syncs first, memory goes when the last worker is back */
void ms_journal_close(struct ms_journal *j);
must_check int ms_journal_replay(struct ms_journal *j, uint64_t after, ms_journal_replay_fn fn,
				 void *arg, struct error *err);
uint64_t ms_journal_last(const struct ms_journal *j);	/* newest number; 0: empty */
uint64_t ms_journal_last_term(const struct ms_journal *j);
uint64_t ms_journal_first(const struct ms_journal *j);	/* oldest number still held */
uint64_t ms_journal_bytes(const struct ms_journal *j);
uint32_t ms_journal_copies(const struct ms_journal *j);	/* directories in good health */

/*
 * Whole records, numbered last + 1 ...; written to every directory before it returns. -E_IO: none
 * is left.
 */
must_check int ms_journal_append(struct ms_journal *j, const uint8_t *records, uint32_t len,
				 uint64_t last_number, uint64_t last_term);
uint64_t ms_journal_durable(const struct ms_journal *j);
/* Sync soon; on_durable is called on the loop whenever a sync ended, or with rc < 0 once failed. */
void ms_journal_sync(struct ms_journal *j);
/*
 * The same here and now, holding the caller up: at start and end only. No other sync may be
 * running.
 */
must_check int ms_journal_sync_now(struct ms_journal *j);
void ms_journal_watch(struct ms_journal *j, void (*on_durable)(void *arg, int rc), void *arg);
/* Records up to `number` are in a snapshot: files that hold only such may go. */
void ms_journal_trim(struct ms_journal *j, uint64_t number);
/* begin a file after the next sync: this one can be trimmed */
void ms_journal_rotate(struct ms_journal *j);
/*
 * Each term begins a file of its own, so that a file which was copied elsewhere never differs from
 * ours but in length. All must be durable.
 */
must_check int ms_journal_begin_term(struct ms_journal *j, uint64_t term);

/*
 * Room set aside in every directory ("journal/reserve"), where there is plenty: when a disk is
 * filled to the last block by whomever, an append takes it and succeeds, so that deleting goes on.
 * Call it now and then: it sets aside again.
 */
void ms_journal_reserve(struct ms_journal *j);
bool ms_journal_has_reserve(const struct ms_journal *j, const struct disk *disk);
void ms_journal_reserve_take(struct ms_journal *j);	/* something else needs it, more urgently */

/*
 * One file of the journal, for those who copy it: its first `bytes` are durable and stay as they
 * are.
 */
struct ms_journal_part_view {
	uint64_t first;			/* number of its first record */
	uint64_t term;			/* in which it was begun */
	uint64_t bytes;
	/* first record of the file behind it; 0: the last, it may grow */
	uint64_t next;
};
/* The file that holds record `number`, or will; false: it was trimmed, or there is no file yet. */
bool ms_journal_part(const struct ms_journal *j, uint64_t number, struct ms_journal_part_view *out);
/*
 * Directories in good health, in order: the journal and its snapshots lie in each. Returns how
 * many.
 */
uint32_t ms_journal_disks(const struct ms_journal *j, struct disk *out[MS_JOURNAL_DIRS_MAX]);
/* One of them refused something else (a snapshot): it is out of service (I4). */
void ms_journal_drop(struct ms_journal *j, const struct disk *disk, int rc, const char *what);
#define MS_JOURNAL_NAME_BYTES	32u
char *ms_journal_name(uint64_t first, char out[MS_JOURNAL_NAME_BYTES]);
uint32_t ms_journal_parts(const struct ms_journal *j);	/* files */

#endif
