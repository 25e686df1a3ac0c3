/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What disks were measured to do: bytes from the fuzzer, as they are and sealed; what decodes
 * encodes to itself.
 */
#include "fs/disk/calibration.h"

#include <string.h>

#include "fs/disk/sealed.h"
#include "tests/fuzz/fuzz.h"

static void try(const uint8_t in[CALIBRATION_BYTES])
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
	uint8_t bytes[CALIBRATION_BYTES] = {0};

	if (size)
		memcpy(bytes, data, size < sizeof(bytes) ? size : sizeof(bytes));
	try(bytes);
	sealed_finish(bytes, sizeof(bytes));
	try(bytes);
	return 0;
}
