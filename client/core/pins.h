/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pinned inodes: their content is kept in the tiers, whatever version it is. A pin names the
 * inode, so it follows renames and new content, and ends with the inode: a file that is put in its
 * place by rename(2) is another one. Pins are kept over restarts in a file of one number a line,
 * which a worker begins to write within PINS_NOTE_MS of a change. All are looked at every
 * PINS_LOOK_MS, one inode at a time; one whose content changed, as far as this mount hears of it,
 * soon.
 *
 * Several inodes may have one content: it is pinned in the tiers as long as one of them is.
 * Loop's thread.
 */
#ifndef CAIRN_CLIENT_CORE_PINS_H
#define CAIRN_CLIENT_CORE_PINS_H

#include "client/core/core.h"

#define PINS_MAX	  65536u
#define PINS_LOOK_MS	  10000u
/* after a change: who changes a file does so more than once */
#define PINS_CHANGED_MS	  300u
#define PINS_NOTE_MS	  50u
/* 20 digits and a newline each, and the head */
#define PINS_TEXT_BYTES_MAX (PINS_MAX * 21u + 64u)

struct cl_pins;

/* `path` NULL: not kept. What cannot be read is told and left out. */
must_check int cl_pins_create(struct client *c, const char *path, struct cl_pins **out);
void cl_pins_destroy(struct cl_pins *pins);	/* NULL is allowed */
/* The session runs: look at all of them now, then from time to time. */
void cl_pins_start(struct cl_pins *pins);
/* Is the file being written, or due? A stop waits for it. NULL is allowed. */
bool cl_pins_is_busy(const struct cl_pins *pins);
/* Why the file could not be written; "": it could. */
const char *cl_pins_problem(const struct cl_pins *pins);

/*
 * Pin, and fill; unpin. 0; -E_TOOBIG: PINS_MAX; -E_NOSPC: the tiers cannot hold all that would be
 * pinned; -E_NOMEM; -E_OVERLOADED: pinned, but it will be filled later.
 */
must_check int cl_pins_set(struct cl_pins *pins, const struct cl_node *node, bool pinned);
/* An inode has other content now: a pinned one is looked at soon. NULL is allowed. */
void cl_pins_changed(struct cl_pins *pins, inode_no ino);
bool cl_pins_has(const struct cl_pins *pins, inode_no ino);
uint32_t cl_pins_count(const struct cl_pins *pins);
/* Behind `after` in order of inodes, at most `max`; how many. */
uint32_t cl_pins_list(const struct cl_pins *pins, inode_no after, inode_no *out, uint32_t max);

/*
 * The text of a pins file: inodes, ascending, each once; how many of at most PINS_MAX. What is no
 * number is left out, and *is_sound false.
 */
uint32_t cl_pins_parse(const char *text, inode_no *out, bool *is_sound);

#endif
