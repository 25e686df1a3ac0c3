/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loop in virtual time. Everything that will call the process is an event of the world that
 * this file owns, so killing the process is cancelling its events.
 */
#include "tests/sim/sim_loop.h"

#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

#define SIM_LOOP_MAGIC	 0x51400001u
#define LOOP_NAME_BYTES  32
#define NS_PER_MS	 1000000
#define WALL_START_NS	 1700000000000000000u	/* some day in 2023 */
#define TASK_DELAY_NS	 (20 * SIM_US)

/* A work that was submitted. Allocated: a work itself has no room for an event. */
struct sim_work {
	struct sim_event event;		/* first */
	struct sim_loop *loop;
	struct loop_work *work;
	bool has_run;
	struct sim_work *prev, *next;
};

struct sim_loop {
	struct loop base;		/* first */
	uint32_t magic;
	struct sim_world *world;
	char name[LOOP_NAME_BYTES];
	bool is_alive;
	uint64_t hang_until_ns;		/* world time */
	/* monotonic time at a world time, and its drift since */
	uint64_t base_ns, base_world_ns;
	int64_t drift_ns_per_ms;
	int64_t wall_offset_ns;
	uint64_t run_ns_max, done_ns_max;
	struct sim_event wake;
	struct sim_event drain;		/* runs the tasks */
	struct loop_task *tasks;
	struct sim_work *works;
};

static struct sim_loop *sim_of(const struct loop *loop)
{
	return CHECKED_CAST(container_of(loop, struct sim_loop, base), struct sim_loop,
			    SIM_LOOP_MAGIC);
}

/* ---- time ------------------------------------------------------------------------------------ */

static uint64_t now_of(const struct sim_loop *l)
{
	int64_t passed = (int64_t)(sim_world_now_ns(l->world) - l->base_world_ns);
	int64_t drift = passed / NS_PER_MS * l->drift_ns_per_ms +
			passed % NS_PER_MS * l->drift_ns_per_ms / NS_PER_MS;

	return l->base_ns + (uint64_t)(passed + drift);
}

static uint64_t sim_now_ns(struct loop *loop)
{
	return now_of(sim_of(loop));
}

static uint64_t sim_wall_ns(struct loop *loop)
{
	struct sim_loop *l = sim_of(loop);

	return WALL_START_NS + sim_world_now_ns(l->world) + (uint64_t)l->wall_offset_ns;
}

static void sim_random(struct loop *loop, void *out, size_t len)
{
	sim_world_random_bytes(sim_of(loop)->world, out, len);
}

static void on_wake(struct sim_event *event)
{
	struct sim_loop *l = container_of(event, struct sim_loop, wake);

	if (!sim_loop_defers(&l->base, event))
		loop_timers_run(&l->base);
}

static void sim_wake_at(struct loop *loop, uint64_t due_ns)
{
	struct sim_loop *l = sim_of(loop);
	uint64_t now_ns = now_of(l);

	if (!l->is_alive || due_ns == UINT64_MAX)
		sim_world_cancel(l->world, &l->wake);
	else	/* with a slow clock this is early: then nothing is due, and we are asked again */
		sim_world_schedule(l->world, &l->wake, due_ns > now_ns ? due_ns - now_ns : 0);
}

/* ---- work and tasks -------------------------------------------------------------------------- */

static void work_free(struct sim_work *w)
{
	DL_DELETE(w->loop->works, w);
	free(w);
}

static void on_work(struct sim_event *event)
{
	struct sim_work *w = container_of(event, struct sim_work, event);
	struct sim_loop *l = w->loop;
	struct loop_work *work = w->work;

	if (sim_loop_defers(&l->base, event))
		return;
	if (!w->has_run) {
		w->has_run = true;
		sim_world_schedule(l->world, event, sim_world_between(l->world, 1, l->done_ns_max));
		work->run(work);
		return;
	}
	work_free(w);
	work->done(work);
}

static void sim_work_submit(struct loop *loop, struct loop_work *work)
{
	struct sim_loop *l = sim_of(loop);

	if (!l->is_alive)
		return;
	struct sim_work *w = calloc(1, sizeof *w);
	ASSERT(w != NULL);	/* submitting cannot fail; a simulation without memory is over */
	w->event.fn = on_work;
	w->loop = l;
	w->work = work;
	DL_APPEND(l->works, w);
	sim_world_schedule(l->world, &w->event, sim_world_between(l->world, 1, l->run_ns_max));
}

static void on_drain(struct sim_event *event)
{
	struct sim_loop *l = container_of(event, struct sim_loop, drain);

	if (l->tasks == NULL || sim_loop_defers(&l->base, event))
		return;
	struct loop_task *task = l->tasks, *last = l->tasks->prev;
	for (bool is_last = false; !is_last && l->is_alive; task = l->tasks) {
		is_last = task == last;	/* what is posted meanwhile waits for the next turn */
		DL_DELETE(l->tasks, task);
		task->run(task);
	}
	if (l->is_alive && l->tasks != NULL)
		sim_world_schedule(l->world, event, sim_world_between(l->world, 1, TASK_DELAY_NS));
}

