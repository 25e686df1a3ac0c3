/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A cache tier in a real folder, in virtual time: descriptors for passthrough, and a folder that is
 * removed, comes back, is used by another mount, holds what is not ours.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "fs/disk/tier_format.h"
#include "tests/check_main.h"
#include "tests/scratch.h"
#include "tests/tier_world.h"

static struct tier_world w;
static struct scratch scratch;
static char folder[512];
static const struct root root = { .kind = ROOT_NODE, .depth = 1, .length = MiB(2) + 9,
				  .id = { { 5, 0, 1 } } };

static void start(void)
{
	w.place_count = 1;
	tier_world_start(&w);
}

/* One tier in the scratch folder. tier_world_start() takes directories "" for simulated ones. */
static void begin(void)
{
	scratch_init(&scratch);
	snprintf(folder, sizeof folder, "%s", scratch_path(&scratch, "tier"));
	tier_world_init(&w, 1, 0, 0);
	w.places[0] = (struct tier_place){ .directory = folder, .bytes_max = MiB(16) };
	start();
}

static void end(void)
{
	tier_world_stop(&w);
	sim_world_destroy(w.world);
	scratch_finish(&scratch);
}

static const char *path_of(const char *name)
{
	static char path[1024];

	snprintf(path, sizeof path, "%s/%s", folder, name);
	return path;
}

static bool is_broken(void)
{
	struct tiers_info info;

	tiers_info(w.tiers, &info);
	return info.places[0].is_broken;
}

static void remove_folder(void)
{
	ck_assert_int_eq(nftw(folder, scratch_remove, 16, FTW_DEPTH | FTW_PHYS), 0);
}

START_TEST(a_folder_keeps_its_files_across_restarts)
{
	begin();
	ck_assert_int_eq(tier_world_fill(&w, &root), 0);
	tier_world_stop(&w);
	start();
	ck_assert(tier_world_holds(&w, &root));
	end();
}
END_TEST

START_TEST(nobody_writes_through_a_descriptor_for_passthrough)
{
	char again[64], byte;
	struct tier_file *f;
	int fd, rc;

	begin();
	ck_assert_int_eq(tier_world_fill(&w, &root), 0);
	f = tiers_find(w.tiers, &root);
	rc = tier_open_fd(f, &fd);
	if (rc == -E_OPNOTSUPP) {
		puts("SKIP: no read-only clones of mounts here");
	} else {
		ck_assert_int_eq(rc, 0);
		ck_assert_int_eq(pread(fd, &byte, 1, MiB(1)), 1);
		ck_assert_uint_eq((uint8_t)byte, tier_world_byte(&root, MiB(1)));
		/* As the kernel does: the same file again, with other flags. */
		snprintf(again, sizeof again, "/proc/self/fd/%d", fd);
		ck_assert_int_lt(open(again, O_RDWR | O_CLOEXEC), 0);
		ck_assert_int_eq(errno, EROFS);
		close(fd);
	}
	tier_put(f);
	end();
}
END_TEST

START_TEST(a_detached_file_may_be_changed)
{
	struct tier_file *f;
	char byte = 'x';
	int fd;

	begin();
	ck_assert_int_eq(tier_world_fill(&w, &root), 0);
	f = tiers_find(w.tiers, &root);
	ck_assert_int_eq(tier_detach_fd(f, &fd), 0);
	ck_assert_int_eq(pwrite(fd, &byte, 1, 0), 1);
	ck_assert_ptr_null(tiers_find(w.tiers, &root));
	sim_world_run_for(w.world, SIM_S);
	ck_assert_uint_gt(tier_world_used(&w, 0), MiB(2));
	close(fd);
	tier_put(f);
	sim_world_run_for(w.world, SIM_S);
	ck_assert_uint_eq(tier_world_used(&w, 0), 0);
	tier_world_stop(&w);
	start();
	ck_assert_ptr_null(tiers_find(w.tiers, &root));
	end();
}
END_TEST

START_TEST(a_folder_that_is_removed_is_noticed_and_comes_back)
{
	struct tier_file *f;

	begin();
	ck_assert_int_eq(tier_world_fill(&w, &root), 0);
	f = tiers_find(w.tiers, &root);
	remove_folder();
	if (_i == 1)
		ck_assert_int_eq(mkdir(folder, 0700), 0);
	sim_world_run_for(w.world, 5 * SIM_S);
	ck_assert(is_broken());
	ck_assert_uint_eq(w.gone_count, 1);
	ck_assert(!tier_has(f, 0, 1));
	tier_put(f);
	ck_assert_int_eq(tier_world_fill(&w, &root), -E_NODEV);
	sim_world_run_for(w.world, 60 * SIM_S);
	ck_assert(!is_broken());
	ck_assert_int_eq(tier_world_fill(&w, &root), 0);
	ck_assert(tier_world_holds(&w, &root));
	end();
}
END_TEST

