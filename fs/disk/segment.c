/* SPDX-License-Identifier: Apache-2.0 */
/* Header, index entries and trailer of a segment file. */
#include "fs/disk/segment.h"

#include "fs/base/bytes.h"
#include "fs/disk/sealed.h"

#define VERSION 1u

static const char header_magic[] = "CRNS";
static const char trailer_magic[] = "CRNF";

void segment_header_encode(const struct segment_header *h, uint8_t out[SEGMENT_HEADER_BYTES])
{
	struct wr w = wr_init(out, SEGMENT_HEADER_BYTES - SEALED_CHECKSUM_BYTES);

	wr_bytes(&w, header_magic, 4);
	wr_u16(&w, VERSION);
	wr_zeros(&w, 2);
	wr_u64(&w, h->number);
	wr_bytes(&w, h->cluster, UUID_BYTES);
	wr_bytes(&w, h->disk, UUID_BYTES);
	wr_zeros(&w, 8);
	ASSERT(wr_ok(&w) && w.at == w.end);
	sealed_finish(out, SEGMENT_HEADER_BYTES);
}

int segment_header_decode(const uint8_t in[SEGMENT_HEADER_BYTES], struct segment_header *out)
{
	struct rd r;
	int rc = sealed_open(in, SEGMENT_HEADER_BYTES, header_magic, &r);

	if (rc < 0)
		return rc;
	if (rd_u16(&r) != VERSION)
		return -E_WRONG_VERSION;
	rd_zeros(&r, 2);
	out->number = rd_u64(&r);
	rd_bytes(&r, out->cluster, UUID_BYTES);
	rd_bytes(&r, out->disk, UUID_BYTES);
	rd_zeros(&r, 8);
	return rd_done(&r) ? 0 : -E_MALFORMED;
}

static bool entry_is_well_formed(const struct segment_entry *e)
{
	if (block_id_is_zero(&e->id) || !codec_is_known(e->codec))
		return false;
	if (e->offset < SEGMENT_HEADER_BYTES || e->offset % RECORD_ALIGN != 0)
		return false;
	if (e->plain_len < 1 || e->plain_len > BLOCK_BYTES_MAX)
		return false;
	return e->length > RECORD_HEADER_BYTES && e->length <= RECORD_HEADER_BYTES + e->plain_len;
}

void segment_entry_encode(const struct segment_entry *e, uint8_t out[SEGMENT_ENTRY_BYTES])
{
	struct wr w = wr_init(out, SEGMENT_ENTRY_BYTES);

	ASSERT(entry_is_well_formed(e));
	wr_bytes(&w, e->id.bytes, BLOCK_ID_BYTES);
	wr_u64(&w, e->offset);
	wr_u32(&w, e->length);
	wr_u16(&w, (uint16_t)(e->plain_len - 1)); /* so that 65,536 fits */
	wr_u8(&w, e->codec);
	wr_zeros(&w, 1);
	ASSERT(wr_ok(&w) && w.at == w.end);
}

int segment_entry_decode(const uint8_t in[SEGMENT_ENTRY_BYTES], struct segment_entry *out)
{
	struct rd r = rd_init(in, SEGMENT_ENTRY_BYTES);

	rd_bytes(&r, out->id.bytes, BLOCK_ID_BYTES);
	out->offset = rd_u64(&r);
	out->length = rd_u32(&r);
	out->plain_len = rd_u16(&r) + 1u;
	out->codec = rd_u8(&r);
	rd_zeros(&r, 1);
	return rd_done(&r) && entry_is_well_formed(out) ? 0 : -E_MALFORMED;
}

void segment_trailer_encode(const struct segment_trailer *t, uint8_t out[SEGMENT_TRAILER_BYTES])
{
	struct wr w = wr_init(out, SEGMENT_TRAILER_BYTES - SEALED_CHECKSUM_BYTES);

	wr_bytes(&w, trailer_magic, 4);
	wr_u32(&w, t->entry_count);
	wr_u64(&w, t->entries_offset);
	wr_u64(&w, t->number);
	wr_u64(&w, t->entries_checksum);
	wr_zeros(&w, 24);
	ASSERT(wr_ok(&w) && w.at == w.end);
	sealed_finish(out, SEGMENT_TRAILER_BYTES);
}

/* Do header, records, entries and trailer together make up exactly the file? */
static bool trailer_fits(const struct segment_trailer *t, uint64_t file_bytes)
{
	uint64_t behind = (uint64_t)t->entry_count * SEGMENT_ENTRY_BYTES + SEGMENT_TRAILER_BYTES;

	return t->entries_offset >= SEGMENT_HEADER_BYTES && t->entries_offset % RECORD_ALIGN == 0 &&
	       t->entries_offset <= file_bytes && file_bytes - t->entries_offset == behind;
}

int segment_trailer_decode(const uint8_t in[SEGMENT_TRAILER_BYTES], uint64_t file_bytes,
			   struct segment_trailer *out)
{
	struct rd r;
	int rc = sealed_open(in, SEGMENT_TRAILER_BYTES, trailer_magic, &r);

	if (rc < 0)
		return rc;
	out->entry_count = rd_u32(&r);
	out->entries_offset = rd_u64(&r);
	out->number = rd_u64(&r);
	out->entries_checksum = rd_u64(&r);
	rd_zeros(&r, 24);
	return rd_done(&r) && trailer_fits(out, file_bytes) ? 0 : -E_MALFORMED;
}
