/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event loop: time, timers, work on other threads, tasks from other threads. An interface:
 * loop_uv.c (libuv) is the real one, tests/sim/sim_loop.c the one in virtual time.
 *
 * Completion style: no callback runs inside the call that submitted it. Operations are intrusive,
 * so that submitting never fails. Everything runs on the loop's thread unless a line says
 * otherwise.
 */
#ifndef CAIRN_FS_IO_LOOP_H
#define CAIRN_FS_IO_LOOP_H

#include "fs/base/base.h"

struct loop;

struct loop_timer {		/* zero it before first use; may be restarted at will */
	void (*fn)(struct loop_timer *timer);
	uint64_t due_ns;	/* private */
	bool is_active;		/* private */
	struct loop_timer *prev, *next;
};

/* CPU or blocking work: run() on a worker thread, then done() on the loop's. */
struct loop_work {
	void (*run)(struct loop_work *work);
	void (*done)(struct loop_work *work);
	/* may outlive who submitted it: done() then only frees what it holds */
	bool is_owned;
	struct loop_work *prev, *next;	/* private */
};

/* A task from any thread, run once on the loop's thread, in order of posting. */
struct loop_task {
	void (*run)(struct loop_task *task);
	struct loop_task *prev, *next;	/* private */
};

struct loop_ops {
	/* CLOCK_BOOTTIME, not of the turn's begin */
	uint64_t (*now_ns)(struct loop *loop);
	uint64_t (*wall_ns)(struct loop *loop);		/* CLOCK_REALTIME */
	void (*random)(struct loop *loop, void *out, size_t len);
	/* call loop_timers_run then; ~0: never */
	void (*wake_at)(struct loop *loop, uint64_t due_ns);
	void (*work)(struct loop *loop, struct loop_work *work);
	void (*post)(struct loop *loop, struct loop_task *task);	/* any thread */
};

/* Every loop begins with this; backends embed it first. */
struct loop {
	const struct loop_ops *ops;
	struct loop_timer *timers;	/* sorted by due_ns */
};

static inline uint64_t loop_now_ns(struct loop *l) { return l->ops->now_ns(l); }
static inline uint64_t loop_now_ms(struct loop *l) { return l->ops->now_ns(l) / 1000000; }
static inline uint64_t loop_wall_ns(struct loop *l) { return l->ops->wall_ns(l); }
static inline void loop_random(struct loop *l, void *out, size_t len)
{
	l->ops->random(l, out, len);
}
static inline void loop_work(struct loop *l, struct loop_work *w) { l->ops->work(l, w); }
static inline void loop_post(struct loop *l, struct loop_task *t) { l->ops->post(l, t); }

/*
 * Timers, the same for every backend (loop.c). Start replaces an earlier start; stop may be
 * repeated.
 */
void loop_timer_start(struct loop *l, struct loop_timer *timer, uint64_t after_ms);
void loop_timer_stop(struct loop *l, struct loop_timer *timer);
/* for backends: fire what is due, then ask to be woken again */
void loop_timers_run(struct loop *l);

/* --- the libuv loop ------------------------------------------------------------------------- */

/* A loop with `worker_count` worker threads (>= 1). -E_NOMEM or what libuv says. */
must_check int loop_uv_create(unsigned worker_count, struct loop **out);
/* Not running. All work must be done but what is_owned, which is waited for. */
void loop_uv_destroy(struct loop *loop);
void loop_uv_run(struct loop *loop);		/* until loop_uv_stop */
void loop_uv_stop(struct loop *loop);		/* any thread, and signal handlers of on_signal */
/* fn(arg, signo) on the loop's thread for SIGINT, SIGTERM, SIGHUP; ignores SIGPIPE. */
must_check int loop_uv_on_signals(struct loop *loop, void (*fn)(void *arg, int signo), void *arg);
void *loop_uv_handle(struct loop *loop);	/* the uv_loop_t, for fs/net/net_uv.c only */

/*
 * Watch a descriptor that a library owns, and make it non-blocking: ready(arg) once in each turn in
 * which it can be read; when it fails, once more and then never again. All on the loop's thread;
 * stop before the descriptor is closed, also from within ready().
 */
struct loop_uv_watch;
must_check int loop_uv_watch_start(struct loop *loop, int fd, void (*ready)(void *arg), void *arg,
				   struct loop_uv_watch **out);
void loop_uv_watch_stop(struct loop_uv_watch *watch);	/* may be NULL */

#endif
