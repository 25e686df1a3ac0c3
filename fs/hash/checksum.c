/* SPDX-License-Identifier: Apache-2.0 */
/* XXH3-64, and the keyed hash of names. */
#include "fs/hash/checksum.h"

#define XXH_STATIC_LINKING_ONLY /* the size of XXH3_state_t */
#include <xxhash.h>

#include <sys/uio.h>

uint64_t checksum_of(const void *bytes, size_t len)
{
	return XXH3_64bits(bytes, len);
}

uint64_t checksum_seeded(const void *bytes, size_t len, uint64_t seed)
{
	return XXH3_64bits_withSeed(bytes, len, seed);
}

uint64_t checksum_joined(const void *first, size_t first_len, const void *second, size_t second_len)
{
	XXH3_state_t state; /* on the stack: 576 bytes, and no allocation that could fail */

	XXH3_INITSTATE(&state);
	XXH3_64bits_reset(&state);
	XXH3_64bits_update(&state, first, first_len);
	XXH3_64bits_update(&state, second, second_len);
	return XXH3_64bits_digest(&state);
}

uint64_t checksum_iov(const struct iovec *iov, uint32_t iov_count, uint64_t skip, uint64_t len)
{
	XXH3_state_t state;

	XXH3_INITSTATE(&state);
	XXH3_64bits_reset(&state);
	for (uint32_t i = 0; i < iov_count && len > 0; i++) {
		uint64_t before = MIN_OF(skip, iov[i].iov_len);
		uint64_t n = MIN_OF(len, iov[i].iov_len - before);

		XXH3_64bits_update(&state, (const uint8_t *)iov[i].iov_base + before, n);
		skip -= before;
		len -= n;
	}
	ASSERT(len == 0);
	return XXH3_64bits_digest(&state);
}

uint64_t checksum_name(uint64_t key, const void *name, size_t len)
{
	/* 63 bits, as a directory cookie is a signed off_t. */
	uint64_t hash = XXH3_64bits_withSeed(name, len, key) & (uint64_t)INT64_MAX;

	return hash < 3 ? hash + 3 : hash;
}
