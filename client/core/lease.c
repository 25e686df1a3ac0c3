/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Recalls: the server wants leases back for somebody else. What was written under a write lease is
 * published first, what the kernel caches is invalidated, then the recall is answered; until then
 * the lease is still ours (I14) and reads are served, but new edits of the inode wait. Keeps I5 on
 * the client's side.
 *
 * The kernel drops pages only once no write in flight has locked one, and such a write may wait for
 * this very recall: here, or at the server behind whoever asked. So nobody waits for pages while
 * there are edits, nor for ever: a read in flight that waits for chunk servers keeps them as well,
 * and who does not answer is fenced. They are dropped as soon as that can be, and what they hold is
 * checked by its new mtime at the next read.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <utlist.h>

#include "client/core/file.h"
#include "client/core/locks.h"
#include "client/core/pins.h"
#include "fs/base/log.h"

#define LOG_MODULE "lease"

/* pages that the kernel drops; it outlives an item that does not wait */
struct drop {
	struct item *item;		/* NULL: nobody waits */
	struct loop *loop;
	struct loop_task task;
};

struct item {			/* one inode of a recall; it keeps its node while it is not ended */
	struct cl_recall *recall;
	struct cl_node *node;		/* until it is ended */
	inode_no ino;
	enum cl_lease keep, kept;	/* at most; in the end */
	bool is_begun, is_flushing, is_ended;
	bool is_turn;			/* it waits for the end of a turn */
	struct cl_flush_wait wait;
	struct drop *drop;
	uint64_t drop_since_ns;
};

struct cl_recall {
	struct client *client;
	struct rpc_request *req;
	uint32_t item_count, left;
	struct cl_recall *prev, *next;
	struct item items[];
};

#define PAGES_MS     2000u		/* the kernel may take so long to drop pages */
#define TURN_MS	     8u
#define TURN_IDLE_NS 1000000u		/* who appends no more than this often has ended it */

static void item_step(struct item *item);

static void recall_free(struct cl_recall *recall)
{
	DL_DELETE(recall->client->recalls, recall);
	free(recall);
}

static void recall_answer(struct cl_recall *recall)
{
	Wire__RecallReply reply = WIRE__RECALL_REPLY__INIT;
	Wire__Lease kept[64], *kept_at[64];
	for (uint32_t i = 0; i < recall->item_count && reply.n_kept < ARRAY_COUNT(kept); i++) {
		const struct item *item = &recall->items[i];
		if (item->kept == CL_LEASE_NONE)
			continue;
		wire__lease__init(&kept[reply.n_kept]);
		kept[reply.n_kept].ino = item->ino;
		kept[reply.n_kept].mode = item->kept;
		kept_at[reply.n_kept] = &kept[reply.n_kept];
		reply.n_kept++;
	}
	reply.kept = kept_at;
	rpc_answer(recall->req, 0, &reply.base, NULL);
	recall_free(recall);
}

/* Its pages may be dropped as late as they like. */
static void drop_leave(struct item *item)
{
	if (item->drop) {
		item->drop->item = NULL;
		item->node->has_loose_pages = true;
	}
	item->drop = NULL;
}

static void item_end(struct item *item)
{
	struct cl_recall *recall = item->recall;
	struct client *c = recall->client;
	struct cl_node *node = item->node;
	bool is_lowered = node->lease > item->keep;
	/* It was read elsewhere: only its attributes are old (Atimes of the protocol). */
	bool is_outdated = node->lease == CL_LEASE_READ && item->keep == CL_LEASE_READ;
	drop_leave(item);
	if (is_lowered && item->keep == CL_LEASE_NONE)
		cl_node_dir_lost(c, node);
	item->is_ended = true;
	node->lease = item->kept = MIN_OF(node->lease, item->keep);
	node->is_recalling = false;
	if (is_lowered)
		cl_pins_changed(c->pins, node->ino);	/* it changes elsewhere */
	/* Attributes that were read while we published are as old as the lease. */
	node->is_outdated |= is_outdated;
	is_outdated |= is_lowered && item->keep == CL_LEASE_NONE;
	if (is_outdated && c->options.on_inval_attr)
		c->options.on_inval_attr(c->options.arg, node->ino);
	node->turn_recalls++;		/* what goes on now may need room for other nodes */
	cl_lease_continue(c, node);	/* another recall that waited for this one */
	if (node->file)
		cl_edit_run(node->file);
	node->turn_recalls--;
	if (--recall->left == 0)
		recall_answer(recall);
}

static void pages_dropped(struct loop_task *task)
{
	struct drop *drop = container_of(task, struct drop, task);
	struct item *item = drop->item;
	free(drop);
	if (!item)
		return;
	item->drop = NULL;
	item_end(item);
}

/* Any thread. */
static void pages_told(void *arg)
{
	struct drop *drop = arg;
	drop->task.run = pages_dropped;
	loop_post(drop->loop, &drop->task);
}

