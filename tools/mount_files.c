/* SPDX-License-Identifier: Apache-2.0 */
/* The files that a command names, and one order for all of them, with progress. */
#include <errno.h>
#include <fts.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/base/text.h"
#include "tools/mount_client.h"
#include "tools/progress_bar.h"

#define POLL_US	    100000u
#define POLL_US_MAX 2000000u
#define STALL_MS    60000u	/* without a byte more: whoever should bring it is not there */

/* --- which files ------------------------------------------------------------------------------ */

static int file_add(struct mount_files *files, const char *path, const struct stat *st)
{
	if (files->count == files->capacity) {
		size_t capacity = files->capacity ? 2 * files->capacity : 16;
		struct mount_file *at = realloc(files->at, capacity * sizeof *at);

		if (!at)
			return -E_NOMEM;
		files->at = at;
		files->capacity = capacity;
	}
	struct mount_file *file = &files->at[files->count];

	*file = (struct mount_file){ .path = strdup(path), .ino = st->st_ino,
				     .bytes = (uint64_t)st->st_size };
	if (!file->path)
		return -E_NOMEM;
	files->count++;
	files->bytes += file->bytes;
	return 0;
}

/*
 * What caches of model hubs look like: folders of links to files. A link to a folder is not
 * followed, for it may lead round in a circle; neither is one that leads out of this mount.
 */
static int link_add(struct mount_files *files, const struct mount_client *m, const FTSENT *entry,
		    struct error *err)
{
	struct stat st;

	if (stat(entry->fts_path, &st) != 0 || !S_ISREG(st.st_mode) || !mount_client_holds(m, &st))
		return 0;
	if (file_add(files, entry->fts_path, &st) < 0)
		return error_set(err, -E_NOMEM, "cannot remember '%s'", entry->fts_path);
	return 0;
}

/* 0, or an error with its sentence. */
static int entry_add(struct mount_files *files, const struct mount_client *m, const FTSENT *entry,
		     struct error *err)
{
	switch (entry->fts_info) {
	case FTS_F:
		break;
	case FTS_SL:
		return link_add(files, m, entry, err);
	case FTS_DNR:
	case FTS_ERR:
	case FTS_NS:
		return error_set(err, error_from_errno(entry->fts_errno), "cannot read '%s'",
				 entry->fts_path);
	default:
		return 0;
	}
	if (!S_ISREG(entry->fts_statp->st_mode))
		return 0;
	if (!mount_client_holds(m, entry->fts_statp))
		return error_say(err, -E_XDEV, "'%s' is not on the same cairn file system",
				 entry->fts_path);
	if (file_add(files, entry->fts_path, entry->fts_statp) < 0)
		return error_set(err, -E_NOMEM, "cannot remember '%s'", entry->fts_path);
	return 0;
}

int mount_files_add(struct mount_files *files, struct mount_client **m, const char *path,
		    struct error *err)
{
	char *paths[] = { (char *)(uintptr_t)path, NULL };
	FTSENT *entry;
	FTS *walk;
	int rc = *m ? 0 : mount_client_open(path, m, err);

	if (rc < 0)
		return rc;
	walk = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR | FTS_COMFOLLOW | FTS_XDEV, NULL);
	if (!walk)
		return error_set(err, error_from_errno(errno), "cannot read '%s'", path);
	while (rc == 0 && (entry = fts_read(walk)))
		rc = entry_add(files, *m, entry, err);
	fts_close(walk);
	return rc;
}

int mount_files_add_list(struct mount_files *files, struct mount_client **m, const char *list,
			 struct error *err)
{
	FILE *f = strcmp(list, "-") == 0 ? stdin : fopen(list, "re");
	char *line = NULL;
	size_t capacity = 0;
	int rc = 0;

	if (!f)
		return error_set(err, error_from_errno(errno), "cannot read '%s'", list);
	while (rc == 0 && getline(&line, &capacity, f) > 0) {
		line[strcspn(line, "\n")] = '\0';
		if (*line)
			rc = mount_files_add(files, m, line, err);
	}
	free(line);
	if (f != stdin)
		fclose(f);
	return rc;
}

void mount_files_finish(struct mount_files *files)
{
	for (size_t i = 0; i < files->count; i++)
		free(files->at[i].path);
	free(files->at);
	*files = (struct mount_files){ 0 };
}

/* --- one order for all ------------------------------------------------------------------------ */

struct run {
	struct mount_client *client;
	const char *what;
	bool wait;
	struct progress_bar bar;
	bool is_held;			/* the mount has enough on its way: the others later */
	bool is_away;			/* it does not answer: none of the others is asked */
	uint64_t moved_ms, progress;
	struct mount_files_result *result;
};

