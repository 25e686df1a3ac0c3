/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The window of a seal: old blocks, whole and side by side, behind the begin of a new block that
 * did not end in the window before. They come from a sealed file of a tier, or through the block
 * cache, which gives them up at once unless others want them; those of headers it keeps, for the
 * walk of an archive goes forth and back.
 *
 * What is named anew is proved first: every byte by the id of the old block that it was in. So a
 * bad disk or wire cannot become content that looks well (I1).
 */
#include <string.h>

#include "client/core/seal_internal.h"

static int collect(struct seal_run *run);
static void window_fetch(struct seal_run *run);

/* --- cutting and naming: on a worker ---------------------------------------------------------- */

/* 0, or -E_CORRUPT: bytes are not what their id says. */
static int window_prove(struct seal_run *run)
{
	struct block_id_job jobs[SEAL_PARTS_MAX];
	struct block_id ids[SEAL_PARTS_MAX];
	uint32_t count = 0;

	for (uint32_t i = 0; i < run->part_count; i++)
		jobs[i] = (struct block_id_job){ run->bytes + run->parts[i].from,
						 run->parts[i].len, &ids[i] };
	for (uint32_t i = 0; i < run->part_count; i++)
		if (!run->parts[i].is_hole)
			jobs[count++] = jobs[i];
	block_id_of_all(run->hash, jobs, count);
	for (uint32_t i = 0; i < run->part_count; i++)
		if (!run->parts[i].is_hole && !block_id_equal(&ids[i], &run->parts[i].id))
			return -E_CORRUPT;
	return 0;
}

static int block_add(struct seal_run *run, uint32_t from, uint32_t to)
{
	if (run->block_count == SEAL_BLOCKS_MAX || to - from > BLOCK_BYTES_MAX)
		return -E_RANGE;	/* the cutter promises neither happens */
	run->blocks[run->block_count++] = (struct seal_block){ .from = from, .len = to - from };
	return 0;
}

static int window_cut(struct seal_run *run)
{
	uint32_t from = 0, at = run->carry;
	int rc = 0;

	run->block_count = 0;
	while (rc == 0 && at < run->len) {
		bool ends;
		at += cut_feed(&run->cut, run->bytes + at, run->len - at, &ends);
		if (!ends)
			continue;
		rc = block_add(run, from, at);
		from = at;
	}
	if (rc == 0 && run->is_end && from < at) {
		rc = block_add(run, from, at);
		from = at;
	}
	run->tail = at - from;
	return rc == 0 && run->tail > BLOCK_BYTES_MAX ? -E_RANGE : rc;
}

/* Those that were blocks before keep their names; the others get one. */
static void window_name(struct seal_run *run)
{
	struct block_id_job jobs[SEAL_PARTS_MAX];
	uint32_t count = 0, part = 0;

	for (uint32_t i = 0; i < run->block_count; i++) {
		struct seal_block *block = &run->blocks[i];
		while (part < run->part_count && run->parts[part].from < block->from)
			part++;
		block->is_old = part < run->part_count &&
				run->parts[part].from == block->from &&
				run->parts[part].len == block->len;
		if (block->is_old)
			block->id = run->parts[part].id;
		else
			jobs[count++] = (struct block_id_job){ run->bytes + block->from,
							       block->len, &block->id };
		if (count == ARRAY_COUNT(jobs)) {
			block_id_of_all(run->hash, jobs, count);
			count = 0;
		}
	}
	block_id_of_all(run->hash, jobs, count);
}

static void work_run(struct loop_work *work)
{
	struct seal_run *run = container_of(work, struct seal_run, work);

	run->work_rc = window_prove(run);
	if (run->work_rc < 0 || run->step != SEAL_READ)
		return;
	run->work_rc = window_cut(run);
	if (run->work_rc == 0)
		window_name(run);
}

static void work_done(struct loop_work *work)
{
	struct seal_run *run = container_of(work, struct seal_run, work);

	if (!cl_seal_run_unbusy(run))
		return;
	if (run->work_rc == -E_CORRUPT && run->is_from_tier) {
		run->is_tier_bad = true;	/* its scrub finds it; the cluster has it right */
		window_fetch(run);
		return;
	}
	run->info.blocks_before += run->step == SEAL_READ ? run->part_count : 0;
	run->next_block = 0;
	if (run->step == SEAL_READ)
		run->step = SEAL_PUT;
	cl_seal_run_back(run, run->work_rc);
}

static void window_work(struct seal_run *run)
{
	run->busy++;
	run->work = (struct loop_work){ .run = work_run, .done = work_done, .is_owned = true };
	loop_work(run->client->options.loop, &run->work);
}

/* --- bytes ------------------------------------------------------------------------------------ */

static void part_take(struct seal_part *part)
{
	struct seal_run *run = part->run;

	memcpy(run->bytes + part->from, part->fetch.buf->data, part->len);
	buf_put(part->fetch.buf);
	part->fetch.buf = NULL;
}

static void part_came(struct cl_fetch *fetch)
{
	struct seal_part *part = fetch->arg;
	struct seal_run *run = part->run;

	run->pending--;
	if (fetch->rc < 0) {
		cl_seal_run_back(run, fetch->rc);
		return;
	}
	part_take(part);
	if (run->pending == 0 && run->rc == 0)
		window_work(run);
}

