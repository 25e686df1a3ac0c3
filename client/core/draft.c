/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Drafts; see draft.h. Blocks are gathered until their piece is full, since puts end in any order,
 * and one write per piece costs a sixteenth of the hand-overs. A write over a range that is on its
 * way to the disk spoils its piece: which of the two comes last is not known.
 */
#include "client/core/draft.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "client/core/fill.h"
#include "client/tier/tier.h"
#include "fs/base/metrics.h"

/* Of content that is cut by anchors there may be two for 64 KiB; what does not fit is left out. */
#define PIECE_BLOCKS   40u
#define PIECES_MAX     65536u	/* of all drafts: 64 GiB of content, some 60 MB of memory */
#define DRAFTS_MAX     32u
#define COMPARES_TURN  4096u	/* blocks compared in one turn of the loop */
#define BACKFILL_MAX   256u	/* blocks that were put before the draft began */
#define NODES_KEPT     4u

struct draft_block {			/* or the part of one that lies in a piece */
	uint32_t at, len;		/* in its piece */
	uint32_t from;			/* of the block, where the part begins */
	struct block_id id;
	struct buf *buf;		/* gathered, not written yet; NULL: on its way or written */
};

struct draft_piece {
	uint64_t index;
	uint32_t count;
	uint32_t gathered_bytes;
	uint32_t flying;		/* writes */
	bool is_spoilt;			/* its bytes are not known */
	uint32_t summed;		/* so many bytes, from its begin, are of one write */
	uint64_t sum;			/* of that */
	uint32_t matched;		/* bytes that the root says, too */
	struct draft_block *at;		/* by place */
	uint32_t room;
	UT_hash_handle hh;
	struct draft_piece *prev, *next;	/* gathering, oldest first */
};

struct cl_draft {
	struct client *client;		/* NULL: gone */
	struct tier_file *file;
	struct draft_piece *pieces;	/* uthash */
	struct draft_piece *gathering;
	uint32_t flying;
	bool is_dropped;		/* to be freed when the last write came back */
	/* adoption */
	bool is_settling;
	struct root root;		/* whose blocks are compared, */
	struct root name;		/* and as what it is adopted */
	struct manifest *manifest;
	struct cl_fetch fetch;
	struct loop_timer turn;
	uint64_t pos, marked;
	struct cl_draft *prev, *next;
};

struct cl_drafts {
	struct cl_draft *list;
	struct cl_draft *dropped;	/* the disk still has something of them */
	uint32_t count, piece_count;
	uint64_t held_bytes, held_bytes_max;	/* gathered or flying */
};

struct draft_write {
	struct tier_io io;
	struct cl_draft *draft;
	struct draft_piece *piece;
	struct iovec iov[PIECE_BLOCKS];
	struct buf *bufs[PIECE_BLOCKS];
	uint32_t count;
};

static void settle_turn(struct loop_timer *turn);

/* --- life ------------------------------------------------------------------------------------- */

static void held(struct cl_draft *d, const struct buf *buf, bool is_more)
{
	if (d->client && is_more)
		d->client->drafts->held_bytes += buf->capacity;
	else if (d->client)
		d->client->drafts->held_bytes -= buf->capacity;
}

static void block_let_go(struct cl_draft *d, struct draft_piece *piece, struct draft_block *block)
{
	if (!block->buf)
		return;
	piece->gathered_bytes -= block->len;
	held(d, block->buf, false);
	buf_put(block->buf);
	block->buf = NULL;
}

static void piece_ungather(struct cl_draft *d, struct draft_piece *piece)
{
	if (piece->gathered_bytes == 0)
		return;
	for (uint32_t i = 0; i < piece->count; i++)
		block_let_go(d, piece, &piece->at[i]);
	DL_DELETE(d->gathering, piece);
}

static void draft_free(struct cl_draft *d)
{
	struct draft_piece *piece, *next;
	if (d->client)
		DL_DELETE(d->client->drafts->dropped, d);
	HASH_ITER(hh, d->pieces, piece, next) {
		HASH_DEL(d->pieces, piece);
		free(piece->at);
		free(piece);
	}
	free(d);
}

