/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulated disk. A node is a file's content, twice: as the process sees it, and as a power cut
 * would leave it at least; between the two stands the list of changes since the last sync. Names
 * are kept the same way: two tables, and the list of changes between them, in order.
 */
#include "tests/sim/sim_disk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "tests/sim/sim_bytes.h"

#define PATH_BYTES   256
#define SECTOR_BYTES 512u

/* A change of a node since its last sync: a write, or a new size. */
struct change {
	uint64_t offset;	/* of the write; or the size */
	uint64_t len;		/* 0: a new size */
	struct change *prev, *next;
	uint8_t bytes[];
};

struct node {
	uint32_t refs;		/* names in both tables, handles */
	bool is_dir;
	struct sim_bytes seen;
	struct sim_bytes durable;
	struct change *changes;
};

struct name {
	char path[PATH_BYTES];
	struct node *node;
	struct name *prev, *next;
};

/* A change of names that is not durable yet. */
struct name_change {
	enum { NAME_ADD, NAME_REMOVE, NAME_MOVE } kind;
	char path[PATH_BYTES], to[PATH_BYTES];
	struct node *node;	/* NAME_ADD; a reference */
	struct name_change *prev, *next;
};

struct sim_disk;

struct sim_media {
	struct sim_world *world;
	uint64_t bytes_total, bytes_made;	/* now; when it was made */
	struct sim_media_faults faults;
	uint64_t fault_count;
	bool is_dead;
	uint64_t life;			/* one up with each crash: older disks are dead */
	struct sim_disk *lock_owner;
	struct name *seen, *durable;	/* tables of names, in order of creation */
	struct name_change *name_changes;
	uint32_t disk_count;
};

struct sim_disk {
	struct disk base;		/* first */
	struct sim_media *media;
	uint64_t life;
};

struct sim_file {
	struct disk_file base;		/* first */
	struct node *node;
	bool may_write;
};

/* ---- nodes ----------------------------------------------------------------------------------- */

static void *allocate(size_t bytes)
{
	void *p = calloc(1, bytes);

	ASSERT(p != NULL);	/* a simulation without memory is over */
	return p;
}

static void changes_forget(struct node *node)
{
	struct change *change, *next;

	DL_FOREACH_SAFE(node->changes, change, next)
		free(change);
	node->changes = NULL;
}

static void node_put(struct node *node)
{
	if (node == NULL || --node->refs > 0)
		return;
	changes_forget(node);
	sim_bytes_finish(&node->seen);
	sim_bytes_finish(&node->durable);
	free(node);
}

static void node_change(struct node *node, const void *bytes, uint64_t len, uint64_t offset)
{
	struct change *change = allocate(sizeof *change + len);

	change->offset = offset;
	change->len = len;
	if (len > 0)
		memcpy(change->bytes, bytes, len);
	DL_APPEND(node->changes, change);
}

static void node_write(struct node *node, const void *bytes, uint64_t len, uint64_t offset)
{
	if (len == 0)
		return;
	sim_bytes_write(&node->seen, bytes, len, offset);
	node_change(node, bytes, len, offset);
}

static void node_resize(struct node *node, uint64_t size)
{
	sim_bytes_resize(&node->seen, size);
	node_change(node, NULL, 0, size);
}

static void change_apply(struct node *node, const struct change *change)
{
	if (change->len == 0)
		sim_bytes_resize(&node->durable, change->offset);
	else
		sim_bytes_write(&node->durable, change->bytes, change->len, change->offset);
}

static void node_sync(struct node *node)
{
	struct change *change;

	DL_FOREACH(node->changes, change)
		change_apply(node, change);
	changes_forget(node);
}

/* Some sectors of a write reach the medium, by the seed. */
static void change_tear(struct sim_world *world, struct node *node, const struct change *change)
{
	uint64_t at = change->offset, end = change->offset + change->len;

	while (at < end) {
		uint64_t next = MIN_OF(at - at % SECTOR_BYTES + SECTOR_BYTES, end);

		if (sim_world_below(world, 2) == 0)
			sim_bytes_write(&node->durable, change->bytes + (at - change->offset),
					next - at, at);
		at = next;
	}
}

