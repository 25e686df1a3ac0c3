/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Extended attributes and the numbers of the whole file system. Under lease an attribute is asked
 * of the metadata server once a version of its inode, and never of one that is known to have none:
 * the kernel asks for security.capability at the first write of every file, and for the ACL at each
 * look at one.
 */
#include <string.h>

#include "client/core/cache_policy.h"
#include "client/core/file.h"
#include "client/core/xattr_cache.h"
#include "fs/disk/acl.h"
#include "fs/wire/xattr.h"

static ProtobufCBinaryData name_of(const char *name)
{
	return (ProtobufCBinaryData){ .len = strlen(name), .data = (uint8_t *)(uintptr_t)name };
}

static struct cl_req *request(struct cl_op *op, uint16_t type, void (*done)(struct cl_req *req))
{
	struct cl_req *req = cl_session_req(op->client, op, type, done);
	if (!req)
		cl_op_finish(op, -E_NOMEM);
	return req;
}

/* True: there is no such name, and the op has ended. */
static bool is_refused(struct cl_op *op)
{
	int rc = xattr_name_check(op->name, strlen(op->name));
	if (rc < 0)
		cl_op_finish(op, rc);
	return rc < 0;
}

static void give(struct cl_op *op, const void *bytes, uint32_t len)
{
	op->out_len = len;
	if (op->out_capacity > 0 && len > op->out_capacity) {
		cl_op_finish(op, -E_RANGE);
		return;
	}
	if (op->out_capacity > 0 && len > 0)
		memcpy(op->out, bytes, len);
	cl_op_finish(op, 0);
}

/* --- what is known under lease ---------------------------------------------------------------- */

static bool is_acl(const struct cl_op *op)
{
	return op->name && strncmp(op->name, ACL_NAME_PREFIX, sizeof ACL_NAME_PREFIX - 1) == 0;
}

static bool may_have(const struct cl_op *op, const struct cl_attr *attr)
{
	if (!op->name)
		return attr->has_xattrs || attr->has_acl;
	return is_acl(op) ? attr->has_acl : attr->has_xattrs;
}

/* Whoever sets one needs our lease back first: the flags tell, or what was asked before. */
static bool is_known(struct cl_op *op)
{
	struct cl_node *node = cl_node_find(op->client, op->ino);
	struct cl_xattr_value value = { .is_absent = true };
	if (!cl_node_is_fresh(op->client, node))
		return false;
	if (may_have(op, &node->attr) &&
	    !cl_xattr_cache_find(op->client, op->ino, op->name ? op->name : "", node->attr.version,
				 &value))
		return false;
	if (value.is_absent && op->name)
		cl_op_finish(op, -E_NODATA);
	else
		give(op, value.bytes, value.len);
	return true;
}

/* Asked of this version; nothing is kept if the inode has changed since. */
static void keep(struct cl_req *req, const void *bytes, uint32_t len)
{
	struct cl_op *op = req->op;
	const struct cl_node *node = cl_node_find(req->client, op->ino);
	struct cl_xattr_value value = { .version = (uintptr_t)req->arg,
					.is_absent = req->call.rc == -E_NODATA,
					.len = len, .bytes = bytes };
	if (cl_node_is_fresh(req->client, node) && node->attr.version == value.version)
		cl_xattr_cache_put(req->client, op->ino, op->name ? op->name : "", &value);
}

static void bytes_done(struct cl_req *req)
{
	struct cl_op *op = req->op;
	const struct buf *bulk = req->call.reply_bulk;
	const void *bytes = bulk ? bulk->data : NULL;
	uint32_t len = bulk ? bulk->len : 0;
	if (req->call.rc == 0 || req->call.rc == -E_NODATA)
		keep(req, bytes, len);
	if (req->call.rc < 0)
		cl_op_finish(op, req->call.rc);
	else
		give(op, bytes, len);
}

static struct cl_req *ask(struct cl_op *op, uint16_t type)
{
	const struct cl_node *node = cl_node_find(op->client, op->ino);
	struct cl_req *req = request(op, type, bytes_done);
	if (req)
		req->arg = (void *)(uintptr_t)(node ? node->attr.version : 0);
	return req;
}

void cl_xattr_get(struct cl_op *op)
{
	if (is_refused(op) || is_known(op))
		return;
	struct cl_req *req = ask(op, MSG_GETXATTR);
	if (!req)
		return;
	req->msg.get_xattr.ino = op->ino;
	req->msg.get_xattr.name = name_of(op->name);
	cl_session_send(req);
}

void cl_xattr_list(struct cl_op *op)
{
	if (is_known(op))
		return;
	struct cl_req *req = ask(op, MSG_LISTXATTR);
	if (!req)
		return;
	req->msg.list_xattr.ino = op->ino;
	cl_session_send(req);
}

/* --- changes ---------------------------------------------------------------------------------- */

static void change_done(struct cl_req *req)
{
	cl_op_finish(req->op, cl_node_take_reply(req, NULL));
}

/* A policy that nobody knows would be ignored without a word. */
static bool is_no_policy(const struct cl_op *op)
{
	enum cl_cache_policy policy;
	return strcmp(op->name, CACHE_POLICY_XATTR) == 0 &&
	       !cl_policy_parse(op->bytes, op->bytes_len, &policy);
}

static void set_send(struct cl_op *op)
{
	struct buf *bulk = NULL;
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
	if (node && is_acl(op))
		node->attr.has_acl = true;
	else if (node)
		node->attr.has_xattrs = true;
	req->call.bulk = bulk;
	cl_session_send(req);
}

static void set_published(struct cl_op *op, int rc)
{
	if (rc < 0)
		cl_op_finish(op, rc);
	else
		set_send(op);
}

void cl_xattr_set(struct cl_op *op)
{
	const struct cl_node *node = cl_node_find(op->client, op->ino);
	if (is_refused(op))
		return;
	if (is_no_policy(op)) {
		cl_op_finish(op, -E_INVAL);
		return;
	}
	if (op->bytes_len > XATTR_VALUE_BYTES_MAX) {
		cl_op_finish(op, -E_TOOBIG);
		return;
	}
	/* The publish of what was written before would take it away again. */
	if (strcmp(op->name, "security.capability") == 0 && node && node->file)
		cl_publish_file(op, node->file, set_published);
	else
		set_send(op);
}

void cl_xattr_remove(struct cl_op *op)
{
	if (is_refused(op))
		return;
	struct cl_req *req = request(op, MSG_REMOVEXATTR, change_done);
	if (!req)
		return;
	req->msg.remove_xattr.ino = op->ino;
	req->msg.remove_xattr.name = name_of(op->name);
	cl_session_send(req);
}

/* --- numbers of the file system --------------------------------------------------------------- */

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
