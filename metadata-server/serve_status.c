/* SPDX-License-Identifier: Apache-2.0 */
/*
 * STATUS: what an administrator wants to know, and warnings that say what is wrong and what it means.
 */
#include "metadata-server/serve_internal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define WARNINGS_MAX	16u
#define WARNING_BYTES	200u
#define NAME_BYTES	16u
#define REPLY_BYTES_MAX	(MESSAGE_BYTES_MAX - 8192u)	/* room for the warnings and the rest */

struct status {
	Wire__StatusReply message;
	Wire__Stamp stamp;
	Wire__GcStatus gc;
	Wire__ServerStatus servers[SERVERS_MAX], *server_list[SERVERS_MAX];
	char names[SERVERS_MAX][NAME_BYTES];
	uint32_t pgs_of[SERVERS_MAX];		/* by place in the map's list */
	Wire__Warning warnings[WARNINGS_MAX], *warning_list[WARNINGS_MAX];
	char texts[WARNINGS_MAX][WARNING_BYTES];
};

static void warn(struct status *st, const char *code, const char *format, ...) printf_like(3, 4);
static void warn(struct status *st, const char *code, const char *format, ...)
{
	size_t n = st->message.n_warnings;
	va_list args;

	if (n == WARNINGS_MAX)
		return;
	va_start(args, format);
	(void)vsnprintf(st->texts[n], WARNING_BYTES, format, args);
	va_end(args);
	wire__warning__init(&st->warnings[n]);
	st->warnings[n].code = (char *)(uintptr_t)code;
	st->warnings[n].text = st->texts[n];
	st->warning_list[n] = &st->warnings[n];
	st->message.n_warnings++;
}

/* --- servers ---------------------------------------------------------------------------------------- */

