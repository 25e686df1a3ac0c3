/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated disk: what a crash and a power cut keep, and faults. */
#include <string.h>

#include "tests/check_main.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_loop.h"

#define BYTES 4096u

static struct sim_world *world;
static struct sim_media *media;
static struct disk *disk;

static void set_up(uint64_t seed)
{
	ck_assert_int_eq(sim_world_create(seed, &world), 0);
	ck_assert_int_eq(sim_media_create(world, MiB(1), &media), 0);
	ck_assert_int_eq(sim_disk_create(media, &disk), 0);
}

static void tear_down(void)
{
	disk_destroy(disk);
	sim_media_destroy(media);
	sim_world_destroy(world);
}

static void restart(void (*end)(struct sim_media *))
{
	end(media);
	disk_destroy(disk);
	ck_assert_int_eq(sim_disk_create(media, &disk), 0);
}

static struct disk_file *fill(const char *name, int byte, bool is_synced)
{
	char bytes[BYTES];
	struct disk_file *f;

	memset(bytes, byte, sizeof bytes);
	ck_assert_int_eq(disk_open(disk, name, DISK_WRITE | DISK_CREATE, &f), 0);
	ck_assert_int_eq(disk_write(f, bytes, sizeof bytes, 0), 0);
	if (is_synced)
		ck_assert_int_eq(disk_sync(f), 0);
	return f;
}

/* How many of the file's sectors are full of `byte`; -1: there is no such file. */
static int count_sectors(const char *name, char byte)
{
	char bytes[BYTES];
	int len = disk_read_file(disk, name, bytes, sizeof bytes), count = 0;

	if (len == -E_NOENT)
		return -1;
	ck_assert_int_ge(len, 0);
	for (int at = 0; at + 512 <= len; at += 512)
		count += bytes[at] == byte && memcmp(bytes + at, bytes + at + 1, 511) == 0;
	return count;
}

START_TEST(a_process_crash_loses_nothing)
{
	set_up(1);
	struct disk_file *f = fill("a", 'a', false);
	ck_assert_int_eq(disk_lock(disk), 0);
	sim_media_crash(media);
	ck_assert_int_eq(disk_write(f, "x", 1, 0), -E_IO);
	ck_assert_int_eq(disk_sync(f), -E_IO);
	disk_close(f);
	restart(sim_media_crash);
	ck_assert_int_eq(disk_lock(disk), 0);
	ck_assert_int_eq(count_sectors("a", 'a'), 8);
	tear_down();
}
END_TEST

START_TEST(what_was_synced_survives_every_power_cut)
{
	for (uint64_t seed = 1; seed <= 50; seed++) {
		set_up(seed);
		disk_close(fill("a", 'a', true));
		ck_assert_int_eq(disk_sync_dir(disk, ""), 0);
		ck_assert(sim_media_is_clean(media));
		restart(sim_media_power_cut);
		ck_assert_int_eq(count_sectors("a", 'a'), 8);
		tear_down();
	}
}
END_TEST

START_TEST(an_unsynced_write_is_kept_lost_or_torn)
{
	uint32_t kept = 0, lost = 0, torn = 0;

	for (uint64_t seed = 1; seed <= 100; seed++) {
		set_up(seed);
		disk_close(fill("a", 'a', true));
		ck_assert_int_eq(disk_sync_dir(disk, ""), 0);
		disk_close(fill("a", 'b', false));
		ck_assert(!sim_media_is_clean(media));
		restart(sim_media_power_cut);
		int new = count_sectors("a", 'b'), old = count_sectors("a", 'a');
		ck_assert_int_eq(new + old, 8);
		kept += new == 8;
		lost += new == 0;
		torn += new > 0 && new < 8;
		tear_down();
	}
	ck_assert_uint_gt(kept, 10);
	ck_assert_uint_gt(lost, 10);
	ck_assert_uint_gt(torn, 10);
}
END_TEST

START_TEST(a_name_without_sync_of_its_directory_may_be_lost)
{
	uint32_t lost = 0;

	for (uint64_t seed = 1; seed <= 40; seed++) {
		set_up(seed);
		disk_close(fill("a", 'a', true));
		disk_close(fill("b", 'b', true));
		restart(sim_media_power_cut);
		bool has_a = count_sectors("a", 'a') == 8, has_b = count_sectors("b", 'b') == 8;
		ck_assert_msg(has_a || !has_b, "names survive in their order");
		lost += !has_a;
		tear_down();
	}
	ck_assert_uint_gt(lost, 5);
	ck_assert_uint_lt(lost, 35);
}
END_TEST

