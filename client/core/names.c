/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operations on names and attributes: answered from what is held under lease, else by the metadata
 * server.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/core/atime.h"
#include "client/core/file.h"

static ProtobufCBinaryData name_of(const char *name)
{
	return (ProtobufCBinaryData){ .len = strlen(name), .data = (uint8_t *)(uintptr_t)name };
}

/* A request of op, or the end of op. */
static struct cl_req *request(struct cl_op *op, uint16_t type, void (*done)(struct cl_req *req))
{
	const char *names[] = { op->name, op->new_name };
	for (size_t i = 0; i < ARRAY_COUNT(names); i++)
		if (names[i] && strlen(names[i]) > NAME_BYTES_MAX) {
			cl_op_finish(op, -E_NAMETOOLONG);
			return NULL;
		}
	struct cl_req *req = cl_session_req(op->client, op, type, done);
	if (!req)
		cl_op_finish(op, -E_NOMEM);
	return req;
}

/* Show a node to the kernel under a name: it counts a lookup until FORGET. */
static void entry_show(struct cl_op *op, struct cl_node *node)
{
	struct client *c = op->client;
	inode_no named;
	node->lookups++;
	cl_node_show(c, node, &op->attr);
	bool is_held = op->name && cl_node_name_find(c, op->parent, op->name, &named) &&
		       named == node->ino;
	op->entry_valid_ms = is_held ? cl_session_valid_ms(c) : 0;
}

/* --- lookup ----------------------------------------------------------------------------------- */

static void lookup_done(struct cl_req *req)
{
	struct cl_op *op = req->op;
	const Wire__NodeReply *reply = (const void *)req->call.reply;
	struct cl_node *node = NULL;
	int rc = cl_node_take_reply(req, &node);
	op->entry_valid_ms = 0;
	if (req->call.rc == -E_NOENT && reply) {
		inode_no named;
		cl_session_stamp(req->client, reply->stamp);
		cl_node_name_set(req, reply, op->parent, op->name, 0);
		if (cl_node_name_find(req->client, op->parent, op->name, &named) && named == 0)
			op->entry_valid_ms = cl_session_valid_ms(req->client);
	}
	if (rc == 0) {
		cl_node_name_set(req, reply, op->parent, op->name, node->ino);
		entry_show(op, node);
	}
	cl_op_finish(op, rc);
}

/* A name that may be in a directory at all: the server answers for the others. */
static bool is_plain(const char *name)
{
	return name && strlen(name) <= NAME_BYTES_MAX && strcmp(name, ".") != 0 &&
	       strcmp(name, "..") != 0;
}

void cl_names_lookup(struct cl_op *op)
{
	struct client *c = op->client;
	inode_no named;
	if (op->name && cl_node_name_find(c, op->parent, op->name, &named)) {
		if (named == 0) {
			op->entry_valid_ms = cl_session_valid_ms(c);
			cl_op_finish(op, -E_NOENT);
			return;
		}
		struct cl_node *node = cl_node_find(c, named);
		if (cl_node_is_fresh(c, node)) {
			entry_show(op, node);
			cl_op_finish(op, 0);
			return;
		}
	} else if (is_plain(op->name) && cl_node_name_is_absent(c, op->parent)) {
		op->entry_valid_ms = cl_session_valid_ms(c);
		cl_op_finish(op, -E_NOENT);
		return;
	}
	struct cl_req *req = request(op, MSG_LOOKUP, lookup_done);
	if (!req)
		return;
	req->msg.lookup.parent = op->parent;
	req->msg.lookup.name = name_of(op->name);
	cl_session_send(req);
}

/* --- attributes ------------------------------------------------------------------------------- */

/*
 * It was removed on another node after the kernel had found it here: as on one machine it is what
 * it was, without links. So who opens a path goes on to its open, which looks the name up again;
 * and who is in a directory, or has it open, needs no server that would keep it for him. A file
 * that is open here is never removed: of such a handle it is news.
 */
static bool show_removed(struct cl_op *op)
{
	const struct cl_node *node = cl_node_find(op->client, op->ino);
	if (op->kind != CL_GETATTR || op->handle || !node || !node->has_attr)
		return false;
	op->attr = node->attr;
	op->attr.st.st_nlink = 0;
	op->attr.valid_ms = 0;
	return true;
}

