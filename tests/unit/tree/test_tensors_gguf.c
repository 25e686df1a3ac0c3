/* SPDX-License-Identifier: Apache-2.0 */
/* GGUF: all versions, alignment, values of every kind before the tensors; and hostile ones. */
#include "tests/check_main.h"
#include "tests/tensor_files.h"

struct gguf {
	struct file file;
	struct wr w;
	uint32_t version;
};

static void word(struct gguf *g, uint64_t value)
{
	if (g->version == 1)
		wr_u32(&g->w, (uint32_t)value);
	else
		wr_u64(&g->w, value);
}

static void text(struct gguf *g, const char *value)
{
	word(g, strlen(value));
	wr_bytes(&g->w, value, strlen(value));
}

static void key(struct gguf *g, const char *name, uint32_t type)
{
	text(g, name);
	wr_u32(&g->w, type);
}

static struct gguf *gguf(uint32_t version, uint64_t tensors, uint64_t keys)
{
	struct gguf *g = calloc(1, sizeof *g);

	g->version = version;
	g->w = wr_init(g->file.bytes, sizeof g->file.bytes);
	wr_bytes(&g->w, "GGUF", 4);
	wr_u32(&g->w, version);
	word(g, tensors);
	word(g, keys);
	return g;
}

static void tensor(struct gguf *g, const char *name, uint64_t rows, uint32_t type, uint64_t offset)
{
	text(g, name);
	wr_u32(&g->w, 2);
	word(g, 64);
	word(g, rows);
	wr_u32(&g->w, type);
	wr_u64(&g->w, offset);
}

/* Data begins at a multiple of `alignment`; where. */
static uint64_t data(struct gguf *g, uint32_t alignment, uint64_t len)
{
	wr_zeros(&g->w, (alignment - wr_len(&g->w) % alignment) % alignment);
	uint64_t start = wr_len(&g->w);

	wr_zeros(&g->w, len);
	ck_assert(wr_ok(&g->w));
	g->file.size = wr_len(&g->w);
	return start;
}

static void every_value(struct gguf *g)
{
	key(g, "general.alignment", 4);
	wr_u32(&g->w, 256);
	key(g, "a.bool", 7);
	wr_u8(&g->w, 1);
	key(g, "a.f64", 12);
	wr_u64(&g->w, 0);
	key(g, "a.text", 8);
	text(g, "GGUF");
	key(g, "tokens", 9);
	wr_u32(&g->w, 8);
	word(g, 3);
	text(g, "");
	text(g, "one");
	text(g, "two");
	key(g, "numbers", 9);
	wr_u32(&g->w, 2);
	word(g, 5);
	wr_zeros(&g->w, 10);
	key(g, "arrays", 9);
	wr_u32(&g->w, 9);
	word(g, 2);
	for (uint32_t i = 0; i < 2; i++) {
		wr_u32(&g->w, 0);
		word(g, i);
		wr_zeros(&g->w, i);
	}
}

START_TEST(every_version_tells_its_tensors)
{
	for (uint32_t version = 1; version <= 3; version++) {
		struct gguf *g = gguf(version, 3, 7);
		char told[200];
		uint64_t data_start;

		every_value(g);
		tensor(g, "blk.0", 4, 12, 0); /* Q4_K: a block of 256 */
		tensor(g, "", 2, 0, 256);
		tensor(g, "out", 3, 30, 1024);
		unsigned start = (unsigned)data(g, 256, 1024 + 384);
		snprintf(told, sizeof told, "blk.0 q4_k %u+144\n f32 %u+512\nout bf16 %u+384\n",
			 start, start + 256, start + 1024);
		file_expect(&g->file, TENSORS_OF_GGUF, told);
		file_walk(&g->file, false, &data_start);
		ck_assert_uint_eq(data_start, start);
		free(g);
	}
}
END_TEST

