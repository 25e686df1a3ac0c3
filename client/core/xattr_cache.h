/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values of extended attributes that were asked for, and absent ones: true while the inode is held
 * under lease and has the version that they are of, since setting one is a change of its inode. So
 * nothing has to be dropped when a lease goes.
 *
 * Bounded (I11): small values only; least recently used ones go first. Loop's thread.
 */
#ifndef CAIRN_CLIENT_CORE_XATTR_CACHE_H
#define CAIRN_CLIENT_CORE_XATTR_CACHE_H

#include "client/core/core.h"

struct cl_xattr_value {
	uint64_t version;		/* of the inode */
	bool is_absent;
	uint32_t len;
	const void *bytes;
};

/* name "": the names of all. Valid until the next call. */
bool cl_xattr_cache_find(struct client *c, inode_no ino, const char *name, uint64_t version,
			 struct cl_xattr_value *out);
/* Without memory, or if it is too large, it is not kept. */
void cl_xattr_cache_put(struct client *c, inode_no ino, const char *name,
			const struct cl_xattr_value *value);
void cl_xattr_cache_finish(struct client *c);

#endif
