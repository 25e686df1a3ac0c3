/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store: block id to record, on one or more disks of a chunk server. It knows no names.
 *
 * One store per disk ("mountpath"): segments (fs/disk/segment.h) in "segments/", an index of rows
 * (id -> segment, offset, length), which is a discardable view rebuilt from footers and the tail
 * (I15). disks.h puts several stores behind one interface.
 *
 * Generations: everything whose put was answered before a sync starts is in the generation which
 * that sync makes durable. The store syncs by itself every 100 ms or 64 MiB, at once when someone
 * waits. A failed sync poisons the store (I4): the segment is cut back to what was synced, unsynced
 * records are lost and no longer found, puts are refused until a restart, and the owner is told: it
 * takes a new boot id, so that nobody takes an old generation for durable.
 *
 * Damage is quarantined, never a refusal of the disk: a record that does not check is not indexed,
 * counted, and logged with its segment and offset.
 *
 * Threads: the loop's; writes, reads that would wait, and syncs run on workers inside.
 */
#ifndef CAIRN_CHUNK_SERVER_STORE_H
#define CAIRN_CHUNK_SERVER_STORE_H

#include "fs/base/buf.h"
#include "fs/disk/segment.h"
#include "fs/io/disk.h"
#include "fs/io/media.h"
#include "fs/io/rows.h"

struct cs_store;
struct cs_place;
struct cs_disks;

struct cs_store_options {
	struct loop *loop;
	struct disk *disk;     /* not owned */
	struct rows *index;    /* not owned; emptied and rebuilt if it cannot be trusted */
	bool index_is_trusted; /* closed cleanly, or same OS boot (I15) */
	bool tail_is_durable;  /* closed cleanly: all that is there was synced */
	struct buf_pool *pool;
	uint8_t cluster[UUID_BYTES], disk_uuid[UUID_BYTES];
	enum hash_kind hash;
	uint64_t segment_bytes; /* start a new segment after this many bytes */
	uint32_t sync_ms;	/* 100 */
	uint64_t sync_bytes;	/* 64 MiB */
	uint32_t full_percent;	/* 95: refuse puts above; two segments are kept for healing */
	enum media_kind media;	/* how the disk is read */
	void (*on_failed)(void *arg, int rc); /* once, when the disk is given up; may be NULL */
	/* Compaction met a record that does not check: quarantine it. NULL: the store does. */
	void (*on_damaged)(void *arg, struct cs_store *store, const struct block_id *id,
			   const struct cs_place *place);
	void *arg;
};

/* Opens or starts the store: finds the tail, cuts what is torn, syncs, rebuilds the index if
 * needed. */
must_check int cs_store_open(const struct cs_store_options *options, struct cs_store **out,
			     struct error *err);
/* Syncs and ends; it must be idle. NULL is allowed. 0: all is durable, the index matches. */
int cs_store_close(struct cs_store *store);
/* No write, sync or read in flight: close may be called. */
bool cs_store_is_idle(const struct cs_store *store);
/* Forget the store without a sync, as a crash does; its loop and disk call it no more. */
void cs_store_drop(struct cs_store *store);

#define CS_CODECS_MAX 8u
struct cs_store_stats {
	uint64_t blocks, bytes_stored, bytes_plain; /* stored: header and encoded bytes */
	/* for puts: whole segments but one, without the reserve that full_percent keeps */
	uint64_t bytes_free;
	uint64_t bytes_total;
	uint64_t segments;
	uint64_t blocks_trash, bytes_trash; /* in trash; not among blocks and bytes_stored */
	uint64_t bytes_dead; /* of segments: records that nothing leads to */
	uint64_t bytes_codec[CS_CODECS_MAX]; /* of bytes_stored, by enum codec */
	uint64_t damaged; /* places that did not check, found since the start */
	bool is_failed;
	bool was_rebuilt; /* the index was built anew at the start: the disk may lack what it had */
};
void cs_store_stats(const struct cs_store *store, struct cs_store_stats *out);
bool cs_store_is_failed(const struct cs_store *store);
/*
 * When it was opened its index was kept and every place checked. Else something that was answered
 * for may be missing: what was not synced when the system went down, what was damaged.
 */
bool cs_store_was_whole(const struct cs_store *store);
/* Not failed, and not full. */
bool cs_store_takes_puts(struct cs_store *store);

/* What a put may use of a full disk. */
enum cs_put_kind {
	CS_PUT_ORDINARY,
	/* half of the reserve: copies that were promised already, and what gives space back */
	CS_PUT_HEALING,
	CS_PUT_MOVE,	/* all: compaction, which gives back more than it takes. The store's own */
};

