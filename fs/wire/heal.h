/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small arrays that travel as bytes while a placement group is healed. Little-endian.
 *
 * Merged (Heartbeat.merged), 12 bytes each: placement group u16 · sources u16 · epoch u64. Under
 * that epoch the sender holds, synced, all that these sources held; bit i is place i of the row:
 * replicas, then formers. A report stands until the row has another epoch; who restarted may forget
 * it and merge again. For the metadata server believes it only beside what servers say of their
 * content (Heartbeat.content): a source whose content number changed answers RECOVERING to
 * HEAL_DIGEST and HEAL_LIST until a join or heartbeat that told the new number was answered. So
 * nobody merges what is left of it under the old epoch.
 *
 * Range (bulk of HealDigestReply), 16 bytes each: count u64 · digest u64, the sum of the XXH3-64 of
 * each id, modulo 2^64: it does not depend on order, and one block more or less changes it. Range i
 * of 2^bits holds the ids whose bits after the PG's own 12 are i.
 *
 * Trash is neither counted nor listed, but in groups whose epoch a rescue has raised
 * (metadata-server/rescue.h): there names that were deleted may have come back, and what is in
 * trash may be all that is left of them.
 *
 * Pure; threads: any.
 */
#ifndef CAIRN_FS_WIRE_HEAL_H
#define CAIRN_FS_WIRE_HEAL_H

#include "fs/base/bytes.h"
#include "fs/hash/block_id.h"

#define HEAL_RESCUE_JUMP  (UINT64_C(1) << 32)	/* of epochs */
#define HEAL_MERGED_BYTES 12u
#define HEAL_RANGE_BYTES  16u
#define HEAL_BITS_MAX	  12u	/* 4,096 ranges fill one frame's bulk */

static inline bool heal_lists_trash(uint64_t epoch)
{
	return epoch > HEAL_RESCUE_JUMP;
}

struct heal_merged {
	pg_no pg;
	uint16_t sources;
	uint64_t epoch;
};
void heal_merged_encode(const struct heal_merged *m, uint8_t out[HEAL_MERGED_BYTES]);
/* -E_MALFORMED */
must_check int heal_merged_decode(const uint8_t in[HEAL_MERGED_BYTES], struct heal_merged *out);

struct heal_range {
	uint64_t count;
	uint64_t digest;
};
void heal_range_add(struct heal_range *range, const struct block_id *id);
uint32_t heal_range_index(const struct block_id *id, uint32_t bits);	/* in its PG */
/* First and last possible id of a range. */
void heal_range_bounds(pg_no pg, uint32_t bits, uint32_t index, struct block_id *from,
		       struct block_id *to);
void heal_range_encode(const struct heal_range *range, uint8_t out[HEAL_RANGE_BYTES]);
void heal_range_decode(const uint8_t in[HEAL_RANGE_BYTES], struct heal_range *out);

#endif
