/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chunk servers and the replica map. Servers are rows and known by their uuid; what heartbeats say is
 * memory. Silence makes a server suspect, then down, then out; out means that its share goes to others.
 *
 * The map is computed once enough servers are known and again when one joins, goes out or is drained, a
 * piece per tick so that a journal record stays bounded. A row keeps its replicas as long as the set is
 * the same. Who leaves a row becomes a former holder as long as data may exist: readers then ask it last.
 * A row that got a new replica while data may exist stays degraded until it is healed; whether a replica
 * is silent is not written into rows but counted (ms_membership_counts).
 *
 * Keeps: I10 (a row changes only with a higher epoch).
 */
#include "metadata-server/step_internal.h"

#include <stdlib.h>
#include <string.h>

#include "fs/base/text.h"

#define PLACED_PER_TICK		1024u	/* rows: at most 75 bytes each in the record */
/* The first placement waits so long for servers that are still starting, if there are fewer than copies. */
#define FIRST_PLACEMENT_MS	3000u

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
}

/* --- rows ------------------------------------------------------------------------------------------- */

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
		if (rc == 0 && (!rd_done(&r) || number >= PG_COUNT || !map_put_pg(state->map, number, &pg)))
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
	}
	return rc == -E_MALFORMED ? -E_CORRUPT : rc;
}

int ms_membership_load(struct ms_state *state)
{
	struct ms_key at = ms_key_one(MS_KEY_PG);
	struct row row;
	int rc = map_create(&state->map);

	while (rc == 0 && (rc = ms_txn_next(state->txn, at.bytes, at.len, &row)) == 0) {
		if (row.key[0] > MS_KEY_MAP)
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

/* The map is one version newer with this event, and who has it should ask. */
static void map_changed(struct ms_state *state)
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
	map_changed(state);
	return 0;
}

static void place_again(struct ms_state *state)
{
	state->replace = true;
	state->replace_from = 0;
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
	if (rc == 0 && had_share != has_share)
		place_again(state);
	return rc;
}

/* --- placement -------------------------------------------------------------------------------------- */

static bool may_hold_data(const struct ms_state *state)
{
	struct ms_member *m, *next;

	if (state->counters.flags & MS_COUNTERS_PUBLISHED || state->session_count)
		return true;	/* a session may have put blocks that are not published yet */
	HASH_ITER(hh, state->members, m, next)
		if (m->stats.blocks)
			return true;
	return false;
}

static bool is_former(const struct pg_row *row, server_no server)
{
	for (uint32_t i = 0; i < row->former_count; i++)
		if (row->formers[i] == server)
			return true;
	return false;
}

static bool add_former(struct pg_row *row, server_no server)
{
	if (pg_row_has(row, server) || is_former(row, server))
		return true;
	if (row->former_count == FORMERS_MAX)
		return false;
	row->formers[row->former_count++] = server;
	return true;
}

/* Who held data under the old row and does not under the new; false: more than a row can name. */
static bool carry_formers(struct pg_row *row, const struct pg_row *old)
{
	for (uint32_t i = 0; i < old->former_count; i++)
		if (!add_former(row, old->formers[i]))
			return false;
	for (uint32_t i = 0; i < old->replica_count; i++)
		if (!add_former(row, old->replicas[i]))
			return false;
	return true;
}

static bool has_all(const struct pg_row *row, const struct pg_row *of)
{
	for (uint32_t i = 0; i < of->replica_count; i++)
		if (!pg_row_has(row, of->replicas[i]))
			return false;
	return true;
}

/* The row of a group as it should be now; false: leave it as it is. */
static bool compute_row(const struct ms_state *state, pg_no pg, bool data, struct pg_row *row)
{
	const struct pg_row *old = map_pg(state->map, pg);
	bool unmerged;

	*row = (struct pg_row){ .epoch = old->epoch + 1, .state = PG_CLEAN };
	row->replica_count =
		(uint8_t)map_place(state->map, pg, state->config.copies, row->replicas);
	if (row->replica_count == 0)
		return false;
	if (data && !carry_formers(row, old))
		return false;
	unmerged = data && old->epoch && (old->state != PG_CLEAN || !has_all(old, row));
	if (row->replica_count < state->config.copies || row->former_count || unmerged)
		row->state = PG_DEGRADED;
	return !(old->replica_count == row->replica_count && has_all(old, row) &&
		 old->state == row->state && old->former_count == row->former_count);
}

static bool may_place(const struct ms_state *state)
{
	uint32_t usable = 0;

	if (map_pg(state->map, 0)->epoch)
		return true;
	for (uint32_t i = 0; i < map_server_count(state->map); i++)
		usable += map_server_at(state->map, i)->state <= SERVER_DOWN;
	return usable >= state->config.copies ||
	       (usable >= state->config.min_copies &&
		state->now_ms - state->first_join_ms >= FIRST_PLACEMENT_MS);
}

static void place_some(struct ms_state *state)
{
	bool data = may_hold_data(state), changed = false;
	uint32_t changes = 0;

	if (!state->replace || !may_place(state))
		return;
	for (; state->replace_from < PG_COUNT && changes < PLACED_PER_TICK; state->replace_from++) {
		pg_no pg = (pg_no)state->replace_from;
		struct ms_key key = ms_key_pg(pg);
		uint8_t value[PG_ROW_BYTES_MAX];
		struct pg_row row;

		if (!compute_row(state, pg, data, &row))
			continue;
		ASSERT(map_put_pg(state->map, pg, &row));
		ms_txn_put(state->txn, key.bytes, key.len, value, (uint32_t)pg_row_encode(&row, value));
		changed = true;
		changes++;
	}
	if (changed)
		map_changed(state);
	if (state->replace_from == PG_COUNT)
		state->replace = false;
	else
		ms_step_emit(state, &(struct ms_effect){ .kind = MS_FX_TICK });
}

/* --- time ------------------------------------------------------------------------------------------- */

void ms_membership_term(struct ms_state *state)
{
	struct ms_member *m, *next;

	HASH_ITER(hh, state->members, m, next)
		m->stats.heard_ms = state->now_ms;	/* all get the same time to be heard again */
	state->first_join_ms = state->now_ms;
	place_again(state);	/* a placement that the last term began is finished by this one */
}

static enum server_state state_by_silence(const struct ms_config *config, uint64_t silent_ms)
{
	if (silent_ms >= config->out_ms)
		return SERVER_OUT;
	if (silent_ms >= config->down_ms)
		return SERVER_DOWN;
	return silent_ms >= config->suspect_ms ? SERVER_SUSPECT : SERVER_UP;
}

void ms_membership_tick(struct ms_state *state)
{
	for (uint32_t i = 0; i < map_server_count(state->map); i++) {
		const struct server_row *row = map_server_at(state->map, i);
		const struct ms_member *m = ms_membership_find(state, row->server);
		enum server_state to = state_by_silence(&state->config, state->now_ms - m->stats.heard_ms);

		/* Only worse: better it becomes by being heard. */
		if (row->state <= SERVER_DOWN && to > row->state)
			(void)set_state(state, row->server, to);	/* of a known server: no failure */
	}
	place_some(state);
}

/* --- requests --------------------------------------------------------------------------------------- */

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
	}
	m->stats.heard_ms = state->now_ms;
	if (gets_share)
		place_again(state);
	place_some(state);
	op->effect.reply.server = row.server;
	op->effect.reply.map_version = map_version(state->map);
	op->effect.reply.server_state = row.state;
	return 0;
}

