/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The metadata server's state machine: ms_step(state, event, effects).
 *
 * Pure: no clock, no randomness, no I/O. Time and ids come in with the event; what is to be said
 * goes out as effects. Durable state is rows (inodes, names, xattrs, sessions, slots, PGs, servers:
 * rows.h), changed only through an overlay (txn.h) that ms_step fills and the caller makes a
 * journal record of: a record is the row changes of one decided event (I3). Volatile state (leases,
 * opens under lease, parked requests, heartbeats) is rebuilt by reclaim after a restart.
 *
 * Keeps: I3, I5 (leases), I7 (slots), I10 (map), I11 (bounded tables), I13 (publish), I14 (an
 * operation under a lease that its sender holds is executed, never parked behind that lease's own
 * recall). Threads: one.
 *
 * Contract with serve_batch.c, for each event:
 *   1. ms_step() reads rows through the overlay, decides, and either parks the request (no change,
 *      the RECALL effects say whom to ask), or refuses it (no change, a REPLY), or changes rows in
 *      the overlay.
 *   2. If ms_txn_event_changes() > 0 the caller encodes the journal record, numbers it, appends it.
 *   3. After a batch: journal write, only then the replies leave. The overlay reaches the rows
 *      later, many batches in one commit; until then it is where every reader looks first. Effects
 *      for one session leave in the order they came: a recall never overtakes a grant.
 *   4. MS_EV_TERM comes first, and its record is durable before any other event. MS_EV_TICK comes
 *      at least every 100 ms, and at once after MS_FX_TICK. One that comes much later tells that
 *      the server slept.
 * Any call may fail for want of memory only through ms_txn_event_encode() or ms_txn_flush(): the
 * server then ends, as after a failed journal; what it had said is in the journal.
 */
#ifndef CAIRN_METADATA_SERVER_STEP_H
#define CAIRN_METADATA_SERVER_STEP_H

#include "fs/base/ranges.h"
#include "fs/io/rows.h"
#include "fs/placement/map.h"
#include "fs/tree/root.h"

struct ms_state;
struct ms_effects;

/* SETATTR_* bits of mask. */
enum ms_setattr {
	MS_SET_MODE = 1, MS_SET_UID = 2, MS_SET_GID = 4, MS_SET_SIZE = 8, MS_SET_ATIME = 16,
	MS_SET_MTIME = 32,
	MS_SET_ATIME_NOW = 64, MS_SET_MTIME_NOW = 128, MS_SET_KILL_PRIV = 256,
	MS_SET_KILL_SGID = 512,
};

/* What a write or a change of owner takes away; SGID: its caller is not in the file's group. */
enum ms_kill { MS_KILL_PRIV = 1, MS_KILL_SGID = 2 };

enum ms_lease_mode { MS_LEASE_NONE = 0, MS_LEASE_READ = 1, MS_LEASE_WRITE = 2 };

struct ms_lease {
	inode_no ino;		/* the inode, or the directory of a name */
	uint64_t name_hash;	/* 0: the inode itself */
	enum ms_lease_mode mode;
	bool owner;		/* of a recall: the inode gets another owner or group */
	bool open_elsewhere;	/* of a grant for writing: others have it open, too */
};

/* A lock: asked for, claimed, or in the way (metadata-server/lock.h). */
struct ms_lock_claim {
	inode_no ino;
	uint64_t owner, start, end, wait;
	uint32_t kind, mode, pid;
	bool may_cycle, holds;
};
/* ms_request.flags of a LOCK */
#define MS_LOCK_CANCEL 1u	/* only end the wait */
#define MS_LOCK_HELD   2u	/* only hear what the session decided under its write lease */
struct ms_lock_info;

struct ms_attr {
	inode_no ino;
	uint32_t mode, uid, gid, nlink, rdev, flags;
	uint64_t size, version;
	int64_t atime_ns, mtime_ns, ctime_ns, btime_ns;
	struct root root;
	struct root recut_of;	/* the root before it, of the same bytes; EMPTY: it is none */
	inode_no quota;		/* the nearest directory, itself included, with a quota; 0: none */
};

/* Clone.action */
enum ms_clone_action { MS_CLONE_BEGIN = 1, MS_CLONE_STEP, MS_CLONE_SHOW, MS_CLONE_DROP };

/* Limits of a directory and all below it, and what is used of them. */
struct ms_quota {
	inode_no parent;			/* the next quota above; 0: none */
	uint64_t bytes_max, files_max;		/* 0: no limit */
	uint64_t bytes, files;
	bool is_ending;				/* until nothing is charged to it */
};
/* What an inode holds, or a change of it. */
struct ms_usage { int64_t bytes, files; };
struct ms_quota_info { inode_no dir; struct ms_quota quota; uint64_t reserved; };
#define MS_REPLY_QUOTAS_MAX 32u
enum ms_quota_set { MS_QUOTA_BYTES_MAX = 1, MS_QUOTA_FILES_MAX = 2, MS_QUOTA_CLEAR = 4 };
static inline uint64_t ms_quota_percent(uint64_t used, uint64_t max)
{
	return max == 0 ? 0 : max < 100 ? used * 100 / max : used / (max / 100);
}

