/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chunk servers. They are rows and known by their uuid; what heartbeats say is memory. Silence
 * makes a server suspect, then down, then out; out means that its share goes to others. Drained and
 * removed are set by an administrator. Which groups a server has is decided in placement.c, when
 * they are whole in heal.c.
 *
 * A server tells a content number. While it is not the one in the server's row 0x43 the server may
 * lack something that nobody knows by name: all its groups are degraded, a piece per tick, and only
 * then the row follows. Until then none of them becomes clean.
 *
 * Keeps: I10 (a row changes only with a higher epoch).
 */
#include "metadata-server/step_internal.h"

#include <stdlib.h>
#include <string.h>

#include "fs/base/text.h"

#define HEAL_RATE_WEIGHT 4u	/* heartbeats over which the speed of healing is smoothed */

struct ms_member *ms_membership_find(const struct ms_state *state, server_no server)
{
	struct ms_member *m;

	HASH_FIND(hh, state->members, &server, sizeof server, m);
	return m;
}

static struct ms_member *member_make(struct ms_state *state, server_no server)
{
	struct ms_member *m = ms_membership_find(state, server);

	if (m)
		return m;
	m = calloc(1, sizeof *m);
	if (!m)
		return NULL;
	m->server = server;
	HASH_ADD(hh, state->members, server, sizeof m->server, m);
	if (m->hh.tbl)
		return m;
	free(m);
	return NULL;
}

void ms_membership_finish(struct ms_state *state)
{
	struct ms_member *m, *next;

	HASH_ITER(hh, state->members, m, next) {
		HASH_DEL(state->members, m);
		free(m);
	}
	map_destroy(state->map);
	free(state->merges);
}

/* --- what a server is to its groups ----------------------------------------------------------- */

static uint64_t silent_ms(const struct ms_state *state, const struct ms_member *m)
{
	return state->now_ms - MIN_OF(m->stats.heard_ms, state->now_ms);
}

bool ms_membership_is_gone(const struct ms_state *state, server_no server)
{
	const struct server_row *row = map_server(state->map, server);
	const struct ms_member *m = ms_membership_find(state, server);

	if (!row || !m || row->state == SERVER_OUT || row->state == SERVER_REMOVED)
		return true;
	return row->state == SERVER_DRAINED && silent_ms(state, m) >= state->config.out_ms;
}

bool ms_membership_is_alive(const struct ms_state *state, server_no server)
{
	const struct server_row *row = map_server(state->map, server);
	const struct ms_member *m = ms_membership_find(state, server);

	if (!row || !m)
		return false;
	return row->state <= SERVER_SUSPECT ||
	       (row->state == SERVER_DRAINED && silent_ms(state, m) < state->config.down_ms);
}

bool ms_membership_lacks(const struct ms_member *m)
{
	return m->content != 0 && m->content != m->content_stored;
}

/* --- rows ------------------------------------------------------------------------------------- */

static int load_content(struct ms_state *state, const struct row *row, server_no server)
{
	struct ms_member *m = member_make(state, server);

	if (!m)
		return -E_NOMEM;
	return ms_key_content_decode(row->value, row->value_len, &m->content_stored);
}

static int load_row(struct ms_state *state, const struct row *row)
{
	struct server_row server;
	struct ms_map_value v;
	struct pg_row pg;
	struct rd r;
	int rc = -E_CORRUPT;

	if (ms_key_is(row, MS_KEY_PG, &r)) {
		uint16_t number = rd_be16(&r);

		rc = pg_row_decode(row->value, row->value_len, &pg);
		if (rc == 0 &&
		    (!rd_done(&r) || number >= PG_COUNT || !map_put_pg(state->map, number, &pg)))
			rc = -E_CORRUPT;
	} else if (ms_key_is(row, MS_KEY_SERVER, &r)) {
		rc = server_row_decode(row->value, row->value_len, &server);
		if (rc == 0)
			rc = map_put_server(state->map, &server);
		if (rc == 0 && !member_make(state, server.server))
			rc = -E_NOMEM;
	} else if (ms_key_is(row, MS_KEY_MAP, &r)) {
		rc = ms_key_map_decode(row->value, row->value_len, &v);
		map_set_version(state->map, v.version);
		state->last_server = v.last_server;
	} else if (ms_key_is(row, MS_KEY_CONTENT, &r)) {
		rc = load_content(state, row, rd_be32(&r));
		if (rc == 0 && !rd_done(&r))
			rc = -E_CORRUPT;
	}
	return rc == -E_MALFORMED ? -E_CORRUPT : rc;
}

