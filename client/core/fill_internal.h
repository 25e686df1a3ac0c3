/* SPDX-License-Identifier: Apache-2.0 */
/* Private to fill*.c: fills, and the pieces that they have in flight. */
#ifndef CAIRN_CLIENT_CORE_FILL_INTERNAL_H
#define CAIRN_CLIENT_CORE_FILL_INTERNAL_H

#include "client/core/cache.h"
#include "client/core/fill.h"
#include "client/core/node.h"
#include "fs/tree/manifest.h"

#define FILLS_BEGUN_MAX	 16u
#define FILL_PIECES_MAX	 8u	/* in flight, of all fills */
#define FILLS_FAILED_MAX 64u	/* of the last, why: for who asks afterwards */
#define FILL_WANTED_MAX	 64u	/* pieces of a fill that readers asked for, oldest first */
/* Blocks of a piece that are held as they come; one cut smaller is gathered in between. */
#define FILL_PARTS_MAX	 32u

enum fill_state {
	FILL_WAITING = 1,	/* no room in a tier yet */
	FILL_RUNNING,
	FILL_WHOLE,		/* every piece is there: to be sealed */
	FILL_SEALING,
};

struct fill_piece;

/* Told by the tier, however the fill ended. */
struct fill_seal {
	struct cl_fills *fills;		/* NULL: the client is gone */
	struct cl_fill *fill;		/* NULL: ended */
	struct fill_seal *prev, *next;
};

struct cl_fill {
	struct client *client;
	struct root root;
	enum cl_fill_why why;
	enum fill_state state;
	struct tier_file *file;		/* a reference, from its begin */
	struct manifest *manifest;
	uint64_t piece_count;
	uint64_t cursor;		/* where to look for the next piece */
	bool is_all_started;		/* no piece is left to start */
	int rc;				/* it ends: 1 well, or an error; 0: it does not */
	uint64_t wanted[FILL_WANTED_MAX];
	uint32_t wanted_count;
	uint64_t whole_ns;		/* since when it could be sealed */
	struct fill_piece *pieces;	/* in flight */
	struct fill_seal *seal;
	struct cl_fill_wait *waits;
	UT_hash_handle hh;		/* by root.id */
	struct cl_fill *prev, *next;	/* by urgency */
};

struct fill_failure { struct root root; int rc; };

struct cl_fills {
	struct client *client;
	struct cl_fill *by_id, *list;
	uint32_t count, begun;
	uint32_t flying, flying_max;	/* pieces, those of ended fills included */
	struct fill_piece *orphans;	/* a worker or the tier still has them */
	struct fill_seal *seals;
	uint64_t missed_ns;		/* when a reader missed last */
	struct fill_failure failed[FILLS_FAILED_MAX];
	uint32_t failed_next;
	bool is_stopped;
	struct loop_timer turn;		/* pump in a turn of its own, or later */
	uint64_t turn_ns;
};

/* A block of a piece, or a hole. */
struct fill_part {
	struct cl_fetch fetch;
	struct blocks_get get;		/* again, from a replica that proves right */
	struct fill_piece *piece;
	struct block_id id;		/* zero: a hole */
	uint32_t block_len, from, len;
	struct buf *buf;
	bool is_wrong;
};

struct fill_piece {
	struct cl_fills *fills;		/* NULL: the client is gone */
	struct cl_fill *fill;		/* NULL: ended, and so freed when it comes back */
	struct tier_file *file;		/* a reference */
	uint64_t offset;
	uint32_t len;
	uint32_t walked;		/* of len: has its parts */
	uint32_t part_count, pending;
	bool is_away;			/* a worker or the tier has it */
	enum hash_kind hash;
	uint64_t run;			/* of the root: what lies side by side is asked together */
	struct fill_part parts[FILL_PARTS_MAX];
	struct cl_fetch node_fetch;
	struct block_id node_id;
	uint8_t *bytes;			/* gathered: [0, gathered) of the piece; NULL: not */
	uint32_t gathered;
	struct iovec iov[FILL_PARTS_MAX];
	struct tier_io io;
	struct loop_work work;
	struct fill_piece *prev, *next;
};

/* fill.c */
/* The fill goes on, or ends, in a later turn. */
void cl_fill_piece_ended(struct cl_fill *fill, int rc);

/* fill_piece.c */
/* Begin piece `index`; ends by cl_fill_piece_ended(). -E_NOMEM. */
must_check int cl_fill_piece_start(struct cl_fill *fill, uint64_t index);
/* It is not wanted: freed now, or by whoever has it. */
void cl_fill_piece_drop(struct fill_piece *piece);

#endif
