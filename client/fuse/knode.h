/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kernel nodes: what the kernel knows an inode by. While a node is open it serves either cached and
 * direct opens ("plain") or passthrough to one backing file; the kernel refuses an open of another
 * kind with EIO. Once nothing is open the node takes either kind. So one node per inode, its home
 * (whose id is the inode number), is enough until opens of different kinds meet; for these there
 * are asides, whose ids carry the inode number and top bits.
 *
 * Invariants: every open that the kernel was told of is counted until its release came, so a node
 * is used in one way at a time; one node of an inode at most is offered for plain opens, since the
 * pages of two would not agree; an id names its inode without this table, so handles of a former
 * mount (name_to_handle_at) decode.
 *
 * An open that its node cannot serve is answered ESTALE: the kernel looks its path up again, where
 * the table chooses the node, and opens that. A retry remembers the thread in between, so that no
 * system call meets ESTALE twice, reserves the node, and keeps what was done.
 *
 * Pure: one thread, time comes in. Bounded (I11): asides by KNODE_ASIDES_MAX, retries by
 * KNODE_RETRIES_MAX, all else by open files.
 */
#ifndef CAIRN_CLIENT_FUSE_KNODE_H
#define CAIRN_CLIENT_FUSE_KNODE_H

#include "fs/base/base.h"

#define KNODE_INO_BITS	  56u
#define KNODE_ASIDES	  15u		/* of one inode: as many old versions as stay open */
#define KNODE_NODES	  (1u + KNODE_ASIDES)
#define KNODE_ASIDES_MAX  16384u	/* of the mount */
#define KNODE_RETRIES_MAX 4096u
/*
 * An open follows its ESTALE within milliseconds, unless it failed on its way or servers are down:
 * then what is kept for it is given up, and later the retry forgotten.
 */
#define KNODE_LAPSE_NS (UINT64_C(60) * 1000000000)
#define KNODE_RETRY_NS (UINT64_C(3600) * 1000000000)

struct knode_table;

/* The inode of a node. */
static inline inode_no knode_ino(uint64_t id)
{
	return id >> 63 ? id & ((UINT64_C(1) << KNODE_INO_BITS) - 1) : id;
}

static inline bool knode_is_aside(uint64_t id)
{
	return id >> 63;
}

/* Ids come back from users' file handles as well. */
bool knode_is_valid(uint64_t id);

struct knode_table *knode_create(void);		/* NULL: out of memory */
void knode_destroy(struct knode_table *t);

/* --- opens; `backing` is what a passthrough open reads, NULL stands for a plain one ---------- */

/* Can this node serve such an open now? */
bool knode_fits(const struct knode_table *t, uint64_t id, const void *backing);
/* The node of the inode that serves such an open best; 0: none can. */
uint64_t knode_choose(const struct knode_table *t, inode_no ino, const void *backing);
/* Count an open. Its node is free or used that way. -E_NOMEM. */
must_check int knode_open(struct knode_table *t, uint64_t id, const void *backing);
void knode_release(struct knode_table *t, uint64_t id);
/* What it is open to by passthrough; NULL: it is free or plain. */
const void *knode_backing(const struct knode_table *t, uint64_t id);

/* --- what the kernel knows ------------------------------------------------------------------- */

/* A reply names this node once more. -E_NOMEM; -E_NOSPC: too many asides. */
must_check int knode_looked_up(struct knode_table *t, uint64_t id);
void knode_forget(struct knode_table *t, uint64_t id, uint64_t lookups);
/* All nodes of an inode that the kernel may know, its home first; their number. */
unsigned knode_list(const struct knode_table *t, inode_no ino, uint64_t out[KNODE_NODES]);
/* Is it known by more than its home? Then no reply may let the kernel keep its attributes. */
bool knode_has_asides(const struct knode_table *t, inode_no ino);

/* --- retries --------------------------------------------------------------------------------- */

/*
 * This thread's open of a node (0: not known) is to be answered ESTALE. False: it must be served
 * instead, for it had one already, cannot be told from others (tid 0), or too many are under way.
 */
bool knode_retry_begin(struct knode_table *t, int tid, uint64_t id, bool is_plain, uint64_t now_ns);
/* Does this thread look up again, and for what kind of open? */
bool knode_retry_find(const struct knode_table *t, int tid, bool *is_plain);
/* It was told of this node. */
void knode_retry_tell(struct knode_table *t, int tid, uint64_t id);
/* ... and nobody takes that for passthrough before it is opened. */
void knode_retry_reserve(struct knode_table *t, int tid, uint64_t id);
/* Something for its open, which has begun; one thing. False: not so. */
must_check bool knode_retry_keep(struct knode_table *t, int tid, void *kept);
void *knode_retry_peek(const struct knode_table *t, int tid);
void *knode_retry_take(struct knode_table *t, int tid);		/* NULL: nothing is kept */
/*
 * This thread opens a node, and nothing is kept. Is it the second try? It is of the node that the
 * thread was told of last, or of the first once more, where there is no name to look up. Any other
 * is a system call of its own: the one before never came back.
 */
bool knode_retry_end(struct knode_table *t, int tid, uint64_t id);
/*
 * Give up and forget what is too old. Something that was kept; NULL: nothing more. At the end
 * (now_ns ~0) everything.
 */
void *knode_retry_lapse(struct knode_table *t, uint64_t now_ns);
bool knode_has_retries(const struct knode_table *t);

#endif
