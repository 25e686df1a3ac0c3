/* SPDX-License-Identifier: Apache-2.0 */
/* Cutting by content: blocks depend on the bytes of their run alone, never on how they came. */
#include <stdlib.h>
#include <string.h>

#include "fs/tree/cut.h"
#include "fs/tree/cut_scan.h"
#include "fs/tree/tensors.h"
#include "tests/check_main.h"

#define CUTS_MAX 4096u

struct cuts {
	uint64_t at[CUTS_MAX]; /* ends of blocks */
	uint32_t count;
};

static uint64_t random_next(uint64_t *seed)
{
	uint64_t z = (*seed += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static uint8_t *random_bytes(uint64_t len, uint64_t seed)
{
	uint8_t *bytes = malloc(len + 8);

	ck_assert_ptr_nonnull(bytes);
	for (uint64_t i = 0; i < len; i += 8) {
		uint64_t number = random_next(&seed);
		memcpy(bytes + i, &number, 8);
	}
	return bytes;
}

/* Pieces of up to `piece` bytes, of any length where `seed` is not 0. */
static struct cuts cuts_of(const struct cut_plan *plan, const uint8_t *bytes, uint64_t len,
			   uint64_t piece, uint64_t seed)
{
	static struct cuts cuts;
	struct cut cut;
	uint64_t at = 0;

	cuts.count = 0;
	cut_init(&cut, plan, 0);
	while (at < len) {
		uint64_t most = seed ? 1 + random_next(&seed) % piece : piece;
		uint64_t end = at + MIN_OF(most, len - at);

		while (at < end) {
			bool ends;
			uint32_t took = cut_feed(&cut, bytes + at, (uint32_t)(end - at), &ends);

			ck_assert(took > 0 && (ends || at + took == end));
			at += took;
			if (ends) {
				ck_assert_uint_lt(cuts.count, CUTS_MAX);
				cuts.at[cuts.count++] = at;
			}
		}
	}
	return cuts;
}

static bool has_cut(const struct cuts *cuts, uint64_t at)
{
	for (uint32_t i = 0; i < cuts->count; i++)
		if (cuts->at[i] == at)
			return true;
	return false;
}

START_TEST(pieces_of_any_length_cut_alike)
{
	const uint64_t len = MiB(1) + 1234;
	uint8_t *bytes = random_bytes(len, 1);
	struct cuts whole = cuts_of(NULL, bytes, len, len, 0);

	for (uint64_t piece = 1; piece < MiB(1); piece = piece * 5 + 2) {
		struct cuts other = cuts_of(NULL, bytes, len, piece, piece > 9 ? piece : 0);

		ck_assert_uint_eq(other.count, whole.count);
		ck_assert_mem_eq(other.at, whole.at, whole.count * sizeof whole.at[0]);
	}
	free(bytes);
}
END_TEST

START_TEST(kernels_find_the_same_places)
{
	uint8_t *bytes = random_bytes(KiB(64), 11);
	uint64_t seed = 12;

	for (uint32_t i = 0; i < 20000; i++) {
		uint32_t at = CUT_SCAN_BYTES + (uint32_t)(random_next(&seed) % 60000);
		uint32_t count = (uint32_t)(random_next(&seed) % (i % 2 ? 200 : 5000));
		uint32_t expected = cut_scan_plain(bytes + at, count);

		for (uint32_t level = 0; level <= cpu_level(); level++)
			ck_assert_uint_eq(cut_scan_kernels[level](bytes + at, count), expected);
	}
	free(bytes);
}
END_TEST

/* By the definition of cut_scan.h, place by place, and with nothing to read behind the last. */
START_TEST(the_filter_is_as_defined)
{
	const uint32_t len = 5000;
	uint8_t *bytes = random_bytes(len, 13);
	uint8_t *exact = malloc(len);
	uint32_t place = CUT_SCAN_BYTES, hits = 0;

	memcpy(exact, bytes, len);
	for (uint32_t p = CUT_SCAN_BYTES; p <= len; p++) {
		uint32_t w[5];

		for (uint32_t n = 1; n <= 4; n++)
			w[n] = exact[p - 2 * n] | (uint32_t)exact[p - 2 * n + 1] << 8;
		uint32_t f = (w[1] - w[3]) * CUT_SCAN_A + (w[2] - w[4]) * CUT_SCAN_B;
		if ((f & CUT_SCAN_MASK) != CUT_SCAN_HIT)
			continue;
		for (uint32_t level = 0; level <= cpu_level(); level++)
			ck_assert_uint_eq(cut_scan_kernels[level](exact + place, len + 1 - place),
					  p - place);
		place = p + 1;
		hits++;
	}
	ck_assert_uint_eq(cut_scan_plain(exact + place, len + 1 - place), len + 1 - place);
	ck_assert_uint_ge(hits, 3);
	free(exact);
	free(bytes);
}
END_TEST

START_TEST(blocks_are_a_grid_restarted_at_anchors)
{
	const uint64_t len = MiB(32);
	uint8_t *bytes = random_bytes(len, 2);
	struct cuts cuts = cuts_of(NULL, bytes, len, len, 0);
	uint64_t run = 0, anchors = 0;

	for (uint32_t i = 0; i < cuts.count; i++) {
		uint64_t before = i ? cuts.at[i - 1] : 0;

		ck_assert_uint_le(cuts.at[i] - before, BLOCK_BYTES_MAX);
		if ((cuts.at[i] - run) % BLOCK_BYTES_MAX == 0)
			continue;
		ck_assert_uint_ge(cuts.at[i] - run, CUT_ANCHOR_BYTES_MIN);
		run = cuts.at[i];
		anchors++;
	}
	ck_assert_uint_ge(anchors, len / CUT_ANCHOR_BYTES_MEAN / 2);
	ck_assert_uint_le(anchors, len / CUT_ANCHOR_BYTES_MEAN * 2);
	free(bytes);
}
END_TEST

START_TEST(behind_an_insertion_the_blocks_are_the_old_ones)
{
	const uint64_t len = MiB(16), at = MiB(5) + 77, more = 99999;
	uint8_t *old = random_bytes(len, 3), *inserted = random_bytes(more, 4);
	uint8_t *new = malloc(len + more);

	memcpy(new, old, at);
	memcpy(new + at, inserted, more);
	memcpy(new + at + more, old + at, len - at);
	struct cuts before = cuts_of(NULL, old, len, len, 0);
	struct cuts after = cuts_of(NULL, new, len + more, len, 0);
	uint32_t lost = 0;

	for (uint32_t i = 0; i < before.count; i++)
		lost += !has_cut(&after, before.at[i] <= at ? before.at[i] : before.at[i] + more);
	ck_assert_uint_le(lost, 16);
	free(old);
	free(new);
	free(inserted);
}
END_TEST

START_TEST(equal_numbers_have_no_anchors)
{
	static const uint8_t patterns[][4] = {{0}, {7, 7, 7, 7}, {1, 2, 1, 2}, {0, 0, 0x80, 0x3f}};
	const uint64_t len = MiB(4);
	uint8_t *bytes = malloc(len);

	for (uint32_t p = 0; p < ARRAY_COUNT(patterns); p++) {
		for (uint64_t i = 0; i < len; i++)
			bytes[i] = patterns[p][i % 4];
		struct cuts cuts = cuts_of(NULL, bytes, len, len, 0);
		ck_assert_uint_eq(cuts.count, len / BLOCK_BYTES_MAX);
	}
	free(bytes);
}
END_TEST

static void plan_with(struct cut_plan *plan, const uint64_t (*spans)[2], uint32_t count)
{
	cut_plan_init(plan);
	for (uint32_t i = 0; i < count; i++)
		cut_plan_span(plan,
			      &(struct tensors_span){.offset = spans[i][0], .length = spans[i][1]});
	cut_plan_seal(plan, 1000);
}

START_TEST(tensors_begin_and_end_blocks)
{
	static const uint64_t spans[][2] = {
		{400000, 70000}, {1000, 4096}, {5096, 100}, {70000, 4095}, {200000, 200000},
	};
	uint8_t *bytes = random_bytes(500000, 5);
	struct cut_plan plan;

	plan_with(&plan, spans, ARRAY_COUNT(spans));
	struct cuts cuts = cuts_of(&plan, bytes, 500000, 5000, 7);
	ck_assert(has_cut(&cuts, 1000) && has_cut(&cuts, 5096));
	ck_assert(has_cut(&cuts, 200000) && has_cut(&cuts, 400000) && has_cut(&cuts, 470000));
	ck_assert(!has_cut(&cuts, 5196) && !has_cut(&cuts, 70000) && !has_cut(&cuts, 74095));
	cut_plan_finish(&plan);
	free(bytes);
}
END_TEST

START_TEST(overlapping_tensors_cost_no_blocks)
{
	uint8_t *bytes = random_bytes(MiB(1), 6);
	struct cut_plan plan;

	cut_plan_init(&plan);
	for (uint64_t i = 0; i < 100000; i++)
		cut_plan_span(&plan, &(struct tensors_span){.offset = i, .length = 65536 + i});
	cut_plan_seal(&plan, 0);
	struct cuts cuts = cuts_of(&plan, bytes, MiB(1), MiB(1), 0);
	ck_assert_uint_le(cuts.count, 3 * (MiB(1) / BLOCK_BYTES_MAX));
	cut_plan_finish(&plan);
	free(bytes);
}
END_TEST

static void plan_one(struct cut_plan *plan, uint64_t offset, uint64_t length)
{
	cut_plan_init(plan);
	cut_plan_span(plan, &(struct tensors_span){.offset = offset, .length = length});
	cut_plan_seal(plan, 0);
}

/* Of a tensor twice as long and more; else an edit across that bound would move every cut. */
START_TEST(anchors_of_a_long_tensor_are_among_those_of_a_short_one)
{
	const uint64_t len = MiB(16);
	uint8_t *bytes = random_bytes(2 * len, 10);
	struct cut_plan plan;
	uint32_t shared = 0;

	plan_one(&plan, 0, len);
	struct cuts shorter = cuts_of(&plan, bytes, len, MiB(1), 0);
	cut_plan_finish(&plan);
	plan_one(&plan, 0, 2 * len);
	struct cuts longer = cuts_of(&plan, bytes, 2 * len, MiB(1), 0);
	cut_plan_finish(&plan);
	for (uint32_t i = 0; i < shorter.count; i++)
		shared += has_cut(&longer, shorter.at[i]);
	ck_assert_uint_gt(shared, shorter.count / 8);
	ck_assert_uint_lt(longer.count, 2 * shorter.count);
	free(bytes);
}
END_TEST

START_TEST(a_tensor_is_cut_alike_wherever_it_lies)
{
	const uint64_t len = MiB(3) + 17;
	uint8_t *tensor = random_bytes(len, 8), *file = random_bytes(len + 90000, 9);
	struct cut_plan plan;

	plan_one(&plan, 0, len);
	struct cuts alone = cuts_of(&plan, tensor, len, len, 0);
	cut_plan_finish(&plan);
	memcpy(file + 70001, tensor, len);
	plan_one(&plan, 70001, len);
	struct cuts inside = cuts_of(&plan, file, len + 90000, MiB(1), 0);
	for (uint32_t i = 0; i < alone.count; i++)
		ck_assert(has_cut(&inside, 70001 + alone.at[i]));
	cut_plan_finish(&plan);
	free(tensor);
	free(file);
}
END_TEST

START_TEST(a_hole_begins_a_run)
{
	uint8_t *bytes = random_bytes(MiB(1), 10);
	struct cut cut;
	bool ends;

	cut_init(&cut, NULL, 0);
	ck_assert_uint_eq(cut_feed(&cut, bytes, 1000, &ends), 1000);
	ck_assert(!ends);
	cut_restart(&cut, MiB(7));
	ck_assert_uint_eq(cut_feed(&cut, bytes, BLOCK_BYTES_MAX + 1, &ends), BLOCK_BYTES_MAX);
	ck_assert(ends && cut.offset == MiB(7) + BLOCK_BYTES_MAX);
	free(bytes);
}
END_TEST

TEST_MAIN("cut", tcase_add_test(tc, pieces_of_any_length_cut_alike);
	  tcase_add_test(tc, kernels_find_the_same_places);
	  tcase_add_test(tc, the_filter_is_as_defined);
	  tcase_add_test(tc, blocks_are_a_grid_restarted_at_anchors);
	  tcase_add_test(tc, behind_an_insertion_the_blocks_are_the_old_ones);
	  tcase_add_test(tc, equal_numbers_have_no_anchors);
	  tcase_add_test(tc, tensors_begin_and_end_blocks);
	  tcase_add_test(tc, overlapping_tensors_cost_no_blocks);
	  tcase_add_test(tc, anchors_of_a_long_tensor_are_among_those_of_a_short_one);
	  tcase_add_test(tc, a_tensor_is_cut_alike_wherever_it_lies);
	  tcase_add_test(tc, a_hole_begins_a_run))
