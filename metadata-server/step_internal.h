/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the state machine share: the state, one operation in work, and who does what.
 * Private to them; the contract is step.h.
 *
 * Rules that keep it simple:
 * - an operation decides first and changes then: after its first put it cannot fail any more;
 * - it names the leases that would be in its way (wants) before it changes anything; if there are
 *   such, it parks and is run again from its start when they are gone, so no handler has a second
 *   half;
 * - what is not a row is rebuilt after a restart: leases and opens by reclaim, heartbeats by the
 *   next one.
 */
#ifndef CAIRN_METADATA_SERVER_STEP_INTERNAL_H
#define CAIRN_METADATA_SERVER_STEP_INTERNAL_H

#define HASH_NONFATAL_OOM 1	/* an add that failed leaves hh.tbl NULL */
#include <sys/stat.h>
#include <uthash.h>
#include <utlist.h>

/*
 * Shorter chains than uthash's 10: a lookup in the lease table is one or two cache misses, not
 * five.
 */
#undef HASH_BKT_CAPACITY_THRESH
#define HASH_BKT_CAPACITY_THRESH 4U

#include "metadata-server/acl.h"
#include "metadata-server/dir.h"
#include "metadata-server/inode.h"
#include "metadata-server/key.h"
#include "metadata-server/lock.h"
#include "metadata-server/step.h"
#include "metadata-server/trash.h"
#include "metadata-server/txn.h"

enum ms_op_number {
#define X(name, number, request, reply, who) MS_OP_##name = number,
#include "fs/wire/messages.def"
#undef X
};

#define MS_OP_PARKED		1	/* a handler's answer: not now, wants say why */
#define MS_WANTS_MAX		8u
#define MS_INODE_RANGE		(1u << 20)	/* numbers set aside at once */
/* of one event; beyond it the rest waits for the next event */
#define MS_EVENT_BYTES_SOFT	KiB(64)
#define MS_PARKED_BYTES_MAX	MiB(256)
#define MS_TERMS_KEPT		64u
/*
 * A client that renews but leaves a recall unanswered for so many leases is fenced: nothing waits
 * for ever.
 */
#define MS_RECALL_LEASES_MAX	6u

_Static_assert(MS_EVENT_BYTES_SOFT + 2 * ROW_VALUE_BYTES_MAX <= JOURNAL_RECORD_BYTES_MAX,
	       "what is begun below the soft bound fits the record");

/* --- leases and opens (lease.c) --------------------------------------------------------------- */

struct ms_lease_key {
	inode_no ino;
	uint64_t name_hash;
};

/*
 * A thing that may be leased: an inode (name_hash 0) or a name. Lives while claimed or waited for.
 */
struct ms_node {
	struct ms_lease_key key;
	struct ms_claim *claims;
	struct ms_wait *waits;		/* parked operations, in order */
	/* claims with a recall outstanding; no new grants meanwhile */
	uint32_t recalled;
	UT_hash_handle hh;
};

/* What one session has on a node: a lease, and how often it has the inode open. */
struct ms_claim {
	struct ms_node *node;
	struct ms_session *session;
	enum ms_lease_mode mode;
	uint32_t opens;
	bool is_writer;			/* some open is to write; not known after a restart */
	uint32_t reclaim_opens;		/* counted in the reclaim message `reclaim_mark` */
	uint64_t reclaim_mark;
	bool is_recalled;
	bool recall_owner;		/* it said that the owner changes */
	enum ms_lease_mode recall_to;
	/* number of its first recall: older answers are not about this claim */
	uint64_t recall_first;
	uint64_t recall_begun_ms, recall_sent_ms;
	struct ms_claim *prev, *next;			/* on the node */
	struct ms_claim *session_prev, *session_next;
	struct ms_claim *recall_prev, *recall_next;	/* state->recalls, oldest first */
};

struct ms_want {
	inode_no ino;
	uint64_t name_hash;
	enum ms_lease_mode mode;	/* READ: no other writes; WRITE: no other has any lease */
};

/* --- sessions (session.c) --------------------------------------------------------------------- */

