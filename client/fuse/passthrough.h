/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Passthrough: the kernel reads a sealed file of a tier by itself, without us. Decides for each
 * open and lookup which kernel node serves it and how (knode.h), and keeps what such opens need:
 * the file in its tier, its backing id in the kernel, and, while this mount changes the inode, a
 * way to apply each change to the file as well.
 *
 * Rules (each was learned from an EIO): opens minus releases of a node are counted here, on the
 * loop's thread, as are the id's registering (with the first open) and closing (at the last
 * release). One id per file. Never with KEEP_CACHE; only O_RDONLY opens; one inode per file at a
 * time, since a change of one must not show in another of equal content.
 *
 * A passthrough open keeps its version till its last release: changes by other nodes do not reach
 * it; new opens do not join it.
 */
#ifndef CAIRN_CLIENT_FUSE_PASSTHROUGH_H
#define CAIRN_CLIENT_FUSE_PASSTHROUGH_H

#include "client/core/client.h"
#include "fs/base/error.h"

struct passthrough;
struct fuse_file_info;

struct passthrough_options {
	struct loop *loop;
	bool is_wanted;			/* client.passthrough */
	/* The open that kept this did not come back. At the end the client is gone. */
	void (*on_lapse)(void *arg, void *kept);
	void *arg;
};

must_check int passthrough_create(const struct passthrough_options *options,
				  struct passthrough **out);
void passthrough_destroy(struct passthrough *pt);	/* once the session is gone */
void passthrough_set_client(struct passthrough *pt, struct client *client);

/* May the session ask the kernel for it? `is_offered`: kernel and library know it. */
bool passthrough_ask(struct passthrough *pt, bool is_offered);
/* After INIT: try once whether this process may register files, and log what is missing. */
void passthrough_begin(struct passthrough *pt, int device);
/* Why the kernel does not read cached files itself; "": it does. */
const char *passthrough_problem(const struct passthrough *pt);

/* One open that the client has served; the rest of the answer is chosen here. */
struct passthrough_open {
	uint64_t node;
	int tid;			/* the thread that asks */
	struct fuse_file_info *fi;	/* flags; in part filled for the reply */
};
/*
 * Count it, and fill fi: backing_id, direct_io, keep_cache. 0, or a negated errno for the reply,
 * when nothing was counted: -ESTALE: the kernel looks up again.
 */
must_check int passthrough_open(struct passthrough *pt, const struct passthrough_open *open);
/*
 * After -ESTALE: keep this for the open that follows, whose inode is then alive for sure. The node
 * that was asked for is not opened: its pages, if any, are unknown (client_pages_unknown).
 */
must_check bool passthrough_keep(struct passthrough *pt, int tid, void *kept);
void *passthrough_peek(const struct passthrough *pt, int tid);	/* the thread looks up; NULL */
void *passthrough_kept(struct passthrough *pt, int tid);	/* the thread opens; NULL */
/*
 * The thread is told ESTALE for another reason: once for a system call is enough. False: it was
 * told before, or cannot be told from others. Of an open: of which node, else 0.
 */
bool passthrough_stale(struct passthrough *pt, int tid, uint64_t node);
void passthrough_release(struct passthrough *pt, uint64_t node);

/* The node for a reply that names an inode to this thread; counted as looked up. */
uint64_t passthrough_lookup(struct passthrough *pt, inode_no ino, int tid);
/* The same for a node that a file handle names: -E_NOENT, if it cannot be. */
must_check int passthrough_lookup_node(struct passthrough *pt, uint64_t node);
void passthrough_forget(struct passthrough *pt, uint64_t node, uint64_t lookups);
/* As knode_list(), and knode_has_asides(). */
unsigned passthrough_nodes(const struct passthrough *pt, inode_no ino, uint64_t *out);
bool passthrough_is_shown_twice(const struct passthrough *pt, inode_no ino);

/* The client's callbacks, forwarded. */
void passthrough_edited(struct passthrough *pt, const struct cl_edit *edit);
/*
 * After a copy by reference: are readers of the inode yet to see it? Then done(wait) follows, and
 * the copy may be answered. (For a while the kernel reads bytes of before.)
 */
struct passthrough_wait {
	void (*done)(struct passthrough_wait *wait);
	struct passthrough_wait *next;		/* private */
};
bool passthrough_is_behind(struct passthrough *pt, inode_no ino, struct passthrough_wait *wait);
/* Another node may have changed it. */
void passthrough_doubt(struct passthrough *pt, inode_no ino);
/* Its content is this now, says the server. */
void passthrough_is(struct passthrough *pt, const struct cl_attr *attr);

#endif
