/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pinned inodes: their content is kept in the tiers, whatever version it is. A pin names the
 * inode, so it follows renames and new content; it is kept over restarts in a file of one number a
 * line, and ends with the inode. All pins are looked at every PINS_LOOK_MS, one inode at a time.
 *
 * Several inodes may have one content: it is pinned in the tiers as long as one of them is.
 * Loop's thread.
 */
#ifndef CAIRN_CLIENT_CORE_PINS_H
#define CAIRN_CLIENT_CORE_PINS_H

#include "client/core/core.h"

#define PINS_MAX     65536u
#define PINS_LOOK_MS 10000u

struct cl_pins;

/* `path` NULL: not kept. What cannot be read is told and left out. */
must_check int cl_pins_create(struct client *c, const char *path, struct cl_pins **out);
void cl_pins_destroy(struct cl_pins *pins);	/* NULL is allowed */
/* The session runs: look at all of them now, then from time to time. */
void cl_pins_start(struct cl_pins *pins);

/* Pin, and fill; unpin. 0, -E_TOOBIG (PINS_MAX), -E_NOMEM, or that it cannot be noted. */
must_check int cl_pins_set(struct cl_pins *pins, const struct cl_node *node, bool pinned);
/* An inode has other content now: a pinned one is looked at soon. */
void cl_pins_changed(struct cl_pins *pins, inode_no ino);
bool cl_pins_has(const struct cl_pins *pins, inode_no ino);
uint32_t cl_pins_count(const struct cl_pins *pins);
/* Behind `after` in order of inodes, at most `max`; how many. */
uint32_t cl_pins_list(const struct cl_pins *pins, inode_no after, inode_no *out, uint32_t max);

#endif
