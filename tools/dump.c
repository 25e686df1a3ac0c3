/* SPDX-License-Identifier: Apache-2.0 */
/* Each structure is a line with its place in the file; formats are those of cairn-format(5). */
#include "tools/dump.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "chunk-server/scan.h"
#include "fs/base/text.h"
#include "fs/disk/journal_record.h"
#include "fs/disk/segment.h"
#include "fs/disk/super.h"
#include "fs/hash/checksum.h"
#include "fs/io/disk.h"
#include "fs/tree/manifest.h"
#include "metadata-server/snapshot.h"

#define DEPTH_MAX  8u
#define READ_BYTES (2u * JOURNAL_RECORD_BYTES_MAX)

struct dump {
	const struct dump_options *o;
	const char *path;
	struct disk_file *file;
	uint64_t bytes;
	bool is_damaged;
};

/* --- one line --------------------------------------------------------------------------------- */

/* "what": of the structure; `fields`: "key value key value ..." of text that needs no quotes. */
static void line(struct dump *d, uint64_t offset, const char *what, json_t *fields)
{
	const char *key;
	json_t *value;

	if (d->o->json) {
		json_object_set_new(fields, "file", json_string(d->path));
		json_object_set_new(fields, "offset", json_integer((json_int_t)offset));
		json_object_set_new(fields, "what", json_string(what));
		json_dumpf(fields, d->o->out, JSON_COMPACT | JSON_SORT_KEYS);
	} else {
		fprintf(d->o->out, "%12" PRIu64 " %-10s", offset, what);
		json_object_foreach (fields, key, value) {
			if (json_is_string(value))
				fprintf(d->o->out, " %s=%s", key, json_string_value(value));
			else
				fprintf(d->o->out, " %s=%" JSON_INTEGER_FORMAT, key,
					json_integer_value(value));
		}
	}
	fputc('\n', d->o->out);
	json_decref(fields);
}

static void damage(struct dump *d, uint64_t offset, uint64_t bytes, int rc)
{
	d->is_damaged = true;
	line(d, offset, "DAMAGED",
	     json_pack("{s:I, s:s}", "bytes", (json_int_t)bytes, "why", error_name(rc)));
}

static json_t *hex(const void *bytes, size_t len)
{
	char text[2 * ROW_KEY_BYTES_MAX + 1];

	ASSERT(len <= ROW_KEY_BYTES_MAX);
	text_hex(text, bytes, len);
	return json_string(text);
}

static json_t *number(uint64_t n)
{
	return json_integer((json_int_t)n);
}

/* --- superblock, node, record ----------------------------------------------------------------- */

static int dump_super(struct dump *d, const uint8_t *bytes)
{
	struct super s;
	int rc = d->bytes == SUPER_BYTES ? super_decode(bytes, &s) : -E_MALFORMED;

	if (rc < 0) {
		damage(d, 0, d->bytes, rc);
		return 0;
	}
	line(d, 0, "superblock",
	     json_pack("{s:s, s:s, s:i, s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "role",
		       s.role == SUPER_METADATA ? "metadata" : "chunk", "hash",
		       s.hash == HASH_SHA256 ? "sha256" : "sha3-256", "copies", (int)s.copies,
		       "min_copies", (int)s.min_copies, "cluster", hex(s.cluster, 16), "directory",
		       hex(s.directory, 16), "server", hex(s.server, 16), "made_ns",
		       number(s.made_ns), "compat", number(s.compat), "ro_compat",
		       number(s.ro_compat), "incompat", number(s.incompat)));
	return 0;
}

