/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private to journal_*.c: the files of one journal directory, and what a scan found in them.
 */
#ifndef CAIRN_METADATA_SERVER_JOURNAL_INTERNAL_H
#define CAIRN_METADATA_SERVER_JOURNAL_INTERNAL_H

#include "metadata-server/journal.h"

#define JOURNAL_DIR		"journal"
#define JOURNAL_NAME_BYTES	MS_JOURNAL_NAME_BYTES
#define JOURNAL_PARTS_MAX	65536u		/* files; beyond, the newest one just grows */
#define JOURNAL_RESERVE		JOURNAL_DIR "/reserve"
#define JOURNAL_RESERVE_BYTES	MiB(4)		/* at most, and of the disk at most one part of */
#define JOURNAL_RESERVE_PART	16u
#define JOURNAL_READ_BYTES	(4 * JOURNAL_RECORD_BYTES_MAX)

/* One file: its first record's number and how many of its bytes are good. */
struct ms_journal_part {
	uint64_t first;
	uint64_t bytes;
	uint64_t term;			/* in which it was begun */
};

struct ms_journal_scan {
	struct ms_journal_part *parts;	/* by rising number, without gaps */
	uint32_t part_count;
	uint64_t last, last_term;	/* of the good records; 0, 0: none */
	uint64_t proved;		/* highest number that anything here calls durable */
	uint64_t bytes_after;		/* bytes behind the good end */
	uint64_t bad_first;		/* file and place of the first damage, if bytes_after */
	uint64_t bad_offset;
};

/* Names of a directory that are journal files, by rising first number; *firsts is malloc'ed. */
must_check int ms_journal_scan_list(struct disk *disk, uint64_t **firsts, uint32_t *count);
/* Read everything in one directory; only what the disk itself refuses is an error. */
must_check int ms_journal_scan(struct disk *disk, const uint8_t cluster[16],
			       struct ms_journal_scan *out, struct error *err);
void ms_journal_scan_finish(struct ms_journal_scan *s);

/* Where the records of file `first` that are proved durable end: those up to number `proved`. */
must_check int ms_journal_scan_proved(struct disk *disk, uint64_t first, uint64_t proved,
				      uint64_t *end);

/* Walks the records of one file. */
struct ms_journal_reader {
	struct disk_file *file;
	uint64_t offset;		/* of the next record */
	uint64_t end;			/* bytes of the file to look at */
	uint8_t *buffer;		/* JOURNAL_READ_BYTES */
	uint64_t buffer_offset;
	uint32_t buffer_len;
};
must_check int ms_journal_reader_init(struct ms_journal_reader *r, struct disk *disk,
				      uint64_t first);
must_check int ms_journal_reader_open(struct ms_journal_reader *r, struct disk *disk,
				      const char *name);
/* Read and check the file's header; offset is behind it then. -E_CORRUPT, -E_WRONG_CLUSTER. */
must_check int ms_journal_reader_header(struct ms_journal_reader *r, uint64_t first,
					const uint8_t cluster[16], struct journal_file_header *h);
void ms_journal_reader_finish(struct ms_journal_reader *r);
/* 1: a record, and offset is behind it; 0: exactly the end; else why there is none at offset. */
must_check int ms_journal_reader_next(struct ms_journal_reader *r, struct journal_header *h,
				      const uint8_t **payload);
/*
 * Go on behind damage: the next place where a whole record begins. 1, 0 at the end, or what the
 * disk says.
 */
must_check int ms_journal_reader_seek(struct ms_journal_reader *r);

struct ms_journal_copy {
	struct loop_work sync;		/* one worker each, so that slow disks do not add up */
	struct ms_journal *journal;
	struct disk *disk;
	struct disk_file *tail;		/* the newest file; NULL: none yet */
	struct disk_file *next;		/* the one that is being begun */
	bool has_reserve;
	uint32_t index;			/* in options.disks, for messages */
	bool is_good;
	/* MS_JOURNAL_DROPPED is in it: the others went on without it */
	bool is_marked;
	struct loop_work mark;
	int sync_rc;
};

struct ms_journal {
	struct ms_journal_options options;
	struct ms_journal_copy copies[MS_JOURNAL_DIRS_MAX];
	uint32_t copy_count;
	struct disk *source;		/* replay reads here */
	struct ms_journal_part *parts;
	uint32_t part_count, part_capacity;
	uint64_t bytes;			/* of all parts */
	uint64_t last, last_term, durable;
	/* of the newest file, those before it are durable as a whole */
	uint64_t durable_bytes;
	uint64_t sync_target;		/* what the running sync makes durable, and that in bytes */
	uint64_t sync_target_bytes;
	uint32_t syncs_running, marks_running;
	bool is_open;			/* ms_journal_open() is done: nothing blocks any more */
	/* bytes of the newest file: there was no room for another before */
	uint64_t rotate_after;
	bool sync_wanted, rotate_wanted, is_failed, is_closed;
	struct loop_timer timer;	/* JOURNAL_SYNC_MS_MAX after the first unsynced record */
	void (*on_durable)(void *arg, int rc);
	void *on_durable_arg;
};

/* Open the newest file of a good copy for appending. */
must_check int ms_journal_tail_open(struct ms_journal *j, struct ms_journal_copy *copy);
/* Take a copy out of service (I4). */
void ms_journal_copy_drop(struct ms_journal *j, struct ms_journal_copy *copy, int rc,
			  const char *what);

#endif
