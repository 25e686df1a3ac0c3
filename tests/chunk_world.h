/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chunk servers in virtual time, under a metadata server that does as the test says: it gives every
 * group the same row, `world.row`, and notes what heartbeats tell. The test plays the client:
 * put(), get(), ask().
 */
#ifndef CAIRN_TESTS_CHUNK_WORLD_H
#define CAIRN_TESTS_CHUNK_WORLD_H

#include <stdio.h>
#include <string.h>

#include "chunk-server/format.h"
#include "chunk-server/serve.h"
#include "fs/net/rpc.h"
#include "fs/placement/map.h"
#include "fs/wire/heal.h"
#include "tests/check_main.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_net.h"

#define WORLD_SERVERS 4u
#define WORLD_DISKS   2u
#define WORLD_WAIT_NS (120 * SIM_S)

/* From the next start of a server on: its first disk is faster, and blocks get cold within 1 s. */
static bool world_has_tiers;

struct world_node {
	char host[16];
	struct sim_media *media[WORLD_DISKS];
	uint8_t uuids[WORLD_DISKS];
	struct rows *indexes[WORLD_DISKS], *owed;
	bool is_trusted; /* its indexes, at the next start */
	struct loop *loop;
	struct buf_pool *pool;
	struct net *net;
	struct disk *disks[WORLD_DISKS];
	struct cs_server *server;
	/* told by its heartbeats */
	uint64_t boot_id, content, blocks, pending, bytes;
	uint32_t owed_pgs, disks_used, disks_failed;
	struct heal_merged merged[PG_COUNT]; /* newest of each group; epoch 0: none */
};

static struct {
	struct sim_world *sim;
	struct sim_switch *wires;
	struct codec_scratch *codec;
	struct world_node nodes[WORLD_SERVERS + 1]; /* by number, from 1 on */
	struct rpc_peer *peers[WORLD_SERVERS + 1];
	uint8_t next_uuid;
	/* the metadata server */
	struct loop *loop;
	struct buf_pool *pool;
	struct net *net;
	struct rpc *rpc;
	struct server_row servers[WORLD_SERVERS + 1];
	struct pg_row row;
	uint64_t version;
	/* the answer to ask() */
	struct rpc_call call;
	bool is_done;
	int rc;
	uint32_t holder_count;
	struct pg_row told;
	uint8_t bulk[RECORD_BYTES_MAX];
	uint32_t bulk_len;
	bool is_end;
} world;

/* --- the metadata server ---- */

static inline void world_answer_join(struct rpc_request *req, const Wire__Join *msg)
{
	Wire__JoinReply reply = WIRE__JOIN_REPLY__INIT;
	struct server_row *row = &world.servers[msg->uuid.data[0]];

	reply.server = msg->uuid.data[0];
	*row = (struct server_row){.server = reply.server, .state = SERVER_UP,
				   .disk_count = (uint8_t)msg->disks, .weight_bytes = 1,
				   .boot_id = msg->boot_id};
	row->uuid[0] = msg->uuid.data[0];
	snprintf(row->address, sizeof(row->address), "%s", msg->address);
	snprintf(row->host, sizeof(row->host), "%s", msg->host);
	world.nodes[reply.server].boot_id = msg->boot_id;
	world.nodes[reply.server].content = msg->content;
	reply.map_version = ++world.version;
	reply.heartbeat_ms = 200;
	rpc_answer(req, 0, &reply.base, NULL);
}

static inline void world_answer_heartbeat(struct rpc_request *req, const Wire__Heartbeat *msg)
{
	Wire__HeartbeatReply reply = WIRE__HEARTBEAT_REPLY__INIT;
	struct world_node *n = &world.nodes[msg->server];

	n->content = msg->content;
	n->blocks = msg->blocks;
	n->pending = msg->heal_pending_blocks;
	n->bytes = msg->heal_bytes;
	n->owed_pgs = (uint32_t)msg->n_owed_pgs;
	n->disks_used = msg->disks;
	n->disks_failed = msg->disks_failed;
	memset(n->merged, 0, sizeof(n->merged));
	for (size_t at = 0; at < msg->merged.len; at += HEAL_MERGED_BYTES) {
		struct heal_merged m;
		ck_assert_int_eq(heal_merged_decode(msg->merged.data + at, &m), 0);
		n->merged[m.pg] = m;
	}
	reply.map_version = world.version;
	reply.collection = 1;
	reply.state = SERVER_UP;
	rpc_answer(req, 0, &reply.base, NULL);
}

