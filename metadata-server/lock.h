/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Locks of all nodes: who has which bytes of which inode, and who waits for them.
 *
 * An owner is (session, a number of the session's, kind): what a process, or an open file, is to
 * the kernel of a node. POSIX locks and those of flock do not meet. Nothing of it is a row: as with
 * leases a session's locks end with it, and after a restart it claims them again.
 *
 * A request that must wait is queued. Once nothing is in its way the lock is set aside for it, its
 * session is told, and it counts as held from then on; it is had once the session has said that it
 * takes it, and given to others if it says no, for whoever asked may be gone.
 *
 * Nobody starves: who holds nothing waits behind those who came first, if they are in each other's
 * way. Who holds something, or whose process does, takes what is free: made to wait for another's
 * turn he might wait for himself. A cycle of owners who wait for what the next one holds is refused
 * to the one who would close it (POSIX owners only).
 *
 * Bounded (I11): locks and waits of a session, and of all. Pure; one thread.
 */
#ifndef CAIRN_METADATA_SERVER_LOCK_H
#define CAIRN_METADATA_SERVER_LOCK_H

#include "fs/base/ranges.h"

enum ms_lock_kind { MS_LOCK_POSIX = 1, MS_LOCK_FLOCK = 2 };

struct ms_lock_key {
	session_no session;
	uint64_t owner;
	uint64_t kind;			/* enum ms_lock_kind */
};

struct ms_lock_request {
	struct ms_lock_key key;
	inode_no ino;
	uint64_t start, end;
	enum range_mode mode;		/* RANGE_NONE: unlock */
	uint32_t pid;			/* for people, and F_GETLK of the same session */
	uint64_t wait;			/* number of the wait, the session's own; 0: do not wait */
	/* of an open file (OFD): another thread may end the wait, so a cycle proves nothing */
	bool may_cycle;
	bool is_claim;			/* it was held before: see ms_locks_claim() */
	bool holds;			/* the owner has locks that are not told (MS_LOCK_HELD) */
};

/* A lock as it is told. */
struct ms_lock_info {
	struct ms_lock_key key;
	inode_no ino;
	uint64_t start, end;
	enum range_mode mode;
	uint32_t pid;
	bool is_waiting;
};

struct ms_lock_limits {
	uint32_t session_max, all_max;	/* ranges held and waits, together */
};

struct ms_locks;

/* `granted` tells a session that the lock of its wait is set aside; not from within _answer. */
must_check int ms_locks_create(const struct ms_lock_limits *limits,
			       void (*granted)(void *arg, session_no session, uint64_t wait),
			       void *arg, struct ms_locks **out);
void ms_locks_destroy(struct ms_locks *t);

#define MS_LOCK_QUEUED 1
/*
 * Lock or unlock. 0: done; MS_LOCK_QUEUED; -E_AGAIN: it would wait; -E_DEADLK; -E_NOLCK: too many;
 * -E_NOMEM. A wait of a number that is queued already is answered the same again.
 */
must_check int ms_locks_set(struct ms_locks *t, const struct ms_lock_request *r);
/* Would the request meet a lock of another? Then *out is one. */
bool ms_locks_test(const struct ms_locks *t, const struct ms_lock_request *r,
		   struct ms_lock_info *out);
/*
 * A lock that the session had before a restart, or under a write lease: there may be twice as many
 * of a session. -E_NO_LEASE: another has it; -E_NOLCK, -E_NOMEM.
 */
must_check int ms_locks_claim(struct ms_locks *t, const struct ms_lock_request *r);

/* What was set aside is taken. -E_NOMEM: it stays set aside. A number that is not known: 0. */
must_check int ms_locks_take(struct ms_locks *t, session_no session, uint64_t wait);
/* The wait is over, whatever came of it. */
void ms_locks_cancel(struct ms_locks *t, session_no session, uint64_t wait);
/* Tell again what is set aside: the first message may be lost. */
void ms_locks_tell(struct ms_locks *t, session_no session);
void ms_locks_drop_session(struct ms_locks *t, session_no session);

struct ms_lock_counts { uint64_t held, waiting, sessions; };
void ms_locks_counts(const struct ms_locks *t, struct ms_lock_counts *out);
/* Locks and waits of an inode (0: of all) in no certain order, until fn returns false. */
void ms_locks_list(const struct ms_locks *t, inode_no ino,
		   bool (*fn)(void *arg, const struct ms_lock_info *info), void *arg);

#endif
