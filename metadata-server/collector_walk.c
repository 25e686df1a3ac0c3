/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Roots and walks: every inode row of one snapshot is read, a batch at a time on a worker; a root
 * that is one block is a mark, a manifest is walked by one of a few walks. A node that was walked
 * not long ago is not walked again: a table of fixed size remembers, and forgets what it has no
 * room for.
 *
 * A file that cannot be walked is named, and the walks go on to find the others; nothing is swept
 * then.
 */
#include <stdlib.h>
#include <string.h>

#include "fs/base/bytes.h"
#include "metadata-server/collector_internal.h"
#include "metadata-server/inode.h"

#define NODE_MS		30000u	/* to fetch one node; a server that is away longer ends the cycle */
#define PACE_MS		2u	/* between two nodes of a walk, so that clients go first */
#define ROWS_PER_READ	16384u

/* --- the list of roots ------------------------------------------------------------------------ */

/* 1: a root that names blocks; 0: another row; or an error. */
static int take_row(const struct row *row, struct collector_root *out, bool *is_end)
{
	struct ms_inode inode;
	struct rd r;

	if (row->key_len > 0 && row->key[0] > MS_KEY_INODE)
		*is_end = true;		/* rows come in the order of their types */
	if (!ms_key_is(row, MS_KEY_INODE, &r))
		return 0;
	out->ino = rd_be64(&r);
	if (!rd_done(&r) || ms_inode_decode(row->value, row->value_len, &inode) < 0)
		return -E_CORRUPT;
	out->root = inode.attr.root;
	return root_has_blocks(&out->root);
}

static void read_run(struct loop_work *work)
{
	struct collector_reader *reader = container_of(work, struct collector_reader, work);
	struct row row;
	int rc = 0;

	reader->count = 0;
	for (uint32_t i = 0;
	     i < ROWS_PER_READ && reader->count < COLLECTOR_ROOTS && !reader->is_end; i++) {
		rc = rows_snapshot_next(reader->snapshot, &row);
		if (rc == 0)
			reader->is_end = true;
		if (rc > 0)
			rc = take_row(&row, &reader->roots[reader->count], &reader->is_end);
		if (rc < 0)
			break;
		reader->count += rc > 0;
	}
	reader->rc = rc < 0 ? rc : 0;
}

void ms_collector_walk_reader_free(struct collector_reader *reader)
{
	rows_snapshot_close(reader->snapshot);
	free(reader);
}

static void read_done(struct loop_work *work)
{
	struct collector_reader *reader = container_of(work, struct collector_reader, work);
	struct ms_collector *c = reader->collector;

	reader->is_working = false;
	if (!c) {
		ms_collector_walk_reader_free(reader);
		return;
	}
	c->root_index = 0;
	if (reader->rc < 0)
		ms_collector_fail(c, reader->rc, "cannot read the list of roots: %s",
				  error_text(reader->rc));
	else
		ms_collector_walk_pump(c);
}

static void read_start(struct collector_reader *reader)
{
	reader->is_working = true;
	reader->work.run = read_run;
	reader->work.done = read_done;
	loop_work(reader->loop, &reader->work);
}

/* --- nodes seen ------------------------------------------------------------------------------- */

static struct block_id *seen_place(struct ms_collector *c, const struct block_id *id)
{
	struct rd r = rd_init(id->bytes, sizeof(id->bytes));

	/* an id is a digest: as good as any hash of it */
	return &c->seen[rd_u64(&r) % COLLECTOR_SEEN];
}

static bool is_seen(struct ms_collector *c, const struct block_id *id)
{
	return block_id_equal(seen_place(c, id), id);
}

/* --- walks ------------------------------------------------------------------------------------ */

static bool walk_wants(struct blocks_walk *walk, const struct block_id *id)
{
	struct collector_walk *w = walk->user;

	return !is_seen(w->collector, id);
}

/* A node waits until every server has room for its marks. */
static int walk_node(struct blocks_walk *walk, const struct block_id *id,
		     const struct node_view *view)
{
	struct collector_walk *w = walk->user;

	w->node_id = *id;
	w->node = view;
	loop_timer_start(w->collector->loop, &w->pace, w->collector->is_now ? 0 : PACE_MS);
	return 1;
}

static void walk_left(struct blocks_walk *walk, const struct block_id *id)
{
	struct collector_walk *w = walk->user;

	*seen_place(w->collector, id) = *id;
}

static void walk_mark(struct collector_walk *w)
{
	struct ms_collector *c = w->collector;

	ms_collector_marks_add(c, &w->node_id);
	for (uint32_t i = 0; w->node->level == 0 && i < w->node->entry_count; i++) {
		struct node_entry e = node_view_entry(w->node, i);

		if (!block_id_is_zero(&e.id))
			ms_collector_marks_add(c, &e.id);
	}
	w->node = NULL;
	c->nodes++;
	blocks_walk_resume(&w->walk);
}

