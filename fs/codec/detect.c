/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sample: 1 KiB in sixteen pieces, whose bytes are counted by their place modulo four, as they
 * are and rotated by a bit, and in which strings are looked for that come again. Words of two bytes
 * are two places counted together, words of one are all four.
 *
 * Figures are shares in 1/1024, and bits in 1/256 of a bit, so that every processor decides alike.
 */
#include "fs/codec/detect.h"

#include <string.h>

#define PLACES		4u	/* the longest word */
#define RUNS		16u
#define RUN_BYTES	64u
#define RUNS_BYTES	(RUNS * RUN_BYTES)
#define SLOT_BITS	10u	/* where strings were seen */
#define SHARE		1024u	/* the whole */
#define SPARSE_ZEROS	4u	/* so many of six bytes are no string */
#define BIT		256u	/* one bit */
#define SYMBOLS		15u	/* of the nibble codec; the others cost a byte each */

struct sample {
	uint16_t counts[2][PLACES][256];	/* as they are; rotated left by one bit */
	uint32_t totals[PLACES];
	uint32_t fours, sixes;	/* share of bytes that begin 4, 6 that were seen before */
};

/* What is seen in the bytes at one place of words. */
struct place {
	const uint16_t *counts;
	uint16_t merged[256];
	uint32_t total;
};

/* --- the sample ---- */

static void count_run(struct sample *s, const uint8_t *bytes, uint32_t from, uint32_t to)
{
	uint8_t before = from > 0 ? bytes[from - 1] : 0;

	for (uint32_t i = from; i < to; i++) {
		s->counts[0][i % PLACES][bytes[i]]++;
		s->counts[1][i % PLACES][(uint8_t)(bytes[i] << 1 | before >> 7)]++;
		before = bytes[i];
	}
	for (uint32_t i = 0; i < PLACES; i++)
		s->totals[i] += (to + PLACES - 1 - i) / PLACES - (from + PLACES - 1 - i) / PLACES;
}

static uint32_t four_at(const uint8_t *at)
{
	uint32_t four;

	memcpy(&four, at, sizeof(four));
	return four;
}

static uint16_t two_at(const uint8_t *at)
{
	uint16_t two;

	memcpy(&two, at, sizeof(two));
	return two;
}

/*
 * Six bytes that are all the same, or most of them zero, are no string that comes again, but
 * frequent bytes, as sparse matrices have them: entropy says that better.
 */
static bool is_string(const uint8_t *six)
{
	unsigned zeros = 0, same = 0;

	for (unsigned i = 0; i < 6; i++) {
		zeros += six[i] == 0;
		same += six[i] == six[0];
	}
	return zeros < SPARSE_ZEROS && same < 6;
}

static void match_run(struct sample *s, uint16_t *slots, const uint8_t *bytes, uint32_t from,
		      uint32_t to)
{
	for (uint32_t i = from; i + 6 <= to; i++) {
		uint32_t four = four_at(bytes + i);
		uint16_t *slot = &slots[four * 2654435761u >> (32 - SLOT_BITS)];
		const uint8_t *seen = bytes + *slot;

		if (four_at(seen) == four && *slot < i) {
			s->fours++;
			s->sixes += two_at(seen + 4) == two_at(bytes + i + 4) &&
				    is_string(bytes + i);
		}
		*slot = (uint16_t)i;
	}
}

static void sample_take(struct sample *s, const struct codec_bytes *plain, bool wants_matches)
{
	const uint8_t *bytes = plain->bytes;
	uint16_t slots[1u << SLOT_BITS] = {0};
	uint32_t runs = plain->len <= RUNS_BYTES ? 1 : RUNS;
	uint32_t run = runs == 1 ? plain->len : RUN_BYTES;
	uint32_t step = runs == 1 ? 0 : (plain->len - run) / (runs - 1) / PLACES * PLACES;

	memset(s, 0, sizeof(*s));
	for (uint32_t i = 0; i < runs; i++)
		__builtin_prefetch(bytes + i * step);
	for (uint32_t i = 0; i < runs; i++)
		count_run(s, bytes, i * step, i * step + run);
	for (uint32_t i = 0; i < runs && wants_matches; i++)
		match_run(s, slots, bytes, i * step, i * step + run);
	s->fours = s->fours * SHARE / (runs * run);
	s->sixes = s->sixes * SHARE / (runs * run);
}

