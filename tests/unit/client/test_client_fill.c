/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tiers of a client over a whole cluster: what readers touch fills and is sealed, what is written
 * is warm, and what readers see is the content, whatever a tier does.
 */
#include <signal.h>
#include <stdlib.h>

#include "tests/client_tiers.h"

#define MODEL_BYTES (MiB(9) + 12345)

static struct cluster w;
static uint8_t *model;

static void begin(void)
{
	signal(SIGPIPE, SIG_IGN);
	cluster_start(&w, 3000);
	model = malloc(MODEL_BYTES);
	file_pattern(model, MODEL_BYTES, 3);
}

static void end(void)
{
	cluster_finish(&w);
	free(model);
}

/* The inode's content comes to be sealed in a tier: the bytes that the kernel would read. */
static void expect_tiered(struct client *c, inode_no ino, const uint8_t *bytes, uint64_t len)
{
	struct tier_file *f = tiers_await(&w, c, ino);
	int fd = -1;
	uint8_t *seen = malloc(len);
	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(tier_state(f), TIER_SEALED);
	ck_assert_int_eq(tier_open_fd(f, &fd), 0);
	ck_assert_int_eq(pread(fd, seen, len, 0), (ssize_t)len);
	ck_assert_mem_eq(seen, bytes, len);
	close(fd);
	free(seen);
	tier_put(f);
}

START_TEST(what_a_reader_touches_fills_and_serves)
{
	begin();
	struct client *writer = cluster_client(&w);
	inode_no ino = tiers_write_file(&w, writer, "model", model, MODEL_BYTES);
	struct tiers *t = tiers_make(&w, "tier", MiB(64));
	struct client *c = cluster_client(&w);
	struct cl_handle *h = file_open(&w, c, "model", O_RDONLY);
	tiers_expect(&w, c, h, model, MiB(1));
	ck_assert_ptr_null(client_tier_find(c, ino));
	cluster_run_for(&w, 50);
	ck_assert_uint_eq(tiers_stats(c).fills_begun, 0);	/* a header is no touch */
	tiers_expect(&w, c, h, model, MODEL_BYTES);
	expect_tiered(c, ino, model, MODEL_BYTES);
	struct cl_stats before = tiers_stats(c);
	tiers_expect(&w, c, h, model, MODEL_BYTES);
	struct cl_stats after = tiers_stats(c);
	ck_assert_uint_eq(after.tier_reads - before.tier_reads, 10);
	ck_assert_uint_eq(after.blocks_got, before.blocks_got);
	ck_assert_uint_eq(after.fills_sealed, 1);
	/* one fetch of each block and of the node, whoever wanted it, and the node asked ahead */
	ck_assert_uint_le(after.blocks_got, tiers_stats(writer).blocks_put + 5);
	ck_assert_int_eq(file_close(&w, c, h), 0);
	cluster_client_stop(&w, c);
	tiers_end(&w, t);
	cluster_client_stop(&w, writer);
	end();
}
END_TEST

START_TEST(what_is_written_is_warm_without_reading_it_back)
{
	begin();
	struct tiers *t = tiers_make(&w, "tier", MiB(64));
	struct client *c = cluster_client(&w);
	inode_no ino = tiers_write_file(&w, c, "model", model, MODEL_BYTES);
	expect_tiered(c, ino, model, MODEL_BYTES);
	ck_assert_uint_eq(tiers_stats(c).blocks_got, 0);
	ck_assert_uint_eq(tiers_stats(c).drafts_adopted, 1);
	cluster_client_stop(&w, c);
	tiers_end(&w, t);
	end();
}
END_TEST

