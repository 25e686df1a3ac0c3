/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The processes of a simulated cluster: how each is built from loop, net, pool, disk and rows, and
 * how it ends. The order of destruction is that of tests/sim/README.md.
 */
#include "tests/sim/cluster.h"

#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "chunk-server/format.h"
#include "chunk-server/serve.h"
#include "client/core/locks_internal.h"
#include "client/core/node.h"
#include "client/tier/tier.h"
#include "metadata-server/format.h"
#include "metadata-server/recover.h"
#include "metadata-server/rescue.h"
#include "metadata-server/serve_internal.h"
#include "tests/sim/steward.h"

#define MEDIA_BYTES	   GiB(4)
#define TIER_BYTES	   MiB(2)
#define JOURNAL_FILE_BYTES MiB(1) /* small, so that a run sees several */
#define SNAPSHOT_BYTES	   KiB(256)
#define NAME_KEY	   42u
#define MDS_ADDRESS	   "mds:7800"

static char sentence[ERROR_TEXT_BYTES + 64]; /* what the last failing call said */

struct cluster_node *cluster_mds(struct cluster *c)
{
	return &c->nodes[0];
}

struct cluster_node *cluster_cs(struct cluster *c, uint32_t index)
{
	ASSERT(index < c->server_count);
	return &c->nodes[1 + index];
}

struct cluster_node *cluster_client(struct cluster *c, uint32_t index)
{
	ASSERT(index < CLUSTER_CLIENTS);
	return &c->nodes[1 + c->server_count + index];
}

/* --- disks ------------------------------------------------------------------------------------ */

static struct ms_config config(const struct cluster *c)
{
	return (struct ms_config){
		.lease_ms = CLUSTER_LEASE_MS,
		.suspect_ms = 1500,
		.down_ms = 3000,
		.out_ms = c->out_ms,
		.copies = CLUSTER_COPIES,
		.min_copies = CLUSTER_MIN_COPIES,
		.inline_bytes_max = INLINE_BYTES_MAX,
		.leases_max_per_session = 10000,
		.parked_max = 1000,
		.sessions_max = 100,
		.name_key = NAME_KEY,
	};
}

static struct super super_of(struct cluster_node *n)
{
	struct super super = {
		.role = n->role == CLUSTER_MDS ? SUPER_METADATA : SUPER_CHUNK,
		.hash = HASH_SHA256,
		.copies = CLUSTER_COPIES,
		.min_copies = CLUSTER_MIN_COPIES,
	};

	memset(super.cluster, 7, sizeof(super.cluster));
	memset(super.directory, ++n->cluster->disk_uuid_last, sizeof(super.directory));
	if (n->role == CLUSTER_MDS)
		super.name_key = NAME_KEY;
	else
		memset(super.server, 1 + (int)n->index, sizeof(super.server));
	return super;
}

static void make_medium(struct cluster_node *n, uint32_t index)
{
	ASSERT(sim_media_create(n->cluster->world, MEDIA_BYTES, &n->media[index]) == 0);
}

static void format_mds(struct cluster_node *n)
{
	struct ms_format_options options = {
		.super = super_of(n), .config = config(n->cluster), .wall_ns = 1};
	struct disk *disks[CLUSTER_DISKS];
	struct error err = {0};

	for (uint32_t i = 0; i < n->disk_count; i++)
		ASSERT(sim_disk_create(n->media[i], &disks[i]) == 0);
	ASSERT(ms_format(disks, n->disk_count, &options, &err) == 0);
	for (uint32_t i = 0; i < n->disk_count; i++)
		disk_destroy(disks[i]);
}

static void format_cs(struct cluster_node *n, uint32_t index)
{
	struct super super = super_of(n);
	struct error err = {0};
	struct disk *disk;

	ASSERT(sim_disk_create(n->media[index], &disk) == 0);
	ASSERT(cs_format(disk, &super, &err) == 0);
	disk_destroy(disk);
}

static void make_disks(struct cluster_node *n)
{
	for (uint32_t i = 0; i < n->disk_count; i++) {
		make_medium(n, i);
		if (n->role == CLUSTER_CS)
			format_cs(n, i);
	}
	if (n->role == CLUSTER_MDS)
		format_mds(n);
}