static inline void world_answer_map(struct rpc_request *req, const Wire__MapGet *msg)
{
	static uint8_t bytes[1024][2 + PG_ROW_BYTES_MAX];
	static uint8_t server_bytes[WORLD_SERVERS][SERVER_ROW_BYTES_MAX];
	ProtobufCBinaryData pgs[1024], servers[WORLD_SERVERS];
	Wire__MapReply reply = WIRE__MAP_REPLY__INIT;

	for (uint32_t i = 0; i < 1024; i++) {
		uint32_t pg = msg->first_pg + i;
		bytes[i][0] = (uint8_t)pg;
		bytes[i][1] = (uint8_t)(pg >> 8);
		pgs[i].len = 2 + pg_row_encode(&world.row, bytes[i] + 2);
		pgs[i].data = bytes[i];
	}
	for (uint32_t i = 1; i <= WORLD_SERVERS; i++) {
		uint8_t *out = server_bytes[reply.n_servers];
		if (world.servers[i].server == 0)
			continue;
		servers[reply.n_servers].len = server_row_encode(&world.servers[i], out);
		servers[reply.n_servers++].data = out;
	}
	reply.version = world.version;
	reply.collection = 1;
	reply.pgs = pgs;
	reply.n_pgs = 1024;
	reply.servers = servers;
	reply.next_pg = msg->first_pg + 1024;
	rpc_answer(req, 0, &reply.base, NULL);
}

static inline void world_on_request(void *arg, struct rpc_request *req)
{
	(void)arg;
	if (req->header.type == MSG_JOIN)
		world_answer_join(req, (const Wire__Join *)req->msg);
	else if (req->header.type == MSG_HEARTBEAT)
		world_answer_heartbeat(req, (const Wire__Heartbeat *)req->msg);
	else if (req->header.type == MSG_MAP_GET)
		world_answer_map(req, (const Wire__MapGet *)req->msg);
	else
		rpc_answer(req, -E_NOSYS, NULL, NULL);
}

/* Everyone's groups get this row, under a new epoch. The count of formers follows the replicas. */
static inline void world_set_row(enum pg_state state, const char *replicas, const char *formers)
{
	world.row = (struct pg_row){.epoch = world.row.epoch + 1, .state = state};
	for (; *replicas != '\0'; replicas++)
		world.row.replicas[world.row.replica_count++] = (server_no)(*replicas - '0');
	for (; *formers != '\0'; formers++)
		world.row.formers[world.row.former_count++] = (server_no)(*formers - '0');
	world.version++;
}

/* --- chunk servers ---- */

static inline void world_format(struct world_node *n, uint32_t number, uint32_t disk)
{
	struct super super = {.role = SUPER_CHUNK, .hash = HASH_SHA256, .copies = 3,
			      .min_copies = 2};
	struct error err = {0};
	struct disk *d;

	memset(super.cluster, 7, sizeof(super.cluster));
	super.server[0] = (uint8_t)number;
	n->uuids[disk] = ++world.next_uuid;
	super.directory[0] = n->uuids[disk];
	if (n->media[disk] != NULL)
		sim_media_destroy(n->media[disk]);
	ck_assert_int_eq(sim_media_create(world.sim, MiB(512), &n->media[disk]), 0);
	ck_assert_int_eq(sim_disk_create(n->media[disk], &d), 0);
	ck_assert_int_eq(cs_format(d, &super, &err), 0);
	disk_destroy(d);
	if (n->indexes[disk] != NULL)
		rows_destroy(n->indexes[disk]);
	ck_assert_int_eq(rows_mem_create(&n->indexes[disk]), 0);
}

static inline int node_try_start(uint32_t number, struct error *err)
{
	struct world_node *n = &world.nodes[number];
	char listen[32];

	ck_assert_int_eq(sim_loop_create(world.sim, n->host, &n->loop), 0);
	n->pool = buf_pool_create(MiB(64));
	ck_assert_int_eq(sim_net_create(world.wires, n->loop, n->pool, n->host, &n->net), 0);
	ck_assert_int_eq(rows_mem_create(&n->owed), 0);
	snprintf(listen, sizeof(listen), "%s:7801", n->host);
	struct cs_server_options options = {
		.loop = n->loop, .net = n->net, .pool = n->pool, .owed = n->owed, .listen = listen,
		.mds = "mds:7800", .name = n->host, .host = n->host, .segment_bytes = MiB(1),
		.sync_ms = 100, .sync_bytes = MiB(1), .full_percent = 100,
		.boot_id = sim_world_random(world.sim) | 1, .disk_count = WORLD_DISKS,
	};
	for (uint32_t i = 0; i < WORLD_DISKS; i++) {
		ck_assert_int_eq(sim_disk_create(n->media[i], &n->disks[i]), 0);
		options.disks[i] = (struct cs_server_disk){.disk = n->disks[i],
							   .index = n->indexes[i],
							   .index_is_trusted = n->is_trusted,
							   .tier = world_has_tiers ? i : 0};
	}
	if (world_has_tiers) {
		options.cold_after_ms = 1000;
		options.tier_high_percent = 100;
	}
	return cs_server_create(&options, &n->server, err);
}

