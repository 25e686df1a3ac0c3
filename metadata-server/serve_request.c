/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests from the wire to step. The messages were unpacked and bounded by fs/wire/msg.c; what is
 * left to check here is what a field means to us. Everything is borrowed from the request.
 */
#include "metadata-server/serve_internal.h"

#include <string.h>

#include "fs/wire/heal.h"

#define MESSAGE(type, req) ((const type *)(const void *)(req)->msg)

static struct ms_name name_of(ProtobufCBinaryData bytes)
{
	return (struct ms_name){ bytes.data, (uint32_t)bytes.len };
}

static void take_caller(const Wire__Caller *caller, struct ms_request *out)
{
	if (!caller)
		return;		/* root: tools and servers do not say who they are */
	out->caller.uid = caller->uid;
	out->caller.gid = caller->gid;
	out->caller.groups = caller->groups;
	out->caller.group_count = (uint32_t)caller->n_groups;
}

static int take_leases(struct ms_server *s, Wire__Lease **leases, size_t count,
		       struct ms_request *out)
{
	if (count > SERVE_LEASES_MAX)
		return -E_MALFORMED;
	for (size_t i = 0; i < count; i++) {
		if (leases[i]->mode > MS_LEASE_WRITE)
			return -E_MALFORMED;
		s->leases[i] = (struct ms_lease){
			.ino = leases[i]->ino, .name_hash = leases[i]->name_hash,
			.mode = (enum ms_lease_mode)leases[i]->mode };
	}
	out->leases = s->leases;
	out->lease_count = (uint32_t)count;
	return 0;
}

/* --- sessions --------------------------------------------------------------------------------- */

static int take_session_open(struct ms_server *s, const Wire__SessionOpen *m,
			     struct ms_request *out)
{
	out->node = m->node;
	out->old_session = m->old_session;
	out->number = m->acknowledged;
	out->term = m->acknowledged_term;
	if (m->nonce.len == sizeof(out->uuid))
		memcpy(out->uuid, m->nonce.data, sizeof(out->uuid));
	do
		loop_random(s->options.loop, &out->new_session, sizeof(out->new_session));
	while (out->new_session == 0);
	return 0;
}

static int take_session_renew(const Wire__SessionRenew *m, struct ms_request *out)
{
	out->credit_wanted = m->credit_wanted;
	out->credit_used = m->credit_used;
	out->number = m->acknowledged;
	out->term = m->acknowledged_term;
	out->collection = m->oldest_collection;
	out->seen_collection = m->seen_collection;
	return 0;
}

static void take_lock(const Wire__LockClaim *m, struct ms_lock_claim *out)
{
	*out = (struct ms_lock_claim){ .ino = m->ino, .owner = m->owner, .start = m->start,
				       .end = m->end, .kind = m->kind, .mode = m->mode,
				       .pid = m->pid };
}

/* One, in the message of a request about it. */
static int take_one_lock(struct ms_server *s, const Wire__LockClaim *m, struct ms_request *out)
{
	if (!m)
		return -E_MALFORMED;
	take_lock(m, &s->locks[0]);
	out->locks = s->locks;
	out->lock_count = 1;
	return 0;
}

static int take_claims(struct ms_server *s, Wire__LockClaim **claims, size_t count,
		       struct ms_request *out)
{
	if (count > SERVE_CLAIMS_MAX)
		return -E_MALFORMED;
	for (size_t i = 0; i < count; i++)
		take_lock(claims[i], &s->locks[i]);
	out->locks = s->locks;
	out->lock_count = (uint32_t)count;
	return 0;
}

static int take_lock_request(struct ms_server *s, const Wire__Lock *m, struct ms_request *out)
{
	int rc = m->n_held ? take_claims(s, m->held, m->n_held, out) :
			     take_one_lock(s, m->lock, out);

	if (rc < 0)
		return rc;
	s->locks[0].wait = m->wait;
	s->locks[0].may_cycle = m->may_cycle;
	s->locks[0].holds = m->holds;
	out->flags = (m->cancel ? MS_LOCK_CANCEL : 0) | (m->n_held ? MS_LOCK_HELD : 0);
	out->opens = m->taken;
	out->open_count = (uint32_t)m->n_taken;
	return 0;
}

