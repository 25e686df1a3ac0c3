/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Access times; see atime.h.
 */
#include "client/core/atime.h"

#include <stdlib.h>
#include <utlist.h>

#include "client/core/file.h"

#define NS_PER_MS     INT64_C(1000000)
#define DAY_NS	      (INT64_C(86400) * 1000 * NS_PER_MS)
/* A change in the future, as its time says, would make each read tell. */
#define FUTURE_NS     (1000 * NS_PER_MS)
#define TELL_SOON_MS  1u
#define TELL_EVERY_MS 20u
#define TELL_MAX      256u

static int64_t wall_ns(const struct client *c)
{
	return (int64_t)loop_wall_ns(c->options.loop);
}

static int64_t changed_ns(const struct cl_node *node)
{
	int64_t at_ns = MAX_OF(cl_node_ns_of_time(&node->attr.st.st_mtim),
			       cl_node_ns_of_time(&node->attr.st.st_ctim));
	if (node->file && node->file->is_loaded && cl_file_is_dirty(node->file))
		at_ns = MAX_OF(at_ns, node->file->mtime_ns);
	return at_ns;
}

bool cl_atime_is_due(const struct client *c, const struct cl_node *node)
{
	if (!node->has_attr || c->atime_policy & CL_ATIME_NEVER ||
	    (S_ISDIR(node->attr.st.st_mode) && c->atime_policy & CL_ATIME_NOT_OF_FOLDERS))
		return false;
	int64_t now_ns = wall_ns(c);
	int64_t read_ns = node->read_ns;
	if (read_ns == 0)
		read_ns = cl_node_ns_of_time(&node->attr.st.st_atim);
	int64_t change_ns = changed_ns(node);
	if (c->atime_policy & CL_ATIME_STRICT)
		return now_ns != read_ns;
	if (read_ns <= change_ns)
		return change_ns <= now_ns || now_ns - read_ns >= FUTURE_NS;
	return read_ns < now_ns - DAY_NS;
}

static void tell_fired(struct loop_timer *timer)
{
	cl_atime_tell(container_of(timer, struct client, read_timer));
}

void cl_atime_read(struct client *c, struct cl_node *node)
{
	if (!cl_atime_is_due(c, node))
		return;
	uint64_t now_ns = loop_now_ns(c->options.loop);
	bool is_idle = now_ns - c->read_told_ns >= TELL_EVERY_MS * (uint64_t)NS_PER_MS;
	if (!node->read_ns) {
		DL_APPEND2(c->read_nodes, node, read_prev, read_next);
		c->read_count++;
	}
	/* The clocks of a server and ours may differ: its last change was before this read. */
	node->read_ns = MAX_OF(wall_ns(c), cl_node_ns_of_time(&node->attr.st.st_ctim) + 1);
	if (c->read_count >= TELL_MAX)
		cl_atime_tell(c);
	else if (!c->read_timer.is_active) {
		c->read_timer.fn = tell_fired;
		loop_timer_start(c->options.loop, &c->read_timer,
				 is_idle ? TELL_SOON_MS : TELL_EVERY_MS);
	}
}

void client_was_read(struct client *c, inode_no ino)
{
	struct cl_node *node = cl_node_find(c, ino);
	if (!node || !cl_atime_is_due(c, node))
		return;
	cl_atime_read(c, node);
	if (c->options.on_inval_atime)
		c->options.on_inval_atime(c->options.arg, ino);
}

void cl_atime_forget(struct client *c, struct cl_node *node)
{
	if (!node->read_ns)
		return;
	node->read_ns = 0;
	DL_DELETE2(c->read_nodes, node, read_prev, read_next);
	c->read_count--;
}

/* Whether it heard or not: a time that is lost is that of one read. */
static void told(struct cl_req *req)
{
	const Wire__StampReply *reply = (const void *)req->call.reply;
	if (req->call.rc == 0 && reply)
		cl_session_stamp(req->client, reply->stamp);
}

static void tell_one(struct client *c, Wire__Atimes *msg, struct cl_node *node)
{
	msg->inodes[msg->n_inodes++] = node->ino;
	msg->atime_ns[msg->n_atime_ns++] = node->read_ns;
	node->attr.st.st_atim = cl_node_time_of_ns(node->read_ns);
	cl_atime_forget(c, node);
}

void cl_atime_tell(struct client *c)
{
	struct { inode_no inodes[TELL_MAX]; int64_t times[TELL_MAX]; } *lists;
	struct cl_req *req;
	if (!c->read_nodes || c->session.number == 0)
		return;
	req = cl_session_req(c, NULL, MSG_ATIMES, told);
	if (!req)
		return;			/* with the next read */
	req->more = lists = calloc(1, sizeof *lists);
	if (!lists) {
		cl_session_forget(req);
		return;
	}
	loop_timer_stop(c->options.loop, &c->read_timer);
	c->read_told_ns = loop_now_ns(c->options.loop);
	req->msg.atimes.strict = (c->atime_policy & CL_ATIME_STRICT) != 0;
	req->msg.atimes.inodes = lists->inodes;
	req->msg.atimes.atime_ns = lists->times;
	while (c->read_nodes && req->msg.atimes.n_inodes < TELL_MAX)
		tell_one(c, &req->msg.atimes, c->read_nodes);
	cl_session_send(req);
}

void cl_atime_tell_before_change(struct client *c, const struct cl_node *node)
{
	if (node && node->read_ns)
		cl_atime_tell(c);
}

void cl_atime_sweep(struct client *c)
{
	if (c->options.atime_policy)
		c->atime_policy = c->options.atime_policy(c->options.arg);
}

void cl_atime_finish(struct client *c)
{
	loop_timer_stop(c->options.loop, &c->read_timer);
}