int ms_membership_load(struct ms_state *state)
{
	struct ms_key at = ms_key_one(MS_KEY_PG);
	struct row row;
	int rc = map_create(&state->map);

	state->merges = calloc(PG_COUNT, sizeof *state->merges);
	if (!state->merges)
		rc = -E_NOMEM;
	while (rc == 0 && (rc = ms_txn_next(state->txn, at.bytes, at.len, &row)) == 0) {
		if (row.key[0] > MS_KEY_CONTENT)
			return 0;
		rc = load_row(state, &row);
		if (row.key_len >= sizeof at.bytes)
			return -E_CORRUPT;
		memcpy(at.bytes, row.key, row.key_len);
		at.bytes[row.key_len] = 0;
		at.len = row.key_len + 1;
	}
	return rc == -E_NOENT ? 0 : rc;
}

/* And whoever has an older one should ask. */
void ms_membership_map_changed(struct ms_state *state)
{
	struct ms_key key = ms_key_one(MS_KEY_MAP);
	struct ms_map_value v = { map_version(state->map) + 1, state->last_server };
	uint8_t value[MS_MAP_VALUE_BYTES];

	map_set_version(state->map, v.version);
	ms_key_map_encode(&v, value);
	ms_txn_put(state->txn, key.bytes, key.len, value, sizeof value);
	ms_step_emit(state, &(struct ms_effect){ .kind = MS_FX_MAP });
}

static int store_server(struct ms_state *state, const struct server_row *row)
{
	struct ms_key key = ms_key_server(row->server);
	uint8_t value[SERVER_ROW_BYTES_MAX];
	int rc = map_put_server(state->map, row);

	if (rc < 0)
		return rc;
	ms_txn_put(state->txn, key.bytes, key.len, value, (uint32_t)server_row_encode(row, value));
	ms_membership_map_changed(state);
	return 0;
}

/*
 * What others owe it is told by heartbeats of those who know this map (health.c): earlier ones may
 * be older than puts that it missed.
 */
static void is_back(const struct ms_state *state, struct ms_member *m)
{
	m->back_version = map_version(state->map);
}

static int set_state(struct ms_state *state, server_no server, enum server_state to)
{
	const struct server_row *old = map_server(state->map, server);
	struct server_row row;
	bool had_share, has_share;
	int rc;

	if (!old)
		return -E_NOENT;
	if (old->state == to)
		return 0;
	row = *old;
	row.state = to;
	had_share = old->state <= SERVER_DOWN;
	has_share = to <= SERVER_DOWN;
	rc = store_server(state, &row);
	if (rc == 0 && to == SERVER_UP)
		is_back(state, ms_membership_find(state, server));
	if (rc == 0 && !(had_share && has_share))
		ms_placement_again(state);
	return rc;
}

/*
 * What the server says its content is; a number that is not the stored one begins a sweep of its
 * groups.
 */
static void take_content(struct ms_state *state, struct ms_member *m, uint64_t content)
{
	bool is_new = content != m->content;

	m->is_heard = true;
	m->content = content;
	if (!is_new || !ms_membership_lacks(m))
		return;
	m->content_from = state->swept;
	ms_placement_again(state);
}

static void store_content(struct ms_state *state, struct ms_member *m)
{
	struct ms_key key = ms_key_content(m->server);
	uint8_t value[MS_CONTENT_VALUE_BYTES];

	m->content_stored = m->content;
	ms_key_content_encode(m->content, value);
	ms_txn_put(state->txn, key.bytes, key.len, value, sizeof value);
}

/* Whose groups were all degraded since it told its content: that is known now. */
static void store_contents(struct ms_state *state)
{
	struct ms_member *m, *next;

	HASH_ITER(hh, state->members, m, next)
		if (ms_membership_lacks(m) && state->swept - m->content_from >= PG_COUNT)
			store_content(state, m);
}

/* --- time ------------------------------------------------------------------------------------- */

void ms_membership_term(struct ms_state *state)
{
	struct ms_member *m, *next;

	HASH_ITER(hh, state->members, m, next)
		/* all get the same time to be heard again */
		m->stats.heard_ms = state->now_ms;
	state->first_join_ms = state->now_ms;
	/* a placement that the last term began is finished by this one */
	ms_placement_again(state);
}

static enum server_state state_by_silence(const struct ms_config *config, uint64_t silent_ms)
{
	if (silent_ms >= config->out_ms)
		return SERVER_OUT;
	if (silent_ms >= config->down_ms)
		return SERVER_DOWN;
	return silent_ms >= config->suspect_ms ? SERVER_SUSPECT : SERVER_UP;
}

static void watch_silence(struct ms_state *state, const struct server_row *row, struct ms_member *m)
{
	enum server_state to = state_by_silence(&state->config, silent_ms(state, m));
	bool is_gone;

	/* Only worse: better it becomes by being heard. */
	if (row->state <= SERVER_DOWN && to > row->state)
		(void)set_state(state, m->server, to);	/* of a known server: no failure */
	is_gone = ms_membership_is_gone(state, m->server);
	if (is_gone != m->was_gone)
		ms_placement_again(state);	/* what it holds counts again, or no more */
	m->was_gone = is_gone;
}

