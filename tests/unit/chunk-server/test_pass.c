/* SPDX-License-Identifier: Apache-2.0 */
/* Passes over a disk, in virtual time: when the next one is due, what a restart knows of one. */
#include "chunk-server/pass.h"

#include "tests/check_main.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_loop.h"

#define PERIOD_MS 100000u

static struct sim_world *world;
static struct sim_media *media;
static struct loop *loop;
static struct disk *disk;

static void begin(void)
{
	ck_assert_int_eq(sim_world_create(1, &world), 0);
	ck_assert_int_eq(sim_media_create(world, MiB(1), &media), 0);
	ck_assert_int_eq(sim_disk_create(media, &disk), 0);
	ck_assert_int_eq(sim_loop_create(world, "cs", &loop), 0);
}

static void end(void)
{
	sim_loop_destroy(loop);
	disk_destroy(disk);
	sim_media_destroy(media);
	sim_world_destroy(world);
}

static void pass_time(uint64_t ms)
{
	sim_world_run_for(world, ms * SIM_MS);
}

/* As a restart finds it. */
static struct cs_pass found(void)
{
	struct cs_pass p;

	cs_pass_init(&p, &pass_state_scrub, disk, loop);
	return p;
}

START_TEST(the_first_is_due_at_once_and_the_next_a_period_after_it_began)
{
	struct cs_pass p = found();

	ck_assert_uint_eq(cs_pass_wait_ms(&p, PERIOD_MS), 0);
	cs_pass_begin(&p);
	ck_assert_uint_eq(p.state.pass, 1);
	ck_assert(p.state.is_running);
	pass_time(PERIOD_MS / 4);
	cs_pass_end(&p);
	ck_assert(!p.state.is_running && p.state.ended_ns > p.state.began_ns);
	ck_assert_uint_eq(cs_pass_wait_ms(&p, PERIOD_MS), PERIOD_MS / 4 * 3);
	pass_time(PERIOD_MS / 4 * 3);
	ck_assert_uint_eq(cs_pass_wait_ms(&p, PERIOD_MS), 0);
}
END_TEST

START_TEST(a_clock_that_was_set_back_delays_nothing)
{
	struct cs_pass p = found();

	cs_pass_begin(&p);
	sim_loop_set_wall(loop, -(int64_t)(PERIOD_MS * SIM_MS));
	ck_assert_uint_eq(cs_pass_wait_ms(&p, PERIOD_MS), 0);
}
END_TEST

START_TEST(a_restart_goes_on_at_the_position)
{
	struct cs_pass p = found(), later;

	cs_pass_begin(&p);
	p.state.segment = 7;
	p.state.is_deep = true;
	p.state.records = 3;
	cs_pass_save(&p, true);
	pass_time(10);
	later = found();
	ck_assert(later.state.is_running && later.state.is_deep);
	ck_assert_uint_eq(later.state.pass, 1);
	ck_assert_uint_eq(later.state.segment, 7);
	ck_assert_uint_eq(later.state.records, 3);
}
END_TEST

START_TEST(the_position_is_written_now_and_then_and_at_the_end)
{
	struct cs_pass p = found();

	cs_pass_begin(&p);
	cs_pass_save(&p, true);
	ck_assert(cs_pass_is_saving(&p));
	pass_time(10);
	ck_assert(!cs_pass_is_saving(&p));
	p.state.segment = 1;
	cs_pass_save(&p, false);
	ck_assert(!cs_pass_is_saving(&p));
	pass_time(60000);
	cs_pass_save(&p, false);
	pass_time(10);
	ck_assert_uint_eq(found().state.segment, 1);
	p.state.segment = 2;
	cs_pass_stop(&p);
	pass_time(10);
	ck_assert_uint_eq(found().state.segment, 2);
	cs_pass_save(&p, true);
	ck_assert(!cs_pass_is_saving(&p));
}
END_TEST

START_TEST(a_damaged_position_is_none)
{
	static const uint8_t noise[128] = "CRNB";
	struct cs_pass p;

	ck_assert_int_eq(disk_replace_file(disk, "scrub", noise, sizeof(noise)), 0);
	p = found();
	ck_assert_uint_eq(p.state.pass, 0);
	ck_assert_uint_eq(cs_pass_wait_ms(&p, PERIOD_MS), 0);
}
END_TEST

START_TEST(the_speed_is_that_of_the_last_second)
{
	struct cs_pass p = found();

	cs_pass_note_speed(&p, 1); /* the clock runs since the system began */
	for (uint32_t i = 0; i < 10; i++) {
		pass_time(100);
		cs_pass_note_speed(&p, 1000);
	}
	ck_assert_uint_eq(p.bytes_per_s, 10000);
}
END_TEST

TEST_MAIN("pass", tcase_add_checked_fixture(tc, begin, end);
	  tcase_add_test(tc, the_first_is_due_at_once_and_the_next_a_period_after_it_began);
	  tcase_add_test(tc, a_clock_that_was_set_back_delays_nothing);
	  tcase_add_test(tc, a_restart_goes_on_at_the_position);
	  tcase_add_test(tc, the_position_is_written_now_and_then_and_at_the_end);
	  tcase_add_test(tc, a_damaged_position_is_none);
	  tcase_add_test(tc, the_speed_is_that_of_the_last_second))
