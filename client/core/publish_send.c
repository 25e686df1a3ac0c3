/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The last step of a publish: the message that makes a root the content of its inode.
 *
 * Under the write lease nobody else can have changed the content (I5): a refusal (I13) then only
 * means that the version rose for another reason (a chmod, inline bytes moved to blocks), and the
 * same content is sent again.
 */
#include <stdlib.h>
#include <string.h>

#include "client/core/atime.h"
#include "client/core/publish_internal.h"
#include "client/core/quota.h"
#include "client/core/seal.h"
#include "fs/base/metrics.h"

#define TRIES_MAX 16u

static void sent_well(struct cl_file *file, const struct cl_node *node)
{
	struct cl_flush *flush = &file->flush;
	struct cl_node *own = file->node;
	bool same_pages =
		own->pages_version == file->version || root_equal(&own->pages_root, &file->root);
	uint64_t data_before = root_data_bytes(&file->root);
	file->version = node->attr.version;
	file->root = node->attr.root;
	cl_quota_published(file, data_before);
	if (same_pages) {		/* the kernel wrote its pages, too */
		own->pages_root = file->root;
		own->pages_version = file->version;
	}
	if (flush->is_inline) {
		struct cl_chunk *first = cl_chunk_find(file, 0);
		if (first && file->edit_seq == flush->seq)
			first->is_dirty = false;
		if (first)
			first->is_charged = false;
	} else {
		file->id_count -= flush->ids_sealed;
		if (file->id_count > 0)
			memmove(file->ids, file->ids + flush->ids_sealed,
				file->id_count * sizeof file->ids[0]);
		file->source_count -= flush->sources_taken;
		memmove(file->sources, file->sources + flush->sources_taken,
			file->source_count * sizeof file->sources[0]);
	}
	file->new_bytes -= MIN_OF(file->new_bytes, flush->new_bytes);
	file->charged -= MIN_OF(file->charged, flush->charged);
	file->charged_put -= MIN_OF(file->charged_put, flush->charged);
	cl_session_settle(file->client, flush->charged, flush->new_bytes);
	cl_seal_note(file->client, node);
}

static void publish_done(struct cl_req *req)
{
	struct client *c = req->client;
	struct cl_file *file = req->arg;
	const Wire__PublishReply *reply = (const void *)req->call.reply;
	struct cl_node *node = NULL;
	int rc = req->call.rc;
	if (reply)
		cl_session_stamp(c, reply->stamp);
	if (!file)
		return;
	file->flush.req = NULL;
	if (reply && reply->attr && (rc == 0 || rc == -E_STALE_VERSION)) {
		int taken = cl_node_take_attr(c, reply->attr, &node);
		if (taken < 0 || node != file->node)
			rc = taken < 0 ? taken : -E_MALFORMED;
	} else if (rc == 0) {
		rc = -E_MALFORMED;
	}
	if (rc == -E_STALE_VERSION && node && cl_node_can_write(c, node) &&
	    ++file->flush.tries < TRIES_MAX) {
		file->version = node->attr.version;
		cl_publish_run(file);
		return;
	}
	if (rc == -E_PERM && req->msg.publish.set) {
		/* Who may not set them is told by a request of his own; the content is well. */
		file->setting = NULL;
		cl_publish_run(file);
		return;
	}
	if (rc == -E_OLD_COLLECTION && !file->flush.is_inline) {
		METRIC_INC(publishes_touched);
		cl_publish_sync_again(file, rc);
		return;
	}
	if (rc == 0)
		sent_well(file, node);
	if (rc == 0 && file->setting)
		file->setting->is_set = true;
	cl_publish_end(file, rc);
}

struct sources {
	Wire__Source msg[CL_SOURCES_MAX], *list[CL_SOURCES_MAX];
	uint8_t roots[CL_SOURCES_MAX][ROOT_BYTES];
};

/* What the message of a publish points to beside what each request has. */
struct publish_more {
	Wire__Caller caller;
	Wire__SetAttr set;
	struct sources sources;
};

/* The attributes that the user sets meanwhile. */
static void set_fill(const struct cl_op *op, struct cl_req *req)
{
	struct publish_more *more = req->more;
	Wire__SetAttr *set = &more->set;
	wire__caller__init(&more->caller);
	more->caller.uid = op->uid;
	more->caller.gid = op->gid;
	wire__set_attr__init(set);
	set->caller = &more->caller;
	set->mask = op->set_mask;
	set->mode = op->mode;
	set->uid = op->new_uid;
	set->gid = op->new_gid;
	set->atime_ns = op->atime_ns;
	set->mtime_ns = op->mtime_ns;
	req->msg.publish.set = set;
}

static void sources_fill(struct cl_file *file, struct cl_req *req)
{
	struct cl_flush *flush = &file->flush;
	struct publish_more *more = req->more;
	struct sources *s = &more->sources;
	for (uint32_t i = 0; i < flush->sources_taken; i++) {
		wire__source__init(&s->msg[i]);
		s->msg[i].ino = file->sources[i].ino;
		s->msg[i].root.data = s->roots[i];
		s->msg[i].root.len = ROOT_BYTES;
		root_encode(&file->sources[i].root, s->roots[i]);
		s->list[i] = &s->msg[i];
	}
	req->msg.publish.sources = s->list;
	req->msg.publish.n_sources = flush->sources_taken;
}

static bool more_fill(struct cl_file *file, struct cl_req *req)
{
	const struct cl_flush *flush = &file->flush;
	bool has_sources = !flush->is_inline && !flush->touches_all && flush->sources_taken > 0;
	if (!has_sources && !file->setting)
		return true;
	req->more = calloc(1, sizeof(struct publish_more));
	if (!req->more)
		return false;
	if (has_sources)
		sources_fill(file, req);
	if (file->setting)
		set_fill(file->setting, req);
	return true;
}

void cl_publish_send(struct cl_file *file)
{
	struct cl_flush *flush = &file->flush;
	struct client *c = file->client;
	struct cl_req *req = cl_session_req(c, NULL, MSG_PUBLISH, publish_done);
	ASSERT(file->is_loaded);	/* else its size is no size */
	if (!req || !more_fill(file, req)) {
		if (req)
			cl_session_forget(req);
		cl_publish_end(file, -E_NOMEM);
		return;
	}
	cl_atime_tell_before_change(c, file->node);
	flush->state = CL_FLUSH_SEND;
	root_encode(&flush->root, req->root);
	Wire__Publish *msg = &req->msg.publish;
	msg->ino = file->node->ino;
	msg->base_version = file->version;
	msg->root.data = req->root;
	msg->root.len = ROOT_BYTES;
	msg->mtime_ns = flush->mtime_ns;
	/* all ones: nothing was put */
	msg->collection = flush->is_inline ? UINT64_MAX : flush->marks.collection;
	msg->new_bytes = flush->new_bytes * c->copies;
	flush->kill_priv |= file->kill_priv;
	file->kill_priv = 0;
	msg->kill_priv = flush->kill_priv;
	req->caller.uid = file->node->attr.st.st_uid;
	req->caller.gid = file->node->attr.st.st_gid;
	if (flush->bytes)
		req->call.bulk = buf_ref(flush->bytes);
	req->arg = file;
	flush->req = req;
	cl_session_send(req);
}
