/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks of the cluster: the map, the servers it names, and the choice among a block's replicas.
 *
 * The map is fetched in pages and only refreshed on demand: when a server answers with a newer row
 * (I10), when a round over all replicas failed, when someone was told of a newer version.
 */
#define LOG_MODULE	  "blocks"
#define HASH_NONFATAL_OOM 1
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "fs/base/bytes.h"
#include "fs/base/log.h"
#include "fs/base/text.h"
#include "fs/net/blocks_internal.h"

#define NS_PER_MS	    1000000u
#define MAP_RETRY_MS	    200u
#define HEDGE_US_AT_START   50000u
#define TELL_AFTER_NS	    UINT64_C(1000000000)
#define TELL_BYTES_MAX	    512u
#define TELL_EVERY_NS	    UINT64_C(30000000000)
/* A run waits where its neighbours are, for what so many more blocks and so much longer cost. */
#define RUN_OUTSTANDING_MORE 160u
#define RUN_LATENCY_US_MORE  10000u
/* A part of one waits there for about what a read of a disk costs, which memory may save. */
#define PART_OUTSTANDING_MORE 8u
#define PART_LATENCY_US_MORE  1000u
#define PROBE_HITS_AT_START 512u /* of 1,024: probe until we know better */

/* --- small things that the others share ---- */

uint32_t blocks_left_ms(const struct blocks *b, uint64_t deadline_ns)
{
	uint64_t now_ns = loop_now_ns(b->o.loop);
	uint64_t left_ms = deadline_ns > now_ns ? DIV_CEIL(deadline_ns - now_ns, NS_PER_MS) : 1;

	return (uint32_t)MIN_OF(left_ms, (uint64_t)INT32_MAX);
}

uint32_t blocks_call_ms(const struct blocks *b, uint64_t deadline_ns)
{
	return MIN_OF(blocks_left_ms(b, deadline_ns), b->o.call_ms);
}

void *blocks_state_new(size_t bytes)
{
	void *state = calloc(1, bytes);

	/* Submitting cannot fail: who has no kilobyte left has no way to go on. */
	ASSERT(state);
	return state;
}

int blocks_work_begin(struct blocks *b, struct blocks_scratch **out)
{
	struct blocks_scratch *s = b->scratches;

	if (s) {
		LL_DELETE(b->scratches, s);
	} else {
		s = calloc(1, sizeof(*s));
		if (s)
			s->codec = codec_scratch_create();
		if (!s || !s->codec) {
			free(s);
			return -E_NOMEM;
		}
	}
	b->work_count++;
	*out = s;
	return 0;
}

static void blocks_free(struct blocks *b)
{
	while (b->scratches) {
		struct blocks_scratch *s = b->scratches;

		LL_DELETE(b->scratches, s);
		codec_scratch_destroy(s->codec);
		free(s);
	}
	map_destroy(b->map);
	free(b);
}

void blocks_work_end(struct blocks *b, struct blocks_scratch *scratch)
{
	ASSERT(b->work_count > 0);
	b->work_count--;
	LL_PREPEND(b->scratches, scratch);
	if (b->is_destroyed && b->work_count == 0)
		blocks_free(b);
}

/* --- servers ---- */

static struct blocks_server *server_get(struct blocks *b, const struct server_row *row)
{
	struct blocks_server *s;

	HASH_FIND(hh, b->servers, &row->server, sizeof(row->server), s);
	if (s && strcmp(s->address, row->address) == 0)
		return s;
	if (s) { /* it moved: what is outstanding ends, and is asked elsewhere */
		HASH_DEL(b->servers, s);
		rpc_peer_destroy(s->peer);
		free(s);
	}
	s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->server = row->server;
	(void)text_copy(s->address, sizeof(s->address), row->address); /* of equal size */
	if (rpc_peer_create(b->o.rpc, s->address, &s->peer) < 0) {
		free(s);
		return NULL;
	}
	HASH_ADD(hh, b->servers, server, sizeof(s->server), s);
	if (!s->hh.tbl) {
		rpc_peer_destroy(s->peer);
		free(s);
		return NULL;
	}
	return s;
}

struct blocks_server *blocks_server_of(struct blocks *b, server_no server)
{
	const struct server_row *row = map_server(b->map, server);

	return row ? server_get(b, row) : NULL;
}

