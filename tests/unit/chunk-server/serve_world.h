/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Three chunk servers and a metadata server that only knows the map, in virtual time, and a client
 * that asks them: begin() and end() are the fixture, what came of the last question is in `got`.
 */
#ifndef CAIRN_TESTS_UNIT_CHUNK_SERVER_SERVE_WORLD_H
#define CAIRN_TESTS_UNIT_CHUNK_SERVER_SERVE_WORLD_H

#include <stdio.h>
#include <string.h>

#include "chunk-server/format.h"
#include "chunk-server/serve_internal.h"
#include "fs/hash/checksum.h"
#include "fs/net/rpc.h"
#include "fs/placement/map.h"
#include "tests/check_main.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_net.h"

#define SERVERS 3u
#define WAIT_NS (30 * SIM_S)

struct node {
	char host[16];
	struct sim_media *media;
	struct loop *loop;
	struct buf_pool *pool;
	struct net *net;
	struct disk *disk;
	struct rows *index, *owed;
	struct cs_server *server;
};

static struct sim_world *world;
static struct sim_switch *wires;
static struct node nodes[SERVERS];
static struct codec_scratch *codec;

/* The metadata server's side, and the asking client. */
static struct {
	struct loop *loop;
	struct buf_pool *pool;
	struct net *net;
	struct rpc *rpc;
	struct server_row rows[SERVERS + 1];
	uint64_t epoch, version, term;
	uint64_t joined_with; /* the term that the last Join told */
	uint64_t boot_ids[SERVERS + 1];
	uint32_t owed_pgs; /* of the last heartbeat of each, summed up */
	uint32_t owed[SERVERS + 1];
	uint64_t blocks[SERVERS + 1];
} mds;
static struct rpc_peer *peers[SERVERS];

/* --- a metadata server ------------------------------------------------------------------------ */

#define COLLECTION 1u

static inline void answer_join(struct rpc_request *req, const Wire__Join *msg)
{
	Wire__JoinReply reply = WIRE__JOIN_REPLY__INIT;
	struct server_row *row = &mds.rows[msg->uuid.data[0]];

	reply.server = msg->uuid.data[0];
	row->server = reply.server;
	row->state = SERVER_UP;
	row->disk_count = (uint8_t)msg->disks;
	row->weight_bytes = 1;
	row->boot_id = msg->boot_id;
	memcpy(row->uuid, msg->uuid.data, SERVER_UUID_BYTES);
	snprintf(row->address, sizeof(row->address), "%s", msg->address);
	snprintf(row->host, sizeof(row->host), "%s", msg->host);
	mds.boot_ids[reply.server] = msg->boot_id;
	reply.map_version = ++mds.version;
	reply.heartbeat_ms = 200;
	Wire__Stamp stamp = WIRE__STAMP__INIT;
	stamp.collection = COLLECTION;
	stamp.term = mds.term;
	mds.joined_with = msg->term;
	reply.stamp = &stamp;
	rpc_answer(req, 0, &reply.base, NULL);
}

static inline void answer_heartbeat(struct rpc_request *req, const Wire__Heartbeat *msg)
{
	Wire__HeartbeatReply reply = WIRE__HEARTBEAT_REPLY__INIT;

	mds.owed[msg->server] = (uint32_t)msg->n_owed_pgs;
	mds.blocks[msg->server] = msg->blocks;
	reply.map_version = mds.version;
	reply.state = SERVER_UP;
	reply.collection = COLLECTION;
	rpc_answer(req, 0, &reply.base, NULL);
}

static inline void answer_map(struct rpc_request *req, const Wire__MapGet *msg)
{
	static uint8_t bytes[1024][2 + PG_ROW_BYTES_MAX];
	static uint8_t server_bytes[SERVERS][SERVER_ROW_BYTES_MAX];
	ProtobufCBinaryData pgs[1024], servers[SERVERS];
	Wire__MapReply reply = WIRE__MAP_REPLY__INIT;
	struct pg_row row = {
		.epoch = mds.epoch, .state = PG_CLEAN, .replica_count = 3, .replicas = {1, 2, 3}};

	for (uint32_t i = 0; i < 1024; i++) {
		uint32_t pg = msg->first_pg + i;
		bytes[i][0] = (uint8_t)pg;
		bytes[i][1] = (uint8_t)(pg >> 8);
		pgs[i].len = 2 + pg_row_encode(&row, bytes[i] + 2);
		pgs[i].data = bytes[i];
	}
	for (uint32_t i = 1; i <= SERVERS; i++) {
		if (mds.rows[i].server == 0)
			continue;
		servers[reply.n_servers].len =
			server_row_encode(&mds.rows[i], server_bytes[reply.n_servers]);
		servers[reply.n_servers].data = server_bytes[reply.n_servers];
		reply.n_servers++;
	}
	reply.version = mds.version;
	reply.pgs = pgs;
	reply.n_pgs = 1024;
	reply.servers = servers;
	reply.next_pg = msg->first_pg + 1024;
	rpc_answer(req, 0, &reply.base, NULL);
}

