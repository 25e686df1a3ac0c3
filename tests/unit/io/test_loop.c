/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loop: order and restart of timers in virtual time; timers, work and posts of the libuv loop.
 */
#include "fs/io/loop.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "tests/check_main.h"

/* --- timers, on a loop whose time the test sets ----------------------------------------------- */

#define TIMERS 6

struct still_loop {
	struct loop base;
	uint64_t now_ns, wake_ns;
	char fired[64];		/* names of the timers, in order */
	struct named {
		struct loop_timer timer;
		struct still_loop *loop;
		char name;
		uint64_t again_ms;	/* restart itself after, ~0: not */
	} timers[TIMERS];
};

static uint64_t still_now_ns(struct loop *loop)
{
	return container_of(loop, struct still_loop, base)->now_ns;
}

static void still_wake_at(struct loop *loop, uint64_t due_ns)
{
	container_of(loop, struct still_loop, base)->wake_ns = due_ns;
}

static const struct loop_ops STILL_OPS = { .now_ns = still_now_ns, .wake_at = still_wake_at };

static void named_fired(struct loop_timer *timer)
{
	struct named *n = container_of(timer, struct named, timer);

	strncat(n->loop->fired, &n->name, 1);
	if (n->again_ms != UINT64_MAX)
		loop_timer_start(&n->loop->base, timer, n->again_ms);
}

static void still_loop_init(struct still_loop *l)
{
	memset(l, 0, sizeof *l);
	l->base.ops = &STILL_OPS;
	l->now_ns = 1000;
	for (int i = 0; i < TIMERS; i++) {
		l->timers[i] = (struct named){ .loop = l, .name = (char)('a' + i),
					       .again_ms = UINT64_MAX };
		l->timers[i].timer.fn = named_fired;
	}
}

static void start(struct still_loop *l, char name, uint64_t after_ms)
{
	loop_timer_start(&l->base, &l->timers[name - 'a'].timer, after_ms);
}

static const char *advance(struct still_loop *l, uint64_t ms)
{
	l->fired[0] = '\0';
	l->now_ns += ms * 1000000;
	loop_timers_run(&l->base);
	return l->fired;
}

START_TEST(timers_fire_by_due_time_then_by_start)
{
	struct still_loop l;

	still_loop_init(&l);
	start(&l, 'a', 30);
	start(&l, 'b', 10);
	start(&l, 'c', 20);
	start(&l, 'd', 10);
	ck_assert_uint_eq(l.wake_ns, 1000 + 10000000);
	ck_assert_str_eq(advance(&l, 9), "");
	ck_assert_str_eq(advance(&l, 1), "bd");
	ck_assert_uint_eq(l.wake_ns, 1000 + 20000000);
	ck_assert_str_eq(advance(&l, 100), "ca");
	ck_assert_uint_eq(l.wake_ns, UINT64_MAX);
}
END_TEST

START_TEST(a_start_replaces_and_a_stop_repeats)
{
	struct still_loop l;

	still_loop_init(&l);
	start(&l, 'a', 10);
	start(&l, 'b', 20);
	start(&l, 'a', 30);
	loop_timer_stop(&l.base, &l.timers[1].timer);
	loop_timer_stop(&l.base, &l.timers[1].timer);
	ck_assert_str_eq(advance(&l, 29), "");
	ck_assert_str_eq(advance(&l, 1), "a");
	ck_assert(!l.timers[0].timer.is_active);
}
END_TEST

START_TEST(a_timer_that_restarts_itself_waits_for_the_next_turn)
{
	struct still_loop l;

	still_loop_init(&l);
	l.timers[0].again_ms = 0;
	start(&l, 'a', 0);
	ck_assert_str_eq(advance(&l, 1), "a");
	ck_assert_str_eq(advance(&l, 1), "a");
	ck_assert(l.timers[0].timer.is_active);
}
END_TEST

/* --- the libuv loop --------------------------------------------------------------------------- */

struct story {
	struct loop *loop;
	struct loop_timer timer;
	struct loop_work works[8];
	struct loop_task tasks[64];
	int run_count, done_count, task_count, expected;
	uint64_t started_ns, fired_ns;
	pthread_t loop_thread;
	int signo;
};

static struct story *story;	/* of the running test */

