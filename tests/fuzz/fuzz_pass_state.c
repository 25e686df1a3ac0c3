/* SPDX-License-Identifier: Apache-2.0 */
/* The positions of passes, of each kind: what decodes encodes to itself. */
#include "fs/disk/pass_state.h"

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/fuzz_sealed.h"

static void try(const struct pass_kind *kind, const uint8_t *in)
{
	uint8_t again[PASS_STATE_BYTES_MAX];
	struct pass_state state;

	if (pass_state_decode(kind, in, &state) < 0)
		return;
	pass_state_encode(kind, &state, again);
	ASSERT(memcmp(in, again, kind->bytes) == 0);
}

static void try_scrub(const uint8_t *in)
{
	try(&pass_state_scrub, in);
}

static void try_reencode(const uint8_t *in)
{
	try(&pass_state_reencode, in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t bytes[PASS_STATE_BYTES_MAX];

	fuzz_sealed(data, size, bytes, pass_state_scrub.bytes, try_scrub);
	fuzz_sealed(data, size, bytes, pass_state_reencode.bytes, try_reencode);
	return 0;
}
