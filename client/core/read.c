/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading: the pieces of a request are found first (chunks in memory, blocks of the manifest,
 * holes), all missing blocks are fetched side by side, and the reply points into the buffers. Of an
 * inode that is read at random a small piece is fetched alone, and not kept. Also what walks
 * extents: lseek for data and holes, and the map of a file.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <utlist.h>

#include "client/core/atime.h"
#include "client/core/file.h"
#include "client/core/tiered.h"

#define PIECES_PER_PAGE	 18u		/* a read of 1 MiB that begins anywhere needs 17 */
#define PART_BYTES_MAX	 KiB(16)	/* of a block, that random readers fetch alone */
#define PART_MS_MAX	 5000u		/* then the whole block is tried, as patiently as ever */
#define EXTENTS_MAX	 (1u << 22)

static const uint8_t zeros[BLOCK_BYTES_MAX];

/* A part of a block on its way, which the cache knows nothing of. */
struct part {
	struct blocks_get get;
	struct piece *piece;
	uint32_t block_len;
};

struct piece {
	struct cl_fetch fetch;
	struct part *part;		/* while it is on its way */
	struct cl_read *read;
	struct buf *buf;		/* a reference, or NULL for zeros */
	uint32_t from, len;
};

struct page {
	struct piece at[PIECES_PER_PAGE];
	uint32_t count;
	struct page *next;
};

struct cl_read {
	struct cl_op *op;
	struct cl_file *file;
	uint64_t pos, end;
	struct page first, *last;
	uint32_t piece_count, pending;
	struct cl_stream *stream;	/* of the file; NULL: of nobody's handle */
	bool is_walked;
	struct cl_fetch node_fetch;
	struct cl_tiered_read *tiered;	/* under way */
};

static void read_walk(struct cl_read *r);

/* --- end -------------------------------------------------------------------------------------- */

static void piece_free(struct client *c, struct piece *piece)
{
	cl_cache_cancel(c, &piece->fetch);
	if (piece->part)
		blocks_get_cancel(c->blocks, &piece->part->get);
	free(piece->part);
	buf_put(piece->buf);
}

static void read_free(struct cl_read *r)
{
	struct client *c = r->op->client;
	struct page *page = &r->first;
	cl_cache_cancel(c, &r->node_fetch);
	if (r->tiered)
		cl_tiered_read_end(r->tiered);
	while (page) {
		struct page *next = page->next;
		for (uint32_t i = 0; i < page->count; i++) {
			piece_free(c, &page->at[i]);
		}
		if (page != &r->first)
			free(page);
		page = next;
	}
	r->op->state = NULL;
	cl_file_put(r->file);
	free(r);
}

static void read_cancel(struct cl_op *op)
{
	if (op->waits_for)
		op->waits_for(op);
	op->waits_for = NULL;
	read_free(op->state);
}

/*
 * A block is nowhere: perhaps the content has another root since, and nobody could tell us (a recut
 * recalls no lease), and what only the old one named was collected. Once: ask, and read again.
 */
static bool read_again(struct cl_read *r, int rc)
{
	struct cl_op *op = r->op;
	const struct cl_file *file = r->file;
	if (rc != -E_NO_BLOCK || op->is_again || cl_file_is_dirty(file) || file->is_alone)
		return false;
	op->is_again = true;
	cl_node_outdate(op->client, file->node->ino);
	op->cancel = NULL;
	read_free(r);
	cl_read_start(op);
	return true;
}

