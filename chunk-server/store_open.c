/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening a store: which segments are there, what the index lacks, where the tail is.
 *
 * Sealed segments say in their footer what they hold; the others are scanned. What is torn is cut,
 * a bad middle is stepped over and counted, and every segment but the last is sealed. The tail is
 * synced before anything is answered (I4). The index is kept only if it is trusted and reaches no
 * further than the segments (I15); else it is emptied and rebuilt.
 */
#include "chunk-server/store_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chunk-server/scan.h"
#include "fs/base/log.h"

#define LOG_MODULE "store"

#define COMMIT_EVERY 16384u /* rows of one transaction while rebuilding */
#define SEGMENTS_MAX (1u << 24)
#define COPY_BYTES   MiB(1)

/* --- recovery ---- */

struct recovery {
	struct cs_store *store;
	struct error *err;
	uint64_t *numbers; /* of the segments found, rising */
	uint32_t count, capacity;
	int list_rc;
	bool index_is_kept; /* else it is being built */
	bool fits;	    /* it covers no more than there is */
	uint32_t uncommitted;
	/* of the segment being read */
	struct disk_file *file;
	uint64_t number;
	uint64_t covered; /* the index knows its records before this offset */
	struct store_entries entries;
};

static void list_fn(void *arg, const char *name)
{
	struct recovery *r = arg;
	const char *digits = name + strlen(STORE_PREFIX);
	char *end;

	if (strncmp(name, STORE_PREFIX, strlen(STORE_PREFIX)) != 0 || strlen(digits) != 16 ||
	    strspn(digits, "0123456789abcdef") != 16) {
		log_warn("ignoring '%s' among the segments", name);
		return;
	}
	uint64_t number = strtoull(digits, &end, 16);
	if (number == 0 || number > UINT32_MAX || r->count >= SEGMENTS_MAX) {
		log_warn("ignoring '%s': its number is out of bounds", name);
		return;
	}
	if (r->count == r->capacity) {
		uint32_t capacity = MAX_OF(64u, r->capacity * 2);
		uint64_t *numbers = realloc(r->numbers, capacity * sizeof(*numbers));
		if (numbers == NULL) {
			r->list_rc = -E_NOMEM;
			return;
		}
		r->numbers = numbers;
		r->capacity = capacity;
	}
	r->numbers[r->count++] = number;
}

static int number_compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static int list_segments(struct recovery *r)
{
	int rc = disk_mkdir(r->store->options.disk, STORE_DIR);

	if (rc == 0)
		rc = disk_list(r->store->options.disk, STORE_DIR, list_fn, r);
	if (rc >= 0)
		rc = r->list_rc;
	if (rc < 0)
		return error_set(r->err, rc, "cannot list the segments");
	if (r->count > 0)
		qsort(r->numbers, r->count, sizeof(*r->numbers), number_compare);
	return 0;
}

static int entry_add(struct recovery *r, const struct segment_entry *entry)
{
	if (entry->offset < r->covered)
		return 0;
	int rc = cs_store_index_add(r->store, r->number, entry);
	if (rc < 0)
		return rc;
	if (++r->uncommitted < COMMIT_EVERY)
		return 0;
	r->uncommitted = 0;
	/* Without a state row: a rebuild that is interrupted starts again. */
	return r->index_is_kept ? cs_store_index_commit(r->store)
				: rows_commit(r->store->options.index);
}

static void count_damage(struct recovery *r, uint64_t offset, const char *what)
{
	r->store->counts.damaged++;
	log_error("%s seg=%" PRIu64 " off=%" PRIu64, what, r->number, offset);
}

static int scan_read(void *arg, void *out, uint32_t len, uint64_t offset)
{
	struct recovery *r = arg;

	return disk_read(r->file, out, len, offset);
}

static int scan_record(void *arg, const struct segment_entry *entry)
{
	struct recovery *r = arg;
	int rc = cs_store_entries_reserve(&r->entries, 1);

	if (rc < 0)
		return rc;
	r->entries.at[r->entries.count++] = *entry;
	return entry_add(r, entry);
}

static void scan_damage(void *arg, uint64_t offset, uint64_t bytes)
{
	(void)bytes;
	count_damage(arg, offset, "skipping what is no record");
}

static int scan_segment(struct recovery *r, uint64_t end, struct cs_scan *scan)
{
	*scan = (struct cs_scan){
		.read = scan_read,
		.on_record = scan_record,
		.on_damage = scan_damage,
		.arg = r,
		.end = MIN_OF(end, STORE_SEGMENT_BYTES_MAX),
	};
	r->entries.count = 0;
	return cs_scan_run(scan);
}

