/* SPDX-License-Identifier: Apache-2.0 */
/* Which changes a power failure of the metadata server took, and who is told. */
#include "client/core/file.h"
#include "tests/check_main.h"

#define TERM	7u
#define MANY	10000u

static struct client c;

static void setup(void)
{
	ck_assert_int_eq(loop_uv_create(1, &c.options.loop), 0);
}

static void teardown(void)
{
	cl_changes_finish(&c);
	loop_uv_destroy(c.options.loop);
	memset(&c, 0, sizeof c);
}

/* The server acknowledged a publish of this inode. */
static void changed(inode_no ino, uint64_t term, uint64_t number)
{
	Wire__Stamp stamp = WIRE__STAMP__INIT;
	Wire__PublishReply reply = WIRE__PUBLISH_REPLY__INIT;
	struct cl_req req = { .client = &c, .call.type = MSG_PUBLISH };

	stamp.term = term;
	stamp.number = number;
	reply.stamp = &stamp;
	req.call.reply = (void *)&reply;
	req.msg.publish.ino = ino;
	cl_changes_note(&req);
}

static void term_ends(uint64_t term, uint64_t lost_from, uint64_t next)
{
	cl_changes_term(&c, &(struct cl_term_end){ term, lost_from, next });
}

static int fsync_of(inode_no ino)
{
	return cl_changes_error(&c, ino, NULL);
}

START_TEST(what_was_durable_is_not_told)
{
	for (inode_no ino = 1; ino <= 4; ino++)
		changed(ino, TERM, 10 + ino);
	cl_changes_durable(&c, TERM, 12);
	ck_assert_uint_eq(c.changes.count, 2);
	term_ends(TERM, 14, TERM + 1);
	for (inode_no ino = 1; ino <= 3; ino++)
		ck_assert_int_eq(fsync_of(ino), 0);
	ck_assert_int_eq(fsync_of(4), -E_OTHER_TERM);
	ck_assert_int_eq(fsync_of(4), 0);
	ck_assert_uint_eq(c.changes.count, 0);
}
END_TEST

START_TEST(the_last_change_of_an_inode_counts)
{
	changed(1, TERM, 10);
	changed(2, TERM, 11);
	changed(1, TERM, 12);
	cl_changes_durable(&c, TERM, 11);
	term_ends(TERM, 12, TERM + 1);
	ck_assert_int_eq(fsync_of(2), 0);
	ck_assert_int_eq(fsync_of(1), -E_OTHER_TERM);
}
END_TEST

START_TEST(each_handle_hears_of_each_loss_once)
{
	struct cl_handle old = { .loss_seen = cl_changes_seen(&c, 1) };
	for (uint64_t term = TERM; term < TERM + 3; term++) {
		changed(1, term, 10 * term);
		term_ends(term, 10 * term, term + 1);
		struct cl_handle next = { .loss_seen = cl_changes_seen(&c, 1) };
		ck_assert_int_eq(cl_changes_error(&c, 1, &next), -E_OTHER_TERM);
		ck_assert_int_eq(cl_changes_error(&c, 1, &next), 0);
		struct cl_handle late = { .loss_seen = cl_changes_seen(&c, 1) };
		ck_assert_int_eq(cl_changes_error(&c, 1, &late), 0);
		ck_assert_int_eq(cl_changes_error(&c, 1, &old), -E_OTHER_TERM);
		ck_assert_int_eq(cl_changes_error(&c, 1, &old), 0);
	}
}
END_TEST

