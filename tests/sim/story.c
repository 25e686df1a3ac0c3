/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The phases of a run. Everything here happens between two steps of the world.
 */
#include "tests/sim/story.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/redundancy.h"
#include "tests/sim/schedule.h"
#include "tests/sim/steward.h"

#define ROUNDS	      3u
#define TICK_NS	      (5 * SIM_MS)
/* of a deadline: it is looked at now and then, a process may hang */
#define SLACK_NS      (2 * SIM_S)
#define HEAL_NS	      (60 * SIM_S)  /* until all is well again */
#define WHOLE_NS      (120 * SIM_S) /* and until every block has all its copies */
#define CLEAN_NS      (120 * SIM_S) /* until nothing is kept that nothing names */
#define ASK_NS	      (500 * SIM_MS)
#define STOP_NS	      (60 * SIM_S)
#define CONTENT_BYTES (44000u * ORACLE_CELLS_MAX)

struct story {
	struct cluster cluster;
	struct oracle oracle;
	struct client_load loads[CLUSTER_CLIENTS];
	struct schedule schedule;
	inode_no directories[ORACLE_DIRECTORIES];
	bool collects; /* garbage collection is asked for again and again, whatever else happens */
	uint64_t collect_ns;
	uint8_t *bytes;
	uint64_t len;
	uint64_t collections, copies;
};

/* --- one operation at a time, outside of the load --------------------------------------------- */

struct call {
	struct cl_op op;
	struct story *story;
	bool is_done;
};

static void call_done(struct cl_op *op)
{
	struct call *call = container_of(op, struct call, op);
	struct story *s = call->story;

	s->len = 0;
	for (uint32_t i = 0; op->kind == CL_READ && op->rc == 0 && i < op->iov_count; i++) {
		memcpy(s->bytes + s->len, op->iov[i].iov_base, op->iov[i].iov_len);
		s->len += op->iov[i].iov_len;
	}
	call->is_done = true;
}

static bool is_call_done(void *arg)
{
	return ((const struct call *)arg)->is_done;
}

static int run_call(struct story *s, uint32_t client, struct call *call)
{
	call->story = s;
	call->is_done = false;
	call->op.done = call_done;
	client_submit(cluster_client(&s->cluster, client)->client, &call->op);
	if (!sim_world_run_until(s->cluster.world, is_call_done, call,
				 CLUSTER_TIMEOUT_MS * SIM_MS + SLACK_NS))
		oracle_fail(&s->oracle, "client%u: operation %d never ends", client + 1,
			    (int)call->op.kind);
	return call->op.rc;
}

static inode_no make_directory(struct story *s, const char *name)
{
	struct call call = {.op = {.kind = CL_MAKE,
				   .parent = INODE_ROOT,
				   .name = name,
				   .mode = S_IFDIR | 0755}};
	int rc = run_call(s, 0, &call);

	if (rc < 0)
		oracle_fail(&s->oracle, "cannot make '%s': %s", name, error_text(rc));
	return call.op.attr.st.st_ino;
}

/* --- the reckoning ---------------------------------------------------------------------------- */

static inode_no read_name(struct story *s, uint32_t client, uint32_t slot, bool *is_directory)
{
	char name[8];

	(void)snprintf(name, sizeof(name), "n%u", slot % ORACLE_NAMES);
	struct call call = {.op = {.kind = CL_LOOKUP,
				   .name = name,
				   .parent = s->directories[slot / ORACLE_NAMES]}};
	int rc = run_call(s, client, &call);
	if (rc == -E_NOENT)
		return 0;
	if (rc < 0)
		oracle_fail(&s->oracle, "client%u cannot look up slot %u after healing: %s",
			    client + 1, slot, error_text(rc));
	*is_directory = S_ISDIR(call.op.attr.st.st_mode);
	struct call forget = {
		.op = {.kind = CL_FORGET, .ino = call.op.attr.st.st_ino, .lookups = 1}};
	(void)run_call(s, client, &forget);
	return call.op.attr.st.st_ino;
}

static void must(struct story *s, uint32_t client, uint16_t node, const char *what, int rc)
{
	if (rc < 0)
		oracle_fail(&s->oracle, "client%u cannot %s node %u (inode %llu) after healing: %s",
			    client + 1, what, node, (unsigned long long)s->oracle.nodes[node]->ino,
			    error_text(rc));
}

/* Nobody knows what to expect of it: begin anew. */
static void empty_content(struct story *s, uint32_t client, uint16_t node)
{
	struct call call = {.op = {.kind = CL_SETATTR,
				   .ino = s->oracle.nodes[node]->ino,
				   .set_mask = CL_SET_SIZE}};

	must(s, client, node, "truncate", run_call(s, client, &call));
}