/* Index what the footer lists; -E_CORRUPT or -E_MALFORMED if it cannot be believed. */
static int index_footer(struct recovery *r, const struct segment_trailer *trailer)
{
	int rc = cs_store_footer_read(r->file, trailer, &r->entries);

	for (uint32_t i = 0; i < r->entries.count && rc == 0; i++)
		rc = entry_add(r, &r->entries.at[i]);
	return rc;
}

/*
 * I4: a sync that failed may have left pages that are read but never reach the disk, and no later
 * sync fails for them. Only the segment written last can have such: its bytes are written again.
 */
static int write_again(struct recovery *r, uint64_t end)
{
	uint8_t *bytes = r->store->options.tail_is_durable ? NULL : malloc(COPY_BYTES);
	int rc = 0;

	if (r->store->options.tail_is_durable)
		return 0;
	if (bytes == NULL)
		return -E_NOMEM;
	for (uint64_t at = 0; at < end && rc >= 0; at += (uint64_t)rc) {
		rc = disk_read(r->file, bytes, (uint32_t)MIN_OF(COPY_BYTES, end - at), at);
		if (rc == 0)
			break; /* it ends here */
		int written = rc > 0 ? disk_write(r->file, bytes, (uint32_t)rc, at) : 0;
		if (written < 0)
			rc = written;
	}
	free(bytes);
	return rc < 0 ? rc : 0;
}

/* The segment is there: what does the index know of it? */
static int segment_begin(struct recovery *r)
{
	struct store_segment *segment = cs_store_segment_add(r->store, r->number);

	if (segment == NULL)
		return -E_NOMEM;
	segment->has_file = true;
	r->covered = SEGMENT_HEADER_BYTES + segment->bytes;
	return 0;
}

/* Its records are indexed up to `end`. */
static void segment_end(struct recovery *r, uint64_t end)
{
	struct store_segment *segment = cs_store_segment_find(r->store, r->number);

	if (r->covered > end)
		r->fits = false;
	if (r->covered == end)
		return;
	segment->bytes = end - SEGMENT_HEADER_BYTES;
	cs_store_segment_changed(r->store, segment);
}

static int recover_sealed(struct recovery *r, const struct segment_trailer *trailer)
{
	struct cs_scan scan;
	int rc = segment_begin(r);

	if (rc == 0 && r->covered != trailer->entries_offset)
		rc = index_footer(r, trailer);
	if (rc == -E_CORRUPT || rc == -E_MALFORMED) {
		count_damage(r, trailer->entries_offset, "footer is damaged, scanning the records");
		rc = scan_segment(r, trailer->entries_offset, &scan);
	}
	if (rc == 0)
		segment_end(r, trailer->entries_offset);
	return rc;
}

/* Scan; cut what is torn. The last one goes on as the active segment if it has room, else it is
 * sealed. */
static int recover_unsealed(struct recovery *r, uint64_t file_bytes, bool is_last)
{
	struct cs_store *store = r->store;
	struct cs_scan scan;
	int rc = segment_begin(r);

	if (rc == 0)
		rc = scan_segment(r, file_bytes, &scan);
	if (rc < 0)
		return rc;
	segment_end(r, scan.tail);
	if (scan.is_torn || scan.tail > file_bytes) {
		log_warn("cutting a torn tail seg=%" PRIu64 " off=%" PRIu64, r->number, scan.tail);
		rc = disk_truncate(r->file, scan.tail);
		if (rc < 0)
			return rc;
		file_bytes = scan.tail;
	}
	bool has_room = scan.tail + RECORD_BYTES_MAX < store->options.segment_bytes &&
			r->entries.count < STORE_ENTRIES_MAX;
	rc = write_again(r, scan.tail);
	if (rc < 0)
		return rc;
	if (!is_last || !has_room)
		return cs_store_seal(r->file, r->number, scan.tail, &r->entries);
	/* Without room for the preallocation the segment is used as long as writes succeed. */
	if (file_bytes < store->options.segment_bytes)
		(void)!disk_allocate(r->file, store->options.segment_bytes);
	rc = disk_sync(r->file);
	if (rc < 0)
		return rc;
	store->active = cs_store_file_add(store, r->number, r->file);
	if (store->active == NULL)
		return -E_NOMEM;
	r->file = NULL;
	store->tail = scan.tail;
	store->durable_tail = scan.tail;
	store->entries = r->entries;
	r->entries = (struct store_entries){0};
	return 0;
}

