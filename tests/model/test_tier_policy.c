/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Eviction policies against traces: how many bytes would each serve from the tier? The adaptive one
 * keeps what is used through a scan, and comes close to the better of the other two on every trace.
 */
#include <stdio.h>
#include <string.h>

#include "client/tier/policy.h"
#include "tests/check_main.h"
#include "tests/sim/sim_world.h"

#define FILES	 4096u
#define TIER	 GiB(100)
#define FILE_MIN GiB(1)
#define USES_MAX 20000u

struct trace {
	uint16_t files[USES_MAX];
	uint32_t count;
	uint32_t measured_from;
};

struct tier {
	struct policy *policy;
	struct policy_item items[FILES];
	bool is_here[FILES];
	uint64_t used, served, asked;
};

static struct sim_world *world;
static struct trace trace;

static uint64_t bytes_of(uint32_t file)
{
	return FILE_MIN * (1 + file * 7 % 4);
}

static bool always(const struct policy_item *item unused_arg)
{
	return true;
}

static void enter(struct tier *t, uint32_t file)
{
	struct policy_item *item = &t->items[file];
	const struct policy_newcomer newcomer = { .root = &item->root };

	while (t->used + item->bytes > TIER) {
		struct policy_item *victim = policy_victim(t->policy, &newcomer, always);

		if (victim == NULL)
			return;
		policy_remove(t->policy, victim);
		t->used -= victim->bytes;
		t->is_here[victim - t->items] = false;
	}
	policy_insert(t->policy, item);
	t->is_here[file] = true;
	t->used += item->bytes;
}

/* The part of bytes served by the tier, in per cent. */
static uint32_t play(enum tier_policy kind)
{
	struct tier *t = calloc(1, sizeof *t);
	uint32_t percent;

	ck_assert_int_eq(policy_create(kind, TIER, &t->policy), 0);
	for (uint32_t i = 0; i < FILES; i++) {
		t->items[i].root = (struct root){ ROOT_NODE, 1, 0, bytes_of(i), 0, { { 1 } } };
		memcpy(t->items[i].root.id.bytes + 8, &i, sizeof i);
		root_encode(&t->items[i].root, t->items[i].key);
		t->items[i].bytes = bytes_of(i);
	}
	for (uint32_t i = 0; i < trace.count; i++) {
		uint32_t file = trace.files[i];

		if (i >= trace.measured_from) {
			t->asked += bytes_of(file);
			t->served += t->is_here[file] ? bytes_of(file) : 0;
		}
		policy_use(t->policy, &t->items[file].root, bytes_of(file));
		if (!t->is_here[file])
			enter(t, file);
		ck_assert_uint_le(t->used, TIER);
	}
	percent = (uint32_t)(t->served * 100 / t->asked);
	policy_destroy(t->policy);
	free(t);
	return percent;
}

static void use(uint32_t file)
{
	ck_assert_uint_lt(trace.count, USES_MAX);
	trace.files[trace.count++] = (uint16_t)(file % FILES);
}

/* So many uses of `count` files from `first` on, one as often as the other, by chance. */
static void use_set(uint32_t first, uint32_t count, uint32_t uses)
{
	while (uses-- > 0)
		use(first + (uint32_t)sim_world_below(world, count));
}

static void begin(uint64_t seed)
{
	trace.count = trace.measured_from = 0;
	ck_assert_int_eq(sim_world_create(seed, &world), 0);
}

static void end(void)
{
	sim_world_destroy(world);
}

/* Thirty files are used all day; then a backup reads everything; then the day goes on. */
static void scan_after_hot_set(void)
{
	use_set(0, 30, 600);
	trace.measured_from = trace.count;
	for (uint32_t file = 100; file < 1000; file++)
		use(file);
	use_set(0, 30, 60);
}

static void loop_larger_than_the_tier(void)
{
	for (uint32_t lap = 0; lap < 40; lap++)
		for (uint32_t file = 0; file < 60; file++)
			use(file);
	trace.measured_from = trace.count / 4;
}

static void shifting_hot_set(void)
{
	for (uint32_t day = 0; day < 20; day++)
		use_set(day * 30, 30, 300);
	trace.measured_from = trace.count / 10;
}

/* Each is used a few times and never again. */
static void new_every_time(void)
{
	for (uint32_t file = 0; file < 1500; file++) {
		use_set(file, 20, 3);
		use(file);
	}
	trace.measured_from = trace.count / 10;
}

/* Some much more than others, with single uses between. */
static void popular_and_rare(void)
{
	for (uint32_t i = 0; i < 6000; i++) {
		uint64_t high = 1 + sim_world_below(world, 200);

		use((uint32_t)sim_world_below(world, high));
		if (i % 2 == 0)
			use(1000 + i / 2);
	}
	trace.measured_from = trace.count / 10;
}

static void (*const traces[])(void) = { scan_after_hot_set, loop_larger_than_the_tier,
					 shifting_hot_set, new_every_time, popular_and_rare };

START_TEST(adaptive_comes_close_to_the_better_one)
{
	uint32_t lru, lfu, adaptive;

	begin((uint64_t)_i + 1);
	traces[_i]();
	lru = play(TIER_LRU);
	lfu = play(TIER_LFU);
	adaptive = play(TIER_ADAPTIVE);
	printf("trace %d: lru %u %%, lfu %u %%, adaptive %u %%\n", _i, lru, lfu, adaptive);
	ck_assert_uint_ge(adaptive + 4, MAX_OF(lru, lfu));
	if (traces[_i] == loop_larger_than_the_tier)
		ck_assert_uint_ge(adaptive, 50);
	end();
}
END_TEST

START_TEST(a_scan_does_not_push_out_what_is_used)
{
	begin(7);
	use_set(0, 30, 600);
	for (uint32_t file = 100; file < 1000; file++)
		use(file);
	trace.measured_from = trace.count;
	use_set(0, 30, 60);
	ck_assert_uint_ge(play(TIER_ADAPTIVE), 85);
	ck_assert_uint_le(play(TIER_LRU), 70);
	end();
}
END_TEST

START_TEST(names_of_what_left_are_bounded)
{
	struct policy *p;

	ck_assert_int_eq(policy_create(TIER_ADAPTIVE, GiB(1), &p), 0);
	for (uint32_t i = 0; i < 3 * POLICY_GHOSTS_MAX; i++) {
		struct root root = { ROOT_NODE, 1, 0, MiB(1), 0, { { 1 } } };

		memcpy(root.id.bytes + 8, &i, sizeof i);
		policy_use(p, &root, MiB(1));
		if (i == 0)
			ck_assert_uint_eq(policy_uses(p, &root), 1);
	}
	struct root first = { ROOT_NODE, 1, 0, MiB(1), 0, { { 1 } } };
	ck_assert_uint_eq(policy_uses(p, &first), 0);
	policy_destroy(p);
}
END_TEST

TEST_MAIN("tier_policy",
	  tcase_add_loop_test(tc, adaptive_comes_close_to_the_better_one, 0, ARRAY_COUNT(traces));
	  tcase_add_test(tc, a_scan_does_not_push_out_what_is_used);
	  tcase_add_test(tc, names_of_what_left_are_bounded))
