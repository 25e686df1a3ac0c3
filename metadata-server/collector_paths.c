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
#include "metadata-server/path.h"

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

/* The name is there; now the directories above. */
static void complete(struct ms_txn *txn, struct collector_named *n)
{
	char dir[MS_PATH_BYTES], name[COLLECTOR_PATH_BYTES];
	uint32_t left = ENTRIES_MAX;

	ms_path_of_dir(txn, n->dir, &left, dir);
	memcpy(name, n->path, sizeof(name));
	(void)snprintf(n->path, sizeof(n->path), "%.*s/%.*s", (int)sizeof(n->path) / 2, dir,
		       (int)sizeof(n->path) / 2 - 2, name);
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
