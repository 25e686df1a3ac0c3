/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by lock.c and lock_wait.c only; the contract is lock.h. */
#ifndef CAIRN_METADATA_SERVER_LOCK_INTERNAL_H
#define CAIRN_METADATA_SERVER_LOCK_INTERNAL_H

#define HASH_NONFATAL_OOM 1	/* an add that failed leaves hh.tbl NULL */
#include <uthash.h>
#include <utlist.h>

#include "metadata-server/lock.h"

/* An inode while somebody has, or waits for, bytes of it. */
struct lock_file {
	inode_no ino;
	struct lock_holder *holders;
	struct lock_wait *waits;	/* as they came */
	UT_hash_handle hh;
};

/* What one owner has of one inode. Lives while it has something. */
struct lock_holder {
	struct lock_file *file;
	struct lock_owner *owner;
	struct ranges ranges;
	struct lock_holder *prev, *next;		/* of the file */
	struct lock_holder *owner_prev, *owner_next;
};

struct lock_wait_key { session_no session; uint64_t number; };

struct lock_wait {
	struct lock_wait_key key;
	struct lock_file *file;
	struct lock_owner *owner;
	uint64_t start, end;
	enum range_mode mode;
	uint32_t pid;
	bool holds;
	bool is_granted;		/* set aside: in the way of others as if it were held */
	struct lock_wait *prev, *next;			/* of the file */
	struct lock_wait *owner_prev, *owner_next;
	UT_hash_handle hh;
};

struct lock_owner {
	struct ms_lock_key key;
	struct lock_session *session;
	uint32_t pid;
	uint64_t mark;			/* of the last search that saw it */
	struct lock_holder *holders;
	struct lock_wait *waits;
	struct lock_owner *prev, *next;			/* of the session */
	UT_hash_handle hh;
};

struct lock_session {
	session_no number;
	struct lock_owner *owners;
	uint32_t count;			/* ranges and waits */
	UT_hash_handle hh;
};

struct ms_locks {
	struct ms_lock_limits limits;
	void (*granted)(void *arg, session_no session, uint64_t wait);
	void *arg;
	struct lock_file *files;
	struct lock_owner *owners;
	struct lock_session *sessions;
	struct lock_wait *waits;
	uint64_t held, waiting;
	uint64_t mark;
};

/* lock.c */
/* Free what holds nothing any more. */
void ms_lock_settle(struct ms_locks *t, struct lock_file *file, struct lock_owner *owner);
must_check int ms_lock_apply(struct ms_locks *t, struct lock_file *file, struct lock_owner *owner,
			  const struct range *r);

/* lock_wait.c */
/* Is what another owner holds in the way? One such, or NULL. */
const struct lock_owner *ms_lock_blocker(const struct lock_file *file,
					 const struct lock_owner *owner, const struct range *r,
					 struct range *at);
/* Is one who came before `until` (NULL: everybody) waiting for what is in the way of this? */
bool ms_lock_has_turn(const struct lock_file *file, const struct lock_owner *owner,
		   const struct range *r, const struct lock_wait *until);
bool ms_lock_closes_cycle(struct ms_locks *t, const struct lock_file *file,
		       const struct lock_owner *owner, const struct range *r);
must_check int ms_lock_enqueue(struct ms_locks *t, struct lock_file *file, struct lock_owner *owner,
			    const struct ms_lock_request *r);
struct lock_wait *ms_lock_wait_find(const struct ms_locks *t, session_no session, uint64_t number);
void ms_lock_wait_end(struct ms_locks *t, struct lock_wait *w);
/* Set aside what waits for bytes of this file and is free now. */
void ms_lock_wake(struct ms_locks *t, struct lock_file *file);

#endif
