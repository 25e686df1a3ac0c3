/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From copies of snapshot and journal to a metadata directory.
 *
 * Foreign bytes (I8): names, headers, records and rows are checked as they come. The chain of
 * records is that of one history: numbers rise by one, terms never fall, and what a file of a later
 * name holds counts instead of what an earlier one has from there on (an earlier history that a
 * rescue had to abandon).
 */
#include "metadata-server/rescue.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/text.h"
#include "fs/placement/map.h"
#include "fs/wire/heal.h"
#include "metadata-server/format.h"
#include "metadata-server/journal_internal.h"
#include "metadata-server/key.h"
#include "metadata-server/recover.h"
#include "metadata-server/snapshot.h"

#define COMMIT_RECORDS	16384u
#define COMMIT_ROWS	16384u
#define PATH_BYTES	96u
/* Nobody gives out so many in the seconds that are lost; and 2^31 rescues fit. */
#define JUMP		HEAL_RESCUE_JUMP
/*
 * Nor so many a second. By the clock, so that two rescues of one copy do not come to the same: the
 * server that the first one made has lived, and chunk servers know its terms and epochs.
 */
#define JUMP_PER_S	(UINT64_C(1) << 20)
#define JUMP_SERVERS	100u

/* --- files ------------------------------------------------------------------------------------ */

static bool parse_number(const char *text, char end, uint64_t *out, const char **rest)
{
	size_t len = strspn(text, "0123456789");
	char digits[24];

	if (len == 0 || len >= sizeof(digits) || text[len] != end)
		return false;
	memcpy(digits, text, len);
	digits[len] = '\0';
	*rest = text + len + 1;
	return text_parse_u64(digits, out) >= 0;
}

bool ms_rescue_parse(const char *name, struct ms_rescue_file *out)
{
	const char *rest;

	memset(out, 0, sizeof(*out));
	if (!parse_number(name, '-', &out->term, &rest) ||
	    !parse_number(rest, '.', &out->number, &rest))
		return false;
	out->is_snapshot = strcmp(rest, "snapshot") == 0;
	return out->is_snapshot || strcmp(rest, "journal") == 0;
}

int ms_rescue_compare(const struct ms_rescue_file *a, const struct ms_rescue_file *b)
{
	if (a->term != b->term)
		return a->term < b->term ? -1 : 1;
	if (a->number != b->number)
		return a->number < b->number ? -1 : 1;
	if (a->is_snapshot != b->is_snapshot)
		return a->is_snapshot ? -1 : 1;
	return a->bytes < b->bytes ? -1 : a->bytes > b->bytes;
}

static void file_path(const struct ms_rescue_file *f, char out[PATH_BYTES])
{
	(void)snprintf(out, PATH_BYTES, MS_RESCUE_DIR "/%" PRIu64 "-%" PRIu64 ".%s", f->term,
		       f->number, f->is_snapshot ? "snapshot" : "journal");
}

struct listing {
	struct ms_rescue_file *files;
	uint32_t count;
};

static void list_take(void *arg, const char *name)
{
	struct listing *l = arg;

	if (l->count < MS_RESCUE_FILES_MAX && ms_rescue_parse(name, &l->files[l->count]))
		l->count++;
}

static int compare_files(const void *a, const void *b)
{
	return ms_rescue_compare(a, b);
}

static int list_files(struct disk *disk, struct listing *l)
{
	int rc;

	l->count = 0;
	l->files = calloc(MS_RESCUE_FILES_MAX, sizeof(*l->files));
	if (!l->files)
		return -E_NOMEM;
	rc = disk_list(disk, MS_RESCUE_DIR, list_take, l);
	if (rc >= 0 && l->count > 1)
		qsort(l->files, l->count, sizeof(*l->files), compare_files);
	return rc == -E_NOENT ? 0 : rc;
}

/* --- the chain of records --------------------------------------------------------------------- */

struct chain {
	struct disk *disk;
	struct ms_rescue *r;
	struct rows *rows;
	struct ms_txn *txn;
	struct error *err;
	uint32_t uncommitted;
};

static void cut(struct chain *c, const char *format, ...) printf_like(2, 3);
static void cut(struct chain *c, const char *format, ...)
{
	va_list args;

	c->r->is_cut = true;
	va_start(args, format);
	(void)vsnprintf(c->r->why, sizeof(c->r->why), format, args);
	va_end(args);
}

static int chain_commit(struct chain *c)
{
	int rc = ms_txn_flush(c->txn);

	c->uncommitted = 0;
	return rc < 0 ? rc : rows_commit(c->rows);
}

