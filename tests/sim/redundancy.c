/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The walk, breadth first: blocks that were named and not looked at yet stand in a list; a manifest
 * node adds what it names.
 */
#include "tests/sim/redundancy.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>
#include <utlist.h>

#include "chunk-server/serve_internal.h"
#include "fs/disk/record.h"
#include "fs/tree/manifest.h"
#include "metadata-server/inode.h"
#include "metadata-server/serve_internal.h"

#define READ_NS (10 * SIM_S)

struct named {
	struct block_id id;
	bool is_node;
	uint8_t level;	 /* of a node */
	uint64_t length; /* below it; of a block its bytes */
	uint64_t data;	 /* of them, what is no hole */
	inode_no ino;	 /* the first that names it */
	bool is_listed;	 /* not looked at yet */
	UT_hash_handle hh;
	struct named *prev, *next;
};

struct walk {
	struct cluster *cluster;
	struct redundancy *out;
	struct named *table, *list;
	struct codec_scratch *scratch;
	uint8_t plain[BLOCK_BYTES_MAX];
};

static void complain(struct walk *w, const char *format, ...) printf_like(2, 3);
static void complain(struct walk *w, const char *format, ...)
{
	va_list args;

	if (w->out->why[0] != '\0')
		return;
	va_start(args, format);
	(void)vsnprintf(w->out->why, sizeof(w->out->why), format, args);
	va_end(args);
}

static const char *short_id(const struct block_id *id)
{
	static char text[17];

	for (uint32_t i = 0; i < 8; i++)
		(void)snprintf(text + (size_t)2 * i, 3, "%02x", id->bytes[i]);
	return text;
}

/* --- naming ----------------------------------------------------------------------------------- */

static void name(struct walk *w, const struct named *what)
{
	struct named *n;

	if (block_id_is_zero(&what->id))
		return; /* a hole */
	HASH_FIND(hh, w->table, &what->id, sizeof(what->id), n);
	/* The same bytes may be data here and a node there: it is walked as a node then. */
	if (n != NULL && (n->is_node || !what->is_node))
		return;
	if (n == NULL) {
		n = malloc(sizeof(*n));
		ASSERT(n != NULL);
		*n = *what;
		HASH_ADD(hh, w->table, id, sizeof(n->id), n);
	} else {
		n->is_node = true;
		n->level = what->level;
		n->length = what->length;
	}
	if (!n->is_listed)
		DL_APPEND(w->list, n);
	n->is_listed = true;
}

static void name_root(struct walk *w, inode_no ino, const struct root *root)
{
	struct named what = {.id = root->id,
			     .is_node = root->kind == ROOT_NODE,
			     .level = root->kind == ROOT_NODE ? (uint8_t)(root->depth - 1) : 0,
			     .length = root->length,
			     .data = root_data_bytes(root),
			     .ino = ino};

	if (root->kind == ROOT_BLOCK || root->kind == ROOT_NODE)
		name(w, &what);
}

/* Usage of the one quota, which is the root's, as counted and as its row says. */
struct usage {
	uint64_t bytes, files;
	uint64_t missed;	/* inodes with a name that are charged to none */
	bool has_row, is_counting;
	struct ms_quota row;
};

static void use(struct walk *w, struct usage *u, const struct ms_inode *inode)
{
	u->missed += inode->attr.quota == 0 && inode->attr.nlink > 0;
	if (inode->attr.quota == 0)
		return;
	if (inode->attr.quota != INODE_ROOT)
		complain(w, "an inode is charged to no quota");
	u->files++;
	u->bytes += ms_inode_is_file(inode) ? root_data_bytes(&inode->attr.root) : 0;
}

static void use_row(struct walk *w, struct usage *u, const struct row *row)
{
	struct rd r;

	u->is_counting |= ms_key_is(row, MS_KEY_QUOTA_WALK, &r);
	if (!ms_key_is(row, MS_KEY_QUOTA, &r))
		return;
	u->has_row = true;
	if (ms_key_quota_decode(row->value, row->value_len, &u->row) < 0)
		complain(w, "the quota is malformed");
}

