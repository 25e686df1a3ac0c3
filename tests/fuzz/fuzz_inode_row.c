/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows of the metadata server. The first byte chooses; a row that decodes encodes to its own bytes.
 */
#include <string.h>

#include "metadata-server/inode.h"
#include "tests/fuzz/fuzz.h"

static void try_inode(const uint8_t *data, size_t size)
{
	uint8_t again[MS_INODE_BYTES_MAX];
	struct ms_inode inode;

	if (ms_inode_decode(data, size, &inode) < 0)
		return;
	ASSERT(ms_inode_encode(&inode, again) == size);
	ASSERT(memcmp(data, again, size) == 0);
}

static void try_name(const uint8_t *data, size_t size)
{
	uint8_t again[MS_NAME_VALUE_BYTES];
	struct ms_name_value v;

	if (ms_key_name_decode(data, size, &v) < 0)
		return;
	ms_key_name_encode(&v, again);
	ASSERT(size == sizeof again && memcmp(data, again, size) == 0);
}

static void try_slot(const uint8_t *data, size_t size)
{
	uint8_t again[MS_SLOT_VALUE_BYTES];
	struct ms_slot_value v;

	if (ms_key_slot_decode(data, size, &v) < 0)
		return;
	ms_key_slot_encode(&v, again);
	ASSERT(size == sizeof again && memcmp(data, again, size) == 0);
}

static void try_session(const uint8_t *data, size_t size)
{
	uint8_t again[MS_SESSION_VALUE_BYTES_MAX];
	struct ms_session_value v;

	if (ms_key_session_decode(data, size, &v) < 0)
		return;
	ASSERT(ms_key_session_encode(&v, again) == size);
	ASSERT(memcmp(data, again, size) == 0);
}

static void try_counters(const uint8_t *data, size_t size)
{
	uint8_t again[MS_COUNTERS_BYTES];
	struct ms_counters v;

	if (ms_key_counters_decode(data, size, &v) < 0)
		return;
	ms_key_counters_encode(&v, again);
	ASSERT(size == sizeof again && memcmp(data, again, size) == 0);
}

static void try_map(const uint8_t *data, size_t size)
{
	uint8_t again[MS_MAP_VALUE_BYTES];
	struct ms_map_value v;

	if (ms_key_map_decode(data, size, &v) < 0)
		return;
	ms_key_map_encode(&v, again);
	ASSERT(size == sizeof again && memcmp(data, again, size) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const tries[])(const uint8_t *data, size_t size) = {
		try_inode, try_name, try_slot, try_session, try_counters, try_map };

	if (size)
		tries[data[0] % ARRAY_COUNT(tries)](data + 1, size - 1);
	return 0;
}
