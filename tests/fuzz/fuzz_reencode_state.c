/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The position of encoding anew: bytes from the fuzzer, as they are and sealed; what decodes
 * encodes to itself.
 */
#include "fs/disk/reencode_state.h"

#include <string.h>

#include "fs/disk/sealed.h"
#include "tests/fuzz/fuzz.h"

static void try(const uint8_t in[REENCODE_STATE_BYTES])
{
	uint8_t again[REENCODE_STATE_BYTES];
	struct reencode_state state;

	if (reencode_state_decode(in, &state) < 0)
		return;
	reencode_state_encode(&state, again);
	ASSERT(memcmp(in, again, REENCODE_STATE_BYTES) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t bytes[REENCODE_STATE_BYTES] = {0};

	if (size)
		memcpy(bytes, data, size < sizeof(bytes) ? size : sizeof(bytes));
	try(bytes);
	sealed_finish(bytes, sizeof(bytes));
	try(bytes);
	return 0;
}
