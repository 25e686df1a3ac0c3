/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tables of a decoder. That of b bits is made of smaller ones: behind a first symbol of l bits
 * stands whatever the table of b - l bits says. So each of its entries costs one step, however many
 * symbols it holds, and those that begin with one symbol lie side by side.
 */
#include "fs/codec/huffman_table.h"

#include <stdlib.h>
#include <string.h>

#include "fs/base/bytes.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define CACHED	     8u		/* tables, of 16 KiB */
#define SYMBOLS_MASK (((1ull << HUFFMAN_ENTRY_COUNT_SHIFT) - 1) & ~0xffull)

struct cached {
	struct huffman_table table;
	uint8_t header[HUFFMAN_HEADER_BYTES_MAX];
	uint32_t header_len;			/* 0: none */
	uint64_t used;				/* when, by the decoder's count of calls */
};

typedef void join_fn(uint64_t *out, uint64_t first, const uint64_t *behind, uint32_t count);

struct huffman_decoder {
	struct cached cached[CACHED];
	uint64_t calls;
	join_fn *join;				/* of the level that was asked for last */
	uint64_t levels[HUFFMAN_ENTRIES];	/* tables of less bits, that of b from 2^b on */
	uint64_t open[HUFFMAN_ENTRIES];		/* these, with room for a symbol in each entry */
};

/* The symbols of a code, shortest first, then by value: their codes count upwards in this order. */
struct order {
	unsigned first, last;			/* the least and the greatest */
	uint8_t symbols[HUFFMAN_SYMBOLS];
	uint32_t count;
	unsigned bits_min;
};

struct huffman_decoder *huffman_decoder_create(void)
{
	return calloc(1, sizeof(struct huffman_decoder));
}

void huffman_decoder_destroy(struct huffman_decoder *d)
{
	free(d);
}

/* False: not a complete code. */
static bool order_of(const struct huffman_lengths *code, struct order *order)
{
	uint32_t counts[HUFFMAN_BITS_MAX + 1] = {0}, at[HUFFMAN_BITS_MAX + 1];
	uint32_t filled = 0;

	for (unsigned s = order->first; s <= order->last; s++)
		counts[code->of[s]]++;
	order->count = 0;
	order->bits_min = 0;
	for (unsigned bits = 1; bits <= HUFFMAN_BITS_MAX; bits++) {
		at[bits] = order->count;
		order->count += counts[bits];
		filled += counts[bits] << (HUFFMAN_BITS_MAX - bits);
		if (order->bits_min == 0 && counts[bits] > 0)
			order->bits_min = bits;
	}
	if (filled != HUFFMAN_ENTRIES)
		return false;
	for (unsigned s = order->first; s <= order->last; s++) {
		if (code->of[s] > 0)
			order->symbols[at[code->of[s]]++] = (uint8_t)s;
	}
	return true;
}

static uint64_t entry_begin(unsigned symbol, unsigned bits)
{
	return bits | (uint64_t)symbol << HUFFMAN_ENTRY_FIRST_SHIFT |
	       1ull << HUFFMAN_ENTRY_COUNT_SHIFT;
}

/* What stands behind `first`, which has room for it. */
static uint64_t entry_join(uint64_t first, uint64_t behind)
{
	return first + ((behind & SYMBOLS_MASK) << 8) + (behind & ~SYMBOLS_MASK);
}