static int dump_node(struct dump *d, const uint8_t *bytes)
{
	struct rd r = rd_init(bytes + 5, NODE_HEADER_BYTES - 5);
	uint8_t level = rd_u8(&r);
	uint64_t at = NODE_HEADER_BYTES, offset = 0;
	struct node_entry said = {.length = 0};
	struct node_view v;
	int rc;

	(void)rd_view(&r, 10);
	said.length = rd_u64(&r);
	said.data = rd_u64(&r);
	rc = d->bytes <= BLOCK_BYTES_MAX
		     ? node_view_init(&v, bytes, (uint32_t)d->bytes, level, &said)
		     : -E_MALFORMED;
	if (rc < 0) {
		damage(d, 0, d->bytes, rc);
		return 0;
	}
	line(d, 0, "node",
	     json_pack("{s:i, s:I, s:I, s:I}", "level", (int)v.level, "entries",
		       (json_int_t)v.entry_count, "length", (json_int_t)v.length, "data",
		       (json_int_t)v.data));
	for (uint32_t i = 0; i < v.entry_count; i++) {
		struct node_entry e = node_view_entry(&v, i);

		line(d, at, block_id_is_zero(&e.id) ? "hole" : "entry",
		     json_pack("{s:I, s:I, s:I, s:o}", "at", (json_int_t)offset, "length",
			       (json_int_t)e.length, "data", (json_int_t)e.data, "id",
			       hex(e.id.bytes, sizeof e.id.bytes)));
		offset += e.length;
		at += level > 0 ? NODE_CHILD_BYTES : NODE_ENTRY_BYTES;
	}
	return 0;
}

static json_t *record_fields(const struct block_id *id, uint32_t stored, uint32_t plain,
			     unsigned codec)
{
	return json_pack("{s:o, s:I, s:I, s:s}", "id", hex(id->bytes, sizeof id->bytes), "stored",
			 (json_int_t)stored, "plain", (json_int_t)plain, "codec",
			 codec_is_known(codec) ? codec_name((enum codec)codec) : "?");
}

static int dump_record(struct dump *d, const uint8_t *bytes)
{
	struct record r;
	int rc = record_check(bytes, d->bytes, &r);

	if (rc < 0)
		damage(d, 0, d->bytes, rc);
	else
		line(d, 0, "record", record_fields(&r.id, r.stored_len, r.plain_len, r.codec));
	return 0;
}

/* --- segments --------------------------------------------------------------------------------- */

static int segment_read(void *arg, void *out, uint32_t len, uint64_t offset)
{
	struct dump *d = arg;

	return disk_read(d->file, out, len, offset);
}

static int segment_record(void *arg, const struct segment_entry *e)
{
	line(arg, e->offset, "record",
	     record_fields(&e->id, e->length - RECORD_HEADER_BYTES, e->plain_len, e->codec));
	return 0;
}

static void segment_damage(void *arg, uint64_t offset, uint64_t bytes)
{
	damage(arg, offset, bytes, -E_CORRUPT);
}

static int dump_segment(struct dump *d, const uint8_t *bytes)
{
	struct cs_scan scan = {.read = segment_read,
			       .on_record = segment_record,
			       .on_damage = segment_damage,
			       .arg = d,
			       .end = d->bytes};
	uint8_t trailer_bytes[SEGMENT_TRAILER_BYTES];
	struct segment_trailer t;
	struct segment_header h;
	bool is_sealed = false;
	int rc = segment_header_decode(bytes, &h);

	if (rc < 0)
		damage(d, 0, SEGMENT_HEADER_BYTES, rc);
	else
		line(d, 0, "segment",
		     json_pack("{s:o, s:o, s:o}", "number", number(h.number), "cluster",
			       hex(h.cluster, 16), "disk", hex(h.disk, 16)));
	if (d->bytes >= SEGMENT_HEADER_BYTES + SEGMENT_TRAILER_BYTES) {
		rc = disk_read(d->file, trailer_bytes, sizeof trailer_bytes,
			       d->bytes - sizeof trailer_bytes);
		if (rc < 0)
			return rc;
		is_sealed = rc == (int)sizeof trailer_bytes &&
			    segment_trailer_decode(trailer_bytes, d->bytes, &t) == 0;
	}
	if (is_sealed)
		scan.end = t.entries_offset;
	rc = cs_scan_run(&scan);
	if (rc < 0)
		return rc;
	if (scan.is_torn)
		line(d, scan.tail, "torn",
		     json_pack("{s:I}", "bytes", (json_int_t)(scan.end - scan.tail)));
	if (is_sealed)
		line(d, t.entries_offset, "footer",
		     json_pack("{s:I, s:o}", "entries", (json_int_t)t.entry_count, "number",
			       number(t.number)));
	else
		line(d, scan.tail, "unsealed", json_object());
	return 0;
}

