/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the parts of an encoded block are, and which symbols it has. Loops over words are in
 * nibble_plain.c and in the kernels.
 */
#include <lz4.h>
#include <string.h>

#include "fs/base/bytes.h"
#include "fs/codec/nibble_internal.h"

#define FORM_STRIDE_MASK 0x03u
#define FORM_ROTATED	 0x04u
#define FORM_SIXTEEN	 0x08u
#define FORM_KNOWN	 0x0fu
#define HEAD_BYTES	 (1u + NIBBLE_SYMBOLS + 2u + 2u)
#define FRONT_LZ4_MIN	 64u /* fewer bytes are left as they are */

/* Symbols are chosen by a part of the words: this many at this many places. */
#define SAMPLE_RUN  64u
#define SAMPLE_RUNS 64u

/* In front of the words. */
struct front {
	uint32_t plain, stored; /* bytes */
};

/* Where everything is; escapes fill what is behind. */
struct layout {
	uint32_t words;
	uint32_t behind;		/* plain bytes behind the last word */
	uint32_t tail, rest, halves, escapes;	/* offsets in the stored bytes */
};

static struct layout layout_of(const struct nibble_form *form, struct front front,
			       uint32_t plain_len)
{
	struct layout l = {.words = (plain_len - front.plain) / form->stride};

	l.behind = (plain_len - front.plain) % form->stride;
	l.tail = HEAD_BYTES + front.stored;
	l.rest = l.tail + l.behind;
	l.halves = l.rest + l.words * (form->stride - 1u);
	l.escapes = l.halves + DIV_CEIL(l.words, 2u);
	return l;
}

/* --- which symbols ---- */

static void count_sample(const struct nibble_form *form, const struct nibble_parts *parts,
			 uint16_t counts[NIBBLE_LANES][256])
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

/* Symbols with how often they are in the sample, the most frequent first. */
struct ranking {
	uint32_t count;
	uint32_t at[NIBBLE_SYMBOLS + 1]; /* times << 8 | symbol; one more than is ever left */
	bool is_cut;			 /* there are more than sixteen */
};

static void ranking_make(struct ranking *r, const struct nibble_form *form,
			 const struct nibble_parts *parts)
{
	uint16_t counts[NIBBLE_LANES][256] = {0};

	r->count = 0;
	r->is_cut = false;
	count_sample(form, parts, counts);
	for (uint32_t symbol = 0; symbol < 256; symbol++) {
		uint32_t times = 0, at = r->count;

		for (uint32_t i = 0; i < NIBBLE_LANES; i++)
			times += counts[i][symbol];
		if (times == 0)
			continue;
		r->is_cut |= r->count == NIBBLE_SYMBOLS;
		for (; at > 0 && r->at[at - 1] >> 8 < times; at--)
			r->at[at] = r->at[at - 1];
		r->at[at] = times << 8 | symbol;
		r->count = MIN_OF(r->count + 1, NIBBLE_SYMBOLS);
	}
}

