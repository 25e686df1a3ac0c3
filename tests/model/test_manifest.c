/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The manifest against an obvious model: an array that says for each byte of the file which block
 * it belongs to, and which byte of it. Blocks are of 1 to 3 bytes, so a few thousand bytes make a
 * tree of several leaves. Nothing is fetched but what was sealed before.
 */
#include <stdio.h>

#include "tests/check_main.h"
#include "tests/node_store.h"

#define MODEL_BYTES_MAX 60000u
#define BATCH_MAX	4000u

struct model_byte {
	uint32_t block;		/* 0: hole */
	uint32_t at;		/* byte of the block; 0 in a hole */
	uint32_t length;	/* of the block */
};

struct world {
	uint64_t seed;
	uint64_t state;
	struct manifest *m;
	struct node_store store;
	struct model_byte *bytes;
	uint32_t count;
	uint32_t block_last;
	uint32_t nodes_max;
};

static uint32_t pick(struct world *w, uint32_t below)
{
	w->state = w->state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(w->state >> 33) % below;
}

static struct block_id id_of(uint32_t block)
{
	struct block_id id = { { 0 } };

	memcpy(id.bytes, &block, sizeof block);
	return id;
}

static void world_init(struct world *w, uint64_t seed, uint32_t nodes_max)
{
	struct root root = { .kind = ROOT_EMPTY };

	*w = (struct world){ .seed = seed, .state = seed, .nodes_max = nodes_max };
	w->bytes = calloc(MODEL_BYTES_MAX, sizeof *w->bytes);
	ck_assert_ptr_nonnull(w->bytes);
	ck_assert_int_eq(manifest_create(&root, HASH_SHA256, nodes_max, &w->m), 0);
}

static void world_finish(struct world *w)
{
	manifest_destroy(w->m);
	node_store_finish(&w->store);
	free(w->bytes);
}

static bool is_boundary(const struct world *w, uint32_t offset)
{
	return offset == 0 || offset == w->count || w->bytes[offset].at == 0;
}

/* A boundary at or below `offset`: for a hole, every byte is one. */
static uint32_t boundary_below(const struct world *w, uint32_t offset)
{
	return offset == w->count ? offset : offset - w->bytes[offset].at;
}

static void model_replace(struct world *w, uint32_t offset, uint32_t length,
			  const struct extent *entries, uint32_t count)
{
	uint32_t grown = 0;

	for (uint32_t i = 0; i < count; i++)
		grown += (uint32_t)entries[i].length;
	ck_assert_uint_le(w->count - length + grown, MODEL_BYTES_MAX);
	memmove(w->bytes + offset + grown, w->bytes + offset + length,
		(w->count - offset - length) * sizeof *w->bytes);
	w->count = w->count - length + grown;
	for (uint32_t i = 0; i < count; i++) {
		uint32_t block;

		memcpy(&block, entries[i].id.bytes, sizeof block);
		for (uint32_t k = 0; k < entries[i].length; k++)
			w->bytes[offset++] = block ? (struct model_byte){
				block, k, (uint32_t)entries[i].length } : (struct model_byte){ 0 };
	}
}

static void replace(struct world *w, uint32_t offset, uint32_t length, uint32_t count,
		    uint32_t holes)
{
	static struct extent entries[BATCH_MAX];

	for (uint32_t i = 0; i < count; i++) {
		bool is_hole = pick(w, 100) < holes;

		entries[i] = (struct extent){ .length = 1 + pick(w, 3) };
		if (!is_hole)
			entries[i].id = id_of(++w->block_last);
	}
	ck_assert_int_eq(RETRY(&w->store, w->m, manifest_replace(w->m, offset, length, entries,
								 count)), 0);
	model_replace(w, offset, length, entries, count);
}

/* The extent that the model sees at `offset`; holes are as long as they can be. */
static struct extent model_extent(const struct world *w, uint32_t offset)
{
	uint32_t start = boundary_below(w, offset), end;

	if (w->bytes[offset].block != 0)
		return (struct extent){ .offset = start, .length = w->bytes[offset].length,
					.id = id_of(w->bytes[offset].block) };
	for (end = offset; end < w->count && w->bytes[end].block == 0; end++)
		;
	while (start > 0 && w->bytes[start - 1].block == 0)
		start--;
	return (struct extent){ .offset = start, .length = end - start };
}