START_TEST(rewrites_of_a_draft_do_no_harm)
{
	static uint8_t bytes[KiB(100)];
	uint64_t x = 11;
	begin();
	struct tiers *t = tiers_make(&w, "tier", MiB(64));
	struct client *c = cluster_client(&w);
	struct cl_handle *h = file_create(&w, c, "model");
	for (uint64_t at = 0; at < MODEL_BYTES; at += MiB(1))
		ck_assert_int_eq(file_write(&w, c, h, at, model + at,
					    (uint32_t)MIN_OF(MiB(1), MODEL_BYTES - at)), 0);
	for (unsigned i = 0; i < 60; i++) {
		x = x * UINT64_C(6364136223846793005) + 1442695040888963407u;
		/* in less than half of it: the rest is worth a draft */
		uint64_t at = (x >> 20) % (MiB(4) - sizeof bytes);
		uint32_t len = 1 + (uint32_t)((x >> 45) % sizeof bytes);
		file_pattern(bytes, len, x);
		memcpy(model + at, bytes, len);
		ck_assert_int_eq(file_write(&w, c, h, at, bytes, len), 0);
		struct cl_op sync = { .kind = CL_FSYNC, .handle = h };
		if (i % 7 == 0)
			ck_assert_int_eq(cluster_op(&w, c, &sync), 0);
	}
	ck_assert_int_eq(file_close(&w, c, h), 0);
	expect_tiered(c, file_lookup(&w, c, "model"), model, MODEL_BYTES);
	cluster_client_stop(&w, c);
	tiers_end(&w, t);
	end();
}
END_TEST

START_TEST(a_reader_never_sees_what_another_node_replaced)
{
	begin();
	struct client *writer = cluster_client(&w);
	inode_no ino = tiers_write_file(&w, writer, "model", model, MODEL_BYTES);
	struct tiers *t = tiers_make(&w, "tier", MiB(64));
	struct client *c = cluster_client(&w);
	for (unsigned version = 0; version < 3; version++) {
		struct cl_handle *h = file_open(&w, c, "model", O_RDONLY);
		tiers_expect(&w, c, h, model, MODEL_BYTES);
		expect_tiered(c, ino, model, MODEL_BYTES);
		ck_assert_int_eq(file_close(&w, c, h), 0);
		struct cl_handle *writing = file_open(&w, writer, "model", O_WRONLY);
		model[MiB(5) + version] ^= 1;
		ck_assert_int_eq(file_write(&w, writer, writing, MiB(5), model + MiB(5), 4096), 0);
		ck_assert_int_eq(file_close(&w, writer, writing), 0);
		h = file_open(&w, c, "model", O_RDONLY);
		tiers_expect(&w, c, h, model, MiB(6));
		ck_assert_int_eq(file_close(&w, c, h), 0);
	}
	cluster_client_stop(&w, c);
	tiers_end(&w, t);
	cluster_client_stop(&w, writer);
	end();
}
END_TEST

static void warm_done(struct cl_fill_wait *wait, int rc)
{
	*(int *)wait->arg = rc;
}

START_TEST(a_tier_that_is_too_small_says_so_and_readers_go_on)
{
	int rc = 1;
	begin();
	struct client *writer = cluster_client(&w);
	inode_no ino = tiers_write_file(&w, writer, "model", model, MODEL_BYTES);
	struct tiers *t = tiers_make(&w, "tier", MiB(4));
	struct client *c = cluster_client(&w);
	struct cl_handle *h = file_open(&w, c, "model", O_RDONLY);
	tiers_expect(&w, c, h, model, MODEL_BYTES);
	tiers_expect(&w, c, h, model, MODEL_BYTES);
	struct cl_op map = { .kind = CL_GETATTR, .ino = ino };
	ck_assert_int_eq(cluster_op(&w, c, &map), 0);
	struct cl_fill_wait wait = { .done = warm_done, .arg = &rc };
	ck_assert_int_eq(cl_fill_start(c, &map.attr.root, CL_FILL_WARM, &wait), 0);
	while (rc == 1)
		cluster_run_for(&w, 10);
	ck_assert_int_eq(rc, -E_NOSPC);
	ck_assert_int_eq(file_close(&w, c, h), 0);
	cluster_client_stop(&w, c);
	tiers_end(&w, t);
	cluster_client_stop(&w, writer);
	end();
}
END_TEST