/* Trash.action */
enum ms_trash_action { MS_TRASH_ENABLE = 1, MS_TRASH_DISABLE, MS_TRASH_RESTORE, MS_TRASH_EMPTY };

/* Where copied content comes from: `ino` had this root. */
struct ms_source { inode_no ino; struct root root; };
#define MS_SOURCES_MAX 8u	/* of one publish */

struct ms_caller {
	uint32_t uid, gid;
	const uint32_t *groups;
	uint32_t group_count;
};

struct ms_name { const uint8_t *bytes; uint32_t len; };

/* Events: requests by message type (fs/wire/messages.def), and what the server itself observes. */
enum ms_event_kind {
	MS_EV_REQUEST = 1,		/* a client's or chunk server's request: `op` says which */
	/*
	 * A session answered our recall: `token` is that of the recall's effect, `leases` are those
	 * of the recall, mode is what was kept (0: none).
	 */
	MS_EV_RECALL_ANSWER,
	/* A session answered MS_FX_LOCK_GRANTED of wait `token`; req.flags: it takes the lock. */
	MS_EV_LOCK_ANSWER,
	/* time passed: expire sessions, suspect servers, end the recovery window */
	MS_EV_TICK,
	/*
	 * A metadata server started: first event of its term. `term` is the new one, `number` the
	 * last before.
	 */
	MS_EV_TERM,
	/* background: inline content of `ino` at `base_version` is in `root`, synced (I2) */
	MS_EV_MOVED,
	/*
	 * Set aside a range of inode numbers (flags 0). Once that record is durable the caller
	 * sends it again with flags 1: from then on numbers are taken from the range.
	 */
	MS_EV_RESERVE,
	/* raise the collection epoch, if ms_collection_may_rise() */
	MS_EV_COLLECT,
};

/* A chunk server's encoding anew, as it told (Wire ReencodeStatus). */
#define MS_CODECS_MAX 8u
struct ms_reencode {
	bool running, all, wants, turn, paused, wrong;
	uint64_t pass, bytes_done, bytes_total, blocks, bytes_before, bytes_after, bytes_per_s;
	uint64_t started_wall_ns, finished_wall_ns;
	uint64_t codec_bytes[MS_CODECS_MAX];	/* of bytes_stored */
};

struct ms_request {
	uint16_t op;			/* enum msg_type number */
	session_no session;
	uint32_t slot;
	uint64_t slot_seq;		/* 0: not a mutation */
	struct ms_caller caller;
	inode_no ino, parent, new_parent;
	struct ms_name name, new_name, target;
	uint32_t mask, mode, uid, gid, rdev, flags, bytes_max;
	uint64_t size, cookie, base_version, collection, new_bytes, number, term, credit_wanted,
		credit_used;
	int64_t atime_ns, mtime_ns;
	bool exclusive, open, write, directory, attributes, unleased, lease, unnamed;
	uint32_t action;		/* of a clone, or a trash: enum above */
	uint64_t ticket;		/* clone: who began it, knows it */
	/* trash: how long it is kept, or how old; of an entry */
	uint64_t keep_ms, time_ns;
	inode_no tree;
	struct root root;
	/* publish: of which `root` is a recut (recut.c); EMPTY: it is new content */
	struct root recut_of;
	const uint8_t *bulk; uint32_t bulk_len;		/* inline content, xattr value */
	uint32_t umask;			/* make: not yet taken from the mode */
	uint32_t kill_priv;		/* publish: enum ms_kill */
	/* reclaim; return: mode is what is kept */
	const struct ms_lease *leases; uint32_t lease_count;
	/* one; reclaim: what the session held */
	const struct ms_lock_claim *locks; uint32_t lock_count;
	/*
	 * reclaim: an inode as often as it is open; release: as often as it is closed; lock: waits
	 * whose locks were taken
	 */
	const inode_no *opens; uint32_t open_count;
	const int64_t *times;		/* access times: of each of `opens` */
	/* reclaim: not the last message of it */
	bool more;
	/* renewal: newest epoch told; `collection`: oldest */
	uint64_t seen_collection;
	const struct ms_source *sources; uint32_t source_count;	/* publish */
	/* sessions and membership */
	const char *node, *address, *host, *rack;
	session_no old_session, new_session;	/* new: random, from serve */
	/* nonce of a session open, or server uuid of a join */
	uint8_t uuid[16];
	server_no server;
	uint64_t boot_id, blocks, bytes_stored, bytes_plain, bytes_free, bytes_total, map_version;
	uint32_t disks, disks_failed, state;
	/* of a chunk server: changes when it may lack something; 0: not told */
	uint64_t content;
	uint64_t heal_pending_blocks, heal_bytes, trash_blocks, trash_bytes, dead_bytes, damaged,
		owed;
	const uint32_t *owed_pgs; uint32_t owed_pg_count;
	/* what a chunk server tells of its disks, for people (fs/wire: MediaStatus) */
	const uint8_t *media; uint32_t media_bytes;
	/* HEAL_MERGED_BYTES each (fs/wire/heal.h) */
	const uint8_t *merged; uint32_t merged_count;
	struct ms_reencode reencode;	/* heartbeat */
	bool force;
	uint32_t quota_mask;		/* MS_QUOTA_*: limits, `size` bytes and `quota_files` */
	uint64_t quota_files;
};

