/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by locks.c and locks_send.c only; the contract is locks.h. */
#ifndef CAIRN_CLIENT_CORE_LOCKS_INTERNAL_H
#define CAIRN_CLIENT_CORE_LOCKS_INTERNAL_H

#include "client/core/file.h"
#include "client/core/locks.h"

#define LOCK_KIND_POSIX 1u
#define LOCK_KIND_FLOCK 2u
#define LOCK_CLAIMS_MAX 512u		/* in one message */

struct lock_key { inode_no ino; uint64_t owner, kind; };

/*
 * An inode with locks. While this client has its write lease nobody else has it open: its locks are
 * decided here, and the server hears of them when the lease is recalled, or when somebody has to
 * wait, for the queue is the server's.
 */
struct lock_inode {
	inode_no ino;
	struct lock_entry *entries;
	bool is_local;
	/* messages on their way that tell of them; none is decided meanwhile */
	uint32_t pushes;
	bool has_failed;		/* one of them: all are sent again by the sweep */
	struct cl_op *waiters;		/* for that */
	UT_hash_handle hh;
};

/* What one owner has of one inode, as far as the server has said so. */
struct lock_entry {
	struct lock_key key;
	struct lock_inode *inode;
	struct ranges ranges;
	uint32_t pid;
	uint32_t calls;			/* on their way, or waiting */
	struct cl_handle *handle;	/* that it locked by last; NULL: closed */
	/* All of it goes: nothing is held any more; the server is told until it has answered. */
	bool is_dropping, is_drop_sent;
	struct cl_op *waiters;		/* for that */
	uint64_t reclaim_round, reclaim_from;
	struct lock_entry *prev, *next;	/* of the handle */
	struct lock_entry *inode_prev, *inode_next;
	UT_hash_handle hh;
};

/* A request for a lock, from its first sending to what came of it. */
struct lock_call {
	struct client *client;
	struct cl_op *op;		/* NULL: given up */
	struct lock_entry *entry;
	uint64_t start, end, wait;
	enum range_mode mode;
	bool is_waiting;		/* in the server's queue */
	bool is_granted;		/* told before the answer to the request itself */
	struct lock_call *prev, *next;	/* all of the client */
};

struct cl_locks {
	struct lock_inode *inodes;
	struct lock_entry *entries;
	struct lock_call *calls;
	uint32_t local_ranges;		/* that the server has not been told of */
	uint64_t wait_number;
	uint64_t *taken;		/* waits that we took, and the server may not know it */
	uint32_t taken_count, taken_capacity;
	bool has_posix;			/* ever */
	bool has_unsent;		/* drops, for the sweep */
};

/* locks.c */
void cl_locks_entry_settle(struct client *c, struct lock_entry *entry);
must_check int cl_locks_call_apply(struct lock_call *call);
void cl_locks_call_free(struct lock_call *call);
void cl_locks_entry_dropped(struct client *c, struct lock_entry *entry, bool is_done);

struct lock_claims {
	Wire__LockClaim claims[LOCK_CLAIMS_MAX], *list[LOCK_CLAIMS_MAX];
	size_t count;
};
/* The entry's ranges from reclaim_from on, as far as there is room. */
void cl_locks_claim_entry(struct lock_entry *entry, struct lock_claims *out);

/* locks_local.c */
must_check bool cl_locks_inode_join(struct client *c, struct lock_entry *entry);
/* What is not told goes. */
void cl_locks_local_clear(struct client *c, struct lock_entry *entry);
void cl_locks_inode_leave(struct client *c, struct lock_entry *entry);
/* Decide it here: true, the operation has ended or waits; false: the server decides. */
bool cl_locks_local_set(struct cl_op *op, struct lock_entry *entry);
/* An inode of which the server knows all now. */
void cl_locks_inode_told(struct client *c, struct lock_inode *inode, bool is_done);
/* True: it was answered here. */
bool cl_locks_get_local(struct cl_op *op);
/* Does the owner, or its process, hold what the server was not told of? */
bool cl_locks_owner_has_local(const struct client *c, const struct lock_entry *owner);

/* locks_send.c */
must_check int cl_locks_send(struct lock_call *call);
void cl_locks_send_cancel(struct client *c, const struct lock_call *call);
void cl_locks_send_unlock(struct client *c, const struct lock_entry *entry, uint64_t start,
		      uint64_t end);
/* Its whole owner; false: out of memory. cl_locks_entry_dropped() follows. */
must_check bool cl_locks_send_drop(struct client *c, struct lock_entry *entry);
must_check int cl_locks_taken_add(struct cl_locks *locks, uint64_t wait);
bool cl_locks_is_taken(const struct cl_locks *locks, uint64_t wait);
/* What came of it, once it is out of the hands of requests. */
void cl_locks_call_end(struct lock_call *call, int rc, bool is_queued);
void cl_locks_call_orphaned(struct lock_call *call, int rc, bool is_queued);

/* What they hold of the inode: as many messages as it takes. */
void cl_locks_send_held(struct client *c, struct lock_inode *inode);

#endif