static inline void on_request(void *arg, struct rpc_request *req)
{
	(void)arg;
	if (req->header.type == MSG_JOIN)
		answer_join(req, (const Wire__Join *)req->msg);
	else if (req->header.type == MSG_HEARTBEAT)
		answer_heartbeat(req, (const Wire__Heartbeat *)req->msg);
	else if (req->header.type == MSG_MAP_GET)
		answer_map(req, (const Wire__MapGet *)req->msg);
	else
		rpc_answer(req, -E_NOSYS, NULL, NULL);
}

/* --- chunk servers ---------------------------------------------------------------------------- */

static uint64_t node_pool_bytes = MiB(64);

static inline void node_start(uint32_t i)
{
	struct node *n = &nodes[i];
	struct error err = {0};

	ck_assert_int_eq(sim_loop_create(world, n->host, &n->loop), 0);
	n->pool = buf_pool_create(node_pool_bytes);
	ck_assert_int_eq(sim_net_create(wires, n->loop, n->pool, n->host, &n->net), 0);
	ck_assert_int_eq(sim_disk_create(n->media, &n->disk), 0);
	ck_assert_int_eq(rows_mem_create(&n->index), 0);
	ck_assert_int_eq(rows_mem_create(&n->owed), 0);
	char listen[32];
	snprintf(listen, sizeof(listen), "%s:7801", n->host);
	struct cs_server_options options = {
		.loop = n->loop,
		.net = n->net,
		.pool = n->pool,
		.disk_count = 1,
		.disks[0] = {.disk = n->disk, .index = n->index, .was_closed = false},
		.owed = n->owed,
		.listen = listen,
		.mds = "mds:7800",
		.name = n->host,
		.host = n->host,
		.segment_bytes = MiB(1),
		.sync_ms = 100,
		.sync_bytes = MiB(1),
		.full_percent = 100,
		.boot_id = sim_world_random(world) | 1,
	};
	int rc = cs_server_create(&options, &n->server, &err);
	ck_assert_msg(rc == 0, "%s", err.text);
}

static inline void node_kill(uint32_t i)
{
	struct node *n = &nodes[i];

	sim_loop_kill(n->loop);
	sim_net_kill(n->net, false);
	sim_media_crash(n->media);
	cs_server_destroy(n->server);
	n->net->ops->destroy(n->net);
	disk_destroy(n->disk);
	rows_destroy(n->index);
	rows_destroy(n->owed);
	sim_loop_destroy(n->loop);
	ck_assert_uint_eq(buf_pool_used_bytes(n->pool), 0);
	buf_pool_destroy(n->pool);
	n->server = NULL;
}

static inline void node_make(uint32_t i)
{
	struct node *n = &nodes[i];
	struct super super = {
		.role = SUPER_CHUNK, .hash = HASH_SHA256, .copies = 3, .min_copies = 2};
	struct disk *disk;
	struct error err = {0};

	snprintf(n->host, sizeof(n->host), "cs%u", i + 1);
	memset(super.cluster, 7, sizeof(super.cluster));
	memset(super.server, (int)i + 1, sizeof(super.server));
	memset(super.directory, (int)i + 101, sizeof(super.directory));
	ck_assert_int_eq(sim_media_create(world, MiB(256), &n->media), 0);
	ck_assert_int_eq(sim_disk_create(n->media, &disk), 0);
	ck_assert_int_eq(cs_format(disk, &super, &err), 0);
	ck_assert_int_eq(cs_format(disk, &super, &err), -E_NOT_EMPTY);
	disk_destroy(disk);
	node_start(i);
}

static inline bool all_joined(void *arg)
{
	(void)arg;
	for (uint32_t i = 0; i < SERVERS; i++) {
		if (nodes[i].server != NULL && cs_server_number(nodes[i].server) == 0)
			return false;
	}
	return true;
}

