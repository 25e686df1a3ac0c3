/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sets of possible states. The set is kept closed: whatever may have happened of what is under way
 * or unknown, in any order, is in it. So ending an operation is a filter.
 */
#include "tests/sim/possible.h"

#include <stdlib.h>
#include <string.h>

static bool has_happened(const struct possible_state *s, uint32_t op)
{
	return s->happened[op / 64] >> (op % 64) & 1;
}

static void add(struct possible *p, const struct possible_state *s)
{
	for (uint32_t i = 0; i < p->count; i++) {
		if (memcmp(&p->states[i], s, sizeof(*s)) == 0)
			return;
	}
	if (p->count == POSSIBLE_STATES) {
		p->is_blurred = true;
		return;
	}
	if (p->count == p->capacity) {
		p->capacity = p->capacity ? 2 * p->capacity : 16;
		p->states = realloc(p->states, p->capacity * sizeof(*p->states));
		ASSERT(p->states != NULL);
	}
	p->states[p->count++] = *s;
}

/* States are appended, and looked at in turn, until nothing new comes of any. */
static void close_set(struct possible *p)
{
	for (uint32_t i = 0; i < p->count && !p->is_blurred; i++) {
		for (uint32_t op = 0; op < p->op_count; op++) {
			if (p->ops[op].fate == POSSIBLE_ENDED || has_happened(&p->states[i], op))
				continue;
			struct possible_state next = p->states[i];
			if (!p->apply(&p->ops[op], next.values))
				continue;
			next.happened[op / 64] |= UINT64_C(1) << (op % 64);
			add(p, &next);
		}
	}
}

static void remember(struct possible *p, uint64_t now_ns)
{
	if (p->moment_count == p->moment_capacity) {
		p->moment_capacity = p->moment_capacity ? 2 * p->moment_capacity : 64;
		p->moments = realloc(p->moments, p->moment_capacity * sizeof(*p->moments));
		ASSERT(p->moments != NULL);
	}
	struct possible_moment *m = &p->moments[p->moment_count++];
	m->end_ns = now_ns;
	m->count = p->count;
	m->states = malloc(p->count * sizeof(*m->states));
	ASSERT(m->states != NULL);
	memcpy(m->states, p->states, p->count * sizeof(*m->states));
}

static void forget(struct possible *p)
{
	while (p->moment_count > 0)
		free(p->moments[--p->moment_count].states);
}

void possible_init(struct possible *p,
		   bool (*apply)(const struct possible_op *op, uint16_t *values))
{
	struct possible_state zero;

	memset(p, 0, sizeof(*p));
	memset(&zero, 0, sizeof(zero));
	p->apply = apply;
	add(p, &zero);
}

void possible_finish(struct possible *p)
{
	forget(p);
	free(p->moments);
	free(p->states);
	memset(p, 0, sizeof(*p));
}

bool possible_is_full(const struct possible *p, uint32_t room)
{
	return p->op_count + room > POSSIBLE_OPS;
}

uint32_t possible_begin(struct possible *p, const uint16_t args[6])
{
	ASSERT(p->op_count < POSSIBLE_OPS);
	struct possible_op *op = &p->ops[p->op_count];
	op->fate = POSSIBLE_UNDER_WAY;
	op->born = p->moment_count;
	op->owner = 0;
	op->begun_ns = op->acked_ns = op->taken_ns = 0;
	memcpy(op->args, args, sizeof(op->args));
	p->op_count++;
	close_set(p);
	return p->op_count - 1;
}

/* Keep the states in which `op` did, or did not, happen. */
static bool filter(struct possible *p, uint32_t op, bool happened, uint64_t now_ns)
{
	uint32_t kept = 0;

	p->ops[op].fate = POSSIBLE_ENDED;
	if (p->is_blurred)
		return true;
	remember(p, now_ns);
	for (uint32_t i = 0; i < p->count; i++) {
		if (has_happened(&p->states[i], op) == happened)
			p->states[kept++] = p->states[i];
	}
	p->count = kept;
	return kept > 0;
}

bool possible_happened(struct possible *p, uint32_t op, uint64_t now_ns)
{
	return filter(p, op, true, now_ns);
}

bool possible_failed(struct possible *p, uint32_t op, possible_match_fn match, void *arg,
		     uint64_t now_ns)
{
	return possible_was(p, p->ops[op].born, match, arg) && filter(p, op, false, now_ns);
}

void possible_unknown(struct possible *p, uint32_t op)
{
	p->ops[op].fate = POSSIBLE_UNKNOWN;
	close_set(p); /* it may have been ended, and be doubted again */
}

uint32_t possible_moment(const struct possible *p)
{
	return p->moment_count;
}

