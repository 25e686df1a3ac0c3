/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks in a cluster that is well: what is put can be got, and costs no message too many. */
#include "tests/unit/net/blocks_world.h"

#include "fs/net/blocks_internal.h"
#include "fs/net/rpc_internal.h"

#define MANY 13u

START_TEST(what_is_put_can_be_got_and_synced)
{
	struct blocks_marks marks;

	world_start();
	blocks_marks_init(&marks);
	struct blocks_put p = put(1, &marks);
	ck_assert_uint_gt(p.sent_bytes, 0);
	ck_assert_uint_eq(marks.count, SERVERS);
	ck_assert_uint_eq(marks.collection, 9);
	ck_assert_int_eq(get(&p.id, 1), 0);
	ck_assert_int_eq(sync_marks(&marks), 0);
	for (unsigned i = 0; i < SERVERS; i++)
		ck_assert_uint_eq(w.at[i].durable, 1);
	world_stop();
}
END_TEST

START_TEST(a_block_that_is_there_is_not_sent)
{
	struct blocks_marks marks;

	world_start();
	blocks_marks_init(&marks);
	(void)put(1, NULL);
	ck_assert_uint_eq(put(1, &marks).sent_bytes, 0);
	ck_assert_uint_eq(marks.count, SERVERS);
	ck_assert_uint_eq(w.at[0].puts + w.at[1].puts + w.at[2].puts, 1);
	world_stop();
}
END_TEST

static uint32_t many_done;

static void many_put_done(struct blocks_put *put unused_arg)
{
	many_done++;
}

/* Half of them shrink, half do not: these are sent from where their bytes are. */
static struct buf *many_plain(uint32_t number)
{
	struct buf *plain = plain_of((uint8_t)number, 50000);
	uint64_t state = number + 1;

	for (uint32_t i = 0; number % 2 && i < plain->len; i++) {
		state = state * UINT64_C(6364136223846793005) + 1;
		plain->data[i] = (uint8_t)(state >> 56);
	}
	return plain;
}

static void many_start(struct blocks_put *puts, uint32_t count)
{
	many_done = 0;
	for (uint32_t i = 0; i < count; i++) {
		puts[i] = (struct blocks_put){.plain = many_plain(i),
					      .deadline_ns = in_ms(10000),
					      .done = many_put_done};
		blocks_put_start(w.blocks, &puts[i]);
	}
}

static void many_free(struct blocks_put *puts, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		buf_put(puts[i].plain);
}

START_TEST(puts_of_one_turn_are_asked_for_and_named_together)
{
	struct blocks_put puts[MANY];
	uint32_t haves = 0, ids = 0;

	world_start();
	(void)put(100, NULL); /* now the map is known */
	for (unsigned i = 0; i < SERVERS; i++)
		w.at[i].haves = w.at[i].have_ids = 0;
	many_start(puts, MANY);
	RUN_UNTIL(many_done == MANY);
	for (unsigned i = 0; i < SERVERS; i++) {
		haves += w.at[i].haves;
		ids += w.at[i].have_ids;
	}
	ck_assert_uint_eq(ids, MANY);
	ck_assert_uint_le(haves, MANY / 2); /* as many as batches that a worker named */
	for (uint32_t i = 0; i < MANY; i++) {
		struct block_id id;
		struct blocks_get g = {.id = puts[i].id,
				       .verify_id = true,
				       .deadline_ns = in_ms(10000),
				       .done = get_done};

		block_id_of(HASH_SHA256, puts[i].plain->data, puts[i].plain->len, &id);
		ck_assert(block_id_equal(&id, &puts[i].id));
		ck_assert_int_eq(puts[i].rc, 0);
		ck_assert(i % 2 ? puts[i].sent_bytes == puts[i].plain->len
				: puts[i].sent_bytes < puts[i].plain->len);
		is_done = false;
		blocks_get_start(w.blocks, &g);
		RUN_UNTIL(is_done);
		ck_assert_int_eq(g.rc, 0);
		ck_assert_int_eq(memcmp(g.plain->data, puts[i].plain->data, g.plain->len), 0);
		buf_put(g.plain);
	}
	many_free(puts, MANY);
	world_stop();
}
END_TEST

static void last_run(struct loop_work *work unused_arg)
{
}

static void last_done(struct loop_work *work unused_arg)
{
	is_done = true;
}

static uint32_t all_puts(void)
{
	return w.at[0].puts + w.at[1].puts + w.at[2].puts;
}

static uint32_t all_have_ids(void)
{
	return w.at[0].have_ids + w.at[1].have_ids + w.at[2].have_ids;
}