static void sim_post(struct loop *loop, struct loop_task *task)
{
	struct sim_loop *l = sim_of(loop);

	if (!l->is_alive)
		return;
	DL_APPEND(l->tasks, task);
	if (!l->drain.is_scheduled)
		sim_world_schedule(l->world, &l->drain,
				   sim_world_between(l->world, 1, TASK_DELAY_NS));
}

static const struct loop_ops SIM_LOOP_OPS = {
	.now_ns = sim_now_ns,
	.wall_ns = sim_wall_ns,
	.random = sim_random,
	.wake_at = sim_wake_at,
	.work = sim_work_submit,
	.post = sim_post,
};

/* ---- life ------------------------------------------------------------------------------------ */

int sim_loop_create(struct sim_world *world, const char *name, struct loop **out)
{
	struct sim_loop *l = calloc(1, sizeof *l);

	if (l == NULL)
		return -E_NOMEM;
	l->base.ops = &SIM_LOOP_OPS;
	l->magic = SIM_LOOP_MAGIC;
	l->world = world;
	l->is_alive = true;
	l->wake.fn = on_wake;
	l->drain.fn = on_drain;
	l->base_world_ns = sim_world_now_ns(world);
	l->base_ns = sim_world_between(world, 3600 * SIM_S, 1000000 * SIM_S);
	snprintf(l->name, sizeof l->name, "%s", name);
	sim_loop_set_work(&l->base, 200 * SIM_US, 50 * SIM_US);
	*out = &l->base;
	return 0;
}

void sim_loop_kill(struct loop *loop)
{
	struct sim_loop *l = sim_of(loop);
	struct sim_work *w, *next;
	struct loop_timer *timer, *timer_next;

	if (!l->is_alive)
		return;
	l->is_alive = false;
	sim_world_cancel(l->world, &l->wake);
	sim_world_cancel(l->world, &l->drain);
	/*
	 * What frees itself waits for sim_loop_destroy(): until then its owner may still be there.
	 */
	DL_FOREACH_SAFE(l->works, w, next) {
		sim_world_cancel(l->world, &w->event);
		if (!w->work->is_owned)
			work_free(w);
	}
	l->tasks = NULL;
	DL_FOREACH_SAFE(loop->timers, timer, timer_next)
		loop_timer_stop(loop, timer);
}

static void end_works(struct sim_loop *l)
{
	while (l->works != NULL) {
		struct sim_work *w = l->works;
		struct loop_work *work = w->work;
		bool has_run = w->has_run;
		sim_world_cancel(l->world, &w->event);
		work_free(w);
		if (!has_run)
			work->run(work);
		work->done(work);
	}
}

void sim_loop_destroy(struct loop *loop)
{
	if (loop == NULL)
		return;
	struct sim_loop *l = sim_of(loop);
	sim_loop_kill(loop);
	end_works(l);
	l->magic = 0;
	free(l);
}

bool sim_loop_is_alive(const struct loop *loop)
{
	return sim_of(loop)->is_alive;
}

const char *sim_loop_name(const struct loop *loop)
{
	return sim_of(loop)->name;
}

struct sim_world *sim_loop_world(const struct loop *loop)
{
	return sim_of(loop)->world;
}

void sim_loop_hang(struct loop *loop, uint64_t ns)
{
	struct sim_loop *l = sim_of(loop);

	l->hang_until_ns = MAX_OF(l->hang_until_ns, sim_world_now_ns(l->world) + ns);
}

bool sim_loop_defers(struct loop *loop, struct sim_event *event)
{
	struct sim_loop *l = sim_of(loop);
	uint64_t now_ns = sim_world_now_ns(l->world);

	if (l->hang_until_ns <= now_ns)
		return false;
	sim_world_schedule(l->world, event, l->hang_until_ns - now_ns);
	return true;
}

void sim_loop_set_drift(struct loop *loop, int64_t ns_per_ms)
{
	struct sim_loop *l = sim_of(loop);

	ASSERT(ns_per_ms >= -500000 && ns_per_ms <= 500000);
	l->base_ns = now_of(l);
	l->base_world_ns = sim_world_now_ns(l->world);
	l->drift_ns_per_ms = ns_per_ms;
	if (loop->timers != NULL)
		sim_wake_at(loop, loop->timers->due_ns);
}

void sim_loop_set_wall(struct loop *loop, int64_t offset_ns)
{
	sim_of(loop)->wall_offset_ns = offset_ns;
}

void sim_loop_set_work(struct loop *loop, uint64_t run_ns, uint64_t done_ns)
{
	struct sim_loop *l = sim_of(loop);

	l->run_ns_max = MAX_OF(run_ns, 1u);
	l->done_ns_max = MAX_OF(done_ns, 1u);
}
