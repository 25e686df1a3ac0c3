/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a file in a tier: references, what is present, the job that is due, the end.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "client/tier/tier_internal.h"
#include "fs/base/log.h"

#define LOG_MODULE "tier"

/* --- names ------------------------------------------------------------------------------------ */

void tier_file_path(const struct tier_file *f, char out[TIER_PATH_BYTES])
{
	snprintf(out, TIER_PATH_BYTES, TIER_FILLING_DIR "/%016" PRIx64, f->number);
}

void tier_file_sealed_path(const struct root *root, char out[TIER_PATH_BYTES])
{
	char name[TIER_FORMAT_NAME_BYTES];

	snprintf(out, TIER_PATH_BYTES, TIER_SEALED_DIR "/%s", tier_format_name(root, name));
}

void tier_file_sums_path(const struct root *root, char out[TIER_PATH_BYTES])
{
	char name[TIER_FORMAT_NAME_BYTES];

	snprintf(out, TIER_PATH_BYTES, TIER_SUMS_DIR "/%s", tier_format_name(root, name));
}

/* --- coming and going ------------------------------------------------------------------------- */

void tier_file_charge(struct tier_file *f, uint64_t bytes)
{
	struct place *p = f->place;
	uint64_t before = f->item.bytes;

	ASSERT(p->bytes_used >= before);
	p->bytes_used = p->bytes_used - before + bytes;
	p->bytes_free = p->bytes_free + before > bytes ? p->bytes_free + before - bytes : 0;
	if (f->state == TIER_FILLING && !f->is_made)
		p->bytes_unmade = p->bytes_unmade - before + bytes;
	if (f->is_leaving)
		p->bytes_leaving = p->bytes_leaving - before + bytes;
	f->item.bytes = bytes;
}

struct tier_file *tier_file_create(struct place *p, const struct root *root, uint64_t charge)
{
	struct tier_file *f = calloc(1, sizeof *f);

	if (f == NULL)
		return NULL;
	f->tiers = p->tiers;
	f->place = p;
	f->job.file = f;
	f->job.place = p;
	f->state = TIER_FILLING;
	if (root != NULL) {
		f->item.root = f->name_root = *root;
		f->bytes = root->length;
	}
	p->file_count++;
	tier_file_charge(f, charge);
	DL_APPEND2(p->tiers->all, f, all_prev, all_next);
	return f;
}

void tier_file_publish(struct tier_file *f)
{
	struct tiers *t = f->tiers;

	f->has_root = f->in_table = true;
	root_encode(&f->item.root, f->item.key);
	f->is_pinned = tiers_is_pinned(t, &f->item.root);
	HASH_ADD(hh, t->files, item.key, sizeof f->item.key, f);
}

void tier_file_forget_filling(struct tier_file *f)
{
	free(f->present);
	free(f->sums);
	f->present = NULL;
	f->sums = NULL;
}

void tier_file_free(struct tier_file *f)
{
	struct tiers *t = f->tiers;

	if (f->is_leaving)
		f->place->removing--;
	tier_file_charge(f, 0);
	f->place->file_count--;
	DL_DELETE2(t->all, f, all_prev, all_next);
	tier_file_forget_filling(f);
	free(f);
}

void tier_file_tell(struct tier_file *f)
{
	struct tiers *t = f->tiers;

	if (!f->is_telling) {
		f->is_telling = true;
		DL_APPEND2(t->telling, f, told_prev, told_next);
	}
	tiers_wake(t);
}

void tier_file_sealed(struct tier_file *f)
{
	f->state = TIER_SEALED;
	f->present_bytes = f->bytes;
	tier_file_forget_filling(f);
	f->in_policy = true;
	f->place->is_index_old = true;
	policy_insert(f->place->policy, &f->item);
	if (!f->is_doubted && !f->is_copy) {
		f->tells_sealed = true;
		tier_file_tell(f);
	}
}

/* Its filling came to an end, one way or the other. */
static void filling_ended(struct tier_file *f)
{
	if (f->state == TIER_FILLING && !f->is_made)
		f->place->bytes_unmade -= f->item.bytes;
	f->tiers->filling_count--;
}

void tier_file_gone(struct tier_file *f, bool keeps_name)
{
	if (f->state == TIER_GONE)
		return;
	if (f->state != TIER_SEALED)
		filling_ended(f);
	f->tells_gone = f->state == TIER_SEALED && !f->is_copy;
	f->state = TIER_GONE;
	tier_scrub_forget(f);
	f->place->is_index_old = true;
	if (f->in_table)
		HASH_DELETE(hh, f->tiers->files, f);
	f->in_table = false;
	if (f->in_policy)
		policy_remove(f->place->policy, &f->item);
	f->in_policy = false;
	if (f->must_seal) {
		f->must_seal = false;
		f->seal_rc = -E_CANCELED;
		f->tells_seal_done = true;
	}
	if (keeps_name)
		f->has_filling_name = f->has_sealed_name = false;
	if (f->has_filling_name || f->has_sealed_name)
		f->place->removing++;
	if (f->tells_gone || f->tells_seal_done)
		tier_file_tell(f);
	tier_io_resubmit(f);
	tier_file_advance(f);
}

