/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A frame header that decodes is within its bounds, and has exactly one encoding. The checksum is
 * made good where it is not, so that the fields behind it are reached as well.
 */
#include <string.h>

#include "fs/hash/checksum.h"
#include "fs/wire/msg.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t bytes[FRAME_HEADER_BYTES], again[FRAME_HEADER_BYTES];
	struct frame_header h;

	if (size != FRAME_HEADER_BYTES)
		return 0;
	memcpy(bytes, data, sizeof(bytes));
	if (frame_header_decode(bytes, &h) == -E_CORRUPT) {
		uint64_t checksum = checksum_of(bytes, sizeof(bytes) - sizeof(checksum));
		memcpy(bytes + sizeof(bytes) - sizeof(checksum), &checksum, sizeof(checksum));
	}
	if (frame_header_decode(bytes, &h) < 0)
		return 0;
	ASSERT(h.message_len <= MESSAGE_BYTES_MAX && h.bulk_len <= BULK_BYTES_MAX);
	ASSERT(msg_type_is_known(h.type));
	frame_header_encode(&h, again);
	ASSERT(memcmp(bytes, again, sizeof(bytes)) == 0);
	return 0;
}
