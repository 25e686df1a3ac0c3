/* SPDX-License-Identifier: Apache-2.0 */
/* Verification on workers. Slots are handed out on the loop's thread, so that nothing is locked. */
#include "chunk-server/verify.h"

#include <stdlib.h>
#include <utlist.h>

struct cs_verify_slot {
	struct codec_scratch *scratch;
	uint8_t *plain;
	struct cs_verify_slot *next;
};

struct cs_verifier {
	struct loop *loop;
	enum hash_kind hash;
	struct cs_verify_slot slots[CS_VERIFY_SLOTS];
	struct cs_verify_slot *free;
	struct cs_verify *waiting;
};

int cs_verifier_create(struct loop *loop, enum hash_kind hash, struct cs_verifier **out)
{
	struct cs_verifier *v = calloc(1, sizeof(*v));

	if (v == NULL)
		return -E_NOMEM;
	v->loop = loop;
	v->hash = hash;
	for (uint32_t i = 0; i < CS_VERIFY_SLOTS; i++) {
		struct cs_verify_slot *slot = &v->slots[i];
		slot->scratch = codec_scratch_create();
		slot->plain = malloc(BLOCK_BYTES_MAX);
		if (slot->scratch == NULL || slot->plain == NULL) {
			cs_verifier_destroy(v);
			return -E_NOMEM;
		}
		LL_PREPEND(v->free, slot);
	}
	*out = v;
	return 0;
}

void cs_verifier_destroy(struct cs_verifier *v)
{
	if (v == NULL)
		return;
	for (uint32_t i = 0; i < CS_VERIFY_SLOTS; i++) {
		if (v->slots[i].scratch != NULL)
			codec_scratch_destroy(v->slots[i].scratch);
		free(v->slots[i].plain);
	}
	free(v);
}

static void verify_run(struct loop_work *work)
{
	struct cs_verify *verify = container_of(work, struct cs_verify, work);

	verify->rc =
		record_open(verify->slot->scratch, verify->verifier->hash, verify->record->data,
			    verify->record->len, true, &verify->found, verify->slot->plain);
}

static void start_next(struct cs_verifier *v);

static void verify_done(struct loop_work *work)
{
	struct cs_verify *verify = container_of(work, struct cs_verify, work);
	struct cs_verifier *v = verify->verifier;

	LL_PREPEND(v->free, verify->slot);
	verify->slot = NULL;
	start_next(v);
	verify->done(verify);
}

static void start_next(struct cs_verifier *v)
{
	while (v->free != NULL && v->waiting != NULL) {
		struct cs_verify *verify = v->waiting;
		DL_DELETE(v->waiting, verify);
		verify->slot = v->free;
		LL_DELETE(v->free, verify->slot);
		verify->work.run = verify_run;
		verify->work.done = verify_done;
		loop_work(v->loop, &verify->work);
	}
}

void cs_verify_start(struct cs_verifier *v, struct cs_verify *verify)
{
	verify->verifier = v;
	DL_APPEND(v->waiting, verify);
	start_next(v);
}
