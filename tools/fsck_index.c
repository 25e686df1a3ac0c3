/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The index of a check, in scratch rows, numbers big-endian:
 *   'b' id · disk u32 · segment u64 · offset u64    a copy: state u8 · length u32 · plain bytes u32
 *   'x' the same key and value                      a bad copy
 *   'i' the same key                              the disk's own index leads to it
 *   'n' inode u64                                 what a live check saw of it (struct fsck_links)
 *   'o' id · server u32                             owed
 *   'v' id · level u8 · length u64                  a node that was walked without a fault
 *   'w' disk u32 · id                               wanted by repair
 */
#include <stdio.h>
#include <string.h>

#include "fs/base/bytes.h"
#include "tools/fsck_internal.h"

#define KEY_BYTES    64u
#define COMMIT_EVERY 65536u

struct key {
	uint8_t bytes[KEY_BYTES];
	uint32_t len;
};

static struct key key_of(char kind, const struct block_id *id)
{
	struct key k;
	struct wr w = wr_init(k.bytes, sizeof k.bytes);

	wr_u8(&w, (uint8_t)kind);
	wr_bytes(&w, id->bytes, sizeof id->bytes);
	k.len = (uint32_t)wr_len(&w);
	return k;
}

static void key_add(struct key *k, uint64_t number, uint32_t bytes)
{
	ASSERT(k->len + bytes <= KEY_BYTES);
	for (uint32_t i = 0; i < bytes; i++)
		k->bytes[k->len + i] = (uint8_t)(number >> 8 * (bytes - 1 - i));
	k->len += bytes;
}

static int put(struct fsck *f, const struct key *k, const void *value, uint32_t len)
{
	int rc = rows_put(f->index, k->bytes, k->len, value, len);

	if (rc < 0)
		return rc;
	if (++f->indexed < COMMIT_EVERY)
		return 0;
	f->indexed = 0;
	return rows_commit(f->index);
}

static bool has(struct fsck *f, const struct key *k)
{
	const void *value;
	uint32_t len;

	return rows_get(f->index, k->bytes, k->len, &value, &len) == 0;
}

/* --- copies ----------------------------------------------------------------------------------- */

static struct key copy_key(const struct fsck_copy *c)
{
	struct key k = key_of('b', &c->id);

	key_add(&k, c->disk, 4);
	key_add(&k, c->segment, 8);
	key_add(&k, c->offset, 8);
	return k;
}

int fsck_index_put(struct fsck *f, const struct fsck_copy *copy)
{
	struct key k = copy_key(copy);
	uint8_t value[9];
	struct wr w = wr_init(value, sizeof value);
	int rc;

	wr_u8(&w, (uint8_t)copy->state);
	wr_u32(&w, copy->length);
	wr_u32(&w, copy->plain_len);
	ASSERT(wr_ok(&w));
	rc = put(f, &k, value, sizeof value);
	if (rc < 0 || copy->state != FSCK_COPY_BAD)
		return rc;
	k.bytes[0] = 'x';
	return put(f, &k, value, sizeof value);
}

static void copy_read(const struct row *row, struct fsck_copy *out)
{
	struct rd r = rd_init(row->key + 1, row->key_len - 1);

	rd_bytes(&r, out->id.bytes, sizeof out->id.bytes);
	out->disk = rd_be32(&r);
	out->segment = rd_be64(&r);
	out->offset = rd_be64(&r);
	ASSERT(rd_done(&r));
	r = rd_init(row->value, row->value_len);
	out->state = (enum fsck_copy_state)rd_u8(&r);
	out->length = rd_u32(&r);
	out->plain_len = rd_u32(&r);
	ASSERT(rd_done(&r));
}

int fsck_index_next(struct fsck *f, struct fsck_copy *copy, bool first)
{
	struct key k = first ? key_of('b', &copy->id) : copy_key(copy);
	struct row row;
	int rc;

	if (!first)
		key_add(&k, 0, 1); /* just behind it */
	rc = rows_next(f->index, k.bytes, k.len, &row);
	if (rc < 0)
		return rc;
	if (row.key_len < 1 + BLOCK_ID_BYTES || memcmp(row.key, k.bytes, 1 + BLOCK_ID_BYTES) != 0)
		return -E_NOENT;
	copy_read(&row, copy);
	return 0;
}

int fsck_index_next_bad(struct fsck *f, struct fsck_copy *copy, bool first)
{
	struct key k = {{'x'}, 1};
	struct row row;
	int rc;

	if (!first) {
		k = copy_key(copy);
		k.bytes[0] = 'x';
		key_add(&k, 0, 1);
	}
	rc = rows_next(f->index, k.bytes, k.len, &row);
	if (rc < 0)
		return rc;
	if (row.key[0] != 'x')
		return -E_NOENT;
	copy_read(&row, copy);
	return 0;
}

int fsck_index_find(struct rows *index, struct fsck_copy *copy)
{
	struct key k = copy_key(copy);
	struct row row = {.key = k.bytes, .key_len = k.len};
	const void *value;
	int rc = rows_get(index, k.bytes, k.len, &value, &row.value_len);

	if (rc < 0)
		return rc;
	row.value = value;
	copy_read(&row, copy);
	return 0;
}

bool fsck_index_has_good(struct fsck *f, const struct fsck_copy *like, bool same_disk)
{
	struct fsck_copy c = {.id = like->id};

	for (int rc = fsck_index_next(f, &c, true); rc == 0; rc = fsck_index_next(f, &c, false))
		if (c.state == FSCK_COPY_GOOD && (!same_disk || c.disk == like->disk))
			return true;
	return false;
}