static void story_begin(struct story *s)
{
	memset(s, 0, sizeof *s);
	story = s;
	s->loop_thread = pthread_self();
	ck_assert_int_eq(loop_uv_create(2, &s->loop), 0);
}

static void on_timer(struct loop_timer *timer unused_arg)
{
	story->fired_ns = loop_now_ns(story->loop);
	loop_uv_stop(story->loop);
}

START_TEST(a_timer_is_never_early)
{
	struct story s;

	story_begin(&s);
	s.timer.fn = on_timer;
	s.started_ns = loop_now_ns(s.loop);
	loop_timer_start(s.loop, &s.timer, 5);
	loop_uv_run(s.loop);
	ck_assert_uint_ge(s.fired_ns, s.started_ns + 5000000);
	loop_uv_destroy(s.loop);
}
END_TEST

static void on_run(struct loop_work *work unused_arg)
{
	ck_assert(!pthread_equal(pthread_self(), story->loop_thread));
	__atomic_add_fetch(&story->run_count, 1, __ATOMIC_SEQ_CST);
}

static void on_done(struct loop_work *work unused_arg)
{
	ck_assert(pthread_equal(pthread_self(), story->loop_thread));
	if (++story->done_count == story->expected)
		loop_uv_stop(story->loop);
}

START_TEST(work_runs_elsewhere_and_is_done_here)
{
	struct story s;

	story_begin(&s);
	s.expected = ARRAY_COUNT(s.works);
	for (int i = 0; i < s.expected; i++) {
		s.works[i] = (struct loop_work){ .run = on_run, .done = on_done };
		loop_work(s.loop, &s.works[i]);
	}
	ck_assert_int_eq(s.done_count, 0);
	loop_uv_run(s.loop);
	ck_assert_int_eq(s.run_count, s.expected);
	loop_uv_destroy(s.loop);
}
END_TEST

static void on_slow_run(struct loop_work *work)
{
	usleep(2000);
	on_run(work);
}

static void on_owned_done(struct loop_work *work unused_arg)
{
	story->done_count++;
}

START_TEST(work_that_is_owned_is_waited_for_at_the_end)
{
	struct story s;

	story_begin(&s);
	s.works[0] = (struct loop_work){ .run = on_slow_run, .done = on_owned_done,
					 .is_owned = true };
	loop_work(s.loop, &s.works[0]);
	loop_uv_destroy(s.loop);
	ck_assert_int_eq(s.run_count, 1);
	ck_assert_int_eq(s.done_count, 1);
}
END_TEST

static void on_task(struct loop_task *task)
{
	ck_assert(pthread_equal(pthread_self(), story->loop_thread));
	/* Each thread posted a half of the array in its order. */
	ck_assert(task == story->tasks || task == story->tasks + 32 || task[-1].run == NULL);
	task->run = NULL;
	if (++story->task_count == story->expected)
		loop_uv_stop(story->loop);
}

static void *post_half(void *arg)
{
	struct loop_task *first = arg;

	for (int i = 0; i < 32; i++)
		loop_post(story->loop, &first[i]);
	return NULL;
}

START_TEST(posts_from_two_threads_run_here_in_each_ones_order)
{
	struct story s;
	pthread_t threads[2];

	story_begin(&s);
	s.expected = ARRAY_COUNT(s.tasks);
	for (int i = 0; i < s.expected; i++)
		s.tasks[i].run = on_task;
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, post_half, &s.tasks[32 * i]), 0);
	loop_uv_run(s.loop);
	ck_assert_int_eq(s.task_count, s.expected);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	loop_uv_destroy(s.loop);
}
END_TEST

static void on_signal(void *arg, int signo)
{
	struct story *s = arg;

	s->signo = signo;
	loop_uv_stop(s->loop);
}

START_TEST(signals_arrive_on_the_loop)
{
	struct story s;

	story_begin(&s);
	ck_assert_int_eq(loop_uv_on_signals(s.loop, on_signal, &s), 0);
	ck_assert_int_eq(kill(getpid(), SIGHUP), 0);
	loop_uv_run(s.loop);
	ck_assert_int_eq(s.signo, SIGHUP);
	loop_uv_destroy(s.loop);
}
END_TEST

