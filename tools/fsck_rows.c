/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rows of the state: one pass gathers what they say (fsck_rows_take.c), then names, parents,
 * counts and placement are closed over the whole.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tools/fsck_internal.h"

#define PATH_DEPTH_MAX 2048u

/* --- inodes in memory ------------------------------------------------------------------------- */

struct fsck_inode *fsck_rows_find(struct fsck *f, inode_no ino)
{
	uint64_t low = 0, high = f->inode_count;

	while (low < high) {
		uint64_t middle = low + (high - low) / 2;

		if (f->inodes[middle].ino < ino)
			low = middle + 1;
		else
			high = middle;
	}
	return low < f->inode_count && f->inodes[low].ino == ino ? &f->inodes[low] : NULL;
}

/* --- paths, for messages only ----------------------------------------------------------------- */

/* The first name that `dir` has for `ino`. */
static bool name_in(struct fsck *f, inode_no dir, inode_no ino, uint8_t out[NAME_BYTES_MAX],
		    size_t *len)
{
	struct ms_key key = ms_key_number(MS_KEY_NAME, dir);
	struct ms_name_value v;
	struct row row;
	struct rd r;

	for (int rc = rows_next(f->state, key.bytes, key.len, &row); rc == 0;
	     rc = rows_next(f->state, key.bytes, key.len, &row)) {
		if (!ms_key_is(&row, MS_KEY_NAME, &r) || rd_be64(&r) != dir ||
		    row.key_len >= MS_KEY_BYTES_MAX)
			return false;
		if (ms_key_name_decode(row.value, row.value_len, &v) == 0 && v.ino == ino &&
		    row.key_len > 17 && row.key_len - 17 <= NAME_BYTES_MAX) {
			*len = row.key_len - 17;
			memcpy(out, row.key + 17, *len);
			return true;
		}
		memcpy(key.bytes, row.key, row.key_len);
		key.bytes[row.key_len] = 0; /* just behind it */
		key.len = row.key_len + 1;
	}
	return false;
}

char *fsck_rows_path(struct fsck *f, inode_no ino, char out[PATH_MAX])
{
	char built[PATH_MAX];
	size_t start = sizeof built - 1;
	uint8_t name[NAME_BYTES_MAX];
	size_t len;
	inode_no at = ino;

	built[start] = '\0';
	for (unsigned depth = 0; at != INODE_ROOT; depth++) {
		const struct fsck_inode *inode = fsck_rows_find(f, at);

		if (!inode || !inode->dir || depth == PATH_DEPTH_MAX ||
		    !name_in(f, inode->dir, at, name, &len) || len + 1 > start) {
			(void)snprintf(out, PATH_MAX, "inode %" PRIu64, ino);
			return out;
		}
		for (size_t i = 0; i < len; i++)
			name[i] = name[i] ? name[i] : '?';
		start -= len;
		memcpy(built + start, name, len);
		built[--start] = '/';
		at = inode->dir;
	}
	(void)snprintf(out, PATH_MAX, "%s", built[start] ? built + start : "/");
	return out;
}

void fsck_inode_fault(struct fsck *f, enum fsck_class c, inode_no ino, const char *text)
{
	char path[PATH_MAX];

	fsck_fault(&f->report, c, fsck_rows_path(f, ino, path), "%s (inode %" PRIu64 ")", text,
		   ino);
}

/* --- over the whole --------------------------------------------------------------------------- */

static void check_links(struct fsck *f, const struct fsck_inode *i)
{
	char text[96];
	uint32_t wanted = S_ISDIR(i->mode) ? 2 + i->subdirs : i->names;

	if (i->ino != INODE_ROOT && i->names == 0 && i->nlink == 0) {
		if (!(i->flags & (FSCK_INODE_HAS_ORPHAN | FSCK_INODE_HAS_TRASH)))
			fsck_inode_fault(f, FSCK_LINKS, i->ino,
					 "has no name and nobody has it open");
		return;
	}
	if (i->flags & FSCK_INODE_HIDDEN && !S_ISDIR(i->mode))
		wanted++;
	if (i->ino != INODE_ROOT && i->names == 0 && !(i->flags & FSCK_INODE_HIDDEN))
		fsck_inode_fault(f, FSCK_LINKS, i->ino, "has no name");
	if (i->nlink == wanted)
		return;
	(void)snprintf(text, sizeof text, "says %" PRIu32 " links, has %" PRIu32, i->nlink, wanted);
	fsck_inode_fault(f, FSCK_LINKS, i->ino, text);
}

