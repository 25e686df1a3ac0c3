/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loop in virtual time: the twin of fs/io/loop_uv.c. Each simulated process has one.
 *
 * Work: run() happens at a random time after its submission, done() at a random time after that,
 * so works overlap and overtake each other as on several worker threads; but never inside the
 * submitting call. A process that dies between the two has done the work and does not know it.
 * Posted tasks run soon, in their order.
 *
 * Life of a process:
 *
 *   sim_loop_create    it starts
 *   sim_loop_hang      SIGSTOP: nothing of it runs for a while, then all that was due, in order
 *   sim_loop_kill      SIGKILL, power loss: nothing of it runs ever again
 *   sim_loop_destroy   forget it
 *
 * After a kill the loop still answers calls, and drops what it is given. So the harness may call
 * the ordinary destroy functions of what ran there, to free memory; kill its nets (sim_net_kill)
 * and crash its disks (sim_media_crash, sim_media_power_cut) first, so that destroying cannot reach
 * anybody. A loop may be killed, but not destroyed, from inside its own callback.
 *
 * Clocks: a loop's monotonic clock has a random offset; sim_loop_set_drift and sim_loop_set_wall
 * make it run fast or slow, and its wall clock wrong. Threads: one.
 */
#ifndef CAIRN_TESTS_SIM_SIM_LOOP_H
#define CAIRN_TESTS_SIM_SIM_LOOP_H

#include "fs/io/loop.h"
#include "tests/sim/sim_world.h"

/* `name` is for notes, and copied. */
must_check int sim_loop_create(struct sim_world *world, const char *name, struct loop **out);
void sim_loop_kill(struct loop *loop);		/* may be repeated */
/* NULL is allowed; kills first; ends works that are owned */
void sim_loop_destroy(struct loop *loop);

bool sim_loop_is_alive(const struct loop *loop);
const char *sim_loop_name(const struct loop *loop);
struct sim_world *sim_loop_world(const struct loop *loop);

/* Nothing of this loop runs before so much time has passed. */
void sim_loop_hang(struct loop *loop, uint64_t ns);
/*
 * For other twins (networks): an event of theirs that would run code on this loop asks first.
 * True: the loop hangs, the event has been scheduled again for later.
 */
must_check bool sim_loop_defers(struct loop *loop, struct sim_event *event);

/* The monotonic clock gains so many ns per ms of the world (negative: loses), within +-500,000. */
void sim_loop_set_drift(struct loop *loop, int64_t ns_per_ms);
/* The wall clock is off by so much. */
void sim_loop_set_wall(struct loop *loop, int64_t offset_ns);
/*
 * How long works take: run() after up to run_ns, done() after up to done_ns. Default 200 us, 50 us.
 */
void sim_loop_set_work(struct loop *loop, uint64_t run_ns, uint64_t done_ns);

#endif
