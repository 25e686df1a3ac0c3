/* SPDX-License-Identifier: Apache-2.0 */
/* A cache tier: what fills, seals, stays, goes. One place, on a simulated disk. */
#include <stdio.h>

#include "fs/disk/tier_format.h"
#include "tests/check_main.h"
#include "tests/tier_world.h"

static struct tier_world w;

START_TEST(what_was_filled_and_sealed_is_found)
{
	struct root root = tier_world_root(1, MiB(3) + 5);

	tier_world_init(&w, 1, 1, MiB(16));
	tier_world_start(&w);
	ck_assert_ptr_null(tiers_find(w.tiers, &root));
	ck_assert_int_eq(tier_world_fill(&w, &root), 0);
	ck_assert(tiers_is_sealed(w.tiers, &root));
	ck_assert_uint_eq(w.sealed_count, 1);
	ck_assert(tier_world_holds(&w, &root));
	tier_world_finish(&w);
}
END_TEST

START_TEST(pieces_come_in_any_order_and_are_read_meanwhile)
{
	struct root root = tier_world_root(2, MiB(2) + 700);
	struct tier_file *f, *again;

	tier_world_init(&w, 2, 1, MiB(16));
	tier_world_start(&w);
	ck_assert_int_eq(tiers_begin(w.tiers, &root, false, &f), 0);
	ck_assert_int_eq(tiers_begin(w.tiers, &root, false, &again), -E_EXIST);
	ck_assert_int_eq(tier_world_write(&w, f, &root, MiB(2), 700), 0);
	ck_assert(tier_has(f, MiB(2) + 10, 690) && !tier_has(f, MiB(2) - 1, 2));
	ck_assert_int_eq(tier_world_read(&w, f, &root, MiB(2) + 10, 690), 1);
	ck_assert_int_eq(tier_world_seal(&w, f), -E_INVAL);
	ck_assert_int_eq(tier_world_write(&w, f, &root, 0, MiB(2)), 0);
	ck_assert_uint_eq(tier_present_bytes(f), root.length);
	ck_assert_int_eq(tier_world_seal(&w, f), 0);
	ck_assert_int_eq(tier_world_read(&w, f, &root, MiB(1) - 9, 1000), 1);
	tier_put(f);
	tier_world_finish(&w);
}
END_TEST

START_TEST(a_dropped_fill_gives_its_room_back)
{
	struct root root = tier_world_root(3, MiB(4));
	struct tier_file *f;

	tier_world_init(&w, 3, 1, MiB(16));
	tier_world_start(&w);
	ck_assert_int_eq(tiers_begin(w.tiers, &root, false, &f), 0);
	ck_assert_int_eq(tier_world_write(&w, f, &root, 0, MiB(1)), 0);
	tier_drop(f);
	ck_assert_int_eq(tier_state(f), TIER_GONE);
	ck_assert_ptr_null(tiers_find(w.tiers, &root));
	tier_put(f);
	sim_world_run_for(w.world, SIM_S);
	ck_assert_uint_eq(tier_world_used(&w, 0), 0);
	ck_assert_uint_eq(w.gone_count, 0);
	tier_world_finish(&w);
}
END_TEST

START_TEST(a_draft_becomes_the_content_of_its_root)
{
	struct root root = tier_world_root(4, MiB(3) + 100);
	struct tier_file *f;
	uint64_t last;

	tier_world_init(&w, 4, 1, MiB(16));
	tier_world_start(&w);
	ck_assert_int_eq(tiers_begin_draft(w.tiers, &f), 0);
	ck_assert_int_eq(tier_world_write(&w, f, &root, MiB(3), 100), 0);
	last = w.sum;
	ck_assert_int_eq(tier_world_write(&w, f, &root, MiB(4), MiB(1)), 0);	/* cut later */
	ck_assert_int_eq(tier_world_write(&w, f, &root, 0, MiB(1)), 0);
	ck_assert_int_eq(tier_adopt(f, &root), 0);
	ck_assert_uint_eq(tier_present_bytes(f), 0);
	tier_mark(f, 0, w.sum);
	ck_assert_uint_eq(tier_present_bytes(f), MiB(1));
	ck_assert_int_eq(tier_world_write(&w, f, &root, MiB(1), MiB(2)), 0);
	tier_mark(f, 3, last);
	ck_assert_int_eq(tier_world_seal(&w, f), 0);
	tier_put(f);
	ck_assert(tier_world_holds(&w, &root));
	tier_world_finish(&w);
}
END_TEST

