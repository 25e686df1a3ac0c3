/* SPDX-License-Identifier: Apache-2.0 */
/* Content that gets another root is what it was, in any state, under its new name alone. */
#include <stdio.h>

#include "tests/check_main.h"
#include "tests/tier_world.h"

static struct tier_world w;

/* The same bytes (tier_world_byte() looks at the first two of an id). */
static struct root recut_of(struct root root)
{
	root.cutter = 1;
	root.depth++;
	root.id.bytes[31]++;
	return root;
}

START_TEST(sealed_content_goes_by_its_new_root)
{
	struct root of = tier_world_root(1, MiB(2) + 9), root = recut_of(of);
	struct tier_file *f;

	tier_world_init(&w, 1, 1, MiB(16));
	tier_world_start(&w);
	ck_assert_int_eq(tier_world_fill(&w, &of), 0);
	f = tiers_find(w.tiers, &of);
	tiers_recut(w.tiers, &of, &root);
	ck_assert(root_equal(tier_root(f), &root));
	ck_assert_ptr_null(tiers_find(w.tiers, &of));
	ck_assert_int_eq(tier_world_read(&w, f, &root, 5, 1000), 1);
	tier_put(f);
	ck_assert(tier_world_holds(&w, &root));
	if (_i == 0)
		tier_world_stop(&w);
	else
		tier_world_crash(&w, false);
	tier_world_start(&w);
	ck_assert(tier_world_holds(&w, &root));
	ck_assert_ptr_null(tiers_find(w.tiers, &of));
	ck_assert_uint_lt(tier_world_used(&w, 0), MiB(2) + KiB(64));
	tier_world_finish(&w);
}
END_TEST

START_TEST(what_is_filling_goes_on)
{
	struct root of = tier_world_root(1, MiB(2)), root = recut_of(of);
	struct tier_file *f;

	tier_world_init(&w, 2, 1, MiB(16));
	tier_world_start(&w);
	ck_assert_int_eq(tiers_begin(w.tiers, &of, false, &f), 0);
	ck_assert_int_eq(tier_world_write(&w, f, &of, 0, MiB(1)), 0);
	tiers_recut(w.tiers, &of, &root);
	ck_assert(tier_has(f, 0, MiB(1)));
	ck_assert_int_eq(tier_world_write(&w, f, &root, MiB(1), MiB(1)), 0);
	ck_assert_int_eq(tier_world_seal(&w, f), 0);
	tier_put(f);
	ck_assert(tier_world_holds(&w, &root));
	tier_world_crash(&w, false);
	tier_world_start(&w);
	ck_assert(tier_world_holds(&w, &root));
	tier_world_finish(&w);
}
END_TEST

START_TEST(what_is_being_sealed_is_renamed_after_that)
{
	struct root of = tier_world_root(1, MiB(1)), root = recut_of(of);
	struct tier_file *f;

	tier_world_init(&w, 3, 1, MiB(16));
	tier_world_start(&w);
	ck_assert_int_eq(tiers_begin(w.tiers, &of, false, &f), 0);
	ck_assert_int_eq(tier_world_write(&w, f, &of, 0, MiB(1)), 0);
	tier_seal(f, tier_world_sealed, &w);
	for (int i = 0; i < _i; i++)
		(void)sim_world_step(w.world);
	tiers_recut(w.tiers, &of, &root);
	tier_world_await(&w);
	ck_assert_int_eq(w.rc, 0);
	tier_put(f);
	ck_assert(tier_world_holds(&w, &root));
	tier_world_stop(&w);
	tier_world_start(&w);
	ck_assert(tier_world_holds(&w, &root));
	tier_world_finish(&w);
}
END_TEST

