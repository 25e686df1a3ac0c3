/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the parts of an encoded block are, which symbols it has, and its exceptions. Loops over
 * words are in nibble_plain.c and in the kernels.
 */
#include <string.h>

#include "fs/codec/nibble_internal.h"

#define FORM_STRIDE_MASK 0x03u
#define FORM_PHASE_SHIFT 2u
#define FORM_PHASE_MASK	 0x03u
#define FORM_ROTATED	 0x10u
#define HEAD_BYTES	 (1u + NIBBLE_SYMBOLS)

/* Symbols are chosen by a part of the words: this many at this many places. */
#define SAMPLE_RUN   64u
#define SAMPLE_RUNS  64u

/* Where everything is but the exceptions, which fill what is behind. */
struct layout {
	uint32_t words;
	uint32_t behind;	/* plain bytes behind the last word */
	uint32_t rest, halves, patches;	/* offsets in the stored bytes */
};

static struct layout layout_of(const struct nibble_form *form, uint32_t phase, uint32_t plain_len)
{
	uint32_t words = (plain_len - phase) / form->stride;
	uint32_t behind = (plain_len - phase) % form->stride;
	uint32_t rest = HEAD_BYTES + phase + behind;
	uint32_t halves = rest + words * (form->stride - 1u);

	return (struct layout){words, behind, rest, halves, halves + DIV_CEIL(words, 2u)};
}

/* --- which symbols ---- */

static void count_sample(const struct nibble_form *form, const struct nibble_parts *parts,
			 uint32_t counts[256])
{
	uint32_t words = parts->words;

	if (words <= SAMPLE_RUN * SAMPLE_RUNS) {
		nibble_plain_count(form, parts, 0, words, counts);
		return;
	}
	uint32_t step = (words - SAMPLE_RUN) / (SAMPLE_RUNS - 1);
	for (uint32_t i = 0; i < SAMPLE_RUNS; i++)
		nibble_plain_count(form, parts, i * step, i * step + SAMPLE_RUN, counts);
}

/* The most frequent ones, in their own order. */
static void choose_symbols(struct nibble_form *form, const struct nibble_parts *parts)
{
	uint32_t counts[256] = {0};
	uint32_t best[NIBBLE_SYMBOLS + 1]; /* count and symbol in one, the greatest first */
	uint32_t found = 0;

	count_sample(form, parts, counts);
	for (uint32_t symbol = 0; symbol < 256; symbol++) {
		uint32_t key = counts[symbol] << 8 | (255 - symbol);
		uint32_t at = found;

		if (counts[symbol] == 0 ||
		    (found == NIBBLE_SYMBOLS && key < best[NIBBLE_SYMBOLS - 1]))
			continue;
		for (; at > 0 && best[at - 1] < key; at--)
			best[at] = best[at - 1];
		best[at] = key;
		found = MIN_OF(found + 1, NIBBLE_SYMBOLS);
	}
	memset(form->symbols, 0, sizeof(form->symbols));
	memset(form->index, NIBBLE_MISSING, sizeof(form->index));
	form->symbol_count = (uint8_t)found;
	for (uint32_t i = 0; i < found; i++) {
		form->symbols[i] = (uint8_t)(255 - (best[i] & 0xff));
		form->index[form->symbols[i]] = (uint8_t)i;
	}
}

/* --- encoding ---- */

static bool words_encode(enum cpu_level level, const struct nibble_form *form,
			 struct nibble_parts *parts)
{
	uint32_t done = 0;

#if defined(__x86_64__)
	if (level >= CPU_AVX512)
		done = nibble_avx512_encode(form, parts);
	else if (level >= CPU_AVX2)
		done = nibble_avx2_encode(form, parts);
#else
	(void)level;
#endif
	return nibble_plain_encode(form, parts, done);
}