/* --- the journal ------------------------------------------------------------------------------ */

static void dump_change(struct dump *d, uint64_t offset, const struct row_change *c)
{
	line(d, offset, c->op == ROW_PUT ? "put" : "delete",
	     json_pack("{s:i, s:o, s:I}", "type", c->key_len ? (int)c->key[0] : -1, "key",
		       hex(c->key, MIN_OF(c->key_len, ROW_KEY_BYTES_MAX)), "value_bytes",
		       (json_int_t)c->value_len));
}

static void dump_changes(struct dump *d, uint64_t offset, const struct journal_header *h,
			 const uint8_t *payload)
{
	struct rd r = rd_init(payload, h->payload_len);
	struct row_change c;
	int rc;

	while ((rc = journal_change_read(&r, &c)) > 0)
		dump_change(d, offset, &c);
	if (rc < 0)
		damage(d, offset, h->payload_len, rc);
}

/* Behind damage at `offset`: the next place where a whole record begins, or the end. */
static int journal_seek(struct dump *d, uint8_t *buffer, uint64_t *offset)
{
	struct journal_header h;
	const uint8_t *payload;

	for (uint64_t at = *offset + 1; at < d->bytes;) {
		int have = disk_read(d->file, buffer, READ_BYTES, at);
		const uint8_t *hit;

		if (have < 0)
			return have;
		hit = memmem(buffer, (size_t)have, "CRNJ", 4);
		if (!hit) {
			at += have > 3 ? (uint64_t)have - 3 : (uint64_t)have + 1;
			continue;
		}
		at += (uint64_t)(hit - buffer);
		have = disk_read(d->file, buffer, READ_BYTES, at);
		if (have < 0)
			return have;
		if (journal_record_decode(buffer, (size_t)have, &h, &payload) > 0) {
			*offset = at;
			return 0;
		}
		at++;
	}
	*offset = d->bytes;
	return 0;
}

static int dump_journal_records(struct dump *d, uint8_t *buffer)
{
	uint64_t at = JOURNAL_FILE_HEADER_BYTES, next;
	struct journal_header h;
	const uint8_t *payload;

	while (at < d->bytes) {
		int rc = disk_read(d->file, buffer, READ_BYTES, at);

		if (rc >= 0)
			rc = journal_record_decode(buffer, (size_t)rc, &h, &payload);
		if (rc == -E_IO)
			return rc;
		if (rc < 0) {
			int why = rc;

			next = at;
			rc = journal_seek(d, buffer, &next);
			if (rc < 0)
				return rc;
			if (next == d->bytes) /* perhaps only torn: fsck.cairn knows */
				line(d, at, "torn",
				     json_pack("{s:I}", "bytes", (json_int_t)(next - at)));
			else
				damage(d, at, next - at, why);
			at = next;
			continue;
		}
		line(d, at, "record",
		     json_pack("{s:o, s:o, s:o, s:i, s:i, s:I, s:I}", "number", number(h.number),
			       "term", number(h.term), "wall_ns", number(h.wall_ns), "event",
			       (int)h.event_kind, "lag", (int)h.lag, "changes",
			       (json_int_t)h.change_count, "bytes", (json_int_t)h.payload_len));
		if (d->o->deep)
			dump_changes(d, at, &h, payload);
		at += (uint64_t)rc;
	}
	return 0;
}

static int dump_journal(struct dump *d, const uint8_t *bytes)
{
	struct journal_file_header h;
	int rc = journal_file_header_decode(bytes, &h);
	uint8_t *buffer = malloc(READ_BYTES);

	if (!buffer)
		return -E_NOMEM;
	if (rc < 0)
		damage(d, 0, JOURNAL_FILE_HEADER_BYTES, rc);
	else
		line(d, 0, "journal",
		     json_pack("{s:o, s:o, s:o}", "cluster", hex(h.cluster, 16), "first",
			       number(h.first_number), "term", number(h.term)));
	rc = dump_journal_records(d, buffer);
	free(buffer);
	return rc;
}

/* --- snapshots -------------------------------------------------------------------------------- */

struct snapshot_scan {
	struct dump *d;
	uint64_t types[256], rows;
	bool deep;
};

