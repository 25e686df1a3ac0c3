/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading for walks over segments. A segment passes through one aligned window, so that sequential
 * items cost one large read a MiB.
 */
#include "chunk-server/scrub_read.h"

#include <stdlib.h>
#include <string.h>

#include "fs/hash/checksum.h"

#define FILL_ROWS 512u /* of a footer, looked at in one turn of the loop */

int cs_scrub_reader_init(struct cs_scrub_reader *r, struct disk *disk, enum hash_kind hash)
{
	r->disk = disk;
	r->hash = hash;
	r->window = aligned_alloc(DISK_ALIGN, SCRUB_WINDOW_BYTES);
	r->plain = malloc(BLOCK_BYTES_MAX);
	r->codec = codec_scratch_create();
	if (r->window != NULL && r->plain != NULL && r->codec != NULL)
		return 0;
	cs_scrub_reader_finish(r);
	return -E_NOMEM;
}

void cs_scrub_reader_finish(struct cs_scrub_reader *r)
{
	disk_close(r->file);
	free(r->entries);
	free(r->window);
	free(r->plain);
	if (r->codec != NULL)
		codec_scratch_destroy(r->codec);
	memset(r, 0, sizeof(*r));
}

/* --- the window ---- */

static void segment_close(struct cs_scrub_reader *r)
{
	disk_close(r->file);
	r->file = NULL;
	r->window_len = 0;
}

static int segment_open(struct cs_scrub_reader *r, uint64_t segment)
{
	char name[STORE_NAME_BYTES];

	if (r->file != NULL && r->segment == segment)
		return 0;
	segment_close(r);
	int rc = disk_open(r->disk, cs_store_segment_name(segment, name), DISK_READ | DISK_DIRECT,
			   &r->file);
	if (rc < 0)
		r->file = NULL;
	r->segment = segment;
	return rc;
}

static int window_fill(struct cs_scrub_reader *r, uint64_t offset)
{
	uint64_t start = offset / DISK_ALIGN * DISK_ALIGN;

	r->window_len = 0;
	int rc = disk_read(r->file, r->window, SCRUB_WINDOW_BYTES, start);
	if (rc < 0)
		return rc;
	r->window_at = start;
	r->window_len = (uint32_t)rc;
	return 0;
}

/* len <= RECORD_BYTES_MAX bytes at offset; NULL and *rc = 0: the file ends before. */
static const uint8_t *window_get(struct cs_scrub_reader *r, uint64_t offset, uint32_t len, int *rc)
{
	*rc = 0;
	if (offset < r->window_at || offset + len > r->window_at + r->window_len)
		*rc = window_fill(r, offset);
	if (*rc < 0 || offset + len > r->window_at + r->window_len)
		return NULL;
	return r->window + (offset - r->window_at);
}

/* --- footers ---- */

static int footer_trailer(struct cs_scrub_reader *r, struct segment_trailer *out)
{
	uint64_t file_bytes;
	int rc = disk_size(r->file, &file_bytes);

	if (rc < 0)
		return rc;
	if (file_bytes < SEGMENT_HEADER_BYTES + SEGMENT_TRAILER_BYTES)
		return -E_BAD_MAGIC;
	const uint8_t *bytes =
		window_get(r, file_bytes - SEGMENT_TRAILER_BYTES, SEGMENT_TRAILER_BYTES, &rc);
	if (bytes == NULL)
		return rc < 0 ? rc : -E_BAD_MAGIC;
	rc = segment_trailer_decode(bytes, file_bytes, out);
	if (rc == 0 && (out->number != r->segment || out->entry_count > STORE_ENTRIES_MAX))
		rc = -E_MALFORMED;
	return rc;
}

/* The bytes of all entries, checked: the caller's to free(). */
static int footer_bytes(struct cs_scrub_reader *r, const struct segment_trailer *trailer,
			uint8_t **out)
{
	uint32_t len = trailer->entry_count * SEGMENT_ENTRY_BYTES;
	uint8_t *all = malloc(MAX_OF(len, 1u));
	int rc = all != NULL ? 0 : -E_NOMEM;

	for (uint32_t at = 0; at < len && rc == 0; at += SEGMENT_ENTRY_BYTES) {
		const uint8_t *one =
			window_get(r, trailer->entries_offset + at, SEGMENT_ENTRY_BYTES, &rc);
		if (one == NULL)
			rc = rc < 0 ? rc : -E_CORRUPT;
		else
			memcpy(all + at, one, SEGMENT_ENTRY_BYTES);
	}
	if (rc == 0 && checksum_of(all, len) != trailer->entries_checksum)
		rc = -E_CORRUPT;
	if (rc < 0) {
		free(all);
		return rc;
	}
	*out = all;
	return 0;
}

