/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The collector: finds out which blocks live and has the chunk servers trash the rest (I9).
 *
 * A cycle: raise the collection epoch (collection.c says when it may) -> every chunk server that is
 * not out or removed confirms it -> list the roots at one sequence -> walk them and send marks ->
 * every server says that its marks are complete, and the list is durable -> sweep. Whatever answers
 * wrongly, not at all, or under another boot id or other placement rows ends the cycle, and nothing
 * was deleted.
 *
 * Every inode row is a root, so that files without a name that are still open are, and what read
 * leases are granted on: a lease covers the root of the row.
 *
 * Memory is bounded: a batch of roots, one node a level for each of a few walks, marks of one batch
 * or two for each server, a fixed table of the nodes walked last. Everything waits with a deadline;
 * nothing of a cycle outlives the process. Threads: the loop's; rows are read on workers.
 */
#ifndef CAIRN_METADATA_SERVER_COLLECTOR_H
#define CAIRN_METADATA_SERVER_COLLECTOR_H

#include "fs/wire/msg.h"

struct ms_server;
struct ms_collector;

/* Numbers of the wire: Gc.action and GcStatus.phase. */
enum ms_collector_action { MS_GC_TELL, MS_GC_NOW, MS_GC_DRY_RUN, MS_GC_STOP };
enum ms_collector_phase {
	MS_GC_IDLE, MS_GC_RAISE, MS_GC_BEGIN, MS_GC_LIST, MS_GC_MARK, MS_GC_CHECK, MS_GC_SWEEP,
	MS_GC_END
};

/*
 * every_ms: a cycle by itself so often, 0: only when asked; grace_ms: how long their trash is kept.
 */
must_check int ms_collector_create(struct ms_server *s, uint64_t every_ms, uint64_t grace_ms,
				   struct ms_collector **out);
void ms_collector_destroy(struct ms_collector *c);	/* NULL is allowed */
void ms_collector_tick(struct ms_collector *c);
void ms_collector_map_changed(struct ms_collector *c);
bool ms_collector_is_idle(const struct ms_collector *c);	/* no worker reads for it */
/* Gc.action; an unknown one: -E_INVAL. */
must_check int ms_collector_ask(struct ms_collector *c, uint32_t action);

#define MS_GC_UNWALKABLE_MAX 16u	/* named; there may be more */
/* Everything but pointers is copied; those lead into the collector. */
void ms_collector_status(struct ms_collector *c, Wire__GcStatus *out);
/* of one that is named there; or "" */
const char *ms_collector_path(const struct ms_collector *c, inode_no ino);

#endif
