/* SPDX-License-Identifier: Apache-2.0 */
/* What manifest.h promises, call by call; random edits are in tests/model/test_manifest.c. */
#include "tests/check_main.h"
#include "tests/node_store.h"

static const struct root empty = { .kind = ROOT_EMPTY };

static struct extent block(uint32_t number, uint64_t length)
{
	struct extent x = { .length = length };

	memcpy(x.id.bytes, &number, sizeof number);
	return x;
}

static struct manifest *open_root(const struct root *root, uint32_t nodes_max)
{
	struct manifest *m;

	ck_assert_int_eq(manifest_create(root, HASH_SHA256, nodes_max, &m), 0);
	return m;
}

static struct root seal(struct manifest *m, struct node_store *s)
{
	struct root root;

	ck_assert_int_eq(manifest_seal(m, node_store_emit, s, &root), 0);
	return root;
}

static void append(struct manifest *m, uint32_t first, uint32_t count, uint64_t length)
{
	for (uint32_t i = 0; i < count; i++) {
		struct extent x = block(first + i, length);
		if (manifest_replace(m, manifest_bytes(m), 0, &x, 1) != 0)
			ck_abort_msg("append %u failed", i);
	}
}

/* A sealed file of `count` full blocks, numbered from 1. */
static struct root sealed(struct node_store *s, uint32_t count)
{
	struct manifest *m = open_root(&empty, 10);

	append(m, 1, count, BLOCK_BYTES_MAX);
	struct root root = seal(m, s);
	manifest_destroy(m);
	return root;
}

START_TEST(small_contents_have_canonical_roots)
{
	struct node_store s = { 0 };
	struct manifest *m = open_root(&empty, 4);
	struct extent x = block(1, 100), hole = { .length = 100 };

	ck_assert(!manifest_is_dirty(m));
	ck_assert_int_eq(seal(m, &s).kind, ROOT_EMPTY);
	ck_assert_int_eq(manifest_replace(m, 0, 0, &x, 1), 0);
	struct root one = seal(m, &s);
	ck_assert_int_eq(one.kind, ROOT_BLOCK);
	ck_assert(block_id_equal(&one.id, &x.id));
	ck_assert_uint_eq(s.emit_count, 0);
	ck_assert_int_eq(manifest_replace(m, 0, 100, &hole, 1), 0);
	ck_assert_int_eq(seal(m, &s).kind, ROOT_NODE);
	ck_assert_int_eq(manifest_replace(m, 0, 100, NULL, 0), 0);
	ck_assert_int_eq(seal(m, &s).kind, ROOT_EMPTY);
	manifest_destroy(m);
	node_store_finish(&s);
}
END_TEST

START_TEST(a_streamed_file_has_full_nodes)
{
	struct node_store s = { 0 };
	struct root root = sealed(&s, 160000);

	/* 98 leaves and one top: no other number of nodes can hold them. */
	ck_assert_uint_eq(root.depth, 2);
	ck_assert_uint_eq(s.emit_count, DIV_CEIL(160000u, NODE_ENTRIES_MAX) + 1);
	ck_assert_uint_eq(root.length, (uint64_t)160000 * BLOCK_BYTES_MAX);
	node_store_finish(&s);
}
END_TEST

START_TEST(an_overwrite_emits_one_path_and_keeps_few_nodes)
{
	struct node_store s = { 0 };
	struct root root = sealed(&s, 20000);
	struct manifest *m = open_root(&root, 3);
	struct extent x = block(999999, BLOCK_BYTES_MAX), got;
	uint64_t at = (uint64_t)12345 * BLOCK_BYTES_MAX;

	s.emit_count = 0;
	ck_assert_int_eq(RETRY(&s, m, manifest_replace(m, at, BLOCK_BYTES_MAX, &x, 1)), 0);
	ck_assert_uint_eq(s.fetch_count, 2);
	ck_assert_uint_eq(manifest_dirty_count(m), 2);
	struct root changed = seal(m, &s);
	ck_assert_uint_eq(s.emit_count, 2);
	ck_assert(!root_equal(&root, &changed));
	ck_assert_int_eq(RETRY(&s, m, manifest_lookup(m, at, &got)), 0);
	ck_assert(block_id_equal(&got.id, &x.id));
	x = block(12346, BLOCK_BYTES_MAX);
	ck_assert_int_eq(RETRY(&s, m, manifest_replace(m, at, BLOCK_BYTES_MAX, &x, 1)), 0);
	changed = seal(m, &s);
	ck_assert_msg(root_equal(&root, &changed), "equal content has an equal root");
	manifest_destroy(m);
	node_store_finish(&s);
}
END_TEST

