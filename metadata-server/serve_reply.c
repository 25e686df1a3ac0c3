/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replies from step to the wire. What a reply borrows is valid only while the effect is taken, and
 * a reply leaves later: so each message is built, with all that it points to, in one allocation of
 * its own.
 */
#include "metadata-server/path.h"
#include "metadata-server/serve_internal.h"

#include <stdlib.h>
#include <string.h>

/* The allocation, cut from the front. Sized beforehand: running out is a bug. */
struct cutter {
	uint8_t *at, *end;
};

static void *cut(struct cutter *c, size_t bytes)
{
	void *out = c->at;

	bytes = (bytes + 15) & ~(size_t)15;
	ASSERT(bytes <= (size_t)(c->end - c->at));
	c->at += bytes;
	return out;
}

#define NODE_BYTES                                                                                 \
	(sizeof(Wire__NodeReply) + 2 * (sizeof(Wire__Attr) + 2 * ROOT_BYTES) +                     \
	 sizeof(Wire__Stamp) +                                                                     \
	 MS_REPLY_LEASES_MAX * (sizeof(Wire__Lease) + sizeof(void *)) + 512)
#define ENTRY_BYTES (sizeof(void *) + sizeof(Wire__DirEntry) + sizeof(Wire__Attr) + \
		     2 * ROOT_BYTES + 2 * sizeof(Wire__Lease) + NAME_BYTES_MAX + 128)

#define QUOTA_BYTES (sizeof(void *) + sizeof(Wire__Quota) + MS_PATH_BYTES + 64)
#define QUOTA_NAMES_MAX 50000u	/* looked at for the paths of one answer */

static ProtobufCBinaryData cut_root(struct cutter *c, const struct root *root)
{
	ProtobufCBinaryData out = { .len = ROOT_BYTES, .data = cut(c, ROOT_BYTES) };

	root_encode(root, out.data);
	return out;
}

static Wire__Attr *cut_attr(struct cutter *c, const struct ms_attr *attr)
{
	Wire__Attr *out;

	if (attr->ino == 0)
		return NULL;
	out = cut(c, sizeof(*out));
	wire__attr__init(out);
	out->ino = attr->ino;
	out->mode = attr->mode;
	out->uid = attr->uid;
	out->gid = attr->gid;
	out->nlink = attr->nlink;
	out->size = attr->size;
	out->version = attr->version;
	out->atime_ns = attr->atime_ns;
	out->mtime_ns = attr->mtime_ns;
	out->ctime_ns = attr->ctime_ns;
	out->btime_ns = attr->btime_ns;
	out->rdev = attr->rdev;
	out->flags = attr->flags;
	out->quota = attr->quota;
	out->root = cut_root(c, &attr->root);
	if (attr->recut_of.kind != ROOT_EMPTY)
		out->recut_of = cut_root(c, &attr->recut_of);
	return out;
}

static Wire__Lease *cut_lease(struct cutter *c, const struct ms_lease *lease)
{
	Wire__Lease *out = cut(c, sizeof(*out));

	wire__lease__init(out);
	out->ino = lease->ino;
	out->name_hash = lease->name_hash;
	out->mode = lease->mode;
	out->open_elsewhere = lease->open_elsewhere;
	return out;
}

static Wire__Stamp *cut_stamp(struct cutter *c, struct ms_pending *p)
{
	p->stamp = cut(c, sizeof(*p->stamp));
	wire__stamp__init(p->stamp);
	return p->stamp;
}

/* --- each kind of reply ----------------------------------------------------------------------- */

static ProtobufCMessage *node_reply(struct cutter *c, struct ms_pending *p,
				    const struct ms_reply *r)
{
	Wire__NodeReply *m = cut(c, sizeof(*m));

	wire__node_reply__init(m);
	m->stamp = cut_stamp(c, p);
	m->attr = cut_attr(c, &r->attr);
	m->parent = cut_attr(c, &r->parent);
	m->n_leases = r->lease_count;
	m->leases = cut(c, r->lease_count * sizeof(*m->leases));
	for (uint32_t i = 0; i < r->lease_count; i++)
		m->leases[i] = cut_lease(c, &r->leases[i]);
	if (r->target.len > 0) {
		m->target = cut(c, r->target.len + 1);
		memcpy(m->target, r->target.bytes, r->target.len);
		m->target[r->target.len] = '\0';
	}
	return &m->base;
}

