/* SPDX-License-Identifier: Apache-2.0 */
/*
 * STATUS: what an administrator wants to know. The warnings are in serve_warnings.c.
 */
#include "metadata-server/serve_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define NAME_BYTES	16u
#define MEDIA_BYTES_MAX 24576u /* of the reply, from its begin, in which disks are told */
#define REPLY_BYTES_MAX (MESSAGE_BYTES_MAX - 16384u) /* room for the warnings and the rest */
_Static_assert(SERVE_WARNINGS_MAX *(SERVE_WARNING_BYTES + 64u) < 12288u,
	       "warnings fit beside the servers");

struct status {
	Wire__StatusReply message;
	Wire__Stamp stamp;
	Wire__GcStatus gc;
	Wire__ServerStatus servers[SERVERS_MAX], *server_list[SERVERS_MAX];
	Wire__ReencodeStatus reencode[SERVERS_MAX];
	uint64_t codec_bytes[SERVERS_MAX][MS_CODECS_MAX], codec_sums[MS_CODECS_MAX];
	char names[SERVERS_MAX][NAME_BYTES];
	/* by place in the map's list */
	uint32_t pgs_of[SERVERS_MAX], pgs_former_of[SERVERS_MAX], pgs_waiting_of[SERVERS_MAX];
	struct ms_warnings warnings;
};

/* --- servers ---------------------------------------------------------------------------------- */

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

static void count_place(struct ms_server *s, struct status *st, uint32_t pg, uint32_t place)
{
	const struct map *map = ms_state_map(s->state);
	const struct pg_row *row = map_pg(map, (pg_no)pg);
	bool is_former = place >= row->replica_count;
	uint32_t at = server_index(map, pg_row_server_at(row, place));

	if (at >= MIN_OF(map_server_count(map), SERVERS_MAX))
		return;
	if (is_former)
		st->pgs_former_of[at]++;
	else
		st->pgs_of[at]++;
	st->pgs_waiting_of[at] += ms_health_pg_waits(s->state, (pg_no)pg, place);
}

static void count_pgs(struct ms_server *s, struct status *st)
{
	for (uint32_t pg = 0; pg < PG_COUNT; pg++) {
		const struct pg_row *row = map_pg(ms_state_map(s->state), (pg_no)pg);

		for (uint32_t i = 0; i < (uint32_t)row->replica_count + row->former_count; i++)
			count_place(s, st, pg, i);
	}
}

/* What a server that is not there said last is history. */
static void add_sums(struct status *st, const struct server_row *row,
		     const struct ms_server_stats *stats)
{
	Wire__StatusReply *m = &st->message;

	/* Debts stay while their keeper is away. */
	if (row->state != SERVER_REMOVED)
		m->owed += stats->owed;
	if (row->state > SERVER_SUSPECT && row->state != SERVER_DRAINED)
		return;
	m->heal_pending_blocks += stats->heal_pending_blocks;
	m->heal_bytes_per_s += stats->heal_bytes_per_s;
}

/* Seconds until nothing is to be healed at the present speed; 0: nothing is, or nobody can say. */
static uint64_t heal_eta_s(const Wire__StatusReply *m)
{
	uint64_t blocks = 0, bytes = 0, to_go = m->heal_pending_blocks + m->owed;

	for (size_t i = 0; i < m->n_servers; i++) {
		uint32_t state = m->servers[i]->state;

		blocks += m->servers[i]->blocks;
		bytes += m->servers[i]->bytes_stored;
		if (m->owed > 0 && state != SERVER_UP && state < SERVER_DRAINED)
			return 0; /* a silent server gets what is owed to it when it is back */
	}
	if (to_go == 0 || m->heal_bytes_per_s == 0 || blocks == 0)
		return 0;
	return to_go * (bytes / blocks + 1) / m->heal_bytes_per_s + 1;
}

