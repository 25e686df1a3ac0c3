/* SPDX-License-Identifier: Apache-2.0 */
/* Kernel nodes: one use at a time, asides where uses meet, ids without memory, retries. */
#include "client/fuse/knode.h"

#include "tests/check_main.h"

#define INO  77u
#define SEC  UINT64_C(1000000000)

static const char model, newer;		/* two backing files */
static struct knode_table *t;

static void begin(void)
{
	t = knode_create();
}

static void end(void)
{
	knode_destroy(t);
}

/* What the kernel does after ESTALE: it looks up, often twice, and opens what it was told. */
static uint64_t look_up(const void *backing)
{
	uint64_t id = knode_choose(t, INO, backing);

	ck_assert_uint_ne(id, 0);
	ck_assert_int_eq(knode_looked_up(t, id), 0);
	return id;
}

START_TEST(a_free_home_takes_either_use_but_one_at_a_time)
{
	ck_assert(knode_fits(t, INO, &model) && knode_fits(t, INO, NULL));
	ck_assert_int_eq(knode_open(t, INO, &model), 0);
	ck_assert_ptr_eq(knode_backing(t, INO), &model);
	ck_assert(knode_fits(t, INO, &model));
	ck_assert(!knode_fits(t, INO, NULL) && !knode_fits(t, INO, &newer));
	knode_release(t, INO);
	ck_assert_int_eq(knode_open(t, INO, NULL), 0);
	ck_assert(!knode_fits(t, INO, &model));
	knode_release(t, INO);
	ck_assert(knode_fits(t, INO, &model));
}
END_TEST

START_TEST(uses_that_meet_get_nodes_of_their_own)
{
	uint64_t first, second;

	ck_assert_int_eq(knode_open(t, INO, NULL), 0);
	first = look_up(&model);
	ck_assert(knode_is_aside(first) && knode_ino(first) == INO);
	ck_assert_int_eq(knode_open(t, first, &model), 0);
	second = look_up(&newer);
	ck_assert_uint_ne(second, first);
	ck_assert_int_eq(knode_open(t, second, &newer), 0);
	ck_assert_uint_eq(knode_choose(t, INO, &model), first);
	ck_assert_uint_eq(knode_choose(t, INO, &newer), second);
	ck_assert_uint_eq(knode_choose(t, INO, NULL), INO);
}
END_TEST

START_TEST(plain_opens_share_one_node)
{
	uint64_t aside;

	ck_assert_int_eq(knode_open(t, INO, &model), 0);
	aside = look_up(NULL);
	ck_assert_int_eq(knode_open(t, aside, NULL), 0);
	knode_release(t, INO);
	/* the home is free, but pages are aside */
	ck_assert(!knode_fits(t, INO, NULL));
	ck_assert_uint_eq(knode_choose(t, INO, NULL), aside);
	ck_assert(knode_fits(t, INO, &model));
	knode_release(t, aside);
	ck_assert(knode_fits(t, INO, NULL));
}
END_TEST

START_TEST(an_aside_is_told_of_until_it_is_forgotten_and_closed)
{
	uint64_t ids[KNODE_NODES], aside;

	ck_assert_int_eq(knode_open(t, INO, NULL), 0);
	aside = look_up(&model);
	ck_assert_int_eq(knode_looked_up(t, aside), 0);
	ck_assert_int_eq(knode_open(t, aside, &model), 0);
	ck_assert_uint_eq(knode_list(t, INO, ids), 2);
	ck_assert_uint_eq(ids[0], INO);
	ck_assert_uint_eq(ids[1], aside);
	knode_forget(t, aside, 1);
	knode_release(t, aside);
	ck_assert(knode_has_asides(t, INO));
	knode_forget(t, aside, 1);
	ck_assert(!knode_has_asides(t, INO));
	ck_assert_uint_eq(knode_list(t, INO, ids), 1);
	knode_forget(t, INO, 5);	/* homes are not counted */
}
END_TEST

START_TEST(ids_need_no_table)
{
	uint64_t aside;

	ck_assert_int_eq(knode_open(t, INO, NULL), 0);
	aside = knode_choose(t, INO, &model);
	ck_assert(knode_is_valid(aside) && knode_is_valid(INO));
	ck_assert(!knode_is_valid(0) && !knode_is_valid(UINT64_C(1) << 63 | INO));
	ck_assert(!knode_is_valid(UINT64_MAX));
	ck_assert_uint_eq(knode_ino(INO), INO);
	end();
	begin();
	ck_assert_int_eq(knode_looked_up(t, aside), 0);		/* by a handle, after a remount */
	ck_assert_uint_eq(knode_ino(aside), INO);
	ck_assert(knode_fits(t, aside, &model));
}
END_TEST

START_TEST(asides_are_bounded)
{
	static const char versions[KNODE_NODES];

	for (unsigned i = 0; i < KNODE_NODES; i++)
		ck_assert_int_eq(knode_open(t, look_up(&versions[i]), &versions[i]), 0);
	ck_assert_uint_eq(knode_choose(t, INO, NULL), 0);
	for (inode_no ino = 1000; ino < 1000 + KNODE_ASIDES_MAX; ino++) {
		uint64_t aside = UINT64_C(1) << 63 | UINT64_C(1) << KNODE_INO_BITS | ino;
		int rc = knode_looked_up(t, aside);

		ck_assert(rc == 0 || ino >= 1000 + KNODE_ASIDES_MAX - KNODE_ASIDES);
	}
	ck_assert_int_eq(knode_open(t, 5, NULL), 0);
	ck_assert_uint_eq(knode_choose(t, 5, &model), 0);
	/* a number that leaves no room for more nodes */
	ck_assert_int_eq(knode_open(t, UINT64_C(1) << 60, NULL), 0);
	ck_assert_uint_eq(knode_choose(t, UINT64_C(1) << 60, &model), 0);
}
END_TEST

