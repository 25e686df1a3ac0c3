/* SPDX-License-Identifier: Apache-2.0 */
/* Journal records and the frames of journal and snapshot files (I3). */
#include "fs/disk/journal_record.h"

#include <string.h>

#include "fs/disk/sealed.h"
#include "fs/hash/checksum.h"

#define VERSION		   1u
#define CLUSTER_BYTES	   16u
#define CHECKED_HEADER_BYTES 40u	/* of a record's header: what its checksum covers */

static const char record_magic[] = "CRNJ";
static const char journal_magic[] = "CRNL";
static const char snapshot_magic[] = "CRNP";
static const char trailer_magic[] = "CRNE";

static bool change_is_well_formed(const struct row_change *c)
{
	if (c->key_len < 1 || c->key_len > ROW_KEY_BYTES_MAX)
		return false;
	if (c->op == ROW_DELETE)
		return c->value_len == 0;
	return c->op == ROW_PUT && c->value_len <= ROW_VALUE_BYTES_MAX;
}

void journal_change_write(struct wr *w, const struct row_change *change)
{
	ASSERT(change_is_well_formed(change));
	wr_u8(w, (uint8_t)change->op);
	wr_zeros(w, 1);
	wr_u16(w, change->key_len);
	wr_u32(w, change->value_len);
	wr_bytes(w, change->key, change->key_len);
	wr_bytes(w, change->value, change->value_len);
}

int journal_change_read(struct rd *r, struct row_change *out)
{
	if (rd_ok(r) && rd_left(r) == 0)
		return 0;
	out->op = (enum row_op)rd_u8(r);
	rd_zeros(r, 1);
	out->key_len = rd_u16(r);
	out->value_len = rd_u32(r);
	out->key = rd_view(r, out->key_len);
	out->value = rd_view(r, out->value_len);
	if (!rd_ok(r) || !change_is_well_formed(out)) {
		r->failed = true; /* a reader that goes on must not come back to life */
		return -E_MALFORMED;
	}
	if (out->op == ROW_DELETE)
		out->value = NULL;
	return 1;
}

void journal_record_finish(uint8_t *record, const struct journal_header *h)
{
	struct wr w = wr_init(record, JOURNAL_HEADER_BYTES);

	ASSERT(h->payload_len <= JOURNAL_RECORD_BYTES_MAX - JOURNAL_HEADER_BYTES);
	wr_bytes(&w, record_magic, 4);
	wr_u32(&w, h->payload_len);
	wr_u64(&w, h->term);
	wr_u64(&w, h->number);
	wr_u64(&w, h->wall_ns);
	wr_u16(&w, h->event_kind);
	wr_u16(&w, h->lag);
	wr_u32(&w, h->change_count);
	wr_u64(&w, checksum_joined(record, CHECKED_HEADER_BYTES, record + JOURNAL_HEADER_BYTES,
				   h->payload_len));
	ASSERT(wr_ok(&w) && w.at == w.end);
}

/* Does the payload hold exactly the changes that the header promises? */
static bool payload_is_well_formed(const uint8_t *payload, const struct journal_header *h)
{
	struct rd r = rd_init(payload, h->payload_len);
	struct row_change change;
	uint32_t count = 0;
	int rc;

	while ((rc = journal_change_read(&r, &change)) == 1)
		count++;
	return rc == 0 && count == h->change_count;
}

int journal_record_decode(const void *bytes, size_t len, struct journal_header *out,
			  const uint8_t **payload)
{
	const uint8_t *record = bytes;
	struct rd r = rd_init(record, len);
	const uint8_t *magic = rd_view(&r, 4);

	if (!magic || memcmp(magic, record_magic, 4) != 0)
		return -E_BAD_MAGIC;
	out->payload_len = rd_u32(&r);
	out->term = rd_u64(&r);
	out->number = rd_u64(&r);
	out->wall_ns = rd_u64(&r);
	out->event_kind = rd_u16(&r);
	out->lag = rd_u16(&r);
	out->change_count = rd_u32(&r);
	uint64_t checksum = rd_u64(&r);
	if (out->payload_len > JOURNAL_RECORD_BYTES_MAX - JOURNAL_HEADER_BYTES)
		return -E_MALFORMED;
	*payload = rd_view(&r, out->payload_len);
	if (!rd_ok(&r))
		return -E_MALFORMED;
	if (checksum != checksum_joined(record, CHECKED_HEADER_BYTES, *payload, out->payload_len))
		return -E_CORRUPT;
	if (!payload_is_well_formed(*payload, out))
		return -E_MALFORMED;
	return (int)(JOURNAL_HEADER_BYTES + out->payload_len);
}

/* Journal file and snapshot have one form of header: magic, version, cluster, two numbers. */
struct file_header {
	const char *magic;
	uint8_t cluster[CLUSTER_BYTES];
	uint64_t first, second;
	uint8_t rest[16];
};

#define FILE_HEADER_BYTES 64u
_Static_assert(FILE_HEADER_BYTES == JOURNAL_FILE_HEADER_BYTES, "one form");
_Static_assert(FILE_HEADER_BYTES == SNAPSHOT_HEADER_BYTES, "one form");

