/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Faults begin and end in ticks, so they never run inside a callback of what they kill.
 */
#include "tests/sim/schedule.h"

#include <string.h>

#include "tests/sim/steward.h"

/*
 * How much of the journal a power cut may take: it is synced within 100 ms of the write, which
 * takes the time of a work, and the tick that begins it may be late.
 */
#define JOURNAL_LAG_NS (250 * SIM_MS)

#define ANY_WALL_NS (3600 * (int64_t)SIM_S) /* how far clocks jump, either way */

static const char *const fault_names[FAULT_KINDS] = {
	"none",	   "kill",     "power",	  "power of all", "cut",   "partition", "isolate",
	"break",   "hang",     "weather", "drift",	  "clock", "disk",	"full",
	"loss of", "death of", "rot on",  "drain",	  "gc",
};

static struct sim_world *world_of(const struct schedule *s)
{
	return s->cluster->world;
}

/* --- what the oracle is told
 * ------------------------------------------------------------------------ */

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

/* --- processes
 * -------------------------------------------------------------------------------------- */

static struct client_load *load_of(struct schedule *s, const struct cluster_node *n)
{
	return n->role == CLUSTER_CLIENT ? &s->loads[n->index] : NULL;
}

static void end_process(struct schedule *s, struct cluster_node *n, bool is_power_cut)
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

static void start_process(struct schedule *s, struct cluster_node *n)
{
	if (n->is_up || n->is_absent)
		return;
	const char *why = cluster_start(n);
	if (why != NULL)
		oracle_fail(s->oracle, "%s", why);
}

/* Nothing syncs the journal between two processes, or while one hangs. */
static uint64_t journal_lag_ns(const struct schedule *s, const struct cluster_node *n)
{
	uint64_t now_ns = sim_world_now_ns(world_of(s)), idle_ns = 0;

	if (n->ended_ns != 0 && now_ns - n->up_ns <= JOURNAL_LAG_NS)
		idle_ns = now_ns - n->ended_ns;
	if (s->hang_begun_ns != 0 && now_ns <= s->hang_ends_ns + JOURNAL_LAG_NS)
		idle_ns = MAX_OF(idle_ns, now_ns - s->hang_begun_ns);
	return JOURNAL_LAG_NS + idle_ns;
}

static void power_cut(struct schedule *s, struct cluster_node *n, uint64_t end_ns)
{
	bool was_clean = cluster_is_synced(n);
	uint64_t lag_ns = journal_lag_ns(s, n);

	end_process(s, n, true);
	if (n->role == CLUSTER_MDS)
		sim_world_note(world_of(s), "its disk %s",
			       was_clean ? "had everything" : "may have lost something");
	if (n->role != CLUSTER_MDS || was_clean)
		return;
	disturb_by(s, n, end_ns);
	oracle_power_cut(s->oracle, lag_ns);
}

static void power_cut_all(struct schedule *s, uint64_t end_ns)
{
	/* Clients first: what they had in memory is lost before the model is rolled back. */
	for (uint32_t i = s->cluster->node_count; i-- > 0;)
		power_cut(s, &s->cluster->nodes[i], end_ns);
}

/* --- beginning
 * -------------------------------------------------------------------------------------- */

static struct cluster_node *any_node(struct schedule *s)
{
	return &s->cluster->nodes[sim_world_below(world_of(s), s->cluster->node_count)];
}

/* Of those with a disk. */
static struct cluster_node *any_server(struct schedule *s)
{
	return &s->cluster->nodes[sim_world_below(world_of(s), 1 + s->cluster->server_count)];
}

