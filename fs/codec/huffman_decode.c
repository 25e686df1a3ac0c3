/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decoding. All streams go on side by side for as many steps as none of them can leave what it may
 * read and write, then again, until that is a few steps only; what is left of each goes symbol by
 * symbol. So no step checks anything, and foreign bytes still pass no bound: a stream that does not
 * end where the next begins is refused behind its last symbol.
 */
#include <string.h>

#include "fs/base/bytes.h"
#include "fs/codec/huffman_table.h"

#define LOOKS 5u	/* into the table, with the bits of one load */

_Static_assert(LOOKS * HUFFMAN_BITS_MAX <= 56, "bits there are behind up to seven that are gone");

#define STEP_IN_MAX   7u				/* bytes that a step may go on */
#define STEP_OUT_MAX  (LOOKS * HUFFMAN_ENTRY_SYMBOLS)
#define WORD	      8u				/* bytes loaded and stored at once */

/*
 * `bits` are the next ones, the first of them the highest; below the last stands a one, then zeros:
 * their number is what went since the word at `in` was loaded.
 */
struct stream {
	const uint8_t *in;
	uint64_t bits;
	uint8_t *out, *out_end;
	const uint8_t *in_end;
};

#define INLINE static inline __attribute__((always_inline))

INLINE uint64_t load(const uint8_t *in)
{
	uint64_t word;

	memcpy(&word, in, sizeof word);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	word = __builtin_bswap64(word);
#endif
	return word;
}

INLINE void store(uint8_t *out, uint64_t symbols)
{
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
	symbols = __builtin_bswap64(symbols);
#endif
	memcpy(out, &symbols, sizeof symbols);
}

/* Steps that are safe for each: what it reads is before `end`, what it writes its own. */
static uint32_t steps_safe(const struct stream *streams, const uint8_t *end)
{
	ptrdiff_t steps = HUFFMAN_BYTES_MAX;

	for (uint32_t s = 0; s < HUFFMAN_STREAMS; s++) {
		ptrdiff_t out = streams[s].out_end - streams[s].out - (ptrdiff_t)WORD;
		ptrdiff_t in = end - streams[s].in - (ptrdiff_t)WORD;

		steps = MIN_OF(steps, MIN_OF(out / (ptrdiff_t)STEP_OUT_MAX,
					     in / (ptrdiff_t)STEP_IN_MAX));
	}
	return steps > 0 ? (uint32_t)steps : 0;
}

#define FOR_STREAMS _Pragma("GCC unroll 4") for (uint32_t s = 0; s < HUFFMAN_STREAMS; s++)

INLINE void steps_take(const uint64_t *entries, struct stream *streams, uint32_t steps)
{
	const uint8_t *in[HUFFMAN_STREAMS];
	uint8_t *out[HUFFMAN_STREAMS];
	uint64_t bits[HUFFMAN_STREAMS];

	FOR_STREAMS {
		in[s] = streams[s].in;
		out[s] = streams[s].out;
		bits[s] = streams[s].bits;
	}
	for (; steps > 0; steps--) {
		FOR_STREAMS {
			unsigned gone = (unsigned)__builtin_ctzll(bits[s]);

			in[s] += gone / 8;
			bits[s] = (load(in[s]) | 1) << gone % 8;
		}
#pragma GCC unroll 5
		for (unsigned look = 0; look < LOOKS; look++) {
			FOR_STREAMS {
				uint64_t entry = entries[bits[s] >> (64 - HUFFMAN_BITS_MAX)];

				bits[s] <<= entry & 63;
				store(out[s], entry >> HUFFMAN_ENTRY_FIRST_SHIFT);
				out[s] += entry >> HUFFMAN_ENTRY_COUNT_SHIFT;
			}
		}
	}
	FOR_STREAMS {
		streams[s].in = in[s];
		streams[s].out = out[s];
		streams[s].bits = bits[s];
	}
}

static void steps_take_plain(const uint64_t *entries, struct stream *streams, uint32_t steps)
{
	steps_take(entries, streams, steps);
}

