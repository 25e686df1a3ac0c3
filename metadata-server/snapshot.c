/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing and reading snapshots (format: fs/disk/journal_record.h).
 *
 * Keeps I3: a snapshot holds every row but the applied one, in key order, from one read
 * transaction. What is read is checked to the last byte before it counts (I8).
 */
#include "metadata-server/snapshot.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/log.h"
#include "fs/hash/checksum.h"

#define LOG_MODULE "snapshot"

#define NAME_BYTES	MS_SNAPSHOT_NAME_BYTES
#define TEMPORARY	MS_SNAPSHOT_DIR "/new"
#define BUFFER_BYTES	(KiB(256))
#define ROW_BYTES_MAX	(SNAPSHOT_ROW_HEADER_BYTES + ROW_KEY_BYTES_MAX + ROW_VALUE_BYTES_MAX)
#define LIST_MAX	64u
#define COMMIT_ROWS	65536u	/* rows loaded in one transaction of the view */

_Static_assert(ROW_BYTES_MAX <= BUFFER_BYTES, "a row fits the buffer");

char *ms_snapshot_name(uint64_t number, char out[NAME_BYTES])
{
	(void)snprintf(out, NAME_BYTES, MS_SNAPSHOT_DIR "/S-%016" PRIx64, number);
	return out;
}

static bool is_applied_row(const struct row *row)
{
	return row->key_len == MS_APPLIED_KEY_BYTES &&
	       memcmp(row->key, MS_APPLIED_KEY, row->key_len) == 0;
}

/* --- the applied row -------------------------------------------------------------------------- */

int ms_snapshot_applied(struct rows *rows, uint64_t *term, uint64_t *number)
{
	const void *value;
	uint32_t len;
	struct rd r;
	int rc = rows_get(rows, MS_APPLIED_KEY, MS_APPLIED_KEY_BYTES, &value, &len);

	if (rc < 0)
		return rc;
	r = rd_init(value, len);
	*term = rd_u64(&r);
	*number = rd_u64(&r);
	return rd_done(&r) ? 0 : -E_MALFORMED;
}

int ms_snapshot_set_applied(struct rows *rows, uint64_t term, uint64_t number)
{
	uint8_t value[16];
	struct wr w = wr_init(value, sizeof(value));

	wr_u64(&w, term);
	wr_u64(&w, number);
	return rows_put(rows, MS_APPLIED_KEY, MS_APPLIED_KEY_BYTES, value, sizeof(value));
}

struct snapshot_header ms_snapshot_header(const struct super *super, uint64_t term, uint64_t number)
{
	struct snapshot_header h = {
		.term = term, .number = number, .name_key = super->name_key,
		.hash = (uint8_t)super->hash, .copies = super->copies,
		.min_copies = super->min_copies, .incompat = (uint32_t)super->incompat,
	};

	memcpy(h.cluster, super->cluster, sizeof(h.cluster));
	return h;
}

/* --- writing ---------------------------------------------------------------------------------- */

struct writer {
	struct disk_file *file;
	uint8_t *buffer;
	uint32_t len;
	uint64_t offset, bytes_max;
	struct snapshot_trailer trailer;
};

static int writer_flush(struct writer *w)
{
	int rc = w->offset + w->len <= w->bytes_max ? 0 : -E_NOSPC;

	if (rc == 0 && w->len > 0)
		rc = disk_write(w->file, w->buffer, w->len, w->offset);
	w->offset += w->len;
	w->len = 0;
	return rc < 0 ? rc : 0;
}

/* Room for `len` bytes in the buffer. */
static int writer_room(struct writer *w, uint32_t len)
{
	return w->len + len > BUFFER_BYTES ? writer_flush(w) : 0;
}

static int write_row(struct writer *w, const struct row *row)
{
	uint32_t len = SNAPSHOT_ROW_HEADER_BYTES + row->key_len + row->value_len;
	struct wr out;
	int rc = writer_room(w, len);

	if (rc < 0)
		return rc;
	out = wr_init(w->buffer + w->len, len);
	wr_u16(&out, (uint16_t)row->key_len);
	wr_u16(&out, 0);
	wr_u32(&out, row->value_len);
	wr_bytes(&out, row->key, row->key_len);
	wr_bytes(&out, row->value, row->value_len);
	ASSERT(wr_ok(&out));
	w->trailer.checksum = checksum_seeded(w->buffer + w->len, len, w->trailer.checksum);
	w->trailer.row_count++;
	w->len += len;
	return 0;
}

