/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shared by the files of the front (front*.c) only.
 */
#ifndef CAIRN_CLIENT_FUSE_FRONT_INTERNAL_H
#define CAIRN_CLIENT_FUSE_FRONT_INTERNAL_H

#include <pthread.h>
#include <semaphore.h>

#include "client/fuse/front.h"
#include "client/fuse/knode.h"
#include "client/fuse/passthrough.h"

#define FRONT_MAGIC	0x46524e54u	/* "FRNT" */
#define FRONT_IO_BYTES	MiB(1)		/* the largest write that the kernel sends */
#define FRONT_SPARE_MAX	32u		/* buffers of requests kept for reuse */
/* a smaller write is copied: its buffer is a megabyte */
#define FRONT_KEEP_BYTES KiB(32)
#define FRONT_NOTIFIERS	4u

/* Pages to drop, on behalf of a recall. */
struct front_drop {
	uint64_t nodes[KNODE_NODES];	/* all of one inode */
	unsigned node_count;
	void (*done)(void *arg);
	void *arg;
	struct front_drop *prev, *next;
};

struct front_spare {
	struct front_spare *next;
};

struct front {
	uint32_t magic;
	struct front_options options;
	struct client *client;
	struct fuse_session *session;
	bool is_mounted;
	bool has_epoch;			/* the kernel takes FUSE_NOTIFY_INC_EPOCH */
	bool has_acl;			/* of the file system, and negotiated */
	struct passthrough *pass;
	struct loop_task pass_task;	/* begins it, after INIT */

	/* the device: the loop's thread only, but for the semaphores */
	struct loop_uv_watch *watch;	/* NULL: no requests are read */
	struct fuse_buf receive;	/* of the next request */
	struct front_spare *spares;
	unsigned spare_count;
	struct loop_task task;		/* begin or stop to read */
	sem_t ended, stopped;
	bool is_gone;			/* unmounted by another, or broken */
	bool has_begun;			/* INIT was answered */
	int mounts_fd;			/* tells when a mount changes; -1: not open yet */
	unsigned atime_policy;
	int device_rc;			/* of that */

	/* they drop pages, and serve nothing */
	pthread_t notifiers[FRONT_NOTIFIERS];
	unsigned notifier_count;
	pthread_mutex_t lock;		/* guards drops, is_stopping */
	pthread_cond_t wake;
	struct front_drop *drops;
	bool is_stopping;
};

/* One kernel request on its way through the client, and back as a reply. */
struct front_op {
	struct cl_op op;		/* first */
	struct front *front;
	fuse_req_t req;
	uint64_t node;			/* the kernel's: LOOKUP, OPEN */
	void (*reply)(struct front_op *fop);
	struct passthrough_wait wait;	/* copy */
	bool is_parked;			/* it outlives reply(): another ends it */
	struct front_op *held_for;	/* the lookup that waits for this open */
	bool is_given_up;		/* while it is held */
	unsigned tries;			/* of a lookup: opens that came too late */
	void *data;			/* what the op reads from or writes to; owned */
	bool data_is_spare;		/* from front_device_take() */
	size_t size;			/* of the kernel's buffer: readdir, getxattr */
	struct fuse_file_info fi;	/* open, create: filled for the reply */
	char names[];			/* copies of names */
};

/* front.c */
struct front_op *front_op_create(fuse_req_t req, enum cl_op_kind kind,
				 void (*reply)(struct front_op *),
				 size_t name_bytes); /* NULL: ENOMEM was replied */
/* The same with a copy of one name, or two, behind it; op.name is set. */
struct front_op *front_op_named(fuse_req_t req, enum cl_op_kind kind,
				void (*reply)(struct front_op *), const char *name,
				const char *second);
const char *front_op_second(const struct front_op *fop);
/* From the handler of its request, not from a reply. It may be replied to, and gone, at once. */
void front_op_submit(struct front_op *fop);
void front_op_resubmit(struct front_op *fop);	/* from a reply: another op, filled anew */
/* reply errno and destroy: before the submit */
void front_op_refuse(struct front_op *fop, int sys);
void front_op_destroy(struct front_op *fop);
bool front_op_failed(struct front_op *fop);	/* if so, the error was replied */
double front_seconds(uint64_t ms);
/* How long the kernel may keep these attributes, in seconds. */
double front_attr_seconds(const struct front *f, const struct cl_attr *attr);
/* INIT was answered. Only now, since its answer lowers the read-ahead of the mount. */
void front_began(struct front *f);

/* front_device.c: requests from the kernel */
/* Serve requests until unmounted, or told to end by a post of f->ended; 0 or a negated code. */
must_check int front_device_serve(struct front *f);
void front_device_stop(struct front *f);	/* no request is read any more */
void front_device_finish(struct front *f);
/* In a handler: keep the buffer of its request beyond it. */
void *front_device_take(struct front *f);
/* In the handler of SETXATTR: does the kernel want the set-group-id bit cleared? */
bool front_device_kills_sgid(const struct front *f);
void front_device_give(struct front *f, void *memory);	/* what was taken; may be NULL */

/* front_ops.c, front_data.c, front_dir.c fill their parts of the table */
void front_ops_fill(struct fuse_lowlevel_ops *ops);
void front_data_fill(struct fuse_lowlevel_ops *ops);
void front_dir_fill(struct fuse_lowlevel_ops *ops);
void front_lock_fill(struct fuse_lowlevel_ops *ops);
void front_control_fill(struct fuse_lowlevel_ops *ops);
void front_statx_fill(struct fuse_lowlevel_ops *ops);
void front_reply_entry(struct front_op *fop);
void front_reply_status(struct front_op *fop);
/* What the client is to take from the mode of a new inode: without ACLs the kernel has done it. */
uint32_t front_umask(const struct front_op *fop);
void front_entry_param(const struct front *f, const struct cl_attr *attr, uint64_t entry_valid_ms,
		       struct fuse_entry_param *out);
/* In a reply: the kernel does not know of `count` lookups of a node. */
void front_forget(struct front *f, uint64_t node, uint64_t count);


/* front_open.c */
void front_open_fill(struct fuse_lowlevel_ops *ops);
void front_open_lapse(void *arg, void *kept);	/* a front_op that passthrough.h kept */
/* Open what was found, for a thread that is to open it again. True: its reply follows later. */
bool front_open_hold(struct front_op *lookup);

/* front_atime.c */
unsigned front_atime_policy(void *arg);
void front_atime_finish(struct front *f);

/* front_notify.c: the callbacks of cl_options, and the thread behind them */
must_check int front_notify_start(struct front *f);
void front_notify_stop(struct front *f);
void front_notify_attr(void *arg, inode_no ino);
/* As that, of content that is known to be the same. */
void front_notify_atime(void *arg, inode_no ino);
void front_notify_node(struct front *f, uint64_t node);		/* attributes of one node */
void front_notify_names(void *arg);
void front_notify_edit(void *arg, const struct cl_edit *edit);
void front_notify_pages(void *arg, inode_no ino, void (*done)(void *), void *done_arg);

#endif
