/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a thing may be now: the set of states that all answers so far allow (linearizability,
 * checked as the answers come).
 *
 * A state is a few numbers. An operation that changes it is begun, and from then on it may have
 * happened in any order with the others under way; when it ends well, only states in which it
 * happened stay. An observation keeps only states that explain it. No state left: the answers
 * contradict each other.
 *
 * An operation whose end is unknown (a crash, a deadline) may happen at any time later, or never.
 * Sets that have been are remembered, so a failure that loses the newest changes is rolled back by
 * allowing all states since some moment: "durable, and an ordered prefix of the rest".
 */
#ifndef CAIRN_TESTS_SIM_POSSIBLE_H
#define CAIRN_TESTS_SIM_POSSIBLE_H

#include "fs/base/base.h"

#define POSSIBLE_VALUES 24u
#define POSSIBLE_OPS	512u /* changes until it is settled */
#define POSSIBLE_STATES                                                                            \
	3000u /* more: the set is blurred, and allows everything until it is settled */

struct possible_state {
	uint16_t values[POSSIBLE_VALUES];
	uint64_t happened[POSSIBLE_OPS / 64]; /* operations that made it what it is */
};

enum possible_fate { POSSIBLE_UNDER_WAY, POSSIBLE_UNKNOWN, POSSIBLE_ENDED };

struct possible_op {
	enum possible_fate fate;
	uint32_t born;	/* moment: sets remembered when it began */
	uint32_t owner; /* whoever asked for it; these three are the caller's */
	uint64_t begun_ns;
	uint64_t acked_ns; /* 0: not yet, or taken back */
	uint64_t taken_ns; /* what acked_ns was when it was taken back; 0: its owner knows */
	uint16_t args[6];
};

struct possible_moment {
	uint64_t end_ns;
	struct possible_state *states;
	uint32_t count;
};

struct possible {
	/* Let the operation happen; false: it would fail, or change nothing, in this state. */
	bool (*apply)(const struct possible_op *op, uint16_t *values);
	struct possible_state *states;
	uint32_t count, capacity;
	struct possible_op ops[POSSIBLE_OPS];
	uint32_t op_count;
	uint64_t pinned[POSSIBLE_OPS / 64]; /* operations that nothing takes back */
	struct possible_moment *moments;
	uint32_t moment_count, moment_capacity;
	bool is_blurred;
};

/* Does a state explain what was observed? */
typedef bool (*possible_match_fn)(void *arg, const uint16_t *values);

/* One state, all zero. */
void possible_init(struct possible *p,
		   bool (*apply)(const struct possible_op *op, uint16_t *values));
void possible_finish(struct possible *p);

bool possible_is_full(const struct possible *p, uint32_t room); /* no room for so many operations */
/* A change begins; returns its number. */
uint32_t possible_begin(struct possible *p, const uint16_t args[6]);
/* It happened. False: it cannot have. */
must_check bool possible_happened(struct possible *p, uint32_t op, uint64_t now_ns);
/* It did not happen, for a reason that some state since it began explains. False: none does. */
must_check bool possible_failed(struct possible *p, uint32_t op, possible_match_fn match, void *arg,
				uint64_t now_ns);
void possible_unknown(struct possible *p, uint32_t op);

uint32_t possible_moment(const struct possible *p); /* for an observation that begins now */
/* Something was observed between `born` and now. False: no state explains it. */
must_check bool possible_observed(struct possible *p, uint32_t born, possible_match_fn match,
				  void *arg, uint64_t now_ns);
/* The same without learning from it. */
bool possible_was(const struct possible *p, uint32_t born, possible_match_fn match, void *arg);

/*
 * What this owner was told before a time is durable. Returns when the last of it began: whatever
 * was answered before that is durable, too, where changes are kept in order. 0: nothing new.
 */
uint64_t possible_pin(struct possible *p, uint32_t owner, uint64_t before_ns);
/* The owner has heard that something of what it was told may be gone. */
void possible_told(struct possible *p, uint32_t owner);
/*
 * All that was taken back from who has not heard of it, if it was begun after one time and told
 * before the other, has happened. False: it cannot have.
 */
must_check bool possible_kept(struct possible *p, uint32_t owner, uint64_t after_ns,
			      uint64_t before_ns, uint64_t now_ns);
/* The moment that began at or before a time. */
uint32_t possible_moment_at(const struct possible *p, uint64_t ns);
/* All states since that moment, with what is pinned, may be the present one. Takes back what was
 * told. */
void possible_roll_back(struct possible *p, uint32_t moment, uint64_t now_ns);
/* May it be this? */
bool possible_allows(const struct possible *p, const uint16_t values[POSSIBLE_VALUES]);
/* Nothing is under way, nothing unknown will happen any more, and this is what it is: forget the
 * past. */
void possible_settle(struct possible *p, const uint16_t values[POSSIBLE_VALUES]);

#endif