static void attr_done(struct cl_req *req)
{
	struct cl_op *op = req->op;
	struct cl_node *node = NULL;
	int rc = cl_node_take_reply(req, &node);
	if (rc == 0)
		cl_node_show(req->client, node, &op->attr);
	else if (rc == -E_STALE && show_removed(op))
		rc = 0;
	cl_op_finish(op, rc);
}

void cl_names_getattr(struct cl_op *op)
{
	struct client *c = op->client;
	struct cl_node *node = cl_node_find(c, op->ino);
	if (cl_pages_wait(op, node, cl_names_getattr))
		return;
	if (cl_node_is_fresh(c, node)) {
		cl_node_show(c, node, &op->attr);
		cl_op_finish(op, 0);
		return;
	}
	struct cl_req *req = request(op, MSG_GETATTR, attr_done);
	if (!req)
		return;
	req->msg.get_attr.ino = op->ino;
	req->msg.get_attr.lease = true;
	cl_session_send(req);
}

/* A size that was set without a handle, and cannot be published, is not set. */
static void size_published(struct cl_op *op, int rc)
{
	struct cl_node *node = cl_node_find(op->client, op->ino);
	if (rc < 0 && node && node->file && (op->set_mask & CL_SET_SIZE) && !op->handle)
		cl_file_told(node->file, rc);
	cl_op_finish(op, rc);
}

/*
 * A mode that is set after writes which cleared suid and sgid takes that with it: the publish of
 * these writes must not clear what the user has set since.
 */
static void priv_take(struct cl_req *req)
{
	Wire__SetAttr *msg = &req->msg.set_attr;
	struct cl_node *node = cl_node_find(req->client, msg->ino);
	if (!(msg->mask & CL_SET_MODE) || !node || !node->file || !cl_file_kills_priv(node->file))
		return;
	uint32_t kill = node->file->kill_priv | node->file->flush.kill_priv;
	msg->mask |= CL_SET_KILL_PRIV | (kill & CL_KILL_SGID ? (uint32_t)CL_SET_KILL_SGID : 0);
	node->file->kill_priv = node->file->flush.kill_priv = 0;
	req->arg = (void *)(uintptr_t)kill;	/* it was taken */
}

static void priv_give_back(struct cl_req *req)
{
	const struct cl_node *node = cl_node_find(req->client, req->msg.set_attr.ino);
	if (req->call.rc < 0 && req->arg && node && node->file && cl_file_is_dirty(node->file))
		node->file->kill_priv |= (uint32_t)(uintptr_t)req->arg;
}

static void set_done(struct cl_req *req)
{
	priv_give_back(req);
	attr_done(req);
}

static void setattr_send(struct cl_op *op, int rc)
{
	if (rc < 0) {
		size_published(op, rc);
		return;
	}
	struct cl_req *req = request(op, MSG_SETATTR, set_done);
	if (!req)
		return;
	Wire__SetAttr *msg = &req->msg.set_attr;
	const struct cl_node *node = cl_node_find(op->client, op->ino);
	req->orphaned = priv_give_back;
	cl_atime_tell_before_change(op->client, cl_node_find(op->client, op->ino));
	msg->ino = op->ino;
	msg->mask = op->set_mask & ~(uint32_t)CL_SET_SIZE;
	if (node && node->has_attr && cl_file_kill_of(op, &node->attr) & CL_KILL_SGID)
		msg->mask |= CL_SET_KILL_SGID;
	msg->mode = op->mode;
	msg->uid = op->new_uid;
	msg->gid = op->new_gid;
	msg->atime_ns = op->atime_ns;
	msg->mtime_ns = op->mtime_ns;
	priv_take(req);
	cl_session_send(req);
}

static void set_published(struct cl_op *op, int rc)
{
	const struct cl_node *node = cl_node_find(op->client, op->ino);
	if (rc < 0 || !op->is_set || !node) {
		setattr_send(op, rc);
		return;
	}
	cl_node_show(op->client, node, &op->attr);
	cl_op_finish(op, 0);
}

