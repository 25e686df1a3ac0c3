/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding records by reading. The file passes through one window of memory, so a scan costs 1 MiB
 * whatever the segment. Keeps I8.
 */
#include "chunk-server/scan.h"

#include <stdlib.h>
#include <string.h>

#define WINDOW_BYTES MiB(1)

struct window {
	struct cs_scan *scan;
	uint8_t *bytes;
	uint64_t start; /* offset of bytes[0] in the segment */
	uint32_t len;
};

/* 1: *out points to len bytes at offset; 0: the segment ends before; or an error. */
static int window_get(struct window *w, uint64_t offset, uint32_t len, const uint8_t **out)
{
	uint64_t end = w->scan->end;

	if (offset > end || len > end - offset)
		return 0;
	if (offset < w->start || offset + len > w->start + w->len) {
		uint32_t want = (uint32_t)MIN_OF(WINDOW_BYTES, end - offset);
		int rc = w->scan->read(w->scan->arg, w->bytes, want, offset);
		if (rc < 0)
			return rc;
		w->start = offset;
		w->len = (uint32_t)rc;
		if (w->len < len)
			return 0;
	}
	*out = w->bytes + (offset - w->start);
	return 1;
}

/* 1: a good record begins at offset; 0: none does; or an error. */
static int record_at(struct window *w, uint64_t offset, struct segment_entry *out)
{
	const uint8_t *bytes;
	struct record record;
	int rc = window_get(w, offset, RECORD_HEADER_BYTES, &bytes);

	if (rc <= 0)
		return rc;
	if (record_decode_header(bytes, &record) < 0)
		return 0;
	uint32_t length = RECORD_HEADER_BYTES + record.stored_len;
	rc = window_get(w, offset, length, &bytes);
	if (rc <= 0)
		return rc;
	if (record_check(bytes, length, &record) < 0)
		return 0;
	out->id = record.id;
	out->offset = offset;
	out->length = length;
	out->plain_len = record.plain_len;
	out->codec = record.codec;
	return 1;
}

/* Is the word at offset zero? As window_get(), with 0 for "the segment ends before". */
static int word_at(struct window *w, uint64_t offset, bool *is_zero)
{
	static const uint8_t zeros[RECORD_ALIGN];
	const uint8_t *bytes;
	int rc = window_get(w, offset, RECORD_ALIGN, &bytes);

	if (rc > 0)
		*is_zero = memcmp(bytes, zeros, sizeof(zeros)) == 0;
	return rc;
}

/* Look for a good record behind a bad place. 1: found at *offset; 0: none up to the end. */
static int search(struct window *w, uint64_t *offset, struct segment_entry *out, bool *is_torn)
{
	uint64_t at = *offset;

	for (;; at += RECORD_ALIGN) {
		bool is_zero = true;
		int rc = word_at(w, at, &is_zero);
		if (rc < 0)
			return rc;
		if (rc == 0)
			break;
		if (is_zero)
			continue;
		*is_torn = true;
		rc = record_at(w, at, out);
		if (rc != 0) {
			*offset = at;
			return rc;
		}
	}
	/* Fewer than 8 bytes are left: no record, but perhaps the rest of a torn one. */
	const uint8_t *byte;
	for (int rc; (rc = window_get(w, at, 1, &byte)) != 0; at++) {
		if (rc < 0)
			return rc;
		if (*byte != 0)
			*is_torn = true;
	}
	return 0;
}

static int scan_records(struct window *w)
{
	struct cs_scan *scan = w->scan;
	uint64_t at = SEGMENT_HEADER_BYTES;

	scan->tail = at;
	scan->is_torn = false;
	for (;;) {
		struct segment_entry entry;
		uint64_t good = at;
		bool is_torn = false;
		int rc = record_at(w, at, &entry);
		if (rc == 0)
			rc = search(w, &good, &entry, &is_torn);
		if (rc < 0)
			return rc;
		if (rc == 0) {
			scan->is_torn = is_torn;
			return 0;
		}
		if (good != at && scan->on_damage != NULL)
			scan->on_damage(scan->arg, at, good - at);
		rc = scan->on_record(scan->arg, &entry);
		if (rc < 0)
			return rc;
		at = good + DIV_CEIL((uint64_t)entry.length, RECORD_ALIGN) * RECORD_ALIGN;
		scan->tail = at;
	}
}

int cs_scan_run(struct cs_scan *scan)
{
	struct window w = {.scan = scan, .bytes = malloc(WINDOW_BYTES)};

	if (w.bytes == NULL)
		return -E_NOMEM;
	int rc = scan_records(&w);
	free(w.bytes);
	return rc;
}
