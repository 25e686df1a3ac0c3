/* SPDX-License-Identifier: Apache-2.0 */
/* A whole metadata server over TCP, and a client beside it in the same loop. */
#include "metadata-server/serve.h"

#include <string.h>
#include <sys/stat.h>

#include "fs/base/fault.h"
#include "fs/net/rpc.h"
#include "metadata-server/format.h"
#include "metadata-server/serve_internal.h"
#include "metadata-server/snapshot.h"
#include "tests/check_main.h"
#include "tests/scratch.h"

static struct scratch scratch;
static struct loop *loop;
static struct buf_pool *pool;
static struct net *net;
static struct disk *disk;
static struct rows *rows;
static struct ms_server *server;
static struct rpc *client;
static struct rpc_peer *mds;
static uint64_t session, slot_seq;
static uint64_t snapshot_bytes;
static struct error err;

static const uint8_t CLUSTER[16] = { 7, 7, 7 };
static const struct ms_config CONFIG = {
	.lease_ms = 3000, .down_ms = 500, .out_ms = 1000, .suspect_ms = 300, .copies = 3,
	.min_copies = 2, .inline_bytes_max = INLINE_BYTES_MAX, .leases_max_per_session = 1000,
	.parked_max = 100, .sessions_max = 10, .name_key = 42,
};

static void format(void)
{
	struct ms_format_options o = {
		.super = { .role = SUPER_METADATA, .hash = HASH_SHA256, .copies = 3,
		.min_copies = 2, .cluster = { 7, 7, 7 }, .directory = { 1 }, .name_key = 42 },
		.config = CONFIG, .wall_ns = 1,
	};

	ck_assert_int_eq(ms_format(&disk, 1, &o, &err), 0);
}

/* --- the server ------------------------------------------------------------------------------- */

static void start(void)
{
	struct ms_server_options o = {
		.loop = loop, .net = net, .pool = pool, .disks = &disk, .disk_count = 1,
		.rows = rows, .listen = "127.0.0.1:0", .name = "test", .boot_id = 1,
		.config = CONFIG, .journal_file_bytes_max = MiB(1),
		.snapshot_bytes = snapshot_bytes, .heartbeat_ms = 50,
	};

	ck_assert_int_eq(disk_posix_create(scratch.path, &disk), 0);
	ck_assert_msg(ms_server_create(&o, &server, &err) == 0, "%s", err.text);
}

static void stop_loop(void *arg)
{
	(void)arg;
	loop_uv_stop(loop);
}

static void timer_stops_loop(struct loop_timer *timer)
{
	(void)timer;
	loop_uv_stop(loop);
}

static void run_for(uint64_t ms)
{
	struct loop_timer timer = { .fn = timer_stops_loop };

	loop_timer_start(loop, &timer, ms);
	loop_uv_run(loop);
}

static void stop(void)
{
	ms_server_stop(server, stop_loop, NULL);
	loop_uv_run(loop);
	ms_server_destroy(server);
	server = NULL;
}

/* --- the client ------------------------------------------------------------------------------- */

struct answer {
	struct rpc_call call;
	int rc;
	ProtobufCMessage *reply;	/* a copy */
	uint8_t bulk[256];
	uint32_t bulk_len;
};

static void call_done(struct rpc_call *call)
{
	struct answer *a = container_of(call, struct answer, call);

	a->rc = call->rc;
	if (call->reply) {
		size_t len = msg_packed_bytes(call->reply);
		uint8_t *bytes = malloc(len + 1);
		msg_pack(call->reply, bytes);
		ck_assert_int_eq(msg_unpack(call->type, true, bytes, len, &a->reply), 0);
		free(bytes);
	}
	if (call->reply_bulk) {
		a->bulk_len = MIN_OF(call->reply_bulk->len, (uint32_t)sizeof a->bulk);
		memcpy(a->bulk, call->reply_bulk->data, a->bulk_len);
	}
	loop_uv_stop(loop);
}

/* Ask and wait for the answer. The reply is the caller's to free. */
static int ask(struct answer *a, uint16_t type, const ProtobufCMessage *m, bool changes)
{
	memset(a, 0, sizeof *a);
	a->call.type = type;
	a->call.request = m;
	a->call.deadline_ms = 5000;
	a->call.session = session;
	a->call.slot_seq = changes ? ++slot_seq : 0;
	a->call.done = call_done;
	rpc_call(mds, &a->call);
	loop_uv_run(loop);
	return a->rc;
}

static void forget(struct answer *a)
{
	msg_free(a->reply);
	a->reply = NULL;
}

static void connect_client(void)
{
	struct rpc_options o = { .loop = loop, .net = net, .pool = pool, .role = RPC_CLIENT,
				 .name = "client", .boot_id = 9 };

	memcpy(o.cluster, CLUSTER, sizeof o.cluster);
	ck_assert_int_eq(rpc_create(&o, &client), 0);
	ck_assert_int_eq(rpc_peer_create(client, ms_server_address(server), &mds), 0);
}

