/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads the names and content of a running cluster without a mount, for commands: attributes and
 * directories from the metadata server under a session of its own that takes no leases, blocks from
 * any replica, each verified.
 *
 * Synchronous, one call at a time, each with a deadline. Threads: one.
 */
#ifndef CAIRN_TOOLS_TREE_READER_H
#define CAIRN_TOOLS_TREE_READER_H

#include "fs/placement/map.h"
#include "fs/tree/manifest.h"
#include "fs/wire/msg.h"

struct tree_reader;

/* Opens a session and fetches the map. `mds` NULL: found as admin_find() says. */
must_check int tree_reader_open(const char *mds, struct tree_reader **out, struct error *err);
void tree_reader_close(struct tree_reader *r); /* ends the session; NULL is allowed */
const struct map *tree_reader_map(const struct tree_reader *r);

struct tree_attr {
	inode_no ino;
	uint32_t mode, nlink;
	uint64_t size, version;
	struct root root;
};
must_check int tree_reader_attr(struct tree_reader *r, inode_no ino, struct tree_attr *out,
				struct error *err);

/* Every name of a directory; a negative answer ends it with that code. -E_STALE, -E_NOTDIR. */
struct tree_name {
	const uint8_t *bytes;
	size_t len;
	inode_no ino;
	uint32_t type;
	const struct tree_attr *attr; /* with _plus; NULL: somebody is writing it, ask */
};
typedef int (*tree_name_fn)(void *arg, const struct tree_name *name);
must_check int tree_reader_list(struct tree_reader *r, inode_no dir, tree_name_fn fn, void *arg,
				struct error *err);
/* With attributes: some hundred names a call, where tree_reader_attr() is a call each. */
must_check int tree_reader_list_plus(struct tree_reader *r, inode_no dir, tree_name_fn fn,
				     void *arg, struct error *err);
/* How many inline bytes there are. -E_STALE_VERSION: the file has changed since `attr`. */
must_check int tree_reader_inline(struct tree_reader *r, const struct tree_attr *attr,
				  uint32_t *bytes, struct error *err);

/*
 * Which servers of each block's group hold it, as they say, at most SIZES_IDS_MAX blocks at once.
 * What a server does not answer is counted, and it is left alone for some seconds.
 */
struct tree_copy {
	server_no server;
	uint32_t stored; /* bytes of the record, its header too */
	uint8_t codec;
};
struct tree_copies {
	struct tree_copy held[COPIES_MAX + FORMERS_MAX];
	uint32_t held_count, silent_count, wanted; /* wanted: replicas of its group */
};
must_check int tree_reader_copies(struct tree_reader *r, const struct block_id *ids, uint32_t count,
				  struct tree_copies *out, struct error *err);

/*
 * Get a block from one server and verify it: digest and all. plain holds BLOCK_BYTES_MAX.
 * -E_NO_BLOCK, -E_CORRUPT, -E_MALFORMED, or what the network says.
 */
must_check int tree_reader_get_at(struct tree_reader *r, server_no server,
				  const struct block_id *id, void *plain, uint32_t *plain_len,
				  struct error *err);
/* Ask a server to prove its copy, and to fetch it again if it is wrong or missing. */
must_check int tree_reader_check(struct tree_reader *r, server_no server, const struct block_id *id,
				 struct error *err);
/* Get it from any server of its group. */
must_check int tree_reader_get(struct tree_reader *r, const struct block_id *id, void *plain,
			       uint32_t *plain_len, struct error *err);

/* Visit what a root names, nodes before what is below them; holes are left out. */
struct tree_block {
	struct block_id id;
	uint64_t offset, length; /* of the content below it, in the file */
	uint64_t data;		 /* of the length, what is no hole */
	bool is_node;
};
/* A negative answer ends the walk with that code. */
typedef int (*tree_block_fn)(void *arg, const struct tree_block *block);
must_check int tree_reader_walk(struct tree_reader *r, const struct root *root, tree_block_fn fn,
				void *arg, struct error *err);

#endif
