/* SPDX-License-Identifier: Apache-2.0 */
/* Locks: who is in whose way, who waits, and whose turn it is; see lock.h. */
#include "metadata-server/lock_internal.h"

#include <stdlib.h>

/* Owners that a search for a cycle looks at; more than that is no deadlock that anyone made. */
#define CYCLE_OWNERS_MAX 256u

static struct range range_of(const struct lock_wait *w)
{
	return (struct range){ .start = w->start, .end = w->end, .mode = w->mode };
}

static bool are_apart(const struct lock_owner *a, const struct lock_owner *b)
{
	return a == b || a->key.kind != b->key.kind;
}

static bool wait_meets(const struct lock_wait *w, const struct lock_owner *owner,
		       const struct range *r)
{
	return !are_apart(w->owner, owner) && w->start <= r->end && w->end >= r->start &&
	       range_modes_conflict(w->mode, r->mode);
}

const struct lock_owner *ms_lock_blocker(const struct lock_file *file,
					 const struct lock_owner *owner, const struct range *r,
					 struct range *at)
{
	const struct lock_holder *h;
	const struct lock_wait *w;

	DL_FOREACH(file->holders, h) {
		const struct range *met = are_apart(h->owner, owner) ? NULL :
			ranges_conflict(&h->ranges, r->start, r->end, r->mode);

		if (met && at)
			*at = *met;
		if (met)
			return h->owner;
	}
	DL_FOREACH(file->waits, w) {
		if (!w->is_granted || !wait_meets(w, owner, r))
			continue;
		if (at)
			*at = range_of(w);
		return w->owner;
	}
	return NULL;
}

static bool holds(const struct lock_owner *owner)
{
	const struct lock_wait *w;

	DL_FOREACH2(owner->waits, w, owner_next)
		if (w->is_granted)
			return true;
	return owner->holders != NULL;
}

/* Somebody may wait for the owner, or for another of its process: each open file is one. */
static bool holds_something(const struct lock_owner *owner)
{
	const struct lock_owner *o;

	if (holds(owner))
		return true;
	if (owner->pid)
		DL_FOREACH(owner->session->owners, o)
			if (o->pid == owner->pid && holds(o))
				return true;
	return false;
}

bool ms_lock_has_turn(const struct lock_file *file, const struct lock_owner *owner,
		   const struct range *r, const struct lock_wait *until)
{
	const struct lock_wait *w;

	for (w = file->waits; w && w != until; w = w->next)
		if (!w->is_granted && wait_meets(w, owner, r))
			return holds_something(owner);
	return true;
}

/* --- cycles ----------------------------------------------------------------------------------- */

struct search {
	const struct lock_owner *target;
	uint64_t mark;
	uint32_t left;
};

static bool leads_on(struct search *s, struct lock_owner *o);

/* Does anyone in the way of this request wait, maybe through others, for the target? */
static bool leads_to(struct search *s, const struct lock_file *file, const struct lock_owner *owner,
		     const struct range *r)
{
	struct lock_holder *h;
	struct lock_wait *w;

	DL_FOREACH(file->holders, h)
		if (!are_apart(h->owner, owner) &&
		    ranges_conflict(&h->ranges, r->start, r->end, r->mode) &&
		    leads_on(s, h->owner))
			return true;
	DL_FOREACH(file->waits, w)
		if (w->is_granted && wait_meets(w, owner, r) && leads_on(s, w->owner))
			return true;
	return false;
}

static bool leads_on(struct search *s, struct lock_owner *o)
{
	const struct lock_wait *w;

	if (o == s->target)
		return true;
	if (o->mark == s->mark || s->left == 0)
		return false;
	o->mark = s->mark;
	s->left--;
	DL_FOREACH2(o->waits, w, owner_next) {
		const struct range r = range_of(w);

		if (!w->is_granted && leads_to(s, w->file, o, &r))
			return true;
	}
	return false;
}

bool ms_lock_closes_cycle(struct ms_locks *t, const struct lock_file *file,
		       const struct lock_owner *owner, const struct range *r)
{
	struct search s = { .target = owner, .mark = ++t->mark, .left = CYCLE_OWNERS_MAX };

	return leads_to(&s, file, owner, r);
}

/* --- the queue -------------------------------------------------------------------------------- */

int ms_lock_enqueue(struct ms_locks *t, struct lock_file *file, struct lock_owner *owner,
		 const struct ms_lock_request *r)
{
	struct lock_wait *w = calloc(1, sizeof *w);

	if (!w)
		return -E_NOMEM;
	*w = (struct lock_wait){ .key = { r->key.session, r->wait }, .file = file, .owner = owner,
				 .start = r->start, .end = r->end, .mode = r->mode,
				 .pid = r->pid, .holds = r->holds };
	HASH_ADD(hh, t->waits, key, sizeof w->key, w);
	if (!w->hh.tbl) {
		free(w);
		return -E_NOMEM;
	}
	DL_APPEND(file->waits, w);
	DL_APPEND2(owner->waits, w, owner_prev, owner_next);
	owner->session->count++;
	t->waiting++;
	return MS_LOCK_QUEUED;
}

struct lock_wait *ms_lock_wait_find(const struct ms_locks *t, session_no session, uint64_t number)
{
	struct lock_wait_key key = { session, number };
	struct lock_wait *w;

	HASH_FIND(hh, t->waits, &key, sizeof key, w);
	return w;
}

void ms_lock_wait_end(struct ms_locks *t, struct lock_wait *w)
{
	HASH_DEL(t->waits, w);
	DL_DELETE(w->file->waits, w);
	DL_DELETE2(w->owner->waits, w, owner_prev, owner_next);
	w->owner->session->count--;
	t->waiting--;
	free(w);
}

void ms_lock_wake(struct ms_locks *t, struct lock_file *file)
{
	struct lock_wait *w;

	DL_FOREACH(file->waits, w) {
		const struct range r = range_of(w);

		if (w->is_granted || ms_lock_blocker(file, w->owner, &r, NULL) ||
		    (!w->holds && !ms_lock_has_turn(file, w->owner, &r, w)))
			continue;
		w->is_granted = true;
		t->granted(t->arg, w->key.session, w->key.number);
	}
}
