/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of blocks share: blocks.c (map, servers, routes, work), blocks_get.c, blocks_put.c
 * (also what a reput does for each id), blocks_encode.c (names and records, on workers),
 * blocks_probe.c (HAVE, in batches) and blocks_sync.c (sync and reput).
 *
 * An operation has a state of its own, which outlives a cancelled operation while a worker still
 * uses it. Its deadline is a timer; every other step is the answer of a call, a finished work, or a
 * pause.
 */
#ifndef CAIRN_FS_NET_BLOCKS_INTERNAL_H
#define CAIRN_FS_NET_BLOCKS_INTERNAL_H

#include <uthash.h>

#include "fs/net/blocks.h"

#define BLOCKS_CANDIDATES_MAX (COPIES_MAX + FORMERS_MAX)
#define BLOCKS_PAUSE_MS_MIN   5u   /* no buffer, no credit */
#define BLOCKS_PAUSE_MS_MAX   500u /* between rounds over all replicas: doubles up to this */
#define BLOCKS_HEDGE_US_MAX   100000u
#define BLOCKS_HEDGE_US_MIN   1000u

struct blocks_server {
	server_no server;
	struct rpc_peer *peer;
	char address[SERVER_ADDRESS_BYTES_MAX];
	UT_hash_handle hh;
};

struct blocks_scratch {
	struct codec_scratch *codec;
	struct blocks_scratch *next;
};

/*
 * A server gave us a wrong record: it is asked to CHECK it, once per block and server in a while.
 */
#define BLOCKS_CHECKS_MAX 64u
#define BLOCKS_CHECK_PAUSE_NS (60ull * 1000000000u)
struct blocks_check {
	struct block_id id;
	server_no server; /* 0: unused */
	uint64_t asked_ns;
	bool is_asking;
	struct rpc_call call;
};

struct get_state;
struct put_state;
struct sync_state;
struct reput_state;

struct blocks {
	struct blocks_options o;
	struct map *map;
	struct blocks_server *servers;	  /* hash by number */
	struct blocks_scratch *scratches; /* idle ones; as many as workers were busy at once */
	uint32_t work_count;		  /* states in the hands of workers */
	bool is_destroyed;		  /* freed when work_count is 0 */

	struct rpc_call map_call;
	struct loop_timer map_timer;
	bool map_is_asking, map_again;
	uint64_t map_version_seen; /* of the first page: what the rows are at least */
	uint64_t map_rounds;	   /* how often it was fetched to its end */

	uint64_t told_ns;    /* when it was said last that something waits */

	uint32_t hedge_us;   /* estimate of the p95 of gets */
	uint32_t probe_hits; /* of 1,024, smoothed: how often a probe found its block */
	uint32_t probe_skipped;
	struct codec_plan plan;		   /* of the block encoded last; raw: so will be the next */
	struct blocks_encode *encodes;	   /* wait for the end of this turn */
	struct loop_timer encode_timer;
	struct blocks_probe *probes; /* the same */
	struct loop_timer probe_timer;

	struct blocks_check checks[BLOCKS_CHECKS_MAX];

	struct get_state *gets;
	struct put_state *puts;
	struct sync_state *syncs;
	struct reput_state *reputs;
};

/* The map_rounds at which the map is newer than this moment. */
uint64_t blocks_map_fresh_rounds(const struct blocks *b);

/* A server that the map knows, NULL otherwise; its peer is made on demand. */
struct blocks_server *blocks_server_of(struct blocks *b, server_no server);

/* Which of a block's replicas have been asked in this round. */
struct blocks_route {
	struct blocks *b;
	struct block_id id;
	uint64_t epoch; /* of the row that the round is over; 0: none known */
	uint64_t run;	/* of a get; 0: none */
	bool is_part;	/* of a block of that run */
	server_no tried[BLOCKS_CANDIDATES_MAX];
	uint8_t tried_count;
	uint32_t pause_ms;
};
void blocks_route_init(struct blocks_route *r, struct blocks *b, const struct block_id *id);
/* The row of the block, NULL while unknown. A newer one begins the round anew. */
const struct pg_row *blocks_route_row(struct blocks_route *r);
/* The best server that was not tried; NULL: none left. Counts as tried from now on. */
struct blocks_server *blocks_route_next(struct blocks_route *r, bool with_formers);
void blocks_route_forget(struct blocks_route *r, server_no server); /* may be tried again */
/* An answer brought a row (-E_STALE_EPOCH): take it; the map is fetched as well. */
void blocks_route_learn(struct blocks_route *r, const ProtobufCBinaryData *pg_row);
uint32_t blocks_route_pause(struct blocks_route *r); /* ms before the next round, which it begins */
/*
 * Say, once in a while, that `what` waits since start_ns for servers of this row; and that it goes
 * on.
 */
