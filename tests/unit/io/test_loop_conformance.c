/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One story told to the libuv loop and to its simulated twin: order of timers, tasks and work, and
 * that nothing runs inside the call that submits it.
 */
#include <string.h>

#include "tests/check_main.h"
#include "tests/sim/sim_loop.h"

enum backend { LIBUV, SIMULATED, BACKEND_COUNT };

static struct sim_world *world;
static struct loop *loop;
static bool is_over;
static char story[64];

static void set_up(enum backend backend)
{
	is_over = false;
	story[0] = '\0';
	ck_assert_int_eq(sim_world_create(1, &world), 0);
	if (backend == LIBUV)
		ck_assert_int_eq(loop_uv_create(2, &loop), 0);
	else
		ck_assert_int_eq(sim_loop_create(world, "node", &loop), 0);
}

static void tear_down(enum backend backend)
{
	if (backend == LIBUV)
		loop_uv_destroy(loop);
	else
		sim_loop_destroy(loop);
	sim_world_destroy(world);
}

static bool ended(void *arg unused_arg)
{
	return is_over;
}

/* Run until end() is called. */
static void run(enum backend backend)
{
	if (backend == LIBUV)
		loop_uv_run(loop);
	else
		ck_assert(sim_world_run_until(world, ended, NULL, 60 * SIM_S));
}

static void end(enum backend backend)
{
	is_over = true;
	if (backend == LIBUV)
		loop_uv_stop(loop);
}

static void say(char c)
{
	strncat(story, &c, 1);
}

struct named_timer {
	struct loop_timer timer;	/* first */
	char name;
};

static void timer_fired(struct loop_timer *timer)
{
	say(((struct named_timer *)timer)->name);
}

static void last_timer_fired_sim(struct loop_timer *timer)
{
	timer_fired(timer);
	end(SIMULATED);
}

static void last_timer_fired_uv(struct loop_timer *timer)
{
	timer_fired(timer);
	end(LIBUV);
}

START_TEST(timers_fire_by_time_and_then_by_start)
{
	struct named_timer t[5] = {
		{ { .fn = timer_fired }, 'a' }, { { .fn = timer_fired }, 'b' },
		{ { .fn = timer_fired }, 'c' }, { { .fn = timer_fired }, 'd' },
		{ { .fn = _i == LIBUV ? last_timer_fired_uv : last_timer_fired_sim }, 'e' },
	};

	set_up((enum backend)_i);
	uint64_t start_ns = loop_now_ns(loop);
	loop_timer_start(loop, &t[4].timer, 20);
	loop_timer_start(loop, &t[2].timer, 5);
	loop_timer_start(loop, &t[0].timer, 0);
	loop_timer_start(loop, &t[3].timer, 1);
	loop_timer_start(loop, &t[3].timer, 5);	/* again: behind c */
	loop_timer_start(loop, &t[1].timer, 1);
	loop_timer_stop(loop, &t[1].timer);
	ck_assert_str_eq(story, "");
	run((enum backend)_i);
	ck_assert_str_eq(story, "acde");
	ck_assert_uint_ge(loop_now_ns(loop) - start_ns, 20 * SIM_MS);
	tear_down((enum backend)_i);
}
END_TEST

struct named_task {
	struct loop_task task;		/* first */
	char name;
	struct named_task *next;	/* posted by it */
	enum backend backend;
};

static void task_ran(struct loop_task *task)
{
	struct named_task *t = (struct named_task *)task;

	say(t->name);
	if (t->next != NULL)
		loop_post(loop, &t->next->task);
	else if (t->name == 'z')
		end(t->backend);
}

START_TEST(tasks_run_in_the_order_of_posting)
{
	struct named_task z = { { .run = task_ran }, 'z', NULL, (enum backend)_i };
	struct named_task a = { { .run = task_ran }, 'a', &z, (enum backend)_i };
	struct named_task b = { { .run = task_ran }, 'b', NULL, (enum backend)_i };

	set_up((enum backend)_i);
	loop_post(loop, &a.task);
	loop_post(loop, &b.task);
	ck_assert_str_eq(story, "");
	run((enum backend)_i);
	ck_assert_str_eq(story, "abz");
	tear_down((enum backend)_i);
}
END_TEST

struct counted_work {
	struct loop_work work;		/* first */
	bool has_run;
	uint32_t *left;
	enum backend backend;
};

static void work_run(struct loop_work *work)
{
	((struct counted_work *)work)->has_run = true;
}

static void work_done(struct loop_work *work)
{
	struct counted_work *w = (struct counted_work *)work;

	ck_assert(w->has_run);
	if (--*w->left == 0)
		end(w->backend);
}

START_TEST(each_work_runs_and_is_then_done)
{
	struct counted_work works[20];
	uint32_t left = ARRAY_COUNT(works);

	set_up((enum backend)_i);
	for (uint32_t i = 0; i < ARRAY_COUNT(works); i++) {
		works[i] = (struct counted_work){ { .run = work_run, .done = work_done }, false,
						  &left, (enum backend)_i };
		loop_work(loop, &works[i].work);
	}
	ck_assert_uint_eq(left, ARRAY_COUNT(works));
	run((enum backend)_i);
	ck_assert_uint_eq(left, 0);
	tear_down((enum backend)_i);
}
END_TEST

TEST_MAIN("loop_conformance",
	  tcase_add_loop_test(tc, timers_fire_by_time_and_then_by_start, 0, BACKEND_COUNT);
	  tcase_add_loop_test(tc, tasks_run_in_the_order_of_posting, 0, BACKEND_COUNT);
	  tcase_add_loop_test(tc, each_work_runs_and_is_then_done, 0, BACKEND_COUNT))
