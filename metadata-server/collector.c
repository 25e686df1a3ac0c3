/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cycle of the collector, from phase to phase. The tick drives what waits for time or
 * durability, answers drive the rest. A cycle ends through MS_GC_END, well or not: servers are told
 * to forget their marks.
 *
 * Asked to run now it raises the epoch twice and keeps no grace: what nobody names at this moment,
 * and nobody touches any more, was last touched in the present epoch at the latest, so it is old
 * enough two epochs later.
 */
#include "metadata-server/collector_internal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/log.h"
#include "fs/base/metrics.h"
#include "fs/base/text.h"

#define LOG_MODULE "collector"

#define BLOCK_CALL_MS 5000u
#define RAISE_MS      90000u	/* for sessions to publish or give up what they have put */
#define BEGIN_MS      20000u
#define BEGINS_MAX    50u	/* rows may change while a cycle begins */
#define LIST_MS	      30000u
#define CHECK_MS      60000u	/* durability of the list, too */
#define SWEEP_MS      3600000u
#define END_MS	      3000u
#define COPIES_LAG_MS 600000u	/* copies of the metadata are no older, as long as any are made */
#define AFTER_FAIL_MS 60000u	/* a cycle by itself that failed is tried again */

uint64_t ms_collector_now_ms(const struct ms_collector *c)
{
	return loop_now_ms(c->loop);
}

/* --- the end of a cycle ----------------------------------------------------------------------- */

static void cycle_close(struct ms_collector *c)
{
	uint64_t wait =
		c->last_rc == 0 ? c->every_ms : MIN_OF(c->every_ms, (uint64_t)AFTER_FAIL_MS);

	ms_collector_servers_close(c);
	free(c->rows);
	c->rows = NULL;
	c->phase = MS_GC_IDLE;
	c->next_ms = ms_collector_now_ms(c) + wait;
	c->finished_wall_ns = loop_wall_ns(c->loop);
	c->cycles++;
	c->failed += c->last_rc < 0;
	if (c->last_rc < 0)
		METRIC_INC(collections_failed);
	else
		METRIC_INC(collections);
	c->served += c->was_asked;
	c->last_blocks = c->trash_blocks;
	c->last_bytes = c->trash_bytes;
	c->last_young = c->young;
	c->last_moving = c->moving;
	ms_server_stop_check(c->server);
}

/* Marks are of no use any more: say so, and wait a moment for the answers. */
static void cycle_end(struct ms_collector *c, int rc, const char *text)
{
	bool compact = rc == 0 && c->is_now && !c->is_dry;

	c->last_rc = rc;
	(void)text_copy(c->last_text, sizeof(c->last_text), text);
	if (rc < 0)
		log_warn("garbage was not collected: %s", text);
	else
		log_info("garbage collected epoch=%" PRIu64 " roots=%" PRIu64 " marks=%" PRIu64
			 " blocks=%" PRIu64 " bytes=%" PRIu64 "%s",
			 c->epoch, c->roots_done, c->marks, c->trash_blocks, c->trash_bytes,
			 c->is_dry ? " (dry run)" : "");
	ms_collector_walk_close(c);
	c->phase = MS_GC_END;
	c->phase_due_ms = ms_collector_now_ms(c) + END_MS;
	ms_collector_servers_end(c, compact);
}

void ms_collector_fail(struct ms_collector *c, int rc, const char *format, ...)
{
	char text[COLLECTOR_TEXT_BYTES];
	va_list args;

	if (c->phase == MS_GC_IDLE || c->phase == MS_GC_END)
		return;
	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	cycle_end(c, rc, text);
}

/* --- raising the epoch ------------------------------------------------------------------------ */