/* The power went: each change since the last sync is kept, lost or torn. */
static void node_cut(struct sim_world *world, struct node *node)
{
	struct change *change;

	DL_FOREACH(node->changes, change) {
		uint64_t fate = sim_world_below(world, 3);

		if (fate == 0)
			change_apply(node, change);
		else if (fate == 1 && change->len > 0)
			change_tear(world, node, change);
	}
	changes_forget(node);
	sim_bytes_finish(&node->seen);
	for (uint64_t i = 0; i < node->durable.page_count; i++)
		if (node->durable.pages[i] != NULL)
			sim_bytes_write(&node->seen, node->durable.pages[i], SIM_PAGE_BYTES,
					i * SIM_PAGE_BYTES);
	sim_bytes_resize(&node->seen, node->durable.size);
}

/* ---- names ----------------------------------------------------------------------------------- */

static struct name *name_find(struct name *table, const char *path)
{
	struct name *name;

	DL_FOREACH(table, name)
		if (strcmp(name->path, path) == 0)
			return name;
	return NULL;
}

static void name_set(struct name **table, const char *path, struct node *node)
{
	struct name *name = name_find(*table, path);

	node->refs++;
	if (name == NULL) {
		name = allocate(sizeof *name);
		snprintf(name->path, sizeof name->path, "%s", path);
		DL_APPEND(*table, name);
	}
	node_put(name->node);
	name->node = node;
}

static void name_unset(struct name **table, const char *path)
{
	struct name *name = name_find(*table, path);

	if (name == NULL)
		return;
	DL_DELETE(*table, name);
	node_put(name->node);
	free(name);
}

static void names_apply(struct name **table, const struct name_change *change)
{
	struct name *from;

	switch (change->kind) {
	case NAME_ADD:
		name_set(table, change->path, change->node);
		break;
	case NAME_REMOVE:
		name_unset(table, change->path);
		break;
	case NAME_MOVE:
		from = name_find(*table, change->path);
		ASSERT(from != NULL);	/* changes become durable in their order */
		name_set(table, change->to, from->node);
		name_unset(table, change->path);
		break;
	}
}

static void names_change(struct sim_media *media, const struct name_change *change)
{
	struct name_change *copy = allocate(sizeof *copy);

	*copy = *change;
	if (copy->node != NULL)
		copy->node->refs++;
	DL_APPEND(media->name_changes, copy);
	names_apply(&media->seen, change);
}

static void name_change_free(struct sim_media *media, struct name_change *change)
{
	DL_DELETE(media->name_changes, change);
	node_put(change->node);
	free(change);
}

/* "" for "name", "dir" for "dir/name". */
static bool is_in_dir(const char *path, const char *dir)
{
	const char *slash = strchr(path, '/');
	size_t len = slash ? (size_t)(slash - path) : 0;

	return len == strlen(dir) && memcmp(path, dir, len) == 0;
}

static bool dir_exists(const struct sim_media *media, const char *dir)
{
	const struct name *name = name_find(media->seen, dir);

	return dir[0] == '\0' || (name != NULL && name->node->is_dir);
}

static bool parent_exists(const struct sim_media *media, const char *path)
{
	const struct name *name;
	const char *slash = strchr(path, '/');

	if (slash == NULL)
		return true;
	DL_FOREACH(media->seen, name)
		if (name->node->is_dir && is_in_dir(path, name->path))
			return true;
	return false;
}

static void names_add(struct sim_media *media, const char *path, bool is_dir)
{
	struct name_change change = { .kind = NAME_ADD, .node = allocate(sizeof *change.node) };

	snprintf(change.path, sizeof change.path, "%s", path);
	change.node->is_dir = is_dir;
	names_change(media, &change);
}

/* Make the first `count` changes durable. */
static void names_commit(struct sim_media *media, uint32_t count)
{
	for (; count > 0; count--) {
		names_apply(&media->durable, media->name_changes);
		name_change_free(media, media->name_changes);
	}
}