static void place_some(struct ms_state *state)
{
	uint32_t changed = ms_heal_tick(state, MS_ROWS_PER_TICK);

	changed += ms_placement_sweep(state, MS_ROWS_PER_TICK - changed);
	if (changed)
		ms_membership_map_changed(state);
	store_contents(state);
	if (changed >= MS_ROWS_PER_TICK || ms_placement_is_sweeping(state))
		ms_step_emit(state, &(struct ms_effect){ .kind = MS_FX_TICK });
}

void ms_membership_slept(struct ms_state *state, uint64_t slept_ms)
{
	struct ms_member *m, *next;

	HASH_ITER(hh, state->members, m, next)
		m->stats.heard_ms = MIN_OF(m->stats.heard_ms + slept_ms, state->now_ms);
}

void ms_membership_tick(struct ms_state *state)
{
	for (uint32_t i = 0; i < map_server_count(state->map); i++) {
		const struct server_row *row = map_server_at(state->map, i);

		watch_silence(state, row, ms_membership_find(state, row->server));
	}
	place_some(state);
}

/* --- requests --------------------------------------------------------------------------------- */

static const struct server_row *find_uuid(const struct ms_state *state, const uint8_t uuid[16])
{
	for (uint32_t i = 0; i < map_server_count(state->map); i++) {
		const struct server_row *row = map_server_at(state->map, i);

		if (memcmp(row->uuid, uuid, sizeof row->uuid) == 0)
			return row;
	}
	return NULL;
}

static bool fill_row(struct server_row *row, const struct ms_request *req)
{
	memcpy(row->uuid, req->uuid, sizeof row->uuid);
	row->disk_count = (uint8_t)req->disks;
	row->weight_bytes = req->bytes_total;
	row->boot_id = req->boot_id;
	memset(row->address, 0, sizeof row->address);
	memset(row->host, 0, sizeof row->host);
	memset(row->rack, 0, sizeof row->rack);
	return text_copy(row->address, sizeof row->address, req->address ? req->address : "") &&
	       text_copy(row->host, sizeof row->host, req->host ? req->host : "") &&
	       text_copy(row->rack, sizeof row->rack, req->rack ? req->rack : "");
}

/* A server that is back: drained stays drained. */
static enum server_state state_when_heard(enum server_state was)
{
	return was == SERVER_DRAINED || was == SERVER_REMOVED ? was : SERVER_UP;
}

int ms_membership_join(struct ms_op *op)
{
	struct ms_state *state = op->state;
	const struct ms_request *req = op->req;
	const struct server_row *old = find_uuid(state, req->uuid);
	struct server_row row = { .server = state->last_server + 1, .state = SERVER_UP };
	bool gets_share = !old || old->state == SERVER_OUT;
	struct ms_member *m;
	int rc;

	if (old) {
		row = *old;
		row.state = state_when_heard(old->state);
	}
	if (row.state == SERVER_REMOVED)
		return -E_PERM;
	if (!fill_row(&row, req) || req->disks == 0 || req->disks > DISKS_MAX || !row.address[0])
		return -E_INVAL;
	if (!old && map_server_count(state->map) >= SERVERS_MAX)
		return -E_TOOBIG;
	m = member_make(state, row.server);
	if (!m)
		return -E_NOMEM;
	if (!map_server_count(state->map))
		state->first_join_ms = state->now_ms;
	state->last_server = MAX_OF(state->last_server, row.server);
	if (!old || memcmp(old, &row, sizeof row) != 0) {
		rc = store_server(state, &row);
		if (rc < 0)
			return rc;
		if (old)
			is_back(state, m);
	}
	m->stats.heard_ms = state->now_ms;
	if (!old && req->content) {	/* in no row yet: there is nothing to degrade */
		m->content = req->content;
		store_content(state, m);
	}
	take_content(state, m, req->content);
	if (gets_share)
		ms_placement_again(state);
	place_some(state);
	op->effect.reply.server = row.server;
	op->effect.reply.map_version = map_version(state->map);
	op->effect.reply.server_state = row.state;
	return 0;
}

/* Bytes a second, smoothed over some heartbeats. */
static uint64_t heal_rate(const struct ms_server_stats *old, uint64_t heal_bytes, uint64_t now_ms)
{
	uint64_t passed = now_ms - MIN_OF(old->heard_ms, now_ms);
	uint64_t more = heal_bytes > old->heal_bytes ? heal_bytes - old->heal_bytes : 0, now;

	if (passed == 0 || old->bytes_total == 0)	/* its first one tells of what was before */
		return old->heal_bytes_per_s;
	now = MIN_OF(more, UINT64_MAX / 1000) * 1000 / passed;
	if (old->heal_bytes_per_s == 0)
		return now;
	return old->heal_bytes_per_s - old->heal_bytes_per_s / HEAL_RATE_WEIGHT +
	       now / HEAL_RATE_WEIGHT;
}