/* The bytes at `at` of words of `stride` bytes, rotated or not. */
static void place_take(const struct sample *s, unsigned rotate, unsigned stride, unsigned at,
		       struct place *out)
{
	out->counts = s->counts[rotate][at];
	out->total = s->totals[at];
	if (stride == PLACES)
		return;
	memcpy(out->merged, out->counts, sizeof(out->merged));
	out->counts = out->merged;
	for (unsigned other = at + stride; other < PLACES; other += stride) {
		out->total += s->totals[other];
		for (unsigned i = 0; i < 256; i++)
			out->merged[i] += s->counts[rotate][other][i];
	}
}

/* --- nibble: do fifteen symbols do? ---- */

/* How many of the bytes are one of the fifteen most frequent. */
static uint32_t place_covered(const struct place *p)
{
	uint16_t with[RUNS_BYTES + 1] = {0}; /* so many values occur so often */
	uint32_t most = 0, covered = 0, left = SYMBOLS;

	for (unsigned i = 0; i < 256; i++) {
		if (p->counts[i] == 0)
			continue;
		with[p->counts[i]]++;
		most = MAX_OF(most, p->counts[i]);
	}
	for (uint32_t n = most; n > 0 && left > 0; n--) {
		uint32_t taken = MIN_OF(left, with[n]);

		covered += taken * n;
		left -= taken;
	}
	return covered;
}

static uint32_t squares_of(const uint16_t counts[256])
{
	uint32_t sum = 0;

	for (unsigned i = 0; i < 256; i++)
		sum += (uint32_t)counts[i] * counts[i];
	return sum;
}

/* Could they be? Much cheaper to say than how many are. */
static bool place_may_do(const struct sample *s, unsigned rotate, unsigned stride, unsigned at)
{
	for (unsigned other = at; other < PLACES; other += stride) {
		uint32_t n = s->totals[other], squares = squares_of(s->counts[rotate][other]);

		if (n == 0 || squares * (SYMBOLS + SYMBOLS / 2) < n * n)
			return false;
	}
	return true;
}

#define MISSED_MAX (SHARE / 8) /* more of them, and decoding is not at the speed of memory */

/* The share of the block that nibble would save with this plan. */
static uint32_t nibble_saves(const struct sample *s, const struct codec_plan *plan)
{
	struct place p;
	unsigned last = (plan->phase + plan->stride - 1u) % plan->stride;

	if (!place_may_do(s, plan->rotate, plan->stride, last))
		return 0;
	place_take(s, plan->rotate, plan->stride, last, &p);
	uint32_t missed = (p.total - place_covered(&p)) * SHARE / p.total;
	return missed < MISSED_MAX ? (SHARE / 2 - missed) / plan->stride : 0;
}

/* Better by less is chance. */
#define NIBBLE_MARGIN 8u

static uint32_t nibble_plan(const struct sample *s, const struct codec_plan *previous,
			    struct codec_plan *out)
{
	uint32_t best = 0;

	*out = (struct codec_plan){.codec = CODEC_RAW};
	if (previous && previous->codec == CODEC_NIBBLE) {
		*out = *previous;
		out->front = 0;
		best = nibble_saves(s, previous);
	}
	for (unsigned stride = 1; stride <= PLACES; stride *= 2) {
		for (unsigned i = 0; i < stride * 2; i++) {
			if (SHARE / 2 / stride <= best + NIBBLE_MARGIN)
				return best; /* which no other can surpass */
			/* Rotated first: floats are what there is most of. */
			struct codec_plan plan = {
				.codec = CODEC_NIBBLE,
				.stride = (uint8_t)stride,
				.phase = (uint8_t)(i / 2),
				.rotate = i % 2 == 0 && stride > 1,
			};
			uint32_t saves = nibble_saves(s, &plan);

			if (saves > best + NIBBLE_MARGIN) {
				best = saves;
				*out = plan;
			}
		}
	}
	return best;
}

