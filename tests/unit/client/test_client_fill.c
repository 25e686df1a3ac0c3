/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tiers of a client over a whole cluster: what readers touch fills and is sealed, what is written
 * is warm, and what readers see is the content, whatever a tier does.
 */
#include "tests/client_model.h"

#define MODEL_BYTES (MiB(9) + 12345)

/* Who reads, and fills a tier; and who has written what he reads, and has none. */
static struct client *reader, *writer;
static struct tiers *tier;

static void setup(void)
{
	model_begin(MODEL_BYTES);
	writer = cluster_client(&w);
}

static void teardown(void)
{
	cluster_client_stop(&w, writer);
	model_end();
}

static void reader_begin(uint64_t tier_bytes)
{
	tier = tiers_make(&w, "tier", tier_bytes);
	reader = cluster_client(&w);
}

static void reader_end(void)
{
	cluster_client_stop(&w, reader);
	tiers_end(&w, tier);
}

static inode_no model_write(struct client *c)
{
	return tiers_write_file(&w, c, "model", model, MODEL_BYTES);
}

/* The inode's content comes to be sealed in a tier: the bytes that the kernel would read. */
static void expect_tiered(inode_no ino, const uint8_t *bytes, uint64_t len)
{
	struct tier_file *f = tiers_await(&w, reader, ino);
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
	inode_no ino = model_write(writer);
	reader_begin(MiB(64));
	struct cl_handle *h = file_open(&w, reader, "model", O_RDONLY);
	tiers_expect(&w, reader, h, model, MiB(1));
	ck_assert_ptr_null(client_tier_find(reader, ino));
	cluster_run_for(&w, 50);
	ck_assert_uint_eq(tiers_stats(reader).fills_begun, 0);	/* a header is no touch */
	tiers_expect(&w, reader, h, model, MODEL_BYTES);
	expect_tiered(ino, model, MODEL_BYTES);
	struct cl_stats before = tiers_stats(reader);
	tiers_expect(&w, reader, h, model, MODEL_BYTES);
	struct cl_stats after = tiers_stats(reader);
	ck_assert_uint_eq(after.tier_reads - before.tier_reads, 10);
	ck_assert_uint_eq(after.blocks_got, before.blocks_got);
	ck_assert_uint_eq(after.fills_sealed, 1);
	/* one fetch of each block and of the node, whoever wanted it, and the node asked ahead */
	ck_assert_uint_le(after.blocks_got, tiers_stats(writer).blocks_put + 5);
	ck_assert_int_eq(file_close(&w, reader, h), 0);
	reader_end();
}
END_TEST

START_TEST(what_is_written_is_warm_without_reading_it_back)
{
	reader_begin(MiB(64));
	inode_no ino = model_write(reader);
	expect_tiered(ino, model, MODEL_BYTES);
	ck_assert_uint_eq(tiers_stats(reader).blocks_got, 0);
	ck_assert_uint_eq(tiers_stats(reader).drafts_adopted, 1);
	reader_end();
}
END_TEST

START_TEST(rewrites_of_a_draft_do_no_harm)
{
	static uint8_t bytes[KiB(100)];
	uint64_t x = 11;
	reader_begin(MiB(64));
	struct cl_handle *h = file_create(&w, reader, "model");
	for (uint64_t at = 0; at < MODEL_BYTES; at += MiB(1))
		ck_assert_int_eq(file_write(&w, reader, h, at, model + at,
					    (uint32_t)MIN_OF(MiB(1), MODEL_BYTES - at)), 0);
	for (unsigned i = 0; i < 60; i++) {
		x = x * UINT64_C(6364136223846793005) + 1442695040888963407u;
		/* in less than half of it: the rest is worth a draft */
		uint64_t at = (x >> 20) % (MiB(4) - sizeof bytes);
		uint32_t len = 1 + (uint32_t)((x >> 45) % sizeof bytes);
		file_pattern(bytes, len, x);
		memcpy(model + at, bytes, len);
		ck_assert_int_eq(file_write(&w, reader, h, at, bytes, len), 0);
		struct cl_op sync = { .kind = CL_FSYNC, .handle = h };
		if (i % 7 == 0)
			ck_assert_int_eq(cluster_op(&w, reader, &sync), 0);
	}
	ck_assert_int_eq(file_close(&w, reader, h), 0);
	expect_tiered(file_lookup(&w, reader, "model"), model, MODEL_BYTES);
	reader_end();
}
END_TEST