/* 1: an ordinary segment; 0: nothing of ours, stepped over; or an error. */
static int check_header(struct recovery *r, bool is_last)
{
	const struct cs_store_options *options = &r->store->options;
	uint8_t bytes[SEGMENT_HEADER_BYTES];
	struct segment_header header;
	char name[STORE_NAME_BYTES];
	int rc = disk_read(r->file, bytes, sizeof(bytes), 0);

	if (rc < 0)
		return rc;
	if (rc < (int)sizeof(bytes) || segment_header_decode(bytes, &header) < 0) {
		static const uint8_t zeros[SEGMENT_HEADER_BYTES];
		bool is_unborn =
			rc < (int)sizeof(bytes) || memcmp(bytes, zeros, sizeof(bytes)) == 0;
		if (is_last && is_unborn) {
			/* A crash before its header was synced: no record can be in it. */
			disk_close(r->file);
			r->file = NULL;
			rc = disk_unlink(options->disk, cs_store_segment_name(r->number, name));
			return rc < 0 ? rc : 0;
		}
		count_damage(r, 0, "segment header is damaged, leaving the segment alone");
		return 0;
	}
	if (header.number != r->number ||
	    memcmp(header.cluster, options->cluster, UUID_BYTES) != 0 ||
	    memcmp(header.disk, options->disk_uuid, UUID_BYTES) != 0) {
		count_damage(r, 0, "segment belongs to another disk, leaving it alone");
		return 0;
	}
	return 1;
}

static int recover_file(struct recovery *r, bool is_last)
{
	struct segment_trailer trailer;
	uint64_t file_bytes;
	int rc = check_header(r, is_last);

	if (rc <= 0)
		return rc;
	rc = cs_store_trailer_read(r->file, r->number, &trailer, &file_bytes);
	if (rc < 0)
		return rc;
	/*
	 * Of the one written last the footer may have reached the disk, and records not: believed,
	 * it would lead to those instead of older ones that they were to replace (I4).
	 */
	bool is_sealed = rc == 1 && (!is_last || r->store->options.tail_is_durable);
	return is_sealed ? recover_sealed(r, &trailer) : recover_unsealed(r, file_bytes, is_last);
}

static int recover_segment(struct recovery *r, uint32_t index)
{
	char name[STORE_NAME_BYTES];

	r->number = r->numbers[index];
	cs_store_segment_name(r->number, name);
	int rc = disk_open(r->store->options.disk, name, DISK_WRITE | DISK_RANDOM, &r->file);
	if (rc == 0) {
		rc = recover_file(r, index + 1 == r->count);
		disk_close(r->file);
		r->file = NULL;
	}
	if (rc < 0)
		return error_set(r->err, rc, "cannot recover '%s'", name);
	return 0;
}

/* Start over with an empty index. */
static int index_reset(struct recovery *r)
{
	struct cs_store *store = r->store;

	store->counts = (struct store_counts){.damaged = 0};
	cs_store_segments_forget(store);
	r->index_is_kept = false;
	store->was_rebuilt = true;
	int rc = rows_clear(store->options.index);
	if (rc == 0)
		rc = rows_commit(store->options.index);
	if (rc < 0)
		return error_set(r->err, rc, "cannot empty the index");
	return 0;
}

static int recover_all(struct recovery *r)
{
	r->fits = true;
	for (uint32_t i = 0; i < r->count; i++) {
		int rc = recover_segment(r, i);
		if (rc < 0)
			return rc;
	}
	/* I15: rows of a segment that is gone lead nowhere. */
	for (uint32_t i = 0; i < r->store->segment_count; i++)
		r->fits = r->fits && r->store->segments[i].has_file;
	return 0;
}

static void forget_active(struct cs_store *store)
{
	cs_store_files_close(store);
	store->active = NULL;
	free(store->entries.at);
	store->entries = (struct store_entries){0};
}

static int recover(struct recovery *r)
{
	struct cs_store *store = r->store;
	int rc = list_segments(r);

	if (rc < 0)
		return rc;
	r->index_is_kept = store->options.index_is_trusted && cs_store_index_load(store) == 0;
	if (!r->index_is_kept) {
		rc = index_reset(r);
		if (rc < 0)
			return rc;
	}
	rc = recover_all(r);
	if (rc == 0 && r->index_is_kept && !r->fits) {
		log_warn("index does not match the segments: building it again");
		forget_active(store);
		rc = index_reset(r);
		if (rc == 0)
			rc = recover_all(r);
	}
	if (rc < 0)
		return rc;
	store->next_number = r->count > 0 ? r->numbers[r->count - 1] + 1 : 1;
	rc = cs_store_index_commit(store);
	if (rc < 0)
		return error_set(r->err, rc, "cannot write the index");
	/* Names of segments, and of those removed, are durable before we answer. */
	rc = disk_sync_dir(store->options.disk, STORE_DIR);
	if (rc < 0)
		return error_set(r->err, rc, "cannot sync the segments' directory");
	store->was_whole = r->index_is_kept && store->counts.damaged == 0;
	return 0;
}

