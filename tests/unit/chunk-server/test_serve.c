/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Three chunk servers and a metadata server that only knows the map, in virtual time: puts reach
 * every replica, epochs are kept (I10), what is wrong is refused (I1, I8), boot ids and generations
 * mean what they say (I4), and what a replica missed reaches it.
 */
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

/* --- a metadata server ---- */

#define COLLECTION 1u

static void answer_join(struct rpc_request *req, const Wire__Join *msg)
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

static void answer_heartbeat(struct rpc_request *req, const Wire__Heartbeat *msg)
{
	Wire__HeartbeatReply reply = WIRE__HEARTBEAT_REPLY__INIT;

	mds.owed[msg->server] = (uint32_t)msg->n_owed_pgs;
	mds.blocks[msg->server] = msg->blocks;
	reply.map_version = mds.version;
	reply.state = SERVER_UP;
	reply.collection = COLLECTION;
	rpc_answer(req, 0, &reply.base, NULL);
}

static void answer_map(struct rpc_request *req, const Wire__MapGet *msg)
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

static void on_request(void *arg, struct rpc_request *req)
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

/* --- chunk servers ---- */

static uint64_t node_pool_bytes = MiB(64);

static void node_start(uint32_t i)
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

static void node_kill(uint32_t i)
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

static void node_make(uint32_t i)
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

static bool all_joined(void *arg)
{
	(void)arg;
	for (uint32_t i = 0; i < SERVERS; i++) {
		if (nodes[i].server != NULL && cs_server_number(nodes[i].server) == 0)
			return false;
	}
	return true;
}

static void begin(void)
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

static void end(void)
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

/* --- asking ---- */

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

static void take_holders(Wire__Holder **holders, size_t count)
{
	got.holder_count = (uint32_t)count;
	for (size_t i = 0; i < count && i < 8; i++) {
		got.holders[i] = holders[i]->server;
		got.boot_ids[i] = holders[i]->boot_id;
		got.generations[i] = holders[i]->generation;
	}
}

static void done(struct rpc_call *call)
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

static bool is_done(void *arg)
{
	(void)arg;
	return got.is_done;
}

