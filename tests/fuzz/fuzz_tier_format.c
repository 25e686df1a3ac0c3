/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a cache tier reads from its folder: bytes from the fuzzer, as they are and sealed; what
 * decodes encodes to itself. The first byte says what they are taken for.
 */
#include "fs/disk/tier_format.h"

#include <stdlib.h>
#include <string.h>

#include "fs/disk/sealed.h"
#include "tests/fuzz/fuzz.h"

#define BYTES_MAX 4096u

static void try_state(const uint8_t *bytes, size_t len)
{
	uint8_t in[TIER_FORMAT_STATE_BYTES] = { 0 }, again[TIER_FORMAT_STATE_BYTES];
	struct tier_format_state state;

	memcpy(in, bytes, MIN_OF(len, sizeof in));
	if (len >= sizeof in)
		sealed_finish(in, sizeof in);
	if (tier_format_state_decode(in, &state) < 0)
		return;
	tier_format_state_encode(&state, again);
	ASSERT(memcmp(in, again, sizeof in) == 0);
}

/* Sums that say themselves whose they are. */
static void try_sums(const uint8_t *bytes, size_t len)
{
	uint8_t again[BYTES_MAX];
	uint64_t sums[BYTES_MAX / 8];
	struct root root;

	if (len < 8 + ROOT_BYTES || root_decode(bytes + 8, &root) < 0 ||
	    tier_format_pieces(&root) > ARRAY_COUNT(sums) ||
	    tier_format_sums_decode(bytes, len, &root, sums) < 0)
		return;
	tier_format_sums_encode(&root, sums, again);
	ASSERT(memcmp(bytes, again, len) == 0);
}

struct uses {
	struct tier_format_use at[BYTES_MAX / 72];
	uint32_t count, next;
};

static void add_use(void *arg, const struct tier_format_use *use)
{
	struct uses *uses = arg;

	ASSERT(uses->count < ARRAY_COUNT(uses->at));
	uses->at[uses->count++] = *use;
}

static void next_use(void *arg, struct tier_format_use *out)
{
	struct uses *uses = arg;

	*out = uses->at[uses->next++];
}

static void try_index(const uint8_t *bytes, size_t len)
{
	static struct uses uses;
	uint8_t again[BYTES_MAX];

	uses.count = uses.next = 0;
	if (tier_format_index_decode(bytes, len, add_use, &uses) < 0) {
		ASSERT(uses.count == 0);
		return;
	}
	tier_format_index_encode(uses.count, next_use, &uses, again);
	ASSERT(len == tier_format_index_bytes(uses.count) && memcmp(bytes, again, len) == 0);
}

static void try_name(const uint8_t *bytes, size_t len)
{
	char name[TIER_FORMAT_NAME_BYTES + 8] = { 0 }, again[TIER_FORMAT_NAME_BYTES];
	struct root root;

	memcpy(name, bytes, MIN_OF(len, sizeof name - 1));
	if (tier_format_parse_name(name, &root) == 0)
		ASSERT(strcmp(name, tier_format_name(&root, again)) == 0);
}

static void try(uint8_t kind, const uint8_t *bytes, size_t len)
{
	switch (kind % 4) {
	case 0:
		try_state(bytes, len);
		break;
	case 1:
		try_sums(bytes, len);
		break;
	case 2:
		try_index(bytes, len);
		break;
	default:
		try_name(bytes, len);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t bytes[BYTES_MAX];
	size_t len = size > 0 ? MIN_OF(size - 1, sizeof bytes) : 0;

	if (size == 0)
		return 0;
	memcpy(bytes, data + 1, len);
	try(data[0], bytes, len);
	if (len > SEALED_CHECKSUM_BYTES) {
		sealed_finish(bytes, len);
		try(data[0], bytes, len);
	}
	return 0;
}