/* 1: taken, or of no interest; 0: the chain ends before it; or our rows refuse. */
static int take_record(struct chain *c, const struct journal_header *h, const uint8_t *payload)
{
	struct ms_rescue *r = c->r;
	int rc;

	if (h->number <= r->number)
		return 1;
	if (h->number != r->number + 1 || h->term < r->term) {
		cut(c, "records behind %" PRIu64 " are missing", r->number);
		return 0;
	}
	rc = ms_txn_apply(c->txn, payload, h->payload_len);
	if (rc == -E_MALFORMED) {
		cut(c, "record %" PRIu64 " is damaged", h->number);
		return 0;
	}
	if (rc < 0)
		return rc;
	r->number = h->number;
	r->term = h->term;
	r->wall_ns = h->wall_ns;
	if (++c->uncommitted < COMMIT_RECORDS)
		return 1;
	rc = chain_commit(c);
	return rc < 0 ? rc : 1;
}

/* Records of one file up to `last`. 1: go on with the next file, 0: the chain ends, or an error. */
static int take_records(struct chain *c, struct ms_journal_reader *reader, const char *path,
			uint64_t last)
{
	struct journal_header h;
	const uint8_t *payload;
	uint64_t bad;
	int rc;

	while ((rc = ms_journal_reader_next(reader, &h, &payload)) > 0) {
		if (h.number > last)
			return 1;
		rc = take_record(c, &h, payload);
		if (rc <= 0)
			return rc;
	}
	if (rc == 0 || c->r->number >= last)
		return 1;
	/* A piece may end inside a record: at the end of the newest file that is no damage. */
	bad = reader->offset++;
	if (last < UINT64_MAX || rc == -E_IO || ms_journal_reader_seek(reader) != 0)
		cut(c, "'%s' is damaged at byte %" PRIu64 ": %s", path, bad, error_text(rc));
	return 0;
}

static int take_file(struct chain *c, const struct ms_rescue_file *file, uint64_t last)
{
	struct journal_file_header h;
	struct ms_journal_reader reader;
	char path[PATH_BYTES];
	int rc;

	file_path(file, path);
	rc = ms_journal_reader_open(&reader, c->disk, path);
	if (rc < 0) {
		cut(c, "'%s' cannot be read: %s", path, error_text(rc));
		return rc == -E_NOMEM ? rc : 0;
	}
	rc = ms_journal_reader_header(&reader, file->number, c->r->super.cluster, &h);
	if (rc == 0 && h.term != file->term)
		rc = -E_CORRUPT;
	if (rc < 0) {
		cut(c, "'%s' has a bad header: %s", path, error_text(rc));
		rc = 0;
	} else {
		rc = take_records(c, &reader, path, last);
	}
	ms_journal_reader_finish(&reader);
	return rc;
}

/* Files that come later in the order count instead, from their first record on. */
static uint64_t last_of(const struct listing *l, uint32_t index)
{
	uint64_t last = UINT64_MAX;

	for (uint32_t i = index + 1; i < l->count; i++)
		if (!l->files[i].is_snapshot)
			last = MIN_OF(last, l->files[i].number - 1);
	return last;
}

static int follow(struct chain *c, const struct listing *l)
{
	int rc = 1;

	for (uint32_t i = 0; i < l->count && rc > 0; i++) {
		uint64_t last = last_of(l, i);

		if (!l->files[i].is_snapshot && l->files[i].number > 0 && last > c->r->number)
			rc = take_file(c, &l->files[i], last);
	}
	if (rc >= 0)
		rc = chain_commit(c);
	return rc;
}

/* --- loading ---------------------------------------------------------------------------------- */

static void super_from(const struct snapshot_header *h, struct super *out)
{
	*out = (struct super){
		.role = SUPER_METADATA, .hash = (enum hash_kind)h->hash, .copies = h->copies,
		.min_copies = h->min_copies, .incompat = h->incompat, .name_key = h->name_key,
	};
	memcpy(out->cluster, h->cluster, sizeof(out->cluster));
}

/* The newest good snapshot; every one that is not is told of in err. */
static int load_snapshot(struct disk *disk, const struct listing *l, const uint8_t cluster[16],
			 struct rows *rows, struct ms_rescue *out, struct error *err)
{
	struct snapshot_header h;
	char path[PATH_BYTES];
	int rc = error_say(err, -E_NOENT, "it keeps no whole snapshot");

	for (uint32_t i = l->count; i-- > 0;) {
		if (!l->files[i].is_snapshot)
			continue;
		file_path(&l->files[i], path);
		rc = ms_snapshot_load_file(disk, path, cluster, rows, &h);
		if (rc >= 0 &&
		    (h.number != l->files[i].number || h.term != l->files[i].term || h.copies == 0))
			rc = -E_MALFORMED;
		if (rc >= 0) {
			super_from(&h, &out->super);
			out->term = h.term;
			out->number = out->snapshot_number = h.number;
			return 0;
		}
		(void)error_set(err, rc, "'%s' cannot be used", path);
		if (rc == -E_NOSPC || rc == -E_NOMEM)
			return rc;
	}
	return rc;
}