/* --- planes: bits of entropy ---- */

/* log2(n) for n >= 1, to a hundredth of a bit. */
static uint32_t log2_of(uint32_t n)
{
	uint32_t whole = 31u - (uint32_t)__builtin_clz(n);
	uint32_t part = (uint32_t)((uint64_t)n * BIT >> whole) - BIT; /* 0 .. 255 */

	return whole * BIT + part + part * (BIT - part) * 88 / (BIT * BIT);
}

#define FEW	       32u
#define ROTATION_DOUBT (BIT / 8)

/* What entropies are made of: n * log2(n), most often of few. */
struct bits_table {
	uint32_t few[FEW];
};

static void bits_table_fill(struct bits_table *t)
{
	t->few[0] = 0;
	for (uint32_t n = 1; n < FEW; n++)
		t->few[n] = n * log2_of(n);
}

/*
 * Bits of all bytes of the place (Shannon 1948), with what a sample lacks of it added (Miller
 * 1955: half a nat for each value that occurs but one).
 */
static uint32_t place_bits(const struct bits_table *t, const struct place *p)
{
	uint32_t sum = 0, values = 0;

	if (p->total == 0)
		return 0;
	for (unsigned i = 0; i < 256; i++) {
		uint32_t n = p->counts[i];

		sum += n < FEW ? t->few[n] : n * log2_of(n);
		values += n > 0;
	}
	uint32_t lacking = (values - 1) * (BIT * 185 / 256); /* log2(e) / 2 */
	uint32_t bits = p->total * log2_of(p->total) - sum + lacking;
	return MIN_OF(bits, p->total * 8 * BIT);
}

/* Bits a byte with this stride and rotation; the phase is such that the last is least random. */
static uint32_t words_bits(const struct bits_table *t, const struct sample *s,
			   struct codec_plan *plan)
{
	uint32_t sum = 0, total = 0, least = UINT32_MAX;

	for (unsigned at = 0; at < plan->stride; at++) {
		struct place p;

		place_take(s, plan->rotate, plan->stride, at, &p);
		uint32_t bits = place_bits(t, &p);
		uint32_t each = p.total ? bits / p.total : UINT32_MAX;

		sum += bits;
		total += p.total;
		if (each <= least) {
			least = each;
			plan->phase = (uint8_t)((at + 1) % plan->stride);
		}
	}
	return sum / total;
}

/* The best words, and the bits a byte that they come to; those without words, too. */
static uint32_t planes_plan(const struct sample *s, struct codec_plan *out, uint32_t *whole)
{
	/* More places look less random by chance: what must be gained by telling them apart. */
	static const uint32_t handicap[PLACES + 1] = {[2] = BIT / 10, [4] = BIT * 35 / 100};
	struct codec_plan plan = {.codec = CODEC_PLANES, .stride = 1};
	struct bits_table table;
	uint32_t best, bits;

	bits_table_fill(&table);
	*out = plan;
	*whole = best = words_bits(&table, s, &plan);
	for (plan.stride = 2; plan.stride <= PLACES; plan.stride = (uint8_t)(2 * plan.stride)) {
		bits = words_bits(&table, s, &plan) + handicap[plan.stride];
		if (bits < best) {
			best = bits;
			*out = plan;
		}
	}
	plan = *out;
	plan.rotate = plan.stride > 1;
	bits = words_bits(&table, s, &plan) + handicap[plan.stride];
	/* Floats gain little by it, so little that a sample may hide it; other words lose more. */
	if (plan.rotate && bits < best + ROTATION_DOUBT) {
		best = bits;
		*out = plan;
	}
	return best;
}

/* --- what is wanted ---- */

/* Strings that come again: fewer are not worth the work. */
#define LZ4_MATCHES 128u
#define TEXT_MIN    256u /* less text in front of words costs little */

static void plan_fast(const struct sample *s, const struct codec_plan *previous,
		      struct codec_plan *out)
{
	uint32_t saves = nibble_plan(s, previous, out);