/* Append a verified record (cs_verify did it). done() once it is written, not synced, and indexed.
 */
struct cs_put {
	struct buf *record; /* header and stored bytes; a reference is taken */
	struct block_id id;
	uint32_t plain_len;
	enum cs_put_kind kind;
	void (*done)(struct cs_put *put);
	int rc;		     /* 0; -E_NOSPC; -E_IO; -E_OVERLOADED (queue full) */
	bool was_there;	     /* nothing written */
	uint64_t generation; /* durable when cs_store_durable() >= this */
	void *user;
	struct cs_put *prev, *next; /* private */
	struct cs_put *twins;	    /* private: puts of the same id that came meanwhile */
	uint64_t segment, offset;   /* private: where it was written, and as what */
	uint32_t length;
	uint8_t codec;
	bool is_replacement; /* private: indexed with its round */
	struct cs_store *store;
	struct loop_task task;
};
void cs_store_put(struct cs_store *store, struct cs_put *put);

/* Where a block is, and the generation in which it is durable; -E_NO_BLOCK. */
struct cs_place {
	uint64_t segment, offset;
	uint32_t length, plain_len;
	uint8_t codec;
	bool is_dense; /* no stronger encoding makes it smaller: a hint, lost with the index */
	uint64_t generation;
	/* collection epoch of the last put, HAVE or healing; 0: not known yet */
	uint64_t touched;
	uint64_t trashed_ms; /* wall clock at which it went to trash, ms; 0: it is not there */
};
/* Else the block moved meanwhile. */
static inline bool cs_place_is_at(const struct cs_place *place, uint64_t segment, uint64_t offset)
{
	return place->segment == segment && place->offset == offset;
}
must_check int cs_store_find(struct cs_store *store, const struct block_id *id,
			     struct cs_place *out);

/*
 * Read a record, checked: record_check(), and its id. What is asked for in one turn of the loop and
 * lies together is read at once, up to a mebibyte; pages in memory without a worker. The medium
 * bounds how many reads are in flight; what waits for them goes in the order of its places, on from
 * where the disk is, together with what has come to lie beside it meanwhile.
 */
#define STORE_RUN_MAX 16u
struct cs_get {
	struct block_id id;
	void (*done)(struct cs_get *get);
	int rc;		    /* 0, -E_NO_BLOCK, -E_CORRUPT, -E_IO, -E_OVERLOADED (no buffer) */
	struct buf *record; /* a reference for the caller */
	void *user;
	struct cs_place place;
	struct cs_store *store;
	struct cs_get *next; /* private: of the same turn, then of the same run */
	struct cs_disks *disks; /* private: of cs_disks_get() */
	void (*told)(struct cs_get *get);
	/* private: of the first one of a run, for all of them */
	struct disk_op op;
	struct iovec iov[STORE_RUN_MAX];
	uint32_t run_count, run_bytes;
	uint32_t cached_bytes; /* of them, what needed no worker */
	bool is_alone;	       /* its run failed: it goes by itself, and does not wait */
	struct store_file *file;
	struct buf *run; /* read directly: all of it, from `run_offset` on */
	uint64_t run_offset;
};
void cs_store_get(struct cs_store *store, struct cs_get *get);

/*
 * What lies at `place` is not the block: forget it, so that a new put is taken. The bytes stay
 * where they are. A no-op if the index names another place by now.
 */
void cs_store_quarantine(struct cs_store *store, const struct block_id *id,
			 const struct cs_place *place);

/* Call done() when everything up to `generation` is durable; -E_IO if that can no longer be. */
struct cs_sync {
	uint64_t generation;
	void (*done)(struct cs_sync *sync);
	int rc;
	void *user;
	struct cs_sync *prev, *next; /* private */
	struct cs_store *store;
	struct loop_task task;
};
void cs_store_sync(struct cs_store *store, struct cs_sync *sync);
uint64_t cs_store_durable(const struct cs_store *store);
uint64_t cs_store_generation(const struct cs_store *store); /* that a put answered now would get */

/*
 * Another record of a block that is here already (compacted, encoded anew): cs_store_append()
 * writes it like a put, but the index does not know it until its round ends. Those that were
 * written, rc 0, are added to a round of that store by their done(), each with the place it takes,
 * and compaction leaves their segments alone; the end of a round syncs them, and leads the index to
 * them in one commit. A block that was freed, quarantined or put elsewhere meanwhile is left alone;
 * trash and touched epochs stay. The old records are dead then: compaction gives them back. A crash
 * before the end leaves the old records in service.
 */
void cs_store_append(struct cs_store *store, struct cs_put *put);