static int ask(uint32_t node, uint16_t type, const ProtobufCMessage *msg, struct buf *bulk,
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

static struct buf *record_of(uint32_t number, struct block_id *id)
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

static int put(uint32_t node, uint32_t number, uint64_t epoch)
{
	Wire__Put msg = WIRE__PUT__INIT;
	struct block_id id;
	struct buf *record = record_of(number, &id);

	msg.forward = true;
	int rc = ask(node, MSG_PUT, &msg.base, record, epoch);
	buf_put(record);
	return rc;
}

static int get(uint32_t node, uint32_t number)
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
static struct buf *record_with(enum codec want, struct block_id *id, uint8_t plain[1000])
{
	struct buf *record = buf_get(mds.pool, RECORD_BYTES_MAX);

	for (uint32_t i = 0; i < 1000; i++)
		plain[i] = (uint8_t)(want == CODEC_RAW ? i * i * 2654435761u >> 13 : i / 100);
	record->len = record_build(codec, HASH_SHA256, codec_aim_of(want), plain, 1000,
				   record->data);
	memcpy(id->bytes, record->data + 8, BLOCK_ID_BYTES);
	return record;
}

static int get_part(const struct block_id *id, uint32_t from, uint32_t length)
{
	Wire__Get msg = WIRE__GET__INIT;

	msg.id.data = (uint8_t *)(uintptr_t)id->bytes;
	msg.id.len = BLOCK_ID_BYTES;
	msg.from = from;
	msg.length = length;
	return ask(0, MSG_GET, &msg.base, NULL, mds.epoch);
}

static int sync_with(uint32_t node, uint64_t boot_id, uint64_t generation)
{
	Wire__Sync msg = WIRE__SYNC__INIT;

	msg.boot_id = boot_id;
	msg.generation = generation;
	return ask(node, MSG_SYNC, &msg.base, NULL, 0);
}

/* --- the stories ---- */

START_TEST(a_part_is_answered_however_it_is_stored)
{
	for (int codec_asked = CODEC_RAW; codec_asked <= CODEC_LZ4; codec_asked++) {
		uint8_t plain[1000];
		struct block_id id;
		struct buf *record = record_with((enum codec)codec_asked, &id, plain);
		Wire__Put msg = WIRE__PUT__INIT;

		ck_assert_int_eq(ask(0, MSG_PUT, &msg.base, record, mds.epoch), 0);
		ck_assert_int_eq(get_part(&id, 300, 50), 0);
		ck_assert(got.is_part);
		ck_assert_uint_eq(got.bulk_len, 50);
		ck_assert_mem_eq(got.bulk, plain + 300, 50);
		ck_assert_int_eq(get_part(&id, 999, 1), 0);
		ck_assert(got.is_part);
		ck_assert_mem_eq(got.bulk, plain + 999, 1);
		/* Where there is no such part, the whole shows it. */
		ck_assert_int_eq(get_part(&id, 999, 2), 0);
		ck_assert(!got.is_part);
		ck_assert_int_eq(get_part(&id, UINT32_MAX, UINT32_MAX), 0);
		ck_assert(!got.is_part);
		/* As it does where it is no longer. */
		ck_assert_int_eq(get_part(&id, 0, record->len), 0);
		ck_assert(!got.is_part);
		ck_assert_int_eq(get_part(&id, 0, 0), 0);
		ck_assert(!got.is_part);
		ck_assert_uint_eq(got.bulk_len, record->len);
		ck_assert_mem_eq(got.bulk, record->data, record->len);
		buf_put(record);
	}
}
END_TEST

START_TEST(a_put_reaches_every_replica_and_is_synced)
{
	ck_assert_int_eq(put(0, 1, 5), 0);
	ck_assert_uint_eq(got.holder_count, 3);
	uint64_t boot_ids[4], generations[4];
	for (uint32_t i = 0; i < 3; i++) {
		ck_assert_uint_eq(got.boot_ids[i], mds.boot_ids[got.holders[i]]);
		boot_ids[got.holders[i]] = got.boot_ids[i];
		generations[got.holders[i]] = got.generations[i];
	}
	for (uint32_t i = 0; i < 3; i++) {
		ck_assert_int_eq(get(i, 1), 0);
		ck_assert_int_eq(sync_with(i, boot_ids[i + 1], generations[i + 1]), 0);
		ck_assert_int_eq(sync_with(i, boot_ids[i + 1] + 1, 1), -E_STALE_GENERATION);
	}
	ck_assert_int_eq(get(0, 2), -E_NO_BLOCK);
}
END_TEST

START_TEST(sizes_of_many_blocks_are_told_at_once)
{
	Wire__Sizes msg = WIRE__SIZES__INIT;
	struct block_id ids[3];
	ProtobufCBinaryData wanted[3];
	uint32_t lengths[3];

	for (uint32_t i = 0; i < 3; i++) {
		struct buf *record = record_of(i, &ids[i]);

		lengths[i] = record->len;
		buf_put(record);
		wanted[i] = (ProtobufCBinaryData){BLOCK_ID_BYTES, ids[i].bytes};
	}
	ck_assert_int_eq(put(0, 0, 5), 0);
	ck_assert_int_eq(put(0, 2, 5), 0);
	msg.n_ids = 3;
	msg.ids = wanted;
	ck_assert_int_eq(ask(1, MSG_SIZES, &msg.base, NULL, 0), 0);
	ck_assert_uint_eq(got.sizes, 3);
	ck_assert_uint_eq(got.stored[0], lengths[0]);
	ck_assert_uint_eq(got.stored[1], 0);
	ck_assert_uint_eq(got.stored[2], lengths[2]);
	ck_assert_uint_eq(got.codecs[0], CODEC_LZ4);
	msg.n_ids = 0;
	ck_assert_int_eq(ask(1, MSG_SIZES, &msg.base, NULL, 0), 0);
	ck_assert_uint_eq(got.sizes, 0);
}
END_TEST

START_TEST(an_old_epoch_is_refused_with_the_newer_row)
{
	ck_assert_int_eq(put(0, 1, 4), -E_STALE_EPOCH);
	ck_assert(got.has_row);
	ck_assert_uint_eq(got.row.epoch, 5);
	ck_assert_int_eq(get(0, 1), -E_NO_BLOCK);
}
END_TEST

START_TEST(a_newer_epoch_makes_the_server_fetch_the_map)
{
	mds.epoch = 6; /* nobody was told */
	ck_assert_int_eq(put(0, 1, 6), 0);
	ck_assert_uint_eq(got.holder_count, 3);
	ck_assert_int_eq(put(0, 2, 7), -E_RECOVERING);
}
END_TEST

START_TEST(a_block_under_a_wrong_name_is_refused)
{
	Wire__Put msg = WIRE__PUT__INIT;
	struct block_id id;
	struct record r;
	struct buf *record = record_of(1, &id);

	ck_assert_int_eq(record_decode_header(record->data, &r), 0);
	r.id.bytes[31] ^= 1;
	record_encode_header(&r, record->data);
	msg.forward = true;
	ck_assert_int_eq(ask(0, MSG_PUT, &msg.base, record, 5), -E_CORRUPT);
	buf_put(record);
	ck_assert_int_eq(ask(0, MSG_PUT, &msg.base, NULL, 5), -E_MALFORMED);
}
END_TEST

START_TEST(what_a_replica_missed_reaches_it_when_it_is_back)
{
	node_kill(2);
	sim_world_run_for(world, SIM_S);
	for (uint32_t i = 0; i < 20; i++) {
		ck_assert_int_eq(put(0, i, 5), 0);
		ck_assert_uint_eq(got.holder_count, 2);
	}
	sim_world_run_for(world, SIM_S);
	ck_assert_uint_gt(mds.owed[1], 0);
	/* The debt survives its keeper. */
	node_kill(0);
	node_start(0);
	node_start(2);
	sim_world_run_for(world, 10 * SIM_S);
	for (uint32_t i = 0; i < 20; i++)
		ck_assert_int_eq(get(2, i), 0);
	ck_assert_uint_eq(mds.owed[1], 0);
	ck_assert_uint_eq(mds.blocks[3], 20);
}
END_TEST

START_TEST(fewer_than_min_copies_are_not_enough)
{
	node_kill(1);
	node_kill(2);
	ck_assert_int_eq(put(0, 1, 5), -E_NO_REPLICA);
	ck_assert_uint_eq(got.holder_count, 1);
}
END_TEST

/*
 * A client adds up what several replicas answer: the last replica must not be forgotten for that.
 */
START_TEST(two_answers_of_one_holder_each_owe_it_to_the_third)
{
	node_kill(2);
	sim_switch_cut(wires, "cs1", "cs2");
	sim_switch_cut(wires, "cs2", "cs1");
	ck_assert_int_eq(put(0, 1, 5), -E_NO_REPLICA);
	ck_assert_uint_eq(got.holder_count, 1);
	ck_assert_int_eq(put(1, 1, 5), -E_NO_REPLICA);
	ck_assert_uint_eq(got.holder_count, 1);
	sim_switch_heal(wires);
	node_start(2);
	sim_world_run_for(world, 10 * SIM_S);
	ck_assert_int_eq(get(2, 1), 0);
}
END_TEST

static void fill_disk(uint32_t node)
{
	struct disk_space space;
	struct disk_file *ballast;

	ck_assert_int_eq(disk_space(nodes[node].disk, &space), 0);
	ck_assert_int_eq(disk_open(nodes[node].disk, "ballast", DISK_CREATE | DISK_WRITE, &ballast),
			 0);
	ck_assert_int_eq(disk_allocate(ballast, space.bytes_free - MiB(2)), 0);
	disk_close(ballast);
}

START_TEST(one_full_replica_is_owed_its_block)
{
	fill_disk(1);
	ck_assert_int_eq(put(0, 1, 5), 0);
	ck_assert_uint_eq(got.holder_count, 2);
	ck_assert_int_eq(put(1, 2, 5), 0); /* though it cannot keep it itself */
	ck_assert_uint_eq(got.holder_count, 2);
}
END_TEST

START_TEST(too_few_replicas_that_are_not_full_are_no_space)
{
	fill_disk(1);
	fill_disk(2);
	ck_assert_int_eq(put(0, 1, 5), -E_NOSPC); /* though it has space itself */
	ck_assert_int_eq(put(1, 1, 5), -E_NOSPC);
}
END_TEST

static struct rpc_call crowd[100];
static uint32_t crowd_refused, crowd_left;

static void crowd_done(struct rpc_call *call)
{
	crowd_refused += call->rc == -E_OVERLOADED;
	crowd_left--;
}

static bool crowd_is_over(void *arg)
{
	(void)arg;
	return crowd_left == 0;
}

/* Two servers full of puts that wait for each other would wait until deadlines. */
START_TEST(puts_of_clients_leave_room_for_those_of_servers)
{
	Wire__Put msg = WIRE__PUT__INIT;
	struct buf *records[ARRAY_COUNT(crowd)];
	struct block_id id;

	node_kill(0);
	node_pool_bytes = MiB(8);
	node_start(0);
	ck_assert(sim_world_run_until(world, all_joined, NULL, WAIT_NS));
	ck_assert_int_eq(put(0, 1000, 5), 0); /* it knows the map, and is connected */
	sim_switch_cut(wires, "cs1", "cs2");
	sim_switch_cut(wires, "cs1", "cs3");
	crowd_refused = 0;
	crowd_left = ARRAY_COUNT(crowd);
	msg.forward = true;
	for (uint32_t i = 0; i < ARRAY_COUNT(crowd); i++) {
		records[i] = record_of(i, &id);
		crowd[i] = (struct rpc_call){.type = MSG_PUT,
					     .request = &msg.base,
					     .bulk = records[i],
					     .bulk_is_record = true,
					     .deadline_ms = 5000,
					     .epoch = 5,
					     .done = crowd_done};
		rpc_call(peers[0], &crowd[i]);
	}
	sim_world_run_for(world, SIM_S / 10);
	msg.forward = false;
	struct buf *record = record_of(1001, &id);
	ck_assert_int_eq(ask(0, MSG_PUT, &msg.base, record, 5), 0);
	buf_put(record);
	ck_assert_uint_gt(crowd_left, 20); /* taken, and waiting */
	ck_assert_uint_gt(crowd_refused, 20);
	ck_assert(sim_world_run_until(world, crowd_is_over, NULL, WAIT_NS));
	for (uint32_t i = 0; i < ARRAY_COUNT(crowd); i++)
		buf_put(records[i]);
	node_pool_bytes = MiB(64);
}
END_TEST

/* Whatever its work waits for at that moment: verification, the disk, other servers, the map. */
START_TEST(a_crash_with_work_in_flight_leaves_nothing_behind)
{
	Wire__Put msg = WIRE__PUT__INIT;
	struct buf *records[20];
	struct block_id id;

	msg.forward = true;
	for (uint32_t round = 0; round < 40; round++) {
		ck_assert_int_eq(put(0, 1000 + round, 5), 0);
		crowd_left = ARRAY_COUNT(records);
		for (uint32_t i = 0; i < ARRAY_COUNT(records); i++) {
			records[i] = record_of(100 * round + i, &id);
			crowd[i] = (struct rpc_call){.type = MSG_PUT,
						     .request = &msg.base,
						     .bulk = records[i],
						     .bulk_is_record = true,
						     .deadline_ms = 1000,
						     /* Some wait for a map that never comes. */
						     .epoch = i % 4 == 0 ? 6 : 5,
						     .done = crowd_done};
			rpc_call(peers[0], &crowd[i]);
		}
		sim_world_run_for(world, round * SIM_S / 20000);
		node_kill(0);
		node_start(0);
		ck_assert(sim_world_run_until(world, crowd_is_over, NULL, WAIT_NS));
		for (uint32_t i = 0; i < ARRAY_COUNT(records); i++)
			buf_put(records[i]);
		ck_assert(sim_world_run_until(world, all_joined, NULL, WAIT_NS));
		sim_world_run_for(world, SIM_S);
	}
}
END_TEST

START_TEST(have_asks_the_other_replicas)
{
	Wire__Have msg = WIRE__HAVE__INIT;
	Wire__Put alone = WIRE__PUT__INIT;
	struct block_id id;
	struct buf *record = record_of(1, &id);
	ProtobufCBinaryData ids = {BLOCK_ID_BYTES, id.bytes};

	ck_assert_int_eq(ask(1, MSG_PUT, &alone.base, record, 5), 0);
	buf_put(record);
	msg.ids = &ids;
	msg.n_ids = 1;
	ck_assert_int_eq(ask(0, MSG_HAVE, &msg.base, NULL, 0), 0);
	ck_assert_uint_eq(got.holder_count, 0);
	msg.forward = true;
	/*
	 * Who lacks it answers for nobody: it could not keep in mind who lacks it as durably as a
	 * copy.
	 */
	ck_assert_int_eq(ask(0, MSG_HAVE, &msg.base, NULL, 0), 0);
	ck_assert_uint_eq(got.holder_count, 0);
	/* The holder itself notes who lacks it, and they get it. */
	ck_assert_int_eq(ask(1, MSG_HAVE, &msg.base, NULL, 0), 0);
	ck_assert_uint_eq(got.holder_count, 1);
	ck_assert_uint_eq(got.holders[0], 2);
	sim_world_run_for(world, 5 * SIM_S);
	ck_assert_int_eq(get(0, 1), 0);
	ck_assert_int_eq(get(2, 1), 0);
}
END_TEST

/*
 * The debt of the put may be lost with the process that noted it; the yes that made the block count
 * is not.
 */
START_TEST(a_yes_without_a_replica_is_a_debt)
{
	Wire__Put alone = WIRE__PUT__INIT;
	Wire__Have msg = WIRE__HAVE__INIT;
	struct block_id id;
	struct buf *record = record_of(1, &id);
	ProtobufCBinaryData ids = {BLOCK_ID_BYTES, id.bytes};

	ck_assert_int_eq(ask(0, MSG_PUT, &alone.base, record, 5), 0);
	ck_assert_int_eq(ask(1, MSG_PUT, &alone.base, record, 5), 0);
	buf_put(record);
	sim_switch_isolate(wires, "cs3");
	msg.ids = &ids;
	msg.n_ids = 1;
	msg.forward = true;
	ck_assert_int_eq(ask(0, MSG_HAVE, &msg.base, NULL, 0), 0);
	ck_assert_uint_eq(got.holder_count, 2);
	sim_switch_heal(wires);
	sim_world_run_for(world, 40 * SIM_S);
	ck_assert_int_eq(get(2, 1), 0);
}
END_TEST

START_TEST(a_rotten_record_is_not_served_and_comes_back_from_another)
{
	ck_assert_int_eq(put(0, 1, 5), 0);
	sim_world_run_for(world, SIM_S);
	ck_assert_int_eq(sim_media_rot(nodes[0].media, "segments/seg-0000000000000001", 64 + 70, 1),
			 0);
	ck_assert_int_eq(get(0, 1), -E_CORRUPT);
	sim_world_run_for(world, 5 * SIM_S);
	ck_assert_int_eq(get(0, 1), 0);
}
END_TEST

/* --- scrub and check ---- */

#define ROT_SEGMENT "segments/seg-0000000000000001"

/* Where node `node` has the block, in its first segment. */
static uint64_t place_of(uint32_t node, const struct block_id *id)
{
	Wire__Where msg = WIRE__WHERE__INIT;

	msg.id = (ProtobufCBinaryData){BLOCK_ID_BYTES, (uint8_t *)(uintptr_t)id->bytes};
	ck_assert_int_eq(ask(node, MSG_WHERE, &msg.base, NULL, 0), 0);
	return got.where.held ? got.where.offset : 0;
}

static void rot(uint32_t node, uint32_t number)
{
	struct block_id id;

	buf_put(record_of(number, &id));
	ck_assert_int_eq(sim_media_rot(nodes[node].media, ROT_SEGMENT, place_of(node, &id) + 70, 1),
			 0);
}

/* Record `number` now holds, under its own name and with good checksums, another one's bytes. */
static void swap_content(uint32_t node, uint32_t number)
{
	uint8_t plain[1000] = {42}, bytes[RECORD_BYTES_MAX];
	struct block_id id;
	struct buf *record = record_of(number, &id);
	struct disk_file *file;
	struct disk *disk;
	uint32_t len = record_build_named(codec, &id, CODEC_AIM_LZ4, plain, sizeof(plain), bytes);

	/* Its header says how long it is: pad by taking another length of the content. */
	for (uint32_t i = 1; len != record->len && i < sizeof(plain); i++) {
		plain[i] = (uint8_t)(i * 31 + i * i * 7);
		len = record_build_named(codec, &id, CODEC_AIM_LZ4, plain, sizeof(plain), bytes);
	}
	ck_assert_uint_eq(len, record->len);
	ck_assert_int_eq(sim_disk_create(nodes[node].media, &disk), 0);
	ck_assert_int_eq(disk_open(disk, ROT_SEGMENT, DISK_WRITE, &file), 0);
	ck_assert_int_eq(disk_write(file, bytes, len, place_of(node, &id)), 0);
	disk_close(file);
	disk_destroy(disk);
	buf_put(record);
}

static bool has_scrubbed(void *arg)
{
	Wire__Scrub msg = WIRE__SCRUB__INIT;

	ck_assert_int_eq(ask(*(uint32_t *)arg, MSG_SCRUB, &msg.base, NULL, 0), 0);
	return !got.scrub.running;
}

static void scrub(uint32_t node, bool is_deep)
{
	Wire__Scrub msg = WIRE__SCRUB__INIT;

	msg.action = 1;
	msg.deep = is_deep;
	ck_assert_int_eq(ask(node, MSG_SCRUB, &msg.base, NULL, 0), 0);
	ck_assert(got.scrub.running);
	while (!has_scrubbed(&node))
		sim_world_run_for(world, 20 * SIM_MS);
}

static uint32_t held(uint32_t node, uint32_t blocks)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < blocks; i++)
		count += get(node, i) == 0;
	return count;
}

