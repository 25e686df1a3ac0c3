/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading a journal directory: where do its good records end, and does anything behind that end
 * prove that records were lost after their sync?
 *
 * Foreign bytes (I8): nothing here trusts what it reads. Changes nothing.
 */
#include "metadata-server/journal_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *ms_journal_name(uint64_t first, char out[JOURNAL_NAME_BYTES])
{
	(void)snprintf(out, JOURNAL_NAME_BYTES, JOURNAL_DIR "/J-%016" PRIx64, first);
	return out;
}

/* --- the names -------------------------------------------------------------------------------- */

struct listing {
	uint64_t *firsts;
	uint32_t count, capacity;
	int rc;
};

static bool parse_name(const char *name, uint64_t *first)
{
	char *end;

	if (strncmp(name, "J-", 2) != 0 || strlen(name) != 18)
		return false;
	*first = strtoull(name + 2, &end, 16);
	return *end == '\0' && *first > 0;
}

static void list_take(void *arg, const char *name)
{
	struct listing *l = arg;
	uint64_t first;

	if (!parse_name(name, &first))
		return;
	if (l->count == l->capacity) {
		uint32_t capacity = l->capacity ? l->capacity * 2 : 64;
		uint64_t *firsts = capacity <= 2 * JOURNAL_PARTS_MAX ?
			realloc(l->firsts, capacity * sizeof(*firsts)) : NULL;
		if (!firsts) {
			l->rc = -E_NOMEM;
			return;
		}
		l->firsts = firsts;
		l->capacity = capacity;
	}
	l->firsts[l->count++] = first;
}

