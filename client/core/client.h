/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client library: one mount of a cluster, without FUSE. The mount (client/fuse), tools and the
 * simulation use it. A front fills a struct cl_op, submits it from any thread or runs it on the
 * loop's, and gets done() on the loop's thread, exactly once, by the op's deadline.
 *
 * Inside: session and leases (session.c, lease.c), names and attributes cached under lease
 * (node.c), the data path (read.c, write.c) over fs/net/blocks.h. Consistency: design section 4;
 * fs/README.md.
 *
 * Memory is bounded by cl_options.memory_bytes (I11): writers wait when it is used up.
 */
#ifndef CAIRN_CLIENT_CORE_CLIENT_H
#define CAIRN_CLIENT_CORE_CLIENT_H

#include <sys/stat.h>
#include <sys/uio.h>

#include "fs/base/buf.h"
#include "fs/base/ranges.h"
#include "fs/io/loop.h"
#include "fs/net/net.h"
#include "fs/tree/root.h"

struct client;
struct tier_file;

/* What an operation of this client changed in the content of an inode; see on_edit. */
enum cl_edit_kind {
	CL_EDIT_SIZE = 1,		/* only the size: cut, or longer by zeros */
	CL_EDIT_BYTES,
	CL_EDIT_ZEROS,
	/* a copy from another range, whose bytes are not at hand: CL_READ has them now */
	CL_EDIT_COPIED,
};

struct cl_edit {
	enum cl_edit_kind kind;
	inode_no ino;
	uint64_t offset, length;
	const void *bytes;		/* of CL_EDIT_BYTES; until on_edit() returns */
	uint64_t size;			/* of the content, after it */
};

/* Access times: by the rule of relatime unless one of these says otherwise. */
enum { CL_ATIME_NEVER = 1, CL_ATIME_NOT_OF_FOLDERS = 2, CL_ATIME_STRICT = 4 };

struct cl_options {
	struct loop *loop;
	struct net *net;
	struct buf_pool *pool;
	const char *mds_address;
	const char *node_name;
	/* where the session number is kept, borrowed; NULL: not kept (simulation) */
	const char *session_file;
	uint8_t cluster[16];		/* zero: take the server's */
	uint32_t timeout_ms;		/* soft deadline of an operation (timeo=60 s) */
	bool is_hard;			/* renew the deadline for ever, until interrupted */
	uint64_t memory_bytes;		/* dirty data and blocks in flight */
	uint32_t seal_ms;		/* files are cut by content so long after; 0: never */
	uint64_t seal_min_bytes;	/* of this size and more */
	uint32_t flush_ms;		/* gathered writes are published after this: 1,000 */
	uint32_t blocks_in_flight;	/* of one read or write stream */
	int codec;			/* enum codec_aim for what it writes */
	struct tiers *tiers;		/* client/tier/tier.h; stays the caller's; NULL: none */
	uint64_t tier_min_bytes;	/* smaller files stay out of them */
	const char *pins_file;		/* where pins are kept; NULL: not kept */
	/* the usage predictor (client/core/guess.h) */
	bool predicts;
	const char *predictor_file;	/* NULL: not kept */
	uint64_t predict_bytes_per_hour, predict_bytes_per_s;
	uint32_t predict_idle_ms;	/* 0: GUESS_IDLE_MS */
	/* Front's duties at a recall; may be NULL. Called on the loop's thread; must not wait. */
	void (*on_inval_attr)(void *arg, inode_no ino);
	/* not its content: it was read here, and only the access time is another */
	void (*on_inval_atime)(void *arg, inode_no ino);
	/* bump the epoch of the mount */
	void (*on_inval_names)(void *arg);
	/* Pages: call done(done_arg) from any thread once they are dropped. */
	void (*on_inval_pages)(void *arg, inode_no ino, void (*done)(void *done_arg),
			       void *done_arg);
	/*
	 * This client has changed content: the range, then the size. For the front, whose
	 * passthrough opens of the inode must see it before the operation's caller goes on. On the
	 * loop's thread, in order of the edits, each before its operation's done(); also for the
	 * part of one that an error, its deadline or an interrupt ended halfway. May be NULL.
	 */
	void (*on_edit)(void *arg, const struct cl_edit *edit);
	/* How the mount wants access times now: CL_ATIME_*. Must not wait. NULL: relatime. */
	unsigned (*atime_policy)(void *arg);
	/* For reports: "" if the kernel reads tier files itself, else why not; may be NULL. */
	const char *(*passthrough)(void *arg);
	void *arg;
};

