/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How fast ids of blocks are made, on one core, as writers and servers make them: whole blocks,
 * several at a time. Prints GB per second of processor time.
 *
 *   bench_digest [MiB]     4096 MiB, out of 8 MiB of blocks
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fs/hash/block_id.h"

#define BLOCKS 128u

static double processor_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	uint64_t rounds = (argc > 1 ? strtoull(argv[1], NULL, 10) : 4096) * MiB(1) /
			  (BLOCKS * BLOCK_BYTES_MAX);
	uint8_t *bytes = malloc(BLOCKS * BLOCK_BYTES_MAX);
	static struct block_id ids[BLOCKS];
	static struct block_id_job jobs[BLOCKS];
	double began, seconds;

	ASSERT(bytes);
	memset(bytes, 0x5a, BLOCKS * BLOCK_BYTES_MAX);
	for (uint32_t i = 0; i < BLOCKS; i++)
		jobs[i] = (struct block_id_job){ bytes + i * BLOCK_BYTES_MAX, BLOCK_BYTES_MAX,
						 &ids[i] };
	rounds = MAX_OF(rounds, 1);
	began = processor_seconds();
	for (uint64_t round = 0; round < rounds; round++)
		block_id_of_all(HASH_SHA256, jobs, BLOCKS);
	seconds = processor_seconds() - began;
	printf("SHA-256 of blocks %.2f GB/s a core\n",
	       (double)(rounds * BLOCKS * BLOCK_BYTES_MAX) / seconds / 1e9);
	free(bytes);
	return 0;
}