static void check_belongings(struct fsck *f, const struct fsck_inode *i)
{
	if (S_ISLNK(i->mode) && i->bytes_wanted == 0)
		fsck_inode_fault(f, FSCK_ROW, i->ino, "symbolic link has an impossible length");
	if (i->flags & FSCK_INODE_BAD_BYTES)
		fsck_inode_fault(f, FSCK_CONTENT, i->ino, "inline content has a wrong length");
	if (i->xattrs > XATTRS_MAX)
		fsck_inode_fault(f, FSCK_ROW, i->ino, "has too many extended attributes");
	if (i->bytes_wanted && !(i->flags & FSCK_INODE_HAS_BYTES))
		fsck_inode_fault(f, FSCK_CONTENT, i->ino, "inline content is missing");
	if (!(i->flags & FSCK_INODE_MOVE) != !(i->flags & FSCK_INODE_HAS_MOVE))
		fsck_inode_fault(f, FSCK_ROW, i->ino, "mark to be moved into blocks is wrong");
	if (!(i->flags & FSCK_INODE_XATTRS) != !i->xattrs)
		fsck_inode_fault(f, FSCK_ROW, i->ino,
				 "says wrongly whether it has extended attributes");
	if (!(i->flags & FSCK_INODE_ACL) != !i->acls)
		fsck_inode_fault(f, FSCK_ROW, i->ino, "says wrongly whether it has an ACL");
}

/* Every directory with a name leads to the root. Each is walked once: who meets a walked one ends
 * there. */
static void check_reachable(struct fsck *f, struct fsck_inode *from)
{
	struct fsck_inode *at = from;
	uint8_t end = 0;

	while (at && !end) {
		if (at->walk > 1) {
			end = at->walk;
		} else if (at->ino == INODE_ROOT || at->flags & FSCK_INODE_HIDDEN) {
			end = 2;
		} else if (at->walk == 1 || !at->dir) {
			end = 3; /* a ring, or it has no name, which is told elsewhere */
		} else {
			at->walk = 1;
			at = fsck_rows_find(f, at->dir);
		}
	}
	if (!at)
		end = 3;
	if (end == 3 && from->dir && from->walk == 1)
		fsck_inode_fault(f, FSCK_NAME, from->ino,
				 "directory cannot be reached from the root");
	for (at = from; at && at->walk <= 1 && at->walk != end;
	     at = at->dir ? fsck_rows_find(f, at->dir) : NULL)
		at->walk = end;
}

static void check_counter(struct fsck *f, const char *name, uint64_t stored, uint64_t found)
{
	if (stored != found)
		fsck_fault(&f->report, FSCK_COUNTERS, name,
			   "stored as %" PRIu64 ", counted %" PRIu64, stored, found);
}

static void check_counters(struct fsck *f)
{
	f->report.result->files = f->sums.found.files;
	f->report.result->directories = f->sums.found.directories;
	if (!f->sums.has_collection)
		fsck_fault(&f->report, FSCK_COUNTERS, "collection epoch",
			   "row is missing or malformed");
	if (!f->sums.has_counters) {
		fsck_fault(&f->report, FSCK_COUNTERS, "counters", "row is missing or malformed");
		return;
	}
	check_counter(f, "files", f->sums.stored.files, f->sums.found.files);
	check_counter(f, "directories", f->sums.stored.directories, f->sums.found.directories);
	check_counter(f, "bytes_logical", f->sums.stored.bytes_logical,
		      f->sums.found.bytes_logical);
	if (f->sums.inode_max >= f->sums.stored.inode_limit)
		fsck_fault(&f->report, FSCK_COUNTERS, "inode numbers",
			   "inode %" PRIu64 " exists, but numbers below %" PRIu64
			   " only are set aside",
			   f->sums.inode_max, f->sums.stored.inode_limit);
}

