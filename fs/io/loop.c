/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The timers of a loop, the same for every backend: a list sorted by due time.
 *
 * New timers are mostly the last to fall due (deadlines of equal length), so a place is sought from
 * the end of the list. Timers of equal due time fire in the order of their start, which keeps a
 * simulation the same from run to run.
 */
#include "fs/io/loop.h"

#include <utlist.h>

#define NS_PER_MS 1000000u

static void insert_sorted(struct loop *l, struct loop_timer *timer)
{
	struct loop_timer *before;

	if (l->timers == NULL || l->timers->due_ns > timer->due_ns) {
		DL_PREPEND(l->timers, timer);
		return;
	}
	/* The head's `prev` is the tail; the head itself stops the search. */
	for (before = l->timers->prev; before->due_ns > timer->due_ns; before = before->prev)
		;
	DL_APPEND_ELEM(l->timers, before, timer);
}

void loop_timer_start(struct loop *l, struct loop_timer *timer, uint64_t after_ms)
{
	uint64_t now_ns = loop_now_ns(l);

	ASSERT(timer->fn != NULL);
	loop_timer_stop(l, timer);
	/*
	 * At least 1 ns: a timer restarted by its own callback waits for the next turn, so a turn
	 * ends.
	 */
	timer->due_ns = now_ns + MAX_OF(after_ms * NS_PER_MS, 1u);
	timer->is_active = true;
	insert_sorted(l, timer);
	if (l->timers == timer)
		l->ops->wake_at(l, timer->due_ns);
}

void loop_timer_stop(struct loop *l, struct loop_timer *timer)
{
	if (!timer->is_active)
		return;
	/* A wake-up asked for this timer may stay: one that finds nothing due is harmless. */
	DL_DELETE(l->timers, timer);
	timer->is_active = false;
}

void loop_timers_run(struct loop *l)
{
	uint64_t now_ns = loop_now_ns(l);
	struct loop_timer *timer;

	while ((timer = l->timers) != NULL && timer->due_ns <= now_ns) {
		DL_DELETE(l->timers, timer);
		timer->is_active = false;
		timer->fn(timer);
	}
	l->ops->wake_at(l, l->timers != NULL ? l->timers->due_ns : UINT64_MAX);
}