START_TEST(a_missing_node_leaves_all_unchanged)
{
	struct node_store s = { 0 };
	struct root root = sealed(&s, 5000), again;
	struct manifest *m = open_root(&root, 4);
	struct extent x = block(7, BLOCK_BYTES_MAX);

	while (manifest_replace(m, BLOCK_BYTES_MAX, (uint64_t)4000 * BLOCK_BYTES_MAX, &x, 1) ==
	       -E_NEED_NODE) {
		ck_assert(!manifest_is_dirty(m));
		ck_assert_uint_eq(manifest_bytes(m), root.length);
		again = seal(m, &s);
		ck_assert(root_equal(&root, &again));
		node_store_supply(&s, m);
	}
	ck_assert(manifest_is_dirty(m));
	ck_assert_uint_eq(manifest_bytes(m), root.length - (uint64_t)3999 * BLOCK_BYTES_MAX);
	manifest_destroy(m);
	node_store_finish(&s);
}
END_TEST

START_TEST(truncating_to_nothing_fetches_nothing)
{
	struct node_store s = { 0 };
	struct root root = sealed(&s, 5000);
	struct manifest *m = open_root(&root, 4);

	ck_assert_int_eq(manifest_replace(m, 0, root.length, NULL, 0), 0);
	ck_assert_int_eq(seal(m, &s).kind, ROOT_EMPTY);
	manifest_destroy(m);
	node_store_finish(&s);
}
END_TEST

START_TEST(removing_most_leaves_a_small_tree)
{
	struct node_store s = { 0 };
	struct root root = sealed(&s, 20000);
	struct manifest *m = open_root(&root, 4);
	uint64_t from = (uint64_t)100 * BLOCK_BYTES_MAX, to = root.length - from;

	ck_assert_int_eq(RETRY(&s, m, manifest_replace(m, from, to - from, NULL, 0)), 0);
	root = seal(m, &s);
	ck_assert_uint_eq(root.depth, 1);
	ck_assert_uint_eq(root.length, 2 * from);
	manifest_destroy(m);
	node_store_finish(&s);
}
END_TEST

START_TEST(a_sparse_file_of_100_gb_is_one_entry_and_a_block_cuts_it)
{
	struct node_store s = { 0 };
	struct manifest *m = open_root(&empty, 4);
	struct extent hole = { .length = GiB(100) }, x = block(1, 4096), got;

	ck_assert_int_eq(manifest_replace(m, 0, 0, &hole, 1), 0);
	ck_assert_int_eq(manifest_replace(m, GiB(50), 4096, &x, 1), 0);
	ck_assert_int_eq(manifest_lookup(m, GiB(50) - 1, &got), 0);
	ck_assert_uint_eq(got.offset, 0);
	ck_assert_uint_eq(got.length, GiB(50));
	ck_assert_int_eq(manifest_lookup(m, GiB(100) - 1, &got), 0);
	ck_assert_uint_eq(got.offset, GiB(50) + 4096);
	hole.length = 4096;
	ck_assert_int_eq(manifest_replace(m, GiB(50), 4096, &hole, 1), 0);
	ck_assert_int_eq(manifest_lookup(m, GiB(70), &got), 0);
	ck_assert_uint_eq(got.length, GiB(100));
	manifest_destroy(m);
	node_store_finish(&s);
}
END_TEST

START_TEST(a_failed_seal_goes_on_where_it_was)
{
	struct node_store s = { .fail_at = 3 };
	struct manifest *m = open_root(&empty, 4);
	struct root root;

	append(m, 1, 5000, BLOCK_BYTES_MAX);
	ck_assert_int_eq(manifest_seal(m, node_store_emit, &s, &root), -E_IO);
	ck_assert(manifest_is_dirty(m));
	root = seal(m, &s);
	ck_assert_uint_eq(s.emit_count, 5 + 1);
	ck_assert_uint_eq(root.length, (uint64_t)5000 * BLOCK_BYTES_MAX);
	manifest_destroy(m);
	node_store_finish(&s);
}
END_TEST

