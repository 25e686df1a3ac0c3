/* SPDX-License-Identifier: Apache-2.0 */
/* From folder to folder upwards, each asked at most twice. See cache_policy.h. */
#include "client/core/cache_policy.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "client/core/tiered.h"
#include "fs/base/log.h"

#define LOG_MODULE "policy"

#define DEPTH_MAX 64u

static void ask_step(struct cl_policy_ask *ask);

bool cl_policy_parse(const char *text, size_t len, enum cl_cache_policy *out)
{
	static const char *const words[] = { "normal", "pin", "never" };

	while (len > 0 && (text[len - 1] == '\0' || text[len - 1] == '\n'))
		len--;			/* setfattr and programs differ in how they end it */
	for (unsigned i = 0; i < ARRAY_COUNT(words); i++)
		if (strlen(words[i]) == len && memcmp(words[i], text, len) == 0) {
			*out = (enum cl_cache_policy)i;
			return true;
		}
	return false;
}

/* The next question, in a turn of its own, outside of what caused it. */
static void ask_submit(struct cl_policy_ask *ask)
{
	loop_timer_start(ask->client->options.loop, &ask->turn, 0);
}

static void ask_run(struct loop_timer *turn)
{
	struct cl_policy_ask *ask = container_of(turn, struct cl_policy_ask, turn);

	client_run(ask->client, &ask->op);
}

static void ask_up(struct cl_policy_ask *ask)
{
	const struct cl_node *node = cl_node_find(ask->client, ask->folder);

	ask->folder = node && ask->folder != INODE_ROOT ? node->parent_hint : 0;
	ask->depth++;
	ask_step(ask);
}

static void value_came(struct cl_op *op)
{
	struct cl_policy_ask *ask = op->user;
	enum cl_cache_policy policy;

	if (op->rc == 0 && cl_policy_parse(ask->value, op->out_len, &policy)) {
		ask->done(ask, 0, policy);
		return;
	}
	if (op->rc == 0 || op->rc == -E_RANGE)
		log_warn("folder inode %llu: " CACHE_POLICY_XATTR " is none of normal, pin, never",
			 (unsigned long long)ask->folder);
	else if (op->rc != -E_NODATA) {
		ask->done(ask, op->rc, CL_CACHE_NORMAL);
		return;
	}
	ask_up(ask);
}

static void attr_came(struct cl_op *op)
{
	struct cl_policy_ask *ask = op->user;

	if (op->rc < 0) {
		ask->done(ask, op->rc, CL_CACHE_NORMAL);
		return;
	}
	if (!op->attr.has_xattrs) {
		ask_up(ask);
		return;
	}
	ask->op = (struct cl_op){ .kind = CL_GETXATTR, .ino = ask->folder,
				  .name = CACHE_POLICY_XATTR, .out = ask->value,
				  .out_capacity = sizeof ask->value, .done = value_came,
				  .user = ask };
	ask_submit(ask);
}

static void ask_step(struct cl_policy_ask *ask)
{
	const struct cl_node *node;

	for (;; ask->depth++) {
		node = ask->folder ? cl_node_find(ask->client, ask->folder) : NULL;
		if (!ask->folder || ask->depth >= DEPTH_MAX) {
			ask->done(ask, 0, CL_CACHE_NORMAL);
			return;
		}
		if (!cl_node_is_fresh(ask->client, node) || node->attr.has_xattrs)
			break;
		ask->folder = ask->folder != INODE_ROOT ? node->parent_hint : 0;
	}
	ask->op = (struct cl_op){ .kind = CL_GETATTR, .ino = ask->folder, .done = attr_came,
				  .user = ask };
	ask_submit(ask);
}

void cl_policy_ask(struct client *c, inode_no ino, struct cl_policy_ask *ask)
{
	const struct cl_node *node = cl_node_find(c, ino);

	ask->client = c;
	ask->turn.fn = ask_run;
	ask->folder = node ? node->parent_hint : 0;
	ask->depth = 0;
	ask_step(ask);
}

void cl_policy_cancel(struct cl_policy_ask *ask)
{
	if (ask->client)
		loop_timer_stop(ask->client->options.loop, &ask->turn);
}

/* --- of files in use -------------------------------------------------------------------------- */

struct cl_policy_want {
	struct cl_policy_ask ask;
	inode_no ino;
	struct cl_policy_want *prev, *next;
};

static void want_free(struct client *c, struct cl_policy_want *want)
{
	DL_DELETE(c->policy_wants, want);
	cl_policy_cancel(&want->ask);
	free(want);
}

/* The file may be closed by now, or closed and opened again. */
static void want_done(struct cl_policy_ask *ask, int rc, enum cl_cache_policy policy)
{
	struct cl_policy_want *want = container_of(ask, struct cl_policy_want, ask);
	struct cl_node *node = cl_node_find(ask->client, want->ino);
	struct cl_file *file = node ? node->file : NULL;

	if (file && rc < 0) {
		file->is_policy_asked = false;	/* a later read asks again */
	} else if (file) {
		file->has_cache_policy = true;
		file->cache_policy = policy;
		cl_tiered_policy(file);
	}
	want_free(ask->client, want);
}

void cl_policy_want(struct cl_file *file)
{
	struct cl_policy_want *want;

	if (file->is_policy_asked)
		return;
	want = calloc(1, sizeof *want);
	if (!want)
		return;			/* a later read asks again */
	file->is_policy_asked = true;
	want->ask.done = want_done;
	want->ino = file->node->ino;
	DL_APPEND(file->client->policy_wants, want);
	cl_policy_ask(file->client, want->ino, &want->ask);
}

void cl_policy_finish(struct client *c)
{
	while (c->policy_wants)
		want_free(c, c->policy_wants);
}
