/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waiting in tests over a real loop: RUN_UNTIL(condition) turns the loop `w.loop` of the test's
 * world until the condition holds, and a guard ends the test if that never comes.
 */
#ifndef CAIRN_TESTS_LOOP_UNTIL_H
#define CAIRN_TESTS_LOOP_UNTIL_H

#include <uv.h>

#include "fs/io/loop.h"
#include "tests/check_main.h"

/*
 * NOWAIT: a turn of UV_RUN_ONCE runs timers and then still waits, even if one of them made the
 * condition true.
 */
#define RUN_UNTIL(condition)                                                                       \
	do {                                                                                       \
		while (!(condition))                                                               \
			uv_run(loop_uv_handle(w.loop), UV_RUN_NOWAIT);                             \
	} while (0)

static inline void loop_until_fired(struct loop_timer *timer unused_arg)
{
	ck_abort_msg("the test waits for something that does not come");
}

/* Stop the timer when the world ends. */
static inline void loop_until_guard(struct loop *loop, struct loop_timer *guard, uint64_t ms)
{
	guard->fn = loop_until_fired;
	loop_timer_start(loop, guard, ms);
}

#endif