/* Times set by the user must not be overtaken by a later publish of earlier writes. */
void cl_names_setattr_rest(struct cl_op *op)
{
	const uint32_t times = CL_SET_ATIME | CL_SET_MTIME | CL_SET_ATIME_NOW | CL_SET_MTIME_NOW;
	struct cl_node *node = cl_node_find(op->client, op->ino);
	uint32_t left = op->set_mask & ~(uint32_t)CL_SET_SIZE;
	if (op->set_mask & CL_SET_SIZE)
		left &= ~(uint32_t)CL_SET_KILL_PRIV;
	if (left == 0 && !op->handle && node && node->file)
		/* D3: truncate() is acknowledged when it returns */
		cl_publish_file(op, node->file, size_published);
	else if (left == 0)
		cl_op_finish(op, 0);
	else if (node && node->file && (left & times || cl_publish_takes(op, node->file)))
		cl_publish_file(op, node->file, set_published);
	else
		setattr_send(op, 0);
}

/*
 * A mode or an owner that is there already, of a file that this client has written and holds open:
 * writing has moved its ctime, or will. It is not moved once more (fs/README.md).
 */
static bool changes_nothing(const struct cl_op *op)
{
	const uint32_t known = CL_SET_MODE | CL_SET_UID | CL_SET_GID | CL_SET_KILL_PRIV;
	struct cl_node *node = cl_node_find(op->client, op->ino);
	if (op->set_mask & ~known || !node || !node->writers || !node->file ||
	    node->file->edit_seq == 0 || node->is_outdated || node->is_recalling ||
	    !cl_node_can_write(op->client, node))
		return false;
	const struct stat *st = &node->attr.st;
	if (cl_file_kills_priv(node->file) || node->attr.has_xattrs || node->attr.has_acl ||
	    st->st_mode & (S_ISUID | S_ISGID))
		return false;	/* it may change more than it says */
	return (!(op->set_mask & CL_SET_MODE) || (op->mode & 07777) == (st->st_mode & 07777)) &&
	       (!(op->set_mask & CL_SET_UID) || op->new_uid == st->st_uid) &&
	       (!(op->set_mask & CL_SET_GID) || op->new_gid == st->st_gid) &&
	       (op->uid == 0 || op->uid == st->st_uid);
}

/*
 * The kernel asks for nothing before a write that clears suid, when it only wants attributes, and
 * for chown(2) to nobody, which clears it. It says not which; if the owner asks, it is cleared now
 * in both cases.
 */
static void setattr_of_nothing(struct cl_op *op)
{
	const struct cl_node *node = cl_node_find(op->client, op->ino);
	if (!node || !node->has_attr || op->uid == 0 || op->uid != node->attr.st.st_uid ||
	    !(node->attr.st.st_mode & (S_ISUID | S_ISGID)) || !S_ISREG(node->attr.st.st_mode)) {
		cl_names_getattr(op);
		return;
	}
	op->set_mask = CL_SET_KILL_PRIV;
	op->kill_priv = true;
	cl_names_setattr_rest(op);
}

void cl_names_setattr(struct cl_op *op)
{
	struct cl_node *node = cl_node_find(op->client, op->ino);
	if (node && op->set_mask & (CL_SET_ATIME | CL_SET_ATIME_NOW))
		cl_atime_forget(op->client, node);
	if (op->set_mask & CL_SET_SIZE)
		cl_edit_start(op);
	else if (op->set_mask == 0)
		setattr_of_nothing(op);
	else if (changes_nothing(op))
		cl_names_getattr(op);
	else
		cl_names_setattr_rest(op);
}

/* --- make, link, unlink, rename --------------------------------------------------------------- */

/* It was done, but its reply says nothing that we can take: the name is there, and not known. */
static void made_unseen(struct cl_req *req, inode_no parent, int rc)
{
	if (req->call.rc == 0 && rc < 0)
		cl_node_dir_unknown(req->client, parent);
}