struct ms_event {
	enum ms_event_kind kind;
	uint64_t now_ms;		/* loop time (BOOTTIME): leases, heartbeats */
	uint64_t wall_ns;		/* CLOCK_REALTIME: times of inodes */
	uint64_t token;			/* the caller's, comes back in the reply effect */
	struct ms_request req;		/* borrowed for the call; parking copies it */
};

/* --- effects ---------------------------------------------------------------------------------- */

enum ms_effect_kind {
	MS_FX_REPLY = 1,	/* answer `token` with reply */
	/* ask `session` to give `leases` back (down to their mode); `token` numbers it */
	MS_FX_RECALL,
	/*
	 * The lock that `session` waits for as `token` is set aside for it. May come again, and
	 * need not arrive: it is told again when the session renews.
	 */
	MS_FX_LOCK_GRANTED,
	MS_FX_FENCED,		/* `session` ended without its leave: drop its connection */
	MS_FX_MAP,		/* the map changed: tell chunk servers at their next heartbeat */
	/* inode `ino` at `version` has inline bytes that belong into blocks; repeated until done */
	MS_FX_MOVE_INLINE,
	MS_FX_RESERVE,		/* inode numbers run low: send MS_EV_RESERVE soon */
	MS_FX_TICK,		/* more to do than fits one record: send MS_EV_TICK at once */
};

struct ms_dir_entry {
	struct ms_name name;
	inode_no ino;
	uint32_t type;		/* S_IFMT bits */
	uint64_t cookie;
	struct ms_attr attr;
	struct ms_lease lease, name_lease;
};

#define MS_REPLY_LEASES_MAX 8
struct ms_reply {
	int rc;
	struct ms_attr attr, parent;		/* ino 0: absent */
	struct ms_lease leases[MS_REPLY_LEASES_MAX];
	uint32_t lease_count;
	/* inline bytes, xattr value or names; valid while fn runs */
	const uint8_t *bulk; uint32_t bulk_len;
	struct ms_name target;			/* the same */
	const struct ms_dir_entry *entries; uint32_t entry_count;	/* the same */
	/* listing: it ends here; clone: it is built */
	bool end;
	uint64_t clone_names, clone_bytes;	/* so far */
	bool is_queued;				/* the lock: MS_FX_LOCK_GRANTED follows */
	struct ms_lock_claim lock;		/* in the way; mode RANGE_NONE: none is */
	uint64_t trash_keep_ms, trash_entries, trash_bytes;
	bool trash_is_on;
	uint64_t list_time_ns;			/* trash: list on behind this entry */
	inode_no list_ino;
	inode_no parent_ino;
	session_no session;
	uint32_t lease_ms;
	/* granted and not yet settled, in all: less what is sent unsettled */
	uint64_t credit_bytes;
	bool space_unknown;			/* too few servers are there to tell what fits */
	uint64_t name_key, map_version, lost_from, number;
	server_no server;
	enum server_state server_state;
	uint32_t reencode_ms;		/* it has the turn for so long; 0: it has not */
	uint64_t bytes_total, bytes_free, files, files_free;
	struct ms_quota_info *quotas; uint32_t quota_count;	/* as entries */
	bool is_counting;		/* a quota came or went, and its tree is being looked at */
	/*
	 * Hold the answer until `number` is durable; 0: the number of this event's own record
	 * (session open).
	 */
	bool wait_durable;
	/* answered from its slot: stamp it with the newest number */
	bool resent;
};

struct ms_effect {
	enum ms_effect_kind kind;
	uint64_t token;
	session_no session;
	inode_no ino;
	uint64_t version;
	struct ms_reply reply;
	struct ms_lease leases[MS_REPLY_LEASES_MAX];
	uint32_t lease_count;
};

/* One event yields a handful of effects; parked requests that wake may add theirs. */
typedef void (*ms_effect_fn)(void *arg, const struct ms_effect *effect);

