/* SPDX-License-Identifier: Apache-2.0 */
/* The codecs of heal.h. Foreign bytes are rejected (I8). */
#include "fs/wire/heal.h"

#include <string.h>

#include "fs/hash/checksum.h"

void heal_merged_encode(const struct heal_merged *m, uint8_t out[HEAL_MERGED_BYTES])
{
	struct wr w = wr_init(out, HEAL_MERGED_BYTES);

	wr_u16(&w, m->pg);
	wr_u16(&w, m->sources);
	wr_u64(&w, m->epoch);
	ASSERT(wr_ok(&w));
}

int heal_merged_decode(const uint8_t in[HEAL_MERGED_BYTES], struct heal_merged *out)
{
	struct rd r = rd_init(in, HEAL_MERGED_BYTES);

	out->pg = rd_u16(&r);
	out->sources = rd_u16(&r);
	out->epoch = rd_u64(&r);
	return rd_done(&r) && out->pg < PG_COUNT && out->epoch > 0 ? 0 : -E_MALFORMED;
}

void heal_range_add(struct heal_range *range, const struct block_id *id)
{
	range->count++;
	range->digest += checksum_of(id->bytes, sizeof(id->bytes));
}

/* The first 64 bits of an id, as the number that they are in its order. */
static uint64_t id_head(const struct block_id *id)
{
	struct rd r = rd_init(id->bytes, sizeof(id->bytes));

	return rd_be64(&r);
}

uint32_t heal_range_index(const struct block_id *id, uint32_t bits)
{
	ASSERT(bits <= HEAL_BITS_MAX);
	return bits == 0 ? 0 : (uint32_t)(id_head(id) << PG_BITS >> (64 - bits));
}

void heal_range_bounds(pg_no pg, uint32_t bits, uint32_t index, struct block_id *from,
		       struct block_id *to)
{
	uint64_t width = UINT64_MAX >> (PG_BITS + bits);	/* less one */
	struct wr low = wr_init(from->bytes, sizeof(from->bytes));
	struct wr high = wr_init(to->bytes, sizeof(to->bytes));
	uint64_t first = (uint64_t)pg << (64 - PG_BITS);

	ASSERT(bits <= HEAL_BITS_MAX && pg < PG_COUNT && index < 1u << bits);
	if (bits > 0)
		first |= (uint64_t)index << (64 - PG_BITS - bits);
	memset(from->bytes, 0, sizeof(from->bytes));
	memset(to->bytes, 0xff, sizeof(to->bytes));
	wr_be64(&low, first);
	wr_be64(&high, first | width);
	ASSERT(wr_ok(&low) && wr_ok(&high));
}

void heal_range_encode(const struct heal_range *range, uint8_t out[HEAL_RANGE_BYTES])
{
	struct wr w = wr_init(out, HEAL_RANGE_BYTES);

	wr_u64(&w, range->count);
	wr_u64(&w, range->digest);
	ASSERT(wr_ok(&w));
}

void heal_range_decode(const uint8_t in[HEAL_RANGE_BYTES], struct heal_range *out)
{
	struct rd r = rd_init(in, HEAL_RANGE_BYTES);

	out->count = rd_u64(&r);
	out->digest = rd_u64(&r);
}