static struct cluster_node *any_cs(struct schedule *s)
{
	return cluster_cs(s->cluster,
			  (uint32_t)sim_world_below(world_of(s), s->cluster->server_count));
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

static void cut(struct schedule *s, struct fault *f)
{
	sim_switch_cut(s->cluster->sw, f->node->host, f->other->host);
	if (f->node->role == CLUSTER_MDS && f->other->role == CLUSTER_CLIENT)
		disturb(s, f->other->index, f->end_ns);
	if (f->other->role == CLUSTER_MDS && f->node->role == CLUSTER_CLIENT)
		disturb(s, f->node->index, f->end_ns);
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

	f->side = (uint32_t)sim_world_random(world_of(s));
	cut_sides(s, f, sim_switch_cut);
	for (uint32_t i = 0; i < CLUSTER_CLIENTS; i++) {
		if ((f->side & 1) != (f->side >> (clients + i) & 1))
			disturb(s, i, f->end_ns);
	}
}

static void begin_clock(struct schedule *s, struct cluster_node *n)
{
	uint64_t to = sim_world_below(world_of(s), 2 * (uint64_t)ANY_WALL_NS);

	cluster_set_wall(n, (int64_t)to - ANY_WALL_NS);
}

static void begin_weather(struct schedule *s)
{
	struct sim_world *world = world_of(s);
	struct sim_weather weather = {
		.delay_ns_min = 100 * SIM_US,
		.delay_ns_max = sim_world_between(world, 1, 60) * SIM_MS,
		.break_per_million = (uint32_t)sim_world_below(world, 5000),
		.refuse_per_million = (uint32_t)sim_world_below(world, 300000),
	};

	sim_switch_set_weather(s->cluster->sw, &weather);
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
	s->hang_begun_ns = sim_world_now_ns(world_of(s));
	s->hang_ends_ns = f->end_ns;
}

static void begin_disk(struct schedule *s, const struct fault *f)
{
	struct sim_world *world = world_of(s);
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

/* Somebody else fills the disk, up to the last byte or nearly so. */
static void begin_full(struct schedule *s, const struct fault *f)
{
	uint64_t left = sim_world_chance(world_of(s), SIM_MILLION / 2)
				? 0
				: sim_world_below(world_of(s), MiB(20));

	sim_media_leave(f->node->media[f->disk], left);
	begin_bad_writes(s, f);
	begin_unsynced(s, f);
}

static void lose_disk(struct schedule *s, struct cluster_node *n, uint32_t disk, uint64_t end_ns)
{
	sim_world_note(world_of(s), "%s loses disk %u", n->host, disk);
	power_cut(s, n, end_ns);
	cluster_replace_disk(n, disk);
	s->losses += n->role == CLUSTER_CS;
}

static void begin_drain(struct schedule *s, const struct cluster_node *n)
{
	if (n->number != 0)
		steward_set(s->cluster, n->number, SERVER_DRAINED);
}

static void fault_begin(struct schedule *s, struct fault *f)
{
	struct sim_world *world = world_of(s);
	uint64_t length_ns = f->end_ns - sim_world_now_ns(world);

	sim_world_note(world, "fault %s %s %s for %llu ms", fault_names[f->kind], f->node->host,
		       f->other ? f->other->host : "", (unsigned long long)(length_ns / SIM_MS));
	switch (f->kind) {
	case FAULT_KILL:
		end_process(s, f->node, false);
		break;
	case FAULT_POWER:
		power_cut(s, f->node, f->end_ns);
		break;
	case FAULT_POWER_ALL:
		power_cut_all(s, f->end_ns);
		break;
	case FAULT_CUT:
		cut(s, f);
		break;
	case FAULT_PARTITION:
		begin_partition(s, f);
		break;
	case FAULT_ISOLATE:
		sim_switch_isolate(s->cluster->sw, f->node->host);
		disturb_by(s, f->node, f->end_ns);
		break;
	case FAULT_BREAK:
		sim_switch_break(s->cluster->sw, f->node->host, "*");
		break;
	case FAULT_HANG:
		begin_unsynced(s, f);
		sim_loop_hang(f->node->loop, length_ns);
		disturb_by(s, f->node, f->end_ns);
		break;
	case FAULT_WEATHER:
		begin_weather(s);
		break;
	case FAULT_DRIFT:
		sim_loop_set_drift(f->node->loop, (int64_t)sim_world_below(world, 40001) - 20000);
		break;
	case FAULT_CLOCK:
		begin_clock(s, f->node);
		break;
	case FAULT_DISK:
		begin_disk(s, f);
		break;
	case FAULT_FULL:
		begin_full(s, f);
		break;
	case FAULT_LOSS:
		lose_disk(s, f->node, f->disk, f->end_ns);
		break;
	case FAULT_DEAD:
		sim_media_set_dead(f->node->media[f->disk], true);
		s->losses++;
		break;
	case FAULT_ROT:
		sim_media_rot_some(f->node->media[f->disk], "segments/",
				   (uint32_t)sim_world_between(world, 1, 20));
		s->has_rot = true;
		s->losses++;
		break;
	case FAULT_DRAIN:
		begin_drain(s, f->node);
		break;
	case FAULT_GC:
		steward_gc(s->cluster, 1);
		s->has_quota = !s->has_quota;
		steward_quota(s->cluster, s->has_quota);
		break;
	default:
		break;
	}
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

	return kinds[sim_world_below(world_of(s), ARRAY_COUNT(kinds))];
}

static uint64_t choose_length_ns(struct schedule *s)
{
	struct sim_world *world = world_of(s);

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
	f->disk = (uint32_t)sim_world_below(world_of(s), f->node->disk_count);
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
	if (!SCHEDULE_HEALS && f->kind >= FAULT_LOSS)
		return true;
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
	chosen.end_ns = sim_world_now_ns(world_of(s)) + choose_length_ns(s);
	*f = chosen;
	s->count++;
	fault_begin(s, f);
}

/* --- ending
 * ----------------------------------------------------------------------------------------- */

static void start_all(struct schedule *s)
{
	for (uint32_t i = 0; i < s->cluster->node_count; i++)
		start_process(s, &s->cluster->nodes[i]);
}

/*
 * Reads of a metadata server that could not write its journal go on, and show what the next process
 * will not know: to clients that is what a power cut takes.
 */
static void restart(struct schedule *s, struct cluster_node *n, uint64_t end_ns)
{
	bool is_failed = n->role == CLUSTER_MDS && cluster_mds_is_failed(s->cluster);
	uint64_t lag_ns = journal_lag_ns(s, n);

	end_process(s, n, false);
	if (is_failed) {
		disturb_by(s, n, end_ns);
		oracle_power_cut(s->oracle, lag_ns);
	}
	start_process(s, n);
}

static void fault_end(struct schedule *s, struct fault *f)
{
	struct sim_switch *sw = s->cluster->sw;
	struct sim_weather fair = {.delay_ns_min = 50 * SIM_US, .delay_ns_max = 500 * SIM_US};
	struct sim_media_faults none = {.uncached = 125000};

	sim_world_note(world_of(s), "fault %s %s ends", fault_names[f->kind], f->node->host);
	switch (f->kind) {
	case FAULT_KILL:
	case FAULT_POWER:
		start_process(s, f->node);
		break;
	case FAULT_POWER_ALL:
		start_all(s);
		break;
	case FAULT_CUT:
		sim_switch_uncut(sw, f->node->host, f->other->host);
		break;
	case FAULT_PARTITION:
		cut_sides(s, f, sim_switch_uncut);
		break;
	case FAULT_ISOLATE:
		sim_switch_uncut(sw, f->node->host, "*");
		sim_switch_uncut(sw, "*", f->node->host);
		break;
	case FAULT_WEATHER:
		sim_switch_set_weather(sw, &fair);
		break;
	case FAULT_DRIFT:
		if (f->node->is_up)
			sim_loop_set_drift(f->node->loop, 0);
		break;
	case FAULT_CLOCK:
		cluster_set_wall(f->node, 0);
		break;
	case FAULT_DISK:
		/* A disk that failed stays out until its server is started again. */
		sim_media_set_faults(f->node->media[f->disk], &none);
		restart(s, f->node, f->end_ns);
		break;
	case FAULT_FULL:
		sim_media_leave(f->node->media[f->disk], UINT64_MAX);
		if (f->node->role == CLUSTER_MDS && cluster_mds_lacks_disk(s->cluster))
			restart(s, f->node, f->end_ns);
		break;
	case FAULT_LOSS:
		start_process(s, f->node);
		break;
	case FAULT_DEAD:
		lose_disk(s, f->node, f->disk, f->end_ns);
		s->losses--;
		start_process(s, f->node);
		break;
	case FAULT_DRAIN:
		steward_set(s->cluster, f->node->number, SERVER_UP);
		break;
	default:
		break;
	}
	memset(f, 0, sizeof(*f));
}

/* --- the schedule
 * ----------------------------------------------------------------------------------- */

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
	uint64_t now_ns = sim_world_now_ns(world_of(s));

	for (uint32_t i = 0; i < SCHEDULE_FAULTS; i++) {
		if (s->faults[i].kind != FAULT_NONE && now_ns >= s->faults[i].end_ns)
			fault_end(s, &s->faults[i]);
	}
	if (now_ns < s->next_ns)
		return;
	if (s->next_ns != 0)
		choose(s);
	s->next_ns = now_ns + sim_world_between(world_of(s), 20, s->calm_ms) * SIM_MS;
}

void schedule_heal(struct schedule *s)
{
	sim_world_note(world_of(s), "healing");
	for (uint32_t i = 0; i < SCHEDULE_FAULTS; i++) {
		if (s->faults[i].kind != FAULT_NONE)
			fault_end(s, &s->faults[i]);
	}
	sim_switch_heal(s->cluster->sw);
	start_all(s);
	s->next_ns = 0;
}

void schedule_is_whole(struct schedule *s)
{
	s->losses = 0;
	s->has_rot = false;
}

void schedule_lose(struct schedule *s)
{
	uint32_t first = (uint32_t)sim_world_below(world_of(s), s->cluster->server_count),
		 count = 0;

	for (uint32_t i = 0; count < CLUSTER_COPIES - 1; i++) {
		struct cluster_node *n =
			cluster_cs(s->cluster, (first + i) % s->cluster->server_count);
		if (n->is_absent)
			continue;
		/* All disks: a replica is a server. */
		for (uint32_t disk = 0; disk < n->disk_count; disk++)
			lose_disk(s, n, disk, 0);
		start_process(s, n);
		count++;
	}
}

struct cluster_node *schedule_newcomer(struct schedule *s)
{
	for (uint32_t i = 0; i < s->cluster->server_count; i++) {
		struct cluster_node *n = cluster_cs(s->cluster, i);
		if (!n->is_absent || n->number != 0)
			continue;
		sim_world_note(world_of(s), "%s is new", n->host);
		n->is_absent = false;
		start_process(s, n);
		return n;
	}
	return NULL;
}

void schedule_remove(struct schedule *s, struct cluster_node *n)
{
	n->is_absent = true;
	end_process(s, n, false);
}

void schedule_power_cycle(struct schedule *s)
{
	power_cut_all(s, sim_world_now_ns(world_of(s)));
	start_all(s);
}