static void pace_fired(struct loop_timer *timer)
{
	struct collector_walk *w = container_of(timer, struct collector_walk, pace);

	if (ms_collector_marks_have_room(w->collector))
		walk_mark(w);
	/* else when a batch was taken */
}

static void name_unwalkable(struct ms_collector *c, inode_no ino)
{
	c->unwalkable_total++;
	if (c->unwalkable_count < MS_GC_UNWALKABLE_MAX)
		c->unwalkable[c->unwalkable_count++] = ino;
}

/* Is it the file, and not a server that is away? */
static bool is_damage(int rc)
{
	return rc == -E_NO_BLOCK || rc == -E_CORRUPT || rc == -E_MALFORMED;
}

static void walk_done(struct blocks_walk *walk)
{
	struct collector_walk *w = walk->user;
	struct ms_collector *c = w->collector;
	inode_no ino = w->ino;

	w->ino = 0;
	c->roots_done++;
	if (walk->rc < 0 && !is_damage(walk->rc)) {
		ms_collector_fail(c, walk->rc, "cannot read what inode %llu is made of: %s",
			       (unsigned long long)ino, error_text(walk->rc));
		return;
	}
	if (walk->rc < 0)
		name_unwalkable(c, ino);
	ms_collector_walk_pump(c);
}

static void walk_start(struct ms_collector *c, struct collector_walk *w,
		       const struct collector_root *root)
{
	w->ino = root->ino;
	w->node = NULL;
	w->walk = (struct blocks_walk){ .root = root->root, .node_ms = NODE_MS, .wants = walk_wants,
					.node = walk_node, .left = walk_left, .done = walk_done,
					.user = w };
	blocks_walk_start(c->blocks, c->loop, &w->walk);
}

/* --- the pump --------------------------------------------------------------------------------- */

static struct collector_walk *idle_walk(struct ms_collector *c)
{
	for (uint32_t i = 0; i < COLLECTOR_WALKS; i++)
		if (c->walks[i].ino == 0)
			return &c->walks[i];
	return NULL;
}

static bool is_walking(const struct ms_collector *c)
{
	for (uint32_t i = 0; i < COLLECTOR_WALKS; i++)
		if (c->walks[i].ino != 0)
			return true;
	return false;
}

static void resume_walks(struct ms_collector *c)
{
	for (uint32_t i = 0; i < COLLECTOR_WALKS; i++) {
		struct collector_walk *w = &c->walks[i];

		if (w->node && !w->pace.is_active && ms_collector_marks_have_room(c))
			walk_mark(w);
	}
}

/* True: the root is a mark, or on its way. */
static bool take_root(struct ms_collector *c, const struct collector_root *root)
{
	struct collector_walk *w;

	if (root->root.kind == ROOT_NODE) {
		w = idle_walk(c);
		if (w)
			walk_start(c, w, root);
		return w != NULL;
	}
	if (!ms_collector_marks_have_room(c))
		return false;
	ms_collector_marks_add(c, &root->root.id);
	c->roots_done++;
	return true;
}

void ms_collector_walk_pump(struct ms_collector *c)
{
	struct collector_reader *reader = c->reader;

	if (c->phase != MS_GC_MARK)
		return;
	resume_walks(c);
	if (reader->is_working)
		return;
	while (c->root_index < reader->count && take_root(c, &reader->roots[c->root_index]))
		c->root_index++;
	if (c->root_index < reader->count)
		return;			/* goes on when a walk ends or a batch was taken */
	if (!reader->is_end)
		read_start(reader);
	else if (!is_walking(c) && !c->is_flushing)
		ms_collector_marks_flush(c);
}

/* --- begin and end ---------------------------------------------------------------------------- */

int ms_collector_walk_open(struct ms_collector *c)
{
	struct ms_server *s = c->server;
	struct collector_reader *reader = calloc(1, sizeof(*reader));
	int rc = reader ? rows_snapshot_open(s->options.rows, &reader->snapshot) : -E_NOMEM;

	if (rc < 0) {
		free(reader);
		return rc;
	}
	c->seen = calloc(COLLECTOR_SEEN, sizeof(*c->seen));
	reader->collector = c;
	reader->loop = c->loop;
	c->reader = reader;
	c->root_index = 0;
	for (uint32_t i = 0; i < COLLECTOR_WALKS; i++)
		c->walks[i] = (struct collector_walk){ .collector = c, .pace.fn = pace_fired };
	return c->seen ? 0 : -E_NOMEM;
}

void ms_collector_walk_close(struct ms_collector *c)
{
	for (uint32_t i = 0; i < COLLECTOR_WALKS; i++) {
		struct collector_walk *w = &c->walks[i];

		loop_timer_stop(c->loop, &w->pace);
		if (w->ino)
			blocks_walk_cancel(&w->walk);
		w->ino = 0;
		w->node = NULL;
	}
	if (c->reader && c->reader->is_working)
		c->reader->collector = NULL;
	else if (c->reader)
		ms_collector_walk_reader_free(c->reader);
	c->reader = NULL;
	free(c->seen);
	c->seen = NULL;
}