void blocks_route_tell(struct blocks_route *r, const char *what, uint64_t start_ns);
void blocks_route_tell_end(struct blocks_route *r, const char *what, uint64_t start_ns);

uint32_t blocks_left_ms(const struct blocks *b, uint64_t deadline_ns); /* >= 1 */
uint32_t blocks_call_ms(const struct blocks *b, uint64_t deadline_ns); /* of one attempt */
void *blocks_state_new(size_t bytes);

/* A state goes to a worker with a scratch, and comes back. -E_NOMEM. */
must_check int blocks_work_begin(struct blocks *b, struct blocks_scratch **out);
void blocks_work_end(struct blocks *b, struct blocks_scratch *scratch); /* may free b */

/*
 * Name a block, or make its record, or both, on a worker. Zero it, fill plain .. done.
 * -E_OVERLOADED: no buffer now. done() runs also after what it was for has ended: once it is busy,
 * it stays where it is until then.
 */
struct blocks_encode {
	struct buf *plain; /* borrowed */
	struct block_id id;
	bool has_id; /* else it is made */
	bool wants_record;
	void (*done)(struct blocks_encode *e);
	uint8_t head[RECORD_HEADER_BYTES]; /* the record: this, and behind it */
	struct buf *stored;		   /* ours; NULL: the plain bytes themselves */
	bool is_waiting, is_busy;	   /* private */
	uint32_t stored_len;
	struct blocks_encode *prev, *next;
};
must_check int blocks_encode_start(struct blocks *b, struct blocks_encode *e);
void blocks_encode_cancel(struct blocks *b, struct blocks_encode *e); /* if a worker has it not */
void blocks_encode_finish(struct blocks_encode *e);
void blocks_encode_turn(struct loop_timer *timer);
/* Would a record cost next to nothing, since the last block was stored raw at sight? */
bool blocks_encode_is_cheap(const struct blocks *b);

/*
 * Ask one server who holds a block: what is asked of it in one turn goes in one call. done() with
 * what the call ended with, and the answer of this block if that was 0.
 */
#define BLOCKS_PROBE_IDS_MAX 64u
struct blocks_probe {
	server_no server;
	struct block_id id;
	uint32_t deadline_ms;
	void (*done)(struct blocks_probe *probe, int rc, const Wire__HaveAnswer *answer,
		     uint64_t collection);
	struct probe_call *call; /* private; NULL: waits, or nothing is asked */
	bool is_waiting;
	struct blocks_probe *prev, *next;
};
void blocks_probe_start(struct blocks *b, struct blocks_probe *probe);
void blocks_probe_cancel(struct blocks *b, struct blocks_probe *probe); /* may be repeated */
void blocks_probe_turn(struct loop_timer *timer);

/* -E_OVERLOADED: no room for another mark. */
must_check int blocks_marks_add(struct blocks_marks *marks, const struct blocks_mark *mark);
/* All marks are of one block. */
void blocks_marks_seal(struct blocks_marks *marks);
/* Is every block on min_copies servers whose marks are good? */
bool blocks_marks_suffice(const struct blocks_marks *marks, const bool *is_good,
			  uint8_t min_copies);

/* As blocks_put_start(), but without plain: ask who has it, read it there, put it where it is
 * missing. */
void blocks_put_start_reput(struct blocks *b, struct blocks_put *put);

void blocks_get_end_all(struct blocks *b);
void blocks_check_end_all(struct blocks *b);
void blocks_put_end_all(struct blocks *b);
void blocks_sync_end_all(struct blocks *b);
void blocks_put_abandon(struct blocks_put *put); /* no done(); for reput */

#endif
