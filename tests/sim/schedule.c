/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Faults begin and end in ticks, so they never run inside a callback of what they kill.
 */
#include "tests/sim/schedule_internal.h"

#include <string.h>

/* --- choosing --------------------------------------------------------------------------------- */

static struct cluster_node *any_node(struct schedule *s)
{
	return &s->cluster->nodes[sim_world_below(schedule_world(s), s->cluster->node_count)];
}

/* Of those with a disk. */
static struct cluster_node *any_server(struct schedule *s)
{
	return &s->cluster->nodes[sim_world_below(schedule_world(s), 1 + s->cluster->server_count)];
}

static struct cluster_node *any_cs(struct schedule *s)
{
	return cluster_cs(s->cluster,
			  (uint32_t)sim_world_below(schedule_world(s), s->cluster->server_count));
}

static bool is_struck(const struct schedule *s, const struct cluster_node *n)
{
	if (n->is_absent)
		return true;
	for (uint32_t i = 0; i < SCHEDULE_FAULTS; i++) {
		if (s->faults[i].kind == FAULT_POWER_ALL)
			return true;
		if (s->faults[i].kind != FAULT_NONE &&
		    (s->faults[i].node == n || s->faults[i].other == n))
			return true;
	}
	return false;
}

static enum fault_kind choose_kind(struct schedule *s)
{
	static const enum fault_kind kinds[] = {
		FAULT_KILL,    FAULT_KILL,	FAULT_KILL,  FAULT_KILL, FAULT_POWER,
		FAULT_POWER,   FAULT_POWER_ALL, FAULT_CUT,   FAULT_CUT,	 FAULT_PARTITION,
		FAULT_ISOLATE, FAULT_BREAK,	FAULT_BREAK, FAULT_HANG, FAULT_WEATHER,
		FAULT_WEATHER, FAULT_DRIFT,	FAULT_CLOCK, FAULT_DISK, FAULT_DISK,
		FAULT_FULL,    FAULT_LOSS,	FAULT_DEAD,  FAULT_ROT,	 FAULT_DRAIN,
		FAULT_GC,      FAULT_GC,
	};

	return kinds[sim_world_below(schedule_world(s), ARRAY_COUNT(kinds))];
}

static uint64_t choose_length_ns(struct schedule *s)
{
	struct sim_world *world = schedule_world(s);

	/* Mostly shorter than a lease, sometimes longer. */
	if (sim_world_chance(world, SIM_MILLION / 4))
		return sim_world_between(world, 3000, 7000) * SIM_MS;
	return sim_world_between(world, 20, 1500) * SIM_MS;
}

static bool is_loss(enum fault_kind kind)
{
	return kind == FAULT_LOSS || kind == FAULT_DEAD || kind == FAULT_ROT;
}

/* Strikes a disk, of any server or of a chunk server. */
static void choose_disk(struct schedule *s, struct fault *f)
{
	if (f->kind == FAULT_DISK || f->kind == FAULT_FULL || f->kind == FAULT_LOSS)
		f->node = any_server(s);
	else
		f->node = any_cs(s);
	f->disk = (uint32_t)sim_world_below(schedule_world(s), f->node->disk_count);
}

uint32_t schedule_servers(const struct schedule *s)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < s->cluster->server_count; i++)
		count += !cluster_cs(s->cluster, i)->is_absent;
	return count;
}

static bool is_under_way(const struct schedule *s, enum fault_kind kind)
{
	for (uint32_t i = 0; i < SCHEDULE_FAULTS; i++) {
		if (s->faults[i].kind == kind)
			return true;
	}
	return false;
}

/* Would it take more than the cluster promises to bear? */
static bool is_too_much(const struct schedule *s, const struct fault *f)
{
	if (f->kind == FAULT_LOSS && f->node->role == CLUSTER_MDS)
		return f->node->disk_count == 1;
	/* The only good copy must be readable. */
	if (is_loss(f->kind) && (s->losses > 0 || is_under_way(s, FAULT_DISK)))
		return true;
	if (f->kind == FAULT_DISK && s->losses > 0)
		return true;
	/* With fewer than `copies` to hold shares nothing gets whole. */
	return f->kind == FAULT_DRAIN &&
	       (s->cluster->server_count == CLUSTER_COPIES || is_under_way(s, FAULT_DRAIN));
}

