/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names and encodings, on workers. What is asked for within one turn of the loop goes to them in
 * batches: handing a block over costs a tenth of its digest, and digests are made three at a time.
 *
 * Encoding is not tried on every block: behind a row of blocks that did not shrink, few of the next
 * will. One that does not shrink is not copied either: its record is a header and the bytes where
 * they are.
 */
#include <stdlib.h>
#include <utlist.h>

#include "fs/net/blocks_internal.h"

#define DENSE_ROW   8u	/* so many blocks in a row did not shrink: */
#define DENSE_EVERY 16u /* then the encoder is tried once in so many */

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

	codec_detect(e->aim, &plain, &batch->plan, &e->plan);
	batch->plan = e->plan;
	const struct record_plan plan = {
		.id = e->id,
		.codec = e->plan,
		.plain = plain.bytes,
		.plain_len = plain.len,
	};
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

/* What does it tell of the next? */
static void learn(struct blocks *b, const struct blocks_encode *e)
{
	if (e->stored_len > 0)
		b->dense_row = 0;
	else if (e->aim != CODEC_AIM_RAW)
		b->dense_row = MIN_OF(b->dense_row + 1, DENSE_ROW);
}

static void encode_settle(struct blocks *b, struct blocks_encode *e)
{
	e->is_busy = false;
	if (!e->wants_record)
		return;
	learn(b, e);
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

	b->plan = batch->plan;
	for (uint32_t i = 0; i < batch->count; i++) {
		encode_settle(b, batch->at[i]);
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

static enum codec_aim aim_choose(struct blocks *b)
{
	bool is_tried = b->dense_row < DENSE_ROW || ++b->dense_skipped >= DENSE_EVERY;

	if (is_tried)
		b->dense_skipped = 0;
	return is_tried ? b->o.aim : CODEC_AIM_RAW;
}

bool blocks_encode_is_cheap(const struct blocks *b)
{
	return b->o.aim == CODEC_AIM_RAW || b->dense_row == DENSE_ROW;
}

int blocks_encode_start(struct blocks *b, struct blocks_encode *e)
{
	ASSERT(!e->is_waiting && !e->is_busy && !e->stored);
	e->aim = e->wants_record ? aim_choose(b) : CODEC_AIM_RAW;
	if (e->aim != CODEC_AIM_RAW) {
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
