/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The content of one inode while somebody uses it: shared by all handles of this client.
 *
 * Content is two layers. Below, the manifest: blocks that are stored. Above, chunks: at most 64 KiB
 * of bytes each, disjoint, in memory; a chunk covers [start, start + cap) and hides what the
 * manifest says there. A chunk begins and ends where manifest entries do (existing cut points
 * survive), or on the grid of 64 KiB where there are none, or where the cutter of a file says that
 * is written from its begin (streamed.h), so putting it back is one manifest_replace(). Content of
 * at most INLINE_BYTES_MAX that never met a manifest is the single chunk at 0 and travels inside
 * its publish.
 *
 * Life of a chunk: dirty -> queued -> flying (its buffer lent to the put; a write then copies it
 * first) -> ready -> applied to the manifest and dropped, unless it was written meanwhile.
 *
 * Edits (write, truncate, fallocate, copy) of one file run one at a time, in order. Under a write
 * lease they end in memory; without one an edit reads the newest version, changes it, publishes,
 * and starts over when the publish was refused (I13), so no update is ever lost. Loop's thread.
 */
#ifndef CAIRN_CLIENT_CORE_FILE_H
#define CAIRN_CLIENT_CORE_FILE_H

#include "client/core/ahead.h"
#include "client/core/cache.h"
#include "client/core/cache_policy.h"
#include "client/core/node.h"
#include "fs/tree/manifest.h"

#define CL_IDS_MAX 16384u		/* blocks named but not yet published, of one file */

enum cl_put_state { CL_PUT_NONE, CL_PUT_QUEUED, CL_PUT_FLYING, CL_PUT_READY };

/* Where copied blocks are from: they live as long as this inode has this root (I9). */
#define CL_SOURCES_MAX 8u	/* that a publish may name */
struct cl_source { inode_no ino; struct root root; };

struct cl_chunk {
	struct cl_file *file;		/* NULL: given up while its put was flying */
	struct client *client;
	uint64_t start;
	/* bytes beyond len are zero, up to cap and the file's size */
	uint32_t cap, len;
	uint32_t hides;			/* data bytes of the manifest that lie below it */
	struct buf *buf;
	bool is_charged;		/* room for it is reserved (ENOSPC comes from write) */
	bool is_dirty;			/* has bytes that no put took */
	bool is_lent;			/* the buffer is read elsewhere: copy before writing */
	bool is_awaited;		/* the flush under way waits for it, */
	bool is_owed;			/* and for a put that begins after now */
	enum cl_put_state put_state;
	struct blocks_put put;
	struct blocks_marks put_marks;	/* its own, since the file may be gone when it ends */
	uint32_t put_len;
	uint64_t put_collection;	/* epoch that was known when its put began */
	struct cl_chunk *prev, *next;	/* queue of puts, later the file's ready ones */
};

struct cl_flush_wait {			/* who wants what is dirty now to be published */
	void (*done)(struct cl_flush_wait *wait, int rc);
	/* an operation, which its own deadline ends: tried again until then */
	bool is_timed;
	uint64_t seq;
	void *arg;
	struct cl_flush_wait **list;	/* where it waits; NULL: it does not */
	struct cl_flush_wait *prev, *next;
};

enum cl_flush_state {
	CL_FLUSH_IDLE, CL_FLUSH_PUTS, CL_FLUSH_NODES, CL_FLUSH_SYNC, CL_FLUSH_REPUT, CL_FLUSH_SEND
};

struct cl_flush {			/* publish.c */
	enum cl_flush_state state;
	uint64_t seq;			/* edits up to this one are in what is being published */
	uint32_t awaited;		/* chunks and nodes not stored yet */
	int rc;
	int ended_rc;			/* of the last one */
	bool is_inline, is_unfinished;
	uint32_t kill_priv;		/* what it sends says so; see cl_file */
	/* goes on from a turn of its own; unlike a task it can be taken back */
	struct loop_timer turn;
	struct cl_fetch fetch;
	int64_t mtime_ns;
	struct root root;
	struct buf *bytes;		/* inline content */
	uint32_t tries;			/* publishes refused for their version: sixteen at most */
	uint32_t ids_taken, sources_taken;
	uint32_t ids_sealed;		/* of them, what the next round cannot need any more */
	uint64_t late_collection;	/* lowest of what was put and is not sealed; ~0: nothing */
	struct cl_touch *touch;		/* under way */
	/* what was copied is put or touched like all else: no source matters */
	bool touches_all;
	uint64_t collection;		/* epoch that was known when the round began */
	uint64_t again_until_ns;	/* blocks are asked for again until then; 0: not yet */
	uint64_t new_bytes, charged;
	struct blocks_marks marks;	/* of what is to be synced */
	struct blocks_marks sync_marks;
	struct blocks_sync sync;
	bool is_syncing;
	uint64_t round, sync_round;	/* a round that was given up may still get answers */
	struct cl_req *req;
	struct cl_flush_wait *waits;
	struct loop_timer again;
};

