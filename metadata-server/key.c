/* SPDX-License-Identifier: Apache-2.0 */
/* Keys and small values of rows; the table in key.h is the format. */
#include "metadata-server/key.h"

#include <string.h>

static struct wr key_begin(struct ms_key *key, enum ms_key_type type)
{
	struct wr w = wr_init(key->bytes, sizeof key->bytes);

	wr_u8(&w, (uint8_t)type);
	return w;
}

static void key_end(struct ms_key *key, const struct wr *w)
{
	ASSERT(wr_ok(w));
	key->len = (uint32_t)wr_len(w);
}

struct ms_key ms_key_one(enum ms_key_type type)
{
	struct ms_key key;
	struct wr w = key_begin(&key, type);

	key_end(&key, &w);
	return key;
}

struct ms_key ms_key_number(enum ms_key_type type, uint64_t number)
{
	struct ms_key key;
	struct wr w = key_begin(&key, type);

	wr_be64(&w, number);
	key_end(&key, &w);
	return key;
}

struct ms_key ms_key_xattr(inode_no ino, struct ms_name name)
{
	struct ms_key key;
	struct wr w = key_begin(&key, MS_KEY_XATTR);

	wr_be64(&w, ino);
	wr_bytes(&w, name.bytes, name.len);
	key_end(&key, &w);
	return key;
}

struct ms_key ms_key_orphan(inode_no ino, session_no session)
{
	struct ms_key key;
	struct wr w = key_begin(&key, MS_KEY_ORPHAN);

	wr_be64(&w, ino);
	wr_be64(&w, session);
	key_end(&key, &w);
	return key;
}

struct ms_key ms_key_name(inode_no dir, uint64_t hash, struct ms_name name)
{
	struct ms_key key;
	struct wr w = key_begin(&key, MS_KEY_NAME);

	wr_be64(&w, dir);
	wr_be64(&w, hash);
	wr_bytes(&w, name.bytes, name.len);
	key_end(&key, &w);
	return key;
}

struct ms_key ms_key_slot(session_no session, uint32_t slot)
{
	struct ms_key key;
	struct wr w = key_begin(&key, MS_KEY_SLOT);

	ASSERT(slot < SESSION_SLOTS);
	wr_be64(&w, session);
	wr_be16(&w, (uint16_t)slot);
	key_end(&key, &w);
	return key;
}

struct ms_key ms_key_pg(pg_no pg)
{
	struct ms_key key;
	struct wr w = key_begin(&key, MS_KEY_PG);

	wr_be16(&w, pg);
	key_end(&key, &w);
	return key;
}

static struct ms_key key_of_server(enum ms_key_type type, server_no server)
{
	struct ms_key key;
	struct wr w = key_begin(&key, type);

	wr_be32(&w, server);
	key_end(&key, &w);
	return key;
}

struct ms_key ms_key_server(server_no server)
{
	return key_of_server(MS_KEY_SERVER, server);
}

struct ms_key ms_key_content(server_no server)
{
	return key_of_server(MS_KEY_CONTENT, server);
}

struct ms_key ms_key_trash(enum ms_trash_kind kind, inode_no dir)
{
	struct ms_key key;
	struct wr w = key_begin(&key, MS_KEY_TRASH);

	wr_u8(&w, (uint8_t)kind);
	wr_be64(&w, dir);
	key_end(&key, &w);
	return key;
}

struct ms_key ms_key_trash_entry(inode_no tree, uint64_t time_ns, inode_no ino)
{
	struct ms_key key;
	struct wr w = key_begin(&key, MS_KEY_TRASH);

	wr_u8(&w, MS_TRASH_ENTRY);
	wr_be64(&w, tree);
	wr_be64(&w, time_ns);
	wr_be64(&w, ino);
	key_end(&key, &w);
	return key;
}

struct ms_key ms_key_clone_work(inode_no clone, uint32_t kind, inode_no ino)
{
	struct ms_key key;
	struct wr w = key_begin(&key, MS_KEY_CLONE_WORK);

	wr_be64(&w, clone);
	wr_u8(&w, (uint8_t)kind);
	wr_be64(&w, ino);
	key_end(&key, &w);
	return key;
}