static void pages_ask(struct item *item)
{
	struct client *c = item->recall->client;
	struct drop *drop = calloc(1, sizeof *drop);
	item->node->has_pages = false;
	drop_leave(item);		/* of those it had before it was opened again */
	if (!drop)
		return;			/* attributes must do */
	*drop = (struct drop){ .item = item, .loop = c->options.loop };
	item->drop = drop;
	item->drop_since_ns = loop_now_ns(c->options.loop);
	c->options.on_inval_pages(c->options.arg, item->node->ino, pages_told, drop);
}

/* The next one that has waited long enough; NULL: none. */
static struct item *pages_overdue(struct client *c)
{
	uint64_t now_ns = loop_now_ns(c->options.loop);
	struct cl_recall *recall;
	DL_FOREACH(c->recalls, recall)
		for (uint32_t i = 0; i < recall->item_count; i++) {
			struct item *item = &recall->items[i];
			if (item->drop && !item->is_ended &&
			    now_ns - item->drop_since_ns >= PAGES_MS * UINT64_C(1000000))
				return item;
		}
	return NULL;
}

/* Each may end its recall, and others: each time from the start. */
void cl_lease_sweep(struct client *c)
{
	struct item *item;
	while ((item = pages_overdue(c)) != NULL)
		item_end(item);
}

static void item_flushed(struct cl_flush_wait *wait, int rc)
{
	struct item *item = wait->arg;
	item->is_flushing = false;
	/* The lease must go whatever happens: what cannot be published now is lost, and said so. */
	if (rc < 0 && item->node->file && cl_file_is_dirty(item->node->file))
		cl_file_fail(item->node->file, rc);
	item_step(item);
}

/* --- turns ------------------------------------------------------------------------------------ */

bool cl_lease_wants_turn(const struct cl_op *op, const struct cl_node *node)
{
	return op->kind == CL_WRITE && op->flags & O_APPEND && node->lease != CL_LEASE_WRITE;
}

void cl_lease_turn_begun(struct cl_file *file)
{
	uint64_t now_ns = loop_now_ns(file->client->options.loop);
	file->turn_end_ns = now_ns + TURN_MS * UINT64_C(1000000);
	file->appended_ns = now_ns;
}

static bool turn_goes_on(const struct cl_node *node)
{
	const struct cl_file *file = node->file;
	if (node->lease != CL_LEASE_WRITE || !file || node->is_recalling)
		return false;
	uint64_t now_ns = loop_now_ns(file->client->options.loop);
	return now_ns < file->turn_end_ns && now_ns < file->appended_ns + TURN_IDLE_NS;
}

/* True: it begins later. */
static bool turn_is_waited_for(struct item *item)
{
	struct client *c = item->recall->client;
	if (item->is_begun || !turn_goes_on(item->node)) {
		item->node->turn_recalls -= item->is_turn;
		item->is_turn = false;
		return false;
	}
	item->node->turn_recalls += !item->is_turn;
	item->is_turn = true;
	if (!c->turn.is_active)
		loop_timer_start(c->options.loop, &c->turn, 1);
	return true;
}

/* The next one whose turn is over; *goes_on: others still wait. NULL: none. */
static struct item *turn_over(struct client *c, bool *goes_on)
{
	struct cl_recall *recall;
	*goes_on = false;
	DL_FOREACH(c->recalls, recall)
		for (uint32_t i = 0; i < recall->item_count; i++) {
			struct item *item = &recall->items[i];
			if (item->is_turn && !turn_goes_on(item->node))
				return item;
			*goes_on |= item->is_turn;
		}
	return NULL;
}

/* A step may end its recall, and others: each time from the start. */
static void turn_looked_at(struct loop_timer *timer)
{
	struct client *c = container_of(timer, struct client, turn);
	struct item *item;
	bool goes_on;
	while ((item = turn_over(c, &goes_on)) != NULL)
		item_step(item);
	if (goes_on && !c->turn.is_active)
		loop_timer_start(c->options.loop, &c->turn, 1);
}

/* --- one inode of a recall -------------------------------------------------------------------- */

static void item_step(struct item *item)
{
	struct client *c = item->recall->client;
	struct cl_node *node = item->node;
	struct cl_file *file = node->file;
	if (item->is_ended || item->is_flushing || turn_is_waited_for(item) ||
	    (!item->is_begun && node->is_recalling))
		return;
	item->is_begun = node->is_recalling = true;
	if (node->lease <= item->keep) {	/* it is as they want it */
		item_end(item);
		return;
	}
	if (node->lease == CL_LEASE_WRITE && file && cl_edit_is_running(file) && !file->is_alone)
		return;		/* cl_lease_continue() follows */
	if (node->lease == CL_LEASE_WRITE && file && cl_file_is_dirty(file) && !file->is_alone) {
		item->is_flushing = true;
		item->wait.done = item_flushed;
		item->wait.arg = item;
		cl_publish_start(file, &item->wait);
		return;
	}
	if (node->lease == CL_LEASE_WRITE && cl_locks_keep_lease(c, node->ino))
		return;			/* the same */
	if (item->keep == CL_LEASE_NONE && node->has_pages && c->options.on_inval_pages)
		pages_ask(item);
	if (item->drop && !(file && file->edits))
		return;			/* pages_dropped() follows, or an edit */
	item_end(item);
}