static void servers_destroy(struct blocks *b)
{
	struct blocks_server *s, *tmp;

	HASH_ITER (hh, b->servers, s, tmp) {
		HASH_DEL(b->servers, s);
		rpc_peer_destroy(s->peer);
		free(s);
	}
}

/* --- routes ---- */

void blocks_route_init(struct blocks_route *r, struct blocks *b, const struct block_id *id)
{
	*r = (struct blocks_route){.b = b, .id = *id, .pause_ms = 2 * BLOCKS_PAUSE_MS_MIN};
}

const struct pg_row *blocks_route_row(struct blocks_route *r)
{
	const struct pg_row *row = map_pg(r->b->map, block_id_pg(&r->id));

	if (row->epoch != r->epoch) {
		r->epoch = row->epoch;
		r->tried_count = 0;
	}
	return row->epoch ? row : NULL;
}

static bool route_was_tried(const struct blocks_route *r, server_no server)
{
	for (uint8_t i = 0; i < r->tried_count; i++) {
		if (r->tried[i] == server)
			return true;
	}
	return false;
}

/*
 * How little we would like to ask this one: first those that answer and that the map calls up,
 * replicas before formers, then by what is outstanding there times how long it takes to answer.
 */
static uint64_t server_cost(const struct server_row *row, const struct rpc_peer *peer,
			    bool is_former)
{
	uint64_t load = (rpc_peer_outstanding(peer) + 1) * (rpc_peer_latency_us(peer) + 1);

	load = MIN_OF(load, UINT64_C(1) << 40);
	return load | (rpc_peer_is_away(peer) ? UINT64_C(1) << 63 : 0) |
	       (row->state == SERVER_UP ? 0 : UINT64_C(1) << 62) |
	       (is_former ? UINT64_C(1) << 61 : 0);
}

static void route_consider(struct blocks_route *r, server_no server, bool is_former,
			   struct blocks_server **best, uint64_t *best_cost)
{
	const struct server_row *row = map_server(r->b->map, server);

	if (!row || row->state == SERVER_REMOVED || route_was_tried(r, server))
		return;
	struct blocks_server *s = server_get(r->b, row);
	if (!s)
		return;
	uint64_t cost = server_cost(row, s->peer, is_former);
	if (cost < *best_cost) {
		*best = s;
		*best_cost = cost;
	}
}

/* May it wait at this one, when the other is the least loaded? */
static bool part_may_wait_at(const struct blocks_server *s, const struct blocks_server *least)
{
	return rpc_peer_outstanding(s->peer) <=
		       rpc_peer_outstanding(least->peer) + PART_OUTSTANDING_MORE &&
	       rpc_peer_latency_us(s->peer) <=
		       4 * rpc_peer_latency_us(least->peer) + PART_LATENCY_US_MORE;
}

static bool run_may_wait_at(const struct blocks_server *s, const struct blocks_server *least)
{
	return rpc_peer_outstanding(s->peer) <=
		       rpc_peer_outstanding(least->peer) + RUN_OUTSTANDING_MORE &&
	       rpc_peer_latency_us(s->peer) <=
		       4 * rpc_peer_latency_us(least->peer) + RUN_LATENCY_US_MORE;
}

/*
 * The replica that the run prefers: all servers in a circle by number, turned by one with each run,
 * so that consecutive runs go to different servers and a run to few, whatever the rows. NULL: none
 * of them is well.
 */
static struct blocks_server *route_of_run(const struct blocks_route *r, const struct pg_row *row)
{
	const struct map *map = r->b->map;
	uint32_t count = map_server_count(map);
	uint64_t circle = count ? map_server_at(map, count - 1)->server : 1;
	struct blocks_server *best = NULL;
	uint64_t best_rank = 0;

	for (uint8_t i = 0; i < row->replica_count; i++) {
		const struct server_row *server = map_server(map, row->replicas[i]);
		struct blocks_server *s;

		if (!server || server->state != SERVER_UP)
			continue;
		uint64_t rank = 1 + (server->server + r->run) % circle;
		s = rank > best_rank ? server_get(r->b, server) : NULL;
		if (!s || rpc_peer_is_away(s->peer))
			continue;
		best = s;
		best_rank = rank;
	}
	return best;
}

struct blocks_server *blocks_route_next(struct blocks_route *r, bool with_formers)
{
	const struct pg_row *row = blocks_route_row(r);
	struct blocks_server *best = NULL;
	uint64_t best_cost = UINT64_MAX;

