/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a second file shares with a first one, once both are cut by content: a model from a seed and
 * its relatives, against what each must share at least. The model of it all: a set of blocks.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/bytes.h"
#include "fs/hash/checksum.h"
#include "fs/tree/cut.h"
#include "fs/tree/tensors.h"
#include "tests/check_main.h"

#define WIDTH	    256u /* numbers of a row */
#define ROW_BYTES   (WIDTH * 4u)
#define LAYERS	    8u
#define PARTS	    6u
#define TENSORS_MAX (1u + LAYERS * PARTS)
#define FILE_ROOM   MiB(40)

/* Rows of a tensor of each layer: matrices, and what is too short for a run of its own. */
static const uint32_t part_rows[PARTS] = {256, 64, 1, 300, 771, 17};
#define EMBEDDING_ROWS 9000u

struct tensor {
	char name[48];
	uint32_t rows;
	uint8_t *bytes;
};

struct model {
	struct tensor tensors[TENSORS_MAX];
	uint32_t count;
	uint64_t seed;
};

static uint64_t random_next(uint64_t *seed)
{
	uint64_t z = (*seed += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

/* As training leaves them: close to normal, around zero. */
static void fill(uint8_t *bytes, uint32_t rows, uint64_t *seed)
{
	for (uint64_t i = 0; i < (uint64_t)rows * WIDTH; i++) {
		uint64_t r = random_next(seed);
		uint32_t sum = (uint32_t)(r & 0xffff) + (uint32_t)(r >> 16 & 0xffff) +
			       (uint32_t)(r >> 32 & 0xffff) + (uint32_t)(r >> 48);
		float value = ((float)sum - 131070.0f) * (0.02f / 37837.0f);

		memcpy(bytes + i * sizeof value, &value, sizeof value);
	}
}

static void add(struct model *m, const char *name, uint32_t rows)
{
	struct tensor *t = &m->tensors[m->count++];

	snprintf(t->name, sizeof t->name, "%s", name);
	t->rows = rows;
	t->bytes = malloc((size_t)rows * ROW_BYTES);
	ck_assert_ptr_nonnull(t->bytes);
	fill(t->bytes, rows, &m->seed);
}

static struct model *model(uint64_t seed)
{
	struct model *m = calloc(1, sizeof *m);

	m->seed = seed;
	add(m, "embed", EMBEDDING_ROWS);
	for (uint32_t i = 0; i < LAYERS * PARTS; i++) {
		char name[48];

		snprintf(name, sizeof name, "layers.%u.part%u", i / PARTS, i % PARTS);
		add(m, name, part_rows[i % PARTS]);
	}
	return m;
}

static void model_free(struct model *m)
{
	for (uint32_t i = 0; i < m->count; i++)
		free(m->tensors[i].bytes);
	free(m);
}

/* --- files ------------------------------------------------------------------------------------ */

struct file {
	uint8_t *bytes;
	uint64_t len;
};

static struct file file_of(struct wr *w)
{
	ck_assert(wr_ok(w));
	return (struct file){w->start, wr_len(w)};
}

static void put_tensors(struct wr *w, const struct model *m, uint32_t from, uint32_t to)
{
	for (uint32_t i = from; i < to; i++)
		wr_bytes(w, m->tensors[i].bytes, (size_t)m->tensors[i].rows * ROW_BYTES);
}

/* Those from `from` to `to`, names behind `prefix`, and `comment` among the metadata. */
static struct file safetensors_part(const struct model *m, const char *prefix, const char *comment,
				    uint32_t from, uint32_t to)
{
	struct wr w = wr_init(malloc(FILE_ROOM), FILE_ROOM);
	char header[TENSORS_MAX * 160];
	uint64_t at = 0;
	int len =
		snprintf(header, sizeof header, "{\"__metadata__\":{\"comment\":\"%s\"}", comment);

	for (uint32_t i = from; i < to; i++) {
		const struct tensor *t = &m->tensors[i];
		uint64_t end = at + (uint64_t)t->rows * ROW_BYTES;

		len += snprintf(header + len, sizeof header - (size_t)len,
				",\"%s%s\":{\"dtype\":\"F32\",\"shape\":[%u,%u],"
				"\"data_offsets\":[%llu,%llu]}",
				prefix, t->name, t->rows, WIDTH, (unsigned long long)at,
				(unsigned long long)end);
		at = end;
	}
	ck_assert_uint_lt((size_t)len, sizeof header - 2);
	header[len++] = '}';
	wr_u64(&w, (uint64_t)len);
	wr_bytes(&w, header, (size_t)len);
	put_tensors(&w, m, from, to);
	return file_of(&w);
}

static struct file safetensors(const struct model *m)
{
	return safetensors_part(m, "", "", 0, m->count);
}

static void varint(struct wr *w, uint64_t value)
{
	for (; value >= 0x80; value >>= 7)
		wr_u8(w, (uint8_t)(value | 0x80));
	wr_u8(w, (uint8_t)value);
}

static void onnx_tensor(struct wr *w, const struct tensor *t)
{
	wr_bytes(w, (const uint8_t[]){0x10, 1, 0x42}, 3); /* fp32, name */
	varint(w, strlen(t->name));
	wr_bytes(w, t->name, strlen(t->name));
	wr_u8(w, 0x4a); /* raw data */
	varint(w, (uint64_t)t->rows * ROW_BYTES);
	wr_bytes(w, t->bytes, (size_t)t->rows * ROW_BYTES);
}

/* A graph that begins anywhere: its initializers lie at odd places. */
static struct file onnx(const struct model *m)
{
	struct wr graph = wr_init(malloc(FILE_ROOM), FILE_ROOM);
	struct wr one = wr_init(malloc(FILE_ROOM), FILE_ROOM);
	struct wr w = wr_init(malloc(FILE_ROOM), FILE_ROOM);

	for (uint32_t i = 0; i < m->count; i++) {
		one = wr_init(one.start, FILE_ROOM);
		onnx_tensor(&one, &m->tensors[i]);
		wr_u8(&graph, 0x2a);
		varint(&graph, wr_len(&one));
		wr_bytes(&graph, one.start, wr_len(&one));
	}
	wr_bytes(&w, (const uint8_t[]){0x08, 8, 0x12, 1, 'x', 0x3a}, 6);
	varint(&w, wr_len(&graph));
	wr_bytes(&w, graph.start, wr_len(&graph));
	free(graph.start);
	free(one.start);
	return file_of(&w);
}

/* --- what is shared --------------------------------------------------------------------------- */

struct set {
	uint64_t ids[8192];
	uint32_t count;
};

struct shared {
	uint64_t bytes, of;
};

static int read_at(void *arg, uint64_t offset, uint32_t len unused_arg, const void **bytes)
{
	*bytes = ((struct file *)arg)->bytes + offset;
	return 0;
}

static void plan_of(struct file *file, struct cut_plan *plan)
{
	struct tensors_source source = {.size = file->len, .read = read_at, .arg = file};
	struct tensors *t = tensors_create(&source, &(struct tensors_sink){cut_plan_span, plan});
	int rc;

	cut_plan_init(plan);
	do {
		rc = tensors_walk(t);
	} while (rc == -E_AGAIN);
	ck_assert_int_eq(rc, 0);
	cut_plan_seal(plan, tensors_data_start(t));
	tensors_destroy(t);
}

static bool has(const struct set *set, uint64_t id)
{
	for (uint32_t i = 0; i < set->count; i++)
		if (set->ids[i] == id)
			return true;
	return false;
}

/* The blocks of a file into the set; how many of its bytes lie in such as were there before. */
static void store(struct set *set, struct file file, struct shared *shared)
{
	uint64_t start = 0, at = 0;
	struct cut_plan plan;
	struct cut cut;

	plan_of(&file, &plan);
	cut_init(&cut, &plan, 0);
	while (at < file.len) {
		bool ends;

		at += cut_feed(&cut, file.bytes + at, (uint32_t)MIN_OF(file.len - at, KiB(128)),
			       &ends);
		if (!ends && at < file.len)
			continue;
		uint64_t id = checksum_of(file.bytes + start, at - start);
		if (has(set, id))
			shared->bytes += at - start;
		else
			set->ids[set->count++] = id;
		ck_assert_uint_lt(set->count, ARRAY_COUNT(set->ids));
		start = at;
	}
	shared->of += file.len;
	cut_plan_finish(&plan);
	free(file.bytes);
}

/* Of the second file, which is gone with the first. */
static double share(struct file first, struct file second)
{
	struct set *set = calloc(1, sizeof *set);
	struct shared unused = {0}, shared = {0};

	store(set, first, &unused);
	store(set, second, &shared);
	free(set);
	return (double)shared.bytes / (double)shared.of;
}

/* --- stories ---------------------------------------------------------------------------------- */

START_TEST(a_changed_header_shares_nearly_all)
{
	struct model *m = model(1);

	ck_assert_double_ge(share(safetensors(m), safetensors_part(m, "", "odd", 0, m->count)),
			    0.97);
	ck_assert_double_ge(share(safetensors(m), safetensors_part(m, "base.", "", 0, m->count)),
			    0.97);
	model_free(m);
}
END_TEST

START_TEST(another_sharding_shares_nearly_all)
{
	struct model *m = model(2);
	struct set *set = calloc(1, sizeof *set);
	struct shared unused = {0}, shared = {0};
	const uint32_t ends[] = {1, 13, 30, TENSORS_MAX};

	store(set, safetensors(m), &unused);
	for (uint32_t i = 0, from = 0; i < ARRAY_COUNT(ends); from = ends[i++])
		store(set, safetensors_part(m, "", "part", from, ends[i]), &shared);
	ck_assert_double_ge((double)shared.bytes, 0.97 * (double)shared.of);
	free(set);
	model_free(m);
}
END_TEST

START_TEST(tensors_in_another_order_share_nearly_all)
{
	struct model *m = model(3);
	struct file first = safetensors(m);

	for (uint32_t i = 0; i < m->count; i++) {
		uint32_t other = (uint32_t)(random_next(&m->seed) % m->count);
		struct tensor t = m->tensors[i];

		m->tensors[i] = m->tensors[other];
		m->tensors[other] = t;
	}
	ck_assert_double_ge(share(first, safetensors(m)), 0.95);
	model_free(m);
}
END_TEST

/* Rows that are new, before row `at` of a tensor. */
static void insert_rows(struct model *m, struct tensor *t, uint32_t at, uint32_t rows)
{
	uint8_t *bytes = malloc((size_t)(t->rows + rows) * ROW_BYTES);
	uint64_t before = (uint64_t)at * ROW_BYTES, more = (uint64_t)rows * ROW_BYTES;

	memcpy(bytes, t->bytes, before);
	fill(bytes + before, rows, &m->seed);
	memcpy(bytes + before + more, t->bytes + before, (uint64_t)t->rows * ROW_BYTES - before);
	free(t->bytes);
	t->bytes = bytes;
	t->rows += rows;
}

START_TEST(inserted_rows_cost_little_more_than_themselves)
{
	for (uint32_t at = 0; at < EMBEDDING_ROWS; at += 2000) {
		struct model *m = model(4);
		struct file first = safetensors(m);
		double unchanged = (double)first.len / (double)(first.len + 48 * ROW_BYTES);

		insert_rows(m, &m->tensors[0], at + 321, 48);
		ck_assert_double_ge(share(first, safetensors(m)), unchanged - 0.02);
		model_free(m);
	}
}
END_TEST

START_TEST(the_last_tenth_changed_costs_little_more_than_a_tenth)
{
	struct model *m = model(5);
	struct file first = safetensors(m), second = safetensors(m);

	for (uint64_t i = second.len - second.len / 10; i < second.len; i += 4)
		second.bytes[i] ^= 1;
	ck_assert_double_ge(share(first, second), 0.9 - 0.02);
	model_free(m);
}
END_TEST

START_TEST(onnx_and_safetensors_share_nearly_all)
{
	struct model *m = model(6);

	ck_assert_double_ge(share(onnx(m), safetensors(m)), 0.95);
	ck_assert_double_ge(share(safetensors(m), onnx(m)), 0.95);
	model_free(m);
}
END_TEST

START_TEST(another_model_shares_nothing)
{
	struct model *m = model(7), *other = model(8);

	ck_assert_double_le(share(safetensors(m), safetensors(other)), 0.001);
	model_free(m);
	model_free(other);
}
END_TEST

TEST_MAIN("cut_dedup", tcase_add_test(tc, a_changed_header_shares_nearly_all);
	  tcase_add_test(tc, another_sharding_shares_nearly_all);
	  tcase_add_test(tc, tensors_in_another_order_share_nearly_all);
	  tcase_add_test(tc, inserted_rows_cost_little_more_than_themselves);
	  tcase_add_test(tc, the_last_tenth_changed_costs_little_more_than_a_tenth);
	  tcase_add_test(tc, onnx_and_safetensors_share_nearly_all);
	  tcase_add_test(tc, another_model_shares_nothing))