static inline void node_start(uint32_t number)
{
	struct error err = {0};

	ck_assert_msg(node_try_start(number, &err) == 0, "%s", err.text);
	world.nodes[number].is_trusted = true;
}

static inline void node_free(struct world_node *n)
{
	n->net->ops->destroy(n->net);
	for (uint32_t i = 0; i < WORLD_DISKS; i++)
		disk_destroy(n->disks[i]);
	rows_destroy(n->owed);
	sim_loop_destroy(n->loop);
	ck_assert_uint_eq(buf_pool_used_bytes(n->pool), 0);
	buf_pool_destroy(n->pool);
	n->server = NULL;
}

static inline void node_end(uint32_t number, bool is_power_cut)
{
	struct world_node *n = &world.nodes[number];

	sim_loop_kill(n->loop);
	sim_net_kill(n->net, is_power_cut);
	for (uint32_t i = 0; i < WORLD_DISKS; i++) {
		if (is_power_cut)
			sim_media_power_cut(n->media[i]);
		else
			sim_media_crash(n->media[i]);
	}
	cs_server_destroy(n->server);
	node_free(n);
	n->is_trusted = !is_power_cut;
}

static inline void node_kill(uint32_t number)
{
	node_end(number, false);
}

static inline bool world_all_joined(void *arg)
{
	(void)arg;
	for (uint32_t i = 1; i <= WORLD_SERVERS; i++) {
		if (world.nodes[i].server != NULL && cs_server_number(world.nodes[i].server) == 0)
			return false;
	}
	return true;
}

static inline void world_begin(void)
{
	struct rpc_options options = {
		.role = RPC_METADATA_SERVER, .name = "mds", .on_request = world_on_request};
	struct error err = {0};

	memset(&world, 0, sizeof(world));
	world.codec = codec_scratch_create();
	ck_assert_int_eq(sim_world_create(1, &world.sim), 0);
	ck_assert_int_eq(sim_switch_create(world.sim, &world.wires), 0);
	ck_assert_int_eq(sim_loop_create(world.sim, "mds", &world.loop), 0);
	world.pool = buf_pool_create(MiB(64));
	ck_assert_int_eq(sim_net_create(world.wires, world.loop, world.pool, "mds", &world.net), 0);
	options.loop = world.loop;
	options.net = world.net;
	options.pool = world.pool;
	memset(options.cluster, 7, sizeof(options.cluster));
	ck_assert_int_eq(rpc_create(&options, &world.rpc), 0);
	ck_assert_int_eq(rpc_listen(world.rpc, "mds:7800", &err), 0);
	world_set_row(PG_CLEAN, "123", "");
	for (uint32_t i = 1; i <= WORLD_SERVERS; i++) {
		char address[32];
		snprintf(world.nodes[i].host, sizeof(world.nodes[i].host), "cs%u", i);
		for (uint32_t d = 0; d < WORLD_DISKS; d++)
			world_format(&world.nodes[i], i, d);
		node_start(i);
		snprintf(address, sizeof(address), "cs%u:7801", i);
		ck_assert_int_eq(rpc_peer_create(world.rpc, address, &world.peers[i]), 0);
	}
	ck_assert(sim_world_run_until(world.sim, world_all_joined, NULL, WORLD_WAIT_NS));
	sim_world_run_for(world.sim, SIM_S);
}

static inline void world_end(void)
{
	for (uint32_t i = 1; i <= WORLD_SERVERS; i++) {
		if (world.nodes[i].server != NULL)
			node_kill(i);
		for (uint32_t d = 0; d < WORLD_DISKS; d++) {
			sim_media_destroy(world.nodes[i].media[d]);
			rows_destroy(world.nodes[i].indexes[d]);
		}
	}
	rpc_destroy(world.rpc);
	world.net->ops->destroy(world.net);
	sim_loop_destroy(world.loop);
	buf_pool_destroy(world.pool);
	sim_switch_destroy(world.wires);
	sim_world_destroy(world.sim);
	codec_scratch_destroy(world.codec);
}

/* --- the client ---- */

static inline void world_take_row(const ProtobufCBinaryData *bytes)
{
	if (bytes->len == 0 || pg_row_decode(bytes->data, bytes->len, &world.told) < 0)
		world.told.epoch = 0;
}

