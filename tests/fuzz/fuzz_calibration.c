/* SPDX-License-Identifier: Apache-2.0 */
/* What disks were measured to do: what decodes encodes to itself. */
#include "fs/disk/calibration.h"

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/fuzz_sealed.h"

static void try(const uint8_t *in)
{
	uint8_t again[CALIBRATION_BYTES];
	struct calibration c;

	if (calibration_decode(in, &c) < 0)
		return;
	calibration_encode(&c, again);
	ASSERT(memcmp(in, again, CALIBRATION_BYTES) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t bytes[CALIBRATION_BYTES];

	fuzz_sealed(data, size, bytes, sizeof(bytes), try);
	return 0;
}
