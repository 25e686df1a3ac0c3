/* SPDX-License-Identifier: Apache-2.0 */
/* The first byte chooses the row; a row that decodes encodes to the bytes that it came from. */
#include <string.h>

#include "fs/placement/map.h"
#include "tests/fuzz/fuzz.h"

static void try_pg_row(const uint8_t *data, size_t size)
{
	struct pg_row row;
	uint8_t again[PG_ROW_BYTES_MAX];

	if (pg_row_decode(data, size, &row) < 0)
		return;
	ASSERT(pg_row_encode(&row, again) == size);
	ASSERT(memcmp(data, again, size) == 0);
}

static void try_server_row(const uint8_t *data, size_t size)
{
	struct server_row row;
	uint8_t again[SERVER_ROW_BYTES_MAX];

	if (server_row_decode(data, size, &row) < 0)
		return;
	ASSERT(server_row_encode(&row, again) == size);
	ASSERT(memcmp(data, again, size) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	if (data[0] % 2)
		try_pg_row(data + 1, size - 1);
	else
		try_server_row(data + 1, size - 1);
	return 0;
}