static int part_fetch(struct seal_part *part)
{
	struct seal_run *run = part->run;

	if (part->is_hole) {
		memset(run->bytes + part->from, 0, part->len);
		return 0;
	}
	part->fetch = (struct cl_fetch){ .done = part_came, .arg = part, .is_patient = true,
					 .is_last = run->step == SEAL_READ };
	part->fetch.run = cl_cache_run(run->ino, run->start + part->from);
	int rc = cl_cache_fetch(run->client, &part->id, part->len, &part->fetch);
	if (rc < 0)
		return rc;
	run->pending += rc == 0;
	if (rc == 0 && run->step == SEAL_HEADER)
		run->header_bytes += part->len;
	if (rc > 0)
		part_take(part);
	return 0;
}

static void tier_came(struct tier_io *io)
{
	struct seal_run *run = io->user;

	if (!cl_seal_run_unbusy(run))
		return;
	if (io->rc < 0 || tier_state(io->file) == TIER_GONE) {
		run->is_tier_bad = true;
		window_fetch(run);
	} else {
		window_work(run);
	}
}

/* One read of all of it, if it lies in a tier. */
static bool tier_fetch(struct seal_run *run)
{
	struct tiers *tiers = run->client->options.tiers;
	uint32_t from = run->parts[0].from;
	struct tier_file *file;

	if (!tiers || run->is_tier_bad || run->step != SEAL_READ ||
	    !tiers_is_sealed(tiers, &run->root) ||
	    (file = tiers_find(tiers, &run->root)) == NULL)
		return false;
	run->tier_iov = (struct iovec){ run->bytes + from, run->len - from };
	run->tier_io = (struct tier_io){ .file = file, .offset = run->start + from,
					 .iov = &run->tier_iov, .iov_count = 1, .done = tier_came,
					 .user = run };
	run->busy++;
	tier_read(&run->tier_io);	/* which keeps it */
	tier_put(file);
	return true;
}

static void window_fetch(struct seal_run *run)
{
	int rc = 0;

	run->is_from_tier = run->part_count > 0 && tier_fetch(run);
	if (run->is_from_tier)
		return;
	run->pending = 1;		/* none is the last before all are asked for */
	for (uint32_t i = 0; i < run->part_count && rc == 0; i++)
		rc = part_fetch(&run->parts[i]);
	run->pending--;
	if (rc < 0)
		cl_seal_run_back(run, rc);
	else if (run->pending == 0)
		window_work(run);
}

/* --- the manifest ----------------------------------------------------------------------------- */

static void node_came(struct cl_fetch *fetch)
{
	struct seal_run *run = fetch->arg;
	int rc = fetch->rc;

	if (rc == 0)
		rc = manifest_supply(run->old, fetch->buf->data, fetch->buf->len);
	buf_put(fetch->buf);
	fetch->buf = NULL;
	if (rc == 0)
		rc = collect(run);
	if (rc < 0)
		cl_seal_run_back(run, rc);
}

/* 0: look again; 1: it is on its way; or an error. */
static int node_fetch(struct seal_run *run)
{
	struct block_id id = *manifest_needed(run->old);

	run->node_fetch = (struct cl_fetch){ .done = node_came, .arg = run };
	int rc = cl_cache_fetch(run->client, &id, 0, &run->node_fetch);
	if (rc <= 0)
		return rc == 0 ? 1 : rc;
	struct buf *buf = run->node_fetch.buf;
	run->node_fetch.buf = NULL;
	rc = manifest_supply(run->old, buf->data, buf->len);
	buf_put(buf);
	return rc;
}

/* One more part. 1: the window ends before it. */
static int part_add(struct seal_run *run, const struct extent *e)
{
	struct seal_part *part = &run->parts[run->part_count];
	bool is_hole = block_id_is_zero(&e->id);
	uint64_t len = e->length;

	if (run->len >= run->want || run->part_count == SEAL_PARTS_MAX)
		return 1;
	if (run->step == SEAL_HEADER && run->part_count == 0 && !is_hole) {
		/* a header may begin late in its block */
		run->want = MIN_OF(run->want + (uint32_t)(run->start - e->offset), run->capacity);
		run->start = e->offset;
	}
	if (is_hole)
		len = MIN_OF(e->offset + e->length - run->start - run->len, BLOCK_BYTES_MAX);
	if (run->len + len > run->capacity)
		return 1;
	*part = (struct seal_part){ .run = run, .id = e->id, .from = run->len,
				    .len = (uint32_t)len, .is_hole = is_hole };
	run->len += part->len;
	run->part_count++;
	return 0;
}

/* Find the parts, then fetch them. */
static int collect(struct seal_run *run)
{
	int rc = 0;

	while (rc == 0) {
		uint64_t at = run->start + run->len;
		struct extent e;

		run->is_end = at >= run->root.length;
		if (run->is_end)
			break;
		rc = manifest_lookup(run->old, at, &e);
		if (rc == -E_NEED_NODE) {
			rc = node_fetch(run);
			if (rc > 0)
				return 0;
			continue;
		}
		run->is_end = rc == 0 && run->step == SEAL_READ && block_id_is_zero(&e.id);
		if (run->is_end)
			break;
		if (rc == 0)
			rc = part_add(run, &e);
	}
	if (rc < 0)
		return rc;
	window_fetch(run);
	return 0;
}

int cl_seal_read(struct seal_run *run, uint64_t at, uint32_t want)
{
	run->start = at - run->carry;
	run->len = run->carry;
	run->part_count = 0;
	run->want = MIN_OF(run->carry + want, run->capacity);
	return collect(run);
}

void cl_seal_read_cancel(struct seal_run *run)
{
	cl_cache_cancel(run->client, &run->node_fetch);
	for (uint32_t i = 0; i < run->part_count; i++)
		cl_cache_cancel(run->client, &run->parts[i].fetch);
}
