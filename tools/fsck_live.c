/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A check of a running cluster: names by READDIR, attributes by GETATTR without leases, and each
 * distinct block from every server that should hold it, verified here.
 *
 * The cluster may be changing. What is gone when we ask (-E_STALE, -E_NOENT) is passed over; a
 * fault is only what no change explains. Memory: the names of the directories on the way down.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tools/fsck_internal.h"
#include "tools/tree_reader.h"

#define LEVEL_DATA 255u /* of a block of data, among the proved */

struct live {
	struct fsck *f;
	struct tree_reader *reader;
	struct error *err;
	char path[PATH_MAX]; /* of the directory in work, then of the file */
	size_t path_len;
	struct name *names; /* of the directory in work */
	/* of the file in work */
	uint64_t lost, few, blocks;
	struct block_id first;
	server_no first_server;
	uint8_t *plain;
};

/* A name of the directory in work; those that are directories are entered after all were read. */
struct name {
	struct name *next;
	inode_no ino;
	uint32_t type;
	size_t len;
	uint8_t bytes[];
};

static bool is_gone(int rc)
{
	return rc == -E_STALE || rc == -E_NOENT || rc == -E_STALE_VERSION || rc == -E_NOTDIR;
}

/* --- content
 * -----------------------------------------------------------------------------------------------
 */

static void note_first(struct live *l, const struct block_id *id, server_no server)
{
	if (l->lost + l->few > 0)
		return;
	l->first = *id;
	l->first_server = server;
}

/* Ask every replica. 0, or what ends the check. */
static int check_copies(struct live *l, const struct tree_block *b, bool *is_sound)
{
	const struct map *map = tree_reader_map(l->reader);
	const struct pg_row *row = map_pg(map, block_id_pg(&b->id));
	uint32_t good = 0, len = 0;
	server_no lacking = 0;

	for (uint32_t i = 0; i < row->replica_count; i++) {
		const struct server_row *server = map_server(map, row->replicas[i]);
		struct error why = {0};
		int rc = server && server->state <= SERVER_SUSPECT
				 ? tree_reader_get_at(l->reader, server->server, &b->id, l->plain,
						      &len, &why)
				 : 1;

		if (rc == 1)
			continue; /* told once, for the server */
		if (rc == 0 && !b->is_node && len != b->length)
			rc = -E_MALFORMED;
		good += rc == 0;
		if (rc < 0)
			lacking = server->server;
	}
	l->f->report.result->records += good;
	*is_sound = good > 0 && lacking == 0;
	if (*is_sound)
		return 0;
	note_first(l, &b->id, lacking);
	l->lost += good == 0;
	l->few += good > 0;
	return 0;
}

static int on_block(void *arg, const struct tree_block *b)
{
	struct live *l = arg;
	uint8_t level = b->is_node ? 0 : LEVEL_DATA;
	bool is_sound;
	int rc;

	l->blocks++;
	l->f->report.result->blocks++;
	fsck_progress(&l->f->report, "blocks", l->f->report.result->blocks, 0);
	if (fsck_index_is_proved(l->f, &b->id, level, b->length))
		return 0;
	rc = check_copies(l, b, &is_sound);
	if (rc == 0 && is_sound)
		rc = fsck_index_prove(l->f, &b->id, level, b->length);
	return rc;
}

static void tell(struct live *l)
{
	char hex[BLOCK_ID_HEX_BYTES];

	block_id_hex(&l->first, hex);
	if (l->lost)
		fsck_fault(&l->f->report, FSCK_CONTENT, l->path,
			   "%" PRIu64 " of %" PRIu64 " blocks have no good copy "
			   "that answers, the first is %s",
			   l->lost, l->blocks, hex);
	if (l->few)
		fsck_fault(&l->f->report, FSCK_COPIES, l->path,
			   "%" PRIu64 " of %" PRIu64 " blocks lack a good copy, the "
			   "first on server %" PRIu32 ": %s",
			   l->few, l->blocks, l->first_server, hex);
}

static int check_file(struct live *l, const struct tree_attr *attr)
{
	struct error why = {0};
	uint32_t bytes = 0;
	int rc;

	l->lost = l->few = l->blocks = 0;
	if (attr->root.kind == ROOT_INLINE) {
		rc = tree_reader_inline(l->reader, attr, &bytes, &why);
		if (rc == 0 && bytes != attr->root.length)
			fsck_fault(&l->f->report, FSCK_CONTENT, l->path,
				   "inline content has %" PRIu32 " bytes, not %" PRIu64, bytes,
				   attr->root.length);
	} else {
		rc = tree_reader_walk(l->reader, &attr->root, on_block, l, &why);
		tell(l);
	}
	l->f->report.result->content_bytes += attr->root.length;
	if (rc == 0 || is_gone(rc))
		return 0;
	if (rc == -E_NOTCONN || rc == -E_NO_SESSION || rc == -E_NOMEM) {
		*l->err = why;
		return rc;
	}
	fsck_fault(&l->f->report, FSCK_CONTENT, l->path, "%s", why.text);
	return 0;
}

/* --- names
 * --------------------------------------------------------------------------------------------------
 */

