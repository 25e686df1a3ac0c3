/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A message that unpacks can be packed, and what was packed unpacks to the same bytes again. The
 * first byte is the type, its highest bit says reply.
 */
#include <stdlib.h>
#include <string.h>

#include "fs/wire/msg.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	ProtobufCMessage *msg, *back;

	if (size < 1)
		return 0;
	unsigned type = data[0] & 0x7f;
	bool is_reply = data[0] >> 7;
	if (msg_unpack(type, is_reply, data + 1, size - 1, &msg) < 0)
		return 0;
	size_t len = msg_packed_bytes(msg);
	uint8_t *first = malloc(len + 1), *second = malloc(len + 1);
	ASSERT(first && second);
	msg_pack(msg, first);
	/* Packing may grow a message (numbers in their longest form), then it is none of ours. */
	if (msg_unpack(type, is_reply, first, len, &back) == 0) {
		ASSERT(msg_packed_bytes(back) == len);
		msg_pack(back, second);
		ASSERT(memcmp(first, second, len) == 0);
		msg_free(back);
	}
	free(second);
	free(first);
	msg_free(msg);
	return 0;
}