void cluster_replace_disk(struct cluster_node *n, uint32_t disk)
{
	ASSERT(!n->is_up && disk < n->disk_count);
	n->was_closed = false;
	sim_media_destroy(n->media[disk]);
	make_medium(n, disk);
	if (n->role == CLUSTER_MDS)
		return; /* brings an empty directory up by itself */
	if (n->rows[disk] != NULL)
		rows_destroy(n->rows[disk]);
	n->rows[disk] = NULL;
	/* What it owed to others was noted on its first disk. */
	if (disk == 0 && n->owed != NULL)
		rows_destroy(n->owed);
	if (disk == 0)
		n->owed = NULL;
	format_cs(n, disk);
}

bool cluster_is_synced(const struct cluster_node *n)
{
	for (uint32_t i = 0; i < n->disk_count; i++) {
		if (!sim_media_is_clean(n->media[i]))
			return false;
	}
	return true;
}

/* --- processes -------------------------------------------------------------------------------- */

static int start_mds(struct cluster_node *n, struct error *err)
{
	if (n->rows[0] == NULL)
		ASSERT(rows_mem_create(&n->rows[0]) == 0);
	struct ms_server_options options = {
		.loop = n->loop,
		.net = n->net,
		.pool = n->pool,
		.disks = n->disks,
		.disk_count = n->disk_count,
		.rows = n->rows[0],
		.listen = MDS_ADDRESS,
		.name = n->host,
		.config = config(n->cluster),
		.boot_id = sim_world_random(n->cluster->world) | 1,
		.journal_file_bytes_max = JOURNAL_FILE_BYTES,
		.snapshot_bytes = SNAPSHOT_BYTES,
		.heartbeat_ms = 300,
		.gc_ms = CLUSTER_GC_MS,
		.gc_grace_ms = CLUSTER_GRACE_MS,
		.metadata_copies = 2,
		.aim = CODEC_AIM_FAST,
	};
	return ms_server_create(&options, &n->ms, err);
}

static int start_cs(struct cluster_node *n, struct error *err)
{
	char listen[32];

	if (n->owed == NULL)
		ASSERT(rows_mem_create(&n->owed) == 0);
	(void)snprintf(listen, sizeof(listen), "%s:7801", n->host);
	struct cs_server_options options = {
		.loop = n->loop,
		.net = n->net,
		.pool = n->pool,
		.disk_count = n->disk_count,
		.owed = n->owed,
		.listen = listen,
		.mds = MDS_ADDRESS,
		.name = n->host,
		.host = n->host,
		.segment_bytes = MiB(4),
		.boot_id = sim_world_random(n->cluster->world) | 1,
		.sync_ms = 100,
		.sync_bytes = MiB(1),
		.full_percent = 95,
		.scrub_period_ms = CLUSTER_SCRUB_MS,
		.cold_after_ms = CLUSTER_COLD_MS,
		.tier_high_percent = 60,
		.reencode = true,
	};
	for (uint32_t i = 0; i < n->disk_count; i++) {
		/* An index is trusted if it was kept (I15); what it lacks is found by the store. */
		bool is_trusted = n->rows[i] != NULL;
		if (!is_trusted)
			ASSERT(rows_mem_create(&n->rows[i]) == 0);
		options.disks[i] = (struct cs_server_disk){.disk = n->disks[i],
							   .index = n->rows[i],
							   .index_is_trusted = is_trusted,
							   .was_closed = n->was_closed};
		/* Every kind is somewhere; where there are two disks, most are of two tiers. */
		options.disks[i].media.kind = (n->index * 3 + i * 5) % MEDIA_COUNT;
		options.disks[i].tier = media_profile(options.disks[i].media.kind)->rank;
	}
	return cs_server_create(&options, &n->cs, err);
}

static void client_started(void *arg, int rc, const char *why)
{
	struct cluster_node *n = arg;

	n->client_rc = rc;
	sim_world_note(n->cluster->world, "%s has begun: %s %s", n->host,
		       rc < 0 ? error_text(rc) : "done", why);
}

