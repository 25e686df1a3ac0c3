/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The position of a scrub: bytes from the fuzzer, as they are and sealed; what decodes encodes to
 * itself.
 */
#include "fs/disk/scrub_state.h"

#include <string.h>

#include "fs/disk/sealed.h"
#include "tests/fuzz/fuzz.h"

static void try(const uint8_t in[SCRUB_STATE_BYTES])
{
	uint8_t again[SCRUB_STATE_BYTES];
	struct scrub_state state;

	if (scrub_state_decode(in, &state) < 0)
		return;
	scrub_state_encode(&state, again);
	ASSERT(memcmp(in, again, SCRUB_STATE_BYTES) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t bytes[SCRUB_STATE_BYTES] = {0};

	if (size)
		memcpy(bytes, data, size < sizeof(bytes) ? size : sizeof(bytes));
	try(bytes);
	sealed_finish(bytes, sizeof(bytes));
	try(bytes);
	return 0;
}