/*
 * A read that failed once reports what the next read finds good: that must not settle the debt too
 * early.
 */
START_TEST(a_record_that_reads_well_again_is_not_lost)
{
	struct cs_server *s = nodes[0].server;

	for (uint32_t i = 0; i < 200; i++)
		ck_assert_int_eq(put(0, i, 5), 0);
	/* Reads of repaying and syncs of debts overtake each other. */
	sim_loop_set_work(nodes[0].loop, 30 * SIM_MS, SIM_MS);
	for (uint32_t i = 0; i < 200; i++) {
		struct cs_place place;
		struct block_id id;
		buf_put(record_of(i, &id));
		ck_assert_int_eq(cs_store_find(s->stores[0], &id, &place), 0);
		ck_assert_int_eq(cs_damage_report(s, s->stores[0], &id, &place), 0);
		sim_world_run_for(world, 10 * SIM_MS);
	}
	sim_world_run_for(world, 20 * SIM_S);
	ck_assert_uint_eq(held(0, 200), 200);
}
END_TEST

START_TEST(a_scrub_finds_every_rotten_record_and_they_come_back)
{
	/*
	 * More than one slice of the index, and more than one batch of records in a segment that is
	 * filled.
	 */
	for (uint32_t i = 0; i < 600; i++)
		ck_assert_int_eq(put(0, i, 5), 0);
	scrub(0, false);
	ck_assert_uint_eq(got.scrub.records, 600);
	ck_assert_uint_eq(got.scrub.wrong, 0);
	for (uint32_t i = 3; i < 600; i += 10)
		rot(0, i);
	scrub(0, false);
	ck_assert_uint_eq(got.scrub.records, 600);
	ck_assert_uint_eq(got.scrub.wrong, 60);
	sim_world_run_for(world, 3 * SIM_S);
	ck_assert_uint_eq(held(0, 600), 600);
	scrub(0, true);
	ck_assert_uint_eq(got.scrub.records, 600);
	ck_assert_uint_eq(got.scrub.wrong, 0);
	ck_assert_uint_eq(got.scrub.wrong_last, 0);
}
END_TEST