#if defined(__x86_64__)
/* Shifts by any register, without flags. */
__attribute__((target("bmi,bmi2"))) static void
steps_take_bmi(const uint64_t *entries, struct stream *streams, uint32_t steps)
{
	steps_take(entries, streams, steps);
}
#else
#define steps_take_bmi steps_take_plain
#endif

/* The word at `in`, with zeros for what is behind the end. */
static uint64_t load_careful(const uint8_t *in, const uint8_t *end)
{
	uint8_t word[WORD] = {0};

	if (end - in >= (ptrdiff_t)WORD)
		return load(in);
	memcpy(word, in, (size_t)(end - in));
	return load(word);
}

/* The rest of one stream, alone. False: it ends elsewhere. */
static bool stream_end(const struct huffman_table *table, struct stream *s)
{
	/* Bits that went before `in`: a step may have read into the stream behind this one. */
	uint64_t gone = (unsigned)__builtin_ctzll(s->bits);

	while (s->out < s->out_end) {
		const uint8_t *in = s->in + gone / 8;

		if (in >= s->in_end)
			return false;
		uint64_t bits = (load_careful(in, s->in_end) | 1) << gone % 8;
		unsigned before = (unsigned)__builtin_ctzll(bits);

		for (unsigned look = 0; look < LOOKS && s->out < s->out_end; look++) {
			uint64_t entry = table->entries[bits >> (64 - HUFFMAN_BITS_MAX)];

			if (s->out_end - s->out >= (ptrdiff_t)WORD) {
				store(s->out, entry >> HUFFMAN_ENTRY_FIRST_SHIFT);
				s->out += entry >> HUFFMAN_ENTRY_COUNT_SHIFT;
				bits <<= entry & 63;
			} else {
				*s->out = (uint8_t)(entry >> HUFFMAN_ENTRY_FIRST_SHIFT);
				bits <<= table->code.of[*s->out++];
			}
		}
		gone += (unsigned)__builtin_ctzll(bits) - before;
	}
	return s->in + DIV_CEIL(gone, 8) == s->in_end;
}

/* False: the pieces do not come to what there is. */
static bool streams_read(struct rd *stored, uint8_t *out, uint32_t len, struct stream *streams)
{
	uint32_t lens[HUFFMAN_STREAMS], stored_lens[HUFFMAN_STREAMS];

	for (uint32_t s = 0; s < HUFFMAN_STREAMS - 1; s++) {
		lens[s] = rd_u16(stored);
		stored_lens[s] = rd_u16(stored);
		if (lens[s] > len)
			return false;
		len -= lens[s];
	}
	lens[HUFFMAN_STREAMS - 1] = len;
	stored_lens[HUFFMAN_STREAMS - 1] = 0;
	for (uint32_t s = 0; s < HUFFMAN_STREAMS; s++) {
		if (s == HUFFMAN_STREAMS - 1)
			stored_lens[s] = (uint32_t)rd_left(stored);
		const uint8_t *in = rd_view(stored, stored_lens[s]);

		if (!in)
			return false;
		streams[s] = (struct stream){.in = in,
					     .bits = 1,	/* nothing loaded, none gone */
					     .out = out,
					     .out_end = out + lens[s],
					     .in_end = in + stored_lens[s]};
		out += lens[s];
	}
	return true;
}

int huffman_decode(enum cpu_level level, struct huffman_decoder *d, struct rd *stored,
		   uint8_t *out, uint32_t len)
{
	const uint8_t *end = stored->end;
	const struct huffman_table *table = huffman_table_get(level, d, stored);
	struct stream streams[HUFFMAN_STREAMS];

	if (!table || !streams_read(stored, out, len, streams))
		return -E_MALFORMED;
	for (;;) {
		uint32_t steps = steps_safe(streams, end);

		if (steps == 0)
			break;
		if (level >= CPU_AVX2)
			steps_take_bmi(table->entries, streams, steps);
		else
			steps_take_plain(table->entries, streams, steps);
	}
	for (uint32_t s = 0; s < HUFFMAN_STREAMS; s++) {
		if (!stream_end(table, &streams[s]))
			return -E_MALFORMED;
	}
	return 0;
}
