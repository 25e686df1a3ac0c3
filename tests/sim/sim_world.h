/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A simulated world: one virtual clock, one source of randomness, one queue of events. Loops, disks
 * and networks of all simulated nodes live in it, so a run is a function of its seed.
 *
 * Use: create the world; create nodes in it (sim_loop.h, sim_disk.h, sim_net.h); then step it. Each
 * step takes the earliest event, sets the clock to its time and runs it; events of equal time run
 * in the order of their scheduling. Nothing else runs, and no time passes between events.
 *
 *	sim_world_create(seed, &world);
 *	... nodes ...
 *	sim_world_run_for(world, 10 * SIM_S);
 *	sim_world_trace(world)		equal for equal seeds and equal code
 *
 * Determinism: take randomness from here only, iterate no hash table by address, and do not look
 * at a real clock. Notes (sim_world_note) enter the trace, and go to stdout if asked.
 * Threads: one.
 */
#ifndef CAIRN_TESTS_SIM_SIM_WORLD_H
#define CAIRN_TESTS_SIM_SIM_WORLD_H

#include "fs/base/base.h"

#define SIM_US 1000ull
#define SIM_MS 1000000ull
#define SIM_S  1000000000ull
#define SIM_MILLION 1000000u

struct sim_world;

/*
 * Something that will happen. Intrusive: zero it, set fn, schedule it; it may be scheduled again.
 */
struct sim_event {
	void (*fn)(struct sim_event *event);
	uint64_t due_ns;		/* private from here */
	bool is_scheduled;
	struct sim_event *prev, *next;
};

must_check int sim_world_create(uint64_t seed, struct sim_world **out);
/* Events that are still scheduled are forgotten; their owners free them. NULL is allowed. */
void sim_world_destroy(struct sim_world *world);

uint64_t sim_world_now_ns(const struct sim_world *world);	/* starts at one virtual hour */
uint64_t sim_world_seed(const struct sim_world *world);

/* Randomness of the world. */
uint64_t sim_world_random(struct sim_world *world);
/* 0 .. bound - 1; bound > 0 */
uint64_t sim_world_below(struct sim_world *world, uint64_t bound);
/* both included */
uint64_t sim_world_between(struct sim_world *world, uint64_t low, uint64_t high);
bool sim_world_chance(struct sim_world *world, uint32_t per_million);
void sim_world_random_bytes(struct sim_world *world, void *out, size_t len);

/*
 * Let event->fn(event) run after so long (0: in a later step, at the same time). Moves a scheduled
 * one.
 */
void sim_world_schedule(struct sim_world *world, struct sim_event *event, uint64_t after_ns);
/* may be repeated */
void sim_world_cancel(struct sim_world *world, struct sim_event *event);

/* Run the earliest event; false: there is none. */
bool sim_world_step(struct sim_world *world);
/* Step until that much virtual time has passed; the clock ends exactly there. */
void sim_world_run_for(struct sim_world *world, uint64_t ns);
/* Step until is_done(arg), at most so long; true if it became true. */
bool sim_world_run_until(struct sim_world *world, bool (*is_done)(void *arg), void *arg,
			 uint64_t ns_max);

/* A line of the story: hashed into the trace with its time, and printed if the world is verbose. */
void sim_world_note(struct sim_world *world, const char *format, ...) printf_like(2, 3);
void sim_world_set_verbose(struct sim_world *world, bool verbose);
/* hash of all steps and notes so far */
uint64_t sim_world_trace(const struct sim_world *world);
uint64_t sim_world_step_count(const struct sim_world *world);

#endif