static void raise_waits(struct ms_collector *c, const struct ms_collection_wait *why)
{
	if (ms_collector_now_ms(c) < c->phase_due_ms)
		return;
	if (why->server)
		ms_collector_fail(c, -E_TIMEDOUT,
				  "server %u does not tell that it applies epoch %" PRIu64,
				  why->server, ms_collection_epoch(c->server->state));
	else if (why->session)
		ms_collector_fail(c, -E_TIMEDOUT,
				  "session %016" PRIx64 " keeps content unpublished for too long",
				  why->session);
	else
		ms_collector_fail(c, -E_RECOVERING, "sessions are still coming back");
}

static void begin_phase(struct ms_collector *c);

/* An epoch is durable before anybody applies it. */
static void raise_tick(struct ms_collector *c)
{
	struct ms_server *s = c->server;
	struct ms_collection_wait why;
	uint64_t before = ms_collection_epoch(s->state);

	if (c->raise_number > ms_journal_durable(s->journal)) {
		ms_journal_sync(s->journal);
		return;
	}
	if (c->raises_left == 0) {
		begin_phase(c);
		return;
	}
	if (!ms_collection_may_rise(s->state, &why)) {
		raise_waits(c, &why);
		return;
	}
	ms_serve_event(s, &(struct ms_event){ .kind = MS_EV_COLLECT });
	if (ms_collection_epoch(s->state) == before)
		return;
	c->raise_number = s->number;
	c->raises_left--;
	c->phase_due_ms = ms_collector_now_ms(c) + RAISE_MS;
}

/* --- begin ------------------------------------------------------------------------------------ */

static bool copy_rows(struct ms_collector *c)
{
	const struct map *map = ms_state_map(c->server->state);

	c->rows = malloc(PG_COUNT * sizeof(*c->rows));
	if (!c->rows)
		return false;
	c->map_version = map_version(map);
	c->rows_digest = map_digest(map);
	for (uint32_t pg = 0; pg < PG_COUNT; pg++)
		c->rows[pg] = *map_pg(map, (pg_no)pg);
	return true;
}

static bool all_placed(const struct ms_collector *c)
{
	for (uint32_t pg = 0; pg < PG_COUNT; pg++)
		if (c->rows[pg].epoch == 0)
			return false;
	return true;
}

static void begin_phase(struct ms_collector *c)
{
	int rc;

	c->phase = MS_GC_BEGIN;
	c->rows_changed = false;
	c->epoch = ms_collection_epoch(c->server->state);
	if (!copy_rows(c)) {
		ms_collector_fail(c, -E_NOMEM, "out of memory");
		return;
	}
	if (!all_placed(c)) {
		ms_collector_fail(c, -E_RECOVERING, "placement groups have no servers yet");
		return;
	}
	rc = ms_collector_servers_open(c);
	if (rc < 0)
		ms_collector_fail(c, rc, "cannot reach the chunk servers: %s", error_text(rc));
	else if (c->server_count == 0)	/* nobody would ever answer */
		ms_collector_fail(c, -E_NOTCONN, "all chunk servers are out");
	else
		ms_collector_servers_ask(c, BEGIN_MS);
}

/* The servers know newer rows than those that were copied: healing, or servers that come and go. */
static void begin_again(struct ms_collector *c)
{
	if (c->begins_left-- == 0) {
		ms_collector_fail(c, -E_STALE_EPOCH, "placement changes all the time");
		return;
	}
	ms_collector_servers_close(c);
	free(c->rows);
	c->rows = NULL;
	begin_phase(c);
}

/* --- the list --------------------------------------------------------------------------------- */

/*
 * All servers apply the epoch: what lives from now on is young, or named by a root that is listed
 * now.
 */