int ms_rescue_load(struct disk *disk, const uint8_t cluster[16], struct rows *rows,
		   struct ms_rescue *out, struct error *err)
{
	struct chain c = { .disk = disk, .r = out, .rows = rows, .err = err };
	struct listing l;
	int rc = list_files(disk, &l);

	memset(out, 0, sizeof(*out));
	if (rc < 0) {
		free(l.files);
		return error_set(err, rc, "cannot list '%s'", MS_RESCUE_DIR);
	}
	rc = load_snapshot(disk, &l, cluster, rows, out, err);
	if (rc >= 0) {
		rc = ms_txn_create(rows, &c.txn);
		if (rc >= 0)
			rc = follow(&c, &l);
		ms_txn_destroy(c.txn);
		if (rc < 0)
			(void)error_set(err, rc, "cannot apply the journal behind record %" PRIu64,
					out->number);
	}
	free(l.files);
	return rc < 0 ? rc : 0;
}

/* --- the jump --------------------------------------------------------------------------------- */

static uint64_t far_from(uint64_t number, uint64_t now_ns)
{
	return MAX_OF(number + JUMP, now_ns / 1000000000u * JUMP_PER_S);
}

typedef int (*change_fn)(struct ms_txn *txn, const struct row *row, uint64_t now_ns);

/* Every row of a range of types: read one, change it, go on behind it. */
static int each_row(struct ms_txn *txn, enum ms_key_type first, enum ms_key_type last, change_fn fn,
		    uint64_t now_ns)
{
	struct ms_key at = ms_key_one(first);
	struct row row;
	int rc;

	while ((rc = ms_txn_next(txn, at.bytes, at.len, &row)) == 0 &&
	       row.key[0] <= (uint8_t)last) {
		if (row.key_len >= sizeof(at.bytes))
			return -E_CORRUPT;
		memcpy(at.bytes, row.key, row.key_len);
		at.len = row.key_len;
		rc = fn(txn, &row, now_ns);
		if (rc < 0)
			return rc;
		at.bytes[at.len++] = 0;
	}
	return rc == -E_NOENT ? 0 : rc;
}

static int drop_row(struct ms_txn *txn, const struct row *row, uint64_t now_ns)
{
	(void)now_ns;
	uint8_t key[ROW_KEY_BYTES_MAX];
	uint32_t len = row->key_len;

	memcpy(key, row->key, len);
	ms_txn_del(txn, key, len);
	return 0;
}

static int jump_counters(struct ms_txn *txn, const struct row *row, uint64_t now_ns)
{
	struct ms_key key = ms_key_one(MS_KEY_COUNTERS);
	uint8_t value[MS_COUNTERS_BYTES];
	struct ms_counters v;
	int rc = ms_key_counters_decode(row->value, row->value_len, &v);

	if (rc < 0)
		return rc;
	v.inode_limit = far_from(v.inode_limit, now_ns);
	v.flags |= MS_COUNTERS_PUBLISHED;	/* the chunk servers hold data, whatever is named */
	ms_key_counters_encode(&v, value);
	ms_txn_put(txn, key.bytes, key.len, value, sizeof(value));
	return 0;
}

/*
 * Servers may have gone on under rows that are lost: whatever each of them has is to be brought
 * together.
 */
static int jump_pg(struct ms_txn *txn, const struct row *row, uint64_t now_ns)
{
	uint8_t value[PG_ROW_BYTES_MAX];
	struct pg_row pg;
	struct rd r;
	struct ms_key key;
	int rc = pg_row_decode(row->value, row->value_len, &pg);

	if (rc < 0 || !ms_key_is(row, MS_KEY_PG, &r))
		return -E_CORRUPT;
	key = ms_key_pg(rd_be16(&r));
	pg.epoch = far_from(pg.epoch, now_ns);
	pg.state = PG_DEGRADED;
	ms_txn_put(txn, key.bytes, key.len, value, (uint32_t)pg_row_encode(&pg, value));
	return 0;
}

static int jump_map(struct ms_txn *txn, const struct row *row, uint64_t now_ns)
{
	struct ms_key key = ms_key_one(MS_KEY_MAP);
	uint8_t value[MS_MAP_VALUE_BYTES];
	struct ms_map_value v;
	int rc = ms_key_map_decode(row->value, row->value_len, &v);

	if (rc < 0)
		return rc;
	v.version = far_from(v.version, now_ns);
	/* what is owed to one that joined lately is not owed to the next */
	v.last_server += JUMP_SERVERS;
	ms_key_map_encode(&v, value);
	ms_txn_put(txn, key.bytes, key.len, value, sizeof(value));
	return 0;
}

