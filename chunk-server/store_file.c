/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files of segments: their names, making, sealing, and listing what a sealed one holds. Nothing
 * here knows of the store's state; all of it may run on a worker. Keeps I4 (a segment is sealed
 * when its footer is synced) and I8 (a footer is believed only if it checks).
 */
#include "chunk-server/store_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chunk-server/scan.h"
#include "fs/hash/checksum.h"

char *cs_store_segment_name(uint64_t number, char out[STORE_NAME_BYTES])
{
	snprintf(out, STORE_NAME_BYTES, STORE_DIR "/" STORE_PREFIX "%016" PRIx64, number);
	return out;
}

int cs_store_entries_reserve(struct store_entries *entries, uint32_t more)
{
	uint32_t needed = entries->count + more;

	if (needed <= entries->capacity)
		return 0;
	uint32_t capacity = MAX_OF(needed, MAX_OF(1024u, entries->capacity * 2));
	struct segment_entry *at = realloc(entries->at, capacity * sizeof(*at));
	if (at == NULL)
		return -E_NOMEM;
	entries->at = at;
	entries->capacity = capacity;
	return 0;
}

/* --- making and sealing ---- */

int cs_store_seal(struct disk_file *file, uint64_t number, uint64_t tail,
		  const struct store_entries *entries)
{
	uint32_t entries_bytes = entries->count * SEGMENT_ENTRY_BYTES;
	uint32_t footer_bytes = entries_bytes + SEGMENT_TRAILER_BYTES;
	uint8_t *footer = malloc(footer_bytes);

	if (footer == NULL)
		return -E_NOMEM;
	for (uint32_t i = 0; i < entries->count; i++)
		segment_entry_encode(&entries->at[i], footer + i * SEGMENT_ENTRY_BYTES);
	struct segment_trailer trailer = {
		.number = number,
		.entries_offset = tail,
		.entry_count = entries->count,
		.entries_checksum = checksum_of(footer, entries_bytes),
	};
	segment_trailer_encode(&trailer, footer + entries_bytes);
	int rc = disk_write(file, footer, footer_bytes, tail);
	free(footer);
	if (rc < 0)
		return rc;
	rc = disk_truncate(file, tail + footer_bytes);
	if (rc < 0)
		return rc;
	return disk_sync(file);
}

uint64_t cs_store_segments_left(const struct cs_store_options *options, enum cs_put_kind kind,
				const struct disk_space *space)
{
	uint64_t reserve = space->bytes_total / 100 * (100 - options->full_percent);

	reserve = MAX_OF(reserve, STORE_RESERVE_SEGMENTS * options->segment_bytes);
	if (kind == CS_PUT_HEALING)
		reserve /= 2;
	else if (kind == CS_PUT_MOVE)
		reserve = 0;
	return space->bytes_free > reserve ? (space->bytes_free - reserve) / options->segment_bytes
					   : 0;
}

int cs_store_room(const struct cs_store_options *options, enum cs_put_kind kind)
{
	struct disk_space space;
	int rc = disk_space(options->disk, &space);

	if (rc < 0)
		return rc;
	return cs_store_segments_left(options, kind, &space) > 0 ? 0 : -E_NOSPC;
}

static int segment_prepare(struct disk_file *file, const struct cs_store_options *options,
			   uint64_t number)
{
	struct segment_header header = {.number = number};
	uint8_t bytes[SEGMENT_HEADER_BYTES];

	memcpy(header.cluster, options->cluster, UUID_BYTES);
	memcpy(header.disk, options->disk_uuid, UUID_BYTES);
	segment_header_encode(&header, bytes);
	int rc = disk_allocate(file, options->segment_bytes);
	if (rc < 0)
		return rc;
	rc = disk_write(file, bytes, sizeof(bytes), 0);
	if (rc < 0)
		return rc;
	rc = disk_sync(file);
	if (rc < 0)
		return rc;
	return disk_sync_dir(options->disk, STORE_DIR);
}

int cs_store_make_segment(const struct cs_store_options *options, uint64_t number,
			  struct disk_file **out)
{
	char name[STORE_NAME_BYTES];
	struct disk_file *file;