static int footer_entries(struct cs_scrub_reader *r, const struct segment_trailer *trailer,
			  const uint8_t *bytes)
{
	free(r->entries);
	r->entry_count = 0;
	r->entries = malloc(MAX_OF(trailer->entry_count, 1u) * sizeof(*r->entries));
	if (r->entries == NULL)
		return -E_NOMEM;
	for (uint32_t i = 0; i < trailer->entry_count; i++) {
		struct segment_entry *e = &r->entries[i];
		int rc = segment_entry_decode(bytes + i * SEGMENT_ENTRY_BYTES, e);
		if (rc < 0)
			return rc;
		if (e->length > RECORD_BYTES_MAX || e->offset + e->length > trailer->entries_offset)
			return -E_MALFORMED;
	}
	r->entry_count = trailer->entry_count;
	return 0;
}

int cs_scrub_open(struct cs_scrub_reader *r, uint64_t segment)
{
	struct segment_trailer trailer;
	uint8_t *bytes = NULL;

	r->entry_count = 0;
	segment_close(r); /* what is in the window may be of an earlier pass */
	int rc = segment_open(r, segment);
	if (rc == 0)
		rc = footer_trailer(r, &trailer);
	if (rc == 0)
		rc = footer_bytes(r, &trailer, &bytes);
	if (rc < 0)
		return rc;
	rc = footer_entries(r, &trailer, bytes);
	free(bytes);
	return rc;
}

/* --- records ---- */

int cs_scrub_record(struct cs_scrub_reader *r, const struct cs_scrub_item *item,
		    const uint8_t **out)
{
	int rc = segment_open(r, item->segment);

	if (rc < 0)
		return rc == -E_NOENT ? -E_CORRUPT : rc;
	*out = window_get(r, item->entry.offset, item->entry.length, &rc);
	return *out != NULL ? 0 : rc < 0 ? rc : -E_CORRUPT;
}

static int record_read(struct cs_scrub_reader *r, const struct cs_scrub_item *item)
{
	const struct segment_entry *e = &item->entry;
	const uint8_t *bytes;
	struct record record;
	int rc = cs_scrub_record(r, item, &bytes);

	if (rc < 0)
		return rc;
	rc = r->is_deep ? record_prove(r->codec, r->hash, bytes, e->length, &record, r->plain)
			: record_check(bytes, e->length, &record);
	if (rc < 0)
		return rc == -E_NOMEM ? rc : -E_CORRUPT;
	return block_id_equal(&record.id, &e->id) ? 0 : -E_CORRUPT;
}

void cs_scrub_check(struct cs_scrub_reader *r)
{
	for (uint32_t i = 0; i < r->item_count; i++) {
		struct cs_scrub_item *item = &r->items[i];
		item->rc = record_read(r, item);
		if (item->rc == 0)
			continue;
		r->window_len = 0;
		item->rc = record_read(r, item);
	}
}

/* --- which records ---- */

/* Of a window that begins with `first`: is there room for `entry`? */
static bool window_takes(const struct cs_scrub_reader *r, const struct segment_entry *entry)
{
	uint64_t first = r->items[0].entry.offset;

	return r->item_count == 0 ||
	       entry->offset + entry->length <= first + SCRUB_WINDOW_BYTES - DISK_ALIGN;
}

void cs_scrub_fill(struct cs_scrub_reader *r, struct cs_scrub_fill *fill)
{
	r->item_count = 0;
	for (uint32_t looked = 0; looked < FILL_ROWS && r->item_count < SCRUB_ITEMS_MAX &&
				  fill->entry_at < r->entry_count;
	     looked++, fill->entry_at++) {
		struct cs_scrub_item item = {.entry = r->entries[fill->entry_at],
					     .segment = fill->segment};
		struct cs_place place;
		if (cs_store_find(fill->store, &item.entry.id, &place) < 0 ||
		    !cs_place_is_at(&place, item.segment, item.entry.offset))
			continue; /* it moved or went */
		item.entry.length = place.length;
		if (!window_takes(r, &item.entry))
			return;
		int wanted = fill->wants ? fill->wants(fill->arg, &item.entry.id, &place) : 1;
		if (wanted < 0)
			return;
		if (wanted > 0)
			r->items[r->item_count++] = item;
	}
}