must_check int client_create(const struct cl_options *options, struct client **out);
/* Connect, open a session, fetch the map; done(arg, rc, sentence) once. */
void client_start(struct client *c, void (*done)(void *arg, int rc, const char *why), void *arg);
/* Publish what is dirty, return leases, close the session; done once, within timeout_ms. */
void client_stop(struct client *c, void (*done)(void *arg, int rc), void *arg);
void client_destroy(struct client *c);		/* after stop, or to crash (simulation) */
bool client_is_fenced(const struct client *c);
bool client_has_acl(const struct client *c);	/* of the file system; once started */
session_no client_session(const struct client *c);

enum cl_op_kind {
	CL_LOOKUP = 1, CL_GETATTR, CL_SETATTR, CL_MAKE, CL_LINK, CL_UNLINK, CL_RENAME, CL_READLINK,
	CL_OPENDIR, CL_READDIR, CL_RELEASEDIR, CL_OPEN, CL_READ, CL_WRITE, CL_FLUSH, CL_FSYNC,
	CL_RELEASE,
	CL_FALLOCATE, CL_LSEEK, CL_COPY_RANGE, CL_GETXATTR, CL_SETXATTR, CL_LISTXATTR,
	CL_REMOVEXATTR,
	CL_STATFS, CL_SYNCFS, CL_FORGET, CL_MAP, CL_CONTROL, CL_SETLK, CL_GETLK,
};

/* Bits of cl_op.set_mask; the numbers of the protocol (cairn-protocol(5), SetAttr.mask). */
enum cl_set {
	CL_SET_MODE = 1, CL_SET_UID = 2, CL_SET_GID = 4, CL_SET_SIZE = 8, CL_SET_ATIME = 16,
	CL_SET_MTIME = 32,
	CL_SET_ATIME_NOW = 64, CL_SET_MTIME_NOW = 128, CL_SET_KILL_PRIV = 256,
	CL_SET_KILL_SGID = 512,		/* the client's own: see is_member */
};

/* SETXATTR of an ACL: clear the set-group-id bit, for its caller is not in the group */
#define CL_XATTR_KILL_SGID 4u

struct cl_attr {
	struct stat st;			/* st_ino, st_mode ... as stat(2) */
	int64_t btime_ns;
	uint64_t version;
	bool has_xattrs, has_acl;	/* has_xattrs: others than ACLs */
	/* how long the kernel may keep it: never beyond the lease; 0: not at all */
	uint64_t valid_ms;
	struct root root;
	struct root recut_of;		/* the same bytes under another root, before; or EMPTY */
	inode_no quota;			/* the nearest directory with one; 0: none */
};

/* Nanoseconds since 1970 reach from 1677 to 2262; what lies beyond is the nearest that they do. */
struct timespec cl_node_time_of_ns(int64_t ns);
int64_t cl_node_ns_of_time(const struct timespec *t);

struct cl_entry {			/* of a listing */
	char name[NAME_BYTES_MAX + 1];
	uint32_t name_len;
	uint64_t cookie;
	inode_no ino;
	uint32_t type;			/* S_IFMT bits */
	bool has_attr;
	struct cl_attr attr;
	uint64_t entry_valid_ms;
};

struct cl_extent_info { uint64_t offset, length; struct block_id id; };	/* CL_MAP: for cairn stat */

/* A lock of fcntl(2) or flock(2): fs/base/ranges.h; of flock the range is the whole file. */
struct cl_lock {
	/* the kernel's: of a process (POSIX), or an open file (OFD, flock); FLUSH: who closes */
	uint64_t owner;
	uint64_t start, end;
	/* RANGE_NONE: unlock; out of GETLK: nothing is in the way */
	enum range_mode mode;
	uint32_t pid;
	bool is_flock, waits;
	/* of an open file: -E_DEADLK is not for it */
	bool may_cycle;
};

/* an open file: owned by the client between OPEN and RELEASE */
struct cl_handle;