struct ms_session {
	session_no number;
	uint8_t nonce[16];
	uint64_t expires_ms;		/* leases are valid until then (I6) */
	bool is_back;			/* since this term began: reclaimed, or opened in it */
	/* newest collection epoch it was told of, when it renewed last; */
	uint64_t collection_seen;
	uint64_t collection_oldest;	/* of its blocks not yet published; 0: none */
	uint64_t credit_bytes;		/* granted and not settled */
	uint64_t credit_wanted;		/* when it asked last */
	uint64_t slots_stored;		/* bit: the slot has a row */
	uint64_t slots_loaded;		/* bit: the result is of an earlier term */
	struct ms_slot_value slots[SESSION_SLOTS];
	struct ms_parked *slot_parked[SESSION_SLOTS];
	struct ms_claim *claims;
	uint32_t lease_count;
	struct ms_reservation *reservations;	/* of quotas */
	uint32_t reservation_count;
	UT_hash_handle hh;
};

/* Bytes that a session may write into a tree before it publishes them (quota_room.c). */
struct ms_reservation {
	inode_no quota;
	uint64_t bytes;
	struct ms_reservation *prev, *next;
};
#define MS_RESERVATIONS_MAX	1024u	/* of a session */
#define MS_QUOTAS_MAX		4096u
#define MS_QUOTA_DEPTH_MAX	16u	/* a charge changes so many rows */
/* whatever a session says: what it needs beside what it uses cannot overflow */
#define MS_QUOTA_CLAIM_MAX	(UINT64_C(1) << 62)

/* --- parked requests (park.c) ----------------------------------------------------------------- */

struct ms_wait {
	struct ms_node *node;
	struct ms_parked *parked;
	struct ms_wait *prev, *next;
};

struct ms_parked {
	struct ms_request req;		/* its pointers lead into copy[] */
	uint64_t token;
	struct ms_session *session;	/* NULL: of none */
	bool is_ready;
	struct ms_wait waits[MS_WANTS_MAX];
	uint32_t wait_count;
	uint32_t bytes;
	struct ms_parked *prev, *next;	/* state->parked or state->ready */
	uint8_t copy[];
};

/* --- membership (membership.c, placement.c, heal.c) ------------------------------------------- */

/* that placement and healing change: at most 75 bytes each in the record */
#define MS_ROWS_PER_TICK 1024u

struct ms_member {
	server_no server;
	struct ms_server_stats stats;
	uint32_t media_bytes;
	uint8_t media[MEDIA_STATUS_BYTES_MAX];
	bool is_heard;			/* it told `content` in this term */
	bool was_gone;			/* at the last tick */
	uint64_t content;		/* 0: it tells none */
	/* all its groups were degraded for this one; 0: there is no row */
	uint64_t content_stored;
	uint64_t content_from;		/* ms_state.swept when the sweep for `content` began */
	/* placement groups of which it is a replica, at groups_version (space.c) */
	uint32_t groups;
	uint64_t settled_bytes;		/* plain bytes published since its last heartbeat */
	/* placement groups with owed entries, of its last heartbeat */
	uint8_t owed[PG_COUNT / 8];
	uint64_t map_version;		/* that it knew then */
	uint64_t back_version;		/* of the map that told that it is back; 0: never away */
	uint64_t turn_ended_ms;		/* its last turn to encode anew; 0: it had none */
	UT_hash_handle hh;
};

/* What replicas of a group said they have merged; volatile, told again with each heartbeat. */
struct ms_merge {
	uint64_t epoch;			/* of the row, when they said so */
	uint16_t sources[COPIES_MAX];	/* by replica: bit i is place i of the row */
};

/* --- the state -------------------------------------------------------------------------------- */

#define MS_LISTING_BYTES_MAX	(MESSAGE_BYTES_MAX - 4096u)
#define MS_LISTING_ENTRIES_MAX	1536u
#define MS_CLONES_MAX		32u	/* not yet shown, at a time */

struct ms_state {
	struct ms_config config;
	struct ms_txn *txn;

