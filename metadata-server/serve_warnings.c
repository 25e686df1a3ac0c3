/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Warnings: one sentence each, about what is wrong at this moment, what it means for who reads and
 * writes, and what ends it. The codes are for machines and stay; the sentences may change. Said in
 * order of importance, since the list is bounded.
 */
#include "metadata-server/path.h"
#include "metadata-server/serve_internal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#define SERVERS_NAMED_MAX 6u /* with a warning of their own, of each kind */
#define INODES_NAMED_MAX  4u
#define TIME_BYTES	  32u
#define SILENCE_BYTES	  48u

struct warner {
	struct ms_server *s;
	const Wire__StatusReply *status;
	const struct ms_counts *counts;
	struct ms_warnings *out;
};

static void warn(struct warner *w, const char *code, const char *format, ...) printf_like(3, 4);
static void warn(struct warner *w, const char *code, const char *format, ...)
{
	size_t n = w->out->count;
	va_list args;

	if (n == SERVE_WARNINGS_MAX)
		return;
	va_start(args, format);
	(void)vsnprintf(w->out->texts[n], SERVE_WARNING_BYTES, format, args);
	va_end(args);
	wire__warning__init(&w->out->messages[n]);
	w->out->messages[n].code = (char *)(uintptr_t)code;
	w->out->messages[n].text = w->out->texts[n];
	w->out->list[n] = &w->out->messages[n];
	w->out->count++;
}

static const char *time_text(char out[TIME_BYTES], uint64_t ms)
{
	uint64_t s = ms / 1000;

	if (s < 120)
		(void)snprintf(out, TIME_BYTES, "%" PRIu64 " s", s);
	else if (s < 7200)
		(void)snprintf(out, TIME_BYTES, "%" PRIu64 " min", s / 60);
	else if (s < 172800)
		(void)snprintf(out, TIME_BYTES, "%" PRIu64 " h", s / 3600);
	else
		(void)snprintf(out, TIME_BYTES, "%" PRIu64 " days", s / 86400);
	return out;
}

/* How long it has said nothing, as far as this process can know: its state may be older. */
static const char *silence_text(const struct warner *w, char out[SILENCE_BYTES], uint64_t age_ms)
{
	char age[TIME_BYTES];

	if (age_ms < w->s->config.suspect_ms)
		(void)snprintf(out, SILENCE_BYTES, "since before the metadata server started");
	else
		(void)snprintf(out, SILENCE_BYTES, "for %s", time_text(age, age_ms));
	return out;
}

/* --- placement groups ---- */

static void warn_of_pgs(struct warner *w)
{
	const struct ms_counts *c = w->counts;

	if (c->pgs_lost > 0)
		warn(w, "pgs_lost",
		     "%" PRIu32 " placement groups have no live server: what is in them cannot be "
		     "read until one is back",
		     c->pgs_lost);
	if (c->pgs_few > 0)
		warn(w, "writes_wait",
		     "%" PRIu32 " placement groups have fewer than %u live servers: writes to them "
		     "wait until a server is back",
		     c->pgs_few, w->s->config.min_copies);
	if (c->pgs_degraded > 0)
		warn(w, "pgs_degraded",
		     "%" PRIu32 " placement groups have fewer copies than they should",
		     c->pgs_degraded);
	if (c->pgs_waiting > 0)
		warn(w, "healing_waits",
		     "healing of %" PRIu32 " placement groups waits for servers that are silent",
		     c->pgs_waiting);
	if (c->pgs_crowded > 0)
		warn(w, "pgs_crowded",
		     "%" PRIu32 " placement groups have lost a copy and cannot get another server: "
		     "%u former ones may still hold what nobody else has; start those, or remove "
		     "who is gone for good",
		     c->pgs_crowded, FORMERS_MAX);
}

/* --- servers ---- */

/* Are there servers enough without this one to take its share? */
static bool is_replaceable(const struct warner *w, server_no server)
{
	const struct map *map = ms_state_map(w->s->state);
	uint32_t others = 0;

	for (uint32_t i = 0; i < map_server_count(map); i++)
		others += map_server_at(map, i)->server != server &&
			  map_server_at(map, i)->state <= SERVER_DOWN;
	return others >= w->s->config.copies;
}

