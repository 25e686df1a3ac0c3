/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opens as the server knows them. An inode is registered once per kind (reading, writing), however
 * many handles this client has, so that its content outlives its last name.
 *
 * What nobody uses any more is given back some time later, many in one message: until then another
 * open of it costs none. The server may count on it being given back at once when somebody else
 * wants the inode, so it only waits under a lease, and goes before the recall of that is answered
 * (fs/README.md).
 */
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "client/core/file.h"

#define RELEASES_MAX	128u		/* in one message, */
#define RELEASE_AFTER_NS 500000000u	/* and the oldest waits this long */
#define EXTRA_OPENS_MANY 64u

static bool write_is_idle(const struct cl_node *node)
{
	return node->has_open_write && node->writers == 0 &&
	       (node->readers == 0 || node->has_open_read);
}

static bool read_is_idle(const struct cl_node *node)
{
	return node->has_open_read && node->readers == 0 &&
	       (node->writers == 0 || node->has_open_write);
}

/* The last kind goes with the last handle. */
static bool is_idle(const struct cl_node *node)
{
	return !node->is_opening &&
	       (node->extra_opens || write_is_idle(node) || read_is_idle(node));
}

static void idle_leave(struct client *c, struct cl_node *node)
{
	if (!node->is_idle_open)
		return;
	node->is_idle_open = false;
	DL_DELETE2(c->idle_opens, node, idle_prev, idle_next);
	c->idle_open_count--;
}

static void idle_join(struct client *c, struct cl_node *node)
{
	if (node->is_idle_open)
		return;
	if (!c->idle_opens)
		c->idle_since_ns = loop_now_ns(c->options.loop);
	node->is_idle_open = true;
	DL_APPEND2(c->idle_opens, node, idle_prev, idle_next);
	c->idle_open_count++;
}

static void released(struct cl_req *req)
{
	struct client *c = req->client;
	const Wire__StampReply *reply = (const void *)req->call.reply;
	const Wire__Release *msg = &req->msg.release;

	if (req->call.rc == 0 && reply)
		cl_session_stamp(c, reply->stamp);
	if (req->call.session != c->session.number)
		return;
	for (size_t i = 0; i < msg->n_inodes; i++) {
		struct cl_node *node = cl_node_find(c, msg->inodes[i]);
		if (node && node->releasing > 0)
			node->releasing--;
	}
}

/* One open of the node that goes with the message. */
static void release_add(Wire__Release *msg, struct cl_node *node)
{
	msg->inodes[msg->n_inodes++] = node->ino;
	node->releasing++;
}

static void release_all_of(Wire__Release *msg, struct cl_node *node)
{
	for (; node->extra_opens; node->extra_opens--)
		release_add(msg, node);
	if (write_is_idle(node)) {
		node->has_open_write = false;
		release_add(msg, node);
	}
	if (read_is_idle(node)) {
		node->has_open_read = false;
		release_add(msg, node);
	}
}

void cl_opens_give_back(struct client *c)
{
	size_t room = RELEASES_MAX + UINT8_MAX + 2u;
	struct cl_req *req;
	struct cl_node *node;

	if (!c->idle_opens || c->session.number == 0)
		return;
	req = cl_session_req(c, NULL, MSG_RELEASE, released);
	if (!req)
		return;		/* the next look, or the end of the session, will do it */
	req->more = calloc(room, sizeof req->msg.release.inodes[0]);
	if (!req->more) {
		cl_session_forget(req);
		return;
	}
	req->msg.release.inodes = req->more;
	while ((node = c->idle_opens) != NULL && req->msg.release.n_inodes < RELEASES_MAX) {
		idle_leave(c, node);
		release_all_of(&req->msg.release, node);
	}
	cl_session_send(req);
	if (c->idle_opens)
		cl_opens_give_back(c);
}

void cl_opens_settle(struct client *c, struct cl_node *node)
{
	if (!is_idle(node)) {
		idle_leave(c, node);
		return;
	}
	if (c->session.number == 0)
		return;
	idle_join(c, node);
	bool is_gone = node->has_attr && node->attr.st.st_nlink == 0;	/* it may be freed now */
	if (is_gone || node->lease == CL_LEASE_NONE || node->is_recalling ||
	    c->life != CL_RUNNING || c->idle_open_count >= RELEASES_MAX ||
	    node->extra_opens >= EXTRA_OPENS_MANY)
		cl_opens_give_back(c);
}

void cl_opens_sweep(struct client *c)
{
	if (c->idle_opens && loop_now_ns(c->options.loop) - c->idle_since_ns >= RELEASE_AFTER_NS)
		cl_opens_give_back(c);
}

void cl_opens_registered(struct cl_node *node, bool write)
{
	bool *has = write ? &node->has_open_write : &node->has_open_read;

	if (!*has)
		*has = true;
	else if (node->extra_opens < UINT8_MAX)		/* else the end of the session will do it */
		node->extra_opens++;
}

void cl_opens_fence(struct client *c)
{
	struct cl_node *node, *next;
	struct cl_req *req, *req_next;

	/* One that still waits for a slot would take back what the next session registers. */
	DL_FOREACH_SAFE2(c->requests, req, req_next, next)
		if (req->call.type == MSG_RELEASE && req->is_waiting)
			cl_session_forget(req);
	HASH_ITER(hh, c->nodes, node, next) {
		idle_leave(c, node);
		node->has_open_read = node->has_open_write = false;
		node->extra_opens = 0;
		node->releasing = 0;
	}
}

static void reopened(struct cl_req *req)
{
	struct client *c = req->client;
	struct cl_node *node = req->arg;
	bool write = req->msg.open.write;
	int rc = cl_node_take_reply(req, NULL);

	if (rc == 0)
		cl_opens_registered(node, write);
	else if (node->file)
		cl_file_fail(node->file, -E_STALE);
	node->is_opening = false;
	if (rc == 0)
		cl_opens_again(c, node);
	cl_opens_settle(c, node);	/* it may have been closed meanwhile */
	cl_op_wake(&node->open_waiters);
}

void cl_opens_all_again(struct client *c)
{
	struct cl_node *node, *next;

	HASH_ITER(hh, c->nodes, node, next)
		if (!node->has_open_read && !node->has_open_write)
			cl_opens_again(c, node);
}

void cl_opens_again(struct client *c, struct cl_node *node)
{
	bool write = node->writers > 0 && !node->has_open_write;
	bool read = node->readers > 0 && !node->has_open_read;
	struct cl_req *req;

	if (node->is_opening || !(write || read))
		return;
	req = cl_session_req(c, NULL, MSG_OPEN, reopened);
	if (!req)
		return;
	req->arg = node;
	req->msg.open.ino = node->ino;
	req->msg.open.write = write;
	node->is_opening = true;
	cl_session_send(req);
}
