/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/tree_files.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <utlist.h>

struct name {
	struct name *next;
	inode_no ino;
	uint32_t type;
	size_t len;
	uint8_t bytes[];
};

struct walk {
	struct tree_files *w;
	struct error *err;
	struct name *names; /* of the directory that is being listed */
	char path[PATH_MAX];
	size_t path_len;
};

bool tree_files_is_gone(int rc)
{
	return rc == -E_STALE || rc == -E_NOENT || rc == -E_STALE_VERSION || rc == -E_NOTDIR;
}

static int on_name(void *arg, const uint8_t *name, size_t len, inode_no ino, uint32_t type)
{
	struct walk *walk = arg;
	struct name *n;

	if (type != S_IFREG && (type != S_IFDIR || walk->w->is_flat))
		return 0;
	n = malloc(sizeof *n + len);
	if (!n)
		return error_set(walk->err, -E_NOMEM, "cannot list '%s'", walk->path);
	n->ino = ino;
	n->type = type;
	n->len = len;
	memcpy(n->bytes, name, len);
	LL_PREPEND(walk->names, n);
	return 0;
}

static int visit_file(struct walk *walk, inode_no ino)
{
	struct tree_attr attr;
	struct tree_file file = {walk->path, &attr};
	int rc = tree_reader_attr(walk->w->reader, ino, &attr, walk->err);

	if (rc < 0)
		return rc;
	return S_ISREG(attr.mode) ? walk->w->fn(walk->w->arg, &file) : 0;
}

static int visit_directory(struct walk *walk, inode_no dir);

static int visit_name(struct walk *walk, const struct name *n)
{
	size_t len = walk->path_len;
	int rc;

	if (len + n->len + 2 > sizeof walk->path) {
		walk->w->too_long++;
		return 0;
	}
	if (len > 0)
		walk->path[walk->path_len++] = '/';
	memcpy(walk->path + walk->path_len, n->bytes, n->len);
	walk->path_len += n->len;
	walk->path[walk->path_len] = '\0';
	rc = n->type == S_IFDIR ? visit_directory(walk, n->ino) : visit_file(walk, n->ino);
	if (tree_files_is_gone(rc)) {
		walk->w->gone++;
		rc = 0;
	}
	walk->path_len = len;
	walk->path[len] = '\0';
	return rc;
}

static int visit_directory(struct walk *walk, inode_no dir)
{
	struct name *names, *next;
	int rc;

	walk->names = NULL;
	rc = tree_reader_list(walk->w->reader, dir, on_name, walk, walk->err);
	names = walk->names;
	walk->w->directories += rc >= 0;
	for (; names; names = next) {
		next = names->next;
		if (rc >= 0)
			rc = visit_name(walk, names);
		free(names);
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
		rc = S_ISDIR(attr.mode) ? visit_directory(walk, from) : visit_file(walk, from);
	}
	free(walk);
	return rc < 0 ? rc : 0;
}