START_TEST(a_reader_never_sees_what_another_node_replaced)
{
	inode_no ino = model_write(writer);
	reader_begin(MiB(64));
	for (unsigned version = 0; version < 3; version++) {
		struct cl_handle *h = file_open(&w, reader, "model", O_RDONLY);
		tiers_expect(&w, reader, h, model, MODEL_BYTES);
		expect_tiered(ino, model, MODEL_BYTES);
		ck_assert_int_eq(file_close(&w, reader, h), 0);
		struct cl_handle *writing = file_open(&w, writer, "model", O_WRONLY);
		model[MiB(5) + version] ^= 1;
		ck_assert_int_eq(file_write(&w, writer, writing, MiB(5), model + MiB(5), 4096), 0);
		ck_assert_int_eq(file_close(&w, writer, writing), 0);
		h = file_open(&w, reader, "model", O_RDONLY);
		tiers_expect(&w, reader, h, model, MiB(6));
		ck_assert_int_eq(file_close(&w, reader, h), 0);
	}
	reader_end();
}
END_TEST

static void warm_done(struct cl_fill_wait *wait, int rc)
{
	*(int *)wait->arg = rc;
}

START_TEST(a_tier_that_is_too_small_says_so_and_readers_go_on)
{
	int rc = 1;
	inode_no ino = model_write(writer);
	reader_begin(MiB(4));
	struct cl_handle *h = file_open(&w, reader, "model", O_RDONLY);
	tiers_expect(&w, reader, h, model, MODEL_BYTES);
	tiers_expect(&w, reader, h, model, MODEL_BYTES);
	struct cl_op map = { .kind = CL_GETATTR, .ino = ino };
	ck_assert_int_eq(cluster_op(&w, reader, &map), 0);
	struct cl_fill_wait wait = { .done = warm_done, .arg = &rc };
	ck_assert_int_eq(cl_fill_start(reader, &map.attr.root, CL_FILL_WARM, &wait), 0);
	while (rc == 1)
		cluster_run_for(&w, 10);
	ck_assert_int_eq(rc, -E_NOSPC);
	ck_assert_int_eq(file_close(&w, reader, h), 0);
	reader_end();
}
END_TEST

START_TEST(siblings_of_a_shard_follow)
{
	char name[64];
	inode_no inos[4];
	for (unsigned i = 0; i < 4; i++) {
		snprintf(name, sizeof name, "model-%05u-of-00004.safetensors", i + 1);
		model[0] = (uint8_t)i;
		inos[i] = tiers_write_file(&w, writer, name, model, MiB(3));
	}
	reader_begin(MiB(64));
	struct cl_handle *h = file_open(&w, reader, "model-00003-of-00004.safetensors", O_RDONLY);
	model[0] = 2;
	tiers_expect(&w, reader, h, model, MiB(3));
	for (unsigned i = 0; i < 4; i++) {
		model[0] = (uint8_t)i;
		expect_tiered(inos[i], model, MiB(3));
	}
	ck_assert_int_eq(file_close(&w, reader, h), 0);
	reader_end();
}
END_TEST

START_TEST(a_client_that_dies_amid_a_fill_leaves_nothing_behind)
{
	(void)model_write(writer);
	for (unsigned i = 0; i < 4; i++) {
		reader_begin(MiB(64));
		struct cl_handle *h = file_open(&w, reader, "model", O_RDONLY);
		tiers_expect(&w, reader, h, model, MiB(3));
		cluster_run_for(&w, i);
		client_destroy(reader);
		tiers_end(&w, tier);
	}
}
END_TEST

static void stop_fired(struct loop_timer *timer)
{
	(void)timer;
	client_stop(reader, cluster_stopped, &w);
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
	(void)model_write(writer);
	tiers_on_sealed = stop_at_seal;
	reader_begin(MiB(64));
	tiers_on_sealed = NULL;
	struct cl_handle *h = file_open(&w, reader, "model", O_RDONLY);
	tiers_expect(&w, reader, h, model, MODEL_BYTES);
	ck_assert_int_eq(file_close(&w, reader, h), 0);
	cluster_rc = 1;
	loop_uv_run(w.loop);
	ck_assert_int_eq(cluster_rc, 0);
	client_destroy(reader);
	tiers_end(&w, tier);
}
END_TEST

TEST_MAIN("client_fill", tcase_set_timeout(tc, 60);
	  tcase_add_checked_fixture(tc, setup, teardown);
	  tcase_add_test(tc, what_a_reader_touches_fills_and_serves);
	  tcase_add_test(tc, what_is_written_is_warm_without_reading_it_back);
	  tcase_add_test(tc, rewrites_of_a_draft_do_no_harm);
	  tcase_add_test(tc, a_reader_never_sees_what_another_node_replaced);
	  tcase_add_test(tc, a_tier_that_is_too_small_says_so_and_readers_go_on);
	  tcase_add_test(tc, siblings_of_a_shard_follow);
	  tcase_add_test(tc, a_stop_just_after_a_seal_is_a_stop);
	  tcase_add_test(tc, a_client_that_dies_amid_a_fill_leaves_nothing_behind))