static int write_all(struct writer *w, struct rows_snapshot *rows, const struct snapshot_header *h)
{
	struct row row;
	int rc;

	snapshot_header_encode(h, w->buffer);
	w->len = SNAPSHOT_HEADER_BYTES;
	while ((rc = rows_snapshot_next(rows, &row)) > 0) {
		if (is_applied_row(&row))
			continue;
		rc = write_row(w, &row);
		if (rc < 0)
			return rc;
	}
	if (rc < 0)
		return rc;
	rc = writer_room(w, SNAPSHOT_ROW_HEADER_BYTES + SNAPSHOT_TRAILER_BYTES);
	if (rc < 0)
		return rc;
	memset(w->buffer + w->len, 0, SNAPSHOT_ROW_HEADER_BYTES);
	w->len += SNAPSHOT_ROW_HEADER_BYTES;
	snapshot_trailer_encode(&w->trailer, w->buffer + w->len);
	w->len += SNAPSHOT_TRAILER_BYTES;
	return writer_flush(w);
}

int ms_snapshot_write(struct disk *disk, struct rows_snapshot *rows,
		      const struct snapshot_header *h, uint64_t bytes_max, uint64_t *bytes)
{
	struct writer w = { .bytes_max = bytes_max };
	int rc = disk_open(disk, TEMPORARY, DISK_WRITE | DISK_CREATE, &w.file);

	if (rc < 0)
		return rc;
	w.buffer = malloc(BUFFER_BYTES);
	rc = w.buffer ? disk_truncate(w.file, 0) : -E_NOMEM;
	if (rc >= 0)
		rc = write_all(&w, rows, h);
	if (rc >= 0)
		rc = disk_sync(w.file);
	*bytes = w.offset;
	free(w.buffer);
	disk_close(w.file);
	if (rc < 0 && disk_unlink(disk, TEMPORARY) < 0)
		log_warn("cannot remove '%s'", TEMPORARY);	/* the next one overwrites it */
	return rc < 0 ? rc : 0;
}

static int copy_bytes(struct disk_file *from, struct disk_file *to, uint8_t *buffer)
{
	uint64_t bytes;
	int rc = disk_size(from, &bytes);

	for (uint64_t at = 0; at < bytes && rc >= 0;) {
		rc = disk_read(from, buffer, (uint32_t)MIN_OF(bytes - at, BUFFER_BYTES), at);
		if (rc == 0)
			rc = -E_IO;
		if (rc < 0)
			break;
		at += (uint32_t)rc;
		rc = disk_write(to, buffer, (uint32_t)rc, at - (uint32_t)rc);
	}
	return rc < 0 ? rc : disk_sync(to);
}

static int copy_file(struct disk *from, const char *name, struct disk *to)
{
	struct disk_file *in = NULL, *out = NULL;
	uint8_t *buffer = malloc(BUFFER_BYTES);
	int rc = buffer ? disk_open(from, name, DISK_READ, &in) : -E_NOMEM;

	if (rc >= 0)
		rc = disk_open(to, TEMPORARY, DISK_WRITE | DISK_CREATE, &out);
	if (rc >= 0)
		rc = disk_truncate(out, 0);
	if (rc >= 0)
		rc = copy_bytes(in, out, buffer);
	disk_close(in);
	disk_close(out);
	free(buffer);
	if (rc < 0 && disk_unlink(to, TEMPORARY) < 0)
		log_debug("cannot remove '%s'", TEMPORARY);	/* the next one overwrites it */
	return rc < 0 ? rc : 0;
}

int ms_snapshot_copy(struct disk *from, struct disk *to)
{
	return copy_file(from, TEMPORARY, to);
}

int ms_snapshot_publish(struct disk *disk, const struct snapshot_header *h)
{
	char name[NAME_BYTES];
	int rc;

	rc = disk_rename(disk, TEMPORARY, ms_snapshot_name(h->number, name));
	if (rc >= 0)
		rc = disk_sync_dir(disk, MS_SNAPSHOT_DIR);
	if (rc < 0)
		return rc;
	ms_snapshot_drop(disk, MS_SNAPSHOTS_KEPT);
	return 0;
}

