/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the session share: session.c is its life, session_credit.c its space,
 * session_reclaim.c what a restarted server is told, session_request.c what travels under it.
 */
#ifndef CAIRN_CLIENT_CORE_SESSION_INTERNAL_H
#define CAIRN_CLIENT_CORE_SESSION_INTERNAL_H

#include "client/core/core.h"

/* Plain bytes x copies that a renewal asks for beyond what is on its way. */
uint64_t cl_session_credit_target(const struct client *c);
void cl_session_reclaim(struct client *c);
/* Send what waited for a slot, as far as there are free ones. */
void cl_session_pump(struct client *c);
/* A session is open: send what the last one ended before it was done. */
void cl_session_repeat(struct client *c);
void cl_session_drop_requests(struct client *c);	/* all, without an answer: at the end */

#endif