/* What waits for a caller behind an operation that was interrupted. */
enum cl_signal {
	CL_SIGNAL_NONE,			/* nothing that a call has to end for */
	CL_SIGNAL_CAUGHT,		/* a handler of its own */
	CL_SIGNAL_FATAL,		/* its end */
};

struct cl_op {
	enum cl_op_kind kind;
	uint32_t uid, gid;
	uint32_t *groups, group_count;	/* CONTROL: of the caller; live until done */
	inode_no at;			/* CONTROL: of the open file on which it is asked */
	/* arguments; unused ones zero */
	inode_no ino, parent, new_parent;
	const char *name, *new_name;	/* NUL-terminated; live until done */
	const char *target;		/* symlink */
	/*
	 * READ, WRITE, FLUSH, FSYNC, RELEASE, FALLOCATE, LSEEK; optional for SETATTR, GETATTR, and
	 * SYNCFS: of a directory, which is `ino`; without both: for all that this client changed
	 */
	struct cl_handle *handle;
	struct cl_handle *out_handle;	/* COPY_RANGE: destination */
	/*
	 * MAKE: mode; OPEN: O_*; WRITE: O_APPEND, which a handle may gain and lose, and pages of a
	 * map never have; RENAME: RENAME_*; FALLOCATE: FALLOC_FL_*; SETXATTR: XATTR_*,
	 * CL_XATTR_KILL_SGID
	 */
	uint32_t mode, rdev, flags;
	uint32_t umask;			/* MAKE: not yet taken from the mode */
	uint32_t set_mask;		/* CL_SET_* */
	uint32_t new_uid, new_gid;	/* SETATTR; uid and gid above are the caller's */
	bool is_directory;		/* UNLINK: rmdir */
	/* READDIR: readdir-plus; each entry with attributes counts a lookup */
	bool want_attr;
	uint64_t size, offset, out_offset, length;
	int64_t atime_ns, mtime_ns;
	struct cl_lock lock;		/* SETLK, GETLK; FLUSH: owner */
	int whence;			/* LSEEK: SEEK_DATA, SEEK_HOLE */
	/* MAKE; unnamed: a file without a name in the file system of `parent`, opened */
	bool exclusive, want_open, unnamed;
	bool data_only;			/* FSYNC */
	bool kill_priv;			/* WRITE, SETATTR(size) */
	uint64_t lookups;		/* FORGET */
	/* WRITE, SETXATTR, CONTROL (client/core/control.h): live until done */
	const void *bytes;
	uint32_t bytes_len;
	/* GETXATTR, LISTXATTR, READLINK, CONTROL; 0: ask the size */
	void *out; uint32_t out_capacity;
	uint32_t deadline_ms;		/* 0: the mount's */

	/*
	 * Of one that takes set-id bits away: is its caller in this group, or may he keep the bit
	 * without? Asked only where it matters. NULL: yes.
	 */
	bool (*is_member)(const struct cl_op *op, uint32_t gid);
	void (*done)(struct cl_op *op);
	/*
	 * Is nobody there any more who could interrupt it? Asked every CL_ABANDONED_MS: if so, and
	 * nothing moves, it ends; what it began goes on. NULL: somebody is.
	 */
	bool (*is_abandoned)(const struct cl_op *op);
	/*
	 * Interrupted: for what? Asked from then on until it ends. No program expects that a stat,
	 * an unlink or a close ends with EINTR: what is fatal ends it at once, what is caught only
	 * after CL_INTERRUPT_MS. NULL: fatal.
	 */
	enum cl_signal (*signal)(const struct cl_op *op);
	void *user;

	/* results */
	int rc;				/* 0 or a negated code */
	struct cl_attr attr;
	/* LOOKUP, MAKE, LINK; with -E_NOENT of LOOKUP: a negative entry may be kept so long */
	uint64_t entry_valid_ms;
	struct cl_handle *opened;	/* OPEN, MAKE with want_open */
	/* OPEN, OPENDIR: kernel pages of this inode are still right */
	bool keep_cache;
	bool direct_io;			/* OPEN: another node writes it */
	/* READ: the data, up to iov_count pieces, valid until done returns */
	struct iovec *iov;
	uint32_t iov_count;
	uint32_t out_len;		/* bytes read, written, or length of value or names */
	uint64_t out_offset_found;	/* LSEEK */
	/* READDIR; valid until done returns */
	struct cl_entry *entries; uint32_t entry_count; bool end;
	/* MAP; valid until done returns */
	struct cl_extent_info *extents; uint32_t extent_count;
	uint64_t fs_bytes_total, fs_bytes_free, fs_files, fs_files_free;	/* STATFS */