static void add_reencode(struct status *st, uint32_t index, const struct ms_reencode *r)
{
	Wire__ReencodeStatus *out = &st->reencode[index];
	Wire__ServerStatus *server = &st->servers[index];

	wire__reencode_status__init(out);
#define COPY(field) out->field = r->field;
	SERVE_REENCODE_FIELDS(COPY)
#undef COPY
	server->reencode = out;
	server->codec_bytes = st->codec_bytes[index];
	server->n_codec_bytes = MS_CODECS_MAX;
	for (uint32_t i = 0; i < MS_CODECS_MAX; i++) {
		st->codec_bytes[index][i] = r->codec_bytes[i];
		st->codec_sums[i] += r->codec_bytes[i];
	}
}

/* What it told of its disks, as long as all servers fit: the first hundred or so. */
static void add_media(struct ms_server *s, const struct status *st, Wire__ServerStatus *out)
{
	uint32_t bytes;
	const uint8_t *media = ms_state_server_media(s->state, (server_no)out->server, &bytes);

	if (bytes == 0 || msg_packed_bytes(&st->message.base) + bytes > MEDIA_BYTES_MAX)
		return;
	out->media.data = (uint8_t *)(uintptr_t)media;
	out->media.len = bytes;
}

static void add_server(struct ms_server *s, struct status *st, uint32_t index,
		       const struct server_row *row)
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
	out->pgs_former = st->pgs_former_of[index];
	out->pgs_waiting = st->pgs_waiting_of[index];
	out->disks = stats.disks;
	out->disks_failed = stats.disks_failed;
	out->heal_pending_blocks = stats.heal_pending_blocks;
	out->heal_bytes_per_s = stats.heal_bytes_per_s;
	out->trash_bytes = stats.trash_bytes;
	out->dead_bytes = stats.dead_bytes;
	out->damaged = stats.damaged;
	out->owed = stats.owed;
	add_reencode(st, index, &stats.reencode);
	add_sums(st, row, &stats);
	add_media(s, st, out);
	st->server_list[index] = out;
	st->message.n_servers = index + 1;
}

static void add_servers(struct ms_server *s, struct status *st)
{
	const struct map *map = ms_state_map(s->state);
	uint32_t count = MIN_OF(map_server_count(map), SERVERS_MAX);

	count_pgs(s, st);
	for (uint32_t i = 0; i < count; i++)
		if (msg_packed_bytes(&st->message.base) < REPLY_BYTES_MAX)
			add_server(s, st, i, map_server_at(map, i));
	st->message.heal_eta_s = heal_eta_s(&st->message);
}

/* --- all -------------------------------------------------------------------------------------- */

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
	m->collection = ms_collection_epoch(s->state);
	ms_collector_status(s->collector, &st->gc);
	m->gc = &st->gc;
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
	m->deleted_files = counts.trash_entries;
	m->deleted_bytes = counts.trash_bytes;
	m->bytes_logical = counts.bytes_logical;
	m->metadata_copies = ms_journal_copies(s->journal) + ms_copies_count(s->copies);
	m->sessions = (uint32_t)counts.sessions;
	m->leases = counts.leases;
	m->parked = (uint32_t)counts.parked;
	m->locks = counts.locks;
	m->lock_waits = counts.lock_waits;
	m->rows_bytes = rows_bytes(s->options.rows);
	m->journal_bytes = ms_journal_bytes(s->journal);
	m->snapshot_number = s->snapshotter.number;
	m->version = (char *)(uintptr_t)CAIRN_VERSION;
	m->cluster.data = s->recovery.super.cluster;
	m->cluster.len = sizeof(s->recovery.super.cluster);
	m->copies = s->config.copies;
	m->min_copies = s->config.min_copies;
	m->recovering = counts.recovering;
	m->pgs_healing = counts.pgs_healing;
	m->pgs_waiting = counts.pgs_waiting;
	m->pgs_few = counts.pgs_few;
	m->writes_wait = counts.pgs_few > 0;
	add_servers(s, st);
	m->codec_bytes = st->codec_sums;
	m->n_codec_bytes = MS_CODECS_MAX;
	m->reencode_server = ms_state_reencode_server(s->state);
	fill_garbage(s, st);
	ms_serve_warnings(s, m, &counts, &st->warnings);
	m->warnings = st->warnings.list;
	m->n_warnings = st->warnings.count;
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
