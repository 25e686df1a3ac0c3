/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A Bloom filter (Bloom 1970); two hashes stand for all (Kirsch & Mitzenmacher 2006). The second is
 * odd, so that probes do not meet.
 */
#include "chunk-server/mark_filter.h"

#include <stdlib.h>

#include "fs/hash/checksum.h"

#define BITS	   20u /* a block: one of 15,000 unmarked ones is taken for marked */
#define BITS_LEAST 4u  /* one of 7 */
#define BYTES_MIN  KiB(8)
#define BYTES_MAX  MiB(256)

int cs_mark_filter_init(struct cs_mark_filter *f, uint64_t blocks, uint64_t salt)
{
	uint64_t bytes = MAX_OF(DIV_CEIL(blocks * BITS, 8u), BYTES_MIN);
	uint64_t bits_each;

	cs_mark_filter_finish(f);
	bytes = MIN_OF(bytes, BYTES_MAX);
	bits_each = MIN_OF(bytes * 8 / MAX_OF(blocks, 1u), BITS);
	if (bits_each < BITS_LEAST)
		return -E_NOMEM;
	f->words = calloc(DIV_CEIL(bytes, 8u), 8);
	if (f->words == NULL)
		return -E_NOMEM;
	f->bit_count = DIV_CEIL(bytes, 8u) * 64;
	f->salt = salt;
	f->probes = (uint32_t)MAX_OF(bits_each * 7 / 10, 1u); /* ln 2 of the bits is best */
	return 0;
}

void cs_mark_filter_finish(struct cs_mark_filter *f)
{
	free(f->words);
	*f = (struct cs_mark_filter){0};
}

void cs_mark_filter_add(struct cs_mark_filter *f, const uint8_t mark[CS_MARK_BYTES])
{
	uint64_t at = checksum_seeded(mark, CS_MARK_BYTES, f->salt);
	uint64_t step = checksum_seeded(mark, CS_MARK_BYTES, ~f->salt) | 1;

	for (uint32_t i = 0; i < f->probes; i++, at += step)
		f->words[at % f->bit_count / 64] |= UINT64_C(1) << at % f->bit_count % 64;
}

bool cs_mark_filter_has(const struct cs_mark_filter *f, const struct block_id *id)
{
	uint64_t at = checksum_seeded(id->bytes, CS_MARK_BYTES, f->salt);
	uint64_t step = checksum_seeded(id->bytes, CS_MARK_BYTES, ~f->salt) | 1;

	for (uint32_t i = 0; i < f->probes; i++, at += step) {
		if (!(f->words[at % f->bit_count / 64] >> at % f->bit_count % 64 & 1))
			return false;
	}
	return true;
}