static void file_failed(struct run *run, struct mount_file *file, const struct error *err)
{
	progress_bar_wipe(&run->bar);
	fprintf(stderr, "cairn %s: cannot %s '%s': %s\n", run->what, run->what,
		text_printable(file->path), err->text);
	file->is_done = file->has_failed = true;
	run->result->failed++;
}

/* Ask once for a file. */
static void file_ask(struct run *run, struct mount_file *file)
{
	struct error err = { 0 };
	json_t *reply = NULL;
	/* What was ordered once is only looked at after that: a second warm could begin anew. */
	const char *what = file->is_told ? "state" : run->what;
	int rc = mount_client_ask_inode(run->client, what, file->ino, &reply, &err);

	if (rc == -E_AGAIN) {
		run->is_held = true;
		return;
	}
	if (rc < 0) {
		run->is_away = rc == -E_TIMEDOUT || rc == -E_NOTCONN;
		file_failed(run, file, &err);
		return;
	}
	const char *state = mount_text(reply, "state");
	file->done_bytes = mount_u64(reply, "done_bytes");
	if (strcmp(state, "small") == 0) {
		run->result->small++;
		file->done_bytes = file->bytes;
		file->is_done = true;
	} else if (!run->wait || strcmp(state, "cached") == 0) {
		file->is_done = true;
	} else if (file->is_told && strcmp(state, "filling") != 0) {
		(void)error_say(&err, -E_IO, "%s", mount_text(reply, "why"));
		file_failed(run, file, &err);
	}
	file->is_told = true;
	if (file->is_done && !file->has_failed) {
		run->result->done++;
		run->result->bytes += file->bytes;
	}
	json_decref(reply);
}

static void give_up(struct run *run, struct mount_files *files, const struct error *err)
{
	for (size_t i = 0; i < files->count; i++)
		if (!files->at[i].is_done)
			file_failed(run, &files->at[i], err);
}

/* What moves while others fill up the queue of the mount. */
static uint64_t fills_progress(struct run *run)
{
	struct error err = { 0 };
	json_t *info = NULL;
	uint64_t progress = 0;

	if (mount_client_ask(run->client, json_pack("{s:s}", "do", "info"), &info, &err) == 0)
		progress = mount_u64(info, "fills") + mount_u64(info, "fill_done_bytes");
	json_decref(info);
	return progress;
}

/* Has anything come of late? `progress`: any number that changes as it does. */
static bool is_stalled(struct run *run, uint64_t progress)
{
	if (progress != run->progress)
		run->moved_ms = progress_bar_now_ms();
	run->progress = progress;
	return progress_bar_now_ms() - run->moved_ms >= STALL_MS;
}

/* One look at each file that is not done; how many are not. */
static size_t ask_all(struct run *run, struct mount_files *files)
{
	uint64_t done = 0;
	size_t left = 0;

	run->is_held = false;
	for (size_t i = 0; i < files->count; i++) {
		struct mount_file *file = &files->at[i];

		if (!file->is_done && !run->is_away && (file->is_told || !run->is_held))
			file_ask(run, file);
		left += !file->is_done;
		done += file->done_bytes;
	}
	run->result->done_bytes = done;
	return left;
}

void mount_files_do(struct mount_files *files, struct mount_client *m, const char *what, bool wait,
		    struct mount_files_result *out)
{
	struct run run = { .client = m, .what = what, .wait = wait,
			   .moved_ms = progress_bar_now_ms(), .result = out };
	struct error err = { 0 };
	size_t left;

	progress_bar_begin(&run.bar);
	*out = (struct mount_files_result){ 0 };
	for (;;) {
		uint64_t begun_ms = progress_bar_now_ms();

		left = ask_all(&run, files);
		if (left == 0 || run.is_away)
			break;
		if (is_stalled(&run, out->done_bytes + left +
					     (run.is_held ? fills_progress(&run) : 0)))
			break;
		progress_bar_show(&run.bar, out->done_bytes, files->bytes);
		/* Thousands of files shall not keep the mount busy with being asked. */
		uint64_t took_us = (progress_bar_now_ms() - begun_ms) * 1000u;
		(void)usleep((useconds_t)MIN_OF(MAX_OF(took_us * 4, POLL_US), POLL_US_MAX));
	}
	if (left > 0) {
		(void)error_say(&err, -E_TIMEDOUT,
				run.is_away ? "the mount does not answer%.0u"
					    : "nothing has come for %u s; see cairn status",
				STALL_MS / 1000);
		give_up(&run, files, &err);
	}
	progress_bar_wipe(&run.bar);
}