START_TEST(no_thread_is_sent_back_twice)
{
	bool is_plain = false;

	ck_assert(knode_retry_begin(t, 10, INO, true, SEC));
	ck_assert(!knode_retry_begin(t, 10, INO, true, SEC));
	ck_assert(knode_retry_begin(t, 11, INO, false, SEC));
	ck_assert(!knode_retry_begin(t, 0, INO, true, SEC));
	ck_assert(knode_retry_find(t, 10, &is_plain) && is_plain);
	ck_assert(knode_retry_find(t, 11, &is_plain) && !is_plain);
	ck_assert(!knode_retry_find(t, 12, &is_plain));
	ck_assert(knode_retry_end(t, 10, INO) && !knode_retry_end(t, 10, INO));
	ck_assert(knode_retry_begin(t, 10, INO, true, SEC));
	for (int tid = 100; tid < 100 + (int)KNODE_RETRIES_MAX; tid++)
		(void)knode_retry_begin(t, tid, INO, true, SEC);
	ck_assert(!knode_retry_begin(t, 99, INO, true, SEC));
}
END_TEST

/* Its first system call failed on its way back to us, or the number of the thread is another's. */
START_TEST(an_open_of_another_file_is_no_second_try)
{
	bool is_plain;

	ck_assert(knode_retry_begin(t, 10, INO, true, SEC));
	ck_assert(!knode_retry_end(t, 10, INO + 1));
	ck_assert(!knode_retry_find(t, 10, &is_plain));
	ck_assert(knode_retry_begin(t, 10, INO + 1, true, SEC));
	knode_retry_tell(t, 10, INO + 2);	/* the name is another file's now */
	ck_assert(knode_retry_end(t, 10, INO + 2));
}
END_TEST

START_TEST(a_writer_finds_the_node_that_it_was_told_of)
{
	uint64_t aside;

	ck_assert_int_eq(knode_open(t, INO, &model), 0);
	ck_assert(knode_retry_begin(t, 10, INO, true, SEC));
	aside = look_up(NULL);
	knode_retry_reserve(t, 10, aside);
	knode_forget(t, aside, 1);	/* between the two lookups of the kernel */
	ck_assert_uint_eq(look_up(NULL), aside);
	knode_retry_reserve(t, 10, aside);
	knode_retry_tell(t, 10, aside);
	ck_assert(!knode_fits(t, aside, &model));	/* readers are kept off meanwhile */
	ck_assert(knode_retry_end(t, 10, aside));
	ck_assert(knode_fits(t, aside, NULL));
	ck_assert_int_eq(knode_open(t, aside, NULL), 0);
	ck_assert(!knode_fits(t, aside, &model));
}
END_TEST

START_TEST(what_was_kept_for_an_open_comes_back_once)
{
	char kept, other;

	ck_assert(!knode_retry_keep(t, 10, &kept));
	ck_assert(knode_retry_begin(t, 10, INO, true, SEC));
	ck_assert(knode_retry_begin(t, 11, INO, true, 2 * SEC));
	ck_assert(knode_retry_keep(t, 10, &kept) && knode_retry_keep(t, 11, &other));
	knode_retry_reserve(t, 10, INO);
	ck_assert_ptr_null(knode_retry_lapse(t, KNODE_LAPSE_NS));
	ck_assert_ptr_eq(knode_retry_lapse(t, SEC + KNODE_LAPSE_NS), &kept);
	ck_assert_ptr_null(knode_retry_lapse(t, SEC + KNODE_LAPSE_NS));
	ck_assert(knode_fits(t, INO, &model));
	ck_assert_ptr_eq(knode_retry_take(t, 11), &other);
	ck_assert_ptr_null(knode_retry_take(t, 11));
	/* still no thread is sent back twice, for an hour */
	ck_assert(!knode_retry_begin(t, 10, INO, true, SEC + KNODE_LAPSE_NS));
	ck_assert_ptr_null(knode_retry_lapse(t, 2 * SEC + KNODE_RETRY_NS));
	ck_assert(!knode_has_retries(t));
}
END_TEST

TEST_MAIN("knode", tcase_add_checked_fixture(tc, begin, end);
	  tcase_add_test(tc, a_free_home_takes_either_use_but_one_at_a_time);
	  tcase_add_test(tc, uses_that_meet_get_nodes_of_their_own);
	  tcase_add_test(tc, plain_opens_share_one_node);
	  tcase_add_test(tc, an_aside_is_told_of_until_it_is_forgotten_and_closed);
	  tcase_add_test(tc, ids_need_no_table);
	  tcase_add_test(tc, asides_are_bounded);
	  tcase_add_test(tc, no_thread_is_sent_back_twice);
	  tcase_add_test(tc, an_open_of_another_file_is_no_second_try);
	  tcase_add_test(tc, a_writer_finds_the_node_that_it_was_told_of);
	  tcase_add_test(tc, what_was_kept_for_an_open_comes_back_once))