static void read_content(struct story *s, uint32_t client, uint16_t node)
{
	uint16_t values[POSSIBLE_VALUES];
	struct call open = {
		.op = {.kind = CL_OPEN, .ino = s->oracle.nodes[node]->ino, .flags = O_RDONLY}};

	if (s->oracle.nodes[node]->content.is_blurred)
		empty_content(s, client, node);
	must(s, client, node, "open", run_call(s, client, &open));
	struct call read = {
		.op = {.kind = CL_READ, .handle = open.op.opened, .length = CONTENT_BYTES}};
	must(s, client, node, "read", run_call(s, client, &read));
	oracle_content_decode(&s->oracle, node, s->bytes, s->len, values);
	oracle_settle_content(&s->oracle, node, values);
	struct call release = {.op = {.kind = CL_RELEASE, .handle = open.op.opened}};
	must(s, client, node, "close", run_call(s, client, &release));
}

/* Everything as one client reads it, when nothing else is going on. */
static void read_all(struct story *s, uint32_t client)
{
	inode_no inos[ORACLE_SLOTS];
	bool is_directory[ORACLE_SLOTS] = {false};

	for (uint32_t i = 0; i < ORACLE_SLOTS; i++)
		inos[i] = read_name(s, client, i, &is_directory[i]);
	oracle_settle_names(&s->oracle, inos, is_directory);
	for (uint32_t i = 0; i < ORACLE_SLOTS; i++) {
		if (inos[i] != 0 && !is_directory[i])
			read_content(s, client, oracle_node_find(&s->oracle, inos[i]));
	}
}

/* Liveness: soon the status says so; safety: then it is so. */
static void get_whole(struct story *s)
{
	uint64_t end_ns = sim_world_now_ns(s->cluster.world) + WHOLE_NS;
	struct redundancy found;
	struct steward_status status;

	while (steward_ask(&s->cluster, &status), !status.is_healthy) {
		if (sim_world_now_ns(s->cluster.world) > end_ns)
			oracle_fail(&s->oracle,
				    "no health: %u groups clean, %u degraded, %u lost, %llu owed, "
				    "%llu to heal; servers%s",
				    status.pgs_clean, status.pgs_degraded, status.pgs_lost,
				    (unsigned long long)status.owed,
				    (unsigned long long)status.heal_pending, status.servers);
		if (!status.gc_runs && status.owed > 0)
			steward_gc(&s->cluster, 1); /* debts of garbage go with it */
		sim_world_run_for(s->cluster.world, ASK_NS);
	}
	redundancy_check(&s->cluster, &found);
	sim_world_note(s->cluster.world, "whole: %llu blocks, %llu copies; %llu garbage",
		       (unsigned long long)found.blocks, (unsigned long long)found.copies,
		       (unsigned long long)found.garbage);
	if (found.why[0] != '\0')
		oracle_fail(&s->oracle, "not whole: %s", found.why);
	s->collections = status.collection;
	s->copies += found.copies;
	schedule_is_whole(&s->schedule);
}

/* Collection asked for now leaves nothing behind, and takes nothing that is named. */
static void get_clean(struct story *s)
{
	uint64_t end_ns = sim_world_now_ns(s->cluster.world) + CLEAN_NS;
	struct redundancy found = {.garbage = 1};
	struct steward_status status = {0};

	while (found.garbage + found.trash > 0) {
		if (sim_world_now_ns(s->cluster.world) > end_ns)
			oracle_fail(
				&s->oracle,
				"%llu blocks of garbage and %llu in trash stay; %llu cycles, %llu "
				"failed: %s",
				(unsigned long long)found.garbage, (unsigned long long)found.trash,
				(unsigned long long)status.gc_cycles,
				(unsigned long long)status.gc_failed, status.gc_text);
		steward_gc(&s->cluster, 1);
		do {
			sim_world_run_for(s->cluster.world, ASK_NS);
			steward_ask(&s->cluster, &status);
		} while (status.gc_runs && sim_world_now_ns(s->cluster.world) < end_ns);
		sim_world_run_for(s->cluster.world, SIM_S);
		redundancy_check(&s->cluster, &found);
		if (found.why[0] != '\0')
			oracle_fail(&s->oracle, "not whole after collection: %s", found.why);
	}
	sim_world_note(s->cluster.world, "clean: %llu cycles, %llu failed",
		       (unsigned long long)status.gc_cycles, (unsigned long long)status.gc_failed);
}

