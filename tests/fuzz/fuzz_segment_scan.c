/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Recovery of an unsealed segment: any bytes between good records. What is found is well formed, in
 * order and inside; every good record that was planted is found; and what lies behind the tail is
 * called torn unless it is zeros.
 *
 * Input: pieces, each a byte of kind and length (low 7 bits) and so many bytes: high bit clear: raw
 * bytes, padded to 8; set: the plain bytes of a good record.
 */
#include <string.h>

#include "chunk-server/scan.h"
#include "tests/fuzz/fuzz.h"

#define FILE_BYTES_MOST 65536u
#define PLANTED_MOST	512u

struct body {
	uint8_t bytes[FILE_BYTES_MOST];
	uint32_t len;
	uint64_t planted[PLANTED_MOST];
	uint32_t planted_count, found_count;
	uint64_t last_end;
};

static int body_read(void *arg, void *out, uint32_t len, uint64_t offset)
{
	const struct body *b = arg;

	if (offset >= b->len)
		return 0;
	uint32_t count = (uint32_t)MIN_OF(len, b->len - offset);
	memcpy(out, b->bytes + offset, count);
	return (int)count;
}

static int body_record(void *arg, const struct segment_entry *entry)
{
	struct body *b = arg;
	uint8_t encoded[SEGMENT_ENTRY_BYTES];

	ASSERT(entry->offset % RECORD_ALIGN == 0 && entry->offset >= b->last_end);
	ASSERT(entry->offset + entry->length <= b->len);
	b->last_end = entry->offset + entry->length;
	segment_entry_encode(entry, encoded); /* asserts that it is well formed */
	if (b->found_count < b->planted_count && entry->offset == b->planted[b->found_count])
		b->found_count++;
	return 0;
}

static void body_damage(void *arg, uint64_t offset, uint64_t bytes)
{
	const struct body *b = arg;

	ASSERT(bytes > 0 && offset >= SEGMENT_HEADER_BYTES && offset + bytes <= b->len);
}

static void plant(struct body *b, const uint8_t *plain, uint32_t len)
{
	uint8_t record[RECORD_BYTES_MAX];
	uint32_t total = record_build(NULL, HASH_SHA256, CODEC_AIM_RAW, plain, len, record);

	if (b->len + total + RECORD_ALIGN > FILE_BYTES_MOST || b->planted_count == PLANTED_MOST)
		return;
	b->planted[b->planted_count++] = b->len;
	memcpy(b->bytes + b->len, record, total);
	b->len += (uint32_t)(DIV_CEIL(total, RECORD_ALIGN) * RECORD_ALIGN);
}

static void build(struct body *b, const uint8_t *data, size_t size)
{
	memset(b, 0, sizeof(*b));
	b->len = SEGMENT_HEADER_BYTES;
	while (size > 0) {
		uint32_t len = (uint32_t)MIN_OF(data[0] & 0x7fu, size - 1);
		if ((data[0] & 0x80u) != 0 && len > 0) {
			plant(b, data + 1, len);
		} else if (b->len + len + RECORD_ALIGN <= FILE_BYTES_MOST) {
			memcpy(b->bytes + b->len, data + 1, len);
			b->len += (uint32_t)(DIV_CEIL(len, RECORD_ALIGN) * RECORD_ALIGN);
		}
		data += len + 1;
		size -= len + 1;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct body b;

	build(&b, data, size);
	struct cs_scan scan = {
		.read = body_read,
		.on_record = body_record,
		.on_damage = body_damage,
		.arg = &b,
		.end = b.len,
	};
	int rc = cs_scan_run(&scan);
	ASSERT(rc == 0 && b.found_count == b.planted_count);
	bool has_more = false;
	for (uint64_t at = scan.tail; at < b.len; at++)
		has_more = has_more || b.bytes[at] != 0;
	ASSERT(scan.is_torn == has_more);
	return 0;
}
