/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks of the cluster by id: get, put, have, sync against the chunk servers that the map names.
 * Used by the client, by the metadata server (moving inline content to blocks), by tools.
 *
 * Get (I12): the replica that its run prefers, unless others are far less loaded, else the least
 * loaded one first; hedged to the next after about the p95 (at most 100 ms), formers last; a wrong
 * record is counted, logged and asked elsewhere. Put: to the first reachable replica, which
 * forwards; retried at the next; a stale epoch (I10) refreshes the row. Sync: the servers that hold
 * marks, up to their generation, until min_copies holders of each block have; where too few can (a
 * changed boot id), HAVE is asked again and what is missing put again.
 *
 * CPU work (digest, codec) runs on the loop's workers. Everything else on the loop's thread.
 */
#ifndef CAIRN_FS_NET_BLOCKS_H
#define CAIRN_FS_NET_BLOCKS_H

#include "fs/disk/record.h"
#include "fs/net/rpc.h"
#include "fs/placement/map.h"

struct blocks;

struct blocks_options {
	struct rpc *rpc;
	/* for map rows; must outlive this; NULL: you put them into blocks_map() */
	struct rpc_peer *mds;
	struct loop *loop;
	struct buf_pool *pool;
	enum hash_kind hash;
	uint8_t min_copies;
	enum codec_aim aim;		/* how blocks that are put get stored */
	uint32_t call_ms;		/* deadline of one attempt */
};
must_check int blocks_create(const struct blocks_options *options, struct blocks **out);
/*
 * Operations end with -E_CANCELED, inside. What workers have in hand still comes back through the
 * loop.
 */
void blocks_destroy(struct blocks *b);
struct map *blocks_map(struct blocks *b);
void blocks_map_refresh(struct blocks *b);	/* soon; e.g. when a reply tells a newer version */

/* Marks: who must sync up to what before a publish may name the blocks put so far (I2). */
#define BLOCKS_MARKS_MAX 256	/* servers, and boots of them, between two syncs */
struct blocks_mark { server_no server; uint64_t boot_id, generation; };
#define BLOCKS_SETS_MAX 128	/* three copies on ten servers make 120 */
/* marks of servers that hold the same block */
struct blocks_set { uint8_t count, at[COPIES_MAX]; };
struct blocks_marks {
	struct blocks_mark at[BLOCKS_MARKS_MAX];
	uint32_t count;
	uint32_t set_count;
	struct blocks_set sets[BLOCKS_SETS_MAX];
	bool needs_all;			/* too many sets: every mark must be synced */
	uint64_t collection;		/* lowest collection epoch seen; ~0: none yet */
};
void blocks_marks_init(struct blocks_marks *marks);
/*
 * -E_OVERLOADED: no room for another mark; `into` then lacks some, and stands for nothing
 * (blocks_marks_doubt).
 */
must_check int blocks_marks_merge(struct blocks_marks *into, const struct blocks_marks *from);
/* Make sure that they cannot be synced: what they stand for has to be put again. */
void blocks_marks_doubt(struct blocks_marks *marks);

/* Read one block. Zero it, fill id .. done; cancel with blocks_get_cancel(). */
struct blocks_get {
	struct block_id id;
	uint32_t plain_len;		/* expected; 0: any */
	/* SHA-256 as well (entering a cache tier, fsck); else XXH3 and header id */
	bool verify_id;
	/*
	 * Blocks of one run, some mebibytes of a file, are asked of one server where they can: what
	 * was written together lies together. The next number prefers the next server. So are
	 * parts, while others are not much quicker: what it read stays in its memory. 0: none.
	 */
	uint64_t run;
	/* Only `part_len` plain bytes at `part_from` are needed; 0: all. Not with verify_id. */
	uint32_t part_from, part_len;
	uint64_t deadline_ns;		/* loop time */
	void (*done)(struct blocks_get *get);
	/* 0, -E_NO_BLOCK, -E_NO_REPLICA, -E_CORRUPT, -E_TIMEDOUT, -E_CANCELED */
	int rc;
	struct buf *plain;		/* a reference for the caller; the part if one was asked */
	void *user;
	void *state;			/* private */
};
void blocks_get_start(struct blocks *b, struct blocks_get *get);
void blocks_get_cancel(struct blocks *b, struct blocks_get *get);

/* Write one block: encode, send, collect marks. */
struct blocks_put {
	/* len 1 .. BLOCK_BYTES_MAX; a reference is taken until done */
	struct buf *plain;
	struct block_id id;		/* filled by us unless has_id */
	bool has_id;
	uint64_t deadline_ns;
	struct blocks_marks *marks;	/* added to on success; may be NULL */
	void (*done)(struct blocks_put *put);
	/*
	 * 0: on min_copies servers at least; -E_NOSPC, -E_TIMEDOUT, -E_CANCELED, -E_OVERLOADED: no
	 * room in marks
	 */
	int rc;
	uint32_t sent_bytes;		/* stored length; 0 if it was there already */
	void *user;
	void *state;
};
void blocks_put_start(struct blocks *b, struct blocks_put *put);

/*
 * Make everything behind the marks durable: on min_copies servers each block; who is slower, or
 * away, is not waited for. -E_STALE_GENERATION: that cannot be had, since servers restarted, failed
 * or are silent; the ids put since the last good sync must be put again (blocks_reput does it from
 * what the replicas still hold).
 */
struct blocks_sync {
	const struct blocks_marks *marks;
	uint64_t deadline_ns;
	void (*done)(struct blocks_sync *sync);
	int rc;
	void *user;
	void *state;
};
void blocks_sync_start(struct blocks *b, struct blocks_sync *sync);

/*
 * Ask HAVE for each id; what fewer than min_copies hold is read from who has it and put again; what
 * nobody has any more is put again if plain_of() still knows its bytes.
 */
struct blocks_reput {
	const struct block_id *ids;
	uint32_t count;
	uint64_t deadline_ns;
	struct blocks_marks *marks;	/* filled anew */
	/* a reference, or NULL; may be NULL */
	struct buf *(*plain_of)(void *user, const struct block_id *id);
	void (*done)(struct blocks_reput *reput);
	/* -E_NO_BLOCK, -E_NO_REPLICA: a block is nowhere any more */
	int rc;
	void *user;
	void *state;
};
void blocks_reput_start(struct blocks *b, struct blocks_reput *reput);

#endif
