/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private to seal*.c: the queue, and the run of one file.
 *
 * A run goes on in turns of its own (cl_seal_run_later). What it has in flight is counted in
 * `busy`: dropped, it is freed when the last of that has come back, and touches no client any more.
 */
#ifndef CAIRN_CLIENT_CORE_SEAL_INTERNAL_H
#define CAIRN_CLIENT_CORE_SEAL_INTERNAL_H

#include "client/core/cache.h"
#include "client/core/file.h"
#include "client/core/seal.h"
#include "client/core/tiered.h"
#include "fs/tree/cut.h"
#include "fs/tree/manifest.h"
#include "fs/tree/tensors.h"

#define SEAL_BYTES_MAX	MiB(4)		/* of content in memory, beside a block under way */
#define SEAL_BYTES_MIN	KiB(512)	/* the same, of the smallest clients */
#define SEAL_PARTS_MAX	128u		/* old blocks of a piece */
/* New ones, of a window full of tensors: each may end a block at both ends, as may each anchor. */
#define SEAL_BLOCKS_MAX	(2u * (uint32_t)((SEAL_BYTES_MAX + BLOCK_BYTES_MAX) /			\
					 MIN_OF(CUT_TENSOR_BYTES_MIN, CUT_ANCHOR_BYTES_MIN)) + 64u)
#define SEAL_PUTS_MAX	16u
#define SEAL_NODES_MAX	64u		/* dirty nodes of the new manifest */
#define SEAL_PAUSE_MS	20u		/* between looks, while others read or write */

enum seal_step {
	SEAL_HEADER = 1,		/* tensors are looked for */
	SEAL_READ,			/* a piece is read and proved, cut and named */
	SEAL_PUT,			/* its new blocks are put, then all enter the manifest */
	SEAL_NODES,			/* the manifest is sealed, its nodes are put */
	SEAL_SYNC,
	SEAL_PUBLISH,
};

/* An old block in the window, or a part of a hole that a header reaches into. */
struct seal_part {
	struct cl_fetch fetch;
	struct seal_run *run;
	struct block_id id;
	uint32_t from, len;		/* in the window */
	bool is_hole;
};

struct seal_block {
	uint32_t from, len;		/* in the window */
	struct block_id id;
	bool is_old;			/* cut where it was */
};

struct seal_put {
	struct blocks_put put;
	struct blocks_marks marks;
	struct seal_run *run;
	struct buf *buf;
	uint32_t len;			/* of content; 0: a node */
	bool is_flying;
};

struct seal_run {
	struct client *client;		/* NULL: dropped */
	inode_no ino;
	uint64_t version;
	struct root root;
	enum seal_step step;
	uint32_t busy;			/* workers, puts, a sync: freed when they are back */
	struct loop_timer turn;
	int rc;				/* it failed, and ends in its next turn */
	struct cl_seal_info info;
	/* activity of others when it looked last */
	uint64_t seen_reads, seen_puts;
	uint32_t pauses;
	bool is_asked;			/* somebody waits: only requests of this moment go first */

	/* where to cut */
	struct tensors *tensors;
	struct cut_plan plan;
	struct cut cut;
	uint64_t need_offset;		/* bytes that the walk asked for */
	uint32_t need_len;
	uint64_t asked_offset;		/* those that were read for it last */
	uint32_t asked_len;
	uint64_t header_bytes;		/* fetched for it */

	/* what is read: a window on the old content, of whole blocks behind the carry */
	struct manifest *old;
	struct cl_fetch node_fetch;
	uint8_t *bytes;
	uint32_t capacity, len;
	uint64_t start;			/* of bytes[0] in the file */
	uint32_t carry;			/* bytes of a block that began before the piece */
	uint32_t want;			/* the window is whole with so many bytes */
	bool is_end;			/* a hole or the end of the file follows */
	struct seal_part parts[SEAL_PARTS_MAX];
	uint32_t part_count, pending;
	struct tier_io tier_io;		/* or all of it from a tier, by one read */
	struct iovec tier_iov;
	bool is_from_tier, is_tier_bad;
	struct loop_work work;
	int work_rc;
	enum hash_kind hash;
	struct seal_block blocks[SEAL_BLOCKS_MAX];
	uint32_t block_count;
	uint32_t tail;			/* bytes of a block that goes on in the next piece */

	/* what is put */
	struct manifest *fresh;
	struct seal_put puts[SEAL_PUTS_MAX];
	uint32_t next_block, flying;
	struct blocks_marks marks;
	uint64_t collection;		/* epoch that was known at the first put; ~0: none */
	uint64_t charged, stored;	/* plain bytes: room reserved, sent */
	uint64_t retry_ns;		/* room is waited for until then; 0: it is not */
	bool is_reserved;		/* room for the next block is there */
	bool is_changed;		/* some block is new */
	bool is_flushing, is_emitted;	/* nodes are on their way; the last of them, too */
	struct root fresh_root;
	struct blocks_sync sync;
	struct cl_req *req;
	uint32_t publish_tries;
};

/* seal.c */
/* The run is over: 0, or why not. It is not used any more. */
void cl_seal_ended(struct seal_run *run, int rc);

/* seal_run.c */
/* -E_NOMEM, or what else keeps it from beginning. */
must_check int cl_seal_run_start(struct client *c, const struct cl_node *node, bool is_asked,
				 struct seal_run **out);
/* Go on in so many ms. */
void cl_seal_run_later(struct seal_run *run, uint64_t ms);
/* It goes on, or ends, with what it waited for. */
void cl_seal_run_back(struct seal_run *run, int rc);
void cl_seal_run_drop(struct seal_run *run);
/* One thing in flight less. False: it was dropped, and may be gone. */
bool cl_seal_run_unbusy(struct seal_run *run);

/* seal_read.c: the window */
/*
 * Read what is at `at` and behind it, `want` bytes in all if there are so many, behind the first
 * run->carry bytes of the window; ends by cl_seal_run_back(). Blocks stay whole. Without holes
 * unless they are wanted, as zeros. 0, or an error.
 */
must_check int cl_seal_read(struct seal_run *run, uint64_t at, uint32_t want);
/* Prove and, in SEAL_READ, cut and name what was read, by a worker; ends the same way. */
void cl_seal_read_work(struct seal_run *run);
void cl_seal_read_cancel(struct seal_run *run);

/* seal_put.c */
/* 1: all blocks of the window are in the new manifest; 0: it goes on later; or an error. */
must_check int cl_seal_put_blocks(struct seal_run *run);
/* 1: run->fresh_root is whole, and its nodes are stored; 0: it goes on later; or an error. */
must_check int cl_seal_put_nodes(struct seal_run *run);
/* A hole, which stays one. 0; 1: a node is on its way; or an error. */
must_check int cl_seal_put_hole(struct seal_run *run, uint64_t len);

#endif
