/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sibling shards: who reads one shard of a model reads the others next, so they fill behind it.
 * Found by the name under which the inode was seen last; a hint, and wrong only for speed. Loop's
 * thread.
 */
#ifndef CAIRN_CLIENT_CORE_SIBLINGS_H
#define CAIRN_CLIENT_CORE_SIBLINGS_H

#include "client/core/node.h"

/* Let the other shards of this inode's model follow, if it is one of a sharded model. */
void cl_siblings_follow(struct client *c, const struct cl_node *node);
/* The client goes away, and its operations have ended. */
void cl_siblings_finish(struct client *c);

#endif
