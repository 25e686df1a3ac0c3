/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Superblocks: the first bytes from the fuzzer, zeros behind, sealed; what decodes encodes to
 * itself.
 */
#include "fs/disk/super.h"

#include <string.h>

#include "fs/disk/sealed.h"
#include "tests/fuzz/fuzz.h"

static void try(const uint8_t in[SUPER_BYTES])
{
	static uint8_t again[SUPER_BYTES];
	struct super super;

	if (super_decode(in, &super) < 0)
		return;
	super_encode(&super, again);
	ASSERT(memcmp(in, again, SUPER_BYTES) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t bytes[SUPER_BYTES];

	memset(bytes, 0, sizeof(bytes));
	if (size)
		memcpy(bytes, data, size < SUPER_BYTES ? size : SUPER_BYTES);
	try(bytes);
	sealed_finish(bytes, SUPER_BYTES);
	try(bytes);
	return 0;
}