	struct ms_counters counters;
	inode_no next_ino, usable_limit;
	bool reserve_asked;

	struct ms_node *nodes;
	struct ms_claim *recalls;
	uint64_t recall_number;
	uint64_t lease_count;
	struct ms_locks *locks;

	struct ms_session *sessions;
	uint32_t session_count;
	uint64_t reclaim_mark;
	bool is_recovering;
	uint64_t recovery_ends_ms;
	uint64_t term, term_base;

	struct ms_parked *parked, *ready;
	uint32_t parked_count;
	uint64_t parked_bytes;

	bool sweep;			/* orphans may have lost their last session */
	inode_no sweep_ino;		/* where the next look begins */
	session_no sweep_session;
	inode_no move_from;		/* inline content to move: where the next look begins */
	uint64_t move_next_ms;

	bool quota_walks;		/* there may be rows of quota_walk.c */
	struct ms_quota_room *quota_rooms;
	struct ms_quota_info quotas[MS_REPLY_QUOTAS_MAX];

	uint64_t collection;		/* epoch */
	uint64_t trash_entries, trash_bytes;	/* of all trees */
	inode_no trash_from;		/* tree to look at next, */
	uint64_t trash_next_ms;		/* once it is 0: not before */
	struct ms_clone_heard { inode_no ino; uint64_t heard_ms; } clones[MS_CLONES_MAX];

	struct map *map;
	server_no last_server;
	struct ms_member *members;
	uint64_t groups_version;	/* of the map, when groups were counted */
	uint64_t first_join_ms;
	/* rows of the map looked at so far, in a circle; and to be looked at */
	uint64_t swept, sweep_until;
	struct ms_merge *merges;	/* PG_COUNT */
	uint64_t heal_next_ms;
	/* the turn to encode anew (turn.c) */
	struct ms_turn {
		server_no server;	/* 0: nobody has it */
		uint64_t began_ms;
		uint64_t until_ms;	/* nobody else gets it before */
		uint64_t looked_ms;	/* at the groups; and what was seen: */
		bool are_groups_well;
	} turn;

	uint64_t ticked_ms;		/* the last tick, or the begin of the term */
	bool is_frozen;			/* nothing can be recorded any more */

	/* of the event in work */
	uint64_t now_ms, wall_ns;
	ms_effect_fn fn;
	void *fn_arg;

	/* of the reply in work */
	uint8_t *reply_bytes;		/* ROW_VALUE_BYTES_MAX */
	struct ms_dir_entry *entries;	/* MS_LISTING_ENTRIES_MAX */
};

/* One operation in work. */
struct ms_op {
	struct ms_state *state;
	const struct ms_request *req;
	struct ms_session *session;	/* NULL: an operation without one */
	struct ms_parked *parked;	/* it was parked before */
	struct ms_want wants[MS_WANTS_MAX];
	uint32_t want_count;
	bool is_beside_opens;		/* a write lease may be given though others have it open */
	bool changes_owner;		/* its recalls say so */
	struct ms_effect effect;	/* the reply grows in it */
};

/* step.c */
void ms_step_emit(struct ms_state *state, const struct ms_effect *effect);
void ms_step_reply(struct ms_state *state, uint64_t token, int rc);	/* a bare result */
void ms_step_counters_put(struct ms_state *state);

/* lease.c */
/* Other readers of the inode keep their leases, and ask for its attributes again. */
void ms_lease_outdate(struct ms_state *state, const struct ms_session *session, inode_no ino);
/* Does another session write it, as far as is known, or wait for it? */
bool ms_lease_is_contended(struct ms_state *state, const struct ms_session *session, inode_no ino);
void ms_lease_want(struct ms_op *op, inode_no ino, uint64_t name_hash, enum ms_lease_mode mode);
/*
 * Is another session's lease in the way of the wants? Then it is recalled, and the operation parks.
 */
must_check bool ms_lease_is_blocked(struct ms_op *op);
/* The same, the session's own leases included: for what it does not do under them. */
must_check bool ms_lease_is_blocked_by_all(struct ms_op *op);
/*
 * Give the op's session a lease if nothing speaks against it, and say so in the reply. What it has
 * then.
 */
