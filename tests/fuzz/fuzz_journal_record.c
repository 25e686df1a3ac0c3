/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Journal records, file headers and snapshot frames, as they are and with checksums put right. A
 * record that decodes has changes that can all be read, and finishes to the same bytes.
 */
#include "fs/disk/journal_record.h"

#include <string.h>

#include "fs/disk/sealed.h"
#include "fs/hash/checksum.h"
#include "tests/fuzz/fuzz.h"

static uint8_t copy[JOURNAL_RECORD_BYTES_MAX];
static uint8_t again[JOURNAL_RECORD_BYTES_MAX];

static void try_record(const uint8_t *bytes, size_t len)
{
	struct journal_header h;
	const uint8_t *payload;
	struct row_change change;
	uint32_t count = 0;
	int rc = journal_record_decode(bytes, len, &h, &payload);

	if (rc < 0)
		return;
	ASSERT((size_t)rc <= len && (size_t)rc <= sizeof(again));

	struct rd r = rd_init(payload, h.payload_len);
	struct wr w = wr_init(again + JOURNAL_HEADER_BYTES, sizeof(again) - JOURNAL_HEADER_BYTES);
	while ((rc = journal_change_read(&r, &change)) == 1) {
		journal_change_write(&w, &change);
		count++;
	}
	ASSERT(rc == 0 && count == h.change_count && wr_len(&w) == h.payload_len);
	journal_record_finish(again, &h);
	ASSERT(memcmp(bytes, again, JOURNAL_HEADER_BYTES + h.payload_len) == 0);
}

static void try_frames(const uint8_t *bytes)
{
	struct journal_file_header file;
	struct snapshot_header snapshot;
	struct snapshot_trailer trailer;

	if (journal_file_header_decode(bytes, &file) == 0) {
		journal_file_header_encode(&file, again);
		ASSERT(memcmp(bytes, again, JOURNAL_FILE_HEADER_BYTES) == 0);
	}
	if (snapshot_header_decode(bytes, &snapshot) == 0) {
		snapshot_header_encode(&snapshot, again);
		ASSERT(memcmp(bytes, again, SNAPSHOT_HEADER_BYTES) == 0);
	}
	if (snapshot_trailer_decode(bytes, &trailer) == 0) {
		snapshot_trailer_encode(&trailer, again);
		ASSERT(memcmp(bytes, again, SNAPSHOT_TRAILER_BYTES) == 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	try_record(data, size);
	if (size < JOURNAL_FILE_HEADER_BYTES || size > sizeof(copy))
		return 0;
	try_frames(data);

	memcpy(copy, data, size);
	sealed_finish(copy, JOURNAL_FILE_HEADER_BYTES);
	try_frames(copy);
	memcpy(copy, data, size);
	sealed_finish(copy, SNAPSHOT_TRAILER_BYTES);
	try_frames(copy);

	/* A record of all that there is. */
	memcpy(copy, data, size);
	memcpy(copy, "CRNJ", 4);
	struct wr w = wr_init(copy + 4, 4);
	wr_u32(&w, (uint32_t)(size - JOURNAL_HEADER_BYTES));
	w = wr_init(copy + 40, 8);
	wr_u64(&w, checksum_joined(copy, 40, copy + JOURNAL_HEADER_BYTES,
				   size - JOURNAL_HEADER_BYTES));
	try_record(copy, size);
	return 0;
}
