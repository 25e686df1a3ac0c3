/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The content number: the same as long as nothing can be missing, another one whenever something
 * may be.
 */
#include <string.h>

#include "chunk-server/content.h"
#include "tests/check_main.h"
#include "tests/sim/sim_disk.h"

#define DISKS 3u

static struct sim_world *world;
static struct sim_media *media[DISKS];
static struct disk *disks[DISKS];

static void begin(void)
{
	ck_assert_int_eq(sim_world_create(1, &world), 0);
	for (uint32_t i = 0; i < DISKS; i++) {
		ck_assert_int_eq(sim_media_create(world, MiB(1), &media[i]), 0);
		ck_assert_int_eq(sim_disk_create(media[i], &disks[i]), 0);
	}
}

static void end(void)
{
	for (uint32_t i = 0; i < DISKS; i++) {
		disk_destroy(disks[i]);
		sim_media_destroy(media[i]);
	}
	sim_world_destroy(world);
}

/* Of the disks first .. first + count - 1, the last one first. */
static struct cs_content content_of(uint32_t first, uint32_t count)
{
	struct cs_content c = {.count = count};

	for (uint32_t i = 0; i < count; i++) {
		uint32_t disk = first + count - 1 - i;
		c.disks[i] = disks[disk];
		c.uuids[i][0] = (uint8_t)(1 + disk);
	}
	return c;
}

static uint64_t opened(uint32_t first, uint32_t count, bool is_whole, uint64_t fresh)
{
	struct cs_content c = content_of(first, count);

	ck_assert_int_eq(cs_content_open(&c, is_whole, fresh), 0);
	return c.number;
}

START_TEST(it_stays_while_all_is_there)
{
	ck_assert_uint_eq(opened(0, 2, true, 11), 11); /* there was none */
	ck_assert_uint_eq(opened(0, 2, true, 12), 11);
	ck_assert_uint_eq(opened(0, 2, false, 13), 13);
	ck_assert_uint_eq(opened(0, 2, true, 14), 13);
}
END_TEST

START_TEST(another_set_of_disks_is_another_content)
{
	ck_assert_uint_eq(opened(0, 2, true, 11), 11);
	ck_assert_uint_eq(opened(0, 3, true, 12), 12); /* one more */
	ck_assert_uint_eq(opened(0, 3, true, 13), 12);
	ck_assert_uint_eq(opened(1, 2, true, 14), 14); /* one less */
	/* it comes back, and missed what was between */
	ck_assert_uint_eq(opened(0, 3, true, 15), 15);
}
END_TEST

START_TEST(the_order_of_disks_does_not_matter)
{
	struct cs_content c = content_of(0, 2), turned = content_of(0, 2);

	turned.disks[0] = c.disks[1];
	turned.disks[1] = c.disks[0];
	memcpy(turned.uuids[0], c.uuids[1], UUID_BYTES);
	memcpy(turned.uuids[1], c.uuids[0], UUID_BYTES);
	ck_assert_int_eq(cs_content_open(&c, true, 11), 0);
	ck_assert_int_eq(cs_content_open(&turned, true, 12), 0);
	ck_assert_uint_eq(turned.number, 11);
}
END_TEST

START_TEST(a_change_that_one_disk_could_not_take_is_not_forgotten)
{
	struct cs_content c = content_of(0, 2);

	ck_assert_int_eq(cs_content_open(&c, true, 11), 0);
	sim_media_set_dead(media[0], true);
	ck_assert_int_eq(cs_content_change(&c, 12), 0);
	ck_assert_uint_eq(c.number, 12);
	sim_media_set_dead(media[0], false);
	ck_assert_uint_eq(opened(0, 2, true, 13), 13); /* they are at odds */
	sim_media_set_dead(media[0], true);
	sim_media_set_dead(media[1], true);
	ck_assert_int_lt(cs_content_change(&c, 14), 0);
	ck_assert_uint_eq(c.number, 14);
}
END_TEST

START_TEST(it_survives_a_power_cut)
{
	struct cs_content c = content_of(0, 1);

	ck_assert_int_eq(cs_content_open(&c, true, 11), 0);
	ck_assert_int_eq(cs_content_change(&c, 12), 0);
	sim_media_power_cut(media[0]);
	disk_destroy(disks[0]);
	ck_assert_int_eq(sim_disk_create(media[0], &disks[0]), 0);
	ck_assert_uint_eq(opened(0, 1, true, 13), 12);
}
END_TEST

START_TEST(a_full_disk_takes_a_change)
{
	struct cs_content c = content_of(0, 1);
	struct disk_space space;
	struct disk_file *ballast;

	ck_assert_int_eq(cs_content_open(&c, true, 11), 0);
	ck_assert_int_eq(disk_space(disks[0], &space), 0);
	ck_assert_int_eq(disk_open(disks[0], "ballast", DISK_CREATE | DISK_WRITE, &ballast), 0);
	ck_assert_int_eq(disk_allocate(ballast, space.bytes_free), 0);
	ck_assert_int_eq(cs_content_change(&c, 12), 0);
	disk_close(ballast);
	ck_assert_uint_eq(opened(0, 1, true, 13), 12);
}
END_TEST

START_TEST(a_damaged_one_is_none)
{
	for (uint32_t at = 0; at < CS_CONTENT_BYTES; at++) {
		ck_assert_uint_eq(opened(0, 1, false, 11), 11);
		ck_assert_int_eq(sim_media_rot(media[0], "content", at, 1), 0);
		ck_assert_uint_eq(opened(0, 1, true, 12), 12);
	}
}
END_TEST

TEST_MAIN("content", tcase_add_checked_fixture(tc, begin, end);
	  tcase_add_test(tc, it_stays_while_all_is_there);
	  tcase_add_test(tc, another_set_of_disks_is_another_content);
	  tcase_add_test(tc, the_order_of_disks_does_not_matter);
	  tcase_add_test(tc, a_change_that_one_disk_could_not_take_is_not_forgotten);
	  tcase_add_test(tc, it_survives_a_power_cut);
	  tcase_add_test(tc, a_full_disk_takes_a_change);
	  tcase_add_test(tc, a_damaged_one_is_none))