/* Small, so that eviction is daily; of a disk that fails at times, for some. */
static int start_tiers(struct cluster_node *n)
{
	const struct sim_media_faults faults = {
		.read_eio = 20000, .write_eio = 10000, .sync_eio = 20000, .write_nospc = 10000 };
	struct tier_place place = { .directory = "", .disk = n->disks[0],
				    .bytes_max = TIER_BYTES };
	struct tiers_options options = { .loop = n->loop, .places = &place, .place_count = 1,
					 .boot_id = n->boots + 1, .scrub_bytes_per_s = KiB(64) };

	if (n->disk_count == 0)
		return 0;
	if (sim_world_chance(n->cluster->world, SIM_MILLION / 3))
		sim_media_set_faults(n->media[0], &faults);
	int rc = tiers_create(&options, &n->tiers);
	if (rc == 0)
		tiers_start(n->tiers);
	return rc;
}

static int start_client(struct cluster_node *n)
{
	int rc = start_tiers(n);

	if (rc < 0)
		return rc;
	struct cl_options options = {
		.loop = n->loop,
		.net = n->net,
		.pool = n->pool,
		.mds_address = MDS_ADDRESS,
		.node_name = n->host,
		.timeout_ms = CLUSTER_TIMEOUT_MS,
		.memory_bytes = MiB(8),
		.flush_ms = 500,
		.seal_ms = 200,
		.seal_min_bytes = 1,
		.blocks_in_flight = 8,
		.codec = CODEC_AIM_FAST,
		.tiers = n->tiers,
		.tier_min_bytes = KiB(48),
	};
	rc = client_create(&options, &n->client);

	if (rc < 0)
		return rc;
	n->client_rc = 1;
	client_start(n->client, client_started, n);
	return 0;
}

const char *cluster_start(struct cluster_node *n)
{
	struct sim_world *world = n->cluster->world;
	struct error err = {0};
	int rc;

	ASSERT(!n->is_up);
	ASSERT(sim_loop_create(world, n->host, &n->loop) == 0);
	sim_loop_set_wall(n->loop, n->wall_offset_ns);
	n->pool = buf_pool_create(MiB(64));
	ASSERT(n->pool != NULL);
	ASSERT(sim_net_create(n->cluster->sw, n->loop, n->pool, n->host, &n->net) == 0);
	for (uint32_t i = 0; i < n->disk_count; i++)
		ASSERT(sim_disk_create(n->media[i], &n->disks[i]) == 0);
	n->is_up = true;
	n->up_ns = sim_world_now_ns(world);
	n->cluster->starts++;
	sim_world_note(world, "%s starts%s", n->host, n->rows[0] != NULL ? " with its rows" : "");
	if (n->role == CLUSTER_MDS)
		rc = start_mds(n, &err);
	else if (n->role == CLUSTER_CS)
		rc = start_cs(n, &err);
	else
		rc = start_client(n);
	n->was_closed = false;
	if (rc >= 0)
		return NULL;
	(void)snprintf(sentence, sizeof(sentence), "%s cannot start: %s: %s", n->host, err.text,
		       error_text(rc));
	return sentence;
}

static void drop_rows(struct cluster_node *n)
{
	for (uint32_t i = 0; i < n->disk_count; i++) {
		if (n->rows[i] != NULL)
			rows_destroy(n->rows[i]);
		n->rows[i] = NULL;
	}
	if (n->owed != NULL)
		rows_destroy(n->owed);
	n->owed = NULL;
}

/* After its loop, net and medium were told how it ended. */
static void free_process(struct cluster_node *n)
{
	ms_server_destroy(n->ms);
	cs_server_destroy(n->cs);
	n->ms = NULL;
	n->cs = NULL;
	n->net->ops->destroy(n->net);
	sim_loop_destroy(
		n->loop); /* works that outlived their owner end here, and may use a disk */
	n->loop = NULL;
	for (uint32_t i = 0; i < n->disk_count; i++) {
		disk_destroy(n->disks[i]);
		n->disks[i] = NULL;
	}
	ASSERT(buf_pool_used_bytes(n->pool) == 0);
	buf_pool_destroy(n->pool);
	n->is_up = false;
}

