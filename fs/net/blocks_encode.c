/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names and encodings, on workers. What is asked for within one turn of the loop goes to them in
 * batches: handing a block over costs a tenth of its digest, and digests are made three at a time.
 *
 * A look at each block says whether and how to encode it, beginning with how the one before it was:
 * blocks of a file come one after the other. One that does not shrink is not copied either: its
 * record is a header and the bytes where they are.
 */
#include <stdlib.h>
#include <utlist.h>

#include "fs/net/blocks_internal.h"

/* 0.1 ms of digests: long beside the hand-over, short beside the way to a server. */
#define BATCH_MAX 6u

struct encode_batch {
	struct loop_work work;
	struct blocks *b;
	struct blocks_scratch *scratch;
	struct blocks_encode *at[BATCH_MAX];
	uint32_t count;
	struct codec_plan plan; /* of the block before */
};

/* --- on a worker ---- */

static void batch_name(struct encode_batch *batch)
{
	struct block_id_job jobs[BATCH_MAX];
	uint32_t count = 0;

	for (uint32_t i = 0; i < batch->count; i++) {
		struct blocks_encode *e = batch->at[i];

		if (!e->has_id)
			jobs[count++] =
				(struct block_id_job){e->plain->data, e->plain->len, &e->id};
	}
	block_id_of_all(batch->b->o.hash, jobs, count);
}

static void encode_one(struct encode_batch *batch, struct blocks_encode *e)
{
	const struct codec_bytes plain = {e->plain->data, e->plain->len};
	const struct codec_plan previous = batch->plan;
	struct record_plan plan = {.id = e->id, .plain = plain.bytes, .plain_len = plain.len};

	codec_detect(batch->b->o.aim, &plain, &previous, &batch->plan);
	if (batch->plan.codec != CODEC_RAW && !e->stored)
		e->stored = buf_get(batch->b->o.pool, BLOCK_BYTES_MAX);
	if (e->stored) /* else it was not expected to shrink, and memory is short */
		plan.codec = batch->plan;
	e->stored_len = record_split(batch->scratch->codec, &plan, e->head,
				     e->stored ? e->stored->data : NULL);
}

static void batch_run(struct loop_work *work)
{
	struct encode_batch *batch = container_of(work, struct encode_batch, work);

	batch_name(batch);
	for (uint32_t i = 0; i < batch->count; i++) {
		if (batch->at[i]->wants_record)
			encode_one(batch, batch->at[i]);
	}
}

/* --- and back ---- */

static void encode_settle(struct blocks_encode *e)
{
	e->is_busy = false;
	if (!e->wants_record)
		return;
	if (e->stored_len > 0) {
		e->stored->len = e->stored_len;
	} else {
		buf_put(e->stored);
		e->stored = NULL;
	}
}

static void batch_done(struct loop_work *work)
{
	struct encode_batch *batch = container_of(work, struct encode_batch, work);
	struct blocks *b = batch->b;

	for (uint32_t i = 0; i < batch->count; i++) {
		if (batch->at[i]->wants_record)
			b->plan = batch->plan;
		encode_settle(batch->at[i]);
		batch->at[i]->done(batch->at[i]);
	}
	blocks_work_end(b, batch->scratch);
	free(batch);
}

/* --- batches ---- */

static int batch_start(struct blocks *b)
{
	struct blocks_scratch *scratch;
	int rc = blocks_work_begin(b, &scratch);

	if (rc < 0)
		return rc;
	struct encode_batch *batch = blocks_state_new(sizeof(*batch));
	batch->b = b;
	batch->scratch = scratch;
	batch->plan = b->plan;
	while (b->encodes && batch->count < BATCH_MAX) {
		struct blocks_encode *e = b->encodes;

		DL_DELETE(b->encodes, e);
		e->is_waiting = false;
		e->is_busy = true;
		batch->at[batch->count++] = e;
	}
	batch->work.is_owned = true;
	batch->work.run = batch_run;
	batch->work.done = batch_done;
	loop_work(b->o.loop, &batch->work);
	return 0;
}

void blocks_encode_turn(struct loop_timer *timer)
{
	struct blocks *b = container_of(timer, struct blocks, encode_timer);

	while (b->encodes) {
		if (batch_start(b) < 0) { /* no memory now */
			loop_timer_start(b->o.loop, timer, BLOCKS_PAUSE_MS_MIN);
			return;
		}
	}
}

bool blocks_encode_is_cheap(const struct blocks *b)
{
	return b->plan.codec == CODEC_RAW;
}

int blocks_encode_start(struct blocks *b, struct blocks_encode *e)
{
	ASSERT(!e->is_waiting && !e->is_busy && !e->stored);
	if (e->wants_record && b->plan.codec != CODEC_RAW) {
		e->stored = buf_get(b->o.pool, BLOCK_BYTES_MAX);
		if (!e->stored)
			return -E_OVERLOADED;
	}
	e->stored_len = 0;
	e->is_waiting = true;
	DL_APPEND(b->encodes, e);
	if (!b->encode_timer.is_active)
		loop_timer_start(b->o.loop, &b->encode_timer, 0);
	return 0;
}

void blocks_encode_cancel(struct blocks *b, struct blocks_encode *e)
{
	if (e->is_waiting)
		DL_DELETE(b->encodes, e);
	e->is_waiting = false;
}

void blocks_encode_finish(struct blocks_encode *e)
{
	ASSERT(!e->is_waiting && !e->is_busy);
	buf_put(e->stored);
	e->stored = NULL;
}
