/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sealing: a file that was written on the plain grid is cut again by content (fs/tree/cut.h), so
 * that it shares blocks with its versions, re-shards and fine-tunes. It happens behind its writers:
 * some seconds after the last close here, or when somebody asks (`cairn seal`), one file at a time.
 *
 *   headers are walked for tensors -> pieces are read by the root that was published, each block
 *   proved by its id -> cut, named, what is new is put like any block -> the new manifest is sealed
 *   and synced (I2) -> PUBLISH with the old root as recut_of (I13)
 *
 * The bytes, times and length of the file stay. It loses to every writer: while one is here nothing
 * begins, the metadata server refuses where one is elsewhere or the version has changed, and while
 * the PUBLISH is on its way (no longer) edits of the file here wait for it. Given up at any point
 * it leaves blocks that nobody names. Holes stay; a file of which no cut would move gets the mark
 * of its root alone.
 *
 * Bounded (I11): one run with SEAL_BYTES_MAX of content in memory and SEAL_PUTS_MAX blocks on their
 * way, behind readers and writers; SEALS_MAX files wait. What waits is forgotten with the mount:
 * the roots say what is cut by content, and `cairn seal` does the rest.
 *
 * Loop's thread.
 */
#ifndef CAIRN_CLIENT_CORE_SEAL_H
#define CAIRN_CLIENT_CORE_SEAL_H

#include "client/core/core.h"

#define SEALS_MAX 4096u

struct cl_seals;

/* What is known of one file. */
enum cl_seal_state {
	CL_SEAL_NONE = 0,		/* nobody asked for it, or it is long ago */
	CL_SEAL_WAITING,
	CL_SEAL_RUNNING,
	CL_SEAL_DONE,
	CL_SEAL_FAILED,			/* rc says why; -E_BUSY: somebody writes it */
};
struct cl_seal_info {
	enum cl_seal_state state;
	int rc;
	uint64_t bytes, done_bytes;	/* of the content; looked at so far */
	uint64_t blocks_before, blocks_after;
	uint64_t new_blocks;		/* put for it, */
	uint64_t new_bytes;
	uint64_t shared_blocks;		/* of them, these were in the cluster already */
	uint64_t shared_bytes;
};

must_check int cl_seals_create(struct client *c);
/* Nothing begins any more; the run ends here. */
void cl_seals_stop(struct client *c);
void cl_seals_destroy(struct client *c);

/* Content of this inode was published here: seal it when it has been quiet for a while. */
void cl_seal_note(struct client *c, const struct cl_node *node);
/* Somebody wants it sealed: as soon as those before it are. -E_OVERLOADED, -E_NOMEM. */
must_check int cl_seal_ask(struct client *c, inode_no ino);
void cl_seal_info(const struct client *c, inode_no ino, struct cl_seal_info *out);
/* The oldest collection epoch in which blocks were put for what is not published; ~0: none (I9). */
uint64_t cl_seal_oldest(const struct client *c);

#endif
