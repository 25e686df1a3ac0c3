/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One piece of a fill: its parts are found in the manifest, its blocks come through the block cache
 * (where readers of the same blocks meet them), a worker proves each by its digest, the tier writes
 * them. A block that does not prove is asked for once more from servers, proved there.
 *
 * A piece that is cut into more than FILL_PARTS_MAX parts is gathered in memory as they come.
 */
#include "client/core/fill_internal.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

static const uint8_t zeros[BLOCK_BYTES_MAX];

static void piece_walk(struct fill_piece *piece);

/* --- end -------------------------------------------------------------------------------------- */

static void parts_drop(struct fill_piece *piece)
{
	struct client *c = piece->fills ? piece->fills->client : NULL;
	for (uint32_t i = 0; i < piece->part_count; i++) {
		struct fill_part *part = &piece->parts[i];
		if (c)
			cl_cache_cancel(c, &part->fetch);
		if (c && c->blocks)
			blocks_get_cancel(c->blocks, &part->get);
		buf_put(part->buf);
	}
	piece->part_count = 0;
}

static void piece_free(struct fill_piece *piece)
{
	if (piece->fills) {
		cl_cache_cancel(piece->fills->client, &piece->node_fetch);
		piece->fills->flying--;
	}
	parts_drop(piece);
	tier_put(piece->file);
	free(piece->bytes);
	free(piece);
}

static void piece_end(struct fill_piece *piece, int rc)
{
	struct cl_fill *fill = piece->fill;
	if (rc == 0)
		fill->client->stats.fill_bytes += piece->len;
	DL_DELETE(fill->pieces, piece);
	piece_free(piece);
	cl_fill_piece_ended(fill, rc);
}

/* What a worker or the tier had: false if nobody wants it any more; it is freed then. */
static bool piece_is_back(struct fill_piece *piece)
{
	piece->is_away = false;
	if (piece->fill)
		return true;
	if (piece->fills)
		DL_DELETE(piece->fills->orphans, piece);
	piece_free(piece);
	return false;
}

void cl_fill_piece_drop(struct fill_piece *piece)
{
	DL_DELETE(piece->fill->pieces, piece);
	piece->fill = NULL;
	tier_put(piece->file);		/* the tiers may go before a worker gives it back */
	piece->file = NULL;
	if (piece->is_away)
		DL_APPEND(piece->fills->orphans, piece);
	else
		piece_free(piece);
}

/* --- write ------------------------------------------------------------------------------------ */

static void piece_written(struct tier_io *io)
{
	struct fill_piece *piece = io->user;
	if (piece_is_back(piece))
		piece_end(piece, io->rc);
}

static const uint8_t *part_bytes(const struct fill_part *part)
{
	return part->buf ? part->buf->data + part->from : zeros;
}

/* Copy the parts behind what was gathered, and let them go. -E_NOMEM. */
static int piece_gather(struct fill_piece *piece)
{
	if (!piece->bytes)
		piece->bytes = malloc(piece->len);
	if (!piece->bytes)
		return -E_NOMEM;
	for (uint32_t i = 0; i < piece->part_count; i++) {
		const struct fill_part *part = &piece->parts[i];
		memcpy(piece->bytes + piece->gathered, part_bytes(part), part->len);
		piece->gathered += part->len;
	}
	parts_drop(piece);
	return 0;
}

static void piece_write(struct fill_piece *piece)
{
	uint32_t count = 0;
	if (piece->gathered > 0)
		piece->iov[count++] = (struct iovec){ piece->bytes, piece->gathered };
	for (uint32_t i = 0; i < piece->part_count && piece->gathered == 0; i++)
		piece->iov[count++] = (struct iovec){
			(void *)(uintptr_t)part_bytes(&piece->parts[i]), piece->parts[i].len,
		};
	piece->io = (struct tier_io){ .file = piece->file, .offset = piece->offset,
				      .iov = piece->iov, .iov_count = count,
				      .done = piece_written, .user = piece };
	piece->is_away = true;
	tier_write(&piece->io);
}

