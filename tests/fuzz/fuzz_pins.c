/* SPDX-License-Identifier: Apache-2.0 */
/* Files of pins: whatever they hold, inodes come out ascending, each once, and can be noted. */
#include "client/core/pins.h"

#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static inode_no inodes[PINS_MAX];
	char *text = malloc(size + 1);
	bool is_sound;

	if (!text)
		return 0;
	if (size)
		memcpy(text, data, size);
	text[size] = '\0';
	uint32_t count = cl_pins_parse(text, inodes, &is_sound);
	ASSERT(count <= PINS_MAX);
	for (uint32_t i = 0; i < count; i++)
		ASSERT(inodes[i] > (i ? inodes[i - 1] : 0) && inodes[i] <= INT64_MAX);
	free(text);
	return 0;
}