START_TEST(wrong_arguments_change_nothing)
{
	struct manifest *m = open_root(&empty, 4);
	struct root inlined = { .kind = ROOT_INLINE, .length = 1 };
	struct extent x = block(1, 100), none = block(1, 0), big = block(1, BLOCK_BYTES_MAX + 1);
	struct extent huge = { .length = FILE_BYTES_MAX }, got;
	struct manifest *no;

	ck_assert_int_eq(manifest_create(&inlined, HASH_SHA256, 4, &no), -E_INVAL);
	ck_assert_int_eq(manifest_append_root(m, &inlined), -E_INVAL);
	ck_assert_int_eq(manifest_replace(m, 0, 0, &x, 1), 0);
	ck_assert_int_eq(manifest_replace(m, 101, 0, &x, 1), -E_INVAL);
	ck_assert_int_eq(manifest_replace(m, 0, 101, &x, 1), -E_INVAL);
	ck_assert_int_eq(manifest_replace(m, 50, 0, &x, 1), -E_INVAL);
	ck_assert_int_eq(manifest_replace(m, 0, 50, &x, 1), -E_INVAL);
	ck_assert_int_eq(manifest_replace(m, 100, 0, &none, 1), -E_INVAL);
	ck_assert_int_eq(manifest_replace(m, 100, 0, &big, 1), -E_INVAL);
	ck_assert_int_eq(manifest_replace(m, 100, 0, &huge, 1), -E_FBIG);
	ck_assert_uint_eq(manifest_bytes(m), 100);
	ck_assert_int_eq(manifest_lookup(m, 100, &got), -E_RANGE);
	manifest_destroy(m);
}
END_TEST

START_TEST(supplied_nodes_are_proved)
{
	struct node_store s = { 0 };
	struct root root = sealed(&s, 5000);
	struct manifest *m = open_root(&root, 4);
	struct extent got;

	ck_assert_int_eq(manifest_lookup(m, 0, &got), -E_NEED_NODE);
	struct stored_node *node = node_store_get(&s, manifest_needed(m));
	node->bytes[30] ^= 1;
	ck_assert_int_eq(manifest_supply(m, node->bytes, node->len), -E_CORRUPT);
	node->bytes[30] ^= 1;
	ck_assert_int_eq(manifest_supply(m, node->bytes, node->len), 0);
	manifest_destroy(m);
	root.depth = 1;	/* the right bytes, under a root that says they are a leaf */
	m = open_root(&root, 4);
	ck_assert_int_eq(manifest_lookup(m, 0, &got), -E_NEED_NODE);
	ck_assert_int_eq(manifest_supply(m, node->bytes, node->len), -E_MALFORMED);
	manifest_destroy(m);
	node_store_finish(&s);
}
END_TEST

static int node_check(const uint8_t *bytes, uint32_t len)
{
	struct node_entry said = { .length = 2 * BLOCK_BYTES_MAX, .data = 2 * BLOCK_BYTES_MAX };
	struct node_view v;

	return node_view_init(&v, bytes, len, 0, &said);
}

START_TEST(damaged_nodes_are_malformed)
{
	struct node_store s = { 0 };
	struct root root = sealed(&s, 2);
	struct stored_node *node = node_store_get(&s, &root.id);
	static const uint8_t must_hold[] = { 0, 4, 5, 6, 8, 12, 16, 24, 32, 72 };
	struct node_entry said = node_entry_of_root(&root), other = said;
	struct node_view v;

	ck_assert_int_eq(node_check(node->bytes, node->len), 0);
	ck_assert_int_eq(node_check(node->bytes, node->len - 1), -E_MALFORMED);
	ck_assert_int_eq(node_check(node->bytes, 0), -E_MALFORMED);
	ck_assert_int_eq(node_view_init(&v, node->bytes, node->len, 1, &said), -E_MALFORMED);
	other.length = 1;
	ck_assert_int_eq(node_view_init(&v, node->bytes, node->len, 0, &other), -E_MALFORMED);
	other = said;
	other.data--;
	ck_assert_int_eq(node_view_init(&v, node->bytes, node->len, 0, &other), -E_MALFORMED);
	for (uint32_t i = 0; i < ARRAY_COUNT(must_hold); i++) {
		node->bytes[must_hold[i]] ^= 0x41;
		ck_assert_msg(node_check(node->bytes, node->len) == -E_MALFORMED,
			      "damage at %u was taken", must_hold[i]);
		node->bytes[must_hold[i]] ^= 0x41;
	}
	node_store_finish(&s);
}
END_TEST

TEST_MAIN("manifest", tcase_add_test(tc, small_contents_have_canonical_roots);
	  tcase_add_test(tc, a_streamed_file_has_full_nodes);
	  tcase_add_test(tc, an_overwrite_emits_one_path_and_keeps_few_nodes);
	  tcase_add_test(tc, a_missing_node_leaves_all_unchanged);
	  tcase_add_test(tc, truncating_to_nothing_fetches_nothing);
	  tcase_add_test(tc, removing_most_leaves_a_small_tree);
	  tcase_add_test(tc, a_sparse_file_of_100_gb_is_one_entry_and_a_block_cuts_it);
	  tcase_add_test(tc, a_failed_seal_goes_on_where_it_was);
	  tcase_add_test(tc, wrong_arguments_change_nothing);
	  tcase_add_test(tc, supplied_nodes_are_proved);
	  tcase_add_test(tc, damaged_nodes_are_malformed))