bool ms_key_is(const struct row *row, enum ms_key_type type, struct rd *r)
{
	*r = rd_init(row->key, row->key_len);
	return rd_u8(r) == type;
}

/* --- values ----------------------------------------------------------------------------------- */

void ms_key_counters_encode(const struct ms_counters *c, uint8_t out[MS_COUNTERS_BYTES])
{
	struct wr w = wr_init(out, MS_COUNTERS_BYTES);

	wr_u64(&w, c->files);
	wr_u64(&w, c->directories);
	wr_u64(&w, c->bytes_logical);
	wr_u64(&w, c->inode_limit);
	wr_u64(&w, c->flags);
	ASSERT(wr_ok(&w));
}

int ms_key_counters_decode(const void *in, size_t len, struct ms_counters *out)
{
	struct rd r = rd_init(in, len);

	out->files = rd_u64(&r);
	out->directories = rd_u64(&r);
	out->bytes_logical = rd_u64(&r);
	out->inode_limit = rd_u64(&r);
	out->flags = rd_u64(&r);
	return rd_done(&r) && !(out->flags & ~(uint64_t)MS_COUNTERS_PUBLISHED) ? 0 : -E_CORRUPT;
}

void ms_key_name_encode(const struct ms_name_value *v, uint8_t out[MS_NAME_VALUE_BYTES])
{
	struct wr w = wr_init(out, MS_NAME_VALUE_BYTES);

	wr_u8(&w, (uint8_t)(v->type >> 12));
	wr_u64(&w, v->ino);
	ASSERT(wr_ok(&w));
}

int ms_key_name_decode(const void *in, size_t len, struct ms_name_value *out)
{
	struct rd r = rd_init(in, len);

	out->type = (uint32_t)rd_u8(&r) << 12;
	out->ino = rd_u64(&r);
	return rd_done(&r) && out->ino && out->type <= 0xf000 ? 0 : -E_CORRUPT;
}

void ms_key_slot_encode(const struct ms_slot_value *v, uint8_t out[MS_SLOT_VALUE_BYTES])
{
	struct wr w = wr_init(out, MS_SLOT_VALUE_BYTES);

	wr_u64(&w, v->seq);
	wr_u16(&w, v->op);
	wr_zeros(&w, 2);
	wr_u32(&w, v->error);
	wr_u64(&w, v->ino);
	wr_u64(&w, v->parent);
	wr_u64(&w, v->version);
	ASSERT(wr_ok(&w));
}

int ms_key_slot_decode(const void *in, size_t len, struct ms_slot_value *out)
{
	struct rd r = rd_init(in, len);

	out->seq = rd_u64(&r);
	out->op = rd_u16(&r);
	rd_zeros(&r, 2);
	out->error = rd_u32(&r);
	out->ino = rd_u64(&r);
	out->parent = rd_u64(&r);
	out->version = rd_u64(&r);
	return rd_done(&r) && out->seq && out->error <= INT32_MAX ? 0 : -E_CORRUPT;
}

size_t ms_key_session_encode(const struct ms_session_value *v,
			     uint8_t out[MS_SESSION_VALUE_BYTES_MAX])
{
	struct wr w = wr_init(out, MS_SESSION_VALUE_BYTES_MAX);

	wr_bytes(&w, v->nonce, sizeof v->nonce);
	wr_u64(&w, v->opened_wall_ns);
	wr_bytes(&w, v->node, strnlen(v->node, MS_NODE_NAME_BYTES_MAX));
	ASSERT(wr_ok(&w));
	return wr_len(&w);
}

int ms_key_session_decode(const void *in, size_t len, struct ms_session_value *out)
{
	struct rd r = rd_init(in, len);
	size_t node_len;

	rd_bytes(&r, out->nonce, sizeof out->nonce);
	out->opened_wall_ns = rd_u64(&r);
	node_len = rd_left(&r);
	if (!rd_ok(&r) || node_len > MS_NODE_NAME_BYTES_MAX)
		return -E_CORRUPT;
	rd_bytes(&r, out->node, node_len);
	out->node[node_len] = '\0';
	return memchr(out->node, 0, node_len) ? -E_CORRUPT : 0;
}