static int take_session_reclaim(struct ms_server *s, const Wire__SessionReclaim *m,
				struct ms_request *out)
{
	out->opens = m->opens;
	out->open_count = (uint32_t)m->n_opens;
	out->more = m->more;
	if (take_claims(s, m->locks, m->n_locks, out) < 0)
		return -E_MALFORMED;
	return take_leases(s, m->leases, m->n_leases, out);
}

/* --- names ------------------------------------------------------------------------------------ */

static int take_setattr(const Wire__SetAttr *m, struct ms_request *out)
{
	take_caller(m->caller, out);
	out->ino = m->ino;
	out->mask = m->mask;
	out->mode = m->mode;
	out->uid = m->uid;
	out->gid = m->gid;
	out->size = m->size;
	out->atime_ns = m->atime_ns;
	out->mtime_ns = m->mtime_ns;
	return 0;
}

static int take_atimes(const Wire__Atimes *m, struct ms_request *out)
{
	if (m->n_inodes != m->n_atime_ns)
		return -E_MALFORMED;
	out->opens = m->inodes;
	out->times = m->atime_ns;
	out->force = m->strict;
	out->open_count = (uint32_t)m->n_inodes;
	return 0;
}

static int take_make(const Wire__Make *m, struct ms_request *out)
{
	take_caller(m->caller, out);
	out->parent = m->parent;
	out->name = name_of(m->name);
	out->mode = m->mode;
	out->rdev = m->rdev;
	out->target = name_of(m->target);
	out->umask = m->umask;
	out->exclusive = m->exclusive;
	out->open = m->open;
	out->unnamed = m->unnamed;
	return 0;
}

static int take_rename(const Wire__Rename *m, struct ms_request *out)
{
	take_caller(m->caller, out);
	out->parent = m->parent;
	out->name = name_of(m->name);
	out->new_parent = m->new_parent;
	out->new_name = name_of(m->new_name);
	out->flags = m->flags;
	return 0;
}

static int take_readdir(const Wire__ReadDir *m, struct ms_request *out)
{
	take_caller(m->caller, out);
	out->ino = m->ino;
	out->cookie = m->cookie;
	out->bytes_max = m->bytes_max;
	out->attributes = m->attributes;
	out->unleased = m->unleased;
	return 0;
}

static int take_trash(const Wire__Trash *m, struct ms_request *out)
{
	take_caller(m->caller, out);
	out->action = m->action;
	out->ino = m->ino;
	out->keep_ms = m->keep_ms;
	out->tree = m->tree;
	out->time_ns = m->time_ns;
	out->parent = m->parent;
	out->name = name_of(m->name);
	return 0;
}

static int take_trash_list(const Wire__TrashList *m, struct ms_request *out)
{
	take_caller(m->caller, out);
	out->ino = m->ino;
	out->time_ns = m->after_time_ns;
	out->cookie = m->after_ino;
	return 0;
}

static int take_clone(const Wire__Clone *m, struct ms_request *out)
{
	take_caller(m->caller, out);
	out->action = m->action;
	out->ino = m->ino;
	out->parent = m->parent;
	out->name = name_of(m->name);
	out->ticket = m->ticket;
	return 0;
}

static int take_sources(struct ms_server *s, const Wire__Publish *m, struct ms_request *out)
{
	int rc = m->n_sources <= MS_SOURCES_MAX ? 0 : -E_MALFORMED;

	for (size_t i = 0; i < m->n_sources && rc == 0; i++) {
		s->sources[i].ino = m->sources[i]->ino;
		rc = root_decode(m->sources[i]->root.data, &s->sources[i].root);
	}
	out->sources = s->sources;
	out->source_count = (uint32_t)m->n_sources;
	return rc;
}

