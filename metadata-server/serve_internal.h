/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private to serve*.c and mover.c: what a metadata server is made of.
 */
#ifndef CAIRN_METADATA_SERVER_SERVE_INTERNAL_H
#define CAIRN_METADATA_SERVER_SERVE_INTERNAL_H

#include <uthash.h>

#include "fs/net/rpc.h"
#include "metadata-server/collector.h"
#include "metadata-server/copies.h"
#include "metadata-server/mover.h"
#include "metadata-server/recover.h"
#include "metadata-server/serve.h"
#include "metadata-server/snapshot.h"

#define SERVE_TICK_MS		100u
#define SERVE_BATCH_BYTES	(MiB(1))	/* of records, then the batch ends early */
/* of records, then the rows are brought up to them, */
#define SERVE_ROWS_BYTES	(MiB(1))
#define SERVE_ROWS_MS		100u		/* or after this */
/* kept free on small disks: a few batches, journal and rows */
#define SERVE_RESERVE_BYTES_MIN	(MiB(8))
/* of a disk, and nothing set aside: nothing is admitted */
#define SERVE_LAST_BYTES	(KiB(512))
#define SERVE_URGENT_MS		5000u		/* between snapshots for want of space */
/* journal files, then a snapshot: a holder of copies keeps few */
#define SERVE_PARTS_MAX		128u
/* in one message: its repeated fields are bounded so */
#define SERVE_LEASES_MAX	4096u
#define SERVE_CLAIMS_MAX	4096u		/* the same */
#define SERVE_RECALLS_MAX	65536u
#define SERVE_WARNINGS_MAX	32u
#define SERVE_WARNING_BYTES	300u

/* Something that leaves when the batch is committed, in the order it came. */
enum ms_out_kind { MS_OUT_REPLY = 1, MS_OUT_RECALL, MS_OUT_GRANT, MS_OUT_FENCE };
struct ms_out {
	enum ms_out_kind kind;
	struct ms_out *prev, *next;
};

/* A request from its arrival to its answer. */
struct ms_pending {
	struct ms_out out;		/* first */
	struct ms_pending *prev, *next;	/* all of the server */
	struct ms_server *server;
	struct rpc_request *req;	/* NULL: refused meanwhile */
	uint16_t op;
	bool is_answered;		/* step is done with it */
	bool is_change;			/* its event is in the journal as `number` */
	bool wait_durable;
	uint64_t number;		/* told in the stamp; and waited for */
	int rc;
	void *storage;			/* holds message and all it points to */
	ProtobufCMessage *message;
	Wire__Stamp *stamp;		/* inside message; filled when it leaves */
	struct buf *bulk;
};

/* A session and the connection that it opened or renewed on last. */
struct ms_binding {
	session_no session;
	struct rpc_peer *peer;
	UT_hash_handle hh;
};

struct ms_recall {
	struct ms_out out;		/* first */
	struct ms_server *server;
	struct rpc_call call;
	session_no session;
	uint64_t token;			/* step's, of the effect */
	struct ms_lease leases[MS_REPLY_LEASES_MAX];
	uint32_t lease_count;
	bool is_sent;
	struct ms_recall *prev, *next;	/* all of the server */
};

/* A lock that was waited for, on its way. */
struct ms_grant {
	struct ms_out out;		/* first */
	struct ms_server *server;
	struct rpc_call call;
	session_no session;
	uint64_t wait;
	bool is_sent;
	struct ms_grant *prev, *next;	/* all of the server */
};

struct ms_fence {
	struct ms_out out;		/* first */
	session_no session;
};

struct ms_snapshotter {
	struct loop_work work;
	struct rows_snapshot *rows;
	struct snapshot_header header;
	uint64_t bytes, bytes_max;
	int rc;
	/* space is short: trim as far as this one reaches, once it is verified */
	bool is_urgent;
	uint64_t urgent_after_ms;	/* not again before */
	uint64_t retry_ms;		/* after a failure, not before */
	bool is_running;
	bool is_written;		/* waits for its number to be durable, then is published */
	uint64_t journal_bytes;		/* written since the last snapshot began */
	/* the newest published, and the one before: trimming stops there */
	uint64_t number, older;
	/* as they lie in the directories, for those who copy them */
	struct ms_snapshot_info newest, before;
	/* of the work under way: all in good health */
	struct disk *disks[MS_JOURNAL_DIRS_MAX];
	int rcs[MS_JOURNAL_DIRS_MAX];
	uint32_t disk_count;
};

struct ms_server {
	struct ms_server_options options;
	struct ms_config config;
	struct ms_recovery recovery;
	struct ms_journal *journal;	/* of recovery */
	struct ms_txn *txn;		/* the same */
	struct ms_state *state;
	struct rpc *rpc;
	struct ms_mover *mover;
	struct ms_copies *copies;
	struct ms_collector *collector;

	uint64_t term, number;		/* of the newest record */
	uint64_t map_number;		/* of the newest record that changed the map */
	uint8_t *records;		/* of the batch: SERVE_BATCH_BYTES and one record more */
	uint32_t records_len;
	uint32_t event_replies;		/* scratch: replies of the event being stepped */
	struct ms_out *batch;		/* leaves after the commit */
	struct ms_pending *pendings;	/* all requests without an answer */
	struct loop_task batch_task;
	bool is_batch_posted;
	bool is_failed;			/* nothing changes any more; reads go on */
	uint64_t unkept_bytes;		/* of journal since the rows were committed */
	struct loop_timer rows_timer;
	uint64_t unmeasured_bytes;	/* of journal since the space was looked at */
	bool is_nearly_full;		/* only what frees is admitted */
	/* the rows could not be kept for want of room: they are tried again */
	bool is_rows_full;
	bool is_disk_full;		/* not even what frees */
	bool is_stopping;
	bool is_dead;			/* destroyed; the memory goes with the last callback */
	bool wants_reserve;
	uint64_t reserve_number;	/* of the record that has to be durable first; 0: none */
	uint32_t waiting;		/* answers that wait for the journal */