/* Check writes a mark per assertion: the hot path asks it only when something is wrong. */
static uint32_t check_at(struct world *w, uint32_t offset, bool holes_are_merged)
{
	struct extent want = model_extent(w, offset), got;
	int rc = RETRY(&w->store, w->m, manifest_lookup(w->m, offset, &got));
	bool is_exact = holes_are_merged || w->bytes[offset].block != 0;

	if (rc != 0 || !block_id_equal(&got.id, &want.id) || got.offset > offset ||
	    offset >= got.offset + got.length ||
	    (is_exact && (got.offset != want.offset || got.length != want.length)))
		ck_abort_msg("seed %llu: wrong extent at %u (rc %d)", (unsigned long long)w->seed,
			     offset, rc);
	return (uint32_t)(got.offset + got.length);
}

static uint32_t model_data(const struct world *w)
{
	uint32_t data = 0;

	for (uint32_t i = 0; i < w->count; i++)
		data += w->bytes[i].block != 0;
	return data;
}

static void check_all(struct world *w, bool holes_are_merged)
{
	struct extent x;

	ck_assert_uint_eq(manifest_bytes(w->m), w->count);
	ck_assert_uint_eq(manifest_data_bytes(w->m), model_data(w));
	for (uint32_t at = 0; at < w->count;)
		at = check_at(w, at, holes_are_merged);
	ck_assert_int_eq(manifest_lookup(w->m, w->count, &x), -E_RANGE);
}

static struct root seal(struct world *w)
{
	struct root root;

	ck_assert_int_eq(manifest_seal(w->m, node_store_emit, &w->store, &root), 0);
	ck_assert(!manifest_is_dirty(w->m));
	ck_assert_uint_eq(manifest_dirty_count(w->m), 0);
	ck_assert_uint_eq(root.length, w->count);
	ck_assert_uint_eq(root_data_bytes(&root), model_data(w));
	return root;
}

static void reopen(struct world *w)
{
	uint8_t bytes[ROOT_BYTES];
	struct root root = seal(w);

	root_encode(&root, bytes);
	ck_assert_int_eq(root_decode(bytes, &root), 0);
	manifest_destroy(w->m);
	ck_assert_int_eq(manifest_create(&root, HASH_SHA256, w->nodes_max, &w->m), 0);
}

/* A range between boundaries, of `span` bytes at most; often short, sometimes nearly all. */
static void pick_range(struct world *w, uint32_t *offset, uint32_t *length)
{
	uint32_t span = pick(w, 4) == 0 ? w->count : 12;

	*offset = boundary_below(w, pick(w, w->count + 1));
	uint32_t end = *offset + pick(w, span + 1);
	end = boundary_below(w, MIN_OF(end, w->count));
	*length = end > *offset ? end - *offset : 0;
}

static void step(struct world *w)
{
	uint32_t offset, length, room = MODEL_BYTES_MAX - w->count;
	uint32_t kind = pick(w, 100);

	pick_range(w, &offset, &length);
	if (kind < 25 && room > 3 * BATCH_MAX)		/* stream to the end */
		replace(w, w->count, 0, 1 + pick(w, BATCH_MAX), 5);
	else if (kind < 60 && room > 60)		/* overwrite, insert, remove a little */
		replace(w, offset, length, pick(w, 20), 20);
	else if (kind < 70 && room > 3 * BATCH_MAX)
		replace(w, offset, length, pick(w, BATCH_MAX), 30);
	else if (kind < 75)				/* truncate */
		replace(w, offset, w->count - offset, 0, 0);
	else if (kind < 85 && length > 0 && room > 3)	/* punch */
		replace(w, offset, length, 1, 100);
	else if (kind < 95)
		reopen(w);
	else
		(void)seal(w);
}

static void run_seed(uint64_t seed, uint32_t nodes_max)
{
	struct world w;

	world_init(&w, seed, nodes_max);
	replace(&w, 0, 0, 1 + pick(&w, BATCH_MAX), 10);
	for (uint32_t i = 0; i < 60; i++) {
		step(&w);
		for (uint32_t k = 0; k < 20 && w.count > 0; k++)
			check_at(&w, pick(&w, w.count), true);
		if (i % 10 == 9)
			check_all(&w, true);
	}
	reopen(&w);
	check_all(&w, true);
	world_finish(&w);
}