void ms_snapshot_drop(struct disk *disk, uint32_t kept)
{
	uint64_t numbers[LIST_MAX];
	char name[NAME_BYTES];
	int count = ms_snapshot_list(disk, numbers, LIST_MAX);

	for (int i = (int)kept; i < count; i++) {
		int rc = disk_unlink(disk, ms_snapshot_name(numbers[i], name));

		if (rc < 0)
			log_warn("cannot remove '%s': %s", name, error_text(rc));
	}
}

/* --- the names -------------------------------------------------------------------------------- */

struct listing {
	uint64_t *numbers;
	uint32_t count, capacity;
};

/* Keep the list sorted, newest first; beyond capacity the oldest fall off. */
static void list_take(void *arg, const char *name)
{
	struct listing *l = arg;
	uint64_t number;
	uint32_t i;
	char *end;

	if (strncmp(name, "S-", 2) != 0 || strlen(name) != 18)
		return;
	number = strtoull(name + 2, &end, 16);
	if (*end != '\0')
		return;
	for (i = 0; i < l->count && l->numbers[i] > number; i++)
		;
	if (i == l->capacity)
		return;
	if (l->count == l->capacity)
		l->count--;
	memmove(&l->numbers[i + 1], &l->numbers[i], (l->count - i) * sizeof(*l->numbers));
	l->numbers[i] = number;
	l->count++;
}

int ms_snapshot_list(struct disk *disk, uint64_t *numbers, uint32_t capacity)
{
	struct listing l = { numbers, 0, capacity };
	int rc = disk_list(disk, MS_SNAPSHOT_DIR, list_take, &l);

	return rc < 0 ? rc : (int)l.count;
}

/* --- reading ---------------------------------------------------------------------------------- */

struct reader {
	struct disk_file *file;
	uint8_t *buffer;
	uint32_t at, len;	/* of the buffer: next byte, end */
	uint64_t offset;	/* in the file, of the buffer's end */
	uint64_t end;
	uint8_t last_key[ROW_KEY_BYTES_MAX];
	uint32_t last_key_len;
};

/* Have `len` bytes at reader->at; -E_CORRUPT where the file is too short. */
static int reader_need(struct reader *r, uint32_t len)
{
	int rc;

	if (r->len - r->at >= len)
		return 0;
	memmove(r->buffer, r->buffer + r->at, r->len - r->at);
	r->len -= r->at;
	r->at = 0;
	rc = disk_read(r->file, r->buffer + r->len,
		       (uint32_t)MIN_OF(BUFFER_BYTES - r->len, r->end - r->offset), r->offset);
	if (rc < 0)
		return rc;
	r->len += (uint32_t)rc;
	r->offset += (uint32_t)rc;
	return r->len >= len ? 0 : -E_CORRUPT;
}

static bool is_behind(const struct reader *r, const struct row *row)
{
	int order = memcmp(row->key, r->last_key, MIN_OF(row->key_len, r->last_key_len));

	return order > 0 || (order == 0 && row->key_len > r->last_key_len);
}

/* 1: a row, its bytes in the buffer; 0: the end of the rows; or an error. */
static int read_row(struct reader *r, struct row *row, uint64_t *checksum)
{
	struct rd head;
	uint32_t len;
	bool is_zero;
	int rc = reader_need(r, SNAPSHOT_ROW_HEADER_BYTES);

	if (rc < 0)
		return rc;
	head = rd_init(r->buffer + r->at, SNAPSHOT_ROW_HEADER_BYTES);
	row->key_len = rd_u16(&head);
	is_zero = rd_u16(&head) == 0;
	row->value_len = rd_u32(&head);
	if (!is_zero || row->key_len > ROW_KEY_BYTES_MAX || row->value_len > ROW_VALUE_BYTES_MAX)
		return -E_CORRUPT;
	if (row->key_len == 0) {
		r->at += SNAPSHOT_ROW_HEADER_BYTES;
		return row->value_len == 0 ? 0 : -E_CORRUPT;
	}
	len = SNAPSHOT_ROW_HEADER_BYTES + row->key_len + row->value_len;
	rc = reader_need(r, len);
	if (rc < 0)
		return rc;
	row->key = r->buffer + r->at + SNAPSHOT_ROW_HEADER_BYTES;
	row->value = row->key + row->key_len;
	if (!is_behind(r, row))
		return -E_CORRUPT;
	memcpy(r->last_key, row->key, row->key_len);
	r->last_key_len = row->key_len;
	*checksum = checksum_seeded(r->buffer + r->at, len, *checksum);
	r->at += len;
	return 1;
}