/* --- proof ------------------------------------------------------------------------------------ */

static void parts_prove(struct loop_work *work)
{
	struct fill_piece *piece = container_of(work, struct fill_piece, work);
	struct block_id_job jobs[FILL_PARTS_MAX];
	struct block_id ids[FILL_PARTS_MAX];
	uint32_t count = 0;
	for (uint32_t i = 0; i < piece->part_count; i++) {
		const struct buf *buf = piece->parts[i].buf;
		if (buf)
			jobs[count++] = (struct block_id_job){ buf->data, buf->len, &ids[i] };
	}
	block_id_of_all(piece->hash, jobs, count);
	for (uint32_t i = 0; i < piece->part_count; i++) {
		struct fill_part *part = &piece->parts[i];
		part->is_wrong = part->buf && !block_id_equal(&ids[i], &part->id);
	}
}

/* All parts so far are right: write them, or make room for more. */
static void parts_proved(struct fill_piece *piece)
{
	int rc = 0;
	if (piece->walked < piece->len || piece->gathered > 0)
		rc = piece_gather(piece);
	if (rc < 0)
		piece_end(piece, rc);
	else if (piece->walked < piece->len)
		piece_walk(piece);
	else
		piece_write(piece);
}

static void part_replaced(struct blocks_get *get)
{
	struct fill_part *part = get->user;
	struct fill_piece *piece = part->piece;
	if (get->rc < 0) {
		piece_end(piece, get->rc);
		return;
	}
	buf_put(part->buf);
	part->buf = get->plain;
	part->is_wrong = false;
	if (--piece->pending == 0)
		parts_proved(piece);
}

static void part_replace(struct fill_part *part)
{
	struct client *c = part->piece->fills->client;
	uint64_t ns = c->options.timeout_ms * UINT64_C(1000000);
	part->get = (struct blocks_get){
		.id = part->id, .plain_len = part->block_len, .verify_id = true,
		.deadline_ns = loop_now_ns(c->options.loop) + ns, .done = part_replaced,
		.user = part,
	};
	blocks_get_start(c->blocks, &part->get);
}

static void parts_judged(struct loop_work *work)
{
	struct fill_piece *piece = container_of(work, struct fill_piece, work);
	if (!piece_is_back(piece))
		return;
	for (uint32_t i = 0; i < piece->part_count; i++)
		piece->pending += piece->parts[i].is_wrong;
	if (piece->pending == 0) {
		parts_proved(piece);
		return;
	}
	for (uint32_t i = 0; i < piece->part_count; i++)
		if (piece->parts[i].is_wrong)
			part_replace(&piece->parts[i]);
}

static void parts_came(struct fill_piece *piece)
{
	piece->is_away = true;
	piece->work = (struct loop_work){ .run = parts_prove, .done = parts_judged,
					  .is_owned = true };
	loop_work(piece->fills->client->options.loop, &piece->work);
}

/* --- parts ------------------------------------------------------------------------------------ */

static void part_came(struct cl_fetch *fetch)
{
	struct fill_part *part = fetch->arg;
	struct fill_piece *piece = part->piece;
	if (fetch->rc < 0) {
		piece_end(piece, fetch->rc);
		return;
	}
	part->buf = fetch->buf;
	fetch->buf = NULL;
	if (--piece->pending == 0)
		parts_came(piece);
}