enum ms_lease_mode ms_lease_grant(struct ms_op *op, inode_no ino, uint64_t name_hash,
				  enum ms_lease_mode mode, struct ms_lease *out);
enum ms_lease_mode ms_lease_grant_reply(struct ms_op *op, inode_no ino, uint64_t name_hash,
					enum ms_lease_mode mode);
struct ms_claim *ms_lease_find(struct ms_state *state, const struct ms_session *session,
			       inode_no ino, uint64_t name_hash);
/* or NULL */
struct ms_node *ms_lease_node(struct ms_state *state, inode_no ino, uint64_t name_hash);
bool ms_lease_is_written(struct ms_state *state, const struct ms_session *session, inode_no ino);
bool ms_lease_is_open_elsewhere(struct ms_state *state, const struct ms_session *session,
				inode_no ino);
/* Count one open; NULL: out of memory. */
must_check struct ms_claim *ms_lease_open(struct ms_state *state, struct ms_session *session,
					  inode_no ino, bool write);
/* One open less; true: it was the session's last of this inode. */
bool ms_lease_close(struct ms_state *state, struct ms_session *session, inode_no ino);
void ms_lease_lower(struct ms_state *state, struct ms_claim *claim, enum ms_lease_mode mode);
/* An answer to a recall, or a return (recall 0). */
void ms_lease_answer(struct ms_state *state, struct ms_session *session,
		     const struct ms_request *req, uint64_t recall);
/*
 * After a restart: a lease that the session had. -E_NO_LEASE: another has what forbids it;
 * -E_NOMEM.
 */
must_check int ms_lease_reclaim(struct ms_state *state, struct ms_session *session,
				const struct ms_lease *lease);
must_check int ms_lease_reclaim_open(struct ms_state *state, struct ms_session *session,
				     inode_no ino);
void ms_lease_drop_session(struct ms_state *state, struct ms_session *session);
void ms_lease_slept(struct ms_state *state, uint64_t slept_ms);
void ms_lease_tick(struct ms_state *state);
/* if nobody needs it */
void ms_lease_node_release(struct ms_state *state, struct ms_node *node);
struct ms_node *ms_lease_node_make(struct ms_state *state, inode_no ino, uint64_t name_hash);

/* locking.c */
must_check int ms_locking_create(struct ms_state *state);
int ms_locking_set(struct ms_op *op);
int ms_locking_test(struct ms_op *op);
/* Of MS_FX_LOCK_GRANTED. May end the session. */
void ms_locking_answered(struct ms_state *state, struct ms_session *session, uint64_t wait,
			 bool is_taken);
/*
 * What it held before a restart, or under its write lease. -E_NO_LEASE: another has what forbids
 * it.
 */
must_check int ms_locking_claim(struct ms_op *op);

/* park.c */
must_check int ms_park(struct ms_op *op);
void ms_park_wake_node(struct ms_state *state, struct ms_node *node);
void ms_park_wake_all(struct ms_state *state);		/* the recovery window ended */
struct ms_parked *ms_park_take_ready(struct ms_state *state);	/* NULL: none */
void ms_park_end(struct ms_state *state, struct ms_parked *p);
void ms_park_cancel(struct ms_state *state, struct ms_parked *p, int rc);
void ms_park_drop_session(struct ms_state *state, const struct ms_session *session);

/* session.c */
struct ms_session *ms_session_find(struct ms_state *state, session_no number);
must_check int ms_session_load(struct ms_state *state);
void ms_session_term(struct ms_state *state, const struct ms_request *req);
void ms_session_slept(struct ms_state *state, uint64_t slept_ms);
void ms_session_tick(struct ms_state *state);
void ms_session_fence(struct ms_state *state, struct ms_session *session);
int ms_session_open(struct ms_op *op);
int ms_session_renew(struct ms_op *op);
int ms_session_close(struct ms_op *op);
int ms_session_reclaim(struct ms_op *op);
int ms_session_fsync(struct ms_op *op);
/* Slots (I7). check: 0 new, 1 answered from the slot, 2 parked already, or refused. */
must_check int ms_session_slot_check(struct ms_op *op);
void ms_session_slot_store(struct ms_op *op, int rc, bool durable);

