/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the store share. Private to store_*.c.
 *
 * One thing at a time changes the active segment: a gather-write, or a roll to the next segment.
 * A sync may run beside a write (what it covers was fixed when it started), never beside a roll,
 * which syncs as well. cs_store_pump() starts whatever may start.
 *
 * Index rows:
 *   'b' id                a block: segment u32 · offset / 8 u32 · length u32 (low 24 bits) with the
 *                         codec in the high 8, of which the top bit says that no stronger
 *                         encoding makes it smaller · plain bytes - 1 u16 · touched u64 · in trash
 *                         only: since when, ms of wall clock u64
 *   'g' segment be32      a segment: bytes of its records that the index covers u64 · of those,
 *                         bytes that 'b' rows lead to u64 (records padded, both)
 *   's'                   version u32 · blocks u64 · bytes stored u64 · bytes plain u64 · blocks in
 *                         trash u64 · bytes in trash u64 · bytes stored of each codec 8 x u64 ·
 *                         uuid of the disk 16
 * A commit holds all three, so they agree. A segment without a row, or with more records than its
 * row covers, is indexed at the next start; one with fewer means that the index is wrong (I15).
 */
#ifndef CAIRN_CHUNK_SERVER_STORE_INTERNAL_H
#define CAIRN_CHUNK_SERVER_STORE_INTERNAL_H

#include "chunk-server/store.h"

#define STORE_DIR		"segments"
#define STORE_PREFIX		"seg-"
#define STORE_RESERVE_SEGMENTS	2u   /* kept for healing and compaction, at least */
#define STORE_BATCH_MAX		64u  /* records of one gather-write */
#define STORE_QUEUE_MAX		512u /* puts that wait: the buffer pool bounds them as well */
#define STORE_FILES_MAX		256u /* open segments */
#define STORE_STREAMED_MAX	16384u /* runs of which we know that they were read just now */
#define STORE_MOVES_MAX		8u   /* records that compaction has in flight */
#define STORE_DIRTY_MAX		64u  /* segments of which we remember that they changed */
#define STORE_SEGMENT_BYTES_MIN (4u * RECORD_BYTES_MAX)
#define STORE_SEGMENT_BYTES_MAX GiB(1) /* a footer of its smallest records stays below 4 GiB */

/* An open segment. In use while users > 0; else it may be closed for another. */
struct store_file {
	uint64_t number;
	struct disk_file *file;
	struct disk_file *direct; /* the same past caches, once it was needed; may be NULL */
	uint32_t users;
	bool is_gone;			/* removed: closed with its last user */
	struct store_file *prev, *next; /* most recently used first */
};

/* A run that was read past the cache. */
struct store_streamed {
	uint32_t mark; /* of its place; 0: unused */
	uint32_t at_s;
};

/* The records of the active segment, for its footer. */
struct store_entries {
	struct segment_entry *at;
	uint32_t count, capacity;
};

struct store_counts {
	uint64_t blocks, bytes_stored, bytes_plain; /* without trash */
	uint64_t bytes_codec[CS_CODECS_MAX];	    /* of bytes_stored */
	uint64_t blocks_trash, bytes_trash;
	uint64_t damaged;
};

/* A segment: records in it, and those that the index leads to; padded bytes. */
struct store_segment {
	uint64_t number;
	uint64_t bytes; /* of the active one: as of the last commit */
	uint64_t live;
	bool is_dirty; /* its row is older than this */
	bool has_file; /* found at the start */
	bool is_stuck; /* could not be compacted: not tried again unless asked */
	uint32_t awaited; /* records of open rounds in it: they will live, and count as dead */
};

static inline uint64_t store_segment_dead(const struct store_segment *segment)
{
	return segment->bytes - MIN_OF(segment->bytes, segment->live);
}

static inline uint64_t store_padded(uint32_t length)
{
	return DIV_CEIL((uint64_t)length, RECORD_ALIGN) * RECORD_ALIGN;
}

