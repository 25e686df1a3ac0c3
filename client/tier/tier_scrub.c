/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checks of sealed files against their sums: of what is doubted when somebody wants it, at full
 * speed; of everything else in turn, in the background, at a bounded pace and past caches, so that
 * the medium is read and no cache is spoiled. What is wrong goes.
 *
 * A check holds no reference: whatever goes meanwhile may go. Its worker touches the check alone.
 */
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "client/tier/tier_internal.h"
#include "fs/hash/checksum.h"

#define URGENT_MAX	 4u
#define URGENT_STEP	 MiB(16)
#define STEP_MAX	 MiB(8)
#define PASS_PAUSE_MS	 3600000u	/* between the ends of two passes */
#define LOOK_MS		 1000u		/* for something to do */
#define NS_PER_MS	 1000000u

struct tier_check {
	struct tier_job job;		/* first */
	struct tier_file *file;		/* NULL: it is gone */
	bool is_urgent, is_active, is_over;
	bool is_cached;			/* read through caches: somebody waits for it */
	struct loop_timer timer;	/* to the next step */
	struct root root;
	struct disk_file *disk_file;
	uint64_t *sums;			/* NULL: not read yet */
	uint8_t *buffer;
	uint64_t piece;			/* the next one */
	uint64_t step_bytes, done_bytes;	/* of a step: wanted; read */
	struct tier_check *prev, *next;
};

static struct tier_check *check_of(struct tier_job *job)
{
	return container_of(job, struct tier_check, job);
}

/* --- on a worker ------------------------------------------------------------------------------ */

static int open_all(struct tier_check *c)
{
	char path[TIER_PATH_BYTES];
	uint64_t size = 0;
	int rc;

	tier_file_sealed_path(&c->root, path);
	rc = disk_open(c->job.disk, path, c->is_cached ? DISK_READ : DISK_DIRECT, &c->disk_file);
	if (rc == 0)
		rc = disk_size(c->disk_file, &size);
	if (rc < 0)
		return rc;
	if (size != c->root.length)
		return -E_CORRUPT;
	if (posix_memalign((void **)&c->buffer, DISK_ALIGN, TIER_PIECE_BYTES) != 0)
		return -E_NOMEM;
	return tier_sums_read(c->job.disk, &c->root, &c->sums);
}

static int check_piece(struct tier_check *c)
{
	uint64_t len = tier_piece_bytes(c->root.length, c->piece);
	int n = disk_read(c->disk_file, c->buffer, TIER_PIECE_BYTES, c->piece * TIER_PIECE_BYTES);

	if (n < 0)
		return n;
	if ((uint64_t)n != len || checksum_of(c->buffer, len) != c->sums[c->piece])
		return -E_CORRUPT;
	c->piece++;
	c->done_bytes += len;
	return 0;
}

static void step_run(struct tier_job *job)
{
	struct tier_check *c = check_of(job);
	uint64_t count = tier_format_pieces(&c->root);

	job->rc = c->disk_file == NULL ? open_all(c) : 0;
	while (job->rc == 0 && c->piece < count && c->done_bytes < c->step_bytes)
		job->rc = check_piece(c);
	c->is_over = job->rc < 0 || c->piece == count;
	/* With the file open its room is not free: close it as soon as nothing is read. */
	if (c->is_over) {
		disk_close(c->disk_file);
		c->disk_file = NULL;
	}
}

/* --- on the loop ------------------------------------------------------------------------------ */

static void schedule(struct tiers *t, uint64_t after_ms)
{
	if (!t->is_stopping)
		loop_timer_start(t->loop, &t->scrub, after_ms);
}

static void check_free(struct tiers *t, struct tier_check *c)
{
	loop_timer_stop(t->loop, &c->timer);
	DL_DELETE(t->checks, c);
	t->check_count--;
	if (c->file != NULL)
		c->file->check = NULL;
	c->job.place->handles--;
	disk_close(c->disk_file);
	free(c->sums);
	free(c->buffer);
	free(c);
}

static void step_done(struct tier_job *job);

static void step_start(struct tier_check *c)
{
	uint64_t rate = c->job.place->tiers->options.scrub_bytes_per_s;

	c->is_active = true;
	c->is_cached = c->is_urgent;
	c->done_bytes = 0;
	c->step_bytes = c->is_urgent ? URGENT_STEP : MIN_OF(MAX_OF(rate / 4, 1u), STEP_MAX);
	c->job.run = step_run;
	c->job.done = step_done;
	tiers_job_start(&c->job);
}

static void on_timer(struct loop_timer *timer)
{
	step_start(container_of(timer, struct tier_check, timer));
}

/* The file was proved: what was doubted is here from now on. */
static void proved(struct tier_file *f)
{
	f->check = NULL;
	if (!f->is_doubted)
		return;
	f->is_doubted = f->is_wanted = false;
	f->tells_sealed = true;
	tier_file_tell(f);
}

