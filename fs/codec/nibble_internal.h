/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernels of nibble share: nibble_plain.c is the rule, nibble_avx2.c and nibble_avx512.c
 * do the same for as many whole groups of words as there are, and leave the rest to it.
 */
#ifndef CAIRN_FS_CODEC_NIBBLE_INTERNAL_H
#define CAIRN_FS_CODEC_NIBBLE_INTERNAL_H

#include "fs/base/cpu.h"
#include "fs/codec/nibble.h"

#define NIBBLE_SYMBOLS	   16u
#define NIBBLE_GROUP	   64u	 /* words that kernels take at once */
#define NIBBLE_LANES	   4u	 /* of counting */
#define NIBBLE_ESCAPE	   15u	 /* the half byte of what is none of fifteen symbols */
#define NIBBLE_MISSING	   0x80u /* in `index`, beside NIBBLE_ESCAPE: no symbol of the table */

/* How the words of one block are encoded. */
struct nibble_form {
	uint8_t stride, rotate;
	bool has_escapes;
	uint8_t symbols[NIBBLE_SYMBOLS];
	uint8_t symbol_count;	/* the others are 0; for encoders */
	uint8_t index[256];	/* which symbol a byte is; for encoders */
};

/* Where the parts of a block's words are. */
struct nibble_parts {
	uint8_t *plain;		/* the first word */
	uint8_t *rest;		/* all but the last byte of each word */
	uint8_t *halves;	/* which symbol each is */
	uint32_t words;
	uint8_t *escapes;	/* where the next one is, or goes */
	const uint8_t *escapes_end;
};

/* A loop with stride and rotation as constants: the compiler makes one for each pair there is. */
#define NIBBLE_BY_FORM(form, loop, ...)                                               \
	((form)->stride == 1   ? loop(__VA_ARGS__, 1, false)                          \
	 : (form)->stride == 2 ? (form)->rotate ? loop(__VA_ARGS__, 2, true)          \
						: loop(__VA_ARGS__, 2, false)         \
	 : (form)->rotate      ? loop(__VA_ARGS__, 4, true)                           \
			       : loop(__VA_ARGS__, 4, false))

/* From word `from` to the end. False: no escape left, or no room for one. */
must_check bool nibble_plain_decode(const struct nibble_form *form, struct nibble_parts *parts,
				    uint32_t from);
must_check bool nibble_plain_encode(const struct nibble_form *form, struct nibble_parts *parts,
				    uint32_t from);
/*
 * Count the symbols of the words from..to, those of neighbours apart: they are often the same, and
 * one counter would wait for itself.
 */
void nibble_plain_count(const struct nibble_form *form, const struct nibble_parts *parts,
			uint32_t from, uint32_t to, uint16_t counts[NIBBLE_LANES][256]);

#define NIBBLE_AHEAD	  256u	/* bytes: what takes as long as memory to answer */
#define NIBBLE_PAGE_AHEAD 512u
#define NIBBLE_PAGE	  4096u
#define NIBBLE_LINE	  64u

/*
 * For decoders at word i, the first of a group: ask for what comes soon. Processors foresee three
 * streams within a page, and not into the next one: a block goes through 28 pages. What is decoded
 * is written through the caches all the same: its digest is what comes next.
 */
static inline __attribute__((always_inline)) void nibble_prefetch(const struct nibble_parts *p,
								  uint32_t i,
								  const unsigned stride)
{
	uintptr_t rest = (uintptr_t)p->rest + (uintptr_t)i * (stride - 1) + NIBBLE_AHEAD;
	uintptr_t out = (uintptr_t)p->plain + (uintptr_t)i * stride;
	uintptr_t left = NIBBLE_PAGE - out % NIBBLE_PAGE;

	for (unsigned line = 0; line + 1 < stride; line++)
		__builtin_prefetch((const void *)(rest + NIBBLE_LINE * line));
	if (i / NIBBLE_GROUP % 2 == 0)
		__builtin_prefetch((const void *)((uintptr_t)p->halves + i / 2 + NIBBLE_AHEAD));
	if (left <= NIBBLE_PAGE_AHEAD && left > NIBBLE_PAGE_AHEAD - NIBBLE_GROUP * stride)
		__builtin_prefetch((const void *)(out + left), 1);
}

#if defined(__x86_64__)
/*
 * Kernels: whole groups from the first word on. They answer how many words they did, and stop in
 * front of a group where escapes may end. Nothing is written beyond the parts of what they did, and
 * nothing read beyond the parts of all words.
 */
uint32_t nibble_avx2_decode(const struct nibble_form *form, struct nibble_parts *parts);
uint32_t nibble_avx512_decode(const struct nibble_form *form, struct nibble_parts *parts);
uint32_t nibble_avx2_encode(const struct nibble_form *form, struct nibble_parts *parts);
uint32_t nibble_avx512_encode(const struct nibble_form *form, struct nibble_parts *parts);
#endif

/* As nibble_encode() and nibble_decode(), with the kernels of this level. */
must_check uint32_t nibble_encode_at(enum cpu_level level, const struct codec_plan *plan,
				     const struct codec_bytes *plain, void *out, uint32_t room);
must_check int nibble_decode_at(enum cpu_level level, const struct codec_bytes *stored, void *out,
				uint32_t plain_len);

#endif
