/* SPDX-License-Identifier: Apache-2.0 */
/* Extended attributes under lease; see xattr_cache.h. */
#include "client/core/xattr_cache.h"

#define HASH_NONFATAL_OOM 1
#include <stdlib.h>
#include <string.h>
#include <uthash.h>
#include <utlist.h>

#define ENTRIES_MAX	16384u
#define BYTES_MAX	MiB(8)
#define VALUE_BYTES_MAX KiB(8)
#define KEY_BYTES_MAX	(sizeof(inode_no) + XATTR_NAME_BYTES_MAX)

struct cl_xattr {
	struct cl_xattr_value value;	/* its bytes stand behind the key */
	UT_hash_handle hh;
	struct cl_xattr *prev, *next;	/* least recently used first */
	uint32_t key_len;
	uint8_t key[];
};

static uint32_t key_of(inode_no ino, const char *name, uint8_t out[KEY_BYTES_MAX])
{
	size_t len = strlen(name);

	ASSERT(len <= XATTR_NAME_BYTES_MAX);
	memcpy(out, &ino, sizeof ino);
	memcpy(out + sizeof ino, name, len);
	return (uint32_t)(sizeof ino + len);
}

static size_t entry_bytes(const struct cl_xattr *e)
{
	return sizeof *e + e->key_len + e->value.len;
}

static void entry_drop(struct cl_xattrs *all, struct cl_xattr *e)
{
	all->bytes -= entry_bytes(e);
	all->count--;
	HASH_DEL(all->table, e);
	DL_DELETE(all->lru, e);
	free(e);
}

bool cl_xattr_cache_find(struct client *c, inode_no ino, const char *name, uint64_t version,
			 struct cl_xattr_value *out)
{
	struct cl_xattrs *all = &c->xattrs;
	uint8_t key[KEY_BYTES_MAX];
	uint32_t key_len = key_of(ino, name, key);
	struct cl_xattr *e;

	HASH_FIND(hh, all->table, key, key_len, e);
	if (!e)
		return false;
	if (e->value.version != version) {
		entry_drop(all, e);
		return false;
	}
	DL_DELETE(all->lru, e);
	DL_APPEND(all->lru, e);
	*out = e->value;
	return true;
}

void cl_xattr_cache_put(struct client *c, inode_no ino, const char *name,
			const struct cl_xattr_value *value)
{
	struct cl_xattrs *all = &c->xattrs;
	uint8_t key[KEY_BYTES_MAX];
	uint32_t key_len = key_of(ino, name, key);
	struct cl_xattr *e;

	HASH_FIND(hh, all->table, key, key_len, e);
	if (e)
		entry_drop(all, e);
	if (value->len > VALUE_BYTES_MAX)
		return;
	while (all->lru && (all->count >= ENTRIES_MAX || all->bytes >= BYTES_MAX))
		entry_drop(all, all->lru);
	e = malloc(sizeof *e + key_len + value->len);
	if (!e)
		return;
	e->key_len = key_len;
	memcpy(e->key, key, key_len);
	e->value = *value;
	e->value.bytes = e->key + key_len;
	if (value->len)
		memcpy(e->key + key_len, value->bytes, value->len);
	HASH_ADD_KEYPTR(hh, all->table, e->key, key_len, e);
	if (!e->hh.tbl) {
		free(e);
		return;
	}
	DL_APPEND(all->lru, e);
	all->count++;
	all->bytes += entry_bytes(e);
}

void cl_xattr_cache_finish(struct client *c)
{
	while (c->xattrs.lru)
		entry_drop(&c->xattrs, c->xattrs.lru);
}
