/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cutting while writing: whatever the pieces in which a file comes, its blocks are those that the
 * cutter makes of the whole file, if its header comes first.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/core/stream.h"
#include "fs/tree/cut.h"
#include "fs/tree/tensors.h"
#include "tests/check_main.h"

#define FILE_BYTES  (2u << 20)
#define ENDS_MAX    4096u
#define TENSORS	    9u

static uint8_t file[FILE_BYTES];
static struct cl_stream_budget budget = { .max = FILE_BYTES };
static uint64_t whole[ENDS_MAX], streamed[ENDS_MAX];

static uint64_t next_random(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return *state >> 33;
}

static void fill(uint64_t seed)
{
	for (uint32_t i = 0; i < FILE_BYTES; i++)
		file[i] = (uint8_t)next_random(&seed);
}

/* A safetensors header of `bytes`, padded, over tensors of odd lengths. */
static void make_safetensors(uint32_t bytes)
{
	uint32_t at = 0, data = FILE_BYTES - 8 - bytes;
	char *json = (char *)file + 8, *to = json;

	memcpy(file, &(uint64_t){ bytes }, 8);
	for (uint32_t i = 0; i < TENSORS; i++) {
		uint32_t end = i == TENSORS - 1 ? data : at + data / (i % 3 == 0 ? 64 : 8) + 1;

		to += snprintf(to, 200, "%c\"t%u\":{\"dtype\":\"U8\",\"shape\":[%u],"
			       "\"data_offsets\":[%u,%u]}", i ? ',' : '{', i, end - at, at, end);
		at = end;
	}
	*to++ = '}';
	memset(to, ' ', bytes - (size_t)(to - json));
}

static int read_file(void *arg, uint64_t offset, uint32_t len, const void **bytes)
{
	(void)arg, (void)len;
	*bytes = file + offset;
	return 0;
}

/* The ends of its blocks, as sealing finds them; how many. */
static uint32_t cut_whole(uint64_t ends_at[ENDS_MAX])
{
	struct tensors_source source = { .size = FILE_BYTES, .read = read_file };
	struct cut_plan plan;
	struct cut cut;
	uint32_t count = 0;
	int rc;

	cut_plan_init(&plan);
	struct tensors *walk = tensors_create(&source,
					      &(struct tensors_sink){ cut_plan_span, &plan });
	do {
		rc = tensors_walk(walk);
	} while (rc == -E_AGAIN);
	ck_assert_int_eq(rc, 0);
	cut_plan_seal(&plan, tensors_data_start(walk));
	cut_init(&cut, &plan, 0);
	for (uint32_t at = 0; at < FILE_BYTES;) {
		bool ends;

		at += cut_feed(&cut, file + at, FILE_BYTES - at, &ends);
		if (ends || at == FILE_BYTES)
			ends_at[count++] = at;
	}
	tensors_destroy(walk);
	cut_plan_finish(&plan);
	return count;
}

static uint32_t cut_streamed(uint64_t seed, uint32_t piece_max, bool *is_final)
{
	struct cl_cutter *s = cl_stream_create(&budget);
	uint32_t count = 0;

	ck_assert_ptr_nonnull(s);
	for (uint32_t at = 0; at < FILE_BYTES;) {
		uint32_t len = 1 + (uint32_t)(next_random(&seed) % piece_max);
		bool ends;

		len = MIN_OF(len, FILE_BYTES - at);
		ck_assert_uint_eq(cl_stream_at(s), at);
		ck_assert_uint_eq(cl_stream_block(s), count ? streamed[count - 1] : 0);
		uint32_t taken = cl_stream_feed(s, file + at, len, &ends);
		ck_assert_uint_ge(taken, 1);
		ck_assert_uint_le(taken, len);
		ck_assert(ends || taken == len);
		at += taken;
		if (ends || at == FILE_BYTES)
			streamed[count++] = at;
	}
	*is_final = cl_stream_is_final(s);
	cl_stream_destroy(s);
	ck_assert_uint_eq(budget.used, 0);
	return count;
}

static void check_equal(uint64_t seed)
{
	static const uint32_t pieces[] = { 700, 65536, FILE_BYTES };
	uint32_t count = cut_whole(whole);

	for (size_t i = 0; i < ARRAY_COUNT(pieces); i++) {
		bool is_final;

		ck_assert_uint_eq(cut_streamed(seed + i, pieces[i], &is_final), count);
		ck_assert(is_final);
		ck_assert_mem_eq(streamed, whole, count * sizeof whole[0]);
	}
}

static bool is_an_end(uint64_t offset)
{
	for (uint32_t i = 0; i < ENDS_MAX; i++)
		if (whole[i] == offset)
			return true;
	return false;
}

START_TEST(a_model_is_cut_as_when_it_is_sealed)
{
	static const uint32_t headers[] = { 1000, 5000, 65528, 65536, 300001 };

	for (uint32_t i = 0; i < ARRAY_COUNT(headers); i++) {
		fill(i);
		make_safetensors(headers[i]);
		check_equal(i);
		ck_assert(is_an_end(8 + headers[i]));
	}
}
END_TEST

START_TEST(other_bytes_are_cut_at_anchors)
{
	for (uint32_t i = 0; i < 3; i++) {
		fill(100 + i);
		check_equal(i);
	}
	memset(file, 0, sizeof file);
	check_equal(7);
}
END_TEST

START_TEST(what_only_its_end_tells_is_left_to_the_seal)
{
	bool is_final;

	fill(5);
	memcpy(file, "PK\3\4", 4);
	(void)cut_streamed(1, 100000, &is_final);
	ck_assert(!is_final);
}
END_TEST

START_TEST(a_header_beyond_the_budget_is_left_to_the_seal)
{
	bool is_final;

	fill(6);
	make_safetensors(50000);
	budget.max = 120000;
	(void)cut_streamed(1, 700, &is_final);
	ck_assert(is_final);
	budget.max = 500;
	uint32_t count = cut_streamed(1, 700, &is_final);
	ck_assert(!is_final);
	ck_assert_uint_eq(streamed[count - 1], FILE_BYTES);
}
END_TEST

START_TEST(a_header_that_lies_does_no_harm)
{
	for (uint32_t i = 0; i < 40; i++) {
		bool is_final;
		uint64_t seed = i;

		fill(i);
		make_safetensors(3000);
		for (uint32_t n = 0; n < 1 + i; n++)
			file[next_random(&seed) % 700] = (uint8_t)next_random(&seed);
		uint32_t count = cut_streamed(i, 70000, &is_final);
		ck_assert_uint_eq(streamed[count - 1], FILE_BYTES);
		for (uint32_t n = 0; n < count; n++)
			ck_assert_uint_le(streamed[n] - (n ? streamed[n - 1] : 0),
					  BLOCK_BYTES_MAX);
	}
}
END_TEST

TEST_MAIN("stream", tcase_add_test(tc, a_model_is_cut_as_when_it_is_sealed);
	  tcase_add_test(tc, other_bytes_are_cut_at_anchors);
	  tcase_add_test(tc, what_only_its_end_tells_is_left_to_the_seal);
	  tcase_add_test(tc, a_header_beyond_the_budget_is_left_to_the_seal);
	  tcase_add_test(tc, a_header_that_lies_does_no_harm))