static ProtobufCMessage *session_reply(struct cutter *c, struct ms_pending *p,
				       const struct ms_reply *r)
{
	Wire__SessionReply *m = cut(c, sizeof(*m));

	wire__session_reply__init(m);
	m->stamp = cut_stamp(c, p);
	m->session = r->session;
	m->lease_ms = r->lease_ms;
	m->map_version = r->map_version;
	m->credit_bytes = r->credit_bytes;
	m->name_key = r->name_key;
	m->lost_from = r->lost_from;
	m->space_unknown = r->space_unknown;
	return &m->base;
}

static ProtobufCMessage *stamp_reply(struct cutter *c, struct ms_pending *p)
{
	Wire__StampReply *m = cut(c, sizeof(*m));

	wire__stamp_reply__init(m);
	m->stamp = cut_stamp(c, p);
	return &m->base;
}

static Wire__DirEntry *cut_entry(struct cutter *c, const struct ms_dir_entry *e)
{
	Wire__DirEntry *out = cut(c, sizeof(*out));

	wire__dir_entry__init(out);
	ASSERT(e->name.len <= NAME_BYTES_MAX);
	out->name.len = e->name.len;
	out->name.data = cut(c, e->name.len);
	memcpy(out->name.data, e->name.bytes, e->name.len);
	out->ino = e->ino;
	out->type = e->type;
	out->cookie = e->cookie;
	out->attr = cut_attr(c, &e->attr);
	out->lease = e->lease.mode == MS_LEASE_NONE ? NULL : cut_lease(c, &e->lease);
	out->name_lease = e->name_lease.mode == MS_LEASE_NONE ? NULL : cut_lease(c, &e->name_lease);
	return out;
}

static ProtobufCMessage *readdir_reply(struct cutter *c, struct ms_pending *p,
				       const struct ms_reply *r)
{
	Wire__ReadDirReply *m = cut(c, sizeof(*m));

	wire__read_dir_reply__init(m);
	m->stamp = cut_stamp(c, p);
	m->end = r->end;
	m->parent = r->parent_ino;
	m->n_entries = r->entry_count;
	m->entries = cut(c, r->entry_count * sizeof(*m->entries));
	for (uint32_t i = 0; i < r->entry_count; i++)
		m->entries[i] = cut_entry(c, &r->entries[i]);
	return &m->base;
}

static ProtobufCMessage *inline_reply(struct cutter *c, struct ms_pending *p,
				      const struct ms_reply *r)
{
	Wire__InlineReply *m = cut(c, sizeof(*m));

	wire__inline_reply__init(m);
	m->stamp = cut_stamp(c, p);
	m->version = r->attr.version;
	return &m->base;
}

static ProtobufCMessage *publish_reply(struct cutter *c, struct ms_pending *p,
				       const struct ms_reply *r)
{
	Wire__PublishReply *m = cut(c, sizeof(*m));

	wire__publish_reply__init(m);
	m->stamp = cut_stamp(c, p);
	m->attr = cut_attr(c, &r->attr);
	return &m->base;
}

static ProtobufCMessage *trash_reply(struct cutter *c, struct ms_pending *p,
				     const struct ms_reply *r)
{
	Wire__TrashReply *m = cut(c, sizeof(*m));

	wire__trash_reply__init(m);
	m->stamp = cut_stamp(c, p);
	m->ino = r->attr.ino;
	m->done = r->end;
	m->next_time_ns = r->list_time_ns;
	return &m->base;
}

/* The paths are one piece of memory, which r->target names. */
static ProtobufCMessage *trash_list_reply(struct cutter *c, struct ms_pending *p,
					  const struct ms_reply *r)
{
	Wire__TrashListReply *m = cut(c, sizeof(*m));
	uint8_t *paths = cut(c, r->target.len);

	wire__trash_list_reply__init(m);
	m->stamp = cut_stamp(c, p);
	m->tree = r->attr.ino;
	m->on = r->trash_is_on;
	m->keep_ms = r->trash_keep_ms;
	m->entries = r->trash_entries;
	m->bytes = r->trash_bytes;
	m->end = r->end;
	m->next_time_ns = r->list_time_ns;
	m->next_ino = r->list_ino;
	m->n_list = r->entry_count;
	m->list = cut(c, r->entry_count * sizeof(*m->list));
	for (uint32_t i = 0; i < r->entry_count; i++) {
		const struct ms_dir_entry *e = &r->entries[i];
		Wire__TrashEntry *out = m->list[i] = cut(c, sizeof(*out));

		wire__trash_entry__init(out);
		out->ino = e->ino;
		out->time_ns = e->cookie;
		out->uid = e->attr.uid;
		out->mode = e->attr.mode;
		out->size = e->attr.size;
		out->path = (ProtobufCBinaryData){ .len = e->name.len, .data = paths };
		memcpy(paths, e->name.bytes, e->name.len);
		paths += e->name.len;
	}
	return &m->base;
}