static int on_name(void *arg, const uint8_t *name, size_t len, inode_no ino, uint32_t type)
{
	struct live *l = arg;
	struct name *n = malloc(sizeof *n + len);

	if (!n)
		return error_set(l->err, -E_NOMEM, "cannot list '%s'", l->path);
	n->ino = ino;
	n->type = type;
	n->len = len;
	memcpy(n->bytes, name, len);
	n->next = l->names;
	l->names = n;
	return 0;
}

struct search {
	const struct name *name;
	bool found;
};

static int on_searched(void *arg, const uint8_t *name, size_t len, inode_no ino, uint32_t type)
{
	struct search *s = arg;

	(void)type;
	s->found |= ino == s->name->ino && len == s->name->len &&
		    memcmp(name, s->name->bytes, len) == 0;
	return 0;
}

/* Its inode was not there: is the name gone as well by now, or does it lead nowhere? */
static void check_gone(struct live *l, inode_no dir, const struct name *n)
{
	struct search s = {.name = n};
	struct tree_attr attr;
	struct error ignored;

	if (tree_reader_list(l->reader, dir, on_searched, &s, &ignored) == 0 && s.found &&
	    tree_reader_attr(l->reader, n->ino, &attr, &ignored) == -E_STALE)
		fsck_fault(&l->f->report, FSCK_NAME, l->path, "names an inode that does not exist");
}

static int check_directory(struct live *l, inode_no dir);

static int check_name(struct live *l, inode_no dir, const struct name *n)
{
	struct tree_attr attr;
	struct error why = {0};
	size_t len = l->path_len;
	int rc;

	if (len + n->len + 2 > sizeof l->path) {
		fsck_fault(&l->f->report, FSCK_NAME, l->path,
			   "a path below it is too long to be looked at");
		return 0;
	}
	l->path[len] = '/';
	memcpy(l->path + len + 1, n->bytes, n->len);
	l->path_len = len + 1 + n->len;
	l->path[l->path_len] = '\0';
	l->f->report.result->names++;
	rc = tree_reader_attr(l->reader, n->ino, &attr, &why);
	if (rc == -E_STALE)
		check_gone(l, dir, n);
	else if (rc < 0)
		*l->err = why;
	else if ((attr.mode & S_IFMT) != n->type)
		fsck_fault(&l->f->report, FSCK_NAME, l->path, "says another type than its inode");
	if (rc == 0) {
		l->f->report.result->directories += S_ISDIR(attr.mode);
		l->f->report.result->files += !S_ISDIR(attr.mode);
		rc = S_ISDIR(attr.mode)	  ? check_directory(l, n->ino)
		     : S_ISREG(attr.mode) ? check_file(l, &attr)
					  : 0;
	}
	l->path_len = len;
	l->path[len] = '\0';
	return rc == -E_STALE ? 0 : rc;
}

static int check_directory(struct live *l, inode_no dir)
{
	struct name *names, *next;
	struct error why = {0};
	int rc;

	l->names = NULL;
	rc = tree_reader_list(l->reader, dir, on_name, l, &why);
	names = l->names;
	if (rc < 0 && !is_gone(rc))
		*l->err = l->err->code ? *l->err : why;
	rc = is_gone(rc) ? 0 : rc;
	for (; names; names = next) {
		next = names->next;
		if (rc >= 0)
			rc = check_name(l, dir, names);
		free(names);
	}
	return rc;
}

/* --- all
 * -----------------------------------------------------------------------------------------------------
 */

static void tell_servers(struct live *l)
{
	const struct map *map = tree_reader_map(l->reader);

	for (uint32_t i = 0; i < map_server_count(map); i++) {
		const struct server_row *row = map_server_at(map, i);
		char name[32];

		(void)snprintf(name, sizeof name, "server %" PRIu32, row->server);
		if (row->state > SERVER_SUSPECT && row->state != SERVER_REMOVED)
			fsck_fault(&l->f->report, FSCK_COPIES, name,
				   "is %s: its copies are not proved",
				   server_state_name(row->state));
	}
}

static int check_all(struct live *l)
{
	l->plain = malloc(BLOCK_BYTES_MAX);
	if (!l->plain)
		return error_set(l->err, -E_NOMEM, "cannot start");
	tell_servers(l);
	l->f->report.result->directories = 1;
	return check_directory(l, INODE_ROOT);
}

int fsck_live(const char *mds, const struct fsck_options *options, struct fsck_result *out,
	      struct error *err)
{
	struct fsck *f = calloc(1, sizeof *f);
	struct live *l = calloc(1, sizeof *l);
	struct error local = {0};
	int rc = f && l ? 0 : -E_NOMEM;

	err = err ? err : &local;
	*err = local;
	memset(out, 0, sizeof *out);
	if (rc < 0) {
		free(f);
		free(l);
		return error_set(err, rc, "cannot start");
	}
	l->f = f;
	l->err = err;
	rc = fsck_begin(f, options, out, err);
	if (rc == 0)
		rc = tree_reader_open(mds, &l->reader, err);
	if (rc == 0)
		rc = check_all(l);
	tree_reader_close(l->reader);
	fsck_end(f);
	free(l->plain);
	free(l);
	return rc;
}
