/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every root resolves: nodes have the level and length that their parents say, every block has the
 * length of its entry, and a good copy on each server that should have one.
 *
 * Digests were proved record by record (fsck_disks.c), so walking is looking up; only nodes are
 * read, each once for as long as it has no fault.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fs/tree/manifest.h"
#include "tools/fsck_internal.h"

struct trouble {
	uint64_t count, offset; /* offset in the file of the first */
	struct block_id id;
	server_no server;
};

struct walk {
	struct fsck *f;
	uint64_t blocks;
	struct trouble lost, wrong, few;
	uint64_t degraded;
	uint8_t *nodes[MANIFEST_DEPTH_MAX];
};

static void trouble_add(struct trouble *t, const struct block_id *id, uint64_t offset)
{
	if (t->count++ == 0) {
		t->offset = offset;
		t->id = *id;
	}
}

static uint64_t troubles(const struct walk *w)
{
	return w->lost.count + w->wrong.count + w->few.count;
}

/* --- copies ----------------------------------------------------------------------------------- */

/* The disk that gets what a server lacks; FSCK_DISKS_MAX: none of its disks is here. */
static uint32_t disk_of(const struct fsck *f, server_no server)
{
	for (uint32_t i = 0; i < f->options->disk_count; i++)
		if (f->disks[i].is_good && f->disks[i].server == server)
			return i;
	return FSCK_DISKS_MAX;
}

struct holders {
	server_no good[FSCK_DISKS_MAX];
	uint32_t disks[FSCK_DISKS_MAX];
	bool is_found[FSCK_DISKS_MAX]; /* by the index of that disk */
	uint32_t count;
	uint32_t plain_len;
};

static int find_holders(struct fsck *f, const struct block_id *id, struct holders *h)
{
	struct fsck_copy c = {.id = *id};
	int rc;

	h->count = 0;
	for (rc = fsck_index_next(f, &c, true); rc == 0; rc = fsck_index_next(f, &c, false)) {
		if (c.state != FSCK_COPY_GOOD || h->count == FSCK_DISKS_MAX)
			continue;
		h->good[h->count++] = f->disks[c.disk].server;
		h->disks[h->count - 1] = c.disk;
		h->is_found[h->count - 1] = !f->disks[c.disk].has_index ||
					    c.segment >= f->disks[c.disk].indexed_segment ||
					    fsck_index_is_known(f, &c);
		h->plain_len = c.plain_len;
	}
	return rc == -E_NOENT ? 0 : rc;
}

/* Disks of one server: what moved from one to the other leaves a record that no index leads to. */
static bool is_same_server(const struct holders *h, uint32_t a, uint32_t b)
{
	return h->disks[a] == h->disks[b] || (h->good[a] != 0 && h->good[a] == h->good[b]);
}

/*
 * A good copy that its own server does not find is as good as none, until the index is built again.
 */
static void check_found(struct fsck *f, const struct block_id *id, const struct holders *h)
{
	char hex[BLOCK_ID_HEX_BYTES];

	for (uint32_t i = 0; i < h->count; i++) {
		struct fsck_dir *dir = &f->disks[h->disks[i]];
		bool is_found = false;

		for (uint32_t k = 0; k < h->count; k++)
			is_found |= is_same_server(h, i, k) && h->is_found[k];
		if (is_found || dir->has_bad_index || fsck_index_is_owed(f, id, dir->server))
			continue;
		dir->has_bad_index = dir->is_mended = true;
		fsck_fault(&f->report, FSCK_VIEW, dir->path,
			   "its index does not lead to block %s and perhaps others, whose records "
			   "are there",
			   block_id_hex(id, hex));
	}
}

static bool holds(const struct holders *h, server_no server)
{
	for (uint32_t i = 0; i < h->count; i++)
		if (h->good[i] == server)
			return true;
	return false;
}

/* Does every replica have it? What is owed, or in a group that is known to be degraded, is on its
 * way. */
