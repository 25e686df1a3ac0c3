/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sample: 1 KiB in sixteen pieces, whose bytes are counted by their place modulo four, as they
 * are and rotated by a bit; and 1 KiB in four pieces, in which strings are looked for that come
 * again. Words of two bytes are two places counted together, words of one are all four.
 *
 * Figures are shares in 1/1024, and bits in 1/256 of a bit, so that every processor decides alike.
 */
#include "fs/codec/detect.h"

#include <string.h>

#define PLACES		4u	/* the longest word */
#define RUNS		16u
#define RUN_BYTES	64u
#define MATCH_RUNS	4u
#define MATCH_RUN_BYTES 256u
#define MATCH_SLOT_BITS 10u
#define SHARE		1024u	/* the whole */
#define BIT		256u	/* one bit */
#define SYMBOLS		16u	/* of the nibble codec; the others cost three bytes each */
#define PATCH_BYTES	3u

struct sample {
	uint16_t counts[2][PLACES][256];	/* as they are; rotated left by one bit */
	uint16_t totals[PLACES];
	uint32_t fours, sixes;	/* share of places whose next 4, 6 bytes were seen before */
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
		uint8_t byte = bytes[i];

		s->counts[0][i % PLACES][byte]++;
		s->counts[1][i % PLACES][(uint8_t)(byte << 1 | before >> 7)]++;
		before = byte;
	}
	for (uint32_t i = 0; i < PLACES; i++)
		s->totals[i] += (uint16_t)((to + PLACES - 1 - i) / PLACES -
					   (from + PLACES - 1 - i) / PLACES);
}