static void list_tick(struct ms_collector *c)
{
	struct ms_server *s = c->server;
	struct ms_counts counts;
	int rc;

	if (s->records_len > 0) {	/* a batch is under way: its end comes in this turn */
		if (ms_collector_now_ms(c) >= c->phase_due_ms)
			ms_collector_fail(c, -E_TIMEDOUT,
					  "the metadata server finds no moment to list roots");
		return;
	}
	rc = ms_serve_rows_keep(s);
	if (rc >= 0)
		rc = ms_collector_walk_open(c);
	if (rc < 0) {
		ms_collector_fail(c, rc, "cannot list the roots: %s", error_text(rc));
		return;
	}
	ms_state_counts(s->state, &counts);
	c->roots_total = counts.files;
	c->list_number = s->number;
	c->phase = MS_GC_MARK;
	ms_collector_walk_pump(c);
}

/* --- check and sweep -------------------------------------------------------------------------- */

void ms_collector_marked(struct ms_collector *c)
{
	if (c->phase != MS_GC_MARK)
		return;
	if (c->unwalkable_total > 0) {
		ms_collector_paths_find(c);
		return;
	}
	c->phase = MS_GC_CHECK;
	ms_collector_servers_ask(c, CHECK_MS);
}

void ms_collector_named(struct ms_collector *c)
{
	const char *path = ms_collector_path(c, c->unwalkable[0]);

	ms_collector_fail(c, -E_CORRUPT,
			  "%" PRIu32 " files cannot be read: repair or delete them: inode %" PRIu64
			  " %.80s%s",
			  c->unwalkable_total, c->unwalkable[0], path,
			  c->unwalkable_total > 1 ? " ..." : "");
}

/* Until then what was deleted may come back in a power loss. */
static bool is_list_durable(struct ms_collector *c)
{
	struct ms_server *s = c->server;

	if (ms_journal_durable(s->journal) >= c->list_number)
		return true;
	ms_journal_sync(s->journal);
	return false;
}

/* Until then it may come back when the metadata is rebuilt from its copies. */
static bool is_list_copied(const struct ms_collector *c)
{
	return c->is_dry || ms_copies_number(c->server->copies) >= c->list_number;
}

/* Copies that lag behind are waited for; in the end a grace that outlasts the lag does as well. */
static void check_tick(struct ms_collector *c)
{
	bool is_late = ms_collector_now_ms(c) >= c->phase_due_ms;
	bool is_lag_outlasted = is_late && !c->is_now && c->grace_ms >= COPIES_LAG_MS;

	for (uint32_t i = 0; i < c->server_count; i++)
		if (!c->servers[i].is_done)
			return;		/* each has its deadline */
	if (is_list_durable(c) && (is_list_copied(c) || is_lag_outlasted)) {
		c->phase = MS_GC_SWEEP;
		ms_collector_servers_ask(c, COLLECTOR_SILENT_MS);
		c->phase_due_ms = ms_collector_now_ms(c) + SWEEP_MS;
	} else if (is_late) {
		ms_collector_fail(c, -E_TIMEDOUT,
				  "the journal or the copies of the metadata on chunk servers "
				  "lag behind, and there is no grace to make up for it");
	}
}

static void sweep_done(struct ms_collector *c)
{
	for (uint32_t i = 0; i < c->server_count; i++) {
		c->trash_blocks += c->servers[i].blocks;
		c->trash_bytes += c->servers[i].bytes;
		c->young += c->servers[i].young;
		c->moving += c->servers[i].moving;
	}
	cycle_end(c, 0, c->is_dry ? "dry run" : "done");
}

void ms_collector_servers_are_done(struct ms_collector *c)
{
	switch (c->phase) {
	case MS_GC_BEGIN:
		c->phase = MS_GC_LIST;
		c->phase_due_ms = ms_collector_now_ms(c) + LIST_MS;
		break;
	case MS_GC_SWEEP:
		sweep_done(c);
		break;
	case MS_GC_END:
		c->phase_due_ms = 0;	/* the tick closes it: we are inside one of its calls */
		break;
	default:
		break;
	}
}

/* --- the start -------------------------------------------------------------------------------- */

