/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The world: a list of events sorted by time, and a random generator (splitmix64: Steele, Lea and
 * Flood 2014). New events are mostly among the last, so their place is sought from the end.
 */
#include "tests/sim/sim_world.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "fs/hash/checksum.h"

#define NOTE_BYTES_MAX 512
#define START_NS       (3600 * SIM_S)

struct sim_world {
	uint64_t seed;
	uint64_t state;		/* of the generator */
	uint64_t now_ns;
	uint64_t trace;
	uint64_t step_count;
	bool is_verbose;
	struct sim_event *events;	/* by due_ns, then by order of scheduling */
};

int sim_world_create(uint64_t seed, struct sim_world **out)
{
	struct sim_world *world = calloc(1, sizeof *world);

	if (world == NULL)
		return -E_NOMEM;
	world->seed = world->state = seed;
	world->now_ns = START_NS;
	*out = world;
	return 0;
}

void sim_world_destroy(struct sim_world *world)
{
	free(world);
}

uint64_t sim_world_now_ns(const struct sim_world *world)
{
	return world->now_ns;
}

uint64_t sim_world_seed(const struct sim_world *world)
{
	return world->seed;
}

uint64_t sim_world_random(struct sim_world *world)
{
	uint64_t z = world->state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

uint64_t sim_world_below(struct sim_world *world, uint64_t bound)
{
	ASSERT(bound > 0);
	return sim_world_random(world) % bound;
}

uint64_t sim_world_between(struct sim_world *world, uint64_t low, uint64_t high)
{
	ASSERT(low <= high);
	return low + sim_world_below(world, high - low + 1);
}

bool sim_world_chance(struct sim_world *world, uint32_t per_million)
{
	return per_million > 0 && sim_world_below(world, SIM_MILLION) < per_million;
}

void sim_world_random_bytes(struct sim_world *world, void *out, size_t len)
{
	for (uint8_t *at = out; len > 0;) {
		uint64_t word = sim_world_random(world);
		size_t n = MIN_OF(len, sizeof word);

		memcpy(at, &word, n);
		at += n;
		len -= n;
	}
}

void sim_world_schedule(struct sim_world *world, struct sim_event *event, uint64_t after_ns)
{
	struct sim_event *before;

	ASSERT(event->fn != NULL);
	sim_world_cancel(world, event);
	event->due_ns =
		after_ns < UINT64_MAX - world->now_ns ? world->now_ns + after_ns : UINT64_MAX;
	event->is_scheduled = true;
	if (world->events == NULL || world->events->due_ns > event->due_ns) {
		DL_PREPEND(world->events, event);
		return;
	}
	/* The head's prev is the tail; the head itself stops the search. */
	for (before = world->events->prev; before->due_ns > event->due_ns; before = before->prev)
		;
	DL_APPEND_ELEM(world->events, before, event);
}

void sim_world_cancel(struct sim_world *world, struct sim_event *event)
{
	if (!event->is_scheduled)
		return;
	DL_DELETE(world->events, event);
	event->is_scheduled = false;
}

static void trace_add(struct sim_world *world, const void *bytes, size_t len)
{
	world->trace = checksum_seeded(bytes, len, world->trace ^ world->now_ns);
}

bool sim_world_step(struct sim_world *world)
{
	struct sim_event *event = world->events;

	if (event == NULL)
		return false;
	sim_world_cancel(world, event);
	ASSERT(event->due_ns >= world->now_ns);
	world->now_ns = event->due_ns;
	world->step_count++;
	/* The generator's state tells two runs apart as soon as they differ in anything random. */
	trace_add(world, &world->state, sizeof world->state);
	event->fn(event);
	return true;
}

void sim_world_run_for(struct sim_world *world, uint64_t ns)
{
	uint64_t end_ns = world->now_ns + ns;

	while (world->events != NULL && world->events->due_ns <= end_ns)
		(void)sim_world_step(world);	/* there is one */
	world->now_ns = end_ns;
}

bool sim_world_run_until(struct sim_world *world, bool (*is_done)(void *arg), void *arg,
			 uint64_t ns_max)
{
	uint64_t end_ns = world->now_ns + ns_max;

	while (!is_done(arg)) {
		if (world->events == NULL || world->events->due_ns > end_ns) {
			world->now_ns = end_ns;
			return false;
		}
		(void)sim_world_step(world);	/* there is one */
	}
	return true;
}

void sim_world_note(struct sim_world *world, const char *format, ...)
{
	char line[NOTE_BYTES_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof line, format, args);
	va_end(args);
	trace_add(world, line, strlen(line));
	if (world->is_verbose)
		printf("%10.6f %s\n", (double)(world->now_ns - START_NS) / 1e9, line);
}

void sim_world_set_verbose(struct sim_world *world, bool verbose)
{
	world->is_verbose = verbose;
}

uint64_t sim_world_trace(const struct sim_world *world)
{
	return world->trace;
}

uint64_t sim_world_step_count(const struct sim_world *world)
{
	return world->step_count;
}
