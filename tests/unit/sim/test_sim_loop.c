/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated loop: order, virtual time, hanging and death; and equal seeds give equal runs. */
#include <string.h>

#include "tests/check_main.h"
#include "tests/sim/sim_loop.h"

static struct sim_world *world;
static struct loop *loop;
static char story[64];
static uint32_t story_len;

static void say(char c)
{
	ck_assert_uint_lt(story_len, sizeof story - 1);
	story[story_len++] = c;
	story[story_len] = '\0';
}

static void set_up(uint64_t seed)
{
	story_len = 0;
	story[0] = '\0';
	ck_assert_int_eq(sim_world_create(seed, &world), 0);
	ck_assert_int_eq(sim_loop_create(world, "node", &loop), 0);
}

static void tear_down(void)
{
	sim_loop_destroy(loop);
	sim_world_destroy(world);
}

static void timer_a(struct loop_timer *t) { (void)t; say('a'); }
static void timer_b(struct loop_timer *t) { (void)t; say('b'); }
static void work_run(struct loop_work *w) { (void)w; say('r'); }
static void work_done(struct loop_work *w) { (void)w; say('d'); }
static void task_1(struct loop_task *t) { (void)t; say('1'); }
static void task_2(struct loop_task *t) { (void)t; say('2'); }
static void task_kill(struct loop_task *t) { (void)t; say('k'); sim_loop_kill(loop); }

START_TEST(timers_fire_in_order_at_their_time)
{
	struct loop_timer a = { .fn = timer_a }, b = { .fn = timer_b };

	set_up(1);
	uint64_t start_ms = loop_now_ms(loop);
	loop_timer_start(loop, &a, 200);
	loop_timer_start(loop, &b, 100);
	sim_world_run_for(world, 150 * SIM_MS);
	ck_assert_str_eq(story, "b");
	ck_assert_uint_eq(loop_now_ms(loop) - start_ms, 150);
	sim_world_run_for(world, 150 * SIM_MS);
	ck_assert_str_eq(story, "ba");
	tear_down();
}
END_TEST

START_TEST(work_and_tasks_run_later_and_in_order)
{
	struct loop_work work = { .run = work_run, .done = work_done };
	struct loop_task one = { .run = task_1 }, two = { .run = task_2 };

	set_up(2);
	loop_post(loop, &one);
	loop_post(loop, &two);
	ck_assert_str_eq(story, "");
	sim_world_run_for(world, SIM_MS);
	ck_assert_str_eq(story, "12");
	loop_work(loop, &work);
	ck_assert_str_eq(story, "12");
	sim_world_run_for(world, SIM_MS);
	ck_assert_str_eq(story, "12rd");
	tear_down();
}
END_TEST

START_TEST(a_hanging_loop_goes_on_later)
{
	struct loop_timer a = { .fn = timer_a };
	struct loop_work work = { .run = work_run, .done = work_done };

	set_up(3);
	loop_timer_start(loop, &a, 10);
	loop_work(loop, &work);
	sim_loop_hang(loop, SIM_S);
	sim_world_run_for(world, 999 * SIM_MS);
	ck_assert_str_eq(story, "");
	sim_world_run_for(world, 10 * SIM_MS);
	ck_assert_uint_eq(story_len, 3);
	tear_down();
}
END_TEST

START_TEST(a_killed_loop_is_silent_for_ever)
{
	struct loop_timer a = { .fn = timer_a }, b = { .fn = timer_b };
	struct loop_work work = { .run = work_run, .done = work_done };
	struct loop_task last = { .run = task_kill }, never = { .run = task_1 };

	set_up(4);
	loop_timer_start(loop, &a, 100);
	loop_work(loop, &work);
	loop_post(loop, &last);
	loop_post(loop, &never);
	sim_loop_set_work(loop, SIM_S, SIM_S);
	while (sim_loop_is_alive(loop))
		ck_assert(sim_world_step(world));
	loop_timer_start(loop, &b, 1);
	loop_post(loop, &never);
	sim_world_run_for(world, 10 * SIM_S);
	ck_assert_ptr_null(strchr(story, '1'));
	ck_assert_ptr_null(strchr(story, 'a'));
	ck_assert_ptr_null(strchr(story, 'b'));
	loop_timer_stop(loop, &b);
	tear_down();
}
END_TEST

START_TEST(clocks_drift_and_stay_monotonic)
{
	set_up(5);
	sim_loop_set_drift(loop, -1000);	/* loses 0.1 % */
	uint64_t start = loop_now_ns(loop), last = start;
	for (int i = 0; i < 1000; i++) {
		sim_world_run_for(world, 777777);
		ck_assert_uint_gt(loop_now_ns(loop), last);
		last = loop_now_ns(loop);
	}
	ck_assert_uint_ge(last - start, 777777000u - 777777u - 1000u);
	ck_assert_uint_le(last - start, 777777000u - 777777u + 1000u);
	tear_down();
}
END_TEST

static uint64_t run_once(uint64_t seed)
{
	struct loop_timer a = { .fn = timer_a };
	struct loop_work works[8];

	set_up(seed);
	loop_timer_start(loop, &a, 1);
	for (int i = 0; i < 8; i++) {
		works[i] = (struct loop_work){ .run = work_run, .done = work_done };
		loop_work(loop, &works[i]);
	}
	sim_world_run_for(world, SIM_S);
	sim_world_note(world, "%s", story);
	uint64_t trace = sim_world_trace(world);
	tear_down();
	return trace;
}

START_TEST(equal_seeds_give_equal_runs)
{
	ck_assert_uint_eq(run_once(7), run_once(7));
	ck_assert_uint_ne(run_once(7), run_once(8));
}
END_TEST

TEST_MAIN("sim_loop", tcase_add_test(tc, timers_fire_in_order_at_their_time);
	  tcase_add_test(tc, work_and_tasks_run_later_and_in_order);
	  tcase_add_test(tc, a_hanging_loop_goes_on_later);
	  tcase_add_test(tc, a_killed_loop_is_silent_for_ever);
	  tcase_add_test(tc, clocks_drift_and_stay_monotonic);
	  tcase_add_test(tc, equal_seeds_give_equal_runs))