static void read_end(struct cl_read *r, int rc)
{
	struct cl_op *op = r->op;
	struct iovec *iov = NULL;
	if (read_again(r, rc))
		return;
	if (rc == 0 && r->piece_count > 0) {
		iov = malloc(r->piece_count * sizeof *iov);
		rc = iov ? 0 : -E_NOMEM;
	}
	op->iov = iov;
	op->iov_count = op->out_len = 0;
	for (struct page *page = &r->first; rc == 0 && page; page = page->next)
		for (uint32_t i = 0; i < page->count; i++) {
			const struct piece *piece = &page->at[i];
			const uint8_t *data = piece->buf ? piece->buf->data + piece->from : zeros;
			iov[op->iov_count++] = (struct iovec){(void *)(uintptr_t)data, piece->len};
			op->out_len += piece->len;
		}
	op->client->stats.reads++;
	op->client->stats.read_bytes += op->out_len;
	cl_pages_used(r->file->node, op->handle);
	struct cl_op shadow = { .client = op->client };
	/* cppcheck-suppress autoVariables ; read_free(r) below comes before the end of shadow */
	/* op may be gone once it is done; the buffers must outlive done() */
	r->op = &shadow;
	op->state = NULL;
	op->cancel = NULL;
	cl_op_finish(op, rc);
	read_free(r);
	free(iov);
}

/* --- pieces ----------------------------------------------------------------------------------- */

static struct piece *piece_add(struct cl_read *r, uint32_t len)
{
	struct page *page = r->last;
	if (page->count == PIECES_PER_PAGE) {
		page = calloc(1, sizeof *page);
		if (!page)
			return NULL;
		r->last->next = page;
		r->last = page;
	}
	struct piece *piece = &page->at[page->count++];
	piece->read = r;
	piece->len = len;
	r->piece_count++;
	r->pos += len;
	return piece;
}

static int add_zeros(struct cl_read *r, uint64_t len)
{
	while (len > 0) {
		uint32_t count = (uint32_t)MIN_OF(len, sizeof zeros);
		if (!piece_add(r, count))
			return -E_NOMEM;
		len -= count;
	}
	return 0;
}

static int add_chunk(struct cl_read *r, struct cl_chunk *chunk)
{
	uint32_t from = (uint32_t)(r->pos - chunk->start);
	uint64_t len = MIN_OF(r->end, chunk->start + chunk->cap) - r->pos;
	uint64_t data = chunk->len > from ? MIN_OF(len, chunk->len - from) : 0;
	if (data > 0) {
		struct piece *piece = piece_add(r, (uint32_t)data);
		if (!piece)
			return -E_NOMEM;
		piece->buf = buf_ref(chunk->buf);
		piece->from = from;
	}
	return add_zeros(r, len - data);
}

static void piece_came(struct cl_fetch *fetch)
{
	struct piece *piece = fetch->arg;
	struct cl_read *r = piece->read;
	if (fetch->rc < 0) {
		read_end(r, fetch->rc);
		return;
	}
	piece->buf = fetch->buf;
	fetch->buf = NULL;
	if (--r->pending == 0 && r->is_walked)
		read_end(r, 0);
}

/* The whole block, through the cache. As cl_cache_fetch(). */
static int piece_fetch(struct piece *piece, const struct block_id *id, uint32_t block_len)
{
	struct cl_read *r = piece->read;
	piece->fetch.done = piece_came;
	piece->fetch.arg = piece;
	int rc = cl_cache_fetch(r->op->client, id, block_len, &piece->fetch);
	if (rc > 0) {
		piece->buf = piece->fetch.buf;
		piece->fetch.buf = NULL;
	}
	return rc;
}

/* Whatever is wrong, the whole block is tried, with all the patience of the cache. */
static void part_came(struct blocks_get *get)
{
	struct part *part = container_of(get, struct part, get);
	struct piece *piece = part->piece;
	struct cl_read *r = piece->read;
	int rc = 1;
	piece->part = NULL;
	if (get->rc == 0) {
		piece->buf = get->plain;
		piece->from = 0;
	} else if (get->rc == -E_CANCELED) {
		rc = get->rc;
	} else {
		rc = piece_fetch(piece, &get->id, part->block_len);
	}
	free(part);
	if (rc < 0)
		read_end(r, rc);
	else if (rc > 0 && --r->pending == 0 && r->is_walked)
		read_end(r, 0);
}

