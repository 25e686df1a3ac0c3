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

static void try_quota(const uint8_t *data, size_t size)
{
	uint8_t again[MS_QUOTA_BYTES];
	struct ms_quota v;

	if (ms_key_quota_decode(data, size, &v) < 0)
		return;
	ms_key_quota_encode(&v, again);
	ASSERT(size == sizeof again && memcmp(data, again, size) == 0);
}

/* Of a quota and of a trash. */
static void try_walk(const uint8_t *data, size_t size)
{
	uint8_t again[MS_QUOTA_WALK_BYTES];
	uint64_t hash;

	if (ms_key_quota_walk_decode(data, size, &hash) == 0) {
		ms_key_quota_walk_encode(hash, again);
		ASSERT(size == sizeof again && memcmp(data, again, size) == 0);
	}
	if (ms_key_trash_walk_decode(data, size, &hash) == 0) {
		ms_key_trash_walk_encode(hash, again);
		ASSERT(size == sizeof again && memcmp(data, again, size) == 0);
	}
}

static void try_clone(const uint8_t *data, size_t size)
{
	uint8_t again[MS_CLONE_VALUE_BYTES];
	struct ms_clone_value v;

	if (ms_key_clone_decode(data, size, &v) < 0)
		return;
	ms_key_clone_encode(&v, again);
	ASSERT(size == sizeof again && memcmp(data, again, size) == 0);
}

/* The key comes first, behind the clone or the tree. */
static void try_clone_work(const uint8_t *data, size_t size)
{
	const size_t key_bytes = MIN_OF(size, 9u);
	uint8_t again[MS_CLONE_WORK_BYTES_MAX];
	struct rd key = rd_init(data, key_bytes);
	struct ms_clone_work v;

	if (ms_key_clone_work_decode(&key, data + key_bytes, size - key_bytes, &v) < 0)
		return;
	ASSERT(ms_key_clone_work_encode(&v, again) == size - key_bytes);
	ASSERT(memcmp(data + key_bytes, again, size - key_bytes) == 0);
}

static void try_trash(const uint8_t *data, size_t size)
{
	uint8_t again[MS_TRASH_BYTES];
	struct ms_trash v;

	if (ms_key_trash_decode(data, size, &v) < 0)
		return;
	ms_key_trash_encode(&v, again);
	ASSERT(size == sizeof again && memcmp(data, again, size) == 0);
}

static void try_trash_entry(const uint8_t *data, size_t size)
{
	const size_t key_bytes = MIN_OF(size, 16u);
	uint8_t again[MS_TRASH_ENTRY_BYTES_MAX];
	struct rd key = rd_init(data, key_bytes);
	struct ms_trash_entry v;

	if (ms_key_trash_entry_decode(&key, data + key_bytes, size - key_bytes, &v) < 0)
		return;
	ASSERT(ms_key_trash_entry_encode(&v, again) == size - key_bytes);
	ASSERT(memcmp(data + key_bytes, again, size - key_bytes) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const tries[])(const uint8_t *data, size_t size) = {
		try_inode, try_name, try_slot, try_session, try_counters, try_map,
		try_quota, try_walk, try_clone, try_clone_work, try_trash, try_trash_entry };

	if (size)
		tries[data[0] % ARRAY_COUNT(tries)](data + 1, size - 1);
	return 0;
}
