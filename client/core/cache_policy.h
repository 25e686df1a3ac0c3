/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the folders of a file say about caching it: the extended attribute "user.cairn.cache" of the
 * nearest folder that has one. Folders are found by hints (node.h), so a file that was only opened
 * by handle has none; asking costs a message only where a folder has extended attributes.
 */
#ifndef CAIRN_CLIENT_CORE_CACHE_POLICY_H
#define CAIRN_CLIENT_CORE_CACHE_POLICY_H

#include "client/core/core.h"

#define CACHE_POLICY_XATTR "user.cairn.cache"

enum cl_cache_policy { CL_CACHE_NORMAL = 0, CL_CACHE_PIN, CL_CACHE_NEVER };

struct cl_policy_ask {			/* zero it, fill done and arg */
	/*
	 * Perhaps from within the call. rc 0: `policy` is what the folders say; or why they could
	 * not be asked.
	 */
	void (*done)(struct cl_policy_ask *ask, int rc, enum cl_cache_policy policy);
	void *arg;
	struct client *client;		/* private */
	struct cl_op op;
	struct loop_timer turn;		/* questions go out in turns of their own */
	inode_no folder;
	uint32_t depth;
	char value[16];
};
void cl_policy_ask(struct client *c, inode_no ino, struct cl_policy_ask *ask);
/* At the end of the client, whose operations have ended: no done() any more. */
void cl_policy_cancel(struct cl_policy_ask *ask);

struct cl_file;
/*
 * The policy of a file in use: asked once. Unknown until the answer, which cl_tiered_policy() is
 * told of, perhaps from within the call.
 */
void cl_policy_want(struct cl_file *file);
void cl_policy_finish(struct client *c);

/* "pin", "normal", "never"; false: none of them. */
bool cl_policy_parse(const char *text, size_t len, enum cl_cache_policy *out);

#endif