/* Each of `count` (a power of two) entries behind the same first symbol. */
static void run_join_plain(uint64_t *out, uint64_t first, const uint64_t *behind, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		out[i] = entry_join(first, behind[i]);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void
run_join_avx2(uint64_t *out, uint64_t first, const uint64_t *behind, uint32_t count)
{
	const __m256i mask = _mm256_set1_epi64x((long long)SYMBOLS_MASK);
	const __m256i firsts = _mm256_set1_epi64x((long long)first);

	if (count < 4) {
		run_join_plain(out, first, behind, count);
		return;
	}
	for (uint32_t i = 0; i < count; i += 4) {
		__m256i b = _mm256_loadu_si256((const __m256i *)(const void *)&behind[i]);
		__m256i symbols = _mm256_slli_epi64(_mm256_and_si256(b, mask), 8);
		__m256i rest = _mm256_add_epi64(_mm256_andnot_si256(mask, b), firsts);

		_mm256_storeu_si256((__m256i *)(void *)&out[i], _mm256_add_epi64(symbols, rest));
	}
}
#else
#define run_join_avx2 run_join_plain
#endif

/*
 * The table of `bits` bits where entries may be full: their last symbol is left out, which is what
 * the table of one bit less than the entry has says. So there is room in front of each.
 */
static void level_open(struct huffman_decoder *d, unsigned bits)
{
	const uint64_t *level = &d->levels[1u << bits];
	uint64_t *open = &d->open[1u << bits];

	for (uint32_t i = 0; i < 1u << bits; i++) {
		uint64_t entry = level[i];

		if (entry >> HUFFMAN_ENTRY_COUNT_SHIFT == HUFFMAN_ENTRY_SYMBOLS) {
			unsigned less = (unsigned)(entry & 0xff) - 1;

			entry = d->levels[(1u << less) + (i >> (bits - less))];
		}
		open[i] = entry;
	}
}

/* The table of `bits` bits. An entry is zero if no symbol ends within them. */
static void level_build(struct huffman_decoder *d, const struct huffman_lengths *code,
			const struct order *order, unsigned bits, uint64_t *out)
{
	const unsigned full_bits = order->bits_min * HUFFMAN_ENTRY_SYMBOLS;
	uint32_t filled = 0;

	for (uint32_t i = 0; i < order->count; i++) {
		unsigned symbol = order->symbols[i];
		unsigned own = code->of[symbol];

		if (own > bits)
			break;
		unsigned left = bits - own;
		const uint64_t *behind = left >= full_bits ? d->open : d->levels;

		d->join(out + filled, entry_begin(symbol, own), &behind[1u << left], 1u << left);
		filled += 1u << left;
	}
	memset(out + filled, 0, ((1u << bits) - filled) * sizeof *out);
}

static void table_build(struct huffman_decoder *d, const struct order *order,
			struct huffman_table *table)
{
	for (unsigned bits = 0; bits <= HUFFMAN_BITS_MAX - order->bits_min; bits++) {
		level_build(d, &table->code, order, bits, &d->levels[1u << bits]);
		if (bits >= order->bits_min * HUFFMAN_ENTRY_SYMBOLS)
			level_open(d, bits);
	}
	level_build(d, &table->code, order, HUFFMAN_BITS_MAX, table->entries);
}

/* Its bytes, which stay part of `stored`; NULL: too few, or not that of a code. */
static const uint8_t *header_read(struct rd *stored, uint32_t *len, struct huffman_lengths *code,
				  struct order *order)
{
	const uint8_t *start = stored->at;
	unsigned first = rd_u8(stored);
	unsigned last = rd_u8(stored);

	if (!rd_ok(stored) || first >= last)
		return NULL;
	uint32_t symbols = last - first + 1;
	const uint8_t *nibbles = rd_view(stored, DIV_CEIL(symbols, 2));

	if (!nibbles)
		return NULL;
	memset(code, 0, sizeof *code);
	for (uint32_t i = 0; i < symbols; i++) {
		unsigned bits = nibbles[i / 2] >> (i % 2 * 4) & 0xf;

		if (bits > HUFFMAN_BITS_MAX)
			return NULL;
		code->of[first + i] = (uint8_t)bits;
	}
	order->first = first;
	order->last = last;
	*len = (uint32_t)(stored->at - start);
	return start;
}

static struct cached *cached_find(struct huffman_decoder *d, struct rd *stored)
{
	for (uint32_t i = 0; i < CACHED; i++) {
		struct cached *c = &d->cached[i];

		if (c->header_len == 0 || rd_left(stored) < c->header_len ||
		    memcmp(stored->at, c->header, c->header_len) != 0)
			continue;
		(void)rd_view(stored, c->header_len);
		return c;
	}
	return NULL;
}

static struct cached *cached_oldest(struct huffman_decoder *d)
{
	struct cached *oldest = &d->cached[0];

	for (uint32_t i = 1; i < CACHED; i++) {
		if (d->cached[i].used < oldest->used)
			oldest = &d->cached[i];
	}
	return oldest;
}

const struct huffman_table *huffman_table_get(enum cpu_level level, struct huffman_decoder *d,
					      struct rd *stored)
{
	struct cached *c = cached_find(d, stored);
	struct order order;

	if (!c) {
		c = cached_oldest(d);
		uint32_t len = 0;
		const uint8_t *header = header_read(stored, &len, &c->table.code, &order);

		c->header_len = 0;
		if (!header || !order_of(&c->table.code, &order))
			return NULL;
		d->join = level >= CPU_AVX2 ? run_join_avx2 : run_join_plain;
		table_build(d, &order, &c->table);
		memcpy(c->header, header, len);
		c->header_len = len;
	}
	c->used = ++d->calls;
	return &c->table;
}
