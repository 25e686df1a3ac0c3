/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chunk directories: superblocks, every record of every segment with its digest, footers, and the
 * log of what is owed. Comes to an index of good and bad copies.
 *
 * Bytes that are no record are a fault unless nothing needs them: behind the last record of an
 * unsealed segment they were never answered (torn), and where the footer or the header still says
 * which block lay there, another good copy on the same disk makes them dead weight.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chunk-server/format.h"
#include "chunk-server/scan.h"
#include "fs/base/bytes.h"
#include "fs/hash/checksum.h"
#include "tools/fsck_internal.h"

#define SEGMENT_PREFIX	   "seg-"
#define SEGMENTS_MAX	   (1u << 24)
#define FOOTER_ENTRIES_MAX (1u << 22)
#define OWED_ENTRY_BYTES   48u
#define OWED_CHECKED_BYTES 40u

/* --- superblocks ------------------------------------------------------------------------------ */

static int open_disk(struct fsck *f, struct fsck_dir *dir, struct error *err)
{
	int rc = fsck_open(f, dir, cs_format_read, err);

	if (rc <= 0)
		return rc;
	if (!f->has_super) { /* of the metadata it cannot be read: the disks agree among themselves
			      */
		f->super = dir->super;
		f->has_super = true;
	}
	if (memcmp(dir->super.cluster, f->super.cluster, sizeof f->super.cluster) != 0)
		fsck_fault(&f->report, FSCK_SUPERBLOCK, dir->path, "belongs to another cluster");
	else if (dir->super.hash != f->super.hash)
		fsck_fault(&f->report, FSCK_SUPERBLOCK, dir->path,
			   "names blocks by another digest");
	else
		dir->is_good = true;
	return 0;
}