/* Answers of a term that ended before any renewal told what it lost: the safe side. */
START_TEST(of_a_term_that_came_and_went_all_is_lost)
{
	changed(1, TERM, 10);
	changed(2, TERM + 1, 11);
	changed(3, TERM + 2, 12);
	term_ends(TERM, 0, TERM + 2);
	ck_assert_int_eq(fsync_of(1), 0);
	ck_assert_int_eq(fsync_of(2), -E_OTHER_TERM);
	ck_assert_int_eq(fsync_of(3), 0);
	ck_assert_uint_eq(c.changes.count, 1);
	ck_assert_int_eq(fsync_of(0), 0);
	term_ends(TERM + 2, 12, TERM + 3);
	ck_assert_int_eq(fsync_of(0), -E_OTHER_TERM);
	ck_assert_int_eq(fsync_of(0), 0);
}
END_TEST

START_TEST(what_was_forgotten_makes_every_fsync_fail)
{
	for (inode_no ino = 1; ino <= MANY; ino++)
		changed(ino, TERM, ino);
	ck_assert_uint_lt(c.changes.count, MANY / 2);
	term_ends(TERM, MANY, TERM + 1);	/* it does not reach so far back */
	ck_assert_int_eq(fsync_of(MANY), -E_OTHER_TERM);
	ck_assert_int_eq(fsync_of(1), 0);
	for (inode_no ino = 1; ino <= MANY; ino++)
		changed(ino, TERM + 1, MANY + ino);
	term_ends(TERM + 1, MANY + 1, TERM + 2);
	ck_assert_int_eq(fsync_of(MANY + 1), -E_OTHER_TERM);
	ck_assert_uint_lt(c.changes.lost_count, MANY / 2);
}
END_TEST

/* Of two failures nobody was told yet: together they are too many. */
START_TEST(a_loss_that_nobody_heard_of_is_not_forgotten_in_silence)
{
	for (inode_no ino = 1; ino <= 4000; ino++)
		changed(ino, TERM, ino);
	term_ends(TERM, 1, TERM + 1);
	for (inode_no ino = 4001; ino <= 8000; ino++)
		changed(ino, TERM + 1, ino);
	term_ends(TERM + 1, 4001, TERM + 2);
	ck_assert_uint_lt(c.changes.lost_count, 8000);
	ck_assert_int_eq(fsync_of(1), -E_OTHER_TERM);
}
END_TEST

/*
 * An inode that is changed all the time stands first in the table, and a restarted server has
 * answered for it before the renewal: it is taken when there is no room for more losses, and the
 * oldest of them, which makes room, is the next of the table.
 */
START_TEST(losses_are_bounded_while_the_table_is_walked)
{
	for (inode_no ino = 1; ino <= MANY; ino++) {
		changed(ino, TERM, ino);
		if (ino % 1000 == 0)
			changed(1, TERM, ino);
	}
	changed(1, TERM + 1, MANY + 1);
	term_ends(TERM, 1, TERM + 1);
	for (inode_no ino = MANY + 1; ino <= MANY + 9; ino++)
		changed(ino, TERM + 1, ino + 1);
	changed(1, TERM + 2, MANY + 99);
	term_ends(TERM + 1, MANY + 1, TERM + 2);
	term_ends(TERM + 2, MANY + 1, TERM + 3);
	ck_assert_uint_eq(c.changes.count, 0);
	ck_assert_uint_lt(c.changes.lost_count, MANY / 2);
	c.changes.all_lost_until_ns = 0;
	ck_assert_int_eq(fsync_of(1), -E_OTHER_TERM);
}
END_TEST

TEST_MAIN("changes", tcase_add_checked_fixture(tc, setup, teardown);
	  tcase_add_test(tc, what_was_durable_is_not_told);
	  tcase_add_test(tc, the_last_change_of_an_inode_counts);
	  tcase_add_test(tc, each_handle_hears_of_each_loss_once);
	  tcase_add_test(tc, of_a_term_that_came_and_went_all_is_lost);
	  tcase_add_test(tc, what_was_forgotten_makes_every_fsync_fail);
	  tcase_add_test(tc, a_loss_that_nobody_heard_of_is_not_forgotten_in_silence);
	  tcase_add_test(tc, losses_are_bounded_while_the_table_is_walked))