static void check_ended(struct tier_check *c, int rc)
{
	struct tier_file *f = c->file;
	struct tiers *t = c->job.place->tiers;
	bool was_urgent = c->is_urgent;

	c->file = NULL;
	check_free(t, c);
	if (f != NULL) {
		f->check = NULL;
		/* Without memory nothing was found out. */
		if (rc == 0)
			proved(f);
		else if (rc != -E_NOMEM && rc != -E_NFILE)
			tier_doubt(f, error_text(rc));
	}
	if (was_urgent || t->options.scrub_bytes_per_s > 0)
		schedule(t, 0);
}

static void step_done(struct tier_job *job)
{
	struct tier_check *c = check_of(job);
	uint64_t rate = job->place->tiers->options.scrub_bytes_per_s;

	c->is_active = false;
	job->place->checked_bytes += c->done_bytes;
	if (c->file == NULL || c->is_over)
		check_ended(c, job->rc);
	else if (c->is_urgent)
		step_start(c);
	else
		loop_timer_start(job->place->tiers->loop, &c->timer, c->done_bytes * 1000 / rate);
}

static void check_start(struct tier_file *f, bool is_urgent)
{
	struct tiers *t = f->tiers;
	struct tier_check *c = calloc(1, sizeof *c);

	if (c == NULL)
		return;		/* the next look comes */
	c->job.place = f->place;
	c->file = f;
	c->root = f->name_root;
	c->is_urgent = is_urgent;
	c->timer.fn = on_timer;
	f->check = c;
	f->place->handles++;
	t->check_count++;
	DL_APPEND(t->checks, c);
	step_start(c);
}

static struct tier_file *next_wanted(const struct tiers *t)
{
	for (struct tier_file *f = t->files; f != NULL; f = f->hh.next)
		if (f->is_doubted && f->is_wanted && f->check == NULL && !f->is_renaming)
			return f;
	return NULL;
}

/* The next of the pass: doubted files first, then in order of roots. NULL: the pass is over. */
static struct tier_file *next_in_turn(const struct tiers *t)
{
	struct tier_file *best = NULL;

	for (struct tier_file *f = t->files; f != NULL; f = f->hh.next) {
		if (f->state != TIER_SEALED || f->check != NULL || f->is_renaming)
			continue;
		if (f->is_doubted)
			return f;
		if (memcmp(f->item.key, t->scrub_key, ROOT_BYTES) > 0 &&
		    (best == NULL || memcmp(f->item.key, best->item.key, ROOT_BYTES) < 0))
			best = f;
	}
	return best;
}

static bool has_check_in_turn(const struct tiers *t)
{
	const struct tier_check *c;

	DL_FOREACH(t->checks, c)
		if (!c->is_urgent)
			return true;
	return false;
}

static void go_on(struct loop_timer *timer)
{
	struct tiers *t = container_of(timer, struct tiers, scrub);
	struct tier_file *f;

	while (t->check_count < URGENT_MAX && (f = next_wanted(t)) != NULL && f->check == NULL) {
		check_start(f, true);
		if (f->check == NULL)
			break;
	}
	if (t->options.scrub_bytes_per_s == 0 || has_check_in_turn(t))
		return;
	if (loop_now_ns(t->loop) < t->pass_ns) {
		schedule(t, (t->pass_ns - loop_now_ns(t->loop)) / NS_PER_MS + 1);
		return;
	}
	f = next_in_turn(t);
	if (f == NULL) {
		memset(t->scrub_key, 0, sizeof t->scrub_key);
		t->pass_ns = loop_now_ns(t->loop) + (uint64_t)PASS_PAUSE_MS * NS_PER_MS;
		schedule(t, PASS_PAUSE_MS);
		return;
	}
	memcpy(t->scrub_key, f->item.key, sizeof t->scrub_key);
	check_start(f, false);
	if (f->check == NULL)
		schedule(t, LOOK_MS);
}

void tier_scrub_want(struct tier_file *f)
{
	struct tier_check *c = f->check;

	f->is_wanted = true;
	if (c == NULL) {
		schedule(f->tiers, 0);
		return;
	}
	if (!c->is_urgent && !c->is_active)
		loop_timer_start(f->tiers->loop, &c->timer, 0);
	c->is_urgent = true;
}

void tier_scrub_forget(struct tier_file *f)
{
	struct tier_check *c = f->check;

	if (c == NULL)
		return;
	f->check = NULL;
	c->file = NULL;
	if (!c->is_active)
		check_ended(c, -E_CANCELED);
}

void tier_scrub_start(struct tiers *t)
{
	t->scrub.fn = go_on;
	schedule(t, LOOK_MS);
}

void tier_scrub_stop(struct tiers *t)
{
	struct tier_check *c, *next;

	loop_timer_stop(t->loop, &t->scrub);
	DL_FOREACH_SAFE(t->checks, c, next)
		if (c->file != NULL)
			tier_scrub_forget(c->file);
}

void tier_scrub_finish(struct tiers *t)
{
	loop_timer_stop(t->loop, &t->scrub);
	while (t->checks != NULL)
		check_free(t, t->checks);
}
