/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The disks of one chunk server behind one interface. A block's order of disks is rendezvous
 * hashing of its id with each disk's uuid: it is put on the first that is neither failed nor full,
 * and found on any (so a disk may be added, and a failed one fails alone). Disks of a faster tier
 * go before all others as long as they have room; tier_move.c moves blocks between tiers. A block
 * may be on several disks for a while: all is said of every copy, and a visit tells it once.
 *
 * One generation for the whole server: a sync ends the server's generation by syncing every healthy
 * store, and what is owed. A put answered under generation g is durable when cs_disks_sync(g)
 * succeeded.
 *
 * Threads: the loop's.
 */
#ifndef CAIRN_CHUNK_SERVER_DISKS_H
#define CAIRN_CHUNK_SERVER_DISKS_H

#include "chunk-server/owed.h"
#include "chunk-server/store.h"

struct cs_disks;

struct cs_disks_options {
	struct loop *loop;
	struct cs_store *stores[DISKS_MAX];   /* not owned */
	uint8_t uuids[DISKS_MAX][UUID_BYTES]; /* of their disks */
	uint32_t tiers[DISKS_MAX];	      /* 0 is the fastest */
	uint32_t count;
	struct cs_owed *owed; /* not owned; may be NULL */
	/*
	 * The owed log failed: its debts are not durable, nor are those that come. Called until it
	 * returns 0: whom they concern will know otherwise, so that syncs may go on without the
	 * log; may be NULL.
	 */
	int (*on_owed_failed)(void *arg);
	void *arg;
};
must_check int cs_disks_create(const struct cs_disks_options *options, struct cs_disks **out);
void cs_disks_destroy(struct cs_disks *disks); /* no sync in flight; NULL is allowed */

uint32_t cs_disks_count(const struct cs_disks *disks);
uint32_t cs_disks_failed_count(const struct cs_disks *disks);
/* Are there disks of several tiers? */
bool cs_disks_has_tiers(const struct cs_disks *disks);
uint32_t cs_disks_tier(const struct cs_disks *disks, uint32_t disk);
/* New blocks go elsewhere, while there is an elsewhere. */
void cs_disks_set_full(struct cs_disks *disks, uint32_t disk, bool is_full);
/* The disk of a tier that is to take this block, having room for it; -E_NOSPC. */
must_check int cs_disks_pick(struct cs_disks *disks, const struct block_id *id, uint32_t tier,
			     uint32_t *disk);
/* Sums; is_failed when every disk is. */
void cs_disks_stats(const struct cs_disks *disks, struct cs_store_stats *out);
bool cs_disks_is_idle(const struct cs_disks *disks);

/* As cs_store_put(); its generation is the store's own: take cs_disks_generation() in done(). */
void cs_disks_put(struct cs_disks *disks, struct cs_put *put);
/*
 * Where a block is, and on which disk (by index; may be NULL); -E_NO_BLOCK, also if only a failed
 * disk has it: a get still tries there, but nobody may count on it.
 */
must_check int cs_disks_find(struct cs_disks *disks, const struct block_id *id,
			     struct cs_place *out, uint32_t *disk);
void cs_disks_get(struct cs_disks *disks, struct cs_get *get);

/* Garbage: as in store.h, on every disk that has the block (one, as a rule). */
void cs_disks_set_collection(struct cs_disks *disks, uint64_t epoch);
must_check int cs_disks_touch(struct cs_disks *disks, const struct block_id *id);
must_check int cs_disks_trash(struct cs_disks *disks, const struct block_id *id, uint64_t wall_ms);
must_check int cs_disks_free(struct cs_disks *disks, const struct block_id *id);
void cs_disks_compact(struct cs_disks *disks, uint32_t dead_percent);
bool cs_disks_is_compacting(const struct cs_disks *disks);
/* The end is near: begin nothing more by itself. */
void cs_disks_quiet(struct cs_disks *disks);

/*
 * Visit every block of all disks in id order from `from` on, trash too, each once, at the place
 * that cs_disks_find() tells; fn returns false to stop. It may change the block that it is told of.
 */
must_check int cs_disks_scan(struct cs_disks *disks, const struct block_id *from,
			     bool (*fn)(void *arg, const struct block_id *id,
					const struct cs_place *place),
			     void *arg);
/*
 * The ids from *from to *to, those in trash only `with_trash`, to visitor->fn until it returns
 * false or `rows_max` rows were looked at. 0: that were all; 1: go on at *from, which was not told
 * yet.
 */
struct cs_disks_visitor {
	bool (*fn)(void *arg, const struct block_id *id);
	void *arg;
	uint32_t rows_max;
	bool with_trash;
};
must_check int cs_disks_visit(struct cs_disks *disks, struct block_id *from,
			      const struct block_id *to, const struct cs_disks_visitor *visitor);

/* Now and then: also where nobody syncs, a log that failed is told. */
void cs_disks_check_owed(struct cs_disks *disks);

/* What a put answered now belongs to. */
uint64_t cs_disks_generation(const struct cs_disks *disks);

/* done() when everything up to `generation` is durable; -E_IO if that cannot be, -E_INVAL. */
struct cs_disks_sync {
	uint64_t generation;
	void (*done)(struct cs_disks_sync *sync);
	int rc;
	void *user;
	struct loop_task task; /* private */
	struct cs_disks *disks;
	struct cs_disks_sync *prev, *next;
};
void cs_disks_sync(struct cs_disks *disks, struct cs_disks_sync *sync);

#endif
