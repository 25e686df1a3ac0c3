/* SPDX-License-Identifier: Apache-2.0 */
/* The table of locks: who excludes whom, who waits, whose turn it is, what ends with a session. */
#include "metadata-server/lock.h"

#include <stdlib.h>
#include <string.h>

#include "tests/check_main.h"

#define TOLD_MAX 256u

struct world {
	struct ms_locks *locks;
	struct { session_no session; uint64_t wait; } told[TOLD_MAX];
	uint32_t told_count;
};

static void granted(void *arg, session_no session, uint64_t wait)
{
	struct world *w = arg;

	ck_assert_uint_lt(w->told_count, TOLD_MAX);
	w->told[w->told_count].session = session;
	w->told[w->told_count++].wait = wait;
}

static struct world *world_with(uint32_t session_max, uint32_t all_max)
{
	static struct world w;
	struct ms_lock_limits limits = { session_max, all_max };

	memset(&w, 0, sizeof w);
	ck_assert_int_eq(ms_locks_create(&limits, granted, &w, &w.locks), 0);
	return &w;
}

static struct world *world(void)
{
	return world_with(1000, 10000);
}

/* Nothing is left when all sessions have ended. */
static void world_end(struct world *w)
{
	struct ms_lock_counts counts;

	for (session_no s = 1; s < 8; s++)
		ms_locks_drop_session(w->locks, s);
	ms_locks_counts(w->locks, &counts);
	ck_assert(counts.held == 0 && counts.waiting == 0 && counts.sessions == 0);
	ms_locks_destroy(w->locks);
}

/* Owner 10 * session + n; of inode 1 unless said. */
static struct ms_lock_request ask(session_no session, uint64_t n, uint64_t start, uint64_t end,
				  enum range_mode mode)
{
	return (struct ms_lock_request){ .key = { session, 10 * session + n, MS_LOCK_POSIX },
					 .ino = 1, .start = start, .end = end, .mode = mode,
					 .pid = (uint32_t)(100 * session + n) };
}

static int lock(struct world *w, session_no session, uint64_t start, uint64_t end,
		enum range_mode mode)
{
	struct ms_lock_request r = ask(session, 0, start, end, mode);

	return ms_locks_set(w->locks, &r);
}

static int lock_wait(struct world *w, struct ms_lock_request r, uint64_t wait)
{
	r.wait = wait;
	return ms_locks_set(w->locks, &r);
}

static void assert_told(struct world *w, session_no session, uint64_t wait)
{
	ck_assert_uint_eq(w->told_count, 1);
	ck_assert(w->told[0].session == session && w->told[0].wait == wait);
	w->told_count = 0;
}

static uint64_t held(struct world *w)
{
	struct ms_lock_counts counts;

	ms_locks_counts(w->locks, &counts);
	return counts.held;
}

START_TEST(owners_exclude_each_other_and_not_themselves)
{
	struct world *w = world();
	struct ms_lock_request r = ask(2, 0, 5, 5, RANGE_READ);
	struct ms_lock_info info;

	ck_assert_int_eq(lock(w, 1, 0, 9, RANGE_WRITE), 0);
	ck_assert_int_eq(lock(w, 1, 3, 5, RANGE_READ), 0);
	ck_assert_int_eq(lock(w, 2, 9, 20, RANGE_READ), -E_AGAIN);
	ck_assert_int_eq(lock(w, 2, 10, 20, RANGE_WRITE), 0);
	ck_assert_int_eq(lock(w, 2, 4, 4, RANGE_READ), 0);
	ck_assert(!ms_locks_test(w->locks, &r, &info));
	r.mode = RANGE_WRITE;
	ck_assert(ms_locks_test(w->locks, &r, &info));
	ck_assert(info.key.session == 1 && info.start == 3 && info.end == 5 && info.pid == 100 &&
		  info.mode == RANGE_READ);
	r.key.kind = MS_LOCK_FLOCK;
	ck_assert(!ms_locks_test(w->locks, &r, &info));
	ck_assert_int_eq(lock(w, 1, 0, RANGE_END + 1, RANGE_READ), -E_INVAL);
	world_end(w);
}
END_TEST

