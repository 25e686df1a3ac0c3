/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inodes and names as this client knows them, and the leases that make them true (I6): an attribute
 * or a name may be used while its lease is held and the session is valid (cl_session_is_valid).
 *
 * Bounded (I11): least recently used ones go first; their leases are returned, and the front is
 * told when the kernel may still know them. A node that is in use (pins, a file, requests) stays.
 * Loop's thread.
 */
#ifndef CAIRN_CLIENT_CORE_NODE_H
#define CAIRN_CLIENT_CORE_NODE_H

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "client/core/core.h"

enum cl_lease { CL_LEASE_NONE = 0, CL_LEASE_READ = 1, CL_LEASE_WRITE = 2 };

struct cl_node {
	inode_no ino;
	enum cl_lease lease;
	bool is_open_elsewhere;		/* its write lease is a turn, beside others (lease.c) */
	bool has_attr;
	struct cl_attr attr;		/* as the server last told it */
	/* an operation of ours changed it, and its reply did not show it */
	bool is_outdated;
	char *target;			/* of a symbolic link; NULL: not known */
	uint64_t lookups;		/* of the kernel */
	struct cl_file *file;		/* while its content is in use */
	bool has_pages;			/* the kernel may hold pages of it, */
	bool has_loose_pages;		/* also without a lease (pages.c) */
	bool is_dropping_pages;
	struct root pages_root;		/* content that they were read from */
	uint64_t pages_version;
	bool is_recalling;		/* edits wait until the recall is answered */
	bool is_sealing;		/* the same, until the PUBLISH of a seal is (seal.h) */
	uint16_t turn_recalls;		/* that wait for the end of a turn; lease.c */
	/*
	 * Of a directory, while its lease is held: every name in it is in the table of names. Once
	 * it is not, names_lost rises. The kernel was told of absent names on this ground.
	 */
	bool is_complete, has_told_absent;
	uint32_t names_lost;
	uint64_t listed_until_ns;	/* the kernel holds what it was told of all its entries */
	/* changes of its names by this client; handles that are open on it, before the last one */
	uint32_t dir_changes, dir_handles, stale_dir_handles;
	/* names of it that others had recalled, and until when more of that is likely */
	uint32_t dir_recalls;
	uint64_t contended_until_ns;
	/* opens as registered at the server, one per kind */
	uint32_t readers, writers;	/* handles of this client */
	bool has_open_read, has_open_write, is_opening;
	/* registered by makes that found it open already: given back one by one */
	uint8_t extra_opens;
	uint16_t releasing;		/* releases of them that are on their way */
	bool is_idle_open;		/* registered, used by nobody: in c->idle_opens */
	struct cl_node *idle_prev, *idle_next;
	struct cl_op *open_waiters;
	uint64_t reclaim_round;		/* the last that it was told in */
	/* read here then, and not told to the server; 0: nothing is to be told (atime.h) */
	int64_t read_ns;
	struct cl_node *read_prev, *read_next;
	/* where it was seen last: a hint for shards and reports, true when it was seen */
	inode_no parent_hint;
	char *name_hint;		/* NULL: never */
	UT_hash_handle hh;
	struct cl_node *prev, *next;	/* LRU */
};

struct cl_node *cl_node_find(struct client *c, inode_no ino);
/* made if absent; NULL: out of memory */
struct cl_node *cl_node_get(struct client *c, inode_no ino);
void cl_node_forget(struct client *c, inode_no ino, uint64_t lookups);
/* Take attributes of a reply unless older than ours. -E_MALFORMED. */
must_check int cl_node_take_attr(struct client *c, const Wire__Attr *attr, struct cl_node **out);
/*
 * Take the whole NodeReply of a call that has ended: attributes of node and parent, leases (unless
 * returned meanwhile). `out` may be NULL. What the call failed with; -E_MALFORMED.
 */
must_check int cl_node_take_reply(struct cl_req *req, struct cl_node **out);
void cl_node_take_lease(struct cl_req *req, const Wire__Lease *lease);
/* What we hold of this inode is old, though its lease is ours. ino 0: nothing. */
void cl_node_outdate(struct client *c, inode_no ino);
/* Attributes for the front: what the server said, and what a local writer changed since. */
void cl_node_show(struct client *c, const struct cl_node *node, struct cl_attr *out);
/* may answer from the cache */
bool cl_node_is_fresh(struct client *c, const struct cl_node *node);
bool cl_node_can_write(struct client *c, const struct cl_node *node);	/* under a write lease */

/*
 * Names. ino 0: known to be absent. A directory that is complete has no others than the table says;
 * one is that we made, or listed whole (names.c), under the lease of its inode: whoever else
 * changes a name in it has that recalled first.
 */
/* What a change or a lookup has come to. True: the name is held under lease now. */
bool cl_node_name_set(struct cl_req *req, const Wire__NodeReply *reply, inode_no parent,
		      const char *name, inode_no ino);
/* Did the reply come with a lease on it, that still counts? */
bool cl_node_name_is_granted(struct cl_req *req, const Wire__NodeReply *reply, inode_no parent,
			     const char *name);
/* A hint only: where reports, shards and policies of folders look for an inode that we know. */
void cl_node_name_seen(struct client *c, inode_no ino, inode_no parent, const char *name);
void cl_node_name_grant(struct client *c, inode_no parent, const char *name, inode_no ino);
bool cl_node_name_find(struct client *c, inode_no parent, const char *name, inode_no *ino);
void cl_node_name_drop(struct client *c, inode_no parent, const char *name);
void cl_node_name_drop_hash(struct client *c, inode_no parent, uint64_t hash);

/*
 * The path of an inode from the root of the file system, as far as hints tell: "" if nothing is
 * known, ".../a/b" if not all of it is. Cut to out_bytes.
 */
void cl_node_path(struct client *c, inode_no ino, char *out, size_t out_bytes);

/* All names of this directory are known from now on. */
void cl_node_dir_complete(struct cl_node *dir);
/* It was made by this request: there are none, if the lease came with the answer. */
void cl_node_dir_made(struct cl_req *req, const Wire__NodeReply *reply, struct cl_node *dir);
/* Some name of this directory is not known any more; it may be none. */
void cl_node_dir_unknown(struct client *c, inode_no ino);
/* Its lease goes: the kernel must not trust what it was told of absent names. */
/* A name of it was recalled, or all of them. */
void cl_node_dir_recalled(struct client *c, inode_no ino);
/* This client has changed a name in it. */
void cl_node_dir_changed(struct client *c, inode_no ino);
void cl_node_dir_lost(struct client *c, struct cl_node *dir);
/* Not in the table: is it absent for sure? */
bool cl_node_name_is_absent(struct client *c, inode_no parent);

/* The kernel's pages, if any, may be of any content. */
void cl_node_pages_unknown(struct cl_node *node);
void cl_node_drop_names(struct client *c);
void cl_node_names_finish(struct client *c);
void cl_node_drop_leases(struct client *c);	/* the session is gone: trust nothing */
void cl_node_finish(struct client *c);

#endif