/* Drained, a server is needed by no group, and may be removed. */
static void remove_server(struct story *s)
{
	uint32_t index = (uint32_t)sim_world_below(s->cluster.world, s->cluster.server_count);
	struct cluster_node *n = cluster_cs(&s->cluster, index);
	struct steward_status status;

	if (n->is_absent || schedule_servers(&s->schedule) <= CLUSTER_COPIES)
		return;
	steward_set(&s->cluster, n->number, SERVER_DRAINED);
	sim_world_run_for(s->cluster.world, SIM_S);
	get_whole(s);
	steward_set(&s->cluster, n->number, SERVER_REMOVED);
	sim_world_run_for(s->cluster.world, SIM_S);
	steward_ask(&s->cluster, &status);
	if (status.states[n->number] != SERVER_REMOVED)
		oracle_fail(&s->oracle, "%s is drained, and cannot be removed", n->host);
	schedule_remove(&s->schedule, n);
}

/* What an administrator does now and then, when all is well. */
static void administer(struct story *s)
{
	if (sim_world_chance(s->cluster.world, SIM_MILLION / 3))
		(void)schedule_newcomer(&s->schedule);
	else if (sim_world_chance(s->cluster.world, SIM_MILLION / 3))
		remove_server(s);
}

static void reckon(struct story *s)
{
	uint32_t first = (uint32_t)sim_world_below(s->cluster.world, CLUSTER_CLIENTS);

	sim_world_note(s->cluster.world, "reckoning");
	read_all(s, first);
	read_all(s, (first + 1) % CLUSTER_CLIENTS);
	oracle_settled(&s->oracle);
	/* Truncating and closing leave something to do; rot is found by the next whole scrub. */
	sim_world_run_for(s->cluster.world,
			  (s->schedule.has_rot ? 3 * CLUSTER_SCRUB_MS : 1000) * SIM_MS);
	get_whole(s);
	if (sim_world_chance(s->cluster.world, SIM_MILLION / 2))
		get_clean(s);
}

/* --- living ----------------------------------------------------------------------------------- */

static void check_deadlines(struct story *s)
{
	uint64_t now_ns = sim_world_now_ns(s->cluster.world);

	for (uint32_t i = 0; i < CLUSTER_CLIENTS; i++) {
		const struct load_lane *lane = client_load_oldest(&s->loads[i]);
		/* Who waits for a lock waits as long as another has it. */
		if (lane == NULL || (lane->op.kind == CL_SETLK && lane->op.lock.waits) ||
		    now_ns < lane->busy_ns + CLUSTER_TIMEOUT_MS * SIM_MS +
						     SLACK_NS + SCHEDULE_HANG_NS_MAX)
			continue;
		oracle_fail(&s->oracle,
			    "client%u: operation %d of %.3f s is past its deadline, waiting for %s",
			    i + 1, (int)lane->op.kind, (double)lane->busy_ns / 1e9,
			    lane->op.waiting_for ? lane->op.waiting_for : "nothing");
	}
}

static void collect(struct story *s)
{
	struct sim_world *world = s->cluster.world;

	if (!s->collects || sim_world_now_ns(world) < s->collect_ns)
		return;
	s->collect_ns = sim_world_now_ns(world) + sim_world_between(world, 100, 1500) * SIM_MS;
	steward_gc(&s->cluster, 1);
}

static void tick(struct story *s)
{
	collect(s);
	sim_world_run_for(s->cluster.world, TICK_NS);
	const char *why = cluster_conflict(&s->cluster);
	if (why != NULL)
		oracle_fail(&s->oracle, "%s", why);
	check_deadlines(s);
	for (uint32_t i = 0; i < CLUSTER_CLIENTS; i++)
		client_load_tick(&s->loads[i]);
}

static void pause_loads(struct story *s, bool is_paused)
{
	for (uint32_t i = 0; i < CLUSTER_CLIENTS; i++)
		s->loads[i].is_paused = is_paused;
}

static bool is_quiet(struct story *s)
{
	for (uint32_t i = 0; i < CLUSTER_CLIENTS; i++) {
		if (!client_load_is_idle(&s->loads[i]))
			return false;
	}
	return cluster_is_well(&s->cluster);
}

/* Who is it that is not well? */
static void name_the_sick(struct story *s)
{
	for (uint32_t i = 0; i < CLUSTER_CLIENTS; i++) {
		const struct load_lane *lane = client_load_oldest(&s->loads[i]);
		if (lane != NULL)
			printf("\n  client%u: operation %d of %.3f s waits for %s", i + 1,
			       (int)lane->op.kind, (double)(lane->busy_ns - SIM_BEGIN_NS) / 1e9,
			       lane->op.waiting_for ? lane->op.waiting_for : "nothing");
	}
	for (uint32_t i = 0; i < s->cluster.node_count; i++) {
		const char *why = cluster_why_unwell(&s->cluster.nodes[i]);
		if (why != NULL)
			printf("\n  %s: %s", s->cluster.nodes[i].host, why);
	}
	printf("\n");
}

