/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Beginnings: content that is to be filled, and drafts. Only room is made here, in the books; a
 * worker makes the file.
 */
#include <stdlib.h>

#include "client/tier/tier_internal.h"

int tiers_begin_pieces(struct tier_file *f)
{
	uint64_t count = tier_format_pieces(&f->item.root);

	f->present = calloc(DIV_CEIL(count, 8u), 1);
	f->sums = calloc(count, sizeof *f->sums);
	if (f->present != NULL && f->sums != NULL)
		return 0;
	tier_file_forget_filling(f);
	return -E_NOMEM;
}

/* May this be begun? Where, with room for it? */
static int may_begin(struct tiers *t, const struct root *root)
{
	struct tier_file *f = root != NULL ? tiers_lookup(t, root) : NULL;

	if (f != NULL && f->is_doubted) {
		tier_scrub_want(f);
		return -E_BUSY;
	}
	if (f != NULL)
		return -E_EXIST;
	if (!t->is_ready)
		return -E_AGAIN;
	if (t->is_stopping)
		return -E_NODEV;
	return t->filling_count < TIER_FILLING_MAX ? 0 : -E_NOSPC;
}

int tiers_begin(struct tiers *t, const struct root *root, bool want_pinned, struct tier_file **out)
{
	const struct policy_newcomer newcomer = { .root = root, .must_enter = want_pinned };
	uint64_t charge = tiers_place_charge(root);
	struct tier_file *f;
	struct place *p;
	int rc = may_begin(t, root);

	ASSERT(root_has_blocks(root) && root->length > 0);
	if (rc == 0)
		rc = tiers_place_choose(t, charge, &newcomer, &p);
	t->refused += rc == -E_NOSPC;
	if (rc < 0)
		return rc;
	f = tier_file_create(p, root, charge);
	if (f == NULL)
		return -E_NOMEM;
	t->filling_count++;
	f->number = t->next_number++;
	f->refs = 1;
	if (tiers_begin_pieces(f) < 0) {
		tier_put(f);
		return -E_NOMEM;
	}
	tier_file_publish(f);
	tier_file_advance(f);
	*out = f;
	return 0;
}

int tiers_begin_draft(struct tiers *t, struct tier_file **out)
{
	const struct policy_newcomer newcomer = { 0 };
	struct tier_file *f;
	struct place *p;
	int rc = may_begin(t, NULL);

	if (rc == 0)
		rc = tiers_place_choose(t, TIER_PIECE_BYTES, &newcomer, &p);
	t->refused += rc == -E_NOSPC;
	if (rc < 0)
		return rc;
	f = tier_file_create(p, NULL, TIER_PIECE_BYTES);
	if (f == NULL)
		return -E_NOMEM;
	t->filling_count++;
	f->number = t->next_number++;
	f->was_draft = true;
	f->refs = 1;
	tier_file_advance(f);
	*out = f;
	return 0;
}