/* It lets go of everything now, but what the disk still has. */
static void draft_drop(struct cl_draft *d, bool is_adopted)
{
	struct client *c = d->client;
	struct draft_piece *piece, *next;
	HASH_ITER(hh, d->pieces, piece, next)
		piece_ungather(d, piece);
	c->drafts->piece_count -= HASH_COUNT(d->pieces);
	c->drafts->count--;
	DL_DELETE(c->drafts->list, d);
	DL_APPEND(c->drafts->dropped, d);
	cl_cache_cancel(c, &d->fetch);
	loop_timer_stop(c->options.loop, &d->turn);
	manifest_destroy(d->manifest);
	if (!is_adopted) {
		if (tier_state(d->file) != TIER_GONE)
			tier_drop(d->file);
		tier_put(d->file);
	}
	d->is_dropped = true;
	if (d->flying == 0)
		draft_free(d);
}

/* --- writes ----------------------------------------------------------------------------------- */

static void write_done(struct tier_io *io)
{
	struct draft_write *w = io->user;
	struct cl_draft *d = w->draft;
	for (uint32_t i = 0; i < w->count; i++) {
		held(d, w->bufs[i], false);
		buf_put(w->bufs[i]);
	}
	w->piece->flying--;
	d->flying--;
	if (io->rc < 0)
		w->piece->is_spoilt = true;
	if (io->wants_sum) {
		w->piece->summed = (uint32_t)io->len;
		w->piece->sum = io->sum;
	}
	free(w);
	if (d->is_dropped && d->flying == 0)
		draft_free(d);
	else if (!d->is_dropped && d->is_settling && d->flying == 0)
		loop_timer_start(d->client->options.loop, &d->turn, 0);
}

/* Write the run of gathered blocks that begins at place `from`; the place behind it. */
static uint32_t run_write(struct cl_draft *d, struct draft_piece *piece, uint32_t from)
{
	struct draft_write *w = calloc(1, sizeof *w);
	uint32_t i = from, end = piece->at[from].at;
	for (; w && i < piece->count && piece->at[i].buf && piece->at[i].at == end; i++) {
		struct draft_block *block = &piece->at[i];
		w->iov[w->count] = (struct iovec){ block->buf->data + block->from, block->len };
		w->bufs[w->count++] = block->buf;
		piece->gathered_bytes -= block->len;
		block->buf = NULL;
		end += block->len;
	}
	if (!w) {
		piece->is_spoilt = true;
		block_let_go(d, piece, &piece->at[from]);
		return from + 1;
	}
	w->draft = d;
	w->piece = piece;
	w->io = (struct tier_io){
		.file = d->file, .offset = piece->index * TIER_PIECE_BYTES + piece->at[from].at,
		.iov = w->iov, .iov_count = w->count, .done = write_done, .user = w,
		.wants_sum = piece->at[from].at == 0,
	};
	d->client->stats.draft_bytes += end - piece->at[from].at;
	piece->flying++;
	d->flying++;
	tier_write(&w->io);
	return i;
}

static void piece_write(struct cl_draft *d, struct draft_piece *piece)
{
	for (uint32_t i = 0; i < piece->count;)
		i = piece->at[i].buf ? run_write(d, piece, i) : i + 1;
	DL_DELETE(d->gathering, piece);
}

/* --- blocks ----------------------------------------------------------------------------------- */

static struct draft_piece *piece_get(struct cl_draft *d, uint64_t index)
{
	struct draft_piece *piece;
	HASH_FIND(hh, d->pieces, &index, sizeof index, piece);
	if (piece || d->client->drafts->piece_count >= PIECES_MAX)
		return piece;
	piece = calloc(1, sizeof *piece);
	if (!piece)
		return NULL;
	piece->index = index;
	HASH_ADD(hh, d->pieces, index, sizeof piece->index, piece);
	if (!piece->hh.tbl) {
		free(piece);
		return NULL;
	}
	d->client->drafts->piece_count++;
	return piece;
}

