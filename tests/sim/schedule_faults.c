/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each kind of fault does when it begins and when it ends, and what of that the oracle is
 * told. Faults that strike once have no end.
 */
#include "tests/sim/schedule_internal.h"

#include <string.h>

#include "tests/sim/steward.h"

/*
 * How much of the journal a power cut may take: it is synced within 100 ms of the write, which
 * takes the time of a work, and the tick that begins it may be late.
 */
#define JOURNAL_LAG_NS (250 * SIM_MS)

#define ANY_WALL_NS (3600 * (int64_t)SIM_S) /* how far clocks jump, either way */

/* --- what the oracle is told ------------------------------------------------------------------ */

/* Errors are excused from now until the session is certain again after the fault. */
static void disturb(struct schedule *s, uint32_t client, uint64_t end_ns)
{
	oracle_suspect(s->oracle, client);
	oracle_disturbed(s->oracle, client, end_ns + 2 * CLUSTER_LEASE_MS * SIM_MS);
}

/* A fault between this node and the metadata server. */
static void disturb_by(struct schedule *s, const struct cluster_node *n, uint64_t end_ns)
{
	for (uint32_t i = 0; i < CLUSTER_CLIENTS; i++) {
		if (n->role == CLUSTER_MDS || n == cluster_client(s->cluster, i))
			disturb(s, i, end_ns);
	}
}

/*
 * A chunk server whose disk failed holds nothing for sure; with another one away there are fewer
 * than min_copies, and what cannot be published is reported. A metadata server that cannot write
 * its journal keeps no change until it is started again, and what waits to be published is given
 * up.
 */
static void begin_bad_writes(struct schedule *s, const struct fault *f)
{
	disturb_by(s, f->node, f->end_ns);
	for (uint32_t i = 0; i < CLUSTER_CLIENTS; i++)
		oracle_disturbed(s->oracle, i, f->end_ns + 2 * CLUSTER_LEASE_MS * SIM_MS);
}

/* From now on nothing may sync the journal, until the process after this one does. */
static void begin_unsynced(struct schedule *s, const struct fault *f)
{
	if (f->node->role != CLUSTER_MDS)
		return;
	s->hang_begun_ns = sim_world_now_ns(schedule_world(s));
	s->hang_ends_ns = f->end_ns;
}

/* --- processes -------------------------------------------------------------------------------- */

static struct client_load *load_of(struct schedule *s, const struct cluster_node *n)
{
	return n->role == CLUSTER_CLIENT ? &s->loads[n->index] : NULL;
}

void schedule_process_end(struct schedule *s, struct cluster_node *n, bool is_power_cut)
{
	struct client_load *load = load_of(s, n);

	if (!n->is_up)
		return;
	if (load != NULL)
		client_load_dies(load);
	cluster_kill(n, is_power_cut);
	if (load != NULL)
		client_load_died(load);
}

void schedule_process_start(struct schedule *s, struct cluster_node *n)
{
	if (n->is_up || n->is_absent)
		return;
	const char *why = cluster_start(n);
	if (why != NULL)
		oracle_fail(s->oracle, "%s", why);
}

void schedule_process_start_all(struct schedule *s)
{
	for (uint32_t i = 0; i < s->cluster->node_count; i++)
		schedule_process_start(s, &s->cluster->nodes[i]);
}

/* Nothing syncs the journal between two processes, or while one hangs. */
static uint64_t journal_lag_ns(const struct schedule *s, const struct cluster_node *n)
{
	uint64_t now_ns = sim_world_now_ns(schedule_world(s)), idle_ns = 0;

	if (n->ended_ns != 0 && now_ns - n->up_ns <= JOURNAL_LAG_NS)
		idle_ns = now_ns - n->ended_ns;
	if (s->hang_begun_ns != 0 && now_ns <= s->hang_ends_ns + JOURNAL_LAG_NS)
		idle_ns = MAX_OF(idle_ns, now_ns - s->hang_begun_ns);
	return JOURNAL_LAG_NS + idle_ns;
}

static void begin_kill(struct schedule *s, struct fault *f)
{
	schedule_process_end(s, f->node, false);
}