/* Power is cut at each step of the rename: it is there once, under one of its names, and right. */
START_TEST(a_power_cut_leaves_one_of_the_names)
{
	struct root of = tier_world_root(1, MiB(1) + 7), root = recut_of(of);
	uint32_t found = 0;

	tier_world_init(&w, 4 + (uint64_t)_i, 1, MiB(16));
	tier_world_start(&w);
	ck_assert_int_eq(tier_world_fill(&w, &of), 0);
	tiers_recut(w.tiers, &of, &root);
	for (int i = 0; i < _i; i++)
		(void)sim_world_step(w.world);
	tier_world_crash(&w, true);
	tier_world_start(&w);
	(void)tiers_find(w.tiers, &of);		/* in doubt: it is checked first */
	(void)tiers_find(w.tiers, &root);
	sim_world_run_for(w.world, 10 * SIM_S);
	found += tier_world_holds(&w, &of);
	found += tier_world_holds(&w, &root);
	ck_assert_uint_eq(found, 1);
	ck_assert_uint_lt(tier_world_used(&w, 0), MiB(1) + KiB(64));
	tiers_recut(w.tiers, &of, &root);	/* as the next attributes say */
	ck_assert(tier_world_holds(&w, &root));
	tier_world_finish(&w);
}
END_TEST

START_TEST(what_is_in_doubt_is_checked_under_its_new_name)
{
	struct root of = tier_world_root(1, MiB(2) + 9), root = recut_of(of);

	tier_world_init(&w, 5, 1, MiB(16));
	w.scrub_bytes_per_s = _i == 0 ? 0 : MiB(1);
	tier_world_start(&w);
	ck_assert_int_eq(tier_world_fill(&w, &of), 0);
	tier_world_crash(&w, true);
	tier_world_start(&w);
	ck_assert_ptr_null(tiers_find(w.tiers, &of));	/* its check begins */
	tiers_recut(w.tiers, &of, &root);
	ck_assert_ptr_null(tiers_find(w.tiers, &root));
	sim_world_run_for(w.world, 30 * SIM_S);
	ck_assert(tier_world_holds(&w, &root));
	tier_world_finish(&w);
}
END_TEST

START_TEST(content_that_is_here_under_both_roots_stays)
{
	struct root of = tier_world_root(1, MiB(1)), root = recut_of(of);

	tier_world_init(&w, 6, 1, MiB(16));
	tier_world_start(&w);
	ck_assert_int_eq(tier_world_fill(&w, &of), 0);
	ck_assert_int_eq(tier_world_fill(&w, &root), 0);
	tiers_recut(w.tiers, &of, &root);
	ck_assert(tier_world_holds(&w, &of));		/* until room is needed */
	ck_assert(tier_world_holds(&w, &root));
	tier_world_finish(&w);
}
END_TEST

START_TEST(it_may_go_while_it_is_renamed)
{
	struct root of = tier_world_root(1, MiB(1)), root = recut_of(of);

	tier_world_init(&w, 7, 1, MiB(16));
	tier_world_start(&w);
	ck_assert_int_eq(tier_world_fill(&w, &of), 0);
	tiers_recut(w.tiers, &of, &root);
	for (int i = 0; i < _i; i++)
		(void)sim_world_step(w.world);
	ck_assert_int_eq(tiers_evict(w.tiers, &root), 0);
	sim_world_run_for(w.world, SIM_S);
	ck_assert_uint_eq(tier_world_used(&w, 0), 0);
	tier_world_stop(&w);
	tier_world_start(&w);
	ck_assert_uint_eq(tier_world_used(&w, 0), 0);
	tier_world_finish(&w);
}
END_TEST

TEST_MAIN("tier_recut",
	tcase_add_loop_test(tc, sealed_content_goes_by_its_new_root, 0, 2);
	tcase_add_test(tc, what_is_filling_goes_on);
	tcase_add_loop_test(tc, what_is_being_sealed_is_renamed_after_that, 0, 8);
	tcase_add_loop_test(tc, a_power_cut_leaves_one_of_the_names, 0, 24);
	tcase_add_loop_test(tc, what_is_in_doubt_is_checked_under_its_new_name, 0, 2);
	tcase_add_test(tc, content_that_is_here_under_both_roots_stays);
	tcase_add_loop_test(tc, it_may_go_while_it_is_renamed, 0, 12))