static void block_remove(struct cl_draft *d, struct draft_piece *piece, uint32_t i)
{
	bool was_gathering = piece->gathered_bytes > 0;
	block_let_go(d, piece, &piece->at[i]);
	piece->summed = 0;
	if (was_gathering && piece->gathered_bytes == 0)
		DL_DELETE(d->gathering, piece);
	piece->count--;
	memmove(&piece->at[i], &piece->at[i + 1], (piece->count - i) * sizeof piece->at[0]);
}

/* Forget what [at, at + len) of the piece held. False: some of it is on its way to the disk. */
static bool range_clear(struct cl_draft *d, struct draft_piece *piece, uint32_t at, uint32_t len)
{
	for (uint32_t i = piece->count; i > 0; i--) {
		const struct draft_block *block = &piece->at[i - 1];
		if (block->at >= at + len || block->at + block->len <= at)
			continue;
		if (!block->buf && piece->flying > 0)
			return false;
		block_remove(d, piece, i - 1);
	}
	return true;
}

/* Memory is short: the oldest piece is written as it is. */
static bool draft_has_memory(struct cl_draft *d)
{
	const struct cl_drafts *drafts = d->client->drafts;
	if (drafts->held_bytes + CL_BUF_BYTES <= drafts->held_bytes_max)
		return true;
	if (d->gathering)
		piece_write(d, d->gathering);
	return false;
}

static bool piece_grow(struct draft_piece *piece)
{
	if (piece->count < piece->room)
		return true;
	uint32_t room = MIN_OF(MAX_OF(piece->room * 2, 16u), PIECE_BLOCKS);
	struct draft_block *at =
		room > piece->room ? realloc(piece->at, room * sizeof *at) : NULL;
	if (!at)
		return false;
	piece->at = at;
	piece->room = room;
	return true;
}

/* What of a block lies in one piece. */
static void part_add(struct cl_draft *d, uint64_t index, const struct draft_block *part)
{
	struct draft_piece *piece = piece_get(d, index);
	uint32_t i = 0;
	if (!piece || piece->is_spoilt)
		return;
	if (!range_clear(d, piece, part->at, part->len)) {
		piece_ungather(d, piece);
		piece->is_spoilt = true;
		return;
	}
	if (!draft_has_memory(d) || !piece_grow(piece))
		return;
	while (i < piece->count && piece->at[i].at < part->at)
		i++;
	memmove(&piece->at[i + 1], &piece->at[i], (piece->count - i) * sizeof piece->at[0]);
	piece->at[i] = *part;
	buf_ref(part->buf);
	piece->count++;
	held(d, part->buf, true);
	if (piece->gathered_bytes == 0)
		DL_APPEND(d->gathering, piece);
	piece->gathered_bytes += part->len;
	if (piece->gathered_bytes == TIER_PIECE_BYTES)
		piece_write(d, piece);
}

/* Of [offset, offset + len), what follows its first `from` bytes, as far as a piece goes. */
static struct draft_block part_of(uint64_t offset, uint32_t len, uint32_t from)
{
	uint32_t at = (uint32_t)((offset + from) % TIER_PIECE_BYTES);
	return (struct draft_block){ .at = at, .from = from,
				     .len = (uint32_t)MIN_OF(len - from, TIER_PIECE_BYTES - at) };
}

static void draft_add(struct cl_draft *d, uint64_t offset, const struct block_id *id,
		      struct buf *buf, uint32_t len)
{
	for (uint32_t from = 0; from < len;) {
		struct draft_block part = part_of(offset, len, from);
		part.id = *id;
		part.buf = buf;
		part_add(d, (offset + from) / TIER_PIECE_BYTES, &part);
		from += part.len;
	}
}

/* --- begin ------------------------------------------------------------------------------------ */

