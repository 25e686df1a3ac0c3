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
#include <time.h>

#include "fs/base/text.h"
#include "tools/fsck_internal.h"
#include "tools/tree_reader.h"

#define POLL_MS		100u
#define PATIENCE_MS_ONE 5000u
#define PATIENCE_MS_ALL 30000u
#define LEVEL_DATA	255u /* of a block of data, among the proved */

struct live {
	struct fsck *f;
	struct tree_reader *reader;
	struct error *err;
	char path[PATH_MAX]; /* of the directory in work, then of the file */
	size_t path_len;
	struct name *names; /* of the directory in work */
	/* of the file in work */
	uint64_t lost, few, blocks;
	uint64_t degraded;    /* copies that healing is to bring, over all */
	uint32_t patience_ms; /* that is left */
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

/* --- content ---------------------------------------------------------------------------------- */

static void note_first(struct live *l, const struct block_id *id, server_no server)
{
	if (l->lost + l->few > 0)
		return;
	l->first = *id;
	l->first_server = server;
}

/* 0: the server gives the block, and it is right. */
static int ask_one(struct live *l, const struct tree_block *b, server_no server)
{
	struct error why = {0};
	uint32_t len = 0;
	int rc = tree_reader_get_at(l->reader, server, &b->id, l->plain, &len, &why);

	return rc == 0 && !b->is_node && len != b->length ? -E_MALFORMED : rc;
}

/*
 * It gave no good copy, but others do. It may be about to get one: what is owed is repaid within
 * seconds. With repair it is asked to prove what it has, and to fetch it again. There is only so
 * much patience for all.
 */
static bool comes_round(struct live *l, const struct tree_block *b, server_no server)
{
	const struct timespec pause = {.tv_nsec = POLL_MS * 1000000L};
	bool repair = l->f->options->repair;
	char hex[BLOCK_ID_HEX_BYTES];
	struct error why = {0};

	if (repair && tree_reader_check(l->reader, server, &b->id, &why) < 0)
		return false;
	for (uint32_t ms = 0; ms < PATIENCE_MS_ONE && l->patience_ms > 0; ms += POLL_MS) {
		if (ask_one(l, b, server) == 0) {
			if (repair)
				fsck_corrected(&l->f->report, FSCK_COPIES, l->path,
					       "server %" PRIu32 " fetched block %s again", server,
					       block_id_hex(&b->id, hex));
			return true;
		}
		nanosleep(&pause, NULL);
		l->patience_ms -= MIN_OF(l->patience_ms, POLL_MS);
	}
	return false;
}

/* Ask every replica; those that give no good copy into `lacking`. Returns how many do. */
static uint32_t ask_all(struct live *l, const struct tree_block *b, const struct pg_row *row,
			server_no lacking[COPIES_MAX], uint32_t *lacking_count)
{
	const struct map *map = tree_reader_map(l->reader);
	uint32_t good = 0;

	*lacking_count = 0;
	for (uint32_t i = 0; i < row->replica_count; i++) {
		const struct server_row *server = map_server(map, row->replicas[i]);

		if (!server || server->state > SERVER_SUSPECT)
			continue; /* told once, for the server */
		if (ask_one(l, b, server->server) == 0)
			good++;
		else
			lacking[(*lacking_count)++] = server->server;
	}
	/* Formers are asked last, as readers do. */
	for (uint32_t i = 0; i < row->former_count && good == 0; i++)
		good += ask_one(l, b, row->formers[i]) == 0;
	return good;
}

/* Is the block as safe as it should be? */
static bool check_copies(struct live *l, const struct tree_block *b)
{
	const struct pg_row *row = map_pg(tree_reader_map(l->reader), block_id_pg(&b->id));
	server_no lacking[COPIES_MAX];
	uint32_t count, left = 0, good = ask_all(l, b, row, lacking, &count);

	l->f->report.result->records += good;
	if (good > 0 && row->state != PG_CLEAN) {
		l->degraded += count; /* healing brings it */
		return count == 0;
	}
	for (uint32_t i = 0; i < count && good > 0; i++)
		if (!comes_round(l, b, lacking[i]))
			lacking[left++] = lacking[i];
	if (good > 0 && left == 0)
		return true;
	note_first(l, &b->id, left ? lacking[0] : 0);
	l->lost += good == 0;
	l->few += good > 0;
	return false;
}

static int on_block(void *arg, const struct tree_block *b)
{
	struct live *l = arg;
	struct node_entry what = { .length = b->length, .data = b->data, .id = b->id };
	uint8_t level = b->is_node ? 0 : LEVEL_DATA;

	l->blocks++;
	l->f->report.result->blocks++;
	fsck_progress(&l->f->report, "blocks", l->f->report.result->blocks, 0);
	if (fsck_index_is_proved(l->f, level, &what))
		return 0;
	return check_copies(l, b) ? fsck_index_prove(l->f, level, &what) : 0;
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

static bool has_changed(struct live *l, const struct tree_attr *before)
{
	struct tree_attr now;
	struct error ignored = {0};
	int rc = tree_reader_attr(l->reader, before->ino, &now, &ignored);

	return is_gone(rc) || (rc == 0 && now.version != before->version);
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
		if ((l->lost || l->few || rc < 0) && has_changed(l, attr))
			return 0; /* what we looked for may be gone for good reasons */
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

/* --- names ------------------------------------------------------------------------------------ */

static int on_name(void *arg, const struct tree_name *name)
{
	struct live *l = arg;
	struct name *n = malloc(sizeof *n + name->len);

	if (!n)
		return error_set(l->err, -E_NOMEM, "cannot list '%s'", l->path);
	n->ino = name->ino;
	n->type = name->type;
	n->len = name->len;
	memcpy(n->bytes, name->bytes, name->len);
	n->next = l->names;
	l->names = n;
	return 0;
}

struct search {
	const struct name *name;
	bool found;
};

static int on_searched(void *arg, const struct tree_name *name)
{
	struct search *s = arg;

	s->found |= name->ino == s->name->ino && name->len == s->name->len &&
		    memcmp(name->bytes, s->name->bytes, name->len) == 0;
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
	if (rc == 0)
		rc = fsck_live_links_take(l->f, dir, l->path, &attr);
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

/* --- all -------------------------------------------------------------------------------------- */

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
	struct tree_attr root;
	int rc;

	l->plain = malloc(BLOCK_BYTES_MAX);
	if (!l->plain)
		return error_set(l->err, -E_NOMEM, "cannot start");
	l->patience_ms = PATIENCE_MS_ALL;
	tell_servers(l);
	l->f->report.result->directories = 1;
	rc = tree_reader_attr(l->reader, INODE_ROOT, &root, l->err);
	if (rc == 0)
		rc = fsck_live_links_take(l->f, INODE_ROOT, "", &root);
	if (rc == 0)
		rc = check_directory(l, INODE_ROOT);
	if (rc == 0)
		rc = fsck_live_links_check(l->f, l->reader, l->err);
	if (l->degraded)
		fsck_note(&l->f->report, "copies",
			  "%" PRIu64 " copies are still to be made, by healing", l->degraded);
	return rc < 0 && !l->err->code ? error_set(l->err, rc, "cannot use '%s'", l->f->scratch)
				       : rc;
}

static int check_live(const char *mds, const struct fsck_options *options, struct fsck_result *out,
		      struct error *err)
{
	struct fsck *f = calloc(1, sizeof *f);
	struct live *l = calloc(1, sizeof *l);
	int rc = f && l ? 0 : -E_NOMEM;

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

/* With repair: a second look tells what came of it. */
int fsck_live(const char *mds, const struct fsck_options *options, struct fsck_result *out,
	      struct error *err)
{
	struct fsck_options look = *options;
	struct fsck_result first;
	struct error local = {0};
	int rc;

	err = err ? err : &local;
	*err = local;
	memset(out, 0, sizeof *out);
	rc = check_live(mds, options, out, err);
	if (rc < 0 || !options->repair || (out->fault_count == 0 && out->corrected_count == 0))
		return rc;
	first = *out;
	look.repair = false;
	rc = check_live(mds, &look, out, err);
	fsck_report_join(out, &first);
	fsck_result_finish(&first);
	return rc;
}