START_TEST(the_alignment_is_32_unless_told)
{
	struct gguf *g = gguf(3, 1, 0);
	char told[64];

	tensor(g, "a", 1, 24, 0);
	snprintf(told, sizeof told, "a i8 %u+64\n", (unsigned)data(g, 32, 64));
	file_expect(&g->file, TENSORS_OF_GGUF, told);
	free(g);
}
END_TEST

START_TEST(what_does_not_fit_is_not_told)
{
	struct gguf *g = gguf(3, 5, 0);
	char told[64];

	tensor(g, "unknown type", 1, 99, 0);
	tensor(g, "removed type", 1, 4, 0);
	tensor(g, "beyond", 2, 24, 64);
	tensor(g, "far beyond", 1, 24, UINT64_MAX);
	tensor(g, "good", 2, 24, 0);
	snprintf(told, sizeof told, "good i8 %u+128\n", (unsigned)data(g, 32, 128));
	file_expect(&g->file, TENSORS_OF_GGUF, told);
	free(g);
}
END_TEST

START_TEST(numbers_that_overflow_end_the_walk)
{
	struct gguf *g = gguf(3, 2, 0);

	tensor(g, "a", UINT64_MAX, 24, 0);
	tensor(g, "b", 1, 24, 0);
	data(g, 32, 64);
	file_expect(&g->file, TENSORS_OF_GGUF, "");
	free(g);
}
END_TEST

static void hostile_value(uint32_t type, uint32_t of, uint64_t count)
{
	struct gguf *g = gguf(3, 1, 1);

	key(g, "a", type);
	if (type == 9)
		wr_u32(&g->w, of);
	wr_u64(&g->w, count);
	tensor(g, "b", 1, 24, 0);
	data(g, 32, 64);
	file_expect(&g->file, TENSORS_OF_GGUF, "");
	free(g);
}

START_TEST(hostile_values_end_the_walk)
{
	hostile_value(13, 0, 0);
	hostile_value(8, 0, UINT64_MAX);
	hostile_value(9, 8, UINT64_MAX);
	hostile_value(9, 10, UINT64_MAX / 8 + 2); /* times eight comes to eight */
	hostile_value(9, 9, UINT64_MAX);
	hostile_value(9, 77, 1);
}
END_TEST

START_TEST(arrays_within_arrays_end_somewhere)
{
	struct gguf *g = gguf(3, 1, 1);

	key(g, "a", 9);
	for (uint32_t i = 0; i < 1000; i++) {
		wr_u32(&g->w, 9);
		wr_u64(&g->w, 1);
	}
	data(g, 32, 64);
	file_expect(&g->file, TENSORS_OF_GGUF, "");
	free(g);
}
END_TEST

START_TEST(counts_without_end_do_end)
{
	struct gguf *g = gguf(3, UINT64_MAX, 0);
	struct gguf *k = gguf(2, 1, UINT64_MAX);

	data(g, 32, 32768);
	file_expect(&g->file, TENSORS_OF_GGUF, "");
	data(k, 32, 32768);
	file_expect(&k->file, TENSORS_OF_GGUF, "");
	free(g);
	free(k);
}
END_TEST

START_TEST(a_file_that_ends_early_tells_nothing)
{
	struct gguf *g = gguf(3, 1, 7);

	every_value(g);
	tensor(g, "a", 1, 24, 0);
	uint64_t len = data(g, 256, 64);
	for (g->file.size = 8; g->file.size <= len; g->file.size++)
		file_expect(&g->file, TENSORS_OF_GGUF, "");
	free(g);
}
END_TEST

TEST_MAIN("tensors_gguf", tcase_add_test(tc, every_version_tells_its_tensors);
	  tcase_add_test(tc, the_alignment_is_32_unless_told);
	  tcase_add_test(tc, what_does_not_fit_is_not_told);
	  tcase_add_test(tc, numbers_that_overflow_end_the_walk);
	  tcase_add_test(tc, hostile_values_end_the_walk);
	  tcase_add_test(tc, arrays_within_arrays_end_somewhere);
	  tcase_add_test(tc, counts_without_end_do_end);
	  tcase_add_test(tc, a_file_that_ends_early_tells_nothing))