static void end_process(struct cluster_node *n, bool is_power_cut)
{
	n->ended_ns = sim_world_now_ns(n->cluster->world);
	sim_net_kill(n->net, is_power_cut);
	client_destroy(n->client); /* it reaches nobody any more */
	n->client = NULL;
	sim_loop_kill(n->loop);
	tiers_destroy(n->tiers);
	n->tiers = NULL;
	n->boots += is_power_cut;
	for (uint32_t i = 0; i < n->disk_count; i++) {
		if (is_power_cut)
			sim_media_power_cut(n->media[i]);
		else
			sim_media_crash(n->media[i]);
	}
	free_process(n);
}

void cluster_kill(struct cluster_node *n, bool is_power_cut)
{
	if (!n->is_up)
		return;
	sim_world_note(n->cluster->world, "%s %s", n->host,
		       is_power_cut ? "loses power" : "is killed");
	end_process(n, is_power_cut);
	/* I15: a view survives the process, never the system; and it may always be discarded. */
	bool is_kept = !is_power_cut && sim_world_chance(n->cluster->world, SIM_MILLION / 2);
	for (uint32_t i = 0; is_kept && i < n->disk_count; i++) {
		if (n->rows[i] != NULL)
			rows_abort(n->rows[i]);
	}
	if (is_kept && n->owed != NULL)
		rows_abort(n->owed);
	if (!is_kept)
		drop_rows(n);
}

static void ms_stopped(void *arg)
{
	*(int *)arg = 0;
}

static void stopped(void *arg, int rc)
{
	*(int *)arg = rc;
}

static bool is_stopped(void *arg)
{
	return *(int *)arg <= 0;
}

bool cluster_stop(struct cluster_node *n, uint64_t ns_max)
{
	int rc = 1;

	if (!n->is_up)
		return true;
	sim_world_note(n->cluster->world, "%s stops", n->host);
	if (n->role == CLUSTER_MDS)
		ms_server_stop(n->ms, ms_stopped, &rc);
	else if (n->role == CLUSTER_CS)
		cs_server_stop(n->cs, stopped, &rc);
	else
		client_stop(n->client, stopped, &rc);
	bool is_ended = sim_world_run_until(n->cluster->world, is_stopped, &rc, ns_max);
	if (is_ended && n->tiers) {
		int tiers_rc = 1;
		tiers_stop(n->tiers, ms_stopped, &tiers_rc);
		is_ended = sim_world_run_until(n->cluster->world, is_stopped, &tiers_rc, ns_max);
	}
	/* Of a disk that was left out nothing is known to be durable. */
	bool is_whole = true;
	for (uint32_t i = 0; n->role == CLUSTER_CS && i < n->disk_count; i++)
		is_whole = is_whole && cs_server_uses(n->cs, n->disks[i]);
	end_process(n, false);
	n->was_closed = is_ended && rc == 0 && is_whole;
	if (!n->was_closed)
		drop_rows(n);
	return is_ended;
}

/* --- the whole -------------------------------------------------------------------------------- */

static void name_node(struct cluster *c, uint32_t i)
{
	struct cluster_node *n = &c->nodes[i];

	n->cluster = c;
	if (i == 0) {
		n->role = CLUSTER_MDS;
		n->disk_count = (uint32_t)sim_world_between(c->world, 1, CLUSTER_DISKS);
		(void)snprintf(n->host, sizeof(n->host), "mds");
	} else if (i <= c->server_count) {
		n->role = CLUSTER_CS;
		n->index = i - 1;
		n->disk_count = (uint32_t)sim_world_between(c->world, 1, CLUSTER_DISKS);
		(void)snprintf(n->host, sizeof(n->host), "cs%u", (n->index + 1) % 100);
	} else {
		n->role = CLUSTER_CLIENT;
		n->index = i - 1 - c->server_count;
		/* two of three have a tier */
		n->disk_count = sim_world_chance(c->world, SIM_MILLION / 3) ? 0 : 1;
		(void)snprintf(n->host, sizeof(n->host), "client%u", (n->index + 1) % 100);
	}
}

/* Half of all clusters give a silent server up while the run lasts. */
static void choose_shape(struct cluster *c)
{
	c->server_count = (uint32_t)sim_world_between(c->world, CLUSTER_COPIES, CLUSTER_SERVERS);
	c->node_count = 1 + c->server_count + CLUSTER_CLIENTS;
	c->out_ms = sim_world_chance(c->world, SIM_MILLION / 2) ? 3600000 : 4500;
}

