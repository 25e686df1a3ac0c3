/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Extended attributes and the numbers of the whole file system: asked of the metadata server each
 * time, but for inodes that are known under lease to have no attributes. The kernel asks for
 * security.capability at the first write of every file.
 */
#include <string.h>

#include "client/core/cache_policy.h"
#include "client/core/file.h"

static ProtobufCBinaryData name_of(const char *name)
{
	return (ProtobufCBinaryData){ .len = strlen(name), .data = (uint8_t *)(uintptr_t)name };
}

static struct cl_req *request(struct cl_op *op, uint16_t type, void (*done)(struct cl_req *req))
{
	if (op->name && strlen(op->name) > XATTR_NAME_BYTES_MAX) {
		cl_op_finish(op, -E_RANGE);
		return NULL;
	}
	struct cl_req *req = cl_session_req(op->client, op, type, done);
	if (!req)
		cl_op_finish(op, -E_NOMEM);
	return req;
}

static void bytes_done(struct cl_req *req)
{
	struct cl_op *op = req->op;
	const struct buf *bulk = req->call.reply_bulk;
	uint32_t len = bulk ? bulk->len : 0;
	int rc = req->call.rc;
	op->out_len = len;
	if (rc == 0 && op->out_capacity > 0) {
		if (len > op->out_capacity)
			rc = -E_RANGE;
		else if (len > 0)
			memcpy(op->out, bulk->data, len);
	}
	cl_op_finish(op, rc);
}

static void change_done(struct cl_req *req)
{
	int rc = req->call.rc;
	if (rc == 0)
		rc = cl_node_take_reply(req, (const void *)req->call.reply, NULL);
	cl_op_finish(req->op, rc);
}

/* The lease tells: whoever sets an attribute needs it back first. */
static bool has_none(const struct cl_op *op)
{
	struct cl_node *node = cl_node_find(op->client, op->ino);
	return cl_node_is_fresh(op->client, node) && !node->attr.has_xattrs;
}

void cl_xattr_get(struct cl_op *op)
{
	if (has_none(op)) {
		cl_op_finish(op, -E_NODATA);
		return;
	}
	struct cl_req *req = request(op, MSG_GETXATTR, bytes_done);
	if (!req)
		return;
	req->msg.get_xattr.ino = op->ino;
	req->msg.get_xattr.name = name_of(op->name);
	cl_session_send(req);
}

void cl_xattr_list(struct cl_op *op)
{
	if (has_none(op)) {
		op->out_len = 0;
		cl_op_finish(op, 0);
		return;
	}
	struct cl_req *req = request(op, MSG_LISTXATTR, bytes_done);
	if (!req)
		return;
	req->msg.list_xattr.ino = op->ino;
	cl_session_send(req);
}

/* A policy that nobody knows would be ignored without a word. */
static bool is_no_policy(const struct cl_op *op)
{
	enum cl_cache_policy policy;
	return strcmp(op->name, CACHE_POLICY_XATTR) == 0 &&
	       !cl_policy_parse(op->bytes, op->bytes_len, &policy);
}

void cl_xattr_set(struct cl_op *op)
{
	struct buf *bulk = NULL;
	if (is_no_policy(op)) {
		cl_op_finish(op, -E_INVAL);
		return;
	}
	if (op->bytes_len > XATTR_VALUE_BYTES_MAX) {
		cl_op_finish(op, -E_TOOBIG);
		return;
	}
	if (op->bytes_len > 0) {
		bulk = buf_get(op->client->options.pool, op->bytes_len);
		if (!bulk) {
			cl_op_finish(op, -E_NOMEM);
			return;
		}
		memcpy(bulk->data, op->bytes, op->bytes_len);
		bulk->len = op->bytes_len;
	}
	struct cl_req *req = request(op, MSG_SETXATTR, change_done);
	if (!req) {
		buf_put(bulk);
		return;
	}
	req->msg.set_xattr.ino = op->ino;
	req->msg.set_xattr.name = name_of(op->name);
	req->msg.set_xattr.flags = op->flags;
	/* From now on, whether or not we hear that it was done. */
	struct cl_node *node = cl_node_find(op->client, op->ino);
	if (node)
		node->attr.has_xattrs = true;
	req->call.bulk = bulk;
	cl_session_send(req);
}

void cl_xattr_remove(struct cl_op *op)
{
	struct cl_req *req = request(op, MSG_REMOVEXATTR, change_done);
	if (!req)
		return;
	req->msg.remove_xattr.ino = op->ino;
	req->msg.remove_xattr.name = name_of(op->name);
	cl_session_send(req);
}

static void statfs_done(struct cl_req *req)
{
	struct cl_op *op = req->op;
	const Wire__StatFsReply *reply = (const void *)req->call.reply;
	int rc = req->call.rc;
	if (rc == 0 && !reply)
		rc = -E_MALFORMED;
	if (rc == 0) {
		cl_session_stamp(req->client, reply->stamp);
		op->fs_bytes_total = reply->bytes_total;
		op->fs_bytes_free = reply->bytes_free;
		op->fs_files = reply->files;
		op->fs_files_free = reply->files_free;
	}
	cl_op_finish(op, rc);
}

void cl_xattr_statfs(struct cl_op *op)
{
	struct cl_req *req = request(op, MSG_STATFS, statfs_done);
	if (!req)
		return;
	req->msg.stat_fs.ino = op->ino ? op->ino : INODE_ROOT;
	cl_session_send(req);
}
