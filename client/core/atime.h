/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Access times. The kernel leaves them to us: what is read through us is stamped here, by the rule
 * of relatime (once after each change, else once a day), and the server is told soon after, many
 * in one message. So who reads pays no message, and who reads twice nothing at all.
 *
 * Nobody else's lease is recalled for it, so who has read the file keeps its pages; other nodes
 * that know its attributes are told to ask again. Loop's thread.
 */
#ifndef CAIRN_CLIENT_CORE_ATIME_H
#define CAIRN_CLIENT_CORE_ATIME_H

#include "client/core/node.h"

/* Would a read now move it? */
bool cl_atime_is_due(const struct client *c, const struct cl_node *node);
void cl_atime_read(struct client *c, struct cl_node *node);
/* Tell now: a change of the inode is sent next, and must not overtake. */
void cl_atime_tell_before_change(struct client *c, const struct cl_node *node);
void cl_atime_tell(struct client *c);
void cl_atime_forget(struct client *c, struct cl_node *node);
void cl_atime_sweep(struct client *c);		/* look at the policy again */
void cl_atime_finish(struct client *c);

#endif
