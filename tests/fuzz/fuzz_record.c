/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Block records: any bytes, and the same bytes with their checksums put right, since a fuzzer does
 * not guess them. What opens has a header that encodes back to itself.
 */
#include "fs/disk/record.h"

#include <string.h>

#include "fs/base/bytes.h"
#include "fs/disk/sealed.h"
#include "fs/hash/checksum.h"
#include "tests/fuzz/fuzz.h"

static uint8_t plain[BLOCK_BYTES_MAX];

static void try(struct codec_scratch *scratch, const uint8_t *bytes, size_t len)
{
	struct record r;
	uint8_t header[RECORD_HEADER_BYTES];

	if (record_check(bytes, len, &r) < 0)
		return;
	record_encode_header(&r, header);
	ASSERT(memcmp(header, bytes, sizeof(header)) == 0);
	int rc = record_open(scratch, HASH_SHA256, bytes, len, true, &r, plain);
	ASSERT(rc == 0 || rc == -E_MALFORMED || rc == -E_CORRUPT);
	ASSERT(record_prove(scratch, HASH_SHA256, bytes, len, &r, plain) == rc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct codec_scratch *scratch;
	static uint8_t sealed[RECORD_BYTES_MAX];

	if (!scratch)
		scratch = codec_scratch_create();
	ASSERT(scratch);
	try(scratch, data, size);
	if (size < RECORD_HEADER_BYTES || size > sizeof(sealed))
		return 0;

	memcpy(sealed, data, size);
	memcpy(sealed, "CRNR", 4);
	struct wr w = wr_init(sealed + 48, 8);
	wr_u64(&w, checksum_of(sealed + RECORD_HEADER_BYTES, size - RECORD_HEADER_BYTES));
	sealed_finish(sealed, RECORD_HEADER_BYTES);
	try(scratch, sealed, size);
	return 0;
}