START_TEST(a_fill_whose_folder_vanishes_fails_and_nothing_else)
{
	struct tier_file *f;

	begin();
	ck_assert_int_eq(tiers_begin(w.tiers, &root, false, &f), 0);
	ck_assert_int_eq(tier_world_write(&w, f, &root, 0, MiB(1)), 0);
	remove_folder();
	(void)tier_world_write(&w, f, &root, MiB(1), MiB(1) + 9);
	ck_assert_int_lt(tier_world_seal(&w, f), 0);
	ck_assert(is_broken());
	tier_put(f);
	end();
}
END_TEST

START_TEST(a_folder_has_one_mount)
{
	struct tier_world first, second;

	begin();
	ck_assert_int_eq(tier_world_fill(&w, &root), 0);
	first = w;
	tier_world_init(&w, 2, 0, 0);
	w.places[0] = first.places[0];
	start();
	ck_assert(is_broken());
	second = w;
	w = first;
	tier_world_stop(&w);
	sim_world_destroy(w.world);
	w = second;
	/* The other is gone: what it left is used soon, and without a look at each byte. */
	sim_world_run_for(w.world, 10 * SIM_S);
	ck_assert(!is_broken());
	ck_assert(tiers_is_sealed(w.tiers, &root));
	end();
}
END_TEST

START_TEST(files_of_others_are_left_alone)
{
	static const char *const names[] = { "sealed/readme", "filling/mine", "sums/12", "notes" };

	begin();
	tier_world_stop(&w);
	for (uint32_t i = 0; i < ARRAY_COUNT(names); i++)
		close(open(path_of(names[i]), O_CREAT | O_WRONLY, 0600));
	close(open(path_of("filling/0123456789abcdef"), O_CREAT | O_WRONLY, 0600));
	start();
	for (uint32_t i = 0; i < ARRAY_COUNT(names); i++)
		ck_assert_int_eq(access(path_of(names[i]), F_OK), 0);
	ck_assert_int_ne(access(path_of("filling/0123456789abcdef"), F_OK), 0);
	end();
}
END_TEST

START_TEST(a_removed_file_is_gone_at_its_first_use)
{
	char name[TIER_FORMAT_NAME_BYTES], path[256];

	begin();
	ck_assert_int_eq(tier_world_fill(&w, &root), 0);
	tier_world_stop(&w);
	start();
	w.gone_count = 0;
	snprintf(path, sizeof path, "sealed/%s", tier_format_name(&root, name));
	ck_assert_int_eq(unlink(path_of(path)), 0);
	ck_assert(!tier_world_holds(&w, &root));
	ck_assert_uint_eq(w.gone_count, 1);
	ck_assert(!is_broken());
	end();
}
END_TEST

START_TEST(a_host_that_needs_its_disk_gets_it)
{
	begin();
	ck_assert_int_eq(tier_world_fill(&w, &root), 0);
	tier_world_stop(&w);
	w.places[0].keep_free = UINT64_MAX / 2;
	start();
	sim_world_run_for(w.world, SIM_S);
	ck_assert_uint_eq(tier_world_used(&w, 0), 0);
	ck_assert_int_eq(tier_world_fill(&w, &root), -E_NOSPC);
	end();
}
END_TEST

TEST_MAIN("tier_folder", tcase_add_test(tc, a_folder_keeps_its_files_across_restarts);
	  tcase_add_test(tc, nobody_writes_through_a_descriptor_for_passthrough);
	  tcase_add_test(tc, a_detached_file_may_be_changed);
	  tcase_add_loop_test(tc, a_folder_that_is_removed_is_noticed_and_comes_back, 0, 2);
	  tcase_add_test(tc, a_fill_whose_folder_vanishes_fails_and_nothing_else);
	  tcase_add_test(tc, a_folder_has_one_mount);
	  tcase_add_test(tc, files_of_others_are_left_alone);
	  tcase_add_test(tc, a_removed_file_is_gone_at_its_first_use);
	  tcase_add_test(tc, a_host_that_needs_its_disk_gets_it))
