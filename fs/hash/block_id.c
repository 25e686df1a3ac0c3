/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Block ids: SHA-256 in our own lanes where the CPU has instructions for it; else, and for
 * SHA3-256, OpenSSL's one-shot digest, whose method is fetched once per process: fetching locks.
 */
#include "fs/hash/block_id.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <string.h>

#include "fs/base/cpu.h"
#include "fs/base/text.h"
#include "fs/hash/sha256_ni.h"

static EVP_MD *sha256;
static EVP_MD *sha3_256;
static bool has_sha256_ni;
static pthread_once_t settled = PTHREAD_ONCE_INIT;

static void settle(void)
{
	sha256 = EVP_MD_fetch(NULL, "SHA2-256", NULL);
	sha3_256 = EVP_MD_fetch(NULL, "SHA3-256", NULL);
	ASSERT(sha256 && sha3_256);
	has_sha256_ni = cpu_has_sha();
}

static void openssl_run(const EVP_MD *method, const struct block_id_job *job)
{
	unsigned digest_bytes = 0;
	int ok = EVP_Digest(job->bytes, job->len, job->out->bytes, &digest_bytes, method, NULL);

	ASSERT(ok == 1 && digest_bytes == BLOCK_ID_BYTES);
}

void block_id_of_all(enum hash_kind kind, const struct block_id_job *jobs, size_t count)
{
	pthread_once(&settled, settle);
	ASSERT(kind == HASH_SHA256 || kind == HASH_SHA3_256);
	if (kind == HASH_SHA256 && has_sha256_ni) {
		sha256_ni_run(jobs, count);
		return;
	}
	for (size_t i = 0; i < count; i++)
		openssl_run(kind == HASH_SHA256 ? sha256 : sha3_256, &jobs[i]);
}

void block_id_of(enum hash_kind kind, const void *bytes, size_t len, struct block_id *out)
{
	const struct block_id_job job = {bytes, len, out};

	block_id_of_all(kind, &job, 1);
}

const char *block_id_hash_name(enum hash_kind kind)
{
	return kind == HASH_SHA3_256 ? "sha3-256" : kind == HASH_SHA256 ? "sha256" : "?";
}

int block_id_hash_parse(const char *name, enum hash_kind *out)
{
	for (enum hash_kind kind = HASH_SHA256; kind <= HASH_SHA3_256; kind++) {
		if (strcmp(name, block_id_hash_name(kind)) == 0) {
			*out = kind;
			return 0;
		}
	}
	return -E_INVAL;
}

bool block_id_equal(const struct block_id *a, const struct block_id *b)
{
	return memcmp(a->bytes, b->bytes, BLOCK_ID_BYTES) == 0;
}

bool block_id_is_zero(const struct block_id *id)
{
	static const struct block_id zero;

	return block_id_equal(id, &zero);
}

int block_id_compare(const struct block_id *a, const struct block_id *b)
{
	return memcmp(a->bytes, b->bytes, BLOCK_ID_BYTES);
}

char *block_id_hex(const struct block_id *id, char out[BLOCK_ID_HEX_BYTES])
{
	text_hex(out, id->bytes, BLOCK_ID_BYTES);
	return out;
}

int block_id_parse(const char *hex, struct block_id *out)
{
	return text_parse_hex(hex, out->bytes, BLOCK_ID_BYTES);
}

bool block_id_next(struct block_id *id)
{
	for (uint32_t i = BLOCK_ID_BYTES; i-- > 0;) {
		if (++id->bytes[i] != 0)
			return true;
	}
	return false;
}

pg_no block_id_pg(const struct block_id *id)
{
	unsigned first_16_bits = (unsigned)id->bytes[0] << 8 | id->bytes[1];

	return (pg_no)(first_16_bits >> (16 - PG_BITS));
}
