/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Our part in the cluster: join, then a heartbeat whenever the metadata server wants one, and the
 * map when it has changed. Everything is retried for ever, with backoff: a chunk server without a
 * metadata server still answers for the blocks it has.
 */
#include "chunk-server/serve_internal.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "fs/base/bytes.h"
#include "fs/base/log.h"
#include "fs/wire/heal.h"

#define LOG_MODULE "heartbeat"

#define CALL_MS	       5000u
#define BEAT_MS	       1000u /* until the metadata server tells another */
#define BACKOFF_MS_MIN 100u
#define BACKOFF_MS_MAX 2000u
#define HEARD_BEATS    10u   /* a metadata server that is silent for so long may be gone, */
#define HEARD_MS_MIN   2000u /* but not before */
#define OWED_TOLD_MAX  PG_COUNT

struct heartbeat {
	struct cs_server *server;
	struct rpc_peer *mds;
	struct rpc_call beat; /* a join or a heartbeat: one at a time */
	bool is_beating;
	uint64_t sent_boot_id;	 /* of the join in flight */
	uint64_t joined_boot_id; /* 0: not joined */
	uint64_t sent_ms;	 /* the heartbeat in flight */
	uint64_t codec_bytes[CS_CODECS_MAX];
	uint64_t sent_content;	 /* by the join or heartbeat in flight */
	uint32_t beat_ms, backoff_ms;
	uint64_t heard_ms;	 /* when a join or heartbeat was answered last; 0: never */
	struct loop_timer beat_timer;
	/* the map */
	struct rpc_call fetch;
	bool is_fetching;
	uint32_t next_pg;
	uint64_t fetched_version; /* told by the first page */
	struct map_wait *waiting; /* for the fetch in flight */
	uint32_t owed_pgs[OWED_TOLD_MAX];
	uint8_t merged[HEAL_MERGED_BYTES * PG_COUNT];
	uint8_t media[MEDIA_STATUS_BYTES_MAX];
};

static void beat(struct heartbeat *h);
static void fetch_page(struct heartbeat *h);

static void beat_after(struct heartbeat *h, uint64_t ms)
{
	loop_timer_start(h->server->options.loop, &h->beat_timer, ms);
}

static void beat_failed(struct heartbeat *h)
{
	h->backoff_ms = MIN_OF(MAX_OF(h->backoff_ms * 2, BACKOFF_MS_MIN), BACKOFF_MS_MAX);
	beat_after(h, h->backoff_ms);
}

/* --- the map ---- */

static void fetch_start(struct heartbeat *h)
{
	if (h->is_fetching)
		return;
	h->is_fetching = true;
	h->next_pg = 0;
	h->fetched_version = 0;
	fetch_page(h);
}

static void fetch_end(struct heartbeat *h, int rc)
{
	struct map_wait *waiting = h->waiting;

	h->is_fetching = false;
	h->waiting = NULL;
	while (waiting != NULL) {
		struct map_wait *wait = waiting;
		DL_DELETE(waiting, wait);
		wait->done(wait, rc);
	}
	/* If it failed, or was out of date when it came: the next heartbeat asks again. */
}

int cs_heartbeat_take_row(struct cs_server *s, pg_no pg, const ProtobufCBinaryData *bytes)
{
	struct pg_row row;
	int rc = pg_row_decode(bytes->data, bytes->len, &row);

	if (rc == 0)
		(void)map_put_pg(s->map, pg, &row); /* an older one is no news */
	return rc;
}

static int take_pg(struct cs_server *s, const ProtobufCBinaryData *bytes)
{
	struct rd r = rd_init(bytes->data, bytes->len);
	pg_no pg = rd_u16(&r);

	if (!rd_ok(&r) || pg >= PG_COUNT)
		return -E_MALFORMED;
	ProtobufCBinaryData row = {.len = bytes->len - 2, .data = bytes->data + 2};
	return cs_heartbeat_take_row(s, pg, &row);
}

static int take_page(struct heartbeat *h, const Wire__MapReply *reply)
{
	struct cs_server *s = h->server;
	struct server_row row;
	int rc = 0;

	for (size_t i = 0; i < reply->n_servers && rc == 0; i++) {
		rc = server_row_decode(reply->servers[i].data, reply->servers[i].len, &row);
		if (rc == 0)
			rc = map_put_server(s->map, &row);
	}
	for (size_t i = 0; i < reply->n_pgs && rc == 0; i++)
		rc = take_pg(s, &reply->pgs[i]);
	cs_collect_epoch(s, reply->collection);
	/* The first page's: what changes while we read on is asked for again. */
	if (h->fetched_version == 0)
		h->fetched_version = reply->version;
	return rc;
}

