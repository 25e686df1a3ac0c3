/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Promotion and demotion: one file at a time is copied, piece by piece and proved by its sums,
 * while it can be read where it was; then the copy takes its place, if nobody uses the file just
 * then, else the copy is dropped.
 *
 * A faster place hears of all uses of what lies below it. A file goes up when it was used more than
 * once of late and the policy of the faster place would hold it. Who leaves for it goes down, if a
 * slower place has room as it is, else away. So memory is for what is used again and again, and
 * what comes for the first time costs nobody his place there.
 */
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "client/tier/tier_internal.h"
#include "fs/base/log.h"

#define LOG_MODULE   "tier"
#define PROMOTE_USES 2u

struct tier_move {
	struct tiers *tiers;
	struct tier_job job;		/* reads the sums */
	struct tier_file *from;		/* kept, not used: counted as a transfer */
	struct tier_file *to;		/* a reference; in no table yet */
	struct root root;		/* the name of `from` when it began */
	uint64_t *sums;
	uint8_t *buffer;
	uint64_t piece;
	struct tier_io io;
	struct iovec iov;
};

static void move_end(struct tier_move *m)
{
	struct tiers *t = m->tiers;
	struct tier_file *from = m->from, *to = m->to;

	t->move = NULL;
	free(m->sums);
	free(m->buffer);
	free(m);
	from->io_count--;
	tier_io_idle(from);
	tier_file_advance(from);
	tier_put(to);
	if (!t->is_stopping)
		tiers_move_look(t);
}

static void move_failed(struct tier_move *m, const char *why)
{
	log_debug("a cached file stays where it is: %s", why);
	tier_file_gone(m->to, false);
	move_end(m);
}

/* It was renamed meanwhile, or is about to be: another time. */
static bool is_recut(const struct tier_move *m)
{
	return !root_equal(&m->root, &m->from->item.root);
}

/* The copy takes the place of the original: nobody is told, for the content stays here. */
static void take_over(struct tier_file *from, struct tier_file *to)
{
	struct place *up = from->place->index < to->place->index ? from->place : to->place;
	uint64_t *moves = up == to->place ? &up->promotions : &up->demotions;

	++*moves;
	to->uses = from->uses;
	to->used_wall_ns = from->used_wall_ns;
	from->is_copy = true;
	to->is_copy = false;
	tier_file_gone(from, false);
	tier_file_publish(to);
}

static void copy_sealed(void *arg, int rc)
{
	struct tier_move *m = arg;

	if (rc < 0) {
		move_failed(m, error_text(rc));
	} else if (m->to->state != TIER_SEALED || m->from->state != TIER_SEALED ||
		   m->from->refs > 0 || is_recut(m)) {
		move_failed(m, "it is in use, or gone");
	} else {
		take_over(m->from, m->to);
		move_end(m);
	}
}

static void piece_start(struct tier_move *m);

static void piece_written(struct tier_io *io)
{
	struct tier_move *m = io->user;

	if (io->rc < 0 || m->to->state != TIER_FILLING) {
		move_failed(m, error_text(io->rc < 0 ? io->rc : -E_CANCELED));
		return;
	}
	/* The worker that wrote it has summed it. */
	if (m->to->sums[m->piece] != m->sums[m->piece]) {
		tier_doubt(m->from, error_text(-E_CORRUPT));
		move_failed(m, "it is wrong");
		return;
	}
	m->piece++;
	piece_start(m);
}

static void piece_read(struct tier_io *io)
{
	struct tier_move *m = io->user;

	if (io->rc < 0 || m->to->state != TIER_FILLING) {
		move_failed(m, error_text(io->rc < 0 ? io->rc : -E_CANCELED));
		return;
	}
	m->io = (struct tier_io){ .file = m->to, .offset = m->piece * TIER_PIECE_BYTES,
				  .iov = &m->iov, .iov_count = 1,
				  .done = piece_written, .user = m };
	tier_write(&m->io);
}

static void piece_start(struct tier_move *m)
{
	if (m->from->state != TIER_SEALED || m->to->state != TIER_FILLING) {
		move_failed(m, "it is gone");
		return;
	}
	if (m->piece == tier_format_pieces(&m->from->item.root)) {
		tier_seal(m->to, copy_sealed, m);
		return;
	}
	m->iov = (struct iovec){ m->buffer, tier_piece_bytes(m->from->bytes, m->piece) };
	m->io = (struct tier_io){ .file = m->from, .offset = m->piece * TIER_PIECE_BYTES,
				  .iov = &m->iov, .iov_count = 1,
				  .done = piece_read, .user = m };
	tier_read(&m->io);
}

