/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Space that the metadata server set aside for this client: ENOSPC comes from the write that does
 * not fit, not from the close behind it.
 */
#include "client/core/core.h"
#include "client/core/session_internal.h"

#define CREDIT_IDLE_BYTES  MiB(4)
#define CREDIT_PACE_MS	   50u		/* between renewals that ask for credit */
#define CREDIT_PATIENCE_MS 1200u	/* longer than heartbeats take to tell what was settled */

/*
 * How much a renewal asks for beyond what is on its way: while it writes, what memory may gather
 * twice; else enough to begin with, so that idle clients hold little of a cluster that is nearly
 * full.
 */
uint64_t cl_session_credit_target(const struct client *c)
{
	uint64_t most = 2 * c->dirty_bytes_max;
	return (c->session.is_writing ? most : MIN_OF(most, CREDIT_IDLE_BYTES)) *
	       MAX_OF(c->copies, 1u);
}

/* Soon, but at a pace: a full cluster is not asked more often because there is no space. */
static void renew_soon(struct client *c, bool is_urgent)
{
	struct cl_session *s = &c->session;
	uint64_t due_ns = s->renew_sent_ns + CREDIT_PACE_MS * UINT64_C(1000000);
	if (s->is_hurried || s->is_renewing)
		return;
	if (loop_now_ns(c->options.loop) >= due_ns) {
		cl_session_renew(c);
	} else if (is_urgent && s->number) {
		s->is_hurried = true;
		loop_timer_start(c->options.loop, &s->timer, CREDIT_PACE_MS);
	}
}

int cl_session_reserve(struct client *c, uint64_t bytes)
{
	struct cl_session *s = &c->session;
	uint64_t want = bytes * MAX_OF(c->copies, 1u);
	uint64_t left = s->credit_bytes > s->charged_bytes ? s->credit_bytes - s->charged_bytes : 0;
	uint64_t now_ns = loop_now_ns(c->options.loop);
	s->is_writing = true;
	if (left < want + cl_session_credit_target(c) / 2)
		renew_soon(c, left < want);	/* in time, so that writers rarely wait for it */
	if (left >= want) {
		s->charged_bytes += want;
		s->short_since_ns = 0;
		return 0;
	}
	if (s->short_since_ns == 0)
		s->short_since_ns = now_ns;
	uint64_t since_ns = MAX_OF(s->short_since_ns, s->progress_ns);
	return now_ns < since_ns + CREDIT_PATIENCE_MS * UINT64_C(1000000) ? -E_AGAIN : -E_NOSPC;
}

void cl_session_settle(struct client *c, uint64_t charged, uint64_t stored)
{
	struct cl_session *s = &c->session;
	uint64_t copies = MAX_OF(c->copies, 1u);
	if (charged)
		s->progress_ns = MAX_OF(s->progress_ns, loop_now_ns(c->options.loop));
	s->charged_bytes -= MIN_OF(s->charged_bytes, charged * copies);
	s->credit_bytes -= MIN_OF(s->credit_bytes, stored * copies);
}
