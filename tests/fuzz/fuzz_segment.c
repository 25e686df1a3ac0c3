/* SPDX-License-Identifier: Apache-2.0 */
/* Segment headers, entries and trailers, as they are and sealed; what decodes encodes to itself. */
#include "fs/disk/segment.h"

#include <string.h>

#include "fs/disk/sealed.h"
#include "tests/fuzz/fuzz.h"

static void try_sealed(const uint8_t in[SEGMENT_HEADER_BYTES], uint64_t file_bytes)
{
	uint8_t again[SEGMENT_HEADER_BYTES];
	struct segment_header header;
	struct segment_trailer trailer;

	if (segment_header_decode(in, &header) == 0) {
		segment_header_encode(&header, again);
		ASSERT(memcmp(in, again, sizeof(again)) == 0);
	}
	if (segment_trailer_decode(in, file_bytes, &trailer) == 0) {
		ASSERT(trailer.entries_offset < file_bytes);
		segment_trailer_encode(&trailer, again);
		ASSERT(memcmp(in, again, sizeof(again)) == 0);
	}
}

static void try_entry(const uint8_t in[SEGMENT_ENTRY_BYTES])
{
	uint8_t again[SEGMENT_ENTRY_BYTES];
	struct segment_entry entry;

	if (segment_entry_decode(in, &entry) < 0)
		return;
	segment_entry_encode(&entry, again);
	ASSERT(memcmp(in, again, sizeof(again)) == 0);
}

/*
 * 64 bytes of header or trailer, then bytes of the file before a trailer: their count is its size.
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t sealed[SEGMENT_HEADER_BYTES];

	if (size < sizeof(sealed))
		return 0;
	try_entry(data);
	try_sealed(data, size);
	memcpy(sealed, data, sizeof(sealed));
	sealed_finish(sealed, sizeof(sealed));
	try_sealed(sealed, size);
	return 0;
}
