/* SPDX-License-Identifier: Apache-2.0 */
/* A new file beside it, synced, then renamed. See kept.h. */
#include "client/core/kept.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/base/log.h"

#define LOG_MODULE "kept"

struct cl_kept {
	struct loop *loop;
	struct loop_work work;
	struct text writing, next;
	bool is_writing, has_next, is_destroyed;
	int rc, work_rc;
	char path[4096], temporary[4096];
};

static void kept_free(struct cl_kept *k)
{
	text_finish(&k->writing);
	text_finish(&k->next);
	free(k);
}

/* --- on a worker ------------------------------------------------------------------------------ */

static int write_all(int fd, const char *bytes, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, bytes, len);

		if (n < 0 && errno != EINTR)
			return error_from_errno(errno);
		if (n > 0) {
			bytes += n;
			len -= (size_t)n;
		}
	}
	return fdatasync(fd) == 0 ? 0 : error_from_errno(errno);
}

static void run(struct loop_work *work)
{
	struct cl_kept *k = container_of(work, struct cl_kept, work);
	int fd = open(k->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0) {
		k->work_rc = error_from_errno(errno);
		return;
	}
	k->work_rc = write_all(fd, text_chars(&k->writing), k->writing.len);
	if (close(fd) != 0 && k->work_rc == 0)
		k->work_rc = error_from_errno(errno);
	if (k->work_rc == 0 && rename(k->temporary, k->path) != 0)
		k->work_rc = error_from_errno(errno);
	if (k->work_rc < 0)
		(void)unlink(k->temporary);
}

/* --- on the loop ------------------------------------------------------------------------------ */

static void start(struct cl_kept *k)
{
	k->is_writing = true;
	loop_work(k->loop, &k->work);
}

static void done(struct loop_work *work)
{
	struct cl_kept *k = container_of(work, struct cl_kept, work);

	if (k->is_destroyed) {
		kept_free(k);
		return;
	}
	if (k->work_rc < 0 && k->rc == 0)
		log_warn("cannot write '%s': %s", k->path, error_text(k->work_rc));
	k->rc = k->work_rc;
	k->is_writing = false;
	text_finish(&k->writing);
	if (!k->has_next)
		return;
	k->has_next = false;
	k->writing = k->next;
	k->next = (struct text){ 0 };
	start(k);
}

int cl_kept_create(struct loop *loop, const char *path, struct cl_kept **out)
{
	struct cl_kept *k = calloc(1, sizeof *k);

	if (!k)
		return -E_NOMEM;
	k->loop = loop;
	k->work.run = run;
	k->work.done = done;
	k->work.is_owned = true;
	if (!text_copy(k->path, sizeof k->path, path) ||
	    snprintf(k->temporary, sizeof k->temporary, "%s.new", path) >=
		    (int)sizeof k->temporary) {
		free(k);
		return -E_NAMETOOLONG;
	}
	*out = k;
	return 0;
}

void cl_kept_destroy(struct cl_kept *k)
{
	if (k && k->is_writing)
		k->is_destroyed = true;
	else if (k)
		kept_free(k);
}

void cl_kept_write(struct cl_kept *k, struct text *text)
{
	if (k->is_writing) {
		text_finish(&k->next);
		k->next = *text;
		k->has_next = true;
	} else {
		k->writing = *text;
		start(k);
	}
	*text = (struct text){ 0 };
}

bool cl_kept_is_busy(const struct cl_kept *k)
{
	return k->is_writing;
}

int cl_kept_rc(const struct cl_kept *k)
{
	return k->rc;
}

int cl_kept_read(const char *path, size_t bytes_max, char **out, size_t *len)
{
	FILE *f = fopen(path, "re");
	int rc = 0;

	*out = NULL;
	if (!f)
		return errno == ENOENT ? 0 : error_from_errno(errno);
	*out = malloc(bytes_max + 1);
	if (*out)
		*len = fread(*out, 1, bytes_max, f);
	if (!*out)
		rc = -E_NOMEM;
	else if (ferror(f))
		rc = -E_IO;
	else if (*len == bytes_max && fgetc(f) != EOF)
		rc = -E_TOOBIG;
	fclose(f);
	if (rc < 0) {
		free(*out);
		*out = NULL;
		return rc;
	}
	(*out)[*len] = '\0';
	return 0;
}