START_TEST(what_a_scrub_found_is_not_forgotten_by_a_crash)
{
	for (uint32_t i = 0; i < 20; i++)
		ck_assert_int_eq(put(0, i, 5), 0);
	sim_world_run_for(world, SIM_S);
	node_kill(1);
	node_kill(2);
	rot(0, 7);
	scrub(0, false);
	ck_assert_uint_eq(got.scrub.wrong, 1);
	node_kill(0);
	for (uint32_t i = 0; i < SERVERS; i++)
		node_start(i);
	sim_world_run_for(world, 5 * SIM_S);
	ck_assert_uint_eq(held(0, 20), 20);
}
END_TEST

START_TEST(a_deep_scrub_proves_ids)
{
	for (uint32_t i = 0; i < 10; i++)
		ck_assert_int_eq(put(0, i, 5), 0);
	swap_content(0, 4);
	scrub(0, false);
	ck_assert_uint_eq(got.scrub.wrong, 0);
	scrub(0, true);
	ck_assert_uint_eq(got.scrub.wrong, 1);
	sim_world_run_for(world, 3 * SIM_S);
	ck_assert_uint_eq(held(0, 10), 10);
}
END_TEST

START_TEST(a_check_proves_a_block_and_brings_it_back)
{
	Wire__Check msg = WIRE__CHECK__INIT;
	struct block_id id;

	ck_assert_int_eq(put(0, 1, 5), 0);
	buf_put(record_of(1, &id));
	msg.id = (ProtobufCBinaryData){BLOCK_ID_BYTES, id.bytes};
	ck_assert_int_eq(ask(0, MSG_CHECK, &msg.base, NULL, 0), 0);
	ck_assert(got.check.held && !got.check.was_wrong);
	swap_content(0, 1);
	ck_assert_int_eq(ask(0, MSG_CHECK, &msg.base, NULL, 0), 0);
	ck_assert(got.check.held && got.check.was_wrong);
	sim_world_run_for(world, 3 * SIM_S);
	ck_assert_int_eq(get(0, 1), 0);
	ck_assert_int_eq(ask(0, MSG_CHECK, &msg.base, NULL, 0), 0);
	ck_assert(got.check.held && !got.check.was_wrong);
}
END_TEST

