/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Room in quotas: bytes are accepted by a write only once the metadata server has reserved them for
 * this client, so that EDQUOT comes from write() and not from close().
 *
 * Per quota tree the client holds a reservation; each file that is edited takes of it by how much
 * its content, as edited, has more data than what is published. A reservation is asked for ahead,
 * and what is not used goes back after a second. Where others hold room that they may give back, a
 * writer waits for it a moment before it fails. Files of no quota cost nothing here. Loop's
 * thread.
 */
#ifndef CAIRN_CLIENT_CORE_QUOTA_H
#define CAIRN_CLIENT_CORE_QUOTA_H

#include "client/core/core.h"

/*
 * The content of op->file, as edited, will be `size` long, with `more` bytes of data that are not
 * in it yet. 0; 1: op waits and its edit is stepped
 * again; -E_DQUOT, or another error.
 */
must_check int cl_quota_take(struct cl_op *op, uint64_t size, uint64_t more);
/* A publish made what was data_before this file's root: the server has charged it. */
void cl_quota_published(struct cl_file *file, uint64_t data_before);
void cl_quota_drop(struct cl_file *file);		/* its content is forgotten */
void cl_quota_lost(struct client *c);			/* the session, and all that it reserved */
void cl_quota_sweep(struct client *c);
void cl_quota_finish(struct client *c);

#endif