static inline void begin(void)
{
	struct rpc_options options = {
		.role = RPC_METADATA_SERVER, .name = "mds", .on_request = on_request};
	struct error err = {0};

	memset(&mds, 0, sizeof(mds));
	memset(nodes, 0, sizeof(nodes));
	mds.epoch = 5;
	codec = codec_scratch_create();
	ck_assert_int_eq(sim_world_create(1, &world), 0);
	ck_assert_int_eq(sim_switch_create(world, &wires), 0);
	ck_assert_int_eq(sim_loop_create(world, "mds", &mds.loop), 0);
	mds.pool = buf_pool_create(MiB(64));
	ck_assert_int_eq(sim_net_create(wires, mds.loop, mds.pool, "mds", &mds.net), 0);
	options.loop = mds.loop;
	options.net = mds.net;
	options.pool = mds.pool;
	memset(options.cluster, 7, sizeof(options.cluster));
	ck_assert_int_eq(rpc_create(&options, &mds.rpc), 0);
	ck_assert_int_eq(rpc_listen(mds.rpc, "mds:7800", &err), 0);
	for (uint32_t i = 0; i < SERVERS; i++) {
		char address[32];
		node_make(i);
		snprintf(address, sizeof(address), "cs%u:7801", i + 1);
		ck_assert_int_eq(rpc_peer_create(mds.rpc, address, &peers[i]), 0);
	}
	ck_assert(sim_world_run_until(world, all_joined, NULL, WAIT_NS));
	sim_world_run_for(world, SIM_S);
}

static inline void end(void)
{
	for (uint32_t i = 0; i < SERVERS; i++) {
		if (nodes[i].server != NULL)
			node_kill(i);
		sim_media_destroy(nodes[i].media);
	}
	rpc_destroy(mds.rpc);
	mds.net->ops->destroy(mds.net);
	sim_loop_destroy(mds.loop);
	buf_pool_destroy(mds.pool);
	sim_switch_destroy(wires);
	sim_world_destroy(world);
	codec_scratch_destroy(codec);
}

/* --- asking ----------------------------------------------------------------------------------- */

/* What came of a call, copied out of done(). */
static struct {
	struct rpc_call call;
	bool is_done;
	int rc;
	uint32_t holder_count;
	server_no holders[8];
	uint64_t boot_ids[8], generations[8];
	bool has_row;
	struct pg_row row;
	uint8_t bulk[RECORD_BYTES_MAX];
	uint32_t bulk_len;
	bool is_part;
	uint32_t files, complete;
	Wire__WhereReply where;
	uint32_t sizes, stored[8];
	uint8_t codecs[8];
	Wire__CheckReply check;
	Wire__ScrubReply scrub;
} got;

static inline void take_holders(Wire__Holder **holders, size_t count)
{
	got.holder_count = (uint32_t)count;
	for (size_t i = 0; i < count && i < 8; i++) {
		got.holders[i] = holders[i]->server;
		got.boot_ids[i] = holders[i]->boot_id;
		got.generations[i] = holders[i]->generation;
	}
}

static inline void done(struct rpc_call *call)
{
	got.is_done = true;
	got.rc = call->rc;
	if (call->reply_bulk != NULL) {
		got.bulk_len = call->reply_bulk->len;
		memcpy(got.bulk, call->reply_bulk->data, call->reply_bulk->len);
	}
	if (call->reply == NULL)
		return;
	if (call->type == MSG_PUT) {
		const Wire__PutReply *reply = (const Wire__PutReply *)call->reply;
		take_holders(reply->holders, reply->n_holders);
		got.has_row = pg_row_decode(reply->pg_row.data, reply->pg_row.len, &got.row) == 0;
	} else if (call->type == MSG_HAVE) {
		const Wire__HaveReply *reply = (const Wire__HaveReply *)call->reply;
		ck_assert_uint_eq(reply->n_answers, 1);
		take_holders(reply->answers[0]->holders, reply->answers[0]->n_holders);
	} else if (call->type == MSG_GET) {
		got.is_part = ((const Wire__GetReply *)call->reply)->is_part;
	} else if (call->type == MSG_WHERE) {
		got.where = *(const Wire__WhereReply *)call->reply;
	} else if (call->type == MSG_SIZES) {
		const Wire__SizesReply *reply = (const Wire__SizesReply *)call->reply;
		got.sizes = (uint32_t)reply->n_stored;
		ck_assert_uint_eq(reply->codecs.len, reply->n_stored);
		for (size_t i = 0; i < reply->n_stored && i < ARRAY_COUNT(got.stored); i++) {
			got.stored[i] = reply->stored[i];
			got.codecs[i] = reply->codecs.data[i];
		}
	} else if (call->type == MSG_CHECK) {
		got.check = *(const Wire__CheckReply *)call->reply;
	} else if (call->type == MSG_SCRUB) {
		got.scrub = *(const Wire__ScrubReply *)call->reply;
	} else if (call->type == MSG_META_LIST) {
		const Wire__MetaListReply *reply = (const Wire__MetaListReply *)call->reply;
		got.files = (uint32_t)reply->n_files;
		for (size_t i = 0; i < reply->n_files; i++)
			got.complete += reply->files[i]->complete;
	}
}