static ProtobufCMessage *clone_reply(struct cutter *c, struct ms_pending *p,
				     const struct ms_reply *r)
{
	Wire__CloneReply *m = cut(c, sizeof(*m));

	wire__clone_reply__init(m);
	m->stamp = cut_stamp(c, p);
	m->ino = r->attr.ino;
	m->built = r->end;
	m->names = r->clone_names;
	m->bytes = r->clone_bytes;
	if (r->rc < 0 && r->target.len > 0) {
		m->name.len = r->target.len;
		m->name.data = cut(c, r->target.len);
		memcpy(m->name.data, r->target.bytes, r->target.len);
	}
	return &m->base;
}

static ProtobufCMessage *statfs_reply(struct cutter *c, struct ms_pending *p,
				      const struct ms_reply *r)
{
	Wire__StatFsReply *m = cut(c, sizeof(*m));

	wire__stat_fs_reply__init(m);
	m->stamp = cut_stamp(c, p);
	m->bytes_total = r->bytes_total;
	m->bytes_free = r->bytes_free;
	m->files = r->files;
	m->files_free = r->files_free;
	return &m->base;
}

static ProtobufCMessage *join_reply(struct cutter *c, struct ms_pending *p,
				    const struct ms_reply *r)
{
	Wire__JoinReply *m = cut(c, sizeof(*m));

	wire__join_reply__init(m);
	m->stamp = cut_stamp(c, p);
	m->server = r->server;
	m->map_version = r->map_version;
	m->heartbeat_ms = p->server->options.heartbeat_ms;
	return &m->base;
}

static ProtobufCMessage *heartbeat_reply(struct cutter *c, struct ms_pending *p,
					 const struct ms_reply *r)
{
	Wire__HeartbeatReply *m = cut(c, sizeof(*m));

	wire__heartbeat_reply__init(m);
	m->stamp = cut_stamp(c, p);
	m->map_version = r->map_version;
	m->collection = ms_collection_epoch(p->server->state);
	m->state = r->server_state;
	m->reencode_ms = r->reencode_ms;
	return &m->base;
}

static Wire__LockClaim *cut_lock(struct cutter *c, const struct ms_lock_claim *lock)
{
	Wire__LockClaim *out = cut(c, sizeof(*out));

	wire__lock_claim__init(out);
	out->ino = lock->ino;
	out->pid = lock->pid;
	out->start = lock->start;
	out->end = lock->end;
	out->mode = lock->mode;
	return out;
}

static ProtobufCMessage *lock_reply(struct cutter *c, struct ms_pending *p,
				    const struct ms_reply *r)
{
	Wire__LockReply *m = cut(c, sizeof(*m));

	wire__lock_reply__init(m);
	m->stamp = cut_stamp(c, p);
	m->queued = r->is_queued;
	return &m->base;
}

static ProtobufCMessage *lock_test_reply(struct cutter *c, struct ms_pending *p,
					 const struct ms_reply *r)
{
	Wire__LockTestReply *m = cut(c, sizeof(*m));

	wire__lock_test_reply__init(m);
	m->stamp = cut_stamp(c, p);
	m->lock = r->lock.mode == RANGE_NONE ? NULL : cut_lock(c, &r->lock);
	return &m->base;
}