/* Place of a server in the list, which rises by number. */
static uint32_t server_index(const struct map *map, server_no server)
{
	uint32_t low = 0, high = map_server_count(map);

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;
		if (map_server_at(map, mid)->server < server)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static void count_pgs(struct status *st, const struct map *map)
{
	uint32_t count = map_server_count(map);

	for (uint32_t pg = 0; pg < PG_COUNT; pg++) {
		const struct pg_row *row = map_pg(map, (pg_no)pg);
		for (uint32_t i = 0; i < row->replica_count; i++) {
			uint32_t at = server_index(map, row->replicas[i]);
			if (at < count && at < SERVERS_MAX)
				st->pgs_of[at]++;
		}
	}
}

static void add_server(struct ms_server *s, struct status *st, uint32_t index, const struct server_row *row)
{
	Wire__ServerStatus *out = &st->servers[index];
	struct ms_server_stats stats;
	uint64_t now_ms = loop_now_ms(s->options.loop);

	ms_state_server_stats(s->state, row->server, &stats);
	wire__server_status__init(out);
	(void)snprintf(st->names[index], NAME_BYTES, "cs%" PRIu32, row->server);
	out->server = row->server;
	out->name = st->names[index];
	out->state = row->state;
	out->address = (char *)(uintptr_t)row->address;
	out->host = (char *)(uintptr_t)row->host;
	out->rack = (char *)(uintptr_t)row->rack;
	out->blocks = stats.blocks;
	out->bytes_stored = stats.bytes_stored;
	out->bytes_plain = stats.bytes_plain;
	out->bytes_free = stats.bytes_free;
	out->bytes_total = stats.bytes_total ? stats.bytes_total : row->weight_bytes;
	out->heartbeat_age_ms = stats.heard_ms ? now_ms - MIN_OF(stats.heard_ms, now_ms) : 0;
	out->pgs = st->pgs_of[index];
	st->server_list[index] = out;
	st->message.n_servers = index + 1;
}

static void add_servers(struct ms_server *s, struct status *st)
{
	const struct map *map = ms_state_map(s->state);
	uint32_t count = MIN_OF(map_server_count(map), SERVERS_MAX), up = 0;

	count_pgs(st, map);
	for (uint32_t i = 0; i < count; i++) {
		up += map_server_at(map, i)->state == SERVER_UP;
		if (msg_packed_bytes(&st->message.base) < REPLY_BYTES_MAX)
			add_server(s, st, i, map_server_at(map, i));
	}
	if (st->message.n_servers < count)
		warn(st, "servers_not_shown", "only the first %zu of %" PRIu32 " servers are listed",
		     st->message.n_servers, count);
	if (up < s->config.copies)
		warn(st, "few_servers", "%" PRIu32 " of the %u chunk servers that %u copies need are up", up,
		     s->config.copies, s->config.copies);
}

/* --- all -------------------------------------------------------------------------------------------- */

static void warn_of_pgs(struct status *st, const struct ms_counts *counts)
{
	if (counts->pgs_degraded > 0)
		warn(st, "pgs_degraded", "%" PRIu32 " placement groups have fewer copies than they should",
		     counts->pgs_degraded);
	if (counts->pgs_lost > 0)
		warn(st, "pgs_lost", "%" PRIu32 " placement groups have no live server", counts->pgs_lost);
	if (counts->recovering)
		warn(st, "recovering", "the metadata server waits for its sessions to come back");
}

static void warn_of_metadata(struct ms_server *s, struct status *st)
{
	uint32_t configured = s->options.disk_count + s->options.disks_missing;
	uint32_t dirs = ms_journal_copies(s->journal), copies = dirs + ms_copies_count(s->copies);

	if (s->is_failed)
		warn(st, "metadata_failed", "the metadata server cannot keep changes: see its log, mend it, "
		     "restart it");
	if (copies == 1)
		warn(st, "metadata_copies", "names have one copy: set journal.dirs to two disks, or "
		     "mds.metadata_copies to the chunk servers that shall keep more");
	if (dirs > 0 && dirs < configured)
		warn(st, "journal_directory_lost", "%" PRIu32 " of %" PRIu32 " journal directories are out "
		     "of service: see the log of the metadata server", configured - dirs, configured);
	if (s->is_nearly_full)
		warn(st, "metadata_full", "space for metadata is nearly used up: only deleting is admitted");
}

static void fill_garbage(struct ms_server *s, struct status *st)
{
	Wire__StatusReply *m = &st->message;
	const struct map *map = ms_state_map(s->state);

	for (uint32_t i = 0; i < map_server_count(map); i++) {
		struct ms_server_stats stats;

		ms_state_server_stats(s->state, map_server_at(map, i)->server, &stats);
		m->blocks_trash += stats.trash_blocks;
		m->bytes_stored_trash += stats.trash_bytes;
		m->bytes_dead += stats.dead_bytes;
	}
	m->collection = ms_state_collection(s->state);
	ms_collector_status(s->collector, &st->gc);
	m->gc = &st->gc;
	for (size_t i = 0; i < st->gc.n_unwalkable; i++)
		warn(st, "gc_unwalkable", "garbage is not collected while inode %" PRIu64 " cannot be read: "
		     "repair or delete it", st->gc.unwalkable[i]);
	if (st->gc.last_rc < 0 && st->gc.last_rc != -E_CANCELED && st->gc.n_unwalkable == 0)
		warn(st, "gc_failed", "garbage was not collected: %s", st->gc.last_text);
}

static void fill(struct ms_server *s, struct status *st)
{
	Wire__StatusReply *m = &st->message;
	struct ms_counts counts;

	ms_state_counts(s->state, &counts);
	m->pgs_total = PG_COUNT;
	m->pgs_clean = counts.pgs_clean;
	m->pgs_degraded = counts.pgs_degraded;
	m->pgs_lost = counts.pgs_lost;
	m->files = counts.files;
	m->directories = counts.directories;
	m->bytes_logical = counts.bytes_logical;
	m->metadata_copies = ms_journal_copies(s->journal) + ms_copies_count(s->copies);
	m->sessions = (uint32_t)counts.sessions;
	m->leases = counts.leases;
	m->parked = (uint32_t)counts.parked;
	m->rows_bytes = rows_bytes(s->options.rows);
	m->journal_bytes = ms_journal_bytes(s->journal);
	m->snapshot_number = s->snapshotter.number;
	m->version = (char *)(uintptr_t)CAIRN_VERSION;
	m->cluster.data = s->recovery.super.cluster;
	m->cluster.len = sizeof(s->recovery.super.cluster);
	m->copies = s->config.copies;
	m->min_copies = s->config.min_copies;
	m->recovering = counts.recovering;
	add_servers(s, st);
	warn_of_pgs(st, &counts);
	warn_of_metadata(s, st);
	fill_garbage(s, st);
}

void ms_serve_reply_status(struct ms_server *s, struct ms_pending *p)
{
	struct status *st = calloc(1, sizeof(*st));

	if (!st) {
		p->rc = -E_NOMEM;
		return;
	}
	p->storage = st;
	p->message = &st->message.base;
	p->stamp = &st->stamp;
	wire__status_reply__init(&st->message);
	wire__stamp__init(&st->stamp);
	st->message.stamp = &st->stamp;
	st->message.servers = st->server_list;
	st->message.warnings = st->warning_list;
	fill(s, st);
}

struct gc {
	Wire__GcReply message;
	Wire__GcStatus status;
};

void ms_serve_reply_gc(struct ms_server *s, struct ms_pending *p, const Wire__Gc *ask)
{
	struct gc *gc = calloc(1, sizeof(*gc));

	p->rc = gc ? ms_collector_ask(s->collector, ask->action) : -E_NOMEM;
	if (!gc)
		return;
	p->storage = gc;
	p->message = &gc->message.base;
	wire__gc_reply__init(&gc->message);
	ms_collector_status(s->collector, &gc->status);
	gc->message.status = &gc->status;
}