static int take_publish(struct ms_server *s, const Wire__Publish *m, struct ms_request *out)
{
	take_caller(m->caller, out);
	if (m->set)
		(void)take_setattr(m->set, out);	/* it only copies */
	if (m->set && m->set->mask & MS_SET_SIZE)
		return -E_MALFORMED;
	out->ino = m->ino;
	out->base_version = m->base_version;
	if (!(out->mask & MS_SET_MTIME))
		out->mtime_ns = m->mtime_ns;
	out->collection = m->collection;
	out->new_bytes = m->new_bytes;
	out->kill_priv = m->kill_priv;
	if (m->root.len != ROOT_BYTES || take_sources(s, m, out) < 0)
		return -E_MALFORMED;
	if (m->recut_of.len == ROOT_BYTES && root_decode(m->recut_of.data, &out->recut_of) < 0)
		return -E_MALFORMED;
	return root_decode(m->root.data, &out->root);
}

/* LOOKUP to RELEASE, and PUBLISH: those that name files. */
static int take_names(struct ms_server *s, const struct rpc_request *req, struct ms_request *out)
{
	switch (req->header.type) {
	case MSG_LOOKUP:
		take_caller(MESSAGE(Wire__Lookup, req)->caller, out);
		out->parent = MESSAGE(Wire__Lookup, req)->parent;
		out->name = name_of(MESSAGE(Wire__Lookup, req)->name);
		return 0;
	case MSG_GETATTR:
		take_caller(MESSAGE(Wire__GetAttr, req)->caller, out);
		out->ino = MESSAGE(Wire__GetAttr, req)->ino;
		out->lease = MESSAGE(Wire__GetAttr, req)->lease;
		out->write = MESSAGE(Wire__GetAttr, req)->write;
		return 0;
	case MSG_SETATTR:
		return take_setattr(MESSAGE(Wire__SetAttr, req), out);
	case MSG_MAKE:
		return take_make(MESSAGE(Wire__Make, req), out);
	case MSG_LINK:
		take_caller(MESSAGE(Wire__Link, req)->caller, out);
		out->ino = MESSAGE(Wire__Link, req)->ino;
		out->parent = MESSAGE(Wire__Link, req)->parent;
		out->name = name_of(MESSAGE(Wire__Link, req)->name);
		return 0;
	case MSG_UNLINK:
		take_caller(MESSAGE(Wire__Unlink, req)->caller, out);
		out->parent = MESSAGE(Wire__Unlink, req)->parent;
		out->name = name_of(MESSAGE(Wire__Unlink, req)->name);
		out->directory = MESSAGE(Wire__Unlink, req)->directory;
		return 0;
	case MSG_RENAME:
		return take_rename(MESSAGE(Wire__Rename, req), out);
	case MSG_READDIR:
		return take_readdir(MESSAGE(Wire__ReadDir, req), out);
	case MSG_OPEN:
		take_caller(MESSAGE(Wire__Open, req)->caller, out);
		out->ino = MESSAGE(Wire__Open, req)->ino;
		out->write = MESSAGE(Wire__Open, req)->write;
		return 0;
	case MSG_RELEASE:
		out->opens = MESSAGE(Wire__Release, req)->inodes;
		out->open_count = (uint32_t)MESSAGE(Wire__Release, req)->n_inodes;
		return 0;
	case MSG_TRASH:
		return take_trash(MESSAGE(Wire__Trash, req), out);
	case MSG_TRASH_LIST:
		return take_trash_list(MESSAGE(Wire__TrashList, req), out);
	case MSG_CLONE:
		return take_clone(MESSAGE(Wire__Clone, req), out);
	case MSG_PUBLISH:
		return take_publish(s, MESSAGE(Wire__Publish, req), out);
	default:
		return -E_NOSYS;
	}
}