	for (uint8_t i = 0; row && i < row->replica_count; i++)
		route_consider(r, row->replicas[i], false, &best, &best_cost);
	for (uint8_t i = 0; row && with_formers && i < row->former_count; i++)
		route_consider(r, row->formers[i], true, &best, &best_cost);
	if (best && r->run && r->tried_count == 0) {
		struct blocks_server *preferred = route_of_run(r, row);

		if (preferred && (r->is_part ? part_may_wait_at : run_may_wait_at)(preferred, best))
			best = preferred;
	}
	if (best) {
		ASSERT(r->tried_count < BLOCKS_CANDIDATES_MAX);
		r->tried[r->tried_count++] = best->server;
	}
	return best;
}

void blocks_route_forget(struct blocks_route *r, server_no server)
{
	for (uint8_t i = 0; i < r->tried_count; i++) {
		if (r->tried[i] == server) {
			r->tried[i] = r->tried[--r->tried_count];
			return;
		}
	}
}

void blocks_route_learn(struct blocks_route *r, const ProtobufCBinaryData *pg_row)
{
	struct pg_row row;

	if (pg_row->len && pg_row_decode(pg_row->data, pg_row->len, &row) == 0)
		(void)map_put_pg(r->b->map, block_id_pg(&r->id),
				 &row); /* ours may be newer already */
	blocks_map_refresh(r->b);	/* it may name servers that we do not know */
}

uint32_t blocks_route_pause(struct blocks_route *r)
{
	uint32_t ms = r->pause_ms;

	r->pause_ms = MIN_OF(r->pause_ms * 2, BLOCKS_PAUSE_MS_MAX);
	r->tried_count = 0;
	blocks_map_refresh(r->b);
	return ms;
}

/* --- telling who is missing ---- */

static void name_add(struct text *text, const struct blocks_route *r, server_no server)
{
	const struct server_row *row = map_server(r->b->map, server);
	struct blocks_server *s;
	const char *how = "unknown";

	HASH_FIND(hh, r->b->servers, &server, sizeof(server), s);
	if (row && row->state != SERVER_UP)
		how = server_state_name(row->state);
	else if (s && rpc_peer_is_away(s->peer))
		how = "does not answer";
	else if (row)
		how = "answers";
	text_addf(text, "%s%u (%s)", text->len ? ", " : "", (unsigned)server, how);
}

void blocks_route_tell(struct blocks_route *r, const char *what, uint64_t start_ns)
{
	const struct pg_row *row = map_pg(r->b->map, block_id_pg(&r->id));
	uint64_t now_ns = loop_now_ns(r->b->o.loop);
	struct text text;

	if (now_ns < start_ns + TELL_AFTER_NS ||
	    (r->b->told_ns && now_ns < r->b->told_ns + TELL_EVERY_NS))
		return;
	r->b->told_ns = now_ns;
	text_init(&text, TELL_BYTES_MAX);
	for (uint8_t i = 0; i < row->replica_count; i++)
		name_add(&text, r, row->replicas[i]);
	for (uint8_t i = 0; i < row->former_count; i++)
		name_add(&text, r, row->formers[i]);
	log_warn("%s waits for servers of group %u: %s", what, (unsigned)block_id_pg(&r->id),
		 row->epoch ? text_chars(&text) : "its row is not known");
	text_finish(&text);
}

void blocks_route_tell_end(struct blocks_route *r, const char *what, uint64_t start_ns)
{
	if (!r->b->told_ns || start_ns > r->b->told_ns)
		return;
	r->b->told_ns = 0;
	log_info("%s goes on in group %u", what, (unsigned)block_id_pg(&r->id));
}

/* --- the map ---- */

static void map_ask(struct blocks *b, uint32_t first_pg);

static int map_take_servers(struct blocks *b, const Wire__MapReply *reply)
{
	int rc = 0;

	for (size_t i = 0; i < reply->n_servers && rc == 0; i++) {
		struct server_row row;

		rc = server_row_decode(reply->servers[i].data, reply->servers[i].len, &row);
		if (rc == 0)
			rc = map_put_server(b->map, &row);
	}
	return rc;
}

