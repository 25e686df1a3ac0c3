/* SPDX-License-Identifier: Apache-2.0 */
/* The offline check: scratch tables, phases in their order, everything closed again. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tools/fsck_internal.h"
#include "tools/remove_tree.h"

static int scratch_make(struct fsck *f, struct error *err)
{
	const char *top = f->options->scratch_dir;
	char path[PATH_MAX + 16];
	int rc;

	if (!top)
		top = getenv("TMPDIR");
	(void)snprintf(f->scratch, sizeof f->scratch, "%s/fsck.cairn-XXXXXX",
		       top && *top ? top : "/var/tmp");
	if (!mkdtemp(f->scratch)) {
		rc = error_set(err, error_from_errno(errno), "cannot make a folder '%s'",
			       f->scratch);
		f->scratch[0] = '\0';
		return rc;
	}
	(void)snprintf(path, sizeof path, "%s/index", f->scratch);
	rc = mkdir(path, 0700) < 0 ? error_from_errno(errno)
				   : rows_lmdb_create(path, FSCK_ROWS_BYTES_MAX, &f->index);
	return rc < 0 ? error_set(err, rc, "cannot use '%s'", path) : 0;
}

int fsck_begin(struct fsck *f, const struct fsck_options *options, struct fsck_result *result,
	       struct error *err)
{
	int rc;

	f->options = options;
	rc = fsck_report_init(&f->report, options, result);
	if (rc < 0)
		return error_set(err, rc, "cannot start");
	f->codec = codec_scratch_create();
	f->record = malloc(RECORD_BYTES_MAX);
	f->plain = malloc(RECORD_BYTES_MAX);
	if (!f->codec || !f->record || !f->plain)
		return error_set(err, -E_NOMEM, "cannot start");
	return scratch_make(f, err);
}

void fsck_end(struct fsck *f)
{
	fsck_report_finish(&f->report);
	for (uint32_t i = 0; i < FSCK_METADATA_DIRS_MAX; i++)
		if (f->metadata[i].disk)
			disk_destroy(f->metadata[i].disk);
	for (uint32_t i = 0; i < FSCK_DISKS_MAX; i++)
		if (f->disks[i].disk)
			disk_destroy(f->disks[i].disk);
	if (f->state)
		rows_destroy(f->state);
	if (f->index)
		rows_destroy(f->index);
	if (f->scratch[0] && remove_tree(f->scratch, NULL) < 0)
		fprintf(stderr, "fsck.cairn: cannot remove '%s'\n", f->scratch);
	map_destroy(f->map);
	codec_scratch_destroy(f->codec);
	free(f->inodes);
	fsck_quota_forget(f);
	free(f->reseals);
	free(f->reheads);
	free(f->record);
	free(f->plain);
	free(f);
}

#define ROUNDS_MAX 8u

/* One look at everything, and one step of repair. */
static int check_once(const struct fsck_options *options, struct fsck_result *out,
		      struct error *err)
{
	struct fsck *f = calloc(1, sizeof *f);
	int rc;

	if (!f)
		return error_set(err, -E_NOMEM, "cannot start");
	rc = fsck_begin(f, options, out, err);
	if (rc == 0)
		rc = fsck_metadata(f, err);
	if (rc == 0)
		rc = fsck_disks_open(f, err);
	if (rc == 0)
		rc = fsck_view(f, err);
	if (rc == 0)
		rc = fsck_rows(f, err);
	if (rc == 0)
		rc = fsck_disks(f, err);
	if (rc == 0)
		rc = fsck_view_indexes(f, err);
	if (rc == 0)
		rc = fsck_content(f, err);
	if (rc == 0 && options->repair)
		rc = fsck_repair(f, err);
	fsck_end(f);
	return rc;
}

/*
 * With repair: again, until a look finds nothing to correct. So what is told in the end was seen in
 * the end, not concluded from what was done.
 */
int fsck_check(const struct fsck_options *options, struct fsck_result *out, struct error *err)
{
	struct fsck_result earlier = {.json = NULL};
	struct error local = {0};
	uint64_t corrected;
	int rc = 0;

	err = err ? err : &local;
	*err = local;
	memset(out, 0, sizeof *out);
	for (uint32_t round = 0; rc == 0 && round < ROUNDS_MAX; round++) {
		fsck_result_finish(&earlier);
		earlier = *out;
		rc = check_once(options, out, err);
		corrected = out->corrected_count;
		fsck_report_join(out, &earlier);
		if (corrected == 0)
			break;
	}
	fsck_result_finish(&earlier);
	return rc;
}