START_TEST(a_failed_disk_takes_a_new_boot_id)
{
	struct sim_media_faults faults = {.sync_eio = SIM_MILLION};

	ck_assert_int_eq(put(0, 1, 5), 0);
	uint64_t boot_id = mds.boot_ids[1];
	sim_media_set_faults(nodes[0].media, &faults);
	ck_assert_int_eq(sync_with(0, boot_id, 1), -E_STALE_GENERATION);
	sim_world_run_for(world, 2 * SIM_S);
	ck_assert_uint_ne(mds.boot_ids[1], boot_id);
	ck_assert_int_eq(sync_with(0, boot_id, 1), -E_STALE_GENERATION);
	/* The others hold it; this one does not pretend to. */
	ck_assert_int_eq(get(0, 1), -E_NO_BLOCK);
	ck_assert_int_eq(get(1, 1), 0);
}
END_TEST

static int meta_put(const char *name, uint64_t offset, const char *bytes, bool last)
{
	Wire__MetaPut msg = WIRE__META_PUT__INIT;
	struct buf *bulk = buf_get(mds.pool, 100);

	bulk->len = (uint32_t)strlen(bytes);
	memcpy(bulk->data, bytes, bulk->len);
	msg.name = (char *)(uintptr_t)name;
	msg.offset = offset;
	msg.last = last;
	int rc = ask(0, MSG_META_PUT, &msg.base, bulk, 0);
	buf_put(bulk);
	return rc;
}