static void page_came(struct rpc_call *call)
{
	struct heartbeat *h = container_of(call, struct heartbeat, fetch);
	const Wire__MapReply *reply = (const Wire__MapReply *)call->reply;
	int rc = call->rc;

	if (rc == 0)
		rc = reply != NULL ? take_page(h, reply) : -E_MALFORMED;
	if (rc == 0 && reply->next_pg < PG_COUNT) {
		if (reply->next_pg > h->next_pg) {
			h->next_pg = reply->next_pg;
			fetch_page(h);
			return;
		}
		rc = -E_MALFORMED;
	}
	if (rc == 0)
		map_set_version(h->server->map, h->fetched_version);
	else
		log_warn("cannot fetch the map: %s", error_text(rc));
	fetch_end(h, rc);
}

static void fetch_page(struct heartbeat *h)
{
	Wire__MapGet msg = WIRE__MAP_GET__INIT;

	msg.since = map_version(h->server->map);
	msg.first_pg = h->next_pg;
	h->fetch = (struct rpc_call){
		.type = MSG_MAP_GET,
		.request = &msg.base,
		.deadline_ms = CALL_MS,
		.done = page_came,
	};
	rpc_call(h->mds, &h->fetch);
}

void cs_heartbeat_map_wait(struct cs_server *s, struct map_wait *wait)
{
	DL_APPEND(s->heartbeat->waiting, wait);
	fetch_start(s->heartbeat);
}

static void heard_version(struct heartbeat *h, uint64_t version)
{
	if (version > map_version(h->server->map))
		fetch_start(h);
}

/* --- joining ---- */

static void joined(struct rpc_call *call)
{
	struct heartbeat *h = container_of(call, struct heartbeat, beat);
	struct cs_server *s = h->server;
	const Wire__JoinReply *reply = (const Wire__JoinReply *)call->reply;

	h->is_beating = false;
	if (call->rc < 0 || reply == NULL || reply->server == 0) {
		log_warn("cannot join: %s", error_text(call->rc < 0 ? call->rc : -E_MALFORMED));
		beat_failed(h);
		return;
	}
	if (!cs_fence_admits(s, reply->stamp)) {
		beat_failed(h);
		return;
	}
	if (s->number == 0)
		log_info("joined as server %u", reply->server);
	h->heard_ms = loop_now_ms(s->options.loop);
	h->joined_boot_id = h->sent_boot_id;
	s->content_heard = h->sent_content;
	h->backoff_ms = 0;
	h->beat_ms = reply->heartbeat_ms > 0 ? MIN_OF(reply->heartbeat_ms, 60000u) : BEAT_MS;
	s->number = reply->server;
	if (reply->stamp != NULL)
		cs_collect_epoch(s, reply->stamp->collection);
	rpc_set_server(s->rpc, s->number);
	heard_version(h, reply->map_version);
	beat(h);
}

static void join(struct heartbeat *h)
{
	struct cs_server *s = h->server;
	Wire__Join msg = WIRE__JOIN__INIT;
	struct cs_store_stats stats;

	cs_disks_stats(s->disks, &stats);
	msg.uuid.data = s->uuid;
	msg.uuid.len = UUID_BYTES;
	msg.address = s->advertise;
	msg.host = s->host;
	msg.rack = s->rack;
	msg.disks = cs_disks_count(s->disks) - cs_disks_failed_count(s->disks);
	msg.bytes_total = stats.bytes_total;
	msg.boot_id = s->boot_id;
	msg.content = h->sent_content = cs_serve_tell_content(s);
	msg.term = s->term;
	h->beat = (struct rpc_call){
		.type = MSG_JOIN,
		.request = &msg.base,
		.deadline_ms = CALL_MS,
		.done = joined,
	};
	h->sent_boot_id = s->boot_id;
	h->is_beating = true;
	rpc_call(h->mds, &h->beat);
}

/* --- heartbeats ---- */

static void beaten(struct rpc_call *call)
{
	struct heartbeat *h = container_of(call, struct heartbeat, beat);
	const Wire__HeartbeatReply *reply = (const Wire__HeartbeatReply *)call->reply;

	h->is_beating = false;
	if (call->rc < 0 || reply == NULL || !cs_fence_admits(h->server, reply->stamp)) {
		/* Whatever it forgot of us, joining tells it. */
		h->joined_boot_id = 0;
		beat_failed(h);
		return;
	}
	h->heard_ms = loop_now_ms(h->server->options.loop);
	h->server->content_heard = h->sent_content;
	h->backoff_ms = 0;
	cs_collect_epoch(h->server, reply->collection);
	cs_reencode_turn(h->server, h->sent_ms, reply->reencode_ms);
	heard_version(h, reply->map_version);
	beat_after(h, h->beat_ms);
}

