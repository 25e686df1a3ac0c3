/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is owed: (block, server) pairs, one for each replica that did not get a block when it was
 * accepted. A PG with such an entry is degraded until it is repaid.
 *
 * The truth is a log, file "owed" of the first disk: entries of 48 bytes, each: 0 1 op (1 owed, 2
 * repaid) · 1 3 zero · 4 4 server · 8 32 block id · 40 8 XXH3-64 of 0..39. Entries are of one size,
 * so that one which does not check is stepped over (a torn tail, or damage). Rows are a view of it,
 * built at each start.
 *
 * Durable like the block: cs_disks_sync() also waits for cs_owed_sync(). Threads: the loop's.
 */
#ifndef CAIRN_CHUNK_SERVER_OWED_H
#define CAIRN_CHUNK_SERVER_OWED_H

#include "fs/hash/block_id.h"
#include "fs/io/disk.h"
#include "fs/io/rows.h"

struct cs_owed;

must_check int cs_owed_open(struct loop *loop, struct disk *disk, struct rows *rows,
			    struct cs_owed **out, struct error *err);
int cs_owed_close(struct cs_owed *owed); /* writes and syncs; idle; NULL is allowed */
/* No entry was damaged when it was opened. */
bool cs_owed_was_whole(const struct cs_owed *owed);
bool cs_owed_is_idle(const struct cs_owed *owed);
void cs_owed_drop(struct cs_owed *owed); /* forget it, as a crash does */

/* Remember that `server` lacks the block. 0, also if known; -E_OVERLOADED, -E_IO, -E_NOMEM. */
must_check int cs_owed_add(struct cs_owed *owed, const struct block_id *id, server_no server);
/* It has it now. */
must_check int cs_owed_remove(struct cs_owed *owed, const struct block_id *id, server_no server);
/* The first block >= *id that `server` lacks into *id; -E_NOENT. */
must_check int cs_owed_next(struct cs_owed *owed, server_no server, struct block_id *id);
/* The first server >= *server that lacks something into *server; -E_NOENT. */
must_check int cs_owed_next_server(struct cs_owed *owed, server_no *server);
uint64_t cs_owed_count(const struct cs_owed *owed);
/* Is something of this PG owed? */
bool cs_owed_has_pg(const struct cs_owed *owed, pg_no pg);

/* How often the log was given up since it was opened. */
uint32_t cs_owed_failures(const struct cs_owed *owed);
/*
 * After a failure: whatever was owed is known otherwise now (content.h), so forget it and begin a
 * new log, tried again every second until the disk takes it. Until then adding is refused.
 */
void cs_owed_restart(struct cs_owed *owed);

/* done() once everything added so far is durable; rc 0 or -E_IO. */
struct cs_owed_sync {
	void (*done)(struct cs_owed_sync *sync);
	int rc;
	uint64_t position; /* private */
	struct cs_owed *owed;
	struct loop_task task;
	struct cs_owed_sync *prev, *next;
};
void cs_owed_sync(struct cs_owed *owed, struct cs_owed_sync *sync);

#endif