static int map_take_pgs(struct blocks *b, const Wire__MapReply *reply)
{
	for (size_t i = 0; i < reply->n_pgs; i++) {
		struct rd r = rd_init(reply->pgs[i].data, reply->pgs[i].len);
		pg_no pg = rd_u16(&r);
		struct pg_row row;

		if (!rd_ok(&r) || pg >= PG_COUNT || pg_row_decode(r.at, rd_left(&r), &row) < 0)
			return -E_MALFORMED;
		(void)map_put_pg(b->map, pg, &row); /* ours may be newer already */
	}
	return 0;
}

static void map_ended(struct blocks *b, int rc)
{
	b->map_is_asking = false;
	if (rc < 0) {
		log_debug("cannot fetch the map: %s", error_text(rc));
		loop_timer_start(b->o.loop, &b->map_timer, MAP_RETRY_MS);
		return;
	}
	map_set_version(b->map, b->map_version_seen);
	b->map_rounds++;
	if (b->map_again)
		blocks_map_refresh(b);
}

static void map_done(struct rpc_call *call)
{
	struct blocks *b = call->user;
	const Wire__MapReply *reply = (const Wire__MapReply *)call->reply;
	int rc = call->rc;

	if (rc == 0)
		rc = map_take_servers(b, reply);
	if (rc == 0)
		rc = map_take_pgs(b, reply);
	if (rc < 0) {
		map_ended(b, rc);
		return;
	}
	/* Rows may change between pages: the first page's version is what all of them are at least.
	 */
	if (b->map_version_seen == 0)
		b->map_version_seen = reply->version;
	if (reply->next_pg < PG_COUNT)
		map_ask(b, reply->next_pg);
	else
		map_ended(b, 0);
}

static void map_ask(struct blocks *b, uint32_t first_pg)
{
	Wire__MapGet get = WIRE__MAP_GET__INIT;

	get.since = map_version(b->map);
	get.first_pg = first_pg;
	if (first_pg == 0)
		b->map_version_seen = 0;
	b->map_is_asking = true;
	b->map_call = (struct rpc_call){
		.type = MSG_MAP_GET,
		.request = &get.base,
		.resend = true,
		.deadline_ms = b->o.call_ms,
		.done = map_done,
		.user = b,
	};
	rpc_call(b->o.mds, &b->map_call);
}

static void map_timer_fired(struct loop_timer *timer)
{
	blocks_map_refresh(container_of(timer, struct blocks, map_timer));
}

uint64_t blocks_map_fresh_rounds(const struct blocks *b)
{
	if (!b->o.mds)
		return b->map_rounds; /* ours is the newest */
	return b->map_rounds + (b->map_is_asking ? 2 : 1);
}

void blocks_map_refresh(struct blocks *b)
{
	if (!b->o.mds)
		return; /* the metadata server itself: it puts the rows */
	if (b->map_is_asking) {
		b->map_again = true;
		return;
	}
	b->map_again = false;
	loop_timer_stop(b->o.loop, &b->map_timer);
	map_ask(b, 0);
}

/* --- life ---- */

int blocks_create(const struct blocks_options *options, struct blocks **out)
{
	struct blocks *b = calloc(1, sizeof(*b));

	ASSERT(options->call_ms > 0 && options->min_copies > 0);
	if (!b)
		return -E_NOMEM;
	b->o = *options;
	b->map_timer.fn = map_timer_fired;
	b->encode_timer.fn = blocks_encode_turn;
	b->probe_timer.fn = blocks_probe_turn;
	b->hedge_us = HEDGE_US_AT_START;
	b->probe_hits = PROBE_HITS_AT_START;
	int rc = map_create(&b->map);
	if (rc < 0) {
		free(b);
		return rc;
	}
	blocks_map_refresh(b);
	*out = b;
	return 0;
}

void blocks_destroy(struct blocks *b)
{
	if (!b)
		return;
	blocks_sync_end_all(b); /* first: reputs own puts, which own gets */
	blocks_put_end_all(b);
	blocks_get_end_all(b);
	blocks_check_end_all(b);
	rpc_cancel(&b->map_call);
	loop_timer_stop(b->o.loop, &b->map_timer);
	loop_timer_stop(b->o.loop, &b->encode_timer);
	loop_timer_stop(b->o.loop, &b->probe_timer);
	ASSERT(!b->encodes && !b->probes);
	servers_destroy(b);
	b->is_destroyed = true;
	if (b->work_count == 0)
		blocks_free(b);
}

struct map *blocks_map(struct blocks *b)
{
	return b->map;
}