void cluster_create(struct cluster *c, uint64_t seed)
{
	memset(c, 0, sizeof(*c));
	ASSERT(sim_world_create(seed, &c->world) == 0);
	ASSERT(sim_switch_create(c->world, &c->sw) == 0);
	choose_shape(c);
	for (uint32_t i = 0; i < c->node_count; i++) {
		struct cluster_node *n = &c->nodes[i];
		name_node(c, i);
		make_disks(n);
		/* A server beyond those that copies need may come later. */
		if (n->role == CLUSTER_CS && n->index >= CLUSTER_COPIES)
			n->is_absent = sim_world_chance(c->world, SIM_MILLION / 3);
		if (n->role == CLUSTER_CLIENT || n->is_absent)
			continue;
		const char *why = cluster_start(n);
		ASSERT(why == NULL);
	}
	steward_create(c);
}

void cluster_destroy(struct cluster *c)
{
	steward_destroy(c);
	for (uint32_t i = c->node_count; i-- > 0;) {
		struct cluster_node *n = &c->nodes[i];
		if (n->is_up)
			end_process(n, false);
		drop_rows(n);
		for (uint32_t disk = 0; disk < n->disk_count; disk++)
			sim_media_destroy(n->media[disk]);
	}
	sim_switch_destroy(c->sw);
	sim_world_destroy(c->world);
}

void cluster_set_wall(struct cluster_node *n, int64_t offset_ns)
{
	n->wall_offset_ns = offset_ns;
	if (n->is_up)
		sim_loop_set_wall(n->loop, offset_ns);
}

bool cluster_mds_is_failed(struct cluster *c)
{
	struct cluster_node *n = cluster_mds(c);

	return n->is_up && n->ms->is_failed;
}

bool cluster_mds_lacks_disk(struct cluster *c)
{
	struct cluster_node *n = cluster_mds(c);

	return n->is_up && ms_journal_copies(n->ms->journal) < n->disk_count;
}

const char *cluster_why_unwell(struct cluster_node *n)
{
	if (n->is_absent)
		return NULL;
	if (!n->is_up)
		return "is down";
	if (n->role == CLUSTER_MDS && n->ms->is_failed)
		return "keeps no changes";
	if (n->role == CLUSTER_CS && (n->number = cs_server_number(n->cs)) == 0)
		return "has not joined";
	if (n->role == CLUSTER_CLIENT && (n->client_rc != 0 || !cl_session_is_valid(n->client)))
		return "has no session";
	return NULL;
}

bool cluster_is_well(void *cluster)
{
	struct cluster *c = cluster;

	for (uint32_t i = 0; i < c->node_count; i++) {
		if (cluster_why_unwell(&c->nodes[i]) != NULL)
			return false;
	}
	return true;
}

/* --- what must hold at any time --------------------------------------------------------------- */

static bool conflict(struct cluster_node *a, struct cluster_node *b)
{
	const struct cl_node *node, *next;

	HASH_ITER (hh, a->client->nodes, node, next) {
		if (node->lease != CL_LEASE_WRITE)
			continue;
		const struct cl_node *other = cl_node_find(b->client, node->ino);
		if (other == NULL || other->lease == CL_LEASE_NONE)
			continue;
		(void)snprintf(sentence, sizeof(sentence),
			       "I5: %s trusts a write lease and %s a %s lease on inode %llu",
			       a->host, b->host, other->lease == CL_LEASE_WRITE ? "write" : "read",
			       (unsigned long long)node->ino);
		return true;
	}
	return false;
}

/* What is on its way to the server may have been decided. */
static bool is_changing(const struct client *c, const struct lock_entry *e)
{
	const struct lock_call *call;

	DL_FOREACH(c->locks->calls, call)
		if (call->entry == e && !call->is_waiting)
			return true;
	return false;
}

static const struct range *meets(const struct ranges *of, const struct ranges *others)
{
	const struct range *r, *met = NULL;

	DL_FOREACH(of->first, r)
		if (met == NULL)
			met = ranges_conflict(others, r->start, r->end, r->mode);
	return met;
}

