/* SPDX-License-Identifier: Apache-2.0 */
/* Superblocks: what decodes encodes to itself. */
#include "fs/disk/super.h"

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/fuzz_sealed.h"

static void try(const uint8_t *in)
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

	fuzz_sealed(data, size, bytes, sizeof(bytes), try);
	return 0;
}
