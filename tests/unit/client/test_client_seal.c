/* SPDX-License-Identifier: Apache-2.0 */
/* Files that are cut by content behind their writers: bytes and times stay, writers go first. */
#include <dirent.h>

#include "client/core/seal.h"
#include "fs/tree/cut.h"
#include "tests/client_model.h"

#define MODEL_BYTES (MiB(5) + 12345)

static void setup(void)
{
	model_begin(MODEL_BYTES);
}

/* From its end to its begin, so that it lies on the grid. */
static inode_no write_on_grid(struct client *c, const char *name)
{
	struct cl_handle *h = file_create(&w, c, name);

	for (uint64_t i = DIV_CEIL(MODEL_BYTES, MiB(1)); i > 0; i--) {
		uint64_t at = (i - 1) * MiB(1);
		ck_assert_int_eq(file_write(&w, c, h, at, model + at,
					    (uint32_t)MIN_OF(MiB(1), MODEL_BYTES - at)), 0);
	}
	ck_assert_int_eq(file_close(&w, c, h), 0);
	return file_lookup(&w, c, name);
}

static struct cl_seal_info await_seal(struct client *c, inode_no ino)
{
	struct cl_seal_info info;

	for (unsigned i = 0; i < 1000; i++) {
		cluster_run_for(&w, 10);
		cl_seal_info(c, ino, &info);
		if (info.state >= CL_SEAL_DONE)
			return info;
	}
	ck_abort_msg("it is not sealed in ten seconds");
}

static struct cl_attr attr_of(struct client *c, inode_no ino)
{
	struct cl_op op = { .kind = CL_GETATTR, .ino = ino };

	ck_assert_int_eq(cluster_op(&w, c, &op), 0);
	return op.attr;
}

static void expect(struct client *c, const char *name)
{
	struct cl_handle *h = file_open(&w, c, name, O_RDONLY);

	tiers_expect(&w, c, h, model, MODEL_BYTES);
	ck_assert_int_eq(file_close(&w, c, h), 0);
}

START_TEST(bytes_and_times_stay)
{
	struct client *c = cluster_client(&w), *other = cluster_client(&w);
	inode_no ino = write_on_grid(c, "model");
	struct cl_handle *open = file_open(&w, other, "model", O_RDONLY);
	tiers_expect(&w, other, open, model, MiB(1));
	struct cl_attr before = attr_of(c, ino);
	ck_assert_uint_eq(before.root.cutter, 0);
	ck_assert_int_eq(cl_seal_ask(c, ino), 0);
	struct cl_seal_info info = await_seal(c, ino);
	ck_assert_int_eq(info.rc, 0);
	ck_assert_uint_eq(info.done_bytes, MODEL_BYTES);
	ck_assert_uint_eq(info.blocks_before, DIV_CEIL(MODEL_BYTES, BLOCK_BYTES_MAX));
	struct cl_attr after = attr_of(other, ino);
	ck_assert_uint_eq(after.root.cutter, CUT_VERSION);
	ck_assert(root_equal(&after.recut_of, &before.root));
	ck_assert_uint_eq(after.version, before.version + 1);
	ck_assert_mem_eq(&after.st.st_mtim, &before.st.st_mtim, sizeof after.st.st_mtim);
	ck_assert_mem_eq(&after.st.st_ctim, &before.st.st_ctim, sizeof after.st.st_ctim);
	tiers_expect(&w, other, open, model, MODEL_BYTES);	/* opened before */
	ck_assert_int_eq(file_close(&w, other, open), 0);
	expect(c, "model");
	cluster_client_stop(&w, other);
	cluster_client_stop(&w, c);
}
END_TEST

START_TEST(a_writer_here_is_given_way)
{
	struct client *c = cluster_client(&w);
	inode_no ino = write_on_grid(c, "model");
	struct cl_handle *h = file_open(&w, c, "model", O_RDWR);
	ck_assert_int_eq(cl_seal_ask(c, ino), 0);
	struct cl_seal_info info = await_seal(c, ino);
	ck_assert_int_eq(info.state, CL_SEAL_FAILED);
	ck_assert_int_eq(info.rc, -E_BUSY);
	ck_assert_int_eq(file_close(&w, c, h), 0);
	ck_assert_int_eq(cl_seal_ask(c, ino), 0);
	ck_assert_int_eq(await_seal(c, ino).rc, 0);
	cluster_client_stop(&w, c);
}
END_TEST