/* All scripts end, and all is well: soon. */
static void calm_down(struct story *s)
{
	uint64_t end_ns = sim_world_now_ns(s->cluster.world) + HEAL_NS;

	pause_loads(s, true);
	while (!is_quiet(s)) {
		if (sim_world_now_ns(s->cluster.world) > end_ns) {
			name_the_sick(s);
			oracle_fail(&s->oracle, "after healing the cluster does not get well");
		}
		tick(s);
	}
	/* What died sessions left unsaid has been said, or will never be. */
	sim_world_run_for(s->cluster.world, 2 * CLUSTER_LEASE_MS * SIM_MS);
}

static void live(struct story *s, uint64_t ns, bool has_faults)
{
	uint64_t end_ns = sim_world_now_ns(s->cluster.world) + ns;

	pause_loads(s, false);
	while (sim_world_now_ns(s->cluster.world) < end_ns && !oracle_is_full(&s->oracle)) {
		tick(s);
		if (has_faults)
			schedule_tick(&s->schedule);
	}
}

/* --- beginning and end ------------------------------------------------------------------------ */

static void begin(struct story *s, uint64_t seed, bool is_verbose)
{
	static const char *const names[ORACLE_DIRECTORIES - 1] = {"d1", "d2"};

	cluster_create(&s->cluster, seed);
	sim_world_set_verbose(s->cluster.world, is_verbose);
	oracle_init(&s->oracle, s->cluster.world);
	for (uint32_t i = 0; i < CLUSTER_CLIENTS; i++)
		client_load_init(&s->loads[i], cluster_client(&s->cluster, i), &s->oracle,
				 s->directories);
	schedule_init(&s->schedule, &s->cluster, &s->oracle, s->loads);
	s->bytes = malloc(CONTENT_BYTES);
	ASSERT(s->bytes != NULL);
	schedule_heal(&s->schedule); /* starts the clients */
	if (!sim_world_run_until(s->cluster.world, cluster_is_well, &s->cluster, HEAL_NS))
		oracle_fail(&s->oracle, "the cluster does not start");
	s->directories[0] = INODE_ROOT;
	for (uint32_t i = 1; i < ORACLE_DIRECTORIES; i++)
		s->directories[i] = make_directory(s, names[i - 1]);
	struct call sync = {.op = {.kind = CL_SYNCFS}};
	if (run_call(s, 0, &sync) < 0)
		oracle_fail(&s->oracle, "cannot sync");
}

static void stop_all(struct story *s)
{
	for (uint32_t i = s->cluster.node_count; i-- > 0;) {
		if (!cluster_stop(&s->cluster.nodes[i], STOP_NS))
			oracle_fail(&s->oracle, "%s does not stop", s->cluster.nodes[i].host);
	}
}

static void end(struct story *s)
{
	stop_all(s);
	const char *why = cluster_replay_differs(&s->cluster);
	if (why == NULL)
		why = cluster_copies_differ(&s->cluster);
	if (why != NULL)
		oracle_fail(&s->oracle, "%s", why);
	schedule_heal(&s->schedule);
	calm_down(s);
	reckon(s);
}

static void finish(struct story *s)
{
	cluster_destroy(&s->cluster);
	for (uint32_t i = 0; i < CLUSTER_CLIENTS; i++)
		client_load_finish(&s->loads[i]);
	free(s->bytes);
}

void story_run(uint64_t seed, bool is_verbose, struct story_verdict *out)
{
	struct story *s = calloc(1, sizeof(*s));

	ASSERT(s != NULL);
	begin(s, seed, is_verbose);
	s->collects = sim_world_chance(s->cluster.world, SIM_MILLION / 2);
	for (uint32_t i = 0; i < ROUNDS; i++) {
		live(s, sim_world_between(s->cluster.world, 2, 8) * SIM_S, true);
		schedule_heal(&s->schedule);
		if (sim_world_chance(s->cluster.world, SIM_MILLION / 4))
			schedule_power_cycle(&s->schedule);
		calm_down(s);
		reckon(s);
		administer(s);
		live(s, 500 * SIM_MS, false);
	}
	calm_down(s);
	reckon(s);
	if (sim_world_chance(s->cluster.world, SIM_MILLION / 3)) {
		schedule_lose(&s->schedule);
		calm_down(s);
		reckon(s);
	}
	end(s);
	*out = (struct story_verdict){
		.trace = sim_world_trace(s->cluster.world),
		.steps = sim_world_step_count(s->cluster.world),
		.virtual_ms = sim_world_now_ns(s->cluster.world) / SIM_MS - 3600000,
		.calls = s->oracle.calls,
		.doubts = s->oracle.doubts,
		.faults = s->schedule.count,
		.blurs = s->oracle.blurs,
		.collections = s->collections,
		.copies = s->copies,
	};
	oracle_finish(&s->oracle);
	finish(s);
	free(s);
}
