/* SPDX-License-Identifier: Apache-2.0 */
/* Room in a quota, as a client asks for it and gives it back: who has room is not refused. */
#include <unistd.h>

#include "client/core/core.h"
#include "client/core/quota.h"
#include "tests/client_cluster.h"

#define IDLE_US 1010000u /* a little more than after which room goes back */

struct question {
	struct rpc_call call;
	struct loop *loop;
};

static void told(struct rpc_call *call)
{
	loop_uv_stop(container_of(call, struct question, call)->loop);
}

/* The root gets a quota of so many bytes, as by a tool. */
static void set_quota(struct cluster *w, uint64_t bytes)
{
	struct rpc_options options = { .loop = w->loop, .net = w->net, .pool = w->pool,
				       .role = RPC_TOOL, .name = "quota", .boot_id = 1 };
	Wire__QuotaSet ask = WIRE__QUOTA_SET__INIT;
	struct question question = {
		.call = { .type = MSG_QUOTA_SET, .request = &ask.base, .deadline_ms = 10000,
			  .done = told },
		.loop = w->loop,
	};
	struct rpc *rpc;
	struct rpc_peer *mds;
	ask.ino = INODE_ROOT;
	ask.mask = 1;
	ask.bytes = bytes;
	ck_assert_int_eq(rpc_create(&options, &rpc), 0);
	ck_assert_int_eq(rpc_peer_create(rpc, w->mds_address, &mds), 0);
	rpc_call(mds, &question.call);
	loop_uv_run(w->loop);
	ck_assert_int_eq(question.call.rc, 0);
	rpc_peer_destroy(mds);
	rpc_destroy(rpc);
}

/* The sweep asks to have nothing: who writes meanwhile waits, and then asks for himself. */
START_TEST(a_write_while_room_goes_back_is_not_refused)
{
	struct cluster w;
	cluster_start(&w, 2000);
	set_quota(&w, GiB(1));
	struct client *c = cluster_client(&w);
	struct cl_handle *h = file_create(&w, c, "file");
	ck_assert_int_eq(file_write(&w, c, h, 0, "some room", 9), 0);
	ck_assert_int_eq(file_close(&w, c, h), 0);
	h = file_create(&w, c, "another");
	usleep(IDLE_US);
	cl_quota_sweep(c);
	cl_quota_lost(c);
	ck_assert_int_eq(file_write(&w, c, h, 0, "more", 4), 0);
	ck_assert_int_eq(file_close(&w, c, h), 0);
	cluster_client_stop(&w, c);
	cluster_finish(&w);
}
END_TEST

START_TEST(what_does_not_fit_is_refused)
{
	struct cluster w;
	cluster_start(&w, 2000);
	set_quota(&w, 20);
	struct client *c = cluster_client(&w);
	struct cl_handle *h = file_create(&w, c, "file");
	ck_assert_int_eq(file_write(&w, c, h, 0, "ten bytes.", 10), 0);
	ck_assert_int_eq(file_write(&w, c, h, 10, "eleven more", 11), -E_DQUOT);
	ck_assert_int_eq(file_write(&w, c, h, 10, "ten bytes.", 10), 0);
	ck_assert_int_eq(file_close(&w, c, h), 0);
	cluster_client_stop(&w, c);
	cluster_finish(&w);
}
END_TEST

TEST_MAIN("client_quota",
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, a_write_while_room_goes_back_is_not_refused);
	tcase_add_test(tc, what_does_not_fit_is_refused);
)