/* Fetch just this piece of a block. False: take the block. */
static bool part_fetch(struct piece *piece, const struct extent *e)
{
	struct cl_read *r = piece->read;
	struct client *c = r->op->client;
	if (!r->stream || r->stream->blocks > 0 || !cl_ahead_is_random(&r->file->ahead) ||
	    piece->len > PART_BYTES_MAX || !c->blocks || cl_cache_knows(c, &e->id))
		return false;
	struct part *part = calloc(1, sizeof *part);
	if (!part)
		return false;
	part->piece = piece;
	part->block_len = (uint32_t)e->length;
	part->get = (struct blocks_get){
		.id = e->id, .plain_len = (uint32_t)e->length, .done = part_came,
		.run = piece->fetch.run,
		.part_from = piece->from, .part_len = piece->len,
		.deadline_ns = loop_now_ns(c->options.loop) +
			       MIN_OF(c->options.timeout_ms, PART_MS_MAX) * UINT64_C(1000000),
	};
	piece->part = part;
	blocks_get_start(c->blocks, &part->get);
	return true;
}

static int add_block(struct cl_read *r, const struct extent *e, uint64_t len)
{
	uint32_t from = (uint32_t)(r->pos - e->offset);
	struct piece *piece = piece_add(r, (uint32_t)len);
	if (!piece)
		return -E_NOMEM;
	piece->from = from;
	/* a fill comes by for what was just read */
	piece->fetch.is_last = r->stream && !r->file->tier.is_touched &&
			       cl_ahead_is_long(r->file, r->stream) &&
			       r->pos >= e->offset + e->length;
	piece->fetch.run = cl_cache_run(r->file->node->ino, e->offset);
	int rc = part_fetch(piece, e) ? 0 : piece_fetch(piece, &e->id, (uint32_t)e->length);
	if (rc == 0)
		r->pending++;
	return rc < 0 ? rc : 0;
}

/* --- walking ---------------------------------------------------------------------------------- */

static uint64_t manifest_end(const struct cl_file *file)
{
	return file->manifest ? manifest_bytes(file->manifest) : 0;
}

/* One more piece. 0, 1 (a node is on its way), or an error. */
static int walk_one(struct cl_read *r)
{
	struct cl_file *file = r->file;
	struct cl_chunk *chunk = cl_chunk_find(file, r->pos);
	struct extent e;
	if (chunk)
		return add_chunk(r, chunk);
	struct cl_chunk *next = cl_chunk_next(file, r->pos);
	uint64_t stop = next ? MIN_OF(r->end, next->start) : r->end;
	if (r->pos >= manifest_end(file))
		return add_zeros(r, stop - r->pos);
	int rc = cl_file_lookup(file, r->pos, &r->node_fetch, &e);
	if (rc != 0)
		return rc;
	stop = MIN_OF(stop, e.offset + e.length);
	if (block_id_is_zero(&e.id))
		return add_zeros(r, stop - r->pos);
	return add_block(r, &e, stop - r->pos);
}

static void node_came(struct cl_fetch *fetch)
{
	struct cl_read *r = fetch->arg;
	buf_put(fetch->buf);
	fetch->buf = NULL;
	if (fetch->rc < 0)
		read_end(r, fetch->rc);
	else
		read_walk(r);
}

/* The content may have been cut while a node was fetched. */
static void walk_clip(struct cl_read *r)
{
	r->end = MIN_OF(r->end, MAX_OF(r->file->size, r->pos));
}

static void read_walk(struct cl_read *r)
{
	int rc = 0;
	walk_clip(r);
	while (rc == 0 && r->pos < r->end)
		rc = walk_one(r);
	if (rc > 0)
		return;
	if (rc < 0) {
		read_end(r, rc);
		return;
	}
	r->is_walked = true;
	if (r->stream)
		cl_ahead_hint(r->file, r->stream);
	if (r->pending == 0)
		read_end(r, 0);
}

/* A tier has answered; what it could not, the cluster does. */
static void read_tiered(struct cl_tiered_read *tr, int rc)
{
	struct cl_read *r = tr->arg;
	for (uint32_t i = 0; rc == 0 && i < tr->buf_count; i++) {
		struct piece *piece = piece_add(r, (uint32_t)tr->iov[i].iov_len);
		rc = piece ? 0 : -E_NOMEM;
		if (piece)
			piece->buf = buf_ref(tr->bufs[i]);
	}
	r->tiered = NULL;
	cl_tiered_read_end(tr);
	if (r->piece_count > 0)
		read_end(r, rc);
	else
		read_walk(r);
}