static int check_replicas(struct walk *w, const struct block_id *id, uint64_t offset,
			  const struct holders *h)
{
	struct fsck *f = w->f;
	const struct pg_row *row = map_pg(f->map, block_id_pg(id));
	uint32_t have = 0, may_have = 0;
	bool told = false;

	for (uint32_t i = 0; i < row->replica_count; i++) {
		uint32_t disk = disk_of(f, row->replicas[i]);
		bool is_owed;
		int rc;

		have += holds(h, row->replicas[i]);
		may_have += disk == FSCK_DISKS_MAX;
		if (holds(h, row->replicas[i]) || disk == FSCK_DISKS_MAX)
			continue; /* what is not here was told once */
		is_owed = row->state != PG_CLEAN || fsck_index_is_owed(f, id, row->replicas[i]);
		w->degraded += is_owed;
		may_have += is_owed; /* it is on its way */
		rc = fsck_index_want(f, id, disk);
		if (rc < 0)
			return rc;
		if (is_owed || told)
			continue;
		told = true;
		if (w->few.count == 0)
			w->few.server = row->replicas[i];
		trouble_add(&w->few, id, offset);
	}
	for (uint32_t i = 0; i < row->former_count; i++) {
		have += holds(h, row->formers[i]);
		may_have += disk_of(f, row->formers[i]) == FSCK_DISKS_MAX;
	}
	if (!told && have + may_have < MIN_OF(f->super.min_copies, row->replica_count)) {
		if (w->few.count == 0)
			w->few.server = 0;
		trouble_add(&w->few, id, offset);
	}
	return 0;
}

/* 1: there is a good copy of `length` bytes; 0: there is none, which was noted. */
static int check_block(struct walk *w, const struct block_id *id, uint64_t length, uint64_t offset)
{
	struct holders h;
	int rc = find_holders(w->f, id, &h);

	if (rc < 0)
		return rc;
	w->blocks++;
	w->f->report.result->blocks++;
	fsck_progress(&w->f->report, "content", w->f->report.result->content_bytes + offset,
		      w->f->sums.found.bytes_logical);
	if (h.count == 0) {
		trouble_add(&w->lost, id, offset);
		return 0;
	}
	check_found(w->f, id, &h);
	if (length && h.plain_len != length)
		trouble_add(&w->wrong, id, offset);
	rc = check_replicas(w, id, offset, &h);
	return rc < 0 ? rc : 1;
}

/* --- nodes ------------------------------------------------------------------------------------ */

static int check_node(struct walk *w, uint8_t level, const struct node_entry *node,
		      uint64_t offset);

static int check_entries(struct walk *w, const struct node_view *v, uint64_t offset)
{
	int rc = 0;

	for (uint32_t i = 0; i < v->entry_count && rc == 0; i++) {
		struct node_entry e = node_view_entry(v, i);

		if (v->level > 0)
			rc = check_node(w, (uint8_t)(v->level - 1), &e, offset);
		else if (!block_id_is_zero(&e.id))
			rc = check_block(w, &e.id, e.length, offset);
		rc = rc < 0 ? rc : 0;
		offset += e.length;
	}
	return rc;
}

static int check_node(struct walk *w, uint8_t level, const struct node_entry *node, uint64_t offset)
{
	const struct block_id *id = &node->id;
	struct fsck *f = w->f;
	struct node_view v;
	struct record record;
	uint32_t record_bytes;
	uint64_t before = troubles(w);
	int rc;

	if (fsck_index_is_proved(f, level, node))
		return 0;
	rc = check_block(w, id, 0, offset);
	if (rc <= 0)
		return rc;
	rc = fsck_index_read(f, id, &record, &record_bytes);
	if (rc == 0) {
		memcpy(w->nodes[level], f->plain, record.plain_len);
		rc = node_view_init(&v, w->nodes[level], record.plain_len, level, node);
	}
	if (rc == -E_MALFORMED || rc == -E_CORRUPT || rc == -E_IO) {
		trouble_add(&w->wrong, id, offset);
		return 0;
	}
	if (rc == 0)
		rc = check_entries(w, &v, offset);
	return rc == 0 && troubles(w) == before ? fsck_index_prove(f, level, node) : rc;
}

/* --- files ------------------------------------------------------------------------------------ */