/* The power went: of the changes since the last sync, the first few are kept. */
static void names_cut(struct sim_media *media)
{
	struct name_change *change, *next_change;
	struct name *name, *next;
	uint32_t count = 0;

	DL_COUNT(media->name_changes, change, count);
	names_commit(media, (uint32_t)sim_world_below(media->world, (uint64_t)count + 1));
	DL_FOREACH_SAFE(media->name_changes, change, next_change)
		name_change_free(media, change);
	DL_FOREACH_SAFE(media->seen, name, next)
		name_unset(&media->seen, name->path);
	DL_FOREACH(media->durable, name)
		name_set(&media->seen, name->path, name->node);
}

/* ---- the interface --------------------------------------------------------------------------- */

static struct sim_disk *sim_of(struct disk *disk)
{
	return container_of(disk, struct sim_disk, base);
}

static struct sim_file *file_of(struct disk_file *file)
{
	return container_of(file, struct sim_file, base);
}

/* Does this call fail? 0, or the error. */
static int fault(struct sim_media *media, uint32_t per_million, int rc)
{
	if (!sim_world_chance(media->world, per_million))
		return 0;
	media->fault_count++;
	return rc;
}

/* A disk of a dead process, or on a dead medium, does nothing any more. */
static int check_life(struct disk *disk)
{
	struct sim_disk *d = sim_of(disk);

	return d->media->is_dead || d->life != d->media->life ? -E_IO : 0;
}

static uint64_t bytes_used(const struct sim_media *media)
{
	const struct name *name;
	uint64_t used = 0;

	DL_FOREACH(media->seen, name)
		used += name->node->seen.size;
	return used;
}

/* Is there room for a file to grow to `size`? */
static bool has_room(const struct sim_media *media, const struct node *node, uint64_t size)
{
	return size <= node->seen.size ||
	       bytes_used(media) + size - node->seen.size <= media->bytes_total;
}

static int sim_open(struct disk *disk, const char *path, int flags, struct disk_file **out)
{
	struct sim_media *media = sim_of(disk)->media;
	struct name *name = name_find(media->seen, path);
	int rc = check_life(disk);

	if (rc < 0)
		return rc;
	if (strlen(path) >= PATH_BYTES)
		return -E_NAMETOOLONG;
	if (name != NULL && (flags & DISK_CREATE) && (flags & DISK_EXCLUSIVE))
		return -E_EXIST;
	if (name != NULL && name->node->is_dir)
		return -E_ISDIR;
	if (name == NULL && (!(flags & DISK_CREATE) || !parent_exists(media, path)))
		return -E_NOENT;
	if (name == NULL) {
		names_add(media, path, false);
		name = name_find(media->seen, path);
	}
	struct sim_file *file = allocate(sizeof *file);
	file->base.disk = disk;
	file->node = name->node;
	file->node->refs++;
	file->may_write = flags & DISK_WRITE;
	*out = &file->base;
	return 0;
}

static void sim_close(struct disk_file *base)
{
	struct sim_file *file = file_of(base);

	node_put(file->node);
	free(file);
}

static int sim_read(struct disk_file *file, void *out, uint32_t len, uint64_t offset)
{
	struct sim_media *media = sim_of(file->disk)->media;
	int rc = check_life(file->disk);

	if (rc == 0)
		rc = fault(media, media->faults.read_eio, -E_IO);
	if (rc < 0)
		return rc;
	return (int)sim_bytes_read(&file_of(file)->node->seen, out, len, offset);
}

static int sim_readv(struct disk_file *file, const struct iovec *iov, int iov_count,
		     uint64_t offset)
{
	int done = 0;

	for (int i = 0; i < iov_count; i++) {
		uint32_t len = (uint32_t)iov[i].iov_len;
		int rc = sim_read(file, iov[i].iov_base, len, offset + (uint64_t)done);

		if (rc < 0)
			return rc;
		done += rc;
		if ((uint32_t)rc < len)
			break;
	}
	return done;
}