static int read_copy(struct fsck *f, const struct fsck_copy *c, struct record *out)
{
	char name[64];
	struct disk_file *file;
	int rc;

	(void)snprintf(name, sizeof name, "segments/seg-%016llx", (unsigned long long)c->segment);
	rc = disk_open(f->disks[c->disk].disk, name, DISK_READ, &file);
	if (rc < 0)
		return rc;
	rc = disk_read(file, f->record, c->length, c->offset);
	disk_close(file);
	if (rc < 0)
		return rc;
	if ((uint32_t)rc < c->length)
		return -E_CORRUPT;
	rc = record_open(f->codec, f->super.hash, f->record, c->length, true, out, f->plain);
	return rc == 0 && !block_id_equal(&out->id, &c->id) ? -E_CORRUPT : rc;
}

int fsck_index_read(struct fsck *f, const struct block_id *id, struct record *out,
		    uint32_t *record_bytes)
{
	struct fsck_copy c = {.id = *id};
	int rc, result = -E_NO_BLOCK;

	for (rc = fsck_index_next(f, &c, true); rc == 0; rc = fsck_index_next(f, &c, false)) {
		if (c.state != FSCK_COPY_GOOD)
			continue;
		result = read_copy(f, &c, out);
		*record_bytes = c.length;
		if (result == 0)
			return 0;
	}
	return rc == -E_NOENT ? result : rc;
}

static struct key known_key(const struct fsck_copy *c)
{
	struct key k = copy_key(c);

	k.bytes[0] = 'i';
	return k;
}

int fsck_index_known(struct fsck *f, const struct fsck_copy *copy)
{
	struct key k = known_key(copy);

	return put(f, &k, "", 0);
}

bool fsck_index_is_known(struct fsck *f, const struct fsck_copy *copy)
{
	struct key k = known_key(copy);

	return has(f, &k);
}

/* --- links of a live check -------------------------------------------------------------------- */

static struct key links_key(inode_no ino)
{
	struct key k = {{'n'}, 1};

	key_add(&k, ino, 8);
	return k;
}

int fsck_index_links_get(struct fsck *f, inode_no ino, struct fsck_links *out)
{
	struct key k = links_key(ino);
	const void *value;
	uint32_t len;
	int rc = rows_get(f->index, k.bytes, k.len, &value, &len);

	memset(out, 0, sizeof *out);
	out->ino = ino;
	if (rc < 0)
		return rc == -E_NOENT ? 0 : rc;
	ASSERT(len == sizeof *out); /* of this very process */
	memcpy(out, value, sizeof *out);
	return 0;
}

int fsck_index_links_put(struct fsck *f, const struct fsck_links *links)
{
	struct key k = links_key(links->ino);

	return put(f, &k, links, sizeof *links);
}

int fsck_index_links_next(struct fsck *f, struct fsck_links *links)
{
	struct key k = links_key(links->ino + 1);
	struct row row;
	int rc = rows_next(f->index, k.bytes, k.len, &row);

	if (rc < 0)
		return rc;
	if (row.key[0] != 'n')
		return -E_NOENT;
	ASSERT(row.value_len == sizeof *links);
	memcpy(links, row.value, sizeof *links);
	return 0;
}

/* --- owed, wanted, proved --------------------------------------------------------------------- */

int fsck_index_owe(struct fsck *f, const struct block_id *id, server_no server, bool owed)
{
	struct key k = key_of('o', id);
	int rc;

	key_add(&k, server, 4);
	if (owed)
		return put(f, &k, "", 0);
	rc = rows_del(f->index, k.bytes, k.len);
	return rc == -E_NOENT ? 0 : rc;
}

bool fsck_index_is_owed(struct fsck *f, const struct block_id *id, server_no server)
{
	struct key k = key_of('o', id);

	key_add(&k, server, 4);
	return has(f, &k);
}

static struct key wanted_key(const struct block_id *id, uint32_t disk)
{
	struct key k = {{'w'}, 1};

	key_add(&k, disk, 4);
	memcpy(k.bytes + k.len, id->bytes, sizeof id->bytes);
	k.len += (uint32_t)sizeof id->bytes;
	return k;
}

int fsck_index_want(struct fsck *f, const struct block_id *id, uint32_t disk)
{
	struct key k = wanted_key(id, disk);

	return put(f, &k, "", 0);
}

int fsck_index_next_wanted(struct fsck *f, uint32_t *disk, struct block_id *id)
{
	struct key k = wanted_key(id, *disk);
	struct row row;
	struct rd r;
	int rc = rows_next(f->index, k.bytes, k.len, &row);

	if (rc < 0)
		return rc;
	if (row.key[0] != 'w')
		return -E_NOENT;
	r = rd_init(row.key + 1, row.key_len - 1);
	*disk = rd_be32(&r);
	rd_bytes(&r, id->bytes, sizeof id->bytes);
	ASSERT(rd_done(&r));
	return 0;
}

static struct key proved_key(uint8_t level, const struct node_entry *node)
{
	struct key k = key_of('v', &node->id);

	key_add(&k, level, 1);
	key_add(&k, node->length, 8);
	key_add(&k, node->data, 8);
	return k;
}

bool fsck_index_is_proved(struct fsck *f, uint8_t level, const struct node_entry *node)
{
	struct key k = proved_key(level, node);

	return has(f, &k);
}

int fsck_index_prove(struct fsck *f, uint8_t level, const struct node_entry *node)
{
	struct key k = proved_key(level, node);

	return put(f, &k, "", 0);
}
