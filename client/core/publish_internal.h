/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the steps of a publish share; publish.c says in which order they come. A round is a struct
 * cl_flush of its file, in one of the states of enum cl_flush_state. Threads: the loop's.
 */
#ifndef CAIRN_CLIENT_CORE_PUBLISH_INTERNAL_H
#define CAIRN_CLIENT_CORE_PUBLISH_INTERNAL_H

#include "client/core/file.h"

/* publish.c */
/* Go on with the round of `file`: what it awaited is there. It may end in the call. */
void cl_publish_run(struct cl_file *file);
/* The same from a turn of its own. */
void cl_publish_post(struct cl_file *file);
/* The round is over: 0, or why its content is not published. */
void cl_publish_end(struct cl_file *file, int rc);
/* Until when a request of a round that is sent now is tried. */
uint64_t cl_publish_deadline_ns(const struct client *c);

/* publish_sync.c: all that the root names is durable on min_copies servers (I2), then SEND */
void cl_publish_sync_start(struct cl_file *file);
/*
 * Every block is asked for again, later. `why`: -E_STALE_GENERATION, a server lost what it had not
 * synced; or -E_OLD_COLLECTION, a collection passed, or the source of a copy has another root by
 * now: then all that the root names is asked for (I9). Gives up a request's deadline after the
 * first time.
 */
void cl_publish_sync_again(struct cl_file *file, int why);
void cl_publish_sync_stop(struct cl_touch *t);		/* t may be NULL */

/* publish_send.c: PUBLISH, which ends the round or begins its sync again (I13) */
void cl_publish_send(struct cl_file *file);

#endif