static void disconnect_client(void)
{
	rpc_peer_destroy(mds);
	rpc_destroy(client);
}

static void open_session(void)
{
	Wire__SessionOpen m = WIRE__SESSION_OPEN__INIT;
	uint8_t nonce[16] = { 5 };
	struct answer a;

	m.node = (char *)(uintptr_t)"here";
	m.nonce.data = nonce;
	m.nonce.len = sizeof nonce;
	ck_assert_int_eq(ask(&a, MSG_SESSION_OPEN, &m.base, false), 0);
	const Wire__SessionReply *r = (const void *)a.reply;
	session = r->session;
	ck_assert_uint_ne(session, 0);
	ck_assert_uint_ge(r->stamp->durable, r->stamp->number);	/* durable before it is used */
	slot_seq = 0;
	forget(&a);
}

static int make(const char *name, uint64_t *ino, uint64_t *number)
{
	Wire__Caller caller = WIRE__CALLER__INIT;
	Wire__Make m = WIRE__MAKE__INIT;
	struct answer a;
	int rc;

	m.caller = &caller;
	m.parent = INODE_ROOT;
	m.name.data = (uint8_t *)(uintptr_t)name;
	m.name.len = strlen(name);
	m.mode = S_IFREG | 0644;
	m.exclusive = true;
	rc = ask(&a, MSG_MAKE, &m.base, true);
	if (rc == 0) {
		const Wire__NodeReply *r = (const void *)a.reply;
		*ino = r->attr->ino;
		*number = r->stamp->number;
	}
	forget(&a);
	return rc;
}

static int lookup(const char *name, uint64_t *ino)
{
	Wire__Caller caller = WIRE__CALLER__INIT;
	Wire__Lookup m = WIRE__LOOKUP__INIT;
	struct answer a;
	int rc;

	m.caller = &caller;
	m.parent = INODE_ROOT;
	m.name.data = (uint8_t *)(uintptr_t)name;
	m.name.len = strlen(name);
	rc = ask(&a, MSG_LOOKUP, &m.base, false);
	if (rc == 0)
		*ino = ((const Wire__NodeReply *)(const void *)a.reply)->attr->ino;
	forget(&a);
	return rc;
}

/* --- life ------------------------------------------------------------------------------------- */

static void begin(void)
{
	scratch_init(&scratch);
	snapshot_bytes = MiB(64);
	memset(&err, 0, sizeof err);
	ck_assert_int_eq(loop_uv_create(2, &loop), 0);
	pool = buf_pool_create(MiB(16));
	ck_assert_int_eq(net_uv_create(loop, pool, "auto", &net), 0);
	ck_assert_int_eq(rows_mem_create(&rows), 0);
	ck_assert_int_eq(disk_posix_create(scratch.path, &disk), 0);
	format();
	disk_destroy(disk);
	start();
	connect_client();
	open_session();
}

static void end(void)
{
	disconnect_client();
	if (server)
		stop();
	net->ops->destroy(net);
	loop_uv_destroy(loop);
	disk_destroy(disk);	/* behind the loop: a sync of one that was fenced may still run */
	rows_destroy(rows);
	buf_pool_destroy(pool);
	scratch_finish(&scratch);
}

/* Stop and start again; the client comes back with the session that it has. */
static void restart(bool keep_rows)
{
	Wire__SessionRenew renew = WIRE__SESSION_RENEW__INIT;
	Wire__SessionReclaim reclaim = WIRE__SESSION_RECLAIM__INIT;
	struct answer a;

	disconnect_client();
	stop();
	disk_destroy(disk);
	if (!keep_rows) {
		rows_destroy(rows);
		ck_assert_int_eq(rows_mem_create(&rows), 0);
	}
	start();
	connect_client();
	ck_assert_int_eq(ask(&a, MSG_SESSION_RENEW, &renew.base, false), 0);
	forget(&a);
	ck_assert_int_eq(ask(&a, MSG_SESSION_RECLAIM, &reclaim.base, false), 0);
	forget(&a);
}

START_TEST(a_made_file_is_found)
{
	uint64_t ino, found, number;

	ck_assert_int_eq(make("a", &ino, &number), 0);
	ck_assert_uint_ne(number, 0);
	ck_assert_int_eq(lookup("a", &found), 0);
	ck_assert_uint_eq(found, ino);
	ck_assert_int_eq(lookup("b", &found), -E_NOENT);
}
END_TEST