	cs_store_segment_name(number, name);
	int rc = disk_open(options->disk, name,
			   DISK_WRITE | DISK_CREATE | DISK_EXCLUSIVE | DISK_RANDOM, &file);
	if (rc < 0)
		return rc;
	rc = segment_prepare(file, options, number);
	if (rc < 0) {
		disk_close(file);
		/* If it stays it is an empty segment: the next start removes it. */
		(void)!disk_unlink(options->disk, name);
		return rc;
	}
	*out = file;
	return 0;
}

/* --- listing ---- */

int cs_store_trailer_read(struct disk_file *file, uint64_t number, struct segment_trailer *out,
			  uint64_t *file_bytes)
{
	uint8_t bytes[SEGMENT_TRAILER_BYTES];
	int rc = disk_size(file, file_bytes);

	if (rc < 0)
		return rc;
	if (*file_bytes < SEGMENT_HEADER_BYTES + SEGMENT_TRAILER_BYTES)
		return 0;
	rc = disk_read(file, bytes, sizeof(bytes), *file_bytes - sizeof(bytes));
	if (rc < 0)
		return rc;
	return rc == (int)sizeof(bytes) && segment_trailer_decode(bytes, *file_bytes, out) == 0 &&
	       out->number == number;
}

int cs_store_footer_read(struct disk_file *file, const struct segment_trailer *trailer,
			 struct store_entries *out)
{
	uint32_t len = trailer->entry_count * SEGMENT_ENTRY_BYTES;

	out->count = 0;
	if (trailer->entry_count > STORE_ENTRIES_MAX)
		return -E_MALFORMED;
	int rc = cs_store_entries_reserve(out, trailer->entry_count);
	if (rc < 0)
		return rc;
	uint8_t *bytes = malloc(MAX_OF(len, 1u));
	if (bytes == NULL)
		return -E_NOMEM;
	rc = disk_read(file, bytes, len, trailer->entries_offset);
	if (rc >= 0 &&
	    ((uint32_t)rc != len || checksum_of(bytes, len) != trailer->entries_checksum))
		rc = -E_CORRUPT;
	for (uint32_t i = 0; i < trailer->entry_count && rc >= 0; i++) {
		struct segment_entry *entry = &out->at[i];
		rc = segment_entry_decode(bytes + i * SEGMENT_ENTRY_BYTES, entry);
		if (rc == 0 && entry->offset + entry->length > trailer->entries_offset)
			rc = -E_MALFORMED;
	}
	free(bytes);
	if (rc < 0)
		return rc;
	out->count = trailer->entry_count;
	return 0;
}

struct listing {
	struct disk_file *file;
	struct store_entries *out;
};

static int list_read(void *arg, void *out, uint32_t len, uint64_t offset)
{
	return disk_read(((struct listing *)arg)->file, out, len, offset);
}

static int list_record(void *arg, const struct segment_entry *entry)
{
	struct store_entries *out = ((struct listing *)arg)->out;
	int rc = cs_store_entries_reserve(out, 1);

	if (rc == 0)
		out->at[out->count++] = *entry;
	return rc;
}

int cs_store_list(struct disk_file *file, uint64_t number, struct store_entries *out)
{
	struct listing listing = {file, out};
	struct segment_trailer trailer;
	uint64_t file_bytes;
	int rc = cs_store_trailer_read(file, number, &trailer, &file_bytes);

	if (rc < 0)
		return rc;
	if (rc == 1) {
		rc = cs_store_footer_read(file, &trailer, out);
		if (rc != -E_CORRUPT && rc != -E_MALFORMED)
			return rc;
		file_bytes = trailer.entries_offset;
	}
	/* Without a good footer: what is there says itself what it is. */
	struct cs_scan scan = {
		.read = list_read,
		.on_record = list_record,
		.arg = &listing,
		.end = MIN_OF(file_bytes, STORE_SEGMENT_BYTES_MAX),
	};
	out->count = 0;
	return cs_scan_run(&scan);
}
