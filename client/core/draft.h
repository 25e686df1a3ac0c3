/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Drafts: what this node writes goes into a tier as it is put, so that the writer's node is warm. A
 * draft begins when a file that is written from its begin is large enough, gathers the stored
 * blocks by pieces, and is adopted when the last writer has closed and all is published: what has
 * the id that the manifest says at its place counts, by pieces that went to the disk in one write;
 * the rest is fetched (fill.h). So whatever was written over, cut or punched meanwhile cannot do
 * harm.
 *
 * A draft never slows or fails a writer: what finds no memory or room is left out, and a draft that
 * has less than half of the content is dropped. Bounded in bytes held and in pieces known (I11).
 * Loop's thread.
 */
#ifndef CAIRN_CLIENT_CORE_DRAFT_H
#define CAIRN_CLIENT_CORE_DRAFT_H

#include "client/core/file.h"

must_check int cl_draft_init(struct client *c);
/* A block of the file is stored; `buf` is never changed again. */
void cl_draft_put(struct cl_file *file, uint64_t offset, const struct block_id *id,
		  struct buf *buf, uint32_t len);
/* Nobody may be writing any more: adopt it if so. */
void cl_draft_settle(struct cl_file *file);
/* Content has another root now: what is about to be adopted as `of` will be as `root`. */
void cl_draft_recut(struct client *c, const struct root *of, const struct root *root);
/* The content is given up. */
void cl_draft_forget(struct cl_file *file);
/* The content begins anew from nothing. */
void cl_draft_restart(struct cl_file *file);
/* Drop all; none begins any more. */
void cl_draft_finish(struct client *c);

#endif
