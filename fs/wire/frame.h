/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A frame: fixed header, a protobuf message, and bulk bytes beside it. Little-endian, for ever:
 *
 *   0  4  magic "CRNF"         4  1  version 1       5  1  flags: bit 0 reply     6  2  type
 *   8  8  request id, chosen by the asker, travels every hop
 *  16  4  message bytes       20  4  bulk bytes
 *  24  4  request: deadline, ms left; reply: 0 or the error number (error.def), positive
 *  28  4  slot of the session (mutations; else 0)
 *  32  8  session (0: none)   40  8  epoch: PG epoch of block requests; map version in replies
 *  48  8  slot sequence: with (session, slot) the exactly-once id of a mutation (I7); 0: not one
 *  56  8  XXH3-64 of the bulk bytes; 0 where they are a block record, which checks itself
 *  64  8  XXH3-64 of the message
 *  72  8  XXH3-64 of header 0..71
 *
 * Slots are those of NFSv4.1 (RFC 8881, 2.10.6): a session has SESSION_SLOTS, each carries one
 * mutation at a time, its sequence rises by one, and the server remembers the last result of each.
 * Pure; threads: any.
 */
#ifndef CAIRN_FS_WIRE_FRAME_H
#define CAIRN_FS_WIRE_FRAME_H

#include "fs/base/base.h"

#define FRAME_VERSION	   1u
#define FRAME_FLAG_REPLY   1u

struct frame_header {
	uint8_t flags;
	uint16_t type;
	uint64_t request;
	uint32_t message_len;
	uint32_t bulk_len;
	uint32_t deadline_ms;	/* of a reply: the error number */
	uint32_t slot;
	uint64_t session;
	uint64_t epoch;
	uint64_t slot_seq;
	uint64_t bulk_checksum;
	uint64_t message_checksum;
};

void frame_header_encode(const struct frame_header *h, uint8_t out[FRAME_HEADER_BYTES]);
/* -E_BAD_MAGIC, -E_WRONG_VERSION, -E_CORRUPT, -E_MALFORMED (lengths, flags, unknown type). */
must_check int frame_header_decode(const uint8_t in[FRAME_HEADER_BYTES], struct frame_header *out);

#endif
