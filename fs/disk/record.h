/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The block record: an encoded block with its header, the same bytes in a segment, on the wire
 * beside a PUT or GET, and in memory. 64-byte header, little-endian, for ever:
 *
 *   0  4  magic "CRNR"          4  4  stored bytes after the header, 1 .. plain bytes
 *   8 32  block id             40  4  plain bytes, 1 .. 65536
 *  44  1  codec                45  1  codec parameter      46  2  zero
 *  48  8  XXH3-64 of the stored bytes
 *  56  8  XXH3-64 of header bytes 0..55
 *
 * In a segment, records are padded with zeros to a multiple of 8 bytes.
 * Pure; threads: any.
 */
#ifndef CAIRN_FS_DISK_RECORD_H
#define CAIRN_FS_DISK_RECORD_H

#include "fs/codec/codec.h"
#include "fs/hash/block_id.h"

#define RECORD_ALIGN 8u

struct record {
	struct block_id id;
	uint32_t plain_len;
	uint32_t stored_len;
	uint8_t codec;
	uint8_t param;
	uint64_t checksum;	/* of the stored bytes */
};

void record_encode_header(const struct record *r, uint8_t out[RECORD_HEADER_BYTES]);
/* -E_BAD_MAGIC, -E_CORRUPT (header checksum), -E_MALFORMED (fields out of bounds). */
must_check int record_decode_header(const uint8_t in[RECORD_HEADER_BYTES], struct record *out);

/*
 * Build a whole record (header + stored bytes) of a plain block as the detector says; returns its
 * length.
 */
uint32_t record_build(struct codec_scratch *s, enum hash_kind hash, enum codec_aim aim,
		      const void *plain, uint32_t plain_len, uint8_t out[RECORD_BYTES_MAX]);
/* The same when the id is known already. */
uint32_t record_build_named(struct codec_scratch *s, const struct block_id *id, enum codec_aim aim,
			    const void *plain, uint32_t plain_len, uint8_t out[RECORD_BYTES_MAX]);

/*
 * The same in two pieces, so that a block that does not shrink is not copied: the header into
 * `head`, the stored bytes into `stored` (BLOCK_BYTES_MAX). Returns how many; 0: the plain bytes
 * are the stored ones, and nothing is in `stored`, which may be NULL with CODEC_RAW.
 */
struct record_plan {
	struct block_id id;
	struct codec_plan codec;
	const void *plain;
	uint32_t plain_len;
};
uint32_t record_split(struct codec_scratch *s, const struct record_plan *plan,
		      uint8_t head[RECORD_HEADER_BYTES], void *stored);

/* Check header and stored checksum of a record of exactly `len` bytes: fast, no decode. */
must_check int record_check(const void *bytes, size_t len, struct record *out);
/*
 * record_check, and where the plain bytes are: in the record itself if it is raw, else decoded into
 * `scratch` (BLOCK_BYTES_MAX). What they are named is the caller's to prove.
 */
must_check int record_plain(struct codec_scratch *s, const void *bytes, size_t len,
			    struct record *out, void *scratch, const void **plain);
/*
 * record_check, decode, digest: is it what it says? `scratch` holds BLOCK_BYTES_MAX, for our use.
 */
must_check int record_prove(struct codec_scratch *s, enum hash_kind hash, const void *bytes,
			    size_t len, struct record *out, void *scratch);
/* record_check, decode, and for `verify_id` the digest as well; plain holds BLOCK_BYTES_MAX. */
must_check int record_open(struct codec_scratch *s, enum hash_kind hash, const void *bytes,
			   size_t len, bool verify_id, struct record *out, void *plain);

#endif