START_TEST(the_least_recently_used_leaves_a_full_tier)
{
	struct root a = tier_world_root(1, MiB(4)), b = tier_world_root(2, MiB(4)),
		    c = tier_world_root(3, MiB(4));
	struct tier_file *f;

	tier_world_init(&w, 5, 1, MiB(10));
	w.policy = TIER_LRU;
	tier_world_start(&w);
	ck_assert_int_eq(tier_world_fill(&w, &a), 0);
	ck_assert_int_eq(tier_world_fill(&w, &b), 0);
	f = tiers_find(w.tiers, &a);
	tier_use(f);
	tier_put(f);
	ck_assert_int_eq(tier_world_fill(&w, &c), 0);
	ck_assert(tiers_is_sealed(w.tiers, &a) && !tiers_is_sealed(w.tiers, &b));
	ck_assert(root_equal(&w.gone_last, &b));
	ck_assert_uint_le(tier_world_used(&w, 0), MiB(10));
	tier_world_finish(&w);
}
END_TEST

/* What a writer leaves is as what is read for the first time. */
START_TEST(a_draft_takes_the_place_of_what_was_used_once)
{
	struct root often = tier_world_root(1, MiB(4)), once = tier_world_root(2, MiB(4)),
		    written = tier_world_root(3, MiB(4));
	struct tier_file *f;

	tier_world_init(&w, 14, 1, MiB(10));
	tier_world_start(&w);
	ck_assert_int_eq(tier_world_fill(&w, &often), 0);
	ck_assert_int_eq(tier_world_fill(&w, &once), 0);
	ck_assert(tier_world_use(&w, &often));
	ck_assert(_i == 0 || tier_world_use(&w, &once));
	ck_assert_int_eq(tiers_begin_draft(w.tiers, &f), 0);
	ck_assert_int_eq(tier_world_write(&w, f, &written, 0, MiB(4)), _i == 0 ? 0 : -E_NOSPC);
	tier_put(f);
	ck_assert(tiers_is_sealed(w.tiers, &often));
	ck_assert(tiers_is_sealed(w.tiers, &once) == (_i == 1));
	tier_world_finish(&w);
}
END_TEST

START_TEST(what_is_used_or_pinned_stays)
{
	struct root a = tier_world_root(1, MiB(4)), b = tier_world_root(2, MiB(4)),
		    c = tier_world_root(3, MiB(4));
	struct tier_file *f, *none;

	tier_world_init(&w, 6, 1, MiB(10));
	tier_world_start(&w);
	ck_assert_int_eq(tiers_pin(w.tiers, &a, true), 0);
	ck_assert_int_eq(tier_world_fill(&w, &a), 0);
	ck_assert_int_eq(tier_world_fill(&w, &b), 0);
	f = tiers_find(w.tiers, &b);
	ck_assert_int_eq(tiers_begin(w.tiers, &c, true, &none), -E_NOSPC);
	ck_assert_int_eq(tiers_evict(w.tiers, &a), -E_BUSY);
	ck_assert_int_eq(tiers_evict(w.tiers, &b), -E_BUSY);
	tier_put(f);
	ck_assert_int_eq(tier_world_fill(&w, &c), 0);
	ck_assert(tiers_is_sealed(w.tiers, &a) && !tiers_is_sealed(w.tiers, &b));
	ck_assert_int_eq(tiers_pin(w.tiers, &a, false), 0);
	ck_assert_uint_eq(tiers_evict_all(w.tiers), MiB(8));
	tier_world_finish(&w);
}
END_TEST

START_TEST(sealed_files_outlive_a_stop_and_a_crash)
{
	struct root a = tier_world_root(1, MiB(2)), b = tier_world_root(2, MiB(3));
	struct tier_file *f;

	tier_world_init(&w, 7, 1, MiB(16));
	tier_world_start(&w);
	ck_assert_int_eq(tier_world_fill(&w, &a), 0);
	ck_assert_int_eq(tiers_begin(w.tiers, &b, false, &f), 0);
	ck_assert_int_eq(tier_world_write(&w, f, &b, 0, MiB(1)), 0);
	if (_i == 0)
		tier_put(f);
	if (_i == 0)
		tier_world_stop(&w);
	else
		tier_world_crash(&w, false);
	tier_world_start(&w);
	ck_assert(tier_world_holds(&w, &a));
	ck_assert_ptr_null(tiers_find(w.tiers, &b));
	ck_assert_uint_lt(tier_world_used(&w, 0), MiB(3));
	ck_assert_int_eq(tier_world_fill(&w, &b), 0);
	tier_world_finish(&w);
}
END_TEST