/* Of several pieces, memory may hold some. */
static int sim_readv_cached(struct disk_file *file, const struct iovec *iov, int iov_count,
			    uint64_t offset)
{
	struct sim_media *media = sim_of(file->disk)->media;
	int held = 0;

	while (held < iov_count && !sim_world_chance(media->world, media->faults.uncached))
		held++;
	return held == 0 ? -E_AGAIN : sim_readv(file, iov, held, offset);
}

/* All or nothing, whatever readv_cached() says next. */
static int sim_cached(struct disk_file *file, uint32_t len, uint64_t offset unused_arg)
{
	return sim_world_chance(sim_of(file->disk)->media->world, 500000) ? (int)len : 0;
}

static int check_write(struct disk_file *file)
{
	int rc = check_life(file->disk);

	if (rc < 0)
		return rc;
	return file_of(file)->may_write ? 0 : -E_BADF;
}

static void write_iov(struct node *node, const struct iovec *iov, int iov_count, uint64_t offset,
		      uint64_t len)
{
	for (int i = 0; i < iov_count && len > 0; i++) {
		uint64_t n = MIN_OF(len, iov[i].iov_len);

		node_write(node, iov[i].iov_base, n, offset);
		offset += n;
		len -= n;
	}
}

static int sim_writev(struct disk_file *file, const struct iovec *iov, int iov_count,
		      uint64_t offset)
{
	struct sim_media *media = sim_of(file->disk)->media;
	struct node *node = file_of(file)->node;
	uint64_t len = 0;
	int rc = check_write(file);

	if (rc < 0)
		return rc;
	for (int i = 0; i < iov_count; i++)
		len += iov[i].iov_len;
	if (!has_room(media, node, offset + len))
		return -E_NOSPC;
	rc = fault(media, media->faults.write_nospc, -E_NOSPC);
	if (rc == 0)
		rc = fault(media, media->faults.write_eio, -E_IO);
	if (rc < 0)
		len = sim_world_below(media->world, len + 1);	/* a part may have been written */
	write_iov(node, iov, iov_count, offset, len);
	return rc;
}

static int sim_sync(struct disk_file *file)
{
	struct sim_media *media = sim_of(file->disk)->media;
	int rc = check_life(file->disk);

	if (rc == 0)
		rc = fault(media, media->faults.sync_eio, -E_IO);
	if (rc == 0) {
		rc = fault(media, media->faults.sync_drops, -E_IO);
		if (rc < 0)
			changes_forget(file_of(file)->node);
	}
	if (rc == 0)
		node_sync(file_of(file)->node);
	return rc;
}

static int sim_size(struct disk_file *file, uint64_t *out)
{
	*out = file_of(file)->node->seen.size;
	return check_life(file->disk);
}

static int sim_truncate(struct disk_file *file, uint64_t bytes)
{
	int rc = check_write(file);

	if (rc == 0)
		node_resize(file_of(file)->node, bytes);
	return rc;
}

static int sim_allocate(struct disk_file *file, uint64_t bytes)
{
	struct node *node = file_of(file)->node;
	int rc = check_write(file);

	if (rc < 0 || bytes <= node->seen.size)
		return rc;
	if (!has_room(sim_of(file->disk)->media, node, bytes))
		return -E_NOSPC;
	node_resize(node, bytes);
	return 0;
}

static int sim_unlink(struct disk *disk, const char *path)
{
	struct sim_media *media = sim_of(disk)->media;
	struct name_change change = { .kind = NAME_REMOVE };
	struct name *name = name_find(media->seen, path);
	int rc = check_life(disk);

	if (rc < 0)
		return rc;
	if (name == NULL)
		return -E_NOENT;
	if (name->node->is_dir)
		return -E_ISDIR;
	snprintf(change.path, sizeof change.path, "%s", path);
	names_change(media, &change);
	return 0;
}

static int sim_rename(struct disk *disk, const char *from, const char *to)
{
	struct sim_media *media = sim_of(disk)->media;
	struct name_change change = { .kind = NAME_MOVE };
	int rc = check_life(disk);

	if (rc < 0)
		return rc;
	if (strlen(to) >= PATH_BYTES)
		return -E_NAMETOOLONG;
	if (name_find(media->seen, from) == NULL || !parent_exists(media, to))
		return -E_NOENT;
	if (strcmp(from, to) == 0)
		return 0;
	snprintf(change.path, sizeof change.path, "%s", from);
	snprintf(change.to, sizeof change.to, "%s", to);
	names_change(media, &change);
	return 0;
}

