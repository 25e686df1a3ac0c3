/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looking up the shards of a model, one after the other, those behind the one that is read first.
 * A few models at a time (I11): one more than that is not followed.
 */
#include "client/core/siblings.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "client/core/fill.h"
#include "client/core/shards.h"
#include "client/core/tiered.h"
#include "fs/base/text.h"

#define FOLLOWED_MAX 8u

struct cl_siblings {
	struct cl_op op;
	struct client *client;
	inode_no parent;
	char name[NAME_BYTES_MAX + 1], wanted[NAME_BYTES_MAX + 1];
	struct shard_name shard;
	uint32_t asked;			/* shards so far, itself not counted */
	struct loop_timer turn;
	struct cl_siblings *prev, *next;
};

static void ask_next(struct cl_siblings *s);

static void siblings_end(struct cl_siblings *s)
{
	DL_DELETE(s->client->siblings, s);
	free(s);
}

static void looked_up(struct cl_op *op)
{
	struct cl_siblings *s = container_of(op, struct cl_siblings, op);
	struct client *c = s->client;
	int rc = op->rc;
	if (rc == 0) {
		const struct cl_node *node = cl_node_find(c, op->attr.st.st_ino);
		const struct root *root = cl_tiered_root(c, node);
		if (root)
			rc = cl_fill_start(c, root, CL_FILL_SIBLING, NULL);
		cl_node_forget(c, op->attr.st.st_ino, 1);	/* not the kernel's lookup */
	}
	bool goes_on = rc >= 0 || rc == -E_NOENT;
	if (goes_on && c->life == CL_RUNNING)
		ask_next(s);
	else
		siblings_end(s);
}

/* The next lookup, in a turn of its own. Numbers begin with 0 or 1: both are tried. */
static void ask_next(struct cl_siblings *s)
{
	uint32_t numbers = s->shard.count + 1;
	if (++s->asked < numbers &&
	    shard_sibling(s->name, &s->shard, (s->shard.index + s->asked) % numbers, s->wanted,
			  sizeof s->wanted))
		loop_timer_start(s->client->options.loop, &s->turn, 0);
	else
		siblings_end(s);
}

static void ask(struct loop_timer *turn)
{
	struct cl_siblings *s = container_of(turn, struct cl_siblings, turn);
	s->op = (struct cl_op){ .kind = CL_LOOKUP, .parent = s->parent, .name = s->wanted,
				.done = looked_up };
	client_run(s->client, &s->op);
}

static bool is_followed(const struct client *c, inode_no parent, const char *name)
{
	const struct cl_siblings *s;
	uint32_t count = 0;
	DL_FOREACH(c->siblings, s) {
		if (s->parent == parent && strncmp(s->name, name, s->shard.stem_len) == 0)
			return true;
		count++;
	}
	return count >= FOLLOWED_MAX;
}

void cl_siblings_follow(struct client *c, const struct cl_node *node)
{
	struct shard_name shard;
	if (!node->name_hint || !shard_parse(node->name_hint, &shard) || c->life != CL_RUNNING ||
	    is_followed(c, node->parent_hint, node->name_hint))
		return;
	struct cl_siblings *s = calloc(1, sizeof *s);
	if (!s)
		return;
	s->client = c;
	s->parent = node->parent_hint;
	s->shard = shard;
	s->turn.fn = ask;
	(void)text_copy(s->name, sizeof s->name, node->name_hint);
	DL_APPEND(c->siblings, s);
	ask_next(s);
}

void cl_siblings_finish(struct client *c)
{
	while (c->siblings) {
		loop_timer_stop(c->options.loop, &c->siblings->turn);
		siblings_end(c->siblings);
	}
}
