/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paths of files that cannot be walked, for people: rows lead from names to inodes only. So the
 * rest of the snapshot is read for one name of each, on a worker; from there upward each directory
 * is looked for among the entries of its parent, as far as a bound allows.
 */
#include <stdio.h>
#include <string.h>

#include "fs/base/bytes.h"
#include "metadata-server/collector_internal.h"
#include "metadata-server/dir.h"
#include "metadata-server/inode.h"

#define LEVELS_MAX  64u
#define ENTRIES_MAX 100000u	/* looked at for one path */

/* --- one name of each ------------------------------------------------------------------------- */

static void take_name(struct collector_reader *reader, const struct row *row, struct rd *key)
{
	struct ms_name_value value;
	inode_no dir = rd_be64(key);

	(void)rd_be64(key);		/* the hash */
	if (!rd_ok(key) || ms_key_name_decode(row->value, row->value_len, &value) < 0)
		return;
	for (uint32_t i = 0; i < reader->named_count; i++) {
		struct collector_named *n = &reader->named[i];

		if (n->ino != value.ino || n->dir)
			continue;
		n->dir = dir;
		(void)snprintf(n->path, sizeof(n->path), "%.*s", (int)rd_left(key),
			       (const char *)key->at);
	}
}

static void names_run(struct loop_work *work)
{
	struct collector_reader *reader = container_of(work, struct collector_reader, work);
	struct row row;
	struct rd r;

	while (rows_snapshot_next(reader->snapshot, &row) > 0 && row.key[0] <= MS_KEY_NAME)
		if (ms_key_is(&row, MS_KEY_NAME, &r))
			take_name(reader, &row, &r);
}

/* --- upward ----------------------------------------------------------------------------------- */

/* The name of a directory in its parent; false: not found within the bound. */
static bool name_of(struct ms_txn *txn, inode_no parent, inode_no dir, uint32_t *left,
		    char out[NAME_BYTES_MAX + 1])
{
	uint8_t at_bytes[NAME_BYTES_MAX + 1];
	struct ms_name at = { at_bytes, 0 };
	struct ms_dir_slot slot;
	uint64_t hash = 0;

	while (*left > 0 && ms_dir_next(txn, parent, hash, at, &slot) == 0) {
		(*left)--;
		if (slot.ino == dir) {
			(void)snprintf(out, NAME_BYTES_MAX + 1, "%.*s", (int)slot.name.len,
				       (const char *)slot.name.bytes);
			return true;
		}
		memcpy(at_bytes, slot.name.bytes, slot.name.len);
		at_bytes[slot.name.len] = 0;	/* the smallest name behind it */
		at.len = slot.name.len + 1;
		hash = slot.hash;
	}
	return false;
}

static void prepend(char path[COLLECTOR_PATH_BYTES], const char *name)
{
	char longer[COLLECTOR_PATH_BYTES + NAME_BYTES_MAX + 2];

	(void)snprintf(longer, sizeof(longer), "%s/%s", name, path);
	(void)snprintf(path, COLLECTOR_PATH_BYTES, "%.*s", (int)COLLECTOR_PATH_BYTES - 1, longer);
}

static void complete(struct ms_txn *txn, struct collector_named *n)
{
	uint32_t left = ENTRIES_MAX;
	inode_no dir = n->dir;
	struct ms_inode inode;
	char name[NAME_BYTES_MAX + 1];

	for (uint32_t i = 0; i < LEVELS_MAX && dir != INODE_ROOT; i++) {
		if (ms_inode_get(txn, dir, &inode) < 0 ||
		    !name_of(txn, inode.parent, dir, &left, name)) {
			prepend(n->path, "...");
			return;
		}
		prepend(n->path, name);
		dir = inode.parent;
	}
	prepend(n->path, "");
}

/* --- all -------------------------------------------------------------------------------------- */

static void names_done(struct loop_work *work)
{
	struct collector_reader *reader = container_of(work, struct collector_reader, work);
	struct ms_collector *c = reader->collector;

	reader->is_working = false;
	if (!c) {
		ms_collector_walk_reader_free(reader);
		return;
	}
	c->named_count = reader->named_count;
	for (uint32_t i = 0; i < c->named_count; i++) {
		c->named[i] = reader->named[i];
		if (c->named[i].dir)
			complete(c->server->txn, &c->named[i]);
	}
	ms_collector_named(c);
}

void ms_collector_paths_find(struct ms_collector *c)
{
	struct collector_reader *reader = c->reader;

	ASSERT(!reader->is_working && reader->is_end);
	reader->named_count = c->unwalkable_count;
	for (uint32_t i = 0; i < c->unwalkable_count; i++)
		reader->named[i] = (struct collector_named){ .ino = c->unwalkable[i] };
	reader->is_working = true;
	reader->work.run = names_run;
	reader->work.done = names_done;
	loop_work(reader->loop, &reader->work);
}

const char *ms_collector_path(const struct ms_collector *c, inode_no ino)
{
	for (uint32_t i = 0; i < c->named_count; i++)
		if (c->named[i].ino == ino && c->named[i].dir)
			return c->named[i].path;
	return "";
}