/* --- the state -------------------------------------------------------------------------------- */

struct ms_config {
	uint64_t lease_ms, down_ms, out_ms, suspect_ms;
	uint8_t copies, min_copies;
	uint64_t name_key;
	uint64_t inline_bytes_max;
	uint32_t leases_max_per_session, parked_max, sessions_max;
	bool with_acl;			/* POSIX ACLs are stored and enforced */
};

struct ms_txn;			/* txn.h: the overlay over rows */

must_check int ms_state_create(const struct ms_config *config, struct ms_txn *txn,
			       struct ms_state **out);
void ms_state_destroy(struct ms_state *state);
/*
 * Between events: nothing can be recorded any more. Changes are refused from now on (-E_ROFS), and
 * sessions that do not come back, or go, end in memory alone; so reads go on, and none waits for
 * who is gone.
 */
void ms_state_freeze(struct ms_state *state);
/* Rows of an empty file system (root directory, counters, empty map): for mkfs and tests. */
must_check int ms_state_format(const struct ms_config *config, struct ms_txn *txn, uint64_t wall_ns,
			       uint32_t root_uid, uint32_t root_gid);

/* The only function that changes state. fn is called for each effect, in order. */
void ms_step(struct ms_state *state, const struct ms_event *event, ms_effect_fn fn, void *arg);

struct map *ms_state_map(struct ms_state *state);	/* read-only to callers */

/* the collection epoch, from 1 on */
uint64_t ms_collection_epoch(const struct ms_state *state);
/* May the collection epoch rise (collection.c)? If not: who is waited for, one of them. */
struct ms_collection_wait { session_no session; server_no server; bool is_recovering; };
must_check bool ms_collection_may_rise(const struct ms_state *state,
				       struct ms_collection_wait *why);

/*
 * The first quota at or after *from of which so much is used; *from is its directory then. Else
 * -E_NOENT.
 */
must_check int ms_quota_next_full(struct ms_state *state, uint32_t percent, inode_no *from,
				  struct ms_quota *out);

/*
 * For the mover: the inline bytes of `ino` at `version`, as published, borrowed until the next call
 * on the state or its rows. -E_NOENT, -E_STALE_VERSION.
 */
must_check int ms_publish_inline(struct ms_state *state, inode_no ino, uint64_t version,
				 struct ms_attr *attr, const void **bytes, uint32_t *len);

struct ms_counts {
	uint64_t trash_entries, trash_bytes;	/* deleted, and kept */
	uint64_t files, directories, bytes_logical, leases, parked, sessions;
	uint64_t locks, lock_waits;
	/* as they are now: also silence and debts degrade */
	uint32_t pgs_clean, pgs_degraded, pgs_lost;
	/* a union is under way (PG_DEGRADED in the row), or servers just back are not asked yet */
	uint32_t pgs_healing;
	uint32_t pgs_few;		/* fewer replicas than min_copies are there: writes wait */
	/* of those healing: a server that is silent is waited for */
	uint32_t pgs_waiting;
	/* a replica is gone, but the row has no room for one former holder more */
	uint32_t pgs_crowded;
	bool recovering;
};
void ms_state_counts(const struct ms_state *state, struct ms_counts *out);
/*
 * Does the healing of this group wait for the silent server at this place of its row (replicas,
 * then formers)?
 */
bool ms_health_pg_waits(const struct ms_state *state, pg_no pg, uint32_t place);

/* Was it run already, or does it wait? Then it is this answer that its sender wants again (I7). */
bool ms_state_has_heard(const struct ms_state *state, const struct ms_request *req);

/* Locks and waits of an inode, 0: of all, as many as `count_max`, each with its node's name. */
void ms_state_locks(const struct ms_state *state, inode_no ino, uint32_t count_max,
		    void (*fn)(void *arg, const struct ms_lock_info *info, const char *node),
		    void *arg);

/* What a chunk server's last heartbeat said; zero before the first one of this term. */
struct ms_server_stats {
	uint64_t blocks, bytes_stored, bytes_plain, bytes_free, bytes_total, heard_ms;
	uint32_t disks, disks_failed;
	uint64_t heal_pending_blocks, heal_bytes, heal_bytes_per_s;
	uint64_t trash_blocks, trash_bytes, dead_bytes, damaged, owed;
	uint64_t collection;		/* epoch that it applies */
	struct ms_reencode reencode;
};
void ms_state_server_stats(const struct ms_state *state, server_no server,
			   struct ms_server_stats *out);
/* Who has the turn to encode anew (turn.c); 0: nobody. */
server_no ms_state_reencode_server(const struct ms_state *state);
/* What it told of its disks last, a MediaStatus; until the next step. */
const uint8_t *ms_state_server_media(const struct ms_state *state, server_no server,
				     uint32_t *bytes);

#endif