static void symbols_take(struct nibble_form *form, const struct ranking *r, uint32_t count)
{
	form->has_escapes = count < NIBBLE_SYMBOLS;
	form->symbol_count = (uint8_t)count;
	memset(form->symbols, 0, sizeof(form->symbols));
	memset(form->index, NIBBLE_MISSING | NIBBLE_ESCAPE, sizeof(form->index));
	for (uint32_t i = 0; i < count; i++) {
		form->symbols[i] = (uint8_t)r->at[i];
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

/* So many of the sample have the sixteenth symbol that sixteen and no escape are worth trying. */
#define SIXTEENTH_MIN 8u

static bool symbols_encode(enum cpu_level level, struct nibble_form *form,
			   struct nibble_parts *parts)
{
	struct nibble_parts tried = *parts;
	struct ranking r;

	ranking_make(&r, form, parts);
	if (r.count == NIBBLE_SYMBOLS && !r.is_cut &&
	    r.at[NIBBLE_SYMBOLS - 1] >> 8 >= SIXTEENTH_MIN) {
		symbols_take(form, &r, NIBBLE_SYMBOLS);
		tried.escapes_end = tried.escapes;
		if (words_encode(level, form, &tried))
			return true;
	}
	symbols_take(form, &r, MIN_OF(r.count, NIBBLE_SYMBOLS - 1));
	return words_encode(level, form, parts);
}

/* Text in front of the words, and what the phase puts there. False: no room. */
static bool front_encode(const struct codec_plan *plan, const struct codec_bytes *plain,
			 uint8_t *stored, uint32_t room, struct front *out)
{
	uint32_t bytes = plan->front + ((uint32_t)plan->phase - plan->front) % plan->stride;
	int shrunk = 0;

	if (bytes > MIN_OF(plain->len, (uint32_t)UINT16_MAX) || room <= HEAD_BYTES)
		return false;
	room -= HEAD_BYTES;
	if (bytes >= FRONT_LZ4_MIN)
		shrunk = LZ4_compress_default(plain->bytes, (char *)stored + HEAD_BYTES, (int)bytes,
					      (int)MIN_OF(room, bytes - 1));
	*out = (struct front){bytes, shrunk > 0 ? (uint32_t)shrunk : bytes};
	if (out->stored > room)
		return false;
	if (out->stored == bytes)
		memcpy(stored + HEAD_BYTES, plain->bytes, bytes);
	return true;
}

static void head_write(const struct nibble_form *form, struct front front, uint8_t *out)
{
	struct wr w = wr_init(out, HEAD_BYTES);

	wr_u8(&w, (uint8_t)(form->stride / 2u | (form->rotate ? FORM_ROTATED : 0) |
			    (form->has_escapes ? 0 : FORM_SIXTEEN)));
	wr_bytes(&w, form->symbols, NIBBLE_SYMBOLS);
	wr_u16(&w, (uint16_t)front.plain);
	wr_u16(&w, (uint16_t)front.stored);
	ASSERT(wr_ok(&w));
}

uint32_t nibble_encode_at(enum cpu_level level, const struct codec_plan *plan,
			  const struct codec_bytes *plain, void *out, uint32_t room)
{
	struct nibble_form form = {.stride = plan->stride, .rotate = plan->rotate};
	uint8_t *stored = out;
	const uint8_t *bytes = plain->bytes;
	struct front front;

	ASSERT(plan->stride == 1 || plan->stride == 2 || plan->stride == 4);
	ASSERT(plan->phase < plan->stride && plan->rotate <= (plan->stride > 1));
	if (!front_encode(plan, plain, stored, room, &front))
		return 0;
	struct layout l = layout_of(&form, front, plain->len);
	if (l.escapes > room)
		return 0;
	struct nibble_parts parts = {
		.plain = (uint8_t *)bytes + front.plain, /* read only */
		.rest = stored + l.rest,
		.halves = stored + l.halves,
		.words = l.words,
		.escapes = stored + l.escapes,
		.escapes_end = stored + room,
	};
	if (!symbols_encode(level, &form, &parts))
		return 0;
	head_write(&form, front, stored);
	memcpy(stored + l.tail, bytes + plain->len - l.behind, l.behind);
	return (uint32_t)(parts.escapes - stored);
}

uint32_t nibble_encode(const struct codec_plan *plan, const struct codec_bytes *plain, void *out,
		       uint32_t room)
{
	return nibble_encode_at(cpu_level(), plan, plain, out, room);
}

/* --- decoding ---- */

static bool words_decode(enum cpu_level level, const struct nibble_form *form,
			 struct nibble_parts *parts)
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
	return nibble_plain_decode(form, parts, done);
}

static bool form_decode(uint8_t byte, struct nibble_form *form)
{
	uint32_t stride_log = byte & FORM_STRIDE_MASK;

	form->stride = (uint8_t)(1u << stride_log);
	form->rotate = (byte & FORM_ROTATED) != 0;
	form->has_escapes = (byte & FORM_SIXTEEN) == 0;
	return byte <= FORM_KNOWN && stride_log <= 2 && form->rotate <= (form->stride > 1);
}

static bool head_decode(const struct codec_bytes *stored, uint32_t plain_len,
			struct nibble_form *form, struct front *front)
{
	struct rd r = rd_init(stored->bytes, stored->len);

	if (!form_decode(rd_u8(&r), form))
		return false;
	rd_bytes(&r, form->symbols, NIBBLE_SYMBOLS);
	front->plain = rd_u16(&r);
	front->stored = rd_u16(&r);
	return rd_ok(&r) && front->stored <= front->plain && front->plain <= plain_len &&
	       !(form->has_escapes && form->symbols[NIBBLE_ESCAPE] != 0);
}

static bool front_decode(const uint8_t *in, struct front front, uint8_t *plain)
{
	if (front.stored < front.plain)
		return LZ4_decompress_safe((const char *)in, (char *)plain, (int)front.stored,
					   (int)front.plain) == (int)front.plain;
	memcpy(plain, in, front.plain);
	return true;
}

int nibble_decode_at(enum cpu_level level, const struct codec_bytes *stored, void *out,
		     uint32_t plain_len)
{
	const uint8_t *in = stored->bytes;
	uint8_t *plain = out;
	struct nibble_form form;
	struct front front;

	if (!head_decode(stored, plain_len, &form, &front))
		return -E_MALFORMED;
	struct layout l = layout_of(&form, front, plain_len);
	if (stored->len < l.escapes || !front_decode(in + HEAD_BYTES, front, plain))
		return -E_MALFORMED;
	memcpy(plain + plain_len - l.behind, in + l.tail, l.behind);
	struct nibble_parts parts = {
		.plain = plain + front.plain,
		.rest = (uint8_t *)in + l.rest,	      /* this and those below: read only */
		.halves = (uint8_t *)in + l.halves,
		.words = l.words,
		.escapes = (uint8_t *)in + l.escapes,
		.escapes_end = in + stored->len,
	};
	return words_decode(level, &form, &parts) && parts.escapes == parts.escapes_end
		       ? 0
		       : -E_MALFORMED;
}

int nibble_decode(const struct codec_bytes *stored, void *out, uint32_t plain_len)
{
	return nibble_decode_at(cpu_level(), stored, out, plain_len);
}
