/* SPDX-License-Identifier: Apache-2.0 */
/* A root that decodes has exactly one encoding: the bytes that it came from. */
#include <string.h>

#include "fs/tree/root.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct root root;
	uint8_t again[ROOT_BYTES];

	if (size != ROOT_BYTES || root_decode(data, &root) < 0)
		return 0;
	root_encode(&root, again);
	ASSERT(memcmp(data, again, sizeof again) == 0);
	return 0;
}