struct cl_draft;
struct cl_cutter;

/* What this file has to do with the tiers; tiered.c. */
struct cl_tier_use {
	bool is_asked;			/* of this root: */
	struct root root;
	struct tier_file *file;		/* a reference; NULL: it is not there */
	uint64_t read_bytes;		/* that readers asked for, and were not sealed */
	bool is_touched;		/* enough to begin a fill, */
	bool is_followed;		/* and one of its siblings */
};

struct cl_file {
	struct cl_node *node;
	struct client *client;
	uint32_t refs;			/* handles, operations, recalls */
	bool is_loaded;			/* content is that of (version, root), edited */
	uint64_t version;
	struct root root;
	uint64_t size;
	int64_t mtime_ns;
	/* a write cleared suid and sgid: the next publish, or the next mode, says so */
	uint32_t kill_priv;		/* enum cl_kill */
	struct cl_tier_use tier;
	struct cl_draft *draft;		/* draft.c; NULL: there is none */
	bool is_draft_new;		/* it was cut to nothing, and is written anew */
	bool is_draft_refused;
	/* what its folders say (cache_policy.h) */
	bool is_policy_asked, has_cache_policy;
	enum cl_cache_policy cache_policy;
	struct manifest *manifest;	/* NULL: no blocks yet */
	struct cl_chunk **chunks;	/* sorted by start */
	uint32_t chunk_count, chunk_capacity;
	struct cl_cutter *stream;	/* streamed.h; NULL: written as it comes, on the grid */
	struct cl_ahead ahead;
	uint64_t edit_seq, clean_seq;	/* dirty while they differ */
	uint64_t dirty_since_ns;
	/* what was put since the last publish */
	struct blocks_marks marks;
	struct block_id *ids;
	uint32_t id_count, id_capacity;
	struct cl_source sources[CL_SOURCES_MAX];	/* of what was copied since */
	uint32_t source_count;
	/* manifest nodes whose put failed: put again by the next round */
	struct cl_node_put *unstored;
	uint64_t new_bytes;
	inode_no quota;			/* whose room it holds; 0: none */
	uint64_t quota_held;
	uint64_t charged;		/* plain bytes that room is reserved for */
	/* of them, what is stored or given up: the next publish settles it */
	uint64_t charged_put;
	struct cl_fetch apply_fetch;	/* a node that putting chunks into the manifest waits for */
	struct cl_chunk *ready;		/* stored, not yet in the manifest */
	/* of the last put that failed, for a writer that waits for memory */
	int put_rc;
	struct cl_flush flush;
	/* a SETATTR whose attributes go with the next publish, and which waits for that */
	struct cl_op *setting;
	/* edits */
	struct cl_op *alone_waiters;	/* readers, until an edit without a lease has ended */
	struct cl_op *edits;
	bool is_editing, is_alone;	/* the head runs; without a lease */
	struct cl_fetch edit_fetch;
	struct cl_flush_wait edit_wait;
	/* loading the content, shared by all who wait */
	bool is_loading;
	struct cl_op *load_waiters;
	/* appends beside other nodes: the turn ends then; the last append was then (lease.c) */
	uint64_t turn_end_ns, appended_ns;
	uint64_t sync_round;		/* of the last syncfs that saw it */
	int error;			/* of a background publish */
	uint64_t error_seq;
	struct cl_file *prev, *next;
};