static void end_by_start(struct schedule *s, struct fault *f)
{
	schedule_process_start(s, f->node);
}

/* --- power ------------------------------------------------------------------------------------ */

static void power_cut(struct schedule *s, struct cluster_node *n, uint64_t end_ns)
{
	bool was_clean = cluster_is_synced(n);
	uint64_t lag_ns = journal_lag_ns(s, n);

	schedule_process_end(s, n, true);
	if (n->role == CLUSTER_MDS)
		sim_world_note(schedule_world(s), "its disk %s",
			       was_clean ? "had everything" : "may have lost something");
	if (n->role != CLUSTER_MDS || was_clean)
		return;
	disturb_by(s, n, end_ns);
	oracle_power_cut(s->oracle, lag_ns);
}

void schedule_power_cut_all(struct schedule *s, uint64_t end_ns)
{
	/* Clients first: what they had in memory is lost before the model is rolled back. */
	for (uint32_t i = s->cluster->node_count; i-- > 0;)
		power_cut(s, &s->cluster->nodes[i], end_ns);
}

static void begin_power(struct schedule *s, struct fault *f)
{
	power_cut(s, f->node, f->end_ns);
}

static void begin_power_all(struct schedule *s, struct fault *f)
{
	schedule_power_cut_all(s, f->end_ns);
}

static void end_power_all(struct schedule *s, struct fault *unused)
{
	(void)unused;
	schedule_process_start_all(s);
}

/* --- network ---------------------------------------------------------------------------------- */

static void begin_cut(struct schedule *s, struct fault *f)
{
	sim_switch_cut(s->cluster->sw, f->node->host, f->other->host);
	if (f->node->role == CLUSTER_MDS && f->other->role == CLUSTER_CLIENT)
		disturb(s, f->other->index, f->end_ns);
	if (f->other->role == CLUSTER_MDS && f->node->role == CLUSTER_CLIENT)
		disturb(s, f->node->index, f->end_ns);
}

static void end_cut(struct schedule *s, struct fault *f)
{
	sim_switch_uncut(s->cluster->sw, f->node->host, f->other->host);
}

static void cut_sides(struct schedule *s, const struct fault *f,
		      void (*fn)(struct sim_switch *sw, const char *from, const char *to))
{
	struct cluster *c = s->cluster;

	for (uint32_t i = 0; i < c->node_count; i++) {
		for (uint32_t k = 0; k < c->node_count; k++) {
			if ((f->side >> i & 1) != (f->side >> k & 1))
				fn(c->sw, c->nodes[i].host, c->nodes[k].host);
		}
	}
}

static void begin_partition(struct schedule *s, struct fault *f)
{
	uint32_t clients = 1 + s->cluster->server_count;

	f->side = (uint32_t)sim_world_random(schedule_world(s));
	cut_sides(s, f, sim_switch_cut);
	for (uint32_t i = 0; i < CLUSTER_CLIENTS; i++) {
		if ((f->side & 1) != (f->side >> (clients + i) & 1))
			disturb(s, i, f->end_ns);
	}
}

static void end_partition(struct schedule *s, struct fault *f)
{
	cut_sides(s, f, sim_switch_uncut);
}

static void begin_isolate(struct schedule *s, struct fault *f)
{
	sim_switch_isolate(s->cluster->sw, f->node->host);
	disturb_by(s, f->node, f->end_ns);
}

static void end_isolate(struct schedule *s, struct fault *f)
{
	sim_switch_uncut(s->cluster->sw, f->node->host, "*");
	sim_switch_uncut(s->cluster->sw, "*", f->node->host);
}

static void begin_break(struct schedule *s, struct fault *f)
{
	sim_switch_break(s->cluster->sw, f->node->host, "*");
}

static void begin_weather(struct schedule *s, struct fault *unused)
{
	struct sim_world *world = schedule_world(s);
	struct sim_weather weather = {
		.delay_ns_min = 100 * SIM_US,
		.delay_ns_max = sim_world_between(world, 1, 60) * SIM_MS,
		.break_per_million = (uint32_t)sim_world_below(world, 5000),
		.refuse_per_million = (uint32_t)sim_world_below(world, 300000),
	};

	(void)unused;
	sim_switch_set_weather(s->cluster->sw, &weather);
}