/* A write that comes at some moment of a seal is there at the end, and so is all else. */
START_TEST(a_write_in_the_middle_is_not_lost)
{
	struct client *c = cluster_client(&w), *other = cluster_client(&w);
	inode_no ino = write_on_grid(c, "model");
	struct cl_handle *h;
	ck_assert_int_eq(cl_seal_ask(c, ino), 0);
	if (_i > 0)
		cluster_run_for(&w, (uint64_t)_i * 15);
	h = file_open(&w, c, "model", O_RDWR);
	memset(model + 70000, _i, 9);
	ck_assert_int_eq(file_write(&w, c, h, 70000, model + 70000, 9), 0);
	ck_assert_int_eq(file_close(&w, c, h), 0);
	expect(other, "model");
	(void)await_seal(c, ino);
	ck_assert_int_eq(cl_seal_ask(c, ino), 0);
	ck_assert_int_eq(await_seal(c, ino).rc, 0);
	expect(other, "model");
	cluster_client_stop(&w, other);
	cluster_client_stop(&w, c);
}
END_TEST

START_TEST(a_client_may_end_at_any_moment)
{
	struct client *c = cluster_client(&w), *other;
	inode_no ino = write_on_grid(c, "model");
	ck_assert_int_eq(cl_seal_ask(c, ino), 0);
	if (_i > 0)
		cluster_run_for(&w, (uint64_t)_i * 20);
	cluster_client_stop(&w, c);
	other = cluster_client(&w);
	expect(other, "model");
	cluster_client_stop(&w, other);
}
END_TEST

START_TEST(a_client_may_end_while_it_asks)
{
	struct client *c = cluster_client(&w), *other = cluster_client(&w);
	inode_no ino = write_on_grid(c, "model");
	ck_assert_int_eq(cl_seal_ask(other, ino), 0);	/* which knows nothing of it */
	cluster_run_for(&w, (uint64_t)_i);
	cluster_client_stop(&w, other);
	expect(c, "model");
	cluster_client_stop(&w, c);
}
END_TEST

/* Flip a byte of the one sealed file in that tier, behind its back. */
static void spoil_tier(const char *name)
{
	char path[1024];
	struct dirent *entry;
	snprintf(path, sizeof path, "%s/sealed", scratch_path(&w.scratch, name));
	DIR *dir = opendir(path);
	ck_assert_ptr_nonnull(dir);
	while ((entry = readdir(dir)) != NULL && entry->d_name[0] == '.')
		;
	ck_assert_ptr_nonnull(entry);
	int fd = openat(dirfd(dir), entry->d_name, O_RDWR);
	uint8_t byte = (uint8_t)(model[MiB(2)] ^ 1);
	ck_assert_int_eq(pwrite(fd, &byte, 1, MiB(2)), 1);
	close(fd);
	closedir(dir);
}

START_TEST(a_tier_that_rots_does_not_become_content)
{
	struct tiers *t = tiers_make(&w, "tier", MiB(64));
	struct client *c = cluster_client(&w), *other;
	inode_no ino = write_on_grid(c, "model");
	tier_put(tiers_await(&w, c, ino));
	spoil_tier("tier");
	ck_assert_int_eq(cl_seal_ask(c, ino), 0);
	ck_assert_int_eq(await_seal(c, ino).rc, 0);
	cluster_client_stop(&w, c);
	tiers_end(&w, t);
	other = cluster_client(&w);
	ck_assert_uint_eq(attr_of(other, ino).root.cutter, CUT_VERSION);
	expect(other, "model");
	cluster_client_stop(&w, other);
}
END_TEST

TEST_MAIN("client seal",
	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, model_end);
	tcase_add_test(tc, bytes_and_times_stay);
	tcase_add_test(tc, a_writer_here_is_given_way);
	tcase_add_loop_test(tc, a_write_in_the_middle_is_not_lost, 0, 5);
	tcase_add_loop_test(tc, a_client_may_end_at_any_moment, 0, 5);
	tcase_add_loop_test(tc, a_client_may_end_while_it_asks, 0, 3);
	tcase_add_test(tc, a_tier_that_rots_does_not_become_content))
