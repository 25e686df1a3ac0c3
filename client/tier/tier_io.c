/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transfers. What is submitted in a turn starts at its end: short reads are tried from memory at
 * once, the others go to workers. Sealed files are opened when they are read and kept open, the
 * least recently used closed when there are too many; a file that is being filled keeps its one
 * handle until it is sealed, for only that one is told of lost writes (I4).
 */
#include <utlist.h>

#include "client/tier/tier_internal.h"
#include "fs/hash/checksum.h"

/* --- handles ---------------------------------------------------------------------------------- */

void tier_io_busy(struct tier_file *f)
{
	struct tiers *t = f->tiers;

	if (!f->is_idle)
		return;
	f->is_idle = false;
	t->idle_count--;
	DL_DELETE2(t->idle, f, open_prev, open_next);
}

void tier_io_close(struct tier_file *f)
{
	tier_io_busy(f);
	if (f->handle == NULL)
		return;
	disk_close(f->handle);
	f->handle = NULL;
	f->place->handles--;
}

void tier_io_idle(struct tier_file *f)
{
	struct tiers *t = f->tiers;

	if (f->state != TIER_SEALED || f->handle == NULL || f->io_count > 0 || f->is_job_active)
		return;
	tier_io_busy(f);
	f->is_idle = true;
	t->idle_count++;
	DL_APPEND2(t->idle, f, open_prev, open_next);
	if (t->idle_count > TIER_HANDLES_MAX)
		tier_io_close(t->idle);
}

/* --- one transfer ----------------------------------------------------------------------------- */

static uint64_t iov_bytes(const struct tier_io *io)
{
	uint64_t len = 0;

	for (uint32_t i = 0; i < io->iov_count; i++)
		len += io->iov[i].iov_len;
	return len;
}

static void submit(struct tier_io *io, bool is_write)
{
	struct tiers *t = io->file->tiers;

	io->is_write = is_write;
	io->rc = 0;
	io->len = iov_bytes(io);
	tier_ref(io->file);
	DL_APPEND(t->submitted, io);
	tiers_wake(t);
}

void tier_write(struct tier_io *io)
{
	const struct tier_file *f = io->file;

	submit(io, true);
	if (!f->has_root || f->state == TIER_GONE)
		return;
	ASSERT(f->state == TIER_FILLING && io->len > 0 && io->offset % TIER_PIECE_BYTES == 0);
	ASSERT(io->offset < f->bytes && io->len <= f->bytes - io->offset);
	ASSERT(io->len % TIER_PIECE_BYTES == 0 || io->offset + io->len == f->bytes);
}

void tier_read(struct tier_io *io)
{
	submit(io, false);
}

void tier_io_fail_waiting(struct tier_file *f, int rc)
{
	struct tier_io *io;

	DL_FOREACH(f->waiting, io)
		io->rc = rc;
	tier_io_resubmit(f);
}

void tier_io_resubmit(struct tier_file *f)
{
	struct tiers *t = f->tiers;

	if (f->waiting == NULL)
		return;
	DL_CONCAT(t->submitted, f->waiting);
	f->waiting = NULL;
	tiers_wake(t);
}

static void finish(struct tier_io *io, int rc)
{
	struct tier_file *f = io->file;

	io->rc = rc;
	io->done(io);
	tier_put(f);
}

static void transfer_run(struct loop_work *work)
{
	struct tier_io *io = container_of(work, struct tier_io, work);

	for (uint64_t at = 0; io->sums != NULL && at < io->len; at += TIER_PIECE_BYTES)
		io->sums[at / TIER_PIECE_BYTES] =
			checksum_iov(io->iov, io->iov_count, at,
				     MIN_OF(TIER_PIECE_BYTES, io->len - at));
	if (io->wants_sum)
		io->sum = checksum_iov(io->iov, io->iov_count, 0, io->len);
	if (io->is_write) {
		io->rc = disk_writev(io->disk_file, io->iov, (int)io->iov_count, io->offset);
		return;
	}
	int n = disk_readv(io->disk_file, io->iov, (int)io->iov_count, io->offset);

	if (n >= 0 && (uint64_t)n != io->len)
		n = -E_CORRUPT;
	io->rc = n < 0 ? n : 0;
}