static ProtobufCMessage *quota_list_reply(struct cutter *c, struct ms_pending *p,
					  const struct ms_reply *r)
{
	Wire__QuotaListReply *m = cut(c, sizeof(*m));
	uint32_t left = QUOTA_NAMES_MAX;

	wire__quota_list_reply__init(m);
	m->stamp = cut_stamp(c, p);
	m->end = r->end;
	m->counting = r->is_counting;
	m->n_quotas = r->quota_count;
	m->quotas = cut(c, r->quota_count * sizeof(*m->quotas));
	for (uint32_t i = 0; i < r->quota_count; i++) {
		const struct ms_quota_info *info = &r->quotas[i];
		Wire__Quota *q = m->quotas[i] = cut(c, sizeof(*q));

		wire__quota__init(q);
		q->ino = info->dir;
		q->parent = info->quota.parent;
		q->bytes_max = info->quota.bytes_max;
		q->files_max = info->quota.files_max;
		q->bytes = info->quota.bytes;
		q->files = info->quota.files;
		q->bytes_reserved = info->reserved;
		q->ending = info->quota.is_ending;
		q->path = cut(c, MS_PATH_BYTES);
		ms_path_of_dir(p->server->txn, info->dir, &left, q->path);
	}
	return &m->base;
}

static ProtobufCMessage *quota_reserve_reply(struct cutter *c, struct ms_pending *p,
					     const struct ms_reply *r)
{
	Wire__QuotaReserveReply *m = cut(c, sizeof(*m));

	wire__quota_reserve_reply__init(m);
	m->stamp = cut_stamp(c, p);
	m->bytes = r->credit_bytes;
	m->others = r->space_unknown;
	return &m->base;
}

static ProtobufCMessage *build(struct cutter *c, struct ms_pending *p, const struct ms_reply *r)
{
	switch (p->op) {
	case MSG_SESSION_OPEN:
	case MSG_SESSION_RENEW:
		return session_reply(c, p, r);
	case MSG_READDIR:
		return readdir_reply(c, p, r);
	case MSG_GET_INLINE:
		return inline_reply(c, p, r);
	case MSG_PUBLISH:
		return publish_reply(c, p, r);
	case MSG_TRASH:
		return trash_reply(c, p, r);
	case MSG_TRASH_LIST:
		return trash_list_reply(c, p, r);
	case MSG_CLONE:
		return clone_reply(c, p, r);
	case MSG_STATFS:
		return statfs_reply(c, p, r);
	case MSG_JOIN:
		return join_reply(c, p, r);
	case MSG_HEARTBEAT:
		return heartbeat_reply(c, p, r);
	case MSG_LOCK:
		return lock_reply(c, p, r);
	case MSG_LOCK_TEST:
		return lock_test_reply(c, p, r);
	case MSG_QUOTA_LIST:
		return quota_list_reply(c, p, r);
	case MSG_QUOTA_RESERVE:
		return quota_reserve_reply(c, p, r);
	case MSG_LOOKUP:
	case MSG_GETATTR:
	case MSG_SETATTR:
	case MSG_MAKE:
	case MSG_LINK:
	case MSG_UNLINK:
	case MSG_RENAME:
	case MSG_OPEN:
	case MSG_SETXATTR:
	case MSG_REMOVEXATTR:
		return node_reply(c, p, r);
	default:
		return stamp_reply(c, p);
	}
}

/*
 * Bytes beside the message. No buffer left: the asker may come again, nothing was changed for it.
 */
static void take_bulk(struct ms_server *s, struct ms_pending *p, const struct ms_reply *r)
{
	if (r->bulk_len == 0)
		return;
	p->bulk = buf_get(s->options.pool, r->bulk_len);
	if (!p->bulk) {
		p->rc = -E_OVERLOADED;
		return;
	}
	memcpy(p->bulk->data, r->bulk, r->bulk_len);
	p->bulk->len = r->bulk_len;
}

void ms_serve_reply(struct ms_server *s, struct ms_pending *p, const struct ms_reply *r)
{
	size_t bytes = NODE_BYTES + r->target.len + r->entry_count * ENTRY_BYTES +
		       r->quota_count * QUOTA_BYTES;
	struct cutter c;

	ASSERT(r->lease_count <= MS_REPLY_LEASES_MAX);
	take_bulk(s, p, r);
	p->storage = malloc(bytes);
	if (!p->storage) {
		if (p->rc == 0)
			/* a change that it would have told is found by a resend (I7) */
			p->rc = -E_NOMEM;
		return;
	}
	c = (struct cutter){ p->storage, (uint8_t *)p->storage + bytes };
	p->message = build(&c, p, r);
}
