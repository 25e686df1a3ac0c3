/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parked requests: operations that wait for leases to come back, or for the recovery window to end.
 *
 * A parked request waits on every node it wants, so that no new lease is granted there, and is
 * woken when a node has no recall outstanding. It is then run again from its start and may park
 * again. Bounded in number and bytes (I11).
 */
#include "metadata-server/step_internal.h"

#include <stdlib.h>
#include <string.h>

static uint8_t *copy_bytes(uint8_t **at, const void *bytes, size_t len)
{
	uint8_t *copy = *at;

	if (len == 0)
		return NULL;
	memcpy(copy, bytes, len);
	*at += (len + 7) & ~(size_t)7;
	return copy;
}

static size_t copied_bytes(const struct ms_request *r)
{
	size_t lens[] = { r->name.len, r->new_name.len, r->target.len, r->bulk_len,
			  r->lease_count * sizeof *r->leases, r->open_count * sizeof *r->opens,
			  r->source_count * sizeof *r->sources,
			  r->caller.group_count * sizeof *r->caller.groups,
			  r->times ? r->open_count * sizeof *r->times : 0,
			  r->lock_count * sizeof *r->locks };
	size_t sum = 0;

	for (size_t i = 0; i < ARRAY_COUNT(lens); i++)
		sum += (lens[i] + 7) & ~(size_t)7;
	return sum;
}

/* Membership and session opens are never parked, so their texts are not copied. */
static void copy_request(struct ms_request *to, const struct ms_request *r, uint8_t *at)
{
	*to = *r;
	to->node = to->address = to->host = to->rack = NULL;
	to->owed_pgs = NULL;
	to->owed_pg_count = 0;
	to->merged = NULL;
	to->merged_count = 0;
	to->name.bytes = copy_bytes(&at, r->name.bytes, r->name.len);
	to->new_name.bytes = copy_bytes(&at, r->new_name.bytes, r->new_name.len);
	to->target.bytes = copy_bytes(&at, r->target.bytes, r->target.len);
	to->bulk = copy_bytes(&at, r->bulk, r->bulk_len);
	to->leases = (const void *)copy_bytes(&at, r->leases, r->lease_count * sizeof *r->leases);
	to->opens = (const void *)copy_bytes(&at, r->opens, r->open_count * sizeof *r->opens);
	to->times = (const void *)copy_bytes(&at, r->times,
					     r->times ? r->open_count * sizeof *r->times : 0);
	to->sources =
		(const void *)copy_bytes(&at, r->sources, r->source_count * sizeof *r->sources);
	to->caller.groups = (const void *)copy_bytes(
		&at, r->caller.groups, r->caller.group_count * sizeof *r->caller.groups);
	to->locks = (const void *)copy_bytes(&at, r->locks, r->lock_count * sizeof *r->locks);
}

static struct ms_parked *parked_make(struct ms_op *op)
{
	size_t bytes = sizeof(struct ms_parked) + copied_bytes(op->req);
	struct ms_parked *p = calloc(1, bytes);

	if (!p)
		return NULL;
	p->bytes = (uint32_t)bytes;
	p->token = op->effect.token;
	p->session = op->session;
	copy_request(&p->req, op->req, p->copy);
	op->state->parked_count++;
	op->state->parked_bytes += bytes;
	if (p->session && p->req.slot_seq)
		p->session->slot_parked[p->req.slot] = p;
	return p;
}

int ms_park(struct ms_op *op)
{
	struct ms_state *state = op->state;
	struct ms_parked *p = op->parked;

	if (!p) {
		if (state->parked_count >= state->config.parked_max ||
		    state->parked_bytes + copied_bytes(op->req) > MS_PARKED_BYTES_MAX)
			return -E_OVERLOADED;
		p = parked_make(op);
		if (!p)
			return -E_NOMEM;
		op->parked = p;
	}
	ASSERT(p->wait_count == 0);
	for (uint32_t i = 0; i < op->want_count; i++) {
		struct ms_node *node =
			ms_lease_node(state, op->wants[i].ino, op->wants[i].name_hash);
		struct ms_wait *wait = &p->waits[p->wait_count];

		if (!node)
			node = ms_lease_node_make(state, op->wants[i].ino, op->wants[i].name_hash);
		if (!node)
			continue;	/* out of memory: it only waits less fairly there */
		*wait = (struct ms_wait){ .node = node, .parked = p };
		DL_APPEND(node->waits, wait);
		p->wait_count++;
	}
	p->is_ready = false;
	DL_APPEND(state->parked, p);
	return 0;
}

static void leave_nodes(struct ms_state *state, struct ms_parked *p)
{
	while (p->wait_count) {
		struct ms_wait *wait = &p->waits[--p->wait_count];

		DL_DELETE(wait->node->waits, wait);
		ms_lease_node_release(state, wait->node);
	}
}

static void make_ready(struct ms_state *state, struct ms_parked *p)
{
	if (p->is_ready)
		return;
	p->is_ready = true;
	DL_DELETE(state->parked, p);
	DL_APPEND(state->ready, p);
}

void ms_park_wake_node(struct ms_state *state, struct ms_node *node)
{
	struct ms_wait *wait;

	DL_FOREACH(node->waits, wait)
		make_ready(state, wait->parked);
}

void ms_park_wake_all(struct ms_state *state)
{
	struct ms_parked *p, *next;

	DL_FOREACH_SAFE(state->parked, p, next)
		make_ready(state, p);
}

struct ms_parked *ms_park_take_ready(struct ms_state *state)
{
	struct ms_parked *p = state->ready;

	if (p) {
		DL_DELETE(state->ready, p);
		leave_nodes(state, p);
	}
	return p;
}

void ms_park_end(struct ms_state *state, struct ms_parked *p)
{
	if (p->session && p->req.slot_seq)
		p->session->slot_parked[p->req.slot] = NULL;
	state->parked_count--;
	state->parked_bytes -= p->bytes;
	free(p);
}

void ms_park_cancel(struct ms_state *state, struct ms_parked *p, int rc)
{
	if (p->is_ready)
		DL_DELETE(state->ready, p);
	else
		DL_DELETE(state->parked, p);
	leave_nodes(state, p);
	if (state->fn)
		ms_step_reply(state, p->token, rc);
	ms_park_end(state, p);
}

static void drop_from(struct ms_state *state, struct ms_parked *list,
		      const struct ms_session *session)
{
	struct ms_parked *p, *next;

	DL_FOREACH_SAFE(list, p, next)
		if (!session || p->session == session)
			ms_park_cancel(state, p, -E_NO_SESSION);
}

void ms_park_drop_session(struct ms_state *state, const struct ms_session *session)
{
	drop_from(state, state->parked, session);
	drop_from(state, state->ready, session);
}