static void write_ended(struct tier_io *io)
{
	struct tier_file *f = io->file;

	if (io->rc < 0) {
		tiers_place_failed(f->place, "write", io->rc);
		tier_file_gone(f, false);
	} else if (f->state == TIER_FILLING && io->sums != NULL) {
		tier_file_wrote(f, io->offset, io->len);
	}
}

static void transfer_done(struct loop_work *work)
{
	struct tier_io *io = container_of(work, struct tier_io, work);
	struct tier_file *f = io->file;
	int rc = io->rc;

	f->tiers->jobs--;
	f->io_count--;
	DL_DELETE(f->tiers->flying, io);
	if (io->is_write)
		write_ended(io);
	else if (f->is_detached)
		rc = -E_STALE;		/* it may have been changed under the read */
	else if (rc < 0 && rc != -E_NOMEM)
		tier_doubt(f, error_text(rc));
	tier_io_idle(f);
	finish(io, rc);
}

/* Does the draft have room for the write? -E_NOSPC. */
static int draft_grow(struct tier_file *f, uint64_t end)
{
	uint64_t want = MAX_OF(end, MIN_OF(2 * end, end + TIER_DRAFT_ROOM));
	const struct policy_newcomer newcomer = { 0 };
	int rc;

	if (end <= f->item.bytes)
		return 0;
	rc = tiers_place_make_room(f->place, want - f->item.bytes, &newcomer);
	if (rc == -E_NOSPC) {
		want = end;
		rc = tiers_place_make_room(f->place, want - f->item.bytes, &newcomer);
	}
	if (rc == 0)
		tier_file_charge(f, want);
	return rc;
}

/* Read what is in memory anyway, here and now. */
static bool read_inline(struct tier_io *io)
{
	int n;

	if (io->is_write || io->len > TIER_INLINE_BYTES)
		return false;
	n = disk_readv_cached(io->file->handle, io->iov, (int)io->iov_count, io->offset);
	/* What else it says, a worker finds out. */
	return n >= 0 && (uint64_t)n == io->len;
}

void tier_io_start(struct tier_io *io)
{
	struct tier_file *f = io->file;
	struct tiers *t = f->tiers;

	if (f->state != TIER_GONE && io->is_write && !f->has_root &&
	    draft_grow(f, io->offset + io->len) < 0) {
		t->refused++;
		tier_file_gone(f, false);
	}
	if (f->state == TIER_GONE || io->rc < 0) {
		finish(io, io->rc < 0 ? io->rc : io->is_write ? -E_NOSPC : -E_STALE);
		return;
	}
	if (f->handle == NULL || (io->is_write && f->was_draft && f->place->removing > 0)) {
		DL_APPEND(f->waiting, io);
		tier_file_advance(f);
		return;
	}
	if (read_inline(io)) {
		tier_io_idle(f);
		finish(io, 0);
		return;
	}
	tier_io_busy(f);
	f->io_count++;
	t->jobs++;
	DL_APPEND(t->flying, io);
	io->disk_file = f->handle;
	/* Of pieces: those of a draft are told by tier_mark(). */
	io->sums = io->is_write && f->has_root ? f->sums + io->offset / TIER_PIECE_BYTES : NULL;
	io->work.run = transfer_run;
	io->work.done = transfer_done;
	loop_work(t->loop, &io->work);
}

void tier_io_abandon(struct tier_io *list)
{
	struct tier_io *io, *next;

	DL_FOREACH_SAFE(list, io, next) {
		io->rc = -E_CANCELED;
		io->done(io);
	}
}
