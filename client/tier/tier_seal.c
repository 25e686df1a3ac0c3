/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sealing: data, sums and names are synced in this order. A power cut leaves a name in sealed/ only
 * with data and sums behind it. A sync that failed is not repeated: the file goes (I4).
 */
#include "client/tier/tier_internal.h"

static void seal_run(struct tier_job *job)
{
	const struct root *root = &job->file->name_root;
	uint64_t size = 0;
	int rc = disk_size(job->disk_file, &size);

	/* A draft may be longer than what became of it. */
	if (rc == 0 && size > root->length)
		rc = disk_truncate(job->disk_file, root->length);
	else if (rc == 0 && size < root->length)
		rc = -E_CORRUPT;
	if (rc == 0)
		rc = disk_sync(job->disk_file);
	if (rc == 0)
		rc = tier_sums_write(job->disk, root, job->file->sums);
	if (rc == 0)
		rc = disk_rename(job->disk, job->path, job->to);
	if (rc == 0)
		rc = disk_sync_dir(job->disk, TIER_SEALED_DIR);
	job->rc = rc;
}

static void seal_failed(struct tier_file *f, int rc)
{
	f->must_seal = false;
	f->seal_rc = rc;
	f->tells_seal_done = true;
	tier_file_tell(f);
	tiers_place_failed(f->place, "seal a file", rc);
	tier_file_gone(f, false);
}

static void seal_done(struct tier_job *job)
{
	struct tier_file *f = job->file;

	f->is_job_active = false;
	if (f->state == TIER_GONE) {
		tier_file_advance(f);
	} else if (job->rc < 0) {
		seal_failed(f, job->rc);
	} else {
		f->must_seal = false;
		f->has_filling_name = false;
		f->seal_rc = 0;
		f->tells_seal_done = true;
		f->tiers->filling_count--;
		tier_file_sealed(f);
		tier_file_tell(f);
		tier_io_idle(f);
		tier_io_resubmit(f);
		tier_file_advance(f);
	}
}

void tier_seal_advance(struct tier_file *f)
{
	struct tier_job *job = &f->job;

	job->disk_file = f->handle;
	tier_file_path(f, job->path);
	f->name_root = f->item.root;
	tier_file_sealed_path(&f->name_root, job->to);
	f->has_sealed_name = true;
	tier_file_job_start(f, seal_run, seal_done);
}

void tier_seal(struct tier_file *f, void (*done)(void *arg, int rc), void *arg)
{
	ASSERT(f->seal_done == NULL && f->state != TIER_SEALED);
	f->seal_done = done;
	f->seal_arg = arg;
	if (f->state == TIER_FILLING && f->has_root && f->present_bytes == f->bytes) {
		f->state = TIER_SEALING;
		f->must_seal = true;
		tier_file_advance(f);
		return;
	}
	f->seal_rc = f->state == TIER_GONE ? -E_CANCELED : -E_INVAL;
	f->tells_seal_done = true;
	tier_file_tell(f);
}
