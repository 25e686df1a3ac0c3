/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of client/core share: the client itself, operations that wait, and requests to the
 * metadata server. Private to client/core.
 *
 * Everything runs on the loop's thread. An operation that must wait stands in exactly one place: a
 * wait list, a request, a block fetch; op->cancel undoes that, so a deadline or an interrupt can
 * end it at any time, and cl_op_finish() runs exactly once.
 */
#ifndef CAIRN_CLIENT_CORE_CORE_H
#define CAIRN_CLIENT_CORE_CORE_H

#include "client/core/changes.h"
#include "client/core/client.h"
#include "client/core/slots.h"
#include "client/core/stream.h"
#include "fs/net/blocks.h"
#include "fs/net/rpc.h"

struct cl_node;
struct cl_name;
struct cl_file;
struct cl_block;
struct cl_chunk;
struct cl_recall;
struct cl_fills;
struct cl_drafts;
struct cl_siblings;
struct cl_policy_want;
struct cl_xattr;
struct cl_seals;

#define CL_ABANDONED_MS	  2000u		/* so often it is asked whether somebody waits at all */
#define CL_INTERRUPT_MS	  1000u		/* an operation goes on so long for a caller who will */
#define CL_SWEEP_MS	   100u		/* deadlines and gathered writes are looked at this often */
#define CL_NODES_MAX	   131072u	/* cached inodes; leases of a session are bounded too */
#define CL_NAMES_MAX	   131072u
#define CL_TRIM_COUNT	   8192u	/* of them that go at once, to make room */
/* a server that is recovering or overloaded is asked again */
#define CL_RETRY_MS	   50u
#define CL_BUF_BYTES	   BUF_LARGE_BYTES
#define CL_MANIFEST_NODES  24u		/* clean manifest nodes kept per open file */

/* How cached blocks of the cluster are found; cache.c. */
struct cl_cache {
	struct cl_block *by_id;		/* uthash */
	struct cl_block *lru;		/* loaded, least recently used first */
	struct cl_block *wanted;	/* not yet asked for: readers wait */
	struct cl_block *hinted;	/* not yet asked for: read-ahead */
	uint64_t bytes, bytes_max;
	uint32_t flying, flying_max;
};

/* Chunks on their way to the chunk servers; chunk.c. */
struct cl_puts {
	struct cl_chunk *queue;
	uint32_t flying, flying_max;
};

/* session.c */
struct cl_session {
	session_no number;		/* 0: none */
	uint64_t valid_ns;		/* leases may be trusted until then (I6) */
	uint64_t renew_sent_ns;
	uint64_t term, last_number, collection, name_key;
	/* seen of a later term that no renewal has told of; 0: none */
	uint64_t next_term, next_number;
	uint32_t lease_ms;
	uint64_t credit_bytes;		/* plain bytes x copies that we may have unpublished, */
	uint64_t charged_bytes;		/* and that we have */
	uint8_t nonce[16];
	bool is_opening, is_renewing, is_reclaiming;
	bool is_claim_sent;		/* a message of the reclaim is on its way */
	uint64_t reclaim_round;
	bool is_writing;		/* bytes were charged since it asked for credit last */
	bool is_hurried;		/* the timer runs for a writer without credit */
	/* when charges were settled last, or the server's term began for us */
	uint64_t progress_ns;
	uint64_t short_since_ns;	/* writers find no credit since then; 0: they do */
	struct rpc_call call;		/* open, renew: one at a time */
	struct loop_timer timer;
	uint64_t fenced_count;
	/* lease returns sent: replies asked for before them grant nothing */
	uint64_t return_count;
};

enum cl_life { CL_CREATED, CL_STARTING, CL_STARTED, CL_RUNNING, CL_STOPPING, CL_STOPPED };

struct cl_xattrs {			/* xattr_cache.h */
	struct cl_xattr *table, *lru;
	uint32_t count;
	size_t bytes;
};

struct client {
	struct cl_options options;
	enum cl_life life;
	struct rpc *rpc;
	struct rpc_peer *mds;
	struct blocks *blocks;		/* after the first hello */
	enum hash_kind hash;
	uint8_t copies;
	bool has_acl;
	struct cl_session session;
	struct cl_slots slots;
	struct cl_changes changes;
	struct cl_cache cache;
	struct cl_puts puts;
	struct cl_fills *fills;		/* NULL: there are no tiers */
	struct cl_drafts *drafts;
	struct cl_siblings *siblings;	/* looked up now */
	struct cl_policy_want *policy_wants;	/* of files in use, asked now */
	struct cl_op *ops;		/* submitted, not finished */
	struct cl_op *session_waiters;	/* until the session is valid again */
	struct cl_quota *quotas;	/* uthash by directory */
	struct cl_op *quota_waiters;	/* writers: others may give room back */
	struct cl_op *memory_waiters;	/* writers: until dirty data was sent */
	struct cl_pages_drop *page_drops;	/* that the kernel was asked for, pages.c */
	struct cl_op *page_waiters;	/* until one of them is done */
	struct cl_req *slot_waiters;
	struct cl_req *requests;	/* in flight or waiting to be sent again */
	uint32_t request_count;
	struct cl_node *nodes;		/* uthash by inode number */
	struct cl_node *node_lru;	/* least recently used first */
	struct cl_name *names;		/* uthash by directory and name */
	struct cl_name *name_lru;
	uint32_t node_count, name_count;
	struct cl_node *idle_opens;	/* to be given back to the server; the first since: */
	uint64_t idle_since_ns;
	uint32_t idle_open_count;
	struct cl_file *files;
	struct cl_handle *handles;
	struct cl_recall *recalls;
	struct cl_xattrs xattrs;
	struct cl_locks *locks;
	struct cl_seals *seals;
	struct cl_stream_budget stream_heads;	/* of files that are cut while they are written */
	struct cl_pins *pins;		/* NULL: there is no tier */
	struct cl_guess *guess;		/* NULL: nothing is predicted */
	uint64_t dirty_bytes, dirty_bytes_max;
	struct loop_timer sweep;
	struct loop_timer turn;		/* a recall waits for the end of a turn */
	/* access times that the server does not know yet (atime.h), and when it was told last */
	struct cl_node *read_nodes;
	uint32_t read_count;
	uint64_t read_told_ns;
	struct loop_timer read_timer;
	unsigned atime_policy;		/* CL_ATIME_* */
	struct loop_task interrupt_task;
	int interrupt_posted;		/* atomic */
	void (*started)(void *arg, int rc, const char *why);
	void (*stopped)(void *arg, int rc);
	void (*session_closed)(struct client *c);
	void *life_arg;
	uint64_t life_due_ns;
	/* of a start: the metadata server must have answered once */
	uint64_t reach_due_ns;
	int start_rc;
	const char *start_why;
	struct cl_stats stats;
};