void cl_lease_continue(struct client *c, struct cl_node *node)
{
	struct cl_recall *recall, *next;
	DL_FOREACH_SAFE(c->recalls, recall, next)
		for (uint32_t i = 0; i < recall->item_count; i++) {
			struct item *item = &recall->items[i];
			if (!item->is_ended && item->node == node &&
			    (item->is_begun || !node->is_recalling)) {
				item_step(item);
				return;
			}
		}
}

/* Whoever wants it shall not find it open here if it only was: this goes before any answer. */
static void recall_opens(struct client *c, const Wire__Recall *msg)
{
	for (size_t i = 0; i < msg->n_leases; i++) {
		const Wire__Lease *lease = msg->leases[i];
		const struct cl_node *node =
			lease->name_hash == 0 ? cl_node_find(c, lease->ino) : NULL;
		if (node && node->is_idle_open) {
			cl_opens_give_back(c);
			return;
		}
	}
}

void cl_lease_recall(struct client *c, struct rpc_request *req)
{
	const Wire__Recall *msg = (const void *)req->msg;
	struct cl_recall *recall =
		calloc(1, sizeof *recall + msg->n_leases * sizeof recall->items[0]);
	bool has_names = false;
	if (!recall) {
		rpc_answer(req, -E_NOMEM, NULL, NULL);
		return;
	}
	recall_opens(c, msg);
	c->turn.fn = turn_looked_at;
	recall->client = c;
	recall->req = req;
	recall->left = 1;	/* ours, until all have begun */
	DL_APPEND(c->recalls, recall);
	for (size_t i = 0; i < msg->n_leases; i++) {
		const Wire__Lease *lease = msg->leases[i];
		if (lease->name_hash != 0) {
			cl_node_name_drop_hash(c, lease->ino, lease->name_hash);
			cl_node_dir_recalled(c, lease->ino);
			has_names = true;
			continue;
		}
		struct cl_node *node = cl_node_find(c, lease->ino);
		if (!node || (node->lease == CL_LEASE_NONE && !node->is_recalling))
			continue;
		/* The kernel asks for the owner only with a name, and refuses by what it has. */
		has_names |= lease->owner;
		recall->items[recall->item_count++] = (struct item){
			.recall = recall, .node = node, .ino = node->ino,
			.keep = (enum cl_lease)lease->mode,
			.is_begun = !node->is_recalling && !turn_goes_on(node) };
		node->is_recalling |= recall->items[recall->item_count - 1].is_begun;
		recall->left++;
	}
	if (has_names && c->options.on_inval_names)
		c->options.on_inval_names(c->options.arg);
	for (uint32_t i = 0; i < recall->item_count; i++)
		item_step(&recall->items[i]);
	if (--recall->left == 0)
		recall_answer(recall);
}

/* --- returns ---------------------------------------------------------------------------------- */

#define RETURNS_MAX 1024u

struct cl_returns {
	struct rpc_call call;
	uint32_t count;
	Wire__Lease leases[RETURNS_MAX];
	Wire__Lease *lease_at[RETURNS_MAX];
};

static void returned(struct rpc_call *call)
{
	free(container_of(call, struct cl_returns, call));
}

void cl_lease_return_end(struct client *c, struct cl_returns **batch)
{
	struct cl_returns *returns = *batch;
	Wire__LeaseReturn msg = WIRE__LEASE_RETURN__INIT;
	if (!returns)
		return;
	*batch = NULL;
	msg.leases = returns->lease_at;
	msg.n_leases = returns->count;
	returns->call = (struct rpc_call){ .type = MSG_LEASE_RETURN, .request = &msg.base,
					   .session = c->session.number, .deadline_ms = 5000,
					   .done = returned };
	c->session.return_count++;
	rpc_call(c->mds, &returns->call);
}

void cl_lease_return(struct client *c, struct cl_returns **batch, inode_no ino, uint64_t name_hash)
{
	if (c->session.number == 0)
		return;
	if (!*batch && (*batch = calloc(1, sizeof **batch)) == NULL)
		return;		/* a recall will ask for it */
	struct cl_returns *returns = *batch;
	Wire__Lease *lease = &returns->leases[returns->count];
	wire__lease__init(lease);
	lease->ino = ino;
	lease->name_hash = name_hash;
	returns->lease_at[returns->count++] = lease;
	if (returns->count == RETURNS_MAX)
		cl_lease_return_end(c, batch);
}

void cl_lease_finish(struct client *c)
{
	struct cl_recall *recall, *next;
	loop_timer_stop(c->options.loop, &c->turn);
	DL_FOREACH_SAFE(c->recalls, recall, next) {
		rpc_answer(recall->req, -E_SHUTDOWN, NULL, NULL);
		for (uint32_t i = 0; i < recall->item_count; i++) {
			struct item *item = &recall->items[i];
			if (item->is_flushing)
				cl_publish_cancel(item->node->file, &item->wait);
			drop_leave(item);
		}
		recall_free(recall);
	}
}
