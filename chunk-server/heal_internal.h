/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of healing share. Private to heal.c, heal_merge.c, heal_pull.c.
 *
 * heal.c knows the state of every group and gives out merges; a merge (heal_merge.c) compares one
 * group with one source after the other; what is lacking is pulled (heal_pull.c), block by block,
 * many at once.
 */
#ifndef CAIRN_CHUNK_SERVER_HEAL_INTERNAL_H
#define CAIRN_CHUNK_SERVER_HEAL_INTERNAL_H

#include "chunk-server/serve_internal.h"
#include "fs/wire/heal.h"

#define HEAL_MERGES_MAX	  24u /* groups that are compared at once */
/* of them, groups whose blocks are brought: small ones have few each */
#define HEAL_BRINGING_MAX 16u
#define HEAL_PULLS_MAX	  64u /* blocks in flight */
#define HEAL_IDS_MAX	  (BULK_BYTES_MAX / BLOCK_ID_BYTES)
#define HEAL_CALL_MS	  5000u
#define HEAL_RETRY_MS	  1000u	 /* a source that did not answer is asked again */
#define HEAL_FULL_MS	  10000u /* a full disk is tried again */

enum heal_stage {
	HEAL_NONE,    /* nothing to do under this row */
	HEAL_DUE,     /* to be compared with a source, from due_ms on */
	HEAL_BUSY,    /* a merge works on it */
	HEAL_SYNCING, /* what was merged is being synced */
	HEAL_DONE,    /* merged with all; until the row changes */
};

struct heal_group {
	uint64_t epoch; /* of the row that the rest is about */
	uint64_t due_ms;
	uint64_t generation; /* of the sync that it waits for */
	uint32_t lacking;    /* blocks, as far as it is known */
	uint16_t merged;     /* places of the row; synced, told with every heartbeat */
	uint16_t merging;    /* merged once the sync ended */
	uint8_t stage;
	bool is_known; /* it was compared, so `lacking` says something */
};

enum heal_wait { HEAL_WAITS_NOT, HEAL_WAITS_ROOM, HEAL_WAITS_PULLS };

/* One group being merged. Its steps: own digest -> each source: digest, lists, pulls -> the end. */
struct heal_merge {
	struct heal *heal;
	bool is_busy;
	bool is_bringing; /* allowed to pull; else it only looks, */
	bool is_put_off;  /* and found something to bring later */
	pg_no pg;
	struct pg_row row;
	uint32_t start;		/* place of the first source */
	uint32_t place;		/* of the source */
	uint16_t merged, tried; /* places */
	bool has_failed;	/* something of this source could not be had, */
	bool has_lacked;	/* or of an earlier one */
	struct rpc_call call;
	/* digests */
	struct heal_range *own; /* ours, 1 << own_bits of them */
	uint32_t own_bits;
	struct loop_task turn;
	uint32_t bits;		/* of the digest that was asked for */
	uint8_t *differs;	/* by range: the source holds something else */
	/* lists */
	uint32_t range; /* where the search for the next that differs goes on */
	struct block_id from, to;
	struct block_id *ids;
	uint32_t id_count, id_index;
	bool is_list_end;
	enum heal_wait waits;
	uint32_t pulls; /* in flight */
};

struct heal_pull {
	struct heal *heal;
	struct heal_merge *merge; /* NULL: free */
	struct block_id id;
	uint32_t place;	  /* of the source that is asked */
	uint16_t tried;	  /* places */
	uint32_t refused; /* times that the source was overloaded */
	struct rpc_call call;
	struct cs_verify verify;
	struct cs_put put;
	struct buf *record;
	struct loop_timer timer;
};

struct heal {
	struct cs_server *server;
	struct heal_group groups[PG_COUNT];
	struct heal_merge merges[HEAL_MERGES_MAX];
	struct heal_pull pulls[HEAL_PULLS_MAX];
	uint32_t merge_count, bringing, pull_count; /* busy */
	uint32_t pulls_max;
	pg_no cursor;
	uint64_t map_version; /* that was reviewed */
	uint64_t full_until_ms;
	uint64_t blocks, bytes; /* brought */
	uint64_t told_blocks;	/* in the log */
	bool was_working;	/* at the last tick */
	struct cs_disks_sync sync;
	bool is_syncing;
	uint64_t forgotten;  /* times that what was merged had to be forgotten */
	uint64_t sync_after; /* its value when the sync began */
	struct loop_timer timer, soon_timer;
	bool is_stopped;
};

/* --- heal.c ---- */

void cs_heal_soon(struct heal *heal); /* resume what waits for its turn */
/* The merge ended: what it brought is synced, then told. */
void cs_heal_merge_over(struct heal_merge *merge);

/* --- heal_merge.c ---- */

void cs_heal_merge_start(struct heal_merge *merge, pg_no pg);
void cs_heal_merge_resume(struct heal_merge *merge); /* if it waits */

/* --- heal_pull.c ---- */

/* Pull a block that the merge's source listed; false: not now, the merge is resumed. */
must_check bool cs_heal_pull_start(struct heal_merge *merge, const struct block_id *id);
void cs_heal_pull_stop(struct heal_pull *pull); /* if it only waits */

#endif
