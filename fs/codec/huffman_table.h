/* SPDX-License-Identifier: Apache-2.0 */
/* Private to huffman_*.c: the table of a decoder. */
#ifndef CAIRN_FS_CODEC_HUFFMAN_TABLE_H
#define CAIRN_FS_CODEC_HUFFMAN_TABLE_H

#include "fs/codec/huffman.h"

struct rd;

#define HUFFMAN_ENTRIES (1u << HUFFMAN_BITS_MAX)

/*
 * By the next HUFFMAN_BITS_MAX bits, all symbols that end within them, at most six: their bits in
 * byte 0, where a shift finds them at once; they in bytes 1 to 6 (the first lowest, zero behind the
 * last); their number in byte 7.
 */
#define HUFFMAN_ENTRY_SYMBOLS	  6u
#define HUFFMAN_ENTRY_FIRST_SHIFT 8u
#define HUFFMAN_ENTRY_COUNT_SHIFT 56u

struct huffman_table {
	uint64_t entries[HUFFMAN_ENTRIES];
	struct huffman_lengths code;
};

/* The bytes of the code's lengths at the begin of an encoding, at most. */
#define HUFFMAN_HEADER_BYTES_MAX (2u + HUFFMAN_SYMBOLS / 2)

/*
 * Read the lengths and find or build their table; NULL: they are no complete code. It stays until
 * the next call.
 */
const struct huffman_table *huffman_table_get(enum cpu_level level, struct huffman_decoder *d,
					      struct rd *stored);

#endif