static int read_trailer(struct reader *r, const struct snapshot_trailer *found)
{
	struct snapshot_trailer t;
	int rc = reader_need(r, SNAPSHOT_TRAILER_BYTES);

	if (rc >= 0)
		rc = snapshot_trailer_decode(r->buffer + r->at, &t);
	if (rc < 0)
		return rc;
	r->at += SNAPSHOT_TRAILER_BYTES;
	if (t.row_count != found->row_count || t.checksum != found->checksum)
		return -E_CORRUPT;
	return r->at == r->len && r->offset == r->end ? 0 : -E_MALFORMED;
}

static int read_all(struct reader *r, struct snapshot_header *out, ms_snapshot_row_fn fn, void *arg)
{
	struct snapshot_trailer found = { 0 };
	struct row row;
	int rc = reader_need(r, SNAPSHOT_HEADER_BYTES);

	if (rc >= 0)
		rc = snapshot_header_decode(r->buffer, out);
	if (rc < 0)
		return rc;
	r->at = SNAPSHOT_HEADER_BYTES;
	while ((rc = read_row(r, &row, &found.checksum)) > 0) {
		found.row_count++;
		rc = fn ? fn(arg, &row) : 0;
		if (rc < 0)
			return rc;
	}
	return rc < 0 ? rc : read_trailer(r, &found);
}

int ms_snapshot_read_file(struct disk *disk, const char *name, struct snapshot_header *out,
			  ms_snapshot_row_fn fn, void *arg)
{
	struct reader *r = calloc(1, sizeof(*r));
	int rc;

	if (!r)
		return -E_NOMEM;
	rc = disk_open(disk, name, DISK_READ, &r->file);
	if (rc >= 0)
		rc = disk_size(r->file, &r->end);
	if (rc >= 0) {
		r->buffer = malloc(BUFFER_BYTES);
		rc = r->buffer ? read_all(r, out, fn, arg) : -E_NOMEM;
	}
	free(r->buffer);
	disk_close(r->file);
	free(r);
	return rc;
}

int ms_snapshot_read(struct disk *disk, uint64_t number, struct snapshot_header *out,
		     ms_snapshot_row_fn fn, void *arg)
{
	char name[NAME_BYTES];
	int rc = ms_snapshot_read_file(disk, ms_snapshot_name(number, name), out, fn, arg);

	return rc >= 0 && out->number != number ? -E_MALFORMED : rc;
}

int ms_snapshot_info(struct disk *disk, uint64_t number, struct ms_snapshot_info *out)
{
	uint8_t bytes[SNAPSHOT_HEADER_BYTES];
	struct snapshot_header h;
	struct disk_file *file;
	char name[NAME_BYTES];
	int rc = disk_open(disk, ms_snapshot_name(number, name), DISK_READ, &file);

	if (rc < 0)
		return rc;
	rc = disk_size(file, &out->bytes);
	if (rc >= 0)
		rc = disk_read(file, bytes, sizeof(bytes), 0);
	disk_close(file);
	if (rc < 0)
		return rc;
	rc = rc == (int)sizeof(bytes) ? snapshot_header_decode(bytes, &h) : -E_MALFORMED;
	if (rc < 0)
		return rc;
	out->term = h.term;
	out->number = h.number;
	return h.number == number ? 0 : -E_MALFORMED;
}

/* --- another directory ------------------------------------------------------------------------ */

