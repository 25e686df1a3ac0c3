/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Verification on workers, by batches: digests are made three at a time, and handing over costs.
 * Slots are handed out on the loop's thread, so that nothing is locked.
 */
#include "chunk-server/verify.h"

#include <stdlib.h>
#include <utlist.h>

struct cs_verify_slot {
	struct codec_scratch *scratch;
	uint8_t *plain[CS_VERIFY_BATCH];
	struct cs_verify *at[CS_VERIFY_BATCH];
	uint32_t count;
	struct loop_work work;
	struct cs_verifier *verifier;
	struct cs_verify_slot *next;
};

struct cs_verifier {
	struct loop *loop;
	enum hash_kind hash;
	struct cs_verify_slot slots[CS_VERIFY_SLOTS];
	struct cs_verify_slot *free;
	struct cs_verify *waiting;
	struct loop_timer timer; /* the end of this turn */
};

static int slot_init(struct cs_verifier *v, struct cs_verify_slot *slot)
{
	slot->verifier = v;
	slot->scratch = codec_scratch_create();
	if (slot->scratch == NULL)
		return -E_NOMEM;
	for (uint32_t i = 0; i < CS_VERIFY_BATCH; i++) {
		slot->plain[i] = malloc(BLOCK_BYTES_MAX);
		if (slot->plain[i] == NULL)
			return -E_NOMEM;
	}
	return 0;
}

static void turn_ended(struct loop_timer *timer);

int cs_verifier_create(struct loop *loop, enum hash_kind hash, struct cs_verifier **out)
{
	struct cs_verifier *v = calloc(1, sizeof(*v));

	if (v == NULL)
		return -E_NOMEM;
	v->loop = loop;
	v->hash = hash;
	v->timer.fn = turn_ended;
	for (uint32_t i = 0; i < CS_VERIFY_SLOTS; i++) {
		if (slot_init(v, &v->slots[i]) < 0) {
			cs_verifier_destroy(v);
			return -E_NOMEM;
		}
		LL_PREPEND(v->free, &v->slots[i]);
	}
	*out = v;
	return 0;
}

void cs_verifier_destroy(struct cs_verifier *v)
{
	if (v == NULL)
		return;
	loop_timer_stop(v->loop, &v->timer);
	for (uint32_t i = 0; i < CS_VERIFY_SLOTS; i++) {
		codec_scratch_destroy(v->slots[i].scratch);
		for (uint32_t j = 0; j < CS_VERIFY_BATCH; j++)
			free(v->slots[i].plain[j]);
	}
	free(v);
}

/* Check what needs no digest; then digest what was found good, all at once. */
static void slot_run(struct loop_work *work)
{
	struct cs_verify_slot *slot = container_of(work, struct cs_verify_slot, work);
	struct block_id_job jobs[CS_VERIFY_BATCH] = {{0}};
	struct block_id found[CS_VERIFY_BATCH];
	uint32_t which[CS_VERIFY_BATCH], count = 0;

	for (uint32_t i = 0; i < slot->count; i++) {
		struct cs_verify *verify = slot->at[i];
		const void *plain;

		verify->rc = record_plain(slot->scratch, verify->record->data, verify->record->len,
					  &verify->found, slot->plain[i], &plain);
		if (verify->rc < 0)
			continue;
		which[count] = i;
		jobs[count] =
			(struct block_id_job){plain, verify->found.plain_len, &found[count]};
		count++;
	}
	block_id_of_all(slot->verifier->hash, jobs, count);
	for (uint32_t i = 0; i < count; i++) {
		struct cs_verify *verify = slot->at[which[i]];

		if (!block_id_equal(&found[i], &verify->found.id))
			verify->rc = -E_CORRUPT;
	}
}

static void start_next(struct cs_verifier *v);

static void slot_done(struct loop_work *work)
{
	struct cs_verify_slot *slot = container_of(work, struct cs_verify_slot, work);
	struct cs_verify *ended[CS_VERIFY_BATCH];
	uint32_t count = slot->count;

	for (uint32_t i = 0; i < count; i++)
		ended[i] = slot->at[i];
	slot->count = 0;
	LL_PREPEND(slot->verifier->free, slot);
	start_next(slot->verifier);
	for (uint32_t i = 0; i < count; i++)
		ended[i]->done(ended[i]);
}

static void slot_start(struct cs_verifier *v)
{
	struct cs_verify_slot *slot = v->free;

	LL_DELETE(v->free, slot);
	while (v->waiting != NULL && slot->count < CS_VERIFY_BATCH) {
		struct cs_verify *verify = v->waiting;

		DL_DELETE(v->waiting, verify);
		slot->at[slot->count++] = verify;
	}
	slot->work.run = slot_run;
	slot->work.done = slot_done;
	loop_work(v->loop, &slot->work);
}

static void start_next(struct cs_verifier *v)
{
	while (v->free != NULL && v->waiting != NULL)
		slot_start(v);
}

static void turn_ended(struct loop_timer *timer)
{
	start_next(container_of(timer, struct cs_verifier, timer));
}

void cs_verify_start(struct cs_verifier *v, struct cs_verify *verify)
{
	DL_APPEND(v->waiting, verify);
	if (!v->timer.is_active)
		loop_timer_start(v->loop, &v->timer, 0);
}