/* --- jobs ------------------------------------------------------------------------------------- */

void tier_file_job_start(struct tier_file *f, void (*run)(struct tier_job *job),
			 void (*done)(struct tier_job *job))
{
	ASSERT(!f->is_job_active);
	f->is_job_active = true;
	f->job.run = run;
	f->job.done = done;
	tiers_job_start(&f->job);
}

static void make_run(struct tier_job *job)
{
	job->rc = disk_open(job->disk, job->path, DISK_WRITE | DISK_CREATE | DISK_EXCLUSIVE,
			    &job->disk_file);
	if (job->rc == 0 && job->bytes > 0)
		job->rc = disk_allocate(job->disk_file, job->bytes);
}

static void make_done(struct tier_job *job)
{
	struct tier_file *f = job->file;

	f->is_job_active = false;
	f->handle = job->disk_file;
	if (f->handle != NULL)
		f->place->handles++;
	if (job->rc < 0) {
		tiers_place_failed(f->place, "make a file", job->rc);
		tier_file_gone(f, false);
		return;
	}
	if (f->state == TIER_FILLING)
		f->place->bytes_unmade -= f->item.bytes;
	f->is_made = true;
	tier_io_resubmit(f);
	tier_file_advance(f);
}

static void make(struct tier_file *f)
{
	tier_file_path(f, f->job.path);
	f->job.disk_file = NULL;
	f->job.bytes = f->bytes;
	f->has_filling_name = true;
	tier_file_job_start(f, make_run, make_done);
}

static void open_run(struct tier_job *job)
{
	uint64_t size;

	job->rc = disk_open(job->disk, job->path, DISK_READ, &job->disk_file);
	if (job->rc < 0)
		return;
	job->rc = disk_size(job->disk_file, &size);
	if (job->rc == 0 && size != job->bytes)
		job->rc = -E_CORRUPT;
}

static void open_done(struct tier_job *job)
{
	struct tier_file *f = job->file;

	f->is_job_active = false;
	f->handle = job->disk_file;
	if (f->handle != NULL)
		f->place->handles++;
	if (job->rc == -E_NOMEM || job->rc == -E_NFILE) {
		tier_io_fail_waiting(f, job->rc);	/* that says nothing of the file */
	} else if (job->rc < 0 && f->state == TIER_SEALED) {
		tier_doubt(f, error_text(job->rc));
		return;
	}
	tier_io_resubmit(f);
	tier_file_advance(f);
}

static void open_sealed(struct tier_file *f)
{
	tier_file_sealed_path(&f->name_root, f->job.path);
	f->job.disk_file = NULL;
	f->job.bytes = f->bytes;
	tier_file_job_start(f, open_run, open_done);
}

/* 0 also if it is not there. */
static int unlink_if_there(struct disk *disk, const char *path)
{
	int rc = disk_unlink(disk, path);

	return rc == -E_NOENT ? 0 : rc;
}

/* Names first: the room is free once the handle is closed, too. */
static void remove_run(struct tier_job *job)
{
	const struct tier_file *f = job->file;
	char path[TIER_PATH_BYTES];
	int rc;

	job->rc = 0;
	if (job->path[0] != '\0')
		job->rc = unlink_if_there(job->disk, job->path);
	if (job->to[0] != '\0') {
		rc = unlink_if_there(job->disk, job->to);
		job->rc = job->rc < 0 ? job->rc : rc;
		tier_file_sums_path(&f->name_root, path);
		rc = unlink_if_there(job->disk, path);
		job->rc = job->rc < 0 ? job->rc : rc;
	}
	disk_close(job->disk_file);
	job->disk_file = NULL;
}

/* Room is free: what waited for it goes on. */
static void made_room(struct place *p)
{
	struct tier_file *f, *next;

	if (p->removing > 0)
		return;
	DL_FOREACH_SAFE2(p->tiers->all, f, next, all_next) {
		if (f->place != p || f->state != TIER_FILLING)
			continue;
		tier_io_resubmit(f);
		tier_file_advance(f);
	}
}

static void remove_done(struct tier_job *job)
{
	struct tier_file *f = job->file;
	struct place *p = f->place;

	f->is_job_active = false;
	p->handles -= job->had_handle;
	if (f->has_filling_name || f->has_sealed_name)
		p->removing--;
	f->has_filling_name = f->has_sealed_name = false;
	if (job->rc < 0)
		tiers_place_failed(p, "remove a file", job->rc);
	tier_file_advance(f);
	made_room(p);
}

static void remove_names(struct tier_file *f, bool with_handle)
{
	f->job.path[0] = f->job.to[0] = '\0';
	if (f->has_filling_name)
		tier_file_path(f, f->job.path);
	if (f->has_sealed_name)
		tier_file_sealed_path(&f->name_root, f->job.to);
	f->job.disk_file = NULL;
	f->job.had_handle = with_handle && f->handle != NULL;
	if (f->job.had_handle) {
		tier_io_busy(f);
		f->job.disk_file = f->handle;
		f->handle = NULL;
	}
	tier_file_job_start(f, remove_run, remove_done);
}