static void make_done(struct cl_req *req)
{
	struct client *c = req->client;
	struct cl_op *op = req->op;
	const Wire__NodeReply *reply = (const void *)req->call.reply;
	struct cl_node *node = NULL;
	int rc = cl_node_take_reply(req, &node);
	made_unseen(req, op->parent, rc);
	if (rc == 0) {
		if (op->name) {
			cl_node_name_set(req, reply, op->parent, op->name, node->ino);
			cl_node_dir_changed(c, op->parent);
		}
		if (S_ISDIR(node->attr.st.st_mode))
			cl_node_dir_made(req, reply, node);
		if (op->want_open) {
			cl_opens_registered(node, true);
			rc = cl_file_handle(c, node, op->flags, &op->opened);
			cl_opens_settle(c, node);
		}
	}
	if (rc == 0) {
		if (op->want_open)
			cl_file_opened(c, node, op);
		entry_show(op, node);
	}
	cl_op_finish(op, rc);
}

/* Nobody waits for the file any more, but the server holds an open for us. */
static void make_orphaned(struct cl_req *req)
{
	struct client *c = req->client;
	struct cl_node *node = NULL;
	struct cl_handle *h;
	if (!req->msg.make.open || cl_node_take_reply(req, &node) < 0)
		return;
	cl_opens_registered(node, true);
	if (cl_file_handle(c, node, O_WRONLY, &h) == 0)
		cl_file_handle_free(h);
}

void cl_names_make(struct cl_op *op)
{
	struct cl_req *req = request(op, MSG_MAKE, make_done);
	if (!req)
		return;
	Wire__Make *msg = &req->msg.make;
	req->orphaned = make_orphaned;
	msg->parent = op->parent;
	if (op->name)
		msg->name = name_of(op->name);
	msg->unnamed = op->unnamed;
	msg->mode = op->mode;
	msg->rdev = op->rdev;
	msg->umask = op->umask;
	if (op->target)
		msg->target = name_of(op->target);
	msg->exclusive = op->exclusive;
	msg->open = op->want_open;
	cl_session_send(req);
}

static void link_done(struct cl_req *req)
{
	struct cl_op *op = req->op;
	const Wire__NodeReply *reply = (const void *)req->call.reply;
	struct cl_node *node = NULL;
	int rc = cl_node_take_reply(req, &node);
	made_unseen(req, op->parent, rc);
	if (rc == 0) {
		cl_node_name_set(req, reply, op->parent, op->name, node->ino);
		cl_node_dir_changed(op->client, op->parent);
		entry_show(op, node);
	}
	cl_op_finish(op, rc);
}

void cl_names_link(struct cl_op *op)
{
	struct cl_req *req = request(op, MSG_LINK, link_done);
	if (!req)
		return;
	req->msg.link.ino = op->ino;
	req->msg.link.parent = op->parent;
	req->msg.link.name = name_of(op->name);
	cl_session_send(req);
}

static void unlink_done(struct cl_req *req)
{
	struct cl_op *op = req->op;
	const Wire__NodeReply *reply = (const void *)req->call.reply;
	int rc = cl_node_take_reply(req, NULL);
	if (rc == 0) {
		cl_node_name_set(req, reply, op->parent, op->name, 0);
		cl_node_dir_changed(op->client, op->parent);
	}
	cl_op_finish(op, rc);
}

/* What loses its name and is still registered as open, used by nobody, would live on a while. */
static void victim_settle(struct client *c, inode_no parent, const char *name)
{
	inode_no ino;
	if (!cl_node_name_find(c, parent, name, &ino) || ino == 0)
		return;
	const struct cl_node *node = cl_node_find(c, ino);
	if (node && node->is_idle_open)
		cl_opens_give_back(c);
}

void cl_names_unlink(struct cl_op *op)
{
	victim_settle(op->client, op->parent, op->name);
	struct cl_req *req = request(op, MSG_UNLINK, unlink_done);
	if (!req)
		return;
	req->msg.unlink.parent = op->parent;
	req->msg.unlink.name = name_of(op->name);
	req->msg.unlink.directory = op->is_directory;
	cl_session_send(req);
}

/*
 * Two names changed: what the reply comes with a lease for is known, the rest is asked again. It
 * has none if both were names of one inode, for then nothing was done, and none while others wait
 * for them. The kernel moves its entries in any case, and believes them as long as it did before.
 */