START_TEST(siblings_of_a_shard_follow)
{
	char name[64];
	inode_no inos[4];
	begin();
	struct client *writer = cluster_client(&w);
	for (unsigned i = 0; i < 4; i++) {
		snprintf(name, sizeof name, "model-%05u-of-00004.safetensors", i + 1);
		model[0] = (uint8_t)i;
		inos[i] = tiers_write_file(&w, writer, name, model, MiB(3));
	}
	struct tiers *t = tiers_make(&w, "tier", MiB(64));
	struct client *c = cluster_client(&w);
	struct cl_handle *h = file_open(&w, c, "model-00003-of-00004.safetensors", O_RDONLY);
	model[0] = 2;
	tiers_expect(&w, c, h, model, MiB(3));
	for (unsigned i = 0; i < 4; i++) {
		model[0] = (uint8_t)i;
		expect_tiered(c, inos[i], model, MiB(3));
	}
	ck_assert_int_eq(file_close(&w, c, h), 0);
	cluster_client_stop(&w, c);
	tiers_end(&w, t);
	cluster_client_stop(&w, writer);
	end();
}
END_TEST

START_TEST(a_client_that_dies_amid_a_fill_leaves_nothing_behind)
{
	begin();
	struct client *writer = cluster_client(&w);
	(void)tiers_write_file(&w, writer, "model", model, MODEL_BYTES);
	for (unsigned i = 0; i < 4; i++) {
		struct tiers *t = tiers_make(&w, "tier", MiB(64));
		struct client *c = cluster_client(&w);
		struct cl_handle *h = file_open(&w, c, "model", O_RDONLY);
		tiers_expect(&w, c, h, model, MiB(3));
		cluster_run_for(&w, i);
		client_destroy(c);
		tiers_end(&w, t);
	}
	cluster_client_stop(&w, writer);
	end();
}
END_TEST

static struct client *stopping;

static void stop_fired(struct loop_timer *timer)
{
	(void)timer;
	client_stop(stopping, cluster_stopped, &w);
}

/* Before the fill has its turn to end. */
static void stop_at_seal(void *arg, const struct root *root)
{
	static struct loop_timer timer = { .fn = stop_fired };
	(void)root;
	loop_timer_start(((struct cluster *)arg)->loop, &timer, 0);
}

START_TEST(a_stop_just_after_a_seal_is_a_stop)
{
	begin();
	struct client *writer = cluster_client(&w);
	(void)tiers_write_file(&w, writer, "model", model, MODEL_BYTES);
	tiers_on_sealed = stop_at_seal;
	struct tiers *t = tiers_make(&w, "tier", MiB(64));
	tiers_on_sealed = NULL;
	struct client *c = stopping = cluster_client(&w);
	struct cl_handle *h = file_open(&w, c, "model", O_RDONLY);
	tiers_expect(&w, c, h, model, MODEL_BYTES);
	ck_assert_int_eq(file_close(&w, c, h), 0);
	cluster_rc = 1;
	loop_uv_run(w.loop);
	ck_assert_int_eq(cluster_rc, 0);
	client_destroy(c);
	tiers_end(&w, t);
	cluster_client_stop(&w, writer);
	end();
}
END_TEST

TEST_MAIN("client_fill", tcase_set_timeout(tc, 60);
	  tcase_add_test(tc, what_a_reader_touches_fills_and_serves);
	  tcase_add_test(tc, what_is_written_is_warm_without_reading_it_back);
	  tcase_add_test(tc, rewrites_of_a_draft_do_no_harm);
	  tcase_add_test(tc, a_reader_never_sees_what_another_node_replaced);
	  tcase_add_test(tc, a_tier_that_is_too_small_says_so_and_readers_go_on);
	  tcase_add_test(tc, siblings_of_a_shard_follow);
	  tcase_add_test(tc, a_stop_just_after_a_seal_is_a_stop);
	  tcase_add_test(tc, a_client_that_dies_amid_a_fill_leaves_nothing_behind))