static int compare_firsts(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

int ms_journal_scan_list(struct disk *disk, uint64_t **firsts, uint32_t *count)
{
	struct listing l = { 0 };
	int rc = disk_list(disk, JOURNAL_DIR, list_take, &l);

	if (rc >= 0)
		rc = l.rc;
	if (rc < 0) {
		free(l.firsts);
		return rc;
	}
	if (l.count > 1)
		qsort(l.firsts, l.count, sizeof(*l.firsts), compare_firsts);
	*firsts = l.firsts;
	*count = l.count;
	return 0;
}

/* --- one file --------------------------------------------------------------------------------- */

int ms_journal_reader_init(struct ms_journal_reader *r, struct disk *disk, uint64_t first)
{
	char name[JOURNAL_NAME_BYTES];

	return ms_journal_reader_open(r, disk, ms_journal_name(first, name));
}

int ms_journal_reader_open(struct ms_journal_reader *r, struct disk *disk, const char *name)
{
	int rc;

	memset(r, 0, sizeof(*r));
	rc = disk_open(disk, name, DISK_READ, &r->file);
	if (rc < 0)
		return rc;
	rc = disk_size(r->file, &r->end);
	if (rc >= 0) {
		r->buffer = malloc(JOURNAL_READ_BYTES);
		rc = r->buffer ? 0 : -E_NOMEM;
	}
	if (rc < 0)
		ms_journal_reader_finish(r);
	return rc;
}

void ms_journal_reader_finish(struct ms_journal_reader *r)
{
	disk_close(r->file);
	free(r->buffer);
	memset(r, 0, sizeof(*r));
}

/*
 * Have the largest record, or all that is left, at offset in the buffer; returns how many bytes lie
 * there.
 */
static int reader_fill(struct ms_journal_reader *r, const uint8_t **at)
{
	uint64_t left = r->end - r->offset;
	uint64_t have = 0;
	int rc;

	if (r->offset >= r->buffer_offset && r->offset <= r->buffer_offset + r->buffer_len)
		have = r->buffer_offset + r->buffer_len - r->offset;
	if (have < MIN_OF(left, JOURNAL_RECORD_BYTES_MAX)) {
		rc = disk_read(r->file, r->buffer, (uint32_t)MIN_OF(left, JOURNAL_READ_BYTES),
			       r->offset);
		if (rc < 0)
			return rc;
		r->buffer_offset = r->offset;
		r->buffer_len = (uint32_t)rc;
		have = (uint32_t)rc;
	}
	*at = r->buffer + (r->offset - r->buffer_offset);
	return (int)have;
}

int ms_journal_reader_next(struct ms_journal_reader *r, struct journal_header *h,
			   const uint8_t **payload)
{
	const uint8_t *at;
	int rc;

	if (r->offset >= r->end)
		return 0;
	rc = reader_fill(r, &at);
	if (rc < 0)
		return rc;
	rc = journal_record_decode(at, (size_t)rc, h, payload);
	if (rc < 0)
		return rc;
	r->offset += (uint32_t)rc;
	return 1;
}

int ms_journal_reader_seek(struct ms_journal_reader *r)
{
	const uint8_t *at, *hit;
	struct journal_header h;
	const uint8_t *payload;
	int have;

	while (r->offset < r->end) {
		have = reader_fill(r, &at);
		if (have <= 0)
			return have;
		hit = memmem(at, (size_t)have, "CRNJ", 4);
		if (!hit) {	/* three bytes of the magic may lie at the buffer's end */
			r->offset += have > 3 ? (uint32_t)have - 3 : (uint32_t)have;
			continue;
		}
		r->offset += (uint64_t)(hit - at);
		have = reader_fill(r, &at);
		if (have < 0)
			return have;
		if (journal_record_decode(at, (size_t)have, &h, &payload) > 0)
			return 1;
		r->offset++;
	}
	return 0;
}

/* --- the directory ---------------------------------------------------------------------------- */

int ms_journal_reader_header(struct ms_journal_reader *r, uint64_t first, const uint8_t cluster[16],
			     struct journal_file_header *h)
{
	uint8_t bytes[JOURNAL_FILE_HEADER_BYTES];
	int rc = disk_read(r->file, bytes, sizeof(bytes), 0);

	if (rc < 0)
		return rc;
	if (rc < (int)sizeof(bytes) || journal_file_header_decode(bytes, h) < 0 ||
	    h->first_number != first)
		return -E_CORRUPT;
	r->offset = JOURNAL_FILE_HEADER_BYTES;
	return memcmp(h->cluster, cluster, sizeof(h->cluster)) == 0 ? 0 : -E_WRONG_CLUSTER;
}

/* What a damaged place hides: the highest number that a record behind it calls durable. */
static int prove(struct ms_journal_reader *r, struct ms_journal_scan *out)
{
	struct journal_header h;
	const uint8_t *payload;
	int rc;

	while ((rc = ms_journal_reader_seek(r)) > 0) {
		rc = ms_journal_reader_next(r, &h, &payload);
		if (rc < 0)
			return rc;
		if (h.lag > 0 && h.number >= h.lag)
			out->proved = MAX_OF(out->proved, h.number - h.lag);
	}
	return rc;
}

static bool is_damage(int rc)
{
	return rc == -E_CORRUPT || rc == -E_MALFORMED || rc == -E_BAD_MAGIC;
}

/*
 * Take records until the file ends or one is not what must come next. 0: whole; -E_CORRUPT: damage
 * at offset.
 */
static int scan_records(struct ms_journal_reader *r, struct ms_journal_scan *out)
{
	struct journal_header h;
	const uint8_t *payload;
	uint64_t offset = r->offset;
	int rc;

	while ((rc = ms_journal_reader_next(r, &h, &payload)) > 0) {
		if (h.number != out->last + 1 || h.term < out->last_term) {
			r->offset = offset;
			return -E_CORRUPT;
		}
		if (h.lag > 0 && h.number >= h.lag)
			out->proved = MAX_OF(out->proved, h.number - h.lag);
		out->last = h.number;
		out->last_term = h.term;
		offset = r->offset;
	}
	return is_damage(rc) ? -E_CORRUPT : rc;
}

/* One file. Returns 1: go on with the next, 0: the good records end here, or an error. */
static int scan_part(struct ms_journal_reader *r, uint64_t first, const uint8_t cluster[16],
		     struct ms_journal_scan *out)
{
	struct journal_file_header h = { .term = 0 };
	int rc = ms_journal_reader_header(r, first, cluster, &h);

	if (rc < 0 && rc != -E_CORRUPT)
		return rc;
	if (rc == 0) {
		if (out->part_count == 0 || first != out->last + 1) {
			/*
			 * the first; or older files came back behind a trim that was not synced:
			 * forget them
			 */
			out->part_count = 0;
			out->last = first - 1;
			out->last_term = h.term;
		}
		/* a file is synced before the next is begun */
		out->proved = MAX_OF(out->proved, first - 1);
		rc = scan_records(r, out);
		out->parts[out->part_count++] = (struct ms_journal_part){first, r->offset, h.term};
	}
	if (rc == 0)
		return 1;
	if (rc != -E_CORRUPT)
		return rc;
	out->bad_first = first;
	out->bad_offset = r->offset;
	out->bytes_after += r->end - r->offset;
	return 0;
}

int ms_journal_scan(struct disk *disk, const uint8_t cluster[16], struct ms_journal_scan *out,
		    struct error *err)
{
	struct ms_journal_reader r;
	uint64_t *firsts = NULL;
	uint32_t count = 0;
	bool ended = false;
	int rc;

	memset(out, 0, sizeof(*out));
	rc = ms_journal_scan_list(disk, &firsts, &count);
	if (rc < 0)
		return error_set(err, rc, "cannot list '%s'", JOURNAL_DIR);
	out->parts = calloc(count + 1, sizeof(*out->parts));
	if (!out->parts)
		rc = error_set(err, -E_NOMEM, "cannot read the journal");
	for (uint32_t i = 0; i < count && rc >= 0; i++) {
		char name[JOURNAL_NAME_BYTES];
		rc = ms_journal_reader_init(&r, disk, firsts[i]);
		if (rc >= 0 && !ended) {
			rc = scan_part(&r, firsts[i], cluster, out);
			ended = rc == 0;
		/* behind the end: a file that was begun proves the one before it */
		} else if (rc >= 0) {
			out->bytes_after += r.end;
			out->proved = MAX_OF(out->proved, firsts[i] - 1);
		}
		if (rc >= 0 && ended)
			rc = prove(&r, out);
		if (rc < 0)
			rc = error_set(err, rc, "cannot read '%s'",
				       ms_journal_name(firsts[i], name));
		ms_journal_reader_finish(&r);
	}
	free(firsts);
	if (rc < 0)
		ms_journal_scan_finish(out);
	return rc < 0 ? rc : 0;
}

int ms_journal_scan_proved(struct disk *disk, uint64_t first, uint64_t proved, uint64_t *end)
{
	struct ms_journal_reader r;
	struct journal_header h;
	const uint8_t *payload;
	int rc = ms_journal_reader_init(&r, disk, first);

	*end = 0;
	if (rc == -E_NOENT)
		return 0;
	if (rc < 0)
		return rc;
	*end = r.offset = MIN_OF(r.end, JOURNAL_FILE_HEADER_BYTES);
	while ((rc = ms_journal_reader_next(&r, &h, &payload)) > 0 && h.number <= proved)
		*end = r.offset;
	ms_journal_reader_finish(&r);
	return rc < 0 && !is_damage(rc) ? rc : 0;
}

void ms_journal_scan_finish(struct ms_journal_scan *s)
{
	free(s->parts);
	memset(s, 0, sizeof(*s));
}