/* The row at `offset`. Its length, 0 at the end of the rows, or -E_MALFORMED. */
static int snapshot_row(struct dump *d, uint8_t *buffer, uint64_t offset, struct snapshot_scan *s)
{
	uint32_t key_len, value_len;
	struct rd r;
	int rc = disk_read(d->file, buffer, READ_BYTES, offset);

	if (rc < 0)
		return rc;
	r = rd_init(buffer, (size_t)rc);
	key_len = rd_u16(&r);
	rd_zeros(&r, 2);
	value_len = rd_u32(&r);
	if (key_len > ROW_KEY_BYTES_MAX || value_len > ROW_VALUE_BYTES_MAX)
		return -E_MALFORMED;
	if (rd_ok(&r) && key_len == 0)
		return 0;
	if (!rd_ok(&r) || rd_left(&r) < key_len + value_len)
		return -E_MALFORMED;
	s->types[buffer[SNAPSHOT_ROW_HEADER_BYTES]]++;
	s->rows++;
	if (s->deep)
		dump_change(d, offset,
			    &(struct row_change){.op = ROW_PUT,
						 .key = buffer + SNAPSHOT_ROW_HEADER_BYTES,
						 .key_len = (uint16_t)key_len,
						 .value_len = value_len});
	return (int)(SNAPSHOT_ROW_HEADER_BYTES + key_len + value_len);
}

static void snapshot_counts(struct dump *d, const struct snapshot_scan *s, uint64_t offset)
{
	for (unsigned i = 0; i < ARRAY_COUNT(s->types); i++)
		if (s->types[i])
			line(d, offset, "rows",
			     json_pack("{s:i, s:I}", "type", (int)i, "count",
				       (json_int_t)s->types[i]));
}

static int dump_snapshot(struct dump *d, const uint8_t *bytes)
{
	struct snapshot_scan s = {.d = d, .deep = d->o->deep};
	struct snapshot_header h;
	struct snapshot_trailer t;
	uint64_t at = SNAPSHOT_HEADER_BYTES;
	uint8_t *buffer = malloc(READ_BYTES), trailer[SNAPSHOT_TRAILER_BYTES];
	int rc = snapshot_header_decode(bytes, &h);

	if (!buffer)
		return -E_NOMEM;
	if (rc < 0)
		damage(d, 0, SNAPSHOT_HEADER_BYTES, rc);
	else
		line(d, 0, "snapshot",
		     json_pack("{s:o, s:o, s:o}", "cluster", hex(h.cluster, 16), "term",
			       number(h.term), "number", number(h.number)));
	while ((rc = snapshot_row(d, buffer, at, &s)) > 0)
		at += (uint64_t)rc;
	free(buffer);
	snapshot_counts(d, &s, at);
	if (rc == -E_MALFORMED)
		damage(d, at, d->bytes - at, rc);
	if (rc < 0)
		return rc == -E_MALFORMED ? 0 : rc;
	at += SNAPSHOT_ROW_HEADER_BYTES;
	rc = disk_read(d->file, trailer, sizeof trailer, at);
	if (rc < 0)
		return rc;
	rc = rc == (int)sizeof trailer ? snapshot_trailer_decode(trailer, &t) : -E_MALFORMED;
	if (rc == 0 && t.row_count != s.rows)
		rc = -E_CORRUPT;
	if (rc < 0)
		damage(d, at, sizeof trailer, rc);
	else
		line(d, at, "end", json_pack("{s:o}", "rows", number(t.row_count)));
	return 0;
}

/* --- files ------------------------------------------------------------------------------------ */

static const struct kind {
	const char *magic;
	uint32_t bytes_min; /* of the file */
	int (*dump)(struct dump *d, const uint8_t *bytes);
} kinds[] = {
	{"CAIRNFS1", SUPER_BYTES, dump_super},
	{"CRNS", SEGMENT_HEADER_BYTES, dump_segment},
	{"CRNL", JOURNAL_FILE_HEADER_BYTES, dump_journal},
	{"CRNP", SNAPSHOT_HEADER_BYTES, dump_snapshot},
	{"CRNM", NODE_HEADER_BYTES, dump_node},
	{"CRNR", RECORD_HEADER_BYTES, dump_record},
};

