/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/tree_files.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <utlist.h>

struct directory {
	struct directory *next;
	inode_no ino;
	size_t len;
	uint8_t name[];
};

struct walk {
	struct tree_files *w;
	struct error *err;
	struct directory *below; /* of the directory that is being listed */
	char path[PATH_MAX];
	size_t path_len;
};

bool tree_files_is_gone(int rc)
{
	return rc == -E_STALE || rc == -E_NOENT || rc == -E_STALE_VERSION || rc == -E_NOTDIR;
}

/* Go on to a name below; false: the path would be too long. */
static bool path_enter(struct walk *walk, const uint8_t *name, size_t len)
{
	if (walk->path_len + len + 2 > sizeof walk->path) {
		walk->w->too_long++;
		return false;
	}
	if (walk->path_len > 0)
		walk->path[walk->path_len++] = '/';
	memcpy(walk->path + walk->path_len, name, len);
	walk->path_len += len;
	walk->path[walk->path_len] = '\0';
	return true;
}

static void path_leave(struct walk *walk, size_t len)
{
	walk->path_len = len;
	walk->path[len] = '\0';
}

static int pass_over_gone(struct walk *walk, int rc)
{
	if (!tree_files_is_gone(rc))
		return rc;
	walk->w->gone++;
	return 0;
}

/* `attr` NULL: nobody has told yet. */
static int visit_file(struct walk *walk, inode_no ino, const struct tree_attr *attr)
{
	struct tree_attr asked;
	struct tree_file file = {walk->path, attr ? attr : &asked};
	int rc = attr ? 0 : tree_reader_attr(walk->w->reader, ino, &asked, walk->err);

	if (rc < 0)
		return rc;
	return S_ISREG(file.attr->mode) ? walk->w->fn(walk->w->arg, &file) : 0;
}

static int visit_file_below(struct walk *walk, const struct tree_name *name)
{
	size_t len = walk->path_len;
	int rc;

	if (!path_enter(walk, name->bytes, name->len))
		return 0;
	rc = visit_file(walk, name->ino, name->attr);
	path_leave(walk, len);
	return pass_over_gone(walk, rc);
}

/* Files at once, while their attributes are fresh; directories when the list is complete. */
static int on_name(void *arg, const struct tree_name *name)
{
	struct walk *walk = arg;
	struct directory *d;

	if (name->type == S_IFREG)
		return visit_file_below(walk, name);
	if (name->type != S_IFDIR || walk->w->is_flat)
		return 0;
	d = malloc(sizeof *d + name->len);
	if (!d)
		return error_set(walk->err, -E_NOMEM, "cannot list '%s'", walk->path);
	d->ino = name->ino;
	d->len = name->len;
	memcpy(d->name, name->bytes, name->len);
	LL_PREPEND(walk->below, d);
	return 0;
}

static int visit_directory(struct walk *walk, inode_no dir);

static int visit_directory_below(struct walk *walk, const struct directory *d)
{
	size_t len = walk->path_len;
	int rc;

	if (!path_enter(walk, d->name, d->len))
		return 0;
	rc = visit_directory(walk, d->ino);
	path_leave(walk, len);
	return pass_over_gone(walk, rc);
}

static int visit_directory(struct walk *walk, inode_no dir)
{
	struct directory *d, *next;
	int rc;

	walk->below = NULL;
	rc = tree_reader_list_plus(walk->w->reader, dir, on_name, walk, walk->err);
	d = walk->below;
	walk->w->directories += rc >= 0;
	for (; d; d = next) {
		next = d->next;
		if (rc >= 0)
			rc = visit_directory_below(walk, d);
		free(d);
	}
	return rc;
}

int tree_files_walk(struct tree_files *w, inode_no from, struct error *err)
{
	struct walk *walk = calloc(1, sizeof *walk);
	struct tree_attr attr;
	int rc = walk ? tree_reader_attr(w->reader, from, &attr, err)
		      : error_set(err, -E_NOMEM, "cannot start");

	if (rc == 0) {
		walk->w = w;
		walk->err = err;
		rc = S_ISDIR(attr.mode) ? visit_directory(walk, from)
					: visit_file(walk, from, &attr);
	}
	free(walk);
	return rc < 0 ? rc : 0;
}