/* --- operations: client.c --------------------------------------------------------------------- */

void cl_op_finish(struct cl_op *op, int rc);
/* Stand in *list until cl_op_wake(); then resume(op). `why` is for cairn status. */
void cl_op_wait(struct cl_op *op, struct cl_op **list, const char *why,
		void (*resume)(struct cl_op *op));
void cl_op_wake(struct cl_op **list);		/* all that stand there now */
uint32_t cl_op_left_ms(const struct cl_op *op);
void cl_op_dispatch(struct cl_op *op);		/* (again) from its beginning */
/* Servers were not there, and may be a moment later: who still has time tries again. */
static inline bool cl_is_unavailable(int rc)
{
	return rc == -E_TIMEDOUT || rc == -E_NO_REPLICA || rc == -E_NOTCONN;
}

/* --- requests to the metadata server: session.c ----------------------------------------------- */

struct cl_req {
	struct rpc_call call;
	struct client *client;
	struct cl_op *op;		/* NULL: background, or the operation gave up */
	/* with call.rc, call.reply; the req is freed after */
	void (*done)(struct cl_req *req);
	/* instead of done(), after its operation gave up; may be NULL */
	void (*orphaned)(struct cl_req *req);
	void *arg;
	bool has_slot, is_waiting, is_sent, is_ending, is_abandoned;
	bool wants_session, has_moved;	/* it waits for the next one; and has done so */
	inode_no touched[5];		/* of one that is abandoned: what it may change */
	uint32_t touched_count;
	uint64_t return_count;
	uint32_t tries;
	struct loop_timer retry;
	struct cl_req *prev, *next;	/* all of the client */
	struct cl_req *waiting_next;	/* for a slot */
	Wire__Caller caller;
	uint8_t root[ROOT_BYTES];	/* of a publish */
	void *more;			/* what the message points to beside these; freed with it */
	union {
		ProtobufCMessage base;
		Wire__Lookup lookup;
		Wire__GetAttr get_attr;
		Wire__SetAttr set_attr;
		Wire__Make make;
		Wire__Link link;
		Wire__Unlink unlink; Wire__Rename rename; Wire__ReadDir read_dir; Wire__Open open;
		Wire__Release release;
		Wire__GetInline get_inline;
		Wire__Atimes atimes;
		Wire__Publish publish;
		Wire__SetXattr set_xattr;
		Wire__GetXattr get_xattr;
		Wire__ListXattr list_xattr;
		Wire__RemoveXattr remove_xattr;
		Wire__StatFs stat_fs; Wire__Fsync fsync;
		Wire__Clone clone; Wire__Trash trash; Wire__TrashList trash_list;
		Wire__Lock lock; Wire__LockTest lock_test;
		Wire__QuotaReserve quota_reserve;
	} msg;
};

/* A zeroed request of op (or of nobody) with the caller filled in; NULL: out of memory. */
struct cl_req *cl_session_req(struct client *c, struct cl_op *op, uint16_t type,
			      void (*done)(struct cl_req *req));
/*
 * Send it, when a slot is free if it is a mutation (I7). The message is borrowed until it was sent.
 */
void cl_session_send(struct cl_req *req);
/* of nobody: an answer changes nothing, an unsent one is freed */
void cl_session_forget(struct cl_req *req);
void cl_session_start(struct client *c);
void cl_session_close(struct client *c, void (*done)(struct client *c));
void cl_session_finish(struct client *c);
bool cl_session_is_valid(const struct client *c);
uint64_t cl_session_valid_ms(const struct client *c);	/* what is left of the leases */
void cl_session_renew(struct client *c);		/* now, unless under way */
void cl_session_lost(struct client *c);			/* fenced (I6) */
void cl_session_stamp(struct client *c, const Wire__Stamp *stamp);
/*
 * Reserve room for `bytes` plain bytes. -E_AGAIN: there is none yet, a renewal asks for more and
 * wakes memory_waiters. -E_NOSPC: nor was there for as long as it takes to know that the cluster is
 * full.
 */
must_check int cl_session_reserve(struct client *c, uint64_t bytes);
/* They are published (`stored` of them were sent for it), or forgotten (0). */
void cl_session_settle(struct client *c, uint64_t charged, uint64_t stored);

#endif