START_TEST(fsync_answers_when_the_number_is_durable)
{
	Wire__Fsync m = WIRE__FSYNC__INIT;
	uint64_t ino, number;
	struct answer a;

	ck_assert_int_eq(make("a", &ino, &number), 0);
	m.number = number;
	m.term = 1;
	ck_assert_int_eq(ask(&a, MSG_FSYNC, &m.base, false), 0);
	ck_assert_uint_ge(((const Wire__StampReply *)(const void *)a.reply)->stamp->durable,
			  number);
	forget(&a);
}
END_TEST

START_TEST(a_resent_change_has_its_first_answer)
{
	uint64_t ino, again, number;

	ck_assert_int_eq(make("a", &ino, &number), 0);
	slot_seq--;
	ck_assert_int_eq(make("a", &again, &number), 0);
	ck_assert_uint_eq(again, ino);
	ck_assert_int_eq(make("a", &again, &number), -E_EXIST);
}
END_TEST

/* What was done before there was no room is not refused because there is none now (I7). */
START_TEST(a_change_resent_to_a_full_server_has_its_first_answer)
{
	uint64_t ino, again, number;

	ck_assert_int_eq(make("a", &ino, &number), 0);
	server->is_nearly_full = true;
	slot_seq--;
	ck_assert_int_eq(make("a", &again, &number), 0);
	ck_assert_uint_eq(again, ino);
	ck_assert_int_eq(make("b", &again, &number), -E_NOSPC);
	server->is_nearly_full = false;
}
END_TEST

START_TEST(a_restart_keeps_names_with_and_without_the_rows)
{
	uint64_t ino, found, number;

	ck_assert_int_eq(make("a", &ino, &number), 0);
	for (int keep_rows = 0; keep_rows <= 1; keep_rows++) {
		restart(keep_rows != 0);
		ck_assert_int_eq(lookup("a", &found), 0);
		ck_assert_uint_eq(found, ino);
	}
}
END_TEST

START_TEST(a_snapshot_is_written_and_the_journal_trimmed)
{
	uint64_t ino, found, number, numbers[4] = { 0 };
	char name[16];

	snapshot_bytes = 4096;
	restart(true);
	for (int i = 0; i < 60; i++) {
		snprintf(name, sizeof name, "file%d", i);
		ck_assert_int_eq(make(name, &ino, &number), 0);
	}
	run_for(400);
	ck_assert_int_eq(ms_snapshot_list(disk, numbers, 4), 2);
	ck_assert_uint_gt(numbers[0], 60);
	restart(false);
	ck_assert_int_eq(lookup("file59", &found), 0);
	ck_assert_uint_eq(found, ino);
}
END_TEST

static int join_after(uint8_t n, uint64_t term)
{
	Wire__Join m = WIRE__JOIN__INIT;
	uint8_t uuid[16] = { n };
	struct answer a;
	int rc;

	m.uuid.data = uuid;
	m.uuid.len = sizeof uuid;
	m.address = (char *)(uintptr_t)"127.0.0.1:1";
	m.disks = 1;
	m.bytes_total = GiB(1);
	m.boot_id = n;
	m.term = term;
	rc = ask(&a, MSG_JOIN, &m.base, false);
	if (rc == 0)
		ck_assert_uint_ne(((const Wire__JoinReply *)(const void *)a.reply)->server, 0);
	forget(&a);
	return rc;
}

static void join(uint8_t n)
{
	ck_assert_int_eq(join_after(n, 0), 0);
}

/* It was given up, 'mkfs.cairn --recover' made another, and then it came back. */
START_TEST(a_server_that_was_replaced_changes_nothing_any_more)
{
	uint64_t ino, found, number;

	ck_assert_int_eq(make("a", &ino, &number), 0);
	ck_assert_int_eq(join_after(1, 1), 0); /* our own term */
	ck_assert_int_eq(join_after(2, 1 + (UINT64_C(1) << 32)), -E_FENCED);
	ck_assert_int_eq(make("b", &ino, &number), -E_ROFS);
	ck_assert_int_eq(lookup("a", &found), 0);
}
END_TEST

static void count_map(uint32_t *servers, uint32_t *pgs)
{
	Wire__MapGet get = WIRE__MAP_GET__INIT;
	const Wire__MapReply *r;
	struct answer a;

	*servers = *pgs = 0;
	while (get.first_pg < PG_COUNT) {
		ck_assert_int_eq(ask(&a, MSG_MAP_GET, &get.base, false), 0);
		r = (const void *)a.reply;
		*servers += (uint32_t)r->n_servers;
		*pgs += (uint32_t)r->n_pgs;
		ck_assert_uint_gt(r->next_pg, get.first_pg);
		get.first_pg = r->next_pg;
		forget(&a);
	}
}

START_TEST(the_map_comes_complete_in_pages)
{
	uint32_t servers, pgs;

	count_map(&servers, &pgs);
	ck_assert_uint_eq(servers, 0);
	for (uint8_t n = 1; n <= 3; n++)
		join(n);
	run_for(300);
	count_map(&servers, &pgs);
	ck_assert_uint_eq(servers, 3);
	ck_assert_uint_eq(pgs, PG_COUNT);
}
END_TEST