	struct ms_binding *bindings;
	struct ms_recall *recalls;
	uint32_t recall_count;
	struct ms_grant *grants;
	uint32_t grant_count;
	struct ms_lock_claim *locks;	/* scratch of decoding: SERVE_CLAIMS_MAX */
	struct ms_lease *leases;	/* scratch of decoding: SERVE_LEASES_MAX */
	struct ms_source sources[MS_SOURCES_MAX];	/* the same */
	struct loop_timer tick;
	struct ms_snapshotter snapshotter;
	void (*stopped)(void *arg);
	void *stopped_arg;
};

/* serve.c */
/* once destroyed: if nothing comes back any more */
void ms_server_free(struct ms_server *s);
/* something ended: may we be destroyed now? */
void ms_server_stop_check(struct ms_server *s);

/* serve_batch.c */
/* fills the times, steps, journals */
void ms_serve_event(struct ms_server *s, struct ms_event *event);
/* The same, and sets inode numbers aside if step asks for that. */
void ms_serve_own_event(struct ms_server *s, struct ms_event *event);
/* `out` leaves with the batch, in the order it came. */
void ms_serve_batch_add(struct ms_server *s, struct ms_out *out, enum ms_out_kind kind);
void ms_serve_batch_post(struct ms_server *s);		/* it ends in a task of the loop */
void ms_serve_batch_end(struct ms_server *s);		/* it ends now */
void ms_serve_batch_drop(struct ms_server *s);		/* nothing of it leaves */
/* The durable number rose, or the journal failed: answers that waited for it leave. */
void ms_serve_batch_durable(struct ms_server *s, int rc);
void ms_serve_pending_free(struct ms_server *s, struct ms_pending *p);
/* Nothing changes from now on; the first reason is logged. */
void ms_serve_fail(struct ms_server *s, int rc, const char *what);

/* serve_space.c */
void ms_serve_space_init(struct ms_server *s);
void ms_serve_space_check(struct ms_server *s);
uint64_t ms_serve_room_bytes(struct ms_server *s);	/* for a snapshot, with some to spare */
/* bring the rows up to the journal; between batches */
int ms_serve_rows_keep(struct ms_server *s);

/* serve_request.c: borrows from req. 0, -E_NOSYS: not ours, -E_MALFORMED. */
must_check int ms_serve_request(struct ms_server *s, const struct rpc_request *req,
				struct ms_request *out);
bool ms_serve_request_grows(uint16_t op);	/* refused when nearly full */
bool ms_serve_request_changes(uint16_t op);	/* refused when the journal failed */
/* Fields of Wire ReencodeStatus and struct ms_reencode: a status tells what a heartbeat told. */
#define SERVE_REENCODE_FIELDS(X)                                                                   \
	X(running) X(all) X(wants) X(turn) X(paused) X(wrong)                                      \
	X(pass) X(bytes_done) X(bytes_total) X(blocks) X(bytes_before) X(bytes_after)              \
	X(bytes_per_s) X(started_wall_ns) X(finished_wall_ns)

/* serve_reply.c: build the wire message of a reply inside p. */
void ms_serve_reply(struct ms_server *s, struct ms_pending *p, const struct ms_reply *reply);
/* serve_map.c */
void ms_serve_reply_map(struct ms_server *s, struct ms_pending *p, const Wire__MapGet *ask);
void ms_serve_reply_status(struct ms_server *s, struct ms_pending *p);	/* serve_status.c */
/* the same */
void ms_serve_reply_locks(struct ms_server *s, struct ms_pending *p, const Wire__LockList *ask);
void ms_serve_reply_gc(struct ms_server *s, struct ms_pending *p, const Wire__Gc *ask);

/*
 * serve_warnings.c: what is wrong, for who is woken at night. `out` is zeroed, and outlives the
 * message.
 */
struct ms_warnings {
	Wire__Warning messages[SERVE_WARNINGS_MAX], *list[SERVE_WARNINGS_MAX];
	char texts[SERVE_WARNINGS_MAX][SERVE_WARNING_BYTES];
	size_t count;
};
void ms_serve_warnings(struct ms_server *s, const Wire__StatusReply *status,
		       const struct ms_counts *counts, struct ms_warnings *out);

/* serve_session.c */
void ms_serve_session_bind(struct ms_server *s, session_no session, struct rpc_peer *peer);
void ms_serve_session_end(struct ms_server *s, session_no session, bool is_fenced);
void ms_serve_session_lost(struct ms_server *s, struct rpc_peer *peer);
struct ms_recall *ms_serve_session_recall(struct ms_server *s, const struct ms_effect *effect);
void ms_serve_session_send(struct ms_server *s, struct ms_recall *recall);	/* takes it */
/* NULL: not now; the session is told again when it renews. */
struct ms_grant *ms_serve_session_grant(struct ms_server *s, const struct ms_effect *effect);
void ms_serve_session_send_grant(struct ms_server *s, struct ms_grant *grant);	/* takes it */
void ms_serve_session_finish(struct ms_server *s);

/* serve_snapshot.c */
void ms_serve_snapshot_init(struct ms_server *s);
void ms_serve_snapshot_tick(struct ms_server *s);
void ms_serve_snapshot_durable(struct ms_server *s);	/* the durable number rose */

#endif
