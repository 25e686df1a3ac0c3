/* SPDX-License-Identifier: Apache-2.0 */
/* Names and content over the network, one call at a time. What comes back is foreign (I8). */
#include "tools/tree_reader.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "fs/disk/record.h"
#include "tools/admin.h"

#define CALL_MS	    10000u
#define SILENCE_MS  10000u
#define RECOVERY_MS 60000u /* a metadata server that has just started lets nobody in for a lease   \
			    */

struct tree_reader {
	struct admin *admin;
	struct map *map;
	enum hash_kind hash;
	struct codec_scratch *codec;
	char address[256]; /* of the metadata server */
	bool has_session;
	uint64_t lease_ms, renewed_ms;
	uint64_t silent_until_ms[SERVERS_MAX]; /* by place in the map */
};

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* --- opening ---------------------------------------------------------------------------------- */

static int session_open(struct tree_reader *r, struct error *err)
{
	Wire__SessionOpen ask = WIRE__SESSION_OPEN__INIT;
	ProtobufCMessage *reply = NULL;
	uint8_t nonce[16];
	char node[64] = "";
	int rc;

	if (getrandom(nonce, sizeof nonce, 0) != (ssize_t)sizeof nonce)
		return error_set(err, -E_IO, "cannot get random bytes");
	(void)gethostname(node, sizeof node - 1); /* for people only */
	ask.node = node;
	ask.nonce = (ProtobufCBinaryData){sizeof nonce, nonce};
	rc = admin_call(r->admin, MSG_SESSION_OPEN, &ask.base, CALL_MS, &reply, err);
	if (rc < 0)
		return rc;
	admin_set_session(r->admin, ((Wire__SessionReply *)(void *)reply)->session);
	r->lease_ms = ((Wire__SessionReply *)(void *)reply)->lease_ms;
	r->renewed_ms = now_ms();
	r->has_session = true;
	msg_free(reply);
	return 0;
}

/* A long walk outlives a lease: before each call, see whether a third of it has passed. */
static int session_keep(struct tree_reader *r, struct error *err)
{
	Wire__SessionRenew ask = WIRE__SESSION_RENEW__INIT;
	ProtobufCMessage *reply = NULL;
	uint64_t now = now_ms();
	int rc;

	if (now - r->renewed_ms < r->lease_ms / 3)
		return 0;
	rc = admin_call(r->admin, MSG_SESSION_RENEW, &ask.base, CALL_MS, &reply, err);
	if (rc < 0)
		return rc;
	r->renewed_ms = now;
	msg_free(reply);
	return 0;
}

int tree_reader_open(const char *mds, struct tree_reader **out, struct error *err)
{
	struct tree_reader *r = calloc(1, sizeof *r);
	int rc = r ? map_create(&r->map) : -E_NOMEM;

	if (rc == 0) {
		r->codec = codec_scratch_create();
		rc = r->codec ? 0 : -E_NOMEM;
	}
	if (rc < 0)
		(void)error_set(err, rc, "cannot start");
	if (rc == 0)
		rc = admin_find(mds, r->address, sizeof r->address, err);
	if (rc == 0)
		rc = admin_open(r->address, &r->admin, err);
	if (rc == 0)
		rc = session_open(r, err);
	if (rc == 0)
		rc = admin_map(r->admin, r->map, err);
	if (rc < 0) {
		tree_reader_close(r);
		return rc;
	}
	r->hash = (enum hash_kind)admin_hello(r->admin)->hash;
	*out = r;
	return 0;
}

void tree_reader_close(struct tree_reader *r)
{
	Wire__Empty ask = WIRE__EMPTY__INIT;
	ProtobufCMessage *reply = NULL;
	struct error ignored;

	if (!r)
		return;
	/* One that cannot be ended now ends with its lease. */
	if (r->has_session &&
	    admin_call(r->admin, MSG_SESSION_CLOSE, &ask.base, CALL_MS, &reply, &ignored) == 0)
		msg_free(reply);
	admin_close(r->admin);
	map_destroy(r->map);
	codec_scratch_destroy(r->codec);
	free(r);
}

const struct map *tree_reader_map(const struct tree_reader *r)
{
	return r->map;
}

/* --- names ------------------------------------------------------------------------------------ */