static bool lock_conflict(struct cluster_node *a, struct cluster_node *b)
{
	const struct lock_entry *e, *e_next, *other, *next;

	HASH_ITER (hh, a->client->locks->entries, e, e_next) {
		HASH_ITER (hh, b->client->locks->entries, other, next) {
			if (e->key.ino != other->key.ino || e->key.kind != other->key.kind ||
			    !meets(&e->ranges, &other->ranges) || is_changing(a->client, e) ||
			    is_changing(b->client, other))
				continue;
			(void)snprintf(sentence, sizeof(sentence),
				       "%s and %s both have a lock of inode %llu, one for writing",
				       a->host, b->host, (unsigned long long)e->key.ino);
			return true;
		}
	}
	return false;
}

const char *cluster_conflict(struct cluster *c)
{
	for (uint32_t i = 0; i < CLUSTER_CLIENTS; i++) {
		struct cluster_node *a = cluster_client(c, i);
		if (!a->is_up || !cl_session_is_valid(a->client))
			continue;
		for (uint32_t j = 0; j < CLUSTER_CLIENTS; j++) {
			struct cluster_node *b = cluster_client(c, j);
			if (j != i && b->is_up && cl_session_is_valid(b->client) &&
			    (conflict(a, b) || (i < j && lock_conflict(a, b))))
				return sentence;
		}
	}
	return NULL;
}

static const char *recover(struct cluster_node *n, struct loop *loop, struct rows *rows)
{
	struct error err = {0};
	struct ms_recovery recovery;
	struct disk *disks[CLUSTER_DISKS];

	for (uint32_t i = 0; i < n->disk_count; i++)
		ASSERT(sim_disk_create(n->media[i], &disks[i]) == 0);
	struct ms_recover_options options = {
		.loop = loop,
		.disks = disks,
		.disk_count = n->disk_count,
		.rows = rows,
		.journal_file_bytes_max = JOURNAL_FILE_BYTES,
	};
	int rc = ms_recover(&options, &recovery, &err);
	if (rc >= 0)
		ms_recover_close(&recovery);
	for (uint32_t i = 0; i < n->disk_count; i++)
		disk_destroy(disks[i]);
	if (rc >= 0)
		return NULL;
	(void)snprintf(sentence, sizeof(sentence), "the journal cannot be replayed: %s", err.text);
	return sentence;
}

static const char *rows_differ(struct rows *a, struct rows *b)
{
	struct rows_snapshot *x, *y;
	struct row p, q;
	int more, other;
	uint64_t count = 0;

	ASSERT(rows_snapshot_open(a, &x) == 0 && rows_snapshot_open(b, &y) == 0);
	do {
		more = rows_snapshot_next(x, &p);
		other = rows_snapshot_next(y, &q);
		count++;
	} while (more == 1 && other == 1 && p.key_len == q.key_len && p.value_len == q.value_len &&
		 memcmp(p.key, q.key, p.key_len) == 0 &&
		 memcmp(p.value, q.value, p.value_len) == 0);
	rows_snapshot_close(x);
	rows_snapshot_close(y);
	if (more == 0 && other == 0)
		return NULL;
	(void)snprintf(sentence, sizeof(sentence), "I3: row %llu differs",
		       (unsigned long long)count);
	return sentence;
}

const char *cluster_replay_differs(struct cluster *c)
{
	struct cluster_node *n = cluster_mds(c);
	struct rows *fresh[2];
	struct loop *loop;
	const char *why = NULL;

	ASSERT(!n->is_up);
	ASSERT(sim_loop_create(c->world, "replay", &loop) == 0);
	for (uint32_t i = 0; i < 2; i++) {
		ASSERT(rows_mem_create(&fresh[i]) == 0);
		if (why == NULL)
			why = recover(n, loop, fresh[i]);
	}
	if (why == NULL)
		why = rows_differ(fresh[0], fresh[1]);
	if (why == NULL && n->rows[0] != NULL)
		why = recover(n, loop, n->rows[0]);
	if (why == NULL && n->rows[0] != NULL)
		why = rows_differ(fresh[0], n->rows[0]);
	rows_destroy(fresh[0]);
	rows_destroy(fresh[1]);
	sim_loop_destroy(loop);
	return why;
}