struct cl_handle {
	struct client *client;
	struct cl_file *file;		/* NULL for a directory */
	inode_no ino;
	uint32_t flags;			/* O_* */
	bool is_dir, is_direct;
	struct lock_entry *locks;	/* set through it (locks.h) */
	bool is_lock_lost;		/* with a session: nothing is read or written any more */
	uint64_t error_seen;
	uint64_t loss_seen;		/* what it was told of power failures (changes.h) */
	uint64_t session_fenced;	/* fenced_count at open */
	/* of a directory: all entries up to this cookie were listed, none of them was lost since */
	bool is_listing;
	uint32_t names_lost;		/* of its node, when the listing began */
	uint32_t dir_changes;		/* when it was opened */
	uint32_t dir_recalls;		/* when the kernel was answered last */
	uint64_t listed_to, listed_until_ns;
	struct cl_listing *ahead;	/* the next page, asked for already; or NULL */
	struct cl_handle *prev, *next;	/* all of the client */
};

static inline bool cl_file_is_dirty(const struct cl_file *f)
{
	return f->edit_seq != f->clean_seq;
}

/* Publish.kill_priv of the protocol. */
enum cl_kill { CL_KILL_PRIV = 1, CL_KILL_SGID = 2 };
/* What this operation takes away from an inode of these attributes. */
uint32_t cl_file_kill_of(const struct cl_op *op, const struct cl_attr *attr);
/* A mode without it. */
mode_t cl_file_kill_mode(mode_t mode, uint32_t kill);
/* The server does not know yet that a write cleared suid and sgid. */
static inline bool cl_file_kills_priv(const struct cl_file *f)
{
	return (f->kill_priv | f->flush.kill_priv) != 0;
}

/* file.c */
/* a reference; NULL: out of memory */
struct cl_file *cl_file_get(struct client *c, struct cl_node *node);
void cl_file_put(struct cl_file *file);
void cl_file_reset(struct cl_file *file);		/* forget content and edits */
/* remember for fsync and close; content is forgotten */
void cl_file_fail(struct cl_file *file, int rc);
/*
 * It could not be published, and who changed it was told: give it up, unless others write here. No
 * reader of this node shall see what no other node will.
 */
void cl_file_told(struct cl_file *file, int rc);
int cl_file_take_error(struct cl_handle *h);		/* once per handle */
void cl_file_opened(struct client *c, struct cl_node *node, struct cl_op *op);
must_check int cl_file_handle(struct client *c, struct cl_node *node, uint32_t flags,
			      struct cl_handle **out);
void cl_file_fence(struct client *c, int rc);		/* the session is lost */
void cl_file_open(struct cl_op *op);
void cl_file_release(struct cl_op *op);
void cl_file_handle_free(struct cl_handle *h);
struct cl_handle *cl_file_handle_dir(struct client *c, inode_no ino);	/* NULL: out of memory */
void cl_file_stop(struct client *c);		/* the client goes away: no publish goes on */
void cl_file_finish(struct client *c);		/* free all files and handles */

/* file_content.c */
/*
 * Content loaded and, where there is no lease, refreshed: 0; 1: op waits, resume() follows; or an
 * error.
 */
must_check int cl_file_load(struct cl_op *op, struct cl_file *file,
			    void (*resume)(struct cl_op *op));
/* Inline content of that version has come with another answer; taken if it is wanted. */
void cl_file_supply(struct cl_file *file, uint64_t version, const struct buf *bulk);
/* Does the content, as edited, travel inside a publish? */
bool cl_file_fits_inline(const struct cl_file *file);
/* How much of the content, as edited, is data and no hole, if it is `size` long. */
uint64_t cl_file_data_bytes(const struct cl_file *file, uint64_t size);

/*
 * The manifest; each returns 0; 1: a node is on its way, call again when fetch->done() runs; or an
 * error.
 */
/* The entry that covers pos (< manifest bytes). */
must_check int cl_file_lookup(struct cl_file *file, uint64_t pos, struct cl_fetch *fetch,
			      struct extent *out);
/* Supply the node that the manifest just asked for. */
must_check int cl_file_node(struct cl_file *file, struct cl_fetch *fetch);
/* [from, to), as manifest_replace() wants it, becomes `with`, or is cut out (NULL). */
must_check int cl_file_replace(struct cl_file *file, uint64_t from, uint64_t to,
			       const struct extent *with, struct cl_fetch *fetch);
/* Lengthen it to `size` by a hole. */
must_check int cl_file_append_hole(struct cl_file *file, uint64_t size, struct cl_fetch *fetch);