START_TEST(a_detached_file_leaves_the_tier)
{
	struct root root = tier_world_root(1, MiB(1));
	struct tier_file *f;
	int fd;

	tier_world_init(&w, 8, 1, MiB(16));
	tier_world_start(&w);
	ck_assert_int_eq(tier_world_fill(&w, &root), 0);
	f = tiers_find(w.tiers, &root);
	ck_assert_int_eq(tier_open_fd(f, &fd), -E_OPNOTSUPP);
	ck_assert_int_eq(tier_detach_fd(f, &fd), -E_OPNOTSUPP);
	ck_assert(!tier_has(f, 0, 1));
	ck_assert_ptr_null(tiers_find(w.tiers, &root));
	tier_put(f);
	ck_assert_int_eq(tier_world_fill(&w, &root), 0);
	tier_world_finish(&w);
}
END_TEST

static bool was_told(void *arg unused_arg)
{
	return w.sealed_count + w.gone_count > 0;
}

/* Files 1 .. count of 2 MiB and a bit, sealed, then a power cut and a new process. */
static void fill_and_cut(uint32_t count)
{
	tier_world_start(&w);
	for (uint32_t i = 1; i <= count; i++) {
		struct root root = tier_world_root(i, MiB(2) + 77);

		ck_assert_int_eq(tier_world_fill(&w, &root), 0);
	}
	tier_world_crash(&w, true);
	w.sealed_count = 0;
}

START_TEST(after_a_power_cut_a_file_is_checked_before_its_use)
{
	struct root root = tier_world_root(1, MiB(2) + 77);
	struct tier_file *f;

	tier_world_init(&w, 9, 1, MiB(16));
	fill_and_cut(1);
	tier_world_start(&w);
	ck_assert(!tiers_is_sealed(w.tiers, &root));
	ck_assert_ptr_null(tiers_find(w.tiers, &root));
	ck_assert_int_eq(tiers_begin(w.tiers, &root, false, &f), -E_BUSY);
	ck_assert(sim_world_run_until(w.world, was_told, NULL, TIER_WORLD_WAIT));
	ck_assert_uint_eq(w.sealed_count, 1);
	ck_assert(tier_world_holds(&w, &root));
	tier_world_finish(&w);
}
END_TEST

/* Content in one case, sums in the other. */
START_TEST(what_is_wrong_after_a_power_cut_goes)
{
	static const char *const folders[] = { "sealed", "sums" };
	struct root root = tier_world_root(1, MiB(2) + 77);
	char name[TIER_FORMAT_NAME_BYTES], path[128];

	tier_world_init(&w, 10, 1, MiB(16));
	fill_and_cut(1);
	snprintf(path, sizeof path, "%s/%s", folders[_i], tier_format_name(&root, name));
	ck_assert_int_eq(sim_media_rot(w.media[0], path, 70, 1), 0);
	tier_world_start(&w);
	ck_assert_ptr_null(tiers_find(w.tiers, &root));
	ck_assert(sim_world_run_until(w.world, was_told, NULL, TIER_WORLD_WAIT));
	ck_assert_uint_eq(w.gone_count, 1);
	ck_assert_int_eq(tier_world_fill(&w, &root), 0);
	ck_assert(tier_world_holds(&w, &root));
	tier_world_finish(&w);
}
END_TEST

START_TEST(the_scrub_proves_all_that_is_doubted_and_drops_what_rots)
{
	struct root root = tier_world_root(2, MiB(2) + 77);
	char name[TIER_FORMAT_NAME_BYTES], path[128];
	struct tiers_info info;

	tier_world_init(&w, 11, 1, MiB(32));
	w.scrub_bytes_per_s = MiB(1);
	fill_and_cut(4);
	tier_world_start(&w);
	sim_world_run_for(w.world, 15 * SIM_S);
	ck_assert_uint_eq(w.sealed_count, 4);
	tiers_info(w.tiers, &info);
	ck_assert_uint_gt(info.places[0].checked_bytes, MiB(8));
	snprintf(path, sizeof path, "sealed/%s", tier_format_name(&root, name));
	ck_assert_int_eq(sim_media_rot(w.media[0], path, MiB(2) + 76, 1), 0);
	sim_world_run_for(w.world, 2 * 3600 * SIM_S);
	ck_assert_uint_eq(w.gone_count, 1);
	ck_assert(root_equal(&w.gone_last, &root));
	tiers_info(w.tiers, &info);
	ck_assert_uint_eq(info.places[0].wrong, 1);
	ck_assert_uint_eq(info.places[0].files, 3);
	tier_world_finish(&w);
}
END_TEST

static bool note_place(void *arg, const struct tier_file_info *info)
{
	uint32_t *places = arg;

	places[info->root.id.bytes[0]] = info->place;
	return true;
}

