/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loop on libuv, with worker threads of its own.
 *
 * libuv's pool is one per process and needs an allocation per request; ours belongs to the loop and
 * queues intrusively, so submitting cannot fail. Everything that crosses threads (work, finished
 * work, posted tasks) stands in three lists under one mutex; uv_async_send() says that there is
 * something, and coalesces, so the mailbox is drained whole. What the loop's own thread posts needs
 * no such call: an idle handle drains it at the begin of the next turn, before the loop sleeps.
 *
 * Workers wake each other: who submits wakes one, and each that wakes wakes the next while work is
 * left. So short work costs few switches, and long work still reaches all workers. At most one is
 * being woken at a time, so a wake-up that got lost would be the last: they sleep on a semaphore,
 * which counts. Condition variables of glibc before 2.41 may lose one (its bug 25847).
 *
 * Time is CLOCK_BOOTTIME, read once per turn: leases must see that the machine slept (I6). libuv's
 * own timer does not count sleep; so a timer may be late by what was left of it, never early, and
 * code that must not act on an expired lease compares times instead of waiting for a timer.
 */
#include "fs/io/loop.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>
#include <utlist.h>
#include <uv.h>

#define LOOP_UV_MAGIC	0x6c6f6f70u
#define WATCH_MAGIC	0x77746368u
#define NS_PER_S	1000000000u
#define NS_PER_MS	1000000u
#define CLOSE_TURNS_MAX 8	/* turns that libuv gets to finish closing what was closed */

static const int SIGNALS[] = { SIGINT, SIGTERM, SIGHUP };

struct loop_uv {
	struct loop base;	/* first */
	uint32_t magic;
	uv_loop_t uv;
	uv_timer_t timer;
	uv_async_t mailbox;
	uv_idle_t next_turn;		/* active: the mailbox is drained before the next poll */
	uv_signal_t signals[ARRAY_COUNT(SIGNALS)];
	size_t signal_count;		/* of them open */
	void (*on_signal)(void *arg, int signo);
	void *on_signal_arg;
	bool is_running;
	atomic_bool stop_asked;
	uint64_t work_count;		/* submitted and not yet done; the loop's thread only */

	pthread_mutex_t lock;		/* of all below */
	struct loop_work *waiting, *finished;
	struct loop_task *tasks;
	bool is_closing;
	bool is_waking;			/* a worker was woken and has not come yet */
	unsigned idle_count;		/* workers that sleep */
	pthread_t *workers;
	unsigned worker_count;
	sem_t wake_ups;			/* has its own lock */
};

static _Thread_local struct loop_uv *running;	/* the loop that this thread runs */

static struct loop_uv *loop_uv_of(struct loop *loop)
{
	return CHECKED_CAST(container_of(loop, struct loop_uv, base), struct loop_uv,
			    LOOP_UV_MAGIC);
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec t;