static inline void world_done(struct rpc_call *call)
{
	world.is_done = true;
	world.rc = call->rc;
	if (call->reply_bulk != NULL) {
		world.bulk_len = call->reply_bulk->len;
		memcpy(world.bulk, call->reply_bulk->data, call->reply_bulk->len);
	}
	if (call->reply == NULL)
		return;
	if (call->type == MSG_PUT) {
		const Wire__PutReply *reply = (const Wire__PutReply *)call->reply;
		world.holder_count = (uint32_t)reply->n_holders;
		world_take_row(&reply->pg_row);
	} else if (call->type == MSG_HAVE) {
		const Wire__HaveReply *reply = (const Wire__HaveReply *)call->reply;
		world.holder_count = (uint32_t)reply->answers[0]->n_holders;
	} else if (call->type == MSG_HEAL_DIGEST) {
		world_take_row(&((const Wire__HealDigestReply *)call->reply)->pg_row);
	} else if (call->type == MSG_HEAL_LIST) {
		world.is_end = ((const Wire__HealListReply *)call->reply)->end;
	}
}

static inline bool world_is_done(void *arg)
{
	(void)arg;
	return world.is_done;
}

static inline void ask_begin(uint32_t number, uint16_t type, const ProtobufCMessage *msg,
			     struct buf *bulk, uint64_t epoch)
{
	world.is_done = false;
	world.bulk_len = 0;
	world.told.epoch = 0;
	world.call = (struct rpc_call){.type = type, .request = msg, .bulk = bulk,
				       .bulk_is_record = type == MSG_PUT, .deadline_ms = 5000,
				       .epoch = epoch, .done = world_done};
	rpc_call(world.peers[number], &world.call);
}

static inline int ask(uint32_t number, uint16_t type, const ProtobufCMessage *msg, struct buf *bulk,
		      uint64_t epoch)
{
	ask_begin(number, type, msg, bulk, epoch);
	ck_assert(sim_world_run_until(world.sim, world_is_done, NULL, WORLD_WAIT_NS));
	return world.rc;
}

/* Blocks have numbers, their groups are spread, as in life. */
#define WORLD_PLAIN_BYTES 200u

static inline void plain_of(uint32_t number, uint8_t plain[WORLD_PLAIN_BYTES])
{
	for (uint32_t i = 0; i < WORLD_PLAIN_BYTES; i++)
		plain[i] = (uint8_t)(number * 7 + (number >> 8) * 31 + i * i + (number >> 16));
	memcpy(plain, &number, sizeof(number));
}

static inline void id_of(uint32_t number, struct block_id *id)
{
	uint8_t plain[WORLD_PLAIN_BYTES];

	plain_of(number, plain);
	block_id_of(HASH_SHA256, plain, sizeof(plain), id);
}

static inline struct buf *record_of(uint32_t number, struct block_id *id)
{
	uint8_t plain[WORLD_PLAIN_BYTES];
	struct buf *record = buf_get(world.pool, RECORD_BYTES_MAX);

	plain_of(number, plain);
	record->len = record_build(world.codec, HASH_SHA256, CODEC_AIM_LZ4, plain, sizeof(plain),
				   record->data);
	memcpy(id->bytes, record->data + 8, BLOCK_ID_BYTES);
	return record;
}

/* To one server, which hands it on or not. */
static inline int put(uint32_t number, uint32_t block, bool forward)
{
	Wire__Put msg = WIRE__PUT__INIT;
	struct block_id id;
	struct buf *record = record_of(block, &id);

	msg.forward = forward;
	int rc = ask(number, MSG_PUT, &msg.base, record, world.row.epoch);
	buf_put(record);
	return rc;
}

/* Who holds it, by the word of one that asks the others. */
static inline int have(uint32_t number, uint32_t block)
{
	Wire__Have msg = WIRE__HAVE__INIT;
	struct block_id id;
	ProtobufCBinaryData ids = {BLOCK_ID_BYTES, id.bytes};

	id_of(block, &id);
	msg.ids = &ids;
	msg.n_ids = 1;
	msg.forward = true;
	return ask(number, MSG_HAVE, &msg.base, NULL, 0);
}

static inline int get(uint32_t number, uint32_t block)
{
	Wire__Get msg = WIRE__GET__INIT;
	struct block_id id;
	struct buf *record = record_of(block, &id);

	msg.id.data = id.bytes;
	msg.id.len = BLOCK_ID_BYTES;
	int rc = ask(number, MSG_GET, &msg.base, NULL, world.row.epoch);
	if (rc == 0) {
		ck_assert_uint_eq(world.bulk_len, record->len);
		ck_assert_mem_eq(world.bulk, record->data, record->len);
	}
	buf_put(record);
	return rc;
}

#endif