static void check_servers_of(struct fsck *f, pg_no pg, const server_no *servers, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		if (!map_server(f->map, servers[i]))
			fsck_fault(&f->report, FSCK_PLACEMENT, "placement",
				   "group %u names server %" PRIu32 ", which does not exist", pg,
				   servers[i]);
		for (uint32_t k = 0; k < i; k++)
			if (servers[k] == servers[i])
				fsck_fault(&f->report, FSCK_PLACEMENT, "placement",
					   "group %u names server %" PRIu32 " twice", pg,
					   servers[i]);
	}
}

static void check_placement(struct fsck *f)
{
	if (f->sums.pgs != 0 && f->sums.pgs != PG_COUNT)
		fsck_fault(&f->report, FSCK_PLACEMENT, "placement",
			   "%" PRIu32 " of %u groups have a row", f->sums.pgs, PG_COUNT);
	for (uint32_t i = 0; i < map_server_count(f->map); i++)
		if (map_server_at(f->map, i)->server > f->sums.map_value.last_server)
			fsck_fault(&f->report, FSCK_PLACEMENT, "placement",
				   "server %" PRIu32 " is beyond the last number given",
				   map_server_at(f->map, i)->server);
	for (uint32_t pg = 0; pg < PG_COUNT; pg++) {
		const struct pg_row *row = map_pg(f->map, (pg_no)pg);

		check_servers_of(f, (pg_no)pg, row->replicas, row->replica_count);
		check_servers_of(f, (pg_no)pg, row->formers, row->former_count);
	}
}

static int scan(struct fsck *f)
{
	struct rows_snapshot *s;
	uint64_t rows = 0;
	struct row row;
	int rc = rows_snapshot_open(f->state, &s);

	if (rc < 0)
		return rc;
	while ((rc = rows_snapshot_next(s, &row)) == 1) {
		rc = fsck_rows_take(f, &row);
		if (rc < 0)
			break;
		fsck_progress(&f->report, "rows", ++rows, 0);
	}
	rows_snapshot_close(s);
	return rc;
}

/* The facts of an earlier time are forgotten. */
static int facts_begin(struct fsck *f)
{
	map_destroy(f->map);
	f->map = NULL;
	fsck_quota_forget(f);
	f->inode_count = 0;
	f->sums = (struct fsck_sums){.pgs = 0};
	f->report.result->names = 0;
	return map_create(&f->map);
}

int fsck_rows(struct fsck *f, struct error *err)
{
	struct fsck_inode *root;
	int rc = facts_begin(f);

	if (rc == 0 && f->state)
		rc = scan(f);
	if (rc < 0)
		return error_set(err, rc, "cannot go through the rows");
	if (!f->state)
		return 0;
	root = fsck_rows_find(f, INODE_ROOT);
	if (!root || !S_ISDIR(root->mode) || root->parent != INODE_ROOT)
		fsck_fault(&f->report, FSCK_ROW, "/", "the root directory is missing or wrong");
	for (uint64_t i = 0; i < f->inode_count; i++) {
		if (!f->inodes[i].mode) {
			fsck_inode_fault(f, FSCK_ROW, f->inodes[i].ino, "inode row is malformed");
			continue;
		}
		check_links(f, &f->inodes[i]);
		check_belongings(f, &f->inodes[i]);
		if (S_ISDIR(f->inodes[i].mode))
			check_reachable(f, &f->inodes[i]);
	}
	check_counters(f);
	fsck_quota_check(f);
	check_placement(f);
	return 0;
}

int fsck_rows_again(struct fsck *f, struct error *err)
{
	int rc;

	f->report.quiet = true;
	rc = fsck_rows(f, err);
	f->report.quiet = false;
	return rc;
}