	if (s->fours > saves && s->fours >= LZ4_MATCHES)
		*out = (struct codec_plan){.codec = CODEC_LZ4};
	else if (saves < SHARE / 16)
		*out = (struct codec_plan){.codec = CODEC_RAW};
}

static void plan_small(const struct sample *s, struct codec_plan *out)
{
	uint32_t bits, planes = planes_plan(s, out, &bits);
	/* zstd codes what does not come again by entropy, too; a string that does costs little. */
	uint32_t zstd = bits - MIN_OF(bits, bits * s->sixes * 5 / 4 / SHARE);

	if (zstd + BIT / 32 < planes) {
		planes = zstd;
		*out = (struct codec_plan){.codec = CODEC_ZSTD};
	}
	if (planes > 8 * BIT - BIT / 2)
		*out = (struct codec_plan){.codec = CODEC_RAW};
}

static bool is_text(uint8_t byte)
{
	return (byte >= ' ' && byte < 0x7f) || (byte >= '\t' && byte <= '\r');
}

/* Then it is all text, or of no words that anything is known about. */
static bool ends_in_text(const struct codec_bytes *plain)
{
	const uint8_t *bytes = plain->bytes;
	uint32_t at = plain->len - MIN_OF(plain->len, RUN_BYTES);

	while (at < plain->len && is_text(bytes[at]))
		at++;
	return at == plain->len;
}

/*
 * Where the words of a block begin: behind text, as files of weights have in front. In front of the
 * text is its length in eight bytes, or nothing. 0: there is none, or nothing behind it.
 */
static uint32_t text_front(const struct codec_bytes *plain)
{
	const uint8_t *bytes = plain->bytes;
	uint32_t at = sizeof(uint64_t);

	if (ends_in_text(plain))
		return 0;
	while (at < plain->len && is_text(bytes[at]))
		at++;
	return at >= TEXT_MIN && at + RUNS_BYTES <= plain->len ? at / PLACES * PLACES : 0;
}

/* By the words alone; false: they are not worth it. */
static bool plan_behind_text(enum codec_aim aim, const struct codec_bytes *plain,
			     const struct codec_plan *previous, struct codec_plan *out)
{
	uint32_t front = text_front(plain);
	const struct codec_bytes words = {(const uint8_t *)plain->bytes + front,
					  plain->len - front};
	struct sample s;

	if (front == 0)
		return false;
	sample_take(&s, &words, aim == CODEC_AIM_FAST);
	if (aim == CODEC_AIM_FAST)
		plan_fast(&s, previous, out);
	else if (nibble_plan(&s, previous, out) < SHARE / 16)
		return false;
	if (out->codec == CODEC_NIBBLE)
		out->front = (uint16_t)front;
	return out->codec != CODEC_RAW;
}

void detect_plan(enum codec_aim aim, const struct codec_bytes *plain,
		 const struct codec_plan *previous, struct codec_plan *out)
{
	static const enum codec fixed[CODEC_AIM_COUNT] = {[CODEC_AIM_LZ4] = CODEC_LZ4,
							  [CODEC_AIM_ZSTD] = CODEC_ZSTD};
	uint32_t whole;
	struct sample s;

	ASSERT(aim < CODEC_AIM_COUNT && plain->len > 0 && plain->len <= BLOCK_BYTES_MAX);
	*out = (struct codec_plan){.codec = fixed[aim]};
	if (aim == CODEC_AIM_RAW || fixed[aim] != CODEC_RAW)
		return;
	if ((aim == CODEC_AIM_FAST || aim == CODEC_AIM_NIBBLE) &&
	    plan_behind_text(aim, plain, previous, out))
		return;
	sample_take(&s, plain, aim == CODEC_AIM_FAST || aim == CODEC_AIM_SMALL);
	if (aim == CODEC_AIM_FAST)
		plan_fast(&s, previous, out);
	else if (aim == CODEC_AIM_SMALL)
		plan_small(&s, out);
	else if (aim == CODEC_AIM_NIBBLE)
		(void)nibble_plan(&s, previous, out);
	else if (planes_plan(&s, out, &whole) > 8 * BIT - BIT / 2)
		*out = (struct codec_plan){.codec = CODEC_RAW};
}