/* Seal the old segment (if any), make the next one: on a worker, with values of its own. */
struct store_roll {
	struct loop_work work;
	struct cs_store *store;
	struct disk_file *old;	/* NULL: there is none */
	struct disk_file *made; /* result */
	uint64_t number, made_number;
	uint64_t tail;
	uint64_t generation;	/* that the sync of the old segment ends */
	enum cs_put_kind kind;	/* for whom: how much room must be left */
	enum cs_put_kind level; /* result: who may use the new segment, and above */
	bool is_sealed;		/* result: the old one is sealed and durable */
	int rc;
};

/* Cut a segment back to what was synced, after a sync that failed. */
struct store_cut {
	struct loop_work work;
	struct cs_store *store;
	uint64_t bytes;
};

/* A record on its way from a segment that is compacted into the active one. */
struct store_move {
	struct disk_op read;
	struct cs_put put;
	struct cs_store *store;
	struct buf *record;
	struct block_id id;
	struct cs_place from;
	struct store_move *next; /* free ones */
};

enum store_compact_state {
	COMPACT_RESTS,
	COMPACT_ROLLS,	 /* waits for the active segment to be sealed */
	COMPACT_LISTS,	 /* a worker reads what the segment holds */
	COMPACT_MOVES,	 /* reads and appends in flight */
	COMPACT_SYNCS,	 /* what was moved becomes durable */
	COMPACT_REMOVES, /* a worker unlinks the file */
};

struct store_compact {
	enum store_compact_state state;
	uint32_t percent; /* as asked; else COMPACT_PERCENT */
	bool is_quiet;	  /* the store is about to end: begin nothing */
	uint64_t number;  /* the segment */
	struct store_file *file;
	struct store_entries entries;
	uint32_t next_entry;
	struct store_move moves[STORE_MOVES_MAX], *free_moves;
	uint32_t busy;
	struct cs_round round;		   /* what was moved since the last sync */
	uint32_t vain_count;		   /* rounds in a row whose copies the index did not take */
	uint64_t bytes_moved, bytes_freed; /* of this segment */
	uint64_t bytes_back;		   /* of this pass */
	uint32_t segments_back;
	bool has_damage; /* reported, and soon quarantined */
	struct loop_work work;
	struct loop_timer timer;
	struct loop_task task;
	bool is_task_posted;
	int rc;
};

struct cs_store {
	struct cs_store_options options; /* segment_bytes is clipped to the disk */
	bool is_open;			 /* the start is over */
	bool is_failed;
	uint32_t level; /* puts of lesser kinds (enum cs_put_kind) are refused: the disk is full */
	bool was_whole; /* at opening */

	/* segments */
	struct store_file *files;
	uint32_t file_count;
	struct store_file *active; /* NULL: none yet, or no room for one */
	uint64_t next_number;
	uint64_t tail;	       /* of the active segment: where the next record goes */
	uint64_t durable_tail; /* of it: before here all is synced */
	struct store_entries entries;
	struct store_counts counts;
	struct store_segment *segments; /* all, the active one too; by number */
	uint32_t segment_count, segment_capacity;
	uint64_t dirty[STORE_DIRTY_MAX];
	uint32_t dirty_count;
	bool was_rebuilt;

	/* garbage */
	uint64_t collection;	/* 0: not known yet */
	uint64_t touched_floor; /* the first epoch set: what is older counts as touched then */
	uint32_t uncommitted;	/* changes of rows */
	struct loop_task commit_task;
	bool is_commit_posted;

	/* append */
	struct cs_put *queue;
	uint32_t queue_count;
	struct loop_timer pump_timer; /* the end of a turn that brought puts */
	struct cs_put *answering; /* their answers are posted */
	struct cs_put *batch[STORE_BATCH_MAX];
	uint32_t batch_count;
	uint64_t batch_tail; /* behind the batch in flight */
	struct iovec iov[2 * STORE_BATCH_MAX];
	struct disk_op write;
	bool is_writing;
	bool is_foul; /* behind the tail lies the rest of a write that failed */
	struct store_roll roll;
	bool is_rolling, is_roll_wanted;