/* --- copies of the metadata ------------------------------------------------------------------- */

struct prefix {
	struct ms_txn *txn;
	uint64_t number, last;
};

static int apply_until(void *arg, const struct journal_header *h, const uint8_t *payload)
{
	struct prefix *p = arg;

	if (h->number > p->last)
		return -E_CANCELED;
	p->number = h->number;
	return ms_txn_apply(p->txn, payload, h->payload_len);
}

/* The newest snapshot that is not beyond `last`; false: a copy so old cannot be judged any more. */
static bool load_snapshot(struct disk *disk, const uint8_t cluster[16], uint64_t last,
			  struct rows *rows, uint64_t *number)
{
	uint64_t numbers[MS_SNAPSHOTS_KEPT];
	char name[MS_SNAPSHOT_NAME_BYTES];
	struct snapshot_header h;
	int count = ms_snapshot_list(disk, numbers, MS_SNAPSHOTS_KEPT);

	for (int i = 0; i < count; i++) {
		if (numbers[i] > last)
			continue;
		*number = numbers[i];
		return ms_snapshot_load_file(disk, ms_snapshot_name(numbers[i], name), cluster,
					     rows, &h) == 0;
	}
	return false;
}

/* Snapshot and journal of one of the metadata server's own directories, up to `last`. */
static bool truth_until(struct disk *disk, const struct super *super, uint64_t last,
			struct rows *rows)
{
	struct ms_journal_options options = {.disks = &disk, .disk_count = 1, .read_only = true};
	struct error err = {0};
	struct prefix p = {.last = last};
	struct ms_journal *journal;

	memcpy(options.cluster, super->cluster, sizeof(options.cluster));
	if (!load_snapshot(disk, super->cluster, last, rows, &p.number) ||
	    ms_journal_open(&options, &journal, &err) < 0)
		return false;
	ASSERT(ms_txn_create(rows, &p.txn) == 0);
	int rc = ms_journal_replay(journal, p.number, apply_until, &p, &err);
	bool is_whole = (rc == 0 || rc == -E_CANCELED) && p.number == last;
	ASSERT(ms_txn_flush(p.txn) == 0 && rows_commit(rows) == 0);
	ms_txn_destroy(p.txn);
	ms_journal_close(journal);
	return is_whole;
}

static void forget_applied(struct rows *rows)
{
	ASSERT(rows_del(rows, MS_APPLIED_KEY, MS_APPLIED_KEY_BYTES) == 0 &&
	       rows_commit(rows) == 0);
}

static const char *copy_differs(struct disk *copy, struct disk *own, const struct super *super,
				uint64_t *number)
{
	struct rows *theirs, *ours;
	struct ms_rescue found;
	struct error err = {0};
	const char *why = NULL;

	ASSERT(rows_mem_create(&theirs) == 0 && rows_mem_create(&ours) == 0);
	*number = 0;
	if (ms_rescue_load(copy, super->cluster, theirs, &found, &err) == 0) {
		*number = found.number;
		if (truth_until(own, super, found.number, ours)) {
			forget_applied(theirs);
			forget_applied(ours);
			why = rows_differ(theirs, ours);
		}
	}
	rows_destroy(theirs);
	rows_destroy(ours);
	return why;
}

const char *cluster_copies_differ(struct cluster *c)
{
	struct cluster_node *mds = cluster_mds(c);
	struct super super = super_of(mds);
	struct disk *own, *copy;
	const char *why = NULL;
	uint64_t newest = 0, number;

	ASSERT(sim_disk_create(mds->media[0], &own) == 0);
	for (uint32_t i = 0; i < c->node_count && why == NULL; i++) {
		struct cluster_node *n = &c->nodes[i];
		if (n->role != CLUSTER_CS || n->media[0] == NULL)
			continue;
		ASSERT(sim_disk_create(n->media[0], &copy) == 0);
		why = copy_differs(copy, own, &super, &number);
		newest = MAX_OF(newest, number);
		disk_destroy(copy);
	}
	disk_destroy(own);
	if (why != NULL || newest > 0)
		return why;
	return "no chunk server keeps a copy of the metadata";
}