static bool any(const struct possible_state *states, uint32_t count, possible_match_fn match,
		void *arg)
{
	for (uint32_t i = 0; i < count; i++) {
		if (match(arg, states[i].values))
			return true;
	}
	return false;
}

bool possible_was(const struct possible *p, uint32_t born, possible_match_fn match, void *arg)
{
	if (p->is_blurred || any(p->states, p->count, match, arg))
		return true;
	for (uint32_t i = MIN_OF(born, p->moment_count); i < p->moment_count; i++) {
		if (any(p->moments[i].states, p->moments[i].count, match, arg))
			return true;
	}
	return false;
}

bool possible_observed(struct possible *p, uint32_t born, possible_match_fn match, void *arg,
		       uint64_t now_ns)
{
	uint32_t kept = 0;

	if (!possible_was(p, born, match, arg))
		return false;
	if (p->is_blurred || born != p->moment_count)
		return true; /* other answers came meanwhile: which state it saw cannot be told */
	for (uint32_t i = 0; i < p->count; i++)
		kept += match(arg, p->states[i].values);
	if (kept == p->count)
		return true;
	remember(p, now_ns);
	kept = 0;
	for (uint32_t i = 0; i < p->count; i++) {
		if (match(arg, p->states[i].values))
			p->states[kept++] = p->states[i];
	}
	p->count = kept;
	close_set(p); /* what is under way may have happened since */
	return true;
}

uint64_t possible_pin(struct possible *p, uint32_t owner, uint64_t before_ns)
{
	uint64_t last_ns = 0;

	for (uint32_t i = 0; i < p->op_count; i++) {
		struct possible_op *op = &p->ops[i];
		if (op->owner != owner || op->fate != POSSIBLE_ENDED || op->acked_ns == 0 ||
		    op->acked_ns > before_ns)
			continue;
		p->pinned[i / 64] |= UINT64_C(1) << (i % 64);
		last_ns = MAX_OF(last_ns, op->begun_ns);
		op->acked_ns = 0;
	}
	return last_ns;
}

static bool has_pinned(const struct possible *p, const struct possible_state *s)
{
	for (uint32_t i = 0; i < ARRAY_COUNT(p->pinned); i++) {
		if ((p->pinned[i] & ~s->happened[i]) != 0)
			return false;
	}
	return true;
}

void possible_told(struct possible *p, uint32_t owner)
{
	for (uint32_t i = 0; i < p->op_count; i++) {
		if (p->ops[i].owner == owner)
			p->ops[i].taken_ns = 0;
	}
}

bool possible_kept(struct possible *p, uint32_t owner, uint64_t after_ns, uint64_t before_ns,
		   uint64_t now_ns)
{
	bool is_kept = true;

	for (uint32_t i = 0; i < p->op_count && is_kept; i++) {
		struct possible_op *op = &p->ops[i];
		if (op->owner != owner || op->taken_ns == 0 || op->begun_ns <= after_ns ||
		    op->taken_ns > before_ns)
			continue;
		is_kept = possible_happened(p, i, now_ns);
		op->acked_ns = op->taken_ns;
		op->taken_ns = 0;
	}
	return is_kept;
}

uint32_t possible_moment_at(const struct possible *p, uint64_t ns)
{
	uint32_t i = 0;

	while (i < p->moment_count && p->moments[i].end_ns < ns)
		i++;
	return i;
}

void possible_roll_back(struct possible *p, uint32_t moment, uint64_t now_ns)
{
	uint32_t end = p->moment_count;

	if (p->is_blurred)
		return;
	remember(p, now_ns);
	for (uint32_t i = moment; i < end; i++) {
		for (uint32_t k = 0; k < p->moments[i].count; k++) {
			if (has_pinned(p, &p->moments[i].states[k]))
				add(p, &p->moments[i].states[k]);
		}
	}
	for (uint32_t i = 0; i < p->op_count; i++) {
		p->ops[i].taken_ns = MAX_OF(p->ops[i].taken_ns, p->ops[i].acked_ns);
		p->ops[i].acked_ns = 0;
	}
	close_set(p);
}

bool possible_allows(const struct possible *p, const uint16_t values[POSSIBLE_VALUES])
{
	bool is_allowed = p->is_blurred;

	for (uint32_t i = 0; i < p->count && !is_allowed; i++)
		is_allowed = memcmp(p->states[i].values, values, sizeof(p->states[i].values)) == 0;
	return is_allowed;
}

void possible_settle(struct possible *p, const uint16_t values[POSSIBLE_VALUES])
{
	forget(p);
	p->op_count = 0;
	memset(p->pinned, 0, sizeof(p->pinned));
	p->is_blurred = false;
	p->count = 1;
	memset(&p->states[0], 0, sizeof(p->states[0]));
	memcpy(p->states[0].values, values, sizeof(p->states[0].values));
}