static int jump_collection(struct ms_txn *txn, const struct row *row, uint64_t now_ns)
{
	struct ms_key key = ms_key_one(MS_KEY_COLLECTION);
	uint8_t value[MS_COLLECTION_VALUE_BYTES];
	uint64_t epoch;
	int rc = ms_key_collection_decode(row->value, row->value_len, &epoch);

	if (rc < 0)
		return rc;
	ms_key_collection_encode(far_from(epoch, now_ns), value);
	ms_txn_put(txn, key.bytes, key.len, value, sizeof(value));
	return 0;
}

int ms_rescue_jump(struct rows *rows, struct ms_rescue *r, struct error *err)
{
	uint64_t now_ns = r->now_ns;
	struct ms_txn *txn;
	int rc = ms_txn_create(rows, &txn);

	if (rc < 0)
		return error_set(err, rc, "cannot change the rows");
	ms_txn_event_begin(txn);
	rc = each_row(txn, MS_KEY_COUNTERS, MS_KEY_COUNTERS, jump_counters, now_ns);
	if (rc >= 0)
		rc = each_row(txn, MS_KEY_SESSION, MS_KEY_SLOT, drop_row, now_ns);
	if (rc >= 0)
		rc = each_row(txn, MS_KEY_PG, MS_KEY_PG, jump_pg, now_ns);
	if (rc >= 0)
		rc = each_row(txn, MS_KEY_MAP, MS_KEY_MAP, jump_map, now_ns);
	if (rc >= 0)
		rc = each_row(txn, MS_KEY_CONTENT, MS_KEY_CONTENT, drop_row, now_ns);
	if (rc >= 0)
		rc = each_row(txn, MS_KEY_COLLECTION, MS_KEY_COLLECTION, jump_collection,
			      now_ns);
	if (rc >= 0)
		rc = ms_txn_flush(txn);
	if (rc >= 0)
		rc = rows_commit(rows);
	ms_txn_destroy(txn);
	r->term = far_from(r->term, now_ns);
	return rc < 0 ? error_set(err, rc, "cannot change the rows") : 0;
}

/* --- writing ---------------------------------------------------------------------------------- */

/* An empty journal that goes on behind the snapshot. */
static int write_journal(struct disk *disk, const struct ms_rescue *r)
{
	struct journal_file_header h = { .first_number = r->number + 1, .term = r->term };
	uint8_t header[JOURNAL_FILE_HEADER_BYTES];
	char name[MS_JOURNAL_NAME_BYTES];

	memcpy(h.cluster, r->super.cluster, sizeof(h.cluster));
	journal_file_header_encode(&h, header);
	return disk_replace_file(disk, ms_journal_name(h.first_number, name), header,
				 sizeof(header));
}

static int write_snapshot(struct disk *disk, struct rows *rows, const struct ms_rescue *r)
{
	struct snapshot_header h = ms_snapshot_header(&r->super, r->term, r->number), found;
	struct rows_snapshot *snapshot;
	uint64_t bytes;
	int rc = rows_snapshot_open(rows, &snapshot);

	if (rc < 0)
		return rc;
	rc = ms_snapshot_write(disk, snapshot, &h, UINT64_MAX, &bytes);
	rows_snapshot_close(snapshot);
	if (rc >= 0)
		rc = ms_snapshot_publish(disk, &h);
	return rc < 0 ? rc : ms_snapshot_read(disk, r->number, &found, NULL, NULL);
}

static int write_one(struct disk *disk, uint32_t index, struct rows *rows,
		     const struct ms_rescue *r)
{
	struct super super = r->super;
	uint8_t bytes[SUPER_BYTES];
	int rc = disk_mkdir(disk, "journal");

	if (rc >= 0)
		rc = disk_mkdir(disk, MS_SNAPSHOT_DIR);
	if (rc >= 0)
		rc = write_snapshot(disk, rows, r);
	if (rc >= 0)
		rc = write_journal(disk, r);
	if (rc < 0)
		return rc;
	super.directory[15] = (uint8_t)(super.directory[15] + index);
	super_encode(&super, bytes);
	return disk_replace_file(disk, SUPER_FILE, bytes, sizeof(bytes));
}

int ms_rescue_write(struct disk **disks, uint32_t disk_count, struct rows *rows,
		    const struct ms_rescue *r, struct error *err)
{
	int rc = 0;

	for (uint32_t i = 0; i < disk_count && rc >= 0; i++)
		rc = ms_format_refuse(disks[i], err);
	if (rc < 0)
		return rc;
	for (uint32_t i = disk_count; i-- > 0 && rc >= 0;)	/* the metadata directory last */
		rc = write_one(disks[i], i, rows, r);
	return rc < 0 ? error_set(err, rc, "cannot write a metadata directory") : 0;
}