static int meta_get(const char *name, uint64_t offset)
{
	Wire__MetaGet msg = WIRE__META_GET__INIT;

	msg.name = (char *)(uintptr_t)name;
	msg.offset = offset;
	return ask(0, MSG_META_GET, &msg.base, NULL, 0);
}

START_TEST(metadata_files_grow_in_pieces_and_old_ones_go)
{
	Wire__MetaList list = WIRE__META_LIST__INIT;

	ck_assert_int_eq(meta_put("1-9.snapshot", 0, "hel", false), 0);
	ck_assert_int_eq(meta_get("1-9.snapshot", 0), -E_NOENT);
	ck_assert_int_eq(meta_put("1-9.snapshot", 0, "hel", false), 0); /* sent again */
	ck_assert_int_eq(meta_put("1-9.snapshot", 7, "late", true), -E_INVAL);
	ck_assert_int_eq(meta_put("1-9.snapshot", 3, "lo", true), 0);
	ck_assert_int_eq(meta_put("1-9.snapshot", 3, "lo", true), 0);
	ck_assert_int_eq(meta_get("1-9.snapshot", 1), 0);
	ck_assert_uint_eq(got.bulk_len, 4);
	ck_assert_mem_eq(got.bulk, "ello", 4);
	ck_assert_int_eq(meta_put("1-10.journal", 0, "a", true), 0);
	ck_assert_int_eq(meta_put("1-10.journal", 1, "b", true), 0); /* news at its end */
	ck_assert_int_eq(meta_put("1-10.journal", 0, "a", true), 0); /* a late copy cuts nothing */
	ck_assert_int_eq(meta_get("1-10.journal", 0), 0);
	ck_assert_uint_eq(got.bulk_len, 2);
	ck_assert_int_eq(meta_put("1-10.journal", 3, "d", true), -E_INVAL); /* never a hole */
	ck_assert_int_eq(meta_put("1-20.journal", 0, "c", true), 0);
	ck_assert_int_eq(meta_put("1-20.snapshot", 0, "d", true), 0);
	ck_assert_int_eq(meta_put("2-100.snapshot", 0, "e", true), 0);
	ck_assert_int_eq(ask(0, MSG_META_LIST, &list.base, NULL, 0), 0);
	ck_assert_uint_eq(got.files, 3); /* two snapshots, and the journal since the older */
	ck_assert_uint_eq(got.complete, 3);
	ck_assert_int_eq(meta_get("1-9.snapshot", 0), -E_NOENT);
	ck_assert_int_lt(meta_put("../super", 0, "x", true), 0);
	ck_assert_int_lt(meta_put(".hidden", 0, "x", true), 0);
	ck_assert_int_lt(meta_put("1-2.snapshot.part", 0, "x", true), 0);
	ck_assert_int_lt(meta_put("1-2.super", 0, "x", true), 0);
	ck_assert_int_lt(meta_put("1-.journal", 0, "x", true), 0);
}
END_TEST