static bool status_warns_of(const char *code)
{
	Wire__Status m = WIRE__STATUS__INIT;
	const Wire__StatusReply *st;
	bool warned = false;
	struct answer a;

	ck_assert_int_eq(ask(&a, MSG_STATUS, &m.base, false), 0);
	st = (const void *)a.reply;
	for (size_t i = 0; i < st->n_warnings; i++)
		warned |= strcmp(st->warnings[i]->code, code) == 0;
	forget(&a);
	return warned;
}

START_TEST(status_warns_of_what_is_missing)
{
	ck_assert(status_warns_of("few_servers"));
	ck_assert(status_warns_of("metadata_copies"));
	ck_assert(!status_warns_of("metadata_failed"));
}
END_TEST

START_TEST(a_server_that_ends_without_a_stop_loses_nothing_it_answered)
{
	Wire__SessionRenew renew = WIRE__SESSION_RENEW__INIT;
	Wire__SessionReclaim reclaim = WIRE__SESSION_RECLAIM__INIT;
	uint64_t ino, found, number;
	struct answer a;

	ck_assert_int_eq(make("a", &ino, &number), 0);
	disconnect_client();
	ms_server_destroy(server);
	run_for(50);		/* what was posted and what workers did comes back to nobody */
	disk_destroy(disk);
	start();
	connect_client();
	ck_assert_int_eq(ask(&a, MSG_SESSION_RENEW, &renew.base, false), 0);
	forget(&a);
	ck_assert_int_eq(ask(&a, MSG_SESSION_RECLAIM, &reclaim.base, false), 0);
	forget(&a);
	ck_assert_int_eq(lookup("a", &found), 0);
	ck_assert_uint_eq(found, ino);
}
END_TEST

#ifdef CAIRN_FAULTS
START_TEST(with_a_failed_journal_changes_are_refused_and_reads_go_on)
{
	uint64_t ino, found, number;

	ck_assert_int_eq(make("a", &ino, &number), 0);
	fault_arm(FAULT_journal_append, 1, 1);
	ck_assert_int_eq(make("b", &found, &number), -E_IO);
	fault_disarm_all();
	ck_assert_int_eq(make("c", &found, &number), -E_ROFS);
	ck_assert_int_eq(lookup("a", &found), 0);
	ck_assert_uint_eq(found, ino);
	ck_assert(status_warns_of("metadata_failed"));
}
END_TEST

START_TEST(an_fsync_whose_sync_fails_says_so)
{
	Wire__Fsync m = WIRE__FSYNC__INIT;
	uint64_t ino, number;
	struct answer a;

	fault_arm(FAULT_journal_sync, 1, UINT64_MAX);
	ck_assert_int_eq(make("a", &ino, &number), 0);
	m.number = number;
	m.term = 1;
	ck_assert_int_eq(ask(&a, MSG_FSYNC, &m.base, false), -E_IO);
	fault_disarm_all();
	forget(&a);
}
END_TEST
#define FAULT_TESTS                                                                                \
	tcase_add_test(tc, with_a_failed_journal_changes_are_refused_and_reads_go_on);             \
	tcase_add_test(tc, an_fsync_whose_sync_fails_says_so)
#else
#define FAULT_TESTS (void)0
#endif

START_TEST(what_is_not_for_us_is_refused)
{
	Wire__Get m = WIRE__GET__INIT;
	uint8_t id[32] = { 1 };
	struct answer a;

	m.id.data = id;
	m.id.len = sizeof id;
	ck_assert_int_eq(ask(&a, MSG_GET, &m.base, false), -E_NOSYS);
	forget(&a);
	session = 12345;
	uint64_t ino;
	ck_assert_int_eq(lookup("a", &ino), -E_NO_SESSION);
}
END_TEST

TEST_MAIN("serve",
	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_test(tc, a_made_file_is_found);
	tcase_add_test(tc, fsync_answers_when_the_number_is_durable);
	tcase_add_test(tc, a_resent_change_has_its_first_answer);
	tcase_add_test(tc, a_change_resent_to_a_full_server_has_its_first_answer);
	tcase_add_test(tc, a_restart_keeps_names_with_and_without_the_rows);
	tcase_add_test(tc, a_server_that_was_replaced_changes_nothing_any_more);
	tcase_add_test(tc, a_snapshot_is_written_and_the_journal_trimmed);
	tcase_add_test(tc, the_map_comes_complete_in_pages);
	tcase_add_test(tc, status_warns_of_what_is_missing);
	tcase_add_test(tc, a_server_that_ends_without_a_stop_loses_nothing_it_answered);
	FAULT_TESTS;
	tcase_add_test(tc, what_is_not_for_us_is_refused))
