/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tier under random work against a simple model: the limit is never passed, no wrong byte is ever
 * read, what is pinned or in use stays, what was sealed outlives crashes and power cuts; and with a
 * failing disk, at least the first two.
 */
#include "tests/check_main.h"
#include "tests/tier_world.h"

#define ROOTS	  12u
#define STEPS	  120u
#define BYTES_MAX MiB(14)
/* State, index, and sums that are being replaced lie beside what is counted. */
#define SLACK	  KiB(64)

struct model {
	struct root roots[ROOTS];
	bool is_pinned[ROOTS];
	bool is_sealed[ROOTS];			/* and we were not told that it went */
	struct tier_file *held[ROOTS];		/* references */
	bool is_sound;				/* the disk does not fail */
};

static struct tier_world w;
static struct model m;

static uint64_t below(uint64_t bound)
{
	return sim_world_below(w.world, bound);
}

static void limit_holds(struct tier_world *world)
{
	for (uint32_t i = 0; i < world->place_count; i++) {
		struct disk_space space;

		if (disk_space(world->disks[i], &space) == 0)
			ck_assert_uint_le(space.bytes_total - space.bytes_free,
					  world->places[i].bytes_max + SLACK);
	}
}

static uint32_t index_of(const struct root *root)
{
	return root->id.bytes[0];
}

static void went(void *arg unused_arg, const struct root *root)
{
	uint32_t i = index_of(root);

	ck_assert(!m.is_sound || (!m.is_pinned[i] && m.held[i] == NULL));
	m.is_sealed[i] = false;
}

static void was_sealed(void *arg unused_arg, const struct root *root)
{
	m.is_sealed[index_of(root)] = true;
}

/* --- what is done ----------------------------------------------------------------------------- */

static void do_fill(uint32_t i)
{
	int rc = tier_world_fill(&w, &m.roots[i]);

	ck_assert(!m.is_sound || rc == 0 || rc == -E_EXIST || rc == -E_NOSPC || rc == -E_BUSY);
}

static void do_half_a_fill(uint32_t i)
{
	struct tier_file *f;

	if (tiers_begin(w.tiers, &m.roots[i], below(2), &f) < 0)
		return;
	(void)tier_world_write(&w, f, &m.roots[i], 0, MIN_OF(MiB(1), m.roots[i].length));
	if (below(2) == 0)
		tier_drop(f);
	tier_put(f);
}

static void do_draft(uint32_t i)
{
	const struct root *root = &m.roots[i];
	struct tier_file *f;
	uint64_t count = DIV_CEIL(root->length, TIER_PIECE_BYTES), from = below(count);
	uint64_t sums[8];
	int rc = 0;

	if (tiers_begin_draft(w.tiers, &f) < 0)
		return;
	ck_assert_uint_le(count, ARRAY_COUNT(sums));
	for (uint64_t n = 0; rc == 0 && n < count; n++) {
		uint64_t at = (from + n) % count * TIER_PIECE_BYTES;

		rc = tier_world_write(&w, f, root, at, MIN_OF(root->length - at, TIER_PIECE_BYTES));
		sums[(from + n) % count] = w.sum;
	}
	if (rc == 0)
		rc = tier_adopt(f, root);
	for (uint64_t n = 0; rc == 0 && n < count; n++)
		tier_mark(f, n, sums[n]);
	if (rc == 0)
		rc = tier_world_seal(&w, f);
	ck_assert(!m.is_sound || rc == 0 || rc == -E_EXIST || rc == -E_NOSPC);
	tier_put(f);
}

static void do_read(uint32_t i)
{
	struct tier_file *f = tiers_find(w.tiers, &m.roots[i]);
	uint64_t offset = below(m.roots[i].length);
	uint64_t len = 1 + below(MIN_OF(m.roots[i].length - offset, KiB(300)));

	if (f == NULL)
		return;
	tier_use(f);
	if (tier_has(f, offset, len)) {
		int rc = tier_world_read(&w, f, &m.roots[i], offset, len);

		ck_assert_int_ne(rc, 0);
		ck_assert(!m.is_sound || rc == 1);
	}
	tier_put(f);
}

static void do_hold(uint32_t i)
{
	if (m.held[i] == NULL) {
		m.held[i] = tiers_find(w.tiers, &m.roots[i]);
		return;
	}
	tier_put(m.held[i]);
	m.held[i] = NULL;
}

