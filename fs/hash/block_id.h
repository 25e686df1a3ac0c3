/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The name of a block (I1): the digest of its plain bytes, SHA-256 (FIPS 180-4), or SHA3-256
 * (FIPS 202) where the cluster was made so. The zero id names nothing: it stands for a hole.
 *
 * Threads: any; how digests are made is settled once.
 */
#ifndef CAIRN_FS_HASH_BLOCK_ID_H
#define CAIRN_FS_HASH_BLOCK_ID_H

#include "fs/base/base.h"

struct block_id {
	uint8_t bytes[BLOCK_ID_BYTES];
};

enum hash_kind { HASH_SHA256 = 1, HASH_SHA3_256 = 2 };	/* on disk: for ever */

#define BLOCK_ID_HEX_BYTES (2 * BLOCK_ID_BYTES + 1)

/* Digest of len bytes. */
/* What `mkfs.cairn --hash` takes: "sha256", "sha3-256". */
const char *block_id_hash_name(enum hash_kind kind);
must_check int block_id_hash_parse(const char *name, enum hash_kind *out);	/* -E_INVAL */
void block_id_of(enum hash_kind kind, const void *bytes, size_t len, struct block_id *out);
/* The same for several pieces, of whatever lengths: by threes it takes half the time. */
struct block_id_job {
	const void *bytes;
	size_t len;
	struct block_id *out;
};
void block_id_of_all(enum hash_kind kind, const struct block_id_job *jobs, size_t count);
bool block_id_equal(const struct block_id *a, const struct block_id *b);
bool block_id_is_zero(const struct block_id *id);
int block_id_compare(const struct block_id *a, const struct block_id *b);	/* as memcmp */
char *block_id_hex(const struct block_id *id, char out[BLOCK_ID_HEX_BYTES]);
must_check int block_id_parse(const char *hex, struct block_id *out);	/* -E_INVAL */
/* The next in order, as one number; false: that was the last. */
bool block_id_next(struct block_id *id);
/* The placement group: the first 12 bits of the id, most significant bit first. */
pg_no block_id_pg(const struct block_id *id);

#endif