static uint32_t place_of(const struct root *root)
{
	uint32_t places[16] = { 0 };

	tiers_list(w.tiers, NULL, note_place, places);
	return places[root->id.bytes[0]];
}

START_TEST(what_is_used_again_goes_up_and_what_is_not_goes_down)
{
	struct root a = tier_world_root(1, MiB(5)), b = tier_world_root(2, MiB(5)),
		    c = tier_world_root(3, MiB(5));
	struct tiers_info info;

	tier_world_init(&w, 13, 2, MiB(12));
	w.places[0].is_memory = true;
	w.places[1].bytes_max = MiB(24);
	tier_world_start(&w);
	ck_assert_int_eq(tier_world_fill(&w, &a), 0);
	ck_assert_int_eq(tier_world_fill(&w, &b), 0);
	ck_assert_int_eq(tier_world_fill(&w, &c), 0);
	ck_assert(place_of(&a) == 1 && place_of(&b) == 1 && place_of(&c) == 1);
	w.sealed_count = 0;
	for (uint32_t i = 0; i < 2; i++) {
		ck_assert(tier_world_use(&w, &a));
		ck_assert(tier_world_use(&w, &b));
	}
	sim_world_run_for(w.world, 10 * SIM_S);
	ck_assert(place_of(&a) == 0 && place_of(&b) == 0 && place_of(&c) == 1);
	ck_assert(tier_world_holds(&w, &a));
	for (uint32_t i = 0; i < 12; i++) {
		ck_assert(tier_world_use(&w, &c));
		ck_assert(tier_world_use(&w, &b));
	}
	sim_world_run_for(w.world, 10 * SIM_S);
	ck_assert(place_of(&a) == 1 && place_of(&b) == 0 && place_of(&c) == 0);
	ck_assert(tier_world_holds(&w, &a) && tier_world_holds(&w, &c));
	ck_assert_uint_eq(w.sealed_count + w.gone_count, 0);
	tiers_info(w.tiers, &info);
	ck_assert_uint_eq(info.places[0].promotions, 3);
	ck_assert_uint_eq(info.places[0].demotions, 1);
	tier_world_finish(&w);
}
END_TEST

static bool note_uses(void *arg, const struct tier_file_info *info)
{
	uint64_t *uses = arg;

	uses[info->root.id.bytes[0]] = info->uses;
	return true;
}

START_TEST(uses_outlive_a_restart_and_a_crash)
{
	uint64_t uses[8] = { 0 };

	tier_world_init(&w, 12, 1, MiB(16));
	tier_world_start(&w);
	for (uint32_t i = 1; i <= 3; i++) {
		struct root root = tier_world_root(i, MiB(1));
		struct tier_file *f;

		ck_assert_int_eq(tier_world_fill(&w, &root), 0);
		f = tiers_find(w.tiers, &root);
		for (uint32_t n = 0; n < i; n++)
			tier_use(f);
		tier_put(f);
	}
	if (_i == 0) {
		tier_world_stop(&w);
	} else {
		sim_world_run_for(w.world, 15 * SIM_S);
		tier_world_crash(&w, false);
	}
	tier_world_start(&w);
	tiers_list(w.tiers, NULL, note_uses, uses);
	ck_assert(uses[1] == 1 && uses[2] == 2 && uses[3] == 3);
	tier_world_finish(&w);
}
END_TEST

TEST_MAIN("tier", tcase_add_test(tc, what_was_filled_and_sealed_is_found);
	  tcase_add_test(tc, pieces_come_in_any_order_and_are_read_meanwhile);
	  tcase_add_test(tc, a_dropped_fill_gives_its_room_back);
	  tcase_add_test(tc, a_draft_becomes_the_content_of_its_root);
	  tcase_add_test(tc, the_least_recently_used_leaves_a_full_tier);
	  tcase_add_loop_test(tc, a_draft_takes_the_place_of_what_was_used_once, 0, 2);
	  tcase_add_test(tc, what_is_used_or_pinned_stays);
	  tcase_add_loop_test(tc, sealed_files_outlive_a_stop_and_a_crash, 0, 2);
	  tcase_add_test(tc, a_detached_file_leaves_the_tier);
	  tcase_add_test(tc, after_a_power_cut_a_file_is_checked_before_its_use);
	  tcase_add_loop_test(tc, what_is_wrong_after_a_power_cut_goes, 0, 2);
	  tcase_add_test(tc, the_scrub_proves_all_that_is_doubted_and_drops_what_rots);
	  tcase_add_test(tc, what_is_used_again_goes_up_and_what_is_not_goes_down);
	  tcase_add_loop_test(tc, uses_outlive_a_restart_and_a_crash, 0, 2))