static void end_weather(struct schedule *s, struct fault *unused)
{
	struct sim_weather fair = {.delay_ns_min = 50 * SIM_US, .delay_ns_max = 500 * SIM_US};

	(void)unused;
	sim_switch_set_weather(s->cluster->sw, &fair);
}

/* --- time ------------------------------------------------------------------------------------- */

static void begin_hang(struct schedule *s, struct fault *f)
{
	begin_unsynced(s, f);
	sim_loop_hang(f->node->loop, f->end_ns - sim_world_now_ns(schedule_world(s)));
	disturb_by(s, f->node, f->end_ns);
}

static void begin_drift(struct schedule *s, struct fault *f)
{
	sim_loop_set_drift(f->node->loop,
			   (int64_t)sim_world_below(schedule_world(s), 40001) - 20000);
}

static void end_drift(struct schedule *s, struct fault *f)
{
	(void)s;
	if (f->node->is_up)
		sim_loop_set_drift(f->node->loop, 0);
}

static void begin_clock(struct schedule *s, struct fault *f)
{
	uint64_t to = sim_world_below(schedule_world(s), 2 * (uint64_t)ANY_WALL_NS);

	cluster_set_wall(f->node, (int64_t)to - ANY_WALL_NS);
}

static void end_clock(struct schedule *s, struct fault *f)
{
	(void)s;
	cluster_set_wall(f->node, 0);
}

/* --- disks ------------------------------------------------------------------------------------ */

static void begin_disk(struct schedule *s, struct fault *f)
{
	struct sim_world *world = schedule_world(s);
	struct sim_media_faults faults = {.uncached = 125000};

	if (f->node->role == CLUSTER_CS && sim_world_chance(world, SIM_MILLION / 2)) {
		faults.read_eio = 50000;
	} else {
		faults.write_eio = 20000;
		if (sim_world_chance(world, SIM_MILLION / 2))
			faults.sync_eio = 20000;
		else
			faults.sync_drops = 20000;
		begin_bad_writes(s, f);
		begin_unsynced(s, f);
	}
	sim_media_set_faults(f->node->media[f->disk], &faults);
}

/*
 * Reads of a metadata server that could not write its journal go on, and show what the next process
 * will not know: to clients that is what a power cut takes.
 */
static void restart(struct schedule *s, struct cluster_node *n, uint64_t end_ns)
{
	bool is_failed = n->role == CLUSTER_MDS && cluster_mds_is_failed(s->cluster);
	uint64_t lag_ns = journal_lag_ns(s, n);

	schedule_process_end(s, n, false);
	if (is_failed) {
		disturb_by(s, n, end_ns);
		oracle_power_cut(s->oracle, lag_ns);
	}
	schedule_process_start(s, n);
}

/* A disk that failed stays out until its server is started again. */
static void end_disk(struct schedule *s, struct fault *f)
{
	struct sim_media_faults none = {.uncached = 125000};

	sim_media_set_faults(f->node->media[f->disk], &none);
	restart(s, f->node, f->end_ns);
}

/* Somebody else fills the disk, up to the last byte or nearly so. */
static void begin_full(struct schedule *s, struct fault *f)
{
	uint64_t left = sim_world_chance(schedule_world(s), SIM_MILLION / 2)
				? 0
				: sim_world_below(schedule_world(s), MiB(20));

	sim_media_leave(f->node->media[f->disk], left);
	begin_bad_writes(s, f);
	begin_unsynced(s, f);
}

static void end_full(struct schedule *s, struct fault *f)
{
	sim_media_leave(f->node->media[f->disk], UINT64_MAX);
	if (f->node->role == CLUSTER_MDS && cluster_mds_lacks_disk(s->cluster))
		restart(s, f->node, f->end_ns);
}