START_TEST(asking_first_is_learned_and_forgotten)
{
	world_start();
	for (uint8_t i = 0; i < 64; i++) /* all new: asking is found to be in vain */
		(void)put(i, NULL);
	ck_assert_uint_eq(all_puts(), 64);
	ck_assert_uint_lt(all_have_ids(), 40);
	uint32_t asked = all_have_ids();
	for (uint8_t i = 64; i < 96; i++)
		(void)put(i, NULL);
	ck_assert_uint_le(all_have_ids(), asked + 3);
	uint32_t sent = all_puts();
	for (uint8_t i = 0; i < 64; i++) /* all there: one of sixteen finds that out */
		(void)put(i, NULL);
	ck_assert_uint_le(all_puts(), sent + 16);
	world_stop();
}
END_TEST

/* Whatever stage they are in when it is taken away: each ends once, and nothing is left behind. */
START_TEST(a_destroy_ends_puts_at_every_stage)
{
	for (uint32_t turns = 0; turns < 12; turns++) {
		struct blocks_put puts[MANY];

		world_start();
		(void)put(100, NULL);
		many_start(puts, MANY);
		for (uint32_t i = 0; i < turns; i++)
			uv_run(loop_uv_handle(w.loop), UV_RUN_NOWAIT);
		blocks_destroy(w.blocks);
		w.blocks = NULL;
		ck_assert_uint_eq(many_done, MANY);
		many_free(puts, MANY);
		/* The one worker does what it got in order: behind this one it has nothing left. */
		struct loop_work last = {.run = last_run, .done = last_done};
		is_done = false;
		loop_work(w.loop, &last);
		RUN_UNTIL(is_done);
		world_stop();
	}
}
END_TEST

/* The server that was asked for block `number`, which all have, in this run. */
static unsigned asked_in_run(const struct block_id *id, uint64_t run)
{
	uint32_t before[SERVERS];
	unsigned asked = SERVERS;

	for (unsigned i = 0; i < SERVERS; i++)
		before[i] = w.at[i].gets;
	ck_assert_int_eq(get_of_run(id, 1, run), 0);
	for (unsigned i = 0; i < SERVERS; i++) {
		if (w.at[i].gets != before[i])
			asked = i;
	}
	return asked;
}

START_TEST(a_run_stays_at_a_server_and_the_next_goes_on)
{
	world_start();
	struct blocks_put p = put(1, NULL);
	bool was_asked[SERVERS] = {false};

	for (uint64_t run = 1; run <= SERVERS; run++) {
		unsigned first = asked_in_run(&p.id, run);

		ck_assert_uint_lt(first, SERVERS);
		was_asked[first] = true;
		for (unsigned i = 0; i < 5; i++)
			ck_assert_uint_eq(asked_in_run(&p.id, run), first);
	}
	for (unsigned i = 0; i < SERVERS; i++)
		ck_assert(was_asked[i]);
	fake_stop(0);
	for (uint64_t run = 1; run <= SERVERS; run++)
		ck_assert_int_eq(get_of_run(&p.id, 1, run), 0);
	world_stop();
}
END_TEST

/* The server that a part of the block would be asked of. */
static struct blocks_server *part_goes_to(const struct block_id *id, uint64_t run)
{
	struct blocks_route route;

	blocks_route_init(&route, w.blocks, id);
	route.run = run;
	route.is_part = true;
	return blocks_route_next(&route, true);
}

START_TEST(a_part_goes_to_its_runs_server_unless_others_are_quicker)
{
	struct blocks_server *at[SERVERS + 1];

	world_start();
	struct blocks_put p = put(1, NULL);
	for (unsigned i = 0; i < SERVERS; i++)
		blocks_server_of(w.blocks, w.at[i].number)->peer->latency_us = 300;
	for (unsigned run = 1; run <= SERVERS; run++) {
		at[run] = part_goes_to(&p.id, run);
		ck_assert_ptr_nonnull(at[run]);
		ck_assert_ptr_eq(part_goes_to(&p.id, run), at[run]);
	}
	ck_assert_ptr_ne(at[1], at[2]);
	ck_assert_ptr_ne(at[2], at[3]);
	ck_assert_ptr_ne(at[3], at[1]);
	at[1]->peer->sent_count += 8;
	ck_assert_ptr_eq(part_goes_to(&p.id, 1), at[1]);
	at[1]->peer->sent_count++;
	ck_assert_ptr_ne(part_goes_to(&p.id, 1), at[1]);
	at[1]->peer->sent_count -= 9;
	at[2]->peer->latency_us = 2200;
	ck_assert_ptr_eq(part_goes_to(&p.id, 2), at[2]);
	at[2]->peer->latency_us++; /* more than a read of a disk saves */
	ck_assert_ptr_ne(part_goes_to(&p.id, 2), at[2]);
	ck_assert_ptr_eq(part_goes_to(&p.id, 3), at[3]);
	world_stop();
}
END_TEST