void ms_key_map_encode(const struct ms_map_value *v, uint8_t out[MS_MAP_VALUE_BYTES])
{
	struct wr w = wr_init(out, MS_MAP_VALUE_BYTES);

	wr_u64(&w, v->version);
	wr_u32(&w, v->last_server);
	wr_zeros(&w, 4);
	ASSERT(wr_ok(&w));
}

int ms_key_map_decode(const void *in, size_t len, struct ms_map_value *out)
{
	struct rd r = rd_init(in, len);

	out->version = rd_u64(&r);
	out->last_server = rd_u32(&r);
	rd_zeros(&r, 4);
	return rd_done(&r) ? 0 : -E_CORRUPT;
}

void ms_key_content_encode(uint64_t content, uint8_t out[MS_CONTENT_VALUE_BYTES])
{
	struct wr w = wr_init(out, MS_CONTENT_VALUE_BYTES);

	wr_u64(&w, content);
	ASSERT(wr_ok(&w));
}

int ms_key_content_decode(const void *in, size_t len, uint64_t *out)
{
	struct rd r = rd_init(in, len);

	*out = rd_u64(&r);
	return rd_done(&r) && *out ? 0 : -E_CORRUPT;
}

void ms_key_collection_encode(uint64_t epoch, uint8_t out[MS_COLLECTION_VALUE_BYTES])
{
	struct wr w = wr_init(out, MS_COLLECTION_VALUE_BYTES);

	wr_u64(&w, epoch);
	ASSERT(wr_ok(&w));
}

int ms_key_collection_decode(const void *in, size_t len, uint64_t *out)
{
	struct rd r = rd_init(in, len);

	*out = rd_u64(&r);
	return rd_done(&r) && *out ? 0 : -E_CORRUPT;
}

void ms_key_clone_encode(const struct ms_clone_value *v, uint8_t out[MS_CLONE_VALUE_BYTES])
{
	struct wr w = wr_init(out, MS_CLONE_VALUE_BYTES);

	wr_u64(&w, v->source);
	wr_u64(&w, v->session);
	wr_u64(&w, v->ticket);
	wr_u64(&w, v->parent);
	wr_u64(&w, v->names);
	wr_u64(&w, v->bytes);
	wr_u32(&w, v->uid);
	wr_u32(&w, v->state);
	ASSERT(wr_ok(&w));
}

int ms_key_clone_decode(const void *in, size_t len, struct ms_clone_value *out)
{
	struct rd r = rd_init(in, len);
	uint32_t state;

	out->source = rd_u64(&r);
	out->session = rd_u64(&r);
	out->ticket = rd_u64(&r);
	out->parent = rd_u64(&r);
	out->names = rd_u64(&r);
	out->bytes = rd_u64(&r);
	out->uid = rd_u32(&r);
	state = rd_u32(&r);
	if (!rd_done(&r) || state < MS_CLONE_BUILDING || state > MS_CLONE_GOING)
		return -E_CORRUPT;
	out->state = (enum ms_clone_state)state;
	return 0;
}

size_t ms_key_clone_work_encode(const struct ms_clone_work *v,
				uint8_t out[MS_CLONE_WORK_BYTES_MAX])
{
	struct wr w = wr_init(out, MS_CLONE_WORK_BYTES_MAX);

	wr_u64(&w, v->target);
	wr_u64(&w, v->hash);
	wr_bytes(&w, v->name, v->name_len);
	ASSERT(wr_ok(&w));
	return wr_len(&w);
}

int ms_key_clone_work_decode(struct rd *key, const void *in, size_t len, struct ms_clone_work *out)
{
	struct rd r = rd_init(in, len);
	uint32_t kind = rd_u8(key);

	out->ino = rd_be64(key);
	out->target = rd_u64(&r);
	out->hash = rd_u64(&r);
	out->name_len = (uint32_t)rd_left(&r);
	if (!rd_done(key) || !rd_ok(&r) || out->name_len > sizeof out->name ||
	    kind < MS_CLONE_XATTRS || kind > MS_CLONE_EMPTY)
		return -E_CORRUPT;
	rd_bytes(&r, out->name, out->name_len);
	out->kind = (enum ms_clone_kind)kind;
	return 0;
}

#define QUOTA_FLAG_ENDING 1u

