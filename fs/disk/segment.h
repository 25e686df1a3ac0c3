/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Segments: append-only files of block records on a chunk server, "seg-%016x" by rising number.
 *
 *   header, 64 bytes:  0 4 magic "CRNS" · 4 2 version 1 · 6 2 zero · 8 8 segment number ·
 *                     16 16 cluster id · 32 16 disk uuid · 48 8 zero · 56 8 XXH3-64 of 0..55
 *   records (fs/disk/record.h), each at a multiple of 8, no gaps
 *   footer, once sealed: entries of 48 bytes (id 32, offset u64, length u32,
 *     plain bytes - 1 u16, codec u8, zero u8), so that an index needs no record headers; then
 *     trailer, 64 bytes, at the end of the file: 0 4 magic "CRNF" · 4 4 entry count ·
 *       8 8 offset of the first entry · 16 8 segment number · 24 8 XXH3-64 of the entries ·
 *      32 24 zero · 56 8 XXH3-64 of 0..55
 *
 * A segment is sealed by a synced footer; the file is then exactly trailer-terminated. An unsealed
 * segment may be preallocated (zeros) beyond its last record; its tail is found by scanning.
 * Pure: callers do the I/O. Threads: any.
 */
#ifndef CAIRN_FS_DISK_SEGMENT_H
#define CAIRN_FS_DISK_SEGMENT_H

#include "fs/disk/record.h"

#define SEGMENT_HEADER_BYTES	64u
#define SEGMENT_ENTRY_BYTES	48u
#define SEGMENT_TRAILER_BYTES	64u
#define UUID_BYTES		16u

struct segment_header {
	uint64_t number;
	uint8_t cluster[UUID_BYTES];
	uint8_t disk[UUID_BYTES];
};
void segment_header_encode(const struct segment_header *h, uint8_t out[SEGMENT_HEADER_BYTES]);
must_check int segment_header_decode(const uint8_t in[SEGMENT_HEADER_BYTES],
				     struct segment_header *out);

struct segment_entry {
	struct block_id id;
	uint64_t offset;	/* of the record's header in the file */
	uint32_t length;	/* header and stored bytes, without padding */
	uint32_t plain_len;	/* 1 .. BLOCK_BYTES_MAX */
	uint8_t codec;
};
void segment_entry_encode(const struct segment_entry *e, uint8_t out[SEGMENT_ENTRY_BYTES]);
must_check int segment_entry_decode(const uint8_t in[SEGMENT_ENTRY_BYTES],
				    struct segment_entry *out);

struct segment_trailer {
	uint64_t number;
	uint64_t entries_offset;
	uint32_t entry_count;
	uint64_t entries_checksum;
};
void segment_trailer_encode(const struct segment_trailer *t, uint8_t out[SEGMENT_TRAILER_BYTES]);
/* -E_BAD_MAGIC (not sealed), -E_CORRUPT, -E_MALFORMED (does not fit file_bytes). */
must_check int segment_trailer_decode(const uint8_t in[SEGMENT_TRAILER_BYTES], uint64_t file_bytes,
				      struct segment_trailer *out);

#endif
