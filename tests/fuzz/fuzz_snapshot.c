/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A snapshot file of any bytes is read within bounds; its rows, if any, come in rising order (I8).
 */
#include "metadata-server/snapshot.h"

#include "tests/fuzz/fuzz_disk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int take_row(void *arg, const struct row *row)
{
	uint64_t *sum = arg;

	ASSERT(row->key_len > 0 && row->key_len <= ROW_KEY_BYTES_MAX &&
	       row->value_len <= ROW_VALUE_BYTES_MAX);
	for (uint32_t i = 0; i < row->key_len; i++)
		*sum += row->key[i];
	for (uint32_t i = 0; i < row->value_len; i++)
		*sum += row->value[i];
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_disk d = { .base = { .ops = &FUZZ_DISK_OPS }, .data = data, .size = size,
			       .name = "S-0000000000000005" };
	struct snapshot_header h;
	uint64_t sum = 0;

	if (ms_snapshot_read(&d.base, 5, &h, take_row, &sum) == 0)
		ASSERT(h.number == 5);
	return 0;
}