/* attr.c */
int ms_attr_lookup(struct ms_op *op);
int ms_attr_get(struct ms_op *op);
int ms_attr_set(struct ms_op *op);
int ms_attr_atimes(struct ms_op *op);
/* Of a SETATTR, or a PUBLISH that comes with one: may its caller, and do it; the size apart. */
must_check int ms_attr_may_set(const struct ms_request *req, const struct ms_inode *inode);
void ms_attr_change(struct ms_op *op, struct ms_inode *inode);
/* with a link's target */
must_check int ms_attr_reply(struct ms_op *op, const struct ms_inode *inode);

/* listing.c */
int ms_listing_read(struct ms_op *op);

/* namespace.c, rename.c */
int ms_namespace_make(struct ms_op *op);
int ms_namespace_link(struct ms_op *op);
int ms_namespace_unlink(struct ms_op *op);
/*
 * An inode of the caller's, as one is made in `dir`: numbered, not stored. -E_OVERLOADED: numbers
 * ran out, the client tries again.
 */
must_check int ms_namespace_new(struct ms_op *op, const struct ms_inode *dir, uint32_t mode,
				struct ms_inode *out);
/* It is one more in the state; stored. */
void ms_namespace_store(struct ms_op *op, const struct ms_inode *inode);
/* The number of a new inode; -E_OVERLOADED: none is set aside yet. */
must_check int ms_namespace_number(struct ms_state *state, inode_no *out);
must_check int ms_namespace_dir(struct ms_op *op, inode_no ino, struct ms_inode *out);
must_check int ms_namespace_may_remove(const struct ms_op *op, const struct ms_inode *dir,
				       const struct ms_inode *victim);
int ms_rename(struct ms_op *op);

/* orphan.c: the end of an inode */
/* one name less; stores it */
void ms_orphan_unlinked(struct ms_state *state, struct ms_inode *inode);
/* It has no name any more, and lies in no trash: freed, or an orphan of who has it open. */
void ms_orphan_end(struct ms_state *state, struct ms_inode *inode);
void ms_orphan_opened(struct ms_state *state, const struct ms_session *session, inode_no ino);
/* It got a name again: its opens keep it alive no longer. */
void ms_orphan_linked(struct ms_state *state, inode_no ino);
void ms_orphan_closed(struct ms_state *state, const struct ms_session *session, inode_no ino);
void ms_orphan_tick(struct ms_state *state);

/* open.c */
int ms_open(struct ms_op *op);
must_check int ms_open_inode(struct ms_op *op, struct ms_inode *inode, bool write);
int ms_open_release(struct ms_op *op);

/* publish.c */
int ms_publish(struct ms_op *op);
/* recut.c */
int ms_recut(struct ms_op *op, struct ms_inode *inode);
int ms_publish_get_inline(struct ms_op *op);
void ms_publish_moved(struct ms_state *state, const struct ms_request *req);
void ms_publish_tick(struct ms_state *state);
/*
 * Change an inode's content to `root` (with its bytes, if inline); the inode is stored by the
 * caller.
 */
void ms_publish_content(struct ms_state *state, struct ms_inode *inode, const struct root *root,
			const uint8_t *bytes);

/* collection.c */
must_check int ms_collection_load(struct ms_state *state);
void ms_collection_format(struct ms_state *state);
/* Were blocks of this root, put or touched in `epoch`, too long ago to be published? */
bool ms_collection_is_old(const struct ms_state *state, const struct root *root, uint64_t epoch);
must_check int ms_collection_check(struct ms_op *op);	/* a publish: 0, -E_OLD_COLLECTION */
void ms_collection_opened(struct ms_state *state, struct ms_session *session);
void ms_collection_renewed(struct ms_session *session, const struct ms_request *req);
void ms_collection_raise(struct ms_state *state);