	/* read */
	const struct media_profile *media;
	struct cs_get *asked; /* in this turn */
	/* For the disk; only while `reads` are as many as it takes. Sorted, if is_sorted. */
	struct cs_get *waiting;
	bool is_sorted;
	struct cs_place read_place; /* where the last read began */
	struct loop_task read_task;
	bool is_read_posted;
	struct store_streamed streamed[STORE_STREAMED_MAX]; /* store_run.c */
	uint32_t reads; /* in flight, for gets */
	uint32_t tasks; /* posted answers */

	/* sync */
	uint64_t generation; /* of puts answered now */
	uint64_t durable;
	uint64_t dirty_bytes; /* written since the last sync began */
	struct cs_sync *waiters;
	struct disk_op sync;
	uint64_t syncing_tail;
	bool is_syncing, is_sync_due;
	struct loop_timer sync_timer;
	struct store_cut cut;
	bool is_cutting;

	struct store_compact compact;
};

/* --- store_file.c: any thread ---- */

/* Write the footer and trailer at tail, cut the file there, sync. */
must_check int cs_store_seal(struct disk_file *file, uint64_t number, uint64_t tail,
			     const struct store_entries *entries);
/* Create, preallocate and sync an empty segment; it is not there if this fails. */
must_check int cs_store_make_segment(const struct cs_store_options *options, uint64_t number,
				     struct disk_file **out);
must_check int cs_store_entries_reserve(struct store_entries *entries, uint32_t more);
/* How many more segments fit, with the reserve kept that puts of this kind must leave. */
uint64_t cs_store_segments_left(const struct cs_store_options *options, enum cs_put_kind kind,
				const struct disk_space *space);
/* Is there room for one? 0 or -E_NOSPC, -E_*. */
must_check int cs_store_room(const struct cs_store_options *options, enum cs_put_kind kind);
/* 1: the segment is sealed; 0: it is not, or its trailer is damaged. */
must_check int cs_store_trailer_read(struct disk_file *file, uint64_t number,
				     struct segment_trailer *out, uint64_t *file_bytes);
/* What the footer lists; -E_CORRUPT, -E_MALFORMED: it cannot be believed. */
must_check int cs_store_footer_read(struct disk_file *file, const struct segment_trailer *trailer,
				    struct store_entries *out);
/* The records of a segment, by its footer or else by reading it. */
must_check int cs_store_list(struct disk_file *file, uint64_t number, struct store_entries *out);

/* --- store_index.c ---- */

/* -E_NO_BLOCK if there is no row. */
must_check int cs_store_index_get(struct cs_store *store, const struct block_id *id,
				  struct cs_place *out);
/* The first block >= *id, or behind it, into *id; -E_NO_BLOCK. */
must_check int cs_store_index_next(struct cs_store *store, struct block_id *id, bool is_behind,
				   struct cs_place *out);
/*
 * The block is now at *place (NULL: nowhere), was at *old (NULL: nowhere); counts and live bytes
 * follow. After an error: cs_store_index_undo().
 */
must_check int cs_store_index_set(struct cs_store *store, const struct block_id *id,
				  const struct cs_place *old, const struct cs_place *place);
/* A record was found or written at entry: the later place wins. */
must_check int cs_store_index_add(struct cs_store *store, uint64_t number,
				  const struct segment_entry *entry);
must_check int cs_store_index_put_segment(struct cs_store *store,
					  const struct store_segment *segment);
must_check int cs_store_index_del_segment(struct cs_store *store, uint64_t number);
/* Write what belongs to the changed blocks, and commit; undone if that fails. */
must_check int cs_store_index_commit(struct cs_store *store);
/* Drop what is not committed. Should even that fail, the disk is given up. */
void cs_store_index_undo(struct cs_store *store);
/* Counts and segments into the store; -E_NOENT (never built), -E_MALFORMED (not of this disk). */
must_check int cs_store_index_load(struct cs_store *store);

/* --- store_segments.c ---- */

