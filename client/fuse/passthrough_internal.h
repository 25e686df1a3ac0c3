/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shared by passthrough.c and passthrough_edit.c only.
 */
#ifndef CAIRN_CLIENT_FUSE_PASSTHROUGH_INTERNAL_H
#define CAIRN_CLIENT_FUSE_PASSTHROUGH_INTERNAL_H

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "client/fuse/knode.h"
#include "client/fuse/passthrough.h"

/* A tier file while it is open by passthrough, or being changed. */
struct backing {
	struct tier_file *file;		/* a reference; also what the nodes are open to */
	inode_no ino;
	int id;				/* the kernel's */
	uint32_t opens;
	bool is_doubted;		/* another node may have changed the inode since */
	/* this mount has changed the inode */
	bool is_detached;
	bool is_left;			/* ... or could not follow: it stays as it is */
	int fd;				/* to change it; -1: it was not */
	/* what was copied by reference, to be read from the client: [catch_from, catch_to) */
	uint64_t catch_from, catch_to;
	struct catch_up *catch_up;	/* under way */
	struct passthrough_wait *waits;	/* for its end */
	UT_hash_handle hh;
};

struct passthrough {
	struct passthrough_options options;
	struct client *client;
	int device;			/* of the session */
	bool is_on;			/* the kernel takes files */
	struct knode_table *nodes;
	struct backing *backings;	/* by file */
	struct loop_timer lapse;	/* of retries that did not come back */
	const char *problem;		/* constant text; "" */
};

struct backing *passthrough_backing(const struct passthrough *pt, const void *file);
/* Nobody has it open or changes it any more: free it. */
void passthrough_backing_put(struct passthrough *pt, struct backing *b);

#endif