static void cycle_start(struct ms_collector *c)
{
	c->is_dry = c->wants_dry && !c->wants_now;
	c->is_now = c->wants_now;
	c->was_asked = c->wants_now || c->wants_dry;
	if (c->is_now)
		c->wants_now = false;
	else
		c->wants_dry = false;
	c->raises_left = c->is_dry ? 0 : c->is_now ? 2 : 1;
	c->raise_number = 0;
	c->epoch = 0;
	c->roots_done = c->roots_total = c->nodes = c->marks = 0;
	c->trash_blocks = c->trash_bytes = c->young = c->moving = 0;
	c->unwalkable_count = c->unwalkable_total = c->named_count = 0;
	c->is_flushing = false;
	c->begins_left = BEGINS_MAX;
	c->started_wall_ns = loop_wall_ns(c->loop);
	c->phase = MS_GC_RAISE;
	c->phase_due_ms = ms_collector_now_ms(c) + RAISE_MS;
}

static bool is_due(const struct ms_collector *c)
{
	return c->wants_now || c->wants_dry ||
	       (c->every_ms > 0 && ms_collector_now_ms(c) >= c->next_ms);
}

void ms_collector_tick(struct ms_collector *c)
{
	struct ms_server *s = c->server;

	if (c->phase != MS_GC_IDLE && (s->is_failed || s->is_stopping))
		ms_collector_fail(c, -E_SHUTDOWN, "the metadata server takes no changes");
	switch (c->phase) {
	case MS_GC_IDLE:
		if (is_due(c) && !s->is_failed && !s->is_stopping)
			cycle_start(c);
		break;
	case MS_GC_RAISE:
		raise_tick(c);
		break;
	case MS_GC_LIST:
		list_tick(c);
		break;
	case MS_GC_CHECK:
		check_tick(c);
		break;
	case MS_GC_END:
		if (c->server_count == 0 || ms_collector_now_ms(c) >= c->phase_due_ms)
			cycle_close(c);
		break;
	case MS_GC_SWEEP:
		if (ms_collector_now_ms(c) >= c->phase_due_ms)
			ms_collector_fail(c, -E_TIMEDOUT, "the sweep takes too long");
		break;
	case MS_GC_BEGIN:
		if (c->rows_changed)
			begin_again(c);
		break;
	case MS_GC_MARK:
		break;			/* each call has its deadline */
	}
}

int ms_collector_ask(struct ms_collector *c, uint32_t action)
{
	switch (action) {
	case MS_GC_TELL:
		return 0;
	case MS_GC_NOW:
		c->asked += !c->wants_now;
		c->wants_now = true;
		return 0;
	case MS_GC_DRY_RUN:
		c->asked += !c->wants_dry;
		c->wants_dry = true;
		return 0;
	case MS_GC_STOP:
		c->served += c->wants_now + c->wants_dry;
		c->wants_now = c->wants_dry = false;
		ms_collector_fail(c, -E_CANCELED, "stopped by an administrator");
		return 0;
	default:
		return -E_INVAL;
	}
}

/* --- for people ------------------------------------------------------------------------------- */

static void raise_waits_for(const struct ms_collector *c, char out[COLLECTOR_TEXT_BYTES])
{
	struct ms_collection_wait why;

	if (c->raise_number > ms_journal_durable(c->server->journal))
		(void)snprintf(out, COLLECTOR_TEXT_BYTES, "the journal");
	else if (ms_collection_may_rise(c->server->state, &why))
		out[0] = '\0';
	else if (why.server)
		(void)snprintf(out, COLLECTOR_TEXT_BYTES, "server %u to apply epoch %" PRIu64,
			       why.server, ms_collection_epoch(c->server->state));
	else if (why.session)
		(void)snprintf(out, COLLECTOR_TEXT_BYTES,
			       "session %016" PRIx64 " to publish what it has put", why.session);
	else
		(void)snprintf(out, COLLECTOR_TEXT_BYTES, "sessions to come back");
}