	ASSERT(clock_gettime(clock, &t) == 0);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

/* --- the operations --------------------------------------------------------------------------- */

/*
 * Read anew each time, 30 ns: a callback that held the turn up, by a sync or a long commit, must
 * not make those behind it count leases from before it (I6).
 */
static uint64_t uv_now_ns(struct loop *loop unused_arg)
{
	return clock_ns(CLOCK_BOOTTIME);
}

static uint64_t uv_wall_ns(struct loop *loop unused_arg)
{
	return clock_ns(CLOCK_REALTIME);
}

static void uv_random_bytes(struct loop *loop unused_arg, void *out, size_t len)
{
	uint8_t *at = out;

	while (len > 0) {
		ssize_t n = getrandom(at, len, 0);

		ASSERT(n > 0 || errno == EINTR);
		if (n > 0) {
			at += n;
			len -= (size_t)n;
		}
	}
}

static void timer_fired(uv_timer_t *timer)
{
	struct loop_uv *l = CHECKED_CAST(timer->data, struct loop_uv, LOOP_UV_MAGIC);

	loop_timers_run(&l->base);
}

static void uv_wake_at(struct loop *loop, uint64_t due_ns)
{
	struct loop_uv *l = loop_uv_of(loop);
	uint64_t now_ns = uv_now_ns(loop);
	uint64_t after_ns = due_ns > now_ns ? due_ns - now_ns : 0;

	/*
	 * libuv renews its time when a turn begins and when a poll returns; outside a run nobody
	 * does.
	 */
	if (!l->is_running)
		uv_update_time(&l->uv);
	if (due_ns == UINT64_MAX)
		uv_timer_stop(&l->timer);
	else
		ASSERT(uv_timer_start(&l->timer, timer_fired, DIV_CEIL(after_ns, NS_PER_MS), 0) ==
		       0);
}

/* Wake one worker if work waits; it wakes the next. The lock is held. */
static void wake_worker(struct loop_uv *l)
{
	if (l->waiting == NULL || l->idle_count == 0 || l->is_waking)
		return;
	l->is_waking = true;
	sem_post(&l->wake_ups);
}

static void uv_work(struct loop *loop, struct loop_work *work)
{
	struct loop_uv *l = loop_uv_of(loop);

	l->work_count++;
	pthread_mutex_lock(&l->lock);
	DL_APPEND(l->waiting, work);
	wake_worker(l);
	pthread_mutex_unlock(&l->lock);
}

static void next_turn(uv_idle_t *idle);

static void uv_post(struct loop *loop, struct loop_task *task)
{
	struct loop_uv *l = loop_uv_of(loop);
	bool is_own = running == l;

	pthread_mutex_lock(&l->lock);
	DL_APPEND(l->tasks, task);
	/*
	 * Under the lock: once the task has run, the loop may be destroyed, which takes the lock
	 * first.
	 */
	if (!is_own)
		uv_async_send(&l->mailbox);
	pthread_mutex_unlock(&l->lock);
	if (is_own)
		uv_idle_start(&l->next_turn, next_turn);
}

static const struct loop_ops LOOP_UV_OPS = {
	.now_ns = uv_now_ns,
	.wall_ns = uv_wall_ns,
	.random = uv_random_bytes,
	.wake_at = uv_wake_at,
	.work = uv_work,
	.post = uv_post,
};

/* --- mailbox and workers ---------------------------------------------------------------------- */

static void mailbox_drain(struct loop_uv *l)
{
	struct loop_task *tasks, *task;
	struct loop_work *finished, *work;

	pthread_mutex_lock(&l->lock);
	tasks = l->tasks;
	finished = l->finished;
	l->tasks = NULL;
	l->finished = NULL;
	pthread_mutex_unlock(&l->lock);

	/* What is posted meanwhile waits for the next turn, so that a turn ends. */
	while ((task = tasks) != NULL) {
		DL_DELETE(tasks, task);
		task->run(task);
	}
	while ((work = finished) != NULL) {
		DL_DELETE(finished, work);
		l->work_count--;
		work->done(work);
	}
	if (atomic_load(&l->stop_asked))
		uv_stop(&l->uv);
}

static void mailbox_rang(uv_async_t *async)
{
	mailbox_drain(CHECKED_CAST(async->data, struct loop_uv, LOOP_UV_MAGIC));
}

static void next_turn(uv_idle_t *idle)
{
	uv_idle_stop(idle);
	mailbox_drain(CHECKED_CAST(idle->data, struct loop_uv, LOOP_UV_MAGIC));
}

/* Sleep until there may be work. The lock is held. */
static void worker_sleep(struct loop_uv *l)
{
	l->idle_count++;
	pthread_mutex_unlock(&l->lock);
	while (sem_wait(&l->wake_ups) != 0)
		ASSERT(errno == EINTR);
	pthread_mutex_lock(&l->lock);
	l->idle_count--;
	l->is_waking = false;
}

static void *worker_main(void *arg)
{
	struct loop_uv *l = CHECKED_CAST(arg, struct loop_uv, LOOP_UV_MAGIC);
	struct loop_work *work;

	pthread_mutex_lock(&l->lock);
	for (;;) {
		while ((work = l->waiting) == NULL && !l->is_closing)
			worker_sleep(l);
		if (work == NULL)
			break;
		DL_DELETE(l->waiting, work);
		wake_worker(l);
		pthread_mutex_unlock(&l->lock);
		work->run(work);
		pthread_mutex_lock(&l->lock);
		DL_APPEND(l->finished, work);
		pthread_mutex_unlock(&l->lock);
		uv_async_send(&l->mailbox);
		pthread_mutex_lock(&l->lock);
	}
	pthread_mutex_unlock(&l->lock);
	return NULL;
}

static void workers_stop(struct loop_uv *l)
{
	pthread_mutex_lock(&l->lock);
	l->is_closing = true;
	for (unsigned i = 0; i < l->worker_count; i++)
		sem_post(&l->wake_ups);
	pthread_mutex_unlock(&l->lock);
	while (l->worker_count > 0)
		pthread_join(l->workers[--l->worker_count], NULL);
	free(l->workers);
}

static int workers_start(struct loop_uv *l, unsigned count)
{
	sigset_t all, before;
	int rc = 0;

	l->workers = calloc(count, sizeof *l->workers);
	if (l->workers == NULL)
		return -E_NOMEM;
	/* Signals are for the loop's thread. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	while (rc == 0 && l->worker_count < count) {
		rc = pthread_create(&l->workers[l->worker_count], NULL, worker_main, l);
		if (rc == 0)
			l->worker_count++;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc != 0)
		workers_stop(l);
	return rc != 0 ? error_from_errno(rc) : 0;
}

/* --- life ------------------------------------------------------------------------------------- */

int loop_uv_create(unsigned worker_count, struct loop **out)
{
	struct loop_uv *l = calloc(1, sizeof *l);
	int rc;

	ASSERT(worker_count >= 1);
	if (l == NULL)
		return -E_NOMEM;
	l->base.ops = &LOOP_UV_OPS;
	l->magic = LOOP_UV_MAGIC;
	l->timer.data = l;
	l->mailbox.data = l;
	l->next_turn.data = l;
	pthread_mutex_init(&l->lock, NULL);
	sem_init(&l->wake_ups, 0, 0);
	rc = uv_loop_init(&l->uv);
	if (rc < 0)
		goto undo_locks;
	uv_timer_init(&l->uv, &l->timer);
	uv_idle_init(&l->uv, &l->next_turn);
	rc = uv_async_init(&l->uv, &l->mailbox, mailbox_rang);
	if (rc < 0)
		goto undo_loop;
	rc = workers_start(l, worker_count);
	if (rc < 0) {
		uv_close((uv_handle_t *)&l->mailbox, NULL);
		rc = -error_to_errno(rc);
		goto undo_loop;
	}
	*out = &l->base;
	return 0;
undo_loop:
	uv_close((uv_handle_t *)&l->timer, NULL);
	uv_close((uv_handle_t *)&l->next_turn, NULL);
	uv_run(&l->uv, UV_RUN_NOWAIT);
	ASSERT(uv_loop_close(&l->uv) == 0);
undo_locks:
	sem_destroy(&l->wake_ups);
	pthread_mutex_destroy(&l->lock);
	free(l);
	return error_from_errno(-rc);
}

/* What may outlive its submitter may also be the last: a sync of a server that was fenced off. */
static void finish_owned(struct loop_uv *l)
{
	struct loop_work *work;

	while ((work = l->finished) != NULL) {
		DL_DELETE(l->finished, work);
		l->work_count--;
		ASSERT(work->is_owned);
		work->done(work);
	}
	ASSERT(l->work_count == 0);
}

void loop_uv_destroy(struct loop *loop)
{
	struct loop_uv *l;

	if (loop == NULL)
		return;
	l = loop_uv_of(loop);
	ASSERT(!l->is_running);
	workers_stop(l);
	finish_owned(l);
	uv_close((uv_handle_t *)&l->timer, NULL);
	uv_close((uv_handle_t *)&l->next_turn, NULL);
	uv_close((uv_handle_t *)&l->mailbox, NULL);
	while (l->signal_count > 0)
		uv_close((uv_handle_t *)&l->signals[--l->signal_count], NULL);
	for (int turn = 0; turn < CLOSE_TURNS_MAX && uv_run(&l->uv, UV_RUN_NOWAIT) != 0; turn++)
		;
	/* Anything still open here was forgotten by its owner. */
	ASSERT(uv_loop_close(&l->uv) == 0);
	sem_destroy(&l->wake_ups);
	pthread_mutex_destroy(&l->lock);
	l->magic = 0;
	free(l);
}

void loop_uv_run(struct loop *loop)
{
	struct loop_uv *l = loop_uv_of(loop);

	ASSERT(!l->is_running);
	l->is_running = true;
	running = l;
	uv_run(&l->uv, UV_RUN_DEFAULT);
	running = NULL;
	l->is_running = false;
	atomic_store(&l->stop_asked, false);
}

void loop_uv_stop(struct loop *loop)
{
	struct loop_uv *l = loop_uv_of(loop);

	atomic_store(&l->stop_asked, true);
	uv_async_send(&l->mailbox);
}

static void signal_came(uv_signal_t *signal, int signo)
{
	struct loop_uv *l = CHECKED_CAST(signal->data, struct loop_uv, LOOP_UV_MAGIC);

	l->on_signal(l->on_signal_arg, signo);
}

int loop_uv_on_signals(struct loop *loop, void (*fn)(void *arg, int signo), void *arg)
{
	struct loop_uv *l = loop_uv_of(loop);
	int rc = 0;

	ASSERT(l->signal_count == 0);
	l->on_signal = fn;
	l->on_signal_arg = arg;
	signal(SIGPIPE, SIG_IGN);
	while (rc == 0 && l->signal_count < ARRAY_COUNT(SIGNALS)) {
		uv_signal_t *handle = &l->signals[l->signal_count];

		rc = uv_signal_init(&l->uv, handle);
		if (rc < 0)
			break;
		handle->data = l;
		rc = uv_signal_start(handle, signal_came, SIGNALS[l->signal_count++]);
	}
	return rc < 0 ? error_from_errno(-rc) : 0;
}

void *loop_uv_handle(struct loop *loop)
{
	return &loop_uv_of(loop)->uv;
}

/* --- descriptors of others -------------------------------------------------------------------- */

struct loop_uv_watch {
	uint32_t magic;
	uv_poll_t poll;
	void (*ready)(void *arg);
	void *arg;
};

static void watch_ready(uv_poll_t *poll, int status unused_arg, int events unused_arg)
{
	struct loop_uv_watch *w = CHECKED_CAST(poll->data, struct loop_uv_watch, WATCH_MAGIC);

	w->ready(w->arg);
}

static void watch_closed(uv_handle_t *handle)
{
	struct loop_uv_watch *w = CHECKED_CAST(handle->data, struct loop_uv_watch, WATCH_MAGIC);

	w->magic = 0;
	free(w);
}

int loop_uv_watch_start(struct loop *loop, int fd, void (*ready)(void *arg), void *arg,
			struct loop_uv_watch **out)
{
	struct loop_uv_watch *w = calloc(1, sizeof *w);
	int rc;

	if (w == NULL)
		return -E_NOMEM;
	*w = (struct loop_uv_watch){ .magic = WATCH_MAGIC, .ready = ready, .arg = arg };
	w->poll.data = w;
	rc = uv_poll_init(&loop_uv_of(loop)->uv, &w->poll, fd);
	if (rc < 0) {
		free(w);
		return error_from_errno(-rc);
	}
	/* cannot fail: the handle is open, the callback not NULL */
	(void)uv_poll_start(&w->poll, UV_READABLE, watch_ready);
	*out = w;
	return 0;
}

void loop_uv_watch_stop(struct loop_uv_watch *watch)
{
	if (watch != NULL)
		uv_close((uv_handle_t *)&watch->poll, watch_closed);
}