static void gone_advance(struct tier_file *f)
{
	bool is_unused = f->refs == 0 && f->io_count == 0 && f->waiting == NULL;
	struct place *p = f->place;

	if (is_unused && !f->is_leaving) {
		f->is_leaving = true;
		p->bytes_leaving += f->item.bytes;
		p->removing++;
	}
	if (f->has_filling_name || f->has_sealed_name || (is_unused && f->handle != NULL)) {
		remove_names(f, is_unused);
	} else if (is_unused && !f->is_telling) {
		tier_file_free(f);
		made_room(p);
	}
}

void tier_file_advance(struct tier_file *f)
{
	if (f->is_job_active || f->tiers->is_stopped)
		return;
	if (f->state == TIER_GONE) {
		gone_advance(f);
	} else if (f->state == TIER_FILLING && !f->is_made) {
		if (f->place->removing == 0)
			make(f);
	} else if (f->must_seal) {
		tier_seal_advance(f);
	} else if (tier_recut_advance(f)) {
		return;
	} else if (f->waiting != NULL && f->handle == NULL) {
		open_sealed(f);
	}
}

/* --- the contract ----------------------------------------------------------------------------- */

struct tier_file *tier_ref(struct tier_file *f)
{
	f->refs++;
	return f;
}

void tier_put(struct tier_file *f)
{
	if (f == NULL)
		return;
	ASSERT(f->refs > 0);
	if (--f->refs > 0)
		return;
	if (f->state == TIER_FILLING)
		tier_file_gone(f, false);
	else
		tier_file_advance(f);
}

enum tier_state tier_state(const struct tier_file *f)
{
	return f->state;
}

const struct root *tier_root(const struct tier_file *f)
{
	return &f->item.root;
}

uint64_t tier_bytes(const struct tier_file *f)
{
	return f->bytes;
}

uint64_t tier_present_bytes(const struct tier_file *f)
{
	return f->present_bytes;
}

bool tier_has(const struct tier_file *f, uint64_t offset, uint64_t len)
{
	if (f->state == TIER_GONE || f->is_doubted || offset > f->bytes || len > f->bytes - offset)
		return false;
	if (f->state != TIER_FILLING || len == 0)
		return true;
	if (!f->has_root)
		return false;
	for (uint64_t i = offset / TIER_PIECE_BYTES; i <= (offset + len - 1) / TIER_PIECE_BYTES;
	     i++)
		if (!tier_bit(f->present, i))
			return false;
	return true;
}

void tier_use(struct tier_file *f)
{
	f->uses++;
	f->place->is_index_old = true;
	f->used_wall_ns = loop_wall_ns(f->tiers->loop);
	f->place->hits++;
	if (f->has_root)
		tiers_place_note_use(f->place, &f->item.root, f->item.bytes);
}

int tier_adopt(struct tier_file *f, const struct root *root)
{
	const struct policy_newcomer newcomer = { .root = root };
	uint64_t charge = tiers_place_charge(root);
	int rc = 0;

	ASSERT(f->was_draft && !f->has_root);
	if (f->state == TIER_GONE)
		return -E_NOSPC;
	if (tiers_lookup(f->tiers, root) != NULL)
		return -E_EXIST;
	tiers_place_note_use(f->place, root, charge);
	if (charge > f->item.bytes)
		rc = tiers_place_make_room(f->place, charge - f->item.bytes, &newcomer);
	if (rc < 0)
		return rc;
	f->item.root = *root;
	f->bytes = root->length;
	if (tiers_begin_pieces(f) < 0)
		return -E_NOMEM;
	tier_file_charge(f, charge);
	tier_file_publish(f);
	return 0;
}

static void piece_present(struct tier_file *f, uint64_t piece)
{
	if (tier_bit(f->present, piece))
		return;
	tier_bit_set(f->present, piece);
	f->present_bytes += tier_piece_bytes(f->bytes, piece);
}

void tier_file_wrote(struct tier_file *f, uint64_t offset, uint64_t len)
{
	uint64_t first = offset / TIER_PIECE_BYTES, end = DIV_CEIL(offset + len, TIER_PIECE_BYTES);

	for (uint64_t i = first; i < end; i++)
		piece_present(f, i);
}

void tier_mark(struct tier_file *f, uint64_t piece, uint64_t sum)
{
	ASSERT(f->was_draft && f->has_root && piece < tier_format_pieces(&f->item.root));
	if (f->state != TIER_FILLING || tier_bit(f->present, piece))
		return;
	f->sums[piece] = sum;
	piece_present(f, piece);
}

void tier_drop(struct tier_file *f)
{
	if (f->state == TIER_FILLING)
		tier_file_gone(f, false);
}

void tier_doubt(struct tier_file *f, const char *why)
{
	char name[TIER_FORMAT_NAME_BYTES];

	if (f->state != TIER_SEALED)
		return;
	f->place->wrong++;
	log_warn("a cached file is wrong, it is dropped place='%s' root=%s: %s",
		 f->place->directory, tier_format_name(&f->item.root, name), why);
	tier_file_gone(f, false);
	tiers_place_look(f->place);
}
