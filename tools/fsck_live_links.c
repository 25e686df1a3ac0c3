/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Links of a running cluster: does each inode have as many names as it says?
 *
 * The walk lists a directory at one moment and asks for the attributes of what it named at a later
 * one: a link made in between is in the attributes and not in the list. So a count that does not
 * agree is a suspicion. Suspects are looked at again by names alone, between two questions for
 * their version: whatever gets or loses a name gets a new version, so where the version stays, the
 * names stood still. Only a directory that is moved meanwhile, from what is still to be listed to
 * what is listed already, can hide a name then; hence a fault is what several looks agree about.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <utlist.h>

#include "fs/base/text.h"
#include "tools/fsck_internal.h"
#include "tools/tree_reader.h"

#define LOOKS 3u

struct dir {
	struct dir *next;
	inode_no ino;
};

struct look {
	struct fsck *f;
	struct tree_reader *reader;
	struct error *err;
	struct dir *dirs; /* to be listed */
	inode_no dir;	  /* being listed */
};

int fsck_live_links_take(struct fsck *f, inode_no dir, const char *path,
			 const struct tree_attr *attr)
{
	struct fsck_links links;
	int rc = fsck_index_links_get(f, attr->ino, &links);

	if (rc < 0)
		return rc;
	if (links.names++ == 0 && attr->ino != INODE_ROOT)
		(void)text_copy(links.path, sizeof links.path, path);
	links.version = attr->version;
	links.nlink = attr->nlink;
	links.is_dir = S_ISDIR(attr->mode);
	rc = fsck_index_links_put(f, &links);
	if (rc < 0 || !links.is_dir || attr->ino == INODE_ROOT)
		return rc;
	rc = fsck_index_links_get(f, dir, &links);
	links.subdirs++;
	return rc < 0 ? rc : fsck_index_links_put(f, &links);
}

static uint32_t count_of(const struct fsck_links *links)
{
	return links->is_dir ? 2 + links->subdirs : links->names;
}

/* --- one look --------------------------------------------------------------------------------- */

/* Ask for the suspects anew; what is gone or has changed since is none. Returns how many are left,
 * or an error. */
static int ask_suspects(struct look *l, bool begins)
{
	struct fsck_links links = {.ino = 0};
	int rc, count = 0;

	while ((rc = fsck_index_links_next(l->f, &links)) == 0) {
		struct tree_attr now = {.ino = 0};
		struct error ignored = {0};

		if (!links.is_suspect)
			continue;
		rc = tree_reader_attr(l->reader, links.ino, &now, &ignored);
		if (rc < 0 && rc != -E_STALE)
			return error_set(l->err, rc, "cannot ask for '%s'", links.path);
		if (begins) {
			links.names = links.subdirs = 0;
			links.version = now.version;
			links.nlink = now.nlink;
			links.is_suspect = rc == 0;
		} else {
			links.is_suspect = rc == 0 && now.version == links.version &&
					   count_of(&links) != links.nlink;
		}
		count += links.is_suspect;
		rc = fsck_index_links_put(l->f, &links);
		if (rc < 0)
			return rc;
	}
	return rc == -E_NOENT ? count : rc;
}

static int push_dir(struct look *l, inode_no ino)
{
	struct dir *d = malloc(sizeof *d);

	if (!d)
		return error_set(l->err, -E_NOMEM, "cannot list directories");
	d->ino = ino;
	LL_PREPEND(l->dirs, d);
	return 0;
}

static int count_name(struct look *l, inode_no ino, bool as_subdir)
{
	struct fsck_links links;
	int rc = fsck_index_links_get(l->f, ino, &links);

	if (rc < 0 || !links.is_suspect)
		return rc;
	links.names += !as_subdir;
	links.subdirs += as_subdir;
	return fsck_index_links_put(l->f, &links);
}

static int on_name(void *arg, const struct tree_name *name)
{
	struct look *l = arg;
	int rc = count_name(l, name->ino, false);

	if (rc < 0 || name->type != S_IFDIR)
		return rc;
	rc = count_name(l, l->dir, true);
	return rc < 0 ? rc : push_dir(l, name->ino);
}

static int count_names(struct look *l)
{
	int rc = push_dir(l, INODE_ROOT);

	while (l->dirs) {
		struct dir *d = l->dirs;
		struct error why = {0};

		LL_DELETE(l->dirs, d);
		l->dir = d->ino;
		free(d);
		if (rc < 0)
			continue; /* only freed */
		rc = tree_reader_list(l->reader, l->dir, on_name, l, &why);
		if (rc == -E_STALE || rc == -E_NOENT || rc == -E_NOTDIR)
			rc = 0; /* removed since */
		else if (rc < 0 && !l->err->code)
			*l->err = why;
	}
	return rc;
}

/* --- all -------------------------------------------------------------------------------------- */

/* Who says something else than was counted on the way? Returns how many. */
static int find_suspects(struct fsck *f)
{
	struct fsck_links links = {.ino = 0};
	int rc, count = 0;

	while ((rc = fsck_index_links_next(f, &links)) == 0) {
		links.is_suspect = links.names > 0 && count_of(&links) != links.nlink;
		if (!links.is_suspect)
			continue;
		count++;
		rc = fsck_index_links_put(f, &links);
		if (rc < 0)
			return rc;
	}
	return rc == -E_NOENT ? count : rc;
}

static int tell(struct fsck *f)
{
	struct fsck_links links = {.ino = 0};
	int rc;

	while ((rc = fsck_index_links_next(f, &links)) == 0)
		if (links.is_suspect)
			fsck_fault(&f->report, FSCK_LINKS, links.path[0] ? links.path : "/",
				   "says %" PRIu32 " links, has %" PRIu32, links.nlink,
				   count_of(&links));
	return rc == -E_NOENT ? 0 : rc;
}

int fsck_live_links_check(struct fsck *f, struct tree_reader *reader, struct error *err)
{
	struct look l = {.f = f, .reader = reader, .err = err};
	int rc = find_suspects(f);

	for (uint32_t i = 0; i < LOOKS && rc > 0; i++) {
		rc = ask_suspects(&l, true);
		if (rc > 0)
			rc = count_names(&l);
		if (rc == 0)
			rc = ask_suspects(&l, false);
	}
	return rc < 0 ? rc : tell(f);
}
