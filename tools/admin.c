/* SPDX-License-Identifier: Apache-2.0 */
/* A loop that runs only while a call is out. */
#include "tools/admin.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uthash.h>

#include "fs/base/config.h"
#include "fs/base/text.h"
#include "fs/placement/map.h"
#include "tools/layout.h"

#define POOL_BYTES MiB(16)
#define MAP_MS	   5000u

struct admin_peer {
	char address[SERVER_ADDRESS_BYTES_MAX];
	struct rpc_peer *peer;
	UT_hash_handle hh;
};

struct admin {
	char address[256];
	struct loop *loop;
	struct buf_pool *pool;
	struct net *net;
	struct rpc *rpc;
	struct admin_peer *peers;
	session_no session;
};

/* One call, and what its answer leaves behind. */
struct waiting {
	struct rpc_call call;
	struct admin *admin;
	ProtobufCMessage *reply;
	struct buf *bulk;
	int rc;
};

/* CAIRN_DIR's configuration; else the host's; else that of `cairn up`. NULL: there is none. */
static const char *config_path(char out[PATH_MAX])
{
	const char *dir = getenv("CAIRN_DIR");

	if (dir && snprintf(out, PATH_MAX, "%s/cairn.conf", dir) < PATH_MAX)
		return out;
	if (access(CONFIG_FILE, F_OK) == 0)
		return CONFIG_FILE;
	return access(LAYOUT_UP_DIR "/cairn.conf", F_OK) == 0 ? LAYOUT_UP_DIR "/cairn.conf" : NULL;
}

int admin_find(const char *given, char *out, size_t out_bytes, struct error *err)
{
	struct config config;
	char buffer[PATH_MAX];
	const char *path = given ? NULL : config_path(buffer);
	int rc;

	config_init(&config);
	rc = path ? config_read_file(&config, path, err) : 0;
	if (rc < 0)
		return rc;
	if (given && !strchr(given, ':'))
		return error_say(err, -E_INVAL, "bad address '%s': wants HOST:PORT", given);
	if (!text_copy(out, out_bytes, given ? given : config.cluster_mds))
		return error_set(err, -E_NAMETOOLONG, "bad address '%s'",
				 given ? given : config.cluster_mds);
	return 0;
}

int admin_open(const char *address, struct admin **out, struct error *err)
{
	struct admin *a = calloc(1, sizeof *a);
	struct rpc_options o = {.role = RPC_TOOL, .name = "cairn"};
	int rc = a ? 0 : -E_NOMEM;

	if (rc == 0 && !text_copy(a->address, sizeof a->address, address))
		rc = -E_NAMETOOLONG;
	if (rc == 0)
		rc = loop_uv_create(1, &a->loop);
	if (rc == 0) {
		a->pool = buf_pool_create(POOL_BYTES);
		rc = a->pool ? net_uv_create(a->loop, a->pool, "auto", &a->net) : -E_NOMEM;
	}
	if (rc == 0) {
		o.loop = a->loop;
		o.net = a->net;
		o.pool = a->pool;
		loop_random(a->loop, &o.boot_id, sizeof o.boot_id);
		rc = rpc_create(&o, &a->rpc);
	}
	if (rc < 0) {
		admin_close(a);
		return error_set(err, rc, "cannot start");
	}
	*out = a;
	return 0;
}

void admin_close(struct admin *a)
{
	struct admin_peer *p, *next;

	if (!a)
		return;
	HASH_ITER (hh, a->peers, p, next) {
		HASH_DEL(a->peers, p);
		rpc_peer_destroy(p->peer);
		free(p);
	}
	if (a->rpc)
		rpc_destroy(a->rpc);
	if (a->net)
		a->net->ops->destroy(a->net);
	if (a->loop)
		loop_uv_destroy(a->loop);
	if (a->pool)
		buf_pool_destroy(a->pool);
	free(a);
}

static int peer_get(struct admin *a, const char *address, struct rpc_peer **out)
{
	struct admin_peer *p;
	int rc;

	HASH_FIND_STR(a->peers, address, p);
	if (!p) {
		p = calloc(1, sizeof *p);
		if (!p)
			return -E_NOMEM;
		(void)text_copy(p->address, sizeof p->address, address);
		rc = rpc_peer_create(a->rpc, address, &p->peer);
		if (rc < 0) {
			free(p);
			return rc;
		}
		HASH_ADD_STR(a->peers, address, p);
	}
	*out = p->peer;
	return 0;
}