/* What was put before the file was large enough: it was put lately, so it is in the cache. */
static void backfill(struct cl_draft *d, struct cl_file *file)
{
	uint64_t end = file->manifest ? manifest_bytes(file->manifest) : 0, pos = 0;
	for (uint32_t i = 0; i < BACKFILL_MAX && pos < end; i++) {
		struct extent e;
		if (manifest_lookup(file->manifest, pos, &e) < 0)
			return;
		struct buf *buf = block_id_is_zero(&e.id) ? NULL : cl_cache_find(d->client, &e.id);
		if (buf && buf->len == e.length)
			draft_add(d, e.offset, &e.id, buf, (uint32_t)e.length);
		buf_put(buf);
		pos = e.offset + e.length;
	}
}

/* Content that was large before it was opened is edited, not written: no draft of it. */
static bool wants_draft(const struct cl_file *file)
{
	const struct client *c = file->client;
	bool is_new = file->is_draft_new || file->root.length < c->options.tier_min_bytes;
	return !file->is_draft_refused && is_new && !file->is_alone &&
	       file->size >= c->options.tier_min_bytes && c->drafts->count < DRAFTS_MAX;
}

static void draft_begin(struct cl_file *file)
{
	struct client *c = file->client;
	struct tier_file *f;
	file->is_draft_refused = true;		/* one try */
	struct cl_draft *d = calloc(1, sizeof *d);
	if (!d)
		return;
	if (tiers_begin_draft(c->options.tiers, &f) < 0) {
		free(d);
		return;
	}
	d->client = c;
	d->file = f;
	d->turn.fn = settle_turn;
	DL_APPEND(c->drafts->list, d);
	c->drafts->count++;
	c->stats.drafts_begun++;
	file->draft = d;
	backfill(d, file);
}

void cl_draft_put(struct cl_file *file, uint64_t offset, const struct block_id *id,
		  struct buf *buf, uint32_t len)
{
	struct client *c = file->client;
	if (!c->drafts)
		return;
	if (!file->draft && wants_draft(file)) {
		draft_begin(file);
		cl_policy_want(file);	/* "never" ends it */
	}
	if (file->draft && tier_state(file->draft->file) == TIER_GONE)
		cl_draft_forget(file);
	if (file->draft)
		draft_add(file->draft, offset, id, buf, len);
}

void cl_draft_forget(struct cl_file *file)
{
	if (file->draft)
		draft_drop(file->draft, false);
	file->draft = NULL;
	file->is_draft_new = false;
}

void cl_draft_restart(struct cl_file *file)
{
	cl_draft_forget(file);
	file->is_draft_new = true;
	file->is_draft_refused = false;
}

/* --- adoption --------------------------------------------------------------------------------- */

static void settle_end(struct cl_draft *d)
{
	struct client *c = d->client;
	struct tier_file *f = d->file;
	bool is_worth = d->marked >= d->root.length / 2;
	draft_drop(d, is_worth);
	if (!is_worth)
		return;
	METRIC_INC(drafts_adopted);
	c->stats.drafts_adopted++;
	cl_fill_adopt(c, f);
}

/* All of it is of one write, and what the root says. */
static void piece_mark(struct cl_draft *d, struct draft_piece *piece)
{
	uint64_t rest = d->root.length - piece->index * TIER_PIECE_BYTES;
	if (piece->matched != MIN_OF(rest, TIER_PIECE_BYTES) || piece->summed != piece->matched)
		return;
	tier_mark(d->file, piece->index, piece->sum);
	d->marked += piece->matched;
}

static void part_compare(struct cl_draft *d, uint64_t index, const struct draft_block *part)
{
	struct draft_piece *piece;
	HASH_FIND(hh, d->pieces, &index, sizeof index, piece);
	if (!piece || piece->is_spoilt)
		return;
	for (uint32_t i = 0; i < piece->count; i++) {
		const struct draft_block *has = &piece->at[i];
		if (has->at != part->at || has->len != part->len || has->from != part->from ||
		    !block_id_equal(&has->id, &part->id))
			continue;
		piece->matched += part->len;
		piece_mark(d, piece);
		return;
	}
}

static void compare(struct cl_draft *d, const struct extent *e)
{
	for (uint32_t from = 0; from < e->length;) {
		struct draft_block part = part_of(e->offset, (uint32_t)e->length, from);
		part.id = e->id;
		part_compare(d, (e->offset + from) / TIER_PIECE_BYTES, &part);
		from += part.len;
	}
}