/* xattr.c */
int ms_xattr_set(struct ms_op *op);
int ms_xattr_get(struct ms_op *op);
int ms_xattr_list(struct ms_op *op);
int ms_xattr_remove(struct ms_op *op);
void ms_xattr_drop_capability(struct ms_state *state, struct ms_inode *inode);
/* What an inode has changed: its flags, its times; the reply shows it. */
void ms_xattr_changed(struct ms_op *op, struct ms_inode *inode);
void ms_xattr_drop_all(struct ms_state *state, inode_no ino);
/*
 * Copy attributes of `from`, all or those that its reader may give to a file of his own, from
 * *name on (that it moves on) as far as the event has room. 1: that was all, and `to` says so; 0.
 */
must_check int ms_xattr_copy(struct ms_state *state, inode_no from, struct ms_inode *to, bool all,
			     struct ms_clone_work *at);

/* access.c */
#define MS_ACCESS_READ	4u
#define MS_ACCESS_WRITE	2u
#define MS_ACCESS_EXEC	1u
/* As the kernel checks it (mode, ACL): 0, -E_ACCES. For what the kernel does not see. */
must_check int ms_access(struct ms_state *state, const struct ms_caller *caller,
			 const struct ms_inode *inode, unsigned want);
bool ms_access_has_group(const struct ms_caller *caller, uint32_t gid);

/* clone.c, clone_copy.c, clone_drop.c */
/* nobody went on with it: longer than any wait for leases */
#define MS_CLONE_IDLE_MS	300000u
struct ms_clone {		/* one in work */
	struct ms_op *op;		/* NULL: it goes, by a tick */
	struct ms_state *state;
	inode_no ino;
	struct ms_clone_value value;
	bool has_changed;
	uint32_t looked;		/* at names, in this event */
};
int ms_clone(struct ms_op *op);
void ms_clone_tick(struct ms_state *state);
void ms_clone_work_put(struct ms_clone *c, const struct ms_clone_work *work);
void ms_clone_work_del(struct ms_clone *c, const struct ms_clone_work *work);
/* The first at or behind (kind, ino); -E_NOENT: there is none, -E_CORRUPT, -E_IO. */
must_check int ms_clone_work_next(struct ms_clone *c, enum ms_clone_kind kind, inode_no ino,
				  struct ms_clone_work *out);
/* The source, or MS_OP_PARKED: somebody writes it. Makes the inode at the head of the clone. */
must_check int ms_clone_copy_root(struct ms_clone *c, const struct ms_inode *source);
/* One event's part. 0: go on (c->value.state says if it is built), MS_OP_PARKED, or an error. */
must_check int ms_clone_copy(struct ms_clone *c);
void ms_clone_drop(struct ms_clone *c);		/* it goes, from the next tick on */
must_check int ms_clone_drop_piece(struct ms_clone *c);	/* 1: all of it has gone; 0 */

/* membership.c */
must_check int ms_membership_load(struct ms_state *state);
void ms_membership_finish(struct ms_state *state);
void ms_membership_slept(struct ms_state *state, uint64_t slept_ms);
void ms_membership_term(struct ms_state *state);
void ms_membership_tick(struct ms_state *state);
struct ms_member *ms_membership_find(const struct ms_state *state, server_no server);
/* Nobody waits for this one: out, removed, or drained and silent for as long. */
bool ms_membership_is_gone(const struct ms_state *state, server_no server);
/* heard of lately */
bool ms_membership_is_alive(const struct ms_state *state, server_no server);
/* its content changed, its rows are not all degraded yet */
bool ms_membership_lacks(const struct ms_member *m);
void ms_membership_map_changed(struct ms_state *state);	/* one version newer with this event */
int ms_membership_join(struct ms_op *op);
int ms_membership_heartbeat(struct ms_op *op);
/* turn.c: how long this server may encode anew, of which a heartbeat came; 0: it may not */
uint32_t ms_turn_take(struct ms_state *state, struct ms_member *m);
void ms_turn_forget(struct ms_state *state);	/* a term begins */
int ms_membership_set(struct ms_op *op);