static void compare_usage(struct walk *w, const struct usage *u)
{
	uint64_t files = u->has_row ? u->row.files : 0, bytes = u->has_row ? u->row.bytes : 0;

	if (files != u->files || bytes != u->bytes)
		complain(w, "the quota says %llu files and %llu bytes, counted %llu and %llu",
			 (unsigned long long)files, (unsigned long long)bytes,
			 (unsigned long long)u->files, (unsigned long long)u->bytes);
	if (u->has_row && !u->row.is_ending && !u->is_counting && u->missed > 0)
		complain(w, "%llu inodes are not charged to the quota of the root",
			 (unsigned long long)u->missed);
}

/* What the counters say, and what is open without a name, against what there is. */
struct counts {
	struct ms_counters stored, found;
	uint64_t unnamed, orphans;
	inode_no last_orphan;
};

static void count_inode(struct counts *c, const struct ms_inode *inode)
{
	if (ms_inode_is_dir(inode))
		c->found.directories++;
	else
		c->found.files++;
	if (ms_inode_is_file(inode))
		c->found.bytes_logical += inode->attr.size;
	c->unnamed += inode->attr.nlink == 0 && inode->trash == 0;
}

static void count_row(struct walk *w, struct counts *c, const struct row *row)
{
	inode_no ino;
	struct rd r;

	if (ms_key_is(row, MS_KEY_COUNTERS, &r) &&
	    ms_key_counters_decode(row->value, row->value_len, &c->stored) < 0)
		complain(w, "the counters are malformed");
	if (!ms_key_is(row, MS_KEY_ORPHAN, &r))
		return;
	ino = rd_be64(&r);
	c->orphans += ino != c->last_orphan;
	c->last_orphan = ino;
}

static void compare_counts(struct walk *w, const struct counts *c)
{
	const struct ms_counters *s = &c->stored, *f = &c->found;

	if (s->files != f->files || s->directories != f->directories ||
	    s->bytes_logical != f->bytes_logical)
		complain(w, "counted %llu files, %llu directories, %llu bytes, and not as told",
			 (unsigned long long)f->files, (unsigned long long)f->directories,
			 (unsigned long long)f->bytes_logical);
	if (c->unnamed != c->orphans)
		complain(w, "%llu inodes have no name, %llu are open without one",
			 (unsigned long long)c->unnamed, (unsigned long long)c->orphans);
}

static void name_inodes(struct walk *w)
{
	struct rows_snapshot *rows;
	struct usage usage = {.bytes = 0};
	struct counts counts = {.unnamed = 0};
	struct row row;
	struct rd r;

	ASSERT(rows_snapshot_open(cluster_mds(w->cluster)->rows[0], &rows) == 0);
	while (rows_snapshot_next(rows, &row) == 1) {
		struct ms_inode inode;
		use_row(w, &usage, &row);
		count_row(w, &counts, &row);
		if (!ms_key_is(&row, MS_KEY_INODE, &r))
			continue;
		if (ms_inode_decode(row.value, row.value_len, &inode) < 0) {
			complain(w, "an inode row is malformed");
		} else {
			name_root(w, rd_be64(&r), &inode.attr.root);
			use(w, &usage, &inode);
			count_inode(&counts, &inode);
		}
		w->out->inodes++;
	}
	rows_snapshot_close(rows);
	compare_usage(w, &usage);
	compare_counts(w, &counts);
}

static void name_below(struct walk *w, const struct named *n, uint32_t len)
{
	struct node_entry said = {.length = n->length, .data = n->data};
	struct node_view view;

	if (node_view_init(&view, w->plain, len, n->level, &said) < 0) {
		complain(w, "node %s of inode %llu is not what its parent says", short_id(&n->id),
			 (unsigned long long)n->ino);
		return;
	}
	for (uint32_t i = 0; i < view.entry_count; i++) {
		struct node_entry e = node_view_entry(&view, i);
		struct named what = {.id = e.id, .length = e.length, .data = e.data,
				     .ino = n->ino, .is_node = n->level > 0};
		what.level = n->level > 0 ? (uint8_t)(n->level - 1) : 0;
		name(w, &what);
	}
}

/* --- copies ----------------------------------------------------------------------------------- */

struct reading {
	struct cs_get get;
	bool is_done;
};

static void read_done(struct cs_get *get)
{
	container_of(get, struct reading, get)->is_done = true;
}

static bool is_read(void *arg)
{
	return ((const struct reading *)arg)->is_done;
}

static struct cluster_node *server_of(struct cluster *c, server_no number)
{
	for (uint32_t i = 0; i < c->server_count; i++) {
		struct cluster_node *n = cluster_cs(c, i);
		if (n->is_up && cs_server_number(n->cs) == number)
			return n;
	}
	return NULL;
}