static int stopped_rc;
static bool is_stopped;

static void stopped(void *arg, int rc)
{
	(void)arg;
	stopped_rc = rc;
	is_stopped = true;
}

static bool stop_flag(void *arg)
{
	(void)arg;
	return is_stopped;
}

/* Who was given up, and replaced by mkfs.cairn --recover, knows nothing of what came after. */
START_TEST(a_metadata_server_that_was_replaced_is_not_joined)
{
	node_kill(0);
	mds.term = 5 + (UINT64_C(1) << 32);
	node_start(0);
	ck_assert(sim_world_run_until(world, all_joined, NULL, WAIT_NS));
	node_kill(0);
	mds.term = 7; /* it is back, and was restarted a few times */
	node_start(0);
	sim_world_run_for(world, 10 * SIM_S);
	ck_assert_uint_eq(cs_server_number(nodes[0].server), 0);
	ck_assert_uint_eq(mds.joined_with, 5 + (UINT64_C(1) << 32)); /* which tells it to stop */
	mds.term = 6 + (UINT64_C(1) << 32);
	sim_world_run_for(world, 10 * SIM_S);
	ck_assert_uint_eq(cs_server_number(nodes[0].server), 1);
}
END_TEST

START_TEST(a_server_that_ends_in_order_keeps_everything)
{
	is_stopped = false;
	ck_assert_int_eq(put(0, 1, 5), 0);
	cs_server_stop(nodes[0].server, stopped, NULL);
	ck_assert(sim_world_run_until(world, stop_flag, NULL, WAIT_NS));
	ck_assert_int_eq(stopped_rc, 0);
	ck_assert(sim_media_is_clean(nodes[0].media));
	ck_assert_int_eq(get(0, 1), -E_SHUTDOWN);
	node_kill(0);
	node_start(0);
	sim_world_run_for(world, 2 * SIM_S);
	ck_assert_int_eq(get(0, 1), 0);
}
END_TEST