START_TEST(a_stop_before_the_run_ends_it)
{
	struct story s;
	uint8_t a[16], b[16];

	story_begin(&s);
	loop_uv_stop(s.loop);
	loop_uv_run(s.loop);
	loop_random(s.loop, a, sizeof a);
	loop_random(s.loop, b, sizeof b);
	ck_assert_mem_ne(a, b, sizeof a);
	ck_assert_uint_gt(loop_wall_ns(s.loop), 1700000000ull * 1000000000);
	loop_uv_destroy(s.loop);
}
END_TEST

static uint64_t slow_before_ns, slow_after_ns;

static void slow_fired(struct loop_timer *timer)
{
	struct loop *loop = *(struct loop **)(void *)(timer + 1);

	slow_before_ns = loop_now_ns(loop);
	usleep(3000);
	slow_after_ns = loop_now_ns(loop);
	loop_uv_stop(loop);
}

/*
 * I6: who comes behind a slow callback in the same turn must not take the time for that of the
 * turn's begin.
 */
START_TEST(time_goes_on_while_a_callback_runs)
{
	struct {
		struct loop_timer timer;
		struct loop *loop;
	} slow = { .timer.fn = slow_fired };

	ck_assert_int_eq(loop_uv_create(1, &slow.loop), 0);
	loop_timer_start(slow.loop, &slow.timer, 0);
	loop_uv_run(slow.loop);
	ck_assert_uint_ge(slow_after_ns, slow_before_ns + 3000000);
	loop_uv_destroy(slow.loop);
}
END_TEST

/* --- descriptors of others -------------------------------------------------------------------- */

struct watched {
	struct loop *loop;
	struct loop_uv_watch *watch;
	int fd;
	char got[16];		/* bytes as they came, '.' where none was there any more */
};

static void byte_came(void *arg)
{
	struct watched *w = arg;
	char byte = '.';
	ssize_t n = read(w->fd, &byte, 1);

	ck_assert(n >= 0);
	strncat(w->got, &byte, 1);
	if (byte != 'z' && n == 1)
		return;
	loop_uv_watch_stop(w->watch);
	w->watch = NULL;
	loop_uv_stop(w->loop);
}

START_TEST(a_watched_descriptor_is_told_in_each_turn_until_it_is_read_empty)
{
	struct watched w = { 0 };
	int fds[2];

	ck_assert_int_eq(loop_uv_create(1, &w.loop), 0);
	ck_assert_int_eq(pipe(fds), 0);
	w.fd = fds[0];
	ck_assert_int_eq(loop_uv_watch_start(w.loop, w.fd, byte_came, &w, &w.watch), 0);
	ck_assert_int_eq(write(fds[1], "abzc", 4), 4);
	loop_uv_run(w.loop);
	ck_assert_str_eq(w.got, "abz");		/* stopped from within; 'c' stays */
	ck_assert_int_eq(loop_uv_watch_start(w.loop, w.fd, byte_came, &w, &w.watch), 0);
	close(fds[1]);
	loop_uv_run(w.loop);
	ck_assert_str_eq(w.got, "abzc.");	/* its end is told as well */
	close(fds[0]);
	loop_uv_watch_stop(NULL);
	ck_assert_int_lt(loop_uv_watch_start(w.loop, -1, byte_came, &w, &w.watch), 0);
	loop_uv_destroy(w.loop);
}
END_TEST

TEST_MAIN("loop",
	tcase_add_test(tc, a_watched_descriptor_is_told_in_each_turn_until_it_is_read_empty);
	tcase_add_test(tc, time_goes_on_while_a_callback_runs);
	tcase_add_test(tc, timers_fire_by_due_time_then_by_start);
	tcase_add_test(tc, a_start_replaces_and_a_stop_repeats);
	tcase_add_test(tc, a_timer_that_restarts_itself_waits_for_the_next_turn);
	tcase_add_test(tc, a_timer_is_never_early);
	tcase_add_test(tc, work_runs_elsewhere_and_is_done_here);
	tcase_add_test(tc, work_that_is_owned_is_waited_for_at_the_end);
	tcase_add_test(tc, posts_from_two_threads_run_here_in_each_ones_order);
	tcase_add_test(tc, signals_arrive_on_the_loop);
	tcase_add_test(tc, a_stop_before_the_run_ends_it))