static void renamed(struct cl_req *req, const struct cl_op *op, const Wire__NodeReply *reply)
{
	struct client *c = req->client;
	inode_no target = 0, moved = reply && reply->attr ? reply->attr->ino : 0;
	cl_node_dir_changed(c, op->parent);
	cl_node_dir_changed(c, op->new_parent);
	if (cl_node_name_find(c, op->new_parent, op->new_name, &target))
		cl_node_outdate(c, target);
	if (op->parent != op->new_parent)
		cl_node_outdate(c, op->parent);
	if (!moved || !cl_node_name_is_granted(req, reply, op->parent, op->name) ||
	    !cl_node_name_is_granted(req, reply, op->new_parent, op->new_name)) {
		cl_node_name_drop(c, op->parent, op->name);
		cl_node_name_drop(c, op->new_parent, op->new_name);
		cl_node_dir_unknown(c, op->new_parent);
		if (c->options.on_inval_names)
			c->options.on_inval_names(c->options.arg);
		return;
	}
	if (op->flags & RENAME_WHITEOUT)
		cl_node_name_drop(c, op->parent, op->name);	/* of an inode that was not told */
	else if (!(op->flags & RENAME_EXCHANGE))
		cl_node_name_set(req, reply, op->parent, op->name, 0);
	else if (target)
		cl_node_name_set(req, reply, op->parent, op->name, target);
	else
		cl_node_name_drop(c, op->parent, op->name);
	cl_node_name_set(req, reply, op->new_parent, op->new_name, moved);
}

static void rename_done(struct cl_req *req)
{
	struct cl_op *op = req->op;
	const Wire__NodeReply *reply = (const void *)req->call.reply;
	if (req->call.rc == 0)
		renamed(req, op, reply);
	cl_op_finish(op, cl_node_take_reply(req, NULL));
}

void cl_names_rename(struct cl_op *op)
{
	victim_settle(op->client, op->new_parent, op->new_name);
	struct cl_req *req = request(op, MSG_RENAME, rename_done);
	if (!req)
		return;
	Wire__Rename *msg = &req->msg.rename;
	msg->parent = op->parent;
	msg->name = name_of(op->name);
	msg->new_parent = op->new_parent;
	msg->new_name = name_of(op->new_name);
	msg->flags = op->flags;
	cl_session_send(req);
}

/* --- symbolic links --------------------------------------------------------------------------- */

static void target_finish(struct cl_op *op, const char *target)
{
	size_t len = strlen(target);
	if (len > op->out_capacity && op->out_capacity > 0) {
		cl_op_finish(op, -E_RANGE);
		return;
	}
	if (op->out_capacity > 0)
		memcpy(op->out, target, len);
	op->out_len = (uint32_t)len;
	cl_op_finish(op, 0);
}

static void readlink_done(struct cl_req *req)
{
	struct cl_op *op = req->op;
	const Wire__NodeReply *reply = (const void *)req->call.reply;
	struct cl_node *node = NULL;
	int rc = cl_node_take_reply(req, &node);
	if (rc == 0 && !S_ISLNK(node->attr.st.st_mode))
		rc = -E_INVAL;
	if (rc < 0) {
		cl_op_finish(op, rc);
		return;
	}
	if (!node->target)
		/* of an inode it never changes; without memory: asked again */
		node->target = strdup(reply->target);
	target_finish(op, reply->target);
}

void cl_names_readlink(struct cl_op *op)
{
	struct cl_node *node = cl_node_find(op->client, op->ino);
	if (node)
		cl_atime_read(op->client, node);
	if (node && node->target) {
		target_finish(op, node->target);
		return;
	}
	struct cl_req *req = request(op, MSG_GETATTR, readlink_done);
	if (!req)
		return;
	req->msg.get_attr.ino = op->ino;
	req->msg.get_attr.lease = true;
	cl_session_send(req);
}

void cl_names_forget(struct cl_op *op)
{
	cl_node_forget(op->client, op->ino, op->lookups);
	cl_op_finish(op, 0);
}