uint32_t nibble_encode_at(enum cpu_level level, const struct codec_plan *plan,
			  const struct codec_bytes *plain, void *out, uint32_t room)
{
	struct nibble_form form = {.stride = plan->stride, .rotate = plan->rotate};
	uint8_t *stored = out;
	const uint8_t *bytes = plain->bytes;

	ASSERT(plan->stride == 1 || plan->stride == 2 || plan->stride == 4);
	ASSERT(plan->phase < plan->stride && plan->rotate <= (plan->stride > 1));
	if (plain->len < plan->phase)
		return 0;
	struct layout l = layout_of(&form, plan->phase, plain->len);
	if (l.patches > room)
		return 0;
	struct nibble_parts parts = {
		.plain = (uint8_t *)bytes + plan->phase, /* read only */
		.rest = stored + l.rest,
		.halves = stored + l.halves,
		.words = l.words,
		.patches = stored + l.patches,
		.patches_end = stored + room,
	};
	choose_symbols(&form, &parts);
	stored[0] = (uint8_t)((plan->stride / 2u) | plan->phase << FORM_PHASE_SHIFT |
			      (plan->rotate ? FORM_ROTATED : 0));
	memcpy(stored + 1, form.symbols, NIBBLE_SYMBOLS);
	memcpy(stored + HEAD_BYTES, bytes, plan->phase);
	memcpy(stored + HEAD_BYTES + plan->phase, bytes + plain->len - l.behind, l.behind);
	return words_encode(level, &form, &parts) ? (uint32_t)(parts.patches - stored) : 0;
}

uint32_t nibble_encode(const struct codec_plan *plan, const struct codec_bytes *plain, void *out,
		       uint32_t room)
{
	return nibble_encode_at(cpu_level(), plan, plain, out, room);
}

/* --- decoding ---- */

static void words_decode(enum cpu_level level, const struct nibble_form *form,
			 const struct nibble_parts *parts)
{
	uint32_t done = 0;

#if defined(__x86_64__)
	if (level >= CPU_AVX512)
		done = nibble_avx512_decode(form, parts);
	else if (level >= CPU_AVX2)
		done = nibble_avx2_decode(form, parts);
#else
	(void)level;
#endif
	nibble_plain_decode(form, parts, done);
}

/* Exceptions up to `end`; false: not ascending, or of words that there are not. */
static bool patch_all(const struct nibble_form *form, const struct nibble_parts *parts,
		      const uint8_t *at, const uint8_t *end)
{
	uint32_t next = 0; /* the lowest word that may come */

	for (; at < end; at += NIBBLE_PATCH_BYTES) {
		uint32_t word = at[0] | (uint32_t)at[1] << 8;

		if (word < next || word >= parts->words)
			return false;
		nibble_plain_patch(form, parts, word, at[2]);
		next = word + 1;
	}
	return true;
}

int nibble_decode_at(enum cpu_level level, const struct codec_bytes *stored, void *out,
		     uint32_t plain_len)
{
	const uint8_t *in = stored->bytes;
	uint8_t *plain = out;
	struct nibble_form form;

	if (stored->len < HEAD_BYTES)
		return -E_MALFORMED;
	uint32_t stride_log = in[0] & FORM_STRIDE_MASK;
	uint32_t phase = in[0] >> FORM_PHASE_SHIFT & FORM_PHASE_MASK;
	form.stride = (uint8_t)(1u << stride_log);
	form.rotate = (in[0] & FORM_ROTATED) != 0;
	if (stride_log > 2 || phase >= form.stride || (form.rotate && form.stride == 1) ||
	    in[0] > (FORM_ROTATED | 0x0f) || phase > plain_len)
		return -E_MALFORMED;
	struct layout l = layout_of(&form, phase, plain_len);
	if (stored->len < l.patches || (stored->len - l.patches) % NIBBLE_PATCH_BYTES != 0)
		return -E_MALFORMED;
	memcpy(form.symbols, in + 1, NIBBLE_SYMBOLS);
	memcpy(plain, in + HEAD_BYTES, phase);
	memcpy(plain + plain_len - l.behind, in + HEAD_BYTES + phase, l.behind);
	const struct nibble_parts parts = {
		.plain = plain + phase,
		.rest = (uint8_t *)in + l.rest,	    /* read only */
		.halves = (uint8_t *)in + l.halves, /* read only */
		.words = l.words,
	};
	words_decode(level, &form, &parts);
	return patch_all(&form, &parts, in + l.patches, in + stored->len) ? 0 : -E_MALFORMED;
}

int nibble_decode(const struct codec_bytes *stored, void *out, uint32_t plain_len)
{
	return nibble_decode_at(cpu_level(), stored, out, plain_len);
}