/* opens.c: opens as the server counts them */
/* OPEN or MAKE: the server counts one more, whatever was registered before. */
void cl_opens_registered(struct cl_node *node, bool write);
/* Something was opened or closed: what nobody uses any more goes back to the server in time. */
void cl_opens_settle(struct client *c, struct cl_node *node);
void cl_opens_give_back(struct client *c);		/* now */
void cl_opens_sweep(struct client *c);
/* Under a new session the opens of the old one are unknown: forget them; tell what is open. */
void cl_opens_fence(struct client *c);
void cl_opens_again(struct client *c, struct cl_node *node);
void cl_opens_all_again(struct client *c);		/* that are not registered */

/* chunk.c */
/* the last with start <= pos */
struct cl_chunk *cl_chunk_before(struct cl_file *file, uint64_t pos);
struct cl_chunk *cl_chunk_find(struct cl_file *file, uint64_t pos);	/* NULL: none covers it */
/* First chunk with start >= pos; NULL: none. */
struct cl_chunk *cl_chunk_next(struct cl_file *file, uint64_t pos);
/* A chunk at start; -E_NOMEM, -E_AGAIN (no memory within the bound now). */
must_check int cl_chunk_make(struct cl_file *file, uint64_t start, uint32_t cap,
			     struct cl_chunk **out);
/*
 * Make [from, to) of the buffer writable, with zeros before it where nothing was. -E_AGAIN: no
 * memory now.
 */
must_check int cl_chunk_reserve(struct cl_chunk *chunk, uint32_t from, uint32_t to);
/* May the first `len` bytes be lent as they are? */
bool cl_chunk_is_ready(const struct cl_chunk *chunk, uint32_t len);
/* Begin with these bytes (takes the reference), which stay shared until the first write. */
void cl_chunk_fill(struct cl_chunk *chunk, struct buf *buf, uint32_t len);
/* It ends there: what comes behind is another's. */
void cl_chunk_end(struct cl_chunk *chunk, uint32_t cap);
/* Cut to `len` bytes, whatever a put that is flying took. */
must_check int cl_chunk_cut(struct cl_chunk *chunk, uint32_t len);
void cl_chunk_dirty(struct cl_chunk *chunk);
void cl_chunk_drop(struct cl_chunk *chunk);
void cl_chunk_drop_all(struct cl_file *file);
void cl_chunk_put(struct cl_chunk *chunk);		/* queue it */
void cl_chunk_put_all(struct cl_file *file);		/* every dirty one */
uint32_t cl_chunk_bytes(const struct cl_chunk *chunk);	/* that belong to the file now */
uint32_t cl_chunk_bytes_of(const struct cl_chunk *chunk, uint64_t size);	/* to one so long */
void cl_chunk_pump(struct client *c);
/* A block of this file is stored: who must sync it, and its name until the publish. */
must_check int cl_chunk_record(struct cl_file *file, const struct blocks_put *put,
			       const struct blocks_marks *marks);
void cl_chunk_apply(struct cl_file *file);		/* put ready ones into the manifest */
must_check int cl_chunk_manifest(struct cl_file *file);	/* make sure that there is one */

/* edit.c */
void cl_edit_start(struct cl_op *op);		/* WRITE, SETATTR(size), FALLOCATE, COPY_RANGE */
void cl_edit_run(struct cl_file *file);		/* also after a recall was answered */
bool cl_edit_is_running(const struct cl_file *file);
/* Steps: 0 done, 1 op waits and is stepped again, or an error. */
must_check int cl_edit_write_step(struct cl_op *op);
must_check int cl_edit_truncate_step(struct cl_op *op);
must_check int cl_edit_allocate_step(struct cl_op *op);	/* edit_allocate.c */
must_check int cl_copy_step(struct cl_op *op);		/* copy.c */
/* Put bytes (NULL: zeros) at pos, as many as one chunk takes. 0, 1 (waits), or an error. */
must_check int cl_edit_bytes(struct cl_op *op, uint64_t pos, const void *bytes, uint64_t len,
			     uint32_t *out_len);
int cl_edit_wait_memory(struct cl_op *op);	/* 1: waits; or what the last put failed with */
void cl_edit_touch(struct cl_op *op);		/* the content has changed: time, dirtiness */
void cl_edit_resume(struct cl_fetch *fetch);
/* what its step waited for has come, or op->wait_rc tells */
void cl_edit_again(struct cl_op *op);
/* the size is now at least `size` */
void cl_edit_grow(struct cl_file *file, uint64_t size);
/*
 * Reserve room for a chunk before it takes bytes, and with them the file is `size` long. 0, 1
 * (waits), -E_NOSPC.
 */
