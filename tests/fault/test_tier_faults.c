/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each call of a tier's disk fails once, in turn: no wrong byte is read, nothing waits for ever,
 * and a while after the fault the tier works again.
 */
#include "tests/check_main.h"
#include "tests/tier_world.h"
#include "tests/trip_disk.h"

static struct tier_world w;
static struct trip_disk trip_disk;

static struct disk *wrap(struct disk *inner)
{
	struct trip_disk armed = trip_disk;

	trip_disk_init(&trip_disk, inner);
	trip_disk.kinds = armed.kinds;
	trip_disk.at = armed.at;
	trip_disk.rc = armed.rc;
	trip_disk.calls = armed.calls;
	trip_disk.has_tripped = armed.has_tripped;
	return &trip_disk.base;
}

/* It may be missing, but if it is there it is right. */
static void read_all(const struct root *root)
{
	struct tier_file *f = tiers_find(w.tiers, root);

	for (uint64_t at = 0; f != NULL && at < root->length; at += KiB(600)) {
		uint64_t len = MIN_OF(KiB(600), root->length - at);

		if (tier_has(f, at, len))
			ck_assert_int_ne(tier_world_read(&w, f, root, at, len), 0);
	}
	tier_put(f);
}

static void write_draft(const struct root *root)
{
	struct tier_file *f;

	if (tiers_begin_draft(w.tiers, &f) < 0)
		return;
	if (tier_world_write(&w, f, root, 0, MIN_OF(root->length, MiB(1))) == 0 &&
	    tier_adopt(f, root) == 0) {
		tier_mark(f, 0, w.sum);
		for (uint64_t at = MiB(1); at < root->length; at += MiB(1))
			(void)tier_world_write(&w, f, root, at, MIN_OF(root->length - at, MiB(1)));
		(void)tier_world_seal(&w, f);
	}
	tier_put(f);
}

/* Fill, evict, restart, check, read: a little of everything. */
static void story(void)
{
	struct root a = tier_world_root(1, MiB(2) + 5), b = tier_world_root(2, MiB(3)),
		    c = tier_world_root(3, MiB(2));

	tier_world_start(&w);
	(void)tier_world_fill(&w, &a);
	(void)tier_world_fill(&w, &b);
	read_all(&a);
	write_draft(&c);
	sim_world_run_for(w.world, 12 * SIM_S);
	read_all(&c);
	tier_world_crash(&w, true);
	tier_world_start(&w);
	read_all(&b);
	sim_world_run_for(w.world, SIM_S);
	read_all(&b);
	(void)!tiers_evict(w.tiers, &b);
	tier_world_stop(&w);
	tier_world_start(&w);
	read_all(&c);
}

/* One run of the story in which the n-th of these calls fails; false: there are fewer. */
static bool play(uint32_t kinds, uint64_t n, int rc)
{
	struct root after = tier_world_root(9, MiB(1) + 1);
	bool has_tripped;

	tier_world_init(&w, n, 1, MiB(6));
	w.policy = TIER_LRU;
	w.scrub_bytes_per_s = MiB(8);
	w.wrap = wrap;
	memset(&trip_disk, 0, sizeof trip_disk);
	trip_disk_arm(&trip_disk, kinds, n, rc);
	story();
	has_tripped = trip_disk.has_tripped;
	trip_disk.at = 0;
	sim_world_run_for(w.world, 60 * SIM_S);
	ck_assert_int_eq(tier_world_fill(&w, &after), 0);
	ck_assert(tier_world_holds(&w, &after));
	tier_world_finish(&w);
	return has_tripped;
}

static const uint32_t kinds[] = { TRIP_OPEN,	 TRIP_READ,   TRIP_WRITE,  TRIP_SYNC,
				  TRIP_TRUNCATE, TRIP_ALLOCATE, TRIP_UNLINK, TRIP_RENAME };

START_TEST(a_tier_survives_any_failing_call)
{
	uint64_t n = 1;

	while (play(kinds[_i], n, -E_IO))
		n++;
	ck_assert_uint_gt(n, 1);
}
END_TEST

START_TEST(a_tier_survives_a_full_disk_at_any_call)
{
	uint64_t n = 1;

	while (play(TRIP_WRITE | TRIP_ALLOCATE | TRIP_OPEN, n, -E_NOSPC))
		n++;
	ck_assert_uint_gt(n, 5);
}
END_TEST

TEST_MAIN("tier_faults",
	  tcase_add_loop_test(tc, a_tier_survives_any_failing_call, 0, ARRAY_COUNT(kinds));
	  tcase_add_test(tc, a_tier_survives_a_full_disk_at_any_call))