/* False: not as a server of ours would say it. */
static bool attr_take(const Wire__Attr *a, struct tree_attr *out)
{
	memset(out, 0, sizeof *out);
	if (a->root.len &&
	    (a->root.len != ROOT_BYTES || root_decode(a->root.data, &out->root) < 0))
		return false;
	out->ino = a->ino;
	out->mode = a->mode;
	out->nlink = a->nlink;
	out->size = a->size;
	out->version = a->version;
	return true;
}

int tree_reader_attr(struct tree_reader *r, inode_no ino, struct tree_attr *out, struct error *err)
{
	Wire__GetAttr ask = WIRE__GET_ATTR__INIT;
	ProtobufCMessage *reply = NULL;
	const Wire__Attr *a;
	int rc;

	ask.ino = ino;
	rc = session_keep(r, err);
	if (rc == 0)
		rc = admin_call(r->admin, MSG_GETATTR, &ask.base, RECOVERY_MS, &reply, err);
	if (rc < 0)
		return rc;
	a = ((const Wire__NodeReply *)(const void *)reply)->attr;
	if (!a || !attr_take(a, out))
		rc = error_set(err, -E_MALFORMED, "cannot read the attributes of inode %llu",
			       (unsigned long long)ino);
	msg_free(reply);
	return rc;
}

struct listing {
	Wire__ReadDir ask;
	tree_name_fn fn;
	void *arg;
	struct error *err;
};

static int give_name(struct listing *l, const Wire__DirEntry *e)
{
	struct tree_name name = {e->name.data, e->name.len, e->ino, e->type, NULL};
	struct tree_attr attr;

	if (e->attr) {
		if (e->attr->ino != e->ino || !attr_take(e->attr, &attr))
			return error_set(l->err, -E_MALFORMED,
					 "cannot read the attributes of inode %llu",
					 (unsigned long long)e->ino);
		name.attr = &attr;
	}
	return l->fn(l->arg, &name);
}

/* One page of a directory: 1 there is more behind the cookie, 0 the end. */
static int list_page(struct tree_reader *r, struct listing *l)
{
	ProtobufCMessage *reply = NULL;
	const Wire__ReadDirReply *page;
	int rc = session_keep(r, l->err);

	if (rc == 0)
		rc = admin_call(r->admin, MSG_READDIR, &l->ask.base, RECOVERY_MS, &reply, l->err);
	if (rc < 0)
		return rc;
	page = (const Wire__ReadDirReply *)(const void *)reply;
	for (size_t i = 0; i < page->n_entries && rc >= 0; i++) {
		l->ask.cookie = page->entries[i]->cookie;
		rc = give_name(l, page->entries[i]);
	}
	if (rc >= 0)
		rc = !page->end && page->n_entries > 0;
	msg_free(reply);
	return rc;
}

static int list(struct tree_reader *r, inode_no dir, struct listing *l)
{
	int rc;

	l->ask.ino = dir;
	l->ask.bytes_max = MESSAGE_BYTES_MAX;
	while ((rc = list_page(r, l)) > 0)
		;
	return rc;
}

int tree_reader_list(struct tree_reader *r, inode_no dir, tree_name_fn fn, void *arg,
		     struct error *err)
{
	struct listing l = {WIRE__READ_DIR__INIT, fn, arg, err};

	return list(r, dir, &l);
}

int tree_reader_list_plus(struct tree_reader *r, inode_no dir, tree_name_fn fn, void *arg,
			  struct error *err)
{
	struct listing l = {WIRE__READ_DIR__INIT, fn, arg, err};

	l.ask.attributes = true;
	l.ask.unleased = true; /* nobody here answers a recall */
	return list(r, dir, &l);
}

int tree_reader_inline(struct tree_reader *r, const struct tree_attr *attr, uint32_t *bytes,
		       struct error *err)
{
	Wire__GetInline ask = WIRE__GET_INLINE__INIT;
	ProtobufCMessage *reply = NULL;
	struct buf *bulk = NULL;
	struct admin_question q = {r->address, MSG_GET_INLINE, &ask.base, RECOVERY_MS, &bulk};
	int rc = session_keep(r, err);

	ask.ino = attr->ino;
	ask.version = attr->version;
	if (rc == 0)
		rc = admin_ask(r->admin, &q, &reply, err);
	if (rc < 0)
		return rc;
	*bytes = bulk ? bulk->len : 0;
	buf_put(bulk);
	msg_free(reply);
	return 0;
}