/* The reply is gone after done(), so it is copied by way of its packed form. */
static ProtobufCMessage *message_copy(unsigned type, const ProtobufCMessage *msg)
{
	size_t len = msg_packed_bytes(msg);
	uint8_t *packed = malloc(len ? len : 1);
	ProtobufCMessage *copy = NULL;

	if (!packed)
		return NULL;
	msg_pack(msg, packed);
	if (msg_unpack(type, true, packed, len, &copy) < 0)
		copy = NULL;
	free(packed);
	return copy;
}

static void call_done(struct rpc_call *call)
{
	struct waiting *w = container_of(call, struct waiting, call);

	w->rc = call->rc;
	if (call->rc == 0 && call->reply) {
		w->reply = message_copy(call->type, call->reply);
		if (!w->reply)
			w->rc = -E_NOMEM;
	}
	if (call->rc == 0 && call->reply_bulk)
		w->bulk = buf_ref(call->reply_bulk);
	loop_uv_stop(w->admin->loop);
}

int admin_ask(struct admin *a, const struct admin_question *q, ProtobufCMessage **reply,
	      struct error *err)
{
	struct waiting w = {.admin = a};
	struct rpc_peer *peer;
	int rc = peer_get(a, q->address, &peer);

	if (rc < 0)
		return error_set(err, rc, "cannot ask '%s'", q->address);
	w.call.type = (uint16_t)q->type;
	w.call.request = q->request;
	w.call.session = a->session;
	w.call.deadline_ms = q->deadline_ms;
	w.call.done = call_done;
	rpc_call(peer, &w.call);
	loop_uv_run(a->loop);
	if (w.rc == -E_NOTCONN || w.rc == -E_TIMEDOUT || w.rc == -E_CONNREFUSED)
		return error_set(err, w.rc, "'%s' does not answer", q->address);
	if (w.rc < 0)
		return error_set(err, w.rc, "cannot ask '%s' for %s", q->address,
				 msg_type_name(q->type));
	*reply = w.reply;
	if (q->bulk)
		*q->bulk = w.bulk;
	else
		buf_put(w.bulk);
	return 0;
}

int admin_call(struct admin *a, unsigned type, const ProtobufCMessage *request,
	       uint32_t deadline_ms, ProtobufCMessage **reply, struct error *err)
{
	struct admin_question q = {a->address, type, request, deadline_ms, NULL};
	int rc = admin_ask(a, &q, reply, err);

	if (rc == -E_NOTCONN || rc == -E_TIMEDOUT || rc == -E_CONNREFUSED)
		return error_set(
			err, rc,
			"the metadata server at '%s' does not answer (is cairn-mds running?)",
			a->address);
	return rc;
}

static int map_take_page(struct map *map, const Wire__MapReply *page)
{
	struct server_row server;
	struct pg_row pg;
	int rc = 0;

	for (size_t i = 0; i < page->n_servers && rc == 0; i++) {
		rc = server_row_decode(page->servers[i].data, page->servers[i].len, &server);
		if (rc == 0)
			rc = map_put_server(map, &server);
	}
	for (size_t i = 0; i < page->n_pgs && rc == 0; i++) {
		const ProtobufCBinaryData *row = &page->pgs[i];
		uint32_t number =
			row->len >= 2 ? row->data[0] | (uint32_t)row->data[1] << 8 : PG_COUNT;

		if (number >= PG_COUNT)
			return -E_MALFORMED;
		rc = pg_row_decode(row->data + 2, row->len - 2, &pg);
		if (rc == 0)
			(void)map_put_pg(map, (pg_no)number, &pg);
	}
	return rc;
}

int admin_map(struct admin *a, struct map *map, struct error *err)
{
	Wire__MapGet ask = WIRE__MAP_GET__INIT;

	while (ask.first_pg < PG_COUNT) {
		ProtobufCMessage *reply = NULL;
		uint32_t next;
		int rc = admin_call(a, MSG_MAP_GET, &ask.base, MAP_MS, &reply, err);

		if (rc < 0)
			return rc;
		rc = map_take_page(map, (const Wire__MapReply *)(const void *)reply);
		next = ((const Wire__MapReply *)(const void *)reply)->next_pg;
		msg_free(reply);
		if (rc == 0 && next <= ask.first_pg)
			rc = -E_MALFORMED;
		if (rc < 0)
			return error_set(err, rc, "cannot read the replica map");
		ask.first_pg = next;
	}
	return 0;
}

void admin_set_session(struct admin *a, session_no session)
{
	a->session = session;
}

const Wire__HelloReply *admin_hello_at(const struct admin *a, const char *address)
{
	struct admin_peer *p;

	HASH_FIND_STR(a->peers, address, p);
	return p ? rpc_peer_hello(p->peer) : NULL;
}

const Wire__HelloReply *admin_hello(const struct admin *a)
{
	return admin_hello_at(a, a->address);
}
