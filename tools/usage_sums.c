/* SPDX-License-Identifier: Apache-2.0 */
/* From the blocks of the sample to sums by group. */
#include <stdlib.h>

#include "fs/base/text.h"
#include "tools/usage.h"

static void add_block(struct usage_sums *s, const struct sample_block *b, bool is_own)
{
	double plain = 0, stored = 0;

	for (uint32_t i = 0; i < b->copies.held_count; i++) {
		plain += b->length;
		stored += b->copies.held[i].stored;
	}
	estimate_add(&s->unique, b->length);
	estimate_add(&s->own, is_own ? b->length : 0);
	estimate_add(&s->stored, stored);
	estimate_ratio_add(&s->codec, plain, stored);
	if (b->what_if)
		estimate_ratio_add(&s->what_if, b->what_if, b->length);
}

static uint32_t groups_of(const struct sample_block *b, uint8_t out[SAMPLE_GROUPS])
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < SAMPLE_GROUPS; i++)
		if (b->groups[i / 64] >> i % 64 & 1)
			out[count++] = (uint8_t)i;
	return count;
}

static void add_to_groups(struct usage *u, const struct sample_block *b)
{
	uint8_t groups[SAMPLE_GROUPS];
	uint32_t count = groups_of(b, groups);

	for (uint32_t i = 0; i < count; i++) {
		add_block(&u->groups[groups[i]].sums, b, count == 1);
		for (uint32_t k = i + 1; k < count; k++)
			estimate_add(&u->pairs[groups[i] * SAMPLE_GROUPS + groups[k]], b->length);
	}
}

/* Copies may differ in codec: each has an equal part of the block. */
static void add_to_codecs(struct usage *u, const struct sample_block *b)
{
	for (uint32_t i = 0; i < b->copies.held_count; i++) {
		const struct tree_copy *copy = &b->copies.held[i];
		struct usage_group *g = &u->groups[MIN_OF(copy->codec, u->group_count - 1)];
		double part = 1.0 / b->copies.held_count;

		g->logical_estimated += (double)b->met * part / sample_rate(u->sample);
		estimate_add(&g->sums.unique, b->length * part);
		estimate_add(&g->sums.own, b->length * part);
		estimate_add(&g->sums.stored, copy->stored);
		estimate_ratio_add(&g->sums.codec, b->length, copy->stored);
		if (b->what_if)
			estimate_ratio_add(&g->sums.what_if, b->what_if * part, b->length * part);
	}
}

static void name_codecs(struct usage *u)
{
	u->group_count = 0;
	while (codec_is_known(u->group_count)) {
		(void)text_copy(u->groups[u->group_count].name, USAGE_GROUP_BYTES,
				codec_name((enum codec)u->group_count));
		u->group_count++;
	}
	(void)text_copy(u->groups[u->group_count++].name, USAGE_GROUP_BYTES, "(unknown)");
}

void usage_add_up(struct usage *u)
{
	if (u->by == USAGE_BY_CODEC)
		name_codecs(u);
	for (struct sample_block *b = sample_next(u->sample, NULL); b;
	     b = sample_next(u->sample, b)) {
		if (b->is_node) {
			add_block(&u->manifests, b, true);
			continue;
		}
		add_block(&u->total, b, true);
		if (u->by == USAGE_BY_CODEC)
			add_to_codecs(u, b);
		else
			add_to_groups(u, b);
	}
}