static void file_header_encode(const struct file_header *h, uint8_t out[FILE_HEADER_BYTES])
{
	struct wr w = wr_init(out, FILE_HEADER_BYTES - SEALED_CHECKSUM_BYTES);

	wr_bytes(&w, h->magic, 4);
	wr_u16(&w, VERSION);
	wr_zeros(&w, 2);
	wr_bytes(&w, h->cluster, CLUSTER_BYTES);
	wr_u64(&w, h->first);
	wr_u64(&w, h->second);
	wr_bytes(&w, h->rest, sizeof(h->rest));
	ASSERT(wr_ok(&w) && w.at == w.end);
	sealed_finish(out, FILE_HEADER_BYTES);
}

static int file_header_decode(const uint8_t in[FILE_HEADER_BYTES], struct file_header *h)
{
	struct rd r;
	int rc = sealed_open(in, FILE_HEADER_BYTES, h->magic, &r);

	if (rc < 0)
		return rc;
	if (rd_u16(&r) != VERSION)
		return -E_WRONG_VERSION;
	rd_zeros(&r, 2);
	rd_bytes(&r, h->cluster, CLUSTER_BYTES);
	h->first = rd_u64(&r);
	h->second = rd_u64(&r);
	rd_bytes(&r, h->rest, sizeof(h->rest));
	return rd_done(&r) ? 0 : -E_MALFORMED;
}

void journal_file_header_encode(const struct journal_file_header *h,
				uint8_t out[JOURNAL_FILE_HEADER_BYTES])
{
	struct file_header f = {
		.magic = journal_magic, .first = h->first_number, .second = h->term};

	memcpy(f.cluster, h->cluster, CLUSTER_BYTES);
	file_header_encode(&f, out);
}

int journal_file_header_decode(const uint8_t in[JOURNAL_FILE_HEADER_BYTES],
			       struct journal_file_header *out)
{
	struct file_header f = {.magic = journal_magic};
	int rc = file_header_decode(in, &f);
	struct rd rest = rd_init(f.rest, sizeof(f.rest));

	rd_zeros(&rest, sizeof(f.rest));
	if (rc == 0 && !rd_done(&rest))
		rc = -E_MALFORMED;
	if (rc < 0)
		return rc;
	memcpy(out->cluster, f.cluster, CLUSTER_BYTES);
	out->first_number = f.first;
	out->term = f.second;
	return 0;
}

void snapshot_header_encode(const struct snapshot_header *h, uint8_t out[SNAPSHOT_HEADER_BYTES])
{
	struct file_header f = {.magic = snapshot_magic, .first = h->term, .second = h->number};
	struct wr w = wr_init(f.rest, sizeof(f.rest));

	wr_u64(&w, h->name_key);
	wr_u8(&w, h->hash);
	wr_u8(&w, h->copies);
	wr_u8(&w, h->min_copies);
	wr_zeros(&w, 1);
	wr_u32(&w, h->incompat);
	ASSERT(wr_ok(&w) && w.at == w.end);
	memcpy(f.cluster, h->cluster, CLUSTER_BYTES);
	file_header_encode(&f, out);
}

int snapshot_header_decode(const uint8_t in[SNAPSHOT_HEADER_BYTES], struct snapshot_header *out)
{
	struct file_header f = {.magic = snapshot_magic};
	int rc = file_header_decode(in, &f);
	struct rd r = rd_init(f.rest, sizeof(f.rest));

	if (rc < 0)
		return rc;
	memset(out, 0, sizeof(*out));
	memcpy(out->cluster, f.cluster, CLUSTER_BYTES);
	out->term = f.first;
	out->number = f.second;
	out->name_key = rd_u64(&r);
	out->hash = rd_u8(&r);
	out->copies = rd_u8(&r);
	out->min_copies = rd_u8(&r);
	rd_zeros(&r, 1);
	out->incompat = rd_u32(&r);
	return rd_done(&r) && out->copies <= COPIES_MAX && out->min_copies <= out->copies
		       ? 0
		       : -E_MALFORMED;
}

void snapshot_trailer_encode(const struct snapshot_trailer *t, uint8_t out[SNAPSHOT_TRAILER_BYTES])
{
	struct wr w = wr_init(out, SNAPSHOT_TRAILER_BYTES - SEALED_CHECKSUM_BYTES);

	wr_bytes(&w, trailer_magic, 4);
	wr_zeros(&w, 4);
	wr_u64(&w, t->row_count);
	wr_u64(&w, t->checksum);
	ASSERT(wr_ok(&w) && w.at == w.end);
	sealed_finish(out, SNAPSHOT_TRAILER_BYTES);
}

int snapshot_trailer_decode(const uint8_t in[SNAPSHOT_TRAILER_BYTES], struct snapshot_trailer *out)
{
	struct rd r;
	int rc = sealed_open(in, SNAPSHOT_TRAILER_BYTES, trailer_magic, &r);

	if (rc < 0)
		return rc;
	rd_zeros(&r, 4);
	out->row_count = rd_u64(&r);
	out->checksum = rd_u64(&r);
	return rd_done(&r) ? 0 : -E_MALFORMED;
}
