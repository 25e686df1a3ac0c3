/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names under lease, present or absent, and directories that are known whole: a bounded table in
 * order of use; see node.h.
 */
#include "client/core/node.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "client/core/file.h"
#include "fs/base/text.h"
#include "fs/hash/checksum.h"

struct name_key {
	inode_no parent;
	uint64_t hash;
};

struct cl_name {
	struct name_key key;
	inode_no ino;			/* 0: absent */
	UT_hash_handle hh;
	struct cl_name *prev, *next;	/* LRU */
};

static struct name_key name_key_of(const struct client *c, inode_no parent, const char *name)
{
	struct name_key key = { parent, checksum_name(c->session.name_key, name, strlen(name)) };
	return key;
}

static void name_free(struct client *c, struct cl_name *name)
{
	HASH_DEL(c->names, name);
	DL_DELETE(c->name_lru, name);
	c->name_count--;
	free(name);
}

/* It is not in the table any more, whatever became of it. */
static void name_lose(struct client *c, struct cl_name *name)
{
	cl_node_dir_unknown(c, name->key.parent);
	name_free(c, name);
}

/* The kernel may trust them still: it must ask again for whatever we give up. */
static void names_trim(struct client *c)
{
	struct cl_returns *returns = NULL;
	if (c->options.on_inval_names)
		c->options.on_inval_names(c->options.arg);
	for (unsigned i = 0; i < CL_TRIM_COUNT && c->name_lru; i++) {
		struct cl_name *oldest = c->name_lru;
		cl_lease_return(c, &returns, oldest->key.parent, oldest->key.hash);
		name_lose(c, oldest);
	}
	cl_lease_return_end(c, &returns);
}

/* False: no memory. */
static bool name_put(struct client *c, const struct name_key *key, inode_no ino)
{
	struct cl_name *name;
	HASH_FIND(hh, c->names, key, sizeof *key, name);
	if (name) {
		name->ino = ino;
		DL_DELETE(c->name_lru, name);
		DL_APPEND(c->name_lru, name);
		return true;
	}
	if (c->name_count >= CL_NAMES_MAX)
		names_trim(c);
	name = calloc(1, sizeof *name);
	if (!name)
		return false;
	name->key = *key;
	name->ino = ino;
	HASH_ADD(hh, c->names, key, sizeof name->key, name);
	if (!name->hh.tbl) {
		free(name);
		return false;
	}
	DL_APPEND(c->name_lru, name);
	c->name_count++;
	return true;
}

static bool is_granted(struct cl_req *req, const Wire__NodeReply *reply, const struct name_key *key)
{
	const struct cl_session *s = &req->client->session;
	if (req->return_count != s->return_count || req->call.session != s->number)
		return false;
	for (size_t i = 0; i < reply->n_leases; i++)
		if (reply->leases[i]->ino == key->parent &&
		    reply->leases[i]->name_hash == key->hash &&
		    reply->leases[i]->mode != CL_LEASE_NONE)
			return true;
	return false;
}

bool cl_node_name_is_granted(struct cl_req *req, const Wire__NodeReply *reply, inode_no parent,
			     const char *name)
{
	struct name_key key = name_key_of(req->client, parent, name);
	return is_granted(req, reply, &key);
}

void cl_node_name_seen(struct client *c, inode_no ino, inode_no parent, const char *name)
{
	struct cl_node *node;
	HASH_FIND(hh, c->nodes, &ino, sizeof ino, node);
	if (!node)
		return;
	node->parent_hint = parent;
	if (node->name_hint && strcmp(node->name_hint, name) == 0)
		return;
	free(node->name_hint);
	node->name_hint = strdup(name);		/* without memory there is no hint */
}

bool cl_node_name_set(struct cl_req *req, const Wire__NodeReply *reply, inode_no parent,
		      const char *name, inode_no ino)
{
	struct client *c = req->client;
	struct name_key key = name_key_of(c, parent, name);
	struct cl_name *held;
	cl_node_name_seen(c, ino, parent, name);
	if (is_granted(req, reply, &key) && name_put(c, &key, ino))
		return true;
	/*
	 * No lease with this reply: a name that we held under one is still ours, and has just
	 * changed.
	 */
	HASH_FIND(hh, c->names, &key, sizeof key, held);
	if (held)
		held->ino = ino;
	else if (ino)
		cl_node_dir_unknown(c, parent);
	return held != NULL;
}

void cl_node_name_grant(struct client *c, inode_no parent, const char *name, inode_no ino)
{
	struct name_key key = name_key_of(c, parent, name);
	if (!name_put(c, &key, ino))
		cl_node_dir_unknown(c, parent);
}

bool cl_node_name_find(struct client *c, inode_no parent, const char *name, inode_no *ino)
{
	struct name_key key = name_key_of(c, parent, name);
	struct cl_name *found;
	if (!cl_session_is_valid(c))
		return false;
	HASH_FIND(hh, c->names, &key, sizeof key, found);
	if (!found)
		return false;
	*ino = found->ino;
	DL_DELETE(c->name_lru, found);
	DL_APPEND(c->name_lru, found);
	return true;
}