void ms_key_quota_encode(const struct ms_quota *q, uint8_t out[MS_QUOTA_BYTES])
{
	struct wr w = wr_init(out, MS_QUOTA_BYTES);

	wr_u64(&w, q->parent);
	wr_u64(&w, q->bytes_max);
	wr_u64(&w, q->files_max);
	wr_u64(&w, q->bytes);
	wr_u64(&w, q->files);
	wr_u32(&w, q->is_ending ? QUOTA_FLAG_ENDING : 0);
	wr_zeros(&w, 4);
	ASSERT(wr_ok(&w));
}

int ms_key_quota_decode(const void *in, size_t len, struct ms_quota *out)
{
	struct rd r = rd_init(in, len);
	uint32_t flags;

	out->parent = rd_u64(&r);
	out->bytes_max = rd_u64(&r);
	out->files_max = rd_u64(&r);
	out->bytes = rd_u64(&r);
	out->files = rd_u64(&r);
	flags = rd_u32(&r);
	rd_zeros(&r, 4);
	out->is_ending = flags & QUOTA_FLAG_ENDING;
	return rd_done(&r) && flags <= QUOTA_FLAG_ENDING ? 0 : -E_CORRUPT;
}

void ms_key_quota_walk_encode(uint64_t hash, uint8_t out[MS_QUOTA_WALK_BYTES])
{
	struct wr w = wr_init(out, MS_QUOTA_WALK_BYTES);

	wr_u64(&w, hash);
	ASSERT(wr_ok(&w));
}

int ms_key_quota_walk_decode(const void *in, size_t len, uint64_t *hash)
{
	struct rd r = rd_init(in, len);

	*hash = rd_u64(&r);
	return rd_done(&r) ? 0 : -E_CORRUPT;
}

void ms_key_trash_encode(const struct ms_trash *v, uint8_t out[MS_TRASH_BYTES])
{
	struct wr w = wr_init(out, MS_TRASH_BYTES);

	wr_u64(&w, v->keep_ms);
	wr_u64(&w, v->entries);
	wr_u64(&w, v->bytes);
	wr_u64(&w, v->is_on);
	ASSERT(wr_ok(&w));
}

int ms_key_trash_decode(const void *in, size_t len, struct ms_trash *out)
{
	struct rd r = rd_init(in, len);
	uint64_t flags;

	out->keep_ms = rd_u64(&r);
	out->entries = rd_u64(&r);
	out->bytes = rd_u64(&r);
	flags = rd_u64(&r);
	out->is_on = flags & 1;
	return rd_done(&r) && flags <= 1 && out->keep_ms && out->keep_ms <= MS_TRASH_KEEP_MS_MAX
		       ? 0
		       : -E_CORRUPT;
}

size_t ms_key_trash_entry_encode(const struct ms_trash_entry *v,
				 uint8_t out[MS_TRASH_ENTRY_BYTES_MAX])
{
	struct wr w = wr_init(out, MS_TRASH_ENTRY_BYTES_MAX);

	wr_u64(&w, v->bytes);
	wr_u32(&w, v->uid);
	wr_bytes(&w, v->path.bytes, v->path.len);
	ASSERT(wr_ok(&w));
	return wr_len(&w);
}

int ms_key_trash_entry_decode(struct rd *key, const void *in, size_t len,
			      struct ms_trash_entry *out)
{
	struct rd r = rd_init(in, len);

	out->time_ns = rd_be64(key);
	out->ino = rd_be64(key);
	out->bytes = rd_u64(&r);
	out->uid = rd_u32(&r);
	out->path.len = (uint32_t)rd_left(&r);
	out->path.bytes = rd_view(&r, out->path.len);
	return rd_done(key) && rd_ok(&r) && out->ino && out->path.len &&
			       out->path.len <= MS_TRASH_PATH_MAX
		       ? 0
		       : -E_CORRUPT;
}

void ms_key_trash_walk_encode(uint64_t hash, uint8_t out[MS_TRASH_WALK_BYTES])
{
	struct wr w = wr_init(out, MS_TRASH_WALK_BYTES);

	wr_u64(&w, hash);
	ASSERT(wr_ok(&w));
}

int ms_key_trash_walk_decode(const void *in, size_t len, uint64_t *hash)
{
	struct rd r = rd_init(in, len);

	*hash = rd_u64(&r);
	return rd_done(&r) ? 0 : -E_CORRUPT;
}