/* --- blocks ----------------------------------------------------------------------------------- */

static uint32_t servers_of(const struct tree_reader *r, const struct block_id *id,
			   server_no out[COPIES_MAX + FORMERS_MAX])
{
	const struct pg_row *row = map_pg(r->map, block_id_pg(id));
	uint32_t count = 0;

	for (uint32_t i = 0; i < row->replica_count; i++)
		out[count++] = row->replicas[i];
	for (uint32_t i = 0; i < row->former_count; i++)
		out[count++] = row->formers[i];
	return count;
}

/* One question: the ids, and which of the caller's blocks they are. */
struct sizes {
	ProtobufCBinaryData ids[SIZES_IDS_MAX];
	uint32_t index[SIZES_IDS_MAX];
	uint32_t count;
};

static int ask_sizes(struct tree_reader *r, uint32_t index, struct sizes *q,
		     struct tree_copies *out)
{
	const struct server_row *server = map_server_at(r->map, index);
	Wire__Sizes ask = WIRE__SIZES__INIT;
	struct admin_question of_server = {server->address, MSG_SIZES, &ask.base, CALL_MS, NULL};
	ProtobufCMessage *reply = NULL;
	const Wire__SizesReply *sizes;
	struct error ignored;
	int rc;

	if (server->state > SERVER_SUSPECT || now_ms() < r->silent_until_ms[index])
		return -E_NOTCONN;
	ask.n_ids = q->count;
	ask.ids = q->ids;
	rc = admin_ask(r->admin, &of_server, &reply, &ignored);
	if (rc < 0) {
		r->silent_until_ms[index] = now_ms() + SILENCE_MS;
		return rc;
	}
	sizes = (const Wire__SizesReply *)(const void *)reply;
	if (sizes->n_stored != q->count || sizes->codecs.len != q->count)
		rc = -E_MALFORMED;
	for (uint32_t i = 0; rc == 0 && i < q->count; i++) {
		struct tree_copies *c = &out[q->index[i]];

		if (sizes->stored[i] > 0)
			c->held[c->held_count++] = (struct tree_copy){
				server->server, sizes->stored[i], sizes->codecs.data[i]};
	}
	msg_free(reply);
	return rc;
}

int tree_reader_copies(struct tree_reader *r, const struct block_id *ids, uint32_t count,
		       struct tree_copies *out, struct error *err)
{
	struct sizes *q = malloc(sizeof *q);
	int rc = q ? session_keep(r, err) : error_set(err, -E_NOMEM, "cannot ask for blocks");

	ASSERT(count <= SIZES_IDS_MAX);
	for (uint32_t i = 0; i < count; i++)
		out[i] = (struct tree_copies){
			.wanted = map_pg(r->map, block_id_pg(&ids[i]))->replica_count};
	for (uint32_t s = 0; rc == 0 && s < map_server_count(r->map); s++) {
		const struct server_row *server = map_server_at(r->map, s);

		q->count = 0;
		for (uint32_t i = 0; i < count; i++) {
			if (!pg_row_names(map_pg(r->map, block_id_pg(&ids[i])), server->server))
				continue;
			q->ids[q->count] = (ProtobufCBinaryData){
				sizeof ids[i].bytes, (uint8_t *)(uintptr_t)ids[i].bytes};
			q->index[q->count++] = i;
		}
		if (q->count == 0 || ask_sizes(r, s, q, out) == 0)
			continue;
		for (uint32_t i = 0; i < q->count; i++)
			out[q->index[i]].silent_count++;
	}
	free(q);
	return rc;
}