static uint32_t owed_pgs(struct heartbeat *h)
{
	uint32_t count = 0;

	for (uint32_t pg = 0; pg < PG_COUNT && count < OWED_TOLD_MAX; pg++) {
		if (cs_owed_has_pg(h->server->owed, (pg_no)pg))
			h->owed_pgs[count++] = pg;
	}
	return count;
}

static void beat(struct heartbeat *h)
{
	struct cs_server *s = h->server;
	Wire__Heartbeat msg = WIRE__HEARTBEAT__INIT;
	struct cs_store_stats stats;
	Wire__ReencodeStatus reencode;

	if (h->is_beating)
		return;
	cs_disks_check_owed(s->disks);
	if (h->joined_boot_id != s->boot_id) {
		join(h);
		return;
	}
	cs_disks_stats(s->disks, &stats);
	msg.server = s->number;
	msg.boot_id = s->boot_id;
	msg.blocks = stats.blocks;
	msg.bytes_stored = stats.bytes_stored;
	msg.bytes_plain = stats.bytes_plain;
	msg.bytes_free = stats.bytes_free;
	msg.bytes_total = stats.bytes_total;
	msg.owed_pgs = h->owed_pgs;
	msg.n_owed_pgs = owed_pgs(h);
	msg.map_version = map_version(s->map);
	msg.collection = s->collection;
	msg.trash_blocks = stats.blocks_trash;
	msg.trash_bytes = stats.bytes_trash;
	msg.dead_bytes = stats.bytes_dead;
	msg.content = h->sent_content = cs_serve_tell_content(s);
	uint32_t failed = cs_disks_failed_count(s->disks);
	msg.disks_failed = s->disks_missing + failed;
	msg.disks = cs_disks_count(s->disks) - failed;
	msg.damaged = stats.damaged;
	msg.owed = cs_owed_count(s->owed);
	msg.merged.data = h->merged;
	msg.merged.len = cs_heal_merged(s, h->merged);
	msg.heal_pending_blocks = cs_heal_pending(s);
	msg.heal_bytes = cs_heal_bytes(s) + cs_repay_bytes(s);
	cs_reencode_tell(s, &reencode);
	msg.reencode = &reencode;
	memcpy(h->codec_bytes, stats.bytes_codec, sizeof(h->codec_bytes));
	msg.codec_bytes = h->codec_bytes;
	msg.n_codec_bytes = CODEC_COUNT;
	h->sent_ms = loop_now_ms(s->options.loop);
	msg.media.data = h->media;
	msg.media.len = cs_media_report(s, h->media);
	h->beat = (struct rpc_call){
		.type = MSG_HEARTBEAT,
		.request = &msg.base,
		.done = beaten,
		.deadline_ms = MAX_OF(3 * h->beat_ms, BEAT_MS),
	};
	h->is_beating = true;
	rpc_call(h->mds, &h->beat);
}

static void beat_fired(struct loop_timer *timer)
{
	beat(container_of(timer, struct heartbeat, beat_timer));
}

bool cs_heartbeat_is_heard(const struct cs_server *s)
{
	const struct heartbeat *h = s->heartbeat;

	return h != NULL && h->heard_ms != 0 &&
	       loop_now_ms(s->options.loop) - h->heard_ms <
		       MAX_OF(HEARD_BEATS * h->beat_ms, HEARD_MS_MIN);
}

void cs_heartbeat_rejoin(struct cs_server *s)
{
	if (s->heartbeat == NULL)
		return;
	/* beat() sees that we joined under another one. */
	beat_after(s->heartbeat, 0);
}

void cs_heartbeat_soon(struct cs_server *s)
{
	struct heartbeat *h = s->heartbeat;

	if (h != NULL && h->joined_boot_id != 0 && !h->is_beating)
		beat_after(h, 0);
}

int cs_heartbeat_create(struct cs_server *s)
{
	struct heartbeat *h = calloc(1, sizeof(*h));

	if (h == NULL)
		return -E_NOMEM;
	h->server = s;
	h->beat_ms = BEAT_MS;
	h->beat_timer.fn = beat_fired;
	int rc = rpc_peer_create(s->rpc, s->mds, &h->mds);
	if (rc < 0) {
		free(h);
		return rc;
	}
	s->heartbeat = h;
	beat_after(h, 0);
	return 0;
}

void cs_heartbeat_destroy(struct cs_server *s)
{
	struct heartbeat *h = s->heartbeat;

	if (h == NULL)
		return;
	loop_timer_stop(s->options.loop, &h->beat_timer);
	if (h->is_beating)
		rpc_cancel(&h->beat);
	if (h->is_fetching)
		rpc_cancel(&h->fetch);
	rpc_peer_destroy(h->mds);
	free(h);
	s->heartbeat = NULL;
}
