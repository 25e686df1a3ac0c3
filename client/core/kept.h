/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small text that a mount keeps over restarts (pins, what the predictor learned): replaced whole,
 * by a worker, one write at a time, so that neither the loop nor a reader of the mount waits for a
 * disk. Of several texts that come during a write only the last is written. Loop's thread.
 */
#ifndef CAIRN_CLIENT_CORE_KEPT_H
#define CAIRN_CLIENT_CORE_KEPT_H

#include "fs/base/text.h"
#include "fs/io/loop.h"

struct cl_kept;

must_check int cl_kept_create(struct loop *loop, const char *path, struct cl_kept **out);
/* A write under way goes on; what waits behind it is lost. NULL is allowed. */
void cl_kept_destroy(struct cl_kept *k);

/* Takes what is in `text`, which is empty then. Failures are told once in the log. */
void cl_kept_write(struct cl_kept *k, struct text *text);
bool cl_kept_is_busy(const struct cl_kept *k);
/* Of the last write that ended: 0, or why it failed. */
int cl_kept_rc(const struct cl_kept *k);

/*
 * What the file holds, NUL-terminated, the caller's; *out NULL: there is none. On this thread:
 * before the mount serves anybody. -E_TOOBIG: more than `bytes_max`.
 */
must_check int cl_kept_read(const char *path, size_t bytes_max, char **out, size_t *len);

#endif
