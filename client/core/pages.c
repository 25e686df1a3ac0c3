/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pages that the kernel holds without a lease. A read or a write through its pages leaves them
 * there when it was answered without one; nobody recalls them when another node writes. The kernel
 * asks for attributes before each read from such pages (they are valid for no time), so that is
 * when they are dropped, and the answer waits for it.
 *
 * It cannot deadlock: pages may be locked by a read or a write that this client still has to
 * answer, and neither waits for attributes.
 */
#include <stdlib.h>
#include <utlist.h>

#include "client/core/file.h"

struct cl_pages_drop {
	struct client *client;		/* NULL: it is gone */
	inode_no ino;
	struct loop *loop;
	struct loop_task task;
	struct cl_pages_drop *prev, *next;
};

void cl_pages_used(struct cl_node *node, const struct cl_handle *h)
{
	if (!h || client_handle_is_direct(h))
		return;
	node->has_pages = true;
	if (node->lease == CL_LEASE_NONE)
		node->has_loose_pages = true;
}

static void dropped(struct loop_task *task)
{
	struct cl_pages_drop *drop = container_of(task, struct cl_pages_drop, task);
	struct client *c = drop->client;
	struct cl_node *node;

	if (c) {
		DL_DELETE(c->page_drops, drop);
		node = cl_node_find(c, drop->ino);
		if (node)
			node->is_dropping_pages = false;
		cl_op_wake(&c->page_waiters);
	}
	free(drop);
}

/* Any thread. */
static void dropped_there(void *arg)
{
	struct cl_pages_drop *drop = arg;

	drop->task.run = dropped;
	loop_post(drop->loop, &drop->task);
}

static void drop_start(struct client *c, struct cl_node *node)
{
	struct cl_pages_drop *drop = calloc(1, sizeof *drop);

	node->has_loose_pages = false;
	if (!drop)
		return;			/* their new mtime must do */
	drop->client = c;
	drop->loop = c->options.loop;
	drop->ino = node->ino;
	DL_APPEND(c->page_drops, drop);
	node->is_dropping_pages = true;
	c->options.on_inval_pages(c->options.arg, node->ino, dropped_there, drop);
}

bool cl_pages_wait(struct cl_op *op, struct cl_node *node, void (*resume)(struct cl_op *op))
{
	struct client *c = op->client;

	if (!node || !c->options.on_inval_pages)
		return false;
	if (node->has_loose_pages && !node->is_dropping_pages)
		drop_start(c, node);
	if (!node->is_dropping_pages)
		return false;
	cl_op_wait(op, &c->page_waiters, "old pages to be dropped", resume);
	return true;
}

void cl_pages_finish(struct client *c)
{
	struct cl_pages_drop *drop, *next;

	DL_FOREACH_SAFE(c->page_drops, drop, next)
		drop->client = NULL;
	c->page_drops = NULL;
}