int tree_reader_get_at(struct tree_reader *r, server_no server, const struct block_id *id,
		       void *plain, uint32_t *plain_len, struct error *err)
{
	const struct server_row *row = map_server(r->map, server);
	struct block_id copy = *id;
	Wire__Get ask = WIRE__GET__INIT;
	ProtobufCMessage *reply = NULL;
	struct buf *bulk = NULL;
	struct record record;
	int rc;

	if (!row)
		return error_set(err, -E_NOENT, "cannot ask server %u", server);
	rc = session_keep(r, err);
	if (rc < 0)
		return rc;
	ask.id = (ProtobufCBinaryData){sizeof copy.bytes, copy.bytes};
	rc = admin_ask(r->admin,
		       &(struct admin_question){row->address, MSG_GET, &ask.base, CALL_MS, &bulk},
		       &reply, err);
	if (rc < 0)
		return rc;
	rc = bulk ? record_open(r->codec, r->hash, bulk->data, bulk->len, true, &record, plain)
		  : -E_MALFORMED;
	if (rc == 0 && !block_id_equal(&record.id, id))
		rc = -E_CORRUPT;
	if (rc < 0)
		(void)error_set(err, rc, "wrong bytes from '%s'", row->address);
	else
		*plain_len = record.plain_len;
	buf_put(bulk);
	msg_free(reply);
	return rc;
}

int tree_reader_check(struct tree_reader *r, server_no server, const struct block_id *id,
		      struct error *err)
{
	const struct server_row *row = map_server(r->map, server);
	struct block_id copy = *id;
	Wire__Check ask = WIRE__CHECK__INIT;
	ProtobufCMessage *reply = NULL;
	int rc;

	if (!row)
		return error_set(err, -E_NOENT, "cannot ask server %u", server);
	ask.id = (ProtobufCBinaryData){sizeof copy.bytes, copy.bytes};
	rc = admin_ask(r->admin,
		       &(struct admin_question){row->address, MSG_CHECK, &ask.base, CALL_MS, NULL},
		       &reply, err);
	if (rc == 0)
		msg_free(reply);
	return rc;
}

int tree_reader_get(struct tree_reader *r, const struct block_id *id, void *plain,
		    uint32_t *plain_len, struct error *err)
{
	server_no servers[COPIES_MAX + FORMERS_MAX];
	uint32_t count = servers_of(r, id, servers);
	int rc = error_say(err, -E_NO_REPLICA, "no server is responsible for placement group %u",
			   block_id_pg(id));

	for (uint32_t i = 0; i < count; i++) {
		const struct server_row *row = map_server(r->map, servers[i]);

		if (!row || row->state > SERVER_SUSPECT)
			continue;
		rc = tree_reader_get_at(r, servers[i], id, plain, plain_len, err);
		if (rc == 0)
			return 0;
	}
	return rc;
}

/* --- walking ---------------------------------------------------------------------------------- */

struct walk {
	struct tree_reader *r;
	tree_block_fn fn;
	void *arg;
	struct error *err;
};

static int walk_node(struct walk *w, const struct tree_block *node, uint8_t level)
{
	uint8_t *plain = malloc(BLOCK_BYTES_MAX);
	struct node_entry said = {.length = node->length, .data = node->data};
	uint64_t offset = node->offset;
	struct node_view v;
	uint32_t len;
	int rc = plain ? w->fn(w->arg, node) : error_set(w->err, -E_NOMEM, "cannot walk the file");

	if (rc >= 0)
		rc = tree_reader_get(w->r, &node->id, plain, &len, w->err);
	if (rc >= 0) {
		rc = node_view_init(&v, plain, len, level, &said);
		if (rc < 0)
			(void)error_set(w->err, rc, "wrong manifest node at byte %llu",
					(unsigned long long)node->offset);
	}
	for (uint32_t i = 0; rc >= 0 && i < v.entry_count; i++) {
		struct node_entry e = node_view_entry(&v, i);
		struct tree_block below = {.id = e.id, .offset = offset, .length = e.length,
					   .data = e.data, .is_node = level > 0};

		if (level > 0)
			rc = walk_node(w, &below, (uint8_t)(level - 1));
		else if (!block_id_is_zero(&below.id))
			rc = w->fn(w->arg, &below);
		offset += below.length;
	}
	free(plain);
	return rc;
}

int tree_reader_walk(struct tree_reader *r, const struct root *root, tree_block_fn fn, void *arg,
		     struct error *err)
{
	struct walk w = {.r = r, .fn = fn, .arg = arg, .err = err};
	struct tree_block top = {
		.id = root->id, .length = root->length, .data = root_data_bytes(root),
		.is_node = root->kind == ROOT_NODE};
	int rc = 0;

	if (root->kind == ROOT_NODE)
		rc = walk_node(&w, &top, (uint8_t)(root->depth - 1));
	else if (root->kind == ROOT_BLOCK)
		rc = fn(arg, &top);
	return rc < 0 ? rc : 0;
}