TEST_MAIN("serve", tcase_add_checked_fixture(tc, begin, end);
	  tcase_add_test(tc, a_put_reaches_every_replica_and_is_synced);
	  tcase_add_test(tc, sizes_of_many_blocks_are_told_at_once);
	  tcase_add_test(tc, an_old_epoch_is_refused_with_the_newer_row);
	  tcase_add_test(tc, a_newer_epoch_makes_the_server_fetch_the_map);
	  tcase_add_test(tc, a_block_under_a_wrong_name_is_refused);
	  tcase_add_test(tc, what_a_replica_missed_reaches_it_when_it_is_back);
	  tcase_add_test(tc, fewer_than_min_copies_are_not_enough);
	  tcase_add_test(tc, two_answers_of_one_holder_each_owe_it_to_the_third);
	  tcase_add_test(tc, one_full_replica_is_owed_its_block);
	  tcase_add_test(tc, too_few_replicas_that_are_not_full_are_no_space);
	  tcase_add_test(tc, puts_of_clients_leave_room_for_those_of_servers);
	  tcase_add_test(tc, a_crash_with_work_in_flight_leaves_nothing_behind);
	  tcase_add_test(tc, a_part_is_answered_however_it_is_stored);
	  tcase_add_test(tc, have_asks_the_other_replicas);
	  tcase_add_test(tc, a_yes_without_a_replica_is_a_debt);
	  tcase_add_test(tc, a_rotten_record_is_not_served_and_comes_back_from_another);
	  tcase_add_test(tc, a_record_that_reads_well_again_is_not_lost);
	  tcase_add_test(tc, a_scrub_finds_every_rotten_record_and_they_come_back);
	  tcase_add_test(tc, what_a_scrub_found_is_not_forgotten_by_a_crash);
	  tcase_add_test(tc, a_deep_scrub_proves_ids);
	  tcase_add_test(tc, a_check_proves_a_block_and_brings_it_back);
	  tcase_add_test(tc, a_failed_disk_takes_a_new_boot_id);
	  tcase_add_test(tc, metadata_files_grow_in_pieces_and_old_ones_go);
	  tcase_add_test(tc, a_metadata_server_that_was_replaced_is_not_joined);
	  tcase_add_test(tc, a_server_that_ends_in_order_keeps_everything))