struct store_segment *cs_store_segment_find(struct cs_store *store, uint64_t number);
/* The one that is there, or a new one; NULL: out of memory. Others move. */
struct store_segment *cs_store_segment_add(struct cs_store *store, uint64_t number);
void cs_store_segment_remove(struct cs_store *store, uint64_t number);
void cs_store_segments_forget(struct cs_store *store);
void cs_store_segment_changed(struct cs_store *store, struct store_segment *segment);
void cs_store_segment_lives(struct cs_store *store, uint64_t number, int64_t more);
must_check int cs_store_segments_flush(struct cs_store *store); /* rows of those that changed */
uint64_t cs_store_segments_dead(const struct cs_store *store);

/* --- store_garbage.c ---- */

/* cs_store_index_set(), committed at once or soon; undone if it fails, the disk given up if it must
 * be. */
must_check int cs_store_change(struct cs_store *store, const struct block_id *id,
			       const struct cs_place *old, const struct cs_place *place,
			       bool at_once);
/* Commit the changes that gathered. */
must_check int cs_store_changes_commit(struct cs_store *store);

/* --- store_append.c ---- */

void cs_store_pump(struct cs_store *store);
void cs_store_turn_ended(struct loop_timer *timer);
/* Space came back, perhaps: may puts be taken again? */
void cs_store_level_check(struct cs_store *store);
/* Give the disk up: queued puts and waiting syncs end with rc. */
void cs_store_fail(struct cs_store *store, int rc);
/* Give back the records of puts that will not be answered. */
void cs_store_queue_drop(struct cs_store *store);

/* --- store_read.c ---- */

/* Give an indexed place its generation; -E_NO_BLOCK: a failed disk took it along. */
must_check int cs_store_settle(const struct cs_store *store, struct cs_place *place);

/* The open file of a segment, one more user; opened if needed. */
must_check int cs_store_file_get(struct cs_store *store, uint64_t number, struct store_file **out);
void cs_store_file_put(struct cs_store *store, struct store_file *file);
/* Take a file that is open already (the new active segment), one user. NULL: out of memory. */
struct store_file *cs_store_file_add(struct cs_store *store, uint64_t number,
				     struct disk_file *file);
/* The file is about to be removed: closed as soon as nobody reads it. */
void cs_store_file_forget(struct cs_store *store, uint64_t number);
void cs_store_files_close(struct cs_store *store);
/* 0: `bytes` bytes that were read are the record of this block; -E_CORRUPT. */
must_check int cs_store_record_judge(const struct buf *record, int bytes, const struct block_id *id,
				     const struct cs_place *place);

/* Does the medium take no more reads now? */
bool cs_store_reads_are_full(const struct cs_store *store);
/* The gets of a run wait until it does. */
void cs_store_read_wait(struct cs_get *first);
/* A read of gets begins at this place; it has ended. */
void cs_store_read_begins(struct cs_store *store, const struct cs_place *place);
void cs_store_read_ended(struct cs_store *store);

/* --- store_run.c ---- */

/* How many gets of a list in order of place, from this one on, are one run: noted in it. */
uint32_t cs_store_run_count(struct cs_get *first);
/* Read and answer them. */
void cs_store_run(struct cs_get *first);

/* --- store_compact.c ---- */

void cs_store_compact_init(struct cs_store *store);
void cs_store_compact_finish(struct cs_store *store);
/* A segment has less that lives, or was sealed: perhaps it is worth compacting. */
void cs_store_compact_consider(struct cs_store *store, const struct store_segment *segment);
/* A roll ended, or the disk was given up. */
void cs_store_compact_kick(struct cs_store *store);

/* --- store_sync.c ---- */

void cs_store_sync_start_if_due(struct cs_store *store);
void cs_store_sync_wrote(struct cs_store *store, uint64_t bytes); /* a batch was written */
void cs_store_sync_settle(struct cs_store *store); /* answer waiters whose generation is durable */
void cs_store_sync_fail(struct cs_store *store, int rc);

#endif