static void read_loaded(struct cl_op *op)
{
	struct cl_read *r = op->state;
	op->cancel = NULL;
	int rc = cl_file_load(op, r->file, read_loaded);
	if (rc > 0) {
		op->waits_for = op->cancel;
		op->cancel = read_cancel;
		return;
	}
	op->waits_for = NULL;
	if (rc < 0) {
		read_end(r, rc);
		return;
	}
	uint64_t size = r->file->size;
	r->pos = MIN_OF(op->offset, size);
	r->end = r->pos + MIN_OF(op->length, size - r->pos);
	if (op->handle && !r->file->is_alone && r->end > r->pos)
		r->stream = cl_ahead_read(r->file, r->pos, r->end);
	op->cancel = read_cancel;
	op->waiting_for = "blocks of the chunk servers";
	r->tiered = cl_tiered_read_start(r->file, r->pos, r->end - r->pos);
	if (r->tiered) {
		r->tiered->done = read_tiered;
		r->tiered->arg = r;
	} else {
		read_walk(r);
	}
}

void cl_read_start(struct cl_op *op)
{
	struct client *c = op->client;
	if (op->handle && op->handle->is_lock_lost) {
		cl_op_finish(op, -E_IO);
		return;
	}
	struct cl_node *node = cl_node_get(c, op->handle ? op->handle->ino : op->ino);
	struct cl_read *r = node ? calloc(1, sizeof *r) : NULL;
	if (!r) {
		cl_op_finish(op, -E_NOMEM);
		return;
	}
	r->op = op;
	r->last = &r->first;
	r->node_fetch.done = node_came;
	r->node_fetch.arg = r;
	r->file = cl_file_get(c, node);
	if (!r->file) {
		free(r);
		cl_op_finish(op, -E_NOMEM);
		return;
	}
	if (!(op->handle && op->handle->flags & O_NOATIME))
		cl_atime_read(c, node);
	op->state = r;
	op->is_fresh = false;
	op->wait_rc = 0;
	read_loaded(op);
}

/* --- walking extents: lseek and map ----------------------------------------------------------- */

struct walk {
	struct cl_op *op;
	struct cl_file *file;
	uint64_t pos;
	struct cl_fetch fetch;
	uint32_t extent_capacity;
};

static void walk_run(struct walk *w);

static void walk_free(struct cl_op *op)
{
	struct walk *w = op->state;
	cl_cache_cancel(op->client, &w->fetch);
	op->state = NULL;
	op->cancel = NULL;
	cl_file_put(w->file);
	free(w);
}

static void walk_cancel(struct cl_op *op)
{
	if (op->waits_for)
		op->waits_for(op);
	op->waits_for = NULL;
	walk_free(op);
	free(op->extents);
	op->extents = NULL;
}

static void walk_end(struct cl_op *op, int rc)
{
	struct cl_extent_info *extents = op->extents;
	walk_free(op);
	cl_op_finish(op, rc);
	free(extents);
}

static void walk_node_came(struct cl_fetch *fetch)
{
	struct walk *w = fetch->arg;
	buf_put(fetch->buf);
	fetch->buf = NULL;
	if (fetch->rc < 0)
		walk_end(w->op, fetch->rc);
	else
		walk_run(w);
}

/* What lies at w->pos, and to where. 0, 1 (a node is on its way), or an error. */
static int walk_extent(struct walk *w, struct extent *out)
{
	struct cl_file *file = w->file;
	struct cl_chunk *chunk = cl_chunk_find(file, w->pos);
	struct cl_chunk *next = cl_chunk_next(file, w->pos);
	uint64_t stop = next ? MIN_OF(file->size, next->start) : file->size;
	if (chunk) {
		uint64_t end = MIN_OF(chunk->start + chunk->cap, file->size);
		*out = (struct extent){ .offset = chunk->start, .length = end - chunk->start };
		memset(&out->id, 0xff, sizeof out->id);		/* data, not named yet */
		return 0;
	}
	if (w->pos >= manifest_end(file)) {
		*out = (struct extent){ .offset = w->pos, .length = stop - w->pos };
		return 0;
	}
	int rc = cl_file_lookup(file, w->pos, &w->fetch, out);
	if (rc == 0 && block_id_is_zero(&out->id))
		out->length = MIN_OF(out->offset + out->length, stop) - out->offset;
	return rc;
}

