/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Content that has another root now. In memory it is found by the new one at once; the names follow
 * by a job: sums under the new name, the file renamed, the old sums removed, each synced before the
 * next. A crash in between leaves one of the two names with its sums, and lonely sums, which the
 * next start removes.
 */
#include <stdlib.h>

#include "client/tier/tier_internal.h"

static void rename_run(struct tier_job *job)
{
	const struct tier_file *f = job->file;
	char path[TIER_PATH_BYTES];
	uint64_t *sums = NULL;
	int rc = tier_sums_read(job->disk, &f->name_root, &sums);

	if (rc == 0)
		rc = tier_sums_write(job->disk, &f->renamed_root, sums);
	free(sums);
	if (rc == 0)
		rc = disk_rename(job->disk, job->path, job->to);
	job->bytes = rc == 0;		/* it has the new name, whatever its folder says */
	if (rc == 0)
		rc = disk_sync_dir(job->disk, TIER_SEALED_DIR);
	job->rc = rc;
	if (rc < 0)
		return;
	tier_file_sums_path(&f->name_root, path);
	(void)!disk_unlink(job->disk, path);	/* lonely, and so harmless */
}

static void rename_done(struct tier_job *job)
{
	struct tier_file *f = job->file;

	f->is_job_active = f->is_renaming = false;
	if (job->bytes > 0)
		f->name_root = f->renamed_root;
	if (job->rc < 0 && f->state == TIER_SEALED) {
		tiers_place_failed(f->place, "rename a file", job->rc);
		tier_file_gone(f, false);
		return;
	}
	if (f->is_wanted && f->state == TIER_SEALED)
		tier_scrub_want(f);
	tier_io_resubmit(f);
	tier_file_advance(f);
}

bool tier_recut_advance(struct tier_file *f)
{
	struct tier_job *job = &f->job;

	if (f->state != TIER_SEALED || f->is_copy || f->is_detached ||
	    root_equal(&f->name_root, &f->item.root))
		return false;
	tier_scrub_forget(f);		/* it would look for the old name */
	f->is_renaming = true;
	f->renamed_root = f->item.root;
	tier_file_sealed_path(&f->name_root, job->path);
	tier_file_sealed_path(&f->renamed_root, job->to);
	tier_file_job_start(f, rename_run, rename_done);
	return true;
}

void tiers_recut(struct tiers *t, const struct root *of, const struct root *root)
{
	struct tier_file *f = tiers_lookup(t, of);

	if (f == NULL || root_equal(of, root) || tiers_lookup(t, root) != NULL)
		return;
	ASSERT(root->length == of->length);
	HASH_DELETE(hh, t->files, f);
	if (f->in_policy)
		policy_remove(f->place->policy, &f->item);
	f->item.root = *root;
	root_encode(root, f->item.key);
	HASH_ADD(hh, t->files, item.key, sizeof f->item.key, f);
	if (f->in_policy)
		policy_insert(f->place->policy, &f->item);
	tiers_place_note_use(f->place, root, f->item.bytes);
	f->place->is_index_old = true;
	tier_file_advance(f);
}