static int part_add(struct fill_piece *piece, const struct extent *e)
{
	uint64_t pos = piece->offset + piece->walked, end = piece->offset + piece->len;
	struct fill_part *part = &piece->parts[piece->part_count];
	bool is_hole = block_id_is_zero(&e->id);
	uint64_t len = MIN_OF(e->offset + e->length, end) - pos;
	*part = (struct fill_part){ .piece = piece, .id = e->id };
	part->len = (uint32_t)(is_hole ? MIN_OF(len, sizeof zeros) : len);
	if (!is_hole) {
		part->block_len = (uint32_t)e->length;
		part->from = (uint32_t)(pos - e->offset);
		part->fetch.done = part_came;
		part->fetch.arg = part;
		part->fetch.is_patient = true;
		part->fetch.run = cl_cache_run(piece->run, pos);
		int rc = cl_cache_fetch(piece->fills->client, &e->id, part->block_len,
					&part->fetch);
		if (rc < 0)
			return rc;
		piece->pending += rc == 0;
		if (rc > 0)
			part->buf = part->fetch.buf;
		part->fetch.buf = NULL;
	}
	piece->part_count++;
	piece->walked += part->len;
	return 0;
}

/* --- walk ------------------------------------------------------------------------------------- */

static void node_came(struct cl_fetch *fetch)
{
	struct fill_piece *piece = fetch->arg;
	struct manifest *manifest = piece->fill->manifest;
	struct extent e;
	int rc = fetch->rc;
	piece->pending--;
	if (rc == 0)		/* another piece may have supplied it */
		rc = manifest_lookup(manifest, piece->offset + piece->walked, &e);
	if (rc == -E_NEED_NODE && block_id_equal(manifest_needed(manifest), &piece->node_id))
		rc = manifest_supply(manifest, fetch->buf->data, fetch->buf->len);
	buf_put(fetch->buf);
	fetch->buf = NULL;
	if (rc < 0 && rc != -E_NEED_NODE)
		piece_end(piece, rc);
	else
		piece_walk(piece);
}

/* 0: look again; 1: it is on its way; or an error. */
static int node_fetch(struct fill_piece *piece)
{
	struct manifest *manifest = piece->fill->manifest;
	piece->node_id = *manifest_needed(manifest);
	int rc = cl_cache_fetch(piece->fills->client, &piece->node_id, 0, &piece->node_fetch);
	if (rc == 0)
		piece->pending++;
	if (rc <= 0)
		return rc == 0 ? 1 : rc;
	rc = manifest_supply(manifest, piece->node_fetch.buf->data, piece->node_fetch.buf->len);
	buf_put(piece->node_fetch.buf);
	piece->node_fetch.buf = NULL;
	return rc;
}

/* Find parts until the piece has all, or room for no more. */
static void piece_walk(struct fill_piece *piece)
{
	int rc = 0;
	piece->pending++;	/* none of them is the last before all are asked for */
	while (rc == 0 && piece->walked < piece->len && piece->part_count < FILL_PARTS_MAX) {
		struct extent e;
		rc = manifest_lookup(piece->fill->manifest, piece->offset + piece->walked, &e);
		if (rc == 0)
			rc = part_add(piece, &e);
		else if (rc == -E_NEED_NODE)
			rc = node_fetch(piece);
	}
	piece->pending--;
	if (rc < 0)
		piece_end(piece, rc);
	else if (rc == 0 && piece->pending == 0)
		parts_came(piece);
}

int cl_fill_piece_start(struct cl_fill *fill, uint64_t index)
{
	struct cl_fills *fills = fill->client->fills;
	struct fill_piece *piece = calloc(1, sizeof *piece);
	if (!piece)
		return -E_NOMEM;
	piece->fills = fills;
	piece->fill = fill;
	piece->file = tier_ref(fill->file);
	piece->offset = index * TIER_PIECE_BYTES;
	piece->len = (uint32_t)MIN_OF(fill->root.length - piece->offset, TIER_PIECE_BYTES);
	piece->hash = fill->client->hash;
	memcpy(&piece->run, fill->root.id.bytes, sizeof piece->run);
	piece->node_fetch.done = node_came;
	piece->node_fetch.arg = piece;
	fills->flying++;
	DL_APPEND(fill->pieces, piece);
	piece_walk(piece);
	return 0;
}
