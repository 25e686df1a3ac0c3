/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes that the metadata server has acknowledged to this client and may not have on disk yet:
 * which inodes they changed. A power failure of the server may take them; then an fsync of such an
 * inode fails, though its handle was opened after the failure and knows nothing of it (D2). As with
 * errseq_t of Linux each handle that was open hears of it once, and so does the first that is
 * opened later.
 *
 * Every answer of the server tells what is on disk by then. Bounded: with more changes under way
 * the oldest are forgotten, and if a failure reaches so far back, for a while every fsync fails.
 * Loop's thread.
 */
#ifndef CAIRN_CLIENT_CORE_CHANGES_H
#define CAIRN_CLIENT_CORE_CHANGES_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/base/base.h"

struct client;
struct cl_req;
struct cl_handle;
struct cl_change;

struct cl_changes {
	struct cl_change *table;	/* uthash by inode */
	struct cl_change *list;		/* not known to be durable, the oldest first */
	struct cl_change *lost;		/* a failure took them, the oldest first */
	uint32_t count, lost_count;
	uint64_t losses;		/* failures that took something; what handles have seen */
	uint64_t forgotten_term, forgotten_number;	/* the newest beyond the bound */
	uint64_t all_lost_until_ns;	/* it is not known of which inodes; 0: it is */
};

/* A request of this client was answered, with success: what did it change? */
void cl_changes_note(const struct cl_req *req);
/* What was acknowledged in `term` up to `number` is on disk. */
void cl_changes_durable(struct client *c, uint64_t term, uint64_t number);
/* A term of the server that is over, and the one that has come. */
struct cl_term_end {
	uint64_t term;
	uint64_t lost_from;	/* number of the first record of it that was lost; 0: none was */
	uint64_t next;
};
void cl_changes_term(struct client *c, const struct cl_term_end *end);

/*
 * The server told the asker of `h` that the term which is known here has ended with a loss, before
 * a renewal did: it need not hear of that again. `h` may be NULL.
 */
void cl_changes_told(const struct client *c, struct cl_handle *h, uint64_t term);
/* For a handle that is opened now: up to which loss it need not be told. */
uint64_t cl_changes_seen(const struct client *c, inode_no ino);
/*
 * At the end of an fsync that would succeed: 0, or -E_OTHER_TERM. `h`: NULL: of nobody who would
 * ask again; `ino`: 0: of all that this client changed.
 */
must_check int cl_changes_error(struct client *c, inode_no ino, struct cl_handle *h);

void cl_changes_finish(struct client *c);

#endif