static void node_came(struct cl_fetch *fetch)
{
	struct cl_draft *d = fetch->arg;
	int rc = fetch->rc;
	if (rc == 0)
		rc = manifest_supply(d->manifest, fetch->buf->data, fetch->buf->len);
	buf_put(fetch->buf);
	fetch->buf = NULL;
	if (rc < 0)
		draft_drop(d, false);
	else
		loop_timer_start(d->client->options.loop, &d->turn, 0);
}

/* 0: look again; 1: it is on its way; or an error. */
static int node_fetch(struct cl_draft *d)
{
	struct block_id id = *manifest_needed(d->manifest);
	int rc = cl_cache_fetch(d->client, &id, 0, &d->fetch);
	if (rc <= 0)
		return rc == 0 ? 1 : rc;
	rc = manifest_supply(d->manifest, d->fetch.buf->data, d->fetch.buf->len);
	buf_put(d->fetch.buf);
	d->fetch.buf = NULL;
	return rc;
}

static int settle_begin(struct cl_draft *d)
{
	int rc = tier_adopt(d->file, &d->name);
	if (rc < 0)
		return rc;
	d->fetch.done = node_came;
	d->fetch.arg = d;
	return manifest_create(&d->root, d->client->hash, NODES_KEPT, &d->manifest);
}

static void settle_turn(struct loop_timer *turn)
{
	struct cl_draft *d = container_of(turn, struct cl_draft, turn);
	int rc = d->manifest ? 0 : settle_begin(d);
	for (uint32_t i = 0; rc == 0 && i < COMPARES_TURN && d->pos < d->root.length; i++) {
		struct extent e;
		rc = manifest_lookup(d->manifest, d->pos, &e);
		if (rc == -E_NEED_NODE) {
			rc = node_fetch(d);
			continue;
		}
		if (rc < 0)
			break;
		if (!block_id_is_zero(&e.id))
			compare(d, &e);
		d->pos = e.offset + e.length;
	}
	if (rc > 0)
		return;
	if (rc < 0)
		draft_drop(d, false);
	else if (d->pos < d->root.length)
		loop_timer_start(d->client->options.loop, &d->turn, 0);
	else
		settle_end(d);
}

void cl_draft_settle(struct cl_file *file)
{
	struct cl_draft *d = file->draft;
	const struct root *root = &file->root;
	if (!d || file->node->writers > 0 || cl_file_is_dirty(file) || !file->is_loaded ||
	    file->edits)
		return;
	file->draft = NULL;
	file->is_draft_new = false;
	if (!cl_fill_may(file->client, root) || root->length != file->size) {
		draft_drop(d, false);
		return;
	}
	while (d->gathering)
		piece_write(d, d->gathering);
	d->root = d->name = *root;
	d->is_settling = true;
	if (d->flying == 0)
		loop_timer_start(d->client->options.loop, &d->turn, 0);
}

void cl_draft_recut(struct client *c, const struct root *of, const struct root *root)
{
	struct cl_draft *d;
	if (!c->drafts)
		return;
	DL_FOREACH(c->drafts->list, d)
		if (d->is_settling && !d->manifest && root_equal(&d->name, of))
			d->name = *root;
}

int cl_draft_init(struct client *c)
{
	if (!c->options.tiers)
		return 0;
	c->drafts = calloc(1, sizeof *c->drafts);
	if (!c->drafts)
		return -E_NOMEM;
	c->drafts->held_bytes_max = c->dirty_bytes_max / 4;
	return 0;
}

void cl_draft_finish(struct client *c)
{
	struct cl_file *file;
	struct cl_draft *d;
	if (!c->drafts)
		return;
	DL_FOREACH(c->files, file)
		cl_draft_forget(file);
	while (c->drafts->list)
		draft_drop(c->drafts->list, false);
	DL_FOREACH(c->drafts->dropped, d)
		d->client = NULL;
	free(c->drafts);
	c->drafts = NULL;
}