/* The start of the file is enough to tell what it is, and all of what is small. */
static int dump_opened(struct dump *d)
{
	uint8_t *bytes = calloc(1, RECORD_BYTES_MAX);
	int rc = bytes ? disk_size(d->file, &d->bytes) : -E_NOMEM;

	if (rc == 0)
		rc = disk_read(d->file, bytes, RECORD_BYTES_MAX, 0);
	if (rc >= 0) {
		rc = -E_BAD_MAGIC;
		for (size_t i = 0; i < ARRAY_COUNT(kinds); i++) {
			if (memcmp(bytes, kinds[i].magic, strlen(kinds[i].magic)) != 0)
				continue;
			rc = 0;
			if (d->bytes < kinds[i].bytes_min)
				damage(d, 0, d->bytes, -E_MALFORMED);
			else
				rc = kinds[i].dump(d, bytes);
			break;
		}
	}
	free(bytes);
	return rc;
}

int dump_file(const char *path, const struct dump_options *options, struct error *err)
{
	struct dump d = {.o = options, .path = path};
	const char *slash = strrchr(path, '/');
	char dir[PATH_MAX];
	struct disk *disk;
	int rc;

	(void)snprintf(dir, sizeof dir, "%.*s", slash ? (int)(slash - path) + 1 : 1,
		       slash ? path : ".");
	rc = disk_posix_create(dir, &disk);
	if (rc < 0)
		return error_set(err, rc, "cannot open '%s'", dir);
	rc = disk_open(disk, slash ? slash + 1 : path, DISK_READ, &d.file);
	if (rc == 0) {
		rc = dump_opened(&d);
		disk_close(d.file);
	}
	disk_destroy(disk);
	if (rc < 0)
		return error_set(err, rc, "cannot show '%s'", path);
	return d.is_damaged ? error_set(err, -E_CORRUPT, "parts of '%s' cannot be read", path) : 0;
}

/* --- folders ---------------------------------------------------------------------------------- */

static int dump_folder(const char *path, const struct dump_options *o, unsigned depth,
		       struct error *err);

/* Files that are not ours (locks, views, indexes) are stepped over in silence. */
static int dump_entry(const char *path, const struct dump_options *o, unsigned depth,
		      struct error *err)
{
	struct error why = {0};
	struct stat st;
	int rc;

	if (lstat(path, &st) != 0)
		return error_set(err, error_from_errno(errno), "cannot look at '%s'", path);
	if (S_ISDIR(st.st_mode))
		return dump_folder(path, o, depth + 1, err);
	if (!S_ISREG(st.st_mode))
		return 0;
	if (!o->json)
		fprintf(o->out, "%s\n", path);
	rc = dump_file(path, o, &why);
	if (rc == -E_BAD_MAGIC) {
		if (!o->json)
			fputs("             no structure of cairn's\n", o->out);
		return 0;
	}
	if (rc < 0)
		*err = why;
	return rc;
}

static int dump_folder(const char *path, const struct dump_options *o, unsigned depth,
		       struct error *err)
{
	struct dirent **entries;
	char below[PATH_MAX];
	int count, worst = 0;

	if (depth > DEPTH_MAX)
		return error_say(err, -E_LOOP, "'%s' is too deep", path);
	count = scandir(path, &entries, NULL, alphasort);
	if (count < 0)
		return error_set(err, error_from_errno(errno), "cannot list '%s'", path);
	for (int i = 0; i < count; i++) {
		if (strcmp(entries[i]->d_name, ".") != 0 && strcmp(entries[i]->d_name, "..") != 0) {
			int n = snprintf(below, sizeof below, "%s/%s", path, entries[i]->d_name);
			int rc = n < PATH_MAX ? dump_entry(below, o, depth, err) : -E_NAMETOOLONG;

			worst = rc < 0 ? rc : worst;
		}
		free(entries[i]);
	}
	free(entries);
	return worst;
}

int dump_path(const char *path, const struct dump_options *options, struct error *err)
{
	struct stat st;

	if (stat(path, &st) != 0)
		return error_set(err, error_from_errno(errno), "cannot look at '%s'", path);
	return S_ISDIR(st.st_mode) ? dump_folder(path, options, 0, err)
				   : dump_file(path, options, err);
}
