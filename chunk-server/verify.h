/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Verification of foreign records: header, checksum, decoding, and that the digest of the plain
 * bytes is the id (I1). Servers verify what anybody sends, other servers included (I8).
 *
 * The work runs on workers, in batches of what came in one turn, at most CS_VERIFY_SLOTS of them at
 * a time, each with its own codec scratch and plain buffers; more wait in line. Everything else on
 * the loop's thread.
 */
#ifndef CAIRN_CHUNK_SERVER_VERIFY_H
#define CAIRN_CHUNK_SERVER_VERIFY_H

#include "fs/base/buf.h"
#include "fs/disk/record.h"
#include "fs/io/loop.h"

#define CS_VERIFY_SLOTS 8u
#define CS_VERIFY_BATCH 6u /* records that one slot takes */

struct cs_verifier;

must_check int cs_verifier_create(struct loop *loop, enum hash_kind hash, struct cs_verifier **out);
void cs_verifier_destroy(struct cs_verifier *verifier); /* nothing in flight; NULL is allowed */

/* Zero it, fill record and done; it and the record's bytes live until done. */
struct cs_verify {
	struct buf *record; /* borrowed: its owner keeps it until done */
	void (*done)(struct cs_verify *verify);
	int rc;		     /* 0, -E_CORRUPT, -E_MALFORMED, -E_BAD_MAGIC */
	struct record found; /* with rc 0 */
	void *user;
	struct cs_verify *prev, *next; /* private */
};
void cs_verify_start(struct cs_verifier *verifier, struct cs_verify *verify);

#endif