static void sums_run(struct tier_job *job)
{
	struct tier_move *m = container_of(job, struct tier_move, job);

	job->rc = tier_sums_read(job->disk, &m->root, &m->sums);
}

static void sums_done(struct tier_job *job)
{
	struct tier_move *m = container_of(job, struct tier_move, job);

	if (is_recut(m)) {
		move_failed(m, "it has another root");
	} else if (job->rc < 0) {
		if (job->rc != -E_NOMEM && job->rc != -E_NFILE)
			tier_doubt(m->from, error_text(job->rc));
		move_failed(m, error_text(job->rc));
	} else {
		piece_start(m);
	}
}

static struct tier_file *copy_create(struct tier_file *from, struct place *to)
{
	struct tier_file *f = tier_file_create(to, &from->item.root, from->item.bytes);

	if (f == NULL)
		return NULL;
	f->tiers->filling_count++;
	f->number = f->tiers->next_number++;
	f->refs = 1;
	f->is_copy = f->has_root = true;
	memcpy(f->item.key, from->item.key, sizeof f->item.key);
	if (tiers_begin_pieces(f) < 0) {
		tier_put(f);
		return NULL;
	}
	tier_file_advance(f);
	return f;
}

static void move_start(struct tier_file *f, struct place *place)
{
	struct tiers *t = f->tiers;
	struct tier_move *m = calloc(1, sizeof *m);

	if (m == NULL)
		return;
	m->buffer = malloc(TIER_PIECE_BYTES);
	m->to = m->buffer != NULL ? copy_create(f, place) : NULL;
	if (m->to == NULL) {
		free(m->buffer);
		free(m);
		return;
	}
	m->tiers = t;
	m->from = f;
	m->root = f->item.root;
	f->io_count++;
	tier_io_busy(f);
	t->move = m;
	m->job.place = f->place;
	m->job.run = sums_run;
	m->job.done = sums_done;
	tiers_job_start(&m->job);
}

/* --- who goes where --------------------------------------------------------------------------- */

static bool may_move(const struct tier_file *f)
{
	return f->state == TIER_SEALED && f->refs == 0 && f->io_count == 0 && !f->is_doubted &&
	       root_equal(&f->name_root, &f->item.root);
}

static bool can_take(const struct place *p, uint64_t bytes)
{
	return p->state == PLACE_READY && p->file_count < TIER_FILES_MAX &&
	       tiers_place_has_room(p, bytes);
}

/* The fastest place above that would hold it. */
static struct place *place_above(const struct tier_file *f)
{
	struct tiers *t = f->tiers;

	for (uint32_t i = 0; i < f->place->index; i++) {
		struct place *p = &t->places[i];

		if (p->state == PLACE_READY && f->item.bytes <= p->bytes_max &&
		    policy_uses(p->policy, &f->item.root) >= PROMOTE_USES &&
		    policy_wants(p->policy, &f->item.root))
			return p;
	}
	return NULL;
}

/* It leaves: down, or away. */
static void make_way(struct tier_file *f)
{
	struct tiers *t = f->tiers;

	for (uint32_t i = f->place->index + 1; i < t->place_count && may_move(f); i++) {
		if (!can_take(&t->places[i], f->item.bytes))
			continue;
		move_start(f, &t->places[i]);
		return;
	}
	tiers_place_evict(f);
}

/* True: something was done for it; it is looked at again when that is over. */
static bool promote(struct tier_file *f)
{
	struct place *p = place_above(f);
	struct tier_file *victim;

	if (p == NULL)
		return false;
	if (can_take(p, f->item.bytes)) {
		move_start(f, p);
		return true;
	}
	/* Only what the policy would not hold: else two would take each other's place for ever. */
	victim = tiers_place_victim(p);
	if (victim == NULL)
		return false;
	make_way(victim);
	return true;
}

void tiers_move_look(struct tiers *t)
{
	struct tier_file *f, *next;

	if (t->move != NULL || t->place_count < 2 || t->filling_count >= TIER_FILLING_MAX)
		return;
	HASH_ITER(hh, t->files, f, next)
		if (f->place->index > 0 && may_move(f) && promote(f))
			return;
}

void tiers_move_finish(struct tiers *t)
{
	if (t->move == NULL)
		return;
	free(t->move->sums);
	free(t->move->buffer);
	free(t->move);
	t->move = NULL;
}