START_TEST(a_rename_is_kept_or_lost_as_a_whole)
{
	uint32_t moved = 0;

	for (uint64_t seed = 1; seed <= 40; seed++) {
		set_up(seed);
		disk_close(fill("a", 'a', true));
		disk_close(fill("b", 'b', true));
		ck_assert_int_eq(disk_sync_dir(disk, ""), 0);
		ck_assert_int_eq(disk_rename(disk, "a", "b"), 0);
		restart(sim_media_power_cut);
		if (count_sectors("a", 'a') == 8) {
			ck_assert_int_eq(count_sectors("b", 'b'), 8);
		} else {
			ck_assert_int_eq(count_sectors("a", 'a'), -1);
			ck_assert_int_eq(count_sectors("b", 'a'), 8);
			moved++;
		}
		tear_down();
	}
	ck_assert_uint_gt(moved, 5);
	ck_assert_uint_lt(moved, 35);
}
END_TEST

START_TEST(a_full_disk_says_so_and_has_room_after_a_removal)
{
	struct disk_space space;

	set_up(1);
	struct disk_file *f = fill("a", 'a', true);
	ck_assert_int_eq(disk_allocate(f, MiB(1) + 1), -E_NOSPC);
	ck_assert_int_eq(disk_allocate(f, MiB(1)), 0);
	disk_close(f);
	ck_assert_int_eq(disk_space(disk, &space), 0);
	ck_assert_uint_eq(space.bytes_free, 0);
	ck_assert_int_eq(disk_open(disk, "b", DISK_WRITE | DISK_CREATE, &f), 0);
	ck_assert_int_eq(disk_write(f, "x", 1, 0), -E_NOSPC);
	ck_assert_int_eq(disk_unlink(disk, "a"), 0);
	ck_assert_int_eq(disk_write(f, "x", 1, 0), 0);
	disk_close(f);
	tear_down();
}
END_TEST

START_TEST(faults_fire_and_poison)
{
	struct sim_media_faults faults = { .sync_eio = SIM_MILLION };

	set_up(1);
	struct disk_file *f = fill("a", 'a', false);
	sim_media_set_faults(media, &faults);
	ck_assert_int_eq(disk_sync(f), -E_IO);
	ck_assert_uint_eq(sim_media_fault_count(media), 1);
	sim_media_set_faults(media, &(struct sim_media_faults){ .read_eio = SIM_MILLION });
	ck_assert_int_eq(disk_sync(f), -E_IO);	/* I4: never believed again */
	ck_assert_int_eq(disk_read(f, &(char){ 0 }, 1, 0), -E_IO);
	disk_close(f);
	sim_media_set_dead(media, true);
	ck_assert_int_eq(disk_open(disk, "a", DISK_READ, &f), -E_IO);
	sim_media_set_dead(media, false);
	tear_down();
}
END_TEST

START_TEST(rot_stays_and_is_silent)
{
	set_up(1);
	disk_close(fill("a", 'a', true));
	ck_assert_int_eq(disk_sync_dir(disk, ""), 0);
	ck_assert_int_eq(sim_media_rot(media, "no", 0, 1), -E_NOENT);
	ck_assert_int_eq(sim_media_rot(media, "a", BYTES, 1), -E_RANGE);
	ck_assert_int_eq(sim_media_rot(media, "a", 600, 1), 0);
	ck_assert_int_eq(count_sectors("a", 'a'), 7);
	restart(sim_media_power_cut);
	ck_assert_int_eq(count_sectors("a", 'a'), 7);
	tear_down();
}
END_TEST

static void count_done(struct disk_op *op)
{
	ck_assert_int_eq(op->rc, 0);
	op->rc = 77;
}

START_TEST(submitted_operations_complete_in_virtual_time)
{
	struct loop *loop;
	struct iovec iov = { "later", 5 };

	set_up(1);
	ck_assert_int_eq(sim_loop_create(world, "node", &loop), 0);
	struct disk_file *f = fill("a", 'a', true);
	struct disk_op op = { .kind = DISK_OP_WRITEV, .file = f, .iov = &iov, .iov_count = 1,
			      .done = count_done };
	disk_submit(loop, &op);
	ck_assert_int_eq(op.rc, 0);
	sim_world_run_for(world, SIM_MS);
	ck_assert_int_eq(op.rc, 77);
	char got[5];
	ck_assert_int_eq(disk_read(f, got, 5, 0), 5);
	ck_assert_mem_eq(got, "later", 5);
	disk_close(f);
	sim_loop_destroy(loop);
	tear_down();
}
END_TEST

TEST_MAIN("sim_disk", tcase_add_test(tc, a_process_crash_loses_nothing);
	  tcase_add_test(tc, what_was_synced_survives_every_power_cut);
	  tcase_add_test(tc, an_unsynced_write_is_kept_lost_or_torn);
	  tcase_add_test(tc, a_name_without_sync_of_its_directory_may_be_lost);
	  tcase_add_test(tc, a_rename_is_kept_or_lost_as_a_whole);
	  tcase_add_test(tc, a_full_disk_says_so_and_has_room_after_a_removal);
	  tcase_add_test(tc, faults_fire_and_poison); tcase_add_test(tc, rot_stays_and_is_silent);
	  tcase_add_test(tc, submitted_operations_complete_in_virtual_time))