	/* private */
	struct client *client;
	struct loop_task task;
	uint64_t due_ns, interrupted_ns;
	uint64_t look_ns, looked_puts;	/* of is_abandoned */
	bool is_interrupted, is_finished, is_queued, is_fresh, is_begun, is_set, is_again;
	/* waits for others: no deadline while the server answers, and any signal ends it */
	bool is_unbounded;
	bool is_quota_asked;			/* quota.c */
	uint64_t quota_due_ns;
	int wait_rc;
	const char *waiting_for;
	void (*cancel)(struct cl_op *op);	/* undo what it waits for; NULL: it does not wait */
	void (*waits_for)(struct cl_op *op);	/* of an edit: the cancel of its inner wait */
	void (*resume)(struct cl_op *op);
	void (*resume_rc)(struct cl_op *op, int rc);
	struct cl_file *file;
	struct cl_req *req;
	void *state;
	uint64_t progress;
	struct cl_op *prev, *next;		/* all that run */
	struct cl_op **wait_list;
	struct cl_op *wait_prev, *wait_next;
	struct cl_op *edit_prev, *edit_next;	/* edits of one file, one at a time */
};

/*
 * Any thread; done() never runs inside. READDIR: op->length bounds the listing: sum over entries of
 * (160 + name bytes) rounded up to 8 is at most `length`; "." and ".." are the front's (op->parent
 * returns the inode of ".."). OPENDIR and MAKE with want_open give op->opened as OPEN does.
 */
void client_submit(struct client *c, struct cl_op *op);
/*
 * The same without a hand-over: on the loop's thread, outside all callbacks of the client. The op
 * begins at once; done() may run before the call returns.
 */
void client_run(struct client *c, struct cl_op *op);
/*
 * Any thread: the op ends soon with -E_INTR, unless it ends otherwise first. Safe until done()
 * returns.
 */
void client_interrupt(struct client *c, struct cl_op *op);

/*
 * For closes, on the loop's thread. Was there ever a POSIX lock? May this owner have one of the
 * inode, which its FLUSH would end?
 */
bool client_uses_posix_locks(const struct client *c);
bool client_may_have_lock(const struct client *c, inode_no ino, uint64_t owner);

/*
 * The tier file that holds the content of this inode now, sealed: nobody on this node writes it,
 * its lease is held, it is at least 1 MiB. A reference (tier_put); NULL: there is none. On the
 * loop's thread. Of an open it counts as a use (tier_use), which is the caller's to say.
 */
struct tier_file *client_tier_find(struct client *c, inode_no ino);

/* The kernel reads it by itself, and will not tell: its access time. On the loop's thread. */
void client_was_read(struct client *c, inode_no ino);

/*
 * The front did not use the keep_cache of an open as meant: the next open of the inode has none. On
 * the loop's thread.
 */
void client_pages_unknown(struct client *c, inode_no ino);
/* The kernel passes its pages by for this handle, and does not sync what O_SYNC asks for. */
void client_handle_set_direct(struct cl_handle *h, bool is_direct);
bool client_handle_is_direct(const struct cl_handle *h);
bool client_handle_is_reader(const struct cl_handle *h);	/* it cannot write */

struct cl_stats {
	uint64_t dirty_bytes, memory_bytes, nodes, leases, ops_waiting;
	uint64_t reads, read_bytes, writes, write_bytes, blocks_put, blocks_present;
	uint64_t blocks_got;			/* read from chunk servers, nodes included */
	/* tiers: reads that they served; fills; what was written here and kept */
	uint64_t tier_reads, tier_read_bytes, tier_reads_failed;
	uint64_t fills_begun, fills_sealed, fills_failed, fill_bytes;
	uint64_t drafts_begun, drafts_adopted, draft_bytes;
	char waiting_for[128];		/* "", or what the oldest waiting operation waits for */
};
void client_stats(const struct client *c, struct cl_stats *out);

#endif