/* What belongs to one inode: inline content, attributes, space. */
static int take_inode(struct ms_server *s, const struct rpc_request *req, struct ms_request *out)
{
	switch (req->header.type) {
	case MSG_GET_INLINE:
		out->ino = MESSAGE(Wire__GetInline, req)->ino;
		out->base_version = MESSAGE(Wire__GetInline, req)->version;
		return 0;
	case MSG_SETXATTR:
		take_caller(MESSAGE(Wire__SetXattr, req)->caller, out);
		out->ino = MESSAGE(Wire__SetXattr, req)->ino;
		out->name = name_of(MESSAGE(Wire__SetXattr, req)->name);
		out->flags = MESSAGE(Wire__SetXattr, req)->flags;
		return 0;
	case MSG_GETXATTR:
		take_caller(MESSAGE(Wire__GetXattr, req)->caller, out);
		out->ino = MESSAGE(Wire__GetXattr, req)->ino;
		out->name = name_of(MESSAGE(Wire__GetXattr, req)->name);
		return 0;
	case MSG_LISTXATTR:
		take_caller(MESSAGE(Wire__ListXattr, req)->caller, out);
		out->ino = MESSAGE(Wire__ListXattr, req)->ino;
		return 0;
	case MSG_REMOVEXATTR:
		take_caller(MESSAGE(Wire__RemoveXattr, req)->caller, out);
		out->ino = MESSAGE(Wire__RemoveXattr, req)->ino;
		out->name = name_of(MESSAGE(Wire__RemoveXattr, req)->name);
		return 0;
	case MSG_STATFS:
		take_caller(MESSAGE(Wire__StatFs, req)->caller, out);
		out->ino = MESSAGE(Wire__StatFs, req)->ino;
		return 0;
	case MSG_FSYNC:
		out->term = MESSAGE(Wire__Fsync, req)->term;
		out->number = MESSAGE(Wire__Fsync, req)->number;
		return 0;
	default:
		return take_names(s, req, out);
	}
}

/* --- chunk servers ---------------------------------------------------------------------------- */

static int take_join(const Wire__Join *m, struct ms_request *out)
{
	if (m->uuid.len != sizeof(out->uuid))
		return -E_MALFORMED;
	memcpy(out->uuid, m->uuid.data, sizeof(out->uuid));
	out->address = m->address;
	out->host = m->host;
	out->rack = m->rack;
	out->disks = m->disks;
	out->bytes_total = m->bytes_total;
	out->boot_id = m->boot_id;
	out->content = m->content;
	return 0;
}

static void take_reencode(const Wire__Heartbeat *m, struct ms_reencode *out)
{
	const Wire__ReencodeStatus *r = m->reencode;

	for (size_t i = 0; i < m->n_codec_bytes && i < MS_CODECS_MAX; i++)
		out->codec_bytes[i] = m->codec_bytes[i];
	if (!r)
		return;
#define COPY(field) out->field = r->field;
	SERVE_REENCODE_FIELDS(COPY)
#undef COPY
}

static int take_heartbeat(const Wire__Heartbeat *m, struct ms_request *out)
{
	out->server = m->server;
	out->boot_id = m->boot_id;
	out->blocks = m->blocks;
	out->bytes_stored = m->bytes_stored;
	out->bytes_plain = m->bytes_plain;
	out->bytes_free = m->bytes_free;
	out->bytes_total = m->bytes_total;
	out->owed_pgs = m->owed_pgs;
	out->owed_pg_count = (uint32_t)m->n_owed_pgs;
	out->map_version = m->map_version;
	out->collection = m->collection;
	out->content = m->content;
	out->disks = m->disks;
	out->disks_failed = m->disks_failed;
	out->heal_pending_blocks = m->heal_pending_blocks;
	out->heal_bytes = m->heal_bytes;
	out->trash_blocks = m->trash_blocks;
	out->trash_bytes = m->trash_bytes;
	out->dead_bytes = m->dead_bytes;
	out->damaged = m->damaged;
	out->owed = m->owed;
	take_reencode(m, &out->reencode);
	/* What is longer says more than there is room for: nothing, then. */
	if (m->media.len <= MEDIA_STATUS_BYTES_MAX) {
		out->media = m->media.data;
		out->media_bytes = (uint32_t)m->media.len;
	}
	if (m->merged.len % HEAL_MERGED_BYTES != 0)
		return -E_MALFORMED;
	out->merged = m->merged.data;
	out->merged_count = (uint32_t)(m->merged.len / HEAL_MERGED_BYTES);
	return 0;
}