static void count_bytes(struct sample *s, const struct codec_bytes *plain)
{
	if (plain->len <= RUNS * RUN_BYTES) {
		count_run(s, plain->bytes, 0, plain->len);
		return;
	}
	uint32_t step = (plain->len - RUN_BYTES) / (RUNS - 1) / PLACES * PLACES;
	for (uint32_t i = 0; i < RUNS; i++)
		count_run(s, plain->bytes, i * step, i * step + RUN_BYTES);
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
 * Six bytes that are all the same are no string that comes again, but a frequent byte: entropy says
 * that better.
 */
static void match_run(struct sample *s, uint16_t *slots, const uint8_t *bytes, uint32_t from,
		      uint32_t to)
{
	for (uint32_t i = from; i + 6 <= to; i++) {
		uint32_t four = four_at(bytes + i);
		uint16_t *slot = &slots[four * 2654435761u >> (32 - MATCH_SLOT_BITS)];
		const uint8_t *seen = bytes + *slot;

		if (four_at(seen) == four && *slot < i) {
			s->fours++;
			s->sixes += two_at(seen + 4) == two_at(bytes + i + 4) &&
				    four != (four << 8 | four >> 24);
		}
		*slot = (uint16_t)i;
	}
}

static void count_matches(struct sample *s, const struct codec_bytes *plain)
{
	uint16_t slots[1u << MATCH_SLOT_BITS] = {0};
	uint32_t runs = plain->len <= MATCH_RUNS * MATCH_RUN_BYTES ? 1 : MATCH_RUNS;
	uint32_t bytes = runs == 1 ? plain->len : MATCH_RUN_BYTES;
	uint32_t step = runs == 1 ? 0 : (plain->len - MATCH_RUN_BYTES) / (MATCH_RUNS - 1);

	for (uint32_t i = 0; i < runs; i++)
		match_run(s, slots, plain->bytes, i * step, i * step + bytes);
	s->fours = s->fours * SHARE / (runs * bytes);
	s->sixes = s->sixes * SHARE / (runs * bytes);
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

/* --- nibble: do sixteen symbols do? ---- */

/* How many of the bytes are one of the sixteen most frequent. */
static uint32_t place_covered(const struct place *p)
{
	uint16_t with[RUNS * RUN_BYTES + 1] = {0}; /* so many values occur so often */
	uint32_t most = 0, covered = 0, left = SYMBOLS;

	for (unsigned i = 0; i < 256; i++) {
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

/* Could they be? Costs much less to say than how many are. */
static bool place_is_narrow(const struct place *p)
{
	uint32_t squares = 0;

	for (unsigned i = 0; i < 256; i++)
		squares += (uint32_t)p->counts[i] * p->counts[i];
	return squares * (SYMBOLS + SYMBOLS / 2) >= p->total * p->total;
}

/* The share of the block that nibble would save with this plan. */
static uint32_t nibble_saves(const struct sample *s, const struct codec_plan *plan)
{
	struct place p;
	unsigned last = (plan->phase + plan->stride - 1u) % plan->stride;

	place_take(s, plan->rotate, plan->stride, last, &p);
	if (p.total == 0 || !place_is_narrow(&p))
		return 0;
	uint32_t missed = (p.total - place_covered(&p)) * PATCH_BYTES * SHARE / p.total;
	return missed < SHARE / 2 ? (SHARE / 2 - missed) / plan->stride : 0;
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
		best = nibble_saves(s, previous);
	}
	for (unsigned stride = 1; stride <= PLACES; stride *= 2) {
		for (unsigned i = 0; i < stride * 2; i++) {
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

/*
 * Bits of all bytes of the place (Shannon 1948), with what a sample lacks of it added (Miller
 * 1955: half a nat for each value that occurs but one).
 */
static uint32_t place_bits(const struct place *p)
{
	uint64_t sum = 0;
	uint32_t values = 0;

	if (p->total == 0)
		return 0;
	for (unsigned i = 0; i < 256; i++) {
		uint32_t n = p->counts[i];

		if (n == 0)
			continue;
		values++;
		sum += (uint64_t)n * log2_of(n);
	}
	uint32_t lacking = (values - 1) * (BIT * 185 / 256); /* log2(e) / 2 */
	uint32_t bits = (uint32_t)(p->total * (uint64_t)log2_of(p->total) - sum) + lacking;
	return MIN_OF(bits, p->total * 8 * BIT);
}

/* Bits a byte with this stride and rotation; *phase so that the last byte is the least random. */
static uint32_t words_bits(const struct sample *s, unsigned rotate, unsigned stride,
			   uint8_t *phase)
{
	uint32_t sum = 0, total = 0, least = UINT32_MAX;

	*phase = 0;
	for (unsigned at = 0; at < stride; at++) {
		struct place p;

		place_take(s, rotate, stride, at, &p);
		uint32_t bits = place_bits(&p);
		uint32_t each = p.total ? bits / p.total : UINT32_MAX;

		sum += bits;
		total += p.total;
		if (each <= least) {
			least = each;
			*phase = (uint8_t)((at + 1) % stride);
		}
	}
	return sum / total;
}

static uint32_t planes_plan(const struct sample *s, struct codec_plan *out)
{
	/* More places look less random by chance: what must be gained by telling them apart. */
	static const uint32_t handicap[PLACES + 1] = {[2] = BIT / 10, [4] = BIT * 35 / 100};
	uint32_t best = UINT32_MAX;

	for (unsigned stride = 1; stride <= PLACES; stride *= 2) {
		for (unsigned rotate = 0; rotate <= (stride > 1); rotate++) {
			uint8_t phase;
			uint32_t bits = words_bits(s, rotate, stride, &phase) + handicap[stride];

			if (bits >= best)
				continue;
			best = bits;
			*out = (struct codec_plan){.codec = CODEC_PLANES,
						   .stride = (uint8_t)stride,
						   .phase = phase,
						   .rotate = (uint8_t)rotate};
		}
	}
	return best;
}

/* --- what is wanted ---- */

/* Strings that come again: fewer are not worth the work, less than so many is doubtful. */
#define LZ4_MATCHES	   96u
#define LZ4_MATCHES_SURE   200u

static void plan_fast(const struct sample *s, const struct codec_plan *previous,
		      struct codec_plan *out)
{
	uint32_t saves = nibble_plan(s, previous, out);
	bool has_failed = previous && previous->codec == CODEC_RAW;

	if (s->fours > saves && s->fours >= (has_failed ? LZ4_MATCHES_SURE : LZ4_MATCHES))
		*out = (struct codec_plan){.codec = CODEC_LZ4};
	else if (saves < SHARE / 16)
		*out = (struct codec_plan){.codec = CODEC_RAW};
}

static void plan_small(const struct sample *s, struct codec_plan *out)
{
	uint8_t phase;
	uint32_t planes = planes_plan(s, out);
	/* zstd codes what does not come again by entropy, too; a string that does costs little. */
	uint32_t bits = words_bits(s, 0, 1, &phase);
	uint32_t zstd = bits - MIN_OF(bits, bits * s->sixes * 5 / 4 / SHARE);

	if (zstd + BIT / 32 < planes) {
		planes = zstd;
		*out = (struct codec_plan){.codec = CODEC_ZSTD};
	}
	if (planes > 8 * BIT - BIT / 2)
		*out = (struct codec_plan){.codec = CODEC_RAW};
}

void detect_plan(enum codec_aim aim, const struct codec_bytes *plain,
		 const struct codec_plan *previous, struct codec_plan *out)
{
	static const enum codec fixed[CODEC_AIM_COUNT] = {[CODEC_AIM_LZ4] = CODEC_LZ4,
							  [CODEC_AIM_ZSTD] = CODEC_ZSTD};
	struct sample s;

	ASSERT(aim < CODEC_AIM_COUNT && plain->len > 0 && plain->len <= BLOCK_BYTES_MAX);
	*out = (struct codec_plan){.codec = fixed[aim]};
	if (aim == CODEC_AIM_RAW || fixed[aim] != CODEC_RAW)
		return;
	memset(&s, 0, sizeof(s));
	count_bytes(&s, plain);
	if (aim == CODEC_AIM_FAST || aim == CODEC_AIM_SMALL)
		count_matches(&s, plain);
	if (aim == CODEC_AIM_FAST)
		plan_fast(&s, previous, out);
	else if (aim == CODEC_AIM_SMALL)
		plan_small(&s, out);
	else if (aim == CODEC_AIM_NIBBLE)
		(void)nibble_plan(&s, previous, out);
	else if (planes_plan(&s, out) > 8 * BIT - BIT / 2)
		*out = (struct codec_plan){.codec = CODEC_RAW};
}