/* placement.c */
/* compute every row anew, a piece per tick */
void ms_placement_again(struct ms_state *state);
uint32_t ms_placement_sweep(struct ms_state *state, uint32_t rows_max);		/* rows changed */
bool ms_placement_is_sweeping(const struct ms_state *state);
void ms_placement_store(struct ms_state *state, pg_no pg, const struct pg_row *row);

/* heal.c */
/* the reports of a heartbeat */
void ms_heal_take(struct ms_state *state, const struct ms_request *req);
/* rows made clean */
uint32_t ms_heal_tick(struct ms_state *state, uint32_t rows_max);
/* Was it heard since our start, and do its rows tell of all that it may have lost? */
bool ms_heal_is_certain(const struct ms_state *state, server_no server);
/* Has every replica that is not gone merged all that the server at `place` of the row held? */
bool ms_heal_is_merged(const struct ms_state *state, pg_no pg, uint32_t place);

/* health.c */
void ms_health_counts(const struct ms_state *state, struct ms_counts *out);

/* quota.c */
must_check int ms_quota_get(struct ms_txn *txn, inode_no dir, struct ms_quota *out);
/* One that is ending and has nothing charged to it goes. */
void ms_quota_put(struct ms_state *state, inode_no dir, const struct ms_quota *quota);
struct ms_usage ms_quota_usage(const struct ms_inode *inode);
/* May it grow so? 0, or -E_DQUOT. `quota` 0: nothing is limited. */
must_check int ms_quota_check(struct ms_state *state, const struct ms_session *session,
			      inode_no quota, struct ms_usage growth);
/* A change of what an inode with this quota holds; to the quotas above, too. */
void ms_quota_charge(struct ms_state *state, inode_no quota, struct ms_usage change);
void ms_quota_move(struct ms_state *state, inode_no from, inode_no to, struct ms_usage what);
/* Its quota ends with a directory; and is back with it, out of a trash. */
void ms_quota_dir_gone(struct ms_state *state, const struct ms_inode *dir);
void ms_quota_dir_back(struct ms_state *state, const struct ms_inode *dir);
must_check int ms_quota_statfs(struct ms_state *state, inode_no quota, struct ms_reply *reply);
int ms_quota_set(struct ms_op *op);
int ms_quota_list(struct ms_op *op);

/* quota_walk.c */
void ms_quota_walk_add(struct ms_state *state, inode_no dir);
/*
 * The inode lies in a directory of this quota now: it and what is below are charged there. True: it
 * changed, the caller stores it.
 */
bool ms_quota_follow(struct ms_state *state, struct ms_inode *inode, inode_no quota);
/* The quota of `dir` is below `quota` now: all that is charged to it follows, by its row. */
void ms_quota_hang(struct ms_state *state, inode_no dir, inode_no quota);
void ms_quota_load(struct ms_state *state);
void ms_quota_tick(struct ms_state *state);

/* quota_room.c */
int ms_quota_reserve(struct ms_op *op);
/* Bytes that the session may still publish into the tree: limits, less what others reserved. */
uint64_t ms_quota_room(struct ms_state *state, const struct ms_session *session, inode_no quota);
uint64_t ms_quota_reserved(struct ms_state *state, inode_no quota);
/* The session published so much more. */
void ms_quota_settle(struct ms_state *state, struct ms_session *session, inode_no quota,
		     uint64_t bytes);
void ms_quota_drop_session(struct ms_state *state, struct ms_session *session);
void ms_quota_rooms_again(struct ms_state *state);
void ms_quota_finish(struct ms_state *state);

/* space.c */
/* Grant what is wanted as far as there is space, `used` in any case. What the session has then. */
bool ms_space_is_unknown(struct ms_state *state);
uint64_t ms_space_grant(struct ms_state *state, struct ms_session *session, uint64_t used,
			uint64_t wanted);
void ms_space_settle(struct ms_state *state, struct ms_session *session, uint64_t bytes);
int ms_space_statfs(struct ms_op *op);

#endif