static void warn_of_silence(struct warner *w, const Wire__ServerStatus *server)
{
	const struct ms_config *config = &w->s->config;
	bool is_taken = is_replaceable(w, server->server);
	uint64_t age_ms = server->heartbeat_age_ms;
	char age[SILENCE_BYTES], left[TIME_BYTES];

	silence_text(w, age, age_ms);
	switch (server->state) {
	case SERVER_SUSPECT:
		warn(w, "server_suspect",
		     "server %" PRIu32 " (%s) has been silent %s: the other copies serve",
		     server->server, server->address, age);
		break;
	case SERVER_DOWN:
		warn(w, "server_down",
		     "server %" PRIu32 " (%s) has been silent %s and counts as down: the other "
		     "copies serve; after another %s %s",
		     server->server, server->address, age,
		     time_text(left, config->out_ms - MIN_OF(age_ms, config->out_ms)),
		     is_taken ? "its share goes to other servers"
			      : "it is out, and no other server is there to take its share");
		break;
	case SERVER_OUT:
		warn(w, "server_out",
		     "server %" PRIu32 " (%s) has been silent %s and is out: %s; start it, or "
		     "'cairn remove --force %" PRIu32 "' if it is gone for good",
		     server->server, server->address, age,
		     is_taken ? "its share went to other servers"
			      : "no other server is there to take its share",
		     server->server);
		break;
	case SERVER_DRAINED:
		if (age_ms >= config->down_ms && server->pgs_former > 0)
			warn(w, "server_down",
			     "drained server %" PRIu32 " (%s) has been silent %s: %" PRIu32
			     " placement groups have not merged what it holds",
			     server->server, server->address, age, server->pgs_former);
		break;
	default:
		break;
	}
}

static void warn_of_health(struct warner *w, const Wire__ServerStatus *server)
{
	if (server->state == SERVER_REMOVED || server->state == SERVER_OUT)
		return;
	if (server->disks_failed > 0)
		warn(w, "disk_failed",
		     "server %" PRIu32 " (%s): %" PRIu32 " of %" PRIu32 " disks failed: its blocks "
		     "are restored from other copies; replace the disk",
		     server->server, server->address, server->disks_failed,
		     server->disks + server->disks_failed);
	if (server->damaged > 0)
		warn(w, "damage_found",
		     "server %" PRIu32 " (%s) found %" PRIu64
		     " damaged places since its start: what "
		     "was there is restored from other copies; look at its disks and its log",
		     server->server, server->address, server->damaged);
	if (server->reencode && server->reencode->wrong)
		warn(w, "reencode_wrong",
		     "server %" PRIu32 " (%s) encoded a block anew and could not decode it: the "
		     "block is as it was, and nothing more is encoded anew there; look at its log, "
		     "and test its memory",
		     server->server, server->address);
	if (server->bytes_total > 0 && server->bytes_free == 0 && server->state <= SERVER_SUSPECT &&
	    server->heartbeat_age_ms < w->s->config.suspect_ms && server->blocks > 0)
		warn(w, "server_full",
		     "server %" PRIu32
		     " (%s) is full: files that need it get ENOSPC; delete, or add "
		     "a server",
		     server->server, server->address);
}

typedef void (*warn_fn)(struct warner *w, const Wire__ServerStatus *server);

/* A warning for each that needs one; many at once are counted instead. */
static void warn_of_each(struct warner *w, warn_fn fn)
{
	size_t first = w->out->count, named = 0, i;

	for (i = 0; i < w->status->n_servers && named < SERVERS_NAMED_MAX; i++) {
		fn(w, w->status->servers[i]);
		named = w->out->count - first;
	}
	if (named >= SERVERS_NAMED_MAX && i < w->status->n_servers)
		warn(w, "more_servers",
		     "there may be more servers like these: see 'cairn servers'");
}

