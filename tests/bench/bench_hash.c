/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Digests on one core, "COUNT SECONDS" (bytes, and the processor time they took) on one line.
 *
 *   bench_hash sha256|sha3 MIB LANES   blocks of 64 KiB, LANES of them at once
 *   bench_hash openssl MIB             SHA-256 as OpenSSL does it, for comparison
 */
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fs/hash/block_id.h"

#define LANES_MAX 16u
#define BLOCKS	  16u	/* 1 MiB: larger than L1, as blocks that just arrived are */

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void run_ours(enum hash_kind kind, const uint8_t *bytes, uint64_t mib, uint32_t lanes)
{
	struct block_id ids[BLOCKS];
	struct block_id_job jobs[BLOCKS];

	for (uint32_t i = 0; i < BLOCKS; i++)
		jobs[i] = (struct block_id_job){bytes + (size_t)i * BLOCK_BYTES_MAX,
						BLOCK_BYTES_MAX, &ids[i]};
	for (uint64_t m = 0; m < mib; m++) {
		for (uint32_t at = 0; at < BLOCKS; at += lanes)
			block_id_of_all(kind, &jobs[at], MIN_OF(lanes, BLOCKS - at));
	}
}

static void run_openssl(const uint8_t *bytes, uint64_t mib)
{
	EVP_MD *method = EVP_MD_fetch(NULL, "SHA2-256", NULL);
	uint8_t out[BLOCK_ID_BYTES];
	unsigned len;

	for (uint64_t i = 0; i < mib * BLOCKS; i++)
		(void)EVP_Digest(bytes + (size_t)(i % BLOCKS) * BLOCK_BYTES_MAX, BLOCK_BYTES_MAX,
				 out, &len, method, NULL);
	EVP_MD_free(method);
}

int main(int argc, char **argv)
{
	uint64_t mib = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
	uint64_t lanes = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;
	uint8_t *bytes = malloc((size_t)BLOCKS * BLOCK_BYTES_MAX);

	if (mib == 0 || lanes == 0 || lanes > LANES_MAX || !bytes) {
		fprintf(stderr, "usage: bench_hash sha256|sha3|openssl MIB [LANES]\n");
		return 2;
	}
	for (size_t i = 0; i < (size_t)BLOCKS * BLOCK_BYTES_MAX; i++)
		bytes[i] = (uint8_t)(i * 2654435761u >> 13);
	double begin = seconds();
	if (strcmp(argv[1], "openssl") == 0)
		run_openssl(bytes, mib);
	else
		run_ours(strcmp(argv[1], "sha3") == 0 ? HASH_SHA3_256 : HASH_SHA256, bytes, mib,
			 (uint32_t)lanes);
	printf("%llu %.6f\n", (unsigned long long)(mib << 20), seconds() - begin);
	free(bytes);
	return 0;
}
