/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The frame header, encoded and decoded. Reserved flag bits are zero and checked (I8); the version
 * is looked at before the checksum, since another version may keep its checksum elsewhere.
 */
#include "fs/wire/frame.h"

#include <string.h>

#include "fs/base/bytes.h"
#include "fs/hash/checksum.h"
#include "fs/wire/msg.h"

#define FRAME_MAGIC	0x464e5243u /* "CRNF" */
#define CHECKSUM_OFFSET 72u	    /* of the header's own, its last field */

_Static_assert(CHECKSUM_OFFSET + 8 == FRAME_HEADER_BYTES, "the checksum ends the header");

void frame_header_encode(const struct frame_header *h, uint8_t out[FRAME_HEADER_BYTES])
{
	ASSERT(h->message_len <= MESSAGE_BYTES_MAX && h->bulk_len <= BULK_BYTES_MAX);
	struct wr w = wr_init(out, FRAME_HEADER_BYTES);

	wr_u32(&w, FRAME_MAGIC);
	wr_u8(&w, FRAME_VERSION);
	wr_u8(&w, h->flags);
	wr_u16(&w, h->type);
	wr_u64(&w, h->request);
	wr_u32(&w, h->message_len);
	wr_u32(&w, h->bulk_len);
	wr_u32(&w, h->deadline_ms);
	wr_u32(&w, h->slot);
	wr_u64(&w, h->session);
	wr_u64(&w, h->epoch);
	wr_u64(&w, h->slot_seq);
	wr_u64(&w, h->bulk_checksum);
	wr_u64(&w, h->message_checksum);
	wr_u64(&w, checksum_of(out, CHECKSUM_OFFSET));
	ASSERT(wr_ok(&w));
}

static bool header_is_valid(const struct frame_header *h)
{
	return !(h->flags & ~FRAME_FLAG_REPLY) && msg_type_is_known(h->type) &&
	       h->message_len <= MESSAGE_BYTES_MAX && h->bulk_len <= BULK_BYTES_MAX;
}

int frame_header_decode(const uint8_t in[FRAME_HEADER_BYTES], struct frame_header *out)
{
	struct rd r = rd_init(in, FRAME_HEADER_BYTES);
	struct frame_header h = {0};

	if (rd_u32(&r) != FRAME_MAGIC)
		return -E_BAD_MAGIC;
	if (rd_u8(&r) != FRAME_VERSION)
		return -E_WRONG_VERSION;
	h.flags = rd_u8(&r);
	h.type = rd_u16(&r);
	h.request = rd_u64(&r);
	h.message_len = rd_u32(&r);
	h.bulk_len = rd_u32(&r);
	h.deadline_ms = rd_u32(&r);
	h.slot = rd_u32(&r);
	h.session = rd_u64(&r);
	h.epoch = rd_u64(&r);
	h.slot_seq = rd_u64(&r);
	h.bulk_checksum = rd_u64(&r);
	h.message_checksum = rd_u64(&r);
	if (rd_u64(&r) != checksum_of(in, CHECKSUM_OFFSET))
		return -E_CORRUPT;
	if (!rd_done(&r) || !header_is_valid(&h))
		return -E_MALFORMED;
	*out = h;
	return 0;
}