START_TEST(random_edits_agree_with_the_model)
{
	uint64_t seeds = (uint64_t)check_seeds(15);

	for (uint64_t seed = 1; seed <= seeds; seed++)
		run_seed((uint64_t)_i * 1000 + seed, _i == 0 ? 2 : 1000);
}
END_TEST

START_TEST(edits_between_boundaries_only)
{
	struct world w;
	struct extent one = { .length = 1, .id = id_of(9) };

	world_init(&w, 7, 2);
	replace(&w, 0, 0, 3000, 0);
	for (uint32_t i = 0; i < 200; i++) {
		uint32_t at = pick(&w, w.count), end = at + pick(&w, w.count - at + 1);
		uint64_t bytes = manifest_bytes(w.m);

		if (is_boundary(&w, at) && is_boundary(&w, end))
			continue;
		ck_assert_int_eq(RETRY(&w.store, w.m, manifest_replace(w.m, at, end - at, &one, 1)),
				 -E_INVAL);
		ck_assert_uint_eq(manifest_bytes(w.m), bytes);
	}
	check_all(&w, true);
	world_finish(&w);
}
END_TEST

/* Append the sealed content of one world to another, also to itself. */
static void append_world(struct world *w, struct world *from)
{
	struct root root = seal(from);
	uint32_t count = from->count;
	struct stored_node *node, *next;

	HASH_ITER(hh, from->store.nodes, node, next)
		ck_assert_int_eq(node_store_emit(&w->store, &node->id, node->bytes, node->len), 0);
	ck_assert_int_eq(RETRY(&w->store, w->m, manifest_append_root(w->m, &root)), 0);
	ck_assert_uint_le(w->count + count, MODEL_BYTES_MAX);
	memcpy(w->bytes + w->count, from->bytes, count * sizeof *w->bytes);
	w->count += count;
}

START_TEST(concatenated_roots_agree_with_the_model)
{
	static const uint32_t sizes[] = { 0, 1, 2, 1600, 1700, 4000 };

	for (uint32_t i = 0; i < ARRAY_COUNT(sizes) * ARRAY_COUNT(sizes); i++) {
		struct world a, b;

		world_init(&a, i, 2);
		world_init(&b, i + 100, 2);
		b.block_last = 1u << 20;
		replace(&a, 0, 0, sizes[i / ARRAY_COUNT(sizes)], 3);
		replace(&b, 0, 0, sizes[i % ARRAY_COUNT(sizes)], 3);
		if (i % 2)
			reopen(&a);
		append_world(&a, &b);
		check_all(&a, false);
		append_world(&a, &b);
		replace(&a, a.count, 0, 50, 0);
		append_world(&a, &a);
		check_all(&a, false);
		reopen(&a);
		check_all(&a, false);
		for (uint32_t k = 0; k < 20; k++) {
			uint32_t at, length;

			pick_range(&a, &at, &length);
			replace(&a, at, MIN_OF(length, a.count), pick(&a, 5), 0);
		}
		check_all(&a, false);
		world_finish(&a);
		world_finish(&b);
	}
}
END_TEST

/* Thousands of leaves with few entries each: the levels above split and shrink, too. */
START_TEST(deep_trees_agree_with_the_model)
{
	for (uint64_t seed = 1; seed <= 3; seed++) {
		struct world w, small;
		uint32_t depth_max = 0;

		world_init(&w, seed, 4);
		world_init(&small, seed + 50, 4);
		small.block_last = 1u << 20;
		replace(&small, 0, 0, 3, 0);
		for (uint32_t i = 0; i < 4000; i++)
			append_world(&w, &small);
		for (uint32_t i = 0; i < 120; i++) {
			uint32_t at, length;

			if (i % 4 == 0)
				depth_max = MAX_OF(depth_max, seal(&w).depth);
			pick_range(&w, &at, &length);
			replace(&w, at, length, pick(&w, 30), 0);
			while (w.count < 12000 && i < 60)
				append_world(&w, &small);
			check_at(&w, pick(&w, w.count), false);
		}
		ck_assert_uint_eq(depth_max, 3);
		reopen(&w);
		check_all(&w, false);
		world_finish(&w);
		world_finish(&small);
	}
}
END_TEST

TEST_MAIN("model_manifest", tcase_add_loop_test(tc, random_edits_agree_with_the_model, 0, 2);
	  tcase_add_test(tc, edits_between_boundaries_only);
	  tcase_add_test(tc, concatenated_roots_agree_with_the_model);
	  tcase_add_test(tc, deep_trees_agree_with_the_model))