static inline bool is_done(void *arg)
{
	(void)arg;
	return got.is_done;
}

static inline int ask(uint32_t node, uint16_t type, const ProtobufCMessage *msg, struct buf *bulk,
	       uint64_t epoch)
{
	memset(&got, 0, sizeof(got));
	got.call = (struct rpc_call){
		.type = type,
		.request = msg,
		.bulk = bulk,
		.bulk_is_record = type == MSG_PUT,
		.deadline_ms = 5000,
		.epoch = epoch,
		.done = done,
	};
	rpc_call(peers[node], &got.call);
	ck_assert(sim_world_run_until(world, is_done, NULL, WAIT_NS));
	return got.rc;
}

static inline struct buf *record_of(uint32_t number, struct block_id *id)
{
	uint8_t plain[1000];
	struct buf *record = buf_get(mds.pool, RECORD_BYTES_MAX);

	for (uint32_t i = 0; i < sizeof(plain); i++)
		plain[i] = (uint8_t)(number * 7 + i * i);
	memcpy(plain, &number, sizeof(number)); /* another block for each */
	record->len =
		record_build(codec, HASH_SHA256, CODEC_AIM_LZ4, plain, sizeof(plain), record->data);
	memcpy(id->bytes, record->data + 8, BLOCK_ID_BYTES);
	return record;
}

static inline int put(uint32_t node, uint32_t number, uint64_t epoch)
{
	Wire__Put msg = WIRE__PUT__INIT;
	struct block_id id;
	struct buf *record = record_of(number, &id);

	msg.forward = true;
	int rc = ask(node, MSG_PUT, &msg.base, record, epoch);
	buf_put(record);
	return rc;
}

static inline int get(uint32_t node, uint32_t number)
{
	Wire__Get msg = WIRE__GET__INIT;
	struct block_id id;
	struct buf *record = record_of(number, &id);

	msg.id.data = id.bytes;
	msg.id.len = BLOCK_ID_BYTES;
	int rc = ask(node, MSG_GET, &msg.base, NULL, mds.epoch);
	if (rc == 0) {
		ck_assert_uint_eq(got.bulk_len, record->len);
		ck_assert_mem_eq(got.bulk, record->data, record->len);
	}
	buf_put(record);
	return rc;
}

/* A block that is stored raw, or else lz4. */
static inline struct buf *record_with(enum codec want, struct block_id *id, uint8_t plain[1000])
{
	struct buf *record = buf_get(mds.pool, RECORD_BYTES_MAX);

	for (uint32_t i = 0; i < 1000; i++)
		plain[i] = (uint8_t)(want == CODEC_RAW ? i * i * 2654435761u >> 13 : i / 100);
	record->len = record_build(codec, HASH_SHA256, codec_aim_of(want), plain, 1000,
				   record->data);
	memcpy(id->bytes, record->data + 8, BLOCK_ID_BYTES);
	return record;
}

static inline int get_part(const struct block_id *id, uint32_t from, uint32_t length)
{
	Wire__Get msg = WIRE__GET__INIT;

	msg.id.data = (uint8_t *)(uintptr_t)id->bytes;
	msg.id.len = BLOCK_ID_BYTES;
	msg.from = from;
	msg.length = length;
	return ask(0, MSG_GET, &msg.base, NULL, mds.epoch);
}

static inline int sync_with(uint32_t node, uint64_t boot_id, uint64_t generation)
{
	Wire__Sync msg = WIRE__SYNC__INIT;

	msg.boot_id = boot_id;
	msg.generation = generation;
	return ask(node, MSG_SYNC, &msg.base, NULL, 0);
}

#endif