START_TEST(a_waiter_gets_it_once_and_has_it_once_taken)
{
	struct world *w = world();
	struct ms_lock_counts counts;

	ck_assert_int_eq(lock(w, 1, 0, 9, RANGE_WRITE), 0);
	ck_assert_int_eq(lock_wait(w, ask(2, 0, 5, 5, RANGE_WRITE), 7), MS_LOCK_QUEUED);
	ck_assert_int_eq(lock_wait(w, ask(2, 0, 5, 5, RANGE_WRITE), 7), MS_LOCK_QUEUED);
	ck_assert_int_eq(lock(w, 1, 0, 4, RANGE_NONE), 0);
	ck_assert_uint_eq(w->told_count, 0);
	ck_assert_int_eq(lock(w, 1, 5, 5, RANGE_NONE), 0);
	assert_told(w, 2, 7);
	ck_assert_int_eq(lock(w, 1, 5, 5, RANGE_READ), -E_AGAIN);	/* set aside is held */
	ms_locks_tell(w->locks, 2);
	assert_told(w, 2, 7);
	ck_assert_int_eq(ms_locks_take(w->locks, 2, 7), 0);
	ck_assert_int_eq(ms_locks_take(w->locks, 2, 7), 0);	/* it came twice */
	ms_locks_tell(w->locks, 2);
	ck_assert_uint_eq(w->told_count, 0);
	ms_locks_counts(w->locks, &counts);
	ck_assert(counts.held == 2 && counts.waiting == 0);
	world_end(w);
}
END_TEST

START_TEST(what_nobody_takes_goes_to_the_next)
{
	struct world *w = world();

	ck_assert_int_eq(lock(w, 1, 0, 9, RANGE_WRITE), 0);
	ck_assert_int_eq(lock_wait(w, ask(2, 0, 0, 9, RANGE_WRITE), 1), MS_LOCK_QUEUED);
	ck_assert_int_eq(lock_wait(w, ask(3, 0, 0, 9, RANGE_WRITE), 1), MS_LOCK_QUEUED);
	ms_locks_drop_session(w->locks, 1);
	assert_told(w, 2, 1);
	ms_locks_cancel(w->locks, 2, 1);
	assert_told(w, 3, 1);
	ms_locks_drop_session(w->locks, 3);
	ck_assert_int_eq(lock(w, 2, 0, 9, RANGE_WRITE), 0);
	world_end(w);
}
END_TEST

START_TEST(who_came_first_is_served_first_unless_others_hold_something)
{
	struct world *w = world();

	ck_assert_int_eq(lock(w, 1, 0, 0, RANGE_READ), 0);
	ck_assert_int_eq(lock(w, 4, 50, 50, RANGE_READ), 0);
	ck_assert_int_eq(lock_wait(w, ask(2, 0, 0, 0, RANGE_WRITE), 1), MS_LOCK_QUEUED);
	/* A reader who has nothing waits behind the writer; */
	ck_assert_int_eq(lock_wait(w, ask(3, 0, 0, 0, RANGE_READ), 1), MS_LOCK_QUEUED);
	/* others take what is free: for them another may wait, or they do not wait at all. */
	ck_assert_int_eq(lock_wait(w, ask(4, 0, 0, 0, RANGE_READ), 1), 0);
	ck_assert_int_eq(lock(w, 5, 0, 0, RANGE_READ), 0);
	struct ms_lock_request r = ask(6, 0, 0, 0, RANGE_READ);

	r.holds = true;
	ck_assert_int_eq(lock_wait(w, r, 1), 0);
	ms_locks_drop_session(w->locks, 1);
	ms_locks_drop_session(w->locks, 4);
	ms_locks_drop_session(w->locks, 5);
	ck_assert_uint_eq(w->told_count, 0);
	ms_locks_drop_session(w->locks, 6);
	assert_told(w, 2, 1);
	ms_locks_drop_session(w->locks, 2);
	assert_told(w, 3, 1);
	world_end(w);
}
END_TEST

/* Each open file is an owner: nobody waits for a turn behind one who waits for him. */
START_TEST(a_process_does_not_wait_behind_who_waits_for_it)
{
	struct world *w = world();
	struct ms_lock_request again = ask(1, 1, 0, 0, RANGE_READ), other = again;

	ck_assert_int_eq(lock(w, 1, 0, 0, RANGE_READ), 0);
	ck_assert_int_eq(lock_wait(w, ask(2, 0, 0, 0, RANGE_WRITE), 1), MS_LOCK_QUEUED);
	again.pid = 100;
	ck_assert_int_eq(lock_wait(w, again, 1), 0);
	other.key.owner++;
	ck_assert_int_eq(lock_wait(w, other, 2), MS_LOCK_QUEUED);
	ms_locks_drop_session(w->locks, 1);
	assert_told(w, 2, 1);
	world_end(w);
}
END_TEST