/* A segment is never more than a 32nd of its disk, so that small disks are usable too. */
static int clip_segment_bytes(struct cs_store *store, struct error *err)
{
	struct cs_store_options *options = &store->options;
	struct disk_space space;
	int rc = disk_space(options->disk, &space);

	if (rc < 0)
		return error_set(err, rc, "cannot ask the disk for its space");
	uint64_t most = MAX_OF(space.bytes_total / 32, MiB(1));
	options->segment_bytes =
		MIN_OF(options->segment_bytes, MIN_OF(most, STORE_SEGMENT_BYTES_MAX));
	options->segment_bytes -= options->segment_bytes % 4096;
	if (options->segment_bytes < STORE_SEGMENT_BYTES_MIN || options->full_percent > 100)
		return error_set(err, -E_INVAL, "cannot use segments of %" PRIu64 " bytes",
				 options->segment_bytes);
	return 0;
}

int cs_store_open(const struct cs_store_options *options, struct cs_store **out, struct error *err)
{
	struct cs_store *store = calloc(1, sizeof(*store));
	struct recovery r = {.store = store, .err = err};

	if (store == NULL)
		return error_set(err, -E_NOMEM, "cannot open the store");
	store->options = *options;
	store->media = media_profile(options->media);
	store->generation = 1;
	int rc = clip_segment_bytes(store, err);
	if (rc == 0)
		rc = recover(&r);
	free(r.numbers);
	free(r.entries.at);
	if (rc < 0) {
		rows_abort(store->options.index);
		cs_store_drop(store);
		return rc;
	}
	store->is_open = true;
	store->pump_timer.fn = cs_store_turn_ended;
	cs_store_compact_init(store);
	*out = store;
	return 0;
}

/* --- the end ---- */

bool cs_store_is_idle(const struct cs_store *store)
{
	return !store->is_writing && !store->is_syncing && !store->is_rolling &&
	       !store->is_cutting && store->reads == 0 && store->tasks == 0 &&
	       store->queue == NULL && store->compact.state == COMPACT_RESTS;
}

void cs_store_drop(struct cs_store *store)
{
	if (store == NULL)
		return;
	loop_timer_stop(store->options.loop, &store->sync_timer);
	loop_timer_stop(store->options.loop, &store->pump_timer);
	cs_store_compact_finish(store);
	cs_store_queue_drop(store);
	if (store->is_rolling)
		disk_close(store->roll.made); /* its loop died before it was told */
	forget_active(store);
	cs_store_segments_forget(store);
	free(store);
}

int cs_store_close(struct cs_store *store)
{
	int rc = 0;

	if (store == NULL)
		return 0;
	ASSERT(cs_store_is_idle(store));
	if (store->is_failed)
		rc = -E_IO;
	else if (store->active != NULL && store->dirty_bytes > 0)
		rc = disk_sync(store->active->file);
	if (rc < 0)
		log_error("cannot sync the store at its end: %s", error_text(rc));
	cs_store_drop(store);
	return rc;
}

void cs_store_stats(const struct cs_store *store, struct cs_store_stats *out)
{
	struct disk_space space;

	*out = (struct cs_store_stats){
		.blocks = store->counts.blocks,
		.bytes_stored = store->counts.bytes_stored,
		.bytes_plain = store->counts.bytes_plain,
		.blocks_trash = store->counts.blocks_trash,
		.bytes_trash = store->counts.bytes_trash,
		.bytes_dead = cs_store_segments_dead(store),
		.damaged = store->counts.damaged,
		.segments = store->segment_count,
		.is_failed = store->is_failed,
		.was_rebuilt = store->was_rebuilt,
	};
	memcpy(out->bytes_codec, store->counts.bytes_codec, sizeof(out->bytes_codec));
	if (disk_space(store->options.disk, &space) < 0)
		return;
	out->bytes_total = space.bytes_total;
	if (store->is_failed)
		return;
	out->bytes_free = cs_store_segments_left(&store->options, CS_PUT_ORDINARY, &space) *
			  store->options.segment_bytes;
	/* A segment that was taken from the reserve is not for everybody. */
	if (store->active != NULL && store->level == CS_PUT_ORDINARY)
		out->bytes_free += store->options.segment_bytes -
				   MIN_OF(store->tail, store->options.segment_bytes);
	/* Indexes grow on the same disk, at the cost of the last segment. */
	out->bytes_free -= MIN_OF(out->bytes_free, store->options.segment_bytes);
}

bool cs_store_is_failed(const struct cs_store *store)
{
	return store->is_failed;
}

bool cs_store_was_whole(const struct cs_store *store)
{
	return store->was_whole;
}