static int get_part(const struct block_id *id, uint8_t seed, uint32_t from, uint32_t len)
{
	struct blocks_get g = {.id = *id,
			       .plain_len = 50000,
			       .part_from = from,
			       .part_len = len,
			       .deadline_ns = in_ms(10000),
			       .done = get_done};

	is_done = false;
	blocks_get_start(w.blocks, &g);
	RUN_UNTIL(is_done);
	if (g.rc == 0) {
		struct buf *want = plain_of(seed, 50000);
		ck_assert_uint_eq(g.plain->len, len);
		ck_assert(memcmp(g.plain->data, want->data + from, len) == 0);
		buf_put(want);
		buf_put(g.plain);
	}
	return g.rc;
}

/* Whether servers answer with the part or with the whole, and raw or encoded. */
START_TEST(a_part_of_a_block_is_enough)
{
	world_start();
	struct blocks_put p = put(1, NULL);
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < SERVERS; i++)
			w.at[i].gives_parts = round == 1;
		ck_assert_int_eq(get_part(&p.id, 1, 0, 1), 0);
		ck_assert_int_eq(get_part(&p.id, 1, 4096, 4096), 0);
		ck_assert_int_eq(get_part(&p.id, 1, 0, 50000), 0);
		ck_assert_int_eq(get_part(&p.id, 1, 49999, 1), 0);
	}
	/* more: a slow one, and another was asked as well */
	ck_assert_uint_ge(w.at[0].parts + w.at[1].parts + w.at[2].parts, 4);
	for (unsigned i = 0; i < SERVERS; i++)
		w.at[i].gives_short_parts = true;
	ck_assert_int_eq(get_part(&p.id, 1, 100, 1000), -E_CORRUPT);
	w.at[2].gives_parts = false;
	for (unsigned i = 0; i < SERVERS; i++)
		ck_assert_int_eq(get_part(&p.id, 1, 100, 1000), 0);
	ck_assert_int_eq(get_part(&p.id, 1, 49999, 2), -E_CORRUPT); /* it has no such part */
	world_stop();
}
END_TEST

START_TEST(a_cancelled_get_and_a_destroy_leave_nothing_behind)
{
	struct blocks_get g[3] = {0};
	struct blocks_put p = {0};

	world_start();
	struct block_id id = put(1, NULL).id;
	for (int i = 0; i < 3; i++) {
		g[i] = (struct blocks_get){.id = id, .deadline_ns = in_ms(5000), .done = get_done};
		blocks_get_start(w.blocks, &g[i]);
	}
	is_done = false;
	blocks_get_cancel(w.blocks, &g[0]);
	blocks_get_cancel(w.blocks, &g[0]);
	p = (struct blocks_put){
		.plain = plain_of(9, 50000), .deadline_ns = in_ms(5000), .done = put_done};
	blocks_put_start(w.blocks, &p);
	uv_run(loop_uv_handle(w.loop), UV_RUN_NOWAIT);
	blocks_destroy(w.blocks);
	w.blocks = NULL;
	ck_assert_int_eq(p.rc, -E_CANCELED);
	ck_assert_int_eq(g[2].rc, -E_CANCELED);
	buf_put(p.plain);
	/* What workers still had is given back; the servers share the one record. */
	RUN_UNTIL(buf_pool_used_bytes(w.pool) <= BUF_LARGE_BYTES);
	world_stop();
}
END_TEST

TEST_MAIN("blocks", tcase_add_test(tc, what_is_put_can_be_got_and_synced);
	  tcase_add_test(tc, a_block_that_is_there_is_not_sent);
	  tcase_add_test(tc, puts_of_one_turn_are_asked_for_and_named_together);
	  tcase_add_test(tc, asking_first_is_learned_and_forgotten);
	  tcase_add_test(tc, a_destroy_ends_puts_at_every_stage);
	  tcase_add_test(tc, a_run_stays_at_a_server_and_the_next_goes_on);
	  tcase_add_test(tc, a_part_goes_to_its_runs_server_unless_others_are_quicker);
	  tcase_add_test(tc, a_part_of_a_block_is_enough);
	  tcase_add_test(tc, a_cancelled_get_and_a_destroy_leave_nothing_behind))