START_TEST(whoever_would_close_a_cycle_is_refused)
{
	struct world *w = world();
	struct ms_lock_request r;

	for (session_no s = 1; s <= 4; s++)
		ck_assert_int_eq(lock(w, s, s, s, RANGE_WRITE), 0);
	for (session_no s = 1; s <= 3; s++)
		ck_assert_int_eq(lock_wait(w, ask(s, 0, s + 1, s + 1, RANGE_READ), 1),
				 MS_LOCK_QUEUED);
	ck_assert_int_eq(lock_wait(w, ask(4, 0, 1, 1, RANGE_READ), 1), -E_DEADLK);
	ck_assert_int_eq(lock_wait(w, ask(4, 1, 1, 1, RANGE_READ), 2), MS_LOCK_QUEUED);
	r = ask(4, 0, 1, 1, RANGE_READ);
	r.may_cycle = true;
	ck_assert_int_eq(lock_wait(w, r, 3), MS_LOCK_QUEUED);
	ms_locks_cancel(w->locks, 4, 3);
	ck_assert_int_eq(lock(w, 4, 0, 100, RANGE_NONE), 0);
	assert_told(w, 3, 1);
	world_end(w);
}
END_TEST

START_TEST(flock_gives_up_what_it_has_before_it_asks_for_more)
{
	struct world *w = world();
	struct ms_lock_request a = ask(1, 0, 0, RANGE_END, RANGE_READ);
	struct ms_lock_request b = ask(2, 0, 0, RANGE_END, RANGE_READ);

	a.key.kind = b.key.kind = MS_LOCK_FLOCK;
	ck_assert_int_eq(ms_locks_set(w->locks, &a), 0);
	ck_assert_int_eq(ms_locks_set(w->locks, &b), 0);
	a.mode = b.mode = RANGE_WRITE;
	ck_assert_int_eq(ms_locks_set(w->locks, &a), -E_AGAIN);
	ck_assert_uint_eq(held(w), 1);
	ck_assert_int_eq(ms_locks_set(w->locks, &b), 0);
	ck_assert_int_eq(ms_locks_set(w->locks, &b), 0);
	world_end(w);
}
END_TEST

START_TEST(the_number_of_locks_is_bounded)
{
	struct world *w = world_with(10, 15);
	struct ms_lock_request r = ask(1, 0, 100, 100, RANGE_READ);
	uint64_t n = 0;

	while (lock(w, 1, 2 * n, 2 * n, RANGE_READ) == 0)
		n++;
	ck_assert_uint_eq(n, 9);
	ck_assert_int_eq(lock(w, 1, 100, 100, RANGE_READ), -E_NOLCK);
	ck_assert_int_eq(ms_locks_claim(w->locks, &r), 0);
	ck_assert_int_eq(lock_wait(w, ask(1, 0, 0, 0, RANGE_WRITE), 1), -E_NOLCK);
	n = 0;
	while (lock(w, 2, 200 + 2 * n, 200 + 2 * n, RANGE_READ) == 0)
		n++;
	ck_assert_uint_eq(n, 4);
	ck_assert_int_eq(lock(w, 2, 0, RANGE_END, RANGE_NONE), 0);
	ck_assert_int_eq(lock(w, 1, 0, RANGE_END, RANGE_NONE), 0);
	ck_assert_uint_eq(held(w), 0);
	world_end(w);
}
END_TEST

START_TEST(a_claim_that_another_has_is_refused)
{
	struct world *w = world();
	struct ms_lock_request a = ask(1, 0, 0, 9, RANGE_WRITE), b = ask(2, 0, 9, 9, RANGE_READ);

	ck_assert_int_eq(ms_locks_claim(w->locks, &a), 0);
	ck_assert_int_eq(ms_locks_claim(w->locks, &a), 0);
	ck_assert_uint_eq(held(w), 1);
	ck_assert_int_eq(ms_locks_claim(w->locks, &b), -E_NO_LEASE);
	world_end(w);
}
END_TEST

/* --- anything, beside an array ---------------------------------------------------------------- */

#define OWNERS 6u
#define BYTES  24u

static uint64_t next_random(uint64_t *seed)
{
	*seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return *seed >> 33;
}

static bool model_conflicts(uint8_t model[OWNERS][BYTES], uint32_t owner, uint64_t start,
			    uint64_t end, enum range_mode mode)
{
	for (uint32_t o = 0; o < OWNERS; o++)
		for (uint64_t b = start; b <= end && o != owner; b++)
			if (range_modes_conflict((enum range_mode)model[o][b], mode))
				return true;
	return false;
}

struct waits { bool is_waiting; uint64_t number, start, end; enum range_mode mode; };

/* Everyone who was told takes it; it must be free by the model. */
static void take_told(struct world *w, uint8_t model[OWNERS][BYTES], struct waits waits[OWNERS])
{
	for (uint32_t i = 0; i < w->told_count; i++) {
		uint32_t o = (uint32_t)w->told[i].wait % OWNERS;
		struct waits *q = &waits[o];

		ck_assert(q->is_waiting);
		ck_assert(!model_conflicts(model, o, q->start, q->end, q->mode));
		memset(&model[o][q->start], (int)q->mode, q->end - q->start + 1);
		q->is_waiting = false;
		ck_assert_int_eq(ms_locks_take(w->locks, w->told[i].session, w->told[i].wait), 0);
	}
	w->told_count = 0;
}

