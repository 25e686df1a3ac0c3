/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cutting on a fixed grid. Ends of blocks are multiples of BLOCK_BYTES_MAX, or the end asked for.
 */
#include "fs/tree/cut.h"

uint64_t cut_start(uint64_t offset)
{
	return offset - offset % BLOCK_BYTES_MAX;
}

uint64_t cut_next(uint64_t offset, uint64_t end)
{
	ASSERT(offset < end && end <= FILE_BYTES_MAX);
	return MIN_OF(cut_start(offset) + BLOCK_BYTES_MAX, end);
}

uint64_t cut_count(uint64_t offset, uint64_t end)
{
	if (offset >= end)
		return 0;
	return (end - 1) / BLOCK_BYTES_MAX - offset / BLOCK_BYTES_MAX + 1;
}