/* One of what is waited for: when it is there, the next is named. */
static void waits_for(const struct ms_collector *c, char out[COLLECTOR_TEXT_BYTES])
{
	bool is_marking = c->phase == MS_GC_MARK;

	out[0] = '\0';
	if (c->phase == MS_GC_RAISE)
		raise_waits_for(c, out);
	for (uint32_t i = 0; i < c->server_count && out[0] == '\0'; i++) {
		const struct collector_server *cs = &c->servers[i];
		if (is_marking ? cs->is_calling || cs->again.is_active : !cs->is_done)
			(void)snprintf(out, COLLECTOR_TEXT_BYTES, "server %u", cs->server);
	}
	if (c->phase == MS_GC_CHECK && out[0] == '\0')
		(void)snprintf(out, COLLECTOR_TEXT_BYTES,
			       "the copies of the metadata on chunk servers");
}

void ms_collector_status(struct ms_collector *c, Wire__GcStatus *out)
{
	waits_for(c, c->waits_text);
	wire__gc_status__init(out);
	out->running = c->phase != MS_GC_IDLE;
	out->phase = c->phase;
	out->dry_run = c->is_dry;
	out->epoch = ms_collection_epoch(c->server->state);
	out->roots_done = c->roots_done;
	out->roots_total = MAX_OF(c->roots_total, c->roots_done);
	out->nodes = c->nodes;
	out->marks = c->marks;
	out->started_wall_ns = c->started_wall_ns;
	out->finished_wall_ns = c->finished_wall_ns;
	out->last_rc = c->last_rc;
	out->last_text = c->last_text;
	out->waits_for = c->waits_text;
	out->last_blocks = c->last_blocks;
	out->last_bytes = c->last_bytes;
	out->last_young = c->last_young;
	out->last_moving = c->last_moving;
	out->cycles = c->cycles;
	out->failed = c->failed;
	out->asked = c->asked;
	out->served = c->served;
	out->unwalkable = (uint64_t *)(uintptr_t)c->unwalkable;
	out->n_unwalkable = c->unwalkable_count;
}

/* --- life ------------------------------------------------------------------------------------- */

void ms_collector_map_changed(struct ms_collector *c)
{
	if (c)
		blocks_map_refresh(c->blocks);
}

bool ms_collector_is_idle(const struct ms_collector *c)
{
	return !c->reader || !c->reader->is_working;
}

int ms_collector_create(struct ms_server *s, uint64_t every_ms, uint64_t grace_ms,
			struct ms_collector **out)
{
	const struct super *super = &s->recovery.super;
	struct ms_collector *c = calloc(1, sizeof(*c));
	struct blocks_options o = {
		.rpc = s->rpc, .loop = s->options.loop, .pool = s->options.pool,
		.hash = super->hash, .min_copies = super->min_copies, .aim = s->options.aim,
		.call_ms = BLOCK_CALL_MS,
	};
	int rc;

	if (!c)
		return -E_NOMEM;
	c->server = s;
	c->loop = s->options.loop;
	c->every_ms = every_ms;
	c->grace_ms = grace_ms;
	c->next_ms = loop_now_ms(c->loop) + every_ms;
	rc = rpc_peer_create(s->rpc, ms_server_address(s), &c->self);
	if (rc >= 0) {
		o.mds = c->self;
		rc = blocks_create(&o, &c->blocks);
	}
	if (rc < 0) {
		ms_collector_destroy(c);
		return rc;
	}
	*out = c;
	return 0;
}

void ms_collector_destroy(struct ms_collector *c)
{
	if (!c)
		return;
	c->phase = MS_GC_IDLE;		/* what ends now ends no cycle any more */
	ms_collector_walk_close(c);
	ms_collector_servers_close(c);
	if (c->blocks)
		blocks_destroy(c->blocks);
	if (c->self)
		rpc_peer_destroy(c->self);
	free(c->rows);
	free(c);
}