static bool holds_up(uint8_t model[OWNERS][BYTES], const struct waits waits[OWNERS], uint32_t by,
		     uint32_t o)
{
	static const uint8_t nothing[BYTES];
	const struct waits *w = &waits[o], *other = &waits[by];

	for (uint64_t b = w->start; b <= w->end; b++)
		if (range_modes_conflict((enum range_mode)model[by][b], w->mode))
			return true;
	return other->is_waiting && other->number < w->number &&
	       memcmp(model[o], nothing, BYTES) == 0 && other->start <= w->end &&
	       other->end >= w->start && range_modes_conflict(other->mode, w->mode);
}

/* If those who run unlocked, then those that they let go on, and so on: would anyone be left? */
static void assert_all_can_go_on(uint8_t model[OWNERS][BYTES], const struct waits waits[OWNERS])
{
	bool can[OWNERS] = { false }, more = true;

	while (more) {
		more = false;
		for (uint32_t o = 0; o < OWNERS; o++) {
			bool is_free = true, is_held_up = false;

			for (uint32_t by = 0; by < OWNERS && waits[o].is_waiting; by++) {
				bool is_in_way = by != o && holds_up(model, waits, by, o);

				is_held_up |= is_in_way;
				is_free &= !is_in_way || can[by];
			}
			ck_assert(!waits[o].is_waiting || is_held_up);
			more |= is_free && !can[o];
			can[o] |= is_free;
		}
	}
	for (uint32_t o = 0; o < OWNERS; o++)
		ck_assert(can[o]);
}

START_TEST(any_sequence_is_what_an_array_for_each_owner_says)
{
	struct world *w = world();
	uint8_t model[OWNERS][BYTES] = { { 0 } };
	struct waits waits[OWNERS] = { { 0 } };
	uint64_t seed = 11, number = 0;
	uint32_t queued = 0, refused = 0;

	for (int i = 0; i < 30000; i++) {
		uint32_t o = (uint32_t)(next_random(&seed) % OWNERS);
		uint64_t start = next_random(&seed) % BYTES;
		uint64_t end = start + next_random(&seed) % (BYTES - start);
		enum range_mode mode = (enum range_mode)(next_random(&seed) % 3);
		struct ms_lock_request r = ask(1 + o / 2, o % 2, start, end, mode);
		bool conflicts = model_conflicts(model, o, start, end, mode);
		int rc;

		if (waits[o].is_waiting)
			continue;
		if (next_random(&seed) % 2)
			r.wait = (number += OWNERS) + o;
		rc = ms_locks_set(w->locks, &r);
		if (conflicts && !r.wait)
			ck_assert_int_eq(rc, -E_AGAIN);
		else if (conflicts)
			ck_assert(rc == MS_LOCK_QUEUED || rc == -E_DEADLK);
		else
			ck_assert(rc == 0 || (rc == MS_LOCK_QUEUED && r.wait));
		if (rc == 0)
			memset(&model[o][start], (int)mode, end - start + 1);
		if (rc == MS_LOCK_QUEUED)
			waits[o] = (struct waits){ true, r.wait, start, end, mode };
		queued += rc == MS_LOCK_QUEUED;
		refused += rc == -E_DEADLK;
		while (w->told_count)
			take_told(w, model, waits);
		assert_all_can_go_on(model, waits);
	}
	ck_assert_uint_gt(queued, 200);
	ck_assert_uint_gt(refused, 20);
	world_end(w);
}
END_TEST

TEST_MAIN("locks",
	  tcase_add_test(tc, owners_exclude_each_other_and_not_themselves);
	  tcase_add_test(tc, a_waiter_gets_it_once_and_has_it_once_taken);
	  tcase_add_test(tc, what_nobody_takes_goes_to_the_next);
	  tcase_add_test(tc, who_came_first_is_served_first_unless_others_hold_something);
	  tcase_add_test(tc, a_process_does_not_wait_behind_who_waits_for_it);
	  tcase_add_test(tc, whoever_would_close_a_cycle_is_refused);
	  tcase_add_test(tc, flock_gives_up_what_it_has_before_it_asks_for_more);
	  tcase_add_test(tc, the_number_of_locks_is_bounded);
	  tcase_add_test(tc, a_claim_that_another_has_is_refused);
	  tcase_add_test(tc, any_sequence_is_what_an_array_for_each_owner_says))
