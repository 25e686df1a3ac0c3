/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cutting by content on one core, "COUNT SECONDS" (bytes, and the processor time they took) on one
 * line.
 *
 *   bench_cut MIB [plain|avx2]    pieces of 64 KiB; the kernel, else the best one here
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fs/base/cpu.h"
#include "fs/tree/cut.h"
#include "fs/tree/cut_scan.h"

#define BUFFER_BYTES MiB(16) /* more than the caches near a core hold, as a file has */

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static cut_scan_fn *kernel_of(const char *name)
{
	for (uint32_t level = 0; level <= cpu_level(); level++)
		if (strcmp(name, cpu_level_name((enum cpu_level)level)) == 0)
			return cut_scan_kernels[level];
	return NULL;
}

/* As fp32 weights are: a sign, an exponent of few values, a mantissa of any. */
static void fill(uint8_t *bytes, uint64_t len)
{
	uint64_t state = 1;

	for (uint64_t i = 0; i < len; i += 4) {
		state = state * 6364136223846793005u + 1442695040888963407u;
		uint32_t exponent = 118 + (uint32_t)__builtin_popcountll(state >> 57);
		uint32_t word = (uint32_t)(state >> 33 << 31) | exponent << 23 |
				((uint32_t)(state >> 33) & 0x7fffff);

		memcpy(bytes + i, &word, sizeof word);
	}
}

static void cut_all(struct cut *cut, const uint8_t *bytes, uint64_t len)
{
	uint64_t at = 0;

	while (at < len) {
		uint64_t end = MIN_OF(at - at % BLOCK_BYTES_MAX + BLOCK_BYTES_MAX, len);
		bool ends;

		at += cut_feed(cut, bytes + at, (uint32_t)(end - at), &ends);
	}
}

int main(int argc, char **argv)
{
	uint64_t mib = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;
	uint8_t *bytes = malloc(BUFFER_BYTES);
	struct cut cut;

	cut_init(&cut, NULL, 0);
	if (argc > 2)
		cut.scan = kernel_of(argv[2]);
	if (mib == 0 || !bytes || !cut.scan) {
		fprintf(stderr, "usage: bench_cut MIB [plain|avx2]\n");
		return 2;
	}
	fill(bytes, BUFFER_BYTES);
	double begin = seconds();
	uint64_t done = 0;
	for (; done < MiB(mib); done += BUFFER_BYTES)
		cut_all(&cut, bytes, BUFFER_BYTES);
	printf("%llu %.6f\n", (unsigned long long)done, seconds() - begin);
	free(bytes);
	return 0;
}