#define CS_ROUND_MAX 256u
struct cs_replaced { /* private */
	struct block_id id;
	uint64_t from_segment, from_offset, segment, offset;
	uint32_t length;
	uint8_t codec;
};
struct cs_round { /* set store and done before the first record is added; nothing else */
	struct cs_store *store;
	void (*done)(struct cs_round *round);
	int rc; /* 0; -E_NOSPC: the index is full; -E_IO: the disk was given up */
	/* of the round that ended: blocks that have a new place, what their records take, padded */
	uint64_t blocks, bytes_before, bytes_after;
	uint32_t count; /* added so far; 0 again when done */
	struct cs_replaced replaced[CS_ROUND_MAX];
	uint64_t generation;
	struct cs_sync sync;
};
void cs_round_add(struct cs_round *round, const struct cs_put *put, const struct cs_place *from);
/* done() once the index leads to all, or the reason why not. May be empty. */
void cs_round_end(struct cs_round *round);
/* The old records stay in service. */
void cs_round_drop(struct cs_round *round);

/* Keep in mind that the block at this place does not shrink; a no-op if it moved. -E_NO_BLOCK. */
must_check int cs_store_set_dense(struct cs_store *store, const struct block_id *id,
				  const struct cs_place *place);
/* Seal the active segment, if anything is in it, and begin another. */
void cs_store_roll(struct cs_store *store);
bool cs_store_is_rolling(const struct cs_store *store);
/* The first sealed segment >= *number into *number, and what lives in it; false: no more. */
must_check bool cs_store_segment_next(const struct cs_store *store, uint64_t *number,
				      uint64_t *live);

/* The first block >= *id (or > *id: is_behind) into *id, and where it is; -E_NO_BLOCK: no more. */
must_check int cs_store_next(struct cs_store *store, struct block_id *id, bool is_behind,
			     struct cs_place *out);
/*
 * Visit every block in id order from `from` on, trash too; fn returns false to stop. It may change
 * the block that it is told of.
 */
must_check int cs_store_scan(struct cs_store *store, const struct block_id *from,
			     bool (*fn)(void *arg, const struct block_id *id,
					const struct cs_place *place),
			     void *arg);

/*
 * Garbage (I9). The store notes and executes; collect.c decides. Blocks in trash are still found
 * and read; a put or a touch takes them out. What nobody touched since the store was opened counts
 * as touched in the first epoch that was set.
 */
void cs_store_set_collection(struct cs_store *store, uint64_t epoch); /* only ever rises */
/* HAVE: as if it had been put now. -E_NO_BLOCK. */
must_check int cs_store_touch(struct cs_store *store, const struct block_id *id);
/* Into trash, as of `wall_ms`; out of trash (0). 0 also if it is there already; -E_NO_BLOCK. */
must_check int cs_store_trash(struct cs_store *store, const struct block_id *id, uint64_t wall_ms);
/* Forget a block that is in trash: its record is dead. -E_NO_BLOCK; -E_BUSY: it is not in trash. */
must_check int cs_store_free(struct cs_store *store, const struct block_id *id);
/*
 * It is on another disk now: forget this copy, live or not. -E_NO_BLOCK: the index names another
 * place, or none.
 */
must_check int cs_store_forget(struct cs_store *store, const struct block_id *id,
			       const struct cs_place *place);
/*
 * Rewrite segments of which at least `dead_percent` is dead, one after the other, in the
 * background: live records are appended anew and synced, then the old file goes. Runs by itself at
 * 50; asked with less it goes on until no segment is above that.
 */
void cs_store_compact(struct cs_store *store, uint32_t dead_percent);
bool cs_store_is_compacting(const struct cs_store *store);
/* The end is near: begin nothing more by itself, so that the store becomes idle. */
void cs_store_quiet(struct cs_store *store);

/* The file of a segment, for who reads one without the store (scrub). */
#define STORE_NAME_BYTES  64u
#define STORE_ENTRIES_MAX 65536u /* records of one segment: a footer of 3 MiB */
char *cs_store_segment_name(uint64_t number, char out[STORE_NAME_BYTES]);

/*
 * Rows of an index, for who reads one without a store (fsck): 1 such a row, 0 another,
 * -E_MALFORMED.
 */
must_check int cs_store_index_read(const struct row *row, struct block_id *id,
				   struct cs_place *out);
struct cs_store_segment_row {
	uint64_t number;
	uint64_t bytes; /* of its records, padded, as far as the index knows them */
	uint64_t live;	/* of those that block rows lead to */
};
must_check int cs_store_index_read_segment(const struct row *row, struct cs_store_segment_row *out);

#endif
