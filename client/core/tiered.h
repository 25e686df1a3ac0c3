/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Content of inodes that lies in the tiers: who may use it, and who must hear that an inode of this
 * node changes. Content is named by its root, so what a tier holds never is stale; which root an
 * inode has now is known under its lease, and only while nobody here writes it.
 */
#ifndef CAIRN_CLIENT_CORE_TIERED_H
#define CAIRN_CLIENT_CORE_TIERED_H

#include "client/core/file.h"

/* An edit ended, or was given up halfway: op->progress of it is in the content. */
void cl_tiered_edited(const struct cl_op *op);
/* The root that this inode's content has now, if it can be in a tier; NULL. */
const struct root *cl_tiered_root(struct client *c, const struct cl_node *node);

#endif