/* --- all -------------------------------------------------------------------------------------- */

int ms_serve_request(struct ms_server *s, const struct rpc_request *req, struct ms_request *out)
{
	memset(out, 0, sizeof(*out));
	out->op = req->header.type;
	out->session = req->header.session;
	out->slot = req->header.slot;
	out->slot_seq = req->header.slot_seq;
	if (req->bulk) {
		out->bulk = req->bulk->data;
		out->bulk_len = req->bulk->len;
	}
	switch (req->header.type) {
	case MSG_SESSION_OPEN:
		return take_session_open(s, MESSAGE(Wire__SessionOpen, req), out);
	case MSG_SESSION_RENEW:
		return take_session_renew(MESSAGE(Wire__SessionRenew, req), out);
	case MSG_SESSION_RECLAIM:
		return take_session_reclaim(s, MESSAGE(Wire__SessionReclaim, req), out);
	case MSG_ATIMES:
		return take_atimes(MESSAGE(Wire__Atimes, req), out);
	case MSG_LEASE_RETURN:
		return take_leases(s, MESSAGE(Wire__LeaseReturn, req)->leases,
				   MESSAGE(Wire__LeaseReturn, req)->n_leases, out);
	case MSG_LOCK:
		return take_lock_request(s, MESSAGE(Wire__Lock, req), out);
	case MSG_LOCK_TEST:
		return take_one_lock(s, MESSAGE(Wire__LockTest, req)->lock, out);
	case MSG_JOIN:
		return take_join(MESSAGE(Wire__Join, req), out);
	case MSG_HEARTBEAT:
		return take_heartbeat(MESSAGE(Wire__Heartbeat, req), out);
	case MSG_QUOTA_SET:
		out->ino = MESSAGE(Wire__QuotaSet, req)->ino;
		out->quota_mask = MESSAGE(Wire__QuotaSet, req)->mask;
		out->size = MESSAGE(Wire__QuotaSet, req)->bytes;
		out->quota_files = MESSAGE(Wire__QuotaSet, req)->files;
		return 0;
	case MSG_QUOTA_LIST:
		out->ino = MESSAGE(Wire__QuotaList, req)->ino;
		out->cookie = MESSAGE(Wire__QuotaList, req)->from;
		return 0;
	case MSG_QUOTA_RESERVE:
		out->ino = MESSAGE(Wire__QuotaReserve, req)->quota;
		out->credit_used = MESSAGE(Wire__QuotaReserve, req)->used;
		out->new_bytes = MESSAGE(Wire__QuotaReserve, req)->need;
		out->credit_wanted = MESSAGE(Wire__QuotaReserve, req)->wanted;
		return 0;
	case MSG_SERVER_SET:
		out->server = MESSAGE(Wire__ServerSet, req)->server;
		out->state = MESSAGE(Wire__ServerSet, req)->state;
		out->force = MESSAGE(Wire__ServerSet, req)->force;
		return 0;
	case MSG_SESSION_CLOSE:
	case MSG_MAP_GET:
	case MSG_STATUS:
	case MSG_GC:
	case MSG_LOCK_LIST:
		return 0;
	default:
		return take_inode(s, req, out);
	}
}

bool ms_serve_request_grows(uint16_t op)
{
	return op == MSG_MAKE || op == MSG_LINK || op == MSG_RENAME || op == MSG_PUBLISH ||
	       op == MSG_SETXATTR || op == MSG_CLONE;
}

bool ms_serve_request_changes(uint16_t op)
{
	return ms_serve_request_grows(op) || op == MSG_SETATTR || op == MSG_UNLINK ||
	       op == MSG_REMOVEXATTR || op == MSG_ATIMES || op == MSG_SESSION_OPEN ||
	       op == MSG_SERVER_SET || op == MSG_QUOTA_SET || op == MSG_TRASH;
}
