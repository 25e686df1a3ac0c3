/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests to a mount: whatever the text, it is answered with JSON that fits, or refused, or waits
 * for the metadata server, which is not there. One inode is known, and there is one tier, empty.
 */
#include "client/core/control.h"

#include <jansson.h>
#include <string.h>

#include "client/core/core.h"
#include "client/core/file.h"
#include "client/tier/tier.h"
#include "tests/fuzz/fuzz.h"

static struct loop *loop;
static struct buf_pool *pool;
static struct net *net;
static char answer[CONTROL_TEXT_BYTES];

static void environment_make(void)
{
	if (loop)
		return;
	int rc = loop_uv_create(1, &loop);
	ASSERT(rc == 0);
	pool = buf_pool_create(MiB(16));
	ASSERT(pool);
	rc = net_uv_create(loop, pool, "tcp", &net);
	ASSERT(rc == 0);
}

static struct client *client_make(struct tiers *tiers)
{
	struct cl_options options = { .loop = loop, .net = net, .pool = pool, .tiers = tiers,
				      .mds_address = "127.0.0.1:1", .timeout_ms = 1000,
				      .tier_min_bytes = 1 };
	struct client *c;
	int rc = client_create(&options, &c);

	ASSERT(rc == 0);
	c->life = CL_RUNNING;
	c->session.number = 1;
	c->session.valid_ns = UINT64_MAX;
	return c;
}

static void node_make(struct client *c)
{
	struct cl_node *node = cl_node_get(c, 2);

	ASSERT(node);
	node->has_attr = true;
	node->lease = CL_LEASE_READ;
	node->attr.st.st_ino = 2;
	node->attr.st.st_mode = S_IFREG | 0644;
	node->attr.st.st_uid = 1;
	node->attr.st.st_nlink = 1;
	node->attr.st.st_size = MiB(2);
	node->attr.root = (struct root){ .kind = ROOT_NODE, .length = MiB(2), .depth = 1 };
}

static void done(struct cl_op *op)
{
	if (op->rc != 0)
		return;
	json_t *reply = json_loadb(answer, op->out_len, 0, NULL);
	ASSERT(op->out_len < sizeof answer && json_is_object(reply));
	json_decref(reply);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* The first byte says who asks. */
	struct cl_op op = { .kind = CL_CONTROL, .uid = size ? data[0] % 3 : 0,
			    .bytes = size ? data + 1 : data,
			    .bytes_len = size ? (uint32_t)size - 1 : 0, .out = answer,
			    .out_capacity = sizeof answer - 1, .done = done };
	struct tier_place place = { .directory = "/nonexistent/tier", .bytes_max = MiB(64) };
	struct tiers_options options = { .places = &place, .place_count = 1 };
	struct tiers *tiers;

	if (size > CONTROL_TEXT_BYTES)
		return 0;
	environment_make();
	options.loop = loop;
	int rc = tiers_create(&options, &tiers);
	ASSERT(rc == 0);
	struct client *c = client_make(tiers);
	node_make(c);
	client_run(c, &op);
	client_destroy(c);
	ASSERT(op.is_finished);
	tiers_destroy(tiers);
	return 0;
}