/* Read one copy, and prove it: the plain length, or why not. */
static int prove(struct walk *w, struct cluster_node *server, const struct block_id *id)
{
	struct reading reading = {.get = {.id = *id, .done = read_done}};
	struct record found;

	cs_disks_get(server->cs->disks, &reading.get);
	if (!sim_world_run_until(w->cluster->world, is_read, &reading, READ_NS))
		return -E_TIMEDOUT;
	if (reading.get.rc < 0)
		return reading.get.rc;
	int rc = record_open(w->scratch, HASH_SHA256, reading.get.record->data,
			     reading.get.record->len, true, &found, w->plain);
	buf_put(reading.get.record);
	if (rc == 0 && !block_id_equal(&found.id, id))
		rc = -E_CORRUPT;
	return rc < 0 ? rc : (int)found.plain_len;
}

static int check_copy(struct walk *w, const struct named *n, server_no number)
{
	struct cluster_node *server = server_of(w->cluster, number);
	struct cs_place place = {0};
	int len;

	if (server == NULL) {
		complain(w, "server %u, a replica of %s, is nobody", number, short_id(&n->id));
		return -E_NOENT;
	}
	len = prove(w, server, &n->id);
	if (len < 0)
		complain(w, "%s of inode %llu on %s: %s", short_id(&n->id),
			 (unsigned long long)n->ino, server->host, error_text(len));
	else if (cs_disks_find(server->cs->disks, &n->id, &place, NULL) == 0 &&
		 place.trashed_ms != 0)
		complain(w, "%s of inode %llu is in the trash of %s", short_id(&n->id),
			 (unsigned long long)n->ino, server->host);
	w->out->copies += len >= 0;
	return len;
}

static void check_block(struct walk *w, const struct named *n)
{
	struct cluster_node *mds = cluster_mds(w->cluster);
	struct pg_row row = *map_pg(ms_state_map(mds->ms->state), block_id_pg(&n->id));
	int len = -E_NO_REPLICA;

	w->out->blocks++;
	if (row.state != PG_CLEAN)
		complain(w, "the group of %s is not clean", short_id(&n->id));
	if (row.replica_count < CLUSTER_COPIES)
		complain(w, "the group of %s has %u replicas", short_id(&n->id), row.replica_count);
	for (uint32_t i = 0; i < row.replica_count; i++) {
		int rc = check_copy(w, n, row.replicas[i]);
		len = rc >= 0 ? rc : len;
	}
	if (len >= 0 && n->is_node)
		name_below(w, n, (uint32_t)len);
}

/* --- garbage ---------------------------------------------------------------------------------- */

static bool count_stored(void *arg, const struct block_id *id, const struct cs_place *place)
{
	struct walk *w = arg;
	struct named *n;

	HASH_FIND(hh, w->table, id, sizeof(*id), n);
	if (n != NULL)
		return true;
	if (place->trashed_ms != 0)
		w->out->trash++;
	else
		w->out->garbage++;
	return true;
}

static void count_garbage(struct walk *w)
{
	struct block_id first;

	memset(&first, 0, sizeof(first));
	for (uint32_t i = 0; i < w->cluster->server_count; i++) {
		struct cluster_node *n = cluster_cs(w->cluster, i);
		/* Without those that it left out. */
		for (uint32_t disk = 0; n->is_up && disk < n->cs->options.disk_count; disk++)
			ASSERT(cs_store_scan(n->cs->stores[disk], &first, count_stored, w) == 0);
	}
}

void redundancy_check(struct cluster *c, struct redundancy *out)
{
	struct walk *w = calloc(1, sizeof(*w));
	struct named *n, *next;

	ASSERT(w != NULL);
	memset(out, 0, sizeof(*out));
	w->cluster = c;
	w->out = out;
	w->scratch = codec_scratch_create();
	ASSERT(w->scratch != NULL);
	name_inodes(w);
	while (w->list != NULL) {
		n = w->list;
		DL_DELETE(w->list, n);
		n->is_listed = false;
		check_block(w, n);
	}
	count_garbage(w);
	HASH_ITER (hh, w->table, n, next) {
		HASH_DEL(w->table, n);
		free(n);
	}
	codec_scratch_destroy(w->scratch);
	free(w);
}
