/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Structures of one size with a checksum behind (fs/disk/sealed.h): bytes from the fuzzer, zeros
 * after them, are tried as they are and sealed.
 */
#ifndef CAIRN_TESTS_FUZZ_FUZZ_SEALED_H
#define CAIRN_TESTS_FUZZ_FUZZ_SEALED_H

#include <string.h>

#include "fs/disk/sealed.h"

/* `bytes`: room for `len`, the size of the structure; `try` sees it. */
static void fuzz_sealed(const uint8_t *data, size_t size, uint8_t *bytes, size_t len,
			void (*try)(const uint8_t *bytes))
{
	memset(bytes, 0, len);
	if (size)
		memcpy(bytes, data, MIN_OF(size, len));
	try(bytes);
	sealed_finish(bytes, len);
	try(bytes);
}

#endif