static void take_stats(struct ms_member *m, const struct ms_request *req, uint64_t now_ms)
{
	m->stats = (struct ms_server_stats){
		.blocks = req->blocks, .bytes_stored = req->bytes_stored, .bytes_plain = req->bytes_plain,
		.bytes_free = req->bytes_free, .bytes_total = req->bytes_total, .heard_ms = now_ms };
	m->settled_bytes = 0;
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
	to = state_when_heard(row->state);
	rc = set_state(state, op->req->server, to);
	op->effect.reply.server = op->req->server;
	op->effect.reply.server_state = to;
	op->effect.reply.map_version = map_version(state->map);
	return rc;
}

int ms_membership_set(struct ms_op *op)
{
	enum server_state to = (enum server_state)op->req->state;

	if (to < SERVER_UP || to > SERVER_REMOVED)
		return -E_INVAL;
	return set_state(op->state, op->req->server, to);
}

/* --- counts ----------------------------------------------------------------------------------------- */

static bool is_owed(const struct ms_state *state, const struct pg_row *row, uint32_t pg)
{
	for (uint32_t i = 0; i < row->replica_count; i++) {
		const struct ms_member *m = ms_membership_find(state, row->replicas[i]);

		if (m && m->owed[pg / 8] >> pg % 8 & 1)
			return true;
	}
	return false;
}

static uint32_t count_up(const struct ms_state *state, const server_no *servers, uint32_t count,
			 enum server_state worst)
{
	uint32_t up = 0;

	for (uint32_t i = 0; i < count; i++) {
		const struct server_row *row = map_server(state->map, servers[i]);

		up += row && (row->state <= worst || row->state == SERVER_DRAINED);
	}
	return up;
}

static enum pg_state judge(const struct ms_state *state, uint32_t pg)
{
	const struct pg_row *row = map_pg(state->map, (pg_no)pg);

	if (row->epoch == 0)
		return PG_DEGRADED;	/* no servers yet: nothing is lost, nothing can be put */
	if (count_up(state, row->replicas, row->replica_count, SERVER_SUSPECT) +
	    count_up(state, row->formers, row->former_count, SERVER_SUSPECT) == 0)
		return PG_LOST;
	if (row->state != PG_CLEAN || is_owed(state, row, pg) ||
	    count_up(state, row->replicas, row->replica_count, SERVER_UP) < row->replica_count)
		return PG_DEGRADED;
	return PG_CLEAN;
}

void ms_membership_counts(const struct ms_state *state, struct ms_counts *out)
{
	for (uint32_t pg = 0; pg < PG_COUNT; pg++) {
		enum pg_state s = judge(state, pg);

		out->pgs_clean += s == PG_CLEAN;
		out->pgs_degraded += s == PG_DEGRADED;
		out->pgs_lost += s == PG_LOST;
	}
}