static int sim_mkdir(struct disk *disk, const char *path)
{
	struct sim_media *media = sim_of(disk)->media;
	int rc = check_life(disk);

	if (rc < 0 || name_find(media->seen, path) != NULL)
		return rc;
	if (strlen(path) >= PATH_BYTES)
		return -E_NAMETOOLONG;
	names_add(media, path, true);
	return 0;
}

static int sim_sync_dir(struct disk *disk, const char *dir)
{
	struct sim_media *media = sim_of(disk)->media;
	const struct name_change *change;
	uint32_t index = 0, count = 0;
	int rc = check_life(disk);

	if (rc == 0 && !dir_exists(media, dir))
		return -E_NOENT;
	if (rc == 0)
		rc = fault(media, media->faults.sync_eio, -E_IO);
	if (rc < 0)
		return rc;
	DL_FOREACH(media->name_changes, change) {
		index++;
		if (is_in_dir(change->path, dir) ||
		    (change->kind == NAME_MOVE && is_in_dir(change->to, dir)))
			count = index;
	}
	names_commit(media, count);
	return 0;
}

static int sim_list(struct disk *disk, const char *dir, void (*fn)(void *arg, const char *name),
		    void *arg)
{
	struct sim_media *media = sim_of(disk)->media;
	size_t skip = dir[0] ? strlen(dir) + 1 : 0;
	struct name *name, *next;
	int rc = check_life(disk);

	if (rc == 0 && !dir_exists(media, dir))
		rc = -E_NOENT;
	if (rc < 0)
		return rc;
	DL_FOREACH_SAFE(media->seen, name, next)	/* fn may unlink what it is given */
		if (is_in_dir(name->path, dir))
			fn(arg, name->path + skip);
	return 0;
}

static int sim_space(struct disk *disk, struct disk_space *out)
{
	const struct sim_media *media = sim_of(disk)->media;
	uint64_t used = bytes_used(media);

	out->bytes_total = media->bytes_total;
	out->bytes_free = used < media->bytes_total ? media->bytes_total - used : 0;
	return check_life(disk);
}

static int sim_lock(struct disk *disk)
{
	struct sim_disk *d = sim_of(disk);
	int rc = check_life(disk);

	if (rc < 0)
		return rc;
	if (d->media->lock_owner != NULL)
		return -E_BUSY;
	d->media->lock_owner = d;
	return 0;
}

static void sim_destroy(struct disk *disk)
{
	struct sim_disk *d = sim_of(disk);

	if (d->media->lock_owner == d)
		d->media->lock_owner = NULL;
	d->media->disk_count--;
	free(d);
}

static const struct disk_ops SIM_DISK_OPS = {
	.open = sim_open,
	.close = sim_close,
	.read = sim_read,
	.readv = sim_readv,
	.readv_cached = sim_readv_cached,
	.cached = sim_cached,
	.writev = sim_writev,
	.sync = sim_sync,
	.size = sim_size,
	.truncate = sim_truncate,
	.allocate = sim_allocate,
	.unlink = sim_unlink,
	.rename = sim_rename,
	.mkdir = sim_mkdir,
	.sync_dir = sim_sync_dir,
	.list = sim_list,
	.space = sim_space,
	.lock = sim_lock,
	.destroy = sim_destroy,
};

int sim_disk_create(struct sim_media *media, struct disk **out)
{
	struct sim_disk *d = calloc(1, sizeof *d);

	if (d == NULL)
		return -E_NOMEM;
	d->base.ops = &SIM_DISK_OPS;
	d->media = media;
	d->life = media->life;
	media->disk_count++;
	*out = &d->base;
	return 0;
}

/* ---- the medium ------------------------------------------------------------------------------ */

