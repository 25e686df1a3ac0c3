/* SPDX-License-Identifier: Apache-2.0 */
/* Magic in front, checksum behind. */
#include "fs/disk/sealed.h"

#include <string.h>

#include "fs/hash/checksum.h"

void sealed_finish(uint8_t *bytes, size_t len)
{
	size_t covered = len - SEALED_CHECKSUM_BYTES;
	struct wr w = wr_init(bytes + covered, SEALED_CHECKSUM_BYTES);

	wr_u64(&w, checksum_of(bytes, covered));
}

int sealed_open(const uint8_t *bytes, size_t len, const char *magic, struct rd *out)
{
	size_t covered = len - SEALED_CHECKSUM_BYTES, magic_len = strlen(magic);
	struct rd checksum = rd_init(bytes + covered, SEALED_CHECKSUM_BYTES);

	*out = rd_init(bytes + magic_len, covered - magic_len);
	if (memcmp(bytes, magic, magic_len) != 0)
		return -E_BAD_MAGIC;
	return rd_u64(&checksum) == checksum_of(bytes, covered) ? 0 : -E_CORRUPT;
}