static int map_add(struct walk *w, const struct extent *e)
{
	struct cl_op *op = w->op;
	if (op->extent_count == EXTENTS_MAX)
		return -E_FBIG;
	if (op->extent_count == w->extent_capacity) {
		uint32_t capacity = w->extent_capacity ? w->extent_capacity * 2 : 64;
		struct cl_extent_info *extents = realloc(op->extents, capacity * sizeof *extents);
		if (!extents)
			return -E_NOMEM;
		op->extents = extents;
		w->extent_capacity = capacity;
	}
	op->extents[op->extent_count++] = (struct cl_extent_info){ e->offset, e->length, e->id };
	return 0;
}

static void walk_run(struct walk *w)
{
	struct cl_op *op = w->op;
	struct extent e;
	while (w->pos < w->file->size) {
		int rc = walk_extent(w, &e);
		if (rc > 0)
			return;
		if (rc == 0 && op->kind == CL_MAP)
			rc = map_add(w, &e);
		if (rc < 0) {
			walk_end(op, rc);
			return;
		}
		bool is_hole = block_id_is_zero(&e.id);
		if (op->kind == CL_LSEEK && is_hole == (op->whence == SEEK_HOLE))
			break;
		w->pos = e.offset + e.length;
	}
	op->out_offset_found = MIN_OF(w->pos, w->file->size);
	bool is_past = w->pos >= w->file->size;
	walk_end(op, op->kind == CL_LSEEK && op->whence == SEEK_DATA && is_past ? -E_NXIO : 0);
}

static void walk_loaded(struct cl_op *op)
{
	struct walk *w = op->state;
	op->cancel = NULL;
	int rc = cl_file_load(op, w->file, walk_loaded);
	if (rc > 0) {
		op->waits_for = op->cancel;
		op->cancel = walk_cancel;
		return;
	}
	op->waits_for = NULL;
	if (rc == 0 && op->kind == CL_LSEEK && op->offset >= w->file->size)
		rc = -E_NXIO;
	if (rc < 0) {
		walk_end(op, rc);
		return;
	}
	w->pos = op->kind == CL_LSEEK ? op->offset : 0;
	op->cancel = walk_cancel;
	op->waiting_for = "blocks of the chunk servers";
	walk_run(w);
}

static void walk_start(struct cl_op *op, int rc)
{
	struct client *c = op->client;
	struct cl_node *node = cl_node_get(c, op->handle ? op->handle->ino : op->ino);
	struct walk *w = node && rc == 0 ? calloc(1, sizeof *w) : NULL;
	if (!w) {
		cl_op_finish(op, rc < 0 ? rc : -E_NOMEM);
		return;
	}
	w->op = op;
	w->fetch.done = walk_node_came;
	w->fetch.arg = w;
	w->file = cl_file_get(c, node);
	if (!w->file) {
		free(w);
		cl_op_finish(op, -E_NOMEM);
		return;
	}
	op->state = w;
	op->is_fresh = false;
	op->wait_rc = 0;
	walk_loaded(op);
}

void cl_read_lseek(struct cl_op *op)
{
	if (op->whence != SEEK_DATA && op->whence != SEEK_HOLE) {
		cl_op_finish(op, -E_INVAL);
		return;
	}
	walk_start(op, 0);
}

/* The map names blocks, so what is dirty is published first. */
void cl_read_map(struct cl_op *op)
{
	struct cl_node *node = cl_node_find(op->client, op->ino);
	op->extents = NULL;
	op->extent_count = 0;
	op->handle = NULL;
	cl_publish_file(op, node ? node->file : NULL, walk_start);
}