int sim_media_create(struct sim_world *world, uint64_t bytes_total, struct sim_media **out)
{
	struct sim_media *media = calloc(1, sizeof *media);

	if (media == NULL)
		return -E_NOMEM;
	media->world = world;
	media->bytes_total = media->bytes_made = bytes_total;
	media->faults.uncached = 125000;
	*out = media;
	return 0;
}

void sim_media_destroy(struct sim_media *media)
{
	struct name_change *change, *next_change;
	struct name *name, *next;

	if (media == NULL)
		return;
	ASSERT(media->disk_count == 0);
	DL_FOREACH_SAFE(media->name_changes, change, next_change)
		name_change_free(media, change);
	DL_FOREACH_SAFE(media->seen, name, next)
		name_unset(&media->seen, name->path);
	DL_FOREACH_SAFE(media->durable, name, next)
		name_unset(&media->durable, name->path);
	free(media);
}

void sim_media_crash(struct sim_media *media)
{
	media->life++;
	media->lock_owner = NULL;
}

void sim_media_power_cut(struct sim_media *media)
{
	struct name *name;

	sim_media_crash(media);
	names_cut(media);
	DL_FOREACH(media->seen, name)
		node_cut(media->world, name->node);
}

void sim_media_set_faults(struct sim_media *media, const struct sim_media_faults *faults)
{
	media->faults = *faults;
}

void sim_media_set_dead(struct sim_media *media, bool is_dead)
{
	media->is_dead = is_dead;
}

static void flip(struct sim_bytes *b, uint64_t offset, uint8_t bit)
{
	uint8_t byte;

	if (sim_bytes_read(b, &byte, 1, offset) == 0)
		return;
	byte ^= bit;
	sim_bytes_write(b, &byte, 1, offset);
}

int sim_media_rot(struct sim_media *media, const char *path, uint64_t offset, uint64_t len)
{
	struct name *name = name_find(media->seen, path);

	if (name == NULL)
		return -E_NOENT;
	if (offset > name->node->seen.size || len > name->node->seen.size - offset)
		return -E_RANGE;
	for (uint64_t i = offset; i < offset + len; i++) {
		uint8_t bit = (uint8_t)(1u << sim_world_below(media->world, 8));

		flip(&name->node->seen, i, bit);
		flip(&name->node->durable, i, bit);
	}
	return 0;
}

/* Somewhere in what was written; false: an unlucky choice. */
static bool rot_one(struct sim_media *media, struct node *node)
{
	const struct sim_bytes *seen = &node->seen;
	uint64_t page = seen->page_count ? sim_world_below(media->world, seen->page_count) : 0;
	uint64_t at = page * SIM_PAGE_BYTES + sim_world_below(media->world, SIM_PAGE_BYTES);
	uint8_t bit = (uint8_t)(1u << sim_world_below(media->world, 8));

	if (seen->page_count == 0 || seen->pages[page] == NULL || at >= seen->size)
		return false;
	flip(&node->seen, at, bit);
	flip(&node->durable, at, bit);
	return true;
}

void sim_media_rot_some(struct sim_media *media, const char *prefix, uint32_t count)
{
	uint32_t files = 0, tries = 100 * count;
	struct name *name;

	DL_FOREACH(media->seen, name)
		files += strncmp(name->path, prefix, strlen(prefix)) == 0;
	while (files > 0 && count > 0 && tries-- > 0) {
		uint64_t choice = sim_world_below(media->world, files);

		DL_FOREACH(media->seen, name)
			if (strncmp(name->path, prefix, strlen(prefix)) == 0 && choice-- == 0)
				count -= rot_one(media, name->node);
	}
}

void sim_media_leave(struct sim_media *media, uint64_t bytes)
{
	media->bytes_total = media->bytes_made;
	if (bytes != UINT64_MAX)
		media->bytes_total = MIN_OF(media->bytes_made, bytes_used(media) + bytes);
}

bool sim_media_is_clean(const struct sim_media *media)
{
	const struct name *name;

	if (media->name_changes != NULL)
		return false;
	DL_FOREACH(media->seen, name)
		if (name->node->changes != NULL)
			return false;
	return true;
}

uint64_t sim_media_fault_count(const struct sim_media *media)
{
	return media->fault_count;
}