static void do_pin(uint32_t i)
{
	/* What went before is told before. */
	sim_world_run_for(w.world, SIM_MS);
	m.is_pinned[i] = !m.is_pinned[i] && i < 3;
	ck_assert_int_eq(tiers_pin(w.tiers, &m.roots[i], m.is_pinned[i]), 0);
}

static void do_evict(uint32_t i)
{
	int rc = tiers_evict(w.tiers, &m.roots[i]);

	ck_assert(rc < 0 || (!m.is_pinned[i] && m.held[i] == NULL));
	if (below(8) == 0)
		(void)tiers_evict_all(w.tiers);
}

static void put_all(void)
{
	for (uint32_t i = 0; i < ROOTS; i++) {
		tier_put(m.held[i]);
		m.held[i] = NULL;
		m.is_pinned[i] = false;
	}
}

static bool is_checked(void *arg unused_arg)
{
	for (uint32_t i = 0; i < ROOTS; i++)
		if (m.is_sealed[i] && !tiers_is_sealed(w.tiers, &m.roots[i])) {
			tier_put(tiers_find(w.tiers, &m.roots[i]));
			return false;
		}
	return true;
}

static void do_restart(uint32_t i)
{
	/* Turn the pins off: they are not kept, and what is told now is of the next process. */
	put_all();
	switch (i % 3) {
	case 0:
		tier_world_stop(&w);
		break;
	case 1:
		tier_world_crash(&w, false);
		break;
	default:
		tier_world_crash(&w, true);
	}
	tier_world_start(&w);
	/* What was sealed is there, if need be once it was checked. */
	if (m.is_sound)
		ck_assert(sim_world_run_until(w.world, is_checked, NULL, TIER_WORLD_WAIT));
}

static void do_wait(uint32_t i)
{
	sim_world_run_for(w.world, (i + 1) * SIM_S);
}

static void (*const doings[])(uint32_t i) = {
	do_fill, do_fill, do_fill, do_half_a_fill, do_draft, do_read, do_read, do_read,
	do_read, do_hold, do_pin,  do_evict,	   do_wait,  do_restart,
};

static void play(uint64_t seed, uint32_t place_count, bool is_sound)
{
	memset(&m, 0, sizeof m);
	m.is_sound = is_sound;
	tier_world_init(&w, seed, place_count, BYTES_MAX);
	w.policy = (enum tier_policy)(seed % 3);
	w.each_step = limit_holds;
	w.on_sealed = was_sealed;
	w.on_gone = went;
	w.scrub_bytes_per_s = seed % 2 == 0 ? MiB(4) : 0;
	if (place_count > 1)
		w.places[0].is_memory = seed % 4 < 2;
	for (uint32_t i = 0; i < ROOTS; i++)
		m.roots[i] = tier_world_root(i, MiB(1) + below(MiB(3)));
	tier_world_start(&w);
	for (uint32_t i = 0; !is_sound && i < place_count; i++)
		sim_media_set_faults(w.media[i],
				     &(struct sim_media_faults){ .read_eio = 3000,
								 .write_eio = 10000,
								 .sync_eio = 5000,
								 .sync_drops = 5000,
								 .write_nospc = 5000,
								 .uncached = 300000 });
	for (uint32_t step = 0; step < STEPS; step++)
		doings[below(ARRAY_COUNT(doings))]((uint32_t)below(ROOTS));
	put_all();
	tier_world_finish(&w);
}

START_TEST(a_tier_keeps_its_promises)
{
	play((uint64_t)_i + 1, 1, true);
}
END_TEST

START_TEST(two_tiers_keep_their_promises)
{
	play((uint64_t)_i + 100, 2, true);
}
END_TEST

START_TEST(a_tier_on_a_failing_disk_gives_no_wrong_byte)
{
	play((uint64_t)_i + 200, 1 + (uint32_t)_i % 2, false);
}
END_TEST

TEST_MAIN("tier_model", tcase_add_loop_test(tc, a_tier_keeps_its_promises, 0, check_seeds(24));
	  tcase_add_loop_test(tc, two_tiers_keep_their_promises, 0, check_seeds(24));
	  tcase_add_loop_test(tc, a_tier_on_a_failing_disk_gives_no_wrong_byte, 0,
			      check_seeds(24)))