static int bring_up_one(struct disk *from, struct disk *to, uint64_t number)
{
	struct ms_snapshot_info theirs, ours;
	char name[NAME_BYTES];
	int rc = ms_snapshot_info(from, number, &ours);

	if (rc < 0)
		return 0;	/* damaged: nothing to hand on */
	rc = ms_snapshot_info(to, number, &theirs);
	if (rc == 0 && theirs.bytes == ours.bytes && theirs.term == ours.term)
		return 0;
	ms_snapshot_name(number, name);
	rc = copy_file(from, name, to);
	return rc < 0 ? rc : disk_rename(to, TEMPORARY, name);
}

static int drop_beyond(struct disk *disk, uint64_t last)
{
	uint64_t numbers[LIST_MAX];
	char name[NAME_BYTES];
	int count = ms_snapshot_list(disk, numbers, LIST_MAX), rc = count;

	for (int i = 0; i < count && numbers[i] > last && rc >= 0; i++)
		rc = disk_unlink(disk, ms_snapshot_name(numbers[i], name));
	return rc;
}

int ms_snapshot_bring_up(struct disk *from, struct disk *to, uint64_t last)
{
	uint64_t numbers[MS_SNAPSHOTS_KEPT];
	int count = ms_snapshot_list(from, numbers, MS_SNAPSHOTS_KEPT), rc = count;

	if (rc >= 0)
		rc = drop_beyond(to, last);
	for (int i = 0; i < count && rc >= 0; i++)
		if (numbers[i] <= last)
			rc = bring_up_one(from, to, numbers[i]);
	return rc < 0 ? rc : disk_sync_dir(to, MS_SNAPSHOT_DIR);
}

/* --- loading ---------------------------------------------------------------------------------- */

struct load {
	struct rows *rows;
	uint32_t uncommitted;
};

static int load_row(void *arg, const struct row *row)
{
	struct load *load = arg;
	int rc;

	if (is_applied_row(row))
		return -E_MALFORMED;
	rc = rows_put(load->rows, row->key, row->key_len, row->value, row->value_len);
	if (rc < 0 || ++load->uncommitted < COMMIT_ROWS)
		return rc;
	load->uncommitted = 0;
	return rows_commit(load->rows);
}

/*
 * Until the applied row is there, last, the rows are nobody's view: a crash in between is found by
 * that.
 */
int ms_snapshot_load_file(struct disk *disk, const char *name, const uint8_t cluster[16],
			  struct rows *rows, struct snapshot_header *out)
{
	struct load load = { rows, 0 };
	int rc = rows_clear(rows);

	if (rc >= 0)
		rc = rows_commit(rows);
	if (rc >= 0)
		rc = ms_snapshot_read_file(disk, name, out, load_row, &load);
	if (rc >= 0 && memcmp(out->cluster, cluster, sizeof(out->cluster)) != 0)
		rc = -E_WRONG_CLUSTER;
	if (rc >= 0)
		rc = ms_snapshot_set_applied(rows, out->term, out->number);
	if (rc >= 0)
		rc = rows_commit(rows);
	if (rc < 0)
		rows_abort(rows);
	return rc;
}

int ms_snapshot_load(struct disk *disk, const uint8_t cluster[16], struct rows *rows,
		     struct snapshot_header *out, struct error *err)
{
	uint64_t numbers[LIST_MAX];
	char name[NAME_BYTES];
	int count = ms_snapshot_list(disk, numbers, LIST_MAX);
	int rc = -E_NOENT;

	if (count < 0)
		return error_set(err, count, "cannot list '%s'", MS_SNAPSHOT_DIR);
	for (int i = 0; i < count; i++) {
		rc = ms_snapshot_load_file(disk, ms_snapshot_name(numbers[i], name), cluster, rows,
					   out);
		if (rc >= 0 && out->number == numbers[i])
			return 0;
		if (rc >= 0)
			rc = -E_MALFORMED;
		if (rc == -E_NOSPC)	/* the rows are full: an older snapshot would not help */
			return error_set(err, rc, "cannot load '%s' into the rows", name);
		log_error("cannot load '%s': %s", name, error_text(rc));
	}
	if (count == 0)
		return error_say(err, -E_NOENT, "there is no snapshot in '%s'", MS_SNAPSHOT_DIR);
	return error_set(err, rc, "no snapshot in '%s' is good, the last one tried, '%s'",
			 MS_SNAPSHOT_DIR, name);
}