static void take_stats(struct ms_member *m, const struct ms_request *req, uint64_t now_ms)
{
	m->stats = (struct ms_server_stats){
		.blocks = req->blocks, .bytes_stored = req->bytes_stored,
		.bytes_plain = req->bytes_plain, .bytes_free = req->bytes_free,
		.bytes_total = req->bytes_total, .heard_ms = now_ms, .collection = req->collection,
		.disks = req->disks, .disks_failed = req->disks_failed,
		.heal_pending_blocks = req->heal_pending_blocks, .heal_bytes = req->heal_bytes,
		.heal_bytes_per_s = heal_rate(&m->stats, req->heal_bytes, now_ms),
		.trash_blocks = req->trash_blocks, .trash_bytes = req->trash_bytes,
		.dead_bytes = req->dead_bytes, .damaged = req->damaged, .owed = req->owed,
		.reencode = req->reencode };
	m->media_bytes = MIN_OF(req->media_bytes, MEDIA_STATUS_BYTES_MAX);
	if (m->media_bytes > 0)
		memcpy(m->media, req->media, m->media_bytes);
	m->settled_bytes = 0;
	m->map_version = req->map_version;
	memset(m->owed, 0, sizeof m->owed);
	for (uint32_t i = 0; i < req->owed_pg_count; i++)
		if (req->owed_pgs[i] < PG_COUNT)
			m->owed[req->owed_pgs[i] / 8] |= (uint8_t)(1u << req->owed_pgs[i] % 8);
}

int ms_membership_heartbeat(struct ms_op *op)
{
	struct ms_state *state = op->state;
	const struct server_row *row = map_server(state->map, op->req->server);
	struct ms_member *m = ms_membership_find(state, op->req->server);
	enum server_state to;
	int rc;

	if (!row || !m || row->boot_id != op->req->boot_id)
		return -E_NOENT;	/* not known, or under another life of it: join first */
	take_stats(m, op->req, state->now_ms);
	take_content(state, m, op->req->content);
	ms_heal_take(state, op->req);
	to = state_when_heard(row->state);
	rc = set_state(state, op->req->server, to);
	op->effect.reply.server = op->req->server;
	op->effect.reply.server_state = to;
	op->effect.reply.map_version = map_version(state->map);
	op->effect.reply.reencode_ms = ms_turn_take(state, m);
	return rc;
}

/* --- what an administrator sets --------------------------------------------------------------- */

/* Is it named in any row: a replica, or a former holder that not all have merged? */
static bool is_needed(const struct ms_state *state, server_no server)
{
	for (uint32_t pg = 0; pg < PG_COUNT; pg++)
		if (pg_row_names(map_pg(state->map, (pg_no)pg), server))
			return true;
	return false;
}

static uint32_t others_with_share(const struct ms_state *state, server_no server)
{
	uint32_t others = 0;

	for (uint32_t i = 0; i < map_server_count(state->map); i++) {
		const struct server_row *row = map_server_at(state->map, i);

		others += row->server != server && row->state <= SERVER_DOWN;
	}
	return others;
}

/* Is the step from `row` to `to` one that an administrator may take? */
static int may_set(const struct ms_state *state, const struct server_row *row, enum server_state to,
		   bool force)
{
	switch (to) {
	case SERVER_UP:		/* a drain taken back; silence shows by itself */
		return row->state == SERVER_DRAINED ? 0 : -E_INVAL;
	case SERVER_DRAINED:
		return force || others_with_share(state, row->server) >= state->config.min_copies
			       ? 0
			       : -E_BUSY;
	case SERVER_REMOVED:
		if (!is_needed(state, row->server))
			return 0;
		/*
		 * By force only who is not there: its data is given up, and that must be lost
		 * already.
		 */
		return force && !ms_membership_is_alive(state, row->server) ? 0 : -E_BUSY;
	default:
		return -E_INVAL;
	}
}

int ms_membership_set(struct ms_op *op)
{
	const struct server_row *row = map_server(op->state->map, op->req->server);
	enum server_state to = (enum server_state)op->req->state;
	int rc;

	if (to < SERVER_UP || to > SERVER_REMOVED)
		return -E_INVAL;
	if (!row)
		return -E_NOENT;
	if (row->state == to)
		return 0;
	if (row->state == SERVER_REMOVED)
		return -E_PERM;
	rc = may_set(op->state, row, to, op->req->force);
	if (rc == 0)
		rc = set_state(op->state, op->req->server, to);
	if (rc == 0)
		place_some(op->state);	/* who asks next is to see that it has begun */
	return rc;
}