static void choose(struct schedule *s)
{
	struct fault *f = s->faults;

	while (f < s->faults + SCHEDULE_FAULTS && f->kind != FAULT_NONE)
		f++;
	if (f == s->faults + SCHEDULE_FAULTS)
		return;
	struct fault chosen = {.kind = choose_kind(s), .node = any_node(s)};
	if (chosen.kind == FAULT_CUT)
		chosen.other = any_node(s);
	if (chosen.kind >= FAULT_DISK && chosen.kind <= FAULT_DRAIN)
		choose_disk(s, &chosen);
	if (is_too_much(s, &chosen))
		return;
	if (chosen.node == chosen.other || is_struck(s, chosen.node) ||
	    (chosen.other != NULL && is_struck(s, chosen.other)))
		return;
	for (uint32_t i = 0; i < s->cluster->node_count; i++) {
		const struct cluster_node *n = &s->cluster->nodes[i];
		if (chosen.kind == FAULT_POWER_ALL && !n->is_absent && is_struck(s, n))
			return;
	}
	chosen.end_ns = sim_world_now_ns(schedule_world(s)) + choose_length_ns(s);
	*f = chosen;
	s->count++;
	schedule_fault_begin(s, f);
}

/* --- the schedule ----------------------------------------------------------------------------- */

void schedule_init(struct schedule *s, struct cluster *cluster, struct oracle *oracle,
		   struct client_load *loads)
{
	memset(s, 0, sizeof(*s));
	s->cluster = cluster;
	s->oracle = oracle;
	s->loads = loads;
	s->calm_ms = (uint32_t)sim_world_between(cluster->world, 300, 2500);
}

void schedule_tick(struct schedule *s)
{
	uint64_t now_ns = sim_world_now_ns(schedule_world(s));

	for (uint32_t i = 0; i < SCHEDULE_FAULTS; i++) {
		if (s->faults[i].kind != FAULT_NONE && now_ns >= s->faults[i].end_ns)
			schedule_fault_end(s, &s->faults[i]);
	}
	if (now_ns < s->next_ns)
		return;
	if (s->next_ns != 0)
		choose(s);
	s->next_ns = now_ns + sim_world_between(schedule_world(s), 20, s->calm_ms) * SIM_MS;
}

void schedule_heal(struct schedule *s)
{
	sim_world_note(schedule_world(s), "healing");
	for (uint32_t i = 0; i < SCHEDULE_FAULTS; i++) {
		if (s->faults[i].kind != FAULT_NONE)
			schedule_fault_end(s, &s->faults[i]);
	}
	sim_switch_heal(s->cluster->sw);
	schedule_process_start_all(s);
	s->next_ns = 0;
}

void schedule_is_whole(struct schedule *s)
{
	s->losses = 0;
	s->has_rot = false;
}

void schedule_lose(struct schedule *s)
{
	uint32_t first = (uint32_t)sim_world_below(schedule_world(s), s->cluster->server_count),
		 count = 0;

	for (uint32_t i = 0; count < CLUSTER_COPIES - 1; i++) {
		struct cluster_node *n =
			cluster_cs(s->cluster, (first + i) % s->cluster->server_count);
		if (n->is_absent)
			continue;
		/* All disks: a replica is a server. */
		for (uint32_t disk = 0; disk < n->disk_count; disk++)
			schedule_disk_lose(s, n, disk, 0);
		schedule_process_start(s, n);
		count++;
	}
}

struct cluster_node *schedule_newcomer(struct schedule *s)
{
	for (uint32_t i = 0; i < s->cluster->server_count; i++) {
		struct cluster_node *n = cluster_cs(s->cluster, i);
		if (!n->is_absent || n->number != 0)
			continue;
		sim_world_note(schedule_world(s), "%s is new", n->host);
		n->is_absent = false;
		schedule_process_start(s, n);
		return n;
	}
	return NULL;
}

void schedule_remove(struct schedule *s, struct cluster_node *n)
{
	n->is_absent = true;
	schedule_process_end(s, n, false);
}

void schedule_power_cycle(struct schedule *s)
{
	schedule_power_cut_all(s, sim_world_now_ns(schedule_world(s)));
	schedule_process_start_all(s);
}