void schedule_disk_lose(struct schedule *s, struct cluster_node *n, uint32_t disk, uint64_t end_ns)
{
	sim_world_note(schedule_world(s), "%s loses disk %u", n->host, disk);
	power_cut(s, n, end_ns);
	cluster_replace_disk(n, disk);
	s->losses += n->role == CLUSTER_CS;
}

static void begin_loss(struct schedule *s, struct fault *f)
{
	schedule_disk_lose(s, f->node, f->disk, f->end_ns);
}

static void begin_dead(struct schedule *s, struct fault *f)
{
	sim_media_set_dead(f->node->media[f->disk], true);
	s->losses++;
}

/* A new one comes in its place. */
static void end_dead(struct schedule *s, struct fault *f)
{
	schedule_disk_lose(s, f->node, f->disk, f->end_ns);
	s->losses--;
	schedule_process_start(s, f->node);
}

static void begin_rot(struct schedule *s, struct fault *f)
{
	sim_media_rot_some(f->node->media[f->disk], "segments/",
			   (uint32_t)sim_world_between(schedule_world(s), 1, 20));
	s->has_rot = true;
	s->losses++;
}

/* --- what administrators do ------------------------------------------------------------------- */

static void begin_drain(struct schedule *s, struct fault *f)
{
	if (f->node->number != 0)
		steward_set(s->cluster, f->node->number, SERVER_DRAINED);
}

static void end_drain(struct schedule *s, struct fault *f)
{
	steward_set(s->cluster, f->node->number, SERVER_UP);
}

static void begin_gc(struct schedule *s, struct fault *unused)
{
	(void)unused;
	steward_gc(s->cluster, 1);
	s->has_quota = !s->has_quota;
	steward_quota(s->cluster, s->has_quota);
}

/* --- any of them ------------------------------------------------------------------------------ */

static const struct {
	const char *name;
	void (*begin)(struct schedule *s, struct fault *f);
	void (*end)(struct schedule *s, struct fault *f);	/* NULL: nothing is to be undone */
} kinds[FAULT_KINDS] = {
	[FAULT_KILL] = {"kill", begin_kill, end_by_start},
	[FAULT_POWER] = {"power", begin_power, end_by_start},
	[FAULT_POWER_ALL] = {"power of all", begin_power_all, end_power_all},
	[FAULT_CUT] = {"cut", begin_cut, end_cut},
	[FAULT_PARTITION] = {"partition", begin_partition, end_partition},
	[FAULT_ISOLATE] = {"isolate", begin_isolate, end_isolate},
	[FAULT_BREAK] = {"break", begin_break, NULL},
	[FAULT_HANG] = {"hang", begin_hang, NULL},
	[FAULT_WEATHER] = {"weather", begin_weather, end_weather},
	[FAULT_DRIFT] = {"drift", begin_drift, end_drift},
	[FAULT_CLOCK] = {"clock", begin_clock, end_clock},
	[FAULT_DISK] = {"disk", begin_disk, end_disk},
	[FAULT_FULL] = {"full", begin_full, end_full},
	[FAULT_LOSS] = {"loss of", begin_loss, end_by_start},
	[FAULT_DEAD] = {"death of", begin_dead, end_dead},
	[FAULT_ROT] = {"rot on", begin_rot, NULL},
	[FAULT_DRAIN] = {"drain", begin_drain, end_drain},
	[FAULT_GC] = {"gc", begin_gc, NULL},
};

void schedule_fault_begin(struct schedule *s, struct fault *f)
{
	uint64_t length_ns = f->end_ns - sim_world_now_ns(schedule_world(s));

	sim_world_note(schedule_world(s), "fault %s %s %s for %llu ms", kinds[f->kind].name,
		       f->node->host, f->other ? f->other->host : "",
		       (unsigned long long)(length_ns / SIM_MS));
	kinds[f->kind].begin(s, f);
}

void schedule_fault_end(struct schedule *s, struct fault *f)
{
	sim_world_note(schedule_world(s), "fault %s %s ends", kinds[f->kind].name, f->node->host);
	if (kinds[f->kind].end)
		kinds[f->kind].end(s, f);
	memset(f, 0, sizeof(*f));
}