static void tell(struct walk *w, inode_no ino)
{
	struct fsck *f = w->f;
	char path[PATH_MAX], hex[BLOCK_ID_HEX_BYTES];
	struct trouble *t = &w->lost;

	if (troubles(w) == 0)
		return;
	fsck_rows_path(f, ino, path);
	if (t->count)
		fsck_fault(&f->report, FSCK_CONTENT, path,
			   "%" PRIu64 " of %" PRIu64 " blocks have no good copy, the "
			   "first at byte %" PRIu64 ": %s",
			   t->count, w->blocks, t->offset, block_id_hex(&t->id, hex));
	t = &w->wrong;
	if (t->count)
		fsck_fault(&f->report, FSCK_CONTENT, path,
			   "%" PRIu64 " of %" PRIu64 " blocks are not what the manifest "
			   "says, the first at byte %" PRIu64 ": %s",
			   t->count, w->blocks, t->offset, block_id_hex(&t->id, hex));
	t = &w->few;
	if (!t->count)
		return;
	if (t->server)
		fsck_fault(&f->report, FSCK_COPIES, path,
			   "%" PRIu64 " of %" PRIu64 " blocks lack a good copy that nobody "
			   "owes, the first at byte %" PRIu64 " on server %" PRIu32 ": %s",
			   t->count, w->blocks, t->offset, t->server, block_id_hex(&t->id, hex));
	else
		fsck_fault(&f->report, FSCK_COPIES, path,
			   "%" PRIu64 " of %" PRIu64 " blocks have fewer than %u good "
			   "copies, the first at byte %" PRIu64 ": %s",
			   t->count, w->blocks, f->super.min_copies, t->offset,
			   block_id_hex(&t->id, hex));
}

static int check_root(struct walk *w, inode_no ino, const struct root *root)
{
	struct node_entry top = node_entry_of_root(root);
	int rc = 0;

	w->blocks = 0;
	w->lost = w->wrong = w->few = (struct trouble){0};
	if (root->kind == ROOT_BLOCK)
		rc = check_block(w, &root->id, root->length, 0);
	else if (root->kind == ROOT_NODE)
		rc = check_node(w, (uint8_t)(root->depth - 1), &top, 0);
	if (rc < 0)
		return rc;
	w->f->report.result->content_bytes += root->length;
	tell(w, ino);
	return 0;
}

/* --- all -------------------------------------------------------------------------------------- */

/* Servers that should have copies, and whose disks nobody named. */
static void tell_absent(struct fsck *f)
{
	for (uint32_t i = 0; i < map_server_count(f->map); i++) {
		const struct server_row *row = map_server_at(f->map, i);
		char name[32];
		uint32_t disks = 0;

		for (uint32_t k = 0; k < f->options->disk_count; k++)
			disks += f->disks[k].server == row->server;
		(void)snprintf(name, sizeof name, "server %" PRIu32, row->server);
		if (row->state <= SERVER_DOWN && disks < MAX_OF(row->disk_count, 1u))
			fsck_fault(&f->report, FSCK_COPIES, name,
				   "%" PRIu32 " of its %u disks were given: the rest is "
				   "not proved",
				   disks, MAX_OF(row->disk_count, 1u));
	}
}

static int walk_all(struct walk *w)
{
	struct rows_snapshot *s;
	struct row row;
	int rc = rows_snapshot_open(w->f->state, &s);

	if (rc < 0)
		return rc;
	while ((rc = rows_snapshot_next(s, &row)) == 1) {
		struct ms_inode inode;
		inode_no ino;
		struct rd r;

		if (row.key[0] > MS_KEY_INODE)
			break; /* keys sort by type */
		if (!ms_key_is(&row, MS_KEY_INODE, &r))
			continue;
		ino = rd_be64(&r);
		if (ms_inode_decode(row.value, row.value_len, &inode) < 0)
			continue; /* told */
		rc = check_root(w, ino, &inode.attr.root);
		if (rc < 0)
			break;
	}
	rows_snapshot_close(s);
	return rc < 0 ? rc : 0;
}

int fsck_content(struct fsck *f, struct error *err)
{
	struct walk w = {.f = f};
	int rc = 0;

	if (!f->state)
		return 0;
	tell_absent(f);
	for (unsigned i = 0; i < MANIFEST_DEPTH_MAX; i++) {
		w.nodes[i] = malloc(BLOCK_BYTES_MAX);
		if (!w.nodes[i])
			rc = -E_NOMEM;
	}
	if (rc == 0)
		rc = walk_all(&w);
	for (unsigned i = 0; i < MANIFEST_DEPTH_MAX; i++)
		free(w.nodes[i]);
	if (w.degraded)
		fsck_note(&f->report, "copies",
			  "%" PRIu64 " copies are still to be made, as servers know", w.degraded);
	return rc < 0 ? error_set(err, rc, "cannot walk the content") : 0;
}