must_check int cl_edit_charge(struct cl_op *op, struct cl_chunk *chunk, uint64_t size);

/* publish.c */
void cl_publish_start(struct cl_file *file, struct cl_flush_wait *wait);
void cl_publish_cancel(struct cl_file *file, struct cl_flush_wait *wait);
void cl_publish_stored(struct cl_file *file, int rc);	/* one awaited chunk or node */
void cl_publish_sweep(struct client *c);		/* what was gathered long enough */
/*
 * The file is going away or fenced. Who waits for its publish is told after its content was
 * dropped: it may begin something new at once.
 */
void cl_publish_stop(struct cl_file *file);
void cl_publish_stopped(struct cl_file *file);
/* A block was put in that epoch: the round under way may be sealed without it. */
void cl_publish_is_late(struct cl_file *file, uint64_t collection);
/* So many sources go with the round under way. */
uint32_t cl_publish_sources(const struct cl_file *file);
/* Lowest collection epoch of what was put and is not published yet; 0: there is nothing (I9). */
uint64_t cl_publish_oldest(const struct client *c);
void cl_publish_forget(struct cl_file *file);		/* nodes of a manifest that is dropped */
/* Publish what is dirty, then go on with `then`, perhaps at once. Uses op->state. */
void cl_publish_file(struct cl_op *op, struct cl_file *file,
		     void (*then)(struct cl_op *op, int rc));
/* A SETATTR's attributes go with the content if they may, in one change; op->is_set says so. */
bool cl_publish_takes(const struct cl_op *op, const struct cl_file *file);
void cl_publish_flush(struct cl_op *op);
void cl_publish_fsync(struct cl_op *op);
void cl_publish_syncfs(struct cl_op *op);

/* other operations */
void cl_read_start(struct cl_op *op);
void cl_read_lseek(struct cl_op *op);
void cl_read_map(struct cl_op *op);
void cl_names_lookup(struct cl_op *op);
void cl_names_getattr(struct cl_op *op);
void cl_names_setattr(struct cl_op *op);
void cl_names_setattr_rest(struct cl_op *op);	/* what is left after the size was set */
void cl_names_make(struct cl_op *op);
void cl_names_link(struct cl_op *op);
void cl_names_unlink(struct cl_op *op);
void cl_names_rename(struct cl_op *op);
void cl_names_readlink(struct cl_op *op);
void cl_listing_open(struct cl_op *op);
void cl_listing_read(struct cl_op *op);
void cl_listing_close(struct cl_op *op);
void cl_listing_drop(struct cl_handle *h);		/* what was asked for ahead */
void cl_listing_stop(struct client *c);			/* of all handles */
void cl_names_forget(struct cl_op *op);
void cl_xattr_get(struct cl_op *op);
void cl_xattr_set(struct cl_op *op);
void cl_xattr_list(struct cl_op *op);
void cl_xattr_remove(struct cl_op *op);
void cl_xattr_statfs(struct cl_op *op);
void cl_control_start(struct cl_op *op);

/* pages.c */
/* A read or a write of this handle was answered: the kernel may hold pages of it now. */
void cl_pages_used(struct cl_node *node, const struct cl_handle *h);
/* Are there pages without a lease? Then they are dropped, and the op resumed behind that. */
bool cl_pages_wait(struct cl_op *op, struct cl_node *node, void (*resume)(struct cl_op *op));
void cl_pages_finish(struct client *c);

/* lease.c */
struct cl_returns;
void cl_lease_recall(struct client *c, struct rpc_request *req);
/* A recall that waits too long for the kernel to drop pages is answered without that. */
void cl_lease_sweep(struct client *c);
/*
 * An append without a lease asks for a turn: the write lease, which is kept for a few milliseconds
 * as long as appends follow each other, however soon it is recalled. So a turn costs one publish,
 * not each append.
 */
bool cl_lease_wants_turn(const struct cl_op *op, const struct cl_node *node);
void cl_lease_turn_begun(struct cl_file *file);
/* an edit ended while a recall waits */
void cl_lease_continue(struct client *c, struct cl_node *node);
void cl_lease_finish(struct client *c);
/* Gather leases that go back to the server; the batch is sent when it is full, and by _end(). */
void cl_lease_return(struct client *c, struct cl_returns **batch, inode_no ino, uint64_t name_hash);
void cl_lease_return_end(struct client *c, struct cl_returns **batch);

#endif