void cl_node_name_drop_hash(struct client *c, inode_no parent, uint64_t hash)
{
	struct name_key key = { parent, hash };
	struct cl_name *found;
	HASH_FIND(hh, c->names, &key, sizeof key, found);
	if (found)
		name_lose(c, found);
}

void cl_node_name_drop(struct client *c, inode_no parent, const char *name)
{
	struct name_key key = name_key_of(c, parent, name);
	cl_node_name_drop_hash(c, parent, key.hash);
}

/* --- paths, as far as hints tell -------------------------------------------------------------- */

#define PATH_DEPTH_MAX 64u

void cl_node_path(struct client *c, inode_no ino, char *out, size_t out_bytes)
{
	const char *names[PATH_DEPTH_MAX];
	struct text path;
	unsigned depth = 0;

	while (ino != INODE_ROOT && depth < PATH_DEPTH_MAX) {
		const struct cl_node *node;
		HASH_FIND(hh, c->nodes, &ino, sizeof ino, node);
		if (!node || !node->name_hint)
			break;
		names[depth++] = node->name_hint;
		ino = node->parent_hint;
	}
	text_init(&path, out_bytes);
	if (depth > 0 && ino != INODE_ROOT)
		text_add(&path, "...");
	for (unsigned i = depth; i > 0; i--)
		text_addf(&path, "/%s", names[i - 1]);
	(void)text_copy(out, out_bytes, text_chars(&path));
	text_finish(&path);
}

/* --- complete directories --------------------------------------------------------------------- */

static struct cl_node *dir_find(struct client *c, inode_no ino)
{
	struct cl_node *dir;
	HASH_FIND(hh, c->nodes, &ino, sizeof ino, dir);
	return dir;
}

void cl_node_dir_complete(struct cl_node *dir)
{
	dir->is_complete = dir->lease != CL_LEASE_NONE && !dir->is_recalling;
}

/* An answer that is told a second time has no lease: others may have put something there since. */
void cl_node_dir_made(struct cl_req *req, const Wire__NodeReply *reply, struct cl_node *dir)
{
	const struct name_key whole = { dir->ino, 0 };
	if (is_granted(req, reply, &whole))
		cl_node_dir_complete(dir);
}

/* Its mtime need not tell, which may be set back: the kernel's pages of it are not to be used. */
static void dir_unknown(struct cl_node *dir)
{
	dir->is_complete = false;
	dir->names_lost++;
	dir->listed_until_ns = 0;
}

void cl_node_dir_unknown(struct client *c, inode_no ino)
{
	struct cl_node *dir = dir_find(c, ino);
	if (dir)
		dir_unknown(dir);
}

#define CONTENDED_NS (UINT64_C(1000000000))

void cl_node_dir_recalled(struct client *c, inode_no ino)
{
	struct cl_node *dir = dir_find(c, ino);
	if (!dir)
		return;
	dir->dir_recalls++;
	dir->contended_until_ns = loop_now_ns(c->options.loop) + CONTENDED_NS;
}

void cl_node_dir_changed(struct client *c, inode_no ino)
{
	struct cl_node *dir = dir_find(c, ino);
	if (!dir)
		return;
	dir->dir_changes++;
	dir->stale_dir_handles = dir->dir_handles;
	dir->listed_until_ns = 0;
}

void cl_node_dir_lost(struct client *c, struct cl_node *dir)
{
	dir_unknown(dir);
	if (dir->has_told_absent && c->options.on_inval_names)
		c->options.on_inval_names(c->options.arg);
	dir->has_told_absent = false;
}

bool cl_node_name_is_absent(struct client *c, inode_no parent)
{
	struct cl_node *dir = dir_find(c, parent);
	if (!dir || !dir->is_complete || dir->is_recalling || !cl_session_is_valid(c))
		return false;
	dir->has_told_absent = true;
	return true;
}

void cl_node_pages_unknown(struct cl_node *node)
{
	node->pages_root = (struct root){ .length = UINT64_MAX };
	node->pages_version = UINT64_MAX;
}

void client_pages_unknown(struct client *c, inode_no ino)
{
	struct cl_node *node = cl_node_find(c, ino);

	if (node)
		cl_node_pages_unknown(node);
}

/* --- all of them ------------------------------------------------------------------------------ */

void cl_node_drop_names(struct client *c)
{
	struct cl_node *node, *next;
	HASH_ITER(hh, c->nodes, node, next)
		dir_unknown(node);
	while (c->name_lru)
		name_free(c, c->name_lru);
	if (c->options.on_inval_names)
		c->options.on_inval_names(c->options.arg);
}

void cl_node_names_finish(struct client *c)
{
	while (c->name_lru)
		name_free(c, c->name_lru);
}