static void warn_of_servers(struct warner *w)
{
	const struct map *map = ms_state_map(w->s->state);
	uint32_t count = map_server_count(map), up = 0;

	for (uint32_t i = 0; i < count; i++)
		up += map_server_at(map, i)->state == SERVER_UP;
	if (up < w->s->config.copies)
		warn(w, "few_servers", "%u copies want %u chunk servers, and %" PRIu32 " are up",
		     w->s->config.copies, w->s->config.copies, up);
	warn_of_each(w, warn_of_silence);
	warn_of_each(w, warn_of_health);
	if (w->status->n_servers < count)
		warn(w, "servers_not_shown", "only the first %zu of %" PRIu32 " servers are listed",
		     w->status->n_servers, count);
}

/* --- the metadata server ---- */

static void warn_of_metadata(struct warner *w)
{
	struct ms_server *s = w->s;
	uint32_t configured = s->options.disk_count + s->options.disks_missing;
	uint32_t dirs = ms_journal_copies(s->journal), copies = dirs + ms_copies_count(s->copies);

	if (s->is_failed)
		warn(w, "metadata_failed",
		     "the metadata server cannot keep changes: see its log, mend it, "
		     "restart it");
	if (s->is_nearly_full)
		warn(w, "metadata_full",
		     "space for metadata is nearly used up: only deleting is admitted");
	if (copies == 1)
		warn(w, "metadata_copies",
		     "names have one copy: set journal.dirs to two disks, or "
		     "mds.metadata_copies to the chunk servers that shall keep more");
	if (dirs > 0 && dirs < configured)
		warn(w, "journal_directory_lost",
		     "%" PRIu32 " of %" PRIu32 " journal directories are out "
		     "of service: see the log of the metadata server",
		     configured - dirs, configured);
	if (w->counts->recovering)
		warn(w, "recovering",
		     "the metadata server has just started: changes wait until its mounts are "
		     "back, "
		     "at most %" PRIu64 " s",
		     (uint64_t)(w->s->config.lease_ms + 999) / 1000);
}

/* --- quotas ---- */

#define QUOTAS_NAMED_MAX  8u
#define QUOTA_FULL_PERCENT 95u
#define QUOTA_NAMES_MAX	  10000u	/* looked at for their paths */

static void warn_of_quotas(struct warner *w)
{
	char path[MS_PATH_BYTES];
	uint32_t named = 0, left = QUOTA_NAMES_MAX;
	struct ms_quota q;
	inode_no at = 0;

	for (; ms_quota_next_full(w->s->state, QUOTA_FULL_PERCENT, &at, &q) == 0; at++) {
		uint64_t bytes = ms_quota_percent(q.bytes, q.bytes_max),
			 files = ms_quota_percent(q.files, q.files_max);

		if (named++ == QUOTAS_NAMED_MAX)
			break;
		ms_path_of_dir(w->s->txn, at, &left, path);
		warn(w, "quota_full", "the quota of '%.150s' (inode %" PRIu64 ") is %" PRIu64
		     " %% used: %s", path[0] ? path : "/", at, MAX_OF(bytes, files),
		     bytes >= files ? "bytes" : "files");
	}
}

/* --- garbage ---- */

static void warn_of_garbage(struct warner *w)
{
	const Wire__GcStatus *gc = w->status->gc;

	for (size_t i = 0; i < gc->n_unwalkable && i < INODES_NAMED_MAX; i++)
		warn(w, "gc_unwalkable",
		     "garbage is not collected while '%.150s' (inode %" PRIu64 ") cannot be "
		     "read: repair or delete it",
		     ms_collector_path(w->s->collector, gc->unwalkable[i]), gc->unwalkable[i]);
	if (gc->last_rc < 0 && gc->last_rc != -E_CANCELED && gc->n_unwalkable == 0)
		warn(w, "gc_failed", "garbage was not collected: %s", gc->last_text);
}

void ms_serve_warnings(struct ms_server *s, const Wire__StatusReply *status,
		       const struct ms_counts *counts, struct ms_warnings *out)
{
	struct warner w = {s, status, counts, out};

	warn_of_metadata(&w);
	warn_of_pgs(&w);
	warn_of_servers(&w);
	warn_of_garbage(&w);
	warn_of_quotas(&w);
}