int fsck_disks_open(struct fsck *f, struct error *err)
{
	for (uint32_t i = 0; i < f->options->disk_count; i++) {
		int rc;

		f->disks[i].path = f->options->disk_dirs[i];
		rc = open_disk(f, &f->disks[i], err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* --- one segment ------------------------------------------------------------------------------ */

struct numbers {
	uint64_t *at;
	uint32_t count, capacity;
	bool failed;
};

struct gap {
	uint64_t offset, bytes;
};

struct segment {
	struct fsck *f;
	struct fsck_dir *dir;
	uint32_t disk; /* index of dir */
	uint64_t number, bytes;
	struct disk_file *file;
	char path[PATH_MAX + 48];
	struct segment_entry *footer; /* by offset; NULL: not sealed */
	uint32_t footer_count, footer_at;
	bool is_last, is_sealed;
	struct gap *gaps;
	uint32_t gap_count, gap_capacity;
	uint64_t records;
	struct segment_entry first; /* record */
};

/* Work for repair, once for each segment. Without memory the fault stays. */
static void segment_later(struct segment *s, struct fsck_reseal **list, uint32_t *count,
			  uint32_t *capacity)
{
	const struct fsck_reseal *last = *count ? &(*list)[*count - 1] : NULL;

	if (last && last->disk == s->disk && last->segment == s->number)
		return;
	if (*count == *capacity) {
		uint32_t larger = *capacity ? *capacity * 2 : 16;
		struct fsck_reseal *grown = realloc(*list, larger * sizeof *grown);

		if (!grown)
			return;
		*list = grown;
		*capacity = larger;
	}
	(*list)[(*count)++] = (struct fsck_reseal){.disk = s->disk, .segment = s->number};
}

static void reseal_later(struct segment *s)
{
	segment_later(s, &s->f->reseals, &s->f->reseal_count, &s->f->reseal_capacity);
}

static void segment_fault(struct segment *s, const char *text)
{
	fsck_fault(&s->f->report, FSCK_SEGMENT, s->path, "%s", text);
}

/* A segment that no server uses as it is. */
static void segment_fault_later(struct segment *s, const char *text, bool is_foreign)
{
	struct fsck *f = s->f;

	segment_fault(s, text);
	segment_later(s, &f->reheads, &f->rehead_count, &f->rehead_capacity);
	if (f->rehead_count && f->reheads[f->rehead_count - 1].segment == s->number)
		f->reheads[f->rehead_count - 1].is_foreign = is_foreign;
}

static int index_copy(struct segment *s, const struct segment_entry *e, enum fsck_copy_state state)
{
	struct fsck_copy copy = {
		.id = e->id,
		.disk = s->disk,
		.segment = s->number,
		.offset = e->offset,
		.length = e->length,
		.plain_len = e->plain_len,
		.state = state,
	};

	return fsck_index_put(s->f, &copy);
}

static int scan_read(void *arg, void *out, uint32_t len, uint64_t offset)
{
	struct segment *s = arg;

	return disk_read(s->file, out, len, offset);
}

static bool entry_equal(const struct segment_entry *a, const struct segment_entry *b)
{
	return block_id_equal(&a->id, &b->id) && a->offset == b->offset && a->length == b->length &&
	       a->plain_len == b->plain_len && a->codec == b->codec;
}

/* Footer entries before `offset` that no record matched: what lay there is bad. */
static int skip_footer(struct segment *s, uint64_t offset)
{
	int rc = 0;

	while (rc == 0 && s->footer_at < s->footer_count && s->footer[s->footer_at].offset < offset)
		rc = index_copy(s, &s->footer[s->footer_at++], FSCK_COPY_BAD);
	return rc;
}

static int scan_record(void *arg, const struct segment_entry *e)
{
	struct segment *s = arg;
	struct fsck *f = s->f;
	enum fsck_copy_state state = FSCK_COPY_GOOD;
	struct record record;
	int rc = disk_read(s->file, f->record, e->length, e->offset);

	if (rc < 0)
		return rc;
	if (s->records++ == 0)
		s->first = *e;
	f->report.result->records++;
	f->report.result->record_bytes += e->length;
	fsck_progress(&f->report, "records", f->report.result->record_bytes, f->segment_bytes);
	rc = (uint32_t)rc < e->length ? -E_CORRUPT
				      : record_open(f->codec, f->super.hash, f->record, e->length,
						    true, &record, f->plain);
	if (rc == -E_CORRUPT || rc == -E_MALFORMED) {
		state = FSCK_COPY_BAD; /* told when all disks are known */
		rc = 0;
	}
	if (rc == 0)
		rc = skip_footer(s, e->offset);
	if (rc < 0)
		return rc;
	if (s->footer_at < s->footer_count && s->footer[s->footer_at].offset == e->offset) {
		if (!entry_equal(&s->footer[s->footer_at], e)) {
			fsck_fault(&f->report, FSCK_SEGMENT, s->path,
				   "footer describes the record at byte %" PRIu64 " wrongly",
				   e->offset);
			reseal_later(s);
		}
		s->footer_at++;
	} else if (s->footer) {
		reseal_later(s);
		fsck_fault(&f->report, FSCK_SEGMENT, s->path,
			   "footer does not list the record at byte %" PRIu64, e->offset);
	}
	return index_copy(s, e, state);
}

static void scan_damage(void *arg, uint64_t offset, uint64_t bytes)
{
	struct segment *s = arg;

	if (s->gap_count == s->gap_capacity) {
		uint32_t capacity = s->gap_capacity ? s->gap_capacity * 2 : 16;
		struct gap *grown = realloc(s->gaps, capacity * sizeof *grown);

		if (!grown) { /* named here at once rather than not at all */
			segment_fault(s, "holds bytes that are no record");
			return;
		}
		s->gaps = grown;
		s->gap_capacity = capacity;
	}
	s->gaps[s->gap_count++] = (struct gap){offset, bytes};
}

static int compare_entries(const void *a, const void *b)
{
	uint64_t x = ((const struct segment_entry *)a)->offset,
		 y = ((const struct segment_entry *)b)->offset;

	return x < y ? -1 : x > y;
}

/* The footer as it is written; -E_CORRUPT, -E_MALFORMED if it cannot be believed. */
static int read_footer(struct segment *s, const struct segment_trailer *t)
{
	uint64_t len = (uint64_t)t->entry_count * SEGMENT_ENTRY_BYTES;
	uint8_t *bytes;
	int rc;

	if (t->entry_count > FOOTER_ENTRIES_MAX)
		return -E_MALFORMED;
	bytes = malloc(len + 1);
	s->footer = calloc((size_t)t->entry_count + 1, sizeof *s->footer);
	rc = bytes && s->footer ? disk_read(s->file, bytes, (uint32_t)len, t->entries_offset)
				: -E_NOMEM;
	if (rc >= 0)
		rc = (uint64_t)rc == len && checksum_of(bytes, len) == t->entries_checksum
			     ? 0
			     : -E_CORRUPT;
	for (uint32_t i = 0; i < t->entry_count && rc == 0; i++) {
		rc = segment_entry_decode(bytes + (size_t)i * SEGMENT_ENTRY_BYTES, &s->footer[i]);
		if (rc == 0 && s->footer[i].offset + s->footer[i].length > t->entries_offset)
			rc = -E_MALFORMED;
	}
	free(bytes);
	if (rc < 0) {
		free(s->footer);
		s->footer = NULL;
		return rc;
	}
	s->footer_count = t->entry_count;
	if (s->footer_count)
		qsort(s->footer, s->footer_count, sizeof *s->footer, compare_entries);
	return 0;
}

/* Is what follows the tail a footer of this segment, in a file that ends with it? */
static bool looks_sealed(struct segment *s, uint64_t tail)
{
	uint64_t footer = s->records * SEGMENT_ENTRY_BYTES + SEGMENT_TRAILER_BYTES;
	uint8_t bytes[SEGMENT_ENTRY_BYTES];
	struct segment_entry e;

	if (s->records == 0 || s->bytes < tail + SEGMENT_TRAILER_BYTES)
		return false;
	if (s->bytes == tail + footer)
		return true;
	return disk_read(s->file, bytes, sizeof bytes, tail) == (int)sizeof bytes &&
	       segment_entry_decode(bytes, &e) == 0 && entry_equal(&e, &s->first) &&
	       s->bytes < tail + 2 * footer;
}

/* The blocks whose headers are still readable in a gap get a bad copy. Returns whether all of it is
 * told. */
static bool index_gap(struct segment *s, const struct gap *g, int *rc)
{
	uint64_t at = g->offset;

	while (at < g->offset + g->bytes) {
		uint8_t header[RECORD_HEADER_BYTES];
		struct record r;
		struct segment_entry e;

		if (disk_read(s->file, header, sizeof header, at) != (int)sizeof header ||
		    record_decode_header(header, &r) < 0)
			return false;
		e = (struct segment_entry){.id = r.id,
					   .offset = at,
					   .length = RECORD_HEADER_BYTES + r.stored_len,
					   .plain_len = r.plain_len,
					   .codec = r.codec};
		*rc = index_copy(s, &e, FSCK_COPY_BAD);
		if (*rc < 0)
			return true;
		at += DIV_CEIL((uint64_t)e.length, RECORD_ALIGN) * RECORD_ALIGN;
	}
	return at == g->offset + g->bytes;
}

static int judge_gaps(struct segment *s)
{
	int rc = 0;

	for (uint32_t i = 0; i < s->gap_count && rc == 0; i++) {
		const struct gap *g = &s->gaps[i];
		bool known =
			s->footer != NULL; /* its entries say what lay there, or that nothing did */

		if (!known)
			known = index_gap(s, g, &rc);
		if (known)
			continue;
		fsck_fault(&s->f->report, FSCK_SEGMENT, s->path,
			   "%" PRIu64 " bytes at byte %" PRIu64
			   " are no record, and nothing says which block they were",
			   g->bytes, g->offset);
		reseal_later(s);
	}
	return rc;
}

static int check_records(struct segment *s, uint64_t end)
{
	struct cs_scan scan = {
		.read = scan_read,
		.on_record = scan_record,
		.on_damage = scan_damage,
		.arg = s,
		.end = end,
	};
	int rc = cs_scan_run(&scan);

	if (rc == 0)
		rc = skip_footer(s, UINT64_MAX);
	if (rc == 0)
		rc = judge_gaps(s);
	if (rc < 0)
		return rc;
	if (s->footer)
		return 0;
	if (s->is_sealed || looks_sealed(s, scan.tail) || !s->is_last) {
		segment_fault(s, s->is_sealed || s->is_last ? "footer is damaged"
							    : "has no good footer");
		reseal_later(s);
		return 0;
	}
	s->dir->last_is_open = true;
	if (scan.is_torn)
		fsck_note(&s->f->report, s->path,
			  "torn tail at byte %" PRIu64
			  ": it was never answered, the next start cuts it",
			  scan.tail);
	return 0;
}

static int check_opened(struct segment *s)
{
	static const uint8_t zeros[SEGMENT_HEADER_BYTES];
	uint8_t bytes[SEGMENT_TRAILER_BYTES];
	struct segment_header header = {.number = 0};
	struct segment_trailer trailer;
	int rc = disk_size(s->file, &s->bytes);

	if (rc == 0)
		rc = disk_read(s->file, bytes, SEGMENT_HEADER_BYTES, 0);
	if (rc < 0)
		return rc;
	s->dir->last_is_empty = s->is_last && ((uint32_t)rc < SEGMENT_HEADER_BYTES ||
					       memcmp(bytes, zeros, sizeof zeros) == 0);
	if (s->dir->last_is_empty)
		fsck_note(&s->f->report, s->path,
			  "was being made, holds nothing; the next start removes it");
	else if ((uint32_t)rc < SEGMENT_HEADER_BYTES || segment_header_decode(bytes, &header) < 0) {
		segment_fault_later(s, "header is damaged: a server leaves this segment alone",
				    false);
	} else if (header.number != s->number ||
		 memcmp(header.cluster, s->dir->super.cluster, UUID_BYTES) != 0 ||
		 memcmp(header.disk, s->dir->super.directory, UUID_BYTES) != 0)
		segment_fault_later(s, "belongs to another disk: a server leaves it alone", true);
	else if (s->bytes >= SEGMENT_HEADER_BYTES + SEGMENT_TRAILER_BYTES &&
		 disk_read(s->file, bytes, sizeof bytes, s->bytes - sizeof bytes) ==
			 (int)sizeof bytes &&
		 segment_trailer_decode(bytes, s->bytes, &trailer) == 0 &&
		 trailer.number == s->number) {
		s->is_sealed = true;
		rc = read_footer(s, &trailer);
		if (rc < 0 && rc != -E_CORRUPT && rc != -E_MALFORMED)
			return rc;
		return check_records(s, trailer.entries_offset);
	} else {
		return check_records(s, s->bytes);
	}
	return 0; /* of what cannot be used no copy counts */
}

static int check_segment(struct fsck *f, uint32_t disk, uint64_t number, bool is_last)
{
	struct segment s = {
		.f = f, .dir = &f->disks[disk], .disk = disk, .number = number, .is_last = is_last};
	char name[64];
	int rc;

	(void)snprintf(name, sizeof name, "segments/" SEGMENT_PREFIX "%016" PRIx64, number);
	(void)snprintf(s.path, sizeof s.path, "%s/%s", s.dir->path, name);
	rc = disk_open(s.dir->disk, name, DISK_READ, &s.file);
	if (rc == 0) {
		rc = check_opened(&s);
		disk_close(s.file);
	}
	free(s.footer);
	free(s.gaps);
	if (rc == -E_IO) { /* the disk itself refuses: of this segment no copy more counts */
		segment_fault(&s, "cannot be read to its end");
		return 0;
	}
	return rc;
}

/* --- how much there is ------------------------------------------------------------------------ */

struct size_sum {
	struct disk *disk;
	uint64_t bytes;
};

static void size_add(void *arg, const char *name)
{
	struct size_sum *s = arg;
	struct disk_file *file;
	char path[PATH_MAX];
	uint64_t bytes = 0;

	(void)snprintf(path, sizeof path, "segments/%s", name);
	if (strncmp(name, SEGMENT_PREFIX, strlen(SEGMENT_PREFIX)) != 0 ||
	    disk_open(s->disk, path, DISK_READ, &file) < 0)
		return;
	if (disk_size(file, &bytes) == 0)
		s->bytes += bytes;
	disk_close(file);
}

static void measure(struct fsck *f)
{
	for (uint32_t i = 0; f->options->progress && i < f->options->disk_count; i++) {
		struct size_sum s = {.disk = f->disks[i].disk};

		if (f->disks[i].is_good && disk_list(s.disk, "segments", size_add, &s) >= 0)
			f->segment_bytes += s.bytes;
	}
}

/* --- all segments of a disk ------------------------------------------------------------------- */

static void take_number(void *arg, const char *name)
{
	struct numbers *n = arg;
	const char *digits = name + strlen(SEGMENT_PREFIX);

	if (strncmp(name, SEGMENT_PREFIX, strlen(SEGMENT_PREFIX)) != 0 || strlen(digits) != 16 ||
	    strspn(digits, "0123456789abcdef") != 16 || n->count == SEGMENTS_MAX)
		return;
	if (n->count == n->capacity) {
		uint32_t capacity = n->capacity ? n->capacity * 2 : 64;
		uint64_t *grown = realloc(n->at, capacity * sizeof *grown);

		if (!grown) {
			n->failed = true;
			return;
		}
		n->at = grown;
		n->capacity = capacity;
	}
	n->at[n->count++] = strtoull(digits, NULL, 16);
}

static int compare_numbers(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static int check_disk(struct fsck *f, uint32_t disk)
{
	struct fsck_dir *dir = &f->disks[disk];
	struct numbers n = {.at = NULL};
	int rc = disk_list(dir->disk, "segments", take_number, &n);

	if (rc == -E_NOENT) {
		fsck_fault(&f->report, FSCK_SEGMENT, dir->path, "folder 'segments' is missing");
		dir->has_no_segments = true;
		rc = 0;
	}
	if (n.failed)
		rc = -E_NOMEM;
	if (n.count)
		qsort(n.at, n.count, sizeof *n.at, compare_numbers);
	for (uint32_t i = 0; i < n.count && rc == 0; i++)
		rc = check_segment(f, disk, n.at[i], i + 1 == n.count);
	if (n.count)
		dir->last_segment = n.at[n.count - 1];
	free(n.at);
	return rc;
}

/* --- owed ------------------------------------------------------------------------------------- */

/* 1: taken; 0: the entry is damaged; or an error. */
static int take_owed(struct fsck *f, const uint8_t *bytes, uint64_t *bad)
{
	struct rd r = rd_init(bytes, OWED_ENTRY_BYTES);
	uint8_t op = rd_u8(&r);
	struct block_id id;
	server_no server;
	int rc;

	rd_zeros(&r, 3);
	server = rd_u32(&r);
	rd_bytes(&r, id.bytes, sizeof id.bytes);
	if (rd_u64(&r) != checksum_of(bytes, OWED_CHECKED_BYTES) || !rd_done(&r) || op < 1 ||
	    op > 2) {
		(*bad)++;
		return 0;
	}
	rc = fsck_index_owe(f, &id, server, op == 1);
	return rc < 0 ? rc : 1;
}

static int check_owed(struct fsck *f, struct fsck_dir *dir)
{
	struct disk_file *file;
	uint8_t bytes[OWED_ENTRY_BYTES];
	char path[PATH_MAX + 8];
	uint64_t offset = 0, bad = 0, bad_middle = 0, size = 0;
	int rc = disk_open(dir->disk, "owed", DISK_READ, &file);

	if (rc < 0)
		return rc == -E_NOENT ? 0 : rc;
	rc = disk_size(file, &size);
	for (; rc == 0 && offset + OWED_ENTRY_BYTES <= size; offset += OWED_ENTRY_BYTES) {
		rc = disk_read(file, bytes, sizeof bytes, offset);
		if (rc >= 0)
			rc = take_owed(f, bytes, &bad);
		if (rc > 0) {
			bad_middle = bad;
			rc = 0;
		}
	}
	disk_close(file);
	(void)snprintf(path, sizeof path, "%s/owed", dir->path);
	if (bad_middle)
		fsck_fault(&f->report, FSCK_OWED, path, "%" PRIu64 " entries are damaged",
			   bad_middle);
	else if (bad || size % OWED_ENTRY_BYTES)
		fsck_note(&f->report, path, "torn tail");
	return rc < 0 ? rc : 0;
}

/* --- all -------------------------------------------------------------------------------------- */

/* Which server of the map has this disk? Before its segments are read, so that copies are counted
 * for it. */
static void name_server(struct fsck *f, struct fsck_dir *dir)
{
	for (uint32_t i = 0; f->map && i < map_server_count(f->map); i++)
		if (memcmp(map_server_at(f->map, i)->uuid, dir->super.server, SERVER_UUID_BYTES) ==
		    0)
			dir->server = map_server_at(f->map, i)->server;
}

static int tell_bad(struct fsck *f)
{
	struct fsck_copy c = {.state = FSCK_COPY_BAD};
	char hex[BLOCK_ID_HEX_BYTES], path[PATH_MAX + 64];
	int rc;

	for (rc = fsck_index_next_bad(f, &c, true); rc == 0;
	     rc = fsck_index_next_bad(f, &c, false)) {
		(void)snprintf(path, sizeof path, "%s/segments/" SEGMENT_PREFIX "%016" PRIx64,
			       f->disks[c.disk].path, c.segment);
		block_id_hex(&c.id, hex);
		if (fsck_index_has_good(f, &c, true)) {
			fsck_note(&f->report, path,
				  "record at byte %" PRIu64
				  " is damaged, but this disk has block %s "
				  "elsewhere",
				  c.offset, hex);
			continue;
		}
		fsck_fault(&f->report, FSCK_SEGMENT, path,
			   "record at byte %" PRIu64 " is damaged: block %s", c.offset, hex);
		if (!fsck_index_has_good(f, &c, false))
			continue;
		rc = fsck_index_want(f, &c.id, c.disk);
		if (rc < 0)
			return rc;
		}
	return rc == -E_NOENT ? 0 : rc;
}

static void tell_stranger(struct fsck *f, const struct fsck_dir *dir, uint64_t before)
{
	if (dir->server || !f->state)
		return;
	if (f->report.result->records > before)
		fsck_fault(&f->report, FSCK_PLACEMENT, dir->path,
			   "holds records of a server that the map does not know: "
			   "metadata is older than this disk");
	else
		fsck_note(&f->report, dir->path, "its server has not joined the cluster");
}

int fsck_disks(struct fsck *f, struct error *err)
{
	int rc;

	measure(f);
	for (uint32_t i = 0; i < f->options->disk_count; i++) {
		struct fsck_dir *dir = &f->disks[i];
		uint64_t before = f->report.result->records;

		if (!dir->is_good)
			continue;
		name_server(f, dir);
		rc = check_disk(f, i);
		if (rc == 0)
			rc = check_owed(f, dir);
		if (rc < 0)
			return error_set(err, rc, "cannot check '%s'", dir->path);
		tell_stranger(f, dir, before);
	}
	rc = tell_bad(f);
	return rc < 0 ? error_set(err, rc, "cannot use '%s'", f->scratch) : 0;
}
